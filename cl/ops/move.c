#include "cl/ops/move.h"

#include <stdio.h>
#include <string.h>

#include "cl/ops/internal.h"
#include "cl/ops/pointwise.h"

enum {
    GRAIN = 4096
};

/* As the kernels' move_args. */
typedef struct move_args {
    int32_t rank;
    uint32_t dim[8];
    int64_t sx[8], sy[8];
} move_args;

/* Drop axes of one element and merge neighbours that both sides walk alike. */
static move_args merged(int rank, const int64_t *dim, const int64_t *sx, const int64_t *sy)
{
    move_args p = {0};
    for (int d = 0; d < rank; d++) {
        if (dim[d] == 1)
            continue;
        if (p.rank && p.sx[p.rank - 1] == sx[d] * dim[d] && p.sy[p.rank - 1] == sy[d] * dim[d]) {
            p.dim[p.rank - 1] *= (uint32_t)dim[d];
        } else {
            p.dim[p.rank++] = (uint32_t)dim[d];
        }
        p.sx[p.rank - 1] = sx[d];
        p.sy[p.rank - 1] = sy[d];
    }
    if (!p.rank) {
        p.rank = 1;
        p.dim[0] = 1;
    }
    return p;
}

static void dense_strides(const ts_shape *shape, int64_t *s)
{
    int64_t step = 1;
    for (int d = shape->rank - 1; d >= 0; d--) {
        s[d] = step;
        step *= shape->dim[d];
    }
}

/* The strided copy; offsets in elements from the arrays' starts. */
static ts_status copy(ts_ops *ops, const ts_arr *x, int64_t x_at, ts_arr *y, int64_t y_at, int rank,
                      const int64_t *dim, const int64_t *sx, const int64_t *sy, ts_error *err)
{
    int64_t n = 1;
    for (int d = 0; d < rank; d++)
        n *= dim[d];
    if (x->dtype != y->dtype)
        return ts_fail(err, TS_E_DTYPE, "copy: %s into %s", ts_dtype_name(x->dtype),
                       ts_dtype_name(y->dtype));
    if (!n)
        return TS_OK;
    size_t width = ts_dtype_bytes(x->dtype);
    uint64_t xo = x->offset / width + (uint64_t)x_at, yo = y->offset / width + (uint64_t)y_at;
    move_args p = merged(rank, dim, sx, sy);
    if (p.rank == 1 && (p.dim[0] == 1 || (p.sx[0] == 1 && p.sy[0] == 1)))
        return ts_buffer_copy(ops->queue, x->buffer, xo * width, y->buffer, yo * width,
                              (size_t)n * width, err);
    char name[16];
    snprintf(name, sizeof name, "move_copy_%zu", width);
    /* CPU work-items take rows: one long row among few would leave cores idle, but is copied fast. */
    int64_t inner = p.dim[p.rank - 1], items = ops->cpu ? n / inner : n;
    return ts_ops_flat(ops, "move", name, items, ops->cpu ? GRAIN / inner + 1 : 1,
                       TS_ARGS(TS_BUF(x->buffer), TS_ULONG(xo), TS_BUF(y->buffer), TS_ULONG(yo),
                               TS_BYTES(&p, sizeof p), TS_ULONG(n)),
                       err);
}

ts_status ts_op_transpose(ts_ops *ops, const ts_arr *x, const int *perm, ts_arr *y, ts_error *err)
{
    int rank = x->shape.rank;
    int64_t dense[8], sx[8], sy[8];
    ts_shape want = {.rank = rank};
    unsigned seen = 0;
    dense_strides(&x->shape, dense);
    for (int d = 0; d < rank; d++) {
        if (perm[d] < 0 || perm[d] >= rank || (seen & 1u << perm[d]))
            return ts_fail(err, TS_E_SHAPE, "transpose: not a permutation of %d axes", rank);
        seen |= 1u << perm[d];
        want.dim[d] = x->shape.dim[perm[d]];
        sx[d] = dense[perm[d]];
    }
    ts_status st = ts_ops_want_shape("transpose", "y", y, &want, err);
    if (st != TS_OK)
        return st;
    dense_strides(&want, sy);
    return copy(ops, x, 0, y, 0, rank, want.dim, sx, sy, err);
}

