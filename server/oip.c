#include "server/oip.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/size.h"
#include "server/oip_number.h"

void ts_oip_tensor_finish(ts_oip_tensor *t)
{
    if (t)
        ts_buf_finish(&t->owned);
}

void ts_oip_request_finish(ts_oip_request *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->n_inputs; i++)
        ts_oip_tensor_finish(&r->inputs[i]);
    free(r->inputs);
    free(r->outputs);
    memset(r, 0, sizeof *r);
}

ts_status ts_oip_header_length(const char *text, size_t len, size_t *out, ts_error *err)
{
    size_t n = 0;
    bool good = *text != 0;
    for (const char *c = text; *c && good; c++) {
        good = *c >= '0' && *c <= '9' && n < 1u << 30;
        n = n * 10 + (size_t)(*c - '0');
    }
    if (!good || n > INT32_MAX || n > len)
        return ts_fail(err, TS_E_OPTION,
                       "Inference-Header-Content-Length is '%.40s', want a number of bytes up to "
                       "the body's %zu",
                       text, len);
    *out = n;
    return TS_OK;
}

/* ---- parameters ---- */

static ts_status check_parameters(const json_t *p, const char *of, ts_error *err)
{
    const char *key;
    json_t *value;
    if (p && !json_is_object(p))
        return ts_fail(err, TS_E_OPTION, "%s: parameters must be an object", of);
    json_object_foreach((json_t *)p, key, value)
    {
        if (!json_is_string(value) && !json_is_number(value) && !json_is_boolean(value))
            return ts_fail(err, TS_E_OPTION,
                           "%s: parameter '%.64s' must be a string, number or boolean", of, key);
        if (strncmp(key, "shared_memory_", 14) == 0)
            return ts_fail(err, TS_E_OPTION, "%s: shared memory is not supported", of);
    }
    return TS_OK;
}

static ts_status get_flag(const json_t *p, const char *key, bool *present, bool *out, ts_error *err)
{
    const json_t *v = json_object_get(p, key);
    if (!v)
        return TS_OK;
    if (!json_is_boolean(v))
        return ts_fail(err, TS_E_OPTION, "parameter '%s' must be true or false", key);
    *present = true;
    *out = json_is_true(v);
    return TS_OK;
}

static ts_status get_unsigned(const json_t *p, const char *key, uint64_t *out, ts_error *err)
{
    const json_t *v = json_object_get(p, key);
    if (v && (!json_is_integer(v) || json_integer_value(v) < 0))
        return ts_fail(err, TS_E_OPTION, "parameter '%s' must be a whole number of 0 or more", key);
    if (v)
        *out = (uint64_t)json_integer_value(v);
    return TS_OK;
}

static ts_status get_resident(const json_t *p, const char *of, char *out, ts_error *err)
{
    const json_t *v = json_object_get(p, "tensor");
    if (!v)
        return TS_OK;
    if (!json_is_string(v) || !ts_name_valid(json_string_value(v)))
        return ts_fail(err, TS_E_OPTION, "%s: parameters.tensor must be a tensor's name", of);
    snprintf(out, TS_NAME_MAX + 1, "%s", json_string_value(v));
    return TS_OK;
}

static ts_status request_parameters(const json_t *p, ts_oip_request *r, ts_error *err)
{
    const char *key;
    json_t *value;
    bool present;
    ts_status st = check_parameters(p, "request", err);
    json_object_foreach((json_t *)p, key, value)
    {
        if (st == TS_OK && strncmp(key, "triton_", 7) == 0)
            st = ts_fail(err, TS_E_OPTION, "parameter '%.64s': names with triton_ are reserved",
                         key);
    }
    const json_t *sequence = json_object_get(p, "sequence_id");
    bool is_sequence = json_integer_value(sequence) != 0 ||
                       (json_is_string(sequence) && *json_string_value(sequence));
    if (st == TS_OK && is_sequence)
        st = ts_fail(err, TS_E_OPTION, "sequences are not supported");
    if (st == TS_OK)
        st = get_flag(p, "binary_data_output", &present, &r->binary_output, err);
    if (st == TS_OK)
        st = get_unsigned(p, "priority", &r->priority, err);
    return st == TS_OK ? get_unsigned(p, "timeout", &r->timeout_us, err) : st;
}

