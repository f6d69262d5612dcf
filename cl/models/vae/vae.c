#include "cl/models/vae/vae.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/log.h"
#include "cl/models/vae/vae_internal.h"
#include "cl/models/vae/vaeq.h"
#include "cl/ops/move.h"
#include "cl/ops/pointwise.h"

enum {
    CHUNK_BYTES = 256 * 1024 * 1024, /* activations of one batch */
    CHUNK_MOST = 1024
};

ts_vae *ts_vae_of(ts_model *model)
{
    return model && model->ops == &ts_vae_model_ops ? (ts_vae *)model : NULL;
}

const ts_vae_info *ts_vae_get_info(const ts_vae *vae)
{
    return &vae->info;
}

ts_ops *ts_vae_ops(ts_vae *vae)
{
    return vae->ops;
}

/* ---- loading ---- */

static bool is_kl(const json_t *config)
{
    const char *class = json_string_value(json_object_get(config, "_class_name"));
    return class && !strcmp(class, "AutoencoderKL");
}

static bool accepts(const char *directory, const json_t *config)
{
    (void)directory;
    const char *format = json_string_value(json_object_get(config, "format"));
    return (format && !strcmp(format, "tensorscope-vae/1")) || is_kl(config);
}

/* The files that config.json's `weights` names; without it all of the directory. */
static ts_status open_weights(const ts_vae *vae, ts_weights **out, ts_error *err)
{
    const char *names[64];
    size_t n = 0;
    const json_t *w = vae->kl ? NULL : json_object_get(vae->config, "weights");
    if (json_is_string(w)) {
        names[n++] = json_string_value(w);
    } else if (w) {
        for (; n < json_array_size(w) && n < 64; n++) {
            names[n] = json_string_value(json_array_get(w, n));
            if (!names[n])
                return ts_fail(err, TS_E_FILE, "weights must be a file name or a list of them");
        }
        if (!n)
            return ts_fail(err, TS_E_FILE, "weights must be a file name or a list of them");
    }
    if (n && ts_vaeq_is(names[0])) {
        char path[4096];
        if (n > 1 || strchr(names[0], '/') || names[0][0] == '.')
            return ts_fail(err, TS_E_FILE, "weights: \"%s\" is not one plain file name", names[0]);
        snprintf(path, sizeof path, "%s/%s", vae->directory, names[0]);
        ts_error why = {0};
        ts_status st = ts_vaeq_open(path, json_object_get(vae->config, "layers"), out, &why);
        if (st != TS_OK)
            st = ts_fail(err, st == TS_E_NO_MEMORY ? st : TS_E_FILE, "%s: %s", names[0], why.text);
        ts_error_clear(&why);
        return st;
    }
    return ts_weights_open(vae->directory, names, n, out, err);
}

static ts_status build(ts_vae *vae, ts_weights *weights, bool encoder, bool fuse, vae_net *out,
                       ts_error *err)
{
    vae_build f = vae->kl ? vae_build_kl : vae_build_layers;
    return f(vae, weights, encoder, fuse, out, err);
}

static void set_port(ts_port *port, const char *name, const ts_shape *shape)
{
    snprintf(port->name, sizeof port->name, "%s", name);
    port->dtype = TS_F32;
    port->shape = (ts_shape){.rank = shape->rank + 1, .dim = {-1}};
    memcpy(port->shape.dim + 1, shape->dim, (size_t)shape->rank * sizeof *shape->dim);
}

