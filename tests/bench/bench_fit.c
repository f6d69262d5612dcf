/*
 * Fitting: milliseconds of a whole training step and of the rasterizer alone, one JSON line a case.
 *
 *     bench_fit [--quick] [--device SPEC] [--only CASE]     CASE is 0 to 7
 *
 * Starts as the CUDA reference was measured: random positions, sigma 5 px, the mean over many steps;
 * `loss` is l1 (L1 alone) or l1+ssim (the default recipe). `reference` is a PyTorch implementation's
 * time for the same case in milliseconds, where there is one: on a GPU the public CUDA kernels on an
 * H200, L1 alone; on a CPU one thread of a plain one, 240 ms (both as the specification reports them).
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/clock.h"
#include "cl/models/imagegs/fit.h"
#include "cl/models/imagegs/init.h"

typedef struct bench {
    int w, h;
    int64_t n;
    bool ssim;
    double reference_step, reference_forward; /* on a GPU */
    double reference_cpu;
} bench;

static const bench cases[] = {
    {192, 128, 500, true, 0, 0, 240},          {512, 512, 5000, true, 0, 0, 0},
    {768, 512, 10000, false, 3.13, 0.69, 0},   {768, 512, 50000, false, 3.43, 1.21, 0},
    {2048, 1152, 10000, false, 6.63, 1.04, 0}, {2048, 1152, 10000, true, 0, 0, 0},
    {2048, 1152, 50000, false, 6.46, 1.77, 0}, {2048, 2048, 10000, true, 0, 0, 0},
};

static int compare(const void *a, const void *b)
{
    double d = *(const double *)a - *(const double *)b;
    return d < 0 ? -1 : d > 0;
}

/* Waves, edges and a little noise: neither smooth nor white. */
static float *picture(int w, int h)
{
    float *out = malloc((size_t)w * (size_t)h * 3 * sizeof *out);
    for (int c = 0; c < 3; ++c)
        for (int y = 0; y < h; ++y)
            for (int x = 0; x < w; ++x) {
                double v = 0.5 + 0.25 * sin(0.021 * x + c) + 0.2 * cos(0.017 * y - 0.3 * c);
                v += (x / 37 + y / 53) % 2 ? 0.1 : -0.1;
                v += 0.02 * sin(12.9898 * x + 78.233 * y + c);
                out[((size_t)c * (size_t)h + (size_t)y) * (size_t)w + (size_t)x] =
                    (float)fmin(fmax(v, 0), 1);
            }
    return out;
}

static void report(const bench *b, const ts_device *device, const char *name, const double *ms,
                   int n, double reference)
{
    double sorted[512], sum = 0;
    for (int i = 0; i < n; ++i)
        sum += sorted[i] = ms[i];
    qsort(sorted, (size_t)n, sizeof *sorted, compare);
    printf("{\"name\":\"fit_%s\",\"width\":%d,\"height\":%d,\"gaussians\":%lld,\"loss\":\"%s\","
           "\"n\":%d,\"median\":%.4f,\"mean\":%.4f,\"p95\":%.4f,\"unit\":\"ms\",",
           name, b->w, b->h, (long long)b->n, b->ssim ? "l1+ssim" : "l1", n, sorted[n / 2], sum / n,
           sorted[(int)(0.95 * (n - 1))]);
    if (reference > 0)
        printf("\"reference\":%.2f,", reference);
    printf("\"device\":\"%s\"}\n", ts_device_caps(device)->name);
    fflush(stdout);
}

static ts_status time_steps(ts_gs_fit *fit, const bench *b, const ts_device *device, int slices,
                            ts_error *err)
{
    double ms[512];
    ts_status st = TS_OK;
    for (int i = -2; st == TS_OK && i < slices; ++i) {
        int64_t begin = ts_now_us();
        st = ts_gs_fit_slice(fit, 16, err);
        if (i >= 0)
            ms[i] = (double)(ts_now_us() - begin) / 16e3;
    }
    if (st == TS_OK)
        report(b, device, "step", ms, slices,
               ts_device_caps(device)->kind == TS_DEVICE_GPU ? b->reference_step
                                                             : b->reference_cpu);
    return st;
}

