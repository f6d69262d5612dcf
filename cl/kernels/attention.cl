/*
 * y = softmax(scale·q·kᵀ + mask)·v per head, in tiles of keys with a running maximum and sum, so no
 * buffer of M x N scores exists; f32 throughout.
 *
 * Every operand has strides (elements) of its batch, head and row; rows are contiguous over D. Key
 * and value head j serves the query heads j·ratio …. Query row i sees key j when j <= causal + i (if
 * causal >= 0), valid[j] is not 0 (if there is a `valid`), and the additive mask is not -inf. A row
 * that sees no key gives 0. Reference: tests/ref/ref_attention.c.
 */
#include "gemm.clh"

typedef struct attention_args {
    int M, N, D, DV; /* queries, keys, width of q and k, width of v */
    int ratio;
    int causal; /* -1: not causal */
    int has_valid, has_mask;
    long qb, qh, qm, kb, kh, kn, vb, vh, vn, yb, yh, ym;
    long mb, mh, mm; /* mask strides; its keys are contiguous */
    float scale;
} attention_args;

#ifdef TS_CPU

#    define TILE (4 * NR) /* keys at a time */

/*
 * One work-item: MR queries of one head. Keys come as panels [N/NR][D][NR] per (batch, kv head), made
 * by gemm_pack_b or kept so by a cache; panel strides are kb, kh in elements.
 * gid 0: query block, gid 1: head, gid 2: batch. `scratch` per item: D*MR + TILE*MR floats.
 */
