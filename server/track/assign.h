/* Exact assignment (Jonker-Volgenant shortest augmenting paths). */
#ifndef TS_SERVER_TRACK_ASSIGN_H
#define TS_SERVER_TRACK_ASSIGN_H

#include <stddef.h>

#include "cl/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Match rows to columns so that the sum of (limit − cost) over pairs with cost < limit is largest.
 * cost: [rows][cols] row-major. match[row] gets the column or -1. Errors: TS_E_NO_MEMORY.
 */
TS_CHECKED ts_status ts_assign(const double *cost, size_t rows, size_t cols, double limit,
                               int *match, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
