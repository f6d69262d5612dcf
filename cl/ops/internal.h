/* For cl/ops only: launches with the right local size per device kind, scratch memory, checks. */
#ifndef TS_CL_OPS_INTERNAL_H
#define TS_CL_OPS_INTERNAL_H

#include "cl/ops/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    TS_OPS_SCRATCH = 3 /* scratch buffers that one operator may use at a time */
};

struct ts_ops {
    ts_queue *queue;
    ts_device *device;
    bool cpu;
    uint32_t units;    /* compute units */
    int mr, nr;        /* register tile of the CPU kernels */
    char options[160]; /* of every program of this folder */
    ts_buffer *scratch[TS_OPS_SCRATCH];
};

/** Two kernel arguments: the buffer and where the array starts in it, in elements. */
#define TS_OP_ARR(x) TS_BUF((x)->buffer), TS_ULONG((x)->offset / ts_dtype_bytes((x)->dtype))
/** The same for an optional array: a null pointer and 0. */
#define TS_OP_OPT(x)                          \
    (x) ? TS_BUF((x)->buffer) : TS_BUF(NULL), \
        TS_ULONG((x) ? (x)->offset / ts_dtype_bytes((x)->dtype) : 0)
#define TS_OP_ACT(x) TS_INT((x).kind), TS_FLOAT((x).a), TS_FLOAT((x).b)

/**
 * Launch over `n` elements of which a CPU work-item takes at least `grain`; a GPU gets 256-item
 * groups, one element each (at most 2^20 items: kernels loop).
 */
TS_CHECKED ts_status ts_ops_flat(ts_ops *ops, const char *family, const char *name, int64_t n,
                                 int64_t grain, const ts_arg *args, size_t n_args, ts_error *err);
/** Launch a grid of groups: local size 1 on CPUs (items = groups), `local` items per group on GPUs. */
TS_CHECKED ts_status ts_ops_groups(ts_ops *ops, const char *family, const char *name,
                                   const size_t groups[3], size_t local, const ts_arg *args,
                                   size_t n_args, ts_error *err);
/** Scratch memory `slot` of at least `bytes`; its content lasts until the next operator. */
TS_CHECKED ts_status ts_ops_scratch(ts_ops *ops, int slot, size_t bytes, ts_buffer **out,
                                    ts_error *err);

/** Checks that name the operator and the argument. */
TS_CHECKED ts_status ts_ops_want_f32(const char *op, const char *what, const ts_arr *array,
                                     ts_error *err);
TS_CHECKED ts_status ts_ops_want_shape(const char *op, const char *what, const ts_arr *array,
                                       const ts_shape *shape, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
