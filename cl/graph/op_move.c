/* Moving elements: transpose, concat, slice, split, pad, expand, tile, gather, depth and space. */
#include <string.h>

#include "cl/graph/op.h"
#include "cl/ops/move.h"
#include "cl/ops/pointwise.h"

/* y[i…] = x[base + Σ i·stride], a host copy with any strides. */
static void strided(const double *x, int64_t base, const int64_t *strides, const ts_shape *shape,
                    double *y)
{
    int64_t index[TS_MAX_RANK] = {0}, n = ts_shape_elements(shape);
    for (int64_t k = 0; k < n; k++) {
        int64_t at = base;
        for (int d = 0; d < shape->rank; d++)
            at += index[d] * strides[d];
        y[k] = x[at];
        ts_next_index(shape, index);
    }
}

/* ---- transpose ---- */

static ts_status permutation(ts_node_call *c, int *perm, ts_shape *shape, ts_error *err)
{
    const ts_shape *s = &c->in[0]->shape;
    int64_t list[TS_MAX_RANK];
    size_t n = ts_attr_ints(c->node, "perm", list, TS_MAX_RANK);
    if (n && (int)n != s->rank)
        return ts_node_fail(c, err, "perm has %zu axes, the input %d", n, s->rank);
    *shape = (ts_shape){.rank = s->rank};
    for (int d = 0; d < s->rank; d++) {
        perm[d] = n ? (int)list[d] : s->rank - 1 - d;
        if (perm[d] < 0 || perm[d] >= s->rank)
            return ts_node_fail(c, err, "perm names axis %d", perm[d]);
        shape->dim[d] = s->dim[perm[d]];
    }
    return TS_OK;
}

static ts_status transpose_host(ts_node_call *c, ts_error *err)
{
    int perm[TS_MAX_RANK];
    int64_t dense[TS_MAX_RANK], strides[TS_MAX_RANK];
    ts_shape shape;
    double *y;
    ts_status st = permutation(c, perm, &shape, err);
    if (st == TS_OK)
        st = ts_host_out(c, 0, c->in[0]->type, &shape, &y, err);
    if (st != TS_OK || !y)
        return st;
    ts_dense_strides(&c->in[0]->shape, dense);
    for (int d = 0; d < shape.rank; d++)
        strides[d] = dense[perm[d]];
    strided(ts_host_in(c, 0), 0, strides, &shape, y);
    return TS_OK;
}

static ts_status transpose_device(ts_node_call *c, ts_error *err)
{
    int perm[TS_MAX_RANK];
    ts_shape shape;
    ts_arr x, y;
    ts_status st = permutation(c, perm, &shape, err);
    if (st == TS_OK && shape.rank == 0)
        return ts_value_view(c->in[0], &shape, c->out[0], err);
    if (st == TS_OK)
        st = ts_dev_in(c, 0, &x, err);
    if (st == TS_OK)
        st = ts_dev_out(c, 0, c->in[0]->type, &shape, &y, err);
    return st == TS_OK ? ts_op_transpose(c->ops, &x, perm, &y, err) : st;
}

/* ---- concat ---- */

static ts_status concat_shape(ts_node_call *c, int *axis, ts_shape *shape, ts_error *err)
{
    *shape = c->in[0]->shape;
    ts_status st = ts_axis(c, ts_attr_int(c->node, "axis", 1), shape->rank, axis, err);
    for (size_t i = 1; i < c->n_in && st == TS_OK; i++) {
        const ts_shape *s = &c->in[i]->shape;
        bool fits = s->rank == shape->rank;
        for (int d = 0; fits && d < s->rank; d++)
            fits = d == *axis || s->dim[d] == shape->dim[d];
        if (!fits)
            return ts_node_fail(c, err, "input %zu is %s, the first %s", i,
                                ts_shape_text(s, (char[96]){0}, 96),
                                ts_shape_text(&c->in[0]->shape, (char[96]){0}, 96));
        shape->dim[*axis] += s->dim[*axis];
    }
    return st;
}

