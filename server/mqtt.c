#define _GNU_SOURCE
#include "server/mqtt.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "cl/base/chan.h"
#include "cl/base/clock.h"
#include "cl/base/log.h"
#include "cl/base/thread.h"

enum {
    WAITING = 1024,
    KEEP_ALIVE_S = 30,
    TIMEOUT_S = 5,
    CONNECT = 0x10,
    CONNACK = 0x20,
    PUBLISH = 0x30,
    PINGREQ = 0xc0,
    PINGRESP = 0xd0,
    DISCONNECT = 0xe0
};

typedef struct note {
    char topic[256];
    char *json;
} note;

struct ts_mqtt {
    char host[256], port[8], user[128], password[128];
    ts_chan *notes;
    ts_metrics *metrics;
    ts_thread *thread;
    int fd; /* -1: not connected; the thread's, as all below */
    int64_t spoke_us, heard_us, retry_us, wait_us;
};

/* ---- the URL ---- */

static bool take(const char *from, size_t n, char *out, size_t cap)
{
    if (n >= cap)
        return false;
    memcpy(out, from, n);
    out[n] = 0;
    return true;
}

static ts_status parse_url(const char *url, ts_mqtt *out, ts_error *err)
{
    static const char *const form = "--mqtt: expected mqtt://[user:password@]host[:port]";
    if (strncmp(url, "mqtt://", 7) != 0)
        return ts_fail(err, TS_E_OPTION, "%s", form);
    url += 7;
    const char *at = strrchr(url, '@');
    if (at) {
        const char *colon = memchr(url, ':', (size_t)(at - url));
        size_t user = (size_t)((colon ? colon : at) - url);
        size_t password = colon ? (size_t)(at - colon - 1) : 0;
        if (!take(url, user, out->user, sizeof out->user) ||
            !take(colon ? colon + 1 : at, password, out->password, sizeof out->password))
            return ts_fail(err, TS_E_OPTION, "--mqtt: the user or password is too long");
        url = at + 1;
    }
    size_t n = strcspn(url, "/");
    if (url[n] && url[n + 1])
        return ts_fail(err, TS_E_OPTION, "%s", form);
    const char *bracket = *url == '[' ? memchr(url, ']', n) : NULL;
    const char *host = bracket ? url + 1 : url;
    const char *rest = bracket ? bracket + 1 : url + strcspn(url, ":/");
    size_t host_len = (size_t)((bracket ? bracket : rest) - host);
    if (!host_len || !take(host, host_len, out->host, sizeof out->host))
        return ts_fail(err, TS_E_OPTION, "%s", form);
    snprintf(out->port, sizeof out->port, "1883");
    if (*rest == ':') {
        size_t digits = strspn(rest + 1, "0123456789");
        if (!digits || rest + 1 + digits != url + n ||
            !take(rest + 1, digits, out->port, sizeof out->port))
            return ts_fail(err, TS_E_OPTION, "%s", form);
    }
    return TS_OK;
}

/* ---- packets ---- */

static void put_text(ts_buf *out, const char *text)
{
    size_t n = strlen(text);
    uint8_t len[2] = {(uint8_t)(n >> 8), (uint8_t)n};
    ts_buf_append(out, len, 2);
    ts_buf_append(out, text, n);
}

static bool send_all(int fd, const void *data, size_t len)
{
    const uint8_t *at = data;
    while (len) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        at += n;
        len -= (size_t)n;
    }
    return true;
}

static bool send_packet(ts_mqtt *mqtt, uint8_t type, const ts_buf *body)
{
    uint8_t head[5] = {type};
    size_t n = 1, left = body ? body->len : 0;
    do {
        head[n] = (uint8_t)(left % 128);
        left /= 128;
        if (left)
            head[n] |= 0x80;
        n++;
    } while (left && n < sizeof head);
    mqtt->spoke_us = ts_now_us();
    return !left && send_all(mqtt->fd, head, n) &&
           (!body || send_all(mqtt->fd, body->data, body->len));
}

static bool send_connect(ts_mqtt *mqtt)
{
    ts_buf body = {0};
    char id[32];
    uint8_t flags = 0x02; /* a clean session */
    flags |= *mqtt->user ? 0x80 : 0;
    flags |= *mqtt->password ? 0x40 : 0;
    put_text(&body, "MQTT");
    uint8_t fixed[4] = {4, flags, 0, KEEP_ALIVE_S};
    ts_buf_append(&body, fixed, 4);
    snprintf(id, sizeof id, "tensorscope-%ld", (long)getpid());
    put_text(&body, id);
    if (*mqtt->user)
        put_text(&body, mqtt->user);
    if (*mqtt->password)
        put_text(&body, mqtt->password);
    bool ok = !body.failed && send_packet(mqtt, CONNECT, &body);
    ts_buf_finish(&body);
    return ok;
}

static bool read_connack(const ts_mqtt *mqtt)
{
    uint8_t answer[4];
    size_t n = 0;
    while (n < sizeof answer) {
        ssize_t got = recv(mqtt->fd, answer + n, sizeof answer - n, 0);
        if (got <= 0)
            return false;
        n += (size_t)got;
    }
    return answer[0] == CONNACK && answer[1] == 2 && answer[3] == 0;
}

/* ---- the connection ---- */

static void disconnect(ts_mqtt *mqtt)
{
    if (mqtt->fd >= 0)
        close(mqtt->fd);
    mqtt->fd = -1;
    mqtt->retry_us = ts_now_us() + mqtt->wait_us;
    mqtt->wait_us = mqtt->wait_us * 2 < 30000000 ? mqtt->wait_us * 2 : 30000000;
}

