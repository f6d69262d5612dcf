/* The training thread: picks the fit whose turn it is, runs a slice, shows it, ends it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cl/base/clock.h"
#include "cl/base/fs.h"
#include "cl/base/log.h"
#include "cl/base/size.h"
#include "server/events.h"
#include "server/train/fits_internal.h"

enum {
    SLICE_STEPS = 16,
    SLICE_US = 10000,     /* about what a slice may take of the device */
    WATCHED_US = 3000000, /* a picture that was taken keeps them coming for so long */
    TOLD_US = 1000000,    /* between two "changed" events of a running fit */
    MOST_ACTIVE = 8
};

/* ---- hooks of a run ---- */

typedef struct hook_arg {
    ts_fits *fits;
    fit_job *job;
} hook_arg;

static void on_evaluated(void *arg, const ts_gs_eval *e)
{
    hook_arg *h = arg;
    fit_job *j = h->job;
    pthread_mutex_lock(&h->fits->fits_lock);
    if (j->n_evals == j->cap_evals) {
        size_t cap = j->cap_evals ? j->cap_evals * 2 : 64;
        ts_gs_eval *more = ts_realloc_array(j->evals, cap, sizeof *more);
        if (more) {
            j->evals = more;
            j->cap_evals = cap;
        }
    }
    if (j->n_evals < j->cap_evals)
        j->evals[j->n_evals++] = *e;
    j->last = *e;
    pthread_mutex_unlock(&h->fits->fits_lock);
}

static void on_event(void *arg, const char *event, int64_t step, int64_t a, int64_t b)
{
    hook_arg *h = arg;
    ts_events_emit(h->fits->app->events, "changed", "fit", h->job->id,
                   json_pack("{s:s, s:I, s:I, s:I}", "what", event, "step", (json_int_t)step,
                             "from", (json_int_t)a, "to", (json_int_t)b));
}

/* ---- public state ---- */

static void set_state(ts_fits *fits, fit_job *j, fit_state state)
{
    pthread_mutex_lock(&fits->fits_lock);
    j->state = state;
    pthread_mutex_unlock(&fits->fits_lock);
    ts_events_emit(fits->app->events, "state", "fit", j->id,
                   json_pack("{s:s}", "state", fit_state_words[state]));
}

static void publish_progress(ts_fits *fits, fit_job *j)
{
    ts_gs_progress p;
    json_t *video = ts_fitrun_video_json(j->run);
    ts_gs_fit_progress(ts_fitrun_fit(j->run), &p);
    pthread_mutex_lock(&fits->fits_lock);
    j->progress = p;
    json_decref(j->video);
    j->video = video;
    pthread_mutex_unlock(&fits->fits_lock);
    int64_t now = ts_now_us();
    if (now - j->told_us < TOLD_US)
        return;
    j->told_us = now;
    ts_events_emit(
        fits->app->events, "changed", "fit", j->id,
        json_pack("{s:I, s:I}", "step", (json_int_t)p.step, "max_steps", (json_int_t)p.max_steps));
}

static void publish_picture(ts_fits *fits, fit_job *j, ts_pixels *picture, const ts_gs_eval *eval)
{
    pthread_mutex_lock(&fits->fits_lock);
    ts_pixels *old = j->picture;
    j->picture = picture;
    j->picture_version++;
    j->picture_step = eval->step;
    j->picture_eval = *eval;
    pthread_mutex_unlock(&fits->fits_lock);
    ts_pixels_unref(old);
    fits_touch(fits, j->id);
}

static ts_status show(ts_fits *fits, fit_job *j, ts_error *err)
{
    ts_gs_eval eval;
    ts_pixels *picture = NULL;
    ts_status st = ts_fitrun_picture(j->run, &j->look, &eval, &picture, err);
    if (st != TS_OK)
        return st;
    j->shown_us = ts_now_us();
    j->step_at_picture = eval.step;
    publish_picture(fits, j, picture, &eval);
    return TS_OK;
}

/* A live picture where somebody looks and the cadence allows it. */
static bool picture_due(ts_fits *fits, fit_job *j)
{
    int64_t now = ts_now_us();
    ts_gs_progress p;
    pthread_mutex_lock(&fits->fits_lock);
    bool watched = j->watched_us && now - j->watched_us < WATCHED_US, first = !j->picture;
    pthread_mutex_unlock(&fits->fits_lock);
    ts_gs_fit_progress(ts_fitrun_fit(j->run), &p);
    if (!watched || (!first && p.step == j->step_at_picture && !ts_fitrun_refining(j->run)))
        return false;
    if (first)
        return true;
    return now - j->shown_us >= j->live_us &&
           (!j->live_every || p.step - j->step_at_picture >= j->live_every);
}

