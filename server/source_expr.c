/* {"expr":"a-b"}: a value computed on the device from tensors, anew when one of them changes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/clock.h"
#include "cl/viz/expr.h"
#include "server/source.h"

typedef struct expr_source {
    ts_store *store;
    ts_expr *expr;
    uint64_t frame; /* render thread */
    char name[TS_NAME_MAX + 1];
} expr_source;

static void expr_close(void *state)
{
    expr_source *e = state;
    if (e)
        ts_expr_destroy(e->expr);
    free(e);
}

static ts_status expr_open(const ts_source_env *env, const json_t *source, void **state,
                           ts_error *err)
{
    static const char *const keys[] = {"expr", NULL};
    const char *text = NULL;
    ts_status st = ts_json_only(source, "source", keys, err);
    if (st == TS_OK)
        st = ts_json_get_string(source, "source", "expr", &text, err);
    if (st == TS_OK && !text)
        st = ts_fail(err, TS_E_OPTION, "source.expr: expected an expression");
    ts_expr *expr = NULL;
    if (st == TS_OK)
        st = ts_expr_parse(text, &expr, err);
    if (st != TS_OK)
        return st;
    expr_source *e = calloc(1, sizeof *e);
    if (!e) {
        ts_expr_destroy(expr);
        return ts_fail(err, TS_E_NO_MEMORY, "source");
    }
    e->store = env->app->store;
    e->expr = expr;
    snprintf(e->name, sizeof e->name, "%s", env->name);
    *state = e;
    return TS_OK;
}

typedef struct name_search {
    const char *name;
    bool found;
} name_search;

static void look_for(void *arg, const char *name)
{
    name_search *s = arg;
    s->found |= strcmp(s->name, name) == 0;
}

static bool expr_depends(void *state, const char *tensor)
{
    name_search s = {.name = tensor};
    ts_expr_each_tensor(((expr_source *)state)->expr, look_for, &s);
    return s.found;
}

/* The newest step among the inputs; the first that is missing. */
typedef struct input_search {
    ts_store *store;
    ts_snapshot *out;
} input_search;

static void look_at_input(void *arg, const char *name)
{
    input_search *s = arg;
    ts_entry entry = {0};
    if (ts_store_get(s->store, name, &entry, NULL) != TS_OK) {
        if (!s->out->missing[0])
            snprintf(s->out->missing, sizeof s->out->missing, "%s", name);
        return;
    }
    if (!s->out->has_step || entry.step > s->out->step)
        s->out->step = entry.step;
    if (!s->out->has_t || entry.t > s->out->t)
        s->out->t = entry.t;
    s->out->has_step = s->out->has_t = true;
    ts_entry_finish(&entry);
}

static ts_status expr_snapshot(void *state, ts_queue *queue, ts_snapshot *out, ts_error *err)
{
    expr_source *e = state;
    input_search search = {.store = e->store, .out = out};
    ts_expr_each_tensor(e->expr, look_at_input, &search);
    if (out->missing[0])
        return TS_OK;
    ts_status st = ts_expr_evaluate(e->expr, queue, e->store, &out->entry.tensor, err);
    if (st != TS_OK)
        return st;
    snprintf(out->entry.name, sizeof out->entry.name, "%s", e->name);
    out->entry.version = ++e->frame;
    if (!out->has_step) { /* an expression of numbers alone */
        out->has_step = out->has_t = true;
        out->t = ts_wall_seconds();
    }
    out->entry.step = out->step;
    out->entry.t = out->t;
    return TS_OK;
}

const ts_source_ops ts_source_expr = {.key = "expr",
                                      .open = expr_open,
                                      .close = expr_close,
                                      .depends = expr_depends,
                                      .snapshot = expr_snapshot};
