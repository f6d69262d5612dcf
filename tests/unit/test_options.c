/* Options: sizes and times, precedence, bad values with the name of the flag, the file's lines. */
#include <unistd.h>

#include "server/options.h"
#include "tests/support/check.h"

static ts_error err;
static ts_options options;
static char *no_environment[] = {(char *)"HOME=/h", NULL};

static ts_status parse(char **environment, int argc, const char *const *argv)
{
    bool help = false;
    ts_error_clear(&err);
    return ts_options_parse(argc, (char **)(uintptr_t)argv, environment, &options, &help, &err);
}
#define PARSE(environment, ...)                                                        \
    parse(environment,                                                                 \
          (int)(sizeof((const char *const[]){"serve", __VA_ARGS__}) / sizeof(char *)), \
          (const char *const[]){"serve", __VA_ARGS__})

static void check_refused(ts_status st, const char *word)
{
    assert_int_equal(st, TS_E_OPTION);
    if (!strstr(err.text, word))
        fail_msg("\"%s\" does not name %s", err.text, word);
}

static void reads_sizes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t value;
    } good[] = {{"0", 0},          {"1", 1},        {"64M", 67108864},
                {"2k", 2048},      {"1.5K", 1536},  {"4G", 4294967296},
                {"1GiB", 1 << 30}, {"10KB", 10240}, {"1T", 1ull << 40}};
    uint64_t value;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_true(ts_parse_size(good[i].text, &value));
        assert_int_equal(value, good[i].value);
    }
    static const char *const bad[] = {"",    "M",    "-1", "1X",    "1.5",
                                      "1MM", "0x10", " 1", "1e999", "nan"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (ts_parse_size(bad[i], &value))
            fail_msg("\"%s\" was taken as a size", bad[i]);
}

