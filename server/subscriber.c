/* Subscriptions: groups of equal ones, the two-frame credit, adaptive levels, replay. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/clock.h"
#include "cl/base/log.h"
#include "server/live_internal.h"

enum {
    MIN_INTERVAL_US = 1000,
    SLOW_ACK_US = 50000, /* beyond what the network explains: the client itself is slow */
    SLOW_ACKS = 4,
    DEFAULT_PLAY_FPS = 30
};

/* ---- groups ---- */

static void group_on_frame(ts_sink *sink, ts_frame *frame)
{
    group *g = (group *)sink;
    (void)frame; /* fetched on the thread: the newest counts */
    atomic_fetch_or(&g->events, EVENT_FRAME);
    ts_ws_post(g->live->ws, &g->task);
}

static void group_on_event(ts_sink *sink, const char *event)
{
    group *g = (group *)sink;
    unsigned bit = !strcmp(event, "deleted")    ? EVENT_DELETED
                   : !strcmp(event, "replaced") ? EVENT_REPLACED
                   : !strcmp(event, "ended")    ? EVENT_ENDED
                                                : EVENT_CONFIG;
    atomic_fetch_or(&g->events, bit);
    ts_ws_post(g->live->ws, &g->task);
}

static void group_report(group *g)
{
    if (!g->sent && !g->dropped)
        return;
    ts_stream_count_sent(g->stream, g->sent, g->bytes, g->dropped);
    g->sent = g->bytes = g->dropped = 0;
}

static void group_free(group *g)
{
    group **at = &g->live->groups;
    while (*at && *at != g)
        at = &(*at)->next;
    if (*at)
        *at = g->next;
    ts_watch_close(g->watch);
    ts_ws_cancel(g->live->ws, &g->task);
    if (g->stream)
        group_report(g);
    ts_frame_unref(g->frame);
    ts_stream_unref(g->stream);
    free(g);
}

/* The rate that a subscriber can use; 0: the stream's. */
static double subscriber_fps(const subscriber *sub)
{
    double fps = sub->wish.max_fps;
    if (!sub->wish.adaptive)
        return fps;
    const ts_level *level = &ts_ladder[sub->ladder.level];
    if (level->fps_fraction >= 1)
        return fps;
    fps = (fps > 0 ? fps : sub->stream_fps) * level->fps_fraction;
    return fps > 1 ? fps : 1;
}

static void group_update_load(group *g)
{
    double fps = 0;
    size_t n = 0;
    for (const subscriber *m = g->members; m; m = m->next_member) {
        double f = subscriber_fps(m);
        n++;
        if (f <= 0)
            fps = HUGE_VAL;
        else if (f > fps)
            fps = f;
    }
    ts_watch_set_load(g->watch, isinf(fps) ? 0 : fps, n);
}

static void group_take_frame(group *g)
{
    ts_frame *frame = ts_watch_latest(g->watch, true);
    if (!frame || frame == g->frame) {
        ts_frame_unref(frame);
        return;
    }
    ts_frame_unref(g->frame);
    g->frame = frame;
    for (subscriber *m = g->members; m; m = m->next_member) {
        if (m->mode != MODE_LIVE)
            continue;
        if (m->pending) {
            m->dropped++;
            m->dropped_total++;
            g->dropped++;
        }
        if (m->pending && !m->held_by_rate) { /* its own max_fps is no sign of a slow link */
            m->tick_dropped++;
            m->tick_offered++;
        }
        m->pending = true;
        subscriber_pump(m);
    }
}

static void tell_event(group *g, const char *event, bool with_config)
{
    for (subscriber *m = g->members; m; m = m->next_member)
        session_send_event(m->session, ts_stream_name(g->stream), event,
                           with_config ? ts_stream_json(g->stream) : NULL);
}

/* Where it fails the old variant goes on. */
static void try_rewatch(subscriber *sub)
{
    ts_error err = {0};
    if (subscriber_rewatch(sub, &err) != TS_OK)
        ts_log(TS_LOG_DEBUG, "ws", "stream=%s rewatch: %s", ts_stream_name(sub->stream), err.text);
    ts_error_clear(&err);
}

