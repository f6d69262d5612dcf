/* The model: loading, running, and detections in pictures. */
#include "cl/models/rfdetr/rfdetr.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/models/rfdetr/rfdetr_internal.h"
#include "cl/ops/internal.h"
#include "cl/ops/norm.h"

ts_rfdetr *ts_rfdetr_of(ts_model *model)
{
    return model && model->ops == &ts_rfdetr_model_ops ? (ts_rfdetr *)model : NULL;
}

int ts_rfdetr_queries(const ts_rfdetr *m)
{
    return m->c.queries;
}

const char *ts_rfdetr_label(const ts_rfdetr *m, int class_id)
{
    return m->has_labels && class_id >= 0 && class_id < m->c.classes ? m->labels[class_id] : NULL;
}

/* ---- loading ---- */

static bool accepts(const char *directory, const json_t *config)
{
    (void)directory;
    const char *type = json_string_value(json_object_get(config, "model_type"));
    return type && !strcmp(type, "rf_detr");
}

static void free_norm(rfdetr_norm *n)
{
    ts_arr_free(&n->weight);
    ts_arr_free(&n->bias);
}

static void free_layers(ts_rfdetr *m)
{
    for (int i = 0; i < RFDETR_BLOCKS; i++) {
        rfdetr_block *b = &m->block[i];
        ts_weight *w[] = {b->qkv, b->out, b->fc1, b->gate, b->fc2};
        for (size_t k = 0; k < sizeof w / sizeof *w; k++)
            ts_weight_destroy(w[k]);
        free_norm(&b->norm1);
        free_norm(&b->norm2);
    }
    for (int i = 0; i < RFDETR_LAYERS; i++) {
        rfdetr_layer *l = &m->layer[i];
        ts_weight *w[] = {l->qk,    l->v,         l->out, l->offsets, l->weights,
                          l->value, l->cross_out, l->fc1, l->fc2};
        for (size_t k = 0; k < sizeof w / sizeof *w; k++)
            ts_weight_destroy(w[k]);
        free_norm(&l->norm1);
        free_norm(&l->norm2);
        free_norm(&l->norm3);
    }
    for (int j = 0; j < RFDETR_BOTTLENECKS; j++)
        for (int k = 0; k < 2; k++) {
            ts_conv_destroy(m->bottleneck[j].conv[k]);
            free_norm(&m->bottleneck[j].norm[k]);
        }
    for (int i = 0; i < 3; i++) {
        ts_weight_destroy(m->enc_box.layer[i]);
        ts_weight_destroy(m->box.layer[i]);
        ts_weight_destroy(m->ref_head.layer[i]);
    }
}

static void destroy(ts_model *model)
{
    ts_rfdetr *m = (ts_rfdetr *)model;
    if (!m)
        return;
    if (m->ops) { /* before memory goes back to the pool */
        ts_status st = ts_queue_finish(m->base.queue, NULL);
        (void)st;
    }
    free_layers(m);
    ts_conv_destroy(m->patch);
    ts_weight *w[] = {m->conv1, m->conv2, m->enc_output, m->enc_class, m->class_embed};
    for (size_t i = 0; i < sizeof w / sizeof *w; i++)
        ts_weight_destroy(w[i]);
    rfdetr_norm *norms[] = {&m->backbone_norm,  &m->conv1_norm, &m->conv2_norm,
                            &m->projector_norm, &m->enc_norm,   &m->decoder_norm};
    for (size_t i = 0; i < sizeof norms / sizeof *norms; i++)
        free_norm(norms[i]);
    ts_arr *arrays[] = {&m->positions, &m->cls,     &m->query_feat, &m->query_box,
                        &m->proposals, &m->valid,   &m->penalty,    &m->to_windows,
                        &m->planes,    &m->resized, &m->scale,      &m->shift,
                        &m->from_windows};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        ts_arr_free(arrays[i]);
    for (int i = 0; i < RFDETR_SLOTS; i++)
        ts_arr_free(&m->slot[i]);
    ts_resize_destroy(m->resize);
    ts_ops_destroy(m->ops);
    free(m->labels);
    free(m->base.info.inputs);
    free(m->base.info.outputs);
    free(m->base.info.taps);
    json_decref(m->config);
    json_decref(m->base.info.config);
    free(m);
}

