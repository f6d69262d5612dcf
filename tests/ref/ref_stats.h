/* C twin of cl/kernels/stats.cl, in long double and by sorting. */
#ifndef TS_TESTS_REF_REF_STATS_H
#define TS_TESTS_REF_REF_STATS_H

#include <stddef.h>
#include <stdint.h>

typedef struct ref_stats {
    uint64_t finite, nan, posinf, neginf, zeros, argmin, argmax;
    double min, max, mean, std, abs_mean, l2;
    double percentile[7]; /* 1 5 25 50 75 95 99 */
} ref_stats;

/* histogram has `bins` places. */
void ref_stats_compute(const double *values, size_t n, int bins, ref_stats *out,
                       uint64_t *histogram);

#endif
