/* Element by element: arithmetic with broadcasting, activations, comparisons, casts, quantization. */
#include <math.h>
#include <string.h>

#include "cl/graph/op.h"
#include "cl/ops/pointwise.h"

/* ---- binary ---- */

typedef double (*binary_fn)(double a, double b);

static double f_add(double a, double b) { return a + b; }
static double f_sub(double a, double b) { return a - b; }
static double f_mul(double a, double b) { return a * b; }
static double f_div(double a, double b) { return a / b; }
static double f_pow(double a, double b) { return pow(a, b); }
static double f_min(double a, double b) { return isnan(a) || isnan(b) ? NAN : a < b ? a : b; }
static double f_max(double a, double b) { return isnan(a) || isnan(b) ? NAN : a > b ? a : b; }
static double f_less(double a, double b) { return a < b; }
static double f_less_equal(double a, double b) { return a <= b; }
static double f_greater(double a, double b) { return a > b; }
static double f_greater_equal(double a, double b) { return a >= b; }
static double f_equal(double a, double b) { return a == b; }
static double f_and(double a, double b) { return a != 0 && b != 0; }
static double f_or(double a, double b) { return a != 0 || b != 0; }
static double f_xor(double a, double b) { return (a != 0) != (b != 0); }
static double f_prelu(double a, double b) { return a >= 0 ? a : a * b; }
static double f_fmod(double a, double b) { return fmod(a, b); }
static double f_mod(double a, double b)
{
    double r = fmod(a, b);
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

static const struct {
    const char *op;
    binary_fn host;
    ts_binary device;
    bool logical; /* answers bool */
} BINARY[] = {
    {"Add", f_add, TS_BINARY_ADD, false},
    {"Sub", f_sub, TS_BINARY_SUB, false},
    {"Mul", f_mul, TS_BINARY_MUL, false},
    {"Div", f_div, TS_BINARY_DIV, false},
    {"Pow", f_pow, TS_BINARY_POW, false},
    {"Min", f_min, TS_BINARY_MIN, false},
    {"Max", f_max, TS_BINARY_MAX, false},
    {"Sum", f_add, TS_BINARY_ADD, false},
    {"Mean", f_add, TS_BINARY_ADD, false},
    {"PRelu", f_prelu, TS_BINARY_PRELU, false},
    {"Less", f_less, TS_BINARY_LESS, true},
    {"LessOrEqual", f_less_equal, TS_BINARY_LESS_EQUAL, true},
    {"Greater", f_greater, TS_BINARY_GREATER, true},
    {"GreaterOrEqual", f_greater_equal, TS_BINARY_GREATER_EQUAL, true},
    {"Equal", f_equal, TS_BINARY_EQUAL, true},
    {"And", f_and, TS_BINARY_AND, true},
    {"Or", f_or, TS_BINARY_OR, true},
    {"Xor", f_xor, TS_BINARY_XOR, true},
    {"Mod", f_mod, TS_BINARY_MOD, false},
};

static size_t binary_row(const ts_node_call *c)
{
    size_t i = 0;
    while (strcmp(BINARY[i].op, c->node->op))
        i++;
    return i;
}

static ts_status broadcast_all(ts_node_call *c, ts_shape *shape, ts_error *err)
{
    *shape = c->in[0]->shape;
    for (size_t i = 1; i < c->n_in; i++) {
        ts_shape both;
        if (!c->in[i]) /* more of them than the operator has */
            return ts_node_fail(c, err, "input %zu is absent", i);
        if (ts_broadcast_shape(shape, &c->in[i]->shape, &both, err) != TS_OK)
            return ts_node_fail(c, err, "its inputs do not broadcast");
        *shape = both;
    }
    return TS_OK;
}

static ts_status binary_host(ts_node_call *c, ts_error *err)
{
    size_t row = binary_row(c);
    int type = c->in[0]->type;
    binary_fn f = BINARY[row].host;
    bool integer_div = f == f_div && !ts_onnx_is_float(type);
    if (f == f_mod && ts_attr_int(c->node, "fmod", 0))
        f = f_fmod;
    ts_shape shape;
    double *y;
    ts_status st = broadcast_all(c, &shape, err);
    int out_type = BINARY[row].logical ? TS_ONNX_BOOL : type;
    if (st == TS_OK)
        st = ts_host_out(c, 0, out_type, &shape, &y, err);
    if (st != TS_OK || !y)
        return st;
    for (size_t i = 0; i < c->n_in; i++) {
        int64_t strides[TS_MAX_RANK], index[TS_MAX_RANK] = {0}, n = ts_shape_elements(&shape);
        ts_broadcast_strides(&c->in[i]->shape, &shape, strides);
        const double *x = ts_host_in(c, i);
        for (int64_t k = 0; k < n; k++) {
            int64_t at = 0;
            for (int d = 0; d < shape.rank; d++)
                at += index[d] * strides[d];
            double v = x[at];
            if (i > 0) {
                if (integer_div && v == 0)
                    return ts_node_fail(c, err, "division by zero");
                v = integer_div ? trunc(y[k] / v) : f(y[k], v);
                v = BINARY[row].logical ? v : ts_onnx_fit(type, v);
            }
            y[k] = v;
            ts_next_index(&shape, index);
        }
    }
    if (!strcmp(c->node->op, "Mean"))
        for (int64_t k = 0; k < ts_shape_elements(&shape); k++)
            y[k] /= (double)c->n_in;
    return TS_OK;
}

static ts_status binary_device(ts_node_call *c, ts_error *err)
{
    size_t row = binary_row(c);
    ts_binary op = BINARY[row].device;
    if (op == TS_BINARY_MOD && ts_attr_int(c->node, "fmod", 0))
        op = TS_BINARY_FMOD;
    bool whole = !ts_onnx_is_float(c->in[0]->type); /* yet f32 on the device, as all elements */
    if (whole && op == TS_BINARY_DIV)
        op = TS_BINARY_DIV_WHOLE;
    if (whole && op == TS_BINARY_POW)
        op = TS_BINARY_POW_WHOLE;
    ts_shape shape;
    ts_arr a, b, y;
    ts_status st = broadcast_all(c, &shape, err);
    int type = BINARY[row].logical ? TS_ONNX_BOOL : c->in[0]->type;
    if (st == TS_OK && c->n_in == 1)
        return ts_value_view(c->in[0], &c->in[0]->shape, c->out[0], err);
    if (st == TS_OK)
        st = ts_dev_in(c, 0, &a, err);
    if (st == TS_OK)
        st = ts_dev_out(c, 0, type, &shape, &y, err);
    for (size_t i = 1; i < c->n_in && st == TS_OK; i++) {
        st = ts_dev_in(c, i, &b, err);
        bool last = i + 1 == c->n_in && !strcmp(c->node->op, "Mean");
        ts_act mean = {TS_ACT_AFFINE, 1.0f / (float)c->n_in, 0};
        if (st == TS_OK)
            st = ts_op_binary(c->ops, op, &a, &b, last ? &mean : NULL, &y, err);
        a = y;
    }
    return st;
}

/* ---- unary ---- */

static double f_relu(double x, double a, double b) { (void)a, (void)b; return x > 0 || isnan(x) ? x : 0; }
static double f_sigmoid(double x, double a, double b) { (void)a, (void)b; return 1 / (1 + exp(-x)); }
static double f_tanh(double x, double a, double b) { (void)a, (void)b; return tanh(x); }
static double f_exp(double x, double a, double b) { (void)a, (void)b; return exp(x); }
static double f_log(double x, double a, double b) { (void)a, (void)b; return log(x); }
static double f_sqrt(double x, double a, double b) { (void)a, (void)b; return sqrt(x); }
static double f_abs(double x, double a, double b) { (void)a, (void)b; return fabs(x); }
static double f_neg(double x, double a, double b) { (void)a, (void)b; return -x; }
static double f_floor(double x, double a, double b) { (void)a, (void)b; return floor(x); }
static double f_ceil(double x, double a, double b) { (void)a, (void)b; return ceil(x); }
static double f_round(double x, double a, double b) { (void)a, (void)b; return nearbyint(x); }
static double f_sign(double x, double a, double b) { (void)a, (void)b; return (x > 0) - (x < 0); }
static double f_recip(double x, double a, double b) { (void)a, (void)b; return 1 / x; }
static double f_erf(double x, double a, double b) { (void)a, (void)b; return erf(x); }
static double f_sin(double x, double a, double b) { (void)a, (void)b; return sin(x); }
static double f_cos(double x, double a, double b) { (void)a, (void)b; return cos(x); }
static double f_not(double x, double a, double b) { (void)a, (void)b; return x == 0; }
static double f_isnan(double x, double a, double b) { (void)a, (void)b; return isnan(x) != 0; }
static double f_clamp(double x, double a, double b) { return x < a ? a : x > b ? b : x; }

static const struct {
    const char *op;
    ts_act_kind device;
    double (*host)(double x, double a, double b); /* NULL: device only */
    const char *a_name, *b_name;
    float a, b;
} UNARY[] = {
    {"Relu", TS_ACT_RELU, f_relu, 0, 0, 0, 0},
    {"Sigmoid", TS_ACT_SIGMOID, f_sigmoid, 0, 0, 0, 0},
    {"Tanh", TS_ACT_TANH, f_tanh, 0, 0, 0, 0},
    {"Exp", TS_ACT_EXP, f_exp, 0, 0, 0, 0},
    {"Log", TS_ACT_LOG, f_log, 0, 0, 0, 0},
    {"Sqrt", TS_ACT_SQRT, f_sqrt, 0, 0, 0, 0},
    {"Abs", TS_ACT_ABS, f_abs, 0, 0, 0, 0},
    {"Neg", TS_ACT_NEG, f_neg, 0, 0, 0, 0},
    {"Floor", TS_ACT_FLOOR, f_floor, 0, 0, 0, 0},
    {"Ceil", TS_ACT_CEIL, f_ceil, 0, 0, 0, 0},
    {"Round", TS_ACT_ROUND, f_round, 0, 0, 0, 0},
    {"Sign", TS_ACT_SIGN, f_sign, 0, 0, 0, 0},
    {"Reciprocal", TS_ACT_RECIPROCAL, f_recip, 0, 0, 0, 0},
    {"Erf", TS_ACT_ERF, f_erf, 0, 0, 0, 0},
    {"Sin", TS_ACT_SIN, f_sin, 0, 0, 0, 0},
    {"Cos", TS_ACT_COS, f_cos, 0, 0, 0, 0},
    {"Tan", TS_ACT_TAN, 0, 0, 0, 0, 0},
    {"Asin", TS_ACT_ASIN, 0, 0, 0, 0, 0},
    {"Acos", TS_ACT_ACOS, 0, 0, 0, 0, 0},
    {"Atan", TS_ACT_ATAN, 0, 0, 0, 0, 0},
    {"Sinh", TS_ACT_SINH, 0, 0, 0, 0, 0},
    {"Cosh", TS_ACT_COSH, 0, 0, 0, 0, 0},
    {"Asinh", TS_ACT_ASINH, 0, 0, 0, 0, 0},
    {"Acosh", TS_ACT_ACOSH, 0, 0, 0, 0, 0},
    {"Atanh", TS_ACT_ATANH, 0, 0, 0, 0, 0},
    {"Not", TS_ACT_NOT, f_not, 0, 0, 0, 0},
    {"IsNaN", TS_ACT_IS_NAN, f_isnan, 0, 0, 0, 0},
    {"Softplus", TS_ACT_SOFTPLUS, 0, 0, 0, 0, 0},
    {"Softsign", TS_ACT_SOFTSIGN, 0, 0, 0, 0, 0},
    {"Mish", TS_ACT_MISH, 0, 0, 0, 0, 0},
    {"HardSwish", TS_ACT_HARD_SWISH, 0, 0, 0, 0, 0},
    {"LeakyRelu", TS_ACT_LEAKY_RELU, 0, "alpha", 0, 0.01f, 0},
    {"Elu", TS_ACT_ELU, 0, "alpha", 0, 1, 0},
    {"Celu", TS_ACT_CELU, 0, "alpha", 0, 1, 0},
    {"ThresholdedRelu", TS_ACT_THRESHOLDED_RELU, 0, "alpha", 0, 1, 0},
    {"Selu", TS_ACT_SELU, 0, "alpha", "gamma", 1.67326319217681884765625f,
     1.05070102214813232421875f},
    {"HardSigmoid", TS_ACT_HARD_SIGMOID, 0, "alpha", "beta", 0.2f, 0.5f},
    {"Shrink", TS_ACT_SHRINK, 0, "lambd", "bias", 0.5f, 0},
};

static size_t unary_row(const ts_node_call *c)
{
    size_t i = 0;
    while (strcmp(UNARY[i].op, c->node->op))
        i++;
    return i;
}

static int unary_type(const ts_node_call *c, size_t row)
{
    bool logical = UNARY[row].device == TS_ACT_NOT || UNARY[row].device == TS_ACT_IS_NAN;
    return logical ? TS_ONNX_BOOL : c->in[0]->type;
}

static ts_status unary_host(ts_node_call *c, ts_error *err)
{
    size_t row = unary_row(c);
    double *y;
    ts_status st = ts_host_out(c, 0, unary_type(c, row), &c->in[0]->shape, &y, err);
    const double *x = ts_host_in(c, 0);
    for (int64_t i = 0; st == TS_OK && y && i < ts_value_elements(c->in[0]); i++)
        y[i] = ts_onnx_fit(c->out[0]->type, UNARY[row].host(x[i], 0, 0));
    return st;
}

static ts_status activate(ts_node_call *c, const ts_act *act, int type, ts_error *err)
{
    ts_arr x, y;
    ts_status st = ts_dev_in(c, 0, &x, err);
    if (st == TS_OK)
        st = ts_dev_out(c, 0, type, &c->in[0]->shape, &y, err);
    return st == TS_OK ? ts_op_unary(c->ops, &x, act, &y, err) : st;
}

static ts_status unary_device(ts_node_call *c, ts_error *err)
{
    size_t row = unary_row(c);
    ts_act act = {UNARY[row].device, UNARY[row].a, UNARY[row].b};
    if (UNARY[row].a_name)
        act.a = ts_attr_float(c->node, UNARY[row].a_name, act.a);
    if (UNARY[row].b_name)
        act.b = ts_attr_float(c->node, UNARY[row].b_name, act.b);
    return activate(c, &act, unary_type(c, row), err);
}

static ts_status is_inf_device(ts_node_call *c, ts_error *err)
{
    ts_act act = {TS_ACT_IS_INF, (float)ts_attr_int(c->node, "detect_negative", 1),
                  (float)ts_attr_int(c->node, "detect_positive", 1)};
    return activate(c, &act, TS_ONNX_BOOL, err);
}

static ts_status gelu_device(ts_node_call *c, ts_error *err)
{
    char text[16];
    ts_attr_string(c->node, "approximate", "none", text, sizeof text);
    ts_act act = {strcmp(text, "tanh") ? TS_ACT_GELU : TS_ACT_GELU_TANH, 0, 0};
    return activate(c, &act, c->in[0]->type, err);
}

/* ---- clip ---- */

static ts_status clip_limits(ts_node_call *c, double *lo, double *hi, ts_error *err)
{
    *lo = (double)ts_attr_float(c->node, "min", -INFINITY);
    *hi = (double)ts_attr_float(c->node, "max", INFINITY);
    for (size_t i = 1; i <= 2; i++) {
        ts_value *v = ts_input(c, i);
        if (!v)
            continue;
        ts_status st = ts_value_to_host(c->ops, v, err);
        if (st != TS_OK)
            return st;
        if (ts_value_elements(v) != 1)
            return ts_node_fail(c, err, "a limit with %lld elements",
                                (long long)ts_value_elements(v));
        *(i == 1 ? lo : hi) = v->host[0];
    }
    return TS_OK;
}

static ts_status clip_host(ts_node_call *c, ts_error *err)
{
    double lo, hi, *y;
    ts_status st = clip_limits(c, &lo, &hi, err);
    if (st == TS_OK)
        st = ts_host_out(c, 0, c->in[0]->type, &c->in[0]->shape, &y, err);
    const double *x = ts_host_in(c, 0);
    for (int64_t i = 0; st == TS_OK && y && i < ts_value_elements(c->in[0]); i++)
        y[i] = lo > hi ? hi : f_clamp(x[i], lo, hi);
    return st;
}

static ts_status clip_device(ts_node_call *c, ts_error *err)
{
    double lo, hi;
    ts_status st = clip_limits(c, &lo, &hi, err);
    ts_act act = {TS_ACT_CLAMP, (float)(lo > hi ? hi : lo), (float)hi};
    return st == TS_OK ? activate(c, &act, c->in[0]->type, err) : st;
}

/* ---- where, cast ---- */

static ts_status where_host(ts_node_call *c, ts_error *err)
{
    ts_shape shape;
    double *y;
    int64_t strides[3][TS_MAX_RANK], index[TS_MAX_RANK] = {0};
    ts_status st = broadcast_all(c, &shape, err);
    if (st == TS_OK)
        st = ts_host_out(c, 0, c->in[1]->type, &shape, &y, err);
    if (st != TS_OK || !y)
        return st;
    for (size_t i = 0; i < 3; i++)
        ts_broadcast_strides(&c->in[i]->shape, &shape, strides[i]);
    for (int64_t k = 0; k < ts_shape_elements(&shape); k++) {
        int64_t at[3] = {0};
        for (size_t i = 0; i < 3; i++)
            for (int d = 0; d < shape.rank; d++)
                at[i] += index[d] * strides[i][d];
        y[k] = ts_host_in(c, 0)[at[0]] != 0 ? ts_host_in(c, 1)[at[1]] : ts_host_in(c, 2)[at[2]];
        ts_next_index(&shape, index);
    }
    return TS_OK;
}

static ts_status where_device(ts_node_call *c, ts_error *err)
{
    ts_shape shape;
    ts_arr in[3], y;
    ts_status st = broadcast_all(c, &shape, err);
    for (size_t i = 0; i < 3 && st == TS_OK; i++)
        st = ts_dev_in(c, i, &in[i], err);
    if (st == TS_OK)
        st = ts_dev_out(c, 0, c->in[1]->type, &shape, &y, err);
    return st == TS_OK ? ts_op_where(c->ops, &in[0], &in[1], &in[2], &y, err) : st;
}

static int cast_type(const ts_node_call *c)
{
    return !strcmp(c->node->op, "CastLike") ? c->in[1]->type : (int)ts_attr_int(c->node, "to", 1);
}

static ts_status cast_host(ts_node_call *c, ts_error *err)
{
    int to = cast_type(c);
    ts_dtype dtype;
    double *y;
    if (!ts_onnx_dtype(to, &dtype))
        return ts_node_fail(c, err, "casts to %s are not supported", ts_onnx_type_name(to));
    ts_status st = ts_host_out(c, 0, to, &c->in[0]->shape, &y, err);
    const double *x = ts_host_in(c, 0);
    for (int64_t i = 0; st == TS_OK && y && i < ts_value_elements(c->in[0]); i++)
        y[i] = ts_onnx_fit(to, x[i]);
    return st;
}

/* Elements are f32 on the device whatever the type: only what changes values is computed. */
static ts_status cast_device(ts_node_call *c, ts_error *err)
{
    int to = cast_type(c), from = c->in[0]->type;
    bool narrow = to == TS_ONNX_F16 || to == TS_ONNX_BF16;
    if (narrow || (!ts_onnx_is_float(to) && to != TS_ONNX_BOOL && ts_onnx_is_float(from))) {
        ts_dtype dtype = narrow ? (to == TS_ONNX_F16 ? TS_F16 : TS_BF16) : TS_I32;
        ts_arr x, y, middle = {0};
        ts_status st = ts_dev_in(c, 0, &x, err);
        if (st == TS_OK)
            st = ts_dev_scratch(c, dtype, &c->in[0]->shape, &middle, err);
        if (st == TS_OK)
            st = ts_dev_out(c, 0, to, &c->in[0]->shape, &y, err);
        if (st == TS_OK)
            st = ts_op_cast(c->ops, &x, &middle, err);
        if (st == TS_OK)
            st = ts_op_cast(c->ops, &middle, &y, err);
        ts_dev_release(c, &middle);
        return st;
    }
    if (to == TS_ONNX_BOOL && from != TS_ONNX_BOOL) {
        ts_arr x, y, zero = {0};
        float none = 0;
        ts_status st = ts_dev_in(c, 0, &x, err);
        if (st == TS_OK)
            st = ts_arr_from_host(c->ops, TS_F32, &(ts_shape){0}, &none, &zero, err);
        if (st == TS_OK)
            st = ts_dev_out(c, 0, to, &c->in[0]->shape, &y, err);
        if (st == TS_OK)
            st = ts_op_binary(c->ops, TS_BINARY_NOT_EQUAL, &x, &zero, NULL, &y, err);
        ts_dev_release(c, &zero);
        return st;
    }
    ts_status st = ts_value_view(c->in[0], &c->in[0]->shape, c->out[0], err);
    c->out[0]->type = to;
    return st;
}

/* ---- quantization: per tensor or per axis ---- */

static void axis_params(const ts_node_call *c, int64_t *outer, int64_t *n, int64_t *inner)
{
    const ts_shape *s = &c->in[0]->shape;
    int64_t count = ts_value_elements(c->in[1]);
    int64_t axis = ts_attr_int(c->node, "axis", 1);
    *outer = 1, *n = 1, *inner = ts_shape_elements(s);
    if (count <= 1)
        return;
    axis = axis < 0 ? axis + s->rank : axis;
    *inner = 1;
    for (int d = 0; d < s->rank; d++)
        *(d < axis ? outer : d == axis ? n : inner) *= s->dim[d];
}

static void quantized_range(int type, double *lo, double *hi)
{
    *lo = type == TS_ONNX_I8 ? -128 : type == TS_ONNX_I16 ? -32768 : 0;
    *hi = type == TS_ONNX_I8    ? 127
          : type == TS_ONNX_I16 ? 32767
          : type == TS_ONNX_U16 ? 65535
                                : 255;
}

static ts_status refuse_blocks(const ts_node_call *c, ts_error *err)
{
    if (ts_attr_int(c->node, "block_size", 0) || ts_attr_int(c->node, "output_dtype", 0))
        return ts_node_fail(c, err, "block_size and output_dtype are not supported");
    return TS_OK;
}

static ts_status quantize_host(ts_node_call *c, ts_error *err)
{
    bool back = !strcmp(c->node->op, "DequantizeLinear");
    const double *x = ts_host_in(c, 0), *scale = ts_host_in(c, 1);
    const ts_value *zero = ts_input(c, 2);
    int type = back ? c->in[1]->type : zero ? zero->type : TS_ONNX_U8;
    int64_t outer, n, inner;
    double *y;
    axis_params(c, &outer, &n, &inner);
    if (n > 1 && n != ts_value_elements(c->in[1]))
        return ts_node_fail(c, err, "%lld scales for an axis of %lld",
                            (long long)ts_value_elements(c->in[1]), (long long)n);
    double lo, hi;
    quantized_range(type, &lo, &hi);
    ts_status st = refuse_blocks(c, err);
    if (st == TS_OK)
        st = ts_host_out(c, 0, type, &c->in[0]->shape, &y, err);
    if (st != TS_OK || !y)
        return st;
    for (int64_t o = 0; o < outer; o++)
        for (int64_t k = 0; k < n; k++)
            for (int64_t i = 0; i < inner; i++) {
                int64_t at = (o * n + k) * inner + i;
                double z = zero ? zero->host[n > 1 ? k : 0] : 0, s = scale[n > 1 ? k : 0];
                y[at] = back ? (double)(float)((x[at] - z) * s)
                             : f_clamp(nearbyint((double)((float)x[at] / (float)s)) + z, lo, hi);
            }
    return TS_OK;
}

/* The same over broadcast arrays: y = clamp(round(x/s) + z, lo, hi), y = (x - z)·s. */
static ts_status quantize_device(ts_node_call *c, ts_error *err)
{
    bool back = !strcmp(c->node->op, "DequantizeLinear");
    ts_value *zero = ts_input(c, 2);
    int type = back ? c->in[1]->type : zero ? zero->type : TS_ONNX_U8;
    int64_t outer, n, inner;
    axis_params(c, &outer, &n, &inner);
    ts_shape flat = TS_SHAPE(outer, n, inner), per = TS_SHAPE(n, 1);
    ts_arr x, s, z = {0}, y;
    double lo, hi;
    quantized_range(type, &lo, &hi);
    ts_status st = refuse_blocks(c, err);
    if (st == TS_OK)
        st = ts_dev_in(c, 0, &x, err);
    if (st == TS_OK)
        st = ts_dev_in(c, 1, &s, err);
    if (st == TS_OK && zero)
        st = ts_dev_in(c, 2, &z, err);
    if (st == TS_OK)
        st = ts_dev_out(c, 0, type, &c->in[0]->shape, &y, err);
    if (st != TS_OK)
        return st;
    x = ts_arr_reshape(&x, &flat);
    y = ts_arr_reshape(&y, &flat);
    s = ts_arr_reshape(&s, &per);
    if (zero)
        z = ts_arr_reshape(&z, &per);
    if (back) {
        st = zero ? ts_op_binary(c->ops, TS_BINARY_SUB, &x, &z, NULL, &y, err) : TS_OK;
        return st == TS_OK
                   ? ts_op_binary(c->ops, TS_BINARY_MUL, zero ? &y : &x, &s, NULL, &y, err)
                   : st;
    }
    ts_act round = {TS_ACT_ROUND, 0, 0};
    ts_act clamp = {TS_ACT_CLAMP, (float)lo, (float)hi};
    st = ts_op_binary(c->ops, TS_BINARY_DIV, &x, &s, NULL, &y, err);
    if (st == TS_OK)
        st = ts_op_unary(c->ops, &y, &round, &y, err);
    if (st == TS_OK && zero)
        st = ts_op_binary(c->ops, TS_BINARY_ADD, &y, &z, NULL, &y, err);
    return st == TS_OK ? ts_op_unary(c->ops, &y, &clamp, &y, err) : st;
}

#define B(name) {name, binary_host, binary_device, 2}
#define V(name) {name, binary_host, binary_device, TS_ALL_INPUTS}
#define U(name) {name, unary_host, unary_device, 1}
#define D(name) {name, NULL, unary_device, 1}
const ts_graph_op ts_ops_elementwise[] = {
    B("Add"), B("Sub"), B("Mul"), B("Div"), B("Pow"), V("Min"), V("Max"), V("Sum"), V("Mean"),
    B("PRelu"), B("Less"), B("LessOrEqual"), B("Greater"), B("GreaterOrEqual"), B("Equal"),
    B("And"), B("Or"), B("Xor"), B("Mod"),
    U("Relu"), U("Sigmoid"), U("Tanh"), U("Exp"), U("Log"), U("Sqrt"), U("Abs"), U("Neg"),
    U("Floor"), U("Ceil"), U("Round"), U("Sign"), U("Reciprocal"), U("Erf"), U("Sin"), U("Cos"),
    U("Not"), U("IsNaN"),
    D("Tan"), D("Asin"), D("Acos"), D("Atan"), D("Sinh"), D("Cosh"), D("Asinh"), D("Acosh"),
    D("Atanh"), D("Softplus"), D("Softsign"), D("Mish"), D("HardSwish"), D("LeakyRelu"), D("Elu"),
    D("Celu"), D("ThresholdedRelu"), D("Selu"), D("HardSigmoid"), D("Shrink"),
    {"IsInf", NULL, is_inf_device, 1},
    {"Gelu", NULL, gelu_device, 1},
    {"Clip", clip_host, clip_device, 1},
    {"Where", where_host, where_device, 3},
    {"Cast", cast_host, cast_device, 1},
    {"CastLike", cast_host, cast_device, 2},
    {"QuantizeLinear", quantize_host, quantize_device, 2},
    {"DequantizeLinear", quantize_host, quantize_device, 2},
    {NULL, NULL, NULL, 0},
};
