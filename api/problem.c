#include "api/problem.h"

#include <string.h>

static const char *title(int status)
{
    switch (status) {
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 406:
        return "Not Acceptable";
    case 408:
        return "Request Timeout";
    case 409:
        return "Conflict";
    case 410:
        return "Gone";
    case 411:
        return "Length Required";
    case 412:
        return "Precondition Failed";
    case 413:
        return "Content Too Large";
    case 414:
        return "URI Too Long";
    case 415:
        return "Unsupported Media Type";
    case 416:
        return "Range Not Satisfiable";
    case 417:
        return "Expectation Failed";
    case 421:
        return "Misdirected Request";
    case 422:
        return "Unprocessable Content";
    case 426:
        return "Upgrade Required";
    case 429:
        return "Too Many Requests";
    case 431:
        return "Request Header Fields Too Large";
    case 501:
        return "Not Implemented";
    case 503:
        return "Service Unavailable";
    case 507:
        return "Insufficient Storage";
    default:
        return "Internal Server Error";
    }
}

static bool is_inference_path(const char *path)
{
    return strncmp(path, "/v2", 3) == 0 && (path[3] == 0 || path[3] == '/');
}

/* Text from outside may have been cut inside a code point; jansson refuses such strings. */
static json_t *text_value(const char *text)
{
    json_t *value = json_string(text);
    return value ? value : json_string("the message is not UTF-8");
}

/* The protocol has no code for the parts of a request that a client got wrong: 400 for those. */
static int inference_status(ts_status status)
{
    switch (status) {
    case TS_E_SHAPE:
    case TS_E_INDEX:
    case TS_E_EMPTY:
    case TS_E_DTYPE:
        return 400;
    default:
        return ts_status_http(status);
    }
}

void ts_problem_write(ts_response *res, const char *path, const ts_error *err)
{
    const char *code = ts_status_code(err->status);
    const char *detail = err->text[0] ? err->text : code;
    if (is_inference_path(path)) {
        json_t *body = json_object();
        json_object_set_new(body, "error", text_value(detail));
        ts_response_json(res, inference_status(err->status), body);
    } else {
        int status = ts_status_http(err->status);
        json_t *body =
            json_pack("{s:s, s:s, s:i, s:o, s:s}", "type", "about:blank", "title", title(status),
                      "status", status, "detail", text_value(detail), "code", code);
        if (err->detail && err->status == TS_E_DEVICE)
            json_object_set_new(body, "build_log", text_value(err->detail));
        ts_response_json(res, status, body);
        ts_response_header(res, "Content-Type", "application/problem+json");
    }
    int http = ts_status_http(err->status);
    if (http == 429 || http == 503)
        ts_response_header(res, "Retry-After", "1");
}
