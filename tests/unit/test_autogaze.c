/* AutoGaze against recorded runs of the reference: tokens exact, values within the stated bounds. */
#include <sys/stat.h>
#include <unistd.h>

#include "cl/base/fs.h"
#include "cl/models/autogaze/autogaze.h"
#include "server/codec.h"
#include "tests/support/check.h"
#include "tests/support/golden.h"
#include "tests/support/opsfix.h"

#define GOLDEN TS_TEST_DIR "/golden/autogaze/"

enum {
    FRAMES_MAX = 6
};

typedef struct clip {
    const char *name;
    int n, w, h;
} clip;

static const clip clips[] = {
    {"square448", 4, 448, 448}, {"birds384x216", 6, 384, 216}, {"odd511x300", 2, 511, 300}};

/* A temporary directory with the configuration and one of the two weight files. */
static ts_autogaze *load(ts_opsfix *f, const char *weights_file)
{
    ts_error err = {0};
    char dir[] = "/tmp/ts-gaze-XXXXXX", path[128];
    static const char *const names[] = {"config.json", "preprocessor_config.json",
                                        "model.safetensors"};
    assert_non_null(mkdtemp(dir));
    for (int i = 0; i < 3; i++) {
        char from[512];
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        snprintf(from, sizeof from, GOLDEN "%s", i == 2 ? weights_file : names[i]);
        assert_int_equal(symlink(from, path), 0);
    }
    ts_buf text = {0};
    json_t *config;
    ts_autogaze *a = NULL;
    CHECK_OK(ts_fs_read(GOLDEN "config.json", 1 << 20, &text, &err));
    CHECK_OK(ts_json_parse(text.data, text.len, &config, &err));
    CHECK_OK(ts_autogaze_load(f->ops, dir, config, &a, &err));
    ts_buf_finish(&text);
    json_decref(config);
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    rmdir(dir);
    return a;
}

static ts_gaze_image picture_of(ts_opsfix *f, const char *path, int w, int h)
{
    ts_error err = {0};
    ts_buf file = {0}, pixels = {0};
    ts_image_info info;
    ts_gaze_image out = {.width = w, .height = h};
    CHECK_OK(ts_fs_read(path, 1 << 24, &file, &err));
    CHECK_OK(ts_image_decode(file.data, file.len, 4, &info, &pixels, &err));
    assert_int_equal(pixels.len, w * h * 4);
    CHECK_OK(ts_buffer_create(f->device, pixels.len, &out.buffer, &err));
    CHECK_OK(ts_buffer_write(f->queue, out.buffer, 0, pixels.data, pixels.len, &err));
    ts_buf_finish(&file);
    ts_buf_finish(&pixels);
    return out;
}

static ts_gaze_image frame_of(ts_opsfix *f, const clip *c, int index)
{
    char path[512];
    snprintf(path, sizeof path, GOLDEN "frames/%s_%02d.png", c->name, index);
    return picture_of(f, path, c->w, c->h);
}

static json_t *expected(void)
{
    ts_error err = {0};
    ts_buf text = {0};
    json_t *doc;
    CHECK_OK(ts_fs_read(GOLDEN "expected.json", 1 << 24, &text, &err));
    CHECK_OK(ts_json_parse(text.data, text.len, &doc, &err));
    ts_buf_finish(&text);
    return doc;
}

/* One frame's tokens and flags equal the list; both are printed up to the first difference. */
static void check_tokens(const ts_autogaze_frame *got, const json_t *frame, const char *what, int t)
{
    const json_t *tokens = json_object_get(frame, "tokens");
    const json_t *valid = json_object_get(frame, "valid");
    if (!json_is_array(tokens))
        fail_msg("%s: no tokens are recorded", what);
    for (size_t i = 0; i < json_array_size(tokens) || i < (size_t)got->n_tokens; i++) {
        int want =
            i < json_array_size(tokens) ? (int)json_integer_value(json_array_get(tokens, i)) : -1;
        int have = i < (size_t)got->n_tokens ? got->tokens[i] : -1;
        if (want != have)
            fail_msg("%s frame %d: token %zu is %d, want %d", what, t, i, have, want);
        if (valid)
            assert_int_equal(got->valid[i], json_integer_value(json_array_get(valid, i)));
    }
}

