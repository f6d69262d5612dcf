#include "server/media/pipeline.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cl/base/chan.h"
#include "cl/base/clock.h"
#include "cl/base/log.h"
#include "cl/base/thread.h"
#include "server/media/pipeline_internal.h"

static const char *const STATES[] = {"CREATED",      "OPENING",  "RUNNING", "DEGRADED",
                                     "RECONNECTING", "DRAINING", "STOPPED", "FAILED"};

static double num(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

/* ---- state and events ---- */

void ts_pipeline_set_state(ts_pipeline *p, pipeline_state to, const char *reason,
                           const char *detail)
{
    pthread_mutex_lock(&p->lock);
    pipeline_state from = p->state;
    if (to == STATE_RUNNING && p->bad_sinks > 0)
        to = STATE_DEGRADED; /* frames flow, but a sink is down */
    bool terminal = from == STATE_STOPPED || from == STATE_FAILED;
    if (from == to || (terminal && to != STATE_CREATED)) {
        pthread_mutex_unlock(&p->lock);
        return;
    }
    p->state = to;
    if (to == STATE_RUNNING || to == STATE_DEGRADED)
        p->running_since_us = ts_now_us();
    json_t *event = json_pack("{s:f, s:s, s:s, s:s, s:s}", "t", ts_wall_seconds(), "from",
                              STATES[from], "to", STATES[to], "reason", reason, "detail", detail);
    if (event) {
        if (json_array_size(p->events) == MAX_EVENTS)
            json_array_remove(p->events, 0);
        json_array_append_new(p->events, event);
    }
    pthread_mutex_unlock(&p->lock);
    ts_log(TS_LOG_INFO, "media", "pipeline=%s state=%s reason=%s %s", p->name, STATES[to], reason,
           detail);
    if (p->host.event)
        p->host.event(p->host.arg, p, STATES[from], STATES[to], reason, detail);
}

void ts_pipeline_fail(ts_pipeline *p, const char *reason, const ts_error *err)
{
    pthread_mutex_lock(&p->lock);
    if (p->error.status == TS_OK) {
        p->error = *err;
        p->error.detail = NULL;
    }
    pthread_mutex_unlock(&p->lock);
    atomic_store(&p->stopping, true);
    ts_pipeline_set_state(p, STATE_FAILED, reason, err->text);
}

json_t *ts_pipeline_document(ts_pipeline *p)
{
    pthread_mutex_lock(&p->lock);
    json_t *document = json_incref(p->document);
    pthread_mutex_unlock(&p->lock);
    return document;
}

const char *ts_pipeline_state(ts_pipeline *p)
{
    pthread_mutex_lock(&p->lock);
    pipeline_state state = p->state;
    pthread_mutex_unlock(&p->lock);
    return STATES[state];
}

ts_error ts_pipeline_error(ts_pipeline *p)
{
    pthread_mutex_lock(&p->lock);
    ts_error error = p->error;
    pthread_mutex_unlock(&p->lock);
    return error;
}

/* ---- life ---- */

ts_status ts_pipeline_create(const char *name, json_t *document, const ts_pipeline_host *host,
                             ts_pipeline **out, ts_error *err)
{
    ts_pipeline *p = calloc(1, sizeof *p);
    if (!p)
        return ts_fail(err, TS_E_NO_MEMORY, "pipeline %s", name);
    snprintf(p->name, sizeof p->name, "%s", name);
    p->document = json_incref(document);
    p->host = *host;
    p->events = json_array();
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->ended_cond, &attr);
    pthread_condattr_destroy(&attr);
    p->ended = true;
    ts_status st = ts_stages_create(&p->stages, err);
    if (st == TS_OK)
        st = ts_pixel_pool_create(&p->pool, err);
    if (st != TS_OK) {
        ts_pipeline_destroy(p);
        return st;
    }
    *out = p;
    return TS_OK;
}

