/* What operator tests share: a device with an ops context, and seeded arrays. */
#ifndef TS_TESTS_SUPPORT_OPSFIX_H
#define TS_TESTS_SUPPORT_OPSFIX_H

#include "cl/ops/ops.h"

typedef struct ts_opsfix {
    ts_device *device;
    ts_queue *queue;
    ts_ops *ops;
} ts_opsfix;

/* cmocka group setup and teardown; *state is a ts_opsfix. TS_TEST_DEVICE picks the device. */
int ts_opsfix_setup(void **state);
int ts_opsfix_teardown(void **state);

/* Uniform in [lo, hi) from a seed; the same on every machine. */
void ts_opsfix_fill(uint64_t seed, float lo, float hi, float *out, size_t n);
float *ts_opsfix_random(uint64_t seed, float lo, float hi, size_t n); /* free() it */
/* Upload; fails the test on errors. */
ts_arr ts_opsfix_up(ts_opsfix *f, const ts_shape *shape, const float *data);
ts_arr ts_opsfix_new(ts_opsfix *f, const ts_shape *shape);
/* Read back and compare with `want`, then free the array. */
void ts_opsfix_check(ts_opsfix *f, ts_arr *got, const float *want, double atol, double rtol,
                     const char *what);

#endif
