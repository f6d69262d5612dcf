#include "cl/models/gaze/readout.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/size.h"

void ts_readout_ids_finish(ts_readout_ids *ids)
{
    free(ids->id);
    *ids = (ts_readout_ids){0};
}

static bool push(ts_readout_ids *ids, int32_t id)
{
    if (ids->n == ids->cap) {
        size_t cap = ids->cap ? 2 * ids->cap : 64;
        int32_t *p = ts_realloc_array(ids->id, cap, sizeof *p);
        if (!p)
            return false;
        ids->id = p;
        ids->cap = cap;
    }
    ids->id[ids->n++] = id;
    return true;
}

/* Half-open ranges of columns and rows of a target grid. */
typedef struct span {
    int c0, c1, r0, r1;
} span;

static int floor_div(int64_t a, int64_t b)
{
    return (int)(a / b);
}

static int ceil_div(int64_t a, int64_t b)
{
    return (int)((a + b - 1) / b);
}

static double clamp01(double v)
{
    return v < 0 ? 0 : v > 1 ? 1 : v;
}

/* Cells as they are by integers; scaled ones by numbers with a guard against rounding. */
static span span_of(const ts_gaze_cell *c, int h, int w, double scale)
{
    if (scale == 1)
        return (span){
            floor_div((int64_t)c->col * w, c->cols), ceil_div((int64_t)(c->col + 1) * w, c->cols),
            floor_div((int64_t)c->row * h, c->rows), ceil_div((int64_t)(c->row + 1) * h, c->rows)};
    const double guard = 1e-6;
    double x = (c->col + 0.5) / c->cols, dx = 0.5 * scale / c->cols;
    double y = (c->row + 0.5) / c->rows, dy = 0.5 * scale / c->rows;
    return (span){(int)floor(clamp01(x - dx) * w + guard), (int)ceil(clamp01(x + dx) * w - guard),
                  (int)floor(clamp01(y - dy) * h + guard), (int)ceil(clamp01(y + dy) * h - guard)};
}

static span widen(span s, int by, int h, int w)
{
    s.c0 = s.c0 - by < 0 ? 0 : s.c0 - by;
    s.r0 = s.r0 - by < 0 ? 0 : s.r0 - by;
    s.c1 = s.c1 + by > w ? w : s.c1 + by;
    s.r1 = s.r1 + by > h ? h : s.r1 + by;
    return s;
}

/* Append what is new of a span, row by row. */
static bool emit(span s, int w, int32_t base, uint8_t *seen, size_t most, size_t first,
                 ts_readout_ids *out)
{
    for (int r = s.r0; r < s.r1; r++)
        for (int c = s.c0; c < s.c1; c++) {
            int32_t id = base + r * w + c;
            if (seen[id] || (most && out->n - first >= most))
                continue;
            seen[id] = 1;
            if (!push(out, id))
                return false;
        }
    return true;
}

static ts_status check_grid(int h, int w, ts_error *err)
{
    if (h < 1 || w < 1 || h > TS_READOUT_MAX_SIDE || w > TS_READOUT_MAX_SIDE)
        return ts_fail(err, TS_E_OPTION, "readout: a grid of %dx%d, want sides of 1 to %d", h, w,
                       TS_READOUT_MAX_SIDE);
    return TS_OK;
}

static ts_status no_memory(ts_error *err)
{
    return ts_fail(err, TS_E_NO_MEMORY, "no memory for readout tokens");
}

ts_status ts_readout_image(const ts_gaze_cell *cells, size_t n, int h, int w,
                           const ts_readout_options *o, ts_readout_ids *out, ts_error *err)
{
    ts_status st = check_grid(h, w, err);
    if (st != TS_OK)
        return st;
    uint8_t *seen = calloc((size_t)h, (size_t)w);
    size_t first = out->n, taken = 0;
    double scale = o->fixation_scale > 0 ? o->fixation_scale : 1;
    bool ok = seen != NULL;
    for (size_t i = 0; i < n && ok; i++) {
        if (!(cells[i].confidence > o->confidence_threshold))
            continue;
        if (o->max_fixations && taken++ >= o->max_fixations)
            break;
        span s = widen(span_of(&cells[i], h, w, scale), o->dilation, h, w);
        ok = emit(s, w, 0, seen, o->max_tokens, first, out);
    }
    free(seen);
    return ok ? TS_OK : no_memory(err);
}

/* Evenly spaced ids, then the lowest unused ones, until there are `target`. */
static bool fill_up(ts_readout_ids *out, size_t first, size_t target, int32_t total, uint8_t *seen)
{
    size_t k = target;
    for (size_t i = 0; i < k && out->n - first < target; i++) {
        int32_t id = (int32_t)((i * (size_t)(total - 1) + k / 2) / k);
        if (seen[id])
            continue;
        seen[id] = 1;
        if (!push(out, id))
            return false;
    }
    for (int32_t id = 0; id < total && out->n - first < target; id++)
        if (!seen[id]) {
            seen[id] = 1;
            if (!push(out, id))
                return false;
        }
    return true;
}

ts_status ts_readout_video(const ts_readout_ids *frames, size_t n_frames, int ih, int iw,
                           int tubelet, int h, int w, const ts_readout_options *o,
                           ts_readout_ids *out, ts_error *err)
{
    ts_status st = check_grid(ih, iw, err);
    if (st == TS_OK)
        st = check_grid(h, w, err);
    if (st != TS_OK)
        return st;
    if (tubelet < 1 || n_frames % (size_t)tubelet)
        return ts_fail(err, TS_E_OPTION, "readout: %zu frames are no multiple of tubelet %d",
                       n_frames, tubelet);
    size_t bins = n_frames / (size_t)tubelet, total, first = out->n;
    if (!ts_mul_size(bins, (size_t)h * (size_t)w, &total) || total > INT32_MAX)
        return ts_fail(err, TS_E_OPTION, "readout: a grid of %zux%dx%d is too large", bins, h, w);
    uint8_t *seen = calloc(total ? total : 1, 1);
    bool ok = seen != NULL;
    for (size_t t = 0; t < n_frames && ok; t++)
        for (size_t i = 0; i < frames[t].n && ok; i++) {
            int row = frames[t].id[i] / iw, col = frames[t].id[i] % iw;
            ts_gaze_cell c = {.cols = iw, .rows = ih, .col = col, .row = row};
            int32_t base = (int32_t)(t / (size_t)tubelet) * h * w;
            ok = emit(span_of(&c, h, w, 1), w, base, seen, o->max_tokens, first, out);
        }
    size_t target = o->min_tokens < total ? o->min_tokens : total;
    if (ok && out->n - first < target)
        ok = fill_up(out, first, target, (int32_t)total, seen);
    free(seen);
    return ok ? TS_OK : no_memory(err);
}
