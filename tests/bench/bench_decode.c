/*
 * Whole models: decoders of pictures, and AutoGaze with the official sizes and random weights.
 * Wall time per call, median and best of the rounds. One JSON line per case; never fails.
 *
 *     bench_decode [--quick]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cl/models/autogaze/autogaze.h"
#include "cl/models/vae/latent.h"
#include "cl/models/vae/vae.h"
#include "tests/support/bigmodels.h"
#include "tests/support/opsfix.h"

static double wall_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef struct bench {
    ts_device *device;
    ts_queue *queue;
    ts_error err;
    int rounds;
} bench;

static void check(bench *b, ts_status st, const char *what)
{
    if (st == TS_OK)
        return;
    fprintf(stderr, "%s: %s %s\n", what, b->err.text, b->err.detail ? b->err.detail : "");
    exit(1);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(bench *b, const char *name, const char *params, double *ms, int n)
{
    qsort(ms, (size_t)n, sizeof *ms, by_value);
    printf(
        "{\"name\":\"%s\",\"params\":\"%s\",\"unit\":\"ms\",\"n\":%d,\"min\":%.3f,\"median\":%.3f,"
        "\"p95\":%.3f,\"device\":\"%s\"}\n",
        name, params, n, ms[0], ms[n / 2], ms[n * 95 / 100], ts_device_caps(b->device)->name);
    fflush(stdout);
}

static void decode(bench *b, const char *path, const char *name, int n)
{
    ts_model *model;
    double ms[256];
    char params[32];
    check(b, ts_model_load(b->queue, path, &model, &b->err), name);
    ts_vae *vae = ts_vae_of(model);
    int64_t dim = ts_vae_get_info(vae)->latent_dim;
    float *z = calloc((size_t)(n * dim), sizeof *z);
    const int64_t *d = ts_vae_get_info(vae)->image.dim;
    uint8_t *out = malloc((size_t)(n * d[0] * d[1] * d[2]));
    ts_seeded_normal(1, z, (size_t)(n * dim));
    int rounds = b->rounds > 256 ? 256 : b->rounds;
    for (int r = -2; r < rounds; r++) {
        double start = wall_s();
        check(b, ts_vae_decode_u8(vae, z, n, false, out, &b->err), name);
        if (r >= 0)
            ms[r] = (wall_s() - start) * 1e3;
    }
    snprintf(params, sizeof params, "batch %d", n);
    report(b, name, params, ms, rounds);
    ts_model_destroy(model);
    free(z);
    free(out);
}

static void gaze(bench *b, ts_autogaze *a, ts_ops *ops, const char *name, int frames, int first,
                 int later, int decode_chunk)
{
    ts_autogaze_stream *s;
    double ms[64];
    int side = ts_autogaze_get_config(a)->input_px, rounds = b->rounds > 20 ? 20 : b->rounds;
    size_t n = (size_t)(3 * side * side);
    float *x = ts_opsfix_random(7, -2, 2, n);
    ts_arr input = {0};
    ts_autogaze_frame out;
    ts_autogaze_limits l = ts_autogaze_limits_default(a);
    l.has_requirement = false;
    l.decode_chunk = decode_chunk;
    check(b, ts_arr_from_host(ops, TS_F32, &TS_SHAPE(3, side, side), x, &input, &b->err), "input");
    check(b, ts_autogaze_stream_create(a, ops, &s, &b->err), "stream");
    for (int r = -1; r < rounds; r++) {
        ts_autogaze_stream_reset(s);
        double start = wall_s();
        for (int t = 0; t < frames; t++) {
            l.max_tokens = t ? later : first;
            check(b, ts_autogaze_step(s, ops, &input, &l, &out, &b->err), name);
        }
        if (r >= 0)
            ms[r] = (wall_s() - start) * 1e3;
    }
    char params[96];
    snprintf(params, sizeof params, "%d frames, %d then %d tokens, look every %d passes", frames,
             first, later, decode_chunk);
    report(b, name, params, ms, rounds);
    check(b, ts_queue_finish(b->queue, &b->err), "finish");
    ts_autogaze_stream_destroy(s);
    ts_arr_free(&input);
    free(x);
}

static void gaze_all(bench *b)
{
    char dir[] = "/tmp/ts-bench-XXXXXX";
    ts_ops *ops;
    ts_model *model;
    if (!mkdtemp(dir) || !ts_write_autogaze(dir, 1)) {
        fprintf(stderr, "note: no temporary model could be written\n");
        return;
    }
    check(b, ts_ops_create(b->queue, &ops, &b->err), "ops");
    check(b, ts_model_load(b->queue, dir, &model, &b->err), "autogaze");
    ts_autogaze *a = ts_autogaze_of(model);
    gaze(b, a, ops, "autogaze", 1, 10, 10, 4);
    gaze(b, a, ops, "autogaze", 1, 198, 10, 4);
    gaze(b, a, ops, "autogaze", 1, 198, 10, 1000);
    gaze(b, a, ops, "autogaze", 16, 198, 10, 1000);
    gaze(b, a, ops, "autogaze", 16, 10, 10, 4);
    ts_model_destroy(model);
    ts_ops_destroy(ops);
    ts_remove_model(dir);
}

int main(int argc, char **argv)
{
    bool quick = argc > 1 && !strcmp(argv[1], "--quick");
    bench b = {.rounds = quick ? 5 : 60};
    size_t index;
    check(&b, ts_device_select(getenv("TS_TEST_DEVICE"), &index, &b.err), "device");
    check(&b, ts_device_open(index, &(ts_device_options){0}, &b.device, &b.err), "device");
    check(&b, ts_queue_create(b.device, "bench", &b.queue, &b.err), "queue");
    decode(&b, TS_TEST_DIR "/../cl/models/builtin/mnist-decoder", "mnist", 1);
    decode(&b, TS_TEST_DIR "/../cl/models/builtin/mnist-decoder", "mnist", 400);
    decode(&b, TS_TEST_DIR "/../cl/models/builtin/photo-decoder-q4", "photo", 1);
    char dir[] = "/tmp/ts-bench-XXXXXX";
    if (mkdtemp(dir) && ts_write_dog(dir, 256, 7)) {
        decode(&b, dir, "full-width", 1);
        decode(&b, dir, "full-width", 8);
        ts_remove_model(dir);
    }
    gaze_all(&b);
    ts_queue_destroy(b.queue);
    ts_device_close(b.device);
    return 0;
}