static ts_status concat_host(ts_node_call *c, ts_error *err)
{
    int axis;
    ts_shape shape;
    double *y;
    ts_status st = concat_shape(c, &axis, &shape, err);
    if (st == TS_OK)
        st = ts_host_out(c, 0, c->in[0]->type, &shape, &y, err);
    if (st != TS_OK || !y)
        return st;
    int64_t outer = 1, inner = 1, at = 0;
    for (int d = 0; d < shape.rank; d++)
        if (d != axis)
            *(d < axis ? &outer : &inner) *= shape.dim[d];
    for (size_t i = 0; i < c->n_in; i++) {
        int64_t run = c->in[i]->shape.dim[axis] * inner;
        for (int64_t o = 0; o < outer; o++)
            memcpy(y + o * shape.dim[axis] * inner + at, ts_host_in(c, i) + o * run,
                   (size_t)run * sizeof *y);
        at += run;
    }
    return TS_OK;
}

static ts_status concat_device(ts_node_call *c, ts_error *err)
{
    int axis;
    ts_shape shape;
    ts_arr in[TS_NODE_PORTS], y;
    const ts_arr *list[TS_NODE_PORTS];
    size_t n = 0;
    ts_status st = concat_shape(c, &axis, &shape, err);
    for (size_t i = 0; i < c->n_in && st == TS_OK; i++) {
        if (ts_value_elements(c->in[i]) == 0)
            continue;
        st = ts_dev_in(c, i, &in[n], err);
        list[n] = &in[n];
        n++;
    }
    if (st == TS_OK)
        st = ts_dev_out(c, 0, c->in[0]->type, &shape, &y, err);
    return st == TS_OK && n ? ts_op_concat(c->ops, list, n, axis, &y, err) : st;
}

/* ---- slice ---- */

typedef struct slice {
    int64_t start[TS_MAX_RANK], step[TS_MAX_RANK];
    ts_shape shape;
} slice;

static ts_status slice_lists(ts_node_call *c, int64_t *starts, int64_t *ends, int64_t *axes,
                             int64_t *steps, size_t *n, ts_error *err)
{
    size_t n_ends, n_axes = 0, n_steps = 0;
    ts_status st = TS_OK;
    if (c->n_in > 1) {
        st = ts_ints_in(c, 1, starts, TS_MAX_RANK, n, err);
        if (st == TS_OK)
            st = ts_ints_in(c, 2, ends, TS_MAX_RANK, &n_ends, err);
        if (st == TS_OK)
            st = ts_ints_in(c, 3, axes, TS_MAX_RANK, &n_axes, err);
        if (st == TS_OK)
            st = ts_ints_in(c, 4, steps, TS_MAX_RANK, &n_steps, err);
    } else {
        *n = ts_attr_ints(c->node, "starts", starts, TS_MAX_RANK);
        n_ends = ts_attr_ints(c->node, "ends", ends, TS_MAX_RANK);
        n_axes = ts_attr_ints(c->node, "axes", axes, TS_MAX_RANK);
    }
    if (st == TS_OK && (n_ends != *n || (n_axes && n_axes != *n) || (n_steps && n_steps != *n)))
        st = ts_node_fail(c, err, "starts, ends, axes and steps differ in length");
    for (size_t i = n_axes; i < *n && st == TS_OK; i++)
        axes[i] = (int64_t)i;
    for (size_t i = n_steps; i < *n && st == TS_OK; i++)
        steps[i] = 1;
    return st;
}

static int64_t clamp(int64_t v, int64_t lo, int64_t hi)
{
    return v < lo ? lo : v > hi ? hi : v;
}

