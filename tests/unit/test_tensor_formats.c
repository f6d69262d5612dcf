#include "cl/tensor/npy.h"
#include "cl/tensor/st_header.h"
#include "cl/tensor/tensor_json.h"
#include "tests/support/check.h"

/* ---- NumPy ---- */

/* A version 1 file with this dictionary, padded as NumPy does. */
static size_t npy_file(char *out, int version, const char *dictionary)
{
    size_t text = strlen(dictionary) + 1, start = version == 1 ? 10 : 12;
    memcpy(out, "\x93NUMPY", 6);
    out[6] = (char)version;
    out[7] = 0;
    out[8] = (char)text;
    out[9] = (char)(text >> 8);
    out[10] = out[11] = 0;
    memcpy(out + start, dictionary, text - 1);
    out[start + text - 1] = '\n';
    return start + text;
}

static void npy_headers_of_all_versions_parse(void **state)
{
    (void)state;
    ts_error err = {0};
    char file[512];
    ts_npy npy;
    for (int version = 1; version <= 3; version++) {
        size_t n = npy_file(file, version,
                            "{'descr': '>f4', 'fortran_order': True, 'shape': (37, 53), }   ");
        CHECK_OK(ts_npy_parse(file, n, &npy, &err));
        assert_true(npy.dtype == TS_F32 && npy.fortran && npy.big_endian && !npy.void2);
        assert_true(ts_shape_equal(&npy.shape, &TS_SHAPE(37, 53)));
        assert_int_equal(npy.nbytes, 37 * 53 * 4);
        assert_int_equal(npy.header_bytes, n);
        for (size_t cut = 0; cut < n; cut++) { /* asks for more until it has all */
            size_t need;
            CHECK_OK(ts_npy_need(file, cut, &need, &err));
            assert_true(need > cut);
            CHECK_STATUS(TS_E_HEADER, ts_npy_parse(file, cut, &npy, &err));
        }
    }
    size_t n = npy_file(file, 1, "{\"shape\":(),\"fortran_order\":False,'descr':'|b1'}");
    CHECK_OK(ts_npy_parse(file, n, &npy, &err));
    assert_true(npy.dtype == TS_BOOL && npy.shape.rank == 0 && npy.nbytes == 1);
    n = npy_file(file, 1, "{'descr': '<i8', 'fortran_order': False, 'shape': (3L,), }");
    CHECK_OK(ts_npy_parse(file, n, &npy, &err));
    assert_true(npy.dtype == TS_I64 && npy.shape.rank == 1 && npy.shape.dim[0] == 3);
    n = npy_file(file, 1, "{'descr': '=u1', 'fortran_order': False, 'shape': (0, 4)}");
    CHECK_OK(ts_npy_parse(file, n, &npy, &err));
    assert_int_equal(npy.nbytes, 0);
}

