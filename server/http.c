#include "server/http.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <microhttpd.h>

#include "cl/base/chan.h"
#include "cl/base/clock.h"
#include "cl/base/log.h"
#include "cl/base/thread.h"
#include "server/auth.h"
#include "server/events.h"
#include "server/limits.h"
#include "server/listen.h"
#include "server/metrics.h"
#include "server/peers.h"
#include "server/request_impl.h"

enum {
    MAX_DAEMONS = 4,
    /* The read buffer of a connection, zeroed after each request: larger ones receive uploads a few
     * per cent faster, and cost every idle keep-alive connection that much memory. */
    CONNECTION_MEMORY = 64 * 1024,
    DRAIN_BYTES = 65536 /* of a refused body, to keep the connection */
};

/* One event loop of the library: one thread, so what hangs on it needs no lock. */
typedef struct loop {
    ts_http *http;
    struct MHD_Daemon *daemon;
    struct exchange *chunked; /* receiving a chunked body */
} loop;

typedef enum phase {
    PHASE_NEW,     /* the request line is known */
    PHASE_BODY,    /* accepted; the body is coming */
    PHASE_REFUSED, /* an error is waiting for the end of the (small) body */
    PHASE_READY,   /* complete; suspended at the next call */
    PHASE_RUNNING, /* with a worker */
    PHASE_DONE     /* res is filled */
} phase;

/* One request and its answer on one connection. */
typedef struct exchange {
    ts_request req;
    loop *loop;
    ts_peer *conn;
    struct MHD_Connection *connection;
    struct exchange *prev, *next; /* of loop->chunked */
    bool in_chunked;
    phase phase;
    ts_error error;
    char allow[64];
    const char *origin; /* echoed where allowed, else NULL */
    int64_t started_us, queued_us;
    size_t drained;
    const uint8_t *body_start; /* where the library keeps a chunked body */
    bool counted, close;
    int logged_status;
} exchange;

typedef struct worker {
    ts_http *http;
    ts_thread *thread;
    ts_worker_context context;
} worker;

struct ts_http {
    ts_app *app;
    ts_listener *listener;
    ts_peers *peers;
    int n_loops, n_workers;
    loop loops[MAX_DAEMONS];
    worker *workers;
    ts_chan *queue;
    _Atomic size_t active;
    _Atomic unsigned next_loop;
    _Atomic bool stopping;
    bool strict_layout;
    pthread_mutex_t streams_lock; /* guards streams */
    struct stream_answer *streams;
};

/* ---- answers ---- */

static const char *const exposed =
    "inference-header-content-length, etag, retry-after, content-range, location";

static void add_header(struct MHD_Response *response, const char *name, const char *value)
{
    MHD_add_response_header(response, name, value);
}

static void add_common_headers(const exchange *ex, struct MHD_Response *response)
{
    const ts_response *res = &ex->req.res;
    for (size_t i = 0; i < res->n_headers; i++)
        add_header(response, res->headers[i].name, res->headers[i].value);
    add_header(response, "X-Content-Type-Options", "nosniff");
    if (!ts_response_get_header(res, "Cache-Control"))
        add_header(response, "Cache-Control", "no-store");
    if (ex->origin) {
        add_header(response, "Access-Control-Allow-Origin", ex->origin);
        add_header(response, "Access-Control-Expose-Headers", exposed);
    }
    if (ts_request_header(&ex->req, "origin"))
        add_header(response, "Vary", "Origin");
    if (ex->close || ex->loop->http->stopping)
        add_header(response, "Connection", "close");
    if (res->status == 401)
        add_header(response, "WWW-Authenticate", "Bearer realm=\"tensorscope\"");
    if (res->status == 426)
        add_header(response, "Sec-WebSocket-Version", "13");
    if ((res->status == 405 || strcmp(ex->req.method, "OPTIONS") == 0) && ex->allow[0])
        add_header(response, "Allow", ex->allow);
}

/* An endless answer: the library asks for octets, the source gives them or suspends. */
typedef struct stream_answer {
    ts_http *http;
    ts_stream_handle *handle;
    struct stream_answer *prev, *next;
} stream_answer;

static void suspend_connection(void *connection)
{
    MHD_suspend_connection(connection);
}

static void resume_connection(void *connection)
{
    MHD_resume_connection(connection);
}

static ssize_t read_stream(void *arg, uint64_t position, char *out, size_t max)
{
    (void)position;
    stream_answer *answer = arg;
    size_t n = 0;
    switch (ts_stream_pull(answer->handle, out, max, &n)) {
    case TS_PULL_DATA:
        return (ssize_t)n;
    case TS_PULL_SUSPENDED:
        return 0;
    default:
        return MHD_CONTENT_READER_END_OF_STREAM;
    }
}

