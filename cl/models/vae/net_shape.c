#include <stdlib.h>
#include <string.h>

#include "cl/models/vae/net_internal.h"

static ts_status want_channels(const char *op, const ts_shape *x, int64_t channels, ts_error *err)
{
    if (x->rank < 2 || x->dim[1] != channels)
        return ts_fail(err, TS_E_SHAPE, "%s wants %lld channels, got %s", op, (long long)channels,
                       ts_shape_text(x, (char[96]){0}, 96));
    return TS_OK;
}

/* The geometry alone, without packed weights. */
static ts_status conv_shape(const net_op *op, const ts_shape *x, ts_shape *y, ts_error *err)
{
    const ts_conv_geometry *g = &op->conv_g;
    if (x->rank != 4 || x->dim[1] != g->in)
        return ts_fail(err, TS_E_SHAPE, "conv2d wants [N,%lld,H,W], got %s", (long long)g->in,
                       ts_shape_text(x, (char[96]){0}, 96));
    *y = *x;
    y->dim[1] = g->out;
    for (int i = 1; i < 3; i++) {
        int64_t in = x->dim[1 + i], stride = g->stride[i] ? g->stride[i] : 1;
        int64_t dil = g->dilation[i] ? g->dilation[i] : 1, reach = (g->kernel[i] - 1) * dil + 1;
        int64_t pad = g->pad_front[i] + g->pad_back[i], size;
        if (g->transposed)
            size = (in - 1) * stride - pad + reach + g->output_padding[i];
        else
            size = in + pad < reach ? 0 : (in + pad - reach) / stride + 1;
        if (size < 1)
            return ts_fail(err, TS_E_SHAPE, "conv2d: %s is too small",
                           ts_shape_text(x, (char[96]){0}, 96));
        y->dim[1 + i] = size;
    }
    return TS_OK;
}

static ts_status upsample_shape(const net_op *op, const ts_shape *x, ts_shape *y, ts_error *err)
{
    if (x->rank != 4)
        return ts_fail(err, TS_E_SHAPE, "upsample wants [N,C,H,W], got %s",
                       ts_shape_text(x, (char[96]){0}, 96));
    for (int i = 0; i < 2; i++) {
        double size = op->size[i] ? (double)op->size[i] : (double)x->dim[2 + i] * op->factor[i];
        if (!(size >= 1) || size > 65536)
            return ts_fail(err, TS_E_SHAPE, "upsample of %s to %g",
                           ts_shape_text(x, (char[96]){0}, 96), size);
        y->dim[2 + i] = (int64_t)size;
    }
    return TS_OK;
}

static ts_status concat_shape(const net_op *op, const ts_shape *x, const ts_shape *x2, ts_shape *y,
                              ts_error *err)
{
    int axis = op->axis < 0 ? op->axis + x->rank : op->axis + 1;
    bool same = x->rank == x2->rank && axis >= 1 && axis < x->rank;
    for (int d = 0; d < x->rank && same; d++)
        same = d == axis || x->dim[d] == x2->dim[d];
    if (!same)
        return ts_fail(err, TS_E_SHAPE, "concat of %s and %s on axis %d",
                       ts_shape_text(x, (char[96]){0}, 96), ts_shape_text(x2, (char[96]){0}, 96),
                       op->axis);
    y->dim[axis] += x2->dim[axis];
    return TS_OK;
}

static ts_status permute_shape(const net_op *op, const ts_shape *x, ts_shape *y, ts_error *err)
{
    unsigned seen = 0;
    for (int d = 0; d < op->axis; d++) {
        if (op->axis != x->rank - 1 || op->perm[d] < 0 || op->perm[d] >= op->axis ||
            (seen & 1u << op->perm[d]))
            return ts_fail(err, TS_E_SHAPE, "permute: axes do not fit %s",
                           ts_shape_text(x, (char[96]){0}, 96));
        seen |= 1u << op->perm[d];
        y->dim[1 + d] = x->dim[1 + op->perm[d]];
    }
    return TS_OK;
}

