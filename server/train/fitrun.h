/*
 * One fit on its way to a folder of files: the training loop of cl/models/imagegs with its log,
 * metrics.csv, pictures, recording, checkpoints, model and summary. Used by the server's fits and by
 * `tensorscope fit`.
 *
 *   ts_fitrun_create(queue, &options, &run, err);
 *   while (ts_fitrun_running(run)) ts_fitrun_slice(run, 16, err);
 *   ts_fitrun_complete(run, err);
 *
 * Every file but the growing ones (log, CSV, video) is written beside and renamed, so a full disk
 * leaves the last checkpoint whole. Thread: the queue's; hooks are called on it.
 */
#ifndef TS_SERVER_TRAIN_FITRUN_H
#define TS_SERVER_TRAIN_FITRUN_H

#include "cl/models/imagegs/fit.h"
#include "server/train/trainpic.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_fitrun ts_fitrun;

typedef struct ts_fitrun_hooks {
    void *arg;
    void (*evaluated)(void *arg, const ts_gs_eval *eval);
    void (*event)(void *arg, const char *event, int64_t step, int64_t a, int64_t b);
} ts_fitrun_hooks;

typedef struct ts_fitrun_options {
    const ts_gs_config *config; /* copied */
    ts_gs_target target;        /* borrowed during the creation */
    const char *folder;         /* made if it is not there */
    const char *name;           /* of the image, for texts */
    uint64_t source_bytes;      /* size of the image files; 0: not known */
    ts_fitrun_hooks hooks;
} ts_fitrun_options;

/** Check a configuration's recording and picture options. Errors: TS_E_OPTION, TS_E_NO_ENCODER. */
TS_CHECKED ts_status ts_fitrun_check(const ts_gs_config *config, ts_error *err);

TS_CHECKED ts_status ts_fitrun_create(ts_queue *queue, const ts_fitrun_options *options,
                                      ts_fitrun **out, ts_error *err);
void ts_fitrun_destroy(ts_fitrun *run); /* NULL is fine; an unfinished recording stays playable */
bool ts_fitrun_running(const ts_fitrun *run);
TS_CHECKED ts_status ts_fitrun_slice(ts_fitrun *run, int64_t steps, ts_error *err);
/** Final figures and files. */
TS_CHECKED ts_status ts_fitrun_complete(ts_fitrun *run, ts_error *err);
/** End as if the last step were reached. */
void ts_fitrun_finish(ts_fitrun *run);
/** The base is done and patches are being refined. */
bool ts_fitrun_refining(const ts_fitrun *run);
/** PSNR and SSIM of the refined picture, or NULL. Caller owns it. */
json_t *ts_fitrun_enhanced(ts_fitrun *run);
/** Figures at the full size of a downsampled fit, or NULL. Caller owns it. */
json_t *ts_fitrun_upsampled(const ts_fitrun *run);
/** The training loop inside (borrowed), for finishing early, adding, reading figures. */
ts_gs_fit *ts_fitrun_fit(ts_fitrun *run);
/** Final metrics after ts_fitrun_complete(), else NULL. */
const ts_gs_metrics *ts_fitrun_metrics(const ts_fitrun *run);
/** {frames, encoded, bytes, state}, or NULL without a recording. */
json_t *ts_fitrun_video_json(ts_fitrun *run);
/** Text that a log line or a picture shows: write one into log_train.txt. */
void ts_fitrun_log(ts_fitrun *run, const char *line);

/**
 * Evaluate and compose the live picture by `options`. *eval gets the figures; a fit is not changed.
 * Owner: caller has one reference of *out.
 */
TS_CHECKED ts_status ts_fitrun_picture(ts_fitrun *run, const ts_trainpic_options *options,
                                       ts_gs_eval *eval, ts_pixels **out, ts_error *err);

/** Figures of one evaluation as the API shows them. Caller owns it. */
json_t *ts_fitrun_eval_json(const ts_gs_eval *eval);

#ifdef __cplusplus
}
#endif
#endif
