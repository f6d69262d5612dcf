#include "server/live.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/clock.h"
#include "server/live_internal.h"
#include "server/wsecho.h"
#include "server/wsframe.h"

enum {
    SKIP_METRICS_QUEUED = 256 << 10 /* a peer that does not read gets no more of them */
};

const char *const ts_live_query_keys[] = {"format", "quality", "tier",   "max_fps",
                                          "scale",  "delta",   "ticket", NULL};

/* ---- the query ---- */

static ts_status query_value(json_t *object, const char *key, const char *value, ts_error *err)
{
    char *end;
    if (!strcmp(key, "format")) {
        if (strcmp(value, "framed") && strcmp(value, "bare"))
            return ts_fail(err, TS_E_OPTION, "format: expected framed or bare, got '%.40s'", value);
        return TS_OK;
    }
    if (!strcmp(key, "ticket"))
        return TS_OK;
    if (!strcmp(key, "tier") || (!strcmp(key, "quality") && !strcmp(value, "auto"))) {
        json_object_set_new(object, key, json_string(value));
        return TS_OK;
    }
    if (!strcmp(key, "delta")) {
        if (strcmp(value, "0") && strcmp(value, "1"))
            return ts_fail(err, TS_E_OPTION, "delta: expected 0 or 1, got '%.40s'", value);
        json_object_set_new(object, key, json_boolean(value[0] == '1'));
        return TS_OK;
    }
    double number = strtod(value, &end);
    if (end == value || *end || number != number)
        return ts_fail(err, TS_E_OPTION, "%s: expected a number, got '%.40s'", key, value);
    bool whole = !strcmp(key, "quality") && number == (double)(json_int_t)number;
    json_object_set_new(object, key, whole ? json_integer((json_int_t)number) : json_real(number));
    return TS_OK;
}

ts_status ts_live_check_query(const char *key, const char *value, ts_error *err)
{
    subscriber_wish wish = {0};
    json_t *object = json_object();
    ts_status st = query_value(object, key, value, err);
    if (st == TS_OK)
        st = wish_read(object, &wish, err);
    json_decref(object);
    return st;
}

static ts_status read_query(session *s, const ts_ws_request *request, ts_error *err)
{
    json_t *object = json_object();
    ts_status st = TS_OK;
    for (size_t i = 0; i < request->n_query && st == TS_OK; i++) {
        const ts_takeover_pair *q = &request->query[i];
        st = query_value(object, q->key, q->value, err);
        if (!strcmp(q->key, "format"))
            s->bare = !strcmp(q->value, "bare");
    }
    if (st == TS_OK)
        st = wish_read(object, &s->wish, err);
    json_decref(object);
    return st;
}

/* ---- sessions ---- */

session *live_find_session(ts_live *live, uint64_t id)
{
    for (session *s = live->sessions; s; s = s->next)
        if (s->id == id)
            return s;
    return NULL;
}

subscriber *session_find(session *s, const char *stream)
{
    for (subscriber *sub = s->subscribers; sub; sub = sub->next)
        if (!strcmp(ts_stream_name(sub->stream), stream))
            return sub;
    return NULL;
}

void session_send_event(session *s, const char *stream, const char *event, json_t *more)
{
    json_t *o = json_pack("{s:s,s:s,s:s}", "type", "event", "event", event, "stream", stream);
    if (more)
        json_object_set_new(o, "config", more);
    ts_conn_send_json(s->conn, o);
    json_decref(o);
}

static session *session_open(ts_app *app, ts_conn *conn, const ts_ws_request *request, bool multi)
{
    ts_live *live = ts_ws_user(ts_conn_ws(conn));
    ts_error err = {0};
    session *s = calloc(1, sizeof *s);
    (void)app;
    if (!s)
        return NULL;
    s->live = live;
    s->conn = conn;
    s->id = ++live->next_id;
    s->multi = multi;
    s->scopes = request->scopes;
    s->next_metrics_us = ts_now_us() + METRICS_US;
    ts_conn_set_due(conn, s->next_metrics_us);
    if (read_query(s, request, &err) != TS_OK)
        ts_conn_close(conn, TS_WS_CLOSE_POLICY, err.text);
    ts_error_clear(&err);
    s->next = live->sessions;
    if (live->sessions)
        live->sessions->prev = s;
    live->sessions = s;
    return s;
}

static void *multi_open(ts_app *app, ts_conn *conn, const ts_ws_request *request)
{
    session *s = session_open(app, conn, request, true);
    if (s)
        session_send_hello(s, NULL);
    return s;
}

static void *stream_open(ts_app *app, ts_conn *conn, const ts_ws_request *request)
{
    ts_error err = {0};
    session *s = session_open(app, conn, request, false);
    if (!s)
        return NULL;
    if (!ts_conn_closing(conn) && session_subscribe(s, request->stream, &s->wish, &err) != TS_OK)
        ts_conn_close(conn, TS_WS_CLOSE_POLICY, err.text);
    ts_error_clear(&err);
    return s;
}

void session_send_hello(session *s, ts_stream *stream)
{
    json_t *o = json_pack("{s:s,s:s,s:o,s:o}", "type", "hello", "protocol", "tensorscope.v1",
                          "stream", stream ? json_string(ts_stream_name(stream)) : json_null(),
                          "config", stream ? ts_stream_json(stream) : json_null());
    ts_conn_send_json(s->conn, o);
    json_decref(o);
}

