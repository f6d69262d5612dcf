/* Layers: convolution, matrix products, pooling, normalisation. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cl/graph/op.h"
#include "cl/ops/conv.h"
#include "cl/ops/gemm.h"
#include "cl/ops/move.h"
#include "cl/ops/norm.h"
#include "cl/ops/pointwise.h"
#include "cl/ops/pool.h"
#include "cl/ops/reduce.h"

/* Elements of input i as host floats: borrowed from the constant, or a copy in *owned. */
static ts_status host_floats(ts_node_call *c, size_t i, float **owned, const float **data,
                             ts_error *err)
{
    ts_value *v = c->in[i];
    *owned = NULL;
    if (v->f32) {
        *data = v->f32;
        return TS_OK;
    }
    ts_status st = ts_value_to_host(c->ops, v, err);
    if (st != TS_OK)
        return st;
    size_t n = (size_t)ts_value_elements(v);
    float *copy = calloc(n ? n : 1, sizeof *copy);
    if (!copy)
        return ts_fail(err, TS_E_NO_MEMORY, "%zu weights", n);
    for (size_t k = 0; k < n; k++)
        copy[k] = (float)v->host[k];
    *data = *owned = copy;
    return TS_OK;
}

/* An image of one to three spatial dims as [N,C,(D,)H,W]: one dim becomes a row. */
static ts_shape as_image(const ts_shape *s)
{
    ts_shape image = *s;
    if (s->rank == 3) {
        image.rank = 4;
        image.dim[2] = 1;
        image.dim[3] = s->dim[2];
    }
    return image;
}

static ts_shape from_image(const ts_shape *image, int rank)
{
    ts_shape s = *image;
    if (rank == 3) {
        s.rank = 3;
        s.dim[2] = image->dim[3];
    }
    return s;
}

static ts_status image_in(ts_node_call *c, ts_arr *x, int *spatial, ts_error *err)
{
    const ts_shape *s = &c->in[0]->shape;
    *spatial = s->rank - 2;
    if (*spatial < 1 || *spatial > 3)
        return ts_node_fail(c, err, "input of rank %d; 3 to 5 are supported", s->rank);
    ts_status st = ts_dev_in(c, 0, x, err);
    if (st != TS_OK)
        return st;
    ts_shape image = as_image(s);
    *x = ts_arr_reshape(x, &image);
    return TS_OK;
}

/* Geometry of a sliding window along the spatial dims, in the operators' depth, height, width. */
typedef struct window {
    int64_t kernel[3], stride[3], dilation[3], front[3], back[3];
} window;

/* Reads strides, dilations, pads and auto_pad; `kernel` holds the spatial dims' sizes. */
static ts_status plan_window(ts_node_call *c, int spatial, const int64_t *kernel, bool transposed,
                             window *w, ts_error *err)
{
    int64_t strides[3], dilations[3], pads[6];
    size_t n_strides = ts_attr_ints(c->node, "strides", strides, 3);
    size_t n_dilations = ts_attr_ints(c->node, "dilations", dilations, 3);
    size_t n_pads = ts_attr_ints(c->node, "pads", pads, 6);
    char automatic[16];
    ts_attr_string(c->node, "auto_pad", "NOTSET", automatic, sizeof automatic);
    bool upper = !strcmp(automatic, "SAME_UPPER"), lower = !strcmp(automatic, "SAME_LOWER");
    if ((n_strides && (int)n_strides != spatial) || (n_dilations && (int)n_dilations != spatial) ||
        (n_pads && (int)n_pads != 2 * spatial))
        return ts_node_fail(c, err, "strides, dilations or pads do not fit %d spatial dims",
                            spatial);
    for (int d = 0; d < 3; d++) {
        w->kernel[d] = w->stride[d] = w->dilation[d] = 1;
        w->front[d] = w->back[d] = 0;
    }
    for (int d = 0; d < spatial; d++) {
        int at = 3 - spatial + d;
        w->kernel[at] = kernel[d];
        w->stride[at] = n_strides ? strides[d] : 1;
        w->dilation[at] = n_dilations ? dilations[d] : 1;
        if (w->stride[at] < 1 || w->dilation[at] < 1 || kernel[d] < 1)
            return ts_node_fail(c, err, "kernel, stride or dilation below 1");
        if (n_pads && !upper && !lower && strcmp(automatic, "VALID")) {
            w->front[at] = pads[d];
            w->back[at] = pads[spatial + d];
        } else if ((upper || lower) && !transposed) {
            int64_t in = c->in[0]->shape.dim[2 + d], out = (in + w->stride[at] - 1) / w->stride[at];
            int64_t pad = (out - 1) * w->stride[at] + (kernel[d] - 1) * w->dilation[at] + 1 - in;
            pad = pad > 0 ? pad : 0;
            w->front[at] = upper ? pad / 2 : pad - pad / 2;
            w->back[at] = pad - w->front[at];
        }
    }
    return TS_OK;
}

