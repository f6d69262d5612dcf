#include "server/media/recwriter.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cl/base/fs.h"
#include "server/codec.h"
#include "server/media/movie.h"
#include "server/media/webpfile.h"

static const struct {
    const char *name, *mime;
} formats[] = {[TS_REC_MP4] = {"mp4", "video/mp4"},
               [TS_REC_WEBM] = {"webm", "video/webm"},
               [TS_REC_WEBP] = {"webp", "image/webp"},
               [TS_REC_PNG] = {"png", "application/x-tar"},
               [TS_REC_NPY] = {"npy", "application/x-tar"}};

ts_status ts_rec_format_parse(const char *name, ts_rec_format *out, ts_error *err)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (!strcmp(name, formats[i].name)) {
            *out = (ts_rec_format)i;
            return TS_OK;
        }
    return ts_fail(err, TS_E_OPTION, "format: no '%s'; mp4, webm, webp, png or npy", name);
}

const char *ts_rec_format_name(ts_rec_format format)
{
    return formats[format].name;
}

const char *ts_rec_mime(ts_rec_format format)
{
    return formats[format].mime;
}

bool ts_rec_is_folder(ts_rec_format format)
{
    return format == TS_REC_PNG || format == TS_REC_NPY;
}

struct ts_recwriter {
    ts_recwriter_options options;
    char *path;
    /* video: */
    ts_movie *movie;
    ts_pixels *last; /* repeated to fill the grid */
    int64_t next;    /* grid index, or 1/90000 s, of the next picture */
    /* webp: */
    ts_webpfile *webp;
    /* folder: */
    int64_t files;
    FILE *lines;
    ts_encoder *encoder;
    ts_buf bytes, name;
};

/* ---- video ---- */

static ts_status open_video(ts_recwriter *w, ts_error *err)
{
    const ts_recwriter_options *o = &w->options;
    const char *container = formats[o->format].name;
    ts_venc_options venc = {.codec = o->format == TS_REC_MP4 ? "h264" : "vp9",
                            .width = o->width,
                            .height = o->height,
                            .fps_num = (int)lround(o->fps * 1000),
                            .fps_den = 1000,
                            .vfr = o->vfr,
                            .lossless = o->lossless,
                            /* A killed server loses the last fragment and what the encoder still
                             * holds; libvpx would hold a second by itself. */
                            .gop_s = 0.5,
                            .zero_latency = o->format == TS_REC_WEBM};
    if (o->quality) /* 80 is about the default of 18 */
        venc.crf = (int)lround(51 - 0.41 * o->quality);
    return ts_movie_open(w->path, container, &venc, &w->movie, err);
}

static ts_status keep_last(ts_recwriter *w, const ts_pixels *px, ts_error *err)
{
    size_t row = 3 * (size_t)px->width;
    if (!w->last)
        w->last = ts_pixels_create(TS_PIXELS_RGB8, px->width, px->height);
    if (!w->last)
        return ts_fail(err, TS_E_NO_MEMORY, "no memory for a frame");
    for (int y = 0; y < px->height; y++)
        memcpy((uint8_t *)(uintptr_t)w->last->plane[0] + row * (size_t)y,
               px->plane[0] + px->stride[0] * (size_t)y, row);
    return TS_OK;
}

/* Repeat the last picture on the grid up to `index`. */
static ts_status fill_grid(ts_recwriter *w, int64_t index, ts_error *err)
{
    ts_status st = TS_OK;
    while (st == TS_OK && w->last && w->next < index)
        st = ts_movie_add(w->movie, w->last, w->next++, err);
    return st;
}

static ts_status add_video(ts_recwriter *w, const ts_pixels *px, int64_t time_us, ts_error *err)
{
    if (w->options.vfr) {
        int64_t pts = time_us * 9 / 100;
        pts = pts < w->next ? w->next : pts; /* times must rise */
        w->next = pts + 1;
        return ts_movie_add(w->movie, px, pts, err);
    }
    int64_t index = (int64_t)((double)time_us * w->options.fps * 1e-6);
    ts_status st = fill_grid(w, index, err);
    /* More pictures than grid points: the newest before a point is what it shows. */
    if (st == TS_OK)
        st = keep_last(w, px, err);
    if (st == TS_OK && w->next <= index)
        st = ts_movie_add(w->movie, w->last, w->next++, err);
    return st;
}

/* ---- folders ---- */

static ts_status open_folder(ts_recwriter *w, ts_error *err)
{
    ts_status st = ts_fs_mkdirs(w->path, err);
    if (st != TS_OK)
        return st;
    ts_buf_reset(&w->name);
    ts_buf_printf(&w->name, "%s/frames.jsonl", w->path);
    w->lines = fopen(ts_buf_cstr(&w->name), "wb");
    if (!w->lines)
        return ts_fail_errno(err, errno, "create %s", ts_buf_cstr(&w->name));
    return ts_encoder_create(&w->encoder, err);
}

