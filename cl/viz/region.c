/* Statistics of what lies under a rectangle of a picture. */
#include <math.h>

#include "cl/tensor/stats.h"
#include "cl/viz/viz_internal.h"

/* Samples from … to of one axis that pixels begin … end - 1 show; false where none does. */
static bool axis_span(const ts_viz *viz, const viz_axis *a, double begin, double end, int64_t *from,
                      int64_t *to)
{
    *from = INT64_MAX;
    *to = -1;
    for (double i = fmax(floor(begin), 0); i < fmin(ceil(end), a->n); i++) {
        int64_t at = axis_source(viz, a, i);
        if (at < 0)
            continue;
        *from = at < *from ? at : *from;
        *to = at > *to ? at : *to;
    }
    return *to >= 0;
}

static bool shows_one_plane(const viz_plan *plan)
{
    return plan->kind == KIND_HEATMAP || plan->kind == KIND_STRIP || plan->kind == KIND_RGB ||
           plan->kind == KIND_SLICE;
}

/* The samples of the rectangle as a tensor of their own. */
static ts_status gather(ts_viz *viz, const viz_plan *plan, const int64_t box[4], ts_tensor **out,
                        ts_error *err)
{
    ts_shape shape = TS_SHAPE(plan->planes, box[3], box[2]);
    ts_status st = ts_tensor_create(viz->device, plan->dtype, &shape, out, err);
    if (st != TS_OK)
        return st;
    st = viz_launch(viz, "viz_compare", TS_F32, "viz_gather",
                    SIZES((size_t)box[3], (size_t)plan->planes, 1), NULL,
                    TS_ARGS(TS_BUF(plan->data), TS_BYTES(&plan->src, sizeof plan->src),
                            TS_UINT(box[0]), TS_UINT(box[1]), TS_UINT(box[2]), TS_UINT(box[3]),
                            TS_UINT(ts_dtype_bytes(plan->dtype)), TS_BUF(ts_tensor_buffer(*out))),
                    err);
    if (st != TS_OK) {
        ts_tensor_unref(*out);
        *out = NULL;
    }
    return st;
}

/* rect: of the part's whole picture of w x h pixels, overlay included. */
static ts_status region_part(ts_viz *viz, const view_part *part, const ts_entry *entry,
                             bool contained, int panel, const double rect[4], int w, int h,
                             json_t **out, ts_error *err)
{
    viz_plan plan;
    ts_status st = plan_make(part, entry, &plan, err);
    if (st != TS_OK)
        return st;
    int top, right, bottom;
    part_overlay_size(&part->overlay, &top, &right, &bottom);
    view_size size = part->resize;
    if (contained && !size.has_fit)
        size.fit = FIT_CONTAIN;
    viz_axis ax, ay;
    int64_t x0, x1, y0, y1;
    w -= right;
    h -= top + bottom;
    bool any = w > 0 && h > 0 && shows_one_plane(&plan);
    if (any) {
        axis_keys(viz, &size, &part->viewport, (int)plan.src.w, (int)plan.src.h, w, h, &ax, &ay);
        any = axis_span(viz, &ax, rect[0], rect[0] + rect[2], &x0, &x1) &&
              axis_span(viz, &ay, rect[1] - top, rect[1] - top + rect[3], &y0, &y1);
    }
    if (!any) {
        *out = json_null();
        return TS_OK;
    }
    const int64_t box[4] = {x0, y0, x1 - x0 + 1, y1 - y0 + 1};
    ts_tensor *samples = NULL;
    json_t *stats = NULL;
    st = gather(viz, &plan, box, &samples, err);
    if (st == TS_OK)
        st = ts_tensor_stats(viz->queue, samples, 64, &stats, err);
    ts_tensor_unref(samples);
    if (st == TS_OK)
        *out = json_pack("{s:i,s:s,s:[I,I,I,I],s:o}", "panel", panel, "tensor", entry->name, "rect",
                         (json_int_t)box[0], (json_int_t)box[1], (json_int_t)box[2],
                         (json_int_t)box[3], "stats", stats);
    return st;
}

/* The panel that the rectangle's first corner lies in. */
static ts_status region_panels(ts_viz *viz, const ts_viz_input *input, const double rect[4],
                               json_t **out, ts_error *err)
{
    const ts_view *view = input->view;
    for (int i = view->n_panels - 1; i >= 0; i--) {
        int r[4];
        scene_panel_rect(view, i, r);
        int title = view->panels[i].title ? 16 : 0;
        const double inner[4] = {rect[0] - r[0], rect[1] - r[1] - title, rect[2], rect[3]};
        if (inner[0] < 0 || inner[1] < 0 || inner[0] >= r[2] || inner[1] >= r[3] - title)
            continue;
        ts_entry owned = {0};
        const ts_entry *entry = NULL;
        ts_error ignored = {0};
        ts_status st = scene_entry(input, view->panels[i].tensor, &owned, &entry, &ignored);
        ts_error_clear(&ignored);
        if (st == TS_OK)
            st = region_part(viz, &view->panels[i], entry, true, i, inner, r[2], r[3] - title, out,
                             err);
        else
            *out = json_null();
        ts_entry_finish(&owned);
        return *out ? TS_OK : st;
    }
    *out = json_null();
    return TS_OK;
}

ts_status ts_viz_region(ts_viz *viz, ts_queue *queue, const ts_viz_input *input,
                        const double rect[4], json_t **out, ts_error *err)
{
    const ts_view *view = input->view;
    double scale = input->scale > 0 ? fmin(input->scale, 1) : 1;
    const double full[4] = {rect[0] / scale, rect[1] / scale, rect[2] / scale, rect[3] / scale};
    *out = NULL;
    for (int i = 0; i < 4; i++)
        if (!(fabs(rect[i]) <= 1e6) || (i >= 2 && rect[i] <= 0))
            return ts_fail(err, TS_E_OPTION, "rect: expected [x,y,w,h] with w and h above 0");
    viz->queue = queue;
    int w = 0, h = 0;
    ts_status st = TS_OK;
    if (view->n_panels) {
        st = region_panels(viz, input, full, out, err);
    } else if (view->compare.set) {
        *out = json_null();
    } else {
        ts_entry owned = {0};
        const ts_entry *entry = NULL;
        st = scene_size(viz, input, &w, &h, err);
        if (st == TS_OK)
            st = scene_entry(input, input->entry ? NULL : view->part.tensor, &owned, &entry, err);
        if (st == TS_OK)
            st = region_part(viz, &view->part, entry, false, 0, full, w, h, out, err);
        ts_entry_finish(&owned);
    }
    viz->queue = NULL;
    return st;
}
