/* Matrix products against their plain twin, over sizes that leave ragged tiles. */
#include "cl/ops/gemm.h"
#include "tests/ref/ref_ops.h"
#include "tests/support/check.h"
#include "tests/support/opsfix.h"

/* f32 sums of K products of values below 1: the error grows with sqrt(K), 1e-5 covers K = 800. */
#define ATOL 2e-5
#define RTOL 1e-5

static void linear_case(ts_opsfix *f, int64_t m, int64_t n, int64_t k, const ts_act *act,
                        bool with_bias, bool with_residual)
{
    ts_error err = {0};
    float *x = ts_opsfix_random(1, -1, 1, (size_t)(m * k));
    float *w = ts_opsfix_random(2, -1, 1, (size_t)(n * k));
    float *b = ts_opsfix_random(3, -1, 1, (size_t)n);
    float *r = ts_opsfix_random(4, -1, 1, (size_t)(m * n));
    float *want = malloc((size_t)(m * n) * sizeof *want);
    ref_gemm(m, n, k, x, false, w, true, 1, with_bias ? b : NULL, false, with_residual ? r : NULL,
             act, want);
    ts_weight *weight = NULL;
    CHECK_OK(ts_weight_create(f->ops, w, n, k, with_bias ? b : NULL, &weight, &err));
    ts_arr dx = ts_opsfix_up(f, &TS_SHAPE(m, k), x), dr = ts_opsfix_up(f, &TS_SHAPE(m, n), r);
    ts_arr y = ts_opsfix_new(f, &TS_SHAPE(m, n));
    ts_epilogue e = {.residual = with_residual ? &dr : NULL};
    if (act)
        e.act = *act;
    CHECK_OK(ts_op_linear(f->ops, &dx, weight, &e, &y, &err));
    char what[64];
    snprintf(what, sizeof what, "linear %lldx%lldx%lld", (long long)m, (long long)n, (long long)k);
    ts_opsfix_check(f, &y, want, ATOL, RTOL, what);
    ts_weight_destroy(weight);
    ts_arr_free(&dx);
    ts_arr_free(&dr);
    free(x);
    free(w);
    free(b);
    free(r);
    free(want);
}

static void linear_matches_its_twin_at_odd_sizes(void **state)
{
    static const int64_t sizes[][3] = {{1, 1, 1},      {1, 784, 256},  {1, 33, 7},  {2, 31, 5},
                                       {3, 64, 17},    {5, 100, 33},   {7, 32, 64}, {8, 32, 16},
                                       {9, 33, 65},    {10, 576, 192}, {16, 65, 3}, {65, 97, 31},
                                       {130, 40, 129}, {33, 1, 500}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        linear_case(*state, sizes[i][0], sizes[i][1], sizes[i][2], NULL, i % 2, false);
        linear_case(*state, sizes[i][0], sizes[i][1], sizes[i][2], &(ts_act){.kind = TS_ACT_RELU},
                    true, i % 3 != 0);
    }
}

static void every_fused_activation_is_applied(void **state)
{
    static const ts_act acts[] = {
        {TS_ACT_LEAKY_RELU, 0.2f, 0}, {TS_ACT_SILU, 0, 0},      {TS_ACT_GELU, 0, 0},
        {TS_ACT_GELU_TANH, 0, 0},     {TS_ACT_SIGMOID, 0, 0},   {TS_ACT_TANH, 0, 0},
        {TS_ACT_ELU, 1.5f, 0},        {TS_ACT_SOFTPLUS, 0, 0},  {TS_ACT_HARD_SIGMOID, 0.2f, 0.5f},
        {TS_ACT_HARD_SWISH, 0, 0},    {TS_ACT_CLAMP, -0.5f, 2}, {TS_ACT_AFFINE, 2, -1}};
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++) {
        linear_case(*state, 3, 50, 20, &acts[i], true, true);
        linear_case(*state, 17, 50, 20, &acts[i], true, true);
    }
}

