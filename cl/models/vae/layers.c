#include "cl/models/vae/layers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/ops/norm.h"

enum {
    SAVED_MAX = 64,
    DEPTH_MAX = 8
};

typedef struct builder {
    ts_net *net;
    ts_weights *weights;
    const ts_shape *input;
    int depth;
    size_t n_saved;
    struct {
        const char *name;
        int value;
    } saved[SAVED_MAX];
} builder;

static ts_status build_list(builder *b, const json_t *layers, const char *prefix, int *x,
                            ts_error *err);
static ts_status build_one(builder *b, const json_t *layer, const char *name, int *x,
                           ts_error *err);

/* ---- fields ---- */

static ts_status get_text(const json_t *layer, const char *key, bool required, const char **out,
                          ts_error *err)
{
    *out = NULL;
    ts_status st = ts_json_get_string(layer, "", key, out, err);
    if (st == TS_OK && required && !*out)
        return ts_fail(err, TS_E_FILE, "%s is missing", key);
    return st;
}

static ts_status get_size(const json_t *layer, const char *key, bool required, int64_t *out,
                          ts_error *err)
{
    if (required && !json_object_get(layer, key))
        return ts_fail(err, TS_E_FILE, "%s is missing", key);
    return ts_json_get_int(layer, "", key, 1, 1 << 24, out, err);
}

/* A number or a pair [height, width] into out[0], out[1]. */
static ts_status get_pair(const json_t *layer, const char *key, int64_t min, int64_t out[2],
                          ts_error *err)
{
    const json_t *v = json_object_get(layer, key);
    if (!v || json_is_null(v))
        return TS_OK;
    for (size_t i = 0; i < 2; i++) {
        const json_t *e = json_is_array(v) && json_array_size(v) == 2 ? json_array_get(v, i) : v;
        if (!json_is_integer(e) || json_integer_value(e) < min || json_integer_value(e) > 65536)
            return ts_fail(err, TS_E_FILE, "%s must be a whole number or two, at least %lld", key,
                           (long long)min);
        out[i] = json_integer_value(e);
    }
    return TS_OK;
}

/* The tensor that `key` names, as f32 of a shape. With `optional` an absent key gives NULL. */
static ts_status get_tensor(builder *b, const json_t *layer, const char *key, bool optional,
                            const ts_shape *shape, float **out, ts_error *err)
{
    const char *name;
    ts_status st = get_text(layer, key, !optional, &name, err);
    *out = NULL;
    if (st != TS_OK || !name)
        return st;
    char other[256];
    if (!ts_weights_find(b->weights, name) && !strncmp(name, "fc", 2)) {
        snprintf(other, sizeof other, "dec_%s", name); /* the name that training scripts use */
        if (ts_weights_find(b->weights, other))
            name = other;
    }
    return ts_weights_f32(b->weights, name, shape, out, err);
}

/* ---- layers ---- */

typedef struct args {
    builder *b;
    const json_t *layer;
    const char *name;
    int *x;
} args;

static ts_status made(int value, const args *a, ts_error *err)
{
    if (value < 0) {
        ts_shape unused;
        return ts_net_shape(a->b->net, 0, a->b->input, &unused, err); /* the recorded failure */
    }
    *a->x = value;
    return TS_OK;
}

static ts_status linear(const args *a, ts_error *err)
{
    static const char *const keys[] = {"op", "in", "out", "weight", "bias", "clamp", NULL};
    int64_t in = 0, out = 0;
    float *w = NULL, *bias = NULL;
    ts_status st = ts_json_only(a->layer, "", keys, err);
    if (st == TS_OK)
        st = get_size(a->layer, "in", true, &in, err);
    if (st == TS_OK)
        st = get_size(a->layer, "out", true, &out, err);
    if (st == TS_OK)
        st = get_tensor(a->b, a->layer, "weight", false, &TS_SHAPE(out, in), &w, err);
    if (st == TS_OK)
        st = get_tensor(a->b, a->layer, "bias", true, &TS_SHAPE(out), &bias, err);
    if (st != TS_OK) {
        free(w);
        return st;
    }
    st = made(ts_net_linear(a->b->net, *a->x, in, out, w, bias), a, err);
    const json_t *clamp = json_object_get(a->layer, "clamp");
    if (st != TS_OK || !clamp)
        return st;
    const json_t *lo = json_array_get(clamp, 0), *hi = json_array_get(clamp, 1);
    if (!json_is_number(lo) || !json_is_number(hi) || json_array_size(clamp) != 2)
        return ts_fail(err, TS_E_FILE, "clamp must be [low, high]");
    ts_act act = {TS_ACT_CLAMP, (float)json_number_value(lo), (float)json_number_value(hi)};
    return made(ts_net_act(a->b->net, *a->x, act), a, err);
}

