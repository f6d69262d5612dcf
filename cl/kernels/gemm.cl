/*
 * Matrix products C = act(alpha * A·B + bias + residual), f32 with f32 accumulators.
 *
 * CPU: A packed in row tiles, B in column panels (gemm.clh); one work-item makes one MR x NR tile,
 * gid 0 walks the row tiles so that a panel stays in the cache, gid 1 the panels, gid 2 the batch.
 * GPU: 64 x 64 tiles through local memory, 256 work-items of 4 x 4, or one work-item per few rows
 * and a column for few rows. Reference: tests/ref/ref_gemm.c.
 */
#include "gemm.clh"

/* Sizes of one product and, for batches, where item b of each operand starts (in elements). */
typedef struct gemm_args {
    uint M, N, K;
    uint lda, ldb, ldc;
    uint trans_a, trans_b; /* stored [K,M], [N,K] */
    uint bias_rows, has_bias, has_residual;
    uint batch1; /* batch b = (b / batch1, b % batch1) */
    long a0, a1, b0, b1, c0, c1;
    float alpha;
    int act;
    float act_a, act_b;
} gemm_args;

#ifdef TS_CPU

/* pack A: x [M,K] (or [K,M]) → [tiles][K][MR]. gid 0: tile, gid 1: piece of K, gid 2: batch. */
kernel void gemm_pack_a(global const float *restrict x, ulong xo, global float *restrict y,
                        gemm_args p, ulong per_batch)
{
    const uint tile = get_global_id(0), batch = get_global_id(2);
    x += xo + (batch / p.batch1) * p.a0 + (batch % p.batch1) * p.a1;
    y += batch * per_batch + (ulong)tile * p.K * MR;
    const uint row0 = tile * MR, rows = min((uint)MR, p.M - row0);
    if (p.trans_a) {
        for (uint k = 0; k < p.K; ++k)
            for (uint r = 0; r < MR; ++r)
                y[k * MR + r] = r < rows ? p.alpha * x[(ulong)k * p.lda + row0 + r] : 0.0f;
        return;
    }
    for (uint r = 0; r < MR; ++r) {
        if (r < rows) {
            global const float *restrict from = x + (ulong)(row0 + r) * p.lda;
            for (uint k = 0; k < p.K; ++k)
                y[k * MR + r] = p.alpha * from[k];
        } else {
            for (uint k = 0; k < p.K; ++k)
                y[k * MR + r] = 0.0f;
        }
    }
}

/* pack B: x [K,N] (or [N,K]) → [panels][K][NR]. gid 0: panel, gid 2: batch. */
kernel void gemm_pack_b(global const float *restrict x, ulong xo, global float *restrict y,
                        gemm_args p, ulong per_batch)
{
    const uint panel = get_global_id(0), batch = get_global_id(2);
    x += xo + (batch / p.batch1) * p.b0 + (batch % p.batch1) * p.b1;
    y += batch * per_batch + (ulong)panel * p.K * NR;
    const uint col0 = panel * NR, cols = min((uint)NR, p.N - col0);
    if (!p.trans_b) {
        for (uint k = 0; k < p.K; ++k) {
            global const float *restrict from = x + (ulong)k * p.ldb + col0;
            global float *restrict to = y + (ulong)k * NR;
            if (cols == NR) {
                VSTORE(VLOAD(from), to);
                VSTORE(VLOAD(from + TS_V), to + TS_V);
            } else {
                for (uint c = 0; c < NR; ++c)
                    to[c] = c < cols ? from[c] : 0.0f;
            }
        }
        return;
    }
    for (uint c = 0; c < NR; ++c) {
        if (c < cols) {
            global const float *restrict from = x + (ulong)(col0 + c) * p.ldb;
            for (uint k = 0; k < p.K; ++k)
                y[k * NR + c] = from[k];
        } else {
            for (uint k = 0; k < p.K; ++k)
                y[k * NR + c] = 0.0f;
        }
    }
}

