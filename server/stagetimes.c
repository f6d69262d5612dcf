#include "server/stagetimes.h"

#include <stdlib.h>
#include <string.h>

static const char *const names[TS_STAGE_COUNT] = {
#define X(name, text) text,
    TS_STAGE_MAP(X)
#undef X
};

void ts_stagetimes_add(ts_stagetimes *t, ts_stage stage, int64_t us)
{
    double ms = us > 0 ? (double)us / 1000 : 0;
    t->ms[stage][t->n[stage] % TS_STAGE_SAMPLES] = (float)ms;
    t->ewma[stage] = t->n[stage] ? t->ewma[stage] + 0.1 * (ms - t->ewma[stage]) : ms;
    t->n[stage]++;
}

static int compare(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static size_t sorted(const ts_stagetimes *t, ts_stage stage, float out[TS_STAGE_SAMPLES])
{
    size_t n = t->n[stage] < TS_STAGE_SAMPLES ? (size_t)t->n[stage] : TS_STAGE_SAMPLES;
    memcpy(out, t->ms[stage], n * sizeof *out);
    qsort(out, n, sizeof *out, compare);
    return n;
}

static double at(const float *values, size_t n, double p)
{
    if (!n)
        return 0;
    size_t i = (size_t)(p / 100 * (double)(n - 1) + 0.5);
    return (double)values[i];
}

double ts_stagetimes_percentile(const ts_stagetimes *t, ts_stage stage, double p)
{
    float values[TS_STAGE_SAMPLES];
    size_t n = sorted(t, stage, values);
    return at(values, n, p);
}

json_t *ts_stagetimes_json(const ts_stagetimes *t)
{
    json_t *out = json_object();
    for (int s = 0; s < TS_STAGE_COUNT; s++) {
        float values[TS_STAGE_SAMPLES];
        if (!t->n[s])
            continue;
        size_t n = sorted(t, (ts_stage)s, values);
        json_object_set_new(out, names[s],
                            json_pack("{s:f,s:f,s:f,s:f,s:f}", "mean", t->ewma[s], "p50",
                                      at(values, n, 50), "p90", at(values, n, 90), "p95",
                                      at(values, n, 95), "p99", at(values, n, 99)));
    }
    return out;
}
