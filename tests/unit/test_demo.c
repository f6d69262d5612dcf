#include "cl/models/demo/demo.h"
#include "tests/ref/ref_demo.h"
#include "tests/support/check.h"
#include "tests/support/devfix.h"

static ts_device *device;
static ts_queue *queue;

static int open_device(void **state)
{
    (void)state;
    ts_devfix_open(&device, &queue);
    return 0;
}

static int close_device(void **state)
{
    (void)state;
    ts_devfix_close(device, queue);
    return 0;
}

static float noise(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (float)(*seed >> 8) / 16777216.0f - 0.5f;
}

/* A device buffer holding n random floats, also written to `host`. */
static ts_buffer *filled(float *host, size_t n, uint32_t seed)
{
    ts_error err = {0};
    ts_buffer *buffer;
    for (size_t i = 0; i < n; i++)
        host[i] = noise(&seed);
    CHECK_OK(ts_buffer_create(device, n * sizeof *host, &buffer, &err));
    CHECK_OK(ts_buffer_write(queue, buffer, 0, host, n * sizeof *host, &err));
    return buffer;
}

static void check_buffer(ts_buffer *buffer, const float *want, size_t n, double atol,
                         const char *what)
{
    ts_error err = {0};
    float *got = calloc(n, sizeof *got);
    CHECK_OK(ts_buffer_read(queue, buffer, 0, got, n * sizeof *got, &err));
    for (size_t i = 0; i < n; i++)
        ts_check_close(got[i], want[i], atol, 1e-5, what, i);
    free(got);
}

static void reaction_equals_its_twin(void **state)
{
    (void)state;
    ts_error err = {0};
    static const int sizes[][2] = {{1, 1}, {3, 2}, {17, 5}, {33, 31}};
    static float u[2048], v[2048], wu[2048], wv[2048];
    ts_kernel *k;
    CHECK_OK(ts_queue_kernel(queue, "demo", "", "demo_reaction", &k, &err));
    for (size_t i = 0; i < 4; i++) {
        int w = sizes[i][0], h = sizes[i][1];
        size_t n = (size_t)w * h;
        ts_buffer *bu = filled(u, n, 1), *bv = filled(v, n, 2), *ou = filled(wu, n, 3),
                  *ov = filled(wv, n, 4);
        CHECK_OK(
            ts_launch(queue, k, 1, (size_t[]){(size_t)h}, NULL,
                      TS_ARGS(TS_BUF(bu), TS_BUF(bv), TS_BUF(ou), TS_BUF(ov), TS_INT(w), TS_INT(h),
                              TS_FLOAT(1), TS_FLOAT(0.5), TS_FLOAT(0.037), TS_FLOAT(0.06)),
                      &err));
        ref_demo_reaction(u, v, wu, wv, w, h, 1, 0.5, 0.037f, 0.06f);
        check_buffer(ou, wu, n, 1e-6, "u");
        check_buffer(ov, wv, n, 1e-6, "v");
        ts_buffer_unref(bu), ts_buffer_unref(bv), ts_buffer_unref(ou), ts_buffer_unref(ov);
    }
}

static void wave_equals_its_twin(void **state)
{
    (void)state;
    ts_error err = {0};
    static const int sizes[][3] = {{1, 1, 1}, {3, 4, 5}, {9, 7, 6}};
    static float p[512], before[512], want[512];
    ts_kernel *k;
    CHECK_OK(ts_queue_kernel(queue, "demo", "", "demo_wave", &k, &err));
    for (size_t i = 0; i < 3; i++) {
        int w = sizes[i][0], h = sizes[i][1], d = sizes[i][2];
        size_t n = (size_t)w * h * d;
        ts_buffer *bp = filled(p, n, 5), *bb = filled(before, n, 6), *out = filled(want, n, 7);
        CHECK_OK(ts_launch(queue, k, 2, (size_t[]){(size_t)h, (size_t)d}, NULL,
                           TS_ARGS(TS_BUF(bp), TS_BUF(bb), TS_BUF(out), TS_INT(w), TS_INT(h),
                                   TS_INT(d), TS_FLOAT(0.25), TS_FLOAT(0.004), TS_INT(w / 2),
                                   TS_INT(h / 2), TS_INT(d / 2), TS_FLOAT(0.7)),
                           &err));
        ref_demo_wave(p, before, want, w, h, d, 0.25, 0.004f, w / 2, h / 2, d / 2, 0.7f);
        check_buffer(out, want, n, 1e-6, "p");
        ts_buffer_unref(bp), ts_buffer_unref(bb), ts_buffer_unref(out);
    }
}

