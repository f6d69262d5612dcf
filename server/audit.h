/*
 * The strict check of a request's header fields, before any of them is believed.
 *
 * The HTTP library accepts what makes request smuggling work (both lengths, repeated fields, odd
 * transfer codings); this does not. It looks at names and values only, so it can be fuzzed.
 */
#ifndef TS_SERVER_AUDIT_H
#define TS_SERVER_AUDIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cl/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_header {
    const char *name, *value; /* value "" where there is none */
} ts_header;

typedef struct ts_audit {
    int64_t content_length; /* -1: none given */
    bool chunked, expect_continue;
    const char *host; /* NULL: HTTP/1.0 without one */
} ts_audit;

/**
 * Check `n` fields of a request of HTTP/1.`minor`.
 * Errors: TS_E_HEADER says which field is wrong; the connection must be closed then.
 */
TS_CHECKED ts_status ts_audit_headers(const ts_header *headers, size_t n, int minor, ts_audit *out,
                                      ts_error *err);
/** Case-insensitive look-up; NULL where absent. */
const char *ts_header_find(const ts_header *headers, size_t n, const char *name);
/** Whether a comma-separated field value has this token (case-insensitive). */
bool ts_header_has_token(const char *value, const char *token);

#ifdef __cplusplus
}
#endif
#endif
