/*
 * Pictures as files: WebP, PNG, JPEG and GIF in, WebP, PNG, JPEG, raw RGB and npy out.
 *
 * Host memory only; the colours come finished from the device (cl/viz). One frame is encoded by one
 * thread: each thread has a ts_encoder, whose memory is kept from frame to frame. Output is
 * appended to a ts_buf, so whatever the caller put in front (headroom for a WebSocket header, a
 * frame's JSON) stays there.
 *
 *     ts_buf_reset(&out);
 *     ts_encode_headroom(&out, LWS_PRE);
 *     ts_encode_options opt = { .codec = TS_CODEC_WEBP, .quality = 80 };
 *     st = ts_frame_encode(pixels, &opt, encoder, &out, err);
 *
 * Decoders read the dimensions first and refuse a picture over the limits before they allocate for
 * it. Data comes from outside: anything malformed is TS_E_FILE, never a crash.
 *
 * Thread: any; a ts_encoder or ts_animation belongs to one thread at a time.
 */
#ifndef TS_SERVER_CODEC_H
#define TS_SERVER_CODEC_H

#include "cl/base/buf.h"
#include "cl/viz/pixels.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- encoding ---- */

typedef enum ts_codec {
    TS_CODEC_WEBP,          /* lossy; from I420 planes without a conversion */
    TS_CODEC_WEBP_LOSSLESS, /* exact; INDEXED pixels take the own VP8L writer */
    TS_CODEC_PNG,           /* 8 or 16 bit */
    TS_CODEC_JPEG,          /* from I420 planes without a conversion */
    TS_CODEC_RAW,           /* u8 HWC RGB */
    TS_CODEC_NPY            /* the same with a NumPy header, shape (H, W, 3) */
} ts_codec;

typedef struct ts_encode_options {
    ts_codec codec;
    int quality; /* 1…100 for WebP lossy and JPEG; 0 = 80 */
    int method;  /* libwebp effort 0…6; live frames use 0 */
} ts_encode_options;

typedef struct ts_encoder ts_encoder;

TS_CHECKED ts_status ts_encoder_create(ts_encoder **out, ts_error *err);
void ts_encoder_destroy(ts_encoder *enc); /* NULL is fine */

/** Append `bytes` zero bytes that the picture is to stand behind. */
void ts_encode_headroom(ts_buf *out, size_t bytes);

/**
 * Encode one picture and append the file to `out`.
 *
 * Shapes: any ts_pixels; INDEXED with 256 greys in order becomes a gray PNG. RGBA32F is taken as linear 0…1 already tone-mapped (clamped, rounded).
 *         RGBA16 keeps 16 bits in PNG and loses the low byte elsewhere. JPEG, raw and npy drop alpha.
 * Owner:  caller keeps everything; on failure out->len is what it was.
 * Errors: TS_E_OPTION (quality, method), TS_E_TOO_LARGE (over 16383 px a side for WebP, 65500 for
 *         JPEG), TS_E_NO_MEMORY.
 */
TS_CHECKED ts_status ts_frame_encode(const ts_pixels *pixels, const ts_encode_options *options,
                                     ts_encoder *enc, ts_buf *out, ts_error *err);

/** MIME type and name ("webp", "webp-lossless", "png", "jpeg", "raw", "npy") of a codec. */
const char *ts_codec_mime(ts_codec codec);
const char *ts_codec_name(ts_codec codec);

/** Append a NumPy 1.0 header for C-order data. `descr` is e.g. "|u1"; rank <= 8. */
void ts_npy_header(ts_buf *out, const char *descr, const int64_t *dims, int rank);

/* ---- decoding ---- */

enum {
    TS_IMAGE_MAX_SIDE = 16384,
    TS_IMAGE_MAX_PIXELS = 64 * 1024 * 1024
};

typedef enum ts_image_kind {
    TS_IMAGE_UNKNOWN,
    TS_IMAGE_PNG,
    TS_IMAGE_JPEG,
    TS_IMAGE_WEBP,
    TS_IMAGE_GIF
} ts_image_kind;

typedef struct ts_image_info {
    ts_image_kind kind;
    int width, height;
    int channels;  /* 1 gray, 2 gray and alpha, 3, 4; palettes count as 3 or 4 */
    int bit_depth; /* per sample */
    bool animated;
} ts_image_info;

/**
 * Read kind and dimensions from the first bytes, without decoding.
 *
 * Errors: TS_E_FILE (not one of the four, or its header is broken), TS_E_TOO_LARGE (over the
 *         limits above, and whatever 32-bit size a header claims).
 */
TS_CHECKED ts_status ts_image_probe(const void *data, size_t len, ts_image_info *out,
                                    ts_error *err);

/**
 * Decode a still picture (or the first frame of an animation) to u8 HWC.
 *
 * Shapes: channels 1, 3 or 4 forces that count; 0 takes 1 for gray PNG or JPEG, 4 with alpha, else
 *         3. 16-bit samples keep the high byte. `info` (may be NULL) gets what the file says, with
 *         `channels` the count produced.
 * Owner:  `out` is reset and then holds height*width*channels bytes.
 * Errors: as ts_image_probe; TS_E_FILE for truncated data or bytes after the end.
 */
TS_CHECKED ts_status ts_image_decode(const void *data, size_t len, int channels,
                                     ts_image_info *info, ts_buf *out, ts_error *err);

/**
 * Let ts_image_decode() hand probed pictures to another decoder (a sandbox); NULL undoes it. `decode`
 * gives the channels that the file has. Set before other threads decode.
 */
typedef ts_status (*ts_image_decode_fn)(void *arg, const void *data, size_t len,
                                        ts_image_info *info, ts_buf *out, ts_error *err);
void ts_image_set_decoder(ts_image_decode_fn decode, void *arg);

/* ---- animations (WebP, GIF), frame by frame ---- */

typedef struct ts_animation ts_animation;

/** Open an animation (a still WebP is one of one frame). Owner: `data` must outlive it. */
TS_CHECKED ts_status ts_animation_open(const void *data, size_t len, ts_animation **out,
                                       ts_image_info *info, ts_error *err);
/**
 * The next composed frame, RGBA8, width*height*4 bytes, valid until the next call; NULL after the
 * last. *end_us is the time at which it stops being shown.
 */
TS_CHECKED ts_status ts_animation_next(ts_animation *anim, const uint8_t **rgba, int64_t *end_us,
                                       ts_error *err);
void ts_animation_close(ts_animation *anim); /* NULL is fine */

#ifdef __cplusplus
}
#endif
#endif
