/* The device's prefix sum and radix sort against plain loops over odd sizes. */
#include "cl/ops/scan.h"
#include "cl/ops/sort.h"
#include "tests/support/check.h"
#include "tests/support/devfix.h"

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

static uint32_t next_random(uint32_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 17;
    *s ^= *s << 5;
    return *s;
}

static ts_buffer *buffer_of(const uint32_t *data, size_t n)
{
    ts_error err = {0};
    ts_buffer *b = NULL;
    CHECK_OK(ts_buffer_create(device, (n + 1) * 4, &b, &err));
    if (n)
        CHECK_OK(ts_buffer_write(queue, b, 0, data, n * 4, &err));
    return b;
}

static void check_scan(size_t n, uint32_t mask)
{
    ts_error err = {0};
    uint32_t *src = malloc((n + 1) * 4), *got = malloc((n + 1) * 4), seed = 7 + (uint32_t)n;
    for (size_t i = 0; i < n; ++i)
        src[i] = next_random(&seed) & mask;
    ts_buffer *from = buffer_of(src, n), *to = buffer_of(src, n), *scratch = NULL;
    CHECK_OK(ts_buffer_create(device, TS_SCAN_SCRATCH_BYTES, &scratch, &err));
    for (int in_place = 0; in_place < 2; ++in_place) {
        ts_buffer *dst = in_place ? from : to;
        CHECK_OK(ts_scan_u32(queue, from, dst, n, scratch, &err));
        CHECK_OK(ts_buffer_read(queue, dst, 0, got, (n + 1) * 4, &err));
        uint64_t sum = 0;
        for (size_t i = 0; i <= n; ++i) {
            uint32_t want = sum > UINT32_MAX ? UINT32_MAX : (uint32_t)sum;
            if (got[i] != want)
                fail_msg("scan of %zu: [%zu] is %u, want %u", n, i, got[i], want);
            sum += i < n ? src[i] : 0;
        }
    }
    ts_buffer_unref(from);
    ts_buffer_unref(to);
    ts_buffer_unref(scratch);
    free(src);
    free(got);
}

static void scans_odd_sizes_in_and_out_of_place(void **state)
{
    static const size_t sizes[] = {0, 1, 2, 15, 16, 255, 256, 257, 1000, 32767, 32768, 100003};
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; ++i)
        check_scan(sizes[i], 1023);
}

static void saturates_instead_of_wrapping(void **state)
{
    (void)state;
    check_scan(5000, UINT32_MAX);
    check_scan(70000, UINT32_MAX);
}

static void check_sort(size_t n, size_t capacity, unsigned bits)
{
    ts_error err = {0};
    uint32_t mask = bits == 32 ? UINT32_MAX : (1u << bits) - 1, seed = 99 + (uint32_t)n;
    uint32_t *keys = malloc((capacity + 1) * 4), *values = malloc((capacity + 1) * 4);
    uint32_t *got_keys = malloc((capacity + 1) * 4), *got_values = malloc((capacity + 1) * 4);
    for (size_t i = 0; i < capacity; ++i) {
        keys[i] = next_random(&seed) & mask;
        values[i] = (uint32_t)i;
    }
    uint32_t count[3] = {0, 0, (uint32_t)n};
    ts_buffer *k = buffer_of(keys, capacity), *v = buffer_of(values, capacity);
    ts_buffer *c = buffer_of(count, 3);
    ts_sort *sort = NULL;
    CHECK_OK(ts_sort_create(device, capacity, &sort, &err));
    CHECK_OK(ts_sort_pairs(sort, queue, k, v, c, 2, bits, &err));
    CHECK_OK(ts_buffer_read(queue, k, 0, got_keys, capacity * 4, &err));
    CHECK_OK(ts_buffer_read(queue, v, 0, got_values, capacity * 4, &err));
    uint64_t seen = 0;
    for (size_t i = 0; i < n; ++i) {
        seen += got_values[i];
        if (got_values[i] >= n || keys[got_values[i]] != got_keys[i])
            fail_msg("sort of %zu: value %u does not belong to key %u", n, got_values[i],
                     got_keys[i]);
        if (i && (got_keys[i] < got_keys[i - 1] ||
                  (got_keys[i] == got_keys[i - 1] && got_values[i] <= got_values[i - 1])))
            fail_msg("sort of %zu, %u bits: not in stable order at %zu", n, bits, i);
    }
    assert_true(n == 0 || seen == (uint64_t)n * (n - 1) / 2);
    ts_sort_destroy(sort);
    ts_buffer_unref(k);
    ts_buffer_unref(v);
    ts_buffer_unref(c);
    free(keys);
    free(values);
    free(got_keys);
    free(got_values);
}

static void sorts_odd_sizes_stably(void **state)
{
    static const size_t sizes[] = {0, 1, 2, 7, 255, 2047, 2048, 2049, 10007, 60001};
    static const unsigned bits[] = {1, 5, 8, 13, 16, 24, 32};
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; ++i)
        for (size_t j = 0; j < sizeof bits / sizeof bits[0]; ++j)
            check_sort(sizes[i], sizes[i] + 100, bits[j]);
}

static void moves_nothing_when_there_are_more_than_fit(void **state)
{
    ts_error err = {0};
    uint32_t keys[4] = {3, 2, 1, 0}, values[4] = {0, 1, 2, 3}, count = 5, got[4];
    (void)state;
    ts_buffer *k = buffer_of(keys, 4), *v = buffer_of(values, 4), *c = buffer_of(&count, 1);
    ts_sort *sort = NULL;
    CHECK_OK(ts_sort_create(device, 4, &sort, &err));
    CHECK_OK(ts_sort_pairs(sort, queue, k, v, c, 0, 16, &err)); /* an even number of passes */
    CHECK_OK(ts_buffer_read(queue, k, 0, got, sizeof got, &err));
    assert_memory_equal(got, keys, sizeof got);
    ts_sort_destroy(sort);
    ts_buffer_unref(k);
    ts_buffer_unref(v);
    ts_buffer_unref(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scans_odd_sizes_in_and_out_of_place),
        cmocka_unit_test(saturates_instead_of_wrapping),
        cmocka_unit_test(sorts_odd_sizes_stably),
        cmocka_unit_test(moves_nothing_when_there_are_more_than_fit),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