ts_status net_op_shape(const net_op *op, const ts_shape *x, const ts_shape *x2, ts_shape *y,
                       ts_error *err)
{
    int64_t per = 1;
    for (int d = 1; d < x->rank; d++)
        per *= x->dim[d];
    *y = *x;
    switch (op->kind) {
    case NET_LINEAR:
        if (x->rank < 2 || x->dim[x->rank - 1] != op->in)
            return ts_fail(err, TS_E_SHAPE, "linear wants […,%lld], got %s", (long long)op->in,
                           ts_shape_text(x, (char[96]){0}, 96));
        y->dim[x->rank - 1] = op->out;
        return TS_OK;
    case NET_CONV:
        return conv_shape(op, x, y, err);
    case NET_AFFINE:
        return want_channels("batchnorm", x, op->in, err);
    case NET_GROUP_NORM:
        return want_channels("groupnorm", x, op->in, err);
    case NET_LAYER_NORM:
        if (per % op->in || x->rank < 2)
            return ts_fail(err, TS_E_SHAPE, "layernorm over %lld of %s", (long long)op->in,
                           ts_shape_text(x, (char[96]){0}, 96));
        return TS_OK;
    case NET_SOFTMAX:
        if (op->axis >= x->rank - 1 || op->axis < 1 - x->rank)
            return ts_fail(err, TS_E_SHAPE, "softmax: axis %d of %s", op->axis,
                           ts_shape_text(x, (char[96]){0}, 96));
        return TS_OK;
    case NET_UPSAMPLE:
        return upsample_shape(op, x, y, err);
    case NET_SHUFFLE: {
        int64_t f = op->groups;
        if (x->rank != 4 || f < 1 || x->dim[1] % (f * f))
            return ts_fail(err, TS_E_SHAPE, "pixel_shuffle by %lld of %s", (long long)f,
                           ts_shape_text(x, (char[96]){0}, 96));
        y->dim[1] /= f * f;
        y->dim[2] *= f;
        y->dim[3] *= f;
        return TS_OK;
    }
    case NET_POOL:
        return ts_pool_output_shape(&op->pool, x, y, err);
    case NET_RESHAPE:
        y->rank = op->shape.rank + 1;
        for (int d = 0; d < op->shape.rank; d++)
            y->dim[1 + d] = op->shape.dim[d];
        if (y->rank > TS_MAX_RANK || ts_shape_elements(&op->shape) != per)
            return ts_fail(err, TS_E_SHAPE, "reshape of %s to %s",
                           ts_shape_text(x, (char[96]){0}, 96),
                           ts_shape_text(&op->shape, (char[96]){0}, 96));
        return TS_OK;
    case NET_FLATTEN:
        *y = TS_SHAPE(x->dim[0], per);
        return TS_OK;
    case NET_PERMUTE:
        return permute_shape(op, x, y, err);
    case NET_PAD:
        if (x->rank != 4)
            return ts_fail(err, TS_E_SHAPE, "pad wants [N,C,H,W], got %s",
                           ts_shape_text(x, (char[96]){0}, 96));
        y->dim[3] += op->pad[0] + op->pad[1];
        y->dim[2] += op->pad[2] + op->pad[3];
        if (y->dim[2] < 1 || y->dim[3] < 1)
            return ts_fail(err, TS_E_SHAPE, "crop leaves nothing of %s",
                           ts_shape_text(x, (char[96]){0}, 96));
        return TS_OK;
    case NET_ADD:
        if (!ts_shape_equal(x, x2))
            return ts_fail(err, TS_E_SHAPE, "sum of %s and %s", ts_shape_text(x, (char[96]){0}, 96),
                           ts_shape_text(x2, (char[96]){0}, 96));
        return TS_OK;
    case NET_CONCAT:
        return concat_shape(op, x, x2, y, err);
    case NET_ATTENTION:
        if (op->heads < 1 || op->in % op->heads || x->rank != 4)
            return ts_fail(err, TS_E_SHAPE, "attention: %lld heads over %s", (long long)op->heads,
                           ts_shape_text(x, (char[96]){0}, 96));
        return want_channels("attention", x, op->in, err);
    case NET_ACT:
    case NET_GONE:
        break;
    }
    return TS_OK;
}

ts_status net_shapes(const ts_net *net, const ts_shape *input, ts_shape *shape, ts_error *err)
{
    shape[0] = *input;
    for (size_t i = 0; i < net->n_ops; i++) {
        const net_op *op = &net->op[i];
        size_t bytes;
        if (op->kind == NET_GONE)
            continue;
        ts_status st = net_op_shape(op, &shape[op->x], op->x2 >= 0 ? &shape[op->x2] : NULL,
                                    &shape[op->y], err);
        if (st == TS_OK)
            st = ts_shape_check(&shape[op->y], TS_F32, &bytes, err);
        if (st != TS_OK)
            return st;
    }
    return TS_OK;
}

ts_status ts_net_shape(const ts_net *net, int value, const ts_shape *input, ts_shape *out,
                       ts_error *err)
{
    if (net->failed != TS_OK)
        return ts_fail(err, net->failed, "%s", net->failure);
    ts_shape *shape = calloc(net->n_values, sizeof *shape), batch = {.rank = input->rank + 1};
    if (!shape || value < 0 || batch.rank > TS_MAX_RANK) {
        free(shape);
        return ts_fail(err, TS_E_INTERNAL, "shapes of a network");
    }
    batch.dim[0] = 1;
    memcpy(batch.dim + 1, input->dim, (size_t)input->rank * sizeof *input->dim);
    ts_status st = net_shapes(net, &batch, shape, err);
    if (st == TS_OK) {
        out->rank = shape[value].rank - 1;
        memcpy(out->dim, shape[value].dim + 1, (size_t)out->rank * sizeof *out->dim);
    }
    free(shape);
    return st;
}
