/* Reductions, arg-max, top-k, pooling and resampling against their twins. */
#include "cl/ops/pool.h"
#include "cl/ops/reduce.h"
#include "cl/ops/resize.h"
#include "tests/ref/ref_ops.h"
#include "tests/support/check.h"
#include "tests/support/opsfix.h"

static void every_reduction_matches_on_every_axis(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    float *x = ts_opsfix_random(1, 0.1f, 1.5f, 3 * 20 * 37), *want = malloc(3 * 37 * 20 * 4);
    for (int op = TS_REDUCE_SUM; op <= TS_REDUCE_LOG_SUM_EXP; op++) {
        static const struct {
            unsigned axes;
            int64_t outer, n, inner;
        } cases[] = {
            {1, 1, 3, 740}, {2, 3, 20, 37}, {4, 60, 37, 1}, {6, 3, 740, 1}, {7, 1, 2220, 1}};
        for (size_t c = 0; c < 5; c++) {
            if (op == TS_REDUCE_PROD && c > 0)
                continue; /* underflows */
            ref_reduce((ts_reduce)op, x, cases[c].outer, cases[c].n, cases[c].inner, want);
            ts_arr dx = ts_opsfix_up(f, &TS_SHAPE(3, 20, 37), x);
            ts_arr y = ts_opsfix_new(f, &TS_SHAPE(cases[c].outer * cases[c].inner));
            CHECK_OK(ts_op_reduce(f->ops, (ts_reduce)op, &dx, cases[c].axes, &y, &err));
            ts_opsfix_check(f, &y, want, 1e-5, 1e-5, "reduce");
            ts_arr_free(&dx);
        }
    }
    /* Axes 0 and 2, which are not neighbours. */
    for (int j = 0; j < 20; j++) {
        double s = 0;
        for (int i = 0; i < 3; i++)
            for (int k = 0; k < 37; k++)
                s += x[(i * 20 + j) * 37 + k];
        want[j] = (float)s;
    }
    ts_arr dx = ts_opsfix_up(f, &TS_SHAPE(3, 20, 37), x), y = ts_opsfix_new(f, &TS_SHAPE(1, 20, 1));
    CHECK_OK(ts_op_reduce(f->ops, TS_REDUCE_SUM, &dx, 5, &y, &err));
    ts_opsfix_check(f, &y, want, 1e-5, 1e-5, "reduce 0, 2");
    ts_arr_free(&dx);
    free(x);
    free(want);
}

static void argmax_takes_the_first_or_last_of_equals(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    const float x[8] = {1, 5, 5, 2, 0, -1, -1, 3};
    ts_arr dx = ts_opsfix_up(f, &TS_SHAPE(2, 4), x), y;
    CHECK_OK(ts_arr_create(f->ops, TS_I64, &TS_SHAPE(2), &y, &err));
    static const int64_t want[4][2] = {{1, 3}, {2, 3}, {0, 1}, {0, 2}};
    for (int c = 0; c < 4; c++) {
        int64_t got[2];
        CHECK_OK(ts_op_argmax(f->ops, &dx, -1, c > 1, c & 1, &y, &err));
        CHECK_OK(ts_arr_read(f->ops, &y, got, &err));
        assert_memory_equal(got, want[c], sizeof got);
    }
    ts_arr_free(&y);
    ts_arr_free(&dx);
}

