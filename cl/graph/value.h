/*
 * A value while a graph runs: its ONNX type and shape, and its elements on the host, on the device,
 * or both. Host elements are doubles whatever the type (integers up to 2^53 are exact); device
 * elements are f32. What is small, integer or known early lives on the host, so that shape arithmetic
 * never touches the device.
 *
 * Thread: the executor's.
 */
#ifndef TS_CL_GRAPH_VALUE_H
#define TS_CL_GRAPH_VALUE_H

#include "cl/ops/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

/* TensorProto.DataType */
enum {
    TS_ONNX_NONE = 0,
    TS_ONNX_F32 = 1,
    TS_ONNX_U8 = 2,
    TS_ONNX_I8 = 3,
    TS_ONNX_U16 = 4,
    TS_ONNX_I16 = 5,
    TS_ONNX_I32 = 6,
    TS_ONNX_I64 = 7,
    TS_ONNX_STRING = 8,
    TS_ONNX_BOOL = 9,
    TS_ONNX_F16 = 10,
    TS_ONNX_F64 = 11,
    TS_ONNX_U32 = 12,
    TS_ONNX_U64 = 13,
    TS_ONNX_BF16 = 16
};

typedef struct ts_value {
    int type;
    ts_shape shape;
    double *host;     /* owned, NULL: not on the host */
    const float *f32; /* borrowed elements of a large constant, instead of `host`; NULL */
    ts_arr dev;       /* buffer NULL: not on the device */
} ts_value;

bool ts_onnx_is_float(int type);
/** Name as in ONNX ("int64"), and our dtype; false where we have none. */
const char *ts_onnx_type_name(int type);
bool ts_onnx_dtype(int type, ts_dtype *out);
int ts_onnx_of_dtype(ts_dtype dtype);
/** Wrap or round a number to what the type can hold. */
double ts_onnx_fit(int type, double value);

/** Allocate zeroed host elements. Errors: TS_E_NO_MEMORY, TS_E_TOO_LARGE. */
TS_CHECKED ts_status ts_value_host(ts_value *value, int type, const ts_shape *shape, ts_error *err);
int64_t ts_value_elements(const ts_value *value);
/** Drop everything and zero. */
void ts_value_finish(ts_value *value);
/** Make sure the elements are on the host (reads back, or widens a constant). */
TS_CHECKED ts_status ts_value_to_host(ts_ops *ops, ts_value *value, ts_error *err);
/** Make sure the elements are on the device as f32, and give the array (borrowed). */
TS_CHECKED ts_status ts_value_to_device(ts_ops *ops, ts_value *value, ts_arr *out, ts_error *err);
/** A value that shares x's memory under another shape. */
TS_CHECKED ts_status ts_value_view(ts_value *x, const ts_shape *shape, ts_value *out,
                                   ts_error *err);
/** From raw bytes in the type's own width, and back. */
TS_CHECKED ts_status ts_value_from_raw(int type, const ts_shape *shape, const void *data,
                                       size_t nbytes, ts_value *out, ts_error *err);
void ts_value_to_raw(const ts_value *value, void *out);

#ifdef __cplusplus
}
#endif
#endif
