/*
 * The rasterizer, its gradients and the losses against the scene fixtures (float64 reference), in
 * both forms of the kernels, and against finite differences of the host's own double renderer.
 */
#include "cl/models/imagegs/loss.h"
#include "cl/models/imagegs/rules.h"
#include "cl/models/imagegs/splat.h"
#include "tests/ref/ref_gsplat.h"
#include "tests/support/check.h"
#include "tests/support/devfix.h"
#include "tests/support/gs_fixture.h"

static ts_device *device;
static ts_queue *queue;

static int setup(void **state)
{
    (void)state;
    ts_devfix_open(&device, &queue);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    ts_devfix_close(device, queue);
    return 0;
}

typedef struct scene {
    const char *name;
    gs_fixture f;
    json_t *all, *info;
    int w, h, c;
    size_t n;
    float *par; /* rows of 5 + C */
    ts_gs_splat_options options;
} scene;

static int integer(const json_t *o, const char *key)
{
    return (int)json_integer_value(json_object_get(o, key));
}

static double number(const json_t *o, const char *key)
{
    return json_number_value(json_object_get(o, key));
}

/* Interleave the four parameter tensors into rows. */
static float *rows_of(const gs_fixture *f, const char *prefix, size_t n, int c)
{
    static const struct {
        const char *name;
        size_t at, width;
    } parts[] = {{"xy", 0, 2}, {"scale", 2, 2}, {"rot", 4, 1}, {"feat", 5, 0}};
    float *rows = calloc(n * (size_t)(5 + c), sizeof *rows);
    for (int p = 0; p < 4; ++p) {
        char name[64];
        size_t width = parts[p].width ? parts[p].width : (size_t)c;
        snprintf(name, sizeof name, "%s.%s", prefix, parts[p].name);
        float *t = gs_fixture_f32(f, name, NULL);
        for (size_t i = 0; i < n; ++i)
            memcpy(rows + i * (size_t)(5 + c) + parts[p].at, t + i * width, width * sizeof *t);
        free(t);
    }
    return rows;
}

static void scene_open(scene *s, const char *name)
{
    char file[64];
    memset(s, 0, sizeof *s);
    s->name = name;
    snprintf(file, sizeof file, "%s.safetensors", name);
    gs_fixture_open(&s->f, TS_TEST_DIR, file);
    s->all = gs_fixture_json(TS_TEST_DIR, "scenes.json");
    s->info = json_object_get(s->all, name);
    assert_non_null(s->info);
    s->w = integer(s->info, "W");
    s->h = integer(s->info, "H");
    s->c = integer(s->info, "C");
    s->n = (size_t)integer(s->info, "N");
    s->par = rows_of(&s->f, "param", s->n, s->c);
    const char *mode = json_string_value(json_object_get(s->info, "mode"));
    s->options = (ts_gs_splat_options){
        .width = s->w,
        .height = s->h,
        .channels = s->c,
        .topk = integer(s->info, "K"),
        .sum = strcmp(mode, "sum") == 0,
        .all_tiles = strcmp(mode, "topk") != 0 && strcmp(mode, "sum") != 0,
        .inverse_scale = json_is_true(json_object_get(s->info, "inverse_scale")),
        .gaussians = s->n,
    };
}

static void scene_close(scene *s)
{
    gs_fixture_close(&s->f);
    json_decref(s->all);
    free(s->par);
}

static ts_buffer *upload(const float *data, size_t n)
{
    ts_error err = {0};
    ts_buffer *b = NULL;
    CHECK_OK(ts_buffer_create(device, n * sizeof *data, &b, &err));
    CHECK_OK(ts_buffer_write(queue, b, 0, data, n * sizeof *data, &err));
    return b;
}

static void close_to(const scene *s, const char *what, const float *got, const float *want,
                     size_t n, double atol)
{
    char label[128];
    snprintf(label, sizeof label, "%s %s", s->name, what);
    for (size_t i = 0; i < n; ++i)
        ts_check_close(got[i], want[i], atol, 0, label, i);
}

