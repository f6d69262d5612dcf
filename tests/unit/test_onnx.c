/*
 * ONNX graphs: whole networks with recorded results, damaged files, and the node suite of the onnx
 * package where ONNX_NODE_TESTS names its folder (tests/e2e/test_onnx_nodes.py fetches it).
 */
#include <dirent.h>
#include <stdio.h>
#include <unistd.h>

#include "cl/base/fs.h"
#include "cl/graph/exec.h"
#include "cl/graph/op.h"
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

/* ---- hostile nodes ---- */

/* As much of a protobuf writer as a node takes: every field is a length and bytes, or a number. */
static void put_varint(ts_buf *b, uint64_t v)
{
    uint8_t bytes[10];
    size_t n = 0;
    for (; v > 127; v >>= 7)
        bytes[n++] = (uint8_t)(v | 128);
    bytes[n++] = (uint8_t)v;
    ts_buf_append(b, bytes, n);
}

static void put_number(ts_buf *b, unsigned field, uint64_t v)
{
    put_varint(b, field << 3);
    put_varint(b, v);
}

static void put_bytes(ts_buf *b, unsigned field, const void *data, size_t len)
{
    put_varint(b, field << 3 | 2);
    put_varint(b, len);
    ts_buf_append(b, data, len);
}

static void put_text(ts_buf *b, unsigned field, const char *text)
{
    put_bytes(b, field, text, strlen(text));
}

static void put_ints(ts_buf *node, const char *name, const int64_t *v, size_t n)
{
    ts_buf attr = {0};
    put_text(&attr, 1, name);
    for (size_t i = 0; i < n; i++)
        put_number(&attr, n == 1 ? 3 : 8, (uint64_t)v[i]);
    put_number(&attr, 20, n == 1 ? 2 : 7);
    put_bytes(node, 5, attr.data, attr.len);
    ts_buf_finish(&attr);
}

static uint64_t next(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

/* Attributes that operators look for, with numbers that fit or do not. */
static void put_attributes(ts_buf *node, uint64_t *seed)
{
    static const char *const single[] = {"axis", "group", "blocksize", "to", "ceil_mode", "keepdims",
                                         "num_groups", "size", "batch_dims", "num_outputs", "allowzero",
                                         "transA", "transB", "start", "end", "stash_type"};
    static const char *const lists[] = {"axes", "pads", "strides", "dilations", "kernel_shape", "perm",
                                        "starts", "ends", "split", "output_padding", "output_shape"};
    static const int64_t numbers[] = {0, 1, 2, 3, -1, -2, 7, 9, -9, 11, INT64_MAX, INT64_MIN, 1 << 20};
    size_t n_numbers = sizeof numbers / sizeof *numbers;
    for (size_t i = 0; i < sizeof single / sizeof *single; i++)
        if (next(seed) % 4 == 0)
            put_ints(node, single[i], &numbers[next(seed) % (next(seed) % 3 ? 5 : n_numbers)], 1);
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        int64_t v[10];
        size_t n = 2 + next(seed) % 3 * (next(seed) % 4 ? 1 : 3);
        if (next(seed) % 3)
            continue;
        for (size_t k = 0; k < n; k++)
            v[k] = numbers[next(seed) % (next(seed) % 3 ? 4 : n_numbers)];
        put_ints(node, lists[i], v, n);
    }
}

/* One node with n graph inputs "0", "1", … (some absent) and outputs "y", "z". */
static void write_node(const char *path, const char *op, size_t n, uint64_t *seed)
{
    ts_error err = {0};
    ts_buf node = {0}, graph = {0}, model = {0}, opset = {0}, type = {0}, tensor = {0};
    bool first_unused = next(seed) % 8 == 0;
    put_number(&tensor, 1, 1);
    put_bytes(&type, 1, tensor.data, tensor.len);
    for (size_t i = 0; i < n; i++)
        put_text(&node, 1, next(seed) % 10 == 0 ? "" : (char[]){(char)('0' + i), 0});
    put_text(&node, 2, first_unused ? "" : "y");
    put_text(&node, 2, "z");
    put_text(&node, 4, op);
    put_attributes(&node, seed);
    put_bytes(&graph, 1, node.data, node.len);
    for (size_t i = 0; i < n + 1; i++) {
        ts_buf port = {0};
        put_text(&port, 1, i < n ? (char[]){(char)('0' + i), 0} : first_unused ? "z" : "y");
        put_bytes(&port, 2, type.data, type.len);
        put_bytes(&graph, i < n ? 11 : 12, port.data, port.len);
        ts_buf_finish(&port);
    }
    put_number(&model, 1, 8);
    put_bytes(&model, 7, graph.data, graph.len);
    put_number(&opset, 2, next(seed) % 2 ? 18 : 9);
    put_bytes(&model, 8, opset.data, opset.len);
    CHECK_OK(ts_fs_write_atomic(path, model.data, model.len, &err));
    ts_buf *all[] = {&node, &graph, &model, &opset, &type, &tensor};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        ts_buf_finish(all[i]);
}

