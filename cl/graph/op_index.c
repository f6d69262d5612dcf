/* Reading and writing by index, running sums, triangles, contractions, suppression. All on the host:
 * they act on few elements, or on indices that are there already. */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cl/graph/op.h"

typedef enum reduction {
    REDUCE_NONE,
    REDUCE_ADD,
    REDUCE_MUL,
    REDUCE_MIN,
    REDUCE_MAX
} reduction;

static ts_status find_reduction(const ts_node_call *c, reduction *out, ts_error *err)
{
    static const char *const names[] = {"none", "add", "mul", "min", "max"};
    char name[8];
    ts_attr_string(c->node, "reduction", "none", name, sizeof name);
    for (int i = 0; i < 5; i++)
        if (!strcmp(name, names[i])) {
            *out = (reduction)i;
            return TS_OK;
        }
    return ts_node_fail(c, err, "reduction '%s'", name);
}

static double combine(reduction kind, double old, double new)
{
    switch (kind) {
    case REDUCE_ADD:
        return old + new;
    case REDUCE_MUL:
        return old * new;
    case REDUCE_MIN:
        return new < old || isnan(new) ? new : old;
    case REDUCE_MAX:
        return new > old || isnan(new) ? new : old;
    default:
        return new;
    }
}

static ts_status wrap_index(const ts_node_call *c, double value, int64_t n, int64_t *out,
                            ts_error *err)
{
    int64_t i = (int64_t)value;
    if (i < 0)
        i += n;
    if (i < 0 || i >= n)
        return ts_node_fail(c, err, "index %lld of %lld", (long long)value, (long long)n);
    *out = i;
    return TS_OK;
}

/* Where element `index` of the indices' shape lies in data when its axis is replaced. */
static ts_status element_at(const ts_node_call *c, const int64_t *index, int axis, double value,
                            const ts_shape *data, const int64_t *strides, int64_t *at,
                            ts_error *err)
{
    int64_t i;
    ts_status st = wrap_index(c, value, data->dim[axis], &i, err);
    *at = 0;
    for (int d = 0; d < data->rank && st == TS_OK; d++)
        *at += (d == axis ? i : index[d]) * strides[d];
    return st;
}

static ts_status check_elements(const ts_node_call *c, int axis, ts_error *err)
{
    const ts_shape *x = &c->in[0]->shape, *at = &c->in[1]->shape;
    if (x->rank != at->rank)
        return ts_node_fail(c, err, "indices of rank %d for data of rank %d", at->rank, x->rank);
    for (int d = 0; d < x->rank; d++)
        if (d != axis && at->dim[d] > x->dim[d])
            return ts_node_fail(c, err, "indices are larger than the data along axis %d", d);
    return TS_OK;
}

static ts_status gather_elements(ts_node_call *c, ts_error *err)
{
    const ts_shape *x = &c->in[0]->shape, *shape = &c->in[1]->shape;
    int64_t strides[TS_MAX_RANK], index[TS_MAX_RANK] = {0};
    double *y;
    int axis;
    ts_status st = ts_axis(c, ts_attr_int(c->node, "axis", 0), x->rank, &axis, err);
    if (st == TS_OK)
        st = check_elements(c, axis, err);
    if (st == TS_OK)
        st = ts_host_out(c, 0, c->in[0]->type, shape, &y, err);
    if (st != TS_OK || !y)
        return st;
    ts_dense_strides(x, strides);
    for (int64_t k = 0; k < ts_shape_elements(shape) && st == TS_OK; k++) {
        int64_t at;
        st = element_at(c, index, axis, ts_host_in(c, 1)[k], x, strides, &at, err);
        if (st == TS_OK)
            y[k] = ts_host_in(c, 0)[at];
        ts_next_index(shape, index);
    }
    return st;
}

static ts_status copy_of_data(ts_node_call *c, double **y, ts_error *err)
{
    ts_status st = ts_host_out(c, 0, c->in[0]->type, &c->in[0]->shape, y, err);
    if (st == TS_OK && *y)
        memcpy(*y, ts_host_in(c, 0), (size_t)ts_value_elements(c->in[0]) * sizeof **y);
    return st;
}

