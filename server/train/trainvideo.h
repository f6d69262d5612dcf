/*
 * The recording of a training run: pictures are encoded as they arrive, on an own thread behind a
 * queue of eight. Nothing is dropped: the trainer waits where the queue is full. The file plays
 * while it grows (fragments); at the end it is rewritten with its index in front.
 *
 * Thread: the trainer's; the statistics any.
 */
#ifndef TS_SERVER_TRAIN_TRAINVIDEO_H
#define TS_SERVER_TRAIN_TRAINVIDEO_H

#include "cl/base/json.h"
#include "cl/viz/pixels.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_trainvideo ts_trainvideo;

/**
 * `options` (codec, container, crf, bitrate, preset, fps, hold_last; others are
 * the picture's), or NULL. `path` is without the extension.
 * Errors: TS_E_OPTION; TS_E_NO_ENCODER lists what there is. The file is made at the first picture.
 */
TS_CHECKED ts_status ts_trainvideo_create(const char *path, const json_t *options,
                                          ts_trainvideo **out, ts_error *err);
/** Only check the options. */
TS_CHECKED ts_status ts_trainvideo_check(const json_t *options, ts_error *err);
/** Hand over a picture (takes its own reference). Errors: what the encoder met before. */
TS_CHECKED ts_status ts_trainvideo_add(ts_trainvideo *video, ts_pixels *picture, ts_error *err);
/** Encode what is queued and finish the file. */
TS_CHECKED ts_status ts_trainvideo_finish(ts_trainvideo *video, ts_error *err);
void ts_trainvideo_destroy(ts_trainvideo *video); /* NULL is fine */
/** {frames, encoded, bytes, state}. Caller owns it. */
json_t *ts_trainvideo_json(ts_trainvideo *video);
/** Path with extension, and its media type. */
const char *ts_trainvideo_path(const ts_trainvideo *video);

#ifdef __cplusplus
}
#endif
#endif