static ts_status describe(ts_vae *vae, ts_error *err)
{
    ts_model_info *info = &vae->base.info;
    size_t taps = 0;
    while (ts_net_value_name(vae->decoder.net, taps))
        taps++;
    info->inputs = calloc(1, sizeof *info->inputs);
    info->outputs = calloc(1, sizeof *info->outputs);
    info->taps = calloc(taps ? taps : 1, sizeof *info->taps);
    if (!info->inputs || !info->outputs || !info->taps)
        return ts_fail(err, TS_E_NO_MEMORY, "model description");
    info->kind = "vae";
    info->platform = "tensorscope_safetensors";
    info->n_inputs = info->n_outputs = 1;
    set_port(info->inputs, "z", &vae->info.latent);
    set_port(info->outputs, "image", &vae->info.image);
    for (size_t i = 0; i < taps; i++) {
        ts_port *p = &info->taps[info->n_taps++];
        snprintf(p->name, sizeof p->name, "%s", ts_net_value_name(vae->decoder.net, i));
        p->dtype = TS_F32;
        /* Sizes depend on the latent's where that is free: then only the rank is told. */
        p->shape = TS_SHAPE(-1, -1, -1, -1);
        ts_shape s;
        ts_error why = {0};
        int value = ts_net_find(vae->decoder.net, p->name);
        if (!vae->info.spatial && value >= 0 &&
            ts_net_shape(vae->decoder.net, value, &vae->info.latent, &s, &why) == TS_OK)
            set_port(p, ts_net_value_name(vae->decoder.net, i), &s);
        ts_error_clear(&why);
    }
    info->parameters = ts_net_parameters(vae->decoder.net);
    info->device_bytes = ts_net_bytes(vae->decoder.net);
    if (vae->encoder.net) {
        info->parameters += ts_net_parameters(vae->encoder.net);
        info->device_bytes += ts_net_bytes(vae->encoder.net);
    }
    info->config = json_incref(vae->config);
    return TS_OK;
}

static void warn_unused(const ts_weights *weights)
{
    size_t n = 0;
    while (ts_weights_unused(weights, n))
        n++;
    if (n)
        ts_log(TS_LOG_WARN, "models", "unused tensors n=%zu first=%s", n,
               ts_weights_unused(weights, 0));
}

/* An AutoencoderKL directory may hold the decoder alone. */
static bool wants_encoder(ts_vae *vae, ts_weights *weights)
{
    if (ts_weights_folded(weights)) /* such files hold decoders only */
        vae->info.has_encoder = false;
    if (vae->kl)
        vae->info.has_encoder = ts_weights_find(weights, "encoder.conv_in.weight") != NULL;
    return vae->info.has_encoder;
}

static void destroy(ts_model *model)
{
    ts_vae *vae = (ts_vae *)model;
    if (!vae)
        return;
    if (vae->ops) { /* before memory goes back to the pool */
        ts_status st = ts_queue_finish(vae->base.queue, NULL);
        (void)st;
    }
    ts_net_destroy(vae->decoder.net);
    ts_net_destroy(vae->encoder.net);
    ts_net_destroy(vae->plain.net);
    ts_buffer_unref(vae->moments);
    ts_arr_free(&vae->whole);
    ts_ops_destroy(vae->ops);
    json_decref(vae->base.info.config);
    json_decref(vae->config);
    free(vae->base.info.inputs);
    free(vae->base.info.outputs);
    free(vae->base.info.taps);
    free(vae->mean);
    free(vae->std);
    free(vae->components);
    free(vae->directory);
    free(vae);
}

static ts_status load(ts_queue *queue, const char *directory, const json_t *config, ts_model **out,
                      ts_error *err)
{
    ts_vae *vae = calloc(1, sizeof *vae);
    ts_weights *weights = NULL;
    if (!vae)
        return ts_fail(err, TS_E_NO_MEMORY, "model");
    vae->base.ops = &ts_vae_model_ops;
    vae->base.queue = queue;
    vae->tile = 64;
    vae->directory = strdup(directory);
    vae->config = json_deep_copy(config);
    ts_status st = vae->directory && vae->config ? TS_OK : ts_fail(err, TS_E_NO_MEMORY, "model");
    ts_error why = {0};
    if (st == TS_OK)
        st = is_kl(config) ? vae_config_kl(vae, &why) : vae_config_layers(vae, &why);
    if (st == TS_OK)
        st = ts_ops_create(queue, &vae->ops, &why);
    if (st == TS_OK)
        st = open_weights(vae, &weights, &why);
    if (st == TS_OK)
        st = build(vae, weights, false, true, &vae->decoder, &why);
    if (st == TS_OK && wants_encoder(vae, weights))
        st = build(vae, weights, true, true, &vae->encoder, &why);
    if (st == TS_OK)
        st = describe(vae, &why);
    if (st == TS_OK)
        st = ts_queue_finish(queue, &why);
    if (st == TS_OK) {
        warn_unused(weights);
        *out = &vae->base;
    } else {
        /* A wrong key or value of a file is the file's fault, not the request's. */
        bool file = st == TS_E_OPTION || st == TS_E_SHAPE || st == TS_E_TOO_LARGE;
        st = ts_fail(err, file ? TS_E_FILE : st, "%s", why.text);
        destroy(&vae->base);
    }
    ts_error_clear(&why);
    ts_weights_close(weights);
    return st;
}

