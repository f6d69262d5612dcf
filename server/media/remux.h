/* Copy a finished video file into another container without encoding again. Thread: any. */
#ifndef TS_SERVER_MEDIA_REMUX_H
#define TS_SERVER_MEDIA_REMUX_H

#include <stddef.h>

#include "cl/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Copy all streams of `from` to `to`; an MP4 gets its index in front (progressive download, frame
 * counts in the header). `to` is written beside and renamed, so it may be `from`.
 * Errors: TS_E_FILE, TS_E_DISK_FULL, TS_E_INTERNAL.
 */
TS_CHECKED ts_status ts_remux(const char *from, const char *to, const char *container,
                              ts_error *err);

/** The same, of several files with equal streams, one behind the other. */
TS_CHECKED ts_status ts_remux_list(const char *const *from, size_t n, const char *to,
                                   const char *container, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
