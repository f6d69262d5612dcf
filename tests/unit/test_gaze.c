#include "cl/base/fs.h"
#include "cl/base/hash.h"
#include "cl/models/gaze/gaze.h"
#include "cl/models/gaze/readout.h"
#include "server/codec.h"
#include "tests/ref/ref_gaze.h"
#include "tests/support/check.h"
#include "tests/support/opsfix.h"

typedef struct clip {
    int n, w, h;
    uint8_t *frame[8];
    ts_buffer *device[8];
} clip;

static void read_picture(const char *path, ts_buf *out, ts_image_info *info)
{
    ts_error err = {0};
    ts_buf file = {0};
    CHECK_OK(ts_fs_read(path, 1 << 24, &file, &err));
    CHECK_OK(ts_image_decode(file.data, file.len, 4, info, out, &err));
    ts_buf_finish(&file);
}

static void clip_open(ts_opsfix *f, const char *name, int n, clip *c)
{
    ts_error err = {0};
    *c = (clip){.n = n};
    for (int i = 0; i < n; i++) {
        char path[512];
        ts_buf px = {0};
        ts_image_info info;
        snprintf(path, sizeof path, "%s/golden/autogaze/frames/%s_%02d.png", TS_TEST_DIR, name, i);
        read_picture(path, &px, &info);
        c->w = info.width;
        c->h = info.height;
        c->frame[i] = px.data;
        CHECK_OK(ts_buffer_create(f->device, px.len, &c->device[i], &err));
        CHECK_OK(ts_buffer_write(f->queue, c->device[i], 0, px.data, px.len, &err));
    }
}

static void clip_close(clip *c)
{
    for (int i = 0; i < c->n; i++) {
        free(c->frame[i]);
        ts_buffer_unref(c->device[i]);
    }
}

static ts_gaze_image image(const clip *c, int i)
{
    return (ts_gaze_image){c->device[i], 0, c->w, c->h};
}

static json_t *expected(void)
{
    ts_error err = {0};
    ts_buf file = {0};
    json_t *doc;
    CHECK_OK(ts_fs_read(TS_TEST_DIR "/golden/autogaze/expected.json", 1 << 24, &file, &err));
    CHECK_OK(ts_json_parse(file.data, file.len, &doc, &err));
    ts_buf_finish(&file);
    return doc;
}

static void check_sha(ts_opsfix *f, ts_buffer *buffer, size_t bytes, const char *want,
                      const char *what)
{
    ts_error err = {0};
    uint8_t *host = malloc(bytes), digest[32];
    char hex[65];
    CHECK_OK(ts_buffer_read(f->queue, buffer, 0, host, bytes, &err));
    ts_sha256(host, bytes, digest);
    ts_hex(digest, 32, hex);
    free(host);
    if (strcmp(hex, want) != 0)
        fail_msg("%s: sha256 %s, want %s", what, hex, want);
}

static const struct {
    const char *name;
    int frames;
} clips[] = {{"square448", 4}, {"birds384x216", 6}, {"odd511x300", 2}};

static void check_order(const json_t *want, const ts_gaze_fix *fix, const float *scores,
                        const char *what)
{
    if (json_array_size(want) != fix->n_cells)
        fail_msg("%s: %zu active cells, want %zu", what, fix->n_cells, json_array_size(want));
    for (size_t k = 0; k < fix->n_cells; k++) {
        int got = fix->tokens[k], should = (int)json_integer_value(json_array_get(want, k));
        /* Cells whose scores differ by less than 2e-5 may swap. */
        if (got != should && fabsf(scores[got] - scores[should]) >= 2e-5f)
            fail_msg("%s: place %zu has cell %d, want %d", what, k, got, should);
    }
}

