/* The source's thread: open, read, reconnect, and stamp pictures on the output's clock. */
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/clock.h"
#include "cl/base/log.h"
#include "server/media/pipeline_internal.h"

enum {
    FILE_QUEUE = 8,
    STABLE_RUN_US = 10000000,
    JUMP_NS_LIMIT_S = 5
};

/* One thread's view of the source section, read once per run. */
typedef struct reader {
    ts_pipeline *p;
    json_t *document;
    const json_t *config;
    ts_source *source;
    char url[PATH_MAX];
    bool live, loop;
    double end_s;
    int attempt;
    int64_t lost_us;  /* when the source went away; 0: it is here */
    int64_t first_ns; /* of the present connection; INT64_MIN: none yet */
    int64_t offset_ns;
    int64_t frame_ns;
    int64_t paced_from_us, paced_from_ns;
    uint32_t seed;
    int width, height;
} reader;

static double num(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static bool cancelled(void *arg)
{
    return atomic_load(&((ts_pipeline *)arg)->stopping);
}

void ts_pipeline_work_free(void *arg)
{
    pipeline_work *work = arg;
    ts_picture_release(&work->picture);
    free(work);
}

/* ---- clock of the output ---- */

/* The stamp after the last: what a picture without a sane time of its own gets. */
static int64_t next_ns(const reader *r)
{
    return r->p->last_out_ns == INT64_MIN ? 0 : r->p->last_out_ns + r->frame_ns;
}

static int64_t stamp(reader *r, int64_t pts_ns)
{
    const int64_t jump = (int64_t)JUMP_NS_LIMIT_S * 1000000000;
    int64_t next = next_ns(r);
    if (pts_ns == INT64_MIN)
        return next;
    if (r->first_ns == INT64_MIN) {
        r->first_ns = pts_ns;
        r->offset_ns = next - pts_ns;
    }
    int64_t out = pts_ns + r->offset_ns, last = r->p->last_out_ns;
    if (last != INT64_MIN && (out <= last || out - last > jump)) {
        r->offset_ns += next - out; /* a discontinuity: go on by one frame */
        out = next;
    }
    return out;
}

/* ---- handing over ---- */

static void count_drop(void *arg)
{
    ts_pipeline_work_free(arg);
}

static bool send(reader *r, pipeline_work *work)
{
    if (r->live && ts_chan_depth(r->p->work) > 0)
        atomic_fetch_add(&r->p->dropped, 1);
    if (ts_chan_send(r->p->work, work))
        return true;
    ts_pipeline_work_free(work);
    return false;
}

/* Repeat the last picture with NO SIGNAL, once a second, so that live sinks stay open. */
static void send_hold(reader *r)
{
    const char *hold = json_string_value(json_object_get(r->config, "hold"));
    pipeline_work *work;
    if (!r->p->work || strcmp(hold, "repeat") != 0 || !(work = calloc(1, sizeof *work)))
        return;
    work->hold = true;
    work->out_ns = r->p->last_out_ns == INT64_MIN ? 0 : r->p->last_out_ns + 1000000000;
    r->p->last_out_ns = work->out_ns;
    send(r, work);
}

static ts_status start_device(reader *r, ts_error *err)
{
    ts_pipeline *p = r->p;
    ts_status st =
        ts_chan_create(r->live ? 1 : FILE_QUEUE, r->live ? TS_CHAN_DROP_OLDEST : TS_CHAN_BLOCK,
                       count_drop, &p->work, err);
    if (st == TS_OK)
        st = ts_thread_start("ts-pipe", ts_pipeline_device_main, p, &p->device_thread, err);
    return st;
}

/* ---- opening and waiting ---- */

static ts_status open_source(reader *r, ts_error *err)
{
    ts_pipeline *p = r->p;
    ts_source_options o = {
        .url = r->url,
        .transport = json_string_value(json_object_get(r->config, "transport")),
        .allow_file = p->host.local_files || !strstr(r->url, "://"),
        .low_delay = ts_source_url_is_live(r->url),
        .open_timeout_us = (int64_t)num(r->config, "open_timeout_ms") * 1000,
        .stall_us = (int64_t)num(r->config, "stall_ms") * 1000,
        .start_s = num(r->config, "start_s"),
        .options = json_object_get(r->config, "options"),
        .cancelled = cancelled,
        .cancel_arg = p,
    };
    ts_status st = ts_source_open(&o, &r->source, err);
    if (st != TS_OK)
        return st;
    const ts_source_info *info = ts_source_get_info(r->source);
    const json_t *live = json_object_get(r->config, "live");
    r->live = json_is_boolean(live) ? json_is_true(live) : info->live;
    r->frame_ns = (int64_t)(1e9 / info->fps);
    r->first_ns = INT64_MIN;
    r->paced_from_us = 0;
    pthread_mutex_lock(&p->lock);
    p->info = *info;
    p->live = r->live;
    pthread_mutex_unlock(&p->lock);
    return p->work ? TS_OK : start_device(r, err);
}

/* Wait before the next attempt; false: stopped, or the attempts are used up. */
static bool back_off(reader *r, const char *reason, const ts_error *err)
{
    ts_pipeline *p = r->p;
    double max_attempts = num(r->config, "max_attempts");
    ts_pipeline_set_state(p, STATE_RECONNECTING, reason, err->text);
    if (!r->lost_us)
        r->lost_us = ts_now_us();
    if (max_attempts > 0 && r->attempt >= max_attempts) {
        ts_pipeline_fail(p, "attempts", err);
        return false;
    }
    double ms =
        num(r->config, "backoff_initial_ms") * pow(2, r->attempt > 15 ? r->attempt - 15 : 0);
    bool refused = err->status == TS_E_NOT_FOUND || err->status == TS_E_FORBIDDEN ||
                   err->status == TS_E_ENCODING;
    if (refused)
        ms = fmax(ms, 10000);
    r->seed = r->seed * 1664525u + 1013904223u;
    ms = fmin(ms, num(r->config, "backoff_max_ms")) *
         (0.8 + 0.4 * (double)(r->seed >> 8) / 16777216.0);
    r->attempt++;
    atomic_fetch_add(&p->reconnects, 1);
    int64_t until = ts_now_us() + (int64_t)(ms * 1000), next_hold = ts_now_us() + 1000000;
    while (!cancelled(p)) {
        int64_t now = ts_now_us();
        if (now >= until)
            return true;
        if (now >= next_hold) {
            send_hold(r);
            next_hold += 1000000;
        }
        ts_sleep_us(until - now < 20000 ? until - now : 20000);
    }
    return false;
}

/* ---- reading ---- */

static void pace(reader *r, int64_t out_ns)
{
    const char *word = json_string_value(json_object_get(r->config, "pace"));
    if (r->live || strcmp(word, "source") != 0)
        return;
    if (!r->paced_from_us) {
        r->paced_from_us = ts_now_us();
        r->paced_from_ns = out_ns;
    }
    int64_t due = r->paced_from_us + (out_ns - r->paced_from_ns) / 1000;
    while (!cancelled(r->p) && ts_now_us() < due) {
        int64_t left = due - ts_now_us();
        ts_sleep_us(left < 50000 ? left : 50000);
    }
}

static bool deliver(reader *r, ts_picture *picture, double decode_ms)
{
    ts_pipeline *p = r->p;
    pipeline_work *work = calloc(1, sizeof *work);
    if (!work) {
        ts_picture_release(picture);
        return true; /* one picture lost; the next may fit */
    }
    bool resized = r->width && (picture->width != r->width || picture->height != r->height);
    double away_ms = r->lost_us ? (double)(ts_now_us() - r->lost_us) / 1000 : 0;
    work->picture = *picture;
    work->decode_ms = decode_ms;
    work->out_ns = p->last_out_ns = stamp(r, picture->pts_ns);
    work->reset = resized || away_ms > num(r->config, "keep_state_ms");
    r->width = picture->width;
    r->height = picture->height;
    r->lost_us = 0;
    atomic_fetch_add(&p->decoded, 1);
    atomic_store(&p->last_frame_us, ts_now_us());
    pace(r, work->out_ns);
    return send(r, work);
}

/* Read until the input ends or breaks. True: it ended for good. */
static bool read_all(reader *r, const char **reason, ts_error *err)
{
    ts_pipeline *p = r->p;
    int64_t delay_us =
        (int64_t)(num(json_object_get(json_object_get(r->document, "debug"), "delay_ms"),
                      "decode") *
                  1000);
    while (!cancelled(p)) {
        ts_picture picture = {0};
        bool end;
        int64_t start = ts_now_us();
        ts_status st = ts_source_read(r->source, &picture, &end, err);
        if (st != TS_OK) {
            *reason = st == TS_E_SLOW ? "stall" : "error";
            return false;
        }
        if (end && r->live) {
            ts_fail(err, TS_E_NOT_READY, "the source ended");
            *reason = "eof";
            return false;
        }
        if (end && !r->loop)
            return true;
        if (end) {
            r->first_ns = INT64_MIN;
            if (ts_source_rewind(r->source, err) != TS_OK)
                return false;
            continue;
        }
        if (delay_us)
            ts_sleep_us(delay_us);
        ts_pipeline_set_state(p, STATE_RUNNING, "frames", "");
        if (ts_now_us() - p->running_since_us > STABLE_RUN_US)
            r->attempt = 0;
        if (!deliver(r, &picture, (double)(ts_now_us() - start) / 1000))
            return true;
        if (r->end_s > 0 && (double)p->last_out_ns * 1e-9 >= r->end_s)
            return true;
    }
    return true;
}

static void resolve_url(reader *r)
{
    const char *url = json_string_value(json_object_get(r->config, "url"));
    const char *dir = r->p->host.media_dir;
    bool relative = dir && *url != '/' && !strstr(url, "://");
    snprintf(r->url, sizeof r->url, "%s%s%s", relative ? dir : "", relative ? "/" : "", url);
}

void ts_pipeline_source_main(ts_pipeline *p)
{
    reader r = {.p = p, .document = ts_pipeline_document(p), .seed = (uint32_t)ts_now_us() | 1};
    r.config = json_object_get(r.document, "source");
    r.loop = json_is_true(json_object_get(r.config, "loop"));
    double start_s = num(r.config, "start_s"), end_s = num(r.config, "end_s");
    r.end_s = end_s > start_s ? end_s - start_s : 0;
    r.live = ts_source_url_is_live(json_string_value(json_object_get(r.config, "url")));
    resolve_url(&r);
    bool done = false;
    while (!done && !cancelled(p)) {
        ts_error err = {0};
        const char *reason = "open";
        ts_pipeline_set_state(p, STATE_OPENING, "open", "");
        bool open = open_source(&r, &err) == TS_OK;
        done = open && read_all(&r, &reason, &err);
        ts_source_close(r.source);
        r.source = NULL;
        if (!done && !strcmp(reason, "stall"))
            atomic_fetch_add(&p->stalls, 1);
        if (!done && !cancelled(p)) {
            if (r.live)
                done = !back_off(&r, reason, &err);
            else
                ts_pipeline_fail(p, reason, &err);
        }
        ts_error_clear(&err);
    }
    json_decref(r.document);
}
