/*
 * Random views of random tensors: every one is a picture of the announced size or a named fault,
 * whatever stands together. Seeds are fixed; run it under the sanitizers, too.
 */
#include "cl/tensor/store.h"
#include "cl/viz/viz.h"
#include "tests/support/check.h"
#include "tests/support/gpu.h"

static test_gpu gpu;
static uint64_t rng_state = 0x9e3779b97f4a7c15u;

static uint32_t rng(void)
{
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;
    return (uint32_t)(rng_state >> 32);
}

#define PICK(list) list[rng() % (sizeof(list) / sizeof(list)[0])]

static const char *const KINDS[] = {
    "",
    "\"kind\":\"heatmap\"",
    "\"kind\":\"strip\"",
    "\"kind\":\"line\",\"thickness\":3,\"zero_line\":true",
    "\"kind\":\"rgb\",\"alpha\":true",
    "\"kind\":\"rgb\",\"layout\":\"CHW\"",
    "\"kind\":\"grid\",\"sep\":2,\"outer\":true",
    "\"kind\":\"grid\",\"layout\":\"HWC\",\"cols\":7,\"tile\":{\"scale\":2.5}",
    "\"kind\":\"batch\",\"rgb\":true",
    "\"kind\":\"batch\",\"first\":1,\"count\":3",
    "\"kind\":\"slice\",\"axis\":-1,\"index\":-1",
    "\"kind\":\"slice\",\"axis\":1",
    "\"kind\":\"project\",\"axis\":1,\"op\":\"sum\"",
    "\"kind\":\"ortho\",\"crosshair\":[1,2,3]",
    "\"kind\":\"volume\",\"mode\":\"mean\",\"step\":2",
    "\"kind\":\"volume\",\"mode\":\"alpha\",\"step\":2,\"camera\":{\"azimuth\":33}",
    "\"kind\":\"volume\",\"mode\":\"iso\",\"step\":2",
    "\"kind\":\"hist\",\"log\":true",
    "\"kind\":\"waterfall\",\"rows\":5",
    "\"at\":[0]",
    "\"at\":[0,-1]"};
static const char *const RANGES[] = {
    "",
    "\"normalize\":{\"mode\":\"fixed\",\"lo\":0,\"hi\":0}",
    "\"normalize\":{\"mode\":\"fixed\",\"lo\":-1e300,\"hi\":1e300}",
    "\"normalize\":{\"mode\":\"percentile\",\"scope\":\"tile\"}",
    "\"normalize\":{\"mode\":\"symmetric\",\"scope\":\"channel\",\"p\":90}",
    "\"normalize\":{\"mode\":\"whiten\"}",
    "\"normalize\":{\"mode\":\"log\",\"scope\":\"view\"}",
    "\"normalize\":{\"mode\":\"symlog\"}",
    "\"normalize\":{\"mode\":\"histeq\",\"bins\":7,\"scope\":\"tile\"}",
    "\"normalize\":{\"ema\":{\"tau_s\":1}}"};
static const char *const SIZES[] = {
    "",
    "\"resize\":{\"width\":37,\"height\":1}",
    "\"resize\":{\"scale\":1.7,\"filter\":\"bilinear\"}",
    "\"resize\":{\"width\":40,\"height\":31,\"filter\":\"area\",\"fit\":\"contain\"}",
    "\"resize\":{\"width\":19,\"height\":50,\"filter\":\"lanczos\",\"fit\":\"cover\"}",
    "\"resize\":{\"width\":64,\"filter\":\"bicubic\"},\"viewport\":{\"cx\":1,\"cy\":1,\"zoom\":0."
    "1}",
    "\"viewport\":{\"x\":-100,\"y\":3,\"w\":0.01,\"h\":1000}"};
static const char *const MORE[] = {
    "",
    "\"colormap\":\"tab10\"",
    "\"colormap\":{\"name\":\"hsv\",\"lut_interp\":\"nearest\"}",
    "\"colormap\":{\"stops\":[[0,[0,0,0]],[0,[1,1,1]]],\"over\":[1,2,3]}",
    "\"tone\":{\"gain\":-1000,\"gamma\":0.01}",
    "\"filter\":[{\"op\":\"median\",\"r\":2},{\"op\":\"grad\"}]",
    "\"filter\":{\"op\":\"gauss\",\"sigma\":9}",
    "\"filter\":{\"op\":\"temporal\"}",
    "\"overlay\":{\"title\":\"{name} {shape} {mean} {nope}\",\"colorbar\":true,\"histogram\":true}",
    "\"overlay\":{\"text\":[{\"x\":-9,\"y\":5,\"text\":\"\\u03c3\\u20ac "
    "abc\",\"bg\":[1,1,1]}],\"colorbar\":{\"ticks\":1}}"};
static const char *const WHOLE[] = {
    "",
    "",
    "",
    "\"compare\":{\"mode\":\"side\",\"a\":\"t0\",\"b\":\"t1\",\"fit_b\":true}",
    "\"compare\":{\"mode\":\"absdiff\",\"a\":\"t2\",\"b\":\"t2\"}",
    "\"compare\":{\"mode\":\"checker\",\"a\":\"t3\",\"b\":\"t3\",\"size\":3}",
    "\"compare\":{\"mode\":\"blend\",\"a\":\"t1\",\"b\":\"t9\"}"};

static void append(char *text, const char *part)
{
    if (*part) {
        if (text[1])
            strcat(text, ",");
        strcat(text, part);
    }
}

