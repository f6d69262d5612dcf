#include "server/wsecho.h"

enum {
    /* a client that sends and does not read is slowed down by TCP from here on */
    PAUSE_BYTES = 1 << 20
};

static void *echo_open(ts_app *app, ts_conn *conn, const ts_ws_request *request)
{
    (void)app;
    (void)request;
    return conn;
}

static void echo_message(void *session, int opcode, const uint8_t *data, size_t len)
{
    ts_conn *conn = session;
    ts_conn_send_copy(conn, opcode, data, len);
    if (ts_conn_queued(conn) > PAUSE_BYTES)
        ts_conn_pause_reading(conn, true);
}

static void echo_drained(void *session)
{
    ts_conn_pause_reading(session, false);
}

const ts_ws_endpoint ts_ws_echo = {.pattern = "/ws/echo",
                                   .text_limit_only = true,
                                   .open = echo_open,
                                   .message = echo_message,
                                   .drained = echo_drained};
