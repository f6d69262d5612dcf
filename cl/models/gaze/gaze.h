/*
 * Gaze: keep what is not looked at. Interframe accumulation through masks, ratios, PSNR and panels.
 *
 * A mask source names cells per frame (ts_gaze_source: patch differences here, a model elsewhere);
 * a ts_gaze keeps the accumulated output and everything drawn from it on the device. Per frame one
 * small read (the error sums) crosses to the host, and only where PSNR is wanted.
 *
 *     ts_gaze_create(device, &gaze, err);
 *     for each frame:
 *         source.step(source.self, queue, &frame, &fix, err);
 *         ts_gaze_frame(gaze, queue, &frame, fix.cells, fix.n_cells, &options, &result, err);
 *         ts_gaze_panel(gaze, queue, &frame, TS_GAZE_PANEL_MASK_ONLY, &options, buffer, w, 0, err);
 *
 * Thread: one at a time, the thread of the queue. Frames and results: RGBA8, rows top to bottom.
 * Source: specification of AutoGaze inference, reconstruction and visualisation.
 */
#ifndef TS_CL_MODELS_GAZE_GAZE_H
#define TS_CL_MODELS_GAZE_GAZE_H

#include "cl/base/json.h"
#include "cl/device/device.h"
#include "cl/models/gaze/cells.h"

