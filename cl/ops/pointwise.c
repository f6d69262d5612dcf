#include "cl/ops/pointwise.h"

#include <string.h>

#include "cl/ops/internal.h"

enum {
    GRAIN = 4096
};

ts_status ts_op_unary(ts_ops *ops, const ts_arr *x, const ts_act *act, ts_arr *y, ts_error *err)
{
    ts_status st = ts_ops_want_f32("unary", "x", x, err);
    if (st == TS_OK)
        st = ts_ops_want_f32("unary", "y", y, err);
    if (st == TS_OK)
        st = ts_ops_want_shape("unary", "y", y, &x->shape, err);
    if (st == TS_OK && act->kind >= TS_ACT_COUNT)
        return ts_fail(err, TS_E_OPTION, "unary: no activation %d", (int)act->kind);
    if (st != TS_OK)
        return st;
    int64_t n = ts_arr_elements(x);
    return ts_ops_flat(ops, "pointwise", "pointwise_unary", n, GRAIN,
                       TS_ARGS(TS_OP_ARR(x), TS_OP_ARR(y), TS_OP_ACT(*act), TS_ULONG(n)), err);
}

ts_status ts_broadcast_shape(const ts_shape *a, const ts_shape *b, ts_shape *out, ts_error *err)
{
    ts_shape s = {.rank = a->rank > b->rank ? a->rank : b->rank};
    for (int i = 0; i < s.rank; i++) {
        int64_t da = i < a->rank ? a->dim[a->rank - 1 - i] : 1;
        int64_t db = i < b->rank ? b->dim[b->rank - 1 - i] : 1;
        if (da != db && da != 1 && db != 1)
            return ts_fail(err, TS_E_SHAPE, "%s and %s do not broadcast",
                           ts_shape_text(a, (char[96]){0}, 96),
                           ts_shape_text(b, (char[96]){0}, 96));
        s.dim[s.rank - 1 - i] = da == 1 ? db : da;
    }
    *out = s;
    return TS_OK;
}

/* As the kernels' strided_args. */
typedef struct strided_args {
    int32_t rank;
    uint32_t dim[8];
    int64_t s[3][8];
} strided_args;

/* Strides of each operand over y's axes, neighbouring axes merged where all operands allow it. */
static ts_status strides_of(const char *op, const ts_arr *const in[3], int n_in, const ts_arr *y,
                            strided_args *out, ts_error *err)
{
    const ts_shape *ys = &y->shape;
    int64_t s[3][8] = {{0}};
    for (int k = 0; k < n_in; k++) {
        const ts_shape *x = &in[k]->shape;
        int64_t step = 1;
        for (int i = 0; i < ys->rank; i++) {
            int64_t want = ys->dim[ys->rank - 1 - i];
            int64_t have = i < x->rank ? x->dim[x->rank - 1 - i] : 1;
            if (have != want && have != 1)
                return ts_fail(err, TS_E_SHAPE, "%s: %s does not broadcast to %s", op,
                               ts_shape_text(x, (char[96]){0}, 96),
                               ts_shape_text(ys, (char[96]){0}, 96));
            s[k][ys->rank - 1 - i] = have == 1 ? 0 : step;
            step *= have;
        }
        if (x->rank > ys->rank)
            return ts_fail(err, TS_E_SHAPE, "%s: an operand's rank exceeds the result's", op);
    }
    strided_args a = {0};
    for (int d = 0; d < ys->rank; d++) {
        if (ys->dim[d] == 1)
            continue;
        bool merge = a.rank > 0;
        for (int k = 0; k < n_in && merge; k++)
            merge = a.s[k][a.rank - 1] == s[k][d] * ys->dim[d];
        if (!merge)
            a.dim[a.rank++] = 1;
        a.dim[a.rank - 1] *= (uint32_t)ys->dim[d];
        for (int k = 0; k < n_in; k++)
            a.s[k][a.rank - 1] = s[k][d];
    }
    if (!a.rank) {
        a.rank = 1;
        a.dim[0] = 1;
    }
    *out = a;
    return TS_OK;
}