/* The stream's configuration changed: its defaults may mean another variant now. */
static void rewatch_members(group *g)
{
    for (subscriber *m = g->members; m; m = m->next_member)
        m->stale = true;
    for (;;) {
        subscriber *m = g->members;
        while (m && !m->stale)
            m = m->next_member;
        if (!m)
            return;
        m->stale = false;
        bool only = g->members == m && !m->next_member;
        try_rewatch(m);
        if (only && m->group != g)
            return; /* the group went with its last member */
    }
}

static void drop_members(group *g)
{
    while (g) {
        subscriber *m = g->members;
        bool last = !m || !m->next_member;
        if (!m)
            return;
        session *s = m->session;
        subscriber_destroy(m); /* frees the group with its last member */
        if (!s->multi)
            ts_conn_close(s->conn, 1000, "the stream was deleted");
        if (last)
            return;
    }
}

static void group_run(ts_ws_task *task)
{
    group *g = (group *)((char *)task - offsetof(group, task));
    unsigned events = atomic_exchange(&g->events, 0);
    if (events & EVENT_FRAME) {
        group_take_frame(g);
        group_report(g);
    }
    if (events & EVENT_ENDED)
        tell_event(g, "ended", false);
    if (events & EVENT_DELETED) {
        tell_event(g, "deleted", false);
        drop_members(g);
        return;
    }
    if (events & (EVENT_REPLACED | EVENT_CONFIG)) {
        tell_event(g, events & EVENT_REPLACED ? "replaced" : "changed", true);
        rewatch_members(g);
    }
}

static group *group_find(ts_live *live, const ts_watch *watch)
{
    for (group *g = live->groups; g; g = g->next)
        if (ts_watch_variant(g->watch) == ts_watch_variant(watch))
            return g;
    return NULL;
}

/* The group of what the subscriber wants: an existing one, or a new one without members. */
static ts_status group_get(const subscriber *sub, group **out, ts_error *err)
{
    ts_live *live = sub->session->live;
    ts_want want;
    group *g = calloc(1, sizeof *g);
    if (!g)
        return ts_fail(err, TS_E_NO_MEMORY, "subscription");
    g->sink = (ts_sink){.frame = group_on_frame, .event = group_on_event};
    g->task.run = group_run;
    g->live = live;
    subscriber_want(sub, &want);
    ts_status st = ts_stream_watch(sub->stream, &want, &g->sink, &g->watch, err);
    if (st != TS_OK) {
        free(g);
        return st;
    }
    g->stream = ts_stream_ref(sub->stream);
    group *same = group_find(live, g->watch);
    if (same) {
        group_free(g);
        g = same;
    } else {
        g->next = live->groups;
        live->groups = g;
        g->frame = ts_watch_latest(g->watch, false);
    }
    *out = g;
    return TS_OK;
}

static void group_leave(subscriber *sub)
{
    group *g = sub->group;
    subscriber **at = &g->members;
    while (*at != sub)
        at = &(*at)->next_member;
    *at = sub->next_member;
    sub->group = NULL;
    if (g->members)
        group_update_load(g);
    else
        group_free(g);
}

/* ---- a subscriber ---- */

void subscriber_want(const subscriber *sub, ts_want *want)
{
    const subscriber_wish *w = &sub->wish;
    *want = (ts_want){.patch = sub->patch,
                      .quality = w->quality,
                      .scale = w->scale,
                      .lossless = w->lossless,
                      .delta = w->delta,
                      .max_fps = w->max_fps};
    if (w->adaptive) {
        const ts_level *level = &ts_ladder[sub->ladder.level];
        want->quality = level->quality;
        want->scale = (w->scale > 0 ? w->scale : 1) * level->scale;
    }
}

ts_status subscriber_rewatch(subscriber *sub, ts_error *err)
{
    group *g = NULL;
    ts_status st = group_get(sub, &g, err);
    if (st != TS_OK)
        return st;
    sub->stream_fps = ts_stream_max_fps(sub->stream);
    if (g != sub->group) {
        if (sub->group)
            group_leave(sub);
        sub->group = g;
        sub->next_member = g->members;
        g->members = sub;
        sub->has_last = false; /* the same state in another form is news */
        sub->pending = g->frame != NULL;
    }
    group_update_load(g);
    subscriber_pump(sub);
    return TS_OK;
}