static ts_status plan_slice(ts_node_call *c, slice *s, ts_error *err)
{
    int64_t starts[TS_MAX_RANK], ends[TS_MAX_RANK], axes[TS_MAX_RANK], steps[TS_MAX_RANK];
    size_t n;
    ts_status st = slice_lists(c, starts, ends, axes, steps, &n, err);
    s->shape = c->in[0]->shape;
    for (int d = 0; d < s->shape.rank; d++)
        s->start[d] = 0, s->step[d] = 1;
    for (size_t i = 0; i < n && st == TS_OK; i++) {
        int axis;
        st = ts_axis(c, axes[i], s->shape.rank, &axis, err);
        if (st == TS_OK && steps[i] == 0)
            st = ts_node_fail(c, err, "a step of 0");
        if (st != TS_OK)
            break;
        int64_t dim = c->in[0]->shape.dim[axis], step = steps[i];
        int64_t from = starts[i] < 0 ? starts[i] + dim : starts[i];
        int64_t to = ends[i] < 0 && ends[i] > INT64_MIN / 2 ? ends[i] + dim : ends[i];
        from = step > 0 ? clamp(from, 0, dim) : clamp(from, 0, dim - 1);
        to = step > 0 ? clamp(to, 0, dim) : clamp(to, -1, dim - 1);
        int64_t count = step > 0 ? (to - from + step - 1) / step : (from - to - step - 1) / -step;
        s->start[axis] = from;
        s->step[axis] = step;
        s->shape.dim[axis] = count > 0 ? count : 0;
    }
    return st;
}

static ts_status slice_host(ts_node_call *c, ts_error *err)
{
    slice s;
    double *y;
    int64_t strides[TS_MAX_RANK], base = 0;
    ts_status st = plan_slice(c, &s, err);
    if (st == TS_OK)
        st = ts_host_out(c, 0, c->in[0]->type, &s.shape, &y, err);
    if (st != TS_OK || !y)
        return st;
    ts_dense_strides(&c->in[0]->shape, strides);
    for (int d = 0; d < s.shape.rank; d++) {
        base += s.start[d] * strides[d];
        strides[d] *= s.step[d];
    }
    strided(ts_host_in(c, 0), base, strides, &s.shape, y);
    return TS_OK;
}

static ts_status slice_device(ts_node_call *c, ts_error *err)
{
    slice s;
    ts_arr x, y;
    ts_status st = plan_slice(c, &s, err);
    if (st == TS_OK)
        st = ts_dev_in(c, 0, &x, err);
    if (st == TS_OK)
        st = ts_dev_out(c, 0, c->in[0]->type, &s.shape, &y, err);
    if (st != TS_OK || ts_shape_elements(&s.shape) == 0)
        return st;
    return ts_op_slice(c->ops, &x, s.start, s.step, &y, err);
}

/* ---- split ---- */

static ts_status split_sizes(ts_node_call *c, int axis, int64_t *sizes, ts_error *err)
{
    size_t n = 0;
    int64_t dim = c->in[0]->shape.dim[axis], total = 0;
    ts_status st = TS_OK;
    if (ts_input(c, 1))
        st = ts_ints_in(c, 1, sizes, TS_NODE_PORTS, &n, err);
    else
        n = ts_attr_ints(c->node, "split", sizes, TS_NODE_PORTS);
    if (st == TS_OK && n == 0) {
        n = c->n_out;
        int64_t each = (dim + (int64_t)n - 1) / (int64_t)n;
        for (size_t i = 0; i < n; i++)
            sizes[i] = clamp(dim - each * (int64_t)i, 0, each);
    }
    for (size_t i = 0; i < n && st == TS_OK; i++) {
        total += sizes[i];
        if (sizes[i] < 0)
            st = ts_node_fail(c, err, "a part of %lld elements", (long long)sizes[i]);
    }
    if (st == TS_OK && (n != c->n_out || total != dim))
        st = ts_node_fail(c, err, "its sizes do not make up the axis of %lld", (long long)dim);
    return st;
}

static ts_status split(ts_node_call *c, bool device, ts_error *err)
{
    int axis;
    int64_t sizes[TS_NODE_PORTS], start[TS_MAX_RANK] = {0}, step[TS_MAX_RANK];
    const ts_shape *s = &c->in[0]->shape;
    ts_arr x = {0};
    ts_status st = ts_axis(c, ts_attr_int(c->node, "axis", 0), s->rank, &axis, err);
    if (st == TS_OK)
        st = split_sizes(c, axis, sizes, err);
    if (st == TS_OK && device)
        st = ts_dev_in(c, 0, &x, err);
    for (int d = 0; d < s->rank; d++)
        step[d] = 1;
    for (size_t i = 0; i < c->n_out && st == TS_OK; i++) {
        ts_shape shape = *s;
        shape.dim[axis] = sizes[i];
        if (c->out[i] && device) {
            ts_arr y;
            st = ts_dev_out(c, i, c->in[0]->type, &shape, &y, err);
            if (st == TS_OK && ts_shape_elements(&shape) > 0)
                st = ts_op_slice(c->ops, &x, start, step, &y, err);
        } else if (c->out[i]) {
            double *y;
            int64_t strides[TS_MAX_RANK];
            ts_dense_strides(s, strides);
            st = ts_host_out(c, i, c->in[0]->type, &shape, &y, err);
            if (st == TS_OK)
                strided(ts_host_in(c, 0), start[axis] * strides[axis], strides, &shape, y);
        }
        start[axis] += sizes[i];
    }
    return st;
}

