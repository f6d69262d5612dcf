#include "cl/models/gaze/gaze.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/size.h"

enum {
    SUMS = 256 /* error sums that cross to the host */
};

struct ts_gaze {
    ts_device *device;
    int width, height;
    int64_t index; /* of the next frame since the reset */
    ts_buffer *out, *top, *rects, *tints, *rows_top, *error, *sums;
    size_t rects_cap, rows_cap;
    ts_gaze_shapes shapes, row_shapes;
    ts_gaze_cell *cells; /* of the last frame, for the panel of rows */
    size_t n_cells, cells_cap;
    bool top_current; /* `top` shows the last frame's cells */
    bool gpu;
};

ts_status ts_gaze_create(ts_device *device, ts_gaze **out, ts_error *err)
{
    ts_gaze *g = calloc(1, sizeof *g);
    if (!g)
        return ts_fail(err, TS_E_NO_MEMORY, "no memory for a gaze state");
    g->device = device;
    g->gpu = ts_device_caps(device)->kind != TS_DEVICE_CPU;
    ts_status st = ts_buffer_create(device, SUMS * sizeof(uint64_t), &g->sums, err);
    if (st != TS_OK) {
        ts_gaze_destroy(g);
        return st;
    }
    *out = g;
    return TS_OK;
}

static void drop_pictures(ts_gaze *g)
{
    ts_buffer **all[] = {&g->out, &g->top, &g->rows_top, &g->error};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        ts_buffer_unref(*all[i]);
        *all[i] = NULL;
    }
    g->width = g->height = 0;
}

void ts_gaze_destroy(ts_gaze *gaze)
{
    if (!gaze)
        return;
    drop_pictures(gaze);
    ts_buffer_unref(gaze->rects);
    ts_buffer_unref(gaze->tints);
    ts_buffer_unref(gaze->sums);
    ts_gaze_shapes_finish(&gaze->shapes);
    ts_gaze_shapes_finish(&gaze->row_shapes);
    free(gaze->cells);
    free(gaze);
}

void ts_gaze_reset(ts_gaze *gaze)
{
    gaze->index = 0;
}

ts_gaze_image ts_gaze_current(const ts_gaze *gaze)
{
    return (ts_gaze_image){gaze->out, 0, gaze->width, gaze->height};
}

/* Blocks of pixels per work-item: wide bands on a CPU, short runs on a GPU. */
typedef struct blocks {
    int bw, bh;
    size_t global[2];
} blocks;

static blocks cut(const ts_gaze *g)
{
    blocks b = {.bw = g->gpu ? 16 : g->width, .bh = g->gpu ? 1 : 16};
    b.global[0] = ((size_t)g->width + (size_t)b.bw - 1) / (size_t)b.bw;
    b.global[1] = ((size_t)g->height + (size_t)b.bh - 1) / (size_t)b.bh;
    return b;
}

static ts_status resize(ts_gaze *g, int width, int height, ts_error *err)
{
    if (g->out && g->width == width && g->height == height)
        return TS_OK;
    drop_pictures(g);
    g->index = 0;
    g->width = width;
    g->height = height;
    size_t n = (size_t)width * (size_t)height;
    blocks b = cut(g);
    ts_status st = ts_buffer_create(g->device, 4 * n, &g->out, err);
    if (st == TS_OK)
        st = ts_buffer_create(g->device, 2 * n, &g->top, err);
    if (st == TS_OK)
        st = ts_buffer_create(g->device, 8 * b.global[0] * b.global[1], &g->error, err);
    if (st != TS_OK)
        drop_pictures(g);
    return st;
}

static ts_status keep_cells(ts_gaze *g, const ts_gaze_cell *cells, size_t n, ts_error *err)
{
    if (n > g->cells_cap) {
        ts_gaze_cell *p = ts_realloc_array(g->cells, n, sizeof *p);
        if (!p)
            return ts_fail(err, TS_E_NO_MEMORY, "no memory for %zu cells", n);
        g->cells = p;
        g->cells_cap = n;
    }
    if (n)
        memcpy(g->cells, cells, n * sizeof *cells);
    g->n_cells = n;
    return TS_OK;
}

/* Room for n rectangles and colours on the device; at least one, so that it is never NULL. */
static ts_status reserve_rects(ts_gaze *g, size_t n, ts_error *err)
{
    if (g->rects && n <= g->rects_cap)
        return TS_OK;
    size_t cap = n < 256 ? 256 : n;
    ts_buffer_unref(g->rects);
    ts_buffer_unref(g->tints);
    g->rects = g->tints = NULL;
    ts_status st = ts_buffer_create(g->device, cap * sizeof(ts_gaze_rect), &g->rects, err);
    if (st == TS_OK)
        st = ts_buffer_create(g->device, cap * 4, &g->tints, err);
    g->rects_cap = st == TS_OK ? cap : 0;
    return st;
}

