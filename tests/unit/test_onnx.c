/*
 * ONNX graphs: whole networks with recorded results, damaged files, and the node suite of the onnx
 * package where ONNX_NODE_TESTS names its folder (tests/e2e/test_onnx_nodes.py fetches it).
 */
#include <dirent.h>
#include <stdio.h>
#include <unistd.h>

#include "cl/base/fs.h"
#include "cl/graph/exec.h"
#include "cl/models/model.h"
#include "cl/tensor/npy.h"
#include "tests/support/check.h"
#include "tests/support/golden.h"
#include "tests/support/opsfix.h"

#define GOLDEN TS_TEST_DIR "/golden/onnx/"

/* ---- networks ---- */

static ts_tensor *load_npy(ts_opsfix *f, const char *folder, const char *name)
{
    char path[512];
    ts_error err = {0};
    ts_fs_map map;
    ts_npy npy;
    ts_tensor *tensor;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    CHECK_OK(ts_fs_map_open(path, &map, &err));
    CHECK_OK(ts_npy_parse(map.data, map.len, &npy, &err));
    CHECK_OK(ts_tensor_from_host(f->queue, npy.dtype, &npy.shape,
                                 (const char *)map.data + npy.header_bytes, npy.nbytes, &tensor,
                                 &err));
    ts_fs_map_close(&map);
    return tensor;
}

static void compare(ts_opsfix *f, const ts_tensor *got, const ts_tensor *want, double abs, double rel,
                    const char *what)
{
    ts_error err = {0};
    assert_true(ts_shape_equal(ts_tensor_shape(got), ts_tensor_shape(want)));
    assert_int_equal(ts_tensor_dtype(got), ts_tensor_dtype(want));
    size_t bytes = ts_tensor_nbytes(want);
    void *a = malloc(bytes + 1), *b = malloc(bytes + 1);
    CHECK_OK(ts_tensor_read(f->queue, got, a, &err));
    CHECK_OK(ts_tensor_read(f->queue, want, b, &err));
    if (ts_tensor_dtype(want) == TS_F32)
        for (size_t i = 0; i < bytes / 4; i++)
            ts_check_close((double)((float *)a)[i], (double)((float *)b)[i], abs, rel, what, i);
    else
        assert_memory_equal(a, b, bytes);
    free(a);
    free(b);
}

static void run_case(ts_opsfix *f, ts_model *model, const char *folder, const json_t *run,
                     double abs, double rel)
{
    ts_error err = {0};
    const json_t *in = json_object_get(run, "inputs"), *out = json_object_get(run, "outputs");
    ts_tensor *inputs[8] = {0}, *outputs[8] = {0};
    const char *wanted[8];
    size_t n = 0;
    for (size_t i = 0; i < model->info.n_inputs; i++) {
        const char *file = json_string_value(json_object_get(in, model->info.inputs[i].name));
        assert_non_null(file);
        inputs[i] = load_npy(f, folder, file);
    }
    const char *name;
    json_t *file;
    json_object_foreach ((json_t *)out, name, file)
        wanted[n++] = name;
    CHECK_OK(ts_model_run(model, (const ts_tensor *const *)inputs, wanted, n, outputs, &err));
    for (size_t i = 0; i < n; i++) {
        ts_tensor *want =
            load_npy(f, folder, json_string_value(json_object_get(out, wanted[i])));
        compare(f, outputs[i], want, abs, rel, wanted[i]);
        ts_tensor_unref(want);
        ts_tensor_unref(outputs[i]);
    }
    for (size_t i = 0; i < model->info.n_inputs; i++)
        ts_tensor_unref(inputs[i]);
}

/* Run 0, run 1 (other sizes), run 0 again in one loaded model. */
static void network(void **state, const char *name)
{
    ts_opsfix *f = *state;
    char folder[256], path[300];
    ts_error err = {0};
    ts_buf text = {0};
    json_t *info;
    ts_model *model;
    snprintf(folder, sizeof folder, "%s%s", GOLDEN, name);
    snprintf(path, sizeof path, "%s/case.json", folder);
    CHECK_OK(ts_fs_read(path, 1 << 20, &text, &err));
    CHECK_OK(ts_json_parse(text.data, text.len, &info, &err));
    ts_buf_finish(&text);
    CHECK_OK(ts_model_load(f->queue, folder, &model, &err));
    assert_string_equal(model->info.platform, "tensorscope_onnx");
    const json_t *runs = json_object_get(info, "runs");
    const json_t *limit = json_object_get(info, "tolerance");
    double abs = json_number_value(json_object_get(limit, "abs"));
    double rel = json_number_value(json_object_get(limit, "rel"));
    for (int i = 0; i < 3; i++)
        run_case(f, model, folder, json_array_get(runs, i % 2), abs, rel);
    ts_model_destroy(model);
    json_decref(info);
}

