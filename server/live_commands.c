/* The messages of clients: JSON commands and binary messages. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/clock.h"
#include "cl/viz/view.h"
#include "server/events.h"
#include "server/live_internal.h"
#include "server/wire.h"
#include "server/wsframe.h"

enum {
    MALFORMED_MAX = 3, /* in a row, then the connection is closed */
    CREDITS = 4,       /* binary messages in hand before reading pauses */
    MAX_PATCH_BYTES = 256 << 10
};

/* ---- wishes ---- */

static ts_status read_tier(const json_t *object, subscriber_wish *w, ts_error *err)
{
    static const char *const tiers[] = {"auto", "lossless", "high", "medium", "low", NULL};
    static const int range[][2] = {{0, 7}, {0, 0}, {0, 2}, {1, 5}, {4, 7}};
    int tier = -1;
    ts_status st = ts_json_get_enum(object, "", "tier", tiers, &tier, err);
    if (st != TS_OK || tier < 0)
        return st;
    w->lossless = tier == 1;
    w->adaptive = tier != 1;
    w->min_level = range[tier][0];
    w->max_level = range[tier][1];
    return TS_OK;
}

static ts_status read_quality(const json_t *object, subscriber_wish *w, ts_error *err)
{
    const json_t *value = json_object_get(object, "quality");
    if (!value)
        return TS_OK;
    if (json_is_string(value) && !strcmp(json_string_value(value), "auto")) {
        w->adaptive = true;
        w->min_level = 0;
        w->max_level = TS_ADAPTIVE_LEVELS - 1;
        return TS_OK;
    }
    int64_t quality = 0;
    ts_status st = ts_json_get_int(object, "", "quality", 1, 100, &quality, err);
    if (st == TS_OK) {
        w->adaptive = false;
        w->quality = (int)quality;
    }
    return st;
}

ts_status wish_read(const json_t *object, subscriber_wish *w, ts_error *err)
{
    ts_status st = read_tier(object, w, err);
    if (st == TS_OK)
        st = read_quality(object, w, err);
    if (st == TS_OK)
        st = ts_json_get_double(object, "", "max_fps", 0.01, 240, &w->max_fps, err);
    if (st == TS_OK)
        st = ts_json_get_double(object, "", "scale", 0.01, 1, &w->scale, err);
    if (st == TS_OK)
        st = ts_json_get_bool(object, "", "lossless", &w->lossless, err);
    if (st == TS_OK)
        st = ts_json_get_bool(object, "", "delta", &w->delta, err);
    return st;
}

/* ---- answers ---- */

static void send_error(session *s, const json_t *message, ts_status status, const char *detail)
{
    json_t *o = json_pack("{s:s,s:s,s:s}", "type", "error", "code", ts_status_code(status),
                          "detail", detail ? detail : "");
    if (!o) /* a detail that is not UTF-8 */
        o = json_pack("{s:s,s:s}", "type", "error", "code", ts_status_code(status));
    json_t *id = json_object_get(message, "id"), *stream = json_object_get(message, "stream");
    if (id)
        json_object_set(o, "id", id);
    if (stream)
        json_object_set(o, "stream", stream);
    ts_conn_send_json(s->conn, o);
    json_decref(o);
}

/* Steals `o`; adds what the request carried. */
static void send_reply(session *s, const json_t *message, json_t *o)
{
    json_t *id = json_object_get(message, "id"), *stream = json_object_get(message, "stream");
    if (id)
        json_object_set(o, "id", id);
    if (stream && !json_object_get(o, "stream"))
        json_object_set(o, "stream", stream);
    ts_conn_send_json(s->conn, o);
    json_decref(o);
}

/* A request without an answer of its own gets one where it has an id. */
static void send_ok(session *s, const json_t *message)
{
    if (json_object_get(message, "id"))
        send_reply(s, message, json_pack("{s:s}", "type", "ok"));
}

/* ---- work for the render thread whose answer comes back ---- */

typedef struct errand {
    ts_render_job job; /* first */
    ts_ws_task task;
    ts_live *live;
    uint64_t session;
    json_t *message;
    uint8_t *payload;
    size_t len;
    ts_stream *stream;
    ts_watch *watch; /* of a probe */
    ts_sink sink;
    double rect[4]; /* of a probe: width 0; of a region */
    ts_seek_by by;
    int64_t value;
    bool playing;
    ts_frame *frame;
    json_t *reply;
    ts_status status;
    ts_error err;
} errand;

