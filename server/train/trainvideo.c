#include "server/train/trainvideo.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cl/base/chan.h"
#include "cl/base/thread.h"
#include "server/media/movie.h"
#include "server/media/remux.h"

enum {
    QUEUE = 8
};

typedef struct video_options {
    char codec[16], container[16], preset[32];
    int64_t crf, bitrate, fps;
    double hold_last;
} video_options;

struct ts_trainvideo {
    video_options o;
    char path[4096];
    ts_chan *queue;
    ts_thread *thread;
    ts_movie *movie;
    ts_pixels *last;
    pthread_mutex_t error_lock; /* guards: error */
    ts_error error;
    atomic_int failed, finished;
    atomic_llong frames, encoded;
};

static ts_status read_words(const json_t *v, video_options *o, ts_error *err)
{
    static const char *const codecs[] = {"h264",  "h265",  "vp9",  "av1",
                                         "mpeg4", "mjpeg", "webp", NULL};
    static const char *const containers[] = {"mp4", "mkv", "webm", NULL};
    int codec = 0, container = 0;
    const char *preset = "veryfast";
    ts_status st = ts_json_get_enum(v, "video", "codec", codecs, &codec, err);
    if (st == TS_OK)
        st = ts_json_get_enum(v, "video", "container", containers, &container, err);
    if (st == TS_OK)
        st = ts_json_get_string(v, "video", "preset", &preset, err);
    if (st != TS_OK)
        return st;
    if (strlen(preset) >= sizeof o->preset)
        return ts_fail(err, TS_E_OPTION, "video.preset: \"%.40s\" is no preset", preset);
    snprintf(o->codec, sizeof o->codec, "%s", codec == 1 ? "hevc" : codecs[codec]);
    snprintf(o->container, sizeof o->container, "%s", containers[container]);
    snprintf(o->preset, sizeof o->preset, "%s", preset);
    if (strcmp(o->codec, "h264") != 0 && strcmp(o->codec, "hevc") != 0 &&
        strcmp(o->codec, "vp9") != 0 && strcmp(o->codec, "mjpeg") != 0)
        return ts_fail(err, TS_E_NO_ENCODER,
                       "video.codec: %s is not built in; there are h264, h265, vp9, mjpeg",
                       o->codec);
    return TS_OK;
}

static ts_status read_options(const json_t *v, video_options *o, ts_error *err)
{
    static const char *const keys[] = {
        "codec", "container", "crf",     "bitrate", "preset",     "fps",   "hold_last", "panels",
        "grid",  "gap",       "overlay", "scale",   "background", "speed", "quality",   NULL};
    *o = (video_options){.crf = 18, .fps = 30};
    double speed = 1;
    ts_status st = v ? ts_json_only(v, "video", keys, err) : TS_OK;
    if (st == TS_OK)
        st = read_words(v, o, err);
    if (st == TS_OK)
        st = ts_json_get_int(v, "video", "crf", 0, 63, &o->crf, err);
    if (st == TS_OK)
        st = ts_json_get_int(v, "video", "bitrate", 1000, 1000000000, &o->bitrate, err);
    if (st == TS_OK)
        st = ts_json_get_int(v, "video", "fps", 1, 120, &o->fps, err);
    if (st == TS_OK)
        st = ts_json_get_double(v, "video", "hold_last", 0, 60, &o->hold_last, err);
    if (st == TS_OK)
        st = ts_json_get_double(v, "video", "speed", 0.1, 10, &speed, err);
    if (st == TS_OK) {
        double fps = (double)o->fps * speed;
        o->fps = fps < 1 ? 1 : fps > 120 ? 120 : (int64_t)(fps + 0.5);
    }
    return st;
}

ts_status ts_trainvideo_check(const json_t *options, ts_error *err)
{
    video_options o;
    return read_options(options, &o, err);
}

static void drop_picture(void *picture)
{
    ts_pixels_unref(picture);
}

static ts_status encode(ts_trainvideo *v, ts_pixels *picture, ts_error *err)
{
    if (!v->movie) {
        ts_venc_options venc = {.codec = v->o.codec,
                                .width = picture->width,
                                .height = picture->height,
                                .fps_num = (int)v->o.fps,
                                .fps_den = 1,
                                .bitrate = v->o.bitrate,
                                .crf = (int)v->o.crf,
                                .preset = v->o.preset};
        const char *container = strcmp(v->o.container, "mkv") == 0 ? "matroska" : v->o.container;
        ts_status st = ts_movie_open(v->path, container, &venc, &v->movie, err);
        if (st != TS_OK)
            return st;
    }
    ts_status st = ts_movie_add(v->movie, picture, v->encoded, err);
    if (st == TS_OK)
        v->encoded++;
    ts_pixels_ref(picture);
    ts_pixels_unref(v->last);
    v->last = picture;
    return st;
}

