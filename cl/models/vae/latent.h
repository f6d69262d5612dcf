/*
 * Arithmetic with latents: the seeded numbers that mean the same picture everywhere, directions,
 * interpolation, grids and paths. Plain host arithmetic; no device.
 *
 * The browser's client implements the same.
 */
#ifndef TS_CL_MODELS_VAE_LATENT_H
#define TS_CL_MODELS_VAE_LATENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** n standard normals from a seed: splitmix64, pairs by Box-Muller, in double, then float. */
void ts_seeded_normal(uint64_t seed, float *out, size_t n);
/** (1-t)·a + t·b. */
void ts_latent_lerp(const float *a, const float *b, double t, float *out, size_t n);
/** Spherical; falls back to lerp where the angle or its rest is below 1e-6. Not renormalised. */
void ts_latent_slerp(const float *a, const float *b, double t, float *out, size_t n);
/** Two orthonormal directions from seeds s and s+1 (n >= 2; with n = 1 the second is zero). */
void ts_latent_directions(uint64_t seed, float *d1, float *d2, size_t n);
/** out = base + x·d1 + y·d2. */
void ts_latent_offset(const float *base, const float *d1, const float *d2, double x, double y,
                      float *out, size_t n);

typedef struct ts_latent_grid {
    double x0, x1, y0, y1; /* columns from x0 to x1, rows from y0 (top) to y1 */
    int64_t columns, rows;
    bool normal_quantiles; /* positions Φ⁻¹((i+½)/steps) instead */
} ts_latent_grid;
/** The square grid of `steps` over ±range: top row is +range. */
ts_latent_grid ts_latent_square(int64_t steps, double range);
/** x of column `i` and y of row `j`. One step alone gives the middle, 0 of a square grid. */
double ts_latent_grid_x(const ts_latent_grid *grid, int64_t i);
double ts_latent_grid_y(const ts_latent_grid *grid, int64_t j);
/** Inverse of the normal distribution function, 0 < p < 1. */
double ts_normal_quantile(double p);

typedef struct ts_latent_path {
    const float *points; /* [count][n] */
    size_t count, n;
    double seconds; /* per segment */
    bool smoothstep, loop;
} ts_latent_path;
/** Seconds from start to end (one round where it loops). */
double ts_latent_path_seconds(const ts_latent_path *path);
/** The latent at time t, clamped to the ends or wrapped around. */
void ts_latent_path_at(const ts_latent_path *path, double t, float *out);

#ifdef __cplusplus
}
#endif
#endif
