/* C twins of cl/kernels/video.cl, in double and pixel by pixel. */
#ifndef TS_TESTS_REF_VIDEO_H
#define TS_TESTS_REF_VIDEO_H

#include <stdbool.h>
#include <stdint.h>

/* 8-bit planar 4:2:0 (or 4:4:4 with shift 0), left-sited chroma, to RGBA8. */
void ref_video_yuv_to_rgba(const uint8_t *y, const uint8_t *u, const uint8_t *v, int w, int h,
                           int shift, double kr, double kb, bool full, uint8_t *rgba);
/* w and h even; i420 is Y, U, V in one. */
void ref_video_rgba_to_i420(const uint8_t *rgba, int w, int h, double kr, double kb, uint8_t *i420);

#endif
