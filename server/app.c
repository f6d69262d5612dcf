#include "server/app.h"

#include <dirent.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cl/base/clock.h"
#include "cl/base/fs.h"
#include "cl/base/log.h"
#include "server/auth.h"
#include "server/clips.h"
#include "server/demo.h"
#include "server/devwatch.h"
#include "server/events.h"
#include "server/figures.h"
#include "server/gaze_model.h"
#include "server/http.h"
#include "server/hub.h"
#include "server/infer_stats.h"
#include "server/limits.h"
#include "server/live.h"
#include "server/media/recorder.h"
#include "server/metrics.h"
#include "server/models.h"
#include "server/mqtt.h"
#include "server/pipelines.h"
#include "server/sandbox.h"
#include "server/trace.h"
#include "server/train/fits.h"
#include "server/train/pairs.h"
#include "server/webhooks.h"

struct ts_app_state {
    _Atomic bool ready, draining;
};

bool ts_app_ready(const ts_app *app)
{
    return app->state->ready && !app->state->draining &&
           (!app->models || ts_models_ready(app->models)) &&
           !(app->device && ts_device_lost(app->device));
}

bool ts_app_draining(const ts_app *app)
{
    return app->state->draining;
}

/* ---- parts ---- */

/* Temporary files of a killed server are swept away here. */
static ts_status open_data_dir(const ts_app *app, ts_error *err)
{
    ts_buf path = {0};
    ts_buf_printf(&path, "%s/tmp", app->options.data_dir);
    ts_status st = path.failed ? ts_fail(err, TS_E_NO_MEMORY, "--data-dir")
                               : ts_fs_remove(ts_buf_cstr(&path), err);
    if (st == TS_OK)
        st = ts_fs_mkdirs(ts_buf_cstr(&path), err);
    if (st != TS_OK)
        ts_error_prefix(err, "--data-dir");
    ts_buf_finish(&path);
    return st;
}

static ts_status open_one_device(ts_app *app, const char *spec, ts_error *err)
{
    size_t index = 0;
    ts_device_options options = {
        .memory_budget_bytes = app->options.max_device_bytes,
        .kernel_dir = *app->options.kernel_dir ? app->options.kernel_dir : NULL,
        .profiling = *app->options.trace != 0,
    };
    ts_buf cache = {0};
    ts_buf_printf(&cache, "%s/cache", app->options.data_dir);
    options.cache_dir = ts_buf_cstr(&cache);
    ts_status st = ts_device_select(spec, &index, err);
    for (size_t i = 0; i < app->n_devices && st == TS_OK; i++)
        if (ts_device_caps(app->devices[i])->index == index)
            st = ts_fail(err, TS_E_OPTION, "--device %s names a device that is named twice", spec);
    if (st == TS_OK)
        st = ts_device_open(index, &options, &app->devices[app->n_devices], err);
    if (st == TS_OK)
        st = ts_device_check(app->devices[app->n_devices++], err);
    ts_buf_finish(&cache);
    return st;
}

static ts_status open_devices(ts_app *app, ts_error *err)
{
    const ts_strings *specs = &app->options.device;
    for (size_t i = 0; i < specs->n; i++)
        if (strcmp(specs->items[i], "none") == 0)
            return specs->n == 1 ? TS_OK : ts_fail(err, TS_E_OPTION, "--device none stands alone");
    app->devices = calloc(specs->n ? specs->n : 1, sizeof *app->devices);
    if (!app->devices)
        return ts_fail(err, TS_E_NO_MEMORY, "devices");
    ts_status st = specs->n ? TS_OK : open_one_device(app, "auto", err);
    for (size_t i = 0; i < specs->n && st == TS_OK; i++)
        st = open_one_device(app, specs->items[i], err);
    if (st == TS_OK)
        app->device = app->devices[0];
    return st;
}

static size_t count_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    size_t n = 0;
    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n > 3 ? n - 3 : 0; /* without ".", ".." and the one that reads */
}