/* Under another name first, so that a reader or a crash never sees half a file. */
static ts_status write_renamed(const char *path, const void *data, size_t len, ts_error *err)
{
    ts_buf part = {0};
    ts_buf_printf(&part, "%s.part", path);
    FILE *f = fopen(ts_buf_cstr(&part), "wb");
    bool ok = f && fwrite(data, 1, len, f) == len;
    int code = errno;
    if (f && fclose(f) != 0 && ok) {
        code = errno;
        ok = false;
    }
    if (ok && rename(ts_buf_cstr(&part), path) != 0) {
        code = errno;
        ok = false;
    }
    if (!ok)
        (void)unlink(ts_buf_cstr(&part));
    ts_buf_finish(&part);
    return ok ? TS_OK : ts_fail_errno(err, code, "write %s", path);
}

ts_status ts_recwriter_add_bytes(ts_recwriter *w, const void *data, size_t len, json_t *meta,
                                 ts_error *err)
{
    char file[32];
    snprintf(file, sizeof file, "frame_%06lld.%s", (long long)w->files,
             formats[w->options.format].name);
    ts_buf_reset(&w->name);
    ts_buf_printf(&w->name, "%s/%s", w->path, file);
    ts_status st = write_renamed(ts_buf_cstr(&w->name), data, len, err);
    if (st == TS_OK) {
        json_t *line = meta ? meta : json_object();
        json_object_set_new(line, "file", json_string(file));
        char *text = json_dumps(line, JSON_COMPACT);
        if (text)
            fprintf(w->lines, "%s\n", text);
        free(text);
        if (fflush(w->lines) != 0)
            st = ts_fail_errno(err, errno, "write frames.jsonl");
        meta = line;
        w->files++;
    }
    json_decref(meta);
    return st;
}

static ts_status add_picture_file(ts_recwriter *w, const ts_pixels *px, json_t *meta, ts_error *err)
{
    ts_encode_options opt = {.codec =
                                 w->options.format == TS_REC_PNG ? TS_CODEC_PNG : TS_CODEC_NPY};
    ts_buf_reset(&w->bytes);
    ts_status st = ts_frame_encode(px, &opt, w->encoder, &w->bytes, err);
    if (st != TS_OK) {
        json_decref(meta);
        return st;
    }
    return ts_recwriter_add_bytes(w, w->bytes.data, w->bytes.len, meta, err);
}

/* ---- all ---- */

ts_status ts_recwriter_open(const ts_recwriter_options *options, ts_recwriter **out, ts_error *err)
{
    ts_recwriter *w = calloc(1, sizeof *w);
    char *path = strdup(options->path);
    if (!w || !path) {
        free(w);
        free(path);
        return ts_fail(err, TS_E_NO_MEMORY, "no memory for a recording");
    }
    w->options = *options;
    w->path = path;
    ts_status st;
    if (ts_rec_is_folder(options->format))
        st = open_folder(w, err);
    else if (options->format == TS_REC_WEBP)
        st = ts_webpfile_open(path, options->width, options->height,
                              options->quality ? options->quality : 80, options->lossless, &w->webp,
                              err);
    else
        st = open_video(w, err);
    if (st != TS_OK) {
        ts_recwriter_destroy(w);
        return st;
    }
    *out = w;
    return TS_OK;
}

ts_status ts_recwriter_add(ts_recwriter *w, const ts_pixels *px, int64_t time_us, json_t *meta,
                           ts_error *err)
{
    if (ts_rec_is_folder(w->options.format))
        return add_picture_file(w, px, meta, err);
    json_decref(meta);
    if (px->width != w->options.width || px->height != w->options.height)
        return ts_fail(err, TS_E_SHAPE, "a picture of %dx%d px in a recording of %dx%d", px->width,
                       px->height, w->options.width, w->options.height);
    if (w->webp)
        return ts_webpfile_add(w->webp, px, time_us / 1000, err);
    return add_video(w, px, time_us, err);
}

ts_status ts_recwriter_finish(ts_recwriter *w, int64_t end_us, ts_error *err)
{
    ts_status st = TS_OK;
    if (w->webp)
        return ts_webpfile_finish(w->webp, end_us / 1000, err);
    if (w->movie) {
        if (!w->options.vfr)
            st = fill_grid(w, (int64_t)((double)end_us * w->options.fps * 1e-6), err);
        return st == TS_OK ? ts_movie_finish(w->movie, err) : st;
    }
    if (w->lines && fclose(w->lines) != 0)
        st = ts_fail_errno(err, errno, "close frames.jsonl");
    w->lines = NULL;
    return st;
}

void ts_recwriter_destroy(ts_recwriter *w)
{
    if (!w)
        return;
    ts_movie_destroy(w->movie);
    ts_webpfile_close(w->webp);
    if (w->lines)
        (void)fclose(w->lines);
    ts_encoder_destroy(w->encoder);
    ts_pixels_unref(w->last);
    ts_buf_finish(&w->bytes);
    ts_buf_finish(&w->name);
    free(w->path);
    free(w);
}

/* ---- what is on disk ---- */