static ts_status split_host(ts_node_call *c, ts_error *err)
{
    return split(c, false, err);
}

static ts_status split_device(ts_node_call *c, ts_error *err)
{
    return split(c, true, err);
}

/* ---- expand, tile ---- */

static ts_status expand_shape(ts_node_call *c, ts_shape *shape, ts_error *err)
{
    int64_t dims[TS_MAX_RANK];
    size_t n;
    ts_status st = ts_ints_in(c, 1, dims, TS_MAX_RANK, &n, err);
    ts_shape want = {.rank = (int)n};
    memcpy(want.dim, dims, n * sizeof *dims);
    if (st == TS_OK && ts_broadcast_shape(&c->in[0]->shape, &want, shape, err) != TS_OK)
        st = ts_node_fail(c, err, "%s does not broadcast to %s",
                          ts_shape_text(&c->in[0]->shape, (char[96]){0}, 96),
                          ts_shape_text(&want, (char[96]){0}, 96));
    return st;
}

static ts_status expand_host(ts_node_call *c, ts_error *err)
{
    ts_shape shape;
    double *y;
    int64_t strides[TS_MAX_RANK];
    ts_status st = expand_shape(c, &shape, err);
    if (st == TS_OK)
        st = ts_host_out(c, 0, c->in[0]->type, &shape, &y, err);
    if (st != TS_OK || !y)
        return st;
    ts_broadcast_strides(&c->in[0]->shape, &shape, strides);
    strided(ts_host_in(c, 0), 0, strides, &shape, y);
    return TS_OK;
}

static ts_status expand_device(ts_node_call *c, ts_error *err)
{
    ts_shape shape;
    ts_arr x, y;
    ts_status st = expand_shape(c, &shape, err);
    if (st == TS_OK)
        st = ts_dev_in(c, 0, &x, err);
    if (st == TS_OK)
        st = ts_dev_out(c, 0, c->in[0]->type, &shape, &y, err);
    if (st != TS_OK || ts_shape_elements(&shape) == 0)
        return st;
    return ts_op_expand(c->ops, &x, &y, err);
}

/* Tiling axis d is expanding [a, 1, d, b] to [a, r, d, b]; done for all axes in one shape of pairs. */
static ts_status tile_host(ts_node_call *c, ts_error *err)
{
    const ts_shape *s = &c->in[0]->shape;
    int64_t repeats[TS_MAX_RANK], dense[TS_MAX_RANK], index[TS_MAX_RANK] = {0};
    size_t n;
    double *y;
    ts_status st = ts_ints_in(c, 1, repeats, TS_MAX_RANK, &n, err);
    ts_shape shape = *s;
    if (st == TS_OK && (int)n != s->rank)
        st = ts_node_fail(c, err, "%zu repeats for rank %d", n, s->rank);
    for (int d = 0; st == TS_OK && d < s->rank; d++)
        shape.dim[d] *= repeats[d];
    if (st == TS_OK)
        st = ts_host_out(c, 0, c->in[0]->type, &shape, &y, err);
    if (st != TS_OK || !y)
        return st;
    ts_dense_strides(s, dense);
    for (int64_t k = 0; k < ts_shape_elements(&shape); k++) {
        int64_t at = 0;
        for (int d = 0; d < s->rank; d++)
            at += index[d] % s->dim[d] * dense[d];
        y[k] = ts_host_in(c, 0)[at];
        ts_next_index(&shape, index);
    }
    return TS_OK;
}

