/*
 * Hugging Face's AutoencoderKL: its config.json and tensor names into networks.
 *
 * Source: the layout of diffusers' AutoencoderKL (Apache-2.0); names as its checkpoints have them,
 * the older attention names (query, key, value, proj_attn) too.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/models/vae/vae_internal.h"

enum {
    BLOCKS_MAX = 8
};

typedef struct kl_config {
    int64_t in, out, latent, layers, groups;
    size_t n_blocks;
    int64_t block[BLOCKS_MAX];
    double scaling, shift;
    bool quant, post_quant, attention;
} kl_config;

static ts_status block_types(const json_t *c, const char *key, const char *want, size_t n,
                             ts_error *err)
{
    const json_t *list = json_object_get(c, key);
    if (!list)
        return TS_OK;
    if (json_array_size(list) != n)
        return ts_fail(err, TS_E_FILE, "%s has %zu entries, block_out_channels %zu", key,
                       json_array_size(list), n);
    for (size_t i = 0; i < n; i++) {
        const char *type = json_string_value(json_array_get(list, i));
        if (!type || strcmp(type, want))
            return ts_fail(err, TS_E_FILE, "%s: \"%s\" is not supported, want %s", key,
                           type ? type : "", want);
    }
    return TS_OK;
}

/* Unknown keys are ignored: these files carry the library's own. */
static ts_status read_config(const json_t *c, kl_config *k, ts_error *err)
{
    const char *act = "silu";
    *k = (kl_config){.in = 3,
                     .out = 3,
                     .latent = 4,
                     .layers = 1,
                     .groups = 32,
                     .scaling = 0.18215,
                     .quant = true,
                     .post_quant = true,
                     .attention = true};
    ts_status st = ts_json_get_int(c, "", "in_channels", 1, 16, &k->in, err);
    if (st == TS_OK)
        st = ts_json_get_int(c, "", "out_channels", 1, 16, &k->out, err);
    if (st == TS_OK)
        st = ts_json_get_int(c, "", "latent_channels", 1, 256, &k->latent, err);
    if (st == TS_OK)
        st = ts_json_get_int(c, "", "layers_per_block", 1, 16, &k->layers, err);
    if (st == TS_OK)
        st = ts_json_get_int(c, "", "norm_num_groups", 1, 1024, &k->groups, err);
    if (st == TS_OK)
        st = ts_json_get_double(c, "", "scaling_factor", 1e-6, 1e6, &k->scaling, err);
    if (st == TS_OK)
        st = ts_json_get_double(c, "", "shift_factor", -1e6, 1e6, &k->shift, err);
    if (st == TS_OK)
        st = ts_json_get_bool(c, "", "use_quant_conv", &k->quant, err);
    if (st == TS_OK)
        st = ts_json_get_bool(c, "", "use_post_quant_conv", &k->post_quant, err);
    if (st == TS_OK)
        st = ts_json_get_bool(c, "", "mid_block_add_attention", &k->attention, err);
    if (st == TS_OK)
        st = ts_json_get_string(c, "", "act_fn", &act, err);
    if (st == TS_OK && strcmp(act, "silu"))
        st = ts_fail(err, TS_E_FILE, "act_fn \"%s\" is not supported, want silu", act);
    if (st != TS_OK)
        return st;
    const json_t *blocks = json_object_get(c, "block_out_channels");
    k->n_blocks = json_array_size(blocks);
    if (k->n_blocks < 1 || k->n_blocks > BLOCKS_MAX)
        return ts_fail(err, TS_E_FILE, "block_out_channels must be a list of 1 to %d", BLOCKS_MAX);
    for (size_t i = 0; i < k->n_blocks; i++) {
        k->block[i] = json_integer_value(json_array_get(blocks, i));
        if (k->block[i] < 1 || k->block[i] > 8192 || k->block[i] % k->groups)
            return ts_fail(err, TS_E_FILE, "block_out_channels: %lld in %lld groups",
                           (long long)k->block[i], (long long)k->groups);
    }
    st = block_types(c, "up_block_types", "UpDecoderBlock2D", k->n_blocks, err);
    return st == TS_OK ? block_types(c, "down_block_types", "DownEncoderBlock2D", k->n_blocks, err)
                       : st;
}

