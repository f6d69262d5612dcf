/*
 * Status codes and errors.
 *
 * Everything that can fail returns a ts_status and takes `ts_error *err` last (NULL is fine).
 * `return ts_fail(err, TS_E_SHAPE, "got %s, want [N,4]", text);` is the whole idiom: the first error
 * wins, later ones only pass its status on. One list makes the enum, the word in API answers (the
 * problem's `code`) and the HTTP status.
 *
 * Thread: any; a ts_error belongs to whoever declared it.
 */
#ifndef TS_CL_BASE_STATUS_H
#define TS_CL_BASE_STATUS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TS_CHECKED           __attribute__((warn_unused_result))
#define TS_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

/* X(enumerator, HTTP status, code) */
#define TS_STATUS_MAP(X)                         \
    X(OK, 200, "ok")                             \
    X(E_OPTION, 400, "bad-option")               \
    X(E_JSON, 400, "bad-json")                   \
    X(E_HEADER, 400, "bad-header")               \
    X(E_NAME, 400, "bad-name")                   \
    X(E_SIZE, 400, "size-mismatch")              \
    X(E_FILE, 400, "bad-file")                   \
    X(E_UNAUTHORIZED, 401, "unauthorized")       \
    X(E_FORBIDDEN, 403, "forbidden")             \
    X(E_NOT_FOUND, 404, "not-found")             \
    X(E_METHOD, 405, "method-not-allowed")       \
    X(E_NOT_ACCEPTABLE, 406, "not-acceptable")   \
    X(E_SLOW, 408, "too-slow")                   \
    X(E_EXISTS, 409, "exists")                   \
    X(E_BUSY, 409, "busy")                       \
    X(E_GONE, 410, "gone")                       \
    X(E_VERSION, 412, "version-mismatch")        \
    X(E_TOO_LARGE, 413, "too-large")             \
    X(E_URI, 414, "uri-too-long")                \
    X(E_DTYPE, 415, "bad-dtype")                 \
    X(E_ENCODING, 415, "bad-encoding")           \
    X(E_RANGE, 416, "out-of-range")              \
    X(E_HOST, 421, "misdirected")                \
    X(E_SHAPE, 422, "shape-mismatch")            \
    X(E_INDEX, 422, "bad-index")                 \
    X(E_EMPTY, 422, "empty-tensor")              \
    X(E_UPGRADE, 426, "websocket-version")       \
    X(E_QUEUE_FULL, 429, "queue-full")           \
    X(E_BACKPRESSURE, 429, "backpressure")       \
    X(E_RATE, 429, "rate-limited")               \
    X(E_HEADERS_LARGE, 431, "headers-too-large") \
    X(E_INTERNAL, 500, "internal")               \
    X(E_NO_ENCODER, 501, "encoder-unavailable")  \
    X(E_UNSUPPORTED, 501, "not-implemented")     \
    X(E_NOT_READY, 503, "not-ready")             \
    X(E_DEVICE, 503, "device-error")             \
    X(E_DEVICE_MEMORY, 507, "device-memory")     \
    X(E_DISK_FULL, 507, "disk-full")             \
    X(E_LIMIT, 507, "limit-reached")             \
    X(E_NO_MEMORY, 507, "host-memory")

typedef enum ts_status {
#define X(name, http, code) TS_##name,
    TS_STATUS_MAP(X)
#undef X
    TS_STATUS_COUNT
} ts_status;

typedef struct ts_error {
    ts_status status;
    int32_t native;    /* errno, cl_int or AVERROR; 0 if none */
    const char *where; /* "cl/device/program.c:212", static storage */
    char text[512];    /* what was wrong with which input, and what would be right; no period */
    char *detail;      /* owned, optional long text (a build log); ts_error_clear() frees it */
} ts_error;

/** The stable kebab-case word of a status, as API answers carry it. */
const char *ts_status_code(ts_status status);
/** The HTTP status that a status maps to. */
int ts_status_http(ts_status status);

#define TS_STR2(x) #x
#define TS_STR(x)  TS_STR2(x)
#define TS_HERE    __FILE__ ":" TS_STR(__LINE__)

/** Record the first failure in *err (which may be NULL) and return `status`. */
#define ts_fail(err, status, ...) ts_fail_at((err), (status), 0, TS_HERE, __VA_ARGS__)
/** As ts_fail, mapping an errno value (ENOSPC, EDQUOT: disk-full; ENOMEM; ENOENT; else internal). */
#define ts_fail_errno(err, errnum, ...) ts_fail_errno_at((err), (errnum), TS_HERE, __VA_ARGS__)

ts_status ts_fail_at(ts_error *err, ts_status status, int32_t native, const char *where,
                     const char *fmt, ...) TS_PRINTF(5, 6);
ts_status ts_fail_errno_at(ts_error *err, int errnum, const char *where, const char *fmt, ...)
    TS_PRINTF(4, 5);
/** Put `context: ` in front of the recorded text (a path, a tensor's name). */
void ts_error_prefix(ts_error *err, const char *fmt, ...) TS_PRINTF(2, 3);
/** Free the detail and zero the struct, ready for the next call. NULL is fine. */
void ts_error_clear(ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
