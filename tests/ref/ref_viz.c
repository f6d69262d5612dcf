#include "tests/ref/ref_viz.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cl/viz/colormap.h"

/* ---- ranges ---- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double percentile(const double *sorted, int n, double p)
{
    double at = p / 100 * (n - 1);
    int i = (int)at;
    return i + 1 < n ? sorted[i] + (at - i) * (sorted[i + 1] - sorted[i]) : sorted[i];
}

static void moments(const double *v, int n, double *mean, double *std)
{
    double sum = 0, square = 0;
    for (int i = 0; i < n; i++)
        sum += v[i];
    *mean = sum / n;
    for (int i = 0; i < n; i++)
        square += (v[i] - *mean) * (v[i] - *mean);
    *std = sqrt(square / n);
}

static double symlog(double v, double lin)
{
    return copysign(log10(1 + fabs(v) / lin), v);
}

static void equalise(const view_range *rule, const double *v, int n, ref_range *out)
{
    int count[4096] = {0}, below = 0;
    for (int i = 0; i < n; i++) {
        double t = (v[i] - out->lo) / (out->hi - out->lo);
        int bin = (int)floor(t * rule->bins);
        count[bin < 0 ? 0 : bin >= rule->bins ? rule->bins - 1 : bin]++;
    }
    for (int b = 0; b <= rule->bins; b++) {
        out->cdf[b] = (double)below / n;
        below += b < rule->bins ? count[b] : 0;
    }
}

void ref_range_of(const view_range *rule, const double *all, int n_all, ref_range *out)
{
    double *v = malloc((size_t)(n_all + 1) * sizeof *v), mean, std;
    int n = 0;
    for (int i = 0; i < n_all; i++)
        if (isfinite(all[i]) && (rule->mode != RANGE_LOG || all[i] > 0))
            v[n++] = all[i];
    bool folded = rule->has_p && (rule->mode == RANGE_SYMMETRIC || rule->mode == RANGE_SYMLOG);
    for (int i = 0; folded && i < n; i++)
        v[i] = fabs(v[i]);
    qsort(v, (size_t)n, sizeof *v, by_value);
    *out = (ref_range){.lo = n ? v[0] : 0, .hi = n ? v[n - 1] : 0};
    double most = fmax(fabs(out->lo), fabs(out->hi));
    switch (rule->mode) {
    case RANGE_PERCENTILE:
        out->lo = n ? percentile(v, n, rule->p_lo) : 0;
        out->hi = n ? percentile(v, n, rule->p_hi) : 0;
        break;
    case RANGE_SYMMETRIC:
    case RANGE_SYMLOG:
        out->hi = folded && n ? percentile(v, n, rule->p) : most;
        out->lo = -out->hi;
        break;
    case RANGE_MEANSTD:
    case RANGE_WHITEN:
        moments(v, n, &mean, &std);
        out->lo = mean - rule->k * std;
        out->hi = mean + rule->k * std;
        break;
    default:
        break;
    }
    if (rule->has_lo)
        out->lo = rule->lo;
    if (rule->has_hi)
        out->hi = rule->hi;
    if (rule->mode == RANGE_LOG && out->lo <= 0)
        out->lo = out->hi * 1e-6;
    out->flat = !(out->lo < out->hi) || (n == 0 && !(rule->has_lo && rule->has_hi));
    out->lin = rule->has_linthresh ? rule->linthresh : 0.01 * fmax(fabs(out->lo), fabs(out->hi));
    if (rule->mode == RANGE_HISTEQ && !out->flat)
        equalise(rule, v, n, out);
    free(v);
}

/* ---- filters ---- */

static double at(const double *v, int h, int w, int y, int x)
{
    y = y < 0 ? 0 : y >= h ? h - 1 : y;
    x = x < 0 ? 0 : x >= w ? w - 1 : x;
    return v[y * w + x];
}

static double tap(const double *v, int h, int w, int y, int x)
{
    double t = at(v, h, w, y, x);
    return isfinite(t) ? t : NAN;
}

static double blur_at(const double *v, int h, int w, int y, int x, int r, double sigma)
{
    double sum = 0, total = 0;
    for (int dy = -r; dy <= r; dy++)
        for (int dx = -r; dx <= r; dx++) {
            double k = sigma > 0 ? exp(-(dx * dx + dy * dy) / (2 * sigma * sigma)) : 1;
            sum += k * tap(v, h, w, y + dy, x + dx);
            total += k;
        }
    return sum / total;
}

