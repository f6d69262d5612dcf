/*
 * A parsed ONNX graph: nodes in order, values by number, constants. Nothing here runs.
 *
 * The protobuf message stays in memory and nodes point into it. External data are mapped from files in
 * the model's own directory. Source: onnx/onnx, onnx.proto (Apache-2.0), opsets 7 to 25 (and lower
 * where an operator did not change).
 *
 * Thread: read-only after loading.
 */
#ifndef TS_CL_GRAPH_GRAPH_H
#define TS_CL_GRAPH_GRAPH_H

#include "cl/base/fs.h"
#include "cl/graph/value.h"

#ifdef __cplusplus
extern "C" {
#endif

struct Onnx__NodeProto;
struct Onnx__TensorProto;

typedef struct ts_graph_node {
    const struct Onnx__NodeProto *proto;
    const char *op, *name;
    int *in, *out; /* value numbers, -1: absent */
    size_t n_in, n_out;
} ts_graph_node;

/** A real input, or an output: -1 is a free dim. */
typedef struct ts_graph_port {
    const char *name;
    int value, type;
    ts_shape shape;
    bool has_shape;
} ts_graph_port;

typedef struct ts_graph {
    int opset;
    ts_graph_node *nodes;
    size_t n_nodes, n_values;
    ts_graph_port *inputs, *outputs;
    size_t n_inputs, n_outputs;
    ts_value *constants; /* [n_values]: initializers; others have type 0 */
    uint64_t parameters;
    /* private: */
    void *model;
    char **names;
    void *index;
    ts_fs_map *files;
    char **file_names;
    size_t n_files;
} ts_graph;

/**
 * Load <directory>/model.onnx.
 * Errors: TS_E_FILE naming what is wrong (node, tensor), never a path outside the directory.
 */
TS_CHECKED ts_status ts_graph_load(const char *directory, ts_graph **out, ts_error *err);
void ts_graph_free(ts_graph *graph); /* NULL is fine */
/** The number of a value, or -1. */
int ts_graph_value(const ts_graph *graph, const char *name);

/** An integer of a file cut to ±2^40: beyond every dim, and sums of a few stay far from overflow. */
int64_t ts_graph_int(int64_t value);
/* Attributes of a node; the default where it has none. Integers as by ts_graph_int(). */
int64_t ts_attr_int(const ts_graph_node *node, const char *name, int64_t standard);
float ts_attr_float(const ts_graph_node *node, const char *name, float standard);
/** A string attribute copied into out (cut), or the default. Returns out. */
const char *ts_attr_string(const ts_graph_node *node, const char *name, const char *standard,
                           char *out, size_t n);
/** Integers of a list; returns their number, 0 without the attribute, at most `max`. */
size_t ts_attr_ints(const ts_graph_node *node, const char *name, int64_t *out, size_t max);
bool ts_attr_has(const ts_graph_node *node, const char *name);
/** The tensor, float(s) or int(s) of a Constant node, or of `value` in ConstantOfShape. */
TS_CHECKED ts_status ts_attr_constant(const ts_graph_node *node, ts_value *out, ts_error *err);

/** Read a TensorProto. Owner: ts_value_finish(). `graph` finds external data; NULL refuses them. */
TS_CHECKED ts_status ts_value_from_proto(ts_graph *graph, const char *directory,
                                         const struct Onnx__TensorProto *proto, ts_value *out,
                                         ts_error *err);
/** A serialized TensorProto, as test suites store them. */
TS_CHECKED ts_status ts_value_from_bytes(const void *data, size_t len, ts_value *out,
                                         ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
