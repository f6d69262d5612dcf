/* Any octets as a gzip or deflate body, in pieces: the memory stays below the limit. */
#include <stdlib.h>
#include <string.h>

#include "server/request_impl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    LIMIT = 65536
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const ts_route route = {"POST", "/x", NULL, TS_SCOPE_READ, TS_BODY_BYTES, NULL};
    if (size < 1)
        return 0;
    size_t piece = (size_t)data[0] + 1;
    data++, size--;
    ts_app *app = calloc(1, sizeof *app);
    ts_request *req = calloc(1, sizeof *req);
    ts_error err = {0};
    if (app && req) {
        app->options.max_body = LIMIT;
        req->app = app;
        req->method = "POST";
        req->route = &route;
        req->audit = (ts_audit){.content_length = -1, .chunked = true};
        req->headers[req->n_headers++] = (ts_header){"Content-Encoding", "gzip"};
        ts_status st = ts_body_begin(&req->body, req, &err);
        for (size_t at = 0; at < size && st == TS_OK; at += piece)
            st = ts_body_append(&req->body, data + at, size - at < piece ? size - at : piece, &err);
        if (st == TS_OK)
            st = ts_body_end(&req->body, &err);
        if (req->body.memory.len > LIMIT || (st != TS_OK && !err.text[0]))
            abort();
        ts_error_clear(&err);
        ts_request_finish(req);
    }
    free(app);
    free(req);
    return 0;
}
