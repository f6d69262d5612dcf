/*
 * What is drawn over a pipeline's pictures: boxes, ids, trails, the ball's mark, zones, the crop, HUD.
 * Builds a list of primitives in output pixels; cl/ops/video.h draws them. No device here.
 * Thread: its owner's. Memory is kept between frames.
 */
#ifndef TS_SERVER_MEDIA_OVERLAY_H
#define TS_SERVER_MEDIA_OVERLAY_H

#include "cl/base/json.h"
#include "cl/ops/video.h"
#include "server/media/pilot.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_overlay ts_overlay;

/** Milliseconds of the stages that the HUD names, and rates. */
typedef struct ts_hud {
    double fps, decode_ms, inference_ms, tracking_ms, camera_ms, encode_ms;
    bool gpu, signal; /* signal false: NO SIGNAL is written across the picture */
} ts_hud;

TS_CHECKED ts_status ts_overlay_create(ts_overlay **out, ts_error *err);
void ts_overlay_destroy(ts_overlay *overlay); /* NULL is fine */
/** Remember the tracks' positions for their trails; once per processed frame. */
void ts_overlay_note(ts_overlay *overlay, const ts_pilot_result *result);
void ts_overlay_forget(ts_overlay *overlay);

/** Where the picture comes from: source rectangle → width x height. */
typedef struct ts_overlay_view {
    ts_crop crop;
    int src_w, src_h, width, height;
    bool show_crop; /* outline the camera's crop (in the whole-frame picture) */
} ts_overlay_view;

/**
 * The list for one picture. `options` is the document's overlay object, `zones` its select.zones.
 * `detections` are drawn as boxes where no track covers them. *list is valid until the next call.
 */
TS_CHECKED ts_status ts_overlay_build(ts_overlay *overlay, const json_t *options,
                                      const json_t *zones, const ts_overlay_view *view,
                                      const ts_pilot_result *result, const ts_hud *hud,
                                      const ts_draw **list, size_t *n, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
