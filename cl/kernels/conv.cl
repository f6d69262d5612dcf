/*
 * Convolutions over [N,C,D,H,W] (D = 1 for images) as implicit products:
 *   y[n,oc,:] = act(W[oc,:] · patches[:,pixel] + bias[oc] + residual), k = ((ic*KD+kz)*KH+ky)*KW+kx.
 *
 * CPU: one work-item gathers NR pixels of all patches into its own panel (consecutive pixels of a row
 * are copied as vectors) and runs the register tile of gemm.clh over the packed weights, so a panel
 * is read from the cache by every row tile. GPU: 64 x 64 tiles through local memory.
 * Padding is zero; other paddings are made before. Transposed convolutions gather the input pixels
 * whose stride hits the output pixel. Reference: tests/ref/ref_conv.c.
 */
#include "gemm.clh"

typedef struct conv_args {
    int N, groups, IC, OC; /* channels per group */
    int ID, IH, IW, OD, OH, OW;
    int KD, KH, KW;
    int sz, sy, sx, pz, py, px, dz, dy, dx; /* stride, padding in front, dilation */
    int transposed;
    int has_bias, has_residual, act;
    float act_a, act_b;
} conv_args;

/* Input coordinate that kernel tap k of output o reads; -1 outside. */
static inline int conv_source(int o, int k, int stride, int pad, int dilation, int size,
                              int transposed)
{
    int i;
    if (transposed) {
        i = o + pad - k * dilation;
        if (i < 0 || i % stride)
            return -1;
        i /= stride;
    } else {
        i = o * stride - pad + k * dilation;
    }
    return i >= 0 && i < size ? i : -1;
}

#ifdef TS_CPU

/*
 * A run: `len` pixels of one output row, columns j… of the panel. Every tap's pixels are consecutive
 * in the input row when the stride is 1.
 */
static inline void conv_gather_run(global const float *restrict x, global float *restrict panel,
                                   conv_args p, int n, int oz, int oy, int ox, int len, int group)
{
    const long plane = (long)p.IH * p.IW, volume = plane * p.ID;
    global const float *xn = x + ((long)n * p.groups + group) * p.IC * volume;
    global float *to = panel;
    for (int ic = 0; ic < p.IC; ++ic)
        for (int kz = 0; kz < p.KD; ++kz) {
            const int iz = conv_source(oz, kz, p.sz, p.pz, p.dz, p.ID, p.transposed);
            for (int ky = 0; ky < p.KH; ++ky) {
                const int iy = conv_source(oy, ky, p.sy, p.py, p.dy, p.IH, p.transposed);
                global const float *row = xn + ic * volume + iz * plane + (long)iy * p.IW;
                for (int kx = 0; kx < p.KW; ++kx, to += NR) {
                    if (iz < 0 || iy < 0) {
                        for (int i = 0; i < len; ++i)
                            to[i] = 0.0f;
                        continue;
                    }
                    if (p.sx != 1 || p.transposed) {
                        for (int i = 0; i < len; ++i) {
                            const int ix =
                                conv_source(ox + i, kx, p.sx, p.px, p.dx, p.IW, p.transposed);
                            to[i] = ix < 0 ? 0.0f : row[ix];
                        }
                        continue;
                    }
                    const int ix = ox - p.px + kx * p.dx;
                    if (ix >= 0 && ix + len <= p.IW) {
                        if (len == NR) {
                            VSTORE(VLOAD(row + ix), to);
                            VSTORE(VLOAD(row + ix + TS_V), to + TS_V);
                        } else if (len == TS_V) {
                            VSTORE(VLOAD(row + ix), to);
                        } else {
                            for (int i = 0; i < len; ++i)
                                to[i] = row[ix + i];
                        }
                        continue;
                    }
                    for (int i = 0; i < len; ++i)
                        to[i] = ix + i >= 0 && ix + i < p.IW ? row[ix + i] : 0.0f;
                }
            }
        }
}

/*
 * gid 0: share of the row tiles, gid 1: slot (walks the panels with a stride of the slots), gid 2:
 * group. `scratch` has one panel of K*NR floats per work-item.
 */
