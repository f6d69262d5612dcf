#include "cl/models/vae/vaeq.h"

#include <stdlib.h>
#include <string.h>

#include "cl/base/fs.h"
#include "cl/base/size.h"

enum {
    MAGIC = 0x56414551,
    TENSORS_MAX = 4096,
    DEPTH_MAX = 8
};

/* What the layers want, in order. */
typedef struct wanted {
    ts_st_tensor *tensor;
    size_t n, cap;
} wanted;

bool ts_vaeq_is(const char *name)
{
    static const char ending[] = ".safetensors";
    size_t len = strlen(name), n = sizeof ending - 1;
    return len < n || strcmp(name + len - n, ending) != 0;
}

static ts_status want(wanted *w, const char *name, const ts_shape *shape, ts_error *err)
{
    size_t bytes;
    if (!name)
        return TS_OK;
    if (w->n == TENSORS_MAX)
        return ts_fail(err, TS_E_FILE, "more than %d tensors", TENSORS_MAX);
    if (w->n == w->cap) {
        ts_st_tensor *grown = ts_realloc_array(w->tensor, w->cap + 64, sizeof *grown);
        if (!grown)
            return ts_fail(err, TS_E_NO_MEMORY, "tensors");
        w->tensor = grown;
        w->cap += 64;
    }
    ts_status st = ts_shape_check(shape, TS_F32, &bytes, err);
    w->tensor[w->n++] =
        (ts_st_tensor){.name = name, .dtype = TS_F32, .shape = *shape, .nbytes = bytes};
    return st;
}

static int64_t size_of(const json_t *layer, const char *key, int64_t absent)
{
    const json_t *v = json_object_get(layer, key);
    return json_is_integer(v) ? json_integer_value(v) : absent;
}

/* One layer: its shapes as layers.c checks them later; here only their sizes matter. */
static ts_status want_layer(wanted *w, const json_t *layer, const char *op, ts_error *err)
{
    int64_t in = size_of(layer, "in", 0), out = size_of(layer, "out", 0);
    int64_t groups = size_of(layer, "groups", 1), k[2];
    const json_t *kernel = json_object_get(layer, "kernel");
    ts_shape shape = TS_SHAPE(out, in);
    if (in < 1 || out < 1 || groups < 1)
        return ts_fail(err, TS_E_FILE, "a %s layer without in and out", op);
    for (size_t i = 0; i < 2; i++)
        k[i] = json_integer_value(json_is_array(kernel) ? json_array_get(kernel, i) : kernel);
    if (!strcmp(op, "conv2d"))
        shape = TS_SHAPE(out, in / groups, k[0], k[1]);
    else if (!strcmp(op, "conv_transpose2d"))
        shape = TS_SHAPE(in, out / groups, k[0], k[1]);
    ts_status st = want(w, json_string_value(json_object_get(layer, "weight")), &shape, err);
    if (st == TS_OK)
        st = want(w, json_string_value(json_object_get(layer, "bias")), &TS_SHAPE(out), err);
    return st;
}

static ts_status want_list(wanted *w, const json_t *layers, int depth, ts_error *err)
{
    ts_status st = TS_OK;
    if (depth > DEPTH_MAX)
        return ts_fail(err, TS_E_FILE, "layers are nested too deeply");
    for (size_t i = 0; i < json_array_size(layers) && st == TS_OK; i++) {
        const json_t *layer = json_array_get(layers, i);
        const char *op = json_string_value(json_object_get(layer, "op"));
        if (op && (!strcmp(op, "linear") || !strncmp(op, "conv", 4)))
            st = strcmp(op, "concat") ? want_layer(w, layer, op, err) : TS_OK;
        if (st == TS_OK)
            st = want_list(w, json_object_get(layer, "layers"), depth + 1, err);
        if (st == TS_OK)
            st = want_list(w, json_object_get(layer, "shortcut"), depth + 1, err);
    }
    return st;
}

/* ---- reading ---- */

typedef struct reader {
    const uint8_t *data;
    size_t len, at;
} reader;

static bool take(reader *r, size_t n, const uint8_t **out)
{
    if (n > r->len - r->at)
        return false;
    *out = r->data + r->at;
    r->at += n;
    return true;
}

static bool take_u32(reader *r, uint32_t *out)
{
    const uint8_t *p;
    if (!take(r, 4, &p))
        return false;
    memcpy(out, p, 4);
    return true;
}