static ts_status upload_shapes(ts_gaze *g, ts_queue *q, const ts_gaze_shapes *s, ts_error *err)
{
    ts_status st = reserve_rects(g, s->n, err);
    if (st == TS_OK && s->n)
        st = ts_buffer_write(q, g->rects, 0, s->rects, s->n * sizeof *s->rects, err);
    if (st == TS_OK && s->n)
        st = ts_buffer_write(q, g->tints, 0, s->tints, s->n * 4, err);
    return st;
}

static ts_status draw_top(ts_gaze *g, ts_queue *q, ts_buffer *top, size_t n, ts_error *err)
{
    ts_kernel *k;
    blocks b = cut(g);
    ts_status st = ts_queue_kernel(q, "gaze", "", "gaze_top", &k, err);
    if (st != TS_OK)
        return st;
    return ts_launch(q, k, 2, b.global, NULL,
                     TS_ARGS(TS_BUF(top), TS_INT(g->width), TS_INT(g->height), TS_BUF(g->rects),
                             TS_INT(n), TS_INT(b.bw), TS_INT(b.bh)),
                     err);
}

/* The last frame's cells in `top`, which panels and the dense update read. */
static ts_status want_top(ts_gaze *g, ts_queue *q, ts_error *err)
{
    if (g->top_current)
        return TS_OK;
    ts_status st = upload_shapes(g, q, &g->shapes, err);
    if (st == TS_OK)
        st = draw_top(g, q, g->top, g->shapes.n, err);
    g->top_current = st == TS_OK;
    return st;
}

static ts_status update(ts_gaze *g, ts_queue *q, const ts_gaze_image *f, const ts_gaze_options *opt,
                        ts_error *err)
{
    ts_kernel *k;
    blocks b = cut(g);
    ts_status st = ts_queue_kernel(q, "gaze", "", "gaze_update", &k, err);
    if (st != TS_OK)
        return st;
    return ts_launch(q, k, 2, b.global, NULL,
                     TS_ARGS(TS_BUF(f->buffer), TS_ULONG(f->offset), TS_BUF(g->out), TS_BUF(g->top),
                             TS_INT(g->width), TS_INT(g->height),
                             TS_INT(opt->output == TS_GAZE_FULL_BLEND), TS_FLOAT(opt->alpha),
                             TS_INT(opt->psnr), TS_BUF(g->error), TS_INT(b.bw), TS_INT(b.bh)),
                     err);
}

static ts_status copy_rects(ts_gaze *g, ts_queue *q, const ts_gaze_image *f, ts_error *err)
{
    ts_kernel *k;
    ts_status st = upload_shapes(g, q, &g->shapes, err);
    if (st == TS_OK)
        st = ts_queue_kernel(q, "gaze", "", "gaze_copy_rects", &k, err);
    if (st != TS_OK)
        return st;
    size_t global[2] = {g->shapes.n, g->gpu ? 256 : 1};
    return ts_launch(q, k, 2, global, NULL,
                     TS_ARGS(TS_BUF(f->buffer), TS_ULONG(f->offset), TS_BUF(g->out),
                             TS_INT(g->width), TS_INT(g->height), TS_BUF(g->rects),
                             TS_INT(g->shapes.n)),
                     err);
}

static ts_status read_error(ts_gaze *g, ts_queue *q, uint64_t *total, ts_error *err)
{
    blocks b = cut(g);
    size_t n = b.global[0] * b.global[1];
    ts_buffer *from = g->error;
    ts_status st = TS_OK;
    if (n > SUMS) {
        ts_kernel *k;
        st = ts_queue_kernel(q, "gaze", "", "gaze_sum", &k, err);
        if (st == TS_OK)
            st =
                ts_launch(q, k, 1, (size_t[]){SUMS}, NULL,
                          TS_ARGS(TS_BUF(g->error), TS_INT(n), TS_BUF(g->sums), TS_INT(SUMS)), err);
        from = g->sums;
        n = SUMS;
    }
    uint64_t part[SUMS];
    if (st == TS_OK)
        st = ts_buffer_read(q, from, 0, part, n * sizeof *part, err);
    *total = 0;
    for (size_t i = 0; st == TS_OK && i < n; i++)
        *total += part[i];
    return st;
}

