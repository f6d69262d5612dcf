#include "server/runs.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/clock.h"
#include "cl/base/size.h"

typedef struct scalar {
    char key[TS_NAME_MAX + 1];
    char tensor[TS_NAME_MAX + 1];
    ts_buffer *buffer; /* room for `cap` values */
    size_t n, cap;
    int64_t *steps;
    double *values; /* a copy for GET …/scalars */
} scalar;

typedef struct run {
    struct run *next;
    char name[TS_NAME_MAX + 1];
    double created;
    json_t *tags, *config;
    bool has_step;
    int64_t step;
    scalar *scalars;
    size_t n_scalars;
} run;

struct ts_runs {
    ts_store *store;
    /* Held over the few bytes that an append writes to the device: appends have to be in order. */
    pthread_mutex_t runs_lock; /* guards: first, count and all that hangs on them */
    run *first;
    size_t count;
};

static void free_scalar(scalar *s)
{
    ts_buffer_unref(s->buffer);
    free(s->steps);
    free(s->values);
}

static void free_run(run *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->n_scalars; i++)
        free_scalar(&r->scalars[i]);
    free(r->scalars);
    json_decref(r->tags);
    json_decref(r->config);
    free(r);
}

ts_status ts_runs_create(ts_store *store, ts_runs **out, ts_error *err)
{
    ts_runs *runs = calloc(1, sizeof *runs);
    if (!runs)
        return ts_fail(err, TS_E_NO_MEMORY, "runs");
    runs->store = store;
    pthread_mutex_init(&runs->runs_lock, NULL);
    *out = runs;
    return TS_OK;
}

void ts_runs_destroy(ts_runs *runs)
{
    if (!runs)
        return;
    while (runs->first) {
        run *r = runs->first;
        runs->first = r->next;
        free_run(r);
    }
    pthread_mutex_destroy(&runs->runs_lock);
    free(runs);
}

static run *find_locked(ts_runs *runs, const char *name)
{
    run *r = runs->first;
    while (r && strcmp(r->name, name) != 0)
        r = r->next;
    return r;
}

static ts_status add_locked(ts_runs *runs, const char *name, const json_t *tags,
                            const json_t *config, run **out, ts_error *err)
{
    if (runs->count >= TS_RUNS_MAX)
        return ts_fail(err, TS_E_LIMIT, "there are %d runs already", TS_RUNS_MAX);
    run *r = calloc(1, sizeof *r);
    if (!r)
        return ts_fail(err, TS_E_NO_MEMORY, "run");
    snprintf(r->name, sizeof r->name, "%s", name);
    r->created = ts_wall_seconds();
    r->tags = tags ? json_deep_copy(tags) : json_object();
    r->config = config ? json_deep_copy(config) : json_object();
    r->next = runs->first;
    runs->first = r;
    runs->count++;
    *out = r;
    return TS_OK;
}

ts_status ts_runs_add(ts_runs *runs, const char *name, const json_t *tags, const json_t *config,
                      ts_error *err)
{
    ts_status st = ts_name_check("run", name, err);
    if (st != TS_OK)
        return st;
    run *r;
    pthread_mutex_lock(&runs->runs_lock);
    st = find_locked(runs, name) ? ts_fail(err, TS_E_EXISTS, "run %s exists", name)
                                 : add_locked(runs, name, tags, config, &r, err);
    pthread_mutex_unlock(&runs->runs_lock);
    return st;
}

ts_status ts_runs_remove(ts_runs *runs, const char *name, ts_error *err)
{
    pthread_mutex_lock(&runs->runs_lock);
    run **link = &runs->first;
    while (*link && strcmp((*link)->name, name) != 0)
        link = &(*link)->next;
    run *r = *link;
    if (r) {
        *link = r->next;
        runs->count--;
    }
    pthread_mutex_unlock(&runs->runs_lock);
    if (!r)
        return ts_fail(err, TS_E_NOT_FOUND, "no run %s", name);
    for (size_t i = 0; i < r->n_scalars; i++) {
        ts_error gone = {0}; /* somebody may have removed it before */
        if (ts_store_remove(runs->store, r->scalars[i].tensor, &gone) != TS_OK)
            ts_error_clear(&gone);
    }
    free_run(r);
    return TS_OK;
}

/* ---- appending ---- */

