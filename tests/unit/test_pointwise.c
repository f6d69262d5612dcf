/* Pointwise operators against their twins: every kind, broadcasting, special values, casts. */
#include "cl/ops/pointwise.h"
#include "tests/ref/ref_ops.h"
#include "tests/support/check.h"
#include "tests/support/opsfix.h"

static void every_unary_kind_matches(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    enum {
        N = 101
    };
    float x[N], want[N];
    for (int kind = 0; kind < TS_ACT_COUNT; kind++) {
        float lo = -8, hi = 8;
        if (kind == TS_ACT_LOG || kind == TS_ACT_SQRT || kind == TS_ACT_RSQRT)
            lo = 0.01f;
        if (kind == TS_ACT_ASIN || kind == TS_ACT_ACOS || kind == TS_ACT_ATANH)
            lo = -0.99f, hi = 0.99f;
        if (kind == TS_ACT_ACOSH)
            lo = 1.01f;
        if (kind == TS_ACT_TAN)
            lo = -1.5f, hi = 1.5f;
        ts_opsfix_fill((uint64_t)kind, lo, hi, x, N);
        x[3] = 2.5f;
        x[4] = kind == TS_ACT_RECIPROCAL ? 1 : kind == TS_ACT_LOG || kind == TS_ACT_RSQRT ? 4 : 0;
        if (kind == TS_ACT_ACOSH || lo == -0.99f)
            x[3] = x[4] = hi;
        if (kind == TS_ACT_SIGMOID || kind == TS_ACT_TANH || kind == TS_ACT_SOFTPLUS)
            x[5] = 200, x[6] = -200; /* must not overflow */
        if (kind == TS_ACT_RELU || kind == TS_ACT_IS_NAN)
            x[7] = NAN;
        if (kind == TS_ACT_IS_INF)
            x[7] = INFINITY, x[8] = -INFINITY;
        ts_act act = {.kind = (ts_act_kind)kind, .a = 0.3f, .b = 1.1f};
        if (kind == TS_ACT_IS_INF)
            act.a = 0;
        for (int i = 0; i < N; i++)
            want[i] = (float)ref_act(&act, x[i]);
        ts_arr dx = ts_opsfix_up(f, &TS_SHAPE(N), x), y = ts_opsfix_new(f, &TS_SHAPE(N));
        CHECK_OK(ts_op_unary(f->ops, &dx, &act, &y, &err));
        char what[32];
        snprintf(what, sizeof what, "act %d", kind);
        /* sinh, cosh and exp reach 3000: a few units in the last place of f32. */
        ts_opsfix_check(f, &y, want, 2e-6, 2e-6, what);
        ts_arr_free(&dx);
    }
}

static void every_binary_operation_broadcasts(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    static const struct {
        ts_shape a, b;
    } cases[] = {
        {{.rank = 1, .dim = {37}}, {.rank = 1, .dim = {37}}},
        {{.rank = 3, .dim = {3, 5, 33}}, {.rank = 1, .dim = {1}}},
        {{.rank = 3, .dim = {3, 5, 7}}, {.rank = 2, .dim = {5, 1}}},
        {{.rank = 4, .dim = {2, 1, 4, 1}}, {.rank = 4, .dim = {1, 3, 1, 40}}},
        {{.rank = 0}, {.rank = 2, .dim = {2, 3}}},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        ts_shape out;
        CHECK_OK(ts_broadcast_shape(&cases[c].a, &cases[c].b, &out, &err));
        size_t na = (size_t)ts_shape_elements(&cases[c].a);
        size_t nb = (size_t)ts_shape_elements(&cases[c].b), n = (size_t)ts_shape_elements(&out);
        float *a = ts_opsfix_random(1, -3, 3, na), *b = ts_opsfix_random(2, -3, 3, nb);
        float *want = malloc(n * sizeof *want);
        a[0] = b[0]; /* an equal pair */
        for (int op = 0; op < TS_BINARY_COUNT; op++) {
            if (op == TS_BINARY_POW)
                for (size_t i = 0; i < na; i++)
                    a[i] = fabsf(a[i]);
            for (size_t i = 0; i < n; i++)
                want[i] = (float)ref_binary((ts_binary)op,
                                            a[ref_broadcast_index(&cases[c].a, &out, (int64_t)i)],
                                            b[ref_broadcast_index(&cases[c].b, &out, (int64_t)i)]);
            ts_arr da = ts_opsfix_up(f, &cases[c].a, a), db = ts_opsfix_up(f, &cases[c].b, b);
            ts_arr y = ts_opsfix_new(f, &out);
            CHECK_OK(ts_op_binary(f->ops, (ts_binary)op, &da, &db, NULL, &y, &err));
            char what[32];
            snprintf(what, sizeof what, "binary %d case %zu", op, c);
            ts_opsfix_check(f, &y, want, 1e-5, 1e-5, what);
            ts_arr_free(&da);
            ts_arr_free(&db);
        }
        free(a);
        free(b);
        free(want);
    }
    ts_shape out;
    CHECK_STATUS(TS_E_SHAPE, ts_broadcast_shape(&TS_SHAPE(2, 3), &TS_SHAPE(2), &out, &err));
}

