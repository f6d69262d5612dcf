/*
 * A bounded queue of pointers between threads: the one way to hand work over.
 *
 * What happens when it is full is fixed at creation: block the sender, reject the item, or drop the
 * oldest. Items still queued at destroy go to `drop`, as do replaced ones. Thread: any.
 */
#ifndef TS_CL_BASE_CHAN_H
#define TS_CL_BASE_CHAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cl/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_chan ts_chan;

typedef enum ts_chan_full {
    TS_CHAN_BLOCK,
    TS_CHAN_REJECT,
    TS_CHAN_DROP_OLDEST
} ts_chan_full;

TS_CHECKED ts_status ts_chan_create(size_t capacity, ts_chan_full when_full, void (*drop)(void *),
                                    ts_chan **out, ts_error *err);
/** Destroy after every thread is done with it. NULL is fine. */
void ts_chan_destroy(ts_chan *chan);
/** Give an item. False: closed, or full with TS_CHAN_REJECT; the caller keeps the item. */
bool ts_chan_send(ts_chan *chan, void *item);
/** Take the oldest item, waiting for one. NULL: closed and empty. */
void *ts_chan_recv(ts_chan *chan);
/** As ts_chan_recv, for `timeout_us` at most (0: do not wait). NULL: nothing came. */
void *ts_chan_recv_timeout(ts_chan *chan, int64_t timeout_us);
/** No more items; receivers drain what is left, then get NULL. */
void ts_chan_close(ts_chan *chan);
bool ts_chan_closed(ts_chan *chan);
size_t ts_chan_depth(ts_chan *chan);

#ifdef __cplusplus
}
#endif
#endif