static ts_status scatter_elements(ts_node_call *c, ts_error *err)
{
    const ts_shape *x = &c->in[0]->shape, *shape = &c->in[1]->shape;
    int64_t strides[TS_MAX_RANK], index[TS_MAX_RANK] = {0};
    reduction kind;
    double *y;
    int axis;
    ts_status st = ts_axis(c, ts_attr_int(c->node, "axis", 0), x->rank, &axis, err);
    if (st == TS_OK)
        st = check_elements(c, axis, err);
    if (st == TS_OK && !ts_shape_equal(shape, &c->in[2]->shape))
        st = ts_node_fail(c, err, "updates and indices have different shapes");
    if (st == TS_OK)
        st = find_reduction(c, &kind, err);
    if (st == TS_OK)
        st = copy_of_data(c, &y, err);
    if (st != TS_OK || !y)
        return st;
    ts_dense_strides(x, strides);
    for (int64_t k = 0; k < ts_shape_elements(shape) && st == TS_OK; k++) {
        int64_t at;
        st = element_at(c, index, axis, ts_host_in(c, 1)[k], x, strides, &at, err);
        if (st == TS_OK)
            y[at] = ts_onnx_fit(c->in[0]->type, combine(kind, y[at], ts_host_in(c, 2)[k]));
        ts_next_index(shape, index);
    }
    return st;
}

/* Offset in x of the slice that a row of `depth` indices names, behind `skip` batch axes. */
static ts_status slice_at(const ts_node_call *c, const double *row, int depth, int skip,
                          const int64_t *strides, int64_t *at, ts_error *err)
{
    for (int d = 0; d < depth; d++) {
        int64_t i;
        ts_status st = wrap_index(c, row[d], c->in[0]->shape.dim[skip + d], &i, err);
        if (st != TS_OK)
            return st;
        *at += i * strides[skip + d];
    }
    return TS_OK;
}

static ts_status gather_nd(ts_node_call *c, ts_error *err)
{
    const ts_shape *x = &c->in[0]->shape, *at = &c->in[1]->shape;
    int64_t batch = ts_attr_int(c->node, "batch_dims", 0), strides[TS_MAX_RANK];
    int depth = at->rank > 0 ? (int)at->dim[at->rank - 1] : 0;
    if (batch < 0 || at->rank < 1 || batch + depth > x->rank || depth < 1 || batch >= at->rank)
        return ts_node_fail(c, err, "indices of %d do not fit data of rank %d", depth, x->rank);
    ts_shape shape = *at;
    shape.rank--;
    int64_t per = 1, outer = 1;
    for (int d = (int)batch + depth; d < x->rank; d++) {
        if (shape.rank >= TS_MAX_RANK)
            return ts_node_fail(c, err, "result of more than %d dims", TS_MAX_RANK);
        shape.dim[shape.rank++] = x->dim[d];
        per *= x->dim[d];
    }
    for (int d = 0; d < batch; d++) {
        if (x->dim[d] != at->dim[d])
            return ts_node_fail(c, err, "batch dims differ");
        outer *= x->dim[d];
    }
    double *y;
    ts_status st = ts_host_out(c, 0, c->in[0]->type, &shape, &y, err);
    int64_t rows = ts_value_elements(c->in[1]) / depth, in_batch = rows / (outer > 0 ? outer : 1);
    if (st != TS_OK || !y || ts_shape_elements(&shape) == 0 || in_batch == 0)
        return st;
    ts_dense_strides(x, strides);
    int64_t batch_step = outer > 0 ? ts_shape_elements(x) / outer : 0;
    for (int64_t r = 0; r < rows && st == TS_OK; r++) {
        int64_t from = r / in_batch * batch_step;
        st = slice_at(c, ts_host_in(c, 1) + r * depth, depth, (int)batch, strides, &from, err);
        if (st == TS_OK)
            memcpy(y + r * per, ts_host_in(c, 0) + from, (size_t)per * sizeof *y);
    }
    return st;
}

