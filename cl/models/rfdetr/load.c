/* Weights of both namings into packed layers; positions for the token grid. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/buf.h"
#include "cl/models/rfdetr/rfdetr_internal.h"

typedef struct loader {
    ts_rfdetr *m;
    ts_weights *weights;
    bool original; /* roboflow's names, else the library's */
    ts_buf problems;
    int n_problems;
    ts_status st; /* of the device and of memory */
    ts_error *err;
} loader;

/* Whether layers are still made; once something is missing, names are only looked for, to tell all. */
static bool making(const loader *l)
{
    return l->st == TS_OK && l->n_problems == 0;
}

/* A tensor by either name, with the prefixes that the library's files have. NULL where it is missing,
 * which is noted, and once anything was: making() says so. */
static float *fetch(loader *l, ts_shape shape, const char *original, const char *library)
{
    static const char *const prefixes[] = {"model.model.", "model.", ""};
    char name[256];
    float *out = NULL;
    ts_error why = {0};
    snprintf(name, sizeof name, "%s", original);
    for (int i = 0; i < 3 && !l->original; i++) {
        snprintf(name, sizeof name, "%s%s", prefixes[i], library);
        if (ts_weights_find(l->weights, name))
            break;
    }
    if (l->st == TS_OK && ts_weights_f32(l->weights, name, &shape, &out, &why) != TS_OK)
        ts_buf_printf(&l->problems, "%s%s", l->n_problems++ ? "; " : "", why.text);
    ts_error_clear(&why);
    l->m->parameters += out ? (uint64_t)ts_shape_elements(&shape) : 0;
    return out;
}

/* Two names from patterns with the same numbers in them. */
typedef struct names {
    char original[160], library[160];
} names;

static names name_of(const char *original, const char *library, ...) TS_PRINTF(1, 3);
static names name_of(const char *original, const char *library, ...)
{
    names n;
    va_list args;
    va_start(args, library);
    vsnprintf(n.original, sizeof n.original, original, args);
    va_end(args);
    va_start(args, library);
    vsnprintf(n.library, sizeof n.library, library, args);
    va_end(args);
    return n;
}

static float *fetch_part(loader *l, ts_shape shape, const names *n, const char *part)
{
    char a[200], b[200];
    snprintf(a, sizeof a, "%s%s", n->original, part);
    snprintf(b, sizeof b, "%s%s", n->library, part);
    return fetch(l, shape, a, b);
}

static void upload(loader *l, ts_shape shape, const float *data, ts_arr *out)
{
    if (!making(l))
        return;
    l->st = ts_arr_from_host(l->m->ops, TS_F32, &shape, data, out, l->err);
    if (l->st == TS_OK)
        l->m->bytes += ts_arr_bytes(out);
}

static void load_norm(loader *l, int n, const names *name, rfdetr_norm *out)
{
    float *w = fetch_part(l, TS_SHAPE(n), name, ".weight");
    float *b = fetch_part(l, TS_SHAPE(n), name, ".bias");
    upload(l, TS_SHAPE(n), w, &out->weight);
    upload(l, TS_SHAPE(n), b, &out->bias);
    free(w);
    free(b);
}

static void pack(loader *l, const float *w, const float *b, int out, int in, ts_weight **weight)
{
    if (!making(l))
        return;
    l->st = ts_weight_create(l->m->ops, w, out, in, b, weight, l->err);
    if (l->st == TS_OK)
        l->m->bytes += ts_weight_bytes(*weight);
}

/* A linear layer whose rows are multiplied by `scale` (NULL: 1). */
static void load_scaled(loader *l, int out, int in, const names *name, const float *scale,
                        ts_weight **weight)
{
    float *w = fetch_part(l, TS_SHAPE(out, in), name, ".weight");
    float *b = fetch_part(l, TS_SHAPE(out), name, ".bias");
    for (int o = 0; scale && making(l) && o < out; o++) {
        b[o] *= scale[o];
        for (int i = 0; i < in; i++)
            w[(size_t)o * (size_t)in + (size_t)i] *= scale[o];
    }
    pack(l, w, b, out, in, weight);
    free(w);
    free(b);
}

static void load_linear(loader *l, int out, int in, const names *name, ts_weight **weight)
{
    load_scaled(l, out, in, name, NULL, weight);
}

