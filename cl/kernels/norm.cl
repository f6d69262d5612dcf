/*
 * Normalisations and softmax. CPU: one work-item per row or group of rows, vectors; GPU: a group of
 * 128 per row, joined through local memory. Variance is that of the population, second pass over
 * the mean. Reference: tests/ref/ref_norm.c.
 */
#include "ops.clh"

#ifdef TS_CPU
static inline float hsum(vf v)
{
    float t[TS_V];
    VSTORE(v, t);
    for (int step = TS_V / 2; step; step /= 2)
        for (int i = 0; i < step; ++i)
            t[i] += t[i + step];
    return t[0];
}

static inline float hmax(vf v)
{
    float t[TS_V];
    VSTORE(v, t);
    for (int step = TS_V / 2; step; step /= 2)
        for (int i = 0; i < step; ++i)
            t[i] = fmax(t[i], t[i + step]);
    return t[0];
}

static inline float sum_of(global const float *x, ulong n)
{
    vf s = (vf)(0.0f);
    ulong i = 0;
    for (; i + TS_V <= n; i += TS_V)
        s += VLOAD(x + i);
    float tail = 0.0f;
    for (; i < n; ++i)
        tail += x[i];
    return hsum(s) + tail;
}

/* Sum of (x - shift)². */
static inline float squares_of(global const float *x, ulong n, float shift)
{
    vf s = (vf)(0.0f);
    ulong i = 0;
    for (; i + TS_V <= n; i += TS_V) {
        const vf d = VLOAD(x + i) - shift;
        s = fma(d, d, s);
    }
    float tail = 0.0f;
    for (; i < n; ++i)
        tail = fma(x[i] - shift, x[i] - shift, tail);
    return hsum(s) + tail;
}

/*
 * x, y: [rows][n]; w, b: [n]. rms: y = x/sqrt(mean(x²)+eps)·w; else (x-mean)/sqrt(var+eps)·w + b.
 * gid 0 walks the rows.
 */
kernel void norm_rows(global const float *x, ulong xo, global const float *w, ulong wo,
                      global const float *b, ulong bo, global float *y, ulong yo, uint n, float eps,
                      int rms, int has_w, int has_b, ulong rows)
{
    TS_PIECE(rows, first, last);
    for (ulong row = first; row < last; ++row) {
        global const float *from = x + xo + row * n;
        global float *to = y + yo + row * n;
        const float mean = rms ? 0.0f : sum_of(from, n) / n;
        const float scale = 1.0f / sqrt(squares_of(from, n, mean) / n + eps);
        uint i = 0;
        for (; i + TS_V <= n; i += TS_V) {
            vf v = (VLOAD(from + i) - mean) * scale;
            if (has_w)
                v *= VLOAD(w + wo + i);
            if (has_b)
                v += VLOAD(b + bo + i);
            VSTORE(v, to + i);
        }
        for (; i < n; ++i) {
            float v = (from[i] - mean) * scale;
            if (has_w)
                v *= w[wo + i];
            if (has_b)
                v += b[bo + i];
            to[i] = v;
        }
    }
}

/*
 * x, y: [N][C][S]; a group is C/groups channels of one picture; w, b: [C]. gid 0 walks the N*groups.
 */
kernel void norm_groups(global const float *x, ulong xo, global const float *w, ulong wo,
                        global const float *b, ulong bo, global float *y, ulong yo, uint channels,
                        ulong s, uint groups, float eps, int has_w, int has_b, int act, float act_a,
                        float act_b, ulong total)
{
    const uint per = channels / groups;
    TS_PIECE(total, first, last);
    for (ulong at = first; at < last; ++at) {
        global const float *from = x + xo + at * per * s;
        global float *to = y + yo + at * per * s;
        const ulong n = per * s;
        const float mean = sum_of(from, n) / n;
        const float scale = 1.0f / sqrt(squares_of(from, n, mean) / n + eps);
        for (uint c = 0; c < per; ++c) {
            const uint channel = at % groups * per + c;
            const float m = has_w ? scale * w[wo + channel] : scale;
            const float add = has_b ? b[bo + channel] : 0.0f;
            ulong i = c * s;
            const ulong end = i + s;
            for (; i + TS_V <= end; i += TS_V)
                VSTORE(act_v(act, act_a, act_b, fma(VLOAD(from + i) - mean, (vf)(m), (vf)(add))),
                       to + i);
            for (; i < end; ++i)
                to[i] = act_f(act, act_a, act_b, fma(from[i] - mean, m, add));
        }
    }
}

