/*
 * Picture and video decoders in confined child processes (--sandbox).
 *
 * A few workers, each the same executable started again with no environment and one socket. A worker
 * may compute, and read and write the memory files it is given, nothing else: a system call filter,
 * no new privileges, limits on memory and files. Files to decode and decoded pixels cross in memory
 * files that the server makes and seals, so that a worker cannot shrink them under the server's feet.
 * One that dies or hangs is killed and replaced; its file is TS_E_FILE.
 *
 * While a sandbox is installed, ts_image_decode() and ts_clip_from_file() use it by themselves.
 * Thread: any; requests beyond the number of workers wait.
 */
#ifndef TS_SERVER_SANDBOX_H
#define TS_SERVER_SANDBOX_H

#include "server/codec.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_sandbox ts_sandbox;

/** Start the workers and see each answer. Errors: TS_E_INTERNAL (no confinement here), …. */
TS_CHECKED ts_status ts_sandbox_create(ts_sandbox **out, ts_error *err);
void ts_sandbox_destroy(ts_sandbox *sandbox); /* NULL is fine; nobody may be decoding */

/** As ts_image_decode(), `info` already probed. */
TS_CHECKED ts_status ts_sandbox_image(ts_sandbox *sandbox, const void *data, size_t len,
                                      ts_image_info *info, ts_buf *out, ts_error *err);

typedef struct ts_sandbox_clip {
    int width, height;
    double fps;
} ts_sandbox_clip;
/** Called for each frame, RGBA8; `clip->fps` of animations is known only at the end. */
typedef ts_status (*ts_sandbox_frame_fn)(void *arg, const ts_sandbox_clip *clip,
                                         const uint8_t *rgba, ts_error *err);
/** Decode a video or animation. An error of `frame` ends it and is returned. */
TS_CHECKED ts_status ts_sandbox_decode_clip(ts_sandbox *sandbox, const void *data, size_t len,
                                            ts_sandbox_frame_fn frame, void *arg,
                                            ts_sandbox_clip *clip, ts_error *err);

/** The worker's whole life, behind the hidden subcommand; returns its exit status. */
int ts_sandbox_worker(void);

#ifdef __cplusplus
}
#endif
#endif
