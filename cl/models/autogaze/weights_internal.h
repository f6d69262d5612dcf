/* The weights of AutoGaze on the device, for this folder's files. */
#ifndef TS_CL_MODELS_AUTOGAZE_WEIGHTS_INTERNAL_H
#define TS_CL_MODELS_AUTOGAZE_WEIGHTS_INTERNAL_H

#include <stdatomic.h>

#include "cl/models/autogaze/autogaze.h"
#include "cl/ops/conv.h"
#include "cl/ops/gemm.h"

typedef struct autogaze_layer {
    ts_arr input_norm, post_norm;
    ts_weight *qkv, *o, *gate_up, *down;
} autogaze_layer;

struct ts_autogaze {
    atomic_int refs;
    ts_autogaze_config c;
    ts_autogaze_processor p;
    ts_device *device;
    ts_conv *patch, **block; /* block: kt·Cv channels in, oldest frame first */
    ts_arr norm_w, norm_b, pos_embed, embed, final_norm, inv_freq, table;
    ts_weight *out_proj, *heads; /* heads: logits of all rows, then the losses */
    autogaze_layer *layer;
    uint64_t parameters, bytes;
};

#endif
