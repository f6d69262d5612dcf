#include "server/history.h"

#include <stdlib.h>
#include <string.h>

#include "cl/base/size.h"

enum {
    KEEP_ALL = 100, /* the newest items that thinning leaves alone */
    DEFAULT_BYTES = 256 << 20
};

struct ts_history {
    ts_history_item *items; /* oldest first */
    size_t n, cap, max_items;
    uint64_t bytes, max_bytes, every, offered, pinned_bytes;
    bool thin;
};

ts_status ts_history_create(ts_history **out, ts_error *err)
{
    *out = calloc(1, sizeof **out);
    if (!*out)
        return ts_fail(err, TS_E_NO_MEMORY, "history");
    ts_history_configure(*out, 3, 0, 1, false);
    return TS_OK;
}

static void remove_at(ts_history *h, size_t i)
{
    ts_history_item *item = &h->items[i];
    h->bytes -= item->bytes;
    if (item->pinned)
        h->pinned_bytes -= item->bytes;
    ts_frame_unref(item->frame);
    ts_entry_finish(&item->entry);
    free(item->label);
    memmove(item, item + 1, (h->n - i - 1) * sizeof *item);
    h->n--;
}

void ts_history_clear(ts_history *h)
{
    while (h->n)
        remove_at(h, h->n - 1);
}

void ts_history_destroy(ts_history *h)
{
    if (!h)
        return;
    ts_history_clear(h);
    free(h->items);
    free(h);
}

static bool full(const ts_history *h)
{
    return h->n > h->max_items || (h->bytes > h->max_bytes && h->n > 1);
}

/* The oldest item that may go, -1: none. */
static int64_t oldest_unpinned(const ts_history *h, size_t from)
{
    for (size_t i = from; i + 1 < h->n; i++)
        if (!h->items[i].pinned)
            return (int64_t)i;
    return -1;
}

/*
 * Thinning: the item to lose is the one whose neighbours lie closest together relative to its age,
 * so that gaps double with distance from the newest; the first item always stays.
 */
static int64_t thinnest(const ts_history *h)
{
    int64_t best = -1;
    double best_gap = 0;
    double newest = (double)h->items[h->n - 1].seq;
    size_t end = h->n > KEEP_ALL ? h->n - KEEP_ALL : 1;
    for (size_t i = 1; i < end && i + 1 < h->n; i++) {
        if (h->items[i].pinned)
            continue;
        double gap = (double)(h->items[i + 1].seq - h->items[i - 1].seq) /
                     (newest - (double)h->items[i].seq + 1);
        if (best < 0 || gap < best_gap) {
            best = (int64_t)i;
            best_gap = gap;
        }
    }
    return best >= 0 ? best : oldest_unpinned(h, 1);
}

static void shrink(ts_history *h)
{
    while (full(h)) {
        int64_t i = h->thin ? thinnest(h) : oldest_unpinned(h, 0);
        if (i < 0)
            return;
        remove_at(h, (size_t)i);
    }
}

void ts_history_configure(ts_history *h, size_t max_items, uint64_t max_bytes, uint64_t every,
                          bool thin_log)
{
    h->max_items = max_items ? max_items : 1;
    h->max_bytes = max_bytes ? max_bytes : DEFAULT_BYTES;
    h->every = every ? every : 1;
    h->thin = thin_log;
    shrink(h);
}

/* Room for an item with this seq, or NULL where it is not to be kept. */
static ts_history_item *next_item(ts_history *h, uint64_t seq)
{
    if (h->offered++ % h->every)
        return NULL;
    if (h->n && h->items[h->n - 1].seq >= seq)
        return NULL;
    if (h->n == h->cap) {
        size_t cap = h->cap ? h->cap * 2 : 16;
        ts_history_item *items = ts_realloc_array(h->items, cap, sizeof *items);
        if (!items)
            return NULL;
        h->items = items;
        h->cap = cap;
    }
    ts_history_item *item = &h->items[h->n++];
    memset(item, 0, sizeof *item);
    item->seq = seq;
    return item;
}

void ts_history_add(ts_history *h, ts_frame *frame)
{
    ts_history_item *item = next_item(h, frame->seq);
    if (!item)
        return;
    item->frame = ts_frame_ref(frame);
    item->step = frame->step;
    item->t = frame->t;
    item->bytes = ts_frame_bytes(frame);
    h->bytes += item->bytes;
    shrink(h);
}

void ts_history_add_tensor(ts_history *h, uint64_t seq, const ts_entry *entry)
{
    ts_history_item *item = next_item(h, seq);
    if (!item)
        return;
    item->entry = *entry;
    item->entry.tags = NULL;
    ts_tensor_ref(entry->tensor);
    item->step = entry->step;
    item->t = entry->t;
    item->bytes = ts_tensor_nbytes(entry->tensor);
    h->bytes += item->bytes;
    shrink(h);
}

size_t ts_history_count(const ts_history *h)
{
    return h->n;
}

uint64_t ts_history_bytes(const ts_history *h)
{
    return h->bytes;
}

const ts_history_item *ts_history_at(const ts_history *h, size_t index)
{
    return &h->items[index];
}

int64_t ts_history_find_seq(const ts_history *h, uint64_t seq)
{
    size_t lo = 0, hi = h->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (h->items[mid].seq <= seq)
            lo = mid + 1;
        else
            hi = mid;
    }
    return (int64_t)lo - 1;
}

int64_t ts_history_find_step(const ts_history *h, int64_t step)
{
    /* steps come from clients and need not rise */
    int64_t best = -1;
    for (size_t i = 0; i < h->n; i++)
        if (h->items[i].step <= step && (best < 0 || h->items[i].step >= h->items[best].step))
            best = (int64_t)i;
    return best;
}

ts_status ts_history_pin(ts_history *h, uint64_t seq, const char *label, bool pin, ts_error *err)
{
    int64_t i = ts_history_find_seq(h, seq);
    if (i < 0 || h->items[i].seq != seq)
        return ts_fail(err, TS_E_NOT_FOUND, "no frame with seq %llu is kept",
                       (unsigned long long)seq);
    ts_history_item *item = &h->items[i];
    uint64_t bytes = item->bytes;
    if (pin && !item->pinned && h->pinned_bytes + bytes > h->max_bytes)
        return ts_fail(err, TS_E_LIMIT, "pinned frames would need %llu bytes of %llu",
                       (unsigned long long)(h->pinned_bytes + bytes),
                       (unsigned long long)h->max_bytes);
    if (pin != item->pinned)
        h->pinned_bytes = pin ? h->pinned_bytes + bytes : h->pinned_bytes - bytes;
    item->pinned = pin;
    free(item->label);
    item->label = label ? strdup(label) : NULL;
    return TS_OK;
}

json_t *ts_history_json(const ts_history *h)
{
    json_t *list = json_array();
    for (size_t i = 0; i < h->n; i++) {
        const ts_history_item *item = &h->items[i];
        json_t *o =
            json_pack("{s:I,s:I,s:f,s:I,s:s,s:b}", "seq", (json_int_t)item->seq, "step",
                      (json_int_t)item->step, "t", item->t, "bytes", (json_int_t)item->bytes,
                      "tier", item->frame ? "host" : "device", "pinned", item->pinned);
        if (item->label)
            json_object_set_new(o, "label", json_string(item->label));
        json_array_append_new(list, o);
    }
    return list;
}
