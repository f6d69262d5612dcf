/* Axes and resampling tables, and the launches that turn samples into pixels. */
#include <math.h>

#include "cl/viz/viz_internal.h"

/* ---- axes ---- */

static void axis_set(const ts_viz *viz, viz_axis *a, int s, int n, int off, int len, double origin,
                     double extent, bool whole, int kind)
{
    *a = (viz_axis){.origin = viz_wide(viz, origin),
                    .extent = viz_wide(viz, extent),
                    .s = s,
                    .n = n,
                    .off = off,
                    .len = len,
                    .kind = kind,
                    .whole = whole};
}

void axis_keys(const ts_viz *viz, const view_size *size, const view_viewport *port, int w, int h,
               int W, int H, viz_axis *x, viz_axis *y)
{
    double ox = 0, oy = 0, ex = w, ey = h;
    bool whole = true;
    if (port && port->set) {
        whole = false;
        ex = port->by_zoom ? w / port->zoom : port->w;
        ey = port->by_zoom ? h / port->zoom : port->h;
        ox = port->by_zoom ? port->cx - ex / 2 : port->x;
        oy = port->by_zoom ? port->cy - ey / 2 : port->y;
    }
    int lw = W, lh = H, offx = 0, offy = 0;
    if (size->fit == FIT_CONTAIN) {
        double k = fmin(W / ex, H / ey);
        lw = (int)fmax(1, floor(ex * k + 0.5));
        lh = (int)fmax(1, floor(ey * k + 0.5));
        lw = lw > W ? W : lw;
        lh = lh > H ? H : lh;
        offx = (W - lw) / 2;
        offy = (H - lh) / 2;
    } else if (size->fit == FIT_COVER) {
        double k = fmax(W / ex, H / ey);
        ox += (ex - W / k) / 2;
        oy += (ey - H / k) / 2;
        whole = whole && W / k == ex && H / k == ey;
        ex = W / k;
        ey = H / k;
    }
    axis_set(viz, x, w, W, offx, lw, ox, ex, whole, (int)size->filter);
    axis_set(viz, y, h, H, offy, lh, oy, ey, whole, (int)size->filter);
}

static int tap_count(const ts_viz *viz, const viz_axis *a)
{
    double scale = viz_unwide(viz, a->extent) / a->len;
    double reach = a->kind == 2 ? scale : (a->kind == 3 ? 6 : 4) * fmax(scale, 1);
    double taps = ceil(reach) + 2;
    return taps < a->s ? (int)taps : a->s;
}

ts_status axis_update(ts_viz *viz, axis_table *table, const viz_axis *key, ts_error *err)
{
    if (table->valid && memcmp(&table->key, key, sizeof *key) == 0)
        return TS_OK;
    table->valid = false;
    size_t n = (size_t)key->n;
    ts_status st = slot_need(viz, &table->index, n * sizeof(int32_t), err);
    if (st == TS_OK)
        st = slot_need(viz, &table->frac, n * sizeof(float), err);
    if (st == TS_OK)
        st = viz_launch(viz, "viz_draw", TS_F32, "viz_draw_axis", SIZES(n, 1, 1), NULL,
                        TS_ARGS(TS_BYTES(key, sizeof *key), TS_BUF(table->index.buffer),
                                TS_BUF(table->frac.buffer)),
                        err);
    if (st == TS_OK && key->kind >= 2) {
        table->taps = tap_count(viz, key);
        st = slot_need(viz, &table->first, n * sizeof(int32_t), err);
        if (st == TS_OK)
            st = slot_need(viz, &table->count, n * sizeof(int32_t), err);
        if (st == TS_OK)
            st = slot_need(viz, &table->weight, n * (size_t)table->taps * sizeof(float), err);
        if (st == TS_OK)
            st = viz_launch(viz, "viz_draw", TS_F32, "viz_draw_weights", SIZES(n, 1, 1), NULL,
                            TS_ARGS(TS_BYTES(key, sizeof *key), TS_INT(table->taps),
                                    TS_BUF(table->first.buffer), TS_BUF(table->count.buffer),
                                    TS_BUF(table->weight.buffer)),
                            err);
    }
    table->key = *key;
    table->valid = st == TS_OK;
    return st;
}

/* ---- drawing ---- */

static int map_of(const view_range *r)
{
    switch (r->mode) {
    case RANGE_LOG:
        return VIZ_MAP_LOG;
    case RANGE_SYMLOG:
        return VIZ_MAP_SYMLOG;
    case RANGE_HISTEQ:
        return VIZ_MAP_HISTEQ;
    default:
        return VIZ_MAP_LINEAR;
    }
}

static int groups_of(const view_part *part, const viz_plan *plan)
{
    view_scope scope = range_scope(part, plan);
    return scope == SCOPE_TILE      ? VIZ_GROUP_TILE
           : scope == SCOPE_CHANNEL ? VIZ_GROUP_CHANNEL
                                    : VIZ_GROUP_ONE;
}