static void free_stream(void *arg)
{
    stream_answer *answer = arg;
    ts_http *http = answer->http;
    pthread_mutex_lock(&http->streams_lock);
    if (answer->prev)
        answer->prev->next = answer->next;
    else
        http->streams = answer->next;
    if (answer->next)
        answer->next->prev = answer->prev;
    pthread_mutex_unlock(&http->streams_lock);
    ts_stream_close(answer->handle);
    free(answer);
}

static struct MHD_Response *make_stream(exchange *ex)
{
    ts_http *http = ex->loop->http;
    stream_answer *answer = calloc(1, sizeof *answer);
    struct MHD_Response *response = NULL;
    if (answer)
        response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 16384, read_stream, answer,
                                                     free_stream);
    if (!response) {
        free(answer);
        return NULL;
    }
    answer->http = http;
    answer->handle = ex->req.res.stream;
    ex->req.res.stream = NULL;
    ts_stream_attach(answer->handle, suspend_connection, resume_connection, ex->connection);
    pthread_mutex_lock(&http->streams_lock);
    answer->next = http->streams;
    if (http->streams)
        http->streams->prev = answer;
    http->streams = answer;
    bool stopping = http->stopping;
    pthread_mutex_unlock(&http->streams_lock);
    if (stopping)
        ts_stream_stop(answer->handle);
    return response;
}

/* The library's answer for ours; what it takes over is cleared in ours. */
static struct MHD_Response *make_response(exchange *ex)
{
    ts_response *res = &ex->req.res;
    struct MHD_Response *response = NULL;
    switch (res->body) {
    case TS_RESPONSE_BYTES:
        response =
            MHD_create_response_from_buffer(res->bytes.len, res->bytes.data, MHD_RESPMEM_MUST_FREE);
        if (response)
            res->bytes = (ts_buf){0};
        break;
    case TS_RESPONSE_STATIC:
        response = MHD_create_response_from_buffer(
            (size_t)res->len, (void *)((uintptr_t)res->data + res->offset), MHD_RESPMEM_PERSISTENT);
        break;
    case TS_RESPONSE_FILE:
        response = MHD_create_response_from_fd_at_offset64(res->len, res->fd, res->offset);
        break;
    case TS_RESPONSE_STREAM:
        return make_stream(ex);
    case TS_RESPONSE_EMPTY:
        return MHD_create_response_from_buffer(0, (void *)(uintptr_t) "", MHD_RESPMEM_PERSISTENT);
    }
    if (response)
        res->body = TS_RESPONSE_EMPTY;
    return response;
}

static enum MHD_Result send_answer(exchange *ex)
{
    if (ex->req.res.status == 0)
        ex->req.res.status = 204;
    ts_response_conditional(&ex->req, &ex->req.res);
    ex->logged_status = ex->req.res.status;
    struct MHD_Response *response = make_response(ex);
    if (!response)
        return MHD_NO;
    add_common_headers(ex, response);
    enum MHD_Result ok = MHD_queue_response(ex->connection, (unsigned)ex->req.res.status, response);
    MHD_destroy_response(response);
    return ok;
}

static void fill_error(exchange *ex)
{
    ts_response_clear(&ex->req.res);
    const char *path = ex->req.path ? ex->req.path : ex->req.target ? ex->req.target : "/";
    ex->loop->http->app->router->write_error(&ex->req.res, path, &ex->error);
    ts_error_clear(&ex->error);
}

/* Answer in front of the body; the library then closes, and the rest is drained. */
static enum MHD_Result refuse_now(exchange *ex)
{
    ex->phase = PHASE_DONE;
    ex->close = true;
    ts_metrics_add(ex->loop->http->app->metrics, TS_METRIC_http_rejected_total,
                   ts_status_code(ex->error.status), 1);
    ts_peers_linger(ex->loop->http->peers, ex->conn);
    fill_error(ex);
    return send_answer(ex);
}

/* ---- workers ---- */

static void run_handler(exchange *ex)
{
    ts_app *app = ex->loop->http->app;
    ts_response *res = &ex->req.res;
    ts_status st = ex->req.route->handler(app, &ex->req, res, &ex->error);
    if (st == TS_OK && res->body == TS_RESPONSE_BYTES && res->bytes.failed)
        st = ts_fail(&ex->error, TS_E_NO_MEMORY, "the answer");
    if (st == TS_OK)
        return;
    if (ex->error.status == TS_OK)
        ts_fail(&ex->error, st, "%s", "");
    if (ts_status_http(st) >= 500 && st != TS_E_NOT_READY)
        ts_log_error(TS_LOG_WARN, "http", ex->req.path, &ex->error);
    fill_error(ex);
}

