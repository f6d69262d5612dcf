/*
 * 2-D Gaussian splatting: projection, tile lists, top-K rasterizer, its gradient, and Adam.
 *
 * Parameters are one row of P = 5 + C floats per Gaussian: x, y (normalised), two scales, rotation,
 * C features. Planes of pictures have a border of zeros (see gs_geo). Tiles are 16 x 16.
 *
 * Options
 *   -DTS_FAT       CPU form: one work-item per run of tiles, rows of 16 pixels as vectors
 *   -DC= -DTOPK=   channels; Gaussians kept per pixel
 *   -DGS_SUM       plain sum of all Gaussians of the tile instead of the normalised top-K
 *   -DGS_EPS=      added to the sum of weights
 *   -DGS_INVERSE   the stored scales are 1/sigma
 *   -DGS_ALL       every tile sees every Gaussian
 *   -DGS_QUANT=1|2 straight-through quantisation, of sigma or of ln|sigma|
 *   -DGS_LEGACY    the public implementation's gradient of scale and rotation
 *
 * A pixel's selection is kept as the K-th smallest q and the list index of the last Gaussian taken
 * at exactly that q, so the gradient repeats it instead of storing K indices. Both passes must
 * compute the same q to the bit: quad() is the only place that does, and contraction there is fixed
 * (explicit fma on GPUs, one statement for the front end's own fusing on the CPU form).
 *
 * Reference test: tests/unit/test_gsplat.c against tests/ref/ref_gsplat.c and the scene fixtures.
 */
#ifndef TS_FAT
#    pragma OPENCL FP_CONTRACT OFF
#endif

#ifndef C
#    define C 3
#endif
#ifndef TOPK
#    define TOPK 10
#endif
#ifndef GS_EPS
#    define GS_EPS 1e-4f
#endif
#ifndef GS_QUANT
#    define GS_QUANT 0
#endif

/* the factor of a blend whose weights sum to `total` */
#ifdef GS_SUM
#    define NORMALISE(total) ((total)*0.0f + 1.0f)
#else
#    define NORMALISE(total) (1.0f / (total))
#endif

#define P      (5 + C)
#define TILE   16
#define PIXELS 256

typedef struct gs_geo {
    int width, height, tiles_x, tiles_y;
    int stride;      /* floats between rows of a plane */
    uint origin;     /* floats before pixel (0,0) */
    uint plane;      /* floats between planes */
    uint n;          /* Gaussians */
    uint capacity;   /* tile entries that the lists hold */
    float offset;    /* sample position inside a pixel */
    float ratio;     /* pixels here per pixel of the training size */
    float sigma_max; /* clamp before quantising; 0: none */
} gs_geo;

typedef struct gs_adam {
    float lr[4];                           /* position, scale, rotation, feature */
    float beta1, beta2, eps, bias1, bias2; /* bias: 1 - beta^t */
} gs_adam;

/* status words */
#define ST_OVERFLOW  0
#define ST_NEED      1
#define ST_NONFINITE 2
#define ST_STEPS     3
#define ST_INVALID   4

/* ---- projection ---- */

typedef struct gs_shape {
    float cx, cy, sx, sy, rot;
} gs_shape;

static float guarded(float s)
{
    return fabs(s) < 1e-9f ? copysign(1e-9f, s) : s;
}

/* sigma of a stored scale, at the size being rendered */
static float sigma_of(float stored, float ratio, float limit)
{
#ifdef GS_INVERSE
    float sigma = ratio / guarded(stored);
#else
    float sigma = ratio * stored;
#endif
    return limit > 0 ? clamp(sigma, -limit, limit) : sigma;
}

#if GS_QUANT
static float quantised(float x, float lo, float delta, float top)
{
    return clamp(rint((x - lo) / delta), 0.0f, top) * delta + lo;
}
#endif

/* quant: per tensor (xy, sigma, rot, feat) minimum, step and largest code */
static gs_shape shape_of(global const float *par, gs_geo geo, global const float *quant)
{
    gs_shape s;
    s.sx = sigma_of(par[2], geo.ratio, geo.sigma_max);
    s.sy = sigma_of(par[3], geo.ratio, geo.sigma_max);
    s.rot = par[4];
    float x = par[0], y = par[1];
#if GS_QUANT
    x = quantised(x, quant[0], quant[1], quant[2]);
    y = quantised(y, quant[0], quant[1], quant[2]);
#    if GS_QUANT == 2
    s.sx = exp(quantised(log(fmax(fabs(s.sx), 1e-30f)), quant[3], quant[4], quant[5]));
    s.sy = exp(quantised(log(fmax(fabs(s.sy), 1e-30f)), quant[3], quant[4], quant[5]));
#    else
    s.sx = quantised(s.sx, quant[3], quant[4], quant[5]);
    s.sy = quantised(s.sy, quant[3], quant[4], quant[5]);
#    endif
    s.rot = quantised(s.rot, quant[6], quant[7], quant[8]);
#endif
    s.cx = x * (float)geo.width;
    s.cy = y * (float)geo.height;
    return s;
}

