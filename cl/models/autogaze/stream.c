#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/size.h"
#include "cl/models/autogaze/weights_internal.h"
#include "cl/ops/attention.h"
#include "cl/ops/internal.h"
#include "cl/ops/move.h"
#include "cl/ops/norm.h"
#include "cl/ops/pointwise.h"

/* Ints at the start of the device's state: as the kernel's enum. */
enum {
    ST_EMITTED,
    ST_STOP,
    ST_PASSES,
    ST_BAD,
    ST_CHUNK,
    ST_COVERED,
    ST_HEAD = 8
};

typedef struct select_args {
    int32_t k, ids, most, has_requirement;
    float requirement;
    int32_t record;
} select_args;

struct ts_autogaze_stream {
    ts_autogaze *a;
    ts_device *device;
    /* Device memory. Cache rows are slots; layer l's start at l·capacity. */
    ts_buffer *history, *keys, *values, *valid, *work, *state, *positions, *ids;
    int64_t capacity;
    ts_arr x, x2, normed, qkv, mixed, gate_up, gated, last, logits, plane, tokens, embeds;
    /* What is remembered: slots [first, len) hold frames; the newest frame's last chunk (`pend`) has
     * its slots behind len but no keys yet. */
    int64_t first, len, valid_count; /* valid_count without pend's */
    int64_t *frame_slots;
    int n_frames, cap_frames;
    int64_t frames_seen;
    int n_pend;
    int32_t *pend;
    uint8_t *pend_valid;
    /* The last frame's result, on the host. */
    int32_t *host_state, *host_positions;
    uint8_t *host_valid, *flags;
    float *recorded[2];
    bool has_recorded[2];
};

static size_t state_ints(const ts_autogaze_config *c)
{
    int passes = (c->n_ids + c->multi_token - 1) / c->multi_token;
    return (size_t)(ST_HEAD + 3 * c->n_ids + c->multi_token + passes * c->multi_token);
}

/* One buffer holds all activations; each array gets its place in it. */
static size_t carve(ts_autogaze_stream *s, ts_buffer *work)
{
    const ts_autogaze_config *c = &s->a->c;
    int64_t rows = c->n_vision + c->multi_token, v = c->n_vision;
    int64_t q = (int64_t)c->heads * c->head_width, kv = (int64_t)c->kv_heads * c->head_width;
    const struct {
        ts_arr *array;
        ts_shape shape;
    } parts[] = {
        {&s->x, TS_SHAPE(rows, c->width)},
        {&s->x2, TS_SHAPE(rows, c->width)},
        {&s->normed, TS_SHAPE(rows, c->width)},
        {&s->qkv, TS_SHAPE(rows, q + 2 * kv)},
        {&s->mixed, TS_SHAPE(rows, q)},
        {&s->gate_up, TS_SHAPE(rows, 2 * (int64_t)c->intermediate)},
        {&s->gated, TS_SHAPE(rows, c->intermediate)},
        {&s->last, TS_SHAPE(1, c->width)},
        {&s->logits, TS_SHAPE(1, (int64_t)c->multi_token * (c->n_ids + 2))},
        {&s->plane, TS_SHAPE(1, c->conv_width, c->side, c->side)},
        {&s->tokens, TS_SHAPE(v, c->conv_width)},
        {&s->embeds, TS_SHAPE(v, c->width)},
    };
    size_t at = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        *parts[i].array = ts_arr_at(work, at, TS_F32, &parts[i].shape);
        at += ts_round_up(ts_arr_bytes(parts[i].array), 128);
    }
    return at;
}

static size_t slot_bytes(const ts_autogaze_config *c)
{
    return (size_t)c->kv_heads * (size_t)c->head_width * sizeof(float);
}

static ts_status make_buffers(ts_autogaze_stream *s, ts_error *err)
{
    const ts_autogaze_config *c = &s->a->c;
    size_t plane = (size_t)c->conv_width * (size_t)c->n_vision * sizeof(float);
    size_t rows = (size_t)(c->n_vision + 2 * c->multi_token) * sizeof(int32_t);
    ts_status st = ts_buffer_create(s->device, carve(s, NULL), &s->work, err);
    if (st == TS_OK)
        st = ts_buffer_create(s->device, plane * (size_t)(c->kt * c->depth), &s->history, err);
    if (st == TS_OK)
        st = ts_buffer_create(s->device, state_ints(c) * sizeof(int32_t), &s->state, err);
    if (st == TS_OK)
        st = ts_buffer_create(s->device, rows, &s->positions, err);
    if (st == TS_OK)
        st = ts_buffer_create(s->device, rows, &s->ids, err);
    if (st == TS_OK)
        carve(s, s->work);
    return st;
}

