#include "cl/ops/attention.h"

#include <math.h>

#include "cl/ops/gemm.h"
#include "cl/ops/internal.h"
#include "cl/ops/norm.h"

enum {
    GPU_QUERIES = 8,
    GPU_WIDTH = 128,
    GPU_THREADS = 128,
    GPU_SPLIT = 64 /* keys that a part has at least */
};

/* As the kernels' attention_args. */
typedef struct attention_args {
    int32_t m, n, d, dv, ratio, causal, has_valid, has_mask;
    int64_t qb, qh, qm, kb, kh, kn, vb, vh, vn, yb, yh, ym, mb, mh, mm;
    float scale;
} attention_args;

/* As gemm_args of the gemm family, for packing keys. */
typedef struct pack_args {
    uint32_t m, n, k, lda, ldb, ldc, trans_a, trans_b, bias_rows, has_bias, has_residual, batch1;
    int64_t a0, a1, b0, b1, c0, c1;
    float alpha;
    int32_t act;
    float act_a, act_b;
} pack_args;

ts_heads ts_heads_in_rows(int64_t rows, int64_t heads, int64_t width)
{
    return (ts_heads){.batch = rows * heads * width, .head = width, .row = heads * width};
}

static ts_status check(const ts_attention *a, const ts_arr *q, const ts_arr *k, const ts_arr *v,
                       const ts_arr *y, ts_error *err)
{
    const ts_arr *in[] = {q, k, v, y};
    static const char *const name[] = {"q", "k", "v", "y"};
    for (int i = 0; i < 4; i++) {
        ts_status st = ts_ops_want_f32("attention", name[i], in[i], err);
        if (st != TS_OK)
            return st;
    }
    int64_t kv = a->kv_heads ? a->kv_heads : a->heads;
    if (a->batch < 1 || a->heads < 1 || a->queries < 0 || a->keys < 0 || a->width < 1 || kv < 1 ||
        a->heads % kv)
        return ts_fail(err, TS_E_SHAPE, "attention: %lld heads over %lld, width %lld",
                       (long long)a->heads, (long long)kv, (long long)a->width);
    if (a->valid && (a->valid->dtype != TS_U8 || ts_arr_elements(a->valid) < a->keys))
        return ts_fail(err, TS_E_SHAPE, "attention: valid must be u8 [%lld]", (long long)a->keys);
    return a->mask ? ts_ops_want_f32("attention", "mask", a->mask, err) : TS_OK;
}

/* Keys as column panels in scratch, once per (batch, kv head). */
static ts_status pack_keys(ts_ops *ops, const ts_attention *a, int64_t kv, const ts_arr *k,
                           attention_args *p, ts_buffer **out, ts_error *err)
{
    size_t panels = (size_t)(a->keys + ops->nr - 1) / (size_t)ops->nr;
    uint64_t per = panels * (uint64_t)a->width * (uint64_t)ops->nr;
    size_t batches = (size_t)(a->batch * kv);
    ts_status st = ts_ops_scratch(ops, 1, (size_t)per * batches * sizeof(float), out, err);
    if (st != TS_OK)
        return st;
    pack_args g = {.n = (uint32_t)a->keys,
                   .k = (uint32_t)a->width,
                   .ldb = (uint32_t)a->k.row,
                   .trans_b = 1,
                   .batch1 = (uint32_t)kv,
                   .b0 = a->k.batch,
                   .b1 = a->k.head};
    p->kb = (int64_t)per * kv;
    p->kh = (int64_t)per;
    return ts_ops_groups(ops, "gemm", "gemm_pack_b", (size_t[3]){panels, 1, batches}, 1,
                         TS_ARGS(TS_OP_ARR(k), TS_BUF(*out), TS_BYTES(&g, sizeof g), TS_ULONG(per)),
                         err);
}

