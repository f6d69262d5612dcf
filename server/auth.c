#define _GNU_SOURCE /* explicit_bzero */
#include "server/auth.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cl/base/buf.h"
#include "cl/base/clock.h"
#include "cl/base/hash.h"
#include "server/audit.h"

enum {
    MAX_TOKENS = 4096,
    MAX_TICKETS = 16384,
    TICKET_SECONDS = 60,
    FAILURE_SLOTS = 1024,
    MAX_FAILURES = 10,
    KNOWN = 4 /* addresses that a token was used from lately */
};
#define FAILURE_US 60000000

typedef struct token {
    uint8_t digest[32];
    unsigned scopes;
    char name[96];
    uint64_t known[KNOWN]; /* hashes of addresses */
    unsigned next_known;
} token;

typedef struct ticket {
    uint8_t digest[32];
    unsigned scopes;
    int64_t until_us;
    char *path; /* NULL: one use */
} ticket;

typedef struct failures {
    uint64_t address;
    int64_t since_us;
    int n;
} failures;

struct ts_auth {
    bool no_auth;
    char *token_file; /* NULL: loopback mode */
    ts_strings allow_host, allow_origin;
    const char *scheme;
    pthread_mutex_t auth_lock; /* guards all below */
    token *tokens;
    size_t n_tokens;
    ticket *tickets;
    size_t n_tickets;
    failures failed[FAILURE_SLOTS];
    _Atomic uint64_t n_failures;
};

static const struct {
    const char *word;
    unsigned bit;
} scope_words[] = {{"read", TS_SCOPE_READ},
                   {"infer", TS_SCOPE_INFER},
                   {"write", TS_SCOPE_WRITE},
                   {"admin", TS_SCOPE_ADMIN}};

json_t *ts_scopes_json(unsigned scopes)
{
    json_t *list = json_array();
    for (int i = 0; i < 4; i++)
        if (scopes & scope_words[i].bit)
            json_array_append_new(list, json_string(scope_words[i].word));
    return list;
}

/* ---- the token file ---- */

static ts_status read_scopes(const char *text, int line, unsigned *out, ts_error *err)
{
    *out = 0;
    while (*text) {
        size_t n = strcspn(text, ",");
        int i = 0;
        while (i < 4 &&
               (strlen(scope_words[i].word) != n || strncmp(text, scope_words[i].word, n) != 0))
            i++;
        if (i == 4)
            return ts_fail(err, TS_E_OPTION,
                           "--token-file line %d: scope \"%.*s\" is none of read, infer, write, "
                           "admin",
                           line, (int)(n < 40 ? n : 40), text);
        *out |= scope_words[i].bit;
        text += n + (text[n] == ',');
    }
    return TS_OK;
}

