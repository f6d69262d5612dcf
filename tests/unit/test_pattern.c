/* Patterns against their formulas in double, and the twin against the reference fields. */
#include "cl/base/fs.h"
#include "cl/viz/pattern.h"
#include "tests/ref/ref_pattern.h"
#include "tests/support/check.h"
#include "tests/support/gpu.h"

static test_gpu gpu;

static void check_size(ts_pattern pattern, int w, int h, double t)
{
    ts_error err = {0};
    ts_tensor *tensor = NULL;
    ts_shape shape = TS_SHAPE(h, w);
    CHECK_OK(ts_tensor_create(gpu.device, TS_F32, &shape, &tensor, &err));
    CHECK_OK(ts_pattern_render(gpu.queue, pattern, t, tensor, &err));
    float *got = malloc(ts_tensor_nbytes(tensor));
    CHECK_OK(ts_tensor_read(gpu.queue, tensor, got, &err));
    /* Floats against doubles: angles up to 30 have an error of about 2e-6 each. */
    for (int i = 0; i < w * h; i++)
        ts_check_close(got[i], ref_pattern(pattern, i % w, i / w, w, h, t), 2e-5, 0,
                       ts_pattern_name(pattern), (size_t)i);
    free(got);
    ts_tensor_unref(tensor);
}

static void patterns_follow_their_formulas(void **state)
{
    (void)state;
    for (int p = 0; p < TS_PATTERN_COUNT; p++) {
        check_size((ts_pattern)p, 64, 48, 2.5);
        check_size((ts_pattern)p, 1, 1, 0);
        check_size((ts_pattern)p, 37, 3, 0.1);
        check_size((ts_pattern)p, 1031, 2, 7);
        check_size((ts_pattern)p, 33, 5, 36000); /* an hour at 60 fps keeps its phase */
    }
}

static void reference_fields_agree(void **state)
{
    (void)state;
    ts_error err = {0};
    ts_buf file = {0};
    char path[512];
    snprintf(path, sizeof path, "%s/golden/tensor-video/logic/patterns_f16.bin", TS_TEST_DIR);
    CHECK_OK(ts_fs_read(path, 1 << 20, &file, &err));
    assert_int_equal(file.len, 8 * 48 * 64 * 2);
    const uint16_t *want = (const uint16_t *)file.data;
    for (int f = 0; f < 8; f++, want += 48 * 64) {
        ts_tensor *tensor = NULL;
        float got[48 * 64];
        CHECK_OK(ts_tensor_create(gpu.device, TS_F32, &TS_SHAPE(48, 64), &tensor, &err));
        CHECK_OK(ts_pattern_render(gpu.queue, (ts_pattern)(f / 2), f & 1 ? 2.5 : 0, tensor, &err));
        CHECK_OK(ts_tensor_read(gpu.queue, tensor, got, &err));
        for (size_t i = 0; i < 48 * 64; i++) /* half of f16's step below 1 */
            ts_check_close(got[i], (double)ts_f16_to_f32(want[i]), 3e-4, 0,
                           ts_pattern_name((ts_pattern)(f / 2)), i);
        ts_tensor_unref(tensor);
    }
    ts_buf_finish(&file);
}

static void names_are_found(void **state)
{
    (void)state;
    ts_pattern p;
    assert_true(ts_pattern_find("cells", &p));
    assert_int_equal(p, TS_PATTERN_CELLS);
    assert_false(ts_pattern_find("plasma", &p));
    double lo, hi;
    ts_pattern_range(TS_PATTERN_MATROT, &lo, &hi);
    assert_true(lo == -2 && hi == 2);
}

static void wrong_tensors_are_refused(void **state)
{
    (void)state;
    ts_error err = {0};
    ts_tensor *tensor = NULL;
    CHECK_OK(ts_tensor_create(gpu.device, TS_U8, &TS_SHAPE(4, 4), &tensor, &err));
    CHECK_STATUS(TS_E_DTYPE, ts_pattern_render(gpu.queue, TS_PATTERN_WAVES, 0, tensor, &err));
    ts_tensor_unref(tensor);
    CHECK_OK(ts_tensor_create(gpu.device, TS_F32, &TS_SHAPE(4), &tensor, &err));
    CHECK_STATUS(TS_E_SHAPE, ts_pattern_render(gpu.queue, TS_PATTERN_WAVES, 0, tensor, &err));
    ts_tensor_unref(tensor);
}

static int setup(void **state)
{
    (void)state;
    test_gpu_open(&gpu);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    test_gpu_close(&gpu);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_follow_their_formulas),
        cmocka_unit_test(reference_fields_agree),
        cmocka_unit_test(names_are_found),
        cmocka_unit_test(wrong_tensors_are_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
