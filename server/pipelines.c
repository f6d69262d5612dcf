#include "server/pipelines.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cl/base/clock.h"
#include "cl/base/fs.h"
#include "cl/base/log.h"
#include "cl/base/size.h"
#include "server/events.h"
#include "server/hub.h"
#include "server/media/pipeline_doc.h"
#include "server/model_detector.h"
#include "server/source.h"

enum {
    VIEWS = 2,
    WATCH_US = 2500000,
    FRESH_WAIT_US = 500000,
    MAX_PIPELINES = 64,
    NAME_MAX_CHARS = 121
};

/* A stream that shows one view of a pipeline. */
typedef struct viewer {
    ts_pipelines *owner;
    ts_stream *stream;
    char name[TS_NAME_MAX + 1];
    ts_pipeline_view view;
    struct viewer *next;
} viewer;

typedef struct entry {
    ts_pipelines *owner;
    char name[TS_NAME_MAX + 1];
    ts_pipeline *pipeline;
    json_t *document; /* completed */
    int users;        /* calls in progress */
    bool wanted;      /* shall run, also after a restart of the server */
    bool removed;
    struct {
        ts_pixels *pixels;
        json_t *meta;
        double t;
        int64_t asked_us; /* when a viewer last looked */
        uint64_t n;
    } view[VIEWS];
} entry;

struct ts_pipelines {
    ts_app *app;
    char directory[PATH_MAX], media[PATH_MAX], outputs[PATH_MAX];
    pthread_mutex_t lock; /* guards: entries, viewers and all in them */
    pthread_cond_t idle;  /* an entry's users went to 0 */
    pthread_cond_t news;  /* a picture came */
    entry *entries[MAX_PIPELINES];
    size_t n;
    viewer *viewers;
};

static entry *find_locked(ts_pipelines *ps, const char *name)
{
    for (size_t i = 0; i < ps->n; i++)
        if (!strcmp(ps->entries[i]->name, name))
            return ps->entries[i];
    return NULL;
}

static ts_status no_such(const char *name, ts_error *err)
{
    return ts_fail(err, TS_E_NOT_FOUND, "no pipeline '%.130s'", name);
}

/* ---- what pipelines ask and tell ---- */

static void tell_event(void *arg, ts_pipeline *pipeline, const char *from, const char *to,
                       const char *reason, const char *detail)
{
    entry *e = arg;
    (void)pipeline;
    ts_events_emit(e->owner->app->events, "state", "pipeline", e->name,
                   json_pack("{s:s, s:s, s:s, s:s}", "from", from, "to", to, "reason", reason,
                             "detail", detail));
}

static bool is_watched(void *arg, ts_pipeline_view view)
{
    entry *e = arg;
    ts_pipelines *ps = e->owner;
    pthread_mutex_lock(&ps->lock);
    bool fresh = ts_now_us() - e->view[view].asked_us < WATCH_US;
    bool first = e->view[view].pixels == NULL; /* so that there is something to show at all */
    pthread_mutex_unlock(&ps->lock);
    return fresh || first;
}

/* Streams are touched without the lock: they may ask back. */
static void touch_viewers(ts_pipelines *ps, const char *name, ts_pipeline_view view)
{
    ts_stream *streams[16];
    size_t n = 0;
    pthread_mutex_lock(&ps->lock);
    for (viewer *v = ps->viewers; v && n < 16; v = v->next)
        if (v->view == view && !strcmp(v->name, name))
            streams[n++] = ts_stream_ref(v->stream);
    pthread_mutex_unlock(&ps->lock);
    for (size_t i = 0; i < n; i++) {
        ts_stream_touch(streams[i]);
        ts_stream_unref(streams[i]);
    }
}

static void take_picture(void *arg, ts_pipeline_view view, ts_pixels *pixels, double t_s,
                         const json_t *meta)
{
    entry *e = arg;
    ts_pipelines *ps = e->owner;
    pthread_mutex_lock(&ps->lock);
    ts_pixels *old = e->view[view].pixels;
    json_t *old_meta = e->view[view].meta;
    e->view[view].pixels = ts_pixels_ref(pixels);
    e->view[view].meta = json_incref((json_t *)meta);
    e->view[view].t = t_s;
    e->view[view].n++;
    pthread_cond_broadcast(&ps->news);
    pthread_mutex_unlock(&ps->lock);
    ts_pixels_unref(old);
    json_decref(old_meta);
    touch_viewers(ps, e->name, view);
}

