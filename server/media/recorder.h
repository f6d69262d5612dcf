/*
 * Recordings: streams written to files in <data-dir>/recordings.
 *
 * Each runs on a thread of its own (ts-rec): it watches its stream for pixels, at full quality
 * whatever subscribers see, and writes them. <id>.json beside the file tells its state, so that a
 * restart finds what a killed server left: such a recording becomes `recovered`.
 *
 * Thread: any. Owner: ts_recordings is the application's; destroying it stops and finishes all.
 */
#ifndef TS_SERVER_MEDIA_RECORDER_H
#define TS_SERVER_MEDIA_RECORDER_H

#include "server/app.h"
#include "server/media/recwriter.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Make the folder and recover what lies there. */
TS_CHECKED ts_status ts_recordings_create(ts_app *app, ts_recordings **out, ts_error *err);
void ts_recordings_destroy(ts_recordings *recordings); /* NULL is fine; before the hub */

/**
 * Start recording a stream. `options`: format (mp4), fps (30), quality, max_seconds, name, vfr,
 * lossless, overwrite, bits (8 or 16, png). *shown gets the recording as GET shows it.
 * Errors: TS_E_NOT_FOUND (stream), TS_E_OPTION, TS_E_EXISTS (name), TS_E_NO_ENCODER, TS_E_LIMIT.
 */
TS_CHECKED ts_status ts_recordings_start(ts_recordings *recordings, const char *stream,
                                         const json_t *options, json_t **shown, ts_error *err);
/** Stop and wait until its file is complete. A stopped one stays as it is. */
TS_CHECKED ts_status ts_recordings_stop(ts_recordings *recordings, const char *id, json_t **shown,
                                        ts_error *err);
TS_CHECKED ts_status ts_recordings_get(ts_recordings *recordings, const char *id, json_t **shown,
                                       ts_error *err);
json_t *ts_recordings_list(ts_recordings *recordings, const char *prefix);
/** Stop, and remove its files. */
TS_CHECKED ts_status ts_recordings_remove(ts_recordings *recordings, const char *id, ts_error *err);
/**
 * Path of what GET …/file answers, and its type. *temporary: it was made for this answer (a tar);
 * the caller unlinks it. Errors: TS_E_NOT_FOUND, TS_E_NOT_READY (nothing written yet).
 */
TS_CHECKED ts_status ts_recordings_file(ts_recordings *recordings, const char *id, ts_buf *path,
                                        const char **mime, bool *temporary, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
