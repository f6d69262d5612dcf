#include "server/picture.h"

#include <stdlib.h>
#include <string.h>

#include "cl/base/clock.h"
#include "cl/base/log.h"
#include "server/dirty.h"
#include "server/metrics.h"
#include "server/trace.h"
#include "server/wire.h"

enum {
    KEY_EVERY_FRAMES = 60
};

typedef struct picture_job {
    ts_encode_job job;
    ts_stream *stream;
    variant *variant; /* stays while it is in flight */
    picture_meta meta;
    char *metrics; /* JSON text or NULL */
    char *rects;   /* JSON text of a delta or NULL */
    bool force_key, unchanged;
} picture_job;

/* ---- deltas (only one job of a delta variant is in flight: its state is the job's) ---- */

static ts_status encode_key(picture_job *p, ts_encoder *encoder, ts_frame *frame, ts_error *err)
{
    p->variant->last_key_us = ts_now_us();
    p->variant->since_key = 0;
    return ts_frame_encode(p->job.pixels, &p->job.options, encoder, &frame->payload, err);
}

static ts_status encode_rects(picture_job *p, const ts_rect *rects, int n, ts_encoder *encoder,
                              ts_frame *frame, ts_error *err)
{
    ts_buf text = {0};
    ts_status st = TS_OK;
    for (int i = 0; i < n && st == TS_OK; i++) {
        const ts_rect *r = &rects[i];
        const ts_pixels *whole = p->job.pixels;
        ts_pixels part = {
            .format = whole->format,
            .width = r->w,
            .height = r->h,
            .plane = {whole->plane[0] + (size_t)r->y * whole->stride[0] + (size_t)r->x * 3},
            .stride = {whole->stride[0]}};
        size_t at = frame->payload.len;
        st = ts_frame_encode(&part, &p->job.options, encoder, &frame->payload, err);
        ts_buf_printf(&text, "%s[%d,%d,%d,%d,%zu,%zu]", i ? "," : "[", r->x, r->y, r->w, r->h, at,
                      frame->payload.len - at);
    }
    ts_buf_str(&text, "]");
    p->rects = text.failed ? NULL : strdup(ts_buf_cstr(&text));
    ts_buf_finish(&text);
    if (st == TS_OK && !p->rects)
        st = ts_fail(err, TS_E_NO_MEMORY, "rectangles");
    frame->key = false;
    frame->base = p->variant->before_seq;
    p->variant->since_key++;
    return st;
}

static ts_status encode_delta(ts_encode_job *job, ts_encoder *encoder, ts_frame *frame,
                              ts_error *err)
{
    picture_job *p = (picture_job *)job;
    variant *v = p->variant;
    ts_pixels *now = job->pixels, *before = v->before;
    ts_rect rects[TS_DIRTY_MAX_RECTS];
    int n = -1;
    bool key = p->force_key || !before || before->width != now->width ||
               before->height != now->height || v->since_key >= KEY_EVERY_FRAMES ||
               ts_now_us() - v->last_key_us >= p->meta.key_interval_us;
    if (!key)
        n = ts_dirty_rects(before->plane[0], before->stride[0], now->plane[0], now->stride[0],
                           now->width, now->height, 3, rects);
    if (n == 0) {
        p->unchanged = true;
        return TS_OK;
    }
    ts_status st =
        n < 0 ? encode_key(p, encoder, frame, err) : encode_rects(p, rects, n, encoder, frame, err);
    if (st == TS_OK) {
        ts_pixels_unref(v->before);
        v->before = ts_pixels_ref(now);
        v->before_seq = p->meta.seq;
    }
    return st;
}

/* ---- finished frames ---- */

static void write_head(const picture_job *p, ts_frame *f)
{
    const picture_meta *m = &p->meta;
    ts_wire_frame w = {
        .stream = p->stream->name,
        .codec = ts_codec_name(p->job.options.codec),
        .seq = m->seq,
        .config_rev = m->config_rev,
        .base = f->base,
        .step = m->step,
        .t = m->t,
        .t_send = ts_wall_seconds(),
        .width = f->width,
        .height = f->height,
        .quality = p->job.options.codec == TS_CODEC_WEBP_LOSSLESS ? 100 : p->job.options.quality,
        .key = f->key,
        .has_range = m->has_range,
        .lo = m->lo,
        .hi = m->hi,
        .metrics = p->metrics,
        .rects = p->rects};
    ts_wire_frame_head(&w, &f->head);
}

static void fill_frame(const picture_job *p, ts_frame *f)
{
    f->seq = p->meta.seq;
    f->generation = p->meta.generation;
    f->config_rev = p->meta.config_rev;
    f->step = p->meta.step;
    f->t = p->meta.t;
    f->lossless = p->job.options.codec == TS_CODEC_WEBP_LOSSLESS;
    f->arrived_us = p->meta.arrived_us;
    f->rendered_us = p->meta.rendered_us;
    f->encoded_us = p->job.ended_us;
    write_head(p, f);
}

static void job_free(picture_job *p)
{
    ts_stream *s = p->stream;
    free(p->metrics);
    free(p->rects);
    free(p);
    ts_stream_unref(s);
}

