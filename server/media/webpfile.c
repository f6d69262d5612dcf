#include "server/media/webpfile.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cl/base/fs.h"
#include "server/codec.h"

enum {
    HEAD_BYTES = 12 + 18 + 14, /* RIFF, VP8X, ANIM */
    MAX_DURATION_MS = (1 << 24) - 1
};

struct ts_webpfile {
    FILE *file;
    int width, height;
    ts_encode_options options;
    ts_encoder *encoder;
    ts_buf pending; /* the picture whose duration the next one tells */
    int64_t pending_ms;
    uint64_t bytes;
    bool has_pending;
};

static void put_u24(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
    p[2] = (uint8_t)(v >> 16);
}

static void put_u32(uint8_t *p, uint32_t v)
{
    put_u24(p, v);
    p[3] = (uint8_t)(v >> 24);
}

static uint32_t get_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static ts_status write_bytes(ts_webpfile *f, const void *data, size_t n, ts_error *err)
{
    if (fwrite(data, 1, n, f->file) != n)
        return ts_fail_errno(err, errno, "write the recording");
    f->bytes += n;
    return TS_OK;
}

static ts_status write_head(ts_webpfile *f, ts_error *err)
{
    uint8_t h[HEAD_BYTES] = {0};
    memcpy(h, "RIFF", 4); /* the size follows at the end */
    memcpy(h + 8, "WEBPVP8X", 8);
    put_u32(h + 16, 10);
    h[20] = 0x02; /* animation */
    put_u24(h + 24, (uint32_t)f->width - 1);
    put_u24(h + 27, (uint32_t)f->height - 1);
    memcpy(h + 30, "ANIM", 4);
    put_u32(h + 34, 6); /* background and loop count 0: for ever */
    return write_bytes(f, h, sizeof h, err);
}

ts_status ts_webpfile_open(const char *path, int width, int height, int quality, bool lossless,
                           ts_webpfile **out, ts_error *err)
{
    if (width < 1 || height < 1 || width > 16383 || height > 16383)
        return ts_fail(err, TS_E_TOO_LARGE, "WebP takes sides of 1 to 16383 px, not %dx%d", width,
                       height);
    ts_webpfile *f = calloc(1, sizeof *f);
    if (!f)
        return ts_fail(err, TS_E_NO_MEMORY, "no memory for a recording");
    f->width = width;
    f->height = height;
    f->options = (ts_encode_options){.codec = lossless ? TS_CODEC_WEBP_LOSSLESS : TS_CODEC_WEBP,
                                     .quality = quality};
    f->file = fopen(path, "wb");
    ts_status st = f->file ? ts_encoder_create(&f->encoder, err)
                           : ts_fail_errno(err, errno, "create %s", path);
    if (st == TS_OK)
        st = write_head(f, err);
    if (st != TS_OK) {
        ts_webpfile_close(f);
        return st;
    }
    *out = f;
    return TS_OK;
}

/* The image chunks of a still WebP: all but the RIFF and VP8X headers. */
static const uint8_t *image_chunks(const ts_buf *still, size_t *len)
{
    size_t at = 12;
    if (still->len > 30 && !memcmp(still->data + 12, "VP8X", 4))
        at += 18;
    *len = still->len - at;
    return still->data + at;
}

static ts_status write_pending(ts_webpfile *f, int64_t until_ms, ts_error *err)
{
    if (!f->has_pending)
        return TS_OK;
    uint8_t h[24] = {0};
    size_t n;
    const uint8_t *chunks = image_chunks(&f->pending, &n);
    int64_t duration = until_ms - f->pending_ms;
    duration = duration < 1 ? 1 : duration > MAX_DURATION_MS ? MAX_DURATION_MS : duration;
    if (f->bytes + n + sizeof h > UINT32_MAX - 16)
        return ts_fail(err, TS_E_TOO_LARGE, "a WebP file holds at most 4 GiB");
    memcpy(h, "ANMF", 4);
    put_u32(h + 4, (uint32_t)(16 + n));
    put_u24(h + 14, (uint32_t)f->width - 1);
    put_u24(h + 17, (uint32_t)f->height - 1);
    put_u24(h + 20, (uint32_t)duration);
    h[23] = 0x02; /* do not blend: each frame is complete */
    f->has_pending = false;
    ts_status st = write_bytes(f, h, sizeof h, err);
    if (st == TS_OK)
        st = write_bytes(f, chunks, n, err);
    if (st == TS_OK && fflush(f->file) != 0)
        st = ts_fail_errno(err, errno, "write the recording");
    return st;
}

ts_status ts_webpfile_add(ts_webpfile *f, const ts_pixels *pixels, int64_t ms, ts_error *err)
{
    if (pixels->width != f->width || pixels->height != f->height)
        return ts_fail(err, TS_E_SHAPE, "a picture of %dx%d px in an animation of %dx%d",
                       pixels->width, pixels->height, f->width, f->height);
    ts_status st = write_pending(f, ms, err);
    if (st != TS_OK)
        return st;
    ts_buf_reset(&f->pending);
    st = ts_frame_encode(pixels, &f->options, f->encoder, &f->pending, err);
    f->has_pending = st == TS_OK;
    f->pending_ms = ms;
    return st;
}

static ts_status write_size(FILE *file, uint64_t bytes, ts_error *err)
{
    uint8_t size[4];
    put_u32(size, (uint32_t)(bytes - 8));
    if (fseek(file, 4, SEEK_SET) != 0 || fwrite(size, 1, 4, file) != 4 || fflush(file) != 0)
        return ts_fail_errno(err, errno, "fix the recording's size");
    return TS_OK;
}

ts_status ts_webpfile_finish(ts_webpfile *f, int64_t end_ms, ts_error *err)
{
    ts_status st = write_pending(f, end_ms, err);
    return st == TS_OK ? write_size(f->file, f->bytes, err) : st;
}

void ts_webpfile_close(ts_webpfile *f)
{
    if (!f)
        return;
    if (f->file)
        (void)fclose(f->file);
    ts_encoder_destroy(f->encoder);
    ts_buf_finish(&f->pending);
    free(f);
}

ts_status ts_webpfile_recover(const char *path, ts_error *err)
{
    ts_fs_map map;
    ts_status st = ts_fs_map_open(path, &map, err);
    if (st != TS_OK)
        return st;
    size_t end = HEAD_BYTES;
    while (end + 8 <= map.len && !memcmp(map.data + end, "ANMF", 4)) {
        size_t next = end + 8 + get_u32(map.data + end + 4);
        if (next > map.len)
            break;
        end = next;
    }
    ts_fs_map_close(&map);
    if (end <= HEAD_BYTES)
        return ts_fail(err, TS_E_FILE, "%s has no whole frame", path);
    if (truncate(path, (off_t)end) != 0)
        return ts_fail_errno(err, errno, "cut %s", path);
    FILE *file = fopen(path, "r+b");
    if (!file)
        return ts_fail_errno(err, errno, "open %s", path);
    st = write_size(file, end, err);
    (void)fclose(file);
    return st;
}
