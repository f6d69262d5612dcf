#include <unistd.h>

#include "cl/base/fs.h"
#include "server/clips.h"
#include "server/codec.h"
#include "server/media/movie.h"
#include "tests/support/check.h"
#include "tests/support/opsfix.h"

static const uint64_t much = 1 << 30;

static void paint(uint8_t *p, int w, int h, int t)
{
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++, p += 4) {
            p[0] = (uint8_t)(x * 255 / w);
            p[1] = (uint8_t)(y * 255 / h);
            p[2] = (uint8_t)(t * 20);
            p[3] = 255;
        }
}

static void read_frame(ts_opsfix *f, const ts_clip *c, int64_t n, uint8_t *out)
{
    ts_error err = {0};
    ts_buffer *buffer;
    size_t offset;
    ts_clip_frame(c, n, &buffer, &offset);
    CHECK_OK(ts_buffer_read(f->queue, buffer, offset, out, 4 * (size_t)c->width * (size_t)c->height,
                            &err));
}

static void raw_frames_come_back_unchanged(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    enum {
        W = 512,
        H = 300,
        N = 30
    };
    size_t bytes = 4 * W * H; /* several pieces */
    uint8_t *data = malloc(bytes * N), *got = malloc(bytes);
    for (int t = 0; t < N; t++)
        paint(data + bytes * (size_t)t, W, H, t);
    ts_clip *c;
    CHECK_OK(ts_clip_from_raw(f->queue, data, bytes * N, W, H, N, 12.5, much, &c, &err));
    assert_int_equal(c->frames, N);
    assert_true(c->n_pieces > 1);
    for (int t = 0; t < N; t++) {
        read_frame(f, c, t, got);
        assert_memory_equal(got, data + bytes * (size_t)t, bytes);
    }
    ts_tensor *tensor;
    CHECK_OK(ts_clip_frame_tensor(c, N - 1, &tensor, &err));
    ts_clip_unref(c); /* the tensor keeps the memory */
    CHECK_OK(ts_tensor_read(f->queue, tensor, got, &err));
    assert_memory_equal(got, data + bytes * (N - 1), bytes);
    ts_tensor_unref(tensor);
    free(data);
    free(got);
}

static void wrong_raw_sizes_are_refused(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    ts_clip *c;
    uint8_t px[64] = {0};
    CHECK_STATUS(TS_E_SIZE, ts_clip_from_raw(f->queue, px, 63, 4, 4, 1, 30, much, &c, &err));
    CHECK_STATUS(TS_E_SIZE, ts_clip_from_raw(f->queue, px, 64, 4, 4, 2, 30, much, &c, &err));
    CHECK_STATUS(TS_E_TOO_LARGE, ts_clip_from_raw(f->queue, px, 64, 0, 4, 1, 30, much, &c, &err));
    CHECK_STATUS(TS_E_TOO_LARGE,
                 ts_clip_from_raw(f->queue, px, 64, 8193, 4, 1, 30, much, &c, &err));
    CHECK_STATUS(TS_E_TOO_LARGE, ts_clip_from_raw(f->queue, px, 64, 4, 4, 0, 30, much, &c, &err));
    CHECK_STATUS(TS_E_TOO_LARGE,
                 ts_clip_from_raw(f->queue, px, 64, 4, 4, INT64_MAX, 30, much, &c, &err));
    CHECK_STATUS(TS_E_OPTION, ts_clip_from_raw(f->queue, px, 64, 4, 4, 1, 0, much, &c, &err));
    CHECK_STATUS(TS_E_OPTION, ts_clip_from_raw(f->queue, px, 64, 4, 4, 1, 1e9, much, &c, &err));
    CHECK_STATUS(TS_E_OPTION, ts_clip_from_raw(f->queue, px, 64, 4, 4, 1, NAN, much, &c, &err));
    CHECK_STATUS(TS_E_TOO_LARGE, ts_clip_from_raw(f->queue, px, 64, 4, 4, 1, 30, 63, &c, &err));
}

static void make_movie(const char *container, const char *codec, int w, int h, int frames, int fps,
                       ts_buf *out)
{
    ts_error err = {0};
    char path[] = "/tmp/ts-clip-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    ts_movie *m;
    ts_venc_options opt = {
        .codec = codec, .width = w, .height = h, .fps_num = fps, .fps_den = 1, .crf = 10};
    CHECK_OK(ts_movie_open(path, container, &opt, &m, &err));
    ts_pixels *px = ts_pixels_create(TS_PIXELS_RGBA8, w, h);
    for (int t = 0; t < frames; t++) {
        paint((uint8_t *)(uintptr_t)px->plane[0], w, h, t);
        CHECK_OK(ts_movie_add(m, px, t, &err));
    }
    CHECK_OK(ts_movie_finish(m, &err));
    ts_movie_destroy(m);
    ts_pixels_unref(px);
    ts_buf_reset(out);
    CHECK_OK(ts_fs_read(path, 1 << 26, out, &err));
    unlink(path);
}

