/* Whole fits of the photo against the fixtures' curves, which pin the losses of gsloss.cl
 * too, and the loop's promises. */
#include "cl/models/imagegs/fit.h"
#include "cl/models/imagegs/init.h"
#include "cl/models/imagegs/refine.h"
#include "tests/support/check.h"
#include "tests/support/devfix.h"
#include "tests/support/gs_fixture.h"
#include "tests/support/gs_photo.h"

static ts_device *device;
static ts_queue *queue;
static float *photo;
static int photo_w, photo_h;

static int setup(void **state)
{
    (void)state;
    ts_devfix_open(&device, &queue);
    photo = gs_photo(TS_TEST_DIR, "fit_photo_gt.png", &photo_w, &photo_h);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(photo);
    ts_devfix_close(device, queue);
    return 0;
}

typedef struct run {
    double psnr[21], ssim[21]; /* every 50 steps */
    int64_t count[21];
    int n_evals, frames, checkpoints, adds;
    ts_gs_model checkpoint;
    ts_gs_metrics final;
    ts_gs_model model;
} run;

static ts_status on_eval(void *arg, const ts_gs_eval *e, ts_error *err)
{
    run *r = arg;
    (void)err;
    if (e->step % 50 == 0 && e->step <= 1000) {
        r->psnr[e->step / 50] = e->psnr;
        r->ssim[e->step / 50] = e->ssim;
        r->count[e->step / 50] = e->count;
    }
    r->n_evals++;
    return TS_OK;
}

static ts_status on_frame(void *arg, ts_gs_fit *fit, const ts_gs_eval *e, ts_error *err)
{
    run *r = arg;
    (void)fit;
    (void)e;
    (void)err;
    r->frames++;
    return TS_OK;
}

static ts_status on_checkpoint(void *arg, ts_gs_fit *fit, ts_error *err)
{
    run *r = arg;
    ts_gs_model_finish(&r->checkpoint);
    r->checkpoints++;
    return ts_gs_fit_model(fit, true, &r->checkpoint, err);
}

static void on_event(void *arg, const char *event, int64_t step, int64_t a, int64_t b)
{
    run *r = arg;
    (void)step;
    (void)a;
    (void)b;
    r->adds += strcmp(event, "added") == 0;
}

static void set(json_t *o, const char *key, json_t *v)
{
    json_object_set_new(o, key, v);
}

/* The fixtures' runs: no schedule, no adding. */
static json_t *plain_config(int steps)
{
    json_t *o = json_object();
    set(o, "num_gaussians", json_integer(500));
    set(o, "max_steps", json_integer(steps));
    set(o, "eval_steps", json_integer(50));
    set(o, "disable_lr_schedule", json_true());
    set(o, "disable_prog_optim", json_true());
    return o;
}

static void fit_target(run *r, json_t *config, const ts_gs_target *target, int64_t slice)
{
    ts_error err = {0};
    ts_gs_config c;
    json_t *problems = NULL;
    ts_gs_fit *fit = NULL;
    ts_gs_hooks hooks = {.arg = r,
                         .evaluated = on_eval,
                         .frame = on_frame,
                         .checkpoint = on_checkpoint,
                         .event = on_event};
    ts_gs_config_init(&c);
    CHECK_OK(ts_gs_config_read(&c, config, &problems, &err));
    json_decref(problems);
    json_decref(config);
    CHECK_OK(ts_gs_fit_create(queue, &c, target, &hooks, &fit, &err));
    while (ts_gs_fit_running(fit))
        CHECK_OK(ts_gs_fit_slice(fit, slice, &err));
    CHECK_OK(ts_gs_fit_complete(fit, &r->final, &err));
    CHECK_OK(ts_gs_fit_model(fit, false, &r->model, &err));
    ts_gs_fit_destroy(fit);
    ts_gs_config_finish(&c);
}

static ts_gs_target photo_target(const ts_gs_model *init)
{
    return (ts_gs_target){.width = photo_w,
                          .height = photo_h,
                          .channels = 3,
                          .chw = photo,
                          .input_channels = "3",
                          .bit_depths = "8",
                          .init = init};
}

