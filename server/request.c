#include "server/request.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cl/base/hash.h"
#include "server/request_impl.h"

/* ---- the target ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static ts_status check_target(const char *target, ts_error *err)
{
    for (const char *c = target; *c; c++) {
        if (*c <= 0x20 || *c >= 0x7f)
            return ts_fail(err, TS_E_HEADER, "the request target holds an octet 0x%02x; encode it",
                           (unsigned char)*c);
        if (*c != '%')
            continue;
        if (hex_digit(c[1]) < 0 || hex_digit(c[2]) < 0)
            return ts_fail(err, TS_E_HEADER, "the request target has a %% without two hex digits");
        if (c[1] == '0' && c[2] == '0')
            return ts_fail(err, TS_E_HEADER, "the request target holds an encoded zero octet");
    }
    return TS_OK;
}

/* Decode a query component in place: percent-encoding and '+'. */
static void decode_component(char *text)
{
    char *out = text;
    for (; *text; text++) {
        if (*text == '%') {
            *out++ = (char)(hex_digit(text[1]) * 16 + hex_digit(text[2]));
            text += 2;
        } else {
            *out++ = *text == '+' ? ' ' : *text;
        }
    }
    *out = 0;
}

static ts_status split_query(ts_request *req, ts_error *err)
{
    char *rest = req->query;
    while (rest && *rest) {
        char *pair = rest;
        rest += strcspn(rest, "&");
        if (*rest)
            *rest++ = 0;
        if (!*pair)
            continue;
        char *value = strchr(pair, '=');
        if (value)
            *value++ = 0;
        else
            value = pair + strlen(pair);
        decode_component(pair);
        decode_component(value);
        if (strcmp(pair, "ticket") == 0) {
            req->ticket = value;
            continue;
        }
        if (req->n_pairs == TS_MAX_QUERY)
            return ts_fail(err, TS_E_URI, "more than %d query parameters", TS_MAX_QUERY);
        req->pairs[req->n_pairs++] = (ts_takeover_pair){pair, value};
    }
    return TS_OK;
}

ts_status ts_request_target(ts_request *req, size_t max, ts_error *err)
{
    size_t len = strlen(req->target);
    if (len > max)
        return ts_fail(err, TS_E_URI, "the request target has %zu octets, at most %zu are allowed",
                       len, max);
    ts_status st = check_target(req->target, err);
    if (st != TS_OK)
        return st;
    const char *path = req->target;
    if (strncasecmp(path, "http://", 7) == 0 || strncasecmp(path, "https://", 8) == 0) {
        const char *host = strstr(path, "//") + 2;
        size_t n = strcspn(host, "/?");
        if (n >= sizeof req->authority)
            return ts_fail(err, TS_E_HEADER, "the request target's host is too long");
        memcpy(req->authority, host, n);
        path = host[n] ? host + n : "/";
    }
    if (*path != '/' && strcmp(path, "*") != 0)
        return ts_fail(err, TS_E_HEADER, "the request target must begin with /");
    size_t path_len = strcspn(path, "?#");
    req->path = strndup(path, path_len);
    req->query = path[path_len] == '?' ? strdup(path + path_len + 1) : NULL;
    if (!req->path || (path[path_len] == '?' && !req->query))
        return ts_fail(err, TS_E_NO_MEMORY, "request");
    return split_query(req, err);
}

void ts_request_finish(ts_request *req)
{
    ts_body_finish(&req->body);
    ts_response_clear(&req->res);
    free(req->target);
    free(req->path);
    free(req->query);
}

/* ---- what handlers read ---- */

const char *ts_request_path(const ts_request *req)
{
    return req->path;
}

const char *ts_request_param(const ts_request *req, const char *name)
{
    size_t len = strlen(name);
    for (int i = 0; i < req->params.n; i++)
        if (req->params.part[i].name_len == len && memcmp(req->params.part[i].name, name, len) == 0)
            return req->params.part[i].value;
    return NULL;
}