static void pictures_become_the_recorded_input(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    ts_golden g;
    ts_golden_open(GOLDEN "expected.safetensors", &g);
    ts_autogaze *a = load(f, "model.safetensors");
    ts_autogaze_input *in;
    CHECK_OK(ts_autogaze_input_create(a, &in, &err));
    for (size_t c = 0; c < 3; c++) {
        char name[64];
        snprintf(name, sizeof name, "%s.resized_u8", clips[c].name);
        const ts_st_tensor *want = ts_golden_find(&g, name);
        int64_t n = want->shape.dim[0], h = want->shape.dim[1], w = want->shape.dim[2];
        uint8_t *got = malloc((size_t)(h * w * 4));
        for (int64_t k = 0; k < n; k++) {
            ts_gaze_image frame = frame_of(f, &clips[c], (int)k);
            ts_arr tiles;
            int rows, cols;
            CHECK_OK(ts_autogaze_prepare(in, f->ops, &frame, TS_AUTOGAZE_RESIZE, 0, 0, &tiles,
                                         &rows, &cols, &err));
            ts_arr small = ts_autogaze_resized_u8(in);
            assert_int_equal(ts_arr_elements(&small), h * w * 4);
            CHECK_OK(ts_arr_read(f->ops, &small, got, &err));
            for (int64_t i = 0; i < h * w * 3; i++) /* exact to the byte */
                if (got[i / 3 * 4 + i % 3] != want->data[k * h * w * 3 + i])
                    fail_msg("%s: byte %lld of frame %lld differs", name, (long long)i,
                             (long long)k);
            if (c == 1 && k == 0) {
                ts_arr planes = ts_autogaze_normalized(in);
                float *norm = malloc(ts_arr_bytes(&planes)), *input = malloc(ts_arr_bytes(&tiles));
                float *rows16 = ts_golden_f32(&g, "birds384x216.processor_frame0_rows16");
                float *final = ts_golden_f32(&g, "birds384x216.model_input_frame0");
                CHECK_OK(ts_arr_read(f->ops, &planes, norm, &err));
                CHECK_OK(ts_arr_read(f->ops, &tiles, input, &err));
                for (int64_t i = 0; i < 3 * 16 * w; i++) /* exact to the bit */
                    assert_true(norm[i / (16 * w) * h * w + i % (16 * w)] == rows16[i]);
                for (size_t i = 0; i < 3 * 224 * 224; i++)
                    ts_check_close(input[i], final[i], 1e-4, 0, "input", i);
                free(norm);
                free(input);
                free(rows16);
                free(final);
            }
            ts_buffer_unref(frame.buffer);
        }
        free(got);
    }
    float freq[64], *want = ts_golden_f32(&g, "rope.inv_freq");
    ts_autogaze_inv_freq(ts_autogaze_get_config(a), freq);
    for (size_t i = 0; i < ts_golden_count(&g, "rope.inv_freq"); i++)
        ts_check_close(freq[i], want[i], 0, 1e-6, "inv_freq", i);
    free(want);
    ts_autogaze_input_destroy(in);
    ts_autogaze_unref(a);
    ts_golden_close(&g);
}

static void check_values(const float *got, const ts_golden *g, const char *key, const char *part,
                         size_t offset, size_t n, double atol)
{
    char name[96];
    snprintf(name, sizeof name, "%s.%s", key, part);
    float *want = ts_golden_f32(g, name);
    assert_true(offset + n <= ts_golden_count(g, name));
    for (size_t i = 0; i < n; i++)
        ts_check_close(got[i], want[offset + i], atol, 0, name, offset + i);
    free(want);
}

static void run_case(ts_opsfix *f, ts_autogaze *a, const ts_golden *g, const json_t *runs,
                     const clip *c, const char *mode, const char *weights, int decode_chunk)
{
    ts_error err = {0};
    char key[96];
    snprintf(key, sizeof key, "%s.%s.%s", c->name, mode, weights);
    const json_t *run = json_object_get(runs, key), *frames = json_object_get(run, "frames");
    assert_int_equal(json_array_size(frames), c->n);
    ts_autogaze_limits l = ts_autogaze_limits_default(a);
    const json_t *most = json_object_get(run, "max_tokens");
    const json_t *requirement = json_object_get(run, "task_loss_requirement");
    l.has_requirement = json_is_number(requirement);
    l.requirement = json_number_value(requirement);
    l.decode_chunk = decode_chunk;
    l.record = true;
    ts_autogaze_input *in;
    ts_autogaze_stream *s;
    CHECK_OK(ts_autogaze_input_create(a, &in, &err));
    CHECK_OK(ts_autogaze_stream_create(a, f->ops, &s, &err));
    const ts_autogaze_config *cf = ts_autogaze_get_config(a);
    size_t row = (size_t)cf->multi_token * (size_t)(cf->n_ids + 1), passes = 0;
    bool f32 = !strcmp(weights, "f32"), recorded = strcmp(mode, "perframe") != 0;
    for (int t = 0; t < c->n; t++) {
        ts_gaze_image frame = frame_of(f, c, t);
        ts_arr tiles;
        int rows, cols;
        ts_autogaze_frame out;
        l.max_tokens =
            (int)json_integer_value(json_is_array(most) ? json_array_get(most, (size_t)t) : most);
        CHECK_OK(ts_autogaze_prepare(in, f->ops, &frame, TS_AUTOGAZE_RESIZE, 0, 0, &tiles, &rows,
                                     &cols, &err));
        CHECK_OK(ts_autogaze_step(s, f->ops, &tiles, &l, &out, &err));
        check_tokens(&out, json_array_get(frames, (size_t)t), key, t);
        if (recorded) {
            check_values(ts_autogaze_logits(s, 0), g, key, "first_logits", (size_t)t * row, row,
                         2e-3);
            check_values(out.losses, g, key, "task_loss_prediction",
                         passes * (size_t)cf->multi_token,
                         (size_t)out.forward_passes * (size_t)cf->multi_token, 2e-4);
        }
        if (recorded && t == 0 && !strcmp(mode, "taskloss") && !strcmp(c->name, "square448"))
            check_values(ts_autogaze_logits(s, 1), g, key, "step1_logits", 0, row, 2e-3);
        if (f32 && recorded) {
            ts_arr e = ts_autogaze_embeddings(s);
            size_t n = (size_t)ts_arr_elements(&e);
            float *got = malloc(n * sizeof *got);
            CHECK_OK(ts_arr_read(f->ops, &e, got, &err));
            check_values(got, g, c->name, "vision_embeds", (size_t)t * n, n, 1e-3);
            free(got);
        }
        passes += (size_t)out.forward_passes;
        ts_buffer_unref(frame.buffer);
    }
    if (recorded)
        assert_int_equal(passes, json_integer_value(json_object_get(run, "forward_calls")));
    CHECK_OK(ts_queue_finish(f->queue, &err));
    ts_autogaze_stream_destroy(s);
    ts_autogaze_input_destroy(in);
}

