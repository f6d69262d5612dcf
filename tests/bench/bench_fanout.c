/*
 * Fan-out of one frame to many WebSockets: CPU of this process per message, beside bare send() of the
 * same octets to as many sockets, in the same run, interleaved. The readers are another process, which
 * discards what it gets. `acks` adds a PING behind each frame and the reader's PONG.
 *
 *     bench_fanout [--quick]
 *
 * Prints one JSON line per case; exit status 1 where a ratio is over its target (without acks:
 * 1.4, 1.8, 2.5 and 2.5 at 1, 100, 1000 and 2000 subscribers).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cl/base/clock.h"
#include "server/ws.h"
#include "tests/support/ws_listener.h"

enum {
    MAX_CLIENTS = 2000,
    ROUNDS = 5,
    BATCH_US = 250000
};

static double cpu_us(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return 1e6 * (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static void die(const char *what)
{
    perror(what);
    exit(2);
}

/* ---- the readers: a child process ---- */

typedef struct reader {
    int fd;
    size_t got; /* octets of the message at hand */
} reader;

static int dial(int port, bool websocket)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
                                  "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                                  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to))
        die("connect");
    if (!websocket)
        return fd;
    if (send(fd, request, sizeof request - 1, 0) < 0)
        die("send");
    char head[512] = "";
    for (size_t n = 0; !strstr(head, "\r\n\r\n") && n < sizeof head - 1; n++)
        if (recv(fd, head + n, 1, 0) != 1)
            die("handshake");
    return fd;
}

/* Discard, and answer each whole message with a PONG where asked. */
static void read_all(int port, int n, bool websocket, size_t message, bool pong)
{
    reader *readers = calloc((size_t)n, sizeof *readers);
    int ep = epoll_create1(0);
    for (int i = 0; i < n; i++) {
        readers[i].fd = dial(port, websocket);
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = &readers[i]};
        epoll_ctl(ep, EPOLL_CTL_ADD, readers[i].fd, &e);
    }
    for (;;) {
        struct epoll_event events[256];
        int k = epoll_wait(ep, events, 256, -1);
        for (int i = 0; i < k; i++) {
            reader *r = events[i].data.ptr;
            ssize_t got = recv(r->fd, NULL, 1 << 20, MSG_TRUNC | MSG_DONTWAIT);
            if (got == 0)
                _exit(0);
            r->got += got > 0 ? (size_t)got : 0;
            for (; r->got >= message; r->got -= message)
                if (pong && send(r->fd, "\x8a\x88\0\0\0\0\0\0\0\0\0\0\0\0", 14, MSG_NOSIGNAL) < 0)
                    _exit(0);
        }
    }
}

static pid_t start_readers(int port, int n, bool websocket, size_t message, bool pong)
{
    pid_t child = fork();
    if (child == 0) {
        read_all(port, n, websocket, message, pong);
        _exit(0);
    }
    return child;
}

/* ---- the floor: bare sends ---- */

typedef struct bare {
    int fds[MAX_CLIENTS], n;
    uint8_t *data;
    size_t len;
    pid_t child;
} bare;

static void bare_open(bare *b, int n, size_t len)
{
    int port, listener = ws_listener_open(&port);
    b->n = n;
    b->len = len;
    b->data = calloc(1, len);
    b->child = start_readers(port, n, false, len, false);
    for (int i = 0; i < n; i++) {
        int one = 1;
        b->fds[i] = accept(listener, NULL, NULL);
        if (b->fds[i] < 0)
            die("accept");
        setsockopt(b->fds[i], 6, 1, &one, sizeof one);
    }
    close(listener);
}