static ts_status conv(const args *a, bool transposed, ts_error *err)
{
    static const char *const keys[] = {
        "op",     "in",     "out",  "kernel",       "stride",         "padding", "dilation",
        "groups", "weight", "bias", "padding_mode", "output_padding", NULL};
    static const char *const modes[] = {"zeros", "reflect", "replicate", NULL};
    int64_t kernel[2] = {0, 0}, stride[2] = {1, 1}, pad[2] = {0, 0}, dil[2] = {1, 1};
    int64_t extra[2] = {0, 0}, groups = 1, in = 0, out = 0;
    int mode = 0;
    float *w = NULL, *bias = NULL;
    const json_t *l = a->layer;
    ts_status st = ts_json_only(l, "", keys, err);
    if (st == TS_OK)
        st = get_size(l, "in", true, &in, err);
    if (st == TS_OK)
        st = get_size(l, "out", true, &out, err);
    if (st == TS_OK)
        st = get_size(l, "groups", false, &groups, err);
    if (st == TS_OK)
        st = get_pair(l, "kernel", 1, kernel, err);
    if (st == TS_OK && !kernel[0])
        st = ts_fail(err, TS_E_FILE, "kernel is missing");
    if (st == TS_OK)
        st = get_pair(l, "stride", 1, stride, err);
    if (st == TS_OK)
        st = get_pair(l, "padding", 0, pad, err);
    if (st == TS_OK)
        st = get_pair(l, "dilation", 1, dil, err);
    if (st == TS_OK)
        st = get_pair(l, "output_padding", 0, extra, err);
    if (st == TS_OK)
        st = ts_json_get_enum(l, "", "padding_mode", modes, &mode, err);
    if (st == TS_OK && (in % groups || out % groups))
        st = ts_fail(err, TS_E_FILE, "groups %lld do not divide the channels", (long long)groups);
    ts_shape shape = transposed ? TS_SHAPE(in, out / groups, kernel[0], kernel[1])
                                : TS_SHAPE(out, in / groups, kernel[0], kernel[1]);
    if (st == TS_OK)
        st = get_tensor(a->b, l, "weight", false, &shape, &w, err);
    if (st == TS_OK)
        st = get_tensor(a->b, l, "bias", true, &TS_SHAPE(out), &bias, err);
    if (st == TS_OK && mode && !transposed && (pad[0] || pad[1])) {
        int64_t sides[4] = {pad[1], pad[1], pad[0], pad[0]};
        int v = ts_net_pad(a->b->net, *a->x, sides, mode == 1 ? TS_PAD_REFLECT : TS_PAD_EDGE, 0);
        st = made(v, a, err);
        pad[0] = pad[1] = 0;
    }
    if (st != TS_OK) {
        free(w);
        free(bias);
        return st;
    }
    ts_conv_geometry g = {.in = in,
                          .out = out,
                          .groups = groups,
                          .kernel = {1, kernel[0], kernel[1]},
                          .stride = {1, stride[0], stride[1]},
                          .dilation = {1, dil[0], dil[1]},
                          .pad_front = {0, pad[0], pad[1]},
                          .pad_back = {0, pad[0], pad[1]},
                          .output_padding = {0, extra[0], extra[1]},
                          .transposed = transposed};
    return made(ts_net_conv(a->b->net, *a->x, &g, w, bias), a, err);
}

