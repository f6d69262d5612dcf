/* Line plots, histogram pictures, projections, and the waterfall's ring of rows. */
#include "cl/viz/viz_internal.h"

/* A viz_draw over a rectangle of a canvas, for the kernels that take one. */
void draw_rect_args(const part_state *state, const view_part *part, const viz_plan *plan,
                    const target *t, viz_draw *d)
{
    const view_tone *tone = &part->tone;
    const color_table *color = &state->color;
    int map = VIZ_MAP_LINEAR;
    if (part->range.mode == RANGE_LOG)
        map = VIZ_MAP_LOG;
    else if (part->range.mode == RANGE_SYMLOG)
        map = VIZ_MAP_SYMLOG;
    else if (part->range.mode == RANGE_HISTEQ)
        map = VIZ_MAP_HISTEQ;
    *d = (viz_draw){.src = plan->src,
                    .map = map,
                    .bins = part->range.bins,
                    .has_tone =
                        tone->gain != 1 || tone->bias != 0 || tone->gamma != 1 || tone->invert,
                    .invert = tone->invert,
                    .gain = (float)tone->gain,
                    .bias = (float)tone->bias,
                    .gamma = (float)tone->gamma,
                    .color = color->lut_exact ? VIZ_COLOR_LUT : color->kind,
                    .lut_n = color->lut_n,
                    .modulo = color->n_rows,
                    .planes = 1,
                    .lut_scale = color->lut_scale,
                    .lut_bias = color->lut_bias,
                    .cols = 1,
                    .ox = t->x,
                    .oy = t->y,
                    .dw = t->rw,
                    .dh = t->rh,
                    .dst_w = t->w,
                    .dst_h = t->h};
    memcpy(d->special_color, color->special, sizeof d->special_color);
}

ts_status plot_lines(ts_viz *viz, part_state *state, const view_part *part, const viz_plan *plan,
                     const target *t, ts_error *err)
{
    viz_draw d;
    draw_rect_args(state, part, plan, t, &d);
    return viz_launch(
        viz, "viz_plot", (int)plan->dtype, "viz_plot_lines", SIZES((size_t)t->rw, 1, 1), NULL,
        TS_ARGS(TS_BUF(plan->data), TS_BYTES(&d, sizeof d), TS_BUF(state->active->records.buffer),
                viz_slot_arg(viz, &state->active->cdf), TS_INT(part->thickness), TS_INT(part->fill),
                TS_INT(part->zero_line), TS_BUF(t->canvas->buffer)),
        err);
}

ts_status plot_histogram(ts_viz *viz, part_state *state, const view_part *part,
                         const viz_plan *plan, int bins, bool log, const target *t, ts_error *err)
{
    viz_draw d;
    draw_rect_args(state, part, plan, t, &d);
    ts_status st = range_histogram(viz, state, plan, bins, err);
    if (st != TS_OK)
        return st;
    return viz_launch(viz, "viz_plot", TS_F32, "viz_plot_hist", SIZES((size_t)t->rw, 1, 1), NULL,
                      TS_ARGS(TS_BUF(state->bins.buffer), TS_INT(bins), TS_INT(log),
                              TS_BYTES(&d, sizeof d), TS_BUF(state->color.rgba.buffer),
                              TS_BUF(state->color.rows.buffer), TS_BUF(t->canvas->buffer)),
                      err);
}

static bool keeps_doubles(const ts_viz *viz, ts_dtype dtype)
{
    return viz->fp64 && (dtype == TS_U32 || dtype == TS_I32 || dtype == TS_U64 || dtype == TS_I64 ||
                         dtype == TS_F64);
}

ts_status plot_project(ts_viz *viz, part_state *state, const view_part *part, viz_plan *plan,
                       ts_error *err)
{
    int axis = (int)plan->at[0], row = axis == 0 ? 1 : 0, col = axis == 2 ? 1 : 2;
    viz_source s = {.base = plan->src.base,
                    .sy = plan->stride[row],
                    .sx = plan->stride[col],
                    .h = (uint32_t)plan->dim[row],
                    .w = (uint32_t)plan->dim[col],
                    .kdiv = 1,
                    .tiles = 1,
                    .planes = 1};
    ts_dtype dtype = keeps_doubles(viz, plan->dtype) ? TS_F64 : TS_F32;
    ts_status st = slot_need(viz, &state->reduced, (size_t)s.h * s.w * ts_dtype_bytes(dtype), err);
    if (st != TS_OK)
        return st;
    st = viz_launch(viz, "viz_plot", (int)plan->dtype, "viz_project", SIZES(s.w, s.h, 1), NULL,
                    TS_ARGS(TS_BUF(plan->data), TS_BYTES(&s, sizeof s), TS_UINT(plan->dim[axis]),
                            TS_ULONG(plan->stride[axis]), TS_INT(part->op),
                            TS_BUF(state->reduced.buffer)),
                    err);
    plan_plane(plan, state->reduced.buffer, dtype, s.h, s.w);
    return st;
}

ts_status plot_waterfall(ts_viz *viz, part_state *state, const view_part *part, viz_plan *plan,
                         ts_error *err)
{
    ring_state *ring = &state->ring;
    uint32_t rows = (uint32_t)part->rows, n = plan->src.w;
    uint32_t shape[] = {rows, n, (uint32_t)plan->dtype};
    uint64_t shape_key = viz_hash(0, shape, sizeof shape);
    size_t item = ts_dtype_bytes(plan->dtype), row_bytes = n * item;
    ts_status st = slot_need(viz, &ring->rows, row_bytes * rows, err);
    if (st != TS_OK)
        return st;
    if (!ring->begun || ring->shape_key != shape_key) {
        ring->head = ring->filled = 0;
        ring->key = 0;
        ring->shape_key = shape_key;
        ring->begun = true;
    }
    /* A frame is a row once, however often it is drawn. */
    if (plan->identity == 0 || ring->key != plan->identity) {
        st = ts_buffer_copy(viz->queue, plan->data, plan->src.base * item, ring->rows.buffer,
                            ring->head * row_bytes, row_bytes, err);
        if (st != TS_OK)
            return st;
        ring->head = (ring->head + 1) % rows;
        ring->filled += ring->filled < rows;
        ring->key = plan->identity;
    }
    plan_plane(plan, ring->rows.buffer, plan->dtype, rows, n);
    plan->src.row_rot = ring->head % rows;
    plan->src.first_valid = rows - ring->filled;
    plan->whole_ok = false;
    return TS_OK;
}
