/*
 * Losses of a rendering against a target, their gradient, and the sums for PSNR and SSIM.
 *
 * L = l1 mean|x-y| + l2 mean (x-y)^2 + ls (1 - SSIM), on unclamped x. Means go to the status words of
 * splat.h, so a step needs no read. Shapes: planes as ts_gs_planes. Thread: the queue's.
 * Source: SSIM: Wang et al. 2004, 11 x 11 Gaussian window, zero padding.
 */
#ifndef TS_CL_MODELS_IMAGEGS_LOSS_H
#define TS_CL_MODELS_IMAGEGS_LOSS_H

#include "cl/models/imagegs/splat.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_gs_loss ts_gs_loss;

typedef struct ts_gs_loss_weights {
    float l1, l2, ssim; /* 1e-7 or less switches a term off */
} ts_gs_loss_weights;

/**
 * Buffers for pictures of this size. `target` ([C,H,W], in the space of the loss) and `shown` (the
 * same in display space, clamping and gamma undone; NULL: the same as target) are copied.
 * `group_form`: the GPU's kernels also on a CPU.
 */
TS_CHECKED ts_status ts_gs_loss_create(ts_queue *queue, const ts_gs_planes *planes,
                                       const float *target, const float *shown, float gamma,
                                       const ts_gs_loss_weights *weights, bool group_form,
                                       ts_gs_loss **out, ts_error *err);
void ts_gs_loss_destroy(ts_gs_loss *loss); /* NULL is fine */
size_t ts_gs_loss_bytes(const ts_gs_loss *loss);
/** dL/dx of the last ts_gs_loss_gradient(), the last rendering shown (borrowed). */
ts_buffer *ts_gs_loss_grad(ts_gs_loss *loss);
ts_buffer *ts_gs_loss_shown(ts_gs_loss *loss);

/** The gradient, and the means of |x-y|, (x-y)^2, SSIM into `status` (frozen if one is not finite). */
TS_CHECKED ts_status ts_gs_loss_gradient(ts_gs_loss *loss, ts_buffer *image, ts_buffer *status,
                                         ts_error *err);
/** Display space: shown = clamp(x)^(1/gamma); EVAL_MSE and EVAL_SSIM into `status`. */
TS_CHECKED ts_status ts_gs_loss_evaluate(ts_gs_loss *loss, ts_buffer *image, ts_buffer *status,
                                         ts_error *err);
/**
 * The last rendering shown as RGBA8 rows in `out` (W*H*4 bytes): channels first and up, 3 of them or
 * one that is repeated. Waits.
 */
TS_CHECKED ts_status ts_gs_loss_rgba(ts_gs_loss *loss, int first, int count, uint8_t *out,
                                     ts_error *err);
/** PSNR in dB of a mean squared error; +INFINITY at 1e-7 and below. */
double ts_gs_psnr(double mse);

#ifdef __cplusplus
}
#endif
#endif
