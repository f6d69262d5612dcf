/* tensorscope pipeline run|replay, tensorscope video-info. */
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>

#include "cl/base/clock.h"
#include "cl/base/fs.h"
#include "cl/base/thread.h"
#include "server/commands.h"
#include "server/media/pilot.h"
#include "server/media/pipeline.h"
#include "server/media/script.h"
#include "server/media/venc.h"

static const char HELP[] =
    "usage: tensorscope pipeline run DOC.json [--device D] [--out DIR] [--json]\n"
    "       tensorscope pipeline replay FILE [--config DOC.json] [--size WxH] [--fps N]\n"
    "\n"
    "run     run one pipeline document without a server until its source ends or Ctrl-C;\n"
    "        relative output paths start at --out (default .); --json prints the final report\n"
    "replay  feed a script of detections {\"frames\":[[[x1,y1,x2,y2,score,class],...],...]} to "
    "the\n"
    "        tracker and camera of DOC and print one JSON line per frame; DOC's source is not "
    "opened\n"
    "\n"
    "  --device D     auto, an index of `tensorscope devices`, or part of a name\n"
    "  --size WxH     size of the frames (1920x1080)\n"
    "  --fps N        frames per second of the script (30)\n";

typedef struct arguments {
    const char *verb, *file, *config, *device, *out, *size, *fps;
    bool json;
} arguments;

/* 0: run, 1: help printed, 2: usage error. */
static int parse(int argc, char **argv, arguments *a)
{
    const struct {
        const char *flag;
        const char **value;
    } flags[] = {{"--config", &a->config},
                 {"--device", &a->device},
                 {"--out", &a->out},
                 {"--size", &a->size},
                 {"--fps", &a->fps}};
    for (int i = 1; i < argc; i++) {
        bool known = false;
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            fputs(HELP, stdout);
            return 1;
        }
        if (!strcmp(argv[i], "--json")) {
            a->json = true;
            continue;
        }
        for (size_t k = 0; k < sizeof flags / sizeof *flags && !known; k++) {
            size_t n = strlen(flags[k].flag);
            known = strncmp(argv[i], flags[k].flag, n) == 0 && (!argv[i][n] || argv[i][n] == '=');
            if (known && argv[i][n] == '=')
                *flags[k].value = argv[i] + n + 1;
            else if (known && i + 1 < argc)
                *flags[k].value = argv[++i];
            else if (known)
                known = false;
        }
        if (known)
            continue;
        if (argv[i][0] == '-' || (a->verb && a->file)) {
            fprintf(stderr, "tensorscope pipeline: unexpected argument '%s'\n%s", argv[i], HELP);
            return 2;
        }
        *(a->verb ? &a->file : &a->verb) = argv[i];
    }
    if (a->verb && a->file && (!strcmp(a->verb, "run") || !strcmp(a->verb, "replay")))
        return 0;
    fprintf(stderr, "tensorscope pipeline: run or replay, and a file\n%s", HELP);
    return 2;
}

static ts_status load_document(const char *path, json_t **out, ts_error *err)
{
    ts_buf text = {0};
    json_t *raw = NULL;
    ts_status st = ts_fs_read(path, 4 << 20, &text, err);
    if (st == TS_OK)
        st = ts_json_parse(text.data, text.len, &raw, err);
    if (st == TS_OK)
        st = ts_pipeline_doc_complete(raw, true, out, err);
    if (st != TS_OK)
        ts_error_prefix(err, "%s", path);
    json_decref(raw);
    ts_buf_finish(&text);
    return st;
}

/* ---- replay ---- */

static ts_status replay_document(const arguments *a, json_t **out, ts_error *err)
{
    if (a->config)
        return load_document(a->config, out, err);
    json_t *plain =
        json_pack("{s:{s:s}, s:{s:s}}", "source", "url", "unused.mp4", "detector", "kind", "none");
    ts_status st = ts_pipeline_doc_complete(plain, true, out, err);
    json_decref(plain);
    return st;
}

/*
 * Where the trackers' clock starts. Only differences count, but the recorded runs of the reference
 * profile began here, and a crop that truncates to whole pixels shows the last bit of a difference.
 */
static const double REPLAY_CLOCK_S = 1000;

