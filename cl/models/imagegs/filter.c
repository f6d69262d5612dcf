#include "cl/models/imagegs/filter.h"

#include <stddef.h>
#include <string.h>

/* The index inside [0,n) that stands for i, or -1 for a zero. */
static int inside(int i, int n, ts_gs_border border)
{
    if (i >= 0 && i < n)
        return i;
    if (border == TS_GS_BORDER_ZERO || border == TS_GS_BORDER_VALID)
        return -1;
    if (border == TS_GS_BORDER_REPLICATE || n == 1)
        return i < 0 ? 0 : n - 1;
    int period = 2 * (n - 1), m = ((i % period) + period) % period;
    return m < n ? m : period - m;
}

static void row_edge(const float *src, int w, const float *k, int radius, ts_gs_border border,
                     int x, float *dst)
{
    float sum = 0;
    for (int t = -radius; t <= radius; ++t) {
        int at = inside(x + t, w, border);
        if (at >= 0)
            sum += k[t + radius] * src[at];
    }
    *dst = sum;
}

static void filter_row(const float *src, int w, const float *k, int radius, ts_gs_border border,
                       float *dst)
{
    int left = radius < w ? radius : w, right = w - radius > left ? w - radius : left;
    for (int x = 0; x < left; ++x)
        row_edge(src, w, k, radius, border, x, dst + x);
    for (int x = right; x < w; ++x)
        row_edge(src, w, k, radius, border, x, dst + x);
    if (right > left)
        memset(dst + left, 0, (size_t)(right - left) * sizeof *dst);
    for (int t = -radius; t <= radius; ++t) {
        float weight = k[t + radius];
        for (int x = left; x < right; ++x)
            dst[x] += weight * src[x + t];
    }
}

void ts_gs_filter(const float *src, int w, int h, const float *horizontal, const float *vertical,
                  int radius, ts_gs_border border, float *scratch, float *dst)
{
    size_t width = (size_t)w;
    for (int y = 0; y < h; ++y)
        filter_row(src + (size_t)y * width, w, horizontal, radius, border,
                   scratch + (size_t)y * width);
    int first = border == TS_GS_BORDER_VALID ? radius : 0, last = h - first;
    int from = border == TS_GS_BORDER_VALID ? radius : 0, n = w - 2 * from;
    for (int y = first; y < last; ++y) {
        float *out = dst + (size_t)(y - first) * (size_t)n;
        memset(out, 0, (size_t)n * sizeof *out);
        for (int t = -radius; t <= radius; ++t) {
            int at = inside(y + t, h, border);
            if (at < 0)
                continue;
            const float *in = scratch + (size_t)at * width + from;
            float weight = vertical[t + radius];
            for (int x = 0; x < n; ++x)
                out[x] += weight * in[x];
        }
    }
}