ts_status session_subscribe(session *s, const char *name, const subscriber_wish *wish,
                            ts_error *err)
{
    ts_stream *stream = NULL;
    subscriber *sub = NULL;
    if (session_find(s, name))
        return ts_fail(err, TS_E_EXISTS, "stream '%s' is subscribed already", name);
    if (s->n_subscribers >= MAX_SUBSCRIPTIONS)
        return ts_fail(err, TS_E_RATE, "at most %d subscriptions on one connection",
                       MAX_SUBSCRIPTIONS);
    ts_status st = ts_hub_find(s->live->app->hub, name, &stream, err);
    if (st != TS_OK)
        return st;
    subscriber_wish own = *wish;
    if (!own.quality && !own.lossless && !own.adaptive && ts_stream_auto_quality(stream)) {
        own.adaptive = true;
        own.max_level = TS_ADAPTIVE_LEVELS - 1;
    }
    st = subscriber_create(s, stream, &own, &sub, err);
    if (st == TS_OK) {
        session_send_hello(s, stream);
        sub->next = s->subscribers;
        s->subscribers = sub;
        s->n_subscribers++;
        st = subscriber_rewatch(sub, err);
        if (st != TS_OK)
            subscriber_destroy(sub);
    }
    ts_stream_unref(stream);
    return st;
}

static void session_close(void *state)
{
    session *s = state;
    ts_live *live = s->live;
    while (s->subscribers)
        subscriber_destroy(s->subscribers);
    if (s->prev)
        s->prev->next = s->next;
    else
        live->sessions = s->next;
    if (s->next)
        s->next->prev = s->prev;
    free(s);
}

static void session_message(void *state, int opcode, const uint8_t *data, size_t len)
{
    if (opcode == TS_WS_TEXT)
        session_command(state, data, len);
    else
        session_binary(state, data, len);
}

/* A PONG of the PING behind a frame: the frame has arrived (until the client sends acks itself). */
static void session_pong(void *state, const uint8_t *data, size_t len)
{
    session *s = state;
    uint64_t id = 0;
    if (len != 8 || s->client_acks)
        return;
    for (int i = 0; i < 8; i++)
        id |= (uint64_t)data[i] << (8 * i);
    int64_t now = ts_now_us();
    for (subscriber *sub = s->subscribers; sub; sub = sub->next)
        subscriber_ack_ping(sub, id, now);
}

static void send_metrics(session *s)
{
    if (ts_conn_queued(s->conn) > SKIP_METRICS_QUEUED)
        return;
    if (!s->subscribers) {
        static const char none[] = "{\"type\":\"metrics\",\"stream\":null}";
        ts_conn_send_text(s->conn, none, sizeof none - 1);
    }
    for (subscriber *sub = s->subscribers; sub; sub = sub->next)
        subscriber_send_metrics(sub);
}

static void session_due(void *state, int64_t now)
{
    session *s = state;
    if (ts_conn_closing(s->conn))
        return;
    if (now >= s->next_metrics_us) {
        s->next_metrics_us = now + METRICS_US;
        send_metrics(s);
    }
    int64_t next = s->next_metrics_us;
    for (subscriber *sub = s->subscribers; sub; sub = sub->next) {
        int64_t due = subscriber_tick(sub, now);
        if (due < next)
            next = due;
    }
    ts_conn_set_due(s->conn, next > now ? next : now + 1000);
}

const ts_ws_endpoint ts_live_stream = {.pattern = "/v1/streams/{s}/ws",
                                       .open = stream_open,
                                       .message = session_message,
                                       .pong = session_pong,
                                       .due = session_due,
                                       .close = session_close};

const ts_ws_endpoint ts_live_multi = {.pattern = "/v1/ws",
                                      .open = multi_open,
                                      .message = session_message,
                                      .pong = session_pong,
                                      .due = session_due,
                                      .close = session_close};

/* ---- start and stop ---- */

ts_status ts_live_create(ts_app *app, void (*gone)(ts_app *app), ts_live **out, ts_error *err)
{
    ts_live *live = calloc(1, sizeof *live);
    if (!live)
        return ts_fail(err, TS_E_NO_MEMORY, "live streams");
    live->app = app;
    live->endpoints[0] = ts_live_stream;
    live->endpoints[1] = ts_live_multi;
    if (app->options.enable_echo)
        live->endpoints[2] = ts_ws_echo;
    ts_status st = TS_OK;
    if (app->device)
        st = ts_intake_create(app, &live->intake, err);
    if (st == TS_OK)
        st = ts_ws_create(app, live->endpoints, gone, live, &live->ws, err);
    if (st != TS_OK) {
        ts_live_destroy(live);
        return st;
    }
    app->ws = live->ws;
    app->takeover = ts_ws_takeover;
    *out = live;
    return TS_OK;
}

void ts_live_stop(ts_live *live)
{
    if (!live)
        return;
    ts_ws_stop(live->ws);
    ts_intake_destroy(live->intake);
    live->intake = NULL;
}

void ts_live_destroy(ts_live *live)
{
    if (!live)
        return;
    ts_live_stop(live);
    if (live->app->ws == live->ws)
        live->app->ws = NULL;
    ts_ws_destroy(live->ws);
    free(live);
}