static void check_result(const json_t *want, const ts_gaze_result *got, const char *what)
{
    const char *const ints[] = {"mask_pixels", "updated_pixels"};
    uint64_t values[] = {got->mask_pixels, got->updated_pixels};
    assert_int_equal(json_is_true(json_object_get(want, "keyframe")), got->keyframe);
    for (int i = 0; i < 2; i++)
        if ((uint64_t)json_integer_value(json_object_get(want, ints[i])) != values[i])
            fail_msg("%s: %s %llu, want %lld", what, ints[i], (unsigned long long)values[i],
                     (long long)json_integer_value(json_object_get(want, ints[i])));
    ts_check_close(got->mask_ratio, json_number_value(json_object_get(want, "mask_ratio")), 0, 0,
                   "mask_ratio", 0);
    ts_check_close(got->update_ratio, json_number_value(json_object_get(want, "update_ratio")), 0,
                   0, "update_ratio", 0);
    assert_true(got->has_psnr);
    assert_int_equal(json_is_true(json_object_get(want, "psnr_infinite")), got->psnr_infinite);
    if (!got->psnr_infinite)
        ts_check_close(got->psnr_db, json_number_value(json_object_get(want, "psnr_db")), 1e-9, 0,
                       what, 0);
}

static void run_patch_diff(ts_opsfix *f, const clip *c, const char *key, double tau,
                           const json_t *run, const float *want_scores)
{
    ts_error err = {0};
    ts_gaze_source source;
    ts_gaze *gaze;
    ts_gaze_options opt = {.geometry = TS_GAZE_DEDUPLICATED, .alpha = 0.38f, .psnr = true};
    CHECK_OK(ts_patch_diff_create(f->device, &source, &err));
    CHECK_OK(ts_gaze_create(f->device, &gaze, &err));
    json_t *options = json_pack("{s:f}", "threshold", tau);
    CHECK_OK(source.set(source.self, options, &err));
    json_decref(options);
    for (int t = 0; t < c->n; t++) {
        char what[96];
        ts_gaze_fix fix;
        ts_gaze_result result;
        ts_gaze_image frame = image(c, t);
        snprintf(what, sizeof what, "%s frame %d", key, t);
        CHECK_OK(source.step(source.self, f->queue, &frame, &fix, &err));
        const float *scores = ts_patch_diff_scores(&source);
        for (size_t i = 0; i < 196; i++)
            ts_check_close(scores[i], want_scores[(size_t)t * 196 + i], 1e-5, 0, what, i);
        check_order(json_array_get(json_object_get(run, "order"), (size_t)t), &fix, scores, what);
        CHECK_OK(
            ts_gaze_frame(gaze, f->queue, &frame, fix.cells, fix.n_cells, &opt, &result, &err));
        const json_t *recon = json_array_get(json_object_get(run, "reconstruction"), (size_t)t);
        check_result(recon, &result, what);
        check_sha(f, ts_gaze_current(gaze).buffer, 4 * (size_t)c->w * (size_t)c->h,
                  json_string_value(json_object_get(recon, "output_sha256")), what);
    }
    if (!strcmp(key, "birds384x216.thr0.15")) { /* the recorded picture itself */
        size_t bytes = 4 * (size_t)c->w * (size_t)c->h;
        ts_buf px = {0};
        ts_image_info info;
        uint8_t *host = malloc(bytes);
        read_picture(TS_TEST_DIR "/golden/autogaze/recon_birds384x216_patchdiff0.15_last.png", &px,
                     &info);
        CHECK_OK(ts_buffer_read(f->queue, ts_gaze_current(gaze).buffer, 0, host, bytes, &err));
        assert_memory_equal(host, px.data, bytes);
        free(host);
        ts_buf_finish(&px);
    }
    ts_gaze_destroy(gaze);
    ts_gaze_source_finish(&source);
}

static void patch_differences_and_their_reconstruction_match(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    json_t *doc = expected();
    json_t *runs = json_object_get(json_object_get(doc, "runs"), "patch_diff");
    static const char *const taus[] = {"0.05", "0.15", "0.45"};
    for (size_t k = 0; k < sizeof clips / sizeof *clips; k++) {
        clip c;
        char path[512];
        ts_buf scores = {0};
        clip_open(f, clips[k].name, clips[k].frames, &c);
        snprintf(path, sizeof path, "%s/golden/autogaze/patch_diff_%s.f32", TS_TEST_DIR,
                 clips[k].name);
        CHECK_OK(ts_fs_read(path, 1 << 20, &scores, &err));
        assert_int_equal(scores.len, (size_t)c.n * 196 * 4);
        for (int i = 0; i < 3; i++) {
            char key[64];
            snprintf(key, sizeof key, "%s.thr%s", clips[k].name, taus[i]);
            run_patch_diff(f, &c, key, atof(taus[i]), json_object_get(runs, key),
                           (const float *)(const void *)scores.data);
        }
        ts_buf_finish(&scores);
        clip_close(&c);
    }
    json_decref(doc);
}