static void draw_args(const ts_viz *viz, const part_state *state, const view_part *part,
                      const viz_plan *plan, const draw_call *call, viz_draw *d)
{
    const view_tone *tone = &part->tone;
    const color_table *color = &state->color;
    *d = (viz_draw){.src = plan->src,
                    .map = map_of(&part->range),
                    .group_mode = groups_of(part, plan),
                    .group_div = (int)plan->channels,
                    .bins = part->range.bins,
                    .has_tone =
                        tone->gain != 1 || tone->bias != 0 || tone->gamma != 1 || tone->invert,
                    .invert = tone->invert,
                    .gain = (float)tone->gain,
                    .bias = (float)tone->bias,
                    .gamma = (float)tone->gamma,
                    .color = color->kind,
                    .lut_n = color->lut_n,
                    .modulo = color->n_rows,
                    .planes = plan->planes,
                    .lut_scale = color->lut_scale,
                    .lut_bias = color->lut_bias,
                    .dw = call->W,
                    .dh = call->H,
                    .ox = call->ox,
                    .oy = call->oy,
                    .cols = call->cols,
                    .step_x = call->step_x,
                    .step_y = call->step_y,
                    .out = call->out,
                    .dst_w = call->dst_w,
                    .dst_h = call->dst_h,
                    .chunk = viz_chunk(viz)};
    memcpy(d->special_color, color->special, sizeof d->special_color);
    d->background = color->special[VIZ_LUT_BG];
    if (plan->planes == 4 && part->background.set)
        d->background = rgba_of(&part->background);
    bool deep = call->out == VIZ_OUT_RGBA16 || call->out == VIZ_OUT_RGBA32F;
    if (color->lut_exact && !deep)
        d->color = VIZ_COLOR_LUT;
    if (color->categorical && plan->planes == 1)
        d->map = VIZ_MAP_MODULO;
    if (plan->is_t) {
        d->map = VIZ_MAP_IDENT;
        d->has_tone = 0;
    }
}

enum {
    BAND_SAMPLES = 4 << 20 /* t is made for about so many samples at a time */
};

/* Rows y0 … of all t planes, and their columns resampled. */
static ts_status shrink_band(ts_viz *viz, part_state *state, const range_state *range,
                             const viz_plan *plan, const viz_draw *plane, const axis_table *ax,
                             size_t planes, size_t n, size_t y0, size_t rows, ts_error *err)
{
    size_t sw = plan->src.w, sh = plan->src.h, chunk = (size_t)plane->chunk;
    ts_status st =
        viz_launch(viz, "viz_draw", (int)plan->dtype, "viz_draw_plane",
                   SIZES(div_up(sw, chunk), rows, planes), NULL,
                   TS_ARGS(TS_BUF(plan->data), TS_BYTES(plane, sizeof *plane),
                           viz_slot_arg(viz, &range->records), viz_slot_arg(viz, &range->cdf),
                           TS_UINT(y0), TS_UINT(rows), TS_BUF(state->plane.buffer)),
                   err);
    if (st != TS_OK)
        return st;
    return viz_launch(
        viz, "viz_draw", TS_F32, "viz_draw_shrink_x", SIZES(div_up(n, chunk), rows, planes), NULL,
        TS_ARGS(TS_BUF(state->plane.buffer), TS_INT(sw), TS_INT(sh), TS_INT(y0), TS_INT(rows),
                TS_INT(n), TS_INT(ax->taps), TS_INT(chunk), TS_BUF(ax->first.buffer),
                TS_BUF(ax->count.buffer), TS_BUF(ax->weight.buffer), TS_BUF(ax->index.buffer),
                TS_BUF(state->mid.buffer), TS_BUF(state->near.buffer)),
        err);
}