static void worker_main(void *arg)
{
    worker *self = arg;
    ts_http *http = self->http;
    double timeout_us = http->app->options.request_timeout * 1e6;
    exchange *ex;
    while ((ex = ts_chan_recv(http->queue))) {
        ex->req.worker = &self->context;
        if ((double)(ts_now_us() - ex->queued_us) > timeout_us) {
            ts_fail(&ex->error, TS_E_NOT_READY, "no worker was free within --request-timeout");
            fill_error(ex);
        } else {
            run_handler(ex);
        }
        ex->req.worker = NULL;
        ex->phase = PHASE_DONE;
        MHD_resume_connection(ex->connection);
    }
    ts_queue_destroy(self->context.queue);
}

/* ---- receiving: the header block ---- */

typedef struct header_walk {
    exchange *ex;
    bool too_many;
} header_walk;

static enum MHD_Result take_header(void *arg, enum MHD_ValueKind kind, const char *key,
                                   const char *value)
{
    (void)kind;
    header_walk *walk = arg;
    ts_request *req = &walk->ex->req;
    if (req->n_headers == TS_MAX_HEADERS) {
        walk->too_many = true;
        return MHD_NO;
    }
    req->headers[req->n_headers++] = (ts_header){key, value ? value : ""};
    return MHD_YES;
}

static bool is_line_end(const char *from, const char *to)
{
    return (to - from == 1 && !from[0]) || (to - from == 2 && !from[0] && !from[1]);
}

/*
 * Up to 0.9.75 the library splits the header block in place and treats it as C strings: a zero octet
 * hides the rest of its line, and a folded line moves. Both leave a gap between one field's end and
 * the next one's start, which is looked for here.
 */
static bool layout_is_plain(exchange *ex, const char *method, const char *version)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(ex->connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    if (!info)
        return false;
    const char *end = version + strlen(version), *block_end = method + info->header_size;
    for (size_t i = 0; i < ex->req.n_headers; i++) {
        const char *name = ex->req.headers[i].name, *value = ex->req.headers[i].value;
        if (name <= end || name >= block_end || !is_line_end(end, name))
            return false;
        const char *from = name + strlen(name) + 1;
        if (value < from || value >= block_end || strspn(from, " \t") != (size_t)(value - from))
            return false;
        end = value + strlen(value);
    }
    ex->body_start = (const uint8_t *)block_end;
    return block_end - end == 2 || block_end - end == 3 || block_end - end == 4;
}

