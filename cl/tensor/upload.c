#include "cl/tensor/upload.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    N_SLOTS = 8,
    SLOT_BYTES = 1 << 20,
    SPARE_BYTES = 64 << 10 /* what an upload collects in when all slots are taken */
};

struct ts_uploader {
    ts_device *device;
    bool mapped; /* the device shares the host's memory */

    pthread_mutex_t queue_lock; /* guards: queue, slots, taken */
    ts_queue *queue;
    ts_pinned *slots[N_SLOTS]; /* made when first wanted */
    bool taken[N_SLOTS];
};

struct ts_upload {
    ts_uploader *uploader;
    ts_layout layout;
    uint64_t min_bytes, max_bytes; /* of the body, the bytes before the first element included */
    uint64_t skip; /* bytes of the body that are not kept: the offset of plain ones */
    uint64_t received;
    ts_buffer *buffer;
    size_t capacity; /* bytes of the body that are kept */
    uint8_t *mapped; /* the whole buffer, or NULL with staging */
    int slot;        /* of the uploader, or -1 */
    uint8_t *piece;
    size_t piece_bytes, piece_used, sent;
};

/* ---- the uploader ---- */

ts_status ts_uploader_create(ts_device *device, ts_uploader **out, ts_error *err)
{
    ts_uploader *u = calloc(1, sizeof *u);
    if (!u)
        return ts_fail(err, TS_E_NO_MEMORY, "uploader");
    ts_status st = ts_queue_create(device, "upload", &u->queue, err);
    if (st != TS_OK) {
        free(u);
        return st;
    }
    u->device = device;
    u->mapped = ts_device_caps(device)->unified_memory;
    pthread_mutex_init(&u->queue_lock, NULL);
    *out = u;
    return TS_OK;
}

void ts_uploader_destroy(ts_uploader *u)
{
    if (!u)
        return;
    for (int i = 0; i < N_SLOTS; i++)
        ts_pinned_destroy(u->queue, u->slots[i]);
    ts_queue_destroy(u->queue);
    pthread_mutex_destroy(&u->queue_lock);
    free(u);
}

ts_device *ts_uploader_device(ts_uploader *u)
{
    return u->device;
}

/* A pinned slot, or -1: none is free, or the driver gives none. */
static int take_slot_locked(ts_uploader *u)
{
    for (int i = 0; i < N_SLOTS; i++) {
        if (u->taken[i])
            continue;
        if (!u->slots[i] && ts_pinned_create(u->queue, SLOT_BYTES, &u->slots[i], NULL) != TS_OK)
            return -1;
        u->taken[i] = true;
        return i;
    }
    return -1;
}

/* ---- one upload ---- */

static ts_status start_mapped(ts_upload *up, ts_error *err)
{
    void *mapped = NULL;
    pthread_mutex_lock(&up->uploader->queue_lock);
    ts_status st =
        ts_buffer_map(up->uploader->queue, up->buffer, 0, up->capacity, TS_MAP_WRITE, &mapped, err);
    pthread_mutex_unlock(&up->uploader->queue_lock);
    up->mapped = mapped;
    return st;
}

static ts_status start_staged(ts_upload *up, ts_error *err)
{
    ts_uploader *u = up->uploader;
    pthread_mutex_lock(&u->queue_lock);
    if (up->capacity > SPARE_BYTES)
        up->slot = take_slot_locked(u);
    pthread_mutex_unlock(&u->queue_lock);
    if (up->slot >= 0) {
        up->piece = ts_pinned_data(u->slots[up->slot]);
        up->piece_bytes = SLOT_BYTES;
        return TS_OK;
    }
    up->piece_bytes = up->capacity < SPARE_BYTES ? up->capacity : SPARE_BYTES;
    up->piece = malloc(up->piece_bytes);
    return up->piece ? TS_OK : ts_fail(err, TS_E_NO_MEMORY, "staging memory");
}

static ts_status check_declared(const ts_upload *up, uint64_t declared, size_t nbytes,
                                ts_error *err)
{
    if (declared >= up->min_bytes && declared <= up->max_bytes)
        return TS_OK;
    char text[256];
    return ts_fail(
        err, TS_E_SIZE, "%s %s is %" PRIu64 " bytes, the body has %" PRIu64,
        ts_dtype_name(up->layout.dtype), ts_shape_text(&up->layout.shape, text, sizeof text),
        up->layout.has_strides || up->layout.offset ? up->min_bytes : (uint64_t)nbytes, declared);
}

ts_status ts_upload_begin(ts_uploader *uploader, const ts_layout *layout, const uint64_t *declared,
                          ts_upload **out, ts_error *err)
{
    ts_upload fresh = {.uploader = uploader, .layout = *layout, .slot = -1};
    size_t nbytes;
    ts_status st = ts_layout_check(layout, &fresh.min_bytes, &fresh.max_bytes, &nbytes, err);
    if (st == TS_OK && declared)
        st = check_declared(&fresh, *declared, nbytes, err);
    if (st != TS_OK)
        return st;
    bool plain = ts_layout_is_plain(layout);
    fresh.skip = plain ? layout->offset : 0;
    fresh.capacity = plain ? nbytes : (size_t)fresh.min_bytes;
    ts_upload *up = malloc(sizeof *up);
    if (!up)
        return ts_fail(err, TS_E_NO_MEMORY, "upload");
    *up = fresh;
    st = ts_buffer_create(uploader->device, up->capacity, &up->buffer, err);
    if (st == TS_OK && up->capacity)
        st = uploader->mapped ? start_mapped(up, err) : start_staged(up, err);
    if (st != TS_OK) {
        ts_upload_abort(up);
        return st;
    }
    *out = up;
    return TS_OK;
}

