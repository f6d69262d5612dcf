/* config.json and preprocessor_config.json. */
#include <stdio.h>
#include <string.h>

#include "cl/base/fs.h"
#include "cl/models/rfdetr/rfdetr_internal.h"

static int get_int(const json_t *object, const char *key, int standard)
{
    const json_t *v = json_object_get(object, key);
    if (json_is_array(v))
        v = json_array_get(v, 0);
    return json_is_integer(v) ? (int)json_integer_value(v) : standard;
}

static double get_number(const json_t *object, const char *key, double standard)
{
    const json_t *v = json_object_get(object, key);
    return json_is_number(v) ? json_number_value(v) : standard;
}

static bool get_bool(const json_t *object, const char *key, bool standard)
{
    const json_t *v = json_object_get(object, key);
    return json_is_boolean(v) ? json_is_true(v) : standard;
}

static bool is(const json_t *object, const char *key, const char *want)
{
    const char *text = json_string_value(json_object_get(object, key));
    return !text || !strcmp(text, want);
}

static ts_status read_taps(const json_t *backbone, rfdetr_config *c, ts_error *err)
{
    const json_t *indices = json_object_get(backbone, "out_indices");
    const json_t *names = json_object_get(backbone, "out_features");
    const json_t *list = json_is_array(indices) ? indices : names;
    size_t n = json_array_size(list);
    if (n < 1 || n > RFDETR_TAPS)
        return ts_fail(err, TS_E_FILE, "config.json: out_indices: want 1 to %d stages", RFDETR_TAPS);
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(list, i);
        int stage = (int)json_integer_value(v);
        if (json_is_string(v) && sscanf(json_string_value(v), "stage%d", &stage) != 1)
            stage = -1;
        if (stage < 1 || stage > c->blocks || (i > 0 && stage <= c->taps[i - 1]))
            return ts_fail(err, TS_E_FILE, "config.json: out_indices: want rising stages of 1 to %d",
                           c->blocks);
        c->taps[c->n_taps++] = stage;
    }
    c->last = c->taps[n - 1];
    for (int b = 0; b < c->blocks; b++)
        for (int i = 0; i < c->n_taps; i++)
            c->global[b] = c->global[b] || b == c->taps[i];
    return TS_OK;
}

static ts_status read_size(const char *directory, const json_t *backbone, rfdetr_config *c,
                           ts_error *err)
{
    char path[4096];
    ts_buf text = {0};
    ts_error why = {0};
    json_t *prep = NULL;
    snprintf(path, sizeof path, "%s/preprocessor_config.json", directory);
    ts_status st = ts_fs_read(path, 1 << 20, &text, &why);
    if (st == TS_OK) {
        st = ts_json_parse(text.data, text.len, &prep, &why);
        if (st != TS_OK)
            st = ts_fail(err, TS_E_FILE, "preprocessor_config.json: %s", why.text);
    } else {
        st = TS_OK;
    }
    ts_error_clear(&why);
    ts_buf_finish(&text);
    const json_t *size = json_object_get(prep, "size");
    int unit = c->patch * c->windows, side = get_int(backbone, "image_size", 224);
    side = (side + unit - 1) / unit * unit;
    c->height = get_int(size, "height", side);
    c->width = get_int(size, "width", side);
    c->antialias = get_bool(prep, "resize_antialias", false);
    json_decref(prep);
    if (st != TS_OK)
        return st;
    if (c->height < unit || c->width < unit || c->height > 8192 || c->width > 8192 ||
        c->height % unit || c->width % unit)
        return ts_fail(err, TS_E_FILE, "an input of %dx%d is not divisible by patch x windows = %d",
                       c->width, c->height, unit);
    if (c->width != c->height && c->windows > 1)
        return ts_fail(err, TS_E_FILE, "an input of %dx%d: with windows it must be square", c->width,
                       c->height);
    return TS_OK;
}

