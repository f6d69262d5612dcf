/* The Open Inference Protocol, /v2: health, metadata, inference, repository, statistics. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/routes.h"
#include "cl/base/clock.h"
#include "server/compress.h"
#include "server/infer_stats.h"
#include "server/models.h"
#include "server/oip.h"
#include "server/version.h"

enum {
    COMPRESS_FROM = 1024
};

/* ---- health and metadata ---- */

ts_status api_v2_live(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    (void)app, (void)req, (void)err;
    ts_response_json(res, 200, json_pack("{s:b}", "live", 1));
    return TS_OK;
}

ts_status api_v2_ready(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    (void)req, (void)err;
    bool ready = ts_app_ready(app) && (!app->models || ts_models_ready(app->models));
    json_t *body = json_pack("{s:b}", "ready", ready);
    if (!ready)
        json_object_set_new(body, "error",
                            json_string(ts_app_draining(app) ? "the server is shutting down"
                                                             : "models are still loading"));
    ts_response_json(res, ready ? 200 : 503, body);
    return TS_OK;
}

ts_status api_v2_server(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    (void)app, (void)req, (void)err;
    ts_response_json(res, 200,
                     json_pack("{s:s, s:s, s:[s, s, s, s, s, s, s]}", "name", "tensorscope",
                               "version", TS_VERSION, "extensions", "binary_tensor_data",
                               "classification", "model_repository",
                               "model_repository(unload_dependents)", "model_configuration",
                               "parameters", "statistics"));
    return TS_OK;
}

/* A name that is no model's name is one that does not exist: it is never looked up on disk. */
static ts_status find_model(ts_app *app, ts_request *req, ts_loaded **out, ts_error *err)
{
    const char *name = ts_request_param(req, "model"), *version = ts_request_param(req, "version");
    if (!app->models || !ts_name_valid(name))
        return ts_fail(err, TS_E_NOT_FOUND, "unknown model '%.130s'", name);
    ts_status st = ts_models_get(app->models, name, out, err);
    if (st != TS_OK || !version || strcmp(version, ts_loaded_version(*out)) == 0)
        return st;
    ts_loaded_unref(*out);
    *out = NULL;
    return ts_fail(err, TS_E_NOT_FOUND, "model '%s' has no version '%.20s'", name, version);
}

static json_t *shape_json(const ts_shape *shape, int from)
{
    json_t *list = json_array();
    for (int i = from; i < shape->rank; i++)
        json_array_append_new(list, json_integer(shape->dim[i]));
    return list;
}

static json_t *ports_json(const ts_port *ports, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_pack("{s:s, s:s, s:o}", "name", ports[i].name, "datatype",
                                              ts_dtype_oip(ports[i].dtype), "shape",
                                              shape_json(&ports[i].shape, 0)));
    return list;
}

static bool is_identity(const ts_model_info *info)
{
    return strcmp(info->kind, "identity") == 0;
}

ts_status api_v2_model(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    ts_loaded *loaded;
    ts_status st = find_model(app, req, &loaded, err);
    if (st != TS_OK)
        return st;
    const ts_model_info *info = &ts_loaded_model(loaded)->info;
    json_t *body = json_pack("{s:s, s:[s], s:s, s:o, s:o}", "name", ts_loaded_name(loaded),
                             "versions", ts_loaded_version(loaded), "platform", info->platform,
                             "inputs", ports_json(info->inputs, info->n_inputs), "outputs",
                             ports_json(info->outputs, info->n_outputs));
    if (is_identity(info))
        json_object_set_new(body, "properties",
                            json_pack("{s:s, s:s}", "any_datatype", "true", "any_shape", "true"));
    ts_loaded_unref(loaded);
    ts_response_json(res, 200, body);
    return TS_OK;
}

ts_status api_v2_model_ready(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    ts_loaded *loaded;
    ts_status st = find_model(app, req, &loaded, err);
    if (st != TS_OK)
        return st;
    ts_response_json(res, 200, json_pack("{s:s, s:b}", "name", ts_loaded_name(loaded), "ready", 1));
    ts_loaded_unref(loaded);
    return TS_OK;
}

static json_t *config_ports(const ts_port *ports, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        char type[24];
        snprintf(type, sizeof type, "TYPE_%s", ts_dtype_oip(ports[i].dtype));
        json_array_append_new(list, json_pack("{s:s, s:s, s:o}", "name", ports[i].name, "data_type",
                                              type, "dims", shape_json(&ports[i].shape, 0)));
    }
    return list;
}