static ts_status conv2d(const args *a, ts_error *err)
{
    return conv(a, false, err);
}

static ts_status conv_transpose2d(const args *a, ts_error *err)
{
    return conv(a, true, err);
}

static ts_status batchnorm(const args *a, ts_error *err)
{
    static const char *const keys[] = {"op",   "channels", "eps", "weight",
                                       "bias", "mean",     "var", NULL};
    static const char *const parts[] = {"weight", "bias", "mean", "var"};
    int64_t c = 0;
    double eps = 1e-5;
    float *v[4] = {0}, *scale = NULL, *shift = NULL;
    ts_status st = ts_json_only(a->layer, "", keys, err);
    if (st == TS_OK && ts_weights_folded(a->b->weights))
        return TS_OK; /* it is in the layer before */
    if (st == TS_OK)
        st = get_size(a->layer, "channels", true, &c, err);
    if (st == TS_OK)
        st = ts_json_get_double(a->layer, "", "eps", 0, 1, &eps, err);
    for (int i = 0; i < 4 && st == TS_OK; i++)
        st = get_tensor(a->b, a->layer, parts[i], i < 2, &TS_SHAPE(c), &v[i], err);
    if (st == TS_OK) {
        scale = calloc((size_t)c, sizeof *scale);
        shift = calloc((size_t)c, sizeof *shift);
        if (!scale || !shift)
            st = ts_fail(err, TS_E_NO_MEMORY, "batch norm");
        else
            ts_batch_norm_fold(c, v[0], v[1], v[2], v[3], eps, scale, shift);
    }
    for (int i = 0; i < 4; i++)
        free(v[i]);
    if (st != TS_OK) {
        free(scale);
        free(shift);
        return st;
    }
    return made(ts_net_affine(a->b->net, *a->x, c, scale, shift), a, err);
}

static ts_status groupnorm(const args *a, ts_error *err)
{
    static const char *const keys[] = {"op", "groups", "channels", "eps", "weight", "bias", NULL};
    int64_t c = 0, groups = 0;
    double eps = 1e-5;
    float *w = NULL, *bias = NULL;
    ts_status st = ts_json_only(a->layer, "", keys, err);
    if (st == TS_OK)
        st = get_size(a->layer, "channels", true, &c, err);
    if (st == TS_OK)
        st = get_size(a->layer, "groups", true, &groups, err);
    if (st == TS_OK && c % groups)
        st = ts_fail(err, TS_E_FILE, "groups %lld do not divide %lld channels", (long long)groups,
                     (long long)c);
    if (st == TS_OK)
        st = ts_json_get_double(a->layer, "", "eps", 0, 1, &eps, err);
    if (st == TS_OK)
        st = get_tensor(a->b, a->layer, "weight", true, &TS_SHAPE(c), &w, err);
    if (st == TS_OK)
        st = get_tensor(a->b, a->layer, "bias", true, &TS_SHAPE(c), &bias, err);
    if (st != TS_OK) {
        free(w);
        return st;
    }
    return made(ts_net_group_norm(a->b->net, *a->x, c, groups, (float)eps, w, bias), a, err);
}

/* A list of whole numbers, or one, into a shape. */
static ts_status get_dims(const json_t *layer, const char *key, ts_shape *out, ts_error *err)
{
    const json_t *v = json_object_get(layer, key);
    size_t n = json_is_array(v) ? json_array_size(v) : 1;
    if (!v || n > TS_MAX_RANK - 1)
        return ts_fail(err, TS_E_FILE, "%s must be a list of at most %d sizes", key,
                       TS_MAX_RANK - 1);
    out->rank = (int)n;
    for (size_t i = 0; i < n; i++) {
        const json_t *e = json_is_array(v) ? json_array_get(v, i) : v;
        if (!json_is_integer(e) || json_integer_value(e) < 1 || json_integer_value(e) > 1 << 24)
            return ts_fail(err, TS_E_FILE, "%s holds what is not a size", key);
        out->dim[i] = json_integer_value(e);
    }
    size_t bytes;
    return ts_shape_check(out, TS_F32, &bytes, err);
}

