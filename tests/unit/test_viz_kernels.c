/*
 * The viz kernels against their twin over odd sizes, types, ranges, tones, filters and resampling,
 * with NaN, infinities and values that lie outside the range. Seeds are fixed.
 */
#include "cl/viz/viz.h"
#include "tests/ref/ref_viz.h"
#include "tests/support/check.h"
#include "tests/support/gpu.h"

static test_gpu gpu;
static uint64_t rng_state;

static uint32_t rng(void)
{
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;
    return (uint32_t)(rng_state >> 32);
}

static double uniform(void)
{
    return rng() / 4294967296.0;
}

/* Samples of a type and what they are in double. */
static void make_samples(ts_dtype dtype, int n, bool classes, uint8_t *raw, double *v)
{
    for (int i = 0; i < n; i++) {
        double x = uniform() * 6 - 3 + 2 * sin(i * 0.37);
        float f = (float)x;
        uint16_t h;
        int64_t q;
        if (classes && rng() % 40 == 0)
            f = rng() % 3 == 0 ? NAN : rng() % 2 ? INFINITY : -INFINITY;
        switch (dtype) {
        case TS_U8:
            raw[i] = (uint8_t)(rng() >> 24);
            v[i] = raw[i];
            break;
        case TS_I16:
            h = (uint16_t)rng();
            memcpy(raw + 2 * i, &h, 2);
            v[i] = (int16_t)h;
            break;
        case TS_F16:
            h = ts_f32_to_f16(f);
            memcpy(raw + 2 * i, &h, 2);
            v[i] = (double)ts_f16_to_f32(h);
            break;
        case TS_BF16:
            h = ts_f32_to_bf16(f);
            memcpy(raw + 2 * i, &h, 2);
            v[i] = (double)ts_bf16_to_f32(h);
            break;
        case TS_I64:
            q = INT64_C(1700000000000) + (int64_t)(rng() % 5000);
            memcpy(raw + 8 * i, &q, 8);
            v[i] = (double)q;
            break;
        case TS_F64:
            v[i] = 1e9 + x * 1e-3;
            memcpy(raw + 8 * i, &v[i], 8);
            break;
        default:
            memcpy(raw + 4 * i, &f, 4);
            v[i] = (double)f;
        }
    }
}

typedef struct trial {
    ts_dtype dtype;
    int h, w, W, H;
    bool classes;
    double outliers;
    char view[640];
} trial;

static void run_trial(const trial *t, ts_viz *viz)
{
    ts_error err = {0};
    json_t *json = NULL;
    ts_view *view = NULL;
    int n = t->h * t->w;
    uint8_t *raw = malloc((size_t)n * 8), *want = malloc((size_t)t->W * (size_t)t->H * 3);
    double *v = malloc((size_t)n * sizeof *v);
    make_samples(t->dtype, n, t->classes, raw, v);
    CHECK_OK(ts_json_parse(t->view, strlen(t->view), &json, &err));
    ts_status st = ts_view_parse(json, &view, &err);
    if (st != TS_OK)
        fail_msg("%s: %s", t->view, err.text);
    ts_entry entry = {.name = "x"};
    CHECK_OK(ts_tensor_from_host(gpu.queue, t->dtype, &TS_SHAPE(t->h, t->w), raw,
                                 (size_t)n * ts_dtype_bytes(t->dtype), &entry.tensor, &err));
    ts_viz_input input = {.view = view, .entry = &entry, .format = TS_PIXELS_RGB8};
    ts_viz_output out;
    CHECK_OK(ts_viz_render(viz, gpu.queue, &input, &out, &err));
    assert_int_equal(out.pixels->width, t->W);
    assert_int_equal(out.pixels->height, t->H);
    ref_filters(&view->part, v, t->h, t->w);
    ref_render(&view->part, v, t->h, t->w, t->W, t->H, want);
    int bad = 0, worst = 0, at = 0;
    for (int i = 0; i < t->W * t->H; i++) {
        int d = 0;
        for (int c = 0; c < 3; c++) {
            int one = abs(out.pixels->plane[0][3 * i + c] - want[3 * i + c]);
            d = one > d ? one : d;
        }
        bad += d > 1;
        if (d > worst) {
            worst = d;
            at = i;
        }
    }
    if (bad > t->outliers * t->W * t->H) {
        const uint8_t *g = out.pixels->plane[0] + 3 * at, *w = want + 3 * at;
        fail_msg("%s %d x %d: %s: %d of %d pixels are off, worst by %d at (%d, %d): got %d %d %d, "
                 "want %d %d %d",
                 ts_dtype_name(t->dtype), t->h, t->w, t->view, bad, t->W * t->H, worst, at % t->W,
                 at / t->W, g[0], g[1], g[2], w[0], w[1], w[2]);
    }
    ts_viz_output_finish(&out);
    ts_tensor_unref(entry.tensor);
    ts_view_unref(view);
    json_decref(json);
    free(raw);
    free(want);
    free(v);
}