typedef ts_status (*visit_fn)(void *arg, const char *path, const char *name, ts_error *err);

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static ts_status each_file(const char *folder, visit_fn visit, void *arg, ts_error *err)
{
    struct dirent **list = NULL;
    int n = scandir(folder, &list, NULL, NULL);
    if (n < 0)
        return ts_fail_errno(err, errno, "read %s", folder);
    char **names = calloc((size_t)n + 1, sizeof *names);
    ts_status st = names ? TS_OK : ts_fail(err, TS_E_NO_MEMORY, "no memory to list %s", folder);
    for (int i = 0; names && i < n; i++)
        names[i] = list[i]->d_name;
    if (names)
        qsort(names, (size_t)n, sizeof *names, compare_names);
    for (int i = 0; i < n && st == TS_OK; i++) {
        if (names[i][0] == '.')
            continue;
        ts_buf path = {0};
        ts_buf_printf(&path, "%s/%s", folder, names[i]);
        st = visit(arg, ts_buf_cstr(&path), names[i], err);
        ts_buf_finish(&path);
    }
    for (int i = 0; i < n; i++)
        free(list[i]);
    free(list);
    free(names);
    return st;
}

static ts_status add_size(void *arg, const char *path, const char *name, ts_error *err)
{
    struct stat s;
    (void)name;
    (void)err;
    if (stat(path, &s) == 0 && S_ISREG(s.st_mode))
        *(uint64_t *)arg += (uint64_t)s.st_size;
    return TS_OK;
}

uint64_t ts_rec_bytes(const char *path)
{
    struct stat s;
    uint64_t total = 0;
    if (stat(path, &s) != 0)
        return 0;
    if (!S_ISDIR(s.st_mode))
        return (uint64_t)s.st_size;
    (void)each_file(path, add_size, &total, NULL);
    return total;
}

static ts_status remove_part(void *arg, const char *path, const char *name, ts_error *err)
{
    size_t n = strlen(name);
    (void)err;
    if (n > 5 && !strcmp(name + n - 5, ".part"))
        (void)unlink(path);
    else if (!strncmp(name, "frame_", 6))
        ++*(int *)arg;
    return TS_OK;
}

ts_status ts_rec_recover(ts_rec_format format, const char *path, ts_error *err)
{
    int frames = 0;
    if (format == TS_REC_WEBP)
        return ts_webpfile_recover(path, err);
    if (!ts_rec_is_folder(format)) /* fragments and clusters stand for themselves */
        return ts_rec_bytes(path) ? TS_OK : ts_fail(err, TS_E_FILE, "%s is empty", path);
    ts_status st = each_file(path, remove_part, &frames, err);
    if (st == TS_OK && !frames)
        st = ts_fail(err, TS_E_FILE, "%s has no frames", path);
    return st;
}

/* ---- tar ---- */

enum {
    TAR_BLOCK = 512
};

static void tar_header(uint8_t h[TAR_BLOCK], const char *name, uint64_t size)
{
    char *t = (char *)h;
    memset(h, 0, TAR_BLOCK);
    snprintf(t, 100, "%s", name);
    memcpy(t + 100, "0000644", 8);
    memcpy(t + 108, "0000000", 8);
    memcpy(t + 116, "0000000", 8);
    snprintf(t + 124, 12, "%011llo", (unsigned long long)size);
    memcpy(t + 136, "00000000000", 12); /* no time: equal folders, equal bytes */
    memset(t + 148, ' ', 8);
    t[156] = '0';
    memcpy(t + 257, "ustar\00000", 8);
    unsigned sum = 0;
    for (int i = 0; i < TAR_BLOCK; i++)
        sum += h[i];
    snprintf(t + 148, 8, "%06o", sum);
}

static ts_status tar_file(void *arg, const char *path, const char *name, ts_error *err)
{
    FILE *out = arg;
    ts_fs_map map;
    uint8_t block[TAR_BLOCK];
    size_t n = strlen(name);
    if (n > 5 && !strcmp(name + n - 5, ".part"))
        return TS_OK;
    ts_status st = ts_fs_map_open(path, &map, err);
    if (st != TS_OK)
        return st;
    tar_header(block, name, map.len);
    size_t padding = (TAR_BLOCK - map.len % TAR_BLOCK) % TAR_BLOCK;
    bool ok = fwrite(block, 1, TAR_BLOCK, out) == TAR_BLOCK &&
              (!map.len || fwrite(map.data, 1, map.len, out) == map.len);
    memset(block, 0, sizeof block);
    ok = ok && fwrite(block, 1, padding, out) == padding;
    int code = errno;
    ts_fs_map_close(&map);
    return ok ? TS_OK : ts_fail_errno(err, code, "write the tar of %s", path);
}

ts_status ts_rec_tar(const char *folder, const char *out_path, ts_error *err)
{
    FILE *out = fopen(out_path, "wb");
    if (!out)
        return ts_fail_errno(err, errno, "create %s", out_path);
    ts_status st = each_file(folder, tar_file, out, err);
    static const uint8_t end[2 * TAR_BLOCK];
    if (st == TS_OK && fwrite(end, 1, sizeof end, out) != sizeof end)
        st = ts_fail_errno(err, errno, "write %s", out_path);
    if (fclose(out) != 0 && st == TS_OK)
        st = ts_fail_errno(err, errno, "write %s", out_path);
    return st;
}
