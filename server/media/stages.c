#include "server/media/stages.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/clock.h"

enum {
    KEPT = 100,
    RATE = 30
};

static const char *const NAMES[] = {
#define X(name, text) text,
    TS_STAGE_MAP(X)
#undef X
};

struct ts_stages {
    pthread_mutex_t lock; /* guards all below */
    struct {
        double ms[KEPT];
        long n;
    } stage[TS_STAGE_COUNT];
    int64_t frames_us[RATE];
    long n_frames;
};

ts_status ts_stages_create(ts_stages **out, ts_error *err)
{
    ts_stages *s = calloc(1, sizeof *s);
    if (!s)
        return ts_fail(err, TS_E_NO_MEMORY, "stage times");
    pthread_mutex_init(&s->lock, NULL);
    *out = s;
    return TS_OK;
}

void ts_stages_destroy(ts_stages *s)
{
    if (!s)
        return;
    pthread_mutex_destroy(&s->lock);
    free(s);
}

void ts_stages_add(ts_stages *s, ts_stage stage, double ms)
{
    pthread_mutex_lock(&s->lock);
    s->stage[stage].ms[s->stage[stage].n++ % KEPT] = ms;
    pthread_mutex_unlock(&s->lock);
}

static long kept(const ts_stages *s, ts_stage stage)
{
    return s->stage[stage].n < KEPT ? s->stage[stage].n : KEPT;
}

static double mean_locked(const ts_stages *s, ts_stage stage)
{
    double sum = 0;
    long n = kept(s, stage);
    for (long i = 0; i < n; i++)
        sum += s->stage[stage].ms[i];
    return n ? sum / n : 0;
}

double ts_stages_mean(ts_stages *s, ts_stage stage)
{
    pthread_mutex_lock(&s->lock);
    double mean = mean_locked(s, stage);
    pthread_mutex_unlock(&s->lock);
    return mean;
}

void ts_stages_frame(ts_stages *s)
{
    pthread_mutex_lock(&s->lock);
    s->frames_us[s->n_frames++ % RATE] = ts_now_us();
    pthread_mutex_unlock(&s->lock);
}

double ts_stages_fps(ts_stages *s)
{
    double fps = 0;
    pthread_mutex_lock(&s->lock);
    long n = s->n_frames < RATE ? s->n_frames : RATE;
    if (n >= 2) {
        int64_t newest = s->frames_us[(s->n_frames - 1) % RATE];
        int64_t oldest = s->frames_us[(s->n_frames - n) % RATE];
        if (ts_now_us() - newest < 2000000 && newest > oldest)
            fps = (double)(n - 1) * 1e6 / (double)(newest - oldest);
    }
    pthread_mutex_unlock(&s->lock);
    return fps;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

json_t *ts_stages_json(ts_stages *s)
{
    json_t *out = json_object();
    for (int i = 0; i < TS_STAGE_COUNT; i++) {
        double v[KEPT], mean;
        pthread_mutex_lock(&s->lock);
        long n = kept(s, (ts_stage)i), total = s->stage[i].n;
        memcpy(v, s->stage[i].ms, (size_t)n * sizeof *v);
        mean = mean_locked(s, (ts_stage)i);
        pthread_mutex_unlock(&s->lock);
        if (n == 0)
            continue;
        qsort(v, (size_t)n, sizeof *v, by_value);
        json_object_set_new(out, NAMES[i],
                            json_pack("{s:f, s:f, s:f, s:f, s:f, s:I}", "mean", mean, "p50",
                                      v[n / 2], "p95", v[(n - 1) * 95 / 100], "p99",
                                      v[(n - 1) * 99 / 100], "max", v[n - 1], "n",
                                      (json_int_t)total));
    }
    return out;
}
