/* One part: its picture, and the overlay around and on it. */
#include <math.h>
#include <stdio.h>
#include <time.h>

#include "cl/tensor/stats.h"
#include "cl/viz/font.h"
#include "cl/viz/viz_internal.h"

enum {
    TITLE_HEIGHT = 16,
    TICK_LENGTH = 3,
    LABEL_GAP = 2,
    LINE_WIDTH = 512,
    LINE_HEIGHT = 256,
    VOLUME_SIZE = 512
};

static const uint32_t WHITE = 0xffffffffu, TITLE_BG = 0xff202020u;

/* ---- sizes ---- */

static ts_status check_size(double w, double h, ts_error *err)
{
    if (w < 1 || h < 1 || w > VIEW_MAX_SIDE || h > VIEW_MAX_SIDE || w * h > VIEW_MAX_PIXELS)
        return ts_fail(err, TS_E_OPTION,
                       "resize: a picture of %.0f x %.0f, at most %d a side and %d pixels", w, h,
                       VIEW_MAX_SIDE, VIEW_MAX_PIXELS);
    return TS_OK;
}

/* A size object applied to a picture of w x h. */
static ts_status apply_size(const view_size *size, double w, double h, int *W, int *H,
                            ts_error *err)
{
    if (size->scale != 0) {
        w = fmax(1, floor(w * size->scale + 0.5));
        h = fmax(1, floor(h * size->scale + 0.5));
    }
    w = size->width ? size->width : w;
    h = size->height ? size->height : h;
    ts_status st = check_size(w, h, err);
    if (st == TS_OK) {
        *W = (int)w;
        *H = (int)h;
    }
    return st;
}

ts_status part_native(const view_part *part, const viz_plan *plan, native_picture *n, ts_error *err)
{
    *n = (native_picture){.w = plan->src.w, .h = plan->src.h};
    if (plan->montage) {
        ts_status st = apply_size(&part->tile, n->w, n->h, &n->tile_w, &n->tile_h, err);
        if (st != TS_OK)
            return st;
        double rows = (double)div_up(plan->src.tiles, (size_t)plan->cols);
        double edge = part->outer ? 2.0 * part->sep : 0;
        n->w = (double)plan->cols * n->tile_w + (plan->cols - 1.0) * part->sep + edge;
        n->h = rows * n->tile_h + (rows - 1) * part->sep + edge;
    } else if (plan->kind == KIND_ORTHO) {
        n->w = (double)plan->dim[2] + part->gap + (double)plan->dim[0];
        n->h = (double)plan->dim[1] + part->gap + (double)plan->dim[0];
    } else if (plan->kind == KIND_LINE || plan->kind == KIND_HIST) {
        n->w = LINE_WIDTH;
        n->h = LINE_HEIGHT;
    } else if (plan->kind == KIND_VOLUME) {
        n->w = n->h = VOLUME_SIZE;
    } else if (plan->kind == KIND_WATERFALL) {
        n->h = part->rows;
    } else if (plan->kind == KIND_PROJECT) {
        int axis = (int)plan->at[0];
        n->h = (double)plan->dim[axis == 0 ? 1 : 0];
        n->w = (double)plan->dim[axis == 2 ? 1 : 2];
    }
    return TS_OK;
}

/* What the overlay adds at the top, right and bottom. */
void part_overlay_size(const view_overlay *o, int *top, int *right, int *bottom)
{
    *top = o->title ? TITLE_HEIGHT : 0;
    *right =
        o->colorbar ? o->bar_pad + o->bar_width + TICK_LENGTH + LABEL_GAP + o->bar_label_width : 0;
    *bottom = o->histogram ? o->hist_height : 0;
}

ts_status part_size(const part_call *call, int *w, int *h, ts_error *err)
{
    viz_plan plan;
    native_picture n;
    ts_status st = plan_make(call->part, call->entry, &plan, err);
    if (st == TS_OK)
        st = part_native(call->part, &plan, &n, err);
    if (st == TS_OK)
        st = apply_size(&call->part->resize, n.w, n.h, w, h, err);
    if (st != TS_OK)
        return st;
    int top, right, bottom;
    part_overlay_size(&call->part->overlay, &top, &right, &bottom);
    *w += right;
    *h += top + bottom;
    return check_size(*w, *h, err);
}

/* ---- pictures ---- */

static bool is_plane(const viz_plan *plan)
{
    return !plan->montage && plan->kind != KIND_ORTHO && plan->kind != KIND_LINE &&
           plan->kind != KIND_HIST && plan->kind != KIND_VOLUME;
}