static void npy_headers_that_are_wrong_are_refused(void **state)
{
    (void)state;
    ts_error err = {0};
    char file[512];
    ts_npy npy;
    static const struct {
        ts_status want;
        const char *text;
    } cases[] = {
        {TS_E_HEADER, ""},
        {TS_E_HEADER, "{}"},
        {TS_E_HEADER, "{'descr': '<f4', 'fortran_order': False}"},
        {TS_E_HEADER, "{'descr': '<f4', 'fortran_order': False, 'shape': (3)}"},
        {TS_E_HEADER, "{'descr': '<f4', 'fortran_order': False, 'shape': (-3,)}"},
        {TS_E_HEADER, "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4}"},
        {TS_E_HEADER, "{'descr': '<f4', 'fortran_order': False, 'shape': [3]}"},
        {TS_E_HEADER, "{'descr': '<f4', 'fortran_order': 0, 'shape': (3,)}"},
        {TS_E_HEADER, "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), 'x': 1}"},
        {TS_E_HEADER, "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (3,)}"},
        {TS_E_HEADER, "{'descr': '<f4', 'fortran_order': False, 'shape': (3,)} exit()"},
        {TS_E_HEADER, "{'descr': __import__('os'), 'fortran_order': False, 'shape': (3,)}"},
        {TS_E_HEADER, "{'descr': '<f4' 'fortran_order': False, 'shape': (3,)}"},
        {TS_E_HEADER, "{'descr': '<f4"},
        {TS_E_DTYPE, "{'descr': '|O', 'fortran_order': False, 'shape': (3,)}"},
        {TS_E_DTYPE, "{'descr': '<c8', 'fortran_order': False, 'shape': (3,)}"},
        {TS_E_DTYPE, "{'descr': '<U4', 'fortran_order': False, 'shape': (3,)}"},
        {TS_E_DTYPE, "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3,)}"},
        {TS_E_DTYPE, "{'descr': '', 'fortran_order': False, 'shape': (3,)}"},
        {TS_E_SIZE, "{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1)}"},
        {TS_E_SIZE, "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4)}"},
        {TS_E_SIZE, "{'descr': '<f4', 'fortran_order': False, 'shape': (2147483647, 2147483647, "
                    "2147483647)}"},
        {TS_E_TOO_LARGE, "{'descr': '<f4', 'fortran_order': False, 'shape': (2147483647, 2)}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = npy_file(file, 1, cases[i].text);
        ts_status st = ts_npy_parse(file, n, &npy, &err);
        if (st != cases[i].want)
            fail_msg("%s: got %s", cases[i].text, ts_status_code(st));
        ts_error_clear(&err);
    }
    size_t n = npy_file(file, 4, "{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}"), need;
    CHECK_STATUS(TS_E_HEADER, ts_npy_parse(file, n, &npy, &err));
    CHECK_STATUS(TS_E_HEADER, ts_npy_need("PK\3\4", 4, &need, &err));
    CHECK_STATUS(TS_E_HEADER, ts_npy_need("\x93NUMPY\2\0\xff\xff\xff\xff", 12, &need, &err));
}

static void npy_headers_written_are_read(void **state)
{
    (void)state;
    ts_error err = {0};
    static const ts_shape shapes[] = {{0}, {1, {7}}, {2, {3, 0}}, {3, {2, 3, 4}}};
    for (int d = 0; d < TS_DTYPE_COUNT; d++)
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            ts_buf out = {0};
            ts_npy npy;
            ts_npy_write_header(&out, (ts_dtype)d, &shapes[i]);
            assert_int_equal(out.len % 64, 0);
            CHECK_OK(ts_npy_parse(out.data, out.len, &npy, &err));
            assert_int_equal(npy.dtype, d == TS_BF16 ? TS_U16 : d);
            assert_true(ts_shape_equal(&npy.shape, &shapes[i]) && !npy.fortran);
            assert_int_equal(npy.header_bytes, out.len);
            ts_buf_finish(&out);
        }
}

/* ---- safetensors ---- */

static size_t st_file(uint8_t *out, const char *json)
{
    size_t n = strlen(json);
    for (int i = 0; i < 8; i++)
        out[i] = (uint8_t)(n >> (8 * i));
    memcpy(out + 8, json, n);
    return 8 + n;
}

