/* Convolutions against their plain twin: strides, dilations, groups, depth, transposed, odd sizes. */
#include "cl/ops/conv.h"
#include "tests/ref/ref_ops.h"
#include "tests/support/check.h"
#include "tests/support/opsfix.h"

/* Sums of up to 1152 products of values below 1 in f32. */
#define ATOL 5e-5
#define RTOL 1e-5

static void conv_case(ts_opsfix *f, const ts_conv_geometry *g, int64_t n, int64_t d, int64_t h,
                      int64_t w, const ts_act *act, bool residual)
{
    ts_error err = {0};
    int64_t groups = g->groups ? g->groups : 1, kd = g->kernel[0] ? g->kernel[0] : 1;
    size_t nw = (size_t)(g->in * g->out / groups * kd * g->kernel[1] * g->kernel[2]);
    size_t nx = (size_t)(n * g->in * d * h * w);
    float *weights = ts_opsfix_random(1, -1, 1, nw), *x = ts_opsfix_random(2, -1, 1, nx);
    float *bias = ts_opsfix_random(3, -1, 1, (size_t)g->out);
    ts_conv *conv = NULL;
    CHECK_OK(ts_conv_create(f->ops, g, weights, bias, &conv, &err));
    ts_shape in = d > 1 || kd > 1 ? TS_SHAPE(n, g->in, d, h, w) : TS_SHAPE(n, g->in, h, w), out;
    CHECK_OK(ts_conv_output_shape(conv, &in, &out, &err));
    size_t ny = (size_t)ts_shape_elements(&out);
    float *r = ts_opsfix_random(4, -1, 1, ny), *want = malloc(ny * sizeof *want);
    int64_t od = out.rank == 5 ? out.dim[2] : 1;
    ref_conv(g, x, n, (int64_t[]){d, h, w},
             (int64_t[]){od, out.dim[out.rank - 2], out.dim[out.rank - 1]}, weights, bias,
             residual ? r : NULL, act, want);
    ts_arr dx = ts_opsfix_up(f, &in, x), dr = ts_opsfix_up(f, &out, r);
    ts_arr y = ts_opsfix_new(f, &out);
    ts_epilogue e = {.residual = residual ? &dr : NULL};
    if (act)
        e.act = *act;
    CHECK_OK(ts_op_conv(f->ops, &dx, conv, &e, &y, &err));
    char what[128];
    snprintf(what, sizeof what, "conv %lld->%lld of %lldx%lldx%lld", (long long)g->in,
             (long long)g->out, (long long)d, (long long)h, (long long)w);
    ts_opsfix_check(f, &y, want, ATOL, RTOL, what);
    ts_conv_destroy(conv);
    ts_arr_free(&dx);
    ts_arr_free(&dr);
    free(weights);
    free(x);
    free(bias);
    free(r);
    free(want);
}

static void images_match_at_odd_sizes(void **state)
{
    ts_conv_geometry g = {
        .in = 3, .out = 5, .kernel = {1, 3, 3}, .pad_front = {0, 1, 1}, .pad_back = {0, 1, 1}};
    conv_case(*state, &g, 1, 1, 1, 1, NULL, false);
    conv_case(*state, &g, 2, 1, 4, 4, NULL, false); /* one panel spans two pictures */
    conv_case(*state, &g, 1, 1, 7, 33, &(ts_act){.kind = TS_ACT_RELU}, true);
    conv_case(*state, &g, 3, 1, 9, 64, NULL, true);
    g.in = 128;
    g.out = 17;
    conv_case(*state, &g, 1, 1, 8, 8, &(ts_act){TS_ACT_LEAKY_RELU, 0.2f, 0}, true);
    g.kernel[1] = g.kernel[2] = 1;
    memset(g.pad_front, 0, sizeof g.pad_front);
    memset(g.pad_back, 0, sizeof g.pad_back);
    conv_case(*state, &g, 1, 1, 5, 13, NULL, false);
}

static void strides_dilations_and_uneven_padding_match(void **state)
{
    ts_conv_geometry g = {.in = 4,
                          .out = 6,
                          .kernel = {1, 4, 4},
                          .stride = {1, 2, 2},
                          .pad_front = {0, 1, 1},
                          .pad_back = {0, 1, 1}};
    conv_case(*state, &g, 2, 1, 16, 15, NULL, false);
    ts_conv_geometry down = {
        .in = 4, .out = 6, .kernel = {1, 3, 3}, .stride = {1, 2, 2}, .pad_back = {0, 1, 1}};
    conv_case(*state, &down, 1, 1, 9, 10, NULL, true);
    ts_conv_geometry wide = {.in = 2,
                             .out = 3,
                             .kernel = {1, 3, 2},
                             .dilation = {1, 2, 3},
                             .pad_front = {0, 2, 0},
                             .pad_back = {0, 1, 3}};
    conv_case(*state, &wide, 1, 1, 11, 40, NULL, false);
    ts_conv_geometry patch = {.in = 3, .out = 10, .kernel = {1, 8, 8}, .stride = {1, 8, 8}};
    conv_case(*state, &patch, 1, 1, 24, 40, NULL, false);
}