/* Softmax over n of [outer][n][inner]; log: its logarithm. gid 0 walks outer*inner. */
kernel void norm_softmax(global const float *x, ulong xo, global float *y, ulong yo, uint n,
                         ulong inner, int is_log, ulong total)
{
    TS_PIECE(total, first, last);
    for (ulong at = first; at < last; ++at) {
        const ulong start = at / inner * n * inner + at % inner;
        global const float *from = x + xo + start;
        global float *to = y + yo + start;
        float top = -INFINITY, sum = 0.0f;
        if (inner != 1) {
            for (uint i = 0; i < n; ++i)
                top = fmax(top, from[i * inner]);
            for (uint i = 0; i < n; ++i) {
                const float e = exp(from[i * inner] - top);
                sum += e;
                if (!is_log)
                    to[i * inner] = e;
            }
            const float scale = 1.0f / sum, lg = log(sum);
            for (uint i = 0; i < n; ++i)
                to[i * inner] = is_log ? from[i * inner] - top - lg : to[i * inner] * scale;
            continue;
        }
        vf vtop = (vf)(-INFINITY), vsum = (vf)(0.0f);
        uint i = 0;
        for (; i + TS_V <= n; i += TS_V)
            vtop = fmax(vtop, VLOAD(from + i));
        top = hmax(vtop);
        for (; i < n; ++i)
            top = fmax(top, from[i]);
        for (i = 0; i + TS_V <= n; i += TS_V) {
            const vf v = VLOAD(from + i) - top, e = exp(v);
            vsum += e;
            VSTORE(is_log ? v : e, to + i);
        }
        for (; i < n; ++i) {
            const float v = from[i] - top, e = exp(v);
            sum += e;
            to[i] = is_log ? v : e;
        }
        sum += hsum(vsum);
        const float scale = is_log ? 1.0f : 1.0f / sum, add = is_log ? -log(sum) : 0.0f;
        for (i = 0; i + TS_V <= n; i += TS_V)
            VSTORE(VLOAD(to + i) * scale + add, to + i);
        for (; i < n; ++i)
            to[i] = to[i] * scale + add;
    }
}

/* y = act(x·scale[c] + shift[c]) over [N][C][S]. gid 0 walks the N*C planes. */
kernel void norm_affine(global const float *x, ulong xo, global const float *scale, ulong so,
                        global const float *shift, ulong ho, global float *y, ulong yo,
                        uint channels, ulong s, int act, float act_a, float act_b, ulong total)
{
    TS_PIECE(total, first, last);
    for (ulong at = first; at < last; ++at) {
        const uint c = at % channels;
        const float m = scale[so + c], add = shift[ho + c];
        ulong i = at * s;
        const ulong end = i + s;
        for (; i + TS_V <= end; i += TS_V)
            VSTORE(act_v(act, act_a, act_b, fma(VLOAD(x + xo + i), (vf)(m), (vf)(add))),
                   y + yo + i);
        for (; i < end; ++i)
            y[yo + i] = act_f(act, act_a, act_b, fma(x[xo + i], m, add));
    }
}

#else /* GPU */

#    define G 128
static inline float join_sum(local float *t, float v)
{
    const uint i = get_local_id(0);
    barrier(CLK_LOCAL_MEM_FENCE);
    t[i] = v;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint step = G / 2; step; step /= 2) {
        if (i < step)
            t[i] += t[i + step];
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    return t[0];
}

