/*
 * Adaptive refinement: patches of a fitted picture whose error is too high get models of their own,
 * started from the Gaussians that lie in them, and the patches are blended over the picture.
 *
 *   ts_gs_refine_create(queue, &config, target, &base, base_picture, &refine, err);
 *   while (ts_gs_refine_running(refine)) ts_gs_refine_slice(refine, 16, err);
 *
 * With adaptive_mode joint the increments go into one model instead, at the error inside the bad
 * patches, and training goes on. Thread: the queue's.
 */
#ifndef TS_CL_MODELS_IMAGEGS_REFINE_H
#define TS_CL_MODELS_IMAGEGS_REFINE_H

#include "cl/models/imagegs/fit.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_gs_patch {
    int row, col, rect[4];    /* x0, y0, x1, y1 inside the picture */
    double psnr, ssim, error; /* of the base, then of the best refinement */
    double psnr_before, ssim_before, error_before;
    bool needs_refinement;
    int iterations;    /* refinements tried */
    int64_t gaussians; /* of the best one; 0: the base's picture is kept */
    ts_gs_model model; /* of the best one, or empty */
} ts_gs_patch;

typedef struct ts_gs_refine ts_gs_refine;

/** target, base_picture: [C,H,W] in display space, copied. Errors: as ts_gs_fit_create(). */
TS_CHECKED ts_status ts_gs_refine_create(ts_queue *queue, const ts_gs_config *config,
                                         const float *target, const ts_gs_model *base,
                                         const float *base_picture, ts_gs_refine **out,
                                         ts_error *err);
void ts_gs_refine_destroy(ts_gs_refine *refine); /* NULL is fine */
bool ts_gs_refine_running(const ts_gs_refine *refine);
/** Leave the patches that are not done as they are. */
void ts_gs_refine_finish(ts_gs_refine *refine);
TS_CHECKED ts_status ts_gs_refine_slice(ts_gs_refine *refine, int64_t steps, ts_error *err);
/** The current reconstruction, [C,H,W] (borrowed). */
const float *ts_gs_refine_picture(ts_gs_refine *refine);
/** Patch being worked on, and how many there are. NULL: none is. */
const ts_gs_patch *ts_gs_refine_current(const ts_gs_refine *refine);
const ts_gs_patches *ts_gs_refine_grid(const ts_gs_refine *refine);
/** Patch i in rows. */
const ts_gs_patch *ts_gs_refine_patch(const ts_gs_refine *refine, int i);
/** The joint mode's model (borrowed), or NULL. */
const ts_gs_model *ts_gs_refine_joint(const ts_gs_refine *refine);

#ifdef __cplusplus
}
#endif
#endif
