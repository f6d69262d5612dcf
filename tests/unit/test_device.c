#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cl/base/fs.h"
#include "cl/device/device.h"
#include "cl/device/fault.h"
#include "tests/support/check.h"

static ts_device *open_device(const ts_device_options *options)
{
    ts_error err = {0};
    size_t index;
    ts_device *device;
    CHECK_OK(ts_device_select("auto", &index, &err));
    CHECK_OK(ts_device_open(index, options, &device, &err));
    return device;
}

static ts_queue *make_queue(ts_device *device, const char *name)
{
    ts_error err = {0};
    ts_queue *q;
    CHECK_OK(ts_queue_create(device, name, &q, &err));
    return q;
}

static void lists_and_selects_devices(void **state)
{
    (void)state;
    ts_error err = {0};
    ts_caps *caps;
    size_t n, index;
    CHECK_OK(ts_device_list(&caps, &n, &err));
    assert_true(n >= 1);
    CHECK_OK(ts_device_select(NULL, &index, &err));
    assert_true(index < n);
    assert_true(caps[index].compute_units > 0 && caps[index].max_alloc_bytes > 0);
    char part[8] = {0};
    memcpy(part, caps[index].name, 4);
    for (char *p = part; *p; p++)
        if (*p >= 'a' && *p <= 'z')
            *p = (char)(*p - 32);
    size_t same;
    CHECK_OK(ts_device_select(part, &same, &err));
    CHECK_STATUS(TS_E_NOT_FOUND, ts_device_select("no such device", &same, &err));
    CHECK_STATUS(TS_E_NOT_FOUND, ts_device_select("999", &same, &err));
    free(caps);
}

static void copies_fills_and_maps(void **state)
{
    (void)state;
    ts_error err = {0};
    ts_device *device = open_device(NULL);
    ts_queue *q = make_queue(device, "test");
    ts_buffer *a, *b;
    CHECK_OK(ts_buffer_create(device, 1000, &a, &err));
    CHECK_OK(ts_buffer_create(device, 1000, &b, &err));
    uint8_t in[1000], out[1000];
    for (int i = 0; i < 1000; i++)
        in[i] = (uint8_t)(i * 7);
    CHECK_OK(ts_buffer_write(q, a, 0, in, 1000, &err));
    CHECK_OK(ts_buffer_copy(q, a, 100, b, 4, 896, &err));
    CHECK_OK(ts_buffer_fill_u32(q, b, 0, 0x04030201, 4, &err));
    CHECK_OK(ts_buffer_read(q, b, 0, out, 900, &err));
    assert_memory_equal(out + 4, in + 100, 896);
    assert_memory_equal(out, "\1\2\3\4", 4);
    void *mapped;
    CHECK_OK(ts_buffer_map(q, a, 10, 20, TS_MAP_READ | TS_MAP_WRITE, &mapped, &err));
    assert_memory_equal(mapped, in + 10, 20);
    memset(mapped, 9, 20);
    ts_buffer_unmap(q, a, mapped);
    CHECK_OK(ts_buffer_read(q, a, 0, out, 1000, &err));
    assert_int_equal(out[9], in[9]);
    assert_int_equal(out[10], 9);
    assert_int_equal(out[29], 9);
    assert_int_equal(out[30], in[30]);
    CHECK_STATUS(TS_E_RANGE, ts_buffer_read(q, a, 999, out, 2, &err));
    CHECK_STATUS(TS_E_RANGE, ts_buffer_write(q, a, SIZE_MAX, in, 2, &err));
    CHECK_STATUS(TS_E_RANGE, ts_buffer_fill_u32(q, a, 2, 0, 4, &err));
    ts_device_stats stats;
    ts_device_get_stats(device, &stats);
    assert_int_equal(stats.bytes_h2d, 1000 + 20);
    assert_int_equal(stats.bytes_d2h, 900 + 20 + 1000);
    ts_buffer_unref(a);
    ts_buffer_unref(b);
    ts_queue_destroy(q);
    ts_device_close(device);
}

