/*
 * The render path against its floors, in one run: a C loop with AVX2 gathers that does the same
 * work (f32 → packed table → Y, U, V planes), and memcpy of the input. CPU time of the process.
 * One JSON line per case; fails on the ratio of the fixed-range pass to the C loop only.
 *
 *     bench_colormap [--quick]
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "cl/viz/colormap.h"
#include "cl/viz/viz.h"

#if defined(__x86_64__)
#    include <immintrin.h>
#endif

static const double MAX_RATIO = 1.3;

static double cpu_s(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static double wall_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef struct bench {
    ts_device *device;
    ts_queue *queue;
    int w, h;
    float *input;
    uint8_t *y, *u, *v;
    uint32_t lut[256];
    ts_entry entry;
    ts_viz *viz;
    ts_view *view;
    ts_pixel_format format;
    bool fresh; /* a new version each time: the range pass runs */
    ts_error err;
    double (*work)(struct bench *b);
} bench;

static void die(bench *b, const char *what)
{
    fprintf(stderr, "%s: %s %s\n", what, b->err.text, b->err.detail ? b->err.detail : "");
    exit(1);
}

/* ---- floors ---- */

static void make_lut(uint32_t lut[256])
{
    const ts_colormap *map;
    bool reversed;
    ts_colormap_find("viridis", &map, &reversed);
    for (int i = 0; i < 256; i++) {
        float c[3];
        ts_colormap_eval(map, false, false, i / 255.0, c);
        int r = (int)(c[0] * 255 + 0.5f), g = (int)(c[1] * 255 + 0.5f),
            b = (int)(c[2] * 255 + 0.5f);
        int y = (16839 * r + 33059 * g + 6420 * b + 32768 + (16 << 16)) >> 16;
        int u = (-9719 * r - 19081 * g + 28800 * b + 32768 + (128 << 16)) >> 16;
        int v = (28800 * r - 24116 * g - 4684 * b + 32768 + (128 << 16)) >> 16;
        lut[i] = (uint32_t)(y | u << 8 | v << 20);
    }
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) static __m256i colours8(const float *p, const uint32_t *lut)
{
    const __m256 scale = _mm256_set1_ps(255.0f / 4.0f), half = _mm256_set1_ps(0.5f);
    __m256 t =
        _mm256_fmadd_ps(_mm256_add_ps(_mm256_loadu_ps(p), _mm256_set1_ps(2.0f)), scale, half);
    t = _mm256_min_ps(_mm256_max_ps(t, _mm256_setzero_ps()), _mm256_set1_ps(255.0f));
    return _mm256_i32gather_epi32((const int *)lut, _mm256_cvttps_epi32(t), 4);
}

__attribute__((target("avx2,fma"))) static void put_y8(__m256i c, uint8_t *y)
{
    __m256i m = _mm256_and_si256(c, _mm256_set1_epi32(255));
    __m128i w = _mm_packus_epi32(_mm256_castsi256_si128(m), _mm256_extracti128_si256(m, 1));
    _mm_storel_epi64((__m128i *)y, _mm_packus_epi16(w, w));
}

/* Planes of a field with even sides, in steps of 8 columns. */
__attribute__((target("avx2,fma"))) static void c_loop(bench *b)
{
    for (int y = 0; y < b->h; y += 2) {
        const float *r0 = b->input + (size_t)y * (size_t)b->w, *r1 = r0 + b->w;
        uint8_t *y0 = b->y + (size_t)y * (size_t)b->w, *y1 = y0 + b->w;
        uint8_t *u = b->u + (size_t)(y / 2) * (size_t)(b->w / 2),
                *v = b->v + (size_t)(y / 2) * (size_t)(b->w / 2);
        for (int x = 0; x < b->w; x += 8) {
            __m256i c0 = colours8(r0 + x, b->lut), c1 = colours8(r1 + x, b->lut);
            put_y8(c0, y0 + x);
            put_y8(c1, y1 + x);
            __m256i s = _mm256_add_epi32(_mm256_srli_epi32(c0, 8), _mm256_srli_epi32(c1, 8));
            s = _mm256_hadd_epi32(s, s); /* pairs, in both halves */
            s = _mm256_add_epi32(s, _mm256_set1_epi32(2 | 2 << 12));
            uint32_t sums[8];
            _mm256_storeu_si256((__m256i *)sums, s);
            const int at[4] = {0, 1, 4, 5};
            for (int i = 0; i < 4; i++) {
                u[x / 2 + i] = (uint8_t)(sums[at[i]] >> 2);
                v[x / 2 + i] = (uint8_t)(sums[at[i]] >> 14);
            }
        }
    }
}

