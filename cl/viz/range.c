/* Ranges of groups of samples, computed and kept on the device. */
#include <math.h>

#include "cl/viz/viz_internal.h"

enum {
    GPU_LANES = 256,
    DIGITS = 2048, /* of a selection pass */
    MAX_HIST_BYTES = 256 << 20
};

view_scope range_scope(const view_part *part, const viz_plan *plan)
{
    view_scope scope = part->range.scope;
    if (!plan->whole_ok && scope == SCOPE_TENSOR)
        return SCOPE_VIEW;
    if (scope == SCOPE_TILE && !plan->montage)
        return SCOPE_VIEW;
    if (scope == SCOPE_CHANNEL && plan->planes == 1) {
        if (plan->kind == KIND_GRID)
            return SCOPE_TILE;
        if (plan->kind != KIND_BATCH)
            return SCOPE_VIEW;
    }
    return scope;
}

static void region_make(const view_part *part, const viz_plan *plan, viz_region *q)
{
    view_scope scope = range_scope(part, plan);
    *q = (viz_region){
        .src = plan->src, .kstep = 1, .kn = plan->src.tiles, .groups = 1, .w_last = plan->src.w};
    if (scope == SCOPE_TENSOR) {
        q->src = plan->whole;
        q->kn = 1;
        q->w_last = (uint32_t)(plan->total - (uint64_t)(plan->whole.h - 1) * plan->whole.w);
    } else if (scope == SCOPE_TILE) {
        q->gk = 1;
        q->kn = 1;
        q->groups = plan->src.tiles;
    } else if (scope == SCOPE_CHANNEL && plan->planes > 1) {
        q->plane_groups = 1;
        q->groups = (uint32_t)plan->planes;
    } else if (scope == SCOPE_CHANNEL) {
        /* All of a channel, also where only a window of tiles is shown. */
        q->src.k0 = 0;
        q->gk = 1;
        q->kstep = plan->channels;
        q->groups = plan->channels;
        uint64_t tile = (uint64_t)plan->src.h * plan->src.w * plan->channels;
        q->kn = (uint32_t)(plan->total / tile);
    }
    /* Rows of a ring that hold nothing yet are no samples: stored rows 0 … filled − 1 do. */
    if (plan->src.first_valid && scope == SCOPE_VIEW) {
        q->src.h = plan->src.h - plan->src.first_valid;
        q->src.row_rot = q->src.first_valid = 0;
    }
}

static void chunks_make(const ts_viz *viz, viz_region *q)
{
    uint64_t rows = (uint64_t)q->kn * q->src.h * (q->plane_groups ? 1 : q->src.planes);
    uint64_t samples = rows * q->src.w;
    uint64_t most = viz->cpu ? 4 * (uint64_t)viz->units : 2 * (uint64_t)viz->units;
    uint64_t chunks = div_up(samples, viz->cpu ? 16384 : 4096);
    uint64_t per_group = most / q->groups ? most / q->groups : 1;
    chunks = chunks < per_group ? chunks : per_group;
    chunks = chunks < rows ? chunks : rows;
    q->chunks = chunks ? (uint32_t)chunks : 1;
}

static bool wants_percentiles(const view_range *r)
{
    return r->mode == RANGE_PERCENTILE ||
           ((r->mode == RANGE_SYMMETRIC || r->mode == RANGE_SYMLOG) && r->has_p);
}

static ts_status launch_region(ts_viz *viz, const viz_region *q, ts_dtype dtype, const char *name,
                               const ts_arg *args, size_t n, ts_error *err)
{
    static const size_t lanes[3] = {GPU_LANES, 1, 1};
    size_t global[3] = {q->chunks, q->groups, 1};
    if (!viz->cpu)
        global[0] *= GPU_LANES;
    return viz_launch(viz, "viz_range", (int)dtype, name, global, viz->cpu ? NULL : lanes, args, n,
                      err);
}

/* A histogram per chunk on CPU devices, per group elsewhere (atomics). */
static size_t hist_slots(const ts_viz *viz, const viz_region *q)
{
    return (size_t)q->groups * (viz->cpu ? q->chunks : 1);
}