/* ---- life of an entry ---- */

static void free_entry(entry *e)
{
    ts_pipeline_destroy(e->pipeline);
    for (int i = 0; i < VIEWS; i++) {
        ts_pixels_unref(e->view[i].pixels);
        json_decref(e->view[i].meta);
    }
    json_decref(e->document);
    free(e);
}

static ts_status open_model(void *arg, const char *name, const json_t *detector,
                            ts_model_detector *out, ts_error *err)
{
    const entry *e = arg;
    (void)detector;
    if (!e->owner->app->models)
        return ts_fail(err, TS_E_NOT_READY, "this server has no device for models");
    return ts_model_detector_open(e->owner->app->models, name, out, err);
}

static ts_status make_pipeline(ts_pipelines *ps, entry *e, json_t *document, ts_error *err)
{
    ts_pipeline_host host = {.device = ps->app->device,
                             .media_dir = ps->media,
                             .outputs_dir = ps->outputs,
                             .open_model = open_model,
                             .event = tell_event,
                             .watched = is_watched,
                             .picture = take_picture,
                             .arg = e};
    return ts_pipeline_create(e->name, document, &host, &e->pipeline, err);
}

static ts_status make_entry(ts_pipelines *ps, const char *name, json_t *document, entry **out,
                            ts_error *err)
{
    entry *e = calloc(1, sizeof *e);
    if (!e)
        return ts_fail(err, TS_E_NO_MEMORY, "pipeline %s", name);
    e->owner = ps;
    snprintf(e->name, sizeof e->name, "%s", name);
    e->document = json_incref(document);
    ts_status st = make_pipeline(ps, e, document, err);
    if (st != TS_OK) {
        free_entry(e);
        return st;
    }
    *out = e;
    return TS_OK;
}

static ts_status save(ts_pipelines *ps, const char *name, const json_t *document, bool wanted,
                      ts_error *err)
{
    char path[PATH_MAX + TS_NAME_MAX + 8];
    ts_buf text = {0};
    json_t *file =
        json_pack("{s:i, s:b, s:O}", "format", 1, "running", wanted, "document", document);
    snprintf(path, sizeof path, "%s/%s.json", ps->directory, name);
    ts_json_write(file, &text);
    json_decref(file);
    ts_status st = text.failed ? ts_fail(err, TS_E_NO_MEMORY, "pipeline %s", name)
                               : ts_fs_write_atomic(path, text.data, text.len, err);
    ts_buf_finish(&text);
    return st;
}

/* The two streams; what a person changed in them stays. */
static void make_streams(ts_pipelines *ps, const char *name)
{
    static const char *const outputs[VIEWS] = {"overlay", "camera"};
    if (!ps->app->hub)
        return;
    for (int i = 0; i < VIEWS; i++) {
        char stream[TS_NAME_MAX + 16];
        ts_error err = {0};
        ts_stream *exists = NULL;
        bool created;
        snprintf(stream, sizeof stream, "%s%s", name, i ? ".camera" : "");
        if (ts_hub_find(ps->app->hub, stream, &exists, NULL) == TS_OK) {
            ts_stream_unref(exists);
            continue;
        }
        json_t *document =
            json_pack("{s:{s:s, s:s}}", "source", "pipeline", name, "output", outputs[i]);
        if (ts_hub_put(ps->app->hub, stream, document, &created, NULL, &err) != TS_OK)
            ts_log_error(TS_LOG_WARN, "media", stream, &err);
        ts_error_clear(&err);
        json_decref(document);
    }
}

static void remove_streams(ts_pipelines *ps, const char *name)
{
    char stream[TS_NAME_MAX + 16];
    if (!ps->app->hub)
        return;
    for (int i = 0; i < VIEWS; i++) {
        snprintf(stream, sizeof stream, "%s%s", name, i ? ".camera" : "");
        if (ts_hub_remove(ps->app->hub, stream, NULL) != TS_OK)
            continue; /* a person removed it before */
    }
}

/* Wait until no call uses the entry any more (it is out of the table already). */
static void retire(ts_pipelines *ps, entry *e)
{
    pthread_mutex_lock(&ps->lock);
    while (e->users)
        pthread_cond_wait(&ps->idle, &ps->lock);
    pthread_mutex_unlock(&ps->lock);
    free_entry(e);
}

