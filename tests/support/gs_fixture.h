/* The fixtures of tests/golden/image-gs: tensors by name, and JSON files. Fails the test on error. */
#ifndef TS_TESTS_SUPPORT_GS_FIXTURE_H
#define TS_TESTS_SUPPORT_GS_FIXTURE_H

#include "cl/base/json.h"
#include "cl/tensor/safetensors.h"

typedef struct gs_fixture {
    ts_buf bytes;
    ts_safetensors file;
} gs_fixture;

/** dir is the path of tests/. */
void gs_fixture_open(gs_fixture *f, const char *dir, const char *name);
void gs_fixture_close(gs_fixture *f);
/** A copy of a float tensor; *n gets its elements. Caller frees. */
float *gs_fixture_f32(const gs_fixture *f, const char *name, size_t *n);
int32_t *gs_fixture_i32(const gs_fixture *f, const char *name, size_t *n);
json_t *gs_fixture_json(const char *dir, const char *name);

#endif