/* ---- convolution ---- */

static void destroy_conv(void *data)
{
    ts_conv_destroy(data);
}

/* Pads of a transposed convolution from output_shape or auto_pad. */
static ts_status plan_transposed(ts_node_call *c, int spatial, window *w, int64_t *extra,
                                 ts_error *err)
{
    int64_t output_padding[3], sizes[3];
    size_t n_extra = ts_attr_ints(c->node, "output_padding", output_padding, 3);
    size_t n_sizes = ts_attr_ints(c->node, "output_shape", sizes, 3);
    char automatic[16];
    ts_attr_string(c->node, "auto_pad", "NOTSET", automatic, sizeof automatic);
    bool upper = !strcmp(automatic, "SAME_UPPER"), lower = !strcmp(automatic, "SAME_LOWER");
    if ((n_extra && (int)n_extra != spatial) || (n_sizes && (int)n_sizes != spatial))
        return ts_node_fail(c, err, "output_padding or output_shape does not fit");
    for (int d = 0; d < spatial; d++) {
        int at = 3 - spatial + d;
        extra[at] = n_extra ? output_padding[d] : 0;
        if (!n_sizes && !upper && !lower)
            continue;
        int64_t in = c->in[0]->shape.dim[2 + d], size = n_sizes ? sizes[d] : in * w->stride[at];
        int64_t pad = w->stride[at] * (in - 1) + extra[at] +
                      (w->kernel[at] - 1) * w->dilation[at] + 1 - size;
        if (pad < 0) { /* larger than the windows reach: zeros behind */
            extra[at] -= pad;
            pad = 0;
        }
        w->front[at] = upper ? pad / 2 : pad - pad / 2;
        w->back[at] = pad - w->front[at];
    }
    return TS_OK;
}

static ts_status make_conv(ts_node_call *c, int spatial, ts_conv **conv, ts_error *err)
{
    bool transposed = !strcmp(c->node->op, "ConvTranspose");
    const ts_shape *ws = &c->in[1]->shape;
    window w;
    ts_conv_geometry g = {.transposed = transposed, .groups = ts_attr_int(c->node, "group", 1)};
    if (ws->rank != spatial + 2 || g.groups < 1)
        return ts_node_fail(c, err, "weight of rank %d for an input of rank %d", ws->rank,
                            spatial + 2);
    ts_status st = plan_window(c, spatial, ws->dim + 2, transposed, &w, err);
    if (st == TS_OK && transposed)
        st = plan_transposed(c, spatial, &w, g.output_padding, err);
    if (st != TS_OK)
        return st;
    g.in = transposed ? ws->dim[0] : ws->dim[1] * g.groups;
    g.out = transposed ? ws->dim[1] * g.groups : ws->dim[0];
    if (c->in[0]->shape.dim[1] != g.in)
        return ts_node_fail(c, err, "input has %lld channels, the weight takes %lld",
                            (long long)c->in[0]->shape.dim[1], (long long)g.in);
    memcpy(g.kernel, w.kernel, sizeof g.kernel);
    memcpy(g.stride, w.stride, sizeof g.stride);
    memcpy(g.dilation, w.dilation, sizeof g.dilation);
    memcpy(g.pad_front, w.front, sizeof g.pad_front);
    memcpy(g.pad_back, w.back, sizeof g.pad_back);
    float *own_weight = NULL, *own_bias = NULL;
    const float *weight, *bias = NULL;
    st = host_floats(c, 1, &own_weight, &weight, err);
    if (st == TS_OK && ts_input(c, 2))
        st = host_floats(c, 2, &own_bias, &bias, err);
    if (st == TS_OK && bias && ts_value_elements(c->in[2]) != g.out)
        st = ts_node_fail(c, err, "bias does not have %lld elements", (long long)g.out);
    if (st == TS_OK)
        st = ts_conv_create(c->ops, &g, weight, bias, conv, err);
    free(own_weight);
    free(own_bias);
    return st;
}

