/* The network: windowed backbone, projector, two-stage proposals, decoder. Rows are channels-last. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/models/rfdetr/rfdetr_internal.h"
#include "cl/ops/attention.h"
#include "cl/ops/internal.h"
#include "cl/ops/move.h"
#include "cl/ops/norm.h"
#include "cl/ops/pointwise.h"
#include "cl/ops/reduce.h"

/* Activations by what they are for; two of one size alternate. */
enum slot {
    TOKENS,
    TOKENS_IN,
    SOURCE,
    X0,
    X1,
    NORMED,
    QKV,
    ATTENDED,
    HIDDEN,
    HIDDEN2,
    PICKED,
    TAPS,
    TAPS_END = TAPS + RFDETR_TAPS,
    UNIT = TAPS_END,
    PLANES_IN,
    PLANES_OUT,
    HALVES,
    HALVES_END = HALVES + RFDETR_BOTTLENECKS + 2,
    MEMORY = HALVES_END,
    WIDE,
    STAGE,
    SCORES,
    SLOT_COUNT
};
_Static_assert((int)SLOT_COUNT <= (int)RFDETR_SLOTS, "more slots than places");

typedef struct net {
    ts_rfdetr *m;
    ts_ops *ops;
    const rfdetr_config *c;
    const rfdetr_tap_sink *taps;
    int64_t b, gh, gw, n; /* batch, token grid, tokens */
    int64_t nq;           /* queries of an image */
    ts_arr small[64];     /* of the decoder, freed when the queue has finished */
    int n_small;
    ts_status st;
    ts_error *err;
} net;

#define STEP(net, call)        \
    do {                       \
        if ((net)->st == TS_OK) \
            (net)->st = (call); \
    } while (0)

/* The model's array `at` with this shape; memory grows only when it must. */
static ts_arr slot(net *t, int at, ts_shape shape)
{
    ts_arr *s = &t->m->slot[at];
    size_t want = (size_t)ts_shape_elements(&shape) * sizeof(float);
    if (t->st == TS_OK && (!s->buffer || ts_buffer_bytes(s->buffer) < want)) {
        if (s->buffer)
            t->st = ts_queue_finish(ts_ops_queue(t->ops), t->err);
        ts_arr_free(s);
        STEP(t, ts_arr_create(t->ops, TS_F32, &shape, s, t->err));
    }
    return t->st == TS_OK ? ts_arr_at(s->buffer, 0, TS_F32, &shape) : (ts_arr){.shape = shape};
}

static ts_arr own(net *t, ts_dtype dtype, ts_shape shape)
{
    ts_arr a = {.dtype = dtype, .shape = shape};
    if (t->st == TS_OK && t->n_small == (int)(sizeof t->small / sizeof *t->small))
        t->st = ts_fail(t->err, TS_E_INTERNAL, "too many arrays");
    STEP(t, ts_arr_create(t->ops, dtype, &shape, &a, t->err));
    if (t->st == TS_OK)
        t->small[t->n_small++] = a;
    return a;
}

/* Copy an intermediate out where it is asked for. */
static void tap(net *t, const ts_arr *x, ts_shape shape, const char *fmt, ...) TS_PRINTF(4, 5);
static void tap(net *t, const ts_arr *x, ts_shape shape, const char *fmt, ...)
{
    char name[64];
    va_list args;
    va_start(args, fmt);
    vsnprintf(name, sizeof name, fmt, args);
    va_end(args);
    for (size_t i = 0; t->taps && i < t->taps->n; i++) {
        ts_arr copy = {0};
        if (strcmp(t->taps->wanted[i], name) || t->st != TS_OK)
            continue;
        STEP(t, ts_arr_create(t->ops, x->dtype, &shape, &copy, t->err));
        ts_arr from = ts_arr_reshape(x, &shape);
        STEP(t, ts_op_copy(t->ops, &from, &copy, t->err));
        STEP(t, ts_arr_tensor(&copy, &t->taps->out[i], t->err));
        ts_arr_free(&copy);
    }
}

static void layer_norm(net *t, const ts_arr *x, const rfdetr_norm *norm, float eps, ts_arr *y)
{
    STEP(t, ts_op_layer_norm(t->ops, x, &norm->weight, &norm->bias, eps, y, t->err));
}