/* ---- decoding ---- */

ts_status ts_vae_image_shape(ts_vae *vae, const ts_shape *z, ts_shape *image, ts_error *err)
{
    ts_shape one = {.rank = z->rank - 1}, out;
    if (z->rank != vae->info.latent.rank + 1 || z->dim[1] != vae->info.latent_dim || z->dim[0] < 1)
        return ts_fail(err, TS_E_SHAPE, "z is %s, want [n,%lld%s]",
                       ts_shape_text(z, (char[96]){0}, 96), (long long)vae->info.latent_dim,
                       vae->info.spatial ? ",h,w" : "");
    memcpy(one.dim, z->dim + 1, (size_t)one.rank * sizeof *one.dim);
    ts_status st = ts_net_shape(vae->decoder.net, vae->decoder.out[0], &one, &out, err);
    if (st != TS_OK)
        return st;
    *image = (ts_shape){.rank = out.rank + 1, .dim = {z->dim[0]}};
    memcpy(image->dim + 1, out.dim, (size_t)out.rank * sizeof *out.dim);
    return TS_OK;
}

/* ---- large latents in tiles ---- */

void ts_vae_set_tile(ts_vae *vae, int64_t side)
{
    vae->tile = side < 4 ? 4 : side;
}

/* Where tile i of `n` begins: a quarter overlaps, the last one ends at the edge. */
static int64_t tile_start(int64_t i, int64_t n, int64_t tile, int64_t size)
{
    int64_t step = tile - tile / 4;
    return i + 1 == n ? size - tile : i * step;
}

static int64_t tile_count(int64_t tile, int64_t size)
{
    int64_t step = tile - tile / 4;
    return size <= tile ? 1 : (size - tile + step - 1) / step + 1;
}

/* Weights of one axis of a tile: linear ramps where the neighbours overlap, which sum to 1. */
static ts_status ramp(ts_vae *vae, int64_t i, int64_t n, int64_t tile, int64_t size, int64_t scale,
                      ts_arr *out, ts_error *err)
{
    int64_t start = tile_start(i, n, tile, size), len = tile * scale;
    int64_t before = i > 0 ? (tile_start(i - 1, n, tile, size) + tile - start) * scale : 0;
    int64_t after = i + 1 < n ? (start + tile - tile_start(i + 1, n, tile, size)) * scale : 0;
    float *w = calloc((size_t)len, sizeof *w);
    if (!w)
        return ts_fail(err, TS_E_NO_MEMORY, "tile");
    for (int64_t k = 0; k < len; k++) {
        double v = 1;
        if (k < before)
            v = ((double)k + 0.5) / (double)before;
        if (k >= len - after)
            v *= 1 - ((double)(k - (len - after)) + 0.5) / (double)after;
        w[k] = (float)v;
    }
    ts_status st = ts_arr_from_host(vae->ops, TS_F32, &TS_SHAPE(len), w, out, err);
    free(w);
    return st;
}

static ts_status decode_tile(ts_vae *vae, const ts_arr *z, const int64_t at[2],
                             const int64_t tile[2], int64_t scale, const ts_arr *wy,
                             const ts_arr *wx, ts_error *err)
{
    ts_arr cut = {0};
    int64_t start[4] = {0, 0, at[0], at[1]};
    ts_status st = ts_arr_create(
        vae->ops, TS_F32, &TS_SHAPE(z->shape.dim[0], z->shape.dim[1], tile[0], tile[1]), &cut, err);
    if (st == TS_OK)
        st = ts_op_slice(vae->ops, z, start, NULL, &cut, err);
    if (st == TS_OK)
        st = ts_net_run(vae->decoder.net, vae->ops, &cut, NULL, 0, err);
    if (st == TS_OK) {
        ts_arr part = ts_net_value(vae->decoder.net, vae->decoder.out[0]);
        st = ts_op_blend(vae->ops, &part, wy, wx, at[0] * scale, at[1] * scale, &vae->whole, err);
    }
    ts_arr_free(&cut);
    return st;
}

