#include "tests/support/bigmodels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

enum {
    TENSORS_MAX = 128
};

typedef struct big_tensor {
    char name[96];
    int rank;
    int64_t dim[5];
} big_tensor;

typedef struct big_model {
    big_tensor t[TENSORS_MAX];
    int n;
} big_model;

static int64_t elements(const big_tensor *t)
{
    int64_t n = 1;
    for (int d = 0; d < t->rank; d++)
        n *= t->dim[d];
    return n;
}

static void add(big_model *m, const char *base, const char *part, int rank, int64_t a, int64_t b,
                int64_t c, int64_t d, int64_t e)
{
    big_tensor *t = &m->t[m->n++];
    *t = (big_tensor){.rank = rank, .dim = {a, b, c, d, e}};
    snprintf(t->name, sizeof t->name, "%s.%s", base, part);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const big_tensor *)a)->name, ((const big_tensor *)b)->name);
}

static uint64_t u53(uint64_t *s)
{
    uint64_t z = (*s += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (z ^ (z >> 31)) >> 11;
}

static void normals(uint64_t seed, double scale, float *out, int64_t n)
{
    for (int64_t i = 0; i < n; i += 2) {
        double a = (double)u53(&seed), b = (double)u53(&seed);
        double q = sqrt(-2.0 * log((a + 1) * 0x1p-53));
        double t = 2.0 * 3.14159265358979323846 * (b * 0x1p-53);
        out[i] = (float)(q * cos(t) * scale);
        if (i + 1 < n)
            out[i + 1] = (float)(q * sin(t) * scale);
    }
}

static bool ends(const char *name, const char *tail)
{
    size_t a = strlen(name), b = strlen(tail);
    return a >= b && !strcmp(name + a - b, tail);
}

/* variance ½+u, norm scales 0.8+0.4u, vectors 0.05·normal, matrices normal·√(2/fan-in). */
static void dog_values(const big_tensor *t, uint64_t seed, float *out)
{
    int64_t n = elements(t);
    if (ends(t->name, "running_var") || (t->rank == 1 && ends(t->name, "weight"))) {
        bool var = ends(t->name, "running_var");
        for (int64_t i = 0; i < n; i++) {
            double u = (double)u53(&seed) * 0x1p-53;
            out[i] = (float)(var ? 0.5 + u : 0.8 + 0.4 * u);
        }
        return;
    }
    double scale = 0.05;
    if (t->rank > 1)
        scale = sqrt(2.0 / (double)(n / t->dim[0]));
    if (!strcmp(t->name, "decoder.net.24.weight"))
        scale *= 0.3;
    normals(seed, scale, out, n);
}

static void gaze_values(const big_tensor *t, uint64_t seed, float *out)
{
    int64_t n = elements(t);
    if (strstr(t->name, "norm") && ends(t->name, "weight")) {
        for (int64_t i = 0; i < n; i++)
            out[i] = 1;
        return;
    }
    normals(seed, t->rank > 1 ? sqrt(1.0 / (double)(n / t->dim[0])) : 0.02, out, n);
}

static bool write_all(const char *directory, const char *name, const void *data, size_t len)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *f = fopen(path, "wb");
    bool ok = f && fwrite(data, 1, len, f) == len;
    return f && !fclose(f) && ok;
}

/* Tensors in the order of their names; tensor i takes the stream seed+i. */
static bool write_weights(const char *directory, big_model *m, uint64_t seed,
                          void (*fill)(const big_tensor *, uint64_t, float *))
{
    char path[1024];
    json_t *header = json_object();
    int64_t at = 0;
    qsort(m->t, (size_t)m->n, sizeof *m->t, by_name);
    for (int i = 0; i < m->n; i++) {
        json_t *shape = json_array();
        for (int d = 0; d < m->t[i].rank; d++)
            json_array_append_new(shape, json_integer(m->t[i].dim[d]));
        int64_t bytes = elements(&m->t[i]) * 4;
        json_object_set_new(header, m->t[i].name,
                            json_pack("{s:s, s:o, s:[I,I]}", "dtype", "F32", "shape", shape,
                                      "data_offsets", (json_int_t)at, (json_int_t)(at + bytes)));
        at += bytes;
    }
    char *text = json_dumps(header, JSON_COMPACT);
    json_decref(header);
    snprintf(path, sizeof path, "%s/model.safetensors", directory);
    FILE *f = text ? fopen(path, "wb") : NULL;
    uint64_t len = text ? strlen(text) : 0;
    bool ok = f && fwrite(&len, 8, 1, f) == 1 && fwrite(text, 1, len, f) == len;
    free(text);
    for (int i = 0; i < m->n && ok; i++) {
        size_t n = (size_t)elements(&m->t[i]);
        float *v = malloc(n * sizeof *v);
        if (v)
            fill(&m->t[i], seed + (uint64_t)i, v);
        ok = v && fwrite(v, sizeof *v, n, f) == n;
        free(v);
    }
    return f && !fclose(f) && ok;
}

