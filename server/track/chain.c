#include "server/track/chain.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "server/track/zoom.h"

enum {
    LOCK_FRAMES = 8,
    ROI_STABLE_FRAMES = 45,
    ROI_FAILS = 90,
    /* The reference leaves its tracker at this size whatever the frame is. */
    REF_TRACKER_WIDTH = 1920,
    REF_TRACKER_HEIGHT = 1080
};

struct ts_chain {
    ts_chain_params params;
    ts_select select;
    ts_ball *ball;
    ts_smooth_camera smooth;
    ts_ref_camera ref;
    ts_zoom zoom;
    double zoom_target;
    ts_crop camera_crop, crop;
    bool roi, had_result, has_valid, has_search;
    double valid[2];
    int search[2];
    int roi_fails, roi_stable, frames_tracking;
    ts_detection cands[TS_SELECT_MAX], wanted[TS_SELECT_MAX];
    size_t n_cands;
};

static ts_crop whole_frame(const ts_chain *c)
{
    return (ts_crop){0, 0, c->params.width, c->params.height};
}

void ts_chain_reset(ts_chain *c, int width, int height)
{
    c->params.width = width;
    c->params.height = height;
    const ts_chain_params *p = &c->params;
    ts_select_init(&c->select, &p->select);
    bool reference = p->reference;
    ts_ball_reset(c->ball, reference ? REF_TRACKER_WIDTH : width,
                  reference ? REF_TRACKER_HEIGHT : height);
    ts_smooth_init(&c->smooth, &p->smooth, width, height, (double)p->out_width / p->out_height);
    ts_ref_init(&c->ref, &p->ref, width, height, p->out_width, p->out_height);
    c->zoom = TS_ZOOM_STREAM;
    c->zoom_target = 1;
    c->camera_crop = c->crop = whole_frame(c);
    c->roi = c->had_result = c->has_valid = c->has_search = false;
    c->roi_fails = c->roi_stable = c->frames_tracking = 0;
}

ts_status ts_chain_create(const ts_chain_params *params, ts_chain **out, ts_error *err)
{
    ts_chain *c = calloc(1, sizeof *c);
    if (!c)
        return ts_fail(err, TS_E_NO_MEMORY, "tracking chain");
    c->params = *params;
    ts_status st = ts_ball_create(&params->ball, params->width, params->height, &c->ball, err);
    if (st != TS_OK) {
        free(c);
        return st;
    }
    ts_chain_reset(c, params->width, params->height);
    *out = c;
    return TS_OK;
}

void ts_chain_destroy(ts_chain *c)
{
    if (!c)
        return;
    ts_ball_destroy(c->ball);
    free(c);
}

void ts_chain_set_params(ts_chain *c, const ts_chain_params *params)
{
    int width = c->params.width, height = c->params.height;
    c->params = *params;
    c->params.width = width;
    c->params.height = height;
    c->select.params = params->select;
    c->smooth.params = params->smooth;
    c->ref.params = params->ref;
}

const ts_ball_state *ts_chain_ball(const ts_chain *c)
{
    return ts_ball_get_state(c->ball);
}

bool ts_chain_roi(const ts_chain *c, ts_crop *roi)
{
    if (!c->roi)
        return false;
    *roi = c->crop;
    return true;
}

/* ---- what is dropped before the tracker ---- */

static const ts_zone REFERENCE_ZONES[] = {{0.65, 0, 1, 0.45}, {0, 0, 0.08, 0.40}};

static bool in_zone(const ts_chain *c, const ts_detection *d)
{
    const ts_chain_params *p = &c->params;
    const ts_zone *zones = p->reference ? REFERENCE_ZONES : p->zones;
    int n = p->reference ? 2 : p->n_zones;
    for (int i = 0; i < n; i++)
        if (d->cx >= zones[i].x1 * p->width && d->cx <= zones[i].x2 * p->width &&
            d->cy >= zones[i].y1 * p->height && d->cy <= zones[i].y2 * p->height)
            return true;
    return false;
}

static bool in_margin(const ts_chain *c, const ts_detection *d)
{
    const ts_chain_params *p = &c->params;
    if (p->reference)
        return d->cy < 0.20 * p->height || d->cx < 0.10 * p->width || d->cx > 0.90 * p->width;
    return d->cy < p->margin_top * p->height || d->cy > (1 - p->margin_bottom) * p->height ||
           d->cx < p->margin_left * p->width || d->cx > (1 - p->margin_right) * p->width;
}

static void drop(ts_chain *c, bool (*unwanted)(const ts_chain *, const ts_detection *), bool *has,
                 const ts_detection *det)
{
    if (*has && unwanted(c, det))
        *has = false;
    size_t kept = 0;
    for (size_t i = 0; i < c->n_cands; i++)
        if (!unwanted(c, &c->cands[i]))
            c->cands[kept++] = c->cands[i];
    c->n_cands = kept;
}

