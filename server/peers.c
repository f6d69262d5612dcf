#define _GNU_SOURCE /* POLLRDHUP */
#include "server/peers.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cl/base/clock.h"
#include "cl/base/json.h"
#include "cl/base/thread.h"
#include "server/limits.h"

enum {
    MAX_LINGERING = 256,
    LINGER_STEP_BYTES = 65536,
    LINGER_US = 1000000,
    TICK_US = 250000
};

typedef struct lingering {
    int fd;
    int64_t until_us;
} lingering;

struct ts_peers {
    pthread_mutex_t table_lock; /* guards head, linger, n_linger, stop, and the fields of ts_peer */
    pthread_cond_t stop_cond;
    ts_peer *head;
    lingering linger[MAX_LINGERING];
    int n_linger;
    bool stop;
    ts_thread *thread;
    void (*tick)(void *);
    void *tick_arg;
    int64_t header_us, body_us;
    double min_rate;
};

/* ---- raw answers ---- */

void ts_peers_raw_answer(int fd, int status, const char *reason, const char *code,
                         const char *detail)
{
    ts_buf body = {0}, text = {0};
    ts_buf_printf(&body,
                  "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%d,\"code\":\"%s\",",
                  reason, status, code);
    ts_buf_str(&body, "\"detail\":");
    ts_json_write_string(detail, &body);
    ts_buf_str(&body, ",\"error\":");
    ts_json_write_string(detail, &body);
    ts_buf_str(&body, "}");
    ts_buf_printf(&text,
                  "HTTP/1.1 %d %s\r\nContent-Type: application/problem+json\r\n"
                  "Content-Length: %zu\r\nConnection: close\r\nX-Content-Type-Options: nosniff\r\n"
                  "Cache-Control: no-store\r\n\r\n",
                  status, reason, body.len);
    ts_buf_append(&text, body.data, body.len);
    /* Whatever does not fit the socket's buffer is lost: nobody may wait here. */
    ssize_t sent =
        body.failed || text.failed ? 0 : send(fd, text.data, text.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)sent;
    ts_buf_finish(&body);
    ts_buf_finish(&text);
}

/* ---- lingering ---- */

static void linger_locked(ts_peers *peers, int fd)
{
    int copy = peers->n_linger < MAX_LINGERING ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
    if (copy < 0)
        return;
    shutdown(copy, SHUT_WR);
    peers->linger[peers->n_linger++] = (lingering){copy, ts_now_us() + LINGER_US};
}

/*
 * Read and discard; true when this one is done with. What a step does not take keeps the client
 * waiting, not failing: it finds the answer while its sending is held up.
 */
static bool linger_step(lingering *one, int64_t now)
{
    char scrap[16384];
    for (size_t taken = 0; taken < LINGER_STEP_BYTES;) {
        ssize_t n = recv(one->fd, scrap, sizeof scrap, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            return true;
        if (n < 0)
            break;
        taken += (size_t)n;
    }
    return now > one->until_us;
}

static void linger_all_locked(ts_peers *peers, int64_t now)
{
    for (int i = 0; i < peers->n_linger;) {
        if (linger_step(&peers->linger[i], now)) {
            close(peers->linger[i].fd);
            peers->linger[i] = peers->linger[--peers->n_linger];
        } else {
            i++;
        }
    }
}

/* ---- the reaper ---- */

static uint64_t bytes_received(int fd)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof info;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0)
        return 0;
    return info.tcpi_bytes_received;
}

static void kill_locked(ts_peer *conn, bool answer, const char *detail)
{
    if (answer)
        ts_peers_raw_answer(conn->fd, 408, "Request Timeout", "too-slow", detail);
    conn->killed = true;
    shutdown(conn->fd, SHUT_RDWR);
}

/*
 * The client has closed and nothing is left to read. The library misses an end that arrives together
 * with data (its epoll is edge-triggered, and a short read counts as "no more"), and would keep the
 * connection until the keep-alive timeout.
 */
bool ts_peers_has_left(const ts_peer *conn)
{
    struct pollfd state = {.fd = conn->fd, .events = POLLRDHUP};
    int unread = 0;
    return poll(&state, 1, 0) > 0 && (state.revents & POLLRDHUP) &&
           ioctl(conn->fd, FIONREAD, &unread) == 0 && unread == 0;
}

static void check_idle_locked(ts_peers *peers, ts_peer *conn, int64_t now)
{
    if (!conn->first_octet_us && bytes_received(conn->fd) > conn->received_mark)
        conn->first_octet_us = now;
    int64_t start = conn->fresh            ? conn->since_us
                    : conn->first_octet_us ? conn->first_octet_us
                                           : now;
    if (now - start > peers->header_us)
        kill_locked(conn, conn->first_octet_us != 0, "the request's headers took too long");
}

static void check_body_locked(ts_peers *peers, ts_peer *conn, int64_t now)
{
    int64_t elapsed = now - conn->since_us;
    bool stalled = now - conn->progress_us > peers->body_us;
    bool slow =
        elapsed > 10000000 && (double)conn->body_bytes < peers->min_rate * (double)elapsed * 1e-6;
    if (stalled || slow)
        kill_locked(conn, true, "the request's body took too long");
}

static void reap(ts_peers *peers, int64_t now)
{
    for (ts_peer *conn = peers->head; conn; conn = conn->next) {
        if (conn->killed || conn->phase == TS_PEER_BUSY)
            continue;
        if (now - conn->progress_us > 500000 && ts_peers_has_left(conn))
            kill_locked(conn, false, "");
        else if (conn->phase == TS_PEER_IDLE)
            check_idle_locked(peers, conn, now);
        else
            check_body_locked(peers, conn, now);
    }
}

