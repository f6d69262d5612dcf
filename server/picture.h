/* From a unit's pixels to its variants' frames: encode jobs, headers, deltas. Of the hub only. */
#ifndef TS_SERVER_PICTURE_H
#define TS_SERVER_PICTURE_H

#include "server/hub_internal.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct picture_meta {
    uint64_t generation, seq, config_rev;
    int64_t step;
    double t;
    bool has_range;
    double lo, hi;
    int64_t arrived_us, rendered_us, key_interval_us;
} picture_meta;

/**
 * Hand pixels to all watched variants of the unit. The metrics (either may be NULL) go into the
 * frames' headers. Thread: render.
 */
void picture_publish(unit *u, ts_pixels *pixels, const picture_meta *meta,
                     const json_t *source_metrics, const json_t *view_metrics);

/** Encode one picture on this thread, as the variant's frame. Thread: render. Owner: caller. */
TS_CHECKED ts_status picture_encode_now(variant *v, ts_pixels *pixels, const picture_meta *meta,
                                        const json_t *metrics, ts_frame **out, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