static void safetensors_headers_parse(void **state)
{
    (void)state;
    ts_error err = {0};
    uint8_t file[1024];
    size_t n = st_file(file, "{\"__metadata__\":{\"k\":\"v\\u00e9\"},"
                             "\"b\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[8,32]},"
                             "\"\\ud83d\\ude00/\\\"\":{\"data_offsets\":[0,8],\"dtype\":\"I64\","
                             "\"shape\":[]}, \"e\":{\"dtype\":\"U8\",\"shape\":[0],"
                             "\"data_offsets\":[8,8]}}   ");
    for (size_t cut = 0; cut < n; cut++) {
        size_t need;
        CHECK_OK(ts_st_header_need(file, cut, &need, &err));
        assert_true(need > cut);
    }
    ts_st_header st;
    CHECK_OK(ts_st_header_parse(file, n, n + 32, &st, &err));
    assert_int_equal(st.n, 3);
    assert_int_equal(st.data_bytes, 32);
    assert_int_equal(st.header_bytes, n);
    assert_string_equal(st.entries[0].name, "\xf0\x9f\x98\x80/\"");
    assert_string_equal(st.entries[1].name, "e");
    assert_true(st.entries[0].shape.rank == 0 && st.entries[0].nbytes == 8);
    const ts_st_entry *b = ts_st_header_find(&st, "b");
    assert_true(b && b->dtype == TS_F32 && b->offset == 8 && b->nbytes == 24);
    assert_null(ts_st_header_find(&st, "c"));
    assert_string_equal(json_string_value(json_object_get(st.metadata, "k")), "v\xc3\xa9");
    ts_st_header_finish(&st);
    CHECK_STATUS(TS_E_SIZE, ts_st_header_parse(file, n, n + 33, &st, &err));
    CHECK_STATUS(TS_E_SIZE, ts_st_header_parse(file, n, n + 31, &st, &err));
    CHECK_STATUS(TS_E_HEADER, ts_st_header_parse(file, n - 1, n - 1, &st, &err));
    n = st_file(file, "{}");
    CHECK_OK(ts_st_header_parse(file, n, n, &st, &err));
    assert_int_equal(st.n, 0);
    ts_st_header_finish(&st);
}

static void safetensors_headers_that_are_wrong_are_refused(void **state)
{
    (void)state;
    ts_error err = {0};
    ts_st_header st;
#define E(name, dtype, shape, a, b) \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" a "," b "]}"
    static const struct {
        ts_status want;
        const char *text;
    } cases[] = {
        {TS_E_HEADER, "[]"},
        {TS_E_HEADER, " {}"},
        {TS_E_HEADER, "{}x"},
        {TS_E_HEADER, "{\"a\":1}"},
        {TS_E_HEADER, "{\"a\":{}}"},
        {TS_E_HEADER, "{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}"},
        {TS_E_HEADER, "{" E("", "U8", "[1]", "0", "1") "}"},
        {TS_E_HEADER, "{" E("a", "U9", "[1]", "0", "1") "}"},
        {TS_E_HEADER, "{" E("a", "U8", "[1]", "1", "0") "}"},
        {TS_E_HEADER, "{" E("a", "U8", "[1]", "0", "2") "}"},
        {TS_E_HEADER, "{" E("a", "U8", "[1]", "1", "2") "}"},
        {TS_E_HEADER, "{" E("a", "U8", "[-1]", "0", "1") "}"},
        {TS_E_HEADER, "{" E("a", "U8", "[1.0]", "0", "1") "}"},
        {TS_E_HEADER, "{" E("a", "U8", "[01]", "0", "1") "}"},
        {TS_E_HEADER, "{" E("a", "U8", "[1,]", "0", "1") "}"},
        {TS_E_HEADER, "{" E("a", "U8", "[1]", "0", "99999999999999999999") "}"},
        {TS_E_HEADER, "{" E("a", "U8", "[1]", "0", "1") "," E("a", "U8", "[1]", "1", "2") "}"},
        {TS_E_HEADER, "{" E("a", "U8", "[2]", "0", "2") "," E("b", "U8", "[2]", "1", "3") "}"},
        {TS_E_HEADER, "{" E("a", "U8", "[2]", "0", "2") "," E("b", "U8", "[2]", "3", "5") "}"},
        {TS_E_HEADER, "{" E("a", "U8", "[1]", "0", "1") ",}"},
        {TS_E_HEADER, "{" E("a", "U8", "[1,1,1,1,1,1,1,1,1]", "0", "1") "}"},
        {TS_E_HEADER, "{" E("a", "U8", "[4611686018427387904,4]", "0", "1") "}"},
        {TS_E_SIZE, "{" E("a", "U8", "[2147483647,2147483647,2147483647]", "0", "1") "}"},
        {TS_E_TOO_LARGE, "{" E("a", "U8", "[2147483647,2]", "0", "1") "}"},
        {TS_E_HEADER, "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":1}}"},
        {TS_E_HEADER, "{\"__metadata__\":{\"a\":1}}"},
        {TS_E_HEADER, "{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}"},
        {TS_E_HEADER, "{\"\\ud800\":1}"},
        {TS_E_HEADER, "{\"\\u0000\":1}"},
        {TS_E_HEADER, "{\"\xff\":1}"},
        {TS_E_HEADER, "{\"\xc0\x80\":1}"},
        {TS_E_HEADER, "{\"a"},
        {TS_E_HEADER, "{[[[[[[[[[[[[[[[[["},
    };
