#include "cl/ops/pool.h"

#include "cl/ops/internal.h"

/* As the kernels' pool_args. */
typedef struct pool_args {
    int32_t id, ih, iw, od, oh, ow, kd, kh, kw;
    int32_t sz, sy, sx, pz, py, px, dz, dy, dx, bz, by, bx;
    int32_t average, count_padding;
} pool_args;

static int64_t or_one(int64_t v)
{
    return v ? v : 1;
}

ts_status ts_pool_output_shape(const ts_pool *pool, const ts_shape *x, ts_shape *y, ts_error *err)
{
    int spatial = x->rank - 2;
    if (spatial != 2 && spatial != 3)
        return ts_fail(err, TS_E_SHAPE, "pool: x is %s, want [N,C,(D,)H,W]",
                       ts_shape_text(x, (char[96]){0}, 96));
    *y = *x;
    for (int i = 0; i < spatial; i++) {
        int a = 3 - spatial + i;
        int64_t stride = or_one(pool->stride[a]), in = x->dim[2 + i];
        int64_t reach = (or_one(pool->kernel[a]) - 1) * or_one(pool->dilation[a]) + 1;
        int64_t room = in + pool->pad_front[a] + pool->pad_back[a] - reach;
        if (in < 1 || stride < 1 || reach < 1 || room < 0 || pool->pad_front[a] < 0 ||
            pool->pad_back[a] < 0)
            return ts_fail(err, TS_E_SHAPE, "pool: %s is too small for a window of %lld",
                           ts_shape_text(x, (char[96]){0}, 96), (long long)reach);
        int64_t size = room / stride + 1;
        if (pool->ceil_mode && room % stride && size * stride < in + pool->pad_front[a])
            size++;
        y->dim[2 + i] = size;
    }
    return TS_OK;
}

ts_status ts_op_pool(ts_ops *ops, const ts_arr *x, const ts_pool *pool, ts_arr *y, ts_arr *index,
                     ts_error *err)
{
    ts_shape want;
    ts_status st = ts_ops_want_f32("pool", "x", x, err);
    if (st == TS_OK)
        st = ts_ops_want_f32("pool", "y", y, err);
    if (st == TS_OK)
        st = ts_pool_output_shape(pool, &x->shape, &want, err);
    if (st == TS_OK)
        st = ts_ops_want_shape("pool", "y", y, &want, err);
    if (st == TS_OK && index)
        st = ts_ops_want_shape("pool", "index", index, &want, err);
    if (st == TS_OK && index && index->dtype != TS_I64)
        return ts_fail(err, TS_E_DTYPE, "pool: index is %s, want i64", ts_dtype_name(index->dtype));
    if (st != TS_OK)
        return st;
    const ts_shape *s = &x->shape;
    bool d3 = s->rank == 5;
    pool_args p = {.id = d3 ? (int32_t)s->dim[2] : 1,
                   .ih = (int32_t)s->dim[s->rank - 2],
                   .iw = (int32_t)s->dim[s->rank - 1],
                   .od = d3 ? (int32_t)want.dim[2] : 1,
                   .oh = (int32_t)want.dim[s->rank - 2],
                   .ow = (int32_t)want.dim[s->rank - 1],
                   .kd = d3 ? (int32_t)or_one(pool->kernel[0]) : 1,
                   .kh = (int32_t)pool->kernel[1],
                   .kw = (int32_t)pool->kernel[2],
                   .sz = (int32_t)or_one(pool->stride[0]),
                   .sy = (int32_t)or_one(pool->stride[1]),
                   .sx = (int32_t)or_one(pool->stride[2]),
                   .pz = d3 ? (int32_t)pool->pad_front[0] : 0,
                   .py = (int32_t)pool->pad_front[1],
                   .px = (int32_t)pool->pad_front[2],
                   .dz = (int32_t)or_one(pool->dilation[0]),
                   .dy = (int32_t)or_one(pool->dilation[1]),
                   .dx = (int32_t)or_one(pool->dilation[2]),
                   .bz = d3 ? (int32_t)pool->pad_back[0] : 0,
                   .by = (int32_t)pool->pad_back[1],
                   .bx = (int32_t)pool->pad_back[2],
                   .average = pool->average,
                   .count_padding = pool->count_padding};
    int64_t n = ts_arr_elements(y);
    return ts_ops_flat(ops, "pool", "pool_window", n, 512,
                       TS_ARGS(TS_OP_ARR(x), TS_OP_ARR(y), TS_OP_OPT(index), TS_INT(index != NULL),
                               TS_BYTES(&p, sizeof p), TS_ULONG(n)),
                       err);
}
