/* Evaluation: views are strides, element by element work is one program, reductions are launches. */
#include "cl/viz/expr.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cl/kernels/viz_types.clh"
#include "cl/viz/expr_tree.h"

/* A strided view of a tensor; it holds a reference. */
typedef struct leaf {
    ts_tensor *tensor;
    uint64_t base, stride[TS_MAX_RANK];
} leaf;

/* A value not computed yet: a program over leaves that all have its shape (stride 0 repeats). */
typedef struct value {
    ts_shape shape;
    int n_leaves, n_codes, depth; /* depth: of the stack that it needs */
    leaf leaves[VIZ_EXPR_LEAVES];
    viz_code codes[VIZ_EXPR_CODES];
} value;

typedef struct evaluation {
    ts_queue *queue;
    ts_store *store;
    ts_dtype dtype; /* computed in */
    ts_error *err;
} evaluation;

static ts_status evaluate(evaluation *e, const node *n, value *out);

static void value_finish(value *v)
{
    for (int i = 0; i < v->n_leaves; i++)
        ts_tensor_unref(v->leaves[i].tensor);
    v->n_leaves = 0;
}

/* `tensor`'s reference is taken over. */
static void value_of_tensor(value *v, ts_tensor *tensor)
{
    *v = (value){.shape = *ts_tensor_shape(tensor), .n_leaves = 1, .n_codes = 1, .depth = 1};
    v->codes[0] = (viz_code){.op = VIZ_EXPR_LOAD};
    leaf *l = &v->leaves[0];
    l->tensor = tensor;
    l->base = ts_tensor_offset(tensor) / ts_dtype_bytes(ts_tensor_dtype(tensor));
    uint64_t stride = 1;
    for (int i = v->shape.rank - 1; i >= 0; i--) {
        l->stride[i] = stride;
        stride *= (uint64_t)v->shape.dim[i];
    }
}

/* ---- to a tensor ---- */

static size_t item_count(ts_queue *queue, uint64_t n)
{
    const ts_caps *caps = ts_device_caps(ts_queue_device(queue));
    bool cpu = caps->kind == TS_DEVICE_CPU;
    uint64_t most = cpu ? 8 * (uint64_t)caps->compute_units : 1u << 20;
    uint64_t want = cpu ? (n + 4095) / 4096 : n;
    return (size_t)(want < most ? want : most);
}

static ts_status kernel_of(evaluation *e, const char *name, ts_kernel **kernel)
{
    char options[24];
    snprintf(options, sizeof options, "-DTS_IN=%d", (int)e->dtype);
    return ts_queue_kernel(e->queue, "viz_expr", options, name, kernel, e->err);
}

static void program_of(const value *v, viz_expr *q)
{
    *q = (viz_expr){.count = (uint64_t)ts_shape_elements(&v->shape),
                    .rank = v->shape.rank,
                    .n_codes = v->n_codes};
    memcpy(q->code, v->codes, sizeof q->code);
    for (int i = 0; i < v->shape.rank; i++)
        q->dim[i] = (uint64_t)v->shape.dim[i];
    for (int i = 0; i < v->n_leaves; i++) {
        q->leaf[i].base = v->leaves[i].base;
        q->leaf[i].dtype = (int)ts_tensor_dtype(v->leaves[i].tensor);
        memcpy(q->leaf[i].stride, v->leaves[i].stride, sizeof q->leaf[i].stride);
    }
}

