/* JPEG through libjpeg-turbo. */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The library's header needs stdio.h in front. */
/* clang-format off */
#include <jpeglib.h>
#include <jerror.h>
/* clang-format on */

#include "server/codec_internal.h"

typedef struct failure {
    struct jpeg_error_mgr base; /* first: libjpeg knows this part */
    jmp_buf jump;
    ts_error *err;
} failure;

static void on_error(j_common_ptr c)
{
    failure *f = (failure *)c->err;
    char text[JMSG_LENGTH_MAX];
    c->err->format_message(c, text);
    (void)ts_fail(f->err, TS_E_FILE, "a broken JPEG: %s", text);
    longjmp(f->jump, 1);
}

/* Missing data is a warning to libjpeg, which then invents grey; to us it is an error. */
static void on_message(j_common_ptr c, int level)
{
    int code = c->err->msg_code;
    if (level < 0 && (code == JWRN_HIT_MARKER || code == JWRN_JPEG_EOF))
        on_error(c);
}

static void failure_init(failure *f, ts_error *err)
{
    jpeg_std_error(&f->base);
    f->base.error_exit = on_error;
    f->base.emit_message = on_message;
    f->err = err;
}

/* ---- encoding ---- */

typedef struct sink {
    struct jpeg_destination_mgr base;
    ts_buf *out;
} sink;

enum {
    SINK_STEP = 64 * 1024
};

static void sink_more(sink *s)
{
    if (!ts_buf_reserve(s->out, SINK_STEP))
        return;
    s->base.next_output_byte = s->out->data + s->out->len;
    s->base.free_in_buffer = SINK_STEP;
}

static void sink_init(j_compress_ptr c)
{
    sink_more((sink *)c->dest);
}

static boolean sink_full(j_compress_ptr c)
{
    sink *s = (sink *)c->dest;
    s->out->len += SINK_STEP;
    sink_more(s);
    if (s->out->failed)
        ERREXIT1(c, JERR_OUT_OF_MEMORY, 0);
    return TRUE;
}

static void sink_end(j_compress_ptr c)
{
    sink *s = (sink *)c->dest;
    s->out->len += SINK_STEP - s->base.free_in_buffer;
}

/* Rows [first, first + n) of a limited-range plane as full-range samples, edges repeated. */
static void expand_rows(const ts_pixels *px, int plane, int first, int n, size_t width,
                        const uint8_t *map, uint8_t *out)
{
    size_t w = plane ? ((size_t)px->width + 1) / 2 : (size_t)px->width;
    int h = plane ? (px->height + 1) / 2 : px->height;
    for (int i = 0; i < n; i++, out += width) {
        int y = first + i < h ? first + i : h - 1;
        const uint8_t *in = px->plane[plane] + (size_t)y * px->stride[plane];
        for (size_t x = 0; x < w; x++)
            out[x] = map[in[x]];
        memset(out + w, out[w - 1], width - w);
    }
}

static void make_maps(uint8_t luma[256], uint8_t chroma[256])
{
    for (int i = 0; i < 256; i++) {
        int l = ((i - 16) * 255 * 2 + 219) / (2 * 219), c = (i - 128) * 255;
        c = 128 + (c >= 0 ? (2 * c + 224) / (2 * 224) : -((-2 * c + 224) / (2 * 224)));
        luma[i] = (uint8_t)(i < 16 ? 0 : l > 255 ? 255 : l);
        chroma[i] = (uint8_t)(c < 0 ? 0 : c > 255 ? 255 : c);
    }
}

/* JPEG stores full range; 16 luma rows and 8 of each chroma plane at a time. */
static void write_planes(j_compress_ptr c, const ts_pixels *px, uint8_t *strip)
{
    size_t wide = ((size_t)px->width + 15) / 16 * 16, half = wide / 2;
    uint8_t luma[256], chroma[256];
    JSAMPROW y_rows[16], u_rows[8], v_rows[8];
    JSAMPARRAY planes[3] = {y_rows, u_rows, v_rows};
    uint8_t *u = strip + 16 * wide, *v = u + 8 * half;
    make_maps(luma, chroma);
    for (int i = 0; i < 16; i++)
        y_rows[i] = strip + (size_t)i * wide;
    for (int i = 0; i < 8; i++) {
        u_rows[i] = u + (size_t)i * half;
        v_rows[i] = v + (size_t)i * half;
    }
    for (int row = 0; row < px->height; row += 16) {
        expand_rows(px, 0, row, 16, wide, luma, strip);
        expand_rows(px, 1, row / 2, 8, half, chroma, u);
        expand_rows(px, 2, row / 2, 8, half, chroma, v);
        jpeg_write_raw_data(c, planes, 16);
    }
}

static void write_rgb(j_compress_ptr c, const ts_pixels *px)
{
    for (int y = 0; y < px->height; y++) {
        JSAMPROW row = (JSAMPROW)(uintptr_t)(px->plane[0] + (size_t)y * px->stride[0]);
        jpeg_write_scanlines(c, &row, 1);
    }
}

