#include "cl/ops/conv.h"

#include <stdlib.h>
#include <string.h>

#include "cl/ops/internal.h"

struct ts_conv {
    ts_conv_geometry g;
    bool depthwise;
    ts_arr data; /* CPU: [groups][OC/mr][K][mr]; GPU: [groups][OC][K]; depthwise: [out][taps] */
    ts_arr bias;
    bool has_bias;
    int64_t ic, oc, k; /* per group: channels and depth of the product */
};

/* As the kernels' conv_args. */
typedef struct conv_args {
    int32_t n, groups, ic, oc, id, ih, iw, od, oh, ow, kd, kh, kw;
    int32_t sz, sy, sx, pz, py, px, dz, dy, dx;
    int32_t transposed, has_bias, has_residual, act;
    float act_a, act_b;
} conv_args;

enum {
    GPU_TILE = 64
};

static ts_status check_geometry(ts_conv_geometry *g, ts_error *err)
{
    if (!g->groups)
        g->groups = 1;
    for (int i = 0; i < 3; i++) {
        if (!g->stride[i])
            g->stride[i] = 1;
        if (!g->dilation[i])
            g->dilation[i] = 1;
    }
    if (!g->kernel[0])
        g->kernel[0] = 1;
    if (g->in < 1 || g->out < 1 || g->groups < 1 || g->in % g->groups || g->out % g->groups)
        return ts_fail(err, TS_E_SHAPE, "conv: %lld to %lld channels in %lld groups",
                       (long long)g->in, (long long)g->out, (long long)g->groups);
    for (int i = 0; i < 3; i++) {
        if (g->kernel[i] < 1 || g->kernel[i] > 4096 || g->stride[i] < 1 || g->stride[i] > 4096 ||
            g->dilation[i] < 1 || g->dilation[i] > 4096)
            return ts_fail(err, TS_E_SHAPE, "conv: kernel %lld, stride %lld, dilation %lld",
                           (long long)g->kernel[i], (long long)g->stride[i],
                           (long long)g->dilation[i]);
        if (g->pad_front[i] < 0 || g->pad_back[i] < 0 || g->pad_front[i] > 65536 ||
            g->pad_back[i] > 65536 || g->output_padding[i] < 0 || g->output_padding[i] > 65536)
            return ts_fail(err, TS_E_SHAPE, "conv: padding %lld, %lld", (long long)g->pad_front[i],
                           (long long)g->pad_back[i]);
    }
    return TS_OK;
}

/* Weight of output channel oc and depth position k of a group, from either storage order. */
static float weight_at(const ts_conv *c, const float *w, int64_t group, int64_t oc, int64_t k)
{
    int64_t taps = c->k / c->ic, ic = k / taps, tap = k % taps;
    if (c->g.transposed)
        return w[((group * c->ic + ic) * c->oc + oc) * taps + tap];
    return w[((group * c->oc + oc) * c->ic + ic) * taps + tap];
}

static void pack(const ts_conv *c, const float *w, int64_t mr, float *out)
{
    for (int64_t group = 0; group < c->g.groups; group++)
        for (int64_t oc0 = 0; oc0 < c->oc; oc0 += mr)
            for (int64_t k = 0; k < c->k; k++)
                for (int64_t r = 0; r < mr; r++)
                    *out++ = oc0 + r < c->oc ? weight_at(c, w, group, oc0 + r, k) : 0.0f;
}

ts_status ts_conv_create(ts_ops *ops, const ts_conv_geometry *geometry, const float *w,
                         const float *bias, ts_conv **out, ts_error *err)
{
    ts_conv_geometry g = *geometry;
    ts_status st = check_geometry(&g, err);
    if (st != TS_OK)
        return st;
    ts_conv *c = calloc(1, sizeof *c);
    if (!c)
        return ts_fail(err, TS_E_NO_MEMORY, "convolution");
    c->g = g;
    c->ic = g.in / g.groups;
    c->oc = g.out / g.groups;
    int64_t taps = g.kernel[0] * g.kernel[1] * g.kernel[2];
    c->k = c->ic * taps;
    c->depthwise = c->ic == 1 && g.groups > 1;
    c->has_bias = bias != NULL;
    /* Depthwise and GPU kernels read rows [OC][K]: the same order with tiles of one row. */
    bool tiled = ops->cpu && !c->depthwise;
    int64_t mr = tiled ? ops->mr : 1, tiles = (c->oc + mr - 1) / mr;
    float *packed = malloc((size_t)(g.groups * tiles * mr * c->k) * sizeof *packed);
    if (!packed) {
        free(c);
        return ts_fail(err, TS_E_NO_MEMORY, "packing a convolution");
    }
    pack(c, w, mr, packed);
    st = ts_arr_from_host(ops, TS_F32, &TS_SHAPE(g.groups, tiles, c->k, mr), packed, &c->data, err);
    free(packed);
    if (st == TS_OK && bias)
        st = ts_arr_from_host(ops, TS_F32, &TS_SHAPE(g.out), bias, &c->bias, err);
    if (st != TS_OK) {
        ts_conv_destroy(c);
        return st;
    }
    *out = c;
    return TS_OK;
}

