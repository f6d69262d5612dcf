/* RF-DETR against recorded runs: intermediate tensors, detections from pictures, damaged directories. */
#include <sys/stat.h>
#include <unistd.h>

#include "cl/base/fs.h"
#include "cl/models/rfdetr/rfdetr.h"
#include "tests/support/check.h"
#include "tests/support/golden.h"
#include "tests/support/opsfix.h"

#define GOLDEN TS_TEST_DIR "/golden/rf-detr/"

static ts_model *load(ts_opsfix *f, const char *name)
{
    char path[256];
    ts_error err = {0};
    ts_model *model = NULL;
    snprintf(path, sizeof path, "%s%s", GOLDEN, name);
    CHECK_OK(ts_model_load(f->queue, path, &model, &err));
    assert_non_null(ts_rfdetr_of(model));
    return model;
}

static void open_golden(const char *name, const char *file, ts_golden *g)
{
    char path[256];
    snprintf(path, sizeof path, "%s%s/%s", GOLDEN, name, file);
    ts_golden_open(path, g);
}

/* Every recorded tensor that the network offers, from the recorded pixel_values. */
static void tensors_case(ts_opsfix *f, const char *name)
{
    static const char *const names[] = {
        "patch_embed", "embeddings", "block0", "block1", "block2", "tap0", "tap1", "proj_conv1",
        "proj_bottleneck0", "proj_bottleneck1", "proj_bottleneck2", "projector", "enc_memory",
        "enc_class_logits", "enc_class_max", "topk_index", "topk_boxes", "ref_points", "query_sine",
        "query_pos", "dec0_out", "dec0_norm", "dec1_out", "dec1_norm", "dec2_norm", "logits", "boxes"};
    ts_error err = {0};
    ts_golden g;
    open_golden(name, "golden.safetensors", &g);
    ts_model *model = load(f, name);
    float *pixels = ts_golden_f32(&g, "pixel_values");
    const ts_shape *shape = &ts_golden_find(&g, "pixel_values")->shape;
    ts_tensor *x, *y;
    CHECK_OK(ts_tensor_from_host(f->queue, TS_F32, shape, pixels,
                                 (size_t)ts_shape_elements(shape) * 4, &x, &err));
    int compared = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const ts_st_tensor *want = ts_safetensors_find(&g.file, names[i]);
        if (!want)
            continue;
        CHECK_OK(model->ops->run(model, (const ts_tensor *const *)&x, &names[i], 1, &y, &err));
        assert_int_equal(ts_shape_elements(ts_tensor_shape(y)), ts_shape_elements(&want->shape));
        size_t n = (size_t)ts_shape_elements(&want->shape);
        if (ts_tensor_dtype(y) == TS_I32) {
            int32_t *got = calloc(n, sizeof *got);
            CHECK_OK(ts_tensor_read(f->queue, y, got, &err));
            assert_memory_equal(got, want->data, n * 4);
            free(got);
        } else {
            float *got = calloc(n, sizeof *got), *w = ts_golden_f32(&g, names[i]);
            double most = 1;
            CHECK_OK(ts_tensor_read(f->queue, y, got, &err));
            for (size_t k = 0; k < n; k++)
                most = isfinite(w[k]) && fabs((double)w[k]) > most ? fabs((double)w[k]) : most;
            for (size_t k = 0; k < n; k++)
                if (isinf(w[k]))
                    assert_true(got[k] == w[k]);
                else
                    ts_check_close((double)got[k], (double)w[k], 1e-4 * most, 0, names[i], k);
            free(got);
            free(w);
        }
        ts_tensor_unref(y);
        compared++;
    }
    assert_true(compared >= 10);
    ts_tensor_unref(x);
    free(pixels);
    ts_model_destroy(model);
    ts_golden_close(&g);
}

