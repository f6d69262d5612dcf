/*
 * The insides of ts_request and ts_response, for the HTTP side (request.c, body.c, http.c) only.
 * No library types: http.c alone knows the daemon.
 */
#ifndef TS_SERVER_REQUEST_IMPL_H
#define TS_SERVER_REQUEST_IMPL_H

#include "server/app.h"
#include "server/audit.h"
#include "server/body.h"
#include "server/request.h"
#include "server/takeover.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    TS_MAX_HEADERS = 100,
    TS_MAX_QUERY = 128,
    TS_MAX_RESPONSE_HEADERS = 24
};

/* A worker thread's own things, lent to the request it runs. */
typedef struct ts_worker_context {
    ts_app *app;
    ts_queue *queue; /* made when first asked for */
} ts_worker_context;

typedef enum ts_response_body {
    TS_RESPONSE_EMPTY,
    TS_RESPONSE_BYTES,  /* `bytes` */
    TS_RESPONSE_STATIC, /* `data`, `len` */
    TS_RESPONSE_FILE,   /* `fd`, `len` */
    TS_RESPONSE_STREAM  /* `stream` */
} ts_response_body;

struct ts_response {
    int status;
    ts_response_body body;
    ts_buf bytes;
    const void *data;
    uint64_t len, offset; /* offset: of a range */
    int fd;
    ts_stream_handle *stream;
    size_t n_headers;
    struct {
        char *name, *value;
    } headers[TS_MAX_RESPONSE_HEADERS];
};

struct ts_request {
    ts_app *app;
    const char *method;
    char *target;        /* as received, owned */
    char *path;          /* the target's path, still percent-encoded; owned */
    char *query;         /* the decoded pairs' text, owned */
    char authority[264]; /* of an absolute-form target, or "" */
    size_t n_pairs;
    ts_takeover_pair pairs[TS_MAX_QUERY];
    const char *ticket; /* ticket=, taken out of the pairs */
    size_t n_headers;
    ts_header headers[TS_MAX_HEADERS];
    ts_audit audit;
    char content_type[128];
    const ts_route *route;
    ts_path_params params;
    unsigned scopes;
    const char *peer;
    char who[160]; /* the token's name, or the address */
    ts_body body;
    ts_worker_context *worker;
    ts_response res;
};

/**
 * Split and check a request target: path, query, absolute form.
 * Errors: TS_E_URI (longer than `max`), TS_E_HEADER (characters, escapes).
 */
TS_CHECKED ts_status ts_request_target(ts_request *req, size_t max, ts_error *err);
void ts_request_finish(ts_request *req);

const char *ts_response_get_header(const ts_response *res, const char *name);
void ts_response_clear(ts_response *res);
/** ETag against If-None-Match, and Range, of a finished 200 answer. */
void ts_response_conditional(const ts_request *req, ts_response *res);

/* Streams: the side of the connection. `resume` is called with the handle's lock held. */
typedef enum ts_pull {
    TS_PULL_DATA,
    TS_PULL_SUSPENDED,
    TS_PULL_END
} ts_pull;
void ts_stream_attach(ts_stream_handle *handle, void (*suspend)(void *), void (*resume)(void *),
                      void *connection);
/** Copy up to `max` bytes to `out`; TS_PULL_SUSPENDED: `suspend` was called. */
ts_pull ts_stream_pull(ts_stream_handle *handle, void *out, size_t max, size_t *n);
/** The server stops: the next pull ends the answer. Any thread. */
void ts_stream_stop(ts_stream_handle *handle);
/** The connection is gone: calls the source's close and frees the handle. */
void ts_stream_close(ts_stream_handle *handle);

#ifdef __cplusplus
}
#endif
#endif