#undef E
    uint8_t file[1024];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = st_file(file, cases[i].text);
        ts_status got = ts_st_header_parse(file, n, UINT64_MAX, &st, &err);
        if (got != cases[i].want)
            fail_msg("%s: got %s (%s)", cases[i].text, ts_status_code(got), err.text);
        ts_error_clear(&err);
    }
    size_t need;
    memset(file, 0xff, 8);
    CHECK_STATUS(TS_E_HEADER, ts_st_header_need(file, 8, &need, &err));
    memcpy(file, "\x01\xe1\xf5\x05\0\0\0\0", 8); /* 100 000 001 */
    CHECK_STATUS(TS_E_HEADER, ts_st_header_need(file, 8, &need, &err));
    memset(file, 0, 8);
    CHECK_STATUS(TS_E_HEADER, ts_st_header_need(file, 8, &need, &err));
}

static void safetensors_of_too_many_tensors_are_refused(void **state)
{
    (void)state;
    ts_error err = {0};
    ts_buf text = {0};
    ts_buf_append(&text, "\0\0\0\0\0\0\0\0{", 9);
    for (int i = 0; i <= TS_ST_MAX_ENTRIES; i++)
        ts_buf_printf(&text, "%s\"%d\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}",
                      i ? "," : "", i);
    ts_buf_str(&text, "}");
    for (int i = 0; i < 8; i++)
        text.data[i] = (uint8_t)((text.len - 8) >> (8 * i));
    ts_st_header st;
    CHECK_STATUS(TS_E_HEADER, ts_st_header_parse(text.data, text.len, text.len, &st, &err));
    ts_buf_finish(&text);
}

static void safetensors_headers_written_are_read(void **state)
{
    (void)state;
    ts_error err = {0};
    ts_buf out = {0};
    ts_st_entry entries[] = {{.name = "w\"1", .dtype = TS_BF16, .shape = TS_SHAPE(3, 5)},
                             {.name = "s", .dtype = TS_F64},
                             {.name = "e", .dtype = TS_BOOL, .shape = TS_SHAPE(0)}};
    json_t *metadata = json_pack("{s:s}", "format", "pt");
    CHECK_OK(ts_st_header_write(&out, entries, 3, metadata, &err));
    json_decref(metadata);
    assert_int_equal(out.len % 8, 0);
    ts_st_header st;
    CHECK_OK(ts_st_header_parse(out.data, out.len, out.len + 38, &st, &err));
    for (int i = 0; i < 3; i++) {
        const ts_st_entry *e = ts_st_header_find(&st, entries[i].name);
        assert_true(e && e->dtype == entries[i].dtype);
        assert_true(ts_shape_equal(&e->shape, &entries[i].shape));
    }
    assert_int_equal(ts_st_header_find(&st, "s")->offset, 30);
    assert_string_equal(json_string_value(json_object_get(st.metadata, "format")), "pt");
    ts_st_header_finish(&st);
    ts_buf_finish(&out);
}

/* ---- JSON ---- */

static ts_status collect(void *arg, const void *data, size_t len, ts_error *err)
{
    (void)err;
    ts_buf_append(arg, data, len);
    return TS_OK;
}

static ts_status read_json(const char *text, ts_tensor_json *doc, ts_buf *out, ts_error *err)
{
    ts_status st = ts_tensor_json_parse(text, strlen(text), doc, err);
    return st == TS_OK ? ts_tensor_json_convert(doc, collect, out, err) : st;
}

