/* Kernels of family video against their twins and tests/golden/video-pipeline/resample.json. */
#include "cl/base/fs.h"
#include "cl/base/json.h"
#include "cl/ops/video.h"
#include "tests/ref/ref_video.h"
#include "tests/support/check.h"
#include "tests/support/devfix.h"

static ts_device *device;
static ts_queue *queue;

static int open_device(void **state)
{
    (void)state;
    ts_devfix_open(&device, &queue);
    return 0;
}

static int close_device(void **state)
{
    (void)state;
    ts_devfix_close(device, queue);
    return 0;
}

static ts_buffer *buffer_of(const void *data, size_t bytes)
{
    ts_error err = {0};
    ts_buffer *b;
    CHECK_OK(ts_buffer_create(device, bytes, &b, &err));
    CHECK_OK(ts_buffer_write(queue, b, 0, data, bytes, &err));
    return b;
}

static void fill(uint8_t *p, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        p[i] = (uint8_t)(seed >> 24);
    }
}

static void check_bytes(ts_buffer *b, const uint8_t *want, size_t n, int tolerance,
                        const char *what)
{
    ts_error err = {0};
    uint8_t *got = malloc(n);
    CHECK_OK(ts_buffer_read(queue, b, 0, got, n, &err));
    for (size_t i = 0; i < n; i++)
        if (abs(got[i] - want[i]) > tolerance)
            fail_msg("%s[%zu]: got %d, want %d", what, i, got[i], want[i]);
    free(got);
}

/* Both the wide kernel (widths of 16) and the general one. */
static void planes_become_rgba(void **state)
{
    (void)state;
    ts_error err = {0};
    static const int sizes[][2] = {{1, 1}, {2, 2}, {16, 3}, {33, 7}, {64, 48}, {65, 17}, {48, 5}};
    static uint8_t planes[3 * 64 * 80], want[4 * 64 * 80];
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int variant = 0; variant < 8; variant++) {
            int w = sizes[i][0], h = sizes[i][1], shift = variant & 1;
            int cw = (w + shift) >> shift, ch = (h + shift) >> shift;
            size_t luma = (size_t)w * h, chroma = (size_t)cw * ch;
            fill(planes, luma + 2 * chroma, (uint32_t)(i + 1));
            bool full = variant & 2, hd = variant & 4;
            ts_yuv yuv = {.buffer = buffer_of(planes, luma + 2 * chroma),
                          .offset = {0, luma, luma + chroma},
                          .stride_y = w,
                          .stride_c = cw,
                          .chroma_step = 1,
                          .chroma_shift_x = shift,
                          .chroma_shift_y = shift,
                          .bits = 8,
                          .width = w,
                          .height = h,
                          .matrix = hd ? TS_BT709 : TS_BT601,
                          .full_range = full};
            ts_buffer *rgba = buffer_of(want, luma * 4);
            CHECK_OK(ts_op_yuv_to_rgba(queue, &yuv, rgba, &err));
            ref_video_yuv_to_rgba(planes, planes + luma, planes + luma + chroma, w, h, shift,
                                  hd ? 0.2126 : 0.299, hd ? 0.0722 : 0.114, full, want);
            check_bytes(rgba, want, luma * 4, 1, "rgba");
            ts_buffer_unref(rgba);
            ts_buffer_unref(yuv.buffer);
        }
}

