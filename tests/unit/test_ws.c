/*
 * The WebSocket thread over real sockets: handshake, echo, limits, back-pressure, stop.
 *
 * `test_ws --listen` serves /ws/echo on a free port until stdin ends, for protocol scripts.
 */
#include <arpa/inet.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "cl/base/clock.h"
#include "server/wsecho.h"
#include "server/wsframe.h"
#include "tests/support/check.h"
#include "tests/support/ws_listener.h"

typedef struct fixture {
    ts_app app;
    int listener, port;
    pthread_t acceptor;
    atomic_int gone;
} fixture;

static const ts_route echo_route = {.method = "GET", .pattern = "/ws/echo"};
static const ts_ws_endpoint *endpoints;
static ts_ws_endpoint table[2];

static void on_gone(ts_app *app)
{
    atomic_fetch_add(&((fixture *)(void *)app)->gone, 1);
}

static void *acceptor_main(void *arg)
{
    fixture *f = arg;
    while (ws_listener_accept(f->listener, &f->app, &echo_route)) {
    }
    return NULL;
}

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    ts_error err = {0};
    f->app.options.max_message = 1 << 20;
    f->app.options.max_binary_message = 64 << 20;
    f->app.options.queue_bytes = 8 << 20;
    f->app.options.ws_ping = 20;
    f->app.options.ws_pong_timeout = 20;
    f->app.options.max_websockets = 4096;
    table[0] = ts_ws_echo;
    endpoints = table;
    CHECK_OK(ts_ws_create(&f->app, endpoints, on_gone, NULL, &f->app.ws, &err));
    f->listener = ws_listener_open(&f->port);
    assert_true(f->listener >= 0);
    assert_int_equal(pthread_create(&f->acceptor, NULL, acceptor_main, f), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    shutdown(f->listener, SHUT_RDWR);
    pthread_join(f->acceptor, NULL);
    close(f->listener);
    ts_ws_destroy(f->app.ws);
    free(f);
    return 0;
}

static int dial(const fixture *f)
{
    static const char request[] = "GET /ws/echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
                                  "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                                  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)f->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval limit = {.tv_sec = 5};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(send(fd, request, sizeof request - 1, 0), sizeof request - 1);
    char head[512] = "";
    size_t n = 0;
    while (!strstr(head, "\r\n\r\n")) {
        assert_true(n < sizeof head - 1);
        assert_int_equal(recv(fd, head + n, 1, 0), 1);
        head[++n] = 0;
    }
    assert_non_null(strstr(head, "HTTP/1.1 101 "));
    assert_non_null(strstr(head, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
    return fd;
}

static void send_all(int fd, const void *data, size_t len)
{
    const uint8_t *at = data;
    while (len) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL);
        assert_true(n > 0);
        at += n;
        len -= (size_t)n;
    }
}

/* A masked frame with an all-zero key. */
static void send_frame(int fd, int b0, const void *data, size_t len)
{
    uint8_t head[14] = {(uint8_t)b0};
    size_t n = ts_wsframe_header(head, b0 & 15, len);
    head[0] = (uint8_t)b0;
    head[1] |= 0x80;
    send_all(fd, head, n);
    send_all(fd, "\0\0\0\0", 4);
    send_all(fd, data, len);
}

static void receive(int fd, void *out, size_t len)
{
    uint8_t *at = out;
    while (len) {
        ssize_t n = recv(fd, at, len, 0);
        assert_true(n > 0);
        at += n;
        len -= (size_t)n;
    }
}

static int receive_frame(int fd, uint8_t *out, size_t cap, size_t *len)
{
    uint8_t h[2], more[8];
    receive(fd, h, 2);
    uint64_t n = h[1];
    if (n >= 126) {
        size_t extra = n == 126 ? 2 : 8;
        receive(fd, more, extra);
        n = 0;
        for (size_t i = 0; i < extra; i++)
            n = n << 8 | more[i];
    }
    assert_true(n <= cap);
    receive(fd, out, n);
    *len = n;
    return h[0];
}