const char *ts_request_query(const ts_request *req, const char *key)
{
    for (size_t i = 0; i < req->n_pairs; i++)
        if (strcmp(req->pairs[i].key, key) == 0)
            return req->pairs[i].value;
    return NULL;
}

void ts_request_each_query(const ts_request *req,
                           void (*visit)(void *arg, const char *key, const char *value), void *arg)
{
    for (size_t i = 0; i < req->n_pairs; i++)
        visit(arg, req->pairs[i].key, req->pairs[i].value);
}

ts_status ts_request_query_int(const ts_request *req, const char *key, int64_t min, int64_t max,
                               int64_t *out, ts_error *err)
{
    const char *text = ts_request_query(req, key);
    char *end;
    if (!text)
        return TS_OK;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (errno || end == text || *end || *text == ' ' || *text == '+' || v < min || v > max)
        return ts_fail(err, TS_E_OPTION, "%s is '%.60s', want a whole number from %lld to %lld", key,
                       text, (long long)min, (long long)max);
    *out = v;
    return TS_OK;
}

ts_status ts_request_query_double(const ts_request *req, const char *key, double min, double max,
                                  double *out, ts_error *err)
{
    const char *text = ts_request_query(req, key);
    char *end;
    if (!text)
        return TS_OK;
    double v = strtod(text, &end);
    if (end == text || *end || !(v >= min && v <= max)) /* NaN too */
        return ts_fail(err, TS_E_OPTION, "%s is '%.60s', want a number from %g to %g", key, text,
                       min, max);
    *out = v;
    return TS_OK;
}

ts_status ts_request_query_bool(const ts_request *req, const char *key, bool *out, ts_error *err)
{
    const char *text = ts_request_query(req, key);
    if (!text)
        return TS_OK;
    bool on = !strcmp(text, "1") || !strcmp(text, "true");
    if (!on && strcmp(text, "0") != 0 && strcmp(text, "false") != 0)
        return ts_fail(err, TS_E_OPTION, "%s is '%.60s', want 0 or 1", key, text);
    *out = on;
    return TS_OK;
}

ts_status ts_request_query_only(const ts_request *req, const char *const *keys, ts_error *err)
{
    for (size_t i = 0; i < req->n_pairs; i++) {
        const char *key = req->pairs[i].key;
        size_t k = 0;
        while (keys[k] && strcmp(keys[k], key) != 0)
            k++;
        if (keys[k])
            continue;
        ts_buf list = {0};
        for (k = 0; keys[k]; k++)
            ts_buf_printf(&list, "%s%s", k ? ", " : "", keys[k]);
        ts_status st =
            list.len ? ts_fail(err, TS_E_OPTION, "unknown query parameter \"%.60s\"; known: %.380s",
                               key, ts_buf_cstr(&list))
                     : ts_fail(err, TS_E_OPTION,
                               "unknown query parameter \"%.60s\"; this takes none", key);
        ts_buf_finish(&list);
        return st;
    }
    return TS_OK;
}

const char *ts_request_header(const ts_request *req, const char *name)
{
    return ts_header_find(req->headers, req->n_headers, name);
}

const char *ts_request_content_type(const ts_request *req)
{
    return req->content_type;
}

/* The weight that an Accept field gives a type; -1: not at all. */
static double accept_weight(const char *accept, const char *type)
{
    size_t len = strlen(type), major = strcspn(type, "/");
    double best = -1;
    int best_rank = -1;
    while (*accept) {
        accept += strspn(accept, " \t,");
        size_t item = strcspn(accept, ","), name = strcspn(accept, ",; \t");
        int rank = -1;
        if (name == len && strncasecmp(accept, type, len) == 0)
            rank = 2;
        else if (name == major + 2 && strncasecmp(accept, type, major + 1) == 0 &&
                 accept[major + 1] == '*')
            rank = 1;
        else if (name == 3 && strncmp(accept, "*/*", 3) == 0)
            rank = 0;
        if (rank > best_rank) {
            best_rank = rank;
            best = 1;
            for (size_t i = name; i + 2 < item; i++)
                if ((accept[i] | 0x20) == 'q' && accept[i + 1] == '=')
                    best = strtod(accept + i + 2, NULL);
        }
        accept += item;
    }
    return best;
}

