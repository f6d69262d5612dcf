/*
 * Losses between a rendering x and a target y, their gradient, and PSNR/SSIM sums.
 *
 * Pictures are C planes with a border of zeros at least 5 wide, so the 11-tap windows of SSIM (zero
 * padding, same size) need no bounds checks. Two separable passes make three filtered planes each;
 * what depends on the target alone (its mean and variance) is filtered once.
 *
 *   S = a b / (c d),  a = 2 mx my + C1,  b = 2 sxy + C2,  c = mx^2 + my^2 + C1,  d = sx2 + sy2 + C2
 *   m1 = 2 my (b - a) / (c d) - 2 mx S / c + 2 mx S / d,  m2 = -S / d,  m3 = 2 a / (c d)
 *   dSSIM/dx = (G*m1 + 2 x G*m2 + y G*m3) / (C H W)
 *
 * -DTS_FAT: a work-item per band of rows and channel, 16 pixels at a time, local size 1 (CPU).
 * Else: work-groups of 32 x 8 pixels. Sums go to one float per work-item or group, `parts`.
 *
 * Reference test: tests/unit/test_gsplat.c (scene fixtures), tests/ref/ref_gsloss.c.
 */

typedef struct gl_geo {
    int width, height, channels;
    int stride;  /* floats between rows */
    uint origin; /* floats before pixel (0,0) of a plane */
    uint plane;  /* floats between planes */
    int rows;    /* rows per work-item, -DTS_FAT */
    int bands;   /* parts per channel */
} gl_geo;

#define TAPS 11
#define HALF 5
constant float window[TAPS] = {0.00102838008f, 0.00759875814f, 0.0360007721f, 0.10936069f,
                               0.213005538f,   0.266011725f,   0.213005538f,  0.10936069f,
                               0.0360007721f,  0.00759875814f, 0.00102838008f};
#define C1 1e-4f
#define C2 9e-4f

#ifdef TS_FAT

typedef float16 fv;
typedef int16 iv;
#    define V           16
#    define LOAD(p)     vload16(0, p)
#    define STORE(v, p) vstore16(v, 0, p)
#    define LANES       (iv)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
#    define INSIDE(x)   (LANES < (iv)(geo.width - (x)))
#    define KEEP(v, in) select((fv)(0.0f), v, in)
#    define EACH_PIXEL                                                 \
        int band = (int)get_global_id(0), ch = (int)get_global_id(1);  \
        int y0 = band * geo.rows, y1 = min(geo.height, y0 + geo.rows); \
        for (int y = y0; y < y1; ++y)                                  \
            for (int x = 0; x < geo.width; x += V)
#    define SUM_DECLARE(name)           float name = 0.0f
#    define SUM_ADD(name, v)            name += sum_lanes(v)
#    define SUM_STORE(name, part, slot) (part)[((slot)*geo.channels + ch) * geo.bands + band] = name

static float sum_lanes(fv v)
{
    float8 a = v.lo + v.hi;
    float4 b = a.lo + a.hi;
    float2 c = b.lo + b.hi;
    return c.x + c.y;
}

#else

typedef float fv;
typedef int iv;
#    define LOAD(p)     (*(p))
#    define STORE(v, p) (*(p) = (v))
#    define INSIDE(x)   ((x) < geo.width)
#    define KEEP(v, in) (v)
#    define GROUP_X     32
#    define GROUP_Y     8
#    define EACH_PIXEL                                                                        \
        int x = (int)get_global_id(0), y = (int)get_global_id(1), ch = (int)get_global_id(2); \
        if (x < geo.width && y < geo.height)
#    define SUM_DECLARE(name)                       \
        local float name##_lane[GROUP_X * GROUP_Y]; \
        float name = 0.0f
#    define SUM_ADD(name, v) name += (v)
#    define SUM_STORE(name, part, slot)                                                \
        do {                                                                           \
            uint lane = (uint)(get_local_id(1) * GROUP_X + get_local_id(0));           \
            name##_lane[lane] = name;                                                  \
            for (uint apart = GROUP_X * GROUP_Y / 2; apart > 0; apart >>= 1) {         \
                barrier(CLK_LOCAL_MEM_FENCE);                                          \
                if (lane < apart)                                                      \
                    name##_lane[lane] += name##_lane[lane + apart];                    \
            }                                                                          \
            if (lane == 0)                                                             \
                (part)[((slot)*geo.channels + ch) * geo.bands +                        \
                       (int)(get_group_id(1) * get_num_groups(0) + get_group_id(0))] = \
                    name##_lane[0];                                                    \
        } while (0)

#endif

#define AT(plane_, x_, y_) \
    ((plane_) + (size_t)ch * geo.plane + geo.origin + (size_t)(y_)*geo.stride + (x_))