static void errand_free(errand *e)
{
    ts_watch_close(e->watch);
    ts_stream_unref(e->stream);
    ts_frame_unref(e->frame);
    json_decref(e->message);
    json_decref(e->reply);
    ts_error_clear(&e->err);
    free(e->payload);
    free(e);
}

static void errand_answer(ts_ws_task *task)
{
    errand *e = (errand *)((char *)task - offsetof(errand, task));
    session *s = live_find_session(e->live, e->session);
    if (s && e->status != TS_OK) {
        send_error(s, e->message, e->status, e->err.text);
    } else if (s && e->reply) {
        send_reply(s, e->message, e->reply);
        e->reply = NULL;
    } else if (s) {
        send_ok(s, e->message);
    }
    errand_free(e);
}

static void replay_answer(ts_ws_task *task)
{
    errand *e = (errand *)((char *)task - offsetof(errand, task));
    session *s = live_find_session(e->live, e->session);
    subscriber *sub = s ? session_find(s, ts_stream_name(e->stream)) : NULL;
    bool found = e->status == TS_OK;
    if (sub && e->playing) {
        if (sub->mode == MODE_PLAY && found && e->frame->seq <= sub->play_to)
            subscriber_show(sub, e->frame, true);
        else if (sub->mode == MODE_PLAY)
            subscriber_play_ended(sub);
        sub->play_waiting = false;
    } else if (sub && found) {
        subscriber_show(sub, e->frame, false);
        send_ok(s, e->message);
    } else if (sub) {
        send_error(s, e->message, e->status, e->err.text);
    }
    errand_free(e);
}

static void errand_return(errand *e)
{
    if (!e->task.run)
        e->task.run = errand_answer;
    if (!ts_ws_post(e->live->ws, &e->task))
        errand_free(e);
}

static void run_probe(ts_render_job *job, ts_queue *queue)
{
    errand *e = (errand *)job;
    json_t *found = NULL;
    bool region = e->rect[2] != 0;
    e->status = ts_watch_probe(e->watch, queue, e->rect, &found, &e->err);
    if (e->status == TS_OK) {
        e->reply = json_pack("{s:s}", "type", region ? "region" : "probe");
        if (json_is_object(found))
            json_object_update(e->reply, found);
        else if (region)
            json_object_update_new(e->reply, json_pack("{s:n}", "stats"));
        else
            json_object_update_new(e->reply, json_pack("{s:n,s:n}", "index", "value"));
    }
    json_decref(found);
    errand_return(e);
}

static void run_replay(ts_render_job *job, ts_queue *queue)
{
    errand *e = (errand *)job;
    e->status = ts_watch_replay(e->watch, queue, e->by, e->value, &e->frame, &e->err);
    e->task.run = replay_answer;
    errand_return(e);
}

static void run_command(ts_render_job *job, ts_queue *queue)
{
    errand *e = (errand *)job;
    (void)queue;
    const char *type = json_string_value(json_object_get(e->message, "type"));
    e->status =
        ts_stream_command(e->stream, type, e->message, e->payload, e->len, &e->reply, &e->err);
    errand_return(e);
}

static errand *errand_new(session *s, const json_t *message, ts_stream *stream)
{
    errand *e = calloc(1, sizeof *e);
    if (!e)
        return NULL;
    e->live = s->live;
    e->session = s->id;
    e->message = json_deep_copy(message);
    e->stream = ts_stream_ref(stream);
    return e;
}

static ts_status errand_go(errand *e, void (*run)(ts_render_job *, ts_queue *), ts_error *err)
{
    e->job.run = run;
    if (ts_hub_run(e->live->app->hub, &e->job))
        return TS_OK;
    errand_free(e);
    return ts_fail(err, TS_E_NOT_READY, "this server has no device, or is stopping");
}

