#include "server/media/remux.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <libavformat/avformat.h>

#include "server/media/averror.h"

static ts_status copy_streams(AVFormatContext *in, AVFormatContext *out, ts_error *err)
{
    for (unsigned i = 0; i < in->nb_streams; ++i) {
        AVStream *stream = avformat_new_stream(out, NULL);
        if (!stream)
            return ts_fail(err, TS_E_NO_MEMORY, "remux");
        int rc = avcodec_parameters_copy(stream->codecpar, in->streams[i]->codecpar);
        if (rc < 0)
            return ts_fail_av(err, rc, TS_E_INTERNAL, "remux");
        stream->codecpar->codec_tag = 0;
        stream->time_base = in->streams[i]->time_base;
        stream->avg_frame_rate = in->streams[i]->avg_frame_rate;
    }
    return TS_OK;
}

static ts_status copy_packets(AVFormatContext *in, AVFormatContext *out, ts_error *err)
{
    AVPacket *packet = av_packet_alloc();
    int rc = packet ? 0 : AVERROR(ENOMEM);
    while (rc >= 0 && (rc = av_read_frame(in, packet)) >= 0) {
        unsigned i = (unsigned)packet->stream_index;
        if (i < out->nb_streams) {
            av_packet_rescale_ts(packet, in->streams[i]->time_base, out->streams[i]->time_base);
            packet->pos = -1;
            rc = av_interleaved_write_frame(out, packet);
        }
        av_packet_unref(packet);
    }
    av_packet_free(&packet);
    return rc == AVERROR_EOF || rc >= 0 ? TS_OK : ts_fail_av(err, rc, TS_E_INTERNAL, "remux");
}

static ts_status write_all(AVFormatContext *in, AVFormatContext *out, const char *path,
                           ts_error *err)
{
    AVDictionary *options = NULL;
    ts_status st = copy_streams(in, out, err);
    if (st != TS_OK)
        return st;
    int rc = avio_open(&out->pb, path, AVIO_FLAG_WRITE);
    if (rc < 0)
        return ts_fail_av(err, rc, TS_E_INTERNAL, "write %s", path);
    if (strcmp(out->oformat->name, "mp4") == 0)
        av_dict_set(&options, "movflags", "+faststart", 0);
    rc = avformat_write_header(out, &options);
    av_dict_free(&options);
    if (rc < 0)
        return ts_fail_av(err, rc, TS_E_INTERNAL, "write %s", path);
    st = copy_packets(in, out, err);
    rc = av_write_trailer(out);
    if (st == TS_OK && rc < 0)
        st = ts_fail_av(err, rc, TS_E_INTERNAL, "write %s", path);
    rc = avio_closep(&out->pb);
    if (st == TS_OK && rc < 0)
        st = ts_fail_av(err, rc, TS_E_INTERNAL, "write %s", path);
    return st;
}

ts_status ts_remux(const char *from, const char *to, const char *container, ts_error *err)
{
    AVFormatContext *in = NULL, *out = NULL;
    char path[4096];
    if (snprintf(path, sizeof path, "%s.part", to) >= (int)sizeof path)
        return ts_fail(err, TS_E_OPTION, "the path %s is too long", to);
    int rc = avformat_open_input(&in, from, NULL, NULL);
    if (rc >= 0)
        rc = avformat_find_stream_info(in, NULL);
    if (rc >= 0)
        rc = avformat_alloc_output_context2(&out, NULL, container, path);
    ts_status st =
        rc < 0 ? ts_fail_av(err, rc, TS_E_FILE, "read %s", from) : write_all(in, out, path, err);
    avformat_close_input(&in);
    if (out && out->pb)
        avio_closep(&out->pb);
    avformat_free_context(out);
    if (st == TS_OK && rename(path, to) != 0)
        st = ts_fail_errno(err, errno, "rename %s", path);
    if (st != TS_OK)
        unlink(path);
    return st;
}