ts_status ts_autogaze_stream_create(ts_autogaze *a, ts_ops *ops, ts_autogaze_stream **out,
                                    ts_error *err)
{
    const ts_autogaze_config *c = &a->c;
    ts_autogaze_stream *s = calloc(1, sizeof *s);
    if (!s)
        return ts_fail(err, TS_E_NO_MEMORY, "stream");
    s->a = ts_autogaze_ref(a);
    s->device = ts_ops_device(ops);
    size_t k = (size_t)c->multi_token, n = (size_t)c->n_ids, rows = (size_t)c->n_vision + 2 * k;
    s->pend = calloc(k, sizeof *s->pend);
    s->pend_valid = calloc(k, 1);
    s->host_state = calloc(state_ints(c), sizeof *s->host_state);
    s->host_positions = calloc(rows, sizeof *s->host_positions);
    s->host_valid = calloc(rows + n + k, 1);
    s->flags = calloc(n, 1);
    for (int i = 0; i < 2; i++)
        s->recorded[i] = calloc(k * (n + 2), sizeof *s->recorded[i]);
    bool ok = s->pend && s->pend_valid && s->host_state && s->host_positions && s->host_valid &&
              s->flags && s->recorded[0] && s->recorded[1];
    ts_status st = ok ? make_buffers(s, err) : ts_fail(err, TS_E_NO_MEMORY, "stream");
    if (st != TS_OK) {
        ts_autogaze_stream_destroy(s);
        return st;
    }
    *out = s;
    return TS_OK;
}

void ts_autogaze_stream_destroy(ts_autogaze_stream *s)
{
    if (!s)
        return;
    ts_buffer *buffers[] = {s->history, s->keys,  s->values,    s->valid,
                            s->work,    s->state, s->positions, s->ids};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        ts_buffer_unref(buffers[i]);
    free(s->frame_slots);
    free(s->pend);
    free(s->pend_valid);
    free(s->host_state);
    free(s->host_positions);
    free(s->host_valid);
    free(s->flags);
    free(s->recorded[0]);
    free(s->recorded[1]);
    ts_autogaze_unref(s->a);
    free(s);
}

void ts_autogaze_stream_reset(ts_autogaze_stream *s)
{
    s->first = s->len = s->valid_count = s->frames_seen = 0;
    s->n_frames = s->n_pend = 0;
}

ts_arr ts_autogaze_embeddings(const ts_autogaze_stream *s)
{
    return s->embeds;
}

const float *ts_autogaze_logits(const ts_autogaze_stream *s, int pass)
{
    return pass >= 0 && pass < 2 && s->has_recorded[pass] ? s->recorded[pass] : NULL;
}

/* ---- vision ---- */

static ts_arr history_at(const ts_autogaze_stream *s, int block, int slot, int frames)
{
    const ts_autogaze_config *c = &s->a->c;
    size_t plane = (size_t)c->conv_width * (size_t)c->n_vision * sizeof(float);
    return ts_arr_at(s->history, plane * (size_t)(block * c->kt + slot), TS_F32,
                     &TS_SHAPE(1, (int64_t)frames * c->conv_width, c->side, c->side));
}

/* Each block's input becomes its newest frame; the older ones move towards slot 0. */
static ts_status remember(ts_autogaze_stream *s, ts_ops *ops, int block, const ts_arr *input,
                          ts_error *err)
{
    int kt = s->a->c.kt;
    ts_status st = TS_OK;
    for (int i = 0; i + 1 < kt && st == TS_OK; i++) {
        ts_arr from = history_at(s, block, i + 1, 1), to = history_at(s, block, i, 1);
        st = ts_op_copy(ops, &from, &to, err);
    }
    ts_arr newest = history_at(s, block, kt - 1, 1);
    return st == TS_OK ? ts_op_copy(ops, input, &newest, err) : st;
}

