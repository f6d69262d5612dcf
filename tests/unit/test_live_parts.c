/* The small parts of live streams: history, wire format, output options, frames, stage times. */
#include "server/history.h"
#include "server/output.h"
#include "server/source.h"
#include "server/stagetimes.h"
#include "server/wire.h"
#include "tests/support/check.h"

static ts_frame *make_frame(ts_frame_pool *pool, uint64_t seq, int64_t step, size_t bytes)
{
    ts_error err = {0};
    ts_frame *f;
    CHECK_OK(ts_frame_acquire(pool, &f, &err));
    f->seq = seq;
    f->step = step;
    ts_buf_reserve(&f->payload, bytes);
    memset(f->payload.data, 7, bytes);
    f->payload.len = bytes;
    return f;
}

static void add(ts_history *h, ts_frame_pool *pool, uint64_t seq, size_t bytes)
{
    ts_frame *f = make_frame(pool, seq, (int64_t)seq * 10, bytes);
    ts_history_add(h, f);
    ts_frame_unref(f);
}

static int setup(void **state)
{
    ts_error err = {0};
    CHECK_OK(ts_frame_pool_create(4, (ts_frame_pool **)state, &err));
    return 0;
}

static int teardown(void **state)
{
    ts_frame_pool_destroy(*state);
    return 0;
}

static void history_keeps_the_newest_within_its_limits(void **state)
{
    ts_error err = {0};
    ts_history *h;
    CHECK_OK(ts_history_create(&h, &err));
    ts_history_configure(h, 3, 1000, 1, false);
    for (uint64_t seq = 1; seq <= 5; seq++)
        add(h, *state, seq, 100);
    assert_int_equal(ts_history_count(h), 3);
    assert_int_equal(ts_history_at(h, 0)->seq, 3);
    add(h, *state, 6, 850);
    assert_int_equal(ts_history_count(h), 2); /* 100 and 850 are within 1000 bytes */
    add(h, *state, 7, 5000);
    assert_int_equal(ts_history_count(h), 1); /* the newest stays though it is too large */
    assert_int_equal(ts_history_at(h, 0)->seq, 7);
    assert_int_equal(ts_history_bytes(h), 5000);
    add(h, *state, 7, 10); /* not newer */
    assert_int_equal(ts_history_bytes(h), 5000);
    ts_history_configure(h, 100, 0, 3, false);
    ts_history_clear(h);
    for (uint64_t seq = 10; seq < 22; seq++)
        add(h, *state, seq, 1);
    assert_int_equal(ts_history_count(h), 4);
    ts_history_destroy(h);
    ts_history_destroy(NULL);
}

static void history_finds_by_seq_and_step(void **state)
{
    ts_error err = {0};
    ts_history *h;
    CHECK_OK(ts_history_create(&h, &err));
    ts_history_configure(h, 100, 0, 1, false);
    assert_int_equal(ts_history_find_seq(h, 5), -1);
    for (uint64_t seq = 2; seq <= 20; seq += 2)
        add(h, *state, seq, 1);
    assert_int_equal(ts_history_find_seq(h, 1), -1);
    assert_int_equal(ts_history_find_seq(h, 2), 0);
    assert_int_equal(ts_history_find_seq(h, 3), 0);
    assert_int_equal(ts_history_find_seq(h, 99), 9);
    assert_int_equal(ts_history_find_step(h, 19), -1);
    assert_int_equal(ts_history_find_step(h, 45), 1);
    ts_history_destroy(h);
}

static void history_never_loses_pins(void **state)
{
    ts_error err = {0};
    ts_history *h;
    CHECK_OK(ts_history_create(&h, &err));
    ts_history_configure(h, 3, 1000, 1, false);
    add(h, *state, 1, 400);
    CHECK_OK(ts_history_pin(h, 1, "first", true, &err));
    CHECK_STATUS(TS_E_NOT_FOUND, ts_history_pin(h, 9, NULL, true, &err));
    for (uint64_t seq = 2; seq < 20; seq++)
        add(h, *state, seq, 400);
    assert_int_equal(ts_history_at(h, 0)->seq, 1);
    assert_int_equal(ts_history_count(h), 2);
    CHECK_OK(ts_history_pin(h, 19, NULL, true, &err));
    add(h, *state, 20, 400);
    CHECK_STATUS(TS_E_LIMIT, ts_history_pin(h, 20, NULL, true, &err));
    json_t *list = ts_history_json(h);
    assert_string_equal(json_string_value(json_object_get(json_array_get(list, 0), "label")),
                        "first");
    json_decref(list);
    CHECK_OK(ts_history_pin(h, 1, NULL, false, &err));
    add(h, *state, 21, 1);
    assert_int_not_equal(ts_history_at(h, 0)->seq, 1);
    ts_history_destroy(h);
}

