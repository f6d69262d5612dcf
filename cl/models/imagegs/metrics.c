#include "cl/models/imagegs/metrics.h"

#include <math.h>
#include <stdlib.h>

#include "cl/models/imagegs/filter.h"
#include "cl/models/imagegs/flip.h"

enum {
    RADIUS = 5,
    SCALES = 5,
    MS_SSIM_LEAST = 161 /* the short side at which the fifth scale still holds a window */
};

static const double C1 = 1e-4, C2 = 9e-4;

static void make_window(float k[2 * RADIUS + 1])
{
    double w[2 * RADIUS + 1], sum = 0;
    for (int i = 0; i <= 2 * RADIUS; ++i)
        sum += w[i] = exp(-(i - RADIUS) * (i - RADIUS) / (2 * 1.5 * 1.5));
    for (int i = 0; i <= 2 * RADIUS; ++i)
        k[i] = (float)(w[i] / sum);
}

/* Seven planes of scratch: products, five filtered planes and the filter's own. */
enum {
    SSIM_PLANES = 7
};

typedef struct ssim_means {
    double full, contrast;
} ssim_means;

static ssim_means plane_ssim(const float *a, const float *b, int w, int h, ts_gs_border border,
                             float *scratch)
{
    size_t n = (size_t)w * (size_t)h;
    float k[2 * RADIUS + 1], *out[5], *product = scratch, *own = scratch + n;
    make_window(k);
    for (int i = 0; i < 5; ++i) {
        const float *x = i == 1 || i == 3 ? b : a, *y = i == 3 || i == 4 ? b : a;
        out[i] = scratch + (size_t)(2 + i) * n;
        for (size_t p = 0; p < n && i >= 2; ++p)
            product[p] = x[p] * y[p];
        ts_gs_filter(i < 2 ? x : product, w, h, k, k, RADIUS, border, own, out[i]);
    }
    if (border == TS_GS_BORDER_VALID)
        n = (size_t)(w - 2 * RADIUS) * (size_t)(h - 2 * RADIUS);
    ssim_means m = {0, 0};
    for (size_t p = 0; p < n; ++p) {
        double ma = (double)out[0][p], mb = (double)out[1][p];
        double va = (double)out[2][p] - ma * ma, vb = (double)out[3][p] - mb * mb;
        double cs = (2 * ((double)out[4][p] - ma * mb) + C2) / (va + vb + C2);
        m.contrast += cs;
        m.full += cs * (2 * ma * mb + C1) / (ma * ma + mb * mb + C1);
    }
    m.contrast /= (double)n;
    m.full /= (double)n;
    return m;
}

/* 2 x 2 means; an odd side gets a zero row or column on both ends, counted in the means. */
static void halve(const float *src, int w, int h, float *dst, int *out_w, int *out_h)
{
    int px = w % 2, py = h % 2, ow = (w + 2 * px) / 2, oh = (h + 2 * py) / 2;
    for (int y = 0; y < oh; ++y)
        for (int x = 0; x < ow; ++x) {
            float sum = 0;
            for (int j = 0; j < 2; ++j)
                for (int i = 0; i < 2; ++i) {
                    int sx = 2 * x - px + i, sy = 2 * y - py + j;
                    if (sx >= 0 && sx < w && sy >= 0 && sy < h)
                        sum += src[(size_t)sy * (size_t)w + (size_t)sx];
                }
            dst[(size_t)y * (size_t)ow + (size_t)x] = sum / 4;
        }
    *out_w = ow;
    *out_h = oh;
}

static double plane_ms_ssim(const float *a, const float *b, int w, int h, float *scratch)
{
    static const double weight[SCALES] = {0.0448, 0.2856, 0.3001, 0.2363, 0.1333};
    size_t n = (size_t)w * (size_t)h;
    float *pair[2][2] = {{scratch + 7 * n, scratch + 8 * n}, {scratch + 9 * n, scratch + 10 * n}};
    double product = 1;
    for (int s = 0; s < SCALES; ++s) {
        ssim_means m = plane_ssim(a, b, w, h, TS_GS_BORDER_VALID, scratch);
        double v = s + 1 < SCALES ? m.contrast : m.full;
        product *= pow(fmax(v, 0), weight[s]);
        if (s + 1 == SCALES)
            break;
        int ow, oh;
        halve(a, w, h, pair[s % 2][0], &ow, &oh);
        halve(b, w, h, pair[s % 2][1], &ow, &oh);
        a = pair[s % 2][0];
        b = pair[s % 2][1];
        w = ow;
        h = oh;
    }
    return product;
}

static double mean_square(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; ++i) {
        double d = (double)a[i] - (double)b[i];
        sum += d * d;
    }
    return sum / (double)n;
}

