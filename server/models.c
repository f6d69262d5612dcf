#include "server/models.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cl/base/chan.h"
#include "cl/base/clock.h"
#include "cl/base/embed.h"
#include "cl/base/fs.h"
#include "cl/base/log.h"
#include "cl/base/size.h"
#include "cl/base/thread.h"
#include "server/events.h"
#include "server/tar.h"

enum {
    TIMES_KEPT = 128,  /* run times, for the median */
    POLL_US = 1000000, /* how often the repository is looked at */
    MODELS_MAX = 4096
};

struct ts_loaded {
    ts_models *models;
    atomic_int refs, waiting;
    int most_waiting;
    char name[TS_NAME_MAX + 1], version[16];
    ts_queue *queue;
    ts_model *model;
    pthread_mutex_t run_lock; /* guards: the model; times below */
    int64_t begun_us;
    uint64_t runs;
    int32_t times_us[TIMES_KEPT];
};

typedef enum origin {
    FROM_REPOSITORY,
    FROM_BUILTIN,
    FROM_OPTION
} origin;

typedef struct entry {
    char name[TS_NAME_MAX + 1];
    char directory[3072]; /* the model's own folder, versions inside it */
    origin from;
    ts_model_state state;
    char reason[512];
    ts_loaded *loaded; /* NULL unless ready */
    uint64_t loads;
} entry;

/* One who hears of a tap. */
struct ts_tap_watch {
    ts_models *models;
    char model[TS_NAME_MAX + 1], tap[TS_NAME_MAX + 1];
    void (*hear)(void *arg, ts_tensor *tensor);
    void *arg;
    ts_tap_watch *next;
};

enum {
    TAPS_MAX = 64 /* of one run */
};

struct ts_models {
    ts_app *app;
    pthread_mutex_t taps_lock; /* guards: watches; held while they hear, which does not block */
    ts_tap_watch *watches;
    char repository[2048];
    ts_thread *thread;
    ts_chan *stop; /* closed to end the thread */
    pthread_mutex_t
        load_lock; /* one load, unload, upload or removal at a time; before models_lock */
    pthread_mutex_t models_lock; /* guards: entries, n */
    entry **entries;
    size_t n;
    atomic_bool ready;
};

/* ---- a loaded model ---- */

ts_loaded *ts_loaded_ref(ts_loaded *loaded)
{
    if (loaded)
        atomic_fetch_add(&loaded->refs, 1);
    return loaded;
}

void ts_loaded_unref(ts_loaded *loaded)
{
    if (!loaded || atomic_fetch_sub(&loaded->refs, 1) != 1)
        return;
    ts_model_destroy(loaded->model);
    ts_queue_destroy(loaded->queue);
    pthread_mutex_destroy(&loaded->run_lock);
    free(loaded);
}

ts_status ts_loaded_begin(ts_loaded *loaded, ts_error *err)
{
    if (atomic_fetch_add(&loaded->waiting, 1) >= loaded->most_waiting) {
        atomic_fetch_sub(&loaded->waiting, 1);
        return ts_fail(err, TS_E_QUEUE_FULL, "model %s: %d requests wait already", loaded->name,
                       loaded->most_waiting);
    }
    pthread_mutex_lock(&loaded->run_lock);
    atomic_fetch_sub(&loaded->waiting, 1);
    loaded->begun_us = ts_now_us();
    return TS_OK;
}

void ts_loaded_end(ts_loaded *loaded)
{
    int64_t us = ts_now_us() - loaded->begun_us;
    loaded->times_us[loaded->runs++ % TIMES_KEPT] = (int32_t)(us > INT32_MAX ? INT32_MAX : us);
    pthread_mutex_unlock(&loaded->run_lock);
}

ts_model *ts_loaded_model(ts_loaded *loaded)
{
    return loaded->model;
}

const char *ts_loaded_name(const ts_loaded *loaded)
{
    return loaded->name;
}

const char *ts_loaded_version(const ts_loaded *loaded)
{
    return loaded->version;
}