/* ---- ending ---- */

static void record_error(ts_fits *fits, fit_job *j, const ts_error *err)
{
    bool loss = strncmp(err->text, "non_finite_loss", 15) == 0;
    pthread_mutex_lock(&fits->fits_lock);
    snprintf(j->error_code, sizeof j->error_code, "%s",
             loss ? "non_finite_loss" : ts_status_code(err->status));
    snprintf(j->error_text, sizeof j->error_text, "%s", err->text);
    pthread_mutex_unlock(&fits->fits_lock);
    ts_log_error(TS_LOG_WARN, "fit", j->id, err);
}

static void end(ts_fits *fits, fit_job *j, fit_state state)
{
    ts_error err = {0};
    if (j->run)
        publish_progress(fits, j);
    ts_fitrun_destroy(j->run);
    j->run = NULL;
    pthread_mutex_lock(&fits->fits_lock);
    j->ending = true; /* who sees the state finds the files */
    j->ended_as = state;
    j->ended = ts_wall_seconds();
    ts_trainimage_finish(&j->request.image);
    ts_trainimage_finish(&j->request.saliency);
    ts_gs_model_finish(&j->request.init);
    pthread_mutex_unlock(&fits->fits_lock);
    if (fits_store_job(fits, j, &err) != TS_OK || fits_store_batch(fits, j->batch, &err) != TS_OK)
        ts_log_error(TS_LOG_WARN, "fit", j->id, &err);
    ts_error_clear(&err);
    pthread_mutex_lock(&fits->fits_lock);
    j->state = state;
    pthread_cond_broadcast(&fits->ended);
    pthread_mutex_unlock(&fits->fits_lock);
    ts_events_emit(fits->app->events, "finished", "fit", j->id,
                   json_pack("{s:s}", "state", fit_state_words[state]));
    fits_touch(fits, j->id);
}

/* A failed fit keeps its last parameters as a model, where the disk takes it. */
static void keep_model(fit_job *j)
{
    ts_gs_model model;
    ts_buf file = {0};
    ts_error err = {0};
    char path[3200];
    if (!j->run || ts_gs_fit_model(ts_fitrun_fit(j->run), false, &model, &err) != TS_OK) {
        ts_error_clear(&err);
        return;
    }
    snprintf(path, sizeof path, "%s/model.safetensors", j->folder);
    if (ts_gs_model_write(&model, &file, &err) != TS_OK ||
        ts_fs_write_atomic(path, file.data, file.len, &err) != TS_OK)
        ts_log_error(TS_LOG_WARN, "fit", j->id, &err);
    ts_error_clear(&err);
    ts_buf_finish(&file);
    ts_gs_model_finish(&model);
}

static void fail(ts_fits *fits, fit_job *j, ts_error *err)
{
    record_error(fits, j, err);
    keep_model(j);
    ts_error_clear(err);
    end(fits, j, FIT_FAILED);
}

static void write_last_picture(fit_job *j)
{
    ts_encoder *encoder = NULL;
    ts_buf file = {0};
    ts_error err = {0};
    char path[3200];
    ts_encode_options o = {.codec = TS_CODEC_PNG};
    snprintf(path, sizeof path, "%s/other/final_frame.png", j->folder);
    if (ts_encoder_create(&encoder, &err) != TS_OK ||
        ts_frame_encode(j->picture, &o, encoder, &file, &err) != TS_OK ||
        ts_fs_write_atomic(path, file.data, file.len, &err) != TS_OK)
        ts_log_error(TS_LOG_WARN, "fit", j->id, &err);
    ts_error_clear(&err);
    ts_buf_finish(&file);
    ts_encoder_destroy(encoder);
}

static void complete(ts_fits *fits, fit_job *j)
{
    ts_error err = {0};
    set_state(fits, j, FIT_FINISHING);
    ts_status st = ts_fitrun_complete(j->run, &err);
    if (st == TS_OK)
        st = show(fits, j, &err);
    if (st != TS_OK) {
        fail(fits, j, &err);
        return;
    }
    write_last_picture(j);
    pthread_mutex_lock(&fits->fits_lock);
    json_decref(j->final);
    j->final = ts_gs_metrics_json(ts_fitrun_metrics(j->run));
    json_t *enhanced = ts_fitrun_enhanced(j->run);
    if (enhanced)
        json_object_set_new(j->final, "enhanced", enhanced);
    json_t *upsampled = ts_fitrun_upsampled(j->run);
    if (upsampled)
        json_object_set_new(j->final, "upsampled", upsampled);
    pthread_mutex_unlock(&fits->fits_lock);
    end(fits, j, FIT_DONE);
}

