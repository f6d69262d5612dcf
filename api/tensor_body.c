#include "api/tensor_body.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/name.h"
#include "cl/tensor/tensor_json.h"
#include "server/codec.h"

typedef enum body_form {
    FORM_INGEST, /* raw, NumPy, safetensors */
    FORM_JSON,
    FORM_IMAGE
} body_form;

typedef struct tensor_body {
    body_form form;
    ts_uploader *uploader;
    ts_ingest *ingest;
    ts_buf collected;
    uint64_t max_collected, max_tensor;
} tensor_body;

void ts_tensor_body_destroy(void *sink)
{
    tensor_body *body = sink;
    if (!body)
        return;
    ts_ingest_destroy(body->ingest);
    ts_buf_finish(&body->collected);
    free(body);
}

/* ---- query ---- */

static ts_status parse_tags(const char *text, json_t **out, ts_error *err)
{
    ts_status st = ts_json_parse(text, strlen(text), out, err);
    if (st != TS_OK) {
        ts_error_prefix(err, "tags");
        return st;
    }
    if (json_is_object(*out))
        return TS_OK;
    json_decref(*out);
    *out = NULL;
    return ts_fail(err, TS_E_OPTION, "tags: want a JSON object");
}

ts_status ts_publish_query(const ts_request *req, ts_publish_options *out, json_t **tags,
                           ts_error *err)
{
    const char *step = ts_request_query(req, "step"), *t = ts_request_query(req, "t");
    const char *run = ts_request_query(req, "run"), *text = ts_request_query(req, "tags");
    ts_publish_options o = {.has_step = step, .has_t = t, .run = run};
    ts_status st = ts_request_query_int(req, "step", INT64_MIN, INT64_MAX, &o.step, err);
    if (st == TS_OK)
        st = ts_request_query_double(req, "t", -1e300, 1e300, &o.t, err);
    if (st == TS_OK && run)
        st = ts_name_check("run", run, err);
    *tags = NULL;
    if (st == TS_OK && text)
        st = parse_tags(text, tags, err);
    o.tags = *tags;
    if (st == TS_OK)
        *out = o;
    return st;
}

json_t *ts_entry_json(const ts_entry *entry)
{
    const ts_shape *shape = ts_tensor_shape(entry->tensor);
    json_t *dims = json_array();
    for (int i = 0; i < shape->rank; i++)
        json_array_append_new(dims, json_integer(shape->dim[i]));
    json_t *out = json_pack("{s:s,s:s,s:o,s:I,s:I,s:s,s:I,s:f}", "name", entry->name, "dtype",
                            ts_dtype_name(ts_tensor_dtype(entry->tensor)), "shape", dims, "nbytes",
                            (json_int_t)ts_tensor_nbytes(entry->tensor), "version",
                            (json_int_t)entry->version, "device",
                            ts_device_caps(ts_tensor_device(entry->tensor))->name, "step",
                            (json_int_t)entry->step, "t", entry->t);
    if (out && *entry->run)
        json_object_set_new(out, "run", json_string(entry->run));
    if (out && entry->tags)
        json_object_set_new(out, "tags", json_deep_copy(entry->tags));
    return out;
}

enum {
    MAX_KEYS = 24
};

/* Query parameters of the form and of the route together. */
static ts_status check_keys(const ts_request *req, const char *const *form,
                            const char *const *route, ts_error *err)
{
    const char *all[MAX_KEYS + 1];
    int n = 0;
    if (!route)
        return TS_OK;
    for (; *form && n < MAX_KEYS; form++)
        all[n++] = *form;
    for (; *route && n < MAX_KEYS; route++)
        all[n++] = *route;
    all[n] = NULL;
    return ts_request_query_only(req, all, err);
}

/* ---- raw ---- */