static ts_status layernorm(const args *a, ts_error *err)
{
    static const char *const keys[] = {"op", "shape", "eps", "weight", "bias", NULL};
    ts_shape shape = {0};
    double eps = 1e-5;
    float *w = NULL, *bias = NULL;
    ts_status st = ts_json_only(a->layer, "", keys, err);
    if (st == TS_OK)
        st = get_dims(a->layer, "shape", &shape, err);
    if (st == TS_OK)
        st = ts_json_get_double(a->layer, "", "eps", 0, 1, &eps, err);
    if (st == TS_OK)
        st = get_tensor(a->b, a->layer, "weight", true, &shape, &w, err);
    if (st == TS_OK)
        st = get_tensor(a->b, a->layer, "bias", true, &shape, &bias, err);
    if (st != TS_OK) {
        free(w);
        return st;
    }
    int64_t n = ts_shape_elements(&shape);
    return made(ts_net_layer_norm(a->b->net, *a->x, n, (float)eps, w, bias), a, err);
}

static ts_status upsample(const args *a, ts_error *err)
{
    static const char *const keys[] = {"op", "scale", "size", "mode", "align_corners", NULL};
    static const char *const modes[] = {"nearest", "bilinear", "bicubic", NULL};
    int mode = 0;
    bool align = false;
    double factor[2] = {0, 0};
    int64_t size[2] = {0, 0};
    ts_status st = ts_json_only(a->layer, "", keys, err);
    if (st == TS_OK)
        st = ts_json_get_enum(a->layer, "", "mode", modes, &mode, err);
    if (st == TS_OK)
        st = ts_json_get_bool(a->layer, "", "align_corners", &align, err);
    if (st == TS_OK)
        st = get_pair(a->layer, "size", 1, size, err);
    const json_t *scale = json_object_get(a->layer, "scale");
    for (size_t i = 0; i < 2 && scale && st == TS_OK; i++) {
        const json_t *e = json_is_array(scale) ? json_array_get(scale, i) : scale;
        factor[i] = json_number_value(e);
        if (!json_is_number(e) || !(factor[i] > 0) || factor[i] > 64)
            st = ts_fail(err, TS_E_FILE, "scale must be one or two numbers in (0, 64]");
    }
    if (st == TS_OK && !scale == !size[0])
        st = ts_fail(err, TS_E_FILE, "upsample takes scale or size");
    if (st != TS_OK)
        return st;
    ts_resize_coords coords = align       ? TS_RESIZE_ALIGN_CORNERS
                              : mode == 0 ? TS_RESIZE_ASYMMETRIC
                              : mode == 1 ? TS_RESIZE_HALF_PIXEL_CLAMPED
                                          : TS_RESIZE_HALF_PIXEL;
    return made(ts_net_upsample(a->b->net, *a->x, factor[0], factor[1], size[0], size[1],
                                (ts_resize_mode)mode, coords),
                a, err);
}

static ts_status pixel_shuffle(const args *a, ts_error *err)
{
    static const char *const keys[] = {"op", "factor", NULL};
    int64_t factor = 0;
    ts_status st = ts_json_only(a->layer, "", keys, err);
    if (st == TS_OK)
        st = get_size(a->layer, "factor", true, &factor, err);
    return st == TS_OK ? made(ts_net_pixel_shuffle(a->b->net, *a->x, factor), a, err) : st;
}