static inline float join_max(local float *t, float v)
{
    const uint i = get_local_id(0);
    barrier(CLK_LOCAL_MEM_FENCE);
    t[i] = v;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint step = G / 2; step; step /= 2) {
        if (i < step)
            t[i] = fmax(t[i], t[i + step]);
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    return t[0];
}

kernel __attribute__((reqd_work_group_size(G, 1, 1))) void norm_rows(
    global const float *x, ulong xo, global const float *w, ulong wo, global const float *b,
    ulong bo, global float *y, ulong yo, uint n, float eps, int rms, int has_w, int has_b,
    ulong rows)
{
    local float t[G];
    const ulong row = get_group_id(0);
    global const float *from = x + xo + row * n;
    global float *to = y + yo + row * n;
    float s = 0.0f, q = 0.0f;
    if (!rms)
        for (uint i = get_local_id(0); i < n; i += G)
            s += from[i];
    const float mean = rms ? 0.0f : join_sum(t, s) / n;
    for (uint i = get_local_id(0); i < n; i += G)
        q = fma(from[i] - mean, from[i] - mean, q);
    const float scale = 1.0f / sqrt(join_sum(t, q) / n + eps);
    for (uint i = get_local_id(0); i < n; i += G) {
        float v = (from[i] - mean) * scale;
        if (has_w)
            v *= w[wo + i];
        if (has_b)
            v += b[bo + i];
        to[i] = v;
    }
}

kernel __attribute__((reqd_work_group_size(G, 1, 1))) void norm_groups(
    global const float *x, ulong xo, global const float *w, ulong wo, global const float *b,
    ulong bo, global float *y, ulong yo, uint channels, ulong s, uint groups, float eps, int has_w,
    int has_b, int act, float act_a, float act_b, ulong total)
{
    local float t[G];
    const uint per = channels / groups;
    const ulong at = get_group_id(0), n = per * s;
    global const float *from = x + xo + at * n;
    global float *to = y + yo + at * n;
    float sum = 0.0f, q = 0.0f;
    for (ulong i = get_local_id(0); i < n; i += G)
        sum += from[i];
    const float mean = join_sum(t, sum) / n;
    for (ulong i = get_local_id(0); i < n; i += G)
        q = fma(from[i] - mean, from[i] - mean, q);
    const float scale = 1.0f / sqrt(join_sum(t, q) / n + eps);
    for (ulong i = get_local_id(0); i < n; i += G) {
        const uint channel = at % groups * per + i / s;
        float v = (from[i] - mean) * scale;
        if (has_w)
            v *= w[wo + channel];
        if (has_b)
            v += b[bo + channel];
        to[i] = act_f(act, act_a, act_b, v);
    }
}

kernel __attribute__((reqd_work_group_size(G, 1, 1))) void norm_softmax(global const float *x,
                                                                        ulong xo, global float *y,
                                                                        ulong yo, uint n,
                                                                        ulong inner, int is_log,
                                                                        ulong total)
{
    local float t[G];
    const ulong at = get_group_id(0), start = at / inner * n * inner + at % inner;
    global const float *from = x + xo + start;
    global float *to = y + yo + start;
    float top = -INFINITY, sum = 0.0f;
    for (uint i = get_local_id(0); i < n; i += G)
        top = fmax(top, from[i * inner]);
    top = join_max(t, top);
    for (uint i = get_local_id(0); i < n; i += G)
        sum += exp(from[i * inner] - top);
    sum = join_sum(t, sum);
    const float scale = 1.0f / sum, lg = log(sum);
    for (uint i = get_local_id(0); i < n; i += G) {
        const float v = from[i * inner] - top;
        to[i * inner] = is_log ? v - lg : exp(v) * scale;
    }
}

kernel void norm_affine(global const float *x, ulong xo, global const float *scale, ulong so,
                        global const float *shift, ulong ho, global float *y, ulong yo,
                        uint channels, ulong s, int act, float act_a, float act_b, ulong total)
{
    TS_EACH(i, total * s)
    {
        const uint c = i / s % channels;
        y[yo + i] = act_f(act, act_a, act_b, fma(x[xo + i], scale[so + c], shift[ho + c]));
    }
}
#endif
