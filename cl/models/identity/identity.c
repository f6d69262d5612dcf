#include "cl/models/identity/identity.h"

#include <stdlib.h>
#include <string.h>

typedef struct identity {
    ts_model model;
    ts_port input, output;
} identity;

static bool accepts(const char *directory, const json_t *config)
{
    const char *format = json_string_value(json_object_get(config, "format"));
    (void)directory;
    return format && strcmp(format, "tensorscope-identity/1") == 0;
}

static ts_status load(ts_queue *queue, const char *directory, const json_t *config, ts_model **out,
                      ts_error *err)
{
    identity *m = calloc(1, sizeof *m);
    (void)directory, (void)config;
    if (!m)
        return ts_fail(err, TS_E_NO_MEMORY, "identity model");
    m->input = (ts_port){.name = "INPUT0", .dtype = TS_F32, .shape = TS_SHAPE(-1)};
    m->output = (ts_port){.name = "OUTPUT0", .dtype = TS_F32, .shape = TS_SHAPE(-1)};
    m->model.ops = &ts_identity_model_ops;
    m->model.queue = queue;
    m->model.info = (ts_model_info){.kind = "identity",
                                    .platform = "tensorscope_builtin",
                                    .inputs = &m->input,
                                    .outputs = &m->output,
                                    .n_inputs = 1,
                                    .n_outputs = 1};
    *out = &m->model;
    return TS_OK;
}

static ts_status run(ts_model *model, const ts_tensor *const *inputs, const char *const *wanted,
                     size_t n_wanted, ts_tensor **outputs, ts_error *err)
{
    const ts_tensor *x = inputs[0];
    if (n_wanted != 1 || strcmp(wanted[0], "OUTPUT0") != 0)
        return ts_fail(err, TS_E_NOT_FOUND, "identity has one output, OUTPUT0");
    ts_tensor *y = NULL;
    ts_status st =
        ts_tensor_create(ts_tensor_device(x), ts_tensor_dtype(x), ts_tensor_shape(x), &y, err);
    if (st == TS_OK && ts_tensor_nbytes(x) > 0)
        st = ts_buffer_copy(model->queue, ts_tensor_buffer(x), ts_tensor_offset(x),
                            ts_tensor_buffer(y), ts_tensor_offset(y), ts_tensor_nbytes(x), err);
    if (st == TS_OK)
        st = ts_queue_finish(model->queue, err);
    if (st != TS_OK) {
        ts_tensor_unref(y);
        return st;
    }
    outputs[0] = y;
    return TS_OK;
}

static void destroy(ts_model *model)
{
    free(model);
}

const ts_model_ops ts_identity_model_ops = {
    .kind = "identity",
    .accepts = accepts,
    .load = load,
    .run = run,
    .destroy = destroy,
};
