/* {"tap":"layers.7","model":"photo"}: an intermediate of a model, whenever it runs. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/clock.h"
#include "server/hub.h"
#include "server/models.h"

typedef struct tap_source {
    ts_stream *stream;
    char model[TS_NAME_MAX + 1], tap[TS_NAME_MAX + 1];
    ts_tap_watch *watch;
    pthread_mutex_t lock; /* guards: newest, version, t, arrived_us */
    ts_tensor *newest;
    uint64_t version;
    double t;
    int64_t arrived_us;
} tap_source;

/* On the thread that ran the model: keep the newest, and let the stream know. */
static void hear(void *arg, ts_tensor *tensor)
{
    tap_source *s = arg;
    pthread_mutex_lock(&s->lock);
    ts_tensor *old = s->newest;
    s->newest = ts_tensor_ref(tensor);
    s->version++;
    s->t = ts_wall_seconds();
    s->arrived_us = ts_now_us();
    pthread_mutex_unlock(&s->lock);
    ts_tensor_unref(old);
    ts_stream_touch(s->stream);
}

static void tap_close(void *state)
{
    tap_source *s = state;
    if (!s)
        return;
    ts_models_unwatch(s->watch);
    ts_tensor_unref(s->newest);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static ts_status tap_open(const ts_source_env *env, const json_t *source, void **state,
                          ts_error *err)
{
    static const char *const keys[] = {"tap", "model", NULL};
    const char *tap = NULL, *model = NULL;
    ts_status st = ts_json_only(source, "source", keys, err);
    if (st == TS_OK)
        st = ts_json_get_string(source, "source", "tap", &tap, err);
    if (st == TS_OK)
        st = ts_json_get_string(source, "source", "model", &model, err);
    if (st == TS_OK && (!tap || !*tap || strlen(tap) > TS_NAME_MAX))
        st = ts_fail(err, TS_E_OPTION, "source.tap: expected a tap's name");
    if (st == TS_OK)
        st = model ? ts_name_check("model", model, err)
                   : ts_fail(err, TS_E_OPTION, "source.model: expected a model's name");
    if (st == TS_OK && !env->app->models)
        st = ts_fail(err, TS_E_NOT_READY, "this server has no device for models");
    if (st != TS_OK)
        return st;
    tap_source *s = calloc(1, sizeof *s);
    if (!s)
        return ts_fail(err, TS_E_NO_MEMORY, "source");
    pthread_mutex_init(&s->lock, NULL);
    s->stream = env->stream;
    snprintf(s->model, sizeof s->model, "%s", model);
    snprintf(s->tap, sizeof s->tap, "%s", tap);
    st = ts_models_watch(env->app->models, model, tap, hear, s, &s->watch, err);
    if (st != TS_OK) {
        tap_close(s);
        return st;
    }
    *state = s;
    return TS_OK;
}

static ts_status tap_snapshot(void *state, ts_queue *queue, ts_snapshot *out, ts_error *err)
{
    tap_source *s = state;
    (void)queue;
    (void)err;
    pthread_mutex_lock(&s->lock);
    out->entry.tensor = ts_tensor_ref(s->newest);
    out->entry.version = s->version;
    out->entry.t = out->t = s->t;
    out->arrived_us = s->arrived_us;
    pthread_mutex_unlock(&s->lock);
    out->has_t = out->entry.tensor != NULL;
    snprintf(out->entry.name, sizeof out->entry.name, "%s", s->tap);
    if (!out->entry.tensor) /* the model has not run yet */
        memcpy(out->missing, s->tap, sizeof s->tap);
    return TS_OK;
}

const ts_source_ops ts_source_tap = {
    .key = "tap", .open = tap_open, .close = tap_close, .snapshot = tap_snapshot};