static ts_status read_labels(ts_rfdetr *m, ts_error *err)
{
    const json_t *labels = json_object_get(m->config, "id2label");
    m->labels = calloc((size_t)m->c.classes, sizeof *m->labels);
    if (!m->labels)
        return ts_fail(err, TS_E_NO_MEMORY, "labels");
    for (int i = 0; i < m->c.classes; i++) {
        char key[16], plain[32];
        snprintf(key, sizeof key, "%d", i);
        snprintf(plain, sizeof plain, "LABEL_%d", i);
        const char *text = json_string_value(json_object_get(labels, key));
        snprintf(m->labels[i], sizeof m->labels[i], "%s", text ? text : plain);
        m->has_labels = m->has_labels || (text && strcmp(text, plain));
    }
    return TS_OK;
}

static void set_port(ts_port *port, ts_shape shape, const char *name)
{
    snprintf(port->name, sizeof port->name, "%s", name);
    port->dtype = TS_F32;
    port->shape = shape;
}

static ts_status describe(ts_rfdetr *m, ts_error *err)
{
    const rfdetr_config *c = &m->c;
    ts_model_info *info = &m->base.info;
    int64_t gh = c->height / c->patch, gw = c->width / c->patch;
    int64_t q = c->queries < gh * gw ? c->queries : gh * gw;
    info->inputs = calloc(1, sizeof *info->inputs);
    info->outputs = calloc(2, sizeof *info->outputs);
    info->taps = calloc((size_t)(c->n_taps + c->layers + 5), sizeof *info->taps);
    if (!info->inputs || !info->outputs || !info->taps)
        return ts_fail(err, TS_E_NO_MEMORY, "model description");
    info->kind = "rf-detr";
    info->platform = "tensorscope_safetensors";
    info->n_inputs = 1;
    info->n_outputs = 2;
    set_port(info->inputs, TS_SHAPE(-1, 3, c->height, c->width), "pixel_values");
    set_port(info->outputs, TS_SHAPE(-1, q, c->classes), "logits");
    set_port(info->outputs + 1, TS_SHAPE(-1, q, 4), "boxes");
    char name[32];
    for (int i = 0; i < c->n_taps; i++) {
        snprintf(name, sizeof name, "tap%d", i);
        set_port(&info->taps[info->n_taps++], TS_SHAPE(-1, c->hidden, gh, gw), name);
    }
    set_port(&info->taps[info->n_taps++], TS_SHAPE(-1, c->d, gh, gw), "projector");
    set_port(&info->taps[info->n_taps++], TS_SHAPE(-1, gh * gw), "enc_class_max");
    set_port(&info->taps[info->n_taps++], TS_SHAPE(-1, q, 4), "topk_boxes");
    set_port(&info->taps[info->n_taps++], TS_SHAPE(-1, q, 4), "ref_points");
    set_port(&info->taps[info->n_taps++], TS_SHAPE(-1, q, c->d), "query_pos");
    for (int i = 0; i < c->layers; i++) {
        snprintf(name, sizeof name, "dec%d_norm", i);
        set_port(&info->taps[info->n_taps++], TS_SHAPE(-1, q, c->d), name);
    }
    info->parameters = m->parameters;
    info->device_bytes = m->bytes;
    info->config = json_pack("{s:[i,i], s:i, s:i, s:i}", "input", c->height, c->width, "queries",
                             (int)q, "classes", c->classes, "windows", c->windows);
    return TS_OK;
}

static ts_status load(ts_queue *queue, const char *directory, const json_t *config, ts_model **out,
                      ts_error *err)
{
    ts_rfdetr *m = calloc(1, sizeof *m);
    ts_weights *weights = NULL;
    if (!m)
        return ts_fail(err, TS_E_NO_MEMORY, "RF-DETR");
    m->base.ops = &ts_rfdetr_model_ops;
    m->base.queue = queue;
    m->config = json_deep_copy(config);
    ts_status st = ts_ops_create(queue, &m->ops, err);
    if (st == TS_OK)
        st = rfdetr_config_read(directory, config, &m->c, err);
    if (st == TS_OK)
        st = read_labels(m, err);
    if (st == TS_OK)
        st = ts_weights_open(directory, NULL, 0, &weights, err);
    if (st == TS_OK)
        st = rfdetr_load_weights(m, weights, err);
    if (st == TS_OK)
        st = describe(m, err);
    if (st == TS_OK)
        st = ts_queue_finish(queue, err);
    ts_weights_close(weights);
    if (st != TS_OK) {
        destroy(&m->base);
        return st;
    }
    *out = &m->base;
    return TS_OK;
}

/* ---- running ---- */

