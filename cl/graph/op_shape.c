/* Shapes and constants: what is answered without touching elements. */
#include <math.h>
#include <string.h>

#include "cl/graph/op.h"

static ts_status view(ts_node_call *c, const ts_shape *shape, ts_error *err)
{
    size_t bytes;
    ts_status st = ts_shape_check(shape, TS_F32, &bytes, err);
    if (st != TS_OK)
        return st;
    if (ts_shape_elements(shape) != ts_value_elements(c->in[0]))
        return ts_node_fail(c, err, "%s does not hold the elements of %s",
                            ts_shape_text(shape, (char[96]){0}, 96),
                            ts_shape_text(&c->in[0]->shape, (char[96]){0}, 96));
    return ts_value_view(c->in[0], shape, c->out[0], err);
}

static ts_status identity(ts_node_call *c, ts_error *err)
{
    ts_status st = view(c, &c->in[0]->shape, err);
    double *mask;
    if (st != TS_OK || c->n_out < 2 || !c->out[1]) /* Dropout: everything is kept */
        return st;
    st = ts_host_out(c, 1, TS_ONNX_BOOL, &c->in[0]->shape, &mask, err);
    for (int64_t i = 0; st == TS_OK && i < ts_value_elements(c->in[0]); i++)
        mask[i] = 1;
    return st;
}

static ts_status constant(ts_node_call *c, ts_error *err)
{
    return ts_attr_constant(c->node, c->out[0], err);
}

static ts_status constant_of_shape(ts_node_call *c, ts_error *err)
{
    int64_t dims[TS_MAX_RANK];
    size_t n;
    ts_value value = {0};
    ts_shape shape;
    double *y;
    ts_status st = ts_ints_in(c, 0, dims, TS_MAX_RANK, &n, err);
    if (st == TS_OK && ts_attr_has(c->node, "value"))
        st = ts_attr_constant(c->node, &value, err);
    if (st != TS_OK)
        return st;
    shape = (ts_shape){.rank = (int)n};
    memcpy(shape.dim, dims, n * sizeof *dims);
    st = ts_host_out(c, 0, value.type ? value.type : TS_ONNX_F32, &shape, &y, err);
    for (int64_t i = 0; st == TS_OK && y && i < ts_shape_elements(&shape); i++)
        y[i] = value.host ? value.host[0] : 0;
    ts_value_finish(&value);
    return st;
}

static ts_status shape_of(ts_node_call *c, ts_error *err)
{
    const ts_shape *s = &c->in[0]->shape;
    int64_t start = ts_attr_int(c->node, "start", 0), end = ts_attr_int(c->node, "end", s->rank);
    double *y;
    start = start < 0 ? start + s->rank : start;
    end = end < 0 ? end + s->rank : end;
    start = start < 0 ? 0 : start > s->rank ? s->rank : start;
    end = end < start ? start : end > s->rank ? s->rank : end;
    ts_status st = ts_host_out(c, 0, TS_ONNX_I64, &TS_SHAPE(end - start), &y, err);
    for (int64_t d = start; st == TS_OK && y && d < end; d++)
        y[d - start] = (double)s->dim[d];
    return st;
}

static ts_status size_of(ts_node_call *c, ts_error *err)
{
    double *y;
    ts_status st = ts_host_out(c, 0, TS_ONNX_I64, &(ts_shape){0}, &y, err);
    if (st == TS_OK && y)
        y[0] = (double)ts_value_elements(c->in[0]);
    return st;
}

static ts_status reshape(ts_node_call *c, ts_error *err)
{
    int64_t dims[TS_MAX_RANK], known = 1;
    size_t n;
    int free_dim = -1;
    const ts_shape *s = &c->in[0]->shape;
    bool allow_zero = ts_attr_int(c->node, "allowzero", 0);
    ts_status st = ts_ints_in(c, 1, dims, TS_MAX_RANK, &n, err);
    if (st == TS_OK && c->n_in < 2)
        n = ts_attr_ints(c->node, "shape", dims, TS_MAX_RANK);
    if (st != TS_OK)
        return st;
    ts_shape shape = {.rank = (int)n};
    for (int d = 0; d < (int)n; d++) {
        shape.dim[d] = dims[d] == 0 && !allow_zero && d < s->rank ? s->dim[d] : dims[d];
        if (dims[d] == -1 && free_dim < 0)
            free_dim = d;
        else if (shape.dim[d] < 0 || __builtin_mul_overflow(known, shape.dim[d], &known))
            return ts_node_fail(c, err, "dim %d is %lld", d, (long long)dims[d]);
    }
    if (free_dim >= 0)
        shape.dim[free_dim] = known ? ts_value_elements(c->in[0]) / known : 0;
    return view(c, &shape, err);
}

