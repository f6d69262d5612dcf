#include "server/media/source.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/pixdesc.h>

#include "cl/base/clock.h"
#include "server/media/averror.h"

struct ts_source {
    AVFormatContext *format;
    AVCodecContext *codec;
    AVPacket *packet;
    AVFrame *frame;
    int stream;
    ts_source_info info;
    int64_t deadline_us, stall_us;
    int64_t packet_us; /* when the newest packet was read */
    bool timed_out;
    bool (*cancelled)(void *arg);
    void *cancel_arg;
};

static bool has_scheme(const char *url, const char *scheme)
{
    size_t n = strlen(scheme);
    return strncasecmp(url, scheme, n) == 0 && strncmp(url + n, "://", 3) == 0;
}

bool ts_source_url_is_live(const char *url)
{
    static const char *const live[] = {"rtsp", "rtsps", "rtmp", "rtmps", "udp", "rtp", "srt"};
    for (size_t i = 0; i < sizeof live / sizeof *live; i++)
        if (has_scheme(url, live[i]))
            return true;
    return false;
}

void ts_source_mask_url(const char *url, char *out, size_t n)
{
    const char *host = strstr(url, "://"), *at, *slash;
    host = host ? host + 3 : NULL;
    slash = host ? strchr(host, '/') : NULL;
    at = host ? strchr(host, '@') : NULL;
    if (at && (!slash || at < slash))
        snprintf(out, n, "%.*s***%s", (int)(host - url), url, at);
    else
        snprintf(out, n, "%s", url);
}

static int interrupted(void *arg)
{
    ts_source *s = arg;
    if (s->cancelled && s->cancelled(s->cancel_arg))
        return 1;
    s->timed_out = ts_now_us() > s->deadline_us;
    return s->timed_out;
}

static ts_status av_status(const ts_source *s, int rc)
{
    if (s->timed_out || rc == AVERROR(ETIMEDOUT))
        return TS_E_SLOW;
    if (rc == AVERROR(ENOENT) || rc == AVERROR_HTTP_NOT_FOUND)
        return TS_E_NOT_FOUND;
    if (rc == AVERROR_HTTP_UNAUTHORIZED || rc == AVERROR_HTTP_FORBIDDEN)
        return TS_E_FORBIDDEN;
    if (rc == AVERROR_PROTOCOL_NOT_FOUND)
        return TS_E_OPTION;
    if (rc == AVERROR_INVALIDDATA)
        return TS_E_FILE;
    return TS_E_INTERNAL;
}

static const char NETWORK[] = "crypto,data,tcp,udp,rtp,rtsp,rtsps,srtp,rtmp,rtmps,rtmpt,ffrtmphttp,"
                              "http,https,httpproxy,tls,hls,srt";

static void set_open_options(const ts_source_options *o, AVDictionary **dict)
{
    char protocols[256];
    snprintf(protocols, sizeof protocols, "%s%s", o->allow_file ? "file,pipe," : "", NETWORK);
    av_dict_set(dict, "protocol_whitelist", protocols, 0);
    if (has_scheme(o->url, "rtsp"))
        av_dict_set(dict, "rtsp_transport", o->transport ? o->transport : "tcp", 0);
    if (has_scheme(o->url, "http") || has_scheme(o->url, "https")) {
        av_dict_set(dict, "reconnect_on_network_error", "1", 0);
        av_dict_set(dict, "reconnect_delay_max", "2", 0);
    }
    if (o->low_delay) {
        av_dict_set(dict, "fflags", "nobuffer", 0);
        av_dict_set(dict, "probesize", "500000", 0);
        av_dict_set(dict, "analyzeduration", "1000000", 0);
    }
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)o->options, key, value)
    {
        if (json_is_string(value) && strcmp(key, "protocol_whitelist") != 0)
            av_dict_set(dict, key, json_string_value(value), 0);
    }
}

static ts_status open_decoder(ts_source *s, const ts_source_options *o, ts_error *err)
{
    const AVCodec *decoder = NULL;
    s->stream = av_find_best_stream(s->format, AVMEDIA_TYPE_VIDEO, -1, -1, &decoder, 0);
    if (s->stream < 0 || !decoder)
        return ts_fail(err, TS_E_ENCODING, "%s",
                       s->stream == AVERROR_DECODER_NOT_FOUND ? "no decoder for its video"
                                                              : "it has no video");
    const AVStream *stream = s->format->streams[s->stream];
    s->codec = avcodec_alloc_context3(decoder);
    if (!s->codec || avcodec_parameters_to_context(s->codec, stream->codecpar) < 0)
        return ts_fail(err, TS_E_NO_MEMORY, "decoder");
    s->codec->thread_count = o->threads;
    s->codec->pkt_timebase = stream->time_base;
    if (o->low_delay)
        s->codec->flags |= AV_CODEC_FLAG_LOW_DELAY;
    if (stream->codecpar->width > 8192 || stream->codecpar->height > 8192)
        return ts_fail(err, TS_E_TOO_LARGE, "video of %dx%d, at most 8192 a side",
                       stream->codecpar->width, stream->codecpar->height);
    int rc = avcodec_open2(s->codec, decoder, NULL);
    if (rc < 0)
        return ts_fail_av(err, rc, TS_E_ENCODING, "decoder %s", decoder->name);
    return TS_OK;
}