static void thinned_history_spans_the_whole_run(void **state)
{
    ts_error err = {0};
    ts_history *h;
    CHECK_OK(ts_history_create(&h, &err));
    ts_history_configure(h, 200, 0, 1, true);
    for (uint64_t seq = 1; seq <= 10000; seq++)
        add(h, *state, seq, 1);
    assert_int_equal(ts_history_count(h), 200);
    assert_int_equal(ts_history_at(h, 0)->seq, 1);
    for (size_t i = 100; i < 200; i++) /* the last hundred, all of them */
        assert_int_equal(ts_history_at(h, i)->seq, 9801 + i);
    uint64_t before = 1;
    for (size_t i = 1; i < 100; i++) { /* gaps grow with distance from the newest, within reason */
        uint64_t seq = ts_history_at(h, i)->seq, gap = seq - before;
        assert_true(gap <= (10000 - before) / 8 + 4);
        before = seq;
    }
    ts_history_destroy(h);
}

static void frames_come_back_empty_from_the_pool(void **state)
{
    ts_frame *f = make_frame(*state, 1, 2, 50);
    ts_buf_str(&f->head, "x");
    uint8_t *memory = f->payload.data;
    assert_ptr_equal(ts_frame_ref(f), f);
    ts_frame_unref(f);
    assert_int_equal(ts_frame_bytes(f), 51); /* still held */
    ts_frame_unref(f);
    ts_frame *g = make_frame(*state, 3, 4, 10);
    assert_ptr_equal(g, f);
    assert_ptr_equal(g->payload.data, memory);
    assert_int_equal(g->head.len, 0);
    ts_frame_unref(g);
    ts_frame_unref(NULL);
}

static void binary_messages_are_taken_apart(void **state)
{
    (void)state;
    ts_error err = {0};
    json_t *header;
    const uint8_t *payload;
    size_t len;
    static const uint8_t good[] = "\x0c\0\0\0{\"type\":\"x\"}data";
    CHECK_OK(ts_wire_split(good, sizeof good - 1, &header, &payload, &len, &err));
    assert_string_equal(json_string_value(json_object_get(header, "type")), "x");
    assert_int_equal(len, 4);
    assert_memory_equal(payload, "data", 4);
    json_decref(header);
    CHECK_STATUS(TS_E_SIZE, ts_wire_split(good, 3, &header, &payload, &len, &err));
    CHECK_STATUS(TS_E_SIZE, ts_wire_split(good, 10, &header, &payload, &len, &err));
    CHECK_STATUS(TS_E_SIZE, ts_wire_split((const uint8_t *)"\xff\xff\xff\xff{}", 6, &header,
                                          &payload, &len, &err));
    CHECK_STATUS(TS_E_JSON,
                 ts_wire_split((const uint8_t *)"\x02\0\0\0[]", 6, &header, &payload, &len, &err));
    CHECK_STATUS(TS_E_JSON,
                 ts_wire_split((const uint8_t *)"\0\0\0\0", 4, &header, &payload, &len, &err));
}

static void frame_heads_are_json_without_their_end(void **state)
{
    (void)state;
    ts_error err = {0};
    ts_buf text = {0};
    ts_wire_frame f = {.stream = "a.b",
                       .codec = "webp",
                       .seq = UINT64_C(9007199254740993),
                       .step = -5,
                       .t = 1.5,
                       .width = 3,
                       .height = 4,
                       .quality = 80,
                       .key = true,
                       .has_range = true,
                       .lo = -INFINITY,
                       .hi = 2,
                       .metrics = "{\"psnr\":1}",
                       .replay = true};
    ts_wire_frame_head(&f, &text);
    ts_buf_str(&text, "}");
    json_t *o;
    CHECK_OK(ts_json_parse(text.data, text.len, &o, &err));
    assert_int_equal(json_integer_value(json_object_get(o, "seq")), 9007199254740993);
    assert_int_equal(json_integer_value(json_object_get(o, "step")), -5);
    json_t *range = json_object_get(o, "range");
    assert_string_equal(json_string_value(json_array_get(range, 0)), "-Infinity");
    assert_true(json_is_true(json_object_get(o, "replay")));
    assert_null(json_object_get(o, "rects"));
    json_decref(o);
    f = (ts_wire_frame){.stream = "s", .codec = "webp", .rects = "[[0,0,1,1,0,9]]", .base = 7};
    ts_buf_reset(&text);
    ts_wire_frame_head(&f, &text);
    ts_buf_str(&text, "}");
    CHECK_OK(ts_json_parse(text.data, text.len, &o, &err));
    assert_int_equal(json_integer_value(json_object_get(o, "base")), 7);
    assert_true(json_is_null(json_object_get(o, "range")));
    json_decref(o);
    ts_buf_finish(&text);
}

