/* Any octets as an animation (GIF, WebP), frame by frame. */
#include <stdlib.h>

#include "server/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum {
        MAX_PX = 1 << 20,
        MAX_FRAMES = 50
    };
    ts_image_info info;
    ts_animation *anim;
    const uint8_t *rgba;
    int64_t end_us, before = -1;
    uint32_t sum = 0;
    if (ts_image_probe(data, size, &info, NULL) != TS_OK ||
        (int64_t)info.width * info.height > MAX_PX ||
        ts_animation_open(data, size, &anim, &info, NULL) != TS_OK)
        return 0;
    for (int n = 0; n < MAX_FRAMES && ts_animation_next(anim, &rgba, &end_us, NULL) == TS_OK; n++) {
        if (!rgba)
            break;
        if (end_us < before)
            abort();
        before = end_us;
        for (size_t i = 0; i < 4 * (size_t)info.width * (size_t)info.height; i += 64)
            sum += rgba[i]; /* every row is there */
    }
    ts_animation_close(anim);
    static volatile uint32_t sink; /* keeps the reads */
    sink = sum;
    (void)sink;
    return 0;
}