static void set_psnr(ts_gaze_result *r, uint64_t error, double pixels)
{
    r->has_psnr = true;
    r->psnr_infinite = error == 0;
    r->psnr_db = error ? 10 * log10(255.0 * 255.0 / ((double)error / (3 * pixels))) : INFINITY;
}

/* The whole frame is new. */
static ts_status take_all(ts_gaze *g, ts_queue *q, const ts_gaze_image *f, ts_gaze_result *r,
                          const char *path, ts_error *err)
{
    r->path = path;
    r->update_ratio = 1;
    r->updated_pixels = (uint64_t)g->width * (uint64_t)g->height;
    return ts_buffer_copy(q, f->buffer, f->offset, g->out, 0, 4 * (size_t)r->updated_pixels, err);
}

static ts_status take_cells(ts_gaze *g, ts_queue *q, const ts_gaze_image *f,
                            const ts_gaze_options *opt, ts_gaze_result *r, ts_error *err)
{
    enum {
        SPARSE_RECTS = 4
    };
    const double sparse_ratio = 0.02;
    uint64_t all = (uint64_t)g->width * (uint64_t)g->height;
    if (opt->output == TS_GAZE_INTERFRAME && r->mask_pixels == all)
        return take_all(g, q, f, r, "full-frame", err);
    r->update_ratio = r->mask_ratio;
    r->updated_pixels = r->mask_pixels;
    bool sparse = g->shapes.n <= SPARSE_RECTS && r->mask_ratio <= sparse_ratio && !opt->psnr &&
                  opt->output == TS_GAZE_INTERFRAME;
    r->path = sparse ? "sparse-rects" : r->mask_pixels == all ? "full-frame" : "dense-mask";
    if (sparse)
        return g->shapes.n ? copy_rects(g, q, f, err) : TS_OK;
    ts_status st = want_top(g, q, err);
    if (st == TS_OK)
        st = update(g, q, f, opt, err);
    return st;
}

static ts_status take_frame(ts_gaze *g, ts_queue *q, const ts_gaze_image *f,
                            const ts_gaze_options *opt, ts_gaze_result *r, ts_error *err)
{
    ts_gaze_cover cover;
    ts_status st = ts_gaze_measure(g->shapes.rects, g->shapes.n, &cover, err);
    if (st != TS_OK)
        return st;
    double all = (double)g->width * g->height;
    r->n_rects = g->shapes.n;
    r->row_spans = cover.spans;
    r->mask_pixels = cover.pixels;
    r->mask_ratio = (double)cover.pixels / all;
    r->keyframe =
        opt->output == TS_GAZE_INTERFRAME &&
        (g->index == 0 || (opt->keyframe_interval > 0 && g->index % opt->keyframe_interval == 0));
    st = r->keyframe ? take_all(g, q, f, r, "keyframe", err) : take_cells(g, q, f, opt, r, err);
    if (st != TS_OK || !opt->psnr)
        return st;
    bool equal = r->keyframe || (opt->output == TS_GAZE_INTERFRAME && r->update_ratio == 1);
    uint64_t error = 0;
    if (!equal)
        st = read_error(g, q, &error, err);
    set_psnr(r, error, all);
    return st;
}

ts_status ts_gaze_frame(ts_gaze *gaze, ts_queue *queue, const ts_gaze_image *frame,
                        const ts_gaze_cell *cells, size_t n_cells, const ts_gaze_options *options,
                        ts_gaze_result *out, ts_error *err)
{
    *out = (ts_gaze_result){0};
    if (frame->width < 1 || frame->height < 1)
        return ts_fail(err, TS_E_SIZE, "a frame of %dx%d px", frame->width, frame->height);
    ts_status st = resize(gaze, frame->width, frame->height, err);
    if (st == TS_OK)
        st = keep_cells(gaze, cells, n_cells, err);
    if (st == TS_OK)
        st = ts_gaze_layout(cells, n_cells, frame->width, frame->height, options->geometry,
                            options->cell_scale > 0 ? options->cell_scale : 1, &gaze->shapes, err);
    gaze->top_current = false;
    if (st == TS_OK)
        st = take_frame(gaze, queue, frame, options, out, err);
    gaze->index += st == TS_OK;
    return st;
}

/* ---- panels ---- */

enum {
    KERNEL_PANEL_COPY = 4 /* the others are ts_gaze_panel_kind's, rows drawn as an overlay */
};

