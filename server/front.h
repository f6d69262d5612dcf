/*
 * TLS in front of the HTTP side: one thread (ts-tls) ends it and relays the plain octets over a
 * socketpair, whose other end the HTTP side takes for the client's socket, with the client's address.
 * Nothing behind it knows, WebSockets included.
 */
#ifndef TS_SERVER_FRONT_H
#define TS_SERVER_FRONT_H

#include "server/listen.h"
#include "server/options.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_front ts_front;

/**
 * Read the certificate and key of `options` and start. `adopt(arg, fd, …)` takes the plain end of each
 * connection whose handshake succeeded; the address is released from `limits` for those that fail.
 * Errors: TS_E_OPTION (files).
 */
TS_CHECKED ts_status ts_front_create(const ts_options *options, ts_limits *limits,
                                     ts_accept_fn adopt, void *arg, ts_front **out, ts_error *err);
/** Closes all connections. NULL is fine. */
void ts_front_destroy(ts_front *front);
/** Take an accepted socket. Thread: any. */
void ts_front_accept(ts_front *front, int fd, const struct sockaddr *address, socklen_t len);
/** Read the files again for new connections; on an error the old ones stay. */
TS_CHECKED ts_status ts_front_reload(ts_front *front, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