ts_status session_replay(session *s, subscriber *sub, ts_seek_by by, int64_t value,
                         const json_t *message, ts_error *err)
{
    ts_want want;
    errand *e = errand_new(s, message, sub->stream);
    if (!e)
        return ts_fail(err, TS_E_NO_MEMORY, "replay");
    e->by = by;
    e->value = value;
    e->playing = !message;
    subscriber_want(sub, &want);
    want.delta = false;
    ts_status st = ts_stream_watch(sub->stream, &want, &e->sink, &e->watch, err);
    if (st != TS_OK) {
        errand_free(e);
        return st;
    }
    return errand_go(e, run_replay, err);
}

/* Seek for a client: at once where frames are kept, by way of the render thread where tensors are. */
static ts_status seek_for(session *s, subscriber *sub, ts_seek_by by, int64_t value,
                          const json_t *message, ts_error *err)
{
    if (ts_stream_keeps_tensors(sub->stream))
        return session_replay(s, sub, by, value, message, err);
    ts_status st = subscriber_seek(sub, by, value, err);
    if (st == TS_OK)
        send_ok(s, message);
    return st;
}

/* ---- commands on a subscription ---- */

/* `b` over `a` such that applying the result equals applying a, then b (RFC 7396). */
static json_t *combine_patches(const json_t *a, const json_t *b)
{
    if (!json_is_object(a) || !json_is_object(b))
        return json_deep_copy(b);
    json_t *out = json_deep_copy(a), *value;
    const char *key;
    json_object_foreach((json_t *)b, key, value)
    {
        json_t *old = json_object_get(out, key);
        bool whole = !strcmp(key, "colormap");
        json_object_set_new(out, key, whole ? json_deep_copy(value) : combine_patches(old, value));
    }
    return out;
}

static ts_status own_view(subscriber *sub, const json_t *folded, ts_error *err)
{
    json_t *old = sub->patch;
    json_t *patch = old ? combine_patches(old, folded) : json_deep_copy(folded);
    if (json_dumpb(patch, NULL, 0, JSON_COMPACT) > MAX_PATCH_BYTES) {
        json_decref(patch);
        return ts_fail(err, TS_E_TOO_LARGE, "view: over %d bytes", MAX_PATCH_BYTES);
    }
    sub->patch = patch;
    ts_status st = subscriber_rewatch(sub, err);
    if (st != TS_OK) {
        sub->patch = old;
        json_decref(patch);
        return st;
    }
    json_decref(old);
    return TS_OK;
}

static ts_status view_for_all(session *s, subscriber *sub, const char *key, const json_t *value,
                              ts_error *err)
{
    if (!(s->scopes & TS_SCOPE_WRITE))
        return ts_fail(err, TS_E_FORBIDDEN, "changing a %s for all needs the scope write", key);
    json_t *patch = json_pack("{s:O}", key, value);
    ts_status st = ts_hub_patch(s->live->app->hub, ts_stream_name(sub->stream), patch, NULL, err);
    json_decref(patch);
    if (st == TS_OK)
        ts_events_emit(s->live->app->events, "changed", "stream", ts_stream_name(sub->stream),
                       NULL);
    return st;
}

static ts_status apply_view(session *s, subscriber *sub, const json_t *message, const json_t *view,
                            ts_error *err)
{
    static const char *const scopes[] = {"me", "all", NULL};
    int scope = 0;
    json_t *folded = NULL;
    if (!json_is_object(view))
        return ts_fail(err, TS_E_OPTION, "view: expected an object");
    ts_status st = ts_json_get_enum(message, "", "scope", scopes, &scope, err);
    if (st == TS_OK)
        st = ts_view_fold(view, &folded, err);
    if (st == TS_OK)
        st = scope == 1 ? view_for_all(s, sub, "view", folded, err) : own_view(sub, folded, err);
    json_decref(folded);
    return st;
}

static ts_status do_view(session *s, subscriber *sub, const json_t *message, ts_error *err)
{
    ts_status st = apply_view(s, sub, message, json_object_get(message, "view"), err);
    if (st == TS_OK)
        send_ok(s, message);
    return st;
}

static json_t *without_envelope(const json_t *message)
{
    static const char *const envelope[] = {"type", "id", "stream", "scope", "index"};
    json_t *rest = json_deep_copy(message);
    for (size_t i = 0; i < sizeof envelope / sizeof *envelope; i++)
        json_object_del(rest, envelope[i]);
    return rest;
}

