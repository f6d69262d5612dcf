/* POST /v1/models/{name}/detect: boxes in a picture. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/routes.h"
#include "cl/base/clock.h"
#include "cl/models/rfdetr/rfdetr.h"
#include "server/codec.h"
#include "server/models.h"

static ts_status query_threshold(const ts_request *req, float *out, ts_error *err)
{
    const char *text = ts_request_query(req, "threshold");
    char *end;
    *out = 0.5f;
    if (!text)
        return TS_OK;
    errno = 0;
    double v = strtod(text, &end);
    if (errno || end == text || *end || !(v >= 0.0 && v <= 1.0))
        return ts_fail(err, TS_E_OPTION, "threshold is '%s', want a number from 0 to 1", text);
    *out = (float)v;
    return TS_OK;
}

static ts_status query_switch(const ts_request *req, const char *key, bool standard, bool *out,
                              ts_error *err)
{
    const char *text = ts_request_query(req, key);
    *out = text ? text[0] == '1' : standard;
    if (text && strcmp(text, "0") != 0 && strcmp(text, "1") != 0)
        return ts_fail(err, TS_E_OPTION, "%s is '%s', want 0 or 1", key, text);
    return TS_OK;
}

static json_t *boxes_json(const ts_rfdetr *model, const ts_rfdetr_box *box, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        char plain[16];
        const ts_rfdetr_box *b = &box[i];
        const char *label = ts_rfdetr_label(model, b->class_id);
        snprintf(plain, sizeof plain, "%d", b->class_id);
        json_array_append_new(
            list, json_pack("{s:s, s:i, s:f, s:[f,f,f,f]}", "label", label ? label : plain,
                            "class_id", b->class_id, "score", (double)b->score, "box",
                            (double)b->x0, (double)b->y0, (double)b->x1, (double)b->y1));
    }
    return list;
}

/* Between begin and end of the model. */
static ts_status detect_locked(ts_loaded *loaded, const ts_buf *rgba, int width, int height,
                               float threshold, bool clamp, json_t **out, ts_error *err)
{
    ts_model *model = ts_loaded_model(loaded);
    ts_rfdetr *m = ts_rfdetr_of(model);
    ts_rfdetr_image image = {.width = width, .height = height};
    ts_buffer *buffer = NULL;
    size_t n = 0;
    ts_rfdetr_box *box = calloc((size_t)ts_rfdetr_queries(m), sizeof *box);
    ts_status st = box ? ts_buffer_create(ts_queue_device(model->queue), rgba->len, &buffer, err)
                       : ts_fail(err, TS_E_NO_MEMORY, "detections");
    if (st == TS_OK)
        st = ts_buffer_write(model->queue, buffer, 0, rgba->data, rgba->len, err);
    if (st == TS_OK) {
        image.rgba = ts_arr_at(buffer, 0, TS_U8, &TS_SHAPE(height, width, 4));
        st = ts_rfdetr_detect(m, &image, threshold, clamp, box, &n, err);
    }
    if (st == TS_OK)
        *out = boxes_json(m, box, n);
    ts_buffer_unref(buffer);
    free(box);
    return st;
}

static ts_status detect(ts_loaded *loaded, ts_request *req, float threshold, bool clamp,
                        json_t **answer, ts_error *err)
{
    const ts_buf *body = ts_request_body(req);
    ts_image_info info;
    ts_buf rgba = {0};
    json_t *boxes = NULL;
    int64_t start = ts_now_us(), decoded = start, done = start;
    ts_status st = body->len ? ts_image_decode(body->data, body->len, 4, &info, &rgba, err)
                             : ts_fail(err, TS_E_EMPTY, "the body is empty, want a picture");
    decoded = ts_now_us();
    if (st == TS_OK)
        st = ts_loaded_begin(loaded, err);
    if (st == TS_OK) {
        st = detect_locked(loaded, &rgba, info.width, info.height, threshold, clamp, &boxes, err);
        ts_loaded_end(loaded);
    }
    done = ts_now_us();
    ts_buf_finish(&rgba);
    if (st == TS_OK)
        *answer = json_pack("{s:o, s:i, s:i, s:{s:f, s:f, s:f}}", "detections", boxes, "width",
                            info.width, "height", info.height, "timing_ms", "decode",
                            (double)(decoded - start) / 1e3, "detect", (double)(done - decoded) / 1e3,
                            "total", (double)(done - start) / 1e3);
    return st;
}

ts_status api_model_detect(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    static const char *const keys[] = {"threshold", "masks", "clamp_boxes", NULL};
    ts_loaded *loaded = NULL;
    json_t *answer = NULL;
    float threshold = 0.5f;
    bool masks = false, clamp = true;
    ts_status st = ts_request_query_only(req, keys, err);
    if (st == TS_OK)
        st = query_threshold(req, &threshold, err);
    if (st == TS_OK)
        st = query_switch(req, "masks", false, &masks, err);
    if (st == TS_OK)
        st = query_switch(req, "clamp_boxes", true, &clamp, err);
    if (st == TS_OK && masks)
        st = ts_fail(err, TS_E_OPTION, "masks: this server computes boxes only");
    if (st == TS_OK && !app->models)
        st = ts_fail(err, TS_E_NOT_READY, "this server has no device for models");
    if (st == TS_OK)
        st = ts_models_get(app->models, ts_request_param(req, "name"), &loaded, err);
    if (st == TS_OK && !ts_rfdetr_of(ts_loaded_model(loaded)))
        st = ts_fail(err, TS_E_SHAPE, "model %s is no detector", ts_loaded_name(loaded));
    if (st == TS_OK)
        st = detect(loaded, req, threshold, clamp, &answer, err);
    if (st == TS_OK)
        ts_response_json(res, 200, answer);
    ts_loaded_unref(loaded);
    return st;
}