static void pool_reuses_and_keeps_the_budget(void **state)
{
    (void)state;
    ts_error err = {0};
    ts_device *device = open_device(&(ts_device_options){.memory_budget_bytes = 1 << 20});
    ts_device_stats stats;
    ts_buffer *a, *b;
    CHECK_OK(ts_buffer_create(device, 5000, &a, &err));
    assert_true(ts_buffer_unique(a));
    ts_buffer_ref(a);
    assert_false(ts_buffer_unique(a));
    ts_buffer_unref(a);
    ts_buffer_unref(a);
    CHECK_OK(ts_buffer_create(device, 4990, &b, &err));
    ts_device_get_stats(device, &stats);
    assert_int_equal(stats.allocations, 1);
    assert_int_equal(stats.pool_hits, 1);
    assert_true(stats.used_bytes >= 4990 && stats.used_bytes <= 6400);
    assert_int_equal(stats.pooled_bytes, 0);
    CHECK_STATUS(TS_E_DEVICE_MEMORY, ts_buffer_create(device, 1 << 20, &a, &err));
    CHECK_STATUS(TS_E_DEVICE_MEMORY, ts_buffer_create(device, SIZE_MAX / 2, &a, &err));
    ts_buffer_unref(b);
    /* Only fits when what is pooled is given back. */
    CHECK_OK(ts_buffer_create(device, 1 << 20, &a, &err));
    ts_device_get_stats(device, &stats);
    assert_int_equal(stats.used_bytes, 1 << 20);
    assert_int_equal(stats.pooled_bytes, 0);
    ts_buffer_unref(a);
    CHECK_OK(ts_buffer_create(device, 0, &a, &err));
    ts_buffer_unref(a);
    ts_device_trim(device);
    ts_device_get_stats(device, &stats);
    assert_int_equal(stats.used_bytes + stats.pooled_bytes, 0);
    ts_device_close(device);
}

static void freed_buffer_in_use_is_not_given_to_another_thread(void **state)
{
    (void)state;
    ts_error err = {0};
    ts_device *device = open_device(NULL);
    ts_queue *q = make_queue(device, "one"), *other = make_queue(device, "two");
    ts_buffer *a, *b, *mine;
    CHECK_OK(ts_buffer_create(device, 4096, &a, &err));
    CHECK_OK(ts_buffer_create(device, 4096, &mine, &err));
    CHECK_OK(ts_buffer_fill_u32(q, a, 0, 1, 4096, &err));
    ts_buffer_unref(a);                                          /* the fill may still run */
    CHECK_OK(ts_buffer_fill_u32(other, mine, 0, 1, 4096, &err)); /* now "two" is this thread's */
    CHECK_OK(ts_buffer_create(device, 4096, &b, &err));
    assert_ptr_not_equal(a, b);
    CHECK_OK(ts_queue_finish(q, &err));
    ts_buffer *c;
    CHECK_OK(ts_buffer_create(device, 4096, &c, &err));
    assert_ptr_equal(a, c);
    /* The thread's own queue keeps its order, so it gets its buffer back at once. */
    CHECK_OK(ts_buffer_fill_u32(q, c, 0, 2, 4096, &err));
    ts_buffer_unref(c);
    CHECK_OK(ts_buffer_create(device, 4096, &a, &err));
    assert_ptr_equal(a, c);
    ts_buffer_unref(a);
    ts_buffer_unref(b);
    ts_buffer_unref(mine);
    ts_queue_destroy(q);
    ts_queue_destroy(other);
    ts_device_close(device);
}

