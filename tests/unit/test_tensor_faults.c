/*
 * Every OpenCL call of a mix of requests fails once, one after another: no crash, no leak, no wrong
 * answer, the tensors as before, and the next request works.
 */
#include "cl/device/fault.h"
#include "cl/tensor/ingest.h"
#include "cl/tensor/npy.h"
#include "cl/tensor/stats.h"
#include "cl/tensor/store.h"
#include "cl/viz/view.h"
#include "cl/viz/viz.h"
#include "tests/support/check.h"
#include "tests/support/devfix.h"

enum {
    H = 19,
    W = 23
};

typedef struct fixture {
    ts_device *device;
    ts_queue *queue; /* never sees a fault: reads back what is there */
    ts_store *store;
    ts_uploader *uploader;
    ts_buf file; /* Fortran order, big-endian: the conversion runs too */
    float want[H * W];
} fixture;

static void make_file(fixture *f)
{
    ts_npy_write_header(&f->file, TS_F32, &TS_SHAPE(H, W));
    char *p = strstr((char *)f->file.data + 10, "'<f4'"), *q = strstr(p, "False");
    p[1] = '>';
    memcpy(q, "True ", 5);
    for (int x = 0; x < W; x++)
        for (int y = 0; y < H; y++) {
            float v = (float)(y * W + x);
            uint8_t b[4];
            memcpy(b, &v, 4);
            f->want[y * W + x] = v;
            ts_buf_append(&f->file, (uint8_t[]){b[3], b[2], b[1], b[0]}, 4);
        }
}

static int set_up(void **state)
{
    static fixture f;
    ts_error err = {0};
    ts_devfix_open(&f.device, &f.queue);
    CHECK_OK(ts_store_create(16, &f.store, &err));
    CHECK_OK(ts_uploader_create(f.device, &f.uploader, &err));
    make_file(&f);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    ts_buf_finish(&f->file);
    ts_uploader_destroy(f->uploader);
    ts_store_destroy(f->store);
    ts_device_stats stats;
    ts_device_get_stats(f->device, &stats);
    assert_int_equal(stats.used_bytes, 0);
    ts_devfix_close(f->device, f->queue);
    return 0;
}

static ts_status put(fixture *f, ts_queue *queue, const char *name, ts_error *err)
{
    ts_ingest *in = NULL;
    ts_named_tensor *list = NULL;
    size_t n = 0;
    ts_ingest_options o = {.uploader = f->uploader, .kind = TS_INGEST_NPY, .length = -1};
    ts_status st = ts_ingest_open(&o, &in, err);
    if (st == TS_OK)
        st = ts_ingest_append(in, f->file.data, f->file.len, err);
    if (st == TS_OK)
        st = ts_ingest_finish(in, queue, &list, &n, err);
    if (st == TS_OK)
        st = ts_store_publish(f->store, name, list[0].tensor, NULL, NULL, NULL, err);
    ts_named_tensors_free(list, n);
    ts_ingest_destroy(in);
    return st;
}

static ts_status patch(fixture *f, ts_queue *queue, const char *name, ts_error *err)
{
    ts_tensor *t = NULL;
    ts_layout layout = {.dtype = TS_F32, .shape = TS_SHAPE(2, 2)};
    float data[4] = {-1, -2, -3, -4};
    ts_status st = ts_upload_bytes(f->uploader, queue, &layout, data, sizeof data, &t, err);
    if (st == TS_OK)
        st = ts_store_patch(f->store, queue, name, t, &TS_SHAPE(3, 5), NULL, NULL, err);
    ts_tensor_unref(t);
    return st;
}

static ts_status picture(fixture *f, ts_queue *queue, const char *name, ts_error *err)
{
    ts_viz *viz = NULL;
    ts_view *view = NULL;
    ts_entry entry = {0};
    ts_viz_output out = {0};
    ts_status st = ts_store_get(f->store, name, &entry, err);
    if (st == TS_OK)
        st = ts_view_parse(NULL, &view, err);
    if (st == TS_OK)
        st = ts_viz_create(f->device, &viz, err);
    ts_viz_input in = {.view = view, .entry = &entry, .store = f->store, .format = TS_PIXELS_RGB8};
    if (st == TS_OK)
        st = ts_viz_render(viz, queue, &in, &out, err);
    if (st == TS_OK) {
        assert_true(out.lo == 0 || out.lo == -4);
        ts_viz_output_finish(&out);
    }
    ts_viz_destroy(viz);
    ts_view_unref(view);
    ts_entry_finish(&entry);
    return st;
}

