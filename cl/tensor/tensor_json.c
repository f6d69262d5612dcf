#include "cl/tensor/tensor_json.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/json.h"

/* ---- scanning ---- */

static const char *skip_space(const char *p)
{
    while (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')
        p++;
    return p;
}

/* The end of a string at its opening quote, or NULL. */
static const char *end_of_string(const char *p)
{
    for (p++; *p && *p != '"'; p++)
        if (*p == '\\' && !*++p)
            return NULL;
    return *p ? p + 1 : NULL;
}

static const char *digits(const char *p)
{
    while (*p >= '0' && *p <= '9')
        p++;
    return p;
}

/* The end of a number by the grammar of JSON, or NULL. */
static const char *end_of_number(const char *p, bool *integer)
{
    *integer = true;
    p += *p == '-';
    const char *start = p;
    p = digits(p);
    if (p == start || (*start == '0' && p > start + 1))
        return NULL;
    if (*p == '.') {
        *integer = false;
        start = p + 1;
        if ((p = digits(start)) == start)
            return NULL;
    }
    if (*p == 'e' || *p == 'E') {
        *integer = false;
        p++;
        p += *p == '+' || *p == '-';
        start = p;
        if ((p = digits(start)) == start)
            return NULL;
    }
    return p;
}

/* The end of any value, its brackets counted; what is in it is checked by whoever reads it. */
static const char *end_of_value(const char *p)
{
    int depth = 0;
    do {
        p = skip_space(p);
        if (*p == '"') {
            p = end_of_string(p);
            if (!p)
                return NULL;
        } else if (*p == '[' || *p == '{') {
            if (++depth > TS_JSON_MAX_DEPTH)
                return NULL;
            p++;
            continue;
        } else if (*p == ']' || *p == '}') {
            depth--;
            p++;
        } else if (*p == ',' || *p == ':') {
            if (!depth)
                return NULL;
            p++;
        } else {
            size_t len = strcspn(p, " \t\r\n,:]}[{\"");
            if (!len)
                return NULL;
            p += len;
        }
    } while (depth > 0);
    return depth == 0 ? p : NULL;
}

/* ---- elements ---- */

typedef union element {
    uint8_t u8;
    int8_t i8;
    uint16_t u16;
    int16_t i16;
    uint32_t u32;
    int32_t i32;
    uint64_t u64;
    int64_t i64;
    float f32;
    double f64;
    uint8_t bytes[8];
} element;

/* Highest value of an integer type; the lowest is 0 or minus one more. */
static uint64_t integer_max(ts_dtype dtype)
{
    size_t bits = ts_dtype_bytes(dtype) * 8;
    return ts_dtype_is_signed(dtype) ? (UINT64_C(1) << (bits - 1)) - 1 : UINT64_MAX >> (64 - bits);
}

static bool fits(ts_dtype dtype, bool negative, uint64_t magnitude)
{
    uint64_t max = integer_max(dtype);
    if (!negative)
        return magnitude <= max;
    return magnitude == 0 || (ts_dtype_is_signed(dtype) && magnitude <= max + 1);
}

/* The integer in p…end, also written as 3.0 or 1e3. */
static bool read_integer(const char *p, const char *end, bool plain, bool *negative, uint64_t *out)
{
    *negative = *p == '-';
    *out = 0;
    if (!plain) {
        double value = fabs(strtod(p, NULL));
        if (!(value <= 0x1p53) || value != floor(value))
            return false;
        *out = (uint64_t)value;
        return true;
    }
    for (p += *negative; p < end; p++)
        if (__builtin_mul_overflow(*out, 10, out) ||
            __builtin_add_overflow(*out, (uint64_t)(*p - '0'), out))
            return false;
    return true;
}

static bool set_integer(ts_dtype dtype, bool negative, uint64_t magnitude, element *out)
{
    if (dtype == TS_BOOL) {
        out->u8 = magnitude != 0;
        return true;
    }
    if (!fits(dtype, negative, magnitude))
        return false;
    out->u64 = negative ? 0 - magnitude : magnitude; /* the low bytes are the value of any width */
    return true;
}

static bool set_float(ts_dtype dtype, const char *text, element *out)
{
    if (dtype == TS_F64) {
        out->f64 = strtod(text, NULL);
        return isfinite(out->f64);
    }
    float value = strtof(text, NULL);
    if (dtype == TS_F32)
        out->f32 = value;
    else if (dtype == TS_F16)
        out->u16 = ts_f32_to_f16(value);
    else
        out->u16 = ts_f32_to_bf16(value);
    float back = dtype == TS_F32   ? value
                 : dtype == TS_F16 ? ts_f16_to_f32(out->u16)
                                   : ts_bf16_to_f32(out->u16);
    return isfinite(back);
}

static void set_special(ts_dtype dtype, double value, element *out)
{
    if (dtype == TS_F64)
        out->f64 = value;
    else if (dtype == TS_F32)
        out->f32 = (float)value;
    else if (dtype == TS_F16)
        out->u16 = ts_f32_to_f16((float)value);
    else
        out->u16 = ts_f32_to_bf16((float)value);
}

/* One word that is no number: returns its end, or NULL where it is none or does not fit. */
static const char *read_word(const char *p, ts_dtype dtype, element *out)
{
    static const struct {
        const char *text;
        double value;
    } words[] = {
        {"null", NAN}, {"\"NaN\"", NAN}, {"\"Infinity\"", INFINITY}, {"\"-Infinity\"", -INFINITY},
        {"true", 1},   {"false", 0}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t len = strlen(words[i].text);
        if (strncmp(p, words[i].text, len) != 0)
            continue;
        bool boolean = i >= 4;
        if (boolean ? dtype != TS_BOOL : !ts_dtype_is_float(dtype))
            return NULL;
        if (boolean)
            out->u8 = words[i].value != 0;
        else
            set_special(dtype, words[i].value, out);
        return p + len;
    }
    return NULL;
}

static const char *read_element(const char *p, ts_dtype dtype, element *out)
{
    bool plain, negative;
    uint64_t magnitude;
    if (*p != '-' && (*p < '0' || *p > '9'))
        return read_word(p, dtype, out);
    const char *end = end_of_number(p, &plain);
    if (!end)
        return NULL;
    if (ts_dtype_is_float(dtype))
        return set_float(dtype, p, out) ? end : NULL;
    if (!read_integer(p, end, plain, &negative, &magnitude) ||
        !set_integer(dtype, negative, magnitude, out))
        return NULL;
    return end;
}

/* ---- data: flat, or nested as the shape says ---- */

typedef struct walk {
    const ts_tensor_json *doc;
    ts_status (*put)(void *arg, const void *data, size_t len, ts_error *err); /* NULL: check only */
    void *arg;
    size_t width, count;
    int64_t filled[TS_MAX_RANK + 1]; /* items in the open list of each depth */
    int depth, leaf_depth; /* of lists; leaf_depth: 0 until the first element or empty list */
    size_t used;
    uint8_t piece[4096];
} walk;

static ts_status flush(walk *w, ts_error *err)
{
    size_t n = w->used;
    w->used = 0;
    return n && w->put ? w->put(w->arg, w->piece, n, err) : TS_OK;
}

static ts_status bad_element(const walk *w, const char *p, ts_error *err)
{
    return ts_fail(err, TS_E_JSON, "data[%zu]: %.24s is no value of %s", w->count,
                   *p ? p : "the end of the text", ts_dtype_name(w->doc->dtype));
}

static ts_status wrong_shape(const walk *w, ts_error *err)
{
    char text[256];
    return ts_fail(err, TS_E_SIZE, "data does not have the shape %s (near element %zu)",
                   ts_shape_text(&w->doc->shape, text, sizeof text), w->count);
}

static ts_status take_element(walk *w, const char **p, ts_error *err)
{
    element e;
    const char *end = read_element(*p, w->doc->dtype, &e);
    if (!end || (*end && !strchr(" \t\r\n,]}", *end)))
        return bad_element(w, *p, err);
    *p = end;
    w->count++;
    w->filled[w->depth]++;
    memcpy(w->piece + w->used, e.bytes, w->width);
    w->used += w->width;
    return w->used + w->width > sizeof w->piece ? flush(w, err) : TS_OK;
}

static ts_status open_list(walk *w, ts_error *err)
{
    int rank = w->doc->shape.rank;
    if (w->depth > 0)
        w->filled[w->depth]++;
    if (++w->depth > (rank ? rank : 1))
        return wrong_shape(w, err);
    w->filled[w->depth] = 0;
    return TS_OK;
}

/* A nested list of depth d holds dim[d-1] items; a flat one all elements. */
static ts_status close_list(walk *w, ts_error *err)
{
    const ts_shape *shape = &w->doc->shape;
    bool flat = w->depth == 1 && w->leaf_depth == 1;
    int64_t want = flat || shape->rank == 0 ? ts_shape_elements(shape) : shape->dim[w->depth - 1];
    if (w->filled[w->depth] != want)
        return wrong_shape(w, err);
    w->depth--;
    return TS_OK;
}

/* Elements lie all at the same depth: 1 (flat) or the rank. */
static bool leaf_here(walk *w)
{
    int rank = w->doc->shape.rank;
    if (!w->leaf_depth)
        w->leaf_depth = w->depth;
    return w->leaf_depth == w->depth && (w->depth == 1 || w->depth == rank || rank == 0);
}

static ts_status walk_list(walk *w, const char **p, ts_error *err)
{
    bool value_next = true; /* else a comma or the end of the list */
    do {
        *p = skip_space(*p);
        ts_status st = TS_OK;
        if (**p == ']') {
            bool empty = w->filled[w->depth] == 0;
            if (value_next && !empty)
                return bad_element(w, *p, err);
            if (empty && w->depth == 1)
                w->leaf_depth = 1;
            st = close_list(w, err);
            value_next = false;
            ++*p;
        } else if (!value_next) {
            if (**p != ',')
                return bad_element(w, *p, err);
            value_next = true;
            ++*p;
        } else if (**p == '[') {
            if (w->leaf_depth && w->depth >= w->leaf_depth)
                return wrong_shape(w, err);
            st = open_list(w, err);
            ++*p;
        } else {
            if (!leaf_here(w))
                return wrong_shape(w, err);
            st = take_element(w, p, err);
            value_next = false;
        }
        if (st != TS_OK)
            return st;
    } while (w->depth > 0);
    return TS_OK;
}

static ts_status walk_data(walk *w, ts_error *err)
{
    const char *p = skip_space(w->doc->data);
    w->width = ts_dtype_bytes(w->doc->dtype);
    ts_status st;
    if (*p == '[') {
        p++;
        st = open_list(w, err);
        if (st == TS_OK)
            st = walk_list(w, &p, err);
    } else if (w->doc->shape.rank == 0) {
        st = take_element(w, &p, err);
    } else {
        st = ts_fail(err, TS_E_JSON, "data: want a list");
    }
    if (st == TS_OK && w->count != (size_t)ts_shape_elements(&w->doc->shape))
        st = wrong_shape(w, err);
    return st == TS_OK ? flush(w, err) : st;
}

ts_status ts_tensor_json_convert(const ts_tensor_json *doc,
                                 ts_status (*put)(void *arg, const void *data, size_t len,
                                                  ts_error *err),
                                 void *arg, ts_error *err)
{
    walk w = {.doc = doc, .put = put, .arg = arg};
    return walk_data(&w, err);
}

/* ---- the document ---- */

typedef struct span {
    const char *begin, *end;
} span;

enum {
    KEY_DTYPE,
    KEY_SHAPE,
    KEY_DATA,
    N_KEYS
};

static ts_status add_member(const char *key, size_t key_len, span value, span found[N_KEYS],
                            ts_error *err)
{
    static const char *const names[N_KEYS] = {"dtype", "shape", "data"};
    for (int i = 0; i < N_KEYS; i++) {
        if (strlen(names[i]) != key_len || memcmp(names[i], key, key_len) != 0)
            continue;
        if (found[i].begin)
            return ts_fail(err, TS_E_JSON, "key \"%s\" is there twice", names[i]);
        found[i] = value;
        return TS_OK;
    }
    return ts_fail(err, TS_E_OPTION, "unknown key \"%.*s\"; want dtype, shape and data",
                   key_len > 64 ? 64 : (int)key_len, key);
}

static ts_status split(const char *text, size_t len, span found[N_KEYS], ts_error *err)
{
    const char *p = skip_space(text);
    if (*p++ != '{')
        return ts_fail(err, TS_E_JSON, "want an object with dtype, shape and data");
    for (;;) {
        p = skip_space(p);
        const char *key = p, *key_end = *p == '"' ? end_of_string(p) : NULL;
        if (!key_end)
            return ts_fail(err, TS_E_JSON, "byte %zu: want a key", (size_t)(p - text));
        p = skip_space(key_end);
        if (*p++ != ':')
            return ts_fail(err, TS_E_JSON, "byte %zu: want ':'", (size_t)(p - 1 - text));
        span value = {.begin = skip_space(p)};
        value.end = end_of_value(value.begin);
        if (!value.end)
            return ts_fail(err, TS_E_JSON, "byte %zu: the value is malformed or nested too deep",
                           (size_t)(value.begin - text));
        ts_status st = add_member(key + 1, (size_t)(key_end - key) - 2, value, found, err);
        if (st != TS_OK)
            return st;
        p = skip_space(value.end);
        if (*p == '}')
            break;
        if (*p++ != ',')
            return ts_fail(err, TS_E_JSON, "byte %zu: want ',' or '}'", (size_t)(p - 1 - text));
    }
    p = skip_space(p + 1);
    if (p != text + len)
        return ts_fail(err, TS_E_JSON, "byte %zu: text behind the object", (size_t)(p - text));
    return TS_OK;
}

static ts_status read_dtype(span value, ts_dtype *out, ts_error *err)
{
    char name[16];
    size_t len = (size_t)(value.end - value.begin);
    if (*value.begin != '"')
        return ts_fail(err, TS_E_OPTION, "dtype: want a string");
    if (len - 2 < sizeof name) {
        memcpy(name, value.begin + 1, len - 2);
        name[len - 2] = '\0';
        if (ts_dtype_parse(name, out))
            return TS_OK;
    }
    return ts_fail(err, TS_E_DTYPE, "unknown dtype %.*s", len > 40 ? 40 : (int)len, value.begin);
}

static ts_status read_shape(span value, ts_shape *out, ts_error *err)
{
    *out = (ts_shape){0};
    const char *p = value.begin;
    if (*p++ != '[')
        return ts_fail(err, TS_E_OPTION, "shape: want a list of numbers");
    p = skip_space(p);
    if (*p == ']')
        return TS_OK;
    for (;; p++) {
        bool plain, negative;
        uint64_t n;
        p = skip_space(p);
        const char *end = end_of_number(p, &plain);
        if (!end || !plain || !read_integer(p, end, true, &negative, &n))
            return ts_fail(err, TS_E_OPTION, "shape: want a list of whole numbers");
        if (out->rank == TS_MAX_RANK)
            return ts_fail(err, TS_E_SIZE, "shape: more than %d dimensions", TS_MAX_RANK);
        if (n > INT32_MAX || negative)
            return ts_fail(err, TS_E_SIZE, "shape: %.*s is not in 0 … %d", (int)(end - p), p,
                           INT32_MAX);
        out->dim[out->rank++] = (int64_t)n;
        p = skip_space(end);
        if (*p == ']')
            return TS_OK;
        if (*p != ',')
            return ts_fail(err, TS_E_OPTION, "shape: want a list of whole numbers");
    }
}

ts_status ts_tensor_json_parse(const char *text, size_t len, ts_tensor_json *out, ts_error *err)
{
    if (memchr(text, '\0', len))
        return ts_fail(err, TS_E_JSON, "a zero byte in the text");
    span found[N_KEYS] = {{0}};
    ts_tensor_json doc = {0};
    ts_status st = split(text, len, found, err);
    if (st == TS_OK &&
        (!found[KEY_DTYPE].begin || !found[KEY_SHAPE].begin || !found[KEY_DATA].begin))
        st = ts_fail(err, TS_E_OPTION, "want dtype, shape and data");
    if (st == TS_OK)
        st = read_dtype(found[KEY_DTYPE], &doc.dtype, err);
    if (st == TS_OK)
        st = read_shape(found[KEY_SHAPE], &doc.shape, err);
    if (st == TS_OK)
        st = ts_shape_check(&doc.shape, doc.dtype, &doc.nbytes, err);
    if (st != TS_OK)
        return st;
    doc.data = found[KEY_DATA].begin;
    st = ts_tensor_json_convert(&doc, NULL, NULL, err);
    if (st == TS_OK)
        *out = doc;
    return st;
}

/* ---- writing ---- */

static void write_float(ts_buf *out, double value, int precision)
{
    if (isfinite(value))
        ts_buf_printf(out, "%.*g", precision, value);
    else
        ts_json_write_double(value, out);
}

static void write_one(ts_buf *out, ts_dtype dtype, const element *e)
{
    switch (dtype) {
    case TS_BOOL:
        ts_buf_str(out, e->u8 ? "true" : "false");
        break;
    case TS_U8:
        ts_buf_printf(out, "%u", e->u8);
        break;
    case TS_I8:
        ts_buf_printf(out, "%d", e->i8);
        break;
    case TS_U16:
        ts_buf_printf(out, "%u", e->u16);
        break;
    case TS_I16:
        ts_buf_printf(out, "%d", e->i16);
        break;
    case TS_U32:
        ts_buf_printf(out, "%" PRIu32, e->u32);
        break;
    case TS_I32:
        ts_buf_printf(out, "%" PRId32, e->i32);
        break;
    case TS_U64:
        ts_buf_printf(out, "%" PRIu64, e->u64);
        break;
    case TS_I64:
        ts_buf_printf(out, "%" PRId64, e->i64);
        break;
    case TS_F16:
        write_float(out, ts_f16_to_f32(e->u16), 9);
        break;
    case TS_BF16:
        write_float(out, ts_bf16_to_f32(e->u16), 9);
        break;
    case TS_F32:
        write_float(out, e->f32, 9);
        break;
    default:
        write_float(out, e->f64, 17);
        break;
    }
}

void ts_tensor_json_write_elements(ts_buf *out, ts_dtype dtype, const void *data, size_t n)
{
    size_t width = ts_dtype_bytes(dtype);
    const uint8_t *p = data;
    for (size_t i = 0; i < n; i++, p += width) {
        element e;
        memcpy(e.bytes, p, width);
        if (i)
            ts_buf_append(out, ",", 1);
        write_one(out, dtype, &e);
    }
}