static ts_status run(ts_model *model, const ts_tensor *const *inputs, const char *const *wanted,
                     size_t n_wanted, ts_tensor **outputs, ts_error *err)
{
    ts_rfdetr *m = (ts_rfdetr *)model;
    ts_arr x = ts_arr_of(inputs[0]), logits = {0}, boxes = {0};
    rfdetr_tap_sink taps = {wanted, 0, outputs};
    memset(outputs, 0, n_wanted * sizeof(ts_tensor *));
    for (size_t i = 0; i < n_wanted; i++)
        if (strcmp(wanted[i], "logits") != 0 && strcmp(wanted[i], "boxes") != 0)
            taps.n = n_wanted;
    ts_status st = rfdetr_forward(m, &x, &taps, &logits, &boxes, err);
    for (size_t i = 0; i < n_wanted && st == TS_OK; i++) {
        if (!strcmp(wanted[i], "logits"))
            st = ts_arr_tensor(&logits, &outputs[i], err);
        else if (!strcmp(wanted[i], "boxes"))
            st = ts_arr_tensor(&boxes, &outputs[i], err);
        else if (!outputs[i])
            st = ts_fail(err, TS_E_NOT_FOUND, "no tap '%.100s'", wanted[i]);
    }
    ts_arr_free(&logits);
    ts_arr_free(&boxes);
    for (size_t i = 0; i < n_wanted && st != TS_OK; i++) {
        ts_tensor_unref(outputs[i]);
        outputs[i] = NULL;
    }
    return st;
}

/* ---- pictures ---- */

static ts_status fit_size(ts_rfdetr *m, int w, int h, ts_error *err)
{
    if (m->in_w == w && m->in_h == h)
        return TS_OK;
    ts_status st = ts_queue_finish(m->base.queue, err);
    ts_arr_free(&m->planes);
    ts_resize_destroy(m->resize);
    m->resize = NULL;
    m->in_w = m->in_h = 0;
    const ts_resize_options o = {.in_h = h,
                                 .in_w = w,
                                 .out_h = m->c.height,
                                 .out_w = m->c.width,
                                 .mode = TS_RESIZE_LINEAR,
                                 .coords = m->c.antialias ? TS_RESIZE_HALF_PIXEL
                                                          : TS_RESIZE_HALF_PIXEL_CLAMPED,
                                 .antialias = m->c.antialias};
    if (st == TS_OK)
        st = ts_resize_create(m->ops, &o, &m->resize, err);
    if (st == TS_OK)
        st = ts_arr_create(m->ops, TS_F32, &TS_SHAPE(1, 3, h, w), &m->planes, err);
    if (st == TS_OK && !m->resized.buffer)
        st = ts_arr_create(m->ops, TS_F32, &TS_SHAPE(1, 3, m->c.height, m->c.width), &m->resized,
                           err);
    if (st == TS_OK) {
        m->in_w = w;
        m->in_h = h;
    }
    return st;
}

ts_status ts_rfdetr_prepare(ts_rfdetr *m, const ts_rfdetr_image *image, ts_arr *out, ts_error *err)
{
    int64_t rows = image->rgba.shape.dim[0], row = image->rgba.shape.dim[1];
    int64_t pixel = image->rgba.shape.dim[2];
    if (image->rgba.shape.rank != 3 || image->rgba.dtype != TS_U8 || pixel < 3 || pixel > 4)
        return ts_fail(err, TS_E_SHAPE, "a picture is u8 [height,width,3] or [height,width,4]");
    if (image->x < 0 ||
        image->y < 0 || image->width < 1 || image->height < 1 || image->x + image->width > row ||
        image->y + image->height > rows)
        return ts_fail(err, TS_E_SHAPE, "a region of %dx%d at %d,%d in a picture of %lldx%lld",
                       image->width, image->height, image->x, image->y, (long long)row,
                       (long long)rows);
    ts_status st = fit_size(m, image->width, image->height, err);
    if (st == TS_OK)
        st = ts_ops_flat(m->ops, "rfdetr", "rfdetr_planes", (int64_t)image->width * image->height,
                         4096,
                         TS_ARGS(TS_OP_ARR(&image->rgba), TS_OP_ARR(&m->planes), TS_INT(image->x),
                                 TS_INT(image->y), TS_INT((int)row), TS_INT((int)pixel),
                                 TS_INT(image->width),
                                 TS_INT(image->height)),
                         err);
    if (st == TS_OK)
        st = ts_op_resize(m->ops, m->resize, &m->planes, &m->resized, err);
    if (st == TS_OK)
        st = ts_op_channel_affine(m->ops, &m->resized, &m->scale, &m->shift, NULL, &m->resized,
                                  err);
    if (st == TS_OK)
        *out = m->resized;
    return st;
}

