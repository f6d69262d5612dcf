/*
 * Ranges: finite minimum, maximum, moments, order statistics and histograms of groups of samples,
 * and the record that maps a sample to t. Nothing here goes through the host.
 *
 * Built with -DTS_IN=<dtype>. A group's rows are cut into chunks; on CPU devices one work-item takes
 * a chunk, elsewhere one work-group does, its items taking interleaved samples.
 * Reference: tests/ref/ref_viz.c.
 */
#include "viz.clh"

#ifdef TS_CPU
#    define LANES_MAX 1
#    define LANE      0u
#    define LANES     1u
#    define CHUNK     ((uint)get_global_id(0))
#    define BUMP(p)   ((*(p))++)
/* A histogram per chunk, written by one item; elsewhere one per group, by atomics. */
#    define HIST_SLOT(q, g, c) ((ulong)(g) * (q).chunks + (c))
#    define HIST_SLOTS(chunks) (chunks)
#else
#    define LANES_MAX          256
#    define LANE               ((uint)get_local_id(0))
#    define LANES              ((uint)get_local_size(0))
#    define CHUNK              ((uint)get_group_id(0))
#    define BUMP(p)            atomic_inc(p)
#    define HIST_SLOT(q, g, c) ((ulong)(g))
#    define HIST_SLOTS(chunks) 1u
#endif

/* Start of row `r` of group g, and how many samples it has. */
inline ulong region_row(const viz_region *q, uint g, uint r, uint *n)
{
    uint planes = q->plane_groups ? 1 : q->src.planes;
    uint y = r % q->src.h, rest = r / q->src.h;
    uint p = q->plane_groups ? g : rest % planes;
    uint k = q->src.k0 + (q->plane_groups ? 0 : g * q->gk) + rest / planes * q->kstep;
    *n = y + 1 == q->src.h ? q->w_last : q->src.w;
    return q->src.base + k / q->src.kdiv * q->src.ks0 + k % q->src.kdiv * q->src.ks1 +
           q->src.ps[p] + y * q->src.sy;
}

inline uint region_rows(const viz_region *q)
{
    return q->kn * (q->plane_groups ? 1 : q->src.planes) * q->src.h;
}

/* The group's first sample, about which sums are taken (0 where it is not finite). */
inline wide region_origin(const global uchar *data, const viz_region *q, uint g)
{
    uint n;
    wide v = wide_load(TS_IN, data, region_row(q, g, 0, &n));
    return wide_finite(v) ? v : wide_of(0);
}

typedef struct lane_sums {
    wide min, max, minpos, sum, sumsq;
    ulong count;
} lane_sums;

inline void merge_sums(lane_sums *a, const lane_sums *b)
{
    if (wide_less(b->min, a->min))
        a->min = b->min;
    if (wide_less(a->max, b->max))
        a->max = b->max;
    if (wide_less(b->minpos, a->minpos))
        a->minpos = b->minpos;
    a->sum = wide_add(a->sum, b->sum);
    a->sumsq = wide_add(a->sumsq, b->sumsq);
    a->count += b->count;
}

inline lane_sums empty_sums(void)
{
    lane_sums s;
    s.min = s.minpos = wide_of(INFINITY);
    s.max = wide_of(-INFINITY);
    s.sum = s.sumsq = wide_of(0);
    s.count = 0;
    return s;
}

inline void add_sample(lane_sums *s, wide v, wide origin, uint need)
{
    if (!wide_finite(v))
        return;
    s->count++;
    if (wide_less(v, s->min))
        s->min = v;
    if (wide_less(s->max, v))
        s->max = v;
    if ((need & VIZ_NEED_POS) && wide_less(wide_of(0), v) && wide_less(v, s->minpos))
        s->minpos = v;
    if (need & VIZ_NEED_SUM) {
#ifdef VIZ_FP64
        double d = v - origin;
        s->sum += d;
        s->sumsq += d * d;
#else
        float d = wide_diff(v, origin), dd = d * d;
        s->sum = wide_add(s->sum, wide_of(d));
        s->sumsq = wide_add(s->sumsq, (float2)(dd, fma(d, d, -dd)));
#endif
    }
}

