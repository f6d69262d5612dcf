/*
 * Webhooks: events POSTed to URLs that clients registered, signed, retried, and counted.
 *
 * The registrations are kept in <data-dir>/webhooks.json; deliveries under way are not. One thread
 * (ts-webhook) owns the transfers; at most 16 run at a time, so that a slow receiver delays nobody.
 * Thread: any.
 */
#ifndef TS_SERVER_WEBHOOKS_H
#define TS_SERVER_WEBHOOKS_H

#include "server/events.h"
#include "server/metrics.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_webhooks ts_webhooks;

/** Load the registrations and listen to `events` from now on. */
TS_CHECKED ts_status ts_webhooks_create(const char *data_dir, ts_events *events,
                                        ts_metrics *metrics, ts_webhooks **out, ts_error *err);
/** Deliveries under way are given up. NULL is fine; before the events. */
void ts_webhooks_destroy(ts_webhooks *webhooks);

/**
 * Register {"url","events":[…],"kinds":[…],"secret"}. Errors: TS_E_OPTION names the key, TS_E_LIMIT.
 */
TS_CHECKED ts_status ts_webhooks_add(ts_webhooks *webhooks, const json_t *body, char id[32],
                                     ts_error *err);
/** Errors: TS_E_NOT_FOUND. */
TS_CHECKED ts_status ts_webhooks_remove(ts_webhooks *webhooks, const char *id, ts_error *err);
/** All of them, or one; without the secrets. NULL: no such id. Owner: caller. */
json_t *ts_webhooks_list(ts_webhooks *webhooks);
json_t *ts_webhooks_get(ts_webhooks *webhooks, const char *id);

#ifdef __cplusplus
}
#endif
#endif
