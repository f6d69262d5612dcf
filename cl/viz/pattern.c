#include "cl/viz/pattern.h"

#include <math.h>
#include <string.h>

static const char *const names[TS_PATTERN_COUNT] = {"waves", "rotor", "cells", "matrot"};

const char *ts_pattern_name(ts_pattern pattern)
{
    return (unsigned)pattern < TS_PATTERN_COUNT ? names[pattern] : NULL;
}

bool ts_pattern_find(const char *name, ts_pattern *out)
{
    for (int i = 0; i < TS_PATTERN_COUNT; i++)
        if (strcmp(names[i], name) == 0) {
            *out = (ts_pattern)i;
            return true;
        }
    return false;
}

void ts_pattern_range(ts_pattern pattern, double *lo, double *hi)
{
    *lo = pattern == TS_PATTERN_MATROT ? -2 : 0;
    *hi = pattern == TS_PATTERN_MATROT ? 2 : 1;
}

static void phases(ts_pattern pattern, double t, float out[4])
{
    static const double rate[TS_PATTERN_COUNT][4] = {
        {1, 1.5, 0.8, 2}, {4, 0, 0, 0}, {1, 0.7, 0, 0}, {0, 0, 0, 0}};
    const double turn = 2 * 3.14159265358979323846;
    for (int i = 0; i < 4; i++)
        out[i] = (float)fmod(rate[pattern][i] * t, turn);
    if (pattern == TS_PATTERN_MATROT) {
        out[0] = (float)cos(0.02 * t);
        out[1] = (float)sin(0.02 * t);
    }
}

ts_status ts_pattern_render(ts_queue *queue, ts_pattern pattern, double t, ts_tensor *out,
                            ts_error *err)
{
    const ts_shape *shape = ts_tensor_shape(out);
    if ((unsigned)pattern >= TS_PATTERN_COUNT)
        return ts_fail(err, TS_E_OPTION, "pattern: number %d is none", (int)pattern);
    if (ts_tensor_dtype(out) != TS_F32)
        return ts_fail(err, TS_E_DTYPE, "a pattern is f32, the tensor %s",
                       ts_dtype_name(ts_tensor_dtype(out)));
    if (shape->rank != 2 || ts_tensor_offset(out) != 0)
        return ts_fail(err, TS_E_SHAPE, "a pattern is 2-D, the tensor has rank %d", shape->rank);
    ts_kernel *kernel = NULL;
    ts_status st = ts_queue_kernel(queue, "pattern", "", "pattern_draw", &kernel, err);
    if (st != TS_OK || ts_tensor_nbytes(out) == 0)
        return st;
    float phase[4];
    phases(pattern, t, phase);
    bool cpu = ts_device_caps(ts_queue_device(queue))->kind == TS_DEVICE_CPU;
    size_t h = (size_t)shape->dim[0], w = (size_t)shape->dim[1], chunk = cpu ? 512 : 1;
    const size_t global[2] = {(w + chunk - 1) / chunk, h};
    return ts_launch(queue, kernel, 2, global, NULL,
                     TS_ARGS(TS_BUF(ts_tensor_buffer(out)), TS_INT(w), TS_INT(h), TS_INT(pattern),
                             TS_BYTES(phase, sizeof phase), TS_INT(chunk)),
                     err);
}
