/* Probes, ranges, formats and faults of rendering; vectors of tests/golden/tensor-video/logic. */
#include "cl/base/fs.h"
#include "cl/tensor/npy.h"
#include "cl/tensor/store.h"
#include "cl/viz/colormap.h"
#include "cl/viz/viz.h"
#include "tests/support/check.h"
#include "tests/support/gpu.h"

static test_gpu gpu;

static ts_view *view_of(const char *text)
{
    ts_error err = {0};
    json_t *value = NULL;
    ts_view *view = NULL;
    CHECK_OK(ts_json_parse(text, strlen(text), &value, &err));
    CHECK_OK(ts_view_parse(value, &view, &err));
    json_decref(value);
    return view;
}

static ts_entry entry_of(ts_dtype dtype, ts_shape shape, const void *data)
{
    ts_error err = {0};
    ts_entry entry = {.name = "x", .version = 1};
    size_t bytes;
    CHECK_OK(ts_shape_check(&shape, dtype, &bytes, &err));
    CHECK_OK(ts_tensor_from_host(gpu.queue, dtype, &shape, data, bytes, &entry.tensor, &err));
    return entry;
}

/* Render to RGB8 and copy the bytes out. */
static uint8_t *render_rgb(ts_viz *viz, const ts_entry *entry, const char *view_text, int *w,
                           int *h)
{
    ts_error err = {0};
    ts_view *view = view_of(view_text);
    ts_viz_input input = {.view = view, .entry = entry, .format = TS_PIXELS_RGB8};
    ts_viz_output out;
    CHECK_OK(ts_viz_render(viz, gpu.queue, &input, &out, &err));
    size_t n = (size_t)out.pixels->width * (size_t)out.pixels->height * 3;
    uint8_t *copy = malloc(n);
    memcpy(copy, out.pixels->plane[0], n);
    *w = out.pixels->width;
    *h = out.pixels->height;
    ts_viz_output_finish(&out);
    ts_view_unref(view);
    return copy;
}

static ts_viz *make_viz(void)
{
    ts_error err = {0};
    ts_viz *viz = NULL;
    CHECK_OK(ts_viz_create(gpu.device, &viz, &err));
    return viz;
}

/* One grey level per sample of a row of values, as the worked examples of the spec have them. */
static void check_greys(const float *values, int n, const char *view_text, const int *want)
{
    ts_viz *viz = make_viz();
    ts_entry entry = entry_of(TS_F32, TS_SHAPE(1, n), values);
    int w, h;
    uint8_t *rgb = render_rgb(viz, &entry, view_text, &w, &h);
    for (int i = 0; i < n; i++)
        ts_check_close(rgb[3 * i], want[i], 1, 0, view_text, (size_t)i);
    free(rgb);
    ts_tensor_unref(entry.tensor);
    ts_viz_destroy(viz);
}

static void worked_ranges_give_their_greys(void **state)
{
    (void)state;
    check_greys((const float[]){0, 1, 2, 3}, 4,
                "{\"normalize\":{\"mode\":\"fixed\",\"lo\":0,\"hi\":4},\"colormap\":\"gray\"}",
                (const int[]){0, 64, 128, 191});
    check_greys((const float[]){1, 10, 100, 1000}, 4,
                "{\"normalize\":{\"mode\":\"log\"},\"colormap\":\"gray\"}",
                (const int[]){0, 85, 170, 255});
    check_greys((const float[]){-99, -9, 0, 9, 99}, 5,
                "{\"normalize\":{\"mode\":\"symlog\",\"linthresh\":1},\"colormap\":\"gray\"}",
                (const int[]){0, 64, 128, 191, 255});
    check_greys((const float[]){0, 0, 0, 1, 2, 4}, 6,
                "{\"normalize\":{\"mode\":\"histeq\",\"bins\":4},\"colormap\":\"gray\"}",
                (const int[]){0, 0, 0, 128, 170, 255});
    check_greys((const float[]){0, 0.25f, 1}, 3, "{\"tone\":{\"gamma\":0.5},\"colormap\":\"gray\"}",
                (const int[]){0, 128, 255});
}

