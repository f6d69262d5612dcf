/* The inside of a ts_net, for net.c (building, fusing), net_shape.c and net_run.c. */
#ifndef TS_CL_MODELS_VAE_NET_INTERNAL_H
#define TS_CL_MODELS_VAE_NET_INTERNAL_H

#include "cl/models/vae/net.h"

typedef enum net_kind {
    NET_LINEAR,
    NET_CONV,
    NET_AFFINE,
    NET_GROUP_NORM,
    NET_LAYER_NORM,
    NET_ACT,
    NET_SOFTMAX,
    NET_UPSAMPLE,
    NET_SHUFFLE,
    NET_POOL,
    NET_RESHAPE,
    NET_FLATTEN,
    NET_PERMUTE,
    NET_PAD,
    NET_ADD,
    NET_CONCAT,
    NET_ATTENTION,
    NET_GONE /* fused into another */
} net_kind;

enum {
    NET_MAX_OPS = 4096,
    NET_PLANS = 6 /* input shapes remembered */
};

typedef struct net_op {
    net_kind kind;
    int x, x2, y; /* values; x2: second operand or the epilogue's residual, -1 none */
    ts_act act;   /* after the operation */
    int64_t in, out, groups, heads;
    float eps;
    int axis;
    ts_conv_geometry conv_g;
    ts_pool pool;
    ts_shape shape;
    int perm[TS_MAX_RANK];
    int64_t pad[4];
    ts_pad_mode pad_mode;
    float pad_value;
    double factor[2];
    int64_t size[2];
    ts_resize_mode resize_mode;
    ts_resize_coords resize_coords;
    float *host_w[4], *host_b[4]; /* until finished */
    ts_weight *linear[4];
    ts_conv *conv;
    ts_arr w, b;
} net_op;

typedef struct net_value {
    char name[TS_NAME_MAX + 1];
    int alias; /* value whose memory it shares (reshape), else itself */
    bool gone;
} net_value;

/* Shapes and places of all values for one input shape and set of kept values. */
typedef struct net_plan {
    ts_shape input; /* with the batch; rank 0: unused */
    uint64_t keep;  /* hash of what is kept */
    ts_shape *shape;
    size_t *offset;
    size_t bytes;
    ts_resize **resize; /* per operation that needs one */
    uint64_t used;      /* clock, for replacing the oldest */
} net_plan;

struct ts_net {
    net_op *op;
    size_t n_ops;
    net_value *value;
    size_t n_values;
    int *outputs;
    size_t n_outputs;
    ts_status failed;
    char failure[256];
    uint64_t parameters, weight_bytes, plan_bytes, clock;
    net_plan plan[NET_PLANS];
    net_plan *last;
    ts_buffer *arena;
    ts_arr input; /* of the last run */
};

/* Shape of the op's result from its operands' (with the batch in front). */
TS_CHECKED ts_status net_op_shape(const net_op *op, const ts_shape *x, const ts_shape *x2,
                                  ts_shape *y, ts_error *err);
/* Shapes of all values for an input with its batch; `shape` has n_values. */
TS_CHECKED ts_status net_shapes(const ts_net *net, const ts_shape *input, ts_shape *shape,
                                ts_error *err);
void net_plan_clear(ts_net *net, net_plan *plan);

#endif