static ts_status statistics(fixture *f, ts_queue *queue, const char *name, ts_error *err)
{
    ts_entry entry;
    json_t *out = NULL;
    ts_status st = ts_store_get(f->store, name, &entry, err);
    if (st != TS_OK)
        return st;
    st = ts_tensor_stats(queue, entry.tensor, 16, &out, err);
    if (st == TS_OK)
        assert_true(json_number_value(json_object_get(out, "max")) == H * W - 1);
    json_decref(out);
    ts_entry_finish(&entry);
    return st;
}

/* A connection's worth of work with a queue of its own; stops at the first failure. */
static ts_status mix(fixture *f, ts_error *err)
{
    ts_queue *queue = NULL;
    ts_status st = ts_queue_create(f->device, "mix", &queue, err);
    if (st == TS_OK)
        st = put(f, queue, "new", err);
    if (st == TS_OK)
        st = patch(f, queue, "new", err);
    if (st == TS_OK)
        st = statistics(f, queue, "new", err);
    if (st == TS_OK)
        st = picture(f, queue, "new", err);
    ts_queue_destroy(queue);
    return st;
}

/* The other tensor is untouched, and the new one is old, whole or patched, never half. */
static void check_tensors(fixture *f)
{
    ts_error err = {0};
    ts_entry entry;
    float got[H * W];
    CHECK_OK(ts_store_get(f->store, "kept", &entry, &err));
    assert_int_equal(entry.version, 1);
    CHECK_OK(ts_tensor_read(f->queue, entry.tensor, got, &err));
    assert_memory_equal(got, f->want, sizeof got);
    ts_entry_finish(&entry);
    ts_error none = {0};
    if (ts_store_get(f->store, "new", &entry, &none) != TS_OK) {
        ts_error_clear(&none);
        return;
    }
    CHECK_OK(ts_tensor_read(f->queue, entry.tensor, got, &err));
    bool patched = got[3 * W + 5] == -1;
    for (int i = 0; patched && i < 4; i++) {
        float *at = &got[(3 + i / 2) * W + 5 + i % 2];
        assert_true(*at == (float)(-1 - i));
        *at = f->want[at - got];
    }
    assert_memory_equal(got, f->want, sizeof got);
    ts_entry_finish(&entry);
}

static uint64_t used_bytes(fixture *f)
{
    ts_device_stats stats;
    ts_device_get_stats(f->device, &stats);
    return stats.used_bytes;
}

static void every_call_may_fail(fixture *f, const char *code)
{
    ts_error err = {0};
    uint64_t before = used_bytes(f);
    int points = 0;
    for (int64_t n = 1;; n++) {
        char spec[96];
        snprintf(spec, sizeof spec, "*@%lld:%s", (long long)n, code);
        ts_device_trim(f->device); /* so that allocations happen each time */
        CHECK_OK(ts_device_faults(spec, 0, &err));
        ts_status st = mix(f, &err);
        int64_t calls = ts_device_fault_calls();
        CHECK_OK(ts_device_faults(NULL, 0, &err));
        if (st != TS_OK && st != TS_E_DEVICE_MEMORY)
            fail_msg("call %lld: %s (%s)", (long long)n, ts_status_code(st), err.text);
        ts_error_clear(&err);
        points += st != TS_OK;
        check_tensors(f);
        if (ts_store_remove(f->store, "new", &err) != TS_OK)
            ts_error_clear(&err);
        assert_int_equal(used_bytes(f), before);
        assert_false(ts_device_lost(f->device));
        if (calls < n)
            break;
        assert_true(n < 1000);
    }
    print_message("%s: %d of the calls made the request fail\n", code, points);
    assert_true(points > 30);
    CHECK_OK(mix(f, &err));
    CHECK_OK(ts_store_remove(f->store, "new", &err));
}

static void no_failing_call_does_harm(void **state)
{
    fixture *f = *state;
    ts_error err = {0};
    CHECK_OK(put(f, f->queue, "kept", &err));
    CHECK_OK(mix(f, &err)); /* what is made once is made */
    CHECK_OK(ts_store_remove(f->store, "new", &err));
    every_call_may_fail(f, "CL_MEM_OBJECT_ALLOCATION_FAILURE");
    every_call_may_fail(f, "CL_OUT_OF_RESOURCES");
    every_call_may_fail(f, "CL_OUT_OF_HOST_MEMORY");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_failing_call_does_harm)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