/* Equal layers over the same input as one. */
static void load_joined(loader *l, size_t n, const names *name, int each, int in,
                        ts_weight **weight)
{
    size_t per = (size_t)each * (size_t)in;
    float *w = calloc(n * per + 1, sizeof *w), *b = calloc(n * (size_t)each + 1, sizeof *b);
    if ((!w || !b) && making(l))
        l->st = ts_fail(l->err, TS_E_NO_MEMORY, "weights");
    for (size_t i = 0; i < n; i++) {
        float *pw = fetch_part(l, TS_SHAPE(each, in), &name[i], ".weight");
        float *pb = fetch_part(l, TS_SHAPE(each), &name[i], ".bias");
        if (making(l)) {
            memcpy(w + i * per, pw, per * sizeof *w);
            memcpy(b + i * (size_t)each, pb, (size_t)each * sizeof *b);
        }
        free(pw);
        free(pb);
    }
    pack(l, w, b, (int)n * each, in, weight);
    free(w);
    free(b);
}

/* ---- positions ---- */

static double keys(double x)
{
    x = fabs(x);
    if (x < 1.0)
        return (1.5 * x - 2.5) * x * x + 1.0;
    return x < 2.0 ? ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0 : 0.0;
}

/* One axis: y[lines outer][m][inner] from x[…][n][inner]; taps outside are dropped. */
static void resample_axis(const double *x, double *y, int outer, int n, int m, int inner)
{
    double scale = (double)n / m, f = scale > 1.0 ? scale : 1.0;
    for (int i = 0; i < m; i++) {
        double centre = scale * (i + 0.5), sum = 0.0;
        int first = (int)trunc(centre - 2.0 * f + 0.5), end = (int)trunc(centre + 2.0 * f + 0.5);
        first = first > 0 ? first : 0;
        end = end < n ? end : n;
        for (int j = first; j < end; j++)
            sum += keys((j - centre + 0.5) / f);
        for (int o = 0; o < outer; o++)
            for (int k = 0; k < inner; k++) {
                double v = 0.0;
                for (int j = first; j < end; j++)
                    v += keys((j - centre + 0.5) / f) * x[((size_t)o * n + j) * inner + k];
                y[((size_t)o * m + i) * inner + k] = v / sum;
            }
    }
}

ts_status rfdetr_resample_positions(const float *stored, int side, int channels, int gh, int gw,
                                    float *out, ts_error *err)
{
    size_t c = (size_t)channels, n = (size_t)side * (size_t)side * c;
    size_t middle = (size_t)gh * (size_t)side * c, end = (size_t)gh * (size_t)gw * c;
    if (side == gh && side == gw) {
        memcpy(out, stored, n * sizeof *out);
        return TS_OK;
    }
    double *x = calloc(n, sizeof *x), *t = calloc(middle, sizeof *t), *y = calloc(end, sizeof *y);
    ts_status st = x && t && y ? TS_OK : ts_fail(err, TS_E_NO_MEMORY, "positions");
    if (st == TS_OK) {
        for (size_t i = 0; i < n; i++)
            x[i] = (double)stored[i];
        resample_axis(x, t, 1, side, gh, side * channels);
        resample_axis(t, y, gh, side, gw, channels);
        for (size_t i = 0; i < end; i++)
            out[i] = (float)y[i];
    }
    free(x);
    free(t);
    free(y);
    return st;
}

/* ---- the parts ---- */

static void load_embeddings(loader *l)
{
    const rfdetr_config *c = &l->m->c;
    int gh = c->height / c->patch, gw = c->width / c->patch, area = c->grid * c->grid;
    const names e = name_of("backbone.0.encoder.encoder.embeddings", "backbone.backbone.embeddings");
    float *cls = fetch_part(l, TS_SHAPE(1, 1, c->hidden), &e, ".cls_token");
    float *stored = fetch_part(l, TS_SHAPE(1, 1 + area, c->hidden), &e, ".position_embeddings");
    const names p = name_of("backbone.0.encoder.encoder.embeddings.patch_embeddings.projection",
                            "backbone.backbone.embeddings.patch_embeddings.projection");
    float *w = fetch_part(l, TS_SHAPE(c->hidden, 3, c->patch, c->patch), &p, ".weight");
    float *b = fetch_part(l, TS_SHAPE(c->hidden), &p, ".bias");
    float *positions = calloc((size_t)gh * (size_t)gw * (size_t)c->hidden, sizeof *positions);
    if (!positions && making(l))
        l->st = ts_fail(l->err, TS_E_NO_MEMORY, "positions");
    if (making(l)) {
        for (int i = 0; i < c->hidden; i++)
            cls[i] += stored[i];
        l->st = rfdetr_resample_positions(stored + c->hidden, c->grid, c->hidden, gh, gw, positions,
                                          l->err);
    }
    upload(l, TS_SHAPE(1, c->hidden), cls, &l->m->cls);
    upload(l, TS_SHAPE(gh * gw, c->hidden), positions, &l->m->positions);
    ts_conv_geometry g = {.in = 3,
                          .out = c->hidden,
                          .kernel = {1, c->patch, c->patch},
                          .stride = {1, c->patch, c->patch}};
    if (making(l))
        l->st = ts_conv_create(l->m->ops, &g, w, b, &l->m->patch, l->err);
    free(cls);
    free(stored);
    free(w);
    free(b);
    free(positions);
}