/* Whether the window depends on the input's size: such a layer is packed per size. */
static bool window_varies(const ts_node_call *c)
{
    char automatic[16];
    ts_attr_string(c->node, "auto_pad", "NOTSET", automatic, sizeof automatic);
    return !strncmp(automatic, "SAME", 4) || ts_attr_has(c->node, "output_shape");
}

static ts_status conv_device(ts_node_call *c, ts_error *err)
{
    ts_arr x, y;
    int spatial;
    ts_shape image, shape;
    ts_status st = image_in(c, &x, &spatial, err);
    if (st != TS_OK)
        return st;
    bool keep = c->constant[1] && (!ts_input(c, 2) || c->constant[2]);
    bool fits = c->state->data && (!window_varies(c) ||
                                   ts_shape_equal(&c->state->key, &c->in[0]->shape));
    ts_conv *conv = keep && fits ? c->state->data : NULL;
    if (!conv)
        st = make_conv(c, spatial, &conv, err);
    if (st == TS_OK && keep && conv != c->state->data) {
        ts_conv_destroy(c->state->data);
        *c->state = (ts_node_state){conv, destroy_conv, c->in[0]->shape};
    }
    if (st == TS_OK)
        st = ts_conv_output_shape(conv, &x.shape, &image, err);
    if (st == TS_OK) {
        shape = from_image(&image, spatial + 2);
        st = ts_dev_out(c, 0, c->in[0]->type, &shape, &y, err);
    }
    if (st == TS_OK) {
        y = ts_arr_reshape(&y, &image);
        st = ts_op_conv(c->ops, &x, conv, NULL, &y, err);
    }
    if (!keep)
        ts_conv_destroy(conv);
    return st;
}

/* ---- matrix products ---- */

static void destroy_weight(void *data)
{
    ts_weight_destroy(data);
}

/* Pack a [k,n] (or transposed: [n,k]) constant times alpha, with beta times a bias. */
static ts_status pack_weight(ts_node_call *c, bool transposed, float alpha, float beta,
                             ts_error *err)
{
    const ts_shape *s = &c->in[1]->shape;
    int64_t k = s->dim[transposed ? 1 : 0], n = s->dim[transposed ? 0 : 1];
    float *own = NULL, *own_bias = NULL, *bias = NULL;
    const float *data, *c2 = NULL;
    float *w = calloc((size_t)(n * k) + 1, sizeof *w);
    ts_weight *weight = NULL;
    ts_status st = w ? host_floats(c, 1, &own, &data, err)
                     : ts_fail(err, TS_E_NO_MEMORY, "weights of node '%.80s'", c->node->name);
    if (st == TS_OK && ts_input(c, 2)) {
        st = host_floats(c, 2, &own_bias, &c2, err);
        bias = calloc((size_t)n + 1, sizeof *bias);
        if (st == TS_OK && !bias)
            st = ts_fail(err, TS_E_NO_MEMORY, "bias of node '%.80s'", c->node->name);
        bool one = ts_value_elements(c->in[2]) == 1;
        for (int64_t i = 0; st == TS_OK && i < n; i++)
            bias[i] = beta * c2[one ? 0 : i];
    }
    if (st == TS_OK) {
        for (int64_t o = 0; o < n; o++)
            for (int64_t i = 0; i < k; i++)
                w[o * k + i] = alpha * data[transposed ? o * k + i : i * n + o];
        st = ts_weight_create(c->ops, w, n, k, bias, &weight, err);
    }
    if (st == TS_OK)
        *c->state = (ts_node_state){.data = weight, .destroy = destroy_weight};
    free(w);
    free(own);
    free(own_bias);
    free(bias);
    return st;
}

static ts_status linear(ts_node_call *c, const ts_shape *shape, ts_error *err)
{
    ts_arr x, y;
    ts_status st = ts_dev_in(c, 0, &x, err);
    if (st == TS_OK)
        st = ts_dev_out(c, 0, c->in[0]->type, shape, &y, err);
    if (st != TS_OK)
        return st;
    int64_t k = ts_weight_inputs(c->state->data), n = ts_weight_outputs(c->state->data);
    int64_t rows = k ? ts_arr_elements(&x) / k : 0;
    x = ts_arr_reshape(&x, &TS_SHAPE(rows, k));
    y = ts_arr_reshape(&y, &TS_SHAPE(rows, n));
    return ts_op_linear(c->ops, &x, c->state->data, NULL, &y, err);
}

