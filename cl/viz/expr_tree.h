/* The syntax tree of an expression (cl/viz/expr*.c only). */
#ifndef TS_CL_VIZ_EXPR_TREE_H
#define TS_CL_VIZ_EXPR_TREE_H

#include "cl/viz/expr.h"

typedef enum node_kind {
    NODE_NUMBER,
    NODE_NAME,
    NODE_UNARY,  /* op is VIZ_EXPR_NEG or VIZ_EXPR_ABS */
    NODE_BINARY, /* op is VIZ_EXPR_ADD … MAX */
    NODE_REDUCE, /* op is REDUCE_…; axis, or all */
    NODE_RESHAPE,
    NODE_TRANSPOSE,
    NODE_INDEX
} node_kind;

enum {
    REDUCE_MEAN,
    REDUCE_MIN,
    REDUCE_MAX,
    REDUCE_SUM
};

typedef struct node {
    node_kind kind;
    int op, axis, n_args; /* args: sizes of reshape, axes of transpose */
    bool all;
    double number;
    int64_t index, args[TS_MAX_RANK];
    char name[TS_NAME_MAX + 1];
    struct node *a, *b;
} node;

enum {
    MAX_NODES = 128
};

struct ts_expr {
    node nodes[MAX_NODES];
    int n_nodes;
    node *root;
};

#endif
