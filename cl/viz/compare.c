#include "cl/viz/compare.h"

#include <math.h>
#include <stdlib.h>

enum {
    STATE_A = 0,
    STATE_B = 1,
    STATE_SHARED = VIEW_MAX_PANELS, /* the range of both */
    SSIM_WINDOW = 11,
    SSIM_ROWS = 512,       /* one sum a row of windows is read back */
    SUM_ITEMS = 128,       /* and one of each item */
    SSIM_WINDOWS = 1 << 15 /* at most about so many; larger planes take every step-th */
};

/* The two tensors, with b brought to a's shape where that was asked. */
typedef struct pair {
    ts_entry owned[2];
    const ts_entry *a, *b;
    ts_entry fitted; /* b resampled */
    ts_tensor *difference;
} pair;

static void pair_finish(pair *p)
{
    ts_tensor_unref(p->fitted.tensor);
    ts_tensor_unref(p->difference);
    ts_entry_finish(&p->owned[0]);
    ts_entry_finish(&p->owned[1]);
}

static size_t items_of(const ts_viz *viz, uint64_t n)
{
    size_t most = viz->cpu ? 8 * (size_t)viz->units : 1u << 14;
    size_t want = (size_t)div_up(n, viz->cpu ? 4096 : 16);
    return want < most ? want : most;
}

static uint64_t first_element(const ts_tensor *tensor)
{
    return ts_tensor_offset(tensor) / ts_dtype_bytes(ts_tensor_dtype(tensor));
}

/* b's last two axes resampled to a's; the axes before them must agree. */
static ts_status fit_b(ts_viz *viz, pair *p, ts_error *err)
{
    const ts_shape *sa = ts_tensor_shape(p->a->tensor), *sb = ts_tensor_shape(p->b->tensor);
    uint64_t planes = 1;
    bool ok = sa->rank == sb->rank && sa->rank >= 2 && ts_shape_elements(sb) > 0;
    for (int i = 0; ok && i + 2 < sa->rank; i++) {
        ok = sa->dim[i] == sb->dim[i];
        planes *= (uint64_t)sa->dim[i];
    }
    if (!ok)
        return ts_fail(err, TS_E_SHAPE, "compare.fit_b: only the last two axes may differ");
    ts_status st = ts_tensor_create(viz->device, TS_F32, sa, &p->fitted.tensor, err);
    if (st != TS_OK)
        return st;
    int64_t h = sa->dim[sa->rank - 2], w = sa->dim[sa->rank - 1];
    int64_t sh = sb->dim[sb->rank - 2], sw = sb->dim[sb->rank - 1];
    st = viz_launch(viz, "viz_compare", (int)ts_tensor_dtype(p->b->tensor), "viz_fit_plane",
                    SIZES((size_t)w, (size_t)h, (size_t)planes), NULL,
                    TS_ARGS(TS_BUF(ts_tensor_buffer(p->b->tensor)),
                            TS_ULONG(first_element(p->b->tensor)), TS_INT(sh), TS_INT(sw),
                            TS_INT(h), TS_INT(w), TS_BUF(ts_tensor_buffer(p->fitted.tensor))),
                    err);
    ts_tensor *tensor = p->fitted.tensor;
    p->fitted = *p->b;
    p->fitted.tensor = tensor;
    p->fitted.version = 0;
    p->b = &p->fitted;
    return st;
}

static ts_status pair_open(ts_viz *viz, const ts_viz_input *input, bool fit, pair *p, ts_error *err)
{
    const view_compare *compare = &input->view->compare;
    if (!compare->b)
        return ts_fail(err, TS_E_OPTION, "compare.b: expected the name of a tensor");
    ts_status st = scene_entry(input, compare->a, &p->owned[0], &p->a, err);
    if (st == TS_OK)
        st = scene_entry(input, compare->b, &p->owned[1], &p->b, err);
    if (st != TS_OK)
        return st;
    const ts_shape *sa = ts_tensor_shape(p->a->tensor), *sb = ts_tensor_shape(p->b->tensor);
    if (ts_shape_equal(sa, sb))
        return TS_OK;
    if (compare->fit_b)
        return fit ? fit_b(viz, p, err) : TS_OK;
    char ta[160], tb[160];
    return ts_fail(err, TS_E_SHAPE, "compare: %s is %s and %s is %s, want equal shapes or fit_b",
                   p->a->name, ts_shape_text(sa, ta, sizeof ta), p->b->name,
                   ts_shape_text(sb, tb, sizeof tb));
}