static ts_status scatter_nd(ts_node_call *c, ts_error *err)
{
    const ts_shape *x = &c->in[0]->shape, *at = &c->in[1]->shape;
    int depth = at->rank > 0 ? (int)at->dim[at->rank - 1] : 0;
    int64_t strides[TS_MAX_RANK], per = 1;
    reduction kind;
    double *y;
    if (at->rank < 1 || depth > x->rank || depth < 1)
        return ts_node_fail(c, err, "indices of %d do not fit data of rank %d", depth, x->rank);
    for (int d = depth; d < x->rank; d++)
        per *= x->dim[d];
    int64_t rows = ts_value_elements(c->in[1]) / depth;
    if (ts_value_elements(c->in[2]) != rows * per)
        return ts_node_fail(c, err, "updates do not have %lld elements", (long long)(rows * per));
    ts_status st = find_reduction(c, &kind, err);
    if (st == TS_OK)
        st = copy_of_data(c, &y, err);
    if (st != TS_OK || !y)
        return st;
    ts_dense_strides(x, strides);
    for (int64_t r = 0; r < rows && st == TS_OK; r++) {
        int64_t to = 0;
        st = slice_at(c, ts_host_in(c, 1) + r * depth, depth, 0, strides, &to, err);
        for (int64_t i = 0; i < per && st == TS_OK; i++)
            y[to + i] = ts_onnx_fit(c->in[0]->type,
                                    combine(kind, y[to + i], ts_host_in(c, 2)[r * per + i]));
    }
    return st;
}

static ts_status cumulative_sum(ts_node_call *c, ts_error *err)
{
    const ts_shape *x = &c->in[0]->shape;
    bool exclusive = ts_attr_int(c->node, "exclusive", 0);
    bool reverse = ts_attr_int(c->node, "reverse", 0);
    int64_t wanted, inner = 1;
    double *y;
    int axis;
    ts_status st = ts_int_in(c, 1, 0, &wanted, err);
    if (st == TS_OK)
        st = ts_axis(c, wanted, x->rank, &axis, err);
    if (st == TS_OK)
        st = ts_host_out(c, 0, c->in[0]->type, x, &y, err);
    if (st != TS_OK || !y || ts_shape_elements(x) == 0)
        return st;
    for (int d = axis + 1; d < x->rank; d++)
        inner *= x->dim[d];
    int64_t n = x->rank > 0 ? x->dim[axis] : 1, lines = ts_shape_elements(x) / n;
    for (int64_t l = 0; l < lines; l++) {
        int64_t base = l / inner * inner * n + l % inner;
        double sum = 0.0;
        for (int64_t i = 0; i < n; i++) {
            int64_t at = base + (reverse ? n - 1 - i : i) * inner;
            double v = ts_host_in(c, 0)[at];
            y[at] = ts_onnx_fit(c->in[0]->type, exclusive ? sum : sum + v);
            sum += v;
        }
    }
    return TS_OK;
}

static ts_status triangle(ts_node_call *c, ts_error *err)
{
    const ts_shape *x = &c->in[0]->shape;
    bool upper = ts_attr_int(c->node, "upper", 1);
    int64_t k = 0;
    double *y;
    if (x->rank < 2)
        return ts_node_fail(c, err, "input of rank %d", x->rank);
    ts_status st = ts_input(c, 1) ? ts_int_in(c, 1, 0, &k, err) : TS_OK;
    if (st == TS_OK)
        st = ts_host_out(c, 0, c->in[0]->type, x, &y, err);
    if (st != TS_OK || !y)
        return st;
    int64_t h = x->dim[x->rank - 2], w = x->dim[x->rank - 1];
    for (int64_t i = 0; i < ts_shape_elements(x); i++) {
        int64_t row = i / w % h, column = i % w;
        bool keep = upper ? column - row >= k : column - row <= k;
        y[i] = keep ? ts_host_in(c, 0)[i] : 0.0;
    }
    return TS_OK;
}