static ts_status launch_panel(ts_gaze *g, ts_queue *q, const ts_gaze_image *f, ts_buffer *top,
                              int mode, float alpha, ts_buffer *dst, int dst_width, int dst_x,
                              ts_error *err)
{
    ts_kernel *k;
    blocks b = cut(g);
    ts_status st = reserve_rects(g, 1, err);
    if (st == TS_OK)
        st = ts_queue_kernel(q, "gaze", "", "gaze_panel", &k, err);
    if (st != TS_OK)
        return st;
    return ts_launch(q, k, 2, b.global, NULL,
                     TS_ARGS(TS_BUF(f->buffer), TS_ULONG(f->offset), TS_BUF(top), TS_BUF(g->rects),
                             TS_BUF(g->tints), TS_INT(g->width), TS_INT(g->height), TS_INT(mode),
                             TS_FLOAT(alpha), TS_BUF(dst), TS_INT(dst_width), TS_INT(dst_x),
                             TS_INT(b.bw), TS_INT(b.bh)),
                     err);
}

static ts_status panel_rows(ts_gaze *g, ts_queue *q, const ts_gaze_image *f, ts_buffer *dst,
                            int dst_width, int dst_x, ts_error *err)
{
    ts_status st = TS_OK;
    if (!g->rows_top)
        st = ts_buffer_create(g->device, 2 * (size_t)g->width * (size_t)g->height, &g->rows_top,
                              err);
    if (st == TS_OK)
        st = ts_gaze_layout_rows(g->cells, g->n_cells, g->width, g->height, &g->row_shapes, err);
    if (st == TS_OK)
        st = upload_shapes(g, q, &g->row_shapes, err);
    g->top_current = false; /* the rectangles on the device are the rows' now */
    if (st == TS_OK)
        st = draw_top(g, q, g->rows_top, g->row_shapes.n, err);
    if (st == TS_OK)
        st = launch_panel(g, q, f, g->rows_top, TS_GAZE_PANEL_OVERLAY, 0, dst, dst_width, dst_x,
                          err);
    return st;
}

static ts_status check_same_size(const ts_gaze *g, const ts_gaze_image *f, ts_error *err)
{
    if (g->out && f->width == g->width && f->height == g->height)
        return TS_OK;
    return ts_fail(err, TS_E_SHAPE, "a panel of %dx%d px after a frame of %dx%d", f->width,
                   f->height, g->width, g->height);
}

ts_status ts_gaze_panel(ts_gaze *gaze, ts_queue *queue, const ts_gaze_image *frame,
                        ts_gaze_panel_kind kind, float alpha, ts_buffer *dst, int dst_width,
                        int dst_x, ts_error *err)
{
    ts_status st = check_same_size(gaze, frame, err);
    if (st != TS_OK)
        return st;
    if (kind == TS_GAZE_PANEL_ROWS)
        return panel_rows(gaze, queue, frame, dst, dst_width, dst_x, err);
    st = want_top(gaze, queue, err);
    if (st != TS_OK)
        return st;
    int mode = kind == TS_GAZE_PANEL_MASK ? 3 : (int)kind;
    return launch_panel(gaze, queue, frame, gaze->top, mode, alpha, dst, dst_width, dst_x, err);
}

ts_status ts_gaze_place(ts_gaze *gaze, ts_queue *queue, const ts_gaze_image *image, ts_buffer *dst,
                        int dst_width, int dst_x, ts_error *err)
{
    ts_status st = check_same_size(gaze, image, err);
    if (st != TS_OK)
        return st;
    return launch_panel(gaze, queue, image, gaze->top, KERNEL_PANEL_COPY, 0, dst, dst_width, dst_x,
                        err);
}

ts_status ts_gaze_mask(ts_gaze *gaze, ts_queue *queue, ts_buffer *dst, size_t dst_offset,
                       ts_error *err)
{
    ts_kernel *k;
    blocks b = cut(gaze);
    ts_status st = want_top(gaze, queue, err);
    if (st == TS_OK)
        st = ts_queue_kernel(queue, "gaze", "", "gaze_mask", &k, err);
    if (st != TS_OK)
        return st;
    return ts_launch(queue, k, 2, b.global, NULL,
                     TS_ARGS(TS_BUF(gaze->top), TS_INT(gaze->width), TS_INT(gaze->height),
                             TS_BUF(dst), TS_ULONG(dst_offset), TS_INT(b.bw), TS_INT(b.bh)),
                     err);
}

