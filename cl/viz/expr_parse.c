/* Recursive descent over the text of an expression. */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cl/kernels/viz_types.clh"
#include "cl/viz/expr_tree.h"

enum {
    MAX_DEPTH = 32
};

typedef struct parser {
    const char *text, *at;
    ts_expr *expr;
    int depth;
    ts_status st;
    ts_error *err;
} parser;

static node *expression(parser *p);

static node *fault(parser *p, const char *what)
{
    if (p->st == TS_OK)
        p->st =
            ts_fail(p->err, TS_E_OPTION, "expr column %d: %s", (int)(p->at - p->text) + 1, what);
    return NULL;
}

static void skip(parser *p)
{
    while (*p->at == ' ' || *p->at == '\t' || *p->at == '\n')
        p->at++;
}

static bool take(parser *p, char c)
{
    skip(p);
    if (*p->at != c)
        return false;
    p->at++;
    return true;
}

static bool expect(parser *p, char c)
{
    char what[24];
    if (p->st == TS_OK && take(p, c))
        return true;
    snprintf(what, sizeof what, "expected '%c'", c);
    fault(p, what);
    return false;
}

static node *make(parser *p, node_kind kind, node *a, node *b)
{
    if (p->st != TS_OK)
        return NULL;
    if (p->expr->n_nodes == MAX_NODES)
        return fault(p, "the expression has too many parts");
    node *n = &p->expr->nodes[p->expr->n_nodes++];
    *n = (node){.kind = kind, .a = a, .b = b};
    return n;
}

static bool integer(parser *p, int64_t *out)
{
    skip(p);
    char *end;
    long long value = strtoll(p->at, &end, 10);
    if (end == p->at || value > INT64_C(1) << 31 || value < -(INT64_C(1) << 31)) {
        fault(p, "expected a whole number");
        return false;
    }
    p->at = end;
    *out = value;
    return true;
}

/* `axis=k`, or only k where `bare` allows that. False: neither is there. */
static bool axis_argument(parser *p, bool bare, int *axis)
{
    const char *before = p->at;
    int64_t value;
    skip(p);
    if (strncmp(p->at, "axis", 4) == 0 && (p->at[4] == '=' || p->at[4] == ' ')) {
        p->at += 4;
        if (!expect(p, '='))
            return false;
    } else if (!bare) {
        p->at = before;
        return false;
    }
    if (!integer(p, &value))
        return false;
    *axis = (int)value;
    return true;
}

static node *reduction(parser *p, int op, bool elementwise_op, int op2)
{
    node *a = expression(p);
    bool has_axis = false;
    int axis = 0;
    if (p->st == TS_OK && take(p, ',')) {
        has_axis = axis_argument(p, !elementwise_op, &axis);
        if (p->st == TS_OK && !has_axis) {
            node *b = expression(p), *n = make(p, NODE_BINARY, a, b);
            if (n)
                n->op = op2;
            return expect(p, ')') ? n : NULL;
        }
    }
    node *n = make(p, NODE_REDUCE, a, NULL);
    if (n) {
        n->op = op;
        n->all = !has_axis;
        n->axis = axis;
    }
    return expect(p, ')') ? n : NULL;
}

static node *with_list(parser *p, node_kind kind, int least)
{
    node *a = expression(p), *n = make(p, kind, a, NULL);
    while (p->st == TS_OK && take(p, ',')) {
        if (n->n_args == TS_MAX_RANK)
            return fault(p, "more than 8 axes");
        if (!integer(p, &n->args[n->n_args++]))
            return NULL;
    }
    if (p->st == TS_OK && n->n_args < least)
        return fault(p, "expected sizes after the tensor");
    return expect(p, ')') ? n : NULL;
}

static node *call(parser *p, const char *name)
{
    if (strcmp(name, "abs") == 0) {
        node *a = expression(p), *n = make(p, NODE_UNARY, a, NULL);
        if (n)
            n->op = VIZ_EXPR_ABS;
        return expect(p, ')') ? n : NULL;
    }
    if (strcmp(name, "min") == 0)
        return reduction(p, REDUCE_MIN, true, VIZ_EXPR_MIN);
    if (strcmp(name, "max") == 0)
        return reduction(p, REDUCE_MAX, true, VIZ_EXPR_MAX);
    if (strcmp(name, "mean") == 0)
        return reduction(p, REDUCE_MEAN, false, 0);
    if (strcmp(name, "sum") == 0)
        return reduction(p, REDUCE_SUM, false, 0);
    if (strcmp(name, "reshape") == 0)
        return with_list(p, NODE_RESHAPE, 1);
    if (strcmp(name, "transpose") == 0)
        return with_list(p, NODE_TRANSPOSE, 0);
    return fault(p, "unknown function, there are abs, min, max, mean, sum, reshape, transpose");
}

