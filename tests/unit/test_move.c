/* Transposes, slices, concatenation, expansion, gathers and padding against plain loops. */
#include "cl/ops/move.h"
#include "cl/ops/pointwise.h"
#include "tests/ref/ref_ops.h"
#include "tests/support/check.h"
#include "tests/support/opsfix.h"

static void axes_are_permuted(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    float *x = ts_opsfix_random(1, -1, 1, 2 * 3 * 5 * 17), want[2 * 3 * 5 * 17];
    static const int perms[][4] = {{0, 1, 2, 3}, {3, 2, 1, 0}, {0, 2, 3, 1}, {1, 0, 2, 3}};
    const int64_t dim[4] = {2, 3, 5, 17};
    for (size_t c = 0; c < 4; c++) {
        ts_shape out = {.rank = 4};
        for (int d = 0; d < 4; d++)
            out.dim[d] = dim[perms[c][d]];
        for (int64_t i = 0; i < 510; i++) {
            int64_t rest = i, pos[4], at = 0;
            for (int d = 3; d >= 0; d--) {
                pos[perms[c][d]] = rest % out.dim[d];
                rest /= out.dim[d];
            }
            for (int d = 0; d < 4; d++)
                at = at * dim[d] + pos[d];
            want[i] = x[at];
        }
        ts_arr dx = ts_opsfix_up(f, &TS_SHAPE(2, 3, 5, 17), x), y = ts_opsfix_new(f, &out);
        CHECK_OK(ts_op_transpose(f->ops, &dx, perms[c], &y, &err));
        ts_opsfix_check(f, &y, want, 0, 0, "transpose");
        ts_arr_free(&dx);
    }
    free(x);
}

static void slices_step_forwards_and_backwards(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    float *x = ts_opsfix_random(1, -1, 1, 4 * 9 * 20), want[2 * 3 * 20];
    ts_arr dx = ts_opsfix_up(f, &TS_SHAPE(4, 9, 20), x), y = ts_opsfix_new(f, &TS_SHAPE(2, 3, 20));
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 3; j++)
            for (int k = 0; k < 20; k++)
                want[(i * 3 + j) * 20 + k] = x[((1 + 2 * i) * 9 + 8 - 3 * j) * 20 + 19 - k];
    CHECK_OK(ts_op_slice(f->ops, &dx, (int64_t[]){1, 8, 19}, (int64_t[]){2, -3, -1}, &y, &err));
    CHECK_STATUS(TS_E_SHAPE,
                 ts_op_slice(f->ops, &dx, (int64_t[]){3, 8, 19}, (int64_t[]){2, -3, -1}, &y, &err));
    ts_opsfix_check(f, &y, want, 0, 0, "slice");
    ts_arr_free(&dx);
    free(x);
}

static void parts_are_joined(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    float a[6] = {1, 2, 3, 4, 5, 6}, b[4] = {7, 8, 9, 10};
    float want[10] = {1, 2, 3, 7, 8, 4, 5, 6, 9, 10};
    ts_arr da = ts_opsfix_up(f, &TS_SHAPE(2, 3), a), db = ts_opsfix_up(f, &TS_SHAPE(2, 2), b);
    ts_arr y = ts_opsfix_new(f, &TS_SHAPE(2, 5));
    CHECK_OK(ts_op_concat(f->ops, (const ts_arr *[]){&da, &db}, 2, -1, &y, &err));
    ts_opsfix_check(f, &y, want, 0, 0, "concat");
    float wide[12] = {1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3};
    ts_arr col = ts_opsfix_up(f, &TS_SHAPE(3, 1), a);
    y = ts_opsfix_new(f, &TS_SHAPE(3, 4));
    CHECK_OK(ts_op_expand(f->ops, &col, &y, &err));
    ts_opsfix_check(f, &y, wide, 0, 0, "expand");
    ts_arr_free(&col);
    ts_arr_free(&da);
    ts_arr_free(&db);
}

