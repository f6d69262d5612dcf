#include "cl/models/onnx/onnx.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cl/graph/exec.h"
#include "cl/ops/pointwise.h"

typedef struct onnx_model {
    ts_model base;
    ts_ops *ops;
    ts_graph *graph;
    ts_graph_exec *exec;
} onnx_model;

static bool accepts(const char *directory, const json_t *config)
{
    char path[4096];
    (void)config;
    return snprintf(path, sizeof path, "%s/model.onnx", directory) < (int)sizeof path &&
           access(path, F_OK) == 0;
}

static void destroy(ts_model *model)
{
    onnx_model *m = (onnx_model *)model;
    if (!m)
        return;
    ts_graph_exec_destroy(m->exec);
    ts_graph_free(m->graph);
    ts_ops_destroy(m->ops);
    free(m->base.info.inputs);
    free(m->base.info.outputs);
    json_decref(m->base.info.config);
    free(m);
}

static ts_status make_ports(const ts_graph_port *from, size_t n, ts_port **out, ts_error *err)
{
    ts_port *ports = calloc(n + 1, sizeof *ports);
    if (!ports)
        return ts_fail(err, TS_E_NO_MEMORY, "model description");
    *out = ports;
    for (size_t i = 0; i < n; i++) {
        if (strlen(from[i].name) > TS_NAME_MAX)
            return ts_fail(err, TS_E_FILE, "the name '%.40s…' is longer than %d", from[i].name,
                           TS_NAME_MAX);
        snprintf(ports[i].name, sizeof ports[i].name, "%s", from[i].name);
        if (!ts_onnx_dtype(from[i].type, &ports[i].dtype))
            return ts_fail(err, TS_E_FILE, "'%s' is a tensor of %s, which is not supported",
                           from[i].name, ts_onnx_type_name(from[i].type));
        ports[i].shape = from[i].shape;
    }
    return TS_OK;
}

static json_t *describe(const ts_graph *graph)
{
    json_t *counts = json_object();
    for (size_t i = 0; i < graph->n_nodes; i++) {
        const char *op = graph->nodes[i].op;
        json_int_t n = json_integer_value(json_object_get(counts, op));
        json_object_set_new(counts, op, json_integer(n + 1));
    }
    return json_pack("{s:i, s:i, s:o}", "opset", graph->opset, "nodes", (int)graph->n_nodes,
                     "operators", counts);
}

static ts_status load(ts_queue *queue, const char *directory, const json_t *config, ts_model **out,
                      ts_error *err)
{
    onnx_model *m = calloc(1, sizeof *m);
    (void)config;
    if (!m)
        return ts_fail(err, TS_E_NO_MEMORY, "ONNX model");
    ts_model_info *info = &m->base.info;
    m->base.ops = &ts_onnx_model_ops;
    m->base.queue = queue;
    ts_status st = ts_ops_create(queue, &m->ops, err);
    if (st == TS_OK)
        st = ts_graph_load(directory, &m->graph, err);
    if (st == TS_OK)
        st = ts_graph_exec_create(m->ops, m->graph, &m->exec, err);
    if (st == TS_OK)
        st = make_ports(m->graph->inputs, m->graph->n_inputs, &info->inputs, err);
    if (st == TS_OK)
        st = make_ports(m->graph->outputs, m->graph->n_outputs, &info->outputs, err);
    if (st != TS_OK) {
        destroy(&m->base);
        return st;
    }
    info->kind = "onnx";
    info->platform = "tensorscope_onnx";
    info->n_inputs = m->graph->n_inputs;
    info->n_outputs = m->graph->n_outputs;
    info->parameters = m->graph->parameters;
    info->device_bytes = m->graph->parameters * sizeof(float);
    info->config = describe(m->graph);
    *out = &m->base;
    return TS_OK;
}

/* ---- running ---- */

static ts_status read_input(onnx_model *m, const ts_tensor *tensor, ts_value *out, ts_error *err)
{
    ts_dtype dtype = ts_tensor_dtype(tensor);
    ts_arr own = ts_arr_of(tensor);
    *out = (ts_value){.type = ts_onnx_of_dtype(dtype), .shape = *ts_tensor_shape(tensor)};
    if (dtype == TS_F32) {
        out->dev = own;
        ts_buffer_ref(own.buffer);
        return TS_OK;
    }
    if (dtype == TS_F16 || dtype == TS_BF16) {
        ts_status st = ts_arr_create(m->ops, TS_F32, &out->shape, &out->dev, err);
        return st == TS_OK ? ts_op_cast(m->ops, &own, &out->dev, err) : st;
    }
    size_t bytes = ts_tensor_nbytes(tensor);
    void *raw = malloc(bytes ? bytes : 1);
    if (!raw)
        return ts_fail(err, TS_E_NO_MEMORY, "input of %zu bytes", bytes);
    ts_status st = ts_tensor_read(m->base.queue, tensor, raw, err);
    int type = out->type;
    ts_shape shape = out->shape;
    if (st == TS_OK)
        st = ts_value_from_raw(type, &shape, raw, bytes, out, err);
    free(raw);
    return st;
}