ts_status subscriber_create(session *s, ts_stream *stream, const subscriber_wish *wish,
                            subscriber **out, ts_error *err)
{
    subscriber *sub = calloc(1, sizeof *sub);
    if (!sub)
        return ts_fail(err, TS_E_NO_MEMORY, "subscription");
    sub->session = s;
    sub->stream = ts_stream_ref(stream);
    sub->wish = *wish;
    int start = wish->min_level > 1 ? wish->min_level : 1;
    ts_adaptive_init(&sub->ladder, start, wish->min_level, wish->adaptive ? wish->max_level : 7, 1);
    sub->next_tick_us = ts_now_us() + TS_ADAPTIVE_TICK_US;
    *out = sub;
    return TS_OK;
}

void subscriber_destroy(subscriber *sub)
{
    if (!sub)
        return;
    session *s = sub->session;
    subscriber **at = &s->subscribers;
    while (*at && *at != sub)
        at = &(*at)->next;
    if (*at) {
        *at = sub->next;
        s->n_subscribers--;
    }
    if (sub->group)
        group_leave(sub);
    ts_stream_unref(sub->stream);
    json_decref(sub->patch);
    free(sub);
}

void subscriber_set_mode(subscriber *sub, subscriber_mode mode)
{
    sub->mode = mode;
    if (mode == MODE_LIVE) {
        sub->has_last = false;
        sub->pending = sub->group && sub->group->frame;
        subscriber_pump(sub);
    } else {
        sub->pending = false;
    }
}

/* ---- sending ---- */

static void send_frame(subscriber *sub, ts_frame *frame, bool replay, int64_t now)
{
    session *s = sub->session;
    char tail[160];
    int n = snprintf(tail, sizeof tail, ",\"dropped\":%" PRIu64, sub->dropped);
    if (sub->wish.adaptive)
        n += snprintf(tail + n, sizeof tail - (size_t)n, ",\"level\":%d", sub->ladder.level);
    snprintf(tail + n, sizeof tail - (size_t)n, "%s}", replay ? ",\"replay\":true" : "");
    ts_conn_frame m = {.frame = frame,
                       .bare = s->bare,
                       .tail = tail,
                       .ping = !s->client_acks,
                       .ping_id = ++s->next_ping_id};
    size_t bytes = ts_conn_send_frame(s->conn, &m);
    if (sub->n_unacked < CREDIT) {
        sub->unacked[sub->n_unacked].seq = frame->seq;
        sub->unacked[sub->n_unacked].ping_id = m.ping_id;
        sub->unacked[sub->n_unacked].bytes = bytes;
        sub->unacked[sub->n_unacked++].sent_us = now;
    }
    sub->dropped = 0;
    sub->sent++;
    sub->tick_offered++;
    sub->frame_bytes += ((double)bytes - sub->frame_bytes) / (sub->sent < 8 ? sub->sent : 8);
    if (sub->group) {
        sub->group->sent++;
        sub->group->bytes += bytes;
    }
}

/* Keep the rhythm of max_fps; a pause does not earn a burst. */
static void note_sent(subscriber *sub, int64_t now)
{
    double fps = subscriber_fps(sub);
    if (fps <= 0) {
        sub->next_send_us = 0;
        return;
    }
    int64_t period = (int64_t)(1e6 / fps);
    sub->next_send_us = sub->next_send_us + period > now ? sub->next_send_us + period
                                                         : now + period - MIN_INTERVAL_US;
}

/*
 * Two frames in flight hide the network's delay. A client that takes long for each frame gains
 * nothing from the second one: it would only wait there and grow old.
 */
static int credit(const subscriber *sub)
{
    return sub->slow_acks >= SLOW_ACKS ? 1 : CREDIT;
}

static void note_ack(subscriber *sub, int64_t latency_us)
{
    sub->rtt_ms = (double)latency_us / 1000;
    if (latency_us <= SLOW_ACK_US) {
        sub->slow_acks = 0;
        return;
    }
    int64_t network_us = ts_conn_network_rtt_us(sub->session->conn);
    if (network_us >= 0 && latency_us > SLOW_ACK_US + 3 * network_us)
        sub->slow_acks++;
    else
        sub->slow_acks = 0;
}

