#include "cl/tensor/npy.h"

#include <inttypes.h>
#include <string.h>

enum {
    MAX_HEADER = 1 << 20
};

static const char MAGIC[6] = "\x93NUMPY";

ts_status ts_npy_need(const void *data, size_t len, size_t *need, ts_error *err)
{
    const uint8_t *p = data;
    size_t have = len < sizeof MAGIC ? len : sizeof MAGIC;
    if (have && memcmp(p, MAGIC, have) != 0)
        return ts_fail(err, TS_E_HEADER, "not a NumPy file: the magic is missing");
    *need = 12;
    if (len >= 8 && (p[6] < 1 || p[6] > 3 || p[7] != 0))
        return ts_fail(err, TS_E_HEADER, "NumPy format version %u.%u; want 1.0, 2.0 or 3.0", p[6],
                       p[7]);
    if (len < 12)
        return TS_OK;
    size_t text = p[8] | (size_t)p[9] << 8, start = 10;
    if (p[6] > 1) {
        text |= (size_t)p[10] << 16 | (size_t)p[11] << 24;
        start = 12;
    }
    if (text > MAX_HEADER || start + text < 12)
        return ts_fail(err, TS_E_HEADER, "NumPy header of %zu bytes", text);
    *need = start + text;
    return TS_OK;
}

/* ---- the header: a Python dictionary with three keys, nothing else is understood ---- */

typedef struct cursor {
    const char *p, *end;
} cursor;

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

static bool take_word(cursor *c, const char *word)
{
    skip_space(c);
    size_t len = strlen(word);
    if ((size_t)(c->end - c->p) < len || memcmp(c->p, word, len) != 0)
        return false;
    c->p += len;
    return true;
}

/* A string without escapes, in either kind of quotes. */
static bool take_string(cursor *c, char *out, size_t n)
{
    skip_space(c);
    if (c->p == c->end || (*c->p != '\'' && *c->p != '"'))
        return false;
    const char *start = c->p + 1, *stop = memchr(start, *c->p, (size_t)(c->end - start));
    if (!stop || (size_t)(stop - start) >= n)
        return false;
    memcpy(out, start, (size_t)(stop - start));
    out[stop - start] = '\0';
    c->p = stop + 1;
    return !strchr(out, '\\');
}

static bool take_int(cursor *c, int64_t *out)
{
    skip_space(c);
    const char *start = c->p;
    int64_t value = 0;
    for (; c->p < c->end && *c->p >= '0' && *c->p <= '9'; c->p++) {
        if (value > INT64_MAX / 16)
            return false;
        value = value * 10 + (*c->p - '0');
    }
    if (c->p == start)
        return false;
    if (c->p < c->end && *c->p == 'L') /* Python 2 */
        c->p++;
    *out = value;
    return true;
}

static ts_status take_shape(cursor *c, ts_shape *out, ts_error *err)
{
    *out = (ts_shape){0};
    if (!take(c, '('))
        return ts_fail(err, TS_E_HEADER, "NumPy header: shape is not a tuple");
    while (!take(c, ')')) {
        if (out->rank == TS_MAX_RANK)
            return ts_fail(err, TS_E_SIZE, "more than %d dimensions", TS_MAX_RANK);
        if (!take_int(c, &out->dim[out->rank++]))
            return ts_fail(err, TS_E_HEADER, "NumPy header: bad number in shape");
        if (!take(c, ',')) {
            if (out->rank == 1 || !take(c, ')')) /* (3) is a number, not a tuple */
                return ts_fail(err, TS_E_HEADER, "NumPy header: bad shape");
            return TS_OK;
        }
    }
    return TS_OK;
}

static ts_status set_descr(const char *descr, ts_npy *out, ts_error *err)
{
    static const struct {
        const char *kind;
        ts_dtype dtype;
    } kinds[] = {{"b1", TS_BOOL}, {"u1", TS_U8},  {"i1", TS_I8},  {"u2", TS_U16}, {"i2", TS_I16},
                 {"u4", TS_U32},  {"i4", TS_I32}, {"u8", TS_U64}, {"i8", TS_I64}, {"f2", TS_F16},
                 {"f4", TS_F32},  {"f8", TS_F64}, {"V2", TS_U16}};
    char order = descr[0];
    if (order && strchr("<>=|", order))
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
            if (strcmp(descr + 1, kinds[i].kind) == 0) {
                out->dtype = kinds[i].dtype;
                out->void2 = descr[1] == 'V';
                out->big_endian = order == '>' && ts_dtype_bytes(out->dtype) > 1;
                return TS_OK;
            }
    return ts_fail(err, TS_E_DTYPE, "NumPy type '%.32s'; want bool, integers or floats", descr);
}

