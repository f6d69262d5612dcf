/* Tensors: put, patch, list, read back, remove. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/routes.h"
#include "api/tensor_body.h"
#include "cl/base/name.h"
#include "cl/tensor/npy.h"
#include "cl/tensor/stats.h"
#include "cl/tensor/tensor_json.h"

enum {
    STREAM_ABOVE_BYTES = 64 << 20, /* larger answers are sent piece by piece */
    STREAM_PIECE_BYTES = 1 << 20
};

static ts_status want_store(const ts_app *app, ts_error *err)
{
    if (app->store && app->uploader)
        return TS_OK;
    return ts_fail(err, TS_E_NOT_READY, "this server has no device to keep tensors on");
}

static ts_status tensor_name(const ts_request *req, const char **out, ts_error *err)
{
    *out = ts_request_param(req, "name");
    return ts_name_check("tensor", *out, err);
}

/* ---- versions ---- */

static void set_etag(ts_response *res, uint64_t version)
{
    char tag[32];
    snprintf(tag, sizeof tag, "\"%" PRIu64 "\"", version);
    ts_response_header(res, "ETag", tag);
}

/* Does a list of entity tags name this version? A weak tag never matches If-Match. */
static bool names_version(const char *list, uint64_t version)
{
    char tag[32];
    int len = snprintf(tag, sizeof tag, "\"%" PRIu64 "\"", version);
    for (const char *p = list; (p = strstr(p, tag)); p += len)
        if (p == list || (p[-1] != '/' && p[-1] != '"'))
            return true;
    return false;
}

/* If-Match and If-None-Match: * as conditions of a change; *version holds what if_version points to. */
static ts_status add_conditions(ts_app *app, const ts_request *req, const char *name,
                                ts_publish_options *o, uint64_t *version, ts_error *err)
{
    const char *match = ts_request_header(req, "if-match");
    const char *none = ts_request_header(req, "if-none-match");
    if (none && strcmp(none, "*") == 0)
        o->if_absent = true;
    if (!match)
        return TS_OK;
    if (strcmp(match, "*") == 0) {
        o->if_exists = true;
        return TS_OK;
    }
    ts_entry entry;
    ts_error missing = {0};
    if (ts_store_get(app->store, name, &entry, &missing) != TS_OK) {
        ts_error_clear(&missing);
        return ts_fail(err, TS_E_VERSION, "If-Match: there is no tensor %s", name);
    }
    *version = entry.version;
    ts_entry_finish(&entry);
    if (!names_version(match, *version))
        return ts_fail(err, TS_E_VERSION, "tensor %s has version %" PRIu64 ", If-Match is %.60s",
                       name, *version, match);
    o->if_version = version; /* and it must still be that one when the change is made */
    return TS_OK;
}

/* ---- PUT ---- */

static const char *const publish_keys[] = {"step", "t", "run", "tags", NULL};

/* Everything that can be known before the body is refused before it. */
static ts_status check_put(ts_app *app, const ts_request *req, ts_error *err)
{
    const char *name;
    ts_publish_options o;
    json_t *tags = NULL;
    uint64_t version;
    ts_status st = want_store(app, err);
    if (st == TS_OK)
        st = tensor_name(req, &name, err);
    if (st == TS_OK)
        st = ts_publish_query(req, &o, &tags, err);
    if (st == TS_OK)
        st = add_conditions(app, req, name, &o, &version, err);
    json_decref(tags);
    return st;
}

static ts_status put_open(ts_app *app, ts_request *req, int64_t length, void **sink, ts_error *err)
{
    ts_status st = check_put(app, req, err);
    return st == TS_OK ? ts_tensor_body_open(app, req, length, publish_keys, sink, err) : st;
}

const ts_body_sink api_tensor_put_sink = {put_open, ts_tensor_body_append, ts_tensor_body_destroy};

static void answer_entry(ts_response *res, int status, ts_entry *entry)
{
    set_etag(res, entry->version);
    ts_response_json(res, status, ts_entry_json(entry));
    ts_entry_finish(entry);
}

