/* {"pattern":"waves","width":512,"height":512,"dt":0.1}: computed on the device, frame by frame. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/clock.h"
#include "cl/viz/pattern.h"
#include "server/source.h"

enum {
    DEFAULT_SIDE = 512,
    MAX_SIDE = 16383
};

typedef struct pattern_source {
    ts_pattern pattern;
    int64_t width, height;
    double dt;
    uint64_t frame; /* render thread */
    char name[TS_NAME_MAX + 1];
} pattern_source;

static ts_status pattern_open(const ts_source_env *env, const json_t *source, void **state,
                              ts_error *err)
{
    static const char *const keys[] = {"pattern", "width", "height", "dt", NULL};
    pattern_source p = {.width = DEFAULT_SIDE, .height = DEFAULT_SIDE, .dt = 0.1};
    const char *word = NULL;
    ts_status st = ts_json_only(source, "source", keys, err);
    if (st == TS_OK)
        st = ts_json_get_string(source, "source", "pattern", &word, err);
    if (st == TS_OK && (!word || !ts_pattern_find(word, &p.pattern)))
        st = ts_fail(err, TS_E_OPTION,
                     "source.pattern: '%.40s' is not one of waves, rotor, cells, matrot",
                     word ? word : "");
    if (st == TS_OK)
        st = ts_json_get_int(source, "source", "width", 1, MAX_SIDE, &p.width, err);
    if (st == TS_OK)
        st = ts_json_get_int(source, "source", "height", 1, MAX_SIDE, &p.height, err);
    if (st == TS_OK)
        st = ts_json_get_double(source, "source", "dt", -1e6, 1e6, &p.dt, err);
    if (st != TS_OK)
        return st;
    pattern_source *own = malloc(sizeof *own);
    if (!own)
        return ts_fail(err, TS_E_NO_MEMORY, "source");
    snprintf(p.name, sizeof p.name, "%s", env->name);
    *own = p;
    *state = own;
    return TS_OK;
}

/* Every frame is new: only the stream's max_fps slows it. */
static int64_t pattern_due(void *state, int64_t now_us)
{
    (void)state;
    return now_us;
}

/* Shown with the range it is made for, unless the view says another. */
static ts_status pattern_compose(void *state, const json_t *view, json_t **out, ts_error *err)
{
    const pattern_source *p = state;
    json_t *composed = json_deep_copy(view);
    double lo, hi;
    if (!composed)
        return ts_fail(err, TS_E_NO_MEMORY, "view");
    ts_pattern_range(p->pattern, &lo, &hi);
    if (!json_object_get(composed, "normalize"))
        json_object_set_new(composed, "normalize",
                            json_pack("{s:s,s:f,s:f}", "mode", "fixed", "lo", lo, "hi", hi));
    *out = composed;
    return TS_OK;
}

static ts_status pattern_snapshot(void *state, ts_queue *queue, ts_snapshot *out, ts_error *err)
{
    pattern_source *p = state;
    ts_shape shape = TS_SHAPE(p->height, p->width);
    ts_status st =
        ts_tensor_create(ts_queue_device(queue), TS_F32, &shape, &out->entry.tensor, err);
    if (st == TS_OK)
        st = ts_pattern_render(queue, p->pattern, (double)p->frame * p->dt, out->entry.tensor, err);
    if (st != TS_OK)
        return st;
    snprintf(out->entry.name, sizeof out->entry.name, "%s", p->name);
    out->entry.version = p->frame + 1;
    out->entry.step = out->step = (int64_t)p->frame++;
    out->entry.t = out->t = ts_wall_seconds();
    out->has_step = out->has_t = true;
    return TS_OK;
}

const ts_source_ops ts_source_pattern = {.key = "pattern",
                                         .open = pattern_open,
                                         .close = free,
                                         .due = pattern_due,
                                         .compose = pattern_compose,
                                         .snapshot = pattern_snapshot};
