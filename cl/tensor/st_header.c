#include "cl/tensor/st_header.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/size.h"

/*
 * The header is scanned by hand: a general JSON tree takes ten times the text's memory, and of a
 * header of 100 MB that is too much to give before anything is known to be right.
 */
typedef struct cursor {
    const char *p, *start, *end;
    char *names; /* decoded strings go here: they are never longer than their text */
    size_t names_used;
} cursor;

static ts_status bad(const cursor *c, const char *what, ts_error *err)
{
    return ts_fail(err, TS_E_HEADER, "safetensors header, byte %zu: %s", (size_t)(c->p - c->start),
                   what);
}

static void skip_space(cursor *c)
{
    while (c->p < c->end && (*c->p == ' ' || *c->p == '\t' || *c->p == '\n' || *c->p == '\r'))
        c->p++;
}

static bool take(cursor *c, char wanted)
{
    skip_space(c);
    if (c->p == c->end || *c->p != wanted)
        return false;
    c->p++;
    return true;
}

/* ---- strings ---- */

static bool take_hex4(cursor *c, uint32_t *out)
{
    if (c->end - c->p < 4)
        return false;
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) {
        char ch = *c->p++;
        uint32_t digit;
        if (ch >= '0' && ch <= '9')
            digit = (uint32_t)(ch - '0');
        else if (ch >= 'a' && ch <= 'f')
            digit = (uint32_t)(ch - 'a') + 10;
        else if (ch >= 'A' && ch <= 'F')
            digit = (uint32_t)(ch - 'A') + 10;
        else
            return false;
        value = value << 4 | digit;
    }
    *out = value;
    return true;
}

/* The rest of \uXXXX, with its second half where it is a surrogate; zero and lone halves are refused. */
static bool take_unicode(cursor *c, uint32_t *out)
{
    uint32_t low;
    if (!take_hex4(c, out) || *out == 0 || (*out >= 0xdc00 && *out < 0xe000))
        return false;
    if (*out < 0xd800 || *out >= 0xe000)
        return true;
    if (c->end - c->p < 2 || c->p[0] != '\\' || c->p[1] != 'u')
        return false;
    c->p += 2;
    if (!take_hex4(c, &low) || low < 0xdc00 || low >= 0xe000)
        return false;
    *out = 0x10000 + ((*out - 0xd800) << 10) + (low - 0xdc00);
    return true;
}

static char *put_utf8(char *out, uint32_t code)
{
    if (code < 0x80) {
        *out++ = (char)code;
    } else if (code < 0x800) {
        *out++ = (char)(0xc0 | code >> 6);
        *out++ = (char)(0x80 | (code & 63));
    } else if (code < 0x10000) {
        *out++ = (char)(0xe0 | code >> 12);
        *out++ = (char)(0x80 | (code >> 6 & 63));
        *out++ = (char)(0x80 | (code & 63));
    } else {
        *out++ = (char)(0xf0 | code >> 18);
        *out++ = (char)(0x80 | (code >> 12 & 63));
        *out++ = (char)(0x80 | (code >> 6 & 63));
        *out++ = (char)(0x80 | (code & 63));
    }
    return out;
}

static bool take_escape(cursor *c, char **out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (c->p == c->end)
        return false;
    char ch = *c->p++;
    if (ch == 'u') {
        uint32_t code;
        if (!take_unicode(c, &code))
            return false;
        *out = put_utf8(*out, code);
        return true;
    }
    const char *at = ch ? strchr(from, ch) : NULL;
    if (!at)
        return false;
    *(*out)++ = to[at - from];
    return true;
}

/* Length of the UTF-8 character at p, 0 if it is not one. */
static int utf8_length(const uint8_t *p, const uint8_t *end)
{
    if (p[0] < 0x80)
        return 1;
    int len = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || end - p < len)
        return 0;
    for (int i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xf0 && p[1] < 0x90);
    bool outside = (p[0] == 0xed && p[1] >= 0xa0) || (p[0] == 0xf4 && p[1] >= 0x90);
    return overlong || outside ? 0 : len;
}

/* A string; *out lives in the cursor's name memory. */
static bool take_string(cursor *c, const char **out)
{
    if (!take(c, '"'))
        return false;
    char *to = c->names + c->names_used;
    *out = to;
    while (c->p < c->end && *c->p != '"') {
        if ((uint8_t)*c->p < 0x20)
            return false;
        if (*c->p == '\\') {
            c->p++;
            if (!take_escape(c, &to))
                return false;
            continue;
        }
        int len = utf8_length((const uint8_t *)c->p, (const uint8_t *)c->end);
        if (!len)
            return false;
        memcpy(to, c->p, (size_t)len);
        to += len;
        c->p += len;
    }
    if (c->p == c->end)
        return false;
    c->p++;
    *to++ = '\0';
    c->names_used = (size_t)(to - c->names);
    return true;
}

