#include "cl/viz/viz.h"

#include <math.h>
#include <stdlib.h>

#include "cl/tensor/stats.h"
#include "cl/viz/pixel_ring.h"
#include "cl/viz/viz_internal.h"

ts_status ts_viz_create(ts_device *device, ts_viz **out, ts_error *err)
{
    const ts_caps *caps = ts_device_caps(device);
    ts_viz *viz = calloc(1, sizeof *viz);
    if (!viz)
        return ts_fail(err, TS_E_NO_MEMORY, "viz");
    viz->device = device;
    viz->fp64 = caps->fp64;
    viz->cpu = caps->kind == TS_DEVICE_CPU;
    viz->units = caps->compute_units ? caps->compute_units : 1;
    viz->ring = pixel_ring_create();
    ts_status st =
        viz->ring ? slot_need(viz, &viz->dummy, 64, err) : ts_fail(err, TS_E_NO_MEMORY, "viz");
    if (st != TS_OK) {
        ts_viz_destroy(viz);
        return st;
    }
    *out = viz;
    return TS_OK;
}

static void part_state_destroy(part_state *state)
{
    if (!state)
        return;
    range_finish(&state->range);
    color_finish(&state->color);
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < 3; k++)
            axis_finish(&state->axis[i][k]);
    slot_finish(&state->filter.out[0]);
    slot_finish(&state->filter.out[1]);
    for (int i = 0; i < VIEW_MAX_FILTERS; i++)
        slot_finish(&state->filter.history[i]);
    slot *const slots[] = {&state->ring.rows, &state->plane,  &state->mid,
                           &state->near,      &state->shrunk, &state->reduced,
                           &state->picture,   &state->bins,   &state->series};
    for (size_t i = 0; i < sizeof slots / sizeof slots[0]; i++)
        slot_finish(slots[i]);
    free(state);
}

void ts_viz_destroy(ts_viz *viz)
{
    if (!viz)
        return;
    for (size_t i = 0; i < sizeof viz->parts / sizeof viz->parts[0]; i++)
        part_state_destroy(viz->parts[i]);
    slot *const slots[] = {&viz->canvas, &viz->canvas_b, &viz->scaled, &viz->packed,
                           &viz->font,   &viz->dummy,    &viz->quality};
    for (size_t i = 0; i < sizeof slots / sizeof slots[0]; i++)
        slot_finish(slots[i]);
    axis_finish(&viz->fit[0]);
    axis_finish(&viz->fit[1]);
    pixel_ring_unref(viz->ring);
    free(viz);
}

void ts_viz_reset(ts_viz *viz)
{
    for (size_t i = 0; i < sizeof viz->parts / sizeof viz->parts[0]; i++) {
        part_state *state = viz->parts[i];
        if (!state)
            continue;
        state->range.valid = state->range.ema_begun = false;
        state->filter.begun = state->filter.valid = false;
        state->ring.begun = false;
    }
}

part_state *viz_part(ts_viz *viz, int index, ts_error *err)
{
    if (!viz->parts[index]) {
        viz->parts[index] = calloc(1, sizeof *viz->parts[index]);
        if (!viz->parts[index])
            (void)ts_fail(err, TS_E_NO_MEMORY, "viz");
    }
    return viz->parts[index];
}

void ts_viz_output_finish(ts_viz_output *out)
{
    if (!out)
        return;
    ts_pixels_unref(out->pixels);
    json_decref(out->metrics);
    *out = (ts_viz_output){0};
}

/* ---- one frame ---- */

static int out_form(ts_pixel_format format)
{
    switch (format) {
    case TS_PIXELS_RGB8:
        return VIZ_OUT_RGB8;
    case TS_PIXELS_RGBA8:
        return VIZ_OUT_CANVAS;
    case TS_PIXELS_RGBA16:
        return VIZ_OUT_RGBA16;
    case TS_PIXELS_RGBA32F:
        return VIZ_OUT_RGBA32F;
    case TS_PIXELS_I420:
        return VIZ_OUT_I420;
    case TS_PIXELS_INDEXED:
        return VIZ_OUT_INDEXED;
    }
    return VIZ_OUT_RGB8;
}