static ts_status matmul_device(ts_node_call *c, ts_error *err)
{
    ts_shape sa = c->in[0]->shape, sb = c->in[1]->shape, shape = {0};
    bool row = sa.rank == 1, column = sb.rank == 1;
    if (sa.rank < 1 || sb.rank < 1)
        return ts_node_fail(c, err, "an operand is a scalar");
    if (row)
        sa = TS_SHAPE(1, sa.dim[0]);
    if (column)
        sb = TS_SHAPE(sb.dim[0], 1);
    int64_t m = sa.dim[sa.rank - 2], k = sa.dim[sa.rank - 1], n = sb.dim[sb.rank - 1];
    if (sb.dim[sb.rank - 2] != k)
        return ts_node_fail(c, err, "inner dims %lld and %lld differ", (long long)k,
                            (long long)sb.dim[sb.rank - 2]);
    ts_shape la = sa, lb = sb, lead;
    la.rank -= 2;
    lb.rank -= 2;
    ts_status st = ts_broadcast_shape(&la, &lb, &lead, err);
    if (st != TS_OK)
        return st;
    shape = lead;
    if (!row)
        shape.dim[shape.rank++] = m;
    if (!column)
        shape.dim[shape.rank++] = n;
    if (c->constant[1] && sb.rank == 2 && !column && k > 0) {
        if (!c->state->data)
            st = pack_weight(c, false, 1.0f, 0.0f, err);
        return st == TS_OK ? linear(c, &shape, err) : st;
    }
    ts_arr a, b, y;
    st = ts_dev_in(c, 0, &a, err);
    if (st == TS_OK)
        st = ts_dev_in(c, 1, &b, err);
    if (st == TS_OK)
        st = ts_dev_out(c, 0, c->in[0]->type, &shape, &y, err);
    if (st != TS_OK)
        return st;
    lead.dim[lead.rank++] = m;
    lead.dim[lead.rank++] = n;
    a = ts_arr_reshape(&a, &sa);
    b = ts_arr_reshape(&b, &sb);
    y = ts_arr_reshape(&y, &lead);
    return ts_op_matmul(c->ops, &a, &b, &(ts_matmul){0}, &y, err);
}

static ts_status gemm_device(ts_node_call *c, ts_error *err)
{
    const ts_shape *sa = &c->in[0]->shape, *sb = &c->in[1]->shape;
    bool ta = ts_attr_int(c->node, "transA", 0), tb = ts_attr_int(c->node, "transB", 0);
    float alpha = ts_attr_float(c->node, "alpha", 1.0f), beta = ts_attr_float(c->node, "beta", 1.0f);
    ts_value *bias = ts_input(c, 2);
    if (sa->rank != 2 || sb->rank != 2)
        return ts_node_fail(c, err, "operands must be matrices");
    int64_t m = sa->dim[ta], k = sa->dim[!ta], n = sb->dim[!tb];
    if (sb->dim[tb] != k)
        return ts_node_fail(c, err, "inner dims %lld and %lld differ", (long long)k,
                            (long long)sb->dim[tb]);
    ts_shape shape = TS_SHAPE(m, n);
    bool row_bias = !bias || (c->constant[2] && (ts_value_elements(bias) == 1 ||
                                                 (ts_value_elements(bias) == n &&
                                                  bias->shape.dim[bias->shape.rank - 1] == n)));
    ts_status st = TS_OK;
    if (!ta && c->constant[1] && row_bias && k > 0) {
        if (!c->state->data)
            st = pack_weight(c, tb, alpha, beta, err);
        return st == TS_OK ? linear(c, &shape, err) : st;
    }
    ts_arr a, b, y, z, scaled = {0};
    st = ts_dev_in(c, 0, &a, err);
    if (st == TS_OK)
        st = ts_dev_in(c, 1, &b, err);
    if (st == TS_OK)
        st = ts_dev_out(c, 0, c->in[0]->type, &shape, &y, err);
    if (st == TS_OK)
        st = ts_op_matmul(c->ops, &a, &b, &(ts_matmul){.trans_a = ta, .trans_b = tb}, &y, err);
    if (st == TS_OK && alpha != 1.0f)
        st = ts_op_unary(c->ops, &y, &(ts_act){TS_ACT_AFFINE, alpha, 0.0f}, &y, err);
    if (st != TS_OK || !bias)
        return st;
    st = ts_dev_in(c, 2, &z, err);
    if (st == TS_OK)
        st = ts_dev_scratch(c, TS_F32, &z.shape, &scaled, err);
    if (st == TS_OK)
        st = ts_op_unary(c->ops, &z, &(ts_act){TS_ACT_AFFINE, beta, 0.0f}, &scaled, err);
    if (st == TS_OK)
        st = ts_op_binary(c->ops, TS_BINARY_ADD, &y, &scaled, NULL, &y, err);
    ts_dev_release(c, &scaled);
    return st;
}