ts_status compare_size(ts_viz *viz, const ts_viz_input *input, int *w, int *h, ts_error *err)
{
    pair p = {0};
    ts_status st = pair_open(viz, input, false, &p, err);
    part_call call = {.part = &input->view->part, .entry = p.a, .input = input};
    if (st == TS_OK)
        st = part_size(&call, w, h, err);
    if (st == TS_OK && input->view->compare.mode == COMPARE_SIDE)
        *w = 2 * *w + input->view->compare.gap;
    if (st == TS_OK && *w > VIEW_MAX_SIDE)
        st = ts_fail(err, TS_E_OPTION, "compare: a picture %d wide, at most %d", *w, VIEW_MAX_SIDE);
    pair_finish(&p);
    return st;
}

/* ---- the range of both ---- */

/* All samples of a and b, one behind the other, as one plan. */
static ts_status join_samples(ts_viz *viz, const pair *p, slot *joined, viz_plan *plan,
                              ts_error *err)
{
    const ts_tensor *t[2] = {p->a->tensor, p->b->tensor};
    uint64_t n = (uint64_t)ts_shape_elements(ts_tensor_shape(t[0]));
    ts_dtype dtype = ts_tensor_dtype(t[0]);
    bool same = dtype == ts_tensor_dtype(t[1]);
    if (!same)
        dtype = TS_F32;
    size_t bytes = n * ts_dtype_bytes(dtype);
    ts_status st = slot_need(viz, joined, 2 * bytes, err);
    for (int i = 0; st == TS_OK && i < 2; i++) {
        if (same) {
            st = ts_buffer_copy(viz->queue, ts_tensor_buffer(t[i]), ts_tensor_offset(t[i]),
                                joined->buffer, (size_t)i * bytes, bytes, err);
            continue;
        }
        st = viz_launch(viz, "viz_compare", (int)ts_tensor_dtype(t[i]), "viz_to_float",
                        SIZES(items_of(viz, n), 1, 1), NULL,
                        TS_ARGS(TS_BUF(ts_tensor_buffer(t[i])), TS_ULONG(first_element(t[i])),
                                TS_ULONG(n), TS_BUF(joined->buffer), TS_ULONG((uint64_t)i * n)),
                        err);
    }
    *plan = (viz_plan){.kind = KIND_HEATMAP,
                       .total = 2 * n,
                       .planes = 1,
                       .cols = 1,
                       .channels = 1,
                       .whole_ok = true};
    uint32_t w = 2 * n < 4096 ? (uint32_t)(2 * n) : 4096;
    plan_plane(plan, joined->buffer, dtype, (uint32_t)div_up(2 * n, w), w);
    plan->whole = plan->src;
    uint64_t both[2] = {entry_identity(p->a), entry_identity(p->b)};
    plan->identity = both[0] && both[1] ? viz_hash(0, both, sizeof both) : 0;
    return st;
}

/* Shared unless the scope asks for one range per tile or channel. */
static ts_status shared_range(ts_viz *viz, const ts_viz_input *input, const pair *p,
                              part_state *state, bool *shared, ts_error *err)
{
    view_part part = input->view->part;
    *shared = part.range.scope == SCOPE_TENSOR || part.range.scope == SCOPE_VIEW;
    if (!*shared || ts_shape_elements(ts_tensor_shape(p->a->tensor)) == 0)
        return TS_OK;
    viz_plan plan;
    part.range.scope = SCOPE_TENSOR;
    ts_status st = join_samples(viz, p, &state->plane, &plan, err);
    return st == TS_OK ? range_update(viz, &state->range, &part, &plan, input->dt_s, err) : st;
}

/* ---- numbers ---- */