/* Digits without a leading zero; false beyond 2^64 - 1. */
static bool take_uint(cursor *c, uint64_t *out)
{
    skip_space(c);
    const char *start = c->p;
    *out = 0;
    for (; c->p < c->end && *c->p >= '0' && *c->p <= '9'; c->p++)
        if (__builtin_mul_overflow(*out, 10, out) ||
            __builtin_add_overflow(*out, (uint64_t)(*c->p - '0'), out))
            return false;
    return c->p == start + 1 || (c->p > start && *start != '0');
}

/* ---- entries ---- */

enum {
    HAS_DTYPE = 1,
    HAS_SHAPE = 2,
    HAS_OFFSETS = 4,
    HAS_ALL = 7
};

static ts_status take_dims(cursor *c, ts_shape *shape, ts_error *err)
{
    if (!take(c, '['))
        return bad(c, "shape is not a list", err);
    if (take(c, ']'))
        return TS_OK;
    do {
        uint64_t d;
        if (shape->rank == TS_MAX_RANK)
            return bad(c, "more than 8 dimensions", err);
        if (!take_uint(c, &d))
            return bad(c, "bad number in shape", err);
        if (d > INT32_MAX)
            return bad(c, "a dimension is over 2147483647", err);
        shape->dim[shape->rank++] = (int64_t)d;
    } while (take(c, ','));
    return take(c, ']') ? TS_OK : bad(c, "shape is not closed", err);
}

static ts_status take_offsets(cursor *c, uint64_t *begin, uint64_t *end, ts_error *err)
{
    if (!take(c, '[') || !take_uint(c, begin) || !take(c, ',') || !take_uint(c, end) ||
        !take(c, ']'))
        return bad(c, "data_offsets is not a pair of numbers", err);
    return TS_OK;
}

static ts_status take_field(cursor *c, const char *key, int *seen, ts_st_entry *e, uint64_t *end,
                            ts_error *err)
{
    int which = 0;
    ts_status st = TS_OK;
    if (strcmp(key, "dtype") == 0) {
        which = HAS_DTYPE;
        const char *text;
        if (!take_string(c, &text))
            return bad(c, "dtype is not a string", err);
        if (!ts_dtype_parse_safetensors(text, &e->dtype))
            return ts_fail(err, TS_E_HEADER, "tensor \"%.64s\": unknown dtype \"%.16s\"", e->name,
                           text);
    } else if (strcmp(key, "shape") == 0) {
        which = HAS_SHAPE;
        st = take_dims(c, &e->shape, err);
    } else if (strcmp(key, "data_offsets") == 0) {
        which = HAS_OFFSETS;
        st = take_offsets(c, &e->offset, end, err);
    }
    if (st == TS_OK && (!which || (*seen & which)))
        st = ts_fail(err, TS_E_HEADER, "tensor \"%.64s\": unexpected key \"%.32s\"", e->name, key);
    *seen |= which;
    return st;
}

static ts_status check_entry(ts_st_entry *e, uint64_t end, ts_error *err)
{
    ts_status st = ts_shape_check(&e->shape, e->dtype, &e->nbytes, err);
    if (st != TS_OK) {
        ts_error_prefix(err, "tensor \"%.64s\"", e->name);
        return st;
    }
    if (end < e->offset || end - e->offset != e->nbytes)
        return ts_fail(err, TS_E_HEADER,
                       "tensor \"%.64s\": data_offsets [%" PRIu64 ",%" PRIu64
                       "] do not hold its %zu bytes",
                       e->name, e->offset, end, e->nbytes);
    return TS_OK;
}

static ts_status take_entry(cursor *c, const char *name, ts_st_entry *e, ts_error *err)
{
    *e = (ts_st_entry){.name = name};
    uint64_t end = 0;
    int seen = 0;
    if (!*name)
        return bad(c, "a tensor without a name", err);
    if (!take(c, '{'))
        return bad(c, "an entry is not an object", err);
    do {
        const char *key;
        size_t keep = c->names_used;
        if (!take_string(c, &key) || !take(c, ':'))
            return bad(c, "want \"key\": value", err);
        ts_status st = take_field(c, key, &seen, e, &end, err);
        if (st != TS_OK)
            return st;
        c->names_used = keep;
    } while (take(c, ','));
    if (!take(c, '}'))
        return bad(c, "an entry is not closed", err);
    if (seen != HAS_ALL)
        return ts_fail(err, TS_E_HEADER, "tensor \"%.64s\": want dtype, shape and data_offsets",
                       name);
    return check_entry(e, end, err);
}