static void reaper_main(void *arg)
{
    ts_peers *peers = arg;
    int64_t next_tick = ts_now_us();
    pthread_mutex_lock(&peers->table_lock);
    while (!peers->stop) {
        int64_t now = ts_now_us();
        linger_all_locked(peers, now);
        if (now >= next_tick) {
            next_tick = now + TICK_US;
            reap(peers, now);
            pthread_mutex_unlock(&peers->table_lock);
            peers->tick(peers->tick_arg);
            pthread_mutex_lock(&peers->table_lock);
        }
        int64_t until = now + (peers->n_linger ? 20000 : TICK_US);
        struct timespec deadline = {.tv_sec = until / 1000000, .tv_nsec = until % 1000000 * 1000};
        if (!peers->stop)
            pthread_cond_timedwait(&peers->stop_cond, &peers->table_lock, &deadline);
    }
    for (int i = 0; i < peers->n_linger; i++)
        close(peers->linger[i].fd);
    peers->n_linger = 0;
    pthread_mutex_unlock(&peers->table_lock);
}

ts_status ts_peers_create(const ts_options *options, void (*tick)(void *), void *arg,
                          ts_peers **out, ts_error *err)
{
    ts_peers *peers = calloc(1, sizeof *peers);
    if (!peers)
        return ts_fail(err, TS_E_NO_MEMORY, "connection table");
    peers->header_us = (int64_t)(options->header_timeout * 1e6);
    peers->body_us = (int64_t)(options->body_timeout * 1e6);
    peers->min_rate = (double)options->body_min_rate;
    peers->tick = tick;
    peers->tick_arg = arg;
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&peers->stop_cond, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&peers->table_lock, NULL);
    ts_status st = ts_thread_start("ts-reaper", reaper_main, peers, &peers->thread, err);
    if (st != TS_OK) {
        ts_peers_destroy(peers);
        return st;
    }
    *out = peers;
    return TS_OK;
}

void ts_peers_destroy(ts_peers *peers)
{
    if (!peers)
        return;
    pthread_mutex_lock(&peers->table_lock);
    peers->stop = true;
    pthread_cond_signal(&peers->stop_cond);
    pthread_mutex_unlock(&peers->table_lock);
    ts_thread_join(peers->thread);
    pthread_cond_destroy(&peers->stop_cond);
    pthread_mutex_destroy(&peers->table_lock);
    free(peers);
}

/* ---- the table ---- */

ts_peer *ts_peers_open(ts_peers *peers, int fd, const struct sockaddr *address)
{
    ts_peer *conn = calloc(1, sizeof *conn);
    if (!conn)
        return NULL;
    conn->fd = fd;
    conn->local = ts_address_local(address);
    ts_address_text(address, conn->peer, sizeof conn->peer);
    size_t len = address->sa_family == AF_INET6  ? sizeof(struct sockaddr_in6)
                 : address->sa_family == AF_INET ? sizeof(struct sockaddr_in)
                                                 : sizeof(sa_family_t);
    memcpy(&conn->address, address, len);
    conn->fresh = true;
    conn->since_us = conn->progress_us = ts_now_us();
    pthread_mutex_lock(&peers->table_lock);
    conn->next = peers->head;
    if (peers->head)
        peers->head->prev = conn;
    peers->head = conn;
    pthread_mutex_unlock(&peers->table_lock);
    return conn;
}

void ts_peers_close(ts_peers *peers, ts_peer *conn)
{
    if (!conn)
        return;
    pthread_mutex_lock(&peers->table_lock);
    if (conn->prev)
        conn->prev->next = conn->next;
    else
        peers->head = conn->next;
    if (conn->next)
        conn->next->prev = conn->prev;
    if (conn->linger && !peers->stop) {
        linger_locked(peers, conn->fd);
        pthread_cond_signal(&peers->stop_cond);
    }
    pthread_mutex_unlock(&peers->table_lock);
    free(conn);
}

void ts_peers_phase(ts_peers *peers, ts_peer *conn, ts_peer_phase phase)
{
    pthread_mutex_lock(&peers->table_lock);
    if (conn->phase != phase) {
        conn->phase = phase;
        conn->since_us = conn->progress_us = ts_now_us();
        conn->body_bytes = 0;
        conn->first_octet_us = 0;
        conn->fresh = false;
        if (phase == TS_PEER_IDLE)
            conn->received_mark = bytes_received(conn->fd);
    }
    pthread_mutex_unlock(&peers->table_lock);
}

void ts_peers_request_line(ts_peers *peers, ts_peer *conn)
{
    pthread_mutex_lock(&peers->table_lock);
    if (!conn->first_octet_us)
        conn->first_octet_us = ts_now_us();
    pthread_mutex_unlock(&peers->table_lock);
}

void ts_peers_progress(ts_peers *peers, ts_peer *conn, size_t body_bytes)
{
    pthread_mutex_lock(&peers->table_lock);
    conn->progress_us = ts_now_us();
    conn->body_bytes += body_bytes;
    pthread_mutex_unlock(&peers->table_lock);
}

void ts_peers_linger(ts_peers *peers, ts_peer *conn)
{
    pthread_mutex_lock(&peers->table_lock);
    conn->linger = true;
    pthread_mutex_unlock(&peers->table_lock);
}

void ts_peers_shutdown(ts_peers *peers, bool all)
{
    pthread_mutex_lock(&peers->table_lock);
    for (ts_peer *conn = peers->head; conn; conn = conn->next)
        if (all || conn->phase == TS_PEER_IDLE) {
            conn->killed = true;
            shutdown(conn->fd, SHUT_RDWR);
        }
    pthread_mutex_unlock(&peers->table_lock);
}
