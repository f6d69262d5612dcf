/* Models: list, describe, upload, remove, taps. */
#include <string.h>

#include "api/routes.h"
#include "server/models.h"

static const char *const no_keys[] = {NULL};

static ts_status models_of(const ts_app *app, ts_models **out, ts_error *err)
{
    *out = app->models;
    return app->models ? TS_OK
                       : ts_fail(err, TS_E_NOT_READY, "this server has no device for models");
}

ts_status api_models_list(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    static const char *const keys[] = {"prefix", NULL};
    ts_status st = ts_request_query_only(req, keys, err);
    if (st != TS_OK)
        return st;
    json_t *list =
        app->models ? ts_models_list(app->models, ts_request_query(req, "prefix")) : json_array();
    ts_response_json(res, 200, json_pack("{s:o}", "models", list));
    return TS_OK;
}

ts_status api_model_get(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    ts_models *models;
    json_t *out;
    ts_status st = ts_request_query_only(req, no_keys, err);
    if (st == TS_OK)
        st = models_of(app, &models, err);
    if (st == TS_OK)
        st = ts_models_describe(models, ts_request_param(req, "name"), &out, err);
    if (st == TS_OK)
        ts_response_json(res, 200, out);
    return st;
}

ts_status api_model_put(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    ts_models *models;
    json_t *out;
    bool created = false;
    const char *name = ts_request_param(req, "name"), *type = ts_request_content_type(req);
    ts_status st = ts_request_query_only(req, no_keys, err);
    if (st == TS_OK)
        st = models_of(app, &models, err);
    if (st == TS_OK && strcmp(type, "application/x-tar") && strcmp(type, "application/tar"))
        st = ts_fail(err, TS_E_ENCODING, "Content-Type is \"%s\", want application/x-tar", type);
    if (st == TS_OK)
        st = ts_models_put(models, name, ts_request_body_file(req), &created, err);
    if (st == TS_OK)
        st = ts_models_describe(models, name, &out, err);
    if (st == TS_OK)
        ts_response_json(res, created ? 201 : 200, out);
    return st;
}

ts_status api_model_delete(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    ts_models *models;
    ts_status st = ts_request_query_only(req, no_keys, err);
    if (st == TS_OK)
        st = models_of(app, &models, err);
    if (st == TS_OK)
        st = ts_models_delete(models, ts_request_param(req, "name"), err);
    if (st == TS_OK)
        ts_response_status(res, 204);
    return st;
}

ts_status api_model_taps(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    ts_models *models;
    ts_loaded *loaded = NULL;
    ts_status st = ts_request_query_only(req, no_keys, err);
    if (st == TS_OK)
        st = models_of(app, &models, err);
    if (st == TS_OK)
        st = ts_models_get(models, ts_request_param(req, "name"), &loaded, err);
    if (st != TS_OK)
        return st;
    const ts_model_info *info = &ts_loaded_model(loaded)->info;
    json_t *list = json_array();
    for (size_t i = 0; i < info->n_taps; i++) {
        json_t *shape = json_array();
        for (int d = 0; d < info->taps[i].shape.rank; d++)
            json_array_append_new(shape, json_integer(info->taps[i].shape.dim[d]));
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:o}", "name", info->taps[i].name, "dtype",
                                        ts_dtype_name(info->taps[i].dtype), "shape", shape));
    }
    ts_response_json(res, 200, json_pack("{s:o}", "taps", list));
    ts_loaded_unref(loaded);
    return TS_OK;
}
