/*
 * Kernels of the built-in demo: three small computations that are worth watching.
 * All arrays are contiguous f32. CPU-friendly: one work-item does a row or a sample.
 */

/*
 * Gray-Scott reaction-diffusion, one explicit Euler step on a torus:
 *   u' = u + du lap(u) - u v v + feed (1 - u),  v' = v + dv lap(v) + u v v - (feed + kill) v
 * lap: 9-point, weights 0.2 (edges), 0.05 (corners), -1 (centre).
 * u, v, u_out, v_out: [h, w]. Global: h rows. Reference: Pearson, Science 261 (1993).
 */
__kernel void demo_reaction(__global const float *restrict u, __global const float *restrict v,
                            __global float *restrict u_out, __global float *restrict v_out, int w,
                            int h, float du, float dv, float feed, float kill)
{
    int y = get_global_id(0);
    if (y >= h)
        return;
    int up = (y == 0 ? h - 1 : y - 1) * w, down = (y == h - 1 ? 0 : y + 1) * w, row = y * w;
    for (int x = 0; x < w; x++) {
        int l = x == 0 ? w - 1 : x - 1, r = x == w - 1 ? 0 : x + 1;
        float uc = u[row + x], vc = v[row + x];
        float lu = 0.2f * (u[up + x] + u[down + x] + u[row + l] + u[row + r]) +
                   0.05f * (u[up + l] + u[up + r] + u[down + l] + u[down + r]) - uc;
        float lv = 0.2f * (v[up + x] + v[down + x] + v[row + l] + v[row + r]) +
                   0.05f * (v[up + l] + v[up + r] + v[down + l] + v[down + r]) - vc;
        float uvv = uc * vc * vc;
        u_out[row + x] = uc + du * lu - uvv + feed * (1.0f - uc);
        v_out[row + x] = vc + dv * lv + uvv - (feed + kill) * vc;
    }
}

/*
 * Damped scalar wave in a closed box, one leapfrog step:
 *   out = (2 - damp) p - (1 - damp) before + c2 lap7(p);  a source drives voxel (sz, sy, sx).
 * p, before, out: [d, h, w]; the border stays 0. Global: h, d.
 */
__kernel void demo_wave(__global const float *restrict p, __global const float *restrict before,
                        __global float *restrict out, int w, int h, int d, float c2, float damp,
                        int sx, int sy, int sz, float drive)
{
    int y = get_global_id(0), z = get_global_id(1);
    if (y >= h || z >= d)
        return;
    int plane = w * h, row = z * plane + y * w;
    bool border = y == 0 || y == h - 1 || z == 0 || z == d - 1;
    for (int x = 0; x < w; x++) {
        int i = row + x;
        float value = 0.0f;
        if (!border && x > 0 && x < w - 1) {
            float lap = p[i - 1] + p[i + 1] + p[i - w] + p[i + w] + p[i - plane] + p[i + plane] -
                        6.0f * p[i];
            value = (2.0f - damp) * p[i] - (1.0f - damp) * before[i] + c2 * lap;
        }
        if (x == sx && y == sy && z == sz)
            value = drive;
        out[i] = value;
    }
}

/*
 * A network 2 -> n Fourier features -> n tanh -> n tanh -> 1 that learns a moving pattern.
 * Forward and backward of one sample per work-item.
 *   points: [batch, 2] in [-1,1]; freq: [n/2, 2]; w1, w2: [n, n]; w3: [n]
 *   f, h1, d1, h2, d2: [batch, n] features, activations and their gradients; err: [batch]
 * Global: batch. n <= 64 and even.
 */
__kernel void demo_train_sample(__global const float *restrict points,
                                __global const float *restrict freq,
                                __global const float *restrict w1,
                                __global const float *restrict w2,
                                __global const float *restrict w3, __global float *restrict f,
                                __global float *restrict h1, __global float *restrict d1,
                                __global float *restrict h2, __global float *restrict d2,
                                __global float *restrict err, int batch, int n, float t)
{
    int s = get_global_id(0);
    if (s >= batch)
        return;
    float x = points[2 * s], y = points[2 * s + 1];
    __global float *fs = f + s * n, *h1s = h1 + s * n, *d1s = d1 + s * n, *h2s = h2 + s * n,
                   *d2s = d2 + s * n;
    for (int k = 0; k < n / 2; k++) {
        float phase = freq[2 * k] * x + freq[2 * k + 1] * y;
        fs[2 * k] = sin(phase);
        fs[2 * k + 1] = cos(phase);
    }
    float out = 0.0f;
    for (int j = 0; j < n; j++) {
        float sum = 0.0f;
        for (int k = 0; k < n; k++)
            sum += w1[j * n + k] * fs[k];
        h1s[j] = tanh(sum);
    }
    for (int j = 0; j < n; j++) {
        float sum = 0.0f;
        for (int k = 0; k < n; k++)
            sum += w2[j * n + k] * h1s[k];
        h2s[j] = tanh(sum);
        out += w3[j] * h2s[j];
    }
    float target = sin(4.0f * (x * cos(t) + y * sin(t))) * cos(3.0f * (y * cos(t) - x * sin(t)));
    float e = out - target;
    err[s] = e;
    for (int j = 0; j < n; j++)
        d2s[j] = e * w3[j] * (1.0f - h2s[j] * h2s[j]);
    for (int k = 0; k < n; k++) {
        float sum = 0.0f;
        for (int j = 0; j < n; j++)
            sum += w2[j * n + k] * d2s[j];
        d1s[k] = sum * (1.0f - h1s[k] * h1s[k]);
    }
}

/*
 * One row of a weight matrix per work-item: momentum step with the batch's mean gradient.
 *   grad[j,k] = mean_s d[s,j] in[s,k];  m = 0.9 m + grad;  w -= rate m
 * d: [batch, rows]; in: [batch, n]; w, m: [rows, n]. Global: rows.
 */
__kernel void demo_train_update(__global const float *restrict d, __global const float *restrict in,
                                __global float *restrict w, __global float *restrict m, int batch,
                                int rows, int n, float rate)
{
    int j = get_global_id(0);
    if (j >= rows)
        return;
    for (int k = 0; k < n; k++) {
        float sum = 0.0f;
        for (int s = 0; s < batch; s++)
            sum += d[s * rows + j] * in[s * n + k];
        float momentum = 0.9f * m[j * n + k] + sum / (float)batch;
        m[j * n + k] = momentum;
        w[j * n + k] -= rate * momentum;
    }
}
