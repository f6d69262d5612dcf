#include "server/media/averror.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include <libavutil/error.h>

ts_status ts_fail_av_at(ts_error *err, int code, ts_status status, const char *where,
                        const char *fmt, ...)
{
    char text[256], reason[AV_ERROR_MAX_STRING_SIZE];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (code == AVERROR(ENOSPC) || code == AVERROR(EDQUOT))
        status = TS_E_DISK_FULL;
    if (code == AVERROR(ENOMEM))
        status = TS_E_NO_MEMORY;
    av_strerror(code, reason, sizeof reason);
    return ts_fail_at(err, status, code, where, "%s: %s", text, reason);
}
