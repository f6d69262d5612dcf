/*
 * {"decoder":{"model":"mnist"}}: the picture of a latent, live. Clients send {"type":"latent",…};
 * the newest waits in one slot, is decoded when the render thread asks, and what it replaced is
 * counted as superseded, never answered.
 *
 * State in `d`: base and directions for offsets (xy), a grid, a path. `lock` guards all of it; the
 * model is taken only on the render thread.
 */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/clock.h"
#include "cl/models/vae/latent.h"
#include "cl/models/vae/vae.h"
#include "server/hub.h"
#include "server/models.h"

enum {
    GRID_MAX = 64,
    PATH_MAX_POINTS = 64,
    LOOK_AGAIN_US = 500000
};

typedef struct decoder {
    ts_app *app;
    ts_stream *stream;
    char model[TS_NAME_MAX + 1];
    pthread_mutex_t lock; /* guards: the rest, but `loaded` */
    ts_loaded *loaded;    /* render thread; NULL: not there yet */
    int64_t dim;          /* 0: not known yet */
    float *z, *base, *d1, *d2;
    bool decoded; /* the newest latent is on its way */
    uint64_t version, superseded;
    json_t *id; /* of the newest latent's message */
    ts_latent_grid grid;
    bool show_grid;
    float *path;
    ts_latent_path route;
    bool playing;
    double play_from;        /* seconds into the path when it was started */
    int64_t play_us;         /* and the clock then */
    _Atomic int64_t next_us; /* when the clock wants a picture */
    double fps;
} decoder;

static ts_status decoder_open(const ts_source_env *env, const json_t *source, void **state,
                              ts_error *err)
{
    static const char *const top[] = {"decoder", NULL};
    static const char *const keys[] = {"model", "shared", "fps", NULL};
    const json_t *object = json_object_get(source, "decoder");
    const char *model = NULL;
    bool shared = false;
    double fps = 60;
    ts_status st = ts_json_only(source, "source", top, err);
    if (st == TS_OK && !json_is_object(object))
        st = ts_fail(err, TS_E_OPTION, "source.decoder: expected an object");
    if (st == TS_OK)
        st = ts_json_only(object, "source.decoder", keys, err);
    if (st == TS_OK)
        st = ts_json_get_string(object, "source.decoder", "model", &model, err);
    if (st == TS_OK)
        st = model ? ts_name_check("model", model, err)
                   : ts_fail(err, TS_E_OPTION, "source.decoder.model: expected a model's name");
    if (st == TS_OK)
        st = ts_json_get_bool(object, "source.decoder", "shared", &shared, err);
    if (st == TS_OK)
        st = ts_json_get_double(object, "source.decoder", "fps", 1, 240, &fps, err);
    if (st != TS_OK)
        return st;
    decoder *d = calloc(1, sizeof *d);
    if (!d)
        return ts_fail(err, TS_E_NO_MEMORY, "source");
    pthread_mutex_init(&d->lock, NULL);
    d->app = env->app;
    d->stream = env->stream;
    d->fps = fps;
    d->next_us = INT64_MAX;
    snprintf(d->model, sizeof d->model, "%s", model);
    *state = d;
    return TS_OK;
}