/* Run the program; *out has one reference. */
static ts_status materialise(evaluation *e, const value *v, ts_tensor **out)
{
    size_t nbytes;
    viz_expr q;
    ts_kernel *kernel = NULL;
    ts_buffer *program = NULL;
    ts_tensor *tensor = NULL;
    ts_device *device = ts_queue_device(e->queue);
    ts_status st = ts_shape_check(&v->shape, e->dtype, &nbytes, e->err);
    if (st == TS_OK && nbytes == 0)
        st = ts_fail(e->err, TS_E_EMPTY, "expr: a value without elements");
    if (st == TS_OK)
        st = ts_tensor_create(device, e->dtype, &v->shape, &tensor, e->err);
    if (st == TS_OK)
        st = kernel_of(e, "viz_expr_run", &kernel);
    if (st == TS_OK)
        st = ts_buffer_create(device, sizeof q, &program, e->err);
    program_of(v, &q);
    if (st == TS_OK)
        st = ts_buffer_write(e->queue, program, 0, &q, sizeof q, e->err);
    if (st == TS_OK) {
        ts_buffer *data[VIZ_EXPR_LEAVES];
        for (int i = 0; i < VIZ_EXPR_LEAVES; i++)
            data[i] = i < v->n_leaves ? ts_tensor_buffer(v->leaves[i].tensor) : program;
        const size_t global[1] = {item_count(e->queue, q.count)};
        st = ts_launch(e->queue, kernel, 1, global, NULL,
                       TS_ARGS(TS_BUF(program), TS_BUF(data[0]), TS_BUF(data[1]), TS_BUF(data[2]),
                               TS_BUF(data[3]), TS_BUF(data[4]), TS_BUF(data[5]), TS_BUF(data[6]),
                               TS_BUF(data[7]), TS_BUF(ts_tensor_buffer(tensor))),
                       e->err);
    }
    ts_buffer_unref(program);
    if (st != TS_OK) {
        ts_tensor_unref(tensor);
        return st;
    }
    *out = tensor;
    return TS_OK;
}

static bool is_dense(const value *v, ts_dtype dtype)
{
    if (v->n_codes != 1 || v->n_leaves != 1 || ts_tensor_dtype(v->leaves[0].tensor) != dtype)
        return false;
    uint64_t stride = 1;
    for (int i = v->shape.rank - 1; i >= 0; i--) {
        if (v->shape.dim[i] != 1 && v->leaves[0].stride[i] != stride)
            return false;
        stride *= (uint64_t)v->shape.dim[i];
    }
    return true;
}

/* Make the value one dense leaf of the type computed in. */
static ts_status settle(evaluation *e, value *v)
{
    if (is_dense(v, e->dtype))
        return TS_OK;
    ts_tensor *tensor = NULL;
    ts_status st = materialise(e, v, &tensor);
    if (st != TS_OK)
        return st;
    value_finish(v);
    value_of_tensor(v, tensor);
    return TS_OK;
}

/* ---- views ---- */

static ts_status index_value(evaluation *e, value *v, int64_t index)
{
    if (v->shape.rank == 0)
        return ts_fail(e->err, TS_E_INDEX, "expr: [%lld] of a scalar", (long long)index);
    int64_t n = v->shape.dim[0];
    if (index < -n || index >= n)
        return ts_fail(e->err, TS_E_INDEX, "expr: [%lld] is outside an axis of %lld",
                       (long long)index, (long long)n);
    index = index < 0 ? index + n : index;
    for (int i = 0; i < v->n_leaves; i++) {
        leaf *l = &v->leaves[i];
        l->base += (uint64_t)index * l->stride[0];
        memmove(l->stride, l->stride + 1, sizeof l->stride - sizeof l->stride[0]);
    }
    v->shape.rank--;
    memmove(v->shape.dim, v->shape.dim + 1, sizeof v->shape.dim - sizeof v->shape.dim[0]);
    return TS_OK;
}

static ts_status transpose_value(evaluation *e, value *v, const node *n)
{
    int rank = v->shape.rank, axes[TS_MAX_RANK];
    bool used[TS_MAX_RANK] = {false};
    if (n->n_args && n->n_args != rank)
        return ts_fail(e->err, TS_E_SHAPE, "expr: transpose of rank %d with %d axes", rank,
                       n->n_args);
    for (int i = 0; i < rank; i++) {
        int64_t axis = n->n_args ? n->args[i] : rank - 1 - i;
        axis = axis < 0 ? axis + rank : axis;
        if (axis < 0 || axis >= rank || used[axis])
            return ts_fail(e->err, TS_E_INDEX, "expr: the axes of transpose must be 0 to %d once",
                           rank - 1);
        used[axis] = true;
        axes[i] = (int)axis;
    }
    value old = *v;
    for (int i = 0; i < rank; i++) {
        v->shape.dim[i] = old.shape.dim[axes[i]];
        for (int k = 0; k < v->n_leaves; k++)
            v->leaves[k].stride[i] = old.leaves[k].stride[axes[i]];
    }
    return TS_OK;
}