/* ---- one turn ---- */

static void start(ts_fits *fits, fit_job *j, ts_queue *queue, hook_arg *hook)
{
    ts_error err = {0};
    set_state(fits, j, FIT_INITIALISING);
    *hook = (hook_arg){fits, j};
    ts_fitrun_options o = {
        .config = &j->request.config,
        .target = ts_trainimage_target(&j->request.image),
        .folder = j->folder,
        .name = j->request.name,
        .source_bytes = j->request.image.bytes,
        .hooks = {.arg = hook, .evaluated = on_evaluated, .event = on_event},
    };
    o.target.saliency = j->request.saliency.chw;
    o.target.saliency_w = j->request.saliency.width;
    o.target.saliency_h = j->request.saliency.height;
    o.target.init = j->request.init.par ? &j->request.init : NULL;
    ts_status st = ts_fitrun_create(queue, &o, &j->run, &err);
    if (st != TS_OK) {
        fail(fits, j, &err);
        return;
    }
    pthread_mutex_lock(&fits->fits_lock);
    ts_trainimage_finish(&j->request.image);
    ts_trainimage_finish(&j->request.saliency);
    ts_gs_model_finish(&j->request.init);
    pthread_mutex_unlock(&fits->fits_lock);
    set_state(fits, j, FIT_RUNNING);
    publish_progress(fits, j);
    if (fits_store_job(fits, j, &err) != TS_OK)
        fail(fits, j, &err);
}

/* What was asked for since the last turn. */
static ts_status apply_changes(ts_fits *fits, fit_job *j, ts_error *err)
{
    json_t *problems = NULL;
    int rect[4];
    int64_t every;
    double fps;
    pthread_mutex_lock(&fits->fits_lock);
    json_t *patch = j->patch;
    int64_t add = j->add_count;
    bool random = j->add_random, has_rect = j->add_has_rect;
    memcpy(rect, j->add_rect, sizeof rect);
    j->patch = NULL;
    j->add_count = 0;
    ts_status st = TS_OK;
    if (patch)
        st = ts_gs_config_read(&j->request.config, patch, &problems, err);
    if (patch && st == TS_OK)
        st = fits_live_look(&j->request.config, &j->look, &every, &fps, err);
    if (patch && st == TS_OK) {
        j->live_every = every;
        j->live_us = (int64_t)(1e6 / fps);
    }
    pthread_mutex_unlock(&fits->fits_lock);
    if (patch && st == TS_OK) {
        char line[512];
        ts_buf text = {0};
        ts_json_write(patch, &text);
        snprintf(line, sizeof line, "Changed: %.480s", ts_buf_cstr(&text));
        ts_fitrun_log(j->run, line);
        ts_buf_finish(&text);
        ts_gs_fit_reconfigure(ts_fitrun_fit(j->run), &j->request.config);
    }
    json_decref(patch);
    json_decref(problems);
    if (st == TS_OK && add > 0)
        st = ts_gs_fit_add(ts_fitrun_fit(j->run), add, has_rect ? rect : NULL, random, err);
    return st;
}

static void slice(ts_fits *fits, fit_job *j)
{
    ts_error err = {0};
    ts_gs_progress p;
    ts_status st = apply_changes(fits, j, &err);
    ts_gs_fit_progress(ts_fitrun_fit(j->run), &p);
    int64_t n = p.step_ms > 0 ? (int64_t)(SLICE_US / (p.step_ms * 1000)) : 1;
    if (st == TS_OK)
        st = ts_fitrun_slice(j->run, n < 1 ? 1 : n > SLICE_STEPS ? SLICE_STEPS : n, &err);
    if (st == TS_OK && picture_due(fits, j))
        st = show(fits, j, &err);
    if (st != TS_OK)
        fail(fits, j, &err);
    else if (!ts_fitrun_running(j->run))
        complete(fits, j);
    else
        publish_progress(fits, j);
    if (j->run && j->state == FIT_RUNNING && ts_fitrun_refining(j->run))
        set_state(fits, j, FIT_REFINING);
}

typedef enum turn {
    TURN_NONE,
    TURN_START,
    TURN_SLICE,
    TURN_PAUSE,
    TURN_RESUME,
    TURN_FINISH,
    TURN_CANCEL,
    TURN_SHOW
} turn;