/* 1/sigma^2 without a division where the stored scale is the inverse already */
static float inverse_square(float stored, float sigma, float ratio)
{
#if defined(GS_INVERSE) && !GS_QUANT
    float u = guarded(stored) / ratio;
    return u * u;
#else
    float u = 1.0f / guarded(sigma);
    return u * u;
#endif
}

static int radius_of(float s11, float s12, float s22, float limit)
{
    float half_diff = 0.5f * (s11 - s22);
    float root = sqrt(fmax(0.1f, half_diff * half_diff + s12 * s12));
    float r = ceil(3.0f * sqrt(0.5f * (s11 + s22) + root));
    return (int)fmin(r, limit); /* beyond that every tile is hit anyway, and int would overflow */
}

static int tile_clamp(float t, int tiles)
{
    return (int)clamp(trunc(t), 0.0f, (float)tiles);
}

/*
 * rec: [n, P] cx, cy, A/2, B, C/2, features; rect: [n] x0, y0, x1, y1 in tiles; count: [n] tiles.
 */
kernel void gsplat_project(gs_geo geo, global const float *par, global const float *quant,
                           global float *rec, global ushort4 *rect, global uint *count,
                           global uint *status)
{
    for (uint i = (uint)get_global_id(0); i < geo.n; i += (uint)get_global_size(0)) {
        global const float *p = par + (size_t)i * P;
        global float *r = rec + (size_t)i * P;
        float check = 0;
        for (int k = 0; k < P; ++k)
            check += p[k] * 0.0f;
        gs_shape g = shape_of(p, geo, quant);
        float c = cos(g.rot), s = sin(g.rot);
        float vx = g.sx * g.sx, vy = g.sy * g.sy;
        float s11 = c * c * vx + s * s * vy, s22 = s * s * vx + c * c * vy;
        float s12 = c * s * (vy - vx);
        int radius = radius_of(s11, s12, s22, 2.0f * (float)(geo.width + geo.height));
        float ir = (float)radius / TILE, tx = g.cx / TILE, ty = g.cy / TILE;
        int x0 = tile_clamp(tx - ir, geo.tiles_x), x1 = tile_clamp(tx + ir + 1.0f, geo.tiles_x);
        int y0 = tile_clamp(ty - ir, geo.tiles_y), y1 = tile_clamp(ty + ir + 1.0f, geo.tiles_y);
#ifdef GS_ALL
        x0 = y0 = 0;
        x1 = geo.tiles_x;
        y1 = geo.tiles_y;
#endif
        if (check != 0.0f) { /* NaN: a parameter is not finite */
            x0 = x1 = y0 = y1 = 0;
            atomic_inc(&status[ST_INVALID]);
        }
        float pp = inverse_square(p[2], g.sx, geo.ratio),
              qq = inverse_square(p[3], g.sy, geo.ratio);
        r[0] = g.cx;
        r[1] = g.cy;
        r[2] = 0.5f * (c * c * pp + s * s * qq);
        r[3] = c * s * (qq - pp);
        r[4] = 0.5f * (s * s * pp + c * c * qq);
        for (int k = 0; k < C; ++k)
#if GS_QUANT
            r[5 + k] = quantised(p[5 + k], quant[9], quant[10], quant[11]);
#else
            r[5 + k] = p[5 + k];
#endif
        rect[i] = (ushort4)((ushort)x0, (ushort)y0, (ushort)x1, (ushort)y1);
        count[i] = (uint)(max(x1 - x0, 0) * max(y1 - y0, 0));
    }
}