void subscriber_pump(subscriber *sub)
{
    group *g = sub->group;
    if (!g || !g->frame || !sub->pending || sub->mode != MODE_LIVE ||
        ts_conn_closing(sub->session->conn))
        return;
    if (sub->has_last && g->frame->seq == sub->last_seq) {
        sub->pending = false;
        return;
    }
    sub->held_by_rate = false;
    if (sub->n_unacked >= credit(sub))
        return;
    int64_t now = ts_now_us();
    if (now < sub->next_send_us) {
        sub->held_by_rate = true;
        ts_conn_set_due(sub->session->conn, sub->next_send_us);
        return;
    }
    if (!g->frame->key && (!sub->has_last || sub->last_seq != g->frame->base)) {
        ts_watch_need_key(g->watch);
        sub->pending = false;
        return;
    }
    sub->pending = false;
    sub->has_last = true;
    sub->last_seq = g->frame->seq;
    send_frame(sub, g->frame, false, now);
    note_sent(sub, now);
}

/* ---- acknowledgements ---- */

static void ack_first(subscriber *sub, int n, int64_t now)
{
    if (n <= 0)
        return;
    note_ack(sub, now - sub->unacked[n - 1].sent_us);
    sub->n_unacked -= n;
    memmove(sub->unacked, sub->unacked + n, (size_t)sub->n_unacked * sizeof *sub->unacked);
    if (!sub->n_unacked)
        sub->tick_idle = true;
    subscriber_pump(sub);
}

void subscriber_ack_seq(subscriber *sub, uint64_t seq, int64_t now)
{
    int n = 0;
    for (int i = 0; i < sub->n_unacked; i++)
        if (sub->unacked[i].seq == seq || (sub->mode == MODE_LIVE && sub->unacked[i].seq < seq))
            n = i + 1;
    ack_first(sub, n, now);
}

void subscriber_ack_ping(subscriber *sub, uint64_t ping_id, int64_t now)
{
    int n = 0;
    while (n < sub->n_unacked && sub->unacked[n].ping_id <= ping_id)
        n++;
    ack_first(sub, n, now);
}

/* ---- replay ---- */

void subscriber_show(subscriber *sub, ts_frame *frame, bool playing)
{
    int64_t now = ts_now_us();
    if (!playing)
        subscriber_set_mode(sub, MODE_SEEK);
    sub->play_waiting = false;
    sub->replay_seq = frame->seq;
    send_frame(sub, frame, true, now);
}

ts_status subscriber_seek(subscriber *sub, ts_seek_by by, int64_t value, ts_error *err)
{
    ts_frame *frame;
    ts_status st = ts_stream_seek(sub->stream, by, value, &frame, err);
    if (st != TS_OK)
        return st;
    subscriber_show(sub, frame, false);
    ts_frame_unref(frame);
    return TS_OK;
}

/* The end of what is kept: on with the newest; of a range: again, or stay. */
void subscriber_play_ended(subscriber *sub)
{
    sub->play_waiting = false;
    if (sub->play_loop) {
        sub->replay_seq = sub->play_from ? sub->play_from - 1 : 0;
        return;
    }
    subscriber_set_mode(sub, sub->play_to == UINT64_MAX ? MODE_LIVE : MODE_SEEK);
    session_send_event(sub->session, ts_stream_name(sub->stream), "ended", NULL);
}

static void play_next(subscriber *sub)
{
    ts_frame *frame = NULL;
    ts_error err = {0};
    if (ts_stream_keeps_tensors(sub->stream)) {
        sub->play_waiting = session_replay(sub->session, sub, TS_SEEK_AFTER,
                                           (int64_t)sub->replay_seq, NULL, &err) == TS_OK;
        if (!sub->play_waiting)
            subscriber_play_ended(sub);
        ts_error_clear(&err);
        return;
    }
    ts_status st =
        ts_stream_seek(sub->stream, TS_SEEK_AFTER, (int64_t)sub->replay_seq, &frame, &err);
    if (st == TS_OK && frame->seq <= sub->play_to)
        subscriber_show(sub, frame, true);
    else
        subscriber_play_ended(sub);
    ts_frame_unref(frame);
    ts_error_clear(&err);
}

static int64_t play_tick(subscriber *sub, int64_t now)
{
    double fps = sub->play_fps > 0 ? sub->play_fps : DEFAULT_PLAY_FPS;
    if (now < sub->next_play_us)
        return sub->next_play_us;
    if (sub->n_unacked >= CREDIT || sub->play_waiting)
        return now + MIN_INTERVAL_US * 5;
    sub->next_play_us += (int64_t)(1e6 / fps);
    if (sub->next_play_us < now)
        sub->next_play_us = now + (int64_t)(1e6 / fps);
    play_next(sub);
    return sub->mode == MODE_PLAY ? sub->next_play_us : INT64_MAX;
}