/* Whether every pixel is one of at most 256 packed colours: the table's and the special ones. */
static bool fits_palette(const color_table *color, const viz_plan *plan)
{
    return plan->planes == 1 && color->nearest && color->lut_n + 6 <= 256;
}

static ts_status read_palette(ts_viz *viz, const color_table *color, ts_pixels *pixels,
                              ts_error *err)
{
    uint32_t packed[256];
    pixels->n_colors = color->lut_n + 6;
    ts_status st = ts_buffer_read(viz->queue, color->rgba.buffer, 0, packed,
                                  (size_t)pixels->n_colors * sizeof packed[0], err);
    for (int i = 0; st == TS_OK && i < pixels->n_colors; i++)
        for (int c = 0; c < 3; c++)
            pixels->palette[i][c] = (uint8_t)(packed[i] >> (8 * c));
    return st;
}

/* Read finished pixels of `src` into host memory of the ring. */
static ts_status take_pixels(ts_viz *viz, slot *src, ts_pixel_format format, int w, int h,
                             ts_pixels **out, ts_error *err)
{
    size_t bytes;
    void *memory;
    ts_pixels *pixels = pixel_ring_take(viz->ring, format, w, h, &memory, &bytes);
    if (!pixels)
        return ts_fail(err, TS_E_NO_MEMORY, "picture of %d x %d", w, h);
    ts_status st = ts_buffer_read(viz->queue, src->buffer, 0, memory, bytes, err);
    if (st != TS_OK) {
        ts_pixels_unref(pixels);
        return st;
    }
    *out = pixels;
    return TS_OK;
}

/* A plane or colour picture alone goes from samples to the output's form in one pass. */
static ts_status render_plain(ts_viz *viz, const part_call *call, viz_plan *plan, int w, int h,
                              ts_viz_output *out, ts_error *err)
{
    const ts_viz_input *input = call->input;
    ts_pixel_format format = input->format;
    bool fits = fits_palette(&call->state->color, plan);
    if (fits && input->auto_indexed && format == TS_PIXELS_RGB8)
        format = TS_PIXELS_INDEXED;
    if (!fits && format == TS_PIXELS_INDEXED)
        format = TS_PIXELS_RGB8;
    draw_call d = {.W = w,
                   .H = h,
                   .cols = 1,
                   .out = out_form(format),
                   .dst_w = w,
                   .dst_h = h,
                   .dst = &viz->packed,
                   .size = &call->part->resize,
                   .port = &call->part->viewport};
    size_t bytes = ts_pixels_layout(format, w, h, d.plane_at, d.stride);
    ts_status st = slot_need(viz, &viz->packed, bytes, err);
    if (st == TS_OK)
        st = draw_plan(viz, call->state, &call->state->range, call->part, plan, &d, err);
    if (st == TS_OK)
        st = take_pixels(viz, &viz->packed, format, w, h, &out->pixels, err);
    if (st == TS_OK && format == TS_PIXELS_INDEXED)
        st = read_palette(viz, &call->state->color, out->pixels, err);
    return st;
}

static ts_status render_canvas(ts_viz *viz, const ts_viz_input *input, int w, int h, double scale,
                               ts_viz_output *out, ts_error *err)
{
    ts_status st = slot_need(viz, &viz->canvas, (size_t)w * (size_t)h * 4, err);
    if (st == TS_OK)
        st = scene_draw(viz, input, &viz->canvas, w, h, out, err);
    slot *done = &viz->canvas;
    if (st == TS_OK && scale != 1) {
        int n = (int)fmax(1, floor(w * scale + 0.5)), m = (int)fmax(1, floor(h * scale + 0.5));
        st = canvas_shrink(viz, done, w, h, &viz->scaled, n, m, err);
        done = &viz->scaled;
        w = n;
        h = m;
    }
    ts_pixel_format format = input->format == TS_PIXELS_INDEXED ? TS_PIXELS_RGB8 : input->format;
    if (st == TS_OK && format != TS_PIXELS_RGBA8) {
        st = canvas_pack(viz, done, w, h, format, &viz->packed, err);
        done = &viz->packed;
    }
    if (st == TS_OK)
        st = take_pixels(viz, done, format, w, h, &out->pixels, err);
    return st;
}