/* One MR x NR tile of C from packed operands. gid 0: row tile, gid 1: panel, gid 2: batch. */
kernel void gemm_tile(global const float *restrict a, ulong ao, ulong a_batch,
                      global const float *restrict b, ulong bo, ulong b_batch,
                      global float *restrict c, ulong co, global const float *restrict bias,
                      ulong bias_o, global const float *restrict residual, ulong residual_o,
                      gemm_args p)
{
    const uint tile = get_global_id(0), panel = get_global_id(1), batch = get_global_id(2);
    const ulong c_start = (batch / p.batch1) * p.c0 + (batch % p.batch1) * p.c1;
    a += ao + batch * a_batch + (ulong)tile * p.K * MR;
    b += bo + batch * b_batch + (ulong)panel * p.K * NR;
    GEMM_TILE(a, b, p.K)
    float out[MR * NR];
    GEMM_TILE_STORE(out)

    const uint row0 = tile * MR, col0 = panel * NR;
    const uint rows = min((uint)MR, p.M - row0), cols = min((uint)NR, p.N - col0);
    for (uint r = 0; r < rows; ++r) {
      private
        float *v = out + r * NR;
        const ulong at = c_start + (ulong)(row0 + r) * p.ldc + col0;
        if (cols == NR) {
            vf v0 = VLOAD(v), v1 = VLOAD(v + TS_V);
            if (p.has_bias && p.bias_rows) {
                v0 += bias[bias_o + row0 + r];
                v1 += bias[bias_o + row0 + r];
            } else if (p.has_bias) {
                v0 += VLOAD(bias + bias_o + col0);
                v1 += VLOAD(bias + bias_o + col0 + TS_V);
            }
            if (p.has_residual) {
                v0 += VLOAD(residual + residual_o + at);
                v1 += VLOAD(residual + residual_o + at + TS_V);
            }
            VSTORE(act_v(p.act, p.act_a, p.act_b, v0), c + co + at);
            VSTORE(act_v(p.act, p.act_a, p.act_b, v1), c + co + at + TS_V);
            continue;
        }
        for (uint i = 0; i < cols; ++i) {
            float s = v[i];
            if (p.has_bias)
                s += bias[bias_o + (p.bias_rows ? row0 + r : col0 + i)];
            if (p.has_residual)
                s += residual[residual_o + at + i];
            c[co + at + i] = act_f(p.act, p.act_a, p.act_b, s);
        }
    }
}

