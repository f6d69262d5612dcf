/* /v1/fits and /v1/image-metrics: jobs that fit an image with 2-D Gaussians, and their files. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/problem.h"
#include "api/routes.h"
#include "cl/base/fs.h"
#include "cl/models/imagegs/metrics.h"
#include "server/codec.h"
#include "server/multipart.h"
#include "server/train/fits.h"

enum {
    MAX_MODEL = 1 << 30,
    MAX_SWEEP = 1000,
    MAX_SAMPLES = 1000000
};

static ts_status want_fits(const ts_app *app, ts_error *err)
{
    return app->fits ? TS_OK : ts_fail(err, TS_E_NOT_READY, "this server has no device");
}

/* The whole list of what is wrong, as the member `errors` of the problem. */
static ts_status answer_problems(ts_response *res, const char *path, const ts_error *why,
                                 json_t *problems)
{
    ts_buf text = {0};
    (void)path;
    json_t *body =
        json_pack("{s:s, s:s, s:i, s:s, s:s, s:o}", "type", "about:blank", "title", "Bad Request",
                  "status", 400, "detail", why->text, "code", "bad-option", "errors", problems);
    ts_json_write(body, &text);
    json_decref(body);
    ts_response_bytes(res, 400, "application/problem+json", &text);
    return TS_OK;
}

/* ---- what a request is made of ---- */

static ts_status add_tensor(ts_app *app, ts_request *req, const char *field, const json_t *name,
                            ts_trainimage *image, ts_error *err)
{
    ts_entry entry = {0};
    const char *text = json_string_value(name);
    if (!text)
        return ts_fail(err, TS_E_OPTION, "%s: expected the name of a tensor", field);
    ts_status st = ts_name_check("tensor", text, err);
    if (st == TS_OK)
        st = ts_store_get(app->store, text, &entry, err);
    if (st == TS_OK)
        st = ts_trainimage_add_tensor(image, text, ts_request_queue(req), entry.tensor, err);
    ts_entry_finish(&entry);
    return st;
}

static ts_status take_images(ts_app *app, ts_request *req, const json_t *body,
                             const ts_multipart *form, ts_trainimage *image, ts_error *err)
{
    const json_t *one = json_object_get(body, "image"), *stack = json_object_get(body, "stack");
    size_t files = 0;
    ts_status st = TS_OK;
    for (size_t i = 0; st == TS_OK && i < form->n; ++i) {
        const ts_part *p = &form->part[i];
        if (strcmp(p->name, "image") != 0)
            continue;
        ++files;
        st = ts_trainimage_add_file(image, p->filename[0] ? p->filename : "image", p->data, p->len,
                                    err);
        if (st == TS_E_FILE)
            err->status = st = TS_E_SHAPE; /* well-formed request, data that do not fit */
    }
    if (st != TS_OK)
        return st;
    if ((files != 0) + (one != NULL) + (stack != NULL) != 1)
        return ts_fail(err, TS_E_OPTION,
                       "image: expected one of `image`, `stack`, or parts `image`");
    if (one)
        return add_tensor(app, req, "image", one, image, err);
    if (stack && json_array_size(stack) < 1)
        return ts_fail(err, TS_E_OPTION, "stack: expected a list of tensors");
    for (size_t i = 0; st == TS_OK && i < json_array_size(stack); ++i)
        st = add_tensor(app, req, "stack", json_array_get(stack, i), image, err);
    return st;
}

static ts_status take_saliency(ts_app *app, ts_request *req, const json_t *body,
                               const ts_multipart *form, ts_trainimage *map, ts_error *err)
{
    const json_t *name = json_object_get(body, "saliency");
    const ts_part *part = ts_multipart_find(form, "saliency");
    if (name)
        return add_tensor(app, req, "saliency", name, map, err);
    return part ? ts_trainimage_add_file(map, "saliency", part->data, part->len, err) : TS_OK;
}

static bool first_model_in(const char *folder, char *path, size_t n)
{
    DIR *dir = opendir(folder);
    const struct dirent *e;
    bool found = false;
    snprintf(path, n, "%s/model.safetensors", folder);
    if (access(path, R_OK) == 0)
        found = true;
    while (!found && dir && (e = readdir(dir))) {
        size_t len = strlen(e->d_name);
        if (len > 12 && strcmp(e->d_name + len - 12, ".safetensors") == 0)
            found = snprintf(path, n, "%s/%s", folder, e->d_name) < (int)n;
    }
    if (dir)
        closedir(dir);
    return found;
}

