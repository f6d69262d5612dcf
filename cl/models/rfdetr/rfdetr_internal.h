/* What the files of this folder share. Names follow the published configuration. */
#ifndef TS_CL_MODELS_RFDETR_INTERNAL_H
#define TS_CL_MODELS_RFDETR_INTERNAL_H

#include "cl/models/rfdetr/rfdetr.h"
#include "cl/models/weights.h"
#include "cl/ops/conv.h"
#include "cl/ops/gemm.h"
#include "cl/ops/resize.h"

enum {
    RFDETR_BLOCKS = 64,
    RFDETR_LAYERS = 16,
    RFDETR_TAPS = 8,
    RFDETR_BOTTLENECKS = 8,
    RFDETR_SLOTS = 40
};

typedef struct rfdetr_config {
    int hidden, blocks, heads, patch, windows, grid; /* grid: side of the stored positions */
    int mlp;                                         /* width of the hidden layer */
    bool swiglu;
    float backbone_eps, conv_eps;
    int taps[RFDETR_TAPS], n_taps, last; /* last: blocks that are run */
    bool global[RFDETR_BLOCKS];
    int d, layers, ffn, queries, groups, self_heads, cross_heads, points;
    int bottlenecks, half; /* half: width of the projector's halves */
    int classes, height, width;
    bool antialias;
} rfdetr_config;

typedef struct rfdetr_norm {
    ts_arr weight, bias;
} rfdetr_norm;

typedef struct rfdetr_block {
    rfdetr_norm norm1, norm2;
    ts_weight *qkv, *out, *fc1, *gate, *fc2; /* gate: SwiGLU only; layer scales are folded in */
} rfdetr_block;

typedef struct rfdetr_layer {
    ts_weight *qk, *v, *out, *offsets, *weights, *value, *cross_out, *fc1, *fc2;
    rfdetr_norm norm1, norm2, norm3;
} rfdetr_layer;

typedef struct rfdetr_mlp {
    ts_weight *layer[3];
} rfdetr_mlp;

struct ts_rfdetr {
    ts_model base;
    ts_ops *ops;
    rfdetr_config c;
    json_t *config;
    char (*labels)[64];
    bool has_labels;

    ts_conv *patch;
    ts_arr positions; /* [N,C] */
    ts_arr cls;       /* [1,C], with its position */
    rfdetr_block block[RFDETR_BLOCKS];
    rfdetr_norm backbone_norm;
    ts_weight *conv1, *conv2;
    rfdetr_norm conv1_norm, conv2_norm, projector_norm;
    struct {
        ts_conv *conv[2];
        rfdetr_norm norm[2];
    } bottleneck[RFDETR_BOTTLENECKS];
    ts_weight *enc_output, *enc_class;
    rfdetr_norm enc_norm;
    rfdetr_mlp enc_box, box, ref_head; /* ref_head has two layers */
    ts_weight *class_embed;
    rfdetr_norm decoder_norm;
    rfdetr_layer layer[RFDETR_LAYERS];
    ts_arr query_feat, query_box; /* [Q,D], [Q,4] */

    /* Of the token grid. */
    ts_arr proposals;       /* [N,4] */
    ts_arr valid, penalty;  /* [N,1], [N]; buffer NULL: all tokens are valid */
    ts_arr to_windows;      /* i32 [B·w²·(1+n)]: 0 is the class token */
    ts_arr from_windows;    /* i32 [B·N] */
    int64_t batch;          /* that the index arrays are for */

    ts_arr slot[RFDETR_SLOTS]; /* activations, kept between runs */
    ts_arr planes, resized;    /* of pictures */
    ts_arr scale, shift;       /* normalisation */
    ts_resize *resize;
    int in_w, in_h;
    uint64_t parameters;
    size_t bytes;
};

TS_CHECKED ts_status rfdetr_config_read(const char *directory, const json_t *config,
                                        rfdetr_config *out, ts_error *err);
TS_CHECKED ts_status rfdetr_load_weights(ts_rfdetr *m, ts_weights *weights, ts_error *err);
/** Positions of the token grid from the stored one: antialiased bicubic, a = -0.5. */
TS_CHECKED ts_status rfdetr_resample_positions(const float *stored, int side, int channels, int gh,
                                               int gw, float *out, ts_error *err);

typedef struct rfdetr_tap_sink {
    const char *const *wanted;
    size_t n;
    ts_tensor **out;
} rfdetr_tap_sink;
/** Enqueue the network: x [B,3,H,W] -> logits [B,Q,K], boxes [B,Q,4] (the model's own memory). */
TS_CHECKED ts_status rfdetr_forward(ts_rfdetr *m, const ts_arr *x, const rfdetr_tap_sink *taps,
                                    ts_arr *logits, ts_arr *boxes, ts_error *err);

#endif
