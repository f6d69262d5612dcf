#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/fs.h"
#include "cl/models/autogaze/weights_internal.h"
#include "cl/models/weights.h"

typedef struct loader {
    ts_autogaze *a;
    ts_ops *ops;
    ts_weights *weights;
    ts_status st;
    ts_error *err;
} loader;

/* Tensor "gazing_model.<name>" of a shape; NULL after a failure. */
static float *fetch(loader *l, ts_shape shape, const char *name)
{
    char full[256];
    float *out = NULL;
    snprintf(full, sizeof full, "gazing_model.%s", name);
    if (l->st == TS_OK)
        l->st = ts_weights_f32(l->weights, full, &shape, &out, l->err);
    if (l->st == TS_OK)
        l->a->parameters += (uint64_t)ts_shape_elements(&shape);
    return out;
}

static void upload(loader *l, ts_shape shape, const char *name, ts_arr *out)
{
    float *v = fetch(l, shape, name);
    if (l->st == TS_OK)
        l->st = ts_arr_from_host(l->ops, TS_F32, &shape, v, out, l->err);
    l->a->bytes += l->st == TS_OK ? ts_arr_bytes(out) : 0;
    free(v);
}

/* Linear layers side by side: rows of several matrices over the same input, as one weight. */
static ts_weight *joined(loader *l, size_t n, const char *const *names, const int *outputs, int in,
                         bool bias)
{
    ts_weight *weight = NULL;
    int64_t total = 0;
    for (size_t i = 0; i < n; i++)
        total += outputs[i];
    float *w = calloc((size_t)total, (size_t)in * sizeof *w), *b = calloc((size_t)total, sizeof *b);
    if ((!w || !b) && l->st == TS_OK)
        l->st = ts_fail(l->err, TS_E_NO_MEMORY, "weights");
    int64_t at = 0;
    for (size_t i = 0; i < n && l->st == TS_OK; at += outputs[i++]) {
        char name[256];
        snprintf(name, sizeof name, "%s.weight", names[i]);
        float *part = fetch(l, TS_SHAPE(outputs[i], in), name);
        if (l->st == TS_OK)
            memcpy(w + at * in, part, (size_t)outputs[i] * (size_t)in * sizeof *w);
        free(part);
        snprintf(name, sizeof name, "%s.bias", names[i]);
        part = bias ? fetch(l, TS_SHAPE(outputs[i]), name) : NULL;
        if (l->st == TS_OK && part)
            memcpy(b + at, part, (size_t)outputs[i] * sizeof *b);
        free(part);
    }
    if (l->st == TS_OK)
        l->st = ts_weight_create(l->ops, w, total, in, bias ? b : NULL, &weight, l->err);
    l->a->bytes += weight ? ts_weight_bytes(weight) : 0;
    free(w);
    free(b);
    return weight;
}

static ts_conv *patch_conv(loader *l)
{
    const ts_autogaze_config *c = &l->a->c;
    ts_conv *conv = NULL;
    float *w = fetch(l, TS_SHAPE(c->conv_width, 3, 1, c->patch_px, c->patch_px),
                     "vision_model.temporal_conv.weight");
    float *b = fetch(l, TS_SHAPE(c->conv_width), "vision_model.temporal_conv.bias");
    ts_conv_geometry g = {.in = 3,
                          .out = c->conv_width,
                          .kernel = {1, c->patch_px, c->patch_px},
                          .stride = {1, c->patch_px, c->patch_px}};
    if (l->st == TS_OK)
        l->st = ts_conv_create(l->ops, &g, w, b, &conv, l->err);
    l->a->bytes += conv ? ts_conv_bytes(conv) : 0;
    free(w);
    free(b);
    return conv;
}

/* The 3-D kernel as a 2-D one over kt frames laid one behind the other: [o][t][c] from [o][c][t]. */
static ts_conv *block_conv(loader *l, int index)
{
    const ts_autogaze_config *c = &l->a->c;
    int cv = c->conv_width, kt = c->kt, taps = c->ks * c->ks;
    char name[96];
    ts_conv *conv = NULL;
    snprintf(name, sizeof name, "vision_model.blocks.%d.conv3d.weight", index);
    float *w = fetch(l, TS_SHAPE(cv, cv, kt, c->ks, c->ks), name);
    snprintf(name, sizeof name, "vision_model.blocks.%d.conv3d.bias", index);
    float *b = fetch(l, TS_SHAPE(cv), name);
    float *moved = calloc((size_t)cv * (size_t)cv, (size_t)(kt * taps) * sizeof *moved);
    if (!moved && l->st == TS_OK)
        l->st = ts_fail(l->err, TS_E_NO_MEMORY, "weights");
    for (int64_t o = 0; o < cv && l->st == TS_OK; o++)
        for (int64_t i = 0; i < cv; i++)
            for (int64_t t = 0; t < kt; t++)
                memcpy(moved + ((o * kt + t) * cv + i) * taps, w + ((o * cv + i) * kt + t) * taps,
                       (size_t)taps * sizeof *w);
    int64_t pad = c->ks / 2;
    ts_conv_geometry g = {.in = (int64_t)kt * cv,
                          .out = cv,
                          .kernel = {1, c->ks, c->ks},
                          .pad_front = {0, pad, pad},
                          .pad_back = {0, pad, pad}};
    if (l->st == TS_OK)
        l->st = ts_conv_create(l->ops, &g, moved, b, &conv, l->err);
    l->a->bytes += conv ? ts_conv_bytes(conv) : 0;
    free(w);
    free(b);
    free(moved);
    return conv;
}

