/* Filters of values: a tensor to one of its own layout in f32 (f64 where the values need that). */
#include <math.h>

#include "cl/viz/viz_internal.h"

enum {
    POINT_SHARPEN,
    POINT_GRAD,
    POINT_LAPLACE,
    POINT_ABS,
    POINT_TEMPORAL,
    POINT_DELTA
};

/* One filtering in progress: the result so far is out[at]. */
typedef struct filtering {
    ts_viz *viz;
    filter_state *state;
    viz_source src;
    uint64_t n;
    ts_dtype dtype;
    size_t items;
} filtering;

static size_t item_count(const ts_viz *viz, uint64_t n)
{
    size_t most = viz->cpu ? 8 * (size_t)viz->units : 1u << 20;
    size_t want = (size_t)div_up(n, viz->cpu ? 4096 : 1);
    return want < most ? want : most;
}

static ts_status blur(filtering *f, int r, double sigma, bool vertical, slot *in, slot *out,
                      ts_error *err)
{
    return viz_launch(f->viz, "viz_filter", (int)f->dtype, "viz_filter_blur", SIZES(f->items, 1, 1),
                      NULL,
                      TS_ARGS(TS_BUF(in->buffer), TS_ULONG(f->n), TS_ULONG(f->src.sy),
                              TS_UINT(f->src.h), TS_ULONG(f->src.sx), TS_UINT(f->src.w),
                              TS_INT(vertical), TS_INT(r), TS_FLOAT(sigma), TS_BUF(out->buffer)),
                      err);
}

static ts_status point(filtering *f, int op, double amount, bool begun, slot *other, slot *out,
                       ts_error *err)
{
    slot *in = &f->state->out[f->state->at];
    return viz_launch(
        f->viz, "viz_filter", (int)f->dtype, "viz_filter_point", SIZES(f->items, 1, 1), NULL,
        TS_ARGS(TS_BUF(in->buffer), TS_BUF(other ? other->buffer : in->buffer), TS_ULONG(f->n),
                TS_ULONG(f->src.sy), TS_UINT(f->src.h), TS_ULONG(f->src.sx), TS_UINT(f->src.w),
                TS_INT(op), TS_FLOAT(amount), TS_INT(begun), TS_BUF(out->buffer)),
        err);
}

/* A blur along both axes, its result in `out` again where it began. */
static ts_status blur_both(filtering *f, int r, double sigma, slot *scratch, slot *out,
                           ts_error *err)
{
    ts_status st = blur(f, r, sigma, false, &f->state->out[f->state->at], scratch, err);
    return st == TS_OK ? blur(f, r, sigma, true, scratch, out, err) : st;
}

static ts_status apply_one(filtering *f, const view_filter *filter, int index, ts_error *err)
{
    filter_state *s = f->state;
    slot *now = &s->out[s->at], *next = &s->out[1 - s->at], *history = &s->history[index];
    size_t bytes = f->n * ts_dtype_bytes(f->dtype);
    ts_status st = slot_need(f->viz, history, bytes, err);
    if (st != TS_OK)
        return st;
    switch (filter->op) {
    case FILTER_BOX:
        return blur_both(f, filter->r, 0, next, now, err);
    case FILTER_GAUSS:
        return blur_both(f, (int)ceil(3 * filter->sigma), filter->sigma, next, now, err);
    case FILTER_SHARPEN:
        st = blur(f, 3, 1, false, now, next, err);
        if (st == TS_OK)
            st = blur(f, 3, 1, true, next, history, err);
        if (st == TS_OK)
            st = point(f, POINT_SHARPEN, filter->amount, true, history, next, err);
        break;
    case FILTER_MEDIAN:
        st = viz_launch(f->viz, "viz_filter", (int)f->dtype, "viz_filter_median",
                        SIZES(f->items, 1, 1), NULL,
                        TS_ARGS(TS_BUF(now->buffer), TS_ULONG(f->n), TS_ULONG(f->src.sy),
                                TS_UINT(f->src.h), TS_ULONG(f->src.sx), TS_UINT(f->src.w),
                                TS_INT(filter->r), TS_BUF(next->buffer)),
                        err);
        break;
    case FILTER_GRAD:
        st = point(f, POINT_GRAD, 0, true, NULL, next, err);
        break;
    case FILTER_LAPLACE:
        st = point(f, POINT_LAPLACE, 0, true, NULL, next, err);
        break;
    case FILTER_ABS:
        st = point(f, POINT_ABS, 0, true, NULL, next, err);
        break;
    case FILTER_TEMPORAL:
        st = point(f, POINT_TEMPORAL, filter->alpha, s->begun, history, next, err);
        if (st == TS_OK)
            st = ts_buffer_copy(f->viz->queue, next->buffer, 0, history->buffer, 0, bytes, err);
        break;
    case FILTER_DELTA:
        st = point(f, POINT_DELTA, 0, s->begun, history, next, err);
        if (st == TS_OK)
            st = ts_buffer_copy(f->viz->queue, now->buffer, 0, history->buffer, 0, bytes, err);
        break;
    }
    s->at = 1 - s->at;
    return st;
}