static ts_status vision(ts_autogaze_stream *s, ts_ops *ops, const ts_arr *input, ts_error *err)
{
    const ts_autogaze *a = s->a;
    const ts_autogaze_config *c = &a->c;
    static const int swap[2] = {1, 0};
    ts_arr x = ts_arr_reshape(input, &TS_SHAPE(1, 3, c->input_px, c->input_px));
    ts_arr flat = ts_arr_reshape(&s->plane, &TS_SHAPE(c->conv_width, c->n_vision));
    ts_epilogue relu = {.act = {.kind = TS_ACT_RELU}};
    ts_status st = TS_OK;
    if (!s->frames_seen) /* before the first frame there is nothing but zeros */
        st = ts_buffer_fill_u32(ts_ops_queue(ops), s->history, 0, 0,
                                (size_t)(c->kt * c->depth * c->conv_width * c->n_vision) * 4, err);
    if (st == TS_OK)
        st = ts_op_conv(ops, &x, a->patch, NULL, &s->plane, err);
    if (st == TS_OK)
        st = ts_op_transpose(ops, &flat, swap, &s->tokens, err);
    if (st == TS_OK)
        st = ts_op_layer_norm(ops, &s->tokens, &a->norm_w, &a->norm_b, 1e-5f, &s->tokens, err);
    if (st == TS_OK)
        st = ts_op_transpose(ops, &s->tokens, swap, &flat, err);
    for (int i = 0; i < c->depth && st == TS_OK; i++) {
        st = remember(s, ops, i, &s->plane, err);
        ts_arr frames = history_at(s, i, 0, c->kt);
        if (st == TS_OK)
            st = ts_op_conv(ops, &frames, a->block[i], &relu, &s->plane, err);
    }
    if (st == TS_OK)
        st = ts_op_transpose(ops, &flat, swap, &s->tokens, err);
    ts_epilogue position = {.residual = &a->pos_embed};
    return st == TS_OK ? ts_op_linear(ops, &s->tokens, a->out_proj, &position, &s->embeds, err)
                       : st;
}

/* ---- the cache ---- */

static ts_status move_cache(ts_autogaze_stream *s, ts_ops *ops, ts_buffer *const to[3],
                            int64_t capacity, ts_error *err)
{
    const ts_autogaze_config *c = &s->a->c;
    ts_queue *q = ts_ops_queue(ops);
    size_t row = slot_bytes(c), live = (size_t)(s->len - s->first);
    ts_status st = TS_OK;
    for (int l = 0; l < c->layers && live && st == TS_OK; l++) {
        size_t from = ((size_t)l * (size_t)s->capacity + (size_t)s->first) * row;
        size_t at = (size_t)l * (size_t)capacity * row;
        st = ts_buffer_copy(q, s->keys, from, to[0], at, live * row, err);
        if (st == TS_OK)
            st = ts_buffer_copy(q, s->values, from, to[1], at, live * row, err);
    }
    if (live && st == TS_OK)
        st = ts_buffer_copy(q, s->valid, (size_t)s->first, to[2], 0, live, err);
    return st;
}

/* Room for n more slots behind len: what lives moves to the front, or to larger memory. */
static ts_status make_room(ts_autogaze_stream *s, ts_ops *ops, int64_t n, ts_error *err)
{
    const ts_autogaze_config *c = &s->a->c;
    int64_t live = s->len - s->first;
    if (s->keys && s->len + n <= s->capacity)
        return TS_OK;
    if (s->keys && live + n <= s->capacity && s->first >= live) {
        ts_status st =
            move_cache(s, ops, (ts_buffer *[3]){s->keys, s->values, s->valid}, s->capacity, err);
        s->len = live;
        s->first = 0;
        return st;
    }
    int64_t capacity = 2 * (live + n);
    size_t bytes = (size_t)c->layers * (size_t)capacity * slot_bytes(c);
    ts_buffer *to[3] = {0};
    ts_status st = ts_buffer_create(s->device, bytes, &to[0], err);
    if (st == TS_OK)
        st = ts_buffer_create(s->device, bytes, &to[1], err);
    if (st == TS_OK)
        st = ts_buffer_create(s->device, (size_t)capacity, &to[2], err);
    if (st == TS_OK)
        st = move_cache(s, ops, to, capacity, err);
    if (st == TS_OK)
        st = ts_queue_finish(ts_ops_queue(ops), err); /* before the old memory is given back */
    if (st != TS_OK) {
        for (int i = 0; i < 3; i++)
            ts_buffer_unref(to[i]);
        return st;
    }
    ts_buffer_unref(s->keys);
    ts_buffer_unref(s->values);
    ts_buffer_unref(s->valid);
    s->keys = to[0];
    s->values = to[1];
    s->valid = to[2];
    s->capacity = capacity;
    s->len = live;
    s->first = 0;
    return TS_OK;
}

