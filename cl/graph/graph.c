#include "cl/graph/graph.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cl/base/size.h"
#include "cl/base/hash.h"
#include "onnx.pb-c.h"

enum {
    MAX_FILE = INT32_MAX,
    MAX_NODES = 1000000,
    LARGE_CONSTANT = 4096 /* elements above which floats are not widened to doubles */
};

/* ---- names to numbers: open addressing ---- */

typedef struct index {
    size_t mask;
    int *slot; /* value + 1; 0 is free */
} name_index;

static size_t slot_of(const name_index *ix, char *const *names, const char *name)
{
    size_t i = (size_t)ts_fnv1a(TS_FNV_SEED, name, strlen(name)) & ix->mask;
    while (ix->slot[i] && strcmp(names[ix->slot[i] - 1], name) != 0)
        i = (i + 1) & ix->mask;
    return i;
}

int ts_graph_value(const ts_graph *g, const char *name)
{
    const name_index *ix = g->index;
    return ix->slot[slot_of(ix, g->names, name)] - 1;
}

static int value_of(ts_graph *g, char *name)
{
    name_index *ix = g->index;
    if (!*name)
        return -1;
    size_t slot = slot_of(ix, g->names, name);
    if (!ix->slot[slot]) {
        g->names[g->n_values] = name;
        ix->slot[slot] = (int)++g->n_values;
    }
    return ix->slot[slot] - 1;
}

static ts_status make_index(ts_graph *g, size_t most, ts_error *err)
{
    name_index *ix = calloc(1, sizeof *ix);
    size_t room = 16;
    while (room < 2 * most)
        room *= 2;
    g->index = ix;
    g->names = calloc(most + 1, sizeof *g->names);
    if (ix) {
        ix->mask = room - 1;
        ix->slot = calloc(room, sizeof *ix->slot);
    }
    return ix && ix->slot && g->names ? TS_OK
                                      : ts_fail(err, TS_E_NO_MEMORY, "%zu value names", most);
}

/* ---- tensors ---- */

/* A file beside the model: plain relative parts only, no links. */
static ts_status open_external(ts_graph *g, const char *directory, const char *location,
                               const ts_fs_map **out, ts_error *err)
{
    char path[PATH_MAX];
    struct stat info;
    for (size_t i = 0; i < g->n_files; i++)
        if (!strcmp(g->file_names[i], location)) {
            *out = &g->files[i];
            return TS_OK;
        }
    bool bad = !*location || *location == '/' || strchr(location, '\\') || strlen(location) > 512;
    for (const char *p = location; p && !bad; p = strchr(p, '/') ? strchr(p, '/') + 1 : NULL)
        bad = *p == '.' || *p == '/' || !*p;
    if (bad)
        return ts_fail(err, TS_E_FILE,
                       "external data in '%.80s': want a relative path without '..'", location);
    for (const char *p = location; p; p = strchr(p, '/') ? strchr(p, '/') + 1 : NULL) {
        size_t upto = (size_t)(p - location) + strcspn(p, "/");
        snprintf(path, sizeof path, "%s/%.*s", directory, (int)upto, location);
        if (lstat(path, &info) != 0 || S_ISLNK(info.st_mode))
            return ts_fail(err, TS_E_FILE, "external data file '%.80s' is missing", location);
    }
    ts_fs_map *files = ts_realloc_array(g->files, g->n_files + 1, sizeof *files);
    char **names = ts_realloc_array(g->file_names, g->n_files + 1, sizeof *names);
    g->files = files ? files : g->files;
    g->file_names = names ? names : g->file_names;
    char *copy = strdup(location);
    if (!files || !names || !copy) {
        free(copy);
        return ts_fail(err, TS_E_NO_MEMORY, "external data");
    }
    ts_status st = ts_fs_map_open(path, &g->files[g->n_files], err);
    if (st != TS_OK) {
        free(copy);
        return st;
    }
    g->file_names[g->n_files] = copy;
    *out = &g->files[g->n_files++];
    return TS_OK;
}

