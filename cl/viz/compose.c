/* Work on canvases: fills, text in the built-in font, scaling, combining, packing. */
#include <stdlib.h>

#include "cl/viz/font.h"
#include "cl/viz/viz_internal.h"

ts_status canvas_fill(ts_viz *viz, const target *t, int x, int y, int w, int h, uint32_t color,
                      ts_error *err)
{
    if (w <= 0 || h <= 0)
        return TS_OK;
    int chunk = viz->cpu ? 4096 : 1;
    return viz_launch(viz, "viz_compose", -1, "viz_fill",
                      SIZES(div_up((size_t)w, (size_t)chunk), (size_t)h, 1), NULL,
                      TS_ARGS(TS_BUF(t->canvas->buffer), TS_INT(t->w), TS_INT(t->h), TS_INT(x),
                              TS_INT(y), TS_INT(w), TS_INT(h), TS_UINT(color), TS_INT(chunk)),
                      err);
}

static ts_status need_font(ts_viz *viz, ts_error *err)
{
    if (viz->font.buffer)
        return TS_OK;
    ts_status st = slot_need(viz, &viz->font, sizeof ts_font_rows, err);
    return st == TS_OK ? ts_buffer_write(viz->queue, viz->font.buffer, 0, ts_font_rows,
                                         sizeof ts_font_rows, err)
                       : st;
}

int text_cells(const char *text)
{
    int n = 0;
    while (*text) {
        (void)ts_font_next(&text);
        n++;
    }
    return n;
}

ts_status canvas_text(ts_viz *viz, const target *t, int x, int y, const char *text, int max_cells,
                      uint32_t fg, const uint32_t *bg, ts_error *err)
{
    ts_status st = need_font(viz, err);
    viz_text run = {.y = y, .has_bg = bg != NULL, .stride = t->w, .fg = fg, .bg = bg ? *bg : 0};
    run.clip_x0 = t->x > 0 ? t->x : 0;
    run.clip_y0 = t->y > 0 ? t->y : 0;
    run.clip_x1 = t->x + t->rw < t->w ? t->x + t->rw : t->w;
    run.clip_y1 = t->y + t->rh < t->h ? t->y + t->rh : t->h;
    for (int at = 0; st == TS_OK && *text && at < max_cells; at += run.n) {
        run.x = x + at * FONT_WIDTH;
        for (run.n = 0; *text && run.n < VIZ_TEXT_MAX && at + run.n < max_cells; run.n++)
            run.glyph[run.n] = (uint8_t)ts_font_next(&text);
        st = viz_launch(viz, "viz_compose", -1, "viz_text_cells",
                        SIZES((size_t)run.n, FONT_HEIGHT, 1), NULL,
                        TS_ARGS(TS_BUF(t->canvas->buffer), TS_BYTES(&run, sizeof run),
                                TS_BUF(viz->font.buffer)),
                        err);
    }
    return st;
}

ts_status canvas_scale(ts_viz *viz, slot *src, int w, int h, const view_size *size,
                       const view_viewport *port, const target *t, ts_error *err)
{
    view_size simple = *size;
    if (simple.filter > RESAMPLE_BILINEAR)
        simple.filter = RESAMPLE_BILINEAR;
    viz_axis kx, ky;
    axis_keys(viz, &simple, port, w, h, t->rw, t->rh, &kx, &ky);
    ts_status st = axis_update(viz, &viz->fit[0], &kx, err);
    if (st == TS_OK)
        st = axis_update(viz, &viz->fit[1], &ky, err);
    if (st != TS_OK)
        return st;
    int chunk = viz->cpu ? 1024 : 1;
    return viz_launch(viz, "viz_compose", -1, "viz_scale",
                      SIZES(div_up((size_t)t->rw, (size_t)chunk), (size_t)t->rh, 1), NULL,
                      TS_ARGS(TS_BUF(src->buffer), TS_INT(w), TS_INT(h),
                              TS_BUF(viz->fit[0].index.buffer), TS_BUF(viz->fit[0].frac.buffer),
                              TS_BUF(viz->fit[1].index.buffer), TS_BUF(viz->fit[1].frac.buffer),
                              TS_INT(t->rw), TS_INT(t->rh), TS_INT(simple.filter),
                              TS_UINT(rgba_of(&size->background)), TS_BUF(t->canvas->buffer),
                              TS_INT(t->w), TS_INT(t->h), TS_INT(t->x), TS_INT(t->y),
                              TS_INT(chunk)),
                      err);
}

