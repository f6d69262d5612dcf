#include "server/audit.h"

#include <string.h>
#include <strings.h>

/* RFC 9110 §5.6.2 */
static bool is_token(const char *text)
{
    if (!*text)
        return false;
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        bool ok = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                  (c > ' ' && c < 0x7f && strchr("!#$%&'*+-.^_`|~", c));
        if (!ok)
            return false;
    }
    return true;
}

static bool is_value(const char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

/* Fields whose meaning would depend on which of two a reader believes. */
static bool is_single(const char *name)
{
    static const char *const names[] = {"authorization",
                                        "content-encoding",
                                        "content-length",
                                        "content-type",
                                        "expect",
                                        "host",
                                        "origin",
                                        "range",
                                        "if-range",
                                        "transfer-encoding",
                                        "sec-websocket-key",
                                        "sec-websocket-version",
                                        "inference-header-content-length"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcasecmp(name, names[i]) == 0)
            return true;
    return false;
}

static bool is_host(const char *host)
{
    for (const char *c = host; *c; c++) {
        bool ok = (*c >= '0' && *c <= '9') || (*c >= 'a' && *c <= 'z') ||
                  (*c >= 'A' && *c <= 'Z') || strchr("-._~%!$&'()*+,;=:[]", *c);
        if (!ok)
            return false;
    }
    return strlen(host) < 256;
}

static ts_status read_length(const char *text, int64_t *out, ts_error *err)
{
    int64_t length = 0;
    size_t digits = strlen(text);
    if (digits == 0 || strspn(text, "0123456789") != digits)
        return ts_fail(err, TS_E_HEADER, "Content-Length \"%.40s\" is not a decimal number", text);
    if (digits > 18)
        return ts_fail(err, TS_E_TOO_LARGE, "Content-Length %.40s is out of range", text);
    for (; *text; text++)
        length = length * 10 + (*text - '0');
    *out = length;
    return TS_OK;
}

static ts_status check_fields(const ts_header *headers, size_t n, ts_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (!is_token(headers[i].name))
            return ts_fail(err, TS_E_HEADER, "header %zu has a name that is not a token", i + 1);
        if (!is_value(headers[i].value))
            return ts_fail(err, TS_E_HEADER, "header %s holds a control character",
                           headers[i].name);
        if (!is_single(headers[i].name))
            continue;
        for (size_t k = 0; k < i; k++)
            if (strcasecmp(headers[i].name, headers[k].name) == 0)
                return ts_fail(err, TS_E_HEADER, "header %s is given more than once",
                               headers[i].name);
    }
    return TS_OK;
}

ts_status ts_audit_headers(const ts_header *headers, size_t n, int minor, ts_audit *out,
                           ts_error *err)
{
    *out = (ts_audit){.content_length = -1};
    ts_status st = check_fields(headers, n, err);
    if (st != TS_OK)
        return st;
    const char *length = ts_header_find(headers, n, "content-length");
    const char *coding = ts_header_find(headers, n, "transfer-encoding");
    const char *expect = ts_header_find(headers, n, "expect");
    out->host = ts_header_find(headers, n, "host");
    if (minor >= 1 && !out->host)
        return ts_fail(err, TS_E_HEADER, "an HTTP/1.1 request needs a Host header");
    if (out->host && !is_host(out->host))
        return ts_fail(err, TS_E_HEADER, "the Host header is malformed");
    if (length && coding)
        return ts_fail(err, TS_E_HEADER, "Content-Length and Transfer-Encoding exclude each other");
    if (coding && (minor < 1 || strcasecmp(coding, "chunked") != 0))
        return ts_fail(err, TS_E_HEADER, "Transfer-Encoding must be exactly \"chunked\"");
    out->chunked = coding != NULL;
    if (length)
        st = read_length(length, &out->content_length, err);
    if (st == TS_OK && expect) {
        if (strcasecmp(expect, "100-continue") != 0)
            return ts_fail(err, TS_E_HEADER, "Expect must be \"100-continue\"");
        out->expect_continue = minor >= 1;
    }
    return st;
}

const char *ts_header_find(const ts_header *headers, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcasecmp(headers[i].name, name) == 0)
            return headers[i].value;
    return NULL;
}

bool ts_header_has_token(const char *value, const char *token)
{
    size_t len = strlen(token);
    while (value && *value) {
        value += strspn(value, " \t,");
        size_t item = strcspn(value, ",");
        size_t trimmed = item;
        while (trimmed && strchr(" \t", value[trimmed - 1]))
            trimmed--;
        if (trimmed == len && strncasecmp(value, token, len) == 0)
            return true;
        value += item;
    }
    return false;
}
