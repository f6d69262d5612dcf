#include "cl/models/vae/net.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/size.h"
#include "cl/models/vae/net_internal.h"
#include "cl/ops/norm.h"

ts_status ts_net_create(ts_net **out, ts_error *err)
{
    ts_net *net = calloc(1, sizeof *net);
    if (net)
        net->value = calloc(1, sizeof *net->value);
    if (!net || !net->value) {
        free(net);
        return ts_fail(err, TS_E_NO_MEMORY, "network");
    }
    net->n_values = 1; /* the input */
    *out = net;
    return TS_OK;
}

static void free_host(net_op *op)
{
    for (int i = 0; i < 4; i++) {
        free(op->host_w[i]);
        free(op->host_b[i]);
        op->host_w[i] = op->host_b[i] = NULL;
    }
}

void ts_net_destroy(ts_net *net)
{
    if (!net)
        return;
    for (size_t i = 0; i < net->n_ops; i++) {
        net_op *op = &net->op[i];
        free_host(op);
        for (int k = 0; k < 4; k++)
            ts_weight_destroy(op->linear[k]);
        ts_conv_destroy(op->conv);
        ts_arr_free(&op->w);
        ts_arr_free(&op->b);
    }
    for (int i = 0; i < NET_PLANS; i++)
        net_plan_clear(net, &net->plan[i]);
    ts_buffer_unref(net->arena);
    free(net->op);
    free(net->value);
    free(net->outputs);
    free(net);
}

int ts_net_fail(ts_net *net, ts_status status, const char *text)
{
    if (net->failed == TS_OK) {
        net->failed = status;
        snprintf(net->failure, sizeof net->failure, "%s", text);
    }
    return -1;
}

/* Append `op`, taking over its host arrays; the value it makes, or -1. */
static int append(ts_net *net, net_op *op)
{
    bool bad = op->x < 0 || (size_t)op->x >= net->n_values || op->x2 >= (int)net->n_values;
    if (net->failed == TS_OK && bad)
        ts_net_fail(net, TS_E_INTERNAL, "an operation on no value");
    if (net->failed == TS_OK && net->n_ops >= NET_MAX_OPS)
        ts_net_fail(net, TS_E_FILE, "too many layers");
    if (net->failed == TS_OK) {
        net_op *ops = ts_realloc_array(net->op, net->n_ops + 1, sizeof *ops);
        net_value *values = ts_realloc_array(net->value, net->n_values + 1, sizeof *values);
        if (ops)
            net->op = ops;
        if (values)
            net->value = values;
        if (!ops || !values)
            ts_net_fail(net, TS_E_NO_MEMORY, "network");
    }
    if (net->failed != TS_OK) {
        free_host(op);
        return -1;
    }
    op->y = (int)net->n_values++;
    net->op[net->n_ops++] = *op;
    bool view = op->kind == NET_RESHAPE || op->kind == NET_FLATTEN;
    net->value[op->y] = (net_value){.alias = view ? net->value[op->x].alias : op->y};
    return op->y;
}

int ts_net_linear(ts_net *net, int x, int64_t in, int64_t out, float *w, float *bias)
{
    net_op op = {.kind = NET_LINEAR, .x = x, .x2 = -1, .in = in, .out = out};
    op.host_w[0] = w;
    op.host_b[0] = bias;
    net->parameters += (uint64_t)(in * out + (bias ? out : 0));
    return append(net, &op);
}

int ts_net_conv(ts_net *net, int x, const ts_conv_geometry *g, float *w, float *bias)
{
    net_op op = {.kind = NET_CONV, .x = x, .x2 = -1, .conv_g = *g, .in = g->in, .out = g->out};
    int64_t groups = g->groups ? g->groups : 1;
    op.groups = groups;
    op.host_w[0] = w;
    op.host_b[0] = bias;
    net->parameters +=
        (uint64_t)(g->in / groups * g->out * g->kernel[1] * g->kernel[2] + (bias ? g->out : 0));
    return append(net, &op);
}