/* The cells of recorded tokens: 2x2, 4x4, 7x7, 14x14. */
static size_t cells_of(const json_t *tokens, const json_t *valid, ts_gaze_cell *out)
{
    static const int grids[] = {2, 4, 7, 14};
    size_t n = 0, i;
    json_t *value;
    json_array_foreach((json_t *)(uintptr_t)tokens, i, value)
    {
        if (valid && !json_integer_value(json_array_get(valid, i)))
            continue;
        int u = (int)json_integer_value(value), s = 0;
        while (u >= grids[s] * grids[s])
            u -= grids[s] * grids[s], s++;
        out[n++] = (ts_gaze_cell){.cols = grids[s],
                                  .rows = grids[s],
                                  .col = u % grids[s],
                                  .row = u / grids[s],
                                  .grid = grids[s],
                                  .scale = s,
                                  .confidence = 1};
    }
    return n;
}

static void check_geometry(const json_t *want, const ts_gaze_cell *cells, size_t n, int w, int h)
{
    ts_error err = {0};
    ts_gaze_shapes s = {0};
    ts_gaze_cover cover;
    CHECK_OK(ts_gaze_layout(cells, n, w, h, TS_GAZE_NATIVE, 1, &s, &err));
    CHECK_OK(ts_gaze_measure(s.rects, s.n, &cover, &err));
    assert_int_equal(cover.pixels, json_integer_value(json_object_get(want, "native_pixels")));
    uint64_t native = cover.pixels;
    CHECK_OK(ts_gaze_layout(cells, n, w, h, TS_GAZE_DEDUPLICATED, 1, &s, &err));
    json_t *kept = json_object_get(want, "deduplicated_cells");
    assert_int_equal(s.n, json_array_size(kept));
    for (size_t i = 0; i < s.n; i++) {
        const ts_gaze_cell *c = &cells[s.cells[i]];
        json_t *k = json_array_get(kept, i);
        assert_int_equal(c->grid, json_integer_value(json_array_get(k, 0)));
        assert_int_equal(c->row, json_integer_value(json_array_get(k, 1)));
        assert_int_equal(c->col, json_integer_value(json_array_get(k, 2)));
    }
    CHECK_OK(ts_gaze_measure(s.rects, s.n, &cover, &err));
    assert_int_equal(cover.pixels, native);
    CHECK_OK(ts_gaze_layout(cells, n, w, h, TS_GAZE_EFFECTIVE, 1, &s, &err));
    CHECK_OK(ts_gaze_measure(s.rects, s.n, &cover, &err));
    assert_int_equal(cover.pixels, json_integer_value(json_object_get(want, "effective_pixels")));
    ts_gaze_shapes_finish(&s);
}

