#include "cl/base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Nesting is checked before parsing: jansson recurses, and its own limit is 2048. */
static ts_status check_depth(const char *text, size_t len, ts_error *err)
{
    int depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '[' || c == '{') {
            if (++depth > TS_JSON_MAX_DEPTH)
                return ts_fail(err, TS_E_JSON, "nested deeper than %d levels at byte %zu",
                               TS_JSON_MAX_DEPTH, i);
        } else if (c == ']' || c == '}') {
            depth--;
        }
    }
    return TS_OK;
}

ts_status ts_json_parse(const void *data, size_t len, json_t **out, ts_error *err)
{
    if (len == 0)
        return ts_fail(err, TS_E_JSON, "the body is empty, expected a JSON document");
    ts_status st = check_depth(data, len, err);
    if (st != TS_OK)
        return st;
    json_error_t fault;
    json_t *value = json_loadb(data, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &fault);
    if (!value)
        return ts_fail(err, TS_E_JSON, "line %d column %d: %s", fault.line, fault.column,
                       fault.text);
    *out = value;
    return TS_OK;
}

static int dump_chunk(const char *text, size_t len, void *arg)
{
    ts_buf_append(arg, text, len);
    return 0;
}

void ts_json_write(const json_t *value, ts_buf *out)
{
    if (json_dump_callback(value, dump_chunk, out, JSON_COMPACT | JSON_ENCODE_ANY) != 0)
        out->failed = true;
}

void ts_json_write_string(const char *text, ts_buf *out)
{
    ts_buf_append(out, "\"", 1);
    for (const char *c = text; *c; c++) {
        unsigned char b = (unsigned char)*c;
        if (b == '"' || b == '\\')
            ts_buf_printf(out, "\\%c", b);
        else if (b < 0x20)
            ts_buf_printf(out, "\\u%04x", b);
        else
            ts_buf_append(out, c, 1);
    }
    ts_buf_append(out, "\"", 1);
}

static const char *non_finite(double value)
{
    return isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity";
}

void ts_json_write_double(double value, ts_buf *out)
{
    if (isfinite(value))
        ts_buf_printf(out, "%.17g", value);
    else
        ts_buf_printf(out, "\"%s\"", non_finite(value));
}

json_t *ts_json_double(double value)
{
    return isfinite(value) ? json_real(value) : json_string(non_finite(value));
}

static const char *type_name(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    default:
        return "null";
    }
}

/* The value of a key, or NULL where it is absent or null. */
static const json_t *lookup(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return value && !json_is_null(value) ? value : NULL;
}

static ts_status wrong_type(const char *path, const char *key, const char *want, const json_t *got,
                            ts_error *err)
{
    return ts_fail(err, TS_E_OPTION, "%s%s%s: expected %s, got %s", path, *path ? "." : "", key,
                   want, type_name(got));
}

ts_status ts_json_get_int(const json_t *object, const char *path, const char *key, int64_t min,
                          int64_t max, int64_t *out, ts_error *err)
{
    const json_t *value = lookup(object, key);
    if (!value)
        return TS_OK;
    double real = json_real_value(value);
    bool whole = json_is_real(value) && real == floor(real) && fabs(real) < 9e15;
    if (!json_is_integer(value) && !whole)
        return wrong_type(path, key, "a whole number", value, err);
    int64_t n = whole ? (int64_t)real : (int64_t)json_integer_value(value);
    if (n < min || n > max)
        return ts_fail(err, TS_E_OPTION, "%s%s%s: %lld is outside %lld to %lld", path,
                       *path ? "." : "", key, (long long)n, (long long)min, (long long)max);
    *out = n;
    return TS_OK;
}

ts_status ts_json_get_double(const json_t *object, const char *path, const char *key, double min,
                             double max, double *out, ts_error *err)
{
    const json_t *value = lookup(object, key);
    if (!value)
        return TS_OK;
    if (!json_is_number(value))
        return wrong_type(path, key, "a number", value, err);
    double n = json_number_value(value);
    if (!(n >= min && n <= max))
        return ts_fail(err, TS_E_OPTION, "%s%s%s: %g is outside %g to %g", path, *path ? "." : "",
                       key, n, min, max);
    *out = n;
    return TS_OK;
}

ts_status ts_json_get_bool(const json_t *object, const char *path, const char *key, bool *out,
                           ts_error *err)
{
    const json_t *value = lookup(object, key);
    if (!value)
        return TS_OK;
    if (!json_is_boolean(value))
        return wrong_type(path, key, "true or false", value, err);
    *out = json_is_true(value);
    return TS_OK;
}

ts_status ts_json_get_string(const json_t *object, const char *path, const char *key,
                             const char **out, ts_error *err)
{
    const json_t *value = lookup(object, key);
    if (!value)
        return TS_OK;
    if (!json_is_string(value))
        return wrong_type(path, key, "a string", value, err);
    *out = json_string_value(value);
    return TS_OK;
}

ts_status ts_json_get_enum(const json_t *object, const char *path, const char *key,
                           const char *const *words, int *out, ts_error *err)
{
    const char *text = NULL;
    ts_status st = ts_json_get_string(object, path, key, &text, err);
    if (st != TS_OK || !text)
        return st;
    char list[256] = "";
    for (int i = 0; words[i]; i++) {
        if (strcmp(words[i], text) == 0) {
            *out = i;
            return TS_OK;
        }
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", words[i]);
    }
    return ts_fail(err, TS_E_OPTION, "%s%s%s: '%.64s' is not one of %s", path, *path ? "." : "",
                   key, text, list);
}

/* Levenshtein distance of short words, for "did you mean". */
static size_t distance(const char *a, const char *b)
{
    size_t row[65];
    size_t la = strlen(a), lb = strlen(b);
    if (la > 64 || lb > 64)
        return SIZE_MAX;
    for (size_t j = 0; j <= lb; j++)
        row[j] = j;
    for (size_t i = 1; i <= la; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            size_t up = row[j];
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            if (up + 1 < best)
                best = up + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
            diagonal = up;
        }
    }
    return row[lb];
}

ts_status ts_json_only(const json_t *object, const char *path, const char *const *keys,
                       ts_error *err)
{
    const char *key;
    json_t *value;
    if (!json_is_object(object))
        return ts_fail(err, TS_E_OPTION, "%s: expected an object", *path ? path : "the body");
    json_object_foreach((json_t *)object, key, value)
    {
        const char *nearest = NULL;
        size_t best = SIZE_MAX;
        for (int i = 0; keys[i] && best; i++) {
            size_t d = distance(key, keys[i]);
            if (d < best) {
                best = d;
                nearest = keys[i];
            }
        }
        if (best == 0)
            continue;
        if (nearest && best <= 3)
            return ts_fail(err, TS_E_OPTION, "%s%s%.64s: unknown key, did you mean '%s'?", path,
                           *path ? "." : "", key, nearest);
        return ts_fail(err, TS_E_OPTION, "%s%s%.64s: unknown key", path, *path ? "." : "", key);
    }
    return TS_OK;
}

json_t *ts_json_merge_patch(const json_t *target, const json_t *patch)
{
    if (!json_is_object(patch))
        return json_deep_copy(patch);
    json_t *result = json_is_object(target) ? json_deep_copy(target) : json_object();
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)patch, key, value)
    {
        if (json_is_null(value))
            json_object_del(result, key);
        else
            json_object_set_new(result, key,
                                ts_json_merge_patch(json_object_get(result, key), value));
    }
    return result;
}
