/* The "readout" of a gaze request: options, collection over a clip, JSON. Thread: one at a time. */
#ifndef TS_SERVER_GAZEREADOUT_H
#define TS_SERVER_GAZEREADOUT_H

#include "cl/base/json.h"
#include "cl/models/gaze/readout.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_gaze_readout ts_gaze_readout;

/**
 * `object`: {"image_grid":[h,w], "tubelet", "video_grid":[h,w], "confidence_threshold",
 * "max_fixations", "fixation_scale", "dilation", "max_tokens", "min_tokens"}; NULL gives *out NULL.
 * Errors: TS_E_OPTION.
 */
TS_CHECKED ts_status ts_gaze_readout_create(const json_t *object, size_t frames,
                                            ts_gaze_readout **out, ts_error *err);
void ts_gaze_readout_destroy(ts_gaze_readout *readout); /* NULL is fine */
TS_CHECKED ts_status ts_gaze_readout_add(ts_gaze_readout *readout, const ts_gaze_cell *cells,
                                         size_t n, ts_error *err);
/** {"image_grid","frame_tokens"} and, with a tubelet, "video_grid", "video_tokens", "coordinates". */
TS_CHECKED ts_status ts_gaze_readout_json(ts_gaze_readout *readout, json_t **out, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