static ts_status read_value(const char *key, const json_t *value, double *out, ts_error *err)
{
    const char *text = json_string_value(value);
    if (json_is_number(value))
        *out = json_number_value(value);
    else if (text && strcmp(text, "NaN") == 0)
        *out = NAN;
    else if (text && strcmp(text, "Infinity") == 0)
        *out = INFINITY;
    else if (text && strcmp(text, "-Infinity") == 0)
        *out = -INFINITY;
    else
        return ts_fail(err, TS_E_OPTION, "values.%.60s: expected a number", key);
    return TS_OK;
}

static scalar *find_scalar(run *r, const char *key)
{
    for (size_t i = 0; i < r->n_scalars; i++)
        if (strcmp(r->scalars[i].key, key) == 0)
            return &r->scalars[i];
    return NULL;
}

static ts_status add_scalar(run *r, const char *key, scalar **out, ts_error *err)
{
    scalar s = {0};
    ts_status st = ts_name_check("scalar", key, err);
    if (st != TS_OK)
        return st;
    int len = snprintf(s.tensor, sizeof s.tensor, "%s.%s", r->name, key);
    if (len < 0 || (size_t)len >= sizeof s.tensor)
        return ts_fail(err, TS_E_NAME, "%s.%s is longer than %d characters", r->name, key,
                       TS_NAME_MAX);
    if (r->n_scalars == TS_RUN_MAX_SCALARS)
        return ts_fail(err, TS_E_LIMIT, "run %s has %d scalars already", r->name,
                       TS_RUN_MAX_SCALARS);
    snprintf(s.key, sizeof s.key, "%s", key);
    scalar *grown = ts_realloc_array(r->scalars, r->n_scalars + 1, sizeof *grown);
    if (!grown)
        return ts_fail(err, TS_E_NO_MEMORY, "scalar");
    r->scalars = grown;
    grown[r->n_scalars] = s;
    *out = &grown[r->n_scalars++];
    return TS_OK;
}

static ts_status grow_host(scalar *s, size_t cap, ts_error *err)
{
    int64_t *steps = ts_realloc_array(s->steps, cap, sizeof *steps);
    if (steps)
        s->steps = steps;
    double *values = ts_realloc_array(s->values, cap, sizeof *values);
    if (values)
        s->values = values;
    return steps && values ? TS_OK : ts_fail(err, TS_E_NO_MEMORY, "scalar %s", s->tensor);
}

/* Room for one more value, on the host and on the device. */
static ts_status make_room(scalar *s, ts_queue *queue, ts_error *err)
{
    if (s->n < s->cap)
        return TS_OK;
    if (s->n == TS_RUN_MAX_POINTS)
        return ts_fail(err, TS_E_LIMIT, "scalar %s has %d values already", s->tensor,
                       TS_RUN_MAX_POINTS);
    size_t cap = s->cap ? s->cap * 2 : 64;
    ts_buffer *buffer = NULL;
    ts_status st = grow_host(s, cap, err);
    if (st == TS_OK)
        st = ts_buffer_create(ts_queue_device(queue), cap * sizeof(double), &buffer, err);
    if (st == TS_OK && s->n)
        st = ts_buffer_write(queue, buffer, 0, s->values, s->n * sizeof(double), err);
    if (st != TS_OK) {
        ts_buffer_unref(buffer);
        return st;
    }
    ts_buffer_unref(s->buffer);
    s->buffer = buffer;
    s->cap = cap;
    return TS_OK;
}

/* Write the value behind the others, and make the tensor that covers it too. */
static ts_status write_value(scalar *s, ts_queue *queue, double value, ts_tensor **out,
                             ts_error *err)
{
    ts_status st = make_room(s, queue, err);
    if (st == TS_OK)
        st = ts_buffer_write(queue, s->buffer, s->n * sizeof value, &value, sizeof value, err);
    if (st == TS_OK)
        st = ts_tensor_wrap(s->buffer, 0, TS_F64, &TS_SHAPE((int64_t)s->n + 1), out, err);
    return st;
}

typedef struct batch {
    size_t n;
    scalar **scalars;
    const char **names;
    ts_tensor **tensors;
    double *values;
} batch;

static void batch_finish(batch *b)
{
    for (size_t i = 0; b->tensors && i < b->n; i++)
        ts_tensor_unref(b->tensors[i]);
    free(b->scalars);
    free(b->names);
    free(b->tensors);
    free(b->values);
}

