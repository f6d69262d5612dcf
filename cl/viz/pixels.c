#include "cl/viz/pixels.h"

#include <stdlib.h>

#include "cl/base/size.h"

ts_pixels *ts_pixels_ref(ts_pixels *pixels)
{
    if (pixels)
        __atomic_add_fetch(&pixels->refs, 1, __ATOMIC_RELAXED);
    return pixels;
}

void ts_pixels_unref(ts_pixels *pixels)
{
    if (pixels && __atomic_sub_fetch(&pixels->refs, 1, __ATOMIC_ACQ_REL) == 0)
        pixels->release(pixels);
}

static void release_heap(ts_pixels *pixels)
{
    free(pixels->owner);
    free(pixels);
}

static size_t bytes_per_pixel(ts_pixel_format format)
{
    switch (format) {
    case TS_PIXELS_RGB8:
        return 3;
    case TS_PIXELS_RGBA8:
        return 4;
    case TS_PIXELS_RGBA16:
        return 8;
    case TS_PIXELS_RGBA32F:
        return 16;
    case TS_PIXELS_I420:
    case TS_PIXELS_INDEXED:
        break;
    }
    return 1;
}

size_t ts_pixels_layout(ts_pixel_format format, int width, int height, size_t offset[3],
                        size_t stride[3])
{
    offset[0] = offset[1] = offset[2] = stride[1] = stride[2] = 0;
    stride[0] = (size_t)width * bytes_per_pixel(format);
    size_t bytes = stride[0] * (size_t)height;
    if (format != TS_PIXELS_I420)
        return bytes;
    /* Rows start on 64 bytes: encoders read them with vector loads. */
    size_t half_height = ((size_t)height + 1) / 2;
    stride[0] = ts_round_up((size_t)width, 64);
    stride[1] = stride[2] = ts_round_up(((size_t)width + 1) / 2, 64);
    offset[1] = stride[0] * (size_t)height;
    offset[2] = offset[1] + stride[1] * half_height;
    return offset[2] + stride[2] * half_height;
}

ts_pixels *ts_pixels_create(ts_pixel_format format, int width, int height)
{
    if (width < 1 || height < 1)
        return NULL;
    ts_pixels *pixels = calloc(1, sizeof *pixels);
    size_t offset[3], bytes;
    if (!pixels)
        return NULL;
    bytes = ts_pixels_layout(format, width, height, offset, pixels->stride);
    /* swscale and the encoders read whole vectors: up to 64 bytes past the last row */
    uint8_t *data = aligned_alloc(64, ts_round_up(bytes, 64) + 64);
    if (!data) {
        free(pixels);
        return NULL;
    }
    pixels->format = format;
    pixels->width = width;
    pixels->height = height;
    for (int i = 0; i < (format == TS_PIXELS_I420 ? 3 : 1); i++)
        pixels->plane[i] = data + offset[i];
    pixels->refs = 1;
    pixels->owner = data;
    pixels->release = release_heap;
    return pixels;
}
