/*
 * Cells and what they cover: the integer rule from grid cells to pixels, and the geometry modes.
 *
 * A mask source (patch differences, a model) names cells of grids over the frame in its own order;
 * this turns them into rectangles to draw, and counts what they cover. Host only, no device.
 *
 * Thread: any. Source: specification of AutoGaze inference, outputs and geometry.
 */
#ifndef TS_CL_MODELS_GAZE_CELLS_H
#define TS_CL_MODELS_GAZE_CELLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cl/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    TS_GAZE_MAX_CELLS = 65535 /* the drawn-cell map has 16 bits a pixel */
};

/** A cell at (row, col) of a grid over the frame. `grid` is the side of a tile's own grid. */
typedef struct ts_gaze_cell {
    int cols, rows; /* of the grid over the whole frame */
    int col, row;
    int grid;  /* names the scale's colour; equals cols where there are no tiles */
    int scale; /* index of the scale, 0 the coarsest */
    float confidence;
} ts_gaze_cell;

/** Pixels [x0,x1) x [y0,y1). */
typedef struct ts_gaze_rect {
    int32_t x0, y0, x1, y1;
} ts_gaze_rect;

typedef enum ts_gaze_geometry {
    TS_GAZE_NATIVE,
    TS_GAZE_DEDUPLICATED, /* leave out cells that coarser or earlier ones cover wholly */
    TS_GAZE_EFFECTIVE     /* only the finest cell at each centre */
} ts_gaze_geometry;

/** Find a geometry by name or alias. Errors: TS_E_OPTION lists the valid ones. */
TS_CHECKED ts_status ts_gaze_geometry_parse(const char *name, ts_gaze_geometry *out, ts_error *err);

/** Rectangles to draw, in drawing order (coarse to fine, stable), and the colour of each. */
typedef struct ts_gaze_shapes {
    ts_gaze_rect *rects;
    uint8_t (*tints)[4];
    size_t *cells; /* index of each rectangle's cell in the input */
    size_t n, cap;
} ts_gaze_shapes;

void ts_gaze_shapes_finish(ts_gaze_shapes *shapes);

/**
 * Lay cells out on a frame of w x h pixels; `cell_scale` (1) grows them about their centres.
 * Owner: *out is reused from call to call. Errors: TS_E_TOO_LARGE (cells), TS_E_NO_MEMORY.
 */
TS_CHECKED ts_status ts_gaze_layout(const ts_gaze_cell *cells, size_t n, int w, int h,
                                    ts_gaze_geometry geometry, double cell_scale,
                                    ts_gaze_shapes *out, ts_error *err);

/** As ts_gaze_layout for the panel of one row per grid (cells drawn in a viewport of each row). */
TS_CHECKED ts_status ts_gaze_layout_rows(const ts_gaze_cell *cells, size_t n, int w, int h,
                                         ts_gaze_shapes *out, ts_error *err);

/** What rectangles cover together. */
typedef struct ts_gaze_cover {
    uint64_t pixels; /* of the union */
    uint64_t spans;  /* rows' runs of covered pixels */
} ts_gaze_cover;
TS_CHECKED ts_status ts_gaze_measure(const ts_gaze_rect *rects, size_t n, ts_gaze_cover *out,
                                     ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