ts_status canvas_shrink(ts_viz *viz, slot *src, int w, int h, slot *dst, int n, int m,
                        ts_error *err)
{
    int chunk = viz->cpu ? 1024 : 1;
    ts_status st = slot_need(viz, dst, (size_t)n * (size_t)m * 4, err);
    if (st != TS_OK)
        return st;
    return viz_launch(viz, "viz_compose", -1, "viz_shrink",
                      SIZES(div_up((size_t)n, (size_t)chunk), (size_t)m, 1), NULL,
                      TS_ARGS(TS_BUF(src->buffer), TS_INT(w), TS_INT(h), TS_BUF(dst->buffer),
                              TS_INT(n), TS_INT(m), TS_INT(chunk)),
                      err);
}

ts_status canvas_combine(ts_viz *viz, slot *a, slot *b, slot *dst, int w, int h, int mode, int at,
                         float alpha, uint32_t divider, ts_error *err)
{
    int chunk = viz->cpu ? 1024 : 1;
    return viz_launch(viz, "viz_compose", -1, "viz_combine",
                      SIZES(div_up((size_t)w, (size_t)chunk), (size_t)h, 1), NULL,
                      TS_ARGS(TS_BUF(a->buffer), TS_BUF(b->buffer), TS_BUF(dst->buffer), TS_INT(w),
                              TS_INT(h), TS_INT(mode), TS_INT(at), TS_FLOAT(alpha),
                              TS_UINT(divider), TS_INT(chunk)),
                      err);
}

ts_status canvas_pack(ts_viz *viz, slot *canvas, int w, int h, ts_pixel_format format, slot *dst,
                      ts_error *err)
{
    size_t at[3], stride[3];
    size_t bytes = ts_pixels_layout(format, w, h, at, stride);
    int chunk = viz->cpu ? 1024 : 2;
    size_t columns = div_up((size_t)w, (size_t)chunk);
    ts_status st = slot_need(viz, dst, bytes, err);
    if (st != TS_OK)
        return st;
    if (format == TS_PIXELS_I420)
        return viz_launch(viz, "viz_compose", -1, "viz_pack_i420",
                          SIZES(columns, div_up((size_t)h, 2), 1), NULL,
                          TS_ARGS(TS_BUF(canvas->buffer), TS_INT(w), TS_INT(h), TS_BUF(dst->buffer),
                                  TS_ULONG(stride[0]), TS_ULONG(stride[1]), TS_ULONG(at[1]),
                                  TS_ULONG(at[2]), TS_INT(chunk)),
                          err);
    if (format == TS_PIXELS_RGB8)
        return viz_launch(viz, "viz_compose", -1, "viz_pack_rgb8", SIZES(columns, (size_t)h, 1),
                          NULL,
                          TS_ARGS(TS_BUF(canvas->buffer), TS_INT(w), TS_INT(h), TS_BUF(dst->buffer),
                                  TS_INT(chunk)),
                          err);
    return viz_launch(viz, "viz_compose", -1, "viz_pack_deep", SIZES(columns, (size_t)h, 1), NULL,
                      TS_ARGS(TS_BUF(canvas->buffer), TS_INT(w), TS_INT(h),
                              TS_INT(format == TS_PIXELS_RGBA32F), TS_BUF(dst->buffer),
                              TS_INT(chunk)),
                      err);
}
