/* The rules of live streams against their reference traces: mailbox, drop budget, ladder, deltas. */
#include "cl/base/fs.h"
#include "cl/base/json.h"
#include "server/adaptive.h"
#include "server/dirty.h"
#include "server/mailbox.h"
#include "tests/support/check.h"

#define LOGIC TS_TEST_DIR "/golden/tensor-video/logic/"

static json_t *load(const char *name)
{
    ts_error err = {0};
    ts_buf text = {0};
    json_t *value;
    char path[512];
    snprintf(path, sizeof path, LOGIC "%s", name);
    CHECK_OK(ts_fs_read(path, 1 << 20, &text, &err));
    CHECK_OK(ts_json_parse(text.data, text.len, &value, &err));
    ts_buf_finish(&text);
    return value;
}

static double number(const json_t *object, const char *key)
{
    json_t *v = json_object_get(object, key);
    assert_true(json_is_number(v));
    return json_number_value(v);
}

/* The traces run a thousand times slower here, so that rounding to microseconds decides no tie. */
enum {
    SLOWER = 1000
};

static int64_t to_us(double seconds)
{
    return llround(seconds * 1e6 * SLOWER);
}

/* Run one trace in simulated time: offers, then whatever is due before the next offer. */
static void run_mailbox(const json_t *c)
{
    const json_t *push = json_object_get(c, "push_s"), *want = json_object_get(c, "rendered");
    double fps = number(c, "fps") / SLOWER;
    int64_t service = to_us(number(c, "service_s")), free_at = 0;
    ts_mailbox box = {0};
    size_t n = json_array_size(push), rendered = 0, dropped = 0, next = 0;
    size_t newest = 0;
    const json_t *want_dropped = json_object_get(c, "dropped");
    while (next < n || box.pending) {
        int64_t at = next < n ? to_us(json_number_value(json_array_get(push, next))) : INT64_MAX;
        int64_t due = ts_mailbox_due(&box, fps);
        if (box.pending) {
            /* while the renderer works nothing is due; it is done at free_at */
            ts_mailbox idle = box;
            ts_mailbox_done(&idle);
            due = ts_mailbox_due(&idle, fps);
            if (due < free_at)
                due = free_at;
        }
        if (due < at) { /* at a tie the offer comes first */
            ts_mailbox_done(&box);
            ts_mailbox_start(&box, due);
            free_at = due + service;
            const json_t *w = json_array_get(want, rendered++);
            assert_non_null(w);
            assert_int_equal(newest, json_integer_value(json_array_get(w, 0)));
            ts_check_close((double)due / 1e6 / SLOWER, json_number_value(json_array_get(w, 1)),
                           1e-6, 0, json_string_value(json_object_get(c, "name")), rendered);
            continue;
        }
        if (ts_mailbox_offer(&box, at)) {
            assert_int_equal(newest, json_integer_value(json_array_get(want_dropped, dropped)));
            dropped++;
        }
        newest = next++;
    }
    assert_int_equal(rendered, json_array_size(want));
    assert_int_equal(dropped, json_array_size(want_dropped));
}

static void mailbox_follows_the_traces(void **state)
{
    (void)state;
    json_t *cases = load("mailbox.json"), *c;
    size_t i;
    assert_int_equal(json_array_size(cases), 3);
    json_array_foreach(cases, i, c) run_mailbox(c);
    json_decref(cases);
}

static void a_busy_mailbox_is_not_due(void **state)
{
    (void)state;
    ts_mailbox box = {0};
    assert_true(ts_mailbox_due(&box, 60) == INT64_MAX);
    assert_false(ts_mailbox_offer(&box, 100));
    assert_int_equal(ts_mailbox_due(&box, 60), 100);
    ts_mailbox_start(&box, 100);
    assert_false(ts_mailbox_offer(&box, 200));
    assert_true(ts_mailbox_due(&box, 60) == INT64_MAX);
    ts_mailbox_done(&box);
    assert_int_equal(ts_mailbox_due(&box, 100), 10100);
}

static void drop_budget_follows_the_traces(void **state)
{
    (void)state;
    json_t *cases = load("drop_budget.json"), *c;
    size_t i;
    json_array_foreach(cases, i, c)
    {
        ts_drop_budget budget = {.at = 0};
        const char *actions = json_string_value(json_object_get(c, "actions"));
        double max = number(c, "max_frame_drop");
        assert_true(strlen(actions) > 100);
        for (size_t k = 0; actions[k]; k++) {
            bool busy = k % 3 == 0;
            bool ok = ts_drop_budget_offer(&budget, max, busy);
            char got = !busy ? '.' : ok ? 'd' : 'w';
            if (got != actions[k])
                fail_msg("max_frame_drop %g, offer %zu: got %c, want %c", max, k, got, actions[k]);
        }
    }
    json_decref(cases);
}

