/*
 * Animated patterns as tensors: a source that needs no client.
 *
 *   ts_pattern p;
 *   ts_pattern_find("waves", &p);
 *   ts_pattern_render(queue, p, frame * dt, tensor, err);     tensor: f32 [H,W]
 */
#ifndef TS_CL_VIZ_PATTERN_H
#define TS_CL_VIZ_PATTERN_H

#include "cl/tensor/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ts_pattern {
    TS_PATTERN_WAVES,
    TS_PATTERN_ROTOR,
    TS_PATTERN_CELLS,
    TS_PATTERN_MATROT,
    TS_PATTERN_COUNT
} ts_pattern;

const char *ts_pattern_name(ts_pattern pattern);
bool ts_pattern_find(const char *name, ts_pattern *out);
/** The fixed range that a pattern is meant to be shown with. */
void ts_pattern_range(ts_pattern pattern, double *lo, double *hi);
/**
 * Draw a pattern at time t into an f32 tensor of shape [H,W] that nobody else reads yet. Enqueues
 * only. Thread: the queue's. Errors: TS_E_SHAPE, TS_E_DTYPE, device ones.
 */
TS_CHECKED ts_status ts_pattern_render(ts_queue *queue, ts_pattern pattern, double t,
                                       ts_tensor *out, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
