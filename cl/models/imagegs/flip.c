#include "cl/models/imagegs/flip.h"

#include <math.h>
#include <stdlib.h>

#include "cl/models/imagegs/filter.h"

#define PI 3.14159265358979323846

enum {
    CSF_RADIUS = 10,
    FEATURE_RADIUS = 9
};

static const double white[3] = {0.950428545, 1.0, 1.088900371};

static double linear(double v)
{
    return v > 0.04045 ? pow((v + 0.055) / 1.055, 2.4) : v / 12.92;
}

static void to_xyz(const double rgb[3], double xyz[3])
{
    xyz[0] = (10135552 * rgb[0] + 8788810 * rgb[1] + 4435075 * rgb[2]) / 24577794;
    xyz[1] = (2613072 * rgb[0] + 8788810 * rgb[1] + 887015 * rgb[2]) / 12288897;
    xyz[2] = (1425312 * rgb[0] + 8788810 * rgb[1] + 70074185 * rgb[2]) / 73733382;
    for (int i = 0; i < 3; ++i)
        xyz[i] /= white[i];
}

static double lab_f(double t)
{
    const double delta = 6.0 / 29;
    return t > delta * delta * delta ? cbrt(t) : t / (3 * delta * delta) + 4.0 / 29;
}

/* Linear RGB to L*a*b* with the Hunt effect on a and b. */
static void to_hunt_lab(const double rgb[3], double lab[3])
{
    double xyz[3];
    to_xyz(rgb, xyz);
    double x = lab_f(xyz[0]), y = lab_f(xyz[1]), z = lab_f(xyz[2]);
    lab[0] = 116 * y - 16;
    lab[1] = 500 * (x - y) * 0.01 * lab[0];
    lab[2] = 200 * (y - z) * 0.01 * lab[0];
}

/* HyAB distance to the power 0.7. */
static double color_distance(const double a[3], const double b[3])
{
    double dl = a[0] - b[0], da = a[1] - b[1], db = a[2] - b[2];
    return pow(sqrt(fmax(dl * dl, 1e-15)) + sqrt(da * da + db * db), 0.7);
}

static double largest_distance(void)
{
    double green[3], blue[3];
    to_hunt_lab((const double[3]){0, 1, 0}, green);
    to_hunt_lab((const double[3]){0, 0, 1}, blue);
    return color_distance(green, blue);
}

/* Work memory: 6 planes, see the uses. */
typedef struct work {
    int w, h;
    size_t n;
    float *memory, *ycc[2], *scratch, *sum;
} work;

static void to_ycxcz(const work *p, const float *rgb, float *out)
{
    for (size_t i = 0; i < p->n; ++i) {
        double lin[3], xyz[3];
        for (int c = 0; c < 3; ++c)
            lin[c] = linear((double)rgb[(size_t)c * p->n + i]);
        to_xyz(lin, xyz);
        out[i] = (float)(116 * xyz[1] - 16);
        out[p->n + i] = (float)(500 * (xyz[0] - xyz[1]));
        out[2 * p->n + i] = (float)(200 * (xyz[1] - xyz[2]));
    }
}

/* ---- the features of the luma planes ---- */

typedef struct features {
    float smooth[2 * FEATURE_RADIUS + 1], edge[2 * FEATURE_RADIUS + 1],
        point[2 * FEATURE_RADIUS + 1];
} features;

/* Positive weights sum to +1, negative ones to -1. */
static void balance(const double *w, int n, float *out)
{
    double up = 0, down = 0;
    for (int i = 0; i < n; ++i)
        *(w[i] > 0 ? &up : &down) += w[i];
    for (int i = 0; i < n; ++i)
        out[i] = (float)(w[i] > 0 ? w[i] / up : down < 0 ? w[i] / -down : 0);
}

static features make_features(double ppd)
{
    features f;
    double sd = 0.5 * 0.082 * ppd, g[3][2 * FEATURE_RADIUS + 1];
    int n = 2 * FEATURE_RADIUS + 1;
    for (int i = 0; i < n; ++i) {
        double x = i - FEATURE_RADIUS;
        g[0][i] = exp(-x * x / (2 * sd * sd));
        g[1][i] = -x * g[0][i];
        g[2][i] = (x * x / (sd * sd) - 1) * g[0][i];
    }
    balance(g[0], n, f.smooth);
    balance(g[1], n, f.edge);
    balance(g[2], n, f.point);
    return f;
}

/* |kernel in x, kernel in y| of a plane into out. */
static void magnitude(const work *p, const float *luma, const float *kernel, const float *smooth,
                      float *other, float *out)
{
    ts_gs_filter(luma, p->w, p->h, kernel, smooth, FEATURE_RADIUS, TS_GS_BORDER_REPLICATE,
                 p->scratch, out);
    ts_gs_filter(luma, p->w, p->h, smooth, kernel, FEATURE_RADIUS, TS_GS_BORDER_REPLICATE,
                 p->scratch, other);
    for (size_t i = 0; i < p->n; ++i)
        out[i] = sqrtf(out[i] * out[i] + other[i] * other[i]);
}

