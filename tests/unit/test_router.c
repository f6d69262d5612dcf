/* Routing of percent-encoded paths, and the audit of header fields. */
#include "server/audit.h"
#include "server/router.h"
#include "tests/support/check.h"

static bool has_file(const char *path)
{
    return strcmp(path, "app.js") == 0 || strcmp(path, "lib/h.js") == 0;
}

#define R(method, pattern)                                       \
    {                                                            \
        method, pattern, NULL, TS_SCOPE_READ, TS_BODY_NONE, NULL \
    }
static const ts_route routes[] = {
    R("GET", "/"),
    R("GET", "/{file*}"),
    R("GET", "/v1/tensors"),
    R("POST", "/v1/tensors"),
    R("GET", "/v1/tensors/{name}"),
    R("PUT", "/v1/tensors/{name}"),
    R("DELETE", "/v1/tensors/{t}"),
    R("GET", "/v1/tensors/{name}/frame.{kind}"),
    R("POST", "/v1/fits/render"),
    R("GET", "/v1/fits/{id}"),
    R("POST", "/v1/fits/{id}"),
    R("GET", "/v1/files/{rest*}"),
};
static const ts_router router = {routes, sizeof routes / sizeof *routes, NULL, has_file};

static ts_error err;
static ts_path_params params;
static char allow[64];

static const char *find(const char *method, const char *path)
{
    const ts_route *route = NULL;
    ts_error_clear(&err);
    ts_status st = ts_router_find(&router, method, path, &route, &params, allow, &err);
    return st == TS_OK ? route->pattern : ts_status_code(st);
}

static void finds_routes_and_their_parts(void **state)
{
    (void)state;
    assert_string_equal(find("GET", "/v1/tensors"), "/v1/tensors");
    assert_string_equal(find("GET", "/v1/tensors/layer.0"), "/v1/tensors/{name}");
    assert_int_equal(params.n, 1);
    assert_string_equal(params.part[0].value, "layer.0");
    assert_string_equal(find("GET", "/v1/tensors/a/frame.webp"), "/v1/tensors/{name}/frame.{kind}");
    assert_string_equal(params.part[1].value, "webp");
    assert_string_equal(find("HEAD", "/v1/tensors/a"), "/v1/tensors/{name}");
    assert_string_equal(find("GET", "/v1/files/a/b/c"), "/v1/files/{rest*}");
    assert_string_equal(params.part[0].value, "a/b/c");
}

static void decodes_segments_one_by_one(void **state)
{
    (void)state;
    assert_string_equal(find("GET", "/v1/tensors/a%2Fb"), "/v1/tensors/{name}");
    assert_string_equal(params.part[0].value, "a/b");
    assert_string_equal(find("GET", "/v1/%74ensors/x"), "/v1/tensors/{name}");
    assert_string_equal(find("GET", "/v1%2ftensors"), "not-found");
    assert_string_equal(find("GET", "/v1/tensors/%00"), "not-found");
    assert_string_equal(find("GET", "/v1/tensors/%2"), "not-found");
    char path[2000] = "/v1/tensors/";
    memset(path + 12, 'a', 1000);
    path[1012] = 0;
    assert_string_equal(find("GET", path), "not-found");
}

static void tells_the_methods_of_a_path(void **state)
{
    (void)state;
    assert_string_equal(find("PATCH", "/v1/tensors/x"), "method-not-allowed");
    assert_string_equal(allow, "GET, HEAD, PUT, DELETE, OPTIONS");
    /* a fixed path hides the pattern that would match it */
    assert_string_equal(find("GET", "/v1/fits/render"), "method-not-allowed");
    assert_string_equal(allow, "POST, OPTIONS");
    assert_string_equal(find("POST", "/v1/fits/other"), "/v1/fits/{id}");
}

static void the_catch_all_takes_only_files_that_exist(void **state)
{
    (void)state;
    assert_string_equal(find("GET", "/app.js"), "/{file*}");
    assert_string_equal(find("GET", "/lib/h.js"), "/{file*}");
    assert_string_equal(params.part[0].value, "lib/h.js");
    assert_string_equal(find("PUT", "/nothing"), "not-found");
    assert_string_equal(find("PUT", "/app.js"), "method-not-allowed");
    assert_string_equal(find("GET", "/../app.js"), "not-found");
    assert_string_equal(find("GET", "//"), "not-found");
    assert_string_equal(find("GET", ""), "not-found");
}

/* ---- header fields ---- */

