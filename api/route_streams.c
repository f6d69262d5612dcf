/* Streams: the table, single pictures, pushed frames, what a stream keeps and tells. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/routes.h"
#include "api/stream_query.h"
#include "api/stream_sinks.h"
#include "api/tensor_body.h"
#include "cl/base/name.h"
#include "cl/viz/view.h"
#include "server/codec.h"
#include "server/events.h"
#include "server/hub.h"
#include "server/live.h"

enum {
    GRAB_US = 10000000,
    PUSH_US = 5000000
};

static const char *const no_keys[] = {NULL};

static ts_status want_hub(const ts_app *app, ts_error *err)
{
    return app->hub ? TS_OK : ts_fail(err, TS_E_NOT_READY, "this server has no streams");
}

static ts_status find_stream(ts_app *app, const ts_request *req, ts_stream **out, ts_error *err)
{
    const char *name = ts_request_param(req, "s");
    ts_status st = want_hub(app, err);
    if (st == TS_OK)
        st = ts_name_check("stream", name, err);
    return st == TS_OK ? ts_hub_find(app->hub, name, out, err) : st;
}

/* ---- the table ---- */

ts_status api_streams_list(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    static const char *const keys[] = {"prefix", NULL};
    ts_status st = ts_request_query_only(req, keys, err);
    if (st == TS_OK)
        st = want_hub(app, err);
    if (st == TS_OK)
        ts_response_json(
            res, 200,
            json_pack("{s:o}", "streams", ts_hub_list(app->hub, ts_request_query(req, "prefix"))));
    return st;
}

static void set_etag(ts_response *res, const json_t *shown)
{
    char tag[48];
    snprintf(tag, sizeof tag, "\"%" JSON_INTEGER_FORMAT "\"",
             json_integer_value(json_object_get(shown, "version")));
    ts_response_header(res, "ETag", tag);
}

/* If-Match and If-None-Match of a change, against what the stream is now. */
static ts_status check_conditions(ts_app *app, const ts_request *req, ts_error *err)
{
    const char *match = ts_request_header(req, "if-match");
    const char *none = ts_request_header(req, "if-none-match");
    ts_stream *s = NULL;
    ts_status st = TS_OK;
    if (!match && !none)
        return TS_OK;
    bool exists = ts_hub_find(app->hub, ts_request_param(req, "s"), &s, NULL) == TS_OK;
    json_t *shown = exists ? ts_stream_json(s) : NULL;
    char tag[48];
    snprintf(tag, sizeof tag, "\"%" JSON_INTEGER_FORMAT "\"",
             json_integer_value(json_object_get(shown, "version")));
    if (match && (!exists || (strcmp(match, "*") && !strstr(match, tag))))
        st = ts_fail(err, TS_E_VERSION, "the stream is %s, not %.100s", exists ? tag : "absent",
                     match);
    if (st == TS_OK && none && exists && (!strcmp(none, "*") || strstr(none, tag)))
        st = ts_fail(err, TS_E_VERSION, "the stream exists already");
    json_decref(shown);
    ts_stream_unref(s);
    return st;
}

/* The output object that a stream has now; NULL where there is none. Owner: caller. */
static json_t *output_now(ts_app *app, const char *name)
{
    ts_stream *s = NULL;
    if (ts_hub_find(app->hub, name, &s, NULL) != TS_OK)
        return NULL;
    json_t *shown = ts_stream_json(s), *output = json_incref(json_object_get(shown, "output"));
    json_decref(shown);
    ts_stream_unref(s);
    return output;
}

/* A changed stream is on the disk, and its file sinks run. */
static ts_status settle(ts_app *app, const char *name, const json_t *before, const json_t *shown,
                        ts_error *err)
{
    ts_status st = ts_hub_save(app->hub, err);
    if (st == TS_OK)
        st = ts_stream_sinks_apply(app, name, before, json_object_get(shown, "output"), err);
    return st;
}