static ts_status batch_make(batch *b, size_t n, ts_error *err)
{
    *b = (batch){.n = n,
                 .scalars = calloc(n + 1, sizeof(scalar *)),
                 .names = calloc(n + 1, sizeof(char *)),
                 .tensors = calloc(n + 1, sizeof(ts_tensor *)),
                 .values = calloc(n + 1, sizeof(double))};
    if (b->scalars && b->names && b->tensors && b->values)
        return TS_OK;
    return ts_fail(err, TS_E_NO_MEMORY, "scalars");
}

/* Everything that can be wrong is found before the first value counts. */
static ts_status batch_fill(batch *b, run *r, ts_queue *queue, const json_t *values, ts_error *err)
{
    const char *key;
    json_t *value;
    size_t i = 0;
    ts_status st = TS_OK;
    scalar *s;
    json_object_foreach((json_t *)values, key, value)
    {
        st = read_value(key, value, &b->values[i++], err);
        if (st == TS_OK && !find_scalar(r, key))
            st = add_scalar(r, key, &s, err); /* moves the others: look them up afterwards */
        if (st != TS_OK)
            return st;
    }
    i = 0;
    json_object_foreach((json_t *)values, key, value)
    {
        s = b->scalars[i] = find_scalar(r, key);
        b->names[i] = s->tensor;
        st = write_value(s, queue, b->values[i], &b->tensors[i], err);
        i++;
        if (st != TS_OK)
            return st;
    }
    return TS_OK;
}

static void batch_count(const batch *b, run *r, int64_t step)
{
    for (size_t i = 0; i < b->n; i++) {
        scalar *s = b->scalars[i];
        s->steps[s->n] = step;
        s->values[s->n++] = b->values[i];
    }
    r->step = r->has_step && r->step > step ? r->step : step;
    r->has_step = true;
}

static json_t *names_json(const batch *b)
{
    json_t *out = json_array();
    for (size_t i = 0; i < b->n; i++)
        json_array_append_new(out, json_string(b->names[i]));
    return out;
}

static ts_status append_locked(ts_runs *runs, run *r, ts_queue *queue, const int64_t *step,
                               const json_t *values, json_t **tensors, ts_error *err)
{
    int64_t at = step ? *step : r->has_step ? r->step + 1 : 0;
    batch b;
    ts_status st = batch_make(&b, json_object_size(values), err);
    if (st == TS_OK)
        st = batch_fill(&b, r, queue, values, err);
    if (st == TS_OK)
        st = ts_store_publish_all(
            runs->store, b.n, b.names, b.tensors,
            &(ts_publish_options){.has_step = true, .step = at, .run = r->name}, NULL, err);
    if (st == TS_OK) {
        batch_count(&b, r, at);
        *tensors = names_json(&b);
    }
    batch_finish(&b);
    return st;
}

static bool any_tensor_of(ts_runs *runs, const char *name)
{
    ts_entry *list = NULL;
    size_t n = 0;
    ts_error ignored = {0};
    if (ts_store_list(runs->store, NULL, name, &list, &n, &ignored) != TS_OK)
        ts_error_clear(&ignored);
    ts_entries_free(list, n);
    return n > 0;
}

ts_status ts_runs_append(ts_runs *runs, ts_queue *queue, const char *name, const int64_t *step,
                         const json_t *values, json_t **tensors, ts_error *err)
{
    if (!json_is_object(values) || json_object_size(values) == 0)
        return ts_fail(err, TS_E_OPTION, "values: expected an object of numbers");
    ts_status st = ts_name_check("run", name, err);
    if (st != TS_OK)
        return st;
    bool implied = any_tensor_of(runs, name);
    pthread_mutex_lock(&runs->runs_lock);
    run *r = find_locked(runs, name);
    if (!r)
        st = implied ? add_locked(runs, name, NULL, NULL, &r, err)
                     : ts_fail(err, TS_E_NOT_FOUND, "no run %s", name);
    if (st == TS_OK)
        st = append_locked(runs, r, queue, step, values, tensors, err);
    pthread_mutex_unlock(&runs->runs_lock);
    return st;
}

/* ---- reading ---- */