static void leave_roi(ts_chain *c)
{
    c->roi = c->has_valid = false;
    c->roi_fails = 0;
}

/* Back to frame coordinates; too many failures in the region end it. */
static void map_roi(ts_chain *c, const ts_crop *roi, bool *has, ts_detection *det)
{
    det->cx += roi->x1;
    det->cy += roi->y1;
    for (size_t i = 0; i < c->n_cands; i++) {
        c->cands[i].cx += roi->x1;
        c->cands[i].cy += roi->y1;
    }
    drop(c, in_zone, has, det);
    int diagonal = (int)sqrt((double)c->params.width * c->params.width +
                             (double)c->params.height * c->params.height);
    bool viable =
        *has && c->n_cands <= 3 &&
        (!c->has_valid || hypot(det->cx - c->valid[0], det->cy - c->valid[1]) < 0.3 * diagonal);
    if (viable) {
        c->has_valid = true;
        c->valid[0] = det->cx;
        c->valid[1] = det->cy;
        c->roi_fails = 0;
    } else if (++c->roi_fails >= ROI_FAILS) {
        leave_roi(c);
    }
}

static bool ambiguous(const ts_chain *c, const ts_detection *det)
{
    size_t rivals = 0;
    for (size_t i = 0; i < c->n_cands; i++)
        rivals += c->cands[i].score > 0.75 * det->score;
    return c->n_cands >= 4 && rivals >= 2;
}

/*
 * Zones and margins before the choice: what lies in them must not win it. (The reference chooses
 * first, so that a lamp in a zone hides the ball.)
 */
static size_t keep_wanted(ts_chain *c, const ts_detection *detections, size_t n, const ts_crop *roi)
{
    size_t kept = 0;
    for (size_t i = 0; i < n && kept < TS_SELECT_MAX; i++) {
        ts_detection in_frame = detections[i];
        in_frame.cx += roi ? roi->x1 : 0;
        in_frame.cy += roi ? roi->y1 : 0;
        if (!in_zone(c, &in_frame) && !in_margin(c, &in_frame))
            c->wanted[kept++] = detections[i];
    }
    return kept;
}

/* Select and filter; fills c->cands and the result's selection and track_in. */
static void choose(ts_chain *c, const ts_detection *detections, size_t n, ts_chain_result *r)
{
    ts_crop roi;
    bool in_roi = ts_chain_roi(c, &roi);
    if (!c->params.reference) {
        n = keep_wanted(c, detections, n, in_roi ? &roi : NULL);
        detections = c->wanted;
    }
    r->selected = ts_select_pick(&c->select, detections, n, in_roi ? &roi : NULL, &r->selection,
                                 c->cands, &c->n_cands);
    ts_detection det = r->selection;
    bool has = r->selected;
    drop(c, in_zone, &has, &det);
    if (in_roi)
        map_roi(c, &roi, &has, &det);
    if (c->params.reference && !c->roi && c->zoom.value < 1.2 && c->frames_tracking < 10)
        drop(c, in_margin, &has, &det);
    if (c->params.reference && has && ambiguous(c, &det)) {
        has = false;
        c->n_cands = 0;
    }
    r->tracked_input = has;
    r->track_in = det;
}

/* ---- reference camera ---- */

static bool detector_stable(const ts_chain *c)
{
    const ts_ball_state *s = ts_ball_get_state(c->ball);
    double updates = s->total_updates > 0 ? (double)s->total_updates : 1;
    return s->erratic_detections / updates < 0.08 && !s->chaos && !s->jitter;
}

static double keep_inside(double v, int size, int frame)
{
    v = fmin(v, frame - size / 2 - 20);
    return fmax(v, size / 2 + 20);
}

static void choose_zoom(ts_chain *c, const ts_ball_result *track)
{
    const ts_ball_state *s = ts_ball_get_state(c->ball);
    double speed = hypot(s->s[2], s->s[3]);
    if (s->chaos || s->jitter) {
        c->zoom_target = 1;
        leave_roi(c);
        c->roi_stable = 0;
        if (s->chaos)
            c->frames_tracking = 0;
    } else if (track->flag && c->frames_tracking >= LOCK_FRAMES) {
        c->zoom_target = speed > 900 ? 1.15 : speed > 600 ? 1.30 : speed > 350 ? 1.45 : 1.60;
        c->roi_stable += c->roi_stable < ROI_STABLE_FRAMES;
        bool allowed = c->params.reference || c->params.roi;
        if (allowed && c->roi_stable == ROI_STABLE_FRAMES && !c->roi) {
            leave_roi(c);
            c->roi = true;
        }
    } else {
        c->zoom_target = 1;
        c->roi_stable = c->roi_stable > 2 ? c->roi_stable - 2 : 0;
    }
}