ts_status rfdetr_config_read(const char *directory, const json_t *config, rfdetr_config *c,
                             ts_error *err)
{
    const json_t *b = json_object_get(config, "backbone_config");
    *c = (rfdetr_config){0};
    if (!json_is_object(b))
        return ts_fail(err, TS_E_FILE, "config.json: backbone_config is missing");
    c->hidden = get_int(b, "hidden_size", 384);
    c->blocks = get_int(b, "num_hidden_layers", 12);
    c->heads = get_int(b, "num_attention_heads", 6);
    c->patch = get_int(b, "patch_size", 14);
    c->windows = get_int(b, "num_windows", 4);
    c->swiglu = get_bool(b, "use_swiglu_ffn", false);
    c->backbone_eps = (float)get_number(b, "layer_norm_eps", 1e-6);
    c->conv_eps = (float)get_number(config, "layer_norm_eps", 1e-5);
    c->mlp = (int)(c->hidden * get_number(b, "mlp_ratio", 4.0));
    if (c->swiglu)
        c->mlp = ((int)(c->mlp * 2 / 3) + 7) / 8 * 8;
    c->d = get_int(config, "d_model", 256);
    c->layers = get_int(config, "decoder_layers", 3);
    c->ffn = get_int(config, "decoder_ffn_dim", 2048);
    c->queries = get_int(config, "num_queries", 300);
    c->groups = get_int(config, "group_detr", 13);
    c->self_heads = get_int(config, "decoder_self_attention_heads", 8);
    c->cross_heads = get_int(config, "decoder_cross_attention_heads", 16);
    c->points = get_int(config, "decoder_n_points", 4);
    c->bottlenecks = get_int(config, "c2f_num_blocks", 3);
    c->half = (int)(c->d * get_number(config, "hidden_expansion", 0.5));
    const json_t *labels = json_object_get(config, "id2label");
    c->classes = json_is_object(labels) ? (int)json_object_size(labels) : 2;
    int levels = get_int(config, "num_feature_levels", 1);
    if (levels != 1)
        return ts_fail(err, TS_E_FILE, "config.json: num_feature_levels is %d; only 1 is supported",
                       levels);
    if (!get_bool(b, "apply_layernorm", true) || !get_bool(b, "reshape_hidden_states", true))
        return ts_fail(err, TS_E_FILE,
                       "config.json: apply_layernorm and reshape_hidden_states must be true");
    if (!is(b, "hidden_act", "gelu") || !is(config, "activation_function", "silu") ||
        !is(config, "decoder_activation_function", "relu"))
        return ts_fail(err, TS_E_FILE, "config.json: activations other than gelu, silu and relu");
    const struct {
        const char *name;
        int value, most;
    } limits[] = {{"hidden_size", c->hidden, 4096},
                  {"num_hidden_layers", c->blocks, RFDETR_BLOCKS},
                  {"num_attention_heads", c->heads, 256},
                  {"patch_size", c->patch, 256},
                  {"num_windows", c->windows, 64},
                  {"mlp_ratio", c->mlp, 65536},
                  {"d_model", c->d, 4096},
                  {"decoder_layers", c->layers, RFDETR_LAYERS},
                  {"decoder_ffn_dim", c->ffn, 65536},
                  {"num_queries", c->queries, 4096},
                  {"group_detr", c->groups, 1024},
                  {"decoder_self_attention_heads", c->self_heads, 256},
                  {"decoder_cross_attention_heads", c->cross_heads, 256},
                  {"decoder_n_points", c->points, 64},
                  {"c2f_num_blocks", c->bottlenecks, RFDETR_BOTTLENECKS},
                  {"hidden_expansion", c->half, 8192},
                  {"id2label", c->classes, 65536}};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        if (limits[i].value < 1 || limits[i].value > limits[i].most)
            return ts_fail(err, TS_E_FILE, "config.json: %s: %d is outside of 1 to %d",
                           limits[i].name, limits[i].value, limits[i].most);
    if (c->hidden % c->heads || c->d % c->self_heads || c->d % c->cross_heads || c->d % 2)
        return ts_fail(err, TS_E_FILE, "config.json: heads do not divide the width");
    c->grid = get_int(b, "image_size", 224) / c->patch;
    if (c->grid < 1 || c->grid > 4096)
        return ts_fail(err, TS_E_FILE, "config.json: image_size");
    ts_status st = read_taps(b, c, err);
    return st == TS_OK ? read_size(directory, b, c, err) : st;
}
