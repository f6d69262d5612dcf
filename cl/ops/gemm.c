#include "cl/ops/gemm.h"

#include <stdlib.h>
#include <string.h>

#include "cl/base/size.h"
#include "cl/ops/internal.h"

struct ts_weight {
    ts_arr data; /* CPU: [N/nr][K][nr]; GPU: [N][K] */
    ts_arr bias;
    bool has_bias;
    int64_t n, k;
};

/* As the kernels' gemm_args: same order, same sizes. */
typedef struct gemm_args {
    uint32_t m, n, k, lda, ldb, ldc, trans_a, trans_b, bias_rows, has_bias, has_residual, batch1;
    int64_t a0, a1, b0, b1, c0, c1;
    float alpha;
    int32_t act;
    float act_a, act_b;
} gemm_args;

enum {
    GPU_TILE = 64,
    GPU_TILE_SMALL = 32, /* for products that would leave compute units idle */
    SKINNY_COLUMNS = 4,
    SKINNY_ROWS = 4,
    SKINNY_MOST = 32 /* rows up to which a GPU reads the weights row by row */
};

static size_t ceil_div(int64_t a, int64_t b)
{
    return (size_t)((a + b - 1) / b);
}

static void pack_panels(const float *w, int64_t n, int64_t k, int nr, float *out)
{
    for (int64_t panel = 0; panel * nr < n; panel++)
        for (int64_t kk = 0; kk < k; kk++)
            for (int c = 0; c < nr; c++) {
                int64_t row = panel * nr + c;
                *out++ = row < n ? w[row * k + kk] : 0.0f;
            }
}

ts_status ts_weight_create(ts_ops *ops, const float *w, int64_t n, int64_t k, const float *bias,
                           ts_weight **out, ts_error *err)
{
    if (n < 1 || k < 1 || n > INT32_MAX || k > INT32_MAX)
        return ts_fail(err, TS_E_SHAPE, "linear: weight is [%lld,%lld], want positive sizes",
                       (long long)n, (long long)k);
    ts_weight *weight = calloc(1, sizeof *weight);
    if (!weight)
        return ts_fail(err, TS_E_NO_MEMORY, "weight");
    weight->n = n;
    weight->k = k;
    weight->has_bias = bias != NULL;
    ts_status st;
    if (ops->cpu) {
        int64_t panels = (int64_t)ceil_div(n, ops->nr);
        float *packed = malloc((size_t)(panels * k * ops->nr) * sizeof *packed);
        if (!packed) {
            free(weight);
            return ts_fail(err, TS_E_NO_MEMORY, "packing a weight of %lld values",
                           (long long)(n * k));
        }
        pack_panels(w, n, k, ops->nr, packed);
        st = ts_arr_from_host(ops, TS_F32, &TS_SHAPE(panels, k, ops->nr), packed, &weight->data,
                              err);
        free(packed);
    } else {
        st = ts_arr_from_host(ops, TS_F32, &TS_SHAPE(n, k), w, &weight->data, err);
    }
    if (st == TS_OK && bias)
        st = ts_arr_from_host(ops, TS_F32, &TS_SHAPE(n), bias, &weight->bias, err);
    if (st != TS_OK) {
        ts_weight_destroy(weight);
        return st;
    }
    *out = weight;
    return TS_OK;
}

void ts_weight_destroy(ts_weight *weight)
{
    if (!weight)
        return;
    ts_arr_free(&weight->data);
    ts_arr_free(&weight->bias);
    free(weight);
}

int64_t ts_weight_outputs(const ts_weight *weight)
{
    return weight->n;
}

int64_t ts_weight_inputs(const ts_weight *weight)
{
    return weight->k;
}

size_t ts_weight_bytes(const ts_weight *weight)
{
    return ts_arr_bytes(&weight->data) + (weight->has_bias ? ts_arr_bytes(&weight->bias) : 0);
}

