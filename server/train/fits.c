#include "server/train/fits.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cl/base/clock.h"
#include "cl/base/fs.h"
#include "cl/base/log.h"
#include "server/events.h"
#include "server/train/fits_internal.h"

const char *const fit_state_words[] = {"queued", "initialising", "running",
                                       "paused", "refining",     "finishing",
                                       "done",   "failed",       "cancelled"};

void ts_fit_request_finish(ts_fit_request *r)
{
    ts_gs_config_finish(&r->config);
    ts_trainimage_finish(&r->image);
    ts_trainimage_finish(&r->saliency);
    ts_gs_model_finish(&r->init);
}

/* ---- jobs ---- */

static void job_free(fit_job *j)
{
    ts_fit_request_finish(&j->request);
    json_decref(j->patch);
    json_decref(j->video);
    json_decref(j->final);
    json_decref(j->stored);
    ts_pixels_unref(j->picture);
    free(j->evals);
    free(j->hook);
    free(j);
}

void fits_job_unref_locked(fit_job *j)
{
    if (--j->refs == 0)
        job_free(j);
}

fit_job *fits_find_locked(ts_fits *fits, const char *id)
{
    for (fit_job *j = fits->jobs; j; j = j->next)
        if (strcmp(j->id, id) == 0)
            return j;
    return NULL;
}

static void append_locked(ts_fits *fits, fit_job *job)
{
    fit_job **at = &fits->jobs;
    while (*at)
        at = &(*at)->next;
    *at = job;
    job->refs++;
}

static void detach_locked(ts_fits *fits, fit_job *job)
{
    for (fit_job **at = &fits->jobs; *at; at = &(*at)->next)
        if (*at == job) {
            *at = job->next;
            fits_job_unref_locked(job);
            return;
        }
}

static ts_status missing(const char *id, ts_error *err)
{
    return ts_fail(err, TS_E_NOT_FOUND, "no fit \"%.64s\"", id);
}

/* ---- as JSON ---- */

static void set(json_t *o, const char *key, json_t *v)
{
    json_object_set_new(o, key, v);
}

static void set_times(json_t *o, const fit_job *j)
{
    bool running = j->state == FIT_RUNNING || j->state == FIT_REFINING;
    double ms = j->progress.step_ms;
    set(o, "steps_per_second", running && ms > 0 ? json_real(1000 / ms) : json_null());
    set(o, "eta",
        running && ms > 0
            ? json_real((double)(j->progress.max_steps - j->progress.step) * ms / 1000)
            : json_null());
}

json_t *fits_job_json_locked(const fit_job *j)
{
    if (j->stored)
        return json_deep_copy(j->stored);
    const ts_gs_config *c = &j->request.config;
    json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I}", "id", j->id, "stream", j->id, "name",
                          j->request.name, "folder", j->folder, "state", fit_state_words[j->state],
                          "batch", (json_int_t)j->batch);
    set(o, "step", json_integer(j->progress.step));
    set(o, "max_steps",
        json_integer(j->progress.max_steps ? j->progress.max_steps : ts_gs_config_steps(c)));
    set(o, "count", json_integer(j->progress.count));
    set(o, "num_gaussians", json_integer(c->num_gaussians));
    set(o, "width", json_integer(j->width));
    set(o, "height", json_integer(j->height));
    set(o, "channels", json_integer(j->channels));
    json_t *e = ts_fitrun_eval_json(&j->last);
    static const char *const figures[] = {"total_loss", "l1_loss", "l2_loss",
                                          "ssim_loss",  "psnr",    "ssim"};
    for (size_t i = 0; i < sizeof figures / sizeof figures[0]; ++i)
        json_object_set(o, figures[i], json_object_get(e, figures[i]));
    set(o, "evaluated_step", j->n_evals ? json_integer(j->last.step) : json_null());
    json_decref(e);
    set(o, "best",
        json_pack("{s:f, s:f}", "psnr", j->progress.best_psnr, "ssim", j->progress.best_ssim));
    set(o, "lr_scale", json_real(j->progress.lr_scale));
    set_times(o, j);
    set(o, "memory",
        json_integer((json_int_t)(j->progress.bytes ? j->progress.bytes : j->estimate)));
    set(o, "invalid_gaussians", json_integer(j->progress.invalid));
    set(o, "stopped_early", json_boolean(j->progress.stopped_early));
    set(o, "video", j->video ? json_deep_copy(j->video) : json_null());
    set(o, "metrics", j->final ? json_deep_copy(j->final) : json_null());
    set(o, "ignored", c->ignored ? json_deep_copy(c->ignored) : json_array());
    set(o, "created", json_real(j->created));
    set(o, "ended", j->ended > 0 ? json_real(j->ended) : json_null());
    set(o, "error",
        j->error_code[0] ? json_pack("{s:s, s:s}", "code", j->error_code, "detail", j->error_text)
                         : json_null());
    set(o, "config", ts_gs_config_json(c));
    return o;
}

