#include "cl/ops/resize.h"

#include <math.h>
#include <stdlib.h>

#include "cl/ops/internal.h"

struct ts_resize {
    ts_resize_options o;
    int ty, tx;
    ts_arr iy, wy, ix, wx;
};

/* As the kernels' resize_args. */
typedef struct resize_args {
    int32_t ih, iw, oh, ow, ty, tx;
} resize_args;

static double source(ts_resize_coords coords, int64_t o, int64_t in, int64_t out, double step)
{
    switch (coords) {
    case TS_RESIZE_ALIGN_CORNERS: {
        double ideal = (double)in / step; /* out, or in·scale before it was cut */
        return out > 1 || ideal > 1.0 ? (double)o * (double)(in - 1) / (ideal - 1.0) : 0.0;
    }
    case TS_RESIZE_ASYMMETRIC:
        return (double)o * step;
    case TS_RESIZE_PYTORCH_HALF_PIXEL:
        return out > 1 ? ((double)o + 0.5) * step - 0.5 : 0.0;
    case TS_RESIZE_HALF_PIXEL_CLAMPED: {
        /* The fraction comes from the clamped position, else the first row and column are wrong. */
        double s = ((double)o + 0.5) * step - 0.5;
        return s < 0.0 ? 0.0 : s;
    }
    case TS_RESIZE_HALF_PIXEL_SYMMETRIC: {
        /* Keeps the centre where out is not exactly in·scale. */
        double ideal = (double)in / step, adjust = (double)out / ideal;
        double center = (double)in / 2.0;
        return center * (1.0 - adjust) + ((double)o + 0.5) * step - 0.5;
    }
    case TS_RESIZE_HALF_PIXEL:
        break;
    }
    return ((double)o + 0.5) * step - 0.5;
}

static double cubic(double t, double a)
{
    t = fabs(t);
    if (t < 1.0)
        return ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0;
    if (t < 2.0)
        return ((a * t - 5.0 * a) * t + 8.0 * a) * t - 4.0 * a;
    return 0.0;
}

static double filter(const ts_resize_options *o, double t)
{
    if (o->mode == TS_RESIZE_CUBIC)
        return cubic(t, o->cubic_a != 0.0 ? o->cubic_a : -0.75);
    t = fabs(t);
    return t < 1.0 ? 1.0 - t : 0.0;
}

static int64_t nearest(ts_resize_round round, double s)
{
    switch (round) {
    case TS_RESIZE_CEIL:
        return (int64_t)ceil(s);
    case TS_RESIZE_ROUND_PREFER_FLOOR:
        return (int64_t)ceil(s - 0.5);
    case TS_RESIZE_ROUND_PREFER_CEIL:
        return (int64_t)floor(s + 0.5);
    case TS_RESIZE_FLOOR:
        break;
    }
    return (int64_t)floor(s);
}

static int32_t clamp_index(int64_t i, int64_t n)
{
    return (int32_t)(i < 0 ? 0 : i >= n ? n - 1 : i);
}

ts_status ts_resize_taps(const ts_resize_options *o, int64_t in, int64_t out, double scale,
                         int *count, int32_t **index, double **weight, ts_error *err)
{
    double step = scale > 0.0 ? 1.0 / scale : (double)in / (double)out;
    double stretch = o->antialias && step > 1.0 ? step : 1.0;
    double support = (o->mode == TS_RESIZE_CUBIC ? 2.0 : 1.0) * stretch;
    int taps = o->mode == TS_RESIZE_NEAREST ? 1 : 2 * (int)ceil(support);
    if (in < 1 || out < 1 || in > INT32_MAX || out > INT32_MAX || taps > 1 << 20)
        return ts_fail(err, TS_E_SHAPE, "resize: %lld to %lld", (long long)in, (long long)out);
    *index = calloc((size_t)out, (size_t)taps * sizeof **index);
    *weight = calloc((size_t)out, (size_t)taps * sizeof **weight);
    if (!*index || !*weight) {
        free(*index);
        free(*weight);
        *index = NULL;
        *weight = NULL;
        return ts_fail(err, TS_E_NO_MEMORY, "resize: %d taps for %lld", taps, (long long)out);
    }
    *count = taps;
    for (int64_t p = 0; p < out; p++) {
        double s = source(o->coords, p, in, out, step), sum = 0.0;
        int32_t *at = *index + p * taps;
        double *w = *weight + p * taps;
        if (taps == 1) {
            at[0] = clamp_index(nearest(o->round, s), in);
            w[0] = 1.0;
            continue;
        }
        int64_t first = (int64_t)floor(s) - taps / 2 + 1;
        for (int t = 0; t < taps; t++) {
            int64_t i = first + t;
            w[t] = filter(o, ((double)i - s) / stretch);
            if ((o->exclude_outside || o->antialias) && (i < 0 || i >= in))
                w[t] = 0.0;
            at[t] = clamp_index(i, in);
            sum += w[t];
        }
        if (o->exclude_outside || o->antialias)
            for (int t = 0; t < taps; t++)
                w[t] = sum != 0.0 ? w[t] / sum : 0.0;
    }
    return TS_OK;
}

