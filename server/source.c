#include "server/source.h"

#include <stdio.h>
#include <string.h>

#define SOURCE(table) extern const ts_source_ops table;
#include "server/sources.def"
#undef SOURCE

static const ts_source_ops *const kinds[] = {
#define SOURCE(table) &table,
#include "server/sources.def"
#undef SOURCE
};

enum {
    N_KINDS = sizeof kinds / sizeof *kinds
};

void ts_snapshot_finish(ts_snapshot *s)
{
    ts_entry_finish(&s->entry);
    ts_pixels_unref(s->pixels);
    json_decref(s->metrics);
    memset(s, 0, sizeof *s);
}

ts_status ts_source_find(const json_t *source, const ts_source_ops **out, ts_error *err)
{
    char known[256] = "";
    if (!json_is_object(source))
        return ts_fail(err, TS_E_OPTION, "source: expected an object like {\"tensor\":\"w\"}");
    for (int i = 0; i < N_KINDS; i++) {
        if (json_object_get(source, kinds[i]->key) &&
            (!kinds[i]->claims || kinds[i]->claims(source))) {
            *out = kinds[i];
            return TS_OK;
        }
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", kinds[i]->key);
    }
    return ts_fail(err, TS_E_OPTION, "source: no key that says its kind; known are %s", known);
}
