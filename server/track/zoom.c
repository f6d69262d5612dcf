#include "server/track/zoom.h"

#include <math.h>

const ts_zoom TS_ZOOM_STREAM = {.stiffness = 0.08,
                                .damping = 0.70,
                                .rate_in = 0.08,
                                .rate_out = 0.08,
                                .min = 1,
                                .max = 1.7,
                                .clamp_target = true,
                                .value = 1};
const ts_zoom TS_ZOOM_LIMITED = {.stiffness = 0.060,
                                 .damping = 0.60,
                                 .accel_limit = 0.05,
                                 .rate_in = 0.14,
                                 .rate_out = 0.10,
                                 .min = 1,
                                 .max = 1.8,
                                 .clamp_target = true,
                                 .value = 1};

double ts_zoom_update(ts_zoom *z, double target, double dt_s)
{
    double step = z->rate_independent ? dt_s * 30 : 1;
    if (z->clamp_target)
        target = fmin(fmax(target, z->min), z->max);
    double error = target - z->value;
    double accel = z->stiffness * error - z->damping * z->velocity;
    if (z->accel_limit > 0)
        accel = fmin(fmax(accel, -z->accel_limit), z->accel_limit);
    double rate = error >= 0 ? z->rate_in : z->rate_out;
    z->velocity = fmin(fmax(z->velocity + accel * step, -rate), rate);
    z->value += z->velocity * step;
    if (z->value < z->min || z->value > z->max) {
        z->value = fmin(fmax(z->value, z->min), z->max);
        z->velocity = 0;
    }
    return z->value;
}
