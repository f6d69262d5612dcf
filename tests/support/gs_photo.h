/* The fit fixtures' photo and its initial parameters. */
#ifndef TS_TESTS_SUPPORT_GS_PHOTO_H
#define TS_TESTS_SUPPORT_GS_PHOTO_H

#include "cl/models/imagegs/fit.h"

/** A PNG of tests/golden/image-gs as [3,H,W] in 0 … 1; caller frees. Fails the test on error. */
float *gs_photo(const char *dir, const char *name, int *w, int *h);
/** Parameters `<prefix>.xy` … of fit_photo.safetensors as a model. */
void gs_photo_model(const char *dir, const char *prefix, ts_gs_model *out);

#endif