static int by_value(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* Median of the last runs in milliseconds; negative: none yet. */
static double median_ms(ts_loaded *loaded, uint64_t *runs)
{
    int32_t times[TIMES_KEPT];
    pthread_mutex_lock(&loaded->run_lock);
    *runs = loaded->runs;
    size_t n = loaded->runs < TIMES_KEPT ? (size_t)loaded->runs : TIMES_KEPT;
    memcpy(times, loaded->times_us, n * sizeof *times);
    pthread_mutex_unlock(&loaded->run_lock);
    if (!n)
        return -1;
    qsort(times, n, sizeof *times, by_value);
    return times[n / 2] / 1000.0;
}

/* The newest version: the largest all-digits folder, else the directory itself as "1". */
static void pick_version(const char *directory, char *path, size_t len, char version[16])
{
    long best = 0;
    DIR *dir = opendir(directory);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        char *end;
        long v = strtol(e->d_name, &end, 10);
        if (e->d_name[0] >= '1' && e->d_name[0] <= '9' && !*end && strlen(e->d_name) <= 9 &&
            v > best)
            best = v;
    }
    if (dir)
        closedir(dir);
    if (best)
        snprintf(path, len, "%s/%ld", directory, best);
    else
        snprintf(path, len, "%s", directory);
    snprintf(version, 16, "%ld", best ? best : 1);
}

static ts_status open_loaded(ts_models *models, const char *name, const char *directory,
                             ts_loaded **out, ts_error *err)
{
    char path[4096];
    ts_loaded *loaded = calloc(1, sizeof *loaded);
    if (!loaded)
        return ts_fail(err, TS_E_NO_MEMORY, "model");
    pthread_mutex_init(&loaded->run_lock, NULL);
    loaded->refs = 1;
    loaded->models = models;
    loaded->most_waiting = (int)models->app->options.max_queue;
    snprintf(loaded->name, sizeof loaded->name, "%s", name);
    pick_version(directory, path, sizeof path, loaded->version);
    ts_status st = ts_queue_create(models->app->device, name, &loaded->queue, err);
    if (st == TS_OK)
        st = ts_model_load(loaded->queue, path, &loaded->model, err);
    if (st != TS_OK) {
        ts_loaded_unref(loaded);
        return st;
    }
    *out = loaded;
    return TS_OK;
}

/* ---- taps ---- */

ts_status ts_models_watch(ts_models *models, const char *model, const char *tap,
                          void (*hear)(void *arg, ts_tensor *tensor), void *arg, ts_tap_watch **out,
                          ts_error *err)
{
    ts_tap_watch *w = calloc(1, sizeof *w);
    if (!w)
        return ts_fail(err, TS_E_NO_MEMORY, "tap");
    w->models = models;
    w->hear = hear;
    w->arg = arg;
    snprintf(w->model, sizeof w->model, "%s", model);
    snprintf(w->tap, sizeof w->tap, "%s", tap);
    pthread_mutex_lock(&models->taps_lock);
    w->next = models->watches;
    models->watches = w;
    pthread_mutex_unlock(&models->taps_lock);
    *out = w;
    return TS_OK;
}

void ts_models_unwatch(ts_tap_watch *watch)
{
    if (!watch)
        return;
    pthread_mutex_lock(&watch->models->taps_lock);
    for (ts_tap_watch **p = &watch->models->watches; *p; p = &(*p)->next)
        if (*p == watch) {
            *p = watch->next;
            break;
        }
    pthread_mutex_unlock(&watch->models->taps_lock);
    free(watch);
}

/* Names of watched taps that the model has and that are not asked for already; each once. */
static size_t watched_taps(ts_loaded *loaded, const char **names, size_t n, size_t most)
{
    const ts_model_info *info = &loaded->model->info;
    pthread_mutex_lock(&loaded->models->taps_lock);
    for (const ts_tap_watch *w = loaded->models->watches; w && n < most; w = w->next) {
        int tap = ts_port_find(info->taps, info->n_taps, w->tap);
        int output = ts_port_find(info->outputs, info->n_outputs, w->tap);
        const char *name = tap >= 0      ? info->taps[tap].name
                           : output >= 0 ? info->outputs[output].name
                                         : NULL;
        bool taken = !name || strcmp(w->model, loaded->name) != 0;
        for (size_t i = 0; i < n && !taken; i++)
            taken = !strcmp(names[i], name);
        if (!taken)
            names[n++] = name;
    }
    pthread_mutex_unlock(&loaded->models->taps_lock);
    return n;
}