static void semi_planar_and_deep_planes_become_the_same_rgba(void **state)
{
    (void)state;
    ts_error err = {0};
    enum {
        W = 18,
        H = 10,
        C = W * H / 4
    };
    uint8_t planes[W * H + 2 * C], nv12[W * H + 2 * C], want[W * H * 4];
    uint16_t deep[W * H + 2 * C];
    fill(planes, sizeof planes, 5);
    memcpy(nv12, planes, W * H);
    for (int i = 0; i < C; i++) {
        nv12[W * H + 2 * i] = planes[W * H + i];
        nv12[W * H + 2 * i + 1] = planes[W * H + C + i];
    }
    for (size_t i = 0; i < sizeof nv12; i++)
        deep[i] = (uint16_t)(nv12[i] << 8); /* P010: ten bits in the high end */
    ref_video_yuv_to_rgba(planes, planes + W * H, planes + W * H + C, W, H, 1, 0.299, 0.114, false,
                          want);
    ts_yuv yuv = {.buffer = buffer_of(nv12, sizeof nv12),
                  .offset = {0, W * H, W * H + 1},
                  .stride_y = W,
                  .stride_c = W,
                  .chroma_step = 2,
                  .chroma_shift_x = 1,
                  .chroma_shift_y = 1,
                  .bits = 8,
                  .width = W,
                  .height = H};
    ts_buffer *rgba = buffer_of(want, sizeof want);
    CHECK_OK(ts_op_yuv_to_rgba(queue, &yuv, rgba, &err));
    check_bytes(rgba, want, sizeof want, 1, "nv12");
    ts_buffer_unref(yuv.buffer);
    yuv.buffer = buffer_of(deep, sizeof deep);
    yuv.bits = 10;
    yuv.sample_shift = 6;
    yuv.stride_y = yuv.stride_c = 2 * W;
    yuv.offset[1] = 2 * W * H;
    yuv.offset[2] = 2 * W * H + 2;
    CHECK_OK(ts_op_yuv_to_rgba(queue, &yuv, rgba, &err));
    check_bytes(rgba, want, sizeof want, 1, "p010");
    ts_buffer_unref(yuv.buffer);
    ts_buffer_unref(rgba);
}

static void rgba_becomes_planes(void **state)
{
    (void)state;
    ts_error err = {0};
    static const int sizes[][2] = {{2, 2}, {34, 6}, {64, 48}};
    static uint8_t rgba[4 * 64 * 48], want[64 * 48 * 3 / 2];
    for (size_t i = 0; i < 3; i++) {
        int w = sizes[i][0], h = sizes[i][1];
        fill(rgba, (size_t)w * h * 4, 9);
        ts_buffer *in = buffer_of(rgba, (size_t)w * h * 4),
                  *out = buffer_of(want, (size_t)w * h * 3 / 2);
        CHECK_OK(ts_op_rgba_to_i420(queue, in, w, h, TS_BT709, out, &err));
        ref_video_rgba_to_i420(rgba, w, h, 0.2126, 0.0722, want);
        check_bytes(out, want, (size_t)w * h * 3 / 2, 1, "i420");
        ts_buffer_unref(in);
        ts_buffer_unref(out);
    }
    CHECK_STATUS(TS_E_SHAPE, ts_op_rgba_to_i420(queue, NULL, 3, 2, TS_BT709, NULL, &err));
}

static json_t *load_golden(void)
{
    ts_error err = {0};
    ts_buf text = {0};
    json_t *doc = NULL;
    CHECK_OK(ts_fs_read(TS_TEST_DIR "/golden/video-pipeline/resample.json", 1 << 22, &text, &err));
    CHECK_OK(ts_json_parse(text.data, text.len, &doc, &err));
    ts_buf_finish(&text);
    return doc;
}

static int number(const json_t *array, size_t i)
{
    return (int)json_integer_value(json_array_get(array, i));
}