static ts_status select_percentiles(ts_viz *viz, range_state *state, const view_range *r,
                                    const viz_plan *plan, const viz_region *q, ts_error *err)
{
    size_t bytes = hist_slots(viz, q) * 4 * DIGITS * sizeof(uint32_t);
    if (bytes > MAX_HIST_BYTES)
        return ts_fail(err, TS_E_OPTION,
                       "normalize: percentiles of %u groups are too many, use scope view",
                       q->groups);
    bool one = r->mode != RANGE_PERCENTILE;
    ts_status st = slot_need(viz, &state->hist, bytes, err);
    if (st == TS_OK)
        st = viz_launch(viz, "viz_range", (int)plan->dtype, "viz_select_begin",
                        SIZES(q->groups, 1, 1), NULL,
                        TS_ARGS(TS_BUF(state->partial.buffer), TS_UINT(q->chunks),
                                TS_FLOAT(one ? r->p : r->p_lo), TS_FLOAT(one ? r->p : r->p_hi),
                                TS_UINT(q->groups), TS_BUF(state->select.buffer)),
                        err);
    bool wide = plan->dtype == TS_U32 || plan->dtype == TS_I32 || plan->dtype == TS_U64 ||
                plan->dtype == TS_I64 || plan->dtype == TS_F64;
    /* Keys of narrow types are the upper 32 bits: 11 + 11 + 10; wide ones take 64. */
    int end = wide ? 0 : 32;
    for (int shift = 64; st == TS_OK && shift > end;) {
        int bits = shift - end < 11 ? shift - end : 11;
        shift -= bits;
        st = ts_buffer_fill_u32(viz->queue, state->hist.buffer, 0, 0, bytes, err);
        if (st == TS_OK)
            st = launch_region(viz, q, plan->dtype, "viz_select_count",
                               TS_ARGS(TS_BUF(plan->data), TS_BYTES(q, sizeof *q), TS_UINT(shift),
                                       TS_UINT(bits), TS_BUF(state->select.buffer),
                                       TS_BUF(state->hist.buffer)),
                               err);
        if (st == TS_OK)
            st = viz_launch(
                viz, "viz_range", (int)plan->dtype, "viz_select_step", SIZES(q->groups, 1, 1), NULL,
                TS_ARGS(TS_BUF(state->hist.buffer), TS_UINT(q->chunks), TS_UINT(q->groups),
                        TS_UINT(bits), TS_BUF(state->select.buffer)),
                err);
    }
    return st;
}

static ts_status equalise(ts_viz *viz, range_state *state, int bins, const viz_plan *plan,
                          const viz_region *q, ts_error *err)
{
    size_t bytes = hist_slots(viz, q) * (size_t)(bins + 2) * sizeof(uint32_t);
    if (bytes > MAX_HIST_BYTES)
        return ts_fail(err, TS_E_OPTION, "normalize: %d bins of %u groups are too many", bins,
                       q->groups);
    ts_status st = slot_need(viz, &state->hist, bytes, err);
    if (st == TS_OK)
        st = slot_need(viz, &state->cdf, (size_t)q->groups * (size_t)(bins + 1) * sizeof(float),
                       err);
    if (st == TS_OK)
        st = ts_buffer_fill_u32(viz->queue, state->hist.buffer, 0, 0, bytes, err);
    if (st == TS_OK)
        st = launch_region(viz, q, plan->dtype, "viz_hist_count",
                           TS_ARGS(TS_BUF(plan->data), TS_BYTES(q, sizeof *q), TS_UINT(bins),
                                   TS_UINT(1), TS_BUF(state->records.buffer),
                                   TS_BUF(state->hist.buffer)),
                           err);
    if (st == TS_OK)
        st = viz_launch(viz, "viz_range", (int)plan->dtype, "viz_hist_cdf", SIZES(q->groups, 1, 1),
                        NULL,
                        TS_ARGS(TS_BUF(state->hist.buffer), TS_UINT(q->chunks), TS_UINT(bins),
                                TS_UINT(q->groups), TS_BUF(state->cdf.buffer)),
                        err);
    return st;
}

static void args_make(const ts_viz *viz, const view_range *r, double dt_s, viz_range_args *a)
{
    *a = (viz_range_args){.lo = viz_wide(viz, r->lo),
                          .hi = viz_wide(viz, r->hi),
                          .mode = (uint32_t)r->mode,
                          .has_lo = r->has_lo,
                          .has_hi = r->has_hi,
                          .has_lin = r->has_linthresh,
                          .percentile = r->has_p,
                          .ema = r->ema,
                          .ema_instant = r->ema_instant,
                          .k = (float)r->k,
                          .lin = (float)r->linthresh};
    double alpha = r->ema_has_tau ? 1 - exp(-(dt_s > 0 ? dt_s : 0) / r->ema_tau_s) : r->ema_alpha;
    a->alpha = (float)alpha;
}

/* The moving average starts anew when what it averages is something else. */
static ts_status ema_begin(ts_viz *viz, range_state *state, const view_range *r,
                           const viz_plan *plan, uint32_t groups, ts_error *err)
{
    if (!r->ema) {
        state->ema_begun = false;
        return slot_need(viz, &state->ema, 64, err);
    }
    uint32_t what[] = {(uint32_t)r->mode, (uint32_t)r->scope, (uint32_t)plan->dtype, groups,
                       (uint32_t)plan->kind};
    uint64_t key = viz_hash(0, what, sizeof what);
    size_t bytes = (size_t)groups * 3 * sizeof(uint64_t);
    ts_status st = slot_need(viz, &state->ema, bytes, err);
    if (st == TS_OK && (!state->ema_begun || state->ema_key != key))
        st = ts_buffer_fill_u32(viz->queue, state->ema.buffer, 0, 0, bytes, err);
    state->ema_key = key;
    state->ema_begun = st == TS_OK;
    return st;
}

