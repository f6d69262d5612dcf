#include "server/clips.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/base/size.h"
#include "server/codec.h"
#include "server/media/memvideo.h"
#include "server/sandbox.h"

enum {
    PIECE_BYTES = 8 << 20, /* about; a piece holds at least one frame */
    MAX_CLIPS = 4096
};

/* ---- clips ---- */

ts_clip *ts_clip_ref(ts_clip *clip)
{
    __atomic_add_fetch(&clip->refs, 1, __ATOMIC_RELAXED);
    return clip;
}

void ts_clip_unref(ts_clip *clip)
{
    if (!clip || __atomic_sub_fetch(&clip->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    for (size_t i = 0; i < clip->n_pieces; i++)
        ts_tensor_unref(clip->pieces[i]);
    free(clip->pieces);
    free(clip);
}

static size_t frame_bytes(const ts_clip *clip)
{
    return 4 * (size_t)clip->width * (size_t)clip->height;
}

void ts_clip_frame(const ts_clip *clip, int64_t n, ts_buffer **buffer, size_t *offset)
{
    const ts_tensor *piece = clip->pieces[n / clip->per_piece];
    *buffer = ts_tensor_buffer(piece);
    *offset = ts_tensor_offset(piece) + (size_t)(n % clip->per_piece) * frame_bytes(clip);
}

ts_status ts_clip_frame_tensor(const ts_clip *clip, int64_t n, ts_tensor **out, ts_error *err)
{
    ts_buffer *buffer;
    size_t offset;
    ts_clip_frame(clip, n, &buffer, &offset);
    ts_shape shape = TS_SHAPE(clip->height, clip->width, 4);
    return ts_tensor_wrap(buffer, offset, TS_U8, &shape, out, err);
}

static ts_status clip_new(int64_t width, int64_t height, double fps, ts_clip **out, ts_error *err)
{
    if (width < 1 || height < 1 || width > TS_CLIP_MAX_SIDE || height > TS_CLIP_MAX_SIDE)
        return ts_fail(err, TS_E_TOO_LARGE, "a clip of %lldx%lld px, want 1 to %d a side",
                       (long long)width, (long long)height, TS_CLIP_MAX_SIDE);
    if (!(fps > 0 && fps <= TS_CLIP_MAX_FPS))
        return ts_fail(err, TS_E_OPTION, "fps is %g, want over 0 and at most %d", fps,
                       TS_CLIP_MAX_FPS);
    ts_clip *c = calloc(1, sizeof *c);
    if (!c)
        return ts_fail(err, TS_E_NO_MEMORY, "no memory for a clip");
    c->refs = 1;
    c->width = (int)width;
    c->height = (int)height;
    c->fps = fps;
    c->per_piece = PIECE_BYTES / (int64_t)frame_bytes(c);
    c->per_piece = c->per_piece < 1 ? 1 : c->per_piece;
    *out = c;
    return TS_OK;
}

static ts_status add_piece(ts_clip *c, ts_device *device, int64_t frames, ts_error *err)
{
    if (c->n_pieces == c->cap_pieces) {
        size_t cap = c->cap_pieces ? 2 * c->cap_pieces : 8;
        ts_tensor **p = ts_realloc_array(c->pieces, cap, sizeof *p);
        if (!p)
            return ts_fail(err, TS_E_NO_MEMORY, "no memory for a clip");
        c->pieces = p;
        c->cap_pieces = cap;
    }
    ts_shape shape = TS_SHAPE(frames, c->height, c->width, 4);
    ts_status st = ts_tensor_create(device, TS_U8, &shape, &c->pieces[c->n_pieces], err);
    c->n_pieces += st == TS_OK;
    return st;
}

/* `coming`: how many frames are still to come at most; a last piece need not be larger. */
static ts_status add_frame(ts_clip *c, ts_queue *q, const uint8_t *rgba, int64_t coming,
                           uint64_t max_bytes, ts_error *err)
{
    if (c->frames >= TS_CLIP_MAX_FRAMES)
        return ts_fail(err, TS_E_TOO_LARGE, "a clip of more than %d frames", TS_CLIP_MAX_FRAMES);
    if (((uint64_t)c->frames + 1) * frame_bytes(c) > max_bytes)
        return ts_fail(err, TS_E_TOO_LARGE, "a clip of more than %llu bytes decoded",
                       (unsigned long long)max_bytes);
    ts_status st = TS_OK;
    if (c->frames == (int64_t)c->n_pieces * c->per_piece)
        st = add_piece(c, ts_queue_device(q), coming < c->per_piece ? coming : c->per_piece, err);
    if (st != TS_OK)
        return st;
    ts_buffer *buffer;
    size_t offset;
    ts_clip_frame(c, c->frames, &buffer, &offset);
    st = ts_buffer_write(q, buffer, offset, rgba, frame_bytes(c), err);
    c->frames += st == TS_OK;
    return st;
}

static ts_status finish_clip(ts_clip *c, ts_queue *q, ts_status st, ts_clip **out, ts_error *err)
{
    if (st == TS_OK && !c->frames)
        st = ts_fail(err, TS_E_FILE, "no frame in it");
    if (st == TS_OK)
        st = ts_queue_finish(q, err);
    if (st != TS_OK)
        ts_clip_unref(c);
    else
        *out = c;
    return st;
}

ts_status ts_clip_from_raw(ts_queue *queue, const void *data, size_t len, int64_t width,
                           int64_t height, int64_t frames, double fps, uint64_t max_bytes,
                           ts_clip **out, ts_error *err)
{
    ts_clip *c;
    if (frames < 1 || frames > TS_CLIP_MAX_FRAMES)
        return ts_fail(err, TS_E_TOO_LARGE, "frames is %lld, want 1 to %d", (long long)frames,
                       TS_CLIP_MAX_FRAMES);
    ts_status st = clip_new(width, height, fps, &c, err);
    if (st != TS_OK)
        return st;
    uint64_t want = (uint64_t)frames * frame_bytes(c);
    if (len != want)
        st = ts_fail(err, TS_E_SIZE,
                     "the body has %zu bytes, %lld frames of %lldx%lld RGBA8 have "
                     "%llu",
                     len, (long long)frames, (long long)width, (long long)height,
                     (unsigned long long)want);
    for (int64_t i = 0; st == TS_OK && i < frames; i++)
        st = add_frame(c, queue, (const uint8_t *)data + (size_t)i * frame_bytes(c), frames - i,
                       max_bytes, err);
    return finish_clip(c, queue, st, out, err);
}

ts_status ts_clip_paint(ts_queue *queue, int64_t width, int64_t height, int64_t frames, double fps,
                        uint64_t max_bytes,
                        void (*paint)(void *arg, int64_t n, int width, int height, uint8_t *rgba),
                        void *arg, ts_clip **out, ts_error *err)
{
    ts_clip *c;
    if (frames < 1 || frames > TS_CLIP_MAX_FRAMES)
        return ts_fail(err, TS_E_TOO_LARGE, "frames is %lld, want 1 to %d", (long long)frames,
                       TS_CLIP_MAX_FRAMES);
    ts_status st = clip_new(width, height, fps, &c, err);
    if (st != TS_OK)
        return st;
    uint8_t *rgba = malloc(frame_bytes(c));
    if (!rgba)
        st = ts_fail(err, TS_E_NO_MEMORY, "no memory for a frame");
    for (int64_t i = 0; st == TS_OK && i < frames; i++) {
        paint(arg, i, c->width, c->height, rgba);
        st = add_frame(c, queue, rgba, frames - i, max_bytes, err);
    }
    free(rgba);
    return finish_clip(c, queue, st, out, err);
}

static ts_status from_animation(ts_queue *q, const void *data, size_t len, uint64_t max_bytes,
                                ts_clip **out, ts_error *err)
{
    ts_animation *anim = NULL;
    ts_image_info info;
    ts_clip *c = NULL;
    const uint8_t *rgba;
    int64_t end_us = 0;
    ts_status st = ts_animation_open(data, len, &anim, &info, err);
    if (st == TS_OK)
        st = clip_new(info.width, info.height, 1, &c, err);
    if (st != TS_OK) {
        ts_animation_close(anim);
        return st;
    }
    while (st == TS_OK && (st = ts_animation_next(anim, &rgba, &end_us, err)) == TS_OK && rgba)
        st = add_frame(c, q, rgba, INT64_MAX, max_bytes, err);
    ts_animation_close(anim);
    if (st == TS_OK && c->frames) /* files may say 0 ms a frame */
        c->fps = end_us > 0 ? fmin((double)c->frames * 1e6 / (double)end_us, TS_CLIP_MAX_FPS) : 25;
    return finish_clip(c, q, st, out, err);
}

static ts_status from_video(ts_queue *q, const void *data, size_t len, uint64_t max_bytes,
                            ts_clip **out, ts_error *err)
{
    ts_memvideo *video = NULL;
    ts_memvideo_info info;
    ts_clip *c = NULL;
    const uint8_t *rgba;
    ts_status st = ts_memvideo_open(data, len, &video, &info, err);
    if (st == TS_OK)
        st = clip_new(info.width, info.height, info.fps, &c, err);
    if (st != TS_OK) {
        ts_memvideo_close(video);
        return st;
    }
    while (st == TS_OK && (st = ts_memvideo_next(video, &rgba, err)) == TS_OK && rgba)
        st = add_frame(c, q, rgba, INT64_MAX, max_bytes, err);
    ts_memvideo_close(video);
    return finish_clip(c, q, st, out, err);
}

static ts_sandbox *sandbox;

void ts_clips_set_sandbox(struct ts_sandbox *s)
{
    sandbox = s;
}

typedef struct sandboxed {
    ts_queue *queue;
    uint64_t max_bytes;
    ts_clip *clip;
} sandboxed;

static ts_status take_frame(void *arg, const ts_sandbox_clip *info, const uint8_t *rgba,
                            ts_error *err)
{
    sandboxed *s = arg;
    ts_status st = TS_OK;
    if (!s->clip)
        st = clip_new(info->width, info->height, 1, &s->clip, err);
    return st == TS_OK ? add_frame(s->clip, s->queue, rgba, INT64_MAX, s->max_bytes, err) : st;
}

static ts_status from_sandbox(ts_queue *q, const void *data, size_t len, uint64_t max_bytes,
                              ts_clip **out, ts_error *err)
{
    sandboxed s = {q, max_bytes, NULL};
    ts_sandbox_clip info = {0};
    ts_status st = ts_sandbox_decode_clip(sandbox, data, len, take_frame, &s, &info, err);
    if (!s.clip)
        return st != TS_OK ? st : ts_fail(err, TS_E_FILE, "no frame in it");
    bool known = info.fps > 0 && info.fps <= TS_CLIP_MAX_FPS;
    s.clip->fps = known ? info.fps : info.fps > 0 ? TS_CLIP_MAX_FPS : 25;
    return finish_clip(s.clip, q, st, out, err);
}

ts_status ts_clip_from_file(ts_queue *queue, const void *data, size_t len, uint64_t max_bytes,
                            ts_clip **out, ts_error *err)
{
    const uint8_t *p = data;
    bool riff = len >= 12 && !memcmp(p, "RIFF", 4) && !memcmp(p + 8, "WEBP", 4);
    bool gif = len >= 4 && !memcmp(p, "GIF8", 4);
    if (sandbox)
        return from_sandbox(queue, data, len, max_bytes, out, err);
    return riff || gif ? from_animation(queue, data, len, max_bytes, out, err)
                       : from_video(queue, data, len, max_bytes, out, err);
}

/* ---- the table ---- */

struct ts_clips {
    pthread_mutex_t lock; /* guards: all below */
    ts_clip **clips;
    size_t n, cap;
    uint64_t next_id;
};

ts_status ts_clips_create(ts_clips **out, ts_error *err)
{
    ts_clips *t = calloc(1, sizeof *t);
    if (!t)
        return ts_fail(err, TS_E_NO_MEMORY, "no memory for the clips");
    pthread_mutex_init(&t->lock, NULL);
    t->next_id = 1;
    *out = t;
    return TS_OK;
}

void ts_clips_destroy(ts_clips *clips)
{
    if (!clips)
        return;
    for (size_t i = 0; i < clips->n; i++)
        ts_clip_unref(clips->clips[i]);
    free(clips->clips);
    pthread_mutex_destroy(&clips->lock);
    free(clips);
}

static ts_status add_locked(ts_clips *t, ts_clip *clip, ts_error *err)
{
    if (t->n >= MAX_CLIPS)
        return ts_fail(err, TS_E_LIMIT, "%d clips are there already; delete some", MAX_CLIPS);
    if (t->n == t->cap) {
        size_t cap = t->cap ? 2 * t->cap : 16;
        ts_clip **p = ts_realloc_array(t->clips, cap, sizeof *p);
        if (!p)
            return ts_fail(err, TS_E_NO_MEMORY, "no memory for the clips");
        t->clips = p;
        t->cap = cap;
    }
    snprintf(clip->id, sizeof clip->id, "c%llu", (unsigned long long)t->next_id++);
    t->clips[t->n++] = clip;
    return TS_OK;
}

ts_status ts_clips_add(ts_clips *clips, ts_clip *clip, ts_error *err)
{
    pthread_mutex_lock(&clips->lock);
    ts_status st = add_locked(clips, clip, err);
    pthread_mutex_unlock(&clips->lock);
    return st;
}

static size_t index_locked(const ts_clips *t, const char *id)
{
    size_t i = 0;
    while (i < t->n && strcmp(t->clips[i]->id, id) != 0)
        i++;
    return i;
}

static ts_status no_such_clip(const char *id, ts_error *err)
{
    return ts_fail(err, TS_E_NOT_FOUND, "no clip '%s'", id);
}

ts_status ts_clips_find(ts_clips *clips, const char *id, ts_clip **out, ts_error *err)
{
    pthread_mutex_lock(&clips->lock);
    size_t i = index_locked(clips, id);
    *out = i < clips->n ? ts_clip_ref(clips->clips[i]) : NULL;
    pthread_mutex_unlock(&clips->lock);
    return *out ? TS_OK : no_such_clip(id, err);
}

ts_status ts_clips_remove(ts_clips *clips, const char *id, ts_error *err)
{
    ts_clip *gone = NULL;
    pthread_mutex_lock(&clips->lock);
    size_t i = index_locked(clips, id);
    if (i < clips->n) {
        gone = clips->clips[i];
        memmove(clips->clips + i, clips->clips + i + 1, (--clips->n - i) * sizeof *clips->clips);
    }
    pthread_mutex_unlock(&clips->lock);
    if (!gone)
        return no_such_clip(id, err);
    ts_clip_unref(gone);
    return TS_OK;
}

ts_status ts_clips_list(ts_clips *clips, ts_clip ***out, size_t *n, ts_error *err)
{
    pthread_mutex_lock(&clips->lock);
    *n = clips->n;
    *out = calloc(clips->n + 1, sizeof **out);
    for (size_t i = 0; *out && i < clips->n; i++)
        (*out)[i] = ts_clip_ref(clips->clips[i]);
    pthread_mutex_unlock(&clips->lock);
    return *out ? TS_OK : ts_fail(err, TS_E_NO_MEMORY, "no memory to list the clips");
}
