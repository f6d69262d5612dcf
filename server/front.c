#define _GNU_SOURCE /* SOCK_NONBLOCK for socketpair */
#include "server/front.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cl/base/clock.h"
#include "cl/base/thread.h"

enum {
    PIECE = 32768, /* of each direction's buffer: two TLS records */
    LINGER_BYTES = 65536,
    LINGER_US = 1000000
};

typedef struct half {
    uint8_t data[PIECE];
    size_t from, to; /* the filled part */
    bool ended;      /* the source will give no more */
    bool closed;     /* and the sink has been told */
} half;

typedef struct relay {
    struct relay *prev, *next;
    SSL *ssl;
    int outer, inner; /* the client's socket; our end of the socketpair, -1 in the handshake */
    uint32_t outer_events, inner_events; /* as registered */
    bool read_wants_write, write_wants_read, dead;
    bool busy;    /* stopped in the middle; what waits in the TLS library wakes nobody */
    half in, out; /* client → server, server → client */
    int64_t started_us, closed_us; /* closed: the client has been told, and is drained */
    size_t drained;
    struct sockaddr_storage address;
    socklen_t address_len;
} relay;

struct ts_front {
    int poll, wake;
    ts_thread *thread;
    ts_accept_fn adopt;
    void *arg;
    ts_limits *limits;
    char *cert, *key;
    int64_t handshake_us;
    pthread_mutex_t front_lock; /* guards context, fresh, stop */
    SSL_CTX *context;
    relay *fresh; /* accepted, not yet taken by the thread */
    bool stop;
    relay *relays; /* the thread's */
};

/* ---- certificates ---- */

static const char *tls_error(void)
{
    static _Thread_local char text[160];
    unsigned long code = ERR_get_error();
    ERR_error_string_n(code, text, sizeof text);
    ERR_clear_error();
    return text;
}

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *len,
                           const unsigned char *in, unsigned in_len, void *arg)
{
    static const unsigned char http11[] = "\x08http/1.1";
    (void)ssl, (void)arg;
    return SSL_select_next_proto((unsigned char **)(uintptr_t)out, len, http11, sizeof http11 - 1,
                                 in, in_len) == OPENSSL_NPN_NEGOTIATED
               ? SSL_TLSEXT_ERR_OK
               : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static ts_status make_context(const char *cert, const char *key, SSL_CTX **out, ts_error *err)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    ts_status st = TS_OK;
    if (!context)
        return ts_fail(err, TS_E_NO_MEMORY, "TLS context");
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                     SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_alpn_select_cb(context, choose_protocol, NULL);
    if (SSL_CTX_use_certificate_chain_file(context, cert) != 1)
        st = ts_fail(err, TS_E_OPTION, "--tls-cert %.200s: %s", cert, tls_error());
    else if (SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1)
        st = ts_fail(err, TS_E_OPTION, "--tls-key %.200s: %s", key, tls_error());
    else if (SSL_CTX_check_private_key(context) != 1)
        st = ts_fail(err, TS_E_OPTION, "--tls-key does not belong to --tls-cert: %s", tls_error());
    if (st != TS_OK) {
        SSL_CTX_free(context);
        return st;
    }
    *out = context;
    return TS_OK;
}

ts_status ts_front_reload(ts_front *front, ts_error *err)
{
    SSL_CTX *context = NULL;
    ts_status st = make_context(front->cert, front->key, &context, err);
    if (st != TS_OK)
        return st;
    pthread_mutex_lock(&front->front_lock);
    SSL_CTX *old = front->context;
    front->context = context;
    pthread_mutex_unlock(&front->front_lock);
    SSL_CTX_free(old); /* connections hold their own references */
    return TS_OK;
}

/* ---- one connection ---- */

static void unlink_relay(ts_front *front, relay *one)
{
    if (one->prev)
        one->prev->next = one->next;
    else
        front->relays = one->next;
    if (one->next)
        one->next->prev = one->prev;
}

static void relay_free(ts_front *front, relay *one)
{
    if (one->inner >= 0)
        close(one->inner);
    else /* never reached the HTTP side, which would have released it */
        ts_limits_disconnect(front->limits, (const void *)&one->address);
    SSL_free(one->ssl);
    close(one->outer);
    free(one);
}

