#include "cl/tensor/ingest.h"
#include "cl/tensor/npy.h"
#include "cl/tensor/st_header.h"
#include "tests/ref/ref_layout.h"
#include "tests/support/check.h"
#include "tests/support/devfix.h"

typedef struct fixture {
    ts_device *device;
    ts_queue *queue;
    ts_uploader *uploader;
} fixture;

static int set_up(void **state)
{
    static fixture f;
    ts_error err = {0};
    ts_devfix_open(&f.device, &f.queue);
    CHECK_OK(ts_uploader_create(f.device, &f.uploader, &err));
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    ts_device_stats stats;
    ts_device_get_stats(f->device, &stats);
    assert_int_equal(stats.used_bytes, 0); /* whatever failed gave its memory back */
    ts_uploader_destroy(f->uploader);
    ts_devfix_close(f->device, f->queue);
    return 0;
}

static void fill(uint8_t *data, size_t n)
{
    uint32_t x = 12345;
    for (size_t i = 0; i < n; i++) {
        x = x * 1664525 + 1013904223;
        data[i] = (uint8_t)(x >> 24);
    }
}

/* Append in pieces of growing odd sizes. */
static ts_status append_pieces(ts_ingest *in, const uint8_t *data, size_t n, ts_error *err)
{
    size_t piece = 1;
    for (size_t at = 0; at < n;) {
        size_t len = n - at < piece ? n - at : piece;
        ts_status st = ts_ingest_append(in, data + at, len, err);
        if (st != TS_OK)
            return st;
        at += len;
        piece = piece * 3 / 2 + 1;
    }
    return TS_OK;
}

static ts_status ingest(fixture *f, ts_ingest_options o, const uint8_t *data, size_t n,
                        bool declared, ts_named_tensor **out, size_t *count, ts_error *err)
{
    o.uploader = f->uploader;
    o.length = declared ? (int64_t)n : -1;
    ts_ingest *in = NULL;
    ts_status st = ts_ingest_open(&o, &in, err);
    if (st == TS_OK)
        st = append_pieces(in, data, n, err);
    if (st == TS_OK)
        st = ts_ingest_finish(in, f->queue, out, count, err);
    ts_ingest_destroy(in);
    return st;
}

static void check_tensor(fixture *f, const ts_tensor *t, ts_dtype dtype, const ts_shape *shape,
                         const uint8_t *want)
{
    ts_error err = {0};
    assert_int_equal(ts_tensor_dtype(t), dtype);
    assert_true(ts_shape_equal(ts_tensor_shape(t), shape));
    size_t n = ts_tensor_nbytes(t);
    uint8_t *got = malloc(n + 1);
    CHECK_OK(ts_tensor_read(f->queue, t, got, &err));
    assert_memory_equal(got, want, n);
    free(got);
}