static void run_axpy(ts_queue *q, size_t n)
{
    ts_error err = {0};
    ts_device *device = ts_queue_device(q);
    ts_buffer *x, *y, *out;
    ts_kernel *k;
    CHECK_OK(ts_queue_kernel(q, "elementwise", "", "elementwise_axpy", &k, &err));
    CHECK_OK(ts_buffer_create(device, n * 4, &x, &err));
    CHECK_OK(ts_buffer_create(device, n * 4, &y, &err));
    CHECK_OK(ts_buffer_create(device, n * 4, &out, &err));
    float *host = malloc(n * 4);
    for (size_t i = 0; i < n; i++)
        host[i] = (float)i;
    CHECK_OK(ts_buffer_write(q, x, 0, host, n * 4, &err));
    CHECK_OK(ts_buffer_fill_u32(q, y, 0, 0x3f800000, n * 4, &err));
    CHECK_OK(ts_launch(q, k, 1, (size_t[]){8}, NULL,
                       TS_ARGS(TS_BUF(x), TS_BUF(y), TS_BUF(out), TS_FLOAT(2), TS_ULONG(n)), &err));
    CHECK_OK(ts_buffer_read(q, out, 0, host, n * 4, &err));
    for (size_t i = 0; i < n; i++)
        assert_true(host[i] == 2 * (float)i + 1);
    free(host);
    ts_buffer_unref(x);
    ts_buffer_unref(y);
    ts_buffer_unref(out);
}

static void launches_kernels_with_checked_arguments(void **state)
{
    (void)state;
    ts_error err = {0};
    ts_device *device = open_device(&(ts_device_options){.profiling = true});
    ts_queue *q = make_queue(device, "test");
    run_axpy(q, 1);
    run_axpy(q, 1001);
    assert_true(ts_queue_take_device_us(q) > 0);
    assert_true(ts_queue_take_device_us(q) == 0);
    ts_kernel *k, *again;
    CHECK_OK(ts_queue_kernel(q, "elementwise", "", "elementwise_axpy", &k, &err));
    CHECK_OK(ts_queue_kernel(q, "elementwise", "", "elementwise_axpy", &again, &err));
    assert_ptr_equal(k, again);
    CHECK_STATUS(TS_E_INTERNAL, ts_launch(q, k, 1, (size_t[]){1}, NULL, TS_ARGS(TS_INT(1)), &err));
    CHECK_OK(ts_launch(q, k, 1, (size_t[]){0}, NULL,
                       TS_ARGS(TS_INT(1), TS_INT(1), TS_INT(1), TS_INT(1), TS_INT(1)), &err));
    CHECK_STATUS(TS_E_DEVICE, ts_queue_kernel(q, "elementwise", "", "no_such", &k, &err));
    CHECK_STATUS(TS_E_INTERNAL, ts_queue_kernel(q, "no_such", "", "no_such", &k, &err));
    ts_queue_destroy(q);
    ts_device_close(device);
}

static void write_text(const char *dir, const char *name, const char *text)
{
    ts_error err = {0};
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    CHECK_OK(ts_fs_write_atomic(path, text, strlen(text), &err));
}

static void build_errors_carry_the_log_and_the_line(void **state)
{
    (void)state;
    ts_error err = {0};
    char dir[] = "/tmp/ts-device-XXXXXX";
    assert_non_null(mkdtemp(dir));
    write_text(dir, "part.clh", "float part(float x)\n{\n    return x;\n}\n");
    write_text(dir, "bad.cl",
               "#include \"part.clh\"\n#include \"part.clh\"\nkernel void bad() {\n"
               "    no_such_name = 1;\n}\n");
    ts_device *device = open_device(&(ts_device_options){.kernel_dir = dir});
    ts_queue *q = make_queue(device, "test");
    ts_kernel *k;
    assert_int_equal(ts_queue_kernel(q, "bad", "", "bad", &k, &err), TS_E_INTERNAL);
    assert_non_null(err.detail);
    assert_non_null(strstr(err.detail, "no_such_name"));
    if (!ts_device_caps(device)->nvidia) /* its compiler does not honour #line */
        assert_non_null(strstr(err.detail, "bad.cl:4"));
    ts_error_clear(&err);
    write_text(dir, "bad.cl", "#include \"part.clh\"\nkernel void bad() {}\n");
    CHECK_OK(ts_queue_kernel(q, "bad", "", "bad", &k, &err));
    assert_false(ts_device_lost(device));
    ts_queue_destroy(q);
    ts_device_close(device);
    CHECK_OK(ts_fs_remove(dir, &err));
}