static ts_status external_bytes(ts_graph *g, const char *directory, const Onnx__TensorProto *t,
                                const uint8_t **data, size_t *len, ts_error *err)
{
    const char *location = NULL;
    unsigned long long offset = 0, length = 0;
    bool has_length = false;
    const ts_fs_map *file;
    for (size_t i = 0; i < t->n_external_data; i++) {
        const char *key = t->external_data[i]->key, *value = t->external_data[i]->value;
        if (!key || !value)
            continue;
        if (!strcmp(key, "location"))
            location = value;
        else if (!strcmp(key, "offset"))
            offset = strtoull(value, NULL, 10);
        else if (!strcmp(key, "length"))
            length = strtoull(value, NULL, 10), has_length = true;
    }
    if (!g || !location)
        return ts_fail(err, TS_E_FILE, "external data without a location");
    ts_status st = open_external(g, directory, location, &file, err);
    if (st != TS_OK)
        return st;
    if (offset > file->len || (has_length && length > file->len - offset))
        return ts_fail(err, TS_E_FILE, "external data reach beyond the %zu bytes of '%.80s'",
                       file->len, location);
    *data = file->data + offset;
    *len = has_length ? (size_t)length : file->len - (size_t)offset;
    return TS_OK;
}

/* The element of a typed list. */
static double listed(const Onnx__TensorProto *t, size_t i)
{
    switch (t->data_type) {
    case TS_ONNX_F32:
        return (double)t->float_data[i];
    case TS_ONNX_F64:
        return t->double_data[i];
    case TS_ONNX_I64:
        return (double)t->int64_data[i];
    case TS_ONNX_U32:
    case TS_ONNX_U64:
        return (double)t->uint64_data[i];
    case TS_ONNX_F16:
        return (double)ts_f16_to_f32((uint16_t)t->int32_data[i]);
    case TS_ONNX_BF16:
        return (double)ts_bf16_to_f32((uint16_t)t->int32_data[i]);
    default:
        return t->int32_data[i];
    }
}

static size_t listed_count(const Onnx__TensorProto *t)
{
    switch (t->data_type) {
    case TS_ONNX_F32:
        return t->n_float_data;
    case TS_ONNX_F64:
        return t->n_double_data;
    case TS_ONNX_I64:
        return t->n_int64_data;
    case TS_ONNX_U32:
    case TS_ONNX_U64:
        return t->n_uint64_data;
    default:
        return t->n_int32_data;
    }
}

static ts_status proto_shape(const Onnx__TensorProto *t, ts_shape *shape, ts_error *err)
{
    if (t->n_dims > TS_MAX_RANK)
        return ts_fail(err, TS_E_FILE, "rank %zu, at most %d", t->n_dims, TS_MAX_RANK);
    *shape = (ts_shape){.rank = (int)t->n_dims};
    for (size_t i = 0; i < t->n_dims; i++) {
        if (t->dims[i] < 0)
            return ts_fail(err, TS_E_FILE, "dim %zu is negative", i);
        shape->dim[i] = t->dims[i];
    }
    return TS_OK;
}

