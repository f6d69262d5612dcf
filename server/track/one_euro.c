#include "server/track/one_euro.h"

#include <math.h>
#include <string.h>

static const double TWO_PI = 6.283185307179586;

void ts_one_euro_init(ts_one_euro *f, double freq_hz, double min_cutoff_hz, double beta,
                      double d_cutoff_hz)
{
    memset(f, 0, sizeof *f);
    f->freq_hz = freq_hz;
    f->min_cutoff_hz = min_cutoff_hz;
    f->beta = beta;
    f->d_cutoff_hz = d_cutoff_hz;
}

void ts_one_euro_reset(ts_one_euro *f)
{
    f->started = f->has_t = false;
    f->derivative[0] = f->derivative[1] = 0;
}

void ts_one_euro_set_min_cutoff(ts_one_euro *f, double hz)
{
    f->min_cutoff_hz = hz < 0.01 ? 0.01 : hz;
}

static double alpha(double cutoff_hz, double freq_hz)
{
    double tau = 1.0 / (TWO_PI * cutoff_hz);
    return 1.0 / (1.0 + tau * freq_hz);
}

void ts_one_euro_filter(ts_one_euro *f, double point[2], double t_s)
{
    if (!isnan(t_s)) {
        if (f->has_t && t_s - f->t_s > 0)
            f->freq_hz = 1.0 / (t_s - f->t_s);
        f->t_s = t_s;
        f->has_t = true;
    }
    for (int i = 0; i < 2; i++) {
        if (!f->started) {
            f->value[i] = point[i];
            f->derivative[i] = 0;
            continue;
        }
        double slope = (point[i] - f->value[i]) * f->freq_hz;
        double a = alpha(f->d_cutoff_hz, f->freq_hz);
        f->derivative[i] = a * slope + (1 - a) * f->derivative[i];
        double cutoff = f->min_cutoff_hz + f->beta * fabs(f->derivative[i]);
        a = alpha(cutoff, f->freq_hz);
        f->value[i] = a * point[i] + (1 - a) * f->value[i];
        point[i] = f->value[i];
    }
    f->started = true;
}