/* init_from: a fit's id, or a model directory of the repository. */
static ts_status take_init(ts_app *app, const char *name, ts_gs_model *out, ts_error *err)
{
    char path[4096], folder[2048];
    ts_buf file = {0};
    ts_error quiet = {0};
    if (!name[0])
        return TS_OK;
    bool found =
        ts_fits_path(app->fits, name, "model.safetensors", path, sizeof path, &quiet) == TS_OK;
    ts_error_clear(&quiet);
    if (!found && snprintf(folder, sizeof folder, "%s/models/%s", app->options.data_dir, name) <
                      (int)sizeof folder)
        found = first_model_in(folder, path, sizeof path);
    if (!found)
        return ts_fail(err, TS_E_NOT_FOUND, "init_from: no model or finished fit \"%s\"", name);
    ts_status st = ts_fs_read(path, MAX_MODEL, &file, err);
    if (st == TS_OK)
        st = ts_gs_model_read(file.data, file.len, out, err);
    if (st != TS_OK)
        ts_error_prefix(err, "init_from");
    ts_buf_finish(&file);
    return st;
}

static json_t *configuration(const json_t *body)
{
    static const char *const own[] = {"image", "stack", "saliency", "name", "sweep"};
    json_t *config = json_copy((json_t *)body);
    for (size_t i = 0; i < sizeof own / sizeof own[0]; ++i)
        json_object_del(config, own[i]);
    return config;
}

static json_t *warnings_of(const ts_gs_config *c)
{
    json_t *list = json_array();
    char text[200];
    if (c->video && c->capture_mode == TS_GS_CAPTURE_EVAL &&
        c->video_iterations % c->eval_steps != 0) {
        snprintf(text, sizeof text,
                 "eval_steps %lld does not divide video_iterations %lld: frames only at common "
                 "multiples",
                 (long long)c->eval_steps, (long long)c->video_iterations);
        json_array_append_new(list, json_string(text));
    }
    if (ts_gs_config_steps(c) != c->max_steps) {
        snprintf(text, sizeof text, "max_steps raised from %lld to %lld for progressive adding",
                 (long long)c->max_steps, (long long)ts_gs_config_steps(c));
        json_array_append_new(list, json_string(text));
    }
    return list;
}

typedef struct new_fit {
    ts_app *app;
    ts_request *req;
    const json_t *body;
    const ts_multipart *form;
} new_fit;

/* Read a configuration over the defaults; what is wrong goes to *problems. */
static ts_status read_config(const new_fit *n, const json_t *values, ts_gs_config *c,
                             json_t **problems, ts_error *err)
{
    ts_gs_config_init(c);
    ts_status st = ts_gs_config_read(c, values, problems, err);
    if (st == TS_OK && c->num_gaussians > n->app->options.max_gaussians) {
        st = ts_fail(err, TS_E_OPTION, "num_gaussians: %lld, at most %lld (--max-gaussians)",
                     (long long)c->num_gaussians, (long long)n->app->options.max_gaussians);
        json_array_append_new(*problems,
                              json_pack("{s:s, s:I, s:s}", "field", "num_gaussians", "value",
                                        (json_int_t)c->num_gaussians, "message", err->text));
    }
    return st;
}

static ts_status add_one(const new_fit *n, ts_gs_config *c, const json_t *image_name, int64_t batch,
                         int64_t parallel, json_t **shown, ts_error *err)
{
    ts_fit_request r = {.batch = batch, .parallel = parallel};
    char id[32];
    const char *name = json_string_value(json_object_get(n->body, "name"));
    json_t *own = NULL;
    const json_t *images = n->body;
    r.config = *c;
    memset(c, 0, sizeof *c);
    snprintf(r.name, sizeof r.name, "%s", name ? name : "");
    if (image_name)
        images = own = json_pack("{s:O}", "image", image_name);
    ts_status st = take_images(n->app, n->req, images, n->form, &r.image, err);
    json_decref(own);
    if (st == TS_OK)
        st = take_saliency(n->app, n->req, n->body, n->form, &r.saliency, err);
    if (st == TS_OK)
        st = take_init(n->app, r.config.init_from, &r.init, err);
    if (st != TS_OK) {
        ts_fit_request_finish(&r);
        return st;
    }
    return ts_fits_add(n->app->fits, &r, id, shown, err);
}