static bool read_digest(const char *hex, uint8_t out[32])
{
    if (strlen(hex) != 64 || strspn(hex, "0123456789abcdefABCDEF") != 64)
        return false;
    for (int i = 0; i < 32; i++) {
        char pair[3] = {hex[2 * i], hex[2 * i + 1], 0};
        out[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    return true;
}

static ts_status read_line(char *text, int line, token *out, bool *is_token, ts_error *err)
{
    *is_token = false;
    text[strcspn(text, "#\r\n")] = 0;
    char *save = NULL, *secret = strtok_r(text, " \t", &save);
    if (!secret)
        return TS_OK;
    char *scopes = strtok_r(NULL, " \t", &save), *name = strtok_r(NULL, " \t", &save);
    if (!scopes)
        return ts_fail(err, TS_E_OPTION,
                       "--token-file line %d: expected TOKEN scope[,scope] [name]", line);
    *out = (token){0};
    ts_status st = read_scopes(scopes, line, &out->scopes, err);
    if (st != TS_OK)
        return st;
    if (strncmp(secret, "sha256:", 7) != 0)
        ts_sha256(secret, strlen(secret), out->digest);
    else if (!read_digest(secret + 7, out->digest))
        return ts_fail(err, TS_E_OPTION, "--token-file line %d: sha256: needs 64 hex digits", line);
    snprintf(out->name, sizeof out->name, "%s", name ? name : "token");
    *is_token = true;
    return TS_OK;
}

static ts_status parse_tokens(char *text, token **out, size_t *n, ts_error *err)
{
    token *list = calloc(MAX_TOKENS, sizeof *list);
    if (!list)
        return ts_fail(err, TS_E_NO_MEMORY, "tokens");
    ts_status st = TS_OK;
    int line = 0;
    *n = 0;
    while (st == TS_OK && text && *text) {
        char *next = strchr(text, '\n');
        if (next)
            *next++ = 0;
        bool is_token = false;
        if (*n == MAX_TOKENS)
            st = ts_fail(err, TS_E_OPTION, "--token-file: more than %d tokens", MAX_TOKENS);
        else
            st = read_line(text, ++line, &list[*n], &is_token, err);
        *n += is_token;
        text = next;
    }
    if (st != TS_OK) {
        free(list);
        return st;
    }
    *out = list;
    return TS_OK;
}

static ts_status read_all(int fd, ts_buf *out, ts_error *err)
{
    char piece[4096];
    ssize_t n;
    while ((n = read(fd, piece, sizeof piece)) > 0) {
        ts_buf_append(out, piece, (size_t)n);
        if (out->len > (1 << 20))
            return ts_fail(err, TS_E_OPTION, "--token-file is larger than 1 MiB");
    }
    return n < 0 ? ts_fail_errno(err, errno, "--token-file") : TS_OK;
}

static ts_status load_tokens(const char *path, token **out, size_t *n, ts_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) != 0) {
        int failed = errno;
        if (fd >= 0)
            close(fd);
        return ts_fail(err, TS_E_OPTION, "--token-file %s: %s", path, strerror(failed));
    }
    ts_buf text = {0};
    ts_status st = TS_OK;
    if (info.st_mode & 077)
        st =
            ts_fail(err, TS_E_OPTION, "--token-file %s is open to others (mode %03o), chmod 600 it",
                    path, (unsigned)info.st_mode & 0777);
    if (st == TS_OK)
        st = read_all(fd, &text, err);
    close(fd);
    if (st == TS_OK)
        st = parse_tokens((char *)(uintptr_t)ts_buf_cstr(&text), out, n, err);
    if (text.data)
        explicit_bzero(text.data, text.cap);
    ts_buf_finish(&text);
    return st;
}

/* ---- start and stop ---- */

ts_status ts_auth_create(const ts_options *options, ts_auth **out, ts_error *err)
{
    ts_auth *auth = calloc(1, sizeof *auth);
    if (!auth)
        return ts_fail(err, TS_E_NO_MEMORY, "auth");
    pthread_mutex_init(&auth->auth_lock, NULL);
    auth->no_auth = options->no_auth;
    auth->allow_host = options->allow_host;
    auth->allow_origin = options->allow_origin;
    auth->scheme = options->tls_cert && *options->tls_cert ? "https" : "http";
    auth->tickets = calloc(MAX_TICKETS, sizeof *auth->tickets);
    ts_status st = auth->tickets ? TS_OK : ts_fail(err, TS_E_NO_MEMORY, "tickets");
    if (st == TS_OK && options->token_file && *options->token_file) {
        auth->token_file = strdup(options->token_file);
        st = load_tokens(options->token_file, &auth->tokens, &auth->n_tokens, err);
    }
    if (st != TS_OK) {
        ts_auth_destroy(auth);
        return st;
    }
    *out = auth;
    return TS_OK;
}

void ts_auth_destroy(ts_auth *auth)
{
    if (!auth)
        return;
    for (size_t i = 0; i < auth->n_tickets; i++)
        free(auth->tickets[i].path);
    free(auth->tickets);
    free(auth->tokens);
    free(auth->token_file);
    pthread_mutex_destroy(&auth->auth_lock);
    free(auth);
}