/* The spec's bound on gradients: 5e-5 of the largest of the tensor. */
static void gradient_close(const scene *s, const char *prefix, const char *tensor,
                           const float *rows, size_t at, size_t width)
{
    char name[64];
    size_t n;
    double most = 0;
    snprintf(name, sizeof name, "%s.%s", prefix, tensor);
    float *want = gs_fixture_f32(&s->f, name, &n);
    assert_int_equal(n, s->n * width);
    for (size_t i = 0; i < n; ++i)
        most = fmax(most, fabs(want[i]));
    for (size_t i = 0; i < s->n; ++i)
        for (size_t k = 0; k < width; ++k)
            ts_check_close(rows[i * (size_t)(5 + s->c) + at + k], want[i * width + k], 5e-5 * most,
                           0, name, i * width + k);
    free(want);
}

static void check_tile_lists(scene *s, ts_gs_splat *splat)
{
    ts_error err = {0};
    uint32_t *start, *list;
    size_t tiles, n_counts, n_list;
    CHECK_OK(ts_gs_splat_lists(splat, &start, &list, &tiles, &err));
    int32_t *count = gs_fixture_i32(&s->f, "tile_count", &n_counts);
    int32_t *want = gs_fixture_i32(&s->f, "tile_list", &n_list);
    assert_int_equal(tiles, n_counts);
    size_t most = n_list / tiles;
    for (size_t t = 0; t < tiles; ++t) {
        assert_int_equal(start[t + 1] - start[t], count[t]);
        for (int32_t i = 0; i < count[t]; ++i)
            assert_int_equal(list[start[t] + (uint32_t)i], want[t * most + (size_t)i]);
    }
    free(start);
    free(list);
    free(count);
    free(want);
}

static void check_losses(const scene *s, const uint32_t *status)
{
    float loss[3];
    memcpy(loss, status + TS_GS_LOSS_L1, sizeof loss);
    const json_t *w = json_object_get(s->info, "loss_weights");
    double total = json_number_value(json_array_get(w, 0)) * loss[0] +
                   json_number_value(json_array_get(w, 1)) * loss[1] +
                   json_number_value(json_array_get(w, 2)) * (1 - loss[2]);
    ts_check_close(loss[0], number(s->info, "l1"), 2e-6, 0, "l1", 0);
    ts_check_close(loss[1], number(s->info, "l2"), 2e-6, 0, "l2", 0);
    ts_check_close(1 - (double)loss[2], number(s->info, "one_minus_ssim"), 2e-6, 0, "ssim", 0);
    ts_check_close(total, number(s->info, "total"), 2e-6, 0, "total", 0);
}