static ts_status host_output(onnx_model *m, ts_value *value, ts_dtype dtype, ts_tensor **out,
                             ts_error *err)
{
    size_t bytes;
    ts_status st = ts_shape_check(&value->shape, dtype, &bytes, err);
    if (st == TS_OK)
        st = ts_value_to_host(m->ops, value, err);
    if (st != TS_OK)
        return st;
    void *raw = malloc(bytes ? bytes : 1);
    if (!raw)
        return ts_fail(err, TS_E_NO_MEMORY, "output of %zu bytes", bytes);
    ts_value_to_raw(value, raw);
    st = ts_tensor_from_host(m->base.queue, dtype, &value->shape, raw, bytes, out, err);
    free(raw);
    return st;
}

static ts_status write_output(onnx_model *m, ts_value *value, ts_tensor **out, ts_error *err)
{
    ts_dtype dtype;
    ts_arr array;
    if (!ts_onnx_dtype(value->type, &dtype))
        return ts_fail(err, TS_E_DTYPE, "an output of %s", ts_onnx_type_name(value->type));
    if (value->host || (dtype != TS_F32 && dtype != TS_F16))
        return host_output(m, value, dtype, out, err);
    ts_status st = ts_value_to_device(m->ops, value, &array, err);
    if (st == TS_OK && dtype == TS_F32)
        return ts_arr_tensor(&array, out, err);
    ts_arr half = {0};
    if (st == TS_OK)
        st = ts_arr_create(m->ops, TS_F16, &value->shape, &half, err);
    if (st == TS_OK)
        st = ts_op_cast(m->ops, &array, &half, err);
    if (st == TS_OK)
        st = ts_arr_tensor(&half, out, err);
    ts_arr_free(&half);
    return st;
}

static ts_status run_values(onnx_model *m, const ts_tensor *const *inputs, const int *numbers,
                            size_t n, ts_value *in, ts_value *values, ts_tensor **outputs,
                            ts_error *err)
{
    ts_status st = TS_OK;
    for (size_t i = 0; i < m->graph->n_inputs && st == TS_OK; i++)
        st = read_input(m, inputs[i], &in[i], err);
    if (st == TS_OK)
        st = ts_graph_exec_run(m->exec, in, numbers, n, values, err);
    for (size_t i = 0; i < n && st == TS_OK; i++)
        st = write_output(m, &values[i], &outputs[i], err);
    ts_status finished = ts_queue_finish(m->base.queue, st == TS_OK ? err : NULL);
    return st == TS_OK ? finished : st;
}

static ts_status run(ts_model *model, const ts_tensor *const *inputs, const char *const *wanted,
                     size_t n_wanted, ts_tensor **outputs, ts_error *err)
{
    onnx_model *m = (onnx_model *)model;
    for (size_t i = 0; i < m->graph->n_inputs; i++)
        if (!inputs[i])
            return ts_fail(err, TS_E_SHAPE, "input '%s' is missing", m->graph->inputs[i].name);
    int *numbers = calloc(n_wanted + 1, sizeof *numbers);
    ts_value *in = calloc(m->graph->n_inputs + 1, sizeof *in);
    ts_value *values = calloc(n_wanted + 1, sizeof *values);
    ts_status st = numbers && in && values ? TS_OK : ts_fail(err, TS_E_NO_MEMORY, "ONNX model");
    memset(outputs, 0, n_wanted * sizeof(ts_tensor *));
    for (size_t i = 0; i < n_wanted && st == TS_OK; i++) {
        numbers[i] = ts_graph_value(m->graph, wanted[i]);
        if (numbers[i] < 0)
            st = ts_fail(err, TS_E_NOT_FOUND, "the model has no value '%.100s'", wanted[i]);
    }
    if (st == TS_OK)
        st = run_values(m, inputs, numbers, n_wanted, in, values, outputs, err);
    for (size_t i = 0; in && i < m->graph->n_inputs; i++)
        ts_value_finish(&in[i]);
    for (size_t i = 0; values && i < n_wanted; i++)
        ts_value_finish(&values[i]);
    for (size_t i = 0; st != TS_OK && i < n_wanted; i++) {
        ts_tensor_unref(outputs[i]);
        outputs[i] = NULL;
    }
    free(numbers);
    free(in);
    free(values);
    return st;
}

const ts_model_ops ts_onnx_model_ops = {
    .kind = "onnx",
    .accepts = accepts,
    .load = load,
    .run = run,
    .destroy = destroy,
};
