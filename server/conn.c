#include "server/conn.h"

#include <errno.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "cl/base/clock.h"
#include "cl/base/log.h"

enum {
    LINGER_US = 2000000,       /* for the peer to close after our close frame */
    NO_PROGRESS_US = 30000000, /* of a peer that does not read */
    KEEP_MESSAGE_BYTES = 1 << 20,
    IOV_AT_ONCE = 60
};

/* ---- making one, on the HTTP thread ---- */

static size_t text_size(const char *text)
{
    return text ? strlen(text) + 1 : 1;
}

static const char *keep_text(char **at, const char *text)
{
    char *start = *at;
    size_t n = text_size(text);
    memcpy(start, text ? text : "", n);
    *at += n;
    return start;
}

static bool keep_request(ts_conn *c, const ts_takeover_info *info)
{
    size_t bytes = text_size(info->path) + text_size(info->peer);
    for (size_t i = 0; i < info->n_query; i++)
        bytes += text_size(info->query[i].key) + text_size(info->query[i].value);
    ts_takeover_pair *pairs = calloc(info->n_query + 1, sizeof *pairs);
    c->strings = malloc(bytes);
    c->request.query = pairs;
    if (!pairs || !c->strings)
        return false;
    char *at = c->strings;
    c->request.path = keep_text(&at, info->path);
    c->request.peer = keep_text(&at, info->peer);
    c->request.scopes = info->scopes;
    c->request.n_query = info->n_query;
    for (size_t i = 0; i < info->n_query; i++) {
        pairs[i].key = keep_text(&at, info->query[i].key);
        pairs[i].value = keep_text(&at, info->query[i].value);
    }
    if (info->params && info->params->n > 0)
        snprintf(c->request.stream, sizeof c->request.stream, "%s", info->params->part[0].value);
    if (info->n_extra) {
        c->extra = malloc(info->n_extra);
        if (!c->extra)
            return false;
        memcpy(c->extra, info->extra, info->n_extra);
        c->n_extra = info->n_extra;
    }
    return true;
}

void ts_websocket_accept(const char *key, char out[32])
{
    char text[128];
    uint8_t digest[SHA_DIGEST_LENGTH];
    int n = snprintf(text, sizeof text, "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
    EVP_Digest(text, (size_t)n, digest, NULL, EVP_sha1(), NULL);
    EVP_EncodeBlock((unsigned char *)out, digest, sizeof digest);
}

ts_conn *conn_create(ts_ws *ws, int fd, const ts_takeover_info *info,
                     const ts_ws_endpoint *endpoint)
{
    ts_conn *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->ws = ws;
    c->fd = fd;
    c->endpoint = endpoint;
    c->out_last = &c->out_first;
    c->due_us = INT64_MAX;
    ts_websocket_accept(info->key, c->accept);
    c->answered = info->answered;
    snprintf(c->protocol, sizeof c->protocol, "%s", info->protocol ? info->protocol : "");
    const ws_limits *limits = ws_get_limits(ws);
    ts_wsframe_init(&c->parser, limits->max_text,
                    endpoint->text_limit_only ? limits->max_text : limits->max_binary);
    if (!keep_request(c, info)) {
        c->fd = -1;
        conn_free(c);
        return NULL;
    }
    return c;
}

static void drop_queue(ts_conn *c)
{
    while (c->out_first) {
        conn_item *item = c->out_first;
        c->out_first = item->next;
        ws_item_free(c->ws, item);
    }
    c->out_last = &c->out_first;
    c->queued = 0;
}

void conn_free(ts_conn *c)
{
    if (!c)
        return;
    if (c->session && c->endpoint->close)
        c->endpoint->close(c->session);
    c->session = NULL;
    drop_queue(c);
    if (c->fd >= 0)
        close(c->fd);
    ts_buf_finish(&c->message);
    free((void *)c->request.query);
    free(c->strings);
    free(c->extra);
    free(c);
}

/* ---- sending ---- */

static conn_item *item_new(ts_conn *c)
{
    if (c->closing || c->dead)
        return NULL;
    conn_item *item = ws_item_new(c->ws);
    if (!item)
        ts_conn_kill(c, "out of memory");
    return item;
}

static void add_piece(conn_item *item, const void *data, size_t len)
{
    if (!len)
        return;
    item->piece[item->n_pieces].data = data;
    item->piece[item->n_pieces++].len = len;
    item->total += len;
}

static void queue_item(ts_conn *c, conn_item *item)
{
    if (!c->out_first)
        c->progress_us = ts_now_us();
    item->next = NULL;
    *c->out_last = item;
    c->out_last = &item->next;
    c->queued += item->total;
    ws_count_out(c->ws, 0, 1);
    ws_touch(c);
    if (c->queued > ws_get_limits(c->ws)->queue_bytes + (item->frame ? item->total : 0))
        ts_conn_kill(c, "more unsent octets than --queue-bytes");
}

/* Copy `len` octets into the item, and make them its next piece. */
static bool add_copy(ts_conn *c, conn_item *item, const void *data, size_t len)
{
    char *to = item->text;
    if (len > sizeof item->text) {
        item->heap = malloc(len);
        to = (char *)item->heap;
        if (!to) {
            ws_item_free(c->ws, item);
            ts_conn_kill(c, "out of memory");
            return false;
        }
    }
    if (len)
        memcpy(to, data, len);
    add_piece(item, to, len);
    return true;
}

void ts_conn_send_copy(ts_conn *c, int opcode, const void *data, size_t len)
{
    conn_item *item = item_new(c);
    if (!item)
        return;
    add_piece(item, item->head, ts_wsframe_header(item->head, opcode, len));
    if (add_copy(c, item, data, len))
        queue_item(c, item);
}

void ts_conn_send_text(ts_conn *c, const char *text, size_t len)
{
    ts_conn_send_copy(c, TS_WS_TEXT, text, len);
}

void ts_conn_send_json(ts_conn *c, const json_t *value)
{
    ts_buf text = {0};
    ts_json_write(value, &text);
    if (text.failed)
        ts_conn_kill(c, "out of memory");
    else
        ts_conn_send_text(c, (const char *)text.data, text.len);
    ts_buf_finish(&text);
}

void ts_conn_send_ping(ts_conn *c, const void *data, size_t len)
{
    ts_conn_send_copy(c, TS_WS_PING, data, len < TS_WS_MAX_CONTROL ? len : TS_WS_MAX_CONTROL);
}

static void put_u32(uint8_t *out, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)(v >> (8 * i));
}