static void check_range(const float *values, int n, const char *view_text, double lo, double hi)
{
    ts_error err = {0};
    ts_viz *viz = make_viz();
    ts_view *view = view_of(view_text);
    ts_entry entry = entry_of(TS_F32, TS_SHAPE(1, n), values);
    ts_viz_input input = {.view = view, .entry = &entry, .format = TS_PIXELS_RGB8};
    ts_viz_output out;
    CHECK_OK(ts_viz_render(viz, gpu.queue, &input, &out, &err));
    assert_true(out.has_range);
    ts_check_close(out.lo, lo, 1e-6, 1e-6, view_text, 0);
    ts_check_close(out.hi, hi, 1e-6, 1e-6, view_text, 1);
    ts_viz_output_finish(&out);
    ts_view_unref(view);
    ts_tensor_unref(entry.tensor);
    ts_viz_destroy(viz);
}

static void worked_ranges_have_their_ends(void **state)
{
    (void)state;
    float ramp[11];
    for (int i = 0; i < 11; i++)
        ramp[i] = (float)i;
    check_range(ramp, 11, "{\"normalize\":{\"mode\":\"percentile\",\"p_lo\":10,\"p_hi\":90}}", 1,
                9);
    check_range((const float[]){1, 2, 3, 4}, 4, "{\"normalize\":{\"mode\":\"meanstd\",\"k\":2}}",
                0.263932, 4.736068);
    check_range((const float[]){-3, 1, 2}, 3, "{\"normalize\":{\"mode\":\"symmetric\"}}", -3, 3);
    check_range(ramp, 11, "{\"normalize\":{\"mode\":\"symmetric\",\"p\":50}}", -5, 5);
    check_range((const float[]){-3, NAN, INFINITY, 2}, 4, "{}", -3, 2);
    check_range(ramp, 11, "{\"normalize\":{\"lo\":2}}", 2, 10);
}

static void probe_vectors_agree(void **state)
{
    (void)state;
    ts_error err = {0};
    char path[512];
    ts_buf file = {0};
    ts_npy npy;
    snprintf(path, sizeof path, "%s/golden/tensor-video/logic/stats_input.npy", TS_TEST_DIR);
    CHECK_OK(ts_fs_read(path, 1 << 20, &file, &err));
    CHECK_OK(ts_npy_parse(file.data, file.len, &npy, &err));
    ts_entry entry = entry_of(npy.dtype, npy.shape, file.data + npy.header_bytes);
    ts_buf_finish(&file);
    snprintf(path, sizeof path, "%s/golden/tensor-video/logic/stats.json", TS_TEST_DIR);
    json_t *vectors = json_load_file(path, 0, NULL);
    const json_t *probe = json_object_get(vectors, "probe");
    ts_viz *viz = make_viz();
    ts_view *view = view_of("{\"resize\":{\"width\":64,\"height\":32,\"filter\":\"bilinear\"}}");
    ts_viz_input input = {.view = view, .entry = &entry, .format = TS_PIXELS_RGB8};
    size_t i;
    json_t *point;
    json_array_foreach(json_object_get(probe, "points"), i, point)
    {
        json_t *found = NULL;
        CHECK_OK(ts_viz_probe(viz, gpu.queue, &input,
                              json_number_value(json_object_get(point, "x")),
                              json_number_value(json_object_get(point, "y")), &found, &err));
        assert_true(json_equal(json_object_get(found, "index"), json_object_get(point, "index")));
        assert_string_equal(json_string_value(json_object_get(found, "class")),
                            json_string_value(json_object_get(point, "class")));
        const json_t *want = json_object_get(point, "value");
        if (json_is_null(want))
            assert_true(json_is_null(json_object_get(found, "value")));
        else
            ts_check_close(json_number_value(json_object_get(found, "value")),
                           json_number_value(want), 0, 0, "value", i);
        json_decref(found);
    }
    assert_int_equal(i, 4);
    json_t *outside = NULL;
    CHECK_OK(ts_viz_probe(viz, gpu.queue, &input, 64, 3, &outside, &err));
    assert_true(json_is_null(outside));
    json_decref(outside);
    ts_view_unref(view);
    ts_viz_destroy(viz);
    json_decref(vectors);
    ts_tensor_unref(entry.tensor);
}

