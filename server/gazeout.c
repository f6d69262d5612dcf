#include "server/gazeout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/name.h"
#include "cl/base/size.h"

enum {
    MAX_OUTPUTS = 32,
    MAX_FILE = 1 << 30
};

typedef enum kind {
    IN_JSON,    /* nothing to collect */
    IN_DETAILS, /* adds to the JSON */
    PIXEL_MASK,
    PANEL,
    OUTPUT_FRAME,
    SIDE_BY_SIDE,
    VISUALIZATION,
    SCALE_MASKS,
    TOKENS,
    FROM_SOURCE
} kind;

static const struct {
    const char *name;
    kind kind;
} known[] = {
    {"tokens", IN_JSON},
    {"cells", IN_JSON},
    {"metrics", IN_DETAILS},
    {"points", IN_DETAILS},
    {"traces", IN_DETAILS},
    {"mask", PIXEL_MASK},
    {"pixel_mask", PIXEL_MASK},
    {"panel", PANEL},
    {"mask_panel", PANEL},
    {"output", OUTPUT_FRAME},
    {"output_frame", OUTPUT_FRAME},
    {"side_by_side", SIDE_BY_SIDE},
    {"visualization", VISUALIZATION},
    {"scale_masks", SCALE_MASKS},
    {"generated", TOKENS},
    {"scores", FROM_SOURCE},
    {"vision_embeddings", FROM_SOURCE},
};

/* One tensor in the making. Pixels lie on the device from the start, small things on the host. */
typedef struct item {
    char name[64];
    kind kind;
    ts_dtype dtype;
    ts_shape shape; /* of all frames */
    size_t frame_bytes;
    ts_buffer *buffer;
    ts_buf host;
} item;

struct ts_gazeout {
    int64_t frames, done;
    item items[MAX_OUTPUTS];
    size_t n;
    ts_buffer *scratch; /* a frame's picture before it takes its place */
    size_t scratch_bytes;
};

static bool find_kind(const char *name, kind *out)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(name, known[i].name)) {
            *out = known[i].kind;
            return true;
        }
    return false;
}

static ts_status unknown_output(const char *name, ts_error *err)
{
    char list[512] = "";
    for (size_t i = 0, n = 0; i < sizeof known / sizeof *known; i++)
        n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", i ? ", " : "", known[i].name);
    return ts_fail(err, TS_E_OPTION, "outputs: no '%s'; %s", name ? name : "", list);
}

static item *new_item(ts_gazeout *o, const char *name, kind k)
{
    if (o->n == MAX_OUTPUTS)
        return NULL;
    item *it = &o->items[o->n++];
    *it = (item){.kind = k};
    snprintf(it->name, sizeof it->name, "%s", name);
    return it;
}

static bool has_item(const ts_gazeout *o, const char *name)
{
    for (size_t i = 0; i < o->n; i++)
        if (!strcmp(o->items[i].name, name))
            return true;
    return false;
}

ts_status ts_gazeout_create(const json_t *names, int64_t frames, ts_gazeout **out,
                            bool *wants_tensors, bool *wants_details, ts_error *err)
{
    *wants_tensors = *wants_details = false;
    if (names && !json_is_array(names))
        return ts_fail(err, TS_E_OPTION, "outputs: expected an array of names");
    ts_gazeout *o = calloc(1, sizeof *o);
    if (!o)
        return ts_fail(err, TS_E_NO_MEMORY, "no memory for outputs");
    o->frames = frames;
    ts_status st = TS_OK;
    for (size_t i = 0; i < json_array_size(names) && st == TS_OK; i++) {
        const char *name = json_string_value(json_array_get(names, i));
        kind k;
        if (!name || !find_kind(name, &k))
            st = unknown_output(name, err);
        else if (k == IN_DETAILS)
            *wants_details = true;
        else if (k != IN_JSON && !has_item(o, name)) {
            *wants_tensors = true;
            (void)new_item(o, name, k); /* fewer kinds than room */
        }
    }
    if (st != TS_OK)
        ts_gazeout_destroy(o);
    else
        *out = o;
    return st;
}

void ts_gazeout_destroy(ts_gazeout *out)
{
    if (!out)
        return;
    for (size_t i = 0; i < out->n; i++) {
        ts_buffer_unref(out->items[i].buffer);
        ts_buf_finish(&out->items[i].host);
    }
    ts_buffer_unref(out->scratch);
    free(out);
}