kernel void conv_panel(global const float *restrict x, ulong xo, global const float *restrict w,
                       ulong wo, global float *restrict y, ulong yo,
                       global const float *restrict bias, ulong bo,
                       global const float *restrict residual, ulong ro,
                       global float *restrict scratch, conv_args p)
{
    const int share = get_global_id(0), shares = get_global_size(0);
    const int slot = get_global_id(1), slots = get_global_size(1), group = get_global_id(2);
    const int K = p.IC * p.KD * p.KH * p.KW;
    const int tiles = (p.OC + MR - 1) / MR;
    const int plane = p.OH * p.OW, volume = plane * p.OD, columns = p.N * volume;
    const int panels = (columns + NR - 1) / NR;
    global float *panel = scratch + (((ulong)group * slots + slot) * shares + share) * K * NR;
    x += xo;
    w += wo + (ulong)group * tiles * K * MR;
    for (int at = slot; at < panels; at += slots) {
        const int q0 = at * NR, cols = min(NR, columns - q0);
        long start[NR]; /* where each column lies in y, without the channel */
        for (int j = 0; j < cols;) {
            const int n = (q0 + j) / volume, v = (q0 + j) % volume;
            const int oz = v / plane, oy = v % plane / p.OW, ox = v % p.OW;
            const int len = min(cols - j, p.OW - ox);
            conv_gather_run(x, panel + j, p, n, oz, oy, ox, len, group);
            for (int i = 0; i < len; ++i)
                start[j + i] = ((long)n * p.groups + group) * p.OC * volume + v + i;
            j += len;
        }
        if (cols < NR)
            for (int k = 0; k < K; ++k)
                for (int j = cols; j < NR; ++j)
                    panel[(long)k * NR + j] = 0.0f;
        const int dense = cols == NR && start[NR - 1] - start[0] == NR - 1;
        for (int tile = share; tile < tiles; tile += shares) {
            GEMM_TILE(w + (ulong)tile * K * MR, panel, K)
            float out[MR * NR];
            GEMM_TILE_STORE(out)
            const int rows = min(MR, p.OC - tile * MR);
            for (int r = 0; r < rows; ++r) {
                const int oc = tile * MR + r;
                const float b = p.has_bias ? bias[bo + group * p.OC + oc] : 0.0f;
                if (dense) {
                    const ulong to = start[0] + (ulong)oc * volume;
                    vf v0 = VLOAD(out + r * NR) + b, v1 = VLOAD(out + r * NR + TS_V) + b;
                    if (p.has_residual) {
                        v0 += VLOAD(residual + ro + to);
                        v1 += VLOAD(residual + ro + to + TS_V);
                    }
                    VSTORE(act_v(p.act, p.act_a, p.act_b, v0), y + yo + to);
                    VSTORE(act_v(p.act, p.act_a, p.act_b, v1), y + yo + to + TS_V);
                    continue;
                }
                for (int j = 0; j < cols; ++j) {
                    const ulong to = start[j] + (ulong)oc * volume;
                    float v = out[r * NR + j] + b;
                    if (p.has_residual)
                        v += residual[ro + to];
                    y[yo + to] = act_f(p.act, p.act_a, p.act_b, v);
                }
            }
        }
    }
}

/*
 * Depthwise: one input channel per group, OC output channels of it. gid 0 walks the output planes
 * (n, channel); weights are plain [groups*OC][KD*KH*KW].
 */
kernel void conv_depthwise(global const float *restrict x, ulong xo, global const float *restrict w,
                           ulong wo, global float *restrict y, ulong yo,
                           global const float *restrict bias, ulong bo,
                           global const float *restrict residual, ulong ro, conv_args p)
{
    const int channels = p.groups * p.OC, taps = p.KD * p.KH * p.KW;
    const long in_volume = (long)p.ID * p.IH * p.IW;
    const int rows = p.N * channels * p.OD * p.OH;
    TS_PIECE((ulong)rows, first, last);
    for (ulong at = first; at < last; ++at) {
        const int oy = at % p.OH, oz = at / p.OH % p.OD;
        const int c = at / ((ulong)p.OH * p.OD) % channels;
        const int n = at / ((ulong)p.OH * p.OD * channels);
        global const float *xc = x + xo + ((long)n * p.groups + c / p.OC) * in_volume;
        global const float *wc = w + wo + (long)c * taps;
        const ulong to = at * p.OW;
        const float b = p.has_bias ? bias[bo + c] : 0.0f;
        int ox = 0;
        if (p.sx == 1 && !p.transposed)
            for (; ox + TS_V <= p.OW; ox += TS_V) {
                vf s = (vf)(b);
                for (int kz = 0; kz < p.KD; ++kz) {
                    const int iz = conv_source(oz, kz, p.sz, p.pz, p.dz, p.ID, 0);
                    for (int ky = 0; ky < p.KH && iz >= 0; ++ky) {
                        const int iy = conv_source(oy, ky, p.sy, p.py, p.dy, p.IH, 0);
                        if (iy < 0)
                            continue;
                        global const float *row = xc + ((long)iz * p.IH + iy) * p.IW;
                        for (int kx = 0; kx < p.KW; ++kx) {
                            const int ix = ox - p.px + kx * p.dx;
                            vf v;
                            if (ix >= 0 && ix + TS_V <= p.IW) {
                                v = VLOAD(row + ix);
                            } else {
                                float edge[TS_V];
                                for (int i = 0; i < TS_V; ++i)
                                    edge[i] = ix + i >= 0 && ix + i < p.IW ? row[ix + i] : 0.0f;
                                v = VLOAD(edge);
                            }
                            s = fma((vf)(wc[(kz * p.KH + ky) * p.KW + kx]), v, s);
                        }
                    }
                }
                if (p.has_residual)
                    s += VLOAD(residual + ro + to + ox);
                VSTORE(act_v(p.act, p.act_a, p.act_b, s), y + yo + to + ox);
            }
        for (; ox < p.OW; ++ox) {
            float s = b;
            for (int kz = 0; kz < p.KD; ++kz) {
                const int iz = conv_source(oz, kz, p.sz, p.pz, p.dz, p.ID, p.transposed);
                for (int ky = 0; ky < p.KH && iz >= 0; ++ky) {
                    const int iy = conv_source(oy, ky, p.sy, p.py, p.dy, p.IH, p.transposed);
                    for (int kx = 0; kx < p.KW && iy >= 0; ++kx) {
                        const int ix = conv_source(ox, kx, p.sx, p.px, p.dx, p.IW, p.transposed);
                        if (ix >= 0)
                            s = fma(wc[(kz * p.KH + ky) * p.KW + kx],
                                    xc[((long)iz * p.IH + iy) * p.IW + ix], s);
                    }
                }
            }
            if (p.has_residual)
                s += residual[ro + to + ox];
            y[yo + to + ox] = act_f(p.act, p.act_a, p.act_b, s);
        }
    }
}