static ts_status raw_word(const ts_request *req, const char *key, const char *yes, const char *no,
                          bool *out, ts_error *err)
{
    const char *text = ts_request_query(req, key);
    *out = text && strcmp(text, yes) == 0;
    if (text && !*out && strcmp(text, no) != 0)
        return ts_fail(err, TS_E_OPTION, "%s is \"%.40s\", want %s or %s", key, text, no, yes);
    return TS_OK;
}

static ts_status raw_strides(const ts_request *req, ts_layout *layout, ts_error *err)
{
    const char *text = ts_request_query(req, "strides");
    ts_shape strides;
    if (!text)
        return TS_OK;
    if (layout->fortran)
        return ts_fail(err, TS_E_OPTION, "strides: not together with order=F");
    ts_status st = ts_shape_parse(text, &strides, err);
    if (st != TS_OK || strides.rank != layout->shape.rank) {
        ts_error_clear(err);
        return ts_fail(err, TS_E_OPTION, "strides is \"%.100s\", want %d numbers of bytes", text,
                       layout->shape.rank);
    }
    layout->has_strides = true;
    memcpy(layout->strides, strides.dim, sizeof strides.dim);
    return TS_OK;
}

static const char *query_or_header(const ts_request *req, const char *key, const char *header)
{
    const char *text = ts_request_query(req, key);
    return text ? text : ts_request_header(req, header);
}

static ts_status raw_layout(const ts_request *req, ts_layout *out, ts_error *err)
{
    const char *dtype = query_or_header(req, "dtype", "x-tensor-dtype");
    const char *shape = query_or_header(req, "shape", "x-tensor-shape");
    *out = (ts_layout){0};
    if (!dtype || !shape)
        return ts_fail(err, TS_E_OPTION, "raw bytes need ?dtype= and ?shape=; %s is missing",
                       dtype ? "shape" : "dtype");
    if (!ts_dtype_parse(dtype, &out->dtype))
        return ts_fail(err, TS_E_DTYPE, "unknown dtype \"%.40s\"", dtype);
    ts_status st = ts_shape_parse(shape, &out->shape, err);
    int64_t skip = 0;
    if (st == TS_OK)
        st = ts_request_query_int(req, "offset", 0, INT64_MAX, &skip, err);
    out->offset = (uint64_t)skip;
    if (st == TS_OK)
        st = raw_word(req, "order", "F", "C", &out->fortran, err);
    if (st == TS_OK)
        st = raw_word(req, "byteorder", "big", "little", &out->big_endian, err);
    return st == TS_OK ? raw_strides(req, out, err) : st;
}

/* ---- opening ---- */

static ts_status open_raw(const ts_request *req, ts_ingest_options *o, const char *const *keys,
                          ts_error *err)
{
    static const char *const own[] = {"dtype", "shape",     "offset", "strides",
                                      "order", "byteorder", NULL};
    o->kind = TS_INGEST_RAW;
    ts_status st = check_keys(req, own, keys, err);
    return st == TS_OK ? raw_layout(req, &o->layout, err) : st;
}

static ts_status open_npy(const ts_request *req, ts_ingest_options *o, const char *const *keys,
                          ts_error *err)
{
    static const char *const own[] = {"dtype", NULL};
    const char *dtype = ts_request_query(req, "dtype");
    o->kind = TS_INGEST_NPY;
    ts_status st = check_keys(req, own, keys, err);
    o->as_bf16 = dtype && strcmp(dtype, "bf16") == 0;
    if (st == TS_OK && dtype && !o->as_bf16)
        st =
            ts_fail(err, TS_E_OPTION,
                    "dtype is \"%.40s\"; a NumPy file names its own, only bf16 may be said", dtype);
    return st;
}

static ts_status open_safetensors(const ts_request *req, ts_ingest_options *o,
                                  const char *const *keys, ts_error *err)
{
    static const char *const own[] = {"tensor", NULL};
    o->kind = TS_INGEST_SAFETENSORS;
    o->pick = ts_request_query(req, "tensor");
    ts_status st = check_keys(req, own, keys, err);
    if (st == TS_OK && (!o->pick || !*o->pick))
        st = ts_fail(err, TS_E_OPTION, "a safetensors file needs ?tensor=, one of its names");
    return st;
}