/* Room for every frame's picture of this output, at the first frame. */
static ts_status begin_pixels(ts_gazeout *o, item *it, ts_device *device, int64_t w, int64_t h,
                              int channels, ts_error *err)
{
    if (it->buffer)
        return TS_OK;
    size_t nbytes;
    it->dtype = TS_U8;
    it->shape = channels == 1 ? TS_SHAPE(o->frames, h, w) : TS_SHAPE(o->frames, h, w, channels);
    it->frame_bytes = (size_t)w * (size_t)h * (size_t)channels;
    ts_status st = ts_shape_check(&it->shape, TS_U8, &nbytes, err);
    return st == TS_OK ? ts_buffer_create(device, nbytes, &it->buffer, err) : st;
}

static ts_status want_scratch(ts_gazeout *o, ts_device *device, size_t bytes, ts_error *err)
{
    if (o->scratch && o->scratch_bytes >= bytes)
        return TS_OK;
    ts_buffer_unref(o->scratch);
    o->scratch = NULL;
    o->scratch_bytes = bytes;
    return ts_buffer_create(device, bytes, &o->scratch, err);
}

static ts_status add_picture(ts_gazeout *o, item *it, ts_gaze_session *s, ts_queue *q,
                             const ts_gaze_image *f, ts_error *err)
{
    ts_device *device = ts_queue_device(q);
    int wide = it->kind == SIDE_BY_SIDE ? 3 : 1;
    ts_gaze_image image = {NULL, 0, wide * f->width, f->height};
    ts_status st = TS_OK;
    if (it->kind == OUTPUT_FRAME) {
        image = ts_gaze_current(ts_gaze_session_core(s));
    } else if (it->kind == VISUALIZATION) {
        st = ts_gaze_session_picture(s, q, f, &image, err);
    } else {
        st = want_scratch(o, device, 4 * (size_t)image.width * (size_t)image.height, err);
        if (st == TS_OK)
            st = it->kind == PANEL ? ts_gaze_session_panel(s, q, f, o->scratch, err)
                                   : ts_gaze_session_side_by_side(s, q, f, o->scratch, err);
        image.buffer = o->scratch;
    }
    if (st == TS_OK)
        st = begin_pixels(o, it, device, image.width, image.height, 4, err);
    if (st == TS_OK)
        st = ts_buffer_copy(q, image.buffer, image.offset, it->buffer,
                            it->frame_bytes * (size_t)o->done, it->frame_bytes, err);
    return st;
}

static ts_status add_mask(ts_gazeout *o, item *it, ts_gaze_session *s, ts_queue *q,
                          const ts_gaze_image *f, ts_error *err)
{
    ts_status st = begin_pixels(o, it, ts_queue_device(q), f->width, f->height, 1, err);
    if (st != TS_OK)
        return st;
    return ts_gaze_mask(ts_gaze_session_core(s), q, it->buffer, it->frame_bytes * (size_t)o->done,
                        err);
}

/* One item per scale: scale_mask_0 [T, rows*cols], … */
static ts_status add_scale_masks(ts_gazeout *o, const ts_gaze_step *step, ts_error *err)
{
    for (size_t s = 0; s < step->fix.n_scales; s++) {
        char name[32];
        int64_t n = (int64_t)step->fix.scales[s].cols * step->fix.scales[s].rows;
        item *it = NULL;
        snprintf(name, sizeof name, "scale_mask_%zu", s);
        for (size_t i = 0; i < o->n; i++)
            if (!strcmp(o->items[i].name, name))
                it = &o->items[i];
        if (!it && !(it = new_item(o, name, IN_JSON)))
            return ts_fail(err, TS_E_TOO_LARGE, "more than %d outputs", MAX_OUTPUTS);
        it->dtype = TS_U8;
        it->shape = TS_SHAPE(o->frames, n);
        size_t at = it->host.len;
        if (!ts_buf_reserve(&it->host, (size_t)n))
            return ts_fail(err, TS_E_NO_MEMORY, "no memory for scale masks");
        memset(it->host.data + at, 0, (size_t)n);
        it->host.len += (size_t)n;
        for (size_t i = 0; i < step->fix.n_cells; i++) {
            const ts_gaze_cell *c = &step->fix.cells[i];
            if ((size_t)c->scale == s)
                it->host.data[at + (size_t)c->row * (size_t)c->cols + (size_t)c->col] = 1;
        }
    }
    return TS_OK;
}

