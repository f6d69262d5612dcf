#include "cl/tensor/tensor.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/size.h"

struct ts_tensor {
    atomic_int refs;
    ts_dtype dtype;
    ts_shape shape;
    size_t nbytes, offset;
    ts_buffer *buffer;
};

/* ---- shapes ---- */

int64_t ts_shape_elements(const ts_shape *shape)
{
    int64_t n = 1;
    for (int i = 0; i < shape->rank; i++)
        n *= shape->dim[i];
    return n;
}

bool ts_shape_equal(const ts_shape *a, const ts_shape *b)
{
    return a->rank == b->rank && memcmp(a->dim, b->dim, (size_t)a->rank * sizeof a->dim[0]) == 0;
}

ts_status ts_shape_check(const ts_shape *shape, ts_dtype dtype, size_t *nbytes, ts_error *err)
{
    if (shape->rank < 0 || shape->rank > TS_MAX_RANK)
        return ts_fail(err, TS_E_SIZE, "rank %d is not in 0 … %d", shape->rank, TS_MAX_RANK);
    bool empty = false, fits = true;
    uint64_t elements = 1;
    for (int i = 0; i < shape->rank; i++) {
        int64_t d = shape->dim[i];
        if (d < 0 || d > INT32_MAX)
            return ts_fail(err, TS_E_SIZE, "shape: %" PRId64 " of axis %d is not in 0 … %d", d, i,
                           INT32_MAX);
        empty = empty || d == 0;
        fits = fits && !__builtin_mul_overflow(elements, (uint64_t)d, &elements);
    }
    char text[256];
    if (!empty && !fits)
        return ts_fail(err, TS_E_SIZE, "shape %s: the number of elements overflows",
                       ts_shape_text(shape, text, sizeof text));
    if (!empty && elements > UINT64_C(1) << 31)
        return ts_fail(err, TS_E_TOO_LARGE, "shape %s has more than 2^31 elements",
                       ts_shape_text(shape, text, sizeof text));
    *nbytes = empty ? 0 : (size_t)elements * ts_dtype_bytes(dtype);
    return TS_OK;
}

/* One dimension: digits only, no sign, no space; saturates far beyond what the check allows. */
static const char *parse_dim(const char *p, int64_t *out)
{
    if (*p < '0' || *p > '9')
        return NULL;
    int64_t value = 0;
    for (; *p >= '0' && *p <= '9'; p++)
        value = value > INT64_MAX / 100 ? value : value * 10 + (*p - '0');
    *out = value;
    return p;
}

ts_status ts_shape_parse(const char *text, ts_shape *out, ts_error *err)
{
    ts_shape shape = {0};
    for (const char *p = text; *p;) {
        if (shape.rank == TS_MAX_RANK)
            return ts_fail(err, TS_E_OPTION, "shape \"%.100s\" has more than %d dimensions", text,
                           TS_MAX_RANK);
        p = parse_dim(p, &shape.dim[shape.rank++]);
        if (!p || (*p && *p != ',') || (*p == ',' && !p[1]))
            return ts_fail(err, TS_E_OPTION,
                           "shape \"%.100s\": want numbers with commas, as 64,128", text);
        p += *p == ',';
    }
    *out = shape;
    return TS_OK;
}

char *ts_shape_text(const ts_shape *shape, char *out, size_t n)
{
    size_t used = (size_t)snprintf(out, n, "[");
    for (int i = 0; i < shape->rank && used < n; i++)
        used += (size_t)snprintf(out + used, n - used, "%s%" PRId64, i ? "," : "", shape->dim[i]);
    if (used < n)
        snprintf(out + used, n - used, "]");
    return out;
}

/* ---- tensors ---- */

