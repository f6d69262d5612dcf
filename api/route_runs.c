/* Runs of trainings and their scalars; a tensor and its stream in one call. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/routes.h"
#include "api/stream_query.h"
#include "api/tensor_body.h"
#include "cl/base/name.h"
#include "server/events.h"
#include "server/hub.h"

static const char *const no_keys[] = {NULL};

static ts_status want_runs(const ts_app *app, ts_error *err)
{
    return app->runs ? TS_OK
                     : ts_fail(err, TS_E_NOT_READY, "this server has no device to keep runs on");
}

/* ---- /v1/runs ---- */

ts_status api_runs_list(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    static const char *const keys[] = {"prefix", NULL};
    json_t *list = NULL;
    ts_status st = ts_request_query_only(req, keys, err);
    if (st == TS_OK && app->runs)
        st = ts_runs_list(app->runs, ts_request_query(req, "prefix"), &list, err);
    if (st == TS_OK)
        ts_response_json(res, 200, json_pack("{s:o}", "runs", list ? list : json_array()));
    return st;
}

/* An optional key that has to be an object. */
static ts_status get_object(const json_t *body, const char *key, const json_t **out, ts_error *err)
{
    *out = json_object_get(body, key);
    if (!*out || json_is_object(*out))
        return TS_OK;
    return ts_fail(err, TS_E_OPTION, "%s: expected an object", key);
}

static ts_status read_body(ts_request *req, const char *const *keys, json_t **out, ts_error *err)
{
    ts_status st = ts_request_query_only(req, no_keys, err);
    if (st == TS_OK)
        st = ts_request_json(req, out, err);
    if (st == TS_OK && !json_is_object(*out))
        st = ts_fail(err, TS_E_OPTION, "want an object");
    return st == TS_OK ? ts_json_only(*out, "", keys, err) : st;
}

ts_status api_runs_post(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    static const char *const keys[] = {"name", "tags", "config", NULL};
    json_t *body = NULL, *shown = NULL;
    const char *name = NULL;
    const json_t *tags, *config;
    ts_status st = want_runs(app, err);
    if (st == TS_OK)
        st = read_body(req, keys, &body, err);
    if (st == TS_OK)
        st = ts_json_get_string(body, "", "name", &name, err);
    if (st == TS_OK && !name)
        st = ts_fail(err, TS_E_OPTION, "name: a run needs one");
    if (st == TS_OK)
        st = get_object(body, "tags", &tags, err);
    if (st == TS_OK)
        st = get_object(body, "config", &config, err);
    if (st == TS_OK)
        st = ts_runs_add(app->runs, name, tags, config, err);
    if (st == TS_OK)
        st = ts_runs_get(app->runs, name, &shown, err);
    if (st == TS_OK) {
        ts_response_json(res, 201, shown);
        ts_events_emit(app->events, "created", "run", name, NULL);
    }
    json_decref(body);
    return st;
}

ts_status api_run_get(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    json_t *shown = NULL;
    ts_status st = ts_request_query_only(req, no_keys, err);
    if (st == TS_OK)
        st = want_runs(app, err);
    if (st == TS_OK)
        st = ts_runs_get(app->runs, ts_request_param(req, "name"), &shown, err);
    if (st == TS_OK)
        ts_response_json(res, 200, shown);
    return st;
}

ts_status api_run_delete(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    const char *name = ts_request_param(req, "name");
    ts_status st = ts_request_query_only(req, no_keys, err);
    if (st == TS_OK)
        st = want_runs(app, err);
    if (st == TS_OK)
        st = ts_runs_remove(app->runs, name, err);
    if (st == TS_OK) {
        ts_response_status(res, 204);
        ts_events_emit(app->events, "deleted", "run", name, NULL);
    }
    return st;
}

ts_status api_run_scalars_get(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    static const char *const keys[] = {"key", NULL};
    json_t *out = NULL;
    ts_status st = ts_request_query_only(req, keys, err);
    if (st == TS_OK)
        st = want_runs(app, err);
    if (st == TS_OK)
        st = ts_runs_scalars(app->runs, ts_request_param(req, "name"), ts_request_query(req, "key"),
                             &out, err);
    if (st == TS_OK)
        ts_response_json(res, 200, json_pack("{s:o}", "scalars", out));
    return st;
}

ts_status api_run_scalars_post(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    static const char *const keys[] = {"step", "values", NULL};
    const char *name = ts_request_param(req, "name");
    json_t *body = NULL, *tensors = NULL;
    int64_t step = 0;
    ts_status st = want_runs(app, err);
    if (st == TS_OK)
        st = read_body(req, keys, &body, err);
    if (st == TS_OK)
        st = ts_json_get_int(body, "", "step", INT64_MIN, INT64_MAX, &step, err);
    bool has_step = body && json_is_integer(json_object_get(body, "step"));
    if (st == TS_OK)
        st = ts_runs_append(app->runs, ts_request_queue(req), name, has_step ? &step : NULL,
                            json_object_get(body, "values"), &tensors, err);
    if (st == TS_OK)
        ts_response_json(res, 200, json_pack("{s:s,s:o}", "run", name, "tensors", tensors));
    json_decref(body);
    return st;
}