ts_status vae_config_kl(ts_vae *vae, ts_error *err)
{
    kl_config k;
    ts_vae_info *i = &vae->info;
    ts_status st = read_config(vae->config, &k, err);
    if (st != TS_OK)
        return st;
    if (k.out != 1 && k.out != 3)
        return ts_fail(err, TS_E_FILE, "out_channels is %lld, want 1 or 3", (long long)k.out);
    vae->kl = true;
    i->spatial = true;
    i->latent_dim = k.latent;
    i->latent = TS_SHAPE(k.latent, -1, -1);
    i->image = TS_SHAPE(k.out, -1, -1);
    i->gray = k.out == 1;
    i->lo = vae->in_lo = -1;
    i->hi = vae->in_hi = 1;
    vae->input = TS_SHAPE(k.in, -1, -1);
    vae->logvar_min = -30;
    vae->logvar_max = 20;
    i->slider_min = -4;
    i->slider_max = 4;
    i->slider_step = 0.05;
    snprintf(vae->directions, sizeof vae->directions, "axes");
    i->directions = vae->directions;
    return TS_OK;
}

typedef struct kl_builder {
    ts_net *net;
    ts_weights *weights;
    const kl_config *k;
    ts_status st;
    ts_error *err;
} kl_builder;

static float *fetch(kl_builder *b, const char *prefix, const char *part, ts_shape shape)
{
    char name[256];
    float *out = NULL;
    snprintf(name, sizeof name, "%s.%s", prefix, part);
    if (b->st == TS_OK)
        b->st = ts_weights_f32(b->weights, name, &shape, &out, b->err);
    return out;
}

static int checked(kl_builder *b, int value, const char *name)
{
    if (b->st == TS_OK && value < 0)
        b->st = ts_fail(b->err, TS_E_FILE, "%s cannot be built", name);
    if (value >= 0)
        ts_net_name(b->net, value, name);
    return value;
}

static int conv(kl_builder *b, int x, const char *prefix, int64_t in, int64_t out, int64_t kernel,
                int64_t stride, int64_t front, int64_t back)
{
    float *w = fetch(b, prefix, "weight", TS_SHAPE(out, in, kernel, kernel));
    float *bias = fetch(b, prefix, "bias", TS_SHAPE(out));
    if (b->st != TS_OK) {
        free(w);
        free(bias);
        return -1;
    }
    ts_conv_geometry g = {.in = in,
                          .out = out,
                          .kernel = {1, kernel, kernel},
                          .stride = {1, stride, stride},
                          .pad_front = {0, front, front},
                          .pad_back = {0, back, back}};
    return checked(b, ts_net_conv(b->net, x, &g, w, bias), prefix);
}

static int norm(kl_builder *b, int x, const char *prefix, const char *part, int64_t channels,
                bool silu)
{
    char name[256];
    snprintf(name, sizeof name, "%s%s%s", prefix, *part ? "." : "", part);
    float *w = fetch(b, name, "weight", TS_SHAPE(channels));
    float *bias = fetch(b, name, "bias", TS_SHAPE(channels));
    if (b->st != TS_OK) {
        free(w);
        free(bias);
        return -1;
    }
    x = checked(b, ts_net_group_norm(b->net, x, channels, b->k->groups, 1e-6f, w, bias), name);
    if (x < 0 || !silu)
        return x;
    return ts_net_act(b->net, x, (ts_act){.kind = TS_ACT_SILU});
}

static int resnet(kl_builder *b, int x, const char *prefix, int64_t in, int64_t out)
{
    char name[256];
    int h = norm(b, x, prefix, "norm1", in, true);
    snprintf(name, sizeof name, "%s.conv1", prefix);
    h = conv(b, h, name, in, out, 3, 1, 1, 1);
    h = norm(b, h, prefix, "norm2", out, true);
    snprintf(name, sizeof name, "%s.conv2", prefix);
    h = conv(b, h, name, out, out, 3, 1, 1, 1);
    snprintf(name, sizeof name, "%s.conv_shortcut", prefix);
    int through = in == out ? x : conv(b, x, name, in, out, 1, 1, 0, 0);
    if (b->st != TS_OK)
        return -1;
    return checked(b, ts_net_add(b->net, h, through), prefix);
}

static int attention(kl_builder *b, int x, const char *prefix, int64_t c)
{
    static const char *const names[2][4] = {{"to_q", "to_k", "to_v", "to_out.0"},
                                            {"query", "key", "value", "proj_attn"}};
    char name[256];
    float *w[4] = {0}, *bias[4] = {0};
    int h = norm(b, x, prefix, "group_norm", c, false);
    snprintf(name, sizeof name, "%s.to_q.weight", prefix);
    bool old = !ts_weights_find(b->weights, name);
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "%s.%s", prefix, names[old][i]);
        w[i] = fetch(b, name, "weight", TS_SHAPE(c, c));
        bias[i] = fetch(b, name, "bias", TS_SHAPE(c));
    }
    if (b->st != TS_OK) {
        for (int i = 0; i < 4; i++) {
            free(w[i]);
            free(bias[i]);
        }
        return -1;
    }
    h = ts_net_attention(b->net, h, c, 1, w, bias);
    return checked(b, ts_net_add(b->net, h, x), prefix);
}