/* Wide heads on GPUs (one head of an image model): plain products over blocks of queries. */
static ts_status run_blocks(ts_ops *ops, const ts_attention *a, const ts_arr *q, const ts_arr *k,
                            const ts_arr *v, ts_arr *y, float scale, ts_error *err)
{
    int64_t dv = a->value_width ? a->value_width : a->width;
    if (a->heads != 1 || a->q.row != a->width || a->k.row != a->width || a->v.row != dv ||
        a->y.row != dv || a->valid || a->mask || a->causal)
        return ts_fail(err, TS_E_SHAPE, "attention: width %lld on this device needs one dense head",
                       (long long)a->width);
    int64_t block = (64 << 20) / 4 / (a->keys ? a->keys : 1);
    block = block < 1 ? 1 : block > a->queries ? a->queries : block;
    ts_buffer *scores;
    ts_status st = ts_ops_scratch(ops, 2, (size_t)(block * a->keys) * sizeof(float), &scores, err);
    for (int64_t b = 0; b < a->batch && st == TS_OK; b++)
        for (int64_t m = 0; m < a->queries && st == TS_OK; m += block) {
            int64_t rows = a->queries - m < block ? a->queries - m : block;
            size_t f = sizeof(float);
            ts_arr bq =
                ts_arr_at(q->buffer, q->offset + (size_t)(b * a->q.batch + m * a->width) * f,
                          TS_F32, &TS_SHAPE(rows, a->width));
            ts_arr bk = ts_arr_at(k->buffer, k->offset + (size_t)(b * a->k.batch) * f, TS_F32,
                                  &TS_SHAPE(a->keys, a->width));
            ts_arr bv = ts_arr_at(v->buffer, v->offset + (size_t)(b * a->v.batch) * f, TS_F32,
                                  &TS_SHAPE(a->keys, dv));
            ts_arr by = ts_arr_at(y->buffer, y->offset + (size_t)(b * a->y.batch + m * dv) * f,
                                  TS_F32, &TS_SHAPE(rows, dv));
            ts_arr s = ts_arr_at(scores, 0, TS_F32, &TS_SHAPE(rows, a->keys));
            st =
                ts_op_matmul(ops, &bq, &bk, &(ts_matmul){.trans_b = true, .alpha = scale}, &s, err);
            if (st == TS_OK)
                st = ts_op_softmax(ops, &s, -1, false, &s, err);
            if (st == TS_OK)
                st = ts_op_matmul(ops, &s, &bv, NULL, &by, err);
        }
    return st;
}

static ts_status run_cpu(ts_ops *ops, const ts_attention *a, int64_t kv, attention_args *p,
                         const ts_arr *q, const ts_arr *k, const ts_arr *v, ts_arr *y,
                         ts_error *err)
{
    ts_buffer *keys, *scratch;
    size_t per = (size_t)ops->mr, blocks = ((size_t)a->queries + per - 1) / per;
    size_t item = (size_t)(a->width + 4 * ops->nr) * per * sizeof(float);
    ts_status st = pack_keys(ops, a, kv, k, p, &keys, err);
    if (st == TS_OK)
        st = ts_ops_scratch(ops, 0, item * blocks * (size_t)(a->heads * a->batch), &scratch, err);
    if (st != TS_OK)
        return st;
    return ts_ops_groups(ops, "attention", "attention_tile",
                         (size_t[3]){blocks, (size_t)a->heads, (size_t)a->batch}, 1,
                         TS_ARGS(TS_OP_ARR(q), TS_BUF(keys), TS_ULONG(0), TS_OP_ARR(v),
                                 TS_OP_ARR(y), TS_OP_OPT(a->mask), TS_OP_OPT(a->valid),
                                 TS_BUF(scratch), TS_BYTES(p, sizeof *p)),
                         err);
}

/* Few queries over many keys: the keys are split so that every compute unit has work. */
static ts_status run_gpu(ts_ops *ops, const ts_attention *a, const attention_args *p,
                         const ts_arr *q, const ts_arr *k, const ts_arr *v, ts_arr *y,
                         ts_error *err)
{
    size_t blocks = ((size_t)a->queries + GPU_QUERIES - 1) / GPU_QUERIES;
    size_t groups = blocks * (size_t)(a->heads * a->batch), splits = 1;
    int64_t n = a->batch * a->heads * a->queries * p->dv;
    if (groups < 8 * ops->units) {
        splits = 8 * ops->units / groups;
        size_t most = ((size_t)a->keys + GPU_SPLIT - 1) / GPU_SPLIT;
        splits = splits < most ? splits : most;
        splits = splits < 1 ? 1 : splits > 64 ? 64 : splits;
    }
    ts_buffer *part = NULL;
    size_t bytes = (size_t)(a->batch * a->heads * a->queries) * splits * (size_t)(p->dv + 2);
    ts_status st = splits > 1 ? ts_ops_scratch(ops, 0, bytes * sizeof(float), &part, err) : TS_OK;
    if (st == TS_OK)
        st = ts_ops_groups(
            ops, "attention", "attention_tile",
            (size_t[3]){blocks, (size_t)a->heads, (size_t)a->batch * splits}, GPU_THREADS,
            TS_ARGS(TS_OP_ARR(q), TS_OP_ARR(k), TS_OP_ARR(v), TS_OP_ARR(y), TS_OP_OPT(a->mask),
                    TS_OP_OPT(a->valid), TS_BUF(part), TS_BYTES(p, sizeof *p), TS_INT(splits)),
            err);
    if (st != TS_OK || splits == 1)
        return st;
    return ts_ops_flat(ops, "attention", "attention_join", n, 1,
                       TS_ARGS(TS_BUF(part), TS_INT(splits), TS_OP_ARR(y), TS_INT(a->heads),
                               TS_BYTES(p, sizeof *p), TS_ULONG(n)),
                       err);
}