#else /* GPU */

#    define BT 64
#    define BK 16

/*
 * 64 channels x 64 pixels per group of 256. Groups: 0 pixels, 1 channels, 2 group x splits of K.
 * Weights are plain [groups][OC][K].
 */
kernel __attribute__((reqd_work_group_size(256, 1, 1))) void conv_tile(
    global const float *restrict x, ulong xo, global const float *restrict w, ulong wo,
    global float *restrict y, ulong yo, global const float *restrict bias, ulong bo,
    global const float *restrict residual, ulong ro, global float *restrict part, uint splits,
    conv_args p)
{
    local float sa[BK][BT + 1], sb[BK][BT + 1];
    const int t = get_local_id(0), tx = t & 15, ty = t >> 4;
    const int K = p.IC * p.KD * p.KH * p.KW;
    const int plane = p.OH * p.OW, volume = plane * p.OD, columns = p.N * volume;
    const int q0 = get_group_id(0) * BT, oc0 = get_group_id(1) * BT;
    const int group = get_group_id(2) / splits, split = get_group_id(2) % splits;
    const int per = ((K + (int)splits - 1) / (int)splits + BK - 1) / BK * BK;
    const int k0 = split * per, k1 = min(K, k0 + per);
    const long in_plane = (long)p.IH * p.IW, in_volume = in_plane * p.ID;
    w += wo + (ulong)group * p.OC * K;

    /* Each item gathers one pixel's column of patches: its place is found once. */
    const int q = q0 + (t & 63), live = q < columns;
    const int n = q / volume, v = q % volume;
    const int oz = v / plane, oy = v % plane / p.OW, ox = v % p.OW;
    global const float *xn = x + xo + ((long)n * p.groups + group) * p.IC * in_volume;

    float s[4][4];
    for (int i = 0; i < 4; ++i)
        for (int j = 0; j < 4; ++j)
            s[i][j] = 0.0f;
    /* The next step's operands are read into registers while this one is multiplied. */
    float ra[BK * BT / 256], rb[BK * BT / 256];
    for (int k = k0; k < k1 + BK; k += BK) {
        if (k > k0) {
            barrier(CLK_LOCAL_MEM_FENCE);
            for (int u = 0; u < BK * BT / 256; ++u) {
                const int i = t + u * 256;
                sa[i & 15][i >> 4] = ra[u];
                sb[(t >> 6) + 4 * u][t & 63] = rb[u];
            }
            barrier(CLK_LOCAL_MEM_FENCE);
        }
        for (int u = 0; u < BK * BT / 256 && k < k1; ++u) {
            const int i = t + u * 256, kk = i & 15, m = i >> 4;
            ra[u] = k + kk < k1 && oc0 + m < p.OC ? w[(ulong)(oc0 + m) * K + k + kk] : 0.0f;
            const int at = k + (t >> 6) + 4 * u;
            float value = 0.0f;
            if (live && at < k1) {
                const int kx = at % p.KW, ky = at / p.KW % p.KH;
                const int kz = at / (p.KW * p.KH) % p.KD, ic = at / (p.KW * p.KH * p.KD);
                const int iz = conv_source(oz, kz, p.sz, p.pz, p.dz, p.ID, p.transposed);
                const int iy = conv_source(oy, ky, p.sy, p.py, p.dy, p.IH, p.transposed);
                const int ix = conv_source(ox, kx, p.sx, p.px, p.dx, p.IW, p.transposed);
                if (iz >= 0 && iy >= 0 && ix >= 0)
                    value = xn[ic * in_volume + iz * in_plane + (long)iy * p.IW + ix];
            }
            rb[u] = value;
        }
        for (int kk = 0; kk < BK && k > k0; ++kk) {
            float va[4], vb[4];
            for (int i = 0; i < 4; ++i)
                va[i] = sa[kk][ty * 4 + i];
            for (int j = 0; j < 4; ++j)
                vb[j] = sb[kk][tx + 16 * j];
            for (int i = 0; i < 4; ++i)
                for (int j = 0; j < 4; ++j)
                    s[i][j] = fma(va[i], vb[j], s[i][j]);
        }
    }
    for (int j = 0; j < 4; ++j) {
        const int qq = q0 + tx + 16 * j;
        if (qq >= columns)
            continue;
        for (int i = 0; i < 4; ++i) {
            const int oc = oc0 + ty * 4 + i;
            if (oc >= p.OC)
                break;
            const ulong to =
                (((ulong)(qq / volume) * p.groups + group) * p.OC + oc) * volume + qq % volume;
            if (splits > 1) {
                part[(ulong)split * p.N * p.groups * p.OC * volume + to] = s[i][j];
                continue;
            }
            float r = s[i][j];
            if (p.has_bias)
                r += bias[bo + group * p.OC + oc];
            if (p.has_residual)
                r += residual[ro + to];
            y[yo + to] = act_f(p.act, p.act_a, p.act_b, r);
        }
    }
}

