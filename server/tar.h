/* Unpacking tar files from outside: ustar, pax paths and GNU long names; files and folders only. */
#ifndef TS_SERVER_TAR_H
#define TS_SERVER_TAR_H

#include "cl/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Unpack `tar_path` into the existing directory `out`. Modes, owners and times are not taken over.
 * Errors: TS_E_FILE: damaged, a link or device, an absolute name, "..", more than 10,000 entries;
 *         TS_E_DISK_FULL. What was unpacked before the error stays; the caller removes `out`.
 */
TS_CHECKED ts_status ts_tar_unpack(const char *tar_path, const char *out, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