int ts_request_accept(const ts_request *req, const char *const *types)
{
    const char *accept = ts_request_header(req, "accept");
    if (!accept || !*accept)
        return 0;
    int best = -1;
    double weight = 0;
    for (int i = 0; types[i]; i++) {
        double w = accept_weight(accept, types[i]);
        if (w > weight) {
            weight = w;
            best = i;
        }
    }
    return best;
}

const ts_buf *ts_request_body(const ts_request *req)
{
    return &req->body.memory;
}

const char *ts_request_body_file(const ts_request *req)
{
    return req->body.path;
}

void *ts_request_sink(const ts_request *req)
{
    return req->body.sink_object;
}

ts_status ts_request_json(const ts_request *req, json_t **out, ts_error *err)
{
    return ts_json_parse(req->body.memory.data, req->body.memory.len, out, err);
}

ts_queue *ts_request_queue(const ts_request *req)
{
    ts_worker_context *worker = req->worker;
    if (!worker || !worker->app->device)
        return NULL;
    if (!worker->queue) {
        ts_error err = {0};
        if (ts_queue_create(worker->app->device, "http", &worker->queue, &err) != TS_OK)
            worker->queue = NULL;
        ts_error_clear(&err);
    }
    return worker->queue;
}

unsigned ts_request_scopes(const ts_request *req)
{
    return req->scopes;
}

const char *ts_request_peer(const ts_request *req)
{
    return req->who[0] ? req->who : req->peer;
}

/* ---- answers ---- */

static void drop_body(ts_response *res)
{
    ts_buf_finish(&res->bytes);
    if (res->body == TS_RESPONSE_FILE)
        close(res->fd);
    if (res->body == TS_RESPONSE_STREAM && res->stream)
        ts_stream_close(res->stream);
    res->stream = NULL;
    res->body = TS_RESPONSE_EMPTY;
    res->data = NULL;
    res->len = res->offset = 0;
}

void ts_response_clear(ts_response *res)
{
    drop_body(res);
    for (size_t i = 0; i < res->n_headers; i++) {
        free(res->headers[i].name);
        free(res->headers[i].value);
    }
    *res = (ts_response){0};
}

void ts_response_status(ts_response *res, int status)
{
    res->status = status;
}

const char *ts_response_get_header(const ts_response *res, const char *name)
{
    for (size_t i = 0; i < res->n_headers; i++)
        if (strcasecmp(res->headers[i].name, name) == 0)
            return res->headers[i].value;
    return NULL;
}

/* Set or replace; a value with line breaks would be another header, so they become blanks. */
void ts_response_header(ts_response *res, const char *name, const char *value)
{
    size_t i = 0;
    while (i < res->n_headers && strcasecmp(res->headers[i].name, name) != 0)
        i++;
    char *copy = strdup(value);
    if (!copy || i == TS_MAX_RESPONSE_HEADERS) {
        free(copy);
        return;
    }
    for (char *c = copy; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = ' ';
    if (i < res->n_headers) {
        free(res->headers[i].value);
        res->headers[i].value = copy;
        return;
    }
    char *key = strdup(name);
    if (!key) {
        free(copy);
        return;
    }
    res->headers[res->n_headers].name = key;
    res->headers[res->n_headers++].value = copy;
}

void ts_response_bytes(ts_response *res, int status, const char *content_type, ts_buf *body)
{
    drop_body(res);
    res->status = status;
    res->body = TS_RESPONSE_BYTES;
    res->bytes = *body;
    res->len = body->len;
    *body = (ts_buf){0};
    ts_response_header(res, "Content-Type", content_type);
}

void ts_response_json(ts_response *res, int status, json_t *value)
{
    ts_buf text = {0};
    ts_json_write(value, &text);
    json_decref(value);
    ts_response_bytes(res, status, "application/json", &text);
}

void ts_response_static(ts_response *res, const char *content_type, const void *data, size_t len)
{
    drop_body(res);
    res->status = 200;
    res->body = TS_RESPONSE_STATIC;
    res->data = data;
    res->len = len;
    ts_response_header(res, "Content-Type", content_type);
}

ts_status ts_response_file(ts_response *res, const char *content_type, const char *path,
                           ts_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? ts_fail(err, TS_E_NOT_FOUND, "the file is not there")
                               : ts_fail_errno(err, errno, "opening the file");
    struct stat info;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        close(fd);
        return ts_fail(err, TS_E_NOT_FOUND, "the file is not there");
    }
    drop_body(res);
    res->status = 200;
    res->body = TS_RESPONSE_FILE;
    res->fd = fd;
    res->len = (uint64_t)info.st_size;
    ts_response_header(res, "Content-Type", content_type);
    if (!ts_response_get_header(res, "ETag")) {
        char tag[64];
        snprintf(tag, sizeof tag, "\"%" PRIx64 "-%" PRIx64 "-%" PRIx64 "\"", (uint64_t)info.st_ino,
                 (uint64_t)info.st_size,
                 (uint64_t)info.st_mtim.tv_sec * 1000000000u + (uint64_t)info.st_mtim.tv_nsec);
        ts_response_header(res, "ETag", tag);
    }
    return TS_OK;
}