#    define SKINNY 4
/* M < MR rows of unpacked A times packed panels: the weights stream once. gid 0: panel. */
kernel void gemm_skinny(global const float *restrict x, ulong xo, global const float *restrict b,
                        ulong bo, global float *restrict c, ulong co,
                        global const float *restrict bias, ulong bias_o,
                        global const float *restrict residual, ulong residual_o, gemm_args p)
{
    const uint panels = (p.N + NR - 1) / NR;
    x += xo;
    for (uint panel = get_global_id(0); panel < panels; panel += get_global_size(0)) {
        global const float *restrict w = b + bo + (ulong)panel * p.K * NR;
        const uint col0 = panel * NR, cols = min((uint)NR, p.N - col0);
        for (uint row0 = 0; row0 < p.M; row0 += SKINNY) {
            const uint rows = min((uint)SKINNY, p.M - row0);
            /* Rows beyond the last repeat it: no branch in the loop, their results are dropped. */
            global const float *restrict x0 = x + (ulong)row0 * p.lda;
            global const float *restrict x1 = x + (ulong)(row0 + min(1u, rows - 1)) * p.lda;
            global const float *restrict x2 = x + (ulong)(row0 + min(2u, rows - 1)) * p.lda;
            global const float *restrict x3 = x + (ulong)(row0 + min(3u, rows - 1)) * p.lda;
            float out[SKINNY * NR];
            vf s00 = (vf)(0.0f), s01 = (vf)(0.0f), s10 = (vf)(0.0f), s11 = (vf)(0.0f);
            vf s20 = (vf)(0.0f), s21 = (vf)(0.0f), s30 = (vf)(0.0f), s31 = (vf)(0.0f);
            if (rows == 1) {
                /* Two chains per vector hide the latency of fma. */
                uint k = 0;
                for (; k + 2 <= p.K; k += 2) {
                    s00 = fma((vf)(x0[k]), VLOAD(w + (ulong)k * NR), s00);
                    s01 = fma((vf)(x0[k]), VLOAD(w + (ulong)k * NR + TS_V), s01);
                    s10 = fma((vf)(x0[k + 1]), VLOAD(w + (ulong)(k + 1) * NR), s10);
                    s11 = fma((vf)(x0[k + 1]), VLOAD(w + (ulong)(k + 1) * NR + TS_V), s11);
                }
                if (k < p.K) {
                    s00 = fma((vf)(x0[k]), VLOAD(w + (ulong)k * NR), s00);
                    s01 = fma((vf)(x0[k]), VLOAD(w + (ulong)k * NR + TS_V), s01);
                }
                s00 += s10;
                s01 += s11;
            } else {
                for (uint k = 0; k < p.K; ++k) {
                    const vf w0 = VLOAD(w + (ulong)k * NR), w1 = VLOAD(w + (ulong)k * NR + TS_V);
                    s00 = fma((vf)(x0[k]), w0, s00);
                    s01 = fma((vf)(x0[k]), w1, s01);
                    s10 = fma((vf)(x1[k]), w0, s10);
                    s11 = fma((vf)(x1[k]), w1, s11);
                    s20 = fma((vf)(x2[k]), w0, s20);
                    s21 = fma((vf)(x2[k]), w1, s21);
                    s30 = fma((vf)(x3[k]), w0, s30);
                    s31 = fma((vf)(x3[k]), w1, s31);
                }
            }
            VSTORE(s00, out);
            VSTORE(s01, out + TS_V);
            VSTORE(s10, out + NR);
            VSTORE(s11, out + NR + TS_V);
            VSTORE(s20, out + 2 * NR);
            VSTORE(s21, out + 2 * NR + TS_V);
            VSTORE(s30, out + 3 * NR);
            VSTORE(s31, out + 3 * NR + TS_V);
            for (uint r = 0; r < rows; ++r) {
                const ulong at = (ulong)(row0 + r) * p.ldc + col0;
                if (cols == NR) {
                    for (uint i = 0; i < NR; i += TS_V) {
                        vf v = VLOAD(out + r * NR + i);
                        if (p.has_bias)
                            v += VLOAD(bias + bias_o + col0 + i);
                        if (p.has_residual)
                            v += VLOAD(residual + residual_o + at + i);
                        VSTORE(act_v(p.act, p.act_a, p.act_b, v), c + co + at + i);
                    }
                    continue;
                }
                for (uint i = 0; i < cols; ++i) {
                    float s = out[r * NR + i];
                    if (p.has_bias)
                        s += bias[bias_o + col0 + i];
                    if (p.has_residual)
                        s += residual[residual_o + at + i];
                    c[co + at + i] = act_f(p.act, p.act_a, p.act_b, s);
                }
            }
        }
    }
}

#else /* GPU */

/*
 * A BT x BT tile of C per group of 256 items, RT x RT values each (BT = 16*RT), K in steps of BK. The
 * next step's operands are read into registers while this one is multiplied. gid: group 0 over
 * columns, group 1 over rows, group 2 over batch x splits of K; with splits > 1 partial sums go to
 * `part` and gemm_join finishes them.
 */