size_t ts_conn_send_frame(ts_conn *c, const ts_conn_frame *m)
{
    conn_item *item = item_new(c);
    if (!item)
        return 0;
    const ts_frame *f = m->frame;
    item->frame = ts_frame_ref(m->frame);
    if (m->bare) {
        add_piece(item, item->head, ts_wsframe_header(item->head, TS_WS_BINARY, f->payload.len));
    } else {
        size_t tail = strlen(m->tail);
        if (tail >= sizeof item->text)
            tail = sizeof item->text - 1;
        size_t json = f->head.len + tail;
        size_t n = ts_wsframe_header(item->head, TS_WS_BINARY, 4 + json + f->payload.len);
        put_u32(item->head + n, (uint32_t)json);
        add_piece(item, item->head, n + 4);
        add_piece(item, f->head.data, f->head.len);
        memcpy(item->text, m->tail, tail);
        add_piece(item, item->text, tail);
    }
    add_piece(item, f->payload.data, f->payload.len);
    if (m->ping) {
        ts_wsframe_header(item->ping, TS_WS_PING, 8);
        for (int i = 0; i < 8; i++)
            item->ping[2 + i] = (uint8_t)(m->ping_id >> (8 * i));
        add_piece(item, item->ping, sizeof item->ping);
    }
    size_t total = item->total;
    queue_item(c, item);
    return total;
}

void ts_conn_close(ts_conn *c, int code, const char *reason)
{
    if (c->closing || c->dead)
        return;
    uint8_t payload[TS_WS_MAX_CONTROL];
    size_t n = 0;
    if (code != TS_WS_CLOSE_NO_STATUS)
        n = ts_wsframe_close_payload(payload, code, reason);
    conn_item *item = item_new(c);
    if (!item)
        return;
    add_piece(item, item->head, ts_wsframe_header(item->head, TS_WS_CLOSE, n));
    if (!add_copy(c, item, payload, n))
        return;
    queue_item(c, item);
    c->closing = true;
    c->close_queued = true;
    c->linger_until_us = ts_now_us() + LINGER_US;
    ws_due(c->ws, c->linger_until_us);
    ws_set_reading(c, true);
    ws_count_close(c->ws, code, false);
}

