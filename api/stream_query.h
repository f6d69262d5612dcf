/* Reading typed values and view keys out of a query. */
#ifndef TS_API_STREAM_QUERY_H
#define TS_API_STREAM_QUERY_H

#include "server/request.h"

/** A number of the query; absent leaves *out. Errors: TS_E_OPTION naming the key. */
TS_CHECKED ts_status ts_query_number(const ts_request *req, const char *key, double min, double max,
                                     double *out, ts_error *err);
/** 0, 1, true or false; absent leaves *out. */
TS_CHECKED ts_status ts_query_flag(const ts_request *req, const char *key, bool *out,
                                   ts_error *err);
/**
 * The keys that are not in `others` (NULL-terminated) as a view object (dotted keys nest); NULL where
 * there are none. Owner: caller. Errors: TS_E_OPTION.
 */
TS_CHECKED ts_status ts_query_view(const ts_request *req, const char *const *others, json_t **out,
                                   ts_error *err);

#endif