static void json_tensors_are_exact(void **state)
{
    (void)state;
    ts_error err = {0};
    ts_tensor_json doc;
    ts_buf out = {0};
    CHECK_OK(read_json("{\"data\": [[1, 18446744073709551615],[0,9007199254740993]],"
                       " \"shape\":[2,2], \"dtype\":\"u64\"}",
                       &doc, &out, &err));
    static const uint64_t u64[] = {1, UINT64_MAX, 0, UINT64_C(9007199254740993)};
    assert_int_equal(out.len, sizeof u64);
    assert_memory_equal(out.data, u64, sizeof u64);
    ts_buf_reset(&out);
    CHECK_OK(read_json("{\"dtype\":\"i64\",\"shape\":[3],\"data\":[-9223372036854775808,"
                       "9223372036854775807,-1]}",
                       &doc, &out, &err));
    static const int64_t i64[] = {INT64_MIN, INT64_MAX, -1};
    assert_memory_equal(out.data, i64, sizeof i64);
    ts_buf_reset(&out);
    CHECK_OK(read_json("{\"dtype\":\"f32\",\"shape\":[7],\"data\":[\"NaN\",\"Infinity\","
                       "\"-Infinity\",null,-0.0,1e-45,0.1]}",
                       &doc, &out, &err));
    float f[7];
    memcpy(f, out.data, sizeof f);
    assert_true(isnan(f[0]) && f[1] == INFINITY && f[2] == -INFINITY && isnan(f[3]));
    assert_true(f[4] == 0 && signbit(f[4]) && f[5] > 0 && f[6] == 0.1f);
    ts_buf_reset(&out);
    CHECK_OK(read_json("{\"dtype\":\"bool\",\"shape\":[4],\"data\":[true,false,0,2]}", &doc, &out,
                       &err));
    assert_memory_equal(out.data, "\1\0\0\1", 4);
    ts_buf_reset(&out);
    CHECK_OK(read_json("{\"dtype\":\"i8\",\"shape\":[],\"data\":-128}", &doc, &out, &err));
    assert_memory_equal(out.data, "\x80", 1);
    ts_buf_reset(&out);
    CHECK_OK(read_json("{\"dtype\":\"i16\",\"shape\":[2,0,3],\"data\":[[],[]]}", &doc, &out, &err));
    CHECK_OK(read_json("{\"dtype\":\"i16\",\"shape\":[2,0,3],\"data\":[]}", &doc, &out, &err));
    CHECK_OK(read_json("{\"dtype\":\"u8\",\"shape\":[1,2],\"data\":[3.0,1e1]}", &doc, &out, &err));
    assert_memory_equal(out.data, "\3\n", 2);
    ts_buf_finish(&out);
}

