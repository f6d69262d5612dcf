/*
 * The models of a server: built in, given by --model, and the repository <data-dir>/models, where
 * a directory that appears is loaded by itself. Loading happens beside what serves: a failed load
 * keeps the version before, a good one is swapped in, and running calls finish on what they hold.
 *
 *   ts_loaded *m;
 *   ts_models_get(app->models, "mnist", &m, err);
 *   ts_loaded_begin(m);                         the model is this thread's until the end
 *   … ts_vae_decode_u8(ts_vae_of(ts_loaded_model(m)), …)
 *   ts_loaded_end(m);
 *   ts_loaded_unref(m);
 *
 * Thread: any. A loaded model runs one call at a time; calls wait their turn in order of arrival.
 */
#ifndef TS_SERVER_MODELS_H
#define TS_SERVER_MODELS_H

#include "cl/models/model.h"
#include "server/app.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_loaded ts_loaded;

typedef enum ts_model_state {
    TS_MODEL_UNAVAILABLE,
    TS_MODEL_LOADING,
    TS_MODEL_READY
} ts_model_state;

/** Find what there is and start loading it in the background. */
TS_CHECKED ts_status ts_models_create(ts_app *app, ts_models **out, ts_error *err);
/** Stop loading and forget everything; waits for running calls. NULL is fine. */
void ts_models_destroy(ts_models *models);
/** True once everything that was there at the start is loaded or has failed. */
bool ts_models_ready(ts_models *models);

/** A ready model. Errors: TS_E_NOT_FOUND; TS_E_NOT_READY (known, not loaded; the text says why). */
TS_CHECKED ts_status ts_models_get(ts_models *models, const char *name, ts_loaded **out,
                                   ts_error *err);
void ts_loaded_unref(ts_loaded *loaded); /* NULL is fine */
ts_loaded *ts_loaded_ref(ts_loaded *loaded);
/** Wait for the model and take it. Errors: TS_E_QUEUE_FULL (more than --max-queue wait). */
TS_CHECKED ts_status ts_loaded_begin(ts_loaded *loaded, ts_error *err);
/** Give it back; the time since begin is counted. */
void ts_loaded_end(ts_loaded *loaded);
ts_model *ts_loaded_model(ts_loaded *loaded);
const char *ts_loaded_name(const ts_loaded *loaded);
/** "1", "2", …: the number of the version's folder, or "1". */
const char *ts_loaded_version(const ts_loaded *loaded);

/**
 * Run as ts_model_run(), between begin and end. Taps that are watched come out of the same run and
 * are told; unwatched ones cost nothing.
 */
TS_CHECKED ts_status ts_loaded_run(ts_loaded *loaded, const ts_tensor *const *inputs,
                                   const char *const *wanted, size_t n_wanted, ts_tensor **outputs,
                                   ts_error *err);
/**
 * For callers that ran the model by other means (a decoder's pictures): if taps are watched, run it
 * again for them with this f32 input. Between begin and end; what goes wrong is logged.
 */
void ts_loaded_tell_taps(ts_loaded *loaded, ts_queue *queue, const ts_shape *shape,
                         const float *input);

typedef struct ts_tap_watch ts_tap_watch;
/**
 * Hear of a tap whenever the model runs: `hear` is called on the running thread with a finished
 * tensor (borrowed); it must not block. The model need not exist yet.
 * Owner: ts_models_unwatch(), after which `hear` is not called any more.
 */
TS_CHECKED ts_status ts_models_watch(ts_models *models, const char *model, const char *tap,
                                     void (*hear)(void *arg, ts_tensor *tensor), void *arg,
                                     ts_tap_watch **out, ts_error *err);
void ts_models_unwatch(ts_tap_watch *watch); /* NULL is fine */

/** The models as JSON objects (name, version, state, reason, kind, …), sorted by name. */
json_t *ts_models_list(ts_models *models, const char *prefix);
/** One of them with inputs, outputs and configuration. Errors: TS_E_NOT_FOUND. */
TS_CHECKED ts_status ts_models_describe(ts_models *models, const char *name, json_t **out,
                                        ts_error *err);

/** Load (or load again) and wait. `serving` overrides serving.json's keys; may be NULL. */
TS_CHECKED ts_status ts_models_load(ts_models *models, const char *name, const json_t *serving,
                                    ts_error *err);
/** Refuse new calls; memory is freed after the last running one. Unloaded already: TS_OK. */
TS_CHECKED ts_status ts_models_unload(ts_models *models, const char *name, ts_error *err);
/**
 * Put the directory in a tar file into the repository under `name` and load it; *created says whether
 * the name is new. On failure nothing has changed.
 * Errors: TS_E_FILE (not a tar, unsafe names, or not a model), TS_E_DISK_FULL, TS_E_DEVICE_MEMORY.
 */
TS_CHECKED ts_status ts_models_put(ts_models *models, const char *name, const char *tar_path,
                                   bool *created, ts_error *err);
/** Unload and remove from the repository. Errors: TS_E_NOT_FOUND. */
TS_CHECKED ts_status ts_models_delete(ts_models *models, const char *name, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