static bool is_image_type(const char *type)
{
    return strcmp(type, "image/png") == 0 || strcmp(type, "image/jpeg") == 0 ||
           strcmp(type, "image/webp") == 0;
}

static uint64_t tensor_limit(const ts_app *app)
{
    return app->options.max_tensor_bytes ? app->options.max_tensor_bytes
                                         : ts_device_caps(app->device)->max_alloc_bytes;
}

static ts_status new_body(ts_app *app, tensor_body **out, ts_error *err)
{
    if (!app->uploader)
        return ts_fail(err, TS_E_NOT_READY, "this server has no device to keep tensors on");
    tensor_body *body = calloc(1, sizeof *body);
    if (!body)
        return ts_fail(err, TS_E_NO_MEMORY, "request body");
    body->uploader = app->uploader;
    body->max_collected = app->options.max_body;
    body->max_tensor = tensor_limit(app);
    *out = body;
    return TS_OK;
}

static ts_status too_large(const tensor_body *body, ts_error *err)
{
    return ts_fail(err, TS_E_TOO_LARGE, "the body is larger than %" PRIu64 " bytes (--max-body)",
                   body->max_collected);
}

static ts_status open_form(tensor_body *body, const ts_request *req, int64_t length,
                           const char *const *keys, ts_error *err)
{
    static const char *const none[] = {NULL};
    const char *type = ts_request_content_type(req);
    ts_ingest_options o = {
        .uploader = body->uploader, .length = length, .max_bytes = body->max_tensor};
    ts_status st;
    if (strcmp(type, "application/json") == 0 || is_image_type(type)) {
        body->form = *type == 'i' ? FORM_IMAGE : FORM_JSON;
        st = check_keys(req, none, keys, err);
        if (st == TS_OK && length > 0 && (uint64_t)length > body->max_collected)
            st = too_large(body, err);
        return st;
    }
    if (strcmp(type, "application/octet-stream") == 0 ||
        (!*type && query_or_header(req, "dtype", "x-tensor-dtype")))
        st = open_raw(req, &o, keys, err);
    else if (strcmp(type, "application/x-npy") == 0)
        st = open_npy(req, &o, keys, err);
    else if (strcmp(type, "application/vnd.safetensors") == 0)
        st = open_safetensors(req, &o, keys, err);
    else
        st = ts_fail(err, TS_E_ENCODING,
                     "Content-Type is \"%.60s\"; want application/x-npy, application/octet-stream, "
                     "application/json, application/vnd.safetensors, image/png, image/jpeg or "
                     "image/webp",
                     type);
    return st == TS_OK ? ts_ingest_open(&o, &body->ingest, err) : st;
}

ts_status ts_tensor_body_open(ts_app *app, ts_request *req, int64_t length, const char *const *keys,
                              void **sink, ts_error *err)
{
    tensor_body *body;
    ts_status st = new_body(app, &body, err);
    if (st != TS_OK)
        return st;
    st = open_form(body, req, length, keys, err);
    if (st != TS_OK)
        ts_tensor_body_destroy(body);
    else
        *sink = body;
    return st;
}

ts_status ts_tensor_body_open_all(ts_app *app, ts_request *req, int64_t length,
                                  const char *const *keys, const char *prefix, void **sink,
                                  ts_error *err)
{
    static const char *const none[] = {NULL};
    tensor_body *body;
    const char *type = ts_request_content_type(req);
    if (strcmp(type, "application/vnd.safetensors") != 0)
        return ts_fail(err, TS_E_ENCODING,
                       "Content-Type is \"%.60s\"; want application/vnd.safetensors", type);
    ts_status st = check_keys(req, none, keys, err);
    if (st == TS_OK)
        st = new_body(app, &body, err);
    if (st != TS_OK)
        return st;
    ts_ingest_options o = {.uploader = body->uploader,
                           .kind = TS_INGEST_SAFETENSORS,
                           .length = length,
                           .max_bytes = body->max_tensor,
                           .prefix = prefix};
    st = ts_ingest_open(&o, &body->ingest, err);
    if (st != TS_OK)
        ts_tensor_body_destroy(body);
    else
        *sink = body;
    return st;
}