static void set_up(j_compress_ptr c, const ts_pixels *px, int quality)
{
    bool planes = px->format == TS_PIXELS_I420;
    c->image_width = (JDIMENSION)px->width;
    c->image_height = (JDIMENSION)px->height;
    c->input_components = px->format == TS_PIXELS_RGBA8 ? 4 : 3;
    c->in_color_space = planes ? JCS_YCbCr : px->format == TS_PIXELS_RGBA8 ? JCS_EXT_RGBX : JCS_RGB;
    jpeg_set_defaults(c);
    jpeg_set_quality(c, quality, TRUE);
    c->raw_data_in = planes;
}

ts_status jpeg_encode(const ts_pixels *px, int quality, ts_encoder *enc, ts_buf *out, ts_error *err)
{
    struct jpeg_compress_struct c;
    failure f;
    sink s = {.out = out};
    ts_buf_reset(&enc->strip);
    if (!ts_buf_reserve(&enc->strip, 24 * (((size_t)px->width + 15) / 16 * 16)))
        return ts_fail(err, TS_E_NO_MEMORY, "no memory for %d px rows", px->width);
    failure_init(&f, err);
    c.err = &f.base;
    if (setjmp(f.jump)) {
        jpeg_destroy_compress(&c);
        return err ? err->status : TS_E_INTERNAL;
    }
    jpeg_create_compress(&c);
    s.base.init_destination = sink_init;
    s.base.empty_output_buffer = sink_full;
    s.base.term_destination = sink_end;
    c.dest = &s.base;
    set_up(&c, px, quality);
    jpeg_start_compress(&c, TRUE);
    if (px->format == TS_PIXELS_I420)
        write_planes(&c, px, enc->strip.data);
    else
        write_rgb(&c, px);
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    return TS_OK;
}

/* ---- decoding ---- */

static void source_init(j_decompress_ptr d)
{
    (void)d;
}

static boolean source_empty(j_decompress_ptr d)
{
    ERREXIT(d, JERR_INPUT_EOF);
    return FALSE;
}

static void source_skip(j_decompress_ptr d, long n)
{
    if (n <= 0)
        return;
    if ((size_t)n > d->src->bytes_in_buffer)
        ERREXIT(d, JERR_INPUT_EOF);
    d->src->next_input_byte += n;
    d->src->bytes_in_buffer -= (size_t)n;
}

/* A progressive file may repeat scans over every pixel thousands of times. */
static void on_progress(j_common_ptr c)
{
    enum {
        MAX_SCANS = 200
    };
    if (((j_decompress_ptr)c)->input_scan_number > MAX_SCANS)
        ERREXIT(c, JERR_BAD_PROGRESSION);
}

static ts_status read_jpeg(j_decompress_ptr d, ts_image_info *info, ts_buf *out, ts_error *err)
{
    jpeg_read_header(d, TRUE);
    if ((int)d->image_width != info->width || (int)d->image_height != info->height)
        return ts_fail(err, TS_E_FILE, "a JPEG with two frame headers");
    d->out_color_space = d->num_components == 1 ? JCS_GRAYSCALE : JCS_RGB;
    if (d->jpeg_color_space == JCS_CMYK || d->jpeg_color_space == JCS_YCCK)
        return ts_fail(err, TS_E_FILE, "a CMYK JPEG; convert it to RGB");
    info->channels = d->num_components == 1 ? 1 : 3;
    size_t row = (size_t)info->width * (size_t)info->channels;
    if (!ts_buf_reserve(out, row * (size_t)info->height))
        return TS_OK; /* out->failed tells */
    jpeg_start_decompress(d);
    while (d->output_scanline < d->output_height) {
        JSAMPROW line = out->data + row * d->output_scanline;
        jpeg_read_scanlines(d, &line, 1);
    }
    jpeg_finish_decompress(d);
    out->len = row * (size_t)info->height;
    if (d->src->bytes_in_buffer)
        return ts_fail(err, TS_E_FILE, "%zu bytes after the end of a JPEG",
                       d->src->bytes_in_buffer);
    return TS_OK;
}

ts_status jpeg_decode(const uint8_t *data, size_t len, ts_image_info *info, ts_buf *out,
                      ts_error *err)
{
    struct jpeg_decompress_struct d;
    struct jpeg_source_mgr src = {.next_input_byte = data,
                                  .bytes_in_buffer = len,
                                  .init_source = source_init,
                                  .fill_input_buffer = source_empty,
                                  .skip_input_data = source_skip,
                                  .resync_to_restart = jpeg_resync_to_restart,
                                  .term_source = source_init};
    struct jpeg_progress_mgr progress = {.progress_monitor = on_progress};
    ts_error own = {0};
    failure f;
    failure_init(&f, &own);
    d.err = &f.base;
    if (setjmp(f.jump)) {
        jpeg_destroy_decompress(&d);
        return ts_fail(err, TS_E_FILE, "%s", own.text);
    }
    jpeg_create_decompress(&d);
    d.src = &src;
    d.progress = &progress;
    d.mem->max_memory_to_use = 512L << 20;
    ts_status st = read_jpeg(&d, info, out, err);
    jpeg_destroy_decompress(&d);
    return st;
}