#if VIZ_VW == 8 && !VIZ_IS_WIDE(TS_IN)
/* min, max and count of a contiguous run, eight at a time; returns how many samples it took. */
inline uint add_run(lane_sums *s, const global uchar *data, ulong i, uint n)
{
    float8 lo = INFINITY, hi = -INFINITY;
    int8 count = 0;
    uint x = 0;
    for (; x + 8 <= n; x += 8) {
        float8 v = load_run(data, i + x);
        int8 fin = fabs(v) <= (float8)MAXFLOAT;
        count -= fin;
        lo = min(lo, select((float8)INFINITY, v, fin));
        hi = max(hi, select((float8)-INFINITY, v, fin));
    }
    float4 l4 = min(lo.lo, lo.hi), h4 = max(hi.lo, hi.hi);
    int4 c4 = count.lo + count.hi;
    float l = min(min(l4.x, l4.y), min(l4.z, l4.w)), h = max(max(h4.x, h4.y), max(h4.z, h4.w));
    if (wide_less(wide_of(l), s->min))
        s->min = wide_of(l);
    if (wide_less(s->max, wide_of(h)))
        s->max = wide_of(h);
    s->count += (ulong)(c4.x + c4.y + c4.z + c4.w);
    return x;
}
#endif

/*
 * out[g·chunks + c] = sums of chunk c of group g. Global: chunks (times the local size) x groups.
 */