/* {"type":"camera","azimuth":…}: short for a view whose camera has these keys. */
static ts_status do_camera(session *s, subscriber *sub, const json_t *message, ts_error *err)
{
    json_t *view = json_pack("{s:o}", "camera", without_envelope(message));
    ts_status st = apply_view(s, sub, message, view, err);
    json_decref(view);
    if (st == TS_OK)
        send_ok(s, message);
    return st;
}

static ts_status do_output(session *s, subscriber *sub, const json_t *message, ts_error *err)
{
    static const char *const scopes[] = {"me", "all", NULL};
    int scope = 0;
    ts_status st = ts_json_get_enum(message, "", "scope", scopes, &scope, err);
    json_t *nested = json_object_get(message, "output");
    json_t *output = nested ? json_incref(nested) : without_envelope(message);
    if (st == TS_OK && scope == 1) {
        st = view_for_all(s, sub, "output", output, err);
    } else if (st == TS_OK) {
        subscriber_wish old = sub->wish, wish = old;
        static const char *const keys[] = {"quality",  "tier",  "max_fps", "scale",
                                           "lossless", "delta", NULL};
        st = ts_json_only(output, "output", keys, err);
        if (st == TS_OK)
            st = wish_read(output, &wish, err);
        if (st == TS_OK) {
            sub->wish = wish;
            if (wish.adaptive && !old.adaptive)
                ts_adaptive_init(&sub->ladder, wish.min_level > 1 ? wish.min_level : 1,
                                 wish.min_level, wish.max_level, 1);
            st = subscriber_rewatch(sub, err);
            if (st != TS_OK)
                sub->wish = old;
        }
    }
    json_decref(output);
    if (st == TS_OK)
        send_ok(s, message);
    return st;
}

static ts_status do_pause(session *s, subscriber *sub, const json_t *message, ts_error *err)
{
    (void)err;
    if (sub->mode == MODE_LIVE && sub->has_last)
        sub->replay_seq = sub->last_seq;
    subscriber_set_mode(sub, MODE_PAUSED);
    send_ok(s, message);
    return TS_OK;
}

static void start_play(subscriber *sub, uint64_t from, uint64_t to, double fps, bool loop)
{
    sub->play_from = from;
    sub->play_to = to;
    sub->play_fps = fps;
    sub->play_loop = loop;
    sub->next_play_us = ts_now_us();
    subscriber_set_mode(sub, MODE_PLAY);
    ts_conn_set_due(sub->session->conn, sub->next_play_us);
}

/* On with the newest; after a seek, on from there. */
static ts_status do_resume(session *s, subscriber *sub, const json_t *message, ts_error *err)
{
    (void)err;
    if (sub->mode == MODE_SEEK)
        start_play(sub, sub->replay_seq + 1, UINT64_MAX, 0, false);
    else if (sub->mode == MODE_PAUSED)
        subscriber_set_mode(sub, MODE_LIVE);
    send_ok(s, message);
    return TS_OK;
}

static ts_status do_live(session *s, subscriber *sub, const json_t *message, ts_error *err)
{
    (void)err;
    subscriber_set_mode(sub, MODE_LIVE);
    send_ok(s, message);
    return TS_OK;
}

static ts_status do_seek(session *s, subscriber *sub, const json_t *message, ts_error *err)
{
    static const struct {
        const char *key;
        ts_seek_by by;
    } ways[] = {{"seq", TS_SEEK_SEQ}, {"step", TS_SEEK_STEP}, {"age", TS_SEEK_AGE}};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        int64_t value = 0;
        if (!json_object_get(message, ways[i].key))
            continue;
        ts_status st = ts_json_get_int(message, "", ways[i].key, INT64_MIN, INT64_MAX, &value, err);
        return st == TS_OK ? seek_for(s, sub, ways[i].by, value, message, err) : st;
    }
    return ts_fail(err, TS_E_OPTION, "seek: expected seq, step or age");
}