ts_status ts_tensor_body_append(void *sink, const void *data, size_t len, ts_error *err)
{
    tensor_body *body = sink;
    if (body->form == FORM_INGEST)
        return ts_ingest_append(body->ingest, data, len, err);
    if (len > body->max_collected - body->collected.len)
        return too_large(body, err);
    ts_buf_append(&body->collected, data, len);
    return body->collected.failed ? ts_fail(err, TS_E_NO_MEMORY, "request body") : TS_OK;
}

/* ---- taking ---- */

static ts_status check_limit(const tensor_body *body, size_t nbytes, ts_error *err)
{
    if (nbytes <= body->max_tensor)
        return TS_OK;
    return ts_fail(err, TS_E_TOO_LARGE,
                   "a tensor of %zu bytes; at most %" PRIu64 " (--max-tensor-bytes)", nbytes,
                   body->max_tensor);
}

static ts_status put_piece(void *upload, const void *data, size_t len, ts_error *err)
{
    return ts_upload_append(upload, data, len, err);
}

static ts_status take_json(tensor_body *body, ts_queue *queue, ts_tensor **out, ts_error *err)
{
    ts_tensor_json doc;
    ts_upload *upload = NULL;
    const char *text = ts_buf_cstr(&body->collected);
    ts_status st = ts_tensor_json_parse(text, body->collected.len, &doc, err);
    if (st == TS_OK)
        st = check_limit(body, doc.nbytes, err);
    if (st == TS_OK)
        st = ts_upload_begin(body->uploader, &(ts_layout){.dtype = doc.dtype, .shape = doc.shape},
                             NULL, &upload, err);
    if (st != TS_OK)
        return st;
    st = ts_tensor_json_convert(&doc, put_piece, upload, err);
    if (st == TS_OK)
        return ts_upload_commit(upload, queue, out, err);
    ts_upload_abort(upload);
    return st;
}

static ts_status take_image(tensor_body *body, ts_queue *queue, ts_tensor **out, ts_error *err)
{
    ts_image_info info;
    ts_buf pixels = {0};
    ts_status st =
        ts_image_decode(body->collected.data, body->collected.len, 0, &info, &pixels, err);
    if (st == TS_OK && info.channels == 1 && info.kind != TS_IMAGE_PNG)
        st = ts_image_decode(body->collected.data, body->collected.len, 3, &info, &pixels, err);
    ts_buf_finish(&body->collected);
    if (st == TS_OK)
        st = check_limit(body, pixels.len, err);
    ts_layout layout = {.dtype = TS_U8};
    if (st == TS_OK) {
        layout.shape = TS_SHAPE(info.height, info.width, info.channels);
        st = ts_upload_bytes(body->uploader, queue, &layout, pixels.data, pixels.len, out, err);
    }
    ts_buf_finish(&pixels);
    return st;
}

ts_status ts_tensor_body_take(void *sink, ts_queue *queue, ts_named_tensor **out, size_t *n,
                              ts_error *err)
{
    tensor_body *body = sink;
    if (body->form == FORM_INGEST)
        return ts_ingest_finish(body->ingest, queue, out, n, err);
    ts_named_tensor *list = calloc(1, sizeof *list);
    if (!list)
        return ts_fail(err, TS_E_NO_MEMORY, "tensor");
    ts_status st = body->form == FORM_JSON ? take_json(body, queue, &list->tensor, err)
                                           : take_image(body, queue, &list->tensor, err);
    if (st != TS_OK) {
        free(list);
        return st;
    }
    *out = list;
    *n = 1;
    return TS_OK;
}
