#include "cl/models/imagegs/quant.h"

#include <math.h>
#include <string.h>

static float largest(unsigned bits)
{
    return (float)(((uint64_t)1 << bits) - 1);
}

ts_gs_quant ts_gs_quant_of(const float *x, size_t n, unsigned bits)
{
    float lo = n ? x[0] : 0, hi = lo;
    for (size_t i = 1; i < n; ++i) {
        lo = fminf(lo, x[i]);
        hi = fmaxf(hi, x[i]);
    }
    return (ts_gs_quant){bits, lo, fmaxf((hi - lo) / largest(bits), 1e-8f)};
}

uint32_t ts_gs_quant_code(const ts_gs_quant *q, float x)
{
    float code = rintf((x - q->min) / q->step), top = largest(q->bits);
    double bound = fmin(fmax((double)code, 0), (double)top);
    return bound >= 4294967295.0 ? UINT32_MAX : (uint32_t)bound;
}

float ts_gs_quant_value(const ts_gs_quant *q, uint32_t code)
{
    float scaled = (float)code * q->step; /* two roundings, as the format says: no fused multiply */
    return scaled + q->min;
}

size_t ts_gs_quant_bytes(size_t n, unsigned bits)
{
    return (n * bits + 7) / 8;
}

/* Lowest bit first is little-endian, so 8 and 16 bits need no case of their own. */
void ts_gs_quant_pack(const ts_gs_quant *q, const float *x, size_t n, uint8_t *out)
{
    memset(out, 0, ts_gs_quant_bytes(n, q->bits));
    size_t bit = 0;
    for (size_t i = 0; i < n; ++i) {
        uint32_t code = ts_gs_quant_code(q, x[i]);
        for (unsigned b = 0; b < q->bits; ++b, ++bit)
            out[bit >> 3] |= (uint8_t)((code >> b & 1) << (bit & 7));
    }
}

void ts_gs_quant_unpack(const ts_gs_quant *q, const uint8_t *packed, size_t n, float *out)
{
    size_t bit = 0;
    for (size_t i = 0; i < n; ++i) {
        uint32_t code = 0;
        for (unsigned b = 0; b < q->bits; ++b, ++bit)
            code |= (uint32_t)(packed[bit >> 3] >> (bit & 7) & 1) << b;
        out[i] = ts_gs_quant_value(q, code);
    }
}