ts_status ts_tensor_wrap(ts_buffer *buffer, size_t offset, ts_dtype dtype, const ts_shape *shape,
                         ts_tensor **out, ts_error *err)
{
    size_t nbytes, end;
    ts_status st = ts_shape_check(shape, dtype, &nbytes, err);
    if (st != TS_OK)
        return st;
    if (!ts_add_size(offset, nbytes, &end) || end > ts_buffer_bytes(buffer))
        return ts_fail(err, TS_E_SIZE, "a tensor of %zu bytes at %zu does not fit a buffer of %zu",
                       nbytes, offset, ts_buffer_bytes(buffer));
    ts_tensor *tensor = calloc(1, sizeof *tensor);
    if (!tensor)
        return ts_fail(err, TS_E_NO_MEMORY, "tensor");
    atomic_init(&tensor->refs, 1);
    tensor->dtype = dtype;
    tensor->shape = *shape;
    tensor->nbytes = nbytes;
    tensor->offset = offset;
    tensor->buffer = ts_buffer_ref(buffer);
    *out = tensor;
    return TS_OK;
}

ts_status ts_tensor_create(ts_device *device, ts_dtype dtype, const ts_shape *shape,
                           ts_tensor **out, ts_error *err)
{
    size_t nbytes;
    ts_status st = ts_shape_check(shape, dtype, &nbytes, err);
    if (st != TS_OK)
        return st;
    ts_buffer *buffer;
    st = ts_buffer_create(device, nbytes, &buffer, err);
    if (st != TS_OK)
        return st;
    st = ts_tensor_wrap(buffer, 0, dtype, shape, out, err);
    ts_buffer_unref(buffer);
    return st;
}

ts_status ts_tensor_from_host(ts_queue *queue, ts_dtype dtype, const ts_shape *shape,
                              const void *data, size_t nbytes, ts_tensor **out, ts_error *err)
{
    size_t want;
    ts_status st = ts_shape_check(shape, dtype, &want, err);
    if (st != TS_OK)
        return st;
    char text[256];
    if (want != nbytes)
        return ts_fail(err, TS_E_SIZE, "%s %s is %zu bytes, got %zu", ts_dtype_name(dtype),
                       ts_shape_text(shape, text, sizeof text), want, nbytes);
    ts_tensor *tensor;
    st = ts_tensor_create(ts_queue_device(queue), dtype, shape, &tensor, err);
    if (st != TS_OK)
        return st;
    st = ts_buffer_write(queue, tensor->buffer, 0, data, nbytes, err);
    if (st != TS_OK)
        ts_tensor_unref(tensor);
    else
        *out = tensor;
    return st;
}

ts_status ts_tensor_read(ts_queue *queue, const ts_tensor *tensor, void *dst, ts_error *err)
{
    return ts_buffer_read(queue, tensor->buffer, tensor->offset, dst, tensor->nbytes, err);
}

ts_tensor *ts_tensor_ref(ts_tensor *tensor)
{
    if (tensor)
        atomic_fetch_add_explicit(&tensor->refs, 1, memory_order_relaxed);
    return tensor;
}

void ts_tensor_unref(ts_tensor *tensor)
{
    if (!tensor || atomic_fetch_sub_explicit(&tensor->refs, 1, memory_order_acq_rel) != 1)
        return;
    ts_buffer_unref(tensor->buffer);
    free(tensor);
}

bool ts_tensor_unique(const ts_tensor *tensor)
{
    return atomic_load_explicit(&tensor->refs, memory_order_acquire) == 1 &&
           ts_buffer_unique(tensor->buffer);
}

ts_dtype ts_tensor_dtype(const ts_tensor *tensor)
{
    return tensor->dtype;
}

const ts_shape *ts_tensor_shape(const ts_tensor *tensor)
{
    return &tensor->shape;
}

size_t ts_tensor_nbytes(const ts_tensor *tensor)
{
    return tensor->nbytes;
}

ts_buffer *ts_tensor_buffer(const ts_tensor *tensor)
{
    return tensor->buffer;
}

size_t ts_tensor_offset(const ts_tensor *tensor)
{
    return tensor->offset;
}

ts_device *ts_tensor_device(const ts_tensor *tensor)
{
    return ts_buffer_device(tensor->buffer);
}