/* The probe's rgb is the picture's pixel, in every kind that has one sample a pixel. */
static void probe_colours_are_the_pictures(void **state)
{
    (void)state;
    static const char *const views[] = {
        "{\"kind\":\"slice\",\"axis\":1,\"index\":2,\"colormap\":\"jet\"}",
        "{\"kind\":\"grid\",\"layout\":\"CHW\",\"normalize\":{\"scope\":\"tile\"}}",
        "{\"kind\":\"ortho\",\"at\":[1,2,3],\"gap\":3}",
        "{\"kind\":\"project\",\"axis\":0,\"op\":\"mean\",\"tone\":{\"gamma\":2}}",
        "{\"kind\":\"rgb\",\"layout\":\"CHW\"}",
        "{\"kind\":\"heatmap\",\"filter\":{\"op\":\"box\",\"r\":1},\"colormap\":\"hot_r\"}",
        "{\"kind\":\"grid\",\"layout\":\"CHW\",\"resize\":{\"scale\":2},"
        "\"normalize\":{\"mode\":\"histeq\",\"bins\":16}}",
        "{\"kind\":\"slice\",\"resize\":{\"width\":40,\"height\":17,\"fit\":\"contain\"},"
        "\"normalize\":{\"mode\":\"symlog\"}}"};
    float data[3 * 7 * 9];
    for (int i = 0; i < 3 * 7 * 9; i++)
        data[i] = sinf((float)(i * i % 101)) * 3;
    data[17] = NAN;
    ts_error err = {0};
    ts_entry entry = entry_of(TS_F32, TS_SHAPE(3, 7, 9), data);
    for (size_t v = 0; v < sizeof views / sizeof views[0]; v++) {
        ts_viz *viz = make_viz();
        int w, h, seen = 0;
        uint8_t *rgb = render_rgb(viz, &entry, views[v], &w, &h);
        ts_view *view = view_of(views[v]);
        ts_viz_input input = {.view = view, .entry = &entry, .format = TS_PIXELS_RGB8};
        for (int k = 0; k < 24; k++) {
            int x = k * 7 % w, y = k * 5 % h;
            json_t *found = NULL;
            CHECK_OK(ts_viz_probe(viz, gpu.queue, &input, x, y, &found, &err));
            for (size_t c = 0; !json_is_null(found) && c < 3; c++)
                ts_check_close(
                    (double)json_integer_value(json_array_get(json_object_get(found, "rgb"), c)),
                    rgb[3 * (y * w + x) + (int)c], 1, 0, views[v], (size_t)(y * w + x));
            seen += !json_is_null(found);
            json_decref(found);
        }
        assert_true(seen > 8);
        free(rgb);
        ts_view_unref(view);
        ts_viz_destroy(viz);
    }
    ts_tensor_unref(entry.tensor);
}

static void regions_have_their_own_statistics(void **state)
{
    (void)state;
    ts_error err = {0};
    int16_t data[6 * 8];
    for (int i = 0; i < 6 * 8; i++)
        data[i] = (int16_t)(i * 3 - 20);
    ts_entry entry = entry_of(TS_I16, TS_SHAPE(6, 8), data);
    ts_viz *viz = make_viz();
    ts_view *view = view_of("{\"resize\":{\"scale\":10},\"overlay\":{\"title\":\"t\"}}");
    ts_viz_input input = {.view = view, .entry = &entry};
    json_t *found = NULL;
    /* Rows 1 and 2, columns 2 to 4; the title takes 16 pixels. */
    const double rect[4] = {20, 16 + 12, 30, 11};
    CHECK_OK(ts_viz_region(viz, gpu.queue, &input, rect, &found, &err));
    const json_t *stats = json_object_get(found, "stats");
    assert_int_equal(json_integer_value(json_object_get(stats, "count")), 6);
    ts_check_close(json_number_value(json_object_get(stats, "min")), data[8 + 2], 0, 0, "min", 0);
    ts_check_close(json_number_value(json_object_get(stats, "max")), data[16 + 4], 0, 0, "max", 0);
    json_decref(found);
    const double outside[4] = {500, 0, 5, 5}, nothing[4] = {0, 0, 0, 5};
    CHECK_OK(ts_viz_region(viz, gpu.queue, &input, outside, &found, &err));
    assert_true(json_is_null(found));
    json_decref(found);
    CHECK_STATUS(TS_E_OPTION, ts_viz_region(viz, gpu.queue, &input, nothing, &found, &err));
    ts_view_unref(view);
    ts_tensor_unref(entry.tensor);
    ts_viz_destroy(viz);
}

