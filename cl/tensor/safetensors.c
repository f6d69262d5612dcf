#include "cl/tensor/safetensors.h"

#include <stdlib.h>
#include <string.h>

enum {
    HEADER_MAX = 100 * 1024 * 1024 /* as the format's own library */
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const ts_st_tensor *)a)->name, ((const ts_st_tensor *)b)->name);
}

static int by_start(const void *a, const void *b)
{
    const ts_st_tensor *x = a, *y = b;
    if (x->data != y->data)
        return x->data < y->data ? -1 : 1;
    return (x->nbytes > y->nbytes) - (x->nbytes < y->nbytes);
}

static ts_status parse_shape(const char *name, const json_t *value, ts_shape *out, ts_error *err)
{
    if (!json_is_array(value) || json_array_size(value) > TS_MAX_RANK)
        return ts_fail(err, TS_E_FILE, "tensor %s: shape must be a list of at most %d sizes", name,
                       TS_MAX_RANK);
    out->rank = (int)json_array_size(value);
    for (int i = 0; i < out->rank; i++) {
        const json_t *dim = json_array_get(value, (size_t)i);
        if (!json_is_integer(dim) || json_integer_value(dim) < 0)
            return ts_fail(err, TS_E_FILE, "tensor %s: a size is not a whole number", name);
        out->dim[i] = json_integer_value(dim);
    }
    return TS_OK;
}

static ts_status parse_tensor(const char *name, const json_t *entry, const uint8_t *data,
                              size_t len, ts_st_tensor *out, ts_error *err)
{
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    const json_t *offsets = json_object_get(entry, "data_offsets");
    *out = (ts_st_tensor){.name = name};
    if (!dtype || !ts_dtype_parse_safetensors(dtype, &out->dtype))
        return ts_fail(err, TS_E_FILE, "tensor %s: dtype \"%s\" is not supported", name,
                       dtype ? dtype : "");
    ts_status st = parse_shape(name, json_object_get(entry, "shape"), &out->shape, err);
    if (st != TS_OK)
        return st;
    const json_t *first = json_array_get(offsets, 0), *last = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(last))
        return ts_fail(err, TS_E_FILE, "tensor %s: data_offsets must be two numbers", name);
    json_int_t a = json_integer_value(first), b = json_integer_value(last);
    if (a < 0 || b < a || (uint64_t)b > len)
        return ts_fail(err, TS_E_FILE, "tensor %s: data_offsets %lld to %lld of %zu bytes", name,
                       (long long)a, (long long)b, len);
    size_t bytes;
    ts_error why = {0};
    if (ts_shape_check(&out->shape, out->dtype, &bytes, &why) != TS_OK) {
        st = ts_fail(err, TS_E_FILE, "tensor %s: %s", name, why.text);
        ts_error_clear(&why);
        return st;
    }
    if (bytes != (size_t)(b - a))
        return ts_fail(err, TS_E_FILE, "tensor %s: %lld bytes, its shape and dtype take %zu", name,
                       (long long)(b - a), bytes);
    out->data = data + a;
    out->nbytes = bytes;
    return TS_OK;
}

static ts_status parse_all(ts_safetensors *file, const uint8_t *data, size_t len, ts_error *err)
{
    const char *name;
    json_t *entry;
    json_object_foreach(file->header, name, entry)
    {
        if (!strcmp(name, "__metadata__")) {
            if (!json_is_object(entry))
                return ts_fail(err, TS_E_FILE, "__metadata__ must be an object");
            continue;
        }
        if (!json_is_object(entry))
            return ts_fail(err, TS_E_FILE, "tensor %s: its entry must be an object", name);
        ts_status st = parse_tensor(name, entry, data, len, &file->tensor[file->n], err);
        if (st != TS_OK)
            return st;
        file->n++;
    }
    qsort(file->tensor, file->n, sizeof *file->tensor, by_start);
    const uint8_t *end = data;
    for (size_t i = 0; i < file->n; i++) {
        if (file->tensor[i].data < end)
            return ts_fail(err, TS_E_FILE, "tensor %s overlaps another", file->tensor[i].name);
        end = file->tensor[i].data + file->tensor[i].nbytes;
    }
    qsort(file->tensor, file->n, sizeof *file->tensor, by_name);
    return TS_OK;
}

