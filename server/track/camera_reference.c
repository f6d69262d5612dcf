#include <math.h>
#include <string.h>

#include "server/track/camera.h"

const ts_ref_params TS_REF_DEFAULTS = {
    .dead_zone = 0.10,
    .anticipation = 0.3,
    .zoom_padding = 1.2,
    .smoothing_freq = 30,
    .smoothing_min_cutoff = 1.0,
    .smoothing_beta = 0.007,
    .smoothing_d_cutoff = 1,
    .use_pid = true,
    .prediction_steps = 5,
    .edge_px = 30,
};

static const double KP = 0.8, KI = 0.01, KD = 0.05, PID_DT = 1.0 / 30, INTEGRAL_MAX = 50;
static const double STABILITY_CUTOFF = 0.08;
enum {
    STABILITY_FRAMES = 120,
    STABILITY_STEP = 5,
    PID_LIMIT = 80,
    PID_LIMIT_STABILITY = 100
};

static double clamp(double v, double lo, double hi)
{
    return v < lo ? lo : v > hi ? hi : v;
}

void ts_ref_set_zoom(ts_ref_camera *cam, double padding)
{
    padding = clamp(padding, 1, 2);
    int w = (int)(cam->out_width * padding), h = (int)(cam->out_height * padding);
    cam->crop_width = w < cam->width ? w : cam->width;
    cam->crop_height = h < cam->height ? h : cam->height;
}

static void set_pid_limit(ts_ref_camera *cam, double limit)
{
    cam->pid[0].limit = cam->pid[1].limit = limit;
}

void ts_ref_reset(ts_ref_camera *cam)
{
    cam->center[0] = cam->width / 2;
    cam->center[1] = (int)(0.40 * cam->height);
    cam->velocity[0] = cam->velocity[1] = 0;
    cam->n_history = cam->n_speeds = 0;
    cam->stability_mode = false;
    memcpy(cam->target, cam->center, sizeof cam->target);
    cam->stability_timer = 0;
    memset(cam->pid, 0, sizeof cam->pid);
    set_pid_limit(cam, PID_LIMIT);
    ts_one_euro_reset(&cam->smoother);
    cam->smoother.min_cutoff_hz = cam->params.smoothing_min_cutoff;
}

void ts_ref_init(ts_ref_camera *cam, const ts_ref_params *params, int width, int height,
                 int out_width, int out_height)
{
    memset(cam, 0, sizeof *cam);
    cam->params = *params;
    cam->width = width;
    cam->height = height;
    cam->out_width = out_width;
    cam->out_height = out_height;
    ts_one_euro_init(&cam->smoother, params->smoothing_freq, params->smoothing_min_cutoff,
                     params->smoothing_beta, params->smoothing_d_cutoff);
    ts_ref_reset(cam);
    cam->center[0] = width / 2;
    cam->center[1] = height / 2;
    ts_ref_set_zoom(cam, params->zoom_padding);
}

static void update_stability(ts_ref_camera *cam, bool detector_stable)
{
    if (!detector_stable) {
        if (!cam->stability_mode) {
            cam->stability_mode = true;
            cam->stability_timer = STABILITY_FRAMES;
            ts_one_euro_set_min_cutoff(&cam->smoother, STABILITY_CUTOFF);
            set_pid_limit(cam, PID_LIMIT_STABILITY);
        } else {
            int timer = cam->stability_timer + STABILITY_STEP;
            cam->stability_timer = timer < STABILITY_FRAMES ? timer : STABILITY_FRAMES;
        }
    }
    if (cam->stability_mode && --cam->stability_timer <= 0) {
        cam->stability_mode = false;
        ts_one_euro_set_min_cutoff(&cam->smoother, cam->params.smoothing_min_cutoff);
        set_pid_limit(cam, PID_LIMIT);
    }
}

/* Least-squares parabola through y[0…n-1] at x = 0…n-1, evaluated at `x`. */
static double extrapolate(const double (*points)[2], int n, int axis, double x)
{
    /* Abscissae are centred: the normal equations then split into odd and even parts. */
    double m = (n - 1) / 2.0, s2 = 0, s4 = 0, sy = 0, sxy = 0, sx2y = 0;
    for (int i = 0; i < n; i++) {
        double u = i - m, y = points[i][axis];
        s2 += u * u;
        s4 += u * u * u * u;
        sy += y;
        sxy += u * y;
        sx2y += u * u * y;
    }
    double det = n * s4 - s2 * s2;
    double a = (n * sx2y - s2 * sy) / det, b = sxy / s2, c = (s4 * sy - s2 * sx2y) / det;
    double u = x - m;
    return a * u * u + b * u + c;
}

static void gradient(const double *v, int n, double *out)
{
    for (int i = 1; i + 1 < n; i++)
        out[i] = (v[i + 1] - v[i - 1]) / 2;
    out[0] = v[1] - v[0];
    out[n - 1] = v[n - 1] - v[n - 2];
}

