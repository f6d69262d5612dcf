/* A safetensors file of tests/golden held in memory, its tensors as f32. */
#ifndef TS_TESTS_SUPPORT_GOLDEN_H
#define TS_TESTS_SUPPORT_GOLDEN_H

#include "cl/base/fs.h"
#include "cl/tensor/safetensors.h"

typedef struct ts_golden {
    ts_fs_map map;
    ts_safetensors file;
} ts_golden;

void ts_golden_open(const char *path, ts_golden *out); /* fails the test */
void ts_golden_close(ts_golden *golden);
const ts_st_tensor *ts_golden_find(const ts_golden *golden, const char *name);
float *ts_golden_f32(const ts_golden *golden, const char *name); /* free() it */
size_t ts_golden_count(const ts_golden *golden, const char *name);

#endif
