/*
 * The picture of one plane of samples in double and in plain loops: the twin of viz_range,
 * viz_draw, viz_filter and viz_compare.
 *
 * Written from the specification's rules (normalisation, tone, resampling, classes, colour), not from
 * the kernels. Thread: any.
 */
#ifndef TS_TESTS_REF_REF_VIZ_H
#define TS_TESTS_REF_REF_VIZ_H

#include "cl/viz/view_values.h"

typedef struct ref_range {
    double lo, hi, lin;
    bool flat;
    double cdf[4097];
} ref_range;

/** Range of n samples by a view's rule. */
void ref_range_of(const view_range *rule, const double *v, int n, ref_range *out);
/** A view's filters, in place, of h x w samples (no temporal ones). */
void ref_filters(const view_part *part, double *v, int h, int w);
/** W x H pixels RGB8 of h x w samples. */
void ref_render(const view_part *part, const double *v, int h, int w, int W, int H, uint8_t *rgb);
/** Structural similarity as compare reports it, for planes of at most 32768 windows. */
double ref_ssim(const double *a, const double *b, int h, int w, double peak);

#endif