void ts_conn_kill(ts_conn *c, const char *reason)
{
    if (c->dead)
        return;
    c->dead = true;
    c->dead_reason = reason;
    ws_touch(c);
}

static void flush_done(ts_conn *c)
{
    if (c->close_queued && !c->shut) {
        c->shut = true;
        shutdown(c->fd, SHUT_WR);
    }
    if (c->was_blocked) {
        c->was_blocked = false;
        if (c->session && c->endpoint->drained && !c->closing)
            c->endpoint->drained(c->session);
    }
}

static int gather(const ts_conn *c, struct iovec iov[IOV_AT_ONCE])
{
    int n = 0;
    for (const conn_item *item = c->out_first; item; item = item->next) {
        size_t skip = item->sent;
        for (int i = 0; i < item->n_pieces; i++) {
            size_t len = item->piece[i].len;
            if (skip >= len) {
                skip -= len;
                continue;
            }
            if (n == IOV_AT_ONCE)
                return n;
            iov[n].iov_base = (void *)(item->piece[i].data + skip);
            iov[n++].iov_len = len - skip;
            skip = 0;
        }
    }
    return n;
}

static void sent_some(ts_conn *c, size_t n)
{
    c->bytes_out += n;
    c->queued -= n;
    c->progress_us = ts_now_us();
    ws_count_out(c->ws, n, 0);
    while (c->out_first && n >= c->out_first->total - c->out_first->sent) {
        conn_item *item = c->out_first;
        n -= item->total - item->sent;
        c->out_first = item->next;
        ws_item_free(c->ws, item);
    }
    if (c->out_first)
        c->out_first->sent += n;
    else
        c->out_last = &c->out_first;
}

void conn_flush(ts_conn *c)
{
    struct iovec iov[IOV_AT_ONCE];
    while (c->out_first && !c->dead && !c->write_armed) {
        struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)gather(c, iov)};
        ssize_t n = sendmsg(c->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0) {
            sent_some(c, (size_t)n);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            c->was_blocked = true;
            ws_arm_write(c);
            return;
        } else if (errno != EINTR) {
            ts_conn_kill(c, strerror(errno));
            return;
        }
    }
    if (!c->out_first && !c->dead)
        flush_done(c);
}

/* ---- receiving ---- */

static void deliver(ts_conn *c, int opcode, const uint8_t *data, size_t len)
{
    ws_count_in(c->ws, 0, 1);
    c->endpoint->message(c->session, opcode, data, len);
}

static void take_data(ts_conn *c, const ts_ws_event *e)
{
    if (e->first && e->last) {
        deliver(c, e->opcode, e->data, e->len);
        return;
    }
    ts_buf_append(&c->message, e->data, e->len);
    if (c->message.failed) {
        ts_conn_close(c, TS_WS_CLOSE_TOO_BIG, "out of memory");
        return;
    }
    if (!e->last)
        return;
    deliver(c, e->opcode, c->message.data, c->message.len);
    if (c->message.cap > KEEP_MESSAGE_BYTES)
        ts_buf_finish(&c->message);
    else
        ts_buf_reset(&c->message);
}

static void take_control(ts_conn *c, const ts_ws_event *e)
{
    if (e->opcode == TS_WS_PING)
        ts_conn_send_copy(c, TS_WS_PONG, e->data, e->len);
    else if (e->opcode == TS_WS_PONG && c->endpoint->pong)
        c->endpoint->pong(c->session, e->data, e->len);
    else if (e->opcode == TS_WS_CLOSE)
        ts_conn_close(c, e->close_code, NULL);
}

static void take_input(ts_conn *c, uint8_t *data, size_t len)
{
    while (len > 0 && !c->closing && !c->dead) {
        ts_ws_event e;
        size_t used = ts_wsframe_next(&c->parser, data, len, &e);
        data += used;
        len -= used;
        if (e.kind == TS_WS_EVENT_DATA) {
            take_data(c, &e);
        } else if (e.kind == TS_WS_EVENT_CONTROL) {
            take_control(c, &e);
        } else if (e.kind == TS_WS_EVENT_ERROR) {
            ws_count_close(c->ws, 0, true);
            ts_conn_close(c, e.close_code, e.reason);
        }
    }
}