static ts_status take_metadata(cursor *c, json_t **out, ts_error *err)
{
    if (*out)
        return bad(c, "__metadata__ is there twice", err);
    *out = json_object();
    if (!*out)
        return ts_fail(err, TS_E_NO_MEMORY, "safetensors metadata");
    if (!take(c, '{'))
        return bad(c, "__metadata__ is not an object", err);
    if (take(c, '}'))
        return TS_OK;
    do {
        const char *key, *value;
        size_t keep = c->names_used;
        if (!take_string(c, &key) || !take(c, ':') || !take_string(c, &value))
            return bad(c, "__metadata__ holds more than strings", err);
        if (json_object_size(*out) == TS_ST_MAX_ENTRIES)
            return bad(c, "__metadata__ has too many keys", err);
        if (json_object_get(*out, key))
            return bad(c, "a key of __metadata__ is there twice", err);
        if (json_object_set_new(*out, key, json_string(value)) != 0)
            return ts_fail(err, TS_E_NO_MEMORY, "safetensors metadata");
        c->names_used = keep;
    } while (take(c, ','));
    return take(c, '}') ? TS_OK : bad(c, "__metadata__ is not closed", err);
}

static ts_status add_entry(ts_st_header *file, size_t *cap, const ts_st_entry *e, ts_error *err)
{
    if (file->n == TS_ST_MAX_ENTRIES)
        return ts_fail(err, TS_E_HEADER, "more than %d tensors in one file", TS_ST_MAX_ENTRIES);
    if (file->n == *cap) {
        size_t more = *cap ? *cap + *cap / 2 : 16;
        void *grown = ts_realloc_array(file->entries, more, sizeof *file->entries);
        if (!grown)
            return ts_fail(err, TS_E_NO_MEMORY, "safetensors entries");
        file->entries = grown;
        *cap = more;
    }
    file->entries[file->n++] = *e;
    return TS_OK;
}

static ts_status take_all(cursor *c, ts_st_header *file, ts_error *err)
{
    size_t cap = 0;
    if (c->p == c->end || *c->p != '{')
        return bad(c, "does not begin with '{'", err);
    c->p++;
    if (!take(c, '}')) {
        do {
            const char *name;
            ts_st_entry e;
            if (!take_string(c, &name) || !take(c, ':'))
                return bad(c, "want \"name\": {…}", err);
            ts_status st;
            if (strcmp(name, "__metadata__") == 0) {
                st = take_metadata(c, &file->metadata, err);
            } else {
                st = take_entry(c, name, &e, err);
                if (st == TS_OK)
                    st = add_entry(file, &cap, &e, err);
            }
            if (st != TS_OK)
                return st;
        } while (take(c, ','));
        if (!take(c, '}'))
            return bad(c, "want ',' or '}'", err);
    }
    skip_space(c);
    return c->p == c->end ? TS_OK : bad(c, "text behind the object", err);
}

/* ---- the whole ---- */