ts_status api_v2_model_config(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    ts_loaded *loaded;
    ts_status st = find_model(app, req, &loaded, err);
    if (st != TS_OK)
        return st;
    const ts_model_info *info = &ts_loaded_model(loaded)->info;
    const char *name = ts_loaded_name(loaded);
    bool gpu = ts_device_caps(app->device)->kind == TS_DEVICE_GPU;
    ts_response_json(
        res, 200,
        json_pack("{s:s, s:s, s:s, s:i, s:{s:{s:i}}, s:o, s:o, s:[{s:s, s:s, s:i}], s:{s:b}}",
                  "name", name, "platform", info->platform, "backend", "tensorscope",
                  "max_batch_size", 0, "version_policy", "latest", "num_versions", 1, "input",
                  config_ports(info->inputs, info->n_inputs), "output",
                  config_ports(info->outputs, info->n_outputs), "instance_group", "name", name,
                  "kind", gpu ? "KIND_GPU" : "KIND_CPU", "count", 1, "model_transaction_policy",
                  "decoupled", 0));
    ts_loaded_unref(loaded);
    return TS_OK;
}

/* ---- inference ---- */

typedef struct call {
    ts_app *app;
    ts_request *req;
    ts_loaded *loaded;
    const ts_model_info *info;
    ts_oip_request request;
    bool raw;
    ts_tensor *inputs[TS_OIP_TENSORS];
    const char *wanted[TS_OIP_TENSORS];
    ts_tensor *results[TS_OIP_TENSORS];
    ts_oip_tensor outputs[TS_OIP_TENSORS];
    size_t n_wanted;
    ts_infer_times times;
} call;

static ts_status check_content_type(const ts_request *req, ts_error *err)
{
    static const char *const good[] = {"",
                                       "application/json",
                                       "application/octet-stream",
                                       "text/plain",
                                       "application/x-www-form-urlencoded",
                                       "application/vnd.sagemaker-triton.binary+json"};
    const char *type = ts_request_content_type(req);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!strcmp(type, good[i]) || (i == 5 && !strncmp(type, good[i], strlen(good[i]))))
            return TS_OK;
    return ts_fail(err, TS_E_ENCODING,
                   "Content-Type '%.60s' is not taken here, send JSON or binary", type);
}

/* The whole body is the only input's data; the one free dim follows from its size. */
static ts_status raw_request(call *c, const ts_buf *body, ts_error *err)
{
    const ts_model_info *info = c->info;
    if (info->n_inputs != 1)
        return ts_fail(err, TS_E_OPTION, "a raw request needs a model with one input, '%s' has %zu",
                       ts_loaded_name(c->loaded), info->n_inputs);
    const ts_port *port = &info->inputs[0];
    ts_oip_tensor *t = c->request.inputs = calloc(1, sizeof *t);
    if (!t)
        return ts_fail(err, TS_E_NO_MEMORY, "request");
    c->request.n_inputs = 1;
    c->request.binary_output = true;
    snprintf(t->name, sizeof t->name, "%s", port->name);
    t->dtype = port->dtype;
    t->shape = port->shape;
    t->data = body->data;
    t->nbytes = body->len;
    size_t row = ts_dtype_bytes(port->dtype);
    int free_dim = -1;
    for (int i = 0; i < t->shape.rank; i++) {
        if (t->shape.dim[i] >= 0)
            row *= (size_t)t->shape.dim[i];
        else if (free_dim >= 0)
            return ts_fail(err, TS_E_OPTION, "a raw request needs at most one variable dimension");
        else
            free_dim = i;
    }
    if (row == 0 || body->len % row != 0 || (free_dim < 0 && body->len != row))
        return ts_fail(err, TS_E_OPTION, "%zu bytes do not fill input '%s' in rows of %zu",
                       body->len, port->name, row);
    if (free_dim >= 0)
        t->shape.dim[free_dim] = (int64_t)(body->len / row);
    return TS_OK;
}

static ts_status parse(call *c, ts_error *err)
{
    const ts_buf *body = ts_request_body(c->req);
    const char *length = ts_request_header(c->req, "Inference-Header-Content-Length");
    size_t n = 1;
    if (length) {
        ts_status st = ts_oip_header_length(length, body->len, &n, err);
        if (st != TS_OK)
            return st;
    }
    if (n == 0)
        return raw_request(c, body, err);
    return ts_oip_parse(body->data ? body->data : (const uint8_t *)"", body->len, length,
                        &c->request, err);
}