static ts_status run(filtering *f, const view_part *part, const viz_plan *plan, ts_error *err)
{
    filter_state *s = f->state;
    size_t bytes = f->n * ts_dtype_bytes(f->dtype);
    ts_status st = slot_need(f->viz, &s->out[0], bytes, err);
    if (st == TS_OK)
        st = slot_need(f->viz, &s->out[1], bytes, err);
    s->at = 0;
    if (st == TS_OK)
        st = viz_launch(f->viz, "viz_filter", (int)plan->dtype, "viz_filter_load",
                        SIZES(f->items, 1, 1), NULL,
                        TS_ARGS(TS_BUF(plan->data), TS_ULONG(plan->whole.base), TS_ULONG(f->n),
                                TS_BUF(s->out[0].buffer)),
                        err);
    for (int i = 0; st == TS_OK && i < part->n_filters; i++)
        st = apply_one(f, &part->filters[i], i, err);
    return st;
}

ts_status filter_apply(ts_viz *viz, part_state *state, const view_part *part, viz_plan *plan,
                       ts_error *err)
{
    filter_state *s = &state->filter;
    bool wide = plan->dtype == TS_U32 || plan->dtype == TS_I32 || plan->dtype == TS_U64 ||
                plan->dtype == TS_I64 || plan->dtype == TS_F64;
    filtering f = {.viz = viz,
                   .state = s,
                   .src = plan->src,
                   .n = plan->total,
                   .dtype = wide && viz->fp64 ? TS_F64 : TS_F32};
    f.items = item_count(viz, f.n);
    uint64_t shape_key =
        viz_hash(0, part->filters, (size_t)part->n_filters * sizeof part->filters[0]);
    uint64_t layout[] = {plan->total, plan->src.sy, plan->src.sx,
                         plan->src.h, plan->src.w,  (uint64_t)plan->dtype};
    shape_key = viz_hash(shape_key, layout, sizeof layout);
    if (s->shape_key != shape_key)
        s->begun = s->valid = false;
    s->shape_key = shape_key;
    /* A frame moves temporal filters on once, however often it is drawn. */
    ts_status st = TS_OK;
    if (!s->valid || plan->identity == 0 || s->key != plan->identity) {
        st = run(&f, part, plan, err);
        s->begun = s->valid = st == TS_OK;
        s->key = plan->identity;
    }
    uint64_t base = plan->whole.base;
    plan->data = s->out[s->at].buffer;
    plan->dtype = f.dtype;
    plan->whole.base = 0;
    plan->src.base -= base;
    plan->identity = plan->identity ? viz_hash(plan->identity, &shape_key, sizeof shape_key) : 0;
    return st;
}
