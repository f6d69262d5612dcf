#include "tests/ref/ref_ops.h"

static int64_t source(const ts_conv_geometry *g, int axis, int64_t o, int64_t k, int64_t size)
{
    int64_t dil = g->dilation[axis] ? g->dilation[axis] : 1;
    int64_t stride = g->stride[axis] ? g->stride[axis] : 1, i;
    if (g->transposed) {
        i = o + g->pad_front[axis] - k * dil;
        if (i < 0 || i % stride)
            return -1;
        i /= stride;
    } else {
        i = o * stride - g->pad_front[axis] + k * dil;
    }
    return i >= 0 && i < size ? i : -1;
}

void ref_conv(const ts_conv_geometry *g, const float *x, int64_t n, const int64_t in[3],
              const int64_t out[3], const float *w, const float *bias, const float *residual,
              const ts_act *act, float *y)
{
    int64_t groups = g->groups ? g->groups : 1, ic = g->in / groups, oc = g->out / groups;
    int64_t kd = g->kernel[0] ? g->kernel[0] : 1, kh = g->kernel[1], kw = g->kernel[2];
    int64_t at = 0;
    for (int64_t b = 0; b < n; b++)
        for (int64_t o = 0; o < g->out; o++)
            for (int64_t z = 0; z < out[0]; z++)
                for (int64_t r = 0; r < out[1]; r++)
                    for (int64_t c = 0; c < out[2]; c++, at++) {
                        double s = bias ? bias[o] : 0;
                        int64_t group = o / oc;
                        for (int64_t i = 0; i < ic; i++)
                            for (int64_t a = 0; a < kd; a++)
                                for (int64_t p = 0; p < kh; p++)
                                    for (int64_t q = 0; q < kw; q++) {
                                        int64_t iz = source(g, 0, z, a, in[0]);
                                        int64_t iy = source(g, 1, r, p, in[1]);
                                        int64_t ix = source(g, 2, c, q, in[2]);
                                        if (iz < 0 || iy < 0 || ix < 0)
                                            continue;
                                        int64_t xi =
                                            (((b * g->in + group * ic + i) * in[0] + iz) * in[1] +
                                             iy) *
                                                in[2] +
                                            ix;
                                        int64_t tap = (a * kh + p) * kw + q, taps = kd * kh * kw;
                                        int64_t wi = g->transposed
                                                         ? ((group * ic + i) * oc + o % oc) * taps
                                                         : (o * ic + i) * taps;
                                        s += (double)x[xi] * w[wi + tap];
                                    }
                        if (residual)
                            s += residual[at];
                        y[at] = (float)(act ? ref_act(act, s) : s);
                    }
}
