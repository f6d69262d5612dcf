/*
 * Filters of values before normalisation, over the rows and columns of a picture's planes; borders
 * are clamped. A tensor keeps its layout: element e has row (e / sy) % h and column (e / sx) % w.
 *
 * Built with -DTS_IN: viz_filter_load with the tensor's dtype, the others with f32 or f64, which is
 * what they work on. A non-finite tap makes a sum NaN; medians leave NaN out.
 * Reference: tests/ref/ref_viz.c.
 */
#include "viz.clh"

#if VIZ_IS_WIDE(TS_IN) && defined(VIZ_FP64)
typedef double val;
#else
typedef float val;
#endif

typedef struct span {
    ulong from, to;
} span;

inline span item_span(ulong n)
{
    ulong items = get_global_size(0), each = (n + items - 1) / items;
    span s;
    s.from = get_global_id(0) * each;
    s.to = min(n, s.from + each);
    return s;
}

inline val finite_or_nan(val v)
{
    return isfinite(v) ? v : (val)NAN;
}

/* Element e moved by (dy, dx), held inside the picture. */
inline ulong moved(ulong e, ulong sy, uint h, ulong sx, uint w, int dy, int dx)
{
    int y = (int)(e / sy % h), x = (int)(e / sx % w);
    int ny = clamp(y + dy, 0, (int)h - 1), nx = clamp(x + dx, 0, (int)w - 1);
    return (ulong)((long)e + (long)(ny - y) * (long)sy + (long)(nx - x) * (long)sx);
}

/* out[i] = element base + i of any dtype. Global: any number of items, as all below. */
kernel void viz_filter_load(const global uchar *data, ulong base, ulong n, global val *out)
{
    span s = item_span(n);
    for (ulong i = s.from; i < s.to; i++)
#if VIZ_IS_WIDE(TS_IN) && defined(VIZ_FP64)
        out[i] = wide_load(TS_IN, data, base + i);
#else
        out[i] = wide_float(wide_load(TS_IN, data, base + i));
#endif
}

/* Weighted sum along x (or y) of 2r + 1 taps: sigma > 0 Gaussian, else all alike. */
kernel void viz_filter_blur(const global val *in, ulong n, ulong sy, uint h, ulong sx, uint w,
                            int vertical, int r, float sigma, global val *out)
{
    span s = item_span(n);
    float total = 0.0f, k[65 * 3];
    for (int i = -r; i <= r; i++) {
        k[i + r] = sigma > 0 ? exp(-(float)(i * i) / (2.0f * sigma * sigma)) : 1.0f;
        total += k[i + r];
    }
    for (ulong e = s.from; e < s.to; e++) {
        val sum = 0;
        for (int i = -r; i <= r; i++)
            sum += finite_or_nan(in[moved(e, sy, h, sx, w, vertical ? i : 0, vertical ? 0 : i)]) *
                   (val)k[i + r];
        out[e] = sum / (val)total;
    }
}

/* Median of the (2r + 1)² taps that are not NaN, r ≤ 2. */
kernel void viz_filter_median(const global val *in, ulong n, ulong sy, uint h, ulong sx, uint w,
                              int r, global val *out)
{
    span s = item_span(n);
    for (ulong e = s.from; e < s.to; e++) {
        val v[25];
        int m = 0;
        for (int dy = -r; dy <= r; dy++)
            for (int dx = -r; dx <= r; dx++) {
                val one = in[moved(e, sy, h, sx, w, dy, dx)];
                if (isnan(one))
                    continue;
                int i = m++;
                for (; i > 0 && v[i - 1] > one; i--)
                    v[i] = v[i - 1];
                v[i] = one;
            }
        val half_sum = m ? (v[(m - 1) / 2] + v[m / 2]) / 2 : (val)NAN;
        out[e] = m & 1 ? v[m / 2] : half_sum;
    }
}

#define POINT_SHARPEN  0 /* in + amount·(in − other) */
#define POINT_GRAD     1
#define POINT_LAPLACE  2
#define POINT_ABS      3
#define POINT_TEMPORAL 4 /* other + amount·(in − other) */
#define POINT_DELTA    5 /* in − other */

/*
 * What needs neighbours at most one step away, or a second picture `other` (blurred, or of the frame
 * before). `begun` 0: there is no frame before.
 */
kernel void viz_filter_point(const global val *in, const global val *other, ulong n, ulong sy,
                             uint h, ulong sx, uint w, int op, float amount, int begun,
                             global val *out)
{
    span s = item_span(n);
    for (ulong e = s.from; e < s.to; e++) {
        val v = in[e], r = fabs(v);
        if (op == POINT_SHARPEN) {
            r = finite_or_nan(v) + (val)amount * (v - other[e]);
        } else if (op == POINT_TEMPORAL) {
            r = begun && isfinite(v) && isfinite(other[e]) ? other[e] + (val)amount * (v - other[e])
                                                           : v;
        } else if (op == POINT_DELTA) {
            r = begun ? finite_or_nan(v) - finite_or_nan(other[e]) : finite_or_nan(v) * 0;
        } else if (op != POINT_ABS) {
            val left = finite_or_nan(in[moved(e, sy, h, sx, w, 0, -1)]);
            val right = finite_or_nan(in[moved(e, sy, h, sx, w, 0, 1)]);
            val up = finite_or_nan(in[moved(e, sy, h, sx, w, -1, 0)]);
            val down = finite_or_nan(in[moved(e, sy, h, sx, w, 1, 0)]);
            val gx = (right - left) / 2, gy = (down - up) / 2;
            r = op == POINT_GRAD ? sqrt(gx * gx + gy * gy)
                                 : left + right + up + down - 4 * finite_or_nan(v);
        }
        out[e] = r;
    }
}
