/* Any octets as an uploaded video. */
#include "server/media/memvideo.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum {
        MAX_PX = 1 << 20,
        MAX_FRAMES = 20
    };
    ts_memvideo *video;
    ts_memvideo_info info;
    const uint8_t *rgba;
    if (ts_memvideo_open(data, size, &video, &info, NULL) != TS_OK)
        return 0;
    for (int n = 0; n < MAX_FRAMES && (int64_t)info.width * info.height <= MAX_PX; n++)
        if (ts_memvideo_next(video, &rgba, NULL) != TS_OK || !rgba)
            break;
    ts_memvideo_close(video);
    return 0;
}
