/* Plain C twins of the operator kernels: clear, in double, one element at a time. */
#ifndef TS_TESTS_REF_OPS_H
#define TS_TESTS_REF_OPS_H

#include <stdbool.h>
#include <stdint.h>

#include "cl/ops/conv.h"
#include "cl/ops/move.h"
#include "cl/ops/ops.h"
#include "cl/ops/pointwise.h"
#include "cl/ops/pool.h"
#include "cl/ops/reduce.h"

double ref_act(const ts_act *act, double x);

/* c [M,N] = act(alpha * a·b + bias + residual); a [M,K] or trans [K,M], b [K,N] or trans [N,K];
 * bias [N], or [M] with bias_rows; NULLs are absent. */
void ref_gemm(int64_t m, int64_t n, int64_t k, const float *a, bool trans_a, const float *b,
              bool trans_b, double alpha, const float *bias, bool bias_rows, const float *residual,
              const ts_act *act, float *c);

/* x [N,in,ID,IH,IW], y [N,out,OD,OH,OW] (D = 1 for images). */
void ref_conv(const ts_conv_geometry *g, const float *x, int64_t n, const int64_t in_size[3],
              const int64_t out_size[3], const float *w, const float *bias, const float *residual,
              const ts_act *act, float *y);

double ref_binary(ts_binary op, double a, double b);
/* Flat index into an array of shape x of the element that position i of shape y reads. */
int64_t ref_broadcast_index(const ts_shape *x, const ts_shape *y, int64_t i);

void ref_norm_rows(const float *x, int64_t rows, int64_t n, const float *w, const float *b,
                   double eps, bool rms, float *y);
void ref_norm_groups(const float *x, int64_t n, int64_t channels, int64_t s, const float *w,
                     const float *b, int64_t groups, double eps, const ts_act *act, float *y);
void ref_softmax(const float *x, int64_t outer, int64_t n, int64_t inner, bool logarithm, float *y);

/* Padded or cropped copy; front may be negative. */
void ref_pad(const float *x, const ts_shape *in, const int64_t *front, ts_pad_mode mode,
             float value, const ts_shape *out, float *y);

/* [outer][n][inner] → [outer][inner]. */
void ref_reduce(ts_reduce op, const float *x, int64_t outer, int64_t n, int64_t inner, float *y);

void ref_pool(const ts_pool *p, const float *x, int64_t planes, const int64_t in[3],
              const int64_t out[3], float *y, int64_t *index);

/* One head: q [m][d], k [n][d], v [n][dv], y [m][dv]; valid [n] and mask [m][n] may be NULL. */
void ref_attention(int64_t m, int64_t n, int64_t d, int64_t dv, const float *q, const float *k,
                   const float *v, double scale, int64_t causal_first, const uint8_t *valid,
                   const float *mask, float *y);

#endif
