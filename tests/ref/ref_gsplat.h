/* The C twin of gsplat.cl: the same renderer and gradient in double, one pixel at a time. */
#ifndef TS_TESTS_REF_GSPLAT_H
#define TS_TESTS_REF_GSPLAT_H

#include "cl/models/imagegs/splat.h"

typedef struct ref_gsplat {
    double *image;  /* [C,H,W] */
    double *weight; /* [H,W] 1/D, or 1 for the plain sum */
    int32_t *ids;   /* [H,W,topk] selected, ascending, -1 where there are fewer */
    double *d;      /* [H,W,topk] weights before normalising, as ids */
} ref_gsplat;

/** Render rows of 5 + C floats (no quantisation). */
void ref_gsplat_render(ref_gsplat *ref, const ts_gs_splat_options *o, const float *par, size_t n);
/** dL/d parameters from dL/d image [C,H,W] of the last render (top-K only). Caller frees. */
double *ref_gsplat_gradients(const ref_gsplat *ref, const ts_gs_splat_options *o, const float *par,
                             size_t n, const float *grad);
void ref_gsplat_finish(ref_gsplat *ref);
/** n random rows that reach a little over the picture. Caller frees. */
float *ref_gsplat_random(uint32_t seed, int w, int h, int c, size_t n);

#endif
