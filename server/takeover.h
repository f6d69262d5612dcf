/*
 * The record that hands a WebSocket from the HTTP side to the WebSocket side.
 *
 * http.c has already checked: GET, HTTP/1.1, Host, Upgrade, Connection, Sec-WebSocket-Version 13, a
 * key of 16 octets, Origin, token or ticket, limits, and the route's handler said TS_OK. The other
 * side owns the socket from the call on, writes the 101 (RFC 6455 §4.2.2) unless `answered` says that
 * it is out, and calls ts_http_websocket_closed() once when the socket is gone.
 *
 * Thread: called on an HTTP thread; must copy what it needs and not block.
 */
#ifndef TS_SERVER_TAKEOVER_H
#define TS_SERVER_TAKEOVER_H

#include <stdbool.h>
#include <stddef.h>

#include "server/router.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_takeover_pair {
    const char *key, *value;
} ts_takeover_pair;

typedef struct ts_takeover_info {
    const ts_route *route;         /* tells /v1/ws, /v1/streams/{s}/ws and /ws/echo apart */
    const char *path;              /* decoded */
    const ts_path_params *params;  /* of the path */
    const ts_takeover_pair *query; /* decoded; ticket= is not among them */
    size_t n_query;
    unsigned scopes;           /* TS_SCOPE_… of the caller */
    const char *peer;          /* name or address, for logs */
    const char *key;           /* Sec-WebSocket-Key */
    const char *protocol;      /* the subprotocol to answer with ("tensorscope.v1"), or NULL */
    const char *extensions;    /* Sec-WebSocket-Extensions as offered, or NULL */
    const char *origin, *host; /* or NULL */
    bool answered;             /* the 101 has been sent */
    const void *extra;         /* octets that came behind the request; NULL */
    size_t n_extra;
} ts_takeover_info;

/** Strings live until the return. Owner: the callee closes `fd` (non-blocking, close-on-exec). */
typedef void (*ts_takeover_fn)(ts_app *app, int fd, const ts_takeover_info *info);

/** Sec-WebSocket-Accept of a Sec-WebSocket-Key: base64(SHA-1(key + GUID)). */
void ts_websocket_accept(const char *key, char out[32]);

/** A socket handed over is gone: it counts no longer against --max-websockets. Thread: any. */
void ts_http_websocket_closed(ts_app *app);

#ifdef __cplusplus
}
#endif
#endif
