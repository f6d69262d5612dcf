/* /v1/streams/{s}/compare: pairs that a trainer posts, their figures and files. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/routes.h"
#include "server/multipart.h"
#include "server/train/paircsv.h"
#include "server/train/pairs.h"

enum {
    MAX_META = 64 << 10
};

static ts_status find_pair(ts_app *app, const ts_request *req, ts_pair **out, ts_error *err)
{
    const char *name = ts_request_param(req, "s");
    *out = NULL;
    ts_status st = ts_name_check("stream", name, err);
    if (st == TS_OK && !app->pairs)
        st = ts_fail(err, TS_E_NOT_READY, "this server takes no pairs");
    return st == TS_OK ? ts_pairs_find(app->pairs, name, out, err) : st;
}

/* ---- pictures ---- */

typedef struct raw_type {
    char dtype[8], shape[64];
    double lo, hi;
} raw_type;

/* "application/x-tensor; dtype=f32; shape=3,H,W; range=0,1" */
static bool read_raw_type(const char *type, raw_type *out)
{
    const char *dtype = strstr(type, "dtype="), *shape = strstr(type, "shape=");
    const char *range = strstr(type, "range=");
    *out = (raw_type){.lo = 0, .hi = 1};
    if (!dtype || !shape || sscanf(dtype + 6, "%7[a-z0-9]", out->dtype) != 1 ||
        sscanf(shape + 6, "%63[0-9,]", out->shape) != 1)
        return false;
    return !range || (sscanf(range + 6, "%lf,%lf", &out->lo, &out->hi) == 2 && out->hi > out->lo);
}

static ts_status raw_image(const char *what, const char *type, const uint8_t *data, size_t len,
                           ts_trainimage *out, ts_error *err)
{
    raw_type raw;
    ts_dtype dtype;
    ts_shape shape;
    size_t nbytes;
    if (!read_raw_type(type, &raw) || !ts_dtype_parse(raw.dtype, &dtype) ||
        (dtype != TS_F32 && dtype != TS_U8))
        return ts_fail(err, TS_E_ENCODING,
                       "%s: want application/x-tensor; dtype=f32|u8; shape=C,H,W; range=lo,hi",
                       what);
    ts_status st = ts_shape_parse(raw.shape, &shape, err);
    if (st == TS_OK)
        st = ts_shape_check(&shape, dtype, &nbytes, err);
    if (st != TS_OK)
        return st;
    if (shape.rank != 3 || shape.dim[0] < 1 || shape.dim[0] > TS_GS_MAX_CHANNELS ||
        shape.dim[1] < 1 || shape.dim[2] < 1 || shape.dim[1] > TS_GS_MAX_SIDE ||
        shape.dim[2] > TS_GS_MAX_SIDE)
        return ts_fail(err, TS_E_SHAPE, "%s: shape %s, want C,H,W", what, raw.shape);
    if (nbytes != len)
        return ts_fail(err, TS_E_SIZE, "%s: %zu bytes, %s of %s takes %zu", what, len, raw.shape,
                       raw.dtype, nbytes);
    size_t n = (size_t)ts_shape_elements(&shape);
    out->chw = calloc(n, sizeof *out->chw);
    if (!out->chw)
        return ts_fail(err, TS_E_NO_MEMORY, "%s", what);
    out->channels = (int)shape.dim[0];
    out->height = (int)shape.dim[1];
    out->width = (int)shape.dim[2];
    for (size_t i = 0; i < n; ++i) {
        float v = (float)data[dtype == TS_U8 ? i : 0] / 255.0f;
        if (dtype == TS_F32) {
            memcpy(&v, data + 4 * i, 4);
            v = (float)(((double)v - raw.lo) / (raw.hi - raw.lo));
        }
        if (!isfinite(v))
            return ts_fail(err, TS_E_SHAPE, "%s has values that are not finite", what);
        out->chw[i] = v < 0 ? 0 : v > 1 ? 1 : v;
    }
    return TS_OK;
}

static ts_status take_image(const char *what, const char *type, const uint8_t *data, size_t len,
                            ts_trainimage *out, ts_error *err)
{
    if (strncasecmp(type, "application/x-tensor", 20) == 0)
        return raw_image(what, type, data, len, out, err);
    return ts_trainimage_add_file(out, what, data, len, err);
}

/* ---- meta ---- */