static void reads_times(void **state)
{
    (void)state;
    double value;
    assert_true(ts_parse_seconds("250ms", &value) && value == 0.25);
    assert_true(ts_parse_seconds("2", &value) && value == 2);
    assert_true(ts_parse_seconds("1.5m", &value) && value == 90);
    assert_true(ts_parse_seconds("2h", &value) && value == 7200);
    static const char *const bad[] = {"", "s", "-1", "1 s", "1d", "inf", "nan", "1e999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (ts_parse_seconds(bad[i], &value))
            fail_msg("\"%s\" was taken as a time", bad[i]);
}

static void has_the_documented_defaults(void **state)
{
    (void)state;
    CHECK_OK(parse(no_environment, 1, (const char *const[]){"serve"}));
    assert_int_equal(options.max_body, 64 << 20);
    assert_int_equal(options.max_connections, 1024);
    assert_int_equal(options.listen.n, 1);
    assert_string_equal(options.listen.items[0], "127.0.0.1:8080");
    assert_string_equal(options.data_dir, "/h/.local/share/tensorscope");
    assert_true(options.header_timeout == 10 && options.drain_timeout == 30);
    assert_string_equal(options.token_file, "");
    ts_options_finish(&options);
}

static void write_file(char path[64], const char *text)
{
    snprintf(path, 64, "/tmp/test_options_XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void flag_beats_environment_beats_file(void **state)
{
    (void)state;
    char path[64];
    write_file(path, "{\"max_body\":\"1M\",\"max_tensors\":2,\"max_streams\":3,"
                     "\"listen\":[\"a:1\",\"b:2\"],\"allow_origin\":[\"http://f\"]}");
    char *environment[] = {(char *)"HOME=/h",
                           (char *)"XDG_DATA_HOME=/x",
                           (char *)"TENSORSCOPE_MAX_BODY=2M",
                           (char *)"TENSORSCOPE_MAX_TENSORS=5",
                           (char *)"TENSORSCOPE_ALLOW_ORIGIN=http://e,https://g:1",
                           NULL};
    CHECK_OK(PARSE(environment, "--config", path, "--max-body=3K", "--listen", "c:3", "--listen",
                   "d:4", "--no-auth"));
    assert_int_equal(options.max_body, 3072);
    assert_int_equal(options.max_tensors, 5);
    assert_int_equal(options.max_streams, 3);
    assert_int_equal(options.listen.n, 2);
    assert_string_equal(options.listen.items[1], "d:4");
    assert_int_equal(options.allow_origin.n, 2);
    assert_string_equal(options.allow_origin.items[1], "https://g:1");
    assert_string_equal(options.data_dir, "/x/tensorscope");
    assert_true(options.no_auth);
    ts_options_finish(&options);
    unlink(path);
}

static void names_the_flag_of_a_bad_value(void **state)
{
    (void)state;
    check_refused(PARSE(no_environment, "--max-body", "lots"), "--max-body");
    check_refused(PARSE(no_environment, "--max-body", "0"), "--max-body");
    check_refused(PARSE(no_environment, "--max-tensors", "1.5"), "--max-tensors");
    check_refused(PARSE(no_environment, "--max-tensors", "0"), "--max-tensors");
    check_refused(PARSE(no_environment, "--header-timeout", "x"), "--header-timeout");
    check_refused(PARSE(no_environment, "--no-auth=maybe"), "--no-auth");
    check_refused(PARSE(no_environment, "--max-body"), "--max-body");
    check_refused(PARSE(no_environment, "--log-level", "loud"), "--log-level");
    check_refused(PARSE(no_environment, "--log-format", "xml"), "--log-format");
    check_refused(PARSE(no_environment, "--allow-origin", "example.org"), "--allow-origin");
    check_refused(PARSE(no_environment, "--listen", "::1:80"), "--listen");
    check_refused(PARSE(no_environment, "--listen", "x:70000"), "--listen");
    check_refused(PARSE(no_environment, "--token-file", "x", "--no-auth"), "--token-file");
    char *environment[] = {(char *)"HOME=/h", (char *)"TENSORSCOPE_QUEUE_BYTES=huge", NULL};
    check_refused(parse(environment, 1, (const char *const[]){"serve"}), "TENSORSCOPE_QUEUE_BYTES");
}

static void hints_at_the_nearest_name(void **state)
{
    (void)state;
    check_refused(PARSE(no_environment, "--max-boddy", "1"), "did you mean --max-body");
    check_refused(PARSE(no_environment, "--tokenfile", "1"), "did you mean --token-file");
    check_refused(PARSE(no_environment, "stray"), "stray");
}

static void names_the_line_of_a_bad_key(void **state)
{
    (void)state;
    static const struct {
        const char *text, *word;
    } bad[] = {{"{\n \"max_body\": \"1M\",\n \"max_bodi\": 3\n}", "line 3: max_bodi"},
               {"{\n \"max_tensors\": \"many\"}", "line 2: max_tensors"},
               {"{\"no_auth\": \"yes\"}", "line 1: no_auth"},
               {"{\"listen\": [1]}", "listen"},
               {"[1]", "line 1"},
               {"{\"a\"", "line 1"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char path[64];
        write_file(path, bad[i].text);
        ts_error_clear(&err);
        check_refused(ts_options_check_file(path, &err), bad[i].word);
        unlink(path);
    }
    check_refused((ts_error_clear(&err), ts_options_check_file("/no/such/file", &err)), "--config");
}

static void shows_no_credentials(void **state)
{
    (void)state;
    CHECK_OK(PARSE(no_environment, "--redis", "redis://user:secret@host:1/0"));
    json_t *shown = ts_options_json(&options);
    assert_string_equal(json_string_value(json_object_get(shown, "redis")), "redis://***@host:1/0");
    json_decref(shown);
    ts_options_finish(&options);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_sizes),
        cmocka_unit_test(reads_times),
        cmocka_unit_test(has_the_documented_defaults),
        cmocka_unit_test(flag_beats_environment_beats_file),
        cmocka_unit_test(names_the_flag_of_a_bad_value),
        cmocka_unit_test(hints_at_the_nearest_name),
        cmocka_unit_test(names_the_line_of_a_bad_key),
        cmocka_unit_test(shows_no_credentials),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
