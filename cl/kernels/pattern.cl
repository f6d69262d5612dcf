/*
 * Animated patterns, f32 h x w, drawn straight into a tensor. A work-item fills `chunk` columns of a
 * row. phase: the time-dependent angles of each pattern, reduced on the host so that hours of
 * frames lose nothing. Reference: tests/ref/ref_pattern.c, tests/golden/tensor-video/logic.
 */

#ifdef TS_CPU
#    define PV 8
typedef float8 pf;
#    define LANES     ((pf)(0, 1, 2, 3, 4, 5, 6, 7))
#    define PUT(v, p) vstore8((v), 0, (p))
#else
#    define PV        1
typedef float pf;
#    define LANES     0.0f
#    define PUT(v, p) (*(p) = (v))
#endif

inline pf waves(pf x, float y, float w, float h, const float *a)
{
    pf X = x / w * 8.0f;
    float Y = y / h * 8.0f;
    pf r = sqrt((X - 4.0f) * (X - 4.0f) + (Y - 4.0f) * (Y - 4.0f));
    return 0.5f * (0.3f * sin(X + a[0]) + 0.3f * sin(Y + a[1]) + 0.2f * sin((X + Y) / 2.0f + a[2]) +
                   0.2f * sin(r - a[3])) +
           0.5f;
}

inline pf rotor(pf x, float y, float w, float h, const float *a)
{
    pf dx = x - w / 2.0f, dy = (pf)(y - h / 2.0f);
    pf rho = sqrt(dx * dx + dy * dy) / (w / 2.0f);
    return (sin(4.0f * atan2(dy, dx) + a[0]) * fmax(1.0f - rho, (pf)0.0f) + 1.0f) / 2.0f;
}

inline pf cells(pf x, float y, float w, float h, const float *a)
{
    pf v = fabs(sin(16.0f * x / w + a[0]) + cos(16.0f * y / h + a[0])) +
           fabs(cos(8.0f * x / w - a[1]) * sin(8.0f * y / h - a[1]));
    return clamp(v / 4.0f, (pf)0.0f, (pf)1.0f);
}

/* a: cosine and sine of the turn */
inline pf matrot(pf x, float y, float w, float h, const float *a)
{
    pf p = x / w;
    float q = y / h;
    return sin(10.0f * (p * a[0] - q * a[1])) * cos(10.0f * (p * a[1] + q * a[0]));
}

/* out[y·w + x]. Global: (w / chunk, h). */
kernel void pattern_draw(global float *out, int w, int h, int which, float4 phase, int chunk)
{
    int y = (int)get_global_id(1), x0 = (int)get_global_id(0) * chunk;
    if (y >= h || x0 >= w)
        return;
    const float a[4] = {phase.x, phase.y, phase.z, phase.w};
    float fw = (float)w, fh = (float)h, fy = (float)y;
    int end = min(x0 + chunk, w);
    for (int x = x0; x < end; x += PV) {
        pf fx = (pf)(float)x + LANES, v;
        if (which == 0)
            v = waves(fx, fy, fw, fh, a);
        else if (which == 1)
            v = rotor(fx, fy, fw, fh, a);
        else if (which == 2)
            v = cells(fx, fy, fw, fh, a);
        else
            v = matrot(fx, fy, fw, fh, a);
        global float *o = out + (ulong)y * w + x;
        if (x + PV <= end) {
            PUT(v, o);
            continue;
        }
        float lanes[PV];
        PUT(v, lanes);
        for (int l = 0; x + l < end; l++)
            o[l] = lanes[l];
    }
}
