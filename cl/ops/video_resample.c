/* Tap tables on the host, two passes on the device. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/size.h"
#include "cl/ops/video.h"

/* One axis: for each output a contiguous window of `taps` sources, its clamping already in the weights. */
typedef struct axis {
    int taps, n;
    int32_t *index;
    float *weight;
    size_t index_room, weight_room;
    ts_buffer *index_buffer, *weight_buffer;
} axis;

struct ts_resampler {
    ts_device *device;
    axis rows, columns;
    ts_buffer *mid;
    double *scratch;
    size_t scratch_room;
};

ts_status ts_resampler_create(ts_device *device, ts_resampler **out, ts_error *err)
{
    ts_resampler *r = calloc(1, sizeof *r);
    if (!r)
        return ts_fail(err, TS_E_NO_MEMORY, "resampler");
    r->device = device;
    *out = r;
    return TS_OK;
}

static void free_axis(axis *a)
{
    ts_buffer_unref(a->index_buffer);
    ts_buffer_unref(a->weight_buffer);
    free(a->index);
    free(a->weight);
}

void ts_resampler_destroy(ts_resampler *r)
{
    if (!r)
        return;
    free_axis(&r->rows);
    free_axis(&r->columns);
    ts_buffer_unref(r->mid);
    free(r->scratch);
    free(r);
}

static double cubic(double x)
{
    const double a = -0.75;
    x = fabs(x);
    if (x < 1)
        return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
}

static double triangle(double x)
{
    return fmax(0, 1 - fabs(x));
}

/* How one output position spreads over sources. */
typedef struct spread {
    double (*kernel)(double);
    double radius, width; /* support in sources; the kernel's stretch */
    bool normalise; /* a window cut at the edge is made to sum to 1, instead of clamping taps */
} spread;

static spread spread_of(ts_resample_filter filter, double scale)
{
    if (filter == TS_RESAMPLE_AUTO)
        filter = scale > 1 ? TS_RESAMPLE_ANTIALIAS : TS_RESAMPLE_BICUBIC;
    if (filter == TS_RESAMPLE_BICUBIC)
        return (spread){cubic, 2, 1, false};
    if (filter == TS_RESAMPLE_ANTIALIAS && scale > 1)
        return (spread){triangle, scale, scale, true};
    return (spread){triangle, 1, 1, false};
}

/* Weights of output i over [lo, hi) into sums[hi - lo], which is zeroed first where touched. */
static void weigh(const spread *s, double position, int lo, int hi, double *sums, int *first,
                  int *last)
{
    int from = (int)floor(position - s->radius) + 1, to = (int)ceil(position + s->radius) - 1;
    if (s->radius == 1 && s->width == 1) {
        from = (int)floor(position);
        to = from + 1;
    }
    int a = from < lo ? lo : from > hi - 1 ? hi - 1 : from;
    int b = to < lo ? lo : to > hi - 1 ? hi - 1 : to;
    for (int i = a; i <= b; i++)
        sums[i - lo] = 0;
    double total = 0;
    for (int i = from; i <= to; i++) {
        double w = s->kernel((i - position) / s->width);
        bool outside = i < lo || i > hi - 1;
        if (outside && s->normalise)
            continue;
        sums[(i < lo ? lo : i > hi - 1 ? hi - 1 : i) - lo] += w;
        total += w;
    }
    for (int i = a; i <= b && total != 0; i++)
        sums[i - lo] /= total;
    *first = a;
    *last = b;
}

static ts_status ensure(ts_device *device, ts_buffer **buffer, size_t bytes, ts_error *err)
{
    if (*buffer && ts_buffer_bytes(*buffer) >= bytes)
        return TS_OK;
    ts_buffer_unref(*buffer);
    *buffer = NULL;
    return ts_buffer_create(device, bytes, buffer, err);
}

static bool room(axis *a, int n, int taps)
{
    size_t weights = (size_t)n * taps;
    if ((size_t)n > a->index_room) {
        int32_t *index = ts_realloc_array(a->index, (size_t)n, sizeof *index);
        if (!index)
            return false;
        a->index = index;
        a->index_room = (size_t)n;
    }
    if (weights > a->weight_room) {
        float *weight = ts_realloc_array(a->weight, weights, sizeof *weight);
        if (!weight)
            return false;
        a->weight = weight;
        a->weight_room = weights;
    }
    return true;
}

/*
 * The table of one axis. Sample position of output i: lo + (i + 0.5) (hi - lo) / n - 0.5, taps within
 * [edge_lo, edge_hi).
 */
