#include "cl/tensor/dtype.h"

#include <string.h>

static const struct {
    const char *name;
    size_t bytes;
    const char *safetensors, *npy, *oip;
} INFO[TS_DTYPE_COUNT] = {
#define X(name, text, bytes, st, npy, oip) {text, bytes, st, npy, oip},
    TS_DTYPE_MAP(X)
#undef X
};

const char *ts_dtype_name(ts_dtype dtype)
{
    return INFO[dtype].name;
}

size_t ts_dtype_bytes(ts_dtype dtype)
{
    return INFO[dtype].bytes;
}

const char *ts_dtype_safetensors(ts_dtype dtype)
{
    return INFO[dtype].safetensors;
}

const char *ts_dtype_npy(ts_dtype dtype)
{
    return INFO[dtype].npy;
}

const char *ts_dtype_oip(ts_dtype dtype)
{
    return INFO[dtype].oip;
}

bool ts_dtype_parse(const char *name, ts_dtype *out)
{
    for (int i = 0; i < TS_DTYPE_COUNT; i++)
        if (strcmp(INFO[i].name, name) == 0) {
            *out = (ts_dtype)i;
            return true;
        }
    return false;
}

bool ts_dtype_parse_safetensors(const char *name, ts_dtype *out)
{
    for (int i = 0; i < TS_DTYPE_COUNT; i++)
        if (strcmp(INFO[i].safetensors, name) == 0) {
            *out = (ts_dtype)i;
            return true;
        }
    return false;
}

bool ts_dtype_parse_oip(const char *name, ts_dtype *out)
{
    for (int i = 0; i < TS_DTYPE_COUNT; i++)
        if (strcmp(INFO[i].oip, name) == 0) {
            *out = (ts_dtype)i;
            return true;
        }
    return false;
}

bool ts_dtype_is_float(ts_dtype dtype)
{
    return dtype == TS_F16 || dtype == TS_BF16 || dtype == TS_F32 || dtype == TS_F64;
}

bool ts_dtype_is_signed(ts_dtype dtype)
{
    return ts_dtype_is_float(dtype) || dtype == TS_I8 || dtype == TS_I16 || dtype == TS_I32 ||
           dtype == TS_I64;
}

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

float ts_f16_to_f32(uint16_t bits)
{
    uint32_t sign = (uint32_t)(bits & 0x8000) << 16;
    uint32_t exponent = (bits >> 10) & 31, mantissa = bits & 0x3ff;
    if (exponent == 31)
        return float_of(sign | 0x7f800000 | mantissa << 13);
    if (exponent)
        return float_of(sign | (exponent + 112) << 23 | mantissa << 13);
    float value = (float)mantissa * 0x1p-24f; /* zero and subnormals: exact */
    return sign ? -value : value;
}

uint16_t ts_f32_to_f16(float value)
{
    uint32_t bits = bits_of(value), sign = (bits >> 16) & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | ((magnitude >> 13) & 0x1ff));
    if (magnitude >= 0x477ff000) /* 65520 and more round to infinity */
        return (uint16_t)(sign | 0x7c00);
    if (magnitude < 0x38800000) {
        /* Subnormal: adding 0.5 lets the addition itself round at 2^-24. */
        uint32_t rounded = bits_of(float_of(magnitude) + 0.5f) - bits_of(0.5f);
        return (uint16_t)(sign | rounded);
    }
    uint32_t odd = (magnitude >> 13) & 1;
    return (uint16_t)(sign | ((magnitude - (112u << 23) + 0xfff + odd) >> 13));
}

float ts_bf16_to_f32(uint16_t bits)
{
    return float_of((uint32_t)bits << 16);
}

uint16_t ts_f32_to_bf16(float value)
{
    uint32_t bits = bits_of(value);
    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
