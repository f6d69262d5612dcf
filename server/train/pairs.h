/*
 * Compare streams: pairs of ground truth and render that any trainer posts, shown and recorded as a
 * fit's are. One ts_pair per stream with the source {"compare":{…}} without a and b; its files lie in
 * <data-dir>/compare/<stream>/.
 *
 * Posts to one stream are taken one after the other; the device computes PSNR and SSIM where they are
 * not given. Thread: any.
 */
#ifndef TS_SERVER_TRAIN_PAIRS_H
#define TS_SERVER_TRAIN_PAIRS_H

#include "server/app.h"
#include "server/train/trainimage.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_pairs ts_pairs;
typedef struct ts_pair ts_pair;

TS_CHECKED ts_status ts_pairs_create(ts_app *app, ts_pairs **out, ts_error *err);
/** From now on sources that close keep their runs open, to be gone on with after a restart. */
void ts_pairs_stop(ts_pairs *pairs);    /* NULL is fine */
void ts_pairs_destroy(ts_pairs *pairs); /* after the streams; NULL is fine */

/** Errors: TS_E_NOT_FOUND (no such stream, or its source is another). Owner: ts_pair_unref(). */
TS_CHECKED ts_status ts_pairs_find(ts_pairs *pairs, const char *stream, ts_pair **out,
                                   ts_error *err);
void ts_pair_unref(ts_pair *pair);

/** A posted pair; images may be empty (chw NULL). */
typedef struct ts_pair_post {
    ts_trainimage render, truth;
    int64_t step;
    bool has_time;
    double time;
    json_t *metrics;  /* object or NULL */
    char text[4][48]; /* further lines */
} ts_pair_post;
void ts_pair_post_finish(ts_pair_post *post);

/**
 * Take a post; *answer gets {seq, step, psnr, ssim, captured}. Errors: TS_E_EXISTS (the step goes
 * back), TS_E_BUSY (finished), TS_E_SHAPE, TS_E_QUEUE_FULL, TS_E_DISK_FULL.
 */
TS_CHECKED ts_status ts_pair_add(ts_pair *pair, const ts_pair_post *post, json_t **answer,
                                 ts_error *err);
/** Replace the ground truth. *version gets its number. */
TS_CHECKED ts_status ts_pair_truth(ts_pair *pair, const ts_trainimage *image, int64_t *version,
                                   ts_error *err);
/** Finish the recording and close the run. */
TS_CHECKED ts_status ts_pair_finish(ts_pair *pair, ts_error *err);
json_t *ts_pair_json(ts_pair *pair);
/** Path of "metrics.csv", "training.mp4", "rendered.png" or "rendered.jpg". Errors: TS_E_NOT_FOUND. */
TS_CHECKED ts_status ts_pair_path(ts_pair *pair, const char *file, char *out, size_t n,
                                  ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
