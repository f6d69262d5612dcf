#include "server/compress.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>

/* The q value of an encoding in a header: -1 where it is not named. */
static double quality(const char *header, const char *name)
{
    size_t len = strlen(name);
    for (const char *part = header; part; part = strchr(part, ',') ? strchr(part, ',') + 1 : NULL) {
        while (*part == ' ' || *part == '\t')
            part++;
        size_t word = strcspn(part, " \t;,");
        if (word != len || strncasecmp(part, name, len) != 0)
            continue;
        const char *end = part + strcspn(part, ","), *q = part + word;
        while (q < end && strncasecmp(q, "q=", 2) != 0)
            q++;
        return q < end ? strtod(q + 2, NULL) : 1;
    }
    return -1;
}

const char *ts_compress_choose(const char *accept)
{
    static const char *const encodings[] = {"gzip", "deflate"};
    if (!accept)
        return NULL;
    double any = quality(accept, "*");
    for (int i = 0; i < 2; i++) {
        double q = quality(accept, encodings[i]);
        if (q > 0 || (q < 0 && any > 0))
            return encodings[i];
    }
    return NULL;
}

ts_status ts_compress(ts_buf *body, const char *encoding, ts_error *err)
{
    z_stream z = {0};
    int window = strcmp(encoding, "gzip") == 0 ? 15 + 16 : 15;
    ts_buf out = {0};
    if (deflateInit2(&z, 1, Z_DEFLATED, window, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return ts_fail(err, TS_E_NO_MEMORY, "compression");
    bool room = body->len < UINT32_MAX && ts_buf_reserve(&out, deflateBound(&z, body->len));
    int rc = Z_MEM_ERROR;
    if (room) {
        z.next_in = body->data;
        z.avail_in = (uInt)body->len;
        z.next_out = out.data;
        z.avail_out = (uInt)(out.cap < UINT32_MAX ? out.cap : UINT32_MAX);
        rc = deflate(&z, Z_FINISH);
        out.len = z.total_out;
    }
    deflateEnd(&z);
    if (rc != Z_STREAM_END) {
        ts_buf_finish(&out);
        return ts_fail(err, TS_E_NO_MEMORY, "compression of %zu bytes", body->len);
    }
    ts_buf_finish(body);
    *body = out;
    return TS_OK;
}
