/* Clocks. Durations and deadlines use the monotonic one; `t` and `t_send` of frames the wall clock. */
#ifndef TS_CL_BASE_CLOCK_H
#define TS_CL_BASE_CLOCK_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Microseconds of the monotonic clock. */
int64_t ts_now_us(void);
/** Seconds since the Unix epoch, never going backwards within the process. */
double ts_wall_seconds(void);
/** Sleep; for pacing only, never to wait for another thread. */
void ts_sleep_us(int64_t us);

#ifdef __cplusplus
}
#endif
#endif
