#include "tests/support/gs_fixture.h"

#include "cl/base/fs.h"
#include "tests/support/check.h"

static void read_file(ts_buf *out, const char *dir, const char *name)
{
    ts_error err = {0};
    char path[512];
    snprintf(path, sizeof path, "%s/golden/image-gs/%s", dir, name);
    CHECK_OK(ts_fs_read(path, 64 << 20, out, &err));
}

void gs_fixture_open(gs_fixture *f, const char *dir, const char *name)
{
    ts_error err = {0};
    memset(f, 0, sizeof *f);
    read_file(&f->bytes, dir, name);
    CHECK_OK(ts_safetensors_parse(f->bytes.data, f->bytes.len, &f->file, &err));
}

void gs_fixture_close(gs_fixture *f)
{
    ts_safetensors_finish(&f->file);
    ts_buf_finish(&f->bytes);
}

static void *copy_of(const gs_fixture *f, const char *name, ts_dtype dtype, size_t *n)
{
    const ts_st_tensor *e = ts_safetensors_find(&f->file, name);
    if (!e)
        fail_msg("no tensor %s", name);
    assert_int_equal(e->dtype, dtype);
    void *copy = malloc(e->nbytes ? e->nbytes : 1);
    assert_non_null(copy);
    memcpy(copy, e->data, e->nbytes);
    if (n)
        *n = e->nbytes / 4;
    return copy;
}

float *gs_fixture_f32(const gs_fixture *f, const char *name, size_t *n)
{
    return copy_of(f, name, TS_F32, n);
}

int32_t *gs_fixture_i32(const gs_fixture *f, const char *name, size_t *n)
{
    return copy_of(f, name, TS_I32, n);
}

json_t *gs_fixture_json(const char *dir, const char *name)
{
    ts_error err = {0};
    ts_buf text = {0};
    json_t *out = NULL;
    read_file(&text, dir, name);
    CHECK_OK(ts_json_parse(text.data, text.len, &out, &err));
    ts_buf_finish(&text);
    return out;
}
