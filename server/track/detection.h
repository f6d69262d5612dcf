/* What detectors give and trackers take: boxes in pixels of the full frame. */
#ifndef TS_SERVER_TRACK_DETECTION_H
#define TS_SERVER_TRACK_DETECTION_H

/** Centre and size in pixels, score in [0,1]. */
typedef struct ts_detection {
    double cx, cy, w, h, score;
    int class_id;
} ts_detection;

#endif
