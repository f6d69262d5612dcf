/*
 * The protocol of /v1/streams/{s}/ws and /v1/ws (tensorscope.v1): subscriptions, commands, pushed
 * frames. One ts_live per server; it lives on the ts-ws thread beside the connections.
 *
 * A subscriber holds at most two unacknowledged frames; what it misses meanwhile is replaced by the
 * newest, and counted. Subscribers of one variant form a group, which watches it once.
 */
#ifndef TS_SERVER_LIVE_H
#define TS_SERVER_LIVE_H

#include "server/hub.h"
#include "server/ws.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_live ts_live;

extern const ts_ws_endpoint ts_live_stream; /* /v1/streams/{s}/ws */
extern const ts_ws_endpoint ts_live_multi;  /* /v1/ws */

/** The query keys that both endpoints know, NULL-terminated. */
extern const char *const ts_live_query_keys[];
/** Check a query's values without opening anything. Errors: TS_E_OPTION. */
TS_CHECKED ts_status ts_live_check_query(const char *key, const char *value, ts_error *err);

/** Start the WebSocket thread with these endpoints (and the echo, where options say so). */
TS_CHECKED ts_status ts_live_create(ts_app *app, void (*gone)(ts_app *app), ts_live **out,
                                    ts_error *err);
/**
 * Close all connections and stop the thread; what still works for them elsewhere may end later.
 * NULL is fine.
 */
void ts_live_stop(ts_live *live);
/** Free, after the hub is gone too. NULL is fine. */
void ts_live_destroy(ts_live *live);

#ifdef __cplusplus
}
#endif
#endif