static void recorded_tokens_give_the_recorded_masks(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    json_t *doc = expected(), *runs = json_object_get(doc, "runs");
    for (size_t k = 0; k < sizeof clips / sizeof *clips; k++)
        for (int mode = 0; mode < 2; mode++) {
            char key[64];
            clip c;
            ts_gaze *gaze;
            static ts_gaze_cell cells[1024];
            ts_gaze_options opt = {.alpha = 0.38f, .psnr = true};
            snprintf(key, sizeof key, "%s.%s.f32", clips[k].name, mode ? "taskloss" : "budget");
            json_t *run = json_object_get(runs, key);
            if (!run)
                continue;
            clip_open(f, clips[k].name, clips[k].frames, &c);
            CHECK_OK(ts_gaze_create(f->device, &gaze, &err));
            for (int t = 0; t < c.n; t++) {
                ts_gaze_result result;
                ts_gaze_image frame = image(&c, t);
                json_t *tokens = json_array_get(json_object_get(run, "frames"), (size_t)t);
                size_t n = cells_of(json_object_get(tokens, "tokens"),
                                    json_object_get(tokens, "valid"), cells);
                json_t *geometry = json_array_get(json_object_get(run, "geometry"), (size_t)t);
                if (geometry)
                    check_geometry(geometry, cells, n, c.w, c.h);
                CHECK_OK(ts_gaze_frame(gaze, f->queue, &frame, cells, n, &opt, &result, &err));
                json_t *recon = json_array_get(json_object_get(run, "reconstruction"), (size_t)t);
                check_result(recon, &result, key);
                check_sha(f, ts_gaze_current(gaze).buffer, 4 * (size_t)c.w * (size_t)c.h,
                          json_string_value(json_object_get(recon, "output_sha256")), key);
            }
            ts_gaze_destroy(gaze);
            clip_close(&c);
        }
    json_decref(doc);
}

static void every_visualisation_matches(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    static const char *const modes[] = {"overlay", "image-overlay", "image-mask-only", "scale-rows",
                                        "full-blend"};
    static const char *const alphas[] = {"0.38", "0.55"};
    json_t *doc = expected();
    json_t *viz = json_object_get(json_object_get(doc, "runs"), "visualization");
    static ts_gaze_cell cells[512];
    size_t n = cells_of(json_object_get(viz, "tokens"), NULL, cells);
    clip c;
    clip_open(f, "birds384x216", 2, &c);
    size_t bytes = 4 * (size_t)c.w * (size_t)c.h;
    ts_gaze_image frame = image(&c, 1);
    ts_buffer *dst;
    CHECK_OK(ts_buffer_create(f->device, bytes, &dst, &err));
    for (int m = 0; m < 5; m++)
        for (int a = 0; a < 2; a++) {
            char key[64], path[512];
            ts_gaze *gaze;
            ts_gaze_result result;
            ts_gaze_options opt = {.alpha = (float)atof(alphas[a])};
            opt.output = m == 4 ? TS_GAZE_FULL_BLEND : TS_GAZE_INTERFRAME;
            CHECK_OK(ts_gaze_create(f->device, &gaze, &err));
            CHECK_OK(ts_gaze_frame(gaze, f->queue, &frame, cells, n, &opt, &result, &err));
            ts_buffer *got = dst;
            if (m == 4) {
                got = ts_gaze_current(gaze).buffer;
            } else {
                ts_gaze_panel_kind kind;
                CHECK_OK(ts_gaze_panel_parse(modes[m], &kind, &err));
                CHECK_OK(ts_gaze_panel(gaze, f->queue, &frame, kind, opt.alpha, dst, c.w, 0, &err));
            }
            snprintf(key, sizeof key, "%s@%s", modes[m], alphas[a]);
            const char *want =
                json_string_value(json_object_get(json_object_get(viz, "sha256"), key));
            check_sha(f, got, bytes, want, key);
            if (!a) { /* the recorded picture itself, so that a wrong hash list would show */
                ts_buf px = {0};
                ts_image_info info;
                uint8_t *host = malloc(bytes);
                snprintf(path, sizeof path, "%s/golden/autogaze/viz_%s.png", TS_TEST_DIR, modes[m]);
                read_picture(path, &px, &info);
                CHECK_OK(ts_buffer_read(f->queue, got, 0, host, bytes, &err));
                assert_memory_equal(host, px.data, bytes);
                free(host);
                ts_buf_finish(&px);
            }
            ts_gaze_destroy(gaze);
        }
    ts_buffer_unref(dst);
    clip_close(&c);
    json_decref(doc);
}

static void check_ids(const json_t *want, const ts_readout_ids *got, const char *what, size_t t)
{
    if (json_array_size(want) != got->n)
        fail_msg("%s frame %zu: %zu tokens, want %zu", what, t, got->n, json_array_size(want));
    for (size_t i = 0; i < got->n; i++)
        assert_int_equal(got->id[i], json_integer_value(json_array_get(want, i)));
}