static ts_status replay(const ts_script *script, json_t *document, int width, int height,
                        double fps, ts_error *err)
{
    static ts_detection detections[TS_DETECT_MAX];
    ts_pilot *pilot = NULL;
    ts_buf line = {0};
    ts_status st = ts_pilot_create(document, width, height, fps, &pilot, err);
    for (size_t f = 0; f < ts_script_frames(script) && st == TS_OK; f++) {
        ts_crop roi;
        bool has_roi = ts_pilot_roi(pilot, &roi);
        size_t n = ts_script_get(script, f, has_roi ? &roi : NULL, detections, TS_DETECT_MAX);
        double dt = fmin(fmax(1 / fps, 0.001), 0.1);
        ts_pilot_result result;
        st = ts_pilot_update(pilot, detections, n, true, REPLAY_CLOCK_S + (double)f / fps, dt,
                             &result, err);
        if (st != TS_OK)
            break;
        ts_buf_reset(&line);
        ts_pilot_row(&result, (int64_t)f, (double)f / fps, &line);
        if (puts(ts_buf_cstr(&line)) < 0)
            st = ts_fail(err, TS_E_DISK_FULL, "cannot write to standard output");
    }
    ts_buf_finish(&line);
    ts_pilot_destroy(pilot);
    return st;
}

static int replay_main(const arguments *a)
{
    ts_error err = {0};
    int width = 1920, height = 1080;
    double fps = a->fps ? atof(a->fps) : 30;
    bool sized = !a->size || (sscanf(a->size, "%dx%d", &width, &height) == 2 && width >= 16 &&
                              height >= 16 && width <= 8192 && height <= 8192);
    if (!sized || !(fps > 0 && fps <= 1000)) {
        fprintf(stderr, "tensorscope pipeline: %s\n",
                sized ? "--fps: a number up to 1000" : "--size: WxH, 16x16 to 8192x8192");
        return 2;
    }
    ts_script *script = NULL;
    json_t *document = NULL;
    ts_status st = ts_script_load(a->file, &script, &err);
    int input_failed = st != TS_OK;
    if (st == TS_OK)
        st = replay_document(a, &document, &err);
    if (st == TS_OK)
        st = replay(script, document, width, height, fps, &err);
    ts_script_free(script);
    json_decref(document);
    if (st == TS_OK)
        return 0;
    int status = ts_command_fail("pipeline replay", &err);
    return input_failed ? 5 : status;
}

/* ---- run ---- */

static void print_state(void *arg, ts_pipeline *pipeline, const char *from, const char *to,
                        const char *reason, const char *detail)
{
    (void)arg, (void)pipeline, (void)from;
    fprintf(stderr, "%s (%s) %s\n", to, reason, detail);
}

/* Waits for SIGINT or SIGTERM beside the pipeline; a second one ends the process. */
typedef struct stopper {
    ts_pipeline *pipeline;
    sigset_t signals;
} stopper;

static void *stop_on_signal(void *arg)
{
    stopper *s = arg;
    int number;
    sigwait(&s->signals, &number);
    if (number == SIGUSR1)
        return NULL;
    fprintf(stderr, "stopping; once more to give up\n");
    ts_pipeline_stop(s->pipeline);
    return NULL;
}

static ts_status run_document(const arguments *a, json_t *document, bool *failed, ts_error *err)
{
    size_t index;
    ts_device *device = NULL;
    ts_pipeline *pipeline = NULL;
    stopper stop = {0};
    /* Before the device opens: its driver's threads must not take them. */
    sigemptyset(&stop.signals);
    sigaddset(&stop.signals, SIGINT);
    sigaddset(&stop.signals, SIGTERM);
    sigaddset(&stop.signals, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &stop.signals, NULL);
    ts_status st = ts_device_select(a->device, &index, err);
    if (st == TS_OK)
        st = ts_device_open(index, &(ts_device_options){0}, &device, err);
    ts_pipeline_host host = {
        .device = device, .outputs_dir = a->out, .local_files = true, .event = print_state};
    if (st == TS_OK)
        st = ts_pipeline_create("run", document, &host, &pipeline, err);
    stop.pipeline = pipeline;
    pthread_t thread;
    bool watching = st == TS_OK && pthread_create(&thread, NULL, stop_on_signal, &stop) == 0;
    if (st == TS_OK)
        st = ts_pipeline_start(pipeline, err);
    if (st == TS_OK) {
        ts_pipeline_wait(pipeline);
        ts_error error = ts_pipeline_error(pipeline);
        *failed = error.status != TS_OK;
        if (*failed)
            st = ts_fail(err, error.status, "%s", error.text);
        if (a->json) {
            json_t *report = ts_pipeline_json(pipeline);
            json_dumpf(report, stdout, JSON_INDENT(2));
            putchar('\n');
            json_decref(report);
        }
    }
    if (watching) {
        pthread_kill(thread, SIGUSR1);
        pthread_join(thread, NULL);
    }
    ts_pipeline_destroy(pipeline);
    ts_device_close(device);
    return st;
}