static ts_status reshape_value(evaluation *e, value *v, const node *n)
{
    int64_t total = ts_shape_elements(&v->shape), known = 1;
    int open = -1;
    ts_shape shape = {.rank = n->n_args};
    for (int i = 0; i < n->n_args; i++) {
        shape.dim[i] = n->args[i];
        if (n->args[i] == -1 && open < 0) {
            open = i;
            continue;
        }
        if (n->args[i] < 1 || __builtin_mul_overflow(known, n->args[i], &known))
            return ts_fail(e->err, TS_E_SHAPE, "expr: reshape to a size of %lld",
                           (long long)n->args[i]);
    }
    if (open >= 0)
        shape.dim[open] = total / known;
    int64_t product = known * (open >= 0 ? shape.dim[open] : 1);
    if (product != total)
        return ts_fail(e->err, TS_E_SHAPE, "expr: reshape of %lld elements to %lld",
                       (long long)total, (long long)product);
    ts_status st = settle(e, v);
    if (st != TS_OK)
        return st;
    uint64_t stride = 1;
    for (int i = shape.rank - 1; i >= 0; i--) {
        v->leaves[0].stride[i] = stride;
        stride *= (uint64_t)shape.dim[i];
    }
    v->shape = shape;
    return TS_OK;
}

/* ---- reductions ---- */

/* One launch over [outer, n, inner]; *out has shape [outer·inner, parts]. */
static ts_status reduce_once(evaluation *e, ts_tensor *source, uint64_t base, uint64_t n,
                             uint64_t inner, uint64_t outer, uint64_t run, uint64_t divisor, int op,
                             ts_tensor **out)
{
    uint64_t parts = (n + run - 1) / run;
    ts_kernel *kernel = NULL;
    ts_tensor *result = NULL;
    ts_shape shape = TS_SHAPE((int64_t)(outer * inner), (int64_t)parts);
    ts_status st = ts_tensor_create(ts_queue_device(e->queue), e->dtype, &shape, &result, e->err);
    if (st == TS_OK)
        st = kernel_of(e, "viz_expr_reduce", &kernel);
    if (st == TS_OK)
        st = ts_launch(e->queue, kernel, 3,
                       (const size_t[]){(size_t)inner, (size_t)outer, (size_t)parts}, NULL,
                       TS_ARGS(TS_BUF(ts_tensor_buffer(source)), TS_ULONG(base), TS_ULONG(n),
                               TS_ULONG(inner), TS_ULONG(outer), TS_ULONG(run), TS_ULONG(divisor),
                               TS_INT(op == REDUCE_MEAN ? REDUCE_SUM : op),
                               TS_BUF(ts_tensor_buffer(result))),
                       e->err);
    if (st != TS_OK) {
        ts_tensor_unref(result);
        return st;
    }
    *out = result;
    return TS_OK;
}

