/*
 * Faults put into OpenCL calls by tests: every call of cl/device that allocates or enqueues asks here.
 *
 * Off, it costs one relaxed atomic load per call. Thread: any.
 */
#ifndef TS_CL_DEVICE_FAULT_H
#define TS_CL_DEVICE_FAULT_H

#include <stdint.h>

#include "cl/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Make the n-th OpenCL call from now (1: the next) fail as out of memory, once; 0 turns it off. */
void ts_device_fail_after(int64_t n);
/**
 * Faults by name: "clCreateBuffer@3:CL_MEM_OBJECT_ALLOCATION_FAILURE,clFinish@*0.01:CL_OUT_OF_RESOURCES"
 * (the nth call from now, or a probability). NULL or "" turns all off. Errors: TS_E_OPTION.
 */
TS_CHECKED ts_status ts_device_faults(const char *spec, uint64_t seed, ts_error *err);
/** Number of calls that asked since the last setting. */
int64_t ts_device_fault_calls(void);

#ifdef __cplusplus
}
#endif
#endif