#define NETWORKS(X)                                                                           \
    X(resnet_bn) X(resnet_folded) X(mobilenetv3) X(efficientnet) X(vit_layernorm)             \
        X(vit_primitive) X(yolo_head) X(vae_decoder) X(unet) X(quantized_qdq)                 \
            X(convnext_external) X(half_precision) X(torch_script) X(torch_dynamo)
#define X(name)                      \
    static void name(void **state)   \
    {                                \
        network(state, #name);       \
    }
NETWORKS(X)
#undef X

/* ---- RF-DETR as its exporter wrote it ---- */

static void rf_detr(void **state)
{
    static const char *const outputs[] = {"dets", "labels"}, *const recorded[] = {"boxes", "logits"};
    ts_opsfix *f = *state;
    const char *folder = TS_TEST_DIR "/golden/rf-detr/onnx-a";
    ts_error err = {0};
    ts_model *model;
    ts_golden g;
    ts_tensor *x, *y[2];
    CHECK_OK(ts_model_load(f->queue, folder, &model, &err));
    ts_golden_open(TS_TEST_DIR "/golden/rf-detr/tiny-a/golden.safetensors", &g);
    const ts_st_tensor *pixels = ts_golden_find(&g, "pixel_values");
    CHECK_OK(ts_tensor_from_host(f->queue, TS_F32, &pixels->shape, pixels->data, pixels->nbytes, &x,
                                 &err));
    CHECK_OK(ts_model_run(model, (const ts_tensor *const *)&x, outputs, 2, y, &err));
    for (int i = 0; i < 2; i++) {
        const ts_st_tensor *want = ts_golden_find(&g, recorded[i]);
        float *got = malloc(want->nbytes), *expected = ts_golden_f32(&g, recorded[i]);
        assert_int_equal(ts_tensor_nbytes(y[i]), want->nbytes);
        CHECK_OK(ts_tensor_read(f->queue, y[i], got, &err));
        for (size_t k = 0; k < want->nbytes / 4; k++)
            ts_check_close((double)got[k], (double)expected[k], 1e-4, 1e-3, outputs[i], k);
        free(got);
        free(expected);
        ts_tensor_unref(y[i]);
    }
    ts_tensor_unref(x);
    ts_model_destroy(model);
    ts_golden_close(&g);
}

/* ---- the node suite ---- */

static bool load_pb(const char *folder, const char *kind, size_t i, ts_value *out, ts_error *err)
{
    char path[600];
    ts_buf bytes = {0};
    snprintf(path, sizeof path, "%s/test_data_set_0/%s_%zu.pb", folder, kind, i);
    bool ok = ts_fs_read(path, 64 << 20, &bytes, err) == TS_OK &&
              ts_value_from_bytes(bytes.data, bytes.len, out, err) == TS_OK;
    ts_buf_finish(&bytes);
    return ok;
}

static bool same(const ts_value *got, const ts_value *want, ts_error *err)
{
    char a[128], b[128];
    if (got->type != want->type || !ts_shape_equal(&got->shape, &want->shape)) {
        ts_status st = ts_fail(err, TS_E_SHAPE, "%s %s instead of %s %s",
                               ts_onnx_type_name(got->type), ts_shape_text(&got->shape, a, sizeof a),
                               ts_onnx_type_name(want->type),
                               ts_shape_text(&want->shape, b, sizeof b));
        return st == TS_OK;
    }
    for (int64_t i = 0; i < ts_value_elements(want); i++) {
        double x = got->host[i], y = want->host[i];
        double limit = ts_onnx_is_float(want->type) ? 1e-5 + 1e-3 * fabs(y) : 0.0;
        if (want->type == TS_ONNX_F16)
            limit = 1e-3 + 2e-3 * fabs(y);
        if (x == y || (isnan(x) && isnan(y)) || fabs(x - y) <= limit)
            continue;
        ts_status st = ts_fail(err, TS_E_SHAPE, "element %lld is %.9g, expected %.9g", (long long)i,
                               x, y);
        return st == TS_OK;
    }
    return true;
}

/* Inputs as they come from outside: floats on the device, the rest on the host. */
static bool node_case(ts_opsfix *f, const char *folder, ts_error *err)
{
    ts_graph *graph = NULL;
    ts_graph_exec *exec = NULL;
    ts_value in[TS_MAX_RANK * 4] = {0}, out[16] = {0}, want = {0};
    int wanted[16];
    bool ok = ts_graph_load(folder, &graph, err) == TS_OK &&
              ts_graph_exec_create(f->ops, graph, &exec, err) == TS_OK;
    for (size_t i = 0; ok && i < graph->n_inputs; i++) {
        ts_arr array;
        ok = load_pb(folder, "input", i, &in[i], err);
        if (ok && ts_onnx_is_float(in[i].type)) {
            ok = ts_value_to_device(f->ops, &in[i], &array, err) == TS_OK;
            free(in[i].host);
            in[i].host = NULL;
        }
    }
    for (size_t i = 0; ok && i < graph->n_outputs; i++)
        wanted[i] = graph->outputs[i].value;
    for (int times = 0; ok && times < 2; times++) {
        ok = ts_graph_exec_run(exec, in, wanted, graph->n_outputs, out, err) == TS_OK;
        for (size_t i = 0; ok && i < graph->n_outputs; i++)
            ok = load_pb(folder, "output", i, &want, err) &&
                 ts_value_to_host(f->ops, &out[i], err) == TS_OK && same(&out[i], &want, err);
        ts_value_finish(&want);
        for (size_t i = 0; graph && i < graph->n_outputs; i++)
            ts_value_finish(&out[i]);
    }
    ts_status st = ts_queue_finish(f->queue, NULL);
    ok = ok && st == TS_OK;
    for (size_t i = 0; graph && i < graph->n_inputs; i++)
        ts_value_finish(&in[i]);
    ts_graph_exec_destroy(exec);
    ts_graph_free(graph);
    return ok;
}

static void node_suite(void **state)
{
    ts_opsfix *f = *state;
    const char *root = getenv("ONNX_NODE_TESTS");
    if (!root)
        skip();
    FILE *list = fopen(GOLDEN "node-tests.txt", "r");
    int tier, passed[4] = {0}, total[4] = {0};
    char name[200], folder[600];
    assert_non_null(list);
    while (fscanf(list, "%d %199s", &tier, name) == 2) {
        ts_error err = {0};
        snprintf(folder, sizeof folder, "%s/%s", root, name);
        bool ok = node_case(f, folder, &err);
        total[tier]++;
        passed[tier] += ok;
        if (!ok)
            printf("FAILED tier %d %s: %s\n", tier, name, err.text);
        ts_error_clear(&err);
    }
    fclose(list);
    for (tier = 0; tier < 4; tier++)
        printf("tier %d: %d of %d passed\n", tier, passed[tier], total[tier]);
    for (tier = 0; tier < 3; tier++)
        assert_int_equal(passed[tier], total[tier]);
}

/* ---- damage ---- */

/* Every prefix and many altered copies of a file load with an error or run; nothing crashes. */
static void damaged(void **state)
{
    ts_opsfix *f = *state;
    char folder[] = "/tmp/ts-onnx-XXXXXX", path[64];
    ts_error err = {0};
    ts_buf bytes = {0};
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/model.onnx", folder);
    CHECK_OK(ts_fs_read(GOLDEN "quantized_qdq/model.onnx", 1 << 24, &bytes, &err));
    uint64_t seed = 1;
    for (int i = 0; i < 300; i++) {
        ts_buf copy = {0};
        ts_buf_append(&copy, bytes.data, bytes.len);
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        size_t len = copy.len;
        if (i % 3 == 0)
            len = (size_t)(seed >> 33) % copy.len;
        else
            for (int k = 0; k <= i % 7; k++)
                ((uint8_t *)copy.data)[(seed >> (20 + k)) % copy.len] ^= (uint8_t)(seed >> k | 1);
        CHECK_OK(ts_fs_write_atomic(path, copy.data, len, &err));
        ts_model *model = NULL;
        ts_error why = {0};
        ts_tensor *x = NULL, *y = NULL;
        if (ts_model_load(f->queue, folder, &model, &why) == TS_OK && model->info.n_inputs == 1 &&
            model->info.n_outputs > 0) {
            float *zero = calloc(3 * 32 * 32, sizeof *zero);
            CHECK_OK(ts_tensor_from_host(f->queue, TS_F32, &TS_SHAPE(1, 3, 32, 32), zero,
                                         3 * 32 * 32 * sizeof *zero, &x, &err));
            const char *name = model->info.outputs[0].name;
            ts_status st =
                ts_model_run(model, (const ts_tensor *const *)&x, &name, 1, &y, &why);
            assert_true(st == TS_OK || why.text[0]);
            ts_tensor_unref(y);
            ts_tensor_unref(x);
            free(zero);
        }
        ts_model_destroy(model);
        ts_error_clear(&why);
        ts_buf_finish(&copy);
    }
    ts_buf_finish(&bytes);
    unlink(path);
    rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define X(name) cmocka_unit_test(name),
        NETWORKS(X)
#undef X
        cmocka_unit_test(rf_detr),
        cmocka_unit_test(node_suite),
        cmocka_unit_test(damaged),
    };
    return cmocka_run_group_tests(tests, ts_opsfix_setup, ts_opsfix_teardown);
}
