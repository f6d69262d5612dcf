/* Reductions, arg-max, top-k, softmax. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cl/graph/op.h"
#include "cl/ops/norm.h"
#include "cl/ops/pointwise.h"
#include "cl/ops/reduce.h"

static const struct {
    const char *op;
    ts_reduce kind;
} REDUCE[] = {
    {"ReduceSum", TS_REDUCE_SUM},
    {"ReduceMean", TS_REDUCE_MEAN},
    {"ReduceMax", TS_REDUCE_MAX},
    {"ReduceMin", TS_REDUCE_MIN},
    {"ReduceProd", TS_REDUCE_PROD},
    {"ReduceL1", TS_REDUCE_L1},
    {"ReduceL2", TS_REDUCE_L2},
    {"ReduceSumSquare", TS_REDUCE_SUM_SQUARE},
    {"ReduceLogSum", TS_REDUCE_LOG_SUM},
    {"ReduceLogSumExp", TS_REDUCE_LOG_SUM_EXP},
};

static ts_reduce reduce_kind(const ts_node_call *c)
{
    size_t i = 0;
    while (strcmp(REDUCE[i].op, c->node->op))
        i++;
    return REDUCE[i].kind;
}

/* Which axes go, and what shape is left. *mask 0: nothing is reduced. */
static ts_status plan_reduce(ts_node_call *c, unsigned *mask, ts_shape *shape, ts_error *err)
{
    const ts_shape *s = &c->in[0]->shape;
    int64_t axes[TS_MAX_RANK];
    size_t n;
    ts_status st = ts_axes(c, 1, axes, &n, err);
    bool keep = ts_attr_int(c->node, "keepdims", 1);
    *mask = 0;
    for (size_t i = 0; i < n && st == TS_OK; i++) {
        int axis;
        st = ts_axis(c, axes[i], s->rank, &axis, err);
        if (st == TS_OK)
            *mask |= 1u << axis;
    }
    if (n == 0 && !ts_attr_int(c->node, "noop_with_empty_axes", 0))
        *mask = (1u << s->rank) - 1;
    *shape = (ts_shape){0};
    for (int d = 0; d < s->rank; d++)
        if (!(*mask >> d & 1))
            shape->dim[shape->rank++] = s->dim[d];
        else if (keep)
            shape->dim[shape->rank++] = 1;
    return st;
}

static double start_of(ts_reduce kind)
{
    return kind == TS_REDUCE_PROD              ? 1
           : kind == TS_REDUCE_MAX             ? -INFINITY
           : kind == TS_REDUCE_MIN             ? INFINITY
           : kind == TS_REDUCE_LOG_SUM_EXP     ? 0
                                               : 0;
}

static double accumulate(ts_reduce kind, double sum, double v)
{
    switch (kind) {
    case TS_REDUCE_MAX:
        return v > sum || isnan(v) ? v : sum;
    case TS_REDUCE_MIN:
        return v < sum || isnan(v) ? v : sum;
    case TS_REDUCE_PROD:
        return sum * v;
    case TS_REDUCE_L1:
        return sum + fabs(v);
    case TS_REDUCE_L2:
    case TS_REDUCE_SUM_SQUARE:
        return sum + v * v;
    case TS_REDUCE_LOG_SUM_EXP:
        return sum + exp(v);
    default:
        return sum + v;
    }
}

static ts_status reduce_host(ts_node_call *c, ts_error *err)
{
    ts_reduce kind = reduce_kind(c);
    const ts_shape *s = &c->in[0]->shape;
    unsigned mask;
    ts_shape shape;
    double *y;
    ts_status st = plan_reduce(c, &mask, &shape, err);
    if (st == TS_OK)
        st = ts_host_out(c, 0, c->in[0]->type, &shape, &y, err);
    if (st != TS_OK || !y)
        return st;
    int64_t strides[TS_MAX_RANK] = {0}, step = 1, index[TS_MAX_RANK] = {0}, per = 1;
    for (int d = s->rank - 1; d >= 0; d--) {
        strides[d] = mask >> d & 1 ? 0 : step;
        *(mask >> d & 1 ? &per : &step) *= s->dim[d];
    }
    int64_t n = ts_shape_elements(&shape), total = ts_shape_elements(s);
    int type = c->in[0]->type;
    for (int64_t i = 0; i < n; i++)
        y[i] = start_of(kind);
    if (total == 0 && (kind == TS_REDUCE_MAX || kind == TS_REDUCE_MIN) && !ts_onnx_is_float(type))
        for (int64_t i = 0; i < n; i++) /* nothing to compare: the type's own end */
            y[i] = type == TS_ONNX_BOOL ? kind == TS_REDUCE_MIN
                                        : (kind == TS_REDUCE_MAX ? -9223372036854775808.0
                                                                 : 9223372036854775807.0);
    for (int64_t k = 0; k < total; k++) {
        int64_t at = 0;
        for (int d = 0; d < s->rank; d++)
            at += index[d] * strides[d];
        y[at] = accumulate(kind, y[at], ts_host_in(c, 0)[k]);
        ts_next_index(s, index);
    }
    for (int64_t i = 0; i < n; i++) {
        if (kind == TS_REDUCE_MEAN)
            y[i] /= (double)per;
        else if (kind == TS_REDUCE_L2)
            y[i] = sqrt(y[i]);
        else if (kind == TS_REDUCE_LOG_SUM || kind == TS_REDUCE_LOG_SUM_EXP)
            y[i] = log(y[i]);
        y[i] = ts_onnx_fit(type, y[i]);
    }
    return TS_OK;
}