static void check_whole(ts_opsfix *f, ts_binary op, const float *a, const float *b,
                        const float *want, int64_t n, const char *what)
{
    ts_error err = {0};
    ts_arr da = ts_opsfix_up(f, &TS_SHAPE(n), a), db = ts_opsfix_up(f, &TS_SHAPE(n), b);
    ts_arr y = ts_opsfix_new(f, &TS_SHAPE(n));
    CHECK_OK(ts_op_binary(f->ops, op, &da, &db, NULL, &y, &err));
    ts_opsfix_check(f, &y, want, 0, 0, what);
    ts_arr_free(&da);
    ts_arr_free(&db);
}

/* Exact on every device, also where its own division and pow are an ulp or more off. */
static void whole_numbers_stay_whole(void **state)
{
    enum {
        N = 3 * 97 * 40
    };
    static float a[N], b[N], want[N];
    int n = 0;
    for (int divisor = -48; divisor <= 48; divisor++)
        for (int k = 0; k < 40; k++)
            for (int off = -1; off <= 1; off++, n++) {
                int by = divisor ? divisor : 4099,
                    value = (k * 9973 - 190000) * by % 16000000 + off;
                a[n] = (float)value;
                b[n] = (float)by;
                want[n] = (float)(value / by);
            }
    check_whole(*state, TS_BINARY_DIV_WHOLE, a, b, want, N, "division");
    float base[] = {9, 3, -7, 2, 9, 2, 0, 5, 2, 10, -3},
          by[] = {3, 15, 5, -1, 0.5f, 0.5f, 0, 10, 24, 7, 2};
    float powers[] = {729, 14348907, -16807, 0, 3, 1, 1, 9765625, 16777216, 10000000, 9};
    check_whole(*state, TS_BINARY_POW_WHOLE, base, by, powers, 11, "power");
    check_whole(*state, TS_BINARY_POW, base, by, powers, 3, "float power");
}

static void where_takes_the_right_side(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    float c[3] = {0, 1, NAN}, a[2] = {10, 20}, b[6] = {1, 2, 3, 4, 5, 6};
    /* NaN is not 0, so it is true. */
    float want[6] = {1, 10, 10, 4, 20, 20};
    ts_arr dc = ts_opsfix_up(f, &TS_SHAPE(3), c), da = ts_opsfix_up(f, &TS_SHAPE(2, 1), a);
    ts_arr db = ts_opsfix_up(f, &TS_SHAPE(2, 3), b), y = ts_opsfix_new(f, &TS_SHAPE(2, 3));
    CHECK_OK(ts_op_where(f->ops, &dc, &da, &db, &y, &err));
    ts_opsfix_check(f, &y, want, 0, 0, "where");
    ts_arr_free(&dc);
    ts_arr_free(&da);
    ts_arr_free(&db);
}

