/* What the files of the codec share; nobody else includes this. */
#ifndef TS_SERVER_CODEC_INTERNAL_H
#define TS_SERVER_CODEC_INTERNAL_H

#include "server/codec.h"
#include "server/vp8l.h"

struct ts_encoder {
    ts_buf rgb;     /* a picture converted for an encoder that wants another format */
    ts_buf strip;   /* JPEG: sixteen rows of full-range samples */
    uint32_t *argb; /* lossless WebP: 0xAARRGGBB */
    size_t argb_cap;
    ts_vp8l vp8l;
};

/* Encoders append to `out`; ts_frame_encode() restores its length when one fails. */
ts_status webp_encode(const ts_pixels *px, const ts_encode_options *opt, ts_encoder *enc,
                      ts_buf *out, ts_error *err);
ts_status webp_encode_lossless(const ts_pixels *px, const ts_encode_options *opt, ts_encoder *enc,
                               ts_buf *out, ts_error *err);
ts_status png_encode(const ts_pixels *px, ts_buf *out, ts_error *err);
ts_status jpeg_encode(const ts_pixels *px, int quality, ts_encoder *enc, ts_buf *out,
                      ts_error *err);

/* Decoders give 1, 3 or 4 channels as the file has them; `info` has passed the limits. */
ts_status png_decode(const uint8_t *data, size_t len, ts_image_info *info, ts_buf *out,
                     ts_error *err);
ts_status jpeg_decode(const uint8_t *data, size_t len, ts_image_info *info, ts_buf *out,
                      ts_error *err);
ts_status webp_decode(const uint8_t *data, size_t len, ts_image_info *info, ts_buf *out,
                      ts_error *err);
ts_status webp_probe(const uint8_t *data, size_t len, ts_image_info *info, ts_error *err);

/* Animation back ends. */
typedef struct gif gif;
ts_status gif_open(const uint8_t *data, size_t len, gif **out, ts_error *err);
ts_status gif_next(gif *g, const uint8_t **rgba, int64_t *end_us, ts_error *err);
void gif_close(gif *g);

typedef struct webp_frames webp_frames;
ts_status webp_frames_open(const uint8_t *data, size_t len, webp_frames **out, ts_error *err);
ts_status webp_frames_next(webp_frames *w, const uint8_t **rgba, int64_t *end_us, ts_error *err);
void webp_frames_close(webp_frames *w);

#endif
