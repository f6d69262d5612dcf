#include "cl/models/model.h"

#include <stdio.h>
#include <string.h>

#include "cl/base/fs.h"

#define MODEL(ops) extern const ts_model_ops ops;
#include "cl/models/models.def"
#undef MODEL

static const ts_model_ops *const kinds[] = {
#define MODEL(ops) &ops,
#include "cl/models/models.def"
#undef MODEL
};

enum {
    CONFIG_MAX = 4 * 1024 * 1024
};

/* config.json of a directory, or NULL where there is none. */
static ts_status read_config(const char *directory, json_t **out, ts_error *err)
{
    char path[4096];
    ts_buf text = {0};
    ts_error why = {0};
    *out = NULL;
    snprintf(path, sizeof path, "%s/config.json", directory);
    ts_status st = ts_fs_read(path, CONFIG_MAX, &text, &why);
    if (st == TS_E_NOT_FOUND) {
        ts_error_clear(&why);
        ts_buf_finish(&text);
        return TS_OK;
    }
    if (st == TS_OK)
        st = ts_json_parse(text.data, text.len, out, &why);
    ts_buf_finish(&text);
    if (st != TS_OK) {
        st = ts_fail(err, st == TS_E_NO_MEMORY ? st : TS_E_FILE, "config.json: %s", why.text);
        ts_error_clear(&why);
    }
    return st;
}

ts_status ts_model_load(ts_queue *queue, const char *directory, ts_model **out, ts_error *err)
{
    json_t *config;
    ts_status st = read_config(directory, &config, err);
    if (st != TS_OK)
        return st;
    st = TS_E_FILE;
    bool found = false;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds && !found; i++) {
        found = kinds[i]->accepts(directory, config);
        if (found)
            st = kinds[i]->load(queue, directory, config, out, err);
    }
    json_decref(config);
    if (!found)
        return ts_fail(err, TS_E_FILE,
                       "not a model: no config.json of a known format, and no model.onnx");
    return st;
}

void ts_model_destroy(ts_model *model)
{
    if (model)
        model->ops->destroy(model);
}

int ts_port_find(const ts_port *ports, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(ports[i].name, name))
            return (int)i;
    return -1;
}

static bool fits(const ts_port *port, const ts_tensor *tensor)
{
    const ts_shape *s = ts_tensor_shape(tensor);
    if (s->rank != port->shape.rank)
        return false;
    for (int d = 0; d < s->rank; d++)
        if (port->shape.dim[d] >= 0 && port->shape.dim[d] != s->dim[d])
            return false;
    return true;
}

ts_status ts_model_check_inputs(const ts_model_info *info, const ts_tensor *const *inputs,
                                ts_error *err)
{
    for (size_t i = 0; i < info->n_inputs; i++) {
        const ts_port *p = &info->inputs[i];
        if (!inputs[i])
            return ts_fail(err, TS_E_OPTION, "input %s is missing", p->name);
        if (ts_tensor_dtype(inputs[i]) != p->dtype)
            return ts_fail(err, TS_E_DTYPE, "input %s is %s, want %s", p->name,
                           ts_dtype_name(ts_tensor_dtype(inputs[i])), ts_dtype_name(p->dtype));
        if (!fits(p, inputs[i]))
            return ts_fail(err, TS_E_SHAPE, "input %s is %s, want %s", p->name,
                           ts_shape_text(ts_tensor_shape(inputs[i]), (char[96]){0}, 96),
                           ts_shape_text(&p->shape, (char[96]){0}, 96));
    }
    return TS_OK;
}

ts_status ts_model_run(ts_model *model, const ts_tensor *const *inputs, const char *const *wanted,
                       size_t n_wanted, ts_tensor **outputs, ts_error *err)
{
    const ts_model_info *info = &model->info;
    for (size_t i = 0; i < n_wanted; i++)
        if (ts_port_find(info->outputs, info->n_outputs, wanted[i]) < 0 &&
            ts_port_find(info->taps, info->n_taps, wanted[i]) < 0)
            return ts_fail(err, TS_E_NOT_FOUND, "no output or tap \"%s\"", wanted[i]);
    return model->ops->run(model, inputs, wanted, n_wanted, outputs, err);
}
