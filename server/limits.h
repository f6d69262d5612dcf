/*
 * Counts of connections against --max-connections, --max-per-address and --max-websockets.
 * Thread: any.
 */
#ifndef TS_SERVER_LIMITS_H
#define TS_SERVER_LIMITS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "server/options.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_limits ts_limits;

TS_CHECKED ts_status ts_limits_create(const ts_options *options, ts_limits **out, ts_error *err);
void ts_limits_destroy(ts_limits *limits); /* NULL is fine */
/** Count a new connection; false: refuse it. Pair with ts_limits_disconnect() where true. */
bool ts_limits_connect(ts_limits *limits, const struct sockaddr *address);
void ts_limits_disconnect(ts_limits *limits, const struct sockaddr *address);
bool ts_limits_websocket_open(ts_limits *limits);
void ts_limits_websocket_closed(ts_limits *limits);
size_t ts_limits_connections(const ts_limits *limits);
size_t ts_limits_websockets(const ts_limits *limits);

/** Loopback addresses and Unix sockets. */
bool ts_address_local(const struct sockaddr *address);
/** The same for an address in text; what is no address is not local. */
bool ts_address_text_local(const char *text);
/** The address without the port ("unix" for Unix sockets). */
void ts_address_text(const struct sockaddr *address, char *out, size_t cap);

#ifdef __cplusplus
}
#endif
#endif
