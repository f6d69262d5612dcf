#include "cl/graph/exec.h"

#include <stdlib.h>
#include <string.h>

#include "cl/base/buf.h"
#include "cl/graph/op.h"

enum {
    HOST_ELEMENTS = 16384 /* larger float values are better computed on the device */
};

typedef struct plan_node {
    const ts_graph_op *op;
    ts_node_state state;
    bool needed;   /* in this run */
    bool constant; /* all inputs are: its outputs stay */
    bool done;     /* a constant node that has run */
} plan_node;

struct ts_graph_exec {
    ts_ops *ops;
    ts_graph *graph;
    plan_node *nodes;
    ts_value *values; /* [n_values]; constants are the graph's own */
    int *uses;        /* left in this run */
    bool *fixed;      /* constants, and what follows from them */
    ts_shape *shapes; /* of the inputs of the last run: the pool holds what they took */
    ts_graph_pool pool;
};

/* ---- preparing ---- */

static ts_status find_ops(ts_graph_exec *x, ts_error *err)
{
    ts_buf missing = {0};
    size_t n = 0;
    for (size_t i = 0; i < x->graph->n_nodes; i++) {
        const char *name = x->graph->nodes[i].op;
        x->nodes[i].op = ts_graph_op_find(name);
        if (x->nodes[i].op)
            continue;
        bool told = false;
        for (size_t k = 0; k < i && !told; k++)
            told = !x->nodes[k].op && !strcmp(x->graph->nodes[k].op, name);
        if (!told)
            ts_buf_printf(&missing, "%s%s", n++ ? ", " : "", name);
    }
    ts_status st = TS_OK;
    if (n)
        st = ts_fail(err, TS_E_FILE, "operators that are not supported (opset %d): %s",
                     x->graph->opset, ts_buf_cstr(&missing));
    ts_buf_finish(&missing);
    return st;
}

/* Operators rely on the inputs that they must have. */
static ts_status check_inputs(const ts_graph_exec *x, ts_error *err)
{
    for (size_t i = 0; i < x->graph->n_nodes; i++) {
        const ts_graph_node *node = &x->graph->nodes[i];
        int want = x->nodes[i].op->inputs;
        size_t must = want != TS_ALL_INPUTS ? (size_t)want : node->n_in > 0 ? node->n_in : 1;
        if (node->n_in > TS_NODE_PORTS || node->n_out > TS_NODE_PORTS)
            return ts_fail(err, TS_E_FILE, "node '%.80s' (%.40s) has more than %d inputs or outputs",
                           node->name, node->op, TS_NODE_PORTS);
        for (size_t k = 0; k < must; k++)
            if (k >= node->n_in || node->in[k] < 0)
                return ts_fail(err, TS_E_FILE, "node '%.80s' (%.40s) lacks input %zu", node->name,
                               node->op, k);
    }
    return TS_OK;
}

static void find_constants(ts_graph_exec *x)
{
    const ts_graph *g = x->graph;
    for (size_t v = 0; v < g->n_values; v++)
        x->fixed[v] = g->constants[v].type != TS_ONNX_NONE;
    for (size_t i = 0; i < g->n_nodes; i++) {
        const ts_graph_node *node = &g->nodes[i];
        bool all = true;
        for (size_t k = 0; k < node->n_in; k++)
            all = all && (node->in[k] < 0 || x->fixed[node->in[k]]);
        x->nodes[i].constant = all;
        for (size_t k = 0; k < node->n_out && all; k++)
            if (node->out[k] >= 0)
                x->fixed[node->out[k]] = true;
    }
}

