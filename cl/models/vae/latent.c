#include "cl/models/vae/latent.h"

#include <math.h>

static const double pi = 3.14159265358979323846;

static uint64_t next(uint64_t *s)
{
    uint64_t z = (*s += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* The same in double, for what is computed further before it is rounded. */
static void normals(uint64_t seed, size_t n, void (*put)(void *, size_t, double), void *arg)
{
    for (size_t i = 0; i < n; i += 2) {
        uint64_t a = next(&seed), b = next(&seed);
        double u1 = ((double)(a >> 11) + 1.0) * 0x1p-53, u2 = (double)(b >> 11) * 0x1p-53;
        double q = sqrt(-2.0 * log(u1)), t = 2.0 * pi * u2;
        put(arg, i, q * cos(t));
        if (i + 1 < n)
            put(arg, i + 1, q * sin(t));
    }
}

static void put_float(void *arg, size_t i, double v)
{
    ((float *)arg)[i] = (float)v;
}

void ts_seeded_normal(uint64_t seed, float *out, size_t n)
{
    normals(seed, n, put_float, out);
}

void ts_latent_lerp(const float *a, const float *b, double t, float *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (float)((1.0 - t) * a[i] + t * b[i]);
}

static double dot(const float *a, const float *b, size_t n)
{
    double s = 0;
    for (size_t i = 0; i < n; i++)
        s += (double)a[i] * b[i];
    return s;
}

void ts_latent_slerp(const float *a, const float *b, double t, float *out, size_t n)
{
    double c = dot(a, b, n) / (sqrt(dot(a, a, n)) * sqrt(dot(b, b, n)) + 1e-8);
    double theta = acos(c < -1 ? -1 : c > 1 ? 1 : c);
    if (theta < 1e-6 || pi - theta < 1e-6) {
        ts_latent_lerp(a, b, t, out, n);
        return;
    }
    double s = sin(theta), wa = sin((1.0 - t) * theta) / s, wb = sin(t * theta) / s;
    for (size_t i = 0; i < n; i++)
        out[i] = (float)(wa * a[i] + wb * b[i]);
}

void ts_latent_directions(uint64_t seed, float *d1, float *d2, size_t n)
{
    ts_seeded_normal(seed, d1, n);
    ts_seeded_normal(seed + 1, d2, n);
    double l1 = sqrt(dot(d1, d1, n));
    for (size_t i = 0; i < n; i++)
        d1[i] = (float)(d1[i] / l1);
    double along = dot(d2, d1, n);
    for (size_t i = 0; i < n; i++)
        d2[i] = (float)(d2[i] - along * d1[i]);
    double l2 = sqrt(dot(d2, d2, n));
    for (size_t i = 0; i < n; i++)
        d2[i] = n > 1 && l2 > 0 ? (float)(d2[i] / l2) : 0.0f;
}

void ts_latent_offset(const float *base, const float *d1, const float *d2, double x, double y,
                      float *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (float)(base[i] + x * d1[i] + y * d2[i]);
}

/* Acklam's rational approximation, refined by one step of Halley with erfc. */
double ts_normal_quantile(double p)
{
    static const double a[] = {-3.969683028665376e+01, 2.209460984245205e+02,
                               -2.759285104469687e+02, 1.383577518672690e+02,
                               -3.066479806614716e+01, 2.506628277459239e+00};
    static const double b[] = {-5.447609879822406e+01, 1.615858368580409e+02,
                               -1.556989798598866e+02, 6.680131188771972e+01,
                               -1.328068155288572e+01};
    static const double c[] = {-7.784894002430293e-03, -3.223964580411365e-01,
                               -2.400758277161838e+00, -2.549732539343734e+00,
                               4.374664141464968e+00,  2.938163982698783e+00};
    static const double d[] = {7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e+00,
                               3.754408661907416e+00};
    double x, tail = p < 0.5 ? p : 1.0 - p;
    if (tail < 0.02425) {
        double q = sqrt(-2.0 * log(tail));
        x = (((((c[0] * q + c[1]) * q + c[2]) * q + c[3]) * q + c[4]) * q + c[5]) /
            ((((d[0] * q + d[1]) * q + d[2]) * q + d[3]) * q + 1.0);
        x = p < 0.5 ? x : -x;
    } else {
        double q = p - 0.5, r = q * q;
        x = (((((a[0] * r + a[1]) * r + a[2]) * r + a[3]) * r + a[4]) * r + a[5]) * q /
            (((((b[0] * r + b[1]) * r + b[2]) * r + b[3]) * r + b[4]) * r + 1.0);
    }
    double e = 0.5 * erfc(-x / sqrt(2.0)) - p, u = e * sqrt(2.0 * pi) * exp(x * x / 2.0);
    return x - u / (1.0 + x * u / 2.0);
}

ts_latent_grid ts_latent_square(int64_t steps, double range)
{
    return (ts_latent_grid){
        .x0 = -range, .x1 = range, .y0 = range, .y1 = -range, .columns = steps, .rows = steps};
}

static double position(double from, double to, int64_t steps, int64_t i, bool quantiles)
{
    if (quantiles) {
        double z = ts_normal_quantile(((double)i + 0.5) / (double)steps);
        return from <= to ? z : -z;
    }
    return steps > 1 ? from + (double)i * (to - from) / (double)(steps - 1) : (from + to) / 2.0;
}

double ts_latent_grid_x(const ts_latent_grid *grid, int64_t i)
{
    return position(grid->x0, grid->x1, grid->columns, i, grid->normal_quantiles);
}

double ts_latent_grid_y(const ts_latent_grid *grid, int64_t j)
{
    return position(grid->y0, grid->y1, grid->rows, j, grid->normal_quantiles);
}

static size_t segments(const ts_latent_path *path)
{
    return path->loop ? path->count : path->count - 1;
}

double ts_latent_path_seconds(const ts_latent_path *path)
{
    return path->seconds * (double)segments(path);
}

void ts_latent_path_at(const ts_latent_path *path, double t, float *out)
{
    size_t n = segments(path);
    if (!n || path->seconds <= 0) {
        for (size_t i = 0; i < path->n; i++)
            out[i] = path->points[i];
        return;
    }
    double at = t / path->seconds;
    if (path->loop)
        at -= floor(at / (double)n) * (double)n;
    at = at < 0 ? 0 : at > (double)n ? (double)n : at;
    size_t k = (size_t)at;
    k = k < n ? k : n - 1;
    double u = at - (double)k;
    if (path->smoothstep)
        u = u * u * (3.0 - 2.0 * u);
    ts_latent_slerp(path->points + k * path->n, path->points + (k + 1) % path->count * path->n, u,
                    out, path->n);
}
