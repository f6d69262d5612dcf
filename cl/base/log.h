/*
 * Structured log lines on stderr, one per event, as logfmt text or JSON.
 *
 * `ts_log(TS_LOG_INFO, "http", "listening addr=%s", text)`: the channel is the folder or module.
 * Levels per channel come from "info,ws=debug". Thread: any.
 */
#ifndef TS_CL_BASE_LOG_H
#define TS_CL_BASE_LOG_H

#include <stdbool.h>

#include "cl/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ts_log_level {
    TS_LOG_ERROR,
    TS_LOG_WARN,
    TS_LOG_INFO,
    TS_LOG_DEBUG,
    TS_LOG_TRACE
} ts_log_level;

/** Set levels from `info` or `info,ws=debug,cl=trace`. Errors: TS_E_OPTION names the bad word. */
TS_CHECKED ts_status ts_log_set_levels(const char *spec, ts_error *err);
void ts_log_set_json(bool json);
bool ts_log_enabled(ts_log_level level, const char *channel);
void ts_log(ts_log_level level, const char *channel, const char *fmt, ...) TS_PRINTF(3, 4);
/** Log a handled error: text, code, place, native code; the detail at debug level. */
void ts_log_error(ts_log_level level, const char *channel, const char *what, const ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