static item *want_item(ts_gazeout *o, const char *name, ts_dtype dtype)
{
    for (size_t i = 0; i < o->n; i++)
        if (!strcmp(o->items[i].name, name))
            return &o->items[i];
    item *it = new_item(o, name, IN_JSON);
    if (it)
        it->dtype = dtype;
    return it;
}

/* Clip-global ids, counts and stop flags, as the model's own generate call gives them. */
static ts_status add_tokens(ts_gazeout *o, const ts_gaze_step *step, ts_error *err)
{
    const ts_gaze_fix *f = &step->fix;
    int64_t vocabulary = 0, n = (int64_t)f->tile_start[f->n_tiles];
    for (size_t s = 0; s < f->n_scales; s++)
        vocabulary += (int64_t)f->scales[s].cols * f->scales[s].rows;
    if (f->n_tiles != 1)
        return ts_fail(err, TS_E_OPTION, "outputs: 'generated' is per tile; ask for points");
    item *pos = want_item(o, "gazing_pos", TS_I64);
    item *count = want_item(o, "num_gazing_each_frame", TS_I64);
    item *padded = want_item(o, "if_padded_gazing", TS_BOOL);
    if (!pos || !count || !padded)
        return ts_fail(err, TS_E_TOO_LARGE, "more than %d outputs", MAX_OUTPUTS);
    for (int64_t i = 0; i < n; i++) {
        int64_t id = f->tokens[i] + vocabulary * o->done;
        uint8_t stop = f->tokens[i] >= vocabulary;
        ts_buf_append(&pos->host, &id, sizeof id);
        ts_buf_append(&padded->host, &stop, 1);
    }
    ts_buf_append(&count->host, &n, sizeof n);
    pos->shape = TS_SHAPE(1, (int64_t)(pos->host.len / sizeof n));
    padded->shape = TS_SHAPE(1, (int64_t)padded->host.len);
    count->shape = TS_SHAPE(o->frames);
    return TS_OK;
}

static ts_status add_from_source(ts_gazeout *o, item *it, ts_gaze_session *s, ts_queue *q,
                                 ts_error *err)
{
    ts_gaze_source *source = ts_gaze_session_source(s);
    ts_buffer *buffer = NULL;
    size_t offset = 0, bytes = sizeof(float);
    int64_t dims[8];
    int rank = 0;
    ts_status st = TS_OK;
    if (source->output)
        st = source->output(source->self, it->name, &buffer, &offset, dims, &rank, err);
    if (st == TS_OK && !buffer)
        st = ts_fail(err, TS_E_OPTION, "outputs: %s has no '%s'", source->name, it->name);
    if (st != TS_OK)
        return st;
    it->dtype = TS_F32;
    it->shape = (ts_shape){.rank = rank + 1, .dim = {o->frames}};
    for (int i = 0; i < rank && i + 1 < TS_MAX_RANK; i++) {
        it->shape.dim[i + 1] = dims[i];
        bytes *= (size_t)dims[i];
    }
    it->frame_bytes = bytes;
    if (!it->buffer)
        st = ts_buffer_create(ts_queue_device(q), bytes * (size_t)o->frames, &it->buffer, err);
    if (st == TS_OK)
        st = ts_buffer_copy(q, buffer, offset, it->buffer, bytes * (size_t)o->done, bytes, err);
    return st;
}

ts_status ts_gazeout_add(ts_gazeout *o, ts_gaze_session *s, ts_queue *q, const ts_gaze_image *frame,
                         const ts_gaze_step *step, ts_error *err)
{
    ts_status st = TS_OK;
    size_t n = o->n; /* scale masks and tokens add items */
    for (size_t i = 0; i < n && st == TS_OK; i++) {
        item *it = &o->items[i];
        switch (it->kind) {
        case PIXEL_MASK:
            st = add_mask(o, it, s, q, frame, err);
            break;
        case PANEL:
        case OUTPUT_FRAME:
        case SIDE_BY_SIDE:
        case VISUALIZATION:
            st = add_picture(o, it, s, q, frame, err);
            break;
        case SCALE_MASKS:
            st = add_scale_masks(o, step, err);
            break;
        case TOKENS:
            st = add_tokens(o, step, err);
            break;
        case FROM_SOURCE:
            st = add_from_source(o, it, s, q, err);
            break;
        case IN_JSON:
        case IN_DETAILS:
            break;
        }
    }
    o->done += st == TS_OK;
    return st;
}

/* Items that hold nothing themselves (their parts are items of their own). */
static bool is_empty(const item *it)
{
    return it->kind == SCALE_MASKS || it->kind == TOKENS;
}