#ifdef __cplusplus
extern "C" {
#endif

/** One RGBA8 frame on the device, borrowed for the call. */
typedef struct ts_gaze_image {
    ts_buffer *buffer;
    size_t offset; /* bytes */
    int width, height;
} ts_gaze_image;

/* ---- sources ---- */

/** A scale's grid over the whole frame (all tiles of it). */
typedef struct ts_gaze_scale {
    int cols, rows;
} ts_gaze_scale;

/** What a source says about one frame. Pointers are the source's, valid until its next step. */
typedef struct ts_gaze_fix {
    const ts_gaze_cell *cells; /* emission order, valid tokens only */
    size_t n_cells;
    /* Local token ids in emission order, stops included: tile t's are tokens[tile_start[t]] up to
     * tokens[tile_start[t + 1]]. */
    const int32_t *tokens;
    const size_t *tile_start;    /* n_tiles + 1 */
    size_t n_tiles;              /* 1 where the frame is one tile */
    const ts_gaze_scale *scales; /* coarse to fine; a cell's `scale` is an index of these */
    size_t n_scales;
    double stop_probability;
    int forward_passes;
} ts_gaze_fix;

/**
 * A mask source: the interface that patch differences and models implement.
 *
 * `step` takes the next frame of the clip or stream and names its cells; it keeps what state it
 * needs between frames. `set` changes options by their API names without losing state (absent keys
 * stay; unknown ones are not its business). `reset` starts a new clip.
 * Thread: one at a time, the queue's.
 */
typedef struct ts_gaze_source {
    const char *name; /* "patch-diff", "autogaze" */
    void *self;
    ts_status (*step)(void *self, ts_queue *queue, const ts_gaze_image *frame, ts_gaze_fix *out,
                      ts_error *err);
    ts_status (*set)(void *self, const json_t *options, ts_error *err);
    void (*reset)(void *self);
    void (*destroy)(void *self);
    /** Tensors of the last step by output name ("vision_embeddings", "scores"): NULL if none. */
    ts_status (*output)(void *self, const char *name, ts_buffer **buffer, size_t *offset,
                        int64_t dims[8], int *rank, ts_error *err);
} ts_gaze_source;

/** Destroy what `source` holds; a zeroed one is fine. */
void ts_gaze_source_finish(ts_gaze_source *source);

/* ---- patch differences ---- */

enum {
    TS_GAZE_DEFAULT_GRID = 14,
    TS_GAZE_MAX_GRID = 128
};

/**
 * Cells whose mean difference to the frame before exceeds a threshold; needs no model.
 * Options for `set`: threshold (0.15; NaN the default, negative 0), grid (14; 1 to 128).
 */
TS_CHECKED ts_status ts_patch_diff_create(ts_device *device, ts_gaze_source *out, ts_error *err);
/** Scores [grid, grid] of the last step, row-major; NULL before the first. */
const float *ts_patch_diff_scores(const ts_gaze_source *source);

/* ---- accumulation ---- */

typedef struct ts_gaze ts_gaze;

typedef enum ts_gaze_output {
    TS_GAZE_INTERFRAME, /* pixels inside the mask are refreshed, the others kept */
    TS_GAZE_FULL_BLEND  /* the input, mixed with white inside the mask */
} ts_gaze_output;

typedef enum ts_gaze_panel_kind {
    TS_GAZE_PANEL_OVERLAY,
    TS_GAZE_PANEL_IMAGE,
    TS_GAZE_PANEL_MASK_ONLY,
    TS_GAZE_PANEL_ROWS,
    TS_GAZE_PANEL_MASK /* white and black */
} ts_gaze_panel_kind;

/** Find by name or alias. Errors: TS_E_OPTION lists the valid ones. */
TS_CHECKED ts_status ts_gaze_output_parse(const char *name, ts_gaze_output *out, ts_error *err);
TS_CHECKED ts_status ts_gaze_panel_parse(const char *name, ts_gaze_panel_kind *out, ts_error *err);
const char *ts_gaze_panel_name(ts_gaze_panel_kind kind);

typedef struct ts_gaze_options {
    ts_gaze_output output;
    ts_gaze_geometry geometry;
    int keyframe_interval; /* 0: the first frame only */
    float alpha;           /* of blends, 0…1 */
    double cell_scale;     /* 1 */
    bool psnr;             /* compute it */
} ts_gaze_options;

typedef struct ts_gaze_result {
    bool keyframe;
    uint64_t mask_pixels, updated_pixels;
    double mask_ratio, update_ratio;
    bool has_psnr, psnr_infinite;
    double psnr_db;
    const char *path; /* "keyframe", "sparse-rects", "dense-mask", "full-frame" */
    size_t n_rects;
    uint64_t row_spans;
} ts_gaze_result;

TS_CHECKED ts_status ts_gaze_create(ts_device *device, ts_gaze **out, ts_error *err);
void ts_gaze_destroy(ts_gaze *gaze); /* NULL is fine */
/** Forget the accumulated output: the next frame is a key frame. */
void ts_gaze_reset(ts_gaze *gaze);

/** Take one frame and its cells. Errors: TS_E_DEVICE_MEMORY, TS_E_TOO_LARGE. */
TS_CHECKED ts_status ts_gaze_frame(ts_gaze *gaze, ts_queue *queue, const ts_gaze_image *frame,
                                   const ts_gaze_cell *cells, size_t n_cells,
                                   const ts_gaze_options *options, ts_gaze_result *out,
                                   ts_error *err);
/** The accumulated output (borrowed; changes with the next frame). */
ts_gaze_image ts_gaze_current(const ts_gaze *gaze);

/*
 * After ts_gaze_frame(), of the same frame. Panels go to columns [dst_x, dst_x + width) of a picture
 * of dst_width pixels a row, so that three of them side by side need no copy.
 */
TS_CHECKED ts_status ts_gaze_panel(ts_gaze *gaze, ts_queue *queue, const ts_gaze_image *frame,
                                   ts_gaze_panel_kind kind, float alpha, ts_buffer *dst,
                                   int dst_width, int dst_x, ts_error *err);
/** Any picture of the frame's size into such columns. */
TS_CHECKED ts_status ts_gaze_place(ts_gaze *gaze, ts_queue *queue, const ts_gaze_image *image,
                                   ts_buffer *dst, int dst_width, int dst_x, ts_error *err);
/** The union mask, u8 [height, width], 255 inside. */
TS_CHECKED ts_status ts_gaze_mask(ts_gaze *gaze, ts_queue *queue, ts_buffer *dst, size_t dst_offset,
                                  ts_error *err);

/** Widen u8 pixels of 1, 3 or 4 channels to RGBA8 in `dst`. Errors: TS_E_SHAPE (channels). */
TS_CHECKED ts_status ts_gaze_expand(ts_queue *queue, ts_buffer *src, size_t offset, int channels,
                                    size_t n_px, ts_buffer *dst, ts_error *err);

/* ---- averages and display text ---- */

/** Running average, alpha 0.15; the first sample initialises. */
typedef struct ts_gaze_ema {
    double value;
    bool has;
} ts_gaze_ema;

void ts_gaze_ema_ratio(ts_gaze_ema *ema, double sample);
void ts_gaze_ema_psnr(ts_gaze_ema *ema, double db);
/** "%05.1f" within [0, 999.9], "999.9" for +inf, "---.-" for NaN. */
void ts_gaze_text_number(double value, char out[8]);
/** "%05.1f%%" of 100*ratio; "---.-%" for what is not finite. */
void ts_gaze_text_ratio(double ratio, char out[8]);

#ifdef __cplusplus
}
#endif
#endif
