/*
 * The HTTP side of the port: the daemon's threads, the workers that run handlers, the answers.
 *
 * An HTTP thread receives a request (audit, route, authorization, body), suspends the connection and
 * hands the request to a worker; the worker runs the route's blocking handler and resumes the
 * connection with the answer. http.c is the only file that includes the HTTP library's header.
 */
#ifndef TS_SERVER_HTTP_H
#define TS_SERVER_HTTP_H

#include <sys/socket.h>

#include "server/app.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Bind the addresses and start the threads; nothing is accepted before ts_http_serve(). */
TS_CHECKED ts_status ts_http_create(ts_app *app, ts_http **out, ts_error *err);
/** Accept connections and print the "listening" lines. */
TS_CHECKED ts_status ts_http_serve(ts_http *http, ts_error *err);
/** Take no more connections, end streams, wait for running requests. False: some did not end. */
bool ts_http_drain(ts_http *http, double timeout_s);
/** Read the TLS files again. */
TS_CHECKED ts_status ts_http_reload(ts_http *http, ts_error *err);
/** After ts_http_drain() was true. NULL is fine. */
void ts_http_destroy(ts_http *http);

typedef struct ts_http_stats {
    size_t connections, websockets, active_requests, queued_requests, workers;
} ts_http_stats;
void ts_http_get_stats(const ts_http *http, ts_http_stats *out);
/** Print nothing, listen nowhere: give one connected socket to the HTTP side (the TLS relay). */
void ts_http_adopt(ts_http *http, int fd, const struct sockaddr *address, unsigned address_len);

#ifdef __cplusplus
}
#endif
#endif