static void check_scene(const char *name, bool group_form, bool legacy)
{
    ts_error err = {0};
    scene s;
    ts_gs_splat *splat = NULL;
    ts_gs_loss *loss = NULL;
    uint32_t status[TS_GS_STATUS_WORDS];
    scene_open(&s, name);
    s.options.group_form = group_form;
    s.options.legacy = legacy;
    size_t pixels = (size_t)s.w * (size_t)s.h * (size_t)s.c, row = (size_t)(5 + s.c);
    ts_buffer *par = upload(s.par, s.n * row), *out = upload(s.par, s.n * row);
    float *target = gs_fixture_f32(&s.f, "gt", NULL);
    float *image = malloc(pixels * sizeof *image), *rows = malloc(s.n * row * sizeof *rows);
    const json_t *w = json_object_get(s.info, "loss_weights");
    ts_gs_loss_weights weights = {(float)json_number_value(json_array_get(w, 0)),
                                  (float)json_number_value(json_array_get(w, 1)),
                                  (float)json_number_value(json_array_get(w, 2))};

    CHECK_OK(ts_gs_splat_create(queue, &s.options, &splat, &err));
    const ts_gs_planes *planes = ts_gs_splat_planes(splat);
    CHECK_OK(ts_gs_loss_create(queue, planes, target, NULL, 1, &weights, group_form, &loss, &err));
    CHECK_OK(ts_gs_splat_render(splat, par, s.n, &err));
    CHECK_OK(ts_gs_loss_gradient(loss, ts_gs_splat_image(splat), ts_gs_splat_status(splat), &err));
    CHECK_OK(ts_gs_splat_backward(splat, ts_gs_loss_grad(loss), &err));
    CHECK_OK(ts_gs_splat_gradients(splat, par, out, &err));
    CHECK_OK(ts_gs_splat_read_status(splat, status, &err));

    CHECK_OK(ts_gs_planes_read(queue, planes, ts_gs_splat_image(splat), image, &err));
    float *want = gs_fixture_f32(&s.f, "render", NULL);
    close_to(&s, "render", image, want, pixels, 1e-5);
    free(want);
    if (!s.options.all_tiles)
        check_tile_lists(&s, splat);
    check_losses(&s, status);
    CHECK_OK(ts_gs_planes_read(queue, planes, ts_gs_loss_grad(loss), image, &err));
    want = gs_fixture_f32(&s.f, "dL_drender", NULL);
    close_to(&s, "dL_drender", image, want, pixels, 1e-7);
    free(want);
    CHECK_OK(ts_buffer_read(queue, out, 0, rows, s.n * row * sizeof *rows, &err));
    gradient_close(&s, "grad", "xy", rows, 0, 2);
    gradient_close(&s, legacy ? "legacy_grad" : "grad", "scale", rows, 2, 2);
    gradient_close(&s, legacy ? "legacy_grad" : "grad", "rot", rows, 4, 1);
    gradient_close(&s, "grad", "feat", rows, 5, (size_t)s.c);

    CHECK_OK(ts_gs_loss_evaluate(loss, ts_gs_splat_image(splat), ts_gs_splat_status(splat), &err));
    CHECK_OK(ts_gs_splat_read_status(splat, status, &err));
    float eval[2];
    memcpy(eval, status + TS_GS_EVAL_MSE, sizeof eval);
    ts_check_close(ts_gs_psnr((double)eval[0]), number(s.info, "psnr_clamped"), 1e-3, 0, "psnr", 0);
    ts_check_close(eval[1], number(s.info, "ssim_clamped"), 1e-5, 0, "ssim", 0);

    ts_gs_loss_destroy(loss);
    ts_gs_splat_destroy(splat);
    ts_buffer_unref(par);
    ts_buffer_unref(out);
    free(target);
    free(image);
    free(rows);
    scene_close(&s);
}

static const char *const scenes[] = {"scene_topk",         "scene_sum",    "scene_notile",
                                     "scene_direct_scale", "scene_stack5", "scene_gray_sparse"};

static void matches_the_scenes(void **state)
{
    (void)state;
    for (size_t i = 0; i < 6; ++i)
        check_scene(scenes[i], false, false);
}

static void matches_the_scenes_with_the_gpu_form(void **state)
{
    (void)state;
    for (size_t i = 0; i < 6; ++i)
        check_scene(scenes[i], true, false);
}

static void matches_the_legacy_gradients(void **state)
{
    (void)state;
    for (size_t i = 0; i < 6; ++i)
        check_scene(scenes[i], false, true);
}

/* The kernel's selection is not stored: the C twin's top-K ids of its own are the fixture's. */
static void the_c_twin_selects_the_fixtures_ids(void **state)
{
    (void)state;
    for (size_t i = 0; i < 6; ++i) {
        scene s;
        if (i == 1)
            continue; /* the plain sum selects nothing */
        scene_open(&s, scenes[i]);
        int32_t *want = gs_fixture_i32(&s.f, "topk_ids", NULL);
        ref_gsplat ref;
        ref_gsplat_render(&ref, &s.options, s.par, s.n);
        for (size_t p = 0; p < (size_t)s.w * (size_t)s.h; ++p) {
            int empty = 0; /* first in the fixture, last in the twin */
            while (empty < 10 && want[p * 10 + (size_t)empty] < 0)
                ++empty;
            for (int k = 0; k < 10; ++k) {
                int32_t id = want[p * 10 + (size_t)((k + empty) % 10)];
                if (ref.ids[p * 10 + (size_t)k] != id)
                    fail_msg("%s: id %d of pixel %zu is %d, want %d", s.name, k, p,
                             ref.ids[p * 10 + (size_t)k], id);
            }
        }
        ref_gsplat_finish(&ref);
        free(want);
        scene_close(&s);
    }
}