static void echoes_messages_of_every_length_class(void **state)
{
    fixture *f = *state;
    static const size_t lengths[] = {0, 1, 125, 126, 65535, 65536, 1 << 20};
    uint8_t *data = malloc(1 << 20), *back = malloc(1 << 20);
    for (size_t i = 0; i < 1 << 20; i++)
        data[i] = (uint8_t)(i * 7 + (i >> 8));
    int fd = dial(f);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        size_t n;
        send_frame(fd, 0x82, data, lengths[i]);
        assert_int_equal(receive_frame(fd, back, 1 << 20, &n), 0x82);
        assert_int_equal(n, lengths[i]);
        assert_memory_equal(back, data, n);
    }
    close(fd);
    free(data);
    free(back);
}

static void answers_a_close_and_then_closes_the_socket(void **state)
{
    fixture *f = *state;
    uint8_t back[200];
    size_t n;
    int fd = dial(f);
    send_frame(fd, 0x88,
               "\x0f\xa1"
               "bye",
               5);
    send_frame(fd, 0x89, "late", 4);
    assert_int_equal(receive_frame(fd, back, sizeof back, &n), 0x88);
    assert_int_equal(n, 2);
    assert_int_equal(back[0] << 8 | back[1], 4001);
    assert_int_equal(recv(fd, back, 1, 0), 0);
    close(fd);
    while (!atomic_load(&f->gone))
        ts_sleep_us(1000);
}

static void names_the_violation_in_its_close_frame(void **state)
{
    fixture *f = *state;
    uint8_t back[200];
    size_t n;
    int fd = dial(f);
    send_all(fd, "\x81\x01x", 3);
    assert_int_equal(receive_frame(fd, back, sizeof back, &n), 0x88);
    assert_int_equal(back[0] << 8 | back[1], 1002);
    assert_int_equal(recv(fd, back, 1, 0), 0);
    close(fd);
}

static void slows_a_sender_that_does_not_read_and_serves_others(void **state)
{
    fixture *f = *state;
    uint8_t *data = calloc(1, 65536), back[16];
    struct timeval limit = {.tv_usec = 300000};
    int fd = dial(f);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    uint8_t head[14] = {0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0};
    size_t sent = 0;
    for (int i = 0; i < 1000; i++) {
        ssize_t a = send(fd, head, sizeof head, MSG_NOSIGNAL);
        ssize_t b = a == sizeof head ? send(fd, data, 65536, MSG_NOSIGNAL) : -1;
        if (b < 65536)
            break;
        sent += 65536;
    }
    /* 62 MiB were offered; socket buffers and the pause limit hold it far below */
    assert_true(sent < 32 << 20);
    int other = dial(f);
    size_t n;
    send_frame(other, 0x81, "hi", 2);
    assert_int_equal(receive_frame(other, back, sizeof back, &n), 0x81);
    assert_memory_equal(back, "hi", 2);
    close(other);
    close(fd);
    free(data);
}

static void says_goodbye_when_the_server_stops(void **state)
{
    fixture *f = *state;
    uint8_t back[200];
    size_t n;
    int fd = dial(f);
    send_frame(fd, 0x81, "x", 1);
    receive_frame(fd, back, sizeof back, &n);
    ts_ws *ws = f->app.ws;
    f->app.ws = NULL;
    pthread_t stopper;
    pthread_create(&stopper, NULL, (void *(*)(void *))(void (*)(void))ts_ws_destroy, ws);
    assert_int_equal(receive_frame(fd, back, sizeof back, &n), 0x88);
    assert_int_equal(back[0] << 8 | back[1], 1001);
    close(fd);
    pthread_join(stopper, NULL);
    assert_int_equal(atomic_load(&f->gone), 1);
}

static int listen_until_eof(void)
{
    void *state;
    setup(&state);
    fixture *f = state;
    printf("ws://127.0.0.1:%d/ws/echo\n", f->port);
    fflush(stdout);
    while (getchar() != EOF) {
    }
    return teardown(&state);
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "--listen"))
        return listen_until_eof();
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(echoes_messages_of_every_length_class),
        TEST(answers_a_close_and_then_closes_the_socket),
        TEST(names_the_violation_in_its_close_frame),
        TEST(slows_a_sender_that_does_not_read_and_serves_others),
        TEST(says_goodbye_when_the_server_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
