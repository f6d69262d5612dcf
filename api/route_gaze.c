/* Gaze over a clip: per-frame cells and numbers, tensors on request. */
#include <stdlib.h>
#include <string.h>

#include "api/routes.h"
#include "cl/base/name.h"
#include "server/clips.h"
#include "server/gaze.h"
#include "server/gazeout.h"
#include "server/gazereadout.h"
#include "server/hub.h"

/* The keys of the request that are not the session's. */
typedef struct extras {
    const char *stream, *store;
    const json_t *outputs, *readout;
    bool details_all;
} extras;

static ts_status check_name(const char *what, const char *name, ts_error *err)
{
    return name ? ts_name_check(what, name, err) : TS_OK;
}

static ts_status read_extras(const json_t *body, extras *e, ts_error *err)
{
    static const char *const details[] = {"last", "all", NULL};
    int which = 0;
    *e = (extras){.outputs = json_object_get(body, "outputs"),
                  .readout = json_object_get(body, "readout")};
    ts_status st = ts_json_get_string(body, "", "stream", &e->stream, err);
    if (st == TS_OK)
        st = ts_json_get_string(body, "", "store", &e->store, err);
    if (st == TS_OK)
        st = ts_json_get_enum(body, "", "details", details, &which, err);
    if (st == TS_OK)
        st = check_name("stream", e->stream, err);
    if (st == TS_OK)
        st = check_name("tensor", e->store, err);
    e->details_all = which == 1;
    return st;
}

/* What is left is the session's. */
static json_t *session_options(const json_t *body)
{
    static const char *const own[] = {"stream", "store", "outputs", "readout", "details"};
    json_t *o = json_copy((json_t *)(uintptr_t)body);
    for (size_t i = 0; o && i < sizeof own / sizeof *own; i++)
        json_object_del(o, own[i]);
    /* A directory of the server's is not a client's to name. */
    if (o && json_object_get(o, "model_dir")) {
        json_decref(o);
        return NULL;
    }
    return o;
}

typedef struct run {
    ts_queue *queue;
    const ts_clip *clip;
    ts_gaze_session *session;
    ts_gazeout *outputs;
    ts_gaze_readout *readout; /* or NULL */
    bool details, details_all;
    ts_stream *stream; /* where frames are also shown; or NULL */
    json_t *frames;
    ts_gaze_totals totals;
} run;

/* Frames go to an existing stream that takes them, or to a new one. */
static ts_status open_stream(ts_app *app, const char *name, ts_stream **out, ts_error *err)
{
    if (ts_hub_find(app->hub, name, out, NULL) == TS_OK)
        return TS_OK;
    json_t *document = json_pack("{s:{s:b}}", "source", "push", 1);
    bool created;
    ts_status st = ts_hub_put(app->hub, name, document, &created, NULL, err);
    json_decref(document);
    return st == TS_OK ? ts_hub_find(app->hub, name, out, err) : st;
}

static ts_status publish(run *r, const ts_gaze_image *image, int64_t n, ts_error *err)
{
    enum {
        TURN_US = 2000000 /* a viewer that falls behind holds the clip up so long at most */
    };
    ts_gaze_image picture;
    ts_pushed frame = {.has_step = true, .step = n};
    ts_status st = ts_gaze_session_picture(r->session, r->queue, image, &picture, err);
    if (st != TS_OK)
        return st;
    ts_shape shape = TS_SHAPE(picture.height, picture.width, 4);
    st = ts_tensor_create(ts_queue_device(r->queue), TS_U8, &shape, &frame.tensor, err);
    if (st == TS_OK)
        st =
            ts_buffer_copy(r->queue, picture.buffer, picture.offset, ts_tensor_buffer(frame.tensor),
                           ts_tensor_offset(frame.tensor), ts_tensor_nbytes(frame.tensor), err);
    if (st == TS_OK)
        st = ts_queue_finish(r->queue, err); /* the render thread has another queue */
    if (st == TS_OK)
        st = ts_stream_push(r->stream, &frame, TURN_US, err);
    ts_tensor_unref(frame.tensor);
    return st;
}

static ts_status one_frame(run *r, int64_t n, ts_error *err)
{
    ts_gaze_image image = {.width = r->clip->width, .height = r->clip->height};
    ts_gaze_step step;
    ts_clip_frame(r->clip, n, &image.buffer, &image.offset);
    ts_status st = ts_gaze_session_step(r->session, r->queue, &image, &step, err);
    if (st == TS_OK)
        st = ts_gazeout_add(r->outputs, r->session, r->queue, &image, &step, err);
    if (st == TS_OK && r->readout)
        st = ts_gaze_readout_add(r->readout, step.fix.cells, step.fix.n_cells, err);
    if (st == TS_OK && r->stream)
        st = publish(r, &image, n, err);
    if (st != TS_OK)
        return st;
    json_t *o = ts_gaze_step_json(r->session, &step);
    if (r->details_all || (r->details && n + 1 == r->clip->frames))
        ts_gaze_step_details(r->session, &step, &image, o);
    json_array_append_new(r->frames, o);
    ts_gaze_totals_add(&r->totals, &step);
    return TS_OK;
}