static ts_status reduce_value(evaluation *e, value *v, const node *n)
{
    int rank = v->shape.rank, axis = n->axis < 0 ? n->axis + rank : n->axis;
    if (!n->all && (axis < 0 || axis >= rank))
        return ts_fail(e->err, TS_E_INDEX, "expr: axis %d of rank %d", n->axis, rank);
    ts_status st = settle(e, v);
    if (st != TS_OK)
        return st;
    uint64_t length = (uint64_t)ts_shape_elements(&v->shape), inner = 1, outer = 1;
    ts_shape shape = {.rank = n->all ? 0 : rank - 1};
    if (length == 0)
        return ts_fail(e->err, TS_E_EMPTY, "expr: a reduction over no elements");
    if (!n->all) {
        length = (uint64_t)v->shape.dim[axis];
        for (int i = 0, k = 0; i < rank; i++) {
            if (i == axis)
                continue;
            shape.dim[k++] = v->shape.dim[i];
            if (i < axis)
                outer *= (uint64_t)v->shape.dim[i];
            else
                inner *= (uint64_t)v->shape.dim[i];
        }
    }
    /* Long axes with few results are cut into parts first. */
    const uint64_t run = 4096, divisor = n->op == REDUCE_MEAN ? length : 1;
    ts_tensor *result = NULL;
    if (length > run && inner * outer < 4096) {
        ts_tensor *parts = NULL;
        st = reduce_once(e, v->leaves[0].tensor, v->leaves[0].base, length, inner, outer, run, 1,
                         n->op, &parts);
        if (st == TS_OK)
            st = reduce_once(e, parts, 0, (length + run - 1) / run, 1, inner * outer, length,
                             divisor, n->op, &result);
        ts_tensor_unref(parts);
    } else {
        st = reduce_once(e, v->leaves[0].tensor, v->leaves[0].base, length, inner, outer, length,
                         divisor, n->op, &result);
    }
    ts_tensor *shaped = NULL;
    if (st == TS_OK)
        st = ts_tensor_wrap(ts_tensor_buffer(result), 0, e->dtype, &shape, &shaped, e->err);
    ts_tensor_unref(result);
    if (st != TS_OK)
        return st;
    value_finish(v);
    value_of_tensor(v, shaped);
    return TS_OK;
}

/* ---- programs ---- */

/* Broadcast a value to `shape`: missing and single axes repeat. */
static void broadcast(value *v, const ts_shape *shape)
{
    int missing = shape->rank - v->shape.rank;
    for (int k = 0; k < v->n_leaves; k++) {
        uint64_t old[TS_MAX_RANK];
        memcpy(old, v->leaves[k].stride, sizeof old);
        for (int i = 0; i < shape->rank; i++) {
            bool own = i >= missing && v->shape.dim[i - missing] == shape->dim[i];
            v->leaves[k].stride[i] = own ? old[i - missing] : 0;
        }
    }
    v->shape = *shape;
}

static ts_status common_shape(evaluation *e, const ts_shape *a, const ts_shape *b, ts_shape *out)
{
    *out = (ts_shape){.rank = a->rank > b->rank ? a->rank : b->rank};
    for (int i = 1; i <= out->rank; i++) {
        int64_t da = i <= a->rank ? a->dim[a->rank - i] : 1;
        int64_t db = i <= b->rank ? b->dim[b->rank - i] : 1;
        if (da != db && da != 1 && db != 1) {
            char ta[160], tb[160];
            return ts_fail(e->err, TS_E_SHAPE, "expr: shapes %s and %s do not fit together",
                           ts_shape_text(a, ta, sizeof ta), ts_shape_text(b, tb, sizeof tb));
        }
        out->dim[out->rank - i] = da == 1 ? db : da;
    }
    size_t nbytes;
    return ts_shape_check(out, e->dtype, &nbytes, e->err);
}

/* Leaves and codes of `b` behind those of `a`; b's references move. */
static ts_status append(evaluation *e, value *a, value *b)
{
    /* What does not fit into one program is computed first. */
    if (a->n_leaves + b->n_leaves > VIZ_EXPR_LEAVES || b->depth + 1 > VIZ_EXPR_STACK ||
        a->n_codes + b->n_codes + 1 > VIZ_EXPR_CODES)
    {
        ts_status st = settle(e, b->n_codes > 1 ? b : a);
        if (st == TS_OK && b->n_codes > 1)
            st = settle(e, b);
        if (st == TS_OK && (a->n_leaves + b->n_leaves > VIZ_EXPR_LEAVES ||
                            a->n_codes + b->n_codes + 1 > VIZ_EXPR_CODES))
            st = settle(e, a);
        if (st != TS_OK)
            return st;
    }
    for (int i = 0; i < b->n_codes; i++) {
        viz_code code = b->codes[i];
        if (code.op == VIZ_EXPR_LOAD)
            code.leaf += a->n_leaves;
        a->codes[a->n_codes++] = code;
    }
    for (int i = 0; i < b->n_leaves; i++)
        a->leaves[a->n_leaves++] = b->leaves[i];
    a->depth = a->depth > b->depth + 1 ? a->depth : b->depth + 1;
    b->n_leaves = 0;
    return TS_OK;
}

