/*
 * A fitted picture as a model: a directory with config.json {"format":"tensorscope-gs"} and the
 * safetensors file of a fit. Input `height` (i32, one number; 0 is the trained size), output `image`
 * (f32 [C,H,W], display space), tap `parameters` ([N, 5 + C]).
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/fs.h"
#include "cl/models/imagegs/model_file.h"
#include "cl/models/model.h"

enum {
    MAX_FILE = 1 << 30
};

extern const ts_model_ops ts_imagegs_model_ops;

typedef struct gs_model {
    ts_model model;
    ts_gs_model gs;
    ts_port input, output, tap;
} gs_model;

static bool accepts(const char *directory, const json_t *config)
{
    const char *format = json_string_value(json_object_get(config, "format"));
    (void)directory;
    return format && strcmp(format, "tensorscope-gs") == 0;
}

static void destroy(ts_model *model)
{
    gs_model *m = (gs_model *)model;
    if (!m)
        return;
    ts_gs_model_finish(&m->gs);
    json_decref(m->model.info.config);
    free(m);
}

/* model.safetensors, else the first such file of the directory. */
static ts_status find_file(const char *directory, char *path, size_t n, ts_error *err)
{
    DIR *dir = opendir(directory);
    const struct dirent *e;
    path[0] = 0;
    while (dir && (e = readdir(dir))) {
        size_t len = strlen(e->d_name);
        bool usual = strcmp(e->d_name, "model.safetensors") == 0;
        if (len > 12 && strcmp(e->d_name + len - 12, ".safetensors") == 0 && (usual || !path[0]) &&
            snprintf(path, n, "%s/%s", directory, e->d_name) >= (int)n)
            path[0] = 0;
    }
    if (dir)
        closedir(dir);
    return path[0] ? TS_OK : ts_fail(err, TS_E_FILE, "%s has no .safetensors file", directory);
}

static void describe(gs_model *m)
{
    const ts_gs_model *g = &m->gs;
    m->input = (ts_port){.name = "height", .dtype = TS_I32, .shape = TS_SHAPE(1)};
    m->output = (ts_port){.name = "image", .dtype = TS_F32, .shape = TS_SHAPE(g->channels, -1, -1)};
    m->tap = (ts_port){
        .name = "parameters", .dtype = TS_F32, .shape = TS_SHAPE((int64_t)g->n, 5 + g->channels)};
    m->model.info = (ts_model_info){
        .kind = "imagegs",
        .platform = "tensorscope_safetensors",
        .inputs = &m->input,
        .outputs = &m->output,
        .taps = &m->tap,
        .n_inputs = 1,
        .n_outputs = 1,
        .n_taps = 1,
        .parameters = (uint64_t)g->n * (5 + (uint64_t)g->channels),
        .config = json_pack("{s:I, s:i, s:i, s:i, s:i, s:f}", "num_gaussians", (json_int_t)g->n,
                            "width", g->width, "height", g->height, "channels", g->channels, "topk",
                            g->topk, "gamma", g->gamma),
    };
}

static ts_status load(ts_queue *queue, const char *directory, const json_t *config, ts_model **out,
                      ts_error *err)
{
    char path[4096];
    ts_buf file = {0};
    (void)config;
    gs_model *m = calloc(1, sizeof *m);
    if (!m)
        return ts_fail(err, TS_E_NO_MEMORY, "a model");
    m->model.ops = &ts_imagegs_model_ops;
    m->model.queue = queue;
    ts_status st = find_file(directory, path, sizeof path, err);
    if (st == TS_OK)
        st = ts_fs_read(path, MAX_FILE, &file, err);
    if (st == TS_OK)
        st = ts_gs_model_read(file.data, file.len, &m->gs, err);
    ts_buf_finish(&file);
    if (st == TS_E_SHAPE)
        err->status = st = TS_E_FILE;
    if (st != TS_OK) {
        destroy(&m->model);
        return st;
    }
    describe(m);
    *out = &m->model;
    return TS_OK;
}

static ts_status render(gs_model *m, int32_t height, ts_tensor **out, ts_error *err)
{
    float *chw = NULL;
    int w = 0, h = height > 0 ? height : m->gs.height;
    ts_status st = ts_gs_model_render(m->model.queue, &m->gs, h, true, &chw, &w, err);
    ts_shape shape = TS_SHAPE(m->gs.channels, h, w);
    size_t bytes = (size_t)m->gs.channels * (size_t)h * (size_t)w * sizeof *chw;
    if (st == TS_OK)
        st = ts_tensor_from_host(m->model.queue, TS_F32, &shape, chw, bytes, out, err);
    free(chw);
    return st;
}

static ts_status run(ts_model *model, const ts_tensor *const *inputs, const char *const *wanted,
                     size_t n_wanted, ts_tensor **outputs, ts_error *err)
{
    gs_model *m = (gs_model *)model;
    int32_t height = 0;
    ts_status st = TS_OK;
    memset(outputs, 0, n_wanted * sizeof *outputs);
    if (inputs[0])
        st = ts_tensor_read(model->queue, inputs[0], &height, err);
    for (size_t i = 0; st == TS_OK && i < n_wanted; ++i) {
        if (strcmp(wanted[i], "image") == 0)
            st = render(m, height, &outputs[i], err);
        else if (strcmp(wanted[i], "parameters") == 0)
            st = ts_tensor_from_host(model->queue, TS_F32, &m->tap.shape, m->gs.par,
                                     m->gs.n * (5 + (size_t)m->gs.channels) * sizeof(float),
                                     &outputs[i], err);
        else
            st = ts_fail(err, TS_E_NOT_FOUND,
                         "the model has `image` and `parameters`, no \"%.80s\"", wanted[i]);
    }
    for (size_t i = 0; st != TS_OK && i < n_wanted; ++i) {
        ts_tensor_unref(outputs[i]);
        outputs[i] = NULL;
    }
    return st;
}

const ts_model_ops ts_imagegs_model_ops = {
    .kind = "imagegs",
    .accepts = accepts,
    .load = load,
    .run = run,
    .destroy = destroy,
};