/* One batch of products whose operands and sizes are already checked. */
typedef struct product {
    const ts_arr *a, *b, *bias, *residual;
    size_t a_off, b_off, c_off; /* extra elements, of the outer batch loop */
    ts_arr *c;
    bool b_packed;
    size_t batches;
    gemm_args args;
} product;

static ts_arr shifted(const ts_arr *x, size_t elements)
{
    ts_arr out = *x;
    out.offset += elements * sizeof(float);
    return out;
}

static ts_status run_cpu(ts_ops *ops, const product *p, ts_error *err)
{
    gemm_args g = p->args;
    ts_arr a = shifted(p->a, p->a_off), b = shifted(p->b, p->b_off), c = shifted(p->c, p->c_off);
    ts_arr r = p->residual ? shifted(p->residual, p->c_off) : (ts_arr){0};
    ts_arr *rp = p->residual ? &r : NULL;
    size_t panels = ceil_div(g.n, ops->nr), tiles = ceil_div(g.m, ops->mr);
    if (p->b_packed && g.m < (uint32_t)ops->mr) {
        /* Few pieces: on small layers the launch, not the work, is the cost. */
        size_t items = panels < 4 * (size_t)ops->units ? panels : 4 * (size_t)ops->units;
        return ts_ops_groups(ops, "gemm", "gemm_skinny", (size_t[3]){items, 1, 1}, 1,
                             TS_ARGS(TS_OP_ARR(&a), TS_OP_ARR(&b), TS_OP_ARR(&c),
                                     TS_OP_OPT(p->bias), TS_OP_OPT(rp), TS_BYTES(&g, sizeof g)),
                             err);
    }
    uint64_t a_batch = (uint64_t)tiles * g.k * ops->mr;
    uint64_t b_batch = p->b_packed ? 0 : (uint64_t)panels * g.k * ops->nr;
    ts_buffer *pa = NULL, *pb = NULL;
    ts_status st = ts_ops_scratch(ops, 0, (size_t)a_batch * p->batches * 4, &pa, err);
    if (st == TS_OK)
        st = ts_ops_groups(
            ops, "gemm", "gemm_pack_a", (size_t[3]){tiles, 1, p->batches}, 1,
            TS_ARGS(TS_OP_ARR(&a), TS_BUF(pa), TS_BYTES(&g, sizeof g), TS_ULONG(a_batch)), err);
    if (st == TS_OK && !p->b_packed)
        st = ts_ops_scratch(ops, 1, (size_t)b_batch * p->batches * 4, &pb, err);
    if (st == TS_OK && !p->b_packed)
        st = ts_ops_groups(
            ops, "gemm", "gemm_pack_b", (size_t[3]){panels, 1, p->batches}, 1,
            TS_ARGS(TS_OP_ARR(&b), TS_BUF(pb), TS_BYTES(&g, sizeof g), TS_ULONG(b_batch)), err);
    if (st != TS_OK)
        return st;
    ts_arg b_buf = p->b_packed ? TS_BUF(b.buffer) : TS_BUF(pb);
    uint64_t b_off = p->b_packed ? b.offset / sizeof(float) : 0;
    return ts_ops_groups(ops, "gemm", "gemm_tile", (size_t[3]){tiles, panels, p->batches}, 1,
                         TS_ARGS(TS_BUF(pa), TS_ULONG(0), TS_ULONG(a_batch), b_buf, TS_ULONG(b_off),
                                 TS_ULONG(b_batch), TS_OP_ARR(&c), TS_OP_OPT(p->bias),
                                 TS_OP_OPT(rp), TS_BYTES(&g, sizeof g)),
                         err);
}