#define BLOCK(part_original, part_library)                             \
    name_of("backbone.0.encoder.encoder.encoder.layer.%d" part_original, \
            "backbone.backbone.encoder.layer.%d" part_library, i)

static void load_block(loader *l, int i)
{
    const rfdetr_config *c = &l->m->c;
    rfdetr_block *b = &l->m->block[i];
    names n = BLOCK(".norm1", ".norm1");
    load_norm(l, c->hidden, &n, &b->norm1);
    n = BLOCK(".norm2", ".norm2");
    load_norm(l, c->hidden, &n, &b->norm2);
    const names qkv[] = {BLOCK(".attention.attention.query", ".attention.q_proj"),
                         BLOCK(".attention.attention.key", ".attention.k_proj"),
                         BLOCK(".attention.attention.value", ".attention.v_proj")};
    load_joined(l, 3, qkv, c->hidden, c->hidden, &b->qkv);
    n = BLOCK(".layer_scale1.lambda1", ".layer_scale1.lambda1");
    float *scale = fetch_part(l, TS_SHAPE(c->hidden), &n, "");
    n = BLOCK(".attention.output.dense", ".attention.o_proj");
    load_scaled(l, c->hidden, c->hidden, &n, scale, &b->out);
    free(scale);
    n = BLOCK(".layer_scale2.lambda1", ".layer_scale2.lambda1");
    scale = fetch_part(l, TS_SHAPE(c->hidden), &n, "");
    if (c->swiglu) {
        n = BLOCK(".mlp.gate_proj", ".mlp.gate_proj");
        load_linear(l, c->mlp, c->hidden, &n, &b->gate);
        n = BLOCK(".mlp.up_proj", ".mlp.up_proj");
        load_linear(l, c->mlp, c->hidden, &n, &b->fc1);
        n = BLOCK(".mlp.down_proj", ".mlp.down_proj");
    } else {
        n = BLOCK(".mlp.fc1", ".mlp.fc1");
        load_linear(l, c->mlp, c->hidden, &n, &b->fc1);
        n = BLOCK(".mlp.fc2", ".mlp.fc2");
    }
    load_scaled(l, c->hidden, c->mlp, &n, scale, &b->fc2);
    free(scale);
}

/* A 1x1 convolution without bias is a linear layer over rows of channels. */
static void load_pointwise(loader *l, int out, int in, const names *name, ts_weight **weight)
{
    float *w = fetch_part(l, TS_SHAPE(out, in, 1, 1), name, ".weight");
    pack(l, w, NULL, out, in, weight);
    free(w);
}

static void load_projector(loader *l)
{
    ts_rfdetr *m = l->m;
    const rfdetr_config *c = &m->c;
    int h = c->half;
#define PROJECTOR(a, b) \
    name_of("backbone.0.projector.stages.0.0" a, "backbone.projector.projector_layer" b)
    names n = PROJECTOR(".cv1.conv", ".conv1.conv");
    load_pointwise(l, 2 * h, c->n_taps * c->hidden, &n, &m->conv1);
    n = PROJECTOR(".cv1.bn", ".conv1.norm");
    load_norm(l, 2 * h, &n, &m->conv1_norm);
    n = PROJECTOR(".cv2.conv", ".conv2.conv");
    load_pointwise(l, c->d, (2 + c->bottlenecks) * h, &n, &m->conv2);
    n = PROJECTOR(".cv2.bn", ".conv2.norm");
    load_norm(l, c->d, &n, &m->conv2_norm);
    for (int j = 0; j < c->bottlenecks; j++)
        for (int k = 0; k < 2; k++) {
            n = name_of("backbone.0.projector.stages.0.0.m.%d.cv%d.conv",
                        "backbone.projector.projector_layer.bottlenecks.%d.conv%d.conv", j, k + 1);
            float *w = fetch_part(l, TS_SHAPE(h, h, 3, 3), &n, ".weight");
            ts_conv_geometry g = {.in = h,
                                  .out = h,
                                  .kernel = {1, 3, 3},
                                  .pad_front = {0, 1, 1},
                                  .pad_back = {0, 1, 1}};
            if (making(l))
                l->st = ts_conv_create(m->ops, &g, w, NULL, &m->bottleneck[j].conv[k], l->err);
            free(w);
            n = name_of("backbone.0.projector.stages.0.0.m.%d.cv%d.bn",
                        "backbone.projector.projector_layer.bottlenecks.%d.conv%d.norm", j, k + 1);
            load_norm(l, h, &n, &m->bottleneck[j].norm[k]);
        }
    n = name_of("backbone.0.projector.stages.0.1", "backbone.projector.layer_norm");
    load_norm(l, c->d, &n, &m->projector_norm);
}

