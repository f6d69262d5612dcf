/* From a view's kind and a tensor's shape to the samples that are shown. */
#include "cl/viz/viz_internal.h"

/* A tensor's axes after the leading ones are fixed by `at`. */
typedef struct axes {
    int rank;
    int64_t dim[TS_MAX_RANK];
    uint64_t stride[TS_MAX_RANK];
    uint64_t base; /* elements from the buffer's start */
} axes;

static bool is_channels(int64_t n)
{
    return n == 3 || n == 4;
}

static ts_status wrong_rank(const char *kind, const char *want, const axes *a, ts_error *err)
{
    ts_shape shape = {.rank = a->rank};
    memcpy(shape.dim, a->dim, sizeof shape.dim);
    char text[160];
    return ts_fail(err, TS_E_SHAPE, "kind %s shows %s, got shape %s", kind, want,
                   ts_shape_text(&shape, text, sizeof text));
}

static ts_status check_index(const char *what, int64_t index, int64_t n, int64_t *out,
                             ts_error *err)
{
    if (index < -n || index >= n)
        return ts_fail(err, TS_E_INDEX, "%s %lld is outside an axis of %lld", what,
                       (long long)index, (long long)n);
    *out = index < 0 ? index + n : index;
    return TS_OK;
}

static void axes_of(const ts_tensor *tensor, axes *a)
{
    const ts_shape *shape = ts_tensor_shape(tensor);
    a->rank = shape->rank;
    uint64_t stride = 1;
    for (int i = shape->rank - 1; i >= 0; i--) {
        a->dim[i] = shape->dim[i];
        a->stride[i] = stride;
        stride *= (uint64_t)shape->dim[i];
    }
    a->base = ts_tensor_offset(tensor) / ts_dtype_bytes(ts_tensor_dtype(tensor));
}

/* Fix the first `n` axes at the indices of `at`. */
static ts_status fix_leading(axes *a, const int64_t *at, int n, ts_error *err)
{
    if (n > a->rank)
        return ts_fail(err, TS_E_INDEX, "at: %d indices for a tensor of rank %d", n, a->rank);
    for (int i = 0; i < n; i++) {
        int64_t index = 0;
        ts_status st = check_index("at", at[i], a->dim[i], &index, err);
        if (st != TS_OK)
            return st;
        a->base += (uint64_t)index * a->stride[i];
    }
    a->rank -= n;
    memmove(a->dim, a->dim + n, sizeof a->dim[0] * (size_t)a->rank);
    memmove(a->stride, a->stride + n, sizeof a->stride[0] * (size_t)a->rank);
    return TS_OK;
}

static void remove_axis(axes *a, int axis)
{
    a->rank--;
    memmove(a->dim + axis, a->dim + axis + 1, sizeof a->dim[0] * (size_t)(a->rank - axis));
    memmove(a->stride + axis, a->stride + axis + 1, sizeof a->stride[0] * (size_t)(a->rank - axis));
}

static view_kind default_kind(const axes *a)
{
    switch (a->rank) {
    case 0:
        return KIND_HEATMAP;
    case 1:
        return a->dim[0] == 1 ? KIND_HEATMAP : KIND_LINE;
    case 2:
        return KIND_HEATMAP;
    case 3:
        return is_channels(a->dim[2]) || is_channels(a->dim[0]) ? KIND_RGB : KIND_GRID;
    case 4:
        return KIND_BATCH;
    default:
        return KIND_AUTO;
    }
}

static void set_plane(viz_source *s, uint64_t base, int64_t h, uint64_t sy, int64_t w, uint64_t sx)
{
    *s = (viz_source){.base = base,
                      .sy = sy,
                      .sx = sx,
                      .kdiv = 1,
                      .tiles = 1,
                      .planes = 1,
                      .h = (uint32_t)h,
                      .w = (uint32_t)w};
}

