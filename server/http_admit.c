/* What is decided about a request before its body: route, rights, origin, handshake. */
#include <stdio.h>
#include <string.h>

#include "server/auth.h"
#include "server/http_internal.h"
#include "server/limits.h"

static void read_content_type(ts_request *req)
{
    const char *type = ts_request_header(req, "content-type");
    size_t n = type ? strcspn(type, "; \t") : 0;
    if (n >= sizeof req->content_type)
        n = 0;
    for (size_t i = 0; i < n; i++)
        req->content_type[i] = type[i] >= 'A' && type[i] <= 'Z' ? (char)(type[i] | 0x20) : type[i];
    req->content_type[n] = 0;
}

static bool is_json_type(const char *type)
{
    size_t n = strlen(type);
    return n == 0 || strcmp(type, "application/json") == 0 ||
           (n > 5 && strcmp(type + n - 5, "+json") == 0);
}

/* Behind a --trusted-proxy the client is the last entry of X-Forwarded-For, which the proxy wrote. */
static void believe_proxy(exchange *ex, ts_auth_query *query)
{
    const ts_strings *proxies = &ex->loop->http->app->options.trusted_proxy;
    const char *list = ts_request_header(&ex->req, "x-forwarded-for");
    size_t i = 0;
    while (i < proxies->n && strcmp(proxies->items[i], ex->conn->peer) != 0)
        i++;
    if (i == proxies->n || !list)
        return;
    const char *last = strrchr(list, ',') ? strrchr(list, ',') + 1 : list;
    last += strspn(last, " \t");
    snprintf(ex->forwarded, sizeof ex->forwarded, "%.*s", (int)strcspn(last, " \t"), last);
    query->local = ts_address_text_local(ex->forwarded);
    query->peer = ex->req.peer = ex->forwarded;
}

static ts_status authorize(exchange *ex, ts_error *err)
{
    ts_request *req = &ex->req;
    const ts_app *app = ex->loop->http->app;
    const char *host = req->authority[0] ? req->authority : req->audit.host;
    ts_auth_query query = {
        .needed = req->route->scope,
        .local = ex->conn->local,
        .peer = ex->conn->peer,
        .host = host,
        .path = req->path,
        .get = strcmp(req->method, "GET") == 0 || strcmp(req->method, "HEAD") == 0,
        .websocket = req->route->body == TS_BODY_WS,
        .query_token = ts_request_query(req, "token") || ts_request_query(req, "access_token"),
        .authorization = ts_request_header(req, "authorization"),
        .protocols = ts_request_header(req, "sec-websocket-protocol"),
        .ticket = req->ticket,
    };
    if (app->options.metrics_open && strcmp(req->route->pattern, "/metrics") == 0)
        query.needed = TS_SCOPE_PUBLIC;
    believe_proxy(ex, &query);
    ts_principal principal;
    ts_status st = ts_auth_check(app->auth, &query, &principal, err);
    if (st != TS_OK)
        return st;
    req->scopes = principal.scopes;
    snprintf(req->who, sizeof req->who, "%s", principal.name);
    /* Without tokens nothing but the Origin tells a page of another site from a program. */
    const char *origin = ts_request_header(req, "origin");
    if (!query.get && origin && !ts_auth_has_tokens(app->auth) &&
        !ts_auth_origin(app->auth, origin, host))
        return ts_fail(err, TS_E_FORBIDDEN,
                       "requests of pages from %.100s are not allowed; see --allow-origin", origin);
    return TS_OK;
}

/* Everything that can be decided before the body. */
ts_status http_admit(exchange *ex, ts_error *err)
{
    ts_request *req = &ex->req;
    const ts_app *app = ex->loop->http->app;
    read_content_type(req);
    const char *origin = ts_request_header(req, "origin");
    if (origin && ts_auth_origin(app->auth, origin, req->audit.host))
        ex->origin = origin;
    ts_status st = ts_router_find(app->router, req->method, req->path, &req->route, &req->params,
                                  ex->allow, err);
    if (st != TS_OK)
        return st;
    st = authorize(ex, err);
    if (st == TS_OK && req->route->body == TS_BODY_JSON && !is_json_type(req->content_type))
        st = ts_fail(err, TS_E_ENCODING, "Content-Type %.60s is not taken here, send %s",
                     req->content_type, "application/json");
    return st;
}