void conn_readable(ts_conn *c)
{
    if (c->dead)
        return;
    size_t cap;
    uint8_t *buffer = ws_receive_buffer(c->ws, &cap);
    ssize_t n = recv(c->fd, buffer, cap, MSG_DONTWAIT);
    if (n > 0) {
        c->received_us = ts_now_us();
        ws_count_in(c->ws, (size_t)n, 0);
        take_input(c, buffer, (size_t)n);
    } else if (n == 0) {
        ts_conn_kill(c, "closed by the peer");
    } else if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
        ts_conn_kill(c, strerror(errno));
    }
}

static bool send_101(ts_conn *c)
{
    char text[256];
    int n = snprintf(text, sizeof text,
                     "HTTP/1.1 101 Switching Protocols\r\n"
                     "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Accept: %s\r\n%s%s%s\r\n",
                     c->accept, c->protocol[0] ? "Sec-WebSocket-Protocol: " : "", c->protocol,
                     c->protocol[0] ? "\r\n" : "");
    conn_item *item = item_new(c);
    if (!item || !add_copy(c, item, text, (size_t)n))
        return false;
    queue_item(c, item);
    return true;
}

void conn_start(ts_conn *c)
{
    c->received_us = c->progress_us = ts_now_us();
    if (!c->answered && !send_101(c))
        return;
    c->session = c->endpoint->open(ws_get_app(c->ws), c, &c->request);
    if (!c->session && !c->closing)
        ts_conn_close(c, TS_WS_CLOSE_INTERNAL, "no session");
    if (c->n_extra)
        take_input(c, c->extra, c->n_extra);
    free(c->extra);
    c->extra = NULL;
    c->n_extra = 0;
}

/* ---- timers ---- */

static int64_t keep_alive(ts_conn *c, int64_t now)
{
    const ws_limits *limits = ws_get_limits(c->ws);
    if (c->ping_sent_us > c->received_us) {
        int64_t until = c->ping_sent_us + limits->pong_timeout_us;
        if (now >= until)
            ts_conn_kill(c, "no pong in time");
        return until;
    }
    int64_t next = c->received_us + limits->ping_us;
    if (now < next)
        return next;
    ts_conn_send_ping(c, "alive", 5);
    c->ping_sent_us = now;
    return now + limits->pong_timeout_us;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t conn_tick(ts_conn *c, int64_t now)
{
    if (c->dead)
        return INT64_MAX;
    if (c->closing) {
        if (now >= c->linger_until_us)
            ts_conn_kill(c, "close not answered in time");
        return c->linger_until_us;
    }
    int64_t next = keep_alive(c, now);
    if (c->out_first) {
        if (now - c->progress_us >= NO_PROGRESS_US)
            ts_conn_kill(c, "the peer does not read");
        next = earlier(next, c->progress_us + NO_PROGRESS_US);
    }
    if (c->due_us <= now) {
        c->due_us = INT64_MAX;
        if (c->session && c->endpoint->due)
            c->endpoint->due(c->session, now);
    }
    return earlier(next, c->due_us);
}

/* ---- what endpoints ask ---- */

ts_ws *ts_conn_ws(ts_conn *c)
{
    return c->ws;
}

size_t ts_conn_queued(const ts_conn *c)
{
    return c->queued;
}

size_t ts_conn_socket_queued(const ts_conn *c)
{
    int n = 0;
    return c->fd >= 0 && !ioctl(c->fd, SIOCOUTQ, &n) && n > 0 ? (size_t)n : 0;
}

int64_t ts_conn_network_rtt_us(const ts_conn *c)
{
    struct tcp_info info;
    socklen_t len = sizeof info;
    if (c->fd < 0 || getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &len) || !info.tcpi_rtt)
        return -1;
    return info.tcpi_rtt;
}

uint64_t ts_conn_bytes_out(const ts_conn *c)
{
    return c->bytes_out;
}

void ts_conn_pause_reading(ts_conn *c, bool pause)
{
    if (c->paused == pause || c->closing || c->dead)
        return;
    c->paused = pause;
    ws_set_reading(c, !pause);
}

void ts_conn_set_due(ts_conn *c, int64_t when_us)
{
    if (when_us >= c->due_us)
        return;
    c->due_us = when_us;
    ws_due(c->ws, when_us);
}

bool ts_conn_closing(const ts_conn *c)
{
    return c->closing || c->dead;
}
