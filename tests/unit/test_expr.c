/* Expressions over tensors (viz_expr): syntax, values against plain C, shapes, faults. */
#include "cl/viz/expr.h"
#include "tests/support/check.h"
#include "tests/support/gpu.h"

static test_gpu gpu;
static ts_store *store;
static float fa[3 * 4], fb[3 * 4], row[4], cube[2 * 3 * 4], big[70001];

static void put(const char *name, ts_dtype dtype, ts_shape shape, const void *data)
{
    ts_error err = {0};
    size_t bytes;
    ts_tensor *tensor = NULL;
    bool created;
    CHECK_OK(ts_shape_check(&shape, dtype, &bytes, &err));
    CHECK_OK(ts_tensor_from_host(gpu.queue, dtype, &shape, data, bytes, &tensor, &err));
    CHECK_OK(ts_store_publish(store, name, tensor, &(ts_publish_options){0}, &created, NULL, &err));
    ts_tensor_unref(tensor);
}

/* Evaluate to f32 values and check the shape; NULL where it fails with `want`. */
static float *value_of(const char *text, ts_status want, ts_shape shape)
{
    ts_error err = {0};
    ts_expr *expr = NULL;
    ts_tensor *tensor = NULL;
    CHECK_OK(ts_expr_parse(text, &expr, &err));
    ts_status st = ts_expr_evaluate(expr, gpu.queue, store, &tensor, &err);
    ts_expr_destroy(expr);
    if (st != want)
        fail_msg("%s: got %s (%s), want %s", text, ts_status_code(st), err.text,
                 ts_status_code(want));
    ts_error_clear(&err);
    if (st != TS_OK)
        return NULL;
    char got[160], wanted[160];
    assert_string_equal(ts_shape_text(ts_tensor_shape(tensor), got, sizeof got),
                        ts_shape_text(&shape, wanted, sizeof wanted));
    size_t n = (size_t)ts_shape_elements(&shape);
    float *out = malloc(n * sizeof *out);
    if (ts_tensor_dtype(tensor) == TS_F64) {
        double *wide = malloc(n * sizeof *wide);
        CHECK_OK(ts_tensor_read(gpu.queue, tensor, wide, &err));
        for (size_t i = 0; i < n; i++)
            out[i] = (float)wide[i];
        free(wide);
    } else {
        CHECK_OK(ts_tensor_read(gpu.queue, tensor, out, &err));
    }
    ts_tensor_unref(tensor);
    return out;
}

#define CHECK_VALUES(text, shape, formula)                                              \
    do {                                                                                \
        float *values_ = value_of(text, TS_OK, shape);                                  \
        ts_shape shape_ = shape;                                                        \
        for (int i = 0; i < (int)ts_shape_elements(&shape_); i++)                       \
            ts_check_close(values_[i], (double)(formula), 1e-6, 1e-5, text, (size_t)i); \
        free(values_);                                                                  \
    } while (0)

static void operators_follow_precedence(void **state)
{
    (void)state;
    CHECK_VALUES("a-b", TS_SHAPE(3, 4), fa[i] - fb[i]);
    CHECK_VALUES("a + b * 2 - -a / 4", TS_SHAPE(3, 4), fa[i] + fb[i] * 2 + fa[i] / 4);
    CHECK_VALUES("(a + b) * 0.1", TS_SHAPE(3, 4), (fa[i] + fb[i]) * 0.1f);
    CHECK_VALUES("abs(a - b)", TS_SHAPE(3, 4), fabsf(fa[i] - fb[i]));
    CHECK_VALUES("min(a, b) + max(a, 0.5)", TS_SHAPE(3, 4),
                 fminf(fa[i], fb[i]) + fmaxf(fa[i], 0.5f));
    CHECK_VALUES("`odd-name` * 1", TS_SHAPE(3, 4), fb[i]);
    CHECK_VALUES("3", ((ts_shape){.rank = 0}), 3 + 0 * i);
}