ts_status api_stream_put(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    json_t *document = NULL, *shown = NULL, *before = NULL;
    bool created = false;
    const char *name = ts_request_param(req, "s");
    ts_status st = ts_request_query_only(req, no_keys, err);
    if (st == TS_OK)
        st = want_hub(app, err);
    if (st == TS_OK)
        st = ts_name_check("stream", name, err);
    if (st == TS_OK)
        st = ts_request_json(req, &document, err);
    if (st == TS_OK)
        st = check_conditions(app, req, err);
    if (st == TS_OK) {
        before = output_now(app, name);
        st = ts_stream_sinks_check(app, before, json_object_get(document, "output"), err);
    }
    if (st == TS_OK)
        st = ts_hub_put(app->hub, name, document, &created, &shown, err);
    if (st == TS_OK)
        st = settle(app, name, before, shown, err);
    json_decref(before);
    json_decref(document);
    if (st != TS_OK) {
        json_decref(shown);
        return st;
    }
    set_etag(res, shown);
    ts_response_json(res, created ? 201 : 200, shown);
    ts_events_emit(app->events, created ? "created" : "changed", "stream", name, NULL);
    return TS_OK;
}

ts_status api_stream_patch(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    json_t *patch = NULL, *shown = NULL, *before = NULL;
    const char *name = ts_request_param(req, "s");
    ts_status st = ts_request_query_only(req, no_keys, err);
    if (st == TS_OK)
        st = want_hub(app, err);
    if (st == TS_OK)
        st = ts_request_json(req, &patch, err);
    if (st == TS_OK)
        st = check_conditions(app, req, err);
    if (st == TS_OK) {
        before = output_now(app, name); /* a patch replaces a list whole */
        st = ts_stream_sinks_check(app, before, json_object_get(patch, "output"), err);
    }
    if (st == TS_OK)
        st = ts_hub_patch(app->hub, name, patch, &shown, err);
    if (st == TS_OK)
        st = settle(app, name, before, shown, err);
    json_decref(before);
    json_decref(patch);
    if (st != TS_OK) {
        json_decref(shown);
        return st;
    }
    set_etag(res, shown);
    ts_response_json(res, 200, shown);
    ts_events_emit(app->events, "changed", "stream", name, NULL);
    return TS_OK;
}

ts_status api_stream_get(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    ts_stream *s = NULL;
    ts_status st = ts_request_query_only(req, no_keys, err);
    if (st == TS_OK)
        st = find_stream(app, req, &s, err);
    if (st != TS_OK)
        return st;
    json_t *shown = ts_stream_json(s);
    set_etag(res, shown);
    ts_response_json(res, 200, shown);
    ts_stream_unref(s);
    return TS_OK;
}

ts_status api_stream_delete(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    const char *name = ts_request_param(req, "s");
    ts_status st = ts_request_query_only(req, no_keys, err);
    if (st == TS_OK)
        st = want_hub(app, err);
    if (st == TS_OK)
        st = check_conditions(app, req, err);
    json_t *before = st == TS_OK ? output_now(app, name) : NULL;
    if (st == TS_OK)
        st = ts_hub_remove(app->hub, name, err);
    if (st == TS_OK)
        st = settle(app, name, before, NULL, err);
    json_decref(before);
    if (st != TS_OK)
        return st;
    ts_response_status(res, 204);
    ts_events_emit(app->events, "deleted", "stream", name, NULL);
    return TS_OK;
}

ts_status api_stream_metrics(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    ts_stream *s = NULL;
    ts_status st = ts_request_query_only(req, no_keys, err);
    if (st == TS_OK)
        st = find_stream(app, req, &s, err);
    if (st == TS_OK)
        ts_response_json(res, 200, ts_stream_metrics(s));
    ts_stream_unref(s);
    return st;
}

ts_status api_stream_history(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    ts_stream *s = NULL;
    ts_status st = ts_request_query_only(req, no_keys, err);
    if (st == TS_OK)
        st = find_stream(app, req, &s, err);
    if (st == TS_OK)
        ts_response_json(res, 200, ts_stream_history(s));
    ts_stream_unref(s);
    return st;
}

/* ---- pushed frames ---- */

static ts_status frames_open(ts_app *app, ts_request *req, int64_t length, void **sink,
                             ts_error *err)
{
    static const char *const keys[] = {"step", "t", "timeout", NULL};
    return ts_tensor_body_open(app, req, length, keys, sink, err);
}

const ts_body_sink api_stream_frames_sink = {frames_open, ts_tensor_body_append,
                                             ts_tensor_body_destroy};

static ts_status push_options(const ts_request *req, ts_pushed *frame, int64_t *timeout_us,
                              ts_error *err)
{
    ts_publish_options options = {0};
    json_t *tags = NULL;
    double seconds = PUSH_US / 1e6;
    ts_status st = ts_publish_query(req, &options, &tags, err);
    json_decref(tags);
    if (st == TS_OK)
        st = ts_query_number(req, "timeout", 0, 60, &seconds, err);
    frame->has_step = options.has_step;
    frame->step = options.step;
    frame->has_t = options.has_t;
    frame->t = options.t;
    *timeout_us = (int64_t)(seconds * 1e6);
    return st;
}