static uint64_t range_key(const view_range *r, const viz_plan *plan, const viz_region *q)
{
    if (plan->identity == 0)
        return 0;
    view_range plain = *r;
    uint64_t key = viz_hash(plan->identity, &plain, sizeof plain);
    key = viz_hash(key, q, sizeof *q);
    key = viz_hash(key, &plan->data, sizeof plan->data);
    return key ? key : 1;
}

ts_status range_update(ts_viz *viz, range_state *state, const view_part *part, const viz_plan *plan,
                       double dt_s, ts_error *err)
{
    const view_range *r = &part->range;
    viz_region q;
    region_make(part, plan, &q);
    chunks_make(viz, &q);
    q.need = (r->mode == RANGE_MEANSTD || r->mode == RANGE_WHITEN ? VIZ_NEED_SUM : 0) |
             (r->mode == RANGE_LOG ? VIZ_NEED_POS : 0) |
             (wants_percentiles(r) && r->mode != RANGE_PERCENTILE ? VIZ_NEED_ABS : 0);
    uint64_t key = range_key(r, plan, &q);
    if (key && state->valid && state->key == key)
        return TS_OK;
    state->valid = state->host_valid = false;
    state->groups = q.groups;
    state->bins = r->bins;
    bool fixed = r->mode == RANGE_FIXED;
    size_t partials = fixed ? 1 : (size_t)q.groups * q.chunks;
    ts_status st = slot_need(viz, &state->records, q.groups * sizeof(viz_range_record), err);
    if (st == TS_OK)
        st = slot_need(viz, &state->partial, partials * sizeof(viz_partial), err);
    if (st == TS_OK)
        st = slot_need(viz, &state->select, q.groups * sizeof(viz_select), err);
    if (st == TS_OK)
        st = ema_begin(viz, state, r, plan, q.groups, err);
    if (st == TS_OK && !fixed)
        st = launch_region(
            viz, &q, plan->dtype, "viz_range_partial",
            TS_ARGS(TS_BUF(plan->data), TS_BYTES(&q, sizeof q), TS_BUF(state->partial.buffer)),
            err);
    if (st == TS_OK && wants_percentiles(r))
        st = select_percentiles(viz, state, r, plan, &q, err);
    viz_range_args a;
    args_make(viz, r, dt_s, &a);
    if (st == TS_OK)
        st = viz_launch(viz, "viz_range", (int)plan->dtype, "viz_range_final",
                        SIZES(q.groups, 1, 1), NULL,
                        TS_ARGS(TS_BUF(plan->data), TS_BYTES(&q, sizeof q), TS_BYTES(&a, sizeof a),
                                TS_BUF(state->partial.buffer), TS_BUF(state->select.buffer),
                                TS_BUF(state->ema.buffer), TS_BUF(state->records.buffer)),
                        err);
    if (st == TS_OK && r->mode == RANGE_HISTEQ)
        st = equalise(viz, state, r->bins, plan, &q, err);
    state->key = key;
    state->valid = st == TS_OK;
    return st;
}

ts_status range_read(ts_viz *viz, range_state *state, ts_error *err)
{
    if (state->host_valid)
        return TS_OK;
    ts_status st = ts_buffer_read(viz->queue, state->records.buffer, 0, &state->first,
                                  sizeof state->first, err);
    state->host_valid = st == TS_OK;
    return st;
}

ts_status range_histogram(ts_viz *viz, part_state *state, const viz_plan *plan, int bins,
                          ts_error *err)
{
    view_part whole = {.range.scope = SCOPE_TENSOR};
    viz_region q;
    region_make(&whole, plan, &q);
    chunks_make(viz, &q);
    range_state *r = &state->range;
    size_t bytes = hist_slots(viz, &q) * (size_t)(bins + 2) * sizeof(uint32_t);
    ts_status st = slot_need(viz, &r->hist, bytes, err);
    if (st == TS_OK)
        st = slot_need(viz, &state->bins, (size_t)(bins + 2) * sizeof(uint32_t), err);
    if (st == TS_OK)
        st = ts_buffer_fill_u32(viz->queue, r->hist.buffer, 0, 0, bytes, err);
    if (st == TS_OK)
        st = launch_region(viz, &q, plan->dtype, "viz_hist_count",
                           TS_ARGS(TS_BUF(plan->data), TS_BYTES(&q, sizeof q), TS_UINT(bins),
                                   TS_UINT(0), TS_BUF(state->active->records.buffer),
                                   TS_BUF(r->hist.buffer)),
                           err);
    if (st == TS_OK)
        st = viz_launch(viz, "viz_range", (int)plan->dtype, "viz_hist_sum",
                        SIZES((size_t)bins + 2, 1, 1), NULL,
                        TS_ARGS(TS_BUF(r->hist.buffer), TS_UINT(q.chunks), TS_UINT(bins),
                                TS_BUF(state->bins.buffer)),
                        err);
    return st;
}

void range_finish(range_state *state)
{
    slot_finish(&state->records);
    slot_finish(&state->partial);
    slot_finish(&state->select);
    slot_finish(&state->hist);
    slot_finish(&state->cdf);
    slot_finish(&state->ema);
    state->valid = state->ema_begun = false;
}
