#define _GNU_SOURCE /* accept4 */
#include "server/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/un.h>
#include <unistd.h>

#include "cl/base/clock.h"
#include "cl/base/log.h"
#include "cl/base/thread.h"

enum {
    MAX_LISTEN = 32,
    BACKLOG = 1024
};

struct ts_listener {
    int n;
    int fds[MAX_LISTEN];
    char *paths[MAX_LISTEN]; /* of Unix sockets */
    int wake, reserve;
    ts_limits *limits;
    ts_accept_fn accept;
    void *arg;
    ts_thread *thread;
    int64_t last_log_us;
};

/* ---- addresses ---- */

typedef struct endpoint {
    char host[256], port[8];
    const char *unix_path; /* NULL: TCP */
} endpoint;

static ts_status parse(const char *text, endpoint *out, ts_error *err)
{
    *out = (endpoint){0};
    if (strncmp(text, "unix:", 5) == 0) {
        out->unix_path = text + 5;
        if (text[5] != '/' || strlen(text + 5) >= sizeof((struct sockaddr_un *)0)->sun_path)
            return ts_fail(err, TS_E_OPTION,
                           "--listen %s: expected unix:/path of at most %zu octets", text,
                           sizeof((struct sockaddr_un *)0)->sun_path - 1);
        return TS_OK;
    }
    const char *host = text, *colon = strrchr(text, ':');
    size_t host_len = colon ? (size_t)(colon - text) : 0;
    if (*text == '[') {
        const char *close = strchr(text, ']');
        if (!close || close[1] != ':')
            host_len = 0;
        else
            host_len = (size_t)(close - text - 1), host = text + 1, colon = close + 1;
    } else if (colon && memchr(text, ':', host_len)) {
        host_len = 0; /* an IPv6 address without brackets */
    }
    char *end = NULL;
    long port = colon ? strtol(colon + 1, &end, 10) : -1;
    if (!host_len || host_len >= sizeof out->host || !end || *end || end == colon + 1 || port < 0 ||
        port > 65535)
        return ts_fail(err, TS_E_OPTION,
                       "--listen %s: expected host:port, [::1]:port or unix:/path", text);
    memcpy(out->host, host, host_len);
    snprintf(out->port, sizeof out->port, "%ld", port);
    return TS_OK;
}

ts_status ts_listen_check(const char *address, ts_error *err)
{
    endpoint where;
    return parse(address, &where, err);
}

static ts_status open_tcp(const char *text, const endpoint *where, int *out, ts_error *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *list = NULL;
    int rc = getaddrinfo(where->host, where->port, &hints, &list);
    if (rc != 0)
        return ts_fail(err, TS_E_OPTION, "--listen %s: %s", text, gai_strerror(rc));
    int one = 1, fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool ok = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0;
    if (ok && list->ai_family == AF_INET6)
        ok = setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one) == 0;
    ok = ok && bind(fd, list->ai_addr, list->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0;
    int failed = errno;
    freeaddrinfo(list);
    if (ok) {
        *out = fd;
        return TS_OK;
    }
    if (fd >= 0)
        close(fd);
    return ts_fail_errno(err, failed, "--listen %s", text);
}

/* A socket file left by a killed server is replaced, one that somebody serves is not. */
static bool unix_socket_is_stale(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool stale = fd >= 0 && connect(fd, (const void *)address, sizeof *address) != 0 &&
                 errno == ECONNREFUSED;
    if (fd >= 0)
        close(fd);
    return stale;
}

static ts_status open_unix(const char *text, const endpoint *where, int *out, ts_error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", where->unix_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool ok = fd >= 0;
    if (ok && bind(fd, (const void *)&address, sizeof address) != 0) {
        ok = errno == EADDRINUSE && unix_socket_is_stale(&address) &&
             unlink(address.sun_path) == 0 && bind(fd, (const void *)&address, sizeof address) == 0;
        if (!ok)
            errno = EADDRINUSE;
    }
    if (ok && listen(fd, BACKLOG) == 0) {
        *out = fd;
        return TS_OK;
    }
    int failed = errno;
    if (fd >= 0)
        close(fd);
    return ts_fail_errno(err, failed, "--listen %s", text);
}