static ts_status plan(ts_resampler *r, axis *a, ts_resample_filter filter, double lo, double hi,
                      int n, int edge_lo, int edge_hi, ts_error *err)
{
    double scale = (hi - lo) / n;
    spread s = spread_of(filter, scale);
    int span = edge_hi - edge_lo, taps = (int)ceil(2 * s.radius) + 1;
    if (taps > span)
        taps = span;
    if ((size_t)span > r->scratch_room) {
        double *scratch = ts_realloc_array(r->scratch, (size_t)span, sizeof *scratch);
        if (!scratch)
            return ts_fail(err, TS_E_NO_MEMORY, "resampling table");
        r->scratch = scratch;
        r->scratch_room = (size_t)span;
    }
    if (!room(a, n, taps))
        return ts_fail(err, TS_E_NO_MEMORY, "resampling table of %d x %d", n, taps);
    a->n = n;
    a->taps = taps;
    for (int i = 0; i < n; i++) {
        int first, last;
        weigh(&s, lo + (i + 0.5) * scale - 0.5, edge_lo, edge_hi, r->scratch, &first, &last);
        int start = first + taps <= edge_hi ? first : edge_hi - taps;
        a->index[i] = start;
        for (int k = 0; k < taps; k++) {
            int at = start + k;
            a->weight[i * taps + k] =
                at >= first && at <= last ? (float)r->scratch[at - edge_lo] : 0;
        }
    }
    return TS_OK;
}

static ts_status upload(ts_resampler *r, axis *a, ts_queue *queue, ts_error *err)
{
    size_t weights = (size_t)a->n * a->taps;
    ts_status st = ensure(r->device, &a->index_buffer, (size_t)a->n * sizeof *a->index, err);
    if (st == TS_OK)
        st = ensure(r->device, &a->weight_buffer, weights * sizeof *a->weight, err);
    if (st == TS_OK)
        st = ts_buffer_write(queue, a->index_buffer, 0, a->index, (size_t)a->n * sizeof *a->index,
                             err);
    if (st == TS_OK)
        st = ts_buffer_write(queue, a->weight_buffer, 0, a->weight, weights * sizeof *a->weight,
                             err);
    return st;
}

static bool is_copy(const ts_resample *w)
{
    return w->x1 == 0 && w->y1 == 0 && w->x2 == w->src_w && w->y2 == w->src_h &&
           w->src_w == w->dst_w && w->src_h == w->dst_h;
}

ts_status ts_op_resample(ts_resampler *r, ts_queue *queue, const ts_resample *w, ts_buffer *src,
                         ts_buffer *dst, ts_error *err)
{
    if (!(w->x2 > w->x1 && w->y2 > w->y1) || w->x1 < -1e-6 || w->y1 < -1e-6 ||
        w->x2 > w->src_w + 1e-6 || w->y2 > w->src_h + 1e-6 || w->dst_w < 1 || w->dst_h < 1)
        return ts_fail(err, TS_E_OPTION, "crop %g,%g to %g,%g of a frame of %dx%d", w->x1, w->y1,
                       w->x2, w->y2, w->src_w, w->src_h);
    if (is_copy(w))
        return ts_buffer_copy(queue, src, 0, dst, 0, (size_t)w->src_w * w->src_h * 4, err);
    bool crop = w->clamp_to_crop;
    int x_lo = crop ? (int)w->x1 : 0, x_hi = crop ? (int)ceil(w->x2) : w->src_w;
    int y_lo = crop ? (int)w->y1 : 0, y_hi = crop ? (int)ceil(w->y2) : w->src_h;
    ts_status st = plan(r, &r->rows, w->filter, w->x1, w->x2, w->dst_w, x_lo, x_hi, err);
    if (st == TS_OK)
        st = plan(r, &r->columns, w->filter, w->y1, w->y2, w->dst_h, y_lo, y_hi, err);
    if (st != TS_OK)
        return st;
    axis *c = &r->columns;
    int top = c->index[0], rows = c->index[c->n - 1] + c->taps - top;
    for (int i = 0; i < c->n; i++)
        c->index[i] -= top;
    ts_kernel *pass1, *pass2;
    st = ensure(r->device, &r->mid, (size_t)rows * w->dst_w * 4 * sizeof(float), err);
    if (st == TS_OK)
        st = upload(r, &r->rows, queue, err);
    if (st == TS_OK)
        st = upload(r, c, queue, err);
    if (st == TS_OK)
        st = ts_queue_kernel(queue, "video", "", "video_resample_rows", &pass1, err);
    if (st == TS_OK)
        st = ts_queue_kernel(queue, "video", "", "video_resample_columns", &pass2, err);
    if (st == TS_OK)
        st = ts_launch(queue, pass1, 1, (size_t[]){(size_t)rows}, NULL,
                       TS_ARGS(TS_BUF(src), TS_INT(w->src_w), TS_INT(top), TS_INT(rows),
                               TS_INT(w->dst_w), TS_INT(r->rows.taps), TS_BUF(r->rows.index_buffer),
                               TS_BUF(r->rows.weight_buffer), TS_BUF(r->mid)),
                       err);
    if (st == TS_OK)
        st = ts_launch(queue, pass2, 1, (size_t[]){(size_t)w->dst_h}, NULL,
                       TS_ARGS(TS_BUF(r->mid), TS_INT(w->dst_w), TS_INT(w->dst_h), TS_INT(c->taps),
                               TS_BUF(c->index_buffer), TS_BUF(c->weight_buffer), TS_BUF(dst)),
                       err);
    return st;
}
