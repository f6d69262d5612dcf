/* The render thread: picks the stream that is due, renders its units, hands pixels to the encoders. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/clock.h"
#include "cl/base/size.h"
#include "cl/base/log.h"
#include "server/hub_internal.h"
#include "server/metrics.h"
#include "server/picture.h"
#include "server/trace.h"

enum {
    CLEAN_US = 1000000,
    KEEP_RHYTHM_US = 5000, /* a start late by less does not shift the ones after it */
    MAX_PASS_UNITS = MAX_UNITS
};

/* One pass over a stream: what was taken from it under the lock. */
typedef struct pass {
    ts_stream *stream;
    source_box *source;
    json_t *view; /* copy, where a unit must be composed anew; else NULL */
    ts_output output;
    uint64_t generation, seq, config_rev;
    int64_t start_us, offered_us;
    bool fresh, reset; /* fresh: the state was not rendered before */
    bool had_offer, keeps_tensors;
    uint64_t produced; /* by the stream, when the pass began */
    double fps;
    unit *units[MAX_PASS_UNITS];
    bool joined[MAX_PASS_UNITS]; /* has a watcher that needs this state whatever was rendered */
    bool skipped[MAX_PASS_UNITS];
    size_t n;
} pass;

/* ---- choosing ---- */

static bool unit_due(const ts_stream *s, const unit *u)
{
    return u->rendered_generation != s->generation && unit_watched(u) && unit_ready(u);
}

static int64_t stream_due_locked(ts_stream *s, int64_t now)
{
    double fps = stream_wanted_fps(s);
    int64_t clock_due = INT64_MAX, due = INT64_MAX;
    if (fps <= 0) /* the history of tensors is kept though nobody looks */
        return stream_keeps_tensors(s) && s->box.pending ? s->touched_us : INT64_MAX;
    if (s->source->ops->due) {
        clock_due = s->source->ops->due(s->source->state, now);
        if (clock_due <= now) {
            if (!s->box.pending)
                stream_offer_locked(s);
            clock_due = INT64_MAX;
        }
    }
    bool any = false;
    for (const unit *u = s->units; u && !any; u = u->next)
        any = unit_due(s, u);
    if (any && s->rendered_generation == s->generation) {
        due = now; /* somebody joined: the same state once more, outside the rhythm */
    } else if (any) {
        int64_t paced = s->box.started ? s->box.last_start_us + (int64_t)(1e6 / fps) : 0;
        due = paced > s->touched_us ? paced : s->touched_us;
    }
    return due < clock_due ? due : clock_due;
}

static ts_stream *choose_locked(ts_hub *hub, int64_t now, int64_t *wake)
{
    ts_stream *best = NULL;
    int64_t best_due = INT64_MAX;
    *wake = INT64_MAX;
    for (ts_stream *s = hub->streams; s; s = s->next) {
        int64_t due = stream_due_locked(s, now);
        if (due > now) {
            if (due < *wake)
                *wake = due;
        } else if (due < best_due) {
            best = s;
            best_due = due;
        }
    }
    return best;
}

/* ---- a pass ---- */

static bool needs_compose(const unit *u, const pass *p)
{
    uint64_t revision = p->source->ops->revision ? p->source->ops->revision(p->source->state) : 0;
    return !u->view_valid || u->view_rev != p->config_rev || u->source_rev != revision;
}

static double measured_fps(const ts_stream *s, int64_t now)
{
    int n = 0;
    for (int i = 0; i < FPS_WINDOW; i++)
        n += s->counters.frame_times_us[i] > now - 2000000 && s->counters.frame_times_us[i] > 0;
    return n / 2.0;
}

static void begin_locked(ts_stream *s, int64_t now, pass *p)
{
    memset(p, 0, sizeof *p);
    p->stream = ts_stream_ref(s);
    p->source = s->source;
    atomic_fetch_add(&p->source->refs, 1);
    p->output = s->output;
    p->generation = s->generation;
    p->config_rev = s->config_rev;
    p->fresh = s->rendered_generation != s->generation;
    p->reset = s->reset_range;
    p->keeps_tensors = stream_keeps_tensors(s);
    s->reset_range = false;
    p->fps = measured_fps(s, now);
    p->seq = s->seq;
    p->start_us = now;
    p->offered_us = s->touched_us;
    for (unit *u = s->units; u && p->n < MAX_PASS_UNITS; u = u->next)
        if (unit_due(s, u)) {
            p->joined[p->n] = u->rendered_generation == UINT64_MAX;
            p->units[p->n++] = u;
            u->rendered_generation = p->generation; /* who joins from now on sets it back */
            if (needs_compose(u, p) && !p->view)
                p->view = json_deep_copy(s->view_json);
        }
    p->had_offer = p->fresh && s->box.pending;
    p->produced = s->counters.produced;
    s->rendered_generation = p->generation;
    s->rendering = true;
}