uint64_t ts_app_resident_bytes(void)
{
    unsigned long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file && fscanf(file, "%*u %llu", &pages) != 1)
        pages = 0;
    if (file)
        fclose(file);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void collect_metrics(void *arg)
{
    ts_app *app = arg;
    ts_metrics *m = app->metrics;
    ts_metrics_set(m, TS_METRIC_process_open_fds, "", (double)count_descriptors());
    ts_metrics_set(m, TS_METRIC_process_resident_memory_bytes, "", (double)ts_app_resident_bytes());
    ts_figures_collect_streams(app);
    ts_http_stats http;
    ts_http_get_stats(app->http, &http);
    ts_metrics_set(m, TS_METRIC_http_connections, "", (double)http.connections);
    ts_metrics_set(m, TS_METRIC_ws_clients, "", (double)http.websockets);
    ts_metrics_set(m, TS_METRIC_http_active_requests, "", (double)http.active_requests);
    ts_metrics_set(m, TS_METRIC_http_queued_requests, "", (double)http.queued_requests);
    ts_metrics_set(m, TS_METRIC_auth_failures_total, "", (double)ts_auth_failures(app->auth));
    ts_metrics_set(m, TS_METRIC_uptime_seconds, "", (double)(ts_now_us() - app->started_us) * 1e-6);
    ts_metrics_set(m, TS_METRIC_ready, "", ts_app_ready(app));
    if (app->hub)
        ts_hub_collect(app->hub);
    if (app->store)
        ts_metrics_set(m, TS_METRIC_tensors, "", (double)ts_store_count(app->store));
    for (size_t i = 0; i < app->n_devices; i++) {
        ts_device_stats stats;
        char index[16];
        ts_device_get_stats(app->devices[i], &stats);
        snprintf(index, sizeof index, "%zu", i);
        ts_metrics_set(m, TS_METRIC_device_bytes, index, (double)stats.used_bytes);
        ts_metrics_set(m, TS_METRIC_device_pooled_bytes, index, (double)stats.pooled_bytes);
        ts_metrics_set(m, TS_METRIC_device_budget_bytes, index, (double)stats.budget_bytes);
        ts_metrics_set(m, TS_METRIC_device_h2d_bytes_total, index, (double)stats.bytes_h2d);
        ts_metrics_set(m, TS_METRIC_device_d2h_bytes_total, index, (double)stats.bytes_d2h);
    }
}

static void set_limit_metrics(ts_app *app)
{
    json_t *options = ts_options_json(&app->options), *value;
    const char *key;
    json_object_foreach(options, key, value)
    {
        bool is_limit = strncmp(key, "max_", 4) == 0 || strstr(key, "_timeout") ||
                        strcmp(key, "queue_bytes") == 0 || strcmp(key, "body_min_rate") == 0;
        if (is_limit && json_is_number(value))
            ts_metrics_set(app->metrics, TS_METRIC_limit, key, json_number_value(value));
    }
    json_decref(options);
}

static ts_status create_base(ts_app *app, ts_error *err)
{
    ts_status st = ts_metrics_create(&app->metrics, err);
    if (st == TS_OK && *app->options.trace)
        st = ts_trace_open(app->options.trace, &app->trace, err);
    if (st == TS_OK)
        st = ts_limits_create(&app->options, &app->limits, err);
    if (st == TS_OK)
        st = ts_auth_create(&app->options, &app->auth, err);
    if (st == TS_OK)
        st = ts_events_create(&app->events, err);
    if (st == TS_OK)
        st = ts_infer_stats_create(&app->infer_stats, err);
    if (st == TS_OK)
        st = open_data_dir(app, err);
    if (st == TS_OK)
        st = ts_webhooks_create(app->options.data_dir, app->events, app->metrics, &app->webhooks,
                                err);
    if (st == TS_OK && *app->options.mqtt)
        st = ts_mqtt_create(app->options.mqtt, app->events, app->metrics, &app->mqtt, err);
    if (st == TS_OK)
        st = ts_figures_create(app, &app->figures, err);
    return st;
}

static void emit_tensor_event(void *arg, ts_store_change change, const ts_entry *entry)
{
    static const char *const words[] = {"created", "changed", "deleted"};
    ts_app *app = arg;
    ts_events_emit(app->events, words[change], "tensor", entry->name,
                   json_pack("{s:I}", "version", (json_int_t)entry->version));
}

