/*
 * {"gaze":{…,"input":<source>}}: the accumulated output of a gaze session over another source's
 * frames. Options change by {"type":"gaze",…} without losing the state; {"type":"gaze_perf"} asks
 * for the performance record.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/clock.h"
#include "server/gaze.h"
#include "server/gazeperf.h"
#include "server/hub.h"
#include "server/source_pixels.h"

typedef struct gaze_source {
    ts_app *app;
    ts_stream *stream;
    const ts_source_ops *inner;
    void *inner_state;
    /* render thread: */
    ts_gaze_session *session; /* NULL: its model is not loaded yet */
    json_t *options;          /* for when it is */
    ts_queue *own;            /* models load here */
    ts_buffer *rgba;          /* frames with other channels, widened */
    size_t rgba_bytes;
    ts_tensor *input;    /* the last frame, which panels are drawn from */
    ts_gaze_image image; /* where it lies */
    uint64_t input_version;
    int64_t input_step;
    bool stepped, restyle; /* options changed since */
    ts_gaze_step step;
    ts_gaze_perf perf;
    ts_tensor *shown;
    uint64_t version;
} gaze_source;

static void gaze_close(void *state)
{
    gaze_source *g = state;
    if (!g)
        return;
    if (g->inner && g->inner->close)
        g->inner->close(g->inner_state);
    ts_gaze_session_destroy(g->session);
    ts_buffer_unref(g->rgba);
    ts_tensor_unref(g->input);
    ts_tensor_unref(g->shown);
    ts_queue_destroy(g->own);
    json_decref(g->options);
    free(g);
}

static ts_status open_input(gaze_source *g, const ts_source_env *env, const json_t *input,
                            ts_error *err)
{
    if (!input)
        return ts_fail(err, TS_E_OPTION, "source.gaze.input: missing; e.g. {\"push\":true}");
    ts_status st = ts_source_find(input, &g->inner, err);
    if (st == TS_OK && (!strcmp(g->inner->key, "panels") || !strcmp(g->inner->key, "compare") ||
                        !strcmp(g->inner->key, "glob")))
        st = ts_fail(err, TS_E_OPTION,
                     "source.gaze.input: frames come from push, clip, tensor or "
                     "stream, not %s",
                     g->inner->key);
    if (st == TS_OK)
        st = g->inner->open(env, input, &g->inner_state, err);
    return st;
}

/* A model that is not loaded yet is no error: the stream shows its name until it is. */
static ts_status open_session(gaze_source *g, ts_error *err)
{
    ts_error own = {0};
    ts_status st = ts_gaze_session_create(g->app->device, g->own, g->options, &g->session, &own);
    if (st == TS_E_NOT_FOUND)
        st = TS_OK;
    else if (st != TS_OK)
        (void)ts_fail(err, st, "source.gaze: %s", own.text);
    ts_error_clear(&own);
    return st;
}

static ts_status gaze_open(const ts_source_env *env, const json_t *source, void **state,
                           ts_error *err)
{
    static const char *const keys[] = {"gaze", NULL};
    const json_t *object = json_object_get(source, "gaze");
    ts_status st = ts_json_only(source, "source", keys, err);
    if (st == TS_OK && !json_is_object(object))
        st = ts_fail(err, TS_E_OPTION, "source.gaze: expected an object");
    if (st == TS_OK && !env->app->device)
        st = ts_fail(err, TS_E_NOT_READY, "this server has no device");
    if (st == TS_OK && json_object_get(object, "model_dir"))
        st = ts_fail(err, TS_E_OPTION, "source.gaze: unknown key model_dir; name a \"model\"");
    if (st != TS_OK)
        return st;
    gaze_source *g = calloc(1, sizeof *g);
    if (!g)
        return ts_fail(err, TS_E_NO_MEMORY, "source");
    g->app = env->app;
    g->stream = env->stream;
    g->options = json_copy((json_t *)(uintptr_t)object);
    json_object_del(g->options, "input");
    st = ts_queue_create(env->app->device, "gaze", &g->own, err);
    if (st == TS_OK)
        st = open_session(g, err);
    if (st == TS_OK)
        st = open_input(g, env, json_object_get(object, "input"), err);
    if (st != TS_OK) {
        gaze_close(g);
        return st;
    }
    *state = g;
    return TS_OK;
}

