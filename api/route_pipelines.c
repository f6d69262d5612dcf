/* Video pipelines: documents, control, HLS files, snapshots, the player page. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/routes.h"
#include "cl/base/name.h"
#include "server/codec.h"
#include "server/events.h"
#include "server/pipelines.h"

static ts_status pipelines_of(const ts_app *app, ts_pipelines **out, ts_error *err)
{
    *out = app->pipelines;
    return *out ? TS_OK : ts_fail(err, TS_E_NOT_READY, "this server has no device for pipelines");
}

ts_status api_pipelines_list(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    static const char *const keys[] = {"prefix", NULL};
    ts_pipelines *ps;
    ts_status st = ts_request_query_only(req, keys, err);
    if (st == TS_OK)
        st = pipelines_of(app, &ps, err);
    if (st == TS_OK)
        ts_response_json(res, 200,
                         json_pack("{s:o}", "pipelines",
                                   ts_pipelines_list(ps, ts_request_query(req, "prefix"))));
    return st;
}

ts_status api_pipeline_put(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    static const char *const keys[] = {"validate", NULL};
    const char *validate = ts_request_query(req, "validate");
    ts_pipelines *ps;
    json_t *document = NULL, *shown = NULL;
    bool created = false, only_check = validate && strcmp(validate, "0") != 0;
    ts_status st = ts_request_query_only(req, keys, err);
    if (st == TS_OK)
        st = pipelines_of(app, &ps, err);
    if (st == TS_OK)
        st = ts_request_json(req, &document, err);
    if (st == TS_OK)
        st = ts_pipelines_put(ps, ts_request_param(req, "name"), document, only_check, &created,
                              &shown, err);
    json_decref(document);
    if (st == TS_OK)
        ts_response_json(res, created ? 201 : 200, shown);
    return st;
}

ts_status api_pipeline_patch(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    ts_pipelines *ps;
    json_t *patch = NULL, *shown = NULL;
    ts_status st = pipelines_of(app, &ps, err);
    if (st == TS_OK)
        st = ts_request_json(req, &patch, err);
    if (st == TS_OK)
        st = ts_pipelines_patch(ps, ts_request_param(req, "name"), patch, &shown, err);
    json_decref(patch);
    if (st == TS_OK)
        ts_response_json(res, 200, shown);
    return st;
}

/* Run `answer` with the pipeline of the route. */
static ts_status with_pipeline(ts_app *app, ts_request *req, ts_response *res,
                               void (*answer)(ts_pipeline *pipeline, ts_response *res),
                               ts_error *err)
{
    ts_pipelines *ps;
    ts_pipeline *pipeline;
    ts_status st = pipelines_of(app, &ps, err);
    if (st == TS_OK)
        st = ts_pipelines_get(ps, ts_request_param(req, "name"), &pipeline, err);
    if (st != TS_OK)
        return st;
    answer(pipeline, res);
    ts_pipelines_done(ps, pipeline);
    return TS_OK;
}

static void answer_state(ts_pipeline *pipeline, ts_response *res)
{
    ts_response_json(res, 200, ts_pipeline_json(pipeline));
}

static void answer_tracks(ts_pipeline *pipeline, ts_response *res)
{
    json_t *row = ts_pipeline_tracks(pipeline);
    ts_response_json(res, 200, row ? row : json_pack("{s:n, s:[]}", "frame", "tracks"));
}

static void answer_health(ts_pipeline *pipeline, ts_response *res)
{
    bool healthy = ts_pipeline_healthy(pipeline);
    ts_response_json(
        res, healthy ? 200 : 503,
        json_pack("{s:b, s:s}", "healthy", healthy, "state", ts_pipeline_state(pipeline)));
}

static void answer_reset(ts_pipeline *pipeline, ts_response *res)
{
    ts_pipeline_reset_tracker(pipeline);
    answer_state(pipeline, res);
}

static void answer_keyframe(ts_pipeline *pipeline, ts_response *res)
{
    ts_pipeline_keyframe(pipeline);
    answer_state(pipeline, res);
}

