#include "api/routes.h"

#include "api/problem.h"
#include "api/static.h"

static const ts_route routes[] = {
#define ROUTE(method, pattern, handler, scope, body, sink) \
    {#method, pattern, handler, TS_SCOPE_##scope, TS_BODY_##body, sink},
#include "api/routes.def"
#undef ROUTE
};

const ts_router ts_api_router = {
    .routes = routes,
    .n_routes = sizeof routes / sizeof *routes,
    .write_error = ts_problem_write,
    .has_file = api_static_has,
};