static void render_only(scene *s, const ts_gs_splat_options *o, const char *want_name, double atol)
{
    ts_error err = {0};
    ts_gs_splat *splat = NULL;
    size_t n;
    ts_buffer *par = upload(s->par, s->n * (size_t)(5 + s->c));
    float *want = gs_fixture_f32(&s->f, want_name, &n), *got = malloc(n * sizeof *got);
    CHECK_OK(ts_gs_splat_create(queue, o, &splat, &err));
    CHECK_OK(ts_gs_splat_render(splat, par, s->n, &err));
    CHECK_OK(
        ts_gs_planes_read(queue, ts_gs_splat_planes(splat), ts_gs_splat_image(splat), got, &err));
    close_to(s, want_name, got, want, n, atol);
    ts_gs_splat_destroy(splat);
    ts_buffer_unref(par);
    free(want);
    free(got);
}

static void renders_at_twice_the_size(void **state)
{
    scene s;
    (void)state;
    scene_open(&s, "scene_topk");
    ts_gs_splat_options o = s.options;
    o.width *= 2;
    o.height *= 2;
    o.ratio = 2;
    render_only(&s, &o, "render_2x", 1e-5);
    scene_close(&s);
}

static void renders_quantised_to_12_bits(void **state)
{
    scene s;
    (void)state;
    scene_open(&s, "scene_topk");
    ts_gs_splat_options o = s.options;
    o.quant = TS_GS_QUANT_SIGMA;
    for (int i = 0; i < 4; ++i)
        o.bits[i] = 12;
    render_only(&s, &o, "render_quant12_forward", 1e-5);
    o.group_form = true;
    render_only(&s, &o, "render_quant12_forward", 1e-5);
    scene_close(&s);
}

/* A tiny first capacity of the tile lists must not change anything (G20). */
static void tiny_lists_give_the_same_picture(void **state)
{
    scene s;
    (void)state;
    scene_open(&s, "scene_topk");
    s.options.entries = 3;
    render_only(&s, &s.options, "render", 1e-5);
    scene_close(&s);
}

static void skips_gaussians_that_are_not_finite(void **state)
{
    ts_error err = {0};
    scene s;
    ts_gs_splat *splat = NULL;
    uint32_t status[TS_GS_STATUS_WORDS];
    (void)state;
    scene_open(&s, "scene_topk");
    size_t row = (size_t)(5 + s.c), pixels = (size_t)s.w * (size_t)s.h * (size_t)s.c;
    s.par[3 * row] = NAN;
    s.par[7 * row + 4] = INFINITY;
    s.par[9 * row + 2] = 0; /* sigma would be infinite */
    ts_buffer *par = upload(s.par, s.n * row);
    float *image = malloc(pixels * sizeof *image);
    CHECK_OK(ts_gs_splat_create(queue, &s.options, &splat, &err));
    CHECK_OK(ts_gs_splat_render(splat, par, s.n, &err));
    CHECK_OK(ts_gs_splat_read_status(splat, status, &err));
    assert_true(status[TS_GS_INVALID] >= 2 && status[TS_GS_INVALID] % 2 == 0);
    CHECK_OK(
        ts_gs_planes_read(queue, ts_gs_splat_planes(splat), ts_gs_splat_image(splat), image, &err));
    for (size_t i = 0; i < pixels; ++i)
        assert_true(isfinite(image[i]));
    ts_gs_splat_destroy(splat);
    ts_buffer_unref(par);
    free(image);
    scene_close(&s);
}

