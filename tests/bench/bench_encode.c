/*
 * Encoders against their floors, in one run: WebP from planes against libwebp method 0 called
 * bare, the exact writer against libwebp lossless. Peers (JPEG, PNG, libwebp's simple call) are
 * printed beside them. Fails only on ratios.
 *
 *     bench_encode [--quick]
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <webp/decode.h>
#include <webp/encode.h>

#include "server/codec.h"

static double cpu_s(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

typedef struct picture {
    const char *name;
    int w, h;
    uint8_t *index, *y, *u, *v, *rgb;
    uint8_t palette[256][3];
    int n_colors;
} picture;

static uint64_t rng_state = 0x9e3779b97f4a7c15u;

static uint32_t rng(void)
{
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;
    return (uint32_t)(rng_state >> 32);
}

static uint8_t index_of(const char *kind, int x, int y, int w, int h)
{
    if (!strcmp(kind, "smooth"))
        return (uint8_t)(127.5 + 60 * sin(x * 0.03) + 60 * cos(y * 0.035 + x * 0.011));
    if (!strcmp(kind, "noise"))
        return (uint8_t)rng();
    if (!strcmp(kind, "blocks"))
        return (uint8_t)(((uint32_t)(x / 16) * 2654435761u ^ (uint32_t)(y / 16) * 40503u) >> 7);
    int class = 0; /* mask: six discs */
    for (int i = 0; i < 6; i++) {
        double dx = x - w * (0.15 + 0.14 * i), dy = y - h * (0.3 + 0.35 * (i % 2));
        if (dx * dx + dy * dy < 0.02 * w * h)
            class = i + 1;
    }
    return (uint8_t) class;
}

static void planes_of(picture *p)
{
    size_t w = (size_t)p->w, n = w * (size_t)p->h, cw = (w + 1) / 2;
    p->y = malloc(n);
    p->u = malloc(cw * (((size_t)p->h + 1) / 2));
    p->v = malloc(cw * (((size_t)p->h + 1) / 2));
    for (size_t i = 0; i < n; i++) {
        const uint8_t *c = p->rgb + 3 * i;
        size_t x = i % w, y = i / w, k = y / 2 * cw + x / 2;
        p->y[i] = (uint8_t)lround(16 + 0.257 * c[0] + 0.504 * c[1] + 0.098 * c[2]);
        if (x % 2 || y % 2)
            continue;
        p->u[k] = (uint8_t)lround(128 - 0.148 * c[0] - 0.291 * c[1] + 0.439 * c[2]);
        p->v[k] = (uint8_t)lround(128 + 0.439 * c[0] - 0.368 * c[1] - 0.071 * c[2]);
    }
}

static void make(picture *p, const char *kind, int w, int h)
{
    size_t n = (size_t)w * (size_t)h;
    *p = (picture){.name = kind, .w = w, .h = h, .n_colors = strcmp(kind, "mask") ? 256 : 7};
    p->index = malloc(n);
    p->rgb = malloc(3 * n);
    for (int i = 0; i < 256; i++) { /* a ramp through blue, green and yellow; masks: loud colours */
        p->palette[i][0] = (uint8_t)(p->n_colors == 7 ? i * 97 : i * i / 255);
        p->palette[i][1] = (uint8_t)(p->n_colors == 7 ? i * 53 : i);
        p->palette[i][2] = (uint8_t)(p->n_colors == 7 ? i * 151 : 255 - i / 2);
    }
    for (size_t i = 0; i < n; i++) {
        p->index[i] = index_of(kind, (int)(i % (size_t)w), (int)(i / (size_t)w), w, h);
        memcpy(p->rgb + 3 * i, p->palette[p->index[i]], 3);
    }
    planes_of(p);
}

/* The given video frame, repeated to the size. */
static bool make_video(picture *p, int w, int h)
{
    enum {
        SIDE = 448
    };
    static uint8_t file[SIDE * SIDE * 3 / 2];
    FILE *f = fopen(TS_TEST_DIR "/golden/planes/video_448x448.yuv", "rb");
    if (!f || fread(file, 1, sizeof file, f) != sizeof file)
        return false;
    fclose(f);
    *p = (picture){.name = "video", .w = w, .h = h};
    uint8_t **planes[3] = {&p->y, &p->u, &p->v};
    const uint8_t *from = file;
    for (int k = 0; k < 3; k++) {
        int pw = k ? (w + 1) / 2 : w, ph = k ? (h + 1) / 2 : h, side = k ? SIDE / 2 : SIDE;
        *planes[k] = malloc((size_t)pw * (size_t)ph);
        for (int y = 0; y < ph; y++)
            for (int x = 0; x < pw; x++)
                (*planes[k])[y * pw + x] = from[y % side * side + x % side];
        from += side * side;
    }
    return true;
}

