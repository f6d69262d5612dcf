/* The inside of a ts_vae, for its loaders (vae.c: layer lists, kl.c: AutoencoderKL). */
#ifndef TS_CL_MODELS_VAE_VAE_INTERNAL_H
#define TS_CL_MODELS_VAE_VAE_INTERNAL_H

#include "cl/models/vae/net.h"
#include "cl/models/vae/vae.h"
#include "cl/models/weights.h"

/* A decoder or encoder with its outputs; encoders have mu and logvar, or both in one (moments). */
typedef struct vae_net {
    ts_net *net;
    int out[2];
    size_t n_out;
} vae_net;

struct ts_vae {
    ts_model base;
    ts_ops *ops;
    char *directory;
    json_t *config;
    bool kl; /* AutoencoderKL */
    ts_vae_info info;
    double in_lo, in_hi; /* range of the encoder's input */
    double logvar_min, logvar_max;
    ts_shape input; /* of the encoder, -1 free */
    vae_net decoder, encoder, plain /* the unfused decoder, built when a tap needs it */;
    float *mean, *std, *components;
    char directions[32];
    ts_buffer *moments; /* mu and logvar split from moments */
    ts_arr whole;       /* the picture of a large latent, put together from tiles */
    int64_t tile;       /* side of a tile in latents; larger ones are cut */
};

/* Build the decoder (or the encoder) of the open weights into *out. */
typedef ts_status (*vae_build)(ts_vae *vae, ts_weights *weights, bool encoder, bool fuse,
                               vae_net *out, ts_error *err);
TS_CHECKED ts_status vae_build_layers(ts_vae *vae, ts_weights *weights, bool encoder, bool fuse,
                                      vae_net *out, ts_error *err);
TS_CHECKED ts_status vae_build_kl(ts_vae *vae, ts_weights *weights, bool encoder, bool fuse,
                                  vae_net *out, ts_error *err);
/* Read the configuration into vae->info and the rest. */
TS_CHECKED ts_status vae_config_layers(ts_vae *vae, ts_error *err);
TS_CHECKED ts_status vae_config_kl(ts_vae *vae, ts_error *err);

#endif