static void tell(ts_loaded *loaded, const char *name, ts_tensor *tensor)
{
    pthread_mutex_lock(&loaded->models->taps_lock);
    for (const ts_tap_watch *w = loaded->models->watches; w; w = w->next)
        if (!strcmp(w->model, loaded->name) && !strcmp(w->tap, name))
            w->hear(w->arg, tensor);
    pthread_mutex_unlock(&loaded->models->taps_lock);
}

ts_status ts_loaded_run(ts_loaded *loaded, const ts_tensor *const *inputs,
                        const char *const *wanted, size_t n_wanted, ts_tensor **outputs,
                        ts_error *err)
{
    const char *names[TAPS_MAX];
    ts_tensor *results[TAPS_MAX] = {0};
    if (n_wanted >= TAPS_MAX)
        return ts_model_run(loaded->model, inputs, wanted, n_wanted, outputs, err);
    for (size_t i = 0; i < n_wanted; i++)
        names[i] = wanted[i];
    size_t n = watched_taps(loaded, names, n_wanted, TAPS_MAX);
    ts_status st = ts_model_run(loaded->model, inputs, names, n, results, err);
    for (size_t i = 0; i < n && st == TS_OK; i++) {
        tell(loaded, names[i], results[i]);
        if (i < n_wanted)
            outputs[i] = results[i];
        else
            ts_tensor_unref(results[i]);
    }
    return st;
}

void ts_loaded_tell_taps(ts_loaded *loaded, ts_queue *queue, const ts_shape *shape,
                         const float *input)
{
    const char *name;
    ts_tensor *tensor = NULL;
    ts_error err = {0};
    if (!watched_taps(loaded, &name, 0, 1))
        return;
    size_t bytes = (size_t)ts_shape_elements(shape) * sizeof *input;
    ts_status st = ts_tensor_from_host(queue, TS_F32, shape, input, bytes, &tensor, &err);
    if (st == TS_OK)
        st = ts_queue_finish(queue, &err);
    if (st == TS_OK)
        st = ts_loaded_run(loaded, (const ts_tensor *const *)&tensor, NULL, 0, NULL, &err);
    if (st != TS_OK)
        ts_log_error(TS_LOG_WARN, "models", "taps", &err);
    ts_tensor_unref(tensor);
    ts_error_clear(&err);
}

/* ---- the table ---- */

static entry *find_locked(ts_models *models, const char *name)
{
    for (size_t i = 0; i < models->n; i++)
        if (!strcmp(models->entries[i]->name, name))
            return models->entries[i];
    return NULL;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(entry *const *)a)->name, (*(entry *const *)b)->name);
}

/* Know of a directory. A repository's model takes the place of a built-in one. */
static ts_status know(ts_models *models, const char *name, const char *directory, origin from,
                      ts_error *err)
{
    ts_status st = TS_OK;
    pthread_mutex_lock(&models->models_lock);
    entry *e = find_locked(models, name);
    if (!e && models->n >= MODELS_MAX)
        st = ts_fail(err, TS_E_LIMIT, "more than %d models", MODELS_MAX);
    if (!e && st == TS_OK) {
        entry **grown = ts_realloc_array(models->entries, models->n + 1, sizeof *grown);
        e = calloc(1, sizeof *e);
        if (grown)
            models->entries = grown;
        if (!grown || !e) {
            free(e);
            st = ts_fail(err, TS_E_NO_MEMORY, "models");
        } else {
            models->entries[models->n++] = e;
            snprintf(e->name, sizeof e->name, "%s", name);
            qsort(models->entries, models->n, sizeof *models->entries, by_name);
        }
    }
    if (st == TS_OK) {
        snprintf(e->directory, sizeof e->directory, "%s", directory);
        e->from = from;
    }
    pthread_mutex_unlock(&models->models_lock);
    return st;
}