static ts_status time_forward(ts_queue *queue, ts_gs_fit *fit, const bench *b, int slices,
                              ts_error *err)
{
    ts_gs_model model;
    ts_gs_splat_options o;
    ts_gs_splat *splat = NULL;
    ts_buffer *par = NULL;
    double ms[512];
    ts_status st = ts_gs_fit_model(fit, false, &model, err);
    if (st != TS_OK)
        return st;
    size_t bytes = model.n * 8 * sizeof(float);
    st = ts_gs_model_options(&model, b->h, false, &o, err);
    if (st == TS_OK)
        st = ts_gs_splat_create(queue, &o, &splat, err);
    if (st == TS_OK)
        st = ts_buffer_create(ts_queue_device(queue), bytes, &par, err);
    if (st == TS_OK)
        st = ts_buffer_write(queue, par, 0, model.par, bytes, err);
    if (st == TS_OK)
        st = ts_gs_splat_render(splat, par, model.n, err);
    for (int i = -1; st == TS_OK && i < slices; ++i) {
        int64_t begin = ts_now_us();
        for (int k = 0; st == TS_OK && k < 8; ++k)
            st = ts_gs_splat_forward(splat, par, model.n, err);
        if (st == TS_OK)
            st = ts_queue_finish(queue, err);
        if (i >= 0)
            ms[i] = (double)(ts_now_us() - begin) / 8e3;
    }
    if (st == TS_OK)
        report(b, ts_queue_device(queue), "forward", ms, slices,
               ts_device_caps(ts_queue_device(queue))->kind == TS_DEVICE_GPU ? b->reference_forward
                                                                             : 0);
    ts_gs_splat_destroy(splat);
    ts_buffer_unref(par);
    ts_gs_model_finish(&model);
    return st;
}

static ts_status run(ts_queue *queue, const bench *b, bool quick, ts_error *err)
{
    ts_gs_config c;
    ts_gs_fit *fit = NULL;
    float *image = picture(b->w, b->h);
    ts_gs_config_init(&c);
    c.num_gaussians = b->n;
    c.max_steps = c.eval_steps = c.video_iterations = 1000000;
    c.init_mode = TS_GS_INIT_RANDOM;
    c.disable_prog_optim = c.disable_lr_schedule = true;
    c.ssim_loss_ratio = b->ssim ? 0.1 : 0;
    ts_gs_target t = {.width = b->w, .height = b->h, .channels = 3, .chw = image};
    bool gpu = ts_device_caps(ts_queue_device(queue))->kind == TS_DEVICE_GPU;
    bool large = (double)b->w * b->h > 400000;
    int slices = gpu ? (quick ? 10 : 20) : large ? 1 : quick ? 2 : 6;
    ts_status st = ts_gs_fit_create(queue, &c, &t, NULL, &fit, err);
    if (st == TS_OK)
        st = time_steps(fit, b, ts_queue_device(queue), slices, err);
    if (st == TS_OK)
        st = time_forward(queue, fit, b, slices, err);
    ts_gs_fit_destroy(fit);
    ts_gs_config_finish(&c);
    free(image);
    return st;
}

int main(int argc, char **argv)
{
    bool quick = false;
    int only = -1;
    const char *spec = "auto";
    ts_error err = {0};
    ts_device *device = NULL;
    ts_queue *queue = NULL;
    size_t index;
    for (int i = 1; i < argc; ++i) {
        if (strcmp(argv[i], "--quick") == 0)
            quick = true;
        else if (strcmp(argv[i], "--device") == 0 && i + 1 < argc)
            spec = argv[++i];
        else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc)
            only = atoi(argv[++i]);
    }
    ts_status st = ts_device_select(spec, &index, &err);
    if (st == TS_OK)
        st = ts_device_open(index, &(ts_device_options){0}, &device, &err);
    if (st == TS_OK)
        st = ts_queue_create(device, "bench", &queue, &err);
    for (size_t i = 0; st == TS_OK && i < sizeof cases / sizeof cases[0]; ++i)
        if (only >= 0 ? (int)i == only
                      : !quick || (double)cases[i].w * cases[i].h < 400000 ||
                            ts_device_caps(device)->kind == TS_DEVICE_GPU)
            st = run(queue, &cases[i], quick, &err);
    if (st != TS_OK)
        fprintf(stderr, "bench_fit: %s\n%s\n", err.text, err.detail ? err.detail : "");
    ts_error_clear(&err);
    ts_queue_destroy(queue);
    ts_device_close(device);
    return st == TS_OK ? 0 : 1;
}