static double median_at(const double *v, int h, int w, int y, int x, int r)
{
    double kept[25];
    int n = 0;
    for (int dy = -r; dy <= r; dy++)
        for (int dx = -r; dx <= r; dx++) {
            double t = at(v, h, w, y + dy, x + dx);
            if (!isnan(t))
                kept[n++] = t;
        }
    qsort(kept, (size_t)n, sizeof *kept, by_value);
    return n == 0 ? NAN : n & 1 ? kept[n / 2] : (kept[n / 2 - 1] + kept[n / 2]) / 2;
}

static double filtered(const view_filter *f, const double *v, int h, int w, int y, int x)
{
    double here = tap(v, h, w, y, x);
    double left = tap(v, h, w, y, x - 1), right = tap(v, h, w, y, x + 1);
    double up = tap(v, h, w, y - 1, x), down = tap(v, h, w, y + 1, x);
    switch (f->op) {
    case FILTER_BOX:
        return blur_at(v, h, w, y, x, f->r, 0);
    case FILTER_GAUSS:
        return blur_at(v, h, w, y, x, (int)ceil(3 * f->sigma), f->sigma);
    case FILTER_MEDIAN:
        return median_at(v, h, w, y, x, f->r);
    case FILTER_SHARPEN:
        return here + f->amount * (here - blur_at(v, h, w, y, x, 3, 1));
    case FILTER_GRAD:
        return hypot((right - left) / 2, (down - up) / 2);
    case FILTER_LAPLACE:
        return left + right + up + down - 4 * here;
    default:
        return fabs(v[y * w + x]);
    }
}

void ref_filters(const view_part *part, double *v, int h, int w)
{
    size_t bytes = (size_t)h * (size_t)w * sizeof *v;
    double *out = malloc(bytes);
    for (int i = 0; i < part->n_filters; i++) {
        for (int y = 0; y < h; y++)
            for (int x = 0; x < w; x++)
                out[y * w + x] = filtered(&part->filters[i], v, h, w, y, x);
        memcpy(v, out, bytes);
    }
    free(out);
}

/* ---- t with its class ---- */

typedef enum ref_class {
    FINITE,
    IS_NAN,
    POSINF,
    NEGINF,
    UNDER,
    OUTSIDE
} ref_class;

typedef struct sample {
    double t;
    ref_class class;
} sample;

static sample map_value(const view_part *part, const ref_range *r, double v)
{
    sample s = {.t = 0.5};
    view_range_mode mode = part->range.mode;
    if (isnan(v))
        s.class = IS_NAN;
    else if (isinf(v))
        s.class = v > 0 ? POSINF : NEGINF;
    else if (mode == RANGE_LOG && v <= 0)
        s.class = UNDER;
    if (s.class != FINITE)
        return s;
    if (!r->flat) {
        s.t = (v - r->lo) / (r->hi - r->lo);
        if (mode == RANGE_LOG)
            s.t = (log(v) - log(r->lo)) / (log(r->hi) - log(r->lo));
        else if (mode == RANGE_SYMLOG)
            s.t = (symlog(v, r->lin) - symlog(r->lo, r->lin)) /
                  (symlog(r->hi, r->lin) - symlog(r->lo, r->lin));
        else if (mode == RANGE_HISTEQ) {
            double p = fmin(fmax(s.t, 0), 1) * part->range.bins;
            int b = (int)fmin(floor(p), part->range.bins - 1);
            s.t = r->cdf[b] + (p - b) * (r->cdf[b + 1] - r->cdf[b]);
        }
    }
    s.t = s.t * part->tone.gain + part->tone.bias;
    if (s.t > 0)
        s.t = pow(s.t, part->tone.gamma);
    if (part->tone.invert)
        s.t = 1 - s.t;
    return s;
}

/* ---- resampling ---- */

typedef struct axis {
    int s, off, len;
    double origin, extent;
    bool viewport;
} axis;

enum {
    MAX_TAPS = 4096
};

typedef struct taps {
    bool outside;
    int nearest, first, n;
    double weight[MAX_TAPS];
} taps;

