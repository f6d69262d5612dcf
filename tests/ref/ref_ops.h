/* Plain C twins of the operator kernels: clear, in double, one element at a time. */
#ifndef TS_TESTS_REF_OPS_H
#define TS_TESTS_REF_OPS_H

#include <stdbool.h>
#include <stdint.h>

#include "cl/ops/conv.h"
#include "cl/ops/ops.h"

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

#endif