static ts_status audit(exchange *ex, const char *method, const char *version, ts_error *err)
{
    const ts_options *options = &ex->loop->http->app->options;
    header_walk walk = {.ex = ex};
    MHD_get_connection_values(ex->connection, MHD_HEADER_KIND, take_header, &walk);
    if (walk.too_many)
        return ts_fail(err, TS_E_HEADERS_LARGE, "more than %d header fields", TS_MAX_HEADERS);
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(ex->connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    if (info && info->header_size > options->max_header)
        return ts_fail(err, TS_E_HEADERS_LARGE,
                       "the header block has %zu octets, --max-header allows %llu",
                       info->header_size, (unsigned long long)options->max_header);
    if (ex->loop->http->strict_layout && !layout_is_plain(ex, method, version))
        return ts_fail(err, TS_E_HEADER, "a header is folded or holds a zero octet");
    ts_status st = ts_request_target(&ex->req, options->max_uri, err);
    if (st != TS_OK)
        return st;
    return ts_audit_headers(ex->req.headers, ex->req.n_headers,
                            strcmp(version, "HTTP/1.0") == 0 ? 0 : 1, &ex->req.audit, err);
}

static void read_content_type(ts_request *req)
{
    const char *type = ts_request_header(req, "content-type");
    size_t n = type ? strcspn(type, "; \t") : 0;
    if (n >= sizeof req->content_type)
        n = 0;
    for (size_t i = 0; i < n; i++)
        req->content_type[i] = type[i] >= 'A' && type[i] <= 'Z' ? (char)(type[i] | 0x20) : type[i];
    req->content_type[n] = 0;
}

static bool is_json_type(const char *type)
{
    size_t n = strlen(type);
    return n == 0 || strcmp(type, "application/json") == 0 ||
           (n > 5 && strcmp(type + n - 5, "+json") == 0);
}

static ts_status authorize(exchange *ex, ts_error *err)
{
    ts_request *req = &ex->req;
    const ts_app *app = ex->loop->http->app;
    const char *host = req->authority[0] ? req->authority : req->audit.host;
    ts_auth_query query = {
        .needed = req->route->scope,
        .local = ex->conn->local,
        .peer = ex->conn->peer,
        .host = host,
        .path = req->path,
        .get = strcmp(req->method, "GET") == 0 || strcmp(req->method, "HEAD") == 0,
        .websocket = req->route->body == TS_BODY_WS,
        .query_token = ts_request_query(req, "token") || ts_request_query(req, "access_token"),
        .authorization = ts_request_header(req, "authorization"),
        .protocols = ts_request_header(req, "sec-websocket-protocol"),
        .ticket = req->ticket,
    };
    if (app->options.metrics_open && strcmp(req->route->pattern, "/metrics") == 0)
        query.needed = TS_SCOPE_PUBLIC;
    ts_principal principal;
    ts_status st = ts_auth_check(app->auth, &query, &principal, err);
    if (st != TS_OK)
        return st;
    req->scopes = principal.scopes;
    snprintf(req->who, sizeof req->who, "%s", principal.name);
    /* Without tokens nothing but the Origin tells a page of another site from a program. */
    const char *origin = ts_request_header(req, "origin");
    if (!query.get && origin && !ts_auth_has_tokens(app->auth) &&
        !ts_auth_origin(app->auth, origin, host))
        return ts_fail(err, TS_E_FORBIDDEN,
                       "requests of pages from %.100s are not allowed; see --allow-origin", origin);
    return TS_OK;
}

/* Everything that can be decided before the body. */
static ts_status admit(exchange *ex, ts_error *err)
{
    ts_request *req = &ex->req;
    const ts_app *app = ex->loop->http->app;
    read_content_type(req);
    const char *origin = ts_request_header(req, "origin");
    if (origin && ts_auth_origin(app->auth, origin, req->audit.host))
        ex->origin = origin;
    ts_status st = ts_router_find(app->router, req->method, req->path, &req->route, &req->params,
                                  ex->allow, err);
    if (st != TS_OK)
        return st;
    st = authorize(ex, err);
    if (st == TS_OK && req->route->body == TS_BODY_JSON && !is_json_type(req->content_type))
        st = ts_fail(err, TS_E_ENCODING, "Content-Type %.60s is not taken here, send %s",
                     req->content_type, "application/json");
    return st;
}

static void answer_options(exchange *ex)
{
    ts_response_clear(&ex->req.res);
    ts_response_status(&ex->req.res, 204);
    if (!ex->origin || !ts_request_header(&ex->req, "access-control-request-method"))
        return;
    ts_response_header(&ex->req.res, "Access-Control-Allow-Methods",
                       "GET, HEAD, POST, PUT, PATCH, DELETE");
    ts_response_header(&ex->req.res, "Access-Control-Allow-Headers",
                       "content-type, authorization, inference-header-content-length, "
                       "content-encoding, if-match, if-none-match, last-event-id, range");
    ts_response_header(&ex->req.res, "Access-Control-Max-Age", "600");
}

/* OPTIONS carries no credentials; it tells the methods of a path that exists. */
static ts_status admit_options(exchange *ex, ts_error *err)
{
    ts_request *req = &ex->req;
    const ts_app *app = ex->loop->http->app;
    const char *origin = ts_request_header(req, "origin");
    if (origin && ts_auth_origin(app->auth, origin, req->audit.host))
        ex->origin = origin;
    if (strcmp(req->path, "*") == 0) {
        snprintf(ex->allow, sizeof ex->allow, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        return TS_OK;
    }
    ts_error ignored = {0};
    ts_status st = ts_router_find(app->router, req->method, req->path, &req->route, &req->params,
                                  ex->allow, &ignored);
    ts_error_clear(&ignored);
    return st == TS_E_METHOD ? TS_OK
                             : ts_fail(err, TS_E_NOT_FOUND, "no such path: %.200s", req->path);
}

/* ---- receiving: WebSockets ---- */

static bool is_websocket_key(const char *key)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    /* 16 octets in base64: 22 characters, the last carrying 4 zero bits, and "==" */
    if (strlen(key) != 24 || strcmp(key + 22, "==") != 0 || strspn(key, alphabet) != 22)
        return false;
    return strchr("AQgw", key[21]) != NULL;
}

static ts_status check_upgrade(exchange *ex, const char *version, ts_error *err)
{
    const ts_request *req = &ex->req;
    const ts_app *app = ex->loop->http->app;
    const char *key = ts_request_header(req, "sec-websocket-key");
    const char *number = ts_request_header(req, "sec-websocket-version");
    const char *origin = ts_request_header(req, "origin");
    if (strcmp(version, "HTTP/1.1") != 0)
        return ts_fail(err, TS_E_HEADER, "a WebSocket needs HTTP/1.1, got %.20s", version);
    if (!ts_header_has_token(ts_request_header(req, "upgrade"), "websocket") ||
        !ts_header_has_token(ts_request_header(req, "connection"), "upgrade"))
        return ts_fail(err, TS_E_UPGRADE,
                       "this path is a WebSocket: send Upgrade: websocket and Connection: Upgrade");
    if (!number || strcmp(number, "13") != 0)
        return ts_fail(err, TS_E_UPGRADE, "Sec-WebSocket-Version must be 13");
    if (!key || !is_websocket_key(key))
        return ts_fail(err, TS_E_HEADER, "Sec-WebSocket-Key must be 16 octets in base64");
    if (origin && !ts_auth_origin(app->auth, origin, req->audit.host))
        return ts_fail(err, TS_E_FORBIDDEN,
                       "WebSockets of pages from %.100s are not allowed; see --allow-origin",
                       origin);
    if (!app->takeover)
        return ts_fail(err, TS_E_NOT_READY, "WebSockets are not served");
    if (ts_app_draining(app))
        return ts_fail(err, TS_E_NOT_READY, "the server is shutting down");
    return TS_OK;
}

static void hand_over(exchange *ex, int fd)
{
    ts_request *req = &ex->req;
    const char *protocols = ts_request_header(req, "sec-websocket-protocol");
    ts_takeover_info info = {
        .route = req->route,
        .path = req->path,
        .params = &req->params,
        .query = req->pairs,
        .n_query = req->n_pairs,
        .scopes = req->scopes,
        .peer = ts_request_peer(req),
        .key = ts_request_header(req, "sec-websocket-key"),
        .protocol = ts_header_has_token(protocols, "tensorscope.v1") ? "tensorscope.v1" : NULL,
        .extensions = ts_request_header(req, "sec-websocket-extensions"),
        .origin = ts_request_header(req, "origin"),
        .host = req->audit.host,
    };
    req->app->takeover(req->app, fd, &info);
}

/* Returns MHD_NO after a hand-over: the library closes its descriptor, the duplicate lives on. */
static enum MHD_Result upgrade(exchange *ex, const char *version)
{
    ts_app *app = ex->loop->http->app;
    ts_status st = check_upgrade(ex, version, &ex->error);
    if (st == TS_OK)
        st = ex->req.route->handler(app, &ex->req, &ex->req.res, &ex->error);
    if (st == TS_OK && !ts_limits_websocket_open(app->limits))
        st = ts_fail(&ex->error, TS_E_NOT_READY, "--max-websockets is reached");
    if (st != TS_OK)
        return refuse_now(ex);
    int fd = fcntl(ex->conn->fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0) {
        ts_limits_websocket_closed(app->limits);
        ts_fail(&ex->error, TS_E_NOT_READY, "no file descriptor is left");
        return refuse_now(ex);
    }
    ex->logged_status = 101;
    hand_over(ex, fd);
    return MHD_NO;
}

void ts_http_websocket_closed(ts_app *app)
{
    ts_limits_websocket_closed(app->limits);
}

/* ---- receiving: the body ---- */

static void link_chunked(exchange *ex)
{
    ex->in_chunked = true;
    ex->next = ex->loop->chunked;
    if (ex->next)
        ex->next->prev = ex;
    ex->loop->chunked = ex;
}

static void unlink_chunked(exchange *ex)
{
    if (!ex->in_chunked)
        return;
    ex->in_chunked = false;
    if (ex->prev)
        ex->prev->next = ex->next;
    else
        ex->loop->chunked = ex->next;
    if (ex->next)
        ex->next->prev = ex->prev;
    ex->prev = ex->next = NULL;
}

/* Refuse after the body where that is short, else at once. */
static enum MHD_Result refuse(exchange *ex)
{
    const ts_audit *audit_ = &ex->req.audit;
    bool short_body = !audit_->chunked && audit_->content_length <= DRAIN_BYTES;
    if (audit_->expect_continue || !short_body)
        return refuse_now(ex);
    ex->phase = PHASE_REFUSED;
    return MHD_YES;
}

static enum MHD_Result first_call(exchange *ex, const char *method, const char *version)
{
    ts_http *http = ex->loop->http;
    ts_request *req = &ex->req;
    req->method = method;
    ts_peers_phase(http->peers, ex->conn, TS_PEER_BODY);
    if (audit(ex, method, version, &ex->error) != TS_OK)
        return refuse_now(ex);
    if (req->audit.chunked)
        link_chunked(ex);
    bool options = strcmp(method, "OPTIONS") == 0;
    if ((options ? admit_options(ex, &ex->error) : admit(ex, &ex->error)) != TS_OK)
        return refuse(ex);
    if (options) {
        ex->phase = PHASE_REFUSED; /* any body is drained */
        return MHD_YES;
    }
    if (req->route->body == TS_BODY_WS)
        return upgrade(ex, version);
    if (ts_body_begin(&req->body, req, &ex->error) != TS_OK)
        return refuse(ex);
    ex->phase = PHASE_BODY;
    return MHD_YES;
}

/* An error in the middle of a body that goes on: answer past the library and close. */
static enum MHD_Result cut_off(exchange *ex)
{
    const ts_error *e = &ex->error;
    int status = ts_status_http(e->status == TS_OK ? TS_E_TOO_LARGE : e->status);
    ts_metrics_add(ex->loop->http->app->metrics, TS_METRIC_http_rejected_total,
                   ts_status_code(e->status), 1);
    ts_peers_raw_answer(ex->conn->fd, status,
                        status == 413 ? "Content Too Large" : "Request Refused",
                        ts_status_code(e->status), "the request's body was refused while it came");
    ex->logged_status = status;
    ts_peers_linger(ex->loop->http->peers, ex->conn);
    return MHD_NO;
}

static enum MHD_Result body_piece(exchange *ex, const char *data, size_t *len)
{
    ts_peers_progress(ex->loop->http->peers, ex->conn, *len);
    size_t n = *len;
    *len = 0;
    if (ex->phase == PHASE_BODY) {
        if (ts_body_append(&ex->req.body, data, n, &ex->error) == TS_OK)
            return MHD_YES;
        ex->phase = PHASE_REFUSED;
        const ts_audit *a = &ex->req.audit;
        bool long_rest =
            !a->chunked && a->content_length - (int64_t)ex->req.body.wire_bytes > DRAIN_BYTES;
        return long_rest ? cut_off(ex) : MHD_YES;
    }
    ex->drained += n;
    return ex->drained > DRAIN_BYTES ? cut_off(ex) : MHD_YES;
}

/* ---- the end of a request ---- */

static enum MHD_Result finish_refused(exchange *ex)
{
    if (ex->error.status == TS_OK)
        answer_options(ex);
    else
        fill_error(ex);
    ex->phase = PHASE_DONE;
    return send_answer(ex);
}

static enum MHD_Result run_here(exchange *ex)
{
    ex->phase = PHASE_DONE;
    run_handler(ex);
    return send_answer(ex);
}

static enum MHD_Result dispatch(exchange *ex)
{
    ex->phase = PHASE_RUNNING;
    ex->queued_us = ts_now_us();
    /* Suspended first: the worker may resume before this returns. */
    MHD_suspend_connection(ex->connection);
    if (ts_chan_send(ex->loop->http->queue, ex))
        return MHD_YES;
    ts_fail(&ex->error, TS_E_NOT_READY, "the server is shutting down");
    fill_error(ex);
    ex->phase = PHASE_DONE;
    MHD_resume_connection(ex->connection);
    return MHD_YES;
}

static enum MHD_Result last_call(exchange *ex)
{
    switch (ex->phase) {
    case PHASE_BODY:
        unlink_chunked(ex);
        ts_peers_phase(ex->loop->http->peers, ex->conn, TS_PEER_BUSY);
        if (ts_body_end(&ex->req.body, &ex->error) != TS_OK)
            return finish_refused(ex);
        if (ex->req.route->scope == TS_SCOPE_NONE) /* health: never behind a busy worker */
            return run_here(ex);
        /* Suspended only at the next call: by then the library no longer waits to read, and a client
         * that closed its sending side still gets its answer. */
        ex->phase = PHASE_READY;
        return MHD_YES;
    case PHASE_REFUSED:
        unlink_chunked(ex);
        ts_peers_phase(ex->loop->http->peers, ex->conn, TS_PEER_BUSY);
        return finish_refused(ex);
    case PHASE_READY:
        return dispatch(ex);
    case PHASE_DONE:
        return send_answer(ex);
    default:
        return MHD_YES;
    }
}

/* ---- the library's callbacks ---- */

static ts_peer *conn_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

/* The first thing heard of a request; its target as it came. */
static void *on_request_line(void *arg, const char *uri, struct MHD_Connection *connection)
{
    loop *self = arg;
    exchange *ex = calloc(1, sizeof *ex);
    if (!ex)
        return NULL;
    ex->loop = self;
    ex->connection = connection;
    ex->conn = conn_of(connection);
    ex->started_us = ts_now_us();
    ex->req.app = self->http->app;
    ex->req.target = strdup(uri);
    ex->req.peer = ex->conn ? ex->conn->peer : "";
    if (!ex->req.target || !ex->conn) {
        ts_request_finish(&ex->req);
        free(ex);
        return NULL;
    }
    atomic_fetch_add(&self->http->active, 1);
    ts_peers_request_line(self->http->peers, ex->conn);
    return ex;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *len, void **context)
{
    (void)arg, (void)connection, (void)url;
    exchange *ex = *context;
    if (!ex)
        return MHD_NO;
    if (ex->phase == PHASE_NEW)
        return first_call(ex, method, version);
    if (*len)
        return body_piece(ex, data, len);
    return last_call(ex);
}

static void log_request(const exchange *ex)
{
    ts_metrics *metrics = ex->loop->http->app->metrics;
    const char *route = ex->req.route ? ex->req.route->pattern : "none";
    double seconds = (double)(ts_now_us() - ex->started_us) * 1e-6;
    char labels[256];
    snprintf(labels, sizeof labels, "%d,%s", ex->logged_status, route);
    ts_metrics_add(metrics, TS_METRIC_http_requests_total, labels, 1);
    ts_metrics_observe(metrics, TS_METRIC_http_request_seconds, route, seconds);
    if (ts_log_enabled(TS_LOG_DEBUG, "http"))
        ts_log(TS_LOG_DEBUG, "http", "method=%s path=%s status=%d ms=%.2f peer=%s",
               ex->req.method ? ex->req.method : "-", ex->req.path ? ex->req.path : "-",
               ex->logged_status, seconds * 1e3, ts_request_peer(&ex->req));
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode code)
{
    (void)connection, (void)code;
    loop *self = arg;
    exchange *ex = *context;
    if (!ex)
        return;
    *context = NULL;
    unlink_chunked(ex);
    if (ex->logged_status)
        log_request(ex);
    ts_peers_phase(self->http->peers, ex->conn, TS_PEER_IDLE);
    ts_error_clear(&ex->error);
    ts_request_finish(&ex->req);
    free(ex);
    atomic_fetch_sub(&self->http->active, 1);
}

static void on_connection(void *arg, struct MHD_Connection *connection, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    loop *self = arg;
    ts_http *http = self->http;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        const union MHD_ConnectionInfo *address =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
        *socket_context = ts_peers_open(http->peers, info->connect_fd, address->client_addr);
        return;
    }
    const union MHD_ConnectionInfo *address =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    ts_limits_disconnect(http->app->limits, address->client_addr);
    ts_peers_close(http->peers, *socket_context);
    *socket_context = NULL;
}