static double lanczos(double x)
{
    const double pi = 3.14159265358979323846;
    if (fabs(x) >= 3)
        return 0;
    return x == 0 ? 1 : sin(pi * x) / (pi * x) * sin(pi * x / 3) / (pi * x / 3);
}

static double bicubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1)
        return (a + 2) * x * x * x - (a + 3) * x * x + 1;
    return x < 2 ? a * x * x * x - 5 * a * x * x + 8 * a * x - 4 * a : 0;
}

static int held(int i, int n)
{
    return i < 0 ? 0 : i >= n ? n - 1 : i;
}

static void wide_taps(const axis *a, view_resample filter, double begin, double scale, taps *t)
{
    double stretch = fmax(scale, 1), center = begin + scale / 2, sum = 0;
    double support = (filter == RESAMPLE_LANCZOS ? 3 : 2) * stretch;
    int from = (int)floor(center - support + 0.5), to = (int)floor(center + support + 0.5);
    if (filter == RESAMPLE_AREA) {
        from = (int)floor(begin);
        to = (int)ceil(begin + scale);
    }
    from = from < 0 ? 0 : from;
    to = to > a->s ? a->s : to;
    t->first = from;
    t->n = to - from;
    for (int i = 0; i < t->n; i++) {
        double x = (from + i - center + 0.5) / stretch,
               overlap = fmin(begin + scale, from + i + 1) - fmax(begin, from + i);
        t->weight[i] = filter == RESAMPLE_AREA      ? fmax(overlap, 0)
                       : filter == RESAMPLE_LANCZOS ? lanczos(x)
                                                    : bicubic(x);
        sum += t->weight[i];
    }
    for (int i = 0; i < t->n; i++)
        t->weight[i] /= sum;
}

static void taps_of(const axis *a, view_resample filter, int i, taps *t)
{
    int x = i - a->off;
    double scale = a->extent / a->len, pos = a->origin + (x + 0.5) * scale;
    *t = (taps){.outside = x < 0 || x >= a->len || (a->viewport && (pos < 0 || pos >= a->s))};
    if (t->outside)
        return;
    t->nearest = held((int)floor(pos), a->s);
    t->first = t->nearest;
    t->n = 1;
    t->weight[0] = 1;
    if (filter == RESAMPLE_BILINEAR) {
        double p = fmin(fmax(pos - 0.5, 0), a->s - 1);
        t->first = (int)p;
        t->n = t->first + 1 < a->s ? 2 : 1;
        t->weight[0] = t->n == 2 ? 1 - (p - t->first) : 1;
        t->weight[1] = p - t->first;
    } else if (filter != RESAMPLE_NEAREST) {
        wide_taps(a, filter, a->origin + x * scale, scale, t);
    }
}

static void axes_of(const view_part *part, int w, int h, int W, int H, axis *x, axis *y)
{
    const view_viewport *port = &part->viewport;
    double ex = w, ey = h, ox = 0, oy = 0;
    if (port->set) {
        ex = port->by_zoom ? w / port->zoom : port->w;
        ey = port->by_zoom ? h / port->zoom : port->h;
        ox = port->by_zoom ? port->cx - ex / 2 : port->x;
        oy = port->by_zoom ? port->cy - ey / 2 : port->y;
    }
    *x = (axis){.s = w, .len = W, .origin = ox, .extent = ex, .viewport = port->set};
    *y = (axis){.s = h, .len = H, .origin = oy, .extent = ey, .viewport = port->set};
    if (part->resize.fit == FIT_CONTAIN) {
        double k = fmin(W / ex, H / ey);
        x->len = (int)fmin(W, fmax(1, floor(ex * k + 0.5)));
        y->len = (int)fmin(H, fmax(1, floor(ey * k + 0.5)));
        x->off = (W - x->len) / 2;
        y->off = (H - y->len) / 2;
    } else if (part->resize.fit == FIT_COVER) {
        double k = fmax(W / ex, H / ey);
        x->extent = W / k;
        y->extent = H / k;
        x->origin += (ex - x->extent) / 2;
        y->origin += (ey - y->extent) / 2;
    }
}