static void topk_is_sorted_and_stable(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    enum {
        ROWS = 3,
        N = 200
    };
    float *x = ts_opsfix_random(1, 0, 20, ROWS * N);
    for (int i = 0; i < ROWS * N; i++)
        x[i] = floorf(x[i]); /* many ties */
    static const int ks[] = {1, 7, 50, N};
    for (int c = 0; c < 8; c++) {
        int k = ks[c / 2];
        bool smallest = c & 1;
        ts_arr dx = ts_opsfix_up(f, &TS_SHAPE(ROWS, N), x);
        ts_arr v = ts_opsfix_new(f, &TS_SHAPE(ROWS, k)), index;
        CHECK_OK(ts_arr_create(f->ops, TS_I32, &TS_SHAPE(ROWS, k), &index, &err));
        CHECK_OK(ts_op_topk(f->ops, &dx, k, smallest, &v, &index, &err));
        int32_t at[ROWS * N];
        float got[ROWS * N];
        CHECK_OK(ts_arr_read(f->ops, &index, at, &err));
        CHECK_OK(ts_arr_read(f->ops, &v, got, &err));
        for (int r = 0; r < ROWS; r++) {
            bool taken[N] = {false};
            for (int i = 0; i < k; i++) {
                int best = -1;
                for (int j = 0; j < N; j++)
                    if (!taken[j] && (best < 0 || (smallest ? x[r * N + j] < x[r * N + best]
                                                            : x[r * N + j] > x[r * N + best])))
                        best = j;
                taken[best] = true;
                assert_int_equal(at[r * k + i], best);
                assert_true(got[r * k + i] == x[r * N + best]);
            }
        }
        ts_arr_free(&dx);
        ts_arr_free(&v);
        ts_arr_free(&index);
    }
    free(x);
}

static void pools_match(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    const ts_pool pools[] = {
        {.kernel = {1, 2, 2}, .stride = {1, 2, 2}},
        {.kernel = {1, 3, 3}, .stride = {1, 2, 2}, .pad_front = {0, 1, 1}, .pad_back = {0, 1, 1}},
        {.kernel = {1, 3, 3},
         .stride = {1, 2, 2},
         .pad_front = {0, 1, 1},
         .pad_back = {0, 1, 1},
         .average = true,
         .count_padding = true,
         .ceil_mode = true},
        {.kernel = {1, 3, 2}, .dilation = {1, 2, 1}, .average = true, .pad_front = {0, 1, 0}},
    };
    float *x = ts_opsfix_random(1, -1, 1, 6 * 10 * 13);
    for (size_t c = 0; c < 4; c++) {
        ts_shape in = TS_SHAPE(2, 3, 10, 13), out;
        CHECK_OK(ts_pool_output_shape(&pools[c], &in, &out, &err));
        size_t n = (size_t)ts_shape_elements(&out);
        float *want = malloc(n * sizeof *want);
        int64_t *want_at = malloc(n * sizeof *want_at), *at = malloc(n * sizeof *at);
        ref_pool(&pools[c], x, 6, (int64_t[]){1, 10, 13}, (int64_t[]){1, out.dim[2], out.dim[3]},
                 want, want_at);
        ts_arr dx = ts_opsfix_up(f, &in, x), y = ts_opsfix_new(f, &out), index;
        CHECK_OK(ts_arr_create(f->ops, TS_I64, &out, &index, &err));
        CHECK_OK(ts_op_pool(f->ops, &dx, &pools[c], &y, &index, &err));
        CHECK_OK(ts_arr_read(f->ops, &index, at, &err));
        ts_opsfix_check(f, &y, want, 1e-6, 1e-6, "pool");
        if (!pools[c].average)
            assert_memory_equal(at, want_at, n * sizeof *at);
        ts_arr_free(&dx);
        ts_arr_free(&index);
        free(want);
        free(want_at);
        free(at);
    }
    free(x);
}

static void bilinear_doubling_takes_the_clamped_fraction(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    const float x[4] = {1, 2, 3, 4};
    const float want[16] = {1,    1.25f, 1.75f, 2,    1.5f, 1.75f, 2.25f, 2.5f,
                            2.5f, 2.75f, 3.25f, 3.5f, 3,    3.25f, 3.75f, 4};
    ts_resize *r;
    ts_resize_options o = {.in_h = 2,
                           .in_w = 2,
                           .out_h = 4,
                           .out_w = 4,
                           .mode = TS_RESIZE_LINEAR,
                           .coords = TS_RESIZE_HALF_PIXEL_CLAMPED};
    CHECK_OK(ts_resize_create(f->ops, &o, &r, &err));
    ts_arr dx = ts_opsfix_up(f, &TS_SHAPE(1, 1, 2, 2), x),
           y = ts_opsfix_new(f, &TS_SHAPE(1, 1, 4, 4));
    CHECK_OK(ts_op_resize(f->ops, r, &dx, &y, &err));
    ts_opsfix_check(f, &y, want, 0, 0, "bilinear");
    ts_resize_destroy(r);
    ts_arr_free(&dx);
}

