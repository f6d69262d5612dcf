#include "server/figures.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/clock.h"
#include "server/http.h"
#include "server/hub.h"
#include "server/metrics.h"

enum {
    FINE = 720,    /* an hour of 5 s */
    COARSE = 1440, /* a day of minutes */
    FINE_S = 5,
    COARSE_S = 60
};

typedef struct sample {
    double t, frames_sent_per_s, bytes_out_per_s, put_to_frame_ms_p99, dropped_percent, viewers,
        host_memory_bytes, device_bytes;
} sample;

/* Sums over all streams; they grow, but for streams that are deleted. */
typedef struct totals {
    double sent, bytes_out, dropped, produced, p99_ms, viewers;
} totals;

typedef struct ring {
    sample items[COARSE];
    size_t cap, n, next;
} ring;

struct ts_figures {
    ts_app *app;
    pthread_mutex_t figures_lock; /* guards fine, coarse */
    ring fine, coarse;
    totals last;
    int64_t last_us;
    int fine_ticks;
};

ts_status ts_figures_create(ts_app *app, ts_figures **out, ts_error *err)
{
    ts_figures *figures = calloc(1, sizeof *figures);
    if (!figures)
        return ts_fail(err, TS_E_NO_MEMORY, "figures");
    figures->app = app;
    figures->fine.cap = FINE;
    figures->coarse.cap = COARSE;
    pthread_mutex_init(&figures->figures_lock, NULL);
    *out = figures;
    return TS_OK;
}

void ts_figures_destroy(ts_figures *figures)
{
    if (!figures)
        return;
    pthread_mutex_destroy(&figures->figures_lock);
    free(figures);
}

/* ---- the streams' numbers ---- */

static double number(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static double sum_members(const json_t *object)
{
    const char *key;
    json_t *value;
    double sum = 0;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        sum += json_number_value(value);
    }
    return sum;
}

/* Call `visit` with the name and metrics of each stream. */
static void each_stream(const ts_app *app,
                        void (*visit)(void *arg, const char *name, const json_t *metrics),
                        void *arg)
{
    json_t *list = app->hub ? ts_hub_list(app->hub, NULL) : NULL, *item;
    size_t i;
    json_array_foreach(list, i, item)
    {
        const char *name = json_string_value(json_object_get(item, "name"));
        ts_stream *stream = NULL;
        if (!name || ts_hub_find(app->hub, name, &stream, NULL) != TS_OK)
            continue; /* deleted meanwhile */
        json_t *metrics = ts_stream_metrics(stream);
        ts_stream_unref(stream);
        visit(arg, name, metrics);
        json_decref(metrics);
    }
    json_decref(list);
}

static void add_to_totals(void *arg, const char *name, const json_t *metrics)
{
    (void)name;
    totals *sum = arg;
    const json_t *times = json_object_get(metrics, "frame_time_ms");
    double p99 = number(json_object_get(times, "total"), "p99");
    sum->sent += number(metrics, "frames_sent");
    sum->bytes_out += number(metrics, "bytes_out");
    sum->dropped += sum_members(json_object_get(metrics, "frames_dropped"));
    sum->produced += number(metrics, "frames_produced");
    sum->viewers += number(metrics, "subscribers");
    sum->p99_ms = p99 > sum->p99_ms ? p99 : sum->p99_ms;
}

static void export_stream(void *arg, const char *name, const json_t *metrics)
{
    ts_metrics *m = arg;
    double dropped = number(json_object_get(metrics, "frames_dropped"), "subscriber_slow");
    ts_metrics_set(m, TS_METRIC_frames_rendered_total, name, number(metrics, "frames_rendered"));
    ts_metrics_set(m, TS_METRIC_frames_encoded_total, name, number(metrics, "frames_encoded"));
    ts_metrics_set(m, TS_METRIC_ws_frames_sent_total, name, number(metrics, "frames_sent"));
    ts_metrics_set(m, TS_METRIC_ws_bytes_sent_total, name, number(metrics, "bytes_out"));
    ts_metrics_set(m, TS_METRIC_ws_frames_dropped_total, name, dropped);
}