static void linear(net *t, const ts_arr *x, const ts_weight *w, ts_act_kind act,
                   const ts_arr *residual, ts_arr *y)
{
    const ts_epilogue e = {.residual = residual, .act = {.kind = act}};
    STEP(t, ts_op_linear(t->ops, x, w, &e, y, t->err));
}

/* ---- backbone ---- */

/* Which row of [class token; tokens] each row of the windows is, and back. */
static void make_indices(net *t)
{
    ts_rfdetr *m = t->m;
    if (m->batch == t->b || t->st != TS_OK)
        return;
    int64_t w = t->c->windows, wh = t->gh / w, ww = t->gw / w, seq = 1 + wh * ww;
    int32_t *to = calloc((size_t)(t->b * w * w * seq), sizeof *to);
    int32_t *from = calloc((size_t)(t->b * t->n), sizeof *from);
    if (!to || !from)
        t->st = ts_fail(t->err, TS_E_NO_MEMORY, "window indices");
    for (int64_t i = 0; i < t->b * w * w && t->st == TS_OK; i++)
        for (int64_t k = 0; k < wh * ww; k++) {
            int64_t y = i % (w * w) / w * wh + k / ww, x = i % w * ww + k % ww;
            int64_t token = i / (w * w) * t->n + y * t->gw + x;
            to[i * seq + 1 + k] = (int32_t)(1 + token);
            from[token] = (int32_t)(i * seq + 1 + k);
        }
    STEP(t, ts_queue_finish(ts_ops_queue(t->ops), t->err));
    ts_arr_free(&m->to_windows);
    ts_arr_free(&m->from_windows);
    m->batch = 0;
    STEP(t, ts_arr_from_host(t->ops, TS_I32, &TS_SHAPE(t->b * w * w * seq), to, &m->to_windows,
                             t->err));
    STEP(t, ts_arr_from_host(t->ops, TS_I32, &TS_SHAPE(t->b * t->n), from, &m->from_windows,
                             t->err));
    if (t->st == TS_OK)
        m->batch = t->b;
    free(to);
    free(from);
}

static ts_arr embed(net *t, const ts_arr *x)
{
    ts_rfdetr *m = t->m;
    int64_t c = t->c->hidden, rows = t->b * t->n;
    ts_arr patches = slot(t, TOKENS_IN, TS_SHAPE(t->b, c, t->gh, t->gw));
    STEP(t, ts_op_conv(t->ops, x, m->patch, NULL, &patches, t->err));
    ts_arr flat = ts_arr_reshape(&patches, &TS_SHAPE(t->b, c, t->n));
    ts_arr tokens = slot(t, TOKENS, TS_SHAPE(t->b, t->n, c));
    const int perm[] = {0, 2, 1};
    STEP(t, ts_op_transpose(t->ops, &flat, perm, &tokens, t->err));
    tap(t, &tokens, TS_SHAPE(t->b, t->n, c), "patch_embed");
    STEP(t, ts_op_binary(t->ops, TS_BINARY_ADD, &tokens, &m->positions, NULL, &tokens, t->err));
    ts_arr source = slot(t, SOURCE, TS_SHAPE(1 + rows, c));
    ts_arr rows_in = ts_arr_reshape(&tokens, &TS_SHAPE(rows, c));
    const ts_arr *parts[] = {&m->cls, &rows_in};
    STEP(t, ts_op_concat(t->ops, parts, 2, 0, &source, t->err));
    ts_arr y = slot(t, X0, TS_SHAPE(m->to_windows.shape.dim[0], c));
    STEP(t, ts_op_gather(t->ops, &source, &m->to_windows, 0, &y, t->err));
    return y;
}

static void attend(net *t, const ts_arr *qkv, int64_t batch, int64_t seq, ts_arr *y)
{
    int64_t c = t->c->hidden, width = c / t->c->heads;
    ts_heads in = {.batch = seq * 3 * c, .head = width, .row = 3 * c};
    ts_attention a = {.batch = batch,
                      .heads = t->c->heads,
                      .queries = seq,
                      .keys = seq,
                      .width = width,
                      .q = in,
                      .k = in,
                      .v = in,
                      .y = ts_heads_in_rows(seq, t->c->heads, width)};
    ts_shape rest = TS_SHAPE(ts_arr_elements(qkv) - 2 * c);
    ts_arr q = ts_arr_at(qkv->buffer, qkv->offset, TS_F32, &rest);
    ts_arr k = ts_arr_at(qkv->buffer, qkv->offset + (size_t)c * 4, TS_F32, &rest);
    ts_arr v = ts_arr_at(qkv->buffer, qkv->offset + (size_t)c * 8, TS_F32, &rest);
    STEP(t, ts_op_attention(t->ops, &a, &q, &k, &v, y, t->err));
}