ts_status ts_graph_exec_create(ts_ops *ops, ts_graph *graph, ts_graph_exec **out, ts_error *err)
{
    ts_graph_exec *x = calloc(1, sizeof *x);
    if (!x)
        return ts_fail(err, TS_E_NO_MEMORY, "graph executor");
    x->ops = ops;
    x->graph = graph;
    x->nodes = calloc(graph->n_nodes + 1, sizeof *x->nodes);
    x->values = calloc(graph->n_values + 1, sizeof *x->values);
    x->uses = calloc(graph->n_values + 1, sizeof *x->uses);
    x->fixed = calloc(graph->n_values + 1, sizeof *x->fixed);
    x->shapes = calloc(graph->n_inputs + 1, sizeof *x->shapes);
    ts_status st = x->nodes && x->values && x->uses && x->fixed && x->shapes
                       ? find_ops(x, err)
                       : ts_fail(err, TS_E_NO_MEMORY, "%zu nodes", graph->n_nodes);
    if (st == TS_OK)
        st = check_inputs(x, err);
    if (st != TS_OK) {
        ts_graph_exec_destroy(x);
        return st;
    }
    find_constants(x);
    *out = x;
    return TS_OK;
}

void ts_graph_exec_destroy(ts_graph_exec *x)
{
    if (!x)
        return;
    ts_status st = ts_queue_finish(ts_ops_queue(x->ops), NULL);
    (void)st; /* what failed has been told by the run */
    for (size_t i = 0; x->nodes && i < x->graph->n_nodes; i++)
        if (x->nodes[i].state.destroy)
            x->nodes[i].state.destroy(x->nodes[i].state.data);
    for (size_t v = 0; x->values && v < x->graph->n_values; v++)
        ts_value_finish(&x->values[v]);
    ts_graph_pool_drain(&x->pool);
    free(x->nodes);
    free(x->values);
    free(x->uses);
    free(x->fixed);
    free(x->shapes);
    free(x);
}

/* ---- running ---- */

static ts_value *value_at(ts_graph_exec *x, int v)
{
    if (v < 0)
        return NULL;
    return x->graph->constants[v].type != TS_ONNX_NONE ? &x->graph->constants[v] : &x->values[v];
}

/* Mark what the wanted values need, and count who will read each value. */
static void find_needed(ts_graph_exec *x, const int *wanted, size_t n_wanted)
{
    const ts_graph *g = x->graph;
    memset(x->uses, 0, g->n_values * sizeof *x->uses);
    for (size_t i = 0; i < n_wanted; i++)
        x->uses[wanted[i]]++;
    for (size_t i = g->n_nodes; i-- > 0;) {
        const ts_graph_node *node = &g->nodes[i];
        plan_node *p = &x->nodes[i];
        p->needed = false;
        for (size_t k = 0; k < node->n_out; k++)
            p->needed = p->needed || (node->out[k] >= 0 && x->uses[node->out[k]] > 0);
        if (p->done)
            p->needed = false;
        for (size_t k = 0; k < node->n_in && p->needed; k++)
            if (node->in[k] >= 0)
                x->uses[node->in[k]]++;
    }
}

static void drop(ts_graph_exec *x, ts_value *v)
{
    ts_graph_pool_give(&x->pool, v->dev.buffer);
    v->dev.buffer = NULL;
    ts_value_finish(v);
}

/* Host where everything is there already and small, or where there is no kernel. */
static bool on_host(const ts_node_call *c, const ts_graph_op *op)
{
    if (!op->device)
        return true;
    if (!op->host)
        return false;
    for (size_t i = 0; i < c->n_in; i++) {
        const ts_value *v = c->in[i];
        if (!v)
            continue;
        if (!v->host && !v->f32)
            return false;
        if (!c->constant[i] && ts_onnx_is_float(v->type) && ts_value_elements(v) > HOST_ELEMENTS)
            return false;
    }
    return true;
}

static ts_status compute(ts_graph_exec *x, const ts_graph_op *op, ts_node_call *c, ts_error *err)
{
    if (!on_host(c, op))
        return op->device(c, err);
    for (size_t k = 0; k < c->n_in; k++) {
        ts_status st = c->in[k] ? ts_value_to_host(x->ops, c->in[k], err) : TS_OK;
        if (st != TS_OK)
            return st;
    }
    return op->host(c, err);
}

