/*
 * Listening sockets of --listen and the thread that accepts from them.
 *
 * Accepting is ours, not the HTTP library's: limits, a full descriptor table (one in reserve to
 * accept and close with) and Unix sockets are handled here.
 */
#ifndef TS_SERVER_LISTEN_H
#define TS_SERVER_LISTEN_H

#include <sys/socket.h>

#include "server/limits.h"
#include "server/options.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_listener ts_listener;

/** Owns `fd` from the call on. Thread: the acceptor. */
typedef void (*ts_accept_fn)(void *arg, int fd, const struct sockaddr *address, socklen_t len);

/**
 * Bind and listen on every address of options->listen; nothing is accepted yet.
 * Errors: TS_E_OPTION (malformed), TS_E_INTERNAL (busy; the text names the address).
 */
TS_CHECKED ts_status ts_listener_open(const ts_options *options, ts_limits *limits,
                                      ts_listener **out, ts_error *err);
TS_CHECKED ts_status ts_listener_start(ts_listener *listener, ts_accept_fn accept, void *arg,
                                       ts_error *err);
/** Print "tensorscope listening on …" for each address to stdout. */
void ts_listener_print(const ts_listener *listener, bool tls);
/** Stop accepting (what is in the backlog is still taken), close, remove Unix sockets. */
void ts_listener_close(ts_listener *listener); /* NULL is fine */
/** Check the form of an address without using it. Errors: TS_E_OPTION. */
TS_CHECKED ts_status ts_listen_check(const char *address, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