static void fit_photo(run *r, json_t *config, const char *prefix)
{
    ts_gs_model init = {0};
    memset(r, 0, sizeof *r);
    if (prefix)
        gs_photo_model(TS_TEST_DIR, prefix, &init);
    ts_gs_target t = photo_target(prefix ? &init : NULL);
    fit_target(r, config, &t, 16);
    ts_gs_model_finish(&init);
}

static void run_finish(run *r)
{
    ts_gs_model_finish(&r->checkpoint);
    ts_gs_model_finish(&r->model);
}

/* The fixture's curve. */
static void curve(const char *name, double psnr[21], double ssim[21])
{
    json_t *all = gs_fixture_json(TS_TEST_DIR, "fit_photo_curve.json"), *row;
    json_t *c = json_object_get(json_object_get(json_object_get(all, "runs"), name), "curve");
    size_t i;
    assert_true(json_array_size(c) == 21);
    json_array_foreach(c, i, row)
    {
        psnr[i] = json_number_value(json_object_get(row, "psnr"));
        ssim[i] = json_number_value(json_object_get(row, "ssim"));
    }
    json_decref(all);
}

static void follows_the_plain_curve(void **state)
{
    run r;
    double psnr[21], ssim[21];
    (void)state;
    curve("plain", psnr, ssim);
    fit_photo(&r, plain_config(1000), "init");
    for (size_t i = 0; i < 21; ++i) {
        ts_check_close(r.psnr[i], psnr[i], i <= 2 ? 0.2 : 0.3, 0, "psnr", i * 50);
        ts_check_close(r.ssim[i], ssim[i], 0.01, 0, "ssim", i * 50);
    }
    print_message("plain: %.2f dB / %.4f, fixture %.2f / %.4f\n", r.psnr[20], r.ssim[20], psnr[20],
                  ssim[20]);
    assert_true(r.psnr[20] >= psnr[20] - 0.5);
    assert_int_equal(r.frames, 21);
    run_finish(&r);
}

static void legacy_gradient_ends_as_its_curve(void **state)
{
    run r;
    double psnr[21], ssim[21];
    json_t *c = plain_config(1000);
    (void)state;
    set(c, "gradient", json_string("legacy"));
    curve("legacy_gradient", psnr, ssim);
    fit_photo(&r, c, "init");
    print_message("legacy: %.2f dB, fixture %.2f\n", r.psnr[20], psnr[20]);
    ts_check_close(r.psnr[20], psnr[20], 0.5, 0, "psnr", 1000);
    run_finish(&r);
}

static void progressive_adding_reaches_its_curve(void **state)
{
    run r;
    double psnr[21], ssim[21];
    json_t *c = plain_config(1000);
    (void)state;
    set(c, "disable_prog_optim", json_false());
    set(c, "add_steps", json_integer(100));
    set(c, "post_min_steps", json_integer(0));
    curve("progressive", psnr, ssim);
    fit_photo(&r, c, "init_progressive");
    print_message("progressive: %.2f dB, fixture %.2f\n", r.psnr[20], psnr[20]);
    assert_int_equal(r.adds, 4);
    assert_int_equal(r.count[3], 313);
    assert_int_equal(r.count[9], 500);
    assert_true(r.psnr[20] >= psnr[20] - 0.7);
    run_finish(&r);
}

static void twelve_bits_follow_the_curve_and_log_sigma_loses_little(void **state)
{
    run r;
    double psnr[21], ssim[21], plain[21];
    (void)state;
    curve("plain", plain, ssim);
    curve("quant12", psnr, ssim);
    for (int log_space = 0; log_space < 2; ++log_space) {
        json_t *c = plain_config(1000);
        static const char *const bits[] = {"pos_bits", "scale_bits", "rot_bits", "feat_bits"};
        for (int i = 0; i < 4; ++i)
            set(c, bits[i], json_integer(12));
        set(c, "quantize", json_true());
        if (log_space)
            set(c, "quant_space", json_string("log_sigma"));
        fit_photo(&r, c, "init");
        print_message("12 bits, %s: %.2f dB\n", log_space ? "log_sigma" : "sigma", r.psnr[20]);
        if (log_space)
            assert_true(r.psnr[20] >= plain[20] - 0.5);
        for (size_t i = 0; !log_space && i < 21; ++i)
            if (i <= 4)
                ts_check_close(r.psnr[i], psnr[i], 0.3, 0, "psnr", i * 50);
            else
                assert_true(isfinite(r.psnr[i]) && r.psnr[i] > 15);
        run_finish(&r);
    }
}