static void run_block(net *t, int i, ts_arr *x, ts_arr *other)
{
    const rfdetr_block *b = &t->m->block[i];
    int64_t rows = x->shape.dim[0], c = t->c->hidden, w = t->c->windows;
    int64_t batch = t->c->global[i] ? t->b : t->b * w * w;
    float eps = t->c->backbone_eps;
    ts_arr normed = slot(t, NORMED, TS_SHAPE(rows, c)), qkv = slot(t, QKV, TS_SHAPE(rows, 3 * c));
    ts_arr attended = slot(t, ATTENDED, TS_SHAPE(rows, c));
    ts_arr hidden = slot(t, HIDDEN, TS_SHAPE(rows, t->c->mlp));
    layer_norm(t, x, &b->norm1, eps, &normed);
    linear(t, &normed, b->qkv, TS_ACT_NONE, NULL, &qkv);
    if (t->st == TS_OK)
        attend(t, &qkv, batch, rows / batch, &attended);
    linear(t, &attended, b->out, TS_ACT_NONE, x, other);
    layer_norm(t, other, &b->norm2, eps, &normed);
    linear(t, &normed, b->fc1, b->gate ? TS_ACT_NONE : TS_ACT_GELU, NULL, &hidden);
    if (b->gate) {
        ts_arr gate = slot(t, HIDDEN2, TS_SHAPE(rows, t->c->mlp));
        linear(t, &normed, b->gate, TS_ACT_SILU, NULL, &gate);
        STEP(t, ts_op_binary(t->ops, TS_BINARY_MUL, &hidden, &gate, NULL, &hidden, t->err));
    }
    linear(t, &hidden, b->fc2, TS_ACT_NONE, other, x);
}

/* Rows of channels as planes, and back. */
static void to_planes(net *t, const ts_arr *rows, int64_t c, ts_arr *planes)
{
    ts_arr from = ts_arr_reshape(rows, &TS_SHAPE(t->b, t->n, c));
    ts_arr to = ts_arr_reshape(planes, &TS_SHAPE(t->b, c, t->n));
    const int perm[] = {0, 2, 1};
    STEP(t, ts_op_transpose(t->ops, &from, perm, &to, t->err));
}

static void from_planes(net *t, const ts_arr *planes, int64_t c, ts_arr *rows)
{
    ts_arr from = ts_arr_reshape(planes, &TS_SHAPE(t->b, c, t->n));
    ts_arr to = ts_arr_reshape(rows, &TS_SHAPE(t->b, t->n, c));
    const int perm[] = {0, 2, 1};
    STEP(t, ts_op_transpose(t->ops, &from, perm, &to, t->err));
}

static void tap_planes(net *t, const ts_arr *rows, int64_t c, const char *name)
{
    bool asked = false;
    for (size_t i = 0; t->taps && i < t->taps->n; i++)
        asked = asked || !strcmp(t->taps->wanted[i], name);
    if (!asked)
        return;
    ts_arr planes = own(t, TS_F32, TS_SHAPE(t->b, c, t->gh, t->gw));
    to_planes(t, rows, c, &planes);
    tap(t, &planes, planes.shape, "%s", name);
}

