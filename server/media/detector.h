/*
 * Detectors behind one interface: a frame on the device in, boxes in pixels out.
 *
 * Kinds: `color` (blobs, no model), `script` (recorded), `none`, and `model` through the function
 * that the server hands down. Thread: the pipeline's device thread.
 */
#ifndef TS_SERVER_MEDIA_DETECTOR_H
#define TS_SERVER_MEDIA_DETECTOR_H

#include "cl/base/json.h"
#include "cl/ops/video.h"
#include "server/track/camera.h"
#include "server/track/detection.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    TS_DETECT_MAX = 512
};

/** A frame for the detector: RGBA8 on the device and its place in the sequence. */
typedef struct ts_detect_frame {
    ts_buffer *rgba;
    int width, height;
    int64_t index;
    const ts_crop *roi; /* look only here, answer in its coordinates; NULL: the whole frame */
} ts_detect_frame;

/** A loaded model as the pipelines see it; `detect` may be called from several pipelines in turn. */
typedef struct ts_model_detector {
    void *model;
    ts_status (*detect)(void *model, ts_queue *queue, const ts_detect_frame *frame,
                        double confidence, ts_detection *out, size_t max, size_t *n, ts_error *err);
    void (*release)(void *model);
} ts_model_detector;

/** Finds a loaded model by name. Errors: TS_E_NOT_FOUND, TS_E_NOT_READY, TS_E_OPTION (no detector). */
typedef ts_status (*ts_open_model_fn)(void *arg, const char *name, const json_t *detector,
                                      ts_model_detector *out, ts_error *err);

typedef struct ts_detector ts_detector;

/** From a completed document; `script_dir` is put before a relative script path (NULL: none). */
TS_CHECKED ts_status ts_detector_open(const json_t *document, ts_device *device,
                                      const char *script_dir, ts_open_model_fn open_model,
                                      void *open_arg, ts_detector **out, ts_error *err);
void ts_detector_close(ts_detector *detector); /* NULL is fine */
/** Detections of a frame (at most TS_DETECT_MAX), in frame or region coordinates. */
TS_CHECKED ts_status ts_detector_run(ts_detector *detector, ts_queue *queue,
                                     const ts_detect_frame *frame, double confidence,
                                     ts_detection *out, size_t *n, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
