#include "server/codec.h"
#include "tests/support/check.h"

static uint32_t rng_state = 12345;

static uint32_t rng(void)
{
    rng_state = rng_state * 1664525u + 1013904223u;
    return rng_state >> 8;
}

static void read_golden(const char *name, ts_buf *out)
{
    char path[512];
    snprintf(path, sizeof path, "%s/golden/codec/%s", TS_TEST_DIR, name);
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("%s is missing", path);
    static uint8_t piece[4096];
    size_t n;
    ts_buf_reset(out);
    while ((n = fread(piece, 1, sizeof piece, f)) > 0)
        ts_buf_append(out, piece, n);
    fclose(f);
}

/* A smooth coloured picture. */
static void paint(uint8_t *p, int w, int h, int channels)
{
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++, p += channels) {
            p[0] = (uint8_t)(255 * x / w);
            p[1] = (uint8_t)(255 * y / h);
            p[2] = (uint8_t)(128 + 100 * sin(0.1 * (x + y)));
            if (channels == 4)
                p[3] = (uint8_t)(x * 7 + y);
        }
}

static ts_pixels packed(ts_pixel_format format, uint8_t *data, int w, int h, size_t px_bytes)
{
    return (ts_pixels){.format = format,
                       .width = w,
                       .height = h,
                       .plane = {data},
                       .stride = {px_bytes * (size_t)w}};
}

static double psnr(const uint8_t *a, const uint8_t *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    return sum == 0 ? INFINITY : 10 * log10(255.0 * 255.0 * (double)n / sum);
}

typedef struct fixture {
    ts_error err;
    ts_encoder *enc;
    ts_buf out, back;
} fixture;

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    *state = f;
    return ts_encoder_create(&f->enc, &f->err) == TS_OK ? 0 : -1;
}

static int teardown(void **state)
{
    fixture *f = *state;
    ts_encoder_destroy(f->enc);
    ts_buf_finish(&f->out);
    ts_buf_finish(&f->back);
    free(f);
    return 0;
}

static void encode(fixture *f, const ts_pixels *px, ts_codec codec, int quality)
{
    ts_error err = {0};
    ts_encode_options opt = {.codec = codec, .quality = quality};
    ts_buf_reset(&f->out);
    CHECK_OK(ts_frame_encode(px, &opt, f->enc, &f->out, &err));
}

static void decode(fixture *f, int channels, ts_image_info *info)
{
    ts_error err = {0};
    CHECK_OK(ts_image_decode(f->out.data, f->out.len, channels, info, &f->back, &err));
    assert_int_equal(f->back.len,
                     (size_t)info->width * (size_t)info->height * (size_t)info->channels);
}

static void lossless_codecs_give_the_same_bytes_back(void **state)
{
    fixture *f = *state;
    static const ts_codec codecs[] = {TS_CODEC_PNG, TS_CODEC_WEBP_LOSSLESS};
    static const int sizes[][2] = {{1, 1}, {2, 3}, {33, 17}, {64, 48}};
    uint8_t data[64 * 48 * 4];
    ts_image_info info;
    for (size_t c = 0; c < 2; c++)
        for (size_t s = 0; s < 4; s++)
            for (int channels = 3; channels <= 4; channels++) {
                int w = sizes[s][0], h = sizes[s][1];
                paint(data, w, h, channels);
                ts_pixels px = packed(channels == 3 ? TS_PIXELS_RGB8 : TS_PIXELS_RGBA8, data, w, h,
                                      (size_t)channels);
                encode(f, &px, codecs[c], 0);
                decode(f, channels, &info);
                assert_int_equal(info.width, w);
                assert_int_equal(info.height, h);
                assert_memory_equal(f->back.data, data, (size_t)(w * h * channels));
            }
}