/* ---- inputs ---- */

static ts_status read_shape(const json_t *list, ts_oip_tensor *t, ts_error *err)
{
    if (!json_is_array(list))
        return ts_fail(err, TS_E_OPTION, "input '%s': shape must be a list of whole numbers",
                       t->name);
    if (json_array_size(list) > TS_MAX_RANK)
        return ts_fail(err, TS_E_OPTION, "input '%s': rank %zu, at most %d", t->name,
                       json_array_size(list), TS_MAX_RANK);
    size_t elements = 1, bytes;
    t->shape.rank = (int)json_array_size(list);
    for (int i = 0; i < t->shape.rank; i++) {
        const json_t *dim = json_array_get(list, (size_t)i);
        if (!json_is_integer(dim) || json_integer_value(dim) < 0)
            return ts_fail(err, TS_E_OPTION,
                           "input '%s': shape[%d] must be a whole number of 0 or more", t->name, i);
        t->shape.dim[i] = json_integer_value(dim);
        if (!ts_mul_size(elements, (size_t)t->shape.dim[i], &elements))
            return ts_fail(err, TS_E_OPTION, "input '%s': its shape overflows", t->name);
    }
    size_t width = t->bytes ? 4 : ts_dtype_bytes(t->dtype);
    if (!ts_mul_size(elements, width, &bytes) || elements > (size_t)1 << 40)
        return ts_fail(err, TS_E_OPTION, "input '%s': its shape overflows", t->name);
    return TS_OK;
}

ts_status ts_oip_check_bytes(const ts_oip_tensor *t, ts_error *err)
{
    size_t elements = (size_t)ts_shape_elements(&t->shape);
    if (!t->bytes) {
        size_t want = elements * ts_dtype_bytes(t->dtype);
        return want == t->nbytes ? TS_OK
                                 : ts_fail(err, TS_E_OPTION,
                                           "input '%s': %zu bytes of data, %s of its shape has %zu",
                                           t->name, t->nbytes, ts_dtype_oip(t->dtype), want);
    }
    size_t at = 0, count = 0;
    while (at < t->nbytes) {
        uint32_t len;
        if (t->nbytes - at < 4)
            break;
        memcpy(&len, t->data + at, 4);
        if (len > t->nbytes - at - 4)
            break;
        at += 4 + len;
        count++;
    }
    if (at != t->nbytes || count != elements)
        return ts_fail(err, TS_E_OPTION,
                       "input '%s': its BYTES data do not hold exactly %zu elements", t->name,
                       elements);
    return TS_OK;
}

/* Where an input's data come from, exactly one of three. */
static ts_status read_source(const json_t *input, ts_oip_tensor *t, const ts_oip_span *spans,
                             size_t n_spans, const uint8_t **tail, size_t *tail_len, ts_error *err)
{
    const json_t *p = json_object_get(input, "parameters"), *data = json_object_get(input, "data");
    const json_t *size = json_object_get(p, "binary_data_size");
    int forms = (data != NULL) + (size != NULL) + (t->resident[0] != 0);
    if (forms != 1)
        return ts_fail(err, TS_E_OPTION,
                       "input '%s': needs exactly one of data, parameters.binary_data_size and "
                       "parameters.tensor",
                       t->name);
    if (t->resident[0])
        return TS_OK;
    if (size) {
        if (!json_is_integer(size) || json_integer_value(size) < 0 ||
            (uint64_t)json_integer_value(size) > *tail_len)
            return ts_fail(err, TS_E_OPTION,
                           "input '%s': binary_data_size is not a size within the %zu bytes left",
                           t->name, *tail_len);
        t->data = *tail;
        t->nbytes = (size_t)json_integer_value(size);
        *tail += t->nbytes;
        *tail_len -= t->nbytes;
        return ts_oip_check_bytes(t, err);
    }
    size_t index = (size_t)json_integer_value(data);
    if (!json_is_integer(data) || json_integer_value(data) < 0 || index >= n_spans)
        return ts_fail(err, TS_E_OPTION, "input '%s': data must be a list", t->name);
    return ts_oip_read_data(&spans[index], t, err);
}