static void set_state(ts_models *models, const char *name, ts_model_state state, const char *reason)
{
    static const char *const words[] = {"unavailable", "loading", "ready"};
    pthread_mutex_lock(&models->models_lock);
    entry *e = find_locked(models, name);
    if (e) {
        e->state = state;
        snprintf(e->reason, sizeof e->reason, "%s", reason);
    }
    pthread_mutex_unlock(&models->models_lock);
    if (e)
        ts_events_emit(models->app->events, "state", "model", name,
                       json_pack("{s:s, s:s}", "state", words[state], "reason", reason));
}

/* Swap in what was loaded (NULL: nothing), and drop what was there. */
static void swap_in(ts_models *models, const char *name, ts_loaded *loaded, const char *reason)
{
    ts_loaded *old = NULL;
    pthread_mutex_lock(&models->models_lock);
    entry *e = find_locked(models, name);
    if (e) {
        old = e->loaded;
        e->loaded = loaded;
        e->loads += loaded != NULL;
    }
    pthread_mutex_unlock(&models->models_lock);
    set_state(models, name, loaded ? TS_MODEL_READY : TS_MODEL_UNAVAILABLE, reason);
    ts_loaded_unref(old);
}

/* Load what the entry's directory holds. A failure keeps the version before. */
static ts_status load_entry(ts_models *models, const char *name, ts_error *err)
{
    char directory[3072] = "";
    bool had = false;
    pthread_mutex_lock(&models->models_lock);
    entry *e = find_locked(models, name);
    if (e) {
        memcpy(directory, e->directory, sizeof directory);
        had = e->loaded != NULL;
        if (!had)
            e->state = TS_MODEL_LOADING;
    }
    pthread_mutex_unlock(&models->models_lock);
    if (!e)
        return ts_fail(err, TS_E_NOT_FOUND, "no model named %s", name);
    ts_loaded *loaded = NULL;
    ts_error why = {0};
    int64_t start = ts_now_us();
    ts_status st = open_loaded(models, name, directory, &loaded, &why);
    if (st == TS_OK) {
        swap_in(models, name, loaded, "");
        ts_log(TS_LOG_INFO, "models", "loaded name=%s version=%s ms=%lld", name, loaded->version,
               (long long)((ts_now_us() - start) / 1000));
        return TS_OK;
    }
    ts_log_error(TS_LOG_ERROR, "models", name, &why);
    if (had) /* the version before keeps serving */
        set_state(models, name, TS_MODEL_READY, why.text);
    else
        set_state(models, name, TS_MODEL_UNAVAILABLE, why.text);
    st = ts_fail(err, st, "model %s: %s", name, why.text);
    ts_error_clear(&why);
    return st;
}

/* ---- finding models ---- */

static bool autoload(const char *directory)
{
    char path[4096];
    ts_buf text = {0};
    json_t *doc = NULL;
    bool yes = true;
    snprintf(path, sizeof path, "%s/serving.json", directory);
    if (ts_fs_read(path, 1 << 20, &text, NULL) == TS_OK &&
        ts_json_parse(text.data, text.len, &doc, NULL) == TS_OK)
        yes = !json_is_false(json_object_get(doc, "autoload"));
    json_decref(doc);
    ts_buf_finish(&text);
    return yes;
}

static bool is_directory(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 && S_ISDIR(s.st_mode);
}

/* Whether a folder holds a model that is not being written any more. */
static bool looks_complete(const char *directory)
{
    static const char *const files[] = {"config.json", "model.onnx", "chain.json"};
    char path[4096], version[16], file[4200];
    struct stat s;
    pick_version(directory, path, sizeof path, version);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(file, sizeof file, "%s/%s", path, files[i]);
        if (stat(file, &s) == 0)
            return true;
    }
    return false;
}