static void raw_bodies_arrive_in_pieces(void **state)
{
    fixture *f = *state;
    ts_error err = {0};
    static uint8_t data[3000000];
    fill(data, sizeof data);
    static const struct {
        ts_dtype dtype;
        ts_shape shape;
        size_t bytes;
    } cases[] = {{TS_U8, {1, {3000000}}, 3000000},
                 {TS_F32, {2, {37, 53}}, 37 * 53 * 4},
                 {TS_F64, {0}, 8},
                 {TS_I16, {2, {5, 0}}, 0},
                 {TS_U8, {1, {1}}, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int declared = 0; declared < 2; declared++) {
            ts_ingest_options o = {.kind = TS_INGEST_RAW,
                                   .layout = {.dtype = cases[i].dtype, .shape = cases[i].shape}};
            ts_named_tensor *list;
            size_t n;
            CHECK_OK(ingest(f, o, data, cases[i].bytes, declared, &list, &n, &err));
            assert_int_equal(n, 1);
            check_tensor(f, list->tensor, cases[i].dtype, &cases[i].shape, data);
            ts_named_tensors_free(list, n);
            CHECK_STATUS(TS_E_SIZE,
                         ingest(f, o, data, cases[i].bytes + 1, declared, &list, &n, &err));
            if (cases[i].bytes)
                CHECK_STATUS(TS_E_SIZE,
                             ingest(f, o, data, cases[i].bytes - 1, declared, &list, &n, &err));
        }
}

static void strided_transposed_and_swapped_layouts_become_c_order(void **state)
{
    fixture *f = *state;
    ts_error err = {0};
    static uint8_t data[200000], want[200000];
    fill(data, sizeof data);
    static const struct {
        ts_dtype dtype;
        int rank;
        int64_t dim[4], stride[4];
        size_t offset;
        bool big;
    } cases[] = {{TS_F32, 2, {37, 53}, {244, 4}, 16, false},
                 {TS_F32, 2, {37, 53}, {4, 148}, 0, true},
                 {TS_U8, 3, {5, 7, 11}, {1, 5, 35}, 3, false},
                 {TS_U16, 2, {9, 13}, {27, 2}, 1, true},
                 {TS_F64, 1, {31}, {9}, 5, true},
                 {TS_I64, 2, {1, 4}, {800, 8}, 2, false},
                 {TS_F16, 4, {2, 3, 4, 5}, {2, 4, 12, 48}, 0, false},
                 {TS_F32, 1, {16384}, {4}, 0, true},
                 {TS_F32, 2, {3, 0}, {8, 4}, 0, true},
                 {TS_F32, 2, {2, 3}, {12, 4}, 7, false} /* plain behind an offset */};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ts_layout l = {.dtype = cases[i].dtype,
                       .offset = cases[i].offset,
                       .has_strides = true,
                       .big_endian = cases[i].big};
        l.shape.rank = cases[i].rank;
        memcpy(l.shape.dim, cases[i].dim, sizeof cases[i].dim);
        memcpy(l.strides, cases[i].stride, sizeof cases[i].stride);
        uint64_t min, max;
        size_t nbytes;
        CHECK_OK(ts_layout_check(&l, &min, &max, &nbytes, &err));
        ref_layout_gather(data, want, cases[i].rank, cases[i].dim, cases[i].stride, cases[i].offset,
                          ts_dtype_bytes(l.dtype), cases[i].big);
        uint64_t sizes[] = {min, max};
        for (int k = 0; k < 2; k++) {
            ts_named_tensor *list;
            size_t n;
            ts_ingest_options o = {.kind = TS_INGEST_RAW, .layout = l};
            CHECK_OK(ingest(f, o, data, sizes[k], k == 0, &list, &n, &err));
            check_tensor(f, list->tensor, l.dtype, &l.shape, want);
            ts_named_tensors_free(list, n);
            CHECK_STATUS(TS_E_SIZE, ingest(f, o, data, max + 1, k == 0, &list, &n, &err));
        }
    }
}

static void absurd_layouts_are_refused(void **state)
{
    (void)state;
    ts_error err = {0};
    uint64_t min, max;
    size_t n;
    ts_layout l = {.dtype = TS_F32, .shape = TS_SHAPE(4, 4), .has_strides = true};
    CHECK_STATUS(TS_E_OPTION, ts_layout_check(&l, &min, &max, &n, &err));
    l.strides[0] = -16;
    l.strides[1] = 4;
    CHECK_STATUS(TS_E_OPTION, ts_layout_check(&l, &min, &max, &n, &err));
    l.strides[0] = INT64_MAX;
    CHECK_STATUS(TS_E_SIZE, ts_layout_check(&l, &min, &max, &n, &err));
    l.strides[0] = 16;
    l.offset = UINT64_MAX - 3;
    CHECK_STATUS(TS_E_SIZE, ts_layout_check(&l, &min, &max, &n, &err));
    l.offset = INT64_MAX;
    CHECK_STATUS(TS_E_SIZE, ts_layout_check(&l, &min, &max, &n, &err));
}

static void npy_bodies_of_both_orders_and_byte_orders(void **state)
{
    fixture *f = *state;
    ts_error err = {0};
    for (int kind = 0; kind < 4; kind++) {
        uint8_t data[37 * 53 * 4], want[sizeof data];
        fill(data, sizeof data);
        bool fortran = kind & 1, big = kind & 2;
        ts_buf file = {0};
        ts_npy_write_header(&file, TS_F32, &TS_SHAPE(37, 53));
        char *p = strstr((char *)file.data + 10, "'<f4'"), *q = strstr(p, "False");
        if (big)
            p[1] = '>';
        if (fortran)
            memcpy(q, "True ", 5);
        ts_buf_append(&file, data, sizeof data);
        int64_t c[] = {53 * 4, 4}, t[] = {4, 37 * 4}, dim[] = {37, 53};
        ref_layout_gather(data, want, 2, dim, fortran ? t : c, 0, 4, big);
        for (int declared = 0; declared < 2; declared++) {
            ts_named_tensor *list;
            size_t n;
            ts_ingest_options o = {.kind = TS_INGEST_NPY};
            CHECK_OK(ingest(f, o, file.data, file.len, declared, &list, &n, &err));
            check_tensor(f, list->tensor, TS_F32, &TS_SHAPE(37, 53), want);
            ts_named_tensors_free(list, n);
            CHECK_STATUS(TS_E_SIZE,
                         ingest(f, o, file.data, file.len - 1, declared, &list, &n, &err));
            CHECK_STATUS(TS_E_HEADER, ingest(f, o, file.data, 50, declared, &list, &n, &err));
            CHECK_STATUS(TS_E_HEADER, ingest(f, o, file.data, 0, declared, &list, &n, &err));
            o.max_bytes = sizeof data - 1;
            CHECK_STATUS(TS_E_TOO_LARGE,
                         ingest(f, o, file.data, file.len, declared, &list, &n, &err));
        }
        ts_buf_finish(&file);
    }
}