static ts_status axis_tables(ts_ops *ops, const ts_resize_options *o, int64_t in, int64_t out,
                             double scale, int *taps, ts_arr *index, ts_arr *weight, ts_error *err)
{
    int32_t *at = NULL;
    double *w = NULL;
    ts_status st = ts_resize_taps(o, in, out, scale, taps, &at, &w, err);
    if (st != TS_OK)
        return st;
    size_t n = (size_t)out * (size_t)*taps;
    float *f = calloc(n, sizeof *f);
    if (f) {
        for (size_t i = 0; i < n; i++)
            f[i] = (float)w[i];
        ts_shape shape = TS_SHAPE(out, *taps);
        st = ts_arr_from_host(ops, TS_I32, &shape, at, index, err);
        if (st == TS_OK)
            st = ts_arr_from_host(ops, TS_F32, &shape, f, weight, err);
    } else {
        st = ts_fail(err, TS_E_NO_MEMORY, "resize");
    }
    free(f);
    free(at);
    free(w);
    return st;
}

ts_status ts_resize_create(ts_ops *ops, const ts_resize_options *options, ts_resize **out,
                           ts_error *err)
{
    ts_resize *r = calloc(1, sizeof *r);
    if (!r)
        return ts_fail(err, TS_E_NO_MEMORY, "resize");
    r->o = *options;
    ts_status st = axis_tables(ops, options, options->in_h, options->out_h, options->scale_h,
                               &r->ty, &r->iy, &r->wy, err);
    if (st == TS_OK)
        st = axis_tables(ops, options, options->in_w, options->out_w, options->scale_w, &r->tx,
                         &r->ix, &r->wx, err);
    if (st != TS_OK) {
        ts_resize_destroy(r);
        return st;
    }
    *out = r;
    return TS_OK;
}

void ts_resize_destroy(ts_resize *resize)
{
    if (!resize)
        return;
    ts_arr_free(&resize->iy);
    ts_arr_free(&resize->wy);
    ts_arr_free(&resize->ix);
    ts_arr_free(&resize->wx);
    free(resize);
}

ts_status ts_op_resize(ts_ops *ops, const ts_resize *resize, const ts_arr *x, ts_arr *y,
                       ts_error *err)
{
    const ts_resize_options *o = &resize->o;
    ts_status st = ts_ops_want_f32("resize", "x", x, err);
    if (st == TS_OK)
        st = ts_ops_want_f32("resize", "y", y, err);
    if (st != TS_OK)
        return st;
    int rank = x->shape.rank;
    if (rank < 2 || x->shape.dim[rank - 2] != o->in_h || x->shape.dim[rank - 1] != o->in_w)
        return ts_fail(err, TS_E_SHAPE, "resize: x is %s, want […,%lld,%lld]",
                       ts_shape_text(&x->shape, (char[96]){0}, 96), (long long)o->in_h,
                       (long long)o->in_w);
    ts_shape want = x->shape;
    want.dim[rank - 2] = o->out_h;
    want.dim[rank - 1] = o->out_w;
    st = ts_ops_want_shape("resize", "y", y, &want, err);
    int64_t n = ts_arr_elements(y);
    if (st != TS_OK || !n)
        return st;
    resize_args p = {(int32_t)o->in_h,  (int32_t)o->in_w, (int32_t)o->out_h,
                     (int32_t)o->out_w, resize->ty,       resize->tx};
    ts_buffer *scratch = NULL;
    if (ops->cpu) { /* a line per work-item; ts_ops_flat makes at most 4 per unit */
        st =
            ts_ops_scratch(ops, 0, 4 * ops->units * (size_t)o->in_w * sizeof(float), &scratch, err);
        if (st != TS_OK)
            return st;
    }
    int64_t rows = n / o->out_w;
    return ts_ops_flat(
        ops, "resize", "resize_taps", ops->cpu ? rows : n, ops->cpu ? 4096 / o->out_w + 1 : 1,
        TS_ARGS(TS_OP_ARR(x), TS_OP_ARR(y), TS_BUF(resize->iy.buffer), TS_BUF(resize->wy.buffer),
                TS_BUF(resize->ix.buffer), TS_BUF(resize->wx.buffer), TS_BUF(scratch),
                TS_BYTES(&p, sizeof p), TS_ULONG(rows)),
        err);
}
