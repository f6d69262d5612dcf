/*
 * Element by element: activations, arithmetic with broadcasting, selection, casts.
 * Global: any number of items (ops.clh: TS_EACH). Reference: tests/ref/ref_pointwise.c.
 */
#include "common.clh"
#include "ops.clh"

/* y[i] = act(x[i]); the kinds behind ACT_AFFINE are computed by unary_more, one value at a time. */
static inline float unary_more(int kind, float a, float b, float x)
{
    switch (kind) {
    case 14:
        return exp(x);
    case 15:
        return log(x);
    case 16:
        return sqrt(x);
    case 17:
        return 1.0f / sqrt(x);
    case 18:
        return 1.0f / x;
    case 19:
        return fabs(x);
    case 20:
        return -x;
    case 21:
        return erf(x);
    case 22:
        return floor(x);
    case 23:
        return ceil(x);
    case 24:
        return rint(x);
    case 25:
        return x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : x;
    case 26:
        return sin(x);
    case 27:
        return cos(x);
    case 28:
        return x * x;
    case 29:
        return x * tanh_f(softplus_f(x));
    case 30:
        return x / (1.0f + fabs(x));
    case 31:
        return b * (x > 0.0f ? x : a * expm1(x));
    case 32:
        return tan(x);
    case 33:
        return atan(x);
    case 34:
        return asin(x);
    case 35:
        return acos(x);
    case 36:
        return sinh(x);
    case 37:
        return cosh(x);
    case 38:
        return asinh(x);
    case 39:
        return acosh(x);
    case 40:
        return atanh(x);
    case 41:
        return x > a ? x : 0.0f;
    case 42:
        return fmax(x, 0.0f) + fmin(0.0f, a * expm1(x / a));
    case 43:
        return x == 0.0f ? 1.0f : 0.0f;
    case 44:
        return isnan(x) ? 1.0f : 0.0f;
    case 45:
        return isinf(x) && ((x < 0.0f && a != 0.0f) || (x > 0.0f && b != 0.0f)) ? 1.0f : 0.0f;
    case 46:
        return x < -a ? x + b : x > a ? x - b : 0.0f;
    default:
        return act_f(kind, a, b, x);
    }
}

kernel void pointwise_unary(global const float *x, ulong xo, global float *y, ulong yo, int kind,
                            float a, float b, ulong n)
{
    x += xo;
    y += yo;
#ifdef TS_CPU
    TS_PIECE(n, first, last);
    ulong i = first;
    if (kind <= ACT_AFFINE)
        for (; i + TS_V <= last; i += TS_V)
            VSTORE(act_v(kind, a, b, VLOAD(x + i)), y + i);
    for (; i < last; ++i)
        y[i] = unary_more(kind, a, b, x[i]);
#else
    TS_EACH(i, n)
    y[i] = unary_more(kind, a, b, x[i]);
#endif
}

enum {
    BIN_ADD,
    BIN_SUB,
    BIN_MUL,
    BIN_DIV,
    BIN_MIN,
    BIN_MAX,
    BIN_POW,
    BIN_MOD,
    BIN_FMOD,
    BIN_LESS,
    BIN_LESS_EQUAL,
    BIN_GREATER,
    BIN_GREATER_EQUAL,
    BIN_EQUAL,
    BIN_NOT_EQUAL,
    BIN_AND,
    BIN_OR,
    BIN_XOR,
    BIN_PRELU,
    BIN_SQUARED_DIFFERENCE,
    BIN_DIV_WHOLE,
    BIN_POW_WHOLE
};

/* Small whole exponents by products: a device's pow may miss a whole result by several ulp. */
static inline float power(float a, float b)
{
    const uint n = (uint)clamp(b, 0.0f, 31.0f);
    float product = 1.0f, square = a;
    for (int i = 0; i < 5; ++i) {
        product = n >> i & 1 ? product * square : product;
        square *= square;
    }
    const bool exact = a == rint(a) && fabs(product) <= 16777216.0f;
    return (float)n == b && (n <= 4 || exact) ? product : pow(a, b);
}

/* Towards zero; a power that misses a whole number by no more than pow's error is that number. */
static inline float power_whole(float a, float b)
{
    const float p = power(a, b), near = rint(p);
    return fabs(p - near) <= 2e-6f * fabs(p) ? near : trunc(p);
}

/* Towards zero; the remainder corrects a device's division that is an ulp or two off. */
static inline float divide_whole(float a, float b)
{
    const float q = trunc(a / b), r = fma(-q, b, a), one = (a < 0.0f) != (b < 0.0f) ? -1.0f : 1.0f;
    if (r != 0.0f && (r < 0.0f) != (a < 0.0f))
        return q - one;
    return fabs(r) >= fabs(b) ? q + one : q;
}

