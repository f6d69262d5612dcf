#include "server/frame.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* a burst of huge pictures must not stay allocated for good */
    KEEP_BYTES_PER_FRAME = 16 << 20
};

struct ts_frame_pool {
    atomic_int refs;           /* the owner and every frame that is out */
    pthread_mutex_t free_lock; /* guards: free, n_free, closed */
    ts_frame *free;
    size_t n_free, keep;
    bool closed;
};

ts_status ts_frame_pool_create(size_t keep, ts_frame_pool **out, ts_error *err)
{
    ts_frame_pool *pool = calloc(1, sizeof *pool);
    if (!pool)
        return ts_fail(err, TS_E_NO_MEMORY, "frame pool");
    atomic_init(&pool->refs, 1);
    pthread_mutex_init(&pool->free_lock, NULL);
    pool->keep = keep;
    *out = pool;
    return TS_OK;
}

static void frame_free(ts_frame *frame)
{
    ts_buf_finish(&frame->head);
    ts_buf_finish(&frame->payload);
    free(frame);
}

static void pool_unref(ts_frame_pool *pool)
{
    if (atomic_fetch_sub_explicit(&pool->refs, 1, memory_order_acq_rel) != 1)
        return;
    pthread_mutex_destroy(&pool->free_lock);
    free(pool);
}

void ts_frame_pool_destroy(ts_frame_pool *pool)
{
    if (!pool)
        return;
    pthread_mutex_lock(&pool->free_lock);
    ts_frame *list = pool->free;
    pool->free = NULL;
    pool->closed = true;
    pthread_mutex_unlock(&pool->free_lock);
    while (list) {
        ts_frame *next = list->next;
        frame_free(list);
        list = next;
    }
    pool_unref(pool);
}

ts_status ts_frame_acquire(ts_frame_pool *pool, ts_frame **out, ts_error *err)
{
    pthread_mutex_lock(&pool->free_lock);
    ts_frame *frame = pool->free;
    if (frame) {
        pool->free = frame->next;
        pool->n_free--;
    }
    pthread_mutex_unlock(&pool->free_lock);
    if (frame) {
        ts_buf head = frame->head, payload = frame->payload;
        memset(frame, 0, sizeof *frame);
        ts_buf_reset(&head);
        ts_buf_reset(&payload);
        frame->head = head;
        frame->payload = payload;
    } else {
        frame = calloc(1, sizeof *frame);
        if (!frame)
            return ts_fail(err, TS_E_NO_MEMORY, "a frame");
    }
    atomic_init(&frame->refs, 1);
    frame->pool = pool;
    atomic_fetch_add_explicit(&pool->refs, 1, memory_order_relaxed);
    *out = frame;
    return TS_OK;
}

ts_frame *ts_frame_ref(ts_frame *frame)
{
    if (frame)
        atomic_fetch_add_explicit(&frame->refs, 1, memory_order_relaxed);
    return frame;
}

void ts_frame_unref(ts_frame *frame)
{
    if (!frame || atomic_fetch_sub_explicit(&frame->refs, 1, memory_order_acq_rel) != 1)
        return;
    ts_frame_pool *pool = frame->pool;
    pthread_mutex_lock(&pool->free_lock);
    bool keep = !pool->closed && pool->n_free < pool->keep &&
                frame->payload.cap <= KEEP_BYTES_PER_FRAME && !frame->payload.failed &&
                !frame->head.failed;
    if (keep) {
        frame->next = pool->free;
        pool->free = frame;
        pool->n_free++;
    }
    pthread_mutex_unlock(&pool->free_lock);
    if (!keep)
        frame_free(frame);
    pool_unref(pool);
}

size_t ts_frame_bytes(const ts_frame *frame)
{
    return frame->head.len + frame->payload.len;
}
