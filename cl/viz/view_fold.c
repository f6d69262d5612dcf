/* The JSON side of views: folding the inner `view`, and building a view from query parameters. */
#include <stdlib.h>
#include <string.h>

#include "cl/viz/view.h"

enum {
    MAX_FOLD_DEPTH = 8,
    MAX_KEY_DEPTH = 8
};

static ts_status no_memory(ts_error *err)
{
    return ts_fail(err, TS_E_NO_MEMORY, "view");
}

/* Merge `inner` into `into`; a key at both places is an error. */
static ts_status merge_inner(json_t *into, const json_t *inner, const char *path, ts_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)inner, key, value)
    {
        if (json_object_get(into, key))
            return ts_fail(err, TS_E_OPTION, "%s%s%s: given both outside and inside `view`", path,
                           *path ? "." : "", key);
        if (json_object_set(into, key, value) != 0)
            return no_memory(err);
    }
    return TS_OK;
}

static ts_status fold_object(const json_t *object, const char *path, json_t **out, ts_error *err)
{
    json_t *folded = json_copy((json_t *)object);
    if (!folded)
        return no_memory(err);
    ts_status st = TS_OK;
    for (int depth = 0; st == TS_OK; depth++) {
        json_t *inner = json_object_get(folded, "view");
        if (!inner)
            break;
        if (depth == MAX_FOLD_DEPTH) {
            st = ts_fail(err, TS_E_OPTION, "%s%sview: nested deeper than %d levels", path,
                         *path ? "." : "", MAX_FOLD_DEPTH);
            break;
        }
        if (!json_is_object(inner) && !json_is_null(inner)) {
            st = ts_fail(err, TS_E_OPTION, "%s%sview: expected an object", path, *path ? "." : "");
            break;
        }
        json_incref(inner);
        json_object_del(folded, "view");
        if (json_is_object(inner))
            st = merge_inner(folded, inner, path, err);
        json_decref(inner);
    }
    if (st != TS_OK) {
        json_decref(folded);
        return st;
    }
    *out = folded;
    return TS_OK;
}

static ts_status fold_panels(const json_t *panels, json_t **out, ts_error *err)
{
    json_t *list = json_array();
    if (!list)
        return no_memory(err);
    size_t i;
    json_t *panel;
    json_array_foreach((json_t *)panels, i, panel)
    {
        char path[32];
        snprintf(path, sizeof path, "panels[%zu]", i);
        json_t *folded = NULL;
        ts_status st = json_is_object(panel)
                           ? fold_object(panel, path, &folded, err)
                           : ts_fail(err, TS_E_OPTION, "%s: expected an object", path);
        if (st == TS_OK && json_array_append_new(list, folded) != 0)
            st = no_memory(err);
        if (st != TS_OK) {
            json_decref(list);
            return st;
        }
    }
    *out = list;
    return TS_OK;
}

ts_status ts_view_fold(const json_t *object, json_t **out, ts_error *err)
{
    if (object && !json_is_object(object) && !json_is_null(object))
        return ts_fail(err, TS_E_OPTION, "view: expected an object");
    json_t *folded = NULL;
    if (!object || json_is_null(object)) {
        folded = json_object();
        if (!folded)
            return no_memory(err);
    } else {
        ts_status st = fold_object(object, "", &folded, err);
        if (st != TS_OK)
            return st;
    }
    const json_t *panels = json_object_get(folded, "panels");
    if (json_is_array(panels)) {
        json_t *list = NULL;
        ts_status st = fold_panels(panels, &list, err);
        if (st == TS_OK && json_object_set_new(folded, "panels", list) != 0)
            st = no_memory(err);
        if (st != TS_OK) {
            json_decref(folded);
            return st;
        }
    }
    *out = folded;
    return TS_OK;
}

/* Keys whose value is text even where it looks like a number. */
static bool is_text_key(const char *key)
{
    static const char *const keys[] = {"title", "tensor", "name", "a", "b", NULL};
    for (int i = 0; keys[i]; i++)
        if (strcmp(keys[i], key) == 0)
            return true;
    return false;
}

static json_t *query_value(const char *key, const char *value)
{
    size_t len = strlen(value);
    if (len > 0 && !is_text_key(key)) {
        ts_error ignored = {0};
        json_t *parsed = NULL;
        if (ts_json_parse(value, len, &parsed, &ignored) == TS_OK && !json_is_string(parsed))
            return parsed;
        json_decref(parsed);
        ts_error_clear(&ignored);
    }
    return json_string(value);
}

/* The object under `key`, made if absent; a colormap's name becomes {"name": …}. */
static ts_status descend(json_t **object, const char *key, const char *whole, ts_error *err)
{
    json_t *next = json_object_get(*object, key);
    if (json_is_string(next) && strcmp(key, "colormap") == 0) {
        json_t *named = json_object();
        if (!named || json_object_set(named, "name", next) != 0) {
            json_decref(named);
            return no_memory(err);
        }
        if (json_object_set_new(*object, key, named) != 0)
            return no_memory(err);
        next = named;
    }
    if (!next) {
        next = json_object();
        if (!next || json_object_set_new(*object, key, next) != 0)
            return no_memory(err);
    }
    if (!json_is_object(next))
        return ts_fail(err, TS_E_OPTION, "%s: `%s` is already given as a plain value", whole, key);
    *object = next;
    return TS_OK;
}

ts_status ts_view_from_query(json_t *object, const char *key, const char *value, ts_error *err)
{
    const char *at = key;
    for (int depth = 0;; depth++) {
        const char *dot = strchr(at, '.');
        size_t len = dot ? (size_t)(dot - at) : strlen(at);
        char word[64];
        if (len == 0 || len >= sizeof word || depth == MAX_KEY_DEPTH)
            return ts_fail(err, TS_E_OPTION, "%.80s: not a view key", key);
        memcpy(word, at, len);
        word[len] = 0;
        if (dot) {
            ts_status st = descend(&object, word, key, err);
            if (st != TS_OK)
                return st;
            at = dot + 1;
            continue;
        }
        if (json_object_get(object, word))
            return ts_fail(err, TS_E_OPTION, "%s: given twice", key);
        json_t *parsed = query_value(word, value);
        if (!parsed)
            return ts_fail(err, TS_E_OPTION, "%s: not valid UTF-8", key);
        return json_object_set_new(object, word, parsed) == 0 ? TS_OK : no_memory(err);
    }
}
