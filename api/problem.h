/* Errors as answers: problem+json (RFC 9457) on /v1, {"error"} on /v2. */
#ifndef TS_API_PROBLEM_H
#define TS_API_PROBLEM_H

#include "server/request.h"

/** Fill the answer from *err, in the shape of the API that `path` belongs to. */
void ts_problem_write(ts_response *res, const char *path, const ts_error *err);

#endif
