/*
 * A finished picture in host memory, as the encoders take it. Reference-counted, immutable.
 *
 * Memory is a mapped or read-back device image from a small ring, returned to it at the last unref.
 * Thread: any.
 */
#ifndef TS_CL_VIZ_PIXELS_H
#define TS_CL_VIZ_PIXELS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ts_pixel_format {
    TS_PIXELS_RGB8,    /* plane 0: H x W x 3 u8 */
    TS_PIXELS_RGBA8,   /* plane 0: H x W x 4 u8 */
    TS_PIXELS_RGBA16,  /* plane 0: H x W x 4 u16, host order */
    TS_PIXELS_RGBA32F, /* plane 0: H x W x 4 f32 */
    TS_PIXELS_I420,    /* Y, U, V: BT.601 limited range, chroma ceil(W/2) x ceil(H/2) */
    TS_PIXELS_INDEXED  /* plane 0: H x W palette indices, at most 256 colours */
} ts_pixel_format;

typedef struct ts_pixels ts_pixels;
struct ts_pixels {
    ts_pixel_format format;
    int width, height;
    const uint8_t *plane[3];
    size_t stride[3]; /* bytes */
    int n_colors;     /* TS_PIXELS_INDEXED */
    uint8_t palette[256][3];
    /* private: */
    int refs; /* atomic */
    void (*release)(ts_pixels *pixels);
    void *owner;
};

ts_pixels *ts_pixels_ref(ts_pixels *pixels);
void ts_pixels_unref(ts_pixels *pixels); /* NULL is fine */
/**
 * Where the planes of a picture lie in one block of memory (bytes from its start, bytes per row);
 * returns the block's size. RGB forms are tightly packed; I420 rows start on 64 bytes.
 */
size_t ts_pixels_layout(ts_pixel_format format, int width, int height, size_t offset[3],
                        size_t stride[3]);
/** Heap pixels of one format for pictures that the host makes; planes are writable by the maker. */
ts_pixels *ts_pixels_create(ts_pixel_format format, int width, int height);

#ifdef __cplusplus
}
#endif
#endif
