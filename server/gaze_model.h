/* AutoGaze models as mask sources of gaze sessions. */
#ifndef TS_SERVER_GAZE_MODEL_H
#define TS_SERVER_GAZE_MODEL_H

#include "server/gaze.h"
#include "server/models.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * A ts_gaze_open_fn. With `arg` a ts_models: "model" names a loaded one (none named: the first that
 * is an AutoGaze model). With NULL (the command line): "model_dir" is loaded here.
 */
ts_status ts_gaze_model_open(void *arg, ts_device *device, ts_queue *queue, const json_t *options,
                             ts_gaze_source *out, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
