/*
 * The configuration of a fit: one struct made of config.def, read from JSON or from words.
 *
 * Everything that is wrong is reported at once, as the list that the API's answer carries.
 * Thread: any. Owner: ts_gs_config_finish() frees the objects inside.
 */
#ifndef TS_CL_MODELS_IMAGEGS_CONFIG_H
#define TS_CL_MODELS_IMAGEGS_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cl/base/json.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    TS_GS_INIT_GRADIENT,
    TS_GS_INIT_SALIENCY,
    TS_GS_INIT_RANDOM
};
enum {
    TS_GS_GRADIENT_EXACT,
    TS_GS_GRADIENT_LEGACY
};
enum {
    TS_GS_ADD_RESIDUAL,
    TS_GS_ADD_TARGET
};
enum {
    TS_GS_SPACE_SIGMA,
    TS_GS_SPACE_LOG_SIGMA,
    TS_GS_SPACE_RAW
};
enum {
    TS_GS_IMAGE_JPG,
    TS_GS_IMAGE_PNG,
    TS_GS_IMAGE_WEBP,
    TS_GS_IMAGE_EXR
};
enum {
    TS_GS_CAPTURE_EVAL,
    TS_GS_CAPTURE_INDEPENDENT
};
enum {
    TS_GS_ADAPTIVE_PATCHES,
    TS_GS_ADAPTIVE_JOINT
};

extern const char *const ts_gs_init_words[],
    *const ts_gs_gradient_words[],
        *const ts_gs_add_words[], *const ts_gs_space_words[], *const ts_gs_image_words[],
                                                                  *const ts_gs_capture_words[],
                                                                      *const ts_gs_adaptive_words[];

typedef struct ts_gs_config {
#define B(name, value)           bool name;
#define I(name, value, min, max) int64_t name;
#define F(name, value, min, max) double name;
#define E(name, value, words)    int name;
#include "cl/models/imagegs/config.def"
#undef B
#undef I
#undef F
#undef E
    char init_from[129];   /* "" is none */
    int64_t prune_every;   /* 0: never */
    double prune_contrib;  /* pixels */
    bool video;            /* record */
    json_t *video_options; /* object or NULL */
    json_t *live;          /* object or NULL */
    json_t *overlay;       /* object or NULL */
    json_t *ignored;       /* array of accepted keys without effect, or NULL */
} ts_gs_config;

/** All defaults. */
void ts_gs_config_init(ts_gs_config *config);
void ts_gs_config_finish(ts_gs_config *config);
void ts_gs_config_copy(ts_gs_config *to, const ts_gs_config *from);

/**
 * Take the keys of `object` over what *config has. *problems gets an array of {field, value, message}
 * (empty when all is well; caller json_decref()s). Errors: TS_E_OPTION with the first one's text.
 */
TS_CHECKED ts_status ts_gs_config_read(ts_gs_config *config, const json_t *object,
                                       json_t **problems, ts_error *err);
/** The whole configuration as an object, as the API reports it. Caller owns it. */
json_t *ts_gs_config_json(const ts_gs_config *config);

/** A key as a command line offers it: names with '-' for '_'. NULL past the last. */
typedef struct ts_gs_key {
    const char *name;
    char kind; /* 'B', 'I', 'F', 'E', or 'J' (JSON text) */
    const char *const *words;
    double min, max;
} ts_gs_key;
const ts_gs_key *ts_gs_config_key(size_t index);
/** Set `name` in `object` (a configuration to be) from a word of the command line. */
TS_CHECKED ts_status ts_gs_config_word(json_t *object, const char *name, const char *word,
                                       ts_error *err);

/** Steps that progressive adding needs at least; max_steps itself where it is off. */
int64_t ts_gs_config_steps(const ts_gs_config *config);

#ifdef __cplusplus
}
#endif
#endif