static void indexed_pixels_keep_their_colours(void **state)
{
    fixture *f = *state;
    static const ts_codec codecs[] = {TS_CODEC_PNG, TS_CODEC_WEBP_LOSSLESS, TS_CODEC_RAW};
    uint8_t data[40 * 30], rgb[40 * 30 * 3];
    ts_pixels px = packed(TS_PIXELS_INDEXED, data, 40, 30, 1);
    ts_image_info info;
    px.n_colors = 7;
    for (int i = 0; i < 7 * 3; i++)
        px.palette[i / 3][i % 3] = (uint8_t)rng();
    for (int i = 0; i < 1200; i++) {
        data[i] = (uint8_t)(i / 17 % 7);
        memcpy(rgb + 3 * i, px.palette[data[i]], 3);
    }
    for (int c = 0; c < 3; c++) {
        encode(f, &px, codecs[c], 0);
        if (codecs[c] == TS_CODEC_RAW) {
            assert_int_equal(f->out.len, sizeof rgb);
            assert_memory_equal(f->out.data, rgb, sizeof rgb);
        } else {
            decode(f, 3, &info);
            assert_memory_equal(f->back.data, rgb, sizeof rgb);
        }
    }
}

static void a_grey_ramp_as_palette_makes_a_gray_png(void **state)
{
    fixture *f = *state;
    uint8_t data[12] = {0, 1, 2, 3, 100, 101, 127, 128, 200, 253, 254, 255};
    ts_pixels px = packed(TS_PIXELS_INDEXED, data, 4, 3, 1);
    ts_image_info info;
    px.n_colors = 256;
    for (int i = 0; i < 256; i++)
        memset(px.palette[i], i, 3);
    encode(f, &px, TS_CODEC_PNG, 0);
    decode(f, 0, &info);
    assert_int_equal(info.channels, 1);
    assert_memory_equal(f->back.data, data, sizeof data);
}

static void sixteen_bit_pixels_keep_sixteen_bits_in_png(void **state)
{
    fixture *f = *state;
    uint16_t data[8 * 4 * 4];
    for (int i = 0; i < 128; i++)
        data[i] = (uint16_t)(rng() & 0xffff);
    ts_pixels px = packed(TS_PIXELS_RGBA16, (uint8_t *)data, 8, 4, 8);
    ts_image_info info;
    encode(f, &px, TS_CODEC_PNG, 0);
    decode(f, 4, &info);
    assert_int_equal(info.bit_depth, 16);
    for (int i = 0; i < 128; i++) /* scaled to 8 bits: within one of the high byte */
        ts_check_close(f->back.data[i], data[i] / 257.0, 0.51, 0, "sample", (size_t)i);
    encode(f, &px, TS_CODEC_RAW, 0);
    for (int i = 0; i < 32; i++)
        for (int c = 0; c < 3; c++)
            assert_int_equal(f->out.data[3 * i + c], data[4 * i + c] >> 8);
}

static void float_pixels_are_clamped_and_rounded(void **state)
{
    fixture *f = *state;
    float data[8] = {-1, 0, 0.5f, 1, 2, NAN, 1.0f / 255, 1};
    static const uint8_t want[6] = {0, 0, 128, 255, 0, 1};
    ts_pixels px = packed(TS_PIXELS_RGBA32F, (uint8_t *)data, 2, 1, 16);
    encode(f, &px, TS_CODEC_RAW, 0);
    assert_memory_equal(f->out.data, want, 6);
}

/* RGB to I420, BT.601 limited range, plain. */
static void to_i420(const uint8_t *rgb, int w, int h, uint8_t *y, uint8_t *u, uint8_t *v)
{
    for (int i = 0; i < w * h; i++) {
        const uint8_t *p = rgb + 3 * i;
        y[i] = (uint8_t)lround(16 + 0.257 * p[0] + 0.504 * p[1] + 0.098 * p[2]);
    }
    for (int j = 0; j < (h + 1) / 2; j++)
        for (int i = 0; i < (w + 1) / 2; i++) {
            const uint8_t *p = rgb + 3 * (2 * j * w + 2 * i);
            u[j * ((w + 1) / 2) + i] =
                (uint8_t)lround(128 - 0.148 * p[0] - 0.291 * p[1] + 0.439 * p[2]);
            v[j * ((w + 1) / 2) + i] =
                (uint8_t)lround(128 + 0.439 * p[0] - 0.368 * p[1] - 0.071 * p[2]);
        }
}