static void big_integers_are_probed_exactly(void **state)
{
    (void)state;
    ts_error err = {0};
    const int64_t data[2] = {INT64_C(9007199254740993), -5};
    ts_entry entry = entry_of(TS_I64, TS_SHAPE(1, 2), data);
    ts_viz *viz = make_viz();
    ts_view *view = view_of("{}");
    ts_viz_input input = {.view = view, .entry = &entry};
    json_t *found = NULL;
    CHECK_OK(ts_viz_probe(viz, gpu.queue, &input, 0, 0, &found, &err));
    assert_string_equal(json_string_value(json_object_get(found, "value")), "9007199254740993");
    json_decref(found);
    CHECK_OK(ts_viz_probe(viz, gpu.queue, &input, 1, 0, &found, &err));
    assert_int_equal(json_integer_value(json_object_get(found, "value")), -5);
    json_decref(found);
    ts_view_unref(view);
    ts_tensor_unref(entry.tensor);
    ts_viz_destroy(viz);
}

static ts_status try_render(const ts_entry *entry, const char *view_text, ts_error *err)
{
    ts_viz *viz = make_viz();
    ts_view *view = view_of(view_text);
    ts_viz_input input = {.view = view, .entry = entry, .format = TS_PIXELS_RGB8};
    ts_viz_output out;
    ts_status st = ts_viz_render(viz, gpu.queue, &input, &out, err);
    ts_viz_output_finish(&out);
    ts_view_unref(view);
    ts_viz_destroy(viz);
    return st;
}

static void faults_are_named(void **state)
{
    (void)state;
    ts_error err = {0};
    float data[24] = {0};
    ts_entry cube = entry_of(TS_F32, TS_SHAPE(2, 3, 4), data);
    ts_entry empty = entry_of(TS_F32, TS_SHAPE(0, 4), data);
    CHECK_STATUS(TS_E_EMPTY, try_render(&empty, "{}", &err));
    CHECK_STATUS(TS_E_INDEX, try_render(&cube, "{\"kind\":\"slice\",\"index\":2}", &err));
    CHECK_STATUS(TS_E_INDEX, try_render(&cube, "{\"kind\":\"slice\",\"axis\":3}", &err));
    CHECK_STATUS(TS_E_INDEX, try_render(&cube, "{\"kind\":\"rgb\",\"channels\":[0,1,9]}", &err));
    CHECK_STATUS(TS_E_INDEX, try_render(&cube, "{\"kind\":\"grid\",\"first\":9}", &err));
    CHECK_STATUS(TS_E_INDEX, try_render(&cube, "{\"kind\":\"ortho\",\"at\":[5,0,0]}", &err));
    CHECK_STATUS(TS_E_SHAPE, try_render(&cube, "{\"kind\":\"line\"}", &err));
    CHECK_STATUS(TS_E_SHAPE, try_render(&cube, "{\"kind\":\"batch\"}", &err));
    ts_entry wide = entry_of(TS_F32, TS_SHAPE(1, 24), data);
    CHECK_STATUS(TS_E_OPTION, try_render(&wide, "{\"resize\":{\"scale\":1024}}", &err));
    ts_tensor_unref(wide.tensor);
    CHECK_STATUS(TS_E_OPTION,
                 try_render(&cube, "{\"kind\":\"grid\",\"tile\":{\"width\":16383}}", &err));
    CHECK_STATUS(TS_E_OPTION, try_render(&cube, "{\"compare\":{\"mode\":\"diff\"}}", &err));
    CHECK_STATUS(TS_E_NOT_FOUND, try_render(&cube, "{\"compare\":{\"b\":\"nobody\"}}", &err));
    ts_tensor_unref(cube.tensor);
    ts_tensor_unref(empty.tensor);
}