static entry *unlink_locked(ts_pipelines *ps, const char *name)
{
    for (size_t i = 0; i < ps->n; i++)
        if (!strcmp(ps->entries[i]->name, name)) {
            entry *e = ps->entries[i];
            memmove(&ps->entries[i], &ps->entries[i + 1], (ps->n - i - 1) * sizeof *ps->entries);
            ps->n--;
            return e;
        }
    return NULL;
}

/* ---- creation and end ---- */

static ts_status load(ts_pipelines *ps, const char *file, ts_error *err)
{
    char path[PATH_MAX + 300], name[TS_NAME_MAX + 1];
    ts_buf text = {0};
    json_t *doc = NULL, *complete = NULL;
    entry *e = NULL;
    size_t len = strlen(file);
    if (len < 6 || strcmp(file + len - 5, ".json") || len - 5 > NAME_MAX_CHARS)
        return TS_OK;
    snprintf(name, sizeof name, "%.*s", (int)(len - 5), file);
    snprintf(path, sizeof path, "%s/%s", ps->directory, file);
    ts_status st = ts_fs_read(path, 4 << 20, &text, err);
    if (st == TS_OK)
        st = ts_json_parse(text.data, text.len, &doc, err);
    if (st == TS_OK)
        st = ts_pipeline_doc_complete(json_object_get(doc, "document"), false, &complete, err);
    if (st == TS_OK)
        st = make_entry(ps, name, complete, &e, err);
    if (st == TS_OK && ps->n < MAX_PIPELINES) {
        e->wanted = json_is_true(json_object_get(doc, "running"));
        ps->entries[ps->n++] = e;
    }
    ts_buf_finish(&text);
    json_decref(doc);
    json_decref(complete);
    return st;
}

static void load_all(ts_pipelines *ps)
{
    DIR *dir = opendir(ps->directory);
    struct dirent *file;
    while (dir && (file = readdir(dir)) != NULL) {
        ts_error err = {0};
        if (load(ps, file->d_name, &err) != TS_OK)
            ts_log_error(TS_LOG_ERROR, "media", "a saved pipeline was not loaded", &err);
        ts_error_clear(&err);
    }
    if (dir)
        closedir(dir);
}

ts_status ts_pipelines_create(ts_app *app, ts_pipelines **out, ts_error *err)
{
    ts_pipelines *ps = calloc(1, sizeof *ps);
    if (!ps)
        return ts_fail(err, TS_E_NO_MEMORY, "pipelines");
    ps->app = app;
    pthread_mutex_init(&ps->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&ps->idle, NULL);
    pthread_cond_init(&ps->news, &attr);
    pthread_condattr_destroy(&attr);
    snprintf(ps->directory, sizeof ps->directory, "%s/pipelines", app->options.data_dir);
    snprintf(ps->media, sizeof ps->media, "%s/media", app->options.data_dir);
    snprintf(ps->outputs, sizeof ps->outputs, "%s/outputs", app->options.data_dir);
    ts_status st = ts_fs_mkdirs(ps->directory, err);
    if (st == TS_OK)
        st = ts_fs_mkdirs(ps->media, err);
    if (st == TS_OK)
        st = ts_fs_mkdirs(ps->outputs, err);
    if (st != TS_OK) {
        ts_pipelines_destroy(ps);
        return st;
    }
    load_all(ps);
    *out = ps;
    return TS_OK;
}

void ts_pipelines_resume(ts_pipelines *ps)
{
    for (size_t i = 0; i < ps->n; i++) {
        ts_error err = {0};
        entry *e = ps->entries[i];
        make_streams(ps, e->name);
        if (e->wanted && ts_pipeline_start(e->pipeline, &err) != TS_OK)
            ts_log_error(TS_LOG_ERROR, "media", e->name, &err);
        ts_error_clear(&err);
    }
}

void ts_pipelines_destroy(ts_pipelines *ps)
{
    if (!ps)
        return;
    for (size_t i = 0; i < ps->n; i++)
        free_entry(ps->entries[i]);
    pthread_cond_destroy(&ps->idle);
    pthread_cond_destroy(&ps->news);
    pthread_mutex_destroy(&ps->lock);
    free(ps);
}