/* ---- creation ---- */

ts_status ts_fits_create(ts_app *app, ts_fits **out, ts_error *err)
{
    ts_fits *fits = calloc(1, sizeof *fits);
    if (!fits)
        return ts_fail(err, TS_E_NO_MEMORY, "fits");
    fits->app = app;
    fits->next_id = fits->next_batch = 1;
    pthread_mutex_init(&fits->fits_lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&fits->work, &monotonic);
    pthread_cond_init(&fits->ended, &monotonic);
    pthread_condattr_destroy(&monotonic);
    ts_status st = snprintf(fits->folder, sizeof fits->folder, "%s/fits", app->options.data_dir) <
                           (int)sizeof fits->folder
                       ? ts_fs_mkdirs(fits->folder, err)
                       : ts_fail(err, TS_E_OPTION, "--data-dir is too long");
    if (st == TS_OK)
        st = fits_load(fits, err);
    if (st == TS_OK)
        st = ts_thread_start("ts-fit", fits_thread_main, fits, &fits->thread, err);
    if (st != TS_OK) {
        ts_fits_destroy(fits);
        return st;
    }
    *out = fits;
    return TS_OK;
}

void ts_fits_stop(ts_fits *fits)
{
    if (!fits)
        return;
    pthread_mutex_lock(&fits->fits_lock);
    fits->stopping = true;
    pthread_cond_broadcast(&fits->work);
    pthread_cond_broadcast(&fits->ended);
    pthread_mutex_unlock(&fits->fits_lock);
    ts_thread_join(fits->thread);
    fits->thread = NULL;
}

void ts_fits_destroy(ts_fits *fits)
{
    if (!fits)
        return;
    ts_fits_stop(fits);
    while (fits->jobs)
        detach_locked(fits, fits->jobs);
    while (fits->followers) {
        follower *next = fits->followers->next;
        free(fits->followers);
        fits->followers = next;
    }
    pthread_cond_destroy(&fits->work);
    pthread_cond_destroy(&fits->ended);
    pthread_mutex_destroy(&fits->fits_lock);
    free(fits);
}

/* ---- adding ---- */

ts_status ts_fits_new_batch(ts_fits *fits, int64_t *out, ts_error *err)
{
    char path[3000];
    pthread_mutex_lock(&fits->fits_lock);
    int64_t n = fits->next_batch;
    do
        snprintf(path, sizeof path, "%s/batch_%lld", fits->folder, (long long)n);
    while (access(path, F_OK) == 0 && ++n);
    fits->next_batch = n + 1;
    pthread_mutex_unlock(&fits->fits_lock);
    *out = n;
    return ts_fs_mkdirs(path, err);
}

static ts_status make_folder(ts_fits *fits, fit_job *j, ts_error *err)
{
    const ts_gs_config *c = &j->request.config;
    for (int i = 1; i < 10000; ++i) {
        char again[16] = "";
        if (i > 1)
            snprintf(again, sizeof again, "~%d", i);
        char kind[64];
        if (c->adaptive_refinement)
            snprintf(kind, sizeof kind, "adaptive-%lld", (long long)c->adaptive_base_gaussians);
        else
            snprintf(kind, sizeof kind, "%lld-%lld", (long long)c->num_gaussians,
                     (long long)c->max_steps);
        if (snprintf(j->folder, sizeof j->folder, "%s/batch_%lld/%s-%s%s", fits->folder,
                     (long long)j->batch, j->request.image.stem, kind,
                     again) >= (int)sizeof j->folder)
            return ts_fail(err, TS_E_OPTION, "the folder's path is too long");
        if (access(j->folder, F_OK) != 0)
            return ts_fs_mkdirs(j->folder, err);
    }
    return ts_fail(err, TS_E_EXISTS, "the batch has 9999 fits of that name");
}

