/* The fits' structures, shared by fits.c (table), fits_thread.c (running) and fits_store.c (files). */
#ifndef TS_SERVER_TRAIN_FITS_INTERNAL_H
#define TS_SERVER_TRAIN_FITS_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "cl/base/thread.h"
#include "server/hub.h"
#include "server/train/fitrun.h"
#include "server/train/fits.h"

typedef enum fit_state {
    FIT_QUEUED,
    FIT_INITIALISING,
    FIT_RUNNING,
    FIT_PAUSED,
    FIT_REFINING,
    FIT_FINISHING,
    FIT_DONE, /* this and the following have ended */
    FIT_FAILED,
    FIT_CANCELLED
} fit_state;
extern const char *const fit_state_words[];

typedef struct fit_job {
    struct fit_job *next;
    char id[32];
    int64_t batch, parallel;
    char folder[3072];
    double created, ended;  /* wall clock */
    ts_fit_request request; /* images are freed once it runs */
    int width, height, channels;
    uint64_t estimate;

    /* guarded by fits_lock */
    fit_state state;
    bool ending; /* its files are being written; then state becomes ended_as */
    fit_state ended_as;
    bool want_pause, want_finish, want_cancel;
    json_t *patch; /* pending changes */
    int64_t add_count;
    bool add_random, add_has_rect;
    int add_rect[4];
    ts_gs_eval last;
    ts_gs_progress progress;
    ts_gs_eval *evals;
    size_t n_evals, cap_evals;
    json_t *video, *final, *stored; /* stored: the document of an earlier run of the server */
    char error_code[40], error_text[512];
    ts_pixels *picture;
    uint64_t picture_version;
    int64_t picture_step;
    ts_gs_eval picture_eval;
    int64_t watched_us; /* when somebody last took a picture */
    int refs;           /* the table's and the thread's */
    bool removed;

    /* the training thread's */
    ts_fitrun *run;
    ts_trainpic_options look; /* of the live picture */
    int64_t live_every, live_us, shown_us, told_us, step_at_picture;
    void *hook; /* argument of the run's hooks, owned */
} fit_job;

typedef struct follower {
    struct follower *next;
    void *key;
    char id[TS_NAME_MAX + 1];
    ts_stream *stream;
} follower;

struct ts_fits {
    ts_app *app;
    char folder[2048]; /* <data-dir>/fits */
    pthread_mutex_t
        fits_lock; /* guards: jobs, followers, next_id, stopping, public state of jobs */
    pthread_cond_t work, ended;
    fit_job *jobs; /* newest last */
    follower *followers;
    int64_t next_id, next_batch;
    bool stopping;
    ts_thread *thread;
};

static inline bool fit_ended(fit_state s)
{
    return s >= FIT_DONE;
}

fit_job *fits_find_locked(ts_fits *fits, const char *id);
void fits_job_unref_locked(fit_job *job);
json_t *fits_job_json_locked(const fit_job *job);
/** Tell every stream that follows the fit. Without the lock. */
void fits_touch(ts_fits *fits, const char *id);
void fits_thread_main(void *arg);
/** fit.json of a job that has ended. */
TS_CHECKED ts_status fits_store_job(ts_fits *fits, fit_job *job, ts_error *err);
/** batch.json and batch.txt of a batch: its fits that have ended. */
TS_CHECKED ts_status fits_store_batch(ts_fits *fits, int64_t batch, ts_error *err);
/** Read what earlier runs of the server left. */
TS_CHECKED ts_status fits_load(ts_fits *fits, ts_error *err);
/** Look of the live picture from the configuration's `live` and `overlay`. */
TS_CHECKED ts_status fits_live_look(const ts_gs_config *c, ts_trainpic_options *look,
                                    int64_t *every, double *max_fps, ts_error *err);

#endif