/* Random scenes: odd sizes, channels and K, both forms, against the double-precision C twin. */
static void check_random(uint32_t seed, int w, int h, int c, int topk, size_t n, bool group_form)
{
    ts_error err = {0};
    ts_gs_splat *splat = NULL;
    ref_gsplat ref;
    size_t row = (size_t)(5 + c), pixels = (size_t)w * (size_t)h * (size_t)c;
    float *par_host = ref_gsplat_random(seed, w, h, c, n), *image = malloc(pixels * sizeof *image);
    float *grad_image = malloc(pixels * sizeof *image), *rows = malloc(n * row * sizeof *rows);
    ts_gs_splat_options o = {.width = w,
                             .height = h,
                             .channels = c,
                             .topk = topk,
                             .inverse_scale = true,
                             .gaussians = n,
                             .group_form = group_form};
    ts_buffer *par = upload(par_host, n * row), *out = upload(par_host, n * row), *grad = NULL;
    CHECK_OK(ts_gs_splat_create(queue, &o, &splat, &err));
    CHECK_OK(ts_gs_splat_render(splat, par, n, &err));
    CHECK_OK(
        ts_gs_planes_read(queue, ts_gs_splat_planes(splat), ts_gs_splat_image(splat), image, &err));
    ref_gsplat_render(&ref, &o, par_host, n);
    for (size_t i = 0; i < pixels; ++i)
        ts_check_close(image[i], ref.image[i], 2e-5, 0, "random render", i);
    for (size_t i = 0; i < pixels; ++i)
        grad_image[i] = (float)sin(0.37 * (double)i) / (float)pixels;
    CHECK_OK(ts_gs_planes_create(queue, ts_gs_splat_planes(splat), &grad, &err));
    CHECK_OK(ts_gs_planes_write(queue, ts_gs_splat_planes(splat), grad, grad_image, &err));
    CHECK_OK(ts_gs_splat_backward(splat, grad, &err));
    CHECK_OK(ts_gs_splat_gradients(splat, par, out, &err));
    CHECK_OK(ts_buffer_read(queue, out, 0, rows, n * row * sizeof *rows, &err));
    double *want = ref_gsplat_gradients(&ref, &o, par_host, n, grad_image);
    for (size_t k = 0; k < row; ++k) {
        double most = 0;
        for (size_t i = 0; i < n; ++i)
            most = fmax(most, fabs(want[i * row + k]));
        for (size_t i = 0; i < n; ++i)
            ts_check_close(rows[i * row + k], want[i * row + k], 2e-4 * most, 0, "random gradient",
                           i * row + k);
    }
    free(want);
    ref_gsplat_finish(&ref);
    ts_gs_splat_destroy(splat);
    ts_buffer_unref(par);
    ts_buffer_unref(out);
    ts_buffer_unref(grad);
    free(par_host);
    free(image);
    free(grad_image);
    free(rows);
}

static void matches_the_c_twin_over_odd_sizes(void **state)
{
    (void)state;
    for (int form = 0; form < 2; ++form) {
        check_random(1, 1, 1, 3, 10, 4, form);
        check_random(2, 5, 3, 3, 10, 30, form);
        check_random(3, 17, 16, 1, 4, 50, form);
        check_random(4, 130, 33, 3, 10, 400, form);
        check_random(5, 64, 64, 9, 3, 300, form);
    }
}

/* The twin's closed-form gradients against differences of its own renderer, in double. */
static void the_c_twins_gradients_are_derivatives(void **state)
{
    int w = 21, h = 18, c = 3;
    size_t n = 12, row = 8, pixels = (size_t)(w * h * c);
    (void)state;
    float *par = ref_gsplat_random(77, w, h, c, n), grad_image[21 * 18 * 3];
    ts_gs_splat_options o = {.width = w,
                             .height = h,
                             .channels = c,
                             .topk = 12,
                             .inverse_scale = true,
                             .gaussians = n,
                             .all_tiles = true};
    for (size_t i = 0; i < pixels; ++i)
        grad_image[i] = (float)cos(0.7 * (double)i);
    ref_gsplat ref;
    ref_gsplat_render(&ref, &o, par, n);
    double *want = ref_gsplat_gradients(&ref, &o, par, n, grad_image);
    ref_gsplat_finish(&ref);
    double most = 0;
    for (size_t i = 0; i < n * row; ++i)
        most = fmax(most, fabs(want[i]));
    for (size_t i = 0; i < n * row; ++i) {
        double value[2];
        float keep = par[i], step[2];
        for (int side = 0; side < 2; ++side) {
            par[i] = keep + (side ? 1.0f : -1.0f) * 1.0f / 4096;
            step[side] = par[i];
            ref_gsplat_render(&ref, &o, par, n);
            value[side] = 0;
            for (size_t p = 0; p < pixels; ++p)
                value[side] += ref.image[p] * (double)grad_image[p];
            ref_gsplat_finish(&ref);
        }
        par[i] = keep;
        double slope = (value[1] - value[0]) / ((double)step[1] - (double)step[0]);
        ts_check_close(slope, want[i], 2e-4 * most, 2e-3, "difference", i);
    }
    free(want);
    free(par);
}