static ts_status one_hot(ts_node_call *c, ts_error *err)
{
    const ts_shape *x = &c->in[0]->shape;
    int64_t depth;
    double *y;
    int axis;
    ts_status st = ts_int_in(c, 1, 0, &depth, err);
    if (st == TS_OK && (depth < 1 || x->rank >= TS_MAX_RANK || ts_value_elements(c->in[2]) != 2))
        st = ts_node_fail(c, err, "depth %lld", (long long)depth);
    if (st == TS_OK)
        st = ts_axis(c, ts_attr_int(c->node, "axis", -1), x->rank + 1, &axis, err);
    if (st != TS_OK)
        return st;
    ts_shape shape = {.rank = x->rank + 1};
    int64_t inner = 1;
    for (int d = 0; d < shape.rank; d++)
        shape.dim[d] = d < axis ? x->dim[d] : d == axis ? depth : x->dim[d - 1];
    for (int d = axis; d < x->rank; d++)
        inner *= x->dim[d];
    st = ts_host_out(c, 0, c->in[2]->type, &shape, &y, err);
    if (st != TS_OK || !y)
        return st;
    const double *values = ts_host_in(c, 2);
    for (int64_t i = 0; i < ts_shape_elements(&shape); i++)
        y[i] = values[0];
    for (int64_t i = 0; i < ts_shape_elements(x); i++) {
        int64_t hot = (int64_t)ts_host_in(c, 0)[i];
        hot += hot < 0 ? depth : 0;
        if (hot >= 0 && hot < depth)
            y[(i / inner * depth + hot) * inner + i % inner] = values[1];
    }
    return TS_OK;
}

static ts_status non_zero(ts_node_call *c, ts_error *err)
{
    const ts_shape *x = &c->in[0]->shape;
    int64_t n = ts_shape_elements(x), found = 0, index[TS_MAX_RANK] = {0};
    double *y;
    for (int64_t i = 0; i < n; i++)
        found += ts_host_in(c, 0)[i] != 0.0;
    ts_status st = ts_host_out(c, 0, TS_ONNX_I64, &TS_SHAPE(x->rank, found), &y, err);
    if (st != TS_OK || !y)
        return st;
    for (int64_t i = 0, k = 0; i < n; i++) {
        if (ts_host_in(c, 0)[i] != 0.0) {
            for (int d = 0; d < x->rank; d++)
                y[d * found + k] = (double)index[d];
            k++;
        }
        ts_next_index(x, index);
    }
    return TS_OK;
}

/* ---- non-maximum suppression ---- */

typedef struct box {
    double y0, x0, y1, x1;
} box;

static box box_of(const double *b, bool centre)
{
    if (centre)
        return (box){b[1] - b[3] / 2, b[0] - b[2] / 2, b[1] + b[3] / 2, b[0] + b[2] / 2};
    return (box){fmin(b[0], b[2]), fmin(b[1], b[3]), fmax(b[0], b[2]), fmax(b[1], b[3])};
}

static double overlap(box a, box b)
{
    double h = fmin(a.y1, b.y1) - fmax(a.y0, b.y0), w = fmin(a.x1, b.x1) - fmax(a.x0, b.x0);
    if (h <= 0.0 || w <= 0.0)
        return 0.0;
    double both = (a.y1 - a.y0) * (a.x1 - a.x0) + (b.y1 - b.y0) * (b.x1 - b.x0) - h * w;
    return both > 0.0 ? h * w / both : 0.0;
}

typedef struct candidate {
    double score;
    int64_t box;
} candidate;

static int by_score(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    return x->box < y->box ? -1 : 1;
}

static double scalar_or(ts_node_call *c, size_t i, double standard)
{
    return ts_input(c, i) && ts_value_elements(c->in[i]) > 0 ? ts_host_in(c, i)[0] : standard;
}

