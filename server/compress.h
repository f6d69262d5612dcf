/*
 * Compression of answers: which encoding a client takes, and gzip or deflate at the fastest level.
 * Source: RFC 9110 §12.5.3, RFC 1950, RFC 1952. Thread: any.
 */
#ifndef TS_SERVER_COMPRESS_H
#define TS_SERVER_COMPRESS_H

#include "cl/base/buf.h"

#ifdef __cplusplus
extern "C" {
#endif

/** "gzip", "deflate" or NULL (identity): the best that an Accept-Encoding header allows; NULL is none. */
const char *ts_compress_choose(const char *accept_encoding);
/** Replace the buffer's content. `encoding` as chosen above. Errors: TS_E_NO_MEMORY. */
TS_CHECKED ts_status ts_compress(ts_buf *body, const char *encoding, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
