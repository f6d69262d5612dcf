#include <unistd.h>

#include "cl/base/chan.h"
#include "cl/base/fs.h"
#include "cl/base/hash.h"
#include "cl/base/json.h"
#include "cl/base/name.h"
#include "cl/base/size.h"
#include "cl/base/thread.h"
#include "tests/support/check.h"

static void first_error_wins(void **state)
{
    (void)state;
    ts_error err = {0};
    assert_int_equal(ts_fail(&err, TS_E_SHAPE, "got %d", 3), TS_E_SHAPE);
    assert_int_equal(ts_fail(&err, TS_E_NAME, "later"), TS_E_NAME);
    assert_string_equal(err.text, "got 3");
    ts_error_prefix(&err, "w1");
    assert_string_equal(err.text, "w1: got 3");
    assert_string_equal(ts_status_code(err.status), "shape-mismatch");
    assert_int_equal(ts_status_http(err.status), 422);
    ts_error_clear(&err);
    assert_int_equal(ts_fail(NULL, TS_E_NAME, "no one listens"), TS_E_NAME);
}

static void names_are_checked(void **state)
{
    (void)state;
    char name[140];
    memset(name, 'a', sizeof name);
    name[128] = 0;
    assert_true(ts_name_valid(name));
    name[128] = 'a', name[129] = 0;
    assert_false(ts_name_valid(name));
    static const char *const bad[] = {"", ".a", "-a", "a/b", "..", "a b", "\xc3\xa4", "a%2e"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(ts_name_valid(bad[i]));
    assert_true(ts_name_valid("demo.layer-1_w"));
}

static void json_names_the_path_and_the_nearest_key(void **state)
{
    (void)state;
    ts_error err = {0};
    json_t *doc = NULL;
    static const char text[] = "{\"lo\":\"x\",\"colormpa\":1}";
    CHECK_OK(ts_json_parse(text, sizeof text - 1, &doc, &err));
    double lo = 0;
    assert_int_equal(ts_json_get_double(doc, "view", "lo", -1, 1, &lo, &err), TS_E_OPTION);
    assert_string_equal(err.text, "view.lo: expected a number, got a string");
    ts_error_clear(&err);
    static const char *const keys[] = {"lo", "colormap", NULL};
    assert_int_equal(ts_json_only(doc, "view", keys, &err), TS_E_OPTION);
    assert_string_equal(err.text, "view.colormpa: unknown key, did you mean 'colormap'?");
    ts_error_clear(&err);
    json_decref(doc);
    char deep[400];
    memset(deep, '[', sizeof deep);
    CHECK_STATUS(TS_E_JSON, ts_json_parse(deep, sizeof deep, &doc, &err));
    CHECK_STATUS(TS_E_JSON, ts_json_parse("{\"a\":1,\"a\":2}", 13, &doc, &err));
    CHECK_STATUS(TS_E_JSON, ts_json_parse("\"\xff\"", 3, &doc, &err));
}

static void merge_patch_follows_rfc_7396(void **state)
{
    (void)state;
    json_t *target = json_pack("{s:i,s:{s:i,s:i}}", "a", 1, "b", "c", 2, "d", 3);
    json_t *patch = json_pack("{s:n,s:{s:i,s:n}}", "a", "b", "c", 5, "d");
    json_t *got = ts_json_merge_patch(target, patch);
    json_t *want = json_pack("{s:{s:i}}", "b", "c", 5);
    assert_true(json_equal(got, want));
    json_decref(target), json_decref(patch), json_decref(got), json_decref(want);
}

static int dropped;
static void count_drop(void *item)
{
    (void)item;
    dropped++;
}

static void keeps_newest_when_full(void **state)
{
    (void)state;
    ts_error err = {0};
    ts_chan *chan;
    int v[3];
    dropped = 0;
    CHECK_OK(ts_chan_create(2, TS_CHAN_DROP_OLDEST, count_drop, &chan, &err));
    for (int i = 0; i < 3; i++)
        assert_true(ts_chan_send(chan, &v[i]));
    assert_int_equal(dropped, 1);
    assert_ptr_equal(ts_chan_recv(chan), &v[1]);
    ts_chan_close(chan);
    assert_false(ts_chan_send(chan, &v[0]));
    assert_ptr_equal(ts_chan_recv(chan), &v[2]);
    assert_null(ts_chan_recv(chan));
    ts_chan_destroy(chan);
}

static void produce(void *arg)
{
    static int values[1000];
    for (int i = 0; i < 1000; i++)
        ts_chan_send(arg, &values[i]);
    ts_chan_close(arg);
}

static void blocking_channel_loses_nothing(void **state)
{
    (void)state;
    ts_error err = {0};
    ts_chan *chan;
    ts_thread *thread;
    CHECK_OK(ts_chan_create(3, TS_CHAN_BLOCK, NULL, &chan, &err));
    CHECK_OK(ts_thread_start("produce", produce, chan, &thread, &err));
    int n = 0;
    while (ts_chan_recv(chan))
        n++;
    assert_int_equal(n, 1000);
    ts_thread_join(thread);
    ts_chan_destroy(chan);
}

static void atomic_write_replaces_the_whole_file(void **state)
{
    (void)state;
    ts_error err = {0};
    char dir[] = "/tmp/ts-fs-XXXXXX", path[64];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/sub/file", dir);
    char sub[64];
    snprintf(sub, sizeof sub, "%s/sub", dir);
    CHECK_OK(ts_fs_mkdirs(sub, &err));
    CHECK_OK(ts_fs_write_atomic(path, "one", 3, &err));
    CHECK_OK(ts_fs_write_atomic(path, "second", 6, &err));
    ts_buf buf = {0};
    CHECK_OK(ts_fs_read(path, 100, &buf, &err));
    assert_int_equal(buf.len, 6);
    assert_memory_equal(buf.data, "second", 6);
    ts_buf_finish(&buf);
    CHECK_STATUS(TS_E_TOO_LARGE, ts_fs_read(path, 5, &buf, &err));
    ts_buf_finish(&buf);
    CHECK_OK(ts_fs_remove(dir, &err));
    CHECK_STATUS(TS_E_NOT_FOUND, ts_fs_read(path, 5, &buf, &err));
    ts_buf_finish(&buf);
}

static void sizes_do_not_overflow(void **state)
{
    (void)state;
    size_t out;
    assert_false(ts_mul_size(SIZE_MAX, 2, &out));
    assert_false(ts_add_size(SIZE_MAX, 1, &out));
    assert_true(ts_mul_size(3, 5, &out) && out == 15);
}

static void destroyers_accept_null(void **state)
{
    (void)state;
    ts_buf_finish(NULL);
    ts_chan_destroy(NULL);
    ts_thread_join(NULL);
    ts_error_clear(NULL);
    ts_fs_map_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_error_wins),
        cmocka_unit_test(names_are_checked),
        cmocka_unit_test(json_names_the_path_and_the_nearest_key),
        cmocka_unit_test(merge_patch_follows_rfc_7396),
        cmocka_unit_test(keeps_newest_when_full),
        cmocka_unit_test(blocking_channel_loses_nothing),
        cmocka_unit_test(atomic_write_replaces_the_whole_file),
        cmocka_unit_test(sizes_do_not_overflow),
        cmocka_unit_test(destroyers_accept_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
