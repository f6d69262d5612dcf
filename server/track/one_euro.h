/*
 * One-euro filter over 2-D points: a low-pass whose cutoff grows with speed.
 *
 * Source: Casiez, Roussel, Vogel, "1 € Filter", CHI 2012; the derivative is taken against the last
 * filtered value. Value struct, no allocation. Thread: its owner's.
 */
#ifndef TS_SERVER_TRACK_ONE_EURO_H
#define TS_SERVER_TRACK_ONE_EURO_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_one_euro {
    double freq_hz, min_cutoff_hz, beta, d_cutoff_hz; /* parameters; freq follows timestamps */
    bool started, has_t;
    double t_s;
    double value[2], derivative[2];
} ts_one_euro;

void ts_one_euro_init(ts_one_euro *f, double freq_hz, double min_cutoff_hz, double beta,
                      double d_cutoff_hz);
/** Forget values and time; keep the frequency. */
void ts_one_euro_reset(ts_one_euro *f);
/** Change the cutoff at run time; never below 0.01 Hz. */
void ts_one_euro_set_min_cutoff(ts_one_euro *f, double hz);
/** Filter one point in place. `t_s` is its time in seconds, NAN where there is none. */
void ts_one_euro_filter(ts_one_euro *f, double point[2], double t_s);

#ifdef __cplusplus
}
#endif
#endif
