#include "cl/tensor/layout.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* The kernel's argument; cl/kernels/layout.cl has the same struct. */
typedef struct kernel_layout {
    uint64_t dim[TS_MAX_RANK], src_stride[TS_MAX_RANK], dst_stride[TS_MAX_RANK];
    uint64_t src_offset, dst_offset;
    int32_t rank, pad;
} kernel_layout;

/* Strides of a dense tensor, in bytes. */
static void dense_strides(const ts_shape *shape, size_t width, bool fortran, uint64_t *out)
{
    uint64_t step = width;
    for (int i = 0; i < shape->rank; i++) {
        int axis = fortran ? i : shape->rank - 1 - i;
        out[axis] = step;
        step *= (uint64_t)shape->dim[axis];
    }
}

static bool is_dense(const ts_layout *l)
{
    if (!l->has_strides)
        return !l->fortran || l->shape.rank < 2;
    uint64_t dense[TS_MAX_RANK];
    dense_strides(&l->shape, ts_dtype_bytes(l->dtype), false, dense);
    for (int i = 0; i < l->shape.rank; i++)
        if (l->shape.dim[i] > 1 && (uint64_t)l->strides[i] != dense[i])
            return false;
    return true;
}

bool ts_layout_is_plain(const ts_layout *l)
{
    return is_dense(l) && !(l->big_endian && ts_dtype_bytes(l->dtype) > 1);
}

static ts_status check_strides(const ts_layout *l, uint64_t *min_bytes, uint64_t *max_bytes,
                               ts_error *err)
{
    uint64_t width = ts_dtype_bytes(l->dtype), reach = width, whole = width;
    for (int i = 0; i < l->shape.rank; i++) {
        uint64_t dim = (uint64_t)l->shape.dim[i], stride = (uint64_t)l->strides[i], last, full;
        if (l->strides[i] < (int64_t)width)
            return ts_fail(err, TS_E_OPTION,
                           "strides: %" PRId64 " of axis %d; want at least %" PRIu64, l->strides[i],
                           i, width);
        if (dim == 0)
            continue;
        if (__builtin_mul_overflow(dim - 1, stride, &last) ||
            __builtin_add_overflow(reach, last, &reach) ||
            __builtin_mul_overflow(dim, stride, &full) || reach > INT64_MAX || full > INT64_MAX)
            return ts_fail(err, TS_E_SIZE, "strides: the size overflows");
        whole = full > whole ? full : whole;
    }
    *min_bytes = reach;
    *max_bytes = whole > reach ? whole : reach;
    return TS_OK;
}

ts_status ts_layout_check(const ts_layout *l, uint64_t *min_bytes, uint64_t *max_bytes,
                          size_t *nbytes, ts_error *err)
{
    ts_status st = ts_shape_check(&l->shape, l->dtype, nbytes, err);
    if (st != TS_OK)
        return st;
    *min_bytes = *max_bytes = *nbytes;
    if (l->has_strides)
        st = check_strides(l, min_bytes, max_bytes, err);
    if (st != TS_OK)
        return st;
    if (*nbytes == 0)
        *min_bytes = 0;
    if (l->offset > INT64_MAX || *max_bytes > INT64_MAX - l->offset)
        return ts_fail(err, TS_E_SIZE, "offset: the size overflows");
    *min_bytes += l->offset;
    *max_bytes += l->offset;
    return TS_OK;
}

/* ---- the copy ---- */

/* Drop axes of one item and join those that both sides step through without a gap. */
static void collapse(kernel_layout *k)
{
    int used = 0;
    for (int i = 0; i < k->rank; i++) {
        if (k->dim[i] == 1)
            continue;
        int p = used - 1;
        if (used && k->src_stride[p] == k->src_stride[i] * k->dim[i] &&
            k->dst_stride[p] == k->dst_stride[i] * k->dim[i])
        {
            k->dim[p] *= k->dim[i];
            k->src_stride[p] = k->src_stride[i];
            k->dst_stride[p] = k->dst_stride[i];
            continue;
        }
        k->dim[used] = k->dim[i];
        k->src_stride[used] = k->src_stride[i];
        k->dst_stride[used] = k->dst_stride[i];
        used++;
    }
    if (!used) {
        k->dim[0] = 1;
        used = 1;
    }
    k->rank = used;
}

/* One long row would keep one item busy: give its start to an outer axis. */
static void split_row(kernel_layout *k)
{
    enum {
        PIECE = 4096
    };
    if (k->rank != 1 || k->dim[0] < 2 * PIECE || k->dim[0] % PIECE)
        return;
    k->dim[1] = PIECE;
    k->src_stride[1] = k->src_stride[0];
    k->dst_stride[1] = k->dst_stride[0];
    k->dim[0] /= PIECE;
    k->src_stride[0] *= PIECE;
    k->dst_stride[0] *= PIECE;
    k->rank = 2;
}