/* Leading axes flattened into rows. */
static void plan_heatmap(viz_plan *plan, const axes *a)
{
    int64_t h = 1, w = a->rank > 0 ? a->dim[a->rank - 1] : 1;
    for (int i = 0; i + 1 < a->rank; i++)
        h *= a->dim[i];
    set_plane(&plan->src, a->base, h, (uint64_t)w, w, 1);
}

static ts_status plan_rows(viz_plan *plan, const axes *a, const char *kind, int most, ts_error *err)
{
    if (a->rank > most)
        return wrong_rank(kind, most == 1 ? "1-D tensors" : "1-D and 2-D tensors", a, err);
    plan_heatmap(plan, a);
    return TS_OK;
}

/* Whether the last of three axes holds the channels. */
static bool channels_last(const view_part *part, const axes *a)
{
    if (part->layout == LAYOUT_HWC || part->layout == LAYOUT_NHWC)
        return true;
    return part->layout == LAYOUT_AUTO && is_channels(a->dim[2]);
}

static ts_status set_channels(viz_plan *plan, const view_part *part, int64_t n, uint64_t stride,
                              ts_error *err)
{
    plan->planes = part->alpha && n >= 4 ? 4 : 3;
    plan->src.planes = (uint32_t)plan->planes;
    for (int i = 0; i < plan->planes; i++) {
        int64_t c = i < n ? i : n - 1;
        if (i < 3 && part->has_channels)
            c = part->channels[i];
        if (c >= n)
            return ts_fail(err, TS_E_INDEX, "channels: %lld is outside an axis of %lld",
                           (long long)c, (long long)n);
        plan->src.ps[i] = (uint64_t)c * stride;
    }
    return TS_OK;
}

static ts_status plan_rgb(viz_plan *plan, const view_part *part, const axes *a, ts_error *err)
{
    if (a->rank != 3)
        return wrong_rank("rgb", "3-D tensors", a, err);
    int c = channels_last(part, a) ? 2 : 0, y = c == 2 ? 0 : 1, x = c == 2 ? 1 : 2;
    set_plane(&plan->src, a->base, a->dim[y], a->stride[y], a->dim[x], a->stride[x]);
    return set_channels(plan, part, a->dim[c], a->stride[c], err);
}

/* The part of n tiles that first and count choose. */
static ts_status set_window(viz_plan *plan, const view_part *part, int64_t n, ts_error *err)
{
    if (part->first >= n)
        return ts_fail(err, TS_E_INDEX, "first: %d is outside %lld tiles", part->first,
                       (long long)n);
    int64_t count = part->count ? part->count : n - part->first;
    if (count > n - part->first)
        count = n - part->first;
    plan->src.k0 = (uint32_t)part->first;
    plan->src.tiles = (uint32_t)count;
    plan->montage = true;
    return TS_OK;
}

static int square_cols(int64_t n)
{
    int cols = 1;
    while ((int64_t)cols * cols < n)
        cols++;
    return cols;
}

static ts_status plan_grid(viz_plan *plan, const view_part *part, const axes *a, ts_error *err)
{
    if (a->rank != 3 && a->rank != 2)
        return wrong_rank("grid", "3-D tensors", a, err);
    axes b = *a;
    if (a->rank == 2) {
        b = (axes){.rank = 3,
                   .dim = {1, a->dim[0], a->dim[1]},
                   .base = a->base,
                   .stride = {1, a->stride[0], a->stride[1]}};
    }
    int c = a->rank == 3 && channels_last(part, &b) ? 2 : 0;
    int y = c == 2 ? 0 : 1, x = c == 2 ? 1 : 2;
    set_plane(&plan->src, b.base, b.dim[y], b.stride[y], b.dim[x], b.stride[x]);
    plan->src.ks0 = b.stride[c];
    plan->channels = (uint32_t)b.dim[c];
    ts_status st = set_window(plan, part, b.dim[c], err);
    plan->cols = part->cols ? part->cols : square_cols(plan->src.tiles);
    return st;
}

