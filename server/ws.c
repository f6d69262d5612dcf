#include "server/ws.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <libwebsockets.h>

#include "cl/base/clock.h"
#include "cl/base/log.h"
#include "cl/base/thread.h"
#include "server/conn.h"

enum {
    RECEIVE_BYTES = 128 << 10,
    KEEP_ITEMS = 4096,
    STOP_US = 2000000
};

typedef struct ws_counters {
    atomic_uint_least64_t clients, opened, messages_in, messages_out, bytes_in, bytes_out, errors;
    atomic_uint_least64_t closed[8];
} ws_counters;

struct ts_ws {
    ts_app *app;
    const ts_ws_endpoint *endpoints;
    void (*gone)(ts_app *app);
    void *user;
    ws_limits limits;
    ts_thread *thread;
    struct lws_context *context;
    struct lws_vhost *vhost;

    pthread_mutex_t
        inbox_lock; /* guards: arrived, arrived_last, tasks, tasks_last, n_tasks, stopping */
    ts_conn *arrived, **arrived_last;
    ts_ws_task *tasks, **tasks_last;
    size_t n_tasks;
    pthread_t self; /* the thread; set before anything can be posted from it */
    bool stopping, running;

    /* ts-ws only */
    ts_conn *conns, *touched;
    size_t n_conns;
    lws_sorted_usec_list_t timer;
    int64_t timer_us; /* when `timer` fires */
    bool timer_fired;
    conn_item *free_items;
    size_t n_free_items;
    uint8_t *receive;
    ws_counters counters;
};

/* ---- counters ---- */