#define TRUE_IF(c) ((c) ? 1.0f : 0.0f)
static inline float binary(int op, float a, float b)
{
    switch (op) {
    case BIN_ADD:
        return a + b;
    case BIN_SUB:
        return a - b;
    case BIN_MUL:
        return a * b;
    case BIN_DIV:
        return a / b;
    case BIN_MIN:
        return isnan(a) || a < b ? a : b;
    case BIN_MAX:
        return isnan(a) || a > b ? a : b;
    case BIN_POW:
        return power(a, b);
    case BIN_MOD: /* sign of the divisor */
    {
        float r = fmod(a, b);
        return r != 0.0f && ((r < 0.0f) != (b < 0.0f)) ? r + b : r;
    }
    case BIN_FMOD:
        return fmod(a, b);
    case BIN_LESS:
        return TRUE_IF(a < b);
    case BIN_LESS_EQUAL:
        return TRUE_IF(a <= b);
    case BIN_GREATER:
        return TRUE_IF(a > b);
    case BIN_GREATER_EQUAL:
        return TRUE_IF(a >= b);
    case BIN_EQUAL:
        return TRUE_IF(a == b);
    case BIN_NOT_EQUAL:
        return TRUE_IF(a != b);
    case BIN_AND:
        return TRUE_IF(a != 0.0f && b != 0.0f);
    case BIN_OR:
        return TRUE_IF(a != 0.0f || b != 0.0f);
    case BIN_XOR:
        return TRUE_IF((a != 0.0f) != (b != 0.0f));
    case BIN_PRELU:
        return a >= 0.0f ? a : a * b;
    case BIN_DIV_WHOLE:
        return divide_whole(a, b);
    case BIN_POW_WHOLE:
        return power_whole(a, b);
    default:
        return (a - b) * (a - b);
    }
}

/* Strides of up to three operands over merged axes, outermost first; 0 where an axis broadcasts. */
typedef struct strided_args {
    int rank;
    uint dim[8];
    long s0[8], s1[8], s2[8];
} strided_args;

/* Rows of the innermost axis. gid 0 over the rows; `act` is applied to the result. */
kernel void pointwise_binary(global const float *a, ulong ao, global const float *b, ulong bo,
                             global float *y, ulong yo, int op, int act, float act_a, float act_b,
                             strided_args p, ulong n)
{
#ifdef TS_CPU
    const uint inner = p.dim[p.rank - 1];
    const long ia = p.s0[p.rank - 1], ib = p.s1[p.rank - 1];
    /* One long row is split too: pieces of the whole, cut where rows end. */
    TS_PIECE(n, first, last);
    ulong at = first;
    while (at < last) {
        const ulong row = at / inner;
        uint c = at % inner;
        const uint end = min((ulong)inner, c + (last - at));
        ulong rest = row;
        long oa = ao, ob = bo;
        for (int d = p.rank - 2; d >= 0; --d) {
            const uint k = rest % p.dim[d];
            rest /= p.dim[d];
            oa += k * p.s0[d];
            ob += k * p.s1[d];
        }
        global float *to = y + yo + row * inner;
        at += end - c;
        if (op <= BIN_MUL && (ia == 1 || ia == 0) && (ib == 1 || ib == 0) && act <= ACT_AFFINE)
            for (; c + TS_V <= end; c += TS_V) {
                const vf va = ia ? VLOAD(a + oa + c) : (vf)(a[oa]);
                const vf vb = ib ? VLOAD(b + ob + c) : (vf)(b[ob]);
                const vf v = op == BIN_ADD ? va + vb : op == BIN_SUB ? va - vb : va * vb;
                VSTORE(act_v(act, act_a, act_b, v), to + c);
            }
        for (; c < end; ++c)
            to[c] = act_f(act, act_a, act_b, binary(op, a[oa + c * ia], b[ob + c * ib]));
    }
#else
    TS_EACH(i, n)
    {
        ulong rest = i;
        long oa = ao, ob = bo;
        for (int d = p.rank - 1; d >= 0; --d) {
            const uint k = rest % p.dim[d];
            rest /= p.dim[d];
            oa += k * p.s0[d];
            ob += k * p.s1[d];
        }
        y[yo + i] = act_f(act, act_a, act_b, binary(op, a[oa], b[ob]));
    }
#endif
}

/* y = c ? a : b with broadcasting; c is f32, true where not 0. */
kernel void pointwise_where(global const float *c, ulong co, global const float *a, ulong ao,
                            global const float *b, ulong bo, global float *y, ulong yo,
                            strided_args p, ulong n)
{
    TS_EACH(i, n)
    {
        ulong rest = i;
        long oc = co, oa = ao, ob = bo;
        for (int d = p.rank - 1; d >= 0; --d) {
            const uint k = rest % p.dim[d];
            rest /= p.dim[d];
            oc += k * p.s0[d];
            oa += k * p.s1[d];
            ob += k * p.s2[d];
        }
        y[yo + i] = c[oc] != 0.0f ? a[oa] : b[ob];
    }
}

