/*
 * Operators of a graph: a host function, a device function, or both.
 *
 * The executor picks the host where every input is known there (shape arithmetic, constants, integers
 * from outside), the device otherwise; an operator without a device function is computed on the host
 * with its inputs read back. Functions fill c->out[k] (zeroed, NULL where nobody wants it; the first one is
 * never NULL).
 */
#ifndef TS_CL_GRAPH_OP_H
#define TS_CL_GRAPH_OP_H

#include "cl/graph/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    TS_NODE_PORTS = 64
};

/** What an operator keeps between runs: packed weights, resize taps. */
typedef struct ts_node_state {
    void *data;
    void (*destroy)(void *data);
    ts_shape key; /* what it was made for, where that matters */
} ts_node_state;

/**
 * Device memory that one executor uses again: what a node gives back, a later node of the same queue
 * may take at once, without waiting.
 */
typedef struct ts_graph_pool {
    ts_buffer **idle;
    size_t n, capacity;
} ts_graph_pool;

TS_CHECKED ts_status ts_graph_pool_take(ts_graph_pool *pool, ts_ops *ops, size_t bytes,
                                        ts_buffer **out, ts_error *err);
/** Takes over the caller's reference. */
void ts_graph_pool_give(ts_graph_pool *pool, ts_buffer *buffer);
/** Give what is idle back to the device, which waits with it for the queue. */
void ts_graph_pool_drain(ts_graph_pool *pool);

typedef struct ts_node_call {
    ts_ops *ops;
    ts_graph_pool *pool;
    const ts_graph_node *node;
    ts_node_state *state;
    int opset;
    ts_value *in[TS_NODE_PORTS]; /* NULL: absent */
    bool constant[TS_NODE_PORTS]; /* the input never changes */
    ts_value *out[TS_NODE_PORTS];
    size_t n_in, n_out;
} ts_node_call;

typedef ts_status (*ts_node_fn)(ts_node_call *c, ts_error *err);

enum {
    TS_NO_INPUTS = 0,
    TS_ALL_INPUTS = -1 /* one at least, and none may be absent */
};

typedef struct ts_graph_op {
    const char *name;
    ts_node_fn host, device;
    int inputs; /* so many must be there, from the first on: functions rely on it */
} ts_graph_op;

/** By ONNX name; NULL: not supported. */
const ts_graph_op *ts_graph_op_find(const char *name);

/* Tables of the families, ended by a NULL name. */
extern const ts_graph_op ts_ops_elementwise[], ts_ops_shape[], ts_ops_move[], ts_ops_reduce[],
    ts_ops_network[], ts_ops_index[], ts_ops_sample[];

/* ---- helpers for the families ---- */

/** Host elements of input i. */
double *ts_host_in(const ts_node_call *c, size_t i);
/** Allocate host output k (a scratch one where nobody wants it is not made: *data NULL). */
TS_CHECKED ts_status ts_host_out(ts_node_call *c, size_t k, int type, const ts_shape *shape,
                                 double **data, ts_error *err);
/** A device output k. */
TS_CHECKED ts_status ts_dev_out(ts_node_call *c, size_t k, int type, const ts_shape *shape,
                                ts_arr *array, ts_error *err);
/** An array for this node's own use; ts_dev_release() gives it back (zeroed is fine). */
TS_CHECKED ts_status ts_dev_scratch(ts_node_call *c, ts_dtype dtype, const ts_shape *shape,
                                    ts_arr *array, ts_error *err);
void ts_dev_release(ts_node_call *c, ts_arr *array);
/** Input i as a device array. */
TS_CHECKED ts_status ts_dev_in(ts_node_call *c, size_t i, ts_arr *array, ts_error *err);
/** Present input i, or NULL. */
ts_value *ts_input(const ts_node_call *c, size_t i);
/** Element k of input i as an integer (from the host; read back where need be). */
TS_CHECKED ts_status ts_int_in(ts_node_call *c, size_t i, size_t k, int64_t *out, ts_error *err);
/** All elements of input i as integers, at most max. */
TS_CHECKED ts_status ts_ints_in(ts_node_call *c, size_t i, int64_t *out, size_t max, size_t *n,
                                ts_error *err);
/** Axes from an attribute, or from input `i` where that is given; none: *n = 0. */
TS_CHECKED ts_status ts_axes(ts_node_call *c, size_t i, int64_t *axes, size_t *n, ts_error *err);
/** A negative axis counted from the end. Errors: TS_E_SHAPE. */
TS_CHECKED ts_status ts_axis(const ts_node_call *c, int64_t axis, int rank, int *out,
                             ts_error *err);
/** Strides of `shape` seen as `to` (0 along broadcast axes), in elements. */
void ts_broadcast_strides(const ts_shape *shape, const ts_shape *to, int64_t strides[TS_MAX_RANK]);
/** Row-major strides. */
void ts_dense_strides(const ts_shape *shape, int64_t strides[TS_MAX_RANK]);
/** Advance a multi-index over a shape; false after the last. */
bool ts_next_index(const ts_shape *shape, int64_t index[TS_MAX_RANK]);
/** Fail with the node's name in front. */
#define ts_node_fail(c, err, ...) ts_node_fail_at((c), (err), TS_HERE, __VA_ARGS__)
ts_status ts_node_fail_at(const ts_node_call *c, ts_error *err, const char *where, const char *fmt,
                          ...) TS_PRINTF(4, 5);

#ifdef __cplusplus
}
#endif
#endif