static void fill_info(ts_source *s, const char *url)
{
    const AVStream *stream = s->format->streams[s->stream];
    AVRational fps = av_guess_frame_rate(s->format, (AVStream *)stream, NULL);
    s->info.width = s->codec->width;
    s->info.height = s->codec->height;
    s->info.fps = fps.num > 0 && fps.den > 0 ? av_q2d(fps) : 25;
    if (!(s->info.fps > 0 && s->info.fps <= 1000))
        s->info.fps = 25;
    s->info.duration_s = s->format->duration > 0 ? (double)s->format->duration / AV_TIME_BASE : 0;
    bool hls = strstr(s->format->iformat->name, "hls") != NULL;
    bool multipart = !strcmp(s->format->iformat->name, "mpjpeg");
    s->info.live = ts_source_url_is_live(url) || multipart || (hls && s->info.duration_s == 0);
    s->info.has_audio =
        av_find_best_stream(s->format, AVMEDIA_TYPE_AUDIO, -1, s->stream, NULL, 0) >= 0;
    snprintf(s->info.codec, sizeof s->info.codec, "%s", avcodec_get_name(s->codec->codec_id));
    snprintf(s->info.container, sizeof s->info.container, "%s", s->format->iformat->name);
}

static ts_status open_input(ts_source *s, const ts_source_options *o, ts_error *err)
{
    AVDictionary *dict = NULL;
    set_open_options(o, &dict);
    s->format = avformat_alloc_context();
    s->packet = av_packet_alloc();
    s->frame = av_frame_alloc();
    if (!s->format || !s->packet || !s->frame) {
        av_dict_free(&dict);
        return ts_fail(err, TS_E_NO_MEMORY, "source");
    }
    s->format->interrupt_callback = (AVIOInterruptCB){interrupted, s};
    int rc = avformat_open_input(&s->format, o->url, NULL, &dict); /* frees format on failure */
    av_dict_free(&dict);
    if (rc >= 0)
        rc = avformat_find_stream_info(s->format, NULL);
    if (rc < 0)
        return ts_fail_av(err, rc, av_status(s, rc), "open");
    return TS_OK;
}

ts_status ts_source_open(const ts_source_options *o, ts_source **out, ts_error *err)
{
    if (!o->allow_file && (!strstr(o->url, "://") || has_scheme(o->url, "file")))
        return ts_fail(err, TS_E_FORBIDDEN, "local files are not allowed here");
    ts_source *s = calloc(1, sizeof *s);
    if (!s)
        return ts_fail(err, TS_E_NO_MEMORY, "source");
    av_log_set_level(AV_LOG_FATAL);
    s->cancelled = o->cancelled;
    s->cancel_arg = o->cancel_arg;
    s->stall_us = o->stall_us > 0 ? o->stall_us : 3000000;
    s->deadline_us = ts_now_us() + (o->open_timeout_us > 0 ? o->open_timeout_us : 10000000);
    ts_status st = open_input(s, o, err);
    if (st == TS_OK)
        st = open_decoder(s, o, err);
    if (st == TS_OK) {
        fill_info(s, o->url);
        if (o->start_s > 0) {
            int64_t at = (int64_t)(o->start_s * AV_TIME_BASE);
            if (s->format->start_time != AV_NOPTS_VALUE)
                at += s->format->start_time;
            av_seek_frame(s->format, -1, at, AVSEEK_FLAG_BACKWARD);
        }
        *out = s;
        return TS_OK;
    }
    char masked[256];
    ts_source_mask_url(o->url, masked, sizeof masked);
    ts_error_prefix(err, "%s", masked);
    ts_source_close(s);
    return st;
}

void ts_source_close(ts_source *s)
{
    if (!s)
        return;
    s->deadline_us = ts_now_us() + 500000;
    avcodec_free_context(&s->codec);
    avformat_close_input(&s->format);
    av_packet_free(&s->packet);
    av_frame_free(&s->frame);
    free(s);
}

const ts_source_info *ts_source_get_info(const ts_source *s)
{
    return &s->info;
}

/* ---- pictures ---- */

static ts_matrix matrix_of(const AVFrame *f)
{
    switch (f->colorspace) {
    case AVCOL_SPC_BT709:
        return TS_BT709;
    case AVCOL_SPC_BT470BG:
    case AVCOL_SPC_SMPTE170M:
    case AVCOL_SPC_FCC:
        return TS_BT601;
    case AVCOL_SPC_BT2020_NCL:
    case AVCOL_SPC_BT2020_CL:
        return TS_BT2020;
    default:
        return f->height >= 720 ? TS_BT709 : TS_BT601;
    }
}