/*
 * The snapshot is taken: the slot is free again, and a producer that waits for its turn may go on.
 * (Not before: it would replace the frame that is about to be taken.)
 */
static void started_locked(pass *p)
{
    ts_stream *s = p->stream;
    int64_t now = p->start_us;
    double fps = stream_wanted_fps(s);
    int64_t paced = s->box.last_start_us + (int64_t)(1e6 / (fps > 0 ? fps : 1));
    bool in_rhythm = s->box.started && now - paced < KEEP_RHYTHM_US && now >= paced;
    bool more = s->counters.produced != p->produced;
    if (!p->fresh)
        return;
    if (p->had_offer)
        ts_stagetimes_add(&s->times, TS_STAGE_WAIT, now - p->offered_us);
    ts_mailbox_start(&s->box, in_rhythm ? paced : now);
    if (more && p->had_offer) {
        /* what came meanwhile did not replace anything: it is the next one */
        s->counters.dropped[DROP_SUPERSEDED]--;
    }
    s->box.pending = more;
    pthread_cond_broadcast(&s->hub->pushed);
}

static void end_locked(pass *p)
{
    ts_stream *s = p->stream;
    s->rendering = false;
    if (p->fresh)
        ts_mailbox_done(&s->box);
}

/* A member of a group shows what all members have, not its newest. */
static void take_group_entry(ts_stream *s)
{
    ts_entry entry = s->snapshot.entry;
    pthread_mutex_lock(&s->hub->hub_lock);
    bool other = sync_choose_locked(s, &entry);
    pthread_mutex_unlock(&s->hub->hub_lock);
    if (!other)
        return;
    ts_entry_finish(&s->snapshot.entry);
    s->snapshot.entry = entry;
    s->snapshot.step = entry.step;
    s->snapshot.t = entry.t;
}

static bool take_snapshot(pass *p, ts_queue *queue)
{
    ts_stream *s = p->stream;
    if (s->snapshot_valid && s->snapshot_source == p->source &&
        s->snapshot_generation == p->generation)
        return s->snapshot_status == TS_OK;
    ts_error err = {0};
    ts_snapshot_finish(&s->snapshot);
    source_unref(s->snapshot_source);
    atomic_fetch_add(&p->source->refs, 1);
    s->snapshot_source = p->source;
    s->snapshot_generation = p->generation;
    s->snapshot_valid = true;
    s->snapshot_status = p->source->ops->snapshot(p->source->state, queue, &s->snapshot, &err);
    snprintf(s->snapshot_error, sizeof s->snapshot_error, "%s", err.text);
    ts_error_clear(&err);
    if (s->snapshot_status == TS_OK && s->snapshot.entry.tensor)
        take_group_entry(s);
    return s->snapshot_status == TS_OK;
}

/* The stream's `output.width`, `height` are short for view.resize, and yield to one given there. */
static void apply_size(json_t *view, const ts_output *output)
{
    json_t *resize = json_object_get(view, "resize");
    if ((!output->width && !output->height) || json_object_get(resize, "width") ||
        json_object_get(resize, "height") || json_object_get(resize, "scale"))
        return;
    resize = resize ? json_deep_copy(resize) : json_object();
    if (output->width)
        json_object_set_new(resize, "width", json_integer(output->width));
    if (output->height)
        json_object_set_new(resize, "height", json_integer(output->height));
    if (!json_object_get(resize, "fit"))
        json_object_set_new(resize, "fit", json_string("contain"));
    json_object_set_new(view, "resize", resize);
}

static void note_name(void *arg, const char *name)
{
    unit *u = arg;
    char **names = ts_realloc_array(u->names, u->n_names + 1, sizeof *names);
    if (!names)
        return;
    u->names = names;
    u->names[u->n_names] = strdup(name);
    if (u->names[u->n_names])
        u->n_names++;
}