/* boxes [batch,n,4], scores [batch,classes,n] -> rows of batch, class, box. */
static ts_status suppress(ts_node_call *c, ts_error *err)
{
    const ts_shape *b = &c->in[0]->shape, *s = &c->in[1]->shape;
    double most = scalar_or(c, 2, 0.0), limit = scalar_or(c, 3, 0.0);
    double least = scalar_or(c, 4, -INFINITY);
    bool centre = ts_attr_int(c->node, "center_point_box", 0);
    if (b->rank != 3 || s->rank != 3 || b->dim[2] != 4 || b->dim[1] != s->dim[2] ||
        b->dim[0] != s->dim[0])
        return ts_node_fail(c, err, "boxes and scores do not fit");
    int64_t n = b->dim[1], rows = b->dim[0] * s->dim[1], found = 0;
    int64_t per = most < 0.0 ? 0 : most < (double)n ? (int64_t)most : n;
    candidate *order = calloc((size_t)n + 1, sizeof *order);
    double *kept = calloc((size_t)(rows * per) + 1, 3 * sizeof *kept);
    if (!order || !kept) {
        free(order);
        free(kept);
        return ts_fail(err, TS_E_NO_MEMORY, "%lld boxes", (long long)n);
    }
    for (int64_t r = 0; r < rows; r++) {
        const double *boxes = ts_host_in(c, 0) + r / s->dim[1] * n * 4;
        const double *scores = ts_host_in(c, 1) + r * n;
        int64_t count = 0, first = found;
        for (int64_t i = 0; i < n; i++)
            if (scores[i] > least || !ts_input(c, 4))
                order[count++] = (candidate){scores[i], i};
        qsort(order, (size_t)count, sizeof *order, by_score);
        for (int64_t i = 0; i < count && found - first < per; i++) {
            box own = box_of(boxes + order[i].box * 4, centre);
            bool free_of = true;
            for (int64_t k = first; k < found && free_of; k++)
                free_of = overlap(own, box_of(boxes + (int64_t)kept[k * 3 + 2] * 4, centre)) <= limit;
            if (!free_of)
                continue;
            kept[found * 3] = (double)(r / s->dim[1]);
            kept[found * 3 + 1] = (double)(r % s->dim[1]);
            kept[found * 3 + 2] = (double)order[i].box;
            found++;
        }
    }
    double *y;
    ts_status st = ts_host_out(c, 0, TS_ONNX_I64, &TS_SHAPE(found, 3), &y, err);
    if (st == TS_OK && y)
        memcpy(y, kept, (size_t)found * 3 * sizeof *y);
    free(order);
    free(kept);
    return st;
}

/* ---- Einstein sums ---- */

enum {
    LABELS = 16
};

typedef struct einsum {
    char label[LABELS]; /* every label once: those of the output first */
    int64_t size[LABELS];
    int n, n_out;
    int64_t strides[TS_NODE_PORTS][LABELS]; /* of each input along each label */
} einsum;

static int find_label(einsum *e, char label)
{
    for (int i = 0; i < e->n; i++)
        if (e->label[i] == label)
            return i;
    return -1;
}

/* Spell a term with its ellipsis replaced by one label per axis ('\1' is the last of them). */
static bool spell(const char *term, size_t len, int rank, char *out, int *n)
{
    size_t letters = 0;
    bool dots = false;
    for (size_t i = 0; i < len; i++)
        letters += isalpha((unsigned char)term[i]) != 0;
    *n = 0;
    for (size_t i = 0; i < len; i++) {
        if (term[i] == '.') {
            for (int k = rank - (int)letters; !dots && k > 0 && *n < LABELS; k--)
                out[(*n)++] = (char)k;
            dots = true;
        } else if (isalpha((unsigned char)term[i]) && *n < LABELS) {
            out[(*n)++] = term[i];
        }
    }
    return rank < 0 || *n == rank;
}

static bool add_labels(einsum *e, const char *labels, int n)
{
    for (int i = 0; i < n; i++)
        if (find_label(e, labels[i]) < 0) {
            if (e->n >= LABELS)
                return false;
            e->size[e->n] = 1;
            e->label[e->n++] = labels[i];
        }
    return true;
}

static int by_char(const void *a, const void *b)
{
    return *(const char *)a - *(const char *)b;
}

/* Without "->": the ellipsis, then every letter that occurs once, in order. */
static void implied_output(const char terms[][LABELS], const int *lens, size_t n, char *out, int *len)
{
    int dots = 0, count = 0;
    char letters[LABELS];
    for (size_t t = 0; t < n; t++)
        for (int i = 0; i < lens[t]; i++) {
            char l = terms[t][i];
            int times = 0;
            for (size_t u = 0; u < n; u++)
                for (int k = 0; k < lens[u]; k++)
                    times += terms[u][k] == l;
            if (!isalpha((unsigned char)l))
                dots = l > dots ? l : dots;
            else if (times == 1 && count < LABELS)
                letters[count++] = l;
        }
    qsort(letters, (size_t)count, 1, by_char);
    *len = 0;
    for (int k = dots; k > 0 && *len < LABELS; k--)
        out[(*len)++] = (char)k;
    for (int i = 0; i < count && *len < LABELS; i++)
        out[(*len)++] = letters[i];
}

