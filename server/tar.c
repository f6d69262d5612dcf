#include "server/tar.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/fs.h"

enum {
    BLOCK = 512,
    NAME_MAX_BYTES = 1024,
    ENTRIES_MAX = 10000
};

typedef struct tar_entry {
    char name[NAME_MAX_BYTES];
    uint64_t size;
    char type;
} tar_entry;

/* Octal digits, or GNU's base-256 for large numbers. */
static bool number(const uint8_t *field, size_t n, uint64_t *out)
{
    uint64_t v = 0;
    size_t i = 0;
    if (field[0] & 0x80) {
        v = field[0] & 0x7f;
        for (i = 1; i < n; i++) {
            if (v >> 55)
                return false;
            v = v << 8 | field[i];
        }
        *out = v;
        return true;
    }
    while (i < n && field[i] == ' ')
        i++;
    for (; i < n && field[i] >= '0' && field[i] <= '7'; i++)
        v = v << 3 | (uint64_t)(field[i] - '0');
    *out = v;
    return i == n || field[i] == 0 || field[i] == ' ';
}

static bool checksum_fits(const uint8_t *h)
{
    uint64_t want, sum = 0;
    for (int i = 0; i < BLOCK; i++)
        sum += i >= 148 && i < 156 ? ' ' : h[i];
    return number(h + 148, 8, &want) && want == sum;
}

/* A relative path of plain parts; "./" in front and "/" behind are taken off. */
static bool safe_name(char *name)
{
    while (name[0] == '.' && name[1] == '/')
        memmove(name, name + 2, strlen(name + 2) + 1);
    size_t len = strlen(name);
    while (len && name[len - 1] == '/')
        name[--len] = 0;
    if (!strcmp(name, "."))
        name[0] = 0;
    if (name[0] == '/')
        return false;
    for (const char *p = name; *p;) {
        size_t part = strcspn(p, "/");
        if (part == 0 || (part == 2 && !strncmp(p, "..", 2)) || (part == 1 && *p == '.'))
            return false;
        for (size_t i = 0; i < part; i++)
            if ((unsigned char)p[i] < 32)
                return false;
        p += part + (p[part] == '/');
    }
    return true;
}

static void header_name(const uint8_t *h, char *out)
{
    char prefix[156] = {0}, name[101] = {0};
    memcpy(name, h, 100);
    if (!memcmp(h + 257, "ustar", 5))
        memcpy(prefix, h + 345, 155);
    snprintf(out, NAME_MAX_BYTES, "%s%s%s", prefix, *prefix ? "/" : "", name);
}

/* `path=` of a pax header's records "<length> key=value\n". */
static void pax_path(const char *text, size_t len, char *out)
{
    for (size_t at = 0; at < len;) {
        size_t record = strtoul(text + at, NULL, 10);
        const char *space = memchr(text + at, ' ', len - at);
        if (!record || record > len - at || !space)
            return;
        size_t used = (size_t)(space + 1 - (text + at));
        if (record > used + 6 && !strncmp(space + 1, "path=", 5))
            snprintf(out, NAME_MAX_BYTES, "%.*s", (int)(record - used - 6), space + 6);
        at += record;
    }
}

static ts_status write_entry(FILE *in, const tar_entry *e, const char *out, ts_error *err)
{
    char path[4096], buffer[65536];
    snprintf(path, sizeof path, "%s/%s", out, e->name);
    char *slash = strrchr(path, '/');
    *slash = 0;
    ts_status st = ts_fs_mkdirs(path, err);
    *slash = '/';
    if (st != TS_OK)
        return st;
    FILE *to = fopen(path, "wbx"); /* a name that comes twice is refused */
    if (!to)
        return errno == ENOSPC || errno == EDQUOT
                   ? ts_fail_errno(err, errno, "writing %s", e->name)
                   : ts_fail(err, TS_E_FILE, "tar: %s cannot be written", e->name);
    for (uint64_t left = e->size; left && st == TS_OK;) {
        size_t n = left < sizeof buffer ? (size_t)left : sizeof buffer;
        if (fread(buffer, 1, n, in) != n)
            st = ts_fail(err, TS_E_FILE, "tar: %s is cut short", e->name);
        else if (fwrite(buffer, 1, n, to) != n)
            st = ts_fail_errno(err, errno, "writing %s", e->name);
        left -= n;
    }
    if (fclose(to) && st == TS_OK)
        st = ts_fail_errno(err, errno, "writing %s", e->name);
    return st;
}