/* Read a resident tensor in the place of data, checked like data. */
static ts_status resident_input(call *c, const ts_oip_tensor *in, ts_tensor **out, ts_error *err)
{
    ts_entry entry = {0};
    ts_status st = ts_store_get(c->app->store, in->resident, &entry, err);
    if (st != TS_OK)
        return st;
    if (in->bytes || ts_tensor_dtype(entry.tensor) != in->dtype ||
        !ts_shape_equal(ts_tensor_shape(entry.tensor), &in->shape))
        st = ts_fail(err, TS_E_SHAPE, "input '%s': tensor %s is %s%s, the request says otherwise",
                     in->name, in->resident, ts_dtype_name(ts_tensor_dtype(entry.tensor)),
                     ts_shape_text(ts_tensor_shape(entry.tensor), (char[96]){0}, 96));
    if (st == TS_OK)
        *out = ts_tensor_ref(entry.tensor);
    ts_entry_finish(&entry);
    return st;
}

static ts_status make_inputs(call *c, ts_error *err)
{
    const ts_model_info *info = c->info;
    for (size_t i = 0; i < c->request.n_inputs; i++) {
        const ts_oip_tensor *in = &c->request.inputs[i];
        int port = ts_port_find(info->inputs, info->n_inputs, in->name);
        if (port < 0)
            return ts_fail(err, TS_E_OPTION, "model '%s' has no input '%.80s'",
                           ts_loaded_name(c->loaded), in->name);
        if (in->bytes)
            return ts_fail(err, TS_E_OPTION, "input '%s' is %s, not BYTES", in->name,
                           ts_dtype_oip(info->inputs[port].dtype));
        ts_status st = in->resident[0]
                           ? resident_input(c, in, &c->inputs[port], err)
                           : ts_tensor_from_host(ts_request_queue(c->req), in->dtype, &in->shape,
                                                 in->data, in->nbytes, &c->inputs[port], err);
        if (st != TS_OK)
            return st;
    }
    for (size_t i = 0; i < info->n_inputs; i++)
        if (!c->inputs[i])
            return ts_fail(err, TS_E_OPTION, "model '%s' needs input '%s'",
                           ts_loaded_name(c->loaded), info->inputs[i].name);
    return ts_queue_finish(ts_request_queue(c->req), err);
}

static ts_status choose_outputs(call *c, ts_error *err)
{
    const ts_model_info *info = c->info;
    c->n_wanted = c->request.n_outputs ? c->request.n_outputs : info->n_outputs;
    if (c->n_wanted > TS_OIP_TENSORS)
        return ts_fail(err, TS_E_OPTION, "more than %d outputs", TS_OIP_TENSORS);
    for (size_t i = 0; i < c->n_wanted; i++) {
        const char *name =
            c->request.n_outputs ? c->request.outputs[i].name : info->outputs[i].name;
        if (ts_port_find(info->outputs, info->n_outputs, name) < 0 &&
            ts_port_find(info->taps, info->n_taps, name) < 0)
            return ts_fail(err, TS_E_OPTION, "model '%s' has no output '%.80s'",
                           ts_loaded_name(c->loaded), name);
        if (c->request.n_outputs && c->request.outputs[i].resident[0] &&
            !(ts_request_scopes(c->req) & TS_SCOPE_WRITE))
            return ts_fail(err, TS_E_FORBIDDEN, "keeping output '%s' needs the scope write", name);
        c->wanted[i] = name;
    }
    return TS_OK;
}

/* BYTES and empty tensors of the identity model never reach the device. */
static bool is_echo(const call *c)
{
    const ts_oip_tensor *in = &c->request.inputs[0];
    return is_identity(c->info) && c->request.n_inputs == 1 && !in->resident[0] &&
           strcmp(in->name, "INPUT0") == 0 && (in->bytes || in->nbytes == 0);
}

static ts_status run_model(call *c, ts_error *err)
{
    int64_t start = ts_now_us();
    ts_status st = ts_loaded_begin(c->loaded, err);
    if (st != TS_OK)
        return st;
    c->times.queue_us = ts_now_us() - start;
    if (c->request.timeout_us && (uint64_t)c->times.queue_us > c->request.timeout_us) {
        ts_loaded_end(c->loaded);
        return ts_fail(err, TS_E_NOT_READY, "request timed out in the queue");
    }
    start = ts_now_us();
    st = ts_loaded_run(c->loaded, (const ts_tensor *const *)c->inputs, c->wanted, c->n_wanted,
                       c->results, err);
    c->times.infer_us = ts_now_us() - start;
    ts_loaded_end(c->loaded);
    return st;
}

