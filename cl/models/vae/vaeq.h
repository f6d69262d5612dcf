/*
 * VAEQ: decoders' weights with folded batch norms, one tensor after the other without names, as f32,
 * f16 or symmetric i8. Which tensor is which follows from the layer list: every linear layer and
 * convolution in order, its weight, then its bias.
 */
#ifndef TS_CL_MODELS_VAE_VAEQ_H
#define TS_CL_MODELS_VAE_VAEQ_H

#include "cl/models/weights.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Whether a weights file is of this form: any name that does not end in .safetensors. */
bool ts_vaeq_is(const char *name);

/**
 * Read `path` for the layers of a list (borrowed: it names the tensors and must outlive *out).
 *
 * Format: u32 magic 0x56414551, u32 version 1, u32 mode (0 f32, 1 f16, 2 i8), u32 tensors; then the
 *         tensors: packed f32 or f16, or for i8 each as u32 elements, u32 scales, f32 scales[], i8
 *         data, zeros to a multiple of 4. Without the magic: raw f32. All little-endian.
 * Errors: TS_E_FILE: sizes that do not fit the layers, a wrong header, bytes left over.
 */
TS_CHECKED ts_status ts_vaeq_open(const char *path, const json_t *layers, ts_weights **out,
                                  ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
