/* Pictures of tensors, rendered for one request; and the colormaps they may use. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/routes.h"
#include "api/stream_query.h"
#include "cl/base/name.h"
#include "cl/viz/colormap.h"
#include "cl/viz/view.h"
#include "cl/viz/viz.h"
#include "server/codec.h"

/* How the picture is to be encoded; the rest of a query are keys of the view. */
static const char *const encode_keys[] = {"quality", "lossless", "depth", NULL};

typedef struct picture {
    ts_encode_options encode;
    ts_pixel_format format;
} picture;

static ts_status read_picture(const ts_request *req, ts_codec codec, picture *out, ts_error *err)
{
    double quality = 80, depth = 8;
    bool lossless = false;
    ts_status st = ts_query_number(req, "quality", 1, 100, &quality, err);
    if (st == TS_OK)
        st = ts_query_number(req, "depth", 8, 16, &depth, err);
    if (st == TS_OK)
        st = ts_query_flag(req, "lossless", &lossless, err);
    if (st == TS_OK && depth != 8 && (depth != 16 || codec != TS_CODEC_PNG))
        st = ts_fail(err, TS_E_OPTION, "depth: want 8, or 16 for PNG");
    if (st != TS_OK)
        return st;
    *out = (picture){.encode = {.codec = codec, .quality = (int)quality, .method = 4},
                     .format = depth == 16 ? TS_PIXELS_RGBA16 : TS_PIXELS_RGB8};
    if (codec == TS_CODEC_WEBP && lossless)
        out->encode.codec = TS_CODEC_WEBP_LOSSLESS;
    else if (codec == TS_CODEC_WEBP)
        out->format = TS_PIXELS_I420;
    return TS_OK;
}

static void tell_metrics(ts_response *res, const ts_viz_output *out)
{
    ts_buf text = {0};
    if (out->has_range) {
        ts_json_write_double(out->lo, &text);
        ts_buf_str(&text, ", ");
        ts_json_write_double(out->hi, &text);
        ts_response_header(res, "Tensorscope-Range", ts_buf_cstr(&text));
        ts_buf_reset(&text);
    }
    if (out->metrics) {
        ts_json_write(out->metrics, &text);
        ts_response_header(res, "Tensorscope-Metrics", ts_buf_cstr(&text));
    }
    ts_buf_finish(&text);
}

static ts_status encode(const ts_viz_output *out, const picture *want, ts_response *res,
                        ts_error *err)
{
    ts_encoder *encoder = NULL;
    ts_buf body = {0};
    ts_status st = ts_encoder_create(&encoder, err);
    if (st == TS_OK)
        st = ts_frame_encode(out->pixels, &want->encode, encoder, &body, err);
    if (st == TS_OK) {
        tell_metrics(res, out);
        ts_response_bytes(res, 200, ts_codec_mime(want->encode.codec), &body);
    }
    ts_buf_finish(&body);
    ts_encoder_destroy(encoder);
    return st;
}

static ts_status render(ts_app *app, ts_request *req, ts_response *res, const json_t *object,
                        const ts_entry *entry, const picture *want, ts_error *err)
{
    ts_view *view = NULL;
    ts_viz *viz = NULL;
    ts_viz_output out = {0};
    ts_status st = ts_view_parse(object, &view, err);
    if (st == TS_OK)
        st = ts_viz_create(app->device, &viz, err);
    ts_viz_input in = {
        .view = view, .entry = entry, .store = app->store, .scale = 1, .format = want->format};
    if (st == TS_OK)
        st = ts_viz_render(viz, ts_request_queue(req), &in, &out, err);
    if (st == TS_OK) {
        st = encode(&out, want, res, err);
        ts_viz_output_finish(&out);
    }
    ts_viz_destroy(viz);
    ts_view_unref(view);
    return st;
}

static ts_status want_device(const ts_app *app, ts_error *err)
{
    return app->store ? TS_OK
                      : ts_fail(err, TS_E_NOT_READY, "this server has no device to render on");
}

/* ---- GET /v1/tensors/{name}/frame.* ---- */

