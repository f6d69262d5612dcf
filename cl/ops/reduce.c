#include "cl/ops/reduce.h"

#include "cl/ops/internal.h"
#include "cl/ops/move.h"

static ts_status run_axis(ts_ops *ops, ts_reduce op, const ts_arr *x, int64_t n, int64_t inner,
                          ts_arr *y, ts_error *err)
{
    int64_t total = ts_arr_elements(y);
    if (!ops->cpu && inner == 1 && n >= 64)
        return ts_ops_groups(ops, "reduce", "reduce_row", (size_t[3]){(size_t)total, 1, 1}, 128,
                             TS_ARGS(TS_OP_ARR(x), TS_OP_ARR(y), TS_INT(op), TS_UINT(n)), err);
    return ts_ops_flat(ops, "reduce", "reduce_axis", total, ops->cpu ? 4096 / (n ? n : 1) + 1 : 1,
                       TS_ARGS(TS_OP_ARR(x), TS_OP_ARR(y), TS_INT(op), TS_UINT(n), TS_ULONG(inner),
                               TS_ULONG(total)),
                       err);
}

/* Reduced axes that are not neighbours: move them to the end first. */
static ts_status reduce_moved(ts_ops *ops, ts_reduce op, const ts_arr *x, unsigned axes, int64_t n,
                              ts_arr *y, ts_error *err)
{
    int perm[8], k = 0;
    ts_arr moved = {.dtype = TS_F32, .shape = {.rank = x->shape.rank}};
    for (int pass = 0; pass < 2; pass++)
        for (int d = 0; d < x->shape.rank; d++)
            if ((axes >> d & 1) == (unsigned)pass)
                perm[k++] = d;
    for (int d = 0; d < k; d++)
        moved.shape.dim[d] = x->shape.dim[perm[d]];
    ts_status st = ts_ops_scratch(ops, 2, ts_arr_bytes(x), &moved.buffer, err);
    if (st == TS_OK)
        st = ts_op_transpose(ops, x, perm, &moved, err);
    return st == TS_OK ? run_axis(ops, op, &moved, n, 1, y, err) : st;
}

ts_status ts_op_reduce(ts_ops *ops, ts_reduce op, const ts_arr *x, unsigned axes, ts_arr *y,
                       ts_error *err)
{
    ts_status st = ts_ops_want_f32("reduce", "x", x, err);
    if (st == TS_OK)
        st = ts_ops_want_f32("reduce", "y", y, err);
    if (st != TS_OK)
        return st;
    int rank = x->shape.rank, first = -1, last = -1, members = 0;
    int64_t n = 1, inner = 1, kept = 1;
    for (int d = 0; d < rank; d++) {
        if (!(axes >> d & 1)) {
            kept *= x->shape.dim[d];
            continue;
        }
        n *= x->shape.dim[d];
        first = first < 0 ? d : first;
        last = d;
        members++;
    }
    if (axes >> rank)
        return ts_fail(err, TS_E_SHAPE, "reduce: an axis beyond rank %d", rank);
    if (ts_arr_elements(y) != kept)
        return ts_fail(err, TS_E_SHAPE, "reduce: y is %s, want %lld values",
                       ts_shape_text(&y->shape, (char[96]){0}, 96), (long long)kept);
    if (!kept)
        return TS_OK;
    if (members && last - first + 1 != members)
        return reduce_moved(ops, op, x, axes, n, y, err);
    for (int d = last + 1; d < rank && members; d++)
        inner *= x->shape.dim[d];
    return run_axis(ops, op, x, n, inner, y, err);
}

ts_status ts_op_argmax(ts_ops *ops, const ts_arr *x, int axis, bool smallest, bool take_last,
                       ts_arr *y, ts_error *err)
{
    ts_status st = ts_ops_want_f32("argmax", "x", x, err);
    int rank = x->shape.rank, a = axis < 0 ? axis + rank : axis;
    if (st != TS_OK)
        return st;
    if (y->dtype != TS_I32 && y->dtype != TS_I64)
        return ts_fail(err, TS_E_DTYPE, "argmax: y is %s, want i32 or i64",
                       ts_dtype_name(y->dtype));
    if (a < 0 || a >= rank || !x->shape.dim[a])
        return ts_fail(err, TS_E_SHAPE, "argmax: axis %d of %s", axis,
                       ts_shape_text(&x->shape, (char[96]){0}, 96));
    int64_t n = x->shape.dim[a], total = ts_arr_elements(x) / n, inner = 1;
    for (int d = a + 1; d < rank; d++)
        inner *= x->shape.dim[d];
    if (ts_arr_elements(y) != total)
        return ts_fail(err, TS_E_SHAPE, "argmax: y is %s, want %lld values",
                       ts_shape_text(&y->shape, (char[96]){0}, 96), (long long)total);
    return ts_ops_flat(ops, "reduce", "reduce_arg", total, ops->cpu ? 4096 / n + 1 : 1,
                       TS_ARGS(TS_OP_ARR(x), TS_OP_ARR(y), TS_INT(y->dtype == TS_I64),
                               TS_INT(smallest), TS_INT(take_last), TS_UINT(n), TS_ULONG(inner),
                               TS_ULONG(total)),
                       err);
}

ts_status ts_op_topk(ts_ops *ops, const ts_arr *x, int64_t k, bool smallest, ts_arr *values,
                     ts_arr *index, ts_error *err)
{
    ts_status st = ts_ops_want_f32("top-k", "x", x, err);
    if (st == TS_OK)
        st = ts_ops_want_f32("top-k", "values", values, err);
    if (st != TS_OK)
        return st;
    int rank = x->shape.rank;
    int64_t n = rank ? x->shape.dim[rank - 1] : 0;
    if (k < 1 || k > n)
        return ts_fail(err, TS_E_SHAPE, "top-k: %lld of %lld", (long long)k, (long long)n);
    if (index->dtype != TS_I32)
        return ts_fail(err, TS_E_DTYPE, "top-k: index is %s, want i32",
                       ts_dtype_name(index->dtype));
    ts_shape want = x->shape;
    want.dim[rank - 1] = k;
    st = ts_ops_want_shape("top-k", "values", values, &want, err);
    if (st == TS_OK)
        st = ts_ops_want_shape("top-k", "index", index, &want, err);
    int64_t rows = ts_arr_elements(x) / n;
    if (st != TS_OK || !rows)
        return st;
    return ts_ops_flat(ops, "reduce", "reduce_topk", ops->cpu ? rows : rows * n, 1,
                       TS_ARGS(TS_OP_ARR(x), TS_OP_ARR(values), TS_OP_ARR(index), TS_UINT(n),
                               TS_UINT(k), TS_INT(smallest), TS_ULONG(rows)),
                       err);
}
