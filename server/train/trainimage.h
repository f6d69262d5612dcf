/*
 * What a fit or a comparison takes as pictures: files or tensors, as [C,H,W] floats in display space,
 * several of equal size stacked along the channels. Zero-initialise; thread: one at a time.
 */
#ifndef TS_SERVER_TRAIN_TRAINIMAGE_H
#define TS_SERVER_TRAIN_TRAINIMAGE_H

#include "cl/models/imagegs/fit.h"
#include "cl/tensor/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ts_trainimage {
    int width, height, channels;
    float *chw;
    char input_channels[64], bit_depths[64];
    char stem[128]; /* of the first name, [A-Za-z0-9._-] */
    uint64_t bytes; /* of the files */
} ts_trainimage;

void ts_trainimage_finish(ts_trainimage *image);
/**
 * Stack a picture file (PNG, JPEG, WebP, GIF) on the image; alpha is dropped. `name` is for texts.
 * Errors: TS_E_FILE, TS_E_TOO_LARGE, TS_E_SHAPE (size differs, over 12 channels): names the file.
 */
TS_CHECKED ts_status ts_trainimage_add_file(ts_trainimage *image, const char *name,
                                            const void *data, size_t len, ts_error *err);
/** Stack a tensor, [H,W] or [H,W,C], u8, u16 or floats; a fourth channel of four is alpha. */
TS_CHECKED ts_status ts_trainimage_add_tensor(ts_trainimage *image, const char *name,
                                              ts_queue *queue, const ts_tensor *tensor,
                                              ts_error *err);
/** The image as a fit takes it. */
ts_gs_target ts_trainimage_target(const ts_trainimage *image);
/** [C,H,W] reduced by `ratio` with Lanczos-4 to out_w x out_h (rounded). Owner: caller frees *out. */
TS_CHECKED ts_status ts_trainimage_reduce(const float *chw, int channels, int height, int width,
                                          double ratio, float **out, int *out_h, int *out_w,
                                          ts_error *err);
/** A file name's stem with other characters than [A-Za-z0-9._-] as '_', without a leading dot. */
void ts_trainimage_stem(const char *name, char out[128]);

#ifdef __cplusplus
}
#endif
#endif