static ts_status read_input(const json_t *input, size_t i, ts_oip_tensor *t,
                            const ts_oip_span *spans, size_t n_spans, const uint8_t **tail,
                            size_t *tail_len, ts_error *err)
{
    const char *name = json_string_value(json_object_get(input, "name"));
    const char *datatype = json_string_value(json_object_get(input, "datatype"));
    const json_t *p = json_object_get(input, "parameters");
    if (!json_is_object(input) || !name || !*name || strlen(name) >= sizeof t->name)
        return ts_fail(err, TS_E_OPTION, "inputs[%zu]: needs a name", i);
    snprintf(t->name, sizeof t->name, "%s", name);
    if (!datatype)
        return ts_fail(err, TS_E_OPTION, "input '%s': needs a datatype", name);
    t->bytes = strcmp(datatype, "BYTES") == 0;
    t->dtype = TS_DTYPE_COUNT;
    if (!t->bytes && !ts_dtype_parse_oip(datatype, &t->dtype))
        return ts_fail(err, TS_E_OPTION, "input '%s': no datatype '%.32s'", name, datatype);
    ts_status st = read_shape(json_object_get(input, "shape"), t, err);
    if (st == TS_OK)
        st = check_parameters(p, name, err);
    if (st == TS_OK)
        st = get_resident(p, name, t->resident, err);
    return st == TS_OK ? read_source(input, t, spans, n_spans, tail, tail_len, err) : st;
}

static ts_status read_inputs(const json_t *list, ts_oip_request *r, const ts_oip_span *spans,
                             size_t n_spans, const uint8_t *tail, size_t tail_len, ts_error *err)
{
    size_t n = json_array_size(list);
    if (!json_is_array(list) || n == 0 || n > TS_OIP_TENSORS)
        return ts_fail(err, TS_E_OPTION, "inputs: expected a list of 1 to %d inputs",
                       TS_OIP_TENSORS);
    r->inputs = calloc(n, sizeof *r->inputs);
    if (!r->inputs)
        return ts_fail(err, TS_E_NO_MEMORY, "%zu inputs", n);
    for (size_t i = 0; i < n; i++) {
        ts_status st = read_input(json_array_get(list, i), i, &r->inputs[r->n_inputs++], spans,
                                  n_spans, &tail, &tail_len, err);
        for (size_t k = 0; k < i && st == TS_OK; k++)
            if (!strcmp(r->inputs[k].name, r->inputs[i].name))
                st = ts_fail(err, TS_E_OPTION, "input '%s' is given twice", r->inputs[i].name);
        if (st != TS_OK)
            return st;
    }
    return tail_len == 0 ? TS_OK
                         : ts_fail(err, TS_E_OPTION,
                                   "%zu bytes are left behind the last input's data", tail_len);
}

/* ---- outputs ---- */

static ts_status read_output(const json_t *output, size_t i, ts_oip_output *o, ts_error *err)
{
    const char *name = json_string_value(json_object_get(output, "name"));
    const json_t *p = json_object_get(output, "parameters");
    uint64_t classes = 0;
    if (!json_is_object(output) || !name || strlen(name) >= sizeof o->name)
        return ts_fail(err, TS_E_OPTION, "outputs[%zu]: needs a name", i);
    snprintf(o->name, sizeof o->name, "%s", name);
    ts_status st = check_parameters(p, name, err);
    if (st == TS_OK)
        st = get_flag(p, "binary_data", &o->has_binary, &o->binary, err);
    if (st == TS_OK)
        st = get_unsigned(p, "classification", &classes, err);
    if (st == TS_OK)
        st = get_resident(p, name, o->resident, err);
    o->classification = classes > INT32_MAX ? INT32_MAX : (int)classes;
    return st;
}