static inline void store_any(int dtype, global uchar *y, ulong i, float v)
{
    switch (dtype) {
    case TS_DT_BOOL:
        y[i] = v != 0.0f;
        break;
    case TS_DT_U8:
        y[i] = convert_uchar_sat_rtz(v);
        break;
    case TS_DT_I8:
        ((global char *)y)[i] = convert_char_sat_rtz(v);
        break;
    case TS_DT_U16:
        ((global ushort *)y)[i] = convert_ushort_sat_rtz(v);
        break;
    case TS_DT_I16:
        ((global short *)y)[i] = convert_short_sat_rtz(v);
        break;
    case TS_DT_U32:
        ((global uint *)y)[i] = convert_uint_sat_rtz(v);
        break;
    case TS_DT_I32:
        ((global int *)y)[i] = convert_int_sat_rtz(v);
        break;
    case TS_DT_U64:
        ((global ulong *)y)[i] = convert_ulong_sat_rtz(v);
        break;
    case TS_DT_I64:
        ((global long *)y)[i] = convert_long_sat_rtz(v);
        break;
    case TS_DT_F16:
        vstore_half_rte(v, i, (global half *)y);
        break;
    case TS_DT_BF16:
        ((global ushort *)y)[i] = ts_float_bf16(v);
        break;
    case TS_DT_F32:
        ((global float *)y)[i] = v;
        break;
    default: {
        /* A double's bits from a float's: exact, without needing cl_khr_fp64. */
        const uint bits = as_uint(v), e = bits >> 23 & 0xff;
        ulong out = (ulong)(bits >> 31) << 63;
        if (e == 0xff)
            out |= 0x7ffUL << 52 | (ulong)(bits & 0x7fffff) << 29;
        else if (e)
            out |= (ulong)(e - 127 + 1023) << 52 | (ulong)(bits & 0x7fffff) << 29;
        else if (bits & 0x7fffff) {
            const int shift = clz(bits & 0x7fffff) - 8;
            out |= (ulong)(1 - shift - 127 + 1023) << 52 | (ulong)((bits << shift) & 0x7fffff)
                                                               << 29;
        }
        ((global ulong *)y)[i] = out;
    }
    }
}

/* y = x in another dtype, by way of float (integers above 2^24 round). */
kernel void pointwise_cast(global const uchar *x, ulong xo, int from, global uchar *y, ulong yo,
                           int to, ulong n)
{
    TS_EACH(i, n)
    store_any(to, y, yo + i, ts_load_any(from, x, xo + i));
}

static inline long load_integer(int dtype, global const uchar *x, ulong i)
{
    switch (dtype) {
    case TS_DT_I8:
        return ((global const char *)x)[i];
    case TS_DT_U16:
        return ((global const ushort *)x)[i];
    case TS_DT_I16:
        return ((global const short *)x)[i];
    case TS_DT_U32:
        return ((global const uint *)x)[i];
    case TS_DT_I32:
        return ((global const int *)x)[i];
    case TS_DT_U64:
    case TS_DT_I64:
        return ((global const long *)x)[i];
    default:
        return x[i];
    }
}

/* The same between integer types, exact: bits beyond the target's width are dropped. */
kernel void pointwise_cast_integer(global const uchar *x, ulong xo, int from, global uchar *y,
                                   ulong yo, int to, ulong n)
{
    TS_EACH(i, n)
    {
        const long v = load_integer(from, x, xo + i);
        switch (to) {
        case TS_DT_BOOL:
            y[yo + i] = v != 0;
            break;
        case TS_DT_U8:
        case TS_DT_I8:
            y[yo + i] = (uchar)v;
            break;
        case TS_DT_U16:
        case TS_DT_I16:
            ((global ushort *)y)[yo + i] = (ushort)v;
            break;
        case TS_DT_U32:
        case TS_DT_I32:
            ((global uint *)y)[yo + i] = (uint)v;
            break;
        default:
            ((global long *)y)[yo + i] = v;
        }
    }
}

/* Pictures: u8 = floor(clamp(scale·x + shift, 0, 255) + bias): bias 0.5 rounds, 0 truncates. */
kernel void pointwise_quantize(global const float *x, ulong xo, global uchar *y, ulong yo,
                               float scale, float shift, float bias, ulong n)
{
    TS_EACH(i, n)
    y[yo + i] = convert_uchar_sat_rtz(clamp(x[xo + i] * scale + shift, 0.0f, 255.0f) + bias);
}
