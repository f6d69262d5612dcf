/* The WebSocket frame parser: each rule of RFC 6455 with its close code, whole and octet by octet. */
#include "server/wsframe.h"
#include "tests/support/check.h"

enum {
    MAX_MESSAGE = 1000
};

/* What a run over some octets gave, as text: "T[hello]" text, "B[..]", "P[..]" ping, "O[..]" pong,
   "C1000[..]" close, "!1002" failure. A message's pieces are joined. */
typedef struct trace {
    char text[4096];
    size_t len;
} trace;

static void put(trace *t, const void *data, size_t len)
{
    assert_true(t->len + len < sizeof t->text);
    memcpy(t->text + t->len, data, len);
    t->len += len;
    t->text[t->len] = 0;
}

static void put_event(trace *t, const ts_ws_event *e)
{
    char head[32];
    if (e->kind == TS_WS_EVENT_ERROR) {
        snprintf(head, sizeof head, "!%d", e->close_code);
        put(t, head, strlen(head));
        assert_non_null(e->reason);
        return;
    }
    if (e->kind == TS_WS_EVENT_CONTROL) {
        if (e->opcode == TS_WS_CLOSE)
            snprintf(head, sizeof head, "C%d[", e->close_code);
        else
            snprintf(head, sizeof head, "%c[", e->opcode == TS_WS_PING ? 'P' : 'O');
        put(t, head, strlen(head));
        put(t, e->data, e->len);
        put(t, "]", 1);
        return;
    }
    if (e->first)
        put(t, e->opcode == TS_WS_TEXT ? "T[" : "B[", 2);
    put(t, e->data, e->len);
    if (e->last)
        put(t, "]", 1);
}

static void run_chopped(const uint8_t *data, size_t len, size_t chop, trace *t)
{
    ts_wsframe p;
    uint8_t *copy = malloc(len ? len : 1);
    memcpy(copy, data, len);
    ts_wsframe_init(&p, MAX_MESSAGE, MAX_MESSAGE);
    t->len = 0;
    t->text[0] = 0;
    bool failed = false;
    for (size_t at = 0; at < len && !failed;) {
        size_t n = len - at < chop ? len - at : chop;
        for (size_t off = 0; off < n && !failed;) {
            ts_ws_event e;
            size_t used = ts_wsframe_next(&p, copy + at + off, n - off, &e);
            assert_true(used <= n - off);
            assert_true(used > 0);
            off += used;
            if (e.kind != TS_WS_EVENT_NONE)
                put_event(t, &e);
            failed = e.kind == TS_WS_EVENT_ERROR;
        }
        at += n;
    }
    free(copy);
}

typedef struct frames {
    uint8_t data[8192];
    size_t len;
} frames;

static void frame(frames *f, int b0, const void *payload, size_t len)
{
    static const uint8_t key[4] = {0x37, 0xfa, 0x21, 0x3d};
    uint8_t *d = f->data;
    d[f->len++] = (uint8_t)b0;
    if (len < 126) {
        d[f->len++] = (uint8_t)(0x80 | len);
    } else {
        d[f->len++] = 0x80 | 126;
        d[f->len++] = (uint8_t)(len >> 8);
        d[f->len++] = (uint8_t)len;
    }
    memcpy(d + f->len, key, 4);
    f->len += 4;
    for (size_t i = 0; i < len; i++)
        d[f->len++] = ((const uint8_t *)payload)[i] ^ key[i & 3];
}

#define FRAME(f, b0, text) frame((f), (b0), (text), sizeof(text) - 1)

static void expect(const frames *f, const char *want)
{
    for (size_t chop = 1; chop <= f->len; chop = chop < 9 ? chop + 1 : chop * 3) {
        trace t;
        run_chopped(f->data, f->len, chop, &t);
        if (strcmp(t.text, want))
            fail_msg("chop %zu: got %s, want %s", chop, t.text, want);
    }
    trace t;
    run_chopped(f->data, f->len, f->len, &t);
    assert_string_equal(t.text, want);
}

static void joins_fragments_around_control_frames(void **state)
{
    (void)state;
    frames f = {.len = 0};
    FRAME(&f, 0x01, "Hel");
    FRAME(&f, 0x89, "ping");
    FRAME(&f, 0x00, "");
    FRAME(&f, 0x80, "lo");
    FRAME(&f, 0x82, "\xff\0x");
    FRAME(&f, 0x81, "");
    FRAME(&f, 0x8a, "");
    FRAME(&f, 0x88,
          "\x03\xe8"
          "bye");
    trace t;
    run_chopped(f.data, f.len, f.len, &t);
    static const char want[] = "T[HelP[ping]lo]B[\xff\0x]T[]O[]C1000[\x03\xe8"
                               "bye]";
    assert_int_equal(t.len, sizeof want - 1);
    assert_memory_equal(t.text, want, t.len);
}