static ts_status run_node(ts_graph_exec *x, size_t i, ts_error *err)
{
    const ts_graph_node *node = &x->graph->nodes[i];
    plan_node *p = &x->nodes[i];
    ts_node_call c = {.ops = x->ops,
                      .pool = &x->pool,
                      .node = node,
                      .state = &p->state,
                      .opset = x->graph->opset,
                      .n_in = node->n_in,
                      .n_out = node->n_out};
    for (size_t k = 0; k < node->n_in; k++) {
        c.in[k] = value_at(x, node->in[k]);
        c.constant[k] = node->in[k] >= 0 && x->fixed[node->in[k]];
    }
    for (size_t k = 0; k < node->n_out; k++)
        if (node->out[k] >= 0 && (x->uses[node->out[k]] > 0 || p->constant))
            c.out[k] = &x->values[node->out[k]];
    ts_value unwanted = {0};
    if (!c.out[0])
        c.out[0] = &unwanted;
    ts_status st = compute(x, p->op, &c, err);
    drop(x, &unwanted);
    return st;
}

static void after_node(ts_graph_exec *x, const ts_graph_node *node)
{
    for (size_t k = 0; k < node->n_in; k++) {
        int v = node->in[k];
        if (v >= 0 && --x->uses[v] == 0 && !x->fixed[v])
            drop(x, &x->values[v]);
    }
}

static ts_status bind_inputs(ts_graph_exec *x, ts_value *inputs, ts_error *err)
{
    for (size_t i = 0; i < x->graph->n_inputs; i++) {
        const ts_graph_port *port = &x->graph->inputs[i];
        if (port->value < 0 || x->uses[port->value] == 0)
            continue;
        ts_status st = ts_value_view(&inputs[i], &inputs[i].shape, &x->values[port->value], err);
        if (st != TS_OK)
            return st;
    }
    return TS_OK;
}

static ts_status take_output(ts_graph_exec *x, int v, ts_value *out, ts_error *err)
{
    ts_value *own = value_at(x, v);
    if (own->type == TS_ONNX_NONE)
        return ts_fail(err, TS_E_SHAPE, "the graph does not compute an output");
    if (own->f32 && !own->host) { /* a constant whose bytes are the file's */
        ts_status st = ts_value_to_host(x->ops, own, err);
        if (st != TS_OK)
            return st;
    }
    *out = (ts_value){0};
    ts_status st = ts_value_view(own, &own->shape, out, err);
    out->f32 = NULL;
    return st;
}

/* Memory of other sizes is of no use any more. */
static void fit_pool(ts_graph_exec *x, const ts_value *inputs)
{
    bool same = true;
    for (size_t i = 0; i < x->graph->n_inputs; i++) {
        same = same && ts_shape_equal(&x->shapes[i], &inputs[i].shape);
        x->shapes[i] = inputs[i].shape;
    }
    if (!same)
        ts_graph_pool_drain(&x->pool);
}

ts_status ts_graph_exec_run(ts_graph_exec *x, ts_value *inputs, const int *wanted, size_t n_wanted,
                            ts_value *outputs, ts_error *err)
{
    const ts_graph *g = x->graph;
    memset(outputs, 0, n_wanted * sizeof *outputs);
    find_needed(x, wanted, n_wanted);
    fit_pool(x, inputs);
    ts_status st = bind_inputs(x, inputs, err);
    for (size_t i = 0; i < g->n_nodes && st == TS_OK; i++) {
        if (!x->nodes[i].needed)
            continue;
        st = run_node(x, i, err);
        if (st == TS_OK) {
            after_node(x, &g->nodes[i]);
            x->nodes[i].done = x->nodes[i].constant;
        }
    }
    for (size_t i = 0; i < n_wanted && st == TS_OK; i++)
        st = take_output(x, wanted[i], &outputs[i], err);
    if (st != TS_OK)
        for (size_t i = 0; i < n_wanted; i++)
            ts_value_finish(&outputs[i]);
    for (size_t v = 0; v < g->n_values; v++)
        if (!x->fixed[v])
            drop(x, &x->values[v]);
    if (st != TS_OK) /* it may have been memory: keep none from others */
        ts_graph_pool_drain(&x->pool);
    return st;
}
