#include "server/codec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/size.h"
#include "server/codec_internal.h"

/* ---- names ---- */

const char *ts_codec_mime(ts_codec codec)
{
    switch (codec) {
    case TS_CODEC_WEBP:
    case TS_CODEC_WEBP_LOSSLESS:
        return "image/webp";
    case TS_CODEC_PNG:
        return "image/png";
    case TS_CODEC_JPEG:
        return "image/jpeg";
    case TS_CODEC_NPY:
        return "application/x-npy";
    case TS_CODEC_RAW:
        break;
    }
    return "application/octet-stream";
}

const char *ts_codec_name(ts_codec codec)
{
    static const char *const names[] = {"webp", "webp-lossless", "png", "jpeg", "raw", "npy"};
    return (unsigned)codec < sizeof names / sizeof *names ? names[codec] : "raw";
}

void ts_npy_header(ts_buf *out, const char *descr, const int64_t *dims, int rank)
{
    char shape[256];
    size_t n = 0;
    shape[0] = 0;
    for (int i = 0; i < rank; i++) /* "(3,)" is a tuple of one, "(3)" a number */
        n += (size_t)snprintf(shape + n, sizeof shape - n, "%lld%s", (long long)dims[i],
                              rank == 1      ? ","
                              : i + 1 < rank ? ", "
                                             : "");
    char text[512];
    int len = snprintf(text, sizeof text,
                       "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", descr, shape);
    size_t padded = ts_round_up((size_t)len + 1 + 10, 64) - 10;
    uint8_t head[10] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0};
    head[8] = (uint8_t)padded;
    head[9] = (uint8_t)(padded >> 8);
    ts_buf_append(out, head, sizeof head);
    ts_buf_append(out, text, (size_t)len);
    for (size_t i = (size_t)len; i + 1 < padded; i++)
        ts_buf_append(out, " ", 1);
    ts_buf_append(out, "\n", 1);
}

/* ---- conversions to 8-bit RGB(A) ---- */

