/*
 * The reference pictures of tests/golden/tensor-video: each case's upload, options and expected PNG.
 *
 * They are what viz_plot, viz_volume and viz_compose are checked by; the others have a twin, too.
 *
 * Tolerances are the cases' own: channels within max_abs but for a share of pixels. One test per
 * case; run one with CMOCKA_TEST_FILTER=049-*.
 */
#include "cl/base/fs.h"
#include "cl/tensor/ingest.h"
#include "cl/tensor/npy.h"
#include "cl/tensor/store.h"
#include "cl/tensor/tensor_json.h"
#include "cl/viz/viz.h"
#include "cl/viz/viz_internal.h"
#include "server/codec.h"
#include "tests/support/check.h"
#include "tests/support/gpu.h"

static test_gpu gpu;
static bool as_gpu, without_doubles;
static ts_uploader *uploader;

typedef struct upload {
    ts_named_tensor *list;
    size_t n;
} upload;

static void read_case_file(const char *id, const char *name, ts_buf *out)
{
    ts_error err = {0};
    char path[512];
    snprintf(path, sizeof path, "%s/golden/tensor-video/cases/%s/%s", TS_TEST_DIR, id, name);
    CHECK_OK(ts_fs_read(path, 64 << 20, out, &err));
}

static json_t *read_options(const char *id)
{
    ts_error err = {0};
    ts_buf text = {0};
    json_t *options = NULL;
    read_case_file(id, "options.json", &text);
    CHECK_OK(ts_json_parse(text.data, text.len, &options, &err));
    ts_buf_finish(&text);
    return options;
}

static void layout_of(const json_t *spec, ts_layout *layout)
{
    size_t i;
    json_t *item;
    assert_true(ts_dtype_parse(json_string_value(json_object_get(spec, "dtype")), &layout->dtype));
    json_array_foreach(json_object_get(spec, "shape"), i, item)
    {
        layout->shape.dim[layout->shape.rank++] = json_integer_value(item);
    }
    json_array_foreach(json_object_get(spec, "strides"), i, item)
    {
        layout->has_strides = true;
        layout->strides[i] = json_integer_value(item);
    }
    layout->offset = (uint64_t)json_integer_value(json_object_get(spec, "offset"));
}

static ts_status collect(void *arg, const void *data, size_t len, ts_error *err)
{
    (void)err;
    ts_buf_append(arg, data, len);
    return TS_OK;
}

static void load_json(const ts_buf *file, upload *up)
{
    ts_error err = {0};
    ts_tensor_json doc;
    ts_buf data = {0}, text = {0};
    ts_buf_append(&text, file->data, file->len);
    CHECK_OK(ts_tensor_json_parse(ts_buf_cstr(&text), text.len, &doc, &err));
    CHECK_OK(ts_tensor_json_convert(&doc, collect, &data, &err));
    up->list = calloc(1, sizeof *up->list);
    up->n = 1;
    CHECK_OK(ts_tensor_from_host(gpu.queue, doc.dtype, &doc.shape, data.data, data.len,
                                 &up->list[0].tensor, &err));
    ts_buf_finish(&data);
    ts_buf_finish(&text);
}

static void load(const char *id, const json_t *spec, upload *up)
{
    ts_error err = {0};
    ts_buf file = {0};
    read_case_file(id, json_string_value(json_object_get(spec, "file")), &file);
    const char *encoding = json_string_value(json_object_get(spec, "encoding"));
    if (strcmp(encoding, "json") == 0) {
        load_json(&file, up);
        ts_buf_finish(&file);
        return;
    }
    ts_ingest_options options = {.uploader = uploader,
                                 .length = (int64_t)file.len,
                                 .pick = json_string_value(json_object_get(spec, "tensor"))};
    options.kind = strcmp(encoding, "npy") == 0           ? TS_INGEST_NPY
                   : strcmp(encoding, "safetensors") == 0 ? TS_INGEST_SAFETENSORS
                                                          : TS_INGEST_RAW;
    if (options.kind == TS_INGEST_RAW)
        layout_of(spec, &options.layout);
    ts_ingest *ingest = NULL;
    CHECK_OK(ts_ingest_open(&options, &ingest, &err));
    CHECK_OK(ts_ingest_append(ingest, file.data, file.len, &err));
    CHECK_OK(ts_ingest_finish(ingest, gpu.queue, &up->list, &up->n, &err));
    ts_ingest_destroy(ingest);
    ts_buf_finish(&file);
}

static void compare_picture(const char *id, const char *name, const ts_pixels *got,
                            const json_t *tolerance)
{
    ts_error err = {0};
    ts_buf png = {0};
    read_case_file(id, name, &png);
    ts_image_info info;
    ts_buf want = {0};
    CHECK_OK(ts_image_decode(png.data, png.len, 3, &info, &want, &err));
    ts_buf_finish(&png);
    if (got->width != info.width || got->height != info.height)
        fail_msg("%s: %d x %d, want %d x %d", name, got->width, got->height, info.width,
                 info.height);
    int most = (int)json_integer_value(json_object_get(tolerance, "max_abs"));
    double share = json_number_value(json_object_get(tolerance, "outlier_fraction"));
    int outside = 0, worst = 0, at = 0;
    for (int i = 0; i < got->width * got->height; i++) {
        int d = 0;
        for (int c = 0; c < 3; c++) {
            int one = abs(got->plane[0][i * 3 + c] - want.data[i * 3 + c]);
            d = one > d ? one : d;
        }
        outside += d > most;
        if (d > worst) {
            worst = d;
            at = i;
        }
    }
    const uint8_t *g = got->plane[0] + 3 * at, *w = want.data + 3 * at;
    if (outside > share * got->width * got->height)
        fail_msg("%s: %d of %d pixels differ by more than %d, worst %d at (%d, %d): got %d %d %d, "
                 "want %d %d %d",
                 name, outside, got->width * got->height, most, worst, at % got->width,
                 at / got->width, g[0], g[1], g[2], w[0], w[1], w[2]);
    ts_buf_finish(&want);
}