static ts_viz *make_viz(void)
{
    ts_error err = {0};
    ts_viz *viz = NULL;
    CHECK_OK(ts_viz_create(gpu.device, &viz, &err));
    return viz;
}

static const int SIZES[][2] = {{1, 1}, {1, 17}, {13, 1}, {7, 9}, {31, 33}, {40, 257}, {3, 1030}};

static void ranges_tones_and_types_agree(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double outliers;
    } ranges[] = {{"{\"mode\":\"minmax\"}", 0},
                  {"{\"mode\":\"fixed\",\"lo\":-1.5,\"hi\":2}", 0},
                  {"{\"mode\":\"percentile\",\"p_lo\":3.3,\"p_hi\":91}", 0},
                  {"{\"mode\":\"symmetric\"}", 0},
                  {"{\"mode\":\"symmetric\",\"p\":80}", 0},
                  {"{\"mode\":\"meanstd\",\"k\":1.5}", 0},
                  {"{\"mode\":\"log\"}", 0},
                  {"{\"mode\":\"symlog\"}", 0},
                  {"{\"mode\":\"symlog\",\"linthresh\":0.3,\"hi\":2}", 0},
                  {"{\"mode\":\"histeq\",\"bins\":64}", 0.01}};
    static const char *const tones[] = {"{}", "{\"gamma\":0.6,\"gain\":1.3,\"bias\":-0.1}",
                                        "{\"invert\":true}"};
    static const char *const maps[] = {
        "\"viridis\"", "{\"name\":\"jet_r\",\"under\":[1,2,3],\"over\":[250,1,9]}",
        "{\"stops\":[[0,[0,0,0]],[0.5,[1,0,0]],[0.501,[0,1,0]],[1,[1,1,1]]]}"};
    static const ts_dtype dtypes[] = {TS_F32, TS_U8, TS_I16, TS_F16, TS_BF16, TS_I64, TS_F64};
    ts_viz *viz = make_viz();
    rng_state = 88172645463325252u;
    for (size_t r = 0; r < sizeof ranges / sizeof ranges[0]; r++)
        for (size_t k = 0; k < sizeof dtypes / sizeof dtypes[0]; k++) {
            const int *size = SIZES[(r * 7 + k) % (sizeof SIZES / sizeof SIZES[0])];
            ts_dtype dtype = dtypes[k];
            /* Values of 1e9 or 1e12 in a logarithm have no room for their differences. */
            bool wide = dtype == TS_I64 || dtype == TS_F64;
            if (wide && (r == 1 || r == 6 || r == 7 || r == 8 || r == 3 || r == 4))
                continue;
            trial t = {.dtype = dtype,
                       .h = size[0],
                       .w = size[1],
                       .W = size[1],
                       .H = size[0],
                       .classes = true,
                       .outliers = ranges[r].outliers};
            /* The stop at ½ is a near-step: a pixel beside it may fall on either side. */
            size_t map = (r + k) % 3;
            t.outliers += map == 2 ? 0.01 : 0;
            t.outliers += t.outliers > 0 && size[0] * size[1] < 100 ? 0.2 : 0;
            snprintf(t.view, sizeof t.view, "{\"normalize\":%s,\"tone\":%s,\"colormap\":%s}",
                     ranges[r].text, tones[k % 3], maps[map]);
            run_trial(&t, viz);
        }
    ts_viz_destroy(viz);
}