static double psnr_of(double mse)
{
    return mse <= 1e-7 ? INFINITY : -10 * log10(mse);
}

static void differences(const float *a, const float *b, int channels, size_t n, ts_gs_metrics *m)
{
    double sum = 0, square = 0, most = 0;
    size_t over[3] = {0, 0, 0};
    for (size_t i = 0; i < n; ++i) {
        double d = 0;
        for (int c = 0; c < channels; ++c)
            d += fabs((double)a[(size_t)c * n + i] - (double)b[(size_t)c * n + i]);
        d /= channels;
        sum += d;
        square += d * d;
        most = fmax(most, d);
        over[0] += d > 0.01;
        over[1] += d > 0.05;
        over[2] += d > 0.1;
    }
    double inv = 1 / (double)n;
    m->mean_diff = sum * inv;
    m->max_diff = most;
    m->std_diff = sqrt(fmax(square * inv - m->mean_diff * m->mean_diff, 0));
    m->over_1 = 100 * (double)over[0] * inv;
    m->over_5 = 100 * (double)over[1] * inv;
    m->over_10 = 100 * (double)over[2] * inv;
}

ts_status ts_gs_metrics_quick(const float *a, const float *b, int channels, int height, int width,
                              double *psnr, double *ssim, ts_error *err)
{
    size_t n = (size_t)width * (size_t)height;
    float *scratch = calloc(SSIM_PLANES * n, sizeof *scratch);
    if (!scratch)
        return ts_fail(err, TS_E_NO_MEMORY, "metrics of %d x %d", width, height);
    *psnr = psnr_of(mean_square(a, b, n * (size_t)channels));
    *ssim = 0;
    for (int c = 0; c < channels; ++c)
        *ssim += plane_ssim(a + (size_t)c * n, b + (size_t)c * n, width, height, TS_GS_BORDER_ZERO,
                            scratch)
                     .full /
                 channels;
    free(scratch);
    return TS_OK;
}

ts_status ts_gs_metrics_compute(const float *a, const float *b, int channels, int height, int width,
                                ts_gs_metrics *m, float *flip_map, ts_error *err)
{
    size_t n = (size_t)width * (size_t)height;
    int shorter = width < height ? width : height;
    *m = (ts_gs_metrics){.ms_ssim = NAN, .flip = NAN, .ssim_valid = NAN};
    ts_status st = ts_gs_metrics_quick(a, b, channels, height, width, &m->psnr, &m->ssim, err);
    if (st != TS_OK)
        return st;
    float *scratch = calloc((SSIM_PLANES + 4) * n, sizeof *scratch);
    if (!scratch)
        return ts_fail(err, TS_E_NO_MEMORY, "metrics of %d x %d", width, height);
    if (shorter > 2 * RADIUS)
        m->ssim_valid = 0;
    if (shorter >= MS_SSIM_LEAST)
        m->ms_ssim = 0;
    for (int c = 0; c < channels; ++c) {
        const float *pa = a + (size_t)c * n, *pb = b + (size_t)c * n;
        if (shorter > 2 * RADIUS)
            m->ssim_valid +=
                plane_ssim(pa, pb, width, height, TS_GS_BORDER_VALID, scratch).full / channels;
        if (shorter >= MS_SSIM_LEAST)
            m->ms_ssim += plane_ms_ssim(pa, pb, width, height, scratch) / channels;
    }
    free(scratch);
    differences(a, b, channels, n, m);
    return channels >= 3 ? ts_gs_flip(a, b, height, width, flip_map, &m->flip, err) : TS_OK;
}

json_t *ts_gs_number(double v)
{
    if (isnan(v))
        return json_null();
    if (isinf(v))
        return json_string(v > 0 ? "inf" : "-inf");
    return json_real(v);
}

json_t *ts_gs_metrics_json(const ts_gs_metrics *m)
{
    const struct {
        const char *name;
        double value;
    } all[] = {
        {"psnr", m->psnr},           {"ssim", m->ssim},         {"ssim_valid", m->ssim_valid},
        {"ms_ssim", m->ms_ssim},     {"flip", m->flip},         {"lpips", NAN},
        {"mean_diff", m->mean_diff}, {"max_diff", m->max_diff}, {"std_diff", m->std_diff},
        {"pct_over_1", m->over_1},   {"pct_over_5", m->over_5}, {"pct_over_10", m->over_10},
    };
    json_t *out = json_object();
    for (size_t i = 0; i < sizeof all / sizeof all[0]; ++i)
        json_object_set_new(out, all[i].name, ts_gs_number(all[i].value));
    return out;
}