static void json_tensors_that_are_wrong_are_refused(void **state)
{
    (void)state;
    static const struct {
        ts_status want;
        const char *text;
    } cases[] = {
        {TS_E_JSON, ""},
        {TS_E_JSON, "[1,2]"},
        {TS_E_OPTION, "{\"dtype\":\"u8\",\"data\":[1]}"},
        {TS_E_OPTION, "{\"dtype\":\"u8\",\"shape\":[1],\"data\":[1],\"x\":1}"},
        {TS_E_JSON, "{\"dtype\":\"u8\",\"dtype\":\"u8\",\"shape\":[1],\"data\":[1]}"},
        {TS_E_DTYPE, "{\"dtype\":\"float\",\"shape\":[1],\"data\":[1]}"},
        {TS_E_OPTION, "{\"dtype\":3,\"shape\":[1],\"data\":[1]}"},
        {TS_E_OPTION, "{\"dtype\":\"u8\",\"shape\":1,\"data\":[1]}"},
        {TS_E_OPTION, "{\"dtype\":\"u8\",\"shape\":[1.5],\"data\":[1]}"},
        {TS_E_SIZE, "{\"dtype\":\"u8\",\"shape\":[-1],\"data\":[1]}"},
        {TS_E_SIZE, "{\"dtype\":\"u8\",\"shape\":[2],\"data\":[1]}"},
        {TS_E_SIZE, "{\"dtype\":\"u8\",\"shape\":[2],\"data\":[1,2,3]}"},
        {TS_E_SIZE, "{\"dtype\":\"u8\",\"shape\":[2,2],\"data\":[[1,2],[3]]}"},
        {TS_E_SIZE, "{\"dtype\":\"u8\",\"shape\":[2,2],\"data\":[[1,2,3],[4]]}"},
        {TS_E_SIZE, "{\"dtype\":\"u8\",\"shape\":[2,2],\"data\":[1,[2,3,4]]}"},
        {TS_E_SIZE, "{\"dtype\":\"u8\",\"shape\":[2,2],\"data\":[[1,2],3,4]}"},
        {TS_E_SIZE, "{\"dtype\":\"u8\",\"shape\":[4],\"data\":[[1,2],[3,4]]}"},
        {TS_E_SIZE, "{\"dtype\":\"u8\",\"shape\":[0],\"data\":[1]}"},
        {TS_E_JSON, "{\"dtype\":\"u8\",\"shape\":[1],\"data\":[256]}"},
        {TS_E_JSON, "{\"dtype\":\"u8\",\"shape\":[1],\"data\":[-1]}"},
        {TS_E_JSON, "{\"dtype\":\"i8\",\"shape\":[1],\"data\":[-129]}"},
        {TS_E_JSON, "{\"dtype\":\"u64\",\"shape\":[1],\"data\":[18446744073709551616]}"},
        {TS_E_JSON, "{\"dtype\":\"i64\",\"shape\":[1],\"data\":[9223372036854775808]}"},
        {TS_E_JSON, "{\"dtype\":\"i32\",\"shape\":[1],\"data\":[1.5]}"},
        {TS_E_JSON, "{\"dtype\":\"i32\",\"shape\":[1],\"data\":[\"NaN\"]}"},
        {TS_E_JSON, "{\"dtype\":\"i32\",\"shape\":[1],\"data\":[true]}"},
        {TS_E_JSON, "{\"dtype\":\"i32\",\"shape\":[1],\"data\":[null]}"},
        {TS_E_JSON, "{\"dtype\":\"f64\",\"shape\":[1],\"data\":[1e999]}"},
        {TS_E_JSON, "{\"dtype\":\"f32\",\"shape\":[1],\"data\":[1e39]}"},
        {TS_E_JSON, "{\"dtype\":\"f16\",\"shape\":[1],\"data\":[65520]}"},
        {TS_E_JSON, "{\"dtype\":\"f32\",\"shape\":[1],\"data\":[\"nan\"]}"},
        {TS_E_JSON, "{\"dtype\":\"f32\",\"shape\":[1],\"data\":[01]}"},
        {TS_E_JSON, "{\"dtype\":\"f32\",\"shape\":[1],\"data\":[.5]}"},
        {TS_E_JSON, "{\"dtype\":\"f32\",\"shape\":[1],\"data\":[+1]}"},
        {TS_E_JSON, "{\"dtype\":\"f32\",\"shape\":[1],\"data\":[0x1]}"},
        {TS_E_JSON, "{\"dtype\":\"f32\",\"shape\":[1],\"data\":[NaN]}"},
        {TS_E_JSON, "{\"dtype\":\"f32\",\"shape\":[2],\"data\":[1,]}"},
        {TS_E_JSON, "{\"dtype\":\"f32\",\"shape\":[2],\"data\":[1 2]}"},
        {TS_E_JSON, "{\"dtype\":\"f32\",\"shape\":[2],\"data\":[1,2}"},
        {TS_E_JSON, "{\"dtype\":\"f32\",\"shape\":[2],\"data\":[1,2]"},
        {TS_E_JSON, "{\"dtype\":\"f32\",\"shape\":[2],\"data\":[1,2]}]"},
        {TS_E_JSON, "{\"dtype\":\"f32\",\"shape\":[2],\"data\":\"ab\"}"},
        {TS_E_JSON, "{\"dtype\":\"f32\",\"shape\":[2],\"data\":{}}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ts_error err = {0};
        ts_tensor_json doc;
        ts_status st = ts_tensor_json_parse(cases[i].text, strlen(cases[i].text), &doc, &err);
        if (st != cases[i].want)
            fail_msg("%s: got %s (%s)", cases[i].text, ts_status_code(st), err.text);
        ts_error_clear(&err);
    }
    char deep[100001];
    memset(deep, '[', sizeof deep - 1);
    memcpy(deep, "{\"data\":", 8);
    deep[sizeof deep - 1] = '\0';
    ts_error err = {0};
    ts_tensor_json doc;
    CHECK_STATUS(TS_E_JSON, ts_tensor_json_parse(deep, sizeof deep - 1, &doc, &err));
    CHECK_STATUS(TS_E_JSON, ts_tensor_json_parse("{}\0", 3, &doc, &err));
}

/* Bits that are awkward in every type. */
static void fill_bits(uint8_t *data, size_t n, ts_dtype dtype)
{
    uint64_t x = 88172645463325252u;
    for (size_t i = 0; i < n; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        data[i] = dtype == TS_BOOL ? (uint8_t)(x & 1) : (uint8_t)(x >> 11);
    }
}

static void json_elements_written_are_read_back_to_the_same_bits(void **state)
{
    (void)state;
    enum {
        N = 4000
    };
    for (int d = 0; d < TS_DTYPE_COUNT; d++) {
        ts_error err = {0};
        ts_buf text = {0}, back = {0};
        uint8_t data[N * 8];
        size_t width = ts_dtype_bytes((ts_dtype)d);
        fill_bits(data, sizeof data, (ts_dtype)d);
        ts_buf_printf(&text, "{\"dtype\":\"%s\",\"shape\":[%d],\"data\":[",
                      ts_dtype_name((ts_dtype)d), N);
        ts_tensor_json_write_elements(&text, (ts_dtype)d, data, N);
        ts_buf_str(&text, "]}");
        ts_tensor_json doc;
        CHECK_OK(read_json(ts_buf_cstr(&text), &doc, &back, &err));
        assert_int_equal(back.len, N * width);
        for (size_t i = 0; i < N; i++) {
            const uint8_t *a = data + i * width, *b = back.data + i * width;
            if (memcmp(a, b, width) == 0)
                continue;
            /* A NaN comes back as NaN, its payload is not kept. */
            double value = 0;
            uint16_t half;
            float single;
            memcpy(&half, a, 2);
            memcpy(&single, a, width < 4 ? 2 : 4);
            if (d == TS_F16)
                value = ts_f16_to_f32(half);
            else if (d == TS_BF16)
                value = ts_bf16_to_f32(half);
            else if (d == TS_F32)
                value = single;
            else if (d == TS_F64)
                memcpy(&value, a, 8);
            if (!isnan(value))
                fail_msg("%s element %zu is not the same", ts_dtype_name((ts_dtype)d), i);
        }
        ts_buf_finish(&text);
        ts_buf_finish(&back);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(npy_headers_of_all_versions_parse),
        cmocka_unit_test(npy_headers_that_are_wrong_are_refused),
        cmocka_unit_test(npy_headers_written_are_read),
        cmocka_unit_test(safetensors_headers_parse),
        cmocka_unit_test(safetensors_headers_that_are_wrong_are_refused),
        cmocka_unit_test(safetensors_of_too_many_tensors_are_refused),
        cmocka_unit_test(safetensors_headers_written_are_read),
        cmocka_unit_test(json_tensors_are_exact),
        cmocka_unit_test(json_tensors_that_are_wrong_are_refused),
        cmocka_unit_test(json_elements_written_are_read_back_to_the_same_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