static void decoder_close(void *state)
{
    decoder *d = state;
    if (!d)
        return;
    ts_loaded_unref(d->loaded);
    json_decref(d->id);
    free(d->z);
    free(d->path);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

/* Latent vectors for a model of this size; old ones are kept where the size is the same. */
static ts_status resize_locked(decoder *d, int64_t dim, ts_error *err)
{
    if (d->dim == dim)
        return TS_OK;
    float *all = calloc((size_t)dim * 4, sizeof *all);
    if (!all)
        return ts_fail(err, TS_E_NO_MEMORY, "latents");
    free(d->z);
    d->z = all;
    d->base = all + dim;
    d->d1 = all + 2 * dim;
    d->d2 = all + 3 * dim;
    d->dim = dim;
    d->show_grid = d->playing = false;
    d->d1[0] = 1;
    if (dim > 1)
        d->d2[1] = 1;
    return TS_OK;
}

/* The model as the registry has it now. Both threads may look; only the dimension is kept. */
static ts_status learn_dim(decoder *d, ts_error *err)
{
    ts_loaded *loaded;
    ts_status st = d->app->models
                       ? ts_models_get(d->app->models, d->model, &loaded, err)
                       : ts_fail(err, TS_E_NOT_READY, "this server has no device for models");
    if (st != TS_OK)
        return st;
    ts_vae *vae = ts_vae_of(ts_loaded_model(loaded));
    if (!vae || ts_vae_get_info(vae)->spatial) {
        st = ts_fail(err, TS_E_SHAPE, "model %s has no flat latents", d->model);
    } else {
        pthread_mutex_lock(&d->lock);
        bool fresh = !d->dim;
        const ts_vae_info *info = ts_vae_get_info(vae);
        st = resize_locked(d, info->latent_dim, err);
        if (st == TS_OK && fresh && info->components) { /* start where the data's mean is */
            memcpy(d->z, info->mean, (size_t)d->dim * sizeof *d->z);
            memcpy(d->base, info->mean, (size_t)d->dim * sizeof *d->z);
            for (int64_t i = 0; i < d->dim; i++) {
                d->d1[i] = info->std[0] * info->components[i];
                d->d2[i] = info->n_components > 1 ? info->std[1] * info->components[d->dim + i] : 0;
            }
        }
        pthread_mutex_unlock(&d->lock);
    }
    ts_loaded_unref(loaded);
    return st;
}

/* ---- commands ---- */

static float limited(double v)
{
    return (float)(v < -1e3 ? -1e3 : v > 1e3 ? 1e3 : v);
}

/* Numbers of a message's list or of its payload, `n` of them. */
static ts_status numbers(const json_t *list, const void *payload, size_t len, int64_t n, float *out,
                         const char *what, ts_error *err)
{
    size_t have = list ? json_array_size(list) : len / sizeof(float);
    if (have != (size_t)n || (!list && len % sizeof(float)))
        return ts_fail(err, TS_E_SHAPE, "%s has %zu values, want %lld", what, have, (long long)n);
    for (int64_t i = 0; i < n; i++) {
        float v;
        const json_t *e = list ? json_array_get(list, (size_t)i) : NULL;
        if (list)
            v = (float)json_number_value(e);
        else
            memcpy(&v, (const uint8_t *)payload + (size_t)i * sizeof v, sizeof v);
        if ((list && !json_is_number(e)) || !isfinite(v))
            return ts_fail(err, TS_E_OPTION, "%s[%lld] is not a finite number", what, (long long)i);
        out[i] = limited(v);
    }
    return TS_OK;
}

/* A new latent is in place: it replaces one that nobody has decoded yet. */
static void renewed_locked(decoder *d, const json_t *message)
{
    d->superseded += !d->decoded && d->version > 0;
    d->decoded = false;
    d->version++;
    json_decref(d->id);
    d->id = json_incref(json_object_get(message, "id"));
}

static ts_status set_latent_locked(decoder *d, const json_t *m, const void *payload, size_t len,
                                   ts_error *err)
{
    static const char *const kinds[] = {"z", "xy", "grid", "batch", NULL};
    int kind = 0;
    float *values = calloc((size_t)d->dim + 8, sizeof *values);
    const json_t *z = json_object_get(m, "z");
    ts_status st = values ? ts_json_get_enum(m, "", "kind", kinds, &kind, err)
                          : ts_fail(err, TS_E_NO_MEMORY, "latent");
    if (st == TS_OK && kind == 3) {
        /* The last of a batch is what a picture of one latent shows. */
        size_t row = (size_t)d->dim * sizeof(float);
        if (z || len < row || len % row)
            st = ts_fail(err, TS_E_SHAPE, "a batch is f32 [n,%lld]", (long long)d->dim);
        else
            payload = (const uint8_t *)payload + len - row, len = row;
    }
    int64_t want = kind == 1 ? 2 : kind == 2 ? 5 : d->dim;
    if (st == TS_OK)
        st = numbers(z, payload, len, want, values, "z", err);
    if (st == TS_OK && kind == 2) {
        int64_t steps = (int64_t)values[4];
        if (steps < 1 || steps > GRID_MAX)
            st = ts_fail(err, TS_E_OPTION, "a grid of %lld steps, want 1 to %d", (long long)steps,
                         GRID_MAX);
        else
            d->grid = (ts_latent_grid){.x0 = values[0],
                                       .x1 = values[1],
                                       .y0 = values[2],
                                       .y1 = values[3],
                                       .columns = steps,
                                       .rows = steps};
    } else if (st == TS_OK && kind == 1) {
        ts_latent_offset(d->base, d->d1, d->d2, values[0], values[1], d->z, (size_t)d->dim);
    } else if (st == TS_OK) {
        memcpy(d->z, values, (size_t)d->dim * sizeof *d->z);
        if (json_is_true(json_object_get(m, "base")))
            memcpy(d->base, d->z, (size_t)d->dim * sizeof *d->z);
    }
    if (st == TS_OK) {
        d->show_grid = kind == 2;
        d->playing = false;
        d->next_us = INT64_MAX;
        renewed_locked(d, m);
    }
    free(values);
    return st;
}

static ts_status set_directions_locked(decoder *d, const json_t *m, ts_error *err)
{
    static const char *const modes[] = {"axes", "random-orthonormal", "vectors", NULL};
    int mode = 1;
    int64_t seed = 0;
    const json_t *vectors = json_object_get(m, "vectors");
    ts_status st = ts_json_get_enum(m, "", "mode", modes, &mode, err);
    if (st == TS_OK)
        st = ts_json_get_int(m, "", "seed", 0, INT64_MAX - 1, &seed, err);
    if (st != TS_OK)
        return st;
    if (vectors || mode == 2) {
        float *both = calloc((size_t)d->dim * 2, sizeof *both);
        st = both ? numbers(json_array_get(vectors, 0), NULL, 0, d->dim, both, "vectors[0]", err)
                  : ts_fail(err, TS_E_NO_MEMORY, "directions");
        if (st == TS_OK)
            st = numbers(json_array_get(vectors, 1), NULL, 0, d->dim, both + d->dim, "vectors[1]",
                         err);
        if (st == TS_OK)
            memcpy(d->d1, both, (size_t)d->dim * 2 * sizeof *both);
        free(both);
    } else if (mode == 0) {
        memset(d->d1, 0, (size_t)d->dim * 2 * sizeof *d->d1);
        d->d1[0] = 1;
        if (d->dim > 1)
            d->d2[1] = 1;
    } else {
        ts_latent_directions((uint64_t)seed, d->d1, d->d2, (size_t)d->dim);
    }
    return st;
}

static ts_status set_path_locked(decoder *d, const json_t *m, ts_error *err)
{
    static const char *const easings[] = {"linear", "smoothstep", NULL};
    const json_t *points = json_object_get(m, "points");
    size_t n = json_array_size(points);
    int easing = 0;
    bool loop = false;
    double seconds = 2;
    ts_status st = ts_json_get_enum(m, "", "easing", easings, &easing, err);
    if (st == TS_OK)
        st = ts_json_get_bool(m, "", "loop", &loop, err);
    if (st == TS_OK)
        st = ts_json_get_double(m, "", "seconds", 0.01, 3600, &seconds, err);
    if (st == TS_OK && (n < 1 || n > PATH_MAX_POINTS))
        st = ts_fail(err, TS_E_OPTION, "points must be a list of 1 to %d latents", PATH_MAX_POINTS);
    if (st != TS_OK)
        return st;
    float *path = calloc(n * (size_t)d->dim, sizeof *path);
    if (!path)
        return ts_fail(err, TS_E_NO_MEMORY, "path");
    for (size_t i = 0; i < n && st == TS_OK; i++)
        st = numbers(json_array_get(points, i), NULL, 0, d->dim, path + i * (size_t)d->dim,
                     "points", err);
    if (st != TS_OK) {
        free(path);
        return st;
    }
    free(d->path);
    d->path = path;
    d->playing = false;
    d->route = (ts_latent_path){.points = path,
                                .count = n,
                                .n = (size_t)d->dim,
                                .seconds = seconds,
                                .smoothstep = easing == 1,
                                .loop = loop};
    return TS_OK;
}

static ts_status command_locked(decoder *d, const char *type, const json_t *m, const void *payload,
                                size_t len, bool *changed, ts_error *err)
{
    int64_t seed = 0;
    ts_status st = TS_OK;
    *changed = true;
    if (!strcmp(type, "latent"))
        return set_latent_locked(d, m, payload, len, err);
    if (!strcmp(type, "grid")) {
        int64_t steps = 10;
        double range = 2;
        st = ts_json_get_int(m, "", "steps", 1, GRID_MAX, &steps, err);
        if (st == TS_OK)
            st = ts_json_get_double(m, "", "range", 0, 1e3, &range, err);
        if (st == TS_OK) {
            d->grid = ts_latent_square(steps, range);
            d->show_grid = true;
            renewed_locked(d, m);
        }
        return st;
    }
    if (!strcmp(type, "random")) {
        st = ts_json_get_int(m, "", "seed", 0, INT64_MAX, &seed, err);
        if (st == TS_OK) {
            ts_seeded_normal((uint64_t)seed, d->z, (size_t)d->dim);
            d->show_grid = d->playing = false;
            renewed_locked(d, m);
        }
        return st;
    }
    if (!strcmp(type, "path_play") || !strcmp(type, "path_stop")) {
        if (!d->path)
            return ts_fail(err, TS_E_OPTION, "there is no path: send {\"type\":\"path\",…} first");
        d->playing = type[5] == 'p';
        d->show_grid = false;
        d->play_us = ts_now_us();
        d->play_from = 0;
        d->next_us = d->playing ? d->play_us : INT64_MAX;
        return ts_json_get_double(m, "", "t", 0, 1e6, &d->play_from, err);
    }
    *changed = false;
    if (!strcmp(type, "set_base")) {
        const json_t *z = json_object_get(m, "z");
        if (z)
            return numbers(z, NULL, 0, d->dim, d->base, "z", err);
        memcpy(d->base, d->z, (size_t)d->dim * sizeof *d->z);
        return TS_OK;
    }
    if (!strcmp(type, "set_directions"))
        return set_directions_locked(d, m, err);
    if (!strcmp(type, "path"))
        return set_path_locked(d, m, err);
    return ts_fail(err, TS_E_NOT_FOUND, "a decoder does not know messages of type %s", type);
}

static ts_status decoder_command(void *state, const char *type, const json_t *message,
                                 const void *payload, size_t len, json_t **reply, ts_error *err)
{
    decoder *d = state;
    bool changed = false;
    (void)reply;
    ts_status st = learn_dim(d, err);
    if (st != TS_OK)
        return st;
    pthread_mutex_lock(&d->lock);
    st = command_locked(d, type, message, payload, len, &changed, err);
    pthread_mutex_unlock(&d->lock);
    if (st == TS_OK && changed)
        ts_stream_touch(d->stream);
    return st;
}

/* ---- pictures ---- */

static int64_t decoder_due(void *state, int64_t now_us)
{
    decoder *d = state;
    (void)now_us;
    return atomic_load(&d->next_us);
}

/* The latents to show now: one, or a grid of them. Owner: caller frees. */
static float *latents_locked(decoder *d, int64_t *n, int64_t *columns)
{
    if (d->playing) {
        int64_t now = ts_now_us();
        double t = d->play_from + (double)(now - d->play_us) * 1e-6;
        ts_latent_path_at(&d->route, t, d->z);
        bool over = !d->route.loop && t >= ts_latent_path_seconds(&d->route);
        d->playing = !over;
        atomic_store(&d->next_us, over ? INT64_MAX : now + (int64_t)(1e6 / d->fps));
        d->version++;
    } else {
        atomic_store(&d->next_us, INT64_MAX);
    }
    *columns = d->show_grid ? d->grid.columns : 1;
    *n = d->show_grid ? d->grid.columns * d->grid.rows : 1;
    float *z = calloc((size_t)(*n * d->dim), sizeof *z);
    if (!z)
        return NULL;
    if (!d->show_grid)
        memcpy(z, d->z, (size_t)d->dim * sizeof *z);
    for (int64_t i = 0; i < *n && d->show_grid; i++)
        ts_latent_offset(d->base, d->d1, d->d2, ts_latent_grid_x(&d->grid, i % *columns),
                         ts_latent_grid_y(&d->grid, i / *columns), z + i * d->dim, (size_t)d->dim);
    d->decoded = true;
    return z;
}

/* Pictures of a grid put together on the host: [rows*H, columns*W(, C)]. */
static ts_status grid_tensor(ts_vae *vae, ts_queue *queue, const float *z, int64_t n,
                             int64_t columns, ts_tensor **out, ts_error *err)
{
    const int64_t *d = ts_vae_get_info(vae)->image.dim;
    int64_t c = d[0], h = d[1], w = d[2];
    size_t bytes = (size_t)(n * c * h * w);
    uint8_t *u8 = calloc(bytes, 1), *sheet = calloc(bytes, 1);
    ts_status st = u8 && sheet ? ts_vae_decode_u8(vae, z, n, false, u8, err)
                               : ts_fail(err, TS_E_NO_MEMORY, "grid");
    for (int64_t i = 0; i < n * h && st == TS_OK; i++) {
        int64_t k = i / h, y = i % h;
        memcpy(sheet + ((k / columns * h + y) * columns + k % columns) * w * c, u8 + i * w * c,
               (size_t)(w * c));
    }
    ts_shape shape =
        c == 1 ? TS_SHAPE(n / columns * h, columns * w) : TS_SHAPE(n / columns * h, columns * w, c);
    if (st == TS_OK)
        st = ts_tensor_from_host(queue, TS_U8, &shape, sheet, bytes, out, err);
    if (st == TS_OK)
        st = ts_queue_finish(queue, err);
    free(u8);
    free(sheet);
    return st;
}

static ts_status decode(decoder *d, ts_queue *queue, ts_snapshot *out, ts_error *err)
{
    int64_t n = 0, columns = 0;
    pthread_mutex_lock(&d->lock);
    float *z = latents_locked(d, &n, &columns);
    out->entry.version = d->version + 1;
    out->metrics = json_pack("{s:I}", "superseded", (json_int_t)d->superseded);
    if (d->id)
        json_object_set(out->metrics, "id", d->id);
    pthread_mutex_unlock(&d->lock);
    if (!z)
        return ts_fail(err, TS_E_NO_MEMORY, "latents");
    int64_t start = ts_now_us();
    ts_status st = ts_loaded_begin(d->loaded, err);
    if (st == TS_OK) {
        ts_vae *vae = ts_vae_of(ts_loaded_model(d->loaded));
        st = n == 1 ? ts_vae_decode_picture(vae, z, &out->entry.tensor, err)
                    : grid_tensor(vae, queue, z, n, columns, &out->entry.tensor, err);
        if (st == TS_OK)
            ts_loaded_tell_taps(d->loaded, queue, &TS_SHAPE(n, d->dim), z);
        ts_loaded_end(d->loaded);
    }
    json_object_set_new(out->metrics, "decode_ms", json_real((double)(ts_now_us() - start) * 1e-3));
    free(z);
    return st;
}

static ts_status decoder_snapshot(void *state, ts_queue *queue, ts_snapshot *out, ts_error *err)
{
    decoder *d = state;
    ts_error why = {0};
    ts_loaded *now = NULL;
    ts_status st = learn_dim(d, &why);
    if (st == TS_OK)
        st = ts_models_get(d->app->models, d->model, &now, &why);
    ts_loaded_unref(d->loaded); /* a reload or an unload is followed at once */
    d->loaded = now;
    if (st != TS_OK) {
        ts_error_clear(&why);
        atomic_store(&d->next_us, ts_now_us() + LOOK_AGAIN_US);
        memcpy(out->missing, d->model, sizeof d->model);
        return TS_OK;
    }
    snprintf(out->entry.name, sizeof out->entry.name, "%s", d->model);
    out->entry.t = out->t = ts_wall_seconds();
    out->has_t = true;
    return decode(d, queue, out, err);
}

/* Pictures are bytes: black is 0 and white 255, gray ones gray, unless the viewer says otherwise. */
static ts_status decoder_compose(void *state, const json_t *view, json_t **out, ts_error *err)
{
    (void)state;
    json_t *all = view ? json_copy((json_t *)view) : json_object();
    if (all && !json_object_get(all, "normalize"))
        json_object_set_new(all, "normalize",
                            json_pack("{s:s, s:i, s:i}", "mode", "fixed", "lo", 0, "hi", 255));
    if (all && !json_object_get(all, "colormap"))
        json_object_set_new(all, "colormap", json_string("gray"));
    *out = all;
    return all ? TS_OK : ts_fail(err, TS_E_NO_MEMORY, "view");
}

const ts_source_ops ts_source_decoder = {.key = "decoder",
                                         .open = decoder_open,
                                         .close = decoder_close,
                                         .compose = decoder_compose,
                                         .due = decoder_due,
                                         .snapshot = decoder_snapshot,
                                         .command = decoder_command};