static void refuses_what_the_rfc_forbids(void **state)
{
    (void)state;
    for (int rsv = 1; rsv < 8; rsv++)
        for (int op = 0; op < 16; op++) {
            frames f = {.len = 0};
            frame(&f, 0x80 | rsv << 4 | op, "x", 1);
            expect(&f, "!1002");
        }
    static const int reserved[] = {3, 4, 5, 6, 7, 11, 12, 13, 14, 15};
    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++) {
        frames f = {.len = 0};
        frame(&f, 0x80 | reserved[i], "x", 1);
        expect(&f, "!1002");
    }
    for (int op = 8; op <= 10; op++) {
        frames f = {.len = 0};
        frame(&f, op, "x", 1);
        expect(&f, "!1002");
        char big[126] = {0};
        f.len = 0;
        frame(&f, 0x80 | op, big, sizeof big);
        expect(&f, "!1002");
    }
    frames unmasked = {{0x81, 0x01, 'x'}, 3};
    expect(&unmasked, "!1002");
    frames stray = {.len = 0};
    FRAME(&stray, 0x80, "x");
    expect(&stray, "!1002");
    frames inside = {.len = 0};
    FRAME(&inside, 0x01, "a");
    FRAME(&inside, 0x81, "b");
    expect(&inside, "T[a!1002");
    frames stray2 = {.len = 0};
    FRAME(&stray2, 0x01, "a");
    FRAME(&stray2, 0x80, "b");
    FRAME(&stray2, 0x00, "c");
    expect(&stray2, "T[ab]!1002");
}

static void refuses_lengths_that_are_not_minimal(void **state)
{
    (void)state;
    frames f16 = {{0x82, 0x80 | 126, 0, 125, 1, 2, 3, 4}, 8};
    expect(&f16, "!1002");
    frames f64 = {{0x82, 0x80 | 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 1, 2, 3, 4}, 14};
    expect(&f64, "!1002");
    frames negative = {{0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4},
                       14};
    expect(&negative, "!1002");
}

static void holds_the_limit_over_fragments(void **state)
{
    (void)state;
    char data[MAX_MESSAGE + 1];
    memset(data, 'm', sizeof data);
    frames f = {.len = 0};
    frame(&f, 0x82, data, MAX_MESSAGE);
    trace t;
    run_chopped(f.data, f.len, 64, &t);
    assert_int_equal(t.len, MAX_MESSAGE + 3);
    f.len = 0;
    frame(&f, 0x82, data, MAX_MESSAGE + 1);
    expect(&f, "!1009");
    f.len = 0;
    frame(&f, 0x01, data, MAX_MESSAGE);
    frame(&f, 0x80, data, 1);
    run_chopped(f.data, f.len, 100, &t);
    assert_string_equal(t.text + t.len - 5, "!1009");
    frames huge = {{0x82, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 1, 2, 3, 4}, 14};
    expect(&huge, "!1009");
}

static void checks_text_as_it_arrives(void **state)
{
    (void)state;
    static const char *valid[] = {"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5",
                                  "\xc2\x80",
                                  "\xdf\xbf",
                                  "\xe0\xa0\x80",
                                  "\xed\x9f\xbf",
                                  "\xee\x80\x80",
                                  "\xef\xbf\xbf",
                                  "\xf0\x90\x80\x80",
                                  "\xf4\x8f\xbf\xbf"};
    for (size_t i = 0; i < sizeof valid / sizeof *valid; i++) {
        frames f = {.len = 0};
        char want[64];
        frame(&f, 0x81, valid[i], strlen(valid[i]));
        snprintf(want, sizeof want, "T[%s]", valid[i]);
        expect(&f, want);
        /* the same, one octet per fragment */
        f.len = 0;
        size_t n = strlen(valid[i]);
        for (size_t k = 0; k < n; k++)
            frame(&f, (k ? 0 : 1) | (k + 1 == n ? 0x80 : 0), valid[i] + k, 1);
        expect(&f, want);
    }
    static const char *invalid[] = {"\x80",
                                    "\xbf",
                                    "\xc0\xaf",
                                    "\xc1\xbf",
                                    "\xe0\x80\xaf",
                                    "\xe0\x9f\xbf",
                                    "\xf0\x80\x80\xaf",
                                    "\xf0\x8f\xbf\xbf",
                                    "\xed\xa0\x80",
                                    "\xed\xbf\xbf",
                                    "\xf4\x90\x80\x80",
                                    "\xf5\x80\x80\x80",
                                    "\xfe",
                                    "\xff",
                                    "\xc2",
                                    "\xe1\xbd",
                                    "\xf0\x90\x80",
                                    "\xe1\x80\xe2\xf0\x91\x92",
                                    "abc\xc3("};
    for (size_t i = 0; i < sizeof invalid / sizeof *invalid; i++) {
        frames f = {.len = 0};
        trace t;
        frame(&f, 0x81, invalid[i], strlen(invalid[i]));
        run_chopped(f.data, f.len, f.len, &t);
        assert_string_equal(t.text, "!1007");
        run_chopped(f.data, f.len, 1, &t);
        assert_string_equal(t.text + t.len - 5, "!1007");
        f.len = 0;
        frame(&f, 0x82, invalid[i], strlen(invalid[i]));
        run_chopped(f.data, f.len, 1, &t);
        assert_int_equal(t.text[0], 'B');
        assert_int_equal(t.text[t.len - 1], ']');
    }
    frames open_end = {.len = 0};
    FRAME(&open_end, 0x01, "\xe2\x82");
    FRAME(&open_end, 0x80, "");
    trace t;
    run_chopped(open_end.data, open_end.len, open_end.len, &t);
    assert_string_equal(t.text, "T[\xe2\x82!1007");
}