ts_status api_tensor_put(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    const char *name;
    ts_publish_options o;
    json_t *tags = NULL;
    uint64_t version;
    ts_named_tensor *list = NULL;
    size_t n = 0;
    bool created;
    ts_entry entry;
    ts_status st = tensor_name(req, &name, err);
    if (st == TS_OK)
        st = ts_publish_query(req, &o, &tags, err);
    if (st == TS_OK)
        st = add_conditions(app, req, name, &o, &version, err);
    if (st == TS_OK)
        st = ts_tensor_body_take(ts_request_sink(req), ts_request_queue(req), &list, &n, err);
    if (st == TS_OK)
        st = ts_store_publish(app->store, name, list[0].tensor, &o, &created, &entry, err);
    if (st == TS_OK)
        answer_entry(res, created ? 201 : 200, &entry);
    ts_named_tensors_free(list, n);
    json_decref(tags);
    return st;
}

/* ---- POST: all tensors of a file ---- */

static ts_status post_open(ts_app *app, ts_request *req, int64_t length, void **sink, ts_error *err)
{
    static const char *const keys[] = {"prefix", "step", "t", "run", "tags", NULL};
    ts_publish_options o;
    json_t *tags = NULL;
    ts_status st = want_store(app, err);
    if (st == TS_OK)
        st = ts_publish_query(req, &o, &tags, err);
    json_decref(tags);
    if (st != TS_OK)
        return st;
    return ts_tensor_body_open_all(app, req, length, keys, ts_request_query(req, "prefix"), sink,
                                   err);
}

const ts_body_sink api_tensors_post_sink = {post_open, ts_tensor_body_append,
                                            ts_tensor_body_destroy};

static json_t *entries_json(const ts_entry *entries, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, ts_entry_json(&entries[i]));
    return json_pack("{s:o}", "tensors", list);
}

static ts_status publish_list(ts_app *app, const ts_named_tensor *list, size_t n,
                              const ts_publish_options *o, ts_response *res, ts_error *err)
{
    const char **names = calloc(n + 1, sizeof *names);
    ts_tensor **tensors = calloc(n + 1, sizeof(ts_tensor *));
    ts_entry *entries = calloc(n + 1, sizeof *entries);
    ts_status st = names && tensors && entries ? TS_OK : ts_fail(err, TS_E_NO_MEMORY, "tensors");
    for (size_t i = 0; st == TS_OK && i < n; i++) {
        names[i] = list[i].name;
        tensors[i] = list[i].tensor;
    }
    if (st == TS_OK)
        st = ts_store_publish_all(app->store, n, names, tensors, o, entries, err);
    if (st == TS_OK) {
        bool created = false;
        for (size_t i = 0; i < n; i++)
            created = created || entries[i].version == 1;
        ts_response_json(res, created ? 201 : 200, entries_json(entries, n));
        ts_entries_free(entries, n);
    } else {
        free(entries);
    }
    free(names);
    free(tensors);
    return st;
}

ts_status api_tensors_post(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    ts_publish_options o;
    json_t *tags = NULL;
    ts_named_tensor *list = NULL;
    size_t n = 0;
    ts_status st = ts_publish_query(req, &o, &tags, err);
    if (st == TS_OK)
        st = ts_tensor_body_take(ts_request_sink(req), ts_request_queue(req), &list, &n, err);
    if (st == TS_OK)
        st = publish_list(app, list, n, &o, res, err);
    ts_named_tensors_free(list, n);
    json_decref(tags);
    return st;
}

/* ---- PATCH: a region ---- */

static ts_status region_of(const ts_request *req, ts_shape *offset, ts_shape *size, ts_error *err)
{
    const char *at = ts_request_query(req, "offset"), *shape = ts_request_query(req, "shape");
    if (!at || !shape)
        return ts_fail(err, TS_E_OPTION, "a region needs ?offset= and ?shape=; %s is missing",
                       at ? "shape" : "offset");
    ts_status st = ts_shape_parse(at, offset, err);
    if (st != TS_OK)
        ts_error_prefix(err, "offset");
    return st == TS_OK ? ts_shape_parse(shape, size, err) : st;
}