bool part_is_plain(const view_part *part, const viz_plan *plan)
{
    const view_overlay *o = &part->overlay;
    return is_plane(plan) && !o->title && !o->n_texts && !o->colorbar && !o->histogram;
}

ts_status part_prepare(ts_viz *viz, const part_call *call, viz_plan *plan, ts_error *err)
{
    const view_part *part = call->part;
    part_state *state = call->state;
    ts_status st = plan_make(part, call->entry, plan, err);
    if (st != TS_OK)
        return st;
    if (plan->identity == 0) { /* unversioned: each frame is a new one */
        if (!call->peek || state->serial == 0)
            state->serial = ++viz->serial;
        plan->identity = viz_hash(0, &state->serial, sizeof state->serial);
    }
    if (st == TS_OK && part->n_filters)
        st = filter_apply(viz, state, part, plan, err);
    if (st == TS_OK && plan->kind == KIND_WATERFALL)
        st = plot_waterfall(viz, state, part, plan, err);
    state->active = call->use_range ? call->use_range : &state->range;
    bool project = plan->kind == KIND_PROJECT;
    if (st == TS_OK && project && range_scope(part, plan) != SCOPE_TENSOR)
        st = plot_project(viz, state, part, plan, err);
    if (st == TS_OK && !call->use_range)
        st = range_update(viz, &state->range, part, plan, call->input->dt_s, err);
    if (st == TS_OK && project && range_scope(part, plan) == SCOPE_TENSOR)
        st = plot_project(viz, state, part, plan, err);
    const view_color *back = plan->kind == KIND_WATERFALL && part->background.set
                                 ? &part->background
                                 : &part->resize.background;
    if (plan->kind == KIND_VOLUME || plan->montage || plan->kind == KIND_ORTHO)
        back = &part->background;
    if (plan->montage && part->tile.background.set)
        back = &part->tile.background;
    if (st == TS_OK)
        st = color_update(viz, &state->color, part, plan->dtype, back, err);
    return st;
}

static view_size size_of(const part_call *call)
{
    view_size size = call->part->resize;
    if (call->default_contain && !size.has_fit)
        size.fit = FIT_CONTAIN;
    return size;
}

static ts_status draw_plane(ts_viz *viz, const part_call *call, const viz_plan *plan,
                            const target *t, ts_error *err)
{
    view_size size = size_of(call);
    draw_call d = {.ox = t->x,
                   .oy = t->y,
                   .W = t->rw,
                   .H = t->rh,
                   .cols = 1,
                   .out = VIZ_OUT_CANVAS,
                   .dst_w = t->w,
                   .dst_h = t->h,
                   .dst = t->canvas,
                   .size = &size,
                   .port = &call->part->viewport};
    return draw_plan(viz, call->state, call->state->active, call->part, plan, &d, err);
}

static ts_status draw_montage(ts_viz *viz, const part_call *call, const viz_plan *plan,
                              const native_picture *n, const target *t, ts_error *err)
{
    const view_part *part = call->part;
    int rows = (int)div_up(plan->src.tiles, (size_t)plan->cols);
    int edge = part->outer ? part->sep : 0, missing = rows * plan->cols - (int)plan->src.tiles;
    int step_x = n->tile_w + part->sep, step_y = n->tile_h + part->sep;
    ts_status st = canvas_fill(viz, t, t->x, t->y, t->rw, t->rh, rgba_of(&part->sep_color), err);
    for (int i = 0; st == TS_OK && i < missing; i++)
        st = canvas_fill(viz, t, t->x + edge + (plan->cols - 1 - i) * step_x,
                         t->y + edge + (rows - 1) * step_y, n->tile_w, n->tile_h,
                         rgba_of(&part->background), err);
    draw_call d = {.ox = t->x + edge,
                   .oy = t->y + edge,
                   .W = n->tile_w,
                   .H = n->tile_h,
                   .cols = plan->cols,
                   .step_x = step_x,
                   .step_y = step_y,
                   .out = VIZ_OUT_CANVAS,
                   .dst_w = t->w,
                   .dst_h = t->h,
                   .dst = t->canvas,
                   .size = &part->tile};
    if (st == TS_OK)
        st = draw_plan(viz, call->state, call->state->active, part, plan, &d, err);
    return st;
}

