/*
 * A model: loaded from a directory, it says its named inputs, outputs and taps, and runs.
 *
 * Kinds are listed in models.def; ts_model_load() asks each whether the directory is its own. A model
 * owns its weights on the device of the queue it was loaded with and its activation memory; it keeps
 * that queue. A tap is a named intermediate: asked for like an output, else it costs nothing.
 *
 * Thread: load, run and destroy one at a time (the queue's thread rule); info is fixed after load.
 */
#ifndef TS_CL_MODELS_MODEL_H
#define TS_CL_MODELS_MODEL_H

#include "cl/base/json.h"
#include "cl/base/name.h"
#include "cl/tensor/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_model ts_model;

/** A named input, output or tap; -1 is a free dim (the first one is the batch). */
typedef struct ts_port {
    char name[TS_NAME_MAX + 1];
    ts_dtype dtype;
    ts_shape shape;
} ts_port;

typedef struct ts_model_info {
    const char *kind;     /* "vae", "autogaze", …: the line in models.def */
    const char *platform; /* "tensorscope_safetensors", "tensorscope_onnx" */
    ts_port *inputs, *outputs, *taps;
    size_t n_inputs, n_outputs, n_taps;
    uint64_t parameters, device_bytes;
    json_t *config; /* the model's own description, for GET /v1/models/{m}; or NULL */
} ts_model_info;

typedef struct ts_model_ops {
    const char *kind;
    /** Whether the directory (its config.json parsed, or NULL without one) is of this kind. */
    bool (*accepts)(const char *directory, const json_t *config);
    ts_status (*load)(ts_queue *queue, const char *directory, const json_t *config, ts_model **out,
                      ts_error *err);
    /** As ts_model_run(). */
    ts_status (*run)(ts_model *model, const ts_tensor *const *inputs, const char *const *wanted,
                     size_t n_wanted, ts_tensor **outputs, ts_error *err);
    void (*destroy)(ts_model *model);
} ts_model_ops;

/** First member of every kind's own struct. */
struct ts_model {
    const ts_model_ops *ops;
    ts_queue *queue; /* borrowed: outlives the model */
    ts_model_info info;
};

/**
 * Load the model of a directory.
 *
 * Owner:  caller, ts_model_destroy(); the queue stays the caller's and must outlive the model.
 * Errors: TS_E_FILE (no kind takes it, or it is damaged: the text names file, key or tensor),
 *         TS_E_DEVICE_MEMORY.
 */
TS_CHECKED ts_status ts_model_load(ts_queue *queue, const char *directory, ts_model **out,
                                   ts_error *err);
void ts_model_destroy(ts_model *model); /* NULL is fine */

/**
 * Run once and wait.
 *
 * Shapes: inputs in the order of info.inputs (NULL where an optional one is absent); wanted: names of
 *         outputs or taps; outputs[i] becomes wanted[i].
 * Owner:  caller has one reference to each output; none on error.
 * Errors: TS_E_NOT_FOUND (no such output), TS_E_SHAPE, TS_E_DTYPE, TS_E_DEVICE….
 */
TS_CHECKED ts_status ts_model_run(ts_model *model, const ts_tensor *const *inputs,
                                  const char *const *wanted, size_t n_wanted, ts_tensor **outputs,
                                  ts_error *err);

/** Check that inputs fit the ports: dtype, rank, fixed dims. Errors name the input. */
TS_CHECKED ts_status ts_model_check_inputs(const ts_model_info *info,
                                           const ts_tensor *const *inputs, ts_error *err);
/** Index of a port by name, or -1. */
int ts_port_find(const ts_port *ports, size_t n, const char *name);

#ifdef __cplusplus
}
#endif
#endif