/* Drop the oldest frames until fewer than `horizon` remain. */
static void forget_frames(ts_autogaze_stream *s, int horizon)
{
    int drop = s->n_frames - (horizon - 1);
    if (drop <= 0)
        return;
    if (drop >= s->n_frames) { /* its unprocessed last chunk goes too, but counts */
        for (int i = 0; i < s->n_pend; i++)
            s->valid_count += s->pend_valid[i];
        s->n_pend = 0;
        s->first = s->len;
        s->n_frames = 0;
        return;
    }
    for (int i = 0; i < drop; i++)
        s->first += s->frame_slots[i];
    s->n_frames -= drop;
    memmove(s->frame_slots, s->frame_slots + drop, (size_t)s->n_frames * sizeof *s->frame_slots);
}

/* ---- the decoder ---- */

/* Rows s->x[0…m) become the slots from `base` on; leaves the result in s->x. */
static ts_status layers(ts_autogaze_stream *s, ts_ops *ops, int64_t m, int64_t base,
                        const ts_arr *positions, ts_error *err)
{
    const ts_autogaze_config *c = &s->a->c;
    int64_t d = c->head_width, q = c->heads * d, kv = c->kv_heads * d, w = q + 2 * kv;
    ts_arr x = ts_arr_rows(&s->x, 0, m), x2 = ts_arr_rows(&s->x2, 0, m);
    ts_arr normed = ts_arr_rows(&s->normed, 0, m), qkv = ts_arr_rows(&s->qkv, 0, m);
    ts_arr mixed = ts_arr_rows(&s->mixed, 0, m), gate_up = ts_arr_rows(&s->gate_up, 0, m);
    ts_arr gated = ts_arr_rows(&s->gated, 0, m), at = ts_arr_rows(positions, 0, m);
    ts_arr valid = ts_arr_at(s->valid, (size_t)s->first, TS_U8, &TS_SHAPE(base + m - s->first));
    ts_attention att = {.batch = 1,
                        .heads = c->heads,
                        .kv_heads = c->kv_heads,
                        .queries = m,
                        .keys = base + m - s->first,
                        .width = d,
                        .q = {.head = d, .row = w},
                        .k = {.head = d, .row = kv},
                        .v = {.head = d, .row = kv},
                        .y = {.head = d, .row = q},
                        .causal = true,
                        .causal_first = base - s->first,
                        .valid = &valid};
    ts_status st = TS_OK;
    for (int l = 0; l < c->layers && st == TS_OK; l++) {
        const autogaze_layer *layer = &s->a->layer[l];
        size_t row = slot_bytes(c), start = (size_t)l * (size_t)s->capacity;
        ts_arr k_new = ts_arr_at(s->keys, (start + (size_t)base) * row, TS_F32, &TS_SHAPE(m, kv));
        ts_arr v_new = ts_arr_at(s->values, (start + (size_t)base) * row, TS_F32, &TS_SHAPE(m, kv));
        ts_arr k_all =
            ts_arr_at(s->keys, (start + (size_t)s->first) * row, TS_F32, &TS_SHAPE(att.keys, kv));
        ts_arr v_all =
            ts_arr_at(s->values, (start + (size_t)s->first) * row, TS_F32, &TS_SHAPE(att.keys, kv));
        st = ts_op_rms_norm(ops, &x, &layer->input_norm, (float)c->rms_eps, &normed, err);
        if (st == TS_OK)
            st = ts_op_linear(ops, &normed, layer->qkv, NULL, &qkv, err);
        if (st == TS_OK)
            st = ts_op_attention_store(ops, &qkv, &at, &s->a->inv_freq, c->heads, c->kv_heads, d,
                                       &k_new, &v_new, err);
        if (st == TS_OK)
            st = ts_op_attention(ops, &att, &qkv, &k_all, &v_all, &mixed, err);
        if (st == TS_OK)
            st = ts_op_linear(ops, &mixed, layer->o, &(ts_epilogue){.residual = &x}, &x2, err);
        if (st == TS_OK)
            st = ts_op_rms_norm(ops, &x2, &layer->post_norm, (float)c->rms_eps, &normed, err);
        if (st == TS_OK)
            st = ts_op_linear(ops, &normed, layer->gate_up, NULL, &gate_up, err);
        if (st == TS_OK)
            st = ts_ops_flat(ops, "autogaze", "autogaze_gate",
                             ts_ops_is_cpu(ops) ? m : m * c->intermediate, 8,
                             TS_ARGS(TS_OP_ARR(&gate_up), TS_OP_ARR(&gated),
                                     TS_UINT(c->intermediate), TS_ULONG(m)),
                             err);
        if (st == TS_OK)
            st = ts_op_linear(ops, &gated, layer->down, &(ts_epilogue){.residual = &x2}, &x, err);
    }
    return st;
}

