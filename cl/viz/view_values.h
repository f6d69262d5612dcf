/*
 * The values of a parsed view, for the files of cl/viz only (others see ts_view as opaque).
 *
 * A *part* is what one tensor's picture needs: kind and its options, filter, normalize, tone,
 * colormap, resize, viewport, overlay. A view is one part, or a grid of panels, or a comparison.
 */
#ifndef TS_CL_VIZ_VIEW_VALUES_H
#define TS_CL_VIZ_VIEW_VALUES_H

#include <stdbool.h>
#include <stdint.h>

#include "cl/base/name.h"
#include "cl/viz/view.h"

enum {
    VIEW_MAX_SIDE = 16383,
    VIEW_MAX_PIXELS = 64 << 20,
    VIEW_MAX_PANELS = 64,
    VIEW_MAX_FILTERS = 8,
    VIEW_MAX_TEXTS = 64,
    VIEW_MAX_STOPS = 64,
    VIEW_MAX_AT = 8
};

typedef enum view_kind {
    KIND_AUTO,
    KIND_HEATMAP,
    KIND_STRIP,
    KIND_LINE,
    KIND_RGB,
    KIND_GRID,
    KIND_BATCH,
    KIND_SLICE,
    KIND_PROJECT,
    KIND_ORTHO,
    KIND_VOLUME,
    KIND_HIST,
    KIND_WATERFALL
} view_kind;

typedef enum view_layout {
    LAYOUT_AUTO,
    LAYOUT_HWC,
    LAYOUT_CHW,
    LAYOUT_NCHW,
    LAYOUT_NHWC,
    LAYOUT_OIHW
} view_layout;

typedef enum view_resample {
    RESAMPLE_NEAREST,
    RESAMPLE_BILINEAR,
    RESAMPLE_AREA,
    RESAMPLE_LANCZOS,
    RESAMPLE_BICUBIC
} view_resample;

typedef enum view_fit {
    FIT_STRETCH,
    FIT_CONTAIN,
    FIT_COVER
} view_fit;

typedef enum view_range_mode {
    RANGE_FIXED,
    RANGE_MINMAX,
    RANGE_PERCENTILE,
    RANGE_SYMMETRIC,
    RANGE_MEANSTD,
    RANGE_WHITEN,
    RANGE_LOG,
    RANGE_SYMLOG,
    RANGE_HISTEQ
} view_range_mode;

typedef enum view_scope {
    SCOPE_TENSOR,
    SCOPE_VIEW,
    SCOPE_TILE,
    SCOPE_CHANNEL
} view_scope;

typedef enum view_filter_op {
    FILTER_BOX,
    FILTER_GAUSS,
    FILTER_MEDIAN,
    FILTER_SHARPEN,
    FILTER_GRAD,
    FILTER_LAPLACE,
    FILTER_ABS,
    FILTER_TEMPORAL,
    FILTER_DELTA
} view_filter_op;

typedef enum view_project_op {
    PROJECT_MIP,
    PROJECT_MINIP,
    PROJECT_MEAN,
    PROJECT_SUM
} view_project_op;

typedef enum view_volume_mode {
    VOLUME_MIP,
    VOLUME_MINIP,
    VOLUME_MEAN,
    VOLUME_ALPHA,
    VOLUME_ISO
} view_volume_mode;

typedef enum view_compare_mode {
    COMPARE_SIDE,
    COMPARE_DIFF,
    COMPARE_ABSDIFF,
    COMPARE_BLEND,
    COMPARE_WIPE,
    COMPARE_CHECKER,
    COMPARE_FLICKER
} view_compare_mode;

typedef struct view_color {
    uint8_t c[3];
    bool set;
} view_color;

typedef struct view_size {
    int width, height; /* 0: not given */
    double scale;      /* 0: not given */
    view_resample filter;
    view_fit fit;
    bool has_fit;
    view_color background;
} view_size;

typedef struct view_range {
    view_range_mode mode;
    bool has_mode, has_lo, has_hi, has_p, has_linthresh, has_scope;
    double lo, hi, p_lo, p_hi, p, k, linthresh;
    int bins;
    view_scope scope;
    bool ema, ema_has_tau, ema_instant;
    double ema_alpha, ema_tau_s;
} view_range;

typedef struct view_tone {
    double gain, bias, gamma;
    bool invert;
} view_tone;

typedef struct view_filter {
    view_filter_op op;
    int r;
    double sigma, amount, alpha;
} view_filter;

typedef struct view_colormap {
    bool set; /* any key given */
    char name[TS_NAME_MAX + 1];
    bool reverse, nearest, has_interp;
    bool two_colors;
    float min_color[3], max_color[3];
    int n_stops;
    float stop_pos[VIEW_MAX_STOPS], stop_color[VIEW_MAX_STOPS][3];
    view_color nan, posinf, neginf, under, over;
} view_colormap;

typedef struct view_text {
    int x, y;
    char *text;
    view_color color, bg;
} view_text;

typedef struct view_overlay {
    char *title;
    int n_texts;
    view_text *texts;
    bool colorbar;
    int bar_width, bar_pad, bar_ticks, bar_label_width;
    bool histogram, hist_log;
    int hist_bins, hist_height;
} view_overlay;

typedef struct view_viewport {
    bool set, by_zoom;
    double x, y, w, h, cx, cy, zoom;
} view_viewport;

typedef struct view_camera {
    double azimuth, elevation, scale, distance, fov;
    bool perspective;
} view_camera;

typedef struct view_part {
    char *tensor, *title;
    bool has_rect;
    int rect[4];

    view_kind kind;
    view_layout layout;
    int channels[3];
    bool has_channels, alpha, has_rgb, rgb;
    int first, count; /* count 0: all */
    int cols;         /* 0: default */
    view_size tile;
    int sep;
    view_color sep_color, background;
    bool outer;
    int axis;
    bool has_axis;
    int64_t index;
    int n_at;
    int64_t at[VIEW_MAX_AT];
    int gap;
    view_color crosshair;
    view_project_op op;
    view_volume_mode volume;
    view_camera camera;
    double step, iso;
    int n_opacity;
    float opacity[VIEW_MAX_STOPS][2];
    view_color color;
    int thickness;
    bool fill, zero_line;
    int bins;
    bool log;
    int rows;
    bool stats;

    view_range range;
    view_tone tone;
    int n_filters;
    view_filter filters[VIEW_MAX_FILTERS];
    view_colormap colormap;
    view_size resize;
    view_viewport viewport;
    view_overlay overlay;
} view_part;

typedef struct view_compare {
    bool set;
    view_compare_mode mode;
    char *a, *b;
    int gap, size, every;
    double position, alpha;
    view_color divider;
    bool has_seq, fit_b;
    int64_t seq;
} view_compare;

struct ts_view {
    int refs; /* atomic */
    json_t *json;
    view_part part;
    bool has_canvas;
    int canvas_width, canvas_height, canvas_gap, canvas_cols;
    view_color canvas_background;
    int n_panels;
    view_part *panels;
    view_compare compare;
};

#endif
