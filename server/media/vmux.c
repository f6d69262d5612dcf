#include "server/media/vmux.h"

#include <stdlib.h>
#include <string.h>

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>

#include "server/media/averror.h"

struct ts_vmux {
    AVFormatContext *format;
    AVPacket *packet;
    AVRational time_base; /* the encoder's */
    bool (*interrupted)(void *arg);
    void *interrupt_arg;
    bool opened_io, header, finished;
};

bool ts_vmux_global_header(const char *container)
{
    const AVOutputFormat *format = av_guess_format(container, NULL, NULL);
    return format && format->flags & AVFMT_GLOBALHEADER;
}

static int interrupt(void *arg)
{
    const ts_vmux *m = arg;
    return m->interrupted && m->interrupted(m->interrupt_arg);
}

static ts_status add_stream(ts_vmux *m, const ts_venc *venc, ts_error *err)
{
    const AVCodecContext *codec = ts_venc_context(venc);
    AVStream *stream = avformat_new_stream(m->format, NULL);
    if (!stream || avcodec_parameters_from_context(stream->codecpar, codec) < 0)
        return ts_fail(err, TS_E_NO_MEMORY, "video stream");
    stream->time_base = codec->time_base;
    stream->avg_frame_rate = codec->framerate;
    m->time_base = codec->time_base;
    return TS_OK;
}

static ts_status open_output(ts_vmux *m, const ts_vmux_options *o, ts_error *err)
{
    AVDictionary *dict = NULL;
    for (const char *const *kv = o->options; kv && kv[0] && kv[1]; kv += 2)
        av_dict_set(&dict, kv[0], kv[1], 0);
    if (o->fragmented && !strcmp(o->container, "mp4"))
        av_dict_set(&dict, "movflags", "frag_keyframe+empty_moov+default_base_moof", 0);
    int rc = 0;
    if (!(m->format->oformat->flags & AVFMT_NOFILE)) {
        rc = avio_open2(&m->format->pb, o->url, AVIO_FLAG_WRITE, &m->format->interrupt_callback,
                        NULL);
        m->opened_io = rc >= 0;
    }
    if (rc >= 0) {
        rc = avformat_write_header(m->format, &dict);
        m->header = rc >= 0;
    }
    av_dict_free(&dict);
    if (rc < 0)
        return ts_fail_av(err, rc, TS_E_INTERNAL, "open %s output %s", o->container, o->url);
    return TS_OK;
}

ts_status ts_vmux_open(const ts_vmux_options *o, const ts_venc *venc, ts_vmux **out, ts_error *err)
{
    ts_vmux *m = calloc(1, sizeof *m);
    if (!m)
        return ts_fail(err, TS_E_NO_MEMORY, "muxer");
    m->interrupted = o->interrupted;
    m->interrupt_arg = o->interrupt_arg;
    ts_status st = TS_OK;
    m->packet = av_packet_alloc();
    int rc = avformat_alloc_output_context2(&m->format, NULL, o->container, o->url);
    if (rc < 0 || !m->packet)
        st = ts_fail(err, TS_E_OPTION, "container '%s' is not one this build can write",
                     o->container);
    if (st == TS_OK) {
        m->format->interrupt_callback = (AVIOInterruptCB){interrupt, m};
        m->format->flags |= AVFMT_FLAG_FLUSH_PACKETS;
        st = add_stream(m, venc, err);
    }
    if (st == TS_OK)
        st = open_output(m, o, err);
    if (st != TS_OK) {
        ts_vmux_destroy(m);
        return st;
    }
    *out = m;
    return TS_OK;
}

ts_status ts_vmux_write(void *vmux, AVPacket *packet, ts_error *err)
{
    ts_vmux *m = vmux;
    int rc = av_packet_ref(m->packet, packet);
    if (rc < 0)
        return ts_fail_av(err, rc, TS_E_NO_MEMORY, "packet");
    av_packet_rescale_ts(m->packet, m->time_base, m->format->streams[0]->time_base);
    m->packet->stream_index = 0;
    rc = av_interleaved_write_frame(m->format, m->packet);
    av_packet_unref(m->packet);
    if (rc >= 0 && m->format->pb && m->format->pb->error < 0)
        rc = m->format->pb->error;
    if (rc < 0)
        return ts_fail_av(err, rc, TS_E_INTERNAL, "write video");
    return TS_OK;
}

ts_status ts_vmux_finish(ts_vmux *m, ts_error *err)
{
    if (m->finished || !m->header)
        return TS_OK;
    m->finished = true;
    int rc = av_write_trailer(m->format);
    if (m->opened_io) {
        int closed = avio_closep(&m->format->pb);
        m->opened_io = false;
        rc = rc < 0 ? rc : closed;
    }
    if (rc < 0)
        return ts_fail_av(err, rc, TS_E_INTERNAL, "finish video");
    return TS_OK;
}

void ts_vmux_destroy(ts_vmux *m)
{
    if (!m)
        return;
    if (m->format && m->opened_io)
        avio_closep(&m->format->pb);
    avformat_free_context(m->format);
    av_packet_free(&m->packet);
    free(m);
}
