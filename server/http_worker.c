/* The threads that run handlers; each lends its device queue to the request at hand. */
#include <stdio.h>
#include <stdlib.h>

#include "cl/base/clock.h"
#include "cl/base/log.h"
#include "server/http_internal.h"
#include "server/trace.h"

void http_run_handler(exchange *ex)
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
    http_fill_error(ex);
}

static void worker_main(void *arg)
{
    worker *self = arg;
    ts_http *http = self->http;
    double timeout_us = http->app->options.request_timeout * 1e6;
    exchange *ex;
    for (;;) {
        atomic_fetch_add(&http->idle_workers, 1);
        ex = ts_chan_recv(http->queue);
        atomic_fetch_sub(&http->idle_workers, 1);
        if (!ex)
            break;
        ex->req.worker = &self->context;
        if ((double)(ts_now_us() - ex->queued_us) > timeout_us) {
            ts_fail(&ex->error, TS_E_NOT_READY, "no worker was free within --request-timeout");
            http_fill_error(ex);
        } else {
            int64_t start = ts_now_us();
            http_run_handler(ex);
            ts_trace_span(http->app->trace, "http", ex->req.route->pattern, start,
                          self->context.queue);
        }
        ex->req.worker = NULL;
        ex->phase = PHASE_DONE;
        MHD_resume_connection(ex->connection);
    }
    ts_queue_destroy(self->context.queue);
}

static ts_status start_worker(ts_http *http, ts_error *err)
{
    char name[16];
    int i = http->n_workers;
    worker *one = &http->workers[i];
    snprintf(name, sizeof name, "ts-work%d", i);
    one->http = http;
    one->context.app = http->app;
    ts_status st = ts_thread_start(name, worker_main, one, &one->thread, err);
    if (st == TS_OK)
        http->n_workers = i + 1;
    return st;
}

/* Handlers may wait (for a batch to fill, for a picture); those must not keep others from starting. */
void http_grow_workers(ts_http *http)
{
    if ((int)ts_chan_depth(http->queue) <= http->idle_workers ||
        http->n_workers == http->max_workers)
        return;
    ts_error err = {0};
    pthread_mutex_lock(&http->workers_lock);
    if (http->n_workers < http->max_workers && start_worker(http, &err) != TS_OK) {
        ts_log_error(TS_LOG_WARN, "http", "no further worker", &err);
        http->max_workers = http->n_workers;
    }
    pthread_mutex_unlock(&http->workers_lock);
    ts_error_clear(&err);
}

ts_status http_start_workers(ts_http *http, ts_error *err)
{
    const ts_options *options = &http->app->options;
    int first = 4 + ts_cpu_count();
    http->max_workers = (int)options->workers;
    http->workers = calloc((size_t)http->max_workers, sizeof *http->workers);
    if (!http->workers)
        return ts_fail(err, TS_E_NO_MEMORY, "workers");
    /* Room for every connection's one request, so that an HTTP thread never waits. */
    ts_status st = ts_chan_create((size_t)options->max_connections + 64 * MAX_DAEMONS,
                                  TS_CHAN_REJECT, NULL, &http->queue, err);
    for (int i = 0; i < first && i < http->max_workers && st == TS_OK; i++)
        st = start_worker(http, err);
    return st;
}