static double curvature(const ts_ref_camera *cam)
{
    int n = cam->n_history < 5 ? cam->n_history : 5;
    if (n < 3)
        return 0;
    double x[5], y[5], dx[5], dy[5], ddx[5], ddy[5], sum = 0;
    for (int i = 0; i < n; i++) {
        x[i] = cam->history[cam->n_history - n + i][0];
        y[i] = cam->history[cam->n_history - n + i][1];
    }
    gradient(x, n, dx);
    gradient(y, n, dy);
    gradient(dx, n, ddx);
    gradient(dy, n, ddy);
    for (int i = n - 3; i < n; i++) {
        double k = fabs(dx[i] * ddy[i] - dy[i] * ddx[i]) /
                   fmax(pow(dx[i] * dx[i] + dy[i] * dy[i], 1.5), 1e-9);
        sum += isfinite(k) ? k : 0;
    }
    return sum / 3;
}

static void push_target(ts_ref_camera *cam, const double target[2])
{
    if (cam->n_history == TS_REF_HISTORY) {
        memmove(cam->history, cam->history + 1, sizeof cam->history - sizeof cam->history[0]);
        cam->n_history--;
    }
    memcpy(cam->history[cam->n_history++], target, sizeof cam->history[0]);
}

static void anticipate(ts_ref_camera *cam, const double target[2], double speed, double out[2])
{
    push_target(cam, target);
    if (curvature(cam) > 0.01) {
        int n = cam->n_history < 10 ? cam->n_history : 10;
        const double(*points)[2] = (const double(*)[2])cam->history + cam->n_history - n;
        for (int i = 0; i < 2; i++)
            out[i] =
                n < 3 ? target[i] : extrapolate(points, n, i, n + cam->params.prediction_steps);
        cam->predictions_used++;
        return;
    }
    double factor = cam->params.anticipation * (1 + fmin(speed / 100, 1));
    for (int i = 0; i < 2; i++)
        out[i] = target[i] + cam->velocity[i] * factor;
}

static bool leaves_dead_zone(ts_ref_camera *cam, double error, double speed)
{
    if (cam->n_speeds == 10) {
        memmove(cam->speeds, cam->speeds + 1, 9 * sizeof *cam->speeds);
        cam->n_speeds--;
    }
    cam->speeds[cam->n_speeds++] = speed;
    double mean = 0;
    for (int i = 0; i < cam->n_speeds; i++)
        mean += cam->speeds[i];
    mean /= cam->n_speeds;
    double base = cam->params.dead_zone * cam->out_width;
    double threshold = fmin(base * (1 + 0.5 * mean / 100), 0.3 * cam->out_width);
    return fabs(error) > 0.7 * threshold;
}

static double pid(ts_ref_camera *cam, int axis, double error)
{
    double previous = cam->pid[axis].previous;
    double raw = KP * error + KI * cam->pid[axis].integral + KD * (error - previous) / PID_DT;
    double u = clamp(raw, -cam->pid[axis].limit, cam->pid[axis].limit);
    cam->pid[axis].integral = clamp(cam->pid[axis].integral + error * PID_DT + (u - raw) / KI,
                                    -INTEGRAL_MAX, INTEGRAL_MAX);
    cam->pid[axis].previous = error;
    return u;
}

static void crop_axis(double center, int size, int frame, int edge, double *lo, double *hi)
{
    int a = (int)(center - size / 2.0), b = (int)(center + size / 2.0);
    if (a < edge) {
        a = edge;
        b = edge + size;
    }
    if (b > frame - edge) {
        b = frame - edge;
        a = b - size;
    }
    if (a > frame - size)
        a = frame - size;
    if (a < 0)
        a = 0;
    *lo = a;
    *hi = a + size;
}

ts_crop ts_ref_update(ts_ref_camera *cam, const double target[2], double t_s, const double hint[2],
                      bool detector_stable)
{
    cam->total_updates++;
    update_stability(cam, detector_stable);
    for (int i = 0; i < 2; i++) {
        double now = hint ? hint[i] : target[i] - cam->target[i];
        cam->velocity[i] = 0.7 * cam->velocity[i] + 0.3 * now;
        cam->target[i] = target[i];
    }
    double speed = hypot(cam->velocity[0], cam->velocity[1]), goal[2], desired[2];
    anticipate(cam, target, speed, goal);
    bool moved_x = false;
    for (int i = 0; i < 2; i++) {
        double error = goal[i] - cam->center[i];
        desired[i] = cam->center[i];
        if (!leaves_dead_zone(cam, error, speed))
            continue;
        moved_x |= i == 0;
        desired[i] = cam->params.use_pid ? cam->center[i] + pid(cam, i, error) : goal[i];
    }
    /* Both counters look at the horizontal axis alone, as the original's do. */
    cam->pid_corrections += moved_x && cam->params.use_pid;
    cam->deadzone_blocks += !moved_x;
    ts_one_euro_filter(&cam->smoother, desired, t_s);
    memcpy(cam->center, desired, sizeof desired);
    ts_crop crop;
    crop_axis(cam->center[0], cam->crop_width, cam->width, cam->params.edge_px, &crop.x1, &crop.x2);
    crop_axis(cam->center[1], cam->crop_height, cam->height, cam->params.edge_px, &crop.y1,
              &crop.y2);
    return crop;
}
