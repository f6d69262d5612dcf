/* libav's error codes as our errors. */
#ifndef TS_SERVER_MEDIA_AVERROR_H
#define TS_SERVER_MEDIA_AVERROR_H

#include "cl/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Record a libav failure: errno values as ts_fail_errno() would map ENOSPC and ENOMEM, everything
 * else as `status`; libav's own words are appended.
 */
#define ts_fail_av(err, code, status, ...) \
    ts_fail_av_at((err), (code), (status), TS_HERE, __VA_ARGS__)
ts_status ts_fail_av_at(ts_error *err, int code, ts_status status, const char *where,
                        const char *fmt, ...) TS_PRINTF(5, 6);

#ifdef __cplusplus
}
#endif
#endif
