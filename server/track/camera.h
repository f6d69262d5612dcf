/*
 * Virtual cameras: from tracked positions to a crop of the source frame.
 *
 * ts_smooth_camera is the default: a critically damped spring with speed and acceleration limits and
 * a guard that keeps the target inside. ts_ref_camera reproduces the camera of the public project
 * chele-s/Football-Detection step by step, its quirks included, for users who compare with it.
 *
 * Units: pixels of the source frame, seconds. Value structs, no allocation. Thread: their owner's.
 */
#ifndef TS_SERVER_TRACK_CAMERA_H
#define TS_SERVER_TRACK_CAMERA_H

#include <stdbool.h>

#include "server/track/one_euro.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Edges of a crop, right and bottom exclusive. */
typedef struct ts_crop {
    double x1, y1, x2, y2;
} ts_crop;

/* ---- smooth ---- */

enum {
    TS_ZOOM_LEVELS = 8
};

typedef struct ts_smooth_params {
    double omega, omega_zoom, dead_zone, lead_s, lead_max, vmax, amax, guard, base;
    int zoom_hold_frames, n_levels;
    double levels[TS_ZOOM_LEVELS][2]; /* {speed above, px/s; zoom}, fastest first */
} ts_smooth_params;
extern const ts_smooth_params TS_SMOOTH_DEFAULTS;

typedef struct ts_smooth_camera {
    ts_smooth_params params;
    double width, height, aspect; /* frame size; output width/height */
    double center[2], velocity[2], zoom, zoom_velocity;
    int seen;
} ts_smooth_camera;

void ts_smooth_init(ts_smooth_camera *cam, const ts_smooth_params *params, int width, int height,
                    double aspect);
/**
 * One frame: the target's position and velocity (px/s), whether there is one at all, and whether it
 * was really seen (`flag`). Returns the float crop.
 */
ts_crop ts_smooth_update(ts_smooth_camera *cam, bool present, bool flag, const double position[2],
                         const double velocity[2], double dt_s);

/* ---- reference ---- */

enum {
    TS_REF_HISTORY = 30
};

typedef struct ts_ref_params {
    double dead_zone, anticipation, zoom_padding;
    double smoothing_freq, smoothing_min_cutoff, smoothing_beta, smoothing_d_cutoff;
    bool use_pid;
    int prediction_steps, edge_px;
} ts_ref_params;
extern const ts_ref_params TS_REF_DEFAULTS;

typedef struct ts_ref_camera {
    ts_ref_params params;
    int width, height, out_width, out_height;
    int crop_width, crop_height; /* effective size */
    double center[2], velocity[2];
    ts_one_euro smoother;
    int n_history, n_speeds;
    double history[TS_REF_HISTORY][2], speeds[10];
    bool stability_mode;
    double target[2];
    int stability_timer;
    struct {
        double integral, previous, limit;
        bool started;
    } pid[2];
    long total_updates, deadzone_blocks, pid_corrections, predictions_used;
} ts_ref_camera;

void ts_ref_init(ts_ref_camera *cam, const ts_ref_params *params, int width, int height,
                 int out_width, int out_height);
/** Centre at (W/2, 0.40 H), all state forgotten. */
void ts_ref_reset(ts_ref_camera *cam);
/** Padding factor of the crop, clipped to [1, 2]. */
void ts_ref_set_zoom(ts_ref_camera *cam, double padding);
/** `hint` is the tracker's velocity or NULL; `t_s` may be NAN. Returns an integer crop. */
ts_crop ts_ref_update(ts_ref_camera *cam, const double target[2], double t_s, const double hint[2],
                      bool detector_stable);

#ifdef __cplusplus
}
#endif
#endif
