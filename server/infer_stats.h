/*
 * Statistics of inference per model version, as /v2/…/stats gives them. Counters survive unload and
 * load. A reader never sees a count without its time. Thread: any.
 */
#ifndef TS_SERVER_INFER_STATS_H
#define TS_SERVER_INFER_STATS_H

#include "cl/base/json.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_infer_stats ts_infer_stats;

/** Times of one request, microseconds of its phases. */
typedef struct ts_infer_times {
    int64_t start_us, queue_us, input_us, infer_us, output_us;
    uint64_t batch;
    bool executed; /* a device execution of its own, not part of another's batch */
} ts_infer_times;

TS_CHECKED ts_status ts_infer_stats_create(ts_infer_stats **out, ts_error *err);
void ts_infer_stats_destroy(ts_infer_stats *stats); /* NULL is fine */
/** Count a request once, as success or failure. */
void ts_infer_stats_add(ts_infer_stats *stats, const char *model, const char *version, bool success,
                        const ts_infer_times *times);
/** The object of one version; zeros where nothing was counted. Owner: caller. */
json_t *ts_infer_stats_json(ts_infer_stats *stats, const char *model, const char *version,
                            uint64_t device_bytes, bool gpu);

#ifdef __cplusplus
}
#endif
#endif
