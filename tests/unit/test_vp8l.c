#include <webp/decode.h>

#include "server/vp8l.h"
#include "tests/support/check.h"

static uint64_t rng_state = 0x9e3779b97f4a7c15u;

static uint32_t rng(void)
{
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;
    return (uint32_t)(rng_state >> 32);
}

static uint32_t below(uint32_t n)
{
    return rng() % n;
}

enum {
    KINDS = 7
};

/* Constant, two values, ramps, noise, runs, blocks, mostly equal with specks. */
static void fill(uint8_t *p, int w, int h, size_t stride, int colors, int kind)
{
    uint32_t c = (uint32_t)colors;
    uint8_t last = (uint8_t)below(c);
    int block = 1 + (int)below(20);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            uint8_t v = last;
            switch (kind) {
            case 0:
                break;
            case 1:
                v = (uint8_t)(below(2) * (c - 1));
                break;
            case 2:
                v = (uint8_t)((uint32_t)(x + 2 * y) % c);
                break;
            case 3:
                v = (uint8_t)below(c);
                break;
            case 4:
                v = below(30) ? last : (uint8_t)below(c);
                break;
            case 5:
                v = (uint8_t)((uint32_t)(x / block * 7 + y / block * 13) % c);
                break;
            default:
                v = below(50) ? (uint8_t)(c / 2) : (uint8_t)below(c);
            }
            p[(size_t)y * stride + (size_t)x] = last = v;
        }
}

static void check_decodes(const ts_buf *file, const uint8_t *plane, size_t stride, int w, int h,
                          const uint8_t (*palette)[3], const char *what)
{
    int dw, dh;
    uint8_t *rgb = WebPDecodeRGB(file->data, file->len, &dw, &dh);
    if (!rgb || dw != w || dh != h)
        fail_msg("%s: %dx%d does not decode", what, w, h);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            const uint8_t *want = palette[plane[(size_t)y * stride + (size_t)x]];
            const uint8_t *got = rgb + 3 * ((size_t)y * (size_t)w + (size_t)x);
            if (memcmp(want, got, 3) != 0)
                fail_msg("%s: %dx%d differs at %d,%d", what, w, h, x, y);
        }
    WebPFree(rgb);
}

static int random_colors(void)
{
    static const int special[] = {1, 2, 3, 15, 16, 17, 18, 255, 256};
    return below(3) ? 1 + (int)below(256) : special[below(9)];
}

static void ten_thousand_planes_decode_to_equal_pixels(void **state)
{
    (void)state;
    ts_error err = {0};
    ts_vp8l enc = {0};
    ts_buf out = {0};
    static uint8_t plane[320 * 320];
    for (int i = 0; i < 10000; i++) {
        /* Most are small, so that the run stays short; every side from 1 to 300 can occur. */
        int most = i % 10 ? 48 : 300;
        int w = 1 + (int)below((uint32_t)most), h = 1 + (int)below((uint32_t)most);
        size_t stride = (size_t)w + (below(2) ? below(20) : 0);
        int colors = random_colors(), kind = i % KINDS;
        uint8_t palette[256][3];
        for (int c = 0; c < 256; c++)
            for (int k = 0; k < 3; k++)
                palette[c][k] = (uint8_t)rng();
        fill(plane, w, h, stride, colors, kind);
        ts_vp8l_method method = (ts_vp8l_method)(i / KINDS % 6);
        char what[64];
        snprintf(what, sizeof what, "plane %d kind %d method %d colours %d", i, kind, (int)method,
                 colors);
        ts_buf_reset(&out);
        ts_buf_append(&out, "ahead", 5); /* what stands in front stays */
        CHECK_OK(ts_vp8l_encode(&enc, plane, stride, w, h, (const uint8_t(*)[3])palette, colors,
                                method, &out, &err));
        assert_memory_equal(out.data, "ahead", 5);
        ts_buf file = {.data = out.data + 5, .len = out.len - 5};
        assert_int_equal(file.len % 2, 0);
        check_decodes(&file, plane, stride, w, h, (const uint8_t(*)[3])palette, what);
    }
    ts_vp8l_finish(&enc);
    ts_buf_finish(&out);
}

