/*
 * Reading safetensors files: u64 header length, JSON header, data. The whole header is checked before
 * any data is touched: length, JSON, dtypes, shapes, offsets inside the file, no overlap, no holes
 * in sizes; so what is handed out can be read without further checks.
 *
 * Thread: one at a time; a parsed file is read-only and may then be shared.
 */
#ifndef TS_CL_TENSOR_SAFETENSORS_H
#define TS_CL_TENSOR_SAFETENSORS_H

#include "cl/base/json.h"
#include "cl/tensor/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_st_tensor {
    const char *name; /* lives as long as the file */
    ts_dtype dtype;
    ts_shape shape;
    const uint8_t *data;
    size_t nbytes;
} ts_st_tensor;

typedef struct ts_safetensors {
    ts_st_tensor *tensor; /* sorted by name */
    size_t n;
    json_t *header; /* owner of the names */
} ts_safetensors;

/**
 * Parse a file in memory; `data` must outlive *out. Tensors are in C order, little-endian.
 * Errors: TS_E_FILE, naming the tensor.
 */
TS_CHECKED ts_status ts_safetensors_parse(const void *data, size_t len, ts_safetensors *out,
                                          ts_error *err);
void ts_safetensors_finish(ts_safetensors *file); /* NULL is fine */
/** Find by name; NULL if there is none. */
const ts_st_tensor *ts_safetensors_find(const ts_safetensors *file, const char *name);
/** The `__metadata__` object (borrowed), or NULL. */
const json_t *ts_safetensors_metadata(const ts_safetensors *file);
/**
 * All elements as f32: floats widened or rounded to nearest, integers converted, bool 0 or 1.
 * `out` has room for the elements.
 */
void ts_st_tensor_to_f32(const ts_st_tensor *tensor, float *out);

#ifdef __cplusplus
}
#endif
#endif