/* Sum the splits of conv_tile and apply the epilogue. gid 0 over the n values of y. */
kernel void conv_join(global const float *restrict part, uint splits, global float *restrict y,
                      ulong yo, global const float *restrict bias, ulong bo,
                      global const float *restrict residual, ulong ro, conv_args p, ulong n)
{
    const ulong volume = (ulong)p.OD * p.OH * p.OW;
    TS_EACH(i, n)
    {
        float v = 0.0f;
        for (uint s = 0; s < splits; ++s)
            v += part[s * n + i];
        if (p.has_bias)
            v += bias[bo + i / volume % (p.groups * p.OC)];
        if (p.has_residual)
            v += residual[ro + i];
        y[yo + i] = act_f(p.act, p.act_a, p.act_b, v);
    }
}

/* Depthwise, one value of y per work-item. */
kernel void conv_depthwise(global const float *restrict x, ulong xo, global const float *restrict w,
                           ulong wo, global float *restrict y, ulong yo,
                           global const float *restrict bias, ulong bo,
                           global const float *restrict residual, ulong ro, conv_args p)
{
    const int channels = p.groups * p.OC, taps = p.KD * p.KH * p.KW;
    const long in_volume = (long)p.ID * p.IH * p.IW;
    const ulong total = (ulong)p.N * channels * p.OD * p.OH * p.OW;
    TS_EACH(at, total)
    {
        const int ox = at % p.OW, oy = at / p.OW % p.OH, oz = at / ((ulong)p.OW * p.OH) % p.OD;
        const int c = at / ((ulong)p.OW * p.OH * p.OD) % channels;
        const int n = at / ((ulong)p.OW * p.OH * p.OD * channels);
        global const float *xc = x + xo + ((long)n * p.groups + c / p.OC) * in_volume;
        global const float *wc = w + wo + (long)c * taps;
        float s = p.has_bias ? bias[bo + c] : 0.0f;
        for (int kz = 0; kz < p.KD; ++kz) {
            const int iz = conv_source(oz, kz, p.sz, p.pz, p.dz, p.ID, p.transposed);
            for (int ky = 0; ky < p.KH && iz >= 0; ++ky) {
                const int iy = conv_source(oy, ky, p.sy, p.py, p.dy, p.IH, p.transposed);
                for (int kx = 0; kx < p.KW && iy >= 0; ++kx) {
                    const int ix = conv_source(ox, kx, p.sx, p.px, p.dx, p.IW, p.transposed);
                    if (ix >= 0)
                        s = fma(wc[(kz * p.KH + ky) * p.KW + kx],
                                xc[((long)iz * p.IH + iy) * p.IW + ix], s);
                }
            }
        }
        if (p.has_residual)
            s += residual[ro + at];
        y[yo + at] = act_f(p.act, p.act_a, p.act_b, s);
    }
}
#endif
