/*
 * A gaze session: options by their API names, a mask source, the accumulation and the pictures.
 *
 * Shared by the one-shot route, live streams and the command line. Options may change at any time
 * without losing state; only another mask source, model or mode starts anew.
 *
 *     ts_gaze_session_create(device, options, &s, err);
 *     ts_gaze_session_step(s, queue, &frame, &step, err);
 *     ts_gaze_session_picture(s, queue, &frame, &picture, err);
 *
 * The AutoGaze model plugs in through ts_gaze_set_autogaze(). Thread: one at a time per session, the
 * queue's.
 */
#ifndef TS_SERVER_GAZE_H
#define TS_SERVER_GAZE_H

#include "cl/base/json.h"
#include "cl/models/gaze/gaze.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Opens the model behind "mask_source":"autogaze". `options` are the session's: "model" names a
 * loaded model, "model_dir" (command line only) a directory. Errors: TS_E_NOT_FOUND, TS_E_OPTION, ….
 */
typedef ts_status (*ts_gaze_open_fn)(void *arg, ts_device *device, ts_queue *queue,
                                     const json_t *options, ts_gaze_source *out, ts_error *err);
/** Set once, before the first session; without it autogaze is TS_E_NOT_FOUND. */
void ts_gaze_set_autogaze(ts_gaze_open_fn open, void *arg);

typedef struct ts_gaze_session ts_gaze_session;

/** Keys that sessions take, NULL-terminated; what is not here is an unknown option. */
extern const char *const ts_gaze_keys[];

/** `options`: an object with these keys only (NULL: all defaults). Errors: TS_E_OPTION names it. */
TS_CHECKED ts_status ts_gaze_session_create(ts_device *device, ts_queue *queue,
                                            const json_t *options, ts_gaze_session **out,
                                            ts_error *err);
void ts_gaze_session_destroy(ts_gaze_session *session); /* NULL is fine */
/** Merge further options in; on an error nothing changes. */
TS_CHECKED ts_status ts_gaze_session_set(ts_gaze_session *session, ts_queue *queue,
                                         const json_t *patch, ts_error *err);
/** The options in force (borrowed). */
const json_t *ts_gaze_session_options(const ts_gaze_session *session);
/** Start a new clip: no accumulated output, no memory of frames, new averages. */
void ts_gaze_session_reset(ts_gaze_session *session);

typedef struct ts_gaze_step {
    int64_t frame; /* since the reset */
    ts_gaze_fix fix;
    ts_gaze_result result;
    ts_gaze_ema gaze_ratio, update_ratio,
        psnr; /* running averages, key frames left out of ratios */
    int64_t source_us, compose_us;
} ts_gaze_step;

/**
 * Take a frame. Where inference_width or inference_height ask for another processing size, *frame
 * becomes the resized frame (memory of the session, until the next step): what follows is about that.
 */
TS_CHECKED ts_status ts_gaze_session_step(ts_gaze_session *session, ts_queue *queue,
                                          ts_gaze_image *frame, ts_gaze_step *out, ts_error *err);

/**
 * What `visualization` shows of the frame of the last step, RGBA8 in memory of the session (valid
 * until its next step or picture).
 */
TS_CHECKED ts_status ts_gaze_session_picture(ts_gaze_session *session, ts_queue *queue,
                                             const ts_gaze_image *frame, ts_gaze_image *out,
                                             ts_error *err);
/** The parts of it, for outputs: into `dst` at a byte offset of 0. */
TS_CHECKED ts_status ts_gaze_session_panel(ts_gaze_session *session, ts_queue *queue,
                                           const ts_gaze_image *frame, ts_buffer *dst,
                                           ts_error *err);
TS_CHECKED ts_status ts_gaze_session_side_by_side(ts_gaze_session *session, ts_queue *queue,
                                                  const ts_gaze_image *frame, ts_buffer *dst,
                                                  ts_error *err);
ts_gaze *ts_gaze_session_core(ts_gaze_session *session);
ts_gaze_source *ts_gaze_session_source(ts_gaze_session *session);

/** {"frame","gaze_ratio","update_ratio","psnr_db",…,"tokens","cells"}. Owner: caller. */
json_t *ts_gaze_step_json(const ts_gaze_session *session, const ts_gaze_step *step);
/** What `details` adds: sizes, pixel counts, path, points. */
void ts_gaze_step_details(const ts_gaze_session *session, const ts_gaze_step *step,
                          const ts_gaze_image *frame, json_t *object);
/** {"gaze_ratio","update_ratio","psnr_db"} and their averages, for a frame header's metrics. */
json_t *ts_gaze_step_metrics(const ts_gaze_step *step);

/** Sums over the frames of a clip. Zero-initialised is empty. */
typedef struct ts_gaze_totals {
    int64_t frames, keyframes, tokens, cells, psnr_frames;
    double gaze_sum, update_sum, update_min, update_max, psnr_sum, psnr_min, psnr_max;
    ts_gaze_step last;
} ts_gaze_totals;
void ts_gaze_totals_add(ts_gaze_totals *totals, const ts_gaze_step *step);
json_t *ts_gaze_totals_json(const ts_gaze_totals *totals);

#ifdef __cplusplus
}
#endif
#endif