kernel void viz_range_partial(const global uchar *data, viz_region q, global viz_partial *out)
{
    uint g = get_global_id(1), c = CHUNK, rows = region_rows(&q);
    uint each = (rows + q.chunks - 1) / q.chunks, r1 = min(rows, (c + 1) * each);
    wide origin = region_origin(data, &q, g);
    lane_sums s = empty_sums();
    for (uint r = c * each; r < r1; r++) {
        uint n, x = LANE;
        ulong at = region_row(&q, g, r, &n);
#if VIZ_VW == 8 && !VIZ_IS_WIDE(TS_IN)
        if (q.src.sx == 1 && !(q.need & (VIZ_NEED_SUM | VIZ_NEED_POS)))
            x = add_run(&s, data, at, n);
#endif
        for (; x < n; x += LANES)
            add_sample(&s, wide_load(TS_IN, data, at + x * q.src.sx), origin, q.need);
    }
#ifndef TS_CPU
    local lane_sums all[LANES_MAX];
    all[LANE] = s;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint half_n = LANES / 2; half_n > 0; half_n /= 2) { /* LANES is a power of two */
        if (LANE < half_n) {
            lane_sums other = all[LANE + half_n];
            merge_sums(&s, &other);
            all[LANE] = s;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
#endif
    if (LANE == 0 && c < q.chunks) {
        global viz_partial *o = out + (ulong)g * q.chunks + c;
        o->min = bits_wide(s.min);
        o->max = bits_wide(s.max);
        o->minpos = bits_wide(s.minpos);
        o->sum = bits_wide(s.sum);
        o->sumsq = bits_wide(s.sumsq);
        o->count = s.count;
    }
}

inline lane_sums group_sums(const global viz_partial *partial, uint g, uint chunks)
{
    lane_sums s = empty_sums();
    for (uint c = 0; c < chunks; c++) {
        const global viz_partial *p = partial + (ulong)g * chunks + c;
        lane_sums one;
        one.min = wide_bits(p->min);
        one.max = wide_bits(p->max);
        one.minpos = wide_bits(p->minpos);
        one.sum = wide_bits(p->sum);
        one.sumsq = wide_bits(p->sumsq);
        one.count = p->count;
        merge_sums(&s, &one);
    }
    return s;
}

/* ---- order statistics by radix selection: up to 11 bits of the key a pass, from the top ---- */

#define DIGITS 2048

/* A float's key in the upper half; a wide one's in all 64 bits. */
inline ulong sample_key(const global uchar *data, ulong i, uint need, bool *finite)
{
#if VIZ_IS_WIDE(TS_IN)
    wide v = wide_load(TS_IN, data, i);
    *finite = wide_finite(v);
    if ((need & VIZ_NEED_ABS) && wide_less(v, wide_of(0)))
        v = wide_neg(v);
    return wide_key(v);
#else
    float v = ts_load_any(TS_IN, data, i);
    *finite = isfinite(v);
    if (need & VIZ_NEED_ABS)
        v = fabs(v);
    uint b = as_uint(v);
    return (ulong)(b & 0x80000000u ? ~b : b | 0x80000000u) << 32;
#endif
}

inline wide select_value(ulong key)
{
#if VIZ_IS_WIDE(TS_IN)
    return key_wide(key);
#else
    uint k = (uint)key; /* three digits: 11 + 11 + 10 bits */
    return wide_of((real)as_float(k & 0x80000000u ? k & 0x7fffffffu : ~k));
#endif
}

/* Ranks of the two percentiles (and their right neighbours) of group g. Global: groups. */
kernel void viz_select_begin(const global viz_partial *partial, uint chunks, float p_lo, float p_hi,
                             uint groups, global viz_select *out)
{
    uint g = get_global_id(0);
    if (g >= groups)
        return;
    ulong n = 0;
    for (uint c = 0; c < chunks; c++)
        n += partial[(ulong)g * chunks + c].count;
    out[g].count = n;
    for (int e = 0; e < 2; e++) {
        real at = n ? (real)(e ? p_hi : p_lo) / 100 * (real)(n - 1) : 0;
        ulong r = n ? min((ulong)at, n - 1) : 0;
        out[g].frac[e] = (float)(at - (real)r);
        out[g].rank[2 * e] = r;
        out[g].rank[2 * e + 1] = n ? min(r + 1, n - 1) : 0;
        out[g].prefix[2 * e] = out[g].prefix[2 * e + 1] = 0;
    }
}

/*
 * hist[slot·4·DIGITS + target·DIGITS + digit] counts the samples of chunk c whose key starts with that
 * target's prefix, by the next `bits` bits from `shift` on. hist is zero before. Global as
 * viz_range_partial.
 */
kernel void viz_select_count(const global uchar *data, viz_region q, uint shift, uint bits,
                             const global viz_select *state, global uint *hist)
{
    uint g = get_global_id(1), c = CHUNK, rows = region_rows(&q);
    if (c >= q.chunks)
        return;
    uint each = (rows + q.chunks - 1) / q.chunks, r1 = min(rows, (c + 1) * each);
    global uint *h = hist + HIST_SLOT(q, g, c) * (4 * DIGITS);
    /* Targets with equal prefixes share the first one's counts. */
    ulong prefix[4];
    uint place[4], n_prefix = 0;
    for (uint t = 0; t < 4; t++) {
        ulong p = state[g].prefix[t];
        uint k = 0;
        while (k < n_prefix && prefix[k] != p)
            k++;
        if (k < n_prefix)
            continue;
        prefix[n_prefix] = p;
        place[n_prefix++] = t * DIGITS;
    }
    for (uint r = c * each; r < r1; r++) {
        uint n;
        ulong at = region_row(&q, g, r, &n);
        for (uint x = LANE; x < n; x += LANES) {
            bool finite;
            ulong key = sample_key(data, at + x * q.src.sx, q.need, &finite);
            if (!finite)
                continue;
            ulong top = shift + bits == 64 ? 0 : key >> (shift + bits);
            uint digit = (uint)(key >> shift) & ((1u << bits) - 1);
            for (uint k = 0; k < n_prefix; k++)
                if (top == prefix[k]) {
                    BUMP(&h[place[k] + digit]);
                    break;
                }
        }
    }
}

/* Extend each target's prefix by the digit that holds its rank. Global: groups. */
kernel void viz_select_step(const global uint *hist, uint chunks, uint groups, uint bits,
                            global viz_select *state)
{
    uint g = get_global_id(0), slots = HIST_SLOTS(chunks), last = (1u << bits) - 1;
    if (g >= groups)
        return;
    ulong old[4];
    for (int t = 0; t < 4; t++)
        old[t] = state[g].prefix[t];
    for (int t = 0; t < 4; t++) {
        int owner = 0;
        while (old[owner] != old[t])
            owner++;
        ulong rank = state[g].rank[t], below = 0;
        uint digit = 0;
        for (; digit < last; digit++) {
            ulong n = 0;
            for (uint c = 0; c < slots; c++)
                n += hist[((ulong)g * slots + c) * (4 * DIGITS) + owner * DIGITS + digit];
            if (below + n > rank)
                break;
            below += n;
        }
        state[g].rank[t] = rank - below;
        state[g].prefix[t] = old[t] << bits | digit;
    }
}

/* ---- the range ---- */

#define MODE_FIXED      0
#define MODE_MINMAX     1
#define MODE_PERCENTILE 2
#define MODE_SYMMETRIC  3
#define MODE_MEANSTD    4
#define MODE_WHITEN     5
#define MODE_LOG        6
#define MODE_SYMLOG     7
#define MODE_HISTEQ     8

inline real between(wide a, wide b, float f)
{
    real x = wide_real(a);
    return x + (wide_real(b) - x) * (real)f;
}

/* Largest |v| of the samples. */
inline real largest(const lane_sums *s)
{
    return s->count ? fmax(fabs(wide_real(s->min)), fabs(wide_real(s->max))) : (real)0;
}

inline void find_range(const viz_range_args *a, const lane_sums *s, const global viz_select *select,
                       wide origin, wide *lo, wide *hi)
{
    *lo = s->min;
    *hi = s->max;
    switch (a->mode) {
    case MODE_FIXED:
        *lo = *hi = wide_of(0);
        break;
    case MODE_PERCENTILE:
        if (s->count) {
            *lo = wide_of(between(select_value(select->prefix[0]), select_value(select->prefix[1]),
                                  select->frac[0]));
            *hi = wide_of(between(select_value(select->prefix[2]), select_value(select->prefix[3]),
                                  select->frac[1]));
        }
        break;
    case MODE_SYMMETRIC:
    case MODE_SYMLOG: {
        real m = largest(s);
        if (a->percentile && s->count)
            m = between(select_value(select->prefix[2]), select_value(select->prefix[3]),
                        select->frac[1]);
        *lo = wide_of(-m);
        *hi = wide_of(m);
        break;
    }
    case MODE_MEANSTD:
    case MODE_WHITEN:
        if (s->count) {
            real n = (real)s->count, mean = wide_real(s->sum) / n;
            real var = fmax(wide_real(s->sumsq) / n - mean * mean, (real)0);
            real d = (real)a->k * sqrt(var);
            *lo = wide_add(origin, wide_of(mean - d));
            *hi = wide_add(origin, wide_of(mean + d));
        }
        break;
    case MODE_LOG:
        *lo = s->minpos;
        break;
    }
}

/* A sample's value under the logarithm with a linear middle. */
inline real symlog(real v, real lin)
{
    real f = log10((real)1 + fabs(v) / lin);
    return v < 0 ? -f : f;
}

inline void fill_record(const viz_range_args *a, wide lo, wide hi, bool seen,
                        global viz_range_record *o)
{
    real l = wide_real(lo), h = wide_real(hi);
    bool flat = !seen || !wide_less(lo, hi);
    o->lo = bits_wide(lo);
    o->hi = bits_wide(hi);
    o->seen = seen;
    o->flat = flat;
    /* Ranges near the ends of what floats hold are scaled by a power of two. */
#ifdef VIZ_FP64
    real span = h - l;
#else
    real span = wide_diff(hi, lo);
#endif
    real reach = fmax(fabs(l), fmax(fabs(h), span));
    float pre = reach > (real)1e37f ? 0x1p-64f : reach < (real)1e-25f ? 0x1p64f : 1.0f;
    o->pre = flat ? 1.0f : pre;
    o->lo_h = flat ? 0.0f : wide_float(lo) * pre;
    o->lo_l = flat ? 0.0f : wide_low(lo) * pre;
    o->inv = flat ? 0.0f : (float)((real)1 / (span * (real)pre));
    o->off = flat ? 0.5f : 0.0f;
    /* The largest sample is at t = 1, never above: rounding must not make it "over". */
    float top =
        flat ? 0.0f : fmax((wide_float(hi) * pre - o->lo_h) - o->lo_l, wide_diff(hi, lo) * pre);
    for (int i = 0; i < 4 && top * o->inv > 1.0f; i++)
        o->inv = nextafter(o->inv, 0.0f);
    real lin = a->has_lin ? (real)a->lin : (real)0.01f * fmax(fabs(l), fabs(h));
    o->lin = (float)lin;
    o->flo = 0.0f;
    o->finv = 0.0f;
    if (!flat && a->mode == MODE_LOG) {
        o->flo = (float)log(l);
        o->finv = (float)((real)1 / (log(h) - log(l)));
    } else if (!flat && a->mode == MODE_SYMLOG) {
        real f = symlog(l, lin);
        o->flo = (float)f;
        o->finv = (float)((real)1 / (symlog(h, lin) - f));
    }
}

/* The moving average over frames: ema[3g] = lo, [3g+1] = hi, [3g+2] = whether it has begun. */
inline void smooth(const viz_range_args *a, global ulong *ema, wide *lo, wide *hi)
{
    if (ema[2]) {
        wide l = wide_bits(ema[0]), h = wide_bits(ema[1]), nl = *lo, nh = *hi;
        real al = (real)a->alpha;
        *lo = wide_add(l, wide_of(al * (real)wide_diff(nl, l)));
        *hi = wide_add(h, wide_of(al * (real)wide_diff(nh, h)));
        if (a->ema_instant) {
            *lo = wide_less(nl, *lo) ? nl : *lo;
            *hi = wide_less(*hi, nh) ? nh : *hi;
        }
    }
    ema[0] = bits_wide(*lo);
    ema[1] = bits_wide(*hi);
    ema[2] = 1;
}

/* out[g] from the group's partial sums and selected order statistics. Global: groups. */
kernel void viz_range_final(const global uchar *data, viz_region q, viz_range_args a,
                            const global viz_partial *partial, const global viz_select *select,
                            global ulong *ema, global viz_range_record *out)
{
    uint g = get_global_id(0);
    if (g >= q.groups)
        return;
    lane_sums s = empty_sums();
    wide origin = wide_of(0), lo, hi;
    if (a.mode != MODE_FIXED) {
        s = group_sums(partial, g, q.chunks);
        origin = region_origin(data, &q, g);
    }
    find_range(&a, &s, select + g, origin, &lo, &hi);
    bool seen = a.mode == MODE_FIXED || s.count > 0;
    if (a.mode == MODE_LOG)
        seen = wide_finite(lo) && wide_less(wide_of(0), hi);
    if (a.has_lo)
        lo = wide_bits(a.lo);
    if (a.has_hi)
        hi = wide_bits(a.hi);
    if (a.has_lo && a.has_hi)
        seen = true;
    if (a.mode == MODE_LOG && !wide_less(wide_of(0), lo))
        lo = wide_of(wide_real(hi) * (real)1e-6f);
    if (a.ema && seen)
        smooth(&a, ema + 3 * (ulong)g, &lo, &hi);
    fill_record(&a, lo, hi, seen, out + g);
}

/* ---- histograms over a range ---- */

/*
 * hist[slot·(bins + 2) + b] counts finite samples by bin of t = (v − lo)/(hi − lo); `clip`
 * puts what lies outside into the end bins, else it is counted in the last two. Zero before.
 */
kernel void viz_hist_count(const global uchar *data, viz_region q, uint bins, uint clip,
                           const global viz_range_record *range, global uint *hist)
{
    uint g = get_global_id(1), c = CHUNK, rows = region_rows(&q);
    if (c >= q.chunks)
        return;
    uint each = (rows + q.chunks - 1) / q.chunks, r1 = min(rows, (c + 1) * each);
    global uint *h = hist + HIST_SLOT(q, g, c) * (bins + 2);
    viz_range_record rec = range[g];
    wide lo = wide_bits(rec.lo);
    for (uint r = c * each; r < r1; r++) {
        uint n;
        ulong at = region_row(&q, g, r, &n);
        for (uint x = LANE; x < n; x += LANES) {
            ulong i = at + x * q.src.sx;
            float v = load_one(data, i, rec.flat ? wide_of(0) : lo, rec.lo_h, rec.lo_l, rec.pre);
            if (!isfinite(v))
                continue;
            float t = v * rec.inv + rec.off;
            uint b = (uint)min((int)(clamp(t, 0.0f, 1.0f) * (float)bins), (int)bins - 1);
            if (!clip && !rec.flat && t < 0)
                b = bins;
            if (!clip && !rec.flat && t > 1)
                b = bins + 1;
            BUMP(&h[b]);
        }
    }
}

/* cdf[g·(bins + 1) + b] = share of the samples in bins below b. Global: groups. */
kernel void viz_hist_cdf(const global uint *hist, uint chunks, uint bins, uint groups,
                         global float *cdf)
{
    uint g = get_global_id(0);
    if (g >= groups)
        return;
    chunks = HIST_SLOTS(chunks);
    const global uint *h = hist + (ulong)g * chunks * (bins + 2);
    global float *o = cdf + (ulong)g * (bins + 1);
    ulong n = 0, below = 0;
    for (uint c = 0; c < chunks; c++)
        for (uint b = 0; b < bins; b++)
            n += h[(ulong)c * (bins + 2) + b];
    for (uint b = 0; b <= bins; b++) {
        o[b] = n ? (float)((real)below / (real)n) : 0.0f;
        for (uint c = 0; b < bins && c < chunks; c++)
            below += h[(ulong)c * (bins + 2) + b];
    }
}

/* out[b] = the sum over chunks, for the histogram picture (one group). Global: bins + 2. */
kernel void viz_hist_sum(const global uint *hist, uint chunks, uint bins, global uint *out)
{
    uint b = get_global_id(0);
    if (b >= bins + 2)
        return;
    uint n = 0;
    for (uint c = 0; c < HIST_SLOTS(chunks); c++)
        n += hist[(ulong)c * (bins + 2) + b];
    out[b] = n;
}