static ts_status decode_in_sandbox(void *arg, const void *data, size_t len, ts_image_info *info,
                                   ts_buf *out, ts_error *err)
{
    return ts_sandbox_image(arg, data, len, info, out, err);
}

static ts_status start_sandbox(ts_app *app, ts_error *err)
{
    ts_status st = ts_sandbox_create(&app->sandbox, err);
    if (st != TS_OK)
        return st;
    ts_image_set_decoder(decode_in_sandbox, app->sandbox);
    ts_clips_set_sandbox(app->sandbox);
    return TS_OK;
}

static void stop_sandbox(ts_app *app)
{
    ts_image_set_decoder(NULL, NULL);
    ts_clips_set_sandbox(NULL);
    ts_sandbox_destroy(app->sandbox);
}

/* In this order; ts_app_stop() undoes it backwards. Owners add their parts before the HTTP side. */
static ts_status create_parts(ts_app *app, ts_error *err)
{
    ts_status st = create_base(app, err);
    if (st == TS_OK && app->options.sandbox)
        st = start_sandbox(app, err);
    if (st == TS_OK)
        st = open_devices(app, err);
    if (st == TS_OK && app->device)
        st = ts_store_create((size_t)app->options.max_tensors, &app->store, err);
    if (st == TS_OK && app->device) {
        ts_store_observe(app->store, emit_tensor_event, app);
        st = ts_uploader_create(app->device, &app->uploader, err);
        if (st == TS_OK)
            st = ts_runs_create(app->store, &app->runs, err);
    }
    if (st == TS_OK && app->device)
        st = ts_clips_create(&app->clips, err);
    if (st == TS_OK && app->device)
        st = ts_models_create(app, &app->models, err);
    if (st == TS_OK && app->models)
        ts_gaze_set_autogaze(ts_gaze_model_open, app->models);
    if (st == TS_OK && app->device)
        st = ts_pipelines_create(app, &app->pipelines, err);
    if (st == TS_OK && app->device)
        st = ts_fits_create(app, &app->fits, err);
    if (st == TS_OK)
        st = ts_pairs_create(app, &app->pairs, err);
    if (st == TS_OK)
        st = ts_hub_create(app, &app->hub, err);
    if (st == TS_OK && app->device)
        st = ts_recordings_create(app, &app->recordings, err);
    if (st == TS_OK && app->device)
        st = ts_devwatch_create(app, &app->devwatch, err);
    if (st == TS_OK)
        st = ts_live_create(app, ts_http_websocket_closed, &app->live, err);
    if (st == TS_OK)
        st = ts_http_create(app, &app->http, err);
    if (st == TS_OK && app->pipelines)
        ts_pipelines_resume(app->pipelines);
    if (st == TS_OK && app->options.demo && app->device)
        st = ts_demo_thread_start(app, &app->demo, err);
    return st;
}

/* Options that are known but not built into this binary are refused, not ignored. */
static ts_status refuse_missing(const ts_options *options, ts_error *err)
{
    const struct {
        const char *flag;
        bool given;
    } missing[] = {{"--redis", *options->redis}};
    for (size_t i = 0; i < sizeof missing / sizeof *missing; i++)
        if (missing[i].given)
            return ts_fail(err, TS_E_OPTION, "%s is not built into this binary", missing[i].flag);
    return TS_OK;
}

/* ---- start and stop ---- */

static void warn_about_options(const ts_options *options)
{
    if (options->no_auth)
        ts_log(TS_LOG_WARN, "http", "--no-auth: everybody who reaches this server may do anything");
}

