/*
 * A video file in one object: an encoder and a container. For recordings, fits and command lines.
 * Thread: one at a time.
 */
#ifndef TS_SERVER_MEDIA_MOVIE_H
#define TS_SERVER_MEDIA_MOVIE_H

#include "server/media/vmux.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_movie ts_movie;

/** `container`: "mp4" or "webm". Fragmented, so that it plays even if the process dies. */
TS_CHECKED ts_status ts_movie_open(const char *path, const char *container,
                                   const ts_venc_options *options, ts_movie **out, ts_error *err);
/** Add a picture at `pts` (frames, or 1/90000 s with options.vfr). */
TS_CHECKED ts_status ts_movie_add(ts_movie *movie, const ts_pixels *picture, int64_t pts,
                                  ts_error *err);
/** Flush and write the trailer. */
TS_CHECKED ts_status ts_movie_finish(ts_movie *movie, ts_error *err);
void ts_movie_destroy(ts_movie *movie); /* NULL is fine */

#ifdef __cplusplus
}
#endif
#endif
