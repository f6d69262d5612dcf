/* {"stream":"other"}: another stream's source, with the other's view under one's own. */
#include <stdlib.h>
#include <string.h>

#include "server/hub_internal.h"

enum {
    MAX_DEPTH = 8 /* of streams that show streams */
};

typedef struct stream_source {
    ts_app *app;
    char other[TS_NAME_MAX + 1];
} stream_source;

/* How many streams deep this thread is; a ring of streams ends in an error. */
static _Thread_local int depth;

static ts_status stream_open(const ts_source_env *env, const json_t *source, void **state,
                             ts_error *err)
{
    static const char *const keys[] = {"stream", NULL};
    const char *name = NULL;
    ts_status st = ts_json_only(source, "source", keys, err);
    if (st == TS_OK)
        st = ts_json_get_string(source, "source", "stream", &name, err);
    if (st == TS_OK)
        st = name ? ts_name_check("stream", name, err)
                  : ts_fail(err, TS_E_OPTION, "source.stream: expected a name");
    if (st == TS_OK && !strcmp(name, env->name))
        st = ts_fail(err, TS_E_OPTION, "source.stream: a stream cannot show itself");
    if (st != TS_OK)
        return st;
    stream_source *s = calloc(1, sizeof *s);
    if (!s)
        return ts_fail(err, TS_E_NO_MEMORY, "source");
    s->app = env->app;
    memcpy(s->other, name, strlen(name) + 1);
    *state = s;
    return TS_OK;
}

static bool stream_depends(void *state, const char *stream)
{
    return !strcmp(((stream_source *)state)->other, stream);
}

static int64_t stream_due(void *state, int64_t now_us)
{
    stream_source *s = state;
    ts_stream *other = s->app->hub ? hub_find_locked(s->app->hub, s->other) : NULL;
    if (!other || !other->source->ops->due || depth >= MAX_DEPTH)
        return INT64_MAX;
    depth++;
    int64_t due = other->source->ops->due(other->source->state, now_us);
    depth--;
    return due;
}

/* The other's source and view, or NULL where there is no such stream. */
static source_box *borrow(const stream_source *s, json_t **view)
{
    ts_hub *hub = s->app->hub;
    source_box *box = NULL;
    if (!hub)
        return NULL;
    pthread_mutex_lock(&hub->hub_lock);
    ts_stream *other = hub_find_locked(hub, s->other);
    if (other) {
        box = other->source;
        atomic_fetch_add(&box->refs, 1);
        if (view)
            *view = json_deep_copy(other->view_json);
    }
    pthread_mutex_unlock(&hub->hub_lock);
    return box;
}

static ts_status stream_compose(void *state, const json_t *view, json_t **out, ts_error *err)
{
    json_t *under = NULL;
    source_box *box = borrow(state, &under);
    json_t *merged = ts_json_merge_patch(under ? under : view, view);
    ts_status st = TS_OK;
    *out = NULL;
    if (depth >= MAX_DEPTH)
        st = ts_fail(err, TS_E_OPTION, "source.stream: streams show each other in a ring");
    if (st == TS_OK && box && box->ops->compose) {
        depth++;
        st = box->ops->compose(box->state, merged, out, err);
        depth--;
    } else if (st == TS_OK) {
        *out = json_incref(merged);
    }
    json_decref(merged);
    json_decref(under);
    source_unref(box);
    return st;
}

static ts_status stream_snapshot(void *state, ts_queue *queue, ts_snapshot *out, ts_error *err)
{
    stream_source *s = state;
    source_box *box = borrow(s, NULL);
    ts_status st = TS_OK;
    if (!box)
        memcpy(out->missing, s->other, sizeof s->other);
    else if (depth >= MAX_DEPTH)
        st = ts_fail(err, TS_E_OPTION, "streams show each other in a ring");
    if (st == TS_OK && box) {
        depth++;
        st = box->ops->snapshot(box->state, queue, out, err);
        depth--;
    }
    source_unref(box);
    return st;
}

const ts_source_ops ts_source_stream = {.key = "stream",
                                        .open = stream_open,
                                        .close = free,
                                        .depends_stream = stream_depends,
                                        .due = stream_due,
                                        .compose = stream_compose,
                                        .snapshot = stream_snapshot};
