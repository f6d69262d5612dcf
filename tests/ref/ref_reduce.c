#include <math.h>

#include "tests/ref/ref_ops.h"

void ref_reduce(ts_reduce op, const float *x, int64_t outer, int64_t n, int64_t inner, float *y)
{
    for (int64_t o = 0; o < outer; o++)
        for (int64_t c = 0; c < inner; c++) {
            double s = 0, l1 = 0, sq = 0, e = 0, p = 1, lo = INFINITY, hi = -INFINITY;
            for (int64_t i = 0; i < n; i++) {
                double v = x[(o * n + i) * inner + c];
                s += v;
                l1 += fabs(v);
                sq += v * v;
                e += exp(v);
                p *= v;
                lo = isnan(v) || v < lo ? v : lo;
                hi = isnan(v) || v > hi ? v : hi;
            }
            const double all[] = {s, s / (double)n, hi, lo, p, l1, sqrt(sq), sq, log(s), log(e)};
            y[o * inner + c] = (float)all[op];
        }
}