ts_status ts_value_from_proto(ts_graph *graph, const char *directory, const Onnx__TensorProto *t,
                              ts_value *out, ts_error *err)
{
    ts_shape shape;
    ts_dtype dtype;
    size_t want, len = 0;
    const uint8_t *data = NULL;
    if (!ts_onnx_dtype(t->data_type, &dtype))
        return ts_fail(err, TS_E_FILE, "tensors of %s are not supported",
                       ts_onnx_type_name(t->data_type));
    ts_status st = proto_shape(t, &shape, err);
    if (st == TS_OK)
        st = ts_shape_check(&shape, dtype, &want, err);
    if (st != TS_OK)
        return st;
    bool external = t->has_data_location && t->data_location == 1;
    if (external)
        st = external_bytes(graph, directory, t, &data, &len, err);
    else if (t->has_raw_data)
        data = t->raw_data.data, len = t->raw_data.len;
    if (st != TS_OK)
        return st;
    bool raw = external || t->has_raw_data;
    size_t n = (size_t)ts_shape_elements(&shape);
    if (raw && external && len > want)
        len = want; /* without a length: the rest of the file */
    if (raw && t->data_type == TS_ONNX_F32 && n > LARGE_CONSTANT && len == want &&
        (uintptr_t)data % 4 == 0) {
        *out = (ts_value){.type = TS_ONNX_F32, .shape = shape, .f32 = (const float *)data};
        return TS_OK;
    }
    if (raw)
        return ts_value_from_raw(t->data_type, &shape, data, len, out, err);
    if (listed_count(t) != n)
        return ts_fail(err, TS_E_FILE, "%zu elements of data, its dims say %zu", listed_count(t), n);
    if (t->data_type == TS_ONNX_F32 && n > LARGE_CONSTANT) {
        *out = (ts_value){.type = TS_ONNX_F32, .shape = shape, .f32 = t->float_data};
        return TS_OK;
    }
    st = ts_value_host(out, t->data_type, &shape, err);
    for (size_t i = 0; i < n && st == TS_OK; i++)
        out->host[i] = listed(t, i);
    return st;
}

ts_status ts_value_from_bytes(const void *data, size_t len, ts_value *out, ts_error *err)
{
    Onnx__TensorProto *t = onnx__tensor_proto__unpack(NULL, len, data);
    if (!t)
        return ts_fail(err, TS_E_FILE, "no serialized tensor");
    ts_status st = ts_value_from_proto(NULL, "", t, out, err);
    if (st == TS_OK && out->f32) { /* the message goes: widen */
        const float *from = out->f32;
        size_t n = (size_t)ts_value_elements(out);
        ts_value copy = {0};
        st = ts_value_host(&copy, out->type, &out->shape, err);
        for (size_t i = 0; i < n && st == TS_OK; i++)
            copy.host[i] = (double)from[i];
        *out = copy;
    }
    onnx__tensor_proto__free_unpacked(t, NULL);
    return st;
}

/* ---- attributes ---- */

static const Onnx__AttributeProto *attribute(const ts_graph_node *node, const char *name)
{
    for (size_t i = 0; i < node->proto->n_attribute; i++)
        if (node->proto->attribute[i]->name && !strcmp(node->proto->attribute[i]->name, name))
            return node->proto->attribute[i];
    return NULL;
}

int64_t ts_graph_int(int64_t v)
{
    const int64_t most = INT64_C(1) << 40;
    return v > most ? most : v < -most ? -most : v;
}

int64_t ts_attr_int(const ts_graph_node *node, const char *name, int64_t standard)
{
    const Onnx__AttributeProto *a = attribute(node, name);
    return a && a->has_i ? ts_graph_int(a->i) : standard;
}

float ts_attr_float(const ts_graph_node *node, const char *name, float standard)
{
    const Onnx__AttributeProto *a = attribute(node, name);
    return a && a->has_f ? a->f : standard;
}

const char *ts_attr_string(const ts_graph_node *node, const char *name, const char *standard,
                           char *out, size_t n)
{
    const Onnx__AttributeProto *a = attribute(node, name);
    if (a && a->has_s)
        snprintf(out, n, "%.*s", (int)a->s.len, (const char *)a->s.data);
    else
        snprintf(out, n, "%s", standard);
    return out;
}

size_t ts_attr_ints(const ts_graph_node *node, const char *name, int64_t *out, size_t max)
{
    const Onnx__AttributeProto *a = attribute(node, name);
    size_t n = a ? a->n_ints : 0;
    for (size_t i = 0; i < n && i < max; i++)
        out[i] = ts_graph_int(a->ints[i]);
    return n < max ? n : max;
}