static ts_status plan_batch(viz_plan *plan, const view_part *part, const axes *a, bool automatic,
                            ts_error *err)
{
    if (a->rank != 4)
        return wrong_rank("batch", "4-D tensors", a, err);
    bool last = part->layout == LAYOUT_NHWC || part->layout == LAYOUT_HWC ||
                (part->layout == LAYOUT_AUTO && is_channels(a->dim[3]) && !is_channels(a->dim[1]));
    int c = last ? 3 : 1, y = last ? 1 : 2, x = last ? 2 : 3;
    bool rgb = part->has_rgb ? part->rgb : automatic && a->dim[c] == 3;
    set_plane(&plan->src, a->base, a->dim[y], a->stride[y], a->dim[x], a->stride[x]);
    plan->src.ks0 = a->stride[0];
    if (rgb) {
        ts_status st = set_channels(plan, part, a->dim[c], a->stride[c], err);
        if (st == TS_OK)
            st = set_window(plan, part, a->dim[0], err);
        plan->cols = part->cols ? part->cols : square_cols(plan->src.tiles);
        return st;
    }
    plan->src.ks1 = a->stride[c];
    plan->src.kdiv = (uint32_t)a->dim[c];
    plan->channels = (uint32_t)a->dim[c];
    ts_status st = set_window(plan, part, a->dim[0] * a->dim[c], err);
    plan->cols = part->cols ? part->cols : (int)plan->channels;
    return st;
}

static ts_status plan_slice(viz_plan *plan, const view_part *part, axes a, ts_error *err)
{
    if (a.rank < 3)
        return wrong_rank("slice", "tensors of three and more axes", &a, err);
    int64_t axis = 0, index = 0;
    ts_status st = check_index("axis", part->axis, a.rank, &axis, err);
    if (st == TS_OK)
        st = check_index("index", part->index, a.dim[axis], &index, err);
    if (st != TS_OK)
        return st;
    a.base += (uint64_t)index * a.stride[axis];
    remove_axis(&a, (int)axis);
    if (a.rank == 2) {
        set_plane(&plan->src, a.base, a.dim[0], a.stride[0], a.dim[1], a.stride[1]);
        return TS_OK;
    }
    /* What is left besides rows and columns is flattened into rows where its strides allow that. */
    uint64_t rows = (uint64_t)a.dim[a.rank - 2];
    for (int i = a.rank - 3; i >= 0; i--) {
        if (a.stride[i] != rows * a.stride[a.rank - 2] && a.dim[i] != 1)
            return wrong_rank("slice", "what leaves two axes (fix the others with `at`)", &a, err);
        rows *= (uint64_t)a.dim[i];
    }
    set_plane(&plan->src, a.base, (int64_t)rows, a.stride[a.rank - 2], a.dim[a.rank - 1],
              a.stride[a.rank - 1]);
    return TS_OK;
}

static ts_status plan_volume(viz_plan *plan, const view_part *part, const axes *a, int n_at,
                             const int64_t *at, ts_error *err)
{
    static const char *const names[] = {
        [KIND_PROJECT] = "project", [KIND_ORTHO] = "ortho", [KIND_VOLUME] = "volume"};
    if (a->rank != 3)
        return wrong_rank(names[plan->kind], "3-D tensors", a, err);
    for (int i = 0; i < 3; i++) {
        plan->dim[i] = a->dim[i];
        plan->stride[i] = a->stride[i];
        plan->at[i] = a->dim[i] / 2;
        if (plan->kind == KIND_ORTHO && n_at == 3) {
            ts_status st = check_index("at", at[i], a->dim[i], &plan->at[i], err);
            if (st != TS_OK)
                return st;
        }
    }
    plan_heatmap(plan, a);
    if (plan->kind == KIND_PROJECT) {
        int64_t axis = 0;
        ts_status st = check_index("axis", part->axis, 3, &axis, err);
        if (st != TS_OK)
            return st;
        plan->at[0] = axis;
    }
    return TS_OK;
}

