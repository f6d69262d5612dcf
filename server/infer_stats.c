#include "server/infer_stats.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/clock.h"
#include "cl/base/name.h"

typedef struct duration {
    uint64_t count;
    int64_t ns;
} duration;

enum {
    BATCHES = 32
};

typedef struct row {
    char model[TS_NAME_MAX + 1], version[16];
    int64_t last_ms;
    uint64_t inferences, executions;
    duration success, fail, queue, input, infer, output;
    struct {
        uint64_t size;
        duration input, infer, output;
    } batch[BATCHES];
    struct row *next;
} row;

struct ts_infer_stats {
    pthread_mutex_t lock; /* guards: rows */
    row *rows;
};

ts_status ts_infer_stats_create(ts_infer_stats **out, ts_error *err)
{
    ts_infer_stats *s = calloc(1, sizeof *s);
    if (!s)
        return ts_fail(err, TS_E_NO_MEMORY, "inference statistics");
    pthread_mutex_init(&s->lock, NULL);
    *out = s;
    return TS_OK;
}

void ts_infer_stats_destroy(ts_infer_stats *s)
{
    if (!s)
        return;
    while (s->rows) {
        row *next = s->rows->next;
        free(s->rows);
        s->rows = next;
    }
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static row *find_locked(ts_infer_stats *s, const char *model, const char *version, bool make)
{
    for (row *r = s->rows; r; r = r->next)
        if (!strcmp(r->model, model) && !strcmp(r->version, version))
            return r;
    row *r = make ? calloc(1, sizeof *r) : NULL;
    if (!r)
        return NULL;
    snprintf(r->model, sizeof r->model, "%s", model);
    snprintf(r->version, sizeof r->version, "%s", version);
    r->next = s->rows;
    s->rows = r;
    return r;
}

static void add(duration *d, int64_t us)
{
    d->count++;
    d->ns += us * 1000;
}

static void add_batch(row *r, const ts_infer_times *t)
{
    for (int i = 0; i < BATCHES; i++) {
        if (r->batch[i].size && r->batch[i].size != t->batch)
            continue;
        r->batch[i].size = t->batch;
        add(&r->batch[i].input, t->input_us);
        add(&r->batch[i].infer, t->infer_us);
        add(&r->batch[i].output, t->output_us);
        return;
    }
}

void ts_infer_stats_add(ts_infer_stats *s, const char *model, const char *version, bool success,
                        const ts_infer_times *t)
{
    int64_t total = ts_now_us() - t->start_us;
    int64_t parts = t->queue_us + t->input_us + t->infer_us + t->output_us;
    pthread_mutex_lock(&s->lock);
    row *r = find_locked(s, model, version, true);
    if (r && success) {
        r->last_ms = (int64_t)(ts_wall_seconds() * 1000);
        r->inferences += t->batch;
        r->executions += t->executed;
        add(&r->success, total > parts ? total : parts);
        add(&r->queue, t->queue_us);
        add(&r->input, t->input_us);
        add(&r->infer, t->infer_us);
        add(&r->output, t->output_us);
        if (t->executed && t->batch > 0)
            add_batch(r, t);
    } else if (r) {
        add(&r->fail, total);
    }
    pthread_mutex_unlock(&s->lock);
}

static json_t *duration_json(const duration *d)
{
    return json_pack("{s:I, s:I}", "count", (json_int_t)d->count, "ns", (json_int_t)d->ns);
}

static json_t *batches_json(const row *r)
{
    json_t *list = json_array();
    for (int i = 0; i < BATCHES && r->batch[i].size; i++)
        json_array_append_new(list, json_pack("{s:I, s:o, s:o, s:o}", "batch_size",
                                              (json_int_t)r->batch[i].size, "compute_input",
                                              duration_json(&r->batch[i].input), "compute_infer",
                                              duration_json(&r->batch[i].infer), "compute_output",
                                              duration_json(&r->batch[i].output)));
    return list;
}

json_t *ts_infer_stats_json(ts_infer_stats *s, const char *model, const char *version,
                            uint64_t device_bytes, bool gpu)
{
    static const duration none;
    row copy = {0};
    pthread_mutex_lock(&s->lock);
    row *r = find_locked(s, model, version, false);
    if (r)
        copy = *r;
    pthread_mutex_unlock(&s->lock);
    json_t *inference = json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "success", duration_json(&copy.success), "fail",
        duration_json(&copy.fail), "queue", duration_json(&copy.queue), "compute_input",
        duration_json(&copy.input), "compute_infer", duration_json(&copy.infer), "compute_output",
        duration_json(&copy.output), "cache_hit", duration_json(&none), "cache_miss",
        duration_json(&none));
    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:o, s:{}, s:o, s:[{s:s, s:i, s:I}]}", "name",
                     model, "version", version, "last_inference", (json_int_t)copy.last_ms,
                     "inference_count", (json_int_t)copy.inferences, "execution_count",
                     (json_int_t)copy.executions, "inference_stats", inference, "response_stats",
                     "batch_stats", batches_json(&copy), "memory_usage", "type",
                     gpu ? "GPU" : "CPU", "id", 0, "byte_size", (json_int_t)device_bytes);
}