/* Bring a result to the host, or keep it on the device under a name. */
static ts_status take_result(call *c, size_t i, ts_error *err)
{
    ts_oip_tensor *out = &c->outputs[i];
    ts_tensor *result = c->results[i];
    const char *keep = c->request.n_outputs ? c->request.outputs[i].resident : "";
    out->dtype = ts_tensor_dtype(result);
    out->shape = *ts_tensor_shape(result);
    out->nbytes = ts_tensor_nbytes(result);
    if (*keep) {
        bool created;
        snprintf(out->resident, sizeof out->resident, "%s", keep);
        return ts_store_publish(c->app->store, keep, result, &(ts_publish_options){0}, &created,
                                NULL, err);
    }
    if (!ts_buf_reserve(&out->owned, out->nbytes + 1))
        return ts_fail(err, TS_E_NO_MEMORY, "output '%s' of %zu bytes", out->name, out->nbytes);
    out->owned.len = out->nbytes;
    out->data = out->owned.data;
    return out->nbytes ? ts_tensor_read(ts_request_queue(c->req), result, out->owned.data, err)
                       : TS_OK;
}

static ts_status collect(call *c, ts_error *err)
{
    ts_status st = TS_OK;
    for (size_t i = 0; i < c->n_wanted && st == TS_OK; i++) {
        ts_oip_tensor *out = &c->outputs[i];
        int classes = c->request.n_outputs ? c->request.outputs[i].classification : 0;
        snprintf(out->name, sizeof out->name, "%s", c->wanted[i]);
        if (is_echo(c)) {
            const ts_oip_tensor *in = &c->request.inputs[0];
            out->bytes = in->bytes;
            out->dtype = in->dtype;
            out->shape = in->shape;
            out->data = in->data;
            out->nbytes = in->nbytes;
        } else {
            st = take_result(c, i, err);
        }
        bool batched = !is_identity(c->info) && out->shape.rank > 1;
        if (st == TS_OK && classes > 0)
            st = ts_oip_classify(out, classes, batched, NULL, 0, err);
    }
    return st;
}

static ts_status answer(call *c, ts_response *res, ts_error *err)
{
    ts_oip_answer answers[TS_OIP_TENSORS];
    ts_buf body = {0};
    size_t header;
    for (size_t i = 0; i < c->n_wanted; i++) {
        const ts_oip_output *o = c->request.n_outputs ? &c->request.outputs[i] : NULL;
        bool binary = o && o->has_binary ? o->binary : c->request.binary_output;
        answers[i] = (ts_oip_answer){&c->outputs[i], binary};
    }
    ts_status st = ts_oip_write(ts_loaded_name(c->loaded), ts_loaded_version(c->loaded),
                                c->request.id, answers, c->n_wanted, &body, &header, err);
    if (st == TS_OK && body.len >= COMPRESS_FROM) {
        const char *encoding = ts_compress_choose(ts_request_header(c->req, "Accept-Encoding"));
        ts_response_header(res, "Vary", "Accept-Encoding");
        if (encoding)
            st = ts_compress(&body, encoding, err);
        if (encoding && st == TS_OK)
            ts_response_header(res, "Content-Encoding", encoding);
    }
    if (st == TS_OK && header) {
        char text[24];
        snprintf(text, sizeof text, "%zu", header);
        ts_response_header(res, "Inference-Header-Content-Length", text);
    }
    if (st == TS_OK)
        ts_response_bytes(res, 200, header ? "application/octet-stream" : "application/json",
                          &body);
    ts_buf_finish(&body);
    return st;
}

static ts_status run(call *c, ts_response *res, ts_error *err)
{
    int64_t start = ts_now_us();
    ts_status st = parse(c, err);
    if (st == TS_OK)
        st = choose_outputs(c, err);
    if (st == TS_OK && !is_echo(c))
        st = make_inputs(c, err);
    c->times.input_us = ts_now_us() - start;
    if (st == TS_OK && !is_echo(c))
        st = run_model(c, err);
    start = ts_now_us();
    if (st == TS_OK)
        st = collect(c, err);
    if (st == TS_OK)
        st = answer(c, res, err);
    c->times.output_us = ts_now_us() - start;
    return st;
}

