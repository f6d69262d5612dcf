/* Decoding and the colour detector, against tests/golden/video-pipeline. */
#include <openssl/evp.h>

#include "cl/base/fs.h"
#include "cl/base/hash.h"
#include "cl/base/json.h"
#include "server/media/source.h"
#include "server/track/blobs.h"
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

#define GOLDEN TS_TEST_DIR "/golden/video-pipeline/"

static void picture_md5(const ts_picture *p, char hex[33])
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    uint8_t digest[16];
    EVP_DigestInit_ex(md, EVP_md5(), NULL);
    for (int i = 0; i < 3; i++) {
        int shift = i ? 1 : 0, w = (p->width + shift) >> shift, h = (p->height + shift) >> shift;
        for (int y = 0; y < h; y++)
            EVP_DigestUpdate(md, p->plane[i] + (size_t)y * p->stride[i], (size_t)w);
    }
    EVP_DigestFinal_ex(md, digest, NULL);
    EVP_MD_CTX_free(md);
    ts_hex(digest, 16, hex);
}

static size_t check_clip(const char *name)
{
    ts_error err = {0};
    char path[512], line[256];
    snprintf(path, sizeof path, GOLDEN "%s.framemd5", name);
    FILE *list = fopen(path, "r");
    assert_non_null(list);
    snprintf(path, sizeof path, GOLDEN "%s.mp4", name);
    ts_source *source;
    CHECK_OK(ts_source_open(&(ts_source_options){.url = path, .allow_file = true}, &source, &err));
    size_t frames = 0;
    int64_t before = INT64_MIN;
    while (fgets(line, sizeof line, list)) {
        char want[33], got[33];
        if (line[0] == '#' || sscanf(line, "%*d, %*d, %*d, %*d, %*d, %32s", want) != 1)
            continue;
        ts_picture picture;
        bool end;
        CHECK_OK(ts_source_read(source, &picture, &end, &err));
        assert_false(end);
        picture_md5(&picture, got);
        if (strcmp(got, want))
            fail_msg("%s frame %zu: %s, want %s", name, frames, got, want);
        assert_true(picture.pts_ns > before);
        before = picture.pts_ns;
        ts_picture_release(&picture);
        frames++;
    }
    ts_picture none;
    bool end;
    CHECK_OK(ts_source_read(source, &none, &end, &err));
    assert_true(end);
    CHECK_OK(ts_source_rewind(source, &err));
    CHECK_OK(ts_source_read(source, &none, &end, &err));
    assert_false(end);
    ts_picture_release(&none);
    ts_source_close(source);
    fclose(list);
    return frames;
}

static void every_decoded_frame_is_bit_exact(void **state)
{
    (void)state;
    assert_int_equal(check_clip("football_720p"), 200);
    assert_int_equal(check_clip("real_448"), 64);
}

static bool box_matches(const ts_detection *d, const json_t *want)
{
    double edges[4] = {d->cx - d->w / 2, d->cy - d->h / 2, d->cx + d->w / 2, d->cy + d->h / 2};
    for (size_t k = 0; k < 4; k++)
        if (fabs(edges[k] - json_number_value(json_array_get(want, k))) > 2)
            return false;
    return d->class_id == (int)json_integer_value(json_array_get(want, 5));
}

