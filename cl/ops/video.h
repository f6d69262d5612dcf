/*
 * Video frames on the device: planes ↔ RGBA, crop and resize, overlays, colour masks.
 *
 * Frames are RGBA8 [h, w, 4] in a ts_buffer of their own. Nothing here waits or reads back.
 * Source: ITU-R BT.601, BT.709, BT.2020 for the matrices.
 * Thread: the queue's.
 */
#ifndef TS_CL_OPS_VIDEO_H
#define TS_CL_OPS_VIDEO_H

#include "cl/device/device.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ts_matrix {
    TS_BT601,
    TS_BT709,
    TS_BT2020
} ts_matrix;

/** A decoded picture's planes in one buffer, and how to read them. */
typedef struct ts_yuv {
    ts_buffer *buffer;
    size_t offset[3];                   /* bytes to Y, U, V (NV12: V = U + one sample) */
    int stride_y, stride_c;             /* bytes */
    int chroma_step;                    /* samples between two chroma values: 1, or 2 for NV12 */
    int chroma_shift_x, chroma_shift_y; /* 1: halved */
    int bits;                           /* 8; else 16-bit samples holding 9 … 16 */
    int sample_shift;                   /* right shift of 16-bit samples (P010: 6) */
    int width, height;
    ts_matrix matrix;
    bool full_range, center_sited; /* chroma between the columns (MPEG-1, JPEG) */
} ts_yuv;

/** rgba: width x height. */
TS_CHECKED ts_status ts_op_yuv_to_rgba(ts_queue *queue, const ts_yuv *yuv, ts_buffer *rgba,
                                       ts_error *err);
/** i420: Y, then U, then V, w*h*3/2 bytes; w and h even. Limited range. */
TS_CHECKED ts_status ts_op_rgba_to_i420(ts_queue *queue, ts_buffer *rgba, int w, int h,
                                        ts_matrix matrix, ts_buffer *i420, ts_error *err);

typedef enum ts_resample_filter {
    TS_RESAMPLE_AUTO, /* enlarging: bicubic; shrinking: antialias; equal size and position: copy */
    TS_RESAMPLE_BILINEAR,
    TS_RESAMPLE_BICUBIC,  /* a = -0.75 */
    TS_RESAMPLE_ANTIALIAS /* triangle as wide as the scale when shrinking */
} ts_resample_filter;

/** What to resample: a rectangle in source pixels, edges included as floats. */
typedef struct ts_resample {
    int src_w, src_h, dst_w, dst_h;
    double x1, y1, x2, y2;
    ts_resample_filter filter;
    bool clamp_to_crop; /* taps stay inside the rectangle (integer ones); else inside the frame */
} ts_resample;

/** Keeps tap tables and the intermediate picture between frames. */
typedef struct ts_resampler ts_resampler;
TS_CHECKED ts_status ts_resampler_create(ts_device *device, ts_resampler **out, ts_error *err);
void ts_resampler_destroy(ts_resampler *resampler); /* NULL is fine */
/** dst[dst_h, dst_w] = src resampled; alpha 255. Errors: TS_E_OPTION (empty or outside). */
TS_CHECKED ts_status ts_op_resample(ts_resampler *resampler, ts_queue *queue,
                                    const ts_resample *what, ts_buffer *src, ts_buffer *dst,
                                    ts_error *err);

enum {
    TS_DRAW_FILL,
    TS_DRAW_RECT,
    TS_DRAW_DISC,
    TS_DRAW_RING,
    TS_DRAW_GLYPH
};

/** One overlay primitive; the layout that the kernel reads. Pixels of the picture drawn on. */
typedef struct ts_draw {
    int32_t kind, x0, y0, x1, y1; /* bounds, right and bottom exclusive */
    int32_t r, g, b, a;           /* 0 … 255 */
    int32_t p, q;                 /* RECT: thickness; DISC, RING: radius, ring's width;
                                     GLYPH: character - 32, integer scale of its 8x16 cell */
    int32_t spare;
} ts_draw;

/** The font on the device; made once per queue's device. Owner: caller's reference. */
TS_CHECKED ts_status ts_draw_font(ts_queue *queue, ts_buffer **out, ts_error *err);
/** Draw n primitives in order onto an RGBA frame. `list` holds n ts_draw. */
TS_CHECKED ts_status ts_op_draw(ts_queue *queue, ts_buffer *rgba, int w, int h, ts_buffer *list,
                                int n, ts_buffer *font, ts_error *err);

/**
 * Three bit masks of a frame: white, red, blue (thresholds 0 … 255). masks: [3, h, ceil(w/32)] u32,
 * lowest bit left.
 */
TS_CHECKED ts_status ts_op_color_masks(ts_queue *queue, ts_buffer *rgba, int w, int h, int white,
                                       int red, int blue, ts_buffer *masks, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
