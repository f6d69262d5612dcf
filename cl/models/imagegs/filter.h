/* Separable filtering of one plane on the host, for the metrics. */
#ifndef TS_CL_MODELS_IMAGEGS_FILTER_H
#define TS_CL_MODELS_IMAGEGS_FILTER_H

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ts_gs_border {
    TS_GS_BORDER_ZERO,      /* same size, zeros outside */
    TS_GS_BORDER_REPLICATE, /* same size, the edge goes on */
    TS_GS_BORDER_REFLECT,   /* same size, mirrored without repeating the edge */
    TS_GS_BORDER_VALID      /* smaller by 2 * radius, nothing outside is needed */
} ts_gs_border;

/**
 * dst = horizontal kernel, then vertical kernel (2 * radius + 1 taps each) over src [h,w].
 * scratch has w * h floats; dst may be src except with TS_GS_BORDER_VALID.
 */
void ts_gs_filter(const float *src, int w, int h, const float *horizontal, const float *vertical,
                  int radius, ts_gs_border border, float *scratch, float *dst);

#ifdef __cplusplus
}
#endif
#endif