bool ts_attr_has(const ts_graph_node *node, const char *name)
{
    return attribute(node, name) != NULL;
}

ts_status ts_attr_constant(const ts_graph_node *node, ts_value *out, ts_error *err)
{
    const Onnx__AttributeProto *a = NULL;
    static const char *const names[] = {"value", "value_float", "value_floats", "value_int",
                                        "value_ints"};
    for (size_t i = 0; i < 5 && !a; i++)
        a = attribute(node, names[i]);
    if (!a)
        return ts_fail(err, TS_E_FILE, "no value that is supported");
    if (a->t)
        return ts_value_from_proto(NULL, "", a->t, out, err);
    bool is_float = a->has_f || a->n_floats;
    bool is_list = !strcmp(a->name, "value_floats") || !strcmp(a->name, "value_ints");
    size_t n = is_list ? (is_float ? a->n_floats : a->n_ints) : 1;
    ts_shape shape = is_list ? TS_SHAPE((int64_t)n) : (ts_shape){0};
    ts_status st = ts_value_host(out, is_float ? TS_ONNX_F32 : TS_ONNX_I64, &shape, err);
    for (size_t i = 0; i < n && st == TS_OK; i++)
        out->host[i] = is_list ? (is_float ? (double)a->floats[i] : (double)a->ints[i])
                               : (is_float ? (double)a->f : (double)a->i);
    return st;
}

/* ---- the graph ---- */

static ts_status read_port(const Onnx__ValueInfoProto *info, ts_graph *g, ts_graph_port *port,
                           ts_error *err)
{
    const Onnx__TypeProto__Tensor *t =
        info->type && info->type->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE
            ? info->type->tensor_type
            : NULL;
    if (!info->name || !*info->name)
        return ts_fail(err, TS_E_FILE, "an input or output without a name");
    port->name = info->name;
    port->value = ts_graph_value(g, info->name);
    if (!t || port->value < 0)
        return ts_fail(err, TS_E_FILE, "'%.80s' is no tensor of the graph", info->name);
    port->type = t->elem_type;
    port->has_shape = t->shape != NULL;
    if (t->shape && t->shape->n_dim > TS_MAX_RANK)
        return ts_fail(err, TS_E_FILE, "'%.80s' has rank %zu, at most %d", info->name,
                       t->shape->n_dim, TS_MAX_RANK);
    port->shape.rank = t->shape ? (int)t->shape->n_dim : 0;
    for (int i = 0; i < port->shape.rank; i++) {
        const Onnx__TensorShapeProto__Dimension *d = t->shape->dim[i];
        bool fixed = d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
        port->shape.dim[i] = fixed && d->dim_value >= 0 ? d->dim_value : -1;
    }
    return TS_OK;
}

static ts_status read_nodes(ts_graph *g, const Onnx__GraphProto *p, ts_error *err)
{
    g->nodes = calloc(p->n_node + 1, sizeof *g->nodes);
    if (!g->nodes)
        return ts_fail(err, TS_E_NO_MEMORY, "%zu nodes", p->n_node);
    for (size_t i = 0; i < p->n_node; i++) {
        ts_graph_node *n = &g->nodes[g->n_nodes++];
        const Onnx__NodeProto *np = p->node[i];
        n->proto = np;
        n->op = np->op_type ? np->op_type : "";
        n->name = np->name ? np->name : "";
        if (np->domain && *np->domain && strcmp(np->domain, "ai.onnx"))
            return ts_fail(err, TS_E_FILE, "node '%.80s': operator %.40s of domain %.60s is not "
                                           "supported",
                           n->name, n->op, np->domain);
        n->in = calloc(np->n_input + 1, sizeof *n->in);
        n->out = calloc(np->n_output + 1, sizeof *n->out);
        if (!n->in || !n->out)
            return ts_fail(err, TS_E_NO_MEMORY, "node '%.80s'", n->name);
        for (size_t k = 0; k < np->n_input; k++) {
            n->in[n->n_in++] = value_of(g, np->input[k]);
        }
        for (size_t k = 0; k < np->n_output; k++)
            n->out[n->n_out++] = value_of(g, np->output[k]);
    }
    return TS_OK;
}

