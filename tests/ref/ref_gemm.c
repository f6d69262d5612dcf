#include "tests/ref/ref_ops.h"

void ref_gemm(int64_t m, int64_t n, int64_t k, const float *a, bool trans_a, const float *b,
              bool trans_b, double alpha, const float *bias, bool bias_rows, const float *residual,
              const ts_act *act, float *c)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double s = 0;
            for (int64_t kk = 0; kk < k; kk++)
                s += (double)(trans_a ? a[kk * m + i] : a[i * k + kk]) *
                     (trans_b ? b[j * k + kk] : b[kk * n + j]);
            s *= alpha;
            if (bias)
                s += bias_rows ? bias[i] : bias[j];
            if (residual)
                s += residual[i * n + j];
            c[i * n + j] = (float)(act ? ref_act(act, s) : s);
        }
}
