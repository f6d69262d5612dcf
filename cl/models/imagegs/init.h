/*
 * Where Gaussians start: probability maps, sampling without replacement, first parameters.
 *
 * Random numbers are Philox4x32-10 keyed by (seed, purpose, pixel), so they do not depend on threads
 * or devices. Host side; runs before training and at adding events only. Thread: any.
 * Source: "Image-GS" (arXiv 2407.01866); Efraimidis and Spirakis 2006 (keys -ln(U)/p); Salmon et al. 2011.
 */
#ifndef TS_CL_MODELS_IMAGEGS_INIT_H
#define TS_CL_MODELS_IMAGEGS_INIT_H

#include <stddef.h>
#include <stdint.h>

#include "cl/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    TS_GS_DRAW_RANDOM = 1, /* purposes: streams of random numbers that never meet */
    TS_GS_DRAW_IMPORTANT,
    TS_GS_DRAW_COLOR,
    TS_GS_DRAW_ADD,
    TS_GS_DRAW_IDS
};

/** Uniform in (0,1). */
double ts_gs_uniform(uint64_t seed, uint32_t purpose, uint32_t event, uint32_t index);

/**
 * The gradient magnitude over its maximum (Sobel, edges replicated, norm over channels); `map` is
 * [H,W]. A constant picture gives zeros.
 */
TS_CHECKED ts_status ts_gs_gradient_map(const float *chw, int channels, int height, int width,
                                        float *map, ts_error *err);
/**
 * n pixels without replacement, with probability in proportion to p [pixels] (NULL: uniform). Pixels
 * of p = 0 follow, uniformly, when the others are used up, and all of them again after that.
 */
TS_CHECKED ts_status ts_gs_sample(const float *p, size_t pixels, size_t n, uint64_t seed,
                                  uint32_t purpose, uint32_t event, uint32_t *out, ts_error *err);
/** A saliency map [h,w] resized bilinearly to [H,W], smoothed with sigma, rescaled to [0,1]. */
TS_CHECKED ts_status ts_gs_saliency_map(const float *map, int h, int w, int height, int width,
                                        double sigma, float *out, ts_error *err);
/** Blur [C,H,W] in place with the adding event's k x k Gaussian; nothing for small pictures. */
TS_CHECKED ts_status ts_gs_add_blur(float *chw, int channels, int height, int width, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
