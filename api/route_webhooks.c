/* Webhooks: who is told about events over HTTP. */
#include <stdio.h>

#include "api/routes.h"
#include "server/webhooks.h"

static const char *const no_keys[] = {NULL};

ts_status api_webhooks_list(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    ts_status st = ts_request_query_only(req, no_keys, err);
    if (st == TS_OK)
        ts_response_json(res, 200, json_pack("{s:o}", "webhooks", ts_webhooks_list(app->webhooks)));
    return st;
}

ts_status api_webhooks_post(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    json_t *body = NULL;
    char id[32];
    ts_status st = ts_request_query_only(req, no_keys, err);
    if (st == TS_OK)
        st = ts_request_json(req, &body, err);
    if (st == TS_OK)
        st = ts_webhooks_add(app->webhooks, body, id, err);
    if (st == TS_OK) {
        char location[64];
        snprintf(location, sizeof location, "/v1/webhooks/%s", id);
        ts_response_json(res, 201, json_pack("{s:s}", "id", id));
        ts_response_header(res, "Location", location);
        ts_events_emit(app->events, "created", "webhook", id, NULL);
    }
    json_decref(body);
    return st;
}

ts_status api_webhook_get(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    const char *id = ts_request_param(req, "id");
    json_t *body = ts_webhooks_get(app->webhooks, id);
    if (!body)
        return ts_fail(err, TS_E_NOT_FOUND, "no webhook \"%.60s\"", id);
    ts_response_json(res, 200, body);
    return TS_OK;
}

ts_status api_webhook_delete(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    ts_status st = ts_webhooks_remove(app->webhooks, ts_request_param(req, "id"), err);
    if (st == TS_OK) {
        ts_response_status(res, 204);
        ts_events_emit(app->events, "deleted", "webhook", ts_request_param(req, "id"), NULL);
    }
    return st;
}
