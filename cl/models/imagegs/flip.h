/* LDR-FLIP of two RGB pictures: the per-pixel map and its mean. */
#ifndef TS_CL_MODELS_IMAGEGS_FLIP_H
#define TS_CL_MODELS_IMAGEGS_FLIP_H

#include "cl/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * a, b: [3,H,W] sRGB in [0,1], a the reference; map: [H,W] or NULL; 67 pixels per degree.
 * Errors: TS_E_NO_MEMORY. Thread: any.
 * Source: "FLIP: A Difference Evaluator for Alternating Images", Andersson et al. 2020.
 */
TS_CHECKED ts_status ts_gs_flip(const float *a, const float *b, int height, int width, float *map,
                                double *mean, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