/* Make the view that is really rendered: the stream's, the watcher's patch, the source's part. */
static ts_status compose(unit *u, pass *p, ts_error *err)
{
    if (!p->view) { /* the source's part changed while the snapshot was taken */
        pthread_mutex_lock(&p->stream->hub->hub_lock);
        p->view = json_deep_copy(p->stream->view_json);
        pthread_mutex_unlock(&p->stream->hub->hub_lock);
    }
    json_t *view = u->patch ? ts_json_merge_patch(p->view, u->patch) : json_deep_copy(p->view);
    json_t *composed = NULL;
    ts_view *parsed = NULL;
    ts_status st = view ? TS_OK : ts_fail(err, TS_E_NO_MEMORY, "view");
    uint64_t revision = p->source->ops->revision ? p->source->ops->revision(p->source->state) : 0;
    if (st == TS_OK) {
        apply_size(view, &p->output);
        if (p->source->ops->compose)
            st = p->source->ops->compose(p->source->state, view, &composed, err);
    }
    if (st == TS_OK)
        st = ts_view_parse(composed ? composed : view, &parsed, err);
    if (st == TS_OK) {
        ts_view_unref(u->view);
        u->view = parsed;
        u->view_valid = true;
        u->view_rev = p->config_rev;
        u->source_rev = revision;
        pthread_mutex_lock(&p->stream->hub->hub_lock);
        for (size_t i = 0; i < u->n_names; i++)
            free(u->names[i]);
        u->n_names = 0;
        ts_view_each_tensor(parsed, note_name, u);
        pthread_mutex_unlock(&p->stream->hub->hub_lock);
    }
    json_decref(composed);
    json_decref(view);
    return st;
}

/* Nothing to show twice: the same version of a tensor that this unit has rendered already. */
static bool is_repeat(const pass *p, size_t i)
{
    const unit *u = p->units[i];
    const ts_snapshot *snap = &p->stream->snapshot;
    return p->fresh && !p->reset && !p->joined[i] && snap->entry.tensor && u->n_names == 0 &&
           u->rendered_version == snap->entry.version && u->rendered_rev == p->config_rev &&
           !p->source->ops->due;
}

static void card_size(const unit *u, const pass *p, int *width, int *height)
{
    *width = u->width ? u->width : p->output.width ? p->output.width : 320;
    *height = u->height ? u->height : p->output.height ? p->output.height : 180;
}

static ts_pixel_format real_format(ts_pixel_format format)
{
    return format == TS_PIXELS_INDEXED ? TS_PIXELS_RGB8 : format;
}

static ts_pixels *make_card(const unit *u, const pass *p, ts_status why, const char *text)
{
    int width, height;
    card_size(u, p, &width, &height);
    if (why == TS_E_EMPTY) {
        width = height = 16;
        text = "";
    }
    return ts_viz_card(width, height, real_format(u->format), text);
}

static ts_status render_view(unit *u, pass *p, ts_queue *queue, ts_viz_output *out, ts_error *err)
{
    ts_stream *s = p->stream;
    ts_hub *hub = s->hub;
    ts_status st = TS_OK;
    if (needs_compose(u, p))
        st = compose(u, p, err);
    if (st == TS_OK && !u->viz)
        st = ts_viz_create(ts_queue_device(queue), &u->viz, err);
    if (st != TS_OK)
        return st;
    if (p->reset)
        ts_viz_reset(u->viz);
    ts_viz_input in = {
        .view = u->view,
        .entry = s->snapshot.entry.tensor ? &s->snapshot.entry : NULL,
        .store = hub->app->store,
        .scale = u->scale * p->output.scale,
        .format = real_format(u->format),
        .seq = p->seq,
        .fps = p->fps,
        .dt_s = u->last_render_us ? (double)(p->start_us - u->last_render_us) / 1e6 : 0,
        .auto_indexed = u->format == TS_PIXELS_INDEXED,
    };
    st = ts_viz_render(u->viz, queue, &in, out, err);
    if (st != TS_E_GONE)
        return st;
    /* The device was opened again, and what the renderer kept on it is lost: begin anew. */
    ts_error_clear(err);
    ts_viz_destroy(u->viz);
    u->viz = NULL;
    st = ts_viz_create(ts_queue_device(queue), &u->viz, err);
    return st == TS_OK ? ts_viz_render(u->viz, queue, &in, out, err) : st;
}