/* Rows of x, x^2 and x y, filtered horizontally. */
kernel void gsloss_rows(gl_geo geo, global const float *x_, global const float *y_,
                        global float *h0, global float *h1, global float *h2)
{
    EACH_PIXEL
    {
        global const float *xs = AT(x_, x, y), *ys = AT(y_, x, y);
        fv a = (fv)(0.0f), b = (fv)(0.0f), c = (fv)(0.0f);
#pragma unroll
        for (int k = 0; k < TAPS; ++k) {
            fv xv = LOAD(xs + k - HALF), wx = window[k] * xv;
            a += wx;
            b += wx * xv;
            c += wx * LOAD(ys + k - HALF);
        }
        iv in = INSIDE(x);
        (void)in;
        STORE(KEEP(a, in), AT(h0, x, y));
        STORE(KEEP(b, in), AT(h1, x, y));
        STORE(KEEP(c, in), AT(h2, x, y));
    }
}

/* The target's mean and variance from its filtered rows (gsloss_rows with x = y). */
kernel void gsloss_target(gl_geo geo, global const float *h0, global const float *h1,
                          global float *mean, global float *variance)
{
    EACH_PIXEL
    {
        fv m = (fv)(0.0f), s = (fv)(0.0f);
#pragma unroll
        for (int k = 0; k < TAPS; ++k) {
            m += window[k] * LOAD(AT(h0, x, y + k - HALF));
            s += window[k] * LOAD(AT(h1, x, y + k - HALF));
        }
        iv in = INSIDE(x);
        (void)in;
        STORE(KEEP(m, in), AT(mean, x, y));
        STORE(KEEP(s - m * m, in), AT(variance, x, y));
    }
}

/* Sum of S into parts[slot]; with maps, also m1, m2, m3. */
#define SSIM_KERNEL(name, with_maps)                                                   \
    kernel void name(gl_geo geo, global const float *h0, global const float *h1,       \
                     global const float *h2, global const float *mean,                 \
                     global const float *variance, global float *m1, global float *m2, \
                     global float *m3, global float *parts, int slot)                  \
    {                                                                                  \
        SUM_DECLARE(sum);                                                              \
        EACH_PIXEL                                                                     \
        {                                                                              \
            fv mx = (fv)(0.0f), xx = (fv)(0.0f), xy = (fv)(0.0f);                      \
            _Pragma("unroll") for (int k = 0; k < TAPS; ++k)                           \
            {                                                                          \
                mx += window[k] * LOAD(AT(h0, x, y + k - HALF));                       \
                xx += window[k] * LOAD(AT(h1, x, y + k - HALF));                       \
                xy += window[k] * LOAD(AT(h2, x, y + k - HALF));                       \
            }                                                                          \
            fv my = LOAD(AT(mean, x, y));                                              \
            fv a = 2.0f * mx * my + C1, b = 2.0f * (xy - mx * my) + C2;                \
            fv c = mx * mx + my * my + C1;                                             \
            fv d = (xx - mx * mx) + LOAD(AT(variance, x, y)) + C2;                     \
            fv ic = 1.0f / c, id = 1.0f / d, icd = ic * id, s = a * b * icd;           \
            iv in = INSIDE(x);                                                         \
            (void)in;                                                                  \
            SUM_ADD(sum, KEEP(s, in));                                                 \
            if (with_maps) {                                                           \
                STORE(KEEP(2.0f * my * (b - a) * icd + 2.0f * mx * s * (id - ic), in), \
                      AT(m1, x, y));                                                   \
                STORE(KEEP(-s *id, in), AT(m2, x, y));                                 \
                STORE(KEEP(2.0f * a * icd, in), AT(m3, x, y));                         \
            }                                                                          \
        }                                                                              \
        SUM_STORE(sum, parts, slot);                                                   \
    }
SSIM_KERNEL(gsloss_ssim, 0)
SSIM_KERNEL(gsloss_ssim_maps, 1)

/* Rows of three planes, filtered horizontally. */
kernel void gsloss_rows3(gl_geo geo, global const float *m1, global const float *m2,
                         global const float *m3, global float *h0, global float *h1,
                         global float *h2)
{
    EACH_PIXEL
    {
        fv a = (fv)(0.0f), b = (fv)(0.0f), c = (fv)(0.0f);
#pragma unroll
        for (int k = 0; k < TAPS; ++k) {
            a += window[k] * LOAD(AT(m1, x + k - HALF, y));
            b += window[k] * LOAD(AT(m2, x + k - HALF, y));
            c += window[k] * LOAD(AT(m3, x + k - HALF, y));
        }
        iv in = INSIDE(x);
        (void)in;
        STORE(KEEP(a, in), AT(h0, x, y));
        STORE(KEEP(b, in), AT(h1, x, y));
        STORE(KEEP(c, in), AT(h2, x, y));
    }
}

/*
 * G = l1 sign(x - y) + l2 2 (x - y) - ls (G*m1 + 2 x G*m2 + y G*m3); the factors hold 1/(C H W).
 * parts[0] and parts[1] get the sums of |x - y| and (x - y)^2.
 */