/* Plane of ortho: axes (row, column) at index `at` of the third. */
static ts_status draw_ortho_plane(ts_viz *viz, const part_call *call, const viz_plan *plan, int row,
                                  int col, int x, int y, int which, const target *t, ts_error *err)
{
    int fixed = 3 - row - col;
    view_size size = {0};
    viz_plan one = *plan;
    one.src = (viz_source){.base = plan->src.base + (uint64_t)plan->at[fixed] * plan->stride[fixed],
                           .sy = plan->stride[row],
                           .sx = plan->stride[col],
                           .kdiv = 1,
                           .tiles = 1,
                           .planes = 1,
                           .h = (uint32_t)plan->dim[row],
                           .w = (uint32_t)plan->dim[col]};
    draw_call d = {.ox = t->x + x,
                   .oy = t->y + y,
                   .W = (int)one.src.w,
                   .H = (int)one.src.h,
                   .cols = 1,
                   .out = VIZ_OUT_CANVAS,
                   .dst_w = t->w,
                   .dst_h = t->h,
                   .dst = t->canvas,
                   .size = &size,
                   .which = which};
    return draw_plan(viz, call->state, call->state->active, call->part, &one, &d, err);
}

static ts_status draw_cross(ts_viz *viz, const target *t, int x, int y, int w, int h, int cx,
                            int cy, uint32_t color, ts_error *err)
{
    ts_status st = canvas_fill(viz, t, t->x + x, t->y + y + cy, w, 1, color, err);
    return st == TS_OK ? canvas_fill(viz, t, t->x + x + cx, t->y + y, 1, h, color, err) : st;
}

static ts_status draw_ortho(ts_viz *viz, const part_call *call, const viz_plan *plan,
                            const target *t, ts_error *err)
{
    const view_part *part = call->part;
    int D = (int)plan->dim[0], H = (int)plan->dim[1], W = (int)plan->dim[2];
    int right = W + part->gap, low = H + part->gap;
    int z = (int)plan->at[0], y = (int)plan->at[1], x = (int)plan->at[2];
    ts_status st = canvas_fill(viz, t, t->x, t->y, t->rw, t->rh, rgba_of(&part->background), err);
    if (st == TS_OK)
        st = draw_ortho_plane(viz, call, plan, 1, 2, 0, 0, 0, t, err);
    if (st == TS_OK)
        st = draw_ortho_plane(viz, call, plan, 1, 0, right, 0, 1, t, err);
    if (st == TS_OK)
        st = draw_ortho_plane(viz, call, plan, 0, 2, 0, low, 2, t, err);
    if (st != TS_OK || !part->crosshair.set)
        return st;
    uint32_t color = rgba_of(&part->crosshair);
    st = draw_cross(viz, t, 0, 0, W, H, x, y, color, err);
    if (st == TS_OK)
        st = draw_cross(viz, t, right, 0, D, H, z, y, color, err);
    if (st == TS_OK)
        st = draw_cross(viz, t, 0, low, W, D, x, z, color, err);
    return st;
}

/* Composed pictures are made at their own size and then scaled into the target. */
static ts_status draw_composed(ts_viz *viz, const part_call *call, const viz_plan *plan,
                               const target *t, ts_error *err)
{
    native_picture n;
    ts_status st = part_native(call->part, plan, &n, err);
    if (st == TS_OK)
        st = check_size(n.w, n.h, err);
    if (st != TS_OK)
        return st;
    target own = *t;
    bool scaled = (int)n.w != t->rw || (int)n.h != t->rh || call->part->viewport.set;
    if (scaled) {
        st = slot_need(viz, &call->state->picture, (size_t)n.w * (size_t)n.h * 4, err);
        own = (target){.canvas = &call->state->picture,
                       .w = (int)n.w,
                       .h = (int)n.h,
                       .rw = (int)n.w,
                       .rh = (int)n.h};
    }
    if (st == TS_OK)
        st = plan->montage ? draw_montage(viz, call, plan, &n, &own, err)
                           : draw_ortho(viz, call, plan, &own, err);
    view_size size = size_of(call);
    if (st == TS_OK && scaled)
        st = canvas_scale(viz, own.canvas, own.w, own.h, &size, &call->part->viewport, t, err);
    return st;
}

static ts_status draw_picture(ts_viz *viz, const part_call *call, viz_plan *plan, const target *t,
                              ts_error *err)
{
    if (plan->montage || plan->kind == KIND_ORTHO)
        return draw_composed(viz, call, plan, t, err);
    switch (plan->kind) {
    case KIND_LINE:
        return plot_lines(viz, call->state, call->part, plan, t, err);
    case KIND_HIST:
        return plot_histogram(viz, call->state, call->part, plan, call->part->bins, call->part->log,
                              t, err);
    case KIND_VOLUME:
        return volume_draw(viz, call->state, call->part, plan, t, err);
    default:
        return draw_plane(viz, call, plan, t, err);
    }
}