static void own_starts_reach_the_fixture_on_average(void **state)
{
    double psnr[21], ssim[21], sum = 0;
    (void)state;
    curve("plain", psnr, ssim);
    for (int seed = 1; seed <= 3; ++seed) {
        run r;
        json_t *c = plain_config(1000);
        set(c, "seed", json_integer(seed));
        fit_photo(&r, c, NULL);
        print_message("seed %d: %.2f dB\n", seed, r.psnr[20]);
        sum += r.psnr[20];
        run_finish(&r);
    }
    assert_true(sum / 3 >= psnr[20] - 0.5);
}

static void the_gradient_map_is_the_fixtures(void **state)
{
    ts_error err = {0};
    gs_fixture f;
    size_t n;
    (void)state;
    gs_fixture_open(&f, TS_TEST_DIR, "fit_photo.safetensors");
    float *want = gs_fixture_f32(&f, "gradient_map", &n),
          *p = gs_fixture_f32(&f, "sample_prob", &n);
    float *map = malloc(n * sizeof *map);
    double sum = 0, most = 0;
    CHECK_OK(ts_gs_gradient_map(photo, 3, photo_h, photo_w, map, &err));
    for (size_t i = 0; i < n; ++i) {
        ts_check_close(map[i], want[i], 1e-6, 0, "gradient map", i);
        sum += (double)map[i] * (double)map[i];
        most = fmax(most, (double)p[i]);
    }
    for (size_t i = 0; i < n; ++i)
        ts_check_close((double)map[i] * (double)map[i] / sum, p[i], 1e-6 * most, 0, "probability",
                       i);
    free(want);
    free(p);
    free(map);
    gs_fixture_close(&f);
}

static void same_model(const ts_gs_model *a, const ts_gs_model *b)
{
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->par, b->par, a->n * (5 + (size_t)a->channels) * sizeof *a->par);
}

static json_t *short_config(void)
{
    json_t *c = plain_config(60);
    set(c, "num_gaussians", json_integer(200));
    set(c, "eval_steps", json_integer(20));
    set(c, "disable_prog_optim", json_false());
    set(c, "add_steps", json_integer(10));
    set(c, "add_times", json_integer(3));
    set(c, "post_min_steps", json_integer(0));
    return c;
}

static void equal_seeds_and_other_slices_give_the_same_bytes(void **state)
{
    run a, b;
    ts_gs_target t = photo_target(NULL);
    (void)state;
    memset(&a, 0, sizeof a);
    memset(&b, 0, sizeof b);
    json_t *frames = short_config();
    set(frames, "capture_mode", json_string("independent"));
    set(frames, "video_iterations", json_integer(7));
    fit_target(&a, short_config(), &t, 16);
    fit_target(&b, frames, &t, 5);
    assert_true(b.frames > a.frames);
    same_model(&a.model, &b.model);
    run_finish(&a);
    run_finish(&b);
}

static void tiny_tile_lists_give_the_same_bytes(void **state)
{
    run a, b;
    ts_gs_target t = photo_target(NULL);
    json_t *tiny = short_config();
    (void)state;
    memset(&a, 0, sizeof a);
    memset(&b, 0, sizeof b);
    set(tiny, "list_capacity", json_integer(10));
    fit_target(&a, short_config(), &t, 16);
    fit_target(&b, tiny, &t, 16);
    same_model(&a.model, &b.model);
    run_finish(&a);
    run_finish(&b);
}

static void a_resumed_checkpoint_ends_as_the_whole_run(void **state)
{
    ts_error err = {0};
    run a, b;
    ts_gs_target t = photo_target(NULL);
    ts_buf file = {0};
    ts_gs_model back;
    (void)state;
    memset(&a, 0, sizeof a);
    memset(&b, 0, sizeof b);
    json_t *c = short_config(), *again = short_config();
    set(c, "save_ckpt_steps", json_integer(40));
    fit_target(&a, c, &t, 16);
    assert_int_equal(a.checkpoints, 1);
    CHECK_OK(ts_gs_model_write(&a.checkpoint, &file, &err));
    CHECK_OK(ts_gs_model_read(file.data, file.len, &back, &err));
    assert_int_equal(back.step, 40);
    t.init = &back;
    t.resume = true;
    fit_target(&b, again, &t, 16);
    same_model(&a.model, &b.model);
    ts_gs_model_finish(&back);
    ts_buf_finish(&file);
    run_finish(&a);
    run_finish(&b);
}