/* ---- conditional answers ---- */

static bool etag_matches(const char *list, const char *tag)
{
    if (strcmp(list, "*") == 0)
        return true;
    if (strncmp(tag, "W/", 2) == 0)
        tag += 2;
    size_t len = strlen(tag);
    while (*list) {
        list += strspn(list, " \t,");
        size_t item = strcspn(list, ", \t");
        const char *one = list;
        size_t n = item;
        if (n > 2 && strncmp(one, "W/", 2) == 0) {
            one += 2;
            n -= 2;
        }
        if (n == len && memcmp(one, tag, len) == 0)
            return true;
        list += item;
    }
    return false;
}

/* "bytes=a-b" with one range. 0: ignore it; 1: taken; -1: outside. */
static int read_range(const char *text, uint64_t size, uint64_t *first, uint64_t *last)
{
    if (strncasecmp(text, "bytes=", 6) != 0 || strchr(text, ','))
        return 0;
    text += 6;
    size_t head = strspn(text, "0123456789");
    if (text[head] != '-')
        return 0;
    const char *tail = text + head + 1;
    size_t tail_len = strspn(tail, "0123456789");
    if (tail[tail_len] || (head == 0 && tail_len == 0) || head > 18)
        return 0;
    uint64_t to = tail_len > 18 ? UINT64_MAX : strtoull(tail, NULL, 10);
    if (head == 0) { /* the last `to` bytes */
        if (to == 0 || size == 0)
            return -1;
        *first = to < size ? size - to : 0;
        *last = size - 1;
        return 1;
    }
    *first = strtoull(text, NULL, 10);
    *last = tail_len && to < size ? to : size - 1;
    if (tail_len && to < *first)
        return 0;
    return *first < size ? 1 : -1;
}

