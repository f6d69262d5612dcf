/*
 * A served model as a pipeline's detector. The model is looked up for every frame: a version that is
 * swapped in is used from the next frame on. Thread: the pipeline's device thread.
 */
#ifndef TS_SERVER_MODEL_DETECTOR_H
#define TS_SERVER_MODEL_DETECTOR_H

#include "server/media/detector.h"
#include "server/models.h"

#ifdef __cplusplus
extern "C" {
#endif

/** As ts_open_model_fn: the model must be ready and a detector. */
TS_CHECKED ts_status ts_model_detector_open(ts_models *models, const char *name,
                                            ts_model_detector *out, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