static ts_status decode_tiles(ts_vae *vae, const ts_arr *z, const ts_shape *image, ts_error *err)
{
    int64_t h = z->shape.dim[2], w = z->shape.dim[3], scale = image->dim[2] / h;
    int64_t tile[2] = {h < vae->tile ? h : vae->tile, w < vae->tile ? w : vae->tile};
    int64_t rows = tile_count(tile[0], h), cols = tile_count(tile[1], w);
    ts_status st = ts_queue_finish(vae->base.queue, err);
    ts_arr_free(&vae->whole);
    if (st == TS_OK && (image->dim[2] != h * scale || image->dim[3] != w * scale))
        st = ts_fail(err, TS_E_SHAPE, "this decoder's pictures cannot be put together from tiles");
    if (st == TS_OK)
        st = ts_arr_create(vae->ops, TS_F32, image, &vae->whole, err);
    if (st == TS_OK)
        st = ts_op_fill(vae->ops, &vae->whole, 0, err);
    for (int64_t r = 0; r < rows && st == TS_OK; r++)
        for (int64_t c = 0; c < cols && st == TS_OK; c++) {
            ts_arr wy = {0}, wx = {0};
            int64_t at[2] = {tile_start(r, rows, tile[0], h), tile_start(c, cols, tile[1], w)};
            st = ramp(vae, r, rows, tile[0], h, scale, &wy, err);
            if (st == TS_OK)
                st = ramp(vae, c, cols, tile[1], w, scale, &wx, err);
            if (st == TS_OK)
                st = decode_tile(vae, z, at, tile, scale, &wy, &wx, err);
            ts_arr_free(&wy);
            ts_arr_free(&wx);
        }
    return st;
}

ts_status ts_vae_decode_array(ts_vae *vae, const ts_arr *z, ts_arr *image, ts_error *err)
{
    ts_shape shape;
    ts_status st = ts_vae_image_shape(vae, &z->shape, &shape, err);
    if (st != TS_OK)
        return st;
    if (vae->info.spatial && (z->shape.dim[2] > vae->tile || z->shape.dim[3] > vae->tile)) {
        st = decode_tiles(vae, z, &shape, err);
        *image = vae->whole;
        return st;
    }
    st = ts_net_run(vae->decoder.net, vae->ops, z, NULL, 0, err);
    if (st == TS_OK)
        *image = ts_net_value(vae->decoder.net, vae->decoder.out[0]);
    return st;
}

/* How many latents fit one batch. */
static ts_status chunk_of(ts_vae *vae, int64_t n, int64_t *chunk, ts_error *err)
{
    size_t bytes;
    ts_status st =
        ts_net_measure(vae->decoder.net, &TS_SHAPE(1, vae->info.latent_dim), &bytes, err);
    if (st != TS_OK)
        return st;
    int64_t fit = CHUNK_BYTES / (int64_t)(bytes ? bytes : 1);
    fit = fit < 1 ? 1 : fit > CHUNK_MOST ? CHUNK_MOST : fit;
    *chunk = n < fit ? n : fit;
    return TS_OK;
}

static ts_status check_z(const ts_vae *vae, const float *z, int64_t n, ts_error *err)
{
    if (vae->info.spatial)
        return ts_fail(err, TS_E_SHAPE, "this model takes spatial latents [n,%lld,h,w]",
                       (long long)vae->info.latent_dim);
    for (int64_t i = 0; i < n * vae->info.latent_dim; i++)
        if (!isfinite(z[i]))
            return ts_fail(err, TS_E_OPTION, "z[%lld] is not a finite number",
                           (long long)(i / vae->info.latent_dim));
    return TS_OK;
}

