/* {"clip":"c1","loop":true,"fps":30}: a clip played by the clock, from when it is first watched. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/clock.h"
#include "server/clips.h"
#include "server/hub.h"
#include "server/source_pixels.h"

enum {
    LOOK_AGAIN_US = 500000 /* for a clip that is not there yet */
};

typedef struct clip_source {
    ts_app *app;
    ts_stream *stream;
    bool ended; /* told, once */
    char id[TS_NAME_MAX + 1];
    bool loop;
    double fps;               /* 0: the clip's */
    ts_clip *clip;            /* render thread; NULL: not there yet */
    _Atomic int64_t start_us; /* 0: not started */
    _Atomic int64_t shown;    /* frames since the start, loops counted; -1: none */
    _Atomic int64_t next_us;  /* when the next one is due */
} clip_source;

static ts_status clip_open(const ts_source_env *env, const json_t *source, void **state,
                           ts_error *err)
{
    static const char *const keys[] = {"clip", "loop", "fps", NULL};
    const char *id = NULL;
    bool loop = false;
    double fps = 0;
    ts_status st = ts_json_only(source, "source", keys, err);
    if (st == TS_OK)
        st = ts_json_get_string(source, "source", "clip", &id, err);
    if (st == TS_OK)
        st = id ? ts_name_check("clip", id, err)
                : ts_fail(err, TS_E_OPTION, "source.clip: expected a clip's id");
    if (st == TS_OK)
        st = ts_json_get_bool(source, "source", "loop", &loop, err);
    if (st == TS_OK)
        st = ts_json_get_double(source, "source", "fps", 0.001, TS_CLIP_MAX_FPS, &fps, err);
    if (st != TS_OK)
        return st;
    clip_source *c = calloc(1, sizeof *c);
    if (!c)
        return ts_fail(err, TS_E_NO_MEMORY, "source");
    c->app = env->app;
    c->stream = env->stream;
    c->loop = loop;
    c->fps = fps;
    atomic_store(&c->shown, -1);
    snprintf(c->id, sizeof c->id, "%s", id);
    *state = c;
    return TS_OK;
}

static void clip_close(void *state)
{
    clip_source *c = state;
    if (!c)
        return;
    ts_clip_unref(c->clip);
    free(c);
}

static int64_t clip_due(void *state, int64_t now_us)
{
    clip_source *c = state;
    (void)now_us;
    return atomic_load(&c->next_us);
}

/* Which frame the clock shows, and when the next one is due. */
static void advance(clip_source *c, int64_t now_us)
{
    double fps = c->fps > 0 ? c->fps : c->clip->fps;
    int64_t start = atomic_load(&c->start_us);
    if (!start) {
        start = now_us;
        atomic_store(&c->start_us, start);
    }
    int64_t n = (int64_t)((double)(now_us - start) * fps * 1e-6), last = c->clip->frames - 1;
    if (!c->loop && n >= last) {
        /* The last frame has its time too; the end is told after it. */
        int64_t end = start + (int64_t)((double)(last + 1) * 1e6 / fps);
        bool over = now_us >= end;
        atomic_store(&c->shown, last);
        atomic_store(&c->next_us, over ? INT64_MAX : end);
        if (over && !c->ended) {
            c->ended = true;
            ts_stream_tell(c->stream, "ended");
        }
        return;
    }
    atomic_store(&c->shown, n);
    atomic_store(&c->next_us, start + (int64_t)((double)(n + 1) * 1e6 / fps) + 1);
}

static ts_status clip_snapshot(void *state, ts_queue *queue, ts_snapshot *out, ts_error *err)
{
    clip_source *c = state;
    int64_t now = ts_now_us();
    (void)queue;
    if (!c->clip &&
        (!c->app->clips || ts_clips_find(c->app->clips, c->id, &c->clip, NULL) != TS_OK)) {
        c->clip = NULL;
        atomic_store(&c->next_us, now + LOOK_AGAIN_US);
        memcpy(out->missing, c->id, sizeof c->id);
        return TS_OK;
    }
    advance(c, now);
    int64_t shown = atomic_load(&c->shown), n = shown % c->clip->frames;
    snprintf(out->entry.name, sizeof out->entry.name, "%s", c->id);
    out->entry.version = (uint64_t)shown + 1;
    out->entry.step = out->step = n;
    out->entry.t = out->t = ts_wall_seconds();
    out->has_step = out->has_t = true;
    out->arrived_us = now;
    return ts_clip_frame_tensor(c->clip, n, &out->entry.tensor, err);
}

ts_status ts_source_pixels_compose(void *state, const json_t *view, json_t **out, ts_error *err)
{
    (void)state;
    *out = json_copy((json_t *)(uintptr_t)view);
    if (!*out)
        return ts_fail(err, TS_E_NO_MEMORY, "no memory for a view");
    if (!json_object_get(*out, "normalize"))
        json_object_set_new(*out, "normalize",
                            json_pack("{s:s,s:i,s:i}", "mode", "fixed", "lo", 0, "hi", 255));
    return TS_OK;
}

const ts_source_ops ts_source_clip = {.key = "clip",
                                      .open = clip_open,
                                      .close = clip_close,
                                      .due = clip_due,
                                      .compose = ts_source_pixels_compose,
                                      .snapshot = clip_snapshot};