static bool may_start_locked(const ts_fits *fits, const fit_job *job)
{
    size_t active = 0, of_batch = 0;
    uint64_t taken = 0;
    ts_device_stats stats;
    for (const fit_job *j = fits->jobs; j; j = j->next) {
        if (!j->run)
            continue;
        ++active;
        of_batch += j->batch == job->batch;
        taken += j->estimate;
    }
    if (job->parallel && of_batch >= (size_t)job->parallel)
        return false;
    ts_device_get_stats(fits->app->device, &stats);
    uint64_t used = stats.used_bytes > taken ? stats.used_bytes : taken;
    return active == 0 || (active < MOST_ACTIVE && used + job->estimate <= stats.budget_bytes);
}

static turn turn_of_locked(const ts_fits *fits, const fit_job *j)
{
    if (fit_ended(j->state))
        return TURN_NONE;
    if (j->want_cancel)
        return TURN_CANCEL;
    if (j->state == FIT_QUEUED)
        return j->want_pause || !may_start_locked(fits, j) ? TURN_NONE : TURN_START;
    if (j->want_finish)
        return TURN_FINISH;
    if (j->state == FIT_PAUSED && !j->want_pause)
        return TURN_RESUME;
    if (j->state == FIT_PAUSED)
        return j->watched_us && !j->picture ? TURN_SHOW : TURN_NONE;
    return j->want_pause ? TURN_PAUSE : TURN_SLICE;
}

/* The next job after `last` with something to do; it gets a reference. */
static fit_job *next_locked(ts_fits *fits, const char *last, turn *what)
{
    fit_job *first = fits->jobs, *j;
    for (j = fits->jobs; j; j = j->next)
        if (strcmp(j->id, last) == 0)
            first = j->next ? j->next : fits->jobs;
    j = first;
    for (bool wrapped = false; j;) {
        *what = turn_of_locked(fits, j);
        if (*what != TURN_NONE) {
            j->refs++;
            return j;
        }
        j = j->next;
        if (!j && !wrapped) {
            wrapped = true;
            j = fits->jobs;
        }
        if (wrapped && j == first)
            return NULL;
    }
    return NULL;
}

static void take_turn(ts_fits *fits, fit_job *j, turn what, ts_queue *queue)
{
    ts_error err = {0};
    switch (what) {
    case TURN_START: {
        hook_arg *hook = calloc(1, sizeof *hook);
        j->hook = hook;
        if (!hook)
            return;
        start(fits, j, queue, hook);
        break;
    }
    case TURN_SLICE:
        slice(fits, j);
        break;
    case TURN_PAUSE:
        set_state(fits, j, FIT_PAUSED);
        if (show(fits, j, &err) != TS_OK)
            fail(fits, j, &err);
        break;
    case TURN_RESUME:
        set_state(fits, j, ts_fitrun_refining(j->run) ? FIT_REFINING : FIT_RUNNING);
        break;
    case TURN_SHOW:
        if (show(fits, j, &err) != TS_OK)
            fail(fits, j, &err);
        break;
    case TURN_FINISH:
        ts_fitrun_finish(j->run);
        complete(fits, j);
        break;
    case TURN_CANCEL:
        end(fits, j, FIT_CANCELLED);
        break;
    case TURN_NONE:
        break;
    }
}

static void wait_locked(ts_fits *fits)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += 1; /* memory that others gave back may let a queued fit start */
    pthread_cond_timedwait(&fits->work, &fits->fits_lock, &until);
}

static void interrupt_all(ts_fits *fits)
{
    for (fit_job *j = fits->jobs; j; j = j->next) {
        if (fit_ended(j->state))
            continue;
        ts_error err = {0};
        if (ts_fail(&err, TS_E_NOT_READY, "the server stopped") != TS_OK)
            record_error(fits, j, &err);
        end(fits, j, FIT_FAILED);
    }
}

void fits_thread_main(void *arg)
{
    ts_fits *fits = arg;
    ts_queue *queue = NULL;
    ts_error err = {0};
    char last[32] = "";
    if (ts_queue_create(fits->app->device, "fit", &queue, &err) != TS_OK) {
        ts_log_error(TS_LOG_ERROR, "fit", "the training thread has no queue", &err);
        ts_error_clear(&err);
    }
    pthread_mutex_lock(&fits->fits_lock);
    while (!fits->stopping) {
        turn what = TURN_NONE;
        fit_job *j = queue ? next_locked(fits, last, &what) : NULL;
        if (!j) {
            wait_locked(fits);
            continue;
        }
        pthread_mutex_unlock(&fits->fits_lock);
        snprintf(last, sizeof last, "%s", j->id);
        take_turn(fits, j, what, queue);
        pthread_mutex_lock(&fits->fits_lock);
        fits_job_unref_locked(j);
    }
    pthread_mutex_unlock(&fits->fits_lock);
    interrupt_all(fits);
    ts_queue_destroy(queue);
}
