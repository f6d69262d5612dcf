/*
 * Host memory for finished pictures, reused from frame to frame (cl/viz only).
 *
 * Pictures outlive the renderer that made them: the ring is freed with the last of both. Take is
 * called by one thread, a picture's last unref by any.
 */
#ifndef TS_CL_VIZ_PIXEL_RING_H
#define TS_CL_VIZ_PIXEL_RING_H

#include "cl/viz/pixels.h"

typedef struct pixel_ring pixel_ring;

pixel_ring *pixel_ring_create(void); /* NULL: out of memory */
void pixel_ring_unref(pixel_ring *ring);
/** A picture with `*bytes` of memory to be filled as ts_pixels_layout() says; NULL: no memory. */
ts_pixels *pixel_ring_take(pixel_ring *ring, ts_pixel_format format, int width, int height,
                           void **memory, size_t *bytes);

#endif