static ts_status pool(const args *a, bool average, ts_error *err)
{
    static const char *const keys[] = {"op", "kernel", "stride", "padding", NULL};
    int64_t kernel[2] = {0, 0}, stride[2], pad[2] = {0, 0};
    ts_status st = ts_json_only(a->layer, "", keys, err);
    if (st == TS_OK)
        st = get_pair(a->layer, "kernel", 1, kernel, err);
    if (st == TS_OK && !kernel[0])
        st = ts_fail(err, TS_E_FILE, "kernel is missing");
    memcpy(stride, kernel, sizeof stride);
    if (st == TS_OK)
        st = get_pair(a->layer, "stride", 1, stride, err);
    if (st == TS_OK)
        st = get_pair(a->layer, "padding", 0, pad, err);
    if (st != TS_OK)
        return st;
    ts_pool p = {.kernel = {1, kernel[0], kernel[1]},
                 .stride = {1, stride[0], stride[1]},
                 .pad_front = {0, pad[0], pad[1]},
                 .pad_back = {0, pad[0], pad[1]},
                 .average = average,
                 .count_padding = true};
    return made(ts_net_pool(a->b->net, *a->x, &p), a, err);
}

static ts_status avgpool2d(const args *a, ts_error *err)
{
    return pool(a, true, err);
}

static ts_status maxpool2d(const args *a, ts_error *err)
{
    return pool(a, false, err);
}

/* Activations: op, kind, keys of the parameters a and b with their defaults. */
static const struct {
    const char *op;
    ts_act_kind kind;
    const char *key_a;
    double a;
    const char *key_b;
    double b;
} activations[] = {
    {"relu", TS_ACT_RELU, NULL, 0, NULL, 0},
    {"leaky_relu", TS_ACT_LEAKY_RELU, "slope", 0.01, NULL, 0},
    {"elu", TS_ACT_ELU, "alpha", 1, NULL, 0},
    {"silu", TS_ACT_SILU, NULL, 0, NULL, 0},
    {"softplus", TS_ACT_SOFTPLUS, NULL, 0, NULL, 0},
    {"tanh", TS_ACT_TANH, NULL, 0, NULL, 0},
    {"sigmoid", TS_ACT_SIGMOID, NULL, 0, NULL, 0},
    {"scale", TS_ACT_AFFINE, "mul", 1, "add", 0},
    {"clamp", TS_ACT_CLAMP, "min", -3.4e38, "max", 3.4e38},
};

static ts_status activation(const args *a, size_t i, ts_error *err)
{
    const char *keys[] = {"op", activations[i].key_a, activations[i].key_b, NULL};
    double pa = activations[i].a, pb = activations[i].b;
    ts_status st = ts_json_only(a->layer, "", keys, err);
    if (st == TS_OK && activations[i].key_a)
        st = ts_json_get_double(a->layer, "", activations[i].key_a, -3.4e38, 3.4e38, &pa, err);
    if (st == TS_OK && activations[i].key_b)
        st = ts_json_get_double(a->layer, "", activations[i].key_b, -3.4e38, 3.4e38, &pb, err);
    if (st != TS_OK)
        return st;
    ts_act act = {activations[i].kind, (float)pa, (float)pb};
    return made(ts_net_act(a->b->net, *a->x, act), a, err);
}

static ts_status gelu(const args *a, ts_error *err)
{
    static const char *const keys[] = {"op", "approximate", NULL};
    static const char *const words[] = {"none", "tanh", NULL};
    int word = 0;
    ts_status st = ts_json_only(a->layer, "", keys, err);
    if (st == TS_OK)
        st = ts_json_get_enum(a->layer, "", "approximate", words, &word, err);
    if (st != TS_OK)
        return st;
    ts_act act = {.kind = word ? TS_ACT_GELU_TANH : TS_ACT_GELU};
    return made(ts_net_act(a->b->net, *a->x, act), a, err);
}

static ts_status softmax(const args *a, ts_error *err)
{
    static const char *const keys[] = {"op", "axis", NULL};
    int64_t axis = -1;
    ts_status st = ts_json_only(a->layer, "", keys, err);
    if (st == TS_OK)
        st = ts_json_get_int(a->layer, "", "axis", -TS_MAX_RANK, TS_MAX_RANK, &axis, err);
    return st == TS_OK ? made(ts_net_softmax(a->b->net, *a->x, (int)axis), a, err) : st;
}