static ts_status tensor_frame(ts_app *app, ts_request *req, ts_response *res, ts_codec codec,
                              ts_error *err)
{
    const char *name = ts_request_param(req, "name");
    picture want;
    json_t *object = NULL;
    ts_entry entry = {0};
    ts_status st = ts_name_check("tensor", name, err);
    if (st == TS_OK)
        st = want_device(app, err);
    if (st == TS_OK)
        st = read_picture(req, codec, &want, err);
    if (st == TS_OK)
        st = ts_query_view(req, encode_keys, &object, err);
    if (st == TS_OK)
        st = ts_store_get(app->store, name, &entry, err);
    if (st == TS_OK)
        st = render(app, req, res, object, &entry, &want, err);
    ts_entry_finish(&entry);
    json_decref(object);
    return st;
}

ts_status api_tensor_frame_webp(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    return tensor_frame(app, req, res, TS_CODEC_WEBP, err);
}

ts_status api_tensor_frame_png(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    return tensor_frame(app, req, res, TS_CODEC_PNG, err);
}

ts_status api_tensor_frame_npy(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    return tensor_frame(app, req, res, TS_CODEC_NPY, err);
}

/* ---- POST /v1/render.* ---- */

static ts_status render_body(ts_app *app, ts_request *req, ts_response *res, ts_codec codec,
                             ts_error *err)
{
    picture want;
    json_t *object = NULL;
    ts_status st = ts_request_query_only(req, encode_keys, err);
    if (st == TS_OK)
        st = want_device(app, err);
    if (st == TS_OK)
        st = read_picture(req, codec, &want, err);
    if (st == TS_OK)
        st = ts_request_json(req, &object, err);
    if (st == TS_OK && !json_is_object(object))
        st = ts_fail(err, TS_E_OPTION, "want a view object");
    if (st == TS_OK && !json_object_get(object, "tensor") && !json_object_get(object, "panels") &&
        !json_object_get(object, "compare"))
        st = ts_fail(err, TS_E_OPTION, "want \"tensor\", \"panels\" or \"compare\" in the view");
    if (st == TS_OK)
        st = render(app, req, res, object, NULL, &want, err);
    json_decref(object);
    return st;
}

ts_status api_render_webp(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    return render_body(app, req, res, TS_CODEC_WEBP, err);
}

ts_status api_render_png(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    return render_body(app, req, res, TS_CODEC_PNG, err);
}

ts_status api_render_npy(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    return render_body(app, req, res, TS_CODEC_NPY, err);
}

/* ---- colormaps ---- */

static const char *const no_keys[] = {NULL};

ts_status api_colormaps_list(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    (void)app;
    static const char *const keys[] = {"prefix", NULL};
    const char *prefix = ts_request_query(req, "prefix");
    ts_status st = ts_request_query_only(req, keys, err);
    if (st != TS_OK)
        return st;
    json_t *all = ts_colormap_list(), *list = json_array(), *map;
    size_t i;
    json_array_foreach(all, i, map)
    {
        const char *name = json_string_value(json_object_get(map, "name"));
        if (!prefix || (name && strncmp(name, prefix, strlen(prefix)) == 0))
            json_array_append(list, map);
    }
    json_decref(all);
    ts_response_json(res, 200, json_pack("{s:o}", "colormaps", list));
    return TS_OK;
}

ts_status api_colormap_get(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    (void)app;
    json_t *map = NULL;
    ts_status st = ts_request_query_only(req, no_keys, err);
    if (st == TS_OK)
        st = ts_colormap_get(ts_request_param(req, "name"), &map, err);
    if (st == TS_OK)
        ts_response_json(res, 200, map);
    return st;
}

ts_status api_colormap_put(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    (void)app;
    const char *name = ts_request_param(req, "name");
    json_t *value = NULL, *map = NULL;
    bool created;
    ts_status st = ts_request_query_only(req, no_keys, err);
    if (st == TS_OK)
        st = ts_request_json(req, &value, err);
    if (st == TS_OK)
        st = ts_colormap_put(name, value, &created, err);
    if (st == TS_OK)
        st = ts_colormap_get(name, &map, err);
    if (st == TS_OK)
        ts_response_json(res, created ? 201 : 200, map);
    json_decref(value);
    return st;
}

ts_status api_colormap_delete(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    (void)app;
    ts_status st = ts_request_query_only(req, no_keys, err);
    if (st == TS_OK)
        st = ts_colormap_remove(ts_request_param(req, "name"), err);
    if (st == TS_OK)
        ts_response_status(res, 204);
    return st;
}