/* ---- pooling ---- */

static ts_status pool_device(ts_node_call *c, ts_error *err)
{
    bool average = !strcmp(c->node->op, "AveragePool");
    ts_arr x, y, where = {0};
    int spatial;
    int64_t kernel[3];
    window w;
    ts_status st = image_in(c, &x, &spatial, err);
    if (st == TS_OK && (int)ts_attr_ints(c->node, "kernel_shape", kernel, 3) != spatial)
        st = ts_node_fail(c, err, "kernel_shape does not have %d sizes", spatial);
    if (st == TS_OK)
        st = plan_window(c, spatial, kernel, false, &w, err);
    if (st != TS_OK)
        return st;
    ts_pool pool = {.average = average,
                    .count_padding = ts_attr_int(c->node, "count_include_pad", 0),
                    .ceil_mode = ts_attr_int(c->node, "ceil_mode", 0)};
    memcpy(pool.kernel, w.kernel, sizeof pool.kernel);
    memcpy(pool.stride, w.stride, sizeof pool.stride);
    memcpy(pool.dilation, w.dilation, sizeof pool.dilation);
    memcpy(pool.pad_front, w.front, sizeof pool.pad_front);
    memcpy(pool.pad_back, w.back, sizeof pool.pad_back);
    bool indices = c->n_out > 1 && c->out[1];
    if (indices && ts_attr_int(c->node, "storage_order", 0))
        return ts_node_fail(c, err, "indices in column order are not supported");
    ts_shape image, shape;
    st = ts_pool_output_shape(&pool, &x.shape, &image, err);
    if (st == TS_OK) {
        shape = from_image(&image, spatial + 2);
        st = ts_dev_out(c, 0, c->in[0]->type, &shape, &y, err);
    }
    if (st == TS_OK && indices)
        st = ts_dev_scratch(c, TS_I64, &image, &where, err);
    if (st == TS_OK) {
        y = ts_arr_reshape(&y, &image);
        st = ts_op_pool(c->ops, &x, &pool, &y, indices ? &where : NULL, err);
    }
    if (st == TS_OK && indices) {
        int64_t *flat = calloc((size_t)ts_shape_elements(&shape) + 1, sizeof *flat);
        double *host = NULL;
        st = flat ? ts_arr_read(c->ops, &where, flat, err)
                  : ts_fail(err, TS_E_NO_MEMORY, "indices of node '%.80s'", c->node->name);
        if (st == TS_OK)
            st = ts_host_out(c, 1, TS_ONNX_I64, &shape, &host, err);
        for (int64_t i = 0; host && i < ts_shape_elements(&shape); i++)
            host[i] = (double)flat[i];
        free(flat);
    }
    ts_dev_release(c, &where);
    return st;
}

static ts_status global_pool_device(ts_node_call *c, ts_error *err)
{
    const ts_shape *s = &c->in[0]->shape;
    ts_arr x, y;
    ts_shape shape = *s;
    if (s->rank < 3)
        return ts_node_fail(c, err, "input of rank %d", s->rank);
    for (int d = 2; d < s->rank; d++)
        shape.dim[d] = 1;
    ts_status st = ts_dev_in(c, 0, &x, err);
    if (st == TS_OK)
        st = ts_dev_out(c, 0, c->in[0]->type, &shape, &y, err);
    return st == TS_OK ? ts_op_reduce(c->ops,
                                      !strcmp(c->node->op, "GlobalMaxPool") ? TS_REDUCE_MAX
                                                                            : TS_REDUCE_MEAN,
                                      &x, ((1u << s->rank) - 1) & ~3u, &y, err)
                       : st;
}

/* ---- normalisation ---- */

typedef struct affine {
    ts_arr scale, shift;
} affine;

static void destroy_affine(void *data)
{
    affine *a = data;
    if (a) {
        ts_arr_free(&a->scale);
        ts_arr_free(&a->shift);
        free(a);
    }
}