static ts_status check_metrics(const json_t *metrics, ts_error *err)
{
    const char *name;
    json_t *v;
    if (!json_is_object(metrics))
        return ts_fail(err, TS_E_OPTION, "metrics: expected an object");
    if (json_object_size(metrics) > TS_PAIRCSV_MAX)
        return ts_fail(err, TS_E_OPTION, "metrics: %zu names, at most %d",
                       json_object_size(metrics), TS_PAIRCSV_MAX);
    json_object_foreach((json_t *)metrics, name, v)
    {
        const char *word = json_string_value(v);
        bool special = word && (strcmp(word, "nan") == 0 || strcmp(word, "inf") == 0 ||
                                strcmp(word, "-inf") == 0);
        if (!ts_paircsv_name_valid(name))
            return ts_fail(err, TS_E_OPTION, "metrics: \"%.80s\" is not [A-Za-z0-9_./-]{1,64}",
                           name);
        if (!json_is_number(v) && !special)
            return ts_fail(err, TS_E_OPTION,
                           "metrics.%s: expected a number, \"nan\", \"inf\" or \"-inf\"", name);
    }
    return TS_OK;
}

static ts_status read_text(const json_t *list, ts_pair_post *post, ts_error *err)
{
    if (!json_is_array(list) || json_array_size(list) > 4)
        return ts_fail(err, TS_E_OPTION, "text: expected a list of at most 4 lines");
    for (size_t i = 0; i < json_array_size(list); ++i) {
        const char *line = json_string_value(json_array_get(list, i));
        if (!line)
            return ts_fail(err, TS_E_OPTION, "text: expected a list of at most 4 lines");
        snprintf(post->text[i], sizeof post->text[i], "%s", line);
    }
    return TS_OK;
}

static ts_status read_meta(const json_t *meta, ts_pair_post *post, bool *has_step, ts_error *err)
{
    static const char *const keys[] = {"step", "metrics", "text", "time", NULL};
    const json_t *metrics = json_object_get(meta, "metrics");
    const json_t *step = json_object_get(meta, "step"), *text = json_object_get(meta, "text");
    double time = 0;
    ts_status st = json_is_object(meta) ? ts_json_only(meta, "meta", keys, err)
                                        : ts_fail(err, TS_E_OPTION, "meta: expected an object");
    if (st == TS_OK && step && (!json_is_integer(step) || json_integer_value(step) < 0))
        st = ts_fail(err, TS_E_OPTION, "meta.step: expected an integer, 0 and more");
    if (st == TS_OK && step) {
        post->step = json_integer_value(step);
        *has_step = true;
    }
    if (st == TS_OK && metrics)
        st = check_metrics(metrics, err);
    if (st == TS_OK && metrics)
        post->metrics = json_deep_copy(metrics);
    if (st == TS_OK && text)
        st = read_text(text, post, err);
    if (st == TS_OK && json_object_get(meta, "time")) {
        st = ts_json_get_double(meta, "meta", "time", -1e18, 1e18, &time, err);
        post->has_time = true;
        post->time = time;
    }
    return st;
}

static ts_status read_step(const ts_request *req, ts_pair_post *post, bool has_step, ts_error *err)
{
    static const char *const keys[] = {"step", NULL};
    const char *text = ts_request_query(req, "step");
    char *end;
    ts_status st = ts_request_query_only(req, keys, err);
    if (st != TS_OK)
        return st;
    if (!text && !has_step)
        return ts_fail(err, TS_E_OPTION, "step: missing (in the query or in meta)");
    if (!text)
        return TS_OK;
    long long step = strtoll(text, &end, 10);
    if (end == text || *end || step < 0)
        return ts_fail(err, TS_E_OPTION, "step: expected an integer, 0 and more");
    if (has_step && step != post->step)
        return ts_fail(err, TS_E_OPTION, "step: %lld in the query, %lld in meta", step,
                       (long long)post->step);
    post->step = step;
    return TS_OK;
}

/* ---- handlers ---- */

static ts_status read_form(const ts_multipart *form, ts_pair_post *post, bool *has_step,
                           ts_error *err)
{
    const ts_part *render = ts_multipart_find(form, "render");
    const ts_part *truth = ts_multipart_find(form, "ground_truth");
    const ts_part *meta = ts_multipart_find(form, "meta");
    ts_status st = TS_OK;
    if (meta && meta->len > MAX_META)
        return ts_fail(err, TS_E_TOO_LARGE, "meta: %zu bytes, at most %d", meta->len, MAX_META);
    if (meta) {
        json_t *object = NULL;
        st = ts_json_parse(meta->data, meta->len, &object, err);
        if (st == TS_OK)
            st = read_meta(object, post, has_step, err);
        json_decref(object);
    }
    if (st == TS_OK && !render)
        st = ts_fail(err, TS_E_OPTION, "render: expected a part of that name");
    if (st == TS_OK)
        st = take_image("render", render->type, render->data, render->len, &post->render, err);
    if (st == TS_OK && truth)
        st = take_image("ground_truth", truth->type, truth->data, truth->len, &post->truth, err);
    return st;
}