static ts_status read_i8(reader *r, const ts_st_tensor *t, float *out, ts_error *err)
{
    uint32_t n = 0, scales = 0;
    const uint8_t *s, *q, *pad;
    size_t want_n = t->nbytes / sizeof(float);
    uint32_t rows = t->shape.rank > 1 ? (uint32_t)t->shape.dim[0] : 1;
    if (!take_u32(r, &n) || !take_u32(r, &scales) || n != want_n || scales != rows ||
        !take(r, (size_t)scales * sizeof(float), &s) || !take(r, n, &q) ||
        !take(r, (4 - n % 4) % 4, &pad))
        return ts_fail(err, TS_E_FILE, "tensor %s: %u values with %u scales, want %zu with %u",
                       t->name, n, scales, want_n, rows);
    for (size_t i = 0; i < n; i++) {
        float scale;
        memcpy(&scale, s + i / (n / rows) * sizeof scale, sizeof scale);
        out[i] = (float)(int8_t)q[i] * scale;
    }
    return TS_OK;
}

static ts_status read_tensor(reader *r, uint32_t mode, const ts_st_tensor *t, float *out,
                             ts_error *err)
{
    size_t n = t->nbytes / sizeof(float);
    const uint8_t *p;
    if (mode == 2)
        return read_i8(r, t, out, err);
    if (!take(r, n * (mode ? 2 : 4), &p))
        return ts_fail(err, TS_E_FILE, "tensor %s: the file ends within it", t->name);
    for (size_t i = 0; i < n && mode; i++) {
        uint16_t bits;
        memcpy(&bits, p + 2 * i, 2);
        out[i] = ts_f16_to_f32(bits);
    }
    if (!mode)
        memcpy(out, p, t->nbytes);
    return TS_OK;
}

static ts_status read_header(reader *r, size_t n, uint32_t *mode, ts_error *err)
{
    uint32_t magic = 0, version = 0, tensors = 0;
    *mode = 0;
    if (!take_u32(r, &magic) || magic != MAGIC) {
        r->at = 0; /* raw f32 */
        return TS_OK;
    }
    if (!take_u32(r, &version) || !take_u32(r, mode) || !take_u32(r, &tensors) || version != 1 ||
        *mode > 2)
        return ts_fail(err, TS_E_FILE, "VAEQ: version %u, mode %u; want version 1, mode 0 to 2",
                       version, *mode);
    if (tensors != n)
        return ts_fail(err, TS_E_FILE, "VAEQ: %u tensors, the layers have %zu", tensors, n);
    return TS_OK;
}

ts_status ts_vaeq_open(const char *path, const json_t *layers, ts_weights **out, ts_error *err)
{
    ts_fs_map map = {0};
    wanted w = {0};
    float *values = NULL;
    uint32_t mode = 0;
    size_t total = 0, at = 0;
    ts_status st = want_list(&w, layers, 0, err);
    if (st == TS_OK)
        st = ts_fs_map_open(path, &map, err);
    reader r = {.data = map.data, .len = map.len};
    for (size_t i = 0; i < w.n; i++)
        total += w.tensor[i].nbytes;
    /* Four times the file is what i8 grows to at most: a short file must not claim more. */
    if (st == TS_OK && total / 4 > map.len)
        st = ts_fail(err, TS_E_FILE, "%zu bytes, the layers have %zu values", map.len, total / 4);
    if (st == TS_OK)
        st = read_header(&r, w.n, &mode, err);
    if (st == TS_OK) {
        values = calloc(total / sizeof *values + 1, sizeof *values);
        if (!values)
            st = ts_fail(err, TS_E_NO_MEMORY, "weights");
    }
    for (size_t i = 0; i < w.n && st == TS_OK; i++) {
        st = read_tensor(&r, mode, &w.tensor[i], values + at, err);
        w.tensor[i].data = (const uint8_t *)(values + at);
        at += w.tensor[i].nbytes / sizeof *values;
    }
    if (st == TS_OK && r.at != r.len)
        st = ts_fail(err, TS_E_FILE, "%zu bytes are left over", r.len - r.at);
    if (st == TS_OK)
        st = ts_weights_from_memory(w.tensor, w.n, values, out, err);
    if (st != TS_OK) {
        free(w.tensor);
        free(values);
    }
    ts_fs_map_close(&map);
    return st;
}