/* Percent-encoding is undone by us, segment by segment. */
static size_t keep_escapes(void *arg, struct MHD_Connection *connection, char *text)
{
    (void)arg, (void)connection;
    return strlen(text);
}

/*
 * A chunk's header line that fills the whole buffer makes the library answer 500 with a page of
 * HTML, and no callback is asked. It says so in its log first, on the same thread: the connection
 * whose buffer holds a size without a line end is answered from here, and shut down.
 */
static void refuse_endless_chunk_header(loop *self)
{
    enum {
        LONGEST = 8192
    };
    for (exchange *ex = self->chunked; ex; ex = ex->next) {
        if (!ex->body_start || memchr(ex->body_start, '\n', LONGEST) ||
            memchr(ex->body_start, 0, LONGEST) ||
            !strchr("0123456789abcdefABCDEF", ex->body_start[0]))
            continue;
        ts_peers_raw_answer(ex->conn->fd, 413, "Content Too Large", "too-large",
                            "a chunk extension is too long");
        ex->logged_status = 413;
        ts_peers_linger(self->http->peers, ex->conn);
        shutdown(ex->conn->fd, SHUT_WR);
        return;
    }
}

static void on_log(void *arg, const char *format, va_list args)
{
    loop *self = arg;
    if (self->http->strict_layout && strstr(format, "HTTP response code is %u")) {
        va_list copy;
        va_copy(copy, args);
        unsigned status = va_arg(copy, unsigned);
        va_end(copy);
        if (status == 500)
            refuse_endless_chunk_header(self);
    }
    if (!ts_log_enabled(TS_LOG_DEBUG, "mhd"))
        return;
    char text[512];
    vsnprintf(text, sizeof text, format, args);
    text[strcspn(text, "\n")] = 0;
    ts_log(TS_LOG_DEBUG, "mhd", "%s", text);
}