ts_status fits_live_look(const ts_gs_config *c, ts_trainpic_options *look, int64_t *every,
                         double *max_fps, ts_error *err)
{
    static const char *const keys[] = {"every",  "max_fps", "max_width",  "quality", "lossless",
                                       "method", "panels",  "overlay",    "mode",    "grid",
                                       "gap",    "scale",   "background", NULL};
    static const char *const modes[] = {"composed", "render_only", NULL};
    int mode = 0;
    *every = 0;
    *max_fps = 10;
    ts_trainpic_defaults(look);
    const json_t *overlay = c->overlay;
    if (json_object_get(c->live, "overlay"))
        overlay = json_object_get(c->live, "overlay");
    ts_status st = c->live ? ts_json_only(c->live, "live", keys, err) : TS_OK;
    if (st == TS_OK)
        st = ts_json_get_int(c->live, "live", "every", 1, 1000000, every, err);
    if (st == TS_OK)
        st = ts_json_get_double(c->live, "live", "max_fps", 0.01, 120, max_fps, err);
    int64_t quality, width;
    bool lossless;
    if (st == TS_OK)
        st = ts_json_get_int(c->live, "live", "quality", 1, 100, &quality, err);
    if (st == TS_OK)
        st = ts_json_get_int(c->live, "live", "max_width", 16, 65536, &width, err);
    if (st == TS_OK)
        st = ts_json_get_bool(c->live, "live", "lossless", &lossless, err);
    if (st == TS_OK)
        st = ts_json_get_enum(c->live, "live", "mode", modes, &mode, err);
    if (st == TS_OK)
        st = ts_trainpic_options_read(c->live, overlay, look, err);
    if (st == TS_OK && mode == 1) {
        look->n_panels = 1;
        look->panel[0] = TS_PANEL_RENDER;
    }
    return st;
}

static ts_status check_memory(ts_fits *fits, fit_job *j, ts_error *err)
{
    ts_device_stats stats;
    ts_device_get_stats(fits->app->device, &stats);
    j->estimate = ts_gs_fit_estimate(&j->request.config, j->width, j->height, j->channels);
    if (j->estimate > stats.budget_bytes)
        return ts_fail(
            err, TS_E_DEVICE_MEMORY,
            "a fit of %d x %d with %lld Gaussians takes %.1f MiB, the device's budget is "
            "%.1f MiB",
            j->width, j->height, (long long)j->request.config.num_gaussians,
            (double)j->estimate / 1048576, (double)stats.budget_bytes / 1048576);
    return TS_OK;
}

static ts_status check_init(const fit_job *j, ts_error *err)
{
    const ts_gs_config *c = &j->request.config;
    const ts_gs_model *m = &j->request.init;
    if (c->init_mode == TS_GS_INIT_SALIENCY && !j->request.saliency.chw)
        return ts_fail(err, TS_E_SHAPE, "saliency map required");
    if (!m->par)
        return TS_OK;
    if (m->channels != j->channels)
        return ts_fail(err, TS_E_SHAPE, "init_from has %d channels, the image %d", m->channels,
                       j->channels);
    int64_t first = c->disable_prog_optim ? c->num_gaussians
                                          : ts_gs_rules_first(c->num_gaussians, c->initial_ratio);
    if ((int64_t)m->n != first && !c->init_partial)
        return ts_fail(err, TS_E_EXISTS,
                       "init_from has %zu Gaussians, the fit starts with %lld; init_partial allows "
                       "that",
                       m->n, (long long)first);
    return TS_OK;
}

/* The stream's output as `live` asks: quality, cadence, and no wider than max_width. */
static json_t *stream_output(const json_t *live, int width)
{
    int64_t quality = 80, max_width = 1280;
    double max_fps = 10;
    bool lossless = false;
    ts_error err = {0};
    if (ts_json_get_int(live, "live", "quality", 1, 100, &quality, &err) != TS_OK ||
        ts_json_get_int(live, "live", "max_width", 16, 65536, &max_width, &err) != TS_OK ||
        ts_json_get_double(live, "live", "max_fps", 0.01, 120, &max_fps, &err) != TS_OK ||
        ts_json_get_bool(live, "live", "lossless", &lossless, &err) != TS_OK)
        ts_error_clear(&err); /* fits_live_look() has refused what is wrong */
    double scale = width > max_width ? (double)max_width / width : 1;
    return json_pack("{s:I, s:b, s:f, s:f}", "quality", (json_int_t)quality, "lossless", lossless,
                     "max_fps", max_fps < 1 ? 1.0 : max_fps, "scale", scale);
}