ts_status ts_op_slice(ts_ops *ops, const ts_arr *x, const int64_t *start, const int64_t *step,
                      ts_arr *y, ts_error *err)
{
    int rank = x->shape.rank;
    int64_t dense[8], sx[8], sy[8], at = 0;
    if (y->shape.rank != rank)
        return ts_fail(err, TS_E_SHAPE, "slice: rank %d of rank %d", y->shape.rank, rank);
    dense_strides(&x->shape, dense);
    dense_strides(&y->shape, sy);
    for (int d = 0; d < rank; d++) {
        int64_t s = step ? step[d] : 1, last = start[d] + (y->shape.dim[d] - 1) * s;
        if (y->shape.dim[d] &&
            (start[d] < 0 || start[d] >= x->shape.dim[d] || last < 0 || last >= x->shape.dim[d]))
            return ts_fail(err, TS_E_SHAPE, "slice: axis %d takes %lld to %lld of %lld", d,
                           (long long)start[d], (long long)last, (long long)x->shape.dim[d]);
        at += start[d] * dense[d];
        sx[d] = s * dense[d];
    }
    return copy(ops, x, at, y, 0, rank, y->shape.dim, sx, sy, err);
}

ts_status ts_op_place(ts_ops *ops, const ts_arr *x, const int64_t *start, ts_arr *y, ts_error *err)
{
    int rank = x->shape.rank;
    int64_t sx[8], sy[8], at = 0;
    if (y->shape.rank != rank)
        return ts_fail(err, TS_E_SHAPE, "place: rank %d in rank %d", rank, y->shape.rank);
    dense_strides(&x->shape, sx);
    dense_strides(&y->shape, sy);
    for (int d = 0; d < rank; d++) {
        if (start[d] < 0 || start[d] + x->shape.dim[d] > y->shape.dim[d])
            return ts_fail(err, TS_E_SHAPE, "place: %s at %lld of axis %d of %s",
                           ts_shape_text(&x->shape, (char[96]){0}, 96), (long long)start[d], d,
                           ts_shape_text(&y->shape, (char[96]){0}, 96));
        at += start[d] * sy[d];
    }
    return copy(ops, x, 0, y, at, rank, x->shape.dim, sx, sy, err);
}

ts_status ts_op_concat(ts_ops *ops, const ts_arr *const *x, size_t n, int axis, ts_arr *y,
                       ts_error *err)
{
    int rank = y->shape.rank, a = axis < 0 ? axis + rank : axis;
    if (a < 0 || a >= rank)
        return ts_fail(err, TS_E_SHAPE, "concat: axis %d of rank %d", axis, rank);
    int64_t start[8] = {0}, total = 0;
    for (size_t i = 0; i < n; i++) {
        ts_shape want = y->shape;
        if (x[i]->shape.rank == rank)
            want.dim[a] = x[i]->shape.dim[a];
        ts_status st = ts_ops_want_shape("concat", "an input", x[i], &want, err);
        if (st != TS_OK)
            return st;
        total += want.dim[a];
    }
    if (total != y->shape.dim[a])
        return ts_fail(err, TS_E_SHAPE, "concat: inputs have %lld of axis %d, y has %lld",
                       (long long)total, a, (long long)y->shape.dim[a]);
    for (size_t i = 0; i < n; i++) {
        ts_status st = ts_op_place(ops, x[i], start, y, err);
        if (st != TS_OK)
            return st;
        start[a] += x[i]->shape.dim[a];
    }
    return TS_OK;
}