static ts_status tile_device(ts_node_call *c, ts_error *err)
{
    const ts_shape *s = &c->in[0]->shape;
    int64_t repeats[TS_MAX_RANK];
    size_t n;
    ts_arr x, y;
    ts_status st = ts_ints_in(c, 1, repeats, TS_MAX_RANK, &n, err);
    ts_shape shape = *s, from = {.rank = 2 * s->rank}, to = {.rank = 2 * s->rank};
    if (st == TS_OK && ((int)n != s->rank || 2 * s->rank > TS_MAX_RANK)) {
        st = ts_value_to_host(c->ops, c->in[0], err);
        return st == TS_OK ? tile_host(c, err) : st;
    }
    for (int d = 0; st == TS_OK && d < s->rank; d++) {
        shape.dim[d] *= repeats[d];
        from.dim[2 * d] = 1;
        to.dim[2 * d] = repeats[d];
        from.dim[2 * d + 1] = to.dim[2 * d + 1] = s->dim[d];
    }
    if (st == TS_OK)
        st = ts_dev_in(c, 0, &x, err);
    if (st == TS_OK)
        st = ts_dev_out(c, 0, c->in[0]->type, &shape, &y, err);
    if (st != TS_OK || ts_shape_elements(&shape) == 0)
        return st;
    x = ts_arr_reshape(&x, &from);
    y = ts_arr_reshape(&y, &to);
    return ts_op_expand(c->ops, &x, &y, err);
}

/* ---- pad ---- */

typedef struct padding {
    int64_t front[TS_MAX_RANK];
    ts_shape shape;
    ts_pad_mode mode;
    double value;
} padding;

static ts_status pad_lists(ts_node_call *c, int64_t *pads, size_t *n, int64_t *axes, size_t *n_axes,
                           padding *p, ts_error *err)
{
    ts_status st = TS_OK;
    *n_axes = 0;
    p->value = 0;
    if (c->n_in < 2) {
        *n = ts_attr_ints(c->node, ts_attr_has(c->node, "pads") ? "pads" : "paddings", pads,
                          2 * TS_MAX_RANK);
        p->value = (double)ts_attr_float(c->node, "value", 0);
        return TS_OK;
    }
    st = ts_ints_in(c, 1, pads, 2 * TS_MAX_RANK, n, err);
    if (st == TS_OK && ts_input(c, 2)) {
        st = ts_value_to_host(c->ops, c->in[2], err);
        if (st == TS_OK && ts_value_elements(c->in[2]) > 0)
            p->value = c->in[2]->host[0];
    }
    return st == TS_OK ? ts_ints_in(c, 3, axes, TS_MAX_RANK, n_axes, err) : st;
}

static ts_status plan_pad(ts_node_call *c, padding *p, ts_error *err)
{
    static const char *const modes[] = {"constant", "reflect", "edge", "wrap"};
    int64_t pads[2 * TS_MAX_RANK], axes[TS_MAX_RANK];
    size_t n, n_axes;
    char mode[16];
    ts_attr_string(c->node, "mode", "constant", mode, sizeof mode);
    p->shape = c->in[0]->shape;
    memset(p->front, 0, sizeof p->front);
    int found = -1;
    for (int i = 0; i < 4; i++)
        if (!strcmp(mode, modes[i]))
            found = i;
    p->mode = (ts_pad_mode)found;
    ts_status st = found < 0 ? ts_node_fail(c, err, "mode '%s'", mode)
                             : pad_lists(c, pads, &n, axes, &n_axes, p, err);
    size_t rank = st == TS_OK && n_axes ? n_axes : (size_t)p->shape.rank;
    if (st == TS_OK && n != 2 * rank)
        st = ts_node_fail(c, err, "%zu pads for %zu axes", n, rank);
    for (size_t i = 0; i < rank && st == TS_OK; i++) {
        int axis = (int)i;
        if (n_axes)
            st = ts_axis(c, axes[i], p->shape.rank, &axis, err);
        if (st != TS_OK)
            break;
        p->front[axis] = pads[i];
        p->shape.dim[axis] += pads[i] + pads[i + rank];
        if (p->shape.dim[axis] < 0)
            st = ts_node_fail(c, err, "axis %d would have a negative size", axis);
    }
    return st;
}

