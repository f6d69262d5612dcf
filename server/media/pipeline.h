/*
 * A video pipeline: source → device → detect → track → camera → crop → overlay → sinks.
 *
 * Threads of one pipeline: the source's (demux, decode, reconnect), the device's (everything on the
 * OpenCL queue and the control code), and those of its outputs. Between source and device stands a
 * queue that keeps everything from a file and only the newest picture of a live source.
 *
 * Thread: the functions below are safe from any.
 */
#ifndef TS_SERVER_MEDIA_PIPELINE_H
#define TS_SERVER_MEDIA_PIPELINE_H

#include "cl/viz/pixels.h"
#include "server/media/detector.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_pipeline ts_pipeline;

/** The two pictures that viewers can see. */
typedef enum ts_pipeline_view {
    TS_PIPELINE_OVERLAY,
    TS_PIPELINE_CAMERA
} ts_pipeline_view;

/** What surrounds a pipeline. Callbacks come on its threads; any may be NULL. */
typedef struct ts_pipeline_host {
    ts_device *device;
    const char *media_dir, *outputs_dir; /* relative paths; NULL: the working directory */
    bool local_files;
    ts_open_model_fn open_model;
    void (*event)(void *arg, ts_pipeline *pipeline, const char *from, const char *to,
                  const char *reason, const char *detail);
    /** Whether anybody looks at a view now: it is drawn only then. */
    bool (*watched)(void *arg, ts_pipeline_view view);
    /** A drawn view (I420, BT.601 for WebP); keep a reference to keep it. `meta` is borrowed. */
    void (*picture)(void *arg, ts_pipeline_view view, ts_pixels *pixels, double t_s,
                    const json_t *meta);
    void *arg;
} ts_pipeline_host;

/** `document` is complete; the pipeline keeps a reference. State CREATED. */
TS_CHECKED ts_status ts_pipeline_create(const char *name, json_t *document,
                                        const ts_pipeline_host *host, ts_pipeline **out,
                                        ts_error *err);
/** Stops first. NULL is fine. */
void ts_pipeline_destroy(ts_pipeline *pipeline);
/** Errors: TS_E_BUSY (already running), and what the detector or a required sink says. */
TS_CHECKED ts_status ts_pipeline_start(ts_pipeline *pipeline, ts_error *err);
/** Drain and stop; returns when it has stopped (stop_timeout_s, then by force). Idempotent. */
void ts_pipeline_stop(ts_pipeline *pipeline);
/** Wait until it has ended by itself (file source) or was stopped. */
void ts_pipeline_wait(ts_pipeline *pipeline);
/** Apply a changed document whose changes are all hot (ts_pipeline_doc_hot). */
void ts_pipeline_set_document(ts_pipeline *pipeline, json_t *document);
void ts_pipeline_reset_tracker(ts_pipeline *pipeline);
void ts_pipeline_keyframe(ts_pipeline *pipeline);
/** "RUNNING" and the rest of a pipeline's states. */
const char *ts_pipeline_state(ts_pipeline *pipeline);
/** Whether a frame passed lately, as the health route says it. */
bool ts_pipeline_healthy(ts_pipeline *pipeline);
/** The whole state: document (masked), timings, counters, sinks, events. */
json_t *ts_pipeline_json(ts_pipeline *pipeline);
/** The newest row of tracking data; NULL before the first frame. */
json_t *ts_pipeline_tracks(ts_pipeline *pipeline);
/** The error that led to FAILED; status TS_OK otherwise. */
ts_error ts_pipeline_error(ts_pipeline *pipeline);

/** What libav here can decode and encode (encoders are tried), for video-info and /v1/server. */
json_t *ts_video_info(void);

#ifdef __cplusplus
}
#endif
#endif
