/* What the parts of a run share: fitrun.c (loop and files), fitrun_panels.c, fitrun_summary.c. */
#ifndef TS_SERVER_TRAIN_FITRUN_INTERNAL_H
#define TS_SERVER_TRAIN_FITRUN_INTERNAL_H

#include <stdio.h>

#include "cl/models/imagegs/refine.h"
#include "server/codec.h"
#include "server/train/fitrun.h"
#include "server/train/trainimage.h"
#include "server/train/trainvideo.h"

struct ts_fitrun {
    ts_gs_config config;
    ts_fitrun_hooks hooks;
    char folder[3072], name[160];
    uint64_t source_bytes;
    int w, h, channels, picture_channels;
    char input_channels[64], bit_depths[64];
    float *full; /* of a downsampled fit: the target at its own size */
    int full_w, full_h;
    ts_gs_metrics upsampled;
    size_t init_taken, init_count; /* Gaussians taken of a model, of how many */
    ts_gs_fit *fit;
    FILE *log, *csv;
    ts_encoder *encoder;
    ts_trainvideo *video;
    ts_trainpic_options video_look;
    uint8_t *gt, *render, *initial, *extra; /* RGBA8 panels */
    ts_gs_eval *evals;                      /* all so far */
    size_t n_evals, cap_evals;
    ts_gs_metrics final;
    ts_gs_refine *refine; /* adaptive refinement, once the base is done */
    int refined_at;       /* patch of the last recorded frame */
    bool base_done, completed, disk_failed;
    ts_error disk_error;
};

/** Write a file of the folder: name below it. Whole or not at all. */
TS_CHECKED ts_status fitrun_write(ts_fitrun *run, const char *name, const void *data, size_t len,
                                  ts_error *err);
/** Encode and write w x h pixels of a format; the codec follows the name's ending. */
TS_CHECKED ts_status fitrun_write_pixels(ts_fitrun *run, const char *name, const ts_pixels *pixels,
                                         ts_error *err);
TS_CHECKED ts_status fitrun_write_rgba(ts_fitrun *run, const char *name, const uint8_t *rgba,
                                       ts_error *err);
/** Fill the panels that `look` wants, from the picture that was evaluated last. */
TS_CHECKED ts_status fitrun_panels(ts_fitrun *run, const ts_trainpic_options *look,
                                   const uint8_t **panels, ts_error *err);
/** The files of the base, and the start of its refinement. */
TS_CHECKED ts_status fitrun_refine_start(ts_fitrun *run, ts_error *err);
/** enhanced/, other/patches/, comparison pictures and summary of a refinement that has ended. */
TS_CHECKED ts_status fitrun_refine_files(ts_fitrun *run, ts_error *err);
/** A [C,H,W] picture in display space as the panels show it. */
void fitrun_rgba(const ts_fitrun *run, const float *chw, int w, int h, uint8_t *rgba);
/** summary.txt, summary.json, summary.png, metrics_plot.png. */
TS_CHECKED ts_status fitrun_summary(ts_fitrun *run, ts_error *err);

#endif
