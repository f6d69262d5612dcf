#include "cl/models/imagegs/rules.h"

#include <math.h>
#include <stdio.h>

bool ts_gs_rules_capture(int64_t step, int64_t video_iterations, int64_t eval_steps,
                         bool independent)
{
    return step % video_iterations == 0 && (independent || step % eval_steps == 0);
}

ts_gs_decay_event ts_gs_rules_decay(ts_gs_decay *d, double psnr, double ssim, int64_t eval_steps,
                                    int64_t check_steps, int64_t max_times, double threshold)
{
    if (psnr <= d->best_psnr + 100 * threshold || ssim <= d->best_ssim + threshold) {
        d->idle += eval_steps;
        if (d->idle < check_steps)
            return TS_GS_DECAY_NONE;
        d->idle = 0;
        return ++d->decays > max_times ? TS_GS_DECAY_STOP : TS_GS_DECAY_NOW;
    }
    d->best_psnr = psnr;
    d->best_ssim = ssim;
    d->idle = 0;
    return TS_GS_DECAY_NONE;
}

int64_t ts_gs_rules_first(int64_t total, double ratio)
{
    int64_t first = (int64_t)ceil(ratio * (double)total);
    return first < 1 ? 1 : first > total ? total : first;
}

int64_t ts_gs_rules_add(int64_t total, int64_t first, int64_t times)
{
    return (total - first + times - 1) / times;
}

int64_t ts_gs_rules_min_steps(int64_t add_steps, int64_t add_times, int64_t post_min)
{
    return add_steps * add_times + post_min;
}

int ts_gs_rules_radius(double sx, double sy, double rot)
{
    double c = cos(rot), s = sin(rot), vx = sx * sx, vy = sy * sy;
    double s11 = c * c * vx + s * s * vy, s22 = s * s * vx + c * c * vy, s12 = c * s * (vy - vx);
    double half = 0.5 * (s11 - s22);
    /* m^2 - det of the covariance, without its cancellation */
    double root = sqrt(fmax(0.1, half * half + s12 * s12));
    return (int)ceil(3 * sqrt(0.5 * (s11 + s22) + root));
}

static int tile_clamp(double t, int tiles)
{
    t = trunc(t);
    return t < 0 ? 0 : t > tiles ? tiles : (int)t;
}

void ts_gs_rules_tiles(double cx, double cy, double radius, int width, int height, int out[4])
{
    int tw = (width + 15) / 16, th = (height + 15) / 16;
    out[0] = tile_clamp(cx / 16 - radius / 16, tw);
    out[1] = tile_clamp(cy / 16 - radius / 16, th);
    out[2] = tile_clamp(cx / 16 + radius / 16 + 1, tw);
    out[3] = tile_clamp(cy / 16 + radius / 16 + 1, th);
}

ts_gs_size ts_gs_rules_size(int64_t n, int channels, int width, int height, const unsigned bits[4])
{
    ts_gs_size s;
    double pixels = (double)width * height;
    s.bits = (2.0 * bits[0] + 2.0 * bits[1] + bits[2] + (double)channels * bits[3]) * (double)n;
    s.bytes = s.bits / 8;
    s.bpp = s.bits / pixels;
    s.bppc = s.bpp / channels;
    return s;
}

static int pieces(int length, int overlap, int stride)
{
    int n = (length - overlap + stride - 1) / stride;
    return n < 1 ? 1 : n;
}

ts_gs_patches ts_gs_rules_patches(int width, int height, int size, int overlap)
{
    ts_gs_patches p = {.stride = size - overlap, .size = size, .width = width, .height = height};
    p.rows = pieces(height, overlap, p.stride);
    p.cols = pieces(width, overlap, p.stride);
    return p;
}

void ts_gs_rules_patch(const ts_gs_patches *p, int row, int col, int out[4])
{
    out[0] = col * p->stride;
    out[1] = row * p->stride;
    out[2] = out[0] + p->size < p->width ? out[0] + p->size : p->width;
    out[3] = out[1] + p->size < p->height ? out[1] + p->size : p->height;
}

double ts_gs_rules_error(double psnr, double ssim, double psnr_weight, double ssim_weight)
{
    double n = fmin(fmax((psnr - 20) / 30, 0), 1);
    return 1 - (psnr_weight * n + ssim_weight * ssim);
}

void ts_gs_rules_text(int64_t step, double psnr, double ssim, char lines[3][48])
{
    snprintf(lines[0], 48, "Step: %lld", (long long)step);
    if (isinf(psnr))
        snprintf(lines[1], 48, "PSNR: inf dB");
    else
        snprintf(lines[1], 48, "PSNR: %.2f dB", psnr);
    snprintf(lines[2], 48, "SSIM: %.4f", ssim);
}
