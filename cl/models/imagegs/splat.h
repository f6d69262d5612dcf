/*
 * The rasterizer: N Gaussians to a picture, the gradient back to their parameters, and Adam.
 *
 * Everything of a step is enqueued without waiting: projection, a prefix sum of tile counts, tile
 * lists by a stable radix sort, the rasterizer and its gradient, and one kernel that finishes the
 * gradients and steps. How many tile entries there are never leaves the device; too many for the
 * lists freeze the parameters (status word OVERFLOW) until the host has grown them and repeats.
 *
 *   parameters  n rows of 5 + C floats: x, y (normalised), scale x 2, rotation, features
 *   planes      C pictures with a border of zeros, laid out as ts_gs_planes says
 *
 * Thread: the one of the queue given at creation.
 * Source: "Image-GS" (arXiv 2407.01866).
 */
#ifndef TS_CL_MODELS_IMAGEGS_SPLAT_H
#define TS_CL_MODELS_IMAGEGS_SPLAT_H

#include "cl/device/device.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    TS_GS_TILE = 16,
    TS_GS_MAX_CHANNELS = 12,
    TS_GS_MAX_TOPK = 32,
    TS_GS_MAX_SIDE = 16384
};

/** How a picture's planes lie in memory: pixel (x,y) of channel c is at origin + c*plane + y*stride + x. */
typedef struct ts_gs_planes {
    int width, height, channels;
    int stride;
    size_t origin, plane; /* floats */
    size_t bytes;         /* of all planes */
} ts_gs_planes;

void ts_gs_planes_init(ts_gs_planes *planes, int width, int height, int channels);
/** Zeroed planes on the device. */
TS_CHECKED ts_status ts_gs_planes_create(ts_queue *queue, const ts_gs_planes *planes,
                                         ts_buffer **out, ts_error *err);
/** Copy [C,H,W] floats into planes, or out of them. Waits. */
TS_CHECKED ts_status ts_gs_planes_write(ts_queue *queue, const ts_gs_planes *planes,
                                        ts_buffer *buffer, const float *chw, ts_error *err);
TS_CHECKED ts_status ts_gs_planes_read(ts_queue *queue, const ts_gs_planes *planes,
                                       ts_buffer *buffer, float *chw, ts_error *err);

/* Words of the status buffer. Sums and means are the bits of a float. */
enum {
    TS_GS_OVERFLOW = 0, /* the tile lists were too small: nothing moved since */
    TS_GS_NEED,         /* entries that were wanted then */
    TS_GS_NONFINITE,    /* a loss was NaN or infinite: nothing moved since */
    TS_GS_STEPS,        /* Adam steps done since the status was cleared */
    TS_GS_INVALID,      /* Gaussians skipped because a parameter is not finite */
    TS_GS_LOSS_L1 = 8,  /* unweighted means of the last step */
    TS_GS_LOSS_L2,
    TS_GS_LOSS_SSIM, /* mean SSIM, not 1 - SSIM */
    TS_GS_EVAL_MSE = 12,
    TS_GS_EVAL_SSIM,
    TS_GS_STATUS_WORDS = 16
};

typedef enum ts_gs_quant_space {
    TS_GS_QUANT_OFF,
    TS_GS_QUANT_SIGMA,
    TS_GS_QUANT_LOG_SIGMA
} ts_gs_quant_space;

typedef struct ts_gs_splat_options {
    int width, height, channels;
    int topk;
    bool sum;           /* plain sum of all Gaussians instead of the normalised top-K */
    bool all_tiles;     /* every tile sees every Gaussian */
    bool inverse_scale; /* scales are 1/sigma */
    bool legacy;        /* the public implementation's gradient of scale and rotation */
    ts_gs_quant_space quant;
    unsigned bits[4]; /* position, scale, rotation, feature */
    float sigma_max;  /* clamp before quantising; 0: none */
    float eps;        /* 0: 1e-4, or 1e-7 with all_tiles */
    float offset;     /* where in a pixel it is sampled */
    float ratio;      /* sigma here per sigma stored; 0 is 1 */
    size_t gaussians; /* most that there will be */
    size_t entries;   /* first capacity of the tile lists; 0: 16 per Gaussian */
    bool group_form;  /* the GPU's kernels also on a CPU (tests) */
} ts_gs_splat_options;

typedef struct ts_gs_adam {
    float lr[4]; /* position, scale, rotation, feature */
    float beta1, beta2, eps;
    int64_t t; /* 1 for the first step since the moments were cleared */
} ts_gs_adam;

typedef struct ts_gs_splat ts_gs_splat;

/** Errors: TS_E_DEVICE_MEMORY, TS_E_TOO_LARGE, TS_E_OPTION (topk, channels, size). */
TS_CHECKED ts_status ts_gs_splat_create(ts_queue *queue, const ts_gs_splat_options *options,
                                        ts_gs_splat **out, ts_error *err);
void ts_gs_splat_destroy(ts_gs_splat *splat); /* NULL is fine */
const ts_gs_planes *ts_gs_splat_planes(const ts_gs_splat *splat);
/** The rendered planes, and the status words (borrowed). */
ts_buffer *ts_gs_splat_image(ts_gs_splat *splat);
ts_buffer *ts_gs_splat_status(ts_gs_splat *splat);
/** Device bytes that the object holds. */
size_t ts_gs_splat_bytes(const ts_gs_splat *splat);

/** Render the first n rows of `par` into the image. */
TS_CHECKED ts_status ts_gs_splat_forward(ts_gs_splat *splat, ts_buffer *par, size_t n,
                                         ts_error *err);
/** From dL/d image (planes) to the entries' partial sums; forward with the same `par` came before. */
TS_CHECKED ts_status ts_gs_splat_backward(ts_gs_splat *splat, ts_buffer *grad, ts_error *err);
/** Finish the gradients of the last backward into one Adam step on par, m, v. */
TS_CHECKED ts_status ts_gs_splat_step(ts_gs_splat *splat, ts_buffer *par, ts_buffer *m,
                                      ts_buffer *v, const ts_gs_adam *adam, ts_error *err);
/** Finish the gradients into `out` (rows as `par`) instead. */
TS_CHECKED ts_status ts_gs_splat_gradients(ts_gs_splat *splat, ts_buffer *par, ts_buffer *out,
                                           ts_error *err);

/** Read the status words. Waits for what was enqueued. */
TS_CHECKED ts_status ts_gs_splat_read_status(ts_gs_splat *splat, uint32_t out[TS_GS_STATUS_WORDS],
                                             ts_error *err);
/** Zero the status words. */
TS_CHECKED ts_status ts_gs_splat_clear_status(ts_gs_splat *splat, ts_error *err);
/**
 * Make room for at least `need` entries (waits) and unfreeze. Errors: TS_E_DEVICE_MEMORY, with the
 * old lists kept.
 */
TS_CHECKED ts_status ts_gs_splat_grow(ts_gs_splat *splat, size_t need, ts_error *err);
/** Forward, growing the lists until it fits. Waits. */
TS_CHECKED ts_status ts_gs_splat_render(ts_gs_splat *splat, ts_buffer *par, size_t n,
                                        ts_error *err);

/** What the tests compare: the tile lists of the last forward. Waits; caller frees both. */
TS_CHECKED ts_status ts_gs_splat_lists(ts_gs_splat *splat, uint32_t **start, uint32_t **list,
                                       size_t *tiles, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