static void run_backbone(net *t, const ts_arr *pixels, ts_arr *joined)
{
    const rfdetr_config *c = t->c;
    make_indices(t);
    ts_arr x = embed(t, pixels), other = slot(t, X1, x.shape);
    ts_arr normed = slot(t, NORMED, x.shape), rows[RFDETR_TAPS];
    const ts_arr *parts[RFDETR_TAPS];
    int64_t windows = t->b * c->windows * c->windows;
    ts_shape windowed = TS_SHAPE(windows, x.shape.dim[0] / windows, c->hidden);
    tap(t, &x, windowed, "embeddings");
    int n = 0;
    for (int i = 0; i < c->last && t->st == TS_OK; i++) {
        run_block(t, i, &x, &other);
        tap(t, &x, windowed, "block%d", i);
        if (c->taps[n] != i + 1)
            continue;
        layer_norm(t, &x, &t->m->backbone_norm, c->backbone_eps, &normed);
        rows[n] = slot(t, TAPS + n, TS_SHAPE(t->b * t->n, c->hidden));
        STEP(t, ts_op_gather(t->ops, &normed, &t->m->from_windows, 0, &rows[n], t->err));
        char name[16];
        snprintf(name, sizeof name, "tap%d", n);
        tap_planes(t, &rows[n], c->hidden, name);
        parts[n] = &rows[n];
        n++;
    }
    *joined = slot(t, WIDE, TS_SHAPE(t->b * t->n, n * c->hidden));
    STEP(t, ts_op_concat(t->ops, parts, (size_t)n, 1, joined, t->err));
}

/* ---- projector ---- */

static void norm_silu(net *t, ts_arr *x, const rfdetr_norm *norm)
{
    layer_norm(t, x, norm, t->c->conv_eps, x);
    STEP(t, ts_op_unary(t->ops, x, &(ts_act){.kind = TS_ACT_SILU}, x, t->err));
}

static void run_projector(net *t, const ts_arr *joined, ts_arr *memory)
{
    ts_rfdetr *m = t->m;
    int64_t h = t->c->half, rows = t->b * t->n;
    ts_arr unit = slot(t, UNIT, TS_SHAPE(rows, 2 * h)), part[RFDETR_BOTTLENECKS + 2];
    const ts_arr *parts[RFDETR_BOTTLENECKS + 2];
    int n = t->c->bottlenecks + 2;
    linear(t, joined, m->conv1, TS_ACT_NONE, NULL, &unit);
    norm_silu(t, &unit, &m->conv1_norm);
    tap_planes(t, &unit, 2 * h, "proj_conv1");
    for (int k = 0; k < n; k++) {
        part[k] = slot(t, HALVES + k, TS_SHAPE(rows, h));
        parts[k] = &part[k];
    }
    for (int k = 0; k < 2; k++)
        STEP(t, ts_op_slice(t->ops, &unit, (const int64_t[]){0, k * h}, NULL, &part[k], t->err));
    ts_arr in = slot(t, PLANES_IN, TS_SHAPE(t->b, h, t->gh, t->gw));
    ts_arr out = slot(t, PLANES_OUT, TS_SHAPE(t->b, h, t->gh, t->gw));
    for (int j = 0; j < t->c->bottlenecks; j++)
        for (int k = 0; k < 2; k++) {
            ts_arr *y = &part[j + 2];
            char name[24];
            to_planes(t, k ? y : &part[j + 1], h, &in);
            STEP(t, ts_op_conv(t->ops, &in, m->bottleneck[j].conv[k], NULL, &out, t->err));
            from_planes(t, &out, h, y);
            norm_silu(t, y, &m->bottleneck[j].norm[k]);
            snprintf(name, sizeof name, "proj_bottleneck%d", j);
            if (k)
                tap_planes(t, y, h, name);
        }
    ts_arr z = slot(t, WIDE, TS_SHAPE(rows, n * h));
    STEP(t, ts_op_concat(t->ops, parts, (size_t)n, 1, &z, t->err));
    *memory = slot(t, MEMORY, TS_SHAPE(rows, t->c->d));
    linear(t, &z, m->conv2, TS_ACT_NONE, NULL, memory);
    norm_silu(t, memory, &m->conv2_norm);
    layer_norm(t, memory, &m->projector_norm, 1e-6f, memory);
    tap_planes(t, memory, t->c->d, "projector");
}

/* ---- proposals ---- */

static void run_mlp(net *t, const ts_arr *x, const rfdetr_mlp *mlp, int layers, ts_arr *y)
{
    ts_arr a = *x;
    for (int i = 0; i < layers; i++) {
        bool last = i == layers - 1;
        ts_arr b = last ? *y
                        : own(t, TS_F32,
                              TS_SHAPE(x->shape.dim[0], ts_weight_outputs(mlp->layer[i])));
        linear(t, &a, mlp->layer[i], last ? TS_ACT_NONE : TS_ACT_RELU, NULL, &b);
        a = b;
    }
}