/* ---- POST /v1/fits ---- */

static ts_status post_single(const new_fit *n, ts_response *res, json_t *config, ts_error *err)
{
    ts_gs_config c;
    json_t *problems = NULL, *shown = NULL;
    ts_status st = read_config(n, config, &c, &problems, err);
    if (st != TS_OK) {
        ts_gs_config_finish(&c);
        st = answer_problems(res, ts_request_path(n->req), err, problems);
        ts_error_clear(err);
        return st;
    }
    json_decref(problems);
    json_t *warnings = warnings_of(&c), *effective = ts_gs_config_json(&c);
    st = add_one(n, &c, NULL, 0, 0, &shown, err);
    if (st == TS_OK) {
        json_t *body =
            json_pack("{s:O, s:O, s:O, s:O, s:O}", "id", json_object_get(shown, "id"), "stream",
                      json_object_get(shown, "stream"), "folder", json_object_get(shown, "folder"),
                      "warnings", warnings, "effective_config", effective);
        char location[64];
        snprintf(location, sizeof location, "/v1/fits/%s",
                 json_string_value(json_object_get(shown, "id")));
        ts_response_header(res, "Location", location);
        ts_response_json(res, 202, body);
    }
    json_decref(shown);
    json_decref(warnings);
    json_decref(effective);
    return st;
}

/* One of a sweep's lists, or a list of NULL alone where it may be absent. */
static ts_status sweep_list(const json_t *sweep, const char *key, bool needed, size_t *n,
                            ts_error *err)
{
    const json_t *list = json_object_get(sweep, key);
    *n = json_array_size(list);
    if ((list && (!json_is_array(list) || *n == 0)) || (needed && !list))
        return ts_fail(err, TS_E_OPTION, "sweep.%s: expected a list that is not empty", key);
    if (!list)
        *n = 1;
    return TS_OK;
}

typedef struct sweep_sizes {
    size_t images, counts, steps;
    int64_t parallel;
} sweep_sizes;

static ts_status read_sweep(const json_t *sweep, sweep_sizes *s, ts_error *err)
{
    static const char *const keys[] = {"images", "num_gaussians", "max_steps", "parallel", NULL};
    s->parallel = 1;
    if (!json_is_object(sweep))
        return ts_fail(err, TS_E_OPTION, "sweep: expected an object");
    ts_status st = ts_json_only(sweep, "sweep", keys, err);
    if (st == TS_OK)
        st = sweep_list(sweep, "images", true, &s->images, err);
    if (st == TS_OK)
        st = sweep_list(sweep, "num_gaussians", false, &s->counts, err);
    if (st == TS_OK)
        st = sweep_list(sweep, "max_steps", false, &s->steps, err);
    if (st == TS_OK)
        st = ts_json_get_int(sweep, "sweep", "parallel", 1, 64, &s->parallel, err);
    if (st == TS_OK && s->images * s->counts * s->steps > MAX_SWEEP)
        st = ts_fail(err, TS_E_OPTION, "sweep: %zu fits, at most %d",
                     s->images * s->counts * s->steps, MAX_SWEEP);
    return st;
}

/* The configuration of run k of a sweep: images outermost, steps innermost. */
static json_t *sweep_config(const json_t *config, const json_t *sweep, const sweep_sizes *s,
                            size_t k, const json_t **image)
{
    json_t *one = json_copy((json_t *)config);
    const json_t *counts = json_object_get(sweep, "num_gaussians");
    const json_t *steps = json_object_get(sweep, "max_steps");
    *image = json_array_get(json_object_get(sweep, "images"), k / (s->counts * s->steps));
    if (counts)
        json_object_set(one, "num_gaussians", json_array_get(counts, k / s->steps % s->counts));
    if (steps)
        json_object_set(one, "max_steps", json_array_get(steps, k % s->steps));
    return one;
}

/* Every configuration and image is checked before the first fit is made. */
static ts_status check_sweep(const new_fit *n, const json_t *config, const json_t *sweep,
                             const sweep_sizes *s, json_t **problems, ts_error *err)
{
    ts_status st = TS_OK;
    for (size_t k = 0; st == TS_OK && k < s->images * s->counts * s->steps; ++k) {
        const json_t *image;
        ts_gs_config c;
        json_t *one = sweep_config(config, sweep, s, k, &image);
        json_decref(*problems);
        st = read_config(n, one, &c, problems, err);
        ts_gs_config_finish(&c);
        json_decref(one);
        if (st == TS_OK) {
            ts_trainimage trial = {0};
            st = add_tensor(n->app, n->req, "sweep.images", image, &trial, err);
            ts_trainimage_finish(&trial);
        }
    }
    return st;
}

