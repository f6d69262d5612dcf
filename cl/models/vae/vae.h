/*
 * Decoders (and encoders) of variational autoencoders: latents to pictures and back, all on the
 * device. Two forms load: `tensorscope-vae/1` (layer lists in config.json) and Hugging Face's
 * AutoencoderKL directory.
 *
 * A ts_vae is a ts_model: inputs `z`, output `image`, taps `layers.N` (`encoder.layers.N` while
 * encoding is not run by ts_model_run). Fusing removes some intermediates; a tap of one builds an
 * unfused twin of the decoder once.
 *
 * Thread: one at a time, as ts_model says.
 */
#ifndef TS_CL_MODELS_VAE_VAE_H
#define TS_CL_MODELS_VAE_VAE_H

#include "cl/models/model.h"
#include "cl/models/weights.h"
#include "cl/ops/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_vae ts_vae;
extern const ts_model_ops ts_vae_model_ops;

/** The model as a ts_vae, or NULL if it is of another kind. */
ts_vae *ts_vae_of(ts_model *model);

typedef struct ts_vae_info {
    ts_shape latent, image; /* without the batch; -1: free (spatial latents) */
    int64_t latent_dim;     /* values of a flat latent, channels of a spatial one */
    bool spatial, gray, has_encoder;
    double lo, hi; /* range of `image` */
    double slider_min, slider_max, slider_step;
    const char *directions;               /* "axes", "random-orthonormal", "pca" */
    const float *mean, *std, *components; /* pca: [L], [K], [K][L]; NULL else */
    int64_t n_components;
} ts_vae_info;
const ts_vae_info *ts_vae_get_info(const ts_vae *vae);

/**
 * Decode n flat latents, in chunks that keep activations below 256 MB.
 *
 * Shapes: z: [n, latent_dim] host f32; spatial models take ts_vae_decode_array().
 * Errors: TS_E_OPTION (a value is not finite), TS_E_DEVICE….
 */
TS_CHECKED ts_status ts_vae_decode_f32(ts_vae *vae, const float *z, int64_t n, float *out,
                                       ts_error *err);
/** The same as pictures: u8 [n,H,W,C]; rounded, or truncated. */
TS_CHECKED ts_status ts_vae_decode_u8(ts_vae *vae, const float *z, int64_t n, bool truncate,
                                      uint8_t *out, ts_error *err);
/** One latent to a u8 picture tensor [H,W,C] ([H,W] for gray) that stays on the device; finished. */
TS_CHECKED ts_status ts_vae_decode_picture(ts_vae *vae, const float *z, ts_tensor **out,
                                           ts_error *err);
/** Latents on the device, flat [N,L] or spatial [N,C,H,W], to `image` [N,…]; valid until the next
 * call. Large spatial latents are decoded in overlapping tiles. */
TS_CHECKED ts_status ts_vae_decode_array(ts_vae *vae, const ts_arr *z, ts_arr *image,
                                         ts_error *err);
/** Side, in latents, above which spatial latents are decoded in tiles (64 at first; at least 4). */
void ts_vae_set_tile(ts_vae *vae, int64_t side);
/** Shape of the image for a latent array. */
TS_CHECKED ts_status ts_vae_image_shape(ts_vae *vae, const ts_shape *z, ts_shape *image,
                                        ts_error *err);

/**
 * Encode images.
 *
 * Shapes: x: [N,C,H,W] in the model's input range, on the device; mu, logvar: arrays valid until the
 *         next call.
 * Errors: TS_E_NOT_FOUND (the model has no encoder), TS_E_SHAPE.
 */
TS_CHECKED ts_status ts_vae_encode_array(ts_vae *vae, const ts_arr *x, ts_arr *mu, ts_arr *logvar,
                                         ts_error *err);
/**
 * A picture as the encoder's input: resized (triangle filter, antialiased) to the model's size (kept
 * where that is free), gray by 0.299 0.587 0.114, scaled into the input range.
 *
 * Shapes: rgb: u8 [h,w,channels], channels 1, 3 or 4 (alpha ignored); out: malloc()ed [C,H,W], whose
 *         shape is written to *shape.
 */
TS_CHECKED ts_status ts_vae_prepare(const ts_vae *vae, const uint8_t *rgb, int64_t h, int64_t w,
                                    int64_t channels, float **out, ts_shape *shape, ts_error *err);

typedef struct ts_vae_difference {
    double max_abs, mse; /* of pictures scaled to 0…1 */
} ts_vae_difference;
/** How far pictures from weights of reduced precision are from these; builds such a decoder for it. */
TS_CHECKED ts_status ts_vae_compare(ts_vae *vae, const float *z, int64_t n,
                                    ts_weight_rounding rounding, ts_vae_difference *out,
                                    ts_error *err);

/** Host f32 to the device and back through the model's own queue. */
ts_ops *ts_vae_ops(ts_vae *vae);

#ifdef __cplusplus
}
#endif
#endif