#define GRADIENT_KERNEL(name, with_ssim)                                                     \
    kernel void name(gl_geo geo, global const float *x_, global const float *y_,             \
                     global const float *h0, global const float *h1, global const float *h2, \
                     float l1, float l2, float ls, global float *grad, global float *parts)  \
    {                                                                                        \
        SUM_DECLARE(sum_abs);                                                                \
        SUM_DECLARE(sum_square);                                                             \
        EACH_PIXEL                                                                           \
        {                                                                                    \
            fv xv = LOAD(AT(x_, x, y)), yv = LOAD(AT(y_, x, y)), diff = xv - yv;             \
            iv in = INSIDE(x);                                                               \
            (void)in;                                                                        \
            fv g = l1 * sign(diff) + 2.0f * l2 * diff;                                       \
            if (with_ssim) {                                                                 \
                fv a = (fv)(0.0f), b = (fv)(0.0f), c = (fv)(0.0f);                           \
                _Pragma("unroll") for (int k = 0; k < TAPS; ++k)                             \
                {                                                                            \
                    a += window[k] * LOAD(AT(h0, x, y + k - HALF));                          \
                    b += window[k] * LOAD(AT(h1, x, y + k - HALF));                          \
                    c += window[k] * LOAD(AT(h2, x, y + k - HALF));                          \
                }                                                                            \
                g -= ls * (a + 2.0f * xv * b + yv * c);                                      \
            }                                                                                \
            STORE(KEEP(g, in), AT(grad, x, y));                                              \
            SUM_ADD(sum_abs, KEEP(fabs(diff), in));                                          \
            SUM_ADD(sum_square, KEEP(diff *diff, in));                                       \
        }                                                                                    \
        SUM_STORE(sum_abs, parts, 0);                                                        \
        SUM_STORE(sum_square, parts, 1);                                                     \
    }
GRADIENT_KERNEL(gsloss_gradient, 0)
GRADIENT_KERNEL(gsloss_gradient_ssim, 1)

/* shown = clamp(x, 0, 1)^(1/gamma), and parts[0] the sum of (shown - y)^2. */
kernel void gsloss_shown(gl_geo geo, global const float *x_, global const float *y_,
                         float inverse_gamma, global float *shown, global float *parts)
{
    SUM_DECLARE(sum);
    EACH_PIXEL
    {
        fv v = clamp(LOAD(AT(x_, x, y)), (fv)(0.0f), (fv)(1.0f));
        if (inverse_gamma != 1.0f)
            v = pow(v, (fv)(inverse_gamma));
        fv diff = v - LOAD(AT(y_, x, y));
        iv in = INSIDE(x);
        (void)in;
        STORE(KEEP(v, in), AT(shown, x, y));
        SUM_ADD(sum, KEEP(diff * diff, in));
    }
    SUM_STORE(sum, parts, 0);
}

#ifdef cl_khr_fp64
#    pragma OPENCL EXTENSION cl_khr_fp64 : enable
typedef double wide;
#else
typedef float wide;
#endif

/* status words of cl/kernels/gsplat.cl */
#define ST_OVERFLOW  0
#define ST_NONFINITE 2
#define ST_L1        8

/*
 * One work-group of 64: the means of `slots` sums of n floats each, in double where there is one, to
 * status[at + slot] as floats. With guard, a mean that is not finite freezes the training.
 */
kernel __attribute__((reqd_work_group_size(64, 1, 1))) void gsloss_means(global const float *parts,
                                                                         uint n, int slots,
                                                                         float scale,
                                                                         global uint *status,
                                                                         int at, int guard)
{
    local wide lane[64];
    uint lid = (uint)get_local_id(0);
    for (int slot = 0; slot < slots; ++slot) {
        wide sum = 0;
        for (uint i = lid; i < n; i += 64)
            sum += (wide)parts[(size_t)slot * n + i];
        lane[lid] = sum;
        for (uint apart = 32; apart > 0; apart >>= 1) {
            barrier(CLK_LOCAL_MEM_FENCE);
            if (lid < apart)
                lane[lid] += lane[lid + apart];
        }
        if (lid == 0) {
            float mean = (float)(lane[0] * (wide)scale);
            status[at + slot] = as_uint(mean);
            if (guard && !isfinite(mean) && !status[ST_OVERFLOW])
                status[ST_NONFINITE] = 1;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
}

/* One picture of the stack as RGBA8: channels first and up, count 1 (repeated) or 3, rounded. */
kernel void gsloss_rgba(gl_geo geo, global const float *shown, int first, int count,
                        global uchar4 *out)
{
    int other = count == 3 ? (int)geo.plane : 0;
    for (int y = (int)get_global_id(1); y < geo.height; y += (int)get_global_size(1))
        for (int x = (int)get_global_id(0); x < geo.width; x += (int)get_global_size(0)) {
            global const float *p =
                shown + (size_t)first * geo.plane + geo.origin + (size_t)y * geo.stride + x;
            float4 v = (float4)(p[0], p[other], p[2 * other], 1.0f);
            out[(size_t)y * geo.width + x] =
                convert_uchar4(clamp(v, 0.0f, 1.0f) * 255.0f + 0.5f);
        }
}
