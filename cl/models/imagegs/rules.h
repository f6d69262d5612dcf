/*
 * The fitter's rules that are plain arithmetic: when frames are captured, when the learning rate
 * decays, how many Gaussians are added, sizes, patches, scores, texts. No device, no state elsewhere.
 * Source: "Image-GS" (arXiv 2407.01866); tests/golden/image-gs/tables.json.
 */
#ifndef TS_CL_MODELS_IMAGEGS_RULES_H
#define TS_CL_MODELS_IMAGEGS_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Whether a frame is due after step > 0 (the first and the last step are always captured). */
bool ts_gs_rules_capture(int64_t step, int64_t video_iterations, int64_t eval_steps,
                         bool independent);

/** Decay and early stop; zero-initialise. */
typedef struct ts_gs_decay {
    double best_psnr, best_ssim;
    int64_t idle, decays;
} ts_gs_decay;
typedef enum ts_gs_decay_event {
    TS_GS_DECAY_NONE,
    TS_GS_DECAY_NOW,
    TS_GS_DECAY_STOP
} ts_gs_decay_event;
ts_gs_decay_event ts_gs_rules_decay(ts_gs_decay *decay, double psnr, double ssim,
                                    int64_t eval_steps, int64_t check_steps, int64_t max_times,
                                    double threshold);

/** Progressive adding: the first count, the most of one event, the least max_steps. */
int64_t ts_gs_rules_first(int64_t total, double ratio);
int64_t ts_gs_rules_add(int64_t total, int64_t first, int64_t times);
int64_t ts_gs_rules_min_steps(int64_t add_steps, int64_t add_times, int64_t post_min);

/** Radius in pixels of a Gaussian of these sigmas and rotation, as the projection kernel finds it. */
int ts_gs_rules_radius(double sigma_x, double sigma_y, double rot);
/** Tiles hit by a box around a centre: x0, y0, x1, y1. */
void ts_gs_rules_tiles(double cx, double cy, double radius, int width, int height, int out[4]);

typedef struct ts_gs_size {
    double bits, bytes, bpp, bppc;
} ts_gs_size;
/** bits: position, scale, rotation, feature. */
ts_gs_size ts_gs_rules_size(int64_t n, int channels, int width, int height, const unsigned bits[4]);

typedef struct ts_gs_patches {
    int rows, cols, stride, size, width, height;
} ts_gs_patches;
ts_gs_patches ts_gs_rules_patches(int width, int height, int size, int overlap);
/** x0, y0, x1, y1 of patch (row, col), cut at the picture. */
void ts_gs_rules_patch(const ts_gs_patches *p, int row, int col, int out[4]);
/** 1 - (wp * clamp((psnr - 20) / 30) + ws * ssim). */
double ts_gs_rules_error(double psnr, double ssim, double psnr_weight, double ssim_weight);

/** The three lines of the metric block. */
void ts_gs_rules_text(int64_t step, double psnr, double ssim, char lines[3][48]);

#ifdef __cplusplus
}
#endif
#endif
