/*
 * Runs of trainings: a name, tags and a configuration, and scalars that grow with every step.
 *
 * The values of scalar `loss` of run `r` are the 1-D f64 tensor `r.loss`, which any view can show. Its
 * buffer grows by doubling, and a new value is written behind what earlier versions cover, so a step
 * sends 8 bytes. Runs live as long as tensors do: until the server ends. Thread: any.
 */
#ifndef TS_SERVER_RUNS_H
#define TS_SERVER_RUNS_H

#include "cl/base/json.h"
#include "cl/tensor/store.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    TS_RUNS_MAX = 1024,
    TS_RUN_MAX_SCALARS = 256,
    TS_RUN_MAX_POINTS = 1 << 20
};

typedef struct ts_runs ts_runs;

TS_CHECKED ts_status ts_runs_create(ts_store *store, ts_runs **out, ts_error *err);
void ts_runs_destroy(ts_runs *runs); /* NULL is fine */

/** tags and config are objects or NULL (they are copied). Errors: TS_E_NAME, TS_E_EXISTS, TS_E_LIMIT. */
TS_CHECKED ts_status ts_runs_add(ts_runs *runs, const char *name, const json_t *tags,
                                 const json_t *config, ts_error *err);
/** Forget a run and the tensors of its scalars. Errors: TS_E_NOT_FOUND. */
TS_CHECKED ts_status ts_runs_remove(ts_runs *runs, const char *name, ts_error *err);
/**
 * Append a value to each scalar of `values` (an object of numbers, or the strings of JSON data).
 * `step` NULL: the run's last plus one. *tensors gets the tensors' names. A run that so far exists only
 * as `run` of a tensor is added. Errors: TS_E_NOT_FOUND, TS_E_OPTION, TS_E_NAME, TS_E_LIMIT, device
 * ones; then no value was appended.
 */
TS_CHECKED ts_status ts_runs_append(ts_runs *runs, ts_queue *queue, const char *name,
                                    const int64_t *step, const json_t *values, json_t **tensors,
                                    ts_error *err);

/**
 * {name, created, tags, config, step, tensors, scalars: names}; runs that only tensors name have no
 * created. Owner: caller. Errors: TS_E_NOT_FOUND.
 */
TS_CHECKED ts_status ts_runs_get(ts_runs *runs, const char *name, json_t **out, ts_error *err);
/** All of them by name, those whose name starts with `prefix` (NULL: all). Owner: caller. */
TS_CHECKED ts_status ts_runs_list(ts_runs *runs, const char *prefix, json_t **out, ts_error *err);
/** {key: {"steps": […], "values": […]}}, only `key` unless NULL. Owner: caller. */
TS_CHECKED ts_status ts_runs_scalars(ts_runs *runs, const char *name, const char *key, json_t **out,
                                     ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