/* ---- start and stop ---- */

static void on_tick(void *arg)
{
    ts_http *http = arg;
    ts_events_tick(http->app->events);
}

void ts_http_adopt(ts_http *http, int fd, const struct sockaddr *address, unsigned address_len)
{
    unsigned i = atomic_fetch_add(&http->next_loop, 1) % (unsigned)http->n_loops;
    /* On failure the library has closed the descriptor, and tells nobody else. */
    if (MHD_add_connection(http->loops[i].daemon, fd, address, address_len) != MHD_YES)
        ts_limits_disconnect(http->app->limits, address);
}

static void on_accept(void *arg, int fd, const struct sockaddr *address, socklen_t len)
{
    ts_http_adopt(arg, fd, address, len);
}

static ts_status start_loop(ts_http *http, loop *self, ts_error *err)
{
    const ts_options *options = &http->app->options;
    self->http = http;
    self->daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_TURBO | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ITC |
            MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG,
        0, NULL, NULL, on_request, self, MHD_OPTION_EXTERNAL_LOGGER, on_log, self,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)options->max_connections + 64,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
        MHD_OPTION_CONNECTION_MEMORY_INCREMENT, (size_t)(CONNECTION_MEMORY / 2),
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)(options->keepalive_timeout + 0.999),
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, self, MHD_OPTION_NOTIFY_CONNECTION,
        on_connection, self, MHD_OPTION_URI_LOG_CALLBACK, on_request_line, self,
        MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL, MHD_OPTION_END);
    return self->daemon ? TS_OK : ts_fail(err, TS_E_INTERNAL, "the HTTP daemon did not start");
}