/* From the picture's bytes to ranked boxes in its pixels. */
static void detections_case(ts_opsfix *f, const char *name, int images)
{
    ts_error err = {0};
    ts_golden g, pictures;
    open_golden(name, "golden.safetensors", &g);
    open_golden(name, "images_u8.safetensors", &pictures);
    ts_model *model = load(f, name);
    ts_rfdetr *m = ts_rfdetr_of(model);
    size_t q = (size_t)ts_rfdetr_queries(m), n;
    float *boxes = ts_golden_f32(&g, "det_boxes"), *scores = ts_golden_f32(&g, "det_scores");
    float *limit = ts_golden_f32(&g, "det_threshold"), *pixels = ts_golden_f32(&g, "pixel_values");
    const int32_t *labels = (const void *)ts_golden_find(&g, "det_labels")->data;
    const int32_t *counts = (const void *)ts_golden_find(&g, "det_count")->data;
    size_t per = ts_golden_count(&g, "pixel_values") / (size_t)images;
    ts_rfdetr_box *out = calloc(q, sizeof *out);
    float *prepared = calloc(per, sizeof *prepared);
    for (int i = 0; i < images; i++) {
        char key[16];
        snprintf(key, sizeof key, "image%d", i);
        const ts_st_tensor *t = ts_golden_find(&pictures, key);
        int h = (int)t->shape.dim[0], w = (int)t->shape.dim[1];
        const uint8_t *rgb = t->data;
        uint8_t *rgba = calloc((size_t)(w * h), 4);
        for (int k = 0; k < w * h; k++)
            memcpy(rgba + k * 4, rgb + k * 3, 3);
        ts_rfdetr_image image = {.width = w, .height = h};
        CHECK_OK(ts_arr_from_host(f->ops, TS_U8, &TS_SHAPE(h, w, 4), rgba, &image.rgba, &err));
        CHECK_OK(ts_queue_finish(f->queue, &err));
        ts_arr x;
        CHECK_OK(ts_rfdetr_prepare(m, &image, &x, &err));
        CHECK_OK(ts_arr_read(f->ops, &x, prepared, &err));
        for (size_t k = 0; k < per; k++)
            ts_check_close((double)prepared[k], (double)pixels[(size_t)i * per + k], 2e-4, 0,
                           "pixel_values", k);
        CHECK_OK(ts_rfdetr_detect(m, &image, -1, false, out, &n, &err));
        assert_int_equal(n, q);
        for (size_t k = 0; k < n; k++) {
            const float *b = boxes + ((size_t)i * q + k) * 4;
            const float own[] = {out[k].x0, out[k].y0, out[k].x1, out[k].y1};
            assert_int_equal(out[k].class_id, labels[(size_t)i * q + k]);
            ts_check_close((double)out[k].score, (double)scores[(size_t)i * q + k], 1e-4, 0, "score", k);
            for (int c = 0; c < 4; c++)
                ts_check_close((double)own[c], (double)b[c], 0.02, 0, "box", k);
        }
        CHECK_OK(ts_rfdetr_detect(m, &image, limit[0], true, out, &n, &err));
        assert_int_equal(n, counts[i]);
        for (size_t k = 0; k < n; k++)
            assert_true(out[k].x0 >= 0 && out[k].x1 <= (float)w && out[k].y0 >= 0 &&
                        out[k].y1 <= (float)h);
        image.width = w + 1;
        assert_int_equal(ts_rfdetr_detect(m, &image, 0.5f, true, out, &n, &err), TS_E_SHAPE);
        ts_error_clear(&err);
        ts_arr_free(&image.rgba);
        free(rgba);
    }
    free(out);
    free(prepared);
    free(boxes);
    free(scores);
    free(limit);
    free(pixels);
    ts_model_destroy(model);
    ts_golden_close(&g);
    ts_golden_close(&pictures);
}

static void tiny_a(void **state)
{
    tensors_case(*state, "tiny-a");
    detections_case(*state, "tiny-a", 1);
}

static void tiny_b(void **state)
{
    tensors_case(*state, "tiny-b");
    detections_case(*state, "tiny-b", 1);
}

static void tiny_c(void **state)
{
    tensors_case(*state, "tiny-c");
    detections_case(*state, "tiny-c", 2);
}

static void tiny_d(void **state)
{
    tensors_case(*state, "tiny-d");
    detections_case(*state, "tiny-d", 1);
}