static void watch(ts_front *front, relay *one, int fd, uint32_t want, uint32_t *have)
{
    if (want == *have)
        return;
    struct epoll_event event = {.events = want, .data.ptr = one};
    epoll_ctl(front->poll, *have ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event);
    *have = want;
}

/* EPOLLET would save calls; level triggering cannot lose a wake-up. EPOLLRDHUP keeps `have` non-zero. */
static void watch_both(ts_front *front, relay *one)
{
    uint32_t outer = EPOLLRDHUP, inner = EPOLLRDHUP;
    bool shaking = one->inner < 0;
    if (shaking ? !one->read_wants_write : one->in.to < PIECE && !one->in.ended)
        outer |= EPOLLIN;
    if (one->busy || one->read_wants_write ||
        (one->out.from < one->out.to && !one->write_wants_read))
        outer |= EPOLLOUT;
    if (one->in.ended)
        outer &= ~(uint32_t)EPOLLRDHUP; /* known; it would only spin */
    if (outer == 0)
        outer = EPOLLHUP;
    watch(front, one, one->outer, outer, &one->outer_events);
    if (shaking)
        return;
    if (one->closed_us) { /* done with; its hang-up would only spin */
        if (one->inner_events)
            epoll_ctl(front->poll, EPOLL_CTL_DEL, one->inner, NULL);
        one->inner_events = 0;
        return;
    }
    if (one->out.to < PIECE && !one->out.ended)
        inner |= EPOLLIN;
    if (one->in.from < one->in.to)
        inner |= EPOLLOUT;
    if (one->out.ended)
        inner &= ~(uint32_t)EPOLLRDHUP;
    if (inner == 0)
        inner = EPOLLHUP;
    watch(front, one, one->inner, inner, &one->inner_events);
}

/* The handshake is over: the HTTP side gets its end. */
static void connect_inner(ts_front *front, relay *one)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0) {
        one->dead = true;
        return;
    }
    one->inner = pair[0];
    front->adopt(front->arg, pair[1], (const void *)&one->address, one->address_len);
}

static void shake(ts_front *front, relay *one)
{
    int rc = SSL_accept(one->ssl);
    int why = rc == 1 ? SSL_ERROR_NONE : SSL_get_error(one->ssl, rc);
    one->read_wants_write = why == SSL_ERROR_WANT_WRITE;
    if (why == SSL_ERROR_NONE)
        connect_inner(front, one);
    else if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
        one->dead = true;
    ERR_clear_error();
}

static void compact(half *h)
{
    if (h->from == h->to)
        h->from = h->to = 0;
    else if (h->from && h->to == PIECE) {
        memmove(h->data, h->data + h->from, h->to - h->from);
        h->to -= h->from;
        h->from = 0;
    }
}

/* Client → buffer. True: something moved. */
static bool read_outer(relay *one)
{
    half *h = &one->in;
    compact(h);
    if (h->ended || h->to == PIECE)
        return false;
    int n = SSL_read(one->ssl, h->data + h->to, (int)(PIECE - h->to));
    one->read_wants_write = false;
    if (n > 0) {
        h->to += (size_t)n;
        return true;
    }
    switch (SSL_get_error(one->ssl, n)) {
    case SSL_ERROR_WANT_READ:
        break;
    case SSL_ERROR_WANT_WRITE:
        one->read_wants_write = true;
        break;
    case SSL_ERROR_ZERO_RETURN:
        h->ended = true;
        break;
    default: /* cut off: nobody is left to answer */
        one->dead = true;
    }
    ERR_clear_error();
    return false;
}

static bool write_outer(relay *one)
{
    half *h = &one->out;
    if (h->from == h->to)
        return false;
    int n = SSL_write(one->ssl, h->data + h->from, (int)(h->to - h->from));
    one->write_wants_read = false;
    if (n > 0) {
        h->from += (size_t)n;
        return true;
    }
    switch (SSL_get_error(one->ssl, n)) {
    case SSL_ERROR_WANT_WRITE:
        break;
    case SSL_ERROR_WANT_READ:
        one->write_wants_read = true;
        break;
    default:
        one->dead = true;
    }
    ERR_clear_error();
    return false;
}

