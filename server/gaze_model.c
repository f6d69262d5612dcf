#include "server/gaze_model.h"

#include <stdio.h>
#include <string.h>

#include "cl/base/fs.h"
#include "cl/models/autogaze/autogaze.h"

/* The first loaded model of the kind. Errors: TS_E_NOT_FOUND. */
static ts_status first_of_kind(ts_models *models, ts_loaded **out, ts_error *err)
{
    json_t *list = ts_models_list(models, NULL), *m;
    size_t i;
    ts_status st = TS_E_NOT_FOUND;
    json_array_foreach(list, i, m)
    {
        const char *kind = json_string_value(json_object_get(m, "kind"));
        if (st != TS_OK && kind && !strcmp(kind, "autogaze"))
            st = ts_models_get(models, json_string_value(json_object_get(m, "name")), out, NULL);
    }
    json_decref(list);
    return st == TS_OK ? st
                       : ts_fail(err, TS_E_NOT_FOUND,
                                 "no AutoGaze model is loaded; load one, or use "
                                 "\"mask_source\":\"patch-diff\"");
}

static ts_status from_registry(ts_models *models, const char *name, ts_gaze_source *out,
                               ts_error *err)
{
    ts_loaded *loaded = NULL;
    ts_status st =
        name ? ts_models_get(models, name, &loaded, err) : first_of_kind(models, &loaded, err);
    if (st != TS_OK)
        return st;
    /* The source keeps the weights: a reload or unload of the model lets it go on with them. */
    ts_autogaze *weights = ts_autogaze_of(ts_loaded_model(loaded));
    st = weights ? ts_autogaze_source_create(weights, out, err)
                 : ts_fail(err, TS_E_SHAPE, "model %s is no AutoGaze model", name);
    ts_loaded_unref(loaded);
    return st;
}

static ts_status from_directory(ts_queue *queue, const char *directory, ts_gaze_source *out,
                                ts_error *err)
{
    char path[4096];
    ts_buf text = {0};
    json_t *config = NULL;
    ts_ops *ops = NULL;
    ts_autogaze *weights = NULL;
    ts_error why = {0};
    snprintf(path, sizeof path, "%s/config.json", directory);
    ts_status st = ts_fs_read(path, 1 << 22, &text, &why);
    if (st == TS_OK)
        st = ts_json_parse(text.data, text.len, &config, &why);
    if (st == TS_OK)
        st = ts_ops_create(queue, &ops, &why);
    if (st == TS_OK)
        st = ts_autogaze_load(ops, directory, config, &weights, &why);
    if (st == TS_OK)
        st = ts_autogaze_source_create(weights, out, &why);
    if (st != TS_OK) {
        st = ts_fail(err, st == TS_E_JSON ? TS_E_FILE : st, "%s: %s", directory, why.text);
        ts_error_clear(&why);
    }
    ts_autogaze_unref(weights);
    ts_ops_destroy(ops);
    json_decref(config);
    ts_buf_finish(&text);
    return st;
}

ts_status ts_gaze_model_open(void *arg, ts_device *device, ts_queue *queue, const json_t *options,
                             ts_gaze_source *out, ts_error *err)
{
    const char *name = NULL, *directory = NULL;
    (void)device;
    ts_status st = ts_json_get_string(options, "", "model", &name, err);
    if (st == TS_OK)
        st = ts_json_get_string(options, "", "model_dir", &directory, err);
    if (st != TS_OK)
        return st;
    if (arg)
        return from_registry(arg, name, out, err);
    if (!directory)
        return ts_fail(err, TS_E_NOT_FOUND, "AutoGaze needs a model directory");
    return from_directory(queue, directory, out, err);
}
