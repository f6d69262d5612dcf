/*
 * Zoom spring: a damped spring with a rate limit that moves the zoom factor to its target.
 * Per frame, not per second, unless rate_independent is set (then the step is dt·30).
 */
#ifndef TS_SERVER_TRACK_ZOOM_H
#define TS_SERVER_TRACK_ZOOM_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_zoom {
    double stiffness, damping, accel_limit /* 0: none */, rate_in, rate_out, min, max;
    bool clamp_target, rate_independent;
    double value, velocity;
} ts_zoom;

extern const ts_zoom TS_ZOOM_STREAM, TS_ZOOM_LIMITED;

/** Advance one frame of `dt_s` seconds towards `target`; returns the zoom. */
double ts_zoom_update(ts_zoom *zoom, double target, double dt_s);

#ifdef __cplusplus
}
#endif
#endif