/* Quantised, channels last, in `u8` scratch of the pool. */
static ts_status to_picture(ts_vae *vae, const ts_arr *image, bool truncate, ts_arr *u8,
                            ts_error *err)
{
    const int64_t *d = image->shape.dim;
    float scale = (float)(255.0 / (vae->info.hi - vae->info.lo));
    ts_arr flat = {0};
    ts_status st = ts_arr_create(vae->ops, TS_U8, &image->shape, &flat, err);
    if (st == TS_OK)
        st = ts_op_quantize(vae->ops, image, scale, (float)-vae->info.lo * scale, truncate, &flat,
                            err);
    if (st != TS_OK || d[1] == 1) {
        *u8 = ts_arr_reshape(&flat, &TS_SHAPE(d[0], d[2], d[3], d[1]));
        if (st != TS_OK)
            ts_arr_free(u8);
        return st;
    }
    st = ts_arr_create(vae->ops, TS_U8, &TS_SHAPE(d[0], d[2], d[3], d[1]), u8, err);
    if (st == TS_OK)
        st = ts_op_transpose(vae->ops, &flat, (const int[]){0, 2, 3, 1}, u8, err);
    if (st != TS_OK)
        ts_arr_free(u8);
    ts_arr_free(&flat);
    return st;
}

/* Decode z[first…first+n) and read it into `out`, as f32 or u8. */
static ts_status decode_chunk(ts_vae *vae, const float *z, int64_t n, bool u8, bool truncate,
                              void *out, ts_error *err)
{
    ts_arr dz = {0}, image, picture = {0};
    ts_status st =
        ts_arr_from_host(vae->ops, TS_F32, &TS_SHAPE(n, vae->info.latent_dim), z, &dz, err);
    if (st == TS_OK)
        st = ts_vae_decode_array(vae, &dz, &image, err);
    if (st == TS_OK && u8)
        st = to_picture(vae, &image, truncate, &picture, err);
    if (st == TS_OK)
        st = ts_arr_read(vae->ops, u8 ? &picture : &image, out, err);
    ts_arr_free(&picture);
    ts_arr_free(&dz);
    return st;
}

static ts_status decode_all(ts_vae *vae, const float *z, int64_t n, bool u8, bool truncate,
                            uint8_t *out, ts_error *err)
{
    int64_t chunk = 1;
    ts_status st = check_z(vae, z, n, err);
    if (st == TS_OK)
        st = chunk_of(vae, n, &chunk, err);
    size_t per = 1;
    for (int d = 0; d < 3; d++)
        per *= (size_t)vae->info.image.dim[d];
    per *= u8 ? 1 : sizeof(float);
    for (int64_t i = 0; i < n && st == TS_OK; i += chunk) {
        int64_t k = n - i < chunk ? n - i : chunk;
        st = decode_chunk(vae, z + i * vae->info.latent_dim, k, u8, truncate, out + (size_t)i * per,
                          err);
    }
    return st;
}

ts_status ts_vae_decode_f32(ts_vae *vae, const float *z, int64_t n, float *out, ts_error *err)
{
    return decode_all(vae, z, n, false, false, (uint8_t *)out, err);
}

ts_status ts_vae_decode_u8(ts_vae *vae, const float *z, int64_t n, bool truncate, uint8_t *out,
                           ts_error *err)
{
    return decode_all(vae, z, n, true, truncate, out, err);
}

ts_status ts_vae_decode_picture(ts_vae *vae, const float *z, ts_tensor **out, ts_error *err)
{
    ts_arr dz = {0}, image, picture = {0};
    ts_status st = check_z(vae, z, 1, err);
    if (st == TS_OK)
        st = ts_arr_from_host(vae->ops, TS_F32, &TS_SHAPE(1, vae->info.latent_dim), z, &dz, err);
    if (st == TS_OK)
        st = ts_vae_decode_array(vae, &dz, &image, err);
    if (st == TS_OK)
        st = to_picture(vae, &image, false, &picture, err);
    if (st == TS_OK)
        st = ts_queue_finish(vae->base.queue, err);
    if (st == TS_OK) {
        const int64_t *d = picture.shape.dim;
        picture.shape = d[3] == 1 ? TS_SHAPE(d[1], d[2]) : TS_SHAPE(d[1], d[2], d[3]);
        st = ts_arr_tensor(&picture, out, err);
    }
    ts_arr_free(&picture);
    ts_arr_free(&dz);
    return st;
}

