#include "server/media/venc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <libavcodec/avcodec.h>
#include <libavutil/imgutils.h>
#include <libavutil/opt.h>
#include <libswscale/swscale.h>

#include "server/media/averror.h"

struct ts_venc {
    ts_venc_options options;
    AVCodecContext *codec;
    AVFrame *frame; /* encoder's format and even size */
    AVPacket *packet;
    struct SwsContext *scale;
    enum AVPixelFormat scale_from;
    uint8_t *padded; /* one source picture with its edge repeated, where the size is odd */
};

typedef struct candidate {
    const char *codec, *name;
} candidate;

/* Hardware first: it fails fast where there is none. */
static const candidate CANDIDATES[] = {
    {"h264", "h264_nvenc"}, {"h264", "libx264"},   {"hevc", "hevc_nvenc"},
    {"hevc", "libx265"},    {"vp9", "libvpx-vp9"}, {"mjpeg", "mjpeg"},
};

static int even(int n)
{
    return n + (n & 1);
}

static const char *preset_name(const ts_venc_options *o, bool nvenc, char out[16])
{
    static const char *const names[] = {"ultrafast", "superfast", "veryfast", "faster",
                                        "fast",      "medium",    "slow"};
    const char *preset = o->preset && *o->preset ? o->preset : "veryfast";
    for (int i = 0; i < 7; i++) {
        bool number = (preset[0] == 'P' || preset[0] == 'p') && preset[1] == '1' + i && !preset[2];
        if (!number && strcasecmp(preset, names[i]) != 0)
            continue;
        if (nvenc)
            snprintf(out, 16, "p%d", i + 1);
        else
            snprintf(out, 16, "%s", names[i]);
        return out;
    }
    return preset;
}

static void set_options(AVCodecContext *c, const ts_venc_options *o, const char *name)
{
    char preset[16], text[48];
    bool nvenc = strstr(name, "nvenc") != NULL, x26 = !strncmp(name, "libx26", 6);
    int crf = o->lossless ? 0 : o->crf > 0 ? o->crf : 18;
    if (nvenc || x26)
        av_opt_set(c->priv_data, "preset", preset_name(o, nvenc, preset), 0);
    if (o->zero_latency && x26)
        av_opt_set(c->priv_data, "tune", "zerolatency", 0);
    if (o->zero_latency && nvenc)
        av_opt_set(c->priv_data, "tune", "ull", 0);
    if (!strcmp(name, "libx265"))
        av_opt_set(c->priv_data, "x265-params", "log-level=error", 0);
    if (!strcmp(name, "libvpx-vp9")) {
        av_opt_set(c->priv_data, "deadline", "realtime", 0);
        av_opt_set_int(c->priv_data, "cpu-used", 6, 0);
        av_opt_set_int(c->priv_data, "row-mt", 1, 0);
        av_opt_set_int(c->priv_data, "lossless", o->lossless, 0);
    }
    if (o->bitrate > 0) {
        c->bit_rate = c->rc_max_rate = o->bitrate;
        c->rc_buffer_size = (int)(o->bitrate > INT32_MAX ? INT32_MAX : o->bitrate);
    } else if (!o->lossless || x26) {
        snprintf(text, sizeof text, "%d", crf);
        av_opt_set(c->priv_data, nvenc ? "cq" : "crf", text, 0);
    }
    if (!strcmp(name, "mjpeg")) {
        c->flags |= AV_CODEC_FLAG_QSCALE;
        c->global_quality = FF_QP2LAMBDA * 4;
        c->color_range = AVCOL_RANGE_JPEG;
        c->strict_std_compliance = FF_COMPLIANCE_UNOFFICIAL;
    }
}

static AVCodecContext *configure(const AVCodec *codec, const ts_venc_options *o)
{
    AVCodecContext *c = avcodec_alloc_context3(codec);
    if (!c)
        return NULL;
    AVRational fps = {o->fps_num, o->fps_den};
    double rate = av_q2d(fps);
    c->width = even(o->width);
    c->height = even(o->height);
    c->framerate = fps;
    c->time_base = o->vfr ? (AVRational){1, 90000} : av_inv_q(fps);
    c->pix_fmt =
        o->lossless && strcmp(codec->name, "mjpeg") ? AV_PIX_FMT_YUV444P : AV_PIX_FMT_YUV420P;
    c->gop_size = (int)((o->gop_s > 0 ? o->gop_s : 1) * rate + 0.5);
    if (c->gop_size < 1)
        c->gop_size = 1;
    c->max_b_frames = o->zero_latency ? 0 : 2;
    c->thread_count = o->threads > 0 ? o->threads : 2;
    c->colorspace = AVCOL_SPC_BT709;
    c->color_primaries = AVCOL_PRI_BT709;
    c->color_trc = AVCOL_TRC_BT709;
    c->color_range = AVCOL_RANGE_MPEG;
    if (o->global_header)
        c->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    set_options(c, o, codec->name);
    return c;
}