static void checks_close_codes_and_reasons(void **state)
{
    (void)state;
    static const int good[] = {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010,
                               1011, 1012, 1014, 3000, 3999, 4000, 4999};
    static const int bad[] = {0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(ts_wsframe_close_code_valid(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        frames f = {.len = 0};
        uint8_t code[2] = {(uint8_t)(bad[i] >> 8), (uint8_t)bad[i]};
        frame(&f, 0x88, code, 2);
        expect(&f, "!1002");
    }
    frames one = {.len = 0};
    FRAME(&one, 0x88, "a");
    expect(&one, "!1002");
    frames empty = {.len = 0};
    FRAME(&empty, 0x88, "");
    expect(&empty, "C1005[]");
    frames reason = {.len = 0};
    FRAME(&reason, 0x88, "\x03\xe8\xce\xba\xe1\xbd\xed\xa0\x80");
    expect(&reason, "!1007");
}

static void stays_failed(void **state)
{
    (void)state;
    ts_wsframe p;
    ts_ws_event e;
    uint8_t bad[] = {0x83, 0x80, 1, 2, 3, 4}, good[] = {0x81, 0x80, 1, 2, 3, 4};
    ts_wsframe_init(&p, MAX_MESSAGE, MAX_MESSAGE);
    ts_wsframe_next(&p, bad, sizeof bad, &e);
    assert_int_equal(e.kind, TS_WS_EVENT_ERROR);
    assert_int_equal(ts_wsframe_next(&p, good, sizeof good, &e), sizeof good);
    assert_int_equal(e.kind, TS_WS_EVENT_ERROR);
    assert_int_equal(e.close_code, 1002);
}

static void writes_minimal_headers_and_whole_reasons(void **state)
{
    (void)state;
    uint8_t h[TS_WS_MAX_HEADER], c[TS_WS_MAX_CONTROL];
    assert_int_equal(ts_wsframe_header(h, TS_WS_TEXT, 125), 2);
    assert_int_equal(ts_wsframe_header(h, TS_WS_TEXT, 126), 4);
    assert_int_equal(ts_wsframe_header(h, TS_WS_BINARY, 65535), 4);
    assert_int_equal(ts_wsframe_header(h, TS_WS_BINARY, 65536), 10);
    assert_int_equal(h[0], 0x82);
    assert_int_equal(h[7], 1);
    /* 122 octets, then a code point of two: cut before it, not inside */
    char reason[256];
    memset(reason, 'r', sizeof reason);
    memcpy(reason + 122, "\xc3\xa9", 2);
    reason[200] = 0;
    size_t n = ts_wsframe_close_payload(c, 1008, reason);
    assert_int_equal(n, 124);
    assert_int_equal(c[0] << 8 | c[1], 1008);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(joins_fragments_around_control_frames),
        cmocka_unit_test(refuses_what_the_rfc_forbids),
        cmocka_unit_test(refuses_lengths_that_are_not_minimal),
        cmocka_unit_test(holds_the_limit_over_fragments),
        cmocka_unit_test(checks_text_as_it_arrives),
        cmocka_unit_test(checks_close_codes_and_reasons),
        cmocka_unit_test(stays_failed),
        cmocka_unit_test(writes_minimal_headers_and_whole_reasons),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
