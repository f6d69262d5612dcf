/* WebP through libwebp: lossy from planes, lossless from ARGB, stills and animations in. */
#include <stdlib.h>
#include <string.h>

#include <webp/decode.h>
#include <webp/demux.h>
#include <webp/encode.h>

#include "cl/base/size.h"
#include "server/codec_internal.h"

static int append(const uint8_t *data, size_t n, const WebPPicture *pic)
{
    ts_buf *out = pic->custom_ptr;
    ts_buf_append(out, data, n);
    return !out->failed;
}

static ts_status encode_failed(const WebPPicture *pic, ts_error *err)
{
    bool memory = pic->error_code == VP8_ENC_ERROR_OUT_OF_MEMORY ||
                  pic->error_code == VP8_ENC_ERROR_BITSTREAM_OUT_OF_MEMORY ||
                  pic->error_code == VP8_ENC_ERROR_BAD_WRITE;
    return ts_fail(err, memory ? TS_E_NO_MEMORY : TS_E_INTERNAL,
                   "libwebp failed with error %d on %dx%d px", (int)pic->error_code, pic->width,
                   pic->height);
}

/* A picture of px's size that writes into `out`. */
static ts_status picture_init(WebPPicture *pic, const ts_pixels *px, ts_buf *out, ts_error *err)
{
    if (!WebPPictureInit(pic))
        return ts_fail(err, TS_E_INTERNAL, "libwebp is of another version");
    pic->width = px->width;
    pic->height = px->height;
    pic->writer = append;
    pic->custom_ptr = out;
    return TS_OK;
}

ts_status webp_encode(const ts_pixels *px, const ts_encode_options *opt, ts_encoder *enc,
                      ts_buf *out, ts_error *err)
{
    (void)enc;
    WebPConfig config;
    WebPPicture pic;
    if (!WebPConfigInit(&config))
        return ts_fail(err, TS_E_INTERNAL, "libwebp is of another version");
    config.quality = (float)(opt->quality ? opt->quality : 80);
    config.method = opt->method;
    ts_status st = picture_init(&pic, px, out, err);
    if (st != TS_OK)
        return st;
    int ok = 1;
    if (px->format == TS_PIXELS_I420) { /* the planes as they are: no import, no copy */
        pic.use_argb = 0;
        pic.colorspace = WEBP_YUV420;
        pic.y = (uint8_t *)(uintptr_t)px->plane[0];
        pic.u = (uint8_t *)(uintptr_t)px->plane[1];
        pic.v = (uint8_t *)(uintptr_t)px->plane[2];
        pic.y_stride = (int)px->stride[0];
        pic.uv_stride = (int)px->stride[1];
    } else if (px->format == TS_PIXELS_RGBA8) {
        ok = WebPPictureImportRGBA(&pic, px->plane[0], (int)px->stride[0]);
    } else {
        ok = WebPPictureImportRGB(&pic, px->plane[0], (int)px->stride[0]);
    }
    ok = ok && WebPEncode(&config, &pic);
    if (!ok)
        st = encode_failed(&pic, err);
    WebPPictureFree(&pic); /* frees only what an import made */
    return st;
}

static void argb_row(const ts_pixels *px, int y, uint32_t *out)
{
    const uint8_t *in = px->plane[0] + (size_t)y * px->stride[0];
    bool alpha = px->format == TS_PIXELS_RGBA8;
    for (int x = 0; x < px->width; x++, in += alpha ? 4 : 3)
        out[x] = (uint32_t)(alpha ? in[3] : 255) << 24 | (uint32_t)in[0] << 16 |
                 (uint32_t)in[1] << 8 | in[2];
}

ts_status webp_encode_lossless(const ts_pixels *px, const ts_encode_options *opt, ts_encoder *enc,
                               ts_buf *out, ts_error *err)
{
    WebPConfig config;
    WebPPicture pic;
    if (!WebPConfigInit(&config) || !WebPConfigLosslessPreset(&config, opt->method))
        return ts_fail(err, TS_E_INTERNAL, "libwebp is of another version");
    config.exact = 1; /* keep colours under alpha 0 */
    ts_status st = picture_init(&pic, px, out, err);
    if (st != TS_OK)
        return st;
    size_t n = (size_t)px->width * (size_t)px->height;
    if (n > enc->argb_cap) {
        uint32_t *p = ts_realloc_array(enc->argb, n, sizeof *p);
        if (!p)
            return ts_fail(err, TS_E_NO_MEMORY, "no memory for %zu pixels", n);
        enc->argb = p;
        enc->argb_cap = n;
    }
    for (int y = 0; y < px->height; y++)
        argb_row(px, y, enc->argb + (size_t)y * (size_t)px->width);
    pic.use_argb = 1;
    pic.argb = enc->argb;
    pic.argb_stride = px->width;
    if (!WebPEncode(&config, &pic))
        st = encode_failed(&pic, err);
    WebPPictureFree(&pic);
    return st;
}