static const char *find(const char *data, size_t len, const char *text)
{
    size_t n = strlen(text);
    for (size_t i = 0; i + n <= len; i++)
        if (!memcmp(data + i, text, n))
            return data + i;
    return NULL;
}

/* tiny-a's directory with a text of config.json replaced. */
static ts_status load_changed(ts_opsfix *f, const char *old, const char *new, ts_error *why)
{
    char folder[] = "/tmp/ts-rfdetr-XXXXXX", path[128];
    static const char *const files[] = {"config.json", "preprocessor_config.json",
                                        "model.safetensors"};
    ts_error err = {0};
    assert_non_null(mkdtemp(folder));
    for (int i = 0; i < 3; i++) {
        ts_buf text = {0}, changed = {0};
        snprintf(path, sizeof path, GOLDEN "tiny-a/%s", files[i]);
        CHECK_OK(ts_fs_read(path, 1 << 24, &text, &err));
        const char *at = find((const char *)text.data, text.len, old);
        if (at) {
            size_t before = (size_t)(at - (const char *)text.data);
            ts_buf_append(&changed, text.data, before);
            ts_buf_str(&changed, new);
            ts_buf_append(&changed, at + strlen(old), text.len - before - strlen(old));
        } else {
            ts_buf_append(&changed, text.data, text.len);
        }
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        CHECK_OK(ts_fs_write_atomic(path, changed.data, changed.len, &err));
        ts_buf_finish(&text);
        ts_buf_finish(&changed);
    }
    ts_model *model = NULL;
    ts_status st = ts_model_load(f->queue, folder, &model, why);
    ts_model_destroy(model);
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        unlink(path);
    }
    rmdir(folder);
    return st;
}

static void refused(void **state)
{
    static const struct {
        const char *old, *new, *text;
    } cases[] = {
        {"\"num_feature_levels\": 1", "\"num_feature_levels\": 2", "num_feature_levels"},
        {"\"d_model\": 32", "\"d_model\": 48", "tensors"},
        {"transformer.decoder.norm.weight", "transformer.decoder.nerm.weight", "transformer.decoder.norm.weight"},
        {"\"hidden_size\": 48", "\"hidden_size\": 4095", "tensors"},
        {"\"image_size\": 64", "\"image_size\": 32000", "tensors"},
        {"\"height\": 64", "\"height\": 60", "divisible"},
        {"\"height\": 64", "\"height\": 80", "square"},
        {"\"apply_layernorm\": true", "\"apply_layernorm\": false", "apply_layernorm"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ts_error err = {0};
        assert_int_equal(load_changed(*state, cases[i].old, cases[i].new, &err), TS_E_FILE);
        assert_non_null(strstr(err.text, cases[i].text));
        ts_error_clear(&err);
    }
}

/* What is no number goes through without harm, and the next picture is as ever. */
static void not_a_number(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    ts_model *model = load(f, "tiny-a");
    static const char *const outputs[] = {"logits", "boxes"};
    float *pixels = calloc(3 * 64 * 64, sizeof *pixels);
    for (int i = 0; i < 3 * 64 * 64; i++)
        pixels[i] = i % 2 ? NAN : INFINITY;
    ts_tensor *x, *y[2];
    CHECK_OK(ts_tensor_from_host(f->queue, TS_F32, &TS_SHAPE(1, 3, 64, 64), pixels,
                                 3 * 64 * 64 * sizeof *pixels, &x, &err));
    CHECK_OK(ts_model_run(model, (const ts_tensor *const *)&x, outputs, 2, y, &err));
    ts_tensor_unref(x);
    ts_tensor_unref(y[0]);
    ts_tensor_unref(y[1]);
    free(pixels);
    ts_model_destroy(model);
    detections_case(f, "tiny-a", 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiny_a), cmocka_unit_test(tiny_b),  cmocka_unit_test(tiny_c),
        cmocka_unit_test(tiny_d), cmocka_unit_test(refused), cmocka_unit_test(not_a_number),
    };
    return cmocka_run_group_tests(tests, ts_opsfix_setup, ts_opsfix_teardown);
}