static ts_status parse_output(const char *text, ts_output *out, ts_error *err)
{
    json_t *o = json_loads(text, 0, NULL);
    assert_non_null(o);
    ts_status st = ts_output_parse(o, out, err);
    json_decref(o);
    return st;
}

static void outputs_have_defaults_and_presets(void **state)
{
    (void)state;
    ts_error err = {0};
    ts_output o;
    CHECK_OK(ts_output_parse(NULL, &o, &err));
    assert_int_equal(o.quality, 80);
    assert_true(o.max_fps == 60 && o.scale == 1 && o.max_frame_drop == 1 && !o.lossless);
    assert_int_equal(o.buffer_size, 3);
    assert_false(o.history.on);
    CHECK_OK(parse_output("{\"preset\":\"training\",\"max_fps\":20}", &o, &err));
    assert_int_equal(o.width, 256);
    assert_true(o.max_fps == 20 && o.max_frame_drop == 0.2);
    CHECK_OK(parse_output("{\"preset\":\"export\"}", &o, &err));
    assert_int_equal(o.format, TS_PIXELS_RGBA16);
    CHECK_OK(parse_output("{\"quality\":\"auto\",\"history\":50}", &o, &err));
    assert_true(o.auto_quality && o.history.on && o.history.max_items == 50);
    CHECK_OK(parse_output("{\"history\":{\"keep\":\"tensors\",\"thin\":\"log\",\"every\":2}}", &o,
                          &err));
    assert_true(o.history.keep == TS_KEEP_TENSORS && o.history.thin_log && o.history.every == 2);
    assert_int_equal(o.history.max_items, 600);
    static const char *const bad[] = {"{\"quality\":101}",
                                      "{\"quality\":true}",
                                      "{\"max_fps\":0.5}",
                                      "{\"scale\":2}",
                                      "{\"preset\":\"x\"}",
                                      "{\"history\":-1}",
                                      "{\"history\":{\"keep\":\"all\"}}",
                                      "{\"history\":{\"size\":1}}",
                                      "{\"max_frame_drop\":1.5}",
                                      "{\"sinks\":[\"tape\"]}",
                                      "{\"sync\":{\"group\":\"../x\"}}",
                                      "{\"width\":0}",
                                      "{\"format\":\"yuv\"}",
                                      "{\"unknown\":1}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ts_status st = parse_output(bad[i], &o, &err);
        if (st != TS_E_OPTION && st != TS_E_NAME)
            fail_msg("%s: got %s", bad[i], ts_status_code(st));
        ts_error_clear(&err);
    }
}

static void stage_times_give_percentiles(void **state)
{
    (void)state;
    ts_stagetimes *t = calloc(1, sizeof *t);
    for (int i = 1; i <= 1000; i++)
        ts_stagetimes_add(t, TS_STAGE_ENCODE, i * 1000);
    /* the last 600: 401 … 1000 ms */
    ts_check_close(ts_stagetimes_percentile(t, TS_STAGE_ENCODE, 50), 700.5, 1, 0, "p50", 0);
    ts_check_close(ts_stagetimes_percentile(t, TS_STAGE_ENCODE, 100), 1000, 0, 0, "p100", 0);
    ts_check_close(ts_stagetimes_percentile(t, TS_STAGE_SEND, 50), 0, 0, 0, "none", 0);
    json_t *o = ts_stagetimes_json(t);
    assert_non_null(json_object_get(json_object_get(o, "encode"), "p99"));
    assert_null(json_object_get(o, "send"));
    json_decref(o);
    free(t);
}

static void sources_are_found_by_their_key(void **state)
{
    (void)state;
    ts_error err = {0};
    const ts_source_ops *ops = NULL;
    json_t *o = json_loads("{\"tensor\":\"w\"}", 0, NULL);
    CHECK_OK(ts_source_find(o, &ops, &err));
    assert_string_equal(ops->key, "tensor");
    json_decref(o);
    o = json_loads("{\"tensr\":\"w\"}", 0, NULL);
    CHECK_STATUS(TS_E_OPTION, ts_source_find(o, &ops, &err));
    json_decref(o);
    CHECK_STATUS(TS_E_OPTION, ts_source_find(NULL, &ops, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(history_keeps_the_newest_within_its_limits),
        cmocka_unit_test(history_finds_by_seq_and_step),
        cmocka_unit_test(history_never_loses_pins),
        cmocka_unit_test(thinned_history_spans_the_whole_run),
        cmocka_unit_test(frames_come_back_empty_from_the_pool),
        cmocka_unit_test(binary_messages_are_taken_apart),
        cmocka_unit_test(frame_heads_are_json_without_their_end),
        cmocka_unit_test(outputs_have_defaults_and_presets),
        cmocka_unit_test(stage_times_give_percentiles),
        cmocka_unit_test(sources_are_found_by_their_key),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