void ts_conv_destroy(ts_conv *conv)
{
    if (!conv)
        return;
    ts_arr_free(&conv->data);
    ts_arr_free(&conv->bias);
    free(conv);
}

size_t ts_conv_bytes(const ts_conv *conv)
{
    return ts_arr_bytes(&conv->data) + (conv->has_bias ? ts_arr_bytes(&conv->bias) : 0);
}

ts_status ts_conv_output_shape(const ts_conv *conv, const ts_shape *x, ts_shape *y, ts_error *err)
{
    const ts_conv_geometry *g = &conv->g;
    int spatial = x->rank - 2;
    if ((spatial != 2 && spatial != 3) || x->dim[1] != g->in)
        return ts_fail(err, TS_E_SHAPE, "conv: x is %s, want [N,%lld,(D,)H,W]",
                       ts_shape_text(x, (char[96]){0}, 96), (long long)g->in);
    if (spatial == 2 && g->kernel[0] != 1)
        return ts_fail(err, TS_E_SHAPE, "conv: a 3-D kernel needs [N,C,D,H,W], got %s",
                       ts_shape_text(x, (char[96]){0}, 96));
    *y = *x;
    y->dim[1] = g->out;
    for (int i = 0; i < spatial; i++) {
        int a = 3 - spatial + i; /* axis in the geometry's triples */
        int64_t in = x->dim[2 + i], reach = (g->kernel[a] - 1) * g->dilation[a] + 1, size;
        if (g->transposed)
            size = (in - 1) * g->stride[a] - g->pad_front[a] - g->pad_back[a] + reach +
                   g->output_padding[a];
        else
            size = (in + g->pad_front[a] + g->pad_back[a] - reach) / g->stride[a] + 1;
        if (in < 1 || size < 1 || (!g->transposed && in + g->pad_front[a] + g->pad_back[a] < reach))
            return ts_fail(err, TS_E_SHAPE, "conv: %s is too small for a kernel that spans %lld",
                           ts_shape_text(x, (char[96]){0}, 96), (long long)reach);
        y->dim[2 + i] = size;
    }
    size_t bytes;
    return ts_shape_check(y, TS_F32, &bytes, err);
}

static conv_args args_of(const ts_conv *c, const ts_shape *x, const ts_shape *y,
                         const ts_epilogue *e)
{
    const ts_conv_geometry *g = &c->g;
    bool d3 = x->rank == 5;
    conv_args p = {.n = (int32_t)x->dim[0],
                   .groups = (int32_t)g->groups,
                   .ic = (int32_t)c->ic,
                   .oc = (int32_t)c->oc,
                   .id = d3 ? (int32_t)x->dim[2] : 1,
                   .ih = (int32_t)x->dim[x->rank - 2],
                   .iw = (int32_t)x->dim[x->rank - 1],
                   .od = d3 ? (int32_t)y->dim[2] : 1,
                   .oh = (int32_t)y->dim[y->rank - 2],
                   .ow = (int32_t)y->dim[y->rank - 1],
                   .kd = (int32_t)g->kernel[0],
                   .kh = (int32_t)g->kernel[1],
                   .kw = (int32_t)g->kernel[2],
                   .sz = (int32_t)g->stride[0],
                   .sy = (int32_t)g->stride[1],
                   .sx = (int32_t)g->stride[2],
                   .pz = (int32_t)g->pad_front[0],
                   .py = (int32_t)g->pad_front[1],
                   .px = (int32_t)g->pad_front[2],
                   .dz = (int32_t)g->dilation[0],
                   .dy = (int32_t)g->dilation[1],
                   .dx = (int32_t)g->dilation[2],
                   .transposed = g->transposed,
                   .has_bias = c->has_bias};
    if (e) {
        p.has_residual = e->residual != NULL;
        p.act = (int32_t)e->act.kind;
        p.act_a = e->act.a;
        p.act_b = e->act.b;
    }
    return p;
}

