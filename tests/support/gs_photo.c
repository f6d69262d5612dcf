#include "tests/support/gs_photo.h"

#include "cl/base/fs.h"
#include "server/codec.h"
#include "tests/support/check.h"
#include "tests/support/gs_fixture.h"

float *gs_photo(const char *dir, const char *name, int *w, int *h)
{
    ts_error err = {0};
    ts_buf file = {0}, pixels = {0};
    ts_image_info info;
    char path[512];
    snprintf(path, sizeof path, "%s/golden/image-gs/%s", dir, name);
    CHECK_OK(ts_fs_read(path, 1 << 24, &file, &err));
    CHECK_OK(ts_image_decode(file.data, file.len, 3, &info, &pixels, &err));
    size_t n = (size_t)info.width * (size_t)info.height;
    float *out = malloc(3 * n * sizeof *out);
    for (size_t i = 0; i < n; ++i)
        for (size_t c = 0; c < 3; ++c)
            out[c * n + i] = (float)pixels.data[3 * i + c] / 255.0f;
    *w = info.width;
    *h = info.height;
    ts_buf_finish(&file);
    ts_buf_finish(&pixels);
    return out;
}

void gs_photo_model(const char *dir, const char *prefix, ts_gs_model *out)
{
    static const char *const names[] = {"xy", "scale", "rot", "feat"};
    static const size_t at[] = {0, 2, 4, 5}, width[] = {2, 2, 1, 3};
    gs_fixture f;
    gs_fixture_open(&f, dir, "fit_photo.safetensors");
    memset(out, 0, sizeof *out);
    out->channels = 3;
    out->inverse_scale = true;
    out->topk = 10;
    out->gamma = 1;
    out->eps = 1e-4;
    out->width = 192;
    out->height = 128;
    for (int p = 0; p < 4; ++p) {
        char name[64];
        size_t n;
        snprintf(name, sizeof name, "%s.%s", prefix, names[p]);
        float *t = gs_fixture_f32(&f, name, &n);
        n /= width[p];
        if (!out->par)
            out->par = calloc(n * 8, sizeof *out->par);
        out->n = n;
        for (size_t i = 0; i < n; ++i)
            memcpy(out->par + i * 8 + at[p], t + i * width[p], width[p] * sizeof *t);
        free(t);
    }
    gs_fixture_close(&f);
}