/* One pass over rows [0, m) of x, and the choice of the next tokens from the last of them. */
static ts_status run_pass(ts_autogaze_stream *s, ts_ops *ops, int64_t m, int64_t base,
                          const ts_arr *positions, const ts_autogaze_limits *limits, ts_error *err)
{
    const ts_autogaze_config *c = &s->a->c;
    ts_status st = layers(s, ops, m, base, positions, err);
    ts_arr row = ts_arr_rows(&s->x, m - 1, 1);
    if (st == TS_OK)
        st = ts_op_rms_norm(ops, &row, &s->a->final_norm, (float)c->rms_eps, &s->last, err);
    if (st == TS_OK)
        st = ts_op_linear(ops, &s->last, s->a->heads, NULL, &s->logits, err);
    select_args p = {.k = c->multi_token,
                     .ids = c->n_ids,
                     .most = limits->max_tokens,
                     .has_requirement = limits->has_requirement,
                     .requirement = (float)limits->requirement,
                     .record = limits->record};
    if (st == TS_OK)
        st = ts_ops_groups(ops, "autogaze", "autogaze_select", (const size_t[3]){1, 1, 1}, 256,
                           TS_ARGS(TS_OP_ARR(&s->logits), TS_BUF(s->state), TS_BYTES(&p, sizeof p)),
                           err);
    return st;
}

static ts_status record_logits(ts_autogaze_stream *s, ts_ops *ops, int pass, ts_error *err)
{
    s->has_recorded[pass] = true;
    return ts_arr_read(ops, &s->logits, s->recorded[pass], err);
}

/* Positions and validity of the rows of the first pass, and the tail that later chunks reuse. */
static void number_rows(ts_autogaze_stream *s, int32_t tail[])
{
    const ts_autogaze_config *c = &s->a->c;
    int64_t count = s->valid_count;
    int n = 0;
    for (int i = 0; i < s->n_pend; i++) { /* a hidden one repeats the value before */
        count += s->pend_valid[i];
        s->host_valid[n] = s->pend_valid[i];
        s->host_positions[n++] = (int32_t)(count - 1);
    }
    for (int i = 0; i < c->n_vision; i++) {
        s->host_valid[n] = 1;
        s->host_positions[n++] = (int32_t)(count++);
    }
    s->valid_count = count;
    for (int i = 0; i < c->multi_token; i++)
        tail[i] = s->host_positions[n - c->multi_token + i];
}