/* y = boxes refined by deltas; `period` rows of deltas repeat. */
static void refine(net *t, const ts_arr *ref, const ts_arr *delta, int64_t period, ts_arr *y)
{
    int64_t n = ref->shape.dim[0];
    STEP(t, ts_ops_flat(t->ops, "rfdetr", "rfdetr_refine", n, 64,
                        TS_ARGS(TS_OP_ARR(ref), TS_OP_ARR(delta), TS_OP_ARR(y), TS_ULONG(period),
                                TS_ULONG(n)),
                        t->err));
}

/* The best tokens' boxes as the decoder's references. */
static ts_arr propose(net *t, const ts_arr *memory)
{
    ts_rfdetr *m = t->m;
    const rfdetr_config *c = t->c;
    int64_t rows = t->b * t->n;
    ts_arr stage = slot(t, STAGE, TS_SHAPE(rows, c->d));
    ts_arr masked = *memory;
    if (m->valid.buffer) {
        masked = slot(t, WIDE, TS_SHAPE(t->b, t->n, c->d));
        ts_arr from = ts_arr_reshape(memory, &masked.shape);
        STEP(t, ts_op_binary(t->ops, TS_BINARY_MUL, &from, &m->valid, NULL, &masked, t->err));
        masked = ts_arr_reshape(&masked, &TS_SHAPE(rows, c->d));
    }
    linear(t, &masked, m->enc_output, TS_ACT_NONE, NULL, &stage);
    layer_norm(t, &stage, &m->enc_norm, 1e-5f, &stage);
    tap(t, &stage, TS_SHAPE(t->b, t->n, c->d), "enc_memory");
    ts_arr logits = slot(t, SCORES, TS_SHAPE(rows, c->classes));
    linear(t, &stage, m->enc_class, TS_ACT_NONE, NULL, &logits);
    tap(t, &logits, TS_SHAPE(t->b, t->n, c->classes), "enc_class_logits");
    ts_arr best = own(t, TS_F32, TS_SHAPE(t->b, t->n));
    STEP(t, ts_op_reduce(t->ops, TS_REDUCE_MAX, &logits, 2, &best, t->err));
    if (m->penalty.buffer)
        STEP(t, ts_op_binary(t->ops, TS_BINARY_ADD, &best, &m->penalty, NULL, &best, t->err));
    tap(t, &best, best.shape, "enc_class_max");
    ts_arr values = own(t, TS_F32, TS_SHAPE(t->b, t->nq));
    ts_arr index = own(t, TS_I32, TS_SHAPE(t->b, t->nq));
    STEP(t, ts_op_topk(t->ops, &best, t->nq, false, &values, &index, t->err));
    tap(t, &index, index.shape, "topk_index");
    ts_arr picked = own(t, TS_F32, TS_SHAPE(t->b * t->nq, c->d));
    ts_arr boxes = own(t, TS_F32, TS_SHAPE(t->b * t->nq, 4));
    for (int64_t i = 0; i < t->b && t->st == TS_OK; i++) {
        ts_arr from = ts_arr_rows(&stage, i * t->n, t->n), at = ts_arr_rows(&index, i, 1);
        at = ts_arr_reshape(&at, &TS_SHAPE(t->nq));
        ts_arr to = ts_arr_rows(&picked, i * t->nq, t->nq);
        STEP(t, ts_op_gather(t->ops, &from, &at, 0, &to, t->err));
        to = ts_arr_rows(&boxes, i * t->nq, t->nq);
        STEP(t, ts_op_gather(t->ops, &m->proposals, &at, 0, &to, t->err));
    }
    ts_arr delta = own(t, TS_F32, TS_SHAPE(t->b * t->nq, 4));
    ts_arr first = own(t, TS_F32, TS_SHAPE(t->b * t->nq, 4));
    ts_arr reference = own(t, TS_F32, TS_SHAPE(t->b * t->nq, 4));
    run_mlp(t, &picked, &m->enc_box, 3, &delta);
    refine(t, &boxes, &delta, t->b * t->nq, &first);
    tap(t, &first, TS_SHAPE(t->b, t->nq, 4), "topk_boxes");
    refine(t, &first, &m->query_box, t->nq, &reference);
    tap(t, &reference, TS_SHAPE(t->b, t->nq, 4), "ref_points");
    return reference;
}

