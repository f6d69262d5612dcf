#include "tests/support/opsfix.h"

#include "tests/support/check.h"
#include "tests/support/devfix.h"

int ts_opsfix_setup(void **state)
{
    static ts_opsfix f;
    ts_error err = {0};
    ts_devfix_open(&f.device, &f.queue);
    CHECK_OK(ts_ops_create(f.queue, &f.ops, &err));
    *state = &f;
    return 0;
}

int ts_opsfix_teardown(void **state)
{
    ts_opsfix *f = *state;
    ts_ops_destroy(f->ops);
    ts_devfix_close(f->device, f->queue);
    return 0;
}

void ts_opsfix_fill(uint64_t seed, float lo, float hi, float *out, size_t n)
{
    for (size_t i = 0; i < n; i++) { /* splitmix64 */
        uint64_t z = (seed += 0x9E3779B97F4A7C15u);
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        out[i] = lo + (hi - lo) * (float)((z ^ (z >> 31)) >> 40) * 0x1p-24f;
    }
}

float *ts_opsfix_random(uint64_t seed, float lo, float hi, size_t n)
{
    float *out = malloc((n ? n : 1) * sizeof *out);
    assert_non_null(out);
    ts_opsfix_fill(seed, lo, hi, out, n);
    return out;
}

ts_arr ts_opsfix_up(ts_opsfix *f, const ts_shape *shape, const float *data)
{
    ts_error err = {0};
    ts_arr a = {0};
    CHECK_OK(ts_arr_from_host(f->ops, TS_F32, shape, data, &a, &err));
    return a;
}

ts_arr ts_opsfix_new(ts_opsfix *f, const ts_shape *shape)
{
    ts_error err = {0};
    ts_arr a = {0};
    CHECK_OK(ts_arr_create(f->ops, TS_F32, shape, &a, &err));
    /* NaN everywhere: an element that the kernel misses shows. */
    if (ts_arr_bytes(&a))
        CHECK_OK(ts_buffer_fill_u32(f->queue, a.buffer, 0, 0x7fc00000u, ts_arr_bytes(&a), &err));
    return a;
}

void ts_opsfix_check(ts_opsfix *f, ts_arr *got, const float *want, double atol, double rtol,
                     const char *what)
{
    ts_error err = {0};
    size_t n = (size_t)ts_arr_elements(got);
    float *host = malloc((n ? n : 1) * sizeof *host);
    assert_non_null(host);
    CHECK_OK(ts_arr_read(f->ops, got, host, &err));
    for (size_t i = 0; i < n; i++) {
        if (isnan(host[i]) != isnan(want[i]))
            fail_msg("%s[%zu]: got %g, want %g", what, i, host[i], want[i]);
        ts_check_close(host[i], want[i], atol, rtol, what, i);
    }
    free(host);
    ts_arr_free(got);
}