static void load_mlp(loader *l, int layers, const int *width, const names *name, rfdetr_mlp *out)
{
    for (int i = 0; i < layers; i++) {
        names n;
        snprintf(n.original, sizeof n.original, "%.140s.layers.%d", name->original, i);
        snprintf(n.library, sizeof n.library, "%.140s.layers.%d", name->library, i);
        load_linear(l, width[i + 1], width[i], &n, &out->layer[i]);
    }
}

/* The first group's rows of a table of queries. */
static void load_queries(loader *l, int width, const char *original, const char *library, ts_arr *out)
{
    const rfdetr_config *c = &l->m->c;
    float *v = fetch(l, TS_SHAPE(c->queries * c->groups, width), original, library);
    upload(l, TS_SHAPE(c->queries, width), v, out);
    free(v);
}

#define LAYER(part_original, part_library) \
    name_of("transformer.decoder.layers.%d" part_original, "decoder.layers.%d" part_library, i)

static void load_self_attention(loader *l, int i)
{
    const rfdetr_config *c = &l->m->c;
    rfdetr_layer *y = &l->m->layer[i];
    size_t d = (size_t)c->d;
    if (!l->original) {
        const names qk[] = {LAYER("", ".self_attn.q_proj"), LAYER("", ".self_attn.k_proj")};
        load_joined(l, 2, qk, c->d, c->d, &y->qk);
        names v = LAYER("", ".self_attn.v_proj");
        load_linear(l, c->d, c->d, &v, &y->v);
        return;
    }
    names n = LAYER(".self_attn.in_proj_", "");
    float *w = fetch_part(l, TS_SHAPE(3 * c->d, c->d), &n, "weight");
    float *b = fetch_part(l, TS_SHAPE(3 * c->d), &n, "bias");
    if (making(l)) {
        pack(l, w, b, 2 * c->d, c->d, &y->qk);
        pack(l, w + 2 * d * d, b + 2 * d, c->d, c->d, &y->v);
    }
    free(w);
    free(b);
}

static void load_layer(loader *l, int i)
{
    const rfdetr_config *c = &l->m->c;
    rfdetr_layer *y = &l->m->layer[i];
    int samples = c->cross_heads * c->points;
    load_self_attention(l, i);
    const struct {
        names name;
        int out, in;
        ts_weight **weight;
    } linear[] = {
        {LAYER(".self_attn.out_proj", ".self_attn.o_proj"), c->d, c->d, &y->out},
        {LAYER(".cross_attn.sampling_offsets", ".cross_attn.sampling_offsets"), samples * 2, c->d,
         &y->offsets},
        {LAYER(".cross_attn.attention_weights", ".cross_attn.attention_weights"), samples, c->d,
         &y->weights},
        {LAYER(".cross_attn.value_proj", ".cross_attn.value_proj"), c->d, c->d, &y->value},
        {LAYER(".cross_attn.output_proj", ".cross_attn.output_proj"), c->d, c->d, &y->cross_out},
        {LAYER(".linear1", ".mlp.fc1"), c->ffn, c->d, &y->fc1},
        {LAYER(".linear2", ".mlp.fc2"), c->d, c->ffn, &y->fc2},
    };
    for (size_t k = 0; k < sizeof linear / sizeof *linear; k++)
        load_linear(l, linear[k].out, linear[k].in, &linear[k].name, linear[k].weight);
    names n = LAYER(".norm1", ".self_attn_layer_norm");
    load_norm(l, c->d, &n, &y->norm1);
    n = LAYER(".norm2", ".cross_attn_layer_norm");
    load_norm(l, c->d, &n, &y->norm2);
    n = LAYER(".norm3", ".layer_norm");
    load_norm(l, c->d, &n, &y->norm3);
}