static ts_status plan_einsum(ts_node_call *c, einsum *e, ts_error *err)
{
    char text[256], terms[TS_NODE_PORTS][LABELS], out[LABELS];
    int lens[TS_NODE_PORTS] = {0}, n_out = 0, ellipsis = 0;
    ts_attr_string(c->node, "equation", "", text, sizeof text);
    char *arrow = strstr(text, "->");
    const char *at = text;
    *e = (einsum){0};
    for (size_t i = 0; i < c->n_in; i++) {
        size_t len = strcspn(at, ",-");
        if (!spell(at, len, c->in[i]->shape.rank, terms[i], &lens[i]))
            return ts_node_fail(c, err, "equation '%s' does not fit input %zu", text, i);
        for (int k = 0; k < lens[i]; k++)
            if (terms[i][k] < 32 && terms[i][k] > ellipsis)
                ellipsis = terms[i][k];
        at += len + (at[len] == ',');
    }
    if (arrow) {
        int letters = 0;
        for (const char *p = arrow + 2; *p; p++)
            letters += isalpha((unsigned char)*p) != 0;
        int rank = strchr(arrow + 2, '.') ? letters + ellipsis : letters;
        (void)spell(arrow + 2, strlen(arrow + 2), rank, out, &n_out);
    } else {
        implied_output((const char(*)[LABELS])terms, lens, c->n_in, out, &n_out);
    }
    bool fits = add_labels(e, out, n_out);
    e->n_out = n_out;
    for (size_t i = 0; i < c->n_in && fits; i++)
        fits = add_labels(e, terms[i], lens[i]);
    if (!fits || n_out > TS_MAX_RANK)
        return ts_node_fail(c, err, "equation '%s' has too many labels", text);
    for (size_t i = 0; i < c->n_in; i++) {
        int64_t dense[TS_MAX_RANK];
        ts_dense_strides(&c->in[i]->shape, dense);
        for (int d = 0; d < lens[i]; d++) {
            int l = find_label(e, terms[i][d]);
            int64_t n = c->in[i]->shape.dim[d];
            if (n != 1 && e->size[l] != 1 && e->size[l] != n)
                return ts_node_fail(c, err, "equation '%s': sizes %lld and %lld differ", text,
                                    (long long)e->size[l], (long long)n);
            if (n != 1) {
                e->size[l] = n;
                e->strides[i][l] += dense[d];
            }
        }
    }
    return TS_OK;
}

static ts_status einstein_sum(ts_node_call *c, ts_error *err)
{
    einsum e;
    double *y;
    ts_status st = plan_einsum(c, &e, err);
    if (st != TS_OK)
        return st;
    ts_shape shape = {.rank = e.n_out};
    int64_t inner = 1;
    for (int d = 0; d < e.n; d++)
        *(d < e.n_out ? &shape.dim[d] : &inner) = d < e.n_out ? e.size[d] : inner * e.size[d];
    st = ts_host_out(c, 0, c->in[0]->type, &shape, &y, err);
    if (st != TS_OK || !y)
        return st;
    for (int64_t o = 0; o < ts_shape_elements(&shape); o++)
        for (int64_t k = 0; k < inner; k++) {
            int64_t rest = k, index[LABELS];
            for (int d = e.n - 1; d >= 0; d--) {
                if (d == e.n_out - 1)
                    rest = o;
                index[d] = rest % e.size[d];
                rest /= e.size[d];
            }
            double product = 1.0;
            for (size_t i = 0; i < c->n_in; i++) {
                int64_t at = 0;
                for (int d = 0; d < e.n; d++)
                    at += index[d] * e.strides[i][d];
                product *= ts_host_in(c, i)[at];
            }
            y[o] += product;
        }
    return TS_OK;
}

const ts_graph_op ts_ops_index[] = {
    {"GatherElements", gather_elements, NULL, 2},
    {"GatherND", gather_nd, NULL, 2},
    {"ScatterElements", scatter_elements, NULL, 3},
    {"Scatter", scatter_elements, NULL, 3},
    {"ScatterND", scatter_nd, NULL, 3},
    {"CumSum", cumulative_sum, NULL, 2},
    {"Trilu", triangle, NULL, 1},
    {"OneHot", one_hot, NULL, 3},
    {"NonZero", non_zero, NULL, 1},
    {"NonMaxSuppression", suppress, NULL, 2},
    {"Einsum", einstein_sum, NULL, TS_ALL_INPUTS},
    {NULL, NULL, NULL, 0},
};