static void render_unit(unit *u, pass *p, ts_queue *queue)
{
    ts_stream *s = p->stream;
    ts_snapshot *snap = &s->snapshot;
    ts_viz_output out = {0};
    ts_error err = {0};
    ts_status st = s->snapshot_status;
    int64_t start = ts_now_us();
    if (st != TS_OK)
        snprintf(err.text, sizeof err.text, "%s", s->snapshot_error);
    else if (snap->missing[0])
        snprintf(err.text, sizeof err.text, "%s", snap->missing);
    else if (snap->pixels)
        out.pixels = ts_pixels_ref(snap->pixels);
    else
        st = render_view(u, p, queue, &out, &err);
    bool shows_source = out.pixels != NULL;
    if (!shows_source)
        out.pixels = make_card(u, p, st, err.text);
    picture_meta meta = {.generation = p->generation,
                         .seq = p->seq,
                         .config_rev = p->config_rev,
                         .step = snap->has_step ? snap->step : (int64_t)p->seq,
                         .t = snap->has_t ? snap->t : ts_wall_seconds(),
                         .has_range = out.has_range,
                         .lo = out.lo,
                         .hi = out.hi,
                         .arrived_us = snap->arrived_us ? snap->arrived_us : p->offered_us,
                         .rendered_us = ts_now_us(),
                         .key_interval_us = (int64_t)(p->output.key_interval_s * 1e6)};
    if (out.pixels) {
        if (shows_source) {
            u->width = out.pixels->width;
            u->height = out.pixels->height;
        }
        u->rendered_version = snap->entry.version;
        u->rendered_rev = p->config_rev;
        u->last_render_us = p->start_us;
        picture_publish(u, out.pixels, &meta, snap->metrics, out.metrics);
    }
    ts_trace_span(s->hub->app->trace, "render", s->name, start, queue);
    ts_metrics_observe(s->hub->app->metrics, TS_METRIC_render_seconds, "",
                       (double)(meta.rendered_us - start) * 1e-6);
    pthread_mutex_lock(&s->hub->hub_lock);
    ts_stagetimes_add(&s->times, TS_STAGE_RENDER, meta.rendered_us - start);
    snprintf(s->error, sizeof s->error, "%s", st == TS_OK ? "" : err.text);
    pthread_mutex_unlock(&s->hub->hub_lock);
    ts_viz_output_finish(&out);
    ts_error_clear(&err);
}

/*
 * What can be looked up again is not held between passes: a tensor that nobody else refers to is
 * changed in place, and its memory is not kept twice.
 */
static void release_snapshot(ts_stream *s, const source_box *source)
{
    const ts_source_ops *ops = source->ops;
    if (!ops->depends || ops->push || ops->due)
        return;
    ts_snapshot_finish(&s->snapshot);
    s->snapshot_valid = false;
}

static void count_pass_locked(pass *p, bool rendered)
{
    stream_counters *c = &p->stream->counters;
    if (!p->had_offer)
        return;
    if (!rendered) {
        c->dropped[DROP_SUPERSEDED]++;
        return;
    }
    c->frame_times_us[c->rendered++ % FPS_WINDOW] = p->start_us;
    c->last_update_us = p->start_us;
}

static void run_pass(pass *p, ts_queue *queue)
{
    ts_stream *s = p->stream;
    size_t n_render = 0;
    take_snapshot(p, queue);
    pthread_mutex_lock(&s->hub->hub_lock);
    started_locked(p);
    pthread_mutex_unlock(&s->hub->hub_lock);
    for (size_t i = 0; i < p->n; i++) {
        p->skipped[i] = is_repeat(p, i);
        n_render += !p->skipped[i];
    }
    const ts_entry *entry = &s->snapshot.entry;
    bool keep = p->fresh && p->keeps_tensors && entry->tensor && s->kept_version != entry->version;
    pthread_mutex_lock(&s->hub->hub_lock);
    if (p->fresh && (n_render || keep))
        p->seq = ++s->seq;
    if (keep) {
        s->kept_version = entry->version;
        ts_history_add_tensor(s->history, p->seq, entry);
    }
    count_pass_locked(p, n_render || keep);
    pthread_mutex_unlock(&s->hub->hub_lock);
    for (size_t i = 0; i < p->n; i++)
        if (!p->skipped[i])
            render_unit(p->units[i], p, queue);
    release_snapshot(s, p->source);
}

/* ---- the thread ---- */

