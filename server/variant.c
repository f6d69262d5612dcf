/* Watchers, and the variants that they share: units (renderings) and variants (encodings). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/clock.h"
#include "server/hub_internal.h"

/* ---- snapping ---- */

static const double scale_steps[] = {1, 0.75, 0.5, 0.25};

static double snap_scale(double scale)
{
    double best = 1;
    if (scale <= 0)
        return 1;
    for (size_t i = 0; i < sizeof scale_steps / sizeof *scale_steps; i++)
        if (fabs(log(scale / scale_steps[i])) < fabs(log(scale / best)))
            best = scale_steps[i];
    return best;
}

static int snap_quality(int quality)
{
    int q = (quality + 2) / 5 * 5;
    return q < 5 ? 5 : q > 100 ? 100 : q;
}

/* What a watcher wants, with nothing left open. */
typedef struct target {
    const json_t *patch;
    char *patch_text;
    double scale;
    ts_pixel_format format;
    ts_codec codec;
    int quality;
    bool delta, pixels, exact;
} target;

static void resolve_codec(const ts_stream *s, const ts_want *want, target *t)
{
    bool lossless = want->lossless || (s->output.lossless && !want->quality);
    t->codec = want->codec;
    if (t->codec == TS_CODEC_WEBP && lossless)
        t->codec = TS_CODEC_WEBP_LOSSLESS;
    bool lossy = t->codec == TS_CODEC_WEBP || t->codec == TS_CODEC_JPEG;
    t->quality = !lossy          ? 0
                 : want->quality ? (want->exact ? want->quality : snap_quality(want->quality))
                                 : s->output.quality;
    if (want->pixels)
        t->format = want->format;
    else if (want->delta)
        t->format = TS_PIXELS_RGB8;
    else if (lossy)
        t->format = s->output.cl_yuv ? TS_PIXELS_I420 : TS_PIXELS_RGB8;
    else if (want->format == TS_PIXELS_RGBA16 && t->codec == TS_CODEC_PNG)
        t->format = TS_PIXELS_RGBA16;
    else
        t->format = TS_PIXELS_INDEXED; /* RGB, or indices where they are exact */
}

static ts_status resolve(const ts_stream *s, const ts_want *want, target *t, ts_error *err)
{
    memset(t, 0, sizeof *t);
    if (want->patch && json_object_size(want->patch)) {
        t->patch = want->patch;
        t->patch_text = json_dumps(want->patch, JSON_COMPACT | JSON_SORT_KEYS);
    } else {
        t->patch_text = calloc(1, 1);
    }
    if (!t->patch_text)
        return ts_fail(err, TS_E_NO_MEMORY, "view");
    t->scale = want->exact && want->scale > 0 ? want->scale : snap_scale(want->scale);
    t->delta = want->delta;
    t->pixels = want->pixels;
    t->exact = want->exact;
    resolve_codec(s, want, t);
    return TS_OK;
}

/* ---- units and variants ---- */

static void variant_free(variant *v)
{
    ts_frame_unref(v->latest);
    ts_pixels_unref(v->before);
    free(v);
}

static void free_names(unit *u)
{
    for (size_t i = 0; i < u->n_names; i++)
        free(u->names[i]);
    free(u->names);
    u->names = NULL;
    u->n_names = 0;
}

void unit_free(unit *u)
{
    while (u->variants) {
        variant *v = u->variants;
        u->variants = v->next;
        variant_free(v);
    }
    ts_viz_destroy(u->viz);
    ts_viz_destroy(u->replay_viz);
    ts_view_unref(u->view);
    free_names(u);
    json_decref(u->patch);
    free(u->patch_text);
    free(u);
}

void stream_free_units(ts_stream *s)
{
    while (s->units) {
        unit *u = s->units;
        s->units = u->next;
        unit_free(u);
    }
}

bool unit_watched(const unit *u)
{
    for (const variant *v = u->variants; v; v = v->next)
        if (v->n_watches)
            return true;
    return false;
}

bool unit_ready(const unit *u)
{
    for (const variant *v = u->variants; v; v = v->next)
        if (v->n_watches && v->in_flight >= (v->delta ? 1 : 2))
            return false;
    return true;
}

size_t stream_viewers(const ts_stream *s)
{
    size_t n = 0;
    for (const unit *u = s->units; u; u = u->next)
        for (const variant *v = u->variants; v; v = v->next)
            for (const ts_watch *w = v->watches; w; w = w->next)
                n += w == s->history_watch ? 0 : w->viewers;
    return n;
}