static ts_status start_workers(ts_http *http, ts_error *err)
{
    const ts_options *options = &http->app->options;
    int n = options->workers ? (int)options->workers : 4 + ts_cpu_count();
    http->workers = calloc((size_t)n, sizeof *http->workers);
    if (!http->workers)
        return ts_fail(err, TS_E_NO_MEMORY, "workers");
    /* Room for every connection's one request, so that an HTTP thread never waits. */
    ts_status st = ts_chan_create((size_t)options->max_connections + 64 * MAX_DAEMONS,
                                  TS_CHAN_REJECT, NULL, &http->queue, err);
    for (int i = 0; i < n && st == TS_OK; i++) {
        char name[16];
        snprintf(name, sizeof name, "ts-work%d", i);
        http->workers[i].http = http;
        http->workers[i].context.app = http->app;
        st = ts_thread_start(name, worker_main, &http->workers[i], &http->workers[i].thread, err);
        if (st == TS_OK)
            http->n_workers = i + 1;
    }
    return st;
}

ts_status ts_http_create(ts_app *app, ts_http **out, ts_error *err)
{
    ts_http *http = calloc(1, sizeof *http);
    if (!http)
        return ts_fail(err, TS_E_NO_MEMORY, "http");
    http->app = app;
    http->strict_layout = strcmp(MHD_get_version(), "0.9.76") < 0;
    pthread_mutex_init(&http->streams_lock, NULL);
    ts_status st = ts_listener_open(&app->options, app->limits, &http->listener, err);
    if (st == TS_OK)
        st = ts_peers_create(&app->options, on_tick, http, &http->peers, err);
    if (st == TS_OK)
        st = start_workers(http, err);
    int n = ts_cpu_count() < 2 ? 1 : 2;
    for (int i = 0; i < n && st == TS_OK; i++) {
        st = start_loop(http, &http->loops[i], err);
        if (st == TS_OK)
            http->n_loops = i + 1;
    }
    if (st != TS_OK) {
        ts_http_destroy(http);
        return st;
    }
    *out = http;
    return TS_OK;
}

