/*
 * Expressions over tensors: one pass over the output that runs a small program on a stack, and
 * reductions along an axis.
 *
 * Built with -DTS_IN f32 or f64: the type computed in and written. The inputs' types are arguments.
 * On CPU devices the program runs on strips of EXPR_STRIP elements, so that its steps are loops.
 * Reference: tests/unit/test_expr.c.
 */
#include "viz.clh"

#if VIZ_IS_WIDE(TS_IN) && defined(VIZ_FP64)
typedef double val;
#    define LOAD_VAL(dtype, data, i) ts_load_any_double((dtype), (data), (i))
#else
typedef float val;
#    define LOAD_VAL(dtype, data, i) ts_load_any((dtype), (data), (i))
#endif

#ifdef TS_CPU
#    define EXPR_STRIP 64
#else
#    define EXPR_STRIP 1
#endif

/* Element offset of output element e in a leaf. */
inline ulong leaf_offset(const global viz_expr *q, const global viz_leaf *leaf, ulong e)
{
    ulong at = leaf->base;
    for (int k = q->rank - 1; k >= 0; k--) {
        at += (e % q->dim[k]) * leaf->stride[k];
        e /= q->dim[k];
    }
    return at;
}

inline void load_strip(const global uchar *data, const global viz_expr *q, int leaf, ulong e, int n,
                       val *out)
{
    ulong inner = q->rank ? q->dim[q->rank - 1] : 1;
    ulong step = q->rank ? q->leaf[leaf].stride[q->rank - 1] : 0;
    for (int i = 0; i < n;) {
        ulong at = leaf_offset(q, &q->leaf[leaf], e + i);
        int run = (int)min((ulong)(n - i), inner - (e + i) % inner);
        for (int j = 0; j < run; j++)
            out[i + j] = LOAD_VAL(q->leaf[leaf].dtype, data, at + j * step);
        i += run;
    }
}

#define EACH(expression)          \
    for (int i = 0; i < n; i++) { \
        val a = x[i], b = y[i];   \
        x[i] = (expression);      \
        (void)b;                  \
    }                             \
    break

/* out[e] for e < count. Global: any number of items; each takes a run of elements. */
kernel void viz_expr_run(const global viz_expr *q, const global uchar *d0, const global uchar *d1,
                         const global uchar *d2, const global uchar *d3, const global uchar *d4,
                         const global uchar *d5, const global uchar *d6, const global uchar *d7,
                         global val *out)
{
    const global uchar *data[VIZ_EXPR_LEAVES] = {d0, d1, d2, d3, d4, d5, d6, d7};
    ulong items = get_global_size(0), each = (q->count + items - 1) / items;
    ulong from = get_global_id(0) * each, to = min(q->count, from + each);
    val stack[VIZ_EXPR_STACK][EXPR_STRIP];
    for (ulong e = from; e < to; e += EXPR_STRIP) {
        int n = (int)min((ulong)EXPR_STRIP, to - e), top = 0;
        for (int c = 0; c < q->n_codes; c++) {
            int op = q->code[c].op;
            if (op == VIZ_EXPR_LOAD) {
                load_strip(data[q->code[c].leaf], q, q->code[c].leaf, e, n, stack[top++]);
                continue;
            }
            if (op == VIZ_EXPR_CONST) {
                for (int i = 0; i < n; i++)
                    stack[top][i] = (val)q->code[c].value + (val)q->code[c].low;
                top++;
                continue;
            }
            bool unary = op == VIZ_EXPR_NEG || op == VIZ_EXPR_ABS;
            top -= unary ? 0 : 1;
            val *x = stack[top - 1], *y = stack[unary ? top - 1 : top];
            switch (op) {
            case VIZ_EXPR_ADD:
                EACH(a + b);
            case VIZ_EXPR_SUB:
                EACH(a - b);
            case VIZ_EXPR_MUL:
                EACH(a * b);
            case VIZ_EXPR_DIV:
                EACH(a / b);
            case VIZ_EXPR_MIN:
                EACH(isnan(a) || isnan(b) ? (val)NAN : fmin(a, b));
            case VIZ_EXPR_MAX:
                EACH(isnan(a) || isnan(b) ? (val)NAN : fmax(a, b));
            case VIZ_EXPR_NEG:
                EACH(-a);
            default:
                EACH(fabs(a));
            }
        }
        for (int i = 0; i < n; i++)
            out[e + i] = stack[0][i];
    }
}

#define REDUCE_MIN 1
#define REDUCE_MAX 2
#define REDUCE_SUM 3

/*
 * Along the middle axis of [outer, n, inner], in parts of `run` elements so that few results do not
 * mean few items: out[(o·inner + i)·parts + p], sums divided by `divisor`; NaN stays NaN. Global:
 * (inner, outer, parts).
 */
kernel void viz_expr_reduce(const global val *in, ulong base, ulong n, ulong inner, ulong outer,
                            ulong run, ulong divisor, int op, global val *out)
{
    ulong i = get_global_id(0), o = get_global_id(1), part = get_global_id(2);
    ulong parts = (n + run - 1) / run;
    if (i >= inner || o >= outer || part >= parts)
        return;
    const global val *p = in + base + o * n * inner + i;
    ulong from = part * run, to = min(n, from + run);
    val best = p[from * inner];
    wide sum = wide_of(0);
    for (ulong k = from; k < to; k++) {
        val v = p[k * inner];
        sum = wide_add(sum, wide_of((real)v));
        if (isnan(v) || isnan(best))
            best = (val)NAN;
        else
            best = op == REDUCE_MIN ? fmin(best, v) : fmax(best, v);
    }
    if (op == REDUCE_SUM)
        best = (val)(wide_real(sum) / (real)divisor);
    out[(o * inner + i) * parts + part] = best;
}
