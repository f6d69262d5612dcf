/*
 * Sparse readout: which tokens of a downstream encoder's grid the fixations cover.
 *
 * Cells of a frame become indices of an image grid (h x w); frames in bins of `tubelet` become ids
 * of a video grid. Host only. Thread: any. Source: specification of AutoGaze inference, sparse
 * readout adapters.
 */
#ifndef TS_CL_MODELS_GAZE_READOUT_H
#define TS_CL_MODELS_GAZE_READOUT_H

#include "cl/models/gaze/cells.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    TS_READOUT_MAX_SIDE = 1024
};

/** Zero is the default of each but fixation_scale (1). */
typedef struct ts_readout_options {
    double confidence_threshold; /* only cells above it */
    size_t max_fixations;        /* 0: all */
    double fixation_scale;       /* of each cell about its centre */
    int dilation;                /* in cells of the target grid */
    size_t max_tokens;           /* 0: all */
    size_t min_tokens;           /* video only: fill up to so many */
} ts_readout_options;

/** Growing list of ids. Zero-initialised is empty. */
typedef struct ts_readout_ids {
    int32_t *id;
    size_t n, cap;
} ts_readout_ids;
void ts_readout_ids_finish(ts_readout_ids *ids);

/**
 * Append the tokens (row*w + col) of an h x w grid that a frame's cells cover, each once, in the
 * order of the cells. Errors: TS_E_OPTION (sides), TS_E_NO_MEMORY.
 */
TS_CHECKED ts_status ts_readout_image(const ts_gaze_cell *cells, size_t n, int h, int w,
                                      const ts_readout_options *options, ts_readout_ids *out,
                                      ts_error *err);

/**
 * Append the tokens ((bin*h + row)*w + col) of a bins x h x w grid for frames' image tokens: bin b
 * takes frames [b*tubelet, (b+1)*tubelet). `frames[t]` are tokens of an ih x iw image grid.
 * Errors: TS_E_OPTION (tubelet does not divide the frames), TS_E_NO_MEMORY.
 */
TS_CHECKED ts_status ts_readout_video(const ts_readout_ids *frames, size_t n_frames, int ih, int iw,
                                      int tubelet, int h, int w, const ts_readout_options *options,
                                      ts_readout_ids *out, ts_error *err);

#ifdef __cplusplus
}
#endif
#endif
