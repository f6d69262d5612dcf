/* Resampling: Resize, Upsample, GridSample. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cl/graph/op.h"
#include "cl/ops/resize.h"

/* ---- resize ---- */

typedef struct resize_plan {
    ts_shape shape;
    double scale[TS_MAX_RANK]; /* 0: the ratio of the sizes */
    ts_resize_options options; /* without sizes */
} resize_plan;

static int one_of(const char *text, const char *const *names, int n)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(text, names[i]))
            return i;
    return -1;
}

static ts_status plan_modes(ts_node_call *c, ts_resize_options *o, ts_error *err)
{
    static const char *const coords[] = {"half_pixel",         "-",
                                         "align_corners",      "asymmetric",
                                         "pytorch_half_pixel", "half_pixel_symmetric"};
    static const char *const rounds[] = {"floor", "ceil", "round_prefer_floor",
                                         "round_prefer_ceil"};
    bool old = !strcmp(c->node->op, "Upsample") || c->opset < 11;
    char mode[24], coordinate[32], round[24];
    ts_attr_string(c->node, "mode", "nearest", mode, sizeof mode);
    ts_attr_string(c->node, "coordinate_transformation_mode", old ? "asymmetric" : "half_pixel",
                   coordinate, sizeof coordinate);
    ts_attr_string(c->node, "nearest_mode", old ? "floor" : "round_prefer_floor", round,
                   sizeof round);
    int m = !strcmp(mode, "nearest")                            ? 0
            : !strcmp(mode, "linear") || !strcmp(mode, "bilinear") ? 1
            : !strcmp(mode, "cubic")                            ? 2
                                                                : -1;
    int t = one_of(coordinate, coords, 6), r = one_of(round, rounds, 4);
    if (m < 0 || t < 0 || r < 0)
        return ts_node_fail(c, err, "mode '%s', coordinates '%s', rounding '%s'", mode, coordinate,
                            round);
    *o = (ts_resize_options){.mode = (ts_resize_mode)m,
                             .coords = (ts_resize_coords)t,
                             .round = (ts_resize_round)r,
                             .cubic_a = (double)ts_attr_float(c->node, "cubic_coeff_a", -0.75f),
                             .antialias = ts_attr_int(c->node, "antialias", 0),
                             .exclude_outside = ts_attr_int(c->node, "exclude_outside", 0)};
    return TS_OK;
}

/* Sizes that keep the aspect ratio: one scale for all axes, outputs rounded to nearest. */
static void keep_aspect(const char *policy, const ts_shape *x, const int *axes, size_t n,
                        resize_plan *p)
{
    bool larger = !strcmp(policy, "not_smaller");
    double scale = larger ? 0.0 : INFINITY;
    for (size_t i = 0; i < n; i++) {
        double own = (double)p->shape.dim[axes[i]] / (double)x->dim[axes[i]];
        scale = larger ? fmax(scale, own) : fmin(scale, own);
    }
    for (size_t i = 0; i < n; i++) {
        p->scale[axes[i]] = scale;
        p->shape.dim[axes[i]] = (int64_t)floor(scale * (double)x->dim[axes[i]] + 0.5);
    }
}

static ts_status plan_resize(ts_node_call *c, resize_plan *p, ts_error *err)
{
    const ts_shape *x = &c->in[0]->shape;
    bool two = !strcmp(c->node->op, "Upsample") || c->opset < 11;
    ts_value *scales = ts_input(c, two ? 1 : 2), *sizes = two ? NULL : ts_input(c, 3);
    int64_t list[TS_MAX_RANK];
    int axes[TS_MAX_RANK];
    size_t n = ts_attr_ints(c->node, "axes", list, TS_MAX_RANK);
    ts_status st = plan_modes(c, &p->options, err);
    for (size_t i = 0; i < n && st == TS_OK; i++)
        st = ts_axis(c, list[i], x->rank, &axes[i], err);
    if (n == 0)
        for (int d = 0; d < x->rank; d++)
            axes[n++] = d;
    p->shape = *x;
    memset(p->scale, 0, sizeof p->scale);
    if (st == TS_OK && scales && ts_value_elements(scales) > 0) {
        st = ts_value_to_host(c->ops, scales, err);
        if (st == TS_OK && ts_value_elements(scales) != (int64_t)n)
            st = ts_node_fail(c, err, "%zu axes need as many scales", n);
        for (size_t i = 0; i < n && st == TS_OK; i++) {
            double s = scales->host[i];
            p->scale[axes[i]] = s == 1.0 ? 0.0 : s;
            p->shape.dim[axes[i]] = (int64_t)floor(s * (double)x->dim[axes[i]]);
        }
    } else if (st == TS_OK && sizes) {
        size_t count;
        char policy[16];
        st = ts_ints_in(c, 3, list, TS_MAX_RANK, &count, err);
        if (st == TS_OK && count != n)
            st = ts_node_fail(c, err, "%zu axes need as many sizes", n);
        for (size_t i = 0; i < n && st == TS_OK; i++)
            p->shape.dim[axes[i]] = list[i];
        ts_attr_string(c->node, "keep_aspect_ratio_policy", "stretch", policy, sizeof policy);
        if (st == TS_OK && strcmp(policy, "stretch"))
            keep_aspect(policy, x, axes, n, p);
    } else if (st == TS_OK) {
        st = ts_node_fail(c, err, "neither scales nor sizes");
    }
    for (int d = 0; d < x->rank && st == TS_OK; d++)
        if (p->shape.dim[d] < 1 || x->dim[d] < 1)
            st = ts_node_fail(c, err, "axis %d becomes %lld", d, (long long)p->shape.dim[d]);
    return st;
}