static ts_status do_step(session *s, subscriber *sub, const json_t *message, ts_error *err)
{
    int64_t n = 1;
    ts_status st = ts_json_get_int(message, "", "step", -1, 1, &n, err);
    if (st == TS_OK)
        st = ts_json_get_int(message, "", "n", -1, 1, &n, err);
    if (st != TS_OK)
        return st;
    if (sub->mode == MODE_LIVE)
        sub->replay_seq = sub->last_seq;
    return seek_for(s, sub, n < 0 ? TS_SEEK_BEFORE : TS_SEEK_AFTER, (int64_t)sub->replay_seq,
                    message, err);
}

static ts_status do_play(session *s, subscriber *sub, const json_t *message, ts_error *err)
{
    int64_t from = 0, to = INT64_MAX;
    double fps = 30;
    bool loop = false;
    ts_status st = ts_json_get_int(message, "", "from", 0, INT64_MAX, &from, err);
    if (st == TS_OK)
        st = ts_json_get_int(message, "", "to", 0, INT64_MAX, &to, err);
    if (st == TS_OK)
        st = ts_json_get_double(message, "", "fps", 0.1, 240, &fps, err);
    if (st == TS_OK)
        st = ts_json_get_bool(message, "", "loop", &loop, err);
    if (st != TS_OK)
        return st;
    sub->replay_seq = from ? (uint64_t)from - 1 : 0;
    start_play(sub, (uint64_t)from, to == INT64_MAX ? UINT64_MAX : (uint64_t)to, fps, loop);
    send_ok(s, message);
    return TS_OK;
}

static ts_status do_pin(session *s, subscriber *sub, const json_t *message, ts_error *err)
{
    int64_t seq = -1;
    const char *label = NULL;
    bool pin = true;
    if (!(s->scopes & TS_SCOPE_WRITE))
        return ts_fail(err, TS_E_FORBIDDEN, "pinning needs the scope write");
    ts_status st = ts_json_get_int(message, "", "seq", 0, INT64_MAX, &seq, err);
    if (st == TS_OK)
        st = ts_json_get_string(message, "", "label", &label, err);
    if (st == TS_OK)
        st = ts_json_get_bool(message, "", "pin", &pin, err);
    if (st == TS_OK && seq < 0)
        st = ts_fail(err, TS_E_OPTION, "pin: expected seq");
    if (st == TS_OK)
        st = ts_stream_pin(sub->stream, (uint64_t)seq, label, pin, err);
    if (st == TS_OK)
        send_ok(s, message);
    return st;
}

/* A look at the picture, by the render thread. */
static ts_status look(session *s, subscriber *sub, const json_t *message, const double rect[4],
                      ts_error *err)
{
    errand *e = errand_new(s, message, sub->stream);
    if (!e)
        return ts_fail(err, TS_E_NO_MEMORY, "probe");
    memcpy(e->rect, rect, sizeof e->rect);
    ts_want want;
    subscriber_want(sub, &want);
    /* a watch of its own: the subscriber may be gone before the answer */
    ts_status st = ts_stream_watch(sub->stream, &want, &e->sink, &e->watch, err);
    if (st != TS_OK) {
        errand_free(e);
        return st;
    }
    return errand_go(e, run_probe, err);
}

static ts_status do_probe(session *s, subscriber *sub, const json_t *message, ts_error *err)
{
    if (!json_is_number(json_object_get(message, "x")) ||
        !json_is_number(json_object_get(message, "y")))
        return ts_fail(err, TS_E_OPTION, "probe: expected numbers x and y");
    const double rect[4] = {json_number_value(json_object_get(message, "x")),
                            json_number_value(json_object_get(message, "y"))};
    return look(s, sub, message, rect, err);
}

static ts_status do_region(session *s, subscriber *sub, const json_t *message, ts_error *err)
{
    const json_t *list = json_object_get(message, "rect");
    double rect[4] = {0};
    bool ok = json_array_size(list) == 4;
    for (size_t i = 0; ok && i < 4; i++) {
        ok = json_is_number(json_array_get(list, i));
        rect[i] = json_number_value(json_array_get(list, i));
    }
    if (!ok || !(rect[2] > 0) || !(rect[3] > 0))
        return ts_fail(err, TS_E_OPTION, "rect: expected [x,y,w,h] with w and h above 0");
    return look(s, sub, message, rect, err);
}

