/*
 * Who may do what: loopback rule, Host rule, bearer tokens with scopes, tickets, failed attempts.
 *
 * Tokens are kept as SHA-256 digests only and compared in constant time. Thread: any.
 */
#ifndef TS_SERVER_AUTH_H
#define TS_SERVER_AUTH_H

#include "server/options.h"
#include "server/request.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_auth ts_auth;

/** What a request shows of itself. */
typedef struct ts_auth_query {
    unsigned needed;  /* the route's scope */
    bool local;       /* the peer is loopback or a Unix socket */
    const char *peer; /* its address, for counting failures */
    const char *host; /* the Host header, NULL where absent */
    const char *path; /* for tickets of a path */
    bool get;         /* GET or HEAD */
    bool websocket;   /* an upgrade: tickets carry all scopes, tokens come as a subprotocol */
    bool query_token; /* the query holds token= or access_token= */
    const char *authorization, *protocols, *ticket; /* NULL where absent */
} ts_auth_query;

typedef struct ts_principal {
    unsigned scopes;
    char name[96]; /* the token's name; "" where no token was used */
} ts_principal;

/** Errors: TS_E_OPTION (token file unreadable, malformed, or open to others). */
TS_CHECKED ts_status ts_auth_create(const ts_options *options, ts_auth **out, ts_error *err);
void ts_auth_destroy(ts_auth *auth); /* NULL is fine */
/** Read the token file again; on an error the old tokens stay. */
TS_CHECKED ts_status ts_auth_reload(ts_auth *auth, ts_error *err);
/**
 * Decide about a request. Errors: TS_E_FORBIDDEN (remote peer, missing scope), TS_E_HOST,
 * TS_E_UNAUTHORIZED, TS_E_RATE (too many wrong tokens from this address).
 */
TS_CHECKED ts_status ts_auth_check(ts_auth *auth, const ts_auth_query *query, ts_principal *out,
                                   ts_error *err);
/** Make a ticket for `scopes`: one use (path NULL, 60 s), or any GET under `path` for ttl_s. */
TS_CHECKED ts_status ts_auth_make_ticket(ts_auth *auth, unsigned scopes, const char *path,
                                         int ttl_s, char out[48], ts_error *err);
/** Whether tokens are asked for at all. */
bool ts_auth_has_tokens(const ts_auth *auth);
uint64_t ts_auth_failures(const ts_auth *auth);
/** "self": the page's origin is this server; "allowed": --allow-origin; NULL: foreign. */
const char *ts_auth_origin(const ts_auth *auth, const char *origin, const char *host);
/** "read,infer" for a set of bits. */
json_t *ts_scopes_json(unsigned scopes);

#ifdef __cplusplus
}
#endif
#endif