/* ---- calls ---- */

ts_status ts_pipelines_get(ts_pipelines *ps, const char *name, ts_pipeline **out, ts_error *err)
{
    pthread_mutex_lock(&ps->lock);
    entry *e = find_locked(ps, name);
    if (e) {
        e->users++;
        *out = e->pipeline;
    }
    pthread_mutex_unlock(&ps->lock);
    return e ? TS_OK : no_such(name, err);
}

void ts_pipelines_done(ts_pipelines *ps, ts_pipeline *pipeline)
{
    pthread_mutex_lock(&ps->lock);
    for (size_t i = 0; i < ps->n; i++)
        if (ps->entries[i]->pipeline == pipeline)
            ps->entries[i]->users--;
    pthread_cond_broadcast(&ps->idle);
    pthread_mutex_unlock(&ps->lock);
}

static ts_status check_name(const char *name, const json_t *document, ts_error *err)
{
    const char *inside = json_string_value(json_object_get(document, "name"));
    if (!ts_name_valid(name) || strlen(name) > NAME_MAX_CHARS)
        return ts_fail(err, TS_E_NAME,
                       "'%.140s' is no pipeline name: 1 to 121 of A-Z a-z 0-9 . _ -", name);
    if (inside && strcmp(inside, name))
        return ts_fail(err, TS_E_OPTION, "name: '%.130s' differs from the route's '%s'", inside,
                       name);
    return TS_OK;
}

/* Put a new entry in the place of an old one. */
static ts_status swap_in(ts_pipelines *ps, entry *e, entry **old, ts_error *err)
{
    ts_status st = TS_OK;
    pthread_mutex_lock(&ps->lock);
    *old = unlink_locked(ps, e->name);
    if (ps->n == MAX_PIPELINES)
        st = ts_fail(err, TS_E_QUEUE_FULL, "there are %d pipelines already", MAX_PIPELINES);
    else
        ps->entries[ps->n++] = e;
    pthread_mutex_unlock(&ps->lock);
    return st;
}

static ts_status replace(ts_pipelines *ps, const char *name, json_t *document, bool *created,
                         ts_error *err)
{
    entry *e = NULL, *old = NULL;
    ts_status st = make_entry(ps, name, document, &e, err);
    if (st != TS_OK)
        return st;
    pthread_mutex_lock(&ps->lock);
    entry *before = find_locked(ps, name);
    e->wanted = before && before->wanted;
    pthread_mutex_unlock(&ps->lock);
    bool restart = e->wanted;
    st = save(ps, name, document, e->wanted, err);
    if (st == TS_OK)
        st = swap_in(ps, e, &old, err);
    if (st != TS_OK) {
        free_entry(e);
        return st;
    }
    *created = !old;
    if (old)
        retire(ps, old); /* stops it: its outputs are closed before the new ones open */
    make_streams(ps, name);
    ts_events_emit(ps->app->events, *created ? "created" : "changed", "pipeline", name, NULL);
    ts_error start = {0};
    if (restart && ts_pipelines_start(ps, name, &start) != TS_OK)
        ts_log_error(TS_LOG_WARN, "media", name, &start);
    ts_error_clear(&start);
    return TS_OK;
}

ts_status ts_pipelines_put(ts_pipelines *ps, const char *name, const json_t *document,
                           bool validate, bool *created, json_t **shown, ts_error *err)
{
    json_t *complete = NULL;
    ts_status st = check_name(name, document, err);
    if (st == TS_OK)
        st = ts_pipeline_doc_complete(document, false, &complete, err);
    if (st == TS_OK)
        json_object_set_new(complete, "name", json_string(name));
    *created = false;
    if (st == TS_OK && !validate)
        st = replace(ps, name, complete, created, err);
    if (st == TS_OK)
        *shown = ts_pipeline_doc_masked(complete);
    json_decref(complete);
    return st;
}