static sample resample(const sample *t, int w, const taps *x, const taps *y)
{
    sample s = {0};
    for (int i = 0; i < y->n; i++)
        for (int k = 0; k < x->n; k++) {
            const sample *one = &t[(y->first + i) * w + x->first + k];
            bool matters = fabs(y->weight[i]) > 1e-6 && fabs(x->weight[k]) > 1e-6;
            if (matters && one->class != FINITE)
                return t[y->nearest * w + x->nearest];
            if (one->class == FINITE)
                s.t += y->weight[i] * x->weight[k] * one->t;
        }
    return s;
}

/* ---- colour ---- */

static void color_of(const view_part *part, sample s, uint8_t out[3])
{
    const view_colormap *map = &part->colormap;
    const view_color *special = s.class == IS_NAN    ? &map->nan
                                : s.class == POSINF  ? &map->posinf
                                : s.class == NEGINF  ? &map->neginf
                                : s.class == OUTSIDE ? &part->resize.background
                                                     : NULL;
    if (!special && (s.class == UNDER || s.t < 0) && map->under.set)
        special = &map->under;
    if (!special && s.class == FINITE && s.t > 1 && map->over.set)
        special = &map->over;
    if (special) {
        memcpy(out, special->c, 3);
        return;
    }
    double t = s.class == UNDER ? 0 : fmin(fmax(s.t, 0), 1);
    float c[3];
    if (map->n_stops) {
        ts_colormap_eval_stops(map->n_stops, map->stop_pos, (const float(*)[3])map->stop_color, t,
                               c);
    } else {
        const ts_colormap *named;
        bool reversed;
        ts_colormap_find(map->name[0] ? map->name : "viridis", &named, &reversed);
        ts_colormap_eval(named, reversed ^ map->reverse, map->nearest, t, c);
        ts_colormap_unref(named);
    }
    for (int i = 0; i < 3; i++)
        out[i] = (uint8_t)(fmin(fmax((double)c[i], 0), 1) * 255 + 0.5);
}

void ref_render(const view_part *part, const double *v, int h, int w, int W, int H, uint8_t *rgb)
{
    ref_range *range = malloc(sizeof *range);
    sample *t = malloc((size_t)h * (size_t)w * sizeof *t);
    taps *tx = malloc(sizeof *tx), *ty = malloc(sizeof *ty);
    axis ax, ay;
    ref_range_of(&part->range, v, h * w, range);
    for (int i = 0; i < h * w; i++)
        t[i] = map_value(part, range, v[i]);
    axes_of(part, w, h, W, H, &ax, &ay);
    for (int y = 0; y < H; y++) {
        taps_of(&ay, part->resize.filter, y, ty);
        for (int x = 0; x < W; x++) {
            sample s = {.class = OUTSIDE};
            taps_of(&ax, part->resize.filter, x, tx);
            if (!tx->outside && !ty->outside)
                s = resample(t, w, tx, ty);
            color_of(part, s, rgb + 3 * (y * W + x));
        }
    }
    free(range);
    free(t);
    free(tx);
    free(ty);
}

/* ---- similarity ---- */

double ref_ssim(const double *a, const double *b, int h, int w, double peak)
{
    int k = 11 < h ? 11 : h, n = 0;
    k = k < w ? k : w;
    double c1 = 0.01 * peak * 0.01 * peak, c2 = 0.03 * peak * 0.03 * peak, sum = 0;
    for (int y0 = 0; y0 + k <= h; y0++)
        for (int x0 = 0; x0 + k <= w; x0++, n++) {
            double total = 0, ma = 0, mb = 0, aa = 0, bb = 0, ab = 0;
            for (int y = 0; y < k; y++)
                for (int x = 0; x < k; x++) {
                    double dy = y - (k - 1) / 2.0, dx = x - (k - 1) / 2.0;
                    double g = exp(-(dx * dx + dy * dy) / 4.5);
                    double va = a[(y0 + y) * w + x0 + x], vb = b[(y0 + y) * w + x0 + x];
                    total += g;
                    ma += g * va;
                    mb += g * vb;
                    aa += g * va * va;
                    bb += g * vb * vb;
                    ab += g * va * vb;
                }
            ma /= total;
            mb /= total;
            aa = aa / total - ma * ma;
            bb = bb / total - mb * mb;
            ab = ab / total - ma * mb;
            sum += (2 * ma * mb + c1) * (2 * ab + c2) / ((ma * ma + mb * mb + c1) * (aa + bb + c2));
        }
    return sum / n;
}
