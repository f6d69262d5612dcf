/* The table made from routes.def, and the handlers' prototypes. */
#ifndef TS_API_ROUTES_H
#define TS_API_ROUTES_H

#include "server/app.h"
#include "server/request.h"
#include "server/router.h"

/* Sinks of BODY SINK routes, by their owners' files. */
extern const ts_body_sink api_stream_frames_sink;
extern const ts_body_sink api_show_sink;
extern const ts_body_sink api_tensor_put_sink, api_tensor_patch_sink, api_tensors_post_sink;

#define ROUTE(method, pattern, handler, scope, body, sink) \
    ts_status handler(ts_app *app, ts_request *req, ts_response *res, ts_error *err);
#include "api/routes.def"
#undef ROUTE

/** All routes with the error writer of their APIs. */
extern const ts_router ts_api_router;

#endif