/* ---- reduced precision ---- */

static ts_status decode_with(ts_vae *vae, vae_net *net, const float *z, int64_t n, float *out,
                             ts_error *err)
{
    ts_arr dz = {0};
    ts_status st =
        ts_arr_from_host(vae->ops, TS_F32, &TS_SHAPE(n, vae->info.latent_dim), z, &dz, err);
    if (st == TS_OK)
        st = ts_net_run(net->net, vae->ops, &dz, NULL, 0, err);
    if (st == TS_OK) {
        ts_arr image = ts_net_value(net->net, net->out[0]);
        st = ts_arr_read(vae->ops, &image, out, err);
    }
    ts_arr_free(&dz);
    return st;
}

ts_status ts_vae_compare(ts_vae *vae, const float *z, int64_t n, ts_weight_rounding rounding,
                         ts_vae_difference *out, ts_error *err)
{
    ts_weights *weights = NULL;
    vae_net reduced = {0};
    size_t values = (size_t)n;
    ts_status st = check_z(vae, z, n, err);
    if (st != TS_OK)
        return st;
    for (int d = 0; d < 3; d++)
        values *= (size_t)vae->info.image.dim[d];
    float *a = calloc(values, sizeof *a), *b = calloc(values, sizeof *b);
    st = a && b ? open_weights(vae, &weights, err) : ts_fail(err, TS_E_NO_MEMORY, "pictures");
    if (st == TS_OK) {
        ts_weights_round(weights, rounding);
        st = build(vae, weights, false, true, &reduced, err);
    }
    if (st == TS_OK)
        st = decode_with(vae, &vae->decoder, z, n, a, err);
    if (st == TS_OK)
        st = decode_with(vae, &reduced, z, n, b, err);
    *out = (ts_vae_difference){0};
    for (size_t i = 0; i < values && st == TS_OK; i++) {
        double d = fabs((double)a[i] - b[i]) / (vae->info.hi - vae->info.lo);
        out->max_abs = d > out->max_abs ? d : out->max_abs;
        out->mse += d * d / (double)values;
    }
    ts_net_destroy(reduced.net);
    ts_weights_close(weights);
    free(a);
    free(b);
    return st;
}

/* ---- encoding ---- */

/* mu and logvar out of moments [N,2C,…], logvar clamped. */
static ts_status split_moments(ts_vae *vae, const ts_arr *moments, ts_arr *mu, ts_arr *logvar,
                               ts_error *err)
{
    size_t half = ts_arr_bytes(moments) / 2;
    ts_shape shape = moments->shape;
    int64_t start[4] = {0};
    shape.dim[1] /= 2;
    if (!vae->moments || ts_buffer_bytes(vae->moments) < 2 * half) {
        ts_status st = ts_queue_finish(vae->base.queue, err);
        if (st != TS_OK)
            return st;
        ts_buffer_unref(vae->moments);
        vae->moments = NULL;
        st = ts_buffer_create(ts_ops_device(vae->ops), 2 * half, &vae->moments, err);
        if (st != TS_OK)
            return st;
    }
    *mu = ts_arr_at(vae->moments, 0, TS_F32, &shape);
    *logvar = ts_arr_at(vae->moments, half, TS_F32, &shape);
    ts_status st = ts_op_slice(vae->ops, moments, start, NULL, mu, err);
    start[1] = shape.dim[1];
    if (st == TS_OK)
        st = ts_op_slice(vae->ops, moments, start, NULL, logvar, err);
    ts_act clamp = {TS_ACT_CLAMP, (float)vae->logvar_min, (float)vae->logvar_max};
    return st == TS_OK ? ts_op_unary(vae->ops, logvar, &clamp, logvar, err) : st;
}

