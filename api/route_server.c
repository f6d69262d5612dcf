/* What the server says about itself: health, options, metrics, events, tickets. */
#include <stdlib.h>
#include <string.h>

#include "api/routes.h"
#include "cl/base/clock.h"
#include "server/auth.h"
#include "server/events.h"
#include "server/figures.h"
#include "server/http.h"
#include "server/hub.h"
#include "server/media/venc.h"
#include "server/metrics.h"
#include "server/version.h"
#include "server/viewers.h"

static const char *const no_keys[] = {NULL};

/* ---- health ---- */

ts_status api_livez(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    (void)app, (void)req, (void)err;
    ts_response_json(res, 200, json_pack("{s:b}", "live", 1));
    return TS_OK;
}

ts_status api_readyz(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    (void)req;
    if (ts_app_draining(app))
        return ts_fail(err, TS_E_NOT_READY, "the server is shutting down");
    if (!ts_app_ready(app))
        return ts_fail(err, TS_E_NOT_READY, "a device is lost, or models are still loading");
    ts_response_json(res, 200, json_pack("{s:b}", "ready", 1));
    return TS_OK;
}

/* ---- GET /v1/server ---- */

static json_t *device_json(ts_device *device, size_t i)
{
    const ts_caps *caps = ts_device_caps(device);
    static const char *const kinds[] = {"cpu", "gpu", "other"};
    ts_device_stats stats;
    ts_device_get_stats(device, &stats);
    json_t *memory =
        json_pack("{s:I, s:I, s:I, s:I}", "used_bytes", (json_int_t)stats.used_bytes, "pooled",
                  (json_int_t)stats.pooled_bytes, "limit", (json_int_t)stats.budget_bytes, "total",
                  (json_int_t)caps->global_bytes);
    json_t *counts = json_pack(
        "{s:I, s:I, s:I, s:I, s:I}", "bytes_h2d", (json_int_t)stats.bytes_h2d, "bytes_d2h",
        (json_int_t)stats.bytes_d2h, "launches", (json_int_t)stats.launches, "allocations",
        (json_int_t)stats.allocations, "pool_hits", (json_int_t)stats.pool_hits);
    return json_pack("{s:I, s:I, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:b, s:b, s:b, s:o, s:o}",
                     "index", (json_int_t)i, "list_index", (json_int_t)caps->index, "name",
                     caps->name, "kind", kinds[caps->kind], "vendor", caps->vendor, "platform",
                     caps->platform, "driver", caps->driver, "version", caps->version,
                     "compute_units", (json_int_t)caps->compute_units, "fp16", caps->fp16,
                     "unified_memory", caps->unified_memory, "lost", ts_device_lost(device),
                     "memory", memory, "counters", counts);
}

static json_t *limits_json(const ts_app *app)
{
    json_t *options = ts_options_json(&app->options), *limits = json_object(), *value;
    const char *key;
    json_object_foreach(options, key, value)
    {
        if (strncmp(key, "max_", 4) == 0 || strcmp(key, "queue_bytes") == 0)
            json_object_set(limits, key, value);
    }
    json_decref(options);
    return limits;
}

/* How much of each limit is taken, where that is one number. */
static json_t *use_json(const ts_app *app, const ts_http_stats *http)
{
    uint64_t used = 0;
    for (size_t i = 0; i < app->n_devices; i++) {
        ts_device_stats stats;
        ts_device_get_stats(app->devices[i], &stats);
        used += stats.used_bytes;
    }
    return json_pack("{s:I, s:I, s:I, s:I, s:I}", "max_tensors",
                     (json_int_t)(app->store ? ts_store_count(app->store) : 0), "max_streams",
                     (json_int_t)(app->hub ? ts_hub_count(app->hub) : 0), "max_connections",
                     (json_int_t)http->connections, "max_websockets", (json_int_t)http->websockets,
                     "max_device_bytes", (json_int_t)used);
}

static json_t *build_json(void)
{
#ifdef NDEBUG
    const char *type = "release";
#else
    const char *type = "debug";
#endif
#ifdef __SANITIZE_ADDRESS__
    bool sanitizers = true;
#else
    bool sanitizers = false;
#endif
#ifdef TS_FAULTS
    bool faults = true;
#else
    bool faults = false;
#endif
    return json_pack("{s:s, s:s, s:b, s:b}", "compiler", __VERSION__, "type", type, "sanitizers",
                     sanitizers, "faults", faults);
}

/* What pictures and recordings can be written as; video depends on the libraries that are there. */
static json_t *formats_json(void)
{
    json_t *formats = json_pack("[s, s, s, s, s]", "webp", "png", "jpeg", "npy", "raw");
    if (ts_venc_known("h264"))
        json_array_append_new(formats, json_string("mp4"));
    if (ts_venc_known("vp9"))
        json_array_append_new(formats, json_string("webm"));
    return formats;
}

/* Refused and failed requests, by status. */
static void add_refused(void *arg, const char *labels, double count)
{
    json_t *by_code = arg;
    char code[4] = "";
    memcpy(code, labels, strnlen(labels, 3));
    if (code[0] != '4' && code[0] != '5')
        return;
    double before = json_number_value(json_object_get(by_code, code));
    json_object_set_new(by_code, code, json_integer((json_int_t)(before + count)));
}

static json_t *refused_json(ts_metrics *metrics)
{
    json_t *by_code = json_object();
    ts_metrics_each(metrics, TS_METRIC_http_requests_total, add_refused, by_code);
    return by_code;
}

static json_t *connections_json(const ts_http_stats *http)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I}", "http", (json_int_t)http->connections,
                     "websockets", (json_int_t)http->websockets, "active_requests",
                     (json_int_t)http->active_requests, "queued_requests",
                     (json_int_t)http->queued_requests, "workers", (json_int_t)http->workers);
}

