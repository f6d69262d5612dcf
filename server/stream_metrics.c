/* What a stream tells about itself: the numbers of GET …/metrics. */
#include <stdio.h>

#include "cl/base/clock.h"
#include "server/hub_internal.h"
#include "server/metrics.h"
#include "server/ws.h"

enum {
    CACHE_US = 400000
};

static const char *const drop_names[N_DROP_REASONS] = {
#define X(name, text) text,
    TS_DROP_MAP(X)
#undef X
};

static double current_fps(const stream_counters *c, int64_t now)
{
    int n = 0;
    for (int i = 0; i < FPS_WINDOW; i++)
        n += c->frame_times_us[i] > 0 && c->frame_times_us[i] > now - 2000000;
    return n / 2.0;
}

static void add_integer(json_t *o, const char *key, uint64_t value)
{
    json_object_set_new(o, key, json_integer((json_int_t)value));
}

static json_t *build_locked(ts_stream *s, int64_t now)
{
    const stream_counters *c = &s->counters;
    json_t *o = json_object(), *dropped = json_object(), *variants = json_array();
    add_integer(o, "frames_produced", c->produced);
    add_integer(o, "frames_rendered", c->rendered);
    add_integer(o, "frames_encoded", c->encoded);
    add_integer(o, "frames_sent", c->sent);
    add_integer(o, "frames_pending", s->box.pending || s->box.busy ? 1 : 0);
    for (int i = 0; i < N_DROP_REASONS; i++)
        add_integer(dropped, drop_names[i], c->dropped[i]);
    json_object_set_new(o, "frames_dropped", dropped);
    json_object_set_new(o, "frame_time_ms", ts_stagetimes_json(&s->times));
    json_object_set_new(o, "avg_frame_time", json_real(s->times.ewma[TS_STAGE_TOTAL]));
    json_object_set_new(o, "current_fps", json_real(current_fps(c, now)));
    json_object_set_new(o, "last_update",
                        c->last_update_us
                            ? json_real(ts_wall_seconds() - (double)(now - c->last_update_us) / 1e6)
                            : json_null());
    for (const unit *u = s->units; u; u = u->next)
        for (const variant *v = u->variants; v; v = v->next) {
            if (!v->n_watches)
                continue;
            json_array_append_new(
                variants, json_pack("{s:s,s:i,s:f,s:b,s:I}", "codec", ts_codec_name(v->codec),
                                    "quality", v->quality, "scale", u->scale, "own_view",
                                    u->patch != NULL, "watchers", (json_int_t)v->n_watches));
        }
    add_integer(o, "subscribers", stream_viewers(s));
    json_object_set_new(o, "variants", variants);
    add_integer(o, "bytes_h2d", c->bytes_h2d);
    add_integer(o, "bytes_d2h", c->bytes_d2h);
    add_integer(o, "bytes_out", c->bytes_out);
    add_integer(o, "history_items", ts_history_count(s->history));
    add_integer(o, "host_bytes", ts_history_bytes(s->history));
    json_object_set_new(o, "psnr_db", c->has_psnr ? ts_json_double(c->psnr_db) : json_null());
    add_integer(o, "seq", s->seq);
    add_integer(o, "config_rev", s->config_rev);
    if (s->error[0])
        json_object_set_new(o, "error", json_string(s->error));
    return o;
}

json_t *ts_stream_metrics(ts_stream *s)
{
    ts_device_stats device = {0};
    if (s->hub->app->device)
        ts_device_get_stats(s->hub->app->device, &device);
    pthread_mutex_lock(&s->hub->hub_lock);
    json_t *o = build_locked(s, ts_now_us());
    pthread_mutex_unlock(&s->hub->hub_lock);
    add_integer(o, "device_memory_bytes", device.used_bytes);
    return o;
}

/* Every subscriber is told once a second: the text is made once for all of them. */
void ts_stream_metrics_text(ts_stream *s, ts_buf *out)
{
    int64_t now = ts_now_us();
    pthread_mutex_lock(&s->hub->hub_lock);
    bool fresh = s->metrics_text.len && now - s->metrics_cached_us <= CACHE_US;
    if (fresh)
        ts_buf_append(out, s->metrics_text.data, s->metrics_text.len);
    pthread_mutex_unlock(&s->hub->hub_lock);
    if (fresh)
        return;
    json_t *o = ts_stream_metrics(s);
    size_t start = out->len;
    ts_json_write(o, out);
    json_decref(o);
    if (out->failed)
        return;
    pthread_mutex_lock(&s->hub->hub_lock);
    ts_buf_reset(&s->metrics_text);
    ts_buf_append(&s->metrics_text, out->data + start, out->len - start);
    s->metrics_cached_us = now;
    pthread_mutex_unlock(&s->hub->hub_lock);
}