static void only_file_in(const char *dir, char *path, size_t n)
{
    char command[512];
    snprintf(command, sizeof command, "ls %s/cl-*.bin", dir);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    assert_non_null(fgets(path, (int)n, f));
    path[strcspn(path, "\n")] = '\0';
    char more[8];
    assert_null(fgets(more, sizeof more, f));
    pclose(f);
}

static void binaries_are_cached_and_corrupt_ones_rebuilt(void **state)
{
    (void)state;
    ts_error err = {0};
    char dir[] = "/tmp/ts-device-XXXXXX", path[512];
    assert_non_null(mkdtemp(dir));
    for (int round = 0; round < 4; round++) {
        ts_device *device = open_device(&(ts_device_options){.cache_dir = dir});
        ts_queue *q = make_queue(device, "test");
        run_axpy(q, 100);
        ts_queue_destroy(q);
        ts_device_close(device);
        only_file_in(dir, path, sizeof path);
        struct stat info;
        assert_int_equal(stat(path, &info), 0);
        assert_true(info.st_size > 100);
        if (round == 1) { /* one bit in the middle */
            ts_buf file = {0};
            CHECK_OK(ts_fs_read(path, 1 << 28, &file, &err));
            file.data[file.len / 2] ^= 1;
            CHECK_OK(ts_fs_write_atomic(path, file.data, file.len, &err));
            ts_buf_finish(&file);
        } else if (round == 2) {
            assert_int_equal(truncate(path, 60), 0);
        }
    }
    CHECK_OK(ts_fs_remove(dir, &err));
}

static void *build_in_thread(void *arg)
{
    run_axpy(arg, 50);
    return NULL;
}

static void threads_with_own_queues_share_programs(void **state)
{
    (void)state;
    ts_device *device = open_device(NULL);
    ts_queue *q[4];
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        q[i] = make_queue(device, "t");
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, build_in_thread, q[i]), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 4; i++)
        ts_queue_destroy(q[i]);
    ts_device_stats stats;
    ts_device_get_stats(device, &stats);
    assert_int_equal(stats.launches, 4);
    assert_int_equal(stats.used_bytes, 0);
    ts_device_close(device);
}

/* All of what a request does, as a chain that stops at the first failure. */
static ts_status whole_job(ts_device *device, ts_error *err)
{
    ts_queue *q = NULL;
    ts_buffer *a = NULL, *b = NULL;
    ts_kernel *k;
    float x[64] = {0};
    ts_status st = ts_queue_create(device, "job", &q, err);
    if (st == TS_OK)
        st = ts_buffer_create(device, sizeof x, &a, err);
    if (st == TS_OK)
        st = ts_buffer_create(device, 100000, &b, err);
    if (st == TS_OK)
        st = ts_buffer_write(q, a, 0, x, sizeof x, err);
    if (st == TS_OK)
        st = ts_queue_kernel(q, "elementwise", "", "elementwise_axpy", &k, err);
    if (st == TS_OK)
        st = ts_launch(q, k, 1, (size_t[]){2}, NULL,
                       TS_ARGS(TS_BUF(a), TS_BUF(a), TS_BUF(b), TS_FLOAT(1), TS_ULONG(64)), err);
    if (st == TS_OK)
        st = ts_buffer_copy(q, b, 0, a, 0, sizeof x, err);
    if (st == TS_OK)
        st = ts_buffer_read(q, a, 0, x, sizeof x, err);
    if (st == TS_OK)
        st = ts_queue_finish(q, err);
    ts_buffer_unref(a);
    ts_buffer_unref(b);
    ts_queue_destroy(q);
    return st;
}

