/* Movies are written by our muxer and read back by ffprobe and ffmpeg, a reader of its own. */
#include <sys/stat.h>
#include <unistd.h>

#include "server/media/movie.h"
#include "tests/support/check.h"

static char directory[] = "/tmp/ts-movie-XXXXXX";

static ts_pixels *picture(int w, int h, int n)
{
    ts_pixels *p = ts_pixels_create(TS_PIXELS_RGB8, w, h);
    assert_non_null(p);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            uint8_t *px = (uint8_t *)p->plane[0] + (size_t)y * p->stride[0] + 3 * (size_t)x;
            px[0] = (uint8_t)(x * 255 / w);
            px[1] = (uint8_t)(y * 255 / h);
            px[2] = (uint8_t)(n * 8);
        }
    return p;
}

static void write_movie(const char *path, const char *container, const ts_venc_options *options,
                        int frames, bool finish)
{
    ts_error err = {0};
    ts_movie *movie;
    CHECK_OK(ts_movie_open(path, container, options, &movie, &err));
    for (int i = 0; i < frames; i++) {
        ts_pixels *p = picture(options->width, options->height, i);
        CHECK_OK(ts_movie_add(movie, p, i, &err));
        ts_pixels_unref(p);
    }
    if (finish)
        CHECK_OK(ts_movie_finish(movie, &err));
    ts_movie_destroy(movie);
}

/* First line of a shell command's output. */
static void ask(char *out, size_t n, const char *format, const char *path)
{
    char command[512];
    snprintf(command, sizeof command, format, path);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    if (!fgets(out, (int)n, pipe))
        out[0] = 0;
    pclose(pipe);
    out[strcspn(out, "\n")] = 0;
}

static const char PROBE[] = "ffprobe -v error -count_frames -select_streams v -show_entries "
                            "stream=width,height,nb_read_frames,pix_fmt,color_space -of csv=p=0 %s";

static void mp4_has_every_frame_at_an_even_size(void **state)
{
    (void)state;
    char path[64], got[128];
    snprintf(path, sizeof path, "%s/odd.mp4", directory);
    ts_venc_options o = {.width = 65, .height = 47, .fps_num = 30, .fps_den = 1};
    write_movie(path, "mp4", &o, 31, true);
    ask(got, sizeof got, PROBE, path);
    assert_string_equal(got, "66,48,yuv420p,bt709,31");
    ask(got, sizeof got, "ffprobe -v error -show_entries format=duration -of csv=p=0 %s", path);
    ts_check_close(atof(got), 31.0 / 30, 0.04, 0, "duration", 0);
}

static void an_unfinished_mp4_still_plays(void **state)
{
    (void)state;
    char path[64], got[128];
    snprintf(path, sizeof path, "%s/killed.mp4", directory);
    ts_venc_options o = {.width = 64, .height = 48, .gop_s = 0.5, .zero_latency = true};
    write_movie(path, "mp4", &o, 90, false);
    ask(got, sizeof got, PROBE, path);
    int frames = 0;
    assert_int_equal(sscanf(got, "64,48,yuv420p,bt709,%d", &frames), 1);
    if (frames < 60)
        fail_msg("%d of 90 frames readable", frames);
}

static void webm_is_vp9(void **state)
{
    (void)state;
    char path[64], got[128];
    snprintf(path, sizeof path, "%s/a.webm", directory);
    ts_venc_options o = {.codec = "vp9", .width = 64, .height = 48};
    write_movie(path, "webm", &o, 12, true);
    ask(got, sizeof got,
        "ffprobe -v error -count_frames -show_entries "
        "stream=codec_name,nb_read_frames -of csv=p=0 %s",
        path);
    assert_string_equal(got, "vp9,12");
}

static void colours_survive(void **state)
{
    (void)state;
    char path[64], command[256];
    snprintf(path, sizeof path, "%s/colour.mp4", directory);
    ts_venc_options o = {.width = 64, .height = 64, .crf = 4};
    write_movie(path, "mp4", &o, 1, true);
    snprintf(command, sizeof command,
             "ffmpeg -v error -i %s -vf scale=in_color_matrix=bt709:out_range=full -f rawvideo "
             "-pix_fmt rgb24 -",
             path);
    FILE *pipe = popen(command, "r");
    static uint8_t got[64 * 64 * 3];
    assert_int_equal(fread(got, 1, sizeof got, pipe), sizeof got);
    pclose(pipe);
    ts_pixels *want = picture(64, 64, 0);
    double error = 0;
    for (size_t i = 0; i < sizeof got; i++)
        error += fabs((double)got[i] - want->plane[0][i]);
    ts_pixels_unref(want);
    if (error / sizeof got > 2.5)
        fail_msg("mean error %g of 255", error / sizeof got);
}

static void failures_are_named(void **state)
{
    (void)state;
    ts_error err = {0};
    ts_movie *movie = NULL;
    ts_venc_options o = {.codec = "h999", .width = 64, .height = 64};
    CHECK_STATUS(TS_E_NO_ENCODER, ts_movie_open("/tmp/x.mp4", "mp4", &o, &movie, &err));
    o.codec = NULL;
    CHECK_STATUS(TS_E_OPTION, ts_movie_open("/tmp/x.mp4", "no-such", &o, &movie, &err));
    assert_int_not_equal(ts_movie_open("/no/such/dir/x.mp4", "mp4", &o, &movie, &err), TS_OK);
    ts_error_clear(&err);
    if (access("/dev/full", W_OK) == 0) {
        ts_status st = ts_movie_open("/dev/full", "mp4", &o, &movie, &err);
        for (int i = 0; i < 60 && st == TS_OK; i++) {
            ts_pixels *p = picture(64, 64, i);
            st = ts_movie_add(movie, p, i, &err);
            ts_pixels_unref(p);
        }
        assert_int_equal(st, TS_E_DISK_FULL);
        ts_movie_destroy(movie);
        ts_error_clear(&err);
    }
    ts_movie_destroy(NULL);
    ts_venc_close(NULL);
    ts_vmux_destroy(NULL);
}

static int make_directory(void **state)
{
    (void)state;
    return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
    (void)state;
    char command[80];
    snprintf(command, sizeof command, "rm -r %s", directory);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mp4_has_every_frame_at_an_even_size),
        cmocka_unit_test(an_unfinished_mp4_still_plays),
        cmocka_unit_test(webm_is_vp9),
        cmocka_unit_test(colours_survive),
        cmocka_unit_test(failures_are_named),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