static void unmake(picture *p)
{
    free(p->index);
    free(p->rgb);
    free(p->y);
    free(p->u);
    free(p->v);
}

/* ---- subjects and floors ---- */

typedef struct run {
    picture *p;
    ts_encoder *enc;
    ts_buf out;
    WebPMemoryWriter writer;
    int level;
} run;

static size_t encode(run *r, const ts_pixels *px, ts_codec codec)
{
    ts_error err = {0};
    ts_encode_options opt = {.codec = codec, .quality = 75};
    ts_buf_reset(&r->out);
    if (ts_frame_encode(px, &opt, r->enc, &r->out, &err) != TS_OK) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
    return r->out.len;
}

static size_t encode_planes(run *r, ts_codec codec)
{
    const picture *p = r->p;
    size_t c = ((size_t)p->w + 1) / 2;
    ts_pixels px = {.format = TS_PIXELS_I420,
                    .width = p->w,
                    .height = p->h,
                    .plane = {p->y, p->u, p->v},
                    .stride = {(size_t)p->w, c, c}};
    return encode(r, &px, codec);
}

static size_t encode_indexed(run *r, ts_codec codec)
{
    const picture *p = r->p;
    ts_pixels px = {.format = TS_PIXELS_INDEXED,
                    .width = p->w,
                    .height = p->h,
                    .plane = {p->index},
                    .stride = {(size_t)p->w},
                    .n_colors = p->n_colors};
    memcpy(px.palette, p->palette, sizeof px.palette);
    return encode(r, &px, codec);
}

static size_t ours_lossy(run *r)
{
    return encode_planes(r, TS_CODEC_WEBP);
}

static size_t ours_jpeg(run *r)
{
    return encode_planes(r, TS_CODEC_JPEG);
}

static size_t ours_exact(run *r)
{
    return encode_indexed(r, TS_CODEC_WEBP_LOSSLESS);
}

static size_t ours_png(run *r)
{
    return encode_indexed(r, TS_CODEC_PNG);
}

static size_t bare(run *r, WebPConfig *config, bool planes)
{
    WebPPicture pic;
    if (!WebPPictureInit(&pic))
        exit(1);
    pic.width = r->p->w;
    pic.height = r->p->h;
    pic.writer = WebPMemoryWrite;
    pic.custom_ptr = &r->writer;
    r->writer.size = 0; /* keeps its memory, as ours does */
    if (planes) {
        pic.y = r->p->y;
        pic.u = r->p->u;
        pic.v = r->p->v;
        pic.y_stride = r->p->w;
        pic.uv_stride = (r->p->w + 1) / 2;
    } else {
        pic.use_argb = 1;
        if (!WebPPictureImportRGB(&pic, r->p->rgb, 3 * r->p->w))
            exit(1);
    }
    if (!WebPEncode(config, &pic))
        exit(1);
    WebPPictureFree(&pic);
    return r->writer.size;
}

static size_t floor_lossy(run *r)
{
    WebPConfig config;
    if (!WebPConfigInit(&config))
        exit(1);
    config.quality = 75;
    config.method = 0;
    return bare(r, &config, true);
}

static size_t floor_lossless(run *r)
{
    WebPConfig config;
    if (!WebPConfigInit(&config) || !WebPConfigLosslessPreset(&config, r->level))
        exit(1);
    return bare(r, &config, false);
}

static size_t simple_call(run *r)
{
    uint8_t *out;
    size_t n = WebPEncodeRGB(r->p->rgb, r->p->w, r->p->h, 3 * r->p->w, 75, &out);
    WebPFree(out);
    return n;
}

/* ---- measuring ---- */

typedef size_t (*subject)(run *r);

static int quick, failures;

static double once(subject f, run *r, int reps)
{
    double t = cpu_s();
    for (int i = 0; i < reps; i++)
        f(r);
    return (cpu_s() - t) / reps;
}

static int reps_for(subject f, run *r)
{
    double t = once(f, r, 1);
    int n = (int)((quick ? 0.03 : 0.2) / (t > 1e-6 ? t : 1e-6));
    return n < 1 ? 1 : n > 500 ? 500 : n;
}

