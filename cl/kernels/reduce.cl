/*
 * Reductions, arg-max and top-k over the middle axis of [outer][n][inner], f32.
 * CPU: work-items take (outer, inner) results, vectors over inner or over n; GPU: one item per result
 * (inner > 1) or a group of 128 per result. Reference: tests/ref/ref_reduce.c.
 */
#include "ops.clh"

enum {
    RED_SUM,
    RED_MEAN,
    RED_MAX,
    RED_MIN,
    RED_PROD,
    RED_L1,
    RED_L2,
    RED_SUM_SQUARE,
    RED_LOG_SUM,
    RED_LOG_SUM_EXP
};

static inline float red_start(int op)
{
    return op == RED_MAX ? -INFINITY : op == RED_MIN ? INFINITY : op == RED_PROD ? 1.0f : 0.0f;
}

/* A maximum that meets a NaN is NaN, as is a minimum. */
#define DEFINE_STEP(T, SUFFIX)                                 \
    static inline T red_step_##SUFFIX(int op, T s, T v, T top) \
    {                                                          \
        switch (op) {                                          \
        case RED_MAX:                                          \
            return (s >= v) ? s : ((s != s) ? s : v);          \
        case RED_MIN:                                          \
            return (s <= v) ? s : ((s != s) ? s : v);          \
        case RED_PROD:                                         \
            return s * v;                                      \
        case RED_L1:                                           \
            return s + fabs(v);                                \
        case RED_L2:                                           \
        case RED_SUM_SQUARE:                                   \
            return fma(v, v, s);                               \
        case RED_LOG_SUM_EXP:                                  \
            return s + exp(v - top);                           \
        default:                                               \
            return s + v;                                      \
        }                                                      \
    }
DEFINE_STEP(float, f)
#ifdef TS_CPU
DEFINE_STEP(vf, v)
#endif

static inline float red_join(int op, float a, float b)
{
    return op == RED_MAX || op == RED_MIN || op == RED_PROD ? red_step_f(op, a, b, 0.0f) : a + b;
}

static inline float red_end(int op, float s, uint n, float top)
{
    switch (op) {
    case RED_MEAN:
        return s / n;
    case RED_L2:
        return sqrt(s);
    case RED_LOG_SUM:
        return log(s);
    case RED_LOG_SUM_EXP:
        return log(s) + top;
    default:
        return s;
    }
}

/* exp is taken of differences to the maximum; an infinite maximum would give NaN. */
static inline float red_top(float top)
{
    return isinf(top) ? 0.0f : top;
}

kernel void reduce_axis(global const float *x, ulong xo, global float *y, ulong yo, int op, uint n,
                        ulong inner, ulong total)
{
    x += xo;
    y += yo;
#ifdef TS_CPU
    TS_PIECE(total, first, last);
    ulong at = first;
    while (at < last) {
        const ulong o = at / inner, c = at % inner;
        global const float *from = x + o * n * inner + c;
        if (inner >= TS_V && c + TS_V <= inner && at + TS_V <= last) {
            vf top = (vf)(0.0f), s = (vf)(red_start(op));
            if (op == RED_LOG_SUM_EXP) {
                top = (vf)(-INFINITY);
                for (uint i = 0; i < n; ++i)
                    top = fmax(top, VLOAD(from + i * inner));
                top = fabs(top) == (vf)(INFINITY) ? (vf)(0.0f) : top;
            }
            for (uint i = 0; i < n; ++i)
                s = red_step_v(op, s, VLOAD(from + i * inner), top);
            float a[TS_V], t[TS_V];
            VSTORE(s, a);
            VSTORE(top, t);
            for (int i = 0; i < TS_V; ++i)
                y[at + i] = red_end(op, a[i], n, t[i]);
            at += TS_V;
            continue;
        }
        float top = 0.0f, s = red_start(op);
        if (op == RED_LOG_SUM_EXP) {
            top = -INFINITY;
            for (uint i = 0; i < n; ++i)
                top = fmax(top, from[i * inner]);
            top = red_top(top);
        }
        uint i = 0;
        if (inner == 1 && n >= 2 * TS_V) {
            vf vs = (vf)(red_start(op));
            for (; i + TS_V <= n; i += TS_V)
                vs = red_step_v(op, vs, VLOAD(from + i), (vf)(top));
            float a[TS_V];
            VSTORE(vs, a);
            for (int k = 0; k < TS_V; ++k)
                s = red_join(op, s, a[k]);
        }
        for (; i < n; ++i)
            s = red_step_f(op, s, from[i * inner], top);
        y[at] = red_end(op, s, n, top);
        ++at;
    }
#else
    TS_EACH(at, total)
    {
        global const float *from = x + at / inner * n * inner + at % inner;
        float top = 0.0f, s = red_start(op);
        if (op == RED_LOG_SUM_EXP) {
            top = -INFINITY;
            for (uint i = 0; i < n; ++i)
                top = fmax(top, from[i * inner]);
            top = red_top(top);
        }
        for (uint i = 0; i < n; ++i)
            s = red_step_f(op, s, from[i * inner], top);
        y[at] = red_end(op, s, n, top);
    }
#endif
}