static ts_status make_affine(ts_node_call *c, int64_t channels, affine **out, ts_error *err)
{
    float *own[4] = {0};
    const float *data[4] = {0};
    ts_status st = TS_OK;
    for (size_t i = 0; i < 4 && st == TS_OK; i++) {
        if (!ts_input(c, i + 1) || ts_value_elements(c->in[i + 1]) != channels)
            st = ts_node_fail(c, err, "input %zu does not have %lld elements", i + 1,
                              (long long)channels);
        else
            st = host_floats(c, i + 1, &own[i], &data[i], err);
    }
    affine *a = calloc(1, sizeof *a);
    float *folded = calloc((size_t)channels * 2 + 1, sizeof *folded);
    if (st == TS_OK && (!a || !folded))
        st = ts_fail(err, TS_E_NO_MEMORY, "node '%.80s'", c->node->name);
    if (st == TS_OK) {
        ts_batch_norm_fold(channels, data[0], data[1], data[2], data[3],
                           (double)ts_attr_float(c->node, "epsilon", 1e-5f), folded,
                           folded + channels);
        st = ts_arr_from_host(c->ops, TS_F32, &TS_SHAPE(channels), folded, &a->scale, err);
    }
    if (st == TS_OK)
        st = ts_arr_from_host(c->ops, TS_F32, &TS_SHAPE(channels), folded + channels, &a->shift,
                              err);
    for (size_t i = 0; i < 4; i++)
        free(own[i]);
    free(folded);
    if (st != TS_OK) {
        destroy_affine(a);
        return st;
    }
    *out = a;
    return TS_OK;
}

static ts_status batch_norm_device(ts_node_call *c, ts_error *err)
{
    const ts_shape *s = &c->in[0]->shape;
    ts_arr x, y;
    if (ts_attr_int(c->node, "training_mode", 0) || (c->n_out > 1 && c->out[1]))
        return ts_node_fail(c, err, "training mode is not supported");
    if (s->rank < 2)
        return ts_node_fail(c, err, "input of rank %d", s->rank);
    bool keep = c->constant[1] && c->constant[2] && c->constant[3] && c->constant[4];
    affine *a = keep ? c->state->data : NULL;
    ts_status st = a ? TS_OK : make_affine(c, s->dim[1], &a, err);
    if (st == TS_OK && keep)
        *c->state = (ts_node_state){.data = a, .destroy = destroy_affine};
    if (st == TS_OK)
        st = ts_dev_in(c, 0, &x, err);
    if (st == TS_OK)
        st = ts_dev_out(c, 0, c->in[0]->type, s, &y, err);
    if (st == TS_OK)
        st = ts_op_channel_affine(c->ops, &x, &a->scale, &a->shift, NULL, &y, err);
    if (!keep)
        destroy_affine(a);
    return st;
}

/* y = x/(bias + alpha/size · Σ x² over a window of channels)^beta: the sum is an average pool over
 * [N,1,C,positions] that counts its padding. */
static ts_status lrn_device(ts_node_call *c, ts_error *err)
{
    const ts_shape *s = &c->in[0]->shape;
    ts_arr x, y, square = {0}, mean = {0}, power = {0};
    if (s->rank < 2)
        return ts_node_fail(c, err, "input of rank %d", s->rank);
    int64_t size = ts_attr_int(c->node, "size", 1), n = s->dim[0], channels = s->dim[1];
    int64_t positions = n * channels > 0 ? ts_shape_elements(s) / (n * channels) : 0;
    ts_shape flat = TS_SHAPE(n, 1, channels, positions);
    float beta = ts_attr_float(c->node, "beta", 0.75f);
    ts_act denominator = {TS_ACT_AFFINE, ts_attr_float(c->node, "alpha", 1e-4f),
                          ts_attr_float(c->node, "bias", 1.0f)};
    ts_pool across = {.kernel = {1, size, 1},
                      .pad_front = {0, (size - 1) / 2, 0},
                      .pad_back = {0, size / 2, 0},
                      .average = true,
                      .count_padding = true};
    ts_status st = ts_dev_in(c, 0, &x, err);
    if (st == TS_OK)
        st = ts_dev_out(c, 0, c->in[0]->type, s, &y, err);
    if (st == TS_OK) {
        x = ts_arr_reshape(&x, &flat);
        y = ts_arr_reshape(&y, &flat);
        st = ts_dev_scratch(c, TS_F32, &flat, &square, err);
    }
    if (st == TS_OK)
        st = ts_dev_scratch(c, TS_F32, &flat, &mean, err);
    if (st == TS_OK)
        st = ts_arr_from_host(c->ops, TS_F32, &TS_SHAPE(1), &beta, &power, err);
    if (st == TS_OK)
        st = ts_op_unary(c->ops, &x, &(ts_act){.kind = TS_ACT_SQUARE}, &square, err);
    if (st == TS_OK)
        st = ts_op_pool(c->ops, &square, &across, &mean, NULL, err);
    if (st == TS_OK)
        st = ts_op_unary(c->ops, &mean, &denominator, &mean, err);
    if (st == TS_OK)
        st = ts_op_binary(c->ops, TS_BINARY_POW, &mean, &power, NULL, &mean, err);
    if (st == TS_OK)
        st = ts_op_binary(c->ops, TS_BINARY_DIV, &x, &mean, NULL, &y, err);
    ts_dev_release(c, &square);
    ts_dev_release(c, &mean);
    ts_dev_release(c, &power);
    return st;
}