static ts_status add_sweep(const new_fit *n, const json_t *config, const json_t *sweep,
                           const sweep_sizes *s, ts_response *res, ts_error *err)
{
    int64_t batch = 0;
    json_t *list = json_array();
    ts_status st = ts_fits_new_batch(n->app->fits, &batch, err);
    for (size_t k = 0; st == TS_OK && k < s->images * s->counts * s->steps; ++k) {
        const json_t *image;
        ts_gs_config c;
        json_t *one = sweep_config(config, sweep, s, k, &image), *problems = NULL, *shown = NULL;
        st = read_config(n, one, &c, &problems, err);
        if (st == TS_OK)
            st = add_one(n, &c, image, batch, s->parallel, &shown, err);
        json_decref(problems);
        json_decref(one);
        if (st == TS_OK)
            json_array_append_new(list,
                                  json_pack("{s:O, s:O, s:O}", "id", json_object_get(shown, "id"),
                                            "stream", json_object_get(shown, "stream"), "folder",
                                            json_object_get(shown, "folder")));
        json_decref(shown);
    }
    if (st != TS_OK) {
        json_decref(list);
        return st;
    }
    char id[32];
    snprintf(id, sizeof id, "batch_%lld", (long long)batch);
    ts_response_json(res, 202, json_pack("{s:s, s:o}", "id", id, "fits", list));
    return TS_OK;
}

static ts_status post_sweep(const new_fit *n, ts_response *res, json_t *config, ts_error *err)
{
    const json_t *sweep = json_object_get(n->body, "sweep");
    sweep_sizes s;
    json_t *problems = NULL;
    ts_status st = read_sweep(sweep, &s, err);
    if (st == TS_OK)
        st = check_sweep(n, config, sweep, &s, &problems, err);
    if (st != TS_OK && json_array_size(problems)) {
        st = answer_problems(res, ts_request_path(n->req), err, json_incref(problems));
        ts_error_clear(err);
    } else if (st == TS_OK) {
        st = add_sweep(n, config, sweep, &s, res, err);
    }
    json_decref(problems);
    return st;
}

/* The JSON of either form of the request: the body, or the part `config`. */
static ts_status read_body(ts_request *req, ts_multipart *form, json_t **body, ts_error *err)
{
    const ts_buf *raw = ts_request_body(req);
    form->n = 0;
    if (strcmp(ts_request_content_type(req), "multipart/form-data") != 0)
        return ts_request_json(req, body, err);
    ts_status st =
        ts_multipart_parse(ts_request_header(req, "content-type"), raw->data, raw->len, form, err);
    const ts_part *config = st == TS_OK ? ts_multipart_find(form, "config") : NULL;
    if (st == TS_OK && config)
        st = ts_json_parse(config->data, config->len, body, err);
    else if (st == TS_OK)
        *body = json_object();
    return st;
}

ts_status api_fits_post(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    static const char *const no_keys[] = {NULL};
    ts_multipart *form = calloc(1, sizeof *form);
    json_t *body = NULL;
    if (!form)
        return ts_fail(err, TS_E_NO_MEMORY, "a fit");
    ts_status st = want_fits(app, err);
    if (st == TS_OK)
        st = ts_request_query_only(req, no_keys, err);
    if (st == TS_OK)
        st = read_body(req, form, &body, err);
    if (st == TS_OK && !json_is_object(body))
        st = ts_fail(err, TS_E_OPTION, "expected a JSON object");
    if (st == TS_OK) {
        new_fit n = {app, req, body, form};
        json_t *config = configuration(body);
        st = json_object_get(body, "sweep") ? post_sweep(&n, res, config, err)
                                            : post_single(&n, res, config, err);
        json_decref(config);
    }
    json_decref(body);
    free(form);
    return st;
}

/* ---- looking ---- */