static void clips_give_the_recorded_tokens(void **state)
{
    ts_opsfix *f = *state;
    ts_golden g;
    ts_golden_open(GOLDEN "expected.safetensors", &g);
    json_t *doc = expected();
    const json_t *runs = json_object_get(doc, "runs");
    ts_autogaze *a = load(f, "model.safetensors");
    for (size_t c = 0; c < 3; c++) {
        run_case(f, a, &g, runs, &clips[c], "budget", "f32", 4);
        run_case(f, a, &g, runs, &clips[c], "taskloss", "f32", 4);
    }
    run_case(f, a, &g, runs, &clips[0], "perframe", "f32", 4);
    /* How often the host looks must not show. */
    run_case(f, a, &g, runs, &clips[0], "taskloss", "f32", 1);
    run_case(f, a, &g, runs, &clips[1], "taskloss", "f32", 1000);
    ts_autogaze_unref(a);
    json_decref(doc);
    ts_golden_close(&g);
}

static void bf16_weights_are_widened(void **state)
{
    ts_opsfix *f = *state;
    ts_golden g;
    ts_golden_open(GOLDEN "expected.safetensors", &g);
    json_t *doc = expected();
    const json_t *runs = json_object_get(doc, "runs");
    ts_autogaze *a = load(f, "model.bf16.safetensors");
    for (size_t c = 0; c < 3; c++) {
        run_case(f, a, &g, runs, &clips[c], "budget", "bf16", 4);
        run_case(f, a, &g, runs, &clips[c], "taskloss", "bf16", 4);
    }
    ts_autogaze_unref(a);
    json_decref(doc);
    ts_golden_close(&g);
}

static void a_sliding_horizon_drops_the_oldest_frames(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    json_t *doc = expected();
    const json_t *slide = json_object_get(json_object_get(doc, "runs"), "slide"), *run;
    ts_autogaze *a = load(f, "model.safetensors");
    ts_autogaze_input *in;
    size_t index;
    CHECK_OK(ts_autogaze_input_create(a, &in, &err));
    json_array_foreach(json_object_get(slide, "runs"), index, run)
    {
        ts_autogaze_stream *s;
        CHECK_OK(ts_autogaze_stream_create(a, f->ops, &s, &err));
        ts_autogaze_limits l = ts_autogaze_limits_default(a);
        l.horizon = (int)json_integer_value(json_object_get(run, "horizon"));
        l.max_tokens = (int)json_integer_value(json_object_get(run, "max_tokens"));
        l.has_requirement = false;
        for (int t = 0; t < clips[1].n; t++) {
            const json_t *want = json_array_get(json_object_get(run, "frames"), (size_t)t);
            ts_gaze_image frame = frame_of(f, &clips[1], t);
            ts_arr tiles;
            int rows, cols;
            ts_autogaze_frame out;
            char what[32];
            snprintf(what, sizeof what, "horizon %d", l.horizon);
            CHECK_OK(ts_autogaze_prepare(in, f->ops, &frame, TS_AUTOGAZE_RESIZE, 0, 0, &tiles,
                                         &rows, &cols, &err));
            CHECK_OK(ts_autogaze_step(s, f->ops, &tiles, &l, &out, &err));
            check_tokens(&out, want, what, t);
            assert_int_equal(out.slots, json_integer_value(json_object_get(want, "slots_after")));
            assert_int_equal(out.valid_count,
                             json_integer_value(json_object_get(want, "valid_count_after")));
            ts_buffer_unref(frame.buffer);
        }
        CHECK_OK(ts_queue_finish(f->queue, &err));
        ts_autogaze_stream_destroy(s);
    }
    ts_autogaze_input_destroy(in);
    ts_autogaze_unref(a);
    json_decref(doc);
}

