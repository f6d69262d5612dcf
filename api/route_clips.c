/* Clips: upload, list, single frames. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/routes.h"
#include "cl/base/fs.h"
#include "cl/base/name.h"
#include "server/clips.h"
#include "server/codec.h"
#include "server/events.h"
#include "server/testclip.h"

static json_t *clip_json(const ts_clip *c)
{
    return json_pack("{s:s,s:i,s:i,s:I,s:f}", "id", c->id, "width", c->width, "height", c->height,
                     "frames", (json_int_t)c->frames, "fps", c->fps);
}

static ts_status want_device(const ts_app *app, ts_error *err)
{
    return app->device ? TS_OK
                       : ts_fail(err, TS_E_NOT_READY, "this server has no device to keep clips on");
}

static ts_status query_size(const ts_request *req, const char *key, int64_t *out, ts_error *err)
{
    if (!ts_request_query(req, key))
        return ts_fail(err, TS_E_OPTION,
                       "raw frames need ?width=, ?height= and ?frames=; %s is missing", key);
    return ts_request_query_int(req, key, INT64_MIN, INT64_MAX, out, err);
}

/* What a clip's frames may take: the device's budget, so that no upload can claim more. */
static uint64_t decoded_limit(const ts_app *app)
{
    ts_device_stats stats;
    ts_device_get_stats(app->device, &stats);
    return app->options.max_device_bytes ? app->options.max_device_bytes : stats.budget_bytes;
}

/* The numbers of raw frames and of test clips. */
typedef struct sizes {
    int64_t width, height, frames;
    double fps;
} sizes;

static ts_status read_sizes(const ts_request *req, sizes *s, ts_error *err)
{
    ts_status st = query_size(req, "width", &s->width, err);
    if (st == TS_OK)
        st = query_size(req, "height", &s->height, err);
    if (st == TS_OK)
        st = query_size(req, "frames", &s->frames, err);
    s->fps = 30;
    return st == TS_OK ? ts_request_query_double(req, "fps", -1e9, 1e9, &s->fps, err) : st;
}

static void paint_test(void *arg, int64_t n, int width, int height, uint8_t *rgba)
{
    ts_test_clip_frame(*(const ts_test_clip *)arg, n, width, height, rgba);
}

/* ?test=pan&width=…: a clip that the server makes, with an empty body. */
static ts_status make_test_clip(ts_app *app, ts_request *req, const char *name, size_t body_bytes,
                                ts_clip **out, ts_error *err)
{
    static const char *const keys[] = {"test", "width", "height", "frames", "fps", NULL};
    ts_test_clip kind;
    sizes s;
    ts_status st = ts_request_query_only(req, keys, err);
    if (st == TS_OK)
        st = ts_test_clip_parse(name, &kind, err);
    if (st == TS_OK)
        st = read_sizes(req, &s, err);
    if (st == TS_OK && body_bytes)
        st = ts_fail(err, TS_E_SIZE, "a test clip takes no body, this has %zu bytes", body_bytes);
    if (st != TS_OK)
        return st;
    return ts_clip_paint(ts_request_queue(req), s.width, s.height, s.frames, s.fps,
                         decoded_limit(app), paint_test, &kind, out, err);
}

static ts_status upload_raw(ts_app *app, ts_request *req, const ts_fs_map *body, ts_clip **out,
                            ts_error *err)
{
    static const char *const keys[] = {"width", "height", "frames", "fps", NULL};
    sizes s;
    ts_status st = ts_request_query_only(req, keys, err);
    if (st == TS_OK)
        st = read_sizes(req, &s, err);
    if (st != TS_OK)
        return st;
    return ts_clip_from_raw(ts_request_queue(req), body->data, body->len, s.width, s.height,
                            s.frames, s.fps, decoded_limit(app), out, err);
}

static bool is_one_of(const char *text, const char *const *list)
{
    for (; *list; list++)
        if (!strcmp(text, *list))
            return true;
    return false;
}

static ts_status upload(ts_app *app, ts_request *req, const ts_fs_map *body, ts_clip **out,
                        ts_error *err)
{
    static const char *const files[] = {"video/mp4",  "video/webm", "video/x-matroska",
                                        "image/webp", "image/gif",  NULL};
    static const char *const none[] = {NULL};
    const char *type = ts_request_content_type(req), *test = ts_request_query(req, "test");
    if (test)
        return make_test_clip(app, req, test, body->len, out, err);
    if (!strcmp(type, "application/octet-stream") || !*type)
        return upload_raw(app, req, body, out, err);
    if (!is_one_of(type, files))
        return ts_fail(err, TS_E_ENCODING,
                       "Content-Type is '%s'; want application/octet-stream, "
                       "video/mp4, video/webm, image/webp or image/gif",
                       type);
    ts_status st = ts_request_query_only(req, none, err);
    if (st != TS_OK)
        return st;
    return ts_clip_from_file(ts_request_queue(req), body->data, body->len, decoded_limit(app), out,
                             err);
}

ts_status api_clips_post(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    ts_fs_map body;
    ts_clip *clip = NULL;
    ts_status st = want_device(app, err);
    if (st == TS_OK)
        st = ts_fs_map_open(ts_request_body_file(req), &body, err);
    if (st != TS_OK)
        return st;
    st = upload(app, req, &body, &clip, err);
    ts_fs_map_close(&body);
    if (st != TS_OK)
        return st;
    ts_clip_ref(clip); /* the table's; ours until the answer is made */
    st = ts_clips_add(app->clips, clip, err);
    if (st == TS_OK) {
        char location[64];
        snprintf(location, sizeof location, "/v1/clips/%s", clip->id);
        ts_response_header(res, "Location", location);
        ts_response_json(res, 201, clip_json(clip));
        ts_events_emit(app->events, "created", "clip", clip->id, NULL);
    } else {
        ts_clip_unref(clip);
    }
    ts_clip_unref(clip);
    return st;
}

