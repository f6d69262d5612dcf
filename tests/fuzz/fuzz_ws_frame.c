/* Any octets through the WebSocket frame parser, in pieces whose sizes the input chooses. */
#include <stdlib.h>
#include <string.h>

#include "server/wsframe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    size_t chop = (size_t)data[0] + 1;
    data++, size--;
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy)
        return 0;
    memcpy(copy, data, size);
    ts_wsframe parser;
    ts_wsframe_init(&parser, 300, 70000);
    uint64_t message = 0;
    for (size_t at = 0; at < size;) {
        size_t n = size - at < chop ? size - at : chop;
        ts_ws_event e;
        size_t used = ts_wsframe_next(&parser, copy + at, n, &e);
        if (used == 0 || used > n)
            abort();
        at += used;
        if (e.kind == TS_WS_EVENT_DATA) {
            message = e.first ? e.len : message + e.len;
            if (message > (e.opcode == TS_WS_TEXT ? 300u : 70000u))
                abort();
        }
        if (e.kind == TS_WS_EVENT_CONTROL && e.len > TS_WS_MAX_CONTROL)
            abort();
    }
    free(copy);
    return 0;
}