/* Mean and 1/sqrt(var + eps) of rows, as layer normalisation offers them. */
static ts_status row_statistics(ts_node_call *c, const ts_arr *x, float eps, const ts_shape *shape,
                                ts_error *err)
{
    int64_t rows = x->shape.dim[0];
    ts_arr mean = {0}, off = {0}, square = {0}, deviation = {0};
    ts_status st = ts_dev_scratch(c, TS_F32, &TS_SHAPE(rows, 1), &mean, err);
    if (st == TS_OK)
        st = ts_dev_scratch(c, TS_F32, &x->shape, &off, err);
    if (st == TS_OK)
        st = ts_dev_scratch(c, TS_F32, &x->shape, &square, err);
    if (st == TS_OK)
        st = ts_dev_scratch(c, TS_F32, &TS_SHAPE(rows, 1), &deviation, err);
    if (st == TS_OK)
        st = ts_op_reduce(c->ops, TS_REDUCE_MEAN, x, 2, &mean, err);
    if (st == TS_OK)
        st = ts_op_binary(c->ops, TS_BINARY_SUB, x, &mean, NULL, &off, err);
    if (st == TS_OK)
        st = ts_op_unary(c->ops, &off, &(ts_act){.kind = TS_ACT_SQUARE}, &square, err);
    if (st == TS_OK)
        st = ts_op_reduce(c->ops, TS_REDUCE_MEAN, &square, 2, &deviation, err);
    if (st == TS_OK)
        st = ts_op_unary(c->ops, &deviation, &(ts_act){TS_ACT_AFFINE, 1.0f, eps}, &deviation, err);
    if (st == TS_OK)
        st = ts_op_unary(c->ops, &deviation, &(ts_act){.kind = TS_ACT_RSQRT}, &deviation, err);
    const ts_arr *results[] = {&mean, &deviation};
    for (size_t k = 1; k <= 2 && st == TS_OK; k++) {
        ts_arr y;
        if (k >= c->n_out || !c->out[k])
            continue;
        st = ts_dev_out(c, k, TS_ONNX_F32, shape, &y, err);
        if (st == TS_OK) {
            y = ts_arr_reshape(&y, &TS_SHAPE(rows, 1));
            st = ts_op_copy(c->ops, results[k - 1], &y, err);
        }
    }
    ts_dev_release(c, &mean);
    ts_dev_release(c, &off);
    ts_dev_release(c, &square);
    ts_dev_release(c, &deviation);
    return st;
}

static ts_status layer_norm_device(ts_node_call *c, ts_error *err)
{
    const ts_shape *s = &c->in[0]->shape;
    float eps = ts_attr_float(c->node, "epsilon", 1e-5f);
    ts_arr x, y, weight, bias;
    int axis;
    ts_status st = ts_axis(c, ts_attr_int(c->node, "axis", -1), s->rank, &axis, err);
    if (st != TS_OK)
        return st;
    ts_shape statistics = *s;
    int64_t rows = 1, n = 1;
    for (int d = 0; d < s->rank; d++)
        *(d < axis ? &rows : &n) *= s->dim[d];
    for (int d = axis; d < s->rank; d++)
        statistics.dim[d] = 1;
    for (size_t i = 1; i < 3; i++)
        if (ts_input(c, i) && ts_value_elements(c->in[i]) != n)
            return ts_node_fail(c, err, "input %zu does not have %lld elements", i, (long long)n);
    st = ts_dev_in(c, 0, &x, err);
    if (st == TS_OK)
        st = ts_dev_in(c, 1, &weight, err);
    if (st == TS_OK && ts_input(c, 2))
        st = ts_dev_in(c, 2, &bias, err);
    if (st == TS_OK)
        st = ts_dev_out(c, 0, c->in[0]->type, s, &y, err);
    if (st != TS_OK)
        return st;
    x = ts_arr_reshape(&x, &TS_SHAPE(rows, n));
    y = ts_arr_reshape(&y, &TS_SHAPE(rows, n));
    weight = ts_arr_reshape(&weight, &TS_SHAPE(n));
    if (ts_input(c, 2))
        bias = ts_arr_reshape(&bias, &TS_SHAPE(n));
    st = ts_op_layer_norm(c->ops, &x, &weight, ts_input(c, 2) ? &bias : NULL, eps, &y, err);
    bool more = (c->n_out > 1 && c->out[1]) || (c->n_out > 2 && c->out[2]);
    return st == TS_OK && more ? row_statistics(c, &x, eps, &statistics, err) : st;
}