static void load_decoder(loader *l)
{
    ts_rfdetr *m = l->m;
    const rfdetr_config *c = &m->c;
    const int box[] = {c->d, c->d, c->d, 4}, head[] = {2 * c->d, c->d, c->d};
    load_queries(l, c->d, "query_feat.weight", "query_feat.weight", &m->query_feat);
    load_queries(l, 4, "refpoint_embed.weight", "reference_point_embed.weight", &m->query_box);
    names n = name_of("transformer.enc_output.0", "enc_output.0");
    load_linear(l, c->d, c->d, &n, &m->enc_output);
    n = name_of("transformer.enc_output_norm.0", "enc_output_norm.0");
    load_norm(l, c->d, &n, &m->enc_norm);
    n = name_of("transformer.enc_out_class_embed.0", "enc_out_class_embed.0");
    load_linear(l, c->classes, c->d, &n, &m->enc_class);
    n = name_of("transformer.enc_out_bbox_embed.0", "enc_out_bbox_embed.0");
    load_mlp(l, 3, box, &n, &m->enc_box);
    for (int i = 0; i < c->layers; i++)
        load_layer(l, i);
    n = name_of("transformer.decoder.norm", "decoder.layernorm");
    load_norm(l, c->d, &n, &m->decoder_norm);
    n = name_of("transformer.decoder.ref_point_head", "decoder.ref_point_head");
    load_mlp(l, 2, head, &n, &m->ref_head);
    n = name_of("class_embed", "class_embed");
    load_linear(l, c->classes, c->d, &n, &m->class_embed);
    n = name_of("bbox_embed", "bbox_embed");
    load_mlp(l, 3, box, &n, &m->box);
}

/* Proposals of the token grid; those too near the border take no part. */
static void make_proposals(loader *l)
{
    ts_rfdetr *m = l->m;
    int gh = m->c.height / m->c.patch, gw = m->c.width / m->c.patch, n = gh * gw;
    float *box = calloc((size_t)n, 4 * sizeof *box), *valid = calloc((size_t)n, sizeof *valid);
    float *penalty = calloc((size_t)n, sizeof *penalty);
    bool all = true;
    if ((!box || !valid || !penalty) && making(l))
        l->st = ts_fail(l->err, TS_E_NO_MEMORY, "proposals");
    for (int i = 0; i < n && making(l); i++) {
        float cx = ((float)(i % gw) + 0.5f) / (float)gw, cy = ((float)(i / gw) + 0.5f) / (float)gh;
        bool ok = cx > 0.01f && cx < 0.99f && cy > 0.01f && cy < 0.99f;
        const float own[4] = {cx, cy, 0.05f, 0.05f};
        valid[i] = ok ? 1.0f : 0.0f;
        penalty[i] = ok ? 0.0f : -INFINITY;
        all = all && ok;
        if (ok)
            memcpy(box + (size_t)i * 4, own, sizeof own);
    }
    upload(l, TS_SHAPE(n, 4), box, &m->proposals);
    if (!all) {
        upload(l, TS_SHAPE(n, 1), valid, &m->valid);
        upload(l, TS_SHAPE(1, n), penalty, &m->penalty);
    }
    free(box);
    free(valid);
    free(penalty);
}

ts_status rfdetr_load_weights(ts_rfdetr *m, ts_weights *weights, ts_error *err)
{
    loader l = {.m = m, .weights = weights, .st = TS_OK, .err = err};
    l.original =
        ts_weights_find(weights, "backbone.0.encoder.encoder.embeddings.cls_token") != NULL ||
        ts_weights_find(weights, "transformer.decoder.norm.weight") != NULL;
    load_embeddings(&l);
    for (int i = 0; i < m->c.last; i++)
        load_block(&l, i);
    names n = name_of("backbone.0.encoder.encoder.layernorm", "backbone.backbone.layernorm");
    load_norm(&l, m->c.hidden, &n, &m->backbone_norm);
    load_projector(&l);
    load_decoder(&l);
    make_proposals(&l);
    const float mean[] = {0.485f, 0.456f, 0.406f}, std[] = {0.229f, 0.224f, 0.225f};
    float scale[3], shift[3];
    for (int k = 0; k < 3; k++) {
        scale[k] = 1.0f / std[k];
        shift[k] = -mean[k] / std[k];
    }
    upload(&l, TS_SHAPE(3), scale, &m->scale);
    upload(&l, TS_SHAPE(3), shift, &m->shift);
    if (l.st == TS_OK && l.n_problems)
        l.st = ts_fail(err, TS_E_FILE, "%d tensors: %.360s", l.n_problems,
                       ts_buf_cstr(&l.problems));
    ts_buf_finish(&l.problems);
    return l.st;
}
