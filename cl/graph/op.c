#include "cl/graph/op.h"


#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/size.h"

const ts_graph_op *ts_graph_op_find(const char *name)
{
    static const ts_graph_op *const tables[] = {ts_ops_elementwise, ts_ops_shape, ts_ops_move,
                                                ts_ops_reduce, ts_ops_network, ts_ops_index,
                                                ts_ops_sample};
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
        for (const ts_graph_op *op = tables[t]; op->name; op++)
            if (!strcmp(op->name, name))
                return op;
    return NULL;
}

ts_status ts_node_fail_at(const ts_node_call *c, ts_error *err, const char *where, const char *fmt,
                          ...)
{
    char text[400];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return ts_fail_at(err, TS_E_SHAPE, 0, where, "node '%.80s' (%.40s): %s", c->node->name,
                      c->node->op, text);
}

double *ts_host_in(const ts_node_call *c, size_t i)
{
    return c->in[i]->host;
}

ts_value *ts_input(const ts_node_call *c, size_t i)
{
    return i < c->n_in ? c->in[i] : NULL;
}

ts_status ts_host_out(ts_node_call *c, size_t k, int type, const ts_shape *shape, double **data,
                      ts_error *err)
{
    *data = NULL;
    if (k >= c->n_out || !c->out[k])
        return TS_OK;
    ts_status st = ts_value_host(c->out[k], type, shape, err);
    if (st == TS_OK)
        *data = c->out[k]->host;
    return st;
}

ts_status ts_dev_out(ts_node_call *c, size_t k, int type, const ts_shape *shape, ts_arr *array,
                     ts_error *err)
{
    ts_value *v = c->out[k];
    ts_value_finish(v);
    v->type = type;
    v->shape = *shape;
    ts_status st = ts_dev_scratch(c, TS_F32, shape, &v->dev, err);
    if (st == TS_OK)
        *array = v->dev;
    return st;
}

ts_status ts_dev_scratch(ts_node_call *c, ts_dtype dtype, const ts_shape *shape, ts_arr *array,
                         ts_error *err)
{
    size_t bytes;
    ts_buffer *buffer;
    ts_status st = ts_shape_check(shape, dtype, &bytes, err);
    if (st == TS_OK)
        st = ts_graph_pool_take(c->pool, c->ops, bytes, &buffer, err);
    if (st == TS_OK)
        *array = ts_arr_at(buffer, 0, dtype, shape);
    return st;
}

void ts_dev_release(ts_node_call *c, ts_arr *array)
{
    ts_graph_pool_give(c->pool, array->buffer);
    memset(array, 0, sizeof *array);
}

/* ---- memory ---- */

ts_status ts_graph_pool_take(ts_graph_pool *pool, ts_ops *ops, size_t bytes, ts_buffer **out,
                             ts_error *err)
{
    size_t best = pool->n, most = bytes < 65536 ? 131072 : bytes * 2;
    for (size_t i = 0; i < pool->n; i++) {
        size_t own = ts_buffer_bytes(pool->idle[i]);
        if (own >= bytes && own <= most &&
            (best == pool->n || own < ts_buffer_bytes(pool->idle[best])))
            best = i;
    }
    ts_status st = TS_OK;
    if (best < pool->n) {
        *out = pool->idle[best];
        pool->idle[best] = pool->idle[--pool->n];
    } else {
        st = ts_buffer_create(ts_ops_device(ops), bytes ? bytes : 4, out, err);
    }
    return st;
}

void ts_graph_pool_give(ts_graph_pool *pool, ts_buffer *buffer)
{
    if (!buffer)
        return;
    if (!ts_buffer_unique(buffer)) { /* a view of it is still in use */
        ts_buffer_unref(buffer);
        return;
    }
    if (pool->n == pool->capacity) {
        size_t capacity = pool->capacity ? pool->capacity * 2 : 32;
        ts_buffer **more = ts_realloc_array(pool->idle, capacity, sizeof(ts_buffer *));
        if (!more) {
            ts_buffer_unref(buffer);
            return;
        }
        pool->idle = more;
        pool->capacity = capacity;
    }
    pool->idle[pool->n++] = buffer;
}

void ts_graph_pool_drain(ts_graph_pool *pool)
{
    while (pool->n)
        ts_buffer_unref(pool->idle[--pool->n]);
    free(pool->idle);
    pool->idle = NULL;
    pool->capacity = 0;
}

ts_status ts_dev_in(ts_node_call *c, size_t i, ts_arr *array, ts_error *err)
{
    return ts_value_to_device(c->ops, c->in[i], array, err);
}

static int64_t whole(double v)
{
    return isnan(v) ? 0 : ts_graph_int((int64_t)fmax(-9e18, fmin(9e18, v)));
}

ts_status ts_ints_in(ts_node_call *c, size_t i, int64_t *out, size_t max, size_t *n, ts_error *err)
{
    ts_value *v = ts_input(c, i);
    *n = 0;
    if (!v)
        return TS_OK;
    ts_status st = ts_value_to_host(c->ops, v, err);
    if (st != TS_OK)
        return st;
    size_t elements = (size_t)ts_value_elements(v);
    if (elements > max)
        return ts_node_fail(c, err, "input %zu has %zu elements, at most %zu", i, elements, max);
    *n = elements;
    for (size_t k = 0; k < *n; k++) {
        out[k] = whole(v->host[k]);
    }
    return TS_OK;
}

ts_status ts_int_in(ts_node_call *c, size_t i, size_t k, int64_t *out, ts_error *err)
{
    ts_status st = ts_value_to_host(c->ops, c->in[i], err);
    if (st == TS_OK && (int64_t)k >= ts_value_elements(c->in[i]))
        st = ts_node_fail(c, err, "input %zu has too few elements", i);
    if (st == TS_OK)
        *out = whole(c->in[i]->host[k]);
    return st;
}

ts_status ts_axes(ts_node_call *c, size_t i, int64_t *axes, size_t *n, ts_error *err)
{
    if (ts_input(c, i))
        return ts_ints_in(c, i, axes, TS_MAX_RANK, n, err);
    *n = ts_attr_ints(c->node, "axes", axes, TS_MAX_RANK);
    return TS_OK;
}

ts_status ts_axis(const ts_node_call *c, int64_t axis, int rank, int *out, ts_error *err)
{
    int64_t a = axis < 0 ? axis + rank : axis;
    if (a < 0 || a >= (rank > 0 ? rank : 1))
        return ts_node_fail(c, err, "axis %lld of rank %d", (long long)axis, rank);
    *out = (int)a;
    return TS_OK;
}

void ts_dense_strides(const ts_shape *shape, int64_t strides[TS_MAX_RANK])
{
    int64_t step = 1;
    for (int d = shape->rank - 1; d >= 0; d--) {
        strides[d] = step;
        step *= shape->dim[d];
    }
}

void ts_broadcast_strides(const ts_shape *shape, const ts_shape *to, int64_t strides[TS_MAX_RANK])
{
    int64_t dense[TS_MAX_RANK];
    ts_dense_strides(shape, dense);
    for (int d = 0; d < to->rank; d++) {
        int own = d - (to->rank - shape->rank);
        strides[d] = own < 0 || shape->dim[own] == 1 ? 0 : dense[own];
    }
}

bool ts_next_index(const ts_shape *shape, int64_t index[TS_MAX_RANK])
{
    for (int d = shape->rank - 1; d >= 0; d--) {
        if (++index[d] < shape->dim[d])
            return true;
        index[d] = 0;
    }
    return false;
}