static void casts_saturate_round_and_keep_integers(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    float x[6] = {-1.5f, 0.0f, 2.75f, 300.0f, 1e10f, 65504.0f};
    ts_arr dx = ts_opsfix_up(f, &TS_SHAPE(6), x), y;
    uint8_t u8[6];
    int64_t i64[6];
    uint16_t f16[6];
    double f64[6];
    CHECK_OK(ts_arr_create(f->ops, TS_U8, &TS_SHAPE(6), &y, &err));
    CHECK_OK(ts_op_cast(f->ops, &dx, &y, &err));
    CHECK_OK(ts_arr_read(f->ops, &y, u8, &err));
    assert_memory_equal(u8, ((uint8_t[]){0, 0, 2, 255, 255, 255}), 6);
    ts_arr_free(&y);
    CHECK_OK(ts_arr_create(f->ops, TS_I64, &TS_SHAPE(6), &y, &err));
    CHECK_OK(ts_op_cast(f->ops, &dx, &y, &err));
    CHECK_OK(ts_arr_read(f->ops, &y, i64, &err));
    assert_true(i64[0] == -1 && i64[4] == 10000000000);
    ts_arr narrow;
    CHECK_OK(ts_arr_create(f->ops, TS_I32, &TS_SHAPE(6), &narrow, &err));
    CHECK_OK(ts_op_cast(f->ops, &y, &narrow, &err));
    int32_t i32[6];
    CHECK_OK(ts_arr_read(f->ops, &narrow, i32, &err));
    assert_int_equal(i32[0], -1);
    assert_int_equal(i32[4], (int32_t)10000000000);
    ts_arr_free(&narrow);
    ts_arr_free(&y);
    CHECK_OK(ts_arr_create(f->ops, TS_F16, &TS_SHAPE(6), &y, &err));
    CHECK_OK(ts_op_cast(f->ops, &dx, &y, &err));
    CHECK_OK(ts_arr_read(f->ops, &y, f16, &err));
    for (int i = 0; i < 6; i++)
        assert_int_equal(f16[i], ts_f32_to_f16(x[i]));
    ts_arr_free(&y);
    CHECK_OK(ts_arr_create(f->ops, TS_F64, &TS_SHAPE(6), &y, &err));
    CHECK_OK(ts_op_cast(f->ops, &dx, &y, &err));
    CHECK_OK(ts_arr_read(f->ops, &y, f64, &err));
    for (int i = 0; i < 6; i++)
        assert_true(f64[i] == (double)x[i]);
    ts_arr_free(&y);
    ts_arr_free(&dx);
}

static void pictures_are_rounded_or_truncated(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    float x[5] = {-0.1f, 0.5f / 255, 0.49f, 0.999f, 7};
    ts_arr dx = ts_opsfix_up(f, &TS_SHAPE(5), x), y;
    uint8_t got[5];
    CHECK_OK(ts_arr_create(f->ops, TS_U8, &TS_SHAPE(5), &y, &err));
    CHECK_OK(ts_op_quantize(f->ops, &dx, 255, 0, false, &y, &err));
    CHECK_OK(ts_arr_read(f->ops, &y, got, &err));
    assert_memory_equal(got, ((uint8_t[]){0, 1, 125, 255, 255}), 5);
    CHECK_OK(ts_op_quantize(f->ops, &dx, 255, 0, true, &y, &err));
    CHECK_OK(ts_arr_read(f->ops, &y, got, &err));
    assert_memory_equal(got, ((uint8_t[]){0, 0, 124, 254, 255}), 5);
    ts_arr_free(&y);
    ts_arr_free(&dx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_unary_kind_matches),
        cmocka_unit_test(every_binary_operation_broadcasts),
        cmocka_unit_test(whole_numbers_stay_whole),
        cmocka_unit_test(where_takes_the_right_side),
        cmocka_unit_test(casts_saturate_round_and_keep_integers),
        cmocka_unit_test(pictures_are_rounded_or_truncated),
    };
    return cmocka_run_group_tests(tests, ts_opsfix_setup, ts_opsfix_teardown);
}