static void readout_lists_match(void **state)
{
    (void)state;
    ts_error err = {0};
    json_t *doc = expected(), *runs = json_object_get(doc, "runs");
    json_t *readout = json_object_get(runs, "readout");
    json_t *run = json_object_get(runs, json_string_value(json_object_get(readout, "run")));
    static ts_gaze_cell cells[512];
    ts_readout_options plain = {.fixation_scale = 1}, wide = {.dilation = 1, .max_tokens = 40};
    for (size_t t = 0; t < 6; t++) {
        ts_readout_ids ids = {0};
        json_t *frame = json_array_get(json_object_get(run, "frames"), t);
        size_t n =
            cells_of(json_object_get(frame, "tokens"), json_object_get(frame, "valid"), cells);
        CHECK_OK(ts_readout_image(cells, n, 16, 16, &plain, &ids, &err));
        check_ids(json_array_get(json_object_get(readout, "frame_tokens"), t), &ids, "plain", t);
        ids.n = 0;
        CHECK_OK(ts_readout_image(cells, n, 16, 16, &wide, &ids, &err));
        check_ids(json_array_get(json_object_get(readout, "dilation1_cap40"), t), &ids, "wide", t);
        ts_readout_ids_finish(&ids);
    }
    json_decref(doc);
}

static void video_tokens_are_binned_capped_and_filled(void **state)
{
    (void)state;
    ts_error err = {0};
    int32_t a[] = {0, 3}, b[] = {3}, c[] = {1}, d[] = {2};
    ts_readout_ids frames[4] = {{a, 2, 2}, {b, 1, 1}, {c, 1, 1}, {d, 1, 1}}, out = {0};
    ts_readout_options o = {0};
    /* 2x2 image tokens on a 4x4 grid, two bins of two frames. */
    CHECK_OK(ts_readout_video(frames, 4, 2, 2, 2, 4, 4, &o, &out, &err));
    static const int32_t want[] = {0, 1, 4, 5, 10, 11, 14, 15, 18, 19, 22, 23, 24, 25, 28, 29};
    assert_int_equal(out.n, 16);
    assert_memory_equal(out.id, want, sizeof want);
    out.n = 0;
    o.max_tokens = 5;
    CHECK_OK(ts_readout_video(frames, 4, 2, 2, 2, 4, 4, &o, &out, &err));
    assert_int_equal(out.n, 5);
    out.n = 0;
    o = (ts_readout_options){.min_tokens = 4};
    ts_readout_ids none = {0};
    CHECK_OK(ts_readout_video(&none, 1, 2, 2, 1, 4, 4, &o, &out, &err));
    static const int32_t spread[] = {0, 4, 8, 11}; /* (i*15 + 2) div 4 */
    assert_int_equal(out.n, 4);
    assert_memory_equal(out.id, spread, sizeof spread);
    CHECK_STATUS(TS_E_OPTION, ts_readout_video(frames, 4, 2, 2, 3, 4, 4, &o, &out, &err));
    CHECK_STATUS(TS_E_OPTION, ts_readout_image(NULL, 0, 0, 4, &o, &out, &err));
    ts_readout_ids_finish(&out);
}

/* ---- kernels against their twins, at odd sizes ---- */

static uint32_t rng_state = 7;

static uint32_t below(uint32_t n)
{
    rng_state = rng_state * 1664525u + 1013904223u;
    return (rng_state >> 8) % n;
}

static ts_buffer *random_picture(ts_opsfix *f, uint8_t *host, size_t bytes)
{
    ts_error err = {0};
    ts_buffer *b;
    for (size_t i = 0; i < bytes; i++)
        host[i] = (uint8_t)below(256);
    CHECK_OK(ts_buffer_create(f->device, bytes + 4, &b, &err));
    CHECK_OK(ts_buffer_write(f->queue, b, 4, host, bytes, &err)); /* offset 4: not aligned to 16 */
    return b;
}