static ts_status run_gpu(ts_ops *ops, const product *p, ts_error *err)
{
    gemm_args g = p->args;
    ts_arr a = shifted(p->a, p->a_off), b = shifted(p->b, p->b_off), c = shifted(p->c, p->c_off);
    ts_arr r = p->residual ? shifted(p->residual, p->c_off) : (ts_arr){0};
    ts_arr *rp = p->residual ? &r : NULL;
    if (p->b_packed && g.m <= SKINNY_MOST)
        return ts_ops_groups(
            ops, "gemm", "gemm_skinny",
            (size_t[3]){ceil_div(g.n, SKINNY_COLUMNS), ceil_div(g.m, SKINNY_ROWS), 1}, 128,
            TS_ARGS(TS_OP_ARR(&a), TS_OP_ARR(&b), TS_OP_ARR(&c), TS_OP_OPT(p->bias), TS_OP_OPT(rp),
                    TS_BYTES(&g, sizeof g)),
            err);
    size_t nx = ceil_div(g.n, GPU_TILE), ny = ceil_div(g.m, GPU_TILE), splits = 1;
    /* Deep ones are better split along K: measured on an H100, 197 x 768 x 768, 36 us against 73. */
    bool small = nx * ny * p->batches < ops->units && g.k < 512;
    if (small) {
        nx = ceil_div(g.n, GPU_TILE_SMALL);
        ny = ceil_div(g.m, GPU_TILE_SMALL);
    }
    size_t groups = nx * ny * p->batches;
    if (groups < 3 * ops->units && g.k >= 128) {
        splits = 3 * ops->units / groups;
        if (splits > g.k / 64)
            splits = g.k / 64;
        if (splits > 32)
            splits = 32;
    }
    ts_buffer *part = NULL;
    if (splits > 1) {
        size_t bytes = splits * p->batches * (size_t)g.m * g.n * sizeof(float);
        ts_status st = ts_ops_scratch(ops, 0, bytes, &part, err);
        if (st != TS_OK)
            return st;
    }
    ts_status st =
        ts_ops_groups(ops, "gemm", "gemm_tile", (size_t[3]){nx, ny, p->batches * splits}, 256,
                      TS_ARGS(TS_OP_ARR(&a), TS_OP_ARR(&b), TS_OP_ARR(&c), TS_OP_OPT(p->bias),
                              TS_OP_OPT(rp), TS_BUF(part), TS_UINT(splits), TS_BYTES(&g, sizeof g)),
                      err);
    if (st != TS_OK || splits == 1)
        return st;
    int64_t n = (int64_t)p->batches * g.m * g.n;
    return ts_ops_flat(ops, "gemm", "gemm_join", n, 1,
                       TS_ARGS(TS_BUF(part), TS_UINT(splits), TS_OP_ARR(&c), TS_OP_OPT(p->bias),
                               TS_OP_OPT(rp), TS_BYTES(&g, sizeof g), TS_ULONG(n)),
                       err);
}

static ts_status run(ts_ops *ops, const product *p, ts_error *err)
{
    if (!p->args.m || !p->args.n || !p->batches)
        return TS_OK;
    return ops->cpu ? run_cpu(ops, p, err) : run_gpu(ops, p, err);
}

static void set_epilogue(product *p, const ts_arr *bias, const ts_epilogue *epilogue)
{
    p->bias = bias;
    p->args.has_bias = bias != NULL;
    if (!epilogue)
        return;
    p->residual = epilogue->residual;
    p->args.has_residual = epilogue->residual != NULL;
    p->args.act = (int32_t)epilogue->act.kind;
    p->args.act_a = epilogue->act.a;
    p->args.act_b = epilogue->act.b;
}

static ts_status check_epilogue(const char *op, const ts_epilogue *epilogue, const ts_arr *y,
                                ts_error *err)
{
    if (!epilogue)
        return TS_OK;
    if (epilogue->act.kind > TS_ACT_AFFINE)
        return ts_fail(err, TS_E_OPTION, "%s: activation %d cannot be fused", op,
                       (int)epilogue->act.kind);
    if (!epilogue->residual)
        return TS_OK;
    ts_status st = ts_ops_want_f32(op, "residual", epilogue->residual, err);
    return st == TS_OK ? ts_ops_want_shape(op, "residual", epilogue->residual, &y->shape, err) : st;
}