static ts_status send_piece(ts_upload *up, ts_error *err)
{
    if (!up->piece_used)
        return TS_OK;
    pthread_mutex_lock(&up->uploader->queue_lock);
    ts_status st =
        ts_buffer_write(up->uploader->queue, up->buffer, up->sent, up->piece, up->piece_used, err);
    pthread_mutex_unlock(&up->uploader->queue_lock);
    up->sent += up->piece_used;
    up->piece_used = 0;
    return st;
}

static ts_status stage(ts_upload *up, const uint8_t *data, size_t len, ts_error *err)
{
    while (len) {
        size_t room = up->piece_bytes - up->piece_used, n = len < room ? len : room;
        memcpy(up->piece + up->piece_used, data, n);
        up->piece_used += n;
        data += n;
        len -= n;
        if (up->piece_used == up->piece_bytes) {
            ts_status st = send_piece(up, err);
            if (st != TS_OK)
                return st;
        }
    }
    return TS_OK;
}

ts_status ts_upload_append(ts_upload *up, const void *data, size_t len, ts_error *err)
{
    const uint8_t *p = data;
    if (len > up->max_bytes - up->received)
        return ts_fail(err, TS_E_SIZE,
                       "the body has more than the %" PRIu64 " bytes that are right",
                       up->max_bytes);
    if (up->received < up->skip) {
        uint64_t left = up->skip - up->received;
        size_t n = len < left ? len : (size_t)left;
        up->received += n;
        p += n;
        len -= n;
    }
    uint64_t at = up->received - up->skip;
    up->received += len;
    if (at >= up->capacity)
        return TS_OK; /* the gap behind the last row */
    if (len > up->capacity - at)
        len = (size_t)(up->capacity - at);
    if (!len)
        return TS_OK;
    if (!up->mapped)
        return stage(up, p, len, err);
    memcpy(up->mapped + at, p, len);
    return TS_OK;
}

/* Give everything but the buffer back; what was written is then on the device. */
static ts_status release(ts_upload *up, ts_error *err)
{
    ts_uploader *u = up->uploader;
    ts_status st = TS_OK;
    pthread_mutex_lock(&u->queue_lock);
    if (up->mapped) {
        ts_buffer_unmap(u->queue, up->buffer, up->mapped);
        st = ts_queue_finish(u->queue, err);
    }
    if (up->slot >= 0)
        u->taken[up->slot] = false;
    pthread_mutex_unlock(&u->queue_lock);
    if (up->slot < 0)
        free(up->piece);
    up->mapped = up->piece = NULL;
    up->slot = -1;
    return st;
}

void ts_upload_abort(ts_upload *up)
{
    if (!up)
        return;
    ts_error ignored = {0}; /* nobody will read what was written */
    if (release(up, &ignored) != TS_OK)
        ts_error_clear(&ignored);
    ts_buffer_unref(up->buffer);
    free(up);
}

static ts_status make_tensor(ts_upload *up, ts_queue *queue, ts_tensor **out, ts_error *err)
{
    if (ts_layout_is_plain(&up->layout))
        return ts_tensor_wrap(up->buffer, 0, up->layout.dtype, &up->layout.shape, out, err);
    ts_tensor *tensor = NULL;
    ts_status st = ts_layout_to_tensor(queue, up->buffer, &up->layout, &tensor, err);
    if (st == TS_OK)
        st = ts_queue_finish(queue, err);
    if (st != TS_OK)
        ts_tensor_unref(tensor);
    else
        *out = tensor;
    return st;
}

ts_status ts_upload_commit(ts_upload *up, ts_queue *queue, ts_tensor **out, ts_error *err)
{
    ts_status st = TS_OK;
    if (up->received < up->min_bytes)
        st = ts_fail(err, TS_E_SIZE, "the body ends after %" PRIu64 " of %" PRIu64 " bytes",
                     up->received, up->min_bytes);
    if (st == TS_OK && up->piece)
        st = send_piece(up, err);
    ts_status released = release(up, err);
    if (st == TS_OK)
        st = released;
    if (st == TS_OK)
        st = make_tensor(up, queue, out, err);
    ts_buffer_unref(up->buffer);
    free(up);
    return st;
}

ts_status ts_upload_bytes(ts_uploader *uploader, ts_queue *queue, const ts_layout *layout,
                          const void *data, size_t len, ts_tensor **out, ts_error *err)
{
    ts_upload *up;
    uint64_t declared = len;
    ts_status st = ts_upload_begin(uploader, layout, &declared, &up, err);
    if (st != TS_OK)
        return st;
    st = ts_upload_append(up, data, len, err);
    if (st == TS_OK)
        return ts_upload_commit(up, queue, out, err);
    ts_upload_abort(up);
    return st;
}
