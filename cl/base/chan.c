#include "cl/base/chan.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "cl/base/clock.h"

struct ts_chan {
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t not_empty, not_full;
    void (*drop)(void *);
    ts_chan_full when_full;
    size_t capacity, head, count;
    bool closed;
    void **items;
};

ts_status ts_chan_create(size_t capacity, ts_chan_full when_full, void (*drop)(void *),
                         ts_chan **out, ts_error *err)
{
    ts_chan *chan = calloc(1, sizeof *chan);
    if (chan)
        chan->items = calloc(capacity, sizeof *chan->items);
    if (!chan || !chan->items) {
        free(chan);
        return ts_fail(err, TS_E_NO_MEMORY, "channel of %zu items", capacity);
    }
    chan->capacity = capacity;
    chan->when_full = when_full;
    chan->drop = drop;
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&chan->lock, NULL);
    pthread_cond_init(&chan->not_empty, &attr);
    pthread_cond_init(&chan->not_full, &attr);
    pthread_condattr_destroy(&attr);
    *out = chan;
    return TS_OK;
}

static void *take_locked(ts_chan *chan)
{
    void *item = chan->items[chan->head];
    chan->head = (chan->head + 1) % chan->capacity;
    chan->count--;
    return item;
}

void ts_chan_destroy(ts_chan *chan)
{
    if (!chan)
        return;
    while (chan->count) {
        void *item = take_locked(chan);
        if (chan->drop)
            chan->drop(item);
    }
    pthread_cond_destroy(&chan->not_full);
    pthread_cond_destroy(&chan->not_empty);
    pthread_mutex_destroy(&chan->lock);
    free(chan->items);
    free(chan);
}

bool ts_chan_send(ts_chan *chan, void *item)
{
    void *oldest = NULL;
    pthread_mutex_lock(&chan->lock);
    while (!chan->closed && chan->count == chan->capacity && chan->when_full == TS_CHAN_BLOCK)
        pthread_cond_wait(&chan->not_full, &chan->lock);
    bool full = chan->count == chan->capacity;
    bool accept = !chan->closed && !(full && chan->when_full == TS_CHAN_REJECT);
    if (accept) {
        if (full)
            oldest = take_locked(chan);
        chan->items[(chan->head + chan->count++) % chan->capacity] = item;
        pthread_cond_signal(&chan->not_empty);
    }
    pthread_mutex_unlock(&chan->lock);
    if (oldest && chan->drop)
        chan->drop(oldest);
    return accept;
}

void *ts_chan_recv(ts_chan *chan)
{
    void *item = NULL;
    pthread_mutex_lock(&chan->lock);
    while (chan->count == 0 && !chan->closed)
        pthread_cond_wait(&chan->not_empty, &chan->lock);
    if (chan->count) {
        item = take_locked(chan);
        pthread_cond_signal(&chan->not_full);
    }
    pthread_mutex_unlock(&chan->lock);
    return item;
}

void *ts_chan_recv_timeout(ts_chan *chan, int64_t timeout_us)
{
    void *item = NULL;
    int64_t until = ts_now_us() + timeout_us;
    struct timespec deadline = {.tv_sec = until / 1000000, .tv_nsec = until % 1000000 * 1000};
    pthread_mutex_lock(&chan->lock);
    while (chan->count == 0 && !chan->closed && timeout_us > 0)
        if (pthread_cond_timedwait(&chan->not_empty, &chan->lock, &deadline) == ETIMEDOUT)
            break;
    if (chan->count) {
        item = take_locked(chan);
        pthread_cond_signal(&chan->not_full);
    }
    pthread_mutex_unlock(&chan->lock);
    return item;
}

void ts_chan_close(ts_chan *chan)
{
    pthread_mutex_lock(&chan->lock);
    chan->closed = true;
    pthread_cond_broadcast(&chan->not_empty);
    pthread_cond_broadcast(&chan->not_full);
    pthread_mutex_unlock(&chan->lock);
}

bool ts_chan_closed(ts_chan *chan)
{
    pthread_mutex_lock(&chan->lock);
    bool closed = chan->closed;
    pthread_mutex_unlock(&chan->lock);
    return closed;
}

size_t ts_chan_depth(ts_chan *chan)
{
    pthread_mutex_lock(&chan->lock);
    size_t count = chan->count;
    pthread_mutex_unlock(&chan->lock);
    return count;
}