/* Where a tensor [H,W], [H,W,1], [H,W,3] or [H,W,4] of u8 lies as RGBA8. */
static ts_status as_rgba(gaze_source *g, ts_queue *queue, ts_error *err)
{
    const ts_tensor *t = g->input;
    const ts_shape *s = ts_tensor_shape(t);
    int64_t channels = s->rank == 2 ? 1 : s->rank == 3 ? s->dim[2] : 0;
    bool fits = ts_tensor_dtype(t) == TS_U8 && (channels == 1 || channels == 3 || channels == 4) &&
                s->dim[0] > 0 && s->dim[1] > 0 && s->dim[0] <= 16384 && s->dim[1] <= 16384;
    if (!fits)
        return ts_fail(err, TS_E_SHAPE,
                       "gaze takes frames of u8 [H,W], [H,W,3] or [H,W,4], not %s %s",
                       ts_dtype_name(ts_tensor_dtype(t)), ts_shape_text(s, (char[96]){0}, 96));
    g->image =
        (ts_gaze_image){ts_tensor_buffer(t), ts_tensor_offset(t), (int)s->dim[1], (int)s->dim[0]};
    if (channels == 4)
        return TS_OK;
    size_t n = (size_t)s->dim[0] * (size_t)s->dim[1];
    ts_status st = TS_OK;
    if (!g->rgba || g->rgba_bytes != 4 * n) {
        ts_buffer_unref(g->rgba);
        g->rgba = NULL;
        g->rgba_bytes = 4 * n;
        st = ts_buffer_create(g->app->device, 4 * n, &g->rgba, err);
    }
    if (st == TS_OK)
        st =
            ts_gaze_expand(queue, g->image.buffer, g->image.offset, (int)channels, n, g->rgba, err);
    g->image.buffer = g->rgba;
    g->image.offset = 0;
    return st;
}

/* The picture in a tensor of its own: history and other variants may keep it. */
static ts_status make_picture(gaze_source *g, ts_queue *queue, ts_error *err)
{
    ts_gaze_image picture;
    ts_tensor *fresh = NULL;
    ts_status st = ts_gaze_session_picture(g->session, queue, &g->image, &picture, err);
    if (st != TS_OK)
        return st;
    ts_shape shape = TS_SHAPE(picture.height, picture.width, 4);
    st = ts_tensor_create(g->app->device, TS_U8, &shape, &fresh, err);
    if (st == TS_OK)
        st = ts_buffer_copy(queue, picture.buffer, picture.offset, ts_tensor_buffer(fresh),
                            ts_tensor_offset(fresh), ts_tensor_nbytes(fresh), err);
    if (st != TS_OK) {
        ts_tensor_unref(fresh);
        return st;
    }
    ts_tensor_unref(g->shown);
    g->shown = fresh;
    g->version++;
    return TS_OK;
}

/* Take the input's frame where it is new; draw where it or the options are. */
static ts_status follow(gaze_source *g, ts_queue *queue, const ts_snapshot *in, ts_error *err)
{
    bool fresh = !g->stepped || in->entry.version != g->input_version;
    int64_t start = ts_now_us(), stepped = start;
    if (fresh) {
        if (g->stepped && in->has_step && in->step < g->input_step)
            ts_gaze_session_reset(g->session); /* restarted or sought */
        ts_tensor_unref(g->input);
        g->input = ts_tensor_ref(in->entry.tensor);
        g->input_version = in->entry.version;
        g->input_step = in->step;
        g->stepped = false;
        ts_status st = as_rgba(g, queue, err);
        if (st == TS_OK)
            st = ts_gaze_session_step(g->session, queue, &g->image, &g->step, err);
        if (st != TS_OK)
            return st;
        g->stepped = true;
        stepped = ts_now_us();
    }
    if (!fresh && !g->restyle && g->shown)
        return TS_OK;
    g->restyle = false;
    ts_status st = make_picture(g, queue, err);
    int64_t now = ts_now_us();
    if (st == TS_OK && fresh)
        ts_gaze_perf_add(&g->perf, &g->step, g->image.width, g->image.height, now - stepped,
                         now - start, now);
    return st;
}

/* A finished picture instead of a tensor becomes one. */
static ts_status upload(ts_snapshot *in, ts_queue *queue, ts_error *err)
{
    const ts_pixels *px = in->pixels;
    int channels = px->format == TS_PIXELS_RGB8 ? 3 : px->format == TS_PIXELS_RGBA8 ? 4 : 0;
    ts_shape shape = TS_SHAPE(px->height, px->width, channels);
    size_t row = (size_t)px->width * (size_t)channels;
    if (!channels || px->stride[0] != row)
        return ts_fail(err, TS_E_SHAPE, "the input's pictures are not packed RGB");
    in->entry.version = (uint64_t)(in->arrived_us ? in->arrived_us : ts_now_us());
    return ts_tensor_from_host(queue, TS_U8, &shape, px->plane[0], row * (size_t)px->height,
                               &in->entry.tensor, err);
}

