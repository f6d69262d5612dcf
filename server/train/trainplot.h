/* Small line plots as pictures, for metrics_plot.png. Thread: any. */
#ifndef TS_SERVER_TRAIN_TRAINPLOT_H
#define TS_SERVER_TRAIN_TRAINPLOT_H

#include "cl/viz/pixels.h"

#ifdef __cplusplus
extern "C" {
#endif

/** One plot: n points of up to three curves over x. NaN and infinite points are left out. */
typedef struct ts_plot {
    const char *title;
    int curves;
    const double *y[3];
    const char *names[3];
} ts_plot;

/** Plots in a grid of `columns`, RGB8. NULL: out of memory. Owner: caller has one reference. */
ts_pixels *ts_trainplot(const ts_plot *plots, int n_plots, int columns, const double *x, size_t n);

#ifdef __cplusplus
}
#endif
#endif
