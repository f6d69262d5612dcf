/*
 * Exact 8-bit resizing of RGBA8 frames to another processing size: triangle filter stretched by the
 * reduction (Pillow's bilinear), columns after rows. Thread: one at a time, the queue's.
 */
#ifndef TS_CL_MODELS_GAZE_SCALE_H
#define TS_CL_MODELS_GAZE_SCALE_H

#include "cl/models/gaze/gaze.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_gaze_scaler ts_gaze_scaler;

TS_CHECKED ts_status ts_gaze_scaler_create(ts_device *device, ts_gaze_scaler **out, ts_error *err);
void ts_gaze_scaler_destroy(ts_gaze_scaler *scaler); /* NULL is fine */
/** Resize; *out lies in memory of the scaler until the next call, or is `in` where nothing changes. */
TS_CHECKED ts_status ts_gaze_scaler_run(ts_gaze_scaler *scaler, ts_queue *queue,
                                        const ts_gaze_image *in, int width, int height,
                                        ts_gaze_image *out, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
