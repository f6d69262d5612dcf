/* `tensorscope-vae/1`: config.json, and its layer lists into networks. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/models/vae/layers.h"
#include "cl/models/vae/vae_internal.h"

static ts_status dims_of(const json_t *object, const char *what, ts_shape *shape, ts_error *err)
{
    const json_t *list = json_object_get(object, "shape");
    if (json_array_size(list) != 3)
        return ts_fail(err, TS_E_FILE, "%s.shape must be [C,H,W]", what);
    shape->rank = 3;
    for (size_t i = 0; i < 3; i++) {
        const json_t *e = json_array_get(list, i);
        if (!json_is_integer(e) || json_integer_value(e) < 1 || json_integer_value(e) > 65536)
            return ts_fail(err, TS_E_FILE, "%s.shape holds what is not a size", what);
        shape->dim[i] = json_integer_value(e);
    }
    return TS_OK;
}

static ts_status range_of(const json_t *object, const char *what, double *lo, double *hi,
                          ts_error *err)
{
    const json_t *list = json_object_get(object, "range");
    *lo = 0;
    *hi = 1;
    if (!list)
        return TS_OK;
    const json_t *a = json_array_get(list, 0), *b = json_array_get(list, 1);
    if (json_array_size(list) != 2 || !json_is_number(a) || !json_is_number(b) ||
        !(json_number_value(a) < json_number_value(b)))
        return ts_fail(err, TS_E_FILE, "%s.range must be [low, high]", what);
    *lo = json_number_value(a);
    *hi = json_number_value(b);
    return TS_OK;
}

static ts_status read_latent(ts_vae *vae, const json_t *latent, ts_error *err)
{
    static const char *const keys[] = {"prior", "slider",     "directions", "mean",
                                       "std",   "components", NULL};
    static const char *const slider_keys[] = {"min", "max", "step", NULL};
    static const char *const modes[] = {"axes", "random-orthonormal", "pca", NULL};
    int mode = 0;
    ts_vae_info *i = &vae->info;
    i->slider_min = -4;
    i->slider_max = 4;
    i->slider_step = 0.05;
    i->directions = vae->directions;
    snprintf(vae->directions, sizeof vae->directions, "%s", modes[0]);
    if (!latent)
        return TS_OK;
    ts_status st = ts_json_only(latent, "latent", keys, err);
    const json_t *slider = json_object_get(latent, "slider");
    if (st == TS_OK && slider)
        st = ts_json_only(slider, "latent.slider", slider_keys, err);
    if (st == TS_OK && slider)
        st = ts_json_get_double(slider, "latent.slider", "min", -1e3, 1e3, &i->slider_min, err);
    if (st == TS_OK && slider)
        st = ts_json_get_double(slider, "latent.slider", "max", -1e3, 1e3, &i->slider_max, err);
    if (st == TS_OK && slider)
        st = ts_json_get_double(slider, "latent.slider", "step", 1e-6, 1e3, &i->slider_step, err);
    if (st == TS_OK)
        st = ts_json_get_enum(latent, "latent", "directions", modes, &mode, err);
    snprintf(vae->directions, sizeof vae->directions, "%s", modes[mode]);
    return st;
}

ts_status vae_config_layers(ts_vae *vae, ts_error *err)
{
    static const char *const keys[] = {"format",  "name",       "latent_dim", "input",
                                       "output",  "latent",     "layers",     "encoder",
                                       "weights", "provenance", NULL};
    static const char *const io_keys[] = {"shape", "range", "color", NULL};
    static const char *const colors[] = {"rgb", "gray", NULL};
    const json_t *c = vae->config, *output = json_object_get(c, "output");
    const json_t *input = json_object_get(c, "input"), *latent = json_object_get(c, "latent");
    ts_vae_info *i = &vae->info;
    int color = 0;
    ts_status st = ts_json_only(c, "", keys, err);
    if (st == TS_OK && !json_object_get(c, "latent_dim"))
        st = ts_fail(err, TS_E_FILE, "latent_dim is missing");
    if (st == TS_OK)
        st = ts_json_get_int(c, "", "latent_dim", 1, 1 << 16, &i->latent_dim, err);
    if (st == TS_OK && !json_is_object(output))
        st = ts_fail(err, TS_E_FILE, "output is missing");
    if (st == TS_OK)
        st = ts_json_only(output, "output", io_keys, err);
    if (st == TS_OK)
        st = dims_of(output, "output", &i->image, err);
    if (st == TS_OK)
        st = range_of(output, "output", &i->lo, &i->hi, err);
    if (st == TS_OK)
        st = ts_json_get_enum(output, "output", "color", colors, &color, err);
    i->latent = TS_SHAPE(i->latent_dim);
    i->gray = color == 1 || i->image.dim[0] == 1;
    i->has_encoder = json_object_get(c, "encoder") != NULL;
    if (st == TS_OK && i->image.dim[0] != 1 && i->image.dim[0] != 3)
        st = ts_fail(err, TS_E_FILE, "output.shape has %lld channels, want 1 or 3",
                     (long long)i->image.dim[0]);
    vae->input = i->image;
    if (st == TS_OK && input)
        st = ts_json_only(input, "input", io_keys, err);
    if (st == TS_OK && input)
        st = dims_of(input, "input", &vae->input, err);
    if (st == TS_OK)
        st = range_of(input, "input", &vae->in_lo, &vae->in_hi, err);
    vae->logvar_min = -1e30;
    vae->logvar_max = 1e30;
    return st == TS_OK ? read_latent(vae, latent, err) : st;
}

/* mean [L], std [K], components [K,L]; the tensors that `latent` names. */
static ts_status read_components(ts_vae *vae, ts_weights *weights, ts_error *err)
{
    const json_t *latent = json_object_get(vae->config, "latent");
    const char *mean = json_string_value(json_object_get(latent, "mean"));
    const char *std = json_string_value(json_object_get(latent, "std"));
    const char *components = json_string_value(json_object_get(latent, "components"));
    ts_vae_info *i = &vae->info;
    ts_status st = TS_OK;
    if (vae->mean || (!mean && !std && !components))
        return TS_OK;
    if (!mean || !std || !components)
        return ts_fail(err, TS_E_FILE, "latent: mean, std and components go together");
    const ts_st_tensor *t = ts_weights_find(weights, components);
    if (!t || t->shape.rank != 2 || t->shape.dim[1] != i->latent_dim || t->shape.dim[0] < 1)
        return ts_fail(err, TS_E_FILE, "latent.components: tensor %s must be [K,%lld]", components,
                       (long long)i->latent_dim);
    i->n_components = t->shape.dim[0];
    st = ts_weights_f32(weights, components, NULL, &vae->components, err);
    if (st == TS_OK)
        st = ts_weights_f32(weights, mean, &TS_SHAPE(i->latent_dim), &vae->mean, err);
    if (st == TS_OK)
        st = ts_weights_f32(weights, std, &TS_SHAPE(i->n_components), &vae->std, err);
    i->mean = vae->mean;
    i->std = vae->std;
    i->components = vae->components;
    return st;
}

