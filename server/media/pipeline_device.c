/* The device's thread: everything between a decoded picture and the encoders. */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/clock.h"
#include "cl/base/log.h"
#include "server/media/overlay.h"
#include "server/media/pipeline_internal.h"

/* What the thread owns. Buffers are made at the first picture and on a change of size only. */
typedef struct engine {
    ts_pipeline *p;
    json_t *document;
    int document_rev;
    ts_queue *queue;
    bool cpu;
    ts_pilot *pilot;
    ts_overlay *overlay;
    ts_resampler *resampler, *view_resampler;
    ts_buffer *font, *planes, *frame, *out, *view, *i420, *draws;
    int width, height;           /* of the source */
    int out_width, out_height;   /* of the sinks */
    int view_width, view_height; /* of the whole-frame view */
    size_t draws_room;
    ts_detection detections[TS_DETECT_MAX];
    size_t n_detections;
    int64_t index, last_ns;
    int detect_every;
    bool auto_every, have_frame;
    double period_ms, confidence;
    int64_t out_ns;
    int64_t captured_us;
    ts_pilot_result result;
    FILE *tracking;
    bool tracking_mot;
    int64_t tracking_rows, tracked, detected;
    int log_every, delay_ms, detect_delay_ms;
} engine;

static double num(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

/* ---- clocks of stages ---- */

/*
 * On a CPU device the queue is finished after each stage, which costs microseconds and makes the
 * times true; on others the one wait is the read at the end.
 */
static int64_t stage_end(engine *e, ts_stage stage, int64_t start_us)
{
    ts_error err = {0};
    if (e->cpu && ts_queue_finish(e->queue, &err) != TS_OK)
        ts_error_clear(&err);
    int64_t now = ts_now_us();
    ts_stages_add(e->p->stages, stage, (double)(now - start_us) / 1000);
    return now;
}

/* ---- set-up ---- */

static void sink_event(void *arg, size_t sink, const char *from, const char *to, const char *detail)
{
    ts_pipeline *p = arg;
    bool was_bad = !strcmp(from, "RECONNECTING") || !strcmp(from, "FAILED");
    bool is_bad = !strcmp(to, "RECONNECTING") || !strcmp(to, "FAILED");
    if (was_bad == is_bad || !strcmp(to, "OPENING"))
        return;
    pthread_mutex_lock(&p->lock);
    p->bad_sinks += is_bad ? 1 : -1;
    if (p->bad_sinks < 0)
        p->bad_sinks = 0;
    bool running = p->state == STATE_RUNNING || p->state == STATE_DEGRADED;
    bool bad = p->bad_sinks > 0;
    pthread_mutex_unlock(&p->lock);
    char text[300];
    snprintf(text, sizeof text, "sink %zu %s %s", sink, to, detail);
    if (running)
        ts_pipeline_set_state(p, bad ? STATE_DEGRADED : STATE_RUNNING, "sink", text);
}

static ts_status open_outputs(engine *e, ts_error *err)
{
    ts_pipeline *p = e->p;
    const json_t *source = json_object_get(e->document, "source");
    ts_outputs_options o = {.sinks = json_object_get(e->document, "sinks"),
                            .width = e->out_width,
                            .height = e->out_height,
                            .fps = p->info.fps,
                            .directory = p->host.outputs_dir,
                            .backoff_initial_ms = (int64_t)num(source, "backoff_initial_ms"),
                            .backoff_max_ms = (int64_t)num(source, "backoff_max_ms"),
                            .event = sink_event,
                            .event_arg = p};
    o.encode_delay_ms =
        (int)num(json_object_get(json_object_get(e->document, "debug"), "delay_ms"), "encode");
    ts_outputs *outputs;
    ts_status st = ts_outputs_open(&o, &outputs, err);
    if (st == TS_OK) {
        pthread_mutex_lock(&p->lock);
        p->outputs = outputs;
        pthread_mutex_unlock(&p->lock);
    }
    return st;
}

static ts_status open_tracking(engine *e, ts_error *err)
{
    const char *path = json_string_value(json_object_get(e->document, "tracking_path"));
    const char *dir = e->p->host.outputs_dir;
    char full[PATH_MAX];
    if (!path)
        return TS_OK;
    bool relative = dir && *path != '/';
    snprintf(full, sizeof full, "%s%s%s", relative ? dir : "", relative ? "/" : "", path);
    e->tracking_mot =
        !strcmp(json_string_value(json_object_get(e->document, "tracking_format")), "mot");
    e->tracking = fopen(full, "w");
    if (!e->tracking)
        return ts_fail(err, TS_E_INTERNAL, "tracking_path: cannot write %s", full);
    if (!e->tracking_mot)
        fputs("{\"tracking_data\":[", e->tracking);
    return TS_OK;
}

static void read_document(engine *e)
{
    const json_t *detector = json_object_get(e->document, "detector");
    const json_t *every =
        json_object_get(json_object_get(e->document, "processing"), "detect_every");
    const json_t *delay = json_object_get(json_object_get(e->document, "debug"), "delay_ms");
    e->confidence = num(detector, "confidence");
    e->auto_every = json_is_string(every);
    e->detect_every = e->auto_every ? 1 : (int)json_number_value(every);
    e->log_every = (int)num(e->document, "log_every");
    e->delay_ms = (int)num(delay, "device");
    e->detect_delay_ms = (int)num(delay, "detect");
}

static ts_status engine_open(engine *e, ts_error *err)
{
    ts_pipeline *p = e->p;
    const json_t *output = json_object_get(e->document, "output");
    e->out_width = (int)num(output, "width");
    e->out_height = (int)num(output, "height");
    e->cpu = ts_device_caps(p->host.device)->kind == TS_DEVICE_CPU;
    e->period_ms = 1000 / p->info.fps;
    e->last_ns = INT64_MIN;
    size_t out_pixels = (size_t)e->out_width * e->out_height;
    read_document(e);
    ts_status st = ts_queue_create(p->host.device, p->name, &e->queue, err);
    if (st == TS_OK)
        st = ts_overlay_create(&e->overlay, err);
    if (st == TS_OK)
        st = ts_resampler_create(p->host.device, &e->resampler, err);
    if (st == TS_OK)
        st = ts_resampler_create(p->host.device, &e->view_resampler, err);
    if (st == TS_OK)
        st = ts_draw_font(e->queue, &e->font, err);
    if (st == TS_OK)
        st = ts_buffer_create(p->host.device, out_pixels * 4, &e->out, err);
    if (st == TS_OK)
        st = open_tracking(e, err);
    return st == TS_OK ? open_outputs(e, err) : st;
}

static ts_status resize(engine *e, const ts_picture *picture, ts_error *err)
{
    ts_device *device = e->p->host.device;
    int w = picture->width, h = picture->height;
    if (w == e->width && h == e->height)
        return TS_OK;
    ts_buffer **all[] = {&e->planes, &e->frame, &e->view, &e->i420};
    for (size_t i = 0; i < 4; i++) {
        ts_buffer_unref(*all[i]);
        *all[i] = NULL;
    }
    double k = fmin(1, fmin((double)e->out_width / w, (double)e->out_height / h));
    e->view_width = (int)(w * k) & ~1;
    e->view_height = (int)(h * k) & ~1;
    e->view_width = e->view_width < 2 ? 2 : e->view_width;
    e->view_height = e->view_height < 2 ? 2 : e->view_height;
    size_t plane_bytes =
        picture->plane_bytes[0] + picture->plane_bytes[1] + picture->plane_bytes[2];
    size_t view_pixels = (size_t)e->view_width * e->view_height;
    size_t out_pixels = (size_t)e->out_width * e->out_height;
    ts_status st = ts_buffer_create(device, plane_bytes, &e->planes, err);
    if (st == TS_OK)
        st = ts_buffer_create(device, (size_t)w * h * 4, &e->frame, err);
    if (st == TS_OK)
        st = ts_buffer_create(device, view_pixels * 4, &e->view, err);
    if (st == TS_OK)
        st = ts_buffer_create(device, (view_pixels > out_pixels ? view_pixels : out_pixels) * 3 / 2,
                              &e->i420, err);
    if (st == TS_OK && e->pilot)
        ts_pilot_reset(e->pilot, w, h);
    if (st == TS_OK && !e->pilot)
        st = ts_pilot_create(e->document, w, h, e->p->info.fps, &e->pilot, err);
    if (st == TS_OK) {
        e->width = w;
        e->height = h;
    }
    return st;
}

/* ---- the frame ---- */

static ts_status upload(engine *e, const ts_picture *picture, ts_error *err)
{
    int64_t start = ts_now_us();
    ts_yuv yuv = picture->layout;
    ts_status st = TS_OK;
    size_t at = 0;
    yuv.buffer = e->planes;
    for (int i = 0; i < 3 && st == TS_OK && picture->plane[i]; i++) {
        yuv.offset[i] = at;
        st = ts_buffer_write(e->queue, e->planes, at, picture->plane[i], picture->plane_bytes[i],
                             err);
        at += picture->plane_bytes[i];
    }
    if (!picture->plane[2]) /* semi-planar: V follows each U */
        yuv.offset[2] = yuv.offset[1] + (yuv.bits > 8 ? 2 : 1);
    atomic_fetch_add(&e->p->h2d_bytes, (long long)at);
    start = stage_end(e, TS_STAGE_UPLOAD, start);
    if (st == TS_OK)
        st = ts_op_yuv_to_rgba(e->queue, &yuv, e->frame, err);
    stage_end(e, TS_STAGE_CONVERT, start);
    return st;
}

static ts_status detect(engine *e, bool *ran, ts_error *err)
{
    *ran = e->index % e->detect_every == 0;
    if (!*ran)
        return TS_OK;
    int64_t start = ts_now_us();
    ts_crop roi;
    bool has_roi = ts_pilot_roi(e->pilot, &roi);
    ts_detect_frame frame = {e->frame, e->width, e->height, e->index, has_roi ? &roi : NULL};
    ts_status st = ts_detector_run(e->p->detector, e->queue, &frame, e->confidence, e->detections,
                                   &e->n_detections, err);
    if (e->detect_delay_ms)
        ts_sleep_us((int64_t)e->detect_delay_ms * 1000);
    stage_end(e, TS_STAGE_DETECT, start);
    if (e->auto_every) {
        double slow = ts_stages_mean(e->p->stages, TS_STAGE_DETECT) / e->period_ms;
        e->detect_every = slow <= 1 ? 1 : slow >= 4 ? 4 : (int)ceil(slow);
    }
    return st;
}

static ts_status track(engine *e, bool ran, ts_error *err)
{
    int64_t start = ts_now_us();
    double dt =
        e->last_ns == INT64_MIN ? e->period_ms / 1000 : (double)(e->out_ns - e->last_ns) * 1e-9;
    dt = fmin(fmax(dt, 0.001), 0.1);
    e->last_ns = e->out_ns;
    ts_status st = ts_pilot_update(e->pilot, e->detections, e->n_detections, ran,
                                   (double)e->out_ns * 1e-9, dt, &e->result, err);
    if (st == TS_OK && ran)
        ts_overlay_note(e->overlay, &e->result);
    ts_stages_add(e->p->stages, TS_STAGE_TRACK, (double)(ts_now_us() - start) / 1000);
    return st;
}

static ts_resample_filter filter_of(const engine *e)
{
    const char *word =
        json_string_value(json_object_get(json_object_get(e->document, "output"), "filter"));
    return !strcmp(word, "bilinear")  ? TS_RESAMPLE_BILINEAR
           : !strcmp(word, "bicubic") ? TS_RESAMPLE_BICUBIC
           : !strcmp(word, "area")    ? TS_RESAMPLE_ANTIALIAS
                                      : TS_RESAMPLE_AUTO;
}

static ts_status crop(engine *e, ts_error *err)
{
    const ts_crop *c = &e->result.chain.crop;
    ts_resample what = {.src_w = e->width,
                        .src_h = e->height,
                        .dst_w = e->out_width,
                        .dst_h = e->out_height,
                        .x1 = fmax(0, c->x1),
                        .y1 = fmax(0, c->y1),
                        .x2 = fmin(e->width, c->x2),
                        .y2 = fmin(e->height, c->y2),
                        .filter = filter_of(e)};
    what.clamp_to_crop = c->x1 == floor(c->x1) && c->x2 == floor(c->x2) && c->y1 == floor(c->y1) &&
                         c->y2 == floor(c->y2);
    int64_t start = ts_now_us();
    ts_status st = ts_op_resample(e->resampler, e->queue, &what, e->frame, e->out, err);
    stage_end(e, TS_STAGE_CROP, start);
    return st;
}

static ts_hud hud_of(engine *e, bool signal)
{
    ts_stages *s = e->p->stages;
    return (ts_hud){.fps = ts_stages_fps(s),
                    .decode_ms = ts_stages_mean(s, TS_STAGE_DECODE),
                    .inference_ms = ts_stages_mean(s, TS_STAGE_DETECT),
                    .tracking_ms = ts_stages_mean(s, TS_STAGE_TRACK),
                    .camera_ms = ts_stages_mean(s, TS_STAGE_CROP),
                    .encode_ms = ts_stages_mean(s, TS_STAGE_ENCODE),
                    .gpu = !e->cpu,
                    .signal = signal};
}

/* Draw the list onto an RGBA picture of w x h. */
static ts_status draw(engine *e, ts_buffer *rgba, const ts_overlay_view *view,
                      const json_t *options, bool signal, ts_error *err)
{
    const ts_draw *list;
    size_t n;
    ts_hud hud = hud_of(e, signal);
    const json_t *zones = json_object_get(json_object_get(e->document, "select"), "zones");
    ts_status st =
        ts_overlay_build(e->overlay, options, zones, view, &e->result, &hud, &list, &n, err);
    if (st == TS_OK && n > e->draws_room) {
        ts_buffer_unref(e->draws);
        e->draws = NULL;
        e->draws_room = 2 * n;
        st = ts_buffer_create(e->p->host.device, e->draws_room * sizeof *list, &e->draws, err);
    }
    if (st == TS_OK && n)
        st = ts_buffer_write(e->queue, e->draws, 0, list, n * sizeof *list, err);
    if (st == TS_OK && n)
        st = ts_op_draw(e->queue, rgba, view->width, view->height, e->draws, (int)n, e->font, err);
    return st;
}

static ts_status download(engine *e, ts_buffer *rgba, int w, int h, ts_matrix matrix,
                          ts_pixels **out, ts_error *err)
{
    int64_t start = ts_now_us();
    size_t bytes = (size_t)w * h * 3 / 2;
    ts_pixels *pixels = NULL;
    ts_status st = ts_pixel_pool_take(e->p->pool, w, h, &pixels, err);
    if (st == TS_OK)
        st = ts_op_rgba_to_i420(e->queue, rgba, w, h, matrix, e->i420, err);
    if (st == TS_OK)
        st = ts_buffer_read(e->queue, e->i420, 0, (void *)pixels->plane[0], bytes, err);
    if (st != TS_OK) {
        ts_pixels_unref(pixels);
        return st;
    }
    atomic_fetch_add(&e->p->d2h_bytes, (long long)bytes);
    ts_stages_add(e->p->stages, TS_STAGE_DOWNLOAD, (double)(ts_now_us() - start) / 1000);
    *out = pixels;
    return TS_OK;
}

static bool watched(const engine *e, ts_pipeline_view view)
{
    const ts_pipeline_host *host = &e->p->host;
    return host->picture && (!host->watched || host->watched(host->arg, view));
}

static json_t *meta_of(engine *e)
{
    ts_buf row = {0};
    ts_pilot_row(&e->result, e->index, (double)e->out_ns * 1e-9, &row);
    json_t *meta = row.failed ? NULL : json_loadb((const char *)row.data, row.len, 0, NULL);
    ts_buf_finish(&row);
    return meta;
}

/* The whole frame, scaled to at most the output's size, with everything drawn on it. */
static ts_status show_overlay(engine *e, bool signal, const json_t *meta, ts_error *err)
{
    const json_t *options = json_object_get(e->document, "overlay");
    ts_resample what = {.src_w = e->width,
                        .src_h = e->height,
                        .dst_w = e->view_width,
                        .dst_h = e->view_height,
                        .x2 = e->width,
                        .y2 = e->height,
                        .filter = TS_RESAMPLE_AUTO};
    ts_overlay_view view = {.crop = {0, 0, e->width, e->height},
                            .src_w = e->width,
                            .src_h = e->height,
                            .width = e->view_width,
                            .height = e->view_height,
                            .show_crop = true};
    ts_pixels *pixels;
    ts_status st = ts_op_resample(e->view_resampler, e->queue, &what, e->frame, e->view, err);
    if (st == TS_OK)
        st = draw(e, e->view, &view, options, signal, err);
    if (st == TS_OK)
        st = download(e, e->view, e->view_width, e->view_height, TS_BT601, &pixels, err);
    if (st != TS_OK)
        return st;
    e->p->host.picture(e->p->host.arg, TS_PIPELINE_OVERLAY, pixels, (double)e->out_ns * 1e-9, meta);
    ts_pixels_unref(pixels);
    return TS_OK;
}

/* Give the present state of `out` to the encoders of that kind. */
static ts_status offer(engine *e, bool drawn, ts_error *err)
{
    ts_pixels *pixels;
    if (!ts_outputs_wants(e->p->outputs, drawn))
        return TS_OK;
    ts_status st = download(e, e->out, e->out_width, e->out_height, TS_BT709, &pixels, err);
    if (st == TS_OK) {
        ts_outputs_offer(e->p->outputs, pixels, drawn, e->out_ns);
        ts_pixels_unref(pixels);
    }
    return st;
}

static ts_status show_camera(engine *e, const json_t *meta, ts_error *err)
{
    ts_pixels *pixels;
    ts_status st = download(e, e->out, e->out_width, e->out_height, TS_BT601, &pixels, err);
    if (st == TS_OK) {
        e->p->host.picture(e->p->host.arg, TS_PIPELINE_CAMERA, pixels, (double)e->out_ns * 1e-9,
                           meta);
        ts_pixels_unref(pixels);
    }
    return st;
}

/* Crop, draw, hand out. Without `signal` the last frame is shown again. */
static ts_status emit(engine *e, bool signal, ts_error *err)
{
    const json_t *options = json_object_get(e->document, "overlay");
    bool drawing = json_is_true(json_object_get(options, "enable"));
    bool camera = watched(e, TS_PIPELINE_CAMERA), overlay = watched(e, TS_PIPELINE_OVERLAY);
    bool sinks = ts_outputs_wants(e->p->outputs, true) || ts_outputs_wants(e->p->outputs, false);
    json_t *meta = camera || overlay ? meta_of(e) : NULL;
    ts_status st = camera || sinks ? crop(e, err) : TS_OK;
    if (st == TS_OK && sinks)
        st = offer(e, false, err);
    if (st == TS_OK && (camera || sinks) && (drawing || !signal)) {
        int64_t start = ts_now_us();
        json_t *nothing = drawing ? NULL : json_object();
        ts_overlay_view view = {.crop = e->result.chain.crop,
                                .src_w = e->width,
                                .src_h = e->height,
                                .width = e->out_width,
                                .height = e->out_height};
        st = draw(e, e->out, &view, drawing ? options : nothing, signal, err);
        json_decref(nothing);
        stage_end(e, TS_STAGE_OVERLAY, start);
    }
    if (st == TS_OK && sinks)
        st = offer(e, true, err);
    if (st == TS_OK && camera)
        st = show_camera(e, meta, err);
    if (st == TS_OK && overlay)
        st = show_overlay(e, signal, meta, err);
    json_decref(meta);
    return st;
}

static void record(engine *e)
{
    ts_pipeline *p = e->p;
    const ts_pilot_result *r = &e->result;
    ts_buf row = {0};
    ts_pilot_row(r, e->index, (double)e->out_ns * 1e-9, &row);
    const char *text = ts_buf_cstr(&row);
    e->tracked += r->chain.track.present;
    e->detected += r->status == TS_BALL_DETECTED;
    if (e->tracking && e->tracking_mot)
        for (size_t i = 0; i < r->n_tracks; i++) {
            const ts_track *t = &r->tracks[i];
            fprintf(e->tracking, "%lld,%d,%.3f,%.3f,%.3f,%.3f,%.4f,%d,1\n", (long long)e->index + 1,
                    t->id, t->x1, t->y1, t->x2 - t->x1, t->y2 - t->y1, t->score, t->class_id);
        }
    else if (e->tracking)
        fprintf(e->tracking, "%s\n%s", e->tracking_rows++ ? "," : "", text);
    pthread_mutex_lock(&p->lock);
    free(p->row);
    p->row = strdup(text);
    p->ball = *ts_pilot_ball(e->pilot);
    p->tracks_created = ts_pilot_tracks_created(e->pilot);
    pthread_mutex_unlock(&p->lock);
    ts_buf_finish(&row);
    atomic_store(&p->zoom, r->chain.zoom);
}

static void log_progress(engine *e, const char *what)
{
    ts_stages *s = e->p->stages;
    const ts_ball_state *ball = e->pilot ? ts_pilot_ball(e->pilot) : NULL;
    ts_log(TS_LOG_INFO, "media",
           "pipeline=%s %s [%s] Frames: %lld | FPS: %.1f | Tracking: %lld | Predictions: %ld | "
           "decode %.1f upload %.1f convert %.1f detect %.1f track %.1f crop %.1f overlay %.1f "
           "download %.1f encode %.1f total %.1f ms | drops %lld reconnects %lld",
           e->p->name, what, e->cpu ? "CPU" : "GPU", (long long)e->index, ts_stages_fps(s),
           (long long)e->tracked, ball ? ball->predictions_used : 0L,
           ts_stages_mean(s, TS_STAGE_DECODE), ts_stages_mean(s, TS_STAGE_UPLOAD),
           ts_stages_mean(s, TS_STAGE_CONVERT), ts_stages_mean(s, TS_STAGE_DETECT),
           ts_stages_mean(s, TS_STAGE_TRACK), ts_stages_mean(s, TS_STAGE_CROP),
           ts_stages_mean(s, TS_STAGE_OVERLAY), ts_stages_mean(s, TS_STAGE_DOWNLOAD),
           ts_stages_mean(s, TS_STAGE_ENCODE), ts_stages_mean(s, TS_STAGE_TOTAL),
           (long long)atomic_load(&e->p->dropped), (long long)atomic_load(&e->p->reconnects));
}

static ts_status process(engine *e, const pipeline_work *work, ts_error *err)
{
    ts_pipeline *p = e->p;
    int64_t start = ts_now_us();
    bool ran = false;
    e->out_ns = work->out_ns;
    e->captured_us = work->picture.captured_us;
    ts_status st = resize(e, &work->picture, err);
    if (st == TS_OK && (work->reset || atomic_exchange(&p->want_reset, false))) {
        ts_pilot_reset(e->pilot, e->width, e->height);
        ts_overlay_forget(e->overlay);
    }
    if (st == TS_OK)
        st = upload(e, &work->picture, err);
    if (st == TS_OK)
        st = detect(e, &ran, err);
    if (st == TS_OK)
        st = track(e, ran, err);
    if (st == TS_OK)
        st = emit(e, true, err);
    if (st != TS_OK)
        return st;
    e->have_frame = true;
    record(e);
    if (e->delay_ms)
        ts_sleep_us((int64_t)e->delay_ms * 1000);
    int64_t now = ts_now_us();
    double encode_ms = ts_outputs_encode_ms(p->outputs);
    ts_stages_add(p->stages, TS_STAGE_DECODE, work->decode_ms);
    ts_stages_add(p->stages, TS_STAGE_ENCODE, encode_ms);
    ts_stages_add(p->stages, TS_STAGE_TOTAL, (double)(now - start) / 1000);
    ts_stages_add(p->stages, TS_STAGE_LATENCY, (double)(now - e->captured_us) / 1000 + encode_ms);
    ts_stages_frame(p->stages);
    e->index++;
    atomic_fetch_add(&p->processed, 1);
    atomic_store(&p->last_frame_us, now);
    if (e->log_every > 0 && e->index % e->log_every == 0)
        log_progress(e, "progress");
    return TS_OK;
}

/* Hot keys of a document that was changed meanwhile. */
static void take_document(engine *e)
{
    ts_pipeline *p = e->p;
    pthread_mutex_lock(&p->lock);
    bool changed = p->document_rev != e->document_rev;
    if (changed) {
        json_decref(e->document);
        e->document = json_incref(p->document);
        e->document_rev = p->document_rev;
    }
    pthread_mutex_unlock(&p->lock);
    if (!changed)
        return;
    read_document(e);
    if (e->pilot)
        ts_pilot_set_document(e->pilot, e->document);
}

static void close_tracking(engine *e)
{
    if (!e->tracking)
        return;
    if (!e->tracking_mot) {
        ts_buf config = {0};
        json_t *masked = ts_pipeline_doc_masked(e->document);
        ts_json_write(masked, &config);
        json_decref(masked);
        double n = e->index > 0 ? (double)e->index : 1;
        fprintf(e->tracking,
                "\n],\"metadata\":{\"frames\":%lld,\"detected\":%lld,\"tracked\":%lld,"
                "\"lost\":%lld,\"detection_rate\":%.6f,\"tracking_rate\":%.6f,\"config\":%s}}\n",
                (long long)e->index, (long long)e->detected, (long long)e->tracked,
                (long long)(e->index - e->tracked), (double)e->detected / n, (double)e->tracked / n,
                ts_buf_cstr(&config));
        ts_buf_finish(&config);
    }
    fclose(e->tracking);
}

static void engine_close(engine *e)
{
    ts_pipeline *p = e->p;
    if (p->outputs) {
        ts_outputs_finish(p->outputs, false);
        bool failed = ts_outputs_failed(p->outputs);
        pthread_mutex_lock(&p->lock);
        ts_outputs *outputs = p->outputs;
        json_decref(p->final_sinks);
        p->final_sinks = ts_outputs_json(outputs);
        p->outputs = NULL;
        p->bad_sinks = 0;
        pthread_mutex_unlock(&p->lock);
        ts_outputs_destroy(outputs);
        if (failed) {
            ts_error err = {0};
            ts_fail(&err, TS_E_INTERNAL, "a required sink failed");
            ts_pipeline_fail(p, "sink", &err);
        }
    }
    close_tracking(e);
    if (e->index)
        log_progress(e, "final");
    ts_pilot_destroy(e->pilot);
    ts_overlay_destroy(e->overlay);
    ts_resampler_destroy(e->resampler);
    ts_resampler_destroy(e->view_resampler);
    ts_buffer *all[] = {e->font, e->planes, e->frame, e->out, e->view, e->i420, e->draws};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        ts_buffer_unref(all[i]);
    ts_queue_destroy(e->queue);
    json_decref(e->document);
}

void ts_pipeline_device_main(void *arg)
{
    ts_pipeline *p = arg;
    engine *e = calloc(1, sizeof *e);
    ts_error err = {0};
    ts_status st = TS_OK;
    if (!e)
        st = ts_fail(&err, TS_E_NO_MEMORY, "pipeline %s", p->name);
    if (st == TS_OK) {
        e->p = p;
        pthread_mutex_lock(&p->lock);
        e->document = json_incref(p->document);
        e->document_rev = p->document_rev;
        pthread_mutex_unlock(&p->lock);
        st = engine_open(e, &err);
    }
    pipeline_work *work;
    while (st == TS_OK && (work = ts_chan_recv(p->work)) != NULL) {
        take_document(e);
        e->out_ns = work->out_ns;
        if (!work->hold)
            st = process(e, work, &err);
        else if (e->have_frame)
            st = emit(e, false, &err);
        ts_pipeline_work_free(work);
        if (st == TS_OK && ts_outputs_failed(p->outputs))
            st = ts_fail(&err, TS_E_INTERNAL, "a required sink failed");
    }
    if (st != TS_OK)
        ts_pipeline_fail(p, "device", &err);
    ts_chan_close(p->work); /* whatever the source still sends is refused */
    if (e)
        engine_close(e);
    free(e);
    ts_error_clear(&err);
}