static void count(atomic_uint_least64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

void ws_count_in(ts_ws *ws, size_t bytes, size_t messages)
{
    count(&ws->counters.bytes_in, bytes);
    count(&ws->counters.messages_in, messages);
}

void ws_count_out(ts_ws *ws, size_t bytes, size_t messages)
{
    count(&ws->counters.bytes_out, bytes);
    count(&ws->counters.messages_out, messages);
}

void ws_count_close(ts_ws *ws, int code, bool by_protocol_error)
{
    static const int codes[] = {1000, 1001, 1002, 1007, 1008, 1009, 1011};
    if (by_protocol_error) {
        count(&ws->counters.errors, 1);
        return;
    }
    size_t i = 0;
    while (i < sizeof codes / sizeof *codes && codes[i] != code)
        i++;
    count(&ws->counters.closed[i], 1);
}

static uint64_t value(const atomic_uint_least64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void ts_ws_get_stats(const ts_ws *ws, ts_ws_stats *out)
{
    const ws_counters *c = &ws->counters;
    *out = (ts_ws_stats){.clients = value(&c->clients),
                         .opened = value(&c->opened),
                         .messages_in = value(&c->messages_in),
                         .messages_out = value(&c->messages_out),
                         .bytes_in = value(&c->bytes_in),
                         .bytes_out = value(&c->bytes_out),
                         .protocol_errors = value(&c->errors)};
    for (int i = 0; i < 8; i++)
        out->closed[i] = value(&c->closed[i]);
}

/* ---- what connections ask of the loop ---- */

const ws_limits *ws_get_limits(const ts_ws *ws)
{
    return &ws->limits;
}

ts_app *ws_get_app(const ts_ws *ws)
{
    return ws->app;
}

uint8_t *ws_receive_buffer(ts_ws *ws, size_t *len)
{
    *len = RECEIVE_BYTES;
    return ws->receive;
}

void ws_touch(ts_conn *c)
{
    if (c->touched)
        return;
    c->touched = true;
    c->next_touched = c->ws->touched;
    c->ws->touched = c;
}

void ws_arm_write(ts_conn *c)
{
    if (!c->wsi)
        return;
    c->write_armed = true;
    lws_callback_on_writable(c->wsi);
}

void ws_set_reading(ts_conn *c, bool on)
{
    if (c->wsi)
        lws_rx_flow_control(c->wsi, on ? 1 : 0);
}

conn_item *ws_item_new(ts_ws *ws)
{
    conn_item *item = ws->free_items;
    if (!item)
        return calloc(1, sizeof *item);
    ws->free_items = item->next;
    ws->n_free_items--;
    item->n_pieces = 0;
    item->total = item->sent = 0;
    item->frame = NULL;
    item->heap = NULL;
    return item;
}

void ws_item_free(ts_ws *ws, conn_item *item)
{
    ts_frame_unref(item->frame);
    free(item->heap);
    if (ws->n_free_items >= KEEP_ITEMS) {
        free(item);
        return;
    }
    item->next = ws->free_items;
    ws->free_items = item;
    ws->n_free_items++;
}

static void on_timer(lws_sorted_usec_list_t *sul)
{
    ts_ws *ws = lws_container_of(sul, ts_ws, timer);
    ws->timer_fired = true;
    ws->timer_us = INT64_MAX;
    /* ripe timers are called before the library waits, not after: keep it from waiting now */
    lws_cancel_service(ws->context);
}

void ws_due(ts_ws *ws, int64_t when_us)
{
    if (when_us >= ws->timer_us)
        return;
    ws->timer_us = when_us;
    int64_t in_us = when_us - ts_now_us();
    lws_sul_schedule(ws->context, 0, &ws->timer, on_timer, in_us > 1 ? in_us : 1);
}

/* ---- the library's side ---- */

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                    size_t len)
{
    (void)user;
    (void)in;
    (void)len;
    ts_conn *c = wsi ? lws_get_opaque_user_data(wsi) : NULL;
    if (!c)
        return 0;
    switch (reason) {
    case LWS_CALLBACK_RAW_RX_FILE:
        conn_readable(c);
        break;
    case LWS_CALLBACK_RAW_WRITEABLE_FILE:
        /* Only noted: the library clears its POLLOUT after this call, so that a request made from
           here would be lost; the turn's end sends and asks again where needed. */
        c->write_armed = false;
        ws_touch(c);
        break;
    case LWS_CALLBACK_RAW_CLOSE_FILE:
        /* the library closes the descriptor */
        c->wsi = NULL;
        c->fd = -1;
        ts_conn_kill(c, "closed");
        break;
    default:
        break;
    }
    return 0;
}

static const struct lws_protocols protocols[] = {{.name = "tensorscope", .callback = on_event},
                                                 {.name = NULL}};

static void on_log(int level, const char *line)
{
    size_t n = strlen(line);
    while (n > 0 && line[n - 1] == '\n')
        n--;
    ts_log(level & LLL_ERR ? TS_LOG_WARN : TS_LOG_DEBUG, "ws", "libwebsockets: %.*s", (int)n, line);
}

static ts_status open_context(ts_ws *ws, ts_error *err)
{
    struct lws_context_creation_info info;
    memset(&info, 0, sizeof info);
    lws_set_log_level(LLL_ERR, on_log);
    info.port = CONTEXT_PORT_NO_LISTEN;
    info.protocols = protocols;
    info.options = LWS_SERVER_OPTION_EXPLICIT_VHOSTS;
    info.gid = (gid_t)-1;
    info.uid = (uid_t)-1;
    info.fd_limit_per_thread = (unsigned)ws->app->options.max_websockets + 64;
    ws->context = lws_create_context(&info);
    if (ws->context)
        ws->vhost = lws_create_vhost(ws->context, &info);
    if (!ws->vhost)
        return ts_fail(err, TS_E_INTERNAL, "libwebsockets gave no context");
    return TS_OK;
}

/* ---- arrivals and ends ---- */

static void adopt(ts_ws *ws, ts_conn *c)
{
    int one = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(c->fd, F_SETFL, fcntl(c->fd, F_GETFL) | O_NONBLOCK);
    lws_adopt_desc_t info = {.vh = ws->vhost,
                             .type = LWS_ADOPT_RAW_FILE_DESC,
                             .fd.filefd = c->fd,
                             .vh_prot_name = protocols[0].name,
                             .opaque = c};
    c->next = ws->conns;
    if (ws->conns)
        ws->conns->prev = c;
    ws->conns = c;
    ws->n_conns++;
    c->listed = true;
    count(&ws->counters.opened, 1);
    count(&ws->counters.clients, 1);
    c->wsi = lws_adopt_descriptor_vhost_via_info(&info);
    if (!c->wsi) {
        c->fd = -1; /* the library has closed it */
        ts_conn_kill(c, "not adopted");
        return;
    }
    lws_set_opaque_user_data(c->wsi, c);
    conn_start(c);
    ws_due(ws, ts_now_us() + ws->limits.ping_us);
}

static void end_conn(ts_conn *c)
{
    ts_ws *ws = c->ws;
    ts_log(TS_LOG_DEBUG, "ws", "closed peer=%s path=%s reason=\"%s\"", c->request.peer,
           c->request.path, c->dead_reason ? c->dead_reason : "");
    if (c->wsi) {
        lws_set_opaque_user_data(c->wsi, NULL);
        c->fd = -1;
        lws_set_timeout(c->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_SYNC);
        c->wsi = NULL;
    }
    if (c->listed) {
        if (c->prev)
            c->prev->next = c->next;
        else
            ws->conns = c->next;
        if (c->next)
            c->next->prev = c->prev;
        ws->n_conns--;
        atomic_fetch_sub_explicit(&ws->counters.clients, 1, memory_order_relaxed);
    }
    conn_free(c);
    ws->gone(ws->app);
}

static void flush_touched(ts_ws *ws)
{
    while (ws->touched) {
        ts_conn *c = ws->touched;
        ws->touched = c->next_touched;
        c->touched = false;
        if (!c->dead)
            conn_flush(c);
        if (c->dead && !c->touched)
            end_conn(c);
    }
}

static void tick(ts_ws *ws)
{
    int64_t now = ts_now_us(), next = INT64_MAX;
    ws->timer_fired = false;
    for (ts_conn *c = ws->conns; c; c = c->next) {
        int64_t due = conn_tick(c, now);
        if (due < next)
            next = due;
    }
    if (next != INT64_MAX)
        ws_due(ws, next);
}

static bool has_tasks(ts_ws *ws)
{
    pthread_mutex_lock(&ws->inbox_lock);
    bool some = ws->n_tasks > 0;
    pthread_mutex_unlock(&ws->inbox_lock);
    return some;
}

static void take_inbox(ts_ws *ws, bool *stop)
{
    pthread_mutex_lock(&ws->inbox_lock);
    ts_conn *arrived = ws->arrived;
    ws->arrived = NULL;
    ws->arrived_last = &ws->arrived;
    *stop = ws->stopping;
    size_t n = ws->n_tasks; /* what is posted meanwhile waits for the next turn */
    pthread_mutex_unlock(&ws->inbox_lock);
    while (arrived) {
        ts_conn *c = arrived;
        arrived = c->next;
        c->next = NULL;
        adopt(ws, c);
    }
    for (; n > 0; n--) {
        pthread_mutex_lock(&ws->inbox_lock);
        ts_ws_task *task = ws->tasks;
        if (task) {
            ws->n_tasks--;
            ws->tasks = task->next;
            if (!ws->tasks)
                ws->tasks_last = &ws->tasks;
            task->queued = false;
        }
        pthread_mutex_unlock(&ws->inbox_lock);
        if (!task)
            return;
        task->run(task);
    }
}

static void close_all(ts_ws *ws)
{
    for (ts_conn *c = ws->conns; c; c = c->next)
        ts_conn_close(c, TS_WS_CLOSE_AWAY, "the server stops");
}

static void ws_main(void *arg)
{
    ts_ws *ws = arg;
    bool stop = false;
    int64_t give_up = INT64_MAX;
    pthread_mutex_lock(&ws->inbox_lock);
    ws->self = pthread_self();
    ws->running = true;
    pthread_mutex_unlock(&ws->inbox_lock);
    while (!stop || (ws->n_conns && ts_now_us() < give_up)) {
        lws_service(ws->context, has_tasks(ws) ? -1 : 0); /* -1: do not wait */
        bool was = stop;
        take_inbox(ws, &stop);
        if (stop && !was) {
            close_all(ws);
            give_up = ts_now_us() + STOP_US;
            ws_due(ws, give_up);
        }
        if (ws->timer_fired)
            tick(ws);
        flush_touched(ws);
    }
    for (ts_conn *c = ws->conns; c; c = c->next)
        ts_conn_kill(c, "the server stops");
    flush_touched(ws);
}

/* ---- from other threads ---- */

static const ts_ws_endpoint *find_endpoint(const ts_ws *ws, const char *pattern)
{
    for (const ts_ws_endpoint *e = ws->endpoints; e->pattern; e++)
        if (!strcmp(e->pattern, pattern))
            return e;
    return NULL;
}

void ts_ws_takeover(ts_app *app, int fd, const ts_takeover_info *info)
{
    ts_ws *ws = app->ws;
    const ts_ws_endpoint *endpoint = find_endpoint(ws, info->route->pattern);
    ts_conn *c = endpoint ? conn_create(ws, fd, info, endpoint) : NULL;
    bool taken = false;
    if (c) {
        pthread_mutex_lock(&ws->inbox_lock);
        taken = !ws->stopping;
        if (taken) {
            c->next = NULL;
            *ws->arrived_last = c;
            ws->arrived_last = &c->next;
        }
        pthread_mutex_unlock(&ws->inbox_lock);
    }
    if (taken) {
        lws_cancel_service(ws->context);
        return;
    }
    if (c)
        conn_free(c);
    else
        close(fd);
    ws->gone(app);
}

void *ts_ws_user(const ts_ws *ws)
{
    return ws->user;
}

void ts_ws_cancel(ts_ws *ws, ts_ws_task *task)
{
    pthread_mutex_lock(&ws->inbox_lock);
    if (task->queued) {
        ts_ws_task **at = &ws->tasks;
        while (*at != task)
            at = &(*at)->next;
        *at = task->next;
        if (ws->tasks_last == &task->next)
            ws->tasks_last = at;
        ws->n_tasks--;
        task->queued = false;
    }
    pthread_mutex_unlock(&ws->inbox_lock);
}

bool ts_ws_post(ts_ws *ws, ts_ws_task *task)
{
    bool wake = false;
    pthread_mutex_lock(&ws->inbox_lock);
    bool ok = !ws->stopping;
    if (ok && !task->queued) {
        wake = !ws->tasks && !(ws->running && pthread_equal(ws->self, pthread_self()));
        task->queued = true;
        task->next = NULL;
        *ws->tasks_last = task;
        ws->tasks_last = &task->next;
        ws->n_tasks++;
    }
    pthread_mutex_unlock(&ws->inbox_lock);
    if (wake)
        lws_cancel_service(ws->context);
    return ok;
}

ts_status ts_ws_create(ts_app *app, const ts_ws_endpoint *endpoints, void (*gone)(ts_app *app),
                       void *user, ts_ws **out, ts_error *err)
{
    ts_ws *ws = calloc(1, sizeof *ws);
    if (!ws)
        return ts_fail(err, TS_E_NO_MEMORY, "websockets");
    ws->app = app;
    ws->endpoints = endpoints;
    ws->gone = gone;
    ws->user = user;
    ws->limits = (ws_limits){.max_text = app->options.max_message,
                             .max_binary = app->options.max_binary_message,
                             .queue_bytes = app->options.queue_bytes,
                             .ping_us = (int64_t)(app->options.ws_ping * 1e6),
                             .pong_timeout_us = (int64_t)(app->options.ws_pong_timeout * 1e6)};
    ws->timer_us = INT64_MAX;
    pthread_mutex_init(&ws->inbox_lock, NULL);
    ws->arrived_last = &ws->arrived;
    ws->tasks_last = &ws->tasks;
    ws->receive = malloc(RECEIVE_BYTES);
    ts_status st = ws->receive ? open_context(ws, err) : ts_fail(err, TS_E_NO_MEMORY, "websockets");
    if (st == TS_OK)
        st = ts_thread_start("ts-ws", ws_main, ws, &ws->thread, err);
    if (st != TS_OK) {
        ts_ws_destroy(ws);
        return st;
    }
    *out = ws;
    return TS_OK;
}

void ts_ws_stop(ts_ws *ws)
{
    if (!ws)
        return;
    pthread_mutex_lock(&ws->inbox_lock);
    ws->stopping = true;
    pthread_mutex_unlock(&ws->inbox_lock);
    if (ws->thread) {
        lws_cancel_service(ws->context);
        ts_thread_join(ws->thread);
        ws->thread = NULL;
    }
}

void ts_ws_destroy(ts_ws *ws)
{
    if (!ws)
        return;
    ts_ws_stop(ws);
    if (ws->context)
        lws_context_destroy(ws->context);
    while (ws->free_items) {
        conn_item *item = ws->free_items;
        ws->free_items = item->next;
        free(item);
    }
    pthread_mutex_destroy(&ws->inbox_lock);
    free(ws->receive);
    free(ws);
}
