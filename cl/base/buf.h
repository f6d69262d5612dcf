/*
 * A growable byte buffer. Zero-initialised is an empty, valid buffer.
 *
 * Out of memory sets `failed` and later appends do nothing, so that a writer checks once at its end.
 * Thread: one at a time.
 */
#ifndef TS_CL_BASE_BUF_H
#define TS_CL_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cl/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_buf {
    uint8_t *data;
    size_t len, cap;
    bool failed;
} ts_buf;

/** Free the memory and zero the buffer. NULL is fine. */
void ts_buf_finish(ts_buf *buf);
/** Make room for `extra` more bytes. Returns false (and sets failed) when out of memory. */
bool ts_buf_reserve(ts_buf *buf, size_t extra);
void ts_buf_append(ts_buf *buf, const void *data, size_t len);
void ts_buf_str(ts_buf *buf, const char *text);
void ts_buf_printf(ts_buf *buf, const char *fmt, ...) TS_PRINTF(2, 3);
/** Append a zero byte behind the text without counting it, and return the text ("" if empty). */
const char *ts_buf_cstr(ts_buf *buf);
/** Keep the memory, forget the content. */
void ts_buf_reset(ts_buf *buf);

#ifdef __cplusplus
}
#endif
#endif
