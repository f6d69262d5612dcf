/* The trackers and cameras against recorded traces (tests/golden/video-pipeline/README.md). */
#include "tests/support/check.h"

#include "cl/base/fs.h"
#include "cl/base/json.h"
#include "server/track/ball.h"
#include "server/track/one_euro.h"
#include "server/track/zoom.h"

static json_t *load(const char *name)
{
    ts_error err = {0};
    char path[512];
    snprintf(path, sizeof path, "%s/golden/video-pipeline/%s", TS_TEST_DIR, name);
    ts_buf text = {0};
    json_t *doc = NULL;
    CHECK_OK(ts_fs_read(path, 16u << 20, &text, &err));
    CHECK_OK(ts_json_parse(text.data, text.len, &doc, &err));
    ts_buf_finish(&text);
    return doc;
}

static double num(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}
static double at(const json_t *array, size_t i)
{
    return json_number_value(json_array_get(array, i));
}

static void one_euro_equals_the_recorded_filter(void **state)
{
    (void)state;
    json_t *doc = load("one_euro.json"), *c, *row;
    size_t i, n;
    json_array_foreach(json_object_get(doc, "cases"), i, c)
    {
        ts_one_euro f;
        ts_one_euro_init(&f, num(c, "freq"), num(c, "min_cutoff"), num(c, "beta"),
                         num(c, "d_cutoff"));
        json_array_foreach(json_object_get(c, "samples"), n, row)
        {
            if (n == 60)
                ts_one_euro_set_min_cutoff(&f, 0.08);
            json_t *t = json_object_get(row, "t"), *in = json_object_get(row, "in");
            double p[2] = {at(in, 0), at(in, 1)};
            ts_one_euro_filter(&f, p, json_is_null(t) ? NAN : json_number_value(t));
            ts_check_close(p[0], at(json_object_get(row, "out"), 0), 1e-6, 0, "x", n);
            ts_check_close(p[1], at(json_object_get(row, "out"), 1), 1e-6, 0, "y", n);
        }
    }
    json_decref(doc);
}

static ts_detection detection(const json_t *row)
{
    return (ts_detection){at(row, 0), at(row, 1), at(row, 2),
                          at(row, 3), at(row, 4), (int)at(row, 5)};
}

static void check_ball_frame(const char *name, size_t i, const json_t *want,
                             const ts_ball_result *got, const ts_ball_state *s)
{
    char what[80];
    snprintf(what, sizeof what, "%s frame", name);
    json_t *result = json_object_get(want, "result"), *x = json_object_get(want, "x");
    if (json_is_null(result) == got->present)
        fail_msg("%s %zu: present %d, want %d", what, i, got->present, !json_is_null(result));
    if (got->present) {
        ts_check_close(got->x, at(result, 0), 1e-4, 0, what, i);
        ts_check_close(got->y, at(result, 1), 1e-4, 0, what, i);
        if (got->flag != json_is_true(json_array_get(result, 2)))
            fail_msg("%s %zu: flag %d", what, i, got->flag);
    }
    if (s->initialised)
        for (size_t k = 0; k < 6; k++) {
            ts_check_close(s->s[k], at(x, k), 1e-4, 0, what, i);
            ts_check_close(s->p[k][k], at(json_object_get(want, "P"), k), 1e-4, 1e-6, what, i);
            ts_check_close(s->q[k], at(json_object_get(want, "Q"), k), 1e-8, 0, what, i);
        }
    ts_check_close(s->r, num(want, "R"), 1e-6, 0, what, i);
    const struct {
        const char *key;
        int value;
    } counters[] = {{"lost", s->lost}, {"streak", s->streak}, {"lock", s->lock}};
    for (size_t k = 0; k < 3; k++)
        if (counters[k].value != (int)num(want, counters[k].key))
            fail_msg("%s %zu: %s %d, want %d", what, i, counters[k].key, counters[k].value,
                     (int)num(want, counters[k].key));
    const struct {
        const char *key;
        bool value;
    } flags[] = {{"tracking", s->tracking}, {"coast", s->coast}, {"chaos", s->chaos},
                 {"jitter", s->jitter}};
    for (size_t k = 0; k < 4; k++)
        if (flags[k].value != json_is_true(json_object_get(want, flags[k].key)))
            fail_msg("%s %zu: %s %d", what, i, flags[k].key, flags[k].value);
    ts_check_close(s->avg_confidence, num(want, "avg_conf"), 1e-5, 0, what, i);
}