static bool skip_padding(FILE *in, uint64_t size)
{
    uint8_t pad[BLOCK];
    size_t n = (BLOCK - size % BLOCK) % BLOCK;
    return fread(pad, 1, n, in) == n;
}

/* The name that a GNU 'L' or pax 'x' entry gives to the next one. */
static ts_status long_name(FILE *in, const tar_entry *e, char *out, ts_error *err)
{
    char text[8192] = {0};
    if (e->size >= sizeof text || fread(text, 1, (size_t)e->size, in) != e->size)
        return ts_fail(err, TS_E_FILE, "tar: a long name is damaged");
    if (e->type == 'L')
        snprintf(out, NAME_MAX_BYTES, "%s", text);
    else if (e->type == 'x')
        pax_path(text, (size_t)e->size, out);
    return TS_OK;
}

static ts_status unpack_one(FILE *in, tar_entry *e, char *next, const char *out, ts_error *err)
{
    char path[4096];
    if (e->type == 'L' || e->type == 'x' || e->type == 'g')
        return long_name(in, e, next, err);
    if (*next)
        memcpy(e->name, next, NAME_MAX_BYTES);
    *next = 0;
    if (!safe_name(e->name))
        return ts_fail(err, TS_E_FILE, "tar: \"%s\" is not a safe relative name", e->name);
    if (e->type == '5') {
        snprintf(path, sizeof path, "%s/%s", out, e->name);
        return e->size ? ts_fail(err, TS_E_FILE, "tar: a folder with content")
                       : ts_fs_mkdirs(path, err);
    }
    if (e->type != '0' && e->type != 0)
        return ts_fail(err, TS_E_FILE, "tar: \"%s\" is neither a file nor a folder", e->name);
    if (!*e->name)
        return ts_fail(err, TS_E_FILE, "tar: a file without a name");
    return write_entry(in, e, out, err);
}

ts_status ts_tar_unpack(const char *tar_path, const char *out, ts_error *err)
{
    FILE *in = fopen(tar_path, "rb");
    if (!in)
        return ts_fail_errno(err, errno, "tar");
    uint8_t h[BLOCK];
    char next[NAME_MAX_BYTES] = {0};
    int entries = 0;
    ts_status st = TS_OK;
    bool ended = false;
    while (st == TS_OK && !ended) {
        size_t n = fread(h, 1, BLOCK, in);
        static const uint8_t zero[BLOCK];
        tar_entry e = {.type = (char)h[156]};
        if (n != BLOCK) {
            st = ts_fail(err, TS_E_FILE, "tar: cut short, or not a tar file");
        } else if (!memcmp(h, zero, BLOCK)) {
            ended = true;
        } else if (!checksum_fits(h) || !number(h + 124, 12, &e.size)) {
            st = ts_fail(err, TS_E_FILE, "tar: a header is damaged, or this is not a tar file");
        } else if (entries++ >= ENTRIES_MAX) {
            st = ts_fail(err, TS_E_FILE, "tar: more than %d entries", ENTRIES_MAX);
        } else {
            header_name(h, e.name);
            st = unpack_one(in, &e, next, out, err);
            if (st == TS_OK && !skip_padding(in, e.size))
                st = ts_fail(err, TS_E_FILE, "tar: cut short");
        }
    }
    fclose(in);
    if (st == TS_OK && !entries)
        st = ts_fail(err, TS_E_FILE, "tar: it is empty");
    return st;
}
