#include "server/track/bytetrack.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/size.h"
#include "server/track/assign.h"

const ts_mot_params TS_MOT_DEFAULTS = {
    .track_thresh = 0.6,
    .low_thresh = 0.1,
    .init_thresh = 0.7,
    .match_thresh = 0.8,
    .second_thresh = 0.5,
    .unconfirmed_thresh = 0.7,
    .fps = 30,
    .duplicate_iou = 0.85,
    .track_buffer = 30,
    .fuse_score = true,
    .class_aware = true,
    .second_association = true,
};

static const double STD_POSITION = 1.0 / 20, STD_VELOCITY = 1.0 / 160;

/*
 * Constant velocity in (cx, cy, w/h, h). All covariances are diagonal between the four, so each is a
 * filter of its own with a 2x2 covariance {pp, pv, vv}.
 */
typedef struct axis {
    double position, velocity, pp, pv, vv;
} axis;

typedef enum track_state {
    TRACKED,
    LOST,
    REMOVED
} track_state;

typedef struct track {
    axis axes[4];
    track_state state;
    bool confirmed;
    int id, class_id, start_frame, last_frame;
    double score;
} track;

struct ts_mot {
    ts_mot_params params;
    int frame, next_id;
    track *tracks; /* tracked and lost, in order of their start */
    size_t n, capacity;
    /* scratch, grown to the largest frame seen */
    double *cost;
    int *match;
    size_t *rows, *cols;
    size_t cost_capacity, rows_capacity, cols_capacity;
    ts_track *out;
    size_t out_capacity;
};

ts_status ts_mot_create(const ts_mot_params *params, ts_mot **out, ts_error *err)
{
    ts_mot *mot = calloc(1, sizeof *mot);
    if (!mot)
        return ts_fail(err, TS_E_NO_MEMORY, "object tracker");
    mot->params = *params;
    *out = mot;
    return TS_OK;
}

void ts_mot_destroy(ts_mot *mot)
{
    if (!mot)
        return;
    free(mot->tracks);
    free(mot->cost);
    free(mot->match);
    free(mot->rows);
    free(mot->cols);
    free(mot->out);
    free(mot);
}

void ts_mot_reset(ts_mot *mot)
{
    mot->n = 0;
    mot->frame = 0;
}

int ts_mot_created(const ts_mot *mot)
{
    return mot->next_id;
}

/* ---- filter ---- */

static double square(double v)
{
    return v * v;
}

static void measure(const ts_detection *d, double z[4])
{
    z[0] = d->cx;
    z[1] = d->cy;
    z[2] = d->h > 0 ? d->w / d->h : 0;
    z[3] = d->h;
}

static void filter_init(track *t, const ts_detection *d)
{
    double z[4];
    measure(d, z);
    for (int i = 0; i < 4; i++) {
        double p = i == 2 ? 1e-2 : 2 * STD_POSITION * z[3];
        double v = i == 2 ? 1e-5 : 10 * STD_VELOCITY * z[3];
        t->axes[i] = (axis){z[i], 0, square(p), 0, square(v)};
    }
}

static void filter_predict(track *t)
{
    double h = t->axes[3].position;
    if (t->state != TRACKED)
        t->axes[3].velocity = 0;
    for (int i = 0; i < 4; i++) {
        axis *a = &t->axes[i];
        a->position += a->velocity;
        a->pp += 2 * a->pv + a->vv + square(i == 2 ? 1e-2 : STD_POSITION * h);
        a->pv += a->vv;
        a->vv += square(i == 2 ? 1e-5 : STD_VELOCITY * h);
    }
}

static void filter_update(track *t, const ts_detection *d)
{
    double z[4], h = t->axes[3].position;
    measure(d, z);
    for (int i = 0; i < 4; i++) {
        axis *a = &t->axes[i];
        double s = a->pp + square(i == 2 ? 1e-1 : STD_POSITION * h);
        double kp = a->pp / s, kv = a->pv / s, residual = z[i] - a->position;
        a->position += kp * residual;
        a->velocity += kv * residual;
        a->vv -= kv * a->pv;
        a->pv -= kp * a->pv;
        a->pp -= kp * a->pp;
    }
}

static ts_track box_of(const track *t)
{
    double h = t->axes[3].position, w = t->axes[2].position * h;
    double cx = t->axes[0].position, cy = t->axes[1].position;
    return (ts_track){t->id, t->class_id, cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2, t->score};
}

