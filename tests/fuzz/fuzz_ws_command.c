/* Binary and text messages of clients: header splitting, and the options that they may carry. */
#include <stdlib.h>

#include "cl/viz/view.h"
#include "server/output.h"
#include "server/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_options(const json_t *object)
{
    ts_error err = {0};
    ts_output output;
    json_t *folded = NULL;
    ts_view *view = NULL;
    (void)!ts_output_parse(object, &output, &err);
    ts_error_clear(&err);
    if (json_is_object(object) && ts_view_fold(object, &folded, &err) == TS_OK) {
        ts_error_clear(&err);
        if (ts_view_parse(folded, &view, &err) == TS_OK)
            ts_view_unref(view);
        json_t *merged = ts_json_merge_patch(folded, object);
        json_decref(merged);
    }
    json_decref(folded);
    ts_error_clear(&err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ts_error err = {0};
    json_t *header = NULL;
    const uint8_t *payload = NULL;
    size_t len = 0;
    if (ts_wire_split(data, size, &header, &payload, &len, &err) == TS_OK) {
        if (payload < data || payload + len != data + size)
            abort();
        read_options(header);
        json_decref(header);
    }
    ts_error_clear(&err);
    json_t *text = NULL;
    if (ts_json_parse(data, size, &text, &err) == TS_OK)
        read_options(text);
    json_decref(text);
    ts_error_clear(&err);
    return 0;
}