/* Another configuration: nothing of the official one is built in. */
static void a_second_configuration_gives_its_tokens(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    ts_golden g;
    ts_model *model;
    static const char *const files[] = {"expected.json", "expected-stops.json"};
    ts_golden_open(GOLDEN "second/expected.safetensors", &g);
    CHECK_OK(ts_model_load(f->queue, GOLDEN "second", &model, &err));
    ts_autogaze *a = ts_autogaze_of(model);
    const ts_autogaze_config *c = ts_autogaze_get_config(a);
    assert_true(c->n_ids == 84 && c->side == 8 && c->heads == 4 && c->kv_heads == 2);
    assert_int_equal(ts_autogaze_limits_default(a).max_tokens, 25); /* f32(0.3)·84 */
    float *video = ts_golden_f32(&g, "video");
    size_t plane = (size_t)(3 * c->input_px * c->input_px);
    for (int k = 0; k < 2; k++) {
        char path[512];
        ts_buf text = {0};
        json_t *doc;
        ts_autogaze_stream *s;
        snprintf(path, sizeof path, GOLDEN "second/%s", files[k]);
        CHECK_OK(ts_fs_read(path, 1 << 20, &text, &err));
        CHECK_OK(ts_json_parse(text.data, text.len, &doc, &err));
        ts_autogaze_limits l = ts_autogaze_limits_default(a);
        const json_t *requirement = json_object_get(doc, "task_loss_requirement");
        l.max_tokens = (int)json_integer_value(json_object_get(doc, "max_tokens"));
        l.has_requirement = json_is_number(requirement);
        l.requirement = json_number_value(requirement);
        CHECK_OK(ts_autogaze_stream_create(a, f->ops, &s, &err));
        for (int t = 0; t < 4; t++) {
            ts_arr input = {0};
            ts_autogaze_frame out;
            CHECK_OK(ts_arr_from_host(f->ops, TS_F32, &TS_SHAPE(3, c->input_px, c->input_px),
                                      video + (size_t)t * plane, &input, &err));
            CHECK_OK(ts_autogaze_step(s, f->ops, &input, &l, &out, &err));
            check_tokens(&out, json_array_get(json_object_get(doc, "frames"), (size_t)t), files[k],
                         t);
            ts_arr e = ts_autogaze_embeddings(s);
            size_t n = (size_t)ts_arr_elements(&e);
            float *got = malloc(n * sizeof *got), *want = ts_golden_f32(&g, "vision_embeds");
            CHECK_OK(ts_arr_read(f->ops, &e, got, &err));
            for (size_t i = 0; i < n; i++)
                ts_check_close(got[i], want[(size_t)t * n + i], 1e-3, 0, "embeds", i);
            free(got);
            free(want);
            ts_arr_free(&input);
        }
        CHECK_OK(ts_queue_finish(f->queue, &err));
        ts_autogaze_stream_destroy(s);
        ts_buf_finish(&text);
        json_decref(doc);
    }
    free(video);
    ts_model_destroy(model);
    ts_golden_close(&g);
}