static ts_status binary_value(evaluation *e, const node *n, value *out)
{
    value *b = calloc(1, sizeof *b);
    if (!b)
        return ts_fail(e->err, TS_E_NO_MEMORY, "expr");
    ts_shape shape;
    ts_status st = evaluate(e, n->a, out);
    if (st == TS_OK)
        st = evaluate(e, n->b, b);
    if (st == TS_OK)
        st = common_shape(e, &out->shape, &b->shape, &shape);
    if (st == TS_OK) {
        broadcast(out, &shape);
        broadcast(b, &shape);
        st = append(e, out, b);
    }
    if (st == TS_OK)
        out->codes[out->n_codes++] = (viz_code){.op = n->op};
    value_finish(b);
    free(b);
    return st;
}

static ts_status unary_value(evaluation *e, const node *n, value *out)
{
    ts_status st = evaluate(e, n->a, out);
    if (st == TS_OK && out->n_codes == VIZ_EXPR_CODES)
        st = settle(e, out);
    if (st == TS_OK)
        out->codes[out->n_codes++] = (viz_code){.op = n->op};
    return st;
}

static ts_status named_value(evaluation *e, const node *n, value *out)
{
    ts_entry entry = {0};
    ts_status st = ts_store_get(e->store, n->name, &entry, e->err);
    if (st != TS_OK)
        return st;
    value_of_tensor(out, ts_tensor_ref(entry.tensor));
    ts_entry_finish(&entry);
    return TS_OK;
}

static ts_status view_value(evaluation *e, const node *n, value *out)
{
    ts_status st = evaluate(e, n->a, out);
    if (st != TS_OK)
        return st;
    switch (n->kind) {
    case NODE_REDUCE:
        return reduce_value(e, out, n);
    case NODE_RESHAPE:
        return reshape_value(e, out, n);
    case NODE_TRANSPOSE:
        return transpose_value(e, out, n);
    default:
        return index_value(e, out, n->index);
    }
}

static ts_status evaluate(evaluation *e, const node *n, value *out)
{
    switch (n->kind) {
    case NODE_NUMBER: {
        float high = (float)n->number;
        float low = isfinite(high) ? (float)(n->number - (double)high) : 0;
        *out = (value){.n_codes = 1, .depth = 1};
        out->codes[0] = (viz_code){.op = VIZ_EXPR_CONST, .value = high, .low = low};
        return TS_OK;
    }
    case NODE_NAME:
        return named_value(e, n, out);
    case NODE_UNARY:
        return unary_value(e, n, out);
    case NODE_BINARY:
        return binary_value(e, n, out);
    default:
        return view_value(e, n, out);
    }
}

/* ---- the whole ---- */

typedef struct wide_search {
    ts_store *store;
    bool wide;
} wide_search;

static void look_for_wide(void *arg, const char *name)
{
    wide_search *s = arg;
    ts_entry entry = {0};
    ts_error ignored = {0};
    if (ts_store_get(s->store, name, &entry, &ignored) == TS_OK) {
        ts_dtype d = ts_tensor_dtype(entry.tensor);
        s->wide |= d == TS_U32 || d == TS_I32 || d == TS_U64 || d == TS_I64 || d == TS_F64;
    }
    ts_entry_finish(&entry);
    ts_error_clear(&ignored);
}

ts_status ts_expr_evaluate(const ts_expr *expr, ts_queue *queue, ts_store *store, ts_tensor **out,
                           ts_error *err)
{
    wide_search search = {.store = store};
    ts_expr_each_tensor(expr, look_for_wide, &search);
    bool doubles = search.wide && ts_device_caps(ts_queue_device(queue))->fp64;
    evaluation e = {.queue = queue, .store = store, .dtype = doubles ? TS_F64 : TS_F32, .err = err};
    value *v = calloc(1, sizeof *v);
    if (!v)
        return ts_fail(err, TS_E_NO_MEMORY, "expr");
    ts_status st = evaluate(&e, expr->root, v);
    if (st == TS_OK)
        st = materialise(&e, v, out);
    value_finish(v);
    free(v);
    return st;
}
