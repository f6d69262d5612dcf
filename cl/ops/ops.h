/*
 * What every operator needs: the array view `ts_arr`, the context `ts_ops` of one queue (device kind,
 * build options, scratch memory), and activations that kernels fuse into their epilogues.
 *
 * An operator checks dtypes and shapes, picks the kernel variant for the device (few fat work-items
 * with vector types on CPUs, local-memory tiles on GPUs), enqueues and returns; nothing waits.
 * Arrays are dense and row-major; images are [N,C,H,W]. Unless an operator says otherwise its arrays
 * are f32 and must not overlap its output.
 *
 *   ts_ops_create(queue, &ops, err);
 *   ts_arr y;
 *   ts_arr_create(ops, TS_F32, &TS_SHAPE(m, n), &y, err);
 *   ts_op_linear(ops, &x, weight, &(ts_epilogue){.act = {.kind = TS_ACT_RELU}}, &y, err);
 *
 * Thread: a ts_ops belongs to its queue's thread.
 */
#ifndef TS_CL_OPS_OPS_H
#define TS_CL_OPS_OPS_H

#include "cl/tensor/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A dense array in device memory, borrowed. `offset` is in bytes, a multiple of the dtype's width. */
typedef struct ts_arr {
    ts_buffer *buffer;
    size_t offset;
    ts_dtype dtype;
    ts_shape shape;
} ts_arr;

typedef struct ts_ops ts_ops;

TS_CHECKED ts_status ts_ops_create(ts_queue *queue, ts_ops **out, ts_error *err);
/** Destroy; the queue stays. NULL is fine. */
void ts_ops_destroy(ts_ops *ops);
ts_queue *ts_ops_queue(const ts_ops *ops);
ts_device *ts_ops_device(const ts_ops *ops);
/** True where the kernels for CPU devices are used. */
bool ts_ops_is_cpu(const ts_ops *ops);

/** The array of a whole tensor. */
ts_arr ts_arr_of(const ts_tensor *tensor);
/** An array over part of a buffer; `offset` in bytes. */
ts_arr ts_arr_at(ts_buffer *buffer, size_t offset, ts_dtype dtype, const ts_shape *shape);
/** The same memory under another shape of as many elements. */
ts_arr ts_arr_reshape(const ts_arr *array, const ts_shape *shape);
/** Elements first…first+n of the leading axis. */
ts_arr ts_arr_rows(const ts_arr *array, int64_t first, int64_t n);
/** A new array with undefined contents; ts_arr_free() drops its buffer. */
TS_CHECKED ts_status ts_arr_create(ts_ops *ops, ts_dtype dtype, const ts_shape *shape, ts_arr *out,
                                   ts_error *err);
TS_CHECKED ts_status ts_arr_from_host(ts_ops *ops, ts_dtype dtype, const ts_shape *shape,
                                      const void *data, ts_arr *out, ts_error *err);
/** Read all elements back (waits). */
TS_CHECKED ts_status ts_arr_read(ts_ops *ops, const ts_arr *array, void *dst, ts_error *err);
/** Unref the buffer and zero the struct. */
void ts_arr_free(ts_arr *array);
int64_t ts_arr_elements(const ts_arr *array);
size_t ts_arr_bytes(const ts_arr *array);
/** The array as a tensor that shares its buffer. Owner: caller has one reference. */
TS_CHECKED ts_status ts_arr_tensor(const ts_arr *array, ts_tensor **out, ts_error *err);

/* X(enumerator, what it computes of x with the parameters a and b) — the order is the kernels' */
#define TS_ACT_MAP(X)                                             \
    X(NONE, "x")                                                  \
    X(RELU, "max(x, 0)")                                          \
    X(LEAKY_RELU, "x >= 0 ? x : a*x")                             \
    X(SILU, "x*sigmoid(x)")                                       \
    X(GELU, "x/2*(1 + erf(x/sqrt 2))")                            \
    X(GELU_TANH, "x/2*(1 + tanh(sqrt(2/pi)*(x + 0.044715*x^3)))") \
    X(SIGMOID, "1/(1 + exp(-x)), without overflow")               \
    X(TANH, "tanh(x)")                                            \
    X(ELU, "x > 0 ? x : a*(exp(x) - 1)")                          \
    X(SOFTPLUS, "log(1 + exp(x)), without overflow")              \
    X(HARD_SIGMOID, "clamp(a*x + b, 0, 1)")                       \
    X(HARD_SWISH, "x*clamp(x/6 + 1/2, 0, 1)")                     \
    X(CLAMP, "clamp(x, a, b)")                                    \
    X(AFFINE, "a*x + b")                                          \
    X(EXP, "exp(x)")                                              \
    X(LOG, "log(x)")                                              \
    X(SQRT, "sqrt(x)")                                            \
    X(RSQRT, "1/sqrt(x)")                                         \
    X(RECIPROCAL, "1/x")                                          \
    X(ABS, "|x|")                                                 \
    X(NEG, "-x")                                                  \
    X(ERF, "erf(x)")                                              \
    X(FLOOR, "floor(x)")                                          \
    X(CEIL, "ceil(x)")                                            \
    X(ROUND, "round half to even")                                \
    X(SIGN, "-1, 0 or 1")                                         \
    X(SIN, "sin(x)")                                              \
    X(COS, "cos(x)")                                              \
    X(SQUARE, "x*x")                                              \
    X(MISH, "x*tanh(softplus(x))")                                \
    X(SOFTSIGN, "x/(1 + |x|)")                                    \
    X(SELU, "b*(x > 0 ? x : a*(exp(x) - 1))")                     \
    X(TAN, "tan(x)")                                              \
    X(ATAN, "atan(x)")                                            \
    X(ASIN, "asin(x)")                                            \
    X(ACOS, "acos(x)")                                            \
    X(SINH, "sinh(x)")                                            \
    X(COSH, "cosh(x)")                                            \
    X(ASINH, "asinh(x)")                                          \
    X(ACOSH, "acosh(x)")                                          \
    X(ATANH, "atanh(x)")                                          \
    X(THRESHOLDED_RELU, "x > a ? x : 0")                          \
    X(CELU, "max(x, 0) + min(0, a*(exp(x/a) - 1))")               \
    X(NOT, "x == 0 ? 1 : 0")                                      \
    X(IS_NAN, "1 where NaN")                                      \
    X(IS_INF, "1 where infinite; a, b: whether -inf, +inf count") \
    X(SHRINK, "x < -a ? x + b : x > a ? x - b : 0")

typedef enum ts_act_kind {
#define X(name, text) TS_ACT_##name,
    TS_ACT_MAP(X)
#undef X
    TS_ACT_COUNT
} ts_act_kind;

/** Zero-initialised does nothing. */
typedef struct ts_act {
    ts_act_kind kind;
    float a, b;
} ts_act;

/** y = act(product + bias + residual). The residual has y's shape; `act` may be zero. */
typedef struct ts_epilogue {
    const ts_arr *residual; /* NULL: none */
    ts_act act;
} ts_epilogue;

#ifdef __cplusplus
}
#endif
#endif