/* t planes through the separable filters; `d` then reads their result, which is t already. */
static ts_status draw_separable(ts_viz *viz, part_state *state, const range_state *range,
                                const viz_plan *plan, viz_draw *d, const axis_table *ax,
                                const axis_table *ay, ts_error *err)
{
    size_t planes = (size_t)plan->src.tiles * (size_t)plan->planes;
    size_t sw = plan->src.w, sh = plan->src.h, n = (size_t)d->dw, m = (size_t)d->dh;
    size_t band = BAND_SAMPLES / (planes * sw);
    band = band < 1 ? 1 : band < sh ? band : sh;
    ts_status st = slot_need(viz, &state->plane, planes * sw * band * sizeof(float), err);
    if (st == TS_OK)
        st = slot_need(viz, &state->mid, planes * n * sh * sizeof(float), err);
    if (st == TS_OK)
        st = slot_need(viz, &state->near, planes * n * sh * sizeof(float), err);
    if (st == TS_OK)
        st = slot_need(viz, &state->shrunk, planes * n * m * sizeof(float), err);
    viz_draw plane = *d;
    plane.direct = plan->src.sx == 1;
    plane.chunk = viz->cpu ? 1024 : 1;
    for (size_t y0 = 0; st == TS_OK && y0 < sh; y0 += band)
        st = shrink_band(viz, state, range, plan, &plane, ax, planes, n, y0,
                         sh - y0 < band ? sh - y0 : band, err);
    if (st == TS_OK)
        st = viz_launch(viz, "viz_draw", TS_F32, "viz_draw_shrink_y",
                        SIZES(div_up(n, (size_t)plane.chunk), m, planes), NULL,
                        TS_ARGS(TS_BUF(state->mid.buffer), TS_BUF(state->near.buffer), TS_INT(sh),
                                TS_INT(n), TS_INT(m), TS_INT(ay->taps), TS_INT(plane.chunk),
                                TS_BUF(ay->first.buffer), TS_BUF(ay->count.buffer),
                                TS_BUF(ay->weight.buffer), TS_BUF(ax->index.buffer),
                                TS_BUF(ay->index.buffer), TS_BUF(state->shrunk.buffer)),
                        err);
    d->src = (viz_source){.ks0 = (uint64_t)plan->planes * n * m,
                          .sy = n,
                          .sx = 1,
                          .kdiv = 1,
                          .tiles = plan->src.tiles,
                          .planes = (uint32_t)plan->planes,
                          .h = (uint32_t)m,
                          .w = (uint32_t)n};
    for (int p = 0; p < 4; p++)
        d->src.ps[p] = (uint64_t)p * n * m;
    d->map = VIZ_MAP_IDENT;
    d->has_tone = 0;
    d->filter = 0;
    return st;
}

/* What viz_draw_direct draws: one plane at its own size, linear, by a packed table. */
static bool is_direct(const ts_viz *viz, const viz_draw *d)
{
    bool form = d->out == VIZ_OUT_I420 || d->out == VIZ_OUT_RGB8 || d->out == VIZ_OUT_CANVAS;
    bool inside = d->ox >= 0 && d->oy >= 0 && d->ox + d->dw <= d->dst_w &&
                  d->oy + d->dh <= d->dst_h && (d->out == VIZ_OUT_CANVAS || (!d->ox && !d->oy));
    return viz->cpu && form && inside && d->direct && d->own_rows && d->src.tiles == 1 &&
           d->planes == 1 && d->map == VIZ_MAP_LINEAR && d->group_mode == VIZ_GROUP_ONE &&
           !d->has_tone && d->color == VIZ_COLOR_LUT && d->src.first_valid == 0;
}

static ts_status launch_direct(ts_viz *viz, part_state *state, const range_state *range,
                               ts_buffer *data, ts_dtype dtype, const viz_draw *d,
                               const draw_call *call, ts_error *err)
{
    const slot *lut = d->out == VIZ_OUT_I420 ? &state->color.yuv : &state->color.rgba;
    return viz_launch(viz, "viz_draw", (int)dtype, "viz_draw_direct",
                      SIZES(div_up((size_t)d->dw, (size_t)d->chunk), div_up((size_t)d->dh, 2), 1),
                      NULL,
                      TS_ARGS(TS_BUF(data), TS_BYTES(d, sizeof *d), TS_BUF(range->records.buffer),
                              TS_BUF(lut->buffer), TS_BUF(call->dst->buffer),
                              TS_ULONG(call->stride[0]), TS_ULONG(call->stride[1]),
                              TS_ULONG(call->plane_at[1]), TS_ULONG(call->plane_at[2])),
                      err);
}