static void random_part(char *text)
{
    append(text, PICK(KINDS));
    append(text, PICK(RANGES));
    append(text, PICK(SIZES));
    append(text, PICK(MORE));
}

static void random_view(char *text)
{
    strcpy(text, "{");
    if (rng() % 5) {
        random_part(text);
        append(text, PICK(WHOLE));
    } else {
        append(text, "\"canvas\":{\"width\":151,\"height\":97},\"panels\":[");
        for (uint32_t i = 0, n = 1 + rng() % 4; i < n; i++) {
            char panel[1024];
            snprintf(panel, sizeof panel, "{\"tensor\":\"t%u\"%s", rng() % 11,
                     rng() % 2   ? ",\"title\":\"x\""
                     : rng() % 2 ? ",\"rect\":[-5,90,40,40]"
                                 : "");
            random_part(panel);
            strcat(panel, i + 1 < n ? "}," : "}");
            strcat(text, panel);
        }
        strcat(text, "]");
    }
    strcat(text, "}");
}

static void fill_store(ts_store *store)
{
    static const struct {
        ts_dtype dtype;
        ts_shape shape;
    } tensors[] = {
        {TS_F32, {2, {9, 13}}},  {TS_F32, {2, {5, 30}}},      {TS_F32, {3, {4, 6, 5}}},
        {TS_U8, {3, {8, 7, 3}}}, {TS_F32, {4, {3, 2, 5, 4}}}, {TS_F32, {1, {70}}},
        {TS_F32, {0}},           {TS_U8, {2, {0, 4}}},        {TS_F32, {5, {2, 1, 2, 3, 3}}},
        {TS_U8, {2, {5, 30}}}};
    ts_error err = {0};
    static float data[512];
    for (int i = 0; i < 512; i++)
        data[i] = i % 50 == 7 ? NAN : i % 50 == 9 ? -INFINITY : (float)(sin(i) * 4);
    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++) {
        char name[8];
        size_t bytes;
        bool created;
        ts_tensor *tensor = NULL;
        snprintf(name, sizeof name, "t%zu", i);
        CHECK_OK(ts_shape_check(&tensors[i].shape, tensors[i].dtype, &bytes, &err));
        CHECK_OK(ts_tensor_from_host(gpu.queue, tensors[i].dtype, &tensors[i].shape, data, bytes,
                                     &tensor, &err));
        CHECK_OK(
            ts_store_publish(store, name, tensor, &(ts_publish_options){0}, &created, NULL, &err));
        ts_tensor_unref(tensor);
    }
}

static void try_view(ts_viz *viz, ts_store *store, const char *text, int *pictures)
{
    static const ts_pixel_format formats[] = {TS_PIXELS_RGB8, TS_PIXELS_I420, TS_PIXELS_RGBA8,
                                              TS_PIXELS_RGBA16};
    ts_error err = {0};
    json_t *json = NULL, *found = NULL;
    ts_view *view = NULL;
    char name[8];
    CHECK_OK(ts_json_parse(text, strlen(text), &json, &err));
    ts_status st = ts_view_parse(json, &view, &err);
    json_decref(json);
    if (st != TS_OK) {
        assert_int_equal(st, TS_E_OPTION);
        ts_error_clear(&err);
        return;
    }
    ts_entry entry = {0};
    snprintf(name, sizeof name, "t%u", rng() % 10);
    CHECK_OK(ts_store_get(store, name, &entry, &err));
    ts_viz_input input = {.view = view,
                          .entry = &entry,
                          .store = store,
                          .format = PICK(formats),
                          .scale = rng() % 4 ? 1 : 0.5,
                          .dt_s = 0.1,
                          .auto_indexed = rng() % 2,
                          .want_stats = rng() % 8 == 0};
    ts_viz_output out;
    st = ts_viz_render(viz, gpu.queue, &input, &out, &err);
    if (st == TS_OK) {
        (*pictures)++;
        assert_true(out.pixels->width > 0 && out.pixels->height > 0);
        CHECK_OK(ts_viz_probe(viz, gpu.queue, &input, rng() % 40, rng() % 40, &found, &err));
        assert_non_null(found);
        json_decref(found);
    } else if (st != TS_E_OPTION && st != TS_E_SHAPE && st != TS_E_INDEX && st != TS_E_EMPTY &&
               st != TS_E_NOT_FOUND)
    {
        fail_msg("%s of %s: %s %s", text, name, ts_status_code(st), err.text);
    }
    ts_error_clear(&err);
    ts_viz_output_finish(&out);
    ts_entry_finish(&entry);
    ts_view_unref(view);
}

static void every_view_is_a_picture_or_a_named_fault(void **state)
{
    (void)state;
    ts_error err = {0};
    ts_store *store = NULL;
    ts_viz *viz = NULL;
    int pictures = 0;
    const char *rounds = getenv("TENSORSCOPE_TEST_ROUNDS");
    CHECK_OK(ts_store_create(16, &store, &err));
    CHECK_OK(ts_viz_create(gpu.device, &viz, &err));
    fill_store(store);
    for (int i = 0, n = rounds ? atoi(rounds) : 400; i < n; i++) {
        char text[8192];
        random_view(text);
        if (getenv("TENSORSCOPE_TEST_VERBOSE"))
            fprintf(stderr, "%s\n", text);
        try_view(viz, store, text, &pictures);
    }
    assert_true(pictures > 80);
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_view_is_a_picture_or_a_named_fault)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