ts_status api_pipeline_get(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    return with_pipeline(app, req, res, answer_state, err);
}

ts_status api_pipeline_tracks(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    return with_pipeline(app, req, res, answer_tracks, err);
}

ts_status api_pipeline_health(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    return with_pipeline(app, req, res, answer_health, err);
}

ts_status api_pipeline_events(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    ts_pipelines *ps;
    ts_pipeline *pipeline;
    const char *name = ts_request_param(req, "name");
    ts_status st = pipelines_of(app, &ps, err);
    if (st == TS_OK)
        st = ts_pipelines_get(ps, name, &pipeline, err);
    if (st != TS_OK)
        return st;
    ts_pipelines_done(ps, pipeline);
    ts_events_stream(app->events, UINT64_MAX, "pipeline", name, res);
    return TS_OK;
}

ts_status api_pipeline_delete(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    ts_pipelines *ps;
    ts_status st = pipelines_of(app, &ps, err);
    if (st == TS_OK)
        st = ts_pipelines_remove(ps, ts_request_param(req, "name"), err);
    if (st == TS_OK)
        ts_response_status(res, 204);
    return st;
}

ts_status api_pipeline_action(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    const char *name = ts_request_param(req, "name"), *action = ts_request_param(req, "action");
    ts_pipelines *ps;
    ts_status st = pipelines_of(app, &ps, err);
    if (st != TS_OK)
        return st;
    if (!strcmp(action, "start"))
        st = ts_pipelines_start(ps, name, err);
    else if (!strcmp(action, "stop"))
        st = ts_pipelines_stop(ps, name, err);
    else if (!strcmp(action, "restart"))
        st = ts_pipelines_stop(ps, name, err) == TS_OK ? ts_pipelines_start(ps, name, err)
                                                       : TS_E_NOT_FOUND;
    else if (!strcmp(action, "reset-tracker"))
        return with_pipeline(app, req, res, answer_reset, err);
    else if (!strcmp(action, "keyframe"))
        return with_pipeline(app, req, res, answer_keyframe, err);
    else
        return ts_fail(err, TS_E_NOT_FOUND,
                       "'%.40s' is not start, stop, restart, reset-tracker or keyframe", action);
    return st == TS_OK ? with_pipeline(app, req, res, answer_state, err) : st;
}

/* ---- HLS, snapshot, player ---- */

/* The directory of the pipeline's HLS sink, relative to the outputs; "" if it has none. */
static void hls_directory(ts_pipeline *pipeline, char *out, size_t n)
{
    json_t *state = ts_pipeline_json(pipeline), *sink;
    size_t i;
    out[0] = 0;
    json_array_foreach(json_object_get(json_object_get(state, "document"), "sinks"), i, sink)
    {
        const char *dir = json_string_value(json_object_get(sink, "dir"));
        if (dir && !strcmp(json_string_value(json_object_get(sink, "kind")), "hls"))
            snprintf(out, n, "%s", dir);
    }
    json_decref(state);
}

ts_status api_pipeline_hls(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    const char *file = ts_request_param(req, "file"), *dot = strrchr(file, '.');
    bool playlist = dot && !strcmp(dot, ".m3u8"), segment = dot && !strcmp(dot, ".ts");
    char dir[512], path[PATH_MAX];
    ts_pipelines *ps;
    ts_pipeline *pipeline;
    ts_status st = pipelines_of(app, &ps, err);
    if (st == TS_OK)
        st = ts_pipelines_get(ps, ts_request_param(req, "name"), &pipeline, err);
    if (st != TS_OK)
        return st;
    hls_directory(pipeline, dir, sizeof dir);
    ts_pipelines_done(ps, pipeline);
    if (!dir[0])
        return ts_fail(err, TS_E_NOT_FOUND, "this pipeline has no sink of kind hls");
    if (!ts_name_valid(file) || (!playlist && !segment))
        return ts_fail(err, TS_E_NOT_FOUND, "'%.80s' is no playlist or segment", file);
    snprintf(path, sizeof path, "%s/outputs/%s/%s", app->options.data_dir, dir, file);
    return ts_response_file(res, playlist ? "application/vnd.apple.mpegurl" : "video/mp2t", path,
                            err);
}

