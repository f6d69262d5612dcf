/*
 * Quality of one picture against another, on the host: PSNR, SSIM, MS-SSIM, LDR-FLIP, differences.
 *
 * For final figures, posted pairs and POST /v1/image-metrics; the training loop's PSNR and SSIM come
 * from the device (loss.h). Pictures are [C,H,W] floats in display space, a the reference, b the
 * test. Thread: any.
 * Source: Wang et al. 2003/2004; Andersson et al. 2020 (FLIP).
 */
#ifndef TS_CL_MODELS_IMAGEGS_METRICS_H
#define TS_CL_MODELS_IMAGEGS_METRICS_H

#include <stdbool.h>

#include "cl/base/json.h"

#ifdef __cplusplus
extern "C" {
#endif

/** What could not be computed (too small, fewer than 3 channels) is NaN. */
typedef struct ts_gs_metrics {
    double psnr; /* dB, +INFINITY for a mean squared error of 1e-7 and below */
    double ssim, ssim_valid, ms_ssim, flip;
    double mean_diff, max_diff, std_diff, over_1, over_5, over_10; /* percent for the last three */
} ts_gs_metrics;

/** flip_map: [H,W] or NULL. Errors: TS_E_NO_MEMORY. */
TS_CHECKED ts_status ts_gs_metrics_compute(const float *a, const float *b, int channels, int height,
                                           int width, ts_gs_metrics *out, float *flip_map,
                                           ts_error *err);
/** PSNR and zero-padded SSIM alone. */
TS_CHECKED ts_status ts_gs_metrics_quick(const float *a, const float *b, int channels, int height,
                                         int width, double *psnr, double *ssim, ts_error *err);
/** As the API shows them: NaN as null, infinity as "inf". Caller owns it. */
json_t *ts_gs_metrics_json(const ts_gs_metrics *m);
/** A number, null for NaN, "inf" or "-inf". */
json_t *ts_gs_number(double value);

#ifdef __cplusplus
}
#endif
#endif
