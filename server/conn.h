/*
 * Inside the WebSocket side: what server/ws.c (event loop) and server/conn.c (one connection) need
 * of each other. Nobody else includes this.
 */
#ifndef TS_SERVER_CONN_H
#define TS_SERVER_CONN_H

#include <stdatomic.h>

#include "server/ws.h"
#include "server/wsframe.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    CONN_TEXT_INLINE = 192,
    CONN_IOV = 5
};

/* One message on its way out, as pieces of memory. */
typedef struct conn_item {
    struct conn_item *next;
    size_t total, sent;
    int n_pieces;
    struct {
        const uint8_t *data;
        size_t len;
    } piece[CONN_IOV];
    ts_frame *frame;
    uint8_t *heap; /* a text that does not fit below */
    uint8_t head[TS_WS_MAX_HEADER + 4], ping[10];
    char text[CONN_TEXT_INLINE];
} conn_item;

struct ts_conn {
    ts_ws *ws;
    void *wsi; /* struct lws; NULL before adoption and after its end */
    int fd;
    ts_conn *next, *prev; /* of all connections */
    ts_conn *next_touched;
    bool touched, listed;

    const ts_ws_endpoint *endpoint;
    void *session;
    ts_ws_request request;
    char *strings; /* one block for all of the request's texts */
    char accept[32], protocol[64];
    bool answered; /* the 101 is out already */
    uint8_t *extra;
    size_t n_extra;

    ts_wsframe parser;
    ts_buf message;
    conn_item *out_first, **out_last;
    size_t queued;
    uint64_t bytes_out;
    bool write_armed, was_blocked, paused;
    bool closing;      /* a close frame is queued or sent; input is discarded */
    bool close_queued; /* shut the socket down once the queue is empty */
    bool shut, dead;
    const char *dead_reason;
    int64_t linger_until_us, due_us, received_us, ping_sent_us, progress_us;
};

/* ---- of conn.c ---- */
ts_conn *conn_create(ts_ws *ws, int fd, const ts_takeover_info *info,
                     const ts_ws_endpoint *endpoint);
void conn_free(ts_conn *conn);
/** The socket is registered: answer 101, make the session, read what came early. */
void conn_start(ts_conn *conn);
void conn_readable(ts_conn *conn);
/** Send what is queued; arms the writable callback where the socket is full. */
void conn_flush(ts_conn *conn);
/** Handle what is due; returns when to call again. */
int64_t conn_tick(ts_conn *conn, int64_t now_us);

/* ---- of ws.c ---- */
typedef struct ws_limits {
    size_t max_text, max_binary, queue_bytes;
    int64_t ping_us, pong_timeout_us;
} ws_limits;
const ws_limits *ws_get_limits(const ts_ws *ws);
ts_app *ws_get_app(const ts_ws *ws);
/** Have conn_flush() called at the end of this turn. */
void ws_touch(ts_conn *conn);
void ws_arm_write(ts_conn *conn);
void ws_set_reading(ts_conn *conn, bool on);
/** A connection's due time became earlier. */
void ws_due(ts_ws *ws, int64_t when_us);
uint8_t *ws_receive_buffer(ts_ws *ws, size_t *len);
void ws_count_in(ts_ws *ws, size_t bytes, size_t messages);
void ws_count_out(ts_ws *ws, size_t bytes, size_t messages);
void ws_count_close(ts_ws *ws, int code, bool by_protocol_error);
conn_item *ws_item_new(ts_ws *ws);
void ws_item_free(ts_ws *ws, conn_item *item);

#ifdef __cplusplus
}
#endif
#endif
