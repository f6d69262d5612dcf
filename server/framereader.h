/*
 * Frames from a path: a video, an animation, one picture, or a folder of PNG files in name order.
 * For the command line; decodes frame by frame, so that length does not matter. Thread: one at a time.
 */
#ifndef TS_SERVER_FRAMEREADER_H
#define TS_SERVER_FRAMEREADER_H

#include <stdint.h>

#include "cl/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_frame_reader ts_frame_reader;

typedef struct ts_frame_info {
    int width, height;
    double fps; /* 0: not known */
} ts_frame_info;

/** Errors: TS_E_NOT_FOUND, TS_E_FILE, TS_E_TOO_LARGE. */
TS_CHECKED ts_status ts_frame_reader_open(const char *path, ts_frame_reader **out,
                                          ts_frame_info *info, ts_error *err);
/** The next frame, RGBA8, valid until the next call; NULL after the last. */
TS_CHECKED ts_status ts_frame_reader_next(ts_frame_reader *reader, const uint8_t **rgba,
                                          ts_error *err);
void ts_frame_reader_close(ts_frame_reader *reader); /* NULL is fine */

#ifdef __cplusplus
}
#endif
#endif