/* Minimum and maximum of the four tensors over one block's share; ends: [blocks, 8]. */
kernel void gsplat_minmax(gs_geo geo, global const float *par, global float *ends)
{
    float lo[4] = {INFINITY, INFINITY, INFINITY, INFINITY};
    float hi[4] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
    for (uint i = (uint)get_global_id(0); i < geo.n; i += (uint)get_global_size(0)) {
        global const float *p = par + (size_t)i * P;
        float s[2];
        for (int k = 0; k < 2; ++k) {
            s[k] = sigma_of(p[2 + k], geo.ratio, geo.sigma_max);
#if GS_QUANT == 2
            s[k] = log(fmax(fabs(s[k]), 1e-30f));
#endif
        }
        lo[0] = fmin(lo[0], fmin(p[0], p[1]));
        hi[0] = fmax(hi[0], fmax(p[0], p[1]));
        lo[1] = fmin(lo[1], fmin(s[0], s[1]));
        hi[1] = fmax(hi[1], fmax(s[0], s[1]));
        lo[2] = fmin(lo[2], p[4]);
        hi[2] = fmax(hi[2], p[4]);
        for (int k = 0; k < C; ++k) {
            lo[3] = fmin(lo[3], p[5 + k]);
            hi[3] = fmax(hi[3], p[5 + k]);
        }
    }
    global float *e = ends + get_global_id(0) * 8;
    for (int t = 0; t < 4; ++t) {
        e[t] = lo[t];
        e[4 + t] = hi[t];
    }
}

/* One work-item: minimum, step and largest code of each tensor from the blocks' ends. */
kernel void gsplat_quant_steps(global const float *ends, uint blocks, float4 codes,
                               global float *quant)
{
    float top[4] = {codes.x, codes.y, codes.z, codes.w};
    for (int t = 0; t < 4; ++t) {
        float lo = INFINITY, hi = -INFINITY;
        for (uint b = 0; b < blocks; ++b) {
            lo = fmin(lo, ends[b * 8 + t]);
            hi = fmax(hi, ends[b * 8 + 4 + t]);
        }
        quant[3 * t] = lo;
        quant[3 * t + 1] = fmax((hi - lo) / top[t], 1e-8f);
        quant[3 * t + 2] = top[t];
    }
}

/* ---- tile lists ---- */

static bool overflowed(gs_geo geo, global const uint *offsets)
{
    return offsets[geo.n] > geo.capacity;
}

/* keys: tile, values: Gaussian, at offsets[i] … in the order of the Gaussians. */
kernel void gsplat_emit(gs_geo geo, global const ushort4 *rect, global const uint *offsets,
                        global uint *keys, global uint *values)
{
    if (overflowed(geo, offsets))
        return;
    for (uint i = (uint)get_global_id(0); i < geo.n; i += (uint)get_global_size(0)) {
        ushort4 r = rect[i];
        uint at = offsets[i];
        for (uint y = r.y; y < r.w; ++y)
            for (uint x = r.x; x < r.z; ++x) {
                keys[at] = y * (uint)geo.tiles_x + x;
                values[at++] = i;
            }
    }
}

/* start: [tiles + 1] where each tile's list begins in the sorted keys. Reports an overflow. */
kernel void gsplat_ranges(gs_geo geo, global const uint *keys, global const uint *offsets,
                          global uint *start, global uint *status)
{
    uint tiles = (uint)(geo.tiles_x * geo.tiles_y), total = offsets[geo.n];
    bool over = overflowed(geo, offsets);
    if (get_global_id(0) == 0 && over) {
        status[ST_OVERFLOW] = 1;
        status[ST_NEED] = max(status[ST_NEED], total);
    }
    for (uint t = (uint)get_global_id(0); t <= tiles; t += (uint)get_global_size(0)) {
        uint lo = 0, hi = over ? 0 : total;
        while (lo < hi) {
            uint mid = lo + (hi - lo) / 2;
            if (keys[mid] < t)
                lo = mid + 1;
            else
                hi = mid;
        }
        start[t] = lo;
    }
}

/* ---- rasterizer ---- */

#ifdef TS_FAT

typedef float16 fv;
typedef int16 iv;
#    define LANES (fv)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)

static fv quad(float cx, float hA, float B, float hC, fv px, float dy)
{
    fv dx = cx - px;
    fv q = dx * (hA * dx + B * dy) + hC * dy * dy;
    return select((fv)(INFINITY), q, q >= 0.0f);
}