static void odd_shapes_render(void **state)
{
    (void)state;
    static float data[4096 * 4];
    for (size_t i = 0; i < sizeof data / sizeof data[0]; i++)
        data[i] = (float)(i % 97);
    ts_shape shapes[] = {{.rank = 0},         TS_SHAPE(1),          TS_SHAPE(1, 4096),
                         TS_SHAPE(4096, 1),   TS_SHAPE(5),          TS_SHAPE(3, 5, 7),
                         TS_SHAPE(5, 7, 3),   TS_SHAPE(2, 5, 4, 6), TS_SHAPE(2, 3, 4, 6),
                         TS_SHAPE(1, 1, 1, 1)};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        ts_error err = {0};
        ts_entry entry = entry_of(TS_F32, shapes[i], data);
        CHECK_OK(try_render(&entry, "{}", &err));
        CHECK_OK(
            try_render(&entry, "{\"kind\":\"hist\",\"resize\":{\"width\":33,\"height\":9}}", &err));
        CHECK_OK(try_render(&entry,
                            "{\"kind\":\"heatmap\",\"resize\":{\"width\":31,\"height\":7,"
                            "\"filter\":\"lanczos\"}}",
                            &err));
        ts_tensor_unref(entry.tensor);
    }
    ts_error err = {0};
    ts_entry deep = entry_of(TS_F32, TS_SHAPE(2, 2, 2, 3, 4), data);
    CHECK_STATUS(TS_E_SHAPE, try_render(&deep, "{}", &err));
    CHECK_OK(try_render(&deep, "{\"kind\":\"batch\",\"at\":[1]}", &err));
    CHECK_OK(try_render(&deep, "{\"kind\":\"rgb\",\"at\":[1,-1]}", &err));
    CHECK_OK(try_render(&deep, "{\"kind\":\"heatmap\"}", &err));
    ts_tensor_unref(deep.tensor);
}

static int luma(const uint8_t *p)
{
    return (16839 * p[0] + 33059 * p[1] + 6420 * p[2] + 32768 + (16 << 16)) >> 16;
}

/* Y is exact from the RGB form; planes of odd sizes cover their edges. */
static void formats_agree(void **state)
{
    (void)state;
    ts_error err = {0};
    float data[13 * 21];
    for (int i = 0; i < 13 * 21; i++)
        data[i] = cosf((float)i);
    ts_entry entry = entry_of(TS_F32, TS_SHAPE(13, 21), data);
    static const char *const views[] = {
        "{\"colormap\":\"turbo\"}", "{\"colormap\":\"turbo\",\"overlay\":{\"title\":\"x\"}}",
        "{\"resize\":{\"width\":35,\"height\":19,\"filter\":\"bilinear\"}}"};
    for (size_t v = 0; v < 3; v++) {
        ts_viz *viz = make_viz();
        ts_view *view = view_of(views[v]);
        ts_viz_output out[5];
        const ts_pixel_format formats[5] = {TS_PIXELS_RGB8, TS_PIXELS_RGBA8, TS_PIXELS_I420,
                                            TS_PIXELS_RGBA16, TS_PIXELS_RGBA32F};
        for (int f = 0; f < 5; f++) {
            ts_viz_input input = {.view = view, .entry = &entry, .format = formats[f]};
            CHECK_OK(ts_viz_render(viz, gpu.queue, &input, &out[f], &err));
            assert_int_equal(out[f].pixels->format, formats[f]);
        }
        const ts_pixels *yuv = out[2].pixels;
        int w = yuv->width, h = yuv->height;
        for (int y = 0; y < h; y++)
            for (int x = 0; x < w; x++) {
                size_t i = (size_t)(y * w + x);
                const uint8_t *rgb = out[0].pixels->plane[0] + 3 * i;
                const uint8_t *rgba = out[1].pixels->plane[0] + 4 * i;
                const uint16_t *deep = (const uint16_t *)out[3].pixels->plane[0] + 4 * i;
                const float *wide = (const float *)out[4].pixels->plane[0] + 4 * i;
                assert_int_equal(rgba[3], 255);
                assert_int_equal(yuv->plane[0][(size_t)y * yuv->stride[0] + (size_t)x], luma(rgb));
                for (int c = 0; c < 3; c++) {
                    assert_int_equal(rgb[c], rgba[c]);
                    ts_check_close(deep[c] / 257.0, rgb[c], 1, 0, "rgba16", i);
                    ts_check_close(wide[c] * 255.0f, rgb[c], 1, 0, "rgba32f", i);
                }
            }
        int cx = (w - 1) / 2, cy = (h - 1) / 2; /* the last chroma sample: one pixel's own */
        const uint8_t *last = out[0].pixels->plane[0] + 3 * (size_t)(w * h - 1);
        int u = (-9719 * last[0] - 19081 * last[1] + 28800 * last[2] + 32768 + (128 << 16)) >> 16;
        assert_int_equal(yuv->plane[1][(size_t)cy * yuv->stride[1] + (size_t)cx], u);
        for (int f = 0; f < 5; f++)
            ts_viz_output_finish(&out[f]);
        ts_view_unref(view);
        ts_viz_destroy(viz);
    }
    ts_tensor_unref(entry.tensor);
}

