/*
 * Stable radix sort of u32 keys with u32 values on the device. How many pairs there are is read
 * from device memory, so what made them need not be waited for.
 *
 *   ts_sort_create(device, capacity, &sort, err);
 *   ts_sort_pairs(sort, q, keys, values, count, 0, 14, err);   sorts by the low 14 bits
 *
 * Thread: one queue at a time (the object holds scratch memory).
 */
#ifndef TS_CL_OPS_SORT_H
#define TS_CL_OPS_SORT_H

#include "cl/device/device.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_sort ts_sort;

/** Scratch for up to `capacity` pairs (at most 2^31). Errors: TS_E_DEVICE_MEMORY, TS_E_TOO_LARGE. */
TS_CHECKED ts_status ts_sort_create(ts_device *device, size_t capacity, ts_sort **out,
                                    ts_error *err);
void ts_sort_destroy(ts_sort *sort); /* NULL is fine */

/**
 * Sort the first count[at] pairs in place by key, equal keys in their old order. More than the
 * capacity: nothing is moved.
 *
 * Shapes: keys, values: capacity u32, keys below 2^bits; count: u32 at index `at`; 1 <= bits <= 32.
 * Errors: TS_E_DEVICE.
 */
TS_CHECKED ts_status ts_sort_pairs(ts_sort *sort, ts_queue *queue, ts_buffer *keys,
                                   ts_buffer *values, ts_buffer *count, size_t at, unsigned bits,
                                   ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