ts_status ts_listener_open(const ts_options *options, ts_limits *limits, ts_listener **out,
                           ts_error *err)
{
    if (options->listen.n == 0 || options->listen.n > MAX_LISTEN)
        return ts_fail(err, TS_E_OPTION, "--listen takes 1 to %d addresses", MAX_LISTEN);
    ts_listener *listener = calloc(1, sizeof *listener);
    if (!listener)
        return ts_fail(err, TS_E_NO_MEMORY, "listener");
    listener->limits = limits;
    listener->wake = eventfd(0, EFD_CLOEXEC);
    listener->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
    ts_status st = TS_OK;
    for (size_t i = 0; i < options->listen.n && st == TS_OK; i++) {
        const char *text = options->listen.items[i];
        endpoint where;
        int fd = -1;
        st = parse(text, &where, err);
        if (st == TS_OK)
            st = where.unix_path ? open_unix(text, &where, &fd, err)
                                 : open_tcp(text, &where, &fd, err);
        if (st != TS_OK)
            break;
        listener->paths[listener->n] = where.unix_path ? strdup(where.unix_path) : NULL;
        listener->fds[listener->n++] = fd;
    }
    if (st != TS_OK) {
        ts_listener_close(listener);
        return st;
    }
    *out = listener;
    return TS_OK;
}

/* ---- accepting ---- */

static void refuse(int fd)
{
    static const char answer[] =
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Type: application/json\r\n"
        "Content-Length: 40\r\nConnection: close\r\n\r\n{\"error\":\"too many connections, retry "
        "it\"}";
    ssize_t sent = send(fd, answer, sizeof answer - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)sent;
    shutdown(fd, SHUT_WR);
    close(fd);
}

/* Out of descriptors: give up the one in reserve to accept and close, so the queue moves on. */
static void accept_and_drop(ts_listener *listener, int from)
{
    int64_t now = ts_now_us();
    if (now - listener->last_log_us > 1000000) {
        listener->last_log_us = now;
        ts_log(TS_LOG_WARN, "http", "no file descriptor left, connections are dropped");
    }
    if (listener->reserve >= 0)
        close(listener->reserve);
    int fd = accept4(from, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0)
        close(fd);
    listener->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
    ts_sleep_us(10000); /* not a spin, whatever the backlog */
}

static void accept_one(ts_listener *listener, int from)
{
    for (int i = 0; i < 64; i++) {
        struct sockaddr_storage address = {0};
        socklen_t len = sizeof address;
        int fd = accept4(from, (void *)&address, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
                accept_and_drop(listener, from);
            return;
        }
        if (!ts_limits_connect(listener->limits, (const void *)&address)) {
            refuse(fd);
            continue;
        }
        int one = 1;
        if (address.ss_family != AF_UNIX)
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        listener->accept(listener->arg, fd, (const void *)&address, len);
    }
}

static void accept_main(void *arg)
{
    ts_listener *listener = arg;
    struct pollfd polls[MAX_LISTEN + 1];
    for (int i = 0; i < listener->n; i++)
        polls[i] = (struct pollfd){.fd = listener->fds[i], .events = POLLIN};
    polls[listener->n] = (struct pollfd){.fd = listener->wake, .events = POLLIN};
    for (;;) {
        if (poll(polls, (nfds_t)listener->n + 1, -1) < 0 && errno != EINTR)
            return;
        for (int i = 0; i < listener->n; i++)
            if (polls[i].revents)
                accept_one(listener, listener->fds[i]);
        if (polls[listener->n].revents)
            return;
    }
}

ts_status ts_listener_start(ts_listener *listener, ts_accept_fn accept, void *arg, ts_error *err)
{
    listener->accept = accept;
    listener->arg = arg;
    return ts_thread_start("ts-accept", accept_main, listener, &listener->thread, err);
}

void ts_listener_print(const ts_listener *listener, bool tls)
{
    for (int i = 0; i < listener->n; i++) {
        struct sockaddr_storage address = {0};
        socklen_t len = sizeof address;
        char text[INET6_ADDRSTRLEN] = "";
        if (listener->paths[i]) {
            printf("tensorscope listening on unix:%s\n", listener->paths[i]);
            continue;
        }
        getsockname(listener->fds[i], (void *)&address, &len);
        ts_address_text((const void *)&address, text, sizeof text);
        bool v6 = address.ss_family == AF_INET6;
        unsigned port = v6 ? ((struct sockaddr_in6 *)(void *)&address)->sin6_port
                           : ((struct sockaddr_in *)(void *)&address)->sin_port;
        printf("tensorscope listening on %s://%s%s%s:%u\n", tls ? "https" : "http", v6 ? "[" : "",
               text, v6 ? "]" : "", ntohs((uint16_t)port));
    }
    fflush(stdout);
}

void ts_listener_close(ts_listener *listener)
{
    if (!listener)
        return;
    if (listener->thread) {
        eventfd_t one = 1;
        eventfd_write(listener->wake, one);
        ts_thread_join(listener->thread);
        for (int i = 0; i < listener->n; i++)
            accept_one(listener, listener->fds[i]);
    }
    for (int i = 0; i < listener->n; i++) {
        close(listener->fds[i]);
        if (listener->paths[i])
            unlink(listener->paths[i]);
        free(listener->paths[i]);
    }
    close(listener->wake);
    if (listener->reserve >= 0)
        close(listener->reserve);
    free(listener);
}
