#include "server/track/ball.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "server/track/one_euro.h"

const ts_ball_params TS_BALL_DEFAULTS = {
    .max_lost_frames = 10,
    .history_size = 30,
    .max_coast_frames = 15,
    .lock_frames = 20,
    .min_confidence = 0.3,
    .detection_smoothing = 0.25,
    .process_noise = 0.01,
    .measurement_noise = 5.0,
    .adaptive_noise = true,
};

/* Pixel thresholds, as fractions of the frame's width W or height H. */
#define JITTER_LOW_W        0.008
#define JITTER_HIGH_W       0.031
#define JITTER_SUPPRESS_W   0.034
#define LARGE_JUMP_W        0.0625
#define CHAOS_JUMP_STABLE_W 0.13
#define CHAOS_JUMP_W        0.166
#define CHAOS_RADIUS_W      0.078
#define LOCK_RADIUS_W       0.041
#define STILL_W             0.0026
#define UP_JUMP_H           0.14
#define GATE_BASE_W         0.052
#define GATE_SPEED_W        0.31
#define GATE_LOST_W         0.026
#define GATE_LOST_MAX_W     0.104
#define GATE_ERRATIC_W      0.0625
#define SEARCH_BASE_W       0.156
#define SEARCH_LOST_W       0.052
#define SEARCH_MAX_W        0.416

enum {
    JITTER_FRAMES = 45,
    CHAOS_FRAMES = 60,
    CHAOS_PAUSE_FRAMES = 75,
    HISTORY_MAX = 256
};

/* The newest n values; index 0 is the oldest kept. */
typedef struct ring {
    int n, capacity;
    double v[HISTORY_MAX];
} ring;

static void ring_push(ring *r, double value)
{
    if (r->n == r->capacity) {
        memmove(r->v, r->v + 1, (size_t)(r->n - 1) * sizeof *r->v);
        r->n--;
    }
    r->v[r->n++] = value;
}

/* Population mean and variance of the last n values (n <= r->n). */
static void ring_moments(const ring *r, int n, double *mean, double *variance)
{
    const double *v = r->v + r->n - n;
    double sum = 0, square = 0;
    for (int i = 0; i < n; i++)
        sum += v[i];
    *mean = sum / n;
    for (int i = 0; i < n; i++)
        square += (v[i] - *mean) * (v[i] - *mean);
    *variance = square / n;
}

struct ts_ball {
    ts_ball_params params;
    double width, height;
    ts_ball_state state;
    ts_one_euro smoother;
    ring hist_x, hist_y, moves, jumps, small_moves, innovations, scores;
    bool has_last;
    double last[2];
    int chaos_left, chaos_pause, jitter_left;
};

static void set_capacity(ts_ball *b)
{
    int history = b->params.history_size;
    b->hist_x.capacity = b->hist_y.capacity = b->scores.capacity = history < 5 ? 5
                                                                   : history > HISTORY_MAX
                                                                       ? HISTORY_MAX
                                                                       : history;
    b->moves.capacity = 15;
    b->jumps.capacity = 5;
    b->small_moves.capacity = 10;
    b->innovations.capacity = 10;
}

void ts_ball_reset(ts_ball *b, int width, int height)
{
    ts_ball_params params = b->params;
    int track_id = b->state.track_id;
    memset(b, 0, sizeof *b);
    b->params = params;
    b->width = width;
    b->height = height;
    ts_ball_state *s = &b->state;
    s->track_id = track_id;
    s->r = params.measurement_noise;
    s->status = TS_BALL_LOST;
    for (int i = 0; i < 6; i++) {
        s->p[i][i] = 100.0;
        s->q[i] = params.process_noise * (i >= 4 ? 2 : 1);
    }
    ts_one_euro_init(&b->smoother, 30, 0.1, 0.05, 1);
    set_capacity(b);
}

ts_status ts_ball_create(const ts_ball_params *params, int width, int height, ts_ball **out,
                         ts_error *err)
{
    ts_ball *b = calloc(1, sizeof *b);
    if (!b)
        return ts_fail(err, TS_E_NO_MEMORY, "ball tracker");
    b->params = *params;
    ts_ball_reset(b, width, height);
    *out = b;
    return TS_OK;
}