static ts_status begin_patch(ts_app *app, ts_request *req, int64_t length, ts_upload **out,
                             ts_error *err)
{
    static const char *const keys[] = {"offset", "shape", "step", "t", "run", "tags", NULL};
    ts_shape offset, size;
    ts_entry entry;
    size_t nbytes;
    uint64_t declared = (uint64_t)length;
    const char *type = ts_request_content_type(req);
    if (*type && strcmp(type, "application/octet-stream") != 0)
        return ts_fail(err, TS_E_ENCODING,
                       "Content-Type is \"%.60s\"; want application/octet-stream", type);
    ts_status st = ts_request_query_only(req, keys, err);
    if (st == TS_OK)
        st = check_put(app, req, err);
    if (st == TS_OK)
        st = ts_store_get(app->store, ts_request_param(req, "name"), &entry, err);
    if (st != TS_OK)
        return st;
    st = region_of(req, &offset, &size, err);
    if (st == TS_OK)
        st = ts_region_check(entry.tensor, &offset, &size, &nbytes, err);
    if (st == TS_OK)
        st = ts_upload_begin(app->uploader,
                             &(ts_layout){.dtype = ts_tensor_dtype(entry.tensor), .shape = size},
                             length >= 0 ? &declared : NULL, out, err);
    ts_entry_finish(&entry);
    return st;
}

/* The sink is a box around the upload, because the handler takes it out. */
typedef struct patch_body {
    ts_upload *upload;
} patch_body;

static ts_status patch_open(ts_app *app, ts_request *req, int64_t length, void **sink,
                            ts_error *err)
{
    patch_body *body = calloc(1, sizeof *body);
    if (!body)
        return ts_fail(err, TS_E_NO_MEMORY, "request body");
    ts_status st = begin_patch(app, req, length, &body->upload, err);
    if (st != TS_OK)
        free(body);
    else
        *sink = body;
    return st;
}

static ts_status patch_append(void *sink, const void *data, size_t len, ts_error *err)
{
    return ts_upload_append(((patch_body *)sink)->upload, data, len, err);
}

static void patch_destroy(void *sink)
{
    patch_body *body = sink;
    if (!body)
        return;
    ts_upload_abort(body->upload);
    free(body);
}

const ts_body_sink api_tensor_patch_sink = {patch_open, patch_append, patch_destroy};

ts_status api_tensor_patch(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    const char *name = ts_request_param(req, "name");
    patch_body *body = ts_request_sink(req);
    ts_publish_options o;
    json_t *tags = NULL;
    uint64_t version;
    ts_tensor *patch = NULL;
    ts_shape offset, size;
    ts_entry entry;
    ts_status st = ts_publish_query(req, &o, &tags, err);
    if (st == TS_OK)
        st = add_conditions(app, req, name, &o, &version, err);
    if (st == TS_OK)
        st = region_of(req, &offset, &size, err);
    if (st == TS_OK) {
        ts_upload *upload = body->upload;
        body->upload = NULL;
        st = ts_upload_commit(upload, ts_request_queue(req), &patch, err);
    }
    if (st == TS_OK)
        st = ts_store_patch(app->store, ts_request_queue(req), name, patch, &offset, &o, &entry,
                            err);
    if (st == TS_OK)
        answer_entry(res, 200, &entry);
    ts_tensor_unref(patch);
    json_decref(tags);
    return st;
}

/* ---- reading ---- */

ts_status api_tensors_list(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    static const char *const keys[] = {"prefix", "run", NULL};
    ts_entry *list = NULL;
    size_t n = 0;
    ts_status st = ts_request_query_only(req, keys, err);
    if (st == TS_OK && app->store)
        st = ts_store_list(app->store, ts_request_query(req, "prefix"),
                           ts_request_query(req, "run"), &list, &n, err);
    if (st != TS_OK)
        return st;
    ts_response_json(res, 200, entries_json(list, n));
    ts_entries_free(list, n);
    return TS_OK;
}

