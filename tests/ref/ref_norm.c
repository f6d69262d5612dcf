#include <math.h>

#include "tests/ref/ref_ops.h"

static void moments(const float *x, int64_t n, double *mean, double *var)
{
    double s = 0, q = 0;
    for (int64_t i = 0; i < n; i++)
        s += x[i];
    *mean = s / (double)n;
    for (int64_t i = 0; i < n; i++)
        q += (x[i] - *mean) * (x[i] - *mean);
    *var = q / (double)n;
}

void ref_norm_rows(const float *x, int64_t rows, int64_t n, const float *w, const float *b,
                   double eps, bool rms, float *y)
{
    for (int64_t r = 0; r < rows; r++) {
        const float *from = x + r * n;
        double mean, var;
        moments(from, n, &mean, &var);
        if (rms) {
            var += mean * mean; /* mean of squares */
            mean = 0;
        }
        for (int64_t i = 0; i < n; i++)
            y[r * n + i] =
                (float)((from[i] - mean) / sqrt(var + eps) * (w ? w[i] : 1.0) + (b ? b[i] : 0.0));
    }
}

void ref_norm_groups(const float *x, int64_t n, int64_t channels, int64_t s, const float *w,
                     const float *b, int64_t groups, double eps, const ts_act *act, float *y)
{
    int64_t per = channels / groups;
    for (int64_t g = 0; g < n * groups; g++) {
        double mean, var;
        moments(x + g * per * s, per * s, &mean, &var);
        for (int64_t i = 0; i < per * s; i++) {
            int64_t c = g % groups * per + i / s;
            double v =
                (x[g * per * s + i] - mean) / sqrt(var + eps) * (w ? w[c] : 1.0) + (b ? b[c] : 0.0);
            y[g * per * s + i] = (float)(act ? ref_act(act, v) : v);
        }
    }
}

void ref_softmax(const float *x, int64_t outer, int64_t n, int64_t inner, bool logarithm, float *y)
{
    for (int64_t o = 0; o < outer; o++)
        for (int64_t c = 0; c < inner; c++) {
            const float *from = x + o * n * inner + c;
            float *to = y + o * n * inner + c;
            double top = -INFINITY, sum = 0;
            for (int64_t i = 0; i < n; i++)
                top = fmax(top, from[i * inner]);
            for (int64_t i = 0; i < n; i++)
                sum += exp(from[i * inner] - top);
            for (int64_t i = 0; i < n; i++) {
                double v = from[i * inner] - top;
                to[i * inner] = (float)(logarithm ? v - log(sum) : exp(v) / sum);
            }
        }
}