static void load_vision(loader *l)
{
    ts_autogaze *a = l->a;
    const ts_autogaze_config *c = &a->c;
    a->patch = patch_conv(l);
    upload(l, TS_SHAPE(c->conv_width), "vision_model.norm.weight", &a->norm_w);
    upload(l, TS_SHAPE(c->conv_width), "vision_model.norm.bias", &a->norm_b);
    a->block = calloc((size_t)c->depth, sizeof *a->block);
    if (!a->block && l->st == TS_OK)
        l->st = ts_fail(l->err, TS_E_NO_MEMORY, "weights");
    for (int i = 0; i < c->depth && l->st == TS_OK; i++)
        a->block[i] = block_conv(l, i);
    /* Stored as a 1x1x1 convolution. */
    float *w = fetch(l, TS_SHAPE(c->width, c->conv_width), "vision_model.out_proj.weight");
    float *b = fetch(l, TS_SHAPE(c->width), "vision_model.out_proj.bias");
    if (l->st == TS_OK)
        l->st = ts_weight_create(l->ops, w, c->width, c->conv_width, b, &a->out_proj, l->err);
    a->bytes += a->out_proj ? ts_weight_bytes(a->out_proj) : 0;
    free(w);
    free(b);
    upload(l, TS_SHAPE(c->n_vision, c->width), "connector.pos_embed", &a->pos_embed);
}

static void load_layer(loader *l, int index)
{
    autogaze_layer *layer = &l->a->layer[index];
    const ts_autogaze_config *c = &l->a->c;
    char base[96], names[7][160], norm[160];
    static const char *const parts[] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                        "self_attn.o_proj", "mlp.gate_proj",    "mlp.up_proj",
                                        "mlp.down_proj"};
    snprintf(base, sizeof base, "gaze_decoder.model.layers.%d", index);
    for (int i = 0; i < 7; i++)
        snprintf(names[i], sizeof names[i], "%s.%s", base, parts[i]);
    snprintf(norm, sizeof norm, "%s.input_layernorm.weight", base);
    upload(l, TS_SHAPE(c->width), norm, &layer->input_norm);
    snprintf(norm, sizeof norm, "%s.post_attention_layernorm.weight", base);
    upload(l, TS_SHAPE(c->width), norm, &layer->post_norm);
    int q = c->heads * c->head_width, kv = c->kv_heads * c->head_width;
    layer->qkv = joined(l, 3, (const char *[]){names[0], names[1], names[2]},
                        (const int[]){q, kv, kv}, c->width, c->attention_bias);
    layer->o = joined(l, 1, (const char *[]){names[3]}, &c->width, q, c->attention_bias);
    layer->gate_up = joined(l, 2, (const char *[]){names[4], names[5]},
                            (const int[]){c->intermediate, c->intermediate}, c->width, c->mlp_bias);
    layer->down = joined(l, 1, (const char *[]){names[6]}, &c->width, c->intermediate, c->mlp_bias);
}

static void load_decoder(loader *l)
{
    ts_autogaze *a = l->a;
    const ts_autogaze_config *c = &a->c;
    upload(l, TS_SHAPE(c->n_ids + 1, c->width), "gaze_decoder.model.embed_tokens.weight",
           &a->embed);
    a->layer = calloc((size_t)c->layers, sizeof *a->layer);
    if (!a->layer && l->st == TS_OK)
        l->st = ts_fail(l->err, TS_E_NO_MEMORY, "weights");
    for (int i = 0; i < c->layers && l->st == TS_OK; i++)
        load_layer(l, i);
    upload(l, TS_SHAPE(c->width), "gaze_decoder.model.norm.weight", &a->final_norm);
    static const char *const names[] = {"gaze_decoder.lm_head",
                                        "gaze_decoder.task_loss_prediction_head"};
    a->heads = joined(l, 2, names, (const int[]){c->multi_token * (c->n_ids + 1), c->multi_token},
                      c->width, false);
}