static ts_status difference(ts_viz *viz, const pair *p, bool magnitude, slot *scratch,
                            ts_buffer *out, ts_error *err)
{
    const ts_tensor *t[2] = {p->a->tensor, p->b->tensor};
    ts_buffer *data[2] = {ts_tensor_buffer(t[0]), ts_tensor_buffer(t[1])};
    uint64_t first[2] = {first_element(t[0]), first_element(t[1])};
    uint64_t n = (uint64_t)ts_shape_elements(ts_tensor_shape(t[0]));
    ts_dtype dtype = ts_tensor_dtype(t[0]);
    ts_status st = TS_OK;
    if (dtype != ts_tensor_dtype(t[1])) {
        dtype = TS_F32;
        st = slot_need(viz, scratch, 2 * n * sizeof(float), err);
        for (int i = 0; st == TS_OK && i < 2; i++) {
            st = viz_launch(viz, "viz_compare", (int)ts_tensor_dtype(t[i]), "viz_to_float",
                            SIZES(items_of(viz, n), 1, 1), NULL,
                            TS_ARGS(TS_BUF(data[i]), TS_ULONG(first[i]), TS_ULONG(n),
                                    TS_BUF(scratch->buffer), TS_ULONG((uint64_t)i * n)),
                            err);
            data[i] = scratch->buffer;
            first[i] = (uint64_t)i * n;
        }
    }
    if (st != TS_OK)
        return st;
    return viz_launch(viz, "viz_compare", (int)dtype, "viz_difference",
                      SIZES(items_of(viz, n), 1, 1), NULL,
                      TS_ARGS(TS_BUF(data[0]), TS_ULONG(first[0]), TS_BUF(data[1]),
                              TS_ULONG(first[1]), TS_ULONG(n), TS_INT(magnitude), TS_BUF(out)),
                      err);
}

static ts_status read_sums(ts_viz *viz, ts_buffer *d, uint64_t n, slot *scratch, double *mse,
                           double *most, ts_error *err)
{
    float part[4 * SUM_ITEMS];
    size_t items = items_of(viz, n);
    items = items < SUM_ITEMS ? items : SUM_ITEMS;
    ts_status st = slot_need(viz, scratch, items * 4 * sizeof(float), err);
    if (st == TS_OK)
        st = viz_launch(viz, "viz_compare", TS_F32, "viz_difference_sums", SIZES(items, 1, 1), NULL,
                        TS_ARGS(TS_BUF(d), TS_ULONG(n), TS_BUF(scratch->buffer)), err);
    if (st == TS_OK)
        st = ts_buffer_read(viz->queue, scratch->buffer, 0, part, items * 4 * sizeof(float), err);
    if (st != TS_OK)
        return st;
    double sum = 0, count = 0;
    *most = 0;
    for (size_t i = 0; i < items; i++) {
        uint32_t seen;
        memcpy(&seen, &part[4 * i + 3], sizeof seen);
        sum += (double)part[4 * i] + (double)part[4 * i + 1];
        count += seen;
        *most = fmax(*most, (double)part[4 * i + 2]);
    }
    *mse = count > 0 ? sum / count : NAN;
    return TS_OK;
}