/* The source of position i of a padded axis; -1: outside. */
static int64_t pad_source(int64_t i, int64_t n, ts_pad_mode mode)
{
    if (i >= 0 && i < n)
        return i;
    if (mode == TS_PAD_CONSTANT || n == 0)
        return -1;
    if (mode == TS_PAD_EDGE)
        return clamp(i, 0, n - 1);
    if (mode == TS_PAD_WRAP)
        return (i % n + n) % n;
    int64_t period = n > 1 ? 2 * (n - 1) : 1;
    i = (i % period + period) % period;
    return i < n ? i : period - i;
}

static ts_status pad_host(ts_node_call *c, ts_error *err)
{
    padding p;
    double *y;
    int64_t dense[TS_MAX_RANK], index[TS_MAX_RANK] = {0};
    ts_status st = plan_pad(c, &p, err);
    if (st == TS_OK)
        st = ts_host_out(c, 0, c->in[0]->type, &p.shape, &y, err);
    if (st != TS_OK || !y)
        return st;
    ts_dense_strides(&c->in[0]->shape, dense);
    for (int64_t k = 0; k < ts_shape_elements(&p.shape); k++) {
        int64_t at = 0;
        for (int d = 0; d < p.shape.rank && at >= 0; d++) {
            int64_t from = pad_source(index[d] - p.front[d], c->in[0]->shape.dim[d], p.mode);
            at = from < 0 ? -1 : at + from * dense[d];
        }
        y[k] = at < 0 ? p.value : ts_host_in(c, 0)[at];
        ts_next_index(&p.shape, index);
    }
    return TS_OK;
}

static ts_status pad_device(ts_node_call *c, ts_error *err)
{
    padding p;
    ts_arr x, y;
    ts_status st = plan_pad(c, &p, err);
    if (st == TS_OK)
        st = ts_dev_in(c, 0, &x, err);
    if (st == TS_OK)
        st = ts_dev_out(c, 0, c->in[0]->type, &p.shape, &y, err);
    if (st != TS_OK || ts_shape_elements(&p.shape) == 0)
        return st;
    return ts_op_pad(c->ops, &x, p.front, p.mode, (float)p.value, &y, err);
}

/* ---- gather ---- */

static ts_status gather_shape(ts_node_call *c, int *axis, ts_shape *shape, ts_error *err)
{
    const ts_shape *s = &c->in[0]->shape, *ix = &c->in[1]->shape;
    ts_status st = ts_axis(c, ts_attr_int(c->node, "axis", 0), s->rank, axis, err);
    if (st == TS_OK && s->rank - 1 + ix->rank > TS_MAX_RANK)
        st = ts_node_fail(c, err, "rank %d", s->rank - 1 + ix->rank);
    *shape = (ts_shape){0};
    if (st != TS_OK)
        return st;
    for (int d = 0; d < *axis; d++)
        shape->dim[shape->rank++] = s->dim[d];
    for (int d = 0; d < ix->rank; d++)
        shape->dim[shape->rank++] = ix->dim[d];
    for (int d = *axis + 1; d < s->rank; d++)
        shape->dim[shape->rank++] = s->dim[d];
    return TS_OK;
}

static ts_status gather_host(ts_node_call *c, ts_error *err)
{
    int axis;
    ts_shape shape;
    double *y;
    ts_status st = gather_shape(c, &axis, &shape, err);
    if (st == TS_OK)
        st = ts_host_out(c, 0, c->in[0]->type, &shape, &y, err);
    if (st != TS_OK || !y)
        return st;
    const ts_shape *s = &c->in[0]->shape;
    int64_t outer = 1, inner = 1, n = ts_value_elements(c->in[1]), dim = s->dim[axis];
    for (int d = 0; d < s->rank; d++)
        if (d != axis)
            *(d < axis ? &outer : &inner) *= s->dim[d];
    for (int64_t o = 0; o < outer; o++)
        for (int64_t k = 0; k < n; k++) {
            int64_t i = (int64_t)ts_host_in(c, 1)[k];
            i = i < 0 ? i + dim : i;
            if (i < 0 || i >= dim)
                return ts_node_fail(c, err, "index %lld of an axis of %lld", (long long)i,
                                    (long long)dim);
            memcpy(y + (o * n + k) * inner, ts_host_in(c, 0) + (o * dim + i) * inner,
                   (size_t)inner * sizeof *y);
        }
    return TS_OK;
}