/* The part whose range a frame reports: the one part, or the first panel. */
static ts_status report_range(ts_viz *viz, const ts_viz_input *input, ts_viz_output *out,
                              ts_error *err)
{
    part_state *state = viz->parts[0];
    if (!state || !state->range.valid || out->has_range)
        return TS_OK;
    (void)input;
    ts_status st = range_read(viz, &state->range, err);
    out->has_range = st == TS_OK && state->range.first.seen;
    out->lo = viz_unwide(viz, state->range.first.lo);
    out->hi = viz_unwide(viz, state->range.first.hi);
    return st;
}

static ts_status report_stats(ts_viz *viz, const ts_viz_input *input, const ts_entry *entry,
                              ts_viz_output *out, ts_error *err)
{
    if (!(input->want_stats || input->view->part.stats) || !entry)
        return TS_OK;
    json_t *stats = NULL;
    ts_status st = ts_tensor_stats(viz->queue, entry->tensor, 64, &stats, err);
    if (st != TS_OK)
        return st;
    if (!out->metrics)
        out->metrics = json_object();
    json_object_set_new(out->metrics, "stats", stats);
    return TS_OK;
}

static ts_status render(ts_viz *viz, const ts_viz_input *input, ts_viz_output *out, ts_error *err)
{
    const ts_view *view = input->view;
    double scale = input->scale > 0 ? fmin(input->scale, 1) : 1;
    bool single = !view->n_panels && !view->compare.set;
    ts_entry owned = {0};
    const ts_entry *entry = input->entry;
    ts_status st = TS_OK;
    if (single)
        st = scene_entry(input, entry ? NULL : view->part.tensor, &owned, &entry, err);
    ts_viz_input resolved = *input;
    resolved.entry = entry;
    int w = 0, h = 0;
    if (st == TS_OK)
        st = scene_size(viz, &resolved, &w, &h, err);
    viz_plan plan;
    part_call call = {.part = &view->part, .entry = entry, .input = &resolved};
    if (st == TS_OK && single) {
        call.state = viz_part(viz, 0, err);
        st = call.state ? plan_make(&view->part, entry, &plan, err) : TS_E_NO_MEMORY;
    }
    if (st == TS_OK && single && scale == 1 && part_is_plain(&view->part, &plan)) {
        st = part_prepare(viz, &call, &plan, err);
        if (st == TS_OK)
            st = render_plain(viz, &call, &plan, w, h, out, err);
    } else if (st == TS_OK) {
        st = render_canvas(viz, &resolved, w, h, scale, out, err);
    }
    if (st == TS_OK)
        st = report_range(viz, input, out, err);
    if (st == TS_OK)
        st = report_stats(viz, input, entry, out, err);
    ts_entry_finish(&owned);
    return st;
}

ts_status ts_viz_render(ts_viz *viz, ts_queue *queue, const ts_viz_input *input, ts_viz_output *out,
                        ts_error *err)
{
    *out = (ts_viz_output){0};
    viz->queue = queue;
    ts_status st = render(viz, input, out, err);
    if (st != TS_OK) {
        /* Nothing of a failed frame may still run when its tensors are let go. */
        ts_error ignored = {0};
        (void)!ts_queue_finish(queue, &ignored);
        ts_error_clear(&ignored);
        ts_viz_output_finish(out);
    }
    viz->queue = NULL;
    return st;
}