ts_status api_fits_list(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    static const char *const keys[] = {"prefix", NULL};
    ts_status st = ts_request_query_only(req, keys, err);
    if (st != TS_OK)
        return st;
    json_t *list =
        app->fits ? ts_fits_list(app->fits, ts_request_query(req, "prefix")) : json_array();
    ts_response_json(res, 200, json_pack("{s:o}", "fits", list));
    return TS_OK;
}

ts_status api_fit_get(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    json_t *shown = NULL;
    ts_status st = want_fits(app, err);
    if (st == TS_OK)
        st = ts_fits_get(app->fits, ts_request_param(req, "id"), &shown, err);
    if (st == TS_OK)
        ts_response_json(res, 200, shown);
    return st;
}

ts_status api_fit_metrics(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    static const char *const keys[] = {"since", NULL};
    json_t *shown = NULL;
    int64_t from = 0;
    ts_status st = want_fits(app, err);
    if (st == TS_OK)
        st = ts_request_query_only(req, keys, err);
    if (st == TS_OK)
        st = ts_request_query_int(req, "since", INT64_MIN, INT64_MAX, &from, err);
    if (st == TS_OK)
        st = ts_fits_evaluations(app->fits, ts_request_param(req, "id"), from, &shown, err);
    if (st == TS_OK)
        ts_response_json(res, 200, shown);
    return st;
}

/* ---- acting ---- */

ts_status api_fit_act(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    static const struct {
        const char *word;
        ts_fit_action action;
    } all[] = {{"stop", TS_FIT_FINISH},
               {"finish", TS_FIT_FINISH},
               {"pause", TS_FIT_PAUSE},
               {"resume", TS_FIT_RESUME},
               {"cancel", TS_FIT_CANCEL}};
    const char *id = ts_request_param(req, "id"), *path = ts_request_path(req);
    const char *word = strrchr(path, '/') + 1;
    size_t i = 0;
    json_t *shown = NULL;
    while (i < 4 && strcmp(word, all[i].word) != 0)
        ++i;
    ts_status st = want_fits(app, err);
    if (st == TS_OK)
        st = ts_fits_act(app->fits, id, all[i].action, err);
    if (st == TS_OK)
        st = ts_fits_get(app->fits, id, &shown, err);
    if (st == TS_OK)
        ts_response_json(res, 202, shown);
    return st;
}

ts_status api_fit_patch(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    json_t *patch = NULL, *problems = NULL, *shown = NULL;
    const char *id = ts_request_param(req, "id");
    ts_status st = want_fits(app, err);
    if (st == TS_OK)
        st = ts_request_json(req, &patch, err);
    if (st == TS_OK && !json_is_object(patch))
        st = ts_fail(err, TS_E_OPTION, "expected a JSON object");
    if (st == TS_OK)
        st = ts_fits_patch(app->fits, id, patch, &problems, err);
    if (st != TS_OK && json_array_size(problems)) {
        st = answer_problems(res, ts_request_path(req), err, json_incref(problems));
        ts_error_clear(err);
    } else if (st == TS_OK) {
        st = ts_fits_get(app->fits, id, &shown, err);
        if (st == TS_OK)
            ts_response_json(res, 200, shown);
    }
    json_decref(patch);
    json_decref(problems);
    return st;
}

static ts_status read_rect(const json_t *list, int rect[4], ts_error *err)
{
    for (size_t i = 0; i < 4; ++i) {
        const json_t *v = json_array_get(list, i);
        if (json_array_size(list) != 4 || !json_is_integer(v) || json_integer_value(v) < 0 ||
            json_integer_value(v) > TS_GS_MAX_SIDE)
            return ts_fail(err, TS_E_OPTION, "rect: expected [x0, y0, x1, y1] in pixels");
        rect[i] = (int)json_integer_value(v);
    }
    return TS_OK;
}

ts_status api_fit_add(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    static const char *const keys[] = {"count", "mode", "rect", NULL};
    static const char *const modes[] = {"error", "random", "region", NULL};
    json_t *body = NULL, *shown = NULL;
    int64_t count = 0;
    int mode = 0, rect[4];
    const char *id = ts_request_param(req, "id");
    ts_status st = want_fits(app, err);
    if (st == TS_OK)
        st = ts_request_json(req, &body, err);
    if (st == TS_OK)
        st = ts_json_only(body, "", keys, err);
    if (st == TS_OK)
        st = ts_json_get_int(body, "", "count", 1, 1 << 30, &count, err);
    if (st == TS_OK)
        st = ts_json_get_enum(body, "", "mode", modes, &mode, err);
    if (st == TS_OK && count == 0)
        st = ts_fail(err, TS_E_OPTION, "count: missing");
    bool has_rect = json_object_get(body, "rect") != NULL;
    if (st == TS_OK && (has_rect || mode == 2))
        st = read_rect(json_object_get(body, "rect"), rect, err);
    if (st == TS_OK)
        st = ts_fits_grow(app->fits, id, count, mode == 1, has_rect ? rect : NULL, err);
    if (st == TS_OK)
        st = ts_fits_get(app->fits, id, &shown, err);
    if (st == TS_OK)
        ts_response_json(res, 202, shown);
    json_decref(body);
    return st;
}

