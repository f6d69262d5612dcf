#define _GNU_SOURCE
#include "server/multipart.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* The value of `key` among ';'-separated parameters, unquoted. False if it is not there. */
static bool parameter(const char *text, const char *end, const char *key, char *out, size_t n)
{
    size_t key_len = strlen(key);
    out[0] = 0;
    while (text < end) {
        while (text < end && (*text == ';' || *text == ' ' || *text == '\t'))
            ++text;
        const char *equals = memchr(text, '=', (size_t)(end - text));
        const char *stop = memchr(text, ';', (size_t)(end - text));
        if (!equals || (stop && stop < equals)) {
            if (!stop)
                return false;
            text = stop;
            continue;
        }
        bool match = (size_t)(equals - text) == key_len && strncasecmp(text, key, key_len) == 0;
        size_t k = 0;
        text = equals + 1;
        bool quoted = text < end && *text == '"';
        for (text += quoted; text < end && *text != (quoted ? '"' : ';'); ++text) {
            if (quoted && *text == '\\' && text + 1 < end)
                ++text;
            if (match && k + 1 < n)
                out[k++] = *text;
        }
        text += quoted && text < end;
        out[match ? k : 0] = 0;
        if (match)
            return true;
    }
    return false;
}

static void read_header(ts_part *part, const char *line, const char *end)
{
    const char *colon = memchr(line, ':', (size_t)(end - line));
    if (!colon)
        return;
    size_t name_len = (size_t)(colon - line);
    const char *value = colon + 1;
    while (value < end && (*value == ' ' || *value == '\t'))
        ++value;
    if (name_len == 19 && strncasecmp(line, "content-disposition", 19) == 0) {
        const char *from = memchr(value, ';', (size_t)(end - value));
        if (from && parameter(from, end, "name", part->name, sizeof part->name))
            parameter(from, end, "filename", part->filename, sizeof part->filename);
    } else if (name_len == 12 && strncasecmp(line, "content-type", 12) == 0) {
        snprintf(part->type, sizeof part->type, "%.*s", (int)(end - value), value);
    }
}

/* Headers up to the empty line; returns where the data begins, or NULL. */
static const char *read_headers(ts_part *part, const char *at, const char *end)
{
    for (;;) {
        const char *line_end = memmem(at, (size_t)(end - at), "\r\n", 2);
        if (!line_end)
            return NULL;
        if (line_end == at)
            return at + 2;
        read_header(part, at, line_end);
        at = line_end + 2;
    }
}

ts_status ts_multipart_parse(const char *content_type, const void *body, size_t len,
                             ts_multipart *out, ts_error *err)
{
    char boundary[80], mark[96];
    out->n = 0;
    if (!content_type || strncasecmp(content_type, "multipart/form-data", 19) != 0)
        return ts_fail(err, TS_E_ENCODING, "Content-Type: want multipart/form-data");
    if (!parameter(content_type + 19, content_type + strlen(content_type), "boundary", boundary,
                   sizeof boundary) ||
        !boundary[0])
        return ts_fail(err, TS_E_ENCODING, "Content-Type: multipart/form-data without a boundary");
    size_t mark_len = (size_t)snprintf(mark, sizeof mark, "\r\n--%s", boundary);
    const char *at = body, *end = at + len;
    if (len < mark_len - 2 || memcmp(at, mark + 2, mark_len - 2) != 0)
        return ts_fail(err, TS_E_FILE, "the body does not begin with its boundary");
    at += mark_len - 2;
    for (;;) {
        if (end - at >= 2 && at[0] == '-' && at[1] == '-')
            return TS_OK;
        if (end - at < 2 || at[0] != '\r' || at[1] != '\n')
            return ts_fail(err, TS_E_FILE, "the body has a malformed boundary");
        if (out->n == TS_MULTIPART_MAX)
            return ts_fail(err, TS_E_FILE, "more than %d parts", TS_MULTIPART_MAX);
        ts_part *part = &out->part[out->n];
        memset(part, 0, sizeof *part);
        const char *data = read_headers(part, at + 2, end);
        const char *next = data ? memmem(data, (size_t)(end - data), mark, mark_len) : NULL;
        if (!next)
            return ts_fail(err, TS_E_FILE, "part %zu is cut off", out->n + 1);
        if (!part->name[0])
            return ts_fail(err, TS_E_FILE, "part %zu has no name", out->n + 1);
        part->data = (const uint8_t *)data;
        part->len = (size_t)(next - data);
        out->n++;
        at = next + mark_len;
    }
}

const ts_part *ts_multipart_find(const ts_multipart *form, const char *name)
{
    for (size_t i = 0; i < form->n; ++i)
        if (strcmp(form->part[i].name, name) == 0)
            return &form->part[i];
    return NULL;
}