static void the_ladder_is_the_reference_one(void **state)
{
    (void)state;
    json_t *all = load("adaptive.json"), *l;
    size_t i;
    json_array_foreach(json_object_get(all, "ladder"), i, l)
    {
        ts_check_close(ts_ladder[i].scale, number(l, "scale"), 0, 0, "scale", i);
        ts_check_close(ts_ladder[i].quality, number(l, "quality"), 0, 0, "quality", i);
        ts_check_close(ts_ladder[i].fps_fraction, number(l, "fps_fraction"), 0, 0, "fps", i);
    }
    assert_int_equal(i, TS_ADAPTIVE_LEVELS);
    json_decref(all);
}

static void levels_follow_the_traces(void **state)
{
    (void)state;
    json_t *all = load("adaptive.json"), *trace, *t;
    size_t i, k;
    json_array_foreach(json_object_get(all, "traces"), i, trace)
    {
        ts_adaptive a;
        ts_adaptive_init(&a, (int)number(trace, "start_level"), 0, 7,
                         number(trace, "max_frame_drop"));
        json_array_foreach(json_object_get(trace, "ticks"), k, t)
        {
            json_t *rtt = json_object_get(t, "rtt");
            ts_adaptive_input in = {
                .queued_bytes = number(t, "queued"),
                .sent_bytes = number(t, "sent"),
                .saturated = json_is_true(json_object_get(t, "saturated")),
                .rtt_ms = json_is_number(rtt) ? json_number_value(rtt) : NAN,
                .offered = (int)number(t, "offered"),
                .dropped = (int)number(t, "dropped"),
                .server_busy = json_is_true(json_object_get(t, "server_busy")),
                .demand_bps = number(t, "demand_bps"),
            };
            ts_adaptive_tick(&a, &in);
            const char *reason = json_string_value(json_object_get(t, "reason"));
            if (a.level != (int)number(t, "level") || strcmp(a.reason, reason))
                fail_msg("%s tick %zu: got %d %s, want %d %s",
                         json_string_value(json_object_get(trace, "name")), k, a.level, a.reason,
                         (int)number(t, "level"), reason);
        }
    }
    json_decref(all);
}

static void dirty_rectangles_are_the_reference_ones(void **state)
{
    (void)state;
    enum {
        W = 150,
        H = 100,
        BYTES = W * H * 3
    };
    ts_error err = {0};
    ts_buf data = {0};
    CHECK_OK(ts_fs_read(LOGIC "dirty_rects.rgb", 1 << 20, &data, &err));
    assert_int_equal(data.len, 7 * BYTES);
    json_t *all = load("dirty_rects.json"), *c, *r;
    size_t i, k;
    json_array_foreach(json_object_get(all, "cases"), i, c)
    {
        ts_rect got[TS_DIRTY_MAX_RECTS];
        int n = ts_dirty_rects(data.data, W * 3, data.data + (i + 1) * BYTES, W * 3, W, H, 3, got);
        const char *name = json_string_value(json_object_get(c, "name"));
        const json_t *rects = json_object_get(c, "rects");
        if (!strcmp(json_string_value(json_object_get(c, "type")), "key")) {
            assert_int_equal(n, -1);
            continue;
        }
        if (n != (int)json_array_size(rects))
            fail_msg("%s: got %d rectangles, want %zu", name, n, json_array_size(rects));
        json_array_foreach(rects, k, r)
        {
            const int have[4] = {got[k].x, got[k].y, got[k].w, got[k].h};
            for (size_t v = 0; v < 4; v++)
                assert_int_equal(have[v], json_integer_value(json_array_get(r, v)));
        }
    }
    assert_int_equal(i, 6);
    json_decref(all);
    ts_buf_finish(&data);
}

static void too_many_rectangles_ask_for_a_key(void **state)
{
    (void)state;
    enum {
        SIDE = 32 * 20
    };
    uint8_t *a = calloc(SIDE, SIDE), *b = calloc(SIDE, SIDE);
    ts_rect rects[TS_DIRTY_MAX_RECTS];
    for (int y = 0; y < 20; y++)
        for (int x = y & 1; x < 20; x += 2)
            b[(size_t)y * 32 * SIDE + (size_t)x * 32] = 1;
    assert_int_equal(ts_dirty_rects(a, SIDE, b, SIDE, SIDE, SIDE, 1, rects), -1);
    /* 6 rows of that checker: 60 rectangles, 15 % of the area */
    assert_int_equal(ts_dirty_rects(a, SIDE, b, SIDE, SIDE, 6 * 32, 1, rects), 60);
    free(a);
    free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mailbox_follows_the_traces),
        cmocka_unit_test(a_busy_mailbox_is_not_due),
        cmocka_unit_test(drop_budget_follows_the_traces),
        cmocka_unit_test(the_ladder_is_the_reference_one),
        cmocka_unit_test(levels_follow_the_traces),
        cmocka_unit_test(dirty_rectangles_are_the_reference_ones),
        cmocka_unit_test(too_many_rectangles_ask_for_a_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
