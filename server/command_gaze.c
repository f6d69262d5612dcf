/* tensorscope gaze CLIP: per-frame JSON lines, masks and a video, without a server. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/fs.h"
#include "server/codec.h"
#include "server/commands.h"
#include "server/framereader.h"
#include "server/gaze.h"
#include "server/gaze_model.h"
#include "server/media/movie.h"

enum {
    EXIT_DEVICE = 3,
    EXIT_INPUT = 5,
    EXIT_OUTPUT = 6,
    EXIT_MODEL = 7
};

static const char help[] =
    "usage: tensorscope gaze CLIP [--model DIR] [--out DIR] [--device DEVICE] [options]\n"
    "\n"
    "CLIP is a video (MP4, WebM, Matroska), an animated WebP or GIF, or a folder of PNG files.\n"
    "Prints one JSON object per frame; writes masks/NNNNNN.png and gaze.mp4 into --out (default:\n"
    "the current folder). Without --model the mask source is patch-diff.\n"
    "\n"
    "  --model DIR             an AutoGaze model directory\n"
    "  --out DIR               where files go (.)\n"
    "  --device DEVICE         auto, an index of `tensorscope devices`, or part of a name\n"
    "  --fps N                 of gaze.mp4 where the clip says none (30)\n"
    "  --no-masks, --no-video  leave these files out\n"
    "  --details               more keys per frame\n"
    "  --totals                one more line at the end: {\"totals\":{…}}\n"
    "  --json                  accepted; the output is JSON in any case\n"
    "and the API's keys as flags, e.g. --threshold 0.3 --keyframe-interval 12 --geometry native\n"
    "  --visualization side-by-side --blend-alpha 0.5 --max-gaze-tokens-each-frame 20\n";

typedef struct arguments {
    const char *clip, *out, *device;
    double fps;
    bool no_masks, no_video, details, totals, json;
    json_t *options;
} arguments;

typedef struct job {
    arguments args;
    ts_device *device;
    ts_queue *queue;
    ts_frame_reader *reader;
    ts_frame_info info;
    ts_gaze_session *session;
    ts_buffer *frame, *mask;
    ts_encoder *encoder;
    ts_buf file, path;
    ts_movie *movie;
    ts_gaze_totals totals;
    int exit_status; /* what an error of the current stage means */
} job;

/* ---- arguments ---- */

/* "--keyframe-interval" → "keyframe_interval", if sessions take that key. */
static const char *key_of(const char *flag)
{
    static char key[64];
    size_t n = strlen(flag);
    if (n < 3 || n >= sizeof key || strncmp(flag, "--", 2) != 0)
        return NULL;
    for (size_t i = 2; i <= n; i++)
        key[i - 2] = flag[i] == '-' ? '_' : flag[i];
    for (const char *const *k = ts_gaze_keys; *k; k++)
        if (!strcmp(*k, key) && strcmp(key, "model") != 0 && strcmp(key, "model_dir") != 0)
            return *k;
    return NULL;
}

/* Numbers, true, false and null as such, anything else as text. */
static json_t *value_of(const char *text)
{
    json_t *v = json_loads(text, JSON_DECODE_ANY, NULL);
    if (v && (json_is_number(v) || json_is_boolean(v) || json_is_null(v)))
        return v;
    json_decref(v);
    return json_string(text);
}

static bool set_value(arguments *a, const char *flag, const char *value)
{
    const char *key = key_of(flag);
    char *end;
    if (!strcmp(flag, "--out"))
        a->out = value;
    else if (!strcmp(flag, "--device"))
        a->device = value;
    else if (!strcmp(flag, "--model")) {
        json_object_set_new(a->options, "model_dir", json_string(value));
        if (!json_object_get(a->options, "mask_source"))
            json_object_set_new(a->options, "mask_source", json_string("autogaze"));
    } else if (!strcmp(flag, "--fps")) {
        a->fps = strtod(value, &end);
        return end != value && !*end && a->fps > 0 && a->fps <= 1000;
    } else if (key)
        json_object_set_new(a->options, key, value_of(value));
    else
        return false;
    return true;
}

static bool set_switch(arguments *a, const char *flag)
{
    const struct {
        const char *flag;
        bool *to;
    } switches[] = {{"--no-masks", &a->no_masks},
                    {"--no-video", &a->no_video},
                    {"--details", &a->details},
                    {"--totals", &a->totals},
                    {"--json", &a->json}};
    for (size_t i = 0; i < sizeof switches / sizeof *switches; i++)
        if (!strcmp(flag, switches[i].flag)) {
            *switches[i].to = true;
            return true;
        }
    return false;
}