static void compare(ts_opsfix *f, ts_buffer *got, const uint8_t *want, size_t bytes,
                    const char *what, int w, int h)
{
    ts_error err = {0};
    uint8_t *host = malloc(bytes);
    CHECK_OK(ts_buffer_read(f->queue, got, 0, host, bytes, &err));
    for (size_t i = 0; i < bytes; i++)
        if (host[i] != want[i])
            fail_msg("%s at %dx%d: byte %zu is %d, want %d", what, w, h, i, host[i], want[i]);
    free(host);
}

static size_t random_cells(ts_gaze_cell *cells, size_t max)
{
    static const int grids[] = {1, 2, 4, 7, 14, 33};
    size_t n = below((uint32_t)max + 1);
    for (size_t i = 0; i < n; i++) {
        int g = grids[below(6)];
        cells[i] = (ts_gaze_cell){.cols = g,
                                  .rows = g,
                                  .col = (int)below((uint32_t)g),
                                  .row = (int)below((uint32_t)g),
                                  .grid = g};
    }
    return n;
}

static void one_twin_round(ts_opsfix *f, int w, int h, int round)
{
    ts_error err = {0};
    size_t n_px = (size_t)w * (size_t)h, bytes = 4 * n_px;
    uint8_t *a = malloc(bytes), *b = malloc(bytes), *want = malloc(bytes);
    uint16_t *top = malloc(2 * n_px);
    ts_gaze_cell cells[40];
    ts_gaze_shapes shapes = {0};
    ts_gaze *gaze;
    ts_gaze_result r;
    ts_gaze_options opt = {.geometry = (ts_gaze_geometry)(round % 3),
                           .alpha = (float)below(101) / 100,
                           .cell_scale = round % 5 == 4 ? 1.7 : 1,
                           .psnr = round % 2 == 0,
                           .output = round % 4 == 3 ? TS_GAZE_FULL_BLEND : TS_GAZE_INTERFRAME};
    ts_gaze_image first = {random_picture(f, a, bytes), 4, w, h};
    ts_gaze_image second = {random_picture(f, b, bytes), 4, w, h};
    size_t n = random_cells(cells, round % 3 ? 40 : 3);
    CHECK_OK(ts_gaze_create(f->device, &gaze, &err));
    CHECK_OK(ts_gaze_frame(gaze, f->queue, &first, NULL, 0, &opt, &r, &err));
    CHECK_OK(ts_gaze_frame(gaze, f->queue, &second, cells, n, &opt, &r, &err));
    CHECK_OK(ts_gaze_layout(cells, n, w, h, opt.geometry, opt.cell_scale, &shapes, &err));
    ref_gaze_top(shapes.rects, shapes.n, w, h, top);
    memcpy(want, a, bytes);
    ref_gaze_update(b, want, top, w, h, opt.output == TS_GAZE_FULL_BLEND, opt.alpha);
    compare(f, ts_gaze_current(gaze).buffer, want, bytes, r.path, w, h);
    uint64_t covered = 0;
    for (size_t i = 0; i < n_px; i++)
        covered += top[i] != 0;
    assert_int_equal(r.mask_pixels, covered);
    if (opt.psnr)
        ts_check_close(r.psnr_db, ref_gaze_psnr(want, b, n_px), 1e-9, 0, "psnr", 0);

    ts_buffer *dst;
    CHECK_OK(ts_buffer_create(f->device, bytes, &dst, &err));
    for (int kind = TS_GAZE_PANEL_OVERLAY; kind <= TS_GAZE_PANEL_MASK; kind++) {
        CHECK_OK(ts_gaze_panel(gaze, f->queue, &second, (ts_gaze_panel_kind)kind, opt.alpha, dst, w,
                               0, &err));
        if (kind == TS_GAZE_PANEL_ROWS) {
            CHECK_OK(ts_gaze_layout_rows(cells, n, w, h, &shapes, &err));
        } else {
            CHECK_OK(ts_gaze_layout(cells, n, w, h, opt.geometry, opt.cell_scale, &shapes, &err));
        }
        ref_gaze_top(shapes.rects, shapes.n, w, h, top);
        ref_gaze_panel(b, top, &shapes, w, h, (ts_gaze_panel_kind)kind, opt.alpha, want);
        compare(f, dst, want, bytes, ts_gaze_panel_name((ts_gaze_panel_kind)kind), w, h);
    }
    ts_buffer_unref(dst);
    ts_buffer_unref(first.buffer);
    ts_buffer_unref(second.buffer);
    ts_gaze_destroy(gaze);
    ts_gaze_shapes_finish(&shapes);
    free(a);
    free(b);
    free(want);
    free(top);
}