static uint64_t batch_of(const call *c)
{
    if (is_identity(c->info) || !c->request.n_inputs || c->request.inputs[0].shape.rank < 2)
        return 1;
    return (uint64_t)c->request.inputs[0].shape.dim[0];
}

ts_status api_v2_infer(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    int64_t start = ts_now_us();
    ts_loaded *loaded;
    ts_status st = find_model(app, req, &loaded, err);
    if (st != TS_OK)
        return st;
    call *c = calloc(1, sizeof *c);
    if (!c) {
        ts_loaded_unref(loaded);
        return ts_fail(err, TS_E_NO_MEMORY, "inference");
    }
    c->app = app;
    c->req = req;
    c->loaded = loaded;
    c->info = &ts_loaded_model(loaded)->info;
    c->times = (ts_infer_times){.start_us = start, .executed = true};
    st = check_content_type(req, err);
    if (st == TS_OK)
        st = run(c, res, err);
    c->times.batch = batch_of(c);
    ts_infer_stats_add(app->infer_stats, ts_loaded_name(loaded), ts_loaded_version(loaded),
                       st == TS_OK, &c->times);
    for (size_t i = 0; i < TS_OIP_TENSORS; i++) {
        ts_tensor_unref(c->inputs[i]);
        ts_tensor_unref(c->results[i]);
        ts_oip_tensor_finish(&c->outputs[i]);
    }
    ts_oip_request_finish(&c->request);
    free(c);
    ts_loaded_unref(loaded);
    return st;
}

/* ---- statistics ---- */

static json_t *stats_of(ts_app *app, ts_loaded *loaded)
{
    return ts_infer_stats_json(app->infer_stats, ts_loaded_name(loaded), ts_loaded_version(loaded),
                               ts_loaded_model(loaded)->info.device_bytes,
                               ts_device_caps(app->device)->kind == TS_DEVICE_GPU);
}

ts_status api_v2_model_stats(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    ts_loaded *loaded;
    ts_status st = find_model(app, req, &loaded, err);
    if (st != TS_OK)
        return st;
    ts_response_json(res, 200, json_pack("{s:[o]}", "model_stats", stats_of(app, loaded)));
    ts_loaded_unref(loaded);
    return TS_OK;
}

ts_status api_v2_all_stats(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    json_t *models = app->models ? ts_models_list(app->models, NULL) : json_array(), *row;
    json_t *list = json_array();
    size_t i;
    (void)req, (void)err;
    json_array_foreach(models, i, row)
    {
        ts_loaded *loaded;
        const char *name = json_string_value(json_object_get(row, "name"));
        if (ts_models_get(app->models, name, &loaded, NULL) != TS_OK)
            continue;
        json_array_append_new(list, stats_of(app, loaded));
        ts_loaded_unref(loaded);
    }
    json_decref(models);
    ts_response_json(res, 200, json_pack("{s:o}", "model_stats", list));
    return TS_OK;
}

/* ---- repository ---- */

/* The body as an object; an empty one is {}. */
static ts_status body_object(ts_request *req, json_t **out, ts_error *err)
{
    const ts_buf *body = ts_request_body(req);
    ts_status st = check_content_type(req, err);
    if (st == TS_OK && body->len == 0) {
        *out = json_object();
        return TS_OK;
    }
    if (st == TS_OK)
        st = ts_json_parse(body->data, body->len, out, err);
    if (st == TS_OK && !json_is_object(*out)) {
        json_decref(*out);
        st = ts_fail(err, TS_E_OPTION, "the body must be a JSON object");
    }
    return st;
}

ts_status api_v2_index(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    json_t *body = NULL, *row, *list = NULL, *models;
    ts_status st = body_object(req, &body, err);
    if (st != TS_OK)
        return st;
    const json_t *ready = json_object_get(body, "ready");
    if (ready && !json_is_boolean(ready)) {
        json_decref(body);
        return ts_fail(err, TS_E_OPTION, "ready must be true or false");
    }
    list = json_array();
    models = app->models ? ts_models_list(app->models, NULL) : json_array();
    size_t i;
    json_array_foreach(models, i, row)
    {
        const char *state = json_string_value(json_object_get(row, "state"));
        char upper[16] = "";
        for (size_t k = 0; state && state[k] && k < sizeof upper - 1; k++)
            upper[k] = (char)(state[k] >= 'a' && state[k] <= 'z' ? state[k] - 32 : state[k]);
        if (json_is_true(ready) && strcmp(upper, "READY"))
            continue;
        const char *reason = json_string_value(json_object_get(row, "reason"));
        const char *version = json_string_value(json_object_get(row, "version"));
        json_array_append_new(list, json_pack("{s:O, s:s, s:s, s:s}", "name",
                                              json_object_get(row, "name"), "version",
                                              version ? version : "1", "state", upper, "reason",
                                              reason ? reason : ""));
    }
    json_decref(models);
    json_decref(body);
    ts_response_json(res, 200, list);
    return TS_OK;
}