static ts_status do_ack(session *s, subscriber *sub, const json_t *message, ts_error *err)
{
    int64_t seq = -1;
    ts_status st = ts_json_get_int(message, "", "seq", 0, INT64_MAX, &seq, err);
    if (st != TS_OK)
        return st;
    s->client_acks = true;
    subscriber_ack_seq(sub, (uint64_t)seq, ts_now_us());
    return TS_OK;
}

static ts_status do_keyframe(session *s, subscriber *sub, const json_t *message, ts_error *err)
{
    (void)err;
    sub->has_last = false;
    if (sub->group)
        ts_watch_need_key(sub->group->watch);
    send_ok(s, message);
    return TS_OK;
}

static ts_status do_reset_range(session *s, subscriber *sub, const json_t *message, ts_error *err)
{
    (void)err;
    ts_stream_reset_range(sub->stream);
    send_ok(s, message);
    return TS_OK;
}

/* {"type":"set_panel","index":0,"tensor":"x",…}: one panel of a panels stream, for all. */
static ts_status do_set_panel(session *s, subscriber *sub, const json_t *message, ts_error *err)
{
    int64_t index = -1;
    ts_status st = ts_json_get_int(message, "", "index", 0, 63, &index, err);
    if (st != TS_OK)
        return st;
    json_t *config = ts_stream_json(sub->stream);
    json_t *source = json_object_get(config, "source");
    json_t *panels = json_object_get(source, "panels");
    json_t *panel = index >= 0 ? json_array_get(panels, (size_t)index) : NULL;
    if (panel) {
        json_t *change = without_envelope(message);
        json_array_set_new(panels, (size_t)index, ts_json_merge_patch(panel, change));
        json_decref(change);
        st = view_for_all(s, sub, "source", source, err);
    } else {
        st = ts_fail(err, TS_E_OPTION, "set_panel: index is not one of the stream's panels");
    }
    json_decref(config);
    if (st == TS_OK)
        send_ok(s, message);
    return st;
}

/* What only the stream's source may know: latent, gaze, … */
static ts_status do_other(session *s, subscriber *sub, const json_t *message, ts_error *err)
{
    if (!(s->scopes & (TS_SCOPE_WRITE | TS_SCOPE_INFER)))
        return ts_fail(err, TS_E_FORBIDDEN, "this needs the scope infer or write");
    errand *e = errand_new(s, message, sub->stream);
    if (!e)
        return ts_fail(err, TS_E_NO_MEMORY, "command");
    return errand_go(e, run_command, err);
}

static const struct {
    const char *type;
    ts_status (*run)(session *, subscriber *, const json_t *, ts_error *);
} commands[] = {
    {"ack", do_ack},
    {"camera", do_camera},
    {"keyframe", do_keyframe},
    {"live", do_live},
    {"output", do_output},
    {"pause", do_pause},
    {"pin", do_pin},
    {"play", do_play},
    {"probe", do_probe},
    {"region", do_region},
    {"reset_range", do_reset_range},
    {"resume", do_resume},
    {"seek", do_seek},
    {"set_panel", do_set_panel},
    {"step", do_step},
    {"view", do_view},
};

/* ---- commands on the connection ---- */

static ts_status do_subscribe(session *s, const json_t *message, ts_error *err)
{
    static const char *const keys[] = {"type",    "stream", "id",       "quality", "tier",
                                       "max_fps", "scale",  "lossless", "delta",   NULL};
    const char *name = NULL;
    subscriber_wish wish = s->wish;
    if (!s->multi)
        return ts_fail(err, TS_E_OPTION, "subscribe: this connection has its stream; use /v1/ws");
    ts_status st = ts_json_only(message, "", keys, err);
    if (st == TS_OK)
        st = ts_json_get_string(message, "", "stream", &name, err);
    if (st == TS_OK)
        st = ts_name_check("stream", name ? name : "", err);
    if (st == TS_OK)
        st = wish_read(message, &wish, err);
    if (st == TS_OK)
        st = session_subscribe(s, name, &wish, err);
    if (st == TS_OK)
        send_ok(s, message);
    return st;
}