uint64_t entry_identity(const ts_entry *entry)
{
    if (entry->version == 0)
        return 0;
    uint64_t key = viz_hash(0, entry->name, strlen(entry->name));
    const void *pointers[] = {entry->tensor, ts_tensor_buffer(entry->tensor)};
    key = viz_hash(key, pointers, sizeof pointers);
    key = viz_hash(key, &entry->version, sizeof entry->version);
    key = viz_hash(key, &entry->step, sizeof entry->step);
    key = viz_hash(key, &entry->t, sizeof entry->t);
    return key ? key : 1;
}

/* Rows of 4096, so that chunks of any tensor are alike. */
static void plan_whole(viz_plan *plan, const axes *a)
{
    set_plane(&plan->whole, a->base, 1, 0, 1, 1);
    plan->whole.w = plan->total < 4096 ? (uint32_t)plan->total : 4096;
    plan->whole.h = (uint32_t)div_up(plan->total, plan->whole.w);
    plan->whole.sy = plan->whole.w;
}

void plan_plane(viz_plan *plan, ts_buffer *data, ts_dtype dtype, uint32_t h, uint32_t w)
{
    plan->data = data;
    plan->dtype = dtype;
    set_plane(&plan->src, 0, h, w, w, 1);
}

ts_status plan_make(const view_part *part, const ts_entry *entry, viz_plan *plan, ts_error *err)
{
    const ts_tensor *tensor = entry->tensor;
    axes a = {0};
    axes_of(tensor, &a);
    int64_t total = ts_shape_elements(ts_tensor_shape(tensor));
    char text[160];
    if (total == 0)
        return ts_fail(err, TS_E_EMPTY, "tensor %s has no elements, shape %s", entry->name,
                       ts_shape_text(ts_tensor_shape(tensor), text, sizeof text));
    *plan = (viz_plan){.data = ts_tensor_buffer(tensor),
                       .dtype = ts_tensor_dtype(tensor),
                       .total = (uint64_t)total,
                       .planes = 1,
                       .cols = 1,
                       .channels = 1,
                       .whole_ok = true,
                       .identity = entry_identity(entry)};
    plan_whole(plan, &a);
    /* The last three indices of ortho are its planes, what stands before them fixes axes. */
    bool ortho = part->kind == KIND_ORTHO;
    if (ortho && part->n_at > 0 && part->n_at < 3)
        return ts_fail(err, TS_E_OPTION, "at: expected [z,y,x]");
    int n_lead = ortho ? (part->n_at > 3 ? part->n_at - 3 : 0) : part->n_at;
    ts_status st = fix_leading(&a, part->at, n_lead, err);
    if (st != TS_OK)
        return st;
    plan->kind = part->kind == KIND_AUTO ? default_kind(&a) : part->kind;
    switch (plan->kind) {
    case KIND_HEATMAP:
    case KIND_HIST:
        plan_heatmap(plan, &a);
        return TS_OK;
    case KIND_STRIP:
        return plan_rows(plan, &a, "strip", 1, err);
    case KIND_WATERFALL:
        return plan_rows(plan, &a, "waterfall", 1, err);
    case KIND_LINE:
        return plan_rows(plan, &a, "line", 2, err);
    case KIND_RGB:
        return plan_rgb(plan, part, &a, err);
    case KIND_GRID:
        return plan_grid(plan, part, &a, err);
    case KIND_BATCH:
        return plan_batch(plan, part, &a, part->kind == KIND_AUTO, err);
    case KIND_SLICE:
        return plan_slice(plan, part, a, err);
    case KIND_PROJECT:
    case KIND_ORTHO:
    case KIND_VOLUME:
        return plan_volume(plan, part, &a, part->n_at - n_lead, part->at + n_lead, err);
    case KIND_AUTO:
        break;
    }
    return ts_fail(err, TS_E_SHAPE,
                   "a tensor of rank %d needs a `kind`, and `at` with an index for "
                   "each axis too many",
                   a.rank);
}