static ts_status answer(ts_pair *pair, const ts_pair_post *post, ts_response *res, ts_error *err)
{
    json_t *body = NULL;
    ts_status st = ts_pair_add(pair, post, &body, err);
    if (st == TS_OK)
        ts_response_json(res, 202, body);
    else
        json_decref(body);
    return st;
}

ts_status api_compare_post(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    const ts_buf *body = ts_request_body(req);
    ts_pair_post post = {0};
    ts_pair *pair;
    bool has_step = false;
    ts_status st = find_pair(app, req, &pair, err);
    ts_multipart *form = st == TS_OK ? calloc(1, sizeof *form) : NULL;
    if (st == TS_OK && !form)
        st = ts_fail(err, TS_E_NO_MEMORY, "a pair");
    if (st == TS_OK)
        st = ts_multipart_parse(ts_request_header(req, "content-type"), body->data, body->len, form,
                                err);
    if (st == TS_OK)
        st = read_form(form, &post, &has_step, err);
    if (st == TS_OK)
        st = read_step(req, &post, has_step, err);
    if (st == TS_OK)
        st = answer(pair, &post, res, err);
    ts_pair_post_finish(&post);
    ts_pair_unref(pair);
    free(form);
    return st;
}

ts_status api_compare_metrics_post(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    ts_pair_post post = {0};
    ts_pair *pair;
    json_t *body = NULL;
    bool has_step = false;
    ts_status st = find_pair(app, req, &pair, err);
    if (st == TS_OK)
        st = ts_request_json(req, &body, err);
    if (st == TS_OK)
        st = read_meta(body, &post, &has_step, err);
    if (st == TS_OK)
        st = read_step(req, &post, has_step, err);
    if (st == TS_OK)
        st = answer(pair, &post, res, err);
    json_decref(body);
    ts_pair_post_finish(&post);
    ts_pair_unref(pair);
    return st;
}

ts_status api_compare_truth(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    static const char *const no_keys[] = {NULL};
    const ts_buf *body = ts_request_body(req);
    const char *type = ts_request_header(req, "content-type");
    ts_trainimage image = {0};
    ts_pair *pair;
    int64_t version = 0;
    ts_status st = find_pair(app, req, &pair, err);
    if (st == TS_OK)
        st = ts_request_query_only(req, no_keys, err);
    if (st == TS_OK)
        st = take_image("ground_truth", type ? type : "", body->data, body->len, &image, err);
    if (st == TS_OK)
        st = ts_pair_truth(pair, &image, &version, err);
    if (st == TS_OK)
        ts_response_json(res, 200,
                         json_pack("{s:I, s:i, s:i}", "id", (json_int_t)version, "width",
                                   image.width, "height", image.height));
    ts_trainimage_finish(&image);
    ts_pair_unref(pair);
    return st;
}

ts_status api_compare_finish(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    ts_pair *pair;
    ts_status st = find_pair(app, req, &pair, err);
    if (st == TS_OK)
        st = ts_pair_finish(pair, err);
    if (st == TS_OK)
        ts_response_json(res, 200, ts_pair_json(pair));
    ts_pair_unref(pair);
    return st;
}

ts_status api_compare_get(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    ts_pair *pair;
    ts_status st = find_pair(app, req, &pair, err);
    if (st == TS_OK)
        ts_response_json(res, 200, ts_pair_json(pair));
    ts_pair_unref(pair);
    return st;
}

ts_status api_compare_file(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    static const struct {
        const char *name, *type;
    } all[] = {{"metrics.csv", "text/csv; charset=utf-8"},
               {"training.mp4", "video/mp4"},
               {"rendered.png", "image/png"},
               {"rendered.jpg", "image/jpeg"}};
    const char *name = ts_request_param(req, "file");
    char path[3200];
    ts_pair *pair;
    size_t i = 0;
    ts_status st = find_pair(app, req, &pair, err);
    while (i < 4 && strcmp(name, all[i].name) != 0)
        ++i;
    if (st == TS_OK && i == 4)
        st = ts_fail(err, TS_E_NOT_FOUND, "a compare stream has no file \"%.80s\"", name);
    if (st == TS_OK)
        st = ts_pair_path(pair, name, path, sizeof path, err);
    if (st == TS_OK)
        st = ts_response_file(res, all[i].type, path, err);
    ts_pair_unref(pair);
    return st;
}