static bool have_loop(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#else
static void c_loop(bench *b)
{
    (void)b;
}

static bool have_loop(void)
{
    return false;
}
#endif

static double work_loop(bench *b)
{
    c_loop(b);
    return b->y[b->w];
}

static double work_copy(bench *b)
{
    static float *copy;
    size_t bytes = (size_t)b->w * (size_t)b->h * sizeof *copy;
    copy = realloc(copy, bytes);
    memcpy(copy, b->input, bytes);
    return (double)copy[b->w];
}

/* ---- subject ---- */

static double work_render(bench *b)
{
    ts_viz_output out;
    if (b->fresh)
        b->entry.version++;
    ts_viz_input in = {.view = b->view, .entry = &b->entry, .format = b->format};
    if (ts_viz_render(b->viz, b->queue, &in, &out, &b->err) != TS_OK)
        die(b, "render");
    double first = out.pixels->plane[0][0];
    ts_viz_output_finish(&out);
    return first;
}

static void set_view(bench *b, const char *text)
{
    json_t *json = NULL;
    ts_view_unref(b->view);
    ts_viz_destroy(b->viz);
    if (ts_json_parse(text, strlen(text), &json, &b->err) != TS_OK ||
        ts_view_parse(json, &b->view, &b->err) != TS_OK ||
        ts_viz_create(b->device, &b->viz, &b->err) != TS_OK)
        die(b, text);
    json_decref(json);
}

/* ---- measuring ---- */

typedef struct timing {
    double cpu_ns, wall_ms, first_ms;
} timing;

/* Minimum over rounds of subject and floor, interleaved. */
static void measure(bench *b, double (*subject)(bench *), double (*floor_work)(bench *), int rounds,
                    double batch_s, timing *s, timing *f)
{
    double t0 = wall_s();
    subject(b);
    s->first_ms = (wall_s() - t0) * 1e3;
    subject(b);
    double px = (double)b->w * b->h;
    s->cpu_ns = s->wall_ms = f->cpu_ns = f->wall_ms = INFINITY;
    for (int r = 0; r < rounds; r++) {
        for (int which = 0; which < 2; which++) {
            double (*work)(bench *) = which ? floor_work : subject;
            timing *t = which ? f : s;
            double c0 = cpu_s(), w0 = wall_s();
            int n = 0;
            do {
                work(b);
                n++;
            } while (wall_s() - w0 < batch_s);
            t->cpu_ns = fmin(t->cpu_ns, (cpu_s() - c0) * 1e9 / n / px);
            t->wall_ms = fmin(t->wall_ms, (wall_s() - w0) * 1e3 / n);
        }
    }
}

static void set_size(bench *b, int w, int h)
{
    size_t n = (size_t)w * (size_t)h;
    b->w = w;
    b->h = h;
    b->input = realloc(b->input, n * sizeof *b->input);
    b->y = realloc(b->y, n);
    b->u = realloc(b->u, n / 4 + 16);
    b->v = realloc(b->v, n / 4 + 16);
    for (size_t i = 0; i < n; i++)
        b->input[i] =
            (float)(sin((double)(i % (size_t)w) * 0.03) + cos((double)(i / (size_t)w) * 0.035)) *
            0.99f;
    ts_tensor_unref(b->entry.tensor);
    ts_shape shape = TS_SHAPE(h, w);
    if (ts_tensor_from_host(b->queue, TS_F32, &shape, b->input, n * sizeof *b->input,
                            &b->entry.tensor, &b->err) != TS_OK)
        die(b, "tensor");
    b->entry.version++;
}

static const char *const FIXED = "{\"normalize\":{\"mode\":\"fixed\",\"lo\":-2,\"hi\":2}}";

#define FOUR(x) x "," x "," x "," x
#define PANELS_64 \
    "{\"canvas\":{\"width\":1056,\"height\":1056},\"panels\":[" FOUR(FOUR(FOUR("{}"))) "]}"

int main(int argc, char **argv)
{
    bool quick = argc > 1 && strcmp(argv[1], "--quick") == 0;
    int rounds = quick ? 3 : 7, bad = 0;
    double batch = quick ? 0.05 : 0.2;
    bench b = {.entry = {.name = "x", .version = 1}};
    size_t index = 0;
    if (ts_device_select(getenv("TENSORSCOPE_DEVICE"), &index, &b.err) != TS_OK ||
        ts_device_open(index, &(ts_device_options){0}, &b.device, &b.err) != TS_OK ||
        ts_queue_create(b.device, "bench", &b.queue, &b.err) != TS_OK)
        die(&b, "device");
    make_lut(b.lut);
    static const struct {
        const char *name, *view;
        int w, h;
        ts_pixel_format format;
        bool fresh, loop, limit;
    } cases[] = {
        {"fixed-i420", NULL, 1920, 1080, TS_PIXELS_I420, false, true, true},
        {"fixed-i420", NULL, 512, 512, TS_PIXELS_I420, false, true, true},
        {"minmax-i420", "{}", 512, 512, TS_PIXELS_I420, true, true, false},
        {"minmax-rgb8", "{}", 512, 512, TS_PIXELS_RGB8, true, true, false},
        {"percentile-i420", "{\"normalize\":{\"mode\":\"percentile\"}}", 512, 512, TS_PIXELS_I420,
         true, true, false},
        {"meanstd-i420", "{\"normalize\":{\"mode\":\"meanstd\"}}", 512, 512, TS_PIXELS_I420, true,
         true, false},
        {"zoom-bilinear-i420",
         "{\"viewport\":{\"cx\":256,\"cy\":256,\"zoom\":3},\"resize\":{\"filter\":\"bilinear\"}}",
         512, 512, TS_PIXELS_I420, false, true, false},
        {"area-half-i420", "{\"resize\":{\"scale\":0.5,\"filter\":\"area\"}}", 1024, 1024,
         TS_PIXELS_I420, true, true, false},
        {"panels-4x1024",
         "{\"canvas\":{\"width\":1024,\"height\":1024},\"panels\":[{},{\"colormap\":\"hot\"},"
         "{\"title\":\"c\"},{\"normalize\":{\"mode\":\"symmetric\"}}]}",
         1024, 1024, TS_PIXELS_I420, true, true, false},
        {"minmax-i420", "{}", 4096, 4096, TS_PIXELS_I420, true, true, false},
        {"percentile-i420", "{\"normalize\":{\"mode\":\"percentile\"}}", 4096, 4096, TS_PIXELS_I420,
         true, true, false},
        {"panels-64x128", PANELS_64, 128, 128, TS_PIXELS_I420, true, true, false},
        {"colorbar-rgb8", "{\"overlay\":{\"colorbar\":true,\"title\":\"{name} {min}\"}}", 512, 512,
         TS_PIXELS_RGB8, true, true, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        timing s, f;
        set_size(&b, cases[i].w, cases[i].h);
        set_view(&b, cases[i].view ? cases[i].view : FIXED);
        b.format = cases[i].format;
        b.fresh = cases[i].fresh;
        bool loop = cases[i].loop && have_loop();
        measure(&b, work_render, loop ? work_loop : work_copy, rounds, batch, &s, &f);
        double ratio = s.cpu_ns / f.cpu_ns;
        bool failed = cases[i].limit && loop && ts_device_caps(b.device)->kind == TS_DEVICE_CPU &&
                      ratio > MAX_RATIO;
        bad += failed;
        printf("{\"name\":\"colormap/%s\",\"params\":\"%dx%d\",\"ns_px\":%.3f,\"wall_ms\":%.3f,"
               "\"first_ms\":%.0f,\"floor\":\"%s\",\"floor_ns_px\":%.3f,\"ratio\":%.2f,"
               "\"limit\":%s,\"device\":\"%s\"}\n",
               cases[i].name, b.w, b.h, s.cpu_ns, s.wall_ms, s.first_ms,
               loop ? "AVX2 C loop" : "memcpy", f.cpu_ns, ratio, cases[i].limit ? "1.3" : "null",
               ts_device_caps(b.device)->name);
        fflush(stdout);
    }
    ts_viz_destroy(b.viz);
    ts_view_unref(b.view);
    ts_tensor_unref(b.entry.tensor);
    ts_queue_destroy(b.queue);
    ts_device_close(b.device);
    free(b.input);
    free(b.y);
    free(b.u);
    free(b.v);
    return bad ? 1 : 0;
}
