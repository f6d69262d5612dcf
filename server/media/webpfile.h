/*
 * Animated WebP written frame by frame: each picture is encoded and appended as it comes, so memory
 * does not grow with length, and a file cut short is made whole by fixing two numbers in front.
 * Thread: one at a time.
 */
#ifndef TS_SERVER_MEDIA_WEBPFILE_H
#define TS_SERVER_MEDIA_WEBPFILE_H

#include <stdbool.h>
#include <stdint.h>

#include "cl/base/status.h"
#include "cl/viz/pixels.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_webpfile ts_webpfile;

TS_CHECKED ts_status ts_webpfile_open(const char *path, int width, int height, int quality,
                                      bool lossless, ts_webpfile **out, ts_error *err);
/** Add a picture shown from `ms` on; times must not fall. Errors: TS_E_TOO_LARGE (4 GiB). */
TS_CHECKED ts_status ts_webpfile_add(ts_webpfile *file, const ts_pixels *pixels, int64_t ms,
                                     ts_error *err);
/** The last picture is shown until `end_ms`. */
TS_CHECKED ts_status ts_webpfile_finish(ts_webpfile *file, int64_t end_ms, ts_error *err);
void ts_webpfile_close(ts_webpfile *file); /* NULL is fine */
/** Cut a file at its last whole frame and fix its size. Errors: TS_E_FILE (no whole frame). */
TS_CHECKED ts_status ts_webpfile_recover(const char *path, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
