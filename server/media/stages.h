/*
 * Times of a pipeline's stages: the last 100 of each, their percentiles, and a rate over the last 30
 * frames. Thread: any (one lock).
 */
#ifndef TS_SERVER_MEDIA_STAGES_H
#define TS_SERVER_MEDIA_STAGES_H

#include "cl/base/json.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TS_STAGE_MAP(X)                                                         \
    X(DECODE, "decode")                                                         \
    X(UPLOAD, "upload")                                                         \
    X(CONVERT, "convert")                                                       \
    X(DETECT, "detect") X(TRACK, "track") X(CROP, "crop") X(OVERLAY, "overlay") \
        X(DOWNLOAD, "download") X(ENCODE, "encode") X(TOTAL, "total") X(LATENCY, "latency")

typedef enum ts_stage {
#define X(name, text) TS_STAGE_##name,
    TS_STAGE_MAP(X)
#undef X
    TS_STAGE_COUNT
} ts_stage;

typedef struct ts_stages ts_stages;

TS_CHECKED ts_status ts_stages_create(ts_stages **out, ts_error *err);
void ts_stages_destroy(ts_stages *stages); /* NULL is fine */
void ts_stages_add(ts_stages *stages, ts_stage stage, double ms);
/** Mean of the last 100, 0 before the first. */
double ts_stages_mean(ts_stages *stages, ts_stage stage);
/** A frame was finished now. */
void ts_stages_frame(ts_stages *stages);
/** Frames per second over the last 30; 0 where the newest is older than 2 s. */
double ts_stages_fps(ts_stages *stages);
/** {"decode":{"mean","p50","p95","p99","max","n"},…}: the stages that have run. */
json_t *ts_stages_json(ts_stages *stages);

#ifdef __cplusplus
}
#endif
#endif
