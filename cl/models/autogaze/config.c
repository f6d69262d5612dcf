#include "cl/models/autogaze/config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double pi = 3.14159265358979323846;

/* ---- config.json ---- */

typedef struct int_key {
    const char *key;
    int64_t min, max;
    int *out;
} int_key;

static ts_status read_ints(const json_t *object, const char *path, const int_key *keys, size_t n,
                           ts_error *err)
{
    for (size_t i = 0; i < n; i++) {
        int64_t v = *keys[i].out;
        ts_status st =
            ts_json_get_int(object, path, keys[i].key, keys[i].min, keys[i].max, &v, err);
        if (st != TS_OK)
            return st;
        *keys[i].out = (int)v;
    }
    return TS_OK;
}

static int by_value(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/* "32+64+112", or one number. */
static ts_status read_scales(const json_t *doc, ts_autogaze_config *c, ts_error *err)
{
    const json_t *value = json_object_get(doc, "scales");
    c->n_scales = 1;
    c->scale_px[0] = 224;
    if (!value)
        return TS_OK;
    if (json_is_integer(value)) {
        json_int_t v = json_integer_value(value);
        if (v < 1 || v > 16384)
            return ts_fail(err, TS_E_FILE, "scales: %lld is no size", (long long)v);
        c->scale_px[0] = (int)v;
        return TS_OK;
    }
    const char *p = json_string_value(value);
    for (c->n_scales = 0; p && *p;) {
        char *end;
        long v = strtol(p, &end, 10);
        if (end == p || (*end && *end != '+') || v < 1 || v > 16384 ||
            c->n_scales == TS_AUTOGAZE_MAX_SCALES)
            return ts_fail(err, TS_E_FILE, "scales: \"%s\" is not a list like 32+64",
                           json_string_value(value));
        c->scale_px[c->n_scales++] = (int)v;
        p = *end ? end + 1 : end;
    }
    if (!c->n_scales)
        return ts_fail(err, TS_E_FILE, "scales must be sizes like \"32+64\"");
    qsort(c->scale_px, (size_t)c->n_scales, sizeof *c->scale_px, by_value);
    return TS_OK;
}

/* Grids of side scale/patch where their cells add up to the vocabulary, else by share of area. */
static ts_status lay_out_scales(ts_autogaze_config *c, ts_error *err)
{
    int count[TS_AUTOGAZE_MAX_SCALES], sum = 0;
    double area = 0;
    for (int i = 0; i < c->n_scales; i++) {
        int g = c->scale_px[i] / c->patch_px;
        count[i] = g * g;
        sum += count[i];
        area += (double)c->scale_px[i] * c->scale_px[i];
    }
    if (sum != c->n_ids)
        for (int i = sum = 0; i < c->n_scales; i++) {
            count[i] = (int)((double)c->scale_px[i] * c->scale_px[i] / area * c->n_ids);
            sum += count[i];
        }
    if (sum != c->n_ids)
        return ts_fail(err, TS_E_FILE, "scales give %d cells, num_vision_tokens_each_frame is %d",
                       sum, c->n_ids);
    for (int i = 0; i < c->n_scales; i++) {
        int g = (int)lround(sqrt((double)count[i]));
        if (g < 1 || g * g != count[i])
            return ts_fail(err, TS_E_FILE, "scales: %d cells of scale %d are no square grid",
                           count[i], c->scale_px[i]);
        c->grid[i] = g;
        c->first[i + 1] = c->first[i] + count[i];
    }
    return TS_OK;
}

static ts_status read_ratio(const json_t *doc, ts_autogaze_config *c, ts_error *err)
{
    const json_t *ratio = json_object_get(doc, "gazing_ratio_config");
    const json_t *loss = json_object_get(doc, "task_loss_requirement_config");
    const char *strategy =
        json_string_value(json_object_get(ratio, "sample_strategy_during_inference"));
    const char *loss_strategy =
        json_string_value(json_object_get(loss, "sample_strategy_during_inference"));
    c->ratio = 0.5;
    c->requirement = 0.7;
    c->has_ratio = !strategy || !strcmp(strategy, "fixed");
    ts_status st = ts_json_get_double(json_object_get(ratio, "fixed"), "gazing_ratio_config.fixed",
                                      "gazing_ratio", 0, 1, &c->ratio, err);
    if (st == TS_OK)
        st = ts_json_get_bool(doc, "", "has_task_loss_requirement_during_inference",
                              &c->has_requirement, err);
    if (st == TS_OK)
        st =
            ts_json_get_double(json_object_get(loss, "fixed"), "task_loss_requirement_config.fixed",
                               "task_loss_requirement", -1e30, 1e30, &c->requirement, err);
    if (loss_strategy && strcmp(loss_strategy, "fixed"))
        c->has_requirement = false;
    return st;
}

static ts_status read_rope(const json_t *decoder, ts_autogaze_config *c, ts_error *err)
{
    const json_t *r = json_object_get(decoder, "rope_scaling");
    const char *path = "gaze_decoder_config.rope_scaling", *type = "default";
    c->rope_factor = 1;
    c->rope_low = 1;
    c->rope_high = 4;
    c->rope_original = 8192;
    if (!r || json_is_null(r))
        return TS_OK;
    ts_status st = ts_json_get_string(r, path, "type", &type, err);
    if (st == TS_OK)
        st = ts_json_get_string(r, path, "rope_type", &type, err);
    if (st != TS_OK || !strcmp(type, "default"))
        return st;
    if (strcmp(type, "llama3"))
        return ts_fail(err, TS_E_FILE, "%s: \"%s\" is not supported, want llama3", path, type);
    c->llama3 = true;
    st = ts_json_get_double(r, path, "factor", 1e-6, 1e6, &c->rope_factor, err);
    if (st == TS_OK)
        st = ts_json_get_double(r, path, "low_freq_factor", 1e-6, 1e6, &c->rope_low, err);
    if (st == TS_OK)
        st = ts_json_get_double(r, path, "high_freq_factor", 1e-6, 1e6, &c->rope_high, err);
    if (st == TS_OK)
        st = ts_json_get_double(r, path, "original_max_position_embeddings", 1, 1e9,
                                &c->rope_original, err);
    return st;
}

static ts_status read_decoder(const json_t *d, ts_autogaze_config *c, ts_error *err)
{
    const char *path = "gaze_decoder_config", *act = "silu";
    const int_key keys[] = {
        {"hidden_size", 1, 65536, &c->width},
        {"intermediate_size", 1, 1 << 20, &c->intermediate},
        {"num_hidden_layers", 1, 256, &c->layers},
        {"num_attention_heads", 1, 1024, &c->heads},
        {"max_position_embeddings", 1, 1 << 30, &c->max_positions},
        {"num_multi_token_pred", 1, 1024, &c->multi_token},
    };
    c->width = 4096;
    c->intermediate = 11008;
    c->layers = 32;
    c->heads = 32;
    c->max_positions = 2048;
    c->multi_token = 1;
    c->rms_eps = 1e-6;
    c->rope_theta = 10000;
    ts_status st = read_ints(d, path, keys, sizeof keys / sizeof *keys, err);
    if (st != TS_OK)
        return st;
    c->kv_heads = c->heads;
    c->head_width = c->width / c->heads;
    const int_key derived[] = {{"num_key_value_heads", 1, 1024, &c->kv_heads},
                               {"head_dim", 1, 4096, &c->head_width}};
    st = read_ints(d, path, derived, 2, err);
    if (st == TS_OK)
        st = ts_json_get_double(d, path, "rms_norm_eps", 0, 1, &c->rms_eps, err);
    if (st == TS_OK)
        st = ts_json_get_double(d, path, "rope_theta", 1e-6, 1e12, &c->rope_theta, err);
    if (st == TS_OK)
        st = ts_json_get_bool(d, path, "attention_bias", &c->attention_bias, err);
    if (st == TS_OK)
        st = ts_json_get_bool(d, path, "mlp_bias", &c->mlp_bias, err);
    if (st == TS_OK)
        st = ts_json_get_string(d, path, "hidden_act", &act, err);
    if (st == TS_OK && strcmp(act, "silu"))
        st =
            ts_fail(err, TS_E_FILE, "%s.hidden_act: \"%s\" is not supported, want silu", path, act);
    if (st == TS_OK && (c->heads % c->kv_heads || c->head_width % 2))
        st = ts_fail(err, TS_E_FILE, "%s: %d heads of %d over %d key heads", path, c->heads,
                     c->head_width, c->kv_heads);
    return st == TS_OK ? read_rope(d, c, err) : st;
}

static ts_status read_vision(const json_t *model, ts_autogaze_config *c, ts_error *err)
{
    const json_t *v = json_object_get(model, "vision_model_config");
    const char *path = "vision_model_config";
    int out_width = 192, temporal = 1, connector = 192;
    const int_key keys[] = {
        {"hidden_dim", 1, 65536, &c->conv_width},
        {"out_dim", 1, 65536, &out_width},
        {"depth", 1, 64, &c->depth},
        {"kernel_size", 1, 4096, &c->patch_px},
        {"temporal_patch_size", 1, 1024, &temporal},
        {"trunk_temporal_kernel_size", 1, 64, &c->kt},
        {"trunk_spatial_kernel_size", 1, 63, &c->ks},
    };
    const int_key top[] = {{"input_img_size", 1, 16384, &c->input_px}};
    const int_key side[] = {{"hidden_dim", 1, 65536, &connector}};
    c->conv_width = 192;
    c->depth = 1;
    c->patch_px = 16;
    c->kt = c->ks = 3;
    c->input_px = 224;
    ts_status st = read_ints(model, "gaze_model_config", top, 1, err);
    if (st == TS_OK)
        st = read_ints(v, path, keys, sizeof keys / sizeof *keys, err);
    if (st == TS_OK)
        st =
            read_ints(json_object_get(model, "connector_config"), "connector_config", side, 1, err);
    if (st == TS_OK)
        st = read_decoder(json_object_get(model, "gaze_decoder_config"), c, err);
    if (st != TS_OK)
        return st;
    if (temporal != 1)
        return ts_fail(err, TS_E_FILE, "%s.temporal_patch_size is %d, want 1", path, temporal);
    if (c->ks % 2 == 0)
        return ts_fail(err, TS_E_FILE, "%s.trunk_spatial_kernel_size is %d, want an odd size", path,
                       c->ks);
    if (out_width != c->width || connector != c->width)
        return ts_fail(err, TS_E_FILE,
                       "out_dim %d, connector hidden_dim %d and hidden_size %d "
                       "must be equal",
                       out_width, connector, c->width);
    c->side = c->input_px / c->patch_px;
    c->n_vision = c->side * c->side;
    if (c->n_vision < c->multi_token)
        return ts_fail(err, TS_E_FILE,
                       "input_img_size gives %d vision tokens, fewer than "
                       "num_multi_token_pred %d",
                       c->n_vision, c->multi_token);
    return TS_OK;
}

ts_status ts_autogaze_config_read(const json_t *doc, ts_autogaze_config *out, ts_error *err)
{
    ts_autogaze_config c = {0};
    const char *type = "autogaze";
    const int_key keys[] = {{"num_vision_tokens_each_frame", 1, 1 << 20, &c.n_ids},
                            {"max_num_frames", 1, 1 << 20, &c.max_frames}};
    c.n_ids = 196;
    c.max_frames = 16;
    ts_error why = {0};
    ts_status st = ts_json_get_string(doc, "", "model_type", &type, &why);
    if (st == TS_OK && strcmp(type, "autogaze"))
        st = ts_fail(&why, TS_E_FILE, "model_type is \"%s\", want autogaze", type);
    if (st == TS_OK)
        st = read_ints(doc, "", keys, 2, &why);
    if (st == TS_OK)
        st = read_scales(doc, &c, &why);
    if (st == TS_OK)
        st = read_ratio(doc, &c, &why);
    if (st == TS_OK)
        st = read_vision(json_object_get(doc, "gaze_model_config"), &c, &why);
    if (st == TS_OK)
        st = lay_out_scales(&c, &why);
    if (st != TS_OK) {
        st = ts_fail(err, TS_E_FILE, "config.json: %s", why.text);
        ts_error_clear(&why);
        return st;
    }
    *out = c;
    return TS_OK;
}

void ts_autogaze_inv_freq(const ts_autogaze_config *c, float *out)
{
    for (int i = 0; i < c->head_width / 2; i++) {
        double f = pow(c->rope_theta, -2.0 * i / c->head_width), wave = 2.0 * pi / f;
        if (c->llama3 && wave > c->rope_original / c->rope_low) {
            f /= c->rope_factor;
        } else if (c->llama3 && wave >= c->rope_original / c->rope_high) {
            double t = (c->rope_original / wave - c->rope_low) / (c->rope_high - c->rope_low);
            f = (1.0 - t) * f / c->rope_factor + t * f;
        }
        out[i] = (float)f;
    }
}

void ts_autogaze_cell(const ts_autogaze_config *c, int id, int *scale, int *row, int *col)
{
    int i = 0;
    while (i + 1 < c->n_scales && id >= c->first[i + 1])
        i++;
    *scale = i;
    *row = (id - c->first[i]) / c->grid[i];
    *col = (id - c->first[i]) % c->grid[i];
}

int ts_autogaze_limit(const ts_autogaze_config *c, double ratio)
{
    int n = (int)((float)ratio * (float)c->n_ids);
    return n < 1 ? 1 : n > c->n_ids ? c->n_ids : n;
}

/* ---- preprocessor_config.json ---- */

static ts_status read_triple(const json_t *doc, const char *key, double out[3], ts_error *err)
{
    const json_t *list = json_object_get(doc, key);
    if (!list)
        return TS_OK;
    for (size_t i = 0; i < 3; i++) {
        const json_t *e = json_is_array(list) ? json_array_get(list, i) : list;
        if (!json_is_number(e))
            return ts_fail(err, TS_E_FILE, "preprocessor_config.json: %s must be three numbers",
                           key);
        out[i] = json_number_value(e);
    }
    return TS_OK;
}

static ts_status read_size(const json_t *doc, ts_autogaze_processor *p, ts_error *err)
{
    const json_t *size = json_object_get(doc, "size");
    int64_t edge = p->shortest_edge, w = 0, h = 0;
    if (!size)
        return TS_OK;
    if (json_is_integer(size))
        edge = json_integer_value(size);
    ts_status st = json_is_integer(size)
                       ? TS_OK
                       : ts_json_get_int(size, "size", "shortest_edge", 1, 16384, &edge, err);
    if (st == TS_OK && json_object_get(size, "height")) {
        edge = 0;
        st = ts_json_get_int(size, "size", "height", 1, 16384, &h, err);
        if (st == TS_OK)
            st = ts_json_get_int(size, "size", "width", 1, 16384, &w, err);
        if (st == TS_OK && (!w || !h))
            st = ts_fail(err, TS_E_FILE, "size needs width and height");
    }
    if (st == TS_OK && !w && (edge < 1 || edge > 16384))
        st = ts_fail(err, TS_E_FILE, "size is %lld", (long long)edge);
    p->shortest_edge = (int)edge;
    p->width = (int)w;
    p->height = (int)h;
    return st;
}

ts_status ts_autogaze_processor_read(const json_t *doc, int input_px, ts_autogaze_processor *out,
                                     ts_error *err)
{
    ts_autogaze_processor p = {.resize = true,
                               .rescale = true,
                               .offset = true,
                               .normalize = true,
                               .shortest_edge = input_px,
                               .rescale_factor = 1 / 127.5,
                               .mean = {0.485, 0.456, 0.406},
                               .std = {0.229, 0.224, 0.225}};
    if (!doc) {
        *out = p;
        return TS_OK;
    }
    int64_t resample = 2;
    bool crop = false;
    p.shortest_edge = 256;
    for (int i = 0; i < 3; i++)
        p.mean[i] = p.std[i] = 0.5;
    ts_error why = {0};
    ts_status st = ts_json_get_bool(doc, "", "do_resize", &p.resize, &why);
    if (st == TS_OK)
        st = ts_json_get_bool(doc, "", "do_rescale", &p.rescale, &why);
    if (st == TS_OK)
        st = ts_json_get_bool(doc, "", "offset", &p.offset, &why);
    if (st == TS_OK)
        st = ts_json_get_bool(doc, "", "do_normalize", &p.normalize, &why);
    if (st == TS_OK)
        st = ts_json_get_bool(doc, "", "do_center_crop", &crop, &why);
    if (st == TS_OK)
        st = ts_json_get_double(doc, "", "rescale_factor", 1e-9, 1e9, &p.rescale_factor, &why);
    if (st == TS_OK)
        st = ts_json_get_int(doc, "", "resample", 0, 10, &resample, &why);
    if (st == TS_OK)
        st = read_size(doc, &p, &why);
    if (st == TS_OK)
        st = read_triple(doc, "image_mean", p.mean, &why);
    if (st == TS_OK)
        st = read_triple(doc, "image_std", p.std, &why);
    for (int i = 0; i < 3 && st == TS_OK; i++)
        if (!(fabs(p.std[i]) > 0))
            st = ts_fail(&why, TS_E_FILE, "image_std holds %g", p.std[i]);
    if (st == TS_OK && resample != 2 && resample != 3)
        st = ts_fail(&why, TS_E_FILE, "resample is %lld, want 2 (bilinear) or 3 (bicubic)",
                     (long long)resample);
    if (st == TS_OK && crop)
        st = ts_fail(&why, TS_E_FILE, "do_center_crop is not supported");
    p.bicubic = resample == 3;
    if (st != TS_OK) {
        st = ts_fail(err, TS_E_FILE, "preprocessor_config.json: %s", why.text);
        ts_error_clear(&why);
        return st;
    }
    *out = p;
    return TS_OK;
}

void ts_autogaze_resized(const ts_autogaze_processor *p, int w, int h, int *out_w, int *out_h)
{
    *out_w = w;
    *out_h = h;
    if (!p->resize)
        return;
    if (!p->shortest_edge) {
        *out_w = p->width;
        *out_h = p->height;
        return;
    }
    int shorter = w < h ? w : h, longer = w < h ? h : w, e = p->shortest_edge;
    if (shorter == e)
        return;
    /* Truncated, not rounded: 511x300 to 224 is 381 wide. */
    int scaled = (int)((double)e * longer / shorter);
    *out_w = w < h ? e : scaled;
    *out_h = w < h ? scaled : e;
    if (w == h)
        *out_w = *out_h = e;
}

void ts_autogaze_table(const ts_autogaze_processor *p, float out[3][256])
{
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < 256; i++) {
            float v = p->rescale ? (float)((double)i * p->rescale_factor) : (float)i;
            if (p->rescale && p->offset)
                v = v - 1.0f;
            if (p->normalize)
                v = (v - (float)p->mean[c]) / (float)p->std[c];
            out[c][i] = v;
        }
}

