#include <stdlib.h>
#include <string.h>

#include "cl/base/hash.h"
#include "cl/base/size.h"
#include "cl/models/vae/net_internal.h"
#include "cl/ops/attention.h"
#include "cl/ops/norm.h"
#include "cl/ops/pointwise.h"

void net_plan_clear(ts_net *net, net_plan *plan)
{
    for (size_t i = 0; plan->resize && i < net->n_ops; i++)
        ts_resize_destroy(plan->resize[i]);
    free(plan->resize);
    free(plan->shape);
    free(plan->offset);
    if (net->last == plan)
        net->last = NULL;
    memset(plan, 0, sizeof *plan);
}

/* ---- planning: when each value is needed, and where it lies ---- */

typedef struct span {
    int first, last; /* index of the operation that makes it, that reads it last; -1: no memory */
    size_t bytes;
} span;

/* Attention keeps tokens, q, k, v and the result beside its output. */
static size_t extra_bytes(const net_op *op, const ts_shape *y)
{
    return op->kind == NET_ATTENTION ? 5 * (size_t)ts_shape_elements(y) * sizeof(float) : 0;
}

static void spans_of(const ts_net *net, const net_plan *plan, const int *keep, size_t n_keep,
                     span *s)
{
    int end = (int)net->n_ops;
    for (size_t v = 0; v < net->n_values; v++)
        s[v] = (span){-1, -1, 0};
    for (int i = 0; i < end; i++) {
        const net_op *op = &net->op[i];
        if (op->kind == NET_GONE)
            continue;
        int root = net->value[op->y].alias;
        if (root == op->y)
            s[root] = (span){i, i,
                             (size_t)ts_shape_elements(&plan->shape[op->y]) * sizeof(float) +
                                 extra_bytes(op, &plan->shape[op->y])};
        s[net->value[op->x].alias].last = i;
        if (op->x2 >= 0)
            s[net->value[op->x2].alias].last = i;
    }
    for (size_t k = 0; k < net->n_outputs; k++)
        s[net->value[net->outputs[k]].alias].last = end;
    for (size_t k = 0; k < n_keep; k++)
        s[net->value[keep[k]].alias].last = end;
}

/* First fit: the lowest place that no value alive at the same time covers. */
static void place_all(const ts_net *net, const span *s, net_plan *plan)
{
    for (size_t v = 1; v < net->n_values; v++) {
        if (s[v].first < 0 || net->value[v].alias != (int)v)
            continue;
        size_t at = 0, bytes = ts_round_up(s[v].bytes, 128);
        for (bool moved = true; moved;) {
            moved = false;
            for (size_t u = 1; u < v; u++) {
                size_t u_end = plan->offset[u] + ts_round_up(s[u].bytes, 128);
                bool together = s[u].first >= 0 && s[u].first <= s[v].last &&
                                s[v].first <= s[u].last && net->value[u].alias == (int)u;
                if (together && plan->offset[u] < at + bytes && at < u_end) {
                    at = u_end;
                    moved = true;
                }
            }
        }
        plan->offset[v] = at;
        if (at + bytes > plan->bytes)
            plan->bytes = at + bytes;
    }
}

static ts_status make_resizers(ts_net *net, ts_ops *ops, net_plan *plan, ts_error *err)
{
    for (size_t i = 0; i < net->n_ops; i++) {
        const net_op *op = &net->op[i];
        if (op->kind != NET_UPSAMPLE)
            continue;
        const ts_shape *x = &plan->shape[op->x], *y = &plan->shape[op->y];
        ts_resize_options o = {.in_h = x->dim[2],
                               .in_w = x->dim[3],
                               .out_h = y->dim[2],
                               .out_w = y->dim[3],
                               .mode = op->resize_mode,
                               .coords = op->resize_coords};
        ts_status st = ts_resize_create(ops, &o, &plan->resize[i], err);
        if (st != TS_OK)
            return st;
    }
    return TS_OK;
}

static ts_status make_plan(ts_net *net, const ts_shape *input, const int *keep, size_t n_keep,
                           net_plan *plan, ts_error *err)
{
    plan->shape = calloc(net->n_values, sizeof *plan->shape);
    plan->offset = calloc(net->n_values, sizeof *plan->offset);
    plan->resize = calloc(net->n_ops ? net->n_ops : 1, sizeof *plan->resize);
    span *s = calloc(net->n_values, sizeof *s);
    ts_status st = TS_OK;
    if (!plan->shape || !plan->offset || !plan->resize || !s)
        st = ts_fail(err, TS_E_NO_MEMORY, "network plan");
    if (st == TS_OK)
        st = net_shapes(net, input, plan->shape, err);
    if (st == TS_OK) {
        spans_of(net, plan, keep, n_keep, s);
        place_all(net, s, plan);
        plan->input = *input;
    }
    free(s);
    return st;
}

