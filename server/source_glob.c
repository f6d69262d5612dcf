/* {"glob":"grads.*"}: a panel per tensor whose name matches; panels appear as tensors appear. */
#include <fnmatch.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "server/source.h"

enum {
    MAX_PANELS = 64
};

typedef struct glob_source {
    ts_app *app;
    char pattern[2 * TS_NAME_MAX];
    int64_t columns;
    atomic_uint_least64_t revision;
    pthread_mutex_t names_lock; /* guards: names, n */
    char (*names)[TS_NAME_MAX + 1];
    size_t n;
} glob_source;

static ts_status glob_open(const ts_source_env *env, const json_t *source, void **state,
                           ts_error *err)
{
    static const char *const keys[] = {"glob", "columns", NULL};
    const char *pattern = NULL;
    int64_t columns = 0;
    ts_status st = ts_json_only(source, "source", keys, err);
    if (st == TS_OK)
        st = ts_json_get_string(source, "source", "glob", &pattern, err);
    if (st == TS_OK)
        st = ts_json_get_int(source, "source", "columns", 1, MAX_PANELS, &columns, err);
    if (st == TS_OK && (!pattern || !*pattern || strlen(pattern) >= 2 * TS_NAME_MAX))
        st = ts_fail(err, TS_E_OPTION, "source.glob: expected a pattern like \"grads.*\"");
    if (st != TS_OK)
        return st;
    glob_source *g = calloc(1, sizeof *g);
    if (!g)
        return ts_fail(err, TS_E_NO_MEMORY, "source");
    g->app = env->app;
    g->columns = columns;
    memcpy(g->pattern, pattern, strlen(pattern) + 1);
    pthread_mutex_init(&g->names_lock, NULL);
    *state = g;
    return TS_OK;
}

static void glob_close(void *state)
{
    glob_source *g = state;
    if (!g)
        return;
    pthread_mutex_destroy(&g->names_lock);
    free(g->names);
    free(g);
}

static bool matches(const glob_source *g, const char *name)
{
    return fnmatch(g->pattern, name, 0) == 0;
}

static bool glob_depends(void *state, const char *tensor)
{
    return matches(state, tensor);
}

static uint64_t glob_revision(void *state)
{
    return atomic_load(&((glob_source *)state)->revision);
}

/* Look what matches now; a change of the set makes the view anew. */
static ts_status scan(glob_source *g, ts_error *err)
{
    ts_entry *entries = NULL;
    size_t n = 0, kept = 0;
    ts_status st = ts_store_list(g->app->store, NULL, NULL, &entries, &n, err);
    if (st != TS_OK)
        return st;
    char(*names)[TS_NAME_MAX + 1] = calloc(MAX_PANELS, sizeof *names);
    for (size_t i = 0; names && i < n && kept < MAX_PANELS; i++)
        if (matches(g, entries[i].name))
            memcpy(names[kept++], entries[i].name, sizeof *names);
    ts_entries_free(entries, n);
    if (!names)
        return ts_fail(err, TS_E_NO_MEMORY, "panels");
    pthread_mutex_lock(&g->names_lock);
    bool same = kept == g->n && (!kept || !memcmp(names, g->names, kept * sizeof *names));
    if (!same) {
        free(g->names);
        g->names = names;
        g->n = kept;
        atomic_fetch_add(&g->revision, 1);
    }
    pthread_mutex_unlock(&g->names_lock);
    if (same)
        free(names);
    return TS_OK;
}

static ts_status glob_compose(void *state, const json_t *view, json_t **out, ts_error *err)
{
    glob_source *g = state;
    ts_status st = scan(g, err);
    if (st != TS_OK)
        return st;
    json_t *composed = json_deep_copy(view), *panels = json_array();
    pthread_mutex_lock(&g->names_lock);
    for (size_t i = 0; i < g->n; i++)
        json_array_append_new(panels,
                              json_pack("{s:s,s:s}", "tensor", g->names[i], "title", g->names[i]));
    pthread_mutex_unlock(&g->names_lock);
    if (!composed || !panels) {
        json_decref(composed);
        json_decref(panels);
        return ts_fail(err, TS_E_NO_MEMORY, "panels");
    }
    if (json_array_size(panels))
        json_object_set(composed, "panels", panels);
    json_decref(panels);
    if (g->columns) {
        json_t *canvas = json_object_get(composed, "canvas");
        canvas = canvas ? json_deep_copy(canvas) : json_object();
        json_object_set_new(canvas, "cols", json_integer(g->columns));
        json_object_set_new(composed, "canvas", canvas);
    }
    *out = composed;
    return TS_OK;
}

static ts_status glob_snapshot(void *state, ts_queue *queue, ts_snapshot *out, ts_error *err)
{
    glob_source *g = state;
    (void)queue;
    ts_status st = scan(g, err);
    if (st != TS_OK)
        return st;
    pthread_mutex_lock(&g->names_lock);
    bool none = g->n == 0;
    pthread_mutex_unlock(&g->names_lock);
    if (none) /* the pattern is shown until something matches */
        memcpy(out->missing, g->pattern,
               strlen(g->pattern) < sizeof out->missing ? strlen(g->pattern) + 1
                                                        : sizeof out->missing - 1);
    return TS_OK;
}

const ts_source_ops ts_source_glob = {.key = "glob",
                                      .open = glob_open,
                                      .close = glob_close,
                                      .depends = glob_depends,
                                      .revision = glob_revision,
                                      .compose = glob_compose,
                                      .snapshot = glob_snapshot};
