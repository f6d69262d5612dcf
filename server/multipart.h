/*
 * multipart/form-data bodies in memory: the parts' names, types and bytes, in place.
 * Thread: any; parts point into the body. Source: RFC 7578, RFC 2046 §5.1.
 */
#ifndef TS_SERVER_MULTIPART_H
#define TS_SERVER_MULTIPART_H

#include <stddef.h>
#include <stdint.h>

#include "cl/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    TS_MULTIPART_MAX = 64
};

typedef struct ts_part {
    char name[64], filename[128], type[96]; /* type: Content-Type as sent, "" if none */
    const uint8_t *data;
    size_t len;
} ts_part;

typedef struct ts_multipart {
    ts_part part[TS_MULTIPART_MAX];
    size_t n;
} ts_multipart;

/** Errors: TS_E_ENCODING (no multipart or no boundary), TS_E_FILE (malformed, too many parts). */
TS_CHECKED ts_status ts_multipart_parse(const char *content_type, const void *body, size_t len,
                                        ts_multipart *out, ts_error *err);
/** The first part of that name, or NULL. */
const ts_part *ts_multipart_find(const ts_multipart *form, const char *name);

#ifdef __cplusplus
}
#endif
#endif
