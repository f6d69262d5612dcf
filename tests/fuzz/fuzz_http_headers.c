/*
 * A request's target and header fields, as lines, through the project's own checks: what is let
 * through must have one length, one Host, and a path without raw control characters.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "server/audit.h"
#include "server/request_impl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const ts_route routes[] = {
    {"GET", "/v1/tensors/{name}", NULL, TS_SCOPE_READ, TS_BODY_NONE, NULL},
    {"PUT", "/v1/tensors/{name}/frame.{kind}", NULL, TS_SCOPE_READ, TS_BODY_NONE, NULL},
    {"GET", "/v1/files/{rest*}", NULL, TS_SCOPE_READ, TS_BODY_NONE, NULL},
};
static const ts_router router = {routes, 3, NULL, NULL};

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void run_target(const char *text)
{
    ts_request *req = calloc(1, sizeof *req);
    if (!req)
        return;
    ts_error err = {0};
    req->method = "GET";
    req->target = strdup(text);
    if (req->target && ts_request_target(req, 8192, &err) == TS_OK) {
        const ts_route *route = NULL;
        char allow[64];
        check(req->path[0] == '/' || strcmp(req->path, "*") == 0);
        for (const char *c = req->path; *c; c++)
            check(*c > ' ' && *c != 0x7f);
        if (ts_router_find(&router, "GET", req->path, &route, &req->params, allow, &err) == TS_OK)
            for (int i = 0; i < req->params.n; i++)
                check(strlen(req->params.part[i].value) < sizeof req->params.part[i].value);
    } else {
        check(err.text[0] != 0);
    }
    ts_error_clear(&err);
    ts_request_finish(req);
    free(req);
}

static void run_headers(const ts_header *headers, size_t n)
{
    for (int minor = 0; minor < 2; minor++) {
        ts_audit out;
        ts_error err = {0};
        if (ts_audit_headers(headers, n, minor, &out, &err) == TS_OK) {
            int hosts = 0, lengths = 0;
            for (size_t i = 0; i < n; i++) {
                hosts += strcasecmp(headers[i].name, "host") == 0;
                lengths += strcasecmp(headers[i].name, "content-length") == 0 ||
                           strcasecmp(headers[i].name, "transfer-encoding") == 0;
            }
            check(hosts <= 1 && lengths <= 1 && (minor == 0 || hosts == 1));
            check(out.content_length >= -1 && !(out.chunked && out.content_length >= 0));
            check(lengths == (out.chunked || out.content_length >= 0));
        } else {
            check(err.text[0] != 0);
        }
        ts_error_clear(&err);
    }
    (void)ts_header_has_token(ts_header_find(headers, n, "connection"), "upgrade");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ts_header headers[TS_MAX_HEADERS];
    size_t n = 0;
    char *text = malloc(size + 1);
    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = 0;
    char *line = text, *next = strchr(text, '\n');
    if (next)
        *next++ = 0;
    run_target(line);
    while ((line = next) && n < TS_MAX_HEADERS) {
        next = strchr(line, '\n');
        if (next)
            *next++ = 0;
        char *colon = strchr(line, ':');
        if (colon)
            *colon++ = 0;
        headers[n++] = (ts_header){line, colon ? colon + strspn(colon, " \t") : ""};
    }
    run_headers(headers, n);
    free(text);
    return 0;
}
