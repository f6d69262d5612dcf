/* The safetensors reader: what it reads, and every kind of malformed header. */
#include "cl/tensor/safetensors.h"
#include "tests/support/check.h"

static size_t make(uint8_t *out, const char *header, size_t data_bytes)
{
    uint64_t n = strlen(header);
    for (int i = 0; i < 8; i++)
        out[i] = (uint8_t)(n >> 8 * i);
    memcpy(out + 8, header, n);
    for (size_t i = 0; i < data_bytes; i++)
        out[8 + n + i] = (uint8_t)i;
    return 8 + (size_t)n + data_bytes;
}

static void tensors_are_found_and_widened(void **state)
{
    (void)state;
    ts_error err = {0};
    uint8_t buf[1024];
    size_t len = make(buf,
                      "{\"__metadata__\":{\"a\":\"b\"},"
                      "\"w\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[4,8]},"
                      "\"b\":{\"dtype\":\"I8\",\"shape\":[2,2],\"data_offsets\":[0,4]}}",
                      8);
    uint16_t bf[2] = {0x3fc0, 0xc000}; /* 1.5, -2 */
    memcpy(buf + len - 4, bf, 4);
    buf[len - 8] = 0x80;
    ts_safetensors file;
    CHECK_OK(ts_safetensors_parse(buf, len, &file, &err));
    assert_int_equal(file.n, 2);
    const ts_st_tensor *w = ts_safetensors_find(&file, "w"), *b = ts_safetensors_find(&file, "b");
    assert_non_null(w);
    assert_non_null(b);
    assert_null(ts_safetensors_find(&file, "x"));
    float v[4];
    ts_st_tensor_to_f32(w, v);
    assert_true(v[0] == 1.5f && v[1] == -2.0f);
    ts_st_tensor_to_f32(b, v);
    assert_true(v[0] == -128.0f && v[3] == 3.0f);
    assert_string_equal(json_string_value(json_object_get(ts_safetensors_metadata(&file), "a")),
                        "b");
    ts_safetensors_finish(&file);
}

static void malformed_headers_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "[]",
        "{\"w\":",
        "{\"w\":1}",
        "{\"w\":{\"dtype\":\"F31\",\"shape\":[1],\"data_offsets\":[0,4]}}",
        "{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,40]}}",
        "{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}",
        "{\"w\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}",
        "{\"w\":{\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,4]}}",
        "{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}",
        "{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}",
        "{\"w\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}",
        "{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
        "\"v\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[2,6]}}",
        "{\"__metadata__\":3}",
    };
    ts_error err = {0};
    uint8_t buf[1024];
    ts_safetensors file;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        size_t len = make(buf, bad[i], 8);
        CHECK_STATUS(TS_E_FILE, ts_safetensors_parse(buf, len, &file, &err));
    }
    size_t len = make(buf, "{}", 0);
    for (size_t n = 0; n < len; n++)
        CHECK_STATUS(TS_E_FILE, ts_safetensors_parse(buf, n, &file, &err));
    memset(buf, 0xff, 8);
    CHECK_STATUS(TS_E_FILE, ts_safetensors_parse(buf, sizeof buf, &file, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_are_found_and_widened),
        cmocka_unit_test(malformed_headers_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