static ts_status make_stream(ts_fits *fits, const char *id, json_t *output, ts_error *err)
{
    bool created;
    json_t *document = json_pack("{s:{s:s}, s:o}", "source", "fit", id, "output", output);
    ts_status st =
        fits->app->hub ? ts_hub_put(fits->app->hub, id, document, &created, NULL, err) : TS_OK;
    json_decref(document);
    return st;
}

/* Pieces that a caller's request gives; the rest of the job. */
static fit_job *job_of(ts_fit_request *request)
{
    fit_job *j = calloc(1, sizeof *j);
    if (!j)
        return NULL;
    j->request = *request;
    memset(request, 0, sizeof *request);
    j->refs = 1;
    j->width = j->request.image.width;
    j->height = j->request.image.height;
    j->channels = j->request.image.channels;
    j->batch = j->request.batch;
    j->parallel = j->request.parallel;
    j->created = ts_wall_seconds();
    if (j->request.config.adaptive_refinement)
        j->request.config.num_gaussians = j->request.config.adaptive_base_gaussians;
    j->progress.lr_scale = 1;
    j->last = (ts_gs_eval){
        .total = NAN, .l1 = NAN, .l2 = NAN, .ssim_loss = NAN, .psnr = NAN, .ssim = NAN};
    if (!j->request.name[0])
        snprintf(j->request.name, sizeof j->request.name, "%s", j->request.image.stem);
    return j;
}

ts_status ts_fits_add(ts_fits *fits, ts_fit_request *request, char id[32], json_t **shown,
                      ts_error *err)
{
    int64_t every;
    double fps;
    int width = 0, height;
    json_t *output = NULL;
    fit_job *j = job_of(request);
    if (!j) {
        ts_fit_request_finish(request);
        return ts_fail(err, TS_E_NO_MEMORY, "a fit");
    }
    ts_status st = fits_live_look(&j->request.config, &j->look, &every, &fps, err);
    j->live_every = every;
    j->live_us = (int64_t)(1e6 / fps);
    if (st == TS_OK)
        st = ts_fitrun_check(&j->request.config, err);
    if (st == TS_OK)
        st = check_memory(fits, j, err);
    if (st == TS_OK)
        st = check_init(j, err);
    if (st == TS_OK && !j->batch)
        st = ts_fits_new_batch(fits, &j->batch, err);
    if (st == TS_OK)
        st = make_folder(fits, j, err);
    if (st == TS_OK) {
        ts_trainpic_size(&j->look, j->width, j->height, &width, &height);
        output = stream_output(j->request.config.live, width);
    }
    pthread_mutex_lock(&fits->fits_lock);
    if (st == TS_OK) {
        snprintf(j->id, sizeof j->id, "f%lld", (long long)fits->next_id++);
        snprintf(id, 32, "%s", j->id);
        append_locked(fits, j);
        if (shown)
            *shown = fits_job_json_locked(j);
        pthread_cond_broadcast(&fits->work);
    }
    fits_job_unref_locked(j);
    pthread_mutex_unlock(&fits->fits_lock);
    if (st == TS_OK)
        st = make_stream(fits, id, output, err);
    if (st == TS_OK)
        ts_events_emit(fits->app->events, "created", "fit", id, NULL);
    return st;
}

/* ---- looking ---- */

ts_status ts_fits_get(ts_fits *fits, const char *id, json_t **out, ts_error *err)
{
    pthread_mutex_lock(&fits->fits_lock);
    const fit_job *j = fits_find_locked(fits, id);
    *out = j ? fits_job_json_locked(j) : NULL;
    pthread_mutex_unlock(&fits->fits_lock);
    if (!*out)
        return missing(id, err);
    if (fits->app->device)
        json_object_set_new(*out, "device", json_string(ts_device_caps(fits->app->device)->name));
    return TS_OK;
}

json_t *ts_fits_list(ts_fits *fits, const char *prefix)
{
    json_t *list = json_array();
    pthread_mutex_lock(&fits->fits_lock);
    for (const fit_job *j = fits->jobs; j; j = j->next)
        if (!prefix || strncmp(j->id, prefix, strlen(prefix)) == 0) {
            json_t *one = fits_job_json_locked(j);
            json_object_del(one, "config");
            json_array_append_new(list, one);
        }
    pthread_mutex_unlock(&fits->fits_lock);
    return list;
}