static void models_come_back_from_both_forms(void **state)
{
    ts_error err = {0};
    ts_gs_model m, back;
    ts_buf file = {0};
    unsigned bits[4] = {12, 8, 16, 11};
    (void)state;
    gs_photo_model(TS_TEST_DIR, "final", &m);
    CHECK_OK(ts_gs_model_write(&m, &file, &err));
    CHECK_OK(ts_gs_model_read(file.data, file.len, &back, &err));
    same_model(&m, &back);
    assert_true(back.inverse_scale && back.topk == 10 && back.width == 192);
    ts_gs_model_finish(&back);
    for (int space = 0; space < 3; ++space) {
        ts_gs_model twice;
        ts_buf again = {0};
        ts_buf_reset(&file);
        CHECK_OK(ts_gs_model_write_quantised(&m, space, bits, 0, &file, &err));
        CHECK_OK(ts_gs_model_read(file.data, file.len, &back, &err));
        assert_int_equal(back.n, m.n);
        for (size_t i = 0; i < m.n; ++i)
            ts_check_close(back.par[i * 8], m.par[i * 8], 2e-3, 0, "x", i);
        CHECK_OK(ts_gs_model_write(&back, &again, &err));
        CHECK_OK(ts_gs_model_read(again.data, again.len, &twice, &err));
        same_model(&back, &twice);
        ts_gs_model_finish(&twice);
        ts_gs_model_finish(&back);
        ts_buf_finish(&again);
    }
    ts_buf_reset(&file);
    ts_buf_str(&file, "not a model at all");
    CHECK_STATUS(TS_E_FILE, ts_gs_model_read(file.data, file.len, &back, &err));
    ts_buf_finish(&file);
    ts_gs_model_finish(&m);
}

static void rerenders_aligned_at_other_sizes(void **state)
{
    ts_error err = {0};
    ts_gs_model m;
    float *big = NULL, *same = NULL;
    int w;
    double psnr, ssim;
    (void)state;
    gs_photo_model(TS_TEST_DIR, "final", &m);
    CHECK_OK(ts_gs_model_render(queue, &m, 128, true, &same, &w, &err));
    assert_int_equal(w, 192);
    CHECK_OK(ts_gs_metrics_quick(photo, same, 3, 128, 192, &psnr, &ssim, &err));
    assert_true(psnr > 30);
    CHECK_OK(ts_gs_model_render(queue, &m, 256, true, &big, &w, &err));
    assert_int_equal(w, 384);
    /* without a shift, the mean of 2 x 2 pixels is the small picture again, to its detail */
    float *half = malloc(3 * 192 * 128 * sizeof *half);
    for (size_t c = 0; c < 3; ++c)
        for (size_t y = 0; y < 128; ++y)
            for (size_t x = 0; x < 192; ++x) {
                const float *p = big + c * 384 * 256 + 2 * y * 384 + 2 * x;
                half[(c * 128 + y) * 192 + x] = (p[0] + p[1] + p[384] + p[385]) / 4;
            }
    double aligned;
    CHECK_OK(ts_gs_metrics_quick(same, half, 3, 128, 192, &aligned, &ssim, &err));
    assert_true(aligned > 28);
    float *none = NULL;
    CHECK_STATUS(TS_E_OPTION, ts_gs_model_render(queue, &m, 20000, true, &none, &w, &err));
    free(half);
    free(same);
    free(big);
    ts_gs_model_finish(&m);
}

