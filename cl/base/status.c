#include "cl/base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    int http;
    const char *code;
} STATUS[TS_STATUS_COUNT] = {
#define X(name, http, code) {http, code},
    TS_STATUS_MAP(X)
#undef X
};

const char *ts_status_code(ts_status status)
{
    return (unsigned)status < TS_STATUS_COUNT ? STATUS[status].code : "internal";
}

int ts_status_http(ts_status status)
{
    return (unsigned)status < TS_STATUS_COUNT ? STATUS[status].http : 500;
}

static void record(ts_error *err, ts_status status, int32_t native, const char *where,
                   const char *fmt, va_list args)
{
    if (!err || err->status != TS_OK)
        return;
    err->status = status;
    err->native = native;
    err->where = where;
    vsnprintf(err->text, sizeof err->text, fmt, args);
}

ts_status ts_fail_at(ts_error *err, ts_status status, int32_t native, const char *where,
                     const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    record(err, status, native, where, fmt, args);
    va_end(args);
    return status;
}

static ts_status status_of_errno(int errnum)
{
    switch (errnum) {
    case ENOSPC:
    case EDQUOT:
        return TS_E_DISK_FULL;
    case ENOMEM:
        return TS_E_NO_MEMORY;
    case ENOENT:
        return TS_E_NOT_FOUND;
    case EEXIST:
        return TS_E_EXISTS;
    default:
        return TS_E_INTERNAL;
    }
}

ts_status ts_fail_errno_at(ts_error *err, int errnum, const char *where, const char *fmt, ...)
{
    ts_status status = status_of_errno(errnum);
    if (!err || err->status != TS_OK)
        return status;
    va_list args;
    va_start(args, fmt);
    record(err, status, errnum, where, fmt, args);
    va_end(args);
    size_t used = strlen(err->text);
    char reason[128] = "";
    if (strerror_r(errnum, reason, sizeof reason) != 0)
        snprintf(reason, sizeof reason, "errno %d", errnum);
    snprintf(err->text + used, sizeof err->text - used, ": %s", reason);
    return status;
}

void ts_error_prefix(ts_error *err, const char *fmt, ...)
{
    if (!err || err->status == TS_OK)
        return;
    char text[sizeof err->text];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    size_t used = strlen(text);
    snprintf(text + used, sizeof text - used, ": %s", err->text);
    memcpy(err->text, text, sizeof text);
    err->text[sizeof err->text - 1] = '\0';
}

void ts_error_clear(ts_error *err)
{
    if (!err)
        return;
    free(err->detail);
    memset(err, 0, sizeof *err);
}
