#include "server/dirty.h"

#include <stdlib.h>
#include <string.h>

static bool tile_dirty(const uint8_t *a, size_t stride_a, const uint8_t *b, size_t stride_b,
                       size_t bytes, int rows)
{
    for (int y = 0; y < rows; y++)
        if (memcmp(a + (size_t)y * stride_a, b + (size_t)y * stride_b, bytes))
            return true;
    return false;
}

static int compare_rects(const void *pa, const void *pb)
{
    const ts_rect *a = pa, *b = pb;
    return a->y != b->y ? (a->y < b->y ? -1 : 1) : (a->x > b->x) - (a->x < b->x);
}

/* Grow the rectangle that ends right above this run with the same columns. */
static bool merge_down(ts_rect *rects, int n, int x, int w, int y, int h)
{
    for (int i = n - 1; i >= 0; i--) {
        if (rects[i].x == x && rects[i].w == w && rects[i].y + rects[i].h == y) {
            rects[i].h += h;
            return true;
        }
    }
    return false;
}

int ts_dirty_rects(const uint8_t *a, size_t stride_a, const uint8_t *b, size_t stride_b, int width,
                   int height, int channels, ts_rect out[TS_DIRTY_MAX_RECTS])
{
    int n = 0;
    size_t pixel = (size_t)channels;
    for (int y = 0; y < height; y += TS_DIRTY_TILE) {
        int h = height - y < TS_DIRTY_TILE ? height - y : TS_DIRTY_TILE;
        const uint8_t *row_a = a + (size_t)y * stride_a, *row_b = b + (size_t)y * stride_b;
        int start = -1;
        for (int x = 0; x <= width + TS_DIRTY_TILE - 1; x += TS_DIRTY_TILE) {
            bool dirty = false;
            if (x < width) {
                int w = width - x < TS_DIRTY_TILE ? width - x : TS_DIRTY_TILE;
                dirty = tile_dirty(row_a + (size_t)x * pixel, stride_a, row_b + (size_t)x * pixel,
                                   stride_b, (size_t)w * pixel, h);
            }
            if (dirty && start < 0)
                start = x;
            if (dirty || start < 0)
                continue;
            int w = (x < width ? x : width) - start;
            if (!merge_down(out, n, start, w, y, h)) {
                if (n == TS_DIRTY_MAX_RECTS)
                    return -1;
                out[n++] = (ts_rect){start, y, w, h};
            }
            start = -1;
        }
    }
    int64_t area = 0;
    for (int i = 0; i < n; i++)
        area += (int64_t)out[i].w * out[i].h;
    if (area * 10 > (int64_t)width * height * 6)
        return -1;
    qsort(out, (size_t)n, sizeof *out, compare_rects);
    return n;
}