/* The kernel's tiles for the tables' Gaussians, at centres where one pixel of radius would show. */
static void projects_to_the_rules_tiles(void **state)
{
    ts_error err = {0};
    json_t *all = gs_fixture_json(TS_TEST_DIR, "tables.json"), *row;
    size_t i;
    (void)state;
    for (int form = 0; form < 2; ++form)
        json_array_foreach(json_object_get(all, "radius"), i, row)
        {
            double sx = number(row, "sx"), sy = number(row, "sy"), rot = number(row, "rot");
            for (int k = 0; k < 4; ++k) {
                int r = integer(row, "radius"), want[4];
                double cx = 128 + r + (k & 1 ? 0.25 : -0.25), cy = 112 - r + (k & 2 ? 0.25 : -0.25);
                float par[6] = {(float)(cx / 256), (float)(cy / 240), (float)(1 / sx),
                                (float)(1 / sy),   (float)rot,        1};
                ts_gs_splat_options o = {.width = 256,
                                         .height = 240,
                                         .channels = 1,
                                         .topk = 10,
                                         .inverse_scale = true,
                                         .gaussians = 1,
                                         .entries = 256,
                                         .group_form = form};
                ts_gs_splat *splat = NULL;
                uint32_t *start, *list;
                size_t tiles;
                ts_buffer *b = upload(par, 6);
                CHECK_OK(ts_gs_splat_create(queue, &o, &splat, &err));
                CHECK_OK(ts_gs_splat_render(splat, b, 1, &err));
                CHECK_OK(ts_gs_splat_lists(splat, &start, &list, &tiles, &err));
                ts_gs_rules_tiles(cx, cy, r, 256, 240, want);
                for (int t = 0; t < (int)tiles; ++t) {
                    int x = t % 16, y = t / 16;
                    bool hit = x >= want[0] && x < want[2] && y >= want[1] && y < want[3];
                    assert_int_equal(start[t + 1] - start[t], hit);
                }
                free(start);
                free(list);
                ts_gs_splat_destroy(splat);
                ts_buffer_unref(b);
            }
        }
    json_decref(all);
}

static void refuses_sizes_it_cannot_do(void **state)
{
    ts_error err = {0};
    ts_gs_splat *splat = NULL;
    ts_gs_splat_options good = {.width = 8, .height = 8, .channels = 3, .topk = 10, .gaussians = 4};
    (void)state;
    ts_gs_splat_options o = good;
    o.channels = 13;
    CHECK_STATUS(TS_E_SHAPE, ts_gs_splat_create(queue, &o, &splat, &err));
    o = good;
    o.width = 0;
    CHECK_STATUS(TS_E_SHAPE, ts_gs_splat_create(queue, &o, &splat, &err));
    o = good;
    o.topk = 33;
    CHECK_STATUS(TS_E_OPTION, ts_gs_splat_create(queue, &o, &splat, &err));
    o = good;
    o.gaussians = 0;
    CHECK_STATUS(TS_E_OPTION, ts_gs_splat_create(queue, &o, &splat, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_the_scenes),
        cmocka_unit_test(matches_the_scenes_with_the_gpu_form),
        cmocka_unit_test(matches_the_legacy_gradients),
        cmocka_unit_test(the_c_twin_selects_the_fixtures_ids),
        cmocka_unit_test(renders_at_twice_the_size),
        cmocka_unit_test(renders_quantised_to_12_bits),
        cmocka_unit_test(tiny_lists_give_the_same_picture),
        cmocka_unit_test(skips_gaussians_that_are_not_finite),
        cmocka_unit_test(matches_the_c_twin_over_odd_sizes),
        cmocka_unit_test(the_c_twins_gradients_are_derivatives),
        cmocka_unit_test(projects_to_the_rules_tiles),
        cmocka_unit_test(refuses_sizes_it_cannot_do),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