/* OPTIONS carries no credentials; it tells the methods of a path that exists. */
ts_status http_admit_options(exchange *ex, ts_error *err)
{
    ts_request *req = &ex->req;
    const ts_app *app = ex->loop->http->app;
    const char *origin = ts_request_header(req, "origin");
    if (origin && ts_auth_origin(app->auth, origin, req->audit.host))
        ex->origin = origin;
    if (strcmp(req->path, "*") == 0) {
        snprintf(ex->allow, sizeof ex->allow, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        return TS_OK;
    }
    ts_error ignored = {0};
    ts_status st = ts_router_find(app->router, req->method, req->path, &req->route, &req->params,
                                  ex->allow, &ignored);
    ts_error_clear(&ignored);
    return st == TS_E_METHOD ? TS_OK
                             : ts_fail(err, TS_E_NOT_FOUND, "no such path: %.200s", req->path);
}

/* ---- WebSockets ---- */

static bool is_websocket_key(const char *key)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    /* 16 octets in base64: 22 characters, the last carrying 4 zero bits, and "==" */
    if (strlen(key) != 24 || strcmp(key + 22, "==") != 0 || strspn(key, alphabet) != 22)
        return false;
    return strchr("AQgw", key[21]) != NULL;
}

ts_status http_check_upgrade(exchange *ex, const char *version, ts_error *err)
{
    const ts_request *req = &ex->req;
    const ts_app *app = ex->loop->http->app;
    const char *key = ts_request_header(req, "sec-websocket-key");
    const char *number = ts_request_header(req, "sec-websocket-version");
    const char *origin = ts_request_header(req, "origin");
    if (strcmp(version, "HTTP/1.1") != 0)
        return ts_fail(err, TS_E_HEADER, "a WebSocket needs HTTP/1.1, got %.20s", version);
    if (!ts_header_has_token(ts_request_header(req, "upgrade"), "websocket") ||
        !ts_header_has_token(ts_request_header(req, "connection"), "upgrade"))
        return ts_fail(err, TS_E_UPGRADE,
                       "this path is a WebSocket: send Upgrade: websocket and Connection: Upgrade");
    if (!number || strcmp(number, "13") != 0)
        return ts_fail(err, TS_E_UPGRADE, "Sec-WebSocket-Version must be 13");
    if (!key || !is_websocket_key(key))
        return ts_fail(err, TS_E_HEADER, "Sec-WebSocket-Key must be 16 octets in base64");
    if (origin && !ts_auth_origin(app->auth, origin, req->audit.host))
        return ts_fail(err, TS_E_FORBIDDEN,
                       "WebSockets of pages from %.100s are not allowed; see --allow-origin",
                       origin);
    if (!app->takeover)
        return ts_fail(err, TS_E_NOT_READY, "WebSockets are not served");
    if (ts_app_draining(app))
        return ts_fail(err, TS_E_NOT_READY, "the server is shutting down");
    return TS_OK;
}

void http_hand_over(exchange *ex, int fd, const void *extra, size_t n_extra)
{
    ts_request *req = &ex->req;
    const char *protocols = ts_request_header(req, "sec-websocket-protocol");
    ts_takeover_info info = {
        .route = req->route,
        .path = req->path,
        .params = &req->params,
        .query = req->pairs,
        .n_query = req->n_pairs,
        .scopes = req->scopes,
        .peer = ts_request_peer(req),
        .key = ts_request_header(req, "sec-websocket-key"),
        .protocol = ts_header_has_token(protocols, "tensorscope.v1") ? "tensorscope.v1" : NULL,
        .extensions = ts_request_header(req, "sec-websocket-extensions"),
        .origin = ts_request_header(req, "origin"),
        .host = req->audit.host,
        .answered = true,
        .extra = extra,
        .n_extra = n_extra,
    };
    req->app->takeover(req->app, fd, &info);
}
