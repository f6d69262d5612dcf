/*
 * Tensors as JSON: {"dtype":"f32","shape":[2,2],"data":[1,2,"NaN",null]}, data flat or nested.
 *
 * Read by an own scanner, because integers of 64 bits have to stay exact and a tree of a million
 * numbers would be large. Thread: any.
 */
#ifndef TS_CL_TENSOR_TENSOR_JSON_H
#define TS_CL_TENSOR_TENSOR_JSON_H

#include "cl/base/buf.h"
#include "cl/tensor/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A checked document; `data` points at the text it was parsed from. */
typedef struct ts_tensor_json {
    ts_dtype dtype;
    ts_shape shape;
    size_t nbytes;
    const char *data; /* the value of "data" */
} ts_tensor_json;

/**
 * Check a whole document, every element of it included. text[len] must be a zero byte.
 * Errors: TS_E_JSON (syntax; a value that the dtype does not hold, with its index), TS_E_OPTION
 * (unknown or missing key), TS_E_DTYPE, TS_E_SIZE (elements against shape), TS_E_TOO_LARGE.
 */
TS_CHECKED ts_status ts_tensor_json_parse(const char *text, size_t len, ts_tensor_json *out,
                                          ts_error *err);
/** Convert the elements, a piece at a time: `put` gets little-endian bytes in C order. */
TS_CHECKED ts_status ts_tensor_json_convert(const ts_tensor_json *doc,
                                            ts_status (*put)(void *arg, const void *data,
                                                             size_t len, ts_error *err),
                                            void *arg, ts_error *err);

/** Append `n` elements as JSON numbers with commas between; floats read back to the same bits. */
void ts_tensor_json_write_elements(ts_buf *out, ts_dtype dtype, const void *data, size_t n);

#ifdef __cplusplus
}
#endif
#endif