static void compare(const char *name, run *r, subject ours, subject floor, double max_time,
                    double max_bytes)
{
    size_t bytes = ours(r), floor_bytes = floor ? floor(r) : 0;
    double best = INFINITY, best_floor = INFINITY, px = (double)r->p->w * r->p->h, t;
    int n = reps_for(ours, r), m = floor ? reps_for(floor, r) : 0, rounds = 5;
    for (int i = 0; i < rounds; i++) { /* A B A B: a busy machine slows both */
        if ((t = once(ours, r, n)) < best)
            best = t;
        if (floor && (t = once(floor, r, m)) < best_floor)
            best_floor = t;
    }
    printf("{\"bench\":\"encode\",\"case\":\"%s\",\"picture\":\"%s\",\"width\":%d,\"height\":%d,"
           "\"n\":%d,\"ns_per_px\":%.3f,\"bytes\":%zu",
           name, r->p->name, r->p->w, r->p->h, n * rounds, 1e9 * best / px, bytes);
    if (floor) {
        double ratio = best / best_floor, size = (double)bytes / (double)floor_bytes;
        bool ok = ratio <= max_time && size <= max_bytes;
        failures += !ok;
        printf(",\"floor_ns_per_px\":%.3f,\"floor_bytes\":%zu,\"ratio\":%.4f,\"target\":%.3f,"
               "\"size_ratio\":%.4f,\"size_target\":%.2f,\"ok\":%s",
               1e9 * best_floor / px, floor_bytes, ratio, max_time, size, max_bytes,
               ok ? "true" : "false");
    }
    printf("}\n");
    fflush(stdout);
}

/* The exact file gives the indices' colours back. */
static void prove_exact(run *r)
{
    int w, h;
    ours_exact(r);
    uint8_t *rgb = WebPDecodeRGB(r->out.data, r->out.len, &w, &h);
    if (!rgb || memcmp(rgb, r->p->rgb, 3 * (size_t)w * (size_t)h) != 0) {
        fprintf(stderr, "%s: the exact file decodes to other pixels\n", r->p->name);
        exit(1);
    }
    WebPFree(rgb);
}

static void prove_lossy(run *r)
{
    size_t n = ours_lossy(r), m = floor_lossy(r);
    if (n != m || memcmp(r->out.data, r->writer.mem, n) != 0) {
        fprintf(stderr, "%s: not the bytes of the bare call\n", r->p->name);
        exit(1);
    }
}

static void bench_indexed(run *r)
{
    bool runs = !strcmp(r->p->name, "mask") || !strcmp(r->p->name, "blocks");
    prove_exact(r);
    prove_lossy(r);
    compare("webp", r, ours_lossy, floor_lossy, 1.05, 1.0);
    r->level = runs ? 1 : 0;
    compare(runs ? "exact/lossless-1" : "exact/lossless-0", r, ours_exact, floor_lossless, 0.1,
            runs ? 1.15 : 1.2);
    compare("jpeg", r, ours_jpeg, NULL, 0, 0);
    compare("png", r, ours_png, NULL, 0, 0);
    compare("webp-simple-call", r, simple_call, NULL, 0, 0);
}

int main(int argc, char **argv)
{
    static const int sizes[][2] = {{640, 360}, {1280, 720}, {1920, 1080}};
    static const char *const kinds[] = {"smooth", "noise", "blocks", "mask"};
    ts_error err = {0};
    run r = {0};
    quick = argc > 1 && !strcmp(argv[1], "--quick");
    WebPMemoryWriterInit(&r.writer);
    if (ts_encoder_create(&r.enc, &err) != TS_OK)
        return 1;
    for (int s = quick ? 1 : 0; s < (quick ? 2 : 3); s++) {
        picture p;
        r.p = &p;
        for (int k = 0; k < 4; k++) {
            make(&p, kinds[k], sizes[s][0], sizes[s][1]);
            bench_indexed(&r);
            unmake(&p);
        }
        if (!make_video(&p, sizes[s][0], sizes[s][1]))
            return 1;
        prove_lossy(&r);
        compare("webp", &r, ours_lossy, floor_lossy, 1.05, 1.0);
        compare("jpeg", &r, ours_jpeg, NULL, 0, 0);
        unmake(&p);
    }
    WebPMemoryWriterClear(&r.writer);
    ts_encoder_destroy(r.enc);
    ts_buf_finish(&r.out);
    printf("{\"bench\":\"encode\",\"failures\":%d}\n", failures);
    return failures ? 1 : 0;
}
