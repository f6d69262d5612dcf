/*
 * --trace FILE: what the server spent its time on, in the Trace Event Format that chrome://tracing and
 * Perfetto open. One complete event per request, render and encoding, with the device's share.
 *
 * Thread: any; costs one short lock, and nothing without --trace (a NULL trace).
 */
#ifndef TS_SERVER_TRACE_H
#define TS_SERVER_TRACE_H

#include "cl/base/status.h"
#include "cl/device/device.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_trace ts_trace;

/** Errors: TS_E_OPTION (the file cannot be written). */
TS_CHECKED ts_status ts_trace_open(const char *path, ts_trace **out, ts_error *err);
/** Finish the file. NULL is fine. */
void ts_trace_close(ts_trace *trace);
/**
 * Note that this thread did `what` for `name` from start_us to now (monotonic clock). `queue` (may be
 * NULL) gives the device time of its commands since the last span.
 */
void ts_trace_span(ts_trace *trace, const char *what, const char *name, int64_t start_us,
                   ts_queue *queue);

#ifdef __cplusplus
}
#endif
#endif