ts_status api_fit_delete(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    ts_status st = want_fits(app, err);
    if (st == TS_OK)
        st = ts_fits_remove(app->fits, ts_request_param(req, "id"), err);
    if (st == TS_OK)
        ts_response_status(res, 204);
    return st;
}

/* ---- files ---- */

typedef struct file_kind {
    const char *name, *path, *type;
} file_kind;

static const file_kind file_kinds[] = {
    {"metrics.csv", "metrics.csv", "text/csv; charset=utf-8"},
    {"rendered.jpg", "rendered.jpg", "image/jpeg"},
    {"rendered.png", "rendered.png", "image/png"},
    {"rendered.webp", "rendered.webp", "image/webp"},
    {"training.mp4", "training_video.mp4", "video/mp4"},
    {"training.webm", "training_video.webm", "video/webm"},
    {"training.mkv", "training_video.mkv", "video/x-matroska"},
    {"model.safetensors", "model.safetensors", "application/vnd.safetensors"},
    {"model.q.safetensors", "model.q.safetensors", "application/vnd.safetensors"},
    {"initial_model.safetensors", "initial_model.safetensors", "application/vnd.safetensors"},
    {"log_train.txt", "other/log_train.txt", "text/plain; charset=utf-8"},
    {"cfg_train.yaml", "other/cfg_train.yaml", "text/plain; charset=utf-8"},
    {"summary.txt", "summary.txt", "text/plain; charset=utf-8"},
    {"summary.json", "summary.json", "application/json"},
    {"summary.png", "summary.png", "image/png"},
    {"metrics_plot.png", "metrics_plot.png", "image/png"},
    {"ground_truth.jpg", "other/ground_truth.jpg", "image/jpeg"},
    {"enhanced.jpg", "enhanced/rendered.jpg", "image/jpeg"},
    {"enhanced.png", "enhanced/rendered.png", "image/png"},
    {"patch_summary.json", "enhanced/patch_summary.json", "application/json"},
    {"comparison.jpg", "comparison.jpg", "image/jpeg"},
};

ts_status api_fit_file(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    static const char *const keys[] = {"form", NULL};
    const char *name = ts_request_param(req, "file"), *form = ts_request_query(req, "form");
    const file_kind *kind = NULL;
    char path[4096];
    ts_status st = want_fits(app, err);
    if (st == TS_OK)
        st = ts_request_query_only(req, keys, err);
    if (st != TS_OK)
        return st;
    if (form && (strcmp(name, "model.safetensors") != 0 ||
                 (strcmp(form, "float") != 0 && strcmp(form, "quant") != 0)))
        return ts_fail(err, TS_E_OPTION, "form: float or quant, of model.safetensors");
    if (form && strcmp(form, "quant") == 0)
        name = "model.q.safetensors";
    for (size_t i = 0; i < sizeof file_kinds / sizeof file_kinds[0]; ++i)
        if (strcmp(name, file_kinds[i].name) == 0)
            kind = &file_kinds[i];
    if (!kind)
        return ts_fail(err, TS_E_NOT_FOUND, "a fit has no file \"%.80s\"", name);
    st = ts_fits_path(app->fits, ts_request_param(req, "id"), kind->path, path, sizeof path, err);
    return st == TS_OK ? ts_response_file(res, kind->type, path, err) : st;
}

