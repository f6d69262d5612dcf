/* Layer lists of config.json (`tensorscope-vae/1`) into a ts_net. */
#ifndef TS_CL_MODELS_VAE_LAYERS_H
#define TS_CL_MODELS_VAE_LAYERS_H

#include "cl/models/vae/net.h"
#include "cl/models/weights.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Append the layers of a list to `net`, starting at value *x for inputs of shape `input` (without the
 * batch); *x becomes the last value. Values are named "<prefix>.<index>".
 * Errors: TS_E_FILE naming "<prefix>[index] (op)", the key or the tensor.
 */
TS_CHECKED ts_status ts_layers_build(ts_net *net, ts_weights *weights, const json_t *layers,
                                     const char *prefix, const ts_shape *input, int *x,
                                     ts_error *err);
/** The same for a single layer object (mu, logvar). */
TS_CHECKED ts_status ts_layer_build(ts_net *net, ts_weights *weights, const json_t *layer,
                                    const char *name, const ts_shape *input, int *x, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