void ts_ball_destroy(ts_ball *ball)
{
    free(ball);
}

const ts_ball_state *ts_ball_get_state(const ts_ball *ball)
{
    return &ball->state;
}

/* ---- filter: constant acceleration, position measured ---- */

static void symmetrise(double p[6][6])
{
    for (int i = 0; i < 6; i++)
        for (int j = i + 1; j < 6; j++)
            p[i][j] = p[j][i] = (p[i][j] + p[j][i]) / 2;
}

static void filter_predict(ts_ball_state *s, double dt)
{
    double f[6][6] = {{0}}, fp[6][6], state[6];
    for (int i = 0; i < 6; i++)
        f[i][i] = 1;
    for (int axis = 0; axis < 2; axis++) {
        f[axis][axis + 2] = f[axis + 2][axis + 4] = dt;
        f[axis][axis + 4] = 0.5 * dt * dt;
    }
    for (int i = 0; i < 6; i++) {
        state[i] = 0;
        for (int j = 0; j < 6; j++) {
            state[i] += f[i][j] * s->s[j];
            fp[i][j] = 0;
            for (int k = 0; k < 6; k++)
                fp[i][j] += f[i][k] * s->p[k][j];
        }
    }
    memcpy(s->s, state, sizeof state);
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 6; j++) {
            double sum = i == j ? s->q[i] : 0;
            for (int k = 0; k < 6; k++)
                sum += fp[i][k] * f[j][k];
            s->p[i][j] = sum;
        }
    symmetrise(s->p);
}

/* Inverse of the innovation covariance S = HPHᵀ + R. */
static void innovation_inverse(const ts_ball_state *s, double inverse[2][2])
{
    double a = s->p[0][0] + s->r, d = s->p[1][1] + s->r, b = (s->p[0][1] + s->p[1][0]) / 2;
    double det = a * d - b * b;
    if (fabs(det) < 1e-12) {
        a += 1e-4;
        d += 1e-4;
        det = a * d - b * b;
    }
    inverse[0][0] = d / det;
    inverse[1][1] = a / det;
    inverse[0][1] = inverse[1][0] = -b / det;
}

static void filter_update(ts_ball *b, double x, double y)
{
    ts_ball_state *s = &b->state;
    double residual[2] = {x - s->s[0], y - s->s[1]}, inverse[2][2], gain[6][2], p[6][6];
    innovation_inverse(s, inverse);
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 2; j++)
            gain[i][j] = s->p[i][0] * inverse[0][j] + s->p[i][1] * inverse[1][j];
    /* (I − KH)P, in this form: after an inflation P − KHP would lose all its digits. */
    for (int i = 0; i < 6; i++) {
        s->s[i] += gain[i][0] * residual[0] + gain[i][1] * residual[1];
        double row[6] = {-gain[i][0], -gain[i][1]};
        row[i] += 1;
        for (int j = 0; j < 6; j++) {
            p[i][j] = 0;
            for (int k = 0; k < 6; k++)
                p[i][j] += row[k] * s->p[k][j];
        }
    }
    memcpy(s->p, p, sizeof p);
    symmetrise(s->p);
    ring_push(&b->innovations, hypot(residual[0], residual[1]));
}

static bool filter_stable(const ts_ball *b)
{
    double mean, variance;
    if (b->innovations.n < 5)
        return true;
    ring_moments(&b->innovations, 5, &mean, &variance);
    return sqrt(variance) < 50;
}

static void inflate(ts_ball_state *s)
{
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 6; j++)
            s->p[i][j] *= i >= 2 && j >= 2 ? 100 : 10;
}

/* ---- judgements ---- */

