/*
 * ByteTrack: multi-object tracking by associating every detection box, the weak ones second.
 *
 * Source: Zhang et al., "ByteTrack", ECCV 2022. Assignment is exact (minimum cost). The filter's time
 * unit is one processed frame. Boxes in pixels. Thread: its owner's.
 */
#ifndef TS_SERVER_TRACK_BYTETRACK_H
#define TS_SERVER_TRACK_BYTETRACK_H

#include <stdbool.h>
#include <stddef.h>

#include "cl/base/status.h"
#include "server/track/detection.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_mot_params {
    double track_thresh, low_thresh, init_thresh, match_thresh, second_thresh, unconfirmed_thresh;
    double fps, duplicate_iou, min_box_area, max_aspect /* w/h of outputs; 0: off */;
    int track_buffer;
    bool fuse_score, class_aware, second_association;
} ts_mot_params;
extern const ts_mot_params TS_MOT_DEFAULTS;

/** A confirmed track: corners in pixels, its last score and class. */
typedef struct ts_track {
    int id, class_id;
    double x1, y1, x2, y2, score;
} ts_track;

typedef struct ts_mot ts_mot;

TS_CHECKED ts_status ts_mot_create(const ts_mot_params *params, ts_mot **out, ts_error *err);
void ts_mot_destroy(ts_mot *mot); /* NULL is fine */
/** Forget all tracks; ids go on. */
void ts_mot_reset(ts_mot *mot);
/**
 * One frame. *tracks points to the confirmed tracks, sorted by id, until the next call.
 * Errors: TS_E_NO_MEMORY.
 */
TS_CHECKED ts_status ts_mot_update(ts_mot *mot, const ts_detection *detections, size_t n,
                                   const ts_track **tracks, size_t *n_tracks, ts_error *err);
/** Number of tracks ever started. */
int ts_mot_created(const ts_mot *mot);

#ifdef __cplusplus
}
#endif
#endif