static ts_status run_copy(ts_queue *queue, ts_buffer *src, ts_buffer *dst, kernel_layout *k,
                          size_t width, bool swap, ts_error *err)
{
    collapse(k);
    split_row(k);
    char options[64];
    snprintf(options, sizeof options, "-DTS_BYTES=%zu -DTS_SWAP=%d", width, swap && width > 1);
    ts_kernel *kernel;
    ts_status st = ts_queue_kernel(queue, "layout", options, "layout_copy", &kernel, err);
    if (st != TS_OK)
        return st;
    const ts_caps *caps = ts_device_caps(ts_queue_device(queue));
    uint64_t rows = 1, inner = k->dim[k->rank - 1];
    for (int i = 0; i + 1 < k->rank; i++)
        rows *= k->dim[i];
    size_t global[2] = {1, caps->compute_units * 4}, local[2] = {32, 4};
    bool cpu = caps->kind == TS_DEVICE_CPU;
    if (!cpu) {
        global[0] = inner < 1024 ? inner : 1024;
        global[1] = rows < 16384 ? rows : 16384;
    } else if (rows < global[1]) {
        global[1] = rows;
    }
    return ts_launch(queue, kernel, 2, global, cpu ? NULL : local,
                     TS_ARGS(TS_BUF(src), TS_BUF(dst), TS_BYTES(k, sizeof *k)), err);
}

ts_status ts_layout_to_tensor(ts_queue *queue, ts_buffer *src, const ts_layout *l, ts_tensor **out,
                              ts_error *err)
{
    ts_tensor *tensor;
    ts_status st = ts_tensor_create(ts_queue_device(queue), l->dtype, &l->shape, &tensor, err);
    if (st != TS_OK)
        return st;
    size_t width = ts_dtype_bytes(l->dtype);
    kernel_layout k = {.rank = l->shape.rank, .src_offset = l->offset};
    for (int i = 0; i < k.rank; i++) {
        k.dim[i] = (uint64_t)l->shape.dim[i];
        k.src_stride[i] = (uint64_t)l->strides[i];
    }
    if (!l->has_strides)
        dense_strides(&l->shape, width, l->fortran, k.src_stride);
    dense_strides(&l->shape, width, false, k.dst_stride);
    if (ts_tensor_nbytes(tensor))
        st = run_copy(queue, src, ts_tensor_buffer(tensor), &k, width, l->big_endian, err);
    if (st != TS_OK)
        ts_tensor_unref(tensor);
    else
        *out = tensor;
    return st;
}

/* ---- regions ---- */

ts_status ts_region_check(const ts_tensor *tensor, const ts_shape *offset, const ts_shape *size,
                          size_t *nbytes, ts_error *err)
{
    const ts_shape *shape = ts_tensor_shape(tensor);
    char text[256];
    if (offset->rank != shape->rank || size->rank != shape->rank)
        return ts_fail(err, TS_E_RANGE, "region: want %d numbers in offset and in shape, for %s",
                       shape->rank, ts_shape_text(shape, text, sizeof text));
    for (int i = 0; i < shape->rank; i++)
        if (offset->dim[i] < 0 || size->dim[i] < 0 || offset->dim[i] > shape->dim[i] ||
            size->dim[i] > shape->dim[i] - offset->dim[i])
            return ts_fail(
                err, TS_E_RANGE, "region: %" PRId64 " from %" PRId64 " of axis %d is outside %s",
                size->dim[i], offset->dim[i], i, ts_shape_text(shape, text, sizeof text));
    *nbytes = (size_t)ts_shape_elements(size) * ts_dtype_bytes(ts_tensor_dtype(tensor));
    return TS_OK;
}

ts_status ts_region_write(ts_queue *queue, ts_buffer *patch, ts_tensor *tensor,
                          const ts_shape *offset, const ts_shape *size, ts_error *err)
{
    size_t width = ts_dtype_bytes(ts_tensor_dtype(tensor));
    kernel_layout k = {.rank = size->rank, .dst_offset = ts_tensor_offset(tensor)};
    dense_strides(size, width, false, k.src_stride);
    dense_strides(ts_tensor_shape(tensor), width, false, k.dst_stride);
    for (int i = 0; i < size->rank; i++) {
        k.dim[i] = (uint64_t)size->dim[i];
        k.dst_offset += (uint64_t)offset->dim[i] * k.dst_stride[i];
        if (!k.dim[i])
            return TS_OK;
    }
    return run_copy(queue, patch, ts_tensor_buffer(tensor), &k, width, false, err);
}
