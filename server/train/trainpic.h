/*
 * The picture of a training run: panels side by side (ground truth, render, …), labels, and step,
 * PSNR and SSIM as text. Used by fits, the command line and compare streams.
 *
 * Pixels outside the text are the panels' own. Thread: any; an options struct is read-only in use.
 * The font is cl/ops/font8x16.h.
 */
#ifndef TS_SERVER_TRAIN_TRAINPIC_H
#define TS_SERVER_TRAIN_TRAINPIC_H

#include "cl/base/json.h"
#include "cl/viz/pixels.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ts_panel_kind {
    TS_PANEL_GT,
    TS_PANEL_RENDER,
    TS_PANEL_ERROR, /* FLIP, magma */
    TS_PANEL_ABS_DIFF,
    TS_PANEL_SIGNED_DIFF, /* diverging */
    TS_PANEL_INITIAL,
    TS_PANEL_POSITIONS,
    TS_PANEL_FOOTPRINT,
    TS_PANEL_KINDS
} ts_panel_kind;
extern const char *const ts_panel_words[]; /* "gt", "render", …, NULL */

enum {
    TS_TRAINPIC_MAX_PANELS = 9
};

/** How it is laid out and written on; made by ts_trainpic_options_read(). */
typedef struct ts_trainpic_options {
    int n_panels;
    ts_panel_kind panel[TS_TRAINPIC_MAX_PANELS];
    int columns, rows; /* 0: one row */
    int gap, scale;
    uint8_t background[3];
    bool text, labels, progress_bar;
    bool show_step, show_psnr, show_ssim, show_loss, show_count, show_time;
    char label[TS_TRAINPIC_MAX_PANELS][32]; /* "" is the kind's own */
    int position; /* of the metric block: 0 top left, 1 top right, 2 bottom left, 3 bottom right */
    int font_scale, margin;
    uint8_t color[3], box[4];
    bool outline, reference_spacing;
} ts_trainpic_options;

void ts_trainpic_defaults(ts_trainpic_options *options);
/**
 * Take `panels`, `grid`, `gap`, `background`, `scale` of `object` and the overlay's keys of `overlay`
 * (either may be NULL). Errors: TS_E_OPTION.
 */
TS_CHECKED ts_status ts_trainpic_options_read(const json_t *object, const json_t *overlay,
                                              ts_trainpic_options *options, ts_error *err);

/** What is written. NaN figures are left out. */
typedef struct ts_trainpic_text {
    int64_t step, max_steps, count;
    double psnr, ssim, loss, seconds;
    const char *extra[4]; /* further lines, or NULL */
} ts_trainpic_text;

/** Size of the picture for panels of w x h. */
void ts_trainpic_size(const ts_trainpic_options *options, int w, int h, int *out_w, int *out_h);
/**
 * Compose. panels: n_panels pictures of w x h, RGBA8 rows (NULL: background). Owner: caller has one
 * reference of the RGB8 result. Errors: TS_E_NO_MEMORY.
 */
TS_CHECKED ts_status ts_trainpic_compose(const ts_trainpic_options *options, int w, int h,
                                         const uint8_t *const *panels, const ts_trainpic_text *text,
                                         ts_pixels **out, ts_error *err);

/** |a - b| or its signed form as RGBA8, from RGBA8; n pixels. */
void ts_trainpic_difference(const uint8_t *a, const uint8_t *b, size_t n, bool with_sign,
                            uint8_t *out);
/** A map in 0 … 1 through the colormaps magma and hot as RGBA8. */
void ts_trainpic_magma(const float *map, size_t n, uint8_t *out);
void ts_trainpic_hot(const float *map, size_t n, uint8_t *out);

#ifdef __cplusplus
}
#endif
#endif
