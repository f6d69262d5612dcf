/*
 * Matrix products, convolutions and attention at the shapes that models use. On CPU devices the floor
 * is OpenBLAS with one thread in the same process, loaded at run time; without it only our own
 * figures are printed. Speed is per core: CPU time of the process (all threads), interleaved rounds,
 * best of each. One JSON line per case; fails on the ratio to OpenBLAS only.
 *
 *     bench_gemm [--quick]
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "cl/ops/attention.h"
#include "cl/ops/conv.h"
#include "cl/ops/gemm.h"
#include "tests/support/opsfix.h"

/* Fractions of OpenBLAS's speed: M >= 64, and below. */
static const double MIN_RATIO = 0.75, MIN_RATIO_FEW_ROWS = 0.6;

typedef void (*sgemm_fn)(int order, int ta, int tb, int m, int n, int k, float alpha,
                         const float *a, int lda, const float *b, int ldb, float beta, float *c,
                         int ldc);

static double cpu_s(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static double wall_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef struct bench {
    ts_device *device;
    ts_queue *queue;
    ts_ops *ops;
    ts_error err;
    sgemm_fn sgemm;
    double batch_s;
    int rounds, failures;
} bench;

static void check(bench *b, ts_status st, const char *what)
{
    if (st == TS_OK)
        return;
    fprintf(stderr, "%s: %s %s\n", what, b->err.text, b->err.detail ? b->err.detail : "");
    exit(1);
}

static sgemm_fn open_blas(void)
{
    static const char *const names[] = {"libopenblas.so.0", "libopenblas.so"};
    void *lib = NULL;
    for (size_t i = 0; i < 2 && !lib; i++)
        lib = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (!lib) {
        fprintf(stderr, "note: libopenblas is not there, its figures are left out\n");
        return NULL;
    }
    void (*threads)(int);
    sgemm_fn sgemm;
    *(void **)&threads = dlsym(lib, "openblas_set_num_threads");
    *(void **)&sgemm = dlsym(lib, "cblas_sgemm");
    if (threads)
        threads(1);
    return sgemm;
}

/* Work that is repeated; calls are batched so that a measurement takes at least batch_s. */
typedef struct work {
    void (*run)(bench *b, void *arg);
    void *arg;
    bool device; /* finish the queue at the end of a batch */
    double best_cpu, best_wall;
    int calls;
} work;

static void batch(bench *b, work *w, int calls)
{
    for (int i = 0; i < calls; i++)
        w->run(b, w->arg);
    if (w->device)
        check(b, ts_queue_finish(b->queue, &b->err), "finish");
}

static void measure(bench *b, work *works, int n)
{
    for (int i = 0; i < n; i++) { /* warm up, and find how many calls a batch takes */
        works[i].best_cpu = works[i].best_wall = 1e30;
        batch(b, &works[i], 1);
        double start = wall_s();
        batch(b, &works[i], 2);
        double each = (wall_s() - start) / 2;
        works[i].calls = each > 0 ? (int)(b->batch_s / each) + 1 : 1;
    }
    for (int r = 0; r < b->rounds; r++)
        for (int i = 0; i < n; i++) {
            double cpu = cpu_s(), wall = wall_s();
            batch(b, &works[i], works[i].calls);
            cpu = (cpu_s() - cpu) / works[i].calls;
            wall = (wall_s() - wall) / works[i].calls;
            works[i].best_cpu = cpu < works[i].best_cpu ? cpu : works[i].best_cpu;
            works[i].best_wall = wall < works[i].best_wall ? wall : works[i].best_wall;
        }
}

static void print(bench *b, const char *name, const char *params, double gflop, const work *own,
                  const work *peer, double want)
{
    bool cpu = ts_device_caps(b->device)->kind == TS_DEVICE_CPU;
    double t = cpu ? own->best_cpu : own->best_wall, speed = gflop / t;
    printf("{\"name\":\"%s\",\"params\":\"%s\",\"unit\":\"%s\",\"value\":%.1f,\"wall_us\":%.1f",
           name, params, cpu ? "GFLOP/s per core" : "GFLOP/s", speed, own->best_wall * 1e6);
    if (peer && cpu) {
        double ratio = speed / (gflop / peer->best_cpu);
        bool ok = ratio >= want;
        b->failures += !ok;
        printf(",\"openblas\":%.1f,\"ratio\":%.2f,\"want\":%.2f,\"ok\":%s", gflop / peer->best_cpu,
               ratio, want, ok ? "true" : "false");
    }
    printf(",\"rounds\":%d,\"device\":\"%s\"}\n", b->rounds, ts_device_caps(b->device)->name);
    fflush(stdout);
}

/* ---- linear layers ---- */

typedef struct gemm_case {
    int m, n, k;
    float *a, *w, *c;
    ts_weight *weight;
    ts_arr x, y;
} gemm_case;

static void own_gemm(bench *b, void *arg)
{
    gemm_case *g = arg;
    check(b, ts_op_linear(b->ops, &g->x, g->weight, NULL, &g->y, &b->err), "linear");
}

static void blas_gemm(bench *b, void *arg)
{
    gemm_case *g = arg; /* row major, B transposed: as the layer stores it */
    b->sgemm(101, 111, 112, g->m, g->n, g->k, 1, g->a, g->k, g->w, g->k, 0, g->c, g->n);
}

static void run_gemm(bench *b, int m, int n, int k)
{
    gemm_case g = {.m = m, .n = n, .k = k};
    char params[64];
    g.a = ts_opsfix_random(1, -1, 1, (size_t)m * (size_t)k);
    g.w = ts_opsfix_random(2, -1, 1, (size_t)n * (size_t)k);
    g.c = ts_opsfix_random(3, -1, 1, (size_t)m * (size_t)n);
    check(b, ts_weight_create(b->ops, g.w, n, k, NULL, &g.weight, &b->err), "weight");
    check(b, ts_arr_from_host(b->ops, TS_F32, &TS_SHAPE(m, k), g.a, &g.x, &b->err), "x");
    check(b, ts_arr_create(b->ops, TS_F32, &TS_SHAPE(m, n), &g.y, &b->err), "y");
    work works[2] = {{.run = own_gemm, .arg = &g, .device = true}, {.run = blas_gemm, .arg = &g}};
    measure(b, works, b->sgemm ? 2 : 1);
    if (b->sgemm) { /* the same work was done */
        float *got = malloc((size_t)m * (size_t)n * sizeof *got);
        check(b, ts_arr_read(b->ops, &g.y, got, &b->err), "read");
        for (int i = 0; i < m * n; i++)
            if (!(got[i] - g.c[i] < 1e-3f && g.c[i] - got[i] < 1e-3f)) {
                fprintf(stderr, "gemm %d,%d,%d: results differ\n", m, n, k);
                exit(1);
            }
        free(got);
    }
    snprintf(params, sizeof params, "%d,%d,%d", m, n, k);
    print(b, "linear", params, 2e-9 * m * n * k, &works[0], b->sgemm ? &works[1] : NULL,
          m >= 64 ? MIN_RATIO : MIN_RATIO_FEW_ROWS);
    ts_weight_destroy(g.weight);
    ts_arr_free(&g.x);
    ts_arr_free(&g.y);
    free(g.a);
    free(g.w);
    free(g.c);
}

/* ---- convolutions ---- */

typedef struct conv_case {
    ts_conv *conv;
    ts_arr x, y;
} conv_case;

static void own_conv(bench *b, void *arg)
{
    conv_case *c = arg;
    check(b, ts_op_conv(b->ops, &c->x, c->conv, NULL, &c->y, &b->err), "conv");
}

static void run_conv(bench *b, int in, int out, int size, int kernel)
{
    conv_case c;
    char params[64];
    size_t nw = (size_t)(in * out * kernel * kernel), nx = (size_t)(in * size * size);
    float *w = ts_opsfix_random(1, -1, 1, nw), *x = ts_opsfix_random(2, -1, 1, nx);
    int pad = kernel / 2;
    ts_conv_geometry g = {.in = in,
                          .out = out,
                          .kernel = {1, kernel, kernel},
                          .pad_front = {0, pad, pad},
                          .pad_back = {0, pad, pad}};
    check(b, ts_conv_create(b->ops, &g, w, NULL, &c.conv, &b->err), "conv");
    check(b, ts_arr_from_host(b->ops, TS_F32, &TS_SHAPE(1, in, size, size), x, &c.x, &b->err), "x");
    check(b, ts_arr_create(b->ops, TS_F32, &TS_SHAPE(1, out, size, size), &c.y, &b->err), "y");
    work own = {.run = own_conv, .arg = &c, .device = true};
    measure(b, &own, 1);
    snprintf(params, sizeof params, "%d->%d %dx%d k%d", in, out, size, size, kernel);
    print(b, "conv2d", params, 2e-9 * (double)nw * size * size, &own, NULL, 0);
    ts_conv_destroy(c.conv);
    ts_arr_free(&c.x);
    ts_arr_free(&c.y);
    free(w);
    free(x);
}

/* ---- attention ---- */

typedef struct attention_case {
    ts_attention a;
    ts_arr q, k, v, y;
} attention_case;

static void own_attention(bench *b, void *arg)
{
    attention_case *c = arg;
    check(b, ts_op_attention(b->ops, &c->a, &c->q, &c->k, &c->v, &c->y, &b->err), "attention");
}

static void run_attention(bench *b, int heads, int m, int n, int d)
{
    attention_case c = {.a = {.batch = 1,
                              .heads = heads,
                              .queries = m,
                              .keys = n,
                              .width = d,
                              .q = ts_heads_in_rows(m, heads, d),
                              .k = ts_heads_in_rows(n, heads, d),
                              .v = ts_heads_in_rows(n, heads, d),
                              .y = ts_heads_in_rows(m, heads, d)}};
    char params[64];
    float *x = ts_opsfix_random(1, -1, 1, (size_t)((m > n ? m : n) * heads * d));
    check(b, ts_arr_from_host(b->ops, TS_F32, &TS_SHAPE(m, heads * d), x, &c.q, &b->err), "q");
    check(b, ts_arr_from_host(b->ops, TS_F32, &TS_SHAPE(n, heads * d), x, &c.k, &b->err), "k");
    check(b, ts_arr_from_host(b->ops, TS_F32, &TS_SHAPE(n, heads * d), x, &c.v, &b->err), "v");
    check(b, ts_arr_create(b->ops, TS_F32, &TS_SHAPE(m, heads * d), &c.y, &b->err), "y");
    work own = {.run = own_attention, .arg = &c, .device = true};
    measure(b, &own, 1);
    snprintf(params, sizeof params, "%d heads of %d, %d x %d", heads, d, m, n);
    print(b, "attention", params, 4e-9 * heads * (double)m * n * d, &own, NULL, 0);
    ts_arr_free(&c.q);
    ts_arr_free(&c.k);
    ts_arr_free(&c.v);
    ts_arr_free(&c.y);
    free(x);
}

int main(int argc, char **argv)
{
    bool quick = argc > 1 && !strcmp(argv[1], "--quick");
    bench b = {.batch_s = quick ? 0.03 : 0.2, .rounds = quick ? 3 : 5};
    size_t index;
    check(&b, ts_device_select(getenv("TS_TEST_DEVICE"), &index, &b.err), "device");
    check(&b, ts_device_open(index, &(ts_device_options){0}, &b.device, &b.err), "device");
    check(&b, ts_queue_create(b.device, "bench", &b.queue, &b.err), "queue");
    check(&b, ts_ops_create(b.queue, &b.ops, &b.err), "ops");
    if (ts_ops_is_cpu(b.ops))
        b.sgemm = open_blas();
    static const int gemms[][3] = {{256, 256, 256},  {265, 192, 192}, {197, 768, 768},
                                   {265, 3072, 768}, {206, 576, 192}, {1024, 1024, 1024},
                                   {10, 576, 192},   {1, 768, 768},   {1, 2670, 192}};
    for (size_t i = 0; i < sizeof gemms / sizeof *gemms; i++)
        run_gemm(&b, gemms[i][0], gemms[i][1], gemms[i][2]);
    run_conv(&b, 128, 128, 8, 3);
    run_conv(&b, 64, 64, 32, 3);
    run_conv(&b, 576, 192, 14, 3);
    run_conv(&b, 16, 8, 128, 3);
    run_conv(&b, 512, 512, 8, 3);
    run_attention(&b, 6, 206, 206, 32);
    run_attention(&b, 6, 10, 3000, 32);
    run_attention(&b, 12, 577, 577, 64);
    ts_ops_destroy(b.ops);
    ts_queue_destroy(b.queue);
    ts_device_close(b.device);
    if (b.failures)
        fprintf(stderr, "%d ratios are below their targets\n", b.failures);
    return b.failures ? 1 : 0;
}