ts_status api_stream_frames_post(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    ts_stream *s = NULL;
    ts_named_tensor *tensors = NULL;
    size_t n = 0;
    ts_pushed frame = {0};
    int64_t timeout_us = PUSH_US;
    ts_status st = find_stream(app, req, &s, err);
    if (st == TS_OK)
        st = push_options(req, &frame, &timeout_us, err);
    if (st == TS_OK)
        st = ts_tensor_body_take(ts_request_sink(req), ts_request_queue(req), &tensors, &n, err);
    if (st == TS_OK) {
        frame.tensor = tensors[0].tensor;
        st = ts_stream_push(s, &frame, timeout_us, err);
    }
    ts_named_tensors_free(tensors, n);
    ts_stream_unref(s);
    if (st == TS_E_BACKPRESSURE)
        ts_response_header(res, "Retry-After", "1");
    if (st == TS_OK)
        ts_response_json(res, 202, json_pack("{s:I}", "step", (json_int_t)frame.step));
    return st;
}

/* ---- single pictures ---- */

typedef struct picture_kind {
    const char *ext;
    ts_codec codec;
} picture_kind;

static const picture_kind kinds[] = {
    {"webp", TS_CODEC_WEBP}, {"png", TS_CODEC_PNG}, {"npy", TS_CODEC_NPY}, {"jpg", TS_CODEC_JPEG}};

static ts_status find_kind(const char *ext, const picture_kind **out, ts_error *err)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (ext && !strcmp(kinds[i].ext, ext)) {
            *out = &kinds[i];
            return TS_OK;
        }
    return ts_fail(err, TS_E_NOT_FOUND, "no picture of that kind; known are webp, png, npy, jpg");
}

static void answer_picture(ts_response *res, const ts_frame *frame, const char *mime)
{
    char text[32];
    ts_buf body = {0};
    ts_buf_append(&body, frame->payload.data, frame->payload.len);
    snprintf(text, sizeof text, "\"%" PRIu64 "-%" PRIu64 "\"", frame->seq, frame->config_rev);
    ts_response_header(res, "ETag", text);
    snprintf(text, sizeof text, "%" PRIu64, frame->seq);
    ts_response_header(res, "Tensorscope-Seq", text);
    snprintf(text, sizeof text, "%" PRId64, frame->step);
    ts_response_header(res, "Tensorscope-Step", text);
    ts_response_bytes(res, 200, mime, &body);
}

/* What a picture's query asks: quality, lossless, scale, depth; the rest are keys of a view. */
static ts_status read_want(const ts_request *req, const picture_kind *kind, ts_want *want,
                           json_t **patch, ts_error *err)
{
    static const char *const keys[] = {"quality", "lossless", "scale", "depth", NULL};
    double quality = 0, depth = 8;
    ts_status st = ts_query_number(req, "quality", 1, 100, &quality, err);
    if (st == TS_OK)
        st = ts_query_number(req, "scale", 1.0 / 64, 1, &want->scale, err);
    if (st == TS_OK)
        st = ts_query_number(req, "depth", 8, 16, &depth, err);
    if (st == TS_OK)
        st = ts_query_flag(req, "lossless", &want->lossless, err);
    if (st == TS_OK)
        st = ts_query_view(req, keys, patch, err);
    want->codec = kind->codec;
    want->quality = kind->codec == TS_CODEC_JPEG && !quality ? 80 : (int)quality;
    if (depth == 16)
        want->format = TS_PIXELS_RGBA16;
    want->patch = *patch;
    return st;
}

static ts_status answer_now(ts_app *app, ts_request *req, ts_response *res, const char *ext,
                            ts_error *err)
{
    ts_stream *s = NULL;
    ts_frame *frame = NULL;
    const picture_kind *kind = NULL;
    json_t *patch = NULL;
    ts_want want = {0};
    ts_status st = find_kind(ext, &kind, err);
    if (st == TS_OK)
        st = find_stream(app, req, &s, err);
    if (st == TS_OK)
        st = read_want(req, kind, &want, &patch, err);
    if (st == TS_OK)
        st = ts_stream_grab(s, &want, GRAB_US, &frame, err);
    if (st == TS_OK)
        answer_picture(res, frame, ts_codec_mime(kind->codec));
    ts_frame_unref(frame);
    json_decref(patch);
    ts_stream_unref(s);
    return st;
}

