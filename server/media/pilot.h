/*
 * The control half of a pipeline: detections of a frame in, tracks and the crop out.
 *
 * Ball tracker, virtual camera and ByteTrack as the document asks, without device or clock, so that a
 * recorded script replays to the same rows (`tensorscope pipeline replay`). Thread: its owner's.
 */
#ifndef TS_SERVER_MEDIA_PILOT_H
#define TS_SERVER_MEDIA_PILOT_H

#include "server/media/pipeline_doc.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_pilot ts_pilot;

typedef struct ts_pilot_result {
    ts_chain_result chain;
    const ts_track *tracks; /* confirmed, by id; valid until the next update */
    size_t n_tracks;
    ts_ball_status status;
    double confidence;
} ts_pilot_result;

/** `document` is complete (ts_pipeline_doc_complete); the pilot keeps a reference. */
TS_CHECKED ts_status ts_pilot_create(json_t *document, int width, int height, double fps,
                                     ts_pilot **out, ts_error *err);
void ts_pilot_destroy(ts_pilot *pilot); /* NULL is fine */
/** Take over the hot keys of a changed document. */
void ts_pilot_set_document(ts_pilot *pilot, json_t *document);
void ts_pilot_reset(ts_pilot *pilot, int width, int height);
/** The region to detect in; false: the whole frame. */
bool ts_pilot_roi(const ts_pilot *pilot, ts_crop *roi);
/** As ts_chain_update(); t_s grows, dt_s is the time since the frame before. */
TS_CHECKED ts_status ts_pilot_update(ts_pilot *pilot, const ts_detection *detections, size_t n,
                                     bool detector_ran, double t_s, double dt_s,
                                     ts_pilot_result *out, ts_error *err);
const ts_ball_state *ts_pilot_ball(const ts_pilot *pilot);
int ts_pilot_tracks_created(const ts_pilot *pilot);
/** Append the frame's row of tracking_data as one JSON object. */
void ts_pilot_row(const ts_pilot_result *result, int64_t frame, double pts_s, ts_buf *out);
const char *ts_ball_status_name(ts_ball_status status);

#ifdef __cplusplus
}
#endif
#endif