/* Every input of a node must be there before it: a cycle or a missing value is damage. */
static ts_status check_order(const ts_graph *g, ts_error *err)
{
    bool *known = calloc(g->n_values + 1, sizeof *known);
    ts_status st = known ? TS_OK : ts_fail(err, TS_E_NO_MEMORY, "graph");
    for (size_t i = 0; i < g->n_values && st == TS_OK; i++)
        known[i] = g->constants[i].type != TS_ONNX_NONE;
    for (size_t i = 0; i < g->n_inputs && st == TS_OK; i++)
        known[g->inputs[i].value] = true;
    for (size_t i = 0; i < g->n_nodes && st == TS_OK; i++) {
        const ts_graph_node *n = &g->nodes[i];
        for (size_t k = 0; k < n->n_in && st == TS_OK; k++)
            if (n->in[k] >= 0 && !known[n->in[k]])
                st = ts_fail(err, TS_E_FILE,
                             "node '%.80s' (%.40s) reads '%.80s' before anything makes it", n->name,
                             n->op, g->names[n->in[k]]);
        for (size_t k = 0; k < n->n_out; k++)
            if (n->out[k] >= 0)
                known[n->out[k]] = true;
    }
    for (size_t i = 0; i < g->n_outputs && st == TS_OK; i++)
        if (!known[g->outputs[i].value])
            st = ts_fail(err, TS_E_FILE, "nothing makes the output '%.80s'", g->outputs[i].name);
    free(known);
    return st;
}

static ts_status read_constants(ts_graph *g, const Onnx__GraphProto *p, const char *directory,
                                ts_error *err)
{
    g->constants = calloc(g->n_values + 1, sizeof *g->constants);
    if (!g->constants)
        return ts_fail(err, TS_E_NO_MEMORY, "%zu values", g->n_values);
    for (size_t i = 0; i < p->n_initializer; i++) {
        const Onnx__TensorProto *t = p->initializer[i];
        int v = t->name ? ts_graph_value(g, t->name) : -1;
        if (v < 0)
            continue; /* nobody reads it */
        ts_value_finish(&g->constants[v]);
        ts_status st = ts_value_from_proto(g, directory, t, &g->constants[v], err);
        if (st != TS_OK) {
            ts_error_prefix(err, "initializer '%.80s'", t->name);
            return st == TS_E_NO_MEMORY ? st : TS_E_FILE;
        }
        g->parameters += (uint64_t)ts_value_elements(&g->constants[v]);
    }
    return TS_OK;
}

static ts_status read_ports(ts_graph *g, const Onnx__GraphProto *p, ts_error *err)
{
    g->inputs = calloc(p->n_input + 1, sizeof *g->inputs);
    g->outputs = calloc(p->n_output + 1, sizeof *g->outputs);
    if (!g->inputs || !g->outputs)
        return ts_fail(err, TS_E_NO_MEMORY, "graph");
    ts_status st = TS_OK;
    for (size_t i = 0; i < p->n_input && st == TS_OK; i++) {
        int v = p->input[i]->name ? ts_graph_value(g, p->input[i]->name) : -1;
        if (v >= 0 && g->constants[v].type != TS_ONNX_NONE)
            continue; /* before IR 4 initializers are listed as inputs too */
        st = read_port(p->input[i], g, &g->inputs[g->n_inputs], err);
        g->n_inputs += st == TS_OK;
    }
    for (size_t i = 0; i < p->n_output && st == TS_OK; i++) {
        st = read_port(p->output[i], g, &g->outputs[g->n_outputs], err);
        g->n_outputs += st == TS_OK;
    }
    return st;
}