#ifndef TS_CPU
#    define G 128
/* inner = 1: a group per row. */
kernel __attribute__((reqd_work_group_size(G, 1, 1))) void reduce_row(global const float *x,
                                                                      ulong xo, global float *y,
                                                                      ulong yo, int op, uint n)
{
    local float t[G];
    const uint me = get_local_id(0);
    const ulong row = get_group_id(0);
    global const float *from = x + xo + row * n;
    float top = 0.0f;
    if (op == RED_LOG_SUM_EXP) {
        top = -INFINITY;
        for (uint i = me; i < n; i += G)
            top = fmax(top, from[i]);
        t[me] = top;
        barrier(CLK_LOCAL_MEM_FENCE);
        for (uint step = G / 2; step; step /= 2) {
            if (me < step)
                t[me] = fmax(t[me], t[me + step]);
            barrier(CLK_LOCAL_MEM_FENCE);
        }
        top = red_top(t[0]);
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    float s = red_start(op);
    for (uint i = me; i < n; i += G)
        s = red_step_f(op, s, from[i], top);
    t[me] = s;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint step = G / 2; step; step /= 2) {
        if (me < step)
            t[me] = red_join(op, t[me], t[me + step]);
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    if (!me)
        y[yo + row] = red_end(op, t[0], n, top);
}
#endif

/*
 * Index of the largest (or smallest) element, the first (or last) of equals; i64 or i32.
 * A NaN counts as the largest (smallest). gid 0 walks outer*inner.
 */
kernel void reduce_arg(global const float *x, ulong xo, global int *y, ulong yo, int wide,
                       int smallest, int take_last, uint n, ulong inner, ulong total)
{
    TS_EACH(at, total)
    {
        global const float *from = x + xo + at / inner * n * inner + at % inner;
        uint best = 0;
        float top = from[0];
        for (uint i = 1; i < n; ++i) {
            const float v = from[i * inner];
            const int better = isnan(v) ? !isnan(top) : smallest ? v < top : v > top;
            const int equal = v == top || (isnan(v) && isnan(top));
            if (better || (take_last && equal)) {
                best = i;
                top = v;
            }
        }
        if (wide)
            ((global long *)y)[yo + at] = best;
        else
            y[yo + at] = (int)best;
    }
}

/* True when element (v, i) comes before (w, j): larger (or smaller) first, lower index on ties. */
static inline int before(float v, uint i, float w, uint j, int smallest)
{
    if (isnan(v) || isnan(w))
        return isnan(v) && isnan(w) ? i < j : isnan(v) != smallest;
    if (v != w)
        return smallest ? v < w : v > w;
    return i < j;
}

#ifdef TS_CPU
/*
 * Top k of each row, sorted. A heap of k (its root the worst kept) lies in `heap_i`, [rows][k];
 * indices go to i32. gid 0 walks the rows.
 */
kernel void reduce_topk(global const float *x, ulong xo, global float *y, ulong yo,
                        global int *index, ulong io, uint n, uint k, int smallest, ulong rows)
{
    TS_PIECE(rows, first, last);
    for (ulong row = first; row < last; ++row) {
        global const float *from = x + xo + row * n;
        global float *v = y + yo + row * k;
        global int *id = index + io + row * k;
        uint have = 0;
        for (uint i = 0; i < n + k; ++i) {
            /* Beyond n: pop the worst to the back, k times: the heap becomes the sorted list. */
            float value;
            uint at, size;
            int key;
            if (i < n) {
                value = from[i];
                key = (int)i;
                if (have < k) { /* sift up */
                    uint c = have++;
                    while (c) {
                        const uint up = (c - 1) / 2;
                        if (!before(v[up], id[up], value, key, smallest))
                            break;
                        v[c] = v[up];
                        id[c] = id[up];
                        c = up;
                    }
                    v[c] = value;
                    id[c] = key;
                    continue;
                }
                if (!before(value, key, v[0], id[0], smallest))
                    continue;
                size = k;
            } else {
                size = --have;
                if (!size)
                    break;
                value = v[size];
                key = id[size];
                v[size] = v[0];
                id[size] = id[0];
            }
            for (at = 0;;) { /* sift down from the root */
                uint c = 2 * at + 1;
                if (c >= size)
                    break;
                if (c + 1 < size && before(v[c], id[c], v[c + 1], id[c + 1], smallest))
                    ++c;
                if (before(v[c], id[c], value, key, smallest))
                    break;
                v[at] = v[c];
                id[at] = id[c];
                at = c;
            }
            v[at] = value;
            id[at] = key;
        }
    }
}
#else
/* The rank of an element is the number of those before it: no order between items is needed. */
kernel void reduce_topk(global const float *x, ulong xo, global float *y, ulong yo,
                        global int *index, ulong io, uint n, uint k, int smallest, ulong rows)
{
    TS_EACH(e, rows * n)
    {
        const ulong row = e / n;
        const uint i = e % n;
        global const float *from = x + xo + row * n;
        const float v = from[i];
        uint rank = 0;
        for (uint j = 0; j < n && rank < k; ++j)
            rank += before(from[j], j, v, i, smallest);
        if (rank < k) {
            y[yo + row * k + rank] = v;
            index[io + row * k + rank] = (int)i;
        }
    }
}
#endif