static void kernels_equal_their_twins_at_odd_sizes(void **state)
{
    static const int sizes[][2] = {{1, 1}, {3, 2}, {17, 33}, {64, 16}, {131, 77}, {16, 257}};
    for (int round = 0; round < 24; round++)
        one_twin_round(*state, sizes[round % 6][0], sizes[round % 6][1], round);
}

static void scores_equal_their_twin_at_any_grid(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    static const int cases[][3] = {
        {5, 3, 1}, {131, 77, 14}, {64, 64, 16}, {9, 7, 14}, {1300, 40, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int w = cases[i][0], h = cases[i][1], g = cases[i][2];
        size_t bytes = 4 * (size_t)w * (size_t)h;
        uint8_t *a = malloc(bytes), *b = malloc(bytes);
        double *want = malloc((size_t)(g * g) * sizeof *want);
        ts_gaze_source source;
        ts_gaze_fix fix;
        ts_gaze_image first = {random_picture(f, a, bytes), 4, w, h};
        ts_gaze_image second = {random_picture(f, b, bytes), 4, w, h};
        CHECK_OK(ts_patch_diff_create(f->device, &source, &err));
        json_t *options = json_pack("{s:i,s:f}", "grid", g, "threshold", 0.0);
        CHECK_OK(source.set(source.self, options, &err));
        json_decref(options);
        CHECK_OK(source.step(source.self, f->queue, &first, &fix, &err));
        assert_int_equal(fix.n_cells, 0);
        CHECK_OK(source.step(source.self, f->queue, &second, &fix, &err));
        ref_gaze_scores(b, a, w, h, g, want);
        for (int k = 0; k < g * g; k++)
            ts_check_close(ts_patch_diff_scores(&source)[k], want[k], 1e-5, 1e-5, "score",
                           (size_t)k);
        ts_gaze_source_finish(&source);
        ts_buffer_unref(first.buffer);
        ts_buffer_unref(second.buffer);
        free(a);
        free(b);
        free(want);
    }
}

static void keyframes_resets_and_new_sizes_take_the_whole_frame(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    clip c;
    ts_gaze *gaze;
    ts_gaze_result r;
    ts_gaze_options opt = {.keyframe_interval = 3, .psnr = true};
    clip_open(f, "birds384x216", 6, &c);
    CHECK_OK(ts_gaze_create(f->device, &gaze, &err));
    for (int t = 0; t < 6; t++) {
        ts_gaze_image frame = image(&c, t);
        CHECK_OK(ts_gaze_frame(gaze, f->queue, &frame, NULL, 0, &opt, &r, &err));
        assert_int_equal(r.keyframe, t % 3 == 0);
        assert_int_equal(r.psnr_infinite, t % 3 == 0);
        assert_string_equal(r.path, t % 3 == 0 ? "keyframe" : "dense-mask");
    }
    ts_gaze_reset(gaze);
    ts_gaze_image frame = image(&c, 1);
    CHECK_OK(ts_gaze_frame(gaze, f->queue, &frame, NULL, 0, &opt, &r, &err));
    assert_true(r.keyframe);
    frame.height /= 2;
    CHECK_OK(ts_gaze_frame(gaze, f->queue, &frame, NULL, 0, &opt, &r, &err));
    assert_true(r.keyframe);
    ts_gaze_destroy(gaze);
    clip_close(&c);
}

static void pixels_of_one_three_and_four_channels_become_rgba(void **state)
{
    ts_opsfix *f = *state;
    ts_error err = {0};
    enum {
        N = 131
    };
    static const int counts[] = {1, 3, 4};
    uint8_t src[4 * N], want[4 * N];
    ts_buffer *dst;
    CHECK_OK(ts_buffer_create(f->device, 4 * N, &dst, &err));
    for (int k = 0; k < 3; k++) {
        int c = counts[k];
        ts_buffer *b = random_picture(f, src, (size_t)(c * N));
        for (int i = 0; i < N; i++)
            for (int ch = 0; ch < 4; ch++)
                want[4 * i + ch] = ch == 3 && c < 4 ? 255 : src[c * i + (c == 1 ? 0 : ch)];
        CHECK_OK(ts_gaze_expand(f->queue, b, 4, c, N, dst, &err));
        compare(f, dst, want, sizeof want, "expand", N, 1);
        ts_buffer_unref(b);
    }
    CHECK_STATUS(TS_E_SHAPE, ts_gaze_expand(f->queue, dst, 0, 2, N, dst, &err));
    ts_buffer_unref(dst);
}

static void averages_and_texts_follow_the_rules(void **state)
{
    (void)state;
    char text[8];
    ts_gaze_ema e = {0};
    ts_gaze_ema_ratio(&e, 0.5);
    ts_check_close(e.value, 0.5, 0, 0, "first", 0);
    ts_gaze_ema_ratio(&e, NAN); /* counts as 0 */
    ts_check_close(e.value, 0.425, 1e-12, 0, "nan", 0);
    ts_gaze_ema_ratio(&e, 9); /* clamped to 1 */
    ts_check_close(e.value, 0.425 * 0.85 + 0.15, 1e-12, 0, "clamped", 0);
    ts_gaze_ema p = {0};
    ts_gaze_ema_psnr(&p, INFINITY);
    ts_gaze_ema_psnr(&p, 30); /* from infinity to the sample */
    ts_check_close(p.value, 30, 0, 0, "after inf", 0);
    ts_gaze_ema_psnr(&p, NAN);
    ts_gaze_ema_psnr(&p, 40);
    ts_check_close(p.value, 31.5, 1e-12, 0, "ema", 0);
    ts_gaze_text_number(33.752, text);
    assert_string_equal(text, "033.8");
    ts_gaze_text_number(INFINITY, text);
    assert_string_equal(text, "999.9");
    ts_gaze_text_number(NAN, text);
    assert_string_equal(text, "---.-");
    ts_gaze_text_ratio(0.42052, text);
    assert_string_equal(text, "042.1%");
    ts_gaze_text_ratio(NAN, text);
    assert_string_equal(text, "---.-%");
}

static void unknown_names_are_refused_with_the_list(void **state)
{
    (void)state;
    ts_error err = {0};
    ts_gaze_geometry g;
    ts_gaze_panel_kind p;
    ts_gaze_output o;
    CHECK_STATUS(TS_E_OPTION, ts_gaze_geometry_parse("sparse", &g, &err));
    CHECK_STATUS(TS_E_OPTION, ts_gaze_panel_parse("", &p, &err));
    assert_int_equal(ts_gaze_output_parse("x", &o, &err), TS_E_OPTION);
    assert_non_null(strstr(err.text, "interframe"));
    ts_error_clear(&err);
    CHECK_OK(ts_gaze_geometry_parse("union-dedup", &g, &err));
    assert_int_equal(g, TS_GAZE_DEDUPLICATED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patch_differences_and_their_reconstruction_match),
        cmocka_unit_test(recorded_tokens_give_the_recorded_masks),
        cmocka_unit_test(every_visualisation_matches),
        cmocka_unit_test(readout_lists_match),
        cmocka_unit_test(video_tokens_are_binned_capped_and_filled),
        cmocka_unit_test(kernels_equal_their_twins_at_odd_sizes),
        cmocka_unit_test(scores_equal_their_twin_at_any_grid),
        cmocka_unit_test(keyframes_resets_and_new_sizes_take_the_whole_frame),
        cmocka_unit_test(pixels_of_one_three_and_four_channels_become_rgba),
        cmocka_unit_test(averages_and_texts_follow_the_rules),
        cmocka_unit_test(unknown_names_are_refused_with_the_list),
    };
    return cmocka_run_group_tests(tests, ts_opsfix_setup, ts_opsfix_teardown);
}
