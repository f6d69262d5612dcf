#include <math.h>

#include "tests/ref/ref_ops.h"

double ref_binary(ts_binary op, double a, double b)
{
    switch (op) {
    case TS_BINARY_ADD:
        return a + b;
    case TS_BINARY_SUB:
        return a - b;
    case TS_BINARY_MUL:
        return a * b;
    case TS_BINARY_DIV:
        return a / b;
    case TS_BINARY_MIN:
        return isnan(a) || isnan(b) ? NAN : a < b ? a : b;
    case TS_BINARY_MAX:
        return isnan(a) || isnan(b) ? NAN : a > b ? a : b;
    case TS_BINARY_POW:
        return pow(a, b);
    case TS_BINARY_MOD: {
        double r = fmod(a, b);
        return r != 0 && (r < 0) != (b < 0) ? r + b : r;
    }
    case TS_BINARY_FMOD:
        return fmod(a, b);
    case TS_BINARY_LESS:
        return a < b;
    case TS_BINARY_LESS_EQUAL:
        return a <= b;
    case TS_BINARY_GREATER:
        return a > b;
    case TS_BINARY_GREATER_EQUAL:
        return a >= b;
    case TS_BINARY_EQUAL:
        return a == b;
    case TS_BINARY_NOT_EQUAL:
        return a != b;
    case TS_BINARY_AND:
        return a != 0 && b != 0;
    case TS_BINARY_OR:
        return a != 0 || b != 0;
    case TS_BINARY_XOR:
        return (a != 0) != (b != 0);
    case TS_BINARY_PRELU:
        return a >= 0 ? a : a * b;
    case TS_BINARY_SQUARED_DIFFERENCE:
        return (a - b) * (a - b);
    case TS_BINARY_DIV_WHOLE:
        return trunc(a / b);
    case TS_BINARY_POW_WHOLE:
        return trunc(pow(a, b));
    case TS_BINARY_COUNT:
        break;
    }
    return NAN;
}

int64_t ref_broadcast_index(const ts_shape *x, const ts_shape *y, int64_t i)
{
    int64_t at = 0, step = 1;
    for (int d = 0; d < y->rank; d++) {
        int64_t pos = i % y->dim[y->rank - 1 - d];
        i /= y->dim[y->rank - 1 - d];
        if (d >= x->rank)
            continue;
        int64_t size = x->dim[x->rank - 1 - d];
        at += (size == 1 ? 0 : pos) * step;
        step *= size;
    }
    return at;
}
