/*
 * The server's video pipelines: named documents on disk, running or not, and their live streams.
 *
 * A pipeline `p` has the streams `p` (the whole frame with its drawing) and `p.camera` (what its sinks
 * get); they are drawn only while somebody watches. Documents lie in <data-dir>/pipelines/ and those
 * that ran are started again with the server. Thread: any.
 */
#ifndef TS_SERVER_PIPELINES_H
#define TS_SERVER_PIPELINES_H

#include "server/app.h"
#include "server/media/pipeline.h"

#ifdef __cplusplus
extern "C" {
#endif

TS_CHECKED ts_status ts_pipelines_create(ts_app *app, ts_pipelines **out, ts_error *err);
/** Start what ran before. Called once everything else is there. */
void ts_pipelines_resume(ts_pipelines *pipelines);
void ts_pipelines_destroy(ts_pipelines *pipelines); /* NULL is fine */

/**
 * Create or replace; a running pipeline is restarted with the new document. `validate` only checks.
 * *shown gets the completed document. Errors: TS_E_NAME, TS_E_OPTION.
 */
TS_CHECKED ts_status ts_pipelines_put(ts_pipelines *pipelines, const char *name,
                                      const json_t *document, bool validate, bool *created,
                                      json_t **shown, ts_error *err);
/** Merge patch of hot keys. Errors: TS_E_BUSY naming the keys that need a restart. */
TS_CHECKED ts_status ts_pipelines_patch(ts_pipelines *pipelines, const char *name,
                                        const json_t *patch, json_t **shown, ts_error *err);
TS_CHECKED ts_status ts_pipelines_remove(ts_pipelines *pipelines, const char *name, ts_error *err);
json_t *ts_pipelines_list(ts_pipelines *pipelines, const char *prefix);

/** Borrow a pipeline for one call. Errors: TS_E_NOT_FOUND. Give back with ts_pipelines_done(). */
TS_CHECKED ts_status ts_pipelines_get(ts_pipelines *pipelines, const char *name, ts_pipeline **out,
                                      ts_error *err);
void ts_pipelines_done(ts_pipelines *pipelines, ts_pipeline *pipeline);
TS_CHECKED ts_status ts_pipelines_start(ts_pipelines *pipelines, const char *name, ts_error *err);
TS_CHECKED ts_status ts_pipelines_stop(ts_pipelines *pipelines, const char *name, ts_error *err);
/** The newest picture of a view; NULL if there is none. Owner: caller's reference. */
ts_pixels *ts_pipelines_picture(ts_pipelines *pipelines, const char *name, ts_pipeline_view view);

#ifdef __cplusplus
}
#endif
#endif
