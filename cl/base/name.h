/* Names of tensors, streams, models and the rest: [A-Za-z0-9_][A-Za-z0-9._-]{0,127}. */
#ifndef TS_CL_BASE_NAME_H
#define TS_CL_BASE_NAME_H

#include <stdbool.h>
#include <stddef.h>

#include "cl/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TS_NAME_MAX 128

bool ts_name_valid(const char *name);
/** Check a name that came from outside. `what` says of what ("tensor"). Errors: TS_E_NAME. */
TS_CHECKED ts_status ts_name_check(const char *what, const char *name, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