/* Try the candidates in order; what each said goes into the error if none opens. */
static ts_status open_codec(ts_venc *v, ts_error *err)
{
    const ts_venc_options *o = &v->options;
    bool automatic = !o->encoder || !*o->encoder || !strcmp(o->encoder, "auto");
    char tried[300] = "";
    for (size_t i = 0; i < sizeof CANDIDATES / sizeof *CANDIDATES; i++) {
        const candidate *k = &CANDIDATES[i];
        if (automatic ? strcmp(k->codec, o->codec) : strcmp(k->name, o->encoder))
            continue;
        if (o->lossless && strstr(k->name, "nvenc"))
            continue;
        const AVCodec *codec = avcodec_find_encoder_by_name(k->name);
        AVCodecContext *c = codec ? configure(codec, o) : NULL;
        int rc = c ? avcodec_open2(c, codec, NULL) : AVERROR_ENCODER_NOT_FOUND;
        if (rc >= 0) {
            v->codec = c;
            return TS_OK;
        }
        avcodec_free_context(&c);
        char reason[80];
        av_strerror(rc, reason, sizeof reason);
        size_t used = strlen(tried);
        snprintf(tried + used, sizeof tried - used, "%s%s: %s", used ? "; " : "", k->name, reason);
    }
    return ts_fail(err, TS_E_NO_ENCODER, "no encoder for %s opened at %dx%d (%s)", o->codec,
                   o->width, o->height, *tried ? tried : "none is known by that name");
}

bool ts_venc_known(const char *codec)
{
    for (size_t i = 0; i < sizeof CANDIDATES / sizeof *CANDIDATES; i++)
        if (!strcmp(CANDIDATES[i].codec, codec) && avcodec_find_encoder_by_name(CANDIDATES[i].name))
            return true;
    return false;
}

ts_status ts_venc_open(const ts_venc_options *options, ts_venc **out, ts_error *err)
{
    if (options->width < 1 || options->height < 1 || options->width > 16384 ||
        options->height > 16384)
        return ts_fail(err, TS_E_OPTION, "a video of %dx%d pixels", options->width,
                       options->height);
    ts_venc *v = calloc(1, sizeof *v);
    if (!v)
        return ts_fail(err, TS_E_NO_MEMORY, "video encoder");
    av_log_set_level(AV_LOG_ERROR);
    v->options = *options;
    if (!v->options.codec)
        v->options.codec = "h264";
    if (v->options.fps_num <= 0 || v->options.fps_den <= 0) {
        v->options.fps_num = 30;
        v->options.fps_den = 1;
    }
    ts_status st = open_codec(v, err);
    if (st == TS_OK) {
        v->frame = av_frame_alloc();
        v->packet = av_packet_alloc();
        /* 64 more: swscale reads whole vectors past the last row */
        v->padded = calloc((size_t)v->codec->width * v->codec->height * 4 + 64, 1);
        if (!v->frame || !v->packet || !v->padded)
            st = ts_fail(err, TS_E_NO_MEMORY, "frame of %dx%d", options->width, options->height);
    }
    if (st == TS_OK) {
        v->frame->format = v->codec->pix_fmt;
        v->frame->width = v->codec->width;
        v->frame->height = v->codec->height;
        v->frame->color_range = v->codec->color_range;
        v->frame->colorspace = v->codec->colorspace;
        int rc = av_frame_get_buffer(v->frame, 0);
        if (rc < 0)
            st = ts_fail_av(err, rc, TS_E_NO_MEMORY, "frame of %dx%d", options->width,
                            options->height);
    }
    if (st != TS_OK) {
        ts_venc_close(v);
        return st;
    }
    *out = v;
    return TS_OK;
}

void ts_venc_close(ts_venc *v)
{
    if (!v)
        return;
    avcodec_free_context(&v->codec);
    av_frame_free(&v->frame);
    av_packet_free(&v->packet);
    sws_freeContext(v->scale);
    free(v->padded);
    free(v);
}

const AVCodecContext *ts_venc_context(const ts_venc *v)
{
    return v->codec;
}

const char *ts_venc_name(const ts_venc *v)
{
    return v->codec->codec->name;
}

/* Repeat the last column and row of packed pixels into v->padded. */
static void pad_packed(ts_venc *v, const ts_pixels *p, size_t bytes)
{
    int w = v->codec->width, h = v->codec->height;
    for (int y = 0; y < h; y++) {
        const uint8_t *row =
            p->plane[0] + (size_t)(y < p->height ? y : p->height - 1) * p->stride[0];
        uint8_t *to = v->padded + (size_t)y * w * bytes;
        memcpy(to, row, (size_t)p->width * bytes);
        if (w > p->width)
            memcpy(to + (size_t)p->width * bytes, row + (size_t)(p->width - 1) * bytes, bytes);
    }
}

