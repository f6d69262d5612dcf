#include "cl/ops/ops.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/ops/internal.h"

ts_status ts_ops_create(ts_queue *queue, ts_ops **out, ts_error *err)
{
    ts_ops *ops = calloc(1, sizeof *ops);
    if (!ops)
        return ts_fail(err, TS_E_NO_MEMORY, "operator context");
    ops->queue = queue;
    ops->device = ts_queue_device(queue);
    const ts_caps *caps = ts_device_caps(ops->device);
    ops->cpu = caps->kind == TS_DEVICE_CPU;
    ops->units = caps->compute_units ? caps->compute_units : 1;
    bool wide = caps->preferred_float_width >= 16;
    ops->mr = wide ? 8 : 6;
    ops->nr = wide ? 32 : 16;
    if (ops->cpu)
        snprintf(ops->options, sizeof ops->options, "-DTS_CPU=1 -DTS_V=%d", wide ? 16 : 8);
    else
        snprintf(ops->options, sizeof ops->options, "-DTS_SM=%d", caps->sm);
    *out = ops;
    return TS_OK;
}

void ts_ops_destroy(ts_ops *ops)
{
    if (!ops)
        return;
    ts_status st = ts_queue_finish(ops->queue, NULL); /* the pool may reuse scratch at once */
    (void)st;
    for (int i = 0; i < TS_OPS_SCRATCH; i++)
        ts_buffer_unref(ops->scratch[i]);
    free(ops);
}

ts_queue *ts_ops_queue(const ts_ops *ops)
{
    return ops->queue;
}

ts_device *ts_ops_device(const ts_ops *ops)
{
    return ops->device;
}

bool ts_ops_is_cpu(const ts_ops *ops)
{
    return ops->cpu;
}

ts_arr ts_arr_of(const ts_tensor *tensor)
{
    return (ts_arr){ts_tensor_buffer(tensor), ts_tensor_offset(tensor), ts_tensor_dtype(tensor),
                    *ts_tensor_shape(tensor)};
}

ts_arr ts_arr_at(ts_buffer *buffer, size_t offset, ts_dtype dtype, const ts_shape *shape)
{
    return (ts_arr){buffer, offset, dtype, *shape};
}

ts_arr ts_arr_reshape(const ts_arr *array, const ts_shape *shape)
{
    return (ts_arr){array->buffer, array->offset, array->dtype, *shape};
}

ts_arr ts_arr_rows(const ts_arr *array, int64_t first, int64_t n)
{
    ts_arr out = *array;
    size_t row = array->shape.dim[0] ? ts_arr_bytes(array) / (size_t)array->shape.dim[0] : 0;
    out.offset += (size_t)first * row;
    out.shape.dim[0] = n;
    return out;
}

int64_t ts_arr_elements(const ts_arr *array)
{
    return ts_shape_elements(&array->shape);
}

size_t ts_arr_bytes(const ts_arr *array)
{
    return (size_t)ts_arr_elements(array) * ts_dtype_bytes(array->dtype);
}

ts_status ts_arr_create(ts_ops *ops, ts_dtype dtype, const ts_shape *shape, ts_arr *out,
                        ts_error *err)
{
    size_t bytes;
    ts_status st = ts_shape_check(shape, dtype, &bytes, err);
    ts_buffer *buffer = NULL;
    if (st == TS_OK)
        st = ts_buffer_create(ops->device, bytes ? bytes : 4, &buffer, err);
    if (st == TS_OK)
        *out = ts_arr_at(buffer, 0, dtype, shape);
    return st;
}

ts_status ts_arr_from_host(ts_ops *ops, ts_dtype dtype, const ts_shape *shape, const void *data,
                           ts_arr *out, ts_error *err)
{
    ts_arr array = {0};
    ts_status st = ts_arr_create(ops, dtype, shape, &array, err);
    if (st != TS_OK)
        return st;
    if (ts_arr_bytes(&array))
        st = ts_buffer_write(ops->queue, array.buffer, 0, data, ts_arr_bytes(&array), err);
    if (st != TS_OK)
        ts_arr_free(&array);
    else
        *out = array;
    return st;
}