/* Decode → device → masks → boxes, against the recorded boxes of the first 40 frames. */
static void colour_detector_finds_the_recorded_boxes(void **state)
{
    (void)state;
    ts_error err = {0};
    ts_buf text = {0};
    json_t *doc;
    CHECK_OK(ts_fs_read(GOLDEN "color_detections.json", 1 << 20, &text, &err));
    CHECK_OK(ts_json_parse(text.data, text.len, &doc, &err));
    ts_source *source;
    CHECK_OK(
        ts_source_open(&(ts_source_options){.url = GOLDEN "football_720p.mp4", .allow_file = true},
                       &source, &err));
    ts_blobs *blobs;
    CHECK_OK(ts_blobs_create(&blobs, &err));
    enum {
        W = 1280,
        H = 720,
        WORDS = W / 32
    };
    ts_buffer *planes, *rgba, *masks;
    CHECK_OK(ts_buffer_create(device, W * H * 2, &planes, &err));
    CHECK_OK(ts_buffer_create(device, W * H * 4, &rgba, &err));
    CHECK_OK(ts_buffer_create(device, 3 * H * WORDS * 4, &masks, &err));
    static uint32_t host[3 * H * WORDS];
    size_t boxes = 0, found = 0, given = 0;
    for (size_t f = 0; f < 40; f++) {
        ts_picture p;
        bool end;
        CHECK_OK(ts_source_read(source, &p, &end, &err));
        ts_yuv yuv = p.layout;
        yuv.buffer = planes;
        size_t at = 0;
        for (int i = 0; i < 3; i++) {
            yuv.offset[i] = at;
            CHECK_OK(ts_buffer_write(queue, planes, at, p.plane[i], p.plane_bytes[i], &err));
            at += p.plane_bytes[i];
        }
        CHECK_OK(ts_op_yuv_to_rgba(queue, &yuv, rgba, &err));
        const ts_color_params *c = &TS_COLOR_DEFAULTS;
        CHECK_OK(ts_op_color_masks(queue, rgba, W, H, c->white, c->red, c->blue, masks, &err));
        CHECK_OK(ts_buffer_read(queue, masks, 0, host, sizeof host, &err));
        ts_detection d[128];
        size_t n, k;
        CHECK_OK(ts_color_detect(blobs, c, host, H, WORDS, d, 128, &n, &err));
        json_t *want = json_array_get(json_object_get(doc, "frames"), f), *row;
        json_array_foreach(want, k, row)
        {
            bool hit = false;
            for (size_t i = 0; i < n; i++)
                hit = hit || box_matches(&d[i], row);
            boxes++;
            found += hit;
        }
        given += n;
        ts_picture_release(&p);
    }
    if (found < 0.97 * boxes || given > 1.03 * boxes)
        fail_msg("%zu of %zu boxes, %zu given", found, boxes, given);
    ts_buffer_unref(planes), ts_buffer_unref(rgba), ts_buffer_unref(masks);
    ts_blobs_destroy(blobs);
    ts_source_close(source);
    ts_buf_finish(&text);
    json_decref(doc);
}

static void blobs_join_corners_and_keep_apart_what_does_not_touch(void **state)
{
    (void)state;
    ts_error err = {0};
    /* a U whose arms meet below, a diagonal pair, and a lone pixel at the right edge of a word */
    static const uint32_t mask[] = {0x80000005, 0x1, 0x00000105, 0, 0x00000207, 0, 0, 0};
    ts_blobs *blobs;
    const ts_blob *list;
    size_t n;
    CHECK_OK(ts_blobs_create(&blobs, &err));
    CHECK_OK(ts_blobs_find(blobs, mask, 4, 2, &list, &n, &err));
    assert_int_equal(n, 3);
    assert_int_equal(list[0].area, 7);
    assert_int_equal(list[0].x2, 3);
    assert_int_equal(list[0].y2, 3);
    assert_int_equal(list[1].area, 2);
    assert_int_equal(list[1].x1, 31);
    assert_int_equal(list[1].x2, 33);
    assert_int_equal(list[2].area, 2);
    assert_int_equal(list[2].x1, 8);
    assert_int_equal(list[2].x2, 10);
    ts_blobs_destroy(blobs);
    ts_blobs_destroy(NULL);
}

static bool cancel_at_once(void *arg)
{
    (void)arg;
    return true;
}

static void sources_that_cannot_be_opened_say_why(void **state)
{
    (void)state;
    ts_error err = {0};
    ts_source *source;
    ts_source_options o = {.url = "/no/such/file.mp4", .allow_file = true};
    CHECK_STATUS(TS_E_NOT_FOUND, ts_source_open(&o, &source, &err));
    o.allow_file = false;
    CHECK_STATUS(TS_E_FORBIDDEN, ts_source_open(&o, &source, &err));
    o.url = "file:///etc/passwd";
    CHECK_STATUS(TS_E_FORBIDDEN, ts_source_open(&o, &source, &err));
    o.url = GOLDEN "mot.json";
    o.allow_file = true;
    assert_int_not_equal(ts_source_open(&o, &source, &err), TS_OK);
    ts_error_clear(&err);
    o.url = "rtsp://user:secret@127.0.0.1:1/x";
    assert_int_not_equal(ts_source_open(&o, &source, &err), TS_OK);
    assert_null(strstr(err.text, "secret"));
    assert_non_null(strstr(err.text, "rtsp://***@127.0.0.1"));
    ts_error_clear(&err);
    o.url = GOLDEN "real_448.mp4";
    o.cancelled = cancel_at_once;
    assert_int_not_equal(ts_source_open(&o, &source, &err), TS_OK);
    ts_error_clear(&err);
    ts_source_close(NULL);
    ts_picture_release(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_decoded_frame_is_bit_exact),
        cmocka_unit_test(colour_detector_finds_the_recorded_boxes),
        cmocka_unit_test(blobs_join_corners_and_keep_apart_what_does_not_touch),
        cmocka_unit_test(sources_that_cannot_be_opened_say_why),
    };
    return cmocka_run_group_tests(tests, open_device, close_device);
}
