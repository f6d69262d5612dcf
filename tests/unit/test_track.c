/* The trackers and cameras against recorded traces (tests/golden/video-pipeline/README.md). */
#include "cl/base/fs.h"
#include "cl/base/json.h"
#include "server/track/ball.h"
#include "server/track/bytetrack.h"
#include "server/track/camera.h"
#include "server/track/chain.h"
#include "server/track/one_euro.h"
#include "server/track/zoom.h"
#include "tests/support/check.h"

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
    } flags[] = {
        {"tracking", s->tracking}, {"coast", s->coast}, {"chaos", s->chaos}, {"jitter", s->jitter}};
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

static bool same_crop(const ts_crop *got, const json_t *want, double tolerance)
{
    return fabs(got->x1 - at(want, 0)) <= tolerance && fabs(got->y1 - at(want, 1)) <= tolerance &&
           fabs(got->x2 - at(want, 2)) <= tolerance && fabs(got->y2 - at(want, 3)) <= tolerance;
}

static ts_ref_params ref_params(const json_t *p)
{
    ts_ref_params params = TS_REF_DEFAULTS;
    const struct {
        const char *key;
        double *field;
    } numbers[] = {{"dead_zone_percent", &params.dead_zone},
                   {"anticipation_factor", &params.anticipation},
                   {"zoom_padding", &params.zoom_padding},
                   {"smoothing_min_cutoff", &params.smoothing_min_cutoff},
                   {"smoothing_beta", &params.smoothing_beta}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (json_object_get(p, numbers[i].key))
            *numbers[i].field = num(p, numbers[i].key);
    if (json_object_get(p, "use_pid"))
        params.use_pid = json_is_true(json_object_get(p, "use_pid"));
    return params;
}

static void reference_camera_equals_the_recorded_crops(void **state)
{
    (void)state;
    json_t *doc = load("camera.json"), *c, *row;
    size_t i, n;
    json_array_foreach(json_object_get(doc, "cases"), i, c)
    {
        const char *name = json_string_value(json_object_get(c, "name"));
        ts_ref_params params = ref_params(json_object_get(c, "params"));
        json_t *frame = json_object_get(c, "frame"), *out = json_object_get(c, "output");
        ts_ref_camera cam;
        ts_ref_init(&cam, &params, (int)at(frame, 0), (int)at(frame, 1), (int)at(out, 0),
                    (int)at(out, 1));
        ts_ref_reset(&cam);
        size_t equal = 0, rows = 0;
        json_array_foreach(json_object_get(c, "rows"), n, row)
        {
            json_t *in = json_object_get(row, "in"), *hint = json_object_get(row, "hint");
            json_t *t = json_object_get(row, "t"), *zoom = json_object_get(row, "set_zoom");
            if (zoom)
                ts_ref_set_zoom(&cam, json_number_value(zoom));
            double target[2] = {at(in, 0), at(in, 1)}, speed[2] = {at(hint, 0), at(hint, 1)};
            ts_crop crop = ts_ref_update(&cam, target, json_is_null(t) ? NAN : json_number_value(t),
                                         json_is_null(hint) ? NULL : speed,
                                         json_is_true(json_object_get(row, "stable")));
            json_t *want = json_object_get(row, "crop"), *center = json_object_get(row, "center");
            ts_check_close(cam.center[0], at(center, 0), 1e-3, 0, name, n);
            ts_check_close(cam.center[1], at(center, 1), 1e-3, 0, name, n);
            equal += same_crop(&crop, want, 0);
            rows++;
            if (!same_crop(&crop, want, 1))
                fail_msg("%s row %zu: crop %g %g %g %g", name, n, crop.x1, crop.y1, crop.x2,
                         crop.y2);
        }
        if (equal < 0.97 * rows)
            fail_msg("%s: %zu of %zu crops equal", name, equal, rows);
        json_t *stats = json_object_get(c, "stats");
        assert_int_equal(cam.total_updates, num(stats, "total_updates"));
        assert_int_equal(cam.deadzone_blocks, num(stats, "deadzone_blocks"));
        assert_int_equal(cam.pid_corrections, num(stats, "pid_corrections"));
        assert_int_equal(cam.predictions_used, num(stats, "predictions_used"));
    }
    json_decref(doc);
}

/* 95th percentile, linear interpolation. */
static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
static double percentile95(double *v, size_t n)
{
    qsort(v, n, sizeof *v, by_value);
    double rank = 0.95 * (n - 1);
    size_t i = (size_t)rank;
    return i + 1 < n ? v[i] + (rank - i) * (v[i + 1] - v[i]) : v[n - 1];
}

static void smooth_camera_equals_the_recorded_crops_and_is_as_smooth(void **state)
{
    (void)state;
    json_t *doc = load("smooth_camera.json"), *tracker = load("tracker.json"), *c;
    const char *name;
    json_object_foreach(json_object_get(doc, "cases"), name, c)
    {
        json_t *source = json_object_get(json_object_get(tracker, "cases"), name);
        json_t *results = json_object_get(source, "expected"), *crops = json_object_get(c, "crop");
        ts_smooth_camera cam;
        ts_smooth_init(&cam, &TS_SMOOTH_DEFAULTS, (int)num(source, "width"),
                       (int)num(source, "height"), 16.0 / 9);
        size_t n = json_array_size(crops), seen = 0, inside = 0, n_accel = 0;
        double accel[512], before[2][2] = {{0}};
        for (size_t i = 0; i < n; i++) {
            json_t *row = json_array_get(results, i), *r = json_object_get(row, "result");
            json_t *v = json_object_get(row, "vel"), *truth;
            truth = json_object_get(json_array_get(json_object_get(source, "frames"), i), "truth");
            double position[2] = {at(r, 0), at(r, 1)}, velocity[2] = {at(v, 0), at(v, 1)};
            ts_crop crop =
                ts_smooth_update(&cam, !json_is_null(r), json_is_true(json_array_get(r, 2)),
                                 position, velocity, num(c, "dt"));
            if (!same_crop(&crop, json_array_get(crops, i), 0.05))
                fail_msg("%s frame %zu: %g %g %g %g", name, i, crop.x1, crop.y1, crop.x2, crop.y2);
            if (json_is_array(truth)) {
                seen++;
                inside += at(truth, 0) >= crop.x1 && at(truth, 0) <= crop.x2 &&
                          at(truth, 1) >= crop.y1 && at(truth, 1) <= crop.y2;
            }
            double center[2] = {(crop.x1 + crop.x2) / 2, (crop.y1 + crop.y2) / 2};
            if (i >= 2)
                accel[n_accel++] = hypot(center[0] - 2 * before[1][0] + before[0][0],
                                         center[1] - 2 * before[1][1] + before[0][1]);
            memcpy(before[0], before[1], sizeof center);
            memcpy(before[1], center, sizeof center);
        }
        json_t *quality = json_object_get(c, "quality");
        if (seen)
            assert_true((double)inside / seen >= num(quality, "ball_in_crop") - 0.005);
        double p95 = percentile95(accel, n_accel);
        if (p95 > 1.5 * num(quality, "accel_p95_px_frame2"))
            fail_msg("%s: accel p95 %g", name, p95);
    }
    json_decref(doc);
    json_decref(tracker);
}

static size_t compare_tracks(const ts_track *got, size_t n, const json_t *want)
{
    size_t equal = 0, i;
    json_t *row;
    json_array_foreach(want, i, row)
    {
        for (size_t k = 0; k < n; k++)
            if (got[k].id == (int)at(row, 0) && fabs(got[k].x1 - at(row, 1)) < 0.01 &&
                fabs(got[k].y1 - at(row, 2)) < 0.01 && fabs(got[k].x2 - at(row, 3)) < 0.01 &&
                fabs(got[k].y2 - at(row, 4)) < 0.01)
                equal++;
    }
    return equal;
}

static void run_mot(const char *name, const json_t *c, const char *key, const ts_mot_params *params)
{
    ts_error err = {0};
    ts_mot *mot;
    CHECK_OK(ts_mot_create(params, &mot, &err));
    json_t *frames = json_object_get(c, "detections"), *want = json_object_get(c, key), *row;
    size_t rows = 0, equal = 0, got_rows = 0, k;
    for (size_t f = 0; f < json_array_size(frames); f++) {
        ts_detection d[128];
        json_t *list = json_array_get(frames, f), *expected = json_array_get(want, f);
        json_array_foreach(list, k, row)
        {
            double x1 = at(row, 0), y1 = at(row, 1), x2 = at(row, 2), y2 = at(row, 3);
            d[k] = (ts_detection){(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1,
                                  y2 - y1,       at(row, 4),    (int)at(row, 5)};
        }
        const ts_track *tracks;
        size_t n;
        CHECK_OK(ts_mot_update(mot, d, json_array_size(list), &tracks, &n, &err));
        rows += json_array_size(expected);
        got_rows += n;
        equal += compare_tracks(tracks, n, expected);
    }
    if (equal < 0.99 * rows || got_rows > rows * 1.01)
        fail_msg("%s %s: %zu of %zu rows equal, %zu given", name, key, equal, rows, got_rows);
    ts_mot_destroy(mot);
}

static void byte_track_equals_the_recorded_tracks(void **state)
{
    (void)state;
    json_t *doc = load("mot.json"), *c;
    const char *name;
    json_object_foreach(json_object_get(doc, "cases"), name, c)
    {
        ts_mot_params params = TS_MOT_DEFAULTS;
        run_mot(name, c, "expected", &params);
        params.fuse_score = false;
        if (json_object_get(c, "expected_no_fuse"))
            run_mot(name, c, "expected_no_fuse", &params);
    }
    json_decref(doc);
}

static ts_chain_params chain_params(const json_t *c)
{
    json_t *config = json_object_get(c, "config"), *camera = json_object_get(config, "camera");
    json_t *tracking = json_object_get(config, "tracking"), *out = json_object_get(c, "output");
    ts_chain_params p = {.reference = true,
                         .width = (int)num(c, "width"),
                         .height = (int)num(c, "height"),
                         .out_width = (int)at(out, 0),
                         .out_height = (int)at(out, 1),
                         .select = TS_SELECT_DEFAULTS,
                         .ball = TS_BALL_DEFAULTS,
                         .smooth = TS_SMOOTH_DEFAULTS,
                         .ref = TS_REF_DEFAULTS,
                         .follow = true,
                         .roi = true,
                         .mode = TS_CAMERA_REFERENCE};
    p.select.temporal_fallback = p.select.compat = true;
    p.select.confidence = num(json_object_get(config, "model"), "confidence");
    p.ball.max_lost_frames = (int)num(tracking, "max_lost_frames");
    p.ball.min_confidence = num(tracking, "min_confidence");
    p.ref.dead_zone = num(camera, "dead_zone");
    p.ref.anticipation = num(camera, "anticipation");
    p.ref.zoom_padding = num(camera, "zoom_padding");
    p.ref.smoothing_min_cutoff = num(camera, "smoothing_min_cutoff");
    p.ref.smoothing_beta = num(camera, "smoothing_beta");
    return p;
}

/* The detector of the fixture: the case's candidates, those inside the region when there is one. */
static size_t detect(const json_t *frame, const ts_crop *roi, ts_detection *out)
{
    json_t *list = json_object_get(frame, "candidates"), *row;
    size_t i, n = 0;
    json_array_foreach(list, i, row)
    {
        ts_detection d = detection(row);
        if (roi) {
            if (d.cx < roi->x1 || d.cx >= roi->x2 || d.cy < roi->y1 || d.cy >= roi->y2)
                continue;
            d.cx -= roi->x1;
            d.cy -= roi->y1;
        }
        out[n++] = d;
    }
    return n;
}

static void reference_chain_equals_the_recorded_loop(void **state)
{
    (void)state;
    ts_error err = {0};
    json_t *doc = load("chain.json"), *tracker = load("tracker.json"), *c, *row;
    size_t i, n;
    json_array_foreach(json_object_get(doc, "cases"), i, c)
    {
        const char *name = json_string_value(json_object_get(c, "name"));
        json_t *source = json_object_get(json_object_get(tracker, "cases"), name);
        ts_chain_params params = chain_params(c);
        ts_chain *chain;
        CHECK_OK(ts_chain_create(&params, &chain, &err));
        size_t equal = 0, rows = 0;
        json_array_foreach(json_object_get(c, "rows"), n, row)
        {
            ts_crop roi;
            bool has_roi = ts_chain_roi(chain, &roi);
            json_t *want_roi = json_object_get(row, "roi"), *track = json_object_get(row, "track");
            if (has_roi == json_is_null(want_roi))
                fail_msg("%s row %zu: region %d", name, n, has_roi);
            ts_detection d[64];
            size_t count = detect(json_array_get(json_object_get(source, "frames"), n),
                                  has_roi ? &roi : NULL, d);
            ts_chain_result r =
                ts_chain_update(chain, d, count, true, NULL, 1000 + n / num(c, "fps"), 1.0 / 30);
            bool flag = json_is_true(json_array_get(track, 2));
            if (r.track.present == json_is_null(track) || (r.track.present && r.track.flag != flag))
                fail_msg("%s row %zu: present %d flag %d", name, n, r.track.present, r.track.flag);
            json_t *want = json_object_get(row, "crop");
            equal += same_crop(&r.crop, want, 0);
            rows++;
            if (!same_crop(&r.crop, want, 2))
                fail_msg("%s row %zu: crop %g %g %g %g, camera %g %g %g %g, zoom %g", name, n,
                         r.crop.x1, r.crop.y1, r.crop.x2, r.crop.y2, r.camera_crop.x1,
                         r.camera_crop.y1, r.camera_crop.x2, r.camera_crop.y2, r.zoom);
        }
        if (equal < 0.99 * rows)
            fail_msg("%s: %zu of %zu crops equal", name, equal, rows);
        ts_chain_destroy(chain);
    }
    json_decref(doc);
    json_decref(tracker);
}

int main(void)
{
    ts_ball_destroy(NULL);
    ts_mot_destroy(NULL);
    ts_chain_destroy(NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_euro_equals_the_recorded_filter),
        cmocka_unit_test(ball_tracker_equals_the_recorded_traces),
        cmocka_unit_test(zoom_springs_equal_the_recorded_rows),
        cmocka_unit_test(reference_camera_equals_the_recorded_crops),
        cmocka_unit_test(smooth_camera_equals_the_recorded_crops_and_is_as_smooth),
        cmocka_unit_test(byte_track_equals_the_recorded_tracks),
        cmocka_unit_test(reference_chain_equals_the_recorded_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
