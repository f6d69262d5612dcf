/*
 * From tensors to pixels on the device: view → filter → normalize → tone → resample → colour →
 * compose → overlay → output format. Only the finished pixels and at most 4 KiB of statistics cross
 * to the host. Each step's kernel has a C twin in tests/ref.
 *
 * A ts_viz keeps what persists between the frames of one variant of a stream: the range's moving
 * average, temporal filters, the waterfall ring, cached ranges per tensor version, and the device
 * images it renders into. Thread: one at a time, the thread of the queue it is called with.
 */
#ifndef TS_CL_VIZ_VIZ_H
#define TS_CL_VIZ_VIZ_H

#include "cl/tensor/store.h"
#include "cl/viz/pixels.h"
#include "cl/viz/view.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_viz ts_viz;

TS_CHECKED ts_status ts_viz_create(ts_device *device, ts_viz **out, ts_error *err);
void ts_viz_destroy(ts_viz *viz); /* NULL is fine */
/** Forget the moving averages and temporal state ({"type":"reset_range"}). */
void ts_viz_reset(ts_viz *viz);

typedef struct ts_viz_input {
    const ts_view *view;
    const ts_entry *entry; /* the stream's own tensor; NULL where the view names all it needs */
    ts_store *store;       /* looks up names that the view mentions; may be NULL */
    double scale;          /* of the picture's size: 1, 0.75, 0.5, 0.25; 0 means 1 */
    ts_pixel_format format;
    uint64_t seq; /* of the frame: {seq}, flicker */
    double fps;   /* measured: {fps} */
    double dt_s;  /* since the frame before: ema.tau_s */
    bool want_stats;
    bool
        auto_indexed; /* RGB8 asked: give TS_PIXELS_INDEXED instead where ≤ 256 colours are certain */
} ts_viz_input;

typedef struct ts_viz_output {
    ts_pixels *pixels; /* caller has one reference */
    bool has_range;
    double lo, hi;   /* the range in force, data units */
    json_t *metrics; /* compare numbers (mse, psnr, …), statistics; NULL if none; caller owns */
} ts_viz_output;
void ts_viz_output_finish(ts_viz_output *out);

/** Render one picture and wait for it. Errors: as the view's keys and shapes demand. */
TS_CHECKED ts_status ts_viz_render(ts_viz *viz, ts_queue *queue, const ts_viz_input *input,
                                   ts_viz_output *out, ts_error *err);

/**
 * What lies under output pixel (x, y) of the picture that `input` gives: a JSON object {panel,
 * index, value, class, t, rgb}, or JSON null outside. Owner: caller.
 */
TS_CHECKED ts_status ts_viz_probe(ts_viz *viz, ts_queue *queue, const ts_viz_input *input, double x,
                                  double y, json_t **out, ts_error *err);

/**
 * Statistics of the samples under the rectangle [x, y, w, h] of output pixels of a picture that shows
 * one plane or colour picture (or of a panel that does): {panel, tensor, rect, stats}, rect in
 * samples; JSON null where nothing such is there. Owner: caller.
 */
TS_CHECKED ts_status ts_viz_region(ts_viz *viz, ts_queue *queue, const ts_viz_input *input,
                                   const double rect[4], json_t **out, ts_error *err);

/**
 * Draw the commonest pictures once, so that their kernels are compiled before somebody waits for
 * them. `stop` (may be NULL) is asked between the steps. Thread: the queue's.
 */
TS_CHECKED ts_status ts_viz_warm(ts_queue *queue, bool (*stop)(void *arg), void *arg,
                                 ts_error *err);

/**
 * A grey card with centred text lines, for streams without a source or with a broken one. No device
 * needed. Owner: caller has one reference.
 */
ts_pixels *ts_viz_card(int width, int height, ts_pixel_format format, const char *text);

#ifdef __cplusplus
}
#endif
#endif
