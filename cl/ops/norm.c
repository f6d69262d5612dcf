#include "cl/ops/norm.h"

#include <math.h>

#include "cl/ops/internal.h"

static ts_status check_pair(const char *op, const ts_arr *x, const ts_arr *y, ts_error *err)
{
    ts_status st = ts_ops_want_f32(op, "x", x, err);
    if (st == TS_OK)
        st = ts_ops_want_f32(op, "y", y, err);
    return st == TS_OK ? ts_ops_want_shape(op, "y", y, &x->shape, err) : st;
}

static ts_status check_vector(const char *op, const char *what, const ts_arr *v, int64_t n,
                              ts_error *err)
{
    if (!v)
        return TS_OK;
    ts_status st = ts_ops_want_f32(op, what, v, err);
    if (st == TS_OK && ts_arr_elements(v) != n)
        return ts_fail(err, TS_E_SHAPE, "%s: %s has %lld values, want %lld", op, what,
                       (long long)ts_arr_elements(v), (long long)n);
    return st;
}

/* Rows on CPUs are shared out; on GPUs each has a group. */
static ts_status per_row(ts_ops *ops, const char *name, int64_t rows, int64_t n, const ts_arg *args,
                         size_t n_args, ts_error *err)
{
    if (ops->cpu)
        return ts_ops_flat(ops, "norm", name, rows, n ? 4096 / n + 1 : 1, args, n_args, err);
    return ts_ops_groups(ops, "norm", name, (size_t[3]){(size_t)rows, 1, 1}, 128, args, n_args,
                         err);
}

static ts_status rows_norm(ts_ops *ops, const char *op, const ts_arr *x, const ts_arr *weight,
                           const ts_arr *bias, float eps, bool rms, ts_arr *y, ts_error *err)
{
    ts_status st = check_pair(op, x, y, err);
    if (st != TS_OK)
        return st;
    if (x->shape.rank < 1)
        return ts_fail(err, TS_E_SHAPE, "%s: x is a scalar", op);
    int64_t n = x->shape.dim[x->shape.rank - 1];
    st = check_vector(op, "weight", weight, n, err);
    if (st == TS_OK)
        st = check_vector(op, "bias", bias, n, err);
    int64_t total = ts_arr_elements(x);
    if (st != TS_OK || !total)
        return st;
    int64_t rows = total / n;
    return per_row(ops, "norm_rows", rows, n,
                   TS_ARGS(TS_OP_ARR(x), TS_OP_OPT(weight), TS_OP_OPT(bias), TS_OP_ARR(y),
                           TS_UINT(n), TS_FLOAT(eps), TS_INT(rms), TS_INT(weight != NULL),
                           TS_INT(bias != NULL), TS_ULONG(rows)),
                   err);
}

ts_status ts_op_layer_norm(ts_ops *ops, const ts_arr *x, const ts_arr *weight, const ts_arr *bias,
                           float eps, ts_arr *y, ts_error *err)
{
    return rows_norm(ops, "layer norm", x, weight, bias, eps, false, y, err);
}

ts_status ts_op_rms_norm(ts_ops *ops, const ts_arr *x, const ts_arr *weight, float eps, ts_arr *y,
                         ts_error *err)
{
    return rows_norm(ops, "RMS norm", x, weight, NULL, eps, true, y, err);
}

/* [N,C,…] → channels and positions per channel. */
static ts_status channels_of(const char *op, const ts_arr *x, int64_t *channels, int64_t *s,
                             ts_error *err)
{
    if (x->shape.rank < 2)
        return ts_fail(err, TS_E_SHAPE, "%s: x is %s, want [N,C,…]", op,
                       ts_shape_text(&x->shape, (char[96]){0}, 96));
    *channels = x->shape.dim[1];
    *s = 1;
    for (int i = 2; i < x->shape.rank; i++)
        *s *= x->shape.dim[i];
    return TS_OK;
}