/* 0: go on; 1: help was printed; 2: wrong. */
static int parse(int argc, char **argv, arguments *a)
{
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];
        if (!strcmp(arg, "--help") || !strcmp(arg, "-h")) {
            fputs(help, stdout);
            return 1;
        }
        if (strncmp(arg, "--", 2) != 0 && !a->clip) {
            a->clip = arg;
        } else if (set_switch(a, arg)) {
            continue;
        } else if (i + 1 < argc && set_value(a, arg, argv[i + 1])) {
            i++;
        } else {
            fprintf(stderr, "tensorscope gaze: %s is wrong; see tensorscope gaze --help\n", arg);
            return 2;
        }
    }
    if (!a->clip) {
        fputs("tensorscope gaze: which clip? see tensorscope gaze --help\n", stderr);
        return 2;
    }
    return 0;
}

/* ---- files ---- */

static ts_status write_file(const char *path, const ts_buf *data, ts_error *err)
{
    FILE *f = fopen(path, "wb");
    bool ok = f && fwrite(data->data, 1, data->len, f) == data->len;
    int code = errno;
    if (f && fclose(f) != 0)
        ok = false;
    return ok ? TS_OK : ts_fail_errno(err, code, "write %s", path);
}

static ts_status write_mask(job *j, const ts_gaze_image *frame, const ts_gaze_step *step,
                            ts_error *err)
{
    ts_encode_options opt = {.codec = TS_CODEC_PNG};
    ts_pixels px = {.format = TS_PIXELS_INDEXED,
                    .width = frame->width,
                    .height = frame->height,
                    .stride = {(size_t)frame->width},
                    .n_colors = 256};
    void *mapped = NULL;
    for (int i = 0; i < 256; i++)
        memset(px.palette[i], i, 3);
    size_t bytes = (size_t)frame->width * (size_t)frame->height;
    ts_status st = TS_OK;
    if (!j->mask) /* frames of a clip are of one size */
        st = ts_buffer_create(j->device, bytes, &j->mask, err);
    if (st == TS_OK)
        st = ts_gaze_mask(ts_gaze_session_core(j->session), j->queue, j->mask, 0, err);
    if (st == TS_OK)
        st = ts_buffer_map(j->queue, j->mask, 0, px.stride[0] * (size_t)px.height, TS_MAP_READ,
                           &mapped, err);
    if (st != TS_OK)
        return st;
    px.plane[0] = mapped;
    ts_buf_reset(&j->file);
    st = ts_frame_encode(&px, &opt, j->encoder, &j->file, err);
    ts_buffer_unmap(j->queue, j->mask, mapped);
    ts_buf_reset(&j->path);
    ts_buf_printf(&j->path, "%s/masks/%06lld.png", j->args.out, (long long)step->frame);
    j->exit_status = EXIT_OUTPUT;
    return st == TS_OK ? write_file(ts_buf_cstr(&j->path), &j->file, err) : st;
}

static ts_status open_movie(job *j, const ts_gaze_image *picture, ts_error *err)
{
    double fps = j->info.fps > 0 ? j->info.fps : j->args.fps;
    ts_venc_options opt = {.codec = "h264",
                           .width = picture->width,
                           .height = picture->height,
                           .fps_num = (int)lround(fps * 1000),
                           .fps_den = 1000};
    ts_buf_reset(&j->path);
    ts_buf_printf(&j->path, "%s/gaze.mp4", j->args.out);
    return ts_movie_open(ts_buf_cstr(&j->path), "mp4", &opt, &j->movie, err);
}

static ts_status write_picture(job *j, const ts_gaze_image *frame, const ts_gaze_step *step,
                               ts_error *err)
{
    ts_gaze_image picture;
    void *mapped = NULL;
    ts_status st = ts_gaze_session_picture(j->session, j->queue, frame, &picture, err);
    if (st != TS_OK)
        return st;
    size_t row = 4 * (size_t)picture.width;
    j->exit_status = EXIT_OUTPUT;
    if (!j->movie)
        st = open_movie(j, &picture, err);
    if (st == TS_OK)
        st = ts_buffer_map(j->queue, picture.buffer, picture.offset, row * (size_t)picture.height,
                           TS_MAP_READ, &mapped, err);
    if (st != TS_OK)
        return st;
    ts_pixels px = {.format = TS_PIXELS_RGBA8,
                    .width = picture.width,
                    .height = picture.height,
                    .plane = {mapped},
                    .stride = {row}};
    st = ts_movie_add(j->movie, &px, step->frame, err);
    ts_buffer_unmap(j->queue, picture.buffer, mapped);
    return st;
}

/* ---- the run ---- */

static void print_line(json_t *object)
{
    json_dumpf(object, stdout, JSON_COMPACT);
    fputc('\n', stdout);
    json_decref(object);
}