static bool is_known(ts_models *models, const char *name)
{
    pthread_mutex_lock(&models->models_lock);
    entry *e = find_locked(models, name);
    bool known = e && e->from != FROM_BUILTIN;
    pthread_mutex_unlock(&models->models_lock);
    return known;
}

/* Load folders of the repository that appeared. */
static void scan_repository(ts_models *models)
{
    DIR *dir = opendir(models->repository);
    for (struct dirent *e; dir && (e = readdir(dir)) && !ts_chan_closed(models->stop);) {
        char path[3072];
        ts_error err = {0};
        int n = snprintf(path, sizeof path, "%s/%s", models->repository, e->d_name);
        if (!ts_name_valid(e->d_name) || n >= (int)sizeof path || !is_directory(path) ||
            is_known(models, e->d_name) || !looks_complete(path))
            continue;
        pthread_mutex_lock(&models->load_lock);
        ts_status st = know(models, e->d_name, path, FROM_REPOSITORY, &err);
        if (st == TS_OK) {
            ts_events_emit(models->app->events, "created", "model", e->d_name, NULL);
            if (autoload(path))
                st = load_entry(models, e->d_name, &err);
            else
                set_state(models, e->d_name, TS_MODEL_UNAVAILABLE, "autoload is off");
        }
        pthread_mutex_unlock(&models->load_lock);
        ts_error_clear(&err);
    }
    if (dir)
        closedir(dir);
}

/* Built-in models lie in the binary: written out once, loaded from there. */
static ts_status write_builtins(ts_models *models, ts_error *err)
{
    ts_status st = TS_OK;
    for (const ts_embedded *f = ts_builtin_files; f->name && st == TS_OK; f++) {
        char path[4096];
        struct stat s;
        size_t len = (size_t)(f->end - f->data);
        snprintf(path, sizeof path, "%s/cache/builtin/%s", models->app->options.data_dir, f->name);
        if (stat(path, &s) == 0 && (size_t)s.st_size == len)
            continue;
        char *slash = strrchr(path, '/');
        *slash = 0;
        st = ts_fs_mkdirs(path, err);
        *slash = '/';
        if (st == TS_OK)
            st = ts_fs_write_atomic(path, f->data, len, err);
    }
    return st;
}

static void load_logged(ts_models *models, const char *name)
{
    ts_error err = {0};
    pthread_mutex_lock(&models->load_lock);
    ts_status st = load_entry(models, name, &err);
    pthread_mutex_unlock(&models->load_lock);
    (void)st; /* load_entry has logged it, and the entry keeps the reason */
    ts_error_clear(&err);
}

static void load_builtins(ts_models *models)
{
    static const char *const names[][2] = {
        {"identity", "identity"}, {"mnist", "mnist-decoder"}, {"photo", "photo-decoder-q4"}};
    ts_error err = {0};
    if (write_builtins(models, &err) != TS_OK) {
        ts_log_error(TS_LOG_ERROR, "models", "built-in models", &err);
        ts_error_clear(&err);
        return;
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[3072];
        snprintf(path, sizeof path, "%s/cache/builtin/%s", models->app->options.data_dir,
                 names[i][1]);
        pthread_mutex_lock(&models->models_lock);
        bool taken = find_locked(models, names[i][0]) != NULL;
        pthread_mutex_unlock(&models->models_lock);
        if (!taken && know(models, names[i][0], path, FROM_BUILTIN, &err) == TS_OK)
            load_logged(models, names[i][0]);
        ts_error_clear(&err);
    }
}

static void load_given(ts_models *models)
{
    const ts_strings *given = &models->app->options.model;
    for (size_t i = 0; i < given->n; i++) {
        char path[3072];
        ts_error err = {0};
        snprintf(path, sizeof path, "%s", given->items[i]);
        size_t len = strlen(path);
        while (len > 1 && path[len - 1] == '/')
            path[--len] = 0;
        const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
        if (ts_name_valid(name) && know(models, name, path, FROM_OPTION, &err) == TS_OK)
            load_logged(models, name);
        else
            ts_log(TS_LOG_ERROR, "models", "--model %s: its last part is not a model name", path);
        ts_error_clear(&err);
    }
}

