/*
 * Matrix products: linear layers with weights packed once at load, and products of two arrays.
 *
 * A ts_weight holds a layer's [N,K] matrix in the order that the device's kernel reads (column panels
 * on CPUs, rows on GPUs) and its bias. Immutable after creation: any thread's ops may use it once the
 * creating queue has finished.
 */
#ifndef TS_CL_OPS_GEMM_H
#define TS_CL_OPS_GEMM_H

#include "cl/ops/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_weight ts_weight;

/**
 * Pack a linear layer's weight.
 *
 * Shapes: w: [n,k] (output, input), host f32; bias: [n] or NULL.
 * Owner:  caller, ts_weight_destroy(); w and bias are copied.
 */
TS_CHECKED ts_status ts_weight_create(ts_ops *ops, const float *w, int64_t n, int64_t k,
                                      const float *bias, ts_weight **out, ts_error *err);
void ts_weight_destroy(ts_weight *weight); /* NULL is fine */
int64_t ts_weight_outputs(const ts_weight *weight);
int64_t ts_weight_inputs(const ts_weight *weight);
size_t ts_weight_bytes(const ts_weight *weight);

/**
 * y = act(x·Wᵀ + bias + residual).
 *
 * Shapes: x: […,K] f32; y: […,N] f32 with the same leading dims; epilogue may be NULL.
 * Errors: TS_E_SHAPE, TS_E_DTYPE, TS_E_DEVICE….
 */
TS_CHECKED ts_status ts_op_linear(ts_ops *ops, const ts_arr *x, const ts_weight *weight,
                                  const ts_epilogue *epilogue, ts_arr *y, ts_error *err);

/** Zero-initialised: plain product, alpha 1. */
typedef struct ts_matmul {
    bool trans_a, trans_b; /* the last two dims are stored swapped */
    float alpha;           /* scales the product; 0 means 1 */
    const ts_arr *bias;    /* [N], or [M] with bias_rows; NULL: none */
    bool bias_rows;
    ts_epilogue epilogue;
} ts_matmul;

/**
 * y = act(alpha·a·b + bias + residual), over broadcast leading dims.
 *
 * Shapes: a: […,M,K], b: […,K,N], y: […,M,N]; leading dims broadcast as numpy's matmul does; rank >= 2.
 */
TS_CHECKED ts_status ts_op_matmul(ts_ops *ops, const ts_arr *a, const ts_arr *b,
                                  const ts_matmul *options, ts_arr *y, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