static ts_status run_panels(ts_ops *ops, const ts_arr *x, const ts_conv *c, const ts_arr *residual,
                            ts_arr *y, const conv_args *p, ts_error *err)
{
    int64_t columns = (int64_t)p->n * p->od * p->oh * p->ow;
    int64_t panels = (columns + ops->nr - 1) / ops->nr, tiles = (c->oc + ops->mr - 1) / ops->mr;
    /* Work-items: a few per core in all, over panels first, then over row tiles. */
    int64_t want = (int64_t)ops->units * 4, slots = panels < want ? panels : want;
    int64_t shares = (want + slots * c->g.groups - 1) / (slots * c->g.groups);
    if (shares > tiles)
        shares = tiles;
    ts_buffer *scratch;
    size_t bytes = (size_t)(slots * shares * c->g.groups * c->k * ops->nr) * sizeof(float);
    ts_status st = ts_ops_scratch(ops, 0, bytes, &scratch, err);
    if (st != TS_OK)
        return st;
    return ts_ops_groups(ops, "conv", "conv_panel",
                         (size_t[3]){(size_t)shares, (size_t)slots, (size_t)c->g.groups}, 1,
                         TS_ARGS(TS_OP_ARR(x), TS_OP_ARR(&c->data), TS_OP_ARR(y),
                                 TS_OP_OPT(c->has_bias ? &c->bias : NULL), TS_OP_OPT(residual),
                                 TS_BUF(scratch), TS_BYTES(p, sizeof *p)),
                         err);
}

static ts_status run_tiles(ts_ops *ops, const ts_arr *x, const ts_conv *c, const ts_arr *residual,
                           ts_arr *y, const conv_args *p, ts_error *err)
{
    int64_t columns = (int64_t)p->n * p->od * p->oh * p->ow, n = ts_arr_elements(y);
    size_t nx = (size_t)(columns + GPU_TILE - 1) / GPU_TILE;
    size_t ny = (size_t)(c->oc + GPU_TILE - 1) / GPU_TILE;
    size_t groups = nx * ny * (size_t)c->g.groups, splits = 1;
    if (groups < ops->units && c->k >= 128) {
        splits = 2 * ops->units / groups;
        if (splits > (size_t)c->k / 64)
            splits = (size_t)c->k / 64;
        if (splits > 64)
            splits = 64;
    }
    ts_buffer *part = NULL;
    if (splits > 1) {
        ts_status st = ts_ops_scratch(ops, 0, splits * (size_t)n * sizeof(float), &part, err);
        if (st != TS_OK)
            return st;
    }
    const ts_arr *bias = c->has_bias ? &c->bias : NULL;
    ts_status st = ts_ops_groups(
        ops, "conv", "conv_tile", (size_t[3]){nx, ny, (size_t)c->g.groups * splits}, 256,
        TS_ARGS(TS_OP_ARR(x), TS_OP_ARR(&c->data), TS_OP_ARR(y), TS_OP_OPT(bias),
                TS_OP_OPT(residual), TS_BUF(part), TS_UINT(splits), TS_BYTES(p, sizeof *p)),
        err);
    if (st != TS_OK || splits == 1)
        return st;
    return ts_ops_flat(ops, "conv", "conv_join", n, 1,
                       TS_ARGS(TS_BUF(part), TS_UINT(splits), TS_OP_ARR(y), TS_OP_OPT(bias),
                               TS_OP_OPT(residual), TS_BYTES(p, sizeof *p), TS_ULONG(n)),
                       err);
}

ts_status ts_op_conv(ts_ops *ops, const ts_arr *x, const ts_conv *conv, const ts_epilogue *epilogue,
                     ts_arr *y, ts_error *err)
{
    ts_shape want;
    ts_status st = ts_ops_want_f32("conv", "x", x, err);
    if (st == TS_OK)
        st = ts_ops_want_f32("conv", "y", y, err);
    if (st == TS_OK)
        st = ts_conv_output_shape(conv, &x->shape, &want, err);
    if (st == TS_OK)
        st = ts_ops_want_shape("conv", "y", y, &want, err);
    const ts_arr *residual = epilogue ? epilogue->residual : NULL;
    if (st == TS_OK && residual)
        st = ts_ops_want_f32("conv", "residual", residual, err);
    if (st == TS_OK && residual)
        st = ts_ops_want_shape("conv", "residual", residual, &want, err);
    if (st != TS_OK)
        return st;
    if (epilogue && epilogue->act.kind > TS_ACT_AFFINE)
        return ts_fail(err, TS_E_OPTION, "conv: activation %d cannot be fused",
                       (int)epilogue->act.kind);
    if (!ts_arr_elements(y))
        return TS_OK;
    conv_args p = args_of(conv, &x->shape, &y->shape, epilogue);
    if (conv->depthwise) {
        int64_t n = ops->cpu ? ts_arr_elements(y) / p.ow : ts_arr_elements(y);
        return ts_ops_flat(ops, "conv", "conv_depthwise", n, 16,
                           TS_ARGS(TS_OP_ARR(x), TS_OP_ARR(&conv->data), TS_OP_ARR(y),
                                   TS_OP_OPT(conv->has_bias ? &conv->bias : NULL),
                                   TS_OP_OPT(residual), TS_BYTES(&p, sizeof p)),
                           err);
    }
    if (ops->cpu)
        return run_panels(ops, x, conv, residual, y, &p, err);
    return run_tiles(ops, x, conv, residual, y, &p, err);
}