static void every_failing_call_is_reported_and_leaks_nothing(void **state)
{
    (void)state;
    ts_error err = {0};
    ts_device *device = open_device(NULL);
    ts_device_stats stats;
    int failed = 0;
    for (int64_t n = 1;; n++) {
        ts_device_trim(device); /* so that allocations happen every time */
        ts_device_fail_after(n);
        ts_status st = whole_job(device, &err);
        int64_t calls = ts_device_fault_calls();
        ts_device_fail_after(0);
        if (st != TS_OK)
            assert_int_equal(st, TS_E_DEVICE_MEMORY);
        ts_error_clear(&err);
        ts_device_get_stats(device, &stats);
        assert_int_equal(stats.used_bytes, 0);
        assert_false(ts_device_lost(device));
        failed += st != TS_OK;
        if (calls < n)
            break; /* past the last call */
        assert_true(n < 100);
    }
    assert_true(failed >= 7);
    CHECK_OK(whole_job(device, &err));
    ts_device_close(device);
}

static void failed_allocation_is_tried_once_more(void **state)
{
    (void)state;
    ts_error err = {0};
    ts_device *device = open_device(NULL);
    ts_buffer *a;
    CHECK_OK(ts_device_faults("clCreateBuffer@1:CL_OUT_OF_RESOURCES", 0, &err));
    CHECK_OK(ts_buffer_create(device, 100, &a, &err));
    ts_buffer_unref(a);
    ts_device_trim(device);
    CHECK_OK(ts_device_faults("clCreateBuffer@*1:CL_MEM_OBJECT_ALLOCATION_FAILURE", 1, &err));
    CHECK_STATUS(TS_E_DEVICE_MEMORY, ts_buffer_create(device, 100, &a, &err));
    CHECK_OK(ts_device_faults(NULL, 0, &err));
    CHECK_STATUS(TS_E_OPTION, ts_device_faults("clFinish:3", 0, &err));
    CHECK_STATUS(TS_E_OPTION, ts_device_faults("clFinish@0:CL_OUT_OF_RESOURCES", 0, &err));
    CHECK_STATUS(TS_E_OPTION, ts_device_faults("clFinish@1:NO_SUCH", 0, &err));
    ts_device_close(device);
}

static void lost_device_fails_every_call(void **state)
{
    (void)state;
    ts_error err = {0};
    ts_device *device = open_device(NULL);
    ts_queue *q = make_queue(device, "test");
    ts_buffer *a;
    CHECK_OK(ts_buffer_create(device, 100, &a, &err));
    /* Out of resources at a wait is no loss while the device still answers. */
    CHECK_OK(ts_device_faults("clFinish@1:CL_OUT_OF_RESOURCES", 0, &err));
    CHECK_STATUS(TS_E_DEVICE_MEMORY, ts_queue_finish(q, &err));
    assert_false(ts_device_lost(device));
    CHECK_OK(ts_device_faults("clFinish@1:CL_DEVICE_NOT_AVAILABLE", 0, &err));
    CHECK_STATUS(TS_E_DEVICE, ts_queue_finish(q, &err));
    CHECK_OK(ts_device_faults(NULL, 0, &err));
    assert_true(ts_device_lost(device));
    ts_buffer *b;
    CHECK_STATUS(TS_E_DEVICE, ts_buffer_create(device, 100, &b, &err));
    CHECK_STATUS(TS_E_DEVICE, ts_buffer_write(q, a, 0, "x", 1, &err));
    CHECK_STATUS(TS_E_DEVICE, ts_queue_finish(q, &err));
    ts_buffer_unref(a);
    ts_queue_destroy(q);
    ts_device_close(device);
}

