/*
 * Expressions over resident tensors as a source: `a-b`, `mean(abs(w1), 0)`, `transpose(x)[2]`.
 *
 * Operators + - * / and unary -, parentheses, numbers, names (those with other characters than
 * letters, digits, '_' and '.' in backquotes), indexing x[i] of the first axis (negative from the
 * end), and the functions
 *   abs(x)                  min(x,y) max(x,y)       element by element, shapes broadcast
 *   min(x) max(x) mean(x) sum(x)                    over all elements
 *   mean(x,axis) sum(x,axis) min(x,axis=k) max(x,axis=k)   over one axis
 *   reshape(x,d0,d1,…)      one size may be -1
 *   transpose(x) transpose(x,axes…)
 *
 * What lies between two reductions is one kernel; transposes and indices move no data. The result is
 * f32, or f64 where an input needs it and the device has doubles.
 *
 *   ts_expr *e;
 *   ts_expr_parse("a-b", &e, err);
 *   ts_expr_evaluate(e, queue, store, &tensor, err);
 *   ts_expr_destroy(e);
 */
#ifndef TS_CL_VIZ_EXPR_H
#define TS_CL_VIZ_EXPR_H

#include "cl/tensor/store.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    TS_EXPR_MAX_TEXT = 1024
};

typedef struct ts_expr ts_expr;

/** Check the syntax. Owner: ts_expr_destroy. Thread: any. Errors: TS_E_OPTION, naming the column. */
TS_CHECKED ts_status ts_expr_parse(const char *text, ts_expr **out, ts_error *err);
void ts_expr_destroy(ts_expr *expr); /* NULL is fine */
/** Each distinct name in the expression. */
void ts_expr_each_tensor(const ts_expr *expr, void (*visit)(void *arg, const char *name),
                         void *arg);
/**
 * The value of now: a new tensor, its contents finished when the queue is. Thread: the queue's.
 * Errors: TS_E_NOT_FOUND, TS_E_SHAPE, TS_E_INDEX, TS_E_EMPTY, TS_E_TOO_LARGE, device ones.
 */
TS_CHECKED ts_status ts_expr_evaluate(const ts_expr *expr, ts_queue *queue, ts_store *store,
                                      ts_tensor **out, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