/* Everything the device must know before the first pass of a frame. */
static ts_status upload_frame(ts_autogaze_stream *s, ts_ops *ops, int64_t base,
                              const ts_autogaze_limits *limits, ts_error *err)
{
    const ts_autogaze_config *c = &s->a->c;
    ts_queue *q = ts_ops_queue(ops);
    int k = c->multi_token, rows = s->n_pend + c->n_vision;
    number_rows(s, s->host_positions + rows);
    memset(s->host_valid + rows, 1, (size_t)(limits->max_tokens + k));
    ts_status st = ts_buffer_write(q, s->positions, 0, s->host_positions,
                                   (size_t)(rows + k) * sizeof(int32_t), err);
    if (st == TS_OK)
        st = ts_buffer_write(q, s->valid, (size_t)base, s->host_valid,
                             (size_t)(rows + limits->max_tokens + k), err);
    if (st == TS_OK)
        st = ts_buffer_fill_u32(q, s->state, 0, 0,
                                (size_t)(ST_HEAD + 3 * c->n_ids + k) * sizeof(int32_t), err);
    if (st == TS_OK && s->n_pend) {
        st = ts_buffer_write(q, s->ids, 0, s->pend, (size_t)s->n_pend * sizeof(int32_t), err);
        ts_arr ids = ts_arr_at(s->ids, 0, TS_I32, &TS_SHAPE(s->n_pend));
        ts_arr to = ts_arr_rows(&s->x, 0, s->n_pend);
        if (st == TS_OK)
            st = ts_op_gather(ops, &s->a->embed, &ids, 0, &to, err);
    }
    ts_arr to = ts_arr_rows(&s->x, s->n_pend, c->n_vision);
    return st == TS_OK ? ts_op_copy(ops, &s->embeds, &to, err) : st;
}

/* Share of the finest lattice that the valid tokens so far cover. */
static double covered(const ts_autogaze_config *c, const int32_t *tokens, const int32_t *flags,
                      int n)
{
    int side = 1, finest = 1;
    for (int i = 0; i < c->n_scales; i++) {
        int a = side, b = c->grid[i];
        while (b) {
            int t = a % b;
            a = b;
            b = t;
        }
        side = side / a * c->grid[i] > 256 ? 257 : side / a * c->grid[i];
        finest = c->grid[i] > finest ? c->grid[i] : finest;
    }
    side = side > 256 ? finest : side;
    uint8_t *map = calloc((size_t)side * (size_t)side, 1);
    int marked = 0;
    for (int t = 0; t < n && map; t++) {
        int scale, row, col;
        if (!flags[t])
            continue;
        ts_autogaze_cell(c, tokens[t], &scale, &row, &col);
        int g = c->grid[scale];
        for (int y = row * side / g; y < ((row + 1) * side + g - 1) / g; y++)
            for (int x = col * side / g; x < ((col + 1) * side + g - 1) / g; x++) {
                marked += !map[y * side + x];
                map[y * side + x] = 1;
            }
    }
    free(map);
    return (double)marked / ((double)side * side);
}

static ts_status read_state(ts_autogaze_stream *s, ts_ops *ops, size_t ints, ts_error *err)
{
    return ts_buffer_read(ts_ops_queue(ops), s->state, 0, s->host_state, ints * sizeof(int32_t),
                          err);
}

/* All passes of a frame: the first over pend and vision, then one per chunk of tokens. */
static ts_status decode(ts_autogaze_stream *s, ts_ops *ops, const ts_autogaze_limits *limits,
                        ts_error *err)
{
    const ts_autogaze_config *c = &s->a->c;
    int k = c->multi_token, rows = s->n_pend + c->n_vision;
    int most = (limits->max_tokens + k - 1) / k;
    int look = limits->coverage > 0 ? 1 : limits->decode_chunk;
    ts_arr positions = ts_arr_at(s->positions, 0, TS_I32, &TS_SHAPE(rows + k));
    ts_arr tail = ts_arr_rows(&positions, rows, k);
    ts_arr next = ts_arr_at(s->state, (size_t)(ST_HEAD + 3 * c->n_ids) * sizeof(int32_t), TS_I32,
                            &TS_SHAPE(k));
    ts_arr chunk_rows = ts_arr_rows(&s->x, 0, k);
    int64_t base = s->len;
    s->has_recorded[0] = s->has_recorded[1] = false;
    ts_status st = upload_frame(s, ops, base, limits, err);
    if (st == TS_OK)
        st = run_pass(s, ops, rows, base, &positions, limits, err);
    if (st == TS_OK && limits->record)
        st = record_logits(s, ops, 0, err);
    base += rows;
    for (int pass = 1; pass < most && st == TS_OK; pass++, base += k) {
        if (pass % look == 0) {
            st = read_state(s, ops, limits->coverage > 0 ? state_ints(c) : ST_HEAD, err);
            if (st != TS_OK || s->host_state[ST_STOP])
                break;
            const int32_t *tokens = s->host_state + ST_HEAD;
            if (limits->coverage > 0 && covered(c, tokens, tokens + c->n_ids,
                                                s->host_state[ST_EMITTED]) >= limits->coverage)
                break;
        }
        st = ts_op_gather(ops, &s->a->embed, &next, 0, &chunk_rows, err);
        if (st == TS_OK)
            st = run_pass(s, ops, k, base, &tail, limits, err);
        if (st == TS_OK && limits->record && pass == 1)
            st = record_logits(s, ops, 1, err);
    }
    if (st == TS_OK)
        st = read_state(s, ops, state_ints(c), err);
    if (st == TS_OK && s->host_state[ST_BAD])
        st = ts_fail(err, TS_E_DEVICE, "AutoGaze: the network's outputs are not finite");
    return st;
}

