#include "server/events.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/clock.h"
#include "cl/base/hash.h"
#include "cl/base/name.h"

enum {
    RING = 4096,
    LISTENERS = 4,
    THROTTLE = 1024,
    THROTTLE_US = 1000000,
    QUIET_US = 15000000
};

typedef struct event_entry {
    uint64_t id; /* 0: empty */
    char event[24], kind[24], name[TS_NAME_MAX + 1];
    char *json;
} event_entry;

typedef struct reader {
    ts_events *events;
    struct reader *prev, *next;
    ts_stream_handle *handle;
    uint64_t next_id;
    int64_t wrote_us;
    char kind[24], name[TS_NAME_MAX + 1];
    bool quiet; /* asked to write a comment line */
} reader;

typedef struct throttled {
    char name[TS_NAME_MAX + 1];
    int64_t told_us;
    bool pending;
    json_t *extra;
} throttled;

struct ts_events {
    pthread_mutex_t
        events_lock; /* guards all below but the listeners, which are set at the start */
    event_entry ring[RING];
    uint64_t last_id;
    reader *readers;
    throttled tensors[THROTTLE];
    struct {
        void (*hear)(void *arg, const ts_event_view *event);
        void *arg;
    } listeners[LISTENERS];
    int n_listeners;
};

ts_status ts_events_create(ts_events **out, ts_error *err)
{
    *out = calloc(1, sizeof **out);
    if (!*out)
        return ts_fail(err, TS_E_NO_MEMORY, "events");
    /* Ids go on growing over a restart, so that a client's Last-Event-ID stays in the past. */
    (*out)->last_id = (uint64_t)(ts_wall_seconds() * 1000);
    pthread_mutex_init(&(*out)->events_lock, NULL);
    return TS_OK;
}

void ts_events_destroy(ts_events *events)
{
    if (!events)
        return;
    for (int i = 0; i < RING; i++)
        free(events->ring[i].json);
    for (int i = 0; i < THROTTLE; i++)
        json_decref(events->tensors[i].extra);
    pthread_mutex_destroy(&events->events_lock);
    free(events);
}

void ts_events_listen(ts_events *events, void (*hear)(void *arg, const ts_event_view *event),
                      void *arg)
{
    if (events->n_listeners == LISTENERS)
        return;
    events->listeners[events->n_listeners].hear = hear;
    events->listeners[events->n_listeners++].arg = arg;
}

static char *event_json(uint64_t id, const char *event, const char *kind, const char *name,
                        json_t *extra)
{
    json_t *body = json_pack("{s:I, s:f, s:s, s:s, s:s}", "id", (json_int_t)id, "time",
                             ts_wall_seconds(), "event", event, "kind", kind, "name", name);
    if (!body)
        return NULL;
    if (extra)
        json_object_update_missing(body, extra);
    char *text = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    return text;
}

/* Store in the ring and wake the readers. Returns a copy of the text for the listeners. */
static char *publish_locked(ts_events *events, const char *event, const char *kind,
                            const char *name, json_t *extra, uint64_t *id)
{
    *id = ++events->last_id;
    event_entry *entry = &events->ring[*id % RING];
    free(entry->json);
    *entry = (event_entry){.id = *id, .json = event_json(*id, event, kind, name, extra)};
    snprintf(entry->event, sizeof entry->event, "%s", event);
    snprintf(entry->kind, sizeof entry->kind, "%s", kind);
    snprintf(entry->name, sizeof entry->name, "%s", name);
    for (reader *r = events->readers; r; r = r->next)
        ts_stream_wake(r->handle);
    return events->n_listeners && entry->json ? strdup(entry->json) : NULL;
}

static void tell_listeners(ts_events *events, uint64_t id, const char *event, const char *kind,
                           const char *name, char *json)
{
    if (!json)
        return;
    ts_event_view view = {id, event, kind, name, json};
    for (int i = 0; i < events->n_listeners; i++)
        events->listeners[i].hear(events->listeners[i].arg, &view);
    free(json);
}

/* True: told too lately; it is kept for the tick. A name that shares the slot is not throttled. */
static bool postpone_locked(ts_events *events, const char *name, json_t *extra)
{
    throttled *slot = &events->tensors[ts_fnv1a(TS_FNV_SEED, name, strlen(name)) % THROTTLE];
    int64_t now = ts_now_us();
    if (strcmp(slot->name, name) == 0 && now - slot->told_us < THROTTLE_US) {
        json_decref(slot->extra);
        slot->extra = json_incref(extra);
        slot->pending = true;
        return true;
    }
    if (slot->pending && strcmp(slot->name, name) != 0)
        return false;
    json_decref(slot->extra);
    *slot = (throttled){.told_us = now};
    snprintf(slot->name, sizeof slot->name, "%s", name);
    return false;
}

/* A tensor that is gone has no more changes to tell. */
static void forget_change_locked(ts_events *events, const char *name)
{
    throttled *slot = &events->tensors[ts_fnv1a(TS_FNV_SEED, name, strlen(name)) % THROTTLE];
    if (strcmp(slot->name, name) == 0)
        slot->pending = false;
}