/* The kernel against the same taps applied one value at a time. */
static void resampling_matches_at_odd_sizes(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    const ts_resize_options cases[] = {
        {.in_h = 7, .in_w = 50, .out_h = 13, .out_w = 31, .mode = TS_RESIZE_LINEAR},
        {.in_h = 7,
         .in_w = 9,
         .out_h = 14,
         .out_w = 18,
         .mode = TS_RESIZE_NEAREST,
         .coords = TS_RESIZE_ASYMMETRIC},
        {.in_h = 12, .in_w = 9, .out_h = 5, .out_w = 40, .mode = TS_RESIZE_CUBIC},
        {.in_h = 30,
         .in_w = 40,
         .out_h = 7,
         .out_w = 11,
         .mode = TS_RESIZE_CUBIC,
         .antialias = true,
         .cubic_a = -0.5},
        {.in_h = 1,
         .in_w = 1,
         .out_h = 3,
         .out_w = 2,
         .mode = TS_RESIZE_LINEAR,
         .coords = TS_RESIZE_ALIGN_CORNERS},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        const ts_resize_options *o = &cases[c];
        int ty, tx;
        int32_t *iy, *ix;
        double *wy, *wx;
        CHECK_OK(ts_resize_taps(o, o->in_h, o->out_h, 0, &ty, &iy, &wy, &err));
        CHECK_OK(ts_resize_taps(o, o->in_w, o->out_w, 0, &tx, &ix, &wx, &err));
        float *x = ts_opsfix_random(1, -1, 1, (size_t)(3 * o->in_h * o->in_w));
        float *want = calloc((size_t)(3 * o->out_h * o->out_w), sizeof *want);
        for (int64_t i = 0; i < 3 * o->out_h * o->out_w; i++) {
            int64_t q = i % o->out_w, r = i / o->out_w % o->out_h, p = i / (o->out_w * o->out_h);
            double s = 0, weights = 0;
            for (int t = 0; t < ty; t++)
                for (int u = 0; u < tx; u++) {
                    s += wy[r * ty + t] * wx[q * tx + u] *
                         x[(p * o->in_h + iy[r * ty + t]) * o->in_w + ix[q * tx + u]];
                    weights += wy[r * ty + t] * wx[q * tx + u];
                }
            ts_check_close(weights, 1, 1e-12, 0, "sum of weights", (size_t)i);
            want[i] = (float)s;
        }
        ts_resize *r;
        CHECK_OK(ts_resize_create(f->ops, o, &r, &err));
        ts_arr dx = ts_opsfix_up(f, &TS_SHAPE(3, o->in_h, o->in_w), x);
        ts_arr y = ts_opsfix_new(f, &TS_SHAPE(3, o->out_h, o->out_w));
        CHECK_OK(ts_op_resize(f->ops, r, &dx, &y, &err));
        ts_opsfix_check(f, &y, want, 1e-6, 1e-6, "resize");
        ts_resize_destroy(r);
        ts_arr_free(&dx);
        free(x);
        free(want);
        free(iy);
        free(ix);
        free(wy);
        free(wx);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_reduction_matches_on_every_axis),
        cmocka_unit_test(argmax_takes_the_first_or_last_of_equals),
        cmocka_unit_test(topk_is_sorted_and_stable),
        cmocka_unit_test(pools_match),
        cmocka_unit_test(bilinear_doubling_takes_the_clamped_fraction),
        cmocka_unit_test(resampling_matches_at_odd_sizes),
    };
    return cmocka_run_group_tests(tests, ts_opsfix_setup, ts_opsfix_teardown);
}