static ts_status reduce_device(ts_node_call *c, ts_error *err)
{
    unsigned mask;
    ts_shape shape;
    ts_arr x, y;
    ts_status st = plan_reduce(c, &mask, &shape, err);
    ts_reduce kind = reduce_kind(c);
    if (st != TS_OK)
        return st;
    if (ts_value_elements(c->in[0]) == 0 || (mask == 0 && kind != TS_REDUCE_SUM_SQUARE &&
                                             kind != TS_REDUCE_L1 && kind != TS_REDUCE_L2)) {
        if (ts_value_elements(c->in[0]) > 0 && kind != TS_REDUCE_LOG_SUM)
            return ts_value_view(c->in[0], &shape, c->out[0], err);
        st = ts_value_to_host(c->ops, c->in[0], err);
        return st == TS_OK ? reduce_host(c, err) : st;
    }
    st = ts_dev_in(c, 0, &x, err);
    if (st == TS_OK)
        st = ts_dev_out(c, 0, c->in[0]->type, &shape, &y, err);
    return st == TS_OK ? ts_op_reduce(c->ops, kind, &x, mask, &y, err) : st;
}

/* ---- arg-max ---- */

static ts_status arg_shape(ts_node_call *c, int *axis, ts_shape *shape, ts_error *err)
{
    const ts_shape *s = &c->in[0]->shape;
    ts_status st = ts_axis(c, ts_attr_int(c->node, "axis", 0), s->rank, axis, err);
    bool keep = ts_attr_int(c->node, "keepdims", 1);
    *shape = (ts_shape){0};
    for (int d = 0; st == TS_OK && d < s->rank; d++)
        if (d != *axis || keep)
            shape->dim[shape->rank++] = d == *axis ? 1 : s->dim[d];
    return st;
}

static ts_status arg_device(ts_node_call *c, ts_error *err)
{
    int axis;
    ts_shape shape;
    ts_arr x, index = {0}, y;
    ts_status st = arg_shape(c, &axis, &shape, err);
    if (st == TS_OK)
        st = ts_dev_in(c, 0, &x, err);
    if (st == TS_OK)
        st = ts_dev_scratch(c, TS_I32, &shape, &index, err);
    if (st == TS_OK)
        st = ts_dev_out(c, 0, TS_ONNX_I64, &shape, &y, err);
    if (st == TS_OK)
        st = ts_op_argmax(c->ops, &x, axis, !strcmp(c->node->op, "ArgMin"),
                          ts_attr_int(c->node, "select_last_index", 0) != 0, &index, err);
    if (st == TS_OK)
        st = ts_op_cast(c->ops, &index, &y, err);
    ts_dev_release(c, &index);
    return st;
}

/* ---- top-k: on the host for odd axes, on the device for the last one ---- */

typedef struct ranked {
    double value;
    int64_t index;
    bool smallest;
} ranked;

static int by_rank(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->value != y->value)
        return (x->value > y->value) != x->smallest ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static ts_status topk_plan(ts_node_call *c, int *axis, int64_t *k, ts_error *err)
{
    const ts_shape *s = &c->in[0]->shape;
    ts_status st = ts_axis(c, ts_attr_int(c->node, "axis", -1), s->rank, axis, err);
    *k = ts_attr_int(c->node, "k", 1);
    if (st == TS_OK && ts_input(c, 1))
        st = ts_int_in(c, 1, 0, k, err);
    if (st == TS_OK && (*k < 0 || *k > s->dim[*axis]))
        st = ts_node_fail(c, err, "k is %lld, the axis has %lld", (long long)*k,
                          (long long)s->dim[*axis]);
    return st;
}