/* A batch behind the model interface: each row as if it ran alone, padded to the longest. */
static void a_batch_is_two_single_runs(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    ts_golden g;
    ts_model *model;
    ts_tensor *video, *out[3];
    ts_golden_open(GOLDEN "second/expected.safetensors", &g);
    CHECK_OK(ts_model_load(f->queue, GOLDEN "second", &model, &err));
    const ts_st_tensor *t = ts_golden_find(&g, "video");
    ts_shape shape = TS_SHAPE(2, 2, 3, 112, 112); /* frames 0, 1 and frames 2, 3 */
    CHECK_OK(ts_tensor_from_host(f->queue, TS_F32, &shape, t->data, t->nbytes, &video, &err));
    static const char *const wanted[] = {"gazing_pos", "num_gazing_each_frame", "if_padded_gazing"};
    CHECK_OK(ts_model_run(model, (const ts_tensor *const *)&video, wanted, 3, out, &err));
    int64_t pos[2][50], count[2];
    uint8_t padded[2][50];
    assert_true(ts_shape_equal(ts_tensor_shape(out[0]), &TS_SHAPE(2, 50)));
    CHECK_OK(ts_tensor_read(f->queue, out[0], pos, &err));
    CHECK_OK(ts_tensor_read(f->queue, out[1], count, &err));
    CHECK_OK(ts_tensor_read(f->queue, out[2], padded, &err));
    assert_true(count[0] == 25 && count[1] == 25);
    ts_buf text = {0};
    json_t *doc;
    CHECK_OK(ts_fs_read(GOLDEN "second/expected.json", 1 << 20, &text, &err));
    CHECK_OK(ts_json_parse(text.data, text.len, &doc, &err));
    for (size_t i = 0; i < 50; i++) { /* the first row is the recorded clip's start */
        const json_t *frame = json_array_get(json_object_get(doc, "frames"), i / 25);
        int64_t want = json_integer_value(json_array_get(json_object_get(frame, "tokens"), i % 25));
        assert_int_equal(pos[0][i], want + 84 * (int64_t)(i / 25));
        assert_int_equal(padded[0][i] | padded[1][i], 0);
    }
    ts_tensor *second, *alone[1];
    shape.dim[0] = 1;
    CHECK_OK(ts_tensor_from_host(f->queue, TS_F32, &shape, t->data + t->nbytes / 2, t->nbytes / 2,
                                 &second, &err));
    CHECK_OK(ts_model_run(model, (const ts_tensor *const *)&second, wanted, 1, alone, &err));
    int64_t single[50];
    CHECK_OK(ts_tensor_read(f->queue, alone[0], single, &err));
    assert_memory_equal(single, pos[1], sizeof single);
    for (int i = 0; i < 3; i++)
        ts_tensor_unref(out[i]);
    ts_tensor_unref(alone[0]);
    ts_tensor_unref(second);
    ts_tensor_unref(video);
    ts_buf_finish(&text);
    json_decref(doc);
    ts_model_destroy(model);
    ts_golden_close(&g);
}

/* Opt-in: the official weights, which may not be shipped, against their recorded outputs. */
static void official_weights_give_the_recorded_outputs(void **state)
{
    ts_opsfix *f = *state;
    const char *directory = getenv("AUTOGAZE_MODEL_DIR");
    if (!directory) {
        print_message("AUTOGAZE_MODEL_DIR is not set: the official weights are not tested\n");
        skip();
    }
    ts_error err = {0};
    ts_golden g;
    ts_model *model;
    ts_buf text = {0};
    json_t *doc;
    ts_autogaze_stream *s;
    ts_golden_open(GOLDEN "official/official.safetensors", &g);
    CHECK_OK(ts_fs_read(GOLDEN "official/official.json", 1 << 20, &text, &err));
    CHECK_OK(ts_json_parse(text.data, text.len, &doc, &err));
    CHECK_OK(ts_model_load(f->queue, directory, &model, &err));
    ts_autogaze *a = ts_autogaze_of(model);
    assert_non_null(a);
    CHECK_OK(ts_autogaze_stream_create(a, f->ops, &s, &err));
    const json_t *want = json_object_get(json_object_get(doc, "noise"), "gazing_pos");
    float *video = ts_golden_f32(&g, "noise.video"),
          *embeds = ts_golden_f32(&g, "noise.vision_embeds");
    ts_autogaze_limits l = ts_autogaze_limits_default(a);
    l.max_tokens = 7;
    l.has_requirement = false;
    for (int t = 0; t < 2; t++) {
        ts_arr input = {0};
        ts_autogaze_frame out;
        CHECK_OK(ts_arr_from_host(f->ops, TS_F32, &TS_SHAPE(3, 224, 224),
                                  video + (size_t)t * 3 * 224 * 224, &input, &err));
        CHECK_OK(ts_autogaze_step(s, f->ops, &input, &l, &out, &err));
        float got[196 * 192];
        ts_arr e = ts_autogaze_embeddings(s);
        CHECK_OK(ts_arr_read(f->ops, &e, got, &err));
        for (size_t i = 0; i < 196 * 192; i++) {
            double x = embeds[(size_t)t * 196 * 192 + i];
            ts_check_close(got[i], x, 8e-4 * fmax(1, fabs(x) / 100), 0, "embeds", i);
        }
        for (int i = 0; i < out.n_tokens; i++)
            assert_int_equal(out.tokens[i] + 265 * t,
                             json_integer_value(json_array_get(want, (size_t)(7 * t + i))));
        ts_arr_free(&input);
    }
    /* Two frames of a film, limit and requirement of the configuration's kind. */
    const json_t *birds = json_object_get(doc, "birds");
    const json_t *ids = json_object_get(birds, "gazing_pos");
    const json_t *flags = json_object_get(birds, "if_padded_gazing");
    ts_autogaze_input *in;
    CHECK_OK(ts_autogaze_input_create(a, &in, &err));
    ts_autogaze_stream_reset(s);
    l.max_tokens = (int)json_integer_value(json_object_get(birds, "max_tokens"));
    l.has_requirement = true;
    l.requirement = json_number_value(json_object_get(birds, "task_loss_requirement"));
    size_t at = 0;
    for (int t = 0; t < 2; t++) {
        ts_gaze_image frame = picture_of(f,
                                         t ? GOLDEN "official/birds_resized_398x224_01.png"
                                           : GOLDEN "official/birds_resized_398x224_00.png",
                                         398, 224);
        ts_arr tiles;
        int rows, cols;
        ts_autogaze_frame out;
        CHECK_OK(ts_autogaze_prepare(in, f->ops, &frame, TS_AUTOGAZE_RESIZE, 0, 0, &tiles, &rows,
                                     &cols, &err));
        CHECK_OK(ts_autogaze_step(s, f->ops, &tiles, &l, &out, &err));
        for (int i = 0; i < out.n_tokens; i++, at++) {
            int64_t id = json_integer_value(json_array_get(ids, at)) - 265 * t;
            if (out.tokens[i] != id)
                fail_msg("birds frame %d: token %d is %d, recorded %lld", t, i, out.tokens[i],
                         (long long)id);
            assert_int_equal(!out.valid[i], json_integer_value(json_array_get(flags, at)));
        }
        ts_buffer_unref(frame.buffer);
    }
    assert_int_equal(at, json_array_size(ids));
    CHECK_OK(ts_queue_finish(f->queue, &err));
    ts_autogaze_input_destroy(in);
    ts_autogaze_stream_destroy(s);
    free(video);
    free(embeds);
    ts_buf_finish(&text);
    json_decref(doc);
    ts_model_destroy(model);
    ts_golden_close(&g);
}