static double iou(const ts_track *a, const ts_track *b)
{
    double w = fmin(a->x2, b->x2) - fmax(a->x1, b->x1), h = fmin(a->y2, b->y2) - fmax(a->y1, b->y1);
    if (w <= 0 || h <= 0)
        return 0;
    double common = w * h;
    return common /
           ((a->x2 - a->x1) * (a->y2 - a->y1) + (b->x2 - b->x1) * (b->y2 - b->y1) - common);
}

/* ---- association ---- */

static bool grow(void **memory, size_t *capacity, size_t need, size_t width)
{
    if (need <= *capacity)
        return true;
    size_t wanted = need * 2;
    void *p = ts_realloc_array(*memory, wanted, width);
    if (!p)
        return false;
    *memory = p;
    *capacity = wanted;
    return true;
}

/* Choose what takes part in a round: rows are indices of tracks, cols of detections. */
typedef struct round {
    double limit;
    bool fuse;
    size_t n_rows, n_cols;
} round_of;

static void accept(ts_mot *mot, track *t, const ts_detection *d)
{
    filter_update(t, d);
    t->state = TRACKED;
    t->confirmed = true;
    t->score = d->score;
    t->class_id = d->class_id;
    t->last_frame = mot->frame;
}

/* Match mot->rows with mot->cols and update what matched; `taken` marks used detections. */
static ts_status associate(ts_mot *mot, round_of round, const ts_detection *detections, char *taken,
                           char *matched, ts_error *err)
{
    size_t need = round.n_rows * round.n_cols;
    if (need == 0)
        return TS_OK;
    if (!grow((void **)&mot->cost, &mot->cost_capacity, need, sizeof *mot->cost))
        return ts_fail(err, TS_E_NO_MEMORY, "%zu costs", need);
    for (size_t i = 0; i < round.n_rows; i++) {
        ts_track box = box_of(&mot->tracks[mot->rows[i]]);
        for (size_t j = 0; j < round.n_cols; j++) {
            const ts_detection *d = &detections[mot->cols[j]];
            ts_track other = {.x1 = d->cx - d->w / 2,
                              .y1 = d->cy - d->h / 2,
                              .x2 = d->cx + d->w / 2,
                              .y2 = d->cy + d->h / 2};
            bool apart = mot->params.class_aware && d->class_id != box.class_id;
            double overlap = apart ? 0 : iou(&box, &other);
            mot->cost[i * round.n_cols + j] = 1 - overlap * (round.fuse ? d->score : 1);
        }
    }
    ts_status st = ts_assign(mot->cost, round.n_rows, round.n_cols, round.limit, mot->match, err);
    for (size_t i = 0; i < round.n_rows && st == TS_OK; i++) {
        if (mot->match[i] < 0)
            continue;
        size_t detection = mot->cols[mot->match[i]];
        accept(mot, &mot->tracks[mot->rows[i]], &detections[detection]);
        taken[detection] = matched[mot->rows[i]] = 1;
    }
    return st;
}

static size_t pick_detections(ts_mot *mot, const ts_detection *d, size_t n, const char *taken,
                              bool high)
{
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        bool is_high = d[i].score > mot->params.track_thresh;
        bool is_low = d[i].score > mot->params.low_thresh && d[i].score < mot->params.track_thresh;
        if (!taken[i] && (high ? is_high : is_low))
            mot->cols[k++] = i;
    }
    return k;
}

static ts_status start_tracks(ts_mot *mot, const ts_detection *d, size_t n, const char *taken,
                              ts_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (taken[i] || d[i].score <= mot->params.track_thresh ||
            d[i].score < mot->params.init_thresh)
            continue;
        if (!grow((void **)&mot->tracks, &mot->capacity, mot->n + 1, sizeof *mot->tracks))
            return ts_fail(err, TS_E_NO_MEMORY, "%zu tracks", mot->n + 1);
        track *t = &mot->tracks[mot->n++];
        *t = (track){.state = TRACKED,
                     .confirmed = mot->frame == 1,
                     .id = ++mot->next_id,
                     .class_id = d[i].class_id,
                     .start_frame = mot->frame,
                     .last_frame = mot->frame,
                     .score = d[i].score};
        filter_init(t, &d[i]);
    }
    return TS_OK;
}

/* The later loser of a tracked and a lost track on the same object goes. */
static void remove_duplicates(ts_mot *mot)
{
    for (size_t i = 0; i < mot->n; i++)
        for (size_t j = 0; j < mot->n; j++) {
            track *p = &mot->tracks[i], *q = &mot->tracks[j];
            if (p->state != TRACKED || q->state != LOST)
                continue;
            ts_track a = box_of(p), b = box_of(q);
            if (iou(&a, &b) <= mot->params.duplicate_iou)
                continue;
            if (p->last_frame - p->start_frame > q->last_frame - q->start_frame)
                q->state = REMOVED;
            else
                p->state = REMOVED;
        }
}