ts_status ts_fits_evaluations(ts_fits *fits, const char *id, int64_t since, json_t **out,
                              ts_error *err)
{
    json_t *list = json_array();
    pthread_mutex_lock(&fits->fits_lock);
    const fit_job *j = fits_find_locked(fits, id);
    for (size_t i = 0; j && i < j->n_evals; ++i)
        if (j->evals[i].step >= since)
            json_array_append_new(list, ts_fitrun_eval_json(&j->evals[i]));
    bool stored = j && j->stored;
    if (stored) {
        json_t *e;
        size_t i;
        json_array_foreach(json_object_get(j->stored, "evaluations"), i,
                           e) if (json_integer_value(json_object_get(e, "step")) >= since)
            json_array_append(list, e);
    }
    pthread_mutex_unlock(&fits->fits_lock);
    if (!j) {
        json_decref(list);
        return missing(id, err);
    }
    *out = json_pack("{s:o}", "evaluations", list);
    return TS_OK;
}

ts_status ts_fits_path(ts_fits *fits, const char *id, const char *file, char *out, size_t n,
                       ts_error *err)
{
    pthread_mutex_lock(&fits->fits_lock);
    const fit_job *j = fits_find_locked(fits, id);
    int len = j ? snprintf(out, n, "%s/%s", j->folder, file) : 0;
    pthread_mutex_unlock(&fits->fits_lock);
    if (!j)
        return missing(id, err);
    if (len >= (int)n || access(out, R_OK) != 0)
        return ts_fail(err, TS_E_NOT_FOUND, "fit %s has no file %s (yet)", id, file);
    return TS_OK;
}

/* ---- acting ---- */

static ts_status act_locked(fit_job *j, ts_fit_action action, ts_error *err)
{
    if (fit_ended(j->state) || j->state == FIT_FINISHING)
        return ts_fail(err, TS_E_BUSY, "fit %s is %s", j->id, fit_state_words[j->state]);
    switch (action) {
    case TS_FIT_PAUSE:
        j->want_pause = true;
        break;
    case TS_FIT_RESUME:
        j->want_pause = false;
        break;
    case TS_FIT_FINISH:
        j->want_finish = true;
        break;
    case TS_FIT_CANCEL:
        j->want_cancel = true;
        break;
    }
    return TS_OK;
}

ts_status ts_fits_act(ts_fits *fits, const char *id, ts_fit_action action, ts_error *err)
{
    pthread_mutex_lock(&fits->fits_lock);
    fit_job *j = fits_find_locked(fits, id);
    ts_status st = j ? act_locked(j, action, err) : missing(id, err);
    pthread_cond_broadcast(&fits->work);
    pthread_mutex_unlock(&fits->fits_lock);
    return st;
}

ts_status ts_fits_patch(ts_fits *fits, const char *id, const json_t *patch, json_t **problems,
                        ts_error *err)
{
    static const char *const keys[] = {"max_steps", "eval_steps", "video_iterations", "pos_lr",
                                       "scale_lr",  "rot_lr",     "feat_lr",          "live",
                                       "overlay",   NULL};
    ts_gs_config trial;
    ts_trainpic_options look;
    int64_t every;
    double fps;
    *problems = NULL;
    ts_status st = ts_json_only(patch, "", keys, err);
    if (st != TS_OK)
        return st;
    pthread_mutex_lock(&fits->fits_lock);
    fit_job *j = fits_find_locked(fits, id);
    if (!j)
        st = missing(id, err);
    else if (fit_ended(j->state))
        st = ts_fail(err, TS_E_BUSY, "fit %s is %s", id, fit_state_words[j->state]);
    if (st == TS_OK) {
        ts_gs_config_copy(&trial, &j->request.config);
        st = ts_gs_config_read(&trial, patch, problems, err);
        if (st == TS_OK)
            st = fits_live_look(&trial, &look, &every, &fps, err);
        if (st == TS_OK) {
            json_t *merged =
                j->patch ? ts_json_merge_patch(j->patch, patch) : json_deep_copy(patch);
            json_decref(j->patch);
            j->patch = merged;
        }
        ts_gs_config_finish(&trial);
    }
    pthread_mutex_unlock(&fits->fits_lock);
    return st;
}

