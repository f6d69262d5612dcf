#include "server/http.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/clock.h"
#include "cl/base/log.h"
#include "server/events.h"
#include "server/figures.h"
#include "server/http_internal.h"
#include "server/limits.h"
#include "server/metrics.h"

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
    return http_receive(ex, method, version, data, len);
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
    http_unlink_chunked(ex);
    if (ex->logged_status)
        log_request(ex);
    if (ex->upgrading && !ex->upgraded) /* gone before its 101 was sent */
        ts_limits_websocket_closed(self->http->app->limits);
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

static void on_log(void *arg, const char *format, va_list args)
{
    loop *self = arg;
    if (self->http->strict_layout && strstr(format, "HTTP response code is %u")) {
        va_list copy;
        va_copy(copy, args);
        unsigned status = va_arg(copy, unsigned);
        va_end(copy);
        if (status == 500)
            http_refuse_endless_chunk_header(self);
    }
    if (!ts_log_enabled(TS_LOG_DEBUG, "mhd"))
        return;
    char text[512];
    vsnprintf(text, sizeof text, format, args);
    text[strcspn(text, "\n")] = 0;
    ts_log(TS_LOG_DEBUG, "mhd", "%s", text);
}

void ts_http_websocket_closed(ts_app *app)
{
    ts_limits_websocket_closed(app->limits);
}

/* ---- start and stop ---- */

static void on_tick(void *arg)
{
    ts_http *http = arg;
    http_end_left_streams(http);
    ts_events_tick(http->app->events);
    if (ts_app_ready(http->app))
        ts_figures_tick(http->app->figures);
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
    ts_http *http = arg;
    if (http->front && address->sa_family != AF_UNIX)
        ts_front_accept(http->front, fd, address, len);
    else
        ts_http_adopt(http, fd, address, len);
}

static void on_plain(void *arg, int fd, const struct sockaddr *address, socklen_t len)
{
    ts_http_adopt(arg, fd, address, len);
}

ts_status ts_http_reload(ts_http *http, ts_error *err)
{
    return http->front ? ts_front_reload(http->front, err) : TS_OK;
}

static ts_status start_loop(ts_http *http, loop *self, ts_error *err)
{
    const ts_options *options = &http->app->options;
    size_t memory = (size_t)options->max_header + CONNECTION_EXTRA;
    self->http = http;
    self->daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_TURBO | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ITC |
            MHD_ALLOW_SUSPEND_RESUME | MHD_ALLOW_UPGRADE | MHD_USE_ERROR_LOG,
        0, NULL, NULL, on_request, self, MHD_OPTION_EXTERNAL_LOGGER, on_log, self,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)options->max_connections + 64,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, memory, MHD_OPTION_CONNECTION_MEMORY_INCREMENT,
        memory / 2, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)(options->keepalive_timeout + 0.999),
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, self, MHD_OPTION_NOTIFY_CONNECTION,
        on_connection, self, MHD_OPTION_URI_LOG_CALLBACK, on_request_line, self,
        MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL, MHD_OPTION_END);
    return self->daemon ? TS_OK : ts_fail(err, TS_E_INTERNAL, "the HTTP daemon did not start");
}

ts_status ts_http_create(ts_app *app, ts_http **out, ts_error *err)
{
    ts_http *http = calloc(1, sizeof *http);
    if (!http)
        return ts_fail(err, TS_E_NO_MEMORY, "http");
    http->app = app;
    http->strict_layout = strcmp(MHD_get_version(), "0.9.76") < 0;
    pthread_mutex_init(&http->streams_lock, NULL);
    pthread_mutex_init(&http->workers_lock, NULL);
    ts_status st = ts_listener_open(&app->options, app->limits, &http->listener, err);
    if (st == TS_OK && *app->options.tls_cert)
        st = ts_front_create(&app->options, app->limits, on_plain, http, &http->front, err);
    if (st == TS_OK)
        st = ts_peers_create(&app->options, on_tick, http, &http->peers, err);
    if (st == TS_OK)
        st = http_start_workers(http, err);
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

/* Until no request runs. Polled: the library gives no event for "all done". */
static void wait_idle(ts_http *http, int64_t until_us)
{
    while (http->active && ts_now_us() < until_us)
        ts_sleep_us(2000);
}

/*
 * Clients on kept connections learn from their next answer ("Connection: close") that this ends; one
 * that has been silent for a while would not mind a closed connection. Closing at once would lose the
 * request that is on its way.
 */
static void wait_for_goodbyes(ts_http *http, int64_t until_us)
{
    int64_t quiet_since = ts_now_us();
    while (ts_limits_connections(http->app->limits) && ts_now_us() < until_us) {
        int64_t now = ts_now_us();
        if (http->active)
            quiet_since = now;
        else if (now - quiet_since > GOODBYE_US)
            return;
        ts_sleep_us(2000);
    }
}

bool ts_http_drain(ts_http *http, double timeout_s)
{
    ts_listener_close(http->listener);
    http->listener = NULL;
    http->stopping = true;
    http_stop_streams(http);
    int64_t until = ts_now_us() + (int64_t)(timeout_s * 1e6);
    wait_for_goodbyes(http, until);
    wait_idle(http, until);
    ts_peers_shutdown(http->peers, true);
    wait_idle(http, ts_now_us() + 1000000);
    if (http->active)
        ts_log(TS_LOG_WARN, "http", "%zu requests did not end in time", (size_t)http->active);
    return http->active == 0;
}

void ts_http_destroy(ts_http *http)
{
    if (!http)
        return;
    ts_listener_close(http->listener);
    ts_front_destroy(http->front);
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
    pthread_mutex_destroy(&http->workers_lock);
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
