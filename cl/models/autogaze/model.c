/* AutoGaze behind the model interface: `video` in, tokens with clip-wide ids out. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/size.h"
#include "cl/models/autogaze/weights_internal.h"

typedef struct autogaze_model {
    ts_model base;
    ts_ops *ops;
    ts_autogaze *a;
    ts_autogaze_stream *stream;
    ts_port inputs[1], outputs[3], taps[1];
} autogaze_model;

ts_autogaze *ts_autogaze_of(ts_model *model)
{
    return model && model->ops == &ts_autogaze_model_ops ? ((autogaze_model *)model)->a : NULL;
}

static bool accepts(const char *directory, const json_t *config)
{
    const char *type = json_string_value(json_object_get(config, "model_type"));
    (void)directory;
    return (type && !strcmp(type, "autogaze")) || json_object_get(config, "gaze_model_config");
}

static void set_port(ts_port *port, const char *name, ts_dtype dtype, ts_shape shape)
{
    snprintf(port->name, sizeof port->name, "%s", name);
    port->dtype = dtype;
    port->shape = shape;
}

static void describe(autogaze_model *m)
{
    const ts_autogaze_config *c = &m->a->c;
    ts_model_info *info = &m->base.info;
    set_port(&m->inputs[0], "video", TS_F32, TS_SHAPE(-1, -1, 3, c->input_px, c->input_px));
    set_port(&m->outputs[0], "gazing_pos", TS_I64, TS_SHAPE(-1, -1));
    set_port(&m->outputs[1], "num_gazing_each_frame", TS_I64, TS_SHAPE(-1));
    set_port(&m->outputs[2], "if_padded_gazing", TS_BOOL, TS_SHAPE(-1, -1));
    set_port(&m->taps[0], "vision_embeds", TS_F32, TS_SHAPE(-1, -1, c->n_vision, c->width));
    *info = (ts_model_info){.kind = "autogaze",
                            .platform = "tensorscope_safetensors",
                            .inputs = m->inputs,
                            .outputs = m->outputs,
                            .taps = m->taps,
                            .n_inputs = 1,
                            .n_outputs = 3,
                            .n_taps = 1,
                            .parameters = m->a->parameters,
                            .device_bytes = m->a->bytes};
    ts_autogaze_limits d = ts_autogaze_limits_default(m->a);
    json_t *grids = json_array();
    for (int i = 0; i < c->n_scales; i++)
        json_array_append_new(grids, json_integer(c->grid[i]));
    info->config = json_pack("{s:i, s:i, s:i, s:i, s:o, s:i, s:o}", "input_img_size", c->input_px,
                             "num_vision_tokens_each_frame", c->n_ids, "max_num_frames",
                             c->max_frames, "num_multi_token_pred", c->multi_token, "grids", grids,
                             "max_gaze_tokens_each_frame", d.max_tokens, "task_loss_requirement",
                             d.has_requirement ? json_real(d.requirement) : json_null());
}

static void destroy(ts_model *model)
{
    autogaze_model *m = (autogaze_model *)model;
    if (!m)
        return;
    if (m->ops) {
        ts_status st = ts_queue_finish(m->base.queue, NULL);
        (void)st;
    }
    ts_autogaze_stream_destroy(m->stream);
    ts_autogaze_unref(m->a);
    ts_ops_destroy(m->ops);
    json_decref(m->base.info.config);
    free(m);
}

static ts_status load(ts_queue *queue, const char *directory, const json_t *config, ts_model **out,
                      ts_error *err)
{
    autogaze_model *m = calloc(1, sizeof *m);
    if (!m)
        return ts_fail(err, TS_E_NO_MEMORY, "model");
    m->base.ops = &ts_autogaze_model_ops;
    m->base.queue = queue;
    ts_status st = ts_ops_create(queue, &m->ops, err);
    if (st == TS_OK)
        st = ts_autogaze_load(m->ops, directory, config, &m->a, err);
    if (st == TS_OK)
        st = ts_autogaze_stream_create(m->a, m->ops, &m->stream, err);
    if (st != TS_OK) {
        destroy(&m->base);
        return st;
    }
    describe(m);
    *out = &m->base;
    return TS_OK;
}

/* Tokens of every frame and row of a batch, before they are padded to one length. */
typedef struct result {
    int64_t rows, frames;
    int32_t *tokens; /* [rows][frames][n_ids] */
    uint8_t *valid;
    int32_t *count;  /* [rows][frames] */
    int64_t *padded; /* [frames]: the longest row's */
    int64_t total;
    ts_buffer *embeds; /* [rows][frames][n_vision][width]; NULL: not wanted */
} result;

static void result_finish(result *r)
{
    free(r->tokens);
    free(r->valid);
    free(r->count);
    free(r->padded);
    ts_buffer_unref(r->embeds);
}

static ts_status run_row(autogaze_model *m, const ts_arr *video, int64_t row, result *r,
                         ts_error *err)
{
    ts_autogaze_limits limits = ts_autogaze_limits_default(m->a);
    int n = m->a->c.n_ids;
    ts_status st = TS_OK;
    ts_autogaze_stream_reset(m->stream); /* each row behaves as if it ran alone */
    limits.horizon = (int)r->frames > limits.horizon ? (int)r->frames : limits.horizon;
    for (int64_t t = 0; t < r->frames && st == TS_OK; t++) {
        ts_arr input = ts_arr_rows(video, row * r->frames + t, 1);
        ts_autogaze_frame f;
        size_t at = (size_t)(row * r->frames + t);
        st = ts_autogaze_step(m->stream, m->ops, &input, &limits, &f, err);
        if (st != TS_OK)
            break;
        memcpy(r->tokens + at * (size_t)n, f.tokens, (size_t)f.n_tokens * sizeof *r->tokens);
        memcpy(r->valid + at * (size_t)n, f.valid, (size_t)f.n_tokens);
        r->count[at] = f.n_tokens;
        ts_arr e = ts_autogaze_embeddings(m->stream);
        if (r->embeds)
            st = ts_buffer_copy(m->base.queue, e.buffer, e.offset, r->embeds, at * ts_arr_bytes(&e),
                                ts_arr_bytes(&e), err);
    }
    return st;
}

