#include "cl/models/weights.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/fs.h"
#include "cl/base/size.h"

enum {
    FILES_MAX = 512
};

typedef struct weight_file {
    ts_fs_map map;
    ts_safetensors parsed;
    bool *used;
} weight_file;

struct ts_weights {
    weight_file *file;
    size_t n;
    ts_weight_rounding rounding;
    void *values; /* of weights in memory */
};

void ts_weights_close(ts_weights *weights)
{
    if (!weights)
        return;
    for (size_t i = 0; i < weights->n; i++) {
        ts_safetensors_finish(&weights->file[i].parsed);
        ts_fs_map_close(&weights->file[i].map);
        free(weights->file[i].used);
    }
    free(weights->values);
    free(weights->file);
    free(weights);
}

/* Which file has the tensor, and where in it; NULL if none. */
static weight_file *locate(const ts_weights *weights, const char *name, const ts_st_tensor **tensor)
{
    for (size_t i = 0; i < weights->n; i++) {
        *tensor = ts_safetensors_find(&weights->file[i].parsed, name);
        if (*tensor)
            return &weights->file[i];
    }
    *tensor = NULL;
    return NULL;
}

static ts_status add_file(ts_weights *weights, const char *directory, const char *name,
                          ts_error *err)
{
    char path[4096];
    ts_error why = {0};
    weight_file f = {0};
    if (strchr(name, '/') || name[0] == '.')
        return ts_fail(err, TS_E_FILE, "weights: \"%s\" is not a plain file name", name);
    snprintf(path, sizeof path, "%s/%s", directory, name);
    ts_status st = ts_fs_map_open(path, &f.map, &why);
    if (st == TS_OK)
        st = ts_safetensors_parse(f.map.data, f.map.len, &f.parsed, &why);
    const ts_st_tensor *other;
    for (size_t i = 0; i < f.parsed.n && st == TS_OK; i++)
        if (locate(weights, f.parsed.tensor[i].name, &other))
            st = ts_fail(&why, TS_E_FILE, "tensor %s is in another file too",
                         f.parsed.tensor[i].name);
    if (st == TS_OK) {
        f.used = calloc(f.parsed.n ? f.parsed.n : 1, sizeof *f.used);
        weight_file *grown = ts_realloc_array(weights->file, weights->n + 1, sizeof *grown);
        if (grown)
            weights->file = grown;
        if (!f.used || !grown)
            st = ts_fail(&why, TS_E_NO_MEMORY, "out of memory");
    }
    if (st != TS_OK) {
        free(f.used);
        ts_safetensors_finish(&f.parsed);
        ts_fs_map_close(&f.map);
        st = ts_fail(err, st == TS_E_NO_MEMORY ? st : TS_E_FILE, "%s: %s", name,
                     st == TS_E_NOT_FOUND ? "there is no such file" : why.text);
        ts_error_clear(&why);
        return st;
    }
    weights->file[weights->n++] = f;
    return TS_OK;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static ts_status add_all(ts_weights *weights, const char *directory, ts_error *err)
{
    char *names[FILES_MAX];
    size_t n = 0;
    DIR *dir = opendir(directory);
    if (!dir)
        return ts_fail_errno(err, errno, "model directory");
    for (struct dirent *e; n < FILES_MAX && (e = readdir(dir));) {
        size_t len = strlen(e->d_name);
        if (len > 12 && e->d_name[0] != '.' && !strcmp(e->d_name + len - 12, ".safetensors"))
            names[n] = strdup(e->d_name), n += names[n] != NULL;
    }
    closedir(dir);
    qsort(names, n, sizeof *names, by_text);
    ts_status st = n ? TS_OK : ts_fail(err, TS_E_FILE, "no *.safetensors beside config.json");
    for (size_t i = 0; i < n; i++) {
        if (st == TS_OK)
            st = add_file(weights, directory, names[i], err);
        free(names[i]);
    }
    return st;
}

ts_status ts_weights_open(const char *directory, const char *const *files, size_t n,
                          ts_weights **out, ts_error *err)
{
    ts_weights *weights = calloc(1, sizeof *weights);
    if (!weights)
        return ts_fail(err, TS_E_NO_MEMORY, "weights");
    ts_status st = n ? TS_OK : add_all(weights, directory, err);
    for (size_t i = 0; i < n && st == TS_OK; i++)
        st = add_file(weights, directory, files[i], err);
    if (st != TS_OK) {
        ts_weights_close(weights);
        return st;
    }
    *out = weights;
    return TS_OK;
}

static int by_tensor_name(const void *a, const void *b)
{
    return strcmp(((const ts_st_tensor *)a)->name, ((const ts_st_tensor *)b)->name);
}

ts_status ts_weights_from_memory(ts_st_tensor *tensors, size_t n, void *values, ts_weights **out,
                                 ts_error *err)
{
    ts_weights *weights = calloc(1, sizeof *weights);
    weight_file *file = calloc(1, sizeof *file);
    bool *used = calloc(n ? n : 1, sizeof *used);
    qsort(tensors, n, sizeof *tensors, by_tensor_name);
    bool twice = false;
    for (size_t i = 1; i < n; i++)
        twice = twice || !strcmp(tensors[i].name, tensors[i - 1].name);
    if (!weights || !file || !used || twice) {
        free(weights);
        free(file);
        free(used);
        return twice ? ts_fail(err, TS_E_FILE, "two layers name the same tensor")
                     : ts_fail(err, TS_E_NO_MEMORY, "weights");
    }
    file->parsed.tensor = tensors;
    file->parsed.n = n;
    file->used = used;
    weights->file = file;
    weights->n = 1;
    weights->values = values;
    *out = weights;
    return TS_OK;
}

bool ts_weights_folded(const ts_weights *weights)
{
    return weights->values != NULL;
}

const ts_st_tensor *ts_weights_find(ts_weights *weights, const char *name)
{
    const ts_st_tensor *tensor;
    locate(weights, name, &tensor);
    return tensor;
}

/* Equal but for dims of 1 at the end: a linear layer may be stored as a 1x1 convolution. */
static bool same_shape(const ts_shape *a, const ts_shape *b)
{
    for (int d = 0; d < TS_MAX_RANK; d++) {
        int64_t x = d < a->rank ? a->dim[d] : 1, y = d < b->rank ? b->dim[d] : 1;
        if (x != y)
            return false;
    }
    return true;
}

static ts_status scale_i8(ts_weights *weights, const ts_st_tensor *t, float *v, ts_error *err)
{
    char name[512];
    const ts_st_tensor *s;
    snprintf(name, sizeof name, "%s.scale", t->name);
    weight_file *file = locate(weights, name, &s);
    int64_t n = ts_shape_elements(&t->shape), rows = t->shape.rank ? t->shape.dim[0] : 1;
    int64_t scales = s ? ts_shape_elements(&s->shape) : 0;
    if (!s || s->dtype != TS_F32 || (scales != 1 && scales != rows))
        return ts_fail(err, TS_E_FILE, "tensor %s is I8 and needs an F32 tensor %s of 1 or %lld",
                       t->name, name, (long long)rows);
    file->used[s - file->parsed.tensor] = true;
    float *scale = calloc((size_t)scales, sizeof *scale);
    if (!scale)
        return ts_fail(err, TS_E_NO_MEMORY, "scales");
    ts_st_tensor_to_f32(s, scale);
    for (int64_t i = 0; i < n; i++)
        v[i] *= scale[scales == 1 ? 0 : i / (n / rows)];
    free(scale);
    return TS_OK;
}

void ts_weights_round(ts_weights *weights, ts_weight_rounding rounding)
{
    weights->rounding = rounding;
}

/* Values of one first-axis element to 127 steps on each side of 0. */
static void round_row_i8(float *v, int64_t n)
{
    double top = 1e-8;
    for (int64_t i = 0; i < n; i++)
        top = fabs((double)v[i]) > top ? fabs((double)v[i]) : top;
    double scale = top / 127.0;
    for (int64_t i = 0; i < n; i++)
        v[i] = (float)(rint((double)v[i] / scale) * scale);
}

static void round_values(ts_weight_rounding rounding, const ts_shape *shape, float *v)
{
    int64_t n = ts_shape_elements(shape), rows = shape->rank > 1 ? shape->dim[0] : 1;
    if (rounding == TS_WEIGHTS_I8) {
        for (int64_t r = 0; r < rows && n; r++)
            round_row_i8(v + r * (n / rows), n / rows);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        v[i] = rounding == TS_WEIGHTS_F16 ? ts_f16_to_f32(ts_f32_to_f16(v[i]))
                                          : ts_bf16_to_f32(ts_f32_to_bf16(v[i]));
}

ts_status ts_weights_f32(ts_weights *weights, const char *name, const ts_shape *shape, float **out,
                         ts_error *err)
{
    const ts_st_tensor *t;
    weight_file *file = locate(weights, name, &t);
    if (!t)
        return ts_fail(err, TS_E_FILE, "tensor %s is missing", name);
    if (shape && !same_shape(&t->shape, shape))
        return ts_fail(err, TS_E_FILE, "tensor %s is %s, want %s", name,
                       ts_shape_text(&t->shape, (char[96]){0}, 96),
                       ts_shape_text(shape, (char[96]){0}, 96));
    if (!ts_dtype_is_float(t->dtype) && t->dtype != TS_I8)
        return ts_fail(err, TS_E_FILE, "tensor %s is %s, want f32, f16, bf16, f64 or i8", name,
                       ts_dtype_name(t->dtype));
    size_t n = (size_t)ts_shape_elements(&t->shape);
    float *v = calloc(n ? n : 1, sizeof *v);
    if (!v)
        return ts_fail(err, TS_E_NO_MEMORY, "tensor %s of %zu values", name, n);
    ts_st_tensor_to_f32(t, v);
    file->used[t - file->parsed.tensor] = true;
    ts_status st = t->dtype == TS_I8 ? scale_i8(weights, t, v, err) : TS_OK;
    for (size_t i = 0; i < n && st == TS_OK; i++)
        if (!isfinite(v[i]))
            st = ts_fail(err, TS_E_FILE, "tensor %s holds %g at %zu", name, (double)v[i], i);
    if (st != TS_OK) {
        free(v);
        return st;
    }
    if (weights->rounding != TS_WEIGHTS_EXACT)
        round_values(weights->rounding, &t->shape, v);
    *out = v;
    return TS_OK;
}

const char *ts_weights_unused(const ts_weights *weights, size_t i)
{
    for (size_t f = 0; f < weights->n; f++)
        for (size_t t = 0; t < weights->file[f].parsed.n; t++)
            if (!weights->file[f].used[t] && i-- == 0)
                return weights->file[f].parsed.tensor[t].name;
    return NULL;
}