int ts_net_affine(ts_net *net, int x, int64_t channels, float *scale, float *shift)
{
    net_op op = {.kind = NET_AFFINE, .x = x, .x2 = -1, .in = channels, .out = channels};
    op.host_w[0] = scale;
    op.host_b[0] = shift;
    net->parameters += 4 * (uint64_t)channels; /* as it was: weight, bias, mean, variance */
    return append(net, &op);
}

int ts_net_group_norm(ts_net *net, int x, int64_t channels, int64_t groups, float eps, float *w,
                      float *bias)
{
    net_op op = {.kind = NET_GROUP_NORM, .x = x, .x2 = -1, .in = channels, .groups = groups};
    op.eps = eps;
    op.host_w[0] = w;
    op.host_b[0] = bias;
    net->parameters += 2 * (uint64_t)channels;
    return append(net, &op);
}

int ts_net_layer_norm(ts_net *net, int x, int64_t n, float eps, float *w, float *bias)
{
    net_op op = {.kind = NET_LAYER_NORM, .x = x, .x2 = -1, .in = n, .eps = eps};
    op.host_w[0] = w;
    op.host_b[0] = bias;
    net->parameters += 2 * (uint64_t)n;
    return append(net, &op);
}

int ts_net_act(ts_net *net, int x, ts_act act)
{
    net_op op = {.kind = NET_ACT, .x = x, .x2 = -1, .act = act};
    return append(net, &op);
}

int ts_net_softmax(ts_net *net, int x, int axis)
{
    net_op op = {.kind = NET_SOFTMAX, .x = x, .x2 = -1, .axis = axis};
    return append(net, &op);
}

int ts_net_upsample(ts_net *net, int x, double factor_h, double factor_w, int64_t height,
                    int64_t width, ts_resize_mode mode, ts_resize_coords coords)
{
    net_op op = {.kind = NET_UPSAMPLE,
                 .x = x,
                 .x2 = -1,
                 .factor = {factor_h, factor_w},
                 .size = {height, width},
                 .resize_mode = mode,
                 .resize_coords = coords};
    return append(net, &op);
}

int ts_net_pixel_shuffle(ts_net *net, int x, int64_t factor)
{
    net_op op = {.kind = NET_SHUFFLE, .x = x, .x2 = -1, .groups = factor};
    return append(net, &op);
}

int ts_net_pool(ts_net *net, int x, const ts_pool *pool)
{
    net_op op = {.kind = NET_POOL, .x = x, .x2 = -1, .pool = *pool};
    return append(net, &op);
}

int ts_net_reshape(ts_net *net, int x, const ts_shape *shape)
{
    net_op op = {.kind = NET_RESHAPE, .x = x, .x2 = -1, .shape = *shape};
    return append(net, &op);
}

int ts_net_flatten(ts_net *net, int x)
{
    net_op op = {.kind = NET_FLATTEN, .x = x, .x2 = -1};
    return append(net, &op);
}

int ts_net_permute(ts_net *net, int x, int rank, const int *axes)
{
    net_op op = {.kind = NET_PERMUTE, .x = x, .x2 = -1, .axis = rank};
    for (int i = 0; i < rank && i < TS_MAX_RANK; i++)
        op.perm[i] = axes[i];
    return append(net, &op);
}

int ts_net_pad(ts_net *net, int x, const int64_t padding[4], ts_pad_mode mode, float value)
{
    net_op op = {.kind = NET_PAD, .x = x, .x2 = -1, .pad_mode = mode, .pad_value = value};
    memcpy(op.pad, padding, sizeof op.pad);
    return append(net, &op);
}

int ts_net_add(ts_net *net, int x, int y)
{
    net_op op = {.kind = NET_ADD, .x = x, .x2 = y};
    return append(net, &op);
}

int ts_net_concat(ts_net *net, int x, int y, int axis)
{
    net_op op = {.kind = NET_CONCAT, .x = x, .x2 = y, .axis = axis};
    return append(net, &op);
}