double stream_wanted_fps(const ts_stream *s)
{
    double fps = 0;
    for (const unit *u = s->units; u; u = u->next)
        for (const variant *v = u->variants; v; v = v->next)
            for (const ts_watch *w = v->watches; w; w = w->next) {
                double f = w->max_fps > 0 ? w->max_fps : s->output.max_fps;
                if (f > fps)
                    fps = f;
            }
    return fps < s->output.max_fps ? fps : s->output.max_fps;
}

static unit *find_unit(const ts_stream *s, const target *t)
{
    for (unit *u = s->units; u; u = u->next)
        if (u->format == t->format && u->scale == t->scale && !strcmp(u->patch_text, t->patch_text))
            return u;
    return NULL;
}

static variant *find_variant(const unit *u, const target *t)
{
    for (variant *v = u ? u->variants : NULL; v; v = v->next)
        if (v->codec == t->codec && v->quality == t->quality && v->delta == t->delta &&
            v->pixels == t->pixels)
            return v;
    return NULL;
}

static size_t count_live(const ts_stream *s)
{
    size_t n = 0;
    for (const unit *u = s->units; u; u = u->next)
        for (const variant *v = u->variants; v; v = v->next)
            n += v->n_watches && !v->pixels &&
                 (v->codec == TS_CODEC_WEBP || v->codec == TS_CODEC_WEBP_LOSSLESS);
    return n;
}

/* How far a variant is from what was asked; another view is much worse than another quality. */
static double distance(const variant *v, const target *t)
{
    double d = fabs(log2(v->unit->scale / t->scale)) * 20 + abs(v->quality - t->quality) / 5.0;
    if (strcmp(v->unit->patch_text, t->patch_text))
        d += 1000;
    if (v->codec != t->codec)
        d += 50;
    return d;
}

static variant *nearest(const ts_stream *s, const target *t)
{
    variant *best = NULL;
    for (unit *u = s->units; u; u = u->next)
        for (variant *v = u->variants; v; v = v->next) {
            bool live = v->n_watches && !v->pixels && v->delta == t->delta &&
                        (v->codec == TS_CODEC_WEBP || v->codec == TS_CODEC_WEBP_LOSSLESS);
            if (live && (!best || distance(v, t) < distance(best, t)))
                best = v;
        }
    return best;
}

static bool is_base(const ts_stream *s, const variant *v)
{
    return !v->pixels && !v->delta && !v->unit->patch && v->unit->scale == 1 &&
           (s->output.lossless ? v->codec == TS_CODEC_WEBP_LOSSLESS
                               : v->codec == TS_CODEC_WEBP && v->quality == s->output.quality);
}

static unit *add_unit(ts_stream *s, const target *t)
{
    unit *u = calloc(1, sizeof *u);
    char *text = u ? strdup(t->patch_text) : NULL;
    if (!text || s->n_units >= MAX_UNITS) {
        free(text);
        free(u);
        return NULL;
    }
    u->stream = s;
    u->patch = t->patch ? json_deep_copy(t->patch) : NULL;
    u->patch_text = text;
    u->scale = t->scale;
    u->format = t->format;
    u->rendered_generation = UINT64_MAX;
    u->next = s->units;
    s->units = u;
    s->n_units++;
    return u;
}

static variant *add_variant(ts_stream *s, const target *t)
{
    unit *u = find_unit(s, t);
    if (!u)
        u = add_unit(s, t);
    variant *v = u ? calloc(1, sizeof *v) : NULL;
    if (!v)
        return NULL;
    v->unit = u;
    v->codec = t->codec;
    v->quality = t->quality;
    v->delta = t->delta;
    v->pixels = t->pixels;
    v->need_key = true;
    v->next = u->variants;
    u->variants = v;
    v->base = is_base(s, v);
    u->rendered_generation = UINT64_MAX; /* the pixels of the last pass are gone */
    return v;
}

static variant *choose_locked(ts_stream *s, const target *t)
{
    variant *v = find_variant(find_unit(s, t), t);
    size_t max = (size_t)s->hub->app->options.max_variants;
    bool counts = !t->exact && !t->pixels &&
                  (t->codec == TS_CODEC_WEBP || t->codec == TS_CODEC_WEBP_LOSSLESS);
    if (!v && counts && count_live(s) >= max)
        v = nearest(s, t);
    return v ? v : add_variant(s, t);
}