ts_status ts_op_expand(ts_ops *ops, const ts_arr *x, ts_arr *y, ts_error *err)
{
    int rank = y->shape.rank, lead = rank - x->shape.rank;
    int64_t dense[8], sx[8] = {0}, sy[8];
    if (lead < 0)
        return ts_fail(err, TS_E_SHAPE, "expand: rank %d to rank %d", x->shape.rank, rank);
    dense_strides(&x->shape, dense);
    dense_strides(&y->shape, sy);
    for (int d = lead; d < rank; d++) {
        int64_t have = x->shape.dim[d - lead];
        if (have != 1 && have != y->shape.dim[d])
            return ts_fail(err, TS_E_SHAPE, "expand: %s to %s",
                           ts_shape_text(&x->shape, (char[96]){0}, 96),
                           ts_shape_text(&y->shape, (char[96]){0}, 96));
        sx[d] = have == 1 ? 0 : dense[d - lead];
    }
    return copy(ops, x, 0, y, 0, rank, y->shape.dim, sx, sy, err);
}

ts_status ts_op_gather(ts_ops *ops, const ts_arr *x, const ts_arr *index, int axis, ts_arr *y,
                       ts_error *err)
{
    int rank = x->shape.rank, a = axis < 0 ? axis + rank : axis, k = index->shape.rank;
    if (a < 0 || a >= rank || rank - 1 + k > TS_MAX_RANK)
        return ts_fail(err, TS_E_SHAPE, "gather: axis %d of rank %d by rank %d", axis, rank, k);
    if (index->dtype != TS_I32 && index->dtype != TS_I64)
        return ts_fail(err, TS_E_DTYPE, "gather: index is %s, want i32 or i64",
                       ts_dtype_name(index->dtype));
    if (x->dtype != y->dtype)
        return ts_fail(err, TS_E_DTYPE, "gather: %s into %s", ts_dtype_name(x->dtype),
                       ts_dtype_name(y->dtype));
    ts_shape want = {.rank = rank - 1 + k};
    int64_t outer = 1, inner = 1, n = x->shape.dim[a], count = ts_arr_elements(index);
    for (int d = 0; d < a; d++)
        outer *= want.dim[d] = x->shape.dim[d];
    for (int d = 0; d < k; d++)
        want.dim[a + d] = index->shape.dim[d];
    for (int d = a + 1; d < rank; d++)
        inner *= want.dim[d - 1 + k] = x->shape.dim[d];
    ts_status st = ts_ops_want_shape("gather", "y", y, &want, err);
    if (st != TS_OK)
        return st;
    int64_t rows = outer * count;
    if (!rows || !inner)
        return TS_OK;
    if (!n)
        return ts_fail(err, TS_E_SHAPE, "gather: from an empty axis");
    int64_t bytes = inner * (int64_t)ts_dtype_bytes(x->dtype);
    return ts_ops_flat(ops, "move", "move_gather", ops->cpu ? rows : rows * bytes,
                       ops->cpu ? GRAIN / bytes + 1 : 1,
                       TS_ARGS(TS_BUF(x->buffer), TS_ULONG(x->offset), TS_OP_ARR(index),
                               TS_INT(index->dtype == TS_I64), TS_BUF(y->buffer),
                               TS_ULONG(y->offset), TS_UINT(n), TS_UINT(count), TS_ULONG(bytes),
                               TS_ULONG(rows)),
                       err);
}

ts_status ts_op_copy(ts_ops *ops, const ts_arr *x, ts_arr *y, ts_error *err)
{
    if (x->dtype != y->dtype || ts_arr_elements(x) != ts_arr_elements(y))
        return ts_fail(err, TS_E_SHAPE, "copy: %s %s into %s %s", ts_dtype_name(x->dtype),
                       ts_shape_text(&x->shape, (char[96]){0}, 96), ts_dtype_name(y->dtype),
                       ts_shape_text(&y->shape, (char[96]){0}, 96));
    if (!ts_arr_elements(x))
        return TS_OK;
    return ts_buffer_copy(ops->queue, x->buffer, x->offset, y->buffer, y->offset, ts_arr_bytes(x),
                          err);
}