static ts_status answer(ts_app *app, run *r, const extras *e, bool safetensors, ts_response *res,
                        ts_error *err)
{
    json_t *stored = NULL, *readout = NULL;
    ts_buf file = {0};
    ts_status st = TS_OK;
    if (r->readout)
        st = ts_gaze_readout_json(r->readout, &readout, err);
    if (st == TS_OK && e->store)
        st = ts_gazeout_store(r->outputs, r->queue, app->store, e->store, &stored, err);
    if (st != TS_OK) {
        json_decref(readout);
        return st;
    }
    json_t *result =
        json_pack("{s:O,s:o}", "frames", r->frames, "totals", ts_gaze_totals_json(&r->totals));
    if (stored)
        json_object_set_new(result, "stored", stored);
    if (readout)
        json_object_set_new(result, "readout", readout);
    if (safetensors)
        st = ts_gazeout_safetensors(r->outputs, r->queue, result, &file, err);
    if (st == TS_OK && safetensors) {
        ts_response_bytes(res, 200, "application/vnd.safetensors", &file);
        json_decref(result);
    } else if (st == TS_OK) {
        ts_response_json(res, 200, result);
    } else {
        json_decref(result);
    }
    ts_buf_finish(&file);
    return st;
}

static ts_status run_clip(ts_app *app, ts_request *req, ts_clip *clip, const json_t *body,
                          ts_response *res, ts_error *err)
{
    static const char *const types[] = {"application/json", "application/vnd.safetensors", NULL};
    extras e;
    run r = {.queue = ts_request_queue(req), .clip = clip};
    bool tensors = false, details = false;
    int type = ts_request_accept(req, types);
    ts_status st = type < 0 ? ts_fail(err, TS_E_NOT_ACCEPTABLE,
                                      "answers are application/json or application/vnd.safetensors")
                            : read_extras(body, &e, err);
    if (st == TS_OK)
        st = ts_gazeout_create(e.outputs, clip->frames, &r.outputs, &tensors, &details, err);
    if (st == TS_OK)
        st = ts_gaze_readout_create(e.readout, (size_t)clip->frames, &r.readout, err);
    if (st == TS_OK && tensors && type == 0 && !e.store)
        st = ts_fail(err, TS_E_OPTION,
                     "outputs: tensors need Accept: application/vnd.safetensors, "
                     "or \"store\"");
    if (st == TS_OK) {
        json_t *options = session_options(body);
        st = options ? ts_gaze_session_create(app->device, r.queue, options, &r.session, err)
                     : ts_fail(err, TS_E_OPTION, "unknown key model_dir; name a \"model\"");
        json_decref(options);
    }
    if (st == TS_OK && e.stream)
        st = open_stream(app, e.stream, &r.stream, err);
    r.frames = json_array();
    r.details = details;
    r.details_all = st == TS_OK && e.details_all;
    for (int64_t n = 0; st == TS_OK && n < clip->frames; n++)
        st = one_frame(&r, n, err);
    if (st == TS_OK)
        st = answer(app, &r, &e, type == 1, res, err);
    json_decref(r.frames);
    ts_stream_unref(r.stream);
    ts_gaze_session_destroy(r.session);
    ts_gaze_readout_destroy(r.readout);
    ts_gazeout_destroy(r.outputs);
    return st;
}

ts_status api_clip_gaze(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    const char *id = ts_request_param(req, "id");
    json_t *body = NULL;
    ts_clip *clip = NULL;
    ts_status st = ts_name_check("clip", id, err);
    if (st == TS_OK && !app->device)
        st = ts_fail(err, TS_E_NOT_READY, "this server has no device");
    if (st == TS_OK)
        st = ts_clips_find(app->clips, id, &clip, err);
    if (st == TS_OK && ts_request_body(req)->len == 0)
        body = json_object(); /* all defaults */
    else if (st == TS_OK)
        st = ts_request_json(req, &body, err);
    if (st == TS_OK && !json_is_object(body))
        st = ts_fail(err, TS_E_JSON, "expected a JSON object");
    if (st == TS_OK)
        st = run_clip(app, req, clip, body, res, err);
    json_decref(body);
    ts_clip_unref(clip);
    return st;
}
