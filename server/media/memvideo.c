#include "server/media/memvideo.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>

#include "server/media/averror.h"

struct ts_memvideo {
    const uint8_t *data;
    int64_t len, at;
    AVFormatContext *format;
    AVIOContext *io;
    AVCodecContext *codec;
    AVPacket *packet;
    AVFrame *frame;
    struct SwsContext *scale;
    int stream, width, height;
    uint8_t *rgba;
    bool draining;
};

static int decoder_threads = 2;

void ts_memvideo_set_threads(int threads)
{
    decoder_threads = threads;
}

static int on_read(void *arg, uint8_t *out, int n)
{
    ts_memvideo *v = arg;
    int64_t left = v->len - v->at;
    if (left <= 0)
        return AVERROR_EOF;
    if (n > left)
        n = (int)left;
    memcpy(out, v->data + v->at, (size_t)n);
    v->at += n;
    return n;
}

static int64_t on_seek(void *arg, int64_t offset, int whence)
{
    ts_memvideo *v = arg;
    if (whence & AVSEEK_SIZE)
        return v->len;
    int64_t to = offset;
    if ((whence & ~AVSEEK_FORCE) == SEEK_CUR)
        to += v->at;
    else if ((whence & ~AVSEEK_FORCE) == SEEK_END)
        to += v->len;
    if (to < 0 || to > v->len)
        return AVERROR(EINVAL);
    return v->at = to;
}

/* A file may name others; none is opened. */
static int refuse_open(AVFormatContext *s, AVIOContext **pb, const char *url, int flags,
                       AVDictionary **options)
{
    (void)s, (void)pb, (void)url, (void)flags, (void)options;
    return AVERROR(EPERM);
}

static const AVInputFormat *demuxer_of(const uint8_t *p, int64_t len)
{
    if (len >= 12 && !memcmp(p + 4, "ftyp", 4))
        return av_find_input_format("mp4");
    if (len >= 4 && !memcmp(p, "\x1a\x45\xdf\xa3", 4))
        return av_find_input_format("matroska");
    return NULL;
}

static ts_status open_io(ts_memvideo *v, ts_error *err)
{
    enum {
        IO_BYTES = 32 * 1024
    };
    uint8_t *buffer = av_malloc(IO_BYTES);
    v->io = buffer ? avio_alloc_context(buffer, IO_BYTES, 0, v, on_read, NULL, on_seek) : NULL;
    if (!v->io)
        av_free(buffer);
    v->format = avformat_alloc_context();
    v->packet = av_packet_alloc();
    v->frame = av_frame_alloc();
    if (!v->io || !v->format || !v->packet || !v->frame)
        return ts_fail(err, TS_E_NO_MEMORY, "no memory for a video");
    v->format->pb = v->io;
    v->format->flags |= AVFMT_FLAG_CUSTOM_IO;
    v->format->io_open = refuse_open;
    return TS_OK;
}

static ts_status open_format(ts_memvideo *v, ts_error *err)
{
    const AVInputFormat *demuxer = demuxer_of(v->data, v->len);
    if (!demuxer)
        return ts_fail(err, TS_E_FILE, "not an MP4, Matroska or WebM file");
    ts_status st = open_io(v, err);
    if (st != TS_OK)
        return st;
    AVDictionary *options = NULL;
    av_dict_set(&options, "protocol_whitelist", "none", 0);
    av_dict_set(&options, "codec_whitelist",
                "h264,hevc,mpeg4,vp8,vp9,libvpx,libvpx-vp9,av1,libdav1d,libaom-av1,mjpeg,png", 0);
    av_dict_set_int(&options, "max_streams", TS_VIDEO_MAX_STREAMS, 0);
    int rc = avformat_open_input(&v->format, NULL, demuxer, &options);
    av_dict_free(&options);
    if (rc < 0)
        return ts_fail_av(err, rc, TS_E_FILE, "not a readable video");
    rc = avformat_find_stream_info(v->format, NULL);
    if (rc < 0)
        return ts_fail_av(err, rc, TS_E_FILE, "not a readable video");
    if (v->format->nb_streams > TS_VIDEO_MAX_STREAMS)
        return ts_fail(err, TS_E_FILE, "a video of %u streams, the limit is %d",
                       v->format->nb_streams, TS_VIDEO_MAX_STREAMS);
    return TS_OK;
}