static void large_and_thin_planes_decode(void **state)
{
    (void)state;
    static const int sizes[][2] = {{1921, 1081}, {16383, 1}, {1, 16383}, {513, 3}, {4097, 5}};
    ts_error err = {0};
    ts_vp8l enc = {0};
    ts_buf out = {0};
    uint8_t palette[256][3];
    for (int c = 0; c < 256; c++)
        memset(palette[c], c, 3);
    uint8_t *plane = malloc(1921 * 1081);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int kind = 0; kind < KINDS; kind++) {
            int w = sizes[i][0], h = sizes[i][1];
            fill(plane, w, h, (size_t)w, 256, kind);
            ts_buf_reset(&out);
            CHECK_OK(ts_vp8l_encode(&enc, plane, (size_t)w, w, h, (const uint8_t(*)[3])palette, 256,
                                    TS_VP8L_AUTO, &out, &err));
            check_decodes(&out, plane, (size_t)w, w, h, (const uint8_t(*)[3])palette, "large");
        }
    free(plane);
    ts_vp8l_finish(&enc);
    ts_buf_finish(&out);
}

/* Sizes of the format's reference writer, by its own choice of method: at most 2 % more. */
static void fixtures_are_as_small_as_the_reference(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        size_t reference;
    } cases[] = {
        {"blocks16", 852}, {"mask", 932}, {"noise", 70806}, {"smooth", 28880}, {"text", 22310}};
    ts_error err = {0};
    ts_vp8l enc = {0};
    ts_buf out = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/golden/indexed/%s_320x240.idx", TS_TEST_DIR, cases[i].file);
        FILE *f = fopen(path, "rb");
        assert_non_null(f);
        static uint8_t data[1 + 768 + 320 * 240];
        size_t n = fread(data, 1, sizeof data, f);
        fclose(f);
        int colors = data[0] + 1;
        assert_int_equal(n, 1 + 3 * (size_t)colors + 320 * 240);
        const uint8_t(*palette)[3] = (const uint8_t(*)[3])(data + 1);
        const uint8_t *plane = data + 1 + 3 * (size_t)colors;
        ts_buf_reset(&out);
        CHECK_OK(
            ts_vp8l_encode(&enc, plane, 320, 320, 240, palette, colors, TS_VP8L_AUTO, &out, &err));
        check_decodes(&out, plane, 320, 320, 240, palette, cases[i].file);
        if ((double)out.len > 1.02 * (double)cases[i].reference)
            fail_msg("%s: %zu bytes, the reference has %zu", cases[i].file, out.len,
                     cases[i].reference);
    }
    ts_vp8l_finish(&enc);
    ts_buf_finish(&out);
}

static void refuses_what_it_cannot_write(void **state)
{
    (void)state;
    ts_error err = {0};
    ts_vp8l enc = {0};
    ts_buf out = {0};
    static const uint8_t palette[256][3];
    uint8_t px[4] = {0, 1, 2, 3};
    CHECK_STATUS(TS_E_TOO_LARGE,
                 ts_vp8l_encode(&enc, px, 2, 16384, 1, palette, 4, TS_VP8L_AUTO, &out, &err));
    CHECK_STATUS(TS_E_TOO_LARGE,
                 ts_vp8l_encode(&enc, px, 2, 0, 1, palette, 4, TS_VP8L_AUTO, &out, &err));
    CHECK_STATUS(TS_E_OPTION,
                 ts_vp8l_encode(&enc, px, 2, 2, 2, palette, 0, TS_VP8L_AUTO, &out, &err));
    CHECK_STATUS(TS_E_OPTION,
                 ts_vp8l_encode(&enc, px, 2, 2, 2, palette, 257, TS_VP8L_AUTO, &out, &err));
    CHECK_STATUS(TS_E_INDEX,
                 ts_vp8l_encode(&enc, px, 2, 2, 2, palette, 3, TS_VP8L_AUTO, &out, &err));
    assert_int_equal(out.len, 0);
    ts_vp8l_finish(&enc);
    ts_buf_finish(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ten_thousand_planes_decode_to_equal_pixels),
        cmocka_unit_test(large_and_thin_planes_decode),
        cmocka_unit_test(fixtures_are_as_small_as_the_reference),
        cmocka_unit_test(refuses_what_it_cannot_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