/* Resample one axis; `y` has it resized. */
static ts_status resize_axis(const resize_plan *p, int axis, const ts_shape *from, const double *x,
                             double *y, ts_error *err)
{
    int64_t in = from->dim[axis], out = p->shape.dim[axis], inner = 1;
    int taps;
    int32_t *index;
    double *weight;
    for (int d = axis + 1; d < from->rank; d++)
        inner *= from->dim[d];
    int64_t outer = ts_shape_elements(from) / (in * inner);
    ts_status st =
        ts_resize_taps(&p->options, in, out, p->scale[axis], &taps, &index, &weight, err);
    if (st != TS_OK)
        return st;
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < out; i++)
            for (int64_t k = 0; k < inner; k++) {
                double sum = 0.0;
                for (int t = 0; t < taps; t++)
                    sum += weight[i * taps + t] * x[(o * in + index[i * taps + t]) * inner + k];
                y[(o * out + i) * inner + k] = sum;
            }
    free(index);
    free(weight);
    return TS_OK;
}

static ts_status resize_host(ts_node_call *c, ts_error *err)
{
    resize_plan p;
    double *y;
    ts_status st = plan_resize(c, &p, err);
    if (st == TS_OK)
        st = ts_host_out(c, 0, c->in[0]->type, &p.shape, &y, err);
    if (st != TS_OK || !y)
        return st;
    ts_shape from = c->in[0]->shape;
    size_t room = 1;
    for (int d = 0; d < from.rank; d++)
        room *= (size_t)(from.dim[d] > p.shape.dim[d] ? from.dim[d] : p.shape.dim[d]);
    double *a = calloc(room, sizeof *a), *b = calloc(room, sizeof *b);
    if (!a || !b) {
        free(a);
        free(b);
        return ts_fail(err, TS_E_NO_MEMORY, "node '%.80s': %zu elements", c->node->name, room);
    }
    memcpy(a, ts_host_in(c, 0), (size_t)ts_shape_elements(&from) * sizeof *a);
    for (int d = 0; d < from.rank && st == TS_OK; d++) {
        if (from.dim[d] == p.shape.dim[d] && p.scale[d] == 0.0)
            continue;
        st = resize_axis(&p, d, &from, a, b, err);
        from.dim[d] = p.shape.dim[d];
        double *swap = a;
        a = b;
        b = swap;
    }
    for (int64_t i = 0; i < ts_shape_elements(&from) && st == TS_OK; i++)
        y[i] = ts_onnx_fit(c->in[0]->type, a[i]);
    free(a);
    free(b);
    return st;
}

static void destroy_resize(void *data)
{
    ts_resize_destroy(data);
}

static ts_status resize_device(ts_node_call *c, ts_error *err)
{
    const ts_shape *s = &c->in[0]->shape;
    resize_plan p;
    ts_arr x, y;
    ts_status st = plan_resize(c, &p, err);
    if (st != TS_OK)
        return st;
    int rank = s->rank;
    bool image = rank >= 2;
    for (int d = 0; d < rank - 2; d++)
        image = image && s->dim[d] == p.shape.dim[d];
    if (!image) { /* other axes than the last two */
        st = ts_value_to_host(c->ops, c->in[0], err);
        return st == TS_OK ? resize_host(c, err) : st;
    }
    st = ts_dev_in(c, 0, &x, err);
    if (st == TS_OK)
        st = ts_dev_out(c, 0, c->in[0]->type, &p.shape, &y, err);
    ts_shape key = {.rank = 4,
                    .dim = {s->dim[rank - 2], s->dim[rank - 1], p.shape.dim[rank - 2],
                            p.shape.dim[rank - 1]}};
    if (st == TS_OK && !(c->state->data && ts_shape_equal(&key, &c->state->key))) {
        ts_resize *made = NULL;
        p.options.in_h = key.dim[0];
        p.options.in_w = key.dim[1];
        p.options.out_h = key.dim[2];
        p.options.out_w = key.dim[3];
        p.options.scale_h = p.scale[rank - 2];
        p.options.scale_w = p.scale[rank - 1];
        st = ts_resize_create(c->ops, &p.options, &made, err);
        if (st == TS_OK) {
            ts_resize_destroy(c->state->data);
            *c->state = (ts_node_state){made, destroy_resize, key};
        }
    }
    return st == TS_OK ? ts_op_resize(c->ops, c->state->data, &x, &y, err) : st;
}

/* ---- grid sample ---- */