ts_status api_stream_frame_webp(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    return answer_now(app, req, res, "webp", err);
}

ts_status api_stream_frame_png(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    return answer_now(app, req, res, "png", err);
}

ts_status api_stream_frame_npy(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    return answer_now(app, req, res, "npy", err);
}

ts_status api_stream_frame_jpg(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    return answer_now(app, req, res, "jpg", err);
}

/* A kept WebP in another format. */
static ts_status convert(const ts_frame *frame, ts_codec codec, ts_buf *out, ts_error *err)
{
    ts_buf rgb = {0};
    ts_image_info info;
    ts_encoder *encoder = NULL;
    ts_status st = ts_image_decode(frame->payload.data, frame->payload.len, 3, &info, &rgb, err);
    if (st == TS_OK)
        st = ts_encoder_create(&encoder, err);
    if (st == TS_OK) {
        ts_pixels pixels = {.format = TS_PIXELS_RGB8,
                            .width = info.width,
                            .height = info.height,
                            .plane = {rgb.data},
                            .stride = {(size_t)info.width * 3}};
        ts_encode_options options = {.codec = codec};
        st = ts_frame_encode(&pixels, &options, encoder, out, err);
    }
    ts_encoder_destroy(encoder);
    ts_buf_finish(&rgb);
    return st;
}

static ts_status answer_kept(ts_request *req, ts_response *res, ts_stream *s, ts_seek_by by,
                             int64_t value, const char *ext, ts_error *err)
{
    ts_frame *frame = NULL;
    const picture_kind *kind = NULL;
    ts_status st = ts_request_query_only(req, no_keys, err);
    if (st == TS_OK)
        st = find_kind(ext, &kind, err);
    bool rendered = st == TS_OK && ts_stream_keeps_tensors(s);
    ts_want want = {.codec = kind ? kind->codec : TS_CODEC_WEBP};
    if (rendered)
        st = ts_stream_replay(s, &want, by, value, GRAB_US, &frame, err);
    else if (st == TS_OK)
        st = ts_stream_seek(s, by, value, &frame, err);
    if (st == TS_OK && by == TS_SEEK_SEQ && (int64_t)frame->seq != value)
        st = ts_fail(err, TS_E_NOT_FOUND, "frame %" PRId64 " is not kept (any more)", value);
    if (st == TS_OK && (rendered || kind->codec == TS_CODEC_WEBP)) {
        answer_picture(res, frame, ts_codec_mime(kind->codec));
    } else if (st == TS_OK) {
        ts_buf body = {0};
        st = convert(frame, kind->codec, &body, err);
        if (st == TS_OK)
            ts_response_bytes(res, 200, ts_codec_mime(kind->codec), &body);
        ts_buf_finish(&body);
    }
    ts_frame_unref(frame);
    return st;
}

/* "12.webp" → 12 and "webp". */
static ts_status split_file(const char *file, int64_t *number, const char **ext, ts_error *err)
{
    char *end;
    errno = 0;
    *number = strtoll(file, &end, 10);
    if (errno || end == file || *end != '.' || *number < 0)
        return ts_fail(err, TS_E_NOT_FOUND, "no frame '%.40s'; want a number like 12.webp", file);
    *ext = end + 1;
    return TS_OK;
}

static ts_status answer_numbered(ts_app *app, ts_request *req, ts_response *res, ts_seek_by by,
                                 ts_error *err)
{
    ts_stream *s = NULL;
    int64_t number = 0;
    const char *ext = NULL;
    ts_status st = split_file(ts_request_param(req, "file"), &number, &ext, err);
    if (st == TS_OK)
        st = find_stream(app, req, &s, err);
    if (st == TS_OK)
        st = answer_kept(req, res, s, by, number, ext, err);
    ts_stream_unref(s);
    return st;
}

ts_status api_stream_frame_seq(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    return answer_numbered(app, req, res, TS_SEEK_SEQ, err);
}

ts_status api_stream_frame_age(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    return answer_numbered(app, req, res, TS_SEEK_AGE, err);
}

ts_status api_stream_frame_latest(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    const char *file = ts_request_param(req, "file");
    if (strncmp(file, "latest.", 7))
        return ts_fail(err, TS_E_NOT_FOUND,
                       "no '%.40s' here; want latest.webp, seq/N.webp or "
                       "age/K.webp",
                       file);
    return answer_now(app, req, res, file + 7, err);
}