static bool erratic(const ts_ball *b)
{
    double mean, variance, w = b->width;
    if (b->moves.n < 6)
        return false;
    ring_moments(&b->moves, b->moves.n < 8 ? b->moves.n : 8, &mean, &variance);
    if (variance > 0.012 * w * 0.012 * w ||
        (mean > 0.036 * w && variance > 0.0097 * w * 0.0097 * w))
        return true;
    int large = 0;
    for (int i = b->moves.n - 5; i < b->moves.n; i++)
        large += b->moves.v[i] > 0.044 * w;
    if (large >= 3)
        return true;
    if (b->hist_x.n < 5)
        return false;
    int turns = 0;
    const ring *axes[2] = {&b->hist_x, &b->hist_y};
    for (int i = b->hist_x.n - 5; i + 2 < b->hist_x.n; i++)
        for (int axis = 0; axis < 2; axis++) {
            const double *v = axes[axis]->v;
            double first = v[i + 1] - v[i], second = v[i + 2] - v[i + 1];
            turns += fabs(first) > 10 && fabs(second) > 10 && first * second < 0;
        }
    return turns >= 3;
}

/* What is known before a frame's detection is looked at. */
typedef struct context {
    double strength;
    bool stable, recovering, erratic, very_stable;
} context;

static context judge(const ts_ball *b)
{
    const ts_ball_state *s = &b->state;
    context c = {.strength = fmin(s->streak / 15.0, 1)};
    double mean, variance = 0;
    c.stable = c.strength > 0.5;
    c.recovering = s->lost >= 1 && s->lost <= 5;
    c.erratic = erratic(b);
    if (b->moves.n >= 3)
        ring_moments(&b->moves, b->moves.n < 10 ? b->moves.n : 10, &mean, &variance);
    c.very_stable = s->streak >= 25 && variance < 15;
    return c;
}

static void count_down(ts_ball *b)
{
    ts_ball_state *s = &b->state;
    s->lock -= s->lock > 0;
    b->chaos_pause -= b->chaos_pause > 0;
    if (b->jitter_left > 0 && --b->jitter_left == 0) {
        s->jitter = false;
        b->small_moves.n = 0;
    }
    if (b->chaos_left > 0 && --b->chaos_left == 0) {
        s->chaos = false;
        b->chaos_pause = CHAOS_PAUSE_FRAMES;
        b->has_last = false;
        b->jumps.n = 0;
    }
}

/* Chaos and jitter modes; false drops the detection. */
static bool passes_modes(ts_ball *b, const context *c, double x, double y)
{
    ts_ball_state *s = &b->state;
    if (!b->has_last)
        return true;
    double w = b->width, jump = hypot(x - b->last[0], y - b->last[1]);
    ring_push(&b->jumps, jump);
    if (jump > JITTER_LOW_W * w && jump < JITTER_HIGH_W * w)
        ring_push(&b->small_moves, jump);
    int large = 0;
    for (int i = 0; i < b->jumps.n; i++)
        large += b->jumps.v[i] > LARGE_JUMP_W * w;
    if (b->params.allow_jitter_mode && b->small_moves.n >= 7) {
        s->jitter = true;
        b->jitter_left = JITTER_FRAMES;
    }
    double limit = (c->stable ? CHAOS_JUMP_STABLE_W : CHAOS_JUMP_W) * w;
    if (b->params.allow_chaos_mode && b->chaos_pause == 0 && (jump > limit || large >= 3)) {
        s->chaos = true;
        b->chaos_left = CHAOS_FRAMES;
        b->chaos_pause = CHAOS_PAUSE_FRAMES;
        s->jump_rejections++;
        return false;
    }
    if (b->params.allow_chaos_mode && s->chaos && jump > CHAOS_RADIUS_W * w)
        return false;
    return !(b->params.allow_jitter_mode && s->jitter && jump > JITTER_LOW_W * w &&
             jump < JITTER_SUPPRESS_W * w);
}

/* The rules that drop a detection before it is gated. */
static bool plausible(ts_ball *b, const context *c, double x, double y, double score)
{
    ts_ball_state *s = &b->state;
    if (!passes_modes(b, c, x, y))
        return false;
    if (s->lock > 0 && s->initialised && hypot(x - s->s[0], y - s->s[1]) > LOCK_RADIUS_W * b->width)
        return false;
    if (s->lost > 5 && score < 0.75 && s->streak < 1)
        return false;
    if (b->has_last && b->last[1] - y > UP_JUMP_H * b->height && !s->chaos && score < 0.85)
        return false;
    return score >= b->params.min_confidence || c->stable;
}

