/* Any octets as a multipart/form-data body: parts lie inside it. */
#include <stdlib.h>

#include "server/multipart.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static ts_multipart form;
    if (ts_multipart_parse("multipart/form-data; boundary=\"xyz\"", data, size, &form, NULL) !=
        TS_OK)
        return 0;
    for (size_t i = 0; i < form.n; ++i)
        if (form.part[i].data < data || form.part[i].len > size ||
            form.part[i].data + form.part[i].len > data + size)
            abort();
    return 0;
}
