/* One request from its header block to the hand-over to a worker. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#include "cl/base/clock.h"
#include "server/http_internal.h"
#include "server/limits.h"
#include "server/metrics.h"

/* ---- the header block ---- */

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

/*
 * The 101 is out. The library's own descriptor is closed at once (without a shutdown, thanks to
 * MHD_USE_TURBO), and the duplicate lives on. `extra` are octets of frames that came with the request.
 */
static void on_upgraded(void *arg, struct MHD_Connection *connection, void *context,
                        const char *extra, size_t n_extra, MHD_socket fd,
                        struct MHD_UpgradeResponseHandle *handle)
{
    exchange *ex = arg;
    (void)connection, (void)context;
    ex->upgraded = true;
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy >= 0)
        http_hand_over(ex, copy, extra, n_extra);
    else
        ts_limits_websocket_closed(ex->loop->http->app->limits);
    MHD_upgrade_action(handle, MHD_UPGRADE_ACTION_CLOSE);
}

static enum MHD_Result send_101(exchange *ex)
{
    char accept[32];
    const ts_request *req = &ex->req;
    struct MHD_Response *response = MHD_create_response_for_upgrade(on_upgraded, ex);
    if (!response)
        return MHD_NO;
    ts_websocket_accept(ts_request_header(req, "sec-websocket-key"), accept);
    MHD_add_response_header(response, "Upgrade", "websocket");
    MHD_add_response_header(response, "Sec-WebSocket-Accept", accept);
    if (ts_header_has_token(ts_request_header(req, "sec-websocket-protocol"), "tensorscope.v1"))
        MHD_add_response_header(response, "Sec-WebSocket-Protocol", "tensorscope.v1");
    enum MHD_Result result = MHD_queue_response(ex->connection, 101, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result upgrade(exchange *ex, const char *version)
{
    ts_app *app = ex->loop->http->app;
    ts_status st = http_check_upgrade(ex, version, &ex->error);
    if (st == TS_OK)
        st = ex->req.route->handler(app, &ex->req, &ex->req.res, &ex->error);
    if (st == TS_OK && !ts_limits_websocket_open(app->limits))
        st = ts_fail(&ex->error, TS_E_NOT_READY, "--max-websockets is reached");
    if (st != TS_OK)
        return http_refuse_now(ex);
    ex->logged_status = 101;
    enum MHD_Result result = send_101(ex);
    ex->upgrading = result == MHD_YES;
    if (!ex->upgrading)
        ts_limits_websocket_closed(app->limits);
    return result;
}

/* ---- the body ---- */

static void link_chunked(exchange *ex)
{
    ex->in_chunked = true;
    ex->next = ex->loop->chunked;
    if (ex->next)
        ex->next->prev = ex;
    ex->loop->chunked = ex;
}

void http_unlink_chunked(exchange *ex)
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
        return http_refuse_now(ex);
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
        return http_refuse_now(ex);
    if (req->audit.chunked)
        link_chunked(ex);
    bool options = strcmp(method, "OPTIONS") == 0;
    if ((options ? http_admit_options(ex, &ex->error) : http_admit(ex, &ex->error)) != TS_OK)
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
    ts_status why = e->status == TS_OK ? TS_E_TOO_LARGE : e->status;
    int status = ts_status_http(why);
    ts_metrics_add(ex->loop->http->app->metrics, TS_METRIC_http_rejected_total, ts_status_code(why),
                   1);
    ts_peers_raw_answer(ex->conn->fd, status, MHD_get_reason_phrase_for((unsigned)status),
                        ts_status_code(why),
                        *e->text ? e->text : "the request's body was refused while it came");
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
        http_answer_options(ex);
    else
        http_fill_error(ex);
    ex->phase = PHASE_DONE;
    return http_send(ex);
}

static enum MHD_Result run_here(exchange *ex)
{
    ex->phase = PHASE_DONE;
    http_run_handler(ex);
    return http_send(ex);
}

static enum MHD_Result dispatch(exchange *ex)
{
    ex->phase = PHASE_RUNNING;
    ex->queued_us = ts_now_us();
    /* Suspended first: the worker may resume before this returns. */
    MHD_suspend_connection(ex->connection);
    ts_http *http = ex->loop->http;
    if (ts_chan_send(http->queue, ex)) { /* from here on the exchange is the worker's */
        http_grow_workers(http);
        return MHD_YES;
    }
    ts_fail(&ex->error, TS_E_NOT_READY, "the server is shutting down");
    http_fill_error(ex);
    ex->phase = PHASE_DONE;
    MHD_resume_connection(ex->connection);
    return MHD_YES;
}

static enum MHD_Result last_call(exchange *ex)
{
    switch (ex->phase) {
    case PHASE_BODY:
        http_unlink_chunked(ex);
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
        http_unlink_chunked(ex);
        ts_peers_phase(ex->loop->http->peers, ex->conn, TS_PEER_BUSY);
        return finish_refused(ex);
    case PHASE_READY:
        return dispatch(ex);
    case PHASE_DONE:
        return http_send(ex);
    default:
        return MHD_YES;
    }
}

/*
 * A chunk's header line that fills the whole buffer makes the library answer 500 with a page of
 * HTML, and no callback is asked. It says so in its log first, on the same thread: the connection
 * whose buffer holds a size without a line end is answered from here, and shut down.
 */
void http_refuse_endless_chunk_header(loop *self)
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

enum MHD_Result http_receive(exchange *ex, const char *method, const char *version,
                             const char *data, size_t *len)
{
    if (ex->phase == PHASE_NEW)
        return first_call(ex, method, version);
    if (*len)
        return body_piece(ex, data, len);
    return last_call(ex);
}