static void resampling_agrees(void **state)
{
    (void)state;
    static const char *const filters[] = {"nearest", "bilinear", "area", "lanczos", "bicubic"};
    static const char *const fits[] = {"stretch", "contain", "cover"};
    static const int targets[][2] = {{1, 1}, {5, 64}, {29, 30}, {97, 41}, {80, 514}};
    ts_viz *viz = make_viz();
    rng_state = 362436069362436069u;
    for (int f = 0; f < 5; f++)
        for (int s = 0; s < 7; s++)
            for (int k = 0; k < 3; k++) {
                const int *size = SIZES[s], *target = targets[(f + s + k) % 5];
                trial t = {.dtype = s % 2 ? TS_F32 : TS_U8,
                           .h = size[0],
                           .w = size[1],
                           .H = target[0],
                           .W = target[1],
                           .classes = k == 1};
                /* A position on the edge between two samples may fall on either side. */
                t.outliers = f == 0 && k == 2 ? 0.02 : k == 1 ? 0.005 : 0;
                snprintf(t.view, sizeof t.view,
                         "{\"resize\":{\"width\":%d,\"height\":%d,\"filter\":\"%s\",\"fit\":\"%s\","
                         "\"background\":[9,8,7]},\"normalize\":{\"mode\":\"minmax\"}}",
                         t.W, t.H, filters[f], fits[k]);
                run_trial(&t, viz);
            }
    ts_viz_destroy(viz);
}

static void viewports_agree(void **state)
{
    (void)state;
    static const char *const filters[] = {"nearest", "bilinear", "area", "lanczos", "bicubic"};
    ts_viz *viz = make_viz();
    rng_state = 521288629521288629u;
    for (int f = 0; f < 5; f++)
        for (int k = 0; k < 6; k++) {
            trial t = {
                .dtype = TS_F32, .h = 31, .w = 33, .H = 37 + k, .W = 50 - k, .outliers = 0.01};
            double x = uniform() * 30 - 8, y = uniform() * 30 - 8, w = 5 + uniform() * 40;
            snprintf(t.view, sizeof t.view,
                     "{\"viewport\":{\"x\":%.4f,\"y\":%.4f,\"w\":%.4f,\"h\":%.4f},\"resize\":{"
                     "\"width\":%d,\"height\":%d,\"filter\":\"%s\",\"background\":[90,0,7]}}",
                     x, y, w, w * 0.8, t.W, t.H, filters[f]);
            if (k >= 4)
                snprintf(t.view, sizeof t.view,
                         "{\"viewport\":{\"cx\":%.4f,\"cy\":%.4f,\"zoom\":%d},\"resize\":{"
                         "\"width\":%d,\"height\":%d,\"filter\":\"%s\",\"background\":[90,0,7]}}",
                         x + 10, y + 10, k == 4 ? 9 : 1, t.W, t.H, filters[f]);
            run_trial(&t, viz);
        }
    ts_viz_destroy(viz);
}

static void filters_agree(void **state)
{
    (void)state;
    static const char *const filters[] = {"{\"op\":\"box\",\"r\":2}",
                                          "{\"op\":\"gauss\",\"sigma\":1.3}",
                                          "{\"op\":\"median\",\"r\":1}",
                                          "{\"op\":\"median\",\"r\":2}",
                                          "{\"op\":\"sharpen\",\"amount\":0.7}",
                                          "{\"op\":\"grad\"}",
                                          "{\"op\":\"laplace\"}",
                                          "[{\"op\":\"abs\"},{\"op\":\"box\",\"r\":1}]"};
    ts_viz *viz = make_viz();
    rng_state = 88675123886751238u;
    for (size_t f = 0; f < sizeof filters / sizeof filters[0]; f++)
        for (int s = 0; s < 7; s++) {
            const int *size = SIZES[s];
            trial t = {.dtype = s % 3 == 0   ? TS_F16
                                : s % 3 == 1 ? TS_F32
                                             : TS_F64,
                       .h = size[0],
                       .w = size[1],
                       .H = size[0],
                       .W = size[1],
                       .classes = s % 3 != 2};
            snprintf(t.view, sizeof t.view, "{\"filter\":%s}", filters[f]);
            run_trial(&t, viz);
        }
    ts_viz_destroy(viz);
}