ts_status ts_auth_reload(ts_auth *auth, ts_error *err)
{
    if (!auth->token_file)
        return TS_OK;
    token *tokens = NULL;
    size_t n = 0;
    ts_status st = load_tokens(auth->token_file, &tokens, &n, err);
    if (st != TS_OK)
        return st;
    pthread_mutex_lock(&auth->auth_lock);
    token *old = auth->tokens;
    auth->tokens = tokens;
    auth->n_tokens = n;
    pthread_mutex_unlock(&auth->auth_lock);
    free(old);
    return TS_OK;
}

bool ts_auth_has_tokens(const ts_auth *auth)
{
    return auth->token_file != NULL;
}

uint64_t ts_auth_failures(const ts_auth *auth)
{
    return auth->n_failures;
}

/* ---- hosts and origins ---- */

static bool is_ip_literal(const char *host, size_t len)
{
    char text[INET6_ADDRSTRLEN + 2];
    uint8_t bytes[16];
    if (len >= sizeof text)
        return false;
    memcpy(text, host, len);
    text[len] = 0;
    if (text[0] == '[' && text[len - 1] == ']') {
        text[len - 1] = 0;
        return inet_pton(AF_INET6, text + 1, bytes) == 1;
    }
    return inet_pton(AF_INET, text, bytes) == 1;
}

static bool host_allowed(const ts_auth *auth, const char *host)
{
    const char *end = *host == '[' ? strchr(host, ']') : NULL;
    size_t len = end ? (size_t)(end - host) + 1 : strcspn(host, ":");
    if (len == 0)
        return false;
    if (is_ip_literal(host, len) || !memchr(host, '.', len))
        return *host != '[' || end;
    for (size_t i = 0; i < auth->allow_host.n; i++) {
        const char *name = auth->allow_host.items[i];
        if ((strlen(name) == len && strncasecmp(name, host, len) == 0) ||
            strcasecmp(name, host) == 0)
            return true;
    }
    /* "localhost." and other names with a dot at the end only are names without a dot. */
    return len == 10 && strncasecmp(host, "localhost.", 10) == 0;
}

const char *ts_auth_origin(const ts_auth *auth, const char *origin, const char *host)
{
    size_t n = strlen(auth->scheme);
    if (host && strncasecmp(origin, auth->scheme, n) == 0 && strncmp(origin + n, "://", 3) == 0 &&
        strcasecmp(origin + n + 3, host) == 0)
        return "self";
    for (size_t i = 0; i < auth->allow_origin.n; i++)
        if (strcasecmp(origin, auth->allow_origin.items[i]) == 0 && strcmp(origin, "null") != 0)
            return "allowed";
    return NULL;
}

/* ---- failures ---- */

static uint64_t address_hash(const char *peer)
{
    return ts_fnv1a(TS_FNV_SEED, peer, strlen(peer)) | 1;
}

static failures *failures_locked(ts_auth *auth, uint64_t address)
{
    failures *slot = &auth->failed[address % FAILURE_SLOTS];
    int64_t now = ts_now_us();
    if (slot->address != address || now - slot->since_us > FAILURE_US)
        *slot = (failures){.address = address, .since_us = now};
    return slot;
}

static ts_status fail_attempt_locked(ts_auth *auth, uint64_t address, ts_error *err,
                                     const char *text)
{
    failures *slot = failures_locked(auth, address);
    auth->n_failures++;
    if (slot->n >= MAX_FAILURES)
        return ts_fail(err, TS_E_RATE, "more than %d wrong tokens from this address in a minute",
                       MAX_FAILURES);
    slot->n++;
    return ts_fail(err, TS_E_UNAUTHORIZED, "%s", text);
}

/* ---- tokens and tickets ---- */

static bool same_digest(const uint8_t a[32], const uint8_t b[32])
{
    volatile uint8_t difference = 0;
    for (int i = 0; i < 32; i++)
        difference |= (uint8_t)(a[i] ^ b[i]);
    return difference == 0;
}

/* All tokens are compared, so that the time says nothing about which one matched. */
static token *find_token_locked(ts_auth *auth, const char *secret, size_t len)
{
    uint8_t digest[32];
    ts_sha256(secret, len, digest);
    token *found = NULL;
    for (size_t i = 0; i < auth->n_tokens; i++)
        if (same_digest(digest, auth->tokens[i].digest))
            found = &auth->tokens[i];
    return found;
}

