/*
 * Plots and reductions: line plots, histogram pictures, projections along an axis.
 *
 * Built with -DTS_IN=<dtype>. Reference: the cases of tests/golden/tensor-video.
 */
/* One sample at a time, on CPU devices, too. */
#define VIZ_VW 1
#include "viz_map.clh"

#define LINE_BG   0xff101010u
#define LINE_ZERO 0xff505050u

/* t of one sample. */
inline float t_of(const global uchar *data, ulong i, const viz_draw *d, const plane_ref *p)
{
    fv t = map_v((fv)load_one(data, i, p->lo, p->lo_h, p->lo_l, p->pre), d, &p->rec, p->cdf);
    float lanes[VIZ_VW];
    STOREV(t, lanes);
    return lanes[0];
}

inline int plot_row(float t, int h)
{
    return (int)floor((1.0f - clamp(t, 0.0f, 1.0f)) * (float)(h - 1) + 0.5f);
}

inline void draw_rows(global uint *canvas, const viz_draw *d, int x, int from, int to, uint color)
{
    int px = d->ox + x;
    if (px < 0 || px >= d->dst_w)
        return;
    for (int y = max(from, 0); y <= min(to, d->dh - 1); y++)
        if (d->oy + y >= 0 && d->oy + y < d->dst_h)
            canvas[(ulong)(d->oy + y) * d->dst_w + px] = color;
}

/* Smallest and largest t of one series over column x; false where a knot is not finite. */
inline bool column_span(const global uchar *data, ulong at, uint n, const viz_draw *d,
                        const plane_ref *p, int x, float *lo, float *hi)
{
    ulong w = (ulong)d->dw, span = n - 1;
    ulong a = (ulong)x * span, b = ((ulong)x + 1) * span;
    ulong i0 = a / w, i1 = (b + w - 1) / w;
    float first = 0.0f, before = 0.0f;
    *lo = INFINITY;
    *hi = -INFINITY;
    for (ulong i = i0; i <= i1; i++) {
        float t = t_of(data, at + i * d->src.sx, d, p);
        if (!(fabs(t) <= 1e30f))
            return false;
        float v = t;
        if (i == i0)
            first = t;
        if (i == i0 + 1) { /* the left end lies between knots i0 and i0 + 1 */
            float f = (float)(a - i0 * w) / (float)w, end = first + (t - first) * f;
            *lo = min(*lo, end);
            *hi = max(*hi, end);
        }
        if (i == i1 && i > i0) { /* the right end lies between knots i1 − 1 and i1 */
            float f = 1.0f - (float)(i1 * w - b) / (float)w;
            v = before + (t - before) * f;
        }
        if (i > i0) {
            *lo = min(*lo, v);
            *hi = max(*hi, v);
        }
        before = t;
    }
    return i1 > i0 || (*lo = *hi = first, true);
}

/*
 * Series (rows of d.src) as lines in the rectangle (ox, oy, dw, dh) of a canvas. Colours cycle
 * through four. Global: columns.
 */
kernel void viz_plot_lines(const global uchar *data, viz_draw d,
                           const global viz_range_record *ranges, const global float *cdf,
                           int thickness, int fill, int zero_line, global uint *canvas)
{
    int x = (int)get_global_id(0);
    if (x >= d.dw)
        return;
    const uint color[4] = {0xffb4771fu, 0xff0e7fffu, 0xff2ca02cu, 0xff2827d6u};
    draw_rows(canvas, &d, x, 0, d.dh - 1, LINE_BG);
    plane_ref p;
    open_plane(&p, &d, 0, 0, ranges, cdf);
    if (zero_line && wide_less(wide_bits(p.rec.lo), wide_of(0)) &&
        wide_less(wide_of(0), wide_bits(p.rec.hi)))
    {
        fv zero = (fv)((0.0f - p.lo_h) - p.lo_l);
        float lanes[VIZ_VW];
        STOREV(map_v(zero, &d, &p.rec, p.cdf), lanes);
        int row = plot_row(lanes[0], d.dh);
        draw_rows(canvas, &d, x, row, row, LINE_ZERO);
    }
    for (uint s = 0; s < d.src.h; s++) {
        ulong at = p.at + s * d.src.sy;
        float lo, hi;
        if (d.src.w == 1) {
            lo = hi = t_of(data, at, &d, &p);
            if (!(fabs(lo) <= 1e30f))
                continue;
        } else if (!column_span(data, at, d.src.w, &d, &p, x, &lo, &hi)) {
            continue;
        }
        int top = plot_row(hi, d.dh) - (thickness - 1) / 2;
        int bottom = plot_row(lo, d.dh) + thickness / 2;
        draw_rows(canvas, &d, x, top, fill ? d.dh - 1 : bottom, color[s & 3]);
    }
}

/*
 * A histogram of `bins` counts in the rectangle of d, coloured by bin. Global: columns.
 */
kernel void viz_plot_hist(const global uint *count, int bins, int use_log, viz_draw d,
                          const global uint *lut, const global float *rows, global uint *canvas)
{
    int x = (int)get_global_id(0);
    if (x >= d.dw)
        return;
    uint most = 0;
    for (int b = 0; b < bins; b++)
        most = max(most, count[b]);
    int b = (int)((long)x * bins / d.dw);
    uint n = count[b];
    float part = most == 0 ? 0.0f
                 : use_log ? log1p((float)n) / log1p((float)most)
                           : (float)((real)n / (real)most);
    int height = (int)(part * (float)d.dh + 0.5f);
    height = n > 0 ? max(height, 1) : 0;
    fv t = (fv)(((float)b + 0.5f) / (float)bins);
    uint lanes[VIZ_VW];
    STOREV(colors(&t, &d, lut, rows), lanes);
    draw_rows(canvas, &d, x, 0, d.dh - 1 - height, LINE_BG);
    draw_rows(canvas, &d, x, d.dh - height, d.dh - 1, lanes[0]);
}

#define OP_MAX  0
#define OP_MIN  1
#define OP_MEAN 2
#define OP_SUM  3

/* Doubles where the samples need them, else floats. */
#if VIZ_IS_WIDE(TS_IN) && defined(VIZ_FP64)
typedef double out_t;
#else
typedef float out_t;
#endif

/*
 * out[y·w + x] = op over n samples, `step` apart, of those that are finite; NaN where none is.
 * s: the result's rows and columns in the source. Global: (w, h).
 */
kernel void viz_project(const global uchar *data, viz_source s, uint n, ulong step, int op,
                        global out_t *out)
{
    uint x = get_global_id(0), y = get_global_id(1);
    if (x >= s.w || y >= s.h)
        return;
    ulong at = s.base + y * s.sy + x * s.sx;
    wide best = wide_of(op == OP_MIN ? INFINITY : -INFINITY);
    real sum = 0;
    uint seen = 0;
    for (uint i = 0; i < n; i++) {
        wide v = wide_load(TS_IN, data, at + i * step);
        if (!wide_finite(v))
            continue;
        seen++;
        sum += wide_real(v);
        if (op == OP_MIN ? wide_less(v, best) : wide_less(best, v))
            best = v;
    }
    out_t r = (out_t)wide_real(best);
    if (op == OP_MEAN)
        r = (out_t)(sum / (real)max(seen, 1u));
    if (op == OP_SUM)
        r = (out_t)sum;
    out[(ulong)y * s.w + x] = seen ? r : (out_t)NAN;
}