/* ---- kept frames ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* {step, psnr, ssim} of each kept frame; figures where that step was evaluated. */
static void list_frames(const char *folder, const json_t *evaluations, json_t *list)
{
    DIR *dir = opendir(folder);
    const struct dirent *e;
    char *names[4096];
    size_t n = 0;
    while (dir && n < 4096 && (e = readdir(dir)))
        if (strlen(e->d_name) == 14 && strcmp(e->d_name + 9, ".webp") == 0 &&
            (names[n] = strdup(e->d_name)))
            ++n;
    if (dir)
        closedir(dir);
    qsort(names, n, sizeof *names, by_name);
    for (size_t i = 0; i < n; ++i) {
        json_int_t step = atoll(names[i]);
        json_t *one = json_pack("{s:I, s:n, s:n}", "step", step, "psnr", "ssim"), *v;
        size_t k;
        json_array_foreach((json_t *)evaluations, k,
                           v) if (json_integer_value(json_object_get(v, "step")) == step)
        {
            json_object_set(one, "psnr", json_object_get(v, "psnr"));
            json_object_set(one, "ssim", json_object_get(v, "ssim"));
        }
        json_array_append_new(list, one);
        free(names[i]);
    }
}

ts_status api_fit_frames(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    const char *id = ts_request_param(req, "id");
    char folder[4096];
    json_t *evaluations = NULL, *list = json_array();
    ts_error none = {0};
    ts_status st = want_fits(app, err);
    if (st == TS_OK)
        st = ts_fits_evaluations(app->fits, id, 0, &evaluations, err);
    if (st == TS_OK && ts_fits_path(app->fits, id, "frames", folder, sizeof folder, &none) == TS_OK)
        list_frames(folder, json_object_get(evaluations, "evaluations"), list);
    ts_error_clear(&none);
    json_decref(evaluations);
    if (st == TS_OK)
        ts_response_json(res, 200, json_pack("{s:o}", "frames", list));
    else
        json_decref(list);
    return st;
}

/* "50.webp" */
ts_status api_fit_frame(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    const char *file = ts_request_param(req, "file");
    char name[64], path[4096], *end;
    long long step = strtoll(file, &end, 10);
    ts_status st = want_fits(app, err);
    if (st == TS_OK && (end == file || strcmp(end, ".webp") != 0 || step < 0))
        st = ts_fail(err, TS_E_NOT_FOUND, "no frame \"%.40s\"; want STEP.webp", file);
    snprintf(name, sizeof name, "frames/%09lld.webp", step);
    if (st == TS_OK)
        st = ts_fits_path(app->fits, ts_request_param(req, "id"), name, path, sizeof path, err);
    return st == TS_OK ? ts_response_file(res, "image/webp", path, err) : st;
}

/* ---- rendering ---- */

typedef struct render_request {
    int64_t height;
    bool align;
} render_request;

static ts_status answer_picture(ts_request *req, ts_response *res, const ts_gs_model *model,
                                const render_request *r, ts_error *err)
{
    static const char *const types[] = {"image/png", "image/webp", "application/x-npy",
                                        "image/jpeg", NULL};
    static const ts_codec codecs[] = {TS_CODEC_PNG, TS_CODEC_WEBP_LOSSLESS, TS_CODEC_NPY,
                                      TS_CODEC_JPEG};
    int type = ts_request_accept(req, types), w = 0;
    float *chw = NULL;
    ts_encoder *encoder = NULL;
    ts_buf file = {0};
    if (type < 0)
        return ts_fail(err, TS_E_NOT_ACCEPTABLE,
                       "want image/png, image/webp, image/jpeg or application/x-npy");
    int h = (int)(r->height ? r->height : 2048);
    ts_status st = ts_gs_model_render(ts_request_queue(req), model, h, r->align, &chw, &w, err);
    size_t n = (size_t)w * (size_t)h;
    ts_pixels *p = st == TS_OK ? ts_pixels_create(TS_PIXELS_RGB8, w, h) : NULL;
    if (st == TS_OK && !p)
        st = ts_fail(err, TS_E_NO_MEMORY, "a picture of %d x %d", w, h);
    for (size_t i = 0; st == TS_OK && i < n; ++i)
        for (size_t k = 0; k < 3; ++k)
            ((uint8_t *)p->plane[0])[i / (size_t)w * p->stride[0] + i % (size_t)w * 3 + k] =
                (uint8_t)(chw[(model->channels >= 3 ? k : 0) * n + i] * 255 + 0.5f);
    ts_encode_options o = {.codec = codecs[type], .quality = 90};
    if (st == TS_OK)
        st = ts_encoder_create(&encoder, err);
    if (st == TS_OK)
        st = ts_frame_encode(p, &o, encoder, &file, err);
    if (st == TS_OK)
        ts_response_bytes(res, 200, types[type], &file);
    ts_encoder_destroy(encoder);
    ts_pixels_unref(p);
    ts_buf_finish(&file);
    free(chw);
    return st;
}

