/*
 * Connected components of a bit mask, and the colour-blob detector that stands on them: detections
 * without any model, for tests and simple scenes.
 *
 * Thread: its owner's. Memory grows to the largest frame and is kept.
 */
#ifndef TS_SERVER_TRACK_BLOBS_H
#define TS_SERVER_TRACK_BLOBS_H

#include <stddef.h>
#include <stdint.h>

#include "cl/base/status.h"
#include "server/track/detection.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_blob {
    int x1, y1, x2, y2; /* right and bottom exclusive */
    int area;
} ts_blob;

typedef struct ts_blobs ts_blobs;

TS_CHECKED ts_status ts_blobs_create(ts_blobs **out, ts_error *err);
void ts_blobs_destroy(ts_blobs *blobs); /* NULL is fine */
/**
 * 8-connected components of a mask [h, words] (lowest bit left). *list stays valid until the next
 * call; order: by first pixel in reading order.
 */
TS_CHECKED ts_status ts_blobs_find(ts_blobs *blobs, const uint32_t *mask, int h, int words,
                                   const ts_blob **list, size_t *n, ts_error *err);

/** Thresholds of the colour detector; classes 0 ball (white), 1 red, 2 blue. */
typedef struct ts_color_params {
    int white, red, blue; /* of video_color_masks */
    int ball_area_min, ball_area_max, player_area_min, player_area_max, player_height_min;
    double ball_aspect_min, ball_aspect_max, ball_fill_min;
} ts_color_params;
extern const ts_color_params TS_COLOR_DEFAULTS;

/** Detections from the three masks [3, h, words], at most `max`; returns their number in *n. */
TS_CHECKED ts_status ts_color_detect(ts_blobs *blobs, const ts_color_params *params,
                                     const uint32_t *masks, int h, int words, ts_detection *out,
                                     size_t max, size_t *n, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