static int open_socket(const ts_mqtt *mqtt)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    struct timeval timeout = {.tv_sec = TIMEOUT_S};
    int fd = -1, one = 1;
    if (getaddrinfo(mqtt->host, mqtt->port, &hints, &list) != 0)
        return -1;
    for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
            continue;
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(list);
    return fd;
}

static void try_connect(ts_mqtt *mqtt)
{
    mqtt->fd = open_socket(mqtt);
    if (mqtt->fd < 0 || !send_connect(mqtt) || !read_connack(mqtt)) {
        ts_log(TS_LOG_WARN, "mqtt", "broker=%s:%s is not reached or refuses", mqtt->host,
               mqtt->port);
        disconnect(mqtt);
        return;
    }
    mqtt->wait_us = 1000000;
    mqtt->heard_us = ts_now_us();
    ts_log(TS_LOG_INFO, "mqtt", "broker=%s:%s connected", mqtt->host, mqtt->port);
}

/* Only PINGRESP comes; whatever it is shows that the broker lives. False: it has closed. */
static bool listen_briefly(ts_mqtt *mqtt)
{
    uint8_t scrap[256];
    ssize_t n;
    while ((n = recv(mqtt->fd, scrap, sizeof scrap, MSG_DONTWAIT)) > 0)
        mqtt->heard_us = ts_now_us();
    return n < 0 && (errno == EAGAIN || errno == EINTR);
}

static bool keep_alive(ts_mqtt *mqtt)
{
    int64_t now = ts_now_us();
    if (!listen_briefly(mqtt))
        return false;
    if (now - mqtt->heard_us > 3 * (int64_t)KEEP_ALIVE_S * 1000000 / 2)
        return false;
    /* An answer is wanted now and then even where events flow: QoS 0 has none. */
    bool quiet = now - mqtt->spoke_us > (int64_t)KEEP_ALIVE_S * 500000 ||
                 now - mqtt->heard_us > (int64_t)KEEP_ALIVE_S * 500000;
    return !quiet || send_packet(mqtt, PINGREQ, NULL);
}

/* ---- notes ---- */

static void note_free(void *arg)
{
    note *one = arg;
    free(one->json);
    free(one);
}

static void hear(void *arg, const ts_event_view *event)
{
    ts_mqtt *mqtt = arg;
    note *one = calloc(1, sizeof *one);
    char *json = one ? strdup(event->json) : NULL;
    if (!json) {
        free(one);
        return;
    }
    one->json = json;
    snprintf(one->topic, sizeof one->topic, "tensorscope/%s/%s/%s", event->kind, event->name,
             event->event);
    if (!ts_chan_send(mqtt->notes, one))
        note_free(one);
}

static bool publish(ts_mqtt *mqtt, const note *one)
{
    ts_buf body = {0};
    put_text(&body, one->topic);
    ts_buf_str(&body, one->json);
    bool ok = !body.failed && send_packet(mqtt, PUBLISH, &body);
    ts_buf_finish(&body);
    ts_metrics_add(mqtt->metrics, TS_METRIC_mqtt_published_total, ok ? "ok" : "lost", 1);
    return ok;
}

static void mqtt_main(void *arg)
{
    ts_mqtt *mqtt = arg;
    while (!ts_chan_closed(mqtt->notes)) {
        if (mqtt->fd < 0) {
            int64_t wait = mqtt->retry_us - ts_now_us();
            if (wait > 0)
                ts_sleep_us(wait < 100000 ? wait : 100000); /* short: a stop is seen soon */
            else
                try_connect(mqtt);
            continue;
        }
        note *one = ts_chan_recv_timeout(mqtt->notes, 500000);
        bool ok = !one || publish(mqtt, one);
        if (one)
            note_free(one);
        if (!ok || !keep_alive(mqtt))
            disconnect(mqtt);
    }
    if (mqtt->fd >= 0 && !send_packet(mqtt, DISCONNECT, NULL))
        ts_log(TS_LOG_DEBUG, "mqtt", "the broker was gone at the end");
}

ts_status ts_mqtt_create(const char *url, ts_events *events, ts_metrics *metrics, ts_mqtt **out,
                         ts_error *err)
{
    ts_mqtt *mqtt = calloc(1, sizeof *mqtt);
    if (!mqtt)
        return ts_fail(err, TS_E_NO_MEMORY, "mqtt");
    mqtt->fd = -1;
    mqtt->wait_us = 1000000;
    mqtt->metrics = metrics;
    ts_status st = parse_url(url, mqtt, err);
    if (st == TS_OK)
        st = ts_chan_create(WAITING, TS_CHAN_DROP_OLDEST, note_free, &mqtt->notes, err);
    if (st == TS_OK)
        st = ts_thread_start("ts-mqtt", mqtt_main, mqtt, &mqtt->thread, err);
    if (st != TS_OK) {
        ts_mqtt_destroy(mqtt);
        return st;
    }
    ts_events_listen(events, hear, mqtt);
    *out = mqtt;
    return TS_OK;
}

void ts_mqtt_destroy(ts_mqtt *mqtt)
{
    if (!mqtt)
        return;
    if (mqtt->notes)
        ts_chan_close(mqtt->notes);
    ts_thread_join(mqtt->thread);
    if (mqtt->fd >= 0)
        close(mqtt->fd);
    ts_chan_destroy(mqtt->notes);
    explicit_bzero(mqtt->password, sizeof mqtt->password);
    free(mqtt);
}