static void models_main(void *arg)
{
    ts_models *models = arg;
    load_given(models);
    scan_repository(models);
    if (!models->app->options.no_builtin_models && !ts_chan_closed(models->stop))
        load_builtins(models);
    atomic_store(&models->ready, true);
    while (!ts_chan_closed(models->stop)) {
        ts_chan_recv_timeout(models->stop, POLL_US);
        scan_repository(models);
    }
}

ts_status ts_models_create(ts_app *app, ts_models **out, ts_error *err)
{
    ts_models *models = calloc(1, sizeof *models);
    if (!models)
        return ts_fail(err, TS_E_NO_MEMORY, "models");
    models->app = app;
    pthread_mutex_init(&models->load_lock, NULL);
    pthread_mutex_init(&models->models_lock, NULL);
    pthread_mutex_init(&models->taps_lock, NULL);
    snprintf(models->repository, sizeof models->repository, "%s/models", app->options.data_dir);
    ts_status st = ts_fs_mkdirs(models->repository, err);
    if (st == TS_OK)
        st = ts_chan_create(1, TS_CHAN_REJECT, NULL, &models->stop, err);
    if (st == TS_OK)
        st = ts_thread_start("ts-models", models_main, models, &models->thread, err);
    if (st != TS_OK) {
        ts_models_destroy(models);
        return st;
    }
    *out = models;
    return TS_OK;
}

void ts_models_destroy(ts_models *models)
{
    if (!models)
        return;
    if (models->thread) {
        ts_chan_close(models->stop);
        ts_thread_join(models->thread);
    }
    for (size_t i = 0; i < models->n; i++) {
        ts_loaded_unref(models->entries[i]->loaded);
        free(models->entries[i]);
    }
    free(models->entries);
    ts_chan_destroy(models->stop);
    pthread_mutex_destroy(&models->load_lock);
    pthread_mutex_destroy(&models->models_lock);
    pthread_mutex_destroy(&models->taps_lock);
    free(models);
}

bool ts_models_ready(ts_models *models)
{
    return atomic_load(&models->ready);
}

ts_status ts_models_get(ts_models *models, const char *name, ts_loaded **out, ts_error *err)
{
    char reason[512] = "";
    pthread_mutex_lock(&models->models_lock);
    entry *e = find_locked(models, name);
    *out = e ? ts_loaded_ref(e->loaded) : NULL;
    if (e)
        memcpy(reason, e->reason, sizeof reason);
    bool loading = e && e->state == TS_MODEL_LOADING;
    pthread_mutex_unlock(&models->models_lock);
    if (*out)
        return TS_OK;
    if (!e)
        return ts_fail(err, TS_E_NOT_FOUND, "no model named %s", name);
    return ts_fail(err, TS_E_NOT_READY, "model %s has no available versions%s%s", name,
                   loading   ? ": it is loading"
                   : *reason ? ": "
                             : "",
                   loading ? "" : reason);
}

/* ---- describing ---- */

static json_t *shape_json(const ts_shape *shape)
{
    json_t *list = json_array();
    for (int d = 0; d < shape->rank; d++)
        json_array_append_new(list, json_integer(shape->dim[d]));
    return list;
}

static json_t *ports_json(const ts_port *ports, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_pack("{s:s, s:s, s:o}", "name", ports[i].name, "dtype",
                                              ts_dtype_name(ports[i].dtype), "shape",
                                              shape_json(&ports[i].shape)));
    return list;
}

/* A copy of what the table says of a model, and a reference to what is loaded. */
typedef struct view {
    entry e;
    ts_loaded *loaded;
} view;