static ts_status apply_patch(ts_pipelines *ps, entry *e, const json_t *patch, json_t **shown,
                             ts_error *err)
{
    json_t *merged = ts_json_merge_patch(e->document, patch), *complete = NULL;
    ts_buf cold = {0};
    ts_status st = ts_pipeline_doc_complete(merged, false, &complete, err);
    if (st == TS_OK && !ts_pipeline_doc_hot(e->document, complete, &cold))
        st = ts_fail(err, TS_E_BUSY, "these keys need a restart, PUT the document instead: %.300s",
                     ts_buf_cstr(&cold));
    if (st == TS_OK)
        st = save(ps, e->name, complete, e->wanted, err);
    if (st == TS_OK) {
        ts_pipeline_set_document(e->pipeline, complete);
        pthread_mutex_lock(&ps->lock);
        json_decref(e->document);
        e->document = json_incref(complete);
        pthread_mutex_unlock(&ps->lock);
        *shown = ts_pipeline_doc_masked(complete);
    }
    ts_buf_finish(&cold);
    json_decref(merged);
    json_decref(complete);
    return st;
}

ts_status ts_pipelines_patch(ts_pipelines *ps, const char *name, const json_t *patch,
                             json_t **shown, ts_error *err)
{
    ts_pipeline *pipeline;
    ts_status st = ts_pipelines_get(ps, name, &pipeline, err);
    if (st != TS_OK)
        return st;
    pthread_mutex_lock(&ps->lock);
    entry *e = find_locked(ps, name);
    pthread_mutex_unlock(&ps->lock);
    st = e ? apply_patch(ps, e, patch, shown, err) : no_such(name, err);
    ts_pipelines_done(ps, pipeline);
    if (st == TS_OK)
        ts_events_emit(ps->app->events, "changed", "pipeline", name, NULL);
    return st;
}

ts_status ts_pipelines_remove(ts_pipelines *ps, const char *name, ts_error *err)
{
    char path[PATH_MAX + TS_NAME_MAX + 8];
    pthread_mutex_lock(&ps->lock);
    entry *e = unlink_locked(ps, name);
    pthread_mutex_unlock(&ps->lock);
    if (!e)
        return no_such(name, err);
    retire(ps, e);
    remove_streams(ps, name);
    snprintf(path, sizeof path, "%s/%s.json", ps->directory, name);
    ts_status st = ts_fs_remove(path, err);
    ts_events_emit(ps->app->events, "deleted", "pipeline", name, NULL);
    return st;
}

static void set_wanted(ts_pipelines *ps, const char *name, bool wanted)
{
    ts_error err = {0};
    json_t *document = NULL;
    pthread_mutex_lock(&ps->lock);
    entry *e = find_locked(ps, name);
    if (e) {
        e->wanted = wanted;
        document = json_incref(e->document);
    }
    pthread_mutex_unlock(&ps->lock);
    if (document && save(ps, name, document, wanted, &err) != TS_OK)
        ts_log_error(TS_LOG_ERROR, "media", name, &err);
    ts_error_clear(&err);
    json_decref(document);
}

ts_status ts_pipelines_start(ts_pipelines *ps, const char *name, ts_error *err)
{
    ts_pipeline *pipeline;
    ts_status st = ts_pipelines_get(ps, name, &pipeline, err);
    if (st != TS_OK)
        return st;
    st = ts_pipeline_start(pipeline, err);
    ts_pipelines_done(ps, pipeline);
    if (st == TS_OK)
        set_wanted(ps, name, true);
    return st;
}

ts_status ts_pipelines_stop(ts_pipelines *ps, const char *name, ts_error *err)
{
    ts_pipeline *pipeline;
    ts_status st = ts_pipelines_get(ps, name, &pipeline, err);
    if (st != TS_OK)
        return st;
    set_wanted(ps, name, false);
    ts_pipeline_stop(pipeline);
    ts_pipelines_done(ps, pipeline);
    return TS_OK;
}

json_t *ts_pipelines_list(ts_pipelines *ps, const char *prefix)
{
    json_t *list = json_array();
    pthread_mutex_lock(&ps->lock);
    for (size_t i = 0; i < ps->n; i++) {
        entry *e = ps->entries[i];
        if (prefix && strncmp(e->name, prefix, strlen(prefix)) != 0)
            continue;
        json_t *all = ts_pipeline_json(e->pipeline);
        static const char *const brief[] = {"name",   "state",      "fps",   "frames_processed",
                                            "source", "reconnects", "error", "timings_ms"};
        json_t *row = json_object();
        for (size_t k = 0; k < sizeof brief / sizeof *brief; k++)
            if (json_object_get(all, brief[k]))
                json_object_set(row, brief[k], json_object_get(all, brief[k]));
        json_array_append_new(list, row);
        json_decref(all);
    }
    pthread_mutex_unlock(&ps->lock);
    return list;
}

