/*
 * Named threads. Every thread blocks all signals (main takes them with sigwait), and is joined by
 * its owner; stopping it is the owner's business (closing the channel it waits on).
 */
#ifndef TS_CL_BASE_THREAD_H
#define TS_CL_BASE_THREAD_H

#include "cl/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_thread ts_thread;

/** Start a thread named `name` (15 characters at most, "ts-enc1"). Owner: ts_thread_join frees it. */
TS_CHECKED ts_status ts_thread_start(const char *name, void (*run)(void *), void *arg,
                                     ts_thread **out, ts_error *err);
/** Wait for the end and free. NULL is fine. */
void ts_thread_join(ts_thread *thread);
/** Number of processors this process may use, at least 1. */
int ts_cpu_count(void);

#ifdef __cplusplus
}
#endif
#endif