kernel void attention_tile(global const float *restrict q, ulong qo, global const float *restrict k,
                           ulong ko, global const float *restrict v, ulong vo,
                           global float *restrict y, ulong yo, global const float *restrict mask,
                           ulong mo, global const uchar *restrict valid, ulong valid_o,
                           global float *restrict scratch, attention_args p)
{
    const int block = get_global_id(0), head = get_global_id(1), batch = get_global_id(2);
    const int row0 = block * MR, rows = min(MR, p.M - row0);
    global float *qp =
        scratch + (((ulong)batch * get_global_size(1) + head) * get_global_size(0) + block) *
                      (ulong)(p.D * MR + TILE * MR);
    global float *pt = qp + p.D * MR;
    q += qo + batch * p.qb + head * p.qh + row0 * p.qm;
    k += ko + batch * p.kb + head / p.ratio * p.kh;
    v += vo + batch * p.vb + head / p.ratio * p.vh;
    y += yo + batch * p.yb + head * p.yh + row0 * p.ym;
    mask += mo + batch * p.mb + head * p.mh + row0 * p.mm;
    valid += valid_o;
    for (int r = 0; r < MR; ++r)
        for (int d = 0; d < p.D; ++d)
            qp[d * MR + r] = r < rows ? q[r * p.qm + d] * p.scale : 0.0f;

    float top[MR], sum[MR];
    for (int r = 0; r < MR; ++r) {
        top[r] = -INFINITY;
        sum[r] = 0.0f;
    }
    for (int r = 0; r < rows; ++r)
        for (int d = 0; d < p.DV; ++d)
            y[r * p.ym + d] = 0.0f;
    /* Keys beyond the last visible one of the block are never touched. */
    const int limit = p.causal < 0 ? p.N : min(p.N, p.causal + row0 + rows);
    for (int n0 = 0; n0 < limit; n0 += TILE) {
        const int count = min(TILE, limit - n0);
        float s[MR * TILE];
        for (int j = 0; j < count; j += NR) {
            GEMM_TILE(qp, k + (ulong)(n0 + j) * p.D, p.D)
            float out[MR * NR];
            GEMM_TILE_STORE(out)
            for (int r = 0; r < MR; ++r)
                for (int i = 0; i < NR; ++i)
                    s[r * TILE + j + i] = out[r * NR + i];
        }
        float fade[MR];
        for (int r = 0; r < MR; ++r) {
          private
            float *sr = s + r * TILE;
            const int row = row0 + r;
            if (p.has_mask && r < rows)
                for (int j = 0; j < count; ++j)
                    sr[j] += mask[r * p.mm + n0 + j];
            if (p.has_valid)
                for (int j = 0; j < count; ++j)
                    if (!valid[n0 + j])
                        sr[j] = -INFINITY;
            if (p.causal >= 0)
                for (int j = max(0, p.causal + row + 1 - n0); j < count; ++j)
                    sr[j] = -INFINITY;
            const int padded = (count + TS_V - 1) / TS_V * TS_V;
            for (int j = count; j < padded; ++j)
                sr[j] = -INFINITY;
            vf vt = (vf)(-INFINITY);
            for (int j = 0; j < padded; j += TS_V)
                vt = fmax(vt, VLOAD(sr + j));
            float t[TS_V], best = top[r];
            VSTORE(vt, t);
            for (int i = 0; i < TS_V; ++i)
                best = fmax(best, t[i]);
            const float shift = best == -INFINITY ? 0.0f : best;
            vf vs = (vf)(0.0f);
            for (int j = 0; j < padded; j += TS_V) {
                const vf e = exp(VLOAD(sr + j) - shift);
                vs += e;
                VSTORE(e, sr + j);
            }
            VSTORE(vs, t);
            float add = 0.0f;
            for (int i = 0; i < TS_V; ++i)
                add += t[i];
            fade[r] = exp(top[r] - shift);
            sum[r] = sum[r] * fade[r] + add;
            top[r] = best;
            for (int j = 0; j < count; ++j)
                pt[j * MR + r] = sr[j];
        }
        global const float *vt0 = v + (ulong)n0 * p.vn;
        int d = 0;
        for (; d + NR <= p.DV; d += NR) {
            GEMM_ROWS(GEMM_ZERO)
            global const float *restrict ap_ = pt;
            for (int j = 0; j < count; ++j, ap_ += MR) {
                const vf b0_ = VLOAD(vt0 + j * p.vn + d), b1_ = VLOAD(vt0 + j * p.vn + d + TS_V);
                GEMM_ROWS(GEMM_FMA)
            }
            float out[MR * NR];
            GEMM_TILE_STORE(out)
            for (int r = 0; r < rows; ++r)
                for (int i = 0; i < NR; i += TS_V) {
                    global float *to = y + r * p.ym + d + i;
                    VSTORE(fma(VLOAD(to), (vf)(fade[r]), VLOAD(out + r * NR + i)), to);
                }
        }
        for (; d + TS_V <= p.DV; d += TS_V)
            for (int r = 0; r < rows; ++r) {
                vf a = VLOAD(y + r * p.ym + d) * fade[r];
                for (int j = 0; j < count; ++j)
                    a = fma((vf)(pt[j * MR + r]), VLOAD(vt0 + j * p.vn + d), a);
                VSTORE(a, y + r * p.ym + d);
            }
        for (; d < p.DV; ++d)
            for (int r = 0; r < rows; ++r) {
                float a = y[r * p.ym + d] * fade[r];
                for (int j = 0; j < count; ++j)
                    a = fma(pt[j * MR + r], vt0[j * p.vn + d], a);
                y[r * p.ym + d] = a;
            }
    }
    for (int r = 0; r < rows; ++r) {
        const float scale = sum[r] > 0.0f ? 1.0f / sum[r] : 0.0f;
        for (int d = 0; d < p.DV; ++d)
            y[r * p.ym + d] *= scale;
    }
}

#else /* GPU */

#    define QB    8
#    define KB    32
#    define DMAX  128
#    define LANES 16 /* items that share a row's softmax */
/*
 * A group of 128: QB queries of one head over one of `splits` parts of the keys, in tiles of KB keys
 * in local memory; D and DV up to DMAX. With one part the result goes to y, else (result, sum,
 * maximum) to `part` [batch][head][M][splits][DV + 2], which attention_join puts together.
 * Groups: 0 query block, 1 head, 2 batch x split. Keys are rows.
 */
