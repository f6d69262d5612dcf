/*
 * The document that describes a video pipeline: checked, completed with every
 * default, and read into parameters. Thread: any; documents are values.
 */
#ifndef TS_SERVER_MEDIA_PIPELINE_DOC_H
#define TS_SERVER_MEDIA_PIPELINE_DOC_H

#include "cl/base/json.h"
#include "server/track/blobs.h"
#include "server/track/bytetrack.h"
#include "server/track/chain.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Check `document` and return it with all defaults applied. `local_files` lets URLs and paths name
 * any file (the command line); else absolute paths, `..` and file: are refused.
 * Errors: TS_E_OPTION with the key's path and what would be right.
 */
TS_CHECKED ts_status ts_pipeline_doc_complete(const json_t *document, bool local_files,
                                              json_t **out, ts_error *err);
/**
 * Whether the change from one completed document to another can be made while running. `cold` gets
 * the paths of changed keys that cannot ("source.url, output.width"), "" if none.
 */
bool ts_pipeline_doc_hot(const json_t *before, const json_t *after, ts_buf *cold);
/** A copy with passwords in URLs masked, for answers. */
json_t *ts_pipeline_doc_masked(const json_t *document);

/* Parameters out of a completed document, for a source of width x height. */
ts_chain_params ts_pipeline_doc_chain(const json_t *document, int width, int height);
ts_mot_params ts_pipeline_doc_mot(const json_t *document, double fps);
ts_color_params ts_pipeline_doc_color(const json_t *document);
/** "4000k", "6M", 2500000 → bit/s; 0 where it is not a bitrate. */
int64_t ts_pipeline_bitrate(const json_t *value);

#ifdef __cplusplus
}
#endif
#endif
