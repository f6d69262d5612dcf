#include "server/metrics.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/hash.h"

enum {
    BUCKETS = 16,
    HOOKS = 16,
    MAX_SERIES = 20000 /* labels come from names; a flood of them must not eat the memory */
};

static const double bounds[BUCKETS] = {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025,
                                       0.05,   0.1,     0.25,   0.5,   1,      2.5,   5,    10};

typedef enum metric_kind {
    COUNTER,
    GAUGE,
    HISTOGRAM
} metric_kind;

static const struct metric_def {
    metric_kind kind;
    const char *name, *labels, *help;
} defs[TS_METRIC_COUNT] = {
#define METRIC(kind, name, labels, help) {kind, #name, labels, help},
#include "server/metrics.def"
#undef METRIC
};

typedef struct series {
    char *labels;
    double value; /* or the sum */
    uint64_t count, buckets[BUCKETS];
} series;

typedef struct family {
    series **items; /* open addressing, power of two; pointers so that growing moves little */
    size_t n, cap;
} family;

struct ts_metrics {
    pthread_mutex_t metrics_lock; /* guards families, n_series, hooks */
    family families[TS_METRIC_COUNT];
    size_t n_series;
    struct {
        void (*collect)(void *arg);
        void *arg;
    } hooks[HOOKS];
    int n_hooks;
};

ts_status ts_metrics_create(ts_metrics **out, ts_error *err)
{
    *out = calloc(1, sizeof **out);
    if (!*out)
        return ts_fail(err, TS_E_NO_MEMORY, "metrics");
    pthread_mutex_init(&(*out)->metrics_lock, NULL);
    return TS_OK;
}

void ts_metrics_destroy(ts_metrics *metrics)
{
    if (!metrics)
        return;
    for (int m = 0; m < TS_METRIC_COUNT; m++) {
        for (size_t i = 0; i < metrics->families[m].cap; i++) {
            series *one = metrics->families[m].items[i];
            if (one)
                free(one->labels);
            free(one);
        }
        free(metrics->families[m].items);
    }
    pthread_mutex_destroy(&metrics->metrics_lock);
    free(metrics);
}

static series **slot_of(const family *f, const char *labels)
{
    size_t at = (size_t)ts_fnv1a(TS_FNV_SEED, labels, strlen(labels)) & (f->cap - 1);
    while (f->items[at] && strcmp(f->items[at]->labels, labels) != 0)
        at = (at + 1) & (f->cap - 1);
    return &f->items[at];
}

static bool grow(family *f)
{
    family bigger = {.cap = f->cap ? f->cap * 2 : 8, .n = f->n};
    bigger.items = calloc(bigger.cap, sizeof(series *));
    if (!bigger.items)
        return false;
    for (size_t i = 0; i < f->cap; i++)
        if (f->items[i])
            *slot_of(&bigger, f->items[i]->labels) = f->items[i];
    free(f->items);
    *f = bigger;
    return true;
}

static series *find_locked(ts_metrics *metrics, ts_metric metric, const char *labels, bool add)
{
    family *f = &metrics->families[metric];
    labels = labels ? labels : "";
    if (f->cap) {
        series *found = *slot_of(f, labels);
        if (found)
            return found;
    }
    if (!add || metrics->n_series >= MAX_SERIES || (2 * f->n >= f->cap && !grow(f)))
        return NULL;
    series *one = calloc(1, sizeof *one);
    char *copy = strdup(labels);
    if (!one || !copy) {
        free(one);
        free(copy);
        return NULL;
    }
    one->labels = copy;
    *slot_of(f, labels) = one;
    f->n++;
    metrics->n_series++;
    return one;
}

void ts_metrics_add(ts_metrics *metrics, ts_metric metric, const char *labels, double delta)
{
    if (!metrics)
        return;
    pthread_mutex_lock(&metrics->metrics_lock);
    series *one = find_locked(metrics, metric, labels, true);
    if (one)
        one->value += delta;
    pthread_mutex_unlock(&metrics->metrics_lock);
}