static double filter(double t, bool bicubic)
{
    t = fabs(t);
    if (!bicubic)
        return t < 1 ? 1 - t : 0;
    const double a = -0.5;
    if (t < 1)
        return ((a + 2) * t - (a + 3)) * t * t + 1;
    return t < 2 ? (((t - 5) * t + 8) * t - 4) * a : 0;
}

ts_status ts_autogaze_taps(int in, int out, bool bicubic, int *stride, int32_t **first,
                           int32_t **weights, ts_error *err)
{
    double scale = (double)in / out, fs = scale > 1 ? scale : 1, support = (bicubic ? 2 : 1) * fs;
    int most = (int)ceil(support) * 2 + 1;
    *first = calloc((size_t)out, 2 * sizeof **first);
    *weights = calloc((size_t)out * (size_t)most, sizeof **weights);
    double *w = calloc((size_t)most, sizeof *w);
    if (!*first || !*weights || !w) {
        free(*first);
        free(*weights);
        free(w);
        *first = *weights = NULL;
        return ts_fail(err, TS_E_NO_MEMORY, "resampling taps");
    }
    *stride = most;
    for (int x = 0; x < out; x++) {
        double c = (x + 0.5) * scale, sum = 0;
        int lo = (int)(c - support + 0.5), hi = (int)(c + support + 0.5);
        lo = lo < 0 || c - support + 0.5 < 0 ? 0 : lo;
        hi = hi > in ? in : hi;
        for (int t = lo; t < hi; t++)
            sum += w[t - lo] = filter((t - c + 0.5) / fs, bicubic);
        for (int t = lo; t < hi; t++) {
            double v = sum != 0 ? w[t - lo] / sum * 4194304.0 : 0;
            (*weights)[x * most + t - lo] = (int32_t)(v < 0 ? v - 0.5 : v + 0.5);
        }
        (*first)[2 * x] = lo;
        (*first)[2 * x + 1] = hi - lo;
    }
    free(w);
    return TS_OK;
}