static ts_status reshape(const args *a, ts_error *err)
{
    static const char *const keys[] = {"op", "shape", NULL};
    ts_shape shape = {0};
    ts_status st = ts_json_only(a->layer, "", keys, err);
    if (st == TS_OK)
        st = get_dims(a->layer, "shape", &shape, err);
    return st == TS_OK ? made(ts_net_reshape(a->b->net, *a->x, &shape), a, err) : st;
}

static ts_status flatten(const args *a, ts_error *err)
{
    static const char *const keys[] = {"op", NULL};
    ts_status st = ts_json_only(a->layer, "", keys, err);
    return st == TS_OK ? made(ts_net_flatten(a->b->net, *a->x), a, err) : st;
}

static ts_status permute(const args *a, ts_error *err)
{
    static const char *const keys[] = {"op", "axes", NULL};
    const json_t *axes = json_object_get(a->layer, "axes");
    int perm[TS_MAX_RANK];
    size_t n = json_array_size(axes);
    ts_status st = ts_json_only(a->layer, "", keys, err);
    if (st == TS_OK && (n < 1 || n >= TS_MAX_RANK))
        st = ts_fail(err, TS_E_FILE, "axes must be a list of axes, without the batch");
    for (size_t i = 0; i < n && st == TS_OK; i++) {
        const json_t *e = json_array_get(axes, i);
        if (!json_is_integer(e) || json_integer_value(e) < 0 ||
            json_integer_value(e) >= TS_MAX_RANK)
            st = ts_fail(err, TS_E_FILE, "axes must be whole numbers from 0");
        else
            perm[i] = (int)json_integer_value(e);
    }
    return st == TS_OK ? made(ts_net_permute(a->b->net, *a->x, (int)n, perm), a, err) : st;
}

static ts_status pad_or_crop(const args *a, bool crop, ts_error *err)
{
    static const char *const keys[] = {"op", "padding", "mode", "value", NULL};
    static const char *const modes[] = {"constant", "reflect", "replicate", "circular", NULL};
    const json_t *list = json_object_get(a->layer, "padding");
    int64_t sides[4] = {0};
    int mode = 0;
    double value = 0;
    ts_status st = ts_json_only(a->layer, "", keys, err);
    if (st == TS_OK && json_array_size(list) != 4)
        st = ts_fail(err, TS_E_FILE, "padding must be [left, right, top, bottom]");
    for (size_t i = 0; i < 4 && st == TS_OK; i++) {
        const json_t *e = json_array_get(list, i);
        if (!json_is_integer(e) || json_integer_value(e) < 0 || json_integer_value(e) > 65536)
            st = ts_fail(err, TS_E_FILE, "padding must be whole numbers from 0");
        else
            sides[i] = crop ? -json_integer_value(e) : json_integer_value(e);
    }
    if (st == TS_OK)
        st = ts_json_get_enum(a->layer, "", "mode", modes, &mode, err);
    if (st == TS_OK)
        st = ts_json_get_double(a->layer, "", "value", -3.4e38, 3.4e38, &value, err);
    if (st != TS_OK)
        return st;
    return made(ts_net_pad(a->b->net, *a->x, sides, (ts_pad_mode)mode, (float)value), a, err);
}

static ts_status pad(const args *a, ts_error *err)
{
    return pad_or_crop(a, false, err);
}

static ts_status crop(const args *a, ts_error *err)
{
    return pad_or_crop(a, true, err);
}

static ts_status residual(const args *a, ts_error *err)
{
    static const char *const keys[] = {"op", "layers", "shortcut", "after", "scale", NULL};
    int block = *a->x, through = *a->x;
    double scale = 1;
    char prefix[TS_NAME_MAX + 1];
    const json_t *shortcut = json_object_get(a->layer, "shortcut");
    const json_t *after = json_object_get(a->layer, "after");
    ts_status st = ts_json_only(a->layer, "", keys, err);
    if (st == TS_OK)
        st = ts_json_get_double(a->layer, "", "scale", -3.4e38, 3.4e38, &scale, err);
    snprintf(prefix, sizeof prefix, "%s.layers", a->name);
    if (st == TS_OK)
        st = build_list(a->b, json_object_get(a->layer, "layers"), prefix, &block, err);
    snprintf(prefix, sizeof prefix, "%s.shortcut", a->name);
    if (st == TS_OK && shortcut)
        st = build_list(a->b, shortcut, prefix, &through, err);
    if (st == TS_OK && scale != 1)
        block = ts_net_act(a->b->net, block, (ts_act){TS_ACT_AFFINE, (float)scale, 0});
    if (st == TS_OK)
        st = made(ts_net_add(a->b->net, block, through), a, err);
    snprintf(prefix, sizeof prefix, "%s.sum", a->name);
    if (st != TS_OK || !after)
        return st;
    ts_net_name(a->b->net, *a->x, prefix);
    snprintf(prefix, sizeof prefix, "%s.after", a->name);
    return build_one(a->b, after, prefix, a->x, err);
}

