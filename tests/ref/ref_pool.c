#include <math.h>

#include "tests/ref/ref_ops.h"

void ref_pool(const ts_pool *p, const float *x, int64_t planes, const int64_t in[3],
              const int64_t out[3], float *y, int64_t *index)
{
    int64_t at = 0, volume = in[0] * in[1] * in[2];
    for (int64_t c = 0; c < planes; c++)
        for (int64_t z = 0; z < out[0]; z++)
            for (int64_t r = 0; r < out[1]; r++)
                for (int64_t q = 0; q < out[2]; q++, at++) {
                    const int64_t o[3] = {z, r, q};
                    int64_t k[3], i[3], count = 0, best_at = 0;
                    double sum = 0, best = -INFINITY;
                    int64_t kd = p->kernel[0] ? p->kernel[0] : 1;
                    for (k[0] = 0; k[0] < kd; k[0]++)
                        for (k[1] = 0; k[1] < p->kernel[1]; k[1]++)
                            for (k[2] = 0; k[2] < p->kernel[2]; k[2]++) {
                                bool inside = true, padded = true;
                                for (int a = 0; a < 3; a++) {
                                    int64_t st = p->stride[a] ? p->stride[a] : 1;
                                    int64_t dl = p->dilation[a] ? p->dilation[a] : 1;
                                    i[a] = o[a] * st - p->pad_front[a] + k[a] * dl;
                                    inside = inside && i[a] >= 0 && i[a] < in[a];
                                    padded = padded && i[a] < in[a] + p->pad_back[a];
                                }
                                count += inside || (p->count_padding && padded);
                                if (!inside)
                                    continue;
                                int64_t e = (i[0] * in[1] + i[1]) * in[2] + i[2];
                                double v = x[c * volume + e];
                                sum += v;
                                if (v > best) {
                                    best = v;
                                    best_at = c * volume + e;
                                }
                            }
                    y[at] = (float)(p->average ? sum / (double)count : best);
                    if (index)
                        index[at] = best_at;
                }
}