void ts_stream_count_sent(ts_stream *s, uint64_t frames, uint64_t bytes, uint64_t dropped)
{
    pthread_mutex_lock(&s->hub->hub_lock);
    s->counters.sent += frames;
    s->counters.bytes_out += bytes;
    s->counters.dropped[DROP_SUBSCRIBER_SLOW] += dropped;
    pthread_mutex_unlock(&s->hub->hub_lock);
}

bool ts_stream_busy(ts_stream *s)
{
    pthread_mutex_lock(&s->hub->hub_lock);
    double ms = ts_stagetimes_percentile(&s->times, TS_STAGE_RENDER, 95) +
                ts_stagetimes_percentile(&s->times, TS_STAGE_ENCODE, 95);
    bool busy = ms > 0.9 * 1000 / s->output.max_fps;
    pthread_mutex_unlock(&s->hub->hub_lock);
    return busy;
}

/* ---- Prometheus ---- */

static void collect_stream_locked(const ts_stream *s, ts_metrics *m, int64_t now)
{
    const stream_counters *c = &s->counters;
    ts_metrics_set(m, TS_METRIC_frames_produced_total, s->name, (double)c->produced);
    ts_metrics_set(m, TS_METRIC_frames_rendered_total, s->name, (double)c->rendered);
    ts_metrics_set(m, TS_METRIC_frames_encoded_total, s->name, (double)c->encoded);
    ts_metrics_set(m, TS_METRIC_ws_frames_sent_total, s->name, (double)c->sent);
    ts_metrics_set(m, TS_METRIC_ws_bytes_sent_total, s->name, (double)c->bytes_out);
    ts_metrics_set(m, TS_METRIC_ws_frames_dropped_total, s->name,
                   (double)c->dropped[DROP_SUBSCRIBER_SLOW]);
    ts_metrics_set(m, TS_METRIC_stream_subscribers, s->name, (double)stream_viewers(s));
    ts_metrics_set(m, TS_METRIC_stream_fps, s->name, current_fps(c, now));
    for (int i = 0; i < N_DROP_REASONS; i++) {
        char labels[TS_NAME_MAX + 32];
        snprintf(labels, sizeof labels, "%s,%s", s->name, drop_names[i]);
        ts_metrics_set(m, TS_METRIC_frames_dropped_total, labels, (double)c->dropped[i]);
    }
}

void stream_forget_metrics(const ts_stream *s)
{
    static const ts_metric by_stream[] = {
        TS_METRIC_frames_produced_total, TS_METRIC_frames_rendered_total,
        TS_METRIC_frames_encoded_total,  TS_METRIC_ws_frames_sent_total,
        TS_METRIC_ws_bytes_sent_total,   TS_METRIC_ws_frames_dropped_total,
        TS_METRIC_stream_subscribers,    TS_METRIC_stream_fps};
    ts_metrics *m = s->hub->app->metrics;
    if (!m)
        return;
    for (size_t i = 0; i < sizeof by_stream / sizeof *by_stream; i++)
        ts_metrics_forget(m, by_stream[i], s->name);
    for (int i = 0; i < N_DROP_REASONS; i++) {
        char labels[TS_NAME_MAX + 32];
        snprintf(labels, sizeof labels, "%s,%s", s->name, drop_names[i]);
        ts_metrics_forget(m, TS_METRIC_frames_dropped_total, labels);
    }
}

static void collect_ws(const ts_ws *ws, ts_metrics *m)
{
    static const char *const codes[] = {"1000", "1001", "1002", "1007",
                                        "1008", "1009", "1011", "other"};
    ts_ws_stats stats;
    ts_ws_get_stats(ws, &stats);
    for (int i = 0; i < 8; i++)
        ts_metrics_set(m, TS_METRIC_ws_closed_total, codes[i], (double)stats.closed[i]);
    ts_metrics_set(m, TS_METRIC_ws_messages_total, "in", (double)stats.messages_in);
    ts_metrics_set(m, TS_METRIC_ws_messages_total, "out", (double)stats.messages_out);
    ts_metrics_set(m, TS_METRIC_ws_bytes_total, "in", (double)stats.bytes_in);
    ts_metrics_set(m, TS_METRIC_ws_bytes_total, "out", (double)stats.bytes_out);
}

void ts_hub_collect(ts_hub *hub)
{
    ts_metrics *m = hub->app->metrics;
    int64_t now = ts_now_us();
    pthread_mutex_lock(&hub->hub_lock);
    for (const ts_stream *s = hub->streams; s; s = s->next)
        collect_stream_locked(s, m, now);
    ts_metrics_set(m, TS_METRIC_streams, "", (double)hub->n_streams);
    pthread_mutex_unlock(&hub->hub_lock);
    ts_metrics_set(m, TS_METRIC_encode_queue, "", (double)ts_encode_depth(hub->encoders));
    if (hub->app->ws)
        collect_ws(hub->app->ws, m);
}
