/*
 * The server's fits: a table of jobs, one training thread, their folders and live pictures.
 *
 * Jobs run in turns of at most 16 steps and about a frame's time, so that every one advances and
 * streams on the same device are not held up. A job starts when the device has room for it, else it
 * waits. Finished ones are written to their folder (fit.json) and are there after a restart.
 *
 * Thread: any. fits_lock guards the table and every job's public state; it is taken inside hub_lock
 * (by the streams' source), never around it.
 */
#ifndef TS_SERVER_TRAIN_FITS_H
#define TS_SERVER_TRAIN_FITS_H

#include "cl/models/imagegs/config.h"
#include "cl/models/imagegs/model_file.h"
#include "cl/viz/pixels.h"
#include "server/app.h"
#include "server/train/trainimage.h"

#ifdef __cplusplus
extern "C" {
#endif

/** What a new fit is made of; taken over by ts_fits_add() in every case. */
typedef struct ts_fit_request {
    ts_gs_config config;
    ts_trainimage image, saliency; /* saliency.chw NULL: none */
    ts_gs_model init;              /* par NULL: none */
    char name[TS_NAME_MAX + 1];    /* shown; "" is the image's */
    int64_t batch;                 /* 0: a batch of its own */
    int64_t parallel;              /* of its batch at once; 0: any number */
} ts_fit_request;
void ts_fit_request_finish(ts_fit_request *request);

TS_CHECKED ts_status ts_fits_create(ts_app *app, ts_fits **out, ts_error *err);
/** Running fits stop at once; what they wrote stays. Before the streams go. NULL is fine. */
void ts_fits_stop(ts_fits *fits);
/** After the streams are gone. NULL is fine. */
void ts_fits_destroy(ts_fits *fits);

/** Number of a new batch (a folder below <data-dir>/fits). */
TS_CHECKED ts_status ts_fits_new_batch(ts_fits *fits, int64_t *out, ts_error *err);
/**
 * Queue a fit and make its stream. id gets its name. Errors: TS_E_DEVICE_MEMORY (it would never
 * fit), TS_E_OPTION, TS_E_EXISTS (init_from), TS_E_DISK_FULL.
 */
TS_CHECKED ts_status ts_fits_add(ts_fits *fits, ts_fit_request *request, char id[32],
                                 json_t **shown, ts_error *err);
/** The fit as GET shows it. Owner: caller. Errors: TS_E_NOT_FOUND. */
TS_CHECKED ts_status ts_fits_get(ts_fits *fits, const char *id, json_t **out, ts_error *err);
json_t *ts_fits_list(ts_fits *fits, const char *prefix);
/** Evaluations from step `since` on: {"evaluations":[…]}. */
TS_CHECKED ts_status ts_fits_evaluations(ts_fits *fits, const char *id, int64_t since, json_t **out,
                                         ts_error *err);

typedef enum ts_fit_action {
    TS_FIT_PAUSE,
    TS_FIT_RESUME,
    TS_FIT_FINISH, /* stop: write everything as if max_steps were reached */
    TS_FIT_CANCEL
} ts_fit_action;
/** Takes effect at the next step boundary. Errors: TS_E_NOT_FOUND, TS_E_BUSY (has ended). */
TS_CHECKED ts_status ts_fits_act(ts_fits *fits, const char *id, ts_fit_action action,
                                 ts_error *err);
/** Change a running fit (merge patch of the keys that may change). *problems as the config's. */
TS_CHECKED ts_status ts_fits_patch(ts_fits *fits, const char *id, const json_t *patch,
                                   json_t **problems, ts_error *err);
/** Add Gaussians at the next step boundary. rect may be NULL. */
TS_CHECKED ts_status ts_fits_grow(ts_fits *fits, const char *id, int64_t count, bool random,
                                  const int rect[4], ts_error *err);
/** Cancel, wait until it has ended, and remove its files. */
TS_CHECKED ts_status ts_fits_remove(ts_fits *fits, const char *id, ts_error *err);

/** Path of a file of the fit's folder. Errors: TS_E_NOT_FOUND (also: not there yet). */
TS_CHECKED ts_status ts_fits_path(ts_fits *fits, const char *id, const char *file, char *out,
                                  size_t n, ts_error *err);

/* ---- for the source {"fit":id} ---- */

typedef struct ts_stream ts_stream;
/** Tell `stream` when the fit has a new picture. `key` identifies the registration. */
TS_CHECKED ts_status ts_fits_follow(ts_fits *fits, const char *id, ts_stream *stream, void *key,
                                    ts_error *err);
void ts_fits_unfollow(ts_fits *fits, void *key);
/**
 * The newest picture (a new reference, or NULL), its number, step and figures; says that somebody
 * watches, so that the next one is made.
 */
void ts_fits_picture(ts_fits *fits, const char *id, ts_pixels **picture, uint64_t *version,
                     int64_t *step, json_t **metrics);

#ifdef __cplusplus
}
#endif
#endif