static ts_status read_outputs(const json_t *list, ts_oip_request *r, ts_error *err)
{
    size_t n = json_array_size(list);
    if (!list || json_is_null(list) || (json_is_array(list) && n == 0))
        return TS_OK;
    if (!json_is_array(list) || n > TS_OIP_TENSORS)
        return ts_fail(err, TS_E_OPTION, "outputs: expected a list of at most %d", TS_OIP_TENSORS);
    r->outputs = calloc(n, sizeof *r->outputs);
    if (!r->outputs)
        return ts_fail(err, TS_E_NO_MEMORY, "%zu outputs", n);
    for (size_t i = 0; i < n; i++) {
        ts_status st = read_output(json_array_get(list, i), i, &r->outputs[r->n_outputs++], err);
        if (st != TS_OK)
            return st;
    }
    return TS_OK;
}

/* ---- the whole ---- */

static ts_status read_document(const json_t *doc, ts_oip_request *r, const ts_oip_span *spans,
                               size_t n_spans, const uint8_t *tail, size_t tail_len, ts_error *err)
{
    const json_t *id = json_object_get(doc, "id");
    if (!json_is_object(doc))
        return ts_fail(err, TS_E_OPTION, "the request must be a JSON object");
    if (id && (!json_is_string(id) || json_string_length(id) > TS_OIP_ID))
        return ts_fail(err, TS_E_OPTION, "id must be a string of at most %d bytes", TS_OIP_ID);
    if (id)
        snprintf(r->id, sizeof r->id, "%s", json_string_value(id));
    ts_status st = request_parameters(json_object_get(doc, "parameters"), r, err);
    if (st == TS_OK)
        st = read_inputs(json_object_get(doc, "inputs"), r, spans, n_spans, tail, tail_len, err);
    return st == TS_OK ? read_outputs(json_object_get(doc, "outputs"), r, err) : st;
}

ts_status ts_oip_parse(const uint8_t *body, size_t len, const char *header_length,
                       ts_oip_request *out, ts_error *err)
{
    size_t json_len = len, n_spans = 0;
    ts_buf reduced = {0};
    json_t *doc = NULL;
    memset(out, 0, sizeof *out);
    ts_oip_span *spans = calloc(TS_OIP_TENSORS, sizeof *spans);
    ts_status st = spans ? TS_OK : ts_fail(err, TS_E_NO_MEMORY, "request");
    if (st == TS_OK && header_length)
        st = ts_oip_header_length(header_length, len, &json_len, err);
    if (st == TS_OK)
        st = ts_oip_split((const char *)body, json_len, &reduced, spans, TS_OIP_TENSORS, &n_spans,
                          err);
    if (st == TS_OK) {
        json_error_t fault;
        doc = json_loadb((const char *)reduced.data, reduced.len, 0, &fault);
        if (!doc)
            st = ts_fail(err, TS_E_JSON, "malformed JSON: %s", fault.text);
    }
    if (st == TS_OK)
        st = read_document(doc, out, spans, n_spans, body + json_len, len - json_len, err);
    json_decref(doc);
    ts_buf_finish(&reduced);
    free(spans);
    if (st != TS_OK)
        ts_oip_request_finish(out);
    return st;
}

/* ---- classification ---- */

typedef struct ranked {
    double value;
    int64_t index;
} ranked;

