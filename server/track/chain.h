/*
 * From a frame's detections to the crop that the viewer sees: select → zones and margins → ball
 * tracker → virtual camera → zoom.
 *
 * The profile `tensorscope` is the default; `reference` reproduces the loop of the public project
 * chele-s/Football-Detection, its defects included. No device, no clock: everything follows from the
 * detections and the times given. Thread: its owner's.
 */
#ifndef TS_SERVER_TRACK_CHAIN_H
#define TS_SERVER_TRACK_CHAIN_H

#include "server/track/ball.h"
#include "server/track/camera.h"
#include "server/track/select.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    TS_CHAIN_ZONES = 16
};

typedef enum ts_camera_mode {
    TS_CAMERA_SMOOTH,
    TS_CAMERA_REFERENCE,
    TS_CAMERA_FIXED
} ts_camera_mode;

/** Fractions of the frame, edges included. */
typedef struct ts_zone {
    double x1, y1, x2, y2;
} ts_zone;

typedef struct ts_chain_params {
    bool reference; /* the whole reference loop */
    int width, height, out_width, out_height;
    ts_select_params select;
    int n_zones;
    ts_zone zones[TS_CHAIN_ZONES];
    double margin_top, margin_left, margin_right, margin_bottom; /* fractions */
    ts_ball_params ball;
    ts_camera_mode mode;
    ts_smooth_params smooth;
    ts_ref_params ref;
    ts_crop fixed; /* TS_CAMERA_FIXED */
    bool follow;   /* false: the whole frame, no crop */
    bool roi;      /* detect in the last crop after a stable lock (reference profile) */
} ts_chain_params;

typedef struct ts_chain_result {
    bool selected;      /* a detection was picked, before zones and margins */
    bool tracked_input; /* a detection reached the tracker */
    ts_detection selection, track_in;
    ts_ball_result track;
    double velocity[2];
    ts_crop camera_crop, crop; /* the camera's own, and the final one after zoom */
    double zoom;
    int frames_tracking; /* "Lock: n/8" */
} ts_chain_result;

typedef struct ts_chain ts_chain;

TS_CHECKED ts_status ts_chain_create(const ts_chain_params *params, ts_chain **out, ts_error *err);
void ts_chain_destroy(ts_chain *chain); /* NULL is fine */
/** Forget tracks and camera; the frame may have another size. */
void ts_chain_reset(ts_chain *chain, int width, int height);
/** The region that the detector should look at in this frame; false: the whole frame. */
bool ts_chain_roi(const ts_chain *chain, ts_crop *roi);
/**
 * One frame. `detections` are in frame coordinates, or relative to the region that ts_chain_roi()
 * gave. `detector_ran` false: none was run on this frame, so its absence is no loss. `target`
 * replaces the ball as what the camera follows (players, one track); NULL: the ball.
 */
ts_chain_result ts_chain_update(ts_chain *chain, const ts_detection *detections, size_t n,
                                bool detector_ran, const double target[2], double t_s, double dt_s);
const ts_ball_state *ts_chain_ball(const ts_chain *chain);
/** Change what may change while running: confidence, zones, margins, camera numbers. */
void ts_chain_set_params(ts_chain *chain, const ts_chain_params *params);

#ifdef __cplusplus
}
#endif
#endif
