/*
 * Exclusive prefix sum of u32 on the device, saturating at 2^32-1.
 *
 *   ts_scan_u32(q, counts, offsets, n, scratch, err);   offsets[n] is the total
 *
 * Thread: the queue's. Nothing waits for the device.
 */
#ifndef TS_CL_OPS_SCAN_H
#define TS_CL_OPS_SCAN_H

#include "cl/device/device.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    TS_SCAN_MAX_BLOCKS = 1024
};
/** Bytes of scratch that ts_scan_u32() needs for any n. */
#define TS_SCAN_SCRATCH_BYTES (TS_SCAN_MAX_BLOCKS * sizeof(uint32_t))

/**
 * dst[i] = src[0] + … + src[i-1] for i in 0 … n.
 *
 * Shapes: src: n u32; dst: n + 1 u32, may be src; scratch: TS_SCAN_SCRATCH_BYTES.
 * Errors: TS_E_DEVICE.
 */
TS_CHECKED ts_status ts_scan_u32(ts_queue *queue, ts_buffer *src, ts_buffer *dst, size_t n,
                                 ts_buffer *scratch, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
