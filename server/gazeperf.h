/* The performance record of a gaze stream: counts, times, ratios. Thread: one at a time. */
#ifndef TS_SERVER_GAZEPERF_H
#define TS_SERVER_GAZEPERF_H

#include "server/gaze.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    TS_GAZE_PERF_WINDOW = 256 /* frames that averages and percentiles are about */
};

typedef struct ts_gaze_perf {
    struct {
        float total_ms, source_ms, compose_ms, picture_ms, interval_ms;
    } sample[TS_GAZE_PERF_WINDOW];
    int64_t frames, keyframes, cells, tokens, last_us;
    int64_t paths[4]; /* keyframe, sparse-rects, dense-mask, full-frame */
    ts_gaze_step last;
    int width, height;
} ts_gaze_perf;

/** Count a frame: its step, the picture's time and the whole, all in microseconds. */
void ts_gaze_perf_add(ts_gaze_perf *perf, const ts_gaze_step *step, int width, int height,
                      int64_t picture_us, int64_t total_us, int64_t now_us);
/** The record with the device's name. Owner: caller. */
json_t *ts_gaze_perf_json(const ts_gaze_perf *perf, const char *source, const ts_caps *device);

#ifdef __cplusplus
}
#endif
#endif