/* ---- decoder ---- */

typedef struct decoder {
    ts_arr reference, position, memory;
    /* [B·Q, …], used by every layer in turn */
    ts_arr x, y, with_position, qk, v, attended, offsets, weights, sampled, ffn, value, hidden;
} decoder;

static void self_attention(net *t, decoder *s, const rfdetr_layer *l)
{
    int64_t d = t->c->d, width = d / t->c->self_heads;
    ts_heads in = {.batch = t->nq * 2 * d, .head = width, .row = 2 * d};
    ts_attention a = {.batch = t->b,
                      .heads = t->c->self_heads,
                      .queries = t->nq,
                      .keys = t->nq,
                      .width = width,
                      .q = in,
                      .k = in,
                      .v = ts_heads_in_rows(t->nq, t->c->self_heads, width),
                      .y = ts_heads_in_rows(t->nq, t->c->self_heads, width)};
    linear(t, &s->with_position, l->qk, TS_ACT_NONE, NULL, &s->qk);
    linear(t, &s->x, l->v, TS_ACT_NONE, NULL, &s->v);
    if (t->st != TS_OK)
        return;
    ts_shape rest = TS_SHAPE(ts_arr_elements(&s->qk) - d);
    ts_arr q = ts_arr_at(s->qk.buffer, s->qk.offset, TS_F32, &rest);
    ts_arr k = ts_arr_at(s->qk.buffer, s->qk.offset + (size_t)d * 4, TS_F32, &rest);
    STEP(t, ts_op_attention(t->ops, &a, &q, &k, &s->v, &s->attended, t->err));
}

static void cross_attention(net *t, decoder *s, const rfdetr_layer *l)
{
    const rfdetr_config *c = t->c;
    int64_t items = t->b * t->nq * c->cross_heads;
    linear(t, &s->memory, l->value, TS_ACT_NONE, NULL, &s->value);
    linear(t, &s->with_position, l->offsets, TS_ACT_NONE, NULL, &s->offsets);
    linear(t, &s->with_position, l->weights, TS_ACT_NONE, NULL, &s->weights);
    STEP(t, ts_ops_flat(t->ops, "rfdetr", "rfdetr_sample", items, 8,
                        TS_ARGS(TS_OP_ARR(&s->value), TS_OP_ARR(&s->reference),
                                TS_OP_ARR(&s->offsets), TS_OP_ARR(&s->weights),
                                TS_OP_ARR(&s->sampled), TS_INT((int)t->gh), TS_INT((int)t->gw),
                                TS_INT(c->cross_heads), TS_INT(c->d / c->cross_heads),
                                TS_INT(c->points), TS_INT((int)t->nq), TS_ULONG(items)),
                        t->err));
}

static void add_position(net *t, decoder *s)
{
    STEP(t, ts_op_binary(t->ops, TS_BINARY_ADD, &s->x, &s->position, NULL, &s->with_position,
                         t->err));
}

static void run_layer(net *t, decoder *s, int i)
{
    const rfdetr_layer *l = &t->m->layer[i];
    add_position(t, s);
    self_attention(t, s, l);
    linear(t, &s->attended, l->out, TS_ACT_NONE, &s->x, &s->y);
    layer_norm(t, &s->y, &l->norm1, 1e-5f, &s->x);
    add_position(t, s);
    cross_attention(t, s, l);
    linear(t, &s->sampled, l->cross_out, TS_ACT_NONE, &s->x, &s->y);
    layer_norm(t, &s->y, &l->norm2, 1e-5f, &s->x);
    linear(t, &s->x, l->fc1, TS_ACT_RELU, NULL, &s->ffn);
    linear(t, &s->ffn, l->fc2, TS_ACT_NONE, &s->x, &s->y);
    layer_norm(t, &s->y, &l->norm3, 1e-5f, &s->x);
    tap(t, &s->x, TS_SHAPE(t->b, t->nq, t->c->d), "dec%d_out", i);
}

