#include "server/media/remux.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <libavformat/avformat.h>

#include "server/media/averror.h"

enum {
    MAX_STREAMS = 8
};

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

/*
 * Packets of one file, `offset` (in the output's units, per stream) later; *next gets where the file
 * behind it goes on.
 */
static ts_status copy_packets(AVFormatContext *in, AVFormatContext *out, const int64_t *offset,
                              int64_t *next, ts_error *err)
{
    AVPacket *packet = av_packet_alloc();
    int rc = packet ? 0 : AVERROR(ENOMEM);
    while (rc >= 0 && (rc = av_read_frame(in, packet)) >= 0) {
        unsigned i = (unsigned)packet->stream_index;
        if (i < out->nb_streams && i < MAX_STREAMS) {
            av_packet_rescale_ts(packet, in->streams[i]->time_base, out->streams[i]->time_base);
            packet->pos = -1;
            packet->pts += offset[i];
            packet->dts += offset[i];
            int64_t end = packet->pts + (packet->duration > 0 ? packet->duration : 1);
            if (end > next[i])
                next[i] = end;
            rc = av_interleaved_write_frame(out, packet);
        }
        av_packet_unref(packet);
    }
    av_packet_free(&packet);
    return rc == AVERROR_EOF || rc >= 0 ? TS_OK : ts_fail_av(err, rc, TS_E_INTERNAL, "remux");
}

static ts_status open_input(const char *path, AVFormatContext **in, ts_error *err)
{
    int rc = avformat_open_input(in, path, NULL, NULL);
    if (rc >= 0)
        rc = avformat_find_stream_info(*in, NULL);
    return rc < 0 ? ts_fail_av(err, rc, TS_E_FILE, "read %s", path) : TS_OK;
}

static ts_status write_header(AVFormatContext *out, const char *path, ts_error *err)
{
    AVDictionary *options = NULL;
    int rc = avio_open(&out->pb, path, AVIO_FLAG_WRITE);
    if (rc >= 0) {
        if (strcmp(out->oformat->name, "mp4") == 0)
            av_dict_set(&options, "movflags", "+faststart", 0);
        rc = avformat_write_header(out, &options);
        av_dict_free(&options);
    }
    return rc < 0 ? ts_fail_av(err, rc, TS_E_INTERNAL, "write %s", path) : TS_OK;
}

static ts_status write_all(const char *const *from, size_t n, AVFormatContext *out,
                           const char *path, ts_error *err)
{
    int64_t offset[MAX_STREAMS] = {0}, next[MAX_STREAMS] = {0};
    ts_status st = TS_OK;
    for (size_t k = 0; st == TS_OK && k < n; ++k) {
        AVFormatContext *in = NULL;
        st = open_input(from[k], &in, err);
        if (st == TS_OK && k == 0)
            st = copy_streams(in, out, err);
        if (st == TS_OK && k == 0)
            st = write_header(out, path, err);
        if (st == TS_OK)
            st = copy_packets(in, out, offset, next, err);
        memcpy(offset, next, sizeof offset);
        avformat_close_input(&in);
    }
    int rc = st == TS_OK ? av_write_trailer(out) : 0;
    if (rc >= 0 && out->pb)
        rc = avio_closep(&out->pb);
    return st == TS_OK && rc < 0 ? ts_fail_av(err, rc, TS_E_INTERNAL, "write %s", path) : st;
}

ts_status ts_remux_list(const char *const *from, size_t n, const char *to, const char *container,
                        ts_error *err)
{
    AVFormatContext *out = NULL;
    char path[4096];
    if (snprintf(path, sizeof path, "%s.part", to) >= (int)sizeof path)
        return ts_fail(err, TS_E_OPTION, "the path %s is too long", to);
    int rc = avformat_alloc_output_context2(&out, NULL, container, path);
    ts_status st = rc < 0 ? ts_fail_av(err, rc, TS_E_INTERNAL, "write %s", to)
                          : write_all(from, n, out, path, err);
    if (out && out->pb)
        avio_closep(&out->pb);
    avformat_free_context(out);
    if (st == TS_OK && rename(path, to) != 0)
        st = ts_fail_errno(err, errno, "rename %s", path);
    if (st != TS_OK)
        unlink(path);
    return st;
}

ts_status ts_remux(const char *from, const char *to, const char *container, ts_error *err)
{
    return ts_remux_list(&from, 1, to, container, err);
}
