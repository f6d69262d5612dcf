#include <math.h>
#include <string.h>

#include "server/track/camera.h"

const ts_smooth_params TS_SMOOTH_DEFAULTS = {
    .omega = 4.0,
    .omega_zoom = 2.0,
    .dead_zone = 0.06,
    .lead_s = 0.25,
    .lead_max = 0.12,
    .vmax = 1.6,
    .amax = 4.0,
    .guard = 0.12,
    .base = 0.6,
    .zoom_hold_frames = 8,
    .n_levels = 4,
    .levels = {{900, 1.15}, {600, 1.30}, {350, 1.45}, {0, 1.60}},
};

void ts_smooth_init(ts_smooth_camera *cam, const ts_smooth_params *params, int width, int height,
                    double aspect)
{
    memset(cam, 0, sizeof *cam);
    cam->params = *params;
    cam->width = width;
    cam->height = height;
    cam->aspect = aspect;
    cam->center[0] = width / 2.0;
    cam->center[1] = height / 2.0;
    cam->zoom = 1;
}

static double clamp(double v, double lo, double hi)
{
    return v < lo ? lo : v > hi ? hi : v;
}

static double zoom_target(const ts_smooth_params *p, double speed)
{
    for (int i = 0; i < p->n_levels; i++)
        if (speed > p->levels[i][0] || i == p->n_levels - 1)
            return p->levels[i][1];
    return 1;
}

/* Shorten a vector to `limit`. */
static void limit_length(double v[2], double limit)
{
    double length = hypot(v[0], v[1]);
    if (length > limit && length > 0) {
        v[0] *= limit / length;
        v[1] *= limit / length;
    }
}

/* Keep a really seen target away from the crop's edge by `guard` of its size. */
static void guard_target(ts_smooth_camera *cam, double next[2], const double position[2],
                         const double half[2], double step_max, double dt_s)
{
    double kept[2];
    for (int i = 0; i < 2; i++) {
        double room = half[i] * (1 - 2 * cam->params.guard);
        kept[i] = clamp(next[i], position[i] - room, position[i] + room);
    }
    if (kept[0] == next[0] && kept[1] == next[1])
        return;
    double step[2] = {kept[0] - cam->center[0], kept[1] - cam->center[1]};
    limit_length(step, step_max);
    for (int i = 0; i < 2; i++) {
        next[i] = cam->center[i] + step[i];
        cam->velocity[i] = step[i] / dt_s;
    }
}

ts_crop ts_smooth_update(ts_smooth_camera *cam, bool present, bool flag, const double position[2],
                         const double velocity[2], double dt_s)
{
    const ts_smooth_params *p = &cam->params;
    double base_width = fmin(p->base * cam->width, cam->height * cam->aspect);
    double goal[2] = {cam->width / 2, cam->height / 2}, wanted_zoom = 1;
    if (present) {
        cam->seen = flag ? cam->seen + 1 : 0;
        if (cam->seen >= p->zoom_hold_frames)
            wanted_zoom = zoom_target(p, hypot(velocity[0], velocity[1]));
        double lead = p->lead_max * base_width;
        for (int i = 0; i < 2; i++)
            goal[i] = position[i] + clamp(velocity[i] * p->lead_s, -lead, lead);
    } else {
        cam->seen = 0;
    }
    double wz = p->omega_zoom;
    cam->zoom_velocity +=
        (wz * wz * (wanted_zoom - cam->zoom) - 2 * wz * cam->zoom_velocity) * dt_s;
    cam->zoom = fmax(1, cam->zoom + cam->zoom_velocity * dt_s);

    double size[2] = {base_width / cam->zoom, base_width / cam->zoom / cam->aspect};
    double half[2] = {size[0] / 2, size[1] / 2}, frame[2] = {cam->width, cam->height};
    double accel[2], next[2];
    for (int i = 0; i < 2; i++) {
        double e = goal[i] - cam->center[i];
        e = copysign(fmax(0, fabs(e) - p->dead_zone * size[i]), e);
        accel[i] = p->omega * p->omega * e - 2 * p->omega * cam->velocity[i];
    }
    limit_length(accel, p->amax * size[0]);
    for (int i = 0; i < 2; i++)
        cam->velocity[i] += accel[i] * dt_s;
    limit_length(cam->velocity, p->vmax * size[0]);
    for (int i = 0; i < 2; i++)
        next[i] = cam->center[i] + cam->velocity[i] * dt_s;
    if (present && flag)
        guard_target(cam, next, position, half, p->vmax * size[0] * dt_s, dt_s);
    for (int i = 0; i < 2; i++) {
        cam->center[i] = clamp(next[i], half[i], frame[i] - half[i]);
        if (cam->center[i] != next[i])
            cam->velocity[i] = 0;
    }
    return (ts_crop){cam->center[0] - half[0], cam->center[1] - half[1], cam->center[0] + half[0],
                     cam->center[1] + half[1]};
}