static void odd_pictures(void **state)
{
    static const struct {
        int w, h, c, n;
        double gamma;
        bool constant;
    } all[] = {{1, 1, 3, 1, 1, false},
               {5, 3, 1, 40, 1, false},
               {17, 16, 9, 30, 2.2, false},
               {4096, 16, 3, 20, 1, false},
               {40, 30, 4, 50, 1, true}};
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; ++i) {
        run r;
        size_t total = (size_t)(all[i].w * all[i].h * all[i].c);
        float *image = malloc(total * sizeof *image);
        for (size_t p = 0; p < total; ++p)
            image[p] = all[i].constant ? 0.5f : (float)(0.5 + 0.5 * sin(0.1 * (double)p));
        ts_gs_target t = {
            .width = all[i].w, .height = all[i].h, .channels = all[i].c, .chw = image};
        json_t *c = plain_config(12);
        set(c, "num_gaussians", json_integer(all[i].n));
        set(c, "gamma", json_real(all[i].gamma));
        set(c, "eval_steps", json_integer(5));
        memset(&r, 0, sizeof r);
        fit_target(&r, c, &t, 16);
        assert_true(!isnan(r.final.psnr) && isfinite(r.final.ssim));
        run_finish(&r);
        free(image);
    }
}

static void pruning_and_no_top_k_and_no_tiles_work(void **state)
{
    run r;
    ts_gs_target t = photo_target(NULL);
    (void)state;
    for (int i = 0; i < 3; ++i) {
        json_t *c = plain_config(40);
        set(c, "num_gaussians", json_integer(120));
        if (i == 0)
            set(c, "prune", json_pack("{s:i, s:f}", "every", 10, "min_contrib", 30.0));
        else
            set(c, i == 1 ? "disable_topk_norm" : "disable_tiles", json_true());
        memset(&r, 0, sizeof r);
        fit_target(&r, c, &t, 16);
        assert_true(isfinite(r.final.psnr));
        assert_true(i != 0 || (r.model.n > 0 && r.model.n < 120));
        run_finish(&r);
    }
}

/* A loss that is not finite stops, and keeps the last parameters (here: the first). */
static void a_loss_that_is_not_finite_stops_the_fit(void **state)
{
    ts_error err = {0};
    ts_gs_config c;
    json_t *problems = NULL, *o = plain_config(50);
    ts_gs_fit *fit = NULL;
    ts_gs_model m;
    ts_status st = TS_OK;
    (void)state;
    float *image = malloc(64 * 48 * sizeof *image);
    for (size_t i = 0; i < 64 * 48; ++i)
        image[i] = 3e20f; /* finite, but its square is not */
    ts_gs_target t = {.width = 64, .height = 48, .channels = 1, .chw = image};
    set(o, "num_gaussians", json_integer(20));
    ts_gs_config_init(&c);
    CHECK_OK(ts_gs_config_read(&c, o, &problems, &err));
    CHECK_OK(ts_gs_fit_create(queue, &c, &t, NULL, &fit, &err));
    while (st == TS_OK && ts_gs_fit_running(fit))
        st = ts_gs_fit_slice(fit, 16, &err);
    assert_int_equal(st, TS_E_INTERNAL);
    assert_non_null(strstr(err.text, "non_finite_loss"));
    ts_error_clear(&err);
    CHECK_OK(ts_gs_fit_model(fit, false, &m, &err));
    for (size_t i = 0; i < m.n * 6; ++i)
        assert_true(isfinite(m.par[i]));
    ts_gs_model_finish(&m);
    ts_gs_fit_destroy(fit);
    ts_gs_config_finish(&c);
    json_decref(problems);
    json_decref(o);
    free(image);
}

static void device_memory_returns_to_the_start(void **state)
{
    ts_device_stats before, after;
    ts_gs_target t = photo_target(NULL);
    (void)state;
    ts_device_get_stats(device, &before);
    for (int i = 0; i < 5; ++i) {
        run r;
        json_t *c = short_config();
        memset(&r, 0, sizeof r);
        fit_target(&r, c, &t, 3 + i);
        run_finish(&r);
    }
    ts_device_get_stats(device, &after);
    assert_int_equal(after.used_bytes, before.used_bytes);
}