static void frames_of_temporal_filters_agree(void **state)
{
    (void)state;
    ts_error err = {0};
    float data[3][12];
    rng_state = 1234567891234567u;
    for (int f = 0; f < 3; f++)
        for (int i = 0; i < 12; i++)
            data[f][i] = (float)uniform();
    for (int delta = 0; delta < 2; delta++) {
        ts_viz *viz = make_viz();
        json_t *json = json_pack("{s:{s:s,s:f},s:{s:s,s:i,s:i},s:s}", "filter", "op",
                                 delta ? "delta" : "temporal", "alpha", 0.25, "normalize", "mode",
                                 "fixed", "lo", -1, "hi", 1, "colormap", "gray");
        ts_view *view = NULL;
        CHECK_OK(ts_view_parse(json, &view, &err));
        double state_of[12];
        for (int f = 0; f < 3; f++) {
            ts_entry entry = {.name = "x", .version = (uint64_t)f + 1};
            CHECK_OK(ts_tensor_from_host(gpu.queue, TS_F32, &TS_SHAPE(3, 4), data[f],
                                         sizeof data[f], &entry.tensor, &err));
            ts_viz_input input = {.view = view, .entry = &entry, .format = TS_PIXELS_RGB8};
            for (int twice = 0; twice < 2; twice++) { /* drawing again moves nothing on */
                ts_viz_output out;
                CHECK_OK(ts_viz_render(viz, gpu.queue, &input, &out, &err));
                for (int i = 0; i < 12; i++) {
                    double v = (double)data[f][i], want = v;
                    if (delta)
                        want = f ? v - (double)data[f - 1][i] : 0;
                    else if (f)
                        want = state_of[i] + 0.25 * (v - state_of[i]);
                    ts_check_close(out.pixels->plane[0][3 * i], (want + 1) / 2 * 255, 1, 0,
                                   delta ? "delta" : "temporal", (size_t)i);
                    if (twice && !delta)
                        state_of[i] = want;
                }
                ts_viz_output_finish(&out);
            }
            ts_tensor_unref(entry.tensor);
        }
        ts_view_unref(view);
        json_decref(json);
        ts_viz_destroy(viz);
    }
}

static void similarity_agrees(void **state)
{
    (void)state;
    ts_error err = {0};
    enum {
        H = 23,
        W = 31
    };
    float data[2][H * W];
    double wide[2][H * W];
    rng_state = 99999999977777777u;
    for (int i = 0; i < H * W; i++) {
        data[0][i] = (float)(uniform() + 5);
        data[1][i] = data[0][i] + (float)(uniform() * 0.3);
        wide[0][i] = (double)data[0][i];
        wide[1][i] = (double)data[1][i];
    }
    ts_store *store = NULL;
    CHECK_OK(ts_store_create(4, &store, &err));
    for (int i = 0; i < 2; i++) {
        ts_tensor *tensor = NULL;
        bool created;
        CHECK_OK(ts_tensor_from_host(gpu.queue, TS_F32, &TS_SHAPE(H, W), data[i], sizeof data[i],
                                     &tensor, &err));
        CHECK_OK(ts_store_publish(store, i ? "b" : "a", tensor, &(ts_publish_options){0}, &created,
                                  NULL, &err));
        ts_tensor_unref(tensor);
    }
    json_t *json = json_pack("{s:{s:s,s:s,s:s}}", "compare", "mode", "side", "a", "a", "b", "b");
    ts_view *view = NULL;
    CHECK_OK(ts_view_parse(json, &view, &err));
    ts_viz *viz = make_viz();
    ts_viz_input input = {.view = view, .store = store, .format = TS_PIXELS_RGB8};
    ts_viz_output out;
    CHECK_OK(ts_viz_render(viz, gpu.queue, &input, &out, &err));
    ts_check_close(json_number_value(json_object_get(out.metrics, "ssim")),
                   ref_ssim(wide[0], wide[1], H, W, out.hi - out.lo), 1e-4, 0, "ssim", 0);
    ts_viz_output_finish(&out);
    ts_view_unref(view);
    json_decref(json);
    ts_viz_destroy(viz);
    ts_store_destroy(store);
}

static int setup(void **state)
{
    (void)state;
    test_gpu_open(&gpu);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    test_gpu_close(&gpu);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_tones_and_types_agree),
        cmocka_unit_test(resampling_agrees),
        cmocka_unit_test(viewports_agree),
        cmocka_unit_test(filters_agree),
        cmocka_unit_test(frames_of_temporal_filters_agree),
        cmocka_unit_test(similarity_agrees),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