static bool read_inner(relay *one)
{
    half *h = &one->out;
    compact(h);
    if (h->ended || h->to == PIECE)
        return false;
    ssize_t n = recv(one->inner, h->data + h->to, PIECE - h->to, 0);
    if (n > 0) {
        h->to += (size_t)n;
        return true;
    }
    if (n == 0 || (errno != EAGAIN && errno != EINTR))
        h->ended = true;
    return false;
}

static bool write_inner(relay *one)
{
    half *h = &one->in;
    if (h->from == h->to)
        return false;
    ssize_t n = send(one->inner, h->data + h->from, h->to - h->from, MSG_NOSIGNAL);
    if (n > 0) {
        h->from += (size_t)n;
        return true;
    }
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        h->from = h->to = 0; /* the server has closed; what still comes is dropped */
        h->ended = true;
    }
    return false;
}

/* Pass an end on once everything before it has gone. */
static void pass_ends(relay *one)
{
    if (one->in.ended && one->in.from == one->in.to && !one->in.closed) {
        one->in.closed = true;
        shutdown(one->inner, SHUT_WR);
    }
    if (one->out.ended && one->out.from == one->out.to && !one->out.closed) {
        one->out.closed = true;
        one->closed_us = ts_now_us();
        SSL_shutdown(one->ssl);
        ERR_clear_error();
        shutdown(one->outer, SHUT_WR);
    }
}

/* Closing with octets unread would reset the connection, and lose the answer. */
static void drain_outer(relay *one)
{
    while (read_outer(one) && one->drained <= LINGER_BYTES) {
        one->drained += one->in.to - one->in.from;
        one->in.from = one->in.to = 0;
    }
    if (one->in.ended || one->drained > LINGER_BYTES)
        one->dead = true;
}

static void move(ts_front *front, relay *one)
{
    if (one->inner < 0)
        shake(front, one);
    bool moved = one->inner >= 0 && !one->dead && !one->closed_us;
    /* Bounded, so that one busy connection does not hold up the others. */
    for (int turn = 0; moved && turn < 16 && !one->dead; turn++) {
        moved = read_outer(one);
        moved |= write_inner(one);
        moved |= read_inner(one);
        moved |= write_outer(one);
    }
    one->busy = moved;
    if (one->inner >= 0 && !one->dead)
        pass_ends(one);
    if (one->closed_us)
        drain_outer(one);
    if (!one->dead)
        watch_both(front, one);
}

/* An error or a hang-up of the client that reading does not find: its end was seen before. */
static bool outer_is_gone(const relay *one)
{
    struct pollfd state = {.fd = one->outer};
    return poll(&state, 1, 0) > 0 && state.revents & (POLLERR | POLLHUP);
}

/* ---- the thread ---- */

static void take_fresh(ts_front *front)
{
    eventfd_t count;
    eventfd_read(front->wake, &count);
    pthread_mutex_lock(&front->front_lock);
    relay *list = front->fresh;
    front->fresh = NULL;
    pthread_mutex_unlock(&front->front_lock);
    while (list) {
        relay *one = list;
        list = one->next;
        one->prev = NULL;
        one->next = front->relays;
        if (one->next)
            one->next->prev = one;
        front->relays = one;
        move(front, one);
    }
}

/* Remove what is dead, and handshakes that take too long. */
static void sweep(ts_front *front)
{
    int64_t now = ts_now_us();
    for (relay *one = front->relays, *next; one; one = next) {
        next = one->next;
        bool slow = one->inner < 0 && now - one->started_us > front->handshake_us;
        slow |= one->closed_us && now - one->closed_us > LINGER_US;
        if (!one->dead && !slow)
            continue;
        unlink_relay(front, one);
        relay_free(front, one);
    }
}

static bool stopping(ts_front *front)
{
    pthread_mutex_lock(&front->front_lock);
    bool stop = front->stop;
    pthread_mutex_unlock(&front->front_lock);
    return stop;
}

