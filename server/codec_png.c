/* PNG through libpng: 8 and 16 bit and palettes out, everything in. */
#include <png.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include "server/codec_internal.h"

typedef struct reader {
    const uint8_t *data;
    size_t len, at;
} reader;

/* libpng's messages go into a ts_error; it may not return, so it jumps. */
static void on_error(png_structp png, png_const_charp message)
{
    ts_error *err = png_get_error_ptr(png);
    (void)ts_fail(err, TS_E_FILE, "a broken PNG: %s", message);
    longjmp(png_jmpbuf(png), 1);
}

static void on_warning(png_structp png, png_const_charp message)
{
    (void)png;
    (void)message;
}

static void on_write(png_structp png, png_bytep data, size_t n)
{
    ts_buf *out = png_get_io_ptr(png);
    ts_buf_append(out, data, n);
}

static void on_flush(png_structp png)
{
    (void)png;
}

static void on_read(png_structp png, png_bytep data, size_t n)
{
    reader *r = png_get_io_ptr(png);
    if (n > r->len - r->at)
        png_error(png, "truncated");
    memcpy(data, r->data + r->at, n);
    r->at += n;
}

/* 256 greys in order are no palette: the indices are samples. */
static bool is_gray(const ts_pixels *px)
{
    for (int i = 0; i < 256; i++)
        if (px->n_colors != 256 || px->palette[i][0] != i || px->palette[i][1] != i ||
            px->palette[i][2] != i)
            return false;
    return true;
}

static void write_header(png_structp png, png_infop info, const ts_pixels *px)
{
    bool gray = px->format == TS_PIXELS_INDEXED && is_gray(px);
    int color = gray                              ? PNG_COLOR_TYPE_GRAY
                : px->format == TS_PIXELS_INDEXED ? PNG_COLOR_TYPE_PALETTE
                : px->format == TS_PIXELS_RGB8    ? PNG_COLOR_TYPE_RGB
                                                  : PNG_COLOR_TYPE_RGBA;
    png_set_IHDR(png, info, (png_uint_32)px->width, (png_uint_32)px->height,
                 px->format == TS_PIXELS_RGBA16 ? 16 : 8, color, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    if (color == PNG_COLOR_TYPE_PALETTE) {
        png_color palette[256];
        for (int i = 0; i < px->n_colors; i++)
            palette[i] = (png_color){px->palette[i][0], px->palette[i][1], px->palette[i][2]};
        png_set_PLTE(png, info, palette, px->n_colors);
    }
    /* One filter and a low level: most of the size at a fraction of the time. */
    png_set_compression_level(png, 2);
    png_set_filter(png, 0, color == PNG_COLOR_TYPE_PALETTE ? PNG_FILTER_NONE : PNG_FILTER_SUB);
    png_write_info(png, info);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    if (px->format == TS_PIXELS_RGBA16)
        png_set_swap(png);
#endif
}

ts_status png_encode(const ts_pixels *px, ts_buf *out, ts_error *err)
{
    ts_error own = {0};
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &own, on_error, on_warning);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    if (!info) {
        png_destroy_write_struct(&png, NULL);
        return ts_fail(err, TS_E_NO_MEMORY, "no memory for a PNG encoder");
    }
    if (setjmp(png_jmpbuf(png))) {
        png_destroy_write_struct(&png, &info);
        return ts_fail(err, TS_E_INTERNAL, "%s", own.text);
    }
    png_set_write_fn(png, out, on_write, on_flush);
    write_header(png, info, px);
    for (int y = 0; y < px->height; y++)
        png_write_row(png, px->plane[0] + (size_t)y * px->stride[0]);
    png_write_end(png, NULL);
    png_destroy_write_struct(&png, &info);
    return TS_OK;
}

/* Ask libpng for 8-bit gray, RGB or RGBA; returns the channel count. */
static int set_transforms(png_structp png, png_infop info)
{
    int color = png_get_color_type(png, info);
    png_set_scale_16(png);
    png_set_expand(png); /* palettes, low bit depths, tRNS */
    if (color == PNG_COLOR_TYPE_GRAY_ALPHA ||
        (color == PNG_COLOR_TYPE_GRAY && png_get_valid(png, info, PNG_INFO_tRNS)))
        png_set_gray_to_rgb(png);
    png_set_interlace_handling(png);
    png_read_update_info(png, info);
    return png_get_channels(png, info);
}

static void read_rows(png_structp png, png_infop info, ts_image_info *image, ts_buf *out)
{
    image->channels = set_transforms(png, info);
    size_t row = (size_t)image->width * (size_t)image->channels;
    int passes = png_get_interlace_type(png, info) == PNG_INTERLACE_ADAM7 ? 7 : 1;
    if (!ts_buf_reserve(out, row * (size_t)image->height))
        return; /* out->failed tells */
    for (int pass = 0; pass < passes; pass++)
        for (int y = 0; y < image->height; y++)
            png_read_row(png, out->data + row * (size_t)y, NULL);
    out->len = row * (size_t)image->height;
}

ts_status png_decode(const uint8_t *data, size_t len, ts_image_info *image, ts_buf *out,
                     ts_error *err)
{
    enum {
        MAX_CHUNK = 8 << 20 /* of what an ancillary chunk may inflate to */
    };
    reader r = {data, len, 0};
    ts_error own = {0};
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &own, on_error, on_warning);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    if (!info) {
        png_destroy_read_struct(&png, NULL, NULL);
        return ts_fail(err, TS_E_NO_MEMORY, "no memory for a PNG decoder");
    }
    if (setjmp(png_jmpbuf(png))) {
        png_destroy_read_struct(&png, &info, NULL);
        return ts_fail(err, TS_E_FILE, "%s", own.text);
    }
    png_set_user_limits(png, TS_IMAGE_MAX_SIDE, TS_IMAGE_MAX_SIDE);
    png_set_chunk_malloc_max(png, MAX_CHUNK);
    png_set_chunk_cache_max(png, 64);
    png_set_read_fn(png, &r, on_read);
    png_read_info(png, info);
    read_rows(png, info, image, out);
    if (!out->failed)
        png_read_end(png, NULL);
    png_destroy_read_struct(&png, &info, NULL);
    if (!out->failed && r.at != r.len)
        return ts_fail(err, TS_E_FILE, "%zu bytes after the end of a PNG", r.len - r.at);
    return TS_OK;
}