static net_plan *find_plan(ts_net *net, const ts_shape *input, uint64_t keep)
{
    for (int i = 0; i < NET_PLANS; i++)
        if (net->plan[i].input.rank && net->plan[i].keep == keep &&
            ts_shape_equal(&net->plan[i].input, input))
            return &net->plan[i];
    return NULL;
}

static ts_status plan_for(ts_net *net, ts_ops *ops, const ts_shape *input, const int *keep,
                          size_t n_keep, net_plan **out, ts_error *err)
{
    uint64_t hash = n_keep ? ts_fnv1a(TS_FNV_SEED, keep, n_keep * sizeof *keep) : 0;
    net_plan *plan = find_plan(net, input, hash);
    ts_status st = TS_OK;
    if (!plan) {
        plan = &net->plan[0];
        for (int i = 1; i < NET_PLANS; i++)
            if (net->plan[i].used < plan->used)
                plan = &net->plan[i];
        if (plan->input.rank) /* its tables may still be read */
            st = ts_queue_finish(ts_ops_queue(ops), err);
        if (st != TS_OK)
            return st;
        net_plan_clear(net, plan);
        st = make_plan(net, input, keep, n_keep, plan, err);
        if (st == TS_OK)
            st = make_resizers(net, ops, plan, err);
        if (st != TS_OK) {
            net_plan_clear(net, plan);
            return st;
        }
        plan->keep = hash;
    }
    if (!net->arena || ts_buffer_bytes(net->arena) < plan->bytes) {
        if (net->arena)
            st = ts_queue_finish(ts_ops_queue(ops), err);
        if (st != TS_OK)
            return st;
        ts_buffer_unref(net->arena);
        net->arena = NULL;
        st =
            ts_buffer_create(ts_ops_device(ops), plan->bytes ? plan->bytes : 128, &net->arena, err);
        if (st != TS_OK)
            return st;
        net->plan_bytes = ts_buffer_bytes(net->arena);
    }
    plan->used = ++net->clock;
    *out = plan;
    return TS_OK;
}

ts_status ts_net_measure(ts_net *net, const ts_shape *input, size_t *bytes, ts_error *err)
{
    net_plan plan = {0};
    ts_status st = make_plan(net, input, NULL, 0, &plan, err);
    *bytes = plan.bytes;
    net_plan_clear(net, &plan);
    return st;
}

/* ---- running ---- */

static ts_arr value_of(const ts_net *net, const net_plan *plan, int value)
{
    int root = net->value[value].alias;
    if (root == 0)
        return ts_arr_reshape(&net->input, &plan->shape[value]);
    return ts_arr_at(net->arena, plan->offset[root], TS_F32, &plan->shape[value]);
}

static ts_status run_attention(ts_ops *ops, const net_op *op, const ts_arr *x, ts_arr *y,
                               ts_error *err)
{
    int64_t n = x->shape.dim[0], c = op->in, s = x->shape.dim[2] * x->shape.dim[3];
    size_t bytes = (size_t)ts_arr_elements(y) * sizeof(float);
    ts_shape rows = TS_SHAPE(n, s, c);
    ts_arr part[5]; /* tokens (later the result's), q, k, v, heads: behind y */
    for (size_t i = 0; i < 5; i++)
        part[i] = ts_arr_at(y->buffer, y->offset + (i + 1) * bytes, TS_F32, &rows);
    ts_arr planes = ts_arr_reshape(x, &TS_SHAPE(n, c, s));
    ts_arr out = ts_arr_reshape(y, &TS_SHAPE(n, c, s));
    static const int swap[3] = {0, 2, 1};
    ts_status st = ts_op_transpose(ops, &planes, swap, &part[0], err);
    for (int i = 0; i < 3 && st == TS_OK; i++)
        st = ts_op_linear(ops, &part[0], op->linear[i], NULL, &part[1 + i], err);
    int64_t width = c / op->heads;
    ts_attention a = {.batch = n,
                      .heads = op->heads,
                      .queries = s,
                      .keys = s,
                      .width = width,
                      .q = ts_heads_in_rows(s, op->heads, width),
                      .k = ts_heads_in_rows(s, op->heads, width),
                      .v = ts_heads_in_rows(s, op->heads, width),
                      .y = ts_heads_in_rows(s, op->heads, width)};
    if (st == TS_OK)
        st = ts_op_attention(ops, &a, &part[1], &part[2], &part[3], &part[4], err);
    if (st == TS_OK)
        st = ts_op_linear(ops, &part[4], op->linear[3], NULL, &part[0], err);
    return st == TS_OK ? ts_op_transpose(ops, &part[0], swap, &out, err) : st;
}

