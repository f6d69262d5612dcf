/*
 * What the files of cl/viz share: scratch memory, the state of a drawn part, and the steps.
 *
 *   plan.c     which samples of a tensor a part shows          viz_plan
 *   range.c    lo and hi of groups of samples, on the device   range_update()
 *   color.c    colour tables on the device                     color_update()
 *   draw.c     axes, resampling, t to pixels                   draw_plan(), draw_prepare()
 *   compose.c  fills, text, scaling, packing                   canvas_*()
 *   filter.c   filters of values                               filter_apply()
 *   plot.c     lines, histograms                               plot_*()
 *   volume.c   ray casting                                     volume_draw()
 *   part.c     one part with its overlay                       part_draw()
 *   scene.c    panels, comparison                              scene_draw()
 *   viz.c      a frame: scene to pixels
 *
 * Everything runs on the queue of the current call (viz->queue).
 */
#ifndef TS_CL_VIZ_VIZ_INTERNAL_H
#define TS_CL_VIZ_VIZ_INTERNAL_H

#include <string.h>

#include "cl/kernels/viz_types.clh"
#include "cl/viz/view_values.h"
#include "cl/viz/viz.h"

/* Device memory that grows to what was last asked, and stays. */
typedef struct slot {
    ts_buffer *buffer;
    size_t bytes;
} slot;

/* Index tables of one axis; weights for the separable filters. */
typedef struct axis_table {
    bool valid;
    viz_axis key;
    int taps;
    slot index, frac, first, count, weight;
} axis_table;

/* A colormap on the device. */
typedef struct color_table {
    bool valid;
    uint64_t key;
    int kind, n_rows; /* how `rows` is evaluated */
    int lut_n;        /* entries of the packed tables without the special ones */
    float lut_scale, lut_bias;
    bool lut_exact, nearest, categorical;
    uint32_t special[6];
    slot rows, rgba, yuv;
} color_table;

/* Ranges of the groups of one part, kept while nothing they depend on changes. */
typedef struct range_state {
    bool valid, host_valid, ema_begun;
    uint64_t key, ema_key;
    uint32_t groups;
    int bins;
    slot records, partial, select, hist, cdf, ema;
    viz_range_record first; /* group 0, once read back */
} range_state;

typedef struct filter_state {
    slot out[2], history[VIEW_MAX_FILTERS];
    uint64_t key, shape_key;
    bool valid, begun;
    int at; /* which of out holds the result */
} filter_state;

typedef struct ring_state { /* the waterfall's rows */
    slot rows;
    uint64_t key, shape_key;
    bool begun;
    uint32_t head, filled; /* next row to write; rows written */
} ring_state;

typedef struct part_state {
    range_state range;
    color_table color;
    axis_table axis[2][3]; /* x and y; three for the planes of ortho */
    filter_state filter;
    ring_state ring;
    slot plane, mid, near, shrunk, reduced, picture, bins, series;
    range_state *active; /* the range in force: one's own, or that of a comparison */
    uint64_t serial;     /* stands for the version of tensors that have none */
} part_state;

typedef struct pixel_ring pixel_ring;

struct ts_viz {
    ts_device *device;
    ts_queue *queue; /* of the call in progress */
    bool fp64, cpu;
    char build_options[40]; /* of tests: see viz_test_as() */
    uint32_t units;
    uint64_t serial;
    part_state *parts[VIEW_MAX_PANELS + 2]; /* made when first drawn */
    slot canvas, canvas_b, scaled, packed, font, dummy, quality;
    axis_table fit[2]; /* of pictures scaled into a rectangle */
    pixel_ring *ring;
};

/* What a part shows of its tensor. */
typedef struct viz_plan {
    view_kind kind; /* resolved */
    ts_buffer *data;
    ts_dtype dtype;
    viz_source whole, src; /* all elements as one row; what is shown */
    uint64_t total;
    uint32_t channels; /* of batches: tile k shows channel k % channels */
    int planes, cols;
    bool montage;
    bool is_t;         /* the samples are t already, classes encoded */
    bool whole_ok;     /* `whole` lies in the same buffer as what is shown */
    uint64_t identity; /* hash of tensor and version; 0: never equal */
    int64_t dim[3];    /* of 3-D kinds: D, H, W */
    uint64_t stride[3];
    int64_t at[3]; /* ortho */
} viz_plan;

/* A canvas and the rectangle of it that is being drawn. */
typedef struct target {
    slot *canvas;
    int w, h; /* of the canvas */
    int x, y, rw, rh;
} target;