/* e^-q for q >= 0, to about one unit in the last place (the Cephes polynomial for expf) */
static fv exp_neg(fv q)
{
    fv x = -min(q, (fv)(87.0f));
    fv shifted = x * 1.44269504f + 12582912.0f;
    fv n = shifted - 12582912.0f;
    fv r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    fv p = (fv)(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    iv bits = (as_int16(shifted) - 0x4B400000 + 127) << 23;
    return p * as_float16(bits);
}

static float sum16(fv v)
{
    float8 a = v.lo + v.hi;
    float4 b = a.lo + a.hi;
    float2 c = b.lo + b.hi;
    return c.x + c.y;
}

#    ifndef GS_SUM
/*
 * The K-th smallest q of a row's 16 pixels, and how many Gaussians at exactly that q are taken.
 * slots stay sorted: inserting q makes each one the median of its left neighbour, q and itself.
 */
static void select_topk(global const float *rec, global const uint *list, uint n, fv px, float py,
                        fv *threshold, iv *ties)
{
    fv slot[TOPK];
    for (int k = 0; k < TOPK; ++k)
        slot[k] = (fv)(INFINITY);
    for (uint t = 0; t < n; ++t) {
        global const float *r = rec + (size_t)list[t] * P;
        fv q = quad(r[0], r[2], r[3], r[4], px, r[1] - py);
        if (!any(q < slot[TOPK - 1]))
            continue;
#        pragma unroll
        for (int k = TOPK - 1; k > 0; --k)
            slot[k] = max(slot[k - 1], min(q, slot[k]));
        slot[0] = min(q, slot[0]);
    }
    *threshold = slot[TOPK - 1];
    iv same = (iv)(0);
#        pragma unroll
    for (int k = 0; k < TOPK; ++k)
        same -= slot[k] == *threshold; /* true is -1 */
    *ties = select((iv)(0), same, *threshold < INFINITY);
}
#    endif

/*
 * img: C planes; threshold, last, inv: [tiles, 256] what the gradient needs to repeat the selection.
 * list: Gaussians by tile. One work-item takes every get_global_size(0)-th tile.
 */
kernel void gsplat_forward(gs_geo geo, global const float *rec, global const uint *start,
                           global const uint *list, global float *img, global float *threshold,
                           global int *last, global float *inv)
{
    int tiles = geo.tiles_x * geo.tiles_y;
    for (int tile = (int)get_global_id(0); tile < tiles; tile += (int)get_global_size(0)) {
        int x = tile % geo.tiles_x * TILE, y = tile / geo.tiles_x * TILE;
        global const uint *mine = list + start[tile];
        uint n = start[tile + 1] - start[tile];
        fv px = LANES + ((float)x + geo.offset);
        iv inside = LANES < (float)(geo.width - x);
        for (int row = 0; row < min(TILE, geo.height - y); ++row) {
            float py = (float)(y + row) + geo.offset;
            fv limit = (fv)(INFINITY), total = (fv)(GS_EPS), acc[C];
            iv ties = (iv)(0), at = (iv)(-1);
#    ifndef GS_SUM
            if (n > TOPK)
                select_topk(rec, mine, n, px, py, &limit, &ties);
#    endif
            for (int k = 0; k < C; ++k)
                acc[k] = (fv)(0.0f);
            for (uint t = 0; t < n; ++t) {
                global const float *r = rec + (size_t)mine[t] * P;
                fv q = quad(r[0], r[2], r[3], r[4], px, r[1] - py);
                iv tie = (q == limit) & (ties > 0);
                iv taken = (q < limit) | tie;
                if (!any(taken))
                    continue;
                ties += tie;
                at = select(at, (iv)((int)t), tie);
                fv d = select((fv)(0.0f), exp_neg(q), taken);
                total += d;
                for (int k = 0; k < C; ++k)
                    acc[k] += d * r[5 + k];
            }
            size_t state = (size_t)tile * PIXELS + row * TILE;
            size_t pixel = geo.origin + (size_t)(y + row) * geo.stride + x;
            vstore16(limit, 0, threshold + state);
            vstore16(at, 0, last + state);
            fv scale = NORMALISE(total);
            vstore16(scale, 0, inv + state);
            for (int k = 0; k < C; ++k)
                vstore16(select((fv)(0.0f), acc[k] * scale, inside), 0,
                         img + (size_t)k * geo.plane + pixel);
        }
    }
}

/*
 * part: [entries, P] at the entry's slot in emission order: sums over the tile's pixels of
 * e dx, e dy, e dx^2, e dx dy, e dy^2 with e = dL/dq, and of the feature gradients.
 */
kernel void gsplat_backward(gs_geo geo, global const float *rec, global const ushort4 *rect,
                            global const uint *offsets, global const uint *start,
                            global const uint *list, global const float *img,
                            global const float *grad, global const float *threshold,
                            global const int *last, global const float *inv, global float *part)
{
    int tiles = geo.tiles_x * geo.tiles_y;
    for (int tile = (int)get_global_id(0); tile < tiles; tile += (int)get_global_size(0)) {
        int tx = tile % geo.tiles_x, ty = tile / geo.tiles_x, x = tx * TILE, y = ty * TILE;
        int rows = min(TILE, geo.height - y);
        global const uint *mine = list + start[tile];
        uint n = start[tile + 1] - start[tile];
        fv px = LANES + ((float)x + geo.offset), mean[TILE];
        for (int row = 0; row < rows; ++row) {
            mean[row] = (fv)(0.0f);
#    ifndef GS_SUM
            size_t pixel = geo.origin + (size_t)(y + row) * geo.stride + x;
            for (int k = 0; k < C; ++k)
                mean[row] += vload16(0, img + (size_t)k * geo.plane + pixel) *
                             vload16(0, grad + (size_t)k * geo.plane + pixel);
#    endif
        }
        for (uint t = 0; t < n; ++t) {
            uint g = mine[t];
            global const float *r = rec + (size_t)g * P;
            fv sum[P];
            for (int k = 0; k < P; ++k)
                sum[k] = (fv)(0.0f);
            for (int row = 0; row < rows; ++row) {
                float dy = r[1] - ((float)(y + row) + geo.offset);
                size_t state = (size_t)tile * PIXELS + row * TILE;
                size_t pixel = geo.origin + (size_t)(y + row) * geo.stride + x;
                fv q = quad(r[0], r[2], r[3], r[4], px, dy);
                fv limit = vload16(0, threshold + state);
                iv taken = (q < limit) | ((q == limit) & ((int)t <= vload16(0, last + state)));
                if (!any(taken))
                    continue;
                fv w = select((fv)(0.0f), exp_neg(q), taken) * vload16(0, inv + state);
                fv a = -mean[row];
                for (int k = 0; k < C; ++k) {
                    fv gk = vload16(0, grad + (size_t)k * geo.plane + pixel);
                    a += r[5 + k] * gk;
                    sum[5 + k] += w * gk;
                }
                fv e = -w * a, dx = r[0] - px, ex = e * dx;
                sum[0] += ex;
                sum[1] += e * dy;
                sum[2] += ex * dx;
                sum[3] += ex * dy;
                sum[4] += e * (dy * dy);
            }
            ushort4 b = rect[g];
            uint slot = offsets[g] + (uint)((ty - b.y) * (b.z - b.x) + (tx - b.x));
            for (int k = 0; k < P; ++k)
                part[(size_t)slot * P + k] = sum16(sum[k]);
        }
    }
}

#else /* GPU form: a work-group of 256 is a tile */

#    define BATCH 256
#    define LIST_ROWS \
        16           /* work-items that share one list entry in the gradient, a pixel row each */
#    define PITCH 17 /* floats between pixel rows in local memory, off the bank stride */

static float quad(float cx, float hA, float B, float hC, float px, float dy)
{
    float dx = cx - px;
    float q = fma(dx, fma(hA, dx, B * dy), hC * dy * dy);
    return q >= 0.0f ? q : INFINITY;
}

static void stage(global const float *rec, global const uint *list, uint n, local float *records)
{
    uint lid = (uint)get_local_id(0);
    barrier(CLK_LOCAL_MEM_FENCE);
    if (lid < n) {
        global const float *r = rec + (size_t)list[lid] * P;
        for (int k = 0; k < P; ++k)
            records[lid * P + k] = r[k];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}

kernel __attribute__((reqd_work_group_size(PIXELS, 1, 1))) void gsplat_forward(
    gs_geo geo, global const float *rec, global const uint *start, global const uint *list,
    global float *img, global float *threshold, global int *last, global float *inv)
{
    local float records[BATCH * P];
    int tile = (int)get_group_id(0), lid = (int)get_local_id(0);
    int x = tile % geo.tiles_x * TILE + lid % TILE, y = tile / geo.tiles_x * TILE + lid / TILE;
    uint first = start[tile], n = start[tile + 1] - first;
    float px = (float)x + geo.offset, py = (float)y + geo.offset;
    float limit = INFINITY, total = GS_EPS, acc[C];
    int ties = 0, at = -1;
    bool staged = false;
#    ifndef GS_SUM
    if (n > TOPK) {
        staged = n <= BATCH; /* the records of the only batch stay in local memory */
        float slot[TOPK];
#        pragma unroll
        for (int k = 0; k < TOPK; ++k)
            slot[k] = INFINITY;
        for (uint from = 0; from < n; from += BATCH) {
            uint batch = min((uint)BATCH, n - from);
            stage(rec, list + first + from, batch, records);
            for (uint t = 0; t < batch; ++t) {
                local const float *r = records + t * P;
                float q = quad(r[0], r[2], r[3], r[4], px, r[1] - py);
                if (q >= slot[TOPK - 1])
                    continue;
#        pragma unroll
                for (int k = TOPK - 1; k > 0; --k)
                    slot[k] = fmax(slot[k - 1], fmin(q, slot[k]));
                slot[0] = fmin(q, slot[0]);
            }
        }
        limit = slot[TOPK - 1];
        if (limit < INFINITY) {
#        pragma unroll
            for (int k = 0; k < TOPK; ++k)
                ties += slot[k] == limit;
        }
    }
#    endif
#    pragma unroll
    for (int k = 0; k < C; ++k)
        acc[k] = 0;
    for (uint from = 0; from < n; from += BATCH) {
        uint batch = min((uint)BATCH, n - from);
        if (!staged)
            stage(rec, list + first + from, batch, records);
        for (uint t = 0; t < batch; ++t) {
            local const float *r = records + t * P;
            float q = quad(r[0], r[2], r[3], r[4], px, r[1] - py);
            bool tie = q == limit && ties > 0;
            if (!(q < limit || tie))
                continue;
            if (tie) {
                --ties;
                at = (int)(from + t);
            }
            float d = exp(-q);
            total += d;
#    pragma unroll
            for (int k = 0; k < C; ++k)
                acc[k] = fma(d, r[5 + k], acc[k]);
        }
    }
    size_t state = (size_t)tile * PIXELS + lid;
    float scale = NORMALISE(total);
    threshold[state] = limit;
    last[state] = at;
    inv[state] = scale;
    if (x < geo.width && y < geo.height)
        for (int k = 0; k < C; ++k)
            img[(size_t)k * geo.plane + geo.origin + (size_t)y * geo.stride + x] = acc[k] * scale;
}

/* 16 list entries at a time; of each, 16 work-items take a row of the tile's pixels. */
kernel __attribute__((reqd_work_group_size(PIXELS, 1, 1))) void gsplat_backward(
    gs_geo geo, global const float *rec, global const ushort4 *rect, global const uint *offsets,
    global const uint *start, global const uint *list, global const float *img,
    global const float *grad, global const float *threshold, global const int *last,
    global const float *inv, global float *part)
{
    local float g_loc[C][TILE * PITCH], mean_loc[TILE * PITCH];
    local float limit_loc[TILE * PITCH], inv_loc[TILE * PITCH];
    local int last_loc[TILE * PITCH];
    local float sums[P * PIXELS];
    int tile = (int)get_group_id(0), lid = (int)get_local_id(0);
    int tx = tile % geo.tiles_x, ty = tile / geo.tiles_x;
    int x = tx * TILE + lid % TILE, y = ty * TILE + lid / TILE;
    uint first = start[tile], n = start[tile + 1] - first;
    bool inside = x < geo.width && y < geo.height;
    size_t pixel = geo.origin + (size_t)y * geo.stride + x, state = (size_t)tile * PIXELS + lid;
    int cell = lid / TILE * PITCH + lid % TILE;
    float mean = 0;
    for (int k = 0; k < C; ++k) {
        float gk = inside ? grad[(size_t)k * geo.plane + pixel] : 0.0f;
#    ifndef GS_SUM
        mean = inside ? fma(img[(size_t)k * geo.plane + pixel], gk, mean) : 0.0f;
#    endif
        g_loc[k][cell] = gk;
    }
    mean_loc[cell] = mean;
    limit_loc[cell] = threshold[state];
    inv_loc[cell] = inv[state];
    last_loc[cell] = last[state];
    barrier(CLK_LOCAL_MEM_FENCE);

    int row = lid % LIST_ROWS, entry = lid / LIST_ROWS;
    for (uint from = 0; from < n; from += PIXELS / LIST_ROWS) {
        uint t = from + entry;
        float sum[P];
#    pragma unroll
        for (int k = 0; k < P; ++k)
            sum[k] = 0;
        if (t < n) {
            global const float *r = rec + (size_t)list[first + t] * P;
            float feat[C], cx = r[0], hA = r[2], B = r[3], hC = r[4];
            float dy = r[1] - ((float)(ty * TILE + row) + geo.offset);
            for (int k = 0; k < C; ++k)
                feat[k] = r[5 + k];
            for (int j = 0; j < TILE; ++j) {
                int at = row * PITCH + j;
                float px = (float)(tx * TILE + j) + geo.offset;
                float q = quad(cx, hA, B, hC, px, dy), limit = limit_loc[at];
                if (!(q < limit || (q == limit && (int)t <= last_loc[at])))
                    continue;
                float w = exp(-q) * inv_loc[at], a = -mean_loc[at], dx = cx - px;
#    pragma unroll
                for (int k = 0; k < C; ++k) {
                    float gk = g_loc[k][at];
                    a = fma(feat[k], gk, a);
                    sum[5 + k] = fma(w, gk, sum[5 + k]);
                }
                float e = -w * a, ex = e * dx;
                sum[0] += ex;
                sum[1] = fma(e, dy, sum[1]);
                sum[2] = fma(ex, dx, sum[2]);
                sum[3] = fma(ex, dy, sum[3]);
                sum[4] = fma(e, dy * dy, sum[4]);
            }
        }
#    pragma unroll
        for (int k = 0; k < P; ++k)
            sums[k * PIXELS + lid] = sum[k];
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int task = lid; task < P * (PIXELS / LIST_ROWS); task += PIXELS) {
            uint e = (uint)task / P, k = (uint)task % P;
            if (from + e < n) {
                uint g = list[first + from + e];
                ushort4 b = rect[g];
                uint slot = offsets[g] + (uint)((ty - b.y) * (b.z - b.x) + (tx - b.x));
                float total = 0;
                for (uint j = 0; j < LIST_ROWS; ++j) /* staggered, off the bank stride */
                    total += sums[k * PIXELS + e * LIST_ROWS + ((j + e) & (LIST_ROWS - 1))];
                part[(size_t)slot * P + k] = total;
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
}

#endif

/* ---- gradient of the parameters, and Adam ---- */

/* From the sums over pixels (s) to the gradient of the stored parameters (g). */
static void finish_gradient(global const float *par, global const float *quant, gs_geo geo,
                            global const float *rec, const float *s, float *g)
{
    float A = 2.0f * rec[2], B = rec[3], Cc = 2.0f * rec[4];
    gs_shape shape = shape_of(par, geo, quant);
    float c = cos(shape.rot), n = sin(shape.rot), c2 = c * c, n2 = n * n, cn = c * n;
    float gA = 0.5f * s[2], gB = s[3], gC = 0.5f * s[4];
    float sx = guarded(shape.sx), sy = guarded(shape.sy);
    g[0] = (float)geo.width * (A * s[0] + B * s[1]);
    g[1] = (float)geo.height * (B * s[0] + Cc * s[1]);
#ifdef GS_LEGACY
    float xa = A * gA + B * gB, xb = A * gB + B * gC, xc = B * gA + Cc * gB, xd = B * gB + Cc * gC;
    float v11 = -(xa * A + xb * B), v12 = -(xa * B + xb * Cc) - (xc * A + xd * B);
    float v22 = -(xc * B + xd * Cc), kappa = sy * sy - sx * sx;
    float dsx = 2.0f * sx * (c2 * v11 - 2.0f * cn * v12 + n2 * v22);
    float dsy = 2.0f * sy * (n2 * v11 + 2.0f * cn * v12 + c2 * v22);
    g[4] = kappa * (2.0f * cn * v11 + 2.0f * (c2 - n2) * v12 - 2.0f * cn * v22);
#else
    float u = 1.0f / sx, v = 1.0f / sy;
#    if defined(GS_INVERSE) && !GS_QUANT
    u = guarded(par[2]) / geo.ratio;
    v = guarded(par[3]) / geo.ratio;
#    endif
    float du = 2.0f * u * (c2 * gA - cn * gB + n2 * gC);
    float dv = 2.0f * v * (n2 * gA + cn * gB + c2 * gC);
    g[4] = (v * v - u * u) * (2.0f * cn * (gA - gC) + (c2 - n2) * gB);
#endif
#if defined(GS_INVERSE) && !GS_QUANT
#    ifdef GS_LEGACY
    float du = -dsx * sx * sx, dv = -dsy * sy * sy;
#    endif
    g[2] = du;
    g[3] = dv;
#else
#    ifndef GS_LEGACY
    float dsx = -u * u * du, dsy = -v * v * dv;
#    endif
#    if GS_QUANT == 2
    /* straight through in the logarithm: d/d ln|sigma| of the quantised value is handed over */
    dsx *= shape.sx / sigma_of(par[2], geo.ratio, 0);
    dsy *= shape.sy / sigma_of(par[3], geo.ratio, 0);
#    endif
#    ifdef GS_INVERSE
    float u0 = guarded(par[2]), v0 = guarded(par[3]);
    g[2] = -dsx / (u0 * u0);
    g[3] = -dsy / (v0 * v0);
#    else
    g[2] = dsx;
    g[3] = dsy;
#    endif
#endif
    for (int k = 0; k < C; ++k)
        g[5 + k] = s[5 + k];
}

static void adam(global float *par, global float *m, global float *v, const float *g, gs_adam a)
{
    for (int k = 0; k < P; ++k) {
        float lr = a.lr[k < 2 ? 0 : k < 4 ? 1 : k < 5 ? 2 : 3];
        float m1 = a.beta1 * m[k] + (1.0f - a.beta1) * g[k];
        float v1 = a.beta2 * v[k] + (1.0f - a.beta2) * g[k] * g[k];
        m[k] = m1;
        v[k] = v1;
        par[k] -= lr * (m1 / a.bias1) / (sqrt(v1 / a.bias2) + a.eps);
    }
}

/* What is done with the sums of one Gaussian: its gradient, to `out` or into an Adam step. */
static void finish(uint i, const float *s, gs_geo geo, gs_adam a, global float *par,
                   global const float *quant, global const float *rec, uint count, global float *m,
                   global float *v, global float *out)
{
    float g[P];
    size_t at = (size_t)i * P;
    for (int k = 0; k < P; ++k)
        g[k] = 0;
    if (count)
        finish_gradient(par + at, quant, geo, rec + at, s, g);
    if (out) {
        for (int k = 0; k < P; ++k)
            out[at + k] = g[k];
    } else {
        adam(par + at, m + at, v + at, g, a);
    }
}

/* Nothing moves after an overflow or a loss that is not finite: the host repeats or stops. */
static bool frozen(global const uint *status)
{
    return status[ST_OVERFLOW] || status[ST_NONFINITE];
}

#ifdef TS_FAT

/* Sum each Gaussian's slots in order, finish its gradient, step. out (may be null): gradients. */
kernel void gsplat_update(gs_geo geo, gs_adam a, global float *par, global const float *quant,
                          global const float *rec, global const uint *offsets,
                          global const float *part, global float *m, global float *v,
                          global float *out, global uint *status)
{
    if (frozen(status) || overflowed(geo, offsets))
        return;
    if (get_global_id(0) == 0)
        status[ST_STEPS] += 1;
    for (uint i = (uint)get_global_id(0); i < geo.n; i += (uint)get_global_size(0)) {
        float sum[P];
        uint first = offsets[i], end = offsets[i + 1];
        for (int k = 0; k < P; ++k)
            sum[k] = 0;
        for (uint slot = first; slot < end; ++slot)
            for (int k = 0; k < P; ++k)
                sum[k] += part[(size_t)slot * P + k];
        finish(i, sum, geo, a, par, quant, rec, end - first, m, v, out);
    }
}

#else

#    define LANES_EACH 32

kernel __attribute__((reqd_work_group_size(PIXELS, 1, 1))) void gsplat_update(
    gs_geo geo, gs_adam a, global float *par, global const float *quant, global const float *rec,
    global const uint *offsets, global const float *part, global float *m, global float *v,
    global float *out, global uint *status)
{
    local float sums[P * PIXELS];
    uint lid = (uint)get_local_id(0), lane = lid % LANES_EACH, own = lid / LANES_EACH;
    uint i = (uint)get_group_id(0) * (PIXELS / LANES_EACH) + own;
    bool stop = frozen(status) || overflowed(geo, offsets);
    float sum[P];
    uint first = 0, end = 0;
#    pragma unroll
    for (int k = 0; k < P; ++k)
        sum[k] = 0;
    if (i < geo.n && !stop) {
        first = offsets[i];
        end = offsets[i + 1];
        for (uint slot = first + lane; slot < end; slot += LANES_EACH)
#    pragma unroll
            for (int k = 0; k < P; ++k)
                sum[k] += part[(size_t)slot * P + k];
    }
#    pragma unroll
    for (int k = 0; k < P; ++k)
        sums[k * PIXELS + lid] = sum[k];
    for (uint apart = LANES_EACH / 2; apart > 0; apart >>= 1) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (lane < apart)
            for (int k = 0; k < P; ++k)
                sums[k * PIXELS + lid] += sums[k * PIXELS + lid + apart];
    }
    if (lane == 0 && i < geo.n && !stop) {
        for (int k = 0; k < P; ++k)
            sum[k] = sums[k * PIXELS + lid];
        finish(i, sum, geo, a, par, quant, rec, end - first, m, v, out);
        if (i == 0)
            status[ST_STEPS] += 1;
    }
}

#endif