static json_t *view_json(const view *v, bool whole)
{
    static const char *const states[] = {"UNAVAILABLE", "LOADING", "READY"};
    static const char *const origins[] = {"repository", "builtin", "option"};
    json_t *o = json_pack("{s:s, s:s, s:s, s:s}", "name", v->e.name, "state", states[v->e.state],
                          "reason", v->e.reason, "origin", origins[v->e.from]);
    if (!v->loaded) {
        json_object_set_new(o, "version", json_null());
        return o;
    }
    const ts_model_info *info = &v->loaded->model->info;
    uint64_t runs;
    double ms = median_ms(v->loaded, &runs);
    json_object_set_new(o, "version", json_string(v->loaded->version));
    json_object_set_new(o, "kind", json_string(info->kind));
    json_object_set_new(o, "architecture", json_string(info->kind));
    json_object_set_new(o, "platform", json_string(info->platform));
    json_object_set_new(o, "parameters", json_integer((json_int_t)info->parameters));
    json_object_set_new(o, "device_bytes", json_integer((json_int_t)info->device_bytes));
    json_object_set_new(o, "runs", json_integer((json_int_t)runs));
    json_object_set_new(o, "ms_p50", ms < 0 ? json_null() : json_real(ms));
    json_object_set_new(o, "inputs", ports_json(info->inputs, info->n_inputs));
    json_object_set_new(o, "outputs", ports_json(info->outputs, info->n_outputs));
    json_object_set_new(o, "taps", json_integer((json_int_t)info->n_taps));
    if (whole && info->config)
        json_object_set(o, "config", info->config);
    return o;
}

json_t *ts_models_list(ts_models *models, const char *prefix)
{
    json_t *list = json_array();
    for (size_t i = 0;; i++) {
        view v = {0};
        bool end;
        pthread_mutex_lock(&models->models_lock);
        end = i >= models->n;
        if (!end) {
            v.e = *models->entries[i];
            v.loaded = ts_loaded_ref(models->entries[i]->loaded);
        }
        pthread_mutex_unlock(&models->models_lock);
        if (end)
            return list;
        if (!prefix || !strncmp(v.e.name, prefix, strlen(prefix)))
            json_array_append_new(list, view_json(&v, false));
        ts_loaded_unref(v.loaded);
    }
}

ts_status ts_models_describe(ts_models *models, const char *name, json_t **out, ts_error *err)
{
    view v = {0};
    pthread_mutex_lock(&models->models_lock);
    entry *e = find_locked(models, name);
    if (e) {
        v.e = *e;
        v.loaded = ts_loaded_ref(e->loaded);
    }
    pthread_mutex_unlock(&models->models_lock);
    if (!e)
        return ts_fail(err, TS_E_NOT_FOUND, "no model named %s", name);
    *out = view_json(&v, true);
    ts_loaded_unref(v.loaded);
    return TS_OK;
}

/* ---- changing ---- */

static bool in_repository(const ts_models *models, const char *name, char *path, size_t len)
{
    int n = snprintf(path, len, "%s/%s", models->repository, name);
    return n < (int)len && is_directory(path);
}

ts_status ts_models_load(ts_models *models, const char *name, const json_t *serving, ts_error *err)
{
    char path[3072];
    (void)serving;
    ts_status st = TS_OK;
    pthread_mutex_lock(&models->load_lock);
    if (in_repository(models, name, path, sizeof path))
        st = know(models, name, path, FROM_REPOSITORY, err);
    if (st == TS_OK)
        st = load_entry(models, name, err);
    pthread_mutex_unlock(&models->load_lock);
    return st;
}

ts_status ts_models_unload(ts_models *models, const char *name, ts_error *err)
{
    pthread_mutex_lock(&models->load_lock);
    pthread_mutex_lock(&models->models_lock);
    bool known = find_locked(models, name) != NULL;
    pthread_mutex_unlock(&models->models_lock);
    if (known)
        swap_in(models, name, NULL, "unloaded");
    pthread_mutex_unlock(&models->load_lock);
    return known ? TS_OK : ts_fail(err, TS_E_NOT_FOUND, "no model named %s", name);
}

