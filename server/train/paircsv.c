#include "server/train/paircsv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/fs.h"

enum {
    MAX_FILE = 1 << 30
};

bool ts_paircsv_name_valid(const char *name)
{
    size_t n = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./-");
    return n > 0 && n <= TS_PAIRCSV_NAME && name[n] == 0;
}

static void header_text(const ts_paircsv *c, ts_buf *out)
{
    ts_buf_str(out, "step,time");
    for (int i = 0; i < c->n; ++i)
        ts_buf_printf(out, ",%s", c->name[i]);
    ts_buf_str(out, "\n");
}

static ts_status add_name(ts_paircsv *c, const char *name, ts_error *err)
{
    if (!ts_paircsv_name_valid(name))
        return ts_fail(err, TS_E_OPTION, "metric \"%.80s\": a name is [A-Za-z0-9_./-]{1,64}", name);
    if (c->n == TS_PAIRCSV_MAX)
        return ts_fail(err, TS_E_OPTION, "metric \"%s\": at most %d names", name, TS_PAIRCSV_MAX);
    snprintf(c->name[c->n++], sizeof c->name[0], "%s", name);
    return TS_OK;
}

/* The names of a file that is gone on with. */
static ts_status read_header(ts_paircsv *c, ts_error *err)
{
    ts_buf file = {0};
    ts_status st = ts_fs_read(c->path, MAX_FILE, &file, err);
    if (st == TS_OK) {
        char *line = strtok((char *)ts_buf_cstr(&file), "\n"), *keep = NULL;
        char *name = line ? strtok_r(line, ",", &keep) : NULL;
        for (int i = 0; st == TS_OK && name; ++i, name = strtok_r(NULL, ",", &keep))
            if (i >= 2)
                st = add_name(c, name, err);
    }
    ts_buf_finish(&file);
    return st;
}

static ts_status reopen(ts_paircsv *c, ts_error *err)
{
    if (c->file)
        fclose(c->file);
    c->file = fopen(c->path, "ab");
    return c->file ? TS_OK : ts_fail_errno(err, errno, "open %s", c->path);
}

static ts_status write_fresh(ts_paircsv *c, ts_error *err)
{
    ts_buf text = {0};
    header_text(c, &text);
    ts_status st = ts_fs_write_atomic(c->path, text.data, text.len, err);
    ts_buf_finish(&text);
    return st;
}

ts_status ts_paircsv_open(ts_paircsv *c, const char *path, const json_t *columns, bool fresh,
                          ts_error *err)
{
    ts_status st = TS_OK;
    json_t *name;
    size_t i;
    memset(c, 0, sizeof *c);
    if (snprintf(c->path, sizeof c->path, "%s", path) >= (int)sizeof c->path)
        return ts_fail(err, TS_E_OPTION, "the path of metrics.csv is too long");
    c->fixed = columns != NULL;
    if (fresh) {
        json_array_foreach(columns, i, name) if (st == TS_OK) st =
            add_name(c, json_is_string(name) ? json_string_value(name) : "", err);
        if (st == TS_OK)
            st = write_fresh(c, err);
    } else {
        st = read_header(c, err);
    }
    return st == TS_OK ? reopen(c, err) : st;
}

void ts_paircsv_close(ts_paircsv *c)
{
    if (c->file)
        fclose(c->file);
    c->file = NULL;
}

/* The longer header, and every row with the missing commas. */
static ts_status widen(ts_paircsv *c, int added, ts_error *err)
{
    ts_buf old = {0}, text = {0};
    ts_status st = ts_fs_read(c->path, MAX_FILE, &old, err);
    if (st != TS_OK)
        return st;
    header_text(c, &text);
    const char *at = memchr(old.data, '\n', old.len), *end = (const char *)old.data + old.len;
    at = at ? at + 1 : end;
    while (at < end) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        line_end = line_end ? line_end : end;
        ts_buf_append(&text, at, (size_t)(line_end - at));
        for (int i = 0; i < added; ++i)
            ts_buf_str(&text, ",");
        ts_buf_str(&text, "\n");
        at = line_end + (line_end < end);
    }
    st = text.failed ? ts_fail(err, TS_E_NO_MEMORY, "metrics.csv")
                     : ts_fs_write_atomic(c->path, text.data, text.len, err);
    ts_buf_finish(&old);
    ts_buf_finish(&text);
    return st == TS_OK ? reopen(c, err) : st;
}

static bool known(const ts_paircsv *c, const char *name)
{
    for (int i = 0; i < c->n; ++i)
        if (strcmp(c->name[i], name) == 0)
            return true;
    return false;
}

static void put_value(FILE *f, const json_t *v)
{
    if (json_is_integer(v))
        fprintf(f, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
    else if (json_is_real(v))
        fprintf(f, "%.9g", json_real_value(v));
    else if (json_is_string(v))
        fputs(json_string_value(v), f);
}

ts_status ts_paircsv_row(ts_paircsv *c, int64_t step, double time, const json_t *metrics,
                         ts_error *err)
{
    const char *name;
    json_t *v;
    int before = c->n;
    ts_status st = TS_OK;
    json_object_foreach((json_t *)metrics, name, v) if (st == TS_OK && !c->fixed && !known(c, name))
        st = add_name(c, name, err);
    if (st != TS_OK) {
        c->n = before;
        return st;
    }
    if (c->n > before)
        st = widen(c, c->n - before, err);
    if (st != TS_OK)
        return st;
    fprintf(c->file, "%lld,%.6f", (long long)step, time);
    for (int i = 0; i < c->n; ++i) {
        fputc(',', c->file);
        put_value(c->file, json_object_get(metrics, c->name[i]));
    }
    fputc('\n', c->file);
    if (fflush(c->file) != 0)
        return ts_fail_errno(err, errno, "write metrics.csv");
    return TS_OK;
}
