#include "tests/ref/ref_pattern.h"

#include <math.h>

static double waves(double x, double y, double t)
{
    return 0.5 * (0.3 * sin(x + t) + 0.3 * sin(y + 1.5 * t) + 0.2 * sin((x + y) / 2 + 0.8 * t) +
                  0.2 * sin(hypot(x - 4, y - 4) - 2 * t)) +
           0.5;
}

static double cells(double p, double q, double t)
{
    double v =
        fabs(sin(16 * p + t) + cos(16 * q + t)) + fabs(cos(8 * p - 0.7 * t) * sin(8 * q - 0.7 * t));
    return fmin(fmax(v / 4, 0), 1);
}

double ref_pattern(ts_pattern pattern, int x, int y, int w, int h, double t)
{
    double p = (double)x / w, q = (double)y / h, dx = x - w / 2.0, dy = y - h / 2.0, a = 0.02 * t;
    switch (pattern) {
    case TS_PATTERN_WAVES:
        return waves(p * 8, q * 8, t);
    case TS_PATTERN_ROTOR:
        return (sin(4 * (atan2(dy, dx) + t)) * fmax(1 - hypot(dx, dy) / (w / 2.0), 0) + 1) / 2;
    case TS_PATTERN_CELLS:
        return cells(p, q, t);
    default:
        return sin(10 * (p * cos(a) - q * sin(a))) * cos(10 * (p * sin(a) + q * cos(a)));
    }
}
