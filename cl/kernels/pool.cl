/*
 * Max and average pooling over [planes][D][H][W] (D = 1 for images), f32. gid 0 walks the outputs.
 * Reference: tests/ref/ref_pool.c.
 */
#include "ops.clh"

typedef struct pool_args {
    int id, ih, iw, od, oh, ow, kd, kh, kw;
    int sz, sy, sx, pz, py, px, dz, dy, dx;
    int bz, by, bx; /* padding behind: windows count up to it */
    int average, count_padding;
} pool_args;

kernel void pool_window(global const float *x, ulong xo, global float *y, ulong yo,
                        global long *index, ulong io, int has_index, pool_args p, ulong n)
{
    TS_EACH(e, n)
    {
        const int ox = e % p.ow, oy = e / p.ow % p.oh, oz = e / ((ulong)p.ow * p.oh) % p.od;
        const ulong plane = e / ((ulong)p.ow * p.oh * p.od);
        const ulong volume = (ulong)p.id * p.ih * p.iw;
        global const float *from = x + xo + plane * volume;
        float best = -INFINITY, sum = 0.0f;
        long at = 0;
        int count = 0;
        for (int kz = 0; kz < p.kd; ++kz) {
            const int iz = oz * p.sz - p.pz + kz * p.dz;
            if (iz >= p.id + p.bz)
                break;
            for (int ky = 0; ky < p.kh; ++ky) {
                const int iy = oy * p.sy - p.py + ky * p.dy;
                if (iy >= p.ih + p.by)
                    break;
                for (int kx = 0; kx < p.kw; ++kx) {
                    const int ix = ox * p.sx - p.px + kx * p.dx;
                    if (ix >= p.iw + p.bx)
                        break;
                    const int inside =
                        iz >= 0 && iz < p.id && iy >= 0 && iy < p.ih && ix >= 0 && ix < p.iw;
                    count += inside || p.count_padding;
                    if (!inside)
                        continue;
                    const long i = ((long)iz * p.ih + iy) * p.iw + ix;
                    const float v = from[i];
                    sum += v;
                    if (v > best || isnan(v)) {
                        best = v;
                        at = i;
                    }
                }
            }
        }
        y[yo + e] = p.average ? (count ? sum / count : 0.0f) : best;
        if (has_index)
            index[io + e] = (long)(plane * volume) + at;
    }
}