/* ---- overlay ---- */

static void put_number(char *out, size_t n, double value)
{
    snprintf(out, n, "%.4g", value);
}

/* Values that texts may name; statistics are read only where a text does. */
typedef struct text_values {
    const part_call *call;
    double lo, hi;
    json_t *stats;
} text_values;

static bool placeholder(const text_values *v, const char *name, size_t len, char *out, size_t n)
{
    const ts_entry *e = v->call->entry;
    const ts_viz_input *in = v->call->input;
#define IS(word) (len == sizeof word - 1 && memcmp(name, word, len) == 0)
    if (IS("name"))
        snprintf(out, n, "%s", e->name);
    else if (IS("step"))
        snprintf(out, n, "%lld", (long long)e->step);
    else if (IS("seq"))
        snprintf(out, n, "%llu", (unsigned long long)in->seq);
    else if (IS("fps"))
        snprintf(out, n, "%.1f", in->fps);
    else if (IS("dtype"))
        snprintf(out, n, "%s", ts_dtype_name(ts_tensor_dtype(e->tensor)));
    else if (IS("shape"))
        ts_shape_text(ts_tensor_shape(e->tensor), out, n);
    else if (IS("time")) {
        time_t seconds = (time_t)e->t;
        struct tm parts;
        gmtime_r(&seconds, &parts);
        strftime(out, n, "%H:%M:%S", &parts);
    } else if (IS("min") || IS("max") || IS("mean") || IS("std")) {
        char key[8];
        snprintf(key, sizeof key, "%.*s", (int)len, name);
        const json_t *value = json_object_get(v->stats, key);
        if (json_is_string(value))
            snprintf(out, n, "%s", json_string_value(value));
        else
            put_number(out, n, json_is_number(value) ? json_number_value(value) : NAN);
    } else
        return false;
#undef IS
    return true;
}

static void expand(const text_values *v, const char *text, char *out, size_t n)
{
    size_t used = 0;
    while (*text && used + 1 < n) {
        const char *end = *text == '{' ? strchr(text, '}') : NULL;
        char word[160];
        if (end && placeholder(v, text + 1, (size_t)(end - text - 1), word, sizeof word)) {
            used += (size_t)snprintf(out + used, n - used, "%s", word);
            used = used < n ? used : n - 1;
            text = end + 1;
        } else {
            out[used++] = *text++;
        }
    }
    out[used] = 0;
}

static bool names_stats(const char *text)
{
    return text && (strstr(text, "{min}") || strstr(text, "{max}") || strstr(text, "{mean}") ||
                    strstr(text, "{std}"));
}

static bool needs_stats(const view_overlay *o)
{
    bool yes = names_stats(o->title);
    for (int i = 0; i < o->n_texts; i++)
        yes = yes || names_stats(o->texts[i].text);
    return yes;
}

static ts_status draw_title(ts_viz *viz, const text_values *v, const char *title, const target *t,
                            ts_error *err)
{
    char text[1536];
    expand(v, title, text, sizeof text);
    ts_status st = canvas_fill(viz, t, t->x, t->y, t->rw,
                               t->rh < TITLE_HEIGHT ? t->rh : TITLE_HEIGHT, TITLE_BG, err);
    int cells = (t->rw - 8) / FONT_WIDTH;
    return st == TS_OK && cells > 0
               ? canvas_text(viz, t, t->x + 4, t->y + 2, text, cells, WHITE, NULL, err)
               : st;
}

/* The value shown at t of the bar: the inverse of the mode's mapping. */
static double bar_value(const view_range *r, double lo, double hi, double t)
{
    if (r->mode == RANGE_LOG && lo > 0 && hi > 0)
        return exp(log(lo) + t * (log(hi) - log(lo)));
    if (r->mode == RANGE_SYMLOG) {
        double lin = r->has_linthresh ? r->linthresh : 0.01 * fmax(fabs(lo), fabs(hi));
        double a = copysign(log10(1 + fabs(lo) / lin), lo);
        double b = copysign(log10(1 + fabs(hi) / lin), hi);
        double f = a + t * (b - a);
        return copysign(lin * (pow(10, fabs(f)) - 1), f);
    }
    return lo + t * (hi - lo);
}

static int plot_row(double t, int h)
{
    t = t < 0 ? 0 : t > 1 ? 1 : t;
    return (int)floor((1 - t) * (h - 1) + 0.5);
}

