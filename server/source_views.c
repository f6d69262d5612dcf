/*
 * Sources that are views of several tensors: {"panels":[…],"columns":2} and {"compare":{…}}. The
 * tensors are named in the view that they compose, so the stream follows them by itself.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/viz/view.h"
#include "server/hub.h"

typedef struct view_source {
    ts_app *app;
    char name[TS_NAME_MAX + 1];
    json_t *source;
} view_source;

static ts_status view_open(const ts_source_env *env, const json_t *source, const char *const *keys,
                           void **state, ts_error *err)
{
    ts_status st = ts_json_only(source, "source", keys, err);
    if (st != TS_OK)
        return st;
    view_source *v = calloc(1, sizeof *v);
    if (v)
        v->source = json_deep_copy(source);
    if (!v || !v->source) {
        free(v);
        return ts_fail(err, TS_E_NO_MEMORY, "source");
    }
    v->app = env->app;
    snprintf(v->name, sizeof v->name, "%s", env->name);
    *state = v;
    return TS_OK;
}

static void view_close(void *state)
{
    view_source *v = state;
    if (!v)
        return;
    json_decref(v->source);
    free(v);
}

/* The picture is all in the composed view; the newest of its tensors says step and time. */
static ts_status view_snapshot(void *state, ts_queue *queue, ts_snapshot *out, ts_error *err)
{
    (void)state;
    (void)queue;
    (void)out;
    (void)err;
    return TS_OK;
}

/* ---- panels ---- */

static ts_status panels_open(const ts_source_env *env, const json_t *source, void **state,
                             ts_error *err)
{
    static const char *const keys[] = {"panels", "columns", NULL};
    const json_t *panels = json_object_get(source, "panels"), *panel;
    int64_t columns = 1;
    size_t i;
    if (!json_is_array(panels) || json_array_size(panels) < 1 || json_array_size(panels) > 64)
        return ts_fail(err, TS_E_OPTION, "source.panels: expected a list of 1 to 64 panels");
    json_array_foreach(panels, i, panel)
    {
        const char *name = json_string_value(json_object_get(panel, "tensor"));
        const char *stream = json_string_value(json_object_get(panel, "stream"));
        if (!name == !stream)
            return ts_fail(err, TS_E_OPTION,
                           "source.panels[%zu]: expected an object with `tensor` or `stream`", i);
        ts_status st = ts_name_check(name ? "tensor" : "stream", name ? name : stream, err);
        if (st != TS_OK)
            return st;
    }
    ts_status st = ts_json_get_int(source, "source", "columns", 1, 64, &columns, err);
    return st == TS_OK ? view_open(env, source, keys, state, err) : st;
}

/* A panel that shows a stream shows that stream's tensor with that stream's view under its own. */
static json_t *resolve_panel(const view_source *v, const json_t *panel)
{
    const char *name = json_string_value(json_object_get(panel, "stream"));
    json_t *out = json_deep_copy(panel);
    ts_stream *s = NULL;
    if (!name)
        return out;
    json_object_del(out, "stream");
    json_t *shown = NULL;
    if (v->app->hub && ts_hub_find(v->app->hub, name, &s, NULL) == TS_OK) {
        shown = ts_stream_json(s);
        ts_stream_unref(s);
    }
    const char *tensor =
        json_string_value(json_object_get(json_object_get(shown, "source"), "tensor"));
    json_t *folded = NULL;
    if (ts_view_fold(out, &folded, NULL) == TS_OK) {
        json_t *view = json_object_get(shown, "view");
        json_t *merged = ts_json_merge_patch(view ? view : folded, folded);
        json_decref(folded);
        json_decref(out);
        out = merged;
    }
    /* not a tensor stream, or not there: its name is shown where the picture would be */
    json_object_set_new(out, "tensor", json_string(tensor ? tensor : name));
    if (!json_object_get(out, "title"))
        json_object_set_new(out, "title", json_string(name));
    json_decref(shown);
    return out;
}

static ts_status panels_compose(void *state, const json_t *view, json_t **out, ts_error *err)
{
    const view_source *v = state;
    json_t *composed = json_deep_copy(view), *list = json_array(), *panel;
    const json_t *columns = json_object_get(v->source, "columns");
    size_t i;
    if (!composed || !list) {
        json_decref(composed);
        json_decref(list);
        return ts_fail(err, TS_E_NO_MEMORY, "panels");
    }
    json_array_foreach(json_object_get(v->source, "panels"), i, panel)
        json_array_append_new(list, resolve_panel(v, panel));
    json_object_set_new(composed, "panels", list);
    if (columns) {
        json_t *canvas = json_object_get(composed, "canvas");
        canvas = canvas ? json_deep_copy(canvas) : json_object();
        if (!json_object_get(canvas, "cols"))
            json_object_set(canvas, "cols", (json_t *)columns);
        json_object_set_new(composed, "canvas", canvas);
    }
    *out = composed;
    return TS_OK;
}

const ts_source_ops ts_source_panels = {.key = "panels",
                                        .open = panels_open,
                                        .close = view_close,
                                        .compose = panels_compose,
                                        .snapshot = view_snapshot};

/* ---- compare ---- */

static ts_status compare_open(const ts_source_env *env, const json_t *source, void **state,
                              ts_error *err)
{
    static const char *const keys[] = {"compare", NULL};
    const json_t *compare = json_object_get(source, "compare");
    if (!json_is_object(compare))
        return ts_fail(err, TS_E_OPTION, "source.compare: expected an object");
    if (!json_object_get(compare, "a") || !json_object_get(compare, "b"))
        return ts_fail(err, TS_E_OPTION, "source.compare: expected both `a` and `b`, or neither");
    return view_open(env, source, keys, state, err);
}

static ts_status compare_compose(void *state, const json_t *view, json_t **out, ts_error *err)
{
    const view_source *v = state;
    json_t *composed = json_deep_copy(view);
    json_t *compare = json_deep_copy(json_object_get(v->source, "compare"));
    if (!composed || !compare) {
        json_decref(composed);
        json_decref(compare);
        return ts_fail(err, TS_E_NO_MEMORY, "compare");
    }
    json_object_set_new(composed, "compare", compare);
    *out = composed;
    return TS_OK;
}

/* Without either it is a trainer's pairs (server/train/pairs.c). */
static bool compare_claims(const json_t *source)
{
    const json_t *compare = json_object_get(source, "compare");
    return json_object_get(compare, "a") || json_object_get(compare, "b");
}

const ts_source_ops ts_source_compare = {.key = "compare",
                                         .claims = compare_claims,
                                         .open = compare_open,
                                         .close = view_close,
                                         .compose = compare_compose,
                                         .snapshot = view_snapshot};
