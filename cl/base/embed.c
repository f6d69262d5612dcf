#include "cl/base/embed.h"

#include <string.h>

const ts_embedded *ts_embedded_find(const ts_embedded *table, const char *name)
{
    for (; table->name; table++)
        if (strcmp(table->name, name) == 0)
            return table;
    return NULL;
}