static ts_status do_unsubscribe(session *s, const json_t *message, ts_error *err)
{
    const char *name = json_string_value(json_object_get(message, "stream"));
    subscriber *sub = name ? session_find(s, name) : NULL;
    if (!s->multi)
        return ts_fail(err, TS_E_OPTION, "unsubscribe: close this connection instead");
    if (!sub)
        return ts_fail(err, TS_E_NOT_FOUND, "no subscription to '%.128s'", name ? name : "");
    subscriber_destroy(sub);
    send_ok(s, message);
    return TS_OK;
}

/* The subscription a message is about: named, or the connection's only one. */
static ts_status addressed(session *s, const json_t *message, subscriber **out, ts_error *err)
{
    const char *name = NULL;
    ts_status st = ts_json_get_string(message, "", "stream", &name, err);
    if (st != TS_OK)
        return st;
    if (name)
        *out = session_find(s, name);
    else if (!s->multi)
        *out = s->subscribers;
    else
        return ts_fail(err, TS_E_OPTION,
                       "stream: missing; on this connection each message names "
                       "its stream");
    if (!*out)
        return ts_fail(err, TS_E_NOT_FOUND, "no subscription to '%.128s'", name ? name : "");
    return TS_OK;
}

static ts_status dispatch(session *s, const char *type, const json_t *message, ts_error *err)
{
    subscriber *sub = NULL;
    if (!strcmp(type, "ping")) {
        send_reply(s, message, json_pack("{s:s,s:f}", "type", "pong", "t", ts_wall_seconds()));
        return TS_OK;
    }
    if (!strcmp(type, "subscribe"))
        return do_subscribe(s, message, err);
    if (!strcmp(type, "unsubscribe"))
        return do_unsubscribe(s, message, err);
    ts_status st = addressed(s, message, &sub, err);
    if (st != TS_OK)
        return st;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (!strcmp(commands[i].type, type))
            return commands[i].run(s, sub, message, err);
    return do_other(s, sub, message, err);
}

static void malformed(session *s, const ts_error *err)
{
    send_error(s, NULL, err->status, err->text);
    if (++s->malformed >= MALFORMED_MAX)
        ts_conn_close(s->conn, TS_WS_CLOSE_POLICY, "three malformed messages in a row");
}

void session_command(session *s, const uint8_t *data, size_t len)
{
    ts_error err = {0};
    json_t *message = NULL;
    ts_status st = ts_json_parse(data, len, &message, &err);
    const char *type = json_string_value(json_object_get(message, "type"));
    if (st == TS_OK && !type)
        (void)ts_fail(&err, TS_E_JSON, "expected an object with a string `type`");
    if (!type) {
        malformed(s, &err);
    } else {
        s->malformed = 0;
        if (dispatch(s, type, message, &err) != TS_OK)
            send_error(s, message, err.status, err.text);
    }
    ts_error_clear(&err);
    json_decref(message);
}

/* ---- binary messages ---- */

typedef struct delivery {
    ts_intake_job job; /* first */
    ts_ws_task task;
    ts_live *live;
    ts_status status;
    char error[256];
} delivery;

static void delivery_told(ts_ws_task *task)
{
    delivery *d = (delivery *)((char *)task - offsetof(delivery, task));
    session *s = live_find_session(d->live, d->job.client);
    if (s) {
        s->intake_pending--;
        ts_conn_pause_reading(s->conn, s->intake_pending >= CREDITS);
        if (d->status != TS_OK) {
            send_error(s, d->job.header, d->status, d->error);
        } else if (d->job.reply) {
            send_reply(s, d->job.header, d->job.reply);
            d->job.reply = NULL;
        }
        static const char credit[] = "{\"type\":\"credit\",\"n\":1}";
        ts_conn_send_text(s->conn, credit, sizeof credit - 1);
    }
    ts_intake_job_free(&d->job);
}

static void delivery_done(ts_intake_job *job, ts_status status, const ts_error *err)
{
    delivery *d = (delivery *)job;
    d->status = status;
    snprintf(d->error, sizeof d->error, "%s", err->text);
    d->task.run = delivery_told;
    if (!ts_ws_post(d->live->ws, &d->task))
        ts_intake_job_free(job);
}

