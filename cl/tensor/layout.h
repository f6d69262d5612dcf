/*
 * How the bytes of an upload lie, and copies between layouts on the device.
 *
 * A zero-initialised ts_layout with dtype and shape set is the server's own: C order, little-endian,
 * from the first byte. Thread: the functions that take a queue are the queue's thread's.
 */
#ifndef TS_CL_TENSOR_LAYOUT_H
#define TS_CL_TENSOR_LAYOUT_H

#include "cl/tensor/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_layout {
    ts_dtype dtype;
    ts_shape shape;
    uint64_t offset;              /* bytes before the first element */
    bool has_strides;             /* else dense, in C or Fortran order */
    int64_t strides[TS_MAX_RANK]; /* bytes from one index to the next, > 0 */
    bool fortran, big_endian;
} ts_layout;

/**
 * Check a layout that came from outside. *min_bytes is the size up to the last element's end,
 * *max_bytes also counts the gap behind the last row; *nbytes is the size of the tensor.
 * Errors: TS_E_OPTION (strides), TS_E_SIZE, TS_E_TOO_LARGE.
 */
TS_CHECKED ts_status ts_layout_check(const ts_layout *layout, uint64_t *min_bytes,
                                     uint64_t *max_bytes, size_t *nbytes, ts_error *err);
/** True when the bytes behind the offset are the tensor's as it is kept on the device. */
bool ts_layout_is_plain(const ts_layout *layout);

/** A tensor in C order from bytes of any layout in `src` (the layout was checked, src is as long). */
TS_CHECKED ts_status ts_layout_to_tensor(ts_queue *queue, ts_buffer *src, const ts_layout *layout,
                                         ts_tensor **out, ts_error *err);

/**
 * Check a region of a tensor: one offset and size per axis.
 * Errors: TS_E_RANGE (outside; rank differs), *nbytes is the region's size.
 */
TS_CHECKED ts_status ts_region_check(const ts_tensor *tensor, const ts_shape *offset,
                                     const ts_shape *size, size_t *nbytes, ts_error *err);
/** Copy dense bytes in `patch` into a region of `tensor` (checked). Enqueues only. */
TS_CHECKED ts_status ts_region_write(ts_queue *queue, ts_buffer *patch, ts_tensor *tensor,
                                     const ts_shape *offset, const ts_shape *size, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