#    define DEFINE_TILE(NAME, BT, RT, BK)                                                          \
        kernel __attribute__((reqd_work_group_size(256, 1, 1))) void NAME(                         \
            global const float *restrict a, ulong ao, global const float *restrict b, ulong bo,    \
            global float *restrict c, ulong co, global const float *restrict bias, ulong bias_o,   \
            global const float *restrict residual, ulong residual_o, global float *restrict part,  \
            uint splits, gemm_args p)                                                              \
        {                                                                                          \
            local float sa[BK][BT + 1], sb[BK][BT + 1];                                            \
            const uint t = get_local_id(0), tx = t & 15, ty = t >> 4;                              \
            const uint col0 = get_group_id(0) * BT, row0 = get_group_id(1) * BT;                   \
            const uint batch = get_group_id(2) / splits, split = get_group_id(2) % splits;         \
            a += ao + (batch / p.batch1) * p.a0 + (batch % p.batch1) * p.a1;                       \
            b += bo + (batch / p.batch1) * p.b0 + (batch % p.batch1) * p.b1;                       \
            const uint per = ((p.K + splits - 1) / splits + BK - 1) / BK * BK;                     \
            const uint k0 = split * per, k1 = min(p.K, k0 + per);                                  \
            float s[RT][RT], ra[BK * BT / 256], rb[BK * BT / 256];                                 \
            for (int i = 0; i < RT; ++i)                                                           \
                for (int j = 0; j < RT; ++j)                                                       \
                    s[i][j] = 0.0f;                                                                \
            for (uint k = k0; k < k1 + BK; k += BK) {                                              \
                /* The step before is in registers: to local memory, then read the next. */        \
                if (k > k0) {                                                                      \
                    barrier(CLK_LOCAL_MEM_FENCE);                                                  \
                    for (uint u = 0; u < BK * BT / 256; ++u) {                                     \
                        const uint i = t + u * 256;                                                \
                        if (p.trans_a)                                                             \
                            sa[i / BT][i % BT] = ra[u];                                            \
                        else                                                                       \
                            sa[i % BK][i / BK] = ra[u];                                            \
                        if (p.trans_b)                                                             \
                            sb[i % BK][i / BK] = rb[u];                                            \
                        else                                                                       \
                            sb[i / BT][i % BT] = rb[u];                                            \
                    }                                                                              \
                    barrier(CLK_LOCAL_MEM_FENCE);                                                  \
                }                                                                                  \
                if (k < k1)                                                                        \
                    for (uint u = 0; u < BK * BT / 256; ++u) {                                     \
                        const uint i = t + u * 256;                                                \
                        const uint ka = k + (p.trans_a ? i / BT : i % BK);                         \
                        const uint m = row0 + (p.trans_a ? i % BT : i / BK);                       \
                        const uint kb = k + (p.trans_b ? i % BK : i / BT);                         \
                        const uint n = col0 + (p.trans_b ? i / BK : i % BT);                       \
                        ra[u] = ka < k1 && m < p.M                                                 \
                                    ? a[p.trans_a ? (ulong)ka * p.lda + m : (ulong)m * p.lda + ka] \
                                    : 0.0f;                                                        \
                        rb[u] = kb < k1 && n < p.N                                                 \
                                    ? b[p.trans_b ? (ulong)n * p.ldb + kb : (ulong)kb * p.ldb + n] \
                                    : 0.0f;                                                        \
                    }                                                                              \
                if (k > k0)                                                                        \
                    for (uint kk = 0; kk < BK; ++kk) {                                             \
                        float va[RT], vb[RT];                                                      \
                        for (int i = 0; i < RT; ++i)                                               \
                            va[i] = sa[kk][ty * RT + i];                                           \
                        for (int j = 0; j < RT; ++j)                                               \
                            vb[j] = sb[kk][tx + 16 * j];                                           \
                        for (int i = 0; i < RT; ++i)                                               \
                            for (int j = 0; j < RT; ++j)                                           \
                                s[i][j] = fma(va[i], vb[j], s[i][j]);                              \
                    }                                                                              \
            }                                                                                      \
            for (int i = 0; i < RT; ++i) {                                                         \
                const uint row = row0 + ty * RT + i;                                               \
                if (row >= p.M)                                                                    \
                    break;                                                                         \
                for (int j = 0; j < RT; ++j) {                                                     \
                    const uint col = col0 + tx + 16 * j;                                           \
                    if (col >= p.N)                                                                \
                        continue;                                                                  \
                    if (splits > 1) {                                                              \
                        part[(((ulong)batch * splits + split) * p.M + row) * p.N + col] = s[i][j]; \
                        continue;                                                                  \
                    }                                                                              \
                    const ulong at = (batch / p.batch1) * p.c0 + (batch % p.batch1) * p.c1 +       \
                                     (ulong)row * p.ldc + col;                                     \
                    float v = s[i][j] * p.alpha;                                                   \
                    if (p.has_bias)                                                                \
                        v += bias[bias_o + (p.bias_rows ? row : col)];                             \
                    if (p.has_residual)                                                            \
                        v += residual[residual_o + at];                                            \
                    c[co + at] = act_f(p.act, p.act_a, p.act_b, v);                                \
                }                                                                                  \
            }                                                                                      \
        }
