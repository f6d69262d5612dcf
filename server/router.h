/*
 * The route table: (method, pattern) → handler, scope and how its body is received.
 *
 * api/routes.def lists the routes; api/ fills this table and hands it to the server, which knows no
 * route by itself. Patterns are paths with {name} parts, each one path segment; a last part {rest*}
 * takes everything that follows.
 */
#ifndef TS_SERVER_ROUTER_H
#define TS_SERVER_ROUTER_H

#include "server/request.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_app ts_app;

typedef enum ts_body_kind {
    TS_BODY_NONE,  /* a body is refused */
    TS_BODY_JSON,  /* in memory, at most --max-body */
    TS_BODY_BYTES, /* in memory, at most --max-body */
    TS_BODY_FILE,  /* spooled to a file, at most --max-model-body */
    TS_BODY_SINK,  /* each piece goes to the route's sink as it arrives */
    TS_BODY_WS     /* a GET that becomes a WebSocket */
} ts_body_kind;

typedef ts_status (*ts_handler)(ts_app *app, ts_request *req, ts_response *res, ts_error *err);

/*
 * Receives a body piece by piece on the HTTP thread. `open` may read headers and query of `req`
 * (declared length: -1 when chunked); an error from it or from `append` is the answer, and `destroy`
 * follows in every case after the handler ran or the request died.
 */
typedef struct ts_body_sink {
    ts_status (*open)(ts_app *app, ts_request *req, int64_t length, void **sink, ts_error *err);
    ts_status (*append)(void *sink, const void *data, size_t len, ts_error *err);
    void (*destroy)(void *sink);
} ts_body_sink;

typedef struct ts_route {
    const char *method, *pattern;
    ts_handler handler;
    unsigned scope; /* TS_SCOPE_…; NONE is open to all in every mode */
    ts_body_kind body;
    const ts_body_sink *sink; /* TS_BODY_SINK only */
} ts_route;

typedef struct ts_router {
    const ts_route *routes;
    size_t n_routes;
    /** Writes an error in the shape that the path's API uses. */
    void (*write_error)(ts_response *res, const char *path, const ts_error *err);
    /** Whether a pattern "/{file*}" has this path; without it such a pattern matches nothing. */
    bool (*has_file)(const char *path);
} ts_router;

typedef struct ts_path_params {
    int n;
    struct {
        const char *name; /* in the pattern, not terminated */
        size_t name_len;
        char value[512];
    } part[4];
} ts_path_params;

/**
 * Find the route of a percent-encoded path; its segments are decoded one by one, so an encoded slash
 * stays inside its part. A part may have fixed text around it ("{n}.webp"). A fixed path
 * hides the patterns further down that match it too. TS_E_NOT_FOUND: no such path; TS_E_METHOD: other
 * methods have it, and `allow` gets their list ("GET, PUT").
 */
TS_CHECKED ts_status ts_router_find(const ts_router *router, const char *method, const char *path,
                                    const ts_route **out, ts_path_params *params, char allow[64],
                                    ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