static void planes_of_odd_sizes_look_like_their_picture(void **state)
{
    fixture *f = *state;
    static const ts_codec codecs[] = {TS_CODEC_WEBP, TS_CODEC_JPEG, TS_CODEC_PNG};
    static uint8_t rgb[131 * 77 * 3], y[131 * 77], u[66 * 39], v[66 * 39];
    ts_image_info info;
    paint(rgb, 131, 77, 3);
    to_i420(rgb, 131, 77, y, u, v);
    ts_pixels px = {.format = TS_PIXELS_I420,
                    .width = 131,
                    .height = 77,
                    .plane = {y, u, v},
                    .stride = {131, 66, 66}};
    for (int c = 0; c < 3; c++) {
        encode(f, &px, codecs[c], 90);
        decode(f, 3, &info);
        assert_int_equal(info.width, 131);
        assert_int_equal(info.height, 77);
        double db = psnr(f->back.data, rgb, sizeof rgb);
        if (db < 32) /* a wrong matrix or swapped planes give less than 25 */
            fail_msg("%s: %.1f dB", ts_codec_name(codecs[c]), db);
    }
}

static void higher_quality_is_closer_and_larger(void **state)
{
    fixture *f = *state;
    static const ts_codec codecs[] = {TS_CODEC_WEBP, TS_CODEC_JPEG};
    static uint8_t rgb[128 * 96 * 3];
    ts_image_info info;
    paint(rgb, 128, 96, 3);
    for (size_t i = 0; i < sizeof rgb; i++)
        rgb[i] = (uint8_t)(rgb[i] ^ (rng() & 15));
    ts_pixels px = packed(TS_PIXELS_RGB8, rgb, 128, 96, 3);
    for (int c = 0; c < 2; c++) {
        encode(f, &px, codecs[c], 20);
        size_t small = f->out.len;
        decode(f, 3, &info);
        double low = psnr(f->back.data, rgb, sizeof rgb);
        encode(f, &px, codecs[c], 95);
        decode(f, 3, &info);
        double high = psnr(f->back.data, rgb, sizeof rgb);
        assert_true(f->out.len > small);
        assert_true(high > low + 1);
    }
}

static void npy_is_a_header_and_rgb(void **state)
{
    fixture *f = *state;
    uint8_t rgb[5 * 3 * 3];
    paint(rgb, 5, 3, 3);
    ts_pixels px = packed(TS_PIXELS_RGB8, rgb, 5, 3, 3);
    encode(f, &px, TS_CODEC_NPY, 0);
    assert_memory_equal(f->out.data, "\x93NUMPY\x01\x00", 8);
    size_t head = 10 + (f->out.data[8] | (size_t)f->out.data[9] << 8);
    assert_int_equal(head % 64, 0);
    assert_non_null(strstr((char *)f->out.data + 10, "'shape': (3, 5, 3)"));
    assert_int_equal(f->out.len, head + sizeof rgb);
    assert_memory_equal(f->out.data + head, rgb, sizeof rgb);
}

