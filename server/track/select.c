#include "server/track/select.h"

#include <math.h>
#include <string.h>

const ts_select_params TS_SELECT_DEFAULTS = {.confidence = 0.25};

void ts_select_init(ts_select *select, const ts_select_params *params)
{
    memset(select, 0, sizeof *select);
    select->params = *params;
}

static double calibrate(const ts_detection *d)
{
    double area = d->w * d->h;
    double score = d->score * (area < 3000 ? 1.10 : area > 150000 ? 0.95 : 1);
    return fmin(fmax(score, 0), 1);
}

static void remember(ts_select *s, const ts_detection *pick)
{
    if (s->n_picks == TS_SELECT_MEMORY) {
        memmove(s->picks, s->picks + 1, sizeof s->picks - sizeof s->picks[0]);
        s->n_picks--;
    }
    s->picks[s->n_picks++] = *pick;
}

static bool extrapolate(const ts_select *s, ts_detection *pick)
{
    if (!s->params.temporal_fallback || s->n_picks < 2)
        return false;
    const ts_detection *last = &s->picks[s->n_picks - 1], *before = last - 1;
    int n = s->n_picks < 3 ? s->n_picks : 3;
    *pick = (ts_detection){.cx = 2 * last->cx - before->cx,
                           .cy = 2 * last->cy - before->cy,
                           .class_id = last->class_id};
    for (int i = s->n_picks - n; i < s->n_picks; i++) {
        pick->w += s->picks[i].w / n;
        pick->h += s->picks[i].h / n;
        pick->score += 0.5 * s->picks[i].score / n;
    }
    return true;
}

/* Highest score, or score and nearness to the last pick together. */
static double merit(const ts_select *s, const ts_detection *d, const ts_crop *roi)
{
    if (s->n_picks == 0)
        return d->score;
    const ts_detection *last = &s->picks[s->n_picks - 1];
    bool map = roi && !s->params.compat;
    double x = d->cx + (map ? roi->x1 : 0), y = d->cy + (map ? roi->y1 : 0);
    return 0.6 * d->score + 0.4 / (1 + hypot(x - last->cx, y - last->cy) / 100);
}

bool ts_select_pick(ts_select *s, const ts_detection *detections, size_t n, const ts_crop *roi,
                    ts_detection *pick, ts_detection *cands, size_t *n_cands)
{
    size_t kept = 0;
    bool one_class = true;
    for (size_t i = 0; i < n && i < TS_SELECT_MAX; i++) {
        ts_detection d = detections[i];
        d.score = calibrate(&d);
        if (d.score < s->params.confidence)
            continue;
        one_class = one_class && (kept == 0 || d.class_id == cands[0].class_id);
        cands[kept++] = d;
    }
    size_t n_picked = 0;
    const ts_detection *best = NULL;
    double best_merit = -INFINITY;
    for (size_t i = 0; i < kept; i++) {
        if (!one_class && cands[i].class_id != s->params.ball_class_id)
            continue;
        /* Only what may be the ball is a rival of it; the reference counts players too. */
        const ts_detection *d = s->params.compat ? &cands[i] : &cands[n_picked];
        if (!s->params.compat)
            cands[n_picked++] = cands[i];
        double m = merit(s, d, roi);
        if (m > best_merit) {
            best_merit = m;
            best = d;
        }
    }
    *n_cands = s->params.compat ? kept : n_picked;
    if (!best)
        return !roi && extrapolate(s, pick);
    *pick = *best;
    if (!roi)
        remember(s, pick);
    return true;
}