static void conv(big_model *m, json_t *layers, int64_t in, int64_t out, const char *name)
{
    char w[120], b[120];
    add(m, name, "weight", 4, out, in, 3, 3, 0);
    add(m, name, "bias", 1, out, 0, 0, 0, 0);
    snprintf(w, sizeof w, "%s.weight", name);
    snprintf(b, sizeof b, "%s.bias", name);
    json_array_append_new(layers, json_pack("{s:s,s:I,s:I,s:i,s:i,s:s,s:s}", "op", "conv2d", "in",
                                            (json_int_t)in, "out", (json_int_t)out, "kernel", 3,
                                            "padding", 1, "weight", w, "bias", b));
}

static void norm(big_model *m, json_t *layers, int64_t c, const char *name)
{
    static const char *const parts[] = {"weight", "bias", "running_mean", "running_var"};
    char n[4][120];
    for (int i = 0; i < 4; i++) {
        add(m, name, parts[i], 1, c, 0, 0, 0, 0);
        snprintf(n[i], sizeof n[i], "%s.%s", name, parts[i]);
    }
    json_array_append_new(layers, json_pack("{s:s,s:I,s:f,s:s,s:s,s:s,s:s}", "op", "batchnorm2d",
                                            "channels", (json_int_t)c, "eps", 1e-5, "weight", n[0],
                                            "bias", n[1], "mean", n[2], "var", n[3]));
}

static json_t *leaky(void)
{
    return json_pack("{s:s,s:f}", "op", "leaky_relu", "slope", 0.2);
}

static void residual(big_model *m, json_t *layers, int64_t c, const char *name)
{
    char part[96];
    json_t *inner = json_array();
    snprintf(part, sizeof part, "%s.block.0", name);
    conv(m, inner, c, c, part);
    snprintf(part, sizeof part, "%s.block.1", name);
    norm(m, inner, c, part);
    json_array_append_new(inner, leaky());
    snprintf(part, sizeof part, "%s.block.3", name);
    conv(m, inner, c, c, part);
    snprintf(part, sizeof part, "%s.block.4", name);
    norm(m, inner, c, part);
    json_array_append_new(
        layers, json_pack("{s:s,s:o,s:o}", "op", "residual", "layers", inner, "after", leaky()));
}

static json_t *plain(const char *op)
{
    return json_pack("{s:s}", "op", op);
}

bool ts_write_dog(const char *directory, int latent, uint64_t seed)
{
    static const int64_t w[] = {512, 512, 256, 128, 64, 32};
    big_model *m = calloc(1, sizeof *m);
    json_t *l = json_array();
    char name[64];
    if (!m || !l)
        return false;
    add(m, "decoder_fc.0", "weight", 2, w[0] * 16, latent, 0, 0, 0);
    add(m, "decoder_fc.0", "bias", 1, w[0] * 16, 0, 0, 0, 0);
    json_array_append_new(l, json_pack("{s:s,s:i,s:I,s:s,s:s}", "op", "linear", "in", latent, "out",
                                       (json_int_t)(w[0] * 16), "weight", "decoder_fc.0.weight",
                                       "bias", "decoder_fc.0.bias"));
    json_array_append_new(l, plain("relu"));
    json_array_append_new(
        l, json_pack("{s:s,s:[I,i,i]}", "op", "reshape", "shape", (json_int_t)w[0], 4, 4));
    for (int s = 0, n = 0; s < 5; s++, n += 5) {
        json_array_append_new(l, json_pack("{s:s,s:i,s:s,s:b}", "op", "upsample", "scale", 2,
                                           "mode", "bilinear", "align_corners", 0));
        snprintf(name, sizeof name, "decoder.net.%d", n + 1);
        conv(m, l, w[s], w[s + 1], name);
        snprintf(name, sizeof name, "decoder.net.%d", n + 2);
        norm(m, l, w[s + 1], name);
        json_array_append_new(l, plain("relu"));
        snprintf(name, sizeof name, "decoder.net.%d", n + 4);
        if (s < 4)
            residual(m, l, w[s + 1], name);
        else
            conv(m, l, w[5], 3, name);
    }
    json_array_append_new(l, plain("sigmoid"));
    json_t *config =
        json_pack("{s:s,s:s,s:i,s:{s:[i,i,i],s:s},s:o,s:s}", "format", "tensorscope-vae/1", "name",
                  "dog-decoder", "latent_dim", latent, "output", "shape", 3, 128, 128, "color",
                  "rgb", "layers", l, "weights", "model.safetensors");
    char *text = json_dumps(config, JSON_INDENT(1));
    bool ok = text && write_all(directory, "config.json", text, strlen(text)) &&
              write_weights(directory, m, seed, dog_values);
    free(text);
    json_decref(config);
    free(m);
    return ok;
}