static ts_status flatten(ts_node_call *c, ts_error *err)
{
    const ts_shape *s = &c->in[0]->shape;
    int64_t axis = ts_attr_int(c->node, "axis", 1), rows = 1, columns = 1;
    axis = axis < 0 ? axis + s->rank : axis;
    if (axis < 0 || axis > s->rank)
        return ts_node_fail(c, err, "axis %lld of rank %d", (long long)axis, s->rank);
    for (int d = 0; d < s->rank; d++)
        *(d < axis ? &rows : &columns) *= s->dim[d];
    return view(c, &TS_SHAPE(rows, columns), err);
}

static ts_status squeeze(ts_node_call *c, ts_error *err)
{
    const ts_shape *s = &c->in[0]->shape;
    int64_t axes[TS_MAX_RANK];
    size_t n;
    bool drop[TS_MAX_RANK] = {false};
    ts_status st = ts_axes(c, 1, axes, &n, err);
    for (size_t i = 0; i < n && st == TS_OK; i++) {
        int axis;
        st = ts_axis(c, axes[i], s->rank, &axis, err);
        if (st == TS_OK && s->dim[axis] != 1)
            st = ts_node_fail(c, err, "axis %d has %lld elements", axis, (long long)s->dim[axis]);
        if (st == TS_OK)
            drop[axis] = true;
    }
    ts_shape shape = {0};
    for (int d = 0; d < s->rank; d++)
        if (!(n ? drop[d] : s->dim[d] == 1))
            shape.dim[shape.rank++] = s->dim[d];
    return st == TS_OK ? view(c, &shape, err) : st;
}

static ts_status unsqueeze(ts_node_call *c, ts_error *err)
{
    const ts_shape *s = &c->in[0]->shape;
    int64_t axes[TS_MAX_RANK];
    size_t n;
    bool add[TS_MAX_RANK] = {false};
    ts_status st = ts_axes(c, 1, axes, &n, err);
    ts_shape shape = {.rank = s->rank + (int)n};
    if (st == TS_OK && shape.rank > TS_MAX_RANK)
        st = ts_node_fail(c, err, "rank %d", shape.rank);
    for (size_t i = 0; i < n && st == TS_OK; i++) {
        int axis;
        st = ts_axis(c, axes[i], shape.rank, &axis, err);
        if (st == TS_OK)
            add[axis] = true;
    }
    for (int d = 0, from = 0; st == TS_OK && d < shape.rank; d++)
        shape.dim[d] = add[d] ? 1 : s->dim[from++];
    return st == TS_OK ? view(c, &shape, err) : st;
}

static ts_status range(ts_node_call *c, ts_error *err)
{
    for (size_t i = 0; i < 3; i++) {
        ts_status st = ts_value_to_host(c->ops, c->in[i], err);
        if (st != TS_OK)
            return st;
    }
    double start = ts_host_in(c, 0)[0], limit = ts_host_in(c, 1)[0], delta = ts_host_in(c, 2)[0];
    double n = delta != 0 ? ceil((limit - start) / delta) : 0, *y;
    n = n < 0 || isnan(n) ? 0 : n;
    if (n > 1e8)
        return ts_node_fail(c, err, "a range of %g elements", n);
    ts_status st = ts_host_out(c, 0, c->in[0]->type, &TS_SHAPE((int64_t)n), &y, err);
    for (int64_t i = 0; st == TS_OK && y && i < (int64_t)n; i++)
        y[i] = ts_onnx_fit(c->in[0]->type, start + (double)i * delta);
    return st;
}

/* Functions that never need elements are the same for both places. */
const ts_graph_op ts_ops_shape[] = {
    {"Identity", identity, identity, 1},
    {"Dropout", identity, identity, 1},
    {"Constant", constant, constant, TS_NO_INPUTS},
    {"ConstantOfShape", constant_of_shape, constant_of_shape, 1},
    {"Shape", shape_of, shape_of, 1},
    {"Size", size_of, size_of, 1},
    {"Reshape", reshape, reshape, 1},
    {"Flatten", flatten, flatten, 1},
    {"Squeeze", squeeze, squeeze, 1},
    {"Unsqueeze", unsqueeze, unsqueeze, 1},
    {"Range", range, range, 3},
    {NULL, NULL, NULL, 0},
};