static ts_status topk_host(ts_node_call *c, ts_error *err)
{
    int axis;
    int64_t k, outer = 1, inner = 1;
    double *values, *indices;
    bool smallest = !ts_attr_int(c->node, "largest", 1);
    ts_status st = topk_plan(c, &axis, &k, err);
    if (st != TS_OK)
        return st;
    ts_shape shape = c->in[0]->shape;
    int64_t n = shape.dim[axis];
    for (int d = 0; d < shape.rank; d++)
        if (d != axis)
            *(d < axis ? &outer : &inner) *= shape.dim[d];
    shape.dim[axis] = k;
    st = ts_host_out(c, 0, c->in[0]->type, &shape, &values, err);
    if (st == TS_OK)
        st = ts_host_out(c, 1, TS_ONNX_I64, &shape, &indices, err);
    ranked *list = calloc((size_t)n + 1, sizeof *list);
    if (st == TS_OK && !list)
        st = ts_fail(err, TS_E_NO_MEMORY, "top-k of %lld", (long long)n);
    for (int64_t o = 0; st == TS_OK && o < outer * inner; o++) {
        int64_t base = o / inner * n * inner + o % inner, to = o / inner * k * inner + o % inner;
        for (int64_t i = 0; i < n; i++)
            list[i] = (ranked){ts_host_in(c, 0)[base + i * inner], i, smallest};
        qsort(list, (size_t)n, sizeof *list, by_rank);
        for (int64_t i = 0; i < k; i++) {
            if (values)
                values[to + i * inner] = list[i].value;
            if (indices)
                indices[to + i * inner] = (double)list[i].index;
        }
    }
    free(list);
    return st;
}

static ts_status topk_device(ts_node_call *c, ts_error *err)
{
    int axis;
    int64_t k;
    ts_status st = topk_plan(c, &axis, &k, err);
    if (st != TS_OK)
        return st;
    ts_shape shape = c->in[0]->shape;
    if (axis != shape.rank - 1 || k == 0 || ts_value_elements(c->in[0]) == 0) {
        st = ts_value_to_host(c->ops, c->in[0], err);
        return st == TS_OK ? topk_host(c, err) : st;
    }
    ts_arr x, values = {0}, index = {0}, y;
    shape.dim[axis] = k;
    st = ts_dev_in(c, 0, &x, err);
    if (st == TS_OK)
        st = ts_dev_scratch(c, TS_F32, &shape, &values, err);
    if (st == TS_OK)
        st = ts_dev_scratch(c, TS_I32, &shape, &index, err);
    if (st == TS_OK)
        st = ts_op_topk(c->ops, &x, k, !ts_attr_int(c->node, "largest", 1), &values, &index, err);
    if (st == TS_OK && c->n_out > 1 && c->out[1])
        st = ts_dev_out(c, 1, TS_ONNX_I64, &shape, &y, err);
    if (st == TS_OK && c->n_out > 1 && c->out[1])
        st = ts_op_cast(c->ops, &index, &y, err);
    if (st == TS_OK && c->out[0]) {
        ts_value_finish(c->out[0]);
        *c->out[0] = (ts_value){.type = c->in[0]->type, .shape = shape, .dev = values};
        values = (ts_arr){0};
    }
    ts_dev_release(c, &values);
    ts_dev_release(c, &index);
    return st;
}

/* ---- softmax ---- */

static ts_status softmax_device(ts_node_call *c, ts_error *err)
{
    const ts_shape *s = &c->in[0]->shape;
    bool logarithm = !strcmp(c->node->op, "LogSoftmax"), old = c->opset < 13;
    int64_t axis = ts_attr_int(c->node, "axis", old ? 1 : -1);
    ts_arr x, y;
    axis = axis < 0 ? axis + s->rank : axis;
    if (axis < 0 || axis > s->rank)
        return ts_node_fail(c, err, "axis %lld of rank %d", (long long)axis, s->rank);
    ts_status st = ts_dev_in(c, 0, &x, err);
    if (st == TS_OK)
        st = ts_dev_out(c, 0, c->in[0]->type, s, &y, err);
    if (st == TS_OK && old) { /* before 13 everything from the axis on was one axis */
        int64_t rows = 1, columns = 1;
        for (int d = 0; d < s->rank; d++)
            *(d < axis ? &rows : &columns) *= s->dim[d];
        ts_shape flat = TS_SHAPE(rows, columns);
        x = ts_arr_reshape(&x, &flat);
        y = ts_arr_reshape(&y, &flat);
        axis = 1;
    }
    return st == TS_OK ? ts_op_softmax(c->ops, &x, (int)axis, logarithm, &y, err) : st;
}

#define R(name) {name, reduce_host, reduce_device, 1}
const ts_graph_op ts_ops_reduce[] = {
    R("ReduceSum"), R("ReduceMean"), R("ReduceMax"), R("ReduceMin"), R("ReduceProd"),
    R("ReduceL1"), R("ReduceL2"), R("ReduceSumSquare"), R("ReduceLogSum"), R("ReduceLogSumExp"),
    {"ArgMax", NULL, arg_device, 1},
    {"ArgMin", NULL, arg_device, 1},
    {"TopK", topk_host, topk_device, 1},
    {"Softmax", NULL, softmax_device, 1},
    {"LogSoftmax", NULL, softmax_device, 1},
    {NULL, NULL, NULL, 0},
};
