/*
 * The training loop: an image, a configuration, and thousands of steps in slices.
 *
 *   ts_gs_fit_create(queue, &config, &target, &extras, &hooks, &fit, err);
 *   while (ts_gs_fit_running(fit))
 *       ts_gs_fit_slice(fit, 16, err);      at most 16 steps, then whatever is due at that step
 *   ts_gs_fit_complete(fit, err);           final evaluation, model, metrics
 *
 * Between the slices the owner may do as it likes: pause, show a frame, change the end. Nothing of
 * that changes the result: the same seed, device and configuration give the same bytes.
 *
 * Steps of a slice are enqueued without a wait; the host then reads 64 bytes. Hooks are called on the
 * thread that runs the slice.
 *
 * Thread: the queue's. Source: "Image-GS" (arXiv 2407.01866).
 */
#ifndef TS_CL_MODELS_IMAGEGS_FIT_H
#define TS_CL_MODELS_IMAGEGS_FIT_H

#include "cl/models/imagegs/config.h"
#include "cl/models/imagegs/metrics.h"
#include "cl/models/imagegs/model_file.h"

#ifdef __cplusplus
extern "C" {
#endif

/** What is fitted. Borrowed during ts_gs_fit_create() only. */
typedef struct ts_gs_target {
    int width, height, channels;
    const float *chw;                        /* display space, finite */
    char input_channels[64], bit_depths[64]; /* "3,1", "8,16" */
    const char *path;                        /* as the log names it */
    const float *saliency;                   /* [saliency_h, saliency_w] or NULL */
    int saliency_w, saliency_h;
    const ts_gs_model *init; /* start from it (copied), or NULL */
    bool resume;             /* go on from `init`, a checkpoint */
} ts_gs_target;

/** Figures of one evaluation. Weighted losses; NaN for a term that is off, or at step 0. */
typedef struct ts_gs_eval {
    int64_t step;
    double total, l1, l2, ssim_loss;
    double psnr, ssim;
    int64_t count;
    double render_s, total_s;
    double lr_scale, step_ms;
} ts_gs_eval;

typedef struct ts_gs_fit ts_gs_fit;

/** Each may be NULL. */
typedef struct ts_gs_hooks {
    void *arg;
    void (*log)(void *arg, const char *line);
    /** After every evaluation; step 0 included. */
    ts_status (*evaluated)(void *arg, const ts_gs_eval *eval, ts_error *err);
    /** A frame of the recording is due; the picture is what ts_gs_fit_rgba() gives. */
    ts_status (*frame)(void *arg, ts_gs_fit *fit, const ts_gs_eval *eval, ts_error *err);
    /** A stored render is due (save_image_steps, step 0, the end). */
    ts_status (*image)(void *arg, ts_gs_fit *fit, const ts_gs_eval *eval, ts_error *err);
    /** A checkpoint is due. */
    ts_status (*checkpoint)(void *arg, ts_gs_fit *fit, ts_error *err);
    /** "decay", "added", "pruned", "warning" with a few numbers. */
    void (*event)(void *arg, const char *event, int64_t step, int64_t a, int64_t b);
} ts_gs_hooks;

/** Errors: TS_E_SHAPE, TS_E_OPTION, TS_E_DEVICE_MEMORY, TS_E_EXISTS (a count that does not match). */
TS_CHECKED ts_status ts_gs_fit_create(ts_queue *queue, const ts_gs_config *config,
                                      const ts_gs_target *target, const ts_gs_hooks *hooks,
                                      ts_gs_fit **out, ts_error *err);
void ts_gs_fit_destroy(ts_gs_fit *fit); /* NULL is fine */
/** Device bytes that a fit of these sizes takes, for admission. */
uint64_t ts_gs_fit_estimate(const ts_gs_config *config, int width, int height, int channels);

/** True until max_steps, an early stop, or ts_gs_fit_finish(). */
bool ts_gs_fit_running(const ts_gs_fit *fit);
/**
 * Run at most `steps` steps and what is due after the last. Errors: TS_E_INTERNAL with the text
 * "non_finite_loss…": the parameters are those of the step before.
 */
TS_CHECKED ts_status ts_gs_fit_slice(ts_gs_fit *fit, int64_t steps, ts_error *err);
/** Stop as if max_steps were reached. */
void ts_gs_fit_finish(ts_gs_fit *fit);
/** The final evaluation, image, checkpoint and metrics. */
TS_CHECKED ts_status ts_gs_fit_complete(ts_gs_fit *fit, ts_gs_metrics *out, ts_error *err);

/** Evaluate now (a fresh render). Does not touch the training's state. */
TS_CHECKED ts_status ts_gs_fit_evaluate(ts_gs_fit *fit, ts_gs_eval *out, ts_error *err);
/** The last evaluated picture of the stack's first image: RGBA8, W*H*4 bytes. */
TS_CHECKED ts_status ts_gs_fit_rgba(ts_gs_fit *fit, uint8_t *out, ts_error *err);
/** The last evaluated picture in display space, [C,H,W]. */
TS_CHECKED ts_status ts_gs_fit_shown(ts_gs_fit *fit, float *chw, ts_error *err);
/** Read the parameters (and moments) into a model with all metadata. Owner: ts_gs_model_finish. */
TS_CHECKED ts_status ts_gs_fit_model(ts_gs_fit *fit, bool moments, ts_gs_model *out, ts_error *err);
/** Add `count` Gaussians now where the error is (or anywhere): POST …/add. */
TS_CHECKED ts_status ts_gs_fit_add(ts_gs_fit *fit, int64_t count, const int rect[4], bool random,
                                   ts_error *err);
/** Change what may change while running; takes the values of `config` for max_steps, cadence, lrs. */
void ts_gs_fit_reconfigure(ts_gs_fit *fit, const ts_gs_config *config);

typedef struct ts_gs_progress {
    int64_t step, max_steps, count, total_count;
    double lr_scale, best_psnr, best_ssim, step_ms;
    uint32_t invalid;
    bool stopped_early;
    uint64_t bytes;
} ts_gs_progress;
void ts_gs_fit_progress(const ts_gs_fit *fit, ts_gs_progress *out);
/** The evaluation of the last evaluated step. */
const ts_gs_eval *ts_gs_fit_last(const ts_gs_fit *fit);
ts_queue *ts_gs_fit_queue(const ts_gs_fit *fit);
/** Display-space target, [C,H,W] (borrowed). */
const float *ts_gs_fit_target(const ts_gs_fit *fit);
/** Probability map of the initial positions, [H,W], or NULL (random). Borrowed. */
const float *ts_gs_fit_map(const ts_gs_fit *fit);

#ifdef __cplusplus
}
#endif
#endif
