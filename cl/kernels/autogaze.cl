/*
 * AutoGaze: exact 8-bit resampling, normalisation by table, the gate of the decoder's MLP, and the
 * greedy choice of tokens. Reference: recorded runs, tests/unit/test_autogaze.c.
 */
#include "ops.clh"

/*
 * One axis of the 8-bit resampling over RGBA (alpha is not computed): 22 fraction bits, clamped.
 * Lines are `lines`; along them `out` outputs. in(line, i) = line*line_step + i*step pixels.
 * table: first source and count of each output, weights `stride` apart. gid 0 walks the lines.
 */
kernel void autogaze_resample(global const uchar *x, ulong xo, global uchar *y, ulong yo,
                              global const int *first, global const int *weights, int stride,
                              int out, int line_step, int step, int y_line_step, int y_step,
                              ulong lines)
{
    x += xo;
    y += yo;
#ifdef TS_CPU
    TS_PIECE(lines, l0, l1);
    for (ulong line = l0; line < l1; ++line)
        for (int o = 0; o < out; ++o) {
#else
    TS_EACH(e, lines * out)
    {
        const ulong line = e / out;
        const int o = e % out;
        {
#endif
            const int lo = first[2 * o], n = first[2 * o + 1];
            global const int *w = weights + (long)o * stride;
            int4 acc = (int4)(1 << 21);
            for (int t = 0; t < n; ++t)
                acc += convert_int4(vload4(line * line_step + (long)(lo + t) * step, x)) * w[t];
            vstore4(convert_uchar4(clamp(acc >> 22, 0, 255)), line * y_line_step + (long)o * y_step,
                    y);
        }
#ifndef TS_CPU
}
#endif
}

/* RGBA8 [pixels] → planar f32 [3][pixels] by table [3][256]. */
kernel void autogaze_normalize(global const uchar *x, ulong xo, global float *y, ulong yo,
                               global const float *table, ulong pixels)
{
    TS_EACH(i, pixels)
    for (int c = 0; c < 3; ++c)
        y[yo + c * pixels + i] = table[c * 256 + x[xo + 4 * i + c]];
}

/* y[m][i] = silu(x[m][i])·x[m][n + i] over rows of 2n. */
kernel void autogaze_gate(global const float *x, ulong xo, global float *y, ulong yo, uint n,
                          ulong rows)
{
#ifdef TS_CPU
    TS_PIECE(rows, first, last);
    for (ulong m = first; m < last; ++m) {
        global const float *g = x + xo + m * 2 * n, *u = g + n;
        global float *to = y + yo + m * n;
        uint i = 0;
        for (; i + TS_V <= n; i += TS_V) {
            const vf v = VLOAD(g + i);
            VSTORE(v * sigmoid_v(v) * VLOAD(u + i), to + i);
        }
        for (; i < n; ++i)
            to[i] = g[i] * sigmoid_f(g[i]) * u[i];
    }
#else
        TS_EACH(e, rows * n)
        {
            global const float *g = x + xo + e / n * 2 * n + e % n;
            y[yo + e] = g[0] * sigmoid_f(g[0]) * g[n];
        }
#endif
}

/* What a frame's decoding has come to; ints in this order at the start of `state`. */
enum {
    ST_EMITTED, /* tokens so far, stops included */
    ST_STOP,    /* no more: later passes of this frame are void */
    ST_PASSES,  /* choices made */
    ST_BAD,     /* logits were not finite */
    ST_CHUNK,   /* length of the last chunk */
    ST_COVERED, /* lattice cells under valid tokens */
    ST_HEAD = 8
};

typedef struct select_args {
    int k, ids; /* tokens per pass; vocabulary without the stop */
    int most;   /* tokens this frame may emit */
    int has_requirement;
    float requirement;
    int record; /* losses of each pass are kept behind the tokens */
} select_args;

/*
 * Choose the tokens of one pass. logits: [k][ids+1] then [k] losses. state: ST_HEAD ints, then
 * tokens [ids], then flags [ids] (1 valid), then forbidden [ids], then the next pass's ids [k], and
 * with `record` the losses (as bits) of every pass [passes][k].
 * One group; on GPUs of 256 items, which share the search of a row's maximum.
 */
#ifdef TS_CPU
#    define G          1
#    define SYNC(what) /* a group of one */
kernel void autogaze_select(global const float *logits, ulong lo, global int *state, select_args p)
#else
#    define G          256
#    define SYNC(what) barrier(what)
    kernel __attribute__((reqd_work_group_size(G, 1, 1))) void autogaze_select(
        global const float *logits, ulong lo, global int *state, select_args p)
#endif
{
    local float top_v[G];
    local int top_i[G];
    local int bad;
    const int me = get_local_id(0);
    global int *tokens = state + ST_HEAD, *flags = tokens + p.ids, *forbidden = flags + p.ids;
    global int *next = forbidden + p.ids;
    global float *losses = (global float *)(next + p.k);
    if (state[ST_STOP])
        return; /* the whole group: a pass that ran too far */
    int emitted = state[ST_EMITTED], chunk = 0, stop = 0;
    const int pass = state[ST_PASSES];
    logits += lo;
    global const float *loss = logits + p.k * (p.ids + 1);
    if (me == 0)
        bad = 0;
    SYNC(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);
    int wrong = 0;
    for (int i = me; i < p.k * (p.ids + 1) + p.k; i += G)
        wrong |= !isfinite(logits[i]);
    if (wrong)
        bad = 1;
    if (p.record)
        for (int i = me; i < p.k; i += G)
            losses[pass * p.k + i] = loss[i];
    SYNC(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);
    if (bad) {
        if (me == 0) {
            state[ST_BAD] = 1;
            state[ST_STOP] = 1;
        }
        return;
    }
    for (int k = 0; k < p.k; ++k) {
        if (emitted + chunk >= p.most) {
            stop = 1;
            break;
        }
        global const float *row = logits + k * (p.ids + 1);
        float best = -INFINITY;
        int at = -1;
        for (int i = me; i < p.ids; i += G)
            if (!forbidden[i] && (at < 0 || row[i] > best)) {
                best = row[i];
                at = i;
            }
        top_v[me] = best;
        top_i[me] = at;
        SYNC(CLK_LOCAL_MEM_FENCE);
        for (int step = G / 2; step; step /= 2) {
            if (me < step) {
                const int j = top_i[me + step];
                const float v = top_v[me + step];
                /* The lowest id on ties. */
                if (j >= 0 && (top_i[me] < 0 || v > top_v[me] || (v == top_v[me] && j < top_i[me])))
                {
                    top_v[me] = v;
                    top_i[me] = j;
                }
            }
            SYNC(CLK_LOCAL_MEM_FENCE);
        }
        at = top_i[0];
        SYNC(CLK_LOCAL_MEM_FENCE);
        if (at < 0) { /* every id was taken */
            stop = 1;
            break;
        }
        /* Stopped tokens are forbidden too; the frame's very first one is never stopped. */
        const int end = p.has_requirement && loss[k] <= p.requirement && !(pass == 0 && k == 0);
        if (me == 0) {
            forbidden[at] = 1;
            tokens[emitted + chunk] = end ? p.ids : at;
            flags[emitted + chunk] = !end;
            next[chunk] = end ? p.ids : at;
        }
        stop |= end;
        ++chunk;
        SYNC(CLK_GLOBAL_MEM_FENCE);
    }
    if (me == 0) {
        state[ST_EMITTED] = emitted + chunk;
        state[ST_CHUNK] = chunk;
        state[ST_PASSES] = pass + 1;
        state[ST_STOP] = stop || emitted + chunk >= p.most;
        for (int k = chunk; k < p.k; ++k)
            next[k] = p.ids;
    }
}