ts_status ts_op_group_norm(ts_ops *ops, const ts_arr *x, const ts_arr *weight, const ts_arr *bias,
                           int64_t groups, float eps, const ts_act *act, ts_arr *y, ts_error *err)
{
    ts_act none = {0};
    int64_t c = 0, s = 0;
    ts_status st = check_pair("group norm", x, y, err);
    if (st == TS_OK)
        st = channels_of("group norm", x, &c, &s, err);
    if (st == TS_OK && (groups < 1 || c % groups))
        return ts_fail(err, TS_E_SHAPE, "group norm: %lld channels in %lld groups", (long long)c,
                       (long long)groups);
    if (st == TS_OK)
        st = check_vector("group norm", "weight", weight, c, err);
    if (st == TS_OK)
        st = check_vector("group norm", "bias", bias, c, err);
    int64_t total = ts_arr_elements(x);
    if (st != TS_OK || !total)
        return st;
    if (!act)
        act = &none;
    int64_t n = x->shape.dim[0] * groups;
    return per_row(ops, "norm_groups", n, total / n,
                   TS_ARGS(TS_OP_ARR(x), TS_OP_OPT(weight), TS_OP_OPT(bias), TS_OP_ARR(y),
                           TS_UINT(c), TS_ULONG(s), TS_UINT(groups), TS_FLOAT(eps),
                           TS_INT(weight != NULL), TS_INT(bias != NULL), TS_OP_ACT(*act),
                           TS_ULONG(n)),
                   err);
}

ts_status ts_op_channel_affine(ts_ops *ops, const ts_arr *x, const ts_arr *scale,
                               const ts_arr *shift, const ts_act *act, ts_arr *y, ts_error *err)
{
    ts_act none = {0};
    int64_t c = 0, s = 0;
    ts_status st = check_pair("channel affine", x, y, err);
    if (st == TS_OK)
        st = channels_of("channel affine", x, &c, &s, err);
    if (st == TS_OK)
        st = check_vector("channel affine", "scale", scale, c, err);
    if (st == TS_OK)
        st = check_vector("channel affine", "shift", shift, c, err);
    int64_t total = ts_arr_elements(x);
    if (st != TS_OK || !total)
        return st;
    if (!act)
        act = &none;
    int64_t planes = x->shape.dim[0] * c;
    return ts_ops_flat(ops, "norm", "norm_affine", ops->cpu ? planes : total,
                       ops->cpu ? 4096 / s + 1 : 1,
                       TS_ARGS(TS_OP_ARR(x), TS_OP_ARR(scale), TS_OP_ARR(shift), TS_OP_ARR(y),
                               TS_UINT(c), TS_ULONG(s), TS_OP_ACT(*act), TS_ULONG(planes)),
                       err);
}

ts_status ts_op_softmax(ts_ops *ops, const ts_arr *x, int axis, bool logarithm, ts_arr *y,
                        ts_error *err)
{
    ts_status st = check_pair("softmax", x, y, err);
    if (st != TS_OK)
        return st;
    int rank = x->shape.rank, a = axis < 0 ? axis + rank : axis;
    if (a < 0 || a >= rank)
        return ts_fail(err, TS_E_SHAPE, "softmax: axis %d of %s", axis,
                       ts_shape_text(&x->shape, (char[96]){0}, 96));
    int64_t total = ts_arr_elements(x), n = x->shape.dim[a], inner = 1;
    if (!total)
        return TS_OK;
    for (int i = a + 1; i < rank; i++)
        inner *= x->shape.dim[i];
    return per_row(ops, "norm_softmax", total / n, n,
                   TS_ARGS(TS_OP_ARR(x), TS_OP_ARR(y), TS_UINT(n), TS_ULONG(inner),
                           TS_INT(logarithm), TS_ULONG(total / n)),
                   err);
}

void ts_batch_norm_fold(int64_t channels, const float *weight, const float *bias, const float *mean,
                        const float *var, double eps, float *scale, float *shift)
{
    for (int64_t c = 0; c < channels; c++) {
        double g = (weight ? (double)weight[c] : 1.0) / sqrt((double)var[c] + eps);
        scale[c] = (float)g;
        shift[c] = (float)((bias ? (double)bias[c] : 0.0) - (double)mean[c] * g);
    }
}

void ts_fold_into_weight(int64_t out, int64_t per, const float *scale, const float *shift,
                         float *weight, float *bias)
{
    for (int64_t o = 0; o < out; o++) {
        for (int64_t i = 0; i < per; i++)
            weight[o * per + i] *= scale[o];
        bias[o] = bias[o] * scale[o] + shift[o];
    }
}
