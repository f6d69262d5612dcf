#include "server/oip_number.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_DEPTH = 64
};

/* ---- finding the data arrays ---- */

/* The end of a JSON string that starts at text[i] == '"'; len where it is not closed. */
static size_t string_end(const char *text, size_t len, size_t i)
{
    for (i++; i < len; i++) {
        if (text[i] == '\\')
            i++;
        else if (text[i] == '"')
            return i + 1;
    }
    return len;
}

/* The end of an array that starts at text[i] == '['. */
static ts_status array_end(const char *text, size_t len, size_t i, size_t *end, ts_error *err)
{
    int depth = 0;
    for (; i < len; i++) {
        if (text[i] == '"') {
            i = string_end(text, len, i) - 1;
        } else if (text[i] == '[') {
            if (++depth > MAX_DEPTH)
                return ts_fail(err, TS_E_JSON, "data is nested deeper than %d levels", MAX_DEPTH);
        } else if (text[i] == ']' && --depth == 0) {
            *end = i + 1;
            return TS_OK;
        }
    }
    return ts_fail(err, TS_E_JSON, "the JSON ends inside an array");
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Whether a string token at depth 3 (object in the inputs' array) is the key `data` before '['. */
static bool is_data_key(const char *text, size_t len, size_t start, size_t end, size_t *array)
{
    if (end - start != 6 || memcmp(text + start, "\"data\"", 6) != 0)
        return false;
    size_t i = end;
    while (i < len && is_space(text[i]))
        i++;
    if (i >= len || text[i] != ':')
        return false;
    for (i++; i < len && is_space(text[i]);)
        i++;
    *array = i;
    return i < len && text[i] == '[';
}

ts_status ts_oip_split(const char *text, size_t len, ts_buf *reduced, ts_oip_span *spans,
                       size_t max_spans, size_t *n_spans, ts_error *err)
{
    int depth = 0;
    *n_spans = 0;
    for (size_t i = 0; i < len;) {
        size_t end = i + 1, array;
        if (text[i] == '"') {
            end = string_end(text, len, i);
            if (depth == 3 && is_data_key(text, len, i, end, &array)) {
                size_t after = len;
                ts_status st = array_end(text, len, array, &after, err);
                if (st == TS_OK && *n_spans == max_spans)
                    st = ts_fail(err, TS_E_OPTION, "more than %zu inputs", max_spans);
                if (st != TS_OK)
                    return st;
                ts_buf_printf(reduced, "\"data\":%zu", *n_spans);
                spans[(*n_spans)++] = (ts_oip_span){text + array, after - array};
                i = after;
                continue;
            }
        } else if (text[i] == '{' || text[i] == '[') {
            if (++depth > MAX_DEPTH)
                return ts_fail(err, TS_E_JSON, "nested deeper than %d levels", MAX_DEPTH);
        } else if (text[i] == '}' || text[i] == ']') {
            depth--;
        }
        ts_buf_append(reduced, text + i, end - i);
        i = end;
    }
    return reduced->failed ? ts_fail(err, TS_E_NO_MEMORY, "request") : TS_OK;
}

/* ---- values ---- */

static ts_status bad_value(const ts_oip_tensor *t, const char *token, size_t n, ts_error *err)
{
    return ts_fail(err, TS_E_OPTION, "input '%s': '%.*s' is no %s", t->name, (int)(n > 40 ? 40 : n),
                   token, t->bytes ? "string" : ts_dtype_oip(t->dtype));
}

/* The strict JSON number grammar. */
static bool is_number(const char *s, size_t n, bool *whole)
{
    size_t i = 0;
    *whole = true;
    if (i < n && s[i] == '-')
        i++;
    if (i >= n || s[i] < '0' || s[i] > '9')
        return false;
    if (s[i] == '0' && i + 1 < n && s[i + 1] >= '0' && s[i + 1] <= '9')
        return false;
    while (i < n && s[i] >= '0' && s[i] <= '9')
        i++;
    if (i < n && s[i] == '.') {
        *whole = false;
        size_t digits = ++i;
        while (i < n && s[i] >= '0' && s[i] <= '9')
            i++;
        if (i == digits)
            return false;
    }
    if (i < n && (s[i] == 'e' || s[i] == 'E')) {
        *whole = false;
        i++;
        if (i < n && (s[i] == '+' || s[i] == '-'))
            i++;
        size_t digits = i;
        while (i < n && s[i] >= '0' && s[i] <= '9')
            i++;
        if (i == digits)
            return false;
    }
    return i == n;
}

static bool integer_value(const char *text, ts_dtype dtype, uint64_t *out)
{
    static const struct {
        ts_dtype dtype;
        int64_t min;
        uint64_t max;
    } ranges[] = {{TS_U8, 0, UINT8_MAX},          {TS_U16, 0, UINT16_MAX},
                  {TS_U32, 0, UINT32_MAX},        {TS_U64, 0, UINT64_MAX},
                  {TS_I8, INT8_MIN, INT8_MAX},    {TS_I16, INT16_MIN, INT16_MAX},
                  {TS_I32, INT32_MIN, INT32_MAX}, {TS_I64, INT64_MIN, INT64_MAX}};
    errno = 0;
    if (text[0] == '-') {
        long long v = strtoll(text, NULL, 10);
        *out = (uint64_t)v;
        for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
            if (ranges[i].dtype == dtype)
                return errno == 0 && v >= ranges[i].min;
        return false;
    }
    unsigned long long v = strtoull(text, NULL, 10);
    *out = v;
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (ranges[i].dtype == dtype)
            return errno == 0 && v <= ranges[i].max;
    return false;
}

static ts_status read_number(ts_oip_tensor *t, const char *token, size_t n, ts_error *err)
{
    char text[64];
    bool whole;
    if (n >= sizeof text || !is_number(token, n, &whole))
        return bad_value(t, token, n, err);
    memcpy(text, token, n);
    text[n] = 0;
    if (t->dtype == TS_F32) {
        float v = strtof(text, NULL);
        if (!isfinite(v))
            return bad_value(t, token, n, err);
        ts_buf_append(&t->owned, &v, sizeof v);
        return TS_OK;
    }
    if (t->dtype == TS_F64) {
        double v = strtod(text, NULL);
        if (!isfinite(v))
            return bad_value(t, token, n, err);
        ts_buf_append(&t->owned, &v, sizeof v);
        return TS_OK;
    }
    uint64_t v = 0;
    if (t->dtype == TS_BOOL) {
        if (n != 1 || (text[0] != '0' && text[0] != '1'))
            return bad_value(t, token, n, err);
        v = (uint64_t)(text[0] - '0');
    } else if (!whole || !integer_value(text, t->dtype, &v)) {
        return bad_value(t, token, n, err);
    }
    ts_buf_append(&t->owned, &v, ts_dtype_bytes(t->dtype)); /* little-endian hosts */
    return TS_OK;
}

static ts_status read_string(ts_oip_tensor *t, const char *token, size_t n, ts_error *err)
{
    if (!t->bytes)
        return bad_value(t, token, n, err);
    json_t *value = json_loadb(token, n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    if (!value)
        return bad_value(t, token, n, err);
    uint32_t len = (uint32_t)json_string_length(value);
    ts_buf_append(&t->owned, &len, sizeof len);
    ts_buf_append(&t->owned, json_string_value(value), len);
    json_decref(value);
    return TS_OK;
}

static ts_status read_word(ts_oip_tensor *t, const char *token, size_t n, ts_error *err)
{
    bool yes = n == 4 && !memcmp(token, "true", 4), no = n == 5 && !memcmp(token, "false", 5);
    if (t->bytes || t->dtype != TS_BOOL || (!yes && !no))
        return bad_value(t, token, n, err);
    uint8_t v = yes;
    ts_buf_append(&t->owned, &v, 1);
    return TS_OK;
}

static ts_status read_token(ts_oip_tensor *t, const char *token, size_t n, ts_error *err)
{
    if (token[0] == '"')
        return read_string(t, token, n, err);
    bool number = token[0] == '-' || (token[0] >= '0' && token[0] <= '9');
    if (number && !t->bytes)
        return read_number(t, token, n, err);
    return read_word(t, token, n, err);
}

ts_status ts_oip_read_data(const ts_oip_span *span, ts_oip_tensor *t, ts_error *err)
{
    const char *s = span->text;
    bool want_value = true; /* after '[' or ',' */
    size_t count = 0;
    if (!t->bytes && (t->dtype == TS_F16 || t->dtype == TS_BF16))
        return ts_fail(err, TS_E_OPTION, "input '%s': %s has no JSON form, send it as binary data",
                       t->name, ts_dtype_oip(t->dtype));
    for (size_t i = 0; i < span->len;) {
        char c = s[i];
        if (is_space(c)) {
            i++;
        } else if (c == '[') {
            if (!want_value)
                return ts_fail(err, TS_E_JSON, "input '%s': '[' behind a value", t->name);
            i++;
        } else if (c == ']') {
            want_value = false;
            i++;
        } else if (c == ',') {
            if (want_value)
                return ts_fail(err, TS_E_JSON, "input '%s': ',' without a value before it",
                               t->name);
            want_value = true;
            i++;
        } else {
            size_t end = c == '"' ? string_end(s, span->len, i) : i;
            while (c != '"' && end < span->len && !strchr(" \t\n\r,[]\"", s[end]))
                end++;
            if (!want_value || end == i)
                return ts_fail(err, TS_E_JSON, "input '%s': a value where ',' belongs", t->name);
            ts_status st = read_token(t, s + i, end - i, err);
            if (st != TS_OK)
                return st;
            count++;
            want_value = false;
            i = end;
        }
    }
    if (t->owned.failed)
        return ts_fail(err, TS_E_NO_MEMORY, "input '%s'", t->name);
    int64_t elements = ts_shape_elements(&t->shape);
    if ((int64_t)count != elements)
        return ts_fail(err, TS_E_OPTION, "input '%s': its shape holds %lld elements, data has %zu",
                       t->name, (long long)elements, count);
    t->data = t->owned.data;
    t->nbytes = t->owned.len;
    return TS_OK;
}

ts_status ts_oip_write_element(const ts_oip_tensor *t, size_t i, ts_buf *out, ts_error *err)
{
    union {
        uint8_t u8;
        int8_t i8;
        uint16_t u16;
        int16_t i16;
        uint32_t u32;
        int32_t i32;
        uint64_t u64;
        int64_t i64;
        float f32;
        double f64;
    } v;
    size_t width = ts_dtype_bytes(t->dtype);
    memcpy(&v, t->data + i * width, width);
    switch (t->dtype) {
    case TS_BOOL:
        ts_buf_str(out, v.u8 ? "true" : "false");
        return TS_OK;
    case TS_U8:
        ts_buf_printf(out, "%u", v.u8);
        return TS_OK;
    case TS_I8:
        ts_buf_printf(out, "%d", v.i8);
        return TS_OK;
    case TS_U16:
        ts_buf_printf(out, "%u", v.u16);
        return TS_OK;
    case TS_I16:
        ts_buf_printf(out, "%d", v.i16);
        return TS_OK;
    case TS_U32:
        ts_buf_printf(out, "%u", v.u32);
        return TS_OK;
    case TS_I32:
        ts_buf_printf(out, "%d", v.i32);
        return TS_OK;
    case TS_U64:
        ts_buf_printf(out, "%llu", (unsigned long long)v.u64);
        return TS_OK;
    case TS_I64:
        ts_buf_printf(out, "%lld", (long long)v.i64);
        return TS_OK;
    case TS_F32:
    case TS_F64: {
        double d = t->dtype == TS_F32 ? (double)v.f32 : v.f64;
        if (!isfinite(d))
            return ts_fail(err, TS_E_OPTION,
                           "output '%s' holds NaN or infinity: request it as binary data", t->name);
        if (d == 0 && signbit(d))
            ts_buf_str(out, "-0.0"); /* "-0" is read as the integer 0, which has no sign */
        else
            ts_buf_printf(out, t->dtype == TS_F32 ? "%.9g" : "%.17g", d);
        return TS_OK;
    }
    default:
        return ts_fail(err, TS_E_OPTION, "output '%s': %s has no JSON form: request binary data",
                       t->name, ts_dtype_oip(t->dtype));
    }
}
