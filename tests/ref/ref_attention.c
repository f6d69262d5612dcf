#include <math.h>
#include <stdlib.h>

#include "tests/ref/ref_ops.h"

void ref_attention(int64_t m, int64_t n, int64_t d, int64_t dv, const float *q, const float *k,
                   const float *v, double scale, int64_t causal_first, const uint8_t *valid,
                   const float *mask, float *y)
{
    double *s = calloc((size_t)n + 1, sizeof *s);
    for (int64_t i = 0; i < m; i++) {
        double top = -INFINITY, sum = 0;
        for (int64_t j = 0; j < n; j++) {
            s[j] = 0;
            for (int64_t e = 0; e < d; e++)
                s[j] += (double)q[i * d + e] * k[j * d + e];
            s[j] = s[j] * scale + (mask ? mask[i * n + j] : 0);
            if ((causal_first >= 0 && j > causal_first + i) || (valid && !valid[j]))
                s[j] = -INFINITY;
            top = fmax(top, s[j]);
        }
        for (int64_t j = 0; j < n; j++) {
            s[j] = top == -INFINITY ? 0 : exp(s[j] - top);
            sum += s[j];
        }
        for (int64_t e = 0; e < dv; e++) {
            double a = 0;
            for (int64_t j = 0; j < n; j++)
                a += s[j] * v[j * dv + e];
            y[i * dv + e] = (float)(sum > 0 ? a / sum : 0);
        }
    }
    free(s);
}