/* The entry that the path names; the query may hold only `keys`. */
static ts_status find_entry(ts_app *app, const ts_request *req, const char *const *keys,
                            ts_entry *out, ts_error *err)
{
    const char *name;
    ts_status st = ts_request_query_only(req, keys, err);
    if (st == TS_OK)
        st = tensor_name(req, &name, err);
    if (st == TS_OK && !app->store)
        return ts_fail(err, TS_E_NOT_FOUND, "no tensor %s", name);
    return st == TS_OK ? ts_store_get(app->store, name, out, err) : st;
}

static const char *const no_keys[] = {NULL};

ts_status api_tensor_get(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    ts_entry entry;
    ts_status st = find_entry(app, req, no_keys, &entry, err);
    if (st == TS_OK)
        answer_entry(res, 200, &entry);
    return st;
}

ts_status api_tensor_delete(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    const char *name;
    ts_publish_options o = {0};
    uint64_t version;
    ts_status st = ts_request_query_only(req, no_keys, err);
    if (st == TS_OK)
        st = tensor_name(req, &name, err);
    if (st == TS_OK)
        st = want_store(app, err);
    if (st == TS_OK)
        st = add_conditions(app, req, name, &o, &version, err);
    if (st == TS_OK)
        st = ts_store_remove_version(app->store, name, o.if_version, err);
    if (st == TS_OK)
        ts_response_status(res, 204);
    return st;
}

ts_status api_tensor_stats(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    static const char *const keys[] = {"bins", NULL};
    const char *text = ts_request_query(req, "bins");
    ts_entry entry;
    ts_shape bins = TS_SHAPE(64);
    ts_status st = find_entry(app, req, keys, &entry, err);
    if (st != TS_OK)
        return st;
    if (text && (ts_shape_parse(text, &bins, NULL) != TS_OK || bins.rank != 1 || bins.dim[0] < 1 ||
                 bins.dim[0] > TS_STATS_MAX_BINS))
        st = ts_fail(err, TS_E_OPTION, "bins is \"%.40s\", want 1 … %d", text, TS_STATS_MAX_BINS);
    json_t *out = NULL;
    if (st == TS_OK)
        st = ts_tensor_stats(ts_request_queue(req), entry.tensor, (int)bins.dim[0], &out, err);
    if (st == TS_OK) {
        set_etag(res, entry.version);
        ts_response_json(res, 200, out);
    }
    ts_entry_finish(&entry);
    return st;
}

/* ---- data ---- */

typedef enum data_form {
    DATA_NPY,
    DATA_RAW,
    DATA_JSON
} data_form;

static const char *const data_types[] = {"application/x-npy", "application/octet-stream",
                                         "application/json", NULL};

static void put_head(ts_buf *out, data_form form, const ts_tensor *t)
{
    char shape[256];
    if (form == DATA_NPY)
        ts_npy_write_header(out, ts_tensor_dtype(t), ts_tensor_shape(t));
    else if (form == DATA_JSON)
        ts_buf_printf(out, "{\"dtype\":\"%s\",\"shape\":%s,\"data\":[",
                      ts_dtype_name(ts_tensor_dtype(t)),
                      ts_shape_text(ts_tensor_shape(t), shape, sizeof shape));
}

/* Bytes of the tensor, as they are or as JSON numbers. */
static ts_status put_bytes(ts_buf *out, data_form form, const ts_tensor *t, ts_queue *queue,
                           size_t at, size_t len, ts_error *err)
{
    ts_buf raw = {0}, *to = form == DATA_JSON ? &raw : out;
    if (!ts_buf_reserve(to, len))
        return ts_fail(err, TS_E_NO_MEMORY, "answer");
    ts_status st = ts_buffer_read(queue, ts_tensor_buffer(t), ts_tensor_offset(t) + at,
                                  to->data + to->len, len, err);
    if (st == TS_OK && form != DATA_JSON)
        out->len += len;
    if (st == TS_OK && form == DATA_JSON) {
        if (at)
            ts_buf_str(out, ",");
        ts_tensor_json_write_elements(out, ts_tensor_dtype(t), raw.data,
                                      len / ts_dtype_bytes(ts_tensor_dtype(t)));
    }
    ts_buf_finish(&raw);
    return st;
}