static ts_status draw_colorbar(ts_viz *viz, const part_call *call, const text_values *v,
                               const target *all, int x, int y, int h, ts_error *err)
{
    const view_overlay *o = &call->part->overlay;
    int bar = x + o->bar_pad, tick = bar + o->bar_width;
    ts_status st = draw_bar(viz, call->state, all, bar, y, o->bar_width, h, err);
    for (int i = 0; st == TS_OK && i < o->bar_ticks; i++) {
        double t = o->bar_ticks > 1 ? (double)i / (o->bar_ticks - 1) : 0;
        int row = plot_row(t, h), top = row - 6 < h - FONT_HEIGHT ? row - 6 : h - FONT_HEIGHT;
        char label[32];
        put_number(label, sizeof label, bar_value(&call->part->range, v->lo, v->hi, t));
        st = canvas_fill(viz, all, tick, y + row, TICK_LENGTH, 1, WHITE, err);
        if (st == TS_OK)
            st = canvas_text(viz, all, tick + TICK_LENGTH + LABEL_GAP, y + (top > 0 ? top : 0),
                             label, VIZ_TEXT_MAX, WHITE, NULL, err);
    }
    return st;
}

static ts_status draw_texts(ts_viz *viz, const part_call *call, const text_values *v,
                            const target *picture, ts_error *err)
{
    const view_overlay *o = &call->part->overlay;
    ts_status st = TS_OK;
    for (int i = 0; st == TS_OK && i < o->n_texts; i++) {
        const view_text *one = &o->texts[i];
        uint32_t bg = rgba_of(&one->bg);
        char text[1536];
        expand(v, one->text, text, sizeof text);
        st = canvas_text(viz, picture, picture->x + one->x, picture->y + one->y, text, 2048,
                         rgba_of(&one->color), one->bg.set ? &bg : NULL, err);
    }
    return st;
}

static ts_status draw_overlay(ts_viz *viz, const part_call *call, const viz_plan *plan,
                              const target *t, const target *picture, ts_error *err)
{
    const view_overlay *o = &call->part->overlay;
    text_values v = {.call = call};
    ts_status st = TS_OK;
    if (needs_stats(o))
        st = ts_tensor_stats(viz->queue, call->entry->tensor, 1, &v.stats, err);
    if (st == TS_OK && o->colorbar) {
        range_state *range = call->state->active;
        st = range_read(viz, range, err);
        v.lo = viz_unwide(viz, range->first.lo);
        v.hi = viz_unwide(viz, range->first.hi);
        int right = picture->x + picture->rw;
        if (st == TS_OK)
            st = canvas_fill(viz, t, right, picture->y, t->x + t->rw - right, picture->rh,
                             0xff000000u, err);
        if (st == TS_OK)
            st = draw_colorbar(viz, call, &v, t, right, picture->y, picture->rh, err);
    }
    if (st == TS_OK && o->histogram) {
        target strip = *t;
        strip.y = picture->y + picture->rh;
        strip.rh = o->hist_height;
        st = plot_histogram(viz, call->state, call->part, plan, o->hist_bins, o->hist_log, &strip,
                            err);
    }
    target clip = *t; /* texts may reach into the bar, not into the title */
    clip.y = picture->y;
    clip.rh = t->y + t->rh - picture->y;
    if (st == TS_OK)
        st = draw_texts(viz, call, &v, &clip, err);
    if (st == TS_OK && o->title)
        st = draw_title(viz, &v, o->title, t, err);
    json_decref(v.stats);
    return st;
}

ts_status part_draw(ts_viz *viz, const part_call *call, const target *t, ts_error *err)
{
    viz_plan plan;
    int top, right, bottom;
    part_overlay_size(&call->part->overlay, &top, &right, &bottom);
    target picture = *t;
    picture.y += top;
    picture.rw -= right;
    picture.rh -= top + bottom;
    ts_status st = part_prepare(viz, call, &plan, err);
    if (st == TS_OK && picture.rw > 0 && picture.rh > 0) {
        st = draw_picture(viz, call, &plan, &picture, err);
        if (st == TS_OK)
            st = draw_overlay(viz, call, &plan, t, &picture, err);
    }
    return st;
}

ts_status part_title(ts_viz *viz, const part_call *call, const char *title, const target *t,
                     ts_error *err)
{
    text_values v = {.call = call};
    ts_status st = TS_OK;
    if (names_stats(title) && call->entry)
        st = ts_tensor_stats(viz->queue, call->entry->tensor, 1, &v.stats, err);
    if (st == TS_OK)
        st = draw_title(viz, &v, title, t, err);
    json_decref(v.stats);
    return st;
}