static void resampling_equals_the_golden_pictures(void **state)
{
    (void)state;
    ts_error err = {0};
    json_t *doc = load_golden(), *source = json_object_get(json_object_get(doc, "source"), "rgb"),
           *c;
    static uint8_t rgba[96 * 54 * 4];
    for (size_t i = 0; i < 96 * 54; i++) {
        for (size_t k = 0; k < 3; k++)
            rgba[4 * i + k] = (uint8_t)number(source, 3 * i + k);
        rgba[4 * i + 3] = 255;
    }
    ts_buffer *src = buffer_of(rgba, sizeof rgba);
    ts_resampler *r;
    CHECK_OK(ts_resampler_create(device, &r, &err));
    size_t index;
    json_array_foreach(json_object_get(doc, "cases"), index, c)
    {
        json_t *crop = json_object_get(c, "crop"), *out = json_object_get(c, "out");
        json_t *want = json_object_get(c, "rgb");
        const char *mode = json_string_value(json_object_get(c, "mode"));
        ts_resample what = {96,
                            54,
                            number(out, 0),
                            number(out, 1),
                            number(crop, 0),
                            number(crop, 1),
                            number(crop, 2),
                            number(crop, 3),
                            .filter = strcmp(mode, "bicubic") == 0    ? TS_RESAMPLE_BICUBIC
                                      : strcmp(mode, "bilinear") == 0 ? TS_RESAMPLE_BILINEAR
                                                                      : TS_RESAMPLE_ANTIALIAS,
                            .clamp_to_crop = true};
        size_t n = (size_t)what.dst_w * what.dst_h;
        ts_buffer *dst;
        CHECK_OK(ts_buffer_create(device, n * 4, &dst, &err));
        CHECK_OK(ts_op_resample(r, queue, &what, src, dst, &err));
        uint8_t *got = malloc(n * 4);
        CHECK_OK(ts_buffer_read(queue, dst, 0, got, n * 4, &err));
        double sum = 0;
        for (size_t i = 0; i < n; i++)
            for (size_t k = 0; k < 3; k++) {
                int d = abs(got[4 * i + k] - number(want, 3 * i + k));
                if (d > 1)
                    fail_msg("case %zu %s pixel %zu: off by %d", index, mode, i, d);
                sum += d;
            }
        if (sum / (3 * n) > 0.05)
            fail_msg("case %zu %s: mean error %g", index, mode, sum / (3 * n));
        free(got);
        ts_buffer_unref(dst);
    }
    ts_resample outside = {96, 54, 8, 8, 90, 0, 100, 54, .filter = TS_RESAMPLE_AUTO};
    CHECK_STATUS(TS_E_OPTION, ts_op_resample(r, queue, &outside, src, src, &err));
    ts_resampler_destroy(r);
    ts_resampler_destroy(NULL);
    ts_buffer_unref(src);
    json_decref(doc);
}

static void golden_colours_convert(void **state)
{
    (void)state;
    ts_error err = {0};
    json_t *doc = load_golden(), *c;
    size_t index;
    json_array_foreach(json_object_get(doc, "yuv_to_rgb"), index, c)
    {
        json_t *in = json_object_get(c, "yuv"), *out = json_object_get(c, "rgb");
        uint8_t planes[3] = {(uint8_t)number(in, 0), (uint8_t)number(in, 1),
                             (uint8_t)number(in, 2)};
        uint8_t want[4] = {(uint8_t)number(out, 0), (uint8_t)number(out, 1),
                           (uint8_t)number(out, 2), 255};
        bool hd = !strcmp(json_string_value(json_object_get(c, "matrix")), "bt709");
        bool full = !strcmp(json_string_value(json_object_get(c, "range")), "full");
        ts_yuv yuv = {.buffer = buffer_of(planes, 3),
                      .offset = {0, 1, 2},
                      .stride_y = 1,
                      .stride_c = 1,
                      .chroma_step = 1,
                      .bits = 8,
                      .width = 1,
                      .height = 1,
                      .matrix = hd ? TS_BT709 : TS_BT601,
                      .full_range = full};
        ts_buffer *rgba = buffer_of(want, 4);
        CHECK_OK(ts_op_yuv_to_rgba(queue, &yuv, rgba, &err));
        check_bytes(rgba, want, 4, 1, "colour");
        ts_buffer_unref(rgba);
        ts_buffer_unref(yuv.buffer);
    }
    json_decref(doc);
}