static void shapes_broadcast_from_the_right(void **state)
{
    (void)state;
    CHECK_VALUES("a - row", TS_SHAPE(3, 4), fa[i] - row[i % 4]);
    CHECK_VALUES("cube * a", TS_SHAPE(2, 3, 4), cube[i] * fa[i % 12]);
    CHECK_VALUES("reshape(row, 4, 1) + row", TS_SHAPE(4, 4), row[i / 4] + row[i % 4]);
}

static void views_move_no_data(void **state)
{
    (void)state;
    CHECK_VALUES("transpose(a)", TS_SHAPE(4, 3), fa[i % 3 * 4 + i / 3]);
    CHECK_VALUES("transpose(cube, 2, 0, 1)", TS_SHAPE(4, 2, 3), cube[i % 6 * 4 + i / 6]);
    CHECK_VALUES("cube[1][-1]", TS_SHAPE(4), cube[12 + 8 + i]);
    CHECK_VALUES("(a - b)[2]", TS_SHAPE(4), fa[8 + i] - fb[8 + i]);
    CHECK_VALUES("transpose(a - row)[1]", TS_SHAPE(3), fa[i * 4 + 1] - row[1]);
    CHECK_VALUES("reshape(transpose(a), 2, -1)", TS_SHAPE(2, 6), fa[i % 3 * 4 + i / 3]);
}

static void reductions_keep_the_other_axes(void **state)
{
    (void)state;
    double sum = 0;
    for (int i = 0; i < 70001; i++)
        sum += (double)big[i];
    CHECK_VALUES("mean(big)", ((ts_shape){.rank = 0}), sum / 70001 + 0 * i);
    CHECK_VALUES("max(big) - min(big)", ((ts_shape){.rank = 0}), 100 + 0 * i);
    CHECK_VALUES("mean(a, 0)", TS_SHAPE(4), (fa[i] + fa[i + 4] + fa[i + 8]) / 3);
    CHECK_VALUES("sum(a, axis=1)", TS_SHAPE(3),
                 fa[4 * i] + fa[4 * i + 1] + fa[4 * i + 2] + fa[4 * i + 3]);
    CHECK_VALUES("max(cube, axis=0)", TS_SHAPE(3, 4), fmaxf(cube[i], cube[12 + i]));
    CHECK_VALUES("a - mean(a, axis=0)", TS_SHAPE(3, 4),
                 fa[i] - (fa[i % 4] + fa[i % 4 + 4] + fa[i % 4 + 8]) / 3);
}

static void wide_types_subtract_before_they_round(void **state)
{
    (void)state;
    const double x[2] = {1e9 + 0.001, 1e9 + 0.002}, y[2] = {1e9, 1e9};
    put("x", TS_F64, TS_SHAPE(2), x);
    put("y", TS_F64, TS_SHAPE(2), y);
    if (!ts_device_caps(gpu.device)->fp64)
        skip();
    float *got = value_of("x - y", TS_OK, TS_SHAPE(2));
    for (size_t i = 0; i < 2; i++)
        ts_check_close(got[i], x[i] - y[i], 1e-9, 1e-4, "x - y", i);
    free(got);
    const uint8_t u[2] = {200, 3};
    const uint16_t h[2] = {0x3c00, 0xc000}; /* 1, -2 */
    put("u", TS_U8, TS_SHAPE(2), u);
    put("h", TS_F16, TS_SHAPE(2), h);
    CHECK_VALUES("u * h", TS_SHAPE(2), i ? -6 : 200);
}

static void long_programs_are_cut(void **state)
{
    (void)state;
    char text[1024] = "a";
    for (int i = 0; i < 40; i++)
        strcat(text, i % 2 ? "-row" : "+b*2");
    CHECK_VALUES(text, TS_SHAPE(3, 4), fa[i] + 20 * (fb[i] * 2 - row[i % 4]));
    strcpy(text, "a");
    for (int i = 0; i < 24; i++)
        strcat(text, "+(b");
    for (int i = 0; i < 24; i++)
        strcat(text, ")");
    CHECK_VALUES(text, TS_SHAPE(3, 4), fa[i] + 24 * fb[i]);
}

