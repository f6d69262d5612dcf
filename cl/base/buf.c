#include "cl/base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/size.h"

void ts_buf_finish(ts_buf *buf)
{
    if (!buf)
        return;
    free(buf->data);
    memset(buf, 0, sizeof *buf);
}

bool ts_buf_reserve(ts_buf *buf, size_t extra)
{
    size_t need;
    if (buf->failed)
        return false;
    if (!ts_add_size(buf->len, extra, &need)) {
        buf->failed = true;
        return false;
    }
    if (need <= buf->cap)
        return true;
    size_t cap = buf->cap ? buf->cap : 256;
    while (cap < need)
        cap = cap > SIZE_MAX / 2 ? need : cap * 2;
    uint8_t *data = realloc(buf->data, cap);
    if (!data) {
        buf->failed = true;
        return false;
    }
    buf->data = data;
    buf->cap = cap;
    return true;
}

void ts_buf_append(ts_buf *buf, const void *data, size_t len)
{
    if (len == 0 || !ts_buf_reserve(buf, len))
        return;
    memcpy(buf->data + buf->len, data, len);
    buf->len += len;
}

void ts_buf_str(ts_buf *buf, const char *text)
{
    ts_buf_append(buf, text, strlen(text));
}

void ts_buf_printf(ts_buf *buf, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int need = vsnprintf(NULL, 0, fmt, args);
    if (need >= 0 && ts_buf_reserve(buf, (size_t)need + 1)) {
        vsnprintf((char *)buf->data + buf->len, (size_t)need + 1, fmt, again);
        buf->len += (size_t)need;
    }
    va_end(again);
    va_end(args);
}

const char *ts_buf_cstr(ts_buf *buf)
{
    if (!ts_buf_reserve(buf, 1))
        return "";
    buf->data[buf->len] = 0;
    return (const char *)buf->data;
}

void ts_buf_reset(ts_buf *buf)
{
    buf->len = 0;
    buf->failed = false;
}