static void follow_result(ts_chain *c, const ts_ball_result *track, double t_s)
{
    const ts_ball_state *s = ts_ball_get_state(c->ball);
    double target[2] = {track->x, track->y};
    if (!c->had_result) {
        c->had_result = true;
        ts_ref_reset(&c->ref);
        c->camera_crop = ts_ref_update(&c->ref, target, t_s, &s->s[2], detector_stable(c));
        return;
    }
    if (track->flag) {
        c->frames_tracking++;
        c->has_search = false;
    } else {
        leave_roi(c);
        c->frames_tracking = 0;
    }
    target[0] = keep_inside(target[0], c->ref.crop_width, c->params.width);
    target[1] = keep_inside(target[1], c->ref.crop_height, c->params.height);
    if (!track->flag)
        target[1] = fmax((int)(0.35 * c->params.height), c->ref.center[1]);
    c->camera_crop = ts_ref_update(&c->ref, target, t_s, &s->s[2], detector_stable(c));
    choose_zoom(c, track);
}

static void search(ts_chain *c, double t_s)
{
    const double none[2] = {0, 0};
    c->frames_tracking = c->roi_stable = 0;
    c->zoom_target = 1;
    leave_roi(c);
    if (!c->has_search) {
        c->has_search = true;
        c->search[0] = (int)(c->camera_crop.x1 + c->camera_crop.x2) / 2;
        c->search[1] = (int)(c->camera_crop.y1 + c->camera_crop.y2) / 2;
    }
    c->search[0] = (int)(0.96 * c->search[0] + 0.04 * (int)(0.5 * c->params.width));
    c->search[1] = (int)(0.96 * c->search[1] + 0.04 * (int)(0.4 * c->params.height));
    double target[2] = {c->search[0], c->search[1]};
    c->camera_crop = ts_ref_update(&c->ref, target, t_s, none, detector_stable(c));
}

/* Zoomed size about the integer middle, pushed inside the frame. */
static void zoom_axis(double lo, double hi, double zoom, int frame, double *out_lo, double *out_hi)
{
    int size = (int)((hi - lo) / zoom), middle = ((int)lo + (int)hi) / 2;
    int a = middle - size / 2;
    a = a > 0 ? a : 0;
    int b = a + size < frame ? a + size : frame;
    if (b - a < size)
        a = b - size > 0 ? b - size : 0;
    a = a < frame - 2 ? a : frame - 2;
    b = b > a + 2 ? b : a + 2;
    *out_lo = a;
    *out_hi = b < frame ? b : frame;
}

static ts_crop reference_camera(ts_chain *c, const ts_ball_result *track, double t_s, double dt_s)
{
    if (track->present)
        follow_result(c, track, t_s);
    else
        search(c, t_s);
    double z = ts_zoom_update(&c->zoom, c->zoom_target, dt_s);
    ts_crop crop = c->camera_crop;
    if (z > 1.01) {
        zoom_axis(c->camera_crop.x1, c->camera_crop.x2, z, c->params.width, &crop.x1, &crop.x2);
        zoom_axis(c->camera_crop.y1, c->camera_crop.y2, z, c->params.height, &crop.y1, &crop.y2);
    }
    return crop;
}

/* ---- the frame ---- */

ts_chain_result ts_chain_update(ts_chain *c, const ts_detection *detections, size_t n,
                                bool detector_ran, const double target[2], double t_s, double dt_s)
{
    const ts_chain_params *p = &c->params;
    ts_chain_result r = {0};
    if (detector_ran) {
        choose(c, detections, n, &r);
        r.track = ts_ball_update(c->ball, r.tracked_input ? &r.track_in : NULL, c->cands,
                                 c->n_cands, p->reference ? 1.0 / 30 : dt_s);
    } else {
        r.track = ts_ball_predict(c->ball, dt_s);
    }
    const ts_ball_state *s = ts_ball_get_state(c->ball);
    memcpy(r.velocity, &s->s[2], sizeof r.velocity);
    ts_ball_result followed = r.track;
    double velocity[2] = {s->s[2], s->s[3]};
    if (target) {
        followed = (ts_ball_result){true, true, target[0], target[1]};
        velocity[0] = velocity[1] = 0;
    }
    double position[2] = {followed.x, followed.y};
    if (!p->follow)
        c->crop = c->camera_crop = whole_frame(c);
    else if (p->mode == TS_CAMERA_FIXED)
        c->crop = c->camera_crop = p->fixed;
    else if (p->mode == TS_CAMERA_REFERENCE || p->reference)
        c->crop = reference_camera(c, &followed, t_s, dt_s);
    else
        c->crop = c->camera_crop =
            ts_smooth_update(&c->smooth, followed.present, followed.flag, position, velocity, dt_s);
    bool smooth = p->mode == TS_CAMERA_SMOOTH && !p->reference;
    r.camera_crop = c->camera_crop;
    r.crop = c->crop;
    r.zoom = !p->follow ? 1 : smooth ? c->smooth.zoom : c->zoom.value;
    r.frames_tracking = smooth ? c->smooth.seen : c->frames_tracking;
    return r;
}
