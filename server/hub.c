#include "server/hub.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/clock.h"
#include "cl/base/fs.h"
#include "cl/base/log.h"
#include "server/hub_internal.h"

enum {
    MAX_STATE_FILE = 64 << 20,
    MAX_FOLLOW_DEPTH = 4,
    REPLAY_FRAMES = 8 /* kept for reuse */
};

static void tell_followers_locked(ts_stream *s, int depth);

/* ---- sources and streams: references ---- */

void source_unref(source_box *box)
{
    if (!box || atomic_fetch_sub_explicit(&box->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (box->ops->close)
        box->ops->close(box->state);
    free(box);
}

static ts_status open_source(ts_stream *s, const json_t *source, source_box **out, ts_error *err)
{
    const ts_source_ops *ops;
    ts_status st = ts_source_find(source, &ops, err);
    if (st != TS_OK)
        return st;
    source_box *box = calloc(1, sizeof *box);
    if (!box)
        return ts_fail(err, TS_E_NO_MEMORY, "source");
    ts_source_env env = {.app = s->hub->app, .stream = s, .name = s->name};
    st = ops->open(&env, source, &box->state, err);
    if (st != TS_OK) {
        free(box);
        return st;
    }
    atomic_init(&box->refs, 1);
    box->ops = ops;
    *out = box;
    return TS_OK;
}

ts_stream *ts_stream_ref(ts_stream *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void ts_stream_unref(ts_stream *s)
{
    if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    /* the table's reference is dropped by the render thread (or without one), which has freed units */
    stream_free_units(s);
    ts_snapshot_finish(&s->snapshot);
    source_unref(s->snapshot_source);
    source_unref(s->source);
    ts_history_destroy(s->history);
    ts_history_destroy(s->sync);
    json_decref(s->source_json);
    json_decref(s->view_json);
    json_decref(s->output_json);
    json_decref(s->extra_json);
    ts_buf_finish(&s->metrics_text);
    free(s);
}

static ts_status stream_create(ts_hub *hub, const char *name, ts_stream **out, ts_error *err)
{
    ts_stream *s = calloc(1, sizeof *s);
    if (!s)
        return ts_fail(err, TS_E_NO_MEMORY, "stream");
    atomic_init(&s->refs, 1);
    s->hub = hub;
    snprintf(s->name, sizeof s->name, "%s", name);
    ts_status st = ts_history_create(&s->history, err);
    if (st != TS_OK) {
        free(s);
        return st;
    }
    *out = s;
    return TS_OK;
}

const char *ts_stream_name(const ts_stream *s)
{
    return s->name;
}

/* ---- configurations ---- */

/* A stream's document, checked: what put and patch exchange under the lock. */
typedef struct config {
    json_t *source, *view, *output, *extra;
    ts_output parsed;
    source_box *box; /* NULL: the source stays */
} config;

static const char *const extra_keys[] = {"run", "tag", "tags", "title", NULL};

static void config_finish(config *c)
{
    json_decref(c->source);
    json_decref(c->view);
    json_decref(c->output);
    json_decref(c->extra);
    source_unref(c->box);
    memset(c, 0, sizeof *c);
}

static ts_status check_view(source_box *box, const json_t *view, ts_error *err)
{
    json_t *composed = NULL;
    ts_view *parsed = NULL;
    ts_status st = TS_OK;
    if (box->ops->compose)
        st = box->ops->compose(box->state, view, &composed, err);
    if (st == TS_OK)
        st = ts_view_parse(composed ? composed : view, &parsed, err);
    ts_view_unref(parsed);
    json_decref(composed);
    return st;
}

/* Take source, view, output and extras out of a whole document. */
static ts_status config_read(const json_t *doc, config *c, ts_error *err)
{
    static const char *const keys[] = {"source", "view", "output", "run", "tag", "tags", "title",
                                       /* what GET adds, so that its answer can be put back */
                                       "name", "config_rev", "version", "ws", "page", "subscribers",
                                       "error", NULL};
    if (!json_is_object(doc))
        return ts_fail(err, TS_E_OPTION, "stream: expected an object");
    ts_status st = ts_json_only(doc, "", keys, err);
    if (st != TS_OK)
        return st;
    json_t *view = json_object_get(doc, "view"), *output = json_object_get(doc, "output");
    if (view && !json_is_object(view) && !json_is_null(view))
        return ts_fail(err, TS_E_OPTION, "view: expected an object");
    if (output && !json_is_object(output) && !json_is_null(output))
        return ts_fail(err, TS_E_OPTION, "output: expected an object");
    if (!json_object_get(doc, "source"))
        return ts_fail(err, TS_E_OPTION, "source: missing");
    c->source = json_deep_copy(json_object_get(doc, "source"));
    c->output = json_is_object(output) ? json_deep_copy(output) : json_object();
    c->extra = json_object();
    for (int i = 0; extra_keys[i]; i++)
        if (json_object_get(doc, extra_keys[i]))
            json_object_set(c->extra, extra_keys[i], json_object_get(doc, extra_keys[i]));
    if (!c->source || !c->output || !c->extra)
        return ts_fail(err, TS_E_NO_MEMORY, "stream");
    json_t *empty = json_object();
    st = ts_view_fold(json_is_object(view) ? view : empty, &c->view, err);
    json_decref(empty);
    return st;
}

static ts_status config_check(ts_stream *s, config *c, bool new_source, source_box *old,
                              ts_error *err)
{
    ts_status st = ts_output_parse(c->output, &c->parsed, err);
    if (st == TS_OK && new_source)
        st = open_source(s, c->source, &c->box, err);
    if (st == TS_OK)
        st = check_view(c->box ? c->box : old, c->view, err);
    return st;
}

/* Swap a checked configuration in; *c gets the old one, to be freed without the lock. */
static void config_swap_locked(ts_stream *s, config *c)
{
    json_t *source = s->source_json, *view = s->view_json, *output = s->output_json,
           *extra = s->extra_json;
    bool kept_tensors = stream_keeps_tensors(s);
    s->source_json = c->source;
    s->view_json = c->view;
    s->output_json = c->output;
    s->extra_json = c->extra;
    s->output = c->parsed;
    c->source = source;
    c->view = view;
    c->output = output;
    c->extra = extra;
    if (c->box) {
        source_box *old = s->source;
        s->source = c->box;
        c->box = old;
    }
    s->config_rev++;
    s->version++;
    s->generation++;
    s->touched_us = ts_now_us();
    const ts_history_options *h = &s->output.history;
    if (stream_keeps_tensors(s) != kept_tensors)
        ts_history_clear(s->history);
    ts_history_configure(s->history, (size_t)(h->on ? h->max_items : s->output.buffer_size),
                         h->max_bytes, (uint64_t)h->every, h->thin_log);
    stream_watch_history_locked(s);
    sync_configure_locked(s);
    tell_followers_locked(s, 1);
    pthread_cond_broadcast(&s->hub->work);
}

json_t *stream_json_locked(const ts_stream *s)
{
    char path[TS_NAME_MAX + 64];
    json_t *o = json_pack("{s:s,s:O,s:O,s:O}", "name", s->name, "source", s->source_json, "view",
                          s->view_json, "output", s->output_json);
    json_object_update(o, s->extra_json);
    json_object_set_new(o, "config_rev", json_integer((json_int_t)s->config_rev));
    json_object_set_new(o, "version", json_integer((json_int_t)s->version));
    json_object_set_new(o, "subscribers", json_integer((json_int_t)stream_viewers(s)));
    snprintf(path, sizeof path, "/v1/streams/%s/ws", s->name);
    json_object_set_new(o, "ws", json_string(path));
    snprintf(path, sizeof path, "/#/stream/%s", s->name);
    json_object_set_new(o, "page", json_string(path));
    if (s->error[0])
        json_object_set_new(o, "error", json_string(s->error));
    /* the caller uses it without the lock, and jansson's values are not safe to share while they are
       replaced: give it a copy */
    json_t *copy = json_deep_copy(o);
    json_decref(o);
    return copy;
}

json_t *ts_stream_json(ts_stream *s)
{
    pthread_mutex_lock(&s->hub->hub_lock);
    json_t *o = stream_json_locked(s);
    pthread_mutex_unlock(&s->hub->hub_lock);
    return o;
}

bool ts_stream_auto_quality(ts_stream *s)
{
    pthread_mutex_lock(&s->hub->hub_lock);
    bool yes = s->output.auto_quality;
    pthread_mutex_unlock(&s->hub->hub_lock);
    return yes;
}

double ts_stream_max_fps(ts_stream *s)
{
    pthread_mutex_lock(&s->hub->hub_lock);
    double fps = s->output.max_fps;
    pthread_mutex_unlock(&s->hub->hub_lock);
    return fps;
}

/* ---- the table ---- */

ts_stream *hub_find_locked(ts_hub *hub, const char *name)
{
    for (ts_stream *s = hub->streams; s; s = s->next)
        if (!strcmp(s->name, name))
            return s;
    return NULL;
}

ts_status ts_hub_find(ts_hub *hub, const char *name, ts_stream **out, ts_error *err)
{
    pthread_mutex_lock(&hub->hub_lock);
    ts_stream *s = hub_find_locked(hub, name);
    if (s)
        ts_stream_ref(s);
    pthread_mutex_unlock(&hub->hub_lock);
    if (!s)
        return ts_fail(err, TS_E_NOT_FOUND, "no stream '%.128s'", name);
    *out = s;
    return TS_OK;
}

static void insert_locked(ts_hub *hub, ts_stream *s)
{
    ts_stream **at = &hub->streams;
    while (*at && strcmp((*at)->name, s->name) < 0)
        at = &(*at)->next;
    s->next = *at;
    *at = s;
    hub->n_streams++;
}

static void want_save(ts_hub *hub)
{
    pthread_mutex_lock(&hub->hub_lock);
    hub->save_wanted = true;
    pthread_cond_signal(&hub->save);
    pthread_mutex_unlock(&hub->hub_lock);
}

/* Insert a new stream, or give an existing one the configuration. */
static ts_status commit(ts_hub *hub, ts_stream *fresh, config *c, const char *event, bool *created,
                        json_t **shown, ts_error *err)
{
    ts_status st = TS_OK;
    pthread_mutex_lock(&hub->hub_lock);
    ts_stream *s = hub_find_locked(hub, fresh->name);
    *created = !s;
    if (!s && fresh->deleted) {
        st = ts_fail(err, TS_E_BUSY, "stream '%s' was deleted meanwhile", fresh->name);
    } else if (!s && hub->n_streams >= (size_t)hub->app->options.max_streams) {
        st = ts_fail(err, TS_E_RATE, "there are %zu streams already (--max-streams)",
                     hub->n_streams);
    } else {
        if (!s) {
            s = ts_stream_ref(fresh);
            insert_locked(hub, s);
        }
        config_swap_locked(s, c);
        if (!*created)
            stream_event_locked(s, event);
        if (shown)
            *shown = stream_json_locked(s);
    }
    pthread_mutex_unlock(&hub->hub_lock);
    return st;
}

ts_status ts_hub_put(ts_hub *hub, const char *name, const json_t *document, bool *created,
                     json_t **shown, ts_error *err)
{
    bool is_new;
    config c = {0};
    ts_stream *s = NULL, *fresh = NULL;
    ts_status st = ts_name_check("stream", name, err);
    if (st != TS_OK)
        return st;
    /* the source is opened for the stream it will belong to: the existing one, or a new one */
    if (ts_hub_find(hub, name, &s, NULL) != TS_OK)
        st = stream_create(hub, name, &fresh, err);
    if (st == TS_OK)
        st = config_read(document, &c, err);
    /* the same source again goes on as it is: a push stream keeps its frame */
    source_box *old = NULL;
    bool same = false;
    if (s && st == TS_OK) {
        pthread_mutex_lock(&hub->hub_lock);
        same = s->source && json_equal(s->source_json, c.source);
        old = same ? s->source : NULL;
        if (old)
            atomic_fetch_add(&old->refs, 1);
        pthread_mutex_unlock(&hub->hub_lock);
    }
    if (st == TS_OK)
        st = config_check(s ? s : fresh, &c, !same, old, err);
    if (st == TS_OK)
        st = commit(hub, s ? s : fresh, &c, "replaced", created ? created : &is_new, shown, err);
    source_unref(old);
    config_finish(&c);
    ts_stream_unref(s);
    ts_stream_unref(fresh);
    if (st == TS_OK)
        want_save(hub);
    return st;
}

/* `document` of GET patched; what the contract replaces whole is replaced whole. */
static json_t *patched(const json_t *document, const json_t *patch, ts_error *err)
{
    json_t *folded = NULL, *copy = json_copy((json_t *)patch);
    json_t *view = json_object_get(patch, "view"), *source = json_object_get(patch, "source");
    if (json_is_object(view)) {
        if (ts_view_fold(view, &folded, err) != TS_OK) {
            json_decref(copy);
            return NULL;
        }
        json_object_set(copy, "view", folded);
    }
    json_t *out = ts_json_merge_patch(document, copy);
    if (source && !json_is_null(source))
        json_object_set_new(out, "source", json_deep_copy(source));
    json_t *colormap = json_object_get(folded, "colormap"),
           *out_view = json_object_get(out, "view");
    if (colormap && !json_is_null(colormap) && out_view)
        json_object_set_new(out_view, "colormap", json_deep_copy(colormap));
    json_decref(copy);
    json_decref(folded);
    if (!out)
        (void)ts_fail(err, TS_E_NO_MEMORY, "patch");
    return out;
}

ts_status ts_hub_patch(ts_hub *hub, const char *name, const json_t *patch, json_t **shown,
                       ts_error *err)
{
    static const char *const keys[] = {"source", "view", "output", "run",
                                       "tag",    "tags", "title",  NULL};
    ts_stream *s;
    bool created;
    ts_status st = ts_hub_find(hub, name, &s, err);
    if (st != TS_OK)
        return st;
    ts_error inner = {0};
    config c = {0};
    json_t *document = NULL;
    st = json_is_object(patch) ? ts_json_only(patch, "", keys, &inner)
                               : ts_fail(&inner, TS_E_OPTION, "patch: expected an object");
    pthread_mutex_lock(&hub->hub_lock);
    source_box *old = s->source;
    if (old)
        atomic_fetch_add(&old->refs, 1);
    json_t *shown_now = stream_json_locked(s);
    pthread_mutex_unlock(&hub->hub_lock);
    if (st == TS_OK) {
        document = patched(shown_now, patch, &inner);
        st = document ? config_read(document, &c, &inner) : inner.status;
    }
    if (st == TS_OK) {
        bool same = json_equal(c.source, json_object_get(shown_now, "source"));
        st = config_check(s, &c, !same, old, &inner);
    }
    if (st == TS_OK)
        st = commit(hub, s, &c, "changed", &created, shown, &inner);
    if (st != TS_OK && err)
        *err = inner;
    else
        ts_error_clear(&inner);
    config_finish(&c);
    json_decref(document);
    json_decref(shown_now);
    source_unref(old);
    ts_stream_unref(s);
    if (st == TS_OK)
        want_save(hub);
    return st;
}

ts_status ts_hub_remove(ts_hub *hub, const char *name, ts_error *err)
{
    pthread_mutex_lock(&hub->hub_lock);
    ts_stream **at = &hub->streams;
    while (*at && strcmp((*at)->name, name))
        at = &(*at)->next;
    ts_stream *s = *at;
    if (s) {
        *at = s->next;
        hub->n_streams--;
        s->deleted = true;
        stream_event_locked(s, "deleted");
        s->next = hub->removed;
        hub->removed = s;
        stream_forget_metrics(s);
        pthread_cond_broadcast(&hub->work);
    }
    pthread_mutex_unlock(&hub->hub_lock);
    if (!s)
        return ts_fail(err, TS_E_NOT_FOUND, "no stream '%.128s'", name);
    want_save(hub);
    return TS_OK;
}

json_t *ts_hub_list(ts_hub *hub, const char *prefix)
{
    json_t *list = json_array();
    pthread_mutex_lock(&hub->hub_lock);
    for (ts_stream *s = hub->streams; s; s = s->next)
        if (!prefix || !strncmp(s->name, prefix, strlen(prefix)))
            json_array_append_new(list, stream_json_locked(s));
    pthread_mutex_unlock(&hub->hub_lock);
    return list;
}

size_t ts_hub_count(ts_hub *hub)
{
    pthread_mutex_lock(&hub->hub_lock);
    size_t n = hub->n_streams;
    pthread_mutex_unlock(&hub->hub_lock);
    return n;
}

/* ---- news ---- */

static void offer_locked(ts_stream *s, int depth)
{
    s->counters.produced++;
    if (ts_mailbox_offer(&s->box, ts_now_us()))
        s->counters.dropped[DROP_SUPERSEDED]++;
    s->generation++;
    s->touched_us = s->box.offered_us;
    pthread_cond_signal(&s->hub->work);
    tell_followers_locked(s, depth + 1);
}

/* Streams that show this one are new with it; `depth` ends rings of streams. */
static void tell_followers_locked(ts_stream *s, int depth)
{
    if (depth > MAX_FOLLOW_DEPTH)
        return;
    for (ts_stream *f = s->hub->streams; f; f = f->next)
        if (f->source && f->source->ops->depends_stream &&
            f->source->ops->depends_stream(f->source->state, s->name))
            offer_locked(f, depth);
}

void stream_offer_locked(ts_stream *s)
{
    offer_locked(s, 0);
}

void ts_stream_touch(ts_stream *s)
{
    pthread_mutex_lock(&s->hub->hub_lock);
    stream_offer_locked(s);
    pthread_mutex_unlock(&s->hub->hub_lock);
}

static bool follows(const ts_stream *s, const char *tensor)
{
    if (s->source && s->source->ops->depends && s->source->ops->depends(s->source->state, tensor))
        return true;
    for (const unit *u = s->units; u; u = u->next)
        for (size_t i = 0; i < u->n_names; i++)
            if (!strcmp(u->names[i], tensor))
                return true;
    return false;
}

/* A stream that shows this very tensor, as opposed to one whose view mentions it. */
static bool shows(const ts_stream *s, const char *tensor)
{
    return s->source && s->source->ops->depends && !s->source->ops->compose &&
           s->source->ops->depends(s->source->state, tensor);
}

static void on_tensor(void *arg, ts_store_change change, const ts_entry *entry)
{
    ts_hub *hub = arg;
    pthread_mutex_lock(&hub->hub_lock);
    for (ts_stream *s = hub->streams; s; s = s->next) {
        if (s->sync && change != TS_STORE_DELETED && shows(s, entry->name))
            sync_record_locked(s, entry);
        else if (follows(s, entry->name))
            stream_offer_locked(s);
    }
    pthread_mutex_unlock(&hub->hub_lock);
}

static int64_t deadline_in(int64_t us, struct timespec *out)
{
    int64_t at = ts_now_us() + us;
    out->tv_sec = at / 1000000;
    out->tv_nsec = at % 1000000 * 1000;
    return at;
}

/*
 * A pushed frame finds the slot busy where the one before has not been taken by a render. Within the
 * budget it replaces it; beyond, it waits. Without watchers nothing is ever taken, so nothing waits.
 */
static ts_status wait_turn(ts_stream *s, int64_t timeout_us, ts_error *err)
{
    ts_hub *hub = s->hub;
    ts_status st = TS_OK;
    struct timespec until;
    int64_t end = deadline_in(timeout_us, &until);
    pthread_mutex_lock(&hub->hub_lock);
    if (s->output.max_frame_drop < 1 && stream_wanted_fps(s) > 0) {
        bool busy = s->box.pending;
        if (!ts_drop_budget_offer(&s->budget, s->output.max_frame_drop, busy)) {
            while (s->box.pending && !s->deleted && !hub->stopping && st == TS_OK &&
                   stream_wanted_fps(s) > 0) {
                if (ts_now_us() >= end)
                    st = ts_fail(err, TS_E_BACKPRESSURE,
                                 "stream '%s' is not ready for another frame (max_frame_drop %g)",
                                 s->name, s->output.max_frame_drop);
                else
                    pthread_cond_timedwait(&hub->pushed, &hub->hub_lock, &until);
            }
        }
    }
    pthread_mutex_unlock(&hub->hub_lock);
    return st;
}

ts_status ts_stream_push(ts_stream *s, ts_pushed *frame, int64_t timeout_us, ts_error *err)
{
    pthread_mutex_lock(&s->hub->hub_lock);
    source_box *box = s->source;
    atomic_fetch_add(&box->refs, 1);
    pthread_mutex_unlock(&s->hub->hub_lock);
    ts_status st = TS_OK;
    if (!box->ops->push)
        st = ts_fail(err, TS_E_OPTION, "stream '%s' has a source that takes no frames", s->name);
    if (st == TS_OK)
        st = wait_turn(s, timeout_us, err);
    if (st == TS_OK)
        st = box->ops->push(box->state, frame, err);
    if (st == TS_OK) {
        ts_entry entry = {.tensor = frame->tensor, .step = frame->step, .t = frame->t};
        pthread_mutex_lock(&s->hub->hub_lock);
        entry.version = s->sync_seq + 1;
        sync_record_locked(s, &entry);
        pthread_mutex_unlock(&s->hub->hub_lock);
    }
    source_unref(box);
    return st;
}

ts_status ts_stream_command(ts_stream *s, const char *type, const json_t *message,
                            const void *payload, size_t len, json_t **reply, ts_error *err)
{
    pthread_mutex_lock(&s->hub->hub_lock);
    source_box *box = s->source;
    atomic_fetch_add(&box->refs, 1);
    pthread_mutex_unlock(&s->hub->hub_lock);
    ts_status st =
        box->ops->command
            ? box->ops->command(box->state, type, message, payload, len, reply, err)
            : ts_fail(err, TS_E_NOT_FOUND, "the source of '%s' knows no '%.40s'", s->name, type);
    source_unref(box);
    return st;
}

void ts_stream_reset_range(ts_stream *s)
{
    pthread_mutex_lock(&s->hub->hub_lock);
    s->reset_range = true;
    s->generation++;
    pthread_cond_signal(&s->hub->work);
    pthread_mutex_unlock(&s->hub->hub_lock);
}

/* ---- history ---- */

json_t *ts_stream_history(ts_stream *s)
{
    pthread_mutex_lock(&s->hub->hub_lock);
    json_t *o = json_pack("{s:s,s:b,s:I,s:o}", "keep",
                          s->output.history.keep == TS_KEEP_TENSORS ? "tensors" : "frames", "on",
                          s->output.history.on, "bytes", (json_int_t)ts_history_bytes(s->history),
                          "items", ts_history_json(s->history));
    pthread_mutex_unlock(&s->hub->hub_lock);
    return o;
}

int64_t stream_seek_locked(const ts_stream *s, ts_seek_by by, int64_t value)
{
    const ts_history *h = s->history;
    int64_t n = (int64_t)ts_history_count(h), i;
    switch (by) {
    case TS_SEEK_SEQ:
        return value < 0 ? -1 : ts_history_find_seq(h, (uint64_t)value);
    case TS_SEEK_STEP:
        return ts_history_find_step(h, value);
    case TS_SEEK_AGE:
        return value < 0 || value >= n ? -1 : n - 1 - value;
    case TS_SEEK_AFTER:
        i = ts_history_find_seq(h, (uint64_t)value) + 1;
        return i < n ? i : -1;
    case TS_SEEK_BEFORE:
        return value > 0 ? ts_history_find_seq(h, (uint64_t)value - 1) : -1;
    }
    return -1;
}

ts_status ts_stream_seek(ts_stream *s, ts_seek_by by, int64_t value, ts_frame **out, ts_error *err)
{
    pthread_mutex_lock(&s->hub->hub_lock);
    int64_t i = stream_seek_locked(s, by, value);
    *out =
        i >= 0 ? ts_frame_ref(ts_history_at(s->history, (size_t)i)->frame) : NULL; /* no tensor */
    pthread_mutex_unlock(&s->hub->hub_lock);
    if (*out)
        return TS_OK;
    return ts_fail(err, TS_E_NOT_FOUND, "stream '%s' keeps no frame there", s->name);
}

bool ts_stream_keeps_tensors(ts_stream *s)
{
    pthread_mutex_lock(&s->hub->hub_lock);
    bool yes = stream_keeps_tensors(s);
    pthread_mutex_unlock(&s->hub->hub_lock);
    return yes;
}

ts_status ts_stream_pin(ts_stream *s, uint64_t seq, const char *label, bool pin, ts_error *err)
{
    pthread_mutex_lock(&s->hub->hub_lock);
    ts_status st = ts_history_pin(s->history, seq, label, pin, err);
    pthread_mutex_unlock(&s->hub->hub_lock);
    return st;
}

/* ---- state on disk ---- */

ts_status ts_hub_save(ts_hub *hub, ts_error *err)
{
    if (!hub->path)
        return TS_OK;
    json_t *list = json_object();
    pthread_mutex_lock(&hub->hub_lock);
    hub->save_wanted = false;
    for (ts_stream *s = hub->streams; s; s = s->next) {
        json_t *o = json_pack("{s:O,s:O,s:O}", "source", s->source_json, "view", s->view_json,
                              "output", s->output_json);
        json_object_update(o, s->extra_json);
        json_object_set_new(list, s->name, json_deep_copy(o));
        json_decref(o);
    }
    pthread_mutex_unlock(&hub->hub_lock);
    json_t *doc = json_pack("{s:i,s:o}", "format", 1, "streams", list);
    ts_buf text = {0};
    ts_json_write(doc, &text);
    json_decref(doc);
    pthread_mutex_lock(&hub->file_lock);
    ts_status st = text.failed ? ts_fail(err, TS_E_NO_MEMORY, "streams.json")
                               : ts_fs_write_atomic(hub->path, text.data, text.len, err);
    pthread_mutex_unlock(&hub->file_lock);
    ts_buf_finish(&text);
    return st;
}

static void save_main(void *arg)
{
    ts_hub *hub = arg;
    for (;;) {
        pthread_mutex_lock(&hub->hub_lock);
        while (!hub->save_wanted && !hub->stopping)
            pthread_cond_wait(&hub->save, &hub->hub_lock);
        bool save = hub->save_wanted, stop = hub->stopping;
        pthread_mutex_unlock(&hub->hub_lock);
        ts_error err = {0};
        if (save && ts_hub_save(hub, &err) != TS_OK)
            ts_log_error(TS_LOG_ERROR, "streams", "streams.json is not written", &err);
        ts_error_clear(&err);
        if (stop)
            return;
    }
}

static void load_streams(ts_hub *hub, const json_t *doc)
{
    const char *name;
    json_t *o;
    json_object_foreach(json_object_get(doc, "streams"), name, o)
    {
        ts_error err = {0};
        if (ts_hub_put(hub, name, o, NULL, NULL, &err) != TS_OK) {
            ts_error_prefix(&err, "stream %s", name);
            ts_log_error(TS_LOG_WARN, "streams", "not restored", &err);
        }
        ts_error_clear(&err);
    }
}

static void load_state(ts_hub *hub)
{
    ts_buf text = {0};
    ts_error err = {0};
    json_t *doc = NULL;
    ts_status st = ts_fs_read(hub->path, MAX_STATE_FILE, &text, &err);
    if (st == TS_OK)
        st = ts_json_parse(text.data, text.len, &doc, &err);
    if (st == TS_OK) {
        load_streams(hub, doc);
    } else if (st != TS_E_NOT_FOUND) {
        char bad[4096];
        snprintf(bad, sizeof bad, "%s.bad-%lld", hub->path, (long long)ts_wall_seconds());
        ts_log_error(TS_LOG_WARN, "streams", "streams.json is unreadable and was set aside", &err);
        (void)rename(hub->path, bad);
    }
    json_decref(doc);
    ts_error_clear(&err);
    ts_buf_finish(&text);
}

/* ---- start and stop ---- */

static ts_status start_threads(ts_hub *hub, ts_error *err)
{
    ts_app *app = hub->app;
    ts_status st = ts_encode_pool_create(0, &hub->encoders, err);
    if (st == TS_OK)
        st = ts_encoder_create(&hub->replay_encoder, err);
    if (st == TS_OK)
        st = ts_frame_pool_create(REPLAY_FRAMES, &hub->replay_frames, err);
    if (st == TS_OK && app->device)
        st = ts_queue_create(app->device, "render", &hub->queue, err);
    if (st == TS_OK && app->device)
        st = ts_thread_start("ts-render", render_main, hub, &hub->render_thread, err);
    if (st == TS_OK && hub->path)
        st = ts_thread_start("ts-save", save_main, hub, &hub->save_thread, err);
    return st;
}

ts_status ts_hub_create(ts_app *app, ts_hub **out, ts_error *err)
{
    ts_hub *hub = calloc(1, sizeof *hub);
    if (!hub)
        return ts_fail(err, TS_E_NO_MEMORY, "streams");
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&hub->hub_lock, NULL);
    pthread_mutex_init(&hub->file_lock, NULL);
    pthread_cond_init(&hub->work, &attr);
    pthread_cond_init(&hub->pushed, &attr);
    pthread_cond_init(&hub->save, &attr);
    pthread_condattr_destroy(&attr);
    hub->app = app;
    app->hub = hub; /* sources look each other up through it from the start */
    hub->jobs_last = &hub->jobs;
    if (app->options.data_dir && app->options.data_dir[0]) {
        size_t n = strlen(app->options.data_dir) + sizeof "/streams.json";
        hub->path = malloc(n);
        if (hub->path)
            snprintf(hub->path, n, "%s/streams.json", app->options.data_dir);
    }
    ts_status st = start_threads(hub, err);
    if (st != TS_OK) {
        ts_hub_destroy(hub);
        return st;
    }
    if (app->store)
        ts_store_observe(app->store, on_tensor, hub);
    hub->observes = app->store != NULL;
    if (hub->path)
        load_state(hub);
    *out = hub;
    return TS_OK;
}

void ts_hub_destroy(ts_hub *hub)
{
    if (!hub)
        return;
    if (hub->observes)
        ts_store_observe(hub->app->store, NULL, NULL);
    pthread_mutex_lock(&hub->hub_lock);
    hub->stopping = true;
    pthread_cond_broadcast(&hub->work);
    pthread_cond_broadcast(&hub->pushed);
    pthread_cond_broadcast(&hub->save);
    pthread_mutex_unlock(&hub->hub_lock);
    ts_thread_join(hub->save_thread);
    ts_thread_join(hub->render_thread);
    ts_encode_pool_destroy(hub->encoders);
    while (hub->streams || hub->removed) {
        ts_stream **list = hub->streams ? &hub->streams : &hub->removed, *s = *list;
        *list = s->next;
        pthread_mutex_lock(&hub->hub_lock);
        stream_watch_history_end_locked(s);
        pthread_mutex_unlock(&hub->hub_lock);
        ts_stream_unref(s);
    }
    ts_encoder_destroy(hub->replay_encoder);
    ts_frame_pool_destroy(hub->replay_frames);
    ts_queue_destroy(hub->queue);
    pthread_cond_destroy(&hub->save);
    pthread_cond_destroy(&hub->pushed);
    pthread_cond_destroy(&hub->work);
    pthread_mutex_destroy(&hub->file_lock);
    pthread_mutex_destroy(&hub->hub_lock);
    free(hub->path);
    hub->app->hub = NULL;
    free(hub);
}