static ts_ball_params params_of(const json_t *p)
{
    ts_ball_params params = TS_BALL_DEFAULTS;
    params.max_lost_frames = (int)num(p, "max_lost_frames");
    params.min_confidence = num(p, "min_confidence");
    params.history_size = (int)num(p, "history_size");
    params.adaptive_noise = json_is_true(json_object_get(p, "adaptive_noise"));
    params.allow_chaos_mode = json_is_true(json_object_get(p, "allow_chaos_mode"));
    params.allow_jitter_mode = json_is_true(json_object_get(p, "allow_jitter_mode"));
    params.detection_smoothing = num(p, "detection_smoothing");
    return params;
}

static void ball_tracker_equals_the_recorded_traces(void **state)
{
    (void)state;
    ts_error err = {0};
    json_t *doc = load("tracker.json"), *c;
    const char *name;
    size_t frames = 0;
    json_object_foreach(json_object_get(doc, "cases"), name, c)
    {
        ts_ball_params params = params_of(json_object_get(c, "params"));
        ts_ball *ball;
        CHECK_OK(ts_ball_create(&params, (int)num(c, "width"), (int)num(c, "height"), &ball, &err));
        json_t *inputs = json_object_get(c, "frames"), *want = json_object_get(c, "expected");
        for (size_t i = 0; i < json_array_size(inputs); i++) {
            json_t *in = json_array_get(inputs, i), *det = json_object_get(in, "detection");
            json_t *list = json_object_get(in, "candidates");
            ts_detection d = detection(det), cands[64];
            size_t n = json_is_array(list) ? json_array_size(list) : 0;
            for (size_t k = 0; k < n; k++)
                cands[k] = detection(json_array_get(list, k));
            ts_ball_result got =
                ts_ball_update(ball, json_is_null(det) ? NULL : &d, cands, n, 1.0 / num(c, "fps"));
            check_ball_frame(name, i, json_array_get(want, i), &got, ts_ball_get_state(ball));
            frames++;
        }
        const ts_ball_state *s = ts_ball_get_state(ball);
        json_t *stats = json_object_get(c, "stats");
        assert_int_equal(s->total_updates, num(stats, "total_updates"));
        assert_int_equal(s->successful_tracks, num(stats, "successful_tracks"));
        assert_int_equal(s->predictions_used, num(stats, "predictions_used"));
        assert_int_equal(s->outliers_rejected, num(stats, "outliers_rejected"));
        assert_int_equal(s->erratic_detections, num(stats, "erratic_detections"));
        assert_int_equal(s->jump_rejections, num(stats, "jump_rejections"));
        ts_ball_destroy(ball);
    }
    assert_int_equal(frames, 2240);
    json_decref(doc);
}

static void zoom_springs_equal_the_recorded_rows(void **state)
{
    (void)state;
    json_t *doc = load("zoom.json"), *c, *row;
    size_t i, n;
    json_array_foreach(json_object_get(doc, "cases"), i, c)
    {
        ts_zoom zoom = i == 0 ? TS_ZOOM_STREAM : TS_ZOOM_LIMITED;
        json_array_foreach(json_object_get(c, "rows_target_zoom_velocity"), n, row)
        {
            ts_zoom_update(&zoom, at(row, 0), 1.0 / 30);
            ts_check_close(zoom.value, at(row, 1), 1e-8, 0, "zoom", n);
            ts_check_close(zoom.velocity, at(row, 2), 1e-8, 0, "velocity", n);
        }
    }
    json_decref(doc);
}

int main(void)
{
    ts_ball_destroy(NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_euro_equals_the_recorded_filter),
        cmocka_unit_test(ball_tracker_equals_the_recorded_traces),
        cmocka_unit_test(zoom_springs_equal_the_recorded_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
