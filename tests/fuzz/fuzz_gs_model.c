/* Any octets as a fitted picture's model file: what is read can be written and read again. */
#include <stdlib.h>

#include "cl/models/imagegs/model_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ts_gs_model model, again;
    ts_buf file = {0};
    if (ts_gs_model_read(data, size, &model, NULL) != TS_OK)
        return 0;
    if (ts_gs_model_write(&model, &file, NULL) == TS_OK) {
        if (ts_gs_model_read(file.data, file.len, &again, NULL) != TS_OK || again.n != model.n)
            abort();
        ts_gs_model_finish(&again);
    }
    ts_buf_finish(&file);
    ts_gs_model_finish(&model);
    return 0;
}
