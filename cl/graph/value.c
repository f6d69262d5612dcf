#include "cl/graph/value.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    int type;
    const char *name;
    ts_dtype dtype;
} TYPES[] = {
    {TS_ONNX_F32, "float", TS_F32},      {TS_ONNX_U8, "uint8", TS_U8},
    {TS_ONNX_I8, "int8", TS_I8},         {TS_ONNX_U16, "uint16", TS_U16},
    {TS_ONNX_I16, "int16", TS_I16},      {TS_ONNX_I32, "int32", TS_I32},
    {TS_ONNX_I64, "int64", TS_I64},      {TS_ONNX_BOOL, "bool", TS_BOOL},
    {TS_ONNX_F16, "float16", TS_F16},    {TS_ONNX_F64, "double", TS_F64},
    {TS_ONNX_U32, "uint32", TS_U32},     {TS_ONNX_U64, "uint64", TS_U64},
    {TS_ONNX_BF16, "bfloat16", TS_BF16},
};
enum {
    N_TYPES = sizeof TYPES / sizeof *TYPES
};

/* A small file can ask for any size: what it gets on the host has a bound. */
#define HOST_BYTES_MAX ((size_t)2 << 30)

bool ts_onnx_is_float(int type)
{
    return type == TS_ONNX_F32 || type == TS_ONNX_F16 || type == TS_ONNX_F64 ||
           type == TS_ONNX_BF16;
}

const char *ts_onnx_type_name(int type)
{
    for (size_t i = 0; i < N_TYPES; i++)
        if (TYPES[i].type == type)
            return TYPES[i].name;
    return type == TS_ONNX_STRING ? "string" : "an unknown type";
}

bool ts_onnx_dtype(int type, ts_dtype *out)
{
    for (size_t i = 0; i < N_TYPES; i++)
        if (TYPES[i].type == type) {
            *out = TYPES[i].dtype;
            return true;
        }
    return false;
}

int ts_onnx_of_dtype(ts_dtype dtype)
{
    for (size_t i = 0; i < N_TYPES; i++)
        if (TYPES[i].dtype == dtype)
            return TYPES[i].type;
    return TS_ONNX_NONE;
}

double ts_onnx_fit(int type, double v)
{
    switch (type) {
    case TS_ONNX_F32:
        return (float)v;
    case TS_ONNX_F16:
        return (double)ts_f16_to_f32(ts_f32_to_f16((float)v));
    case TS_ONNX_BF16:
        return (double)ts_bf16_to_f32(ts_f32_to_bf16((float)v));
    case TS_ONNX_BOOL:
        return v != 0;
    case TS_ONNX_U8:
    case TS_ONNX_U16:
    case TS_ONNX_U32: {
        double range = type == TS_ONNX_U8 ? 256.0 : type == TS_ONNX_U16 ? 65536.0 : 4294967296.0;
        v = fmod(trunc(v), range);
        return v < 0 ? v + range : v;
    }
    case TS_ONNX_I8:
        return (int8_t)(int64_t)v;
    case TS_ONNX_I16:
        return (int16_t)(int64_t)v;
    case TS_ONNX_I32:
        return fabs(v) < 9e18 ? (double)(int32_t)(int64_t)v : v < 0 ? INT32_MIN : INT32_MAX;
    case TS_ONNX_I64:
    case TS_ONNX_U64:
        return trunc(v);
    default:
        return v;
    }
}

int64_t ts_value_elements(const ts_value *value)
{
    return ts_shape_elements(&value->shape);
}

ts_status ts_value_host(ts_value *value, int type, const ts_shape *shape, ts_error *err)
{
    size_t bytes;
    ts_status st = ts_shape_check(shape, TS_F64, &bytes, err);
    if (st == TS_OK && bytes > HOST_BYTES_MAX)
        st = ts_fail(err, TS_E_TOO_LARGE, "a value of %zu bytes on the host, at most %zu", bytes,
                     (size_t)HOST_BYTES_MAX);
    if (st != TS_OK)
        return st;
    double *host = calloc(bytes / sizeof(double) + 1, sizeof *host);
    if (!host)
        return ts_fail(err, TS_E_NO_MEMORY, "a value of %zu bytes", bytes);
    ts_value_finish(value);
    value->type = type;
    value->shape = *shape;
    value->host = host;
    return TS_OK;
}

void ts_value_finish(ts_value *value)
{
    if (!value)
        return;
    free(value->host);
    ts_arr_free(&value->dev);
    memset(value, 0, sizeof *value);
}

ts_status ts_value_to_host(ts_ops *ops, ts_value *v, ts_error *err)
{
    if (v->host)
        return TS_OK;
    int64_t n = ts_value_elements(v);
    double *host = calloc((size_t)n + 1, sizeof *host);
    float *staging = NULL;
    const float *from = v->f32;
    if (!host)
        return ts_fail(err, TS_E_NO_MEMORY, "a value of %lld elements", (long long)n);
    ts_status st = TS_OK;
    if (!from && n > 0) {
        staging = malloc((size_t)n * sizeof *staging);
        st = staging ? ts_arr_read(ops, &v->dev, staging, err)
                     : ts_fail(err, TS_E_NO_MEMORY, "a value of %lld elements", (long long)n);
        from = staging;
    }
    for (int64_t i = 0; i < n && st == TS_OK; i++)
        host[i] = (double)from[i];
    free(staging);
    if (st != TS_OK) {
        free(host);
        return st;
    }
    v->host = host;
    return TS_OK;
}

