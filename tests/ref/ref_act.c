#include <math.h>

#include "tests/ref/ref_ops.h"

static double sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

static double clamp(double x, double lo, double hi)
{
    return x < lo ? lo : x > hi ? hi : x;
}

double ref_act(const ts_act *act, double x)
{
    double a = act->a, b = act->b;
    switch (act->kind) {
    case TS_ACT_NONE:
        return x;
    case TS_ACT_RELU:
        return x < 0 ? 0 : x;
    case TS_ACT_LEAKY_RELU:
        return x >= 0 ? x : a * x;
    case TS_ACT_SILU:
        return x * sigmoid(x);
    case TS_ACT_GELU:
        return 0.5 * x * (1.0 + erf(x * 0.70710678118654752));
    case TS_ACT_GELU_TANH:
        return 0.5 * x * (1.0 + tanh(0.79788456080286536 * (x + 0.044715 * x * x * x)));
    case TS_ACT_SIGMOID:
        return sigmoid(x);
    case TS_ACT_TANH:
        return tanh(x);
    case TS_ACT_ELU:
        return x > 0 ? x : a * expm1(x);
    case TS_ACT_SOFTPLUS:
        return x > 30 ? x : log1p(exp(x));
    case TS_ACT_HARD_SIGMOID:
        return clamp(a * x + b, 0, 1);
    case TS_ACT_HARD_SWISH:
        return x * clamp(x / 6 + 0.5, 0, 1);
    case TS_ACT_CLAMP:
        return clamp(x, a, b);
    case TS_ACT_AFFINE:
        return a * x + b;
    case TS_ACT_EXP:
        return exp(x);
    case TS_ACT_LOG:
        return log(x);
    case TS_ACT_SQRT:
        return sqrt(x);
    case TS_ACT_RSQRT:
        return 1.0 / sqrt(x);
    case TS_ACT_RECIPROCAL:
        return 1.0 / x;
    case TS_ACT_ABS:
        return fabs(x);
    case TS_ACT_NEG:
        return -x;
    case TS_ACT_ERF:
        return erf(x);
    case TS_ACT_FLOOR:
        return floor(x);
    case TS_ACT_CEIL:
        return ceil(x);
    case TS_ACT_ROUND:
        return rint(x);
    case TS_ACT_SIGN:
        return x > 0 ? 1 : x < 0 ? -1 : x;
    case TS_ACT_SIN:
        return sin(x);
    case TS_ACT_COS:
        return cos(x);
    case TS_ACT_SQUARE:
        return x * x;
    case TS_ACT_MISH:
        return x * tanh(x > 30 ? x : log1p(exp(x)));
    case TS_ACT_SOFTSIGN:
        return x / (1.0 + fabs(x));
    case TS_ACT_SELU:
        return b * (x > 0 ? x : a * expm1(x));
    case TS_ACT_TAN:
        return tan(x);
    case TS_ACT_ATAN:
        return atan(x);
    case TS_ACT_ASIN:
        return asin(x);
    case TS_ACT_ACOS:
        return acos(x);
    case TS_ACT_SINH:
        return sinh(x);
    case TS_ACT_COSH:
        return cosh(x);
    case TS_ACT_ASINH:
        return asinh(x);
    case TS_ACT_ACOSH:
        return acosh(x);
    case TS_ACT_ATANH:
        return atanh(x);
    case TS_ACT_THRESHOLDED_RELU:
        return x > a ? x : 0;
    case TS_ACT_CELU:
        return fmax(x, 0) + fmin(0, a * expm1(x / a));
    case TS_ACT_NOT:
        return x == 0;
    case TS_ACT_IS_NAN:
        return isnan(x) != 0;
    case TS_ACT_IS_INF:
        return isinf(x) && ((x < 0 && a != 0) || (x > 0 && b != 0));
    case TS_ACT_SHRINK:
        return x < -a ? x + b : x > a ? x - b : 0;
    case TS_ACT_COUNT:
        break;
    }
    return NAN;
}