static void categories_are_rows_of_the_table(void **state)
{
    (void)state;
    ts_error err = {0};
    const int64_t data[6] = {-1, 0, 9, 10, 23, INT64_C(9007199254740993)};
    const int rows[6] = {9, 0, 9, 0, 3, 3};
    ts_entry entry = entry_of(TS_I64, TS_SHAPE(1, 6), data);
    ts_viz *viz = make_viz();
    ts_view *view = view_of("{\"colormap\":\"tab10\"}");
    ts_viz_input input = {
        .view = view, .entry = &entry, .format = TS_PIXELS_RGB8, .auto_indexed = true};
    ts_viz_output out;
    CHECK_OK(ts_viz_render(viz, gpu.queue, &input, &out, &err));
    assert_int_equal(out.pixels->format, TS_PIXELS_INDEXED);
    const ts_colormap *map;
    bool reversed;
    assert_true(ts_colormap_find("tab10", &map, &reversed));
    for (int i = 0; i < 6; i++) {
        int index = out.pixels->plane[0][i];
        assert_int_equal(index, rows[i]);
        json_t *found = NULL;
        CHECK_OK(ts_viz_probe(viz, gpu.queue, &input, i, 0, &found, &err));
        for (size_t c = 0; c < 3; c++) {
            int want = (int)(map->rows[rows[i]][c] * 255 + 0.5f);
            assert_int_equal(out.pixels->palette[index][c], want);
            assert_int_equal(json_integer_value(json_array_get(json_object_get(found, "rgb"), c)),
                             want);
        }
        json_decref(found);
    }
    ts_viz_output_finish(&out);
    ts_view_unref(view);
    ts_tensor_unref(entry.tensor);
    ts_viz_destroy(viz);
}

/* A quarter of red over green, by a channel of alpha. */
static void alpha_lies_over_the_background(void **state)
{
    (void)state;
    ts_viz *viz = make_viz();
    const uint8_t data[4] = {255, 0, 0, 64};
    ts_entry entry = entry_of(TS_U8, TS_SHAPE(1, 1, 4), data);
    int w, h;
    uint8_t *rgb = render_rgb(viz, &entry,
                              "{\"kind\":\"rgb\",\"alpha\":true,\"background\":[0,255,0],"
                              "\"normalize\":{\"mode\":\"fixed\",\"lo\":0,\"hi\":255}}",
                              &w, &h);
    ts_check_close(rgb[0], 64, 1, 0, "red", 0);
    ts_check_close(rgb[1], 191, 1, 0, "green", 0);
    free(rgb);
    ts_tensor_unref(entry.tensor);
    ts_viz_destroy(viz);
}

/* Pictures stay valid after their renderer is gone. */
static void pixels_outlive_the_renderer(void **state)
{
    (void)state;
    ts_error err = {0};
    float data[4] = {0, 1, 2, 3};
    ts_entry entry = entry_of(TS_F32, TS_SHAPE(2, 2), data);
    ts_viz *viz = make_viz();
    ts_view *view = view_of("{}");
    ts_viz_input input = {.view = view, .entry = &entry, .format = TS_PIXELS_RGB8};
    ts_viz_output out;
    CHECK_OK(ts_viz_render(viz, gpu.queue, &input, &out, &err));
    ts_viz_destroy(viz);
    const uint8_t want[12] = {68, 1, 84, 49, 104, 142, 53, 183, 121, 253, 231, 37};
    for (int i = 0; i < 12; i++)
        ts_check_close(out.pixels->plane[0][i], want[i], 1, 0, "viridis", (size_t)i);
    ts_viz_output_finish(&out);
    ts_view_unref(view);
    ts_tensor_unref(entry.tensor);
}