static void run_decoder(net *t, const ts_arr *memory, const ts_arr *reference, ts_arr *logits,
                        ts_arr *boxes)
{
    ts_rfdetr *m = t->m;
    const rfdetr_config *c = t->c;
    int64_t rows = t->b * t->nq, d = c->d, samples = (int64_t)c->cross_heads * c->points;
    decoder s = {.reference = *reference, .memory = *memory};
    ts_arr sine = own(t, TS_F32, TS_SHAPE(rows, 2 * d));
    STEP(t, ts_ops_flat(t->ops, "rfdetr", "rfdetr_sine", rows * 2 * d, 256,
                        TS_ARGS(TS_OP_ARR(reference), TS_OP_ARR(&sine), TS_INT((int)d / 2),
                                TS_ULONG(rows * 2 * d)),
                        t->err));
    tap(t, &sine, TS_SHAPE(t->b, t->nq, 2 * d), "query_sine");
    s.position = own(t, TS_F32, TS_SHAPE(rows, d));
    run_mlp(t, &sine, &m->ref_head, 2, &s.position);
    tap(t, &s.position, TS_SHAPE(t->b, t->nq, d), "query_pos");
    ts_arr *same[] = {&s.x, &s.y, &s.with_position, &s.v, &s.attended, &s.sampled, &s.hidden};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        *same[i] = own(t, TS_F32, TS_SHAPE(rows, d));
    s.qk = own(t, TS_F32, TS_SHAPE(rows, 2 * d));
    s.offsets = own(t, TS_F32, TS_SHAPE(rows, 2 * samples));
    s.weights = own(t, TS_F32, TS_SHAPE(rows, samples));
    s.ffn = own(t, TS_F32, TS_SHAPE(rows, c->ffn));
    s.value = slot(t, STAGE, TS_SHAPE(t->b * t->n, d));
    ts_arr start = ts_arr_reshape(&s.x, &TS_SHAPE(t->b, t->nq, d));
    ts_arr feat = ts_arr_rows(&m->query_feat, 0, t->nq);
    STEP(t, ts_op_expand(t->ops, &feat, &start, t->err));
    for (int i = 0; i < c->layers; i++) {
        run_layer(t, &s, i);
        if (i < c->layers - 1 && !t->taps)
            continue;
        layer_norm(t, &s.x, &m->decoder_norm, 1e-5f, &s.hidden);
        tap(t, &s.hidden, TS_SHAPE(t->b, t->nq, d), "dec%d_norm", i);
    }
    ts_arr delta = own(t, TS_F32, TS_SHAPE(rows, 4));
    *logits = own(t, TS_F32, TS_SHAPE(rows, c->classes));
    *boxes = own(t, TS_F32, TS_SHAPE(rows, 4));
    linear(t, &s.hidden, m->class_embed, TS_ACT_NONE, NULL, logits);
    run_mlp(t, &s.hidden, &m->box, 3, &delta);
    refine(t, reference, &delta, rows, boxes);
    logits->shape = TS_SHAPE(t->b, t->nq, c->classes);
    boxes->shape = TS_SHAPE(t->b, t->nq, 4);
}

ts_status rfdetr_forward(ts_rfdetr *m, const ts_arr *x, const rfdetr_tap_sink *taps, ts_arr *logits,
                         ts_arr *boxes, ts_error *err)
{
    net *t = calloc(1, sizeof *t);
    if (!t)
        return ts_fail(err, TS_E_NO_MEMORY, "RF-DETR");
    t->m = m;
    t->ops = m->ops;
    t->c = &m->c;
    t->taps = taps && taps->n ? taps : NULL;
    t->b = x->shape.dim[0];
    t->gh = m->c.height / m->c.patch;
    t->gw = m->c.width / m->c.patch;
    t->n = t->gh * t->gw;
    t->nq = m->c.queries < t->n ? m->c.queries : t->n;
    t->err = err;
    ts_arr joined, memory, reference, l = {0}, b = {0};
    run_backbone(t, x, &joined);
    run_projector(t, &joined, &memory);
    reference = propose(t, &memory);
    run_decoder(t, &memory, &reference, &l, &b);
    ts_status finished = ts_queue_finish(ts_ops_queue(t->ops), t->st == TS_OK ? err : NULL);
    ts_status st = t->st == TS_OK ? finished : t->st;
    for (int i = 0; i < t->n_small; i++)
        if (st != TS_OK || (t->small[i].buffer != l.buffer && t->small[i].buffer != b.buffer))
            ts_arr_free(&t->small[i]);
    free(t);
    if (st == TS_OK) {
        *logits = l;
        *boxes = b;
    }
    return st;
}
