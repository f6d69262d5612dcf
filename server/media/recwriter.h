/*
 * The files of a recording: one writer per format, each made so that a killed process leaves what was
 * written so far usable.
 *
 *   mp4, webm   fragmented video through libav, at a fixed rate or with the pictures' own times
 *   webp        animated WebP, frame chunks appended; the sizes in front are fixed at the end
 *   png         a folder of frame_NNNNNN.png and frames.jsonl, each file renamed into place
 *   npy         the same with frame_NNNNNN.npy
 *
 * Thread: one at a time.
 */
#ifndef TS_SERVER_MEDIA_RECWRITER_H
#define TS_SERVER_MEDIA_RECWRITER_H

#include "cl/base/json.h"
#include "cl/viz/pixels.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ts_rec_format {
    TS_REC_MP4,
    TS_REC_WEBM,
    TS_REC_WEBP,
    TS_REC_PNG,
    TS_REC_NPY
} ts_rec_format;

/** "mp4" … and the other way round. Errors: TS_E_OPTION lists the formats. */
TS_CHECKED ts_status ts_rec_format_parse(const char *name, ts_rec_format *out, ts_error *err);
const char *ts_rec_format_name(ts_rec_format format);
/** Whether it is a folder of files (downloaded as a tar) rather than one file. */
bool ts_rec_is_folder(ts_rec_format format);
const char *ts_rec_mime(ts_rec_format format);

typedef struct ts_recwriter_options {
    ts_rec_format format;
    const char *path; /* of the file or folder */
    int width, height;
    double fps; /* of the grid */
    bool vfr, lossless;
    int quality; /* 1…100; 0: the format's default */
} ts_recwriter_options;

typedef struct ts_recwriter ts_recwriter;

/** Errors: TS_E_NO_ENCODER, TS_E_TOO_LARGE, disk. */
TS_CHECKED ts_status ts_recwriter_open(const ts_recwriter_options *options, ts_recwriter **out,
                                       ts_error *err);
/**
 * Add a picture of the options' size (folders take any) shown from `time_us` after the start on.
 * `meta` (stolen, may be NULL) is the picture's line of frames.jsonl.
 */
TS_CHECKED ts_status ts_recwriter_add(ts_recwriter *writer, const ts_pixels *pixels,
                                      int64_t time_us, json_t *meta, ts_error *err);
/** Add a file's bytes as they are, e.g. a tensor as npy (folders only). */
TS_CHECKED ts_status ts_recwriter_add_bytes(ts_recwriter *writer, const void *data, size_t len,
                                            json_t *meta, ts_error *err);
/** Complete the file; the last picture is shown until `end_us`. */
TS_CHECKED ts_status ts_recwriter_finish(ts_recwriter *writer, int64_t end_us, ts_error *err);
void ts_recwriter_destroy(ts_recwriter *writer); /* NULL is fine */

/** Make what a killed writer left at `path` usable. Errors: TS_E_FILE (nothing usable there). */
TS_CHECKED ts_status ts_rec_recover(ts_rec_format format, const char *path, ts_error *err);
/** Bytes of a file, or of all files in a folder. */
uint64_t ts_rec_bytes(const char *path);
/** Pack a folder's files, by name, into a tar at `out_path`; equal folders give equal bytes. */
TS_CHECKED ts_status ts_rec_tar(const char *folder, const char *out_path, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