void stream_remove_idle_locked(ts_stream *s, int64_t now_us)
{
    for (unit **ua = &s->units; *ua;) {
        unit *u = *ua;
        for (variant **va = &u->variants; *va;) {
            variant *v = *va;
            if (v->n_watches || v->in_flight || now_us - v->idle_since_us < IDLE_VARIANT_US) {
                va = &v->next;
                continue;
            }
            *va = v->next;
            variant_free(v);
        }
        if (u->variants) {
            ua = &u->next;
            continue;
        }
        *ua = u->next;
        s->n_units--;
        unit_free(u);
    }
}

/* ---- watching ---- */

static ts_watch *attach_locked(ts_stream *s, variant *v, const ts_want *want, ts_sink *sink)
{
    ts_watch *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    /* what follows the clock has moved on while nobody looked */
    if (s->source->ops->due && stream_wanted_fps(s) == 0)
        s->generation++;
    w->variant = v;
    w->sink = sink;
    w->max_fps = want->max_fps;
    w->viewers = 1;
    w->next = v->watches;
    v->watches = w;
    v->n_watches++;
    if (v->latest_generation != s->generation && v->in_flight == 0)
        v->unit->rendered_generation = UINT64_MAX;
    pthread_cond_signal(&s->hub->work);
    return w;
}

static void detach_locked(ts_watch *w)
{
    variant *v = w->variant;
    ts_watch **at = &v->watches;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    v->n_watches--;
    if (!v->n_watches)
        v->idle_since_us = ts_now_us();
    pthread_cond_signal(&v->unit->stream->hub->pushed);
}

static ts_status check_patch(ts_stream *s, const json_t *patch, ts_error *err)
{
    ts_hub *hub = s->hub;
    pthread_mutex_lock(&hub->hub_lock);
    json_t *view = json_deep_copy(s->view_json);
    source_box *box = s->source;
    atomic_fetch_add(&box->refs, 1);
    pthread_mutex_unlock(&hub->hub_lock);
    json_t *merged = ts_json_merge_patch(view, patch), *composed = NULL;
    ts_view *parsed = NULL;
    ts_status st = TS_OK;
    if (box->ops->compose)
        st = box->ops->compose(box->state, merged, &composed, err);
    if (st == TS_OK)
        st = ts_view_parse(composed ? composed : merged, &parsed, err);
    ts_view_unref(parsed);
    json_decref(composed);
    json_decref(merged);
    json_decref(view);
    source_unref(box);
    return st;
}

ts_status ts_stream_watch(ts_stream *s, const ts_want *want, ts_sink *sink, ts_watch **out,
                          ts_error *err)
{
    ts_hub *hub = s->hub;
    target t;
    ts_status st = TS_OK;
    if (!hub->queue)
        return ts_fail(err, TS_E_NOT_READY, "this server has no device to render with");
    if (want->patch && json_object_size(want->patch))
        st = check_patch(s, want->patch, err);
    if (st != TS_OK)
        return st;
    pthread_mutex_lock(&hub->hub_lock);
    st = resolve(s, want, &t, err);
    ts_watch *w = NULL;
    if (st == TS_OK && s->deleted) {
        st = ts_fail(err, TS_E_NOT_FOUND, "stream '%s' was deleted", s->name);
    } else if (st == TS_OK) {
        variant *v = choose_locked(s, &t);
        w = v ? attach_locked(s, v, want, sink) : NULL;
        if (!w)
            st = ts_fail(err, TS_E_RATE, "stream '%s' is shown in too many ways at once", s->name);
    }
    pthread_mutex_unlock(&hub->hub_lock);
    free(t.patch_text);
    if (w)
        ts_stream_ref(s); /* the watch's */
    *out = w;
    return st;
}

void ts_watch_close(ts_watch *w)
{
    if (!w)
        return;
    ts_stream *s = w->variant->unit->stream;
    pthread_mutex_lock(&s->hub->hub_lock);
    detach_locked(w);
    pthread_mutex_unlock(&s->hub->hub_lock);
    free(w);
    ts_stream_unref(s);
}