int ts_net_attention(ts_net *net, int x, int64_t channels, int64_t heads, float *const w[4],
                     float *const bias[4])
{
    net_op op = {.kind = NET_ATTENTION, .x = x, .x2 = -1, .in = channels, .out = channels};
    op.heads = heads;
    for (int i = 0; i < 4; i++) {
        op.host_w[i] = w[i];
        op.host_b[i] = bias[i];
        net->parameters += (uint64_t)(channels * channels + (bias[i] ? channels : 0));
    }
    return append(net, &op);
}

void ts_net_name(ts_net *net, int value, const char *name)
{
    if (value >= 0 && (size_t)value < net->n_values)
        snprintf(net->value[value].name, sizeof net->value[value].name, "%s", name);
}

uint64_t ts_net_parameters(const ts_net *net)
{
    return net->parameters;
}

uint64_t ts_net_bytes(const ts_net *net)
{
    return net->weight_bytes + net->plan_bytes;
}

int ts_net_find(const ts_net *net, const char *name)
{
    for (size_t i = 0; i < net->n_values; i++)
        if (!strcmp(net->value[i].name, name))
            return net->value[i].gone ? -1 : (int)i;
    return -1;
}

const char *ts_net_value_name(const ts_net *net, size_t index)
{
    for (size_t i = 0; i < net->n_values; i++)
        if (net->value[i].name[0] && index-- == 0)
            return net->value[i].name;
    return NULL;
}

/* ---- fusing ---- */

static net_op *maker(ts_net *net, int value)
{
    for (size_t i = 0; i < net->n_ops; i++)
        if (net->op[i].kind != NET_GONE && net->op[i].y == value)
            return &net->op[i];
    return NULL;
}

static bool is_output(const ts_net *net, int value)
{
    for (size_t i = 0; i < net->n_outputs; i++)
        if (net->outputs[i] == value)
            return true;
    return false;
}

/* Whether `by` alone reads the value, so that it need not exist. */
static bool only_reader(const ts_net *net, int value, const net_op *by)
{
    if (is_output(net, value))
        return false;
    for (size_t i = 0; i < net->n_ops; i++) {
        const net_op *op = &net->op[i];
        if (op != by && op->kind != NET_GONE && (op->x == value || op->x2 == value))
            return false;
    }
    return true;
}

/* `op` takes over what `next` makes; the value between them is gone. */
static void absorb(ts_net *net, net_op *op, net_op *next)
{
    net->value[op->y].gone = true;
    op->y = next->y;
    next->kind = NET_GONE;
    free_host(next);
}

static bool layer(const net_op *op)
{
    return op && (op->kind == NET_LINEAR || op->kind == NET_CONV);
}

static bool idle_epilogue(const net_op *op)
{
    return op->act.kind == TS_ACT_NONE && op->x2 < 0;
}

static bool fold_affine(ts_net *net, net_op *next)
{
    net_op *op = maker(net, next->x);
    if (!layer(op) || !idle_epilogue(op) || op->out != next->in || !only_reader(net, op->y, next) ||
        (op->kind == NET_CONV && op->conv_g.transposed))
        return false;
    if (!op->host_b[0])
        op->host_b[0] = calloc((size_t)op->out, sizeof(float));
    if (!op->host_b[0])
        return false;
    int64_t per = op->kind == NET_LINEAR
                      ? op->in
                      : op->in / op->groups * op->conv_g.kernel[1] * op->conv_g.kernel[2];
    ts_fold_into_weight(op->out, per, next->host_w[0], next->host_b[0], op->host_w[0],
                        op->host_b[0]);
    absorb(net, op, next);
    return true;
}

static bool fuse_act(ts_net *net, net_op *next)
{
    net_op *op = maker(net, next->x);
    bool able = op && (layer(op) || op->kind == NET_AFFINE || op->kind == NET_GROUP_NORM ||
                       op->kind == NET_ADD);
    if (!able || op->act.kind != TS_ACT_NONE || next->act.kind > TS_ACT_AFFINE ||
        !only_reader(net, op->y, next))
        return false;
    op->act = next->act;
    absorb(net, op, next);
    return true;
}

