/* {"push":true}: frames come from a client; the newest is shown. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/clock.h"
#include "server/hub.h"

typedef struct push_source {
    ts_stream *stream;
    char name[TS_NAME_MAX + 1];
    pthread_mutex_t slot_lock; /* guards: newest, arrived_us */
    ts_entry newest;           /* tensor NULL: none yet */
    int64_t arrived_us;
} push_source;

static ts_status push_open(const ts_source_env *env, const json_t *source, void **state,
                           ts_error *err)
{
    static const char *const keys[] = {"push", NULL};
    bool on = false;
    ts_status st = ts_json_only(source, "source", keys, err);
    if (st == TS_OK)
        st = ts_json_get_bool(source, "source", "push", &on, err);
    if (st == TS_OK && !on)
        st = ts_fail(err, TS_E_OPTION, "source.push: expected true");
    if (st != TS_OK)
        return st;
    push_source *p = calloc(1, sizeof *p);
    if (!p)
        return ts_fail(err, TS_E_NO_MEMORY, "source");
    p->stream = env->stream;
    snprintf(p->name, sizeof p->name, "%s", env->name);
    p->newest.step = -1;
    pthread_mutex_init(&p->slot_lock, NULL);
    *state = p;
    return TS_OK;
}

static void push_close(void *state)
{
    push_source *p = state;
    if (!p)
        return;
    ts_tensor_unref(p->newest.tensor);
    pthread_mutex_destroy(&p->slot_lock);
    free(p);
}

static ts_status push_push(void *state, ts_pushed *frame, ts_error *err)
{
    push_source *p = state;
    (void)err;
    pthread_mutex_lock(&p->slot_lock);
    ts_tensor *old = p->newest.tensor;
    p->newest.tensor = ts_tensor_ref(frame->tensor);
    p->newest.version++;
    if (!frame->has_step)
        frame->step = p->newest.step + 1;
    if (!frame->has_t)
        frame->t = ts_wall_seconds();
    p->newest.step = frame->step;
    p->newest.t = frame->t;
    p->arrived_us = ts_now_us();
    pthread_mutex_unlock(&p->slot_lock);
    ts_tensor_unref(old);
    ts_stream_touch(p->stream);
    return TS_OK;
}

static ts_status push_snapshot(void *state, ts_queue *queue, ts_snapshot *out, ts_error *err)
{
    push_source *p = state;
    (void)queue;
    (void)err;
    pthread_mutex_lock(&p->slot_lock);
    out->entry.tensor = ts_tensor_ref(p->newest.tensor);
    out->entry.version = p->newest.version;
    out->entry.step = out->step = p->newest.step;
    out->entry.t = out->t = p->newest.t;
    out->arrived_us = p->arrived_us;
    pthread_mutex_unlock(&p->slot_lock);
    snprintf(out->entry.name, sizeof out->entry.name, "%s", p->name);
    if (out->entry.tensor)
        out->has_step = out->has_t = true;
    else
        snprintf(out->missing, sizeof out->missing, "%s", p->name);
    return TS_OK;
}

const ts_source_ops ts_source_push = {.key = "push",
                                      .open = push_open,
                                      .close = push_close,
                                      .push = push_push,
                                      .snapshot = push_snapshot};