/* ---- POST /v1/show ---- */

/* What is not a key of the view. */
static const char *const show_keys[] = {"name",   "stream",  "preset", "dtype",  "shape",
                                        "offset", "strides", "order",  "tensor", "byteorder",
                                        "step",   "t",       "run",    "tags",   NULL};

static ts_status show_names(const ts_request *req, const char **tensor, const char **stream,
                            ts_error *err)
{
    *tensor = ts_request_query(req, "name");
    *stream = ts_request_query(req, "stream");
    if (!*tensor)
        *tensor = *stream ? *stream : "shown";
    if (!*stream)
        *stream = *tensor;
    ts_status st = ts_name_check("tensor", *tensor, err);
    return st == TS_OK ? ts_name_check("stream", *stream, err) : st;
}

static ts_status show_open(ts_app *app, ts_request *req, int64_t length, void **sink, ts_error *err)
{
    const char *tensor, *stream;
    ts_publish_options o;
    json_t *tags = NULL, *view = NULL;
    ts_status st = app->hub ? TS_OK : ts_fail(err, TS_E_NOT_READY, "this server has no streams");
    if (st == TS_OK)
        st = show_names(req, &tensor, &stream, err);
    if (st == TS_OK)
        st = ts_publish_query(req, &o, &tags, err);
    if (st == TS_OK)
        st = ts_query_view(req, show_keys, &view, err);
    json_decref(tags);
    json_decref(view);
    return st == TS_OK ? ts_tensor_body_open(app, req, length, NULL, sink, err) : st;
}

const ts_body_sink api_show_sink = {show_open, ts_tensor_body_append, ts_tensor_body_destroy};

/* The stream's document; a stream that is there and is asked nothing new of is left as it is. */
static ts_status show_stream(ts_app *app, const ts_request *req, const char *tensor,
                             const char *stream, bool *made, json_t **shown, ts_error *err)
{
    json_t *view = NULL;
    *made = false;
    const char *preset = ts_request_query(req, "preset");
    ts_status st = ts_query_view(req, show_keys, &view, err);
    if (st != TS_OK)
        return st;
    ts_stream *there = NULL;
    ts_error missing = {0};
    if (!view && !preset && ts_hub_find(app->hub, stream, &there, &missing) == TS_OK) {
        *shown = ts_stream_json(there);
        ts_stream_unref(there);
        return TS_OK;
    }
    ts_error_clear(&missing);
    json_t *document = json_pack("{s:{s:s}}", "source", "tensor", tensor);
    if (view)
        json_object_set_new(document, "view", view);
    if (preset)
        json_object_set_new(document, "output", json_pack("{s:s}", "preset", preset));
    st = ts_hub_put(app->hub, stream, document, made, shown, err);
    json_decref(document);
    if (st == TS_OK)
        ts_events_emit(app->events, *made ? "created" : "changed", "stream", stream, NULL);
    return st == TS_OK ? ts_hub_save(app->hub, err) : st;
}

/* Undo: a call that fails changes nothing. */
static void remove_stream(ts_app *app, const char *stream)
{
    ts_error ignored = {0};
    if (ts_hub_remove(app->hub, stream, &ignored) == TS_OK)
        ts_events_emit(app->events, "deleted", "stream", stream, NULL);
    ts_error_clear(&ignored);
}

/* The page as the client reaches it: the Host that it asked. */
static json_t *page_url(const ts_app *app, const ts_request *req, const json_t *shown)
{
    const char *host = ts_request_header(req, "host");
    const char *page = json_string_value(json_object_get(shown, "page"));
    char url[1024];
    snprintf(url, sizeof url, "%s://%s%s", *app->options.tls_cert ? "https" : "http",
             host ? host : "localhost", page ? page : "/");
    return json_string(url);
}

ts_status api_show(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    const char *tensor, *stream;
    ts_publish_options o;
    json_t *tags = NULL, *shown = NULL;
    ts_named_tensor *list = NULL;
    size_t n = 0;
    bool created, made = false;
    ts_entry entry = {0};
    ts_status st = show_names(req, &tensor, &stream, err);
    if (st == TS_OK)
        st = ts_publish_query(req, &o, &tags, err);
    if (st == TS_OK)
        st = ts_tensor_body_take(ts_request_sink(req), ts_request_queue(req), &list, &n, err);
    /* The stream first: a view that is refused then leaves no tensor behind. */
    if (st == TS_OK)
        st = show_stream(app, req, tensor, stream, &made, &shown, err);
    if (st == TS_OK)
        st = ts_store_publish(app->store, tensor, list[0].tensor, &o, &created, &entry, err);
    if (st != TS_OK && made)
        remove_stream(app, stream);
    if (st == TS_OK) {
        json_t *url = page_url(app, req, shown);
        ts_response_json(res, created ? 201 : 200,
                         json_pack("{s:o,s:O,s:O,s:O,s:o}", "tensor", ts_entry_json(&entry),
                                   "stream", shown, "page", json_object_get(shown, "page"), "ws",
                                   json_object_get(shown, "ws"), "url", url));
    }
    json_decref(shown);
    ts_entry_finish(&entry);
    ts_named_tensors_free(list, n);
    json_decref(tags);
    return st;
}