void ts_pipeline_destroy(ts_pipeline *p)
{
    if (!p)
        return;
    ts_pipeline_stop(p);
    ts_chan_destroy(p->work);
    ts_detector_close(p->detector);
    ts_stages_destroy(p->stages);
    ts_pixel_pool_destroy(p->pool);
    json_decref(p->document);
    json_decref(p->events);
    json_decref(p->final_sinks);
    free(p->row);
    pthread_cond_destroy(&p->ended_cond);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

static void run(void *arg)
{
    ts_pipeline *p = arg;
    ts_pipeline_source_main(p);
    if (p->work) {
        ts_chan_close(p->work);
        ts_pipeline_set_state(p, STATE_DRAINING, "end", "");
        ts_thread_join(p->device_thread);
        p->device_thread = NULL;
    }
    ts_pipeline_set_state(p, STATE_STOPPED, "done", "");
    pthread_mutex_lock(&p->lock);
    p->ended = true;
    pthread_cond_broadcast(&p->ended_cond);
    pthread_mutex_unlock(&p->lock);
}

/* Everything of a former run is forgotten but the trackers' ids and the event list. */
static void reset_run(ts_pipeline *p)
{
    ts_thread_join(p->thread);
    p->thread = NULL;
    ts_chan_destroy(p->work);
    p->work = NULL;
    ts_detector_close(p->detector);
    p->detector = NULL;
    p->error = (ts_error){0};
    p->last_out_ns = INT64_MIN;
    atomic_store(&p->stopping, false);
    atomic_store(&p->want_reset, false);
    atomic_store(&p->last_frame_us, ts_now_us());
}

ts_status ts_pipeline_start(ts_pipeline *p, ts_error *err)
{
    pthread_mutex_lock(&p->lock);
    bool busy = !p->ended;
    if (!busy)
        p->ended = false;
    pthread_mutex_unlock(&p->lock);
    if (busy)
        return ts_fail(err, TS_E_BUSY, "pipeline %s is running already", p->name);
    reset_run(p);
    pthread_mutex_lock(&p->lock);
    p->state = STATE_CREATED;
    pthread_mutex_unlock(&p->lock);
    ts_status st = ts_detector_open(p->document, p->host.device, p->host.media_dir,
                                    p->host.open_model, p->host.arg, &p->detector, err);
    if (st == TS_OK)
        st = ts_thread_start("ts-src", run, p, &p->thread, err);
    if (st != TS_OK) {
        ts_pipeline_set_state(p, STATE_FAILED, "start", err ? err->text : "");
        pthread_mutex_lock(&p->lock);
        p->ended = true;
        pthread_mutex_unlock(&p->lock);
    }
    return st;
}

static bool wait_ended(ts_pipeline *p, double seconds)
{
    int64_t until = ts_now_us() + (int64_t)(seconds * 1e6);
    struct timespec deadline = {.tv_sec = until / 1000000, .tv_nsec = until % 1000000 * 1000};
    pthread_mutex_lock(&p->lock);
    int rc = 0;
    while (!p->ended && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&p->ended_cond, &p->lock, &deadline);
    bool ended = p->ended;
    pthread_mutex_unlock(&p->lock);
    return ended;
}

void ts_pipeline_stop(ts_pipeline *p)
{
    atomic_store(&p->stopping, true);
    if (!wait_ended(p, num(p->document, "stop_timeout_s"))) {
        pthread_mutex_lock(&p->lock);
        if (p->outputs)
            ts_outputs_abort(p->outputs);
        pthread_mutex_unlock(&p->lock);
        wait_ended(p, 1e6);
    }
    ts_thread_join(p->thread);
    p->thread = NULL;
}

void ts_pipeline_wait(ts_pipeline *p)
{
    while (!wait_ended(p, 3600))
        ;
}

void ts_pipeline_set_document(ts_pipeline *p, json_t *document)
{
    pthread_mutex_lock(&p->lock);
    json_decref(p->document);
    p->document = json_incref(document);
    p->document_rev++;
    pthread_mutex_unlock(&p->lock);
}

void ts_pipeline_reset_tracker(ts_pipeline *p)
{
    atomic_store(&p->want_reset, true);
}

void ts_pipeline_keyframe(ts_pipeline *p)
{
    pthread_mutex_lock(&p->lock);
    if (p->outputs)
        ts_outputs_keyframe(p->outputs);
    pthread_mutex_unlock(&p->lock);
}

/* ---- read-out ---- */

bool ts_pipeline_healthy(ts_pipeline *p)
{
    json_t *document = ts_pipeline_document(p);
    double stall = num(json_object_get(document, "source"), "stall_ms");
    json_decref(document);
    pthread_mutex_lock(&p->lock);
    bool running = !p->ended && p->state != STATE_FAILED;
    pthread_mutex_unlock(&p->lock);
    double age_ms = (double)(ts_now_us() - atomic_load(&p->last_frame_us)) / 1000;
    return running && age_ms < fmax(2 * stall, 5000);
}

json_t *ts_pipeline_tracks(ts_pipeline *p)
{
    pthread_mutex_lock(&p->lock);
    json_t *row = p->row ? json_loads(p->row, 0, NULL) : NULL;
    pthread_mutex_unlock(&p->lock);
    return row;
}

static json_t *ball_json(const ts_ball_state *s)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:b, s:b, s:f}", "updates",
                     (json_int_t)s->total_updates, "predictions", (json_int_t)s->predictions_used,
                     "outliers_rejected", (json_int_t)s->outliers_rejected, "erratic",
                     (json_int_t)s->erratic_detections, "jump_rejections",
                     (json_int_t)s->jump_rejections, "chaos", s->chaos, "jitter", s->jitter,
                     "confidence", s->avg_confidence);
}