DEFINE_TILE(gemm_tile, 64, 4, 16)
DEFINE_TILE(gemm_tile_small, 32, 2, 32)

/* Sum the splits of gemm_tile and apply the epilogue. gid 0 over batch*M*N. */
kernel void gemm_join(global const float *restrict part, uint splits, global float *restrict c,
                      ulong co, global const float *restrict bias, ulong bias_o,
                      global const float *restrict residual, ulong residual_o, gemm_args p, ulong n)
{
    const ulong mn = (ulong)p.M * p.N;
    TS_EACH(i, n)
    {
        const uint batch = i / mn;
        const ulong e = i % mn;
        const uint row = e / p.N, col = e % p.N;
        float v = 0.0f;
        for (uint s = 0; s < splits; ++s)
            v += part[((ulong)batch * splits + s) * mn + e];
        v *= p.alpha;
        const ulong at =
            (batch / p.batch1) * p.c0 + (batch % p.batch1) * p.c1 + (ulong)row * p.ldc + col;
        if (p.has_bias)
            v += bias[bias_o + (p.bias_rows ? row : col)];
        if (p.has_residual)
            v += residual[residual_o + at];
        c[co + at] = act_f(p.act, p.act_a, p.act_b, v);
    }
}

#    define SK_COLS 4
#    define SK_ROWS 4
/*
 * Few rows: a group of 128 makes SK_ROWS x SK_COLS results; 32 items share a column's K (coalesced
 * reads of the weights [N,K]) and join through local memory. Groups: 0 columns, 1 rows.
 */
kernel __attribute__((reqd_work_group_size(128, 1, 1))) void gemm_skinny(
    global const float *restrict x, ulong xo, global const float *restrict w, ulong wo,
    global float *restrict c, ulong co, global const float *restrict bias, ulong bias_o,
    global const float *restrict residual, ulong residual_o, gemm_args p)
{
    local float sum[SK_ROWS][SK_COLS][33];
    const uint t = get_local_id(0), lane = t & 31, cc = t >> 5;
    const uint col = get_group_id(0) * SK_COLS + cc, row0 = get_group_id(1) * SK_ROWS;
    float s[SK_ROWS] = {0.0f, 0.0f, 0.0f, 0.0f};
    if (col < p.N) {
        global const float *restrict wr = w + wo + (ulong)col * p.K;
        for (uint k = lane; k < p.K; k += 32) {
            const float v = wr[k];
            for (uint r = 0; r < SK_ROWS; ++r)
                if (row0 + r < p.M)
                    s[r] = fma(x[xo + (ulong)(row0 + r) * p.lda + k], v, s[r]);
        }
    }
    for (uint r = 0; r < SK_ROWS; ++r)
        sum[r][cc][lane] = s[r];
    barrier(CLK_LOCAL_MEM_FENCE);
    if (lane < SK_ROWS && col < p.N && row0 + lane < p.M) {
        float v = 0.0f;
        for (uint i = 0; i < 32; ++i)
            v += sum[lane][cc][i];
        const ulong at = (ulong)(row0 + lane) * p.ldc + col;
        if (p.has_bias)
            v += bias[bias_o + col];
        if (p.has_residual)
            v += residual[residual_o + at];
        c[co + at] = act_f(p.act, p.act_a, p.act_b, v);
    }
}
#endif