ts_status ts_vae_encode_array(ts_vae *vae, const ts_arr *x, ts_arr *mu, ts_arr *logvar,
                              ts_error *err)
{
    if (!vae->encoder.net)
        return ts_fail(err, TS_E_NOT_FOUND, "this model has no encoder");
    if (x->shape.rank != 4 || x->shape.dim[1] != vae->input.dim[0] ||
        (vae->input.dim[1] > 0 &&
         (x->shape.dim[2] != vae->input.dim[1] || x->shape.dim[3] != vae->input.dim[2])))
        return ts_fail(err, TS_E_SHAPE, "image is %s, want [n,%lld,%lld,%lld]",
                       ts_shape_text(&x->shape, (char[96]){0}, 96), (long long)vae->input.dim[0],
                       (long long)vae->input.dim[1], (long long)vae->input.dim[2]);
    ts_status st = ts_net_run(vae->encoder.net, vae->ops, x, NULL, 0, err);
    if (st != TS_OK)
        return st;
    ts_arr first = ts_net_value(vae->encoder.net, vae->encoder.out[0]);
    if (vae->encoder.n_out == 1)
        return split_moments(vae, &first, mu, logvar, err);
    *mu = first;
    *logvar = ts_net_value(vae->encoder.net, vae->encoder.out[1]);
    return TS_OK;
}

/* One axis of the triangle resize: rows of `in` to `out`, `step` apart, `count` lines. */
static void resize_axis(const float *x, int64_t lines, int64_t line_step, int64_t step, int64_t out,
                        int taps, const int32_t *index, const double *weight, float *y,
                        int64_t y_line_step, int64_t y_step)
{
    for (int64_t l = 0; l < lines; l++)
        for (int64_t o = 0; o < out; o++) {
            double s = 0;
            for (int t = 0; t < taps; t++)
                s += weight[o * taps + t] * x[l * line_step + index[o * taps + t] * step];
            y[l * y_line_step + o * y_step] = (float)s;
        }
}

static ts_status resize_plane(const float *x, int64_t h, int64_t w, float *y, int64_t oh,
                              int64_t ow, ts_error *err)
{
    ts_resize_options o = {.mode = TS_RESIZE_LINEAR, .antialias = true};
    int th, tw;
    int32_t *ih = NULL, *iw = NULL;
    double *wh = NULL, *ww = NULL;
    float *mid = calloc((size_t)(h * ow), sizeof *mid);
    ts_status st = mid ? TS_OK : ts_fail(err, TS_E_NO_MEMORY, "resize");
    if (st == TS_OK)
        st = ts_resize_taps(&o, w, ow, 0, &tw, &iw, &ww, err);
    if (st == TS_OK)
        st = ts_resize_taps(&o, h, oh, 0, &th, &ih, &wh, err);
    if (st == TS_OK) {
        resize_axis(x, h, w, 1, ow, tw, iw, ww, mid, ow, 1);
        resize_axis(mid, ow, 1, ow, oh, th, ih, wh, y, 1, ow);
    }
    free(mid);
    free(ih);
    free(iw);
    free(wh);
    free(ww);
    return st;
}

ts_status ts_vae_prepare(const ts_vae *vae, const uint8_t *rgb, int64_t h, int64_t w,
                         int64_t channels, float **out, ts_shape *shape, ts_error *err)
{
    int64_t c = vae->input.dim[0];
    int64_t oh = vae->input.dim[1] > 0 ? vae->input.dim[1] : h;
    int64_t ow = vae->input.dim[2] > 0 ? vae->input.dim[2] : w;
    if (h < 1 || w < 1 || (channels != 1 && channels != 3 && channels != 4) || (c != 1 && c != 3))
        return ts_fail(err, TS_E_SHAPE, "picture of %lldx%lld with %lld channels", (long long)w,
                       (long long)h, (long long)channels);
    float *plane = calloc((size_t)(h * w), sizeof *plane);
    *out = calloc((size_t)(c * oh * ow), sizeof **out);
    ts_status st = plane && *out ? TS_OK : ts_fail(err, TS_E_NO_MEMORY, "picture");
    double scale = (vae->in_hi - vae->in_lo) / 255.0;
    for (int64_t k = 0; k < c && st == TS_OK; k++) {
        for (int64_t i = 0; i < h * w; i++) {
            const uint8_t *p = rgb + i * channels;
            double v = channels == 1 ? p[0]
                       : c == 1      ? 0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2]
                                     : p[k];
            plane[i] = (float)(v * scale + vae->in_lo);
        }
        float *to = *out + k * oh * ow;
        if (oh == h && ow == w)
            memcpy(to, plane, (size_t)(h * w) * sizeof *to);
        else
            st = resize_plane(plane, h, w, to, oh, ow, err);
    }
    free(plane);
    if (st != TS_OK) {
        free(*out);
        *out = NULL;
        return st;
    }
    *shape = TS_SHAPE(c, oh, ow);
    return TS_OK;
}