/* ef = the larger of the two features' differences, raised as FLIP says. */
static void feature_difference(const work *p, double ppd, float *ef, float *tmp)
{
    features f = make_features(ppd);
    float *luma = tmp, *one = tmp + p->n, *two = tmp + 2 * p->n, *other = tmp + 3 * p->n;
    for (int kind = 0; kind < 2; ++kind) {
        const float *kernel = kind ? f.point : f.edge;
        for (int image = 0; image < 2; ++image) {
            for (size_t i = 0; i < p->n; ++i)
                luma[i] = (p->ycc[image][i] + 16) / 116;
            magnitude(p, luma, kernel, f.smooth, other, image ? two : one);
        }
        for (size_t i = 0; i < p->n; ++i) {
            float d = fabsf(one[i] - two[i]);
            ef[i] = kind && ef[i] > d ? ef[i] : d;
        }
    }
    for (size_t i = 0; i < p->n; ++i)
        ef[i] = (float)sqrt(fmax((double)ef[i], 1e-15) / sqrt(2.0));
}

/* ---- contrast sensitivity ---- */

/* One plane with the sum of two Gaussians of the contrast sensitivity function. */
static void csf(const work *p, float *plane, double a1, double b1, double a2, double b2, double ppd)
{
    double a[2] = {a1, a2}, b[2] = {b1, b2}, area[2], total = 0;
    float k[2][2 * CSF_RADIUS + 1];
    int n = 2 * CSF_RADIUS + 1;
    for (int t = 0; t < 2; ++t) {
        double line = 0, g[2 * CSF_RADIUS + 1];
        for (int i = 0; i < n; ++i) {
            double r = (i - CSF_RADIUS) / ppd;
            g[i] = exp(-PI * PI * r * r / b[t]);
            line += g[i];
        }
        for (int i = 0; i < n; ++i)
            k[t][i] = (float)(g[i] / line);
        area[t] = a[t] * sqrt(PI / b[t]) * line * line;
        total += area[t];
    }
    float *second = p->sum;
    if (area[1] > 0)
        ts_gs_filter(plane, p->w, p->h, k[1], k[1], CSF_RADIUS, TS_GS_BORDER_REPLICATE, p->scratch,
                     second);
    ts_gs_filter(plane, p->w, p->h, k[0], k[0], CSF_RADIUS, TS_GS_BORDER_REPLICATE, p->scratch,
                 plane);
    if (area[1] > 0)
        for (size_t i = 0; i < p->n; ++i)
            plane[i] = (float)((area[0] * (double)plane[i] + area[1] * (double)second[i]) / total);
}

static void filtered_lab(const work *p, const float *ycc, size_t i, double lab[3])
{
    double y = ((double)ycc[i] + 16) / 116;
    double x = (y + (double)ycc[p->n + i] / 500) * white[0];
    double z = (y - (double)ycc[2 * p->n + i] / 200) * white[2], rgb[3];
    y *= white[1];
    rgb[0] = 3.241003275 * x - 1.537398934 * y - 0.498615861 * z;
    rgb[1] = -0.969224334 * x + 1.875930071 * y + 0.041554224 * z;
    rgb[2] = 0.055639423 * x - 0.204011202 * y + 1.057148933 * z;
    for (int c = 0; c < 3; ++c)
        rgb[c] = fmin(fmax(rgb[c], 0), 1);
    to_hunt_lab(rgb, lab);
}

static double combine(const work *p, const float *ef, float *map)
{
    double most = largest_distance(), knee = 0.4 * most, sum = 0;
    for (size_t i = 0; i < p->n; ++i) {
        double a[3], b[3];
        filtered_lab(p, p->ycc[0], i, a);
        filtered_lab(p, p->ycc[1], i, b);
        double e = color_distance(a, b);
        e = e < knee ? 0.95 * e / knee : 0.95 + 0.05 * (e - knee) / (most - knee);
        double v = pow(e, 1 - (double)ef[i]);
        sum += v;
        if (map)
            map[i] = (float)v;
    }
    return sum / (double)p->n;
}

ts_status ts_gs_flip(const float *a, const float *b, int height, int width, float *map,
                     double *mean, ts_error *err)
{
    const double ppd = 3840 * PI / 180;
    size_t n = (size_t)width * (size_t)height;
    work p = {.w = width, .h = height, .n = n};
    p.memory = calloc(13 * n, sizeof(float));
    if (!p.memory)
        return ts_fail(err, TS_E_NO_MEMORY, "FLIP of %d x %d", width, height);
    p.ycc[0] = p.memory;
    p.ycc[1] = p.memory + 3 * n;
    p.scratch = p.memory + 6 * n;
    p.sum = p.memory + 7 * n;
    float *ef = p.memory + 8 * n, *tmp = p.memory + 9 * n;
    to_ycxcz(&p, a, p.ycc[0]);
    to_ycxcz(&p, b, p.ycc[1]);
    feature_difference(&p, ppd, ef, tmp);
    for (int image = 0; image < 2; ++image) {
        csf(&p, p.ycc[image], 1, 0.0047, 0, 1e-5, ppd);
        csf(&p, p.ycc[image] + n, 1, 0.0053, 0, 1e-5, ppd);
        csf(&p, p.ycc[image] + 2 * n, 34.1, 0.04, 13.5, 0.025, ppd);
    }
    *mean = combine(&p, ef, map);
    free(p.memory);
    return TS_OK;
}