static void apply_range(const ts_request *req, ts_response *res)
{
    const char *range = ts_request_header(req, "range");
    const char *if_range = ts_request_header(req, "if-range");
    const char *tag = ts_response_get_header(res, "ETag");
    ts_response_header(res, "Accept-Ranges", "bytes");
    if (!range || strcmp(req->method, "GET") != 0 ||
        (if_range && (!tag || strcmp(if_range, tag) != 0)))
        return;
    uint64_t first = 0, last = 0, size = res->len;
    int taken = read_range(range, size, &first, &last);
    if (taken == 0)
        return;
    char text[96];
    if (taken < 0) {
        drop_body(res);
        res->status = 416;
        snprintf(text, sizeof text, "bytes */%" PRIu64, size);
    } else {
        res->status = 206;
        res->offset = first;
        res->len = last - first + 1;
        snprintf(text, sizeof text, "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, first, last, size);
    }
    ts_response_header(res, "Content-Range", text);
}

void ts_response_conditional(const ts_request *req, ts_response *res)
{
    bool is_get = strcmp(req->method, "GET") == 0 || strcmp(req->method, "HEAD") == 0;
    if (res->status != 200 || !is_get)
        return;
    const char *tag = ts_response_get_header(res, "ETag");
    const char *none_match = ts_request_header(req, "if-none-match");
    if (tag && none_match && etag_matches(none_match, tag)) {
        drop_body(res);
        res->status = 304;
        return;
    }
    if (res->body == TS_RESPONSE_STATIC || res->body == TS_RESPONSE_FILE)
        apply_range(req, res);
}

/* ---- streams ---- */

struct ts_stream_handle {
    pthread_mutex_t lock; /* guards woken, suspended, stopped, connection */
    bool woken, suspended, stopped;
    void (*suspend)(void *), (*resume)(void *);
    void *connection;
    ts_stream_source source;
    ts_buf pending; /* HTTP thread only */
    size_t sent;
    bool ended;
};

void ts_response_stream(ts_response *res, const char *content_type, const ts_stream_source *source,
                        ts_stream_handle **handle)
{
    drop_body(res);
    *handle = calloc(1, sizeof **handle);
    res->status = *handle ? 200 : 507;
    ts_response_header(res, "Content-Type", content_type);
    if (!*handle) {
        source->close(source->arg);
        return;
    }
    pthread_mutex_init(&(*handle)->lock, NULL);
    (*handle)->source = *source;
    res->body = TS_RESPONSE_STREAM;
    res->stream = *handle;
}

void ts_stream_attach(ts_stream_handle *handle, void (*suspend)(void *), void (*resume)(void *),
                      void *connection)
{
    pthread_mutex_lock(&handle->lock);
    handle->suspend = suspend;
    handle->resume = resume;
    handle->connection = connection;
    pthread_mutex_unlock(&handle->lock);
}

static void wake(ts_stream_handle *handle, bool stop)
{
    pthread_mutex_lock(&handle->lock);
    handle->woken = true;
    handle->stopped |= stop;
    /* Under the lock: once released, the connection may be gone. */
    if (handle->suspended) {
        handle->suspended = false;
        handle->resume(handle->connection);
    }
    pthread_mutex_unlock(&handle->lock);
}

void ts_stream_wake(ts_stream_handle *handle)
{
    if (!handle)
        return;
    wake(handle, false);
}

void ts_stream_stop(ts_stream_handle *handle)
{
    wake(handle, true);
}

/* Nothing to send: suspend, unless a wake came between the pull and here. */
static bool suspend_unless_woken(ts_stream_handle *handle)
{
    pthread_mutex_lock(&handle->lock);
    bool suspend = !handle->woken && !handle->stopped;
    if (suspend) {
        handle->suspended = true;
        handle->suspend(handle->connection);
    }
    pthread_mutex_unlock(&handle->lock);
    return suspend;
}

ts_pull ts_stream_pull(ts_stream_handle *handle, void *out, size_t max, size_t *n)
{
    while (handle->sent == handle->pending.len) {
        ts_buf_reset(&handle->pending);
        handle->sent = 0;
        pthread_mutex_lock(&handle->lock);
        handle->woken = false;
        bool stopped = handle->stopped;
        pthread_mutex_unlock(&handle->lock);
        if (handle->ended || stopped)
            return TS_PULL_END;
        handle->ended = !handle->source.pull(handle->source.arg, &handle->pending);
        if (handle->pending.failed)
            return TS_PULL_END;
        if (handle->pending.len == 0 && !handle->ended && suspend_unless_woken(handle))
            return TS_PULL_SUSPENDED;
    }
    size_t left = handle->pending.len - handle->sent;
    *n = left < max ? left : max;
    memcpy(out, handle->pending.data + handle->sent, *n);
    handle->sent += *n;
    return TS_PULL_DATA;
}

void ts_stream_close(ts_stream_handle *handle)
{
    handle->source.close(handle->source.arg);
    ts_buf_finish(&handle->pending);
    pthread_mutex_destroy(&handle->lock);
    free(handle);
}
