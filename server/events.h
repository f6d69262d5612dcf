/*
 * What happened: things created, changed and removed, told to GET /v1/events, webhooks and MQTT.
 *
 *   ts_events_emit(app->events, "created", "stream", name, NULL);
 *
 * A ring keeps the newest events so that a client that was away can go on from its last id. Thread:
 * any; emitting never blocks on a reader.
 */
#ifndef TS_SERVER_EVENTS_H
#define TS_SERVER_EVENTS_H

#include "server/request.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_events ts_events;

TS_CHECKED ts_status ts_events_create(ts_events **out, ts_error *err);
void ts_events_destroy(ts_events *events); /* NULL is fine; after the HTTP side */

/**
 * Tell one event. `event` is a word of the contract ("created", "changed", "deleted", "state",
 * "finished", …), `kind` of what ("tensor", "stream", …). `extra` may be NULL; its keys join the
 * event's own, and its reference is stolen. "changed" of a tensor is told at most once a second.
 */
void ts_events_emit(ts_events *events, const char *event, const char *kind, const char *name,
                    json_t *extra);

/** A told event, as listeners get it; valid during the call. */
typedef struct ts_event_view {
    uint64_t id;
    const char *event, *kind, *name, *json;
} ts_event_view;
/** Called on the emitting thread, without locks that a listener could need; at most 4 listeners. */
void ts_events_listen(ts_events *events, void (*hear)(void *arg, const ts_event_view *event),
                      void *arg);

/**
 * Answer with server-sent events from behind `since` on (UINT64_MAX: only new ones), of this kind and
 * name (NULL: all).
 */
void ts_events_stream(ts_events *events, uint64_t since, const char *kind, const char *name,
                      ts_response *res);
/** Four times a second: postponed tensor changes, and a comment line to quiet readers. */
void ts_events_tick(ts_events *events);
uint64_t ts_events_last_id(ts_events *events);

#ifdef __cplusplus
}
#endif
#endif