ts_status api_clips_list(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    static const char *const keys[] = {"prefix", NULL};
    ts_clip **clips = NULL;
    size_t n = 0;
    const char *prefix = ts_request_query(req, "prefix");
    ts_status st = ts_request_query_only(req, keys, err);
    if (st == TS_OK && app->clips)
        st = ts_clips_list(app->clips, &clips, &n, err);
    if (st != TS_OK)
        return st;
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        if (!prefix || !strncmp(clips[i]->id, prefix, strlen(prefix)))
            json_array_append_new(list, clip_json(clips[i]));
        ts_clip_unref(clips[i]);
    }
    free(clips);
    ts_response_json(res, 200, json_pack("{s:o}", "clips", list));
    return TS_OK;
}

static ts_status find_clip(ts_app *app, const ts_request *req, ts_clip **out, ts_error *err)
{
    const char *id = ts_request_param(req, "id");
    ts_status st = ts_name_check("clip", id, err);
    if (st == TS_OK)
        st = want_device(app, err);
    return st == TS_OK ? ts_clips_find(app->clips, id, out, err) : st;
}

ts_status api_clip_get(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    ts_clip *clip;
    ts_status st = find_clip(app, req, &clip, err);
    if (st != TS_OK)
        return st;
    ts_response_json(res, 200, clip_json(clip));
    ts_clip_unref(clip);
    return TS_OK;
}

ts_status api_clip_delete(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    const char *id = ts_request_param(req, "id");
    ts_status st = ts_name_check("clip", id, err);
    if (st == TS_OK)
        st = want_device(app, err);
    if (st == TS_OK)
        st = ts_clips_remove(app->clips, id, err);
    if (st != TS_OK)
        return st;
    ts_events_emit(app->events, "deleted", "clip", id, NULL);
    ts_response_status(res, 204);
    return TS_OK;
}

/* "12.webp" → 12 and a codec. */
static ts_status parse_frame_file(const ts_request *req, int64_t *n, ts_encode_options *opt,
                                  ts_error *err)
{
    const char *file = ts_request_param(req, "file");
    char *end;
    errno = 0;
    *n = strtoll(file, &end, 10);
    bool webp = !strcmp(end, ".webp");
    if (errno || end == file || *file == '-' || *file == '+' || (!webp && strcmp(end, ".png") != 0))
        return ts_fail(err, TS_E_NOT_FOUND, "no frame file '%s'; want N.webp or N.png", file);
    static const char *const webp_keys[] = {"quality", "lossless", NULL};
    static const char *const png_keys[] = {NULL};
    ts_status st = ts_request_query_only(req, webp ? webp_keys : png_keys, err);
    if (st != TS_OK)
        return st;
    bool exact = false;
    int64_t quality = opt->quality;
    st = ts_request_query_bool(req, "lossless", &exact, err);
    if (st == TS_OK)
        st = ts_request_query_int(req, "quality", 1, 100, &quality, err);
    opt->codec = !webp ? TS_CODEC_PNG : exact ? TS_CODEC_WEBP_LOSSLESS : TS_CODEC_WEBP;
    opt->quality = (int)quality;
    return st;
}

static ts_status encode_frame(ts_queue *queue, const ts_clip *clip, int64_t n,
                              const ts_encode_options *opt, ts_buf *out, ts_error *err)
{
    ts_buffer *buffer;
    size_t offset, row = 4 * (size_t)clip->width;
    void *mapped = NULL;
    ts_encoder *enc = NULL;
    ts_clip_frame(clip, n, &buffer, &offset);
    ts_status st = ts_encoder_create(&enc, err);
    if (st == TS_OK)
        st = ts_buffer_map(queue, buffer, offset, row * (size_t)clip->height, TS_MAP_READ, &mapped,
                           err);
    if (st == TS_OK) {
        ts_pixels px = {.format = TS_PIXELS_RGBA8,
                        .width = clip->width,
                        .height = clip->height,
                        .plane = {mapped},
                        .stride = {row}};
        st = ts_frame_encode(&px, opt, enc, out, err);
        ts_buffer_unmap(queue, buffer, mapped);
    }
    ts_encoder_destroy(enc);
    return st;
}

ts_status api_clip_frame(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    ts_clip *clip;
    int64_t n = 0;
    ts_encode_options opt = {0};
    ts_buf out = {0};
    ts_status st = find_clip(app, req, &clip, err);
    if (st != TS_OK)
        return st;
    st = parse_frame_file(req, &n, &opt, err);
    if (st == TS_OK && n >= clip->frames)
        st = ts_fail(err, TS_E_NOT_FOUND, "no frame %lld; the clip has %lld, from 0", (long long)n,
                     (long long)clip->frames);
    if (st == TS_OK)
        st = encode_frame(ts_request_queue(req), clip, n, &opt, &out, err);
    ts_clip_unref(clip);
    if (st == TS_OK)
        ts_response_bytes(res, 200, ts_codec_mime(opt.codec), &out);
    ts_buf_finish(&out);
    return st;
}