ts_status ts_gazeout_store(ts_gazeout *o, ts_queue *q, ts_store *store, const char *prefix,
                           json_t **stored, ts_error *err)
{
    char names[MAX_OUTPUTS][TS_NAME_MAX + 1];
    const char *name_list[MAX_OUTPUTS];
    ts_tensor *tensors[MAX_OUTPUTS] = {0};
    size_t n = 0;
    ts_status st = TS_OK;
    *stored = json_array();
    for (size_t i = 0; i < o->n && st == TS_OK; i++) {
        item *it = &o->items[i];
        if (is_empty(it))
            continue;
        int len = snprintf(names[n], sizeof names[n], "%s.%s", prefix, it->name);
        if (len >= (int)sizeof names[n])
            st = ts_fail(err, TS_E_NAME, "store: the name %s.%s is too long", prefix, it->name);
        else
            st = ts_name_check("tensor", names[n], err);
        if (st == TS_OK)
            st = it->buffer ? ts_tensor_wrap(it->buffer, 0, it->dtype, &it->shape, &tensors[n], err)
                            : ts_tensor_from_host(q, it->dtype, &it->shape, it->host.data,
                                                  it->host.len, &tensors[n], err);
        name_list[n] = names[n];
        n += st == TS_OK;
    }
    if (st == TS_OK)
        st = ts_queue_finish(q, err);
    if (st == TS_OK && n)
        st = ts_store_publish_all(store, n, name_list, tensors, NULL, NULL, err);
    for (size_t i = 0; i < n; i++) {
        if (st == TS_OK)
            json_array_append_new(*stored, json_string(names[i]));
        ts_tensor_unref(tensors[i]);
    }
    if (st != TS_OK) {
        json_decref(*stored);
        *stored = NULL;
    }
    return st;
}

static size_t item_bytes(const item *it)
{
    return it->buffer ? (size_t)ts_shape_elements(&it->shape) * ts_dtype_bytes(it->dtype)
                      : it->host.len;
}

static json_t *header_of(const ts_gazeout *o, const json_t *result, size_t *total)
{
    json_t *header = json_object();
    char *text = json_dumps(result, JSON_COMPACT);
    json_object_set_new(header, "__metadata__", json_pack("{s:s}", "result", text ? text : "{}"));
    free(text);
    *total = 0;
    for (size_t i = 0; i < o->n; i++) {
        const item *it = &o->items[i];
        if (is_empty(it))
            continue;
        size_t bytes = item_bytes(it);
        json_t *shape = json_array();
        for (int k = 0; k < it->shape.rank; k++)
            json_array_append_new(shape, json_integer(it->shape.dim[k]));
        json_object_set_new(header, it->name,
                            json_pack("{s:s,s:o,s:[I,I]}", "dtype", ts_dtype_safetensors(it->dtype),
                                      "shape", shape, "data_offsets", (json_int_t)*total,
                                      (json_int_t)(*total + bytes)));
        *total += bytes;
    }
    return header;
}

ts_status ts_gazeout_safetensors(ts_gazeout *o, ts_queue *q, const json_t *result, ts_buf *file,
                                 ts_error *err)
{
    size_t total;
    json_t *header = header_of(o, result, &total);
    ts_buf text = {0};
    ts_json_write(header, &text);
    json_decref(header);
    while (text.len % 8) /* data is aligned for readers that map the file */
        ts_buf_append(&text, " ", 1);
    if (total > MAX_FILE) {
        ts_buf_finish(&text);
        return ts_fail(err, TS_E_TOO_LARGE,
                       "the outputs have %zu bytes, an answer at most %d; use "
                       "\"store\"",
                       total, MAX_FILE);
    }
    uint64_t n = text.len;
    uint8_t length[8];
    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t)(n >> (8 * i));
    ts_buf_append(file, length, 8);
    ts_buf_append(file, text.data, text.len);
    ts_buf_finish(&text);
    if (!ts_buf_reserve(file, total))
        return ts_fail(err, TS_E_NO_MEMORY, "no memory for %zu bytes of outputs", total);
    ts_status st = TS_OK;
    for (size_t i = 0; i < o->n && st == TS_OK; i++) {
        item *it = &o->items[i];
        if (is_empty(it))
            continue;
        size_t bytes = item_bytes(it);
        if (it->buffer)
            st = ts_buffer_read(q, it->buffer, 0, file->data + file->len, bytes, err);
        else
            memcpy(file->data + file->len, it->host.data, bytes);
        file->len += bytes;
    }
    return st;
}
