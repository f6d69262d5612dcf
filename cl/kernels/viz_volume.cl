/*
 * Ray casting through a volume: reductions along the ray, compositing, and an isosurface.
 *
 * Built with -DTS_IN=<dtype>. World: x right, y up, z to the viewer; the box has half extents
 * (w, h, d)/max; row 0 is on top, slice 0 in front. One ray an item; on CPU devices an item takes
 * `d.chunk` columns of a row. Reference: the volume cases of tests/golden/tensor-video.
 */
/* One sample at a time, on CPU devices, too. */
#define VIZ_VW 1
#include "viz_map.clh"

typedef struct ray {
    float3 at, step; /* voxel coordinates of the first sample, and from one to the next */
    float3 dir;      /* of the world */
    int n;           /* samples */
} ray;

inline bool slab(float o, float d, float e, float *t0, float *t1)
{
    if (fabs(d) < 1e-7f)
        return fabs(o) <= e;
    float a = (-e - o) / d, b = (e - o) / d;
    *t0 = fmax(*t0, fmin(a, b));
    *t1 = fmin(*t1, fmax(a, b));
    return true;
}

inline float3 vec(const float *v)
{
    return (float3)(v[0], v[1], v[2]);
}

/* The ray of pixel (px, py) of pw x ph; false where it misses the box. */
inline bool cast_ray(const viz_volume *v, int px, int py, int pw, int ph, ray *r)
{
    float m = (float)max(v->w, max(v->h, v->d));
    float3 size = (float3)((float)v->w, (float)v->h, (float)v->d), e = size / m;
    float x = (((float)px + 0.5f) / (float)pw * 2.0f - 1.0f) * ((float)pw / (float)ph) * v->scale;
    float y = (1.0f - ((float)py + 0.5f) / (float)ph * 2.0f) * v->scale;
    float3 f = vec(v->forward), plane = vec(v->right) * x + vec(v->up) * y;
    float3 o = -v->distance * f, dir = f;
    if (v->perspective)
        dir = normalize(f + v->tan_half_fov * plane);
    else
        o += plane;
    float t0 = 0.0f, t1 = INFINITY;
    if (!slab(o.x, dir.x, e.x, &t0, &t1) || !slab(o.y, dir.y, e.y, &t0, &t1) ||
        !slab(o.z, dir.z, e.z, &t0, &t1) || !(t0 < t1))
        return false;
    float dt = v->step * 2.0f / m;
    /* The samples t0 + (k + ½)·dt that lie before t1. */
    r->n = max((int)ceil((t1 - t0) / dt - 0.5f), 0);
    float3 p = o + dir * (t0 + 0.5f * dt), flip = (float3)(1.0f, -1.0f, -1.0f);
    r->at = (p * flip / e + 1.0f) * 0.5f * size - 0.5f;
    r->step = dir * flip / e * dt * 0.5f * size;
    r->dir = dir;
    return r->n > 0;
}

inline float tap(const global uchar *data, const plane_ref *p, ulong i)
{
    return load_one(data, i, p->lo, p->lo_h, p->lo_l, p->pre);
}

/* Trilinear, coordinates held inside; NaN where a tap is not finite. */
inline float trilinear(const global uchar *data, const viz_volume *v, const plane_ref *p, float3 at)
{
    float x = clamp(at.x, 0.0f, (float)(v->w - 1)), y = clamp(at.y, 0.0f, (float)(v->h - 1)),
          z = clamp(at.z, 0.0f, (float)(v->d - 1));
    int x0 = (int)x, y0 = (int)y, z0 = (int)z;
    float fx = x - (float)x0, fy = y - (float)y0, fz = z - (float)z0;
    ulong i = v->base + z0 * v->sz + y0 * v->sy + x0 * v->sx;
    ulong dx = x0 + 1 < v->w ? v->sx : 0, dy = y0 + 1 < v->h ? v->sy : 0,
          dz = z0 + 1 < v->d ? v->sz : 0;
    float c00 = mix(tap(data, p, i), tap(data, p, i + dx), fx);
    float c01 = mix(tap(data, p, i + dy), tap(data, p, i + dy + dx), fx);
    float c10 = mix(tap(data, p, i + dz), tap(data, p, i + dz + dx), fx);
    float c11 = mix(tap(data, p, i + dz + dy), tap(data, p, i + dz + dy + dx), fx);
    float r = mix(mix(c00, c01, fy), mix(c10, c11, fy), fz);
    return isfinite(r) ? r : NAN;
}

inline float t_at(const global uchar *data, const viz_volume *v, const plane_ref *p,
                  const viz_draw *d, float3 at)
{
    float lanes[VIZ_VW];
    STOREV(map_v((fv)trilinear(data, v, p, at), d, &p->rec, p->cdf), lanes);
    return lanes[0];
}

/*
 * mip, minip and mean: out[y·dw + x] = t of the reduced value, T_BG where the ray misses. Global:
 * (dw / chunk, dh).
 */
