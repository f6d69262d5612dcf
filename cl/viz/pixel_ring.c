#include "cl/viz/pixel_ring.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "cl/base/size.h"

enum {
    KEEP = 3 /* idle pictures that keep their memory */
};

typedef struct held {
    ts_pixels pixels;
    pixel_ring *ring;
    struct held *next;
    void *memory;
    size_t cap;
} held;

struct pixel_ring {
    pthread_mutex_t idle_lock; /* guards: idle, n_idle */
    held *idle;
    int n_idle;
    int refs; /* atomic: the renderer's, and one per picture in use */
};

pixel_ring *pixel_ring_create(void)
{
    pixel_ring *ring = calloc(1, sizeof *ring);
    if (!ring)
        return NULL;
    pthread_mutex_init(&ring->idle_lock, NULL);
    ring->refs = 1;
    return ring;
}

static void held_free(held *h)
{
    free(h->memory);
    free(h);
}

void pixel_ring_unref(pixel_ring *ring)
{
    if (!ring || __atomic_sub_fetch(&ring->refs, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    while (ring->idle) {
        held *next = ring->idle->next;
        held_free(ring->idle);
        ring->idle = next;
    }
    pthread_mutex_destroy(&ring->idle_lock);
    free(ring);
}

static void give_back(ts_pixels *pixels)
{
    held *h = pixels->owner;
    pixel_ring *ring = h->ring;
    pthread_mutex_lock(&ring->idle_lock);
    bool keep = ring->n_idle < KEEP;
    if (keep) {
        h->next = ring->idle;
        ring->idle = h;
        ring->n_idle++;
    }
    pthread_mutex_unlock(&ring->idle_lock);
    if (!keep)
        held_free(h);
    pixel_ring_unref(ring);
}

static held *take_idle(pixel_ring *ring)
{
    pthread_mutex_lock(&ring->idle_lock);
    held *h = ring->idle;
    if (h) {
        ring->idle = h->next;
        ring->n_idle--;
    }
    pthread_mutex_unlock(&ring->idle_lock);
    return h ? h : calloc(1, sizeof *h);
}

ts_pixels *pixel_ring_take(pixel_ring *ring, ts_pixel_format format, int width, int height,
                           void **memory, size_t *bytes)
{
    held *h = take_idle(ring);
    if (!h)
        return NULL;
    size_t at[3];
    ts_pixels *p = &h->pixels;
    *bytes = ts_pixels_layout(format, width, height, at, p->stride);
    if (h->cap < *bytes) {
        free(h->memory);
        h->cap = ts_round_up(*bytes, 64);
        h->memory = aligned_alloc(64, h->cap);
        if (!h->memory) {
            free(h);
            return NULL;
        }
    }
    p->format = format;
    p->width = width;
    p->height = height;
    p->n_colors = 0;
    for (int i = 0; i < 3; i++)
        p->plane[i] = i == 0 || format == TS_PIXELS_I420 ? (uint8_t *)h->memory + at[i] : NULL;
    p->refs = 1;
    p->owner = h;
    p->release = give_back;
    h->ring = ring;
    __atomic_add_fetch(&ring->refs, 1, __ATOMIC_RELAXED);
    *memory = h->memory;
    return p;
}