static ts_status run_all(autogaze_model *m, const ts_tensor *video, bool embeds, result *r,
                         ts_error *err)
{
    const ts_autogaze_config *c = &m->a->c;
    ts_arr x = ts_arr_of(video);
    *r = (result){.rows = x.shape.dim[0], .frames = x.shape.dim[1]};
    if (r->rows < 1 || r->frames < 1 || r->frames > 65536 || r->rows > 65536)
        return ts_fail(err, TS_E_EMPTY, "video is %s", ts_shape_text(&x.shape, (char[96]){0}, 96));
    size_t n = (size_t)(r->rows * r->frames), plane = (size_t)(c->n_vision * c->width) * 4;
    r->tokens = calloc(n, (size_t)c->n_ids * sizeof *r->tokens);
    r->valid = calloc(n, (size_t)c->n_ids);
    r->count = calloc(n, sizeof *r->count);
    r->padded = calloc((size_t)r->frames, sizeof *r->padded);
    ts_status st = r->tokens && r->valid && r->count && r->padded
                       ? TS_OK
                       : ts_fail(err, TS_E_NO_MEMORY, "tokens");
    if (st == TS_OK && embeds)
        st = ts_buffer_create(m->a->device, n * plane, &r->embeds, err);
    x = ts_arr_reshape(&x, &TS_SHAPE((int64_t)n, 3, c->input_px, c->input_px));
    for (int64_t row = 0; row < r->rows && st == TS_OK; row++)
        st = run_row(m, &x, row, r, err);
    for (int64_t t = 0; t < r->frames && st == TS_OK; t++) {
        for (int64_t row = 0; row < r->rows; row++)
            if (r->count[row * r->frames + t] > r->padded[t])
                r->padded[t] = r->count[row * r->frames + t];
        r->total += r->padded[t];
    }
    return st;
}

/* ids with the clip's offset n_ids·t, or flags of padding; rows filled up with stops. */
static ts_status list_output(autogaze_model *m, const result *r, bool flags, ts_tensor **out,
                             ts_error *err)
{
    int n = m->a->c.n_ids;
    size_t values = (size_t)(r->rows * r->total), width = flags ? 1 : sizeof(int64_t);
    uint8_t *data = calloc(values ? values : 1, width);
    if (!data)
        return ts_fail(err, TS_E_NO_MEMORY, "output");
    size_t at = 0;
    for (int64_t row = 0; row < r->rows; row++)
        for (int64_t t = 0; t < r->frames; t++)
            for (int64_t i = 0; i < r->padded[t]; i++, at++) {
                size_t f = (size_t)(row * r->frames + t);
                bool real = i < r->count[f] && r->valid[f * (size_t)n + (size_t)i];
                int64_t id = (real ? r->tokens[f * (size_t)n + (size_t)i] : n) + n * t;
                if (flags)
                    data[at] = !real;
                else
                    memcpy(data + at * width, &id, width);
            }
    ts_status st =
        ts_tensor_from_host(m->base.queue, flags ? TS_BOOL : TS_I64, &TS_SHAPE(r->rows, r->total),
                            data, values * width, out, err);
    free(data);
    return st;
}

static ts_status make_output(autogaze_model *m, const result *r, const char *name, ts_tensor **out,
                             ts_error *err)
{
    const ts_autogaze_config *c = &m->a->c;
    if (!strcmp(name, "num_gazing_each_frame"))
        return ts_tensor_from_host(m->base.queue, TS_I64, &TS_SHAPE(r->frames), r->padded,
                                   (size_t)r->frames * sizeof(int64_t), out, err);
    if (!strcmp(name, "vision_embeds"))
        return ts_tensor_wrap(r->embeds, 0, TS_F32,
                              &TS_SHAPE(r->rows, r->frames, c->n_vision, c->width), out, err);
    return list_output(m, r, !strcmp(name, "if_padded_gazing"), out, err);
}

static ts_status run(ts_model *model, const ts_tensor *const *inputs, const char *const *wanted,
                     size_t n_wanted, ts_tensor **outputs, ts_error *err)
{
    autogaze_model *m = (autogaze_model *)model;
    result r = {0};
    bool embeds = false;
    for (size_t i = 0; i < n_wanted; i++)
        embeds = embeds || !strcmp(wanted[i], "vision_embeds");
    ts_status st = ts_model_check_inputs(&model->info, inputs, err);
    if (st == TS_OK)
        st = run_all(m, inputs[0], embeds, &r, err);
    size_t done = 0;
    for (; done < n_wanted && st == TS_OK; done++) {
        outputs[done] = NULL;
        st = make_output(m, &r, wanted[done], &outputs[done], err);
    }
    if (st == TS_OK)
        st = ts_queue_finish(model->queue, err);
    for (size_t i = 0; i < done && st != TS_OK; i++) {
        ts_tensor_unref(outputs[i]);
        outputs[i] = NULL;
    }
    result_finish(&r);
    return st;
}

const ts_model_ops ts_autogaze_model_ops = {
    .kind = "autogaze", .accepts = accepts, .load = load, .run = run, .destroy = destroy};
