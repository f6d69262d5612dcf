#include "server/media/movie.h"

#include <stdlib.h>

struct ts_movie {
    ts_venc *venc;
    ts_vmux *vmux;
};

ts_status ts_movie_open(const char *path, const char *container, const ts_venc_options *options,
                        ts_movie **out, ts_error *err)
{
    ts_movie *movie = calloc(1, sizeof *movie);
    if (!movie)
        return ts_fail(err, TS_E_NO_MEMORY, "movie %s", path);
    ts_venc_options venc = *options;
    venc.global_header = ts_vmux_global_header(container);
    ts_vmux_options vmux = {.url = path, .container = container, .fragmented = true};
    ts_status st = ts_venc_open(&venc, &movie->venc, err);
    if (st == TS_OK)
        st = ts_vmux_open(&vmux, movie->venc, &movie->vmux, err);
    if (st != TS_OK) {
        ts_movie_destroy(movie);
        return st;
    }
    *out = movie;
    return TS_OK;
}

ts_status ts_movie_add(ts_movie *movie, const ts_pixels *picture, int64_t pts, ts_error *err)
{
    return ts_venc_encode(movie->venc, picture, pts, false, ts_vmux_write, movie->vmux, err);
}

ts_status ts_movie_finish(ts_movie *movie, ts_error *err)
{
    ts_status st = ts_venc_flush(movie->venc, ts_vmux_write, movie->vmux, err);
    return st == TS_OK ? ts_vmux_finish(movie->vmux, err) : st;
}

void ts_movie_destroy(ts_movie *movie)
{
    if (!movie)
        return;
    ts_vmux_destroy(movie->vmux);
    ts_venc_close(movie->venc);
    free(movie);
}