/* The frame is decoded: what it leaves behind, and what the caller gets. */
static ts_status settle(ts_autogaze_stream *s, ts_autogaze_frame *out, ts_error *err)
{
    const ts_autogaze_config *c = &s->a->c;
    const int32_t *h = s->host_state, *tokens = h + ST_HEAD, *flags = tokens + c->n_ids;
    int n = h[ST_EMITTED], chunk = h[ST_CHUNK];
    if (s->n_frames == s->cap_frames) {
        int64_t *grown =
            ts_realloc_array(s->frame_slots, (size_t)s->cap_frames + 32, sizeof *s->frame_slots);
        if (!grown)
            return ts_fail(err, TS_E_NO_MEMORY, "frames");
        s->frame_slots = grown;
        s->cap_frames += 32;
    }
    s->len += s->n_pend + c->n_vision + n - chunk;
    s->frame_slots[s->n_frames++] = c->n_vision + n;
    s->frames_seen++;
    *out = (ts_autogaze_frame){
        .tokens = tokens, .valid = s->flags, .n_tokens = n, .forward_passes = h[ST_PASSES]};
    for (int i = 0; i < n; i++) {
        s->flags[i] = flags[i] != 0;
        out->n_valid += s->flags[i];
        out->stopped = out->stopped || !s->flags[i];
        if (i < n - chunk)
            s->valid_count += s->flags[i];
    }
    s->n_pend = chunk;
    int64_t pending = 0;
    for (int i = 0; i < chunk; i++) {
        s->pend[i] = tokens[n - chunk + i];
        s->pend_valid[i] = s->flags[n - chunk + i];
        pending += s->pend_valid[i];
    }
    out->losses = (const float *)(const void *)(flags + 2 * c->n_ids + c->multi_token);
    out->slots = s->len - s->first + s->n_pend;
    out->valid_count = s->valid_count + pending;
    return TS_OK;
}

ts_status ts_autogaze_step(ts_autogaze_stream *s, ts_ops *ops, const ts_arr *input,
                           const ts_autogaze_limits *limits, ts_autogaze_frame *out, ts_error *err)
{
    const ts_autogaze_config *c = &s->a->c;
    if (ts_arr_elements(input) != 3 * (int64_t)c->input_px * c->input_px || input->dtype != TS_F32)
        return ts_fail(err, TS_E_SHAPE, "input is %s %s, want f32 [3,%d,%d]",
                       ts_dtype_name(input->dtype), ts_shape_text(&input->shape, (char[96]){0}, 96),
                       c->input_px, c->input_px);
    if (limits->max_tokens < 1 || limits->max_tokens > c->n_ids || limits->horizon < 1 ||
        limits->decode_chunk < 1)
        return ts_fail(err, TS_E_OPTION, "limits: %d tokens, horizon %d", limits->max_tokens,
                       limits->horizon);
    bool full = limits->reset_policy && s->frames_seen >= limits->horizon;
    if (full || s->valid_count + c->n_vision + 2 * c->multi_token >= c->max_positions)
        ts_autogaze_stream_reset(s);
    forget_frames(s, limits->horizon);
    ts_status st =
        make_room(s, ops, s->n_pend + c->n_vision + limits->max_tokens + c->multi_token, err);
    if (st == TS_OK)
        st = vision(s, ops, input, err);
    if (st == TS_OK)
        st = decode(s, ops, limits, err);
    if (st == TS_OK)
        st = settle(s, out, err);
    if (st != TS_OK)
        ts_autogaze_stream_reset(s); /* half a frame is no state to go on from */
    return st;
}
