/*
 * Container writer over libavformat: packets of one ts_venc into a file or a network sink.
 *
 * A fragmented MP4 starts with an empty moov and flushes a fragment per key frame, so that a file
 * whose writer was killed still plays. Thread: one at a time.
 */
#ifndef TS_SERVER_MEDIA_VMUX_H
#define TS_SERVER_MEDIA_VMUX_H

#include "server/media/venc.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_vmux ts_vmux;

typedef struct ts_vmux_options {
    const char *url;       /* file path or URL */
    const char *container; /* libavformat's name: mp4, webm, matroska, mpegts, flv, rtsp, hls */
    bool fragmented;       /* MP4 only */
    const char *const *options; /* key, value, …, NULL: further muxer options; may be NULL */
    /** Asked during blocking calls; true aborts them. May be NULL. */
    bool (*interrupted)(void *arg);
    void *interrupt_arg;
} ts_vmux_options;

/** Whether encoders for this container must put parameter sets out of band. */
bool ts_vmux_global_header(const char *container);
/** Open and write the header. Errors: TS_E_OPTION (no such container), TS_E_INTERNAL, disk. */
TS_CHECKED ts_status ts_vmux_open(const ts_vmux_options *options, const ts_venc *venc,
                                  ts_vmux **out, ts_error *err);
/** Write a copy of the packet (a ts_packet_fn with the ts_vmux as its argument). */
TS_CHECKED ts_status ts_vmux_write(void *vmux, struct AVPacket *packet, ts_error *err);
/** Write the trailer and close; the file is complete only after TS_OK. */
TS_CHECKED ts_status ts_vmux_finish(ts_vmux *vmux, ts_error *err);
/** Free; without finish before, the trailer is left out. NULL is fine. */
void ts_vmux_destroy(ts_vmux *vmux);

#ifdef __cplusplus
}
#endif
#endif
