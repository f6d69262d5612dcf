/* {"tensor":"w1"}: a tensor by its name, whatever is stored under it. */
#include <stdlib.h>
#include <string.h>

#include "server/source.h"

typedef struct tensor_source {
    ts_store *store;
    char name[TS_NAME_MAX + 1];
} tensor_source;

static ts_status tensor_open(const ts_source_env *env, const json_t *source, void **state,
                             ts_error *err)
{
    static const char *const keys[] = {"tensor", NULL};
    const char *name = NULL;
    ts_status st = ts_json_only(source, "source", keys, err);
    if (st == TS_OK)
        st = ts_json_get_string(source, "source", "tensor", &name, err);
    if (st == TS_OK)
        st = name ? ts_name_check("tensor", name, err)
                  : ts_fail(err, TS_E_OPTION, "source.tensor: expected a name");
    if (st != TS_OK)
        return st;
    tensor_source *t = calloc(1, sizeof *t);
    if (!t)
        return ts_fail(err, TS_E_NO_MEMORY, "source");
    t->store = env->app->store;
    memcpy(t->name, name, strlen(name) + 1);
    *state = t;
    return TS_OK;
}

static bool tensor_depends(void *state, const char *tensor)
{
    return !strcmp(((tensor_source *)state)->name, tensor);
}

static ts_status tensor_snapshot(void *state, ts_queue *queue, ts_snapshot *out, ts_error *err)
{
    tensor_source *t = state;
    (void)queue;
    (void)err;
    if (ts_store_get(t->store, t->name, &out->entry, NULL) != TS_OK) {
        memcpy(out->missing, t->name, sizeof t->name);
        return TS_OK;
    }
    out->has_step = out->has_t = true;
    out->step = out->entry.step;
    out->t = out->entry.t;
    return TS_OK;
}

const ts_source_ops ts_source_tensor = {.key = "tensor",
                                        .open = tensor_open,
                                        .close = free,
                                        .depends = tensor_depends,
                                        .snapshot = tensor_snapshot};