/* Views are drawn for watchers only, so the newest picture may be old: ask, and wait a moment. */
ts_pixels *ts_pipelines_picture(ts_pipelines *ps, const char *name, ts_pipeline_view view)
{
    int64_t until = ts_now_us() + FRESH_WAIT_US;
    struct timespec deadline = {.tv_sec = until / 1000000, .tv_nsec = until % 1000000 * 1000};
    pthread_mutex_lock(&ps->lock);
    entry *e = find_locked(ps, name);
    uint64_t seen = e ? e->view[view].n : 0;
    bool running = e && ts_pipeline_healthy(e->pipeline);
    if (e)
        e->view[view].asked_us = ts_now_us();
    int rc = 0;
    while (running && e && e->view[view].n == seen && rc != ETIMEDOUT) {
        rc = pthread_cond_timedwait(&ps->news, &ps->lock, &deadline);
        e = find_locked(ps, name);
    }
    ts_pixels *pixels = e ? ts_pixels_ref(e->view[view].pixels) : NULL;
    pthread_mutex_unlock(&ps->lock);
    return pixels;
}

/* ---- the source {"pipeline":name,"output":"overlay"|"camera"} ---- */

static ts_status source_open(const ts_source_env *env, const json_t *source, void **state,
                             ts_error *err)
{
    static const char *const keys[] = {"pipeline", "output", NULL};
    static const char *const outputs[] = {"overlay", "camera", NULL};
    const char *name = NULL;
    int view = TS_PIPELINE_OVERLAY;
    ts_status st = ts_json_only(source, "source", keys, err);
    if (st == TS_OK)
        st = ts_json_get_string(source, "source", "pipeline", &name, err);
    if (st == TS_OK)
        st = ts_json_get_enum(source, "source", "output", outputs, &view, err);
    if (st == TS_OK)
        st = ts_name_check("pipeline", name, err);
    if (st == TS_OK && !env->app->pipelines)
        st = ts_fail(err, TS_E_NOT_READY, "this server has no device for pipelines");
    viewer *v = st == TS_OK ? calloc(1, sizeof *v) : NULL;
    if (st == TS_OK && !v)
        st = ts_fail(err, TS_E_NO_MEMORY, "source");
    if (st != TS_OK)
        return st;
    ts_pipelines *ps = v->owner = env->app->pipelines;
    v->stream = env->stream;
    v->view = (ts_pipeline_view)view;
    snprintf(v->name, sizeof v->name, "%s", name);
    pthread_mutex_lock(&ps->lock);
    v->next = ps->viewers;
    ps->viewers = v;
    pthread_mutex_unlock(&ps->lock);
    *state = v;
    return TS_OK;
}

static void source_close(void *state)
{
    viewer *v = state;
    if (!v)
        return;
    pthread_mutex_lock(&v->owner->lock);
    for (viewer **at = &v->owner->viewers; *at; at = &(*at)->next)
        if (*at == v) {
            *at = v->next;
            break;
        }
    pthread_mutex_unlock(&v->owner->lock);
    free(v);
}

static ts_status source_snapshot(void *state, ts_queue *queue, ts_snapshot *out, ts_error *err)
{
    viewer *v = state;
    ts_pipelines *ps = v->owner;
    (void)queue, (void)err;
    pthread_mutex_lock(&ps->lock);
    entry *e = find_locked(ps, v->name);
    if (e) {
        e->view[v->view].asked_us = ts_now_us();
        out->pixels = ts_pixels_ref(e->view[v->view].pixels);
        out->metrics = json_incref(e->view[v->view].meta);
        out->has_t = out->pixels != NULL;
        out->t = e->view[v->view].t;
        out->has_step = out->pixels != NULL;
        out->step = (int64_t)e->view[v->view].n;
    }
    pthread_mutex_unlock(&ps->lock);
    if (!out->pixels)
        snprintf(out->missing, sizeof out->missing, "%s", v->name);
    return TS_OK;
}

const ts_source_ops ts_source_pipeline = {
    .key = "pipeline",
    .open = source_open,
    .close = source_close,
    .snapshot = source_snapshot,
};