/* As the kernels' pad_args. */
typedef struct pad_args {
    int32_t rank;
    uint32_t in[8], out[8];
    int32_t front[8];
} pad_args;

ts_status ts_op_pad(ts_ops *ops, const ts_arr *x, const int64_t *front, ts_pad_mode mode,
                    float value, ts_arr *y, ts_error *err)
{
    ts_status st = ts_ops_want_f32("pad", "x", x, err);
    if (st == TS_OK)
        st = ts_ops_want_f32("pad", "y", y, err);
    if (st != TS_OK)
        return st;
    if (x->shape.rank != y->shape.rank)
        return ts_fail(err, TS_E_SHAPE, "pad: rank %d to rank %d", x->shape.rank, y->shape.rank);
    int64_t n = ts_arr_elements(y);
    if (!n)
        return TS_OK;
    if (!ts_arr_elements(x)) {
        if (mode != TS_PAD_CONSTANT)
            return ts_fail(err, TS_E_SHAPE, "pad: nothing to repeat in an empty array");
        return ts_op_fill(ops, y, value, err);
    }
    pad_args p = {.rank = x->shape.rank ? x->shape.rank : 1, .in = {1}, .out = {1}};
    for (int d = 0; d < x->shape.rank; d++) {
        p.in[d] = (uint32_t)x->shape.dim[d];
        p.out[d] = (uint32_t)y->shape.dim[d];
        p.front[d] = (int32_t)front[d];
    }
    return ts_ops_flat(ops, "move", "move_pad", n, GRAIN,
                       TS_ARGS(TS_OP_ARR(x), TS_OP_ARR(y), TS_BYTES(&p, sizeof p), TS_INT(mode),
                               TS_FLOAT(value), TS_ULONG(n)),
                       err);
}

ts_status ts_op_blend(ts_ops *ops, const ts_arr *x, const ts_arr *row_weight,
                      const ts_arr *col_weight, int64_t top, int64_t left, ts_arr *y, ts_error *err)
{
    const ts_arr *all[] = {x, row_weight, col_weight, y};
    static const char *const names[] = {"x", "row_weight", "col_weight", "y"};
    ts_status st = TS_OK;
    for (int i = 0; i < 4 && st == TS_OK; i++)
        st = ts_ops_want_f32("blend", names[i], all[i], err);
    if (st != TS_OK)
        return st;
    int rank = x->shape.rank;
    bool fits = rank >= 2 && y->shape.rank == rank;
    for (int d = 0; d < rank - 2 && fits; d++)
        fits = x->shape.dim[d] == y->shape.dim[d];
    int64_t h = fits ? x->shape.dim[rank - 2] : 0, w = fits ? x->shape.dim[rank - 1] : 0;
    int64_t big_h = fits ? y->shape.dim[rank - 2] : 0, big_w = fits ? y->shape.dim[rank - 1] : 0;
    if (!fits || top < 0 || left < 0 || top + h > big_h || left + w > big_w ||
        ts_arr_elements(row_weight) != h || ts_arr_elements(col_weight) != w)
        return ts_fail(err, TS_E_SHAPE, "blend: %s at %lld, %lld of %s",
                       ts_shape_text(&x->shape, (char[96]){0}, 96), (long long)top, (long long)left,
                       ts_shape_text(&y->shape, (char[96]){0}, 96));
    int64_t n = ts_arr_elements(x);
    if (!n)
        return TS_OK;
    return ts_ops_flat(ops, "move", "move_blend", ops->cpu ? n / w : n,
                       ops->cpu ? GRAIN / w + 1 : 1,
                       TS_ARGS(TS_OP_ARR(x), TS_BUF(row_weight->buffer), TS_BUF(col_weight->buffer),
                               TS_OP_ARR(y), TS_INT(h), TS_INT(w), TS_INT(big_h), TS_INT(big_w),
                               TS_INT(top), TS_INT(left), TS_ULONG(n / w)),
                       err);
}
