/*
 * The WebSocket side: sockets taken over from the HTTP side, their framing, queues and timers.
 *
 * One thread (ts-ws) owns every connection. libwebsockets gives the event loop only: sockets are
 * adopted as plain descriptors, because its own framing accepts what RFC 6455 forbids (see
 * server/README.md); octets are read and written here, through server/wsframe.h. What a connection
 * means is its endpoint's business: a table of callbacks per route pattern.
 *
 * Sending never blocks. Messages are queued and leave at the end of the loop's turn, several in one
 * sendmsg(); a frame's bytes are shared by all its receivers and never copied.
 *
 * Thread: ts-ws, except ts_ws_create/destroy, ts_ws_takeover and ts_ws_post (any).
 */
#ifndef TS_SERVER_WS_H
#define TS_SERVER_WS_H

#include "cl/base/json.h"
#include "server/app.h"
#include "server/frame.h"
#include "server/takeover.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_ws ts_ws;
typedef struct ts_conn ts_conn;

/** How a connection was opened; strings live as long as the connection. */
typedef struct ts_ws_request {
    const char *path;
    char stream[512]; /* {s} of the path, or "" */
    const ts_takeover_pair *query;
    size_t n_query;
    unsigned scopes;
    const char *peer;
} ts_ws_request;

typedef struct ts_ws_endpoint {
    const char *pattern;  /* of the route */
    bool text_limit_only; /* binary messages have --max-message too */
    /** Make a session. NULL: the endpoint has already closed the connection (ts_conn_close). */
    void *(*open)(ts_app *app, ts_conn *conn, const ts_ws_request *request);
    /** A whole message; data is valid during the call. */
    void (*message)(void *session, int opcode, const uint8_t *data, size_t len);
    void (*pong)(void *session, const uint8_t *data, size_t len); /* NULL: none wanted */
    /** The queue has drained after something could not be sent at once; NULL: not wanted. */
    void (*drained)(void *session);
    /** Called when ts_conn_set_due()'s time has come. */
    void (*due)(void *session, int64_t now_us);
    /** The connection is gone; last call. */
    void (*close)(void *session);
} ts_ws_endpoint;

/**
 * Start the thread. `endpoints` ends with a NULL pattern and outlives the server; `gone` is called
 * once per socket that was handed over, when it is closed (ts_http_websocket_closed).
 */
TS_CHECKED ts_status ts_ws_create(ts_app *app, const ts_ws_endpoint *endpoints,
                                  void (*gone)(ts_app *app), void *user, ts_ws **out,
                                  ts_error *err);
/** What was given as `user`. Thread: any. */
void *ts_ws_user(const ts_ws *ws);
/**
 * Close every connection with 1001, wait for them (2 s at most), stop the thread; ts_ws_post() then
 * refuses. NULL is fine.
 */
void ts_ws_stop(ts_ws *ws);
/** Stop and free. NULL is fine. */
void ts_ws_destroy(ts_ws *ws);
/** The ts_takeover_fn of this module; app->ws is the ts_ws. */
void ts_ws_takeover(ts_app *app, int fd, const ts_takeover_info *info);

/*
 * Work for the thread. The task is the caller's memory: it stays queued (posting it again does
 * nothing) until `run` is called, and may be freed from there.
 */
typedef struct ts_ws_task {
    void (*run)(struct ts_ws_task *task);
    struct ts_ws_task *next; /* private */
    bool queued;             /* private */
} ts_ws_task;
/** False: the server is stopping and the task will not run. */
bool ts_ws_post(ts_ws *ws, ts_ws_task *task);

/** Take a task out again where it is still queued. Thread: ts-ws. */
void ts_ws_cancel(ts_ws *ws, ts_ws_task *task);

typedef struct ts_ws_stats {
    uint64_t clients, opened, messages_in, messages_out, bytes_in, bytes_out, protocol_errors;
    uint64_t closed[8]; /* by code: 1000, 1001, 1002, 1007, 1008, 1009, 1011, other */
} ts_ws_stats;
/** Thread: any. */
void ts_ws_get_stats(const ts_ws *ws, ts_ws_stats *out);

/* ---- connections ---- */

ts_ws *ts_conn_ws(ts_conn *conn);
/** Queue a text message (copied). */
void ts_conn_send_text(ts_conn *conn, const char *text, size_t len);
void ts_conn_send_json(ts_conn *conn, const json_t *value);
/** Queue a binary or text message (copied); for echo. */
void ts_conn_send_copy(ts_conn *conn, int opcode, const void *data, size_t len);
void ts_conn_send_ping(ts_conn *conn, const void *data, size_t len);

typedef struct ts_conn_frame {
    ts_frame *frame;  /* takes its own reference */
    bool bare;        /* the payload alone */
    const char *tail; /* framed: text behind the JSON header, with its closing brace; copied */
    bool ping;        /* a PING behind it, with 8 octets: ping_id */
    uint64_t ping_id;
} ts_conn_frame;
/** Queue a frame without copying it. Returns the octets it takes on the wire. */
size_t ts_conn_send_frame(ts_conn *conn, const ts_conn_frame *message);

/** Octets queued and not yet taken by the socket. */
size_t ts_conn_queued(const ts_conn *conn);
/** Octets the kernel holds that the peer has not acknowledged. */
size_t ts_conn_socket_queued(const ts_conn *conn);
/** The network's round trip as the kernel measured it, in microseconds; -1: not known. */
int64_t ts_conn_network_rtt_us(const ts_conn *conn);
/** Octets the socket has taken so far. */
uint64_t ts_conn_bytes_out(const ts_conn *conn);
/** Stop or go on reading; what was read already is still handed out. */
void ts_conn_pause_reading(ts_conn *conn, bool pause);
/** Ask for endpoint->due at `when_us` (INT64_MAX: never); the earlier of this and the last call's. */
void ts_conn_set_due(ts_conn *conn, int64_t when_us);
/** Send a close frame behind what is queued (code 1005: without a code), then close. */
void ts_conn_close(ts_conn *conn, int code, const char *reason);
/** Close at once, without a close frame (a peer that does not read). */
void ts_conn_kill(ts_conn *conn, const char *reason);
bool ts_conn_closing(const ts_conn *conn);

#ifdef __cplusplus
}
#endif
#endif