static ts_status check_delivery(session *s, const char *type, const json_t *header,
                                ts_stream **stream, ts_error *err)
{
    static const char *const tensor_keys[] = {"type",  "name", "dtype", "shape", "offset",
                                              "order", "step", "t",     "run",   "encoding",
                                              "tags",  "ack",  "id",    NULL};
    static const char *const frame_keys[] = {"type", "stream", "dtype", "shape", "encoding",
                                             "step", "t",      "id",    "ack",   NULL};
    subscriber *sub = NULL;
    bool frame = !strcmp(type, "frame");
    if (!(s->scopes & TS_SCOPE_WRITE))
        return ts_fail(err, TS_E_FORBIDDEN, "sending %ss needs the scope write", type);
    if (!s->live->intake)
        return ts_fail(err, TS_E_NOT_READY, "this server has no device");
    ts_status st = ts_json_only(header, "", frame ? frame_keys : tensor_keys, err);
    if (st == TS_OK && frame)
        st = addressed(s, header, &sub, err);
    if (st == TS_OK && sub)
        *stream = ts_stream_ref(sub->stream);
    return st;
}

static ts_status deliver(session *s, const json_t *header, const uint8_t *data, size_t len,
                         const uint8_t *payload, size_t payload_len, ts_stream *stream,
                         ts_error *err)
{
    delivery *d = calloc(1, sizeof *d);
    uint8_t *copy = malloc(len ? len : 1);
    if (!d || !copy) {
        free(d);
        free(copy);
        return ts_fail(err, TS_E_NO_MEMORY, "message of %zu octets", len);
    }
    memcpy(copy, data, len);
    d->live = s->live;
    d->job.client = s->id;
    d->job.header = json_deep_copy(header);
    d->job.data = copy;
    d->job.payload = copy + (payload - data);
    d->job.len = payload_len;
    d->job.stream = stream ? ts_stream_ref(stream) : NULL;
    d->job.done = delivery_done;
    if (!ts_intake_submit(s->live->intake, &d->job)) {
        ts_intake_job_free(&d->job);
        return ts_fail(err, TS_E_NOT_READY, "the server is stopping");
    }
    s->intake_pending++;
    ts_conn_pause_reading(s->conn, s->intake_pending >= CREDITS);
    return TS_OK;
}

static ts_status deliver_latent(session *s, const json_t *header, const uint8_t *payload,
                                size_t len, ts_error *err)
{
    subscriber *sub = NULL;
    ts_status st = addressed(s, header, &sub, err);
    if (st == TS_OK && !(s->scopes & (TS_SCOPE_INFER | TS_SCOPE_WRITE)))
        st = ts_fail(err, TS_E_FORBIDDEN, "latents need the scope infer");
    if (st != TS_OK)
        return st;
    errand *e = errand_new(s, header, sub->stream);
    uint8_t *copy = malloc(len ? len : 1);
    if (!e || !copy) {
        free(copy);
        if (e)
            errand_free(e);
        return ts_fail(err, TS_E_NO_MEMORY, "latent");
    }
    if (len)
        memcpy(copy, payload, len);
    e->payload = copy;
    e->len = len;
    return errand_go(e, run_command, err);
}

void session_binary(session *s, const uint8_t *data, size_t len)
{
    ts_error err = {0};
    json_t *header = NULL;
    const uint8_t *payload = NULL;
    size_t payload_len = 0;
    ts_stream *stream = NULL;
    ts_status st = ts_wire_split(data, len, &header, &payload, &payload_len, &err);
    const char *type = json_string_value(json_object_get(header, "type"));
    if (st == TS_OK && !type)
        (void)ts_fail(&err, TS_E_JSON, "message header: expected a string `type`");
    if (!type) {
        malformed(s, &err);
    } else {
        s->malformed = 0;
        if (!strcmp(type, "latent")) {
            st = deliver_latent(s, header, payload, payload_len, &err);
        } else if (!strcmp(type, "tensor") || !strcmp(type, "frame")) {
            st = check_delivery(s, type, header, &stream, &err);
            if (st == TS_OK)
                st = deliver(s, header, data, len, payload, payload_len, stream, &err);
        } else {
            st = ts_fail(&err, TS_E_OPTION, "type: expected tensor, frame or latent");
        }
        if (st != TS_OK)
            send_error(s, header, err.status, err.text);
    }
    ts_stream_unref(stream);
    ts_error_clear(&err);
    json_decref(header);
}