ts_status ts_gaze_expand(ts_queue *queue, ts_buffer *src, size_t offset, int channels, size_t n_px,
                         ts_buffer *dst, ts_error *err)
{
    enum {
        GRAIN = 64
    };
    ts_kernel *k;
    if (channels != 1 && channels != 3 && channels != 4)
        return ts_fail(err, TS_E_SHAPE, "frames have 1, 3 or 4 channels, not %d", channels);
    ts_status st = ts_queue_kernel(queue, "gaze", "", "gaze_expand", &k, err);
    if (st != TS_OK)
        return st;
    return ts_launch(
        queue, k, 1, (size_t[]){(n_px + GRAIN - 1) / GRAIN}, NULL,
        TS_ARGS(TS_BUF(src), TS_ULONG(offset), TS_INT(channels), TS_BUF(dst), TS_UINT(n_px)), err);
}

/* ---- names ---- */

ts_status ts_gaze_output_parse(const char *name, ts_gaze_output *out, ts_error *err)
{
    static const char *const inter[] = {"interframe", "video", "delta"};
    static const char *const blend[] = {"full-blend", "blend", "alpha"};
    for (int i = 0; i < 3; i++) {
        if (!strcmp(name, inter[i]) || !strcmp(name, blend[i])) {
            *out = !strcmp(name, inter[i]) ? TS_GAZE_INTERFRAME : TS_GAZE_FULL_BLEND;
            return TS_OK;
        }
    }
    return ts_fail(err, TS_E_OPTION, "output: no '%s'; interframe or full-blend", name);
}

static const struct {
    const char *name;
    ts_gaze_panel_kind kind;
} panels[] = {
    {"overlay", TS_GAZE_PANEL_OVERLAY},
    {"combined", TS_GAZE_PANEL_OVERLAY},
    {"union", TS_GAZE_PANEL_OVERLAY},
    {"native", TS_GAZE_PANEL_OVERLAY},
    {"image-overlay", TS_GAZE_PANEL_IMAGE},
    {"image", TS_GAZE_PANEL_IMAGE},
    {"input-overlay", TS_GAZE_PANEL_IMAGE},
    {"alpha-overlay", TS_GAZE_PANEL_IMAGE},
    {"image-mask-only", TS_GAZE_PANEL_MASK_ONLY},
    {"mask-only", TS_GAZE_PANEL_MASK_ONLY},
    {"masked-image", TS_GAZE_PANEL_MASK_ONLY},
    {"scale-rows", TS_GAZE_PANEL_ROWS},
    {"rows", TS_GAZE_PANEL_ROWS},
    {"per-scale", TS_GAZE_PANEL_ROWS},
    {"upstream", TS_GAZE_PANEL_ROWS},
    {"nvidia", TS_GAZE_PANEL_ROWS},
    {"mask", TS_GAZE_PANEL_MASK},
};

ts_status ts_gaze_panel_parse(const char *name, ts_gaze_panel_kind *out, ts_error *err)
{
    for (size_t i = 0; i < sizeof panels / sizeof *panels; i++)
        if (!strcmp(name, panels[i].name)) {
            *out = panels[i].kind;
            return TS_OK;
        }
    return ts_fail(err, TS_E_OPTION,
                   "panel: no '%s'; overlay, image-overlay, image-mask-only, scale-rows or mask",
                   name);
}

const char *ts_gaze_panel_name(ts_gaze_panel_kind kind)
{
    for (size_t i = 0; i < sizeof panels / sizeof *panels; i++)
        if (panels[i].kind == kind)
            return panels[i].name;
    return "overlay";
}

void ts_gaze_source_finish(ts_gaze_source *source)
{
    if (source->destroy)
        source->destroy(source->self);
    *source = (ts_gaze_source){0};
}

/* ---- averages ---- */

static const double ema_alpha = 0.15;

void ts_gaze_ema_ratio(ts_gaze_ema *ema, double sample)
{
    sample = isfinite(sample) ? fmin(fmax(sample, 0), 1) : 0;
    ema->value = ema->has ? ema->value + ema_alpha * (sample - ema->value) : sample;
    ema->has = true;
}

void ts_gaze_ema_psnr(ts_gaze_ema *ema, double db)
{
    if (isnan(db) || db == -INFINITY)
        return;
    bool jump = !ema->has || isinf(db) || isinf(ema->value);
    ema->value = jump ? db : ema->value + ema_alpha * (db - ema->value);
    ema->has = true;
}

void ts_gaze_text_number(double value, char out[8])
{
    if (isnan(value))
        memcpy(out, "---.-", 6);
    else
        snprintf(out, 8, "%05.1f", fmin(fmax(value, 0), 999.9));
}

void ts_gaze_text_ratio(double ratio, char out[8])
{
    if (isfinite(ratio))
        snprintf(out, 8, "%05.1f%%", fmin(fmax(100 * ratio, 0), 999.9));
    else
        memcpy(out, "---.-%", 7);
}
