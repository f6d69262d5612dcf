#include "server/track/assign.h"

#include <math.h>
#include <stdlib.h>

/*
 * The gain matrix is padded to a square of n = rows + cols with zero gain, so that leaving a row or a
 * column alone is itself an assignment; then the classic O(n³) method with potentials runs on it.
 */
typedef struct problem {
    const double *cost;
    size_t rows, cols, n;
    double limit;
} problem;

static double padded(const problem *p, size_t i, size_t j)
{
    if (i >= p->rows || j >= p->cols)
        return 0;
    double c = p->cost[i * p->cols + j];
    return c < p->limit ? c - p->limit : 0;
}

/* Grow the matching by one row; arrays are 1-based, column 0 holds the row being placed. */
static void augment(const problem *p, size_t row, double *u, double *v, size_t *owner, size_t *way,
                    double *least, char *used)
{
    size_t n = p->n, column = 0;
    owner[0] = row;
    for (size_t j = 0; j <= n; j++) {
        least[j] = INFINITY;
        used[j] = 0;
    }
    do {
        size_t i = owner[column], next = 0;
        double delta = INFINITY;
        used[column] = 1;
        for (size_t j = 1; j <= n; j++) {
            if (used[j])
                continue;
            double reduced = padded(p, i - 1, j - 1) - u[i] - v[j];
            if (reduced < least[j]) {
                least[j] = reduced;
                way[j] = column;
            }
            if (least[j] < delta) {
                delta = least[j];
                next = j;
            }
        }
        for (size_t j = 0; j <= n; j++)
            if (used[j]) {
                u[owner[j]] += delta;
                v[j] -= delta;
            } else {
                least[j] -= delta;
            }
        column = next;
    } while (owner[column] != 0);
    do {
        size_t before = way[column];
        owner[column] = owner[before];
        column = before;
    } while (column);
}

ts_status ts_assign(const double *cost, size_t rows, size_t cols, double limit, int *match,
                    ts_error *err)
{
    for (size_t i = 0; i < rows; i++)
        match[i] = -1;
    if (rows == 0 || cols == 0)
        return TS_OK;
    problem p = {cost, rows, cols, rows + cols, limit};
    double *numbers = calloc(3 * (p.n + 1), sizeof *numbers);
    size_t *indices = calloc(2 * (p.n + 1), sizeof *indices);
    char *used = calloc(p.n + 1, 1);
    ts_status st = TS_OK;
    if (!numbers || !indices || !used) {
        st = ts_fail(err, TS_E_NO_MEMORY, "assignment of %zu x %zu", rows, cols);
    } else {
        double *u = numbers, *v = u + p.n + 1, *least = v + p.n + 1;
        size_t *owner = indices, *way = owner + p.n + 1;
        for (size_t row = 1; row <= p.n; row++)
            augment(&p, row, u, v, owner, way, least, used);
        for (size_t j = 1; j <= cols; j++)
            if (owner[j] <= rows && cost[(owner[j] - 1) * cols + j - 1] < limit)
                match[owner[j] - 1] = (int)(j - 1);
    }
    free(numbers);
    free(indices);
    free(used);
    return st;
}
