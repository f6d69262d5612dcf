/*
 * Tensors on the device: dtype, shape and a buffer, row-major, little-endian, immutable once shared.
 *
 * A new version of a name is a new ts_tensor (the old one's memory goes back to the pool at its last
 * unref), so readers never see half an update. Thread: any; contents as cl/device/device.h says.
 */
#ifndef TS_CL_TENSOR_TENSOR_H
#define TS_CL_TENSOR_TENSOR_H

#include "cl/device/device.h"
#include "cl/tensor/dtype.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    TS_MAX_RANK = 8
};

/** Zero-initialised is the shape of a scalar. */
typedef struct ts_shape {
    int rank;
    int64_t dim[TS_MAX_RANK];
} ts_shape;

#define TS_SHAPE(...)                                                                    \
    ((ts_shape){.rank = (int)(sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), \
                .dim = {__VA_ARGS__}})

/** Number of elements; 1 for a scalar. The shape must have passed ts_shape_check(). */
int64_t ts_shape_elements(const ts_shape *shape);
bool ts_shape_equal(const ts_shape *a, const ts_shape *b);
/**
 * Check a shape that came from outside: rank <= 8, dims 0 … 2^31-1, elements <= 2^31, bytes without
 * overflow. *nbytes gets elements times the dtype's width. Errors: TS_E_SIZE; TS_E_TOO_LARGE.
 */
TS_CHECKED ts_status ts_shape_check(const ts_shape *shape, ts_dtype dtype, size_t *nbytes,
                                    ts_error *err);
/** "64,128" → shape ("" is a scalar). Errors: TS_E_OPTION. */
TS_CHECKED ts_status ts_shape_parse(const char *text, ts_shape *out, ts_error *err);
/** Write "[64,128]" into out[n]; returns out. */
char *ts_shape_text(const ts_shape *shape, char *out, size_t n);

typedef struct ts_tensor ts_tensor;

/** A new tensor with undefined contents. Owner: caller has one reference. */
TS_CHECKED ts_status ts_tensor_create(ts_device *device, ts_dtype dtype, const ts_shape *shape,
                                      ts_tensor **out, ts_error *err);
/** A tensor over part of an existing buffer (it takes its own reference). */
TS_CHECKED ts_status ts_tensor_wrap(ts_buffer *buffer, size_t offset, ts_dtype dtype,
                                    const ts_shape *shape, ts_tensor **out, ts_error *err);
/** Create and fill from `nbytes` host bytes in C order. */
TS_CHECKED ts_status ts_tensor_from_host(ts_queue *queue, ts_dtype dtype, const ts_shape *shape,
                                         const void *data, size_t nbytes, ts_tensor **out,
                                         ts_error *err);
/** Read all bytes back (waits). `dst` has ts_tensor_nbytes() room. */
TS_CHECKED ts_status ts_tensor_read(ts_queue *queue, const ts_tensor *tensor, void *dst,
                                    ts_error *err);
ts_tensor *ts_tensor_ref(ts_tensor *tensor); /* NULL gives NULL */
void ts_tensor_unref(ts_tensor *tensor);     /* NULL is fine */

/** True when the caller's reference is the only one, to the buffer too: nobody else can read it. */
bool ts_tensor_unique(const ts_tensor *tensor);

ts_dtype ts_tensor_dtype(const ts_tensor *tensor);
const ts_shape *ts_tensor_shape(const ts_tensor *tensor);
size_t ts_tensor_nbytes(const ts_tensor *tensor);
/** The buffer (borrowed) and where in it the tensor starts, in bytes. */
ts_buffer *ts_tensor_buffer(const ts_tensor *tensor);
size_t ts_tensor_offset(const ts_tensor *tensor);
ts_device *ts_tensor_device(const ts_tensor *tensor);

#ifdef __cplusplus
}
#endif
#endif
