/* C twins of cl/kernels/demo.cl; shapes as there. */
#ifndef TS_TESTS_REF_DEMO_H
#define TS_TESTS_REF_DEMO_H

void ref_demo_reaction(const float *u, const float *v, float *u_out, float *v_out, int w, int h,
                       double du, double dv, double feed, double kill);
void ref_demo_wave(const float *p, const float *before, float *out, int w, int h, int d, double c2,
                   double damp, int sx, int sy, int sz, double drive);
/* Half the mean squared error of the network; its gradient is what the training kernels compute. */
double ref_demo_loss(const float *points, const float *freq, const float *w1, const float *w2,
                     const float *w3, int batch, int n, double t);

#endif
