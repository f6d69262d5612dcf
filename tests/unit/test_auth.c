/* Authorization: loopback and Host rules, tokens, scopes, tickets, failures; connection limits. */
#include <arpa/inet.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/auth.h"
#include "server/limits.h"
#include "tests/support/check.h"

static ts_error err;
static char token_path[64];

static void write_tokens(const char *text)
{
    snprintf(token_path, sizeof token_path, "/tmp/test_auth_XXXXXX");
    int fd = mkstemp(token_path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    fchmod(fd, 0600);
    close(fd);
}

static ts_auth *make(const char *tokens, bool no_auth, const char *host, const char *origin)
{
    char *hosts[] = {(char *)(uintptr_t)host}, *origins[] = {(char *)(uintptr_t)origin};
    ts_options options = {.no_auth = no_auth, .tls_cert = (char *)""};
    static char *kept[2];
    kept[0] = hosts[0];
    kept[1] = origins[0];
    if (host)
        options.allow_host = (ts_strings){&kept[0], 1};
    if (origin)
        options.allow_origin = (ts_strings){&kept[1], 1};
    options.token_file = (char *)"";
    if (tokens) {
        write_tokens(tokens);
        options.token_file = token_path;
    }
    ts_auth *auth = NULL;
    CHECK_OK(ts_auth_create(&options, &auth, &err));
    return auth;
}

static ts_auth_query query(unsigned needed)
{
    return (ts_auth_query){.needed = needed,
                           .local = true,
                           .peer = "127.0.0.1",
                           .host = "x",
                           .path = "/v1/x",
                           .get = true};
}

static void serves_loopback_alone_without_tokens(void **state)
{
    (void)state;
    ts_principal who;
    ts_auth *auth = make(NULL, false, "ts.example.org", NULL);
    ts_auth_query q = query(TS_SCOPE_ADMIN);
    CHECK_OK(ts_auth_check(auth, &q, &who, &err));
    assert_int_equal(who.scopes, TS_SCOPE_ALL);
    q.local = false;
    CHECK_STATUS(TS_E_FORBIDDEN, ts_auth_check(auth, &q, &who, &err));
    q.needed = TS_SCOPE_PUBLIC;
    CHECK_STATUS(TS_E_FORBIDDEN, ts_auth_check(auth, &q, &who, &err));
    q.needed = TS_SCOPE_NONE;
    CHECK_OK(ts_auth_check(auth, &q, &who, &err));
    ts_auth_destroy(auth);
    auth = make(NULL, true, NULL, NULL);
    q = query(TS_SCOPE_ADMIN);
    q.local = false;
    q.host = "anything.example.org";
    CHECK_OK(ts_auth_check(auth, &q, &who, &err));
    ts_auth_destroy(auth);
}

static void checks_hosts_against_rebinding(void **state)
{
    (void)state;
    static const struct {
        const char *host;
        bool ok;
    } cases[] = {{"localhost", true},
                 {"localhost:80", true},
                 {"127.0.0.1:1", true},
                 {"[::1]:80", true},
                 {"[::1]", true},
                 {"box", true},
                 {"box:8080", true},
                 {"ts.example.org", true},
                 {"TS.Example.org:80", true},
                 {"example.org", false},
                 {"a.ts.example.org", false},
                 {"127.0.0.1.nip.io", false},
                 {"1.2.3.4.5", false},
                 {"[::1", false},
                 {"", false}};
    ts_principal who;
    ts_auth *auth = make(NULL, false, "ts.example.org", NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ts_auth_query q = query(TS_SCOPE_READ);
        q.host = cases[i].host;
        ts_status st = ts_auth_check(auth, &q, &who, &err);
        if (st != (cases[i].ok ? TS_OK : TS_E_HOST))
            fail_msg("host \"%s\": %s", cases[i].host, ts_status_code(st));
        ts_error_clear(&err);
    }
    ts_auth_destroy(auth);
}

static void tells_own_from_foreign_origins(void **state)
{
    (void)state;
    ts_auth *auth = make(NULL, false, NULL, "https://ok.example:8443");
    assert_string_equal(ts_auth_origin(auth, "http://box:8080", "box:8080"), "self");
    assert_string_equal(ts_auth_origin(auth, "https://ok.example:8443", "box"), "allowed");
    assert_null(ts_auth_origin(auth, "https://box:8080", "box:8080"));
    assert_null(ts_auth_origin(auth, "http://ok.example:8443", "box"));
    assert_null(ts_auth_origin(auth, "https://ok.example:8443.evil", "box"));
    assert_null(ts_auth_origin(auth, "null", "null"));
    assert_null(ts_auth_origin(auth, "http://box:8080", NULL));
    ts_auth_destroy(auth);
}

static const char token_text[] =
    "# comment\n"
    "plain-token read,infer alice   # her laptop\n"
    "\n"
    /* sha256 of "hashed" */
    "sha256:1a06df824ed741b53c785079a6347f00eec5af82f9850775409ca69dff4068a6 admin bob\n";

static void knows_tokens_and_scopes(void **state)
{
    (void)state;
    ts_principal who;
    ts_auth *auth = make(token_text, false, NULL, NULL);
    ts_auth_query q = query(TS_SCOPE_READ);
    q.local = false;
    CHECK_STATUS(TS_E_UNAUTHORIZED, ts_auth_check(auth, &q, &who, &err));
    q.authorization = "Bearer plain-token";
    CHECK_OK(ts_auth_check(auth, &q, &who, &err));
    assert_string_equal(who.name, "alice");
    assert_int_equal(who.scopes, TS_SCOPE_READ | TS_SCOPE_INFER);
    q.needed = TS_SCOPE_WRITE;
    CHECK_STATUS(TS_E_FORBIDDEN, ts_auth_check(auth, &q, &who, &err));
    q.needed = TS_SCOPE_ADMIN;
    q.authorization = "Bearer hashed";
    CHECK_OK(ts_auth_check(auth, &q, &who, &err));
    assert_string_equal(who.name, "bob");
    q.needed = TS_SCOPE_READ;
    static const char *const bad[] = {"Bearer plain-toke", "Bearer plain-token2", "Bearer",
                                      "Basic YTpi", "Bearer "};
    for (size_t i = 0; i < 5; i++) {
        q.authorization = bad[i];
        CHECK_STATUS(TS_E_UNAUTHORIZED, ts_auth_check(auth, &q, &who, &err));
    }
    q.authorization = NULL;
    q.query_token = true;
    CHECK_STATUS(TS_E_UNAUTHORIZED, ts_auth_check(auth, &q, &who, &err));
    q = query(TS_SCOPE_PUBLIC);
    CHECK_OK(ts_auth_check(auth, &q, &who, &err));
    ts_auth_destroy(auth);
    unlink(token_path);
}

static void takes_tokens_as_subprotocols_of_websockets(void **state)
{
    (void)state;
    ts_principal who;
    ts_auth *auth = make("tok?>~en read,write\n", false, NULL, NULL);
    ts_auth_query q = query(TS_SCOPE_READ);
    q.protocols = "tensorscope.v1, bearer.dG9rPz5-ZW4";
    CHECK_STATUS(TS_E_UNAUTHORIZED, ts_auth_check(auth, &q, &who, &err));
    q.websocket = true;
    CHECK_OK(ts_auth_check(auth, &q, &who, &err));
    assert_int_equal(who.scopes, TS_SCOPE_READ | TS_SCOPE_WRITE);
    q.protocols = "bearer.!!!";
    CHECK_STATUS(TS_E_UNAUTHORIZED, ts_auth_check(auth, &q, &who, &err));
    ts_auth_destroy(auth);
    unlink(token_path);
}

static void tickets_carry_less_and_end(void **state)
{
    (void)state;
    ts_principal who;
    char once[48], many[48];
    ts_auth *auth = make("t read,write\n", false, NULL, NULL);
    CHECK_OK(ts_auth_make_ticket(auth, TS_SCOPE_READ | TS_SCOPE_WRITE, NULL, 0, once, &err));
    ts_auth_query q = query(TS_SCOPE_READ);
    q.ticket = once;
    CHECK_OK(ts_auth_check(auth, &q, &who, &err));
    assert_int_equal(who.scopes, TS_SCOPE_READ);
    CHECK_STATUS(TS_E_UNAUTHORIZED, ts_auth_check(auth, &q, &who, &err));
    CHECK_OK(ts_auth_make_ticket(auth, TS_SCOPE_READ | TS_SCOPE_WRITE, NULL, 0, once, &err));
    q.websocket = true;
    CHECK_OK(ts_auth_check(auth, &q, &who, &err));
    assert_int_equal(who.scopes, TS_SCOPE_READ | TS_SCOPE_WRITE);
    CHECK_OK(ts_auth_make_ticket(auth, TS_SCOPE_ALL, "/v1/pipelines/p/hls/", 60, many, &err));
    q = query(TS_SCOPE_READ);
    q.ticket = many;
    q.path = "/v1/pipelines/p/hls/1.ts";
    for (int i = 0; i < 3; i++)
        CHECK_OK(ts_auth_check(auth, &q, &who, &err));
    q.path = "/v1/pipelines/q/hls/1.ts";
    CHECK_STATUS(TS_E_FORBIDDEN, ts_auth_check(auth, &q, &who, &err));
    q.path = "/v1/pipelines/p/hls/1.ts";
    q.get = false;
    CHECK_STATUS(TS_E_FORBIDDEN, ts_auth_check(auth, &q, &who, &err));
    ts_auth_destroy(auth);
    unlink(token_path);
}

static void locks_guessing_addresses_out(void **state)
{
    (void)state;
    ts_principal who;
    ts_auth *auth = make("good read\n", false, NULL, NULL);
    ts_auth_query q = query(TS_SCOPE_READ), known = q;
    known.peer = "10.0.0.1";
    known.authorization = "Bearer good";
    CHECK_OK(ts_auth_check(auth, &known, &who, &err));
    q.authorization = "Bearer guess";
    for (int i = 0; i < 10; i++)
        CHECK_STATUS(TS_E_UNAUTHORIZED, ts_auth_check(auth, &q, &who, &err));
    CHECK_STATUS(TS_E_RATE, ts_auth_check(auth, &q, &who, &err));
    q.authorization = "Bearer good";
    CHECK_STATUS(TS_E_RATE, ts_auth_check(auth, &q, &who, &err));
    /* an address that has used the token is let through whatever others there do */
    q.peer = "10.0.0.1";
    q.authorization = "Bearer guess";
    for (int i = 0; i < 12; i++)
        assert_int_not_equal(ts_auth_check(auth, &q, &who, NULL), TS_OK);
    CHECK_OK(ts_auth_check(auth, &known, &who, &err));
    assert_int_equal(ts_auth_failures(auth), 24);
    ts_auth_destroy(auth);
    unlink(token_path);
}

static void refuses_bad_token_files(void **state)
{
    (void)state;
    static const char *const bad[] = {"token\n", "token fly\n", "sha256:12 read\n",
                                      "token read,,\n"};
    for (size_t i = 0; i < 3; i++) {
        write_tokens(bad[i]);
        ts_options options = {.token_file = token_path, .tls_cert = (char *)""};
        ts_auth *auth = NULL;
        CHECK_STATUS(TS_E_OPTION, ts_auth_create(&options, &auth, &err));
        unlink(token_path);
    }
    write_tokens("token read\n");
    chmod(token_path, 0640);
    ts_options options = {.token_file = token_path, .tls_cert = (char *)""};
    ts_auth *auth = NULL;
    CHECK_STATUS(TS_E_OPTION, ts_auth_create(&options, &auth, &err));
    unlink(token_path);
}

/* ---- limits ---- */

static struct sockaddr_in address(const char *text)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    assert_int_equal(inet_pton(AF_INET, text, &a.sin_addr), 1);
    return a;
}

