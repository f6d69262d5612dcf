#include "cl/viz/view_reader.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The object under `key`, whose keys must all be in `keys`. False: absent, or failed. */
bool reader_enter(reader *outer, const char *key, const char *const *keys, reader *inner)
{
    if (outer->st != TS_OK)
        return false;
    const json_t *value = json_object_get(outer->object, key);
    if (!value || json_is_null(value))
        return false;
    *inner = (reader){.object = value, .err = outer->err};
    snprintf(inner->path, sizeof inner->path, "%.60s%s%.30s", outer->path, *outer->path ? "." : "",
             key);
    inner->st = outer->st = ts_json_only(value, inner->path, keys, outer->err);
    return inner->st == TS_OK;
}

void reader_leave(reader *outer, const reader *inner)
{
    if (outer->st == TS_OK)
        outer->st = inner->st;
}

void reader_bad(reader *r, const char *key, const char *want)
{
    if (r->st == TS_OK)
        r->st = ts_fail(r->err, TS_E_OPTION, "%s%s%s: expected %s", r->path, *r->path ? "." : "",
                        key, want);
}

const json_t *reader_value_of(const reader *r, const char *key)
{
    const json_t *value = r->st == TS_OK ? json_object_get(r->object, key) : NULL;
    return json_is_null(value) ? NULL : value;
}

bool reader_has(const reader *r, const char *key)
{
    return reader_value_of(r, key) != NULL;
}

void reader_get_int(reader *r, const char *key, int min, int max, int *out)
{
    int64_t value = *out;
    if (r->st == TS_OK)
        r->st = ts_json_get_int(r->object, r->path, key, min, max, &value, r->err);
    *out = (int)value;
}

void reader_get_double(reader *r, const char *key, double min, double max, double *out)
{
    if (r->st == TS_OK)
        r->st = ts_json_get_double(r->object, r->path, key, min, max, out, r->err);
}

void reader_get_bool(reader *r, const char *key, bool *out)
{
    if (r->st == TS_OK)
        r->st = ts_json_get_bool(r->object, r->path, key, out, r->err);
}

/* Enums are read as int: every enum here starts at 0 in the order of its words. */
int reader_get_word(reader *r, const char *key, const char *const *words, int value)
{
    if (r->st == TS_OK)
        r->st = ts_json_get_enum(r->object, r->path, key, words, &value, r->err);
    return value;
}

void reader_get_text(reader *r, const char *key, char **out)
{
    const char *text = NULL;
    if (r->st == TS_OK)
        r->st = ts_json_get_string(r->object, r->path, key, &text, r->err);
    if (r->st != TS_OK || !text)
        return;
    if (strlen(text) > 1024) {
        reader_bad(r, key, "at most 1024 bytes of text");
        return;
    }
    free(*out);
    *out = strdup(text);
    if (!*out)
        r->st = ts_fail(r->err, TS_E_NO_MEMORY, "view");
}

/* `n` numbers, whole ones within min … max; false: absent or failed. */
bool reader_get_numbers(reader *r, const char *key, size_t least, size_t most, double min,
                        double max, bool whole, double *out, size_t *n)
{
    const json_t *list = reader_value_of(r, key);
    if (!list)
        return false;
    char want[96];
    snprintf(want, sizeof want, "a list of %zu to %zu %s from %g to %g", least, most,
             whole ? "whole numbers" : "numbers", min, max);
    *n = json_array_size(list);
    bool ok = json_is_array(list) && *n >= least && *n <= most;
    for (size_t i = 0; ok && i < *n; i++) {
        const json_t *item = json_array_get(list, i);
        out[i] = json_number_value(item);
        ok = json_is_number(item) && out[i] >= min && out[i] <= max &&
             (!whole || out[i] == floor(out[i]));
    }
    if (!ok)
        reader_bad(r, key, want);
    return ok;
}

void reader_get_color(reader *r, const char *key, view_color *out)
{
    double c[3];
    size_t n;
    if (!reader_get_numbers(r, key, 3, 3, 0, 255, true, c, &n))
        return;
    for (int i = 0; i < 3; i++)
        out->c[i] = (uint8_t)c[i];
    out->set = true;
}
