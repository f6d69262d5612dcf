/*
 * Times of a stream's stages: the last 600 samples of each, for mean and percentiles.
 * Thread: one at a time.
 */
#ifndef TS_SERVER_STAGETIMES_H
#define TS_SERVER_STAGETIMES_H

#include "cl/base/json.h"

#ifdef __cplusplus
extern "C" {
#endif

/* X(enumerator, name) */
#define TS_STAGE_MAP(X)     \
    X(WAIT, "wait")         \
    X(UPLOAD, "upload")     \
    X(RANGE, "range")       \
    X(RENDER, "render")     \
    X(READBACK, "readback") \
    X(ENCODE, "encode")     \
    X(SEND, "send")         \
    X(TOTAL, "total")

typedef enum ts_stage {
#define X(name, text) TS_STAGE_##name,
    TS_STAGE_MAP(X)
#undef X
    TS_STAGE_COUNT
} ts_stage;

enum {
    TS_STAGE_SAMPLES = 600
};

typedef struct ts_stagetimes {
    float ms[TS_STAGE_COUNT][TS_STAGE_SAMPLES];
    uint64_t n[TS_STAGE_COUNT];
    double ewma[TS_STAGE_COUNT]; /* α = 0.1 */
} ts_stagetimes;

void ts_stagetimes_add(ts_stagetimes *times, ts_stage stage, int64_t us);
/** Percentile (0 … 100) of the kept samples in ms; 0 without any. */
double ts_stagetimes_percentile(const ts_stagetimes *times, ts_stage stage, double p);
/** {stage: {mean, p50, p90, p95, p99}} of the stages that have samples. */
json_t *ts_stagetimes_json(const ts_stagetimes *times);

#ifdef __cplusplus
}
#endif
#endif