typedef struct ranked {
    float logit;
    int32_t index;
} ranked;

static int by_logit(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit < y->logit ? 1 : -1;
    return x->index < y->index ? -1 : 1;
}

/* Scores from the largest down, ties to the lower index. Owner: caller frees *out, [n]. */
static ts_status rank(const float *logits, size_t n, ranked **out, ts_error *err)
{
    ranked *all = calloc(n + 1, sizeof *all);
    if (!all)
        return ts_fail(err, TS_E_NO_MEMORY, "%zu scores", n);
    for (size_t i = 0; i < n; i++)
        all[i] = (ranked){logits[i], (int32_t)i};
    qsort(all, n, sizeof *all, by_logit);
    *out = all;
    return TS_OK;
}

static float clamped(float v, float most)
{
    return v < 0.0f ? 0.0f : v > most ? most : v;
}

/* Ranked pairs of query and class above the threshold. */
static ts_status collect(const ts_rfdetr *m, const float *logits, const float *boxes, size_t queries,
                         const ts_rfdetr_image *image, float threshold, bool clamp,
                         ts_rfdetr_box *out, size_t *n, ts_error *err)
{
    size_t classes = (size_t)m->c.classes, total = queries * classes;
    for (size_t i = 0; i < total; i++)
        if (!isfinite(logits[i]))
            return ts_fail(err, TS_E_INTERNAL, "the model's scores are not finite");
    for (size_t i = 0; i < queries * 4; i++)
        if (!isfinite(boxes[i]))
            return ts_fail(err, TS_E_INTERNAL, "the model's boxes are not finite");
    ranked *order = NULL;
    ts_status st = rank(logits, total, &order, err);
    if (st != TS_OK)
        return st;
    float w = (float)image->width, h = (float)image->height;
    *n = 0;
    for (size_t i = 0; i < queries && i < total; i++) {
        size_t q = (size_t)order[i].index / classes;
        const float *b = boxes + q * 4;
        float score = 1.0f / (1.0f + expf(-order[i].logit));
        ts_rfdetr_box d = {.x0 = (b[0] - b[2] / 2) * w,
                           .y0 = (b[1] - b[3] / 2) * h,
                           .x1 = (b[0] + b[2] / 2) * w,
                           .y1 = (b[1] + b[3] / 2) * h,
                           .score = score,
                           .class_id = (int)((size_t)order[i].index % classes),
                           .query = (int)q};
        if (!(score > threshold))
            break;
        if (clamp) {
            d.x0 = clamped(d.x0, w);
            d.x1 = clamped(d.x1, w);
            d.y0 = clamped(d.y0, h);
            d.y1 = clamped(d.y1, h);
        }
        out[(*n)++] = d;
    }
    free(order);
    return TS_OK;
}

ts_status ts_rfdetr_detect(ts_rfdetr *m, const ts_rfdetr_image *image, float threshold,
                           bool clamp_boxes, ts_rfdetr_box *out, size_t *n, ts_error *err)
{
    ts_arr x, logits = {0}, boxes = {0};
    *n = 0;
    ts_status st = ts_rfdetr_prepare(m, image, &x, err);
    if (st == TS_OK)
        st = rfdetr_forward(m, &x, NULL, &logits, &boxes, err);
    if (st != TS_OK)
        return st;
    float *l = calloc((size_t)ts_arr_elements(&logits) + 1, sizeof *l);
    float *b = calloc((size_t)ts_arr_elements(&boxes) + 1, sizeof *b);
    if (!l || !b)
        st = ts_fail(err, TS_E_NO_MEMORY, "detections");
    if (st == TS_OK)
        st = ts_arr_read(m->ops, &logits, l, err);
    if (st == TS_OK)
        st = ts_arr_read(m->ops, &boxes, b, err);
    if (st == TS_OK)
        st = collect(m, l, b, (size_t)boxes.shape.dim[1], image, threshold, clamp_boxes, out, n,
                     err);
    free(l);
    free(b);
    ts_arr_free(&logits);
    ts_arr_free(&boxes);
    return st;
}

const ts_model_ops ts_rfdetr_model_ops = {
    .kind = "rf-detr",
    .accepts = accepts,
    .load = load,
    .run = run,
    .destroy = destroy,
};
