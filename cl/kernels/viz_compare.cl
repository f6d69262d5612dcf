/*
 * Two tensors of one shape: their difference, and how far apart they are.
 *
 * Built with -DTS_IN: both have that dtype. Reference: tests/ref/ref_viz.c.
 */
#include "viz.clh"

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

/* out[to + i] = element first + i. Global: any number of items. */
kernel void viz_to_float(const global uchar *data, ulong first, ulong n, global float *out,
                         ulong to)
{
    span s = item_span(n);
    for (ulong i = s.from; i < s.to; i++)
        out[to + i] = wide_float(wide_load(TS_IN, data, first + i));
}

/* out[i] = a − b, or its magnitude; subtracted before it is rounded. Global: any number of items. */
kernel void viz_difference(const global uchar *a, ulong a0, const global uchar *b, ulong b0,
                           ulong n, int magnitude, global float *out)
{
    span s = item_span(n);
    for (ulong i = s.from; i < s.to; i++) {
        float d = wide_diff(wide_load(TS_IN, a, a0 + i), wide_load(TS_IN, b, b0 + i));
        out[i] = magnitude ? fabs(d) : d;
    }
}

/*
 * Per item: sum of squares (two floats, high and low), number of finite elements of d, and the
 * largest |d|: out[4·item …]. Global: any number of items.
 */
kernel void viz_difference_sums(const global float *d, ulong n, global float *out)
{
    span s = item_span(n);
    wide sum = wide_of(0);
    float most = 0.0f;
    uint count = 0;
    for (ulong i = s.from; i < s.to; i++) {
        float v = d[i];
        if (!isfinite(v))
            continue;
        count++;
        most = fmax(most, fabs(v));
#ifdef VIZ_FP64
        sum += (double)v * v;
#else
        sum = wide_add(sum, wide_of(v * v));
#endif
    }
    global float *o = out + 4 * get_global_id(0);
    o[0] = wide_float(sum);
    o[1] = wide_low(sum);
    o[2] = most;
    o[3] = as_float(count);
}

/*
 * Structural similarity of h x w planes: Gaussian windows of k x k (sigma 1.5) that lie inside, every
 * `step`-th in both directions; out[row of windows] = sum over its windows. c1, c2: the stabilisers
 * (0.01·L)², (0.03·L)². Source: Wang et al. 2004. Global: rows of windows.
 */
kernel void viz_ssim_rows(const global uchar *a, ulong a0, const global uchar *b, ulong b0, int h,
                          int w, int k, int step, float c1, float c2, global float *out)
{
    int wy = (int)get_global_id(0), y0 = wy * step;
    if (y0 + k > h)
        return;
    float g[11], total = 0.0f;
    for (int i = 0; i < k; i++) {
        float x = (float)i - 0.5f * (float)(k - 1);
        g[i] = exp(-x * x / (2.0f * 1.5f * 1.5f));
        total += g[i];
    }
    wide origin = wide_load(TS_IN, a, a0);
    if (!wide_finite(origin))
        origin = wide_of(0);
    float mean0 = wide_float(origin), sum = 0.0f;
    for (int x0 = 0; x0 + k <= w; x0 += step) {
        float sa = 0, sb = 0, saa = 0, sbb = 0, sab = 0;
        for (int y = 0; y < k; y++)
            for (int x = 0; x < k; x++) {
                ulong i = (ulong)(y0 + y) * w + x0 + x;
                float f = g[y] * g[x] / (total * total);
                float va = wide_diff(wide_load(TS_IN, a, a0 + i), origin);
                float vb = wide_diff(wide_load(TS_IN, b, b0 + i), origin);
                va = isfinite(va) ? va : 0.0f;
                vb = isfinite(vb) ? vb : 0.0f;
                sa += f * va;
                sb += f * vb;
                saa += f * va * va;
                sbb += f * vb * vb;
                sab += f * va * vb;
            }
        float ma = sa + mean0, mb = sb + mean0;
        float vaa = saa - sa * sa, vbb = sbb - sb * sb, vab = sab - sa * sb;
        sum += (2.0f * ma * mb + c1) * (2.0f * vab + c2) /
               ((ma * ma + mb * mb + c1) * (vaa + vbb + c2));
    }
    out[wy] = sum;
}

/* b of sh x sw resampled to h x w, bilinear as in pictures, for each of `planes`. Global: (w, h, planes). */
kernel void viz_fit_plane(const global uchar *b, ulong b0, int sh, int sw, int h, int w,
                          global float *out)
{
    int x = (int)get_global_id(0), y = (int)get_global_id(1);
    ulong z = get_global_id(2);
    if (x >= w || y >= h)
        return;
    float px = clamp(((float)x + 0.5f) * (float)sw / (float)w - 0.5f, 0.0f, (float)(sw - 1));
    float py = clamp(((float)y + 0.5f) * (float)sh / (float)h - 0.5f, 0.0f, (float)(sh - 1));
    int x0 = (int)px, y0 = (int)py, x1 = min(x0 + 1, sw - 1), y1 = min(y0 + 1, sh - 1);
    float fx = px - (float)x0, fy = py - (float)y0;
    ulong at = b0 + z * sh * sw;
    float v00 = wide_float(wide_load(TS_IN, b, at + (ulong)y0 * sw + x0));
    float v01 = wide_float(wide_load(TS_IN, b, at + (ulong)y0 * sw + x1));
    float v10 = wide_float(wide_load(TS_IN, b, at + (ulong)y1 * sw + x0));
    float v11 = wide_float(wide_load(TS_IN, b, at + (ulong)y1 * sw + x1));
    float top = fx > 0 ? v00 + (v01 - v00) * fx : v00;
    float low = fx > 0 ? v10 + (v11 - v10) * fx : v10;
    out[(z * h + y) * w + x] = fy > 0 ? top + (low - top) * fy : top;
}

/*
 * The rectangle (x0, y0, w, h) of tile 0's planes as a dense tensor of the same type, `bytes` an
 * element: out[((p·h + y)·w + x)·bytes …]. Global: (h, planes); an item copies a row.
 */
kernel void viz_gather(const global uchar *data, viz_source s, uint x0, uint y0, uint w, uint h,
                       uint bytes, global uchar *out)
{
    uint y = get_global_id(0), p = get_global_id(1);
    if (y >= h || p >= s.planes)
        return;
    ulong k = s.k0;
    ulong at = s.base + k / s.kdiv * s.ks0 + k % s.kdiv * s.ks1 + s.ps[p] + (y0 + y) * s.sy;
    global uchar *o = out + ((ulong)p * h + y) * w * bytes;
    for (uint x = 0; x < w; x++)
        for (uint b = 0; b < bytes; b++)
            o[x * bytes + b] = data[(at + (x0 + x) * s.sx) * bytes + b];
}