static ts_status one_frame(job *j, const uint8_t *rgba, ts_error *err)
{
    ts_gaze_image image = {j->frame, 0, j->info.width, j->info.height};
    ts_gaze_step step;
    j->exit_status = 1;
    ts_status st = ts_buffer_write(j->queue, j->frame, 0, rgba,
                                   4 * (size_t)image.width * (size_t)image.height, err);
    if (st == TS_OK)
        st = ts_gaze_session_step(j->session, j->queue, &image, &step, err);
    if (st != TS_OK)
        return st;
    json_t *line = ts_gaze_step_json(j->session, &step);
    if (j->args.details)
        ts_gaze_step_details(j->session, &step, &image, line);
    print_line(line);
    ts_gaze_totals_add(&j->totals, &step);
    if (!j->args.no_masks)
        st = write_mask(j, &image, &step, err);
    if (st == TS_OK && !j->args.no_video)
        st = write_picture(j, &image, &step, err);
    return st;
}

static ts_status open_device(job *j, ts_error *err)
{
    size_t index;
    ts_device_options options = {0};
    j->exit_status = EXIT_DEVICE;
    ts_status st = ts_device_select(j->args.device, &index, err);
    if (st == TS_OK)
        st = ts_device_open(index, &options, &j->device, err);
    if (st == TS_OK)
        st = ts_queue_create(j->device, "gaze", &j->queue, err);
    return st;
}

static ts_status open_all(job *j, ts_error *err)
{
    j->exit_status = EXIT_INPUT;
    ts_status st = ts_frame_reader_open(j->args.clip, &j->reader, &j->info, err);
    if (st == TS_OK)
        st = open_device(j, err);
    if (st != TS_OK)
        return st;
    size_t n = (size_t)j->info.width * (size_t)j->info.height;
    j->exit_status = json_object_get(j->args.options, "model_dir") ? EXIT_MODEL : 2;
    ts_gaze_set_autogaze(ts_gaze_model_open, NULL);
    st = ts_gaze_session_create(j->device, j->queue, j->args.options, &j->session, err);
    if (st != TS_OK)
        return st;
    j->exit_status = 1;
    if (st == TS_OK)
        st = ts_buffer_create(j->device, 4 * n, &j->frame, err);
    if (st == TS_OK)
        st = ts_encoder_create(&j->encoder, err);
    if (st != TS_OK)
        return st;
    j->exit_status = EXIT_OUTPUT;
    ts_buf_printf(&j->path, "%s%s", j->args.out, j->args.no_masks ? "" : "/masks");
    return ts_fs_mkdirs(ts_buf_cstr(&j->path), err);
}

static ts_status run(job *j, ts_error *err)
{
    ts_status st = open_all(j, err);
    while (st == TS_OK) {
        const uint8_t *rgba;
        j->exit_status = EXIT_INPUT;
        st = ts_frame_reader_next(j->reader, &rgba, err);
        if (st != TS_OK || !rgba)
            break;
        st = one_frame(j, rgba, err);
    }
    if (st == TS_OK && !j->totals.frames)
        st = ts_fail(err, TS_E_FILE, "%s has no frame", j->args.clip);
    if (st == TS_OK && j->movie) {
        j->exit_status = EXIT_OUTPUT;
        st = ts_movie_finish(j->movie, err);
    }
    if (st == TS_OK && j->args.totals)
        print_line(json_pack("{s:o}", "totals", ts_gaze_totals_json(&j->totals)));
    return st;
}

static void finish(job *j)
{
    ts_movie_destroy(j->movie);
    ts_encoder_destroy(j->encoder);
    ts_buf_finish(&j->file);
    ts_buf_finish(&j->path);
    ts_gaze_session_destroy(j->session);
    ts_buffer_unref(j->frame);
    ts_buffer_unref(j->mask);
    ts_queue_destroy(j->queue);
    ts_device_close(j->device);
    ts_frame_reader_close(j->reader);
    json_decref(j->args.options);
}

int ts_command_gaze(int argc, char **argv)
{
    job j = {.args = {.out = ".", .device = "auto", .fps = 30, .options = json_object()}};
    ts_error err = {0};
    int stop = parse(argc, argv, &j.args);
    if (stop) {
        json_decref(j.args.options);
        return stop == 2 ? 2 : 0;
    }
    ts_status st = run(&j, &err);
    int status = st == TS_OK ? 0 : j.exit_status;
    if (st != TS_OK)
        (void)ts_command_fail("gaze", &err);
    if (st == TS_E_DEVICE && status != EXIT_DEVICE)
        status = 4;
    ts_error_clear(&err);
    finish(&j);
    return status;
}
