#include "server/media/pixel_pool.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

enum {
    KEPT = 16
};

/* The pool lives as long as its owner or any of its pictures does. */
struct ts_pixel_pool {
    pthread_mutex_t lock; /* guards all below */
    ts_pixels *free[KEPT];
    int n_free;
    long refs, allocated;
    bool closed;
};

ts_status ts_pixel_pool_create(ts_pixel_pool **out, ts_error *err)
{
    ts_pixel_pool *pool = calloc(1, sizeof *pool);
    if (!pool)
        return ts_fail(err, TS_E_NO_MEMORY, "picture pool");
    pthread_mutex_init(&pool->lock, NULL);
    pool->refs = 1;
    *out = pool;
    return TS_OK;
}

static void free_pixels(ts_pixels *p)
{
    free((void *)p->plane[0]);
    free(p);
}

static void drop_locked(ts_pixel_pool *pool)
{
    bool last = --pool->refs == 0;
    pthread_mutex_unlock(&pool->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

void ts_pixel_pool_destroy(ts_pixel_pool *pool)
{
    if (!pool)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->closed = true;
    while (pool->n_free)
        free_pixels(pool->free[--pool->n_free]);
    drop_locked(pool);
}

static void release(ts_pixels *p)
{
    ts_pixel_pool *pool = p->owner;
    pthread_mutex_lock(&pool->lock);
    if (pool->closed || pool->n_free == KEPT)
        free_pixels(p);
    else
        pool->free[pool->n_free++] = p;
    drop_locked(pool);
}

static ts_pixels *take_kept(ts_pixel_pool *pool, int width, int height)
{
    ts_pixels *found = NULL;
    pthread_mutex_lock(&pool->lock);
    for (int i = 0; i < pool->n_free && !found; i++)
        if (pool->free[i]->width == width && pool->free[i]->height == height) {
            found = pool->free[i];
            pool->free[i] = pool->free[--pool->n_free];
        }
    if (!found && pool->n_free == KEPT) /* another size is in use now */
        free_pixels(pool->free[--pool->n_free]);
    pool->refs++;
    pool->allocated += !found;
    pthread_mutex_unlock(&pool->lock);
    return found;
}

ts_status ts_pixel_pool_take(ts_pixel_pool *pool, int width, int height, ts_pixels **out,
                             ts_error *err)
{
    ts_pixels *p = take_kept(pool, width, height);
    if (!p) {
        int cw = (width + 1) / 2, ch = (height + 1) / 2;
        size_t luma = (size_t)width * height, chroma = (size_t)cw * ch;
        uint8_t *memory = malloc(luma + chroma + chroma);
        p = calloc(1, sizeof *p);
        if (!p || !memory) {
            free(memory);
            free(p);
            pthread_mutex_lock(&pool->lock);
            drop_locked(pool);
            return ts_fail(err, TS_E_NO_MEMORY, "picture of %dx%d", width, height);
        }
        p->format = TS_PIXELS_I420;
        p->width = width;
        p->height = height;
        p->plane[0] = memory;
        p->plane[1] = memory + luma;
        p->plane[2] = memory + luma + chroma;
        p->stride[0] = (size_t)width;
        p->stride[1] = p->stride[2] = (size_t)cw;
        p->release = release;
        p->owner = pool;
    }
    p->refs = 1;
    *out = p;
    return TS_OK;
}

long ts_pixel_pool_allocated(ts_pixel_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    long n = pool->allocated;
    pthread_mutex_unlock(&pool->lock);
    return n;
}