static int by_offset(const void *a, const void *b)
{
    const ts_st_entry *x = a, *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return x->nbytes < y->nbytes ? -1 : x->nbytes > y->nbytes; /* empty ones first */
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static ts_status check_names(const ts_st_header *file, ts_error *err)
{
    const char **names = calloc(file->n + 1, sizeof *names);
    if (!names)
        return ts_fail(err, TS_E_NO_MEMORY, "safetensors names");
    for (size_t i = 0; i < file->n; i++)
        names[i] = file->entries[i].name;
    qsort(names, file->n, sizeof *names, by_name);
    ts_status st = TS_OK;
    for (size_t i = 1; st == TS_OK && i < file->n; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            st = ts_fail(err, TS_E_HEADER, "tensor \"%.64s\" is there twice", names[i]);
    free(names);
    return st;
}

static ts_status check_cover(ts_st_header *file, uint64_t file_bytes, ts_error *err)
{
    if (file->n)
        qsort(file->entries, file->n, sizeof *file->entries, by_offset);
    uint64_t end = 0;
    for (size_t i = 0; i < file->n; i++) {
        const ts_st_entry *e = &file->entries[i];
        if (e->offset != end)
            return ts_fail(err, TS_E_HEADER, "tensor \"%.64s\" begins at %" PRIu64 "; %s %" PRIu64,
                           e->name, e->offset,
                           e->offset < end ? "it overlaps what ends at" : "there is a gap from",
                           end);
        end += e->nbytes; /* each is < 2^34 and there are < 2^17 */
    }
    file->data_bytes = end;
    if (file_bytes != UINT64_MAX && file->header_bytes + end != file_bytes)
        return ts_fail(err, TS_E_SIZE,
                       "safetensors file of %" PRIu64 " bytes; its header describes %" PRIu64,
                       file_bytes, file->header_bytes + end);
    return TS_OK;
}

ts_status ts_st_header_need(const void *data, size_t len, size_t *need, ts_error *err)
{
    *need = 8;
    if (len < 8)
        return TS_OK;
    const uint8_t *p = data;
    uint64_t n = 0;
    for (int i = 7; i >= 0; i--)
        n = n << 8 | p[i];
    if (n > TS_ST_MAX_HEADER || n < 2)
        return ts_fail(err, TS_E_HEADER, "safetensors header of %" PRIu64 " bytes; want 2 … %d", n,
                       TS_ST_MAX_HEADER);
    if (len > 8 && p[8] != '{') /* before megabytes of something else are collected */
        return ts_fail(err, TS_E_HEADER, "safetensors header does not begin with '{'");
    *need = 8 + (size_t)n;
    return TS_OK;
}

ts_status ts_st_header_parse(const void *data, size_t len, uint64_t file_bytes, ts_st_header *out,
                             ts_error *err)
{
    size_t need;
    ts_status st = ts_st_header_need(data, len, &need, err);
    if (st != TS_OK)
        return st;
    if (need > len || need > file_bytes)
        return ts_fail(err, TS_E_HEADER, "safetensors file ends in its header of %zu bytes", need);
    ts_st_header file = {.header_bytes = need};
    const char *text = (const char *)data + 8;
    cursor c = {.p = text, .start = text, .end = text + (need - 8), .names = malloc(need)};
    if (!c.names)
        return ts_fail(err, TS_E_NO_MEMORY, "safetensors header");
    st = take_all(&c, &file, err);
    if (st == TS_OK)
        st = check_names(&file, err);
    if (st == TS_OK)
        st = check_cover(&file, file_bytes, err);
    file.names = c.names;
    if (st != TS_OK)
        ts_st_header_finish(&file);
    else
        *out = file;
    return st;
}

void ts_st_header_finish(ts_st_header *file)
{
    if (!file)
        return;
    json_decref(file->metadata);
    free(file->entries);
    free(file->names);
    *file = (ts_st_header){0};
}

const ts_st_entry *ts_st_header_find(const ts_st_header *file, const char *name)
{
    for (size_t i = 0; i < file->n; i++)
        if (strcmp(file->entries[i].name, name) == 0)
            return &file->entries[i];
    return NULL;
}

/* ---- writing ---- */

ts_status ts_st_header_write(ts_buf *out, const ts_st_entry *entries, size_t n,
                             const json_t *metadata, ts_error *err)
{
    size_t start = out->len;
    uint64_t offset = 0;
    ts_buf_append(out, "\0\0\0\0\0\0\0\0{", 9);
    if (metadata) {
        ts_buf_str(out, "\"__metadata__\":");
        ts_json_write(metadata, out);
    }
    for (size_t i = 0; i < n; i++) {
        const ts_st_entry *e = &entries[i];
        size_t nbytes;
        char shape[256];
        ts_status st = ts_shape_check(&e->shape, e->dtype, &nbytes, err);
        if (st != TS_OK)
            return st;
        ts_buf_str(out, i || metadata ? "," : "");
        ts_json_write_string(e->name, out);
        ts_buf_printf(out,
                      ":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}",
                      ts_dtype_safetensors(e->dtype), ts_shape_text(&e->shape, shape, sizeof shape),
                      offset, offset + nbytes);
        offset += nbytes;
    }
    ts_buf_str(out, "}");
    while (!out->failed && (out->len - start) % 8)
        ts_buf_str(out, " ");
    if (out->failed)
        return ts_fail(err, TS_E_NO_MEMORY, "safetensors header");
    uint64_t text = out->len - start - 8;
    for (int i = 0; i < 8; i++)
        out->data[start + (size_t)i] = (uint8_t)(text >> (8 * i));
    return TS_OK;
}
