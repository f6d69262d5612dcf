/*
 * One HTTP request and its answer, as route handlers see them. No library types here.
 *
 * The HTTP threads receive the body and then hand the request to a worker thread, so a handler is
 * plain blocking code: it may wait for the device, the disk or another thread. Each worker owns a
 * ts_queue per device. Whatever a handler returns other than TS_OK becomes the contract's
 * problem+json (or the Open Inference Protocol's {"error"} under /v2).
 *
 * Thread: a request belongs to one worker at a time. Strings live as long as the request.
 */
#ifndef TS_SERVER_REQUEST_H
#define TS_SERVER_REQUEST_H

#include "cl/base/buf.h"
#include "cl/base/json.h"
#include "cl/device/device.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_request ts_request;
typedef struct ts_response ts_response;

enum {
    TS_SCOPE_NONE = 0,
    TS_SCOPE_READ = 1,
    TS_SCOPE_INFER = 2,
    TS_SCOPE_WRITE = 4,
    TS_SCOPE_ADMIN = 8,
    TS_SCOPE_ALL = 15,
    TS_SCOPE_PUBLIC = 16 /* of a route: no token, but the loopback and Host rules hold */
};

const char *ts_request_path(const ts_request *req);
/** A decoded part of the path by its name in the route's pattern ("name" of /v1/tensors/{name}). */
const char *ts_request_param(const ts_request *req, const char *name);
/** A decoded query parameter, or NULL. */
const char *ts_request_query(const ts_request *req, const char *key);
/** Visit every query parameter in order. */
void ts_request_each_query(const ts_request *req,
                           void (*visit)(void *arg, const char *key, const char *value), void *arg);
/*
 * Query parameters as numbers and switches: *out keeps its value without the parameter.
 * Errors: TS_E_OPTION names the parameter and what it may be (a number from min to max; 0, 1, false, true).
 */
TS_CHECKED ts_status ts_request_query_int(const ts_request *req, const char *key, int64_t min,
                                          int64_t max, int64_t *out, ts_error *err);
TS_CHECKED ts_status ts_request_query_double(const ts_request *req, const char *key, double min,
                                             double max, double *out, ts_error *err);
TS_CHECKED ts_status ts_request_query_bool(const ts_request *req, const char *key, bool *out,
                                           ts_error *err);
/** Refuse query parameters not in `keys` (NULL-terminated). Errors: TS_E_OPTION names it. */
TS_CHECKED ts_status ts_request_query_only(const ts_request *req, const char *const *keys,
                                           ts_error *err);
/** A header field's value (case-insensitive), or NULL. */
const char *ts_request_header(const ts_request *req, const char *name);
/** Content-Type without parameters, lower case; "" when absent. */
const char *ts_request_content_type(const ts_request *req);
/** The best of `types` (NULL-terminated) for the Accept header; index 0 where it is absent; -1 none. */
int ts_request_accept(const ts_request *req, const char *const *types);
/** The whole body of a BODY_BYTES or BODY_JSON route. */
const ts_buf *ts_request_body(const ts_request *req);
/** Path of the temporary file holding a BODY_FILE route's body; removed after the request. */
const char *ts_request_body_file(const ts_request *req);
/** The object that a BODY_SINK route's sink made (see router.h). */
void *ts_request_sink(const ts_request *req);
/** Parse the body as JSON. Owner: caller json_decref()s *out. Errors: TS_E_JSON, TS_E_ENCODING. */
TS_CHECKED ts_status ts_request_json(const ts_request *req, json_t **out, ts_error *err);
/** The worker's own queue on the default device; NULL on an edge without one. */
ts_queue *ts_request_queue(const ts_request *req);
/** Scopes of the caller (TS_SCOPE_… bits) and its name or address for logs. */
unsigned ts_request_scopes(const ts_request *req);
const char *ts_request_peer(const ts_request *req);

void ts_response_status(ts_response *res, int status);
void ts_response_header(ts_response *res, const char *name, const char *value);
/** Answer JSON; steals the reference to `value`. */
void ts_response_json(ts_response *res, int status, json_t *value);
/** Answer bytes; takes the buffer's memory (it is left empty). */
void ts_response_bytes(ts_response *res, int status, const char *content_type, ts_buf *body);
/** Answer static bytes that outlive the server. */
void ts_response_static(ts_response *res, const char *content_type, const void *data, size_t len);
/** Answer a file, with Range support. The file is opened now; TS_E_NOT_FOUND if it is not there. */
TS_CHECKED ts_status ts_response_file(ts_response *res, const char *content_type, const char *path,
                                      ts_error *err);

/*
 * An endless answer (MJPEG, server-sent events). `pull` appends what is there to `out` and returns;
 * nothing appended suspends the connection until ts_stream_wake() is called from any thread. It
 * returns false to end the answer. `close` is called once, on the HTTP thread, when the peer left.
 */
typedef struct ts_stream_handle ts_stream_handle;
typedef struct ts_stream_source {
    bool (*pull)(void *arg, ts_buf *out);
    void (*close)(void *arg);
    void *arg;
} ts_stream_source;
/** *handle stays valid until `close` has been called. */
void ts_response_stream(ts_response *res, const char *content_type, const ts_stream_source *source,
                        ts_stream_handle **handle);
void ts_stream_wake(ts_stream_handle *handle);

#ifdef __cplusplus
}
#endif
#endif