/* A large answer: read from the device as the client takes it. */
typedef struct data_stream {
    ts_tensor *tensor;
    ts_queue *queue;
    data_form form;
    size_t sent;
    bool begun, done;
} data_stream;

static bool pull_data(void *arg, ts_buf *out)
{
    data_stream *s = arg;
    size_t left = ts_tensor_nbytes(s->tensor) - s->sent;
    size_t len = left < STREAM_PIECE_BYTES ? left : STREAM_PIECE_BYTES;
    if (s->done)
        return false;
    if (!s->begun)
        put_head(out, s->form, s->tensor);
    s->begun = true;
    ts_error err = {0};
    ts_status st = put_bytes(out, s->form, s->tensor, s->queue, s->sent, len, &err);
    ts_error_clear(&err);
    if (st != TS_OK)
        return false; /* cut off: the length tells the client of npy and raw, the syntax of JSON */
    s->sent += len;
    if (s->sent == ts_tensor_nbytes(s->tensor)) {
        if (s->form == DATA_JSON)
            ts_buf_str(out, "]}");
        s->done = true;
    }
    return true;
}

static void close_data(void *arg)
{
    data_stream *s = arg;
    ts_queue_destroy(s->queue);
    ts_tensor_unref(s->tensor);
    free(s);
}

static ts_status stream_data(const ts_entry *entry, data_form form, ts_response *res, ts_error *err)
{
    data_stream *s = calloc(1, sizeof *s);
    if (!s)
        return ts_fail(err, TS_E_NO_MEMORY, "answer");
    ts_status st = ts_queue_create(ts_tensor_device(entry->tensor), "download", &s->queue, err);
    if (st != TS_OK) {
        free(s);
        return st;
    }
    s->tensor = ts_tensor_ref(entry->tensor);
    s->form = form;
    ts_stream_handle *handle;
    ts_response_stream(res, data_types[form], &(ts_stream_source){pull_data, close_data, s},
                       &handle);
    return TS_OK;
}

static ts_status whole_data(const ts_entry *entry, ts_queue *queue, data_form form,
                            ts_response *res, ts_error *err)
{
    ts_buf out = {0};
    put_head(&out, form, entry->tensor);
    ts_status st =
        put_bytes(&out, form, entry->tensor, queue, 0, ts_tensor_nbytes(entry->tensor), err);
    if (form == DATA_JSON)
        ts_buf_str(&out, "]}");
    if (st == TS_OK && out.failed)
        st = ts_fail(err, TS_E_NO_MEMORY, "answer");
    if (st == TS_OK)
        ts_response_bytes(res, 200, data_types[form], &out);
    ts_buf_finish(&out);
    return st;
}

ts_status api_tensor_data(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    ts_entry entry;
    ts_status st = find_entry(app, req, no_keys, &entry, err);
    if (st != TS_OK)
        return st;
    int form = ts_request_accept(req, data_types);
    char shape[256], plain[256];
    if (form < 0) {
        ts_entry_finish(&entry);
        return ts_fail(err, TS_E_NOT_ACCEPTABLE,
                       "data comes as application/x-npy, application/octet-stream or "
                       "application/json");
    }
    ts_shape_text(ts_tensor_shape(entry.tensor), shape, sizeof shape);
    snprintf(plain, sizeof plain, "%.*s", (int)strlen(shape) - 2, shape + 1);
    ts_response_header(res, "X-Tensor-Dtype", ts_dtype_name(ts_tensor_dtype(entry.tensor)));
    ts_response_header(res, "X-Tensor-Shape", plain);
    ts_response_header(res, "Vary", "Accept");
    set_etag(res, entry.version);
    if (ts_tensor_nbytes(entry.tensor) > STREAM_ABOVE_BYTES)
        st = stream_data(&entry, (data_form)form, res, err);
    else
        st = whole_data(&entry, ts_request_queue(req), (data_form)form, res, err);
    ts_entry_finish(&entry);
    return st;
}