ts_status ts_http_serve(ts_http *http, ts_error *err)
{
    ts_status st = ts_listener_start(http->listener, on_accept, http, err);
    if (st == TS_OK)
        ts_listener_print(http->listener, http->app->options.tls_cert[0] != 0);
    return st;
}

static void stop_streams(ts_http *http)
{
    pthread_mutex_lock(&http->streams_lock);
    for (stream_answer *answer = http->streams; answer; answer = answer->next)
        ts_stream_stop(answer->handle);
    pthread_mutex_unlock(&http->streams_lock);
}

static void wait_idle(ts_http *http, double timeout_s)
{
    int64_t until = ts_now_us() + (int64_t)(timeout_s * 1e6);
    while (http->active && ts_now_us() < until)
        ts_sleep_us(2000); /* polled: the library gives no event for "all done" */
}

void ts_http_drain(ts_http *http, double timeout_s)
{
    ts_listener_close(http->listener);
    http->listener = NULL;
    http->stopping = true;
    stop_streams(http);
    wait_idle(http, timeout_s);
    ts_peers_shutdown(http->peers, true);
    wait_idle(http, 1);
}

void ts_http_destroy(ts_http *http)
{
    if (!http)
        return;
    ts_listener_close(http->listener);
    if (http->active) {
        /* A handler that never returned holds its connection; the library would abort here. */
        ts_log(TS_LOG_WARN, "http", "%zu requests did not end in time", (size_t)http->active);
        return;
    }
    for (int i = 0; i < http->n_loops; i++)
        MHD_stop_daemon(http->loops[i].daemon);
    if (http->queue)
        ts_chan_close(http->queue);
    for (int i = 0; i < http->n_workers; i++)
        ts_thread_join(http->workers[i].thread);
    ts_chan_destroy(http->queue);
    free(http->workers);
    ts_peers_destroy(http->peers);
    pthread_mutex_destroy(&http->streams_lock);
    free(http);
}

void ts_http_get_stats(const ts_http *http, ts_http_stats *out)
{
    *out = (ts_http_stats){
        .connections = ts_limits_connections(http->app->limits),
        .websockets = ts_limits_websockets(http->app->limits),
        .active_requests = http->active,
        .queued_requests = ts_chan_depth(http->queue),
        .workers = (size_t)http->n_workers,
    };
}