/* A small value of any shape, on the device or on the host. */
static void odd_value(ts_opsfix *f, ts_value *v, uint64_t *seed)
{
    static const ts_shape shapes[] = {{0},
                                      {.rank = 1, .dim = {0}},
                                      {.rank = 1, .dim = {1}},
                                      {.rank = 1, .dim = {3}},
                                      {.rank = 2, .dim = {2, 3}},
                                      {.rank = 2, .dim = {3, 2}},
                                      {.rank = 3, .dim = {1, 2, 3}},
                                      {.rank = 4, .dim = {1, 2, 3, 3}},
                                      {.rank = 4, .dim = {2, 2, 3, 3}},
                                      {.rank = 4, .dim = {1, 0, 3, 3}},
                                      {.rank = 5, .dim = {1, 2, 2, 3, 3}},
                                      {.rank = 8, .dim = {1, 1, 2, 1, 1, 1, 2, 1}}};
    static const double numbers[] = {0, 1, 2, 3, -1, -3, 0.5, 1e9, -1e18, 1e300, NAN, INFINITY};
    ts_error err = {0};
    bool whole = next(seed) % 2;
    CHECK_OK(ts_value_host(v, whole ? TS_ONNX_I64 : TS_ONNX_F32,
                           &shapes[next(seed) % (sizeof shapes / sizeof *shapes)], &err));
    for (int64_t i = 0; i < ts_value_elements(v); i++)
        v->host[i] = numbers[next(seed) % (whole ? 6 : sizeof numbers / sizeof *numbers)];
    if (!whole && next(seed) % 2) {
        ts_arr array;
        CHECK_OK(ts_value_to_device(f->ops, v, &array, &err));
        free(v->host);
        v->host = NULL;
    }
}

/* Whatever a file asks of an operator: an answer or an error that says something, never a crash.
 * ONNX_HOSTILE_ROUNDS=n tries n rounds, begun with another seed. */
static void hostile_nodes(void **state)
{
    static const ts_graph_op *const tables[] = {ts_ops_elementwise, ts_ops_shape,   ts_ops_move,
                                                ts_ops_reduce,      ts_ops_network, ts_ops_index,
                                                ts_ops_sample};
    ts_opsfix *f = *state;
    char folder[] = "/tmp/ts-onnx-XXXXXX", path[64];
    const char *rounds = getenv("ONNX_HOSTILE_ROUNDS");
    uint64_t seed = rounds ? strtoull(rounds, NULL, 10) : 1;
    int runs = 0, answers = 0;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/model.onnx", folder);
    for (int round = 0; round < (rounds ? atoi(rounds) : 12); round++)
        for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
            for (const ts_graph_op *op = tables[t]; op->name; op++) {
                ts_error err = {0};
                ts_graph *graph = NULL;
                ts_graph_exec *exec = NULL;
                ts_value in[6] = {0}, out = {0};
                size_t n = next(&seed) % 6;
                write_node(path, op->name, n, &seed);
                for (size_t i = 0; i < n; i++)
                    odd_value(f, &in[i], &seed);
                ts_status st = ts_graph_load(folder, &graph, &err);
                if (st == TS_OK)
                    st = ts_graph_exec_create(f->ops, graph, &exec, &err);
                if (st == TS_OK)
                    st = ts_graph_exec_run(exec, in, &graph->outputs[0].value, 1, &out, &err);
                assert_true(st == TS_OK || err.text[0]);
                answers += st == TS_OK;
                runs++;
                ts_status finished = ts_queue_finish(f->queue, &err);
                assert_int_equal(finished, TS_OK);
                ts_value_finish(&out);
                for (size_t i = 0; i < n; i++)
                    ts_value_finish(&in[i]);
                ts_graph_exec_destroy(exec);
                ts_graph_free(graph);
                ts_error_clear(&err);
            }
    printf("%d hostile nodes, %d had an answer\n", runs, answers);
    assert_true(answers > runs / 20); /* else nothing was tried */
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
        cmocka_unit_test(hostile_nodes),
    };
    return cmocka_run_group_tests(tests, ts_opsfix_setup, ts_opsfix_teardown);
}