static void encoder_main(void *arg)
{
    ts_trainvideo *v = arg;
    ts_pixels *picture;
    while ((picture = ts_chan_recv(v->queue))) {
        ts_error err = {0};
        if (!v->failed && encode(v, picture, &err) != TS_OK) {
            pthread_mutex_lock(&v->error_lock);
            v->error = err;
            pthread_mutex_unlock(&v->error_lock);
            v->failed = 1;
        }
        ts_pixels_unref(picture);
    }
}

ts_status ts_trainvideo_create(const char *path, const json_t *options, ts_trainvideo **out,
                               ts_error *err)
{
    ts_trainvideo *v = calloc(1, sizeof *v);
    if (!v)
        return ts_fail(err, TS_E_NO_MEMORY, "a recording");
    pthread_mutex_init(&v->error_lock, NULL);
    ts_status st = read_options(options, &v->o, err);
    if (st == TS_OK &&
        snprintf(v->path, sizeof v->path, "%s.%s", path, v->o.container) >= (int)sizeof v->path)
        st = ts_fail(err, TS_E_OPTION, "the path %s is too long", path);
    if (st == TS_OK)
        st = ts_chan_create(QUEUE, TS_CHAN_BLOCK, drop_picture, &v->queue, err);
    if (st == TS_OK)
        st = ts_thread_start("ts-trainvid", encoder_main, v, &v->thread, err);
    if (st != TS_OK) {
        ts_trainvideo_destroy(v);
        return st;
    }
    *out = v;
    return TS_OK;
}

static ts_status first_error(ts_trainvideo *v, ts_error *err)
{
    pthread_mutex_lock(&v->error_lock);
    ts_status st = ts_fail(err, v->error.status, "the recording: %s", v->error.text);
    pthread_mutex_unlock(&v->error_lock);
    return st;
}

ts_status ts_trainvideo_add(ts_trainvideo *v, ts_pixels *picture, ts_error *err)
{
    if (v->failed)
        return first_error(v, err);
    ts_pixels_ref(picture);
    if (!ts_chan_send(v->queue, picture)) {
        ts_pixels_unref(picture);
        return ts_fail(err, TS_E_INTERNAL, "the recording has ended");
    }
    v->frames++;
    return TS_OK;
}

ts_status ts_trainvideo_finish(ts_trainvideo *v, ts_error *err)
{
    if (v->finished)
        return TS_OK;
    ts_chan_close(v->queue);
    ts_thread_join(v->thread);
    v->thread = NULL;
    v->finished = 1;
    if (v->failed)
        return first_error(v, err);
    ts_status st = TS_OK;
    for (int64_t i = 0; st == TS_OK && v->last && i < (int64_t)(v->o.hold_last * (double)v->o.fps);
         ++i)
        st = encode(v, v->last, err);
    if (st == TS_OK && v->movie)
        st = ts_movie_finish(v->movie, err);
    bool any = v->movie != NULL;
    ts_movie_destroy(v->movie);
    v->movie = NULL;
    if (st == TS_OK && any)
        st = ts_remux(v->path, v->path,
                      strcmp(v->o.container, "mkv") == 0 ? "matroska" : v->o.container, err);
    if (st != TS_OK)
        v->failed = 1;
    return st;
}

void ts_trainvideo_destroy(ts_trainvideo *v)
{
    if (!v)
        return;
    if (v->queue)
        ts_chan_close(v->queue);
    ts_thread_join(v->thread);
    ts_movie_destroy(v->movie);
    ts_chan_destroy(v->queue);
    ts_pixels_unref(v->last);
    pthread_mutex_destroy(&v->error_lock);
    ts_error_clear(&v->error);
    free(v);
}

json_t *ts_trainvideo_json(ts_trainvideo *v)
{
    struct stat info;
    json_int_t bytes = stat(v->path, &info) == 0 ? (json_int_t)info.st_size : 0;
    return json_pack("{s:I, s:I, s:I, s:s}", "frames", (json_int_t)v->frames, "encoded",
                     (json_int_t)v->encoded, "bytes", bytes, "state",
                     v->failed     ? "failed"
                     : v->finished ? "done"
                                   : "recording");
}

const char *ts_trainvideo_path(const ts_trainvideo *v)
{
    return v->path;
}