static void comparison_reports_numbers(void **state)
{
    (void)state;
    ts_error err = {0};
    ts_store *store = NULL;
    float a[20 * 20], b[20 * 20];
    double sum = 0, most = 0;
    for (int i = 0; i < 400; i++) {
        a[i] = (float)(i % 20) / 19;
        b[i] = a[i] + 0.1f * sinf((float)i);
        double d = (double)a[i] - (double)b[i];
        sum += d * d;
        most = fabs(d) > most ? fabs(d) : most;
    }
    CHECK_OK(ts_store_create(4, &store, &err));
    const char *const names[] = {"a", "b"};
    float *const data[] = {a, b};
    for (int i = 0; i < 2; i++) {
        bool created;
        ts_entry entry = entry_of(TS_F32, TS_SHAPE(20, 20), data[i]);
        CHECK_OK(ts_store_publish(store, names[i], entry.tensor, &(ts_publish_options){0}, &created,
                                  NULL, &err));
        ts_tensor_unref(entry.tensor);
    }
    ts_viz *viz = make_viz();
    ts_view *view = view_of("{\"compare\":{\"mode\":\"wipe\",\"a\":\"a\",\"b\":\"b\"}}");
    ts_viz_input input = {.view = view, .store = store, .format = TS_PIXELS_RGB8};
    ts_viz_output out;
    CHECK_OK(ts_viz_render(viz, gpu.queue, &input, &out, &err));
    double mse = json_number_value(json_object_get(out.metrics, "mse"));
    ts_check_close(mse, sum / 400, 0, 1e-5, "mse", 0);
    ts_check_close(json_number_value(json_object_get(out.metrics, "max_abs")), most, 0, 1e-5,
                   "max_abs", 0);
    double peak = out.hi - out.lo;
    ts_check_close(json_number_value(json_object_get(out.metrics, "psnr")),
                   10 * log10(peak * peak / mse), 1e-3, 0, "psnr", 0);
    double ssim = json_number_value(json_object_get(out.metrics, "ssim"));
    assert_true(ssim > 0.5 && ssim < 1);
    ts_viz_output_finish(&out);
    ts_view_unref(view);

    view = view_of("{\"compare\":{\"mode\":\"side\",\"a\":\"a\",\"b\":\"a\"}}");
    input.view = view;
    CHECK_OK(ts_viz_render(viz, gpu.queue, &input, &out, &err));
    ts_check_close(json_number_value(json_object_get(out.metrics, "ssim")), 1, 1e-5, 0, "ssim", 0);
    assert_string_equal(json_string_value(json_object_get(out.metrics, "psnr")), "Infinity");
    assert_int_equal(out.pixels->width, 44);
    ts_viz_output_finish(&out);
    ts_view_unref(view);
    ts_viz_destroy(viz);
    ts_store_destroy(store);
}

/* Only the picture and little else crosses the bus, whatever the size of the tensor. */
static void tensors_stay_on_the_device(void **state)
{
    (void)state;
    ts_error err = {0};
    const int64_t side = 4096;
    ts_entry entry = {.name = "x", .version = 1};
    CHECK_OK(ts_tensor_create(gpu.device, TS_F32, &TS_SHAPE(side, side), &entry.tensor, &err));
    CHECK_OK(ts_buffer_fill_u32(gpu.queue, ts_tensor_buffer(entry.tensor), 0, 0x3f800000,
                                (size_t)(side * side) * 4, &err));
    static const char *const views[] = {
        "{\"resize\":{\"width\":200,\"height\":150,\"filter\":\"area\"}}",
        "{\"resize\":{\"width\":200,\"height\":150},\"normalize\":{\"mode\":\"percentile\"},"
        "\"colormap\":\"jet\"}",
        "{\"kind\":\"hist\",\"resize\":{\"width\":200,\"height\":150}}"};
    for (size_t v = 0; v < 3; v++) {
        ts_viz *viz = make_viz();
        ts_device_stats before, after;
        ts_device_get_stats(gpu.device, &before);
        int w, h;
        free(render_rgb(viz, &entry, views[v], &w, &h));
        ts_device_get_stats(gpu.device, &after);
        assert_in_range(after.bytes_d2h - before.bytes_d2h, 200 * 150 * 3, 200 * 150 * 4 + 4096);
        assert_in_range(after.bytes_h2d - before.bytes_h2d, 0, 4096);
        ts_viz_destroy(viz);
    }
    ts_tensor_unref(entry.tensor);
}