static void render_one(ts_viz *viz, const ts_viz_input *input, const char *id, const char *name,
                       const json_t *tolerance)
{
    ts_error err = {0};
    ts_viz_output out;
    CHECK_OK(ts_viz_render(viz, gpu.queue, input, &out, &err));
    compare_picture(id, name, out.pixels, tolerance);
    ts_viz_output_finish(&out);
}

/* Frames along the first axis, each a new version of one tensor. */
static void render_sequence(ts_viz *viz, ts_viz_input *input, const ts_tensor *all, const char *id,
                            const json_t *tolerance)
{
    ts_error err = {0};
    const ts_shape *shape = ts_tensor_shape(all);
    ts_shape one = {.rank = shape->rank - 1};
    memcpy(one.dim, shape->dim + 1, sizeof one.dim - sizeof one.dim[0]);
    size_t bytes = ts_tensor_nbytes(all) / (size_t)shape->dim[0];
    uint8_t *data = malloc(ts_tensor_nbytes(all));
    CHECK_OK(ts_tensor_read(gpu.queue, all, data, &err));
    for (int64_t i = 0; i < shape->dim[0]; i++) {
        ts_entry entry = {.name = "x", .version = (uint64_t)i + 1, .step = i};
        CHECK_OK(ts_tensor_from_host(gpu.queue, ts_tensor_dtype(all), &one,
                                     data + (size_t)i * bytes, bytes, &entry.tensor, &err));
        char name[32];
        snprintf(name, sizeof name, "expected_%02d.png", (int)i);
        input->entry = &entry;
        input->seq = (uint64_t)i;
        render_one(viz, input, id, name, tolerance);
        ts_tensor_unref(entry.tensor);
    }
    free(data);
}

static void run_case(void **state)
{
    const char *id = *state;
    ts_error err = {0};
    json_t *options = read_options(id);
    const json_t *render = json_object_get(options, "render");
    const json_t *tolerance = json_object_get(options, "tolerance");
    ts_view *view = NULL;
    CHECK_OK(ts_view_parse(render, &view, &err));
    upload up = {0};
    load(id, json_object_get(options, "upload"), &up);
    ts_viz *viz = NULL;
    ts_store *store = NULL;
    CHECK_OK(ts_viz_create(gpu.device, &viz, &err));
    viz_test_as(viz, as_gpu, without_doubles);
    CHECK_OK(ts_store_create(16, &store, &err));
    for (size_t i = 0; i < up.n; i++) {
        bool created;
        CHECK_OK(ts_store_publish(store, up.list[i].name ? up.list[i].name : "x", up.list[i].tensor,
                                  &(ts_publish_options){0}, &created, NULL, &err));
    }
    ts_entry entry = {.name = "x", .tensor = up.list[0].tensor, .version = 1};
    ts_viz_input input = {.view = view, .store = store, .format = TS_PIXELS_RGB8, .entry = &entry};
    if (json_object_get(render, "panels") || json_object_get(render, "compare"))
        input.entry = NULL;
    if (json_is_true(json_object_get(render, "sequence")))
        render_sequence(viz, &input, up.list[0].tensor, id, tolerance);
    else
        render_one(viz, &input, id, "expected.png", tolerance);
    ts_viz_destroy(viz);
    ts_store_destroy(store);
    ts_named_tensors_free(up.list, up.n);
    ts_view_unref(view);
    json_decref(options);
}

static int setup(void **state)
{
    (void)state;
    ts_error err = {0};
    test_gpu_open(&gpu);
    CHECK_OK(ts_uploader_create(gpu.device, &uploader, &err));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    ts_uploader_destroy(uploader);
    test_gpu_close(&gpu);
    return 0;
}

/* TENSORSCOPE_TEST_AS=gpu takes the branches of other devices, no-fp64 those without doubles. */
int main(void)
{
    const char *as = getenv("TENSORSCOPE_TEST_AS");
    as_gpu = as && strstr(as, "gpu");
    without_doubles = as && strstr(as, "no-fp64");
    char path[512];
    snprintf(path, sizeof path, "%s/golden/tensor-video/manifest.json", TS_TEST_DIR);
    json_t *manifest = json_load_file(path, 0, NULL);
    json_t *cases = json_object_get(manifest, "cases");
    static struct CMUnitTest tests[256];
    size_t i;
    json_t *item;
    json_array_foreach(cases, i, item)
    {
        const char *id = json_string_value(json_object_get(item, "id"));
        tests[i] =
            (struct CMUnitTest){.name = id, .test_func = run_case, .initial_state = (void *)id};
    }
    if (json_array_size(cases) != 99)
        return 1;
    cmocka_set_test_filter(getenv("CMOCKA_TEST_FILTER"));
    int failed = _cmocka_run_group_tests("tensor-video cases", tests, json_array_size(cases), setup,
                                         teardown);
    json_decref(manifest);
    return failed;
}