static ts_status save(const args *a, ts_error *err)
{
    static const char *const keys[] = {"op", "as", NULL};
    const char *as;
    ts_status st = ts_json_only(a->layer, "", keys, err);
    if (st == TS_OK)
        st = get_text(a->layer, "as", true, &as, err);
    if (st != TS_OK)
        return st;
    if (a->b->n_saved == SAVED_MAX)
        return ts_fail(err, TS_E_FILE, "more than %d saved values", SAVED_MAX);
    a->b->saved[a->b->n_saved].name = as;
    a->b->saved[a->b->n_saved++].value = *a->x;
    return TS_OK;
}

static ts_status saved_value(const args *a, int *value, ts_error *err)
{
    const char *from;
    ts_status st = get_text(a->layer, "from", true, &from, err);
    if (st != TS_OK)
        return st;
    for (size_t i = a->b->n_saved; i-- > 0;)
        if (!strcmp(a->b->saved[i].name, from)) {
            *value = a->b->saved[i].value;
            return TS_OK;
        }
    return ts_fail(err, TS_E_FILE, "nothing was saved as \"%s\" before", from);
}

static ts_status add(const args *a, ts_error *err)
{
    static const char *const keys[] = {"op", "from", NULL};
    int other;
    ts_status st = ts_json_only(a->layer, "", keys, err);
    if (st == TS_OK)
        st = saved_value(a, &other, err);
    return st == TS_OK ? made(ts_net_add(a->b->net, *a->x, other), a, err) : st;
}

static ts_status concat(const args *a, ts_error *err)
{
    static const char *const keys[] = {"op", "from", "axis", NULL};
    int64_t axis = 0;
    int other;
    ts_status st = ts_json_only(a->layer, "", keys, err);
    if (st == TS_OK)
        st = saved_value(a, &other, err);
    if (st == TS_OK)
        st = ts_json_get_int(a->layer, "", "axis", -TS_MAX_RANK, TS_MAX_RANK, &axis, err);
    return st == TS_OK ? made(ts_net_concat(a->b->net, *a->x, other, (int)axis), a, err) : st;
}

static ts_status attention(const args *a, ts_error *err)
{
    static const char *const keys[] = {"op", "channels", "heads", "q", "k", "v", "out", NULL};
    static const char *const parts[] = {"q", "k", "v", "out"};
    static const char *const part_keys[] = {"weight", "bias", NULL};
    int64_t c = 0, heads = 1;
    float *w[4] = {0}, *bias[4] = {0};
    ts_status st = ts_json_only(a->layer, "", keys, err);
    if (st == TS_OK)
        st = get_size(a->layer, "channels", true, &c, err);
    if (st == TS_OK)
        st = get_size(a->layer, "heads", false, &heads, err);
    for (int i = 0; i < 4 && st == TS_OK; i++) {
        const json_t *part = json_object_get(a->layer, parts[i]);
        if (!json_is_object(part))
            st = ts_fail(err, TS_E_FILE, "%s must be {\"weight\", \"bias\"}", parts[i]);
        if (st == TS_OK)
            st = ts_json_only(part, parts[i], part_keys, err);
        if (st == TS_OK)
            st = get_tensor(a->b, part, "weight", false, &TS_SHAPE(c, c), &w[i], err);
        if (st == TS_OK)
            st = get_tensor(a->b, part, "bias", true, &TS_SHAPE(c), &bias[i], err);
    }
    if (st != TS_OK) {
        for (int i = 0; i < 4; i++) {
            free(w[i]);
            free(bias[i]);
        }
        return st;
    }
    return made(ts_net_attention(a->b->net, *a->x, c, heads, w, bias), a, err);
}

