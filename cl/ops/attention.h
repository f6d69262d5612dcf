/*
 * Scaled dot-product attention over tiles of keys (no M x N buffer), with grouped heads, causal and
 * additive masks, key validity, and any layout of heads; rotary embedding.
 */
#ifndef TS_CL_OPS_ATTENTION_H
#define TS_CL_OPS_ATTENTION_H

#include "cl/ops/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Element strides of batch, head and row; the width is contiguous. */
typedef struct ts_heads {
    int64_t batch, head, row;
} ts_heads;
/** [B,rows,heads,width]: heads side by side in a row, as a projection leaves them. */
ts_heads ts_heads_in_rows(int64_t rows, int64_t heads, int64_t width);

typedef struct ts_attention {
    int64_t batch, heads, kv_heads; /* kv_heads divides heads; 0: as heads */
    int64_t queries, keys;
    int64_t width, value_width; /* value_width 0: as width */
    ts_heads q, k, v, y;
    float scale;           /* 0: 1/sqrt(width) */
    bool causal;           /* query i sees keys 0 … causal_first + i */
    int64_t causal_first;  /* keys before the first query: keys - queries for a cache */
    const ts_arr *valid;   /* u8 [keys]: 0 hides a key from all; NULL */
    const ts_arr *mask;    /* f32 added to the scores, keys contiguous; NULL */
    ts_heads mask_strides; /* of the mask; 0 broadcasts */
} ts_attention;

/**
 * y = softmax(scale·q·kᵀ + mask)·v. A query that sees no key gives zeros.
 *
 * Shapes: arrays hold what the strides reach; the caller answers for it. f32.
 * Errors: TS_E_SHAPE (sizes), TS_E_DTYPE.
 */
TS_CHECKED ts_status ts_op_attention(ts_ops *ops, const ts_attention *a, const ts_arr *q,
                                     const ts_arr *k, const ts_arr *v, ts_arr *y, ts_error *err);

/**
 * Rotary embedding in place: x is rows of `heads` heads of `width`, `row_stride` elements apart;
 * element i < width/2 turns with i + width/2 by position·inv_freq[i].
 *
 * Shapes: position: [rows] i32; inv_freq: [width/2] f32.
 */
TS_CHECKED ts_status ts_op_rotary(ts_ops *ops, ts_arr *x, const ts_arr *position,
                                  const ts_arr *inv_freq, int64_t heads, int64_t width,
                                  int64_t row_stride, ts_error *err);

/**
 * A decoder's new rows into its cache, in one step: rows of `qkv` hold `heads` query heads, then
 * kv_heads key heads and value heads of `width`. Queries are turned in place (as ts_op_rotary), turned
 * keys and the values go to the cache's rows.
 *
 * Shapes: qkv: [rows, (heads + 2·kv_heads)·width]; keys, values: [rows, kv_heads·width].
 */
TS_CHECKED ts_status ts_op_attention_store(ts_ops *ops, ts_arr *qkv, const ts_arr *position,
                                           const ts_arr *inv_freq, int64_t heads, int64_t kv_heads,
                                           int64_t width, ts_arr *keys, ts_arr *values,
                                           ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