static void values_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    ts_shape none = {0};
    value_of("a + nobody", TS_E_NOT_FOUND, none);
    value_of("a + transpose(a)", TS_E_SHAPE, none);
    value_of("a[3]", TS_E_INDEX, none);
    value_of("a[0][0][0]", TS_E_INDEX, none);
    value_of("mean(a, 2)", TS_E_INDEX, none);
    value_of("reshape(a, 5)", TS_E_SHAPE, none);
    value_of("reshape(a, 0, -1)", TS_E_SHAPE, none);
    value_of("transpose(a, 0, 0)", TS_E_INDEX, none);
    value_of("empty + 1", TS_E_EMPTY, none);
    value_of("mean(empty)", TS_E_EMPTY, none);
}

static void bad_syntax_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",       "a +",    "(a",    "a b",      "a[",           "a[x]", "a]",   "foo(a)",
        "`a",     "a ** b", "1e999", "mean()",   "min(a,)",      "a;b",  "--",   "reshape(a)",
        "a[1.5]", "`a/b`",  ",",     "abs(a,b)", "mean(a,axis)", "$",    "\xff", "a[99999999999]"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        ts_error err = {0};
        ts_expr *expr = NULL;
        ts_status st = ts_expr_parse(texts[i], &expr, &err);
        if (st != TS_E_OPTION)
            fail_msg("'%s': got %s", texts[i], ts_status_code(st));
        ts_error_clear(&err);
    }
    ts_error err = {0};
    ts_expr *expr = NULL;
    char deep[300] = "";
    for (int i = 0; i < 200; i++)
        strcat(deep, "(");
    CHECK_STATUS(TS_E_OPTION, ts_expr_parse(deep, &expr, &err));
    memset(deep, '-', 250);
    CHECK_STATUS(TS_E_OPTION, ts_expr_parse(deep, &expr, &err));
}

static void count_names(void *arg, const char *name)
{
    (void)name;
    (*(int *)arg)++;
}

static void names_are_visited_once(void **state)
{
    (void)state;
    ts_error err = {0};
    ts_expr *expr = NULL;
    int n = 0;
    CHECK_OK(ts_expr_parse("a - mean(a) + b.c[0] * `x-y`", &expr, &err));
    ts_expr_each_tensor(expr, count_names, &n);
    assert_int_equal(n, 3);
    ts_expr_destroy(expr);
}

static int setup(void **state)
{
    (void)state;
    ts_error err = {0};
    test_gpu_open(&gpu);
    CHECK_OK(ts_store_create(16, &store, &err));
    for (int i = 0; i < 12; i++) {
        fa[i] = sinf((float)i) * 3;
        fb[i] = cosf((float)i * 2) + 0.1f;
    }
    for (int i = 0; i < 4; i++)
        row[i] = (float)i * 0.5f - 1;
    for (int i = 0; i < 24; i++)
        cube[i] = (float)(i * 7 % 11);
    for (int i = 0; i < 70001; i++)
        big[i] = (float)(i % 101);
    put("a", TS_F32, TS_SHAPE(3, 4), fa);
    put("b", TS_F32, TS_SHAPE(3, 4), fb);
    put("odd-name", TS_F32, TS_SHAPE(3, 4), fb);
    put("row", TS_F32, TS_SHAPE(4), row);
    put("cube", TS_F32, TS_SHAPE(2, 3, 4), cube);
    put("big", TS_F32, TS_SHAPE(70001), big);
    put("empty", TS_F32, TS_SHAPE(0, 4), fa);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    ts_store_destroy(store);
    test_gpu_close(&gpu);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operators_follow_precedence),
        cmocka_unit_test(shapes_broadcast_from_the_right),
        cmocka_unit_test(views_move_no_data),
        cmocka_unit_test(reductions_keep_the_other_axes),
        cmocka_unit_test(wide_types_subtract_before_they_round),
        cmocka_unit_test(long_programs_are_cut),
        cmocka_unit_test(values_that_do_not_fit_are_refused),
        cmocka_unit_test(bad_syntax_is_refused),
        cmocka_unit_test(names_are_visited_once),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
