/*
 * Files: whole reads, atomic writes, read-only maps, directories. Paths here are the server's own;
 * names from clients are checked by ts_name_check() before they become part of one.
 */
#ifndef TS_CL_BASE_FS_H
#define TS_CL_BASE_FS_H

#include "cl/base/buf.h"
#include "cl/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Read a whole file of at most `max` bytes, appending to *out. Errors: TS_E_NOT_FOUND, TS_E_TOO_LARGE. */
TS_CHECKED ts_status ts_fs_read(const char *path, size_t max, ts_buf *out, ts_error *err);
/** Write, fsync, rename, fsync the directory: after a crash the file is the old or the new one. */
TS_CHECKED ts_status ts_fs_write_atomic(const char *path, const void *data, size_t len,
                                        ts_error *err);
/** mkdir -p with mode 0700. */
TS_CHECKED ts_status ts_fs_mkdirs(const char *path, ts_error *err);
/** Remove a file or a whole directory tree (links are removed, not followed). Absent is fine. */
TS_CHECKED ts_status ts_fs_remove(const char *path, ts_error *err);

/** A read-only map of a whole file; data is NULL where len is 0. */
typedef struct ts_fs_map {
    const uint8_t *data;
    size_t len;
} ts_fs_map;
TS_CHECKED ts_status ts_fs_map_open(const char *path, ts_fs_map *out, ts_error *err);
void ts_fs_map_close(ts_fs_map *map);

#ifdef __cplusplus
}
#endif
#endif