/* The kernels' gradient of one weight against finite differences of the loss in double. */
static void training_step_follows_the_gradient(void **state)
{
    (void)state;
    ts_error err = {0};
    enum {
        N = 6,
        B = 5
    };
    float points[2 * B], freq[N], w1[N * N], w2[N * N], w3[N], scratch[N * N + B * N];
    ts_buffer *bp = filled(points, 2 * B, 1), *bf = filled(freq, N, 2), *b1 = filled(w1, N * N, 3),
              *b2 = filled(w2, N * N, 4), *b3 = filled(w3, N, 5);
    ts_buffer *act[6];
    for (int i = 0; i < 6; i++)
        act[i] = filled(scratch, B * N, 9);
    ts_buffer *m = filled(scratch, N * N, 1);
    CHECK_OK(ts_buffer_fill_u32(queue, m, 0, 0, N * N * sizeof(float), &err));
    ts_kernel *sample, *update;
    CHECK_OK(ts_queue_kernel(queue, "demo", "", "demo_train_sample", &sample, &err));
    CHECK_OK(ts_queue_kernel(queue, "demo", "", "demo_train_update", &update, &err));
    CHECK_OK(ts_launch(queue, sample, 1, (size_t[]){B}, NULL,
                       TS_ARGS(TS_BUF(bp), TS_BUF(bf), TS_BUF(b1), TS_BUF(b2), TS_BUF(b3),
                               TS_BUF(act[0]), TS_BUF(act[1]), TS_BUF(act[2]), TS_BUF(act[3]),
                               TS_BUF(act[4]), TS_BUF(act[5]), TS_INT(B), TS_INT(N), TS_FLOAT(0.3)),
                       &err));
    struct {
        ts_buffer *delta, *input, *weights;
        float *host;
    } layers[] = {{act[2], act[0], b1, w1}, {act[4], act[1], b2, w2}};
    for (int l = 0; l < 2; l++) {
        float got[N * N], *w = layers[l].host;
        CHECK_OK(ts_launch(queue, update, 1, (size_t[]){N}, NULL,
                           TS_ARGS(TS_BUF(layers[l].delta), TS_BUF(layers[l].input),
                                   TS_BUF(layers[l].weights), TS_BUF(m), TS_INT(B), TS_INT(N),
                                   TS_INT(N), TS_FLOAT(1)),
                           &err));
        CHECK_OK(ts_buffer_read(queue, layers[l].weights, 0, got, sizeof got, &err));
        CHECK_OK(ts_buffer_fill_u32(queue, m, 0, 0, N * N * sizeof(float), &err));
        for (int i = 0; i < N * N; i++) {
            float keep = w[i], h = 1e-3f;
            w[i] = keep + h;
            double up = ref_demo_loss(points, freq, w1, w2, w3, B, N, 0.3f);
            w[i] = keep - h;
            double down = ref_demo_loss(points, freq, w1, w2, w3, B, N, 0.3f);
            w[i] = keep;
            ts_check_close(keep - got[i], (up - down) / (2 * h), 2e-5, 1e-3, "gradient", (size_t)i);
        }
    }
    ts_buffer *all[] = {bp, bf, b1, b2, b3, m};
    for (int i = 0; i < 6; i++)
        ts_buffer_unref(all[i]), ts_buffer_unref(act[i]);
}

static void demo_advances_and_the_network_learns(void **state)
{
    (void)state;
    ts_error err = {0};
    ts_demo *demo;
    CHECK_OK(ts_demo_create(queue, &demo, &err));
    float first = 0, loss = 0;
    for (int i = 0; i < 300; i++) {
        ts_tensor *weights;
        CHECK_OK(ts_demo_train(demo, queue, &weights, &loss, &err));
        ts_tensor_unref(weights);
        if (i == 0)
            first = loss;
    }
    if (!(loss < first / 2))
        fail_msg("loss went from %g to %g", first, loss);
    ts_tensor *field, *box;
    CHECK_OK(ts_demo_reaction(demo, queue, &field, &err));
    CHECK_OK(ts_demo_wave(demo, queue, &box, &err));
    assert_int_equal(ts_tensor_nbytes(field), 256 * 256 * 4);
    assert_int_equal(ts_tensor_nbytes(box), 64 * 64 * 64 * 4);
    ts_tensor_unref(field);
    ts_tensor_unref(box);
    ts_demo_destroy(demo);
    ts_demo_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reaction_equals_its_twin),
        cmocka_unit_test(wave_equals_its_twin),
        cmocka_unit_test(training_step_follows_the_gradient),
        cmocka_unit_test(demo_advances_and_the_network_learns),
    };
    return cmocka_run_group_tests(tests, open_device, close_device);
}
