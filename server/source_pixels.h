/* What sources of finished u8 pictures share. */
#ifndef TS_SERVER_SOURCE_PIXELS_H
#define TS_SERVER_SOURCE_PIXELS_H

#include "cl/base/json.h"

/**
 * A source's `compose` for finished pictures: values are shown as they are (0 to 255), not stretched
 * to their own range, unless the view says otherwise. Owner: *out is a new reference.
 */
TS_CHECKED ts_status ts_source_pixels_compose(void *state, const json_t *view, json_t **out,
                                              ts_error *err);

#endif