static int run_main(const arguments *a)
{
    ts_error err = {0};
    json_t *document = NULL;
    bool failed = false;
    if (a->out && ts_fs_mkdirs(a->out, &err) != TS_OK)
        return ts_command_fail("pipeline run", &err);
    ts_status st = load_document(a->file, &document, &err);
    if (st != TS_OK) {
        ts_command_fail("pipeline run", &err);
        return 2;
    }
    st = run_document(a, document, &failed, &err);
    json_decref(document);
    if (st == TS_OK)
        return 0;
    ts_command_fail("pipeline run", &err);
    switch (st) {
    case TS_E_NO_ENCODER:
    case TS_E_DISK_FULL:
        return 6;
    case TS_E_DEVICE:
        return 4;
    case TS_E_FILE:
    case TS_E_ENCODING:
    case TS_E_SLOW:
        return 5;
    case TS_E_NOT_FOUND:
        return failed ? 5 : strstr(err.text, "model") ? 7 : 3;
    default:
        return 1;
    }
}

int ts_command_pipeline(int argc, char **argv)
{
    arguments a = {0};
    int rc = parse(argc, argv, &a);
    if (rc)
        return rc == 1 ? 0 : rc;
    return !strcmp(a.verb, "run") ? run_main(&a) : replay_main(&a);
}

/* ---- video-info ---- */

/* Encode two small frames; the reason why not otherwise. */
static void try_encoder(const char *codec, const char *name, json_t *list)
{
    ts_error err = {0};
    ts_venc *venc = NULL;
    ts_venc_options o = {.codec = codec, .encoder = name, .width = 256, .height = 144};
    ts_status st = ts_venc_open(&o, &venc, &err);
    ts_venc_close(venc);
    json_array_append_new(list, json_pack("{s:s, s:s, s:b, s:b, s:s}", "codec", codec, "name", name,
                                          "hardware", strstr(name, "nvenc") != NULL, "works",
                                          st == TS_OK, "reason", st == TS_OK ? "" : err.text));
    ts_error_clear(&err);
}

static json_t *decoders(void)
{
    static const char *const names[] = {"h264",  "hevc",  "vp8",        "vp9",       "av1",
                                        "mjpeg", "mpeg4", "h264_cuvid", "hevc_cuvid"};
    json_t *list = json_array();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        json_array_append_new(list, json_pack("{s:s, s:b, s:b}", "name", names[i], "hardware",
                                              strstr(names[i], "cuvid") != NULL, "present",
                                              avcodec_find_decoder_by_name(names[i]) != NULL));
    return list;
}

json_t *ts_video_info(void)
{
    json_t *encoders = json_array(), *protocols = json_array();
    const char *protocol;
    void *cursor = NULL;
    try_encoder("h264", "libx264", encoders);
    try_encoder("h264", "h264_nvenc", encoders);
    try_encoder("hevc", "libx265", encoders);
    try_encoder("hevc", "hevc_nvenc", encoders);
    try_encoder("vp9", "libvpx-vp9", encoders);
    try_encoder("mjpeg", "mjpeg", encoders);
    while ((protocol = avio_enum_protocols(&cursor, 0)) != NULL)
        json_array_append_new(protocols, json_string(protocol));
    return json_pack("{s:s, s:s, s:o, s:o, s:o}", "libavformat", AV_STRINGIFY(LIBAVFORMAT_VERSION),
                     "libavcodec", AV_STRINGIFY(LIBAVCODEC_VERSION), "protocols", protocols,
                     "decoders", decoders(), "encoders", encoders);
}

static void print_list(const json_t *list, const char *title, const char *flag)
{
    size_t i;
    json_t *row;
    printf("%s\n", title);
    json_array_foreach((json_t *)list, i, row)
    {
        const char *reason = json_string_value(json_object_get(row, "reason"));
        bool ok = json_is_true(json_object_get(row, flag));
        printf("  %-12s %s%s%s\n", json_string_value(json_object_get(row, "name")),
               ok ? "yes" : "no", reason && *reason ? ": " : "", reason ? reason : "");
    }
}

int ts_command_video_info(int argc, char **argv)
{
    bool as_json = false;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--json")) {
            as_json = true;
        } else {
            bool help = !strcmp(argv[i], "--help") || !strcmp(argv[i], "-h");
            fputs("usage: tensorscope video-info [--json]\n"
                  "what this machine can decode and encode; encoders are tried\n",
                  help ? stdout : stderr);
            return help ? 0 : 2;
        }
    }
    av_log_set_level(AV_LOG_QUIET);
    json_t *info = ts_video_info();
    bool h264 = avcodec_find_decoder_by_name("h264") != NULL, encodes = false;
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(info, "encoders"), i, row) encodes =
        encodes || json_is_true(json_object_get(row, "works"));
    if (as_json) {
        json_dumpf(info, stdout, JSON_INDENT(2));
        putchar('\n');
    } else {
        printf("libavformat %s, libavcodec %s\n",
               json_string_value(json_object_get(info, "libavformat")),
               json_string_value(json_object_get(info, "libavcodec")));
        print_list(json_object_get(info, "decoders"), "decoders", "present");
        print_list(json_object_get(info, "encoders"), "encoders", "works");
    }
    json_decref(info);
    return h264 && encodes ? 0 : 1;
}