static ts_status check_size(int width, int height, ts_error *err)
{
    if (width < 1 || height < 1)
        return ts_fail(err, TS_E_FILE, "a video of %dx%d px", width, height);
    if (width > TS_VIDEO_MAX_SIDE || height > TS_VIDEO_MAX_SIDE)
        return ts_fail(err, TS_E_TOO_LARGE, "a video of %dx%d px, the limit is %d a side", width,
                       height, TS_VIDEO_MAX_SIDE);
    return TS_OK;
}

static ts_status open_codec(ts_memvideo *v, ts_error *err)
{
    const AVCodec *decoder = NULL;
    v->stream = av_find_best_stream(v->format, AVMEDIA_TYPE_VIDEO, -1, -1, &decoder, 0);
    if (v->stream == AVERROR_DECODER_NOT_FOUND)
        return ts_fail(err, TS_E_ENCODING, "the video's codec is not decoded here");
    if (v->stream < 0 || !decoder)
        return ts_fail(err, TS_E_FILE, "the file has no video");
    const AVCodecParameters *par = v->format->streams[v->stream]->codecpar;
    ts_status st = check_size(par->width, par->height, err);
    if (st != TS_OK)
        return st;
    v->width = par->width;
    v->height = par->height;
    v->codec = avcodec_alloc_context3(decoder);
    if (!v->codec || avcodec_parameters_to_context(v->codec, par) < 0)
        return ts_fail(err, TS_E_NO_MEMORY, "no memory for a decoder");
    v->codec->thread_count = decoder_threads;
    v->codec->max_pixels = (int64_t)TS_VIDEO_MAX_SIDE * TS_VIDEO_MAX_SIDE;
    AVDictionary *options = NULL;
    av_dict_set(&options, "codec_whitelist", decoder->name, 0);
    int rc = avcodec_open2(v->codec, decoder, &options);
    av_dict_free(&options);
    if (rc < 0)
        return ts_fail_av(err, rc, TS_E_ENCODING, "decoder %s", decoder->name);
    v->rgba = calloc(4 * (size_t)v->width, (size_t)v->height);
    return v->rgba ? TS_OK : ts_fail(err, TS_E_NO_MEMORY, "no memory for a video frame");
}

static ts_status read_fps(ts_memvideo *v, double *fps, ts_error *err)
{
    const double unknown = 25, most = 1000;
    AVRational rate = av_guess_frame_rate(v->format, v->format->streams[v->stream], NULL);
    *fps = rate.num > 0 && rate.den > 0 ? av_q2d(rate) : unknown;
    if (!(*fps > 0 && *fps <= most))
        return ts_fail(err, TS_E_FILE, "a video of %g frames a second, at most %g", *fps, most);
    return TS_OK;
}

ts_status ts_memvideo_open(const void *data, size_t len, ts_memvideo **out, ts_memvideo_info *info,
                           ts_error *err)
{
    ts_memvideo *v = calloc(1, sizeof *v);
    if (!v)
        return ts_fail(err, TS_E_NO_MEMORY, "no memory for a video");
    av_log_set_level(AV_LOG_FATAL);
    v->data = data;
    v->len = (int64_t)len;
    ts_status st = open_format(v, err);
    if (st == TS_OK)
        st = open_codec(v, err);
    if (st == TS_OK)
        st = read_fps(v, &info->fps, err);
    if (st != TS_OK) {
        ts_memvideo_close(v);
        return st;
    }
    info->width = v->width;
    info->height = v->height;
    *out = v;
    return TS_OK;
}

