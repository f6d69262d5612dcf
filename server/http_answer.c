/* Our answers as the library's: headers, bodies, endless streams. */
#include <stdlib.h>
#include <string.h>

#include "server/http_internal.h"
#include "server/metrics.h"

/* An endless answer: the library asks for octets, the source gives them or suspends. */
typedef struct stream_answer {
    ts_http *http;
    ts_peer *conn;
    ts_stream_handle *handle;
    struct stream_answer *prev, *next;
} stream_answer;

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
    answer->conn = ex->conn;
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

enum MHD_Result http_send(exchange *ex)
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

void http_fill_error(exchange *ex)
{
    ts_response_clear(&ex->req.res);
    const char *path = ex->req.path ? ex->req.path : ex->req.target ? ex->req.target : "/";
    ex->loop->http->app->router->write_error(&ex->req.res, path, &ex->error);
    ts_error_clear(&ex->error);
}

/* Answer in front of the body; the library then closes, and the rest is drained. */
enum MHD_Result http_refuse_now(exchange *ex)
{
    ex->phase = PHASE_DONE;
    ex->close = true;
    ts_metrics_add(ex->loop->http->app->metrics, TS_METRIC_http_rejected_total,
                   ts_status_code(ex->error.status), 1);
    ts_peers_linger(ex->loop->http->peers, ex->conn);
    http_fill_error(ex);
    return http_send(ex);
}

void http_answer_options(exchange *ex)
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

void http_end_left_streams(ts_http *http)
{
    pthread_mutex_lock(&http->streams_lock);
    for (stream_answer *answer = http->streams; answer; answer = answer->next)
        if (ts_peers_has_left(answer->conn))
            ts_stream_stop(answer->handle);
    pthread_mutex_unlock(&http->streams_lock);
}

void http_stop_streams(ts_http *http)
{
    pthread_mutex_lock(&http->streams_lock);
    for (stream_answer *answer = http->streams; answer; answer = answer->next)
        ts_stream_stop(answer->handle);
    pthread_mutex_unlock(&http->streams_lock);
}