/* What a part is drawn with. */
typedef struct part_call {
    const view_part *part;
    const ts_entry *entry;
    const ts_viz_input *input;
    part_state *state;
    viz_range_record *shared; /* compare: another part's range in force */
    range_state *use_range;   /* compare: take this range instead of one's own */
    bool default_contain;     /* panels */
    bool peek;                /* a look at the frame that was drawn: nothing moves on */
} part_call;

/* ---- viz_device.c ---- */
TS_CHECKED ts_status slot_need(ts_viz *viz, slot *s, size_t bytes, ts_error *err);
void slot_finish(slot *s);
void axis_finish(axis_table *a);
/** Launch viz kernel `name` of `family`; dtype < 0: built without a type. */
TS_CHECKED ts_status viz_launch(ts_viz *viz, const char *family, int dtype, const char *name,
                                const size_t global[3], const size_t *local, const ts_arg *args,
                                size_t n_args, ts_error *err);
/** For tests on a CPU device: take the kernels' other branches. Before the first frame. */
void viz_test_as(ts_viz *viz, bool as_gpu, bool without_doubles);
#define SIZES(...) ((const size_t[3]){__VA_ARGS__})
/* A buffer argument that must not be NULL even where the kernel does not look at it. */
ts_arg viz_slot_arg(const ts_viz *viz, const slot *s);
uint64_t viz_wide(const ts_viz *viz, double value);
double viz_unwide(const ts_viz *viz, uint64_t bits);
uint64_t viz_hash(uint64_t seed, const void *data, size_t len);
static inline size_t div_up(size_t a, size_t b)
{
    return (a + b - 1) / b;
}
/* Columns that one work-item draws: many on CPUs, few elsewhere (even: chroma). */
static inline int viz_chunk(const ts_viz *viz)
{
    return viz->cpu ? 1024 : 2;
}
static inline uint32_t rgba_of(const view_color *c)
{
    return (uint32_t)c->c[0] | (uint32_t)c->c[1] << 8 | (uint32_t)c->c[2] << 16 | 0xff000000u;
}

/* ---- plan.c ---- */
TS_CHECKED ts_status plan_make(const view_part *part, const ts_entry *entry, viz_plan *plan,
                               ts_error *err);
/** A plan over one plane of h x w samples at the start of a buffer. */
void plan_plane(viz_plan *plan, ts_buffer *data, ts_dtype dtype, uint32_t h, uint32_t w);
uint64_t entry_identity(const ts_entry *entry);

/* ---- range.c ---- */
TS_CHECKED ts_status range_update(ts_viz *viz, range_state *state, const view_part *part,
                                  const viz_plan *plan, double dt_s, ts_error *err);
TS_CHECKED ts_status range_read(ts_viz *viz, range_state *state, ts_error *err);
/** Counts of `bins` bins over the range of group 0, and those below and above it. */
TS_CHECKED ts_status range_histogram(ts_viz *viz, part_state *state, const viz_plan *plan, int bins,
                                     ts_error *err);
void range_finish(range_state *state);
/** The scope that a plan's kind understands. */
view_scope range_scope(const view_part *part, const viz_plan *plan);

/* ---- color.c ---- */
TS_CHECKED ts_status color_update(ts_viz *viz, color_table *table, const view_part *part,
                                  ts_dtype dtype, const view_color *background, ts_error *err);
void color_finish(color_table *table);

/* ---- draw.c ---- */
TS_CHECKED ts_status axis_update(ts_viz *viz, axis_table *table, const viz_axis *key,
                                 ts_error *err);
/** Axes of a source of (w, h) shown at (W, H) by a size's filter and fit, through a viewport. */
void axis_keys(const ts_viz *viz, const view_size *size, const view_viewport *port, int w, int h,
               int W, int H, viz_axis *x, viz_axis *y);
/**
 * Draw the tiles of a plan at (ox, oy), each W x H, step apart. `out` is a form of VIZ_OUT_;
 * strides are those of I420.
 */
typedef struct draw_call {
    int ox, oy, W, H, cols, step_x, step_y, out, dst_w, dst_h;
    slot *dst;
    size_t plane_at[3], stride[3];
    int which; /* axis tables: 0, or one of ortho's three */
    const view_size *size;
    const view_viewport *port;
} draw_call;
TS_CHECKED ts_status draw_plan(ts_viz *viz, part_state *state, const range_state *range,
                               const view_part *part, const viz_plan *plan, const draw_call *call,
                               ts_error *err);
TS_CHECKED ts_status draw_bar(ts_viz *viz, part_state *state, const target *t, int x, int y, int w,
                              int h, ts_error *err);

/* ---- compose.c ---- */
TS_CHECKED ts_status canvas_fill(ts_viz *viz, const target *t, int x, int y, int w, int h,
                                 uint32_t color, ts_error *err);