static ts_status launch_tiles(ts_viz *viz, part_state *state, const range_state *range,
                              ts_buffer *data, ts_dtype dtype, const viz_draw *d,
                              const axis_table *ax, const axis_table *ay, const draw_call *call,
                              ts_error *err)
{
    const color_table *color = &state->color;
    bool deep = d->out == VIZ_OUT_RGBA16 || d->out == VIZ_OUT_RGBA32F;
    if (deep)
        return viz_launch(
            viz, "viz_draw", (int)dtype, "viz_draw_deep",
            SIZES(div_up((size_t)d->dw, (size_t)d->chunk), (size_t)d->dh, d->src.tiles), NULL,
            TS_ARGS(TS_BUF(data), TS_BYTES(d, sizeof *d), viz_slot_arg(viz, &range->records),
                    viz_slot_arg(viz, &range->cdf), TS_BUF(ax->index.buffer),
                    TS_BUF(ax->frac.buffer), TS_BUF(ay->index.buffer), TS_BUF(ay->frac.buffer),
                    TS_BUF(color->rows.buffer), TS_BUF(call->dst->buffer)),
            err);
    if (is_direct(viz, d))
        return launch_direct(viz, state, range, data, dtype, d, call, err);
    bool yuv = d->out == VIZ_OUT_I420 && d->color == VIZ_COLOR_LUT && d->planes == 1;
    const slot *lut = yuv ? &color->yuv : &color->rgba;
    size_t y_stride = d->out == VIZ_OUT_INDEXED ? (size_t)d->dst_w : call->stride[0];
    return viz_launch(
        viz, "viz_draw", (int)dtype, "viz_draw_tiles",
        SIZES(div_up((size_t)d->dw, (size_t)d->chunk), div_up((size_t)d->dh, 2), d->src.tiles),
        NULL,
        TS_ARGS(TS_BUF(data), TS_BYTES(d, sizeof *d), viz_slot_arg(viz, &range->records),
                viz_slot_arg(viz, &range->cdf), TS_BUF(ax->index.buffer), TS_BUF(ax->frac.buffer),
                TS_BUF(ay->index.buffer), TS_BUF(ay->frac.buffer), TS_BUF(lut->buffer),
                TS_BUF(color->rows.buffer), TS_BUF(call->dst->buffer), TS_ULONG(y_stride),
                TS_ULONG(call->stride[1]), TS_ULONG(call->plane_at[1]),
                TS_ULONG(call->plane_at[2])),
        err);
}

ts_status draw_plan(ts_viz *viz, part_state *state, const range_state *range, const view_part *part,
                    const viz_plan *plan, const draw_call *call, ts_error *err)
{
    viz_draw d;
    draw_args(viz, state, part, plan, call, &d);
    view_size size = *call->size;
    if (d.map == VIZ_MAP_MODULO)
        size.filter = RESAMPLE_NEAREST; /* indices have no means */
    viz_axis kx, ky;
    axis_keys(viz, &size, call->port, (int)plan->src.w, (int)plan->src.h, call->W, call->H, &kx,
              &ky);
    axis_table *ax = &state->axis[0][call->which], *ay = &state->axis[1][call->which];
    ts_status st = axis_update(viz, ax, &kx, err);
    if (st == TS_OK)
        st = axis_update(viz, ay, &ky, err);
    if (st != TS_OK)
        return st;
    bool same = kx.whole && kx.len == kx.s && kx.n == kx.s;
    ts_dtype dtype = plan->dtype;
    ts_buffer *data = plan->data;
    if (size.filter >= RESAMPLE_AREA && !(same && ky.whole && ky.len == ky.s && ky.n == ky.s)) {
        st = draw_separable(viz, state, range, plan, &d, ax, ay, err);
        if (st != TS_OK)
            return st;
        data = state->shrunk.buffer;
        dtype = TS_F32;
        /* The result is drawn pixel by pixel: tables of the identity. */
        view_size plain = {0};
        axis_keys(viz, &plain, NULL, call->W, call->H, call->W, call->H, &kx, &ky);
        ax = &state->axis[0][2];
        ay = &state->axis[1][2];
        st = axis_update(viz, ax, &kx, err);
        if (st == TS_OK)
            st = axis_update(viz, ay, &ky, err);
        if (st != TS_OK)
            return st;
        same = true;
    } else {
        d.filter = size.filter == RESAMPLE_BILINEAR && !same;
    }
    if (size.filter == RESAMPLE_BILINEAR && !(ky.whole && ky.len == ky.s && ky.n == ky.s))
        d.filter = 1;
    d.direct = same && d.src.sx == 1 && !d.filter;
    d.own_rows = ky.whole && ky.len == ky.s && ky.n == ky.s;
    return launch_tiles(viz, state, range, data, dtype, &d, ax, ay, call, err);
}

ts_status draw_bar(ts_viz *viz, part_state *state, const target *t, int x, int y, int w, int h,
                   ts_error *err)
{
    const color_table *color = &state->color;
    viz_draw d = {.color = color->lut_exact ? VIZ_COLOR_LUT : color->kind,
                  .lut_n = color->lut_n,
                  .modulo = color->n_rows,
                  .planes = 1,
                  .lut_scale = color->lut_scale,
                  .lut_bias = color->lut_bias,
                  .dw = w,
                  .dh = h,
                  .ox = x,
                  .oy = y,
                  .dst_w = t->w,
                  .dst_h = t->h};
    memcpy(d.special_color, color->special, sizeof d.special_color);
    return viz_launch(viz, "viz_draw", TS_F32, "viz_draw_bar", SIZES((size_t)h, 1, 1), NULL,
                      TS_ARGS(TS_BYTES(&d, sizeof d), TS_BUF(color->rgba.buffer),
                              TS_BUF(color->rows.buffer), TS_BUF(t->canvas->buffer)),
                      err);
}
