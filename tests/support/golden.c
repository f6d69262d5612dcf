#include "tests/support/golden.h"

#include "tests/support/check.h"

void ts_golden_open(const char *path, ts_golden *out)
{
    ts_error err = {0};
    CHECK_OK(ts_fs_map_open(path, &out->map, &err));
    CHECK_OK(ts_safetensors_parse(out->map.data, out->map.len, &out->file, &err));
}

void ts_golden_close(ts_golden *golden)
{
    ts_safetensors_finish(&golden->file);
    ts_fs_map_close(&golden->map);
}

const ts_st_tensor *ts_golden_find(const ts_golden *golden, const char *name)
{
    const ts_st_tensor *t = ts_safetensors_find(&golden->file, name);
    if (!t)
        fail_msg("golden tensor %s is missing", name);
    return t;
}

size_t ts_golden_count(const ts_golden *golden, const char *name)
{
    return (size_t)ts_shape_elements(&ts_golden_find(golden, name)->shape);
}

float *ts_golden_f32(const ts_golden *golden, const char *name)
{
    float *out = calloc(ts_golden_count(golden, name) + 1, sizeof *out);
    assert_non_null(out);
    ts_st_tensor_to_f32(ts_golden_find(golden, name), out);
    return out;
}