/* Describe a planar or semi-planar YUV frame; false for any other format. */
static bool describe(const AVFrame *f, ts_picture *out)
{
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(f->format);
    if (!d || d->flags & (AV_PIX_FMT_FLAG_RGB | AV_PIX_FMT_FLAG_PAL | AV_PIX_FMT_FLAG_BITSTREAM |
                          AV_PIX_FMT_FLAG_HWACCEL | AV_PIX_FMT_FLAG_BE))
        return false;
    bool gray = d->nb_components < 3;
    int wide = d->comp[0].depth > 8 ? 2 : 1;
    ts_yuv *y = &out->layout;
    if (gray || d->comp[0].step != wide || d->log2_chroma_w > 1 || d->log2_chroma_h > 1)
        return false;
    y->width = out->width = f->width;
    y->height = out->height = f->height;
    y->chroma_shift_x = d->log2_chroma_w;
    y->chroma_shift_y = d->log2_chroma_h;
    y->bits = d->comp[0].depth;
    y->sample_shift = d->comp[0].shift;
    y->chroma_step = d->comp[1].step / wide;
    y->matrix = matrix_of(f);
    bool jpeg = f->format == AV_PIX_FMT_YUVJ420P || f->format == AV_PIX_FMT_YUVJ422P ||
                f->format == AV_PIX_FMT_YUVJ444P;
    y->full_range = f->color_range == AVCOL_RANGE_JPEG || jpeg;
    y->center_sited = f->chroma_location == AVCHROMA_LOC_CENTER;
    int planes = y->chroma_step == 1 ? 3 : 2;
    for (int i = 0; i < planes; i++) {
        int rows = i ? (f->height + y->chroma_shift_y) >> y->chroma_shift_y : f->height;
        out->plane[i] = f->data[i];
        out->stride[i] = f->linesize[i];
        if (f->linesize[i] <= 0)
            return false;
        out->plane_bytes[i] = (size_t)f->linesize[i] * rows;
    }
    y->stride_y = out->stride[0];
    y->stride_c = out->stride[1];
    return planes == 2 || out->stride[1] == out->stride[2];
}

static ts_status take(ts_source *s, ts_picture *out, ts_error *err)
{
    *out = (ts_picture){.pts_ns = INT64_MIN, .captured_us = s->packet_us};
    if (!describe(s->frame, out)) {
        const char *name = av_get_pix_fmt_name(s->frame->format);
        return ts_fail(err, TS_E_ENCODING, "pixel format %s is not planar YUV",
                       name ? name : "unknown");
    }
    out->frame = av_frame_alloc();
    if (!out->frame)
        return ts_fail(err, TS_E_NO_MEMORY, "frame");
    av_frame_move_ref(out->frame, s->frame);
    out->key = out->frame->key_frame;
    int64_t pts = out->frame->best_effort_timestamp;
    if (pts != AV_NOPTS_VALUE)
        out->pts_ns = av_rescale_q(pts, s->format->streams[s->stream]->time_base,
                                   (AVRational){1, 1000000000});
    return TS_OK;
}

ts_status ts_source_read(ts_source *s, ts_picture *out, bool *end, ts_error *err)
{
    *end = false;
    s->deadline_us = ts_now_us() + s->stall_us;
    for (;;) {
        int rc = avcodec_receive_frame(s->codec, s->frame);
        if (rc >= 0)
            return take(s, out, err);
        if (rc == AVERROR_EOF) {
            *end = true;
            return TS_OK;
        }
        if (rc != AVERROR(EAGAIN))
            return ts_fail_av(err, rc, TS_E_INTERNAL, "decode");
        rc = av_read_frame(s->format, s->packet);
        if (rc == AVERROR_EOF) {
            avcodec_send_packet(s->codec, NULL);
            continue;
        }
        if (rc < 0)
            return ts_fail_av(err, rc, av_status(s, rc), "read");
        if (s->packet->stream_index == s->stream) {
            s->packet_us = ts_now_us();
            avcodec_send_packet(s->codec, s->packet); /* damage shows as missing pictures */
        }
        av_packet_unref(s->packet);
        if (ts_now_us() > s->deadline_us)
            return ts_fail(err, TS_E_SLOW, "no picture for %.1f s", (double)s->stall_us * 1e-6);
    }
}

void ts_picture_release(ts_picture *picture)
{
    if (picture)
        av_frame_free(&picture->frame);
}

ts_status ts_source_rewind(ts_source *s, ts_error *err)
{
    int64_t start = s->format->start_time == AV_NOPTS_VALUE ? 0 : s->format->start_time;
    int rc = av_seek_frame(s->format, -1, start, AVSEEK_FLAG_BACKWARD);
    if (rc < 0)
        return ts_fail_av(err, rc, TS_E_INTERNAL, "rewind");
    avcodec_flush_buffers(s->codec);
    return TS_OK;
}