static void matmul_case(ts_opsfix *f, int64_t m, int64_t n, int64_t k, bool ta, bool tb)
{
    ts_error err = {0};
    enum {
        B0 = 3,
        B1 = 2
    };
    /* a has both batch axes, b broadcasts over the first. */
    float *a = ts_opsfix_random(5, -1, 1, (size_t)(B0 * B1 * m * k));
    float *b = ts_opsfix_random(6, -1, 1, (size_t)(B1 * n * k));
    float *bias = ts_opsfix_random(7, -1, 1, (size_t)m);
    float *want = malloc((size_t)(B0 * B1 * m * n) * sizeof *want);
    for (int64_t i = 0; i < B0 * B1; i++)
        ref_gemm(m, n, k, a + i * m * k, ta, b + i % B1 * n * k, tb, 0.25, bias, true, NULL, NULL,
                 want + i * m * n);
    ts_arr da = ts_opsfix_up(f, &TS_SHAPE(B0, B1, ta ? k : m, ta ? m : k), a);
    ts_arr db = ts_opsfix_up(f, &TS_SHAPE(B1, tb ? n : k, tb ? k : n), b);
    ts_arr dbias = ts_opsfix_up(f, &TS_SHAPE(m), bias);
    ts_arr y = ts_opsfix_new(f, &TS_SHAPE(B0, B1, m, n));
    ts_matmul opt = {
        .trans_a = ta, .trans_b = tb, .alpha = 0.25f, .bias = &dbias, .bias_rows = true};
    CHECK_OK(ts_op_matmul(f->ops, &da, &db, &opt, &y, &err));
    ts_opsfix_check(f, &y, want, ATOL, RTOL, "matmul");
    ts_arr_free(&da);
    ts_arr_free(&db);
    ts_arr_free(&dbias);
    free(a);
    free(b);
    free(bias);
    free(want);
}

static void batched_products_broadcast_and_transpose(void **state)
{
    static const int64_t sizes[][3] = {{1, 1, 1}, {5, 33, 7}, {17, 40, 65}, {70, 66, 300}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int t = 0; t < 4; t++)
            matmul_case(*state, sizes[i][0], sizes[i][1], sizes[i][2], t & 1, t & 2);
}

static void wrong_shapes_and_dtypes_are_refused(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    float w[6] = {1, 2, 3, 4, 5, 6};
    ts_weight *weight = NULL;
    CHECK_STATUS(TS_E_SHAPE, ts_weight_create(f->ops, w, 0, 3, NULL, &weight, &err));
    CHECK_OK(ts_weight_create(f->ops, w, 2, 3, NULL, &weight, &err));
    ts_arr x = ts_opsfix_new(f, &TS_SHAPE(4, 2)), y = ts_opsfix_new(f, &TS_SHAPE(4, 2));
    CHECK_STATUS(TS_E_SHAPE, ts_op_linear(f->ops, &x, weight, NULL, &y, &err));
    ts_arr bytes = x;
    bytes.dtype = TS_U32;
    CHECK_STATUS(TS_E_DTYPE, ts_op_linear(f->ops, &bytes, weight, NULL, &y, &err));
    CHECK_STATUS(TS_E_SHAPE, ts_op_matmul(f->ops, &x, &y, NULL, &y, &err));
    ts_arr empty = ts_opsfix_new(f, &TS_SHAPE(0, 3)), none = ts_opsfix_new(f, &TS_SHAPE(0, 2));
    CHECK_OK(ts_op_linear(f->ops, &empty, weight, NULL, &none, &err));
    ts_arr_free(&empty);
    ts_arr_free(&none);
    ts_arr_free(&x);
    ts_arr_free(&y);
    ts_weight_destroy(weight);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_matches_its_twin_at_odd_sizes),
        cmocka_unit_test(every_fused_activation_is_applied),
        cmocka_unit_test(batched_products_broadcast_and_transpose),
        cmocka_unit_test(wrong_shapes_and_dtypes_are_refused),
    };
    return cmocka_run_group_tests(tests, ts_opsfix_setup, ts_opsfix_teardown);
}