static void drop_removed(ts_mot *mot)
{
    size_t kept = 0;
    for (size_t i = 0; i < mot->n; i++)
        if (mot->tracks[i].state != REMOVED)
            mot->tracks[kept++] = mot->tracks[i];
    mot->n = kept;
}

/* Tracks are kept in order of their start, so the output is already sorted by id. */
static ts_status collect(ts_mot *mot, const ts_track **tracks, size_t *n_tracks, ts_error *err)
{
    if (!grow((void **)&mot->out, &mot->out_capacity, mot->n + 1, sizeof *mot->out))
        return ts_fail(err, TS_E_NO_MEMORY, "%zu tracks", mot->n);
    size_t n = 0;
    for (size_t i = 0; i < mot->n; i++) {
        const track *t = &mot->tracks[i];
        if (t->state != TRACKED || !t->confirmed)
            continue;
        ts_track box = box_of(t);
        double w = box.x2 - box.x1, h = box.y2 - box.y1;
        if (w * h < mot->params.min_box_area ||
            (mot->params.max_aspect > 0 && w > mot->params.max_aspect * h))
            continue;
        mot->out[n++] = box;
    }
    *tracks = mot->out;
    *n_tracks = n;
    return TS_OK;
}

static ts_status associate_all(ts_mot *mot, const ts_detection *d, size_t n, char *taken,
                               char *matched, ts_error *err)
{
    const ts_mot_params *p = &mot->params;
    size_t before = mot->n;
    round_of first = {p->match_thresh, p->fuse_score, 0, 0};
    for (size_t i = 0; i < before; i++) {
        if (!mot->tracks[i].confirmed)
            continue;
        filter_predict(&mot->tracks[i]);
        mot->rows[first.n_rows++] = i;
    }
    first.n_cols = pick_detections(mot, d, n, taken, true);
    ts_status st = associate(mot, first, d, taken, matched, err);

    round_of second = {p->second_thresh, false, 0, 0};
    for (size_t i = 0; i < before; i++)
        if (mot->tracks[i].confirmed && mot->tracks[i].state == TRACKED && !matched[i])
            mot->rows[second.n_rows++] = i;
    second.n_cols = p->second_association ? pick_detections(mot, d, n, taken, false) : 0;
    if (st == TS_OK)
        st = associate(mot, second, d, taken, matched, err);

    round_of third = {p->unconfirmed_thresh, p->fuse_score, 0, 0};
    for (size_t i = 0; i < before; i++) {
        track *t = &mot->tracks[i];
        if (t->confirmed && t->state == TRACKED && !matched[i])
            t->state = LOST;
        if (!t->confirmed)
            mot->rows[third.n_rows++] = i;
    }
    third.n_cols = pick_detections(mot, d, n, taken, true);
    if (st == TS_OK)
        st = associate(mot, third, d, taken, matched, err);
    for (size_t i = 0; i < before; i++)
        if (!mot->tracks[i].confirmed)
            mot->tracks[i].state = REMOVED;
    return st;
}

ts_status ts_mot_update(ts_mot *mot, const ts_detection *d, size_t n, const ts_track **tracks,
                        size_t *n_tracks, ts_error *err)
{
    mot->frame++;
    size_t unused = mot->rows_capacity;
    char *marks = calloc(n + mot->n + 1, 1);
    if (!marks || !grow((void **)&mot->match, &unused, mot->n + 1, sizeof *mot->match) ||
        !grow((void **)&mot->rows, &mot->rows_capacity, mot->n + 1, sizeof *mot->rows) ||
        !grow((void **)&mot->cols, &mot->cols_capacity, n + 1, sizeof *mot->cols))
    {
        free(marks);
        return ts_fail(err, TS_E_NO_MEMORY, "%zu detections", n);
    }
    int max_lost = (int)(mot->params.fps / 30 * mot->params.track_buffer);
    ts_status st = associate_all(mot, d, n, marks, marks + n, err);
    if (st == TS_OK)
        st = start_tracks(mot, d, n, marks, err);
    free(marks);
    if (st != TS_OK)
        return st;
    for (size_t i = 0; i < mot->n; i++)
        if (mot->tracks[i].state == LOST && mot->frame - mot->tracks[i].last_frame > max_lost)
            mot->tracks[i].state = REMOVED;
    remove_duplicates(mot);
    drop_removed(mot);
    return collect(mot, tracks, n_tracks, err);
}