static json_t *server_json(ts_app *app, const ts_request *req)
{
    ts_http_stats http;
    ts_http_get_stats(app->http, &http);
    json_t *devices = json_array(), *counts = json_object(), *viewers = NULL;
    for (size_t i = 0; i < app->n_devices; i++)
        json_array_append_new(devices, device_json(app->devices[i], i));
    if (app->store)
        json_object_set_new(counts, "tensors",
                            json_integer((json_int_t)ts_store_count(app->store)));
    if (app->hub)
        json_object_set_new(counts, "streams", json_integer((json_int_t)ts_hub_count(app->hub)));
    if (app->live)
        viewers = ts_live_viewers(app->live);
    json_t *body = json_pack(
        "{s:s, s:s, s:f, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I}", "name",
        "tensorscope", "version", TS_VERSION, "uptime_s",
        (double)(ts_now_us() - app->started_us) * 1e-6, "ready", ts_app_ready(app), "scopes",
        ts_scopes_json(ts_request_scopes(req)), "limits", limits_json(app), "limits_in_use",
        use_json(app, &http), "devices", devices, "counts", counts, "connections",
        connections_json(&http), "refused", refused_json(app->metrics), "build", build_json(),
        "formats", formats_json(), "last_event", (json_int_t)ts_events_last_id(app->events));
    json_object_set_new(body, "viewers", viewers ? viewers : json_array());
    json_object_set_new(body, "figures", ts_figures_now(app->figures));
    json_object_set_new(body, "host_memory_bytes",
                        json_integer((json_int_t)ts_app_resident_bytes()));
    return body;
}

ts_status api_server(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    static const char *const keys[] = {"window", NULL};
    int64_t window = 0;
    ts_status st = ts_request_query_only(req, keys, err);
    if (st == TS_OK)
        st = ts_request_query_int(req, "window", 1, 86400, &window, err);
    if (st != TS_OK)
        return st;
    json_t *body = server_json(app, req);
    if (window)
        json_object_set_new(body, "samples", ts_figures_samples(app->figures, window));
    ts_response_json(res, 200, body);
    return TS_OK;
}

ts_status api_config(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    ts_status st = ts_request_query_only(req, no_keys, err);
    if (st == TS_OK)
        ts_response_json(res, 200, ts_options_json(&app->options));
    return st;
}

ts_status api_metrics(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    (void)req, (void)err;
    ts_buf text = {0};
    ts_metrics_write(app->metrics, &text);
    ts_response_bytes(res, 200, "text/plain; version=0.0.4; charset=utf-8", &text);
    return TS_OK;
}

/* ---- GET /v1/events ---- */

static ts_status read_since(const ts_request *req, uint64_t *since, ts_error *err)
{
    const char *last = ts_request_header(req, "last-event-id");
    const char *query = ts_request_query(req, "since"), *text = last ? last : query;
    *since = UINT64_MAX;
    if (!text)
        return TS_OK;
    if (!*text || strlen(text) > 18 || strspn(text, "0123456789") != strlen(text))
        return ts_fail(err, TS_E_OPTION, "%s: \"%.40s\" is not an event's id",
                       last ? "Last-Event-ID" : "since", text);
    *since = strtoull(text, NULL, 10);
    return TS_OK;
}

ts_status api_events(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    static const char *const keys[] = {"kind", "name", "since", NULL};
    uint64_t since = 0;
    ts_status st = ts_request_query_only(req, keys, err);
    if (st == TS_OK)
        st = read_since(req, &since, err);
    if (st == TS_OK)
        ts_events_stream(app->events, since, ts_request_query(req, "kind"),
                         ts_request_query(req, "name"), res);
    return st;
}

/* ---- POST /v1/tickets ---- */

/* The body may be missing: that is the form for one use. */
static ts_status read_ticket(const ts_request *req, json_t **body, const char **path, int64_t *ttl,
                             ts_error *err)
{
    static const char *const keys[] = {"path", "ttl_s", NULL};
    *ttl = 3600;
    if (ts_request_body(req)->len == 0)
        return TS_OK;
    ts_status st = ts_request_json(req, body, err);
    if (st == TS_OK)
        st = ts_json_only(*body, "", keys, err);
    if (st == TS_OK)
        st = ts_json_get_string(*body, "", "path", path, err);
    if (st == TS_OK)
        st = ts_json_get_int(*body, "", "ttl_s", 1, 86400, ttl, err);
    if (st == TS_OK && !*path && json_object_get(*body, "ttl_s"))
        st = ts_fail(err, TS_E_OPTION, "ttl_s goes with path; a ticket for one use lasts 60 s");
    if (st == TS_OK && *path && ((*path)[0] != '/' || strlen(*path) > 512))
        st = ts_fail(err, TS_E_OPTION, "path: expected a path of this server, beginning with /");
    return st;
}

ts_status api_ticket(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    json_t *body = NULL;
    const char *path = NULL;
    int64_t ttl = 0;
    char ticket[48];
    ts_status st = read_ticket(req, &body, &path, &ttl, err);
    if (st == TS_OK)
        st = ts_auth_make_ticket(app->auth, ts_request_scopes(req), path, (int)ttl, ticket, err);
    if (st == TS_OK) {
        json_t *answer =
            json_pack("{s:s, s:I}", "ticket", ticket, "expires_in", (json_int_t)(path ? ttl : 60));
        if (path)
            json_object_set_new(answer, "path", json_string(path));
        ts_response_json(res, 200, answer);
    }
    json_decref(body);
    return st;
}