void ts_figures_collect_streams(ts_app *app)
{
    static const ts_metric by_stream[] = {
        TS_METRIC_frames_rendered_total, TS_METRIC_frames_encoded_total,
        TS_METRIC_ws_frames_sent_total, TS_METRIC_ws_bytes_sent_total,
        TS_METRIC_ws_frames_dropped_total};
    for (size_t i = 0; i < sizeof by_stream / sizeof *by_stream; i++)
        ts_metrics_clear(app->metrics, by_stream[i]); /* deleted streams leave no series */
    each_stream(app, export_stream, app->metrics);
}

/* ---- samples ---- */

static void push(ring *r, const sample *one)
{
    r->items[r->next] = *one;
    r->next = (r->next + 1) % r->cap;
    r->n += r->n < r->cap;
}

static double rate(double now, double before, double seconds)
{
    return now > before && seconds > 0 ? (now - before) / seconds : 0;
}

static sample take(ts_figures *figures, double seconds)
{
    totals now = {0};
    const totals *last = &figures->last;
    each_stream(figures->app, add_to_totals, &now);
    double produced = now.produced - last->produced, dropped = now.dropped - last->dropped;
    sample one = {
        .t = ts_wall_seconds(),
        .frames_sent_per_s = rate(now.sent, last->sent, seconds),
        .bytes_out_per_s = rate(now.bytes_out, last->bytes_out, seconds),
        .put_to_frame_ms_p99 = now.p99_ms,
        .dropped_percent = produced > 0 && dropped > 0 ? 100 * dropped / produced : 0,
        .viewers = now.viewers,
        .host_memory_bytes = (double)ts_app_resident_bytes(),
    };
    one.dropped_percent = one.dropped_percent > 100 ? 100 : one.dropped_percent;
    for (size_t i = 0; i < figures->app->n_devices; i++) {
        ts_device_stats stats;
        ts_device_get_stats(figures->app->devices[i], &stats);
        one.device_bytes += (double)stats.used_bytes;
    }
    figures->last = now;
    return one;
}

void ts_figures_tick(ts_figures *figures)
{
    int64_t now = ts_now_us();
    double seconds = (double)(now - figures->last_us) * 1e-6;
    if (figures->last_us && seconds < FINE_S)
        return;
    bool first = figures->last_us == 0;
    sample one = take(figures, seconds);
    figures->last_us = now;
    if (first)
        one.frames_sent_per_s = one.bytes_out_per_s = one.dropped_percent = 0;
    pthread_mutex_lock(&figures->figures_lock);
    push(&figures->fine, &one);
    if (figures->fine_ticks++ % (COARSE_S / FINE_S) == 0)
        push(&figures->coarse, &one);
    pthread_mutex_unlock(&figures->figures_lock);
}

static json_t *sample_json(const sample *s)
{
    return json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "t", s->t, "frames_sent_per_s",
                     s->frames_sent_per_s, "bytes_out_per_s", s->bytes_out_per_s,
                     "put_to_frame_ms_p99", s->put_to_frame_ms_p99, "dropped_percent",
                     s->dropped_percent, "viewers", s->viewers, "host_memory_bytes",
                     s->host_memory_bytes, "device_bytes", s->device_bytes);
}

static const sample *at(const ring *r, size_t i)
{
    return &r->items[(r->next + r->cap - r->n + i) % r->cap];
}

json_t *ts_figures_now(ts_figures *figures)
{
    pthread_mutex_lock(&figures->figures_lock);
    const ring *r = &figures->fine;
    json_t *now = r->n ? sample_json(at(r, r->n - 1)) : json_object();
    pthread_mutex_unlock(&figures->figures_lock);
    return now;
}

json_t *ts_figures_samples(ts_figures *figures, int64_t window_s)
{
    json_t *list = json_array();
    double since = ts_wall_seconds() - (double)window_s;
    pthread_mutex_lock(&figures->figures_lock);
    const ring *r = window_s <= FINE * FINE_S ? &figures->fine : &figures->coarse;
    for (size_t i = 0; i < r->n; i++)
        if (at(r, i)->t >= since)
            json_array_append_new(list, sample_json(at(r, i)));
    pthread_mutex_unlock(&figures->figures_lock);
    return list;
}