/* ---- the model interface ---- */

/* The decoder that has every named value: the fused one if it does, else its plain twin. */
static ts_status net_with(ts_vae *vae, const char *const *wanted, size_t n, vae_net **out,
                          ts_error *err)
{
    bool all = true;
    for (size_t i = 0; i < n; i++)
        all = all && (!strcmp(wanted[i], "image") || ts_net_find(vae->decoder.net, wanted[i]) >= 0);
    *out = &vae->decoder;
    if (all)
        return TS_OK;
    *out = &vae->plain;
    if (vae->plain.net)
        return TS_OK;
    ts_weights *weights = NULL;
    ts_status st = open_weights(vae, &weights, err);
    if (st == TS_OK)
        st = build(vae, weights, false, false, &vae->plain, err);
    ts_weights_close(weights);
    if (st != TS_OK) {
        ts_net_destroy(vae->plain.net);
        vae->plain = (vae_net){0};
    }
    return st;
}

/* A tensor of its own with the array's content. */
static ts_status copy_out(ts_vae *vae, const ts_arr *from, ts_tensor **out, ts_error *err)
{
    ts_status st = ts_tensor_create(ts_ops_device(vae->ops), TS_F32, &from->shape, out, err);
    if (st != TS_OK)
        return st;
    ts_arr to = ts_arr_of(*out);
    st = ts_op_copy(vae->ops, from, &to, err);
    if (st != TS_OK) {
        ts_tensor_unref(*out);
        *out = NULL;
    }
    return st;
}

static ts_status run(ts_model *model, const ts_tensor *const *inputs, const char *const *wanted,
                     size_t n_wanted, ts_tensor **outputs, ts_error *err)
{
    ts_vae *vae = (ts_vae *)model;
    ts_shape image;
    vae_net *net = NULL;
    int *value = calloc(n_wanted ? n_wanted : 1, sizeof *value);
    ts_status st = value ? TS_OK : ts_fail(err, TS_E_NO_MEMORY, "outputs");
    if (st == TS_OK)
        st = ts_model_check_inputs(&model->info, inputs, err);
    if (st == TS_OK)
        st = ts_vae_image_shape(vae, ts_tensor_shape(inputs[0]), &image, err);
    if (st == TS_OK)
        st = net_with(vae, wanted, n_wanted, &net, err);
    for (size_t i = 0; i < n_wanted && st == TS_OK; i++)
        value[i] = !strcmp(wanted[i], "image") ? net->out[0] : ts_net_find(net->net, wanted[i]);
    if (st == TS_OK) {
        ts_arr z = ts_arr_of(inputs[0]);
        st = ts_net_run(net->net, vae->ops, &z, value, n_wanted, err);
    }
    size_t done = 0;
    for (; done < n_wanted && st == TS_OK; done++) {
        ts_arr v = ts_net_value(net->net, value[done]);
        outputs[done] = NULL;
        st = copy_out(vae, &v, &outputs[done], err);
    }
    if (st == TS_OK)
        st = ts_queue_finish(model->queue, err);
    for (size_t i = 0; i < done && st != TS_OK; i++) {
        ts_tensor_unref(outputs[i]);
        outputs[i] = NULL;
    }
    free(value);
    return st;
}

const ts_model_ops ts_vae_model_ops = {
    .kind = "vae", .accepts = accepts, .load = load, .run = run, .destroy = destroy};