static node *named(parser *p)
{
    char word[TS_NAME_MAX + 1];
    size_t n = 0;
    bool quoted = *p->at == '`';
    p->at += quoted;
    while (quoted ? *p->at && *p->at != '`'
                  : isalnum((unsigned char)*p->at) || *p->at == '_' || *p->at == '.')
    {
        if (n == TS_NAME_MAX)
            return fault(p, "a name of more than 128 characters");
        word[n++] = *p->at++;
    }
    word[n] = 0;
    if (quoted && !expect(p, '`'))
        return NULL;
    if (!quoted && take(p, '('))
        return call(p, word);
    if (!ts_name_valid(word))
        return fault(p, "not the name of a tensor");
    node *leaf = make(p, NODE_NAME, NULL, NULL);
    if (leaf)
        strcpy(leaf->name, word);
    return leaf;
}

static node *number(parser *p)
{
    char *end;
    double value = strtod(p->at, &end);
    if (end == p->at || !isfinite(value))
        return fault(p, "expected a number, a name or '('");
    p->at = end;
    node *n = make(p, NODE_NUMBER, NULL, NULL);
    if (n)
        n->number = value;
    return n;
}

static node *primary(parser *p)
{
    skip(p);
    if (take(p, '(')) {
        node *inside = expression(p);
        return expect(p, ')') ? inside : NULL;
    }
    if (isalpha((unsigned char)*p->at) || *p->at == '_' || *p->at == '`')
        return named(p);
    if (isdigit((unsigned char)*p->at) || *p->at == '.')
        return number(p);
    return fault(p, "expected a number, a name or '('");
}

static node *postfix(parser *p)
{
    node *a = primary(p);
    while (p->st == TS_OK && take(p, '[')) {
        a = make(p, NODE_INDEX, a, NULL);
        if (a && integer(p, &a->index))
            expect(p, ']');
    }
    return a;
}

static node *unary(parser *p)
{
    if (++p->depth > MAX_DEPTH)
        return fault(p, "nested too deeply");
    node *result;
    if (take(p, '-')) {
        node *a = unary(p);
        result = make(p, NODE_UNARY, a, NULL);
        if (result)
            result->op = VIZ_EXPR_NEG;
    } else {
        result = postfix(p);
    }
    p->depth--;
    return result;
}

static node *binary(parser *p, node *a, node *b, int op)
{
    node *n = make(p, NODE_BINARY, a, b);
    if (n)
        n->op = op;
    return n;
}

static node *term(parser *p)
{
    node *a = unary(p);
    while (p->st == TS_OK) {
        if (take(p, '*'))
            a = binary(p, a, unary(p), VIZ_EXPR_MUL);
        else if (take(p, '/'))
            a = binary(p, a, unary(p), VIZ_EXPR_DIV);
        else
            break;
    }
    return a;
}

static node *expression(parser *p)
{
    node *a = term(p);
    while (p->st == TS_OK) {
        if (take(p, '+'))
            a = binary(p, a, term(p), VIZ_EXPR_ADD);
        else if (take(p, '-'))
            a = binary(p, a, term(p), VIZ_EXPR_SUB);
        else
            break;
    }
    return a;
}

ts_status ts_expr_parse(const char *text, ts_expr **out, ts_error *err)
{
    if (strlen(text) > TS_EXPR_MAX_TEXT)
        return ts_fail(err, TS_E_OPTION, "expr: more than %d characters", TS_EXPR_MAX_TEXT);
    ts_expr *expr = calloc(1, sizeof *expr);
    if (!expr)
        return ts_fail(err, TS_E_NO_MEMORY, "expr");
    parser p = {.text = text, .at = text, .expr = expr, .err = err};
    expr->root = expression(&p);
    skip(&p);
    if (p.st == TS_OK && *p.at)
        fault(&p, "expected an operator or the end");
    if (p.st != TS_OK) {
        free(expr);
        return p.st;
    }
    *out = expr;
    return TS_OK;
}

void ts_expr_destroy(ts_expr *expr)
{
    free(expr);
}

void ts_expr_each_tensor(const ts_expr *expr, void (*visit)(void *arg, const char *name), void *arg)
{
    for (int i = 0; i < expr->n_nodes; i++) {
        const node *n = &expr->nodes[i];
        bool first = n->kind == NODE_NAME;
        for (int k = 0; first && k < i; k++)
            first = expr->nodes[k].kind != NODE_NAME || strcmp(expr->nodes[k].name, n->name) != 0;
        if (first)
            visit(arg, n->name);
    }
}