void ts_memvideo_close(ts_memvideo *v)
{
    if (!v)
        return;
    avcodec_free_context(&v->codec);
    avformat_close_input(&v->format);
    if (v->io)
        av_freep(&v->io->buffer);
    avio_context_free(&v->io);
    av_packet_free(&v->packet);
    av_frame_free(&v->frame);
    sws_freeContext(v->scale);
    free(v->rgba);
    free(v);
}

/* The matrix that YUV was made with; players take BT.709 for larger pictures without a mark. */
static int matrix_of(const AVFrame *f)
{
    switch (f->colorspace) {
    case AVCOL_SPC_BT709:
        return SWS_CS_ITU709;
    case AVCOL_SPC_BT470BG:
    case AVCOL_SPC_SMPTE170M:
        return SWS_CS_ITU601;
    case AVCOL_SPC_BT2020_NCL:
    case AVCOL_SPC_BT2020_CL:
        return SWS_CS_BT2020;
    default:
        return f->height >= 720 ? SWS_CS_ITU709 : SWS_CS_ITU601;
    }
}

static ts_status to_rgba(ts_memvideo *v, ts_error *err)
{
    const AVFrame *f = v->frame;
    if (f->width != v->width || f->height != v->height)
        return ts_fail(err, TS_E_FILE, "a frame of %dx%d px in a video of %dx%d", f->width,
                       f->height, v->width, v->height);
    v->scale = sws_getCachedContext(
        v->scale, f->width, f->height, f->format, f->width, f->height, AV_PIX_FMT_RGBA,
        SWS_BILINEAR | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT, NULL, NULL, NULL);
    if (!v->scale)
        return ts_fail(err, TS_E_ENCODING, "no conversion from %s to RGBA",
                       av_get_pix_fmt_name(f->format));
    const int *table = sws_getCoefficients(matrix_of(f));
    sws_setColorspaceDetails(v->scale, table, f->color_range == AVCOL_RANGE_JPEG, table, 1, 0,
                             1 << 16, 1 << 16);
    uint8_t *planes[4] = {v->rgba};
    int strides[4] = {4 * v->width};
    sws_scale(v->scale, (const uint8_t *const *)f->data, f->linesize, 0, f->height, planes,
              strides);
    return TS_OK;
}

static ts_status feed(ts_memvideo *v, ts_error *err)
{
    int rc = av_read_frame(v->format, v->packet);
    if (rc == AVERROR_EOF) {
        v->draining = true;
        rc = avcodec_send_packet(v->codec, NULL);
        return rc < 0 && rc != AVERROR_EOF ? ts_fail_av(err, rc, TS_E_FILE, "damaged video")
                                           : TS_OK;
    }
    if (rc < 0)
        return ts_fail_av(err, rc, TS_E_FILE, "damaged video");
    ts_status st = TS_OK;
    if (v->packet->stream_index == v->stream) {
        if (v->packet->flags & AV_PKT_FLAG_CORRUPT)
            st = ts_fail(err, TS_E_FILE, "a truncated video");
        else if ((rc = avcodec_send_packet(v->codec, v->packet)) < 0)
            st = ts_fail_av(err, rc, TS_E_FILE, "damaged video");
    }
    av_packet_unref(v->packet);
    return st;
}

ts_status ts_memvideo_next(ts_memvideo *v, const uint8_t **rgba, ts_error *err)
{
    *rgba = NULL;
    for (;;) {
        int rc = avcodec_receive_frame(v->codec, v->frame);
        if (rc == AVERROR_EOF || (rc == AVERROR(EAGAIN) && v->draining))
            return TS_OK;
        if (rc >= 0) {
            ts_status st = to_rgba(v, err);
            av_frame_unref(v->frame);
            *rgba = st == TS_OK ? v->rgba : NULL;
            return st;
        }
        if (rc != AVERROR(EAGAIN))
            return ts_fail_av(err, rc, TS_E_FILE, "damaged video");
        ts_status st = feed(v, err);
        if (st != TS_OK)
            return st;
    }
}
