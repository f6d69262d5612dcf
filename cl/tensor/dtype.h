/* Element types of tensors: names as in the API, widths, and conversion of single values. */
#ifndef TS_CL_TENSOR_DTYPE_H
#define TS_CL_TENSOR_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* X(enumerator, name, bytes, safetensors name, npy descr, Open Inference Protocol name) */
#define TS_DTYPE_MAP(X)                       \
    X(BOOL, "bool", 1, "BOOL", "|b1", "BOOL") \
    X(U8, "u8", 1, "U8", "|u1", "UINT8")      \
    X(I8, "i8", 1, "I8", "|i1", "INT8")       \
    X(U16, "u16", 2, "U16", "<u2", "UINT16")  \
    X(I16, "i16", 2, "I16", "<i2", "INT16")   \
    X(U32, "u32", 4, "U32", "<u4", "UINT32")  \
    X(I32, "i32", 4, "I32", "<i4", "INT32")   \
    X(U64, "u64", 8, "U64", "<u8", "UINT64")  \
    X(I64, "i64", 8, "I64", "<i8", "INT64")   \
    X(F16, "f16", 2, "F16", "<f2", "FP16")    \
    X(BF16, "bf16", 2, "BF16", "<u2", "BF16") \
    X(F32, "f32", 4, "F32", "<f4", "FP32")    \
    X(F64, "f64", 8, "F64", "<f8", "FP64")

typedef enum ts_dtype {
#define X(name, text, bytes, st, npy, oip) TS_##name,
    TS_DTYPE_MAP(X)
#undef X
    TS_DTYPE_COUNT
} ts_dtype;

const char *ts_dtype_name(ts_dtype dtype);
size_t ts_dtype_bytes(ts_dtype dtype);
const char *ts_dtype_safetensors(ts_dtype dtype);
const char *ts_dtype_npy(ts_dtype dtype);
const char *ts_dtype_oip(ts_dtype dtype);
/** Find by the API's name ("f32"). */
bool ts_dtype_parse(const char *name, ts_dtype *out);
bool ts_dtype_parse_safetensors(const char *name, ts_dtype *out);
bool ts_dtype_parse_oip(const char *name, ts_dtype *out);
bool ts_dtype_is_float(ts_dtype dtype);
bool ts_dtype_is_signed(ts_dtype dtype);

float ts_f16_to_f32(uint16_t bits);
uint16_t ts_f32_to_f16(float value); /* round to nearest even */
float ts_bf16_to_f32(uint16_t bits);
uint16_t ts_f32_to_bf16(float value); /* round to nearest even */

#ifdef __cplusplus
}
#endif
#endif
