/* The `sinks` of a stream's output that write files: recordings that begin and end with them. */
#ifndef TS_API_STREAM_SINKS_H
#define TS_API_STREAM_SINKS_H

#include "server/app.h"

/**
 * Whether the file sinks that `after` has and `before` lacks can be started. Either may be NULL (no
 * stream). Errors: TS_E_OPTION (a name or key), TS_E_EXISTS (a recording has that name), TS_E_NOT_READY.
 */
TS_CHECKED ts_status ts_stream_sinks_check(ts_app *app, const json_t *before, const json_t *after,
                                           ts_error *err);
/** Stop the recordings of sinks that went, start those of sinks that came. */
TS_CHECKED ts_status ts_stream_sinks_apply(ts_app *app, const char *stream, const json_t *before,
                                           const json_t *after, ts_error *err);

#endif
