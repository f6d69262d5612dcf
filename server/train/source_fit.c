/* {"fit":"f1"}: the live picture of a fit, ground truth and render side by side. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/clock.h"
#include "server/hub.h"
#include "server/train/fits.h"

typedef struct fit_source {
    ts_app *app;
    char id[TS_NAME_MAX + 1];
    bool following;
    uint64_t version; /* of `tensor`; render thread */
    ts_tensor *tensor;
} fit_source;

static void fit_close(void *state)
{
    fit_source *f = state;
    if (!f)
        return;
    if (f->following)
        ts_fits_unfollow(f->app->fits, f);
    ts_tensor_unref(f->tensor);
    free(f);
}

static ts_status fit_open(const ts_source_env *env, const json_t *source, void **state,
                          ts_error *err)
{
    static const char *const keys[] = {"fit", NULL};
    const char *id = NULL;
    ts_status st = ts_json_only(source, "source", keys, err);
    if (st == TS_OK)
        st = ts_json_get_string(source, "source", "fit", &id, err);
    if (st == TS_OK)
        st = id ? ts_name_check("fit", id, err)
                : ts_fail(err, TS_E_OPTION, "source.fit: expected a fit's id");
    if (st != TS_OK)
        return st;
    fit_source *f = calloc(1, sizeof *f);
    if (!f)
        return ts_fail(err, TS_E_NO_MEMORY, "source");
    f->app = env->app;
    snprintf(f->id, sizeof f->id, "%s", id);
    if (f->app->fits) {
        st = ts_fits_follow(f->app->fits, id, env->stream, f, err);
        f->following = st == TS_OK;
    }
    if (st != TS_OK) {
        fit_close(f);
        return st;
    }
    *state = f;
    return TS_OK;
}

/* The picture as a tensor, so that views, scale and quality work on it as on any other. */
static ts_status upload(fit_source *f, ts_queue *queue, const ts_pixels *p, ts_error *err)
{
    ts_tensor *tensor = NULL;
    ts_shape shape = TS_SHAPE(p->height, p->width, 3);
    size_t row = (size_t)p->width * 3, bytes = row * (size_t)p->height;
    ts_status st;
    if (p->stride[0] == row) {
        st = ts_tensor_from_host(queue, TS_U8, &shape, p->plane[0], bytes, &tensor, err);
    } else {
        uint8_t *packed = malloc(bytes);
        if (!packed)
            return ts_fail(err, TS_E_NO_MEMORY, "picture");
        for (int y = 0; y < p->height; ++y)
            memcpy(packed + (size_t)y * row, p->plane[0] + (size_t)y * p->stride[0], row);
        st = ts_tensor_from_host(queue, TS_U8, &shape, packed, bytes, &tensor, err);
        free(packed);
    }
    if (st != TS_OK)
        return st;
    ts_tensor_unref(f->tensor);
    f->tensor = tensor;
    return TS_OK;
}

static ts_status fit_snapshot(void *state, ts_queue *queue, ts_snapshot *out, ts_error *err)
{
    fit_source *f = state;
    ts_pixels *picture = NULL;
    uint64_t version = 0;
    int64_t step = 0;
    ts_status st = TS_OK;
    if (f->app->fits)
        ts_fits_picture(f->app->fits, f->id, &picture, &version, &step, &out->metrics);
    snprintf(out->entry.name, sizeof out->entry.name, "%s", f->id);
    if (!picture) {
        snprintf(out->missing, sizeof out->missing, "%s", f->id);
        return TS_OK;
    }
    if (version != f->version || !f->tensor)
        st = upload(f, queue, picture, err);
    ts_pixels_unref(picture);
    if (st != TS_OK)
        return st;
    f->version = version;
    out->entry.tensor = ts_tensor_ref(f->tensor);
    out->entry.version = version;
    out->entry.step = out->step = step;
    out->entry.t = out->t = ts_wall_seconds();
    out->has_step = out->has_t = true;
    out->arrived_us = ts_now_us();
    return TS_OK;
}

const ts_source_ops ts_source_fit = {
    .key = "fit", .open = fit_open, .close = fit_close, .snapshot = fit_snapshot};