static void npy_of_u16_may_be_bfloat16(void **state)
{
    fixture *f = *state;
    ts_error err = {0};
    ts_buf file = {0};
    ts_npy_write_header(&file, TS_BF16, &TS_SHAPE(2));
    ts_buf_append(&file, "\x80\x3f\0\x40", 4);
    ts_named_tensor *list;
    size_t n;
    CHECK_OK(ingest(f, (ts_ingest_options){.kind = TS_INGEST_NPY, .as_bf16 = true}, file.data,
                    file.len, true, &list, &n, &err));
    check_tensor(f, list->tensor, TS_BF16, &TS_SHAPE(2), (const uint8_t *)"\x80\x3f\0\x40");
    ts_named_tensors_free(list, n);
    ts_buf_finish(&file);
}

static void make_safetensors(ts_buf *file, uint8_t data[40])
{
    ts_error err = {0};
    ts_st_entry entries[] = {{.name = "a", .dtype = TS_I64, .shape = TS_SHAPE(3)},
                             {.name = "empty", .dtype = TS_F32, .shape = TS_SHAPE(0, 2)},
                             {.name = "b", .dtype = TS_F32, .shape = TS_SHAPE(2, 2)},
                             {.name = "last", .dtype = TS_U8, .shape = TS_SHAPE(0)}};
    fill(data, 40);
    CHECK_OK(ts_st_header_write(file, entries, 4, NULL, &err));
    ts_buf_append(file, data, 40);
}

static void safetensors_bodies_give_all_or_one(void **state)
{
    fixture *f = *state;
    ts_error err = {0};
    ts_buf file = {0};
    uint8_t data[40];
    make_safetensors(&file, data);
    for (int declared = 0; declared < 2; declared++) {
        ts_named_tensor *list;
        size_t n;
        ts_ingest_options o = {.kind = TS_INGEST_SAFETENSORS, .prefix = "m."};
        CHECK_OK(ingest(f, o, file.data, file.len, declared, &list, &n, &err));
        assert_int_equal(n, 4);
        for (size_t i = 0; i < n; i++) {
            if (strcmp(list[i].name, "m.a") == 0)
                check_tensor(f, list[i].tensor, TS_I64, &TS_SHAPE(3), data);
            else if (strcmp(list[i].name, "m.b") == 0)
                check_tensor(f, list[i].tensor, TS_F32, &TS_SHAPE(2, 2), data + 24);
            else
                assert_int_equal(ts_tensor_nbytes(list[i].tensor), 0);
        }
        ts_named_tensors_free(list, n);
        CHECK_STATUS(TS_E_SIZE, ingest(f, o, file.data, file.len - 1, declared, &list, &n, &err));
        CHECK_STATUS(TS_E_SIZE, ingest(f, o, file.data, file.len - 20, declared, &list, &n, &err));
        ts_buf_append(&file, "x", 1);
        CHECK_STATUS(TS_E_SIZE, ingest(f, o, file.data, file.len, declared, &list, &n, &err));
        file.len--;
        o.prefix = "no/";
        CHECK_STATUS(TS_E_NAME, ingest(f, o, file.data, file.len, declared, &list, &n, &err));
        o = (ts_ingest_options){.kind = TS_INGEST_SAFETENSORS, .pick = "b"};
        CHECK_OK(ingest(f, o, file.data, file.len, declared, &list, &n, &err));
        assert_int_equal(n, 1);
        check_tensor(f, list->tensor, TS_F32, &TS_SHAPE(2, 2), data + 24);
        ts_named_tensors_free(list, n);
        o.pick = "c";
        CHECK_STATUS(TS_E_NOT_FOUND, ingest(f, o, file.data, file.len, declared, &list, &n, &err));
    }
    ts_buf_finish(&file);
}