typedef enum grid_padding {
    GRID_ZEROS,
    GRID_BORDER,
    GRID_REFLECTION
} grid_padding;

typedef struct grid {
    const double *x; /* one [H,W] plane */
    int64_t h, w;
    grid_padding padding;
    bool align;
} grid;

/* Fold a coordinate back into [low, high]. */
static double reflect(double v, double low, double high)
{
    double range = high - low;
    if (range <= 0.0)
        return low;
    v = fabs(v - low);
    double times = floor(v / range), rest = v - times * range;
    return fmod(times, 2.0) == 0.0 ? rest + low : high - rest;
}

static double place(const grid *g, double v, int64_t n)
{
    v = g->align ? (v + 1.0) / 2.0 * (double)(n - 1) : ((v + 1.0) * (double)n - 1.0) / 2.0;
    return v;
}

static double fold(const grid *g, double v, int64_t n)
{
    if (g->padding == GRID_REFLECTION)
        v = g->align ? reflect(v, 0.0, (double)(n - 1)) : reflect(v, -0.5, (double)n - 0.5);
    if (g->padding != GRID_ZEROS)
        v = fmin(fmax(v, 0.0), (double)(n - 1));
    return v;
}

static double pixel(const grid *g, double y, double x)
{
    y = fold(g, y, g->h);
    x = fold(g, x, g->w);
    if (!(y >= 0.0 && y < (double)g->h && x >= 0.0 && x < (double)g->w))
        return 0.0;
    return g->x[(int64_t)y * g->w + (int64_t)x];
}

static void cubic_weights(double t, double w[4])
{
    const double a = -0.75;
    for (int i = 0; i < 4; i++) {
        double d = fabs(t + 1.0 - (double)i);
        w[i] = d <= 1.0 ? ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0
                        : ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a;
    }
}

static double sample(const grid *g, int mode, double y, double x)
{
    if (mode == 0)
        return pixel(g, rint(fold(g, y, g->h)), rint(fold(g, x, g->w)));
    if (mode == 1) {
        y = fold(g, y, g->h);
        x = fold(g, x, g->w);
        double y0 = floor(y), x0 = floor(x), fy = y - y0, fx = x - x0, sum = 0.0;
        for (int i = 0; i < 4; i++) {
            double weight = (i & 2 ? fy : 1.0 - fy) * (i & 1 ? fx : 1.0 - fx);
            sum += weight > 0.0 ? weight * pixel(g, y0 + (i >> 1), x0 + (i & 1)) : 0.0;
        }
        return sum;
    }
    double y0 = floor(y), x0 = floor(x), wy[4], wx[4], sum = 0.0;
    cubic_weights(y - y0, wy);
    cubic_weights(x - x0, wx);
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 4; k++)
            sum += wy[i] * wx[k] * pixel(g, y0 - 1 + i, x0 - 1 + k);
    return sum;
}

static ts_status grid_sample(ts_node_call *c, ts_error *err)
{
    const ts_shape *x = &c->in[0]->shape, *at = &c->in[1]->shape;
    char mode_name[16], padding_name[16];
    ts_attr_string(c->node, "mode", "bilinear", mode_name, sizeof mode_name);
    ts_attr_string(c->node, "padding_mode", "zeros", padding_name, sizeof padding_name);
    int mode = !strcmp(mode_name, "nearest")                                  ? 0
               : !strcmp(mode_name, "bilinear") || !strcmp(mode_name, "linear") ? 1
                                                                              : 2;
    grid g = {.padding = !strcmp(padding_name, "border")       ? GRID_BORDER
                         : !strcmp(padding_name, "reflection") ? GRID_REFLECTION
                                                               : GRID_ZEROS,
              .align = ts_attr_int(c->node, "align_corners", 0)};
    if (x->rank != 4 || at->rank != 4 || at->dim[3] != 2 || at->dim[0] != x->dim[0])
        return ts_node_fail(c, err, "images [N,C,H,W] with grids [N,h,w,2] are supported");
    int64_t plane = at->dim[1] * at->dim[2], channels = x->dim[1];
    double *y;
    ts_status st = ts_host_out(c, 0, c->in[0]->type,
                               &TS_SHAPE(x->dim[0], channels, at->dim[1], at->dim[2]), &y, err);
    if (st != TS_OK || !y)
        return st;
    g.h = x->dim[2];
    g.w = x->dim[3];
    for (int64_t i = 0; i < x->dim[0] * channels; i++) {
        const double *points = ts_host_in(c, 1) + i / channels * plane * 2;
        g.x = ts_host_in(c, 0) + i * g.h * g.w;
        for (int64_t k = 0; k < plane; k++)
            y[i * plane + k] = sample(&g, mode, place(&g, points[k * 2 + 1], g.h),
                                      place(&g, points[k * 2], g.w));
    }
    return TS_OK;
}

const ts_graph_op ts_ops_sample[] = {
    {"Resize", resize_host, resize_device, 1},
    {"Upsample", resize_host, resize_device, 1},
    {"GridSample", grid_sample, NULL, 2},
    {NULL, NULL, NULL, 0},
};