/* The folder of the unpacked files that is the model: the top, or the only folder in it. */
static void model_root(char *path, size_t len)
{
    if (looks_complete(path))
        return;
    char only[512] = "";
    int folders = 0;
    DIR *dir = opendir(path);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        if (e->d_name[0] == '.')
            continue;
        folders++;
        snprintf(only, sizeof only, "%s", e->d_name);
    }
    if (dir)
        closedir(dir);
    size_t at = strlen(path);
    if (folders == 1 && at + strlen(only) + 2 < len) {
        snprintf(path + at, len - at, "/%s", only);
        if (!is_directory(path))
            path[at] = 0;
    }
}

/* Put `from` in the place of `to`; what was there goes to `aside`, and comes back on failure. */
static ts_status replace_directory(const char *from, const char *to, const char *aside,
                                   ts_error *err)
{
    bool had = is_directory(to);
    if (had && rename(to, aside) != 0)
        return ts_fail_errno(err, errno, "replacing the model's directory");
    if (rename(from, to) == 0)
        return TS_OK;
    int e = errno;
    if (had && rename(aside, to) != 0)
        ts_log(TS_LOG_ERROR, "models", "the old version of %s is in %s", to, aside);
    return ts_fail_errno(err, e, "putting the model's directory in place");
}

static ts_status put_locked(ts_models *models, const char *name, const char *tar_path,
                            const char *work, bool *created, ts_error *err)
{
    char from[3072], to[3072], aside[3072];
    ts_loaded *trial = NULL;
    snprintf(from, sizeof from, "%s/new", work);
    snprintf(aside, sizeof aside, "%s/old", work);
    snprintf(to, sizeof to, "%s/%s", models->repository, name);
    ts_status st = ts_fs_mkdirs(from, err);
    if (st == TS_OK)
        st = ts_tar_unpack(tar_path, from, err);
    if (st == TS_OK) {
        model_root(from, sizeof from);
        st = open_loaded(models, name, from, &trial, err);
    }
    if (st != TS_OK)
        return st;
    ts_loaded_unref(trial); /* it was of the temporary place */
    *created = !is_known(models, name);
    st = replace_directory(from, to, aside, err);
    if (st == TS_OK)
        st = know(models, name, to, FROM_REPOSITORY, err);
    return st == TS_OK ? load_entry(models, name, err) : st;
}

ts_status ts_models_put(ts_models *models, const char *name, const char *tar_path, bool *created,
                        ts_error *err)
{
    char work[3000];
    ts_error ignored = {0};
    ts_status st = ts_name_check("model", name, err);
    if (st != TS_OK)
        return st;
    pthread_mutex_lock(&models->load_lock);
    snprintf(work, sizeof work, "%s/tmp/model-%llx", models->app->options.data_dir,
             (unsigned long long)ts_now_us());
    st = put_locked(models, name, tar_path, work, created, err);
    if (ts_fs_remove(work, &ignored) != TS_OK)
        ts_log_error(TS_LOG_WARN, "models", "temporary files", &ignored);
    pthread_mutex_unlock(&models->load_lock);
    ts_error_clear(&ignored);
    if (st == TS_OK)
        ts_events_emit(models->app->events, *created ? "created" : "changed", "model", name, NULL);
    return st;
}

ts_status ts_models_delete(ts_models *models, const char *name, ts_error *err)
{
    char path[3072];
    ts_status st = TS_OK;
    entry *gone = NULL;
    pthread_mutex_lock(&models->load_lock);
    pthread_mutex_lock(&models->models_lock);
    for (size_t i = 0; i < models->n && !gone; i++) {
        if (strcmp(models->entries[i]->name, name))
            continue;
        gone = models->entries[i];
        memmove(&models->entries[i], &models->entries[i + 1],
                (--models->n - i) * sizeof *models->entries);
    }
    pthread_mutex_unlock(&models->models_lock);
    if (!gone)
        st = ts_fail(err, TS_E_NOT_FOUND, "no model named %s", name);
    else if (gone->from == FROM_REPOSITORY && in_repository(models, name, path, sizeof path))
        st = ts_fs_remove(path, err);
    pthread_mutex_unlock(&models->load_lock);
    if (gone) {
        ts_loaded_unref(gone->loaded);
        ts_events_emit(models->app->events, "deleted", "model", name, NULL);
    }
    free(gone);
    return st;
}
