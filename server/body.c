#include "server/body.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include <zlib.h>

#include "server/request_impl.h"

struct ts_inflater {
    z_stream stream;
    bool ended;
    uint8_t out[32768];
};

static ts_status open_file(ts_body *body, const ts_app *app, ts_error *err)
{
    static _Atomic unsigned counter;
    size_t cap = strlen(app->options.data_dir) + 64;
    char *path = malloc(cap);
    if (!path)
        return ts_fail(err, TS_E_NO_MEMORY, "body file");
    snprintf(path, cap, "%s/tmp/body-%ld-%u", app->options.data_dir, (long)getpid(), counter++);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        ts_status st = ts_fail_errno(err, errno, "the upload's temporary file");
        free(path);
        return st;
    }
    body->fd = fd;
    body->path = path;
    return TS_OK;
}

static ts_status start_inflater(ts_body *body, const char *encoding, ts_error *err)
{
    if (!encoding || !*encoding || strcasecmp(encoding, "identity") == 0)
        return TS_OK;
    if (strcasecmp(encoding, "gzip") != 0 && strcasecmp(encoding, "x-gzip") != 0 &&
        strcasecmp(encoding, "deflate") != 0)
        return ts_fail(err, TS_E_ENCODING, "Content-Encoding \"%.40s\" is none of gzip, deflate",
                       encoding);
    body->inflater = calloc(1, sizeof *body->inflater);
    /* 32: zlib or gzip, told by the first bytes. */
    if (!body->inflater || inflateInit2(&body->inflater->stream, 15 + 32) != Z_OK) {
        free(body->inflater);
        body->inflater = NULL;
        return ts_fail(err, TS_E_NO_MEMORY, "inflater");
    }
    return TS_OK;
}

static ts_status too_large(const ts_body *body, ts_error *err)
{
    return ts_fail(err, TS_E_TOO_LARGE, "the body is larger than %" PRIu64 " bytes (%s)",
                   body->limit, body->kind == TS_BODY_FILE ? "--max-model-body" : "--max-body");
}

ts_status ts_body_begin(ts_body *body, ts_request *req, ts_error *err)
{
    const ts_options *options = &req->app->options;
    int64_t declared = req->audit.chunked ? -1 : req->audit.content_length;
    bool empty = !req->audit.chunked && declared <= 0;
    body->kind = req->route->body;
    body->limit = body->kind == TS_BODY_FILE   ? options->max_model_body
                  : body->kind == TS_BODY_SINK ? UINT64_MAX
                                               : options->max_body;
    if (declared > 0 && (uint64_t)declared > body->limit)
        return too_large(body, err);
    if (body->kind == TS_BODY_NONE || body->kind == TS_BODY_WS) {
        if (empty)
            return TS_OK;
        return ts_fail(err, TS_E_OPTION, "%s %s takes no body", req->method, req->path);
    }
    ts_status st =
        start_inflater(body, empty ? NULL : ts_request_header(req, "content-encoding"), err);
    if (st == TS_OK && body->kind == TS_BODY_FILE)
        st = open_file(body, req->app, err);
    if (st == TS_OK && body->kind == TS_BODY_SINK) {
        body->sink = req->route->sink;
        st = body->sink->open(req->app, req,
                              empty            ? 0
                              : body->inflater ? -1
                                               : declared,
                              &body->sink_object, err);
    } else if (st == TS_OK && declared > 0 && !ts_buf_reserve(&body->memory, (size_t)declared)) {
        if (body->kind != TS_BODY_FILE)
            st = ts_fail(err, TS_E_NO_MEMORY, "a body of %" PRId64 " bytes", declared);
    }
    return st;
}

static ts_status write_file(ts_body *body, const uint8_t *data, size_t len, ts_error *err)
{
    while (len) {
        ssize_t n = write(body->fd, data, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return ts_fail_errno(err, errno, "writing the upload");
        data += n;
        len -= (size_t)n;
    }
    return TS_OK;
}

static ts_status store(ts_body *body, const void *data, size_t len, ts_error *err)
{
    body->bytes += len;
    if (body->bytes > body->limit)
        return too_large(body, err);
    switch (body->kind) {
    case TS_BODY_FILE:
        return write_file(body, data, len, err);
    case TS_BODY_SINK:
        return body->sink->append(body->sink_object, data, len, err);
    default:
        ts_buf_append(&body->memory, data, len);
        return body->memory.failed ? ts_fail(err, TS_E_NO_MEMORY, "request body") : TS_OK;
    }
}

static ts_status inflate_piece(ts_body *body, const void *data, size_t len, ts_error *err)
{
    ts_inflater *z = body->inflater;
    z->stream.next_in = (Bytef *)(uintptr_t)data;
    z->stream.avail_in = (uInt)len;
    /* Output that filled the buffer may go on without further input. */
    bool more = true;
    while (z->stream.avail_in || more) {
        if (z->ended) {
            if (z->stream.avail_in == 0)
                break;
            inflateReset(&z->stream); /* a further gzip member */
            z->ended = false;
        }
        z->stream.next_out = z->out;
        z->stream.avail_out = sizeof z->out;
        int rc = inflate(&z->stream, Z_NO_FLUSH);
        if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
            return ts_fail(err, TS_E_FILE, "the body is not what Content-Encoding says: %s",
                           z->stream.msg ? z->stream.msg : "broken data");
        more = z->stream.avail_out == 0;
        z->ended = rc == Z_STREAM_END;
        ts_status st = store(body, z->out, sizeof z->out - z->stream.avail_out, err);
        if (st != TS_OK)
            return st;
        if (rc == Z_BUF_ERROR)
            break;
    }
    return TS_OK;
}

ts_status ts_body_append(ts_body *body, const void *data, size_t len, ts_error *err)
{
    if (body->kind == TS_BODY_NONE || body->kind == TS_BODY_WS)
        return ts_fail(err, TS_E_OPTION, "this request takes no body");
    body->wire_bytes += len;
    if (body->wire_bytes > body->limit)
        return too_large(body, err);
    return body->inflater ? inflate_piece(body, data, len, err) : store(body, data, len, err);
}

ts_status ts_body_end(ts_body *body, ts_error *err)
{
    if (body->inflater && !body->inflater->ended)
        return ts_fail(err, TS_E_FILE, "the compressed body is cut short after %" PRIu64 " bytes",
                       body->bytes);
    return TS_OK;
}

void ts_body_finish(ts_body *body)
{
    if (body->sink_object)
        body->sink->destroy(body->sink_object);
    if (body->path) {
        close(body->fd);
        unlink(body->path);
        free(body->path);
    }
    if (body->inflater) {
        inflateEnd(&body->inflater->stream);
        free(body->inflater);
    }
    ts_buf_finish(&body->memory);
    *body = (ts_body){0};
}
