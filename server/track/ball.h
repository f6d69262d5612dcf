/*
 * Single-target tracker with constant acceleration: gating, coasting, recovery, and rejection of
 * implausible jumps (behaviour of the public project chele-s/Football-Detection).
 *
 * Units: pixels, seconds, px/s, px/s². Thread: its owner's. No allocation after create.
 */
#ifndef TS_SERVER_TRACK_BALL_H
#define TS_SERVER_TRACK_BALL_H

#include <stdbool.h>
#include <stddef.h>

#include "cl/base/status.h"
#include "server/track/detection.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_ball_params {
    int max_lost_frames, history_size, max_coast_frames, lock_frames;
    double min_confidence, detection_smoothing, process_noise, measurement_noise;
    bool adaptive_noise, allow_chaos_mode, allow_jitter_mode;
} ts_ball_params;
extern const ts_ball_params TS_BALL_DEFAULTS;

typedef struct ts_ball_result {
    bool present; /* false: lost, nothing below is set */
    bool flag;    /* detected or coasting; false: only predicted */
    double x, y;
} ts_ball_result;

typedef enum ts_ball_status {
    TS_BALL_DETECTED,
    TS_BALL_COASTING,
    TS_BALL_PREDICTED,
    TS_BALL_LOST
} ts_ball_status;

/** Read-out for metrics, overlays and tests; refreshed by every update. */
typedef struct ts_ball_state {
    double s[6], p[6][6], q[6], r; /* x y vx vy ax ay; covariance; diagonals */
    int lost, streak, lock;
    bool initialised, tracking, coast, chaos, jitter;
    double avg_confidence;
    ts_ball_status status;
    int track_id;
    long total_updates, successful_tracks, predictions_used, noise_adaptations, outliers_rejected,
        erratic_detections, jump_rejections;
} ts_ball_state;

typedef struct ts_ball ts_ball;

TS_CHECKED ts_status ts_ball_create(const ts_ball_params *params, int width, int height,
                                    ts_ball **out, ts_error *err);
void ts_ball_destroy(ts_ball *ball); /* NULL is fine */
/** Forget everything but the track counter; the frame may have another size. */
void ts_ball_reset(ts_ball *ball, int width, int height);
/** One frame: `det` or NULL, and all candidates (n may be 0). dt in seconds. */
ts_ball_result ts_ball_update(ts_ball *ball, const ts_detection *det, const ts_detection *cands,
                              size_t n_cands, double dt_s);
/** A frame on which no detector ran: predict only, the lost count stays. */
ts_ball_result ts_ball_predict(ts_ball *ball, double dt_s);
const ts_ball_state *ts_ball_get_state(const ts_ball *ball);

#ifdef __cplusplus
}
#endif
#endif