static ts_status gather_device(ts_node_call *c, ts_error *err)
{
    int axis;
    ts_shape shape;
    ts_arr x, f, index = {0}, y;
    ts_status st = gather_shape(c, &axis, &shape, err);
    if (st == TS_OK)
        st = ts_dev_in(c, 0, &x, err);
    if (st == TS_OK)
        st = ts_dev_in(c, 1, &f, err);
    if (st == TS_OK)
        st = ts_dev_scratch(c, TS_I32, &f.shape, &index, err);
    if (st == TS_OK)
        st = ts_op_cast(c->ops, &f, &index, err);
    if (st == TS_OK)
        st = ts_dev_out(c, 0, c->in[0]->type, &shape, &y, err);
    if (st == TS_OK && ts_shape_elements(&shape) > 0)
        st = ts_op_gather(c->ops, &x, &index, axis, &y, err);
    ts_dev_release(c, &index);
    return st;
}

/* ---- depth and space: reshape, transpose, reshape ---- */

static ts_status depth_space(ts_node_call *c, ts_error *err)
{
    const ts_shape *s = &c->in[0]->shape;
    int64_t b = ts_attr_int(c->node, "blocksize", 1);
    char mode[8];
    if (s->rank != 4 || b < 1)
        return ts_node_fail(c, err, "needs [N,C,H,W] and a blocksize");
    int64_t n = s->dim[0], ch = s->dim[1], h = s->dim[2], w = s->dim[3];
    ts_shape split, joined, out;
    static const int dcr[] = {0, 3, 4, 1, 5, 2}, crd[] = {0, 1, 4, 2, 5, 3}, std[] = {0, 3, 5, 1, 2, 4};
    const int *perm;
    if (!strcmp(c->node->op, "SpaceToDepth")) {
        split = TS_SHAPE(n, ch, h / b, b, w / b, b);
        out = TS_SHAPE(n, ch * b * b, h / b, w / b);
        perm = std;
    } else {
        bool is_crd = !strcmp(ts_attr_string(c->node, "mode", "DCR", mode, sizeof mode), "CRD");
        split = is_crd ? TS_SHAPE(n, ch / (b * b), b, b, h, w) : TS_SHAPE(n, b, b, ch / (b * b), h, w);
        out = TS_SHAPE(n, ch / (b * b), h * b, w * b);
        perm = is_crd ? crd : dcr;
    }
    if (ts_shape_elements(&split) != ts_shape_elements(s))
        return ts_node_fail(c, err, "blocksize %lld does not divide its input", (long long)b);
    joined = (ts_shape){.rank = 6};
    for (int d = 0; d < 6; d++)
        joined.dim[d] = split.dim[perm[d]];
    ts_arr x, y;
    ts_status st = ts_dev_in(c, 0, &x, err);
    if (st == TS_OK)
        st = ts_dev_out(c, 0, c->in[0]->type, &out, &y, err);
    if (st != TS_OK)
        return st;
    x = ts_arr_reshape(&x, &split);
    y = ts_arr_reshape(&y, &joined);
    return ts_op_transpose(c->ops, &x, perm, &y, err);
}

const ts_graph_op ts_ops_move[] = {
    {"Transpose", transpose_host, transpose_device, 1},
    {"Concat", concat_host, concat_device, TS_ALL_INPUTS},
    {"Slice", slice_host, slice_device, 1},
    {"Split", split_host, split_device, 1},
    {"Expand", expand_host, expand_device, 2},
    {"Tile", tile_host, tile_device, 2},
    {"Pad", pad_host, pad_device, 1},
    {"Gather", gather_host, gather_device, 2},
    {"DepthToSpace", NULL, depth_space, 1},
    {"SpaceToDepth", NULL, depth_space, 1},
    {NULL, NULL, NULL, 0},
};