/* The mask source over tiles: per-tile tokens, and cells in the grid of the whole frame. */
static void tiles_are_streams_of_their_own(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    ts_golden g;
    ts_golden_open(GOLDEN "expected.safetensors", &g);
    json_t *doc = expected();
    const json_t *want = json_object_get(json_object_get(doc, "runs"), "tiles"), *tile;
    ts_autogaze *a = load(f, "model.safetensors");
    ts_gaze_source source;
    CHECK_OK(ts_autogaze_source_create(a, &source, &err));
    json_t *options = json_pack("{s:s, s:I}", "mode", "tiled", "max_gaze_tokens_each_frame",
                                json_integer_value(json_object_get(want, "max_tokens")));
    CHECK_OK(source.set(source.self, options, &err));
    json_decref(options);
    for (int t = 0; t < clips[2].n; t++) {
        ts_gaze_image frame = frame_of(f, &clips[2], t);
        ts_gaze_fix fix;
        size_t i;
        CHECK_OK(source.step(source.self, f->queue, &frame, &fix, &err));
        assert_int_equal(fix.n_tiles, json_array_size(json_object_get(want, "tiles")));
        json_array_foreach(json_object_get(want, "tiles"), i, tile)
        {
            const json_t *list = json_object_get(
                json_array_get(json_object_get(tile, "frames"), (size_t)t), "tokens");
            assert_int_equal(fix.tile_start[i + 1] - fix.tile_start[i], json_array_size(list));
            for (size_t k = 0; k < json_array_size(list); k++)
                assert_int_equal(fix.tokens[fix.tile_start[i] + k],
                                 json_integer_value(json_array_get(list, k)));
        }
        for (size_t s = 0; s < fix.n_scales; s++) {
            char name[64];
            snprintf(name, sizeof name, "tiles.odd511x300.global_scale_mask_%zu", s);
            const ts_st_tensor *mask = ts_golden_find(&g, name);
            int64_t cells = mask->shape.dim[1] * mask->shape.dim[2], marked = 0, all = 0;
            uint8_t *seen = calloc((size_t)cells, 1);
            for (size_t k = 0; k < fix.n_cells; k++)
                if (fix.cells[k].scale == (int)s) {
                    assert_int_equal(fix.cells[k].cols, mask->shape.dim[2]);
                    int64_t at = (int64_t)fix.cells[k].row * mask->shape.dim[2] + fix.cells[k].col;
                    assert_int_equal(mask->data[t * cells + at], 1);
                    marked += !seen[at];
                    seen[at] = 1;
                }
            for (int64_t k = 0; k < cells; k++)
                all += mask->data[t * cells + k];
            assert_int_equal(marked, all);
            free(seen);
        }
        ts_buffer_unref(frame.buffer);
    }
    ts_gaze_source_finish(&source);
    ts_autogaze_unref(a);
    json_decref(doc);
    ts_golden_close(&g);
}

