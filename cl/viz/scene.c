/* Scenes: one part, a grid of panels, or two tensors compared. */
#include <math.h>
#include <stdlib.h>

#include "cl/viz/compare.h"
#include "cl/viz/font.h"
#include "cl/viz/viz_internal.h"

enum {
    PANEL_TITLE = 16
};

/* The entry that a view names, or the input's own where it names none. */
ts_status scene_entry(const ts_viz_input *input, const char *name, ts_entry *owned,
                      const ts_entry **out, ts_error *err)
{
    if (!name) {
        if (!input->entry)
            return ts_fail(err, TS_E_OPTION, "tensor: the view names none");
        *out = input->entry;
        return TS_OK;
    }
    if (!input->store)
        return ts_fail(err, TS_E_NOT_FOUND, "no tensor %s", name);
    ts_status st = ts_store_get(input->store, name, owned, err);
    *out = owned;
    return st;
}

/* ---- panels ---- */

typedef struct grid {
    int w, h, gap, cols, rows;
} grid;

static void grid_of(const ts_view *view, grid *g)
{
    g->w = view->canvas_width;
    g->h = view->canvas_height;
    g->gap = view->canvas_gap;
    g->cols = view->canvas_cols;
    if (!g->cols)
        for (g->cols = 1; g->cols * g->cols < view->n_panels;)
            g->cols++;
    g->rows = (int)div_up((size_t)view->n_panels, (size_t)g->cols);
}

void scene_panel_rect(const ts_view *view, int i, int rect[4])
{
    const view_part *panel = &view->panels[i];
    if (panel->has_rect) {
        memcpy(rect, panel->rect, sizeof panel->rect);
        return;
    }
    grid g;
    grid_of(view, &g);
    int iw = g.w - g.gap * (g.cols + 1), ih = g.h - g.gap * (g.rows + 1);
    iw = iw > 0 ? iw : 0;
    ih = ih > 0 ? ih : 0;
    int c = i % g.cols, r = i / g.cols;
    rect[0] = g.gap * (c + 1) + c * iw / g.cols;
    rect[1] = g.gap * (r + 1) + r * ih / g.rows;
    rect[2] = g.gap * (c + 1) + (c + 1) * iw / g.cols - rect[0];
    rect[3] = g.gap * (r + 1) + (r + 1) * ih / g.rows - rect[1];
}

/* The name of what is missing, centred in grey. */
static ts_status draw_missing(ts_viz *viz, const char *text, const target *t, ts_error *err)
{
    int cells = text_cells(text), most = t->rw / FONT_WIDTH;
    cells = cells < most ? cells : most;
    return canvas_text(viz, t, t->x + (t->rw - cells * FONT_WIDTH) / 2,
                       t->y + (t->rh - FONT_HEIGHT) / 2, text, cells, 0xff808080u, NULL, err);
}

static ts_status draw_panel(ts_viz *viz, const ts_viz_input *input, int i, const target *whole,
                            ts_error *err)
{
    const view_part *panel = &input->view->panels[i];
    int rect[4];
    scene_panel_rect(input->view, i, rect);
    target t = {.canvas = whole->canvas,
                .w = whole->w,
                .h = whole->h,
                .x = rect[0],
                .y = rect[1],
                .rw = rect[2],
                .rh = rect[3]};
    if (t.rw < 1 || t.rh < 1)
        return TS_OK;
    part_state *state = viz_part(viz, i, err);
    if (!state)
        return TS_E_NO_MEMORY;
    ts_entry owned = {0};
    const ts_entry *entry = NULL;
    ts_error missing = {0};
    ts_status found = scene_entry(input, panel->tensor, &owned, &entry, &missing);
    part_call call = {
        .part = panel, .entry = entry, .input = input, .state = state, .default_contain = true};
    ts_status st = TS_OK;
    if (panel->title) {
        target bar = t;
        call.entry = found == TS_OK ? entry : NULL;
        st = part_title(viz, &call, panel->title, &bar, err);
        t.y += PANEL_TITLE;
        t.rh -= PANEL_TITLE;
    }
    if (st == TS_OK && t.rh > 0) {
        ts_error fault = {0};
        if (found == TS_OK) {
            st = part_draw(viz, &call, &t, &fault);
            /* One empty or ill-shaped tensor does not take the other panels with it. */
            if (st == TS_E_EMPTY || st == TS_E_SHAPE || st == TS_E_INDEX)
                st = draw_missing(viz, fault.text, &t, err);
            else if (st != TS_OK)
                ts_fail(err, st, "panels[%d]: %s", i, fault.text);
        } else {
            st = draw_missing(viz, panel->tensor ? panel->tensor : "no tensor", &t, err);
        }
        ts_error_clear(&fault);
    }
    ts_error_clear(&missing);
    ts_entry_finish(&owned);
    return st;
}

static ts_status draw_panels(ts_viz *viz, const ts_viz_input *input, const target *t, ts_error *err)
{
    const ts_view *view = input->view;
    ts_status st = canvas_fill(viz, t, 0, 0, t->w, t->h, rgba_of(&view->canvas_background), err);
    for (int i = 0; st == TS_OK && i < view->n_panels; i++)
        st = draw_panel(viz, input, i, t, err);
    return st;
}

/* ---- all ---- */

static ts_status single_call(ts_viz *viz, const ts_viz_input *input, ts_entry *owned,
                             part_call *call, ts_error *err)
{
    const view_part *part = &input->view->part;
    const ts_entry *entry = NULL;
    ts_status st = scene_entry(input, input->entry ? NULL : part->tensor, owned, &entry, err);
    if (st != TS_OK)
        return st;
    *call =
        (part_call){.part = part, .entry = entry, .input = input, .state = viz_part(viz, 0, err)};
    return call->state ? TS_OK : TS_E_NO_MEMORY;
}

ts_status scene_size(ts_viz *viz, const ts_viz_input *input, int *w, int *h, ts_error *err)
{
    const ts_view *view = input->view;
    if (view->n_panels) {
        *w = view->canvas_width;
        *h = view->canvas_height;
        return TS_OK;
    }
    if (view->compare.set)
        return compare_size(viz, input, w, h, err);
    ts_entry owned = {0};
    part_call call;
    ts_status st = single_call(viz, input, &owned, &call, err);
    if (st == TS_OK)
        st = part_size(&call, w, h, err);
    ts_entry_finish(&owned);
    return st;
}

ts_status scene_draw(ts_viz *viz, const ts_viz_input *input, slot *canvas, int w, int h,
                     ts_viz_output *out, ts_error *err)
{
    target t = {.canvas = canvas, .w = w, .h = h, .rw = w, .rh = h};
    if (input->view->n_panels)
        return draw_panels(viz, input, &t, err);
    if (input->view->compare.set)
        return compare_draw(viz, input, &t, out, err);
    ts_entry owned = {0};
    part_call call;
    ts_status st = single_call(viz, input, &owned, &call, err);
    if (st == TS_OK)
        st = part_draw(viz, &call, &t, err);
    ts_entry_finish(&owned);
    return st;
}
