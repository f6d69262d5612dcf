/* POST /v1/models/{name}/detect: boxes in a picture. */
#include <stdio.h>
#include <stdlib.h>

#include "api/routes.h"
#include "cl/base/clock.h"
#include "cl/models/rfdetr/rfdetr.h"
#include "cl/tensor/store.h"
#include "server/codec.h"
#include "server/models.h"

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

/* What is looked at: a stored tensor, or the body's picture once it is on the device. */
typedef struct picture {
    ts_entry entry; /* tensor NULL: the body */
    ts_buf rgba;
    int width, height;
} picture;

static void picture_finish(picture *p)
{
    ts_entry_finish(&p->entry);
    ts_buf_finish(&p->rgba);
}

static ts_status stored_picture(ts_app *app, const char *name, picture *p, ts_error *err)
{
    ts_status st = ts_store_get(app->store, name, &p->entry, err);
    if (st != TS_OK)
        return st;
    const ts_shape *shape = ts_tensor_shape(p->entry.tensor);
    if (shape->rank != 3 || ts_tensor_dtype(p->entry.tensor) != TS_U8)
        return ts_fail(err, TS_E_SHAPE, "tensor %.130s is no picture: want u8 [height,width,3 or 4]",
                       name);
    p->height = (int)shape->dim[0];
    p->width = (int)shape->dim[1];
    return TS_OK;
}

static ts_status open_picture(ts_app *app, ts_request *req, picture *p, ts_error *err)
{
    const ts_buf *body = ts_request_body(req);
    const char *name = ts_request_query(req, "tensor");
    ts_image_info info;
    if (name && body->len)
        return ts_fail(err, TS_E_OPTION, "tensor: a body besides it says what to look at");
    if (name)
        return stored_picture(app, name, p, err);
    ts_status st = body->len ? ts_image_decode(body->data, body->len, 4, &info, &p->rgba, err)
                             : ts_fail(err, TS_E_EMPTY, "the body is empty, want a picture");
    if (st == TS_OK) {
        p->width = info.width;
        p->height = info.height;
    }
    return st;
}

/* Between begin and end of the model. */
static ts_status detect_locked(ts_loaded *loaded, const picture *p, float threshold, bool clamp,
                               json_t **out, ts_error *err)
{
    ts_model *model = ts_loaded_model(loaded);
    ts_rfdetr *m = ts_rfdetr_of(model);
    ts_rfdetr_image image = {.width = p->width, .height = p->height};
    ts_buffer *buffer = NULL;
    size_t n = 0;
    ts_rfdetr_box *box = calloc((size_t)ts_rfdetr_queries(m), sizeof *box);
    ts_status st = box ? TS_OK : ts_fail(err, TS_E_NO_MEMORY, "detections");
    if (st == TS_OK && p->entry.tensor) {
        image.rgba = ts_arr_of(p->entry.tensor);
    } else if (st == TS_OK) {
        st = ts_buffer_create(ts_queue_device(model->queue), p->rgba.len, &buffer, err);
        if (st == TS_OK)
            st = ts_buffer_write(model->queue, buffer, 0, p->rgba.data, p->rgba.len, err);
        image.rgba = ts_arr_at(buffer, 0, TS_U8, &TS_SHAPE(p->height, p->width, 4));
    }
    if (st == TS_OK)
        st = ts_rfdetr_detect(m, &image, threshold, clamp, box, &n, err);
    if (st == TS_OK)
        *out = boxes_json(m, box, n);
    ts_buffer_unref(buffer);
    free(box);
    return st;
}

static ts_status detect(ts_app *app, ts_loaded *loaded, ts_request *req, float threshold,
                        bool clamp, json_t **answer, ts_error *err)
{
    picture p = {0};
    json_t *boxes = NULL;
    int64_t start = ts_now_us();
    ts_status st = open_picture(app, req, &p, err);
    int64_t decoded = ts_now_us();
    if (st == TS_OK)
        st = ts_loaded_begin(loaded, err);
    if (st == TS_OK) {
        st = detect_locked(loaded, &p, threshold, clamp, &boxes, err);
        ts_loaded_end(loaded);
    }
    int64_t done = ts_now_us();
    if (st == TS_OK)
        *answer = json_pack("{s:o, s:i, s:i, s:{s:f, s:f, s:f}}", "detections", boxes, "width",
                            p.width, "height", p.height, "timing_ms", "decode",
                            (double)(decoded - start) / 1e3, "detect", (double)(done - decoded) / 1e3,
                            "total", (double)(done - start) / 1e3);
    picture_finish(&p);
    return st;
}

ts_status api_model_detect(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    static const char *const keys[] = {"threshold", "masks", "clamp_boxes", "tensor", NULL};
    ts_loaded *loaded = NULL;
    json_t *answer = NULL;
    double threshold = 0.5;
    bool masks = false, clamp = true;
    ts_status st = ts_request_query_only(req, keys, err);
    if (st == TS_OK)
        st = ts_request_query_double(req, "threshold", 0, 1, &threshold, err);
    if (st == TS_OK)
        st = ts_request_query_bool(req, "masks", &masks, err);
    if (st == TS_OK)
        st = ts_request_query_bool(req, "clamp_boxes", &clamp, err);
    if (st == TS_OK && masks)
        st = ts_fail(err, TS_E_OPTION, "masks: this server computes boxes only");
    if (st == TS_OK && !app->models)
        st = ts_fail(err, TS_E_NOT_READY, "this server has no device for models");
    if (st == TS_OK)
        st = ts_models_get(app->models, ts_request_param(req, "name"), &loaded, err);
    if (st == TS_OK && !ts_rfdetr_of(ts_loaded_model(loaded)))
        st = ts_fail(err, TS_E_SHAPE, "model %s is no detector", ts_loaded_name(loaded));
    if (st == TS_OK)
        st = detect(app, loaded, req, (float)threshold, clamp, &answer, err);
    if (st == TS_OK)
        ts_response_json(res, 200, answer);
    ts_loaded_unref(loaded);
    return st;
}
