#include <pthread.h>
#include <stdatomic.h>

#include "cl/tensor/store.h"
#include "cl/tensor/tensor.h"
#include "tests/support/check.h"
#include "tests/support/devfix.h"

typedef struct fixture {
    ts_device *device;
    ts_queue *queue;
} fixture;

static int set_up(void **state)
{
    static fixture f;
    ts_devfix_open(&f.device, &f.queue);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    ts_device_stats stats;
    ts_device_get_stats(f->device, &stats);
    assert_int_equal(stats.used_bytes, 0);
    ts_devfix_close(f->device, f->queue);
    return 0;
}

static void dtypes_have_names_and_widths(void **state)
{
    (void)state;
    static const char *const names[] = {"bool", "u8",  "i8",  "u16",  "i16", "u32", "i32",
                                        "u64",  "i64", "f16", "bf16", "f32", "f64"};
    static const size_t bytes[] = {1, 1, 1, 2, 2, 4, 4, 8, 8, 2, 2, 4, 8};
    for (int i = 0; i < TS_DTYPE_COUNT; i++) {
        ts_dtype d;
        assert_true(ts_dtype_parse(names[i], &d));
        assert_int_equal(d, i);
        assert_int_equal(ts_dtype_bytes(d), bytes[i]);
        assert_true(ts_dtype_parse_safetensors(ts_dtype_safetensors(d), &d) && (int)d == i);
        assert_true(ts_dtype_parse_oip(ts_dtype_oip(d), &d) && (int)d == i);
    }
    ts_dtype d;
    assert_false(ts_dtype_parse("F32", &d));
    assert_false(ts_dtype_parse("", &d));
    assert_false(ts_dtype_parse_safetensors("F8_E4M3", &d));
    assert_true(ts_dtype_is_signed(TS_F16) && !ts_dtype_is_signed(TS_U64));
}

/* The value of binary16 bits by the definition of the format. */
static double f16_value(unsigned bits)
{
    double sign = bits & 0x8000 ? -1 : 1;
    int exponent = (bits >> 10) & 31;
    double mantissa = bits & 0x3ff;
    if (exponent == 31)
        return mantissa > 0 ? NAN : sign * INFINITY;
    return sign * (exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24));
}