static ts_status read_opset(ts_graph *g, const Onnx__ModelProto *m, ts_error *err)
{
    for (size_t i = 0; i < m->n_opset_import; i++) {
        const Onnx__OperatorSetIdProto *o = m->opset_import[i];
        if (!o->domain || !*o->domain || !strcmp(o->domain, "ai.onnx"))
            g->opset = (int)o->version;
    }
    if (g->opset < 1 || g->opset > 25)
        return ts_fail(err, TS_E_FILE, "opset %d is not among 1 to 25", g->opset);
    if (m->n_functions)
        return ts_fail(err, TS_E_FILE, "model-local functions are not supported (%.60s)",
                       m->functions[0]->name ? m->functions[0]->name : "");
    return TS_OK;
}

static ts_status read_graph(ts_graph *g, const Onnx__ModelProto *m, const char *directory,
                            ts_error *err)
{
    const Onnx__GraphProto *p = m->graph;
    size_t most = 0;
    if (!p || p->n_node > MAX_NODES)
        return ts_fail(err, TS_E_FILE, p ? "more than 1 000 000 nodes" : "no graph");
    ts_status st = read_opset(g, m, err);
    for (size_t i = 0; i < p->n_node; i++)
        most += p->node[i]->n_input + p->node[i]->n_output;
    most += p->n_input + p->n_output;
    if (st == TS_OK)
        st = make_index(g, most, err);
    for (size_t i = 0; i < p->n_input && st == TS_OK; i++)
        if (p->input[i]->name)
            value_of(g, p->input[i]->name);
    if (st == TS_OK)
        st = read_nodes(g, p, err);
    for (size_t i = 0; i < p->n_output && st == TS_OK; i++)
        if (p->output[i]->name)
            value_of(g, p->output[i]->name);
    if (st == TS_OK)
        st = read_constants(g, p, directory, err);
    if (st == TS_OK)
        st = read_ports(g, p, err);
    return st == TS_OK ? check_order(g, err) : st;
}

ts_status ts_graph_load(const char *directory, ts_graph **out, ts_error *err)
{
    char path[PATH_MAX];
    ts_fs_map file = {0};
    ts_graph *g = calloc(1, sizeof *g);
    if (!g)
        return ts_fail(err, TS_E_NO_MEMORY, "graph");
    snprintf(path, sizeof path, "%s/model.onnx", directory);
    ts_status st = ts_fs_map_open(path, &file, err);
    if (st == TS_OK && file.len > MAX_FILE)
        st = ts_fail(err, TS_E_FILE, "model.onnx is larger than protobuf allows");
    if (st == TS_OK) {
        g->model = onnx__model_proto__unpack(NULL, file.len, file.data);
        if (!g->model)
            st = ts_fail(err, TS_E_FILE, "model.onnx is damaged: not an ONNX protobuf message");
    }
    ts_fs_map_close(&file);
    if (st == TS_OK)
        st = read_graph(g, g->model, directory, err);
    if (st != TS_OK) {
        ts_graph_free(g);
        return st == TS_E_NO_MEMORY ? st : TS_E_FILE;
    }
    *out = g;
    return TS_OK;
}

void ts_graph_free(ts_graph *g)
{
    if (!g)
        return;
    for (size_t i = 0; i < g->n_nodes; i++) {
        free(g->nodes[i].in);
        free(g->nodes[i].out);
    }
    for (size_t i = 0; g->constants && i < g->n_values; i++)
        ts_value_finish(&g->constants[i]);
    for (size_t i = 0; i < g->n_files; i++) {
        ts_fs_map_close(&g->files[i]);
        free(g->file_names[i]);
    }
    name_index *ix = g->index;
    if (ix)
        free(ix->slot);
    free(ix);
    free(g->names);
    free(g->nodes);
    free(g->constants);
    free(g->inputs);
    free(g->outputs);
    free(g->files);
    free(g->file_names);
    if (g->model)
        onnx__model_proto__free_unpacked(g->model, NULL);
    free(g);
}