ts_status ts_fits_grow(ts_fits *fits, const char *id, int64_t count, bool random, const int rect[4],
                       ts_error *err)
{
    ts_status st = TS_OK;
    pthread_mutex_lock(&fits->fits_lock);
    fit_job *j = fits_find_locked(fits, id);
    if (!j)
        st = missing(id, err);
    else if (j->state != FIT_RUNNING && j->state != FIT_PAUSED)
        st = ts_fail(err, TS_E_BUSY, "fit %s is %s", id, fit_state_words[j->state]);
    else if (j->progress.count + count > j->request.config.num_gaussians)
        st = ts_fail(err, TS_E_LIMIT, "fit %s has %lld Gaussians of at most %lld", id,
                     (long long)j->progress.count, (long long)j->request.config.num_gaussians);
    if (st == TS_OK) {
        j->add_count = count;
        j->add_random = random;
        j->add_has_rect = rect != NULL;
        if (rect)
            memcpy(j->add_rect, rect, sizeof j->add_rect);
        pthread_cond_broadcast(&fits->work);
    }
    pthread_mutex_unlock(&fits->fits_lock);
    return st;
}

ts_status ts_fits_remove(ts_fits *fits, const char *id, ts_error *err)
{
    char folder[3072];
    pthread_mutex_lock(&fits->fits_lock);
    fit_job *j = fits_find_locked(fits, id);
    if (!j) {
        pthread_mutex_unlock(&fits->fits_lock);
        return missing(id, err);
    }
    j->refs++;
    j->want_cancel = true;
    pthread_cond_broadcast(&fits->work);
    while (!fit_ended(j->state) && !fits->stopping)
        pthread_cond_wait(&fits->ended, &fits->fits_lock);
    bool mine = !j->removed;
    j->removed = true;
    snprintf(folder, sizeof folder, "%s", j->folder);
    if (mine)
        detach_locked(fits, j);
    fits_job_unref_locked(j);
    pthread_mutex_unlock(&fits->fits_lock);
    if (!mine)
        return missing(id, err);
    if (fits->app->hub) {
        ts_error ignored = {0};
        if (ts_hub_remove(fits->app->hub, id, &ignored) != TS_OK)
            ts_error_clear(&ignored); /* its owner removed the stream before */
    }
    ts_events_emit(fits->app->events, "deleted", "fit", id, NULL);
    return ts_fs_remove(folder, err);
}

/* ---- followers ---- */

ts_status ts_fits_follow(ts_fits *fits, const char *id, ts_stream *stream, void *key, ts_error *err)
{
    follower *f = calloc(1, sizeof *f);
    if (!f)
        return ts_fail(err, TS_E_NO_MEMORY, "source");
    snprintf(f->id, sizeof f->id, "%s", id);
    f->stream = stream;
    f->key = key;
    pthread_mutex_lock(&fits->fits_lock);
    f->next = fits->followers;
    fits->followers = f;
    pthread_mutex_unlock(&fits->fits_lock);
    return TS_OK;
}

void ts_fits_unfollow(ts_fits *fits, void *key)
{
    pthread_mutex_lock(&fits->fits_lock);
    for (follower **at = &fits->followers; *at; at = &(*at)->next)
        if ((*at)->key == key) {
            follower *f = *at;
            *at = f->next;
            free(f);
            break;
        }
    pthread_mutex_unlock(&fits->fits_lock);
}

void fits_touch(ts_fits *fits, const char *id)
{
    ts_stream *streams[16];
    size_t n = 0;
    pthread_mutex_lock(&fits->fits_lock);
    for (const follower *f = fits->followers; f && n < 16; f = f->next)
        if (strcmp(f->id, id) == 0)
            streams[n++] = ts_stream_ref(f->stream);
    pthread_mutex_unlock(&fits->fits_lock);
    for (size_t i = 0; i < n; ++i) {
        ts_stream_touch(streams[i]);
        ts_stream_unref(streams[i]);
    }
}

void ts_fits_picture(ts_fits *fits, const char *id, ts_pixels **picture, uint64_t *version,
                     int64_t *step, json_t **metrics)
{
    *picture = NULL;
    *metrics = NULL;
    pthread_mutex_lock(&fits->fits_lock);
    fit_job *j = fits_find_locked(fits, id);
    if (j) {
        j->watched_us = ts_now_us();
        *picture = ts_pixels_ref(j->picture);
        *version = j->picture_version;
        *step = j->picture_step;
        if (j->picture) {
            *metrics = ts_fitrun_eval_json(&j->picture_eval);
            json_object_set_new(*metrics, "count", json_integer(j->picture_eval.count));
            json_object_set_new(*metrics, "phase", json_string(fit_state_words[j->state]));
        }
        pthread_cond_broadcast(&fits->work); /* a paused fit may owe its first picture */
    }
    pthread_mutex_unlock(&fits->fits_lock);
}
