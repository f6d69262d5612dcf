/* Normalisations and softmax against their twins. */
#include "cl/ops/norm.h"
#include "tests/ref/ref_ops.h"
#include "tests/support/check.h"
#include "tests/support/opsfix.h"

static void rows_are_normalised(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    static const int64_t sizes[][2] = {{1, 1}, {3, 5}, {7, 64}, {40, 192}, {2, 1000}};
    for (size_t c = 0; c < sizeof sizes / sizeof *sizes; c++) {
        int64_t rows = sizes[c][0], n = sizes[c][1];
        float *x = ts_opsfix_random(1, -200, 1000, (size_t)(rows * n));
        float *w = ts_opsfix_random(2, -1, 1, (size_t)n),
              *b = ts_opsfix_random(3, -1, 1, (size_t)n);
        float *want = malloc((size_t)(rows * n) * sizeof *want);
        ts_arr dx = ts_opsfix_up(f, &TS_SHAPE(rows, n), x), dw = ts_opsfix_up(f, &TS_SHAPE(n), w);
        ts_arr db = ts_opsfix_up(f, &TS_SHAPE(n), b), y = ts_opsfix_new(f, &TS_SHAPE(rows, n));
        ref_norm_rows(x, rows, n, w, b, 1e-5, false, want);
        CHECK_OK(ts_op_layer_norm(f->ops, &dx, &dw, &db, 1e-5f, &y, &err));
        ts_opsfix_check(f, &y, want, 1e-5, 1e-5, "layer norm");
        y = ts_opsfix_new(f, &TS_SHAPE(rows, n));
        ref_norm_rows(x, rows, n, w, NULL, 1e-6, true, want);
        CHECK_OK(ts_op_rms_norm(f->ops, &dx, &dw, 1e-6f, &y, &err));
        ts_opsfix_check(f, &y, want, 1e-5, 1e-5, "RMS norm");
        ts_arr_free(&dx);
        ts_arr_free(&dw);
        ts_arr_free(&db);
        free(x);
        free(w);
        free(b);
        free(want);
    }
}

static void groups_are_normalised(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    static const int64_t sizes[][4] = {{1, 4, 1, 4}, {2, 8, 35, 2}, {1, 32, 100, 8}};
    for (size_t c = 0; c < sizeof sizes / sizeof *sizes; c++) {
        int64_t n = sizes[c][0], ch = sizes[c][1], s = sizes[c][2], g = sizes[c][3];
        size_t total = (size_t)(n * ch * s);
        float *x = ts_opsfix_random(1, -3, 5, total), *w = ts_opsfix_random(2, -1, 1, (size_t)ch);
        float *b = ts_opsfix_random(3, -1, 1, (size_t)ch), *want = malloc(total * sizeof *want);
        ts_act act = {.kind = TS_ACT_SILU};
        ref_norm_groups(x, n, ch, s, w, b, g, 1e-6, &act, want);
        ts_arr dx = ts_opsfix_up(f, &TS_SHAPE(n, ch, s), x), dw = ts_opsfix_up(f, &TS_SHAPE(ch), w);
        ts_arr db = ts_opsfix_up(f, &TS_SHAPE(ch), b), y = ts_opsfix_new(f, &TS_SHAPE(n, ch, s));
        CHECK_OK(ts_op_group_norm(f->ops, &dx, &dw, &db, g, 1e-6f, &act, &y, &err));
        ts_opsfix_check(f, &y, want, 1e-5, 1e-5, "group norm");
        for (int64_t i = 0; i < n * ch * s; i++)
            want[i] = (float)ref_act(&act, (double)x[i] * w[i / s % ch] + b[i / s % ch]);
        y = ts_opsfix_new(f, &TS_SHAPE(n, ch, s));
        CHECK_OK(ts_op_channel_affine(f->ops, &dx, &dw, &db, &act, &y, &err));
        ts_opsfix_check(f, &y, want, 1e-5, 1e-5, "channel affine");
        ts_arr_free(&dx);
        ts_arr_free(&dw);
        ts_arr_free(&db);
        free(x);
        free(w);
        free(b);
        free(want);
    }
}

static void softmax_works_on_any_axis(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    static const int64_t sizes[][3] = {{1, 1, 1}, {3, 50, 1}, {2, 7, 5}, {1, 1000, 1}, {4, 3, 33}};
    for (size_t c = 0; c < sizeof sizes / sizeof *sizes; c++) {
        int64_t o = sizes[c][0], n = sizes[c][1], in = sizes[c][2];
        float *x = ts_opsfix_random(1, -100, 100, (size_t)(o * n * in));
        float *want = malloc((size_t)(o * n * in) * sizeof *want);
        for (int logarithm = 0; logarithm < 2; logarithm++) {
            ref_softmax(x, o, n, in, logarithm, want);
            ts_arr dx = ts_opsfix_up(f, &TS_SHAPE(o, n, in), x);
            ts_arr y = ts_opsfix_new(f, &TS_SHAPE(o, n, in));
            CHECK_OK(ts_op_softmax(f->ops, &dx, 1, logarithm, &y, &err));
            ts_opsfix_check(f, &y, want, 1e-6, 1e-5, "softmax");
            ts_arr_free(&dx);
        }
        free(x);
        free(want);
    }
}

static void folded_batch_norm_is_the_same(void **state)
{
    (void)state;
    float w[2] = {2, 0.5f}, b[2] = {1, -1}, mean[2] = {3, -2}, var[2] = {4, 0.25f}, g[2], h[2];
    ts_batch_norm_fold(2, w, b, mean, var, 1e-5, g, h);
    float weight[4] = {1, 2, 3, 4}, bias[2] = {0.5f, -0.5f};
    const float x[2] = {0.3f, -0.7f};
    double want[2];
    for (int o = 0; o < 2; o++) {
        double y = weight[2 * o] * x[0] + weight[2 * o + 1] * x[1] + bias[o];
        want[o] = (y - mean[o]) / sqrt(var[o] + 1e-5) * w[o] + b[o];
    }
    ts_fold_into_weight(2, 2, g, h, weight, bias);
    for (int o = 0; o < 2; o++)
        ts_check_close(weight[2 * o] * x[0] + weight[2 * o + 1] * x[1] + bias[o], want[o], 1e-5, 0,
                       "folded", (size_t)o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_normalised),
        cmocka_unit_test(groups_are_normalised),
        cmocka_unit_test(softmax_works_on_any_axis),
        cmocka_unit_test(folded_batch_norm_is_the_same),
    };
    return cmocka_run_group_tests(tests, ts_opsfix_setup, ts_opsfix_teardown);
}
