/* Full-size models with seeded random weights, written to a directory: for tests and benchmarks. */
#ifndef TS_TESTS_SUPPORT_BIGMODELS_H
#define TS_TESTS_SUPPORT_BIGMODELS_H

#include <stdbool.h>
#include <stdint.h>

/**
 * The 128x128 RGB decoder at full width (12,313,667 values for 256 latents), seed 7: the same bytes
 * as the Python generator that made tests/golden/vae/full-size.safetensors.
 */
bool ts_write_dog(const char *directory, int latent, uint64_t seed);
/** An AutoGaze model of the official sizes (3,258,240 values) with small random weights. */
bool ts_write_autogaze(const char *directory, uint64_t seed);
/** Remove config.json, preprocessor_config.json, model.safetensors and the directory. */
void ts_remove_model(const char *directory);

#endif
