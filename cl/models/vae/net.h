/*
 * A feed-forward network as a list of operations over values: what decoders and encoders are built
 * from. Built once (by layer lists or by hand), fused, then run with any batch size and, where the
 * network is convolutional, any picture size.
 *
 *   building   net_*() append an operation and return the value it makes (a small number)
 *   finishing  batch norms fold into the layer before, activations and residual sums into epilogues,
 *              weights go to the device
 *   running    per input shape a plan: every value's shape and its place in one activation buffer;
 *              a known shape allocates nothing
 *
 * Thread: one at a time, the thread of the ops.
 */
#ifndef TS_CL_MODELS_VAE_NET_H
#define TS_CL_MODELS_VAE_NET_H

#include "cl/base/name.h"
#include "cl/ops/conv.h"
#include "cl/ops/gemm.h"
#include "cl/ops/move.h"
#include "cl/ops/pool.h"
#include "cl/ops/resize.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_net ts_net;

TS_CHECKED ts_status ts_net_create(ts_net **out, ts_error *err);
void ts_net_destroy(ts_net *net); /* NULL is fine */

/*
 * Building. `x` is a value, 0 is the input; weights are host arrays that the net takes over (free()d
 * by it, also on error). A failed call returns -1 and the net remembers the first error for
 * ts_net_finish(). Shapes are without the batch.
 */
int ts_net_linear(ts_net *net, int x, int64_t in, int64_t out, float *w, float *bias);
int ts_net_conv(ts_net *net, int x, const ts_conv_geometry *geometry, float *w, float *bias);
/** y = scale[c]·x + shift[c]: a batch norm; folds into a layer before it. */
int ts_net_affine(ts_net *net, int x, int64_t channels, float *scale, float *shift);
int ts_net_group_norm(ts_net *net, int x, int64_t channels, int64_t groups, float eps, float *w,
                      float *bias);
int ts_net_layer_norm(ts_net *net, int x, int64_t n, float eps, float *w, float *bias);
int ts_net_act(ts_net *net, int x, ts_act act);
int ts_net_softmax(ts_net *net, int x, int axis);
/** Factor (> 0) or fixed size of height and width. */
int ts_net_upsample(ts_net *net, int x, double factor_h, double factor_w, int64_t height,
                    int64_t width, ts_resize_mode mode, ts_resize_coords coords);
int ts_net_pixel_shuffle(ts_net *net, int x, int64_t factor);
int ts_net_pool(ts_net *net, int x, const ts_pool *pool);
int ts_net_reshape(ts_net *net, int x, const ts_shape *shape);
int ts_net_flatten(ts_net *net, int x);
int ts_net_permute(ts_net *net, int x, int rank, const int *axes);
/** left, right, top, bottom; negative crops. */
int ts_net_pad(ts_net *net, int x, const int64_t padding[4], ts_pad_mode mode, float value);
int ts_net_add(ts_net *net, int x, int y);
int ts_net_concat(ts_net *net, int x, int y, int axis);
/** Self-attention over the positions of [C,H,W]; w, bias: q, k, v, out, each [C,C] and [C] or NULL. */
int ts_net_attention(ts_net *net, int x, int64_t channels, int64_t heads, float *const w[4],
                     float *const bias[4]);
/** Remember a failure found while building, and return -1. */
int ts_net_fail(ts_net *net, ts_status status, const char *text);

/** Give a value a name to be asked for. A later name of the same value replaces an earlier one. */
void ts_net_name(ts_net *net, int value, const char *name);
/** Shape (without the batch) of a value for an input of `input`; for checks while building. */
TS_CHECKED ts_status ts_net_shape(const ts_net *net, int value, const ts_shape *input,
                                  ts_shape *out, ts_error *err);

/**
 * Done building; `outputs` are kept. With `fuse` values in between may vanish (ts_net_find gives -1
 * for their names). Uploads the weights.
 */
TS_CHECKED ts_status ts_net_finish(ts_net *net, ts_ops *ops, const int *outputs, size_t n_outputs,
                                   bool fuse, ts_error *err);
uint64_t ts_net_parameters(const ts_net *net);
/** Bytes on the device: weights and the largest plan so far. */
uint64_t ts_net_bytes(const ts_net *net);
/** The value of a name, or -1: no such name, or fused away. */
int ts_net_find(const ts_net *net, const char *name);
/** The named values, also those that fusing removed: index 0, 1, … until NULL. */
const char *ts_net_value_name(const ts_net *net, size_t index);
/** Bytes of activations that a run of this input takes. */
TS_CHECKED ts_status ts_net_measure(ts_net *net, const ts_shape *input, size_t *bytes,
                                    ts_error *err);

/**
 * Run. `keep` are values beside the outputs that must survive the run.
 *
 * Shapes: x: [N, input…] f32.
 */
TS_CHECKED ts_status ts_net_run(ts_net *net, ts_ops *ops, const ts_arr *x, const int *keep,
                                size_t n_keep, ts_error *err);
/** A kept value of the last run, valid until the next. */
ts_arr ts_net_value(const ts_net *net, int value);

#ifdef __cplusplus
}
#endif
#endif
