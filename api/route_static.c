/* Files in the binary: the two API documents, the schemas, the dashboard. */
#include <stdio.h>
#include <string.h>

#include "api/routes.h"
#include "api/static.h"
#include "cl/base/embed.h"
#include "cl/base/hash.h"
#include "server/compress.h"

enum {
    COMPRESS_FROM = 1024
};

static const char *type_of(const char *name)
{
    static const char *const types[][2] = {{".html", "text/html; charset=utf-8"},
                                           {".js", "text/javascript; charset=utf-8"},
                                           {".css", "text/css; charset=utf-8"},
                                           {".svg", "image/svg+xml"},
                                           {".png", "image/png"},
                                           {".webp", "image/webp"},
                                           {".woff2", "font/woff2"},
                                           {".json", "application/json"},
                                           {".webmanifest", "application/manifest+json"},
                                           {".yaml", "application/yaml"},
                                           {".ts", "text/plain; charset=utf-8"},
                                           {".md", "text/plain; charset=utf-8"}};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof types / sizeof *types; i++)
        if (strcmp(dot, types[i][0]) == 0)
            return types[i][1];
    return "application/octet-stream";
}

/* Text is compressed for who takes it; a compressed file is another representation with its own tag. */
static ts_status answer_file(const ts_request *req, ts_response *res, const ts_embedded *file,
                             ts_error *err)
{
    size_t len = (size_t)(file->end - file->data);
    bool whole = !ts_request_header(req, "Range"); /* a range is of the file itself */
    const char *encoding = whole && len >= COMPRESS_FROM
                               ? ts_compress_choose(ts_request_header(req, "Accept-Encoding"))
                               : NULL;
    char tag[32];
    snprintf(tag, sizeof tag, "\"%016llx%s%s\"",
             (unsigned long long)ts_fnv1a(TS_FNV_SEED, file->data, len), encoding ? "-" : "",
             encoding ? encoding : "");
    if (encoding) {
        ts_buf body = {0};
        ts_buf_append(&body, file->data, len);
        ts_status st = ts_compress(&body, encoding, err);
        if (st != TS_OK) {
            ts_buf_finish(&body);
            return st;
        }
        ts_response_bytes(res, 200, type_of(file->name), &body);
        ts_response_header(res, "Content-Encoding", encoding);
    } else {
        ts_response_static(res, type_of(file->name), file->data, len);
    }
    ts_response_header(res, "Vary", "Accept-Encoding");
    ts_response_header(res, "ETag", tag);
    ts_response_header(res, "Cache-Control", "no-cache");
    return TS_OK;
}

static ts_status answer_document(const char *name, const ts_request *req, ts_response *res,
                                 ts_error *err)
{
    const ts_embedded *file = ts_embedded_find(ts_api_files, name);
    if (!file)
        return ts_fail(err, TS_E_NOT_FOUND, "no such document: %.100s", name);
    return answer_file(req, res, file, err);
}

ts_status api_openapi(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    (void)app;
    return answer_document("openapi.yaml", req, res, err);
}

ts_status api_asyncapi(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    (void)app;
    return answer_document("asyncapi.yaml", req, res, err);
}

ts_status api_schema(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    (void)app;
    char name[600];
    snprintf(name, sizeof name, "schemas/%s", ts_request_param(req, "file"));
    return answer_document(name, req, res, err);
}

/* ---- the dashboard ---- */

/* clients/web is served at /, clients/js at /js/. */
static const ts_embedded *find_page(const char *path)
{
    char name[600];
    bool is_js = strncmp(path, "js/", 3) == 0;
    snprintf(name, sizeof name, "%s%s", is_js ? "" : "web/", *path ? path : "index.html");
    return ts_embedded_find(ts_web_files, name);
}

bool api_static_has(const char *path)
{
    return find_page(path) != NULL;
}

static void security_headers(const ts_app *app, ts_response *res)
{
    ts_buf policy = {0};
    ts_buf_str(
        &policy,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "media-src 'self' blob:; connect-src 'self'; worker-src 'self'; manifest-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors");
    const ts_strings *origins = &app->options.allow_origin;
    for (size_t i = 0; i < origins->n; i++)
        ts_buf_printf(&policy, " %s", origins->items[i]);
    ts_buf_printf(&policy, "%s; require-trusted-types-for 'script'; trusted-types 'none'",
                  origins->n ? "" : " 'none'");
    ts_response_header(res, "Content-Security-Policy", ts_buf_cstr(&policy));
    ts_buf_finish(&policy);
    ts_response_header(res, "Referrer-Policy", "no-referrer");
    ts_response_header(res, "Cross-Origin-Opener-Policy", "same-origin");
    ts_response_header(res, "Permissions-Policy", "camera=(self), microphone=(), geolocation=()");
}

ts_status api_dashboard(ts_app *app, ts_request *req, ts_response *res, ts_error *err)
{
    const char *path = ts_request_param(req, "file");
    const ts_embedded *file = find_page(path ? path : "");
    if (!file)
        return ts_fail(err, TS_E_NOT_FOUND, "no such path: /%.200s", path ? path : "");
    security_headers(app, res);
    return answer_file(req, res, file, err);
}