ts_status ts_safetensors_parse(const void *data, size_t len, ts_safetensors *out, ts_error *err)
{
    const uint8_t *bytes = data;
    uint64_t header = 0;
    if (len < 8)
        return ts_fail(err, TS_E_FILE, "safetensors: %zu bytes, a header takes at least 8", len);
    for (int i = 7; i >= 0; i--)
        header = header << 8 | bytes[i];
    if (header < 2 || header > HEADER_MAX || header > len - 8)
        return ts_fail(err, TS_E_FILE, "safetensors: header of %llu bytes in a file of %zu",
                       (unsigned long long)header, len);
    ts_safetensors file = {0};
    ts_error why = {0};
    ts_status st = ts_json_parse(bytes + 8, (size_t)header, &file.header, &why);
    if (st != TS_OK || !json_is_object(file.header)) {
        st = ts_fail(err, TS_E_FILE, "safetensors header: %s",
                     st != TS_OK ? why.text : "not an object");
        ts_error_clear(&why);
        goto fail;
    }
    size_t n = json_object_size(file.header);
    file.tensor = calloc(n ? n : 1, sizeof *file.tensor);
    if (!file.tensor) {
        st = ts_fail(err, TS_E_NO_MEMORY, "safetensors: table of %zu tensors", n);
        goto fail;
    }
    st = parse_all(&file, bytes + 8 + header, len - 8 - (size_t)header, err);
    if (st != TS_OK)
        goto fail;
    *out = file;
    return TS_OK;
fail:
    ts_safetensors_finish(&file);
    return st;
}

void ts_safetensors_finish(ts_safetensors *file)
{
    if (!file)
        return;
    free(file->tensor);
    json_decref(file->header);
    memset(file, 0, sizeof *file);
}

const ts_st_tensor *ts_safetensors_find(const ts_safetensors *file, const char *name)
{
    ts_st_tensor key = {.name = name};
    if (!file->n)
        return NULL;
    return bsearch(&key, file->tensor, file->n, sizeof key, by_name);
}

const json_t *ts_safetensors_metadata(const ts_safetensors *file)
{
    return json_object_get(file->header, "__metadata__");
}

void ts_st_tensor_to_f32(const ts_st_tensor *tensor, float *out)
{
    size_t n = (size_t)ts_shape_elements(&tensor->shape), width = ts_dtype_bytes(tensor->dtype);
    const uint8_t *p = tensor->data;
#define EACH(type, expression)            \
    for (size_t i = 0; i < n; i++) {      \
        type v;                           \
        memcpy(&v, p + i * width, width); \
        out[i] = (float)(expression);     \
    }                                     \
    break
    switch (tensor->dtype) {
    case TS_F32:
        memcpy(out, p, n * width);
        break;
    case TS_F16:
        EACH(uint16_t, ts_f16_to_f32(v));
    case TS_BF16:
        EACH(uint16_t, ts_bf16_to_f32(v));
    case TS_F64:
        EACH(double, v);
    case TS_BOOL:
        EACH(uint8_t, v != 0);
    case TS_U8:
        EACH(uint8_t, v);
    case TS_I8:
        EACH(int8_t, v);
    case TS_U16:
        EACH(uint16_t, v);
    case TS_I16:
        EACH(int16_t, v);
    case TS_U32:
        EACH(uint32_t, v);
    case TS_I32:
        EACH(int32_t, v);
    case TS_U64:
        EACH(uint64_t, v);
    case TS_I64:
        EACH(int64_t, v);
    case TS_DTYPE_COUNT:
        break;
    }
#undef EACH
}
