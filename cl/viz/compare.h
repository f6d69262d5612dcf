/* Two tensors in one picture: side, diff, absdiff, blend, wipe, checker, flicker (cl/viz only). */
#ifndef TS_CL_VIZ_COMPARE_H
#define TS_CL_VIZ_COMPARE_H

#include "cl/viz/viz_internal.h"

TS_CHECKED ts_status compare_size(ts_viz *viz, const ts_viz_input *input, int *w, int *h,
                                  ts_error *err);
/** Draw, and put mse, psnr, max_abs and (2-D) ssim into out->metrics. */
TS_CHECKED ts_status compare_draw(ts_viz *viz, const ts_viz_input *input, const target *t,
                                  ts_viz_output *out, ts_error *err);

#endif
