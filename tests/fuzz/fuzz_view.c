/* Any octets as a view object, and as a query pair. What is accepted parses again to the same JSON. */
#include <stdlib.h>
#include <string.h>

#include "cl/viz/view.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void as_query(const uint8_t *data, size_t size)
{
    char text[512];
    if (size >= sizeof text)
        return;
    memcpy(text, data, size);
    text[size] = 0;
    char *value = strchr(text, '=');
    if (!value)
        return;
    *value++ = 0;
    json_t *object = json_object();
    if (ts_view_from_query(object, text, value, NULL) == TS_OK && json_object_size(object) != 1)
        abort();
    json_decref(object);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *json = NULL;
    ts_view *view = NULL, *again = NULL;
    as_query(data, size);
    if (ts_json_parse(data, size, &json, NULL) != TS_OK)
        return 0;
    if (ts_view_parse(json, &view, NULL) == TS_OK) {
        if (ts_view_parse(ts_view_json(view), &again, NULL) != TS_OK ||
            !json_equal(ts_view_json(view), ts_view_json(again)))
            abort();
        ts_view_unref(again);
        ts_view_unref(view);
    }
    json_decref(json);
    return 0;
}