/* Two streams that take turns, and a batch behind the model interface, are as alone. */
static void streams_do_not_touch_each_other(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    json_t *doc = expected();
    const json_t *runs = json_object_get(doc, "runs");
    ts_autogaze *a = load(f, "model.safetensors");
    ts_autogaze_stream *s[2];
    ts_autogaze_input *in[2];
    ts_autogaze_limits l = ts_autogaze_limits_default(a);
    l.max_tokens = 198;
    l.has_requirement = true;
    l.requirement = 0.7;
    for (int k = 0; k < 2; k++) {
        CHECK_OK(ts_autogaze_stream_create(a, f->ops, &s[k], &err));
        CHECK_OK(ts_autogaze_input_create(a, &in[k], &err));
    }
    for (int t = 0; t < 4; t++)
        for (int k = 0; k < 2; k++) {
            char key[64];
            snprintf(key, sizeof key, "%s.taskloss.f32", clips[k].name);
            ts_gaze_image frame = frame_of(f, &clips[k], t);
            ts_arr tiles;
            int rows, cols;
            ts_autogaze_frame out;
            CHECK_OK(ts_autogaze_prepare(in[k], f->ops, &frame, TS_AUTOGAZE_RESIZE, 0, 0, &tiles,
                                         &rows, &cols, &err));
            CHECK_OK(ts_autogaze_step(s[k], f->ops, &tiles, &l, &out, &err));
            check_tokens(
                &out,
                json_array_get(json_object_get(json_object_get(runs, key), "frames"), (size_t)t),
                key, t);
            ts_buffer_unref(frame.buffer);
        }
    CHECK_OK(ts_queue_finish(f->queue, &err));
    for (int k = 0; k < 2; k++) {
        ts_autogaze_stream_destroy(s[k]);
        ts_autogaze_input_destroy(in[k]);
    }
    ts_autogaze_unref(a);
    json_decref(doc);
}

/* Share of a 28x28 lattice (the least common multiple of 2, 4, 7, 14) under the first n tokens. */
static double lattice_share(const ts_autogaze_config *c, const json_t *tokens, size_t n)
{
    bool map[28][28] = {{false}};
    int marked = 0;
    for (size_t i = 0; i < n; i++) {
        int scale, row, col;
        ts_autogaze_cell(c, (int)json_integer_value(json_array_get(tokens, i)), &scale, &row, &col);
        int cell = 28 / c->grid[scale];
        for (int y = row * cell; y < (row + 1) * cell; y++)
            for (int x = col * cell; x < (col + 1) * cell; x++) {
                marked += !map[y][x];
                map[y][x] = true;
            }
    }
    return marked / (28.0 * 28.0);
}

/* The frame ends after the chunk that reaches the share; its tokens are those of the full run. */
static void coverage_ends_a_frame_early(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    json_t *doc = expected();
    const json_t *tokens =
        json_object_get(json_array_get(json_object_get(json_object_get(json_object_get(doc, "runs"),
                                                                       "square448.budget.f32"),
                                                       "frames"),
                                       0),
                        "tokens");
    ts_autogaze *a = load(f, "model.safetensors");
    const ts_autogaze_config *c = ts_autogaze_get_config(a);
    ts_autogaze_stream *s;
    ts_autogaze_input *in;
    ts_autogaze_frame out;
    ts_arr tiles;
    int rows, cols;
    CHECK_OK(ts_autogaze_stream_create(a, f->ops, &s, &err));
    CHECK_OK(ts_autogaze_input_create(a, &in, &err));
    ts_gaze_image frame = frame_of(f, &clips[0], 0);
    ts_autogaze_limits l = ts_autogaze_limits_default(a);
    l.has_requirement = false;
    /* More than ten tokens cover, not more than twenty do. */
    l.coverage = (lattice_share(c, tokens, 10) + lattice_share(c, tokens, 20)) / 2;
    assert_true(l.coverage > lattice_share(c, tokens, 10));
    CHECK_OK(ts_autogaze_prepare(in, f->ops, &frame, TS_AUTOGAZE_RESIZE, 0, 0, &tiles, &rows, &cols,
                                 &err));
    CHECK_OK(ts_autogaze_step(s, f->ops, &tiles, &l, &out, &err));
    assert_int_equal(out.n_tokens, 20);
    for (size_t i = 0; i < 20; i++)
        assert_int_equal(out.tokens[i], json_integer_value(json_array_get(tokens, i)));
    CHECK_OK(ts_queue_finish(f->queue, &err));
    ts_autogaze_stream_destroy(s);
    ts_autogaze_input_destroy(in);
    ts_buffer_unref(frame.buffer);
    ts_autogaze_unref(a);
    json_decref(doc);
}