static void rows_are_gathered(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    float *x = ts_opsfix_random(1, -1, 1, 2 * 5 * 3), want[2 * 4 * 3];
    const int32_t i32[4] = {4, 0, -1, 2};
    const int64_t i64[4] = {4, 0, -1, 2};
    for (int o = 0; o < 2; o++)
        for (int i = 0; i < 4; i++)
            for (int k = 0; k < 3; k++)
                want[(o * 4 + i) * 3 + k] = x[(o * 5 + (i32[i] < 0 ? 4 : i32[i])) * 3 + k];
    for (int wide = 0; wide < 2; wide++) {
        ts_arr dx = ts_opsfix_up(f, &TS_SHAPE(2, 5, 3), x), index;
        CHECK_OK(ts_arr_from_host(f->ops, wide ? TS_I64 : TS_I32, &TS_SHAPE(2, 2),
                                  wide ? (const void *)i64 : i32, &index, &err));
        ts_arr y = ts_opsfix_new(f, &TS_SHAPE(2, 2, 2, 3));
        CHECK_OK(ts_op_gather(f->ops, &dx, &index, 1, &y, &err));
        ts_opsfix_check(f, &y, want, 0, 0, "gather");
        ts_arr_free(&index);
        ts_arr_free(&dx);
    }
    free(x);
}

static void every_padding_matches(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    float *x = ts_opsfix_random(1, -1, 1, 2 * 4 * 5), want[3 * 9 * 11];
    const ts_shape in = TS_SHAPE(2, 4, 5), out = TS_SHAPE(3, 9, 11), cut = TS_SHAPE(2, 2, 4);
    const int64_t front[3] = {1, 3, 2}, crop[3] = {0, -1, -1};
    ts_arr dx = ts_opsfix_up(f, &in, x);
    for (int mode = TS_PAD_CONSTANT; mode <= TS_PAD_WRAP; mode++) {
        ref_pad(x, &in, front, (ts_pad_mode)mode, 7, &out, want);
        ts_arr y = ts_opsfix_new(f, &out);
        CHECK_OK(ts_op_pad(f->ops, &dx, front, (ts_pad_mode)mode, 7, &y, &err));
        ts_opsfix_check(f, &y, want, 0, 0, "pad");
    }
    ref_pad(x, &in, crop, TS_PAD_CONSTANT, 0, &cut, want);
    ts_arr y = ts_opsfix_new(f, &cut);
    CHECK_OK(ts_op_pad(f->ops, &dx, crop, TS_PAD_CONSTANT, 0, &y, &err));
    ts_opsfix_check(f, &y, want, 0, 0, "crop");
    ts_arr_free(&dx);
    free(x);
}

/* Two tiles that overlap by four columns, with weights that sum to 1, make the whole again. */
static void blended_tiles_make_the_whole(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    enum {
        P = 2,
        H = 5,
        W = 20,
        T = 12
    };
    float *x = ts_opsfix_random(1, -1, 1, P * H * W), part[P * H * T], ones[H], ramp[2][T];
    ts_arr y = ts_opsfix_new(f, &TS_SHAPE(P, H, W)), dw[2], rows;
    for (int i = 0; i < H; i++)
        ones[i] = 1;
    for (int j = 0; j < T; j++) {
        ramp[0][j] = j < 8 ? 1 : 1 - ((float)(j - 8) + 0.5f) / 4;
        ramp[1][j] = j < 4 ? ((float)j + 0.5f) / 4 : 1;
    }
    rows = ts_opsfix_up(f, &TS_SHAPE(H), ones);
    CHECK_OK(ts_op_fill(f->ops, &y, 0, &err));
    for (int t = 0; t < 2; t++) {
        for (int i = 0; i < P * H * T; i++)
            part[i] = x[i / T * W + 8 * t + i % T];
        ts_arr tile = ts_opsfix_up(f, &TS_SHAPE(P, H, T), part);
        dw[t] = ts_opsfix_up(f, &TS_SHAPE(T), ramp[t]);
        CHECK_OK(ts_op_blend(f->ops, &tile, &rows, &dw[t], 0, 8 * t, &y, &err));
        CHECK_STATUS(TS_E_SHAPE, ts_op_blend(f->ops, &tile, &rows, &dw[t], 1, 0, &y, &err));
        ts_arr_free(&tile);
        ts_arr_free(&dw[t]);
    }
    ts_opsfix_check(f, &y, x, 1e-6, 0, "blend");
    ts_arr_free(&rows);
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(axes_are_permuted),
        cmocka_unit_test(slices_step_forwards_and_backwards),
        cmocka_unit_test(parts_are_joined),
        cmocka_unit_test(rows_are_gathered),
        cmocka_unit_test(every_padding_matches),
        cmocka_unit_test(blended_tiles_make_the_whole),
    };
    return cmocka_run_group_tests(tests, ts_opsfix_setup, ts_opsfix_teardown);
}