static void front_main(void *arg)
{
    ts_front *front = arg;
    struct epoll_event events[128];
    int64_t next_sweep = 0;
    while (!stopping(front)) {
        int n = epoll_wait(front->poll, events, 128, 1000);
        bool any_dead = false;
        for (int i = 0; i < n; i++) {
            relay *one = events[i].data.ptr;
            if (!one) {
                take_fresh(front);
                continue;
            }
            if (!one->dead)
                move(front, one);
            if (events[i].events & (EPOLLERR | EPOLLHUP) && one->in.ended && outer_is_gone(one))
                one->dead = true;
            any_dead |= one->dead;
        }
        /* Freed only after the batch: a relay can be in it twice, once per descriptor. */
        if (any_dead || ts_now_us() > next_sweep) {
            sweep(front);
            next_sweep = ts_now_us() + 1000000;
        }
    }
}

/* ---- the interface ---- */

void ts_front_accept(ts_front *front, int fd, const struct sockaddr *address, socklen_t len)
{
    relay *one = calloc(1, sizeof *one);
    if (one) {
        pthread_mutex_lock(&front->front_lock);
        one->ssl = SSL_new(front->context);
        pthread_mutex_unlock(&front->front_lock);
    }
    if (!one || !one->ssl || SSL_set_fd(one->ssl, fd) != 1) {
        if (one)
            SSL_free(one->ssl);
        free(one);
        close(fd);
        ts_limits_disconnect(front->limits, address);
        return;
    }
    one->outer = fd;
    one->inner = -1;
    one->started_us = ts_now_us();
    memcpy(&one->address, address, len < sizeof one->address ? len : sizeof one->address);
    one->address_len = len;
    pthread_mutex_lock(&front->front_lock);
    one->next = front->fresh;
    front->fresh = one;
    pthread_mutex_unlock(&front->front_lock);
    eventfd_write(front->wake, 1);
}

ts_status ts_front_create(const ts_options *options, ts_limits *limits, ts_accept_fn adopt,
                          void *arg, ts_front **out, ts_error *err)
{
    ts_front *front = calloc(1, sizeof *front);
    if (!front)
        return ts_fail(err, TS_E_NO_MEMORY, "TLS");
    front->adopt = adopt;
    front->arg = arg;
    front->limits = limits;
    front->handshake_us = (int64_t)(options->header_timeout * 1e6);
    pthread_mutex_init(&front->front_lock, NULL);
    front->cert = strdup(options->tls_cert);
    front->key = strdup(options->tls_key);
    front->poll = epoll_create1(EPOLL_CLOEXEC);
    front->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    ts_status st = TS_OK;
    if (!front->cert || !front->key)
        st = ts_fail(err, TS_E_NO_MEMORY, "TLS");
    else if (front->poll < 0 || front->wake < 0 ||
             epoll_ctl(front->poll, EPOLL_CTL_ADD, front->wake, &event) != 0)
        st = ts_fail_errno(err, errno, "TLS");
    if (st == TS_OK)
        st = make_context(front->cert, front->key, &front->context, err);
    if (st == TS_OK)
        st = ts_thread_start("ts-tls", front_main, front, &front->thread, err);
    if (st != TS_OK) {
        ts_front_destroy(front);
        return st;
    }
    *out = front;
    return TS_OK;
}

void ts_front_destroy(ts_front *front)
{
    if (!front)
        return;
    pthread_mutex_lock(&front->front_lock);
    front->stop = true;
    pthread_mutex_unlock(&front->front_lock);
    if (front->thread) {
        eventfd_write(front->wake, 1);
        ts_thread_join(front->thread);
    }
    while (front->fresh) {
        relay *next = front->fresh->next;
        relay_free(front, front->fresh);
        front->fresh = next;
    }
    while (front->relays) {
        relay *next = front->relays->next;
        relay_free(front, front->relays);
        front->relays = next;
    }
    SSL_CTX_free(front->context);
    if (front->poll >= 0)
        close(front->poll);
    if (front->wake >= 0)
        close(front->wake);
    free(front->cert);
    free(front->key);
    pthread_mutex_destroy(&front->front_lock);
    free(front);
}
