#include "tests/ref/ref_stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void percentiles(const double *values, size_t n, ref_stats *out)
{
    static const int wanted[7] = {1, 5, 25, 50, 75, 95, 99};
    double *sorted = malloc((n + 1) * sizeof *sorted);
    size_t used = 0;
    for (size_t i = 0; i < n; i++)
        if (isfinite(values[i]))
            sorted[used++] = values[i];
    qsort(sorted, used, sizeof *sorted, ascending);
    for (int p = 0; p < 7; p++) {
        double at = wanted[p] / 100.0 * (double)(used - 1);
        size_t i = (size_t)floor(at), k = i + 1 < used ? i + 1 : i;
        out->percentile[p] = sorted[i] * (1 - (at - (double)i)) + sorted[k] * (at - (double)i);
    }
    free(sorted);
}

void ref_stats_compute(const double *values, size_t n, int bins, ref_stats *out,
                       uint64_t *histogram)
{
    long double sum = 0, abs_sum = 0, squares = 0, centred = 0;
    *out = (ref_stats){.min = INFINITY, .max = -INFINITY};
    memset(histogram, 0, (size_t)bins * sizeof *histogram);
    for (size_t i = 0; i < n; i++) {
        double v = values[i];
        out->nan += isnan(v) != 0;
        out->posinf += v == INFINITY;
        out->neginf += v == -INFINITY;
        if (!isfinite(v))
            continue;
        out->finite++;
        out->zeros += v == 0;
        sum += v;
        abs_sum += fabsl(v);
        squares += (long double)v * v;
        if (v < out->min)
            out->min = v, out->argmin = i;
        if (v > out->max)
            out->max = v, out->argmax = i;
    }
    if (!out->finite)
        return;
    long double count = (long double)out->finite, mean = sum / count;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(values[i]))
            continue;
        centred += (values[i] - mean) * (values[i] - mean);
        double width = out->max - out->min;
        int bin = width > 0 ? (int)floor((values[i] - out->min) / width * bins) : 0;
        histogram[bin < bins ? bin : bins - 1]++;
    }
    out->mean = (double)mean;
    out->abs_mean = (double)(abs_sum / count);
    out->l2 = (double)sqrtl(squares);
    out->std = (double)sqrtl(centred / count);
    percentiles(values, n, out);
}