static void videos_decode_to_their_frames(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    static const char *const kinds[][2] = {{"mp4", "h264"}, {"webm", "vp9"}};
    enum {
        W = 160,
        H = 96,
        N = 12
    };
    static uint8_t want[4 * W * H], got[4 * W * H];
    for (int k = 0; k < 2; k++) {
        ts_buf file = {0};
        ts_clip *c;
        make_movie(kinds[k][0], kinds[k][1], W, H, N, 20, &file);
        CHECK_OK(ts_clip_from_file(f->queue, file.data, file.len, much, &c, &err));
        assert_int_equal(c->width, W);
        assert_int_equal(c->height, H);
        assert_int_equal(c->frames, N);
        ts_check_close(c->fps, 20, 0.01, 0, "fps", 0);
        for (int t = 0; t < N; t++) {
            paint(want, W, H, t);
            read_frame(f, c, t, got);
            double sum = 0;
            for (size_t i = 0; i < sizeof want; i++)
                sum += fabs((double)want[i] - got[i]);
            if (sum / sizeof want > 3) /* lossy; another frame or matrix is further off */
                fail_msg("%s frame %d: mean difference %g", kinds[k][0], t, sum / sizeof want);
        }
        ts_clip_unref(c);
        CHECK_STATUS(TS_E_TOO_LARGE,
                     ts_clip_from_file(f->queue, file.data, file.len, 4 * W * H * 5, &c, &err));
        ts_buf_finish(&file);
    }
}

static void damaged_or_foreign_files_are_refused(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    ts_buf file = {0};
    ts_clip *c;
    static const char *const foreign[] = {"",
                                          "hello",
                                          "#EXTM3U\nfile:///etc/passwd\n",
                                          "ffconcat version 1.0\nfile /etc/passwd\n",
                                          "GIF89a",
                                          "RIFF\4\0\0\0WEBP"};
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        CHECK_STATUS(TS_E_FILE,
                     ts_clip_from_file(f->queue, foreign[i], strlen(foreign[i]), much, &c, &err));
    make_movie("mp4", "h264", 64, 48, 40, 20, &file);
    int refused = 0;
    for (size_t cut = 1; cut < 20; cut++) {
        size_t len = file.len * cut / 20;
        uint8_t *part = malloc(len);
        memcpy(part, file.data, len);
        ts_status st = ts_clip_from_file(f->queue, part, len, much, &c, &err);
        /* A cut between two fragments is a shorter video; any other is damage. */
        if (st == TS_OK)
            ts_clip_unref(c);
        else
            assert_int_equal(st, TS_E_FILE);
        refused += st != TS_OK;
        ts_error_clear(&err);
        free(part);
    }
    assert_true(refused >= 12);
    for (int round = 0; round < 60; round++) { /* damage never crashes */
        uint8_t *part = malloc(file.len);
        memcpy(part, file.data, file.len);
        for (int k = 0; k < 8; k++)
            part[(size_t)(round * 7919 + k * 104729) % file.len] ^= (uint8_t)(1 << (k % 8));
        if (ts_clip_from_file(f->queue, part, file.len, 1 << 26, &c, &err) == TS_OK)
            ts_clip_unref(c);
        ts_error_clear(&err);
        free(part);
    }
    ts_buf_finish(&file);
}

static void animations_become_clips(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    static const char *const names[] = {"dispose1.gif", "anim.webp"};
    for (int i = 0; i < 2; i++) {
        char path[512];
        ts_buf file = {0};
        ts_clip *c;
        snprintf(path, sizeof path, "%s/golden/codec/%s", TS_TEST_DIR, names[i]);
        CHECK_OK(ts_fs_read(path, 1 << 20, &file, &err));
        CHECK_OK(ts_clip_from_file(f->queue, file.data, file.len, much, &c, &err));
        assert_int_equal(c->frames, 5);
        assert_int_equal(c->width, 37);
        assert_int_equal(c->height, 23);
        ts_check_close(c->fps, 5 / 0.3, 1e-9, 0, "fps", 0);
        ts_clip_unref(c);
        file.len -= 10;
        CHECK_STATUS(TS_E_FILE, ts_clip_from_file(f->queue, file.data, file.len, much, &c, &err));
        ts_buf_finish(&file);
    }
}

static void the_table_hands_out_references(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    ts_clips *t;
    ts_clip *c, *again, **list;
    size_t n;
    uint8_t px[16] = {0};
    CHECK_OK(ts_clips_create(&t, &err));
    for (int i = 0; i < 3; i++) {
        CHECK_OK(ts_clip_from_raw(f->queue, px, 16, 2, 2, 1, 30, much, &c, &err));
        CHECK_OK(ts_clips_add(t, c, &err));
    }
    CHECK_OK(ts_clips_find(t, "c2", &again, &err));
    CHECK_OK(ts_clips_remove(t, "c2", &err));
    CHECK_STATUS(TS_E_NOT_FOUND, ts_clips_remove(t, "c2", &err));
    CHECK_STATUS(TS_E_NOT_FOUND, ts_clips_find(t, "c2", &c, &err));
    read_frame(f, again, 0, px); /* still there for who holds it */
    ts_clip_unref(again);
    CHECK_OK(ts_clips_list(t, &list, &n, &err));
    assert_int_equal(n, 2);
    assert_string_equal(list[1]->id, "c3");
    for (size_t i = 0; i < n; i++)
        ts_clip_unref(list[i]);
    free(list);
    ts_clips_destroy(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(raw_frames_come_back_unchanged),
        cmocka_unit_test(wrong_raw_sizes_are_refused),
        cmocka_unit_test(videos_decode_to_their_frames),
        cmocka_unit_test(damaged_or_foreign_files_are_refused),
        cmocka_unit_test(animations_become_clips),
        cmocka_unit_test(the_table_hands_out_references),
    };
    return cmocka_run_group_tests(tests, ts_opsfix_setup, ts_opsfix_teardown);
}
