#include "tests/ref/ref_gsplat.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct gaussian {
    double cx, cy, A, B, C, u, v, c, s;
    int x0, y0, x1, y1;
} gaussian;

static int tile_clamp(double t, int tiles)
{
    t = trunc(t);
    return t < 0 ? 0 : t > tiles ? tiles : (int)t;
}

static gaussian project(const ts_gs_splat_options *o, const float *p)
{
    gaussian g;
    double ratio = o->ratio > 0 ? o->ratio : 1;
    double sx = o->inverse_scale ? ratio / p[2] : ratio * p[2];
    double sy = o->inverse_scale ? ratio / p[3] : ratio * p[3];
    g.cx = (double)p[0] * o->width;
    g.cy = (double)p[1] * o->height;
    g.u = 1 / sx;
    g.v = 1 / sy;
    g.c = cos(p[4]);
    g.s = sin(p[4]);
    double c2 = g.c * g.c, s2 = g.s * g.s, pp = g.u * g.u, qq = g.v * g.v;
    g.A = c2 * pp + s2 * qq;
    g.B = g.c * g.s * (qq - pp);
    g.C = s2 * pp + c2 * qq;
    double s11 = c2 * sx * sx + s2 * sy * sy, s22 = s2 * sx * sx + c2 * sy * sy;
    double s12 = g.c * g.s * (sy * sy - sx * sx), m = (s11 + s22) / 2;
    double det = s11 * s22 - s12 * s12;
    double r = ceil(3 * sqrt(m + sqrt(fmax(0.1, m * m - det))));
    int tw = (o->width + 15) / 16, th = (o->height + 15) / 16;
    g.x0 = o->all_tiles ? 0 : tile_clamp(g.cx / 16 - r / 16, tw);
    g.x1 = o->all_tiles ? tw : tile_clamp(g.cx / 16 + r / 16 + 1, tw);
    g.y0 = o->all_tiles ? 0 : tile_clamp(g.cy / 16 - r / 16, th);
    g.y1 = o->all_tiles ? th : tile_clamp(g.cy / 16 + r / 16 + 1, th);
    return g;
}

static double quad(const gaussian *g, double px, double py)
{
    double dx = g->cx - px, dy = g->cy - py;
    return 0.5 * (g->A * dx * dx + g->C * dy * dy) + g->B * dx * dy;
}

typedef struct pick {
    double q;
    int32_t id;
} pick;

static int by_id(const void *a, const void *b)
{
    return ((const pick *)a)->id - ((const pick *)b)->id;
}

/* Replace the worst kept one only where q is strictly smaller, so the lower index wins a tie. */
static int select_topk(const ts_gs_splat_options *o, const gaussian *g, size_t n, int x, int y,
                       pick *kept)
{
    int count = 0;
    for (size_t i = 0; i < n; ++i) {
        if (x / 16 < g[i].x0 || x / 16 >= g[i].x1 || y / 16 < g[i].y0 || y / 16 >= g[i].y1)
            continue;
        double q = quad(&g[i], x + o->offset, y + o->offset);
        if (!(q >= 0) || !isfinite(q))
            continue;
        int at = count;
        while (at > 0 && q < kept[at - 1].q)
            --at;
        if (at >= o->topk)
            continue;
        int last = count < o->topk ? count++ : o->topk - 1;
        memmove(kept + at + 1, kept + at, (size_t)(last - at) * sizeof *kept);
        kept[at] = (pick){q, (int32_t)i};
    }
    qsort(kept, (size_t)count, sizeof *kept, by_id);
    return count;
}

static void blend(ref_gsplat *ref, const ts_gs_splat_options *o, const float *par, const pick *kept,
                  int count, size_t pixel)
{
    size_t row = 5 + (size_t)o->channels, plane = (size_t)o->width * (size_t)o->height;
    double eps = o->eps > 0 ? o->eps : o->all_tiles ? 1e-7 : 1e-4, total = eps;
    for (int k = 0; k < o->topk; ++k) {
        bool there = k < count;
        ref->ids[pixel * (size_t)o->topk + (size_t)k] = there ? kept[k].id : -1;
        ref->d[pixel * (size_t)o->topk + (size_t)k] = there ? exp(-kept[k].q) : 0;
        total += there ? exp(-kept[k].q) : 0;
    }
    ref->weight[pixel] = 1 / total;
    for (int c = 0; c < o->channels; ++c) {
        double sum = 0;
        for (int k = 0; k < count; ++k)
            sum += exp(-kept[k].q) * (double)par[(size_t)kept[k].id * row + 5 + (size_t)c];
        ref->image[(size_t)c * plane + pixel] = sum / total;
    }
}

static gaussian *project_all(const ts_gs_splat_options *o, const float *par, size_t n)
{
    gaussian *g = calloc(n, sizeof *g);
    for (size_t i = 0; i < n; ++i)
        g[i] = project(o, par + i * (5 + (size_t)o->channels));
    return g;
}