static inline uint8_t clamp_u8(int v)
{
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

/* BT.601 limited range, 16-bit fixed point, chroma of the nearest sample. */
static void i420_row(const ts_pixels *px, int y, uint8_t *out)
{
    const uint8_t *py = px->plane[0] + (size_t)y * px->stride[0];
    const uint8_t *pu = px->plane[1] + (size_t)(y / 2) * px->stride[1];
    const uint8_t *pv = px->plane[2] + (size_t)(y / 2) * px->stride[2];
    for (int x = 0; x < px->width; x++, out += 3) {
        int l = 76309 * (py[x] - 16) + 32768, u = pu[x / 2] - 128, v = pv[x / 2] - 128;
        out[0] = clamp_u8((l + 104597 * v) >> 16);
        out[1] = clamp_u8((l - 25675 * u - 53279 * v) >> 16);
        out[2] = clamp_u8((l + 132201 * u) >> 16);
    }
}

static void rgba16_row(const uint8_t *in, int width, uint8_t *out)
{
    for (int i = 0; i < 4 * width; i++) {
        uint16_t v;
        memcpy(&v, in + 2 * (size_t)i, 2);
        out[i] = (uint8_t)(v >> 8);
    }
}

static void rgba32f_row(const uint8_t *in, int width, uint8_t *out)
{
    for (int i = 0; i < 4 * width; i++) {
        float v;
        memcpy(&v, in + 4 * (size_t)i, 4);
        out[i] = v >= 1 ? 255 : v > 0 ? (uint8_t)(v * 255 + 0.5f) : 0; /* NaN is 0 */
    }
}

static void indexed_row(const ts_pixels *px, const uint8_t *in, uint8_t *out)
{
    for (int x = 0; x < px->width; x++)
        memcpy(out + 3 * (size_t)x, px->palette[in[x]], 3);
}

static void convert_row(const ts_pixels *px, int y, uint8_t *out)
{
    const uint8_t *in = px->plane[0] + (size_t)y * px->stride[0];
    switch (px->format) {
    case TS_PIXELS_I420:
        i420_row(px, y, out);
        break;
    case TS_PIXELS_INDEXED:
        indexed_row(px, in, out);
        break;
    case TS_PIXELS_RGBA16:
        rgba16_row(in, px->width, out);
        break;
    case TS_PIXELS_RGBA32F:
        rgba32f_row(in, px->width, out);
        break;
    case TS_PIXELS_RGB8:
        memcpy(out, in, 3 * (size_t)px->width);
        break;
    case TS_PIXELS_RGBA8:
        memcpy(out, in, 4 * (size_t)px->width);
        break;
    }
}

static bool has_alpha(ts_pixel_format format)
{
    return format == TS_PIXELS_RGBA8 || format == TS_PIXELS_RGBA16 || format == TS_PIXELS_RGBA32F;
}

/* A view of `px` in RGB8 or RGBA8, converted into the encoder's memory. */
static ts_status to_8bit(const ts_pixels *px, ts_encoder *enc, ts_pixels *out, ts_error *err)
{
    bool alpha = has_alpha(px->format);
    size_t row = (size_t)px->width * (alpha ? 4 : 3);
    ts_buf_reset(&enc->rgb);
    if (!ts_buf_reserve(&enc->rgb, row * (size_t)px->height))
        return ts_fail(err, TS_E_NO_MEMORY, "no memory to convert %dx%d px", px->width, px->height);
    for (int y = 0; y < px->height; y++)
        convert_row(px, y, enc->rgb.data + row * (size_t)y);
    *out = (ts_pixels){.format = alpha ? TS_PIXELS_RGBA8 : TS_PIXELS_RGB8,
                       .width = px->width,
                       .height = px->height,
                       .plane = {enc->rgb.data},
                       .stride = {row}};
    return TS_OK;
}

/* ---- encoding ---- */

ts_status ts_encoder_create(ts_encoder **out, ts_error *err)
{
    *out = calloc(1, sizeof **out);
    return *out ? TS_OK : ts_fail(err, TS_E_NO_MEMORY, "no memory for an encoder");
}

void ts_encoder_destroy(ts_encoder *enc)
{
    if (!enc)
        return;
    ts_buf_finish(&enc->rgb);
    ts_buf_finish(&enc->strip);
    free(enc->argb);
    ts_vp8l_finish(&enc->vp8l);
    free(enc);
}

void ts_encode_headroom(ts_buf *out, size_t bytes)
{
    if (!ts_buf_reserve(out, bytes))
        return;
    memset(out->data + out->len, 0, bytes);
    out->len += bytes;
}

static ts_status encode_raw(const ts_pixels *px, bool npy, ts_buf *out, ts_error *err)
{
    size_t row = 3 * (size_t)px->width;
    if (npy)
        ts_npy_header(out, "|u1", (int64_t[]){px->height, px->width, 3}, 3);
    if (!ts_buf_reserve(out, row * (size_t)px->height))
        return ts_fail(err, TS_E_NO_MEMORY, "no memory for %dx%d px", px->width, px->height);
    for (int y = 0; y < px->height; y++, out->len += row) {
        const uint8_t *in = px->plane[0] + (size_t)y * px->stride[0];
        uint8_t *to = out->data + out->len;
        if (px->format == TS_PIXELS_RGB8)
            memcpy(to, in, row);
        else
            for (int x = 0; x < px->width; x++)
                memcpy(to + 3 * (size_t)x, in + 4 * (size_t)x, 3);
    }
    return TS_OK;
}

/* Whether the codec reads this format as it is. */
static bool takes(ts_codec codec, ts_pixel_format format)
{
    if (format == TS_PIXELS_RGB8 || format == TS_PIXELS_RGBA8)
        return true;
    switch (codec) {
    case TS_CODEC_WEBP:
    case TS_CODEC_JPEG:
        return format == TS_PIXELS_I420;
    case TS_CODEC_WEBP_LOSSLESS:
        return format == TS_PIXELS_INDEXED;
    case TS_CODEC_PNG:
        return format == TS_PIXELS_INDEXED || format == TS_PIXELS_RGBA16;
    case TS_CODEC_RAW:
    case TS_CODEC_NPY:
        break;
    }
    return false;
}

static ts_status check_size(const ts_pixels *px, ts_codec codec, ts_error *err)
{
    int max = codec == TS_CODEC_WEBP || codec == TS_CODEC_WEBP_LOSSLESS ? 16383 : 65500;
    if (px->width < 1 || px->height < 1 || px->width > max || px->height > max)
        return ts_fail(err, TS_E_TOO_LARGE, "%s takes sides of 1 to %d px, not %dx%d",
                       ts_codec_name(codec), max, px->width, px->height);
    return TS_OK;
}

static ts_status encode_with(const ts_pixels *px, const ts_encode_options *opt, ts_encoder *enc,
                             ts_buf *out, ts_error *err)
{
    ts_pixels converted;
    if (!takes(opt->codec, px->format)) {
        ts_status st = to_8bit(px, enc, &converted, err);
        if (st != TS_OK)
            return st;
        px = &converted;
    }
    switch (opt->codec) {
    case TS_CODEC_WEBP:
        return webp_encode(px, opt, enc, out, err);
    case TS_CODEC_WEBP_LOSSLESS:
        if (px->format == TS_PIXELS_INDEXED)
            return ts_vp8l_encode(&enc->vp8l, px->plane[0], px->stride[0], px->width, px->height,
                                  px->palette, px->n_colors, TS_VP8L_AUTO, out, err);
        return webp_encode_lossless(px, opt, enc, out, err);
    case TS_CODEC_PNG:
        return png_encode(px, out, err);
    case TS_CODEC_JPEG:
        return jpeg_encode(px, opt->quality ? opt->quality : 80, enc, out, err);
    case TS_CODEC_RAW:
    case TS_CODEC_NPY:
        return encode_raw(px, opt->codec == TS_CODEC_NPY, out, err);
    }
    return ts_fail(err, TS_E_OPTION, "no such codec");
}

ts_status ts_frame_encode(const ts_pixels *pixels, const ts_encode_options *options,
                          ts_encoder *enc, ts_buf *out, ts_error *err)
{
    size_t before = out->len;
    ts_status st = check_size(pixels, options->codec, err);
    if (st == TS_OK && (options->quality < 0 || options->quality > 100))
        st = ts_fail(err, TS_E_OPTION, "quality is %d, want 1 to 100", options->quality);
    if (st == TS_OK && (options->method < 0 || options->method > 6))
        st = ts_fail(err, TS_E_OPTION, "method is %d, want 0 to 6", options->method);
    if (st == TS_OK)
        st = encode_with(pixels, options, enc, out, err);
    if (st == TS_OK && out->failed)
        st = ts_fail(err, TS_E_NO_MEMORY, "no memory for the encoded picture");
    if (st != TS_OK)
        out->len = before;
    return st;
}

/* ---- decoding ---- */

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static ts_status check_limits(const char *what, uint64_t width, uint64_t height, ts_error *err)
{
    if (!width || !height)
        return ts_fail(err, TS_E_FILE, "%s of %llux%llu px", what, (unsigned long long)width,
                       (unsigned long long)height);
    if (width > TS_IMAGE_MAX_SIDE || height > TS_IMAGE_MAX_SIDE ||
        width * height > TS_IMAGE_MAX_PIXELS)
        return ts_fail(err, TS_E_TOO_LARGE,
                       "%s of %llux%llu px, the limit is %d a side and %d in all", what,
                       (unsigned long long)width, (unsigned long long)height, TS_IMAGE_MAX_SIDE,
                       TS_IMAGE_MAX_PIXELS);
    return TS_OK;
}

static ts_status probe_png(const uint8_t *p, size_t len, ts_image_info *out, ts_error *err)
{
    if (len < 33 || be32(p + 8) != 13 || memcmp(p + 12, "IHDR", 4) != 0)
        return ts_fail(err, TS_E_FILE, "a PNG without a whole IHDR chunk");
    ts_status st = check_limits("a PNG", be32(p + 16), be32(p + 20), err);
    if (st != TS_OK)
        return st;
    int color = p[25];
    out->kind = TS_IMAGE_PNG;
    out->width = (int)be32(p + 16);
    out->height = (int)be32(p + 20);
    out->bit_depth = p[24];
    out->channels = color == 0 ? 1 : color == 4 ? 2 : color == 6 ? 4 : 3;
    return TS_OK;
}

static bool is_sof(int marker)
{
    return marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
}

static ts_status probe_jpeg(const uint8_t *p, size_t len, ts_image_info *out, ts_error *err)
{
    size_t at = 2;
    while (at + 4 <= len) {
        if (p[at] != 0xff)
            break;
        int marker = p[at + 1];
        if (marker == 0xff) { /* fill byte */
            at++;
            continue;
        }
        size_t segment = (size_t)p[at + 2] << 8 | p[at + 3];
        if (marker < 0xc0 || segment < 2 || at + 2 + segment > len || marker == 0xda)
            break;
        if (is_sof(marker) && segment >= 8) {
            const uint8_t *s = p + at + 4;
            out->kind = TS_IMAGE_JPEG;
            out->bit_depth = s[0];
            out->height = s[1] << 8 | s[2];
            out->width = s[3] << 8 | s[4];
            out->channels = s[5] == 1 ? 1 : 3;
            return check_limits("a JPEG", (uint64_t)out->width, (uint64_t)out->height, err);
        }
        at += 2 + segment;
    }
    return ts_fail(err, TS_E_FILE, "a JPEG without a frame header");
}

static ts_status probe_gif(const uint8_t *p, size_t len, ts_image_info *out, ts_error *err)
{
    if (len < 13)
        return ts_fail(err, TS_E_FILE, "a truncated GIF");
    out->kind = TS_IMAGE_GIF;
    out->width = p[6] | p[7] << 8;
    out->height = p[8] | p[9] << 8;
    out->channels = 4;
    out->bit_depth = 8;
    out->animated = true;
    return check_limits("a GIF", (uint64_t)out->width, (uint64_t)out->height, err);
}

ts_status ts_image_probe(const void *data, size_t len, ts_image_info *out, ts_error *err)
{
    static const uint8_t png_magic[8] = {0x89, 'P', 'N', 'G', 13, 10, 26, 10};
    const uint8_t *p = data;
    *out = (ts_image_info){0};
    if (len >= 8 && !memcmp(p, png_magic, 8))
        return probe_png(p, len, out, err);
    if (len >= 3 && p[0] == 0xff && p[1] == 0xd8 && p[2] == 0xff)
        return probe_jpeg(p, len, out, err);
    if (len >= 12 && !memcmp(p, "RIFF", 4) && !memcmp(p + 8, "WEBP", 4)) {
        ts_status st = webp_probe(p, len, out, err);
        return st != TS_OK
                   ? st
                   : check_limits("a WebP", (uint64_t)out->width, (uint64_t)out->height, err);
    }
    if (len >= 6 && (!memcmp(p, "GIF87a", 6) || !memcmp(p, "GIF89a", 6)))
        return probe_gif(p, len, out, err);
    return ts_fail(err, TS_E_FILE, "not a PNG, JPEG, WebP or GIF (%zu bytes)", len);
}

static inline uint8_t luma(const uint8_t *rgb)
{
    return (uint8_t)((19595 * rgb[0] + 38470 * rgb[1] + 7471 * rgb[2] + 32768) >> 16);
}

static ts_status change_channels(ts_buf *buf, size_t n_px, int from, int to, ts_error *err)
{
    if (from == to)
        return TS_OK;
    ts_buf out = {0};
    if (!ts_buf_reserve(&out, n_px * (size_t)to))
        return ts_fail(err, TS_E_NO_MEMORY, "no memory for %zu pixels", n_px);
    const uint8_t *in = buf->data;
    uint8_t *o = out.data;
    for (size_t i = 0; i < n_px; i++, in += from, o += to) {
        if (to == 1) {
            o[0] = luma(in);
            continue;
        }
        o[0] = in[0];
        o[1] = from == 1 ? in[0] : in[1];
        o[2] = from == 1 ? in[0] : in[2];
        if (to == 4)
            o[3] = 255;
    }
    out.len = n_px * (size_t)to;
    ts_buf_finish(buf);
    *buf = out;
    return TS_OK;
}

static ts_status decode_gif(const uint8_t *data, size_t len, ts_image_info *info, ts_buf *out,
                            ts_error *err)
{
    gif *g = NULL;
    const uint8_t *rgba = NULL;
    int64_t end_us;
    ts_status st = gif_open(data, len, &g, err);
    if (st == TS_OK)
        st = gif_next(g, &rgba, &end_us, err);
    if (st == TS_OK && !rgba)
        st = ts_fail(err, TS_E_FILE, "a GIF without a picture");
    if (st == TS_OK)
        ts_buf_append(out, rgba, 4 * (size_t)info->width * (size_t)info->height);
    gif_close(g);
    return st;
}

static ts_image_decode_fn decode_elsewhere;
static void *decode_elsewhere_arg;

void ts_image_set_decoder(ts_image_decode_fn decode, void *arg)
{
    decode_elsewhere = decode;
    decode_elsewhere_arg = arg;
}

static ts_status decode_here(const void *data, size_t len, ts_image_info *info, ts_buf *out,
                             ts_error *err)
{
    switch (info->kind) {
    case TS_IMAGE_PNG:
        return png_decode(data, len, info, out, err);
    case TS_IMAGE_JPEG:
        return jpeg_decode(data, len, info, out, err);
    case TS_IMAGE_WEBP:
        return webp_decode(data, len, info, out, err);
    case TS_IMAGE_GIF:
    case TS_IMAGE_UNKNOWN:
        break;
    }
    return decode_gif(data, len, info, out, err);
}

ts_status ts_image_decode(const void *data, size_t len, int channels, ts_image_info *info,
                          ts_buf *out, ts_error *err)
{
    ts_image_info own;
    if (!info)
        info = &own;
    ts_buf_reset(out);
    ts_status st = ts_image_probe(data, len, info, err);
    if (st != TS_OK)
        return st;
    st = decode_elsewhere ? decode_elsewhere(decode_elsewhere_arg, data, len, info, out, err)
                          : decode_here(data, len, info, out, err);
    if (st == TS_OK && out->failed)
        st = ts_fail(err, TS_E_NO_MEMORY, "no memory for %dx%d px", info->width, info->height);
    if (st == TS_OK && channels) {
        st = change_channels(out, (size_t)info->width * (size_t)info->height, info->channels,
                             channels, err);
        info->channels = channels;
    }
    if (st != TS_OK)
        ts_buf_reset(out);
    return st;
}

/* ---- animations ---- */

struct ts_animation {
    gif *gif;
    webp_frames *webp;
};

ts_status ts_animation_open(const void *data, size_t len, ts_animation **out, ts_image_info *info,
                            ts_error *err)
{
    *out = NULL;
    ts_status st = ts_image_probe(data, len, info, err);
    if (st != TS_OK)
        return st;
    if (info->kind != TS_IMAGE_GIF && info->kind != TS_IMAGE_WEBP)
        return ts_fail(err, TS_E_FILE, "not an animation (GIF or WebP)");
    ts_animation *a = calloc(1, sizeof *a);
    if (!a)
        return ts_fail(err, TS_E_NO_MEMORY, "no memory for an animation");
    st = info->kind == TS_IMAGE_GIF ? gif_open(data, len, &a->gif, err)
                                    : webp_frames_open(data, len, &a->webp, err);
    if (st != TS_OK) {
        ts_animation_close(a);
        return st;
    }
    *out = a;
    return TS_OK;
}

ts_status ts_animation_next(ts_animation *anim, const uint8_t **rgba, int64_t *end_us,
                            ts_error *err)
{
    if (anim->gif)
        return gif_next(anim->gif, rgba, end_us, err);
    return webp_frames_next(anim->webp, rgba, end_us, err);
}

void ts_animation_close(ts_animation *anim)
{
    if (!anim)
        return;
    gif_close(anim->gif);
    webp_frames_close(anim->webp);
    free(anim);
}
