/* Any octets as AutoGaze's config.json and preprocessor_config.json. */
#include <stdlib.h>

#include "cl/models/autogaze/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *doc = NULL;
    ts_error err = {0};
    ts_autogaze_config c;
    ts_autogaze_processor p;
    if (size > 65536 || ts_json_parse(data, size, &doc, NULL) != TS_OK)
        return 0;
    ts_status st = ts_autogaze_config_read(doc, &c, &err);
    if (st != TS_OK && !err.text[0])
        __builtin_trap();
    if (st == TS_OK && (c.first[c.n_scales] != c.n_ids || c.heads % c.kv_heads ||
                        c.n_vision < c.multi_token || ts_autogaze_limit(&c, c.ratio) > c.n_ids))
        __builtin_trap();
    ts_error_clear(&err);
    st = ts_autogaze_processor_read(doc, 224, &p, &err);
    if (st != TS_OK && !err.text[0])
        __builtin_trap();
    if (st == TS_OK) {
        int w, h;
        float table[3][256];
        ts_autogaze_resized(&p, 1920, 1080, &w, &h);
        ts_autogaze_table(&p, table);
    }
    ts_error_clear(&err);
    json_decref(doc);
    return 0;
}
