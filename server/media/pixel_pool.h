/*
 * Host pictures of one size that are used again: after the first few frames nothing is allocated.
 * Thread: any; pictures may come back after the pool was destroyed.
 */
#ifndef TS_SERVER_MEDIA_PIXEL_POOL_H
#define TS_SERVER_MEDIA_PIXEL_POOL_H

#include "cl/base/status.h"
#include "cl/viz/pixels.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_pixel_pool ts_pixel_pool;

TS_CHECKED ts_status ts_pixel_pool_create(ts_pixel_pool **out, ts_error *err);
void ts_pixel_pool_destroy(ts_pixel_pool *pool); /* NULL is fine */
/**
 * An I420 picture whose planes lie behind each other in one piece (plane[0] is the start), with
 * undefined contents. Owner: one reference. Errors: TS_E_NO_MEMORY.
 */
TS_CHECKED ts_status ts_pixel_pool_take(ts_pixel_pool *pool, int width, int height, ts_pixels **out,
                                        ts_error *err);
/** Pictures ever allocated. */
long ts_pixel_pool_allocated(ts_pixel_pool *pool);

#ifdef __cplusplus
}
#endif
#endif