ts_status ts_op_binary(ts_ops *ops, ts_binary op, const ts_arr *a, const ts_arr *b,
                       const ts_act *act, ts_arr *y, ts_error *err)
{
    ts_act none = {0};
    if (!act)
        act = &none;
    ts_status st = ts_ops_want_f32("binary", "a", a, err);
    if (st == TS_OK)
        st = ts_ops_want_f32("binary", "b", b, err);
    if (st == TS_OK)
        st = ts_ops_want_f32("binary", "y", y, err);
    if (st != TS_OK)
        return st;
    if (op >= TS_BINARY_COUNT || act->kind > TS_ACT_AFFINE)
        return ts_fail(err, TS_E_OPTION, "binary: no operation %d with activation %d", (int)op,
                       (int)act->kind);
    int64_t n = ts_arr_elements(y);
    if (!n)
        return TS_OK;
    strided_args p;
    st = strides_of("binary", (const ts_arr *const[3]){a, b, NULL}, 2, y, &p, err);
    if (st != TS_OK)
        return st;
    return ts_ops_flat(ops, "pointwise", "pointwise_binary", n, GRAIN,
                       TS_ARGS(TS_OP_ARR(a), TS_OP_ARR(b), TS_OP_ARR(y), TS_INT(op),
                               TS_OP_ACT(*act), TS_BYTES(&p, sizeof p), TS_ULONG(n)),
                       err);
}

ts_status ts_op_where(ts_ops *ops, const ts_arr *condition, const ts_arr *a, const ts_arr *b,
                      ts_arr *y, ts_error *err)
{
    const ts_arr *in[3] = {condition, a, b};
    static const char *const names[] = {"condition", "a", "b"};
    ts_status st = ts_ops_want_f32("where", "y", y, err);
    for (int i = 0; i < 3 && st == TS_OK; i++)
        st = ts_ops_want_f32("where", names[i], in[i], err);
    strided_args p;
    if (st == TS_OK)
        st = strides_of("where", in, 3, y, &p, err);
    if (st != TS_OK)
        return st;
    int64_t n = ts_arr_elements(y);
    return ts_ops_flat(ops, "pointwise", "pointwise_where", n, GRAIN,
                       TS_ARGS(TS_OP_ARR(condition), TS_OP_ARR(a), TS_OP_ARR(b), TS_OP_ARR(y),
                               TS_BYTES(&p, sizeof p), TS_ULONG(n)),
                       err);
}

static bool is_integer(ts_dtype dtype)
{
    return !ts_dtype_is_float(dtype);
}

ts_status ts_op_cast(ts_ops *ops, const ts_arr *x, ts_arr *y, ts_error *err)
{
    ts_status st = ts_ops_want_shape("cast", "y", y, &x->shape, err);
    int64_t n = ts_arr_elements(x);
    if (st != TS_OK || !n)
        return st;
    if (x->dtype == y->dtype)
        return ts_buffer_copy(ops->queue, x->buffer, x->offset, y->buffer, y->offset,
                              ts_arr_bytes(x), err);
    bool exact = is_integer(x->dtype) && is_integer(y->dtype);
    return ts_ops_flat(
        ops, "pointwise", exact ? "pointwise_cast_integer" : "pointwise_cast", n, GRAIN,
        TS_ARGS(TS_OP_ARR(x), TS_INT(x->dtype), TS_OP_ARR(y), TS_INT(y->dtype), TS_ULONG(n)), err);
}

ts_status ts_op_fill(ts_ops *ops, ts_arr *y, float value, ts_error *err)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (ts_dtype_bytes(y->dtype) != 4)
        return ts_fail(err, TS_E_DTYPE, "fill: %s is not a 4-byte type", ts_dtype_name(y->dtype));
    if (!ts_arr_elements(y))
        return TS_OK;
    return ts_buffer_fill_u32(ops->queue, y->buffer, y->offset, bits, ts_arr_bytes(y), err);
}

ts_status ts_op_quantize(ts_ops *ops, const ts_arr *x, float scale, float shift, bool truncate,
                         ts_arr *y, ts_error *err)
{
    ts_status st = ts_ops_want_f32("quantize", "x", x, err);
    if (st == TS_OK)
        st = ts_ops_want_shape("quantize", "y", y, &x->shape, err);
    if (st != TS_OK)
        return st;
    if (y->dtype != TS_U8)
        return ts_fail(err, TS_E_DTYPE, "quantize: y is %s, want u8", ts_dtype_name(y->dtype));
    int64_t n = ts_arr_elements(x);
    return ts_ops_flat(ops, "pointwise", "pointwise_quantize", n, GRAIN,
                       TS_ARGS(TS_OP_ARR(x), TS_OP_ARR(y), TS_FLOAT(scale), TS_FLOAT(shift),
                               TS_FLOAT(truncate ? 0.0f : 0.5f), TS_ULONG(n)),
                       err);
}