static void on_encoded(ts_encode_job *job, ts_frame *frame, ts_status status, const ts_error *err)
{
    picture_job *p = (picture_job *)job;
    ts_stream *s = p->stream;
    variant *v = p->variant;
    if (status == TS_OK && !p->unchanged)
        fill_frame(p, frame);
    else if (status != TS_OK)
        ts_log_error(TS_LOG_WARN, "streams", s->name, err);
    if (status == TS_OK)
        ts_trace_span(s->hub->app->trace, "encode", s->name, job->started_us, NULL);
    if (status == TS_OK)
        ts_metrics_observe(s->hub->app->metrics, TS_METRIC_encode_seconds, "",
                           (double)(job->ended_us - job->started_us) * 1e-6);
    pthread_mutex_lock(&s->hub->hub_lock);
    v->in_flight--;
    if (status == TS_OK && p->unchanged) {
        v->latest_generation = p->meta.generation;
    } else if (status == TS_OK) {
        s->counters.encoded++;
        ts_stagetimes_add(&s->times, TS_STAGE_ENCODE, job->ended_us - job->started_us);
        if (p->meta.arrived_us)
            ts_stagetimes_add(&s->times, TS_STAGE_TOTAL, job->ended_us - p->meta.arrived_us);
        variant_publish_locked(v, frame);
    } else {
        s->counters.dropped[DROP_ERROR]++;
    }
    if (!v->n_watches)
        v->idle_since_us = ts_now_us();
    pthread_cond_signal(&s->hub->work);
    pthread_mutex_unlock(&s->hub->hub_lock);
    ts_frame_unref(frame);
    job_free(p);
}

/* ---- handing out ---- */

static char *metrics_text(const json_t *source, const json_t *view)
{
    if (!source && !view)
        return NULL;
    json_t *both = json_object();
    if (source)
        json_object_update(both, (json_t *)source);
    if (view)
        json_object_update(both, (json_t *)view);
    char *text = json_dumps(both, JSON_COMPACT | JSON_REAL_PRECISION(9));
    json_decref(both);
    return text;
}

static void note_psnr(ts_stream *s, const json_t *source, const json_t *view)
{
    static const char *const names[] = {"psnr_db", "psnr"};
    for (int i = 0; i < 2; i++) {
        const json_t *v = json_object_get(source, names[i]);
        if (!json_is_number(v))
            v = json_object_get(view, names[i]);
        if (json_is_number(v)) {
            s->counters.psnr_db = json_number_value(v);
            s->counters.has_psnr = true;
            return;
        }
    }
}

static picture_job *make_job(variant *v, ts_pixels *pixels, const picture_meta *meta,
                             const char *metrics)
{
    picture_job *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->stream = ts_stream_ref(v->unit->stream);
    p->variant = v;
    p->meta = *meta;
    p->metrics = metrics ? strdup(metrics) : NULL;
    p->job.pixels = ts_pixels_ref(pixels);
    p->job.options = (ts_encode_options){.codec = v->codec, .quality = v->quality};
    p->job.done = on_encoded;
    if (v->delta && pixels->format == TS_PIXELS_RGB8)
        p->job.encode = encode_delta;
    p->force_key = v->need_key;
    v->need_key = false;
    return p;
}

static size_t pixels_bytes(const ts_pixels *p)
{
    size_t n = p->stride[0] * (size_t)p->height;
    if (p->format == TS_PIXELS_I420)
        n += (p->stride[1] + p->stride[2]) * (((size_t)p->height + 1) / 2);
    return n;
}

void picture_publish(unit *u, ts_pixels *pixels, const picture_meta *meta,
                     const json_t *source_metrics, const json_t *view_metrics)
{
    ts_stream *s = u->stream;
    ts_hub *hub = s->hub;
    char *metrics = metrics_text(source_metrics, view_metrics);
    picture_job *jobs[TS_PICTURE_MAX_JOBS];
    size_t n = 0;
    ts_picture_info info = {meta->seq, meta->step, meta->t, meta->has_range, meta->lo, meta->hi};
    pthread_mutex_lock(&hub->hub_lock);
    s->counters.bytes_d2h += pixels_bytes(pixels);
    note_psnr(s, source_metrics, view_metrics);
    for (variant *v = u->variants; v; v = v->next) {
        if (v->pixels) {
            for (ts_watch *w = v->watches; w; w = w->next)
                if (w->sink->pixels)
                    w->sink->pixels(w->sink, pixels, &info);
            continue;
        }
        if (!v->n_watches || n == TS_PICTURE_MAX_JOBS)
            continue;
        jobs[n] = make_job(v, pixels, meta, metrics);
        if (jobs[n]) {
            v->in_flight++;
            n++;
        } else {
            s->counters.dropped[DROP_MEMORY]++;
        }
    }
    pthread_mutex_unlock(&hub->hub_lock);
    for (size_t i = 0; i < n; i++) {
        if (ts_encode_submit(hub->encoders, &jobs[i]->job))
            continue;
        pthread_mutex_lock(&hub->hub_lock);
        jobs[i]->variant->in_flight--;
        pthread_mutex_unlock(&hub->hub_lock);
        ts_pixels_unref(jobs[i]->job.pixels);
        job_free(jobs[i]);
    }
    free(metrics);
}

ts_status picture_encode_now(variant *v, ts_pixels *pixels, const picture_meta *meta,
                             const json_t *metrics, ts_frame **out, ts_error *err)
{
    ts_stream *s = v->unit->stream;
    ts_hub *hub = s->hub;
    ts_frame *frame;
    ts_status st = ts_frame_acquire(hub->replay_frames, &frame, err);
    if (st != TS_OK)
        return st;
    picture_job p = {.stream = s,
                     .variant = v,
                     .meta = *meta,
                     .metrics = metrics_text(NULL, metrics),
                     .job.options = {.codec = v->codec, .quality = v->quality}};
    frame->width = pixels->width;
    frame->height = pixels->height;
    frame->quality = v->quality;
    frame->key = true;
    st = ts_frame_encode(pixels, &p.job.options, hub->replay_encoder, &frame->payload, err);
    if (st == TS_OK) {
        fill_frame(&p, frame);
        *out = frame;
    } else {
        ts_frame_unref(frame);
    }
    free(p.metrics);
    return st;
}