kernel void viz_volume_reduce(const global uchar *data, viz_volume v, viz_draw d,
                              const global viz_range_record *ranges, const global float *cdf,
                              global float *out)
{
    int y = (int)get_global_id(1), x0 = (int)get_global_id(0) * d.chunk;
    if (y >= d.dh || x0 >= d.dw)
        return;
    plane_ref p;
    open_plane(&p, &d, 0, 0, ranges, cdf);
    for (int x = x0; x < min(x0 + d.chunk, d.dw); x++) {
        ray r;
        float t = T_BG;
        if (cast_ray(&v, x, y, d.dw, d.dh, &r)) {
            float most = -INFINITY, least = INFINITY, sum = 0.0f;
            int seen = 0;
            for (int k = 0; k < r.n; k++) {
                float s = trilinear(data, &v, &p, r.at + r.step * (float)k);
                if (isnan(s))
                    continue;
                seen++;
                most = fmax(most, s);
                least = fmin(least, s);
                sum += s;
            }
            float reduced = v.mode == VIZ_VOLUME_MIP     ? most
                            : v.mode == VIZ_VOLUME_MINIP ? least
                                                         : sum / (float)max(seen, 1);
            float lanes[VIZ_VW];
            STOREV(map_v((fv)(seen ? reduced : NAN), &d, &p.rec, p.cdf), lanes);
            t = lanes[0];
        }
        out[(ulong)y * d.dw + x] = t;
    }
}

inline float opacity_at(const viz_volume *v, float t)
{
    int n = v->n_opacity, s = 0;
    while (s < n && v->opacity[s][0] <= t)
        s++;
    if (s == 0)
        return v->opacity[0][1];
    if (s == n)
        return v->opacity[n - 1][1];
    float a = v->opacity[s - 1][0], b = v->opacity[s][0];
    return mix(v->opacity[s - 1][1], v->opacity[s][1], (t - a) / (b - a));
}

inline float3 composite(const global uchar *data, const viz_volume *v, const plane_ref *p,
                        const viz_draw *d, const global float *rows, const ray *r)
{
    float3 c = 0.0f;
    float a = 0.0f;
    for (int k = 0; k < r->n && a < 0.999f; k++) {
        float t = t_at(data, v, p, d, r->at + r->step * (float)k);
        if (!(fabs(t) <= 1e30f))
            continue;
        float alpha = opacity_at(v, t);
        if (alpha <= 0.0f)
            continue;
        if (v->step != 1.0f)
            alpha = 1.0f - pow(1.0f - alpha, v->step);
        c += (1.0f - a) * alpha * color_of(t, d->color, d->modulo, rows);
        a += (1.0f - a) * alpha;
    }
    return c + (1.0f - a) * vec(v->background);
}

inline float3 surface(const global uchar *data, const viz_volume *v, const plane_ref *p,
                      const viz_draw *d, const ray *r)
{
    for (int k = 0; k < r->n; k++) {
        float3 hit = r->at + r->step * (float)k;
        if (!(t_at(data, v, p, d, hit) >= v->iso))
            continue;
        float3 before = k > 0 ? hit - r->step : hit;
        for (int i = 0; i < 8; i++) {
            float3 middle = (before + hit) * 0.5f;
            if (t_at(data, v, p, d, middle) >= v->iso)
                hit = middle;
            else
                before = middle;
        }
        const float3 ex = (float3)(1, 0, 0), ey = (float3)(0, 1, 0), ez = (float3)(0, 0, 1);
        float3 g;
        g.x = t_at(data, v, p, d, hit + ex) - t_at(data, v, p, d, hit - ex);
        g.y = t_at(data, v, p, d, hit - ey) - t_at(data, v, p, d, hit + ey);
        g.z = t_at(data, v, p, d, hit - ez) - t_at(data, v, p, d, hit + ez);
        float len = length(g);
        float facing = len > 0.0f && isfinite(len) ? fabs(dot(g / len, r->dir)) : 0.0f;
        return vec(v->color) * (0.2f + 0.8f * facing);
    }
    return vec(v->background);
}

/* alpha and iso: colours into the rectangle of d. Global: (dw / chunk, dh). */
kernel void viz_volume_color(const global uchar *data, viz_volume v, viz_draw d,
                             const global viz_range_record *ranges, const global float *cdf,
                             const global float *rows, global uint *canvas)
{
    int y = (int)get_global_id(1), x0 = (int)get_global_id(0) * d.chunk, py = d.oy + y;
    if (y >= d.dh || x0 >= d.dw || py < 0 || py >= d.dst_h)
        return;
    plane_ref p;
    open_plane(&p, &d, 0, 0, ranges, cdf);
    for (int x = x0; x < min(x0 + d.chunk, d.dw); x++) {
        ray r;
        int px = d.ox + x;
        float3 c = vec(v.background);
        if (cast_ray(&v, x, y, d.dw, d.dh, &r))
            c = v.mode == VIZ_VOLUME_ISO ? surface(data, &v, &p, &d, &r)
                                         : composite(data, &v, &p, &d, rows, &r);
        if (px >= 0 && px < d.dst_w)
            canvas[(ulong)py * d.dst_w + px] = pack_rgb(c);
    }
}
