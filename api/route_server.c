/* What the server says about itself. */
#include "api/routes.h"

ts_status api_livez(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    (void)app, (void)req, (void)err;
    ts_response_json(res, 200, json_pack("{s:b}", "live", 1));
    return TS_OK;
}

ts_status api_readyz(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    (void)req;
    if (!ts_app_ready(app))
        return ts_fail(err, TS_E_NOT_READY,
                       ts_app_draining(app) ? "the server is shutting down"
                                            : "the server is starting");
    ts_response_json(res, 200, json_pack("{s:b}", "ready", 1));
    return TS_OK;
}