static bool knows(const token *one, uint64_t address)
{
    for (int i = 0; i < KNOWN; i++)
        if (one->known[i] == address)
            return true;
    return false;
}

static ts_status use_token_locked(ts_auth *auth, const char *secret, size_t len, uint64_t address,
                                  ts_principal *out, ts_error *err)
{
    token *found = find_token_locked(auth, secret, len);
    if (!found)
        return fail_attempt_locked(auth, address, err, "this token is not known");
    if (!knows(found, address)) {
        /* An address that guesses learns nothing from a right guess; one that used this token
         * before (behind a shared proxy, say) is not locked out by others. */
        if (failures_locked(auth, address)->n >= MAX_FAILURES)
            return fail_attempt_locked(auth, address, err, "");
        found->known[found->next_known++ % KNOWN] = address;
    }
    out->scopes = found->scopes;
    snprintf(out->name, sizeof out->name, "%s", found->name);
    return TS_OK;
}

static void remove_ticket_locked(ts_auth *auth, size_t i)
{
    free(auth->tickets[i].path);
    auth->tickets[i] = auth->tickets[--auth->n_tickets];
}

static void expire_tickets_locked(ts_auth *auth)
{
    int64_t now = ts_now_us();
    for (size_t i = auth->n_tickets; i-- > 0;)
        if (auth->tickets[i].until_us < now)
            remove_ticket_locked(auth, i);
}

static ts_status use_ticket_locked(ts_auth *auth, const ts_auth_query *query, uint64_t address,
                                   ts_principal *out, ts_error *err)
{
    uint8_t digest[32];
    ts_sha256(query->ticket, strlen(query->ticket), digest);
    expire_tickets_locked(auth);
    size_t at = auth->n_tickets;
    for (size_t i = 0; i < auth->n_tickets; i++)
        if (same_digest(digest, auth->tickets[i].digest))
            at = i;
    if (at == auth->n_tickets)
        return fail_attempt_locked(auth, address, err, "this ticket is not known, used or expired");
    ticket *found = &auth->tickets[at];
    if (!query->get)
        return ts_fail(err, TS_E_FORBIDDEN, "a ticket is for GET only");
    if (found->path) {
        if (strncmp(query->path, found->path, strlen(found->path)) != 0 || query->websocket)
            return ts_fail(err, TS_E_FORBIDDEN, "this ticket is for paths under %.200s",
                           found->path);
        out->scopes = found->scopes & TS_SCOPE_READ;
    } else {
        out->scopes = query->websocket ? found->scopes : found->scopes & TS_SCOPE_READ;
        remove_ticket_locked(auth, at);
    }
    snprintf(out->name, sizeof out->name, "ticket");
    return TS_OK;
}

ts_status ts_auth_make_ticket(ts_auth *auth, unsigned scopes, const char *path, int ttl_s,
                              char out[48], ts_error *err)
{
    uint8_t random[20];
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return ts_fail_errno(err, errno, "random numbers for a ticket");
    ts_hex(random, sizeof random, out);
    char *copy = path ? strdup(path) : NULL;
    if (path && !copy)
        return ts_fail(err, TS_E_NO_MEMORY, "ticket");
    pthread_mutex_lock(&auth->auth_lock);
    expire_tickets_locked(auth);
    bool full = auth->n_tickets == MAX_TICKETS;
    if (!full) {
        ticket *one = &auth->tickets[auth->n_tickets++];
        *one = (ticket){.scopes = scopes, .path = copy};
        one->until_us = ts_now_us() + (int64_t)(path ? ttl_s : TICKET_SECONDS) * 1000000;
        ts_sha256(out, strlen(out), one->digest);
    }
    pthread_mutex_unlock(&auth->auth_lock);
    if (!full)
        return TS_OK;
    free(copy);
    return ts_fail(err, TS_E_RATE, "%d tickets are open; wait for some to expire", MAX_TICKETS);
}