static ts_status from_packed(ts_venc *v, const ts_pixels *p, ts_error *err)
{
    enum AVPixelFormat from = p->format == TS_PIXELS_RGB8 ? AV_PIX_FMT_RGB24 : AV_PIX_FMT_RGB0;
    size_t bytes = from == AV_PIX_FMT_RGB24 ? 3 : 4;
    int w = v->codec->width, h = v->codec->height;
    if (!v->scale || v->scale_from != from) {
        sws_freeContext(v->scale);
        v->scale =
            sws_getContext(w, h, from, w, h, v->codec->pix_fmt,
                           SWS_BILINEAR | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT, NULL, NULL, NULL);
        if (!v->scale)
            return ts_fail(err, TS_E_INTERNAL, "no conversion from RGB to the encoder's format");
        const int *matrix = sws_getCoefficients(SWS_CS_ITU709);
        bool full = v->codec->color_range == AVCOL_RANGE_JPEG;
        sws_setColorspaceDetails(v->scale, matrix, 1, matrix, full, 0, 1 << 16, 1 << 16);
        v->scale_from = from;
    }
    const uint8_t *source[4] = {p->plane[0]};
    int stride[4] = {(int)p->stride[0]};
    if (w != p->width || h != p->height) {
        pad_packed(v, p, bytes);
        source[0] = v->padded;
        stride[0] = (int)(w * bytes);
    }
    sws_scale(v->scale, source, stride, 0, h, v->frame->data, v->frame->linesize);
    return TS_OK;
}

/* Planes go in as they are; the maker chose the matrix. */
static ts_status from_planes(ts_venc *v, const ts_pixels *p, ts_error *err)
{
    if (v->codec->pix_fmt != AV_PIX_FMT_YUV420P)
        return ts_fail(err, TS_E_INTERNAL, "a lossless encoder takes RGB pictures");
    for (int i = 0; i < 3; i++) {
        int shift = i ? 1 : 0;
        int w = v->codec->width >> shift, h = v->codec->height >> shift;
        int have_w = (p->width + shift) >> shift, have_h = (p->height + shift) >> shift;
        for (int y = 0; y < h; y++) {
            const uint8_t *row = p->plane[i] + (size_t)(y < have_h ? y : have_h - 1) * p->stride[i];
            uint8_t *to = v->frame->data[i] + (size_t)y * v->frame->linesize[i];
            memcpy(to, row, (size_t)(have_w < w ? have_w : w));
            if (w > have_w)
                memset(to + have_w, row[have_w - 1], (size_t)(w - have_w));
        }
    }
    return TS_OK;
}

static ts_status drain(ts_venc *v, ts_packet_fn packet, void *arg, ts_error *err)
{
    for (;;) {
        int rc = avcodec_receive_packet(v->codec, v->packet);
        if (rc == AVERROR(EAGAIN) || rc == AVERROR_EOF)
            return TS_OK;
        if (rc < 0)
            return ts_fail_av(err, rc, TS_E_INTERNAL, "encode with %s", v->codec->codec->name);
        if (v->packet->duration == 0 && !v->options.vfr)
            v->packet->duration = 1;
        ts_status st = packet(arg, v->packet, err);
        av_packet_unref(v->packet);
        if (st != TS_OK)
            return st;
    }
}

ts_status ts_venc_encode(ts_venc *v, const ts_pixels *picture, int64_t pts, bool key,
                         ts_packet_fn packet, void *arg, ts_error *err)
{
    if (picture->width != v->options.width || picture->height != v->options.height)
        return ts_fail(err, TS_E_SHAPE, "a picture of %dx%d in a video of %dx%d", picture->width,
                       picture->height, v->options.width, v->options.height);
    int rc = av_frame_make_writable(v->frame);
    if (rc < 0)
        return ts_fail_av(err, rc, TS_E_NO_MEMORY, "frame");
    ts_status st;
    if (picture->format == TS_PIXELS_RGB8 || picture->format == TS_PIXELS_RGBA8)
        st = from_packed(v, picture, err);
    else if (picture->format == TS_PIXELS_I420)
        st = from_planes(v, picture, err);
    else
        st = ts_fail(err, TS_E_INTERNAL, "pixel format %d is not for video", picture->format);
    if (st != TS_OK)
        return st;
    v->frame->pts = pts;
    v->frame->pict_type = key ? AV_PICTURE_TYPE_I : AV_PICTURE_TYPE_NONE;
    rc = avcodec_send_frame(v->codec, v->frame);
    if (rc < 0)
        return ts_fail_av(err, rc, TS_E_INTERNAL, "encode with %s", v->codec->codec->name);
    return drain(v, packet, arg, err);
}

ts_status ts_venc_flush(ts_venc *v, ts_packet_fn packet, void *arg, ts_error *err)
{
    int rc = avcodec_send_frame(v->codec, NULL);
    if (rc < 0 && rc != AVERROR_EOF)
        return ts_fail_av(err, rc, TS_E_INTERNAL, "flush %s", v->codec->codec->name);
    return drain(v, packet, arg, err);
}