ts_status api_pipeline_snapshot(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    static const char *const views[] = {"overlay", "camera", NULL};
    static const struct {
        const char *name, *type;
        ts_codec codec;
    } kinds[] = {{"snapshot.jpg", "image/jpeg", TS_CODEC_JPEG},
                 {"snapshot.png", "image/png", TS_CODEC_PNG},
                 {"snapshot.webp", "image/webp", TS_CODEC_WEBP}};
    static const char *const keys[] = {"output", NULL};
    const char *file = ts_request_param(req, "file"), *view = ts_request_query(req, "output");
    ts_pipelines *ps;
    ts_status st = ts_request_query_only(req, keys, err);
    if (st == TS_OK)
        st = pipelines_of(app, &ps, err);
    if (st != TS_OK)
        return st;
    bool camera = view && !strcmp(view, views[1]);
    if (view && !camera && strcmp(view, views[0]))
        return ts_fail(err, TS_E_OPTION, "output: '%.40s' is not overlay or camera", view);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(file, kinds[i].name))
            continue;
        ts_pixels *pixels = ts_pipelines_picture(ps, ts_request_param(req, "name"),
                                                 camera ? TS_PIPELINE_CAMERA : TS_PIPELINE_OVERLAY);
        if (!pixels)
            return ts_fail(err, TS_E_NOT_READY,
                           "no picture yet: is the pipeline there and started?");
        ts_buf body = {0};
        ts_encoder *encoder = NULL;
        ts_encode_options options = {.codec = kinds[i].codec, .quality = 85};
        st = ts_encoder_create(&encoder, err);
        if (st == TS_OK)
            st = ts_frame_encode(pixels, &options, encoder, &body, err);
        ts_encoder_destroy(encoder);
        ts_pixels_unref(pixels);
        if (st == TS_OK)
            ts_response_bytes(res, 200, kinds[i].type, &body);
        ts_buf_finish(&body);
        return st;
    }
    return ts_fail(err, TS_E_NOT_FOUND, "snapshot.jpg, snapshot.png or snapshot.webp");
}

static const char PLAYER[] =
    "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">"
    "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
    "<title>%s</title><style>html,body{margin:0;height:100%%;background:#0d0e11;color:#f1f3f5;"
    "font:14px "
    "system-ui,sans-serif}figure{margin:0;height:100%%;display:flex;flex-direction:column}"
    "img,video{flex:1;min-height:0;width:100%%;object-fit:contain}figcaption{padding:8px 12px}"
    "a{color:#93a8ff}</style><figure>"
    "<video src=\"hls/stream.m3u8\" poster=\"snapshot.jpg?output=camera\" controls autoplay muted "
    "playsinline><img src=\"../../streams/%s.camera/mjpeg\" alt=\"%s, live\"></video>"
    "<img src=\"../../streams/%s.camera/mjpeg\" alt=\"%s, live\">"
    "<figcaption>%s &middot; <a href=\"../../streams/%s/mjpeg\">overlay</a> &middot; "
    "<a href=\"hls/stream.m3u8\">HLS</a></figcaption></figure></html>";

ts_status api_pipeline_player(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    const char *name = ts_request_param(req, "name"); /* a valid name needs no escaping */
    ts_pipelines *ps;
    ts_pipeline *pipeline;
    ts_status st = pipelines_of(app, &ps, err);
    if (st == TS_OK)
        st = ts_pipelines_get(ps, name, &pipeline, err);
    if (st != TS_OK)
        return st;
    ts_pipelines_done(ps, pipeline);
    ts_buf page = {0};
    ts_buf_printf(&page, PLAYER, name, name, name, name, name, name, name);
    ts_response_header(res, "Content-Security-Policy",
                       "default-src 'self'; style-src 'unsafe-inline'; img-src 'self'; media-src "
                       "'self'");
    ts_response_bytes(res, 200, "text/html; charset=utf-8", &page);
    return TS_OK;
}
