/*
 * Scripted detections: {"frames":[[[x1,y1,x2,y2,score,class],…],…]}, one list per frame.
 * Thread: read-only after loading.
 */
#ifndef TS_SERVER_MEDIA_SCRIPT_H
#define TS_SERVER_MEDIA_SCRIPT_H

#include <stddef.h>

#include "cl/base/status.h"
#include "server/track/camera.h"
#include "server/track/detection.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_script ts_script;

/** Errors: TS_E_NOT_FOUND, TS_E_JSON, TS_E_FILE naming the frame and box. */
TS_CHECKED ts_status ts_script_load(const char *path, ts_script **out, ts_error *err);
void ts_script_free(ts_script *script); /* NULL is fine */
size_t ts_script_frames(const ts_script *script);
/**
 * Detections of a frame (none past the end), at most `max`. With `roi`, those whose centre lies in
 * it, in its coordinates. Returns their number.
 */
size_t ts_script_get(const ts_script *script, size_t frame, const ts_crop *roi, ts_detection *out,
                     size_t max);

#ifdef __cplusplus
}
#endif
#endif
