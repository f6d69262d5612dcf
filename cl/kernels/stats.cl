/*
 * Statistics of a tensor: sums and extremes, centred squares and histogram, order statistics.
 *
 * Built with -DTS_IN=<dtype>. Partial results are kept apart for every work-item and folded later:
 * `values` is real[N_VALUES][items], `counts` ulong[N_COUNTS][items]. real is double where the device
 * has doubles, else float with compensated sums. Elements that are not finite are counted and left out.
 * On CPU devices an item takes a run of elements, elsewhere items take turns.
 */
#include "common.clh"
#include "stats.clh"

#ifndef TS_IN
#    define TS_IN TS_DT_F32
#endif

#ifdef TS_HAS_FP64
typedef double real;
#    define LOAD(data, i)          ts_load_any_double(TS_IN, (data), (i))
#    define ADD(sum, carry, value) (sum) += (value)
#else
typedef float real;
#    define LOAD(data, i) ts_load_any(TS_IN, (data), (i))
/* Kahan: the carry is what the sum lost so far. */
#    define ADD(sum, carry, value)       \
        do {                             \
            real y_ = (value) - (carry); \
            real t_ = (sum) + y_;        \
            (carry) = (t_ - (sum)) - y_; \
            (sum) = t_;                  \
        } while (0)
#endif

#ifdef TS_CPU
#    define EACH(i, n)                                                              \
        for (ulong each_ = ((n) + get_global_size(0) - 1) / get_global_size(0),     \
                   i = get_global_id(0) * each_, end_ = min((ulong)(n), i + each_); \
             i < end_; i++)
#else
#    define EACH(i, n) for (ulong i = get_global_id(0); i < (n); i += get_global_size(0))
#endif

/* Built with -DTS_IN. Global: the number of items. Reference: tests/ref/ref_stats.c. */
kernel void stats_sums(const global uchar *data, ulong first, ulong n, global real *values,
                       global ulong *counts)
{
    real sum = 0, sum_carry = 0, abs_sum = 0, abs_carry = 0, squares = 0, squares_carry = 0;
    real low = INFINITY, high = -INFINITY;
    ulong finite = 0, nans = 0, posinf = 0, neginf = 0, zeros = 0, at_low = 0, at_high = 0;
    EACH(i, n)
    {
        real v = LOAD(data, first + i);
        if (isnan(v)) {
            nans++;
        } else if (isinf(v)) {
            posinf += v > 0;
            neginf += v < 0;
        } else {
            finite++;
            zeros += v == 0;
            ADD(sum, sum_carry, v);
            ADD(abs_sum, abs_carry, fabs(v));
            ADD(squares, squares_carry, v * v);
            if (v < low) {
                low = v;
                at_low = i;
            }
            if (v > high) {
                high = v;
                at_high = i;
            }
        }
    }
    ulong items = get_global_size(0), me = get_global_id(0);
    values[V_SUM * items + me] = sum;
    values[V_ABS * items + me] = abs_sum;
    values[V_SQUARES * items + me] = squares;
    values[V_MIN * items + me] = low;
    values[V_MAX * items + me] = high;
    counts[C_FINITE * items + me] = finite;
    counts[C_NAN * items + me] = nans;
    counts[C_POSINF * items + me] = posinf;
    counts[C_NEGINF * items + me] = neginf;
    counts[C_ZERO * items + me] = zeros;
    counts[C_ARGMIN * items + me] = at_low;
    counts[C_ARGMAX * items + me] = at_high;
}

/* Is (v, at) to be preferred to the extreme so far? Of equal ones the first. */
#define BETTER(v, at, best, at_best, op) ((v)op(best) || ((v) == (best) && (at) < (at_best)))

/* Fold the results of `items` items into those of get_global_size(0) items. */
kernel void stats_fold(const global real *values, const global ulong *counts, ulong items,
                       global real *out_values, global ulong *out_counts)
{
    ulong me = get_global_id(0), outs = get_global_size(0);
    real sums[3] = {0, 0, 0}, carry[3] = {0, 0, 0}, low = INFINITY, high = -INFINITY;
    ulong total[5] = {0, 0, 0, 0, 0}, at_low = 0, at_high = 0;
    for (ulong k = me; k < items; k += outs) {
        for (int v = 0; v < 3; v++)
            ADD(sums[v], carry[v], values[v * items + k]);
        for (int c = 0; c < 5; c++)
            total[c] += counts[c * items + k];
        if (!counts[C_FINITE * items + k])
            continue;
        real l = values[V_MIN * items + k], h = values[V_MAX * items + k];
        ulong al = counts[C_ARGMIN * items + k], ah = counts[C_ARGMAX * items + k];
        if (BETTER(l, al, low, at_low, <)) {
            low = l;
            at_low = al;
        }
        if (BETTER(h, ah, high, at_high, >)) {
            high = h;
            at_high = ah;
        }
    }
    for (int v = 0; v < 3; v++)
        out_values[v * outs + me] = sums[v];
    out_values[V_MIN * outs + me] = low;
    out_values[V_MAX * outs + me] = high;
    for (int c = 0; c < 5; c++)
        out_counts[c * outs + me] = total[c];
    out_counts[C_ARGMIN * outs + me] = at_low;
    out_counts[C_ARGMAX * outs + me] = at_high;
}