/* ---- adaptive quality ---- */

static void send_level(subscriber *sub)
{
    const ts_level *level = &ts_ladder[sub->ladder.level];
    json_t *o = json_pack("{s:s,s:s,s:i,s:s,s:i,s:f}", "type", "level", "stream",
                          ts_stream_name(sub->stream), "level", sub->ladder.level, "reason",
                          sub->ladder.reason, "quality", level->quality, "scale", level->scale);
    ts_conn_send_json(sub->session->conn, o);
    json_decref(o);
}

static void adaptive_tick(subscriber *sub)
{
    ts_conn *conn = sub->session->conn;
    uint64_t out = ts_conn_bytes_out(conn);
    ts_adaptive_input in = {.queued_bytes =
                                (double)(ts_conn_queued(conn) + ts_conn_socket_queued(conn)),
                            .sent_bytes = (double)(out - sub->tick_bytes_out),
                            .saturated = !sub->tick_idle && sub->n_unacked > 0,
                            .rtt_ms = sub->rtt_ms > 0 ? sub->rtt_ms : NAN,
                            .offered = sub->tick_offered,
                            .dropped = sub->tick_dropped,
                            .server_busy = ts_stream_busy(sub->stream),
                            .demand_bps = sub->frame_bytes * 8 * sub->tick_offered / 0.5};
    sub->tick_bytes_out = out;
    sub->tick_offered = sub->tick_dropped = 0;
    sub->tick_idle = sub->n_unacked == 0;
    if (!ts_adaptive_tick(&sub->ladder, &in))
        return;
    send_level(sub);
    try_rewatch(sub);
}

int64_t subscriber_tick(subscriber *sub, int64_t now)
{
    int64_t next = INT64_MAX;
    if (sub->n_unacked && now - sub->unacked[0].sent_us >= NO_ACK_US)
        ts_conn_kill(sub->session->conn, "frames are not acknowledged");
    if (sub->mode == MODE_PLAY)
        next = play_tick(sub, now);
    if (sub->wish.adaptive) {
        if (now >= sub->next_tick_us) {
            sub->next_tick_us = now + TS_ADAPTIVE_TICK_US;
            adaptive_tick(sub);
        }
        next = sub->next_tick_us < next ? sub->next_tick_us : next;
    }
    if (sub->pending && sub->mode == MODE_LIVE && sub->n_unacked < credit(sub)) {
        if (now >= sub->next_send_us)
            subscriber_pump(sub);
        if (sub->pending && sub->next_send_us > now && sub->next_send_us < next)
            next = sub->next_send_us;
    }
    return next;
}

void subscriber_send_metrics(subscriber *sub)
{
    int quality = 0;
    double scale = 1;
    bool lossless = false;
    if (sub->group)
        group_report(sub->group);
    if (sub->group)
        ts_watch_describe(sub->group->watch, &quality, &scale, &lossless);
    ts_buf text = {0}, stream = {0};
    ts_stream_metrics_text(sub->stream, &stream);
    ts_buf_printf(&text,
                  "{\"type\":\"metrics\",\"stream\":\"%s\",\"subscriber\":{\"sent\":%" PRIu64
                  ",\"dropped\":%" PRIu64 ",\"unacked\":%d,\"rtt_ms\":%.3f,\"quality\":%d"
                  ",\"scale\":%.4g,\"lossless\":%s}",
                  ts_stream_name(sub->stream), sub->sent, sub->dropped_total, sub->n_unacked,
                  sub->rtt_ms, quality, scale, lossless ? "true" : "false");
    if (sub->wish.adaptive)
        ts_buf_printf(&text, ",\"level\":%d", sub->ladder.level);
    ts_buf_str(&text, ",");
    if (stream.len > 1)
        ts_buf_append(&text, stream.data + 1, stream.len - 1); /* behind its opening brace */
    if (text.failed || stream.failed)
        ts_conn_kill(sub->session->conn, "out of memory");
    else
        ts_conn_send_text(sub->session->conn, (const char *)text.data, text.len);
    ts_buf_finish(&stream);
    ts_buf_finish(&text);
}
