/* config.json and preprocessor_config.json of an AutoGaze directory. Plain values, no device. */
#ifndef TS_CL_MODELS_AUTOGAZE_CONFIG_H
#define TS_CL_MODELS_AUTOGAZE_CONFIG_H

#include "cl/base/json.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    TS_AUTOGAZE_MAX_SCALES = 16
};

typedef struct ts_autogaze_config {
    int n_scales;
    int scale_px[TS_AUTOGAZE_MAX_SCALES];  /* ascending */
    int grid[TS_AUTOGAZE_MAX_SCALES];      /* side of each scale's grid */
    int first[TS_AUTOGAZE_MAX_SCALES + 1]; /* first local id of each scale; the last is n_ids */
    int n_ids;                             /* fixation vocabulary; the stop token has this id */
    int max_frames;
    bool has_ratio, has_requirement; /* defaults of the configuration are active */
    double ratio, requirement;
    int input_px, patch_px, side, n_vision; /* side² vision tokens a frame */
    int conv_width, depth, kt, ks;
    int width, intermediate, layers, heads, kv_heads, head_width, multi_token;
    double rms_eps, rope_theta;
    bool llama3, attention_bias, mlp_bias;
    double rope_factor, rope_low, rope_high, rope_original;
    int max_positions;
} ts_autogaze_config;

/** Read config.json. Unknown keys are ignored. Errors: TS_E_FILE naming the key. */
TS_CHECKED ts_status ts_autogaze_config_read(const json_t *doc, ts_autogaze_config *out,
                                             ts_error *err);
/** RoPE frequencies, width/2 of them. */
void ts_autogaze_inv_freq(const ts_autogaze_config *config, float *out);
/** Scale, row and column of a local id below n_ids. */
void ts_autogaze_cell(const ts_autogaze_config *config, int id, int *scale, int *row, int *col);
/** Tokens a frame may emit for a ratio: max(1, trunc(f32(ratio)·n_ids)), at most n_ids. */
int ts_autogaze_limit(const ts_autogaze_config *config, double ratio);

typedef struct ts_autogaze_processor {
    bool resize, rescale, offset, normalize, bicubic;
    int shortest_edge; /* 0: exactly width x height */
    int width, height;
    double rescale_factor, mean[3], std[3];
} ts_autogaze_processor;

/** Read preprocessor_config.json; NULL gives the official values with the model's input size. */
TS_CHECKED ts_status ts_autogaze_processor_read(const json_t *doc, int input_px,
                                                ts_autogaze_processor *out, ts_error *err);
/** Size after the first resize of a w x h frame. */
void ts_autogaze_resized(const ts_autogaze_processor *p, int w, int h, int *out_w, int *out_h);
/** Normalised value of each byte per channel: [3][256]. */
void ts_autogaze_table(const ts_autogaze_processor *p, float out[3][256]);

/**
 * Integer taps of one axis, as Pillow's 8-bit resampling: first source index and count of each
 * output, weights of 22 fraction bits, `stride` apart. Owner: caller frees *first and *weights.
 */
TS_CHECKED ts_status ts_autogaze_taps(int in, int out, bool bicubic, int *stride, int32_t **first,
                                      int32_t **weights, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
