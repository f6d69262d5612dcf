/*
 * Receives one request body as its route wants it: in memory, into a file, or into the route's sink.
 *
 * Pieces come on the HTTP thread as they arrive; a gzip or deflate Content-Encoding is undone on the
 * way, and the limit holds for the bytes on the wire and for the inflated ones.
 */
#ifndef TS_SERVER_BODY_H
#define TS_SERVER_BODY_H

#include "server/router.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_inflater ts_inflater;

typedef struct ts_body {
    ts_body_kind kind;
    uint64_t limit; /* UINT64_MAX: the sink's own business */
    uint64_t wire_bytes, bytes;
    ts_buf memory;
    int fd; /* BODY FILE; valid while `path` is set */
    char *path;
    const ts_body_sink *sink;
    void *sink_object;
    ts_inflater *inflater;
} ts_body;

/**
 * Prepare for the body of `req`, whose route, headers and audit are known.
 * Errors: TS_E_TOO_LARGE (declared length), TS_E_ENCODING, TS_E_OPTION (no body expected), the sink's.
 */
TS_CHECKED ts_status ts_body_begin(ts_body *body, ts_request *req, ts_error *err);
/** Errors: TS_E_TOO_LARGE, TS_E_FILE (not gzip), TS_E_DISK_FULL, the sink's. */
TS_CHECKED ts_status ts_body_append(ts_body *body, const void *data, size_t len, ts_error *err);
/** Everything came. Errors: TS_E_FILE (compressed data cut short). */
TS_CHECKED ts_status ts_body_end(ts_body *body, ts_error *err);
/** Free, remove the file, destroy the sink's object. */
void ts_body_finish(ts_body *body);

#ifdef __cplusplus
}
#endif
#endif