static void a_long_stream_keeps_its_memory(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    ts_autogaze *a = load(f, "model.safetensors");
    ts_autogaze_input *in;
    ts_autogaze_stream *s;
    CHECK_OK(ts_autogaze_input_create(a, &in, &err));
    CHECK_OK(ts_autogaze_stream_create(a, f->ops, &s, &err));
    ts_autogaze_limits l = ts_autogaze_limits_default(a);
    l.horizon = 2;
    l.max_tokens = 20;
    l.has_requirement = false;
    ts_gaze_image frame[2] = {frame_of(f, &clips[1], 0), frame_of(f, &clips[1], 1)};
    ts_device_stats before = {0}, after;
    for (int t = 0; t < 40; t++) {
        ts_arr tiles;
        int rows, cols;
        ts_autogaze_frame out;
        CHECK_OK(ts_autogaze_prepare(in, f->ops, &frame[t % 2], TS_AUTOGAZE_RESIZE, 0, 0, &tiles,
                                     &rows, &cols, &err));
        CHECK_OK(ts_autogaze_step(s, f->ops, &tiles, &l, &out, &err));
        assert_int_equal(out.slots, (t ? 2 : 1) * (196 + 20));
        if (t == 8)
            ts_device_get_stats(f->device, &before);
    }
    ts_device_get_stats(f->device, &after);
    assert_int_equal(after.used_bytes, before.used_bytes);
    assert_int_equal(after.allocations + after.pool_hits, before.allocations + before.pool_hits);
    CHECK_OK(ts_queue_finish(f->queue, &err));
    ts_autogaze_stream_destroy(s);
    ts_autogaze_input_destroy(in);
    ts_buffer_unref(frame[0].buffer);
    ts_buffer_unref(frame[1].buffer);
    ts_autogaze_unref(a);
}

static void bad_configurations_are_refused_by_key(void **state)
{
    (void)state;
    static const struct {
        const char *json, *says;
    } bad[] = {
        {"{\"model_type\":\"llama\"}", "model_type"},
        {"{\"scales\":\"32+x\"}", "scales"},
        {"{\"scales\":\"224\",\"num_vision_tokens_each_frame\":195,\"gaze_model_config\":"
         "{\"gaze_decoder_config\":{\"hidden_size\":192,\"num_attention_heads\":6}}}",
         "scales"},
        {"{\"gaze_model_config\":{\"vision_model_config\":{\"kernel_size\":0}}}", "kernel_size"},
        {"{\"gaze_model_config\":{\"vision_model_config\":{\"trunk_spatial_kernel_size\":2}}}",
         "trunk_spatial"},
        {"{\"gaze_model_config\":{\"vision_model_config\":{\"temporal_patch_size\":2}}}",
         "temporal_patch_size"},
        {"{\"gaze_model_config\":{\"gaze_decoder_config\":{\"hidden_act\":\"gelu\"}}}",
         "hidden_act"},
        {"{\"gaze_model_config\":{\"gaze_decoder_config\":{\"hidden_size\":\"big\"}}}",
         "hidden_size"},
        {"{\"gaze_model_config\":{\"gaze_decoder_config\":{\"hidden_size\":64}}}", "hidden_size"},
        {"{\"gaze_model_config\":{\"gaze_decoder_config\":{\"rope_scaling\":{\"rope_type\":"
         "\"yarn\"}}}}",
         "rope_scaling"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ts_error err = {0};
        json_t *doc;
        ts_autogaze_config c;
        CHECK_OK(ts_json_parse(bad[i].json, strlen(bad[i].json), &doc, &err));
        ts_status st = ts_autogaze_config_read(doc, &c, &err);
        if (st != TS_E_FILE || !strstr(err.text, bad[i].says))
            fail_msg("case %zu: %s \"%s\", want \"%s\"", i, ts_status_code(st), err.text,
                     bad[i].says);
        ts_error_clear(&err);
        json_decref(doc);
    }
    /* The defaults of the class: one scale, one token a pass. */
    ts_error err = {0};
    json_t *doc = json_pack("{s:{s:{s:i,s:i}}}", "gaze_model_config", "gaze_decoder_config",
                            "hidden_size", 192, "num_attention_heads", 6);
    ts_autogaze_config c;
    CHECK_OK(ts_autogaze_config_read(doc, &c, &err));
    assert_true(c.n_scales == 1 && c.grid[0] == 14 && c.multi_token == 1 && c.n_ids == 196);
    assert_int_equal(ts_autogaze_limit(&c, 0.5), 98);
    json_decref(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pictures_become_the_recorded_input),
        cmocka_unit_test(clips_give_the_recorded_tokens),
        cmocka_unit_test(bf16_weights_are_widened),
        cmocka_unit_test(a_sliding_horizon_drops_the_oldest_frames),
        cmocka_unit_test(a_second_configuration_gives_its_tokens),
        cmocka_unit_test(a_batch_is_two_single_runs),
        cmocka_unit_test(official_weights_give_the_recorded_outputs),
        cmocka_unit_test(tiles_are_streams_of_their_own),
        cmocka_unit_test(streams_do_not_touch_each_other),
        cmocka_unit_test(coverage_ends_a_frame_early),
        cmocka_unit_test(a_long_stream_keeps_its_memory),
        cmocka_unit_test(bad_configurations_are_refused_by_key),
    };
    return cmocka_run_group_tests(tests, ts_opsfix_setup, ts_opsfix_teardown);
}