static void lost_device_is_opened_again(void **state)
{
    (void)state;
    ts_error err = {0};
    ts_device *device = open_device(NULL);
    ts_queue *q = make_queue(device, "test");
    ts_buffer *old, *fresh;
    ts_kernel *stale, *k;
    void *mapped;
    uint8_t byte = 7;
    CHECK_OK(ts_buffer_create(device, 100, &old, &err));
    CHECK_OK(ts_queue_kernel(q, "elementwise", "", "elementwise_axpy", &stale, &err));
    CHECK_OK(ts_buffer_map(q, old, 0, 100, TS_MAP_WRITE, &mapped, &err));
    CHECK_OK(ts_device_recover(device, &err)); /* nothing to do */
    ts_device_mark_lost(device);
    CHECK_STATUS(TS_E_DEVICE, ts_queue_finish(q, &err));
    CHECK_OK(ts_device_faults("clCreateContext@1:CL_DEVICE_NOT_AVAILABLE", 0, &err));
    CHECK_STATUS(TS_E_DEVICE, ts_device_recover(device, &err));
    assert_true(ts_device_lost(device));
    CHECK_OK(ts_device_faults("clFinish@*1:CL_DEVICE_NOT_AVAILABLE,"
                              "clEnqueueReadBuffer@1:CL_DEVICE_NOT_AVAILABLE",
                              0, &err));
    CHECK_STATUS(TS_E_DEVICE, ts_device_recover(device, &err)); /* fails its check */
    assert_true(ts_device_lost(device));
    CHECK_OK(ts_device_faults(NULL, 0, &err));
    CHECK_OK(ts_device_recover(device, &err));
    assert_false(ts_device_lost(device));
    ts_buffer_unmap(q, old, mapped);
    CHECK_STATUS(TS_E_GONE, ts_buffer_read(q, old, 0, &byte, 1, &err));
    CHECK_STATUS(TS_E_GONE, ts_buffer_write(q, old, 0, &byte, 1, &err));
    CHECK_OK(ts_buffer_create(device, 100, &fresh, &err));
    CHECK_STATUS(TS_E_GONE, ts_buffer_copy(q, old, 0, fresh, 0, 1, &err));
    CHECK_STATUS(TS_E_DEVICE, ts_launch(q, stale, 1, (size_t[]){1}, NULL,
                                        TS_ARGS(TS_BUF(fresh), TS_BUF(fresh), TS_BUF(fresh),
                                                TS_FLOAT(1), TS_ULONG(1)),
                                        &err));
    CHECK_OK(ts_queue_kernel(q, "elementwise", "", "elementwise_axpy", &k, &err));
    CHECK_STATUS(TS_E_GONE, ts_launch(q, k, 1, (size_t[]){1}, NULL,
                                      TS_ARGS(TS_BUF(fresh), TS_BUF(old), TS_BUF(fresh),
                                              TS_FLOAT(1), TS_ULONG(1)),
                                      &err));
    assert_false(ts_device_lost(device));
    ts_buffer_unref(old);
    run_axpy(q, 33);
    ts_buffer_unref(fresh);
    assert_int_equal(ts_device_stalled_us(device), 0);
    ts_device_stats stats;
    ts_device_get_stats(device, &stats);
    assert_int_equal(stats.used_bytes, 0);
    ts_queue_destroy(q);
    ts_device_close(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_and_selects_devices),
        cmocka_unit_test(copies_fills_and_maps),
        cmocka_unit_test(pool_reuses_and_keeps_the_budget),
        cmocka_unit_test(freed_buffer_in_use_is_not_given_to_another_thread),
        cmocka_unit_test(launches_kernels_with_checked_arguments),
        cmocka_unit_test(build_errors_carry_the_log_and_the_line),
        cmocka_unit_test(binaries_are_cached_and_corrupt_ones_rebuilt),
        cmocka_unit_test(threads_with_own_queues_share_programs),
        cmocka_unit_test(every_failing_call_is_reported_and_leaks_nothing),
        cmocka_unit_test(failed_allocation_is_tried_once_more),
        cmocka_unit_test(lost_device_fails_every_call),
        cmocka_unit_test(lost_device_is_opened_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