/* Whether files were sent along: they need a config, and storing them is not offered. */
static ts_status check_files(const json_t *parameters, ts_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)parameters, key, value)
    {
        if (strncmp(key, "file:", 5) != 0)
            continue;
        const char *slash = strchr(key + 5, '/');
        bool digits = slash && slash > key + 5 && slash - key - 5 <= 9;
        for (const char *c = key + 5; digits && c < slash; c++)
            digits = *c >= '0' && *c <= '9';
        if (!digits || !ts_name_valid(slash + 1))
            return ts_fail(err, TS_E_OPTION, "'%.100s' is not file:<version>/<name>", key);
        if (!json_object_get(parameters, "config"))
            return ts_fail(err, TS_E_OPTION, "files need a config parameter");
        return ts_fail(err, TS_E_UNSUPPORTED,
                       "files in a load are not taken; PUT the model's directory as a tar to "
                       "/v1/models/{name}");
    }
    return TS_OK;
}

static ts_status known(ts_app *app, const char *name, ts_error *err)
{
    json_t *shown = NULL;
    if (!app->models || !ts_name_valid(name) ||
        ts_models_describe(app->models, name, &shown, NULL) != TS_OK)
        return ts_fail(err, TS_E_NOT_FOUND, "unknown model '%.130s'", name);
    json_decref(shown);
    return TS_OK;
}

ts_status api_v2_load(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    const char *name = ts_request_param(req, "model");
    json_t *body = NULL, *serving = NULL;
    ts_status st = body_object(req, &body, err);
    if (st == TS_OK)
        st = known(app, name, err);
    const json_t *parameters = json_object_get(body, "parameters");
    const json_t *config = json_object_get(parameters, "config");
    if (st == TS_OK)
        st = check_files(parameters, err);
    if (st == TS_OK && config && !json_is_string(config))
        st = ts_fail(err, TS_E_OPTION, "config must be a string of JSON");
    if (st == TS_OK && config)
        st = ts_json_parse(json_string_value(config), json_string_length(config), &serving, err);
    if (st == TS_OK) {
        ts_error why = {0};
        if (ts_models_load(app->models, name, serving, &why) != TS_OK) {
            bool memory = why.status == TS_E_DEVICE_MEMORY;
            st = ts_fail(err, memory ? why.status : TS_E_OPTION, "model '%s': %s", name, why.text);
        }
        ts_error_clear(&why);
    }
    json_decref(serving);
    json_decref(body);
    if (st == TS_OK)
        ts_response_json(res, 200, json_object());
    return st;
}

ts_status api_v2_unload(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    const char *name = ts_request_param(req, "model");
    json_t *body = NULL;
    ts_status st = body_object(req, &body, err);
    json_decref(body);
    if (st == TS_OK)
        st = known(app, name, err);
    if (st == TS_OK)
        st = ts_models_unload(app->models, name, err);
    if (st == TS_OK)
        ts_response_json(res, 200, json_object());
    return st;
}

/* ---- what is named by the protocol and not offered ---- */

ts_status api_v2_unsupported(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    (void)app, (void)res;
    return ts_fail(err, TS_E_UNSUPPORTED, "%.100s is not supported by this server",
                   ts_request_path(req));
}

ts_status api_v2_no_shared_memory(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    (void)app, (void)req, (void)res;
    return ts_fail(err, TS_E_UNSUPPORTED, "shared memory is not supported by this server");
}

ts_status api_v2_shared_memory_status(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    const char *region = ts_request_param(req, "region");
    (void)app;
    if (region)
        return ts_fail(err, TS_E_NOT_FOUND, "no shared memory region '%.100s'", region);
    ts_response_json(res, 200, json_array());
    return TS_OK;
}

ts_status api_v2_shared_memory_unregister(ts_app *app, ts_request *req, ts_response *res,
                                          ts_error *err)
{
    (void)app, (void)req, (void)err;
    ts_response_json(res, 200, json_object());
    return TS_OK;
}