void ts_metrics_set(ts_metrics *metrics, ts_metric metric, const char *labels, double value)
{
    if (!metrics)
        return;
    pthread_mutex_lock(&metrics->metrics_lock);
    series *one = find_locked(metrics, metric, labels, true);
    if (one)
        one->value = value;
    pthread_mutex_unlock(&metrics->metrics_lock);
}

void ts_metrics_observe(ts_metrics *metrics, ts_metric metric, const char *labels, double seconds)
{
    if (!metrics)
        return;
    pthread_mutex_lock(&metrics->metrics_lock);
    series *one = find_locked(metrics, metric, labels, true);
    if (one) {
        one->value += seconds;
        one->count++;
        for (int i = 0; i < BUCKETS; i++)
            if (seconds <= bounds[i]) {
                one->buckets[i]++;
                break;
            }
    }
    pthread_mutex_unlock(&metrics->metrics_lock);
}

void ts_metrics_forget(ts_metrics *metrics, ts_metric metric, const char *labels)
{
    if (!metrics)
        return;
    pthread_mutex_lock(&metrics->metrics_lock);
    family *f = &metrics->families[metric];
    series *one = f->cap ? *slot_of(f, labels) : NULL;
    if (one) {
        *slot_of(f, labels) = NULL;
        free(one->labels);
        free(one);
        f->n--;
        metrics->n_series--;
        /* Open addressing: what was probed past the hole must be put back. */
        for (size_t i = 0; i < f->cap; i++) {
            series *other = f->items[i];
            if (other) {
                f->items[i] = NULL;
                *slot_of(f, other->labels) = other;
            }
        }
    }
    pthread_mutex_unlock(&metrics->metrics_lock);
}

void ts_metrics_clear(ts_metrics *metrics, ts_metric metric)
{
    if (!metrics)
        return;
    pthread_mutex_lock(&metrics->metrics_lock);
    family *f = &metrics->families[metric];
    for (size_t i = 0; i < f->cap; i++) {
        if (!f->items[i])
            continue;
        free(f->items[i]->labels);
        free(f->items[i]);
        f->items[i] = NULL;
    }
    metrics->n_series -= f->n;
    f->n = 0;
    pthread_mutex_unlock(&metrics->metrics_lock);
}

void ts_metrics_each(ts_metrics *metrics, ts_metric metric,
                     void (*visit)(void *arg, const char *labels, double value), void *arg)
{
    pthread_mutex_lock(&metrics->metrics_lock);
    const family *f = &metrics->families[metric];
    for (size_t i = 0; i < f->cap; i++)
        if (f->items[i])
            visit(arg, f->items[i]->labels, f->items[i]->value);
    pthread_mutex_unlock(&metrics->metrics_lock);
}

void ts_metrics_on_scrape(ts_metrics *metrics, void (*collect)(void *arg), void *arg)
{
    if (!metrics)
        return;
    pthread_mutex_lock(&metrics->metrics_lock);
    if (metrics->n_hooks < HOOKS) {
        metrics->hooks[metrics->n_hooks].collect = collect;
        metrics->hooks[metrics->n_hooks++].arg = arg;
    }
    pthread_mutex_unlock(&metrics->metrics_lock);
}

double ts_metrics_value(ts_metrics *metrics, ts_metric metric, const char *labels)
{
    pthread_mutex_lock(&metrics->metrics_lock);
    series *one = find_locked(metrics, metric, labels, false);
    double value = one ? one->value : 0;
    pthread_mutex_unlock(&metrics->metrics_lock);
    return value;
}

/* ---- exposition ---- */

/* The common names of a process stand without the prefix, as Prometheus' own clients have them. */
static const char *prefix(const struct metric_def *def)
{
    return strncmp(def->name, "process_", 8) == 0 ? "" : "tensorscope_";
}