/* After the first frames nothing is allocated, and panning repeats only the colour pass. */
static void steady_frames_allocate_nothing(void **state)
{
    (void)state;
    ts_error err = {0};
    static float data[64 * 64];
    for (int i = 0; i < 64 * 64; i++)
        data[i] = (float)(i % 61);
    ts_entry entry = entry_of(TS_F32, TS_SHAPE(64, 64), data);
    ts_viz *viz = make_viz();
    ts_device_stats first = {0}, second, last;
    for (int i = 0; i < 12; i++) {
        char text[160];
        snprintf(text, sizeof text,
                 "{\"viewport\":{\"cx\":%d,\"cy\":30,\"zoom\":3},\"resize\":{\"filter\":"
                 "\"bilinear\"}}",
                 20 + i);
        ts_view *view = view_of(text);
        ts_viz_input input = {.view = view, .entry = &entry, .format = TS_PIXELS_I420};
        ts_viz_output out;
        if (i == 2)
            ts_device_get_stats(gpu.device, &first);
        if (i == 11)
            ts_device_get_stats(gpu.device, &second);
        CHECK_OK(ts_viz_render(viz, gpu.queue, &input, &out, &err));
        ts_viz_output_finish(&out);
        ts_view_unref(view);
    }
    ts_device_get_stats(gpu.device, &last);
    assert_int_equal(last.allocations, first.allocations);
    assert_in_range(last.launches - second.launches, 1, 2); /* the moved axis, the pass */
    assert_int_equal(last.bytes_h2d, first.bytes_h2d);
    ts_tensor_unref(entry.tensor);
    ts_viz_destroy(viz);
}

static bool at_once(void *arg)
{
    ++*(int *)arg;
    return true;
}

static void warming_up_can_be_stopped(void **state)
{
    (void)state;
    ts_error err = {0};
    int asked = 0;
    CHECK_OK(ts_viz_warm(gpu.queue, at_once, &asked, &err));
    assert_int_equal(asked, 1);
    CHECK_OK(ts_viz_warm(gpu.queue, NULL, NULL, &err));
}

static void card_has_text_in_every_format(void **state)
{
    (void)state;
    for (int f = TS_PIXELS_RGB8; f <= TS_PIXELS_INDEXED; f++) {
        ts_pixels *card = ts_viz_card(101, 33, (ts_pixel_format)f, "no tensor w1\nsecond line");
        assert_non_null(card);
        assert_int_equal(card->width, 101);
        bool differs = false;
        for (size_t i = 0; i < card->stride[0] * 33; i++)
            differs |= card->plane[0][i] != card->plane[0][0] && i % card->stride[0] < 101;
        assert_true(differs);
        ts_pixels_unref(card);
    }
    ts_pixels *tiny = ts_viz_card(1, 1, TS_PIXELS_I420, "x");
    assert_non_null(tiny);
    ts_pixels_unref(tiny);
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
        cmocka_unit_test(worked_ranges_give_their_greys),
        cmocka_unit_test(worked_ranges_have_their_ends),
        cmocka_unit_test(probe_vectors_agree),
        cmocka_unit_test(probe_colours_are_the_pictures),
        cmocka_unit_test(regions_have_their_own_statistics),
        cmocka_unit_test(big_integers_are_probed_exactly),
        cmocka_unit_test(faults_are_named),
        cmocka_unit_test(odd_shapes_render),
        cmocka_unit_test(formats_agree),
        cmocka_unit_test(categories_are_rows_of_the_table),
        cmocka_unit_test(alpha_lies_over_the_background),
        cmocka_unit_test(pixels_outlive_the_renderer),
        cmocka_unit_test(comparison_reports_numbers),
        cmocka_unit_test(tensors_stay_on_the_device),
        cmocka_unit_test(steady_frames_allocate_nothing),
        cmocka_unit_test(warming_up_can_be_stopped),
        cmocka_unit_test(card_has_text_in_every_format),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