static void load_tables(loader *l)
{
    ts_autogaze *a = l->a;
    float table[3][256], *freq = calloc((size_t)a->c.head_width, sizeof *freq);
    ts_autogaze_table(&a->p, table);
    if (!freq && l->st == TS_OK)
        l->st = ts_fail(l->err, TS_E_NO_MEMORY, "tables");
    if (freq)
        ts_autogaze_inv_freq(&a->c, freq);
    if (l->st == TS_OK)
        l->st = ts_arr_from_host(l->ops, TS_F32, &TS_SHAPE(a->c.head_width / 2), freq, &a->inv_freq,
                                 l->err);
    if (l->st == TS_OK)
        l->st = ts_arr_from_host(l->ops, TS_F32, &TS_SHAPE(3, 256), table, &a->table, l->err);
    free(freq);
}

static ts_status read_processor(const char *directory, ts_autogaze *a, ts_error *err)
{
    char path[4096];
    ts_buf text = {0};
    json_t *doc = NULL;
    ts_error why = {0};
    snprintf(path, sizeof path, "%s/preprocessor_config.json", directory);
    ts_status st = ts_fs_read(path, 1 << 20, &text, &why);
    if (st == TS_OK)
        st = ts_json_parse(text.data, text.len, &doc, &why);
    ts_buf_finish(&text);
    if (st != TS_OK && st != TS_E_NOT_FOUND) {
        st = ts_fail(err, TS_E_FILE, "preprocessor_config.json: %s", why.text);
        ts_error_clear(&why);
        return st;
    }
    ts_error_clear(&why);
    st = ts_autogaze_processor_read(doc, a->c.input_px, &a->p, err);
    json_decref(doc);
    return st;
}

ts_status ts_autogaze_load(ts_ops *ops, const char *directory, const json_t *config,
                           ts_autogaze **out, ts_error *err)
{
    ts_autogaze *a = calloc(1, sizeof *a);
    if (!a)
        return ts_fail(err, TS_E_NO_MEMORY, "model");
    atomic_store(&a->refs, 1);
    a->device = ts_ops_device(ops);
    loader l = {.a = a, .ops = ops, .err = err};
    l.st = ts_autogaze_config_read(config, &a->c, err);
    if (l.st == TS_OK)
        l.st = read_processor(directory, a, err);
    if (l.st == TS_OK)
        l.st = ts_weights_open(directory, (const char *const[]){"model.safetensors"}, 1, &l.weights,
                               err);
    if (l.st == TS_OK)
        load_vision(&l);
    if (l.st == TS_OK)
        load_decoder(&l);
    if (l.st == TS_OK)
        load_tables(&l);
    if (l.st == TS_OK)
        l.st = ts_queue_finish(ts_ops_queue(ops), err);
    ts_weights_close(l.weights);
    if (l.st != TS_OK) {
        ts_autogaze_unref(a);
        return l.st;
    }
    *out = a;
    return TS_OK;
}

ts_autogaze *ts_autogaze_ref(ts_autogaze *a)
{
    if (a)
        atomic_fetch_add(&a->refs, 1);
    return a;
}

void ts_autogaze_unref(ts_autogaze *a)
{
    if (!a || atomic_fetch_sub(&a->refs, 1) != 1)
        return;
    ts_conv_destroy(a->patch);
    for (int i = 0; a->block && i < a->c.depth; i++)
        ts_conv_destroy(a->block[i]);
    for (int i = 0; a->layer && i < a->c.layers; i++) {
        ts_arr_free(&a->layer[i].input_norm);
        ts_arr_free(&a->layer[i].post_norm);
        ts_weight_destroy(a->layer[i].qkv);
        ts_weight_destroy(a->layer[i].o);
        ts_weight_destroy(a->layer[i].gate_up);
        ts_weight_destroy(a->layer[i].down);
    }
    ts_arr *arrays[] = {&a->norm_w,     &a->norm_b,   &a->pos_embed, &a->embed,
                        &a->final_norm, &a->inv_freq, &a->table};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        ts_arr_free(arrays[i]);
    ts_weight_destroy(a->out_proj);
    ts_weight_destroy(a->heads);
    free(a->block);
    free(a->layer);
    free(a);
}

const ts_autogaze_config *ts_autogaze_get_config(const ts_autogaze *a)
{
    return &a->c;
}

ts_autogaze_limits ts_autogaze_limits_default(const ts_autogaze *a)
{
    const ts_autogaze_config *c = &a->c;
    return (ts_autogaze_limits){.max_tokens =
                                    c->has_ratio ? ts_autogaze_limit(c, c->ratio) : c->n_ids,
                                .has_requirement = c->has_requirement,
                                .requirement = c->requirement < 0 ? 0 : c->requirement,
                                .horizon = c->max_frames,
                                .decode_chunk = 4};
}