static void half_floats_convert_exactly_and_round_to_even(void **state)
{
    (void)state;
    for (unsigned bits = 0; bits < 65536; bits++) {
        float value = ts_f16_to_f32((uint16_t)bits);
        double want = f16_value(bits);
        assert_true(isnan(want) ? isnan(value) : (double)value == want);
        assert_int_equal(signbit(value) != 0, bits >> 15);
        uint16_t back = ts_f32_to_f16(value);
        if (isnan(want))
            assert_true(isnan(f16_value(back)));
        else
            assert_int_equal(back, bits);
        float wide = ts_bf16_to_f32((uint16_t)bits);
        if (!isnan(wide))
            assert_int_equal(ts_f32_to_bf16(wide), bits);
        else
            assert_true(isnan(ts_bf16_to_f32(ts_f32_to_bf16(wide))));
        if (bits >= 0x7bff && bits < 0x8000)
            continue;
        /* Halfway to the next value goes to the even one, a hair more or less to the nearer. */
        if (bits < 0x7bff) {
            float next = ts_f16_to_f32((uint16_t)(bits + 1)), middle = (value + next) / 2;
            assert_int_equal(ts_f32_to_f16(middle), bits + (bits & 1));
            assert_int_equal(ts_f32_to_f16(nextafterf(middle, 0)), bits);
            assert_int_equal(ts_f32_to_f16(nextafterf(middle, INFINITY)), bits + 1);
        }
    }
    assert_int_equal(ts_f32_to_f16(65519.996f), 0x7bff);
    assert_int_equal(ts_f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(ts_f32_to_f16(-1e30f), 0xfc00);
    assert_int_equal(ts_f32_to_f16(0x1p-26f), 0);
    assert_int_equal(ts_f32_to_bf16(1.00390625f), 0x3f80); /* 1 + 2^-8: to even */
    assert_int_equal(ts_f32_to_bf16(1.01171875f), 0x3f82);
    assert_int_equal(ts_f32_to_bf16(3.4e38f), 0x7f80);
}

static void shapes_parse_and_are_checked(void **state)
{
    (void)state;
    ts_error err = {0};
    ts_shape s;
    size_t n;
    char text[256];
    CHECK_OK(ts_shape_parse("64,128", &s, &err));
    assert_true(ts_shape_equal(&s, &TS_SHAPE(64, 128)));
    assert_string_equal(ts_shape_text(&s, text, sizeof text), "[64,128]");
    assert_int_equal(ts_shape_elements(&s), 8192);
    CHECK_OK(ts_shape_parse("", &s, &err));
    assert_int_equal(s.rank, 0);
    assert_int_equal(ts_shape_elements(&s), 1);
    static const char *const bad[] = {",",    "1,", ",1",  "1,,2", "-1",
                                      "1 ,2", "a",  "1.5", "0x4",  "1,2,3,4,5,6,7,8,9"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_STATUS(TS_E_OPTION, ts_shape_parse(bad[i], &s, &err));
    CHECK_OK(ts_shape_parse("99999999999999999999999999", &s, &err));
    CHECK_STATUS(TS_E_SIZE, ts_shape_check(&s, TS_U8, &n, &err));
    CHECK_OK(ts_shape_check(&TS_SHAPE(2147483647, 0, 2147483647, 2147483647), TS_F64, &n, &err));
    assert_int_equal(n, 0);
    CHECK_OK(ts_shape_check(&TS_SHAPE(65536, 32768), TS_F64, &n, &err));
    assert_int_equal(n, UINT64_C(1) << 34);
    CHECK_STATUS(TS_E_TOO_LARGE, ts_shape_check(&TS_SHAPE(65536, 32769), TS_U8, &n, &err));
    CHECK_STATUS(TS_E_SIZE,
                 ts_shape_check(&TS_SHAPE(2147483647, 2147483647, 2147483647), TS_U8, &n, &err));
    CHECK_STATUS(TS_E_SIZE, ts_shape_check(&TS_SHAPE(INT64_C(1) << 62, 4), TS_U8, &n, &err));
    CHECK_STATUS(TS_E_SIZE, ts_shape_check(&TS_SHAPE(-1), TS_U8, &n, &err));
    CHECK_STATUS(TS_E_SIZE, ts_shape_check(&(ts_shape){.rank = 9}, TS_U8, &n, &err));
}

static ts_tensor *make(fixture *f, float first)
{
    ts_error err = {0};
    ts_tensor *t;
    float data[4] = {first, 1, 2, 3};
    CHECK_OK(ts_tensor_from_host(f->queue, TS_F32, &TS_SHAPE(2, 2), data, sizeof data, &t, &err));
    return t;
}

static void tensors_hold_data_and_wrap_buffers(void **state)
{
    fixture *f = *state;
    ts_error err = {0};
    ts_tensor *t = make(f, 7), *part, *empty;
    float back[4];
    CHECK_OK(ts_tensor_read(f->queue, t, back, &err));
    assert_true(back[0] == 7 && back[3] == 3);
    assert_true(ts_tensor_unique(t));
    CHECK_OK(ts_tensor_wrap(ts_tensor_buffer(t), 8, TS_F32, &TS_SHAPE(2), &part, &err));
    assert_false(ts_tensor_unique(t));
    CHECK_OK(ts_tensor_read(f->queue, part, back, &err));
    assert_true(back[0] == 2 && back[1] == 3);
    ts_tensor *no;
    CHECK_STATUS(TS_E_SIZE,
                 ts_tensor_wrap(ts_tensor_buffer(t), 12, TS_F32, &TS_SHAPE(2), &no, &err));
    CHECK_STATUS(TS_E_SIZE,
                 ts_tensor_from_host(f->queue, TS_F32, &TS_SHAPE(3), back, 16, &no, &err));
    CHECK_OK(ts_tensor_from_host(f->queue, TS_F64, &TS_SHAPE(3, 0), NULL, 0, &empty, &err));
    CHECK_OK(ts_tensor_read(f->queue, empty, NULL, &err));
    ts_tensor_unref(empty);
    ts_tensor_unref(part);
    ts_tensor_unref(t);
    ts_tensor_unref(NULL);
}

typedef struct seen {
    int n;
    ts_store_change change[16];
    char name[16][16];
    uint64_t version[16];
} seen;

static void note(void *arg, ts_store_change change, const ts_entry *entry)
{
    seen *s = arg;
    s->change[s->n] = change;
    snprintf(s->name[s->n], sizeof s->name[0], "%.15s", entry->name);
    s->version[s->n++] = entry->version;
}

static void store_publishes_versions_and_tells_the_observer(void **state)
{
    fixture *f = *state;
    ts_error err = {0};
    ts_store *store;
    seen s = {0};
    CHECK_OK(ts_store_create(2, &store, &err));
    ts_store_observe(store, note, &s);
    ts_tensor *a = make(f, 1), *b = make(f, 2);
    bool created;
    ts_entry e;
    CHECK_OK(ts_store_publish(store, "w", a, NULL, &created, &e, &err));
    assert_true(created && e.version == 1 && e.step == 0 && e.t > 1.6e9 && e.tensor == a);
    ts_entry_finish(&e);
    json_t *tags = json_pack("{s:i}", "lr", 1);
    CHECK_OK(ts_store_publish(
        store, "w", b,
        &(ts_publish_options){
            .has_step = true, .step = 40, .has_t = true, .t = 5, .run = "r", .tags = tags},
        &created, NULL, &err));
    assert_false(created);
    json_decref(tags);
    CHECK_OK(ts_store_publish(store, "w", a, NULL, &created, &e, &err));
    assert_true(e.version == 3 && e.step == 41);
    assert_string_equal(e.run, "r");
    assert_int_equal(json_integer_value(json_object_get(e.tags, "lr")), 1);
    ts_entry_finish(&e);
    uint64_t want = 2;
    CHECK_STATUS(TS_E_VERSION,
                 ts_store_publish(store, "w", b, &(ts_publish_options){.if_version = &want}, NULL,
                                  NULL, &err));
    CHECK_STATUS(TS_E_VERSION,
                 ts_store_publish(store, "w", b, &(ts_publish_options){.if_absent = true}, NULL,
                                  NULL, &err));
    CHECK_STATUS(TS_E_VERSION,
                 ts_store_publish(store, "x", b, &(ts_publish_options){.if_exists = true}, NULL,
                                  NULL, &err));
    CHECK_STATUS(TS_E_NAME, ts_store_publish(store, "a/b", b, NULL, NULL, NULL, &err));
    CHECK_OK(ts_store_publish(store, "v", b, NULL, NULL, NULL, &err));
    CHECK_STATUS(TS_E_LIMIT, ts_store_publish(store, "x", b, NULL, NULL, NULL, &err));
    CHECK_STATUS(TS_E_NOT_FOUND, ts_store_get(store, "x", &e, &err));
    CHECK_STATUS(TS_E_VERSION, ts_store_remove_version(store, "w", &want, &err));
    CHECK_OK(ts_store_remove(store, "w", &err));
    CHECK_STATUS(TS_E_NOT_FOUND, ts_store_remove(store, "w", &err));
    assert_int_equal(ts_store_count(store), 1);
    static const ts_store_change changes[] = {TS_STORE_CREATED, TS_STORE_UPDATED, TS_STORE_UPDATED,
                                              TS_STORE_CREATED, TS_STORE_DELETED};
    assert_int_equal(s.n, 5);
    for (int i = 0; i < 5; i++)
        assert_int_equal(s.change[i], changes[i]);
    assert_string_equal(s.name[3], "v");
    ts_store_destroy(store);
    ts_tensor_unref(a);
    ts_tensor_unref(b);
}

static void store_publishes_all_or_none_and_lists_sorted(void **state)
{
    fixture *f = *state;
    ts_error err = {0};
    ts_store *store;
    CHECK_OK(ts_store_create(3, &store, &err));
    ts_tensor *t = make(f, 1);
    ts_tensor *both[] = {t, t, t};
    CHECK_OK(ts_store_publish(store, "g.z", t, NULL, NULL, NULL, &err));
    CHECK_STATUS(TS_E_LIMIT, ts_store_publish_all(store, 3, (const char *const[]){"a", "b", "c"},
                                                  both, NULL, NULL, &err));
    CHECK_STATUS(TS_E_NAME, ts_store_publish_all(store, 2, (const char *const[]){"a", "?"}, both,
                                                 NULL, NULL, &err));
    assert_int_equal(ts_store_count(store), 1);
    ts_entry entries[2];
    CHECK_OK(ts_store_publish_all(store, 2, (const char *const[]){"g.z", "g.a"}, both,
                                  &(ts_publish_options){.run = "r1"}, entries, &err));
    assert_true(entries[0].version == 2 && entries[1].version == 1);
    ts_entry_finish(&entries[0]);
    ts_entry_finish(&entries[1]);
    CHECK_OK(ts_store_publish(store, "h", t, NULL, NULL, NULL, &err));
    ts_entry *list;
    size_t n;
    CHECK_OK(ts_store_list(store, "g.", NULL, &list, &n, &err));
    assert_int_equal(n, 2);
    assert_string_equal(list[0].name, "g.a");
    assert_string_equal(list[1].name, "g.z");
    ts_entries_free(list, n);
    CHECK_OK(ts_store_list(store, NULL, "r1", &list, &n, &err));
    assert_int_equal(n, 2);
    ts_entries_free(list, n);
    CHECK_OK(ts_store_list(store, "no", NULL, &list, &n, &err));
    assert_int_equal(n, 0);
    ts_entries_free(list, n);
    ts_store_destroy(store);
    ts_tensor_unref(t);
}

static void edit_is_exclusive_only_where_nobody_else_reads(void **state)
{
    fixture *f = *state;
    ts_error err = {0};
    ts_store *store;
    CHECK_OK(ts_store_create(8, &store, &err));
    ts_tensor *t = make(f, 1);
    CHECK_OK(ts_store_publish(store, "w", t, NULL, NULL, NULL, &err));
    ts_entry e, out;
    bool exclusive;
    CHECK_OK(ts_store_edit_begin(store, "w", NULL, &e, &exclusive, &err));
    assert_false(exclusive); /* t is ours too */
    ts_entry other;
    CHECK_OK(ts_store_get(store, "w", &other, &err)); /* so readers pass */
    ts_entry_finish(&other);
    CHECK_OK(ts_store_edit_end(store, &e, NULL, NULL, NULL, &err));
    ts_tensor_unref(t);
    CHECK_OK(ts_store_edit_begin(store, "w", NULL, &e, &exclusive, &err));
    assert_true(exclusive);
    ts_tensor *again;
    CHECK_OK(ts_tensor_wrap(ts_tensor_buffer(e.tensor), 0, TS_F32, &TS_SHAPE(2, 2), &again, &err));
    CHECK_OK(ts_store_edit_end(store, &e, again, NULL, &out, &err));
    assert_int_equal(out.version, 2);
    ts_entry_finish(&out);
    ts_tensor_unref(again);
    uint64_t want = 7;
    CHECK_STATUS(TS_E_VERSION,
                 ts_store_edit_begin(store, "w", &(ts_publish_options){.if_version = &want}, &e,
                                     &exclusive, &err));
    CHECK_STATUS(TS_E_NOT_FOUND, ts_store_edit_begin(store, "x", NULL, &e, &exclusive, &err));
    ts_store_destroy(store);
}

typedef struct editor {
    ts_store *store;
    int rounds;
    atomic_int inside;
    atomic_bool overlapped;
} editor;

static void *edit_often(void *arg)
{
    editor *ed = arg;
    ts_error err = {0};
    for (int i = 0; i < ed->rounds; i++) {
        ts_entry e;
        bool exclusive;
        if (ts_store_edit_begin(ed->store, "w", NULL, &e, &exclusive, &err) != TS_OK)
            break;
        if (atomic_fetch_add(&ed->inside, 1) != 0)
            atomic_store(&ed->overlapped, true);
        atomic_fetch_sub(&ed->inside, 1);
        ts_tensor *t = ts_tensor_ref(e.tensor);
        if (ts_store_edit_end(ed->store, &e, t, NULL, NULL, &err) != TS_OK)
            break;
        ts_tensor_unref(t);
        ts_entry r;
        if (ts_store_get(ed->store, "w", &r, &err) == TS_OK)
            ts_entry_finish(&r);
    }
    return NULL;
}

static void edits_of_one_name_wait_for_each_other(void **state)
{
    fixture *f = *state;
    ts_error err = {0};
    editor ed = {.rounds = 300};
    CHECK_OK(ts_store_create(8, &ed.store, &err));
    ts_tensor *t = make(f, 1);
    CHECK_OK(ts_store_publish(ed.store, "w", t, NULL, NULL, NULL, &err));
    ts_tensor_unref(t);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, edit_often, &ed), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_false(atomic_load(&ed.overlapped));
    ts_entry e;
    CHECK_OK(ts_store_get(ed.store, "w", &e, &err));
    assert_int_equal(e.version, 1 + 4 * 300); /* no update was lost */
    ts_entry_finish(&e);
    ts_store_destroy(ed.store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dtypes_have_names_and_widths),
        cmocka_unit_test(half_floats_convert_exactly_and_round_to_even),
        cmocka_unit_test(shapes_parse_and_are_checked),
        cmocka_unit_test(tensors_hold_data_and_wrap_buffers),
        cmocka_unit_test(store_publishes_versions_and_tells_the_observer),
        cmocka_unit_test(store_publishes_all_or_none_and_lists_sorted),
        cmocka_unit_test(edit_is_exclusive_only_where_nobody_else_reads),
        cmocka_unit_test(edits_of_one_name_wait_for_each_other),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