static ts_status query_render(const ts_request *req, render_request *r, ts_error *err)
{
    static const char *const keys[] = {"height", "align", NULL};
    ts_status st = ts_request_query_only(req, keys, err);
    if (st == TS_OK)
        st = ts_request_query_int(req, "height", 1, TS_GS_MAX_SIDE, &r->height, err);
    return st == TS_OK ? ts_request_query_bool(req, "align", &r->align, err) : st;
}

ts_status api_fit_render(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    static const char *const keys[] = {"height", "align", NULL};
    render_request r = {.align = true};
    char path[4096];
    ts_buf file = {0};
    ts_gs_model model = {0};
    json_t *body = NULL;
    const ts_buf *raw = ts_request_body(req);
    ts_status st = want_fits(app, err);
    if (st == TS_OK)
        st = query_render(req, &r, err);
    if (st == TS_OK && raw && raw->len) {
        st = ts_request_json(req, &body, err);
        if (st == TS_OK)
            st = ts_json_only(body, "", keys, err);
        if (st == TS_OK)
            st = ts_json_get_int(body, "", "height", 1, TS_GS_MAX_SIDE, &r.height, err);
        if (st == TS_OK)
            st = ts_json_get_bool(body, "", "align", &r.align, err);
    }
    if (st == TS_OK)
        st = ts_fits_path(app->fits, ts_request_param(req, "id"), "model.safetensors", path,
                          sizeof path, err);
    if (st == TS_OK)
        st = ts_fs_read(path, MAX_MODEL, &file, err);
    if (st == TS_OK)
        st = ts_gs_model_read(file.data, file.len, &model, err);
    if (st == TS_OK)
        st = answer_picture(req, res, &model, &r, err);
    ts_gs_model_finish(&model);
    ts_buf_finish(&file);
    json_decref(body);
    return st;
}

ts_status api_fits_render(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    render_request r = {.align = true};
    ts_gs_model model = {0};
    const ts_buf *body = ts_request_body(req);
    ts_status st = want_fits(app, err);
    if (st == TS_OK)
        st = query_render(req, &r, err);
    if (st == TS_OK)
        st = ts_gs_model_read(body->data, body->len, &model, err);
    if (st == TS_OK)
        st = answer_picture(req, res, &model, &r, err);
    ts_gs_model_finish(&model);
    return st;
}

/* ---- POST /v1/image-metrics ---- */

ts_status api_image_metrics(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    static const char *const no_keys[] = {NULL};
    static const char *const names[] = {"a", "b"};
    const ts_buf *body = ts_request_body(req);
    ts_trainimage image[2] = {{0}, {0}};
    ts_gs_metrics m;
    ts_multipart *form = calloc(1, sizeof *form);
    (void)app;
    if (!form)
        return ts_fail(err, TS_E_NO_MEMORY, "metrics");
    ts_status st = ts_request_query_only(req, no_keys, err);
    if (st == TS_OK)
        st = ts_multipart_parse(ts_request_header(req, "content-type"), body->data, body->len, form,
                                err);
    for (int i = 0; st == TS_OK && i < 2; ++i) {
        const ts_part *part = ts_multipart_find(form, names[i]);
        st = part ? ts_trainimage_add_file(&image[i], names[i], part->data, part->len, err)
                  : ts_fail(err, TS_E_OPTION, "%s: expected a part of that name", names[i]);
    }
    if (st == TS_OK && (image[0].width != image[1].width || image[0].height != image[1].height ||
                        image[0].channels != image[1].channels))
        st = ts_fail(err, TS_E_SHAPE, "a is %d x %d x %d, b %d x %d x %d", image[0].width,
                     image[0].height, image[0].channels, image[1].width, image[1].height,
                     image[1].channels);
    if (st == TS_OK)
        st = ts_gs_metrics_compute(image[0].chw, image[1].chw, image[0].channels, image[0].height,
                                   image[0].width, &m, NULL, err);
    if (st == TS_OK)
        ts_response_json(res, 200, ts_gs_metrics_json(&m));
    ts_trainimage_finish(&image[0]);
    ts_trainimage_finish(&image[1]);
    free(form);
    return st;
}