ts_status ts_value_to_device(ts_ops *ops, ts_value *v, ts_arr *out, ts_error *err)
{
    ts_status st = TS_OK;
    if (!v->dev.buffer) {
        int64_t n = ts_value_elements(v);
        float *staging = NULL;
        const float *from = v->f32;
        if (!from) {
            from = staging = malloc(((size_t)n + 1) * sizeof *staging);
            if (!staging)
                return ts_fail(err, TS_E_NO_MEMORY, "a value of %lld elements", (long long)n);
            for (int64_t i = 0; i < n; i++)
                staging[i] = (float)v->host[i];
        }
        st = ts_arr_from_host(ops, TS_F32, &v->shape, from, &v->dev, err);
        free(staging);
    }
    if (st == TS_OK)
        *out = ts_arr_reshape(&v->dev, &v->shape);
    return st;
}

ts_status ts_value_view(ts_value *x, const ts_shape *shape, ts_value *out, ts_error *err)
{
    ts_value y = {.type = x->type, .shape = *shape, .f32 = x->f32};
    if (x->host) {
        size_t n = (size_t)ts_value_elements(x);
        y.host = calloc(n + 1, sizeof *y.host);
        if (!y.host)
            return ts_fail(err, TS_E_NO_MEMORY, "a value of %zu elements", n);
        memcpy(y.host, x->host, n * sizeof *y.host);
    }
    if (x->dev.buffer) {
        y.dev = ts_arr_reshape(&x->dev, shape);
        ts_buffer_ref(y.dev.buffer);
    }
    ts_value_finish(out);
    *out = y;
    return TS_OK;
}

/* ---- raw bytes ---- */

static double read_element(int type, const uint8_t *p)
{
    union {
        int8_t i8;
        uint8_t u8;
        int16_t i16;
        uint16_t u16;
        int32_t i32;
        uint32_t u32;
        int64_t i64;
        uint64_t u64;
        float f32;
        double f64;
    } v;
    ts_dtype dtype = TS_F64;
    ts_onnx_dtype(type, &dtype);
    memcpy(&v, p, ts_dtype_bytes(dtype));
    switch (dtype) {
    case TS_BOOL:
        return v.u8 != 0;
    case TS_U8:
        return v.u8;
    case TS_I8:
        return v.i8;
    case TS_U16:
        return v.u16;
    case TS_I16:
        return v.i16;
    case TS_U32:
        return v.u32;
    case TS_I32:
        return v.i32;
    case TS_U64:
        return (double)v.u64;
    case TS_I64:
        return (double)v.i64;
    case TS_F16:
        return (double)ts_f16_to_f32(v.u16);
    case TS_BF16:
        return (double)ts_bf16_to_f32(v.u16);
    case TS_F32:
        return (double)v.f32;
    default:
        return v.f64;
    }
}

ts_status ts_value_from_raw(int type, const ts_shape *shape, const void *data, size_t nbytes,
                            ts_value *out, ts_error *err)
{
    ts_dtype dtype;
    size_t want;
    if (!ts_onnx_dtype(type, &dtype))
        return ts_fail(err, TS_E_FILE, "tensors of %s are not supported", ts_onnx_type_name(type));
    ts_status st = ts_shape_check(shape, dtype, &want, err);
    if (st == TS_OK && want != nbytes)
        st = ts_fail(err, TS_E_FILE, "%zu bytes of data, its dims say %zu", nbytes, want);
    if (st == TS_OK)
        st = ts_value_host(out, type, shape, err);
    if (st != TS_OK)
        return st;
    size_t width = ts_dtype_bytes(dtype), n = want / width;
    for (size_t i = 0; i < n; i++)
        out->host[i] = read_element(type, (const uint8_t *)data + i * width);
    return TS_OK;
}

static int64_t saturate(double v)
{
    return v >= 9223372036854775807.0 ? INT64_MAX
           : v <= -9223372036854775808.0 ? INT64_MIN
                                         : (int64_t)v;
}

void ts_value_to_raw(const ts_value *value, void *out)
{
    ts_dtype dtype = TS_F32;
    ts_onnx_dtype(value->type, &dtype);
    size_t width = ts_dtype_bytes(dtype), n = (size_t)ts_value_elements(value);
    for (size_t i = 0; i < n; i++) {
        double d = value->host[i];
        uint8_t *p = (uint8_t *)out + i * width;
        if (dtype == TS_F32) {
            float v = (float)d;
            memcpy(p, &v, 4);
        } else if (dtype == TS_F64) {
            memcpy(p, &d, 8);
        } else if (dtype == TS_F16 || dtype == TS_BF16) {
            uint16_t v = dtype == TS_F16 ? ts_f32_to_f16((float)d) : ts_f32_to_bf16((float)d);
            memcpy(p, &v, 2);
        } else if (dtype == TS_U64) {
            uint64_t v = d >= 18446744073709551615.0 ? UINT64_MAX : d < 0 ? (uint64_t)saturate(d)
                                                                         : (uint64_t)d;
            memcpy(p, &v, 8);
        } else {
            int64_t v = saturate(d); /* little-endian: the low bytes are the value */
            memcpy(p, &v, width);
        }
    }
}