static void what_stands_in_front_stays(void **state)
{
    fixture *f = *state;
    ts_error err = {0};
    uint8_t rgb[12] = {0};
    ts_pixels px = packed(TS_PIXELS_RGB8, rgb, 2, 2, 3);
    for (int c = TS_CODEC_WEBP; c <= TS_CODEC_NPY; c++) {
        ts_encode_options opt = {.codec = (ts_codec)c};
        ts_buf_reset(&f->out);
        ts_encode_headroom(&f->out, 16);
        ts_buf_append(&f->out, "head", 4);
        CHECK_OK(ts_frame_encode(&px, &opt, f->enc, &f->out, &err));
        assert_memory_equal(f->out.data, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0head", 20);
        size_t whole = f->out.len;
        px.width = 70000; /* refused: nothing is appended */
        CHECK_STATUS(TS_E_TOO_LARGE, ts_frame_encode(&px, &opt, f->enc, &f->out, &err));
        px.width = 2;
        opt.quality = 101;
        CHECK_STATUS(TS_E_OPTION, ts_frame_encode(&px, &opt, f->enc, &f->out, &err));
        assert_int_equal(f->out.len, whole);
    }
}

static const char *const files[] = {"gray.png",        "interlace.png",  "gray.jpg", "dispose1.gif",
                                    "progressive.jpg", "interlaced.gif", "anim.webp"};

static void channels_are_what_was_asked(void **state)
{
    fixture *f = *state;
    ts_error err = {0};
    ts_image_info info;
    static const int own[] = {1, 3, 1, 4, 3, 4, 4};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        read_golden(files[i], &f->out);
        CHECK_OK(ts_image_decode(f->out.data, f->out.len, 0, &info, &f->back, &err));
        if (info.channels != own[i])
            fail_msg("%s: %d channels", files[i], info.channels);
        static const int forced[] = {1, 3, 4};
        for (int k = 0; k < 3; k++) {
            decode(f, forced[k], &info);
            assert_int_equal(info.channels, forced[k]);
        }
    }
}

static void a_small_file_that_claims_a_huge_picture_is_refused(void **state)
{
    fixture *f = *state;
    ts_error err = {0};
    ts_image_info info;
    read_golden("huge.png", &f->out);
    assert_int_equal(f->out.len, 1024);
    CHECK_STATUS(TS_E_TOO_LARGE, ts_image_probe(f->out.data, f->out.len, &info, &err));
    CHECK_STATUS(TS_E_TOO_LARGE,
                 ts_image_decode(f->out.data, f->out.len, 0, &info, &f->back, &err));
    /* VP8L header of 16383 x 16383: under the side limit, over the pixel limit. */
    static const uint8_t lossless[] = {'R',  'I', 'F', 'F', 26, 0, 0, 0, 'W',  'E',  'B',  'P',
                                       'V',  'P', '8', 'L', 14, 0, 0, 0, 0x2f, 0xfe, 0xbf, 0xff,
                                       0x0f, 0,   0,   0,   0,  0, 0, 0, 0,    0};
    CHECK_STATUS(TS_E_TOO_LARGE, ts_image_probe(lossless, sizeof lossless, &info, &err));
}

static void truncated_or_longer_files_are_bad_files(void **state)
{
    fixture *f = *state;
    ts_error err = {0};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        read_golden(files[i], &f->out);
        bool animated = strstr(files[i], "anim") || strstr(files[i], "dispose");
        for (size_t len = 0; len < f->out.len; len++) {
            /* In a copy of exactly that size, so that a read past the end is seen. */
            uint8_t *cut = malloc(len ? len : 1);
            memcpy(cut, f->out.data, len);
            ts_status st = ts_image_decode(cut, len, 0, NULL, &f->back, &err);
            free(cut);
            if (st != TS_E_FILE && !(animated && st == TS_OK && len > 60) &&
                !(strstr(files[i], ".gif") && st == TS_OK && len + 2 >= f->out.len))
                fail_msg("%s cut to %zu: %s", files[i], len, ts_status_code(st));
            ts_error_clear(&err);
        }
        if (strstr(files[i], ".gif"))
            continue; /* the first frame is taken; animations are read to their end below */
        ts_buf_append(&f->out, "\0\0\0\0", 4);
        CHECK_STATUS(TS_E_FILE, ts_image_decode(f->out.data, f->out.len, 0, NULL, &f->back, &err));
    }
    CHECK_STATUS(TS_E_FILE, ts_image_decode("hello, world", 12, 0, NULL, &f->back, &err));
    CHECK_STATUS(TS_E_FILE, ts_image_decode("", 0, 0, NULL, &f->back, &err));
}