static const struct {
    const char *op;
    ts_status (*build)(const args *a, ts_error *err);
} builders[] = {
    {"linear", linear},
    {"conv2d", conv2d},
    {"conv_transpose2d", conv_transpose2d},
    {"batchnorm1d", batchnorm},
    {"batchnorm2d", batchnorm},
    {"groupnorm", groupnorm},
    {"layernorm", layernorm},
    {"upsample", upsample},
    {"pixel_shuffle", pixel_shuffle},
    {"avgpool2d", avgpool2d},
    {"maxpool2d", maxpool2d},
    {"gelu", gelu},
    {"softmax", softmax},
    {"reshape", reshape},
    {"flatten", flatten},
    {"permute", permute},
    {"pad", pad},
    {"crop", crop},
    {"residual", residual},
    {"save", save},
    {"add", add},
    {"concat", concat},
    {"attention", attention},
};

static ts_status dispatch(const args *a, const char *op, ts_error *err)
{
    for (size_t i = 0; i < sizeof builders / sizeof *builders; i++)
        if (!strcmp(builders[i].op, op))
            return builders[i].build(a, err);
    for (size_t i = 0; i < sizeof activations / sizeof *activations; i++)
        if (!strcmp(activations[i].op, op))
            return activation(a, i, err);
    return ts_fail(err, TS_E_FILE, "there is no such op");
}

static ts_status build_one(builder *b, const json_t *layer, const char *name, int *x, ts_error *err)
{
    const char *op = json_string_value(json_object_get(layer, "op"));
    if (!op)
        return ts_fail(err, TS_E_FILE, "%s has no op", name);
    ts_error why = {0};
    ts_shape shape;
    int before = *x;
    ts_status st = dispatch(&(args){b, layer, name, x}, op, &why);
    if (st == TS_OK) /* at once, so that the message names the layer */
        st = ts_net_shape(b->net, *x, b->input, &shape, &why);
    if (st == TS_OK) {
        if (*x != before) /* save makes no value */
            ts_net_name(b->net, *x, name);
        return TS_OK;
    }
    st = ts_fail(err, st == TS_E_NO_MEMORY ? st : TS_E_FILE, "%s (%s): %s", name, op, why.text);
    ts_error_clear(&why);
    return st;
}

static ts_status build_list(builder *b, const json_t *layers, const char *prefix, int *x,
                            ts_error *err)
{
    if (!json_is_array(layers))
        return ts_fail(err, TS_E_FILE, "%s must be a list of layers", prefix);
    if (b->depth >= DEPTH_MAX)
        return ts_fail(err, TS_E_FILE, "%s: layers are nested deeper than %d", prefix, DEPTH_MAX);
    b->depth++;
    ts_status st = TS_OK;
    for (size_t i = 0; i < json_array_size(layers) && st == TS_OK; i++) {
        char name[TS_NAME_MAX + 1];
        snprintf(name, sizeof name, "%s.%zu", prefix, i);
        st = build_one(b, json_array_get(layers, i), name, x, err);
    }
    b->depth--;
    return st;
}

ts_status ts_layers_build(ts_net *net, ts_weights *weights, const json_t *layers,
                          const char *prefix, const ts_shape *input, int *x, ts_error *err)
{
    builder b = {.net = net, .weights = weights, .input = input};
    return build_list(&b, layers, prefix, x, err);
}

ts_status ts_layer_build(ts_net *net, ts_weights *weights, const json_t *layer, const char *name,
                         const ts_shape *input, int *x, ts_error *err)
{
    builder b = {.net = net, .weights = weights, .input = input};
    return build_one(&b, layer, name, x, err);
}