ts_status ts_op_attention(ts_ops *ops, const ts_attention *a, const ts_arr *q, const ts_arr *k,
                          const ts_arr *v, ts_arr *y, ts_error *err)
{
    ts_status st = check(a, q, k, v, y, err);
    if (st != TS_OK || !a->queries)
        return st;
    int64_t kv = a->kv_heads ? a->kv_heads : a->heads;
    int64_t dv = a->value_width ? a->value_width : a->width;
    float scale = a->scale != 0.0f ? a->scale : 1.0f / sqrtf((float)a->width);
    if (!ops->cpu && (a->width > GPU_WIDTH || dv > GPU_WIDTH))
        return run_blocks(ops, a, q, k, v, y, scale, err);
    attention_args p = {.m = (int32_t)a->queries,
                        .n = (int32_t)a->keys,
                        .d = (int32_t)a->width,
                        .dv = (int32_t)dv,
                        .ratio = (int32_t)(a->heads / kv),
                        .causal = a->causal ? (int32_t)a->causal_first : -1,
                        .has_valid = a->valid != NULL,
                        .has_mask = a->mask != NULL,
                        .qb = a->q.batch,
                        .qh = a->q.head,
                        .qm = a->q.row,
                        .kb = a->k.batch,
                        .kh = a->k.head,
                        .kn = a->k.row,
                        .vb = a->v.batch,
                        .vh = a->v.head,
                        .vn = a->v.row,
                        .yb = a->y.batch,
                        .yh = a->y.head,
                        .ym = a->y.row,
                        .mb = a->mask_strides.batch,
                        .mh = a->mask_strides.head,
                        .mm = a->mask_strides.row,
                        .scale = scale};
    return ops->cpu ? run_cpu(ops, a, kv, &p, q, k, v, y, err)
                    : run_gpu(ops, a, &p, q, k, v, y, err);
}

ts_status ts_op_rotary(ts_ops *ops, ts_arr *x, const ts_arr *position, const ts_arr *inv_freq,
                       int64_t heads, int64_t width, int64_t row_stride, ts_error *err)
{
    ts_status st = ts_ops_want_f32("rotary", "x", x, err);
    if (st == TS_OK)
        st = ts_ops_want_f32("rotary", "inv_freq", inv_freq, err);
    if (st != TS_OK)
        return st;
    if (position->dtype != TS_I32)
        return ts_fail(err, TS_E_DTYPE, "rotary: position is %s, want i32",
                       ts_dtype_name(position->dtype));
    if (width < 2 || width % 2 || ts_arr_elements(inv_freq) != width / 2)
        return ts_fail(err, TS_E_SHAPE, "rotary: width %lld with %lld frequencies",
                       (long long)width, (long long)ts_arr_elements(inv_freq));
    int64_t n = ts_arr_elements(position) * heads;
    return ts_ops_flat(ops, "attention", "attention_rotary", n, 64,
                       TS_ARGS(TS_OP_ARR(x), TS_OP_ARR(position), TS_OP_ARR(inv_freq),
                               TS_INT(heads), TS_INT(width), TS_LONG(row_stride), TS_ULONG(n)),
                       err);
}

ts_status ts_op_attention_store(ts_ops *ops, ts_arr *qkv, const ts_arr *position,
                                const ts_arr *inv_freq, int64_t heads, int64_t kv_heads,
                                int64_t width, ts_arr *keys, ts_arr *values, ts_error *err)
{
    ts_arr *all[] = {qkv, keys, values};
    static const char *const names[] = {"qkv", "keys", "values"};
    int64_t rows = ts_arr_elements(position);
    for (int i = 0; i < 3; i++) {
        ts_status st = ts_ops_want_f32("attention store", names[i], all[i], err);
        int64_t want = rows * width * (i ? kv_heads : heads + 2 * kv_heads);
        if (st == TS_OK && ts_arr_elements(all[i]) != want)
            st = ts_fail(err, TS_E_SHAPE, "attention store: %s is %s, want %lld values", names[i],
                         ts_shape_text(&all[i]->shape, (char[96]){0}, 96), (long long)want);
        if (st != TS_OK)
            return st;
    }
    if (position->dtype != TS_I32 || width < 2 || width % 2 ||
        ts_arr_elements(inv_freq) != width / 2)
        return ts_fail(err, TS_E_SHAPE, "attention store: width %lld with %lld frequencies",
                       (long long)width, (long long)ts_arr_elements(inv_freq));
    int64_t n = rows * (heads + 2 * kv_heads);
    return ts_ops_flat(ops, "attention", "attention_store", n, 64,
                       TS_ARGS(TS_OP_ARR(qkv), TS_OP_ARR(position), TS_OP_ARR(inv_freq),
                               TS_OP_ARR(keys), TS_OP_ARR(values), TS_INT(heads), TS_INT(kv_heads),
                               TS_INT(width), TS_ULONG(n)),
                       err);
}