static void run_jobs_locked(ts_hub *hub)
{
    while (hub->jobs) {
        ts_render_job *job = hub->jobs;
        hub->jobs = job->next;
        if (!hub->jobs)
            hub->jobs_last = &hub->jobs;
        pthread_mutex_unlock(&hub->hub_lock);
        job->run(job, hub->queue);
        pthread_mutex_lock(&hub->hub_lock);
    }
}

static void drop_removed_locked(ts_hub *hub)
{
    while (hub->removed) {
        ts_stream *s = hub->removed;
        hub->removed = s->next;
        stream_watch_history_end_locked(s);
        pthread_mutex_unlock(&hub->hub_lock);
        ts_stream_unref(s);
        pthread_mutex_lock(&hub->hub_lock);
    }
}

/* Returns when to clean again; INT64_MAX where nothing is idle. */
static int64_t clean_locked(ts_hub *hub, int64_t now)
{
    int64_t again = INT64_MAX;
    for (ts_stream *s = hub->streams; s; s = s->next) {
        stream_remove_idle_locked(s, now);
        for (const unit *u = s->units; u; u = u->next)
            for (const variant *v = u->variants; v; v = v->next)
                if (!v->n_watches)
                    again = now + CLEAN_US;
    }
    return again;
}

static void wait_locked(ts_hub *hub, int64_t until_us)
{
    if (until_us == INT64_MAX) {
        pthread_cond_wait(&hub->work, &hub->hub_lock);
        return;
    }
    struct timespec until = {.tv_sec = until_us / 1000000, .tv_nsec = until_us % 1000000 * 1000};
    pthread_cond_timedwait(&hub->work, &hub->hub_lock, &until);
}

static bool is_stopping(void *arg)
{
    ts_hub *hub = arg;
    pthread_mutex_lock(&hub->hub_lock);
    bool stopping = hub->stopping;
    pthread_mutex_unlock(&hub->hub_lock);
    return stopping;
}

/* Kernels of the usual pictures are compiled now, not when the first viewer waits. */
static void warm_up(ts_hub *hub)
{
    ts_error err = {0};
    if (hub->queue && !hub->app->options.no_warm_up &&
        ts_viz_warm(hub->queue, is_stopping, hub, &err) != TS_OK)
        ts_log(TS_LOG_WARN, "viz", "warm-up error=\"%s\"", err.text);
    ts_error_clear(&err);
}

void render_main(void *arg)
{
    ts_hub *hub = arg;
    int64_t clean_at = 0;
    warm_up(hub);
    pthread_mutex_lock(&hub->hub_lock);
    while (!hub->stopping) {
        int64_t wake, now = ts_now_us();
        run_jobs_locked(hub);
        drop_removed_locked(hub);
        if (now >= clean_at)
            clean_at = clean_locked(hub, now);
        ts_stream *s = choose_locked(hub, now, &wake);
        if (!s) {
            wait_locked(hub, wake < clean_at ? wake : clean_at);
            if (clean_at == INT64_MAX)
                clean_at = ts_now_us() + CLEAN_US;
            continue;
        }
        pass p;
        begin_locked(s, now, &p);
        pthread_mutex_unlock(&hub->hub_lock);
        run_pass(&p, hub->queue);
        pthread_mutex_lock(&hub->hub_lock);
        end_locked(&p);
        pthread_mutex_unlock(&hub->hub_lock);
        source_unref(p.source);
        json_decref(p.view);
        ts_stream_unref(p.stream);
        pthread_mutex_lock(&hub->hub_lock);
    }
    /* those who wait for an answer get it: jobs check for themselves what is left */
    run_jobs_locked(hub);
    pthread_mutex_unlock(&hub->hub_lock);
}

bool ts_hub_run(ts_hub *hub, ts_render_job *job)
{
    pthread_mutex_lock(&hub->hub_lock);
    bool ok = !hub->stopping && hub->render_thread;
    if (ok) {
        job->next = NULL;
        *hub->jobs_last = job;
        hub->jobs_last = &job->next;
        pthread_cond_signal(&hub->work);
    }
    pthread_mutex_unlock(&hub->hub_lock);
    return ok;
}