static void regions_are_written_in_place(void **state)
{
    fixture *f = *state;
    ts_error err = {0};
    static uint8_t data[7 * 9 * 11 * 8], patch[sizeof data];
    static const ts_dtype dtypes[] = {TS_U8, TS_BF16, TS_F32, TS_F64};
    static const int64_t dim[] = {7, 9, 11};
    static const struct {
        int64_t at[3], size[3];
    } regions[] = {{{0, 0, 0}, {7, 9, 11}}, {{6, 8, 10}, {1, 1, 1}}, {{1, 2, 3}, {4, 5, 6}},
                   {{2, 0, 0}, {3, 9, 11}}, {{0, 3, 0}, {7, 1, 11}}, {{3, 9, 0}, {2, 0, 11}}};
    for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++)
        for (size_t r = 0; r < sizeof regions / sizeof *regions; r++) {
            size_t width = ts_dtype_bytes(dtypes[d]), total = 7 * 9 * 11 * width, n;
            fill(data, total);
            ts_tensor *t;
            CHECK_OK(ts_tensor_from_host(f->queue, dtypes[d], &TS_SHAPE(7, 9, 11), data, total, &t,
                                         &err));
            ts_shape at = {.rank = 3}, size = {.rank = 3};
            memcpy(at.dim, regions[r].at, sizeof regions[r].at);
            memcpy(size.dim, regions[r].size, sizeof regions[r].size);
            CHECK_OK(ts_region_check(t, &at, &size, &n, &err));
            memset(patch, 0xa5, n);
            ts_buffer *buffer;
            CHECK_OK(ts_buffer_create(f->device, n, &buffer, &err));
            CHECK_OK(ts_buffer_write(f->queue, buffer, 0, patch, n, &err));
            CHECK_OK(ts_region_write(f->queue, buffer, t, &at, &size, &err));
            ref_layout_scatter(patch, data, 3, dim, regions[r].at, regions[r].size, width);
            check_tensor(f, t, dtypes[d], &TS_SHAPE(7, 9, 11), data);
            ts_buffer_unref(buffer);
            ts_tensor_unref(t);
        }
    ts_tensor *t;
    size_t n;
    CHECK_OK(ts_tensor_create(f->device, TS_U8, &TS_SHAPE(4, 4), &t, &err));
    CHECK_STATUS(TS_E_RANGE, ts_region_check(t, &TS_SHAPE(0), &TS_SHAPE(4), &n, &err));
    CHECK_STATUS(TS_E_RANGE, ts_region_check(t, &TS_SHAPE(1, 0), &TS_SHAPE(4, 4), &n, &err));
    CHECK_STATUS(TS_E_RANGE, ts_region_check(t, &TS_SHAPE(5, 0), &TS_SHAPE(0, 4), &n, &err));
    CHECK_STATUS(TS_E_RANGE,
                 ts_region_check(t, &TS_SHAPE(1, INT64_MAX), &TS_SHAPE(1, INT64_MAX), &n, &err));
    ts_tensor_unref(t);
}

static void uploads_over_the_budget_are_refused_before_data(void **state)
{
    (void)state;
    ts_error err = {0};
    size_t index;
    fixture small;
    CHECK_OK(ts_device_select("auto", &index, &err));
    CHECK_OK(ts_device_open(index, &(ts_device_options){.memory_budget_bytes = 1 << 20},
                            &small.device, &err));
    CHECK_OK(ts_queue_create(small.device, "test", &small.queue, &err));
    CHECK_OK(ts_uploader_create(small.device, &small.uploader, &err));
    ts_named_tensor *list;
    size_t n;
    ts_ingest_options o = {.kind = TS_INGEST_RAW,
                           .layout = {.dtype = TS_U8, .shape = TS_SHAPE(2 << 20)}};
    CHECK_STATUS(TS_E_DEVICE_MEMORY, ingest(&small, o, NULL, 0, false, &list, &n, &err));
    ts_buf file = {0};
    ts_st_entry entries[] = {{.name = "a", .dtype = TS_U8, .shape = TS_SHAPE(700000)},
                             {.name = "b", .dtype = TS_U8, .shape = TS_SHAPE(700000)}};
    CHECK_OK(ts_st_header_write(&file, entries, 2, NULL, &err));
    CHECK_STATUS(TS_E_DEVICE_MEMORY,
                 ingest(&small, (ts_ingest_options){.kind = TS_INGEST_SAFETENSORS}, file.data,
                        file.len, false, &list, &n, &err));
    ts_buf_finish(&file);
    void *state2 = &small;
    tear_down(&state2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(raw_bodies_arrive_in_pieces),
        cmocka_unit_test(strided_transposed_and_swapped_layouts_become_c_order),
        cmocka_unit_test(absurd_layouts_are_refused),
        cmocka_unit_test(npy_bodies_of_both_orders_and_byte_orders),
        cmocka_unit_test(npy_of_u16_may_be_bfloat16),
        cmocka_unit_test(safetensors_bodies_give_all_or_one),
        cmocka_unit_test(regions_are_written_in_place),
        cmocka_unit_test(uploads_over_the_budget_are_refused_before_data),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