/* Largest first, ties by lower index, NaN last. */
static int by_rank(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (isnan(x->value) != isnan(y->value))
        return isnan(x->value) ? 1 : -1;
    if (x->value != y->value && !isnan(x->value))
        return x->value > y->value ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

static double element(const ts_oip_tensor *t, size_t i)
{
    const uint8_t *p = t->data + i * ts_dtype_bytes(t->dtype);
    switch (t->dtype) {
#define CASE(dtype, type)        \
    case dtype: {                \
        type v;                  \
        memcpy(&v, p, sizeof v); \
        return (double)v;        \
    }
        CASE(TS_BOOL, uint8_t)
        CASE(TS_U8, uint8_t)
        CASE(TS_I8, int8_t)
        CASE(TS_U16, uint16_t)
        CASE(TS_I16, int16_t)
        CASE(TS_U32, uint32_t)
        CASE(TS_I32, int32_t)
        CASE(TS_U64, uint64_t)
        CASE(TS_I64, int64_t)
        CASE(TS_F32, float)
        CASE(TS_F64, double)
#undef CASE
    case TS_F16: {
        uint16_t v;
        memcpy(&v, p, sizeof v);
        return (double)ts_f16_to_f32(v);
    }
    default:
        return NAN;
    }
}

static void append_class(ts_buf *out, const ts_oip_tensor *t, const ranked *r,
                         const char *const *labels, size_t n_labels)
{
    char text[512];
    int n = ts_dtype_is_float(t->dtype)
                ? snprintf(text, sizeof text, "%.6f:%lld", r->value, (long long)r->index)
                : snprintf(text, sizeof text, "%.0f:%lld", r->value, (long long)r->index);
    if ((size_t)r->index < n_labels)
        n += snprintf(text + n, sizeof text - (size_t)n, ":%.400s", labels[r->index]);
    uint32_t len = (uint32_t)n;
    ts_buf_append(out, &len, sizeof len);
    ts_buf_append(out, text, len);
}

ts_status ts_oip_classify(ts_oip_tensor *t, int k, bool batched, const char *const *labels,
                          size_t n_labels, ts_error *err)
{
    if (t->bytes || t->dtype == TS_BF16)
        return ts_fail(err, TS_E_OPTION, "output '%s': %s cannot be classified", t->name,
                       t->bytes ? "BYTES" : "BF16");
    size_t total = (size_t)ts_shape_elements(&t->shape);
    size_t batch = batched && t->shape.rank > 1 ? (size_t)t->shape.dim[0] : 1;
    size_t n = batch ? total / batch : 0, keep = (size_t)k < n ? (size_t)k : n;
    ranked *list = calloc(n + 1, sizeof *list);
    ts_buf text = {0};
    if (!list)
        return ts_fail(err, TS_E_NO_MEMORY, "classification of %zu values", n);
    for (size_t b = 0; b < batch; b++) {
        for (size_t i = 0; i < n; i++)
            list[i] = (ranked){element(t, b * n + i), (int64_t)i};
        qsort(list, n, sizeof *list, by_rank);
        for (size_t i = 0; i < keep; i++)
            append_class(&text, t, &list[i], labels, n_labels);
    }
    free(list);
    if (text.failed) {
        ts_buf_finish(&text);
        return ts_fail(err, TS_E_NO_MEMORY, "classification");
    }
    ts_buf_finish(&t->owned);
    t->owned = text;
    t->data = text.data;
    t->nbytes = text.len;
    t->bytes = true;
    t->shape = batched && t->shape.rank > 1 ? TS_SHAPE((int64_t)batch, (int64_t)keep)
                                            : TS_SHAPE((int64_t)keep);
    return TS_OK;
}

/* ---- answers ---- */

static bool valid_utf8(const uint8_t *s, size_t n)
{
    for (size_t i = 0; i < n;) {
        uint8_t c = s[i];
        int more = c < 0x80                ? 0
                   : c >= 0xc2 && c < 0xe0 ? 1
                   : c >= 0xe0 && c < 0xf0 ? 2
                   : c >= 0xf0 && c < 0xf5 ? 3
                                           : -1;
        if (more < 0 || i + (size_t)more >= n + (more == 0))
            return false;
        uint32_t code = more == 0 ? c : c & (0x3f >> more);
        for (int k = 1; k <= more; k++) {
            if ((s[i + (size_t)k] & 0xc0) != 0x80)
                return false;
            code = code << 6 | (s[i + (size_t)k] & 0x3f);
        }
        bool overlong = (more == 2 && code < 0x800) || (more == 3 && code < 0x10000);
        if (overlong || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
            return false;
        i += (size_t)more + 1;
    }
    return true;
}

static ts_status write_bytes(const ts_oip_tensor *t, ts_buf *out, ts_error *err)
{
    for (size_t at = 0; at < t->nbytes;) {
        uint32_t len;
        memcpy(&len, t->data + at, 4);
        const uint8_t *s = t->data + at + 4;
        if (!valid_utf8(s, len))
            return ts_fail(err, TS_E_OPTION,
                           "output '%s' holds bytes that are not UTF-8: request it as binary data",
                           t->name);
        ts_buf_str(out, at ? ",\"" : "\"");
        for (uint32_t i = 0; i < len; i++) {
            if (s[i] == '"' || s[i] == '\\')
                ts_buf_printf(out, "\\%c", s[i]);
            else if (s[i] < 0x20)
                ts_buf_printf(out, "\\u%04x", s[i]);
            else
                ts_buf_append(out, &s[i], 1);
        }
        ts_buf_str(out, "\"");
        at += 4 + len;
    }
    return TS_OK;
}

static ts_status write_data(const ts_oip_tensor *t, ts_buf *out, ts_error *err)
{
    ts_status st = TS_OK;
    ts_buf_str(out, ",\"data\":[");
    if (t->bytes) {
        st = write_bytes(t, out, err);
    } else {
        size_t n = (size_t)ts_shape_elements(&t->shape);
        for (size_t i = 0; i < n && st == TS_OK; i++) {
            if (i)
                ts_buf_append(out, ",", 1);
            st = ts_oip_write_element(t, i, out, err);
        }
    }
    ts_buf_str(out, "]");
    return st;
}

static ts_status write_output(const ts_oip_answer *a, ts_buf *out, ts_error *err)
{
    const ts_oip_tensor *t = a->tensor;
    ts_buf_str(out, "{\"name\":");
    ts_json_write_string(t->name, out);
    ts_buf_printf(out, ",\"datatype\":\"%s\",\"shape\":[",
                  t->bytes ? "BYTES" : ts_dtype_oip(t->dtype));
    for (int i = 0; i < t->shape.rank; i++)
        ts_buf_printf(out, "%s%lld", i ? "," : "", (long long)t->shape.dim[i]);
    ts_buf_str(out, "]");
    ts_status st = TS_OK;
    if (t->resident[0])
        ts_buf_printf(out, ",\"parameters\":{\"tensor\":\"%s\"}", t->resident);
    else if (a->binary)
        ts_buf_printf(out, ",\"parameters\":{\"binary_data_size\":%zu}", t->nbytes);
    else
        st = write_data(t, out, err);
    ts_buf_str(out, "}");
    return st;
}

ts_status ts_oip_write(const char *model, const char *version, const char *id,
                       const ts_oip_answer *outputs, size_t n, ts_buf *out, size_t *header_length,
                       ts_error *err)
{
    size_t start = out->len;
    bool binary = false;
    ts_buf_str(out, "{");
    if (id && *id) {
        ts_buf_str(out, "\"id\":");
        ts_json_write_string(id, out);
        ts_buf_str(out, ",");
    }
    ts_buf_printf(out, "\"model_name\":\"%s\",\"model_version\":\"%s\",\"outputs\":[", model,
                  version);
    ts_status st = TS_OK;
    for (size_t i = 0; i < n && st == TS_OK; i++) {
        if (i)
            ts_buf_str(out, ",");
        st = write_output(&outputs[i], out, err);
        binary = binary || (outputs[i].binary && !outputs[i].tensor->resident[0]);
    }
    ts_buf_str(out, "]}");
    *header_length = binary ? out->len - start : 0;
    for (size_t i = 0; i < n && st == TS_OK; i++)
        if (outputs[i].binary && !outputs[i].tensor->resident[0])
            ts_buf_append(out, outputs[i].tensor->data, outputs[i].tensor->nbytes);
    if (st == TS_OK && out->failed)
        st = ts_fail(err, TS_E_NO_MEMORY, "answer");
    return st;
}