/* A sum whose one operand was made by the layer just before it: the layer adds the other. */
static bool fuse_add(ts_net *net, net_op *next)
{
    for (int side = 0; side < 2; side++) {
        int made = side ? next->x2 : next->x, other = side ? next->x : next->x2;
        net_op *op = maker(net, made);
        if (!layer(op) || !idle_epilogue(op) || made == other || !only_reader(net, made, next))
            continue;
        bool ready = other == 0; /* the other operand must exist when the layer runs */
        for (net_op *p = net->op; p < op && !ready; p++)
            ready = p->kind != NET_GONE && p->y == other;
        if (!ready)
            continue;
        op->x2 = other;
        op->act = next->act;
        absorb(net, op, next);
        return true;
    }
    return false;
}

static void fuse_all(ts_net *net)
{
    for (size_t i = 0; i < net->n_ops; i++)
        if (net->op[i].kind == NET_AFFINE)
            fold_affine(net, &net->op[i]);
    for (size_t i = 0; i < net->n_ops; i++)
        if (net->op[i].kind == NET_ADD)
            fuse_add(net, &net->op[i]);
    for (size_t i = 0; i < net->n_ops; i++)
        if (net->op[i].kind == NET_ACT)
            fuse_act(net, &net->op[i]);
}

/* ---- weights to the device ---- */

static ts_status vector_up(ts_net *net, ts_ops *ops, const float *host, int64_t n, ts_arr *out,
                           ts_error *err)
{
    if (!host)
        return TS_OK;
    net->weight_bytes += (uint64_t)n * sizeof(float);
    return ts_arr_from_host(ops, TS_F32, &TS_SHAPE(n), host, out, err);
}

static ts_status op_up(ts_net *net, ts_ops *ops, net_op *op, ts_error *err)
{
    ts_status st = TS_OK;
    switch (op->kind) {
    case NET_LINEAR:
    case NET_ATTENTION:
        for (int i = 0; i < 4 && op->host_w[i] && st == TS_OK; i++) {
            st = ts_weight_create(ops, op->host_w[i], op->out, op->in, op->host_b[i],
                                  &op->linear[i], err);
            if (st == TS_OK)
                net->weight_bytes += ts_weight_bytes(op->linear[i]);
        }
        break;
    case NET_CONV:
        st = ts_conv_create(ops, &op->conv_g, op->host_w[0], op->host_b[0], &op->conv, err);
        if (st == TS_OK)
            net->weight_bytes += ts_conv_bytes(op->conv);
        break;
    case NET_AFFINE:
    case NET_GROUP_NORM:
    case NET_LAYER_NORM:
        st = vector_up(net, ops, op->host_w[0], op->in, &op->w, err);
        if (st == TS_OK)
            st = vector_up(net, ops, op->host_b[0], op->in, &op->b, err);
        break;
    default:
        break;
    }
    free_host(op);
    return st;
}

ts_status ts_net_finish(ts_net *net, ts_ops *ops, const int *outputs, size_t n_outputs, bool fuse,
                        ts_error *err)
{
    if (net->failed != TS_OK)
        return ts_fail(err, net->failed, "%s", net->failure);
    net->outputs = calloc(n_outputs ? n_outputs : 1, sizeof *net->outputs);
    if (!net->outputs)
        return ts_fail(err, TS_E_NO_MEMORY, "network");
    memcpy(net->outputs, outputs, n_outputs * sizeof *outputs);
    net->n_outputs = n_outputs;
    if (fuse)
        fuse_all(net);
    for (size_t i = 0; i < net->n_ops; i++) {
        ts_status st = op_up(net, ops, &net->op[i], err);
        if (st != TS_OK)
            return st;
    }
    return TS_OK;
}
