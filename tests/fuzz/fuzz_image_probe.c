/* Any octets as a picture: what the probe says must hold for what the decoder gives. */
#include <stdlib.h>

#include "server/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum {
        MAX_PX = 1 << 22 /* keeps one input short */
    };
    ts_image_info probed, info;
    ts_buf out = {0};
    ts_status st = ts_image_probe(data, size, &probed, NULL);
    if (st != TS_OK) {
        if (st != TS_E_FILE && st != TS_E_TOO_LARGE)
            abort();
        return 0;
    }
    if (probed.width < 1 || probed.height < 1 || probed.width > TS_IMAGE_MAX_SIDE ||
        probed.height > TS_IMAGE_MAX_SIDE)
        abort();
    if ((int64_t)probed.width * probed.height > MAX_PX)
        return 0;
    if (ts_image_decode(data, size, 0, &info, &out, NULL) == TS_OK &&
        (info.width != probed.width || info.height != probed.height ||
         out.len != (size_t)info.width * (size_t)info.height * (size_t)info.channels))
        abort();
    ts_buf_finish(&out);
    return 0;
}
