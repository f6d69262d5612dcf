/* The patterns of cl/kernels/pattern.cl in double, written as the specification has them. */
#ifndef TS_TESTS_REF_REF_PATTERN_H
#define TS_TESTS_REF_REF_PATTERN_H

#include "cl/viz/pattern.h"

double ref_pattern(ts_pattern pattern, int x, int y, int w, int h, double t);

#endif