static bool passes_gates(ts_ball *b, const context *c, double x, double y, double score)
{
    ts_ball_state *s = &b->state;
    double w = b->width, dx = x - s->s[0], dy = y - s->s[1], inverse[2][2];
    bool jumpy = c->erratic && c->stable;
    if (!(c->stable && !c->recovering) && !jumpy)
        return true;
    s->erratic_detections += jumpy;
    double allowed = GATE_BASE_W * w + fmin(2 * hypot(s->s[2], s->s[3]), GATE_SPEED_W * w) +
                     fmin(GATE_LOST_W * w * s->lost, GATE_LOST_MAX_W * w) -
                     (c->erratic ? GATE_ERRATIC_W * w : 0);
    if (hypot(dx, dy) > allowed) {
        if (score <= 0.85) {
            s->outliers_rejected++;
            return false;
        }
        inflate(s);
    }
    innovation_inverse(s, inverse);
    double m = dx * dx * inverse[0][0] + 2 * dx * dy * inverse[0][1] + dy * dy * inverse[1][1];
    double limit = 15 + fmin(8 * s->lost, 40) + fmax(0, 25 * (score - 0.6)) - (c->erratic ? 10 : 0);
    if (m > limit) {
        if (score <= 0.75) {
            s->outliers_rejected++;
            return false;
        }
        inflate(s);
    }
    return true;
}

/* ---- outcomes ---- */

static void remember(ts_ball *b, double x, double y, double score)
{
    ring_push(&b->hist_x, x);
    ring_push(&b->hist_y, y);
    ring_push(&b->scores, score);
}

static ts_ball_result start_track(ts_ball *b, double x, double y, double score)
{
    ts_ball_state *s = &b->state;
    s->s[0] = x;
    s->s[1] = y;
    s->initialised = s->tracking = true;
    s->lost = 0;
    s->streak = 1;
    s->r = b->params.measurement_noise;
    s->track_id++;
    s->successful_tracks++;
    s->status = TS_BALL_DETECTED;
    remember(b, x, y, score);
    return (ts_ball_result){true, true, x, y};
}

static void adapt_noise(ts_ball *b)
{
    int n = b->hist_x.n;
    if (!b->params.adaptive_noise || n < 5)
        return;
    double sum = 0;
    for (int i = n - 4; i < n; i++)
        sum += hypot(b->hist_x.v[i] - b->hist_x.v[i - 1], b->hist_y.v[i] - b->hist_y.v[i - 1]);
    double mean = sum / 4 / b->width;
    double factor = mean < 0.002 ? 0.95 : mean > 0.015 ? 1.05 : 1;
    for (int i = 0; i < 6; i++)
        b->state.q[i] = fmin(fmax(b->state.q[i] * factor, 1e-4), 1e-1);
}

static ts_ball_result accept(ts_ball *b, const context *c, double x, double y, double score)
{
    ts_ball_state *s = &b->state;
    double move = 0;
    if (b->hist_x.n) {
        move = hypot(x - b->hist_x.v[b->hist_x.n - 1], y - b->hist_y.v[b->hist_y.n - 1]);
        ring_push(&b->moves, move);
    }
    filter_update(b, x, y);
    s->lost = 0;
    s->streak++;
    s->r = 3 + 7 * (1 - fmin(s->streak / 15.0, 1)) + (c->erratic ? 6 : 0);
    if (c->very_stable && move < STILL_W * b->width)
        s->lock = b->params.lock_frames;
    b->has_last = true;
    b->last[0] = x;
    b->last[1] = y;
    adapt_noise(b);
    remember(b, x, y, score);
    s->coast = false;
    s->tracking = true;
    s->successful_tracks++;
    s->status = TS_BALL_DETECTED;
    return (ts_ball_result){true, true, x, y};
}

