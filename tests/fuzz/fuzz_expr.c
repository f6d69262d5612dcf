/* Any octets as an expression. */
#include <string.h>

#include "cl/viz/expr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void visit(void *arg, const char *name)
{
    *(size_t *)arg += strlen(name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[2048];
    ts_expr *expr = NULL;
    size_t total = 0;
    if (size >= sizeof text)
        return 0;
    memcpy(text, data, size);
    text[size] = 0;
    if (ts_expr_parse(text, &expr, NULL) == TS_OK)
        ts_expr_each_tensor(expr, visit, &total);
    ts_expr_destroy(expr);
    return 0;
}