/* The sinks of a pipeline that was never started. */
static json_t *idle_sinks(const json_t *document)
{
    json_t *list = json_array(), *sink;
    size_t i;
    json_array_foreach(json_object_get(document, "sinks"), i, sink)
    {
        json_array_append_new(list,
                              json_pack("{s:O, s:s, s:i}", "kind", json_object_get(sink, "kind"),
                                        "state", "IDLE", "packets", 0));
    }
    return list;
}

json_t *ts_pipeline_json(ts_pipeline *p)
{
    json_t *document = ts_pipeline_document(p);
    json_t *out = json_pack(
        "{s:s, s:s, s:f, s:I, s:I, s:{s:I, s:I}, s:I, s:I, s:I, s:I, s:I, s:f}", "name", p->name,
        "state", ts_pipeline_state(p), "fps", ts_stages_fps(p->stages), "frames_decoded",
        (json_int_t)atomic_load(&p->decoded), "frames_processed",
        (json_int_t)atomic_load(&p->processed), "frames_dropped", "mailbox",
        (json_int_t)atomic_load(&p->dropped), "decoder", (json_int_t)0, "reconnects",
        (json_int_t)atomic_load(&p->reconnects), "stalls", (json_int_t)atomic_load(&p->stalls),
        "frame_alloc_total", (json_int_t)ts_pixel_pool_allocated(p->pool), "copies_h2d_bytes",
        (json_int_t)atomic_load(&p->h2d_bytes), "copies_d2h_bytes",
        (json_int_t)atomic_load(&p->d2h_bytes), "zoom", atomic_load(&p->zoom));
    json_object_set_new(out, "timings_ms", ts_stages_json(p->stages));
    json_object_set_new(out, "document", ts_pipeline_doc_masked(document));
    pthread_mutex_lock(&p->lock);
    json_object_set_new(out, "path",
                        json_pack("{s:s, s:s, s:s}", "decode", "cpu", "convert", "device", "detect",
                                  json_string_value(json_object_get(
                                      json_object_get(document, "detector"), "kind"))));
    json_object_set_new(out, "source",
                        json_pack("{s:i, s:i, s:f, s:s, s:b}", "width", p->info.width, "height",
                                  p->info.height, "fps", p->info.fps, "codec", p->info.codec,
                                  "live", p->live));
    if (p->outputs)
        json_object_set_new(out, "sinks", ts_outputs_json(p->outputs));
    else
        json_object_set_new(out, "sinks",
                            p->final_sinks ? json_incref(p->final_sinks) : idle_sinks(document));
    json_object_set_new(out, "ball", ball_json(&p->ball));
    json_object_set_new(out, "tracks_created", json_integer(p->tracks_created));
    json_object_set_new(out, "events", json_deep_copy(p->events));
    if (p->error.status != TS_OK)
        json_object_set_new(out, "error",
                            json_pack("{s:s, s:s}", "code", ts_status_code(p->error.status),
                                      "detail", p->error.text));
    pthread_mutex_unlock(&p->lock);
    json_decref(document);
    return out;
}