static json_t *run_json_locked(const run *r)
{
    json_t *scalars = json_array();
    for (size_t i = 0; i < r->n_scalars; i++)
        if (r->scalars[i].n)
            json_array_append_new(scalars, json_string(r->scalars[i].key));
    json_t *out = json_pack("{s:s,s:f,s:O,s:O,s:o}", "name", r->name, "created", r->created, "tags",
                            r->tags, "config", r->config, "scalars", scalars);
    if (out && r->has_step)
        json_object_set_new(out, "step", json_integer(r->step));
    return out;
}

/* Count a tensor for its run; a run that nobody added is shown as well. */
static void count_tensor(json_t *table, const ts_entry *e)
{
    json_t *r = json_object_get(table, e->run);
    if (!r) {
        r = json_pack("{s:s,s:{},s:{},s:[]}", "name", e->run, "tags", "config", "scalars");
        json_object_set_new(table, e->run, r);
    }
    json_int_t n = json_integer_value(json_object_get(r, "tensors"));
    const json_t *step = json_object_get(r, "step");
    json_object_set_new(r, "tensors", json_integer(n + 1));
    if (!step || json_integer_value(step) < e->step)
        json_object_set_new(r, "step", json_integer(e->step));
}

/* {name: run} of all runs. */
static ts_status collect(ts_runs *runs, json_t **out, ts_error *err)
{
    ts_entry *list;
    size_t n;
    ts_status st = ts_store_list(runs->store, NULL, NULL, &list, &n, err);
    if (st != TS_OK)
        return st;
    json_t *table = json_object();
    pthread_mutex_lock(&runs->runs_lock);
    for (const run *r = runs->first; r; r = r->next) {
        json_t *object = run_json_locked(r);
        json_object_set_new(object, "tensors", json_integer(0));
        json_object_set_new(table, r->name, object);
    }
    pthread_mutex_unlock(&runs->runs_lock);
    for (size_t i = 0; i < n; i++)
        if (list[i].run[0])
            count_tensor(table, &list[i]);
    ts_entries_free(list, n);
    *out = table;
    return TS_OK;
}

ts_status ts_runs_get(ts_runs *runs, const char *name, json_t **out, ts_error *err)
{
    json_t *table;
    ts_status st = collect(runs, &table, err);
    if (st != TS_OK)
        return st;
    *out = json_incref(json_object_get(table, name));
    json_decref(table);
    return *out ? TS_OK : ts_fail(err, TS_E_NOT_FOUND, "no run %.140s", name);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

ts_status ts_runs_list(ts_runs *runs, const char *prefix, json_t **out, ts_error *err)
{
    json_t *table, *value;
    const char *key;
    ts_status st = collect(runs, &table, err);
    if (st != TS_OK)
        return st;
    const char **names = calloc(json_object_size(table) + 1, sizeof *names);
    size_t n = 0;
    json_object_foreach(table, key, value)
    {
        if (names && (!prefix || strncmp(key, prefix, strlen(prefix)) == 0))
            names[n++] = key;
    }
    if (n)
        qsort(names, n, sizeof *names, by_name);
    *out = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append(*out, json_object_get(table, names[i]));
    free(names);
    json_decref(table);
    return TS_OK;
}

static json_t *scalar_json(const scalar *s)
{
    json_t *steps = json_array(), *values = json_array();
    for (size_t i = 0; i < s->n; i++) {
        json_array_append_new(steps, json_integer(s->steps[i]));
        json_array_append_new(values, ts_json_double(s->values[i]));
    }
    return json_pack("{s:o,s:o}", "steps", steps, "values", values);
}

ts_status ts_runs_scalars(ts_runs *runs, const char *name, const char *key, json_t **out,
                          ts_error *err)
{
    json_t *object = json_object();
    pthread_mutex_lock(&runs->runs_lock);
    const run *r = find_locked(runs, name);
    for (size_t i = 0; r && i < r->n_scalars; i++)
        if (r->scalars[i].n && (!key || strcmp(key, r->scalars[i].key) == 0))
            json_object_set_new(object, r->scalars[i].key, scalar_json(&r->scalars[i]));
    pthread_mutex_unlock(&runs->runs_lock);
    if (!r || (key && !json_object_size(object))) {
        json_decref(object);
        if (!r)
            return ts_fail(err, TS_E_NOT_FOUND, "no run %.140s", name);
        return ts_fail(err, TS_E_NOT_FOUND, "run %.140s has no scalar %.140s", name, key);
    }
    *out = object;
    return TS_OK;
}