ts_status ts_arr_read(ts_ops *ops, const ts_arr *array, void *dst, ts_error *err)
{
    size_t bytes = ts_arr_bytes(array);
    if (!bytes)
        return TS_OK;
    return ts_buffer_read(ops->queue, array->buffer, array->offset, dst, bytes, err);
}

void ts_arr_free(ts_arr *array)
{
    ts_buffer_unref(array->buffer);
    memset(array, 0, sizeof *array);
}

ts_status ts_arr_tensor(const ts_arr *array, ts_tensor **out, ts_error *err)
{
    return ts_tensor_wrap(array->buffer, array->offset, array->dtype, &array->shape, out, err);
}

ts_status ts_ops_flat(ts_ops *ops, const char *family, const char *name, int64_t n, int64_t grain,
                      const ts_arg *args, size_t n_args, ts_error *err)
{
    ts_kernel *kernel;
    if (n <= 0)
        return TS_OK;
    ts_status st = ts_queue_kernel(ops->queue, family, ops->options, name, &kernel, err);
    if (st != TS_OK)
        return st;
    size_t local = 1, global;
    if (ops->cpu) {
        /* A few pieces per core: enough to balance, few enough that launches stay cheap. */
        int64_t items = n / (grain > 0 ? grain : 1);
        int64_t most = (int64_t)ops->units * 4;
        global = (size_t)(items < 1 ? 1 : items > most ? most : items);
    } else {
        local = 256;
        global = ((size_t)n + 255) / 256 * 256;
        if (global > (1u << 20))
            global = 1u << 20;
    }
    return ts_launch(ops->queue, kernel, 1, &global, &local, args, n_args, err);
}

ts_status ts_ops_groups(ts_ops *ops, const char *family, const char *name, const size_t groups[3],
                        size_t local, const ts_arg *args, size_t n_args, ts_error *err)
{
    ts_kernel *kernel;
    if (!groups[0] || !groups[1] || !groups[2])
        return TS_OK;
    ts_status st = ts_queue_kernel(ops->queue, family, ops->options, name, &kernel, err);
    if (st != TS_OK)
        return st;
    size_t items = ops->cpu ? 1 : local;
    size_t global[3] = {groups[0] * items, groups[1], groups[2]}, locals[3] = {items, 1, 1};
    return ts_launch(ops->queue, kernel, 3, global, locals, args, n_args, err);
}

ts_status ts_ops_scratch(ts_ops *ops, int slot, size_t bytes, ts_buffer **out, ts_error *err)
{
    ts_buffer *have = ops->scratch[slot];
    if (!have || ts_buffer_bytes(have) < bytes) {
        /* Finish first: the pool may hand the old memory to another queue at once. */
        ts_status st = have ? ts_queue_finish(ops->queue, err) : TS_OK;
        if (st != TS_OK)
            return st;
        ts_buffer_unref(have);
        ops->scratch[slot] = NULL;
        size_t grown = bytes + bytes / 4 + 4096;
        st = ts_buffer_create(ops->device, grown, &ops->scratch[slot], err);
        if (st != TS_OK)
            return st;
    }
    *out = ops->scratch[slot];
    return TS_OK;
}

ts_status ts_ops_want_f32(const char *op, const char *what, const ts_arr *array, ts_error *err)
{
    if (array->dtype != TS_F32)
        return ts_fail(err, TS_E_DTYPE, "%s: %s is %s, want f32", op, what,
                       ts_dtype_name(array->dtype));
    return TS_OK;
}

ts_status ts_ops_want_shape(const char *op, const char *what, const ts_arr *array,
                            const ts_shape *shape, ts_error *err)
{
    char got[96], want[96];
    if (!ts_shape_equal(&array->shape, shape))
        return ts_fail(err, TS_E_SHAPE, "%s: %s is %s, want %s", op, what,
                       ts_shape_text(&array->shape, got, sizeof got),
                       ts_shape_text(shape, want, sizeof want));
    return TS_OK;
}