/* The candidate near the prediction with the least distance per score, or NULL. */
static const ts_detection *find_lost(const ts_ball *b, const ts_detection *cands, size_t n)
{
    const ts_ball_state *s = &b->state;
    double radius =
        fmin((SEARCH_BASE_W + SEARCH_LOST_W * s->lost) * b->width, SEARCH_MAX_W * b->width);
    double floor_score = fmax(0.2, b->params.min_confidence - 0.15), best = INFINITY;
    const ts_detection *found = NULL;
    for (size_t i = 0; i < n; i++) {
        double d = hypot(cands[i].cx - s->s[0], cands[i].cy - s->s[1]);
        if (cands[i].score < floor_score || d > radius || d / cands[i].score >= best)
            continue;
        best = d / cands[i].score;
        found = &cands[i];
    }
    return found;
}

static ts_ball_result update(ts_ball *b, const ts_detection *det, const ts_detection *cands,
                             size_t n_cands, double dt);

static ts_ball_result missing(ts_ball *b, const ts_detection *cands, size_t n_cands)
{
    ts_ball_state *s = &b->state;
    s->lost++;
    s->streak = s->streak > 2 ? s->streak - 2 : 0;
    if (s->lost == 1)
        s->r = 8;
    if (s->lost == 3)
        s->r = 12;
    if (s->lost > b->params.max_lost_frames || !s->initialised) {
        s->tracking = s->coast = false;
        s->streak = 0;
        s->status = TS_BALL_LOST;
        return (ts_ball_result){0};
    }
    const ts_detection *found = find_lost(b, cands, n_cands);
    if (found)
        return update(b, found, NULL, 0, 1.0 / 30);
    s->predictions_used++;
    remember(b, s->s[0], s->s[1], 0);
    if (!filter_stable(b))
        for (int i = 0; i < 36; i++)
            s->p[i / 6][i % 6] *= 1.3;
    bool coasting = s->streak > 10 && s->lost < b->params.max_coast_frames;
    s->coast = s->coast || coasting;
    s->status = coasting ? TS_BALL_COASTING : TS_BALL_PREDICTED;
    return (ts_ball_result){true, coasting, s->s[0], s->s[1]};
}

static ts_ball_result update(ts_ball *b, const ts_detection *det, const ts_detection *cands,
                             size_t n_cands, double dt)
{
    ts_ball_state *s = &b->state;
    s->total_updates++;
    if (s->initialised)
        filter_predict(s, dt);
    context c = judge(b);
    count_down(b);
    size_t confident = 0;
    for (size_t i = 0; i < n_cands; i++)
        confident += cands[i].score > 0.6;
    if (c.stable && confident >= 3) { /* too many lookalikes: trust none of them */
        det = NULL;
        n_cands = 0;
    }
    if (det) {
        double point[2] = {det->cx, det->cy};
        if (b->params.detection_smoothing > 0)
            ts_one_euro_filter(&b->smoother, point, NAN);
        if (plausible(b, &c, point[0], point[1], det->score)) {
            if (!s->initialised)
                return start_track(b, point[0], point[1], det->score);
            if (passes_gates(b, &c, point[0], point[1], det->score))
                return accept(b, &c, point[0], point[1], det->score);
        }
    }
    return missing(b, cands, n_cands);
}

static void refresh_confidence(ts_ball *b)
{
    double variance;
    int n = b->scores.n < 10 ? b->scores.n : 10;
    b->state.avg_confidence = 0;
    if (n)
        ring_moments(&b->scores, n, &b->state.avg_confidence, &variance);
}

ts_ball_result ts_ball_update(ts_ball *b, const ts_detection *det, const ts_detection *cands,
                              size_t n_cands, double dt_s)
{
    ts_ball_result result = update(b, det, cands, n_cands, dt_s);
    refresh_confidence(b);
    return result;
}

ts_ball_result ts_ball_predict(ts_ball *b, double dt_s)
{
    ts_ball_state *s = &b->state;
    if (!s->initialised || s->lost > b->params.max_lost_frames)
        return (ts_ball_result){0};
    filter_predict(s, dt_s);
    return (ts_ball_result){true, s->lost == 0 || s->coast, s->s[0], s->s[1]};
}