/** UTF-8 text at (x, y) of the canvas, clipped to the target's rectangle. */
TS_CHECKED ts_status canvas_text(ts_viz *viz, const target *t, int x, int y, const char *text,
                                 int max_cells, uint32_t fg, const uint32_t *bg, ts_error *err);
/** Cells that a text takes. */
int text_cells(const char *text);
/** Scale a picture of w x h into the target's rectangle as a size says. */
TS_CHECKED ts_status canvas_scale(ts_viz *viz, slot *src, int w, int h, const view_size *size,
                                  const view_viewport *port, const target *t, ts_error *err);
TS_CHECKED ts_status canvas_shrink(ts_viz *viz, slot *src, int w, int h, slot *dst, int n, int m,
                                   ts_error *err);
TS_CHECKED ts_status canvas_combine(ts_viz *viz, slot *a, slot *b, slot *dst, int w, int h,
                                    int mode, int at, float alpha, uint32_t divider, ts_error *err);
TS_CHECKED ts_status canvas_pack(ts_viz *viz, slot *canvas, int w, int h, ts_pixel_format format,
                                 slot *dst, ts_error *err);

/* ---- filter.c ---- */
/** Apply a part's filters to all of a tensor's planes; the plan then reads the result. */
TS_CHECKED ts_status filter_apply(ts_viz *viz, part_state *state, const view_part *part,
                                  viz_plan *plan, ts_error *err);

/* ---- plot.c ---- */
/** The arguments of a kernel that draws one plane into the target's rectangle. */
void draw_rect_args(const part_state *state, const view_part *part, const viz_plan *plan,
                    const target *t, viz_draw *d);
TS_CHECKED ts_status plot_lines(ts_viz *viz, part_state *state, const view_part *part,
                                const viz_plan *plan, const target *t, ts_error *err);
TS_CHECKED ts_status plot_histogram(ts_viz *viz, part_state *state, const view_part *part,
                                    const viz_plan *plan, int bins, bool log, const target *t,
                                    ts_error *err);
TS_CHECKED ts_status plot_project(ts_viz *viz, part_state *state, const view_part *part,
                                  viz_plan *plan, ts_error *err);
TS_CHECKED ts_status plot_waterfall(ts_viz *viz, part_state *state, const view_part *part,
                                    viz_plan *plan, ts_error *err);

/* ---- volume.c ---- */
TS_CHECKED ts_status volume_draw(ts_viz *viz, part_state *state, const view_part *part,
                                 viz_plan *plan, const target *t, ts_error *err);

/* ---- part.c ---- */
/* A picture before `resize`; tiles of a montage are tile_w x tile_h each. */
typedef struct native_picture {
    double w, h;
    int tile_w, tile_h;
} native_picture;
TS_CHECKED ts_status part_native(const view_part *part, const viz_plan *plan, native_picture *n,
                                 ts_error *err);
/** What the overlay adds at the top, right and bottom. */
void part_overlay_size(const view_overlay *o, int *top, int *right, int *bottom);
/** The size of a part's picture with its overlay, where nothing else fixes it. */
TS_CHECKED ts_status part_size(const part_call *call, int *w, int *h, ts_error *err);
/** Draw a part with its overlay into the target's rectangle. */
TS_CHECKED ts_status part_draw(ts_viz *viz, const part_call *call, const target *t, ts_error *err);
/** A panel's title bar at the top of the target. */
TS_CHECKED ts_status part_title(ts_viz *viz, const part_call *call, const char *title,
                                const target *t, ts_error *err);
/** Whether a part is one plane or colour picture without overlay: drawn straight to the output. */
bool part_is_plain(const view_part *part, const viz_plan *plan);
TS_CHECKED ts_status part_prepare(ts_viz *viz, const part_call *call, viz_plan *plan,
                                  ts_error *err);
part_state *viz_part(ts_viz *viz, int index, ts_error *err);

/* ---- probe.c ---- */
/** Source position of destination pixel i of an axis; -1 outside. */
int64_t axis_source(const ts_viz *viz, const viz_axis *a, double i);

/* ---- scene.c ---- */
/** The entry that a view names (owned: finish it), or the input's own where `name` is NULL. */
TS_CHECKED ts_status scene_entry(const ts_viz_input *input, const char *name, ts_entry *owned,
                                 const ts_entry **out, ts_error *err);
/** The rectangle [x,y,w,h] of panel i. */
void scene_panel_rect(const ts_view *view, int i, int rect[4]);
TS_CHECKED ts_status scene_size(ts_viz *viz, const ts_viz_input *input, int *w, int *h,
                                ts_error *err);
TS_CHECKED ts_status scene_draw(ts_viz *viz, const ts_viz_input *input, slot *canvas, int w, int h,
                                ts_viz_output *out, ts_error *err);

#endif
