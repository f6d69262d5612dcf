/* Plain C twins of cl/kernels/gaze.cl, one pixel at a time. Pictures are RGBA8. */
#ifndef TS_TESTS_REF_GAZE_H
#define TS_TESTS_REF_GAZE_H

#include "cl/models/gaze/gaze.h"

void ref_gaze_scores(const uint8_t *cur, const uint8_t *prev, int w, int h, int g, double *scores);
/* 1 + index of the last rectangle over each pixel. */
void ref_gaze_top(const ts_gaze_rect *rects, size_t n, int w, int h, uint16_t *top);
void ref_gaze_update(const uint8_t *cur, uint8_t *out, const uint16_t *top, int w, int h,
                     bool blend_white, float alpha);
double ref_gaze_psnr(const uint8_t *a, const uint8_t *b, size_t n_px);
void ref_gaze_panel(const uint8_t *cur, const uint16_t *top, const ts_gaze_shapes *shapes, int w,
                    int h, ts_gaze_panel_kind kind, float alpha, uint8_t *dst);

#endif