static ts_status build_decoder(ts_vae *vae, ts_weights *weights, vae_net *out, ts_error *err)
{
    ts_shape image;
    int x = 0;
    ts_status st = ts_layers_build(out->net, weights, json_object_get(vae->config, "layers"),
                                   "layers", &vae->info.latent, &x, err);
    if (st == TS_OK)
        st = ts_net_shape(out->net, x, &vae->info.latent, &image, err);
    if (st == TS_OK && !ts_shape_equal(&image, &vae->info.image))
        st = ts_fail(err, TS_E_FILE, "the layers give %s, output.shape is %s",
                     ts_shape_text(&image, (char[96]){0}, 96),
                     ts_shape_text(&vae->info.image, (char[96]){0}, 96));
    out->out[0] = x;
    out->n_out = 1;
    return st;
}

static ts_status build_encoder(ts_vae *vae, ts_weights *weights, vae_net *out, ts_error *err)
{
    static const char *const keys[] = {"layers", "mu", "logvar", NULL};
    static const char *const heads[] = {"mu", "logvar"};
    const json_t *encoder = json_object_get(vae->config, "encoder");
    int x = 0;
    ts_status st = ts_json_only(encoder, "encoder", keys, err);
    if (st == TS_OK)
        st = ts_layers_build(out->net, weights, json_object_get(encoder, "layers"),
                             "encoder.layers", &vae->input, &x, err);
    for (int h = 0; h < 2 && st == TS_OK; h++) {
        char name[32];
        ts_shape shape;
        snprintf(name, sizeof name, "encoder.%s", heads[h]);
        out->out[h] = x;
        st = ts_layer_build(out->net, weights, json_object_get(encoder, heads[h]), name,
                            &vae->input, &out->out[h], err);
        if (st == TS_OK)
            st = ts_net_shape(out->net, out->out[h], &vae->input, &shape, err);
        if (st == TS_OK && ts_shape_elements(&shape) != vae->info.latent_dim)
            st = ts_fail(err, TS_E_FILE, "encoder.%s gives %s, want [%lld]", heads[h],
                         ts_shape_text(&shape, (char[96]){0}, 96), (long long)vae->info.latent_dim);
    }
    out->n_out = 2;
    return st;
}

ts_status vae_build_layers(ts_vae *vae, ts_weights *weights, bool encoder, bool fuse, vae_net *out,
                           ts_error *err)
{
    ts_status st = ts_net_create(&out->net, err);
    if (st == TS_OK && !encoder)
        st = read_components(vae, weights, err);
    if (st == TS_OK)
        st =
            encoder ? build_encoder(vae, weights, out, err) : build_decoder(vae, weights, out, err);
    return st == TS_OK ? ts_net_finish(out->net, vae->ops, out->out, out->n_out, fuse, err) : st;
}