static ts_status gaze_snapshot(void *state, ts_queue *queue, ts_snapshot *out, ts_error *err)
{
    gaze_source *g = state;
    ts_snapshot in = {0};
    ts_status st = g->inner->snapshot(g->inner_state, queue, &in, err);
    if (st == TS_OK && !g->session)
        st = open_session(g, err);
    if (st == TS_OK && !g->session) {
        const char *model = json_string_value(json_object_get(g->options, "model"));
        snprintf(out->missing, sizeof out->missing, "%s", model ? model : "autogaze");
    } else if (st == TS_OK && in.missing[0]) {
        memcpy(out->missing, in.missing, sizeof in.missing);
    } else if (st == TS_OK && !in.entry.tensor && !(in.pixels && upload(&in, queue, err) == TS_OK))
    {
        st = ts_fail(err, TS_E_SHAPE, "the input gives no frames");
    } else if (st == TS_OK) {
        st = follow(g, queue, &in, err);
    }
    if (st == TS_OK && !out->missing[0]) {
        snprintf(out->entry.name, sizeof out->entry.name, "%s", in.entry.name);
        out->entry.tensor = ts_tensor_ref(g->shown);
        out->entry.version = g->version;
        out->entry.step = out->step = in.step;
        out->entry.t = out->t = in.t;
        out->has_step = in.has_step;
        out->has_t = in.has_t;
        out->arrived_us = in.arrived_us;
        out->metrics = ts_gaze_step_metrics(&g->step);
    }
    ts_snapshot_finish(&in);
    return st;
}

static ts_status gaze_command(void *state, const char *type, const json_t *message,
                              const void *payload, size_t len, json_t **reply, ts_error *err)
{
    static const char *const envelope[] = {"type", "id", "stream", "scope", "input"};
    gaze_source *g = state;
    if (!strcmp(type, "gaze_perf")) {
        const char *source = g->session ? ts_gaze_session_source(g->session)->name : "";
        *reply = ts_gaze_perf_json(&g->perf, source, ts_device_caps(g->app->device));
        json_object_set_new(*reply, "type", json_string("gaze_perf"));
        return TS_OK;
    }
    if (strcmp(type, "gaze") != 0)
        return g->inner->command
                   ? g->inner->command(g->inner_state, type, message, payload, len, reply, err)
                   : ts_fail(err, TS_E_NOT_FOUND, "a gaze source knows no '%.40s'", type);
    if (json_object_get(message, "model_dir"))
        return ts_fail(err, TS_E_OPTION, "unknown key model_dir; name a \"model\"");
    json_t *patch = json_copy((json_t *)(uintptr_t)message);
    for (size_t i = 0; i < sizeof envelope / sizeof *envelope; i++)
        json_object_del(patch, envelope[i]);
    ts_status st = TS_OK;
    if (g->session) {
        st = ts_gaze_session_set(g->session, g->own, patch, err);
    } else { /* the same options, to wait with */
        json_t *merged = ts_json_merge_patch(g->options, patch);
        json_decref(g->options);
        g->options = merged;
    }
    json_decref(patch);
    if (st != TS_OK)
        return st;
    const json_t *now = g->session ? ts_gaze_session_options(g->session) : g->options;
    *reply =
        json_pack("{s:s,s:o}", "type", "gaze", "options", json_deep_copy((json_t *)(uintptr_t)now));
    g->restyle = g->stepped;
    if (g->session && !ts_gaze_current(ts_gaze_session_core(g->session)).buffer)
        g->stepped = g->restyle = false; /* another source: from the next frame on */
    ts_stream_touch(g->stream);
    return TS_OK;
}

static bool gaze_depends(void *state, const char *tensor)
{
    gaze_source *g = state;
    return g->inner->depends && g->inner->depends(g->inner_state, tensor);
}

static bool gaze_depends_stream(void *state, const char *stream)
{
    gaze_source *g = state;
    return g->inner->depends_stream && g->inner->depends_stream(g->inner_state, stream);
}

static int64_t gaze_due(void *state, int64_t now_us)
{
    gaze_source *g = state;
    return g->inner->due ? g->inner->due(g->inner_state, now_us) : INT64_MAX;
}

static ts_status gaze_push(void *state, ts_pushed *frame, ts_error *err)
{
    gaze_source *g = state;
    if (!g->inner->push)
        return ts_fail(err, TS_E_OPTION, "the input of this gaze stream takes no frames");
    return g->inner->push(g->inner_state, frame, err);
}

const ts_source_ops ts_source_gaze = {.key = "gaze",
                                      .open = gaze_open,
                                      .close = gaze_close,
                                      .depends = gaze_depends,
                                      .depends_stream = gaze_depends_stream,
                                      .due = gaze_due,
                                      .compose = ts_source_pixels_compose,
                                      .snapshot = gaze_snapshot,
                                      .push = gaze_push,
                                      .command = gaze_command};