ts_frame *ts_watch_latest(ts_watch *w, bool stale)
{
    variant *v = w->variant;
    ts_stream *s = v->unit->stream;
    pthread_mutex_lock(&s->hub->hub_lock);
    ts_frame *f = v->latest && (stale || v->latest_generation == s->generation)
                      ? ts_frame_ref(v->latest)
                      : NULL;
    pthread_mutex_unlock(&s->hub->hub_lock);
    return f;
}

const void *ts_watch_variant(const ts_watch *w)
{
    return w->variant;
}

void ts_watch_describe(ts_watch *w, int *quality, double *scale, bool *lossless)
{
    ts_stream *s = w->variant->unit->stream;
    pthread_mutex_lock(&s->hub->hub_lock);
    *quality = w->variant->quality;
    *scale = w->variant->unit->scale;
    *lossless = w->variant->codec == TS_CODEC_WEBP_LOSSLESS;
    pthread_mutex_unlock(&s->hub->hub_lock);
}

void ts_watch_need_key(ts_watch *w)
{
    ts_stream *s = w->variant->unit->stream;
    pthread_mutex_lock(&s->hub->hub_lock);
    w->variant->need_key = true;
    w->variant->unit->rendered_generation = UINT64_MAX;
    pthread_cond_signal(&s->hub->work);
    pthread_mutex_unlock(&s->hub->hub_lock);
}

void ts_watch_set_load(ts_watch *w, double max_fps, size_t viewers)
{
    ts_stream *s = w->variant->unit->stream;
    pthread_mutex_lock(&s->hub->hub_lock);
    w->max_fps = max_fps;
    w->viewers = viewers;
    pthread_cond_signal(&s->hub->work);
    pthread_mutex_unlock(&s->hub->hub_lock);
}

void variant_publish_locked(variant *v, ts_frame *frame)
{
    ts_stream *s = v->unit->stream;
    if (v->latest && v->latest->seq > frame->seq)
        return; /* a faster worker was first */
    ts_frame_unref(v->latest);
    v->latest = ts_frame_ref(frame);
    v->latest_generation = frame->generation;
    if (v->base && !stream_keeps_tensors(s))
        ts_history_add(s->history, frame);
    for (ts_watch *w = v->watches; w; w = w->next)
        if (w->sink->frame)
            w->sink->frame(w->sink, frame);
}

void stream_event_locked(ts_stream *s, const char *event)
{
    for (unit *u = s->units; u; u = u->next)
        for (variant *v = u->variants; v; v = v->next)
            for (ts_watch *w = v->watches; w; w = w->next)
                if (w->sink->event)
                    w->sink->event(w->sink, event);
}

void ts_stream_tell(ts_stream *s, const char *event)
{
    pthread_mutex_lock(&s->hub->hub_lock);
    stream_event_locked(s, event);
    pthread_mutex_unlock(&s->hub->hub_lock);
}

/* ---- the history's own watch: with `history`, frames are made though nobody looks ---- */

void stream_watch_history_end_locked(ts_stream *s)
{
    if (!s->history_watch)
        return;
    detach_locked(s->history_watch);
    free(s->history_watch);
    s->history_watch = NULL;
}

void stream_watch_history_locked(ts_stream *s)
{
    target t;
    ts_want want = {.scale = 0};
    for (unit *u = s->units; u; u = u->next)
        for (variant *v = u->variants; v; v = v->next)
            v->base = is_base(s, v);
    stream_watch_history_end_locked(s);
    if (!s->output.history.on || stream_keeps_tensors(s) || s->deleted || !s->hub->queue ||
        resolve(s, &want, &t, NULL) != TS_OK)
        return;
    t.exact = true; /* the stream's own picture, never the nearest */
    variant *v = choose_locked(s, &t);
    if (v)
        s->history_watch = attach_locked(s, v, &want, &s->history_sink);
    free(t.patch_text);
}

/* ---- one picture ---- */

typedef struct grab {
    ts_sink sink;
    pthread_cond_t arrived;
    uint64_t generation; /* older pictures do not count */
    ts_frame *frame;     /* hub_lock */
} grab;

static void grab_frame(ts_sink *sink, ts_frame *frame)
{
    grab *g = (grab *)sink;
    if (!g->frame && frame->generation >= g->generation)
        g->frame = ts_frame_ref(frame);
    pthread_cond_signal(&g->arrived);
}