/* ---- the subprotocol bearer.<base64url token> ---- */

static int base64url_digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

static bool decode_base64url(const char *text, size_t len, char *out, size_t cap, size_t *n)
{
    uint32_t bits = 0;
    int count = 0;
    *n = 0;
    while (len && text[len - 1] == '=')
        len--;
    for (size_t i = 0; i < len; i++) {
        int digit = base64url_digit(text[i]);
        if (digit < 0 || *n + 1 >= cap)
            return false;
        bits = bits << 6 | (uint32_t)digit;
        count += 6;
        if (count >= 8) {
            count -= 8;
            out[(*n)++] = (char)(bits >> count & 0xff);
        }
    }
    return true;
}

/* The token in a Sec-WebSocket-Protocol list; false: none there. */
static bool protocol_token(const char *protocols, char *out, size_t cap, size_t *n)
{
    while (protocols && *protocols) {
        protocols += strspn(protocols, " \t,");
        size_t item = strcspn(protocols, ", \t");
        if (item > 7 && strncmp(protocols, "bearer.", 7) == 0)
            return decode_base64url(protocols + 7, item - 7, out, cap, n) || ((*n = 0), true);
        protocols += item;
    }
    return false;
}

/* ---- the decision ---- */

static ts_status identify_locked(ts_auth *auth, const ts_auth_query *query, ts_principal *out,
                                 ts_error *err)
{
    uint64_t address = address_hash(query->peer);
    char secret[1024];
    size_t n = 0;
    if (query->query_token)
        return fail_attempt_locked(
            auth, address, err, "tokens are not taken from the query; send Authorization: Bearer");
    if (query->authorization) {
        const char *text = query->authorization;
        if (strncasecmp(text, "bearer ", 7) != 0)
            return fail_attempt_locked(auth, address, err, "expected Authorization: Bearer TOKEN");
        text += 7;
        text += strspn(text, " ");
        return use_token_locked(auth, text, strlen(text), address, out, err);
    }
    if (query->websocket && protocol_token(query->protocols, secret, sizeof secret, &n))
        return use_token_locked(auth, secret, n, address, out, err);
    if (query->ticket)
        return use_ticket_locked(auth, query, address, out, err);
    return ts_fail(err, TS_E_UNAUTHORIZED,
                   "this server wants a token: Authorization: Bearer TOKEN");
}

static ts_status check_tokens(ts_auth *auth, const ts_auth_query *query, ts_principal *out,
                              ts_error *err)
{
    if (query->needed == TS_SCOPE_PUBLIC && !query->authorization)
        return TS_OK;
    pthread_mutex_lock(&auth->auth_lock);
    ts_status st = identify_locked(auth, query, out, err);
    pthread_mutex_unlock(&auth->auth_lock);
    if (query->needed == TS_SCOPE_PUBLIC && st != TS_OK) {
        ts_error_clear(err);
        return TS_OK;
    }
    if (st == TS_OK && query->needed & TS_SCOPE_ALL & ~out->scopes) {
        const char *word = "?";
        for (int i = 0; i < 4; i++)
            if (query->needed & scope_words[i].bit)
                word = scope_words[i].word;
        return ts_fail(err, TS_E_FORBIDDEN, "this needs the scope %s, which the token lacks", word);
    }
    return st;
}

ts_status ts_auth_check(ts_auth *auth, const ts_auth_query *query, ts_principal *out, ts_error *err)
{
    *out = (ts_principal){0};
    if (query->needed == TS_SCOPE_NONE)
        return TS_OK;
    if (auth->token_file)
        return check_tokens(auth, query, out, err);
    out->scopes = TS_SCOPE_ALL;
    if (auth->no_auth)
        return TS_OK;
    if (!query->local)
        return ts_fail(err, TS_E_FORBIDDEN,
                       "without a token file only loopback clients are served; start with "
                       "--token-file or --no-auth");
    if (query->host && !host_allowed(auth, query->host))
        return ts_fail(err, TS_E_HOST,
                       "Host %.200s is not an address of this machine; see --allow-host",
                       query->host);
    return TS_OK;
}