enum {
    HAS_DESCR = 1,
    HAS_ORDER = 2,
    HAS_SHAPE = 4
};

static ts_status take_value(cursor *c, const char *key, int *seen, ts_npy *out, ts_error *err)
{
    int which = 0;
    ts_status st = TS_OK;
    if (strcmp(key, "descr") == 0) {
        which = HAS_DESCR;
        char descr[64];
        if (take_string(c, descr, sizeof descr))
            st = set_descr(descr, out, err);
        else if (take(c, '['))
            st = ts_fail(err, TS_E_DTYPE, "NumPy structures are not taken");
        else
            st = ts_fail(err, TS_E_HEADER, "NumPy header: descr is not a string");
    } else if (strcmp(key, "fortran_order") == 0) {
        which = HAS_ORDER;
        out->fortran = take_word(c, "True");
        if (!out->fortran && !take_word(c, "False"))
            st = ts_fail(err, TS_E_HEADER, "NumPy header: fortran_order is not True or False");
    } else if (strcmp(key, "shape") == 0) {
        which = HAS_SHAPE;
        st = take_shape(c, &out->shape, err);
    }
    if (st == TS_OK && (!which || (*seen & which)))
        st = ts_fail(err, TS_E_HEADER, "NumPy header: unexpected key '%s'", key);
    *seen |= which;
    return st;
}

static ts_status take_dictionary(cursor *c, ts_npy *out, ts_error *err)
{
    int seen = 0;
    if (!take(c, '{'))
        return ts_fail(err, TS_E_HEADER, "NumPy header is not a dictionary");
    while (!take(c, '}')) {
        char key[32];
        if (!take_string(c, key, sizeof key) || !take(c, ':'))
            return ts_fail(err, TS_E_HEADER, "NumPy header: want 'key': value");
        ts_status st = take_value(c, key, &seen, out, err);
        if (st != TS_OK)
            return st;
        if (take(c, ','))
            continue;
        if (take(c, '}'))
            break;
        return ts_fail(err, TS_E_HEADER, "NumPy header: want ',' or '}' behind '%s'", key);
    }
    skip_space(c);
    if (c->p != c->end)
        return ts_fail(err, TS_E_HEADER, "NumPy header: text behind the dictionary");
    if (seen != (HAS_DESCR | HAS_ORDER | HAS_SHAPE))
        return ts_fail(err, TS_E_HEADER, "NumPy header: want descr, fortran_order and shape");
    return TS_OK;
}

ts_status ts_npy_parse(const void *data, size_t len, ts_npy *out, ts_error *err)
{
    size_t need;
    ts_status st = ts_npy_need(data, len, &need, err);
    if (st != TS_OK)
        return st;
    if (need > len)
        return ts_fail(err, TS_E_HEADER, "NumPy file of %zu bytes ends in its header of %zu", len,
                       need);
    const char *text = data;
    cursor c = {text + (text[6] > 1 ? 12 : 10), text + need};
    ts_npy npy = {.header_bytes = need};
    st = take_dictionary(&c, &npy, err);
    if (st == TS_OK)
        st = ts_shape_check(&npy.shape, npy.dtype, &npy.nbytes, err);
    if (st == TS_OK)
        *out = npy;
    return st;
}

void ts_npy_write_header(ts_buf *out, ts_dtype dtype, const ts_shape *shape)
{
    size_t start = out->len;
    ts_buf_append(out, "\x93NUMPY\1\0\0\0", 10);
    ts_buf_printf(out, "{'descr': '%s', 'fortran_order': False, 'shape': (", ts_dtype_npy(dtype));
    for (int i = 0; i < shape->rank; i++)
        ts_buf_printf(out, "%s%" PRId64, i ? ", " : "", shape->dim[i]);
    ts_buf_str(out, shape->rank == 1 ? ",), }" : "), }");
    while (!out->failed && (out->len - start + 1) % 64)
        ts_buf_str(out, " ");
    ts_buf_str(out, "\n");
    if (out->failed)
        return;
    size_t text = out->len - start - 10;
    out->data[start + 8] = (uint8_t)text;
    out->data[start + 9] = (uint8_t)(text >> 8);
}