ts_status ts_op_linear(ts_ops *ops, const ts_arr *x, const ts_weight *weight,
                       const ts_epilogue *epilogue, ts_arr *y, ts_error *err)
{
    ts_status st = ts_ops_want_f32("linear", "x", x, err);
    if (st == TS_OK)
        st = ts_ops_want_f32("linear", "y", y, err);
    if (st != TS_OK)
        return st;
    int rank = x->shape.rank;
    ts_shape want = x->shape;
    if (rank < 1 || x->shape.dim[rank - 1] != weight->k)
        return ts_fail(err, TS_E_SHAPE, "linear: x is %s, want […,%lld]",
                       ts_shape_text(&x->shape, (char[96]){0}, 96), (long long)weight->k);
    want.dim[rank - 1] = weight->n;
    st = ts_ops_want_shape("linear", "y", y, &want, err);
    if (st == TS_OK)
        st = check_epilogue("linear", epilogue, y, err);
    if (st != TS_OK)
        return st;
    int64_t m = ts_arr_elements(x) / weight->k;
    product p = {.a = x, .b = &weight->data, .c = y, .b_packed = true, .batches = 1};
    p.args = (gemm_args){.m = (uint32_t)m,
                         .n = (uint32_t)weight->n,
                         .k = (uint32_t)weight->k,
                         .lda = (uint32_t)weight->k,
                         .ldb = (uint32_t)weight->k,
                         .ldc = (uint32_t)weight->n,
                         .trans_b = 1,
                         .batch1 = 1,
                         .alpha = 1.0f};
    set_epilogue(&p, weight->has_bias ? &weight->bias : NULL, epilogue);
    return run(ops, &p, err);
}

/* Leading dims of the three operands, right-aligned to the same rank, with broadcast strides. */
typedef struct batch_dims {
    int n;
    int64_t dim[TS_MAX_RANK], sa[TS_MAX_RANK], sb[TS_MAX_RANK], sc[TS_MAX_RANK];
} batch_dims;

static ts_status batch_of(const ts_arr *a, const ts_arr *b, const ts_arr *y, int64_t mk, int64_t kn,
                          int64_t mn, batch_dims *out, ts_error *err)
{
    int ra = a->shape.rank - 2, rb = b->shape.rank - 2, ry = y->shape.rank - 2;
    out->n = ry;
    int64_t ea = mk, eb = kn, ec = mn;
    for (int i = 0; i < ry; i++) {
        int d = ry - 1 - i;
        int64_t da = i < ra ? a->shape.dim[ra - 1 - i] : 1;
        int64_t db = i < rb ? b->shape.dim[rb - 1 - i] : 1;
        int64_t dy = y->shape.dim[d];
        if ((da != dy && da != 1) || (db != dy && db != 1) || (da == 1 && db == 1 && dy != 1))
            return ts_fail(err, TS_E_SHAPE, "matmul: %s times %s does not give %s",
                           ts_shape_text(&a->shape, (char[96]){0}, 96),
                           ts_shape_text(&b->shape, (char[96]){0}, 96),
                           ts_shape_text(&y->shape, (char[96]){0}, 96));
        out->dim[d] = dy;
        out->sa[d] = da == 1 ? 0 : ea;
        out->sb[d] = db == 1 ? 0 : eb;
        out->sc[d] = ec;
        ea *= da;
        eb *= db;
        ec *= dy;
    }
    return TS_OK;
}

