/*
 * Which parts of a picture changed: 32×32 tiles that differ in any byte, joined to rectangles.
 * Thread: any.
 */
#ifndef TS_SERVER_DIRTY_H
#define TS_SERVER_DIRTY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    TS_DIRTY_TILE = 32,
    TS_DIRTY_MAX_RECTS = 64
};

typedef struct ts_rect {
    int x, y, w, h;
} ts_rect;

/**
 * Compare two pictures of equal size and `channels` bytes a pixel.
 *
 * Runs of dirty tiles in a tile row; runs with the same columns in consecutive rows merge downward;
 * sorted by (top, left), clipped to the picture.
 *
 * Returns the number of rectangles (0: no change), or -1 where a key frame is better: over 60 % of
 * the area, or over 64 rectangles.
 */
int ts_dirty_rects(const uint8_t *a, size_t stride_a, const uint8_t *b, size_t stride_b, int width,
                   int height, int channels, ts_rect out[TS_DIRTY_MAX_RECTS]);

#ifdef __cplusplus
}
#endif
#endif