/*
 * Where the counts of an item go: its own row on CPU devices, one row for all with atomics elsewhere.
 * The caller zeroes what has been allocated.
 */
#ifdef TS_CPU
#    define COUNT(table, size, bin) (table)[get_global_id(0) * (size) + (bin)]++
#else
#    define COUNT(table, size, bin) atomic_inc(&(table)[bin])
#endif

/*
 * squares[item] = Σ (v - mean)²; histogram[min(floor((v - low) / width · bins), bins - 1)]++, all of
 * it scaled by `scale` first (0.5 where the range itself overflows). width 0 puts all into bin 0.
 */
kernel void stats_centred(const global uchar *data, ulong first, ulong n, real mean, real low,
                          real width, real scale, uint bins, global real *squares,
                          global uint *histogram)
{
    real sum = 0, carry = 0;
    EACH(i, n)
    {
        real v = LOAD(data, first + i);
        if (!isfinite(v))
            continue;
        real d = v - mean;
        ADD(sum, carry, d * d);
        int bin = width > 0 ? (int)floor((v * scale - low) / width * bins) : 0;
        bin = clamp(bin, 0, (int)bins - 1);
        COUNT(histogram, bins, bin);
    }
    squares[get_global_id(0)] = sum;
}

/* ---- order statistics: a radix tree over keys whose order is that of the values ---- */

#if TS_IN == TS_DT_F64 || TS_IN == TS_DT_I64 || TS_IN == TS_DT_U64
typedef ulong sort_key;
#    define KEY_BITS 64
#else
typedef uint sort_key;
#    define KEY_BITS 32
#endif

#define DIGIT_BITS 11
#define RADIX      2048
#define NO_SLOT    255

/* False for what is not finite. */
inline bool load_key(const global uchar *data, ulong i, sort_key *key)
{
#if TS_IN == TS_DT_F64
    ulong bits = ((const global ulong *)data)[i];
    if ((bits & 0x7ff0000000000000UL) == 0x7ff0000000000000UL)
        return false;
    *key = (bits >> 63) ? ~bits : bits | 0x8000000000000000UL;
#elif TS_IN == TS_DT_I64
    *key = ((const global ulong *)data)[i] ^ 0x8000000000000000UL;
#elif TS_IN == TS_DT_U64
    *key = ((const global ulong *)data)[i];
#elif TS_IN == TS_DT_I32
    *key = ((const global uint *)data)[i] ^ 0x80000000u;
#elif TS_IN == TS_DT_U32
    *key = ((const global uint *)data)[i];
#else
    uint bits = as_uint(ts_load_any(TS_IN, data, i));
    if ((bits & 0x7f800000u) == 0x7f800000u)
        return false;
    *key = (bits >> 31) ? ~bits : bits | 0x80000000u;
#endif
    return true;
}

/* Digit `level` of a key, the highest first; the last one is shorter. */
inline uint digit_of(sort_key key, uint level)
{
    int shift = KEY_BITS - DIGIT_BITS * ((int)level + 1);
    return (uint)(shift >= 0 ? key >> shift : key << -shift) & (RADIX - 1);
}

/*
 * Counts of digit `level` for every slot: counts[slot][digit]. A slot is a prefix that holds a wanted
 * rank; tables[l][slot][digit] is its slot of level l + 1, or NO_SLOT. n_slots: of this level.
 */
kernel void stats_ranks(const global uchar *data, ulong first, ulong n, uint level, uint max_slots,
                        const global uchar *tables, uint n_slots, global uint *counts)
{
    EACH(i, n)
    {
        sort_key key;
        if (!load_key(data, first + i, &key))
            continue;
        uint slot = 0;
        for (uint l = 0; l < level && slot != NO_SLOT; l++)
            slot = tables[(l * max_slots + slot) * RADIX + digit_of(key, l)];
        if (slot != NO_SLOT)
            COUNT(counts, n_slots * RADIX, slot * RADIX + digit_of(key, level));
    }
}