static int middle(kl_builder *b, int x, const char *side, int64_t c)
{
    char name[256];
    snprintf(name, sizeof name, "%s.mid_block.resnets.0", side);
    x = resnet(b, x, name, c, c);
    snprintf(name, sizeof name, "%s.mid_block.attentions.0", side);
    if (b->k->attention)
        x = attention(b, x, name, c);
    snprintf(name, sizeof name, "%s.mid_block.resnets.1", side);
    return resnet(b, x, name, c, c);
}

static int decoder(kl_builder *b)
{
    const kl_config *k = b->k;
    char name[256];
    ts_act scale = {TS_ACT_AFFINE, (float)(1.0 / k->scaling), (float)k->shift};
    int64_t c = k->block[k->n_blocks - 1];
    int x = ts_net_act(b->net, 0, scale);
    if (k->post_quant)
        x = conv(b, x, "post_quant_conv", k->latent, k->latent, 1, 1, 0, 0);
    x = conv(b, x, "decoder.conv_in", k->latent, c, 3, 1, 1, 1);
    x = middle(b, x, "decoder", c);
    for (size_t i = 0; i < k->n_blocks; i++) {
        int64_t out = k->block[k->n_blocks - 1 - i];
        for (int64_t r = 0; r <= k->layers; r++, c = out) {
            snprintf(name, sizeof name, "decoder.up_blocks.%zu.resnets.%lld", i, (long long)r);
            x = resnet(b, x, name, c, out);
        }
        if (i + 1 == k->n_blocks || b->st != TS_OK)
            continue;
        x = ts_net_upsample(b->net, x, 2, 2, 0, 0, TS_RESIZE_NEAREST, TS_RESIZE_ASYMMETRIC);
        snprintf(name, sizeof name, "decoder.up_blocks.%zu.upsamplers.0.conv", i);
        x = conv(b, x, name, out, out, 3, 1, 1, 1);
    }
    x = norm(b, x, "decoder.conv_norm_out", "", c, true);
    return conv(b, x, "decoder.conv_out", c, k->out, 3, 1, 1, 1);
}

static int encoder(kl_builder *b)
{
    const kl_config *k = b->k;
    char name[256];
    int64_t c = k->block[0];
    int x = conv(b, 0, "encoder.conv_in", k->in, c, 3, 1, 1, 1);
    for (size_t i = 0; i < k->n_blocks; i++) {
        for (int64_t r = 0; r < k->layers; r++, c = k->block[i]) {
            snprintf(name, sizeof name, "encoder.down_blocks.%zu.resnets.%lld", i, (long long)r);
            x = resnet(b, x, name, c, k->block[i]);
        }
        if (i + 1 == k->n_blocks)
            continue;
        snprintf(name, sizeof name, "encoder.down_blocks.%zu.downsamplers.0.conv", i);
        x = conv(b, x, name, c, c, 3, 2, 0, 1); /* zeros on the right and below only */
    }
    x = middle(b, x, "encoder", c);
    x = norm(b, x, "encoder.conv_norm_out", "", c, true);
    x = conv(b, x, "encoder.conv_out", c, 2 * k->latent, 3, 1, 1, 1);
    return k->quant ? conv(b, x, "quant_conv", 2 * k->latent, 2 * k->latent, 1, 1, 0, 0) : x;
}

ts_status vae_build_kl(ts_vae *vae, ts_weights *weights, bool is_encoder, bool fuse, vae_net *out,
                       ts_error *err)
{
    kl_config k;
    kl_builder b = {.weights = weights, .k = &k, .err = err};
    b.st = read_config(vae->config, &k, err);
    if (b.st == TS_OK)
        b.st = ts_net_create(&out->net, err);
    if (b.st != TS_OK)
        return b.st;
    b.net = out->net;
    out->out[0] = is_encoder ? encoder(&b) : decoder(&b);
    out->n_out = 1;
    if (b.st != TS_OK)
        return b.st;
    return ts_net_finish(out->net, vae->ops, out->out, 1, fuse, err);
}