/* ---- MJPEG ---- */

typedef struct mjpeg {
    ts_sink sink; /* first */
    ts_stream *stream;
    ts_watch *watch;
    ts_stream_handle *handle;
    _Atomic(ts_frame *) newest;
    uint64_t last_seq;
    _Atomic bool ended;
} mjpeg;

static void mjpeg_frame(ts_sink *sink, ts_frame *frame)
{
    mjpeg *m = (mjpeg *)sink;
    ts_frame_unref(atomic_exchange(&m->newest, ts_frame_ref(frame)));
    ts_stream_wake(m->handle);
}

static void mjpeg_event(ts_sink *sink, const char *event)
{
    mjpeg *m = (mjpeg *)sink;
    if (!strcmp(event, "deleted"))
        atomic_store(&m->ended, true);
    ts_stream_wake(m->handle);
}

static bool mjpeg_pull(void *arg, ts_buf *out)
{
    mjpeg *m = arg;
    ts_frame *frame = atomic_exchange(&m->newest, NULL);
    if (frame && frame->payload.len) {
        ts_buf_printf(out,
                      "--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %zu\r\n"
                      "X-Timestamp: %.6f\r\n\r\n",
                      frame->payload.len, frame->t);
        ts_buf_append(out, frame->payload.data, frame->payload.len);
        ts_buf_str(out, "\r\n");
    }
    ts_frame_unref(frame);
    return !atomic_load(&m->ended);
}

static void mjpeg_close(void *arg)
{
    mjpeg *m = arg;
    ts_watch_close(m->watch);
    ts_frame_unref(atomic_exchange(&m->newest, NULL));
    ts_stream_unref(m->stream);
    free(m);
}

ts_status api_stream_mjpeg(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    static const char *const keys[] = {"quality", "max_fps", "scale", "ticket", NULL};
    double quality = 80;
    ts_want want = {.codec = TS_CODEC_JPEG, .exact = true};
    mjpeg *m = calloc(1, sizeof *m);
    if (!m)
        return ts_fail(err, TS_E_NO_MEMORY, "mjpeg");
    ts_status st = ts_request_query_only(req, keys, err);
    if (st == TS_OK)
        st = ts_query_number(req, "quality", 1, 100, &quality, err);
    if (st == TS_OK)
        st = ts_query_number(req, "max_fps", 0.1, 240, &want.max_fps, err);
    if (st == TS_OK)
        st = ts_query_number(req, "scale", 1.0 / 64, 1, &want.scale, err);
    if (st == TS_OK)
        st = find_stream(app, req, &m->stream, err);
    want.quality = (int)quality;
    m->sink = (ts_sink){.frame = mjpeg_frame, .event = mjpeg_event};
    if (st == TS_OK)
        st = ts_stream_watch(m->stream, &want, &m->sink, &m->watch, err);
    if (st != TS_OK) {
        ts_stream_unref(m->stream);
        free(m);
        return st;
    }
    ts_stream_source source = {mjpeg_pull, mjpeg_close, m};
    ts_response_stream(res, "multipart/x-mixed-replace; boundary=frame", &source, &m->handle);
    return TS_OK;
}

/* ---- WebSockets: here only whether the upgrade is right ---- */

static void check_pair(void *arg, const char *key, const char *value)
{
    ts_error *err = arg;
    if (err->status == TS_OK)
        (void)!ts_live_check_query(key, value, err);
}

static ts_status check_ws_query(const ts_request *req, ts_error *err)
{
    ts_error own = {0};
    ts_status st = ts_request_query_only(req, ts_live_query_keys, err);
    if (st != TS_OK)
        return st;
    ts_request_each_query(req, check_pair, &own);
    st = own.status;
    if (st != TS_OK && err)
        *err = own;
    return st;
}

ts_status api_stream_ws(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    ts_stream *s = NULL;
    (void)res;
    ts_status st = check_ws_query(req, err);
    if (st == TS_OK)
        st = find_stream(app, req, &s, err);
    ts_stream_unref(s);
    return st;
}

ts_status api_ws(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    (void)res;
    ts_status st = check_ws_query(req, err);
    return st == TS_OK ? want_hub(app, err) : st;
}

ts_status api_ws_echo(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    (void)req;
    (void)res;
    if (!app->options.enable_echo)
        return ts_fail(err, TS_E_NOT_FOUND, "no /ws/echo here; it is turned on by --enable-echo");
    return TS_OK;
}