bool ts_write_autogaze(const char *directory, uint64_t seed)
{
    static const char config[] =
        "{\"model_type\":\"autogaze\",\"scales\":\"32+64+112+224\","
        "\"num_vision_tokens_each_frame\":265,\"max_num_frames\":16,"
        "\"gazing_ratio_config\":{\"sample_strategy_during_inference\":\"fixed\","
        "\"fixed\":{\"gazing_ratio\":0.75}},\"has_task_loss_requirement_during_inference\":false,"
        "\"gaze_model_config\":{\"input_img_size\":224,\"gaze_decoder_config\":{"
        "\"hidden_size\":192,\"intermediate_size\":384,\"num_hidden_layers\":4,"
        "\"num_attention_heads\":6,\"rms_norm_eps\":1e-5,\"rope_theta\":500000,"
        "\"max_position_embeddings\":131072,\"num_multi_token_pred\":10}}}";
    static const char vision[] = "gazing_model.vision_model";
    static const char decoder[] = "gazing_model.gaze_decoder";
    char name[96];
    big_model *m = calloc(1, sizeof *m);
    if (!m)
        return false;
    add(m, vision, "temporal_conv.weight", 5, 192, 3, 1, 16, 16);
    add(m, vision, "temporal_conv.bias", 1, 192, 0, 0, 0, 0);
    add(m, vision, "norm.weight", 1, 192, 0, 0, 0, 0);
    add(m, vision, "norm.bias", 1, 192, 0, 0, 0, 0);
    add(m, vision, "blocks.0.conv3d.weight", 5, 192, 192, 3, 3, 3);
    add(m, vision, "blocks.0.conv3d.bias", 1, 192, 0, 0, 0, 0);
    add(m, vision, "out_proj.weight", 5, 192, 192, 1, 1, 1);
    add(m, vision, "out_proj.bias", 1, 192, 0, 0, 0, 0);
    add(m, "gazing_model.connector", "pos_embed", 2, 196, 192, 0, 0, 0);
    add(m, decoder, "model.embed_tokens.weight", 2, 266, 192, 0, 0, 0);
    add(m, decoder, "model.norm.weight", 1, 192, 0, 0, 0, 0);
    add(m, decoder, "lm_head.weight", 2, 2660, 192, 0, 0, 0);
    add(m, decoder, "task_loss_prediction_head.weight", 2, 10, 192, 0, 0, 0);
    for (int l = 0; l < 4; l++) {
        static const char *const square[] = {"q_proj", "k_proj", "v_proj", "o_proj"};
        snprintf(name, sizeof name, "%s.model.layers.%d", decoder, l);
        for (int i = 0; i < 4; i++) {
            char part[64];
            snprintf(part, sizeof part, "self_attn.%s.weight", square[i]);
            add(m, name, part, 2, 192, 192, 0, 0, 0);
        }
        add(m, name, "mlp.gate_proj.weight", 2, 384, 192, 0, 0, 0);
        add(m, name, "mlp.up_proj.weight", 2, 384, 192, 0, 0, 0);
        add(m, name, "mlp.down_proj.weight", 2, 192, 384, 0, 0, 0);
        add(m, name, "input_layernorm.weight", 1, 192, 0, 0, 0, 0);
        add(m, name, "post_attention_layernorm.weight", 1, 192, 0, 0, 0, 0);
    }
    bool ok = write_all(directory, "config.json", config, sizeof config - 1) &&
              write_weights(directory, m, seed, gaze_values);
    free(m);
    return ok;
}

void ts_remove_model(const char *directory)
{
    static const char *const names[] = {"config.json", "preprocessor_config.json",
                                        "model.safetensors"};
    for (int i = 0; i < 3; i++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        unlink(path);
    }
    rmdir(directory);
}
