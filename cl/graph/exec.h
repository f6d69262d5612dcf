/*
 * Running a graph: nodes in order on one queue, values freed after their last use, constants and what
 * follows from them computed once.
 *
 * Thread: one run at a time, on the thread of the ops' queue.
 */
#ifndef TS_CL_GRAPH_EXEC_H
#define TS_CL_GRAPH_EXEC_H

#include "cl/graph/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_graph_exec ts_graph_exec;

/**
 * Prepare a graph (borrowed, must outlive the executor).
 * Errors: TS_E_FILE listing every operator that is not supported.
 */
TS_CHECKED ts_status ts_graph_exec_create(ts_ops *ops, ts_graph *graph, ts_graph_exec **out,
                                          ts_error *err);
/** Finishes the queue first. NULL is fine. */
void ts_graph_exec_destroy(ts_graph_exec *exec);

/**
 * Run; only nodes that the wanted values need.
 *
 * Shapes: inputs: one per graph->inputs, borrowed (their other-side copies may be filled in);
 *         wanted: value numbers; outputs[i] becomes wanted[i], on the host or on the device.
 * Owner:  caller finishes the outputs with ts_value_finish() after the queue has finished.
 * Errors: TS_E_SHAPE naming the node, TS_E_DEVICE….
 */
TS_CHECKED ts_status ts_graph_exec_run(ts_graph_exec *exec, ts_value *inputs, const int *wanted,
                                       size_t n_wanted, ts_value *outputs, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