/* A smooth picture with one noisy quadrant: only the patches there are refined, and it gets better. */
static void refine_noisy_quadrant(bool joint)
{
    ts_error err = {0};
    enum {
        SIDE = 128
    };
    size_t n = SIDE * SIDE;
    float *image = malloc(n * sizeof *image), *shown = malloc(n * sizeof *shown);
    ts_gs_config c;
    json_t *problems = NULL, *o = plain_config(160);
    ts_gs_fit *fit = NULL;
    ts_gs_refine *refine = NULL;
    ts_gs_model base;
    ts_gs_metrics m;
    double psnr, ssim;
    for (size_t i = 0; i < n; ++i) {
        size_t x = i % SIDE, y = i / SIDE;
        image[i] = 0.5f + 0.2f * sinf((float)x * 0.03f) * cosf((float)y * 0.02f);
        if (x >= 80 && y >= 80)
            image[i] = ((x / 3) * 7 + (y / 3) * 13) % 5 < 2 ? 0.1f : 0.9f;
    }
    set(o, "num_gaussians", json_integer(150));
    set(o, "adaptive_refinement", json_true());
    set(o, "adaptive_patch_size", json_integer(72));
    set(o, "adaptive_overlap", json_integer(16));
    set(o, "adaptive_base_gaussians", json_integer(400));
    set(o, "adaptive_refinement_increment", json_integer(300));
    set(o, "adaptive_max_iterations", json_integer(2));
    set(o, "adaptive_max_gaussians_per_patch", json_integer(1000));
    set(o, "adaptive_error_threshold", json_real(0.75));
    set(o, "adaptive_mode", json_string(joint ? "joint" : "patches"));
    ts_gs_config_init(&c);
    CHECK_OK(ts_gs_config_read(&c, o, &problems, &err));
    ts_gs_target t = {.width = SIDE, .height = SIDE, .channels = 1, .chw = image};
    CHECK_OK(ts_gs_fit_create(queue, &c, &t, NULL, &fit, &err));
    while (ts_gs_fit_running(fit))
        CHECK_OK(ts_gs_fit_slice(fit, 16, &err));
    CHECK_OK(ts_gs_fit_complete(fit, &m, &err));
    CHECK_OK(ts_gs_fit_model(fit, false, &base, &err));
    CHECK_OK(ts_gs_fit_shown(fit, shown, &err));
    ts_gs_fit_destroy(fit);
    CHECK_OK(ts_gs_refine_create(queue, &c, image, &base, shown, &refine, &err));
    assert_int_equal(ts_gs_refine_grid(refine)->rows, 2);
    while (ts_gs_refine_running(refine))
        CHECK_OK(ts_gs_refine_slice(refine, 16, &err));
    for (int i = 0; i < 4; ++i) {
        const ts_gs_patch *p = ts_gs_refine_patch(refine, i);
        assert_int_equal(p->needs_refinement, i == 3);
        assert_int_equal(p->iterations > 0, i == 3);
    }
    CHECK_OK(ts_gs_metrics_quick(image, ts_gs_refine_picture(refine), 1, SIDE, SIDE, &psnr, &ssim,
                                 &err));
    print_message("refined, %s: %.2f dB after %.2f\n", joint ? "joint" : "patches", psnr, m.psnr);
    assert_true(psnr > m.psnr);
    assert_true(!joint == !ts_gs_refine_joint(refine));
    ts_gs_refine_destroy(refine);
    ts_gs_model_finish(&base);
    ts_gs_config_finish(&c);
    json_decref(problems);
    json_decref(o);
    free(image);
    free(shown);
}

static void only_the_noisy_quadrant_is_refined(void **state)
{
    (void)state;
    refine_noisy_quadrant(false);
    refine_noisy_quadrant(true);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_gradient_map_is_the_fixtures),
        cmocka_unit_test(models_come_back_from_both_forms),
        cmocka_unit_test(rerenders_aligned_at_other_sizes),
        cmocka_unit_test(equal_seeds_and_other_slices_give_the_same_bytes),
        cmocka_unit_test(tiny_tile_lists_give_the_same_bytes),
        cmocka_unit_test(a_resumed_checkpoint_ends_as_the_whole_run),
        cmocka_unit_test(odd_pictures),
        cmocka_unit_test(pruning_and_no_top_k_and_no_tiles_work),
        cmocka_unit_test(a_loss_that_is_not_finite_stops_the_fit),
        cmocka_unit_test(only_the_noisy_quadrant_is_refined),
        cmocka_unit_test(device_memory_returns_to_the_start),
        cmocka_unit_test(follows_the_plain_curve),
        cmocka_unit_test(legacy_gradient_ends_as_its_curve),
        cmocka_unit_test(progressive_adding_reaches_its_curve),
        cmocka_unit_test(twelve_bits_follow_the_curve_and_log_sigma_loses_little),
        cmocka_unit_test(own_starts_reach_the_fixture_on_average),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, setup, teardown);
}
