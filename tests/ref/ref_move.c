#include "tests/ref/ref_ops.h"

static int64_t source(int64_t i, int64_t n, ts_pad_mode mode)
{
    if (i >= 0 && i < n)
        return i;
    switch (mode) {
    case TS_PAD_EDGE:
        return i < 0 ? 0 : n - 1;
    case TS_PAD_WRAP:
        while (i < 0)
            i += n;
        return i % n;
    case TS_PAD_REFLECT:
        while (n > 1 && (i < 0 || i >= n))
            i = i < 0 ? -i : 2 * (n - 1) - i;
        return n > 1 ? i : 0;
    case TS_PAD_CONSTANT:
        break;
    }
    return -1;
}

void ref_pad(const float *x, const ts_shape *in, const int64_t *front, ts_pad_mode mode,
             float value, const ts_shape *out, float *y)
{
    int64_t n = ts_shape_elements(out);
    for (int64_t i = 0; i < n; i++) {
        int64_t rest = i, at = 0, step = 1;
        bool inside = true;
        for (int d = out->rank - 1; d >= 0; d--) {
            int64_t s = source(rest % out->dim[d] - front[d], in->dim[d], mode);
            rest /= out->dim[d];
            inside = inside && s >= 0;
            at += s * step;
            step *= in->dim[d];
        }
        y[i] = inside ? x[at] : value;
    }
}