static void counts_connections_by_address(void **state)
{
    (void)state;
    ts_options options = {.max_connections = 8, .max_per_address = 2, .max_websockets = 1};
    ts_limits *limits = NULL;
    CHECK_OK(ts_limits_create(&options, &limits, &err));
    struct sockaddr_in a = address("10.0.0.1"), b = address("10.0.0.2"),
                       local = address("127.0.0.9");
    assert_true(ts_limits_connect(limits, (const void *)&a));
    assert_true(ts_limits_connect(limits, (const void *)&a));
    assert_false(ts_limits_connect(limits, (const void *)&a));
    assert_true(ts_limits_connect(limits, (const void *)&b));
    ts_limits_disconnect(limits, (const void *)&a);
    assert_true(ts_limits_connect(limits, (const void *)&a));
    for (int i = 0; i < 5; i++)
        assert_true(ts_limits_connect(limits, (const void *)&local));
    assert_int_equal(ts_limits_connections(limits), 8);
    assert_false(ts_limits_connect(limits, (const void *)&local));
    assert_true(ts_limits_websocket_open(limits));
    assert_false(ts_limits_websocket_open(limits));
    ts_limits_websocket_closed(limits);
    assert_true(ts_limits_websocket_open(limits));
    ts_limits_destroy(limits);
}