/* SSIM of 2-D tensors of one dtype over the peak; NaN where there is no window. */
static ts_status ssim(ts_viz *viz, const pair *p, double peak, slot *scratch, double *out,
                      ts_error *err)
{
    const ts_tensor *a = p->a->tensor, *b = p->b->tensor;
    int h = (int)ts_tensor_shape(a)->dim[0], w = (int)ts_tensor_shape(a)->dim[1];
    int k = SSIM_WINDOW < h ? SSIM_WINDOW : h;
    k = k < w ? k : w;
    double windows = (double)(h - k + 1) * (w - k + 1);
    int step = (int)fmax(1, ceil(sqrt(windows / SSIM_WINDOWS)));
    int tall = (int)div_up((size_t)(h - k + 1), SSIM_ROWS);
    step = step > tall ? step : tall;
    int rows = (h - k) / step + 1, cols = (w - k) / step + 1;
    float *sums = malloc((size_t)rows * sizeof *sums);
    if (!sums)
        return ts_fail(err, TS_E_NO_MEMORY, "ssim");
    double c1 = 0.01 * peak, c2 = 0.03 * peak;
    ts_status st = slot_need(viz, scratch, (size_t)rows * sizeof *sums, err);
    if (st == TS_OK)
        st = viz_launch(viz, "viz_compare", (int)ts_tensor_dtype(a), "viz_ssim_rows",
                        SIZES((size_t)rows, 1, 1), NULL,
                        TS_ARGS(TS_BUF(ts_tensor_buffer(a)), TS_ULONG(first_element(a)),
                                TS_BUF(ts_tensor_buffer(b)), TS_ULONG(first_element(b)), TS_INT(h),
                                TS_INT(w), TS_INT(k), TS_INT(step), TS_FLOAT(c1 * c1),
                                TS_FLOAT(c2 * c2), TS_BUF(scratch->buffer)),
                        err);
    if (st == TS_OK)
        st = ts_buffer_read(viz->queue, scratch->buffer, 0, sums, (size_t)rows * sizeof *sums, err);
    double sum = 0;
    for (int i = 0; st == TS_OK && i < rows; i++)
        sum += (double)sums[i];
    *out = sum / ((double)rows * cols);
    free(sums);
    return st;
}

static ts_status report(ts_viz *viz, const ts_viz_input *input, const pair *p, part_state *shared,
                        ts_viz_output *out, ts_error *err)
{
    uint64_t n = (uint64_t)ts_shape_elements(ts_tensor_shape(p->a->tensor));
    if (n == 0)
        return TS_OK;
    double mse = 0, most = 0, peak = 0;
    ts_status st = slot_need(viz, &shared->mid, n * sizeof(float), err);
    if (st == TS_OK)
        st = difference(viz, p, false, &shared->plane, shared->mid.buffer, err);
    if (st == TS_OK)
        st = read_sums(viz, shared->mid.buffer, n, &viz->quality, &mse, &most, err);
    if (st == TS_OK && shared->range.valid) {
        st = range_read(viz, &shared->range, err);
        out->has_range = shared->range.first.seen;
        out->lo = viz_unwide(viz, shared->range.first.lo);
        out->hi = viz_unwide(viz, shared->range.first.hi);
        peak = out->hi - out->lo;
    }
    if (st != TS_OK)
        return st;
    out->metrics = json_object();
    json_object_set_new(out->metrics, "mse", ts_json_double(mse));
    json_object_set_new(out->metrics, "max_abs", ts_json_double(most));
    if (peak > 0) {
        double psnr = mse > 0 ? 10 * log10(peak * peak / mse) : INFINITY;
        json_object_set_new(out->metrics, "psnr", ts_json_double(psnr));
    }
    bool plane = ts_tensor_shape(p->a->tensor)->rank == 2 &&
                 ts_tensor_dtype(p->a->tensor) == ts_tensor_dtype(p->b->tensor);
    double similarity = 0;
    if (plane && peak > 0) {
        st = ssim(viz, p, peak, &viz->quality, &similarity, err);
        json_object_set_new(out->metrics, "ssim", ts_json_double(similarity));
    }
    (void)input;
    return st;
}

/* ---- pictures ---- */

/* diff and absdiff: the difference is a tensor like any other, with defaults that suit it. */
static ts_status draw_difference(ts_viz *viz, const ts_viz_input *input, pair *p, const target *t,
                                 ts_error *err)
{
    bool magnitude = input->view->compare.mode == COMPARE_ABSDIFF;
    view_part part = input->view->part;
    if (!part.range.has_mode && !magnitude)
        part.range.mode = RANGE_SYMMETRIC;
    if (!part.range.has_mode && magnitude && !part.range.has_lo) {
        part.range.has_lo = true;
        part.range.lo = 0;
    }
    view_colormap *map = &part.colormap;
    if (!map->name[0] && !map->n_stops && !map->two_colors)
        strcpy(map->name, magnitude ? "inferno" : "rdbu_r");
    part_state *state = viz_part(viz, STATE_A, err);
    if (!state)
        return TS_E_NO_MEMORY;
    ts_status st =
        ts_tensor_create(viz->device, TS_F32, ts_tensor_shape(p->a->tensor), &p->difference, err);
    if (st == TS_OK && ts_tensor_nbytes(p->difference) > 0)
        st = difference(viz, p, magnitude, &state->plane, ts_tensor_buffer(p->difference), err);
    ts_entry entry = *p->a;
    entry.tensor = p->difference;
    entry.version = 0;
    part_call call = {.part = &part, .entry = &entry, .input = input, .state = state};
    return st == TS_OK ? part_draw(viz, &call, t, err) : st;
}