ts_status ts_stream_grab(ts_stream *s, const ts_want *want, int64_t timeout_us, ts_frame **out,
                         ts_error *err)
{
    grab g = {.sink = {.frame = grab_frame}};
    ts_want exact = *want;
    ts_watch *w;
    pthread_condattr_t attr;
    exact.exact = true;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&g.arrived, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_lock(&s->hub->hub_lock);
    g.generation = s->generation;
    pthread_mutex_unlock(&s->hub->hub_lock);
    ts_status st = ts_stream_watch(s, &exact, &g.sink, &w, err);
    if (st == TS_OK) {
        int64_t end = ts_now_us() + timeout_us;
        struct timespec until = {.tv_sec = end / 1000000, .tv_nsec = end % 1000000 * 1000};
        ts_frame *now = ts_watch_latest(w, false);
        pthread_mutex_lock(&s->hub->hub_lock);
        if (now && !g.frame)
            g.frame = ts_frame_ref(now);
        while (!g.frame && !s->deleted && ts_now_us() < end)
            pthread_cond_timedwait(&g.arrived, &s->hub->hub_lock, &until);
        pthread_mutex_unlock(&s->hub->hub_lock);
        ts_frame_unref(now);
        ts_watch_close(w);
        if (!g.frame)
            st = ts_fail(err, TS_E_SLOW, "stream '%s' gave no picture in time", s->name);
    }
    pthread_cond_destroy(&g.arrived);
    *out = g.frame;
    return st;
}

/* ---- one kept picture ---- */

typedef struct replay {
    ts_render_job job; /* first */
    ts_watch *watch;
    ts_seek_by by;
    int64_t value;
    ts_frame *frame;
    ts_status status;
    ts_error err;
    pthread_cond_t finished;
    bool done, abandoned; /* hub_lock */
} replay;

static void replay_free(replay *r)
{
    ts_watch_close(r->watch);
    ts_frame_unref(r->frame);
    ts_error_clear(&r->err);
    pthread_cond_destroy(&r->finished);
    free(r);
}

static void replay_run(ts_render_job *job, ts_queue *queue)
{
    replay *r = (replay *)job;
    ts_hub *hub = r->watch->variant->unit->stream->hub;
    r->status = ts_watch_replay(r->watch, queue, r->by, r->value, &r->frame, &r->err);
    pthread_mutex_lock(&hub->hub_lock);
    r->done = true;
    bool abandoned = r->abandoned;
    pthread_cond_signal(&r->finished);
    pthread_mutex_unlock(&hub->hub_lock);
    if (abandoned)
        replay_free(r);
}

static ts_status replay_wait(ts_hub *hub, replay *r, int64_t timeout_us, ts_frame **out,
                             ts_error *err)
{
    int64_t end = ts_now_us() + timeout_us;
    struct timespec until = {.tv_sec = end / 1000000, .tv_nsec = end % 1000000 * 1000};
    pthread_mutex_lock(&hub->hub_lock);
    while (!r->done && ts_now_us() < end)
        pthread_cond_timedwait(&r->finished, &hub->hub_lock, &until);
    r->abandoned = !r->done;
    bool abandoned = r->abandoned;
    pthread_mutex_unlock(&hub->hub_lock);
    if (abandoned)
        return ts_fail(err, TS_E_SLOW, "the kept picture was not rendered in time");
    ts_status st = r->status;
    if (st == TS_OK)
        *out = ts_frame_ref(r->frame);
    else
        (void)ts_fail(err, st, "%s", r->err.text);
    replay_free(r);
    return st;
}

ts_status ts_stream_replay(ts_stream *s, const ts_want *want, ts_seek_by by, int64_t value,
                           int64_t timeout_us, ts_frame **out, ts_error *err)
{
    static ts_sink no_sink;
    ts_want exact = *want;
    pthread_condattr_t attr;
    replay *r = calloc(1, sizeof *r);
    if (!r)
        return ts_fail(err, TS_E_NO_MEMORY, "replay");
    exact.exact = true;
    r->job.run = replay_run;
    r->by = by;
    r->value = value;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&r->finished, &attr);
    pthread_condattr_destroy(&attr);
    ts_status st = ts_stream_watch(s, &exact, &no_sink, &r->watch, err);
    if (st == TS_OK && !ts_hub_run(s->hub, &r->job))
        st = ts_fail(err, TS_E_NOT_READY, "the server is stopping");
    if (st != TS_OK) {
        replay_free(r);
        return st;
    }
    return replay_wait(s->hub, r, timeout_us, out, err);
}