/* ---- decoding ---- */

/* The RIFF size must be the file's: less is truncated, more is trailing data. */
static ts_status check_riff(const uint8_t *p, size_t len, ts_error *err)
{
    size_t riff = (size_t)p[4] | (size_t)p[5] << 8 | (size_t)p[6] << 16 | (size_t)p[7] << 24;
    if (len < riff + 8)
        return ts_fail(err, TS_E_FILE, "a truncated WebP: %zu bytes of %zu", len, riff + 8);
    if (len > riff + 8 + (riff & 1))
        return ts_fail(err, TS_E_FILE, "%zu bytes after the end of a WebP", len - riff - 8);
    return TS_OK;
}

ts_status webp_probe(const uint8_t *data, size_t len, ts_image_info *info, ts_error *err)
{
    WebPBitstreamFeatures f;
    if (WebPGetFeatures(data, len, &f) != VP8_STATUS_OK)
        return ts_fail(err, TS_E_FILE, "a WebP with a broken or truncated header");
    info->kind = TS_IMAGE_WEBP;
    info->width = f.width;
    info->height = f.height;
    info->bit_depth = 8;
    info->channels = f.has_alpha ? 4 : 3;
    info->animated = f.has_animation != 0;
    return TS_OK;
}

static ts_status decode_still(const uint8_t *data, size_t len, ts_image_info *info, ts_buf *out,
                              ts_error *err)
{
    size_t row = (size_t)info->width * (size_t)info->channels, n = row * (size_t)info->height;
    if (!ts_buf_reserve(out, n))
        return ts_fail(err, TS_E_NO_MEMORY, "no memory for %dx%d px", info->width, info->height);
    uint8_t *ok = info->channels == 4 ? WebPDecodeRGBAInto(data, len, out->data, n, (int)row)
                                      : WebPDecodeRGBInto(data, len, out->data, n, (int)row);
    if (!ok)
        return ts_fail(err, TS_E_FILE, "a WebP with broken or truncated image data");
    out->len = n;
    return TS_OK;
}

ts_status webp_decode(const uint8_t *data, size_t len, ts_image_info *info, ts_buf *out,
                      ts_error *err)
{
    ts_status st = check_riff(data, len, err);
    if (st != TS_OK || !info->animated)
        return st != TS_OK ? st : decode_still(data, len, info, out, err);
    webp_frames *frames = NULL;
    const uint8_t *rgba = NULL;
    int64_t end_us;
    st = webp_frames_open(data, len, &frames, err);
    if (st == TS_OK)
        st = webp_frames_next(frames, &rgba, &end_us, err);
    if (st == TS_OK && !rgba)
        st = ts_fail(err, TS_E_FILE, "an animated WebP without a frame");
    if (st == TS_OK)
        ts_buf_append(out, rgba, 4 * (size_t)info->width * (size_t)info->height);
    info->channels = 4;
    webp_frames_close(frames);
    return st;
}

struct webp_frames {
    WebPAnimDecoder *decoder;
};

ts_status webp_frames_open(const uint8_t *data, size_t len, webp_frames **out, ts_error *err)
{
    ts_status st = check_riff(data, len, err);
    if (st != TS_OK)
        return st;
    WebPAnimDecoderOptions options;
    if (!WebPAnimDecoderOptionsInit(&options))
        return ts_fail(err, TS_E_INTERNAL, "libwebpdemux is of another version");
    options.color_mode = MODE_RGBA;
    webp_frames *w = calloc(1, sizeof *w);
    if (!w)
        return ts_fail(err, TS_E_NO_MEMORY, "no memory for an animation");
    WebPData bytes = {data, len};
    w->decoder = WebPAnimDecoderNew(&bytes, &options);
    if (!w->decoder) {
        free(w);
        return ts_fail(err, TS_E_FILE, "an animated WebP with a broken structure");
    }
    *out = w;
    return TS_OK;
}

ts_status webp_frames_next(webp_frames *w, const uint8_t **rgba, int64_t *end_us, ts_error *err)
{
    *rgba = NULL;
    if (!WebPAnimDecoderHasMoreFrames(w->decoder))
        return TS_OK;
    uint8_t *frame;
    int end_ms;
    if (!WebPAnimDecoderGetNext(w->decoder, &frame, &end_ms))
        return ts_fail(err, TS_E_FILE, "an animated WebP with a broken frame");
    *rgba = frame;
    *end_us = (int64_t)end_ms * 1000;
    return TS_OK;
}

void webp_frames_close(webp_frames *w)
{
    if (!w)
        return;
    WebPAnimDecoderDelete(w->decoder);
    free(w);
}
