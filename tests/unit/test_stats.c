#include "cl/base/fs.h"
#include "cl/tensor/npy.h"
#include "cl/tensor/stats.h"
#include "tests/ref/ref_stats.h"
#include "tests/support/check.h"
#include "tests/support/devfix.h"

typedef struct fixture {
    ts_device *device;
    ts_queue *queue;
} fixture;

static int set_up(void **state)
{
    static fixture f;
    ts_devfix_open(&f.device, &f.queue);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    ts_device_stats stats;
    ts_device_get_stats(f->device, &stats);
    assert_int_equal(stats.used_bytes, 0);
    ts_devfix_close(f->device, f->queue);
    return 0;
}

static double number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_number(value))
        fail_msg("%s is not a number", key);
    return json_number_value(value);
}

/* The tolerance of specs: 1e-5 relative, against a mean that may be near 0 relative to the spread. */
static void check_stats(const json_t *got, const ref_stats *want, const uint64_t *histogram,
                        int bins)
{
    static const char *const keys[] = {"1", "5", "25", "50", "75", "95", "99"};
    double spread = want->abs_mean * 1e-9;
    assert_int_equal(number(got, "finite"), want->finite);
    assert_int_equal(number(got, "nan"), want->nan);
    assert_int_equal(number(got, "nan_count"), want->nan);
    assert_int_equal(number(got, "posinf"), want->posinf);
    assert_int_equal(number(got, "neginf"), want->neginf);
    assert_int_equal(number(got, "inf_count"), want->posinf + want->neginf);
    if (!want->finite) {
        assert_true(json_is_null(json_object_get(got, "min")));
        assert_true(json_is_null(json_object_get(got, "std")));
        assert_true(json_is_null(json_object_get(got, "argmax")));
        return;
    }
    ts_check_close(number(got, "min"), want->min, 0, 0, "min", 0);
    ts_check_close(number(got, "max"), want->max, 0, 0, "max", 0);
    assert_int_equal(number(got, "argmin"), want->argmin);
    assert_int_equal(number(got, "argmax"), want->argmax);
    ts_check_close(number(got, "mean"), want->mean, spread, 1e-9, "mean", 0);
    ts_check_close(number(got, "std"), want->std, spread, 1e-7, "std", 0);
    ts_check_close(number(got, "abs_mean"), want->abs_mean, 0, 1e-9, "abs_mean", 0);
    ts_check_close(number(got, "l2"), want->l2, 0, 1e-9, "l2", 0);
    ts_check_close(number(got, "zero_fraction"), (double)want->zeros / (double)want->finite, 0,
                   1e-12, "zero_fraction", 0);
    for (size_t p = 0; p < 7; p++)
        ts_check_close(number(json_object_get(got, "percentiles"), keys[p]), want->percentile[p],
                       spread, 1e-12, "percentile", p);
    for (int i = 0; i < bins; i++)
        assert_int_equal(
            json_integer_value(json_array_get(json_object_get(got, "histogram"), (size_t)i)),
            histogram[i]);
}

static void agrees_with_the_golden_values(void **state)
{
    fixture *f = *state;
    ts_error err = {0};
    ts_buf file = {0}, text = {0};
    ts_npy npy;
    ts_tensor *t;
    json_t *golden, *got;
    CHECK_OK(ts_fs_read(TS_TEST_DIR "/golden/stats/stats_input.npy", 1 << 20, &file, &err));
    CHECK_OK(ts_fs_read(TS_TEST_DIR "/golden/stats/stats.json", 1 << 20, &text, &err));
    CHECK_OK(ts_json_parse(text.data, text.len, &golden, &err));
    CHECK_OK(ts_npy_parse(file.data, file.len, &npy, &err));
    CHECK_OK(ts_tensor_from_host(f->queue, npy.dtype, &npy.shape, file.data + npy.header_bytes,
                                 npy.nbytes, &t, &err));
    CHECK_OK(ts_tensor_stats(f->queue, t, 16, &got, &err));
    const json_t *want = json_object_get(golden, "stats");
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)want, key, value)
    {
        if (json_is_number(value))
            ts_check_close(number(got, key), json_number_value(value), 0, 1e-5, key, 0);
    }
    json_object_foreach(json_object_get(want, "percentiles"), key, value)
        ts_check_close(number(json_object_get(got, "percentiles"), key), json_number_value(value),
                       0, 1e-5, key, 0);
    assert_true(
        json_equal(json_object_get(golden, "histogram16"), json_object_get(got, "histogram")));
    json_decref(golden);
    json_decref(got);
    ts_tensor_unref(t);
    ts_buf_finish(&file);
    ts_buf_finish(&text);
}