static void survives_many_addresses(void **state)
{
    (void)state;
    ts_options options = {.max_connections = 4, .max_per_address = 1};
    ts_limits *limits = NULL;
    CHECK_OK(ts_limits_create(&options, &limits, &err));
    struct sockaddr_in hold = address("10.9.9.9"), a = address("10.0.0.0");
    assert_true(ts_limits_connect(limits, (const void *)&hold));
    for (uint32_t i = 0; i < 5000; i++) {
        a.sin_addr.s_addr = htonl(0x0a000000u + i);
        if (!ts_limits_connect(limits, (const void *)&a))
            fail_msg("address %u of many is refused", i);
        ts_limits_disconnect(limits, (const void *)&a);
    }
    assert_false(ts_limits_connect(limits, (const void *)&hold));
    ts_limits_destroy(limits);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(serves_loopback_alone_without_tokens),
        cmocka_unit_test(checks_hosts_against_rebinding),
        cmocka_unit_test(tells_own_from_foreign_origins),
        cmocka_unit_test(knows_tokens_and_scopes),
        cmocka_unit_test(takes_tokens_as_subprotocols_of_websockets),
        cmocka_unit_test(tickets_carry_less_and_end),
        cmocka_unit_test(locks_guessing_addresses_out),
        cmocka_unit_test(refuses_bad_token_files),
        cmocka_unit_test(counts_connections_by_address),
        cmocka_unit_test(survives_many_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
