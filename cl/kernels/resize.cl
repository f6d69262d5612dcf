/*
 * Resampling of [planes][H][W] f32 with a table of taps per axis, made on the host in double:
 * out(o) = Σ_t weight[o][t] · in(index[o][t]). One pass over both axes.
 * Reference: tests/unit/test_reduce.c (the taps one by one).
 */
#include "ops.clh"

typedef struct resize_args {
    int ih, iw, oh, ow, ty, tx; /* taps per output row and column */
} resize_args;

#ifdef TS_CPU
/*
 * gid 0 walks the output rows of all planes. A row is first joined over its ty source rows (vectors)
 * into this item's part of `scratch` [items][iw], then along x.
 */
kernel void resize_taps(global const float *restrict x, ulong xo, global float *restrict y,
                        ulong yo, global const int *restrict iy, global const float *restrict wy,
                        global const int *restrict ix, global const float *restrict wx,
                        global float *restrict scratch, resize_args p, ulong rows)
{
    global float *restrict line = scratch + get_global_id(0) * (ulong)p.iw;
    TS_PIECE(rows, first, last);
    for (ulong row = first; row < last; ++row) {
        const ulong plane = row / p.oh;
        const int oy = row % p.oh;
        global const float *restrict from = x + xo + plane * p.ih * p.iw;
        global const float *restrict src = line;
        if (p.ty == 1 && wy[oy] == 1.0f) {
            src = from + (ulong)iy[oy] * p.iw;
        } else {
            for (int t = 0; t < p.ty; ++t) {
                global const float *restrict r = from + (ulong)iy[oy * p.ty + t] * p.iw;
                const float w = wy[oy * p.ty + t];
                int c = 0;
                for (; c + TS_V <= p.iw; c += TS_V) {
                    const vf v = VLOAD(r + c) * w;
                    VSTORE(t ? VLOAD(line + c) + v : v, line + c);
                }
                for (; c < p.iw; ++c)
                    line[c] = t ? line[c] + r[c] * w : r[c] * w;
            }
        }
        global float *restrict to = y + yo + row * p.ow;
        if (p.tx == 1) {
            for (int c = 0; c < p.ow; ++c)
                to[c] = src[ix[c]] * wx[c];
        } else if (p.tx == 2) {
            for (int c = 0; c < p.ow; ++c)
                to[c] = src[ix[2 * c]] * wx[2 * c] + src[ix[2 * c + 1]] * wx[2 * c + 1];
        } else {
            for (int c = 0; c < p.ow; ++c) {
                float s = 0.0f;
                for (int t = 0; t < p.tx; ++t)
                    s = fma(src[ix[c * p.tx + t]], wx[c * p.tx + t], s);
                to[c] = s;
            }
        }
    }
}
#else
/* One output value per item. */
kernel void resize_taps(global const float *restrict x, ulong xo, global float *restrict y,
                        ulong yo, global const int *restrict iy, global const float *restrict wy,
                        global const int *restrict ix, global const float *restrict wx,
                        global float *restrict scratch, resize_args p, ulong rows)
{
    TS_EACH(e, rows * p.ow)
    {
        const int ox = e % p.ow, oy = e / p.ow % p.oh;
        global const float *restrict from = x + xo + e / ((ulong)p.ow * p.oh) * p.ih * p.iw;
        float s = 0.0f;
        for (int t = 0; t < p.ty; ++t) {
            global const float *restrict r = from + (ulong)iy[oy * p.ty + t] * p.iw;
            float line = 0.0f;
            for (int u = 0; u < p.tx; ++u)
                line = fma(r[ix[ox * p.tx + u]], wx[ox * p.tx + u], line);
            s = fma(line, wy[oy * p.ty + t], s);
        }
        y[yo + e] = s;
    }
}
#endif
