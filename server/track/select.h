/*
 * Choosing the ball among a frame's detections: calibrated scores, class, and nearness to the last
 * picks. Pixels. Value struct. Thread: its owner's.
 */
#ifndef TS_SERVER_TRACK_SELECT_H
#define TS_SERVER_TRACK_SELECT_H

#include <stdbool.h>
#include <stddef.h>

#include "server/track/camera.h"
#include "server/track/detection.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    TS_SELECT_MEMORY = 30,
    TS_SELECT_MAX = 512
};

typedef struct ts_select_params {
    double confidence;
    int ball_class_id;
    bool temporal_fallback; /* go on in a straight line while there is nothing to pick */
    bool compat;            /* as the reference: measure in a region's coordinates, count all
                               classes as candidates */
} ts_select_params;
extern const ts_select_params TS_SELECT_DEFAULTS;

typedef struct ts_select {
    ts_select_params params;
    ts_detection picks[TS_SELECT_MEMORY];
    int n_picks;
} ts_select;

void ts_select_init(ts_select *select, const ts_select_params *params);
/**
 * Pick from detections in frame coordinates, or in those of `roi` where that is given (the answer is
 * in the same). cands gets what may be the ball (with compat every
 * detection) that is sure enough; room for n, at most TS_SELECT_MAX are looked at.
 * Returns whether there is a pick.
 */
bool ts_select_pick(ts_select *select, const ts_detection *detections, size_t n, const ts_crop *roi,
                    ts_detection *pick, ts_detection *cands, size_t *n_cands);

#ifdef __cplusplus
}
#endif
#endif
