/* Any octets as a tensor in JSON. What is accepted is converted, written again and read back. */
#include <stdlib.h>
#include <string.h>

#include "cl/tensor/tensor_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static ts_status collect(void *arg, const void *data, size_t len, ts_error *err)
{
    (void)err;
    ts_buf_append(arg, data, len);
    return TS_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ts_buf text = {0}, bytes = {0}, again = {0};
    ts_tensor_json doc;
    char shape[256];
    ts_buf_append(&text, data, size);
    if (ts_tensor_json_parse(ts_buf_cstr(&text), text.len, &doc, NULL) == TS_OK) {
        if (ts_tensor_json_convert(&doc, collect, &bytes, NULL) != TS_OK || bytes.len != doc.nbytes)
            abort();
        ts_buf out = {0};
        ts_buf_printf(&out, "{\"dtype\":\"%s\",\"shape\":%s,\"data\":[", ts_dtype_name(doc.dtype),
                      ts_shape_text(&doc.shape, shape, sizeof shape));
        ts_tensor_json_write_elements(&out, doc.dtype, bytes.data,
                                      bytes.len / ts_dtype_bytes(doc.dtype));
        ts_buf_str(&out, "]}");
        if (ts_tensor_json_parse(ts_buf_cstr(&out), out.len, &doc, NULL) != TS_OK ||
            ts_tensor_json_convert(&doc, collect, &again, NULL) != TS_OK ||
            again.len != bytes.len || (bytes.len && memcmp(again.data, bytes.data, bytes.len) != 0))
            abort();
        ts_buf_finish(&out);
    }
    ts_buf_finish(&text);
    ts_buf_finish(&bytes);
    ts_buf_finish(&again);
    return 0;
}
