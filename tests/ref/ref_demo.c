#include "tests/ref/ref_demo.h"

#include <math.h>
#include <stddef.h>

static double at(const float *a, int w, int h, int x, int y)
{
    return a[(size_t)((y + h) % h) * w + (x + w) % w];
}

static double laplace(const float *a, int w, int h, int x, int y)
{
    double sum = -at(a, w, h, x, y);
    for (int dy = -1; dy <= 1; dy++)
        for (int dx = -1; dx <= 1; dx++)
            if (dx || dy)
                sum += (dx && dy ? 0.05 : 0.2) * at(a, w, h, x + dx, y + dy);
    return sum;
}

void ref_demo_reaction(const float *u, const float *v, float *u_out, float *v_out, int w, int h,
                       double du, double dv, double feed, double kill)
{
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            double uc = at(u, w, h, x, y), vc = at(v, w, h, x, y), uvv = uc * vc * vc;
            u_out[y * w + x] = (float)(uc + du * laplace(u, w, h, x, y) - uvv + feed * (1 - uc));
            v_out[y * w + x] = (float)(vc + dv * laplace(v, w, h, x, y) + uvv - (feed + kill) * vc);
        }
}

void ref_demo_wave(const float *p, const float *before, float *out, int w, int h, int d, double c2,
                   double damp, int sx, int sy, int sz, double drive)
{
    for (int z = 0; z < d; z++)
        for (int y = 0; y < h; y++)
            for (int x = 0; x < w; x++) {
                int i = (z * h + y) * w + x;
                out[i] = 0;
                if (x > 0 && y > 0 && z > 0 && x < w - 1 && y < h - 1 && z < d - 1)
                    out[i] = (float)((2 - damp) * p[i] - (1 - damp) * before[i] +
                                     c2 * (p[i - 1] + p[i + 1] + p[i - w] + p[i + w] +
                                           p[i - w * h] + p[i + w * h] - 6.0 * p[i]));
                if (x == sx && y == sy && z == sz)
                    out[i] = (float)drive;
            }
}

double ref_demo_loss(const float *points, const float *freq, const float *w1, const float *w2,
                     const float *w3, int batch, int n, double t)
{
    double loss = 0;
    for (int s = 0; s < batch; s++) {
        double x = points[2 * s], y = points[2 * s + 1], f[64], h1[64], out = 0;
        for (int k = 0; k < n / 2; k++) {
            double phase = freq[2 * k] * x + freq[2 * k + 1] * y;
            f[2 * k] = sin(phase);
            f[2 * k + 1] = cos(phase);
        }
        for (int j = 0; j < n; j++) {
            double sum = 0;
            for (int k = 0; k < n; k++)
                sum += w1[j * n + k] * f[k];
            h1[j] = tanh(sum);
        }
        for (int j = 0; j < n; j++) {
            double sum = 0;
            for (int k = 0; k < n; k++)
                sum += w2[j * n + k] * h1[k];
            out += w3[j] * tanh(sum);
        }
        double target = sin(4 * (x * cos(t) + y * sin(t))) * cos(3 * (y * cos(t) - x * sin(t)));
        loss += (out - target) * (out - target) / 2 / batch;
    }
    return loss;
}
