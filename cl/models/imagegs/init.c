#include "cl/models/imagegs/init.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cl/models/imagegs/filter.h"

/* ---- random numbers ---- */

static void philox(uint32_t counter[4], uint32_t key0, uint32_t key1)
{
    for (int round = 0; round < 10; ++round) {
        uint64_t a = (uint64_t)0xD2511F53u * counter[0], b = (uint64_t)0xCD9E8D57u * counter[2];
        uint32_t c1 = counter[1], c3 = counter[3];
        counter[0] = (uint32_t)(b >> 32) ^ c1 ^ key0;
        counter[1] = (uint32_t)b;
        counter[2] = (uint32_t)(a >> 32) ^ c3 ^ key1;
        counter[3] = (uint32_t)a;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
}

double ts_gs_uniform(uint64_t seed, uint32_t purpose, uint32_t event, uint32_t index)
{
    uint32_t c[4] = {index, purpose, event, 0};
    philox(c, (uint32_t)seed, (uint32_t)(seed >> 32));
    uint64_t bits = ((uint64_t)c[0] << 20) ^ ((uint64_t)c[1] >> 12);
    return ((double)bits + 0.5) / 4503599627370496.0; /* 2^52 */
}

/* ---- maps ---- */

static float at_edge(const float *p, int h, int w, int y, int x)
{
    y = y < 0 ? 0 : y >= h ? h - 1 : y;
    x = x < 0 ? 0 : x >= w ? w - 1 : x;
    return p[(size_t)y * (size_t)w + (size_t)x];
}

static void sobel(const float *p, int h, int w, int y, int x, double *gx, double *gy)
{
    double s[2] = {0, 0};
    static const int weight[3] = {1, 2, 1};
    for (int t = -1; t <= 1; ++t) {
        s[0] += weight[t + 1] *
                ((double)at_edge(p, h, w, y + t, x + 1) - (double)at_edge(p, h, w, y + t, x - 1));
        s[1] += weight[t + 1] *
                ((double)at_edge(p, h, w, y + 1, x + t) - (double)at_edge(p, h, w, y - 1, x + t));
    }
    *gx += s[0] * s[0];
    *gy += s[1] * s[1];
}

ts_status ts_gs_gradient_map(const float *chw, int channels, int height, int width, float *map,
                             ts_error *err)
{
    size_t n = (size_t)width * (size_t)height;
    double most = 0;
    (void)err;
    for (int y = 0; y < height; ++y)
        for (int x = 0; x < width; ++x) {
            double gx = 0, gy = 0;
            for (int c = 0; c < channels; ++c)
                sobel(chw + (size_t)c * n, height, width, y, x, &gx, &gy);
            double g = sqrt(gx + gy);
            map[(size_t)y * (size_t)width + (size_t)x] = (float)g;
            most = fmax(most, g);
        }
    for (size_t i = 0; i < n && most > 0; ++i)
        map[i] = (float)((double)map[i] / most);
    return TS_OK;
}

static ts_status blur(float *plane, int h, int w, double sigma, int radius, ts_error *err)
{
    float *k = malloc((size_t)(2 * radius + 1) * sizeof *k);
    float *scratch = malloc((size_t)w * (size_t)h * sizeof *scratch);
    if (!k || !scratch) {
        free(k);
        free(scratch);
        return ts_fail(err, TS_E_NO_MEMORY, "a blur of %d x %d", w, h);
    }
    double sum = 0;
    for (int i = -radius; i <= radius; ++i)
        sum += exp(-i * i / (2 * sigma * sigma));
    for (int i = -radius; i <= radius; ++i)
        k[i + radius] = (float)(exp(-i * i / (2 * sigma * sigma)) / sum);
    ts_gs_filter(plane, w, h, k, k, radius, TS_GS_BORDER_REFLECT, scratch, plane);
    free(k);
    free(scratch);
    return TS_OK;
}

ts_status ts_gs_add_blur(float *chw, int channels, int height, int width, ts_error *err)
{
    int k = (int)floor(sqrt((double)width * height) / 400);
    if (k < 1)
        return TS_OK;
    k = k < 3 ? 3 : k % 2 ? k : k + 1;
    double sigma = 0.3 * ((k - 1) / 2.0 - 1) + 0.8;
    for (int c = 0; c < channels; ++c) {
        ts_status st = blur(chw + (size_t)c * (size_t)width * (size_t)height, height, width, sigma,
                            k / 2, err);
        if (st != TS_OK)
            return st;
    }
    return TS_OK;
}

ts_status ts_gs_saliency_map(const float *map, int h, int w, int height, int width, double sigma,
                             float *out, ts_error *err)
{
    size_t n = (size_t)width * (size_t)height;
    for (int y = 0; y < height; ++y)
        for (int x = 0; x < width; ++x) {
            double sy = (y + 0.5) * h / height - 0.5, sx = (x + 0.5) * w / width - 0.5;
            int iy = (int)floor(sy), ix = (int)floor(sx);
            double fy = sy - iy, fx = sx - ix;
            double top = (1 - fx) * (double)at_edge(map, h, w, iy, ix) +
                         fx * (double)at_edge(map, h, w, iy, ix + 1);
            double low = (1 - fx) * (double)at_edge(map, h, w, iy + 1, ix) +
                         fx * (double)at_edge(map, h, w, iy + 1, ix + 1);
            out[(size_t)y * (size_t)width + (size_t)x] = (float)((1 - fy) * top + fy * low);
        }
    if (sigma > 0) {
        ts_status st = blur(out, height, width, sigma, (int)ceil(4 * sigma), err);
        if (st != TS_OK)
            return st;
    }
    float lo = out[0], hi = out[0];
    for (size_t i = 0; i < n; ++i) {
        lo = fminf(lo, out[i]);
        hi = fmaxf(hi, out[i]);
    }
    for (size_t i = 0; i < n; ++i)
        out[i] = hi > lo ? (out[i] - lo) / (hi - lo) : 0;
    return TS_OK;
}

/* ---- sampling ---- */

typedef struct draw {
    double key;
    uint32_t index;
} draw;

static int compare(const void *pa, const void *pb)
{
    const draw *a = pa, *b = pb;
    if (a->key != b->key)
        return a->key < b->key ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

/* Move the n smallest to the front (quickselect with the median of three). */
static void select_smallest(draw *d, size_t count, size_t n)
{
    size_t lo = 0, hi = count;
    while (hi - lo > 16 && n > lo && n < hi) {
        draw a = d[lo], b = d[lo + (hi - lo) / 2], c = d[hi - 1], pivot;
        pivot = compare(&a, &b) < 0 ? (compare(&b, &c) < 0   ? b
                                       : compare(&a, &c) < 0 ? c
                                                             : a)
                                    : (compare(&a, &c) < 0   ? a
                                       : compare(&b, &c) < 0 ? c
                                                             : b);
        size_t i = lo, j = hi - 1;
        for (;;) {
            while (compare(&d[i], &pivot) < 0)
                ++i;
            while (compare(&d[j], &pivot) > 0)
                --j;
            if (i >= j)
                break;
            draw t = d[i];
            d[i++] = d[j];
            d[j--] = t;
        }
        if (n <= j + 1)
            hi = j + 1;
        else
            lo = j + 1;
    }
    qsort(d + lo, hi - lo, sizeof *d, compare);
}

ts_status ts_gs_sample(const float *p, size_t pixels, size_t n, uint64_t seed, uint32_t purpose,
                       uint32_t event, uint32_t *out, ts_error *err)
{
    draw *d = calloc(pixels, sizeof *d);
    if (!d)
        return ts_fail(err, TS_E_NO_MEMORY, "sampling among %zu pixels", pixels);
    for (size_t i = 0; i < pixels; ++i) {
        double e = -log(ts_gs_uniform(seed, purpose, event, (uint32_t)i));
        double weight = p ? (double)p[i] : 1;
        d[i].index = (uint32_t)i;
        d[i].key = weight > 0 ? e / weight : 1e300 * (1 + e); /* zeros come after all others */
        if (!(d[i].key < 1e300) && weight > 0)
            d[i].key = 1e299;
    }
    size_t first = n < pixels ? n : pixels;
    if (first < pixels)
        select_smallest(d, pixels, first);
    qsort(d, first, sizeof *d, compare);
    for (size_t i = 0; i < n; ++i)
        out[i] = d[i % first].index;
    free(d);
    return TS_OK;
}