kernel __attribute__((reqd_work_group_size(128, 1, 1))) void attention_tile(
    global const float *restrict q, ulong qo, global const float *restrict k, ulong ko,
    global const float *restrict v, ulong vo, global float *restrict y, ulong yo,
    global const float *restrict mask, ulong mo, global const uchar *restrict valid, ulong valid_o,
    global float *restrict part, attention_args p, int splits)
{
    local float qs[QB][DMAX + 1], kv[KB][DMAX + 1], s[QB][KB + 1], red[QB][LANES + 1];
    local float top[QB], sum[QB], fade[QB];
    const int t = get_local_id(0);
    const int row0 = get_group_id(0) * QB, head = get_group_id(1);
    const int batch = get_group_id(2) / splits, split = get_group_id(2) % splits;
    const int rows = min(QB, p.M - row0);
    q += qo + batch * p.qb + head * p.qh + row0 * p.qm;
    k += ko + batch * p.kb + head / p.ratio * p.kh;
    v += vo + batch * p.vb + head / p.ratio * p.vh;
    y += yo + batch * p.yb + head * p.yh + row0 * p.ym;
    mask += mo + batch * p.mb + head * p.mh + row0 * p.mm;
    valid += valid_o;
    for (int i = t; i < QB * p.D; i += 128) {
        const int r = i / p.D, d = i % p.D;
        qs[r][d] = r < rows ? q[r * p.qm + d] * p.scale : 0.0f;
    }
    if (t < QB) {
        top[t] = -INFINITY;
        sum[t] = 0.0f;
    }
    /* Items share columns of the output: column `col` of every `teams`-th row. */
    const int span = p.DV <= 32 ? 32 : p.DV <= 64 ? 64 : 128, teams = 128 / span;
    const int col = t % span, team = t / span;
    const int sr = t / LANES, lane = t % LANES; /* row and place in it for the softmax */
    float acc[QB];
    for (int r = 0; r < QB; ++r)
        acc[r] = 0.0f;
    const int limit = p.causal < 0 ? p.N : min(p.N, p.causal + row0 + rows);
    const int per = ((p.N + splits - 1) / splits + KB - 1) / KB * KB;
    const int first = split * per, last = min(limit, first + per);
    for (int n0 = first; n0 < last; n0 += KB) {
        const int count = min(KB, last - n0);
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int i = t; i < count * p.D; i += 128)
            kv[i / p.D][i % p.D] = k[(long)(n0 + i / p.D) * p.kn + i % p.D];
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int i = t; i < QB * KB; i += 128) {
            const int r = i / KB, j = i % KB, key = n0 + j;
            float a = -INFINITY;
            if (j < count && r < rows && (p.causal < 0 || key <= p.causal + row0 + r) &&
                (!p.has_valid || valid[key]))
            {
                a = 0.0f;
                for (int d = 0; d < p.D; ++d)
                    a = fma(qs[r][d], kv[j][d], a);
                if (p.has_mask)
                    a += mask[r * p.mm + key];
            }
            s[r][j] = a;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int i = t; i < count * p.DV; i += 128)
            kv[i / p.DV][i % p.DV] = v[(long)(n0 + i / p.DV) * p.vn + i % p.DV];
        float best = top[sr];
        for (int j = lane; j < KB; j += LANES)
            best = fmax(best, s[sr][j]);
        red[sr][lane] = best;
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int i = 0; i < LANES; ++i)
            best = fmax(best, red[sr][i]);
        const float shift = best == -INFINITY ? 0.0f : best, before = top[sr];
        float add = 0.0f;
        for (int j = lane; j < KB; j += LANES) {
            const float e = exp(s[sr][j] - shift);
            s[sr][j] = e;
            add += e;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        red[sr][lane] = add;
        barrier(CLK_LOCAL_MEM_FENCE);
        if (lane == 0) {
            add = 0.0f;
            for (int i = 0; i < LANES; ++i)
                add += red[sr][i];
            fade[sr] = exp(before - shift);
            sum[sr] = sum[sr] * fade[sr] + add;
            top[sr] = best;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        if (col < p.DV)
            for (int r = team, i = 0; r < QB; r += teams, ++i) {
                float a = acc[i] * fade[r];
                for (int j = 0; j < count; ++j)
                    a = fma(s[r][j], kv[j][col], a);
                acc[i] = a;
            }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (col >= p.DV)
        return;
    for (int r = team, i = 0; r < rows; r += teams, ++i) {
        if (splits == 1) {
            y[r * p.ym + col] = sum[r] > 0.0f ? acc[i] / sum[r] : 0.0f;
            continue;
        }
        const ulong row = ((ulong)batch * get_num_groups(1) + head) * p.M + row0 + r;
        global float *to = part + (row * splits + split) * (p.DV + 2);
        to[col] = acc[i];
        if (col == 0) {
            to[p.DV] = sum[r];
            to[p.DV + 1] = top[r];
        }
    }
}

/* Join the parts of attention_tile. gid 0 over batch*heads*M*DV. */
kernel void attention_join(global const float *part, int splits, global float *y, ulong yo,
                           int heads, attention_args p, ulong n)
{
    TS_EACH(e, n)
    {
        const int d = e % p.DV, m = e / p.DV % p.M;
        const ulong row = e / p.DV, bh = row / p.M;
        global const float *from = part + row * splits * (p.DV + 2);
        float top = -INFINITY, sum = 0.0f, a = 0.0f;
        for (int i = 0; i < splits; ++i)
            top = fmax(top, from[i * (p.DV + 2) + p.DV + 1]);
        for (int i = 0; i < splits && top > -INFINITY; ++i) {
            global const float *one = from + i * (p.DV + 2);
            const float w = exp(one[p.DV + 1] - top);
            sum = fma(one[p.DV], w, sum);
            a = fma(one[d], w, a);
        }
        y[yo + bh / heads * p.yb + bh % heads * p.yh + m * p.ym + d] = sum > 0.0f ? a / sum : 0.0f;
    }
}
#endif

/*
 * A decoder's new rows: x holds rows of [q | k | v] heads side by side, `heads` and `kv_heads` of D.
 * Turns q in place, turned k goes to keys[row], v to values[row] (rows of kv_heads*D). gid 0 over
 * rows * (heads + 2*kv_heads).
 */
kernel void attention_store(global float *x, ulong xo, global const int *position, ulong po,
                            global const float *inv_freq, ulong fo, global float *keys, ulong ko,
                            global float *values, ulong vo, int heads, int kv_heads, int d,
                            ulong total)
{
    const int all = heads + 2 * kv_heads;
    TS_EACH(e, total)
    {
        const ulong row = e / all;
        const int h = e % all;
        global float *from = x + xo + row * all * d + h * d;
        if (h >= heads + kv_heads) {
            global float *to = values + vo + (row * kv_heads + h - heads - kv_heads) * d;
            for (int i = 0; i < d; ++i)
                to[i] = from[i];
            continue;
        }
        global float *to = h < heads ? from : keys + ko + (row * kv_heads + h - heads) * d;
        const float at = (float)position[po + row];
        for (int i = 0; i < d / 2; ++i) {
            const float angle = at * inv_freq[fo + i], c = cos(angle), s = sin(angle);
            const float a = from[i], b = from[i + d / 2];
            to[i] = a * c - b * s;
            to[i + d / 2] = b * c + a * s;
        }
    }
}

/*
 * Rotary embedding in place, half-split form: x: rows of `heads` heads of D, row stride xm; angle =
 * position[row]·inv_freq[i], i < D/2. gid 0 over rows*heads.
 */
kernel void attention_rotary(global float *x, ulong xo, global const int *position, ulong po,
                             global const float *inv_freq, ulong fo, int heads, int d, long xm,
                             ulong total)
{
    TS_EACH(e, total)
    {
        const ulong row = e / heads;
        global float *h = x + xo + row * xm + e % heads * d;
        const float at = (float)position[po + row];
        for (int i = 0; i < d / 2; ++i) {
            const float angle = at * inv_freq[fo + i], c = cos(angle), s = sin(angle);
            const float a = h[i], b = h[i + d / 2];
            h[i] = a * c - b * s;
            h[i + d / 2] = b * c + a * s;
        }
    }
}