/* A rectangle's outline, half transparent, and nothing outside it. */
static void drawing_touches_only_its_strokes(void **state)
{
    (void)state;
    ts_error err = {0};
    enum {
        W = 70,
        H = 20
    };
    static uint8_t rgba[W * H * 4], want[W * H * 4];
    fill(rgba, sizeof rgba, 3);
    for (int i = 0; i < W * H; i++)
        rgba[4 * i + 3] = 255;
    memcpy(want, rgba, sizeof rgba);
    ts_draw list[] = {{TS_DRAW_RECT, 60, 2, 69, 12, 255, 0, 128, 128, 2, 0, 0},
                      {TS_DRAW_FILL, -5, 15, 3, 40, 10, 20, 30, 255, 0, 0, 0},
                      {TS_DRAW_GLYPH, 20, 2, 28, 18, 255, 255, 255, 255, '-' - 32, 1, 0}};
    const double a = 128 / 255.0;
    for (int y = 2; y < 12; y++)
        for (int x = 60; x < 69; x++)
            if (x < 62 || x >= 67 || y < 4 || y >= 10)
                for (int k = 0; k < 3; k++) {
                    uint8_t *p = &want[4 * (y * W + x) + k];
                    *p = (uint8_t)floor(*p * (1 - a) + list[0].r * a * (k == 0) +
                                        128 * a * (k == 2) + 0.5);
                }
    for (int y = 15; y < H; y++)
        for (int x = 0; x < 3; x++)
            memcpy(&want[4 * (y * W + x)], (uint8_t[]){10, 20, 30}, 3);
    for (int x = 22; x < 25; x++) /* the hyphen: row 7 of 7x13 is row 8 of the cell */
        memset(&want[4 * ((2 + 8) * W + x)], 255, 3);
    ts_buffer *frame = buffer_of(rgba, sizeof rgba), *prims = buffer_of(list, sizeof list), *font;
    CHECK_OK(ts_draw_font(queue, &font, &err));
    CHECK_OK(ts_op_draw(queue, frame, W, H, prims, 3, font, &err));
    check_bytes(frame, want, sizeof want, 1, "drawn");
    ts_buffer_unref(frame), ts_buffer_unref(prims), ts_buffer_unref(font);
}

static void colour_masks_equal_the_rule(void **state)
{
    (void)state;
    ts_error err = {0};
    static const int sizes[][2] = {{1, 1}, {32, 2}, {77, 5}};
    static uint8_t rgba[77 * 5 * 4];
    for (size_t i = 0; i < 3; i++) {
        int w = sizes[i][0], h = sizes[i][1], words = (w + 31) / 32;
        fill(rgba, (size_t)w * h * 4, (uint32_t)i + 40);
        ts_buffer *in = buffer_of(rgba, (size_t)w * h * 4), *out;
        size_t bytes = (size_t)3 * h * words * 4;
        CHECK_OK(ts_buffer_create(device, bytes, &out, &err));
        CHECK_OK(ts_op_color_masks(queue, in, w, h, 100, 60, 50, out, &err));
        uint32_t got[3 * 5 * 3];
        CHECK_OK(ts_buffer_read(queue, out, 0, got, bytes, &err));
        for (int y = 0; y < h; y++)
            for (int x = 0; x < w; x++) {
                const uint8_t *p = &rgba[4 * (y * w + x)];
                int low = p[0] < p[1] ? p[0] : p[1], rg = p[0] > p[1] ? p[0] : p[1],
                    gb = p[1] > p[2] ? p[1] : p[2];
                bool want[3] = {(low < p[2] ? low : p[2]) >= 100, p[0] - gb >= 60, p[2] - rg >= 50};
                for (int m = 0; m < 3; m++)
                    if (((got[(m * h + y) * words + x / 32] >> x % 32) & 1) != want[m])
                        fail_msg("mask %d at %d,%d", m, x, y);
            }
        ts_buffer_unref(in), ts_buffer_unref(out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(planes_become_rgba),
        cmocka_unit_test(semi_planar_and_deep_planes_become_the_same_rgba),
        cmocka_unit_test(rgba_becomes_planes),
        cmocka_unit_test(resampling_equals_the_golden_pictures),
        cmocka_unit_test(golden_colours_convert),
        cmocka_unit_test(drawing_touches_only_its_strokes),
        cmocka_unit_test(colour_masks_equal_the_rule),
    };
    return cmocka_run_group_tests(tests, open_device, close_device);
}