static void groups_and_depthwise_match(void **state)
{
    ts_conv_geometry g = {.in = 6,
                          .out = 9,
                          .groups = 3,
                          .kernel = {1, 3, 3},
                          .pad_front = {0, 1, 1},
                          .pad_back = {0, 1, 1}};
    conv_case(*state, &g, 2, 1, 6, 7, NULL, true);
    g.in = 5;
    g.out = 5;
    g.groups = 5;
    conv_case(*state, &g, 2, 1, 9, 37, &(ts_act){.kind = TS_ACT_SILU}, true);
    g.out = 10; /* two outputs per channel */
    g.stride[1] = g.stride[2] = 2;
    conv_case(*state, &g, 1, 1, 9, 37, NULL, false);
    ts_conv_geometry big = {.in = 8,
                            .out = 8,
                            .groups = 8,
                            .kernel = {1, 7, 7},
                            .pad_front = {0, 3, 3},
                            .pad_back = {0, 3, 3}};
    conv_case(*state, &big, 1, 1, 20, 50, NULL, false);
}

static void transposed_convolutions_match(void **state)
{
    ts_conv_geometry g = {.in = 4,
                          .out = 6,
                          .kernel = {1, 4, 4},
                          .stride = {1, 2, 2},
                          .pad_front = {0, 1, 1},
                          .pad_back = {0, 1, 1},
                          .transposed = true};
    conv_case(*state, &g, 2, 1, 5, 7, NULL, true);
    ts_conv_geometry odd = {.in = 4,
                            .out = 6,
                            .groups = 2,
                            .kernel = {1, 3, 3},
                            .stride = {1, 3, 2},
                            .dilation = {1, 1, 2},
                            .pad_front = {0, 1, 0},
                            .pad_back = {0, 0, 1},
                            .output_padding = {0, 1, 1},
                            .transposed = true};
    conv_case(*state, &odd, 1, 1, 4, 9, NULL, false);
    ts_conv_geometry same = {.in = 3,
                             .out = 3,
                             .groups = 3,
                             .kernel = {1, 2, 2},
                             .stride = {1, 2, 2},
                             .transposed = true};
    conv_case(*state, &same, 1, 1, 6, 5, NULL, false);
}

static void causal_3d_convolutions_match(void **state)
{
    ts_conv_geometry g = {
        .in = 5, .out = 7, .kernel = {3, 3, 3}, .pad_front = {2, 1, 1}, .pad_back = {0, 1, 1}};
    conv_case(*state, &g, 1, 4, 6, 7, &(ts_act){.kind = TS_ACT_RELU}, false);
    g.stride[0] = 2;
    g.dilation[1] = 2;
    conv_case(*state, &g, 2, 5, 7, 6, NULL, true);
}

static void impossible_geometries_are_refused(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    float w[64] = {0};
    ts_conv *conv = NULL;
    ts_conv_geometry g = {.in = 4, .out = 3, .groups = 2, .kernel = {1, 1, 1}};
    CHECK_STATUS(TS_E_SHAPE, ts_conv_create(f->ops, &g, w, NULL, &conv, &err));
    g.groups = 1;
    g.kernel[1] = 0;
    CHECK_STATUS(TS_E_SHAPE, ts_conv_create(f->ops, &g, w, NULL, &conv, &err));
    g.kernel[1] = 5;
    CHECK_OK(ts_conv_create(f->ops, &g, w, NULL, &conv, &err));
    ts_shape y;
    CHECK_STATUS(TS_E_SHAPE, ts_conv_output_shape(conv, &TS_SHAPE(1, 4, 4, 4), &y, &err));
    CHECK_STATUS(TS_E_SHAPE, ts_conv_output_shape(conv, &TS_SHAPE(1, 3, 9, 9), &y, &err));
    CHECK_STATUS(TS_E_SHAPE, ts_conv_output_shape(conv, &TS_SHAPE(4, 9), &y, &err));
    ts_conv_destroy(conv);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(images_match_at_odd_sizes),
        cmocka_unit_test(strides_dilations_and_uneven_padding_match),
        cmocka_unit_test(groups_and_depthwise_match),
        cmocka_unit_test(transposed_convolutions_match),
        cmocka_unit_test(causal_3d_convolutions_match),
        cmocka_unit_test(impossible_geometries_are_refused),
    };
    return cmocka_run_group_tests(tests, ts_opsfix_setup, ts_opsfix_teardown);
}