static ts_status draw_side(ts_viz *viz, const ts_viz_input *input, const ts_entry *entry, int index,
                           range_state *range, const target *t, ts_error *err)
{
    part_call call = {.part = &input->view->part,
                      .entry = entry,
                      .input = input,
                      .state = viz_part(viz, index, err),
                      .use_range = range};
    return call.state ? part_draw(viz, &call, t, err) : TS_E_NO_MEMORY;
}

static ts_status draw_both(ts_viz *viz, const ts_viz_input *input, const pair *p,
                           range_state *range, const target *t, ts_error *err)
{
    const view_compare *c = &input->view->compare;
    target a = *t, b = *t;
    if (c->mode == COMPARE_FLICKER) {
        uint64_t seq = c->has_seq ? (uint64_t)c->seq : input->seq;
        bool first = seq / (uint64_t)c->every % 2 == 0;
        return draw_side(viz, input, first ? p->a : p->b, first ? STATE_A : STATE_B, range, t, err);
    }
    if (c->mode == COMPARE_SIDE) {
        static const uint32_t background = 0xff181818u;
        a.rw = b.rw = (t->rw - c->gap) / 2;
        b.x += a.rw + c->gap;
        ts_status st = canvas_fill(viz, t, t->x + a.rw, t->y, c->gap, t->rh, background, err);
        if (st == TS_OK)
            st = draw_side(viz, input, p->a, STATE_A, range, &a, err);
        return st == TS_OK ? draw_side(viz, input, p->b, STATE_B, range, &b, err) : st;
    }
    b.canvas = &viz->canvas_b;
    ts_status st = slot_need(viz, b.canvas, (size_t)t->w * (size_t)t->h * 4, err);
    if (st == TS_OK)
        st = draw_side(viz, input, p->a, STATE_A, range, &a, err);
    if (st == TS_OK)
        st = draw_side(viz, input, p->b, STATE_B, range, &b, err);
    int mode = c->mode == COMPARE_BLEND ? 0 : c->mode == COMPARE_WIPE ? 1 : 2;
    int at = mode == 1 ? (int)floor(c->position * t->w + 0.5) : c->size;
    if (st == TS_OK)
        st = canvas_combine(viz, a.canvas, b.canvas, a.canvas, t->w, t->h, mode, at,
                            (float)c->alpha, rgba_of(&c->divider), err);
    return st;
}

ts_status compare_draw(ts_viz *viz, const ts_viz_input *input, const target *t, ts_viz_output *out,
                       ts_error *err)
{
    pair p = {0};
    ts_status st = pair_open(viz, input, true, &p, err);
    part_state *both = st == TS_OK ? viz_part(viz, STATE_SHARED, err) : NULL;
    if (st == TS_OK && !both)
        st = TS_E_NO_MEMORY;
    bool shared = false;
    if (st == TS_OK)
        st = shared_range(viz, input, &p, both, &shared, err);
    view_compare_mode mode = input->view->compare.mode;
    if (st == TS_OK && (mode == COMPARE_DIFF || mode == COMPARE_ABSDIFF))
        st = draw_difference(viz, input, &p, t, err);
    else if (st == TS_OK)
        st = draw_both(viz, input, &p, shared ? &both->range : NULL, t, err);
    if (st == TS_OK)
        st = report(viz, input, &p, both, out, err);
    /* The pair's tensors are let go: nothing may still read them. */
    ts_status done = ts_queue_finish(viz->queue, st == TS_OK ? err : NULL);
    pair_finish(&p);
    return st == TS_OK ? done : st;
}