static ts_status run_shuffle(ts_ops *ops, int64_t f, const ts_arr *x, ts_arr *y, ts_error *err)
{
    const int64_t *d = x->shape.dim;
    ts_arr in = ts_arr_reshape(x, &TS_SHAPE(d[0], d[1] / (f * f), f, f, d[2], d[3]));
    ts_arr out = ts_arr_reshape(y, &TS_SHAPE(d[0], d[1] / (f * f), d[2], f, d[3], f));
    return ts_op_transpose(ops, &in, (const int[]){0, 1, 4, 2, 5, 3}, &out, err);
}

static ts_status run_op(ts_net *net, ts_ops *ops, const net_plan *plan, size_t i, ts_error *err)
{
    const net_op *op = &net->op[i];
    ts_arr x = value_of(net, plan, op->x), y = value_of(net, plan, op->y);
    ts_arr x2 = op->x2 >= 0 ? value_of(net, plan, op->x2) : (ts_arr){0};
    ts_epilogue e = {.residual = op->x2 >= 0 ? &x2 : NULL, .act = op->act};
    const ts_arr *w = op->w.buffer ? &op->w : NULL, *b = op->b.buffer ? &op->b : NULL;
    switch (op->kind) {
    case NET_LINEAR:
        return ts_op_linear(ops, &x, op->linear[0], &e, &y, err);
    case NET_CONV:
        return ts_op_conv(ops, &x, op->conv, &e, &y, err);
    case NET_AFFINE:
        return ts_op_channel_affine(ops, &x, w, b, &op->act, &y, err);
    case NET_GROUP_NORM:
        return ts_op_group_norm(ops, &x, w, b, op->groups, op->eps, &op->act, &y, err);
    case NET_LAYER_NORM: {
        ts_shape rows = TS_SHAPE(ts_arr_elements(&x) / op->in, op->in);
        x = ts_arr_reshape(&x, &rows);
        y = ts_arr_reshape(&y, &rows);
        return ts_op_layer_norm(ops, &x, w, b, op->eps, &y, err);
    }
    case NET_ACT:
        return ts_op_unary(ops, &x, &op->act, &y, err);
    case NET_SOFTMAX:
        return ts_op_softmax(ops, &x, op->axis < 0 ? op->axis : op->axis + 1, false, &y, err);
    case NET_UPSAMPLE:
        return ts_op_resize(ops, plan->resize[i], &x, &y, err);
    case NET_SHUFFLE:
        return run_shuffle(ops, op->groups, &x, &y, err);
    case NET_POOL:
        return ts_op_pool(ops, &x, &op->pool, &y, NULL, err);
    case NET_PERMUTE: {
        int perm[TS_MAX_RANK] = {0};
        for (int d = 0; d < op->axis; d++)
            perm[1 + d] = 1 + op->perm[d];
        return ts_op_transpose(ops, &x, perm, &y, err);
    }
    case NET_PAD:
        return ts_op_pad(ops, &x, (const int64_t[]){0, 0, op->pad[2], op->pad[0]}, op->pad_mode,
                         op->pad_value, &y, err);
    case NET_ADD:
        return ts_op_binary(ops, TS_BINARY_ADD, &x, &x2, &op->act, &y, err);
    case NET_CONCAT:
        return ts_op_concat(ops, (const ts_arr *const[]){&x, &x2}, 2,
                            op->axis < 0 ? op->axis : op->axis + 1, &y, err);
    case NET_ATTENTION:
        return run_attention(ops, op, &x, &y, err);
    case NET_RESHAPE:
    case NET_FLATTEN:
    case NET_GONE:
        break;
    }
    return TS_OK;
}

ts_status ts_net_run(ts_net *net, ts_ops *ops, const ts_arr *x, const int *keep, size_t n_keep,
                     ts_error *err)
{
    net_plan *plan;
    ts_status st = plan_for(net, ops, &x->shape, keep, n_keep, &plan, err);
    if (st != TS_OK)
        return st;
    net->input = *x;
    net->last = plan;
    for (size_t i = 0; i < net->n_ops && st == TS_OK; i++)
        st = run_op(net, ops, plan, i, err);
    return st;
}

ts_arr ts_net_value(const ts_net *net, int value)
{
    return value_of(net, net->last, value);
}