/* Scale or bias per group as one per channel. */
static ts_status per_channel(ts_node_call *c, size_t i, int64_t channels, ts_arr *out, bool *made,
                             ts_error *err)
{
    int64_t n = ts_value_elements(c->in[i]);
    *made = false;
    if (n == channels) {
        ts_status st = ts_dev_in(c, i, out, err);
        if (st == TS_OK)
            *out = ts_arr_reshape(out, &TS_SHAPE(channels));
        return st;
    }
    if (n < 1 || channels % n)
        return ts_node_fail(c, err, "input %zu has %lld elements for %lld channels", i,
                            (long long)n, (long long)channels);
    ts_arr x, wide;
    ts_status st = ts_dev_in(c, i, &x, err);
    if (st == TS_OK)
        st = ts_dev_scratch(c, TS_F32, &TS_SHAPE(channels), out, err);
    if (st != TS_OK)
        return st;
    *made = true;
    x = ts_arr_reshape(&x, &TS_SHAPE(n, 1));
    wide = ts_arr_reshape(out, &TS_SHAPE(n, channels / n));
    return ts_op_expand(c->ops, &x, &wide, err);
}

static ts_status group_norm_device(ts_node_call *c, ts_error *err)
{
    const ts_shape *s = &c->in[0]->shape;
    if (s->rank < 2 || c->n_in < 3)
        return ts_node_fail(c, err, "input of rank %d", s->rank);
    bool instance = !strcmp(c->node->op, "InstanceNormalization");
    int64_t channels = s->dim[1];
    int64_t groups = instance ? channels : ts_attr_int(c->node, "num_groups", 1);
    ts_arr x, y, weight = {0}, bias = {0};
    bool made_weight = false, made_bias = false;
    if (groups < 1 || channels % groups)
        return ts_node_fail(c, err, "%lld channels in %lld groups", (long long)channels,
                            (long long)groups);
    ts_status st = ts_dev_in(c, 0, &x, err);
    if (st == TS_OK)
        st = per_channel(c, 1, channels, &weight, &made_weight, err);
    if (st == TS_OK)
        st = per_channel(c, 2, channels, &bias, &made_bias, err);
    if (st == TS_OK)
        st = ts_dev_out(c, 0, c->in[0]->type, s, &y, err);
    if (st == TS_OK)
        st = ts_op_group_norm(c->ops, &x, &weight, &bias, groups,
                              ts_attr_float(c->node, "epsilon", 1e-5f), NULL, &y, err);
    if (made_weight)
        ts_dev_release(c, &weight);
    if (made_bias)
        ts_dev_release(c, &bias);
    return st;
}

const ts_graph_op ts_ops_network[] = {
    {"Conv", NULL, conv_device, 2},
    {"ConvTranspose", NULL, conv_device, 2},
    {"Gemm", NULL, gemm_device, 2},
    {"MatMul", NULL, matmul_device, 2},
    {"MaxPool", NULL, pool_device, 1},
    {"AveragePool", NULL, pool_device, 1},
    {"GlobalAveragePool", NULL, global_pool_device, 1},
    {"GlobalMaxPool", NULL, global_pool_device, 1},
    {"BatchNormalization", NULL, batch_norm_device, 5},
    {"LRN", NULL, lrn_device, 1},
    {"LayerNormalization", NULL, layer_norm_device, 2},
    {"InstanceNormalization", NULL, group_norm_device, 3},
    {"GroupNormalization", NULL, group_norm_device, 3},
    {NULL, NULL, NULL, 0},
};
