/*
 * The weights of a model directory: one or more safetensors files, mapped, found by name, checked and
 * widened to f32. Keeps count of what was used, so that a loader can tell what nobody asked for.
 *
 * Thread: one at a time.
 */
#ifndef TS_CL_MODELS_WEIGHTS_H
#define TS_CL_MODELS_WEIGHTS_H

#include "cl/tensor/safetensors.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_weights ts_weights;

/**
 * Open `files` (plain names) of a directory; with n = 0 every *.safetensors in it, in name order.
 * Errors: TS_E_FILE, naming the file: missing, damaged, a tensor in two files.
 */
TS_CHECKED ts_status ts_weights_open(const char *directory, const char *const *files, size_t n,
                                     ts_weights **out, ts_error *err);
/**
 * Weights that are in memory already, with batch norms folded in (ts_weights_folded() is true).
 * Owner: takes `tensors` (n of them, any order, distinct names) and `values`, which their data point
 * into, on TS_OK; both are free()d at the close.
 */
TS_CHECKED ts_status ts_weights_from_memory(ts_st_tensor *tensors, size_t n, void *values,
                                            ts_weights **out, ts_error *err);
bool ts_weights_folded(const ts_weights *weights);
void ts_weights_close(ts_weights *weights); /* NULL is fine */
/** Reduced precision that weights are rounded to when they are read; matrices only for I8. */
typedef enum ts_weight_rounding {
    TS_WEIGHTS_EXACT,
    TS_WEIGHTS_F16,
    TS_WEIGHTS_I8, /* symmetric per first-axis element, 127 steps */
    TS_WEIGHTS_BF16
} ts_weight_rounding;
void ts_weights_round(ts_weights *weights, ts_weight_rounding rounding);

/** Find by name without using it up; NULL if there is none. */
const ts_st_tensor *ts_weights_find(ts_weights *weights, const char *name);
/**
 * A tensor as f32. Floats of any width are widened or rounded; i8 is multiplied by the f32 tensor
 * `<name>.scale` (one value, or one per first-axis element). `shape` NULL: any.
 *
 * Owner:  caller frees *out.
 * Errors: TS_E_FILE: missing, another shape (dims of 1 at the end do not count), a dtype that holds
 *         no weights, a value that is not finite.
 */
TS_CHECKED ts_status ts_weights_f32(ts_weights *weights, const char *name, const ts_shape *shape,
                                    float **out, ts_error *err);
/** The i-th tensor that was never read, or NULL. */
const char *ts_weights_unused(const ts_weights *weights, size_t i);

#ifdef __cplusplus
}
#endif
#endif