static ts_status audit(int minor, size_t n, const ts_header *headers, ts_audit *out)
{
    ts_error_clear(&err);
    return ts_audit_headers(headers, n, minor, out, &err);
}
#define AUDIT(minor, ...)                                                      \
    audit(minor, sizeof((const ts_header[]){__VA_ARGS__}) / sizeof(ts_header), \
          (const ts_header[]){__VA_ARGS__}, &out)

static void takes_plain_requests(void **state)
{
    (void)state;
    ts_audit out;
    CHECK_OK(AUDIT(1, {"Host", "x"}, {"Content-Length", "12"}, {"Expect", "100-Continue"}));
    assert_int_equal(out.content_length, 12);
    assert_true(out.expect_continue && !out.chunked);
    CHECK_OK(AUDIT(1, {"host", "[::1]:80"}, {"TRANSFER-ENCODING", "Chunked"}));
    assert_true(out.chunked && out.content_length == -1);
    CHECK_OK(AUDIT(0, {"X", "a\tb"}));
    CHECK_OK(AUDIT(1, {"Host", "x"}, {"Cookie", "a"}, {"Cookie", "b"}));
}

static void refuses_ambiguous_framing(void **state)
{
    (void)state;
    ts_audit out;
    CHECK_STATUS(TS_E_HEADER, AUDIT(1, {"X", "y"}));
    CHECK_STATUS(TS_E_HEADER, AUDIT(1, {"Host", "x"}, {"Host", "x"}));
    CHECK_STATUS(TS_E_HEADER, AUDIT(1, {"Host", "x y"}));
    CHECK_STATUS(TS_E_HEADER, AUDIT(1, {"Host", "x"}, {"Content-Length", "5"},
                                    {"Transfer-Encoding", "chunked"}));
    CHECK_STATUS(TS_E_HEADER,
                 AUDIT(1, {"Host", "x"}, {"Content-Length", "5"}, {"Content-Length", "5"}));
    const char *codings[] = {"xchunked", "chunked, identity", "gzip, chunked", "", "identity"};
    for (size_t i = 0; i < 5; i++)
        CHECK_STATUS(TS_E_HEADER, AUDIT(1, {"Host", "x"}, {"Transfer-Encoding", codings[i]}));
    CHECK_STATUS(TS_E_HEADER, AUDIT(0, {"Host", "x"}, {"Transfer-Encoding", "chunked"}));
    const char *lengths[] = {"-1", "+5", "0x10", "5, 6", "", " 5", "5 "};
    for (size_t i = 0; i < 7; i++)
        CHECK_STATUS(TS_E_HEADER, AUDIT(1, {"Host", "x"}, {"Content-Length", lengths[i]}));
    CHECK_STATUS(TS_E_TOO_LARGE,
                 AUDIT(1, {"Host", "x"}, {"Content-Length", "99999999999999999999999"}));
}

static void refuses_bad_names_and_values(void **state)
{
    (void)state;
    ts_audit out;
    CHECK_STATUS(TS_E_HEADER, AUDIT(1, {"Host", "x"}, {"Content-Length ", "5"}));
    CHECK_STATUS(TS_E_HEADER, AUDIT(1, {"Host", "x"}, {"", "5"}));
    CHECK_STATUS(TS_E_HEADER, AUDIT(1, {"Host", "x"}, {"X", "a\rb"}));
    CHECK_STATUS(TS_E_HEADER, AUDIT(1, {"Host", "x"}, {"X", "\x7f"}));
    CHECK_STATUS(TS_E_HEADER, AUDIT(1, {"Host", "x"}, {"Expect", "magic"}));
    CHECK_STATUS(TS_E_HEADER, AUDIT(1, {"Host", "x"}, {"Range", "a"}, {"range", "b"}));
}

static void finds_tokens_in_lists(void **state)
{
    (void)state;
    assert_true(ts_header_has_token("keep-alive, Upgrade", "upgrade"));
    assert_true(ts_header_has_token(" upgrade ", "upgrade"));
    assert_false(ts_header_has_token("upgraded, upgrade;q=1", "upgrade"));
    assert_false(ts_header_has_token("", "upgrade"));
    assert_false(ts_header_has_token(NULL, "upgrade"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_routes_and_their_parts),
        cmocka_unit_test(decodes_segments_one_by_one),
        cmocka_unit_test(tells_the_methods_of_a_path),
        cmocka_unit_test(the_catch_all_takes_only_files_that_exist),
        cmocka_unit_test(takes_plain_requests),
        cmocka_unit_test(refuses_ambiguous_framing),
        cmocka_unit_test(refuses_bad_names_and_values),
        cmocka_unit_test(finds_tokens_in_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
