#include "server/framereader.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cl/base/fs.h"
#include "cl/base/size.h"
#include "server/codec.h"
#include "server/media/memvideo.h"

struct ts_frame_reader {
    int width, height;
    ts_fs_map map;
    ts_memvideo *video;
    ts_animation *animation;
    char **files; /* folder or single picture */
    size_t n_files, next;
    ts_buf file, pixels;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static ts_status add_file(ts_frame_reader *r, const char *folder, const char *name, ts_error *err)
{
    char **p = ts_realloc_array(r->files, r->n_files + 1, sizeof *p);
    size_t n = strlen(folder) + strlen(name) + 2;
    char *path = malloc(n);
    if (p)
        r->files = p;
    if (!p || !path) {
        free(path);
        return ts_fail(err, TS_E_NO_MEMORY, "no memory for a list of files");
    }
    snprintf(path, n, "%s%s%s", folder, *folder ? "/" : "", name);
    r->files[r->n_files++] = path;
    return TS_OK;
}

static ts_status list_folder(ts_frame_reader *r, const char *path, ts_error *err)
{
    DIR *d = opendir(path);
    struct dirent *e;
    ts_status st = d ? TS_OK : ts_fail(err, TS_E_NOT_FOUND, "%s cannot be read", path);
    while (st == TS_OK && (e = readdir(d))) {
        size_t n = strlen(e->d_name);
        if (n > 4 && !strcmp(e->d_name + n - 4, ".png"))
            st = add_file(r, path, e->d_name, err);
    }
    if (d)
        closedir(d);
    if (st == TS_OK && !r->n_files)
        st = ts_fail(err, TS_E_FILE, "%s has no PNG files", path);
    if (st == TS_OK)
        qsort(r->files, r->n_files, sizeof *r->files, by_name);
    return st;
}

static ts_status load_picture(ts_frame_reader *r, const char *path, ts_error *err)
{
    enum {
        MAX_FILE = 1 << 30
    };
    ts_image_info info;
    ts_buf_reset(&r->file);
    ts_status st = ts_fs_read(path, MAX_FILE, &r->file, err);
    if (st == TS_OK)
        st = ts_image_decode(r->file.data, r->file.len, 4, &info, &r->pixels, err);
    if (st == TS_OK && r->width && (info.width != r->width || info.height != r->height))
        st = ts_fail(err, TS_E_FILE, "%dx%d px after frames of %dx%d", info.width, info.height,
                     r->width, r->height);
    if (st != TS_OK) {
        ts_error_prefix(err, "%s", path);
        return st;
    }
    r->width = info.width;
    r->height = info.height;
    return TS_OK;
}

static ts_status open_file(ts_frame_reader *r, const char *path, double *fps, ts_error *err)
{
    ts_image_info image;
    ts_memvideo_info video;
    ts_status st = ts_fs_map_open(path, &r->map, err);
    if (st != TS_OK)
        return st;
    if (ts_image_probe(r->map.data, r->map.len, &image, NULL) == TS_OK) {
        if (!image.animated) {
            st = add_file(r, "", path, err);
            return st == TS_OK ? load_picture(r, path, err) : st;
        }
        st = ts_animation_open(r->map.data, r->map.len, &r->animation, &image, err);
        r->width = image.width;
        r->height = image.height;
        *fps = 0;
        return st;
    }
    st = ts_memvideo_open(r->map.data, r->map.len, &r->video, &video, err);
    if (st == TS_OK) {
        r->width = video.width;
        r->height = video.height;
        *fps = video.fps;
    }
    return st;
}

ts_status ts_frame_reader_open(const char *path, ts_frame_reader **out, ts_frame_info *info,
                               ts_error *err)
{
    struct stat s;
    if (stat(path, &s) != 0)
        return ts_fail(err, TS_E_NOT_FOUND, "no file or folder %s", path);
    ts_frame_reader *r = calloc(1, sizeof *r);
    if (!r)
        return ts_fail(err, TS_E_NO_MEMORY, "no memory for a reader");
    *info = (ts_frame_info){0};
    ts_status st;
    if (S_ISDIR(s.st_mode)) {
        st = list_folder(r, path, err);
        if (st == TS_OK)
            st = load_picture(r, r->files[0], err);
    } else {
        st = open_file(r, path, &info->fps, err);
        if (st != TS_OK)
            ts_error_prefix(err, "%s", path);
    }
    if (st != TS_OK) {
        ts_frame_reader_close(r);
        return st;
    }
    info->width = r->width;
    info->height = r->height;
    *out = r;
    return TS_OK;
}

ts_status ts_frame_reader_next(ts_frame_reader *r, const uint8_t **rgba, ts_error *err)
{
    int64_t end_us;
    *rgba = NULL;
    if (r->video)
        return ts_memvideo_next(r->video, rgba, err);
    if (r->animation)
        return ts_animation_next(r->animation, rgba, &end_us, err);
    if (r->next == r->n_files)
        return TS_OK;
    ts_status st = load_picture(r, r->files[r->next++], err);
    *rgba = st == TS_OK ? r->pixels.data : NULL;
    return st;
}

void ts_frame_reader_close(ts_frame_reader *r)
{
    if (!r)
        return;
    ts_memvideo_close(r->video);
    ts_animation_close(r->animation);
    ts_fs_map_close(&r->map);
    for (size_t i = 0; i < r->n_files; i++)
        free(r->files[i]);
    free(r->files);
    ts_buf_finish(&r->file);
    ts_buf_finish(&r->pixels);
    free(r);
}
