/*
 * What a stream remembers: its last frames, or the tensors that they showed, by seq and step, within
 * a number of items and bytes.
 *
 * The newest is always kept. With thinning, the last 100 are kept, then every 2nd, 4th, … further
 * back, so that a whole run fits; the first and pinned items stay. Thread: one at a time.
 */
#ifndef TS_SERVER_HISTORY_H
#define TS_SERVER_HISTORY_H

#include "cl/base/json.h"
#include "cl/tensor/store.h"
#include "server/frame.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_history ts_history;

typedef struct ts_history_item {
    uint64_t seq;
    int64_t step;
    double t;
    size_t bytes;
    ts_frame *frame; /* or NULL: */
    ts_entry entry;  /* a snapshot of the tensor (without its tags) */
    bool pinned;
    char *label;
} ts_history_item;

TS_CHECKED ts_status ts_history_create(ts_history **out, ts_error *err);
void ts_history_destroy(ts_history *history); /* NULL is fine */
/** `every` n: keep each n-th frame; `max_bytes` 0: 256 MiB. */
void ts_history_configure(ts_history *history, size_t max_items, uint64_t max_bytes, uint64_t every,
                          bool thin_log);
/** Remember a frame (takes its own reference). Out of memory forgets it. */
void ts_history_add(ts_history *history, ts_frame *frame);
/** Remember a tensor (takes its own reference) under this seq. */
void ts_history_add_tensor(ts_history *history, uint64_t seq, const ts_entry *entry);
size_t ts_history_count(const ts_history *history);
uint64_t ts_history_bytes(const ts_history *history);
/** Item by position, 0 the oldest. */
const ts_history_item *ts_history_at(const ts_history *history, size_t index);
/** Position of the newest item whose seq (or step) is at most `value`; -1: none. */
int64_t ts_history_find_seq(const ts_history *history, uint64_t seq);
int64_t ts_history_find_step(const ts_history *history, int64_t step);
/** Errors: TS_E_NOT_FOUND; TS_E_LIMIT (pins would fill the whole history). */
TS_CHECKED ts_status ts_history_pin(ts_history *history, uint64_t seq, const char *label, bool pin,
                                    ts_error *err);
/** [{seq, step, t, bytes, tier, pinned, label}] */
json_t *ts_history_json(const ts_history *history);
void ts_history_clear(ts_history *history);

#ifdef __cplusplus
}
#endif
#endif