ts_status ts_app_start(ts_options *options, const ts_router *router, ts_app **out, ts_error *err)
{
    ts_app *app = calloc(1, sizeof *app);
    ts_app_state *state = calloc(1, sizeof *state);
    if (!app || !state) {
        free(app);
        free(state);
        ts_options_finish(options);
        return ts_fail(err, TS_E_NO_MEMORY, "application");
    }
    app->options = *options;
    *options = (ts_options){0};
    app->router = router;
    app->state = state;
    app->started_us = ts_now_us();
    ts_log_set_json(strcmp(app->options.log_format, "json") == 0);
    ts_status st = ts_log_set_levels(app->options.log_level, err);
    if (st == TS_OK)
        st = refuse_missing(&app->options, err);
    if (st == TS_OK)
        st = create_parts(app, err);
    if (st == TS_OK) {
        warn_about_options(&app->options);
        set_limit_metrics(app);
        ts_metrics_on_scrape(app->metrics, collect_metrics, app);
        app->state->ready = true;
        st = ts_http_serve(app->http, err);
    }
    if (st != TS_OK) {
        ts_app_stop(app);
        return st;
    }
    *out = app;
    return TS_OK;
}

bool ts_app_drain(ts_app *app)
{
    app->state->draining = true;
    ts_log(TS_LOG_INFO, "http", "shutting down");
    ts_sleep_us((int64_t)(app->options.drain_delay * 1e6));
    return ts_http_drain(app->http, app->options.drain_timeout);
}

void ts_app_stop(ts_app *app)
{
    if (!app)
        return;
    ts_devwatch_destroy(app->devwatch);
    ts_demo_thread_stop(app->demo);
    ts_live_stop(app->live); /* before the HTTP side: it counts the sockets that were handed over */
    ts_http_destroy(app->http);
    ts_recordings_destroy(app->recordings); /* finishes their files */
    ts_fits_stop(app->fits);                /* its thread touches streams */
    ts_fits_stop(app->fits);                /* its thread touches streams */
    ts_pairs_stop(app->pairs);
    ts_hub_destroy(app->hub);
    ts_live_destroy(app->live);
    ts_pairs_destroy(app->pairs);
    ts_fits_destroy(app->fits);
    ts_pipelines_destroy(app->pipelines);
    ts_models_destroy(app->models);
    ts_clips_destroy(app->clips);
    ts_runs_destroy(app->runs);
    ts_store_destroy(app->store);
    ts_uploader_destroy(app->uploader);
    for (size_t i = 0; i < app->n_devices; i++)
        ts_device_close(app->devices[i]);
    free(app->devices);
    ts_figures_destroy(app->figures);
    ts_mqtt_destroy(app->mqtt);
    ts_webhooks_destroy(app->webhooks);
    ts_infer_stats_destroy(app->infer_stats);
    ts_events_destroy(app->events);
    ts_auth_destroy(app->auth);
    ts_limits_destroy(app->limits);
    ts_trace_close(app->trace);
    ts_metrics_destroy(app->metrics);
    stop_sandbox(app);
    ts_options_finish(&app->options);
    free(app->state);
    free(app);
}

/* Log levels change at once; every other changed option is named. */
static void take_options(const ts_app *app, const ts_options *fresh)
{
    ts_error err = {0};
    if (ts_log_set_levels(fresh->log_level, &err) != TS_OK)
        ts_log_error(TS_LOG_ERROR, "http", "log levels were not changed", &err);
    ts_error_clear(&err);
    json_t *old = ts_options_json(&app->options), *now = ts_options_json(fresh), *value;
    const char *key;
    json_object_foreach(now, key, value)
    {
        if (strcmp(key, "log_level") != 0 && !json_equal(value, json_object_get(old, key)))
            ts_log(TS_LOG_WARN, "http", "option=%s changed; it needs a restart", key);
    }
    json_decref(old);
    json_decref(now);
}

void ts_app_reload(ts_app *app, const ts_options *fresh)
{
    ts_error err = {0};
    if (fresh)
        take_options(app, fresh);
    if (ts_auth_reload(app->auth, &err) != TS_OK)
        ts_log_error(TS_LOG_ERROR, "http", "tokens were not reloaded", &err);
    ts_error_clear(&err);
    if (ts_http_reload(app->http, &err) != TS_OK)
        ts_log_error(TS_LOG_ERROR, "http", "certificates were not reloaded", &err);
    ts_error_clear(&err);
    ts_log(TS_LOG_INFO, "http", "reloaded");
}