/* All batches: the last two leading dims in one launch, those before them in a loop. */
static ts_status run_batches(ts_ops *ops, product *p, const batch_dims *dims, ts_error *err)
{
    int n = dims->n;
    p->args.batch1 = n >= 1 ? (uint32_t)dims->dim[n - 1] : 1;
    p->batches = n >= 1 ? (size_t)dims->dim[n - 1] : 1;
    if (n >= 1) {
        p->args.a1 = dims->sa[n - 1];
        p->args.b1 = dims->sb[n - 1];
        p->args.c1 = dims->sc[n - 1];
    }
    if (n >= 2) {
        p->batches *= (size_t)dims->dim[n - 2];
        p->args.a0 = dims->sa[n - 2];
        p->args.b0 = dims->sb[n - 2];
        p->args.c0 = dims->sc[n - 2];
    }
    if (!p->args.batch1)
        return TS_OK;
    int64_t outer = 1;
    for (int i = 0; i < n - 2; i++)
        outer *= dims->dim[i];
    for (int64_t o = 0; o < outer; o++) {
        int64_t rest = o, a = 0, b = 0, c = 0;
        for (int i = n - 3; i >= 0; i--) {
            int64_t at = rest % dims->dim[i];
            rest /= dims->dim[i];
            a += at * dims->sa[i];
            b += at * dims->sb[i];
            c += at * dims->sc[i];
        }
        p->a_off = (size_t)a;
        p->b_off = (size_t)b;
        p->c_off = (size_t)c;
        ts_status st = run(ops, p, err);
        if (st != TS_OK)
            return st;
    }
    return TS_OK;
}

ts_status ts_op_matmul(ts_ops *ops, const ts_arr *a, const ts_arr *b, const ts_matmul *options,
                       ts_arr *y, ts_error *err)
{
    static const ts_matmul plain = {0};
    const ts_matmul *o = options ? options : &plain;
    ts_status st = ts_ops_want_f32("matmul", "a", a, err);
    if (st == TS_OK)
        st = ts_ops_want_f32("matmul", "b", b, err);
    if (st == TS_OK)
        st = ts_ops_want_f32("matmul", "y", y, err);
    if (st == TS_OK)
        st = check_epilogue("matmul", &o->epilogue, y, err);
    if (st != TS_OK)
        return st;
    int ra = a->shape.rank, rb = b->shape.rank, ry = y->shape.rank;
    if (ra < 2 || rb < 2 || ry < 2 || ry != (ra > rb ? ra : rb))
        return ts_fail(err, TS_E_SHAPE, "matmul: ranks are %d, %d and %d", ra, rb, ry);
    int64_t a0 = a->shape.dim[ra - 2], a1 = a->shape.dim[ra - 1];
    int64_t b0 = b->shape.dim[rb - 2], b1 = b->shape.dim[rb - 1];
    int64_t m = o->trans_a ? a1 : a0, ka = o->trans_a ? a0 : a1;
    int64_t kb = o->trans_b ? b1 : b0, n = o->trans_b ? b0 : b1;
    if (ka != kb || y->shape.dim[ry - 2] != m || y->shape.dim[ry - 1] != n)
        return ts_fail(err, TS_E_SHAPE, "matmul: %s times %s does not give %s",
                       ts_shape_text(&a->shape, (char[96]){0}, 96),
                       ts_shape_text(&b->shape, (char[96]){0}, 96),
                       ts_shape_text(&y->shape, (char[96]){0}, 96));
    if (o->bias) {
        st = ts_ops_want_shape("matmul", "bias", o->bias, &TS_SHAPE(o->bias_rows ? m : n), err);
        if (st != TS_OK)
            return st;
    }
    batch_dims dims = {0};
    st = batch_of(a, b, y, m * ka, ka * n, m * n, &dims, err);
    if (st != TS_OK)
        return st;
    product p = {.a = a, .b = b, .c = y};
    p.args = (gemm_args){.m = (uint32_t)m,
                         .n = (uint32_t)n,
                         .k = (uint32_t)ka,
                         .lda = (uint32_t)a1,
                         .ldb = (uint32_t)b1,
                         .ldc = (uint32_t)n,
                         .trans_a = o->trans_a,
                         .trans_b = o->trans_b,
                         .bias_rows = o->bias_rows,
                         .alpha = o->alpha != 0.0f ? o->alpha : 1.0f};
    set_epilogue(&p, o->bias, &o->epilogue);
    return run_batches(ops, &p, &dims, err);
}