/* Element i of awkward data of any type, and its value. */
static double make_element(ts_dtype dtype, uint64_t x, int kind, uint8_t *out)
{
    double unit = (double)(x >> 11) / 9007199254740992.0 - 0.5;
    if (ts_dtype_is_float(dtype)) {
        double v = unit * (kind == 1 ? 1e3 : 1);
        if (kind == 2)
            v = 1e9 + (unit > 0 ? 1e-3 : -1e-3);
        if (kind == 3)
            v = 7;
        if (kind == 1 && x % 17 == 0)
            v = x % 3 == 0 ? NAN : x % 3 == 1 ? INFINITY : -INFINITY;
        if (kind == 1 && x % 19 == 0)
            v = 0;
        if (kind == 4)
            v = NAN;
        uint16_t half = dtype == TS_F16 ? ts_f32_to_f16((float)v) : ts_f32_to_bf16((float)v);
        float single = (float)v;
        memcpy(out,
               dtype == TS_F64   ? (void *)&v
               : dtype == TS_F32 ? (void *)&single
                                 : &half,
               ts_dtype_bytes(dtype));
        return dtype == TS_F64   ? v
               : dtype == TS_F32 ? (double)single
               : dtype == TS_F16 ? (double)ts_f16_to_f32(half)
                                 : (double)ts_bf16_to_f32(half);
    }
    if (kind == 3)
        x = 7;
    if (kind == 2)
        x >>= 60;
    if (dtype == TS_BOOL)
        x &= 1;
    memcpy(out, &x, ts_dtype_bytes(dtype));
    switch (dtype) {
    case TS_I8:
        return (int8_t)x;
    case TS_U16:
        return (uint16_t)x;
    case TS_I16:
        return (int16_t)x;
    case TS_U32:
        return (uint32_t)x;
    case TS_I32:
        return (int32_t)x;
    case TS_U64:
        return (double)x;
    case TS_I64:
        return (double)(int64_t)x;
    default:
        return (uint8_t)x;
    }
}

static void check_one(fixture *f, ts_dtype dtype, size_t n, int kind, int bins)
{
    ts_error err = {0};
    size_t width = ts_dtype_bytes(dtype);
    uint8_t *data = malloc(n * width + 1);
    double *values = malloc((n + 1) * sizeof *values);
    uint64_t x = 88172645463325252u, histogram[64];
    for (size_t i = 0; i < n; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        values[i] = make_element(dtype, x, kind, data + i * width);
    }
    ref_stats want;
    ref_stats_compute(values, n, bins, &want, histogram);
    ts_tensor *t;
    json_t *got;
    CHECK_OK(
        ts_tensor_from_host(f->queue, dtype, &TS_SHAPE((int64_t)n), data, n * width, &t, &err));
    CHECK_OK(ts_tensor_stats(f->queue, t, bins, &got, &err));
    assert_int_equal(number(got, "count"), n);
    check_stats(got, &want, histogram, bins);
    json_decref(got);
    ts_tensor_unref(t);
    free(data);
    free(values);
}

static void agrees_with_the_reference_for_every_dtype(void **state)
{
    static const size_t sizes[] = {0, 1, 2, 3, 101, 4099};
    for (int d = 0; d < TS_DTYPE_COUNT; d++)
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
            for (int kind = 0; kind < 5; kind++)
                check_one(*state, (ts_dtype)d, sizes[s], kind, kind == 3 ? 1 : 13);
}

static void is_exact_for_a_million_elements(void **state)
{
    check_one(*state, TS_F32, (1 << 20) + 7, 1, 64);
}

static void reads_a_tensor_inside_a_buffer(void **state)
{
    fixture *f = *state;
    ts_error err = {0};
    float data[8] = {100, 100, 1, 2, 3, 4, 100, 100};
    ts_tensor *whole, *part;
    json_t *got;
    CHECK_OK(ts_tensor_from_host(f->queue, TS_F32, &TS_SHAPE(8), data, sizeof data, &whole, &err));
    CHECK_OK(ts_tensor_wrap(ts_tensor_buffer(whole), 8, TS_F32, &TS_SHAPE(4), &part, &err));
    CHECK_OK(ts_tensor_stats(f->queue, part, 4, &got, &err));
    assert_true(number(got, "max") == 4 && number(got, "mean") == 2.5);
    assert_true(number(json_object_get(got, "percentiles"), "50") == 2.5);
    json_decref(got);
    CHECK_STATUS(TS_E_OPTION, ts_tensor_stats(f->queue, part, 0, &got, &err));
    CHECK_STATUS(TS_E_OPTION, ts_tensor_stats(f->queue, part, TS_STATS_MAX_BINS + 1, &got, &err));
    ts_tensor_unref(part);
    ts_tensor_unref(whole);
}

static void survives_a_range_that_overflows(void **state)
{
    fixture *f = *state;
    ts_error err = {0};
    double data[] = {-1.7e308, 1.7e308, 0};
    ts_tensor *t;
    json_t *got;
    CHECK_OK(ts_tensor_from_host(f->queue, TS_F64, &TS_SHAPE(3), data, sizeof data, &t, &err));
    CHECK_OK(ts_tensor_stats(f->queue, t, 3, &got, &err));
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(json_integer_value(json_array_get(json_object_get(got, "histogram"), i)),
                         1);
    json_decref(got);
    ts_tensor_unref(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_golden_values),
        cmocka_unit_test(agrees_with_the_reference_for_every_dtype),
        cmocka_unit_test(is_exact_for_a_million_elements),
        cmocka_unit_test(reads_a_tensor_inside_a_buffer),
        cmocka_unit_test(survives_a_range_that_overflows),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