static void mutated_files_never_crash(void **state)
{
    fixture *f = *state;
    ts_error err = {0};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        for (int round = 0; round < 400; round++) {
            read_golden(files[i], &f->out);
            for (uint32_t k = 1 + rng() % 6; k > 0; k--)
                f->out.data[rng() % f->out.len] = (uint8_t)rng();
            ts_image_info info;
            ts_status st = ts_image_decode(f->out.data, f->out.len, (int)(rng() % 2) * 3, &info,
                                           &f->back, &err);
            assert_true(st == TS_OK || st == TS_E_FILE || st == TS_E_TOO_LARGE);
            ts_error_clear(&err);
            ts_animation *anim;
            if (ts_animation_open(f->out.data, f->out.len, &anim, &info, &err) == TS_OK) {
                const uint8_t *rgba = NULL;
                int64_t end_us;
                for (int n = 0; n < 50; n++)
                    if (ts_animation_next(anim, &rgba, &end_us, &err) != TS_OK || !rgba)
                        break;
                ts_animation_close(anim);
            }
            ts_error_clear(&err);
        }
}

/* Where alpha is 0 the colour is nobody's business. */
static void check_frame(const uint8_t *got, const uint8_t *want, size_t n_px, const char *name,
                        int frame)
{
    for (size_t i = 0; i < n_px; i++, got += 4, want += 4)
        if (got[3] != want[3] || (want[3] && memcmp(got, want, 3) != 0))
            fail_msg("%s frame %d pixel %zu: %d,%d,%d,%d, want %d,%d,%d,%d", name, frame, i, got[0],
                     got[1], got[2], got[3], want[0], want[1], want[2], want[3]);
}

static void animations_give_every_composed_frame(void **state)
{
    fixture *f = *state;
    ts_error err = {0};
    static const char *const names[] = {"dispose1", "dispose2", "interlaced", "anim"};
    for (int i = 0; i < 4; i++) {
        char file[64], want[64];
        snprintf(file, sizeof file, "%s.%s", names[i], i == 3 ? "webp" : "gif");
        snprintf(want, sizeof want, "%s.rgba", names[i]);
        read_golden(file, &f->out);
        read_golden(want, &f->back);
        ts_animation *anim;
        ts_image_info info;
        CHECK_OK(ts_animation_open(f->out.data, f->out.len, &anim, &info, &err));
        size_t bytes = 4 * (size_t)info.width * (size_t)info.height;
        int frames = (int)(f->back.len / bytes), ms = 0;
        for (int n = 0; n < frames; n++) {
            const uint8_t *rgba;
            int64_t end_us;
            CHECK_OK(ts_animation_next(anim, &rgba, &end_us, &err));
            assert_non_null(rgba);
            check_frame(rgba, f->back.data + bytes * (size_t)n, bytes / 4, file, n);
            ms += frames > 1 ? 40 + 10 * n : 100;
            assert_int_equal(end_us, ms * 1000);
        }
        const uint8_t *rgba;
        int64_t end_us;
        CHECK_OK(ts_animation_next(anim, &rgba, &end_us, &err));
        assert_null(rgba);
        ts_animation_close(anim);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(lossless_codecs_give_the_same_bytes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(indexed_pixels_keep_their_colours, setup, teardown),
        cmocka_unit_test_setup_teardown(a_grey_ramp_as_palette_makes_a_gray_png, setup, teardown),
        cmocka_unit_test_setup_teardown(sixteen_bit_pixels_keep_sixteen_bits_in_png, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(float_pixels_are_clamped_and_rounded, setup, teardown),
        cmocka_unit_test_setup_teardown(planes_of_odd_sizes_look_like_their_picture, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(higher_quality_is_closer_and_larger, setup, teardown),
        cmocka_unit_test_setup_teardown(npy_is_a_header_and_rgb, setup, teardown),
        cmocka_unit_test_setup_teardown(what_stands_in_front_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(channels_are_what_was_asked, setup, teardown),
        cmocka_unit_test_setup_teardown(a_small_file_that_claims_a_huge_picture_is_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(truncated_or_longer_files_are_bad_files, setup, teardown),
        cmocka_unit_test_setup_teardown(mutated_files_never_crash, setup, teardown),
        cmocka_unit_test_setup_teardown(animations_give_every_composed_frame, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