static ts_status probe_snapshot(const unit *u, const ts_snapshot *snap, ts_queue *queue,
                                const double rect[4], json_t **out, ts_error *err)
{
    const ts_stream *s = u->stream;
    if (!u->viz || !u->view || snap->missing[0] || snap->pixels) {
        *out = json_null();
        return TS_OK;
    }
    ts_viz_input in = {.view = u->view,
                       .entry = snap->entry.tensor ? &snap->entry : NULL,
                       .store = s->hub->app->store,
                       .scale = u->scale * s->output.scale,
                       .format = real_format(u->format)};
    if (rect[2] == 0)
        return ts_viz_probe(u->viz, queue, &in, rect[0], rect[1], out, err);
    return ts_viz_region(u->viz, queue, &in, rect, out, err);
}

ts_status ts_watch_probe(ts_watch *w, ts_queue *queue, const double rect[4], json_t **out,
                         ts_error *err)
{
    unit *u = w->variant->unit;
    ts_stream *s = u->stream;
    if (s->snapshot_valid && s->snapshot_status == TS_OK)
        return probe_snapshot(u, &s->snapshot, queue, rect, out, err);
    ts_snapshot now = {.has_step = false};
    pthread_mutex_lock(&s->hub->hub_lock);
    source_box *box = s->source;
    atomic_fetch_add(&box->refs, 1);
    pthread_mutex_unlock(&s->hub->hub_lock);
    ts_status st = box->ops->snapshot(box->state, queue, &now, err);
    if (st == TS_OK)
        st = probe_snapshot(u, &now, queue, rect, out, err);
    ts_snapshot_finish(&now);
    source_unref(box);
    return st;
}

/* ---- kept tensors ---- */

/* The view of a unit that may not have been rendered yet. */
static ts_status ready_view(unit *u, ts_error *err)
{
    ts_stream *s = u->stream;
    pass p = {.stream = s};
    pthread_mutex_lock(&s->hub->hub_lock);
    p.source = s->source;
    atomic_fetch_add(&p.source->refs, 1);
    p.output = s->output;
    p.config_rev = s->config_rev;
    pthread_mutex_unlock(&s->hub->hub_lock);
    ts_status st = needs_compose(u, &p) ? compose(u, &p, err) : TS_OK;
    if (st == TS_OK && !u->replay_viz)
        st = ts_viz_create(s->hub->app->device, &u->replay_viz, err);
    source_unref(p.source);
    json_decref(p.view);
    return st;
}

static ts_status render_kept(variant *v, ts_queue *queue, const ts_history_item *item,
                             ts_frame **out, ts_error *err)
{
    unit *u = v->unit;
    ts_stream *s = u->stream;
    ts_viz_output picture = {.has_range = false};
    ts_status st = ready_view(u, err);
    if (st != TS_OK)
        return st;
    ts_viz_input in = {.view = u->view,
                       .entry = &item->entry,
                       .store = s->hub->app->store,
                       .scale = u->scale * s->output.scale,
                       .format = real_format(u->format),
                       .seq = item->seq,
                       .auto_indexed = u->format == TS_PIXELS_INDEXED};
    st = ts_viz_render(u->replay_viz, queue, &in, &picture, err);
    if (st == TS_OK) {
        picture_meta meta = {.seq = item->seq,
                             .config_rev = u->view_rev,
                             .step = item->step,
                             .t = item->t,
                             .has_range = picture.has_range,
                             .lo = picture.lo,
                             .hi = picture.hi};
        st = picture_encode_now(v, picture.pixels, &meta, picture.metrics, out, err);
    }
    ts_viz_output_finish(&picture);
    return st;
}

ts_status ts_watch_replay(ts_watch *w, ts_queue *queue, ts_seek_by by, int64_t value,
                          ts_frame **out, ts_error *err)
{
    variant *v = w->variant;
    ts_stream *s = v->unit->stream;
    ts_history_item item = {.frame = NULL};
    pthread_mutex_lock(&s->hub->hub_lock);
    int64_t i = stream_seek_locked(s, by, value);
    if (i >= 0) {
        item = *ts_history_at(s->history, (size_t)i);
        ts_frame_ref(item.frame);
        ts_tensor_ref(item.entry.tensor);
    }
    pthread_mutex_unlock(&s->hub->hub_lock);
    if (i < 0)
        return ts_fail(err, TS_E_NOT_FOUND, "stream '%s' keeps nothing there", s->name);
    if (item.frame) {
        *out = item.frame;
        return TS_OK;
    }
    ts_status st = render_kept(v, queue, &item, out, err);
    ts_tensor_unref(item.entry.tensor);
    return st;
}