void ts_events_emit(ts_events *events, const char *event, const char *kind, const char *name,
                    json_t *extra)
{
    if (!events) {
        json_decref(extra);
        return;
    }
    uint64_t id = 0;
    char *json = NULL;
    pthread_mutex_lock(&events->events_lock);
    bool tensor = strcmp(kind, "tensor") == 0;
    bool change = tensor && strcmp(event, "changed") == 0;
    if (tensor && strcmp(event, "deleted") == 0)
        forget_change_locked(events, name);
    if (!change || !postpone_locked(events, name, extra))
        json = publish_locked(events, event, kind, name, extra, &id);
    pthread_mutex_unlock(&events->events_lock);
    tell_listeners(events, id, event, kind, name, json);
    json_decref(extra);
}

/* ---- readers ---- */

static bool wanted(const reader *r, const event_entry *entry)
{
    return (!r->kind[0] || strcmp(r->kind, entry->kind) == 0) &&
           (!r->name[0] || strcmp(r->name, entry->name) == 0);
}

static bool pull_events(void *arg, ts_buf *out)
{
    reader *r = arg;
    ts_events *events = r->events;
    pthread_mutex_lock(&events->events_lock);
    if (r->next_id + RING <= events->last_id)
        r->next_id = events->last_id - RING + 1; /* what was overwritten is lost to this reader */
    for (; r->next_id <= events->last_id && out->len < 65536; r->next_id++) {
        const event_entry *entry = &events->ring[r->next_id % RING];
        if (entry->id == r->next_id && entry->json && wanted(r, entry))
            ts_buf_printf(out, "id: %llu\nevent: %s\ndata: %s\n\n", (unsigned long long)entry->id,
                          entry->event, entry->json);
    }
    if (out->len == 0 && r->quiet)
        ts_buf_str(out, ": \n\n");
    r->quiet = false;
    if (out->len)
        r->wrote_us = ts_now_us();
    pthread_mutex_unlock(&events->events_lock);
    return true;
}

static void close_reader(void *arg)
{
    reader *r = arg;
    ts_events *events = r->events;
    pthread_mutex_lock(&events->events_lock);
    if (r->prev)
        r->prev->next = r->next;
    else if (events->readers == r)
        events->readers = r->next;
    if (r->next)
        r->next->prev = r->prev;
    pthread_mutex_unlock(&events->events_lock);
    free(r);
}

void ts_events_stream(ts_events *events, uint64_t since, const char *kind, const char *name,
                      ts_response *res)
{
    reader *r = calloc(1, sizeof *r);
    if (!r) {
        ts_response_status(res, 507);
        return;
    }
    r->events = events;
    r->quiet = true; /* the first octets go out at once, so that the client sees it is connected */
    snprintf(r->kind, sizeof r->kind, "%s", kind ? kind : "");
    snprintf(r->name, sizeof r->name, "%s", name ? name : "");
    ts_stream_source source = {pull_events, close_reader, r};
    ts_stream_handle *handle = NULL;
    pthread_mutex_lock(&events->events_lock);
    r->next_id = since < events->last_id ? since + 1 : events->last_id + 1;
    pthread_mutex_unlock(&events->events_lock);
    ts_response_stream(res, "text/event-stream", &source, &handle);
    if (!handle)
        return;
    pthread_mutex_lock(&events->events_lock);
    r->handle = handle;
    r->next = events->readers;
    if (r->next)
        r->next->prev = r;
    events->readers = r;
    pthread_mutex_unlock(&events->events_lock);
}

/* Tell one postponed change whose second is over; false: there is none. */
static bool flush_one(ts_events *events, int64_t now)
{
    char name[TS_NAME_MAX + 1] = "", *json = NULL;
    uint64_t id = 0;
    bool found = false;
    pthread_mutex_lock(&events->events_lock);
    for (int i = 0; i < THROTTLE && !found; i++) {
        throttled *slot = &events->tensors[i];
        found = slot->pending && now - slot->told_us >= THROTTLE_US;
        if (!found)
            continue;
        snprintf(name, sizeof name, "%s", slot->name);
        json = publish_locked(events, "changed", "tensor", name, slot->extra, &id);
        slot->pending = false;
        slot->told_us = now;
    }
    pthread_mutex_unlock(&events->events_lock);
    tell_listeners(events, id, "changed", "tensor", name, json);
    return found;
}

void ts_events_tick(ts_events *events)
{
    if (!events)
        return;
    int64_t now = ts_now_us();
    while (flush_one(events, now))
        continue;
    pthread_mutex_lock(&events->events_lock);
    for (reader *r = events->readers; r; r = r->next)
        if (now - r->wrote_us > QUIET_US) {
            r->quiet = true;
            ts_stream_wake(r->handle);
        }
    pthread_mutex_unlock(&events->events_lock);
}

uint64_t ts_events_last_id(ts_events *events)
{
    pthread_mutex_lock(&events->events_lock);
    uint64_t id = events->last_id;
    pthread_mutex_unlock(&events->events_lock);
    return id;
}