/* `code="200",route="/livez"` for names "code,route" and values "200,/livez". */
static void write_labels(const char *names, const char *values, ts_buf *out)
{
    bool first = true;
    while (*names) {
        size_t name = strcspn(names, ",");
        /* The last label takes the rest, commas included. */
        size_t value = names[name] ? strcspn(values, ",") : strlen(values);
        ts_buf_printf(out, "%s%.*s=\"", first ? "" : ",", (int)name, names);
        for (size_t i = 0; i < value; i++) {
            if (values[i] == '"' || values[i] == '\\')
                ts_buf_str(out, "\\");
            ts_buf_append(out, values[i] == '\n' ? " " : &values[i], 1);
        }
        ts_buf_str(out, "\"");
        first = false;
        names += name + (names[name] == ',');
        values += value + (values[value] == ',');
    }
}

static void write_histogram(const struct metric_def *def, const series *one, ts_buf *out)
{
    uint64_t sum = 0;
    for (int i = 0; i <= BUCKETS; i++) {
        sum = i < BUCKETS ? sum + one->buckets[i] : one->count;
        ts_buf_printf(out, "tensorscope_%s_bucket{", def->name);
        write_labels(def->labels, one->labels, out);
        ts_buf_str(out, *def->labels ? "," : "");
        if (i < BUCKETS)
            ts_buf_printf(out, "le=\"%g\"} %llu\n", bounds[i], (unsigned long long)sum);
        else
            ts_buf_printf(out, "le=\"+Inf\"} %llu\n", (unsigned long long)sum);
    }
    for (int i = 0; i < 2; i++) {
        ts_buf_printf(out, "tensorscope_%s_%s", def->name, i ? "count" : "sum");
        if (*def->labels) {
            ts_buf_str(out, "{");
            write_labels(def->labels, one->labels, out);
            ts_buf_str(out, "}");
        }
        ts_buf_printf(out, " %.17g\n", i ? (double)one->count : one->value);
    }
}

static void write_series(const struct metric_def *def, const series *one, ts_buf *out)
{
    if (def->kind == HISTOGRAM) {
        write_histogram(def, one, out);
        return;
    }
    ts_buf_printf(out, "%s%s", prefix(def), def->name);
    if (*def->labels) {
        ts_buf_str(out, "{");
        write_labels(def->labels, one->labels, out);
        ts_buf_str(out, "}");
    }
    ts_buf_printf(out, " %.17g\n", one->value);
}

static int by_labels(const void *a, const void *b)
{
    return strcmp((*(series *const *)a)->labels, (*(series *const *)b)->labels);
}

static void write_family(const struct metric_def *def, const family *f, ts_buf *out)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    ts_buf_printf(out, "# HELP %s%s %s\n# TYPE %s%s %s\n", prefix(def), def->name, def->help,
                  prefix(def), def->name, types[def->kind]);
    series **sorted = calloc(f->n + 1, sizeof(series *));
    size_t n = 0;
    for (size_t i = 0; sorted && i < f->cap; i++)
        if (f->items[i])
            sorted[n++] = f->items[i];
    if (n)
        qsort(sorted, n, sizeof(series *), by_labels);
    for (size_t i = 0; i < n; i++)
        write_series(def, sorted[i], out);
    if (n == 0 && !*def->labels && def->kind != HISTOGRAM)
        ts_buf_printf(out, "tensorscope_%s 0\n", def->name);
    free(sorted);
}

void ts_metrics_write(ts_metrics *metrics, ts_buf *out)
{
    for (int i = 0; i < metrics->n_hooks; i++)
        metrics->hooks[i].collect(metrics->hooks[i].arg);
    pthread_mutex_lock(&metrics->metrics_lock);
    for (int m = 0; m < TS_METRIC_COUNT; m++)
        write_family(&defs[m], &metrics->families[m], out);
    pthread_mutex_unlock(&metrics->metrics_lock);
}