static void bare_broadcast(bare *b)
{
    for (int i = 0; i < b->n; i++) {
        size_t sent = 0;
        while (sent < b->len) {
            ssize_t k = send(b->fds[i], b->data + sent, b->len - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
            if (k > 0) {
                sent += (size_t)k;
                continue;
            }
            if (errno != EAGAIN)
                die("send");
            struct pollfd p = {.fd = b->fds[i], .events = POLLOUT};
            poll(&p, 1, 1000);
        }
    }
}

static void bare_close(bare *b)
{
    for (int i = 0; i < b->n; i++)
        close(b->fds[i]);
    kill(b->child, SIGKILL);
    waitpid(b->child, NULL, 0);
    free(b->data);
}

/* ---- the subject: server/ws.h ---- */

typedef struct subject {
    ts_app app;
    ts_ws *ws;
    ts_frame_pool *pool;
    ts_frame *frame;
    ts_conn *conns[MAX_CLIENTS];
    int n, n_open;
    bool pings;
    /* ts-ws only: */
    bool counting;
    int left, repeat; /* connections that hold this broadcast up; broadcasts still to do */
    pid_t child;
    ts_ws_task task;
    pthread_mutex_t lock; /* guards: waiting, n_open */
    pthread_cond_t done;
    int waiting; /* the main thread waits */
} subject;

static subject *the_subject;

static void *on_open(ts_app *app, ts_conn *conn, const ts_ws_request *request)
{
    subject *s = the_subject;
    (void)app, (void)request;
    pthread_mutex_lock(&s->lock);
    s->conns[s->n_open++] = conn;
    pthread_cond_signal(&s->done);
    pthread_mutex_unlock(&s->lock);
    return conn;
}

static void on_message(void *session, int opcode, const uint8_t *data, size_t len)
{
    (void)session, (void)opcode, (void)data, (void)len;
}

static void on_gone(ts_app *app)
{
    (void)app;
}

/*
 * Without acks a frame is done when the socket has taken it, as bare send() waits for. The task behind
 * the sends runs a turn later, when what went at once has gone; the others tell by `drained`.
 */
static void broadcast(ts_ws_task *task);

static void all_left(void)
{
    subject *s = the_subject;
    if (--s->repeat > 0) {
        broadcast(&s->task);
        return;
    }
    pthread_mutex_lock(&s->lock);
    s->waiting = 0;
    pthread_cond_signal(&s->done);
    pthread_mutex_unlock(&s->lock);
}

static void check_left(ts_ws_task *task)
{
    subject *s = the_subject;
    int left = 0;
    (void)task;
    for (int i = 0; i < s->n; i++)
        left += ts_conn_queued(s->conns[i]) > 0;
    s->counting = left > 0;
    s->left = left;
    if (!left)
        all_left();
}

static void on_drained(void *session)
{
    (void)session;
    if (the_subject->counting && --the_subject->left == 0)
        all_left();
}

static void broadcast(ts_ws_task *task)
{
    subject *s = the_subject;
    s->counting = false;
    s->left = s->n;
    for (int i = 0; i < s->n; i++) {
        ts_conn_frame m = {.frame = s->frame, .tail = ",\"dropped\":0}", .ping = s->pings};
        ts_conn_send_frame(s->conns[i], &m);
    }
    if (!s->pings) {
        task->run = check_left;
        ts_ws_post(s->ws, task);
    }
}

static void on_pong(void *session, const uint8_t *data, size_t len)
{
    (void)session, (void)data, (void)len;
    if (--the_subject->left == 0)
        all_left();
}

static const ts_ws_endpoint endpoints[] = {{.pattern = "/",
                                            .open = on_open,
                                            .message = on_message,
                                            .pong = on_pong,
                                            .drained = on_drained},
                                           {.pattern = NULL}};
static const ts_route route = {.method = "GET", .pattern = "/"};

static void subject_open(subject *s, int n, size_t len, bool pings)
{
    ts_error err = {0};
    memset(s, 0, sizeof *s);
    the_subject = s;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->done, NULL);
    s->app.options.max_message = s->app.options.max_binary_message = 1 << 20;
    s->app.options.queue_bytes = 64 << 20;
    s->app.options.ws_ping = s->app.options.ws_pong_timeout = 600;
    s->app.options.max_websockets = MAX_CLIENTS;
    s->n = n;
    s->pings = pings;
    int port, listener = ws_listener_open(&port);
    if (ts_frame_pool_create(2, &s->pool, &err) != TS_OK ||
        ts_frame_acquire(s->pool, &s->frame, &err) != TS_OK)
        die(err.text);
    ts_buf_str(&s->frame->head, "{\"type\":\"frame\",\"stream\":\"bench\",\"seq\":1,\"step\":1");
    size_t head = s->frame->head.len + strlen(",\"dropped\":0}") + 4;
    size_t payload = len > head ? len - head : 1;
    ts_buf_reserve(&s->frame->payload, payload);
    memset(s->frame->payload.data, 1, payload);
    s->frame->payload.len = payload;
    size_t message = len + (len < 65536 ? 4 : 10) + (pings ? 10 : 0);
    s->child = start_readers(port, n, true, message, pings);
    /* after the fork: the child has no threads of ours */
    if (ts_ws_create(&s->app, endpoints, on_gone, NULL, &s->ws, &err) != TS_OK)
        die(err.text);
    s->app.ws = s->ws;
    for (int i = 0; i < n; i++)
        if (!ws_listener_accept(listener, &s->app, &route))
            die("accept");
    close(listener);
    pthread_mutex_lock(&s->lock);
    while (s->n_open < n)
        pthread_cond_wait(&s->done, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

/* Some broadcasts in a row: the hand-over between threads is not what is measured. */
static void subject_broadcast(subject *s, int repeat)
{
    pthread_mutex_lock(&s->lock);
    s->repeat = repeat;
    s->waiting = 1;
    s->task.run = broadcast;
    pthread_mutex_unlock(&s->lock);
    ts_ws_post(s->ws, &s->task);
    pthread_mutex_lock(&s->lock);
    while (s->waiting)
        pthread_cond_wait(&s->done, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

static void subject_close(subject *s)
{
    kill(s->child, SIGKILL);
    waitpid(s->child, NULL, 0);
    ts_ws_destroy(s->ws);
    ts_frame_unref(s->frame);
    ts_frame_pool_destroy(s->pool);
    pthread_cond_destroy(&s->done);
    pthread_mutex_destroy(&s->lock);
}

/* ---- a case ---- */

/* Messages per call of `run`, so that one takes some milliseconds. */
static int repeats(int n)
{
    return n >= 100 ? 1 : 200 / n;
}

static double batch(void (*run)(void *, int), void *arg, int n)
{
    double start = cpu_us();
    int64_t until = ts_now_us() + BATCH_US;
    int calls = 0, repeat = repeats(n);
    while (ts_now_us() < until || calls < 3) {
        run(arg, repeat);
        calls++;
    }
    return (cpu_us() - start) / calls / repeat / n;
}

static void run_bare(void *arg, int repeat)
{
    for (int i = 0; i < repeat; i++)
        bare_broadcast(arg);
}

static void run_subject(void *arg, int repeat)
{
    subject_broadcast(arg, repeat);
}

static bool run_case(int n, size_t len, bool acks, double target)
{
    static bare b;
    static subject s;
    double floor_us = 1e30, us = 1e30, loads[3] = {0};
    bare_open(&b, n, len);
    subject_open(&s, n, len, acks);
    run_bare(&b, 1);
    run_subject(&s, 1);
    for (int i = 0; i < ROUNDS; i++) {
        double f = batch(run_bare, &b, n), t = batch(run_subject, &s, n);
        floor_us = f < floor_us ? f : floor_us;
        us = t < us ? t : us;
    }
    subject_close(&s);
    bare_close(&b);
    FILE *load = fopen("/proc/loadavg", "r");
    if (load) {
        if (fscanf(load, "%lf", &loads[0]) != 1)
            loads[0] = 0;
        fclose(load);
    }
    bool ok = target == 0 || us / floor_us <= target;
    printf(
        "{\"name\":\"fanout\",\"subscribers\":%d,\"bytes\":%zu,\"acks\":%s,\"us\":%.2f,"
        "\"floor_us\":%.2f,\"ratio\":%.2f,\"target\":%.1f,\"ok\":%s,\"load\":%.1f,\"cores\":%ld}\n",
        n, len, acks ? "true" : "false", us, floor_us, us / floor_us, target, ok ? "true" : "false",
        loads[0], sysconf(_SC_NPROCESSORS_ONLN));
    fflush(stdout);
    return ok;
}

int main(int argc, char **argv)
{
    static const struct {
        int n;
        size_t len;
        bool acks;
        double target;
        bool quick;
    } cases[] = {{1, 50000, false, 1.4, true},     {10, 50000, false, 0, false},
                 {100, 50000, false, 1.8, true},   {1000, 50000, false, 2.5, false},
                 {2000, 20000, false, 2.5, false}, {100, 5000, false, 0, false},
                 {100, 500000, false, 0, false},   {1, 50000, true, 0, true},
                 {100, 50000, true, 0, true},      {1000, 50000, true, 0, false}};
    bool quick = argc > 1 && !strcmp(argv[1], "--quick"), ok = true;
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (quick && !cases[i].quick)
            continue;
        if ((rlim_t)cases[i].n * 2 + 64 > files.rlim_max) {
            printf("{\"name\":\"fanout\",\"subscribers\":%d,\"skipped\":\"descriptor limit\"}\n",
                   cases[i].n);
            continue;
        }
        ok &= run_case(cases[i].n, cases[i].len, cases[i].acks, cases[i].target);
    }
    return ok ? 0 : 1;
}