void ref_gsplat_render(ref_gsplat *ref, const ts_gs_splat_options *o, const float *par, size_t n)
{
    size_t plane = (size_t)o->width * (size_t)o->height;
    gaussian *g = project_all(o, par, n);
    ref->image = calloc(plane * (size_t)o->channels, sizeof(double));
    ref->weight = calloc(plane, sizeof(double));
    ref->ids = calloc(plane * (size_t)o->topk, sizeof(int32_t));
    ref->d = calloc(plane * (size_t)o->topk, sizeof(double));
    for (int y = 0; y < o->height; ++y)
        for (int x = 0; x < o->width; ++x) {
            pick kept[TS_GS_MAX_TOPK + 1];
            int count = select_topk(o, g, n, x, y, kept);
            blend(ref, o, par, kept, count, (size_t)y * (size_t)o->width + (size_t)x);
        }
    free(g);
}

void ref_gsplat_finish(ref_gsplat *ref)
{
    free(ref->image);
    free(ref->weight);
    free(ref->ids);
    free(ref->d);
}

typedef struct sums {
    double A, B, C, x, y;
} sums;

static void pixel_gradient(const ref_gsplat *ref, const ts_gs_splat_options *o, const float *par,
                           const gaussian *g, const float *grad, int x, int y, sums *sum,
                           double *out)
{
    size_t row = 5 + (size_t)o->channels, plane = (size_t)o->width * (size_t)o->height;
    size_t pixel = (size_t)y * (size_t)o->width + (size_t)x;
    double mean = 0;
    for (int c = 0; c < o->channels; ++c)
        mean += ref->image[(size_t)c * plane + pixel] * (double)grad[(size_t)c * plane + pixel];
    for (int k = 0; k < o->topk; ++k) {
        int32_t id = ref->ids[pixel * (size_t)o->topk + (size_t)k];
        if (id < 0)
            continue;
        const gaussian *gi = &g[id];
        double d = ref->d[pixel * (size_t)o->topk + (size_t)k], w = d * ref->weight[pixel], a = 0;
        for (int c = 0; c < o->channels; ++c) {
            double G = (double)grad[(size_t)c * plane + pixel];
            a += (double)par[(size_t)id * row + 5 + (size_t)c] * G;
            out[(size_t)id * row + 5 + (size_t)c] += w * G;
        }
        double e = -w * (a - mean), dx = gi->cx - (x + o->offset), dy = gi->cy - (y + o->offset);
        sum[id].A += 0.5 * e * dx * dx;
        sum[id].B += e * dx * dy;
        sum[id].C += 0.5 * e * dy * dy;
        sum[id].x += e * (gi->A * dx + gi->B * dy);
        sum[id].y += e * (gi->B * dx + gi->C * dy);
    }
}

double *ref_gsplat_gradients(const ref_gsplat *ref, const ts_gs_splat_options *o, const float *par,
                             size_t n, const float *grad)
{
    size_t row = 5 + (size_t)o->channels;
    gaussian *g = project_all(o, par, n);
    sums *sum = calloc(n, sizeof *sum);
    double *out = calloc(n * row, sizeof *out);
    for (int y = 0; y < o->height; ++y)
        for (int x = 0; x < o->width; ++x)
            pixel_gradient(ref, o, par, g, grad, x, y, sum, out);
    for (size_t i = 0; i < n; ++i) {
        double c = g[i].c, s = g[i].s, u = g[i].u, v = g[i].v, *r = out + i * row;
        r[0] = o->width * sum[i].x;
        r[1] = o->height * sum[i].y;
        r[2] = 2 * u * (c * c * sum[i].A - c * s * sum[i].B + s * s * sum[i].C);
        r[3] = 2 * v * (s * s * sum[i].A + c * s * sum[i].B + c * c * sum[i].C);
        r[4] = (v * v - u * u) * (2 * c * s * (sum[i].A - sum[i].C) + (c * c - s * s) * sum[i].B);
    }
    free(g);
    free(sum);
    return out;
}

static double uniform(uint32_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 17;
    *s ^= *s << 5;
    return (double)*s / 4294967296.0;
}

float *ref_gsplat_random(uint32_t seed, int w, int h, int c, size_t n)
{
    size_t row = 5 + (size_t)c;
    float *par = calloc(n * row, sizeof *par);
    uint32_t s = seed * 2654435761u + 1;
    (void)w;
    (void)h;
    for (size_t i = 0; i < n; ++i) {
        float *p = par + i * row;
        p[0] = (float)(uniform(&s) * 1.2 - 0.1);
        p[1] = (float)(uniform(&s) * 1.2 - 0.1);
        p[2] = (float)(0.15 + uniform(&s) * 0.5);
        p[3] = (float)(0.15 + uniform(&s) * 0.5);
        p[4] = (float)(uniform(&s) * 6 - 3);
        for (int k = 0; k < c; ++k)
            p[5 + k] = (float)(uniform(&s) * 1.2 - 0.1);
    }
    return par;
}
