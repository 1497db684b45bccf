/* Scalar functions that kernels call.
 *
 * Written for `-fno-math-errno -fno-trapping-math -fassociative-math -fno-signed-zeros`: NaN and infinity keep their
 * meaning, but sums may be regrouped. Whatever must be rounded in one given order (range reduction, the tails of
 * polynomials) therefore goes through fma, which no compiler regroups. The f32 functions have no branches, so that
 * loops over them become vector code; their polynomials are those of Cephes (S. Moshier) unless noted. */
#ifndef FN /* the CUDA prelude has its own */
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__clang__)
#define VECTOR_LOOP _Pragma("clang loop vectorize(assume_safety)")
#else
#define VECTOR_LOOP _Pragma("GCC ivdep")
#endif
#define FN static inline __attribute__((always_inline, unused))
#define SLOW static __attribute__((noinline, unused))
/* At a kernel's end. Callers that use SSE would be several times slower while the upper halves of registers are in use, and
 * compilers clear them by themselves only at levels above -O1. */
#ifdef __AVX__
#define LEAVE __builtin_ia32_vzeroupper();
#else
#define LEAVE
#endif
/* Loops that kernels of several files call. */
#define NEST __attribute__((noinline, visibility("hidden")))
#endif
#define FMA(a, b, c) __builtin_fmaf((a), (b), (c))

FN int32_t bits_f32(float x) { int32_t i; memcpy(&i, &x, 4); return i; }
FN float from_bits_f32(int32_t i) { float x; memcpy(&x, &i, 4); return x; }
FN int64_t bits_f64(double x) { int64_t i; memcpy(&i, &x, 8); return i; }
FN double from_bits_f64(int64_t i) { double x; memcpy(&x, &i, 8); return x; }

/* ---- integers: wrapping, Euclidean; x/0 and x mod 0 are 0 ---- */
FN int64_t neg_i64(int64_t a) { return (int64_t)(0 - (uint64_t)a); }
FN int64_t abs_i64(int64_t a) { return a < 0 ? neg_i64(a) : a; }
FN int64_t add_i64(int64_t a, int64_t b) { return (int64_t)((uint64_t)a + (uint64_t)b); }
FN int64_t sub_i64(int64_t a, int64_t b) { return (int64_t)((uint64_t)a - (uint64_t)b); }
FN int64_t mul_i64(int64_t a, int64_t b) { return (int64_t)((uint64_t)a * (uint64_t)b); }
FN int64_t max_i64(int64_t a, int64_t b) { return a > b ? a : b; }
FN int64_t min_i64(int64_t a, int64_t b) { return a < b ? a : b; }
FN int64_t rem_i64(int64_t a, int64_t b) {
  if (b == 0 || b == -1) return 0;
  int64_t r = a % b;
  return r < 0 ? (b < 0 ? r - b : r + b) : r;
}
FN int64_t div_i64(int64_t a, int64_t b) {
  if (b == 0) return 0;
  if (b == -1) return neg_i64(a);
  int64_t q = a / b;
  return a % b < 0 ? (b < 0 ? q + 1 : q - 1) : q;
}
FN int64_t pow_i64(int64_t a, int64_t b) {
  uint64_t base = (uint64_t)a, result = 1;
  if (b < 0) return a == 1 ? 1 : a == -1 ? (b & 1 ? -1 : 1) : 0;
  for (; b; b >>= 1, base *= base)
    if (b & 1) result *= base;
  return (int64_t)result;
}
/* Truncation that saturates; NaN gives 0. */
FN int64_t i64_of_f64(double x) {
  return x >= 0x1p63 ? INT64_MAX : x < -0x1p63 ? INT64_MIN : x != x ? 0 : (int64_t)x;
}
FN int64_t i64_of_f32(float x) { return i64_of_f64(x); }

/* ---- loads at computed positions: out of bounds reads NaN (0 for integers), never foreign memory ---- */
FN float load_f32(const float *b, int64_t n, int64_t at) { return (uint64_t)at < (uint64_t)n ? b[at] : NAN; }
FN double load_f64(const double *b, int64_t n, int64_t at) { return (uint64_t)at < (uint64_t)n ? b[at] : (double)NAN; }
FN int64_t load_i64(const int64_t *b, int64_t n, int64_t at) { return (uint64_t)at < (uint64_t)n ? b[at] : 0; }
FN _Bool load_bool(const uint8_t *b, int64_t n, int64_t at) { return (uint64_t)at < (uint64_t)n ? b[at] != 0 : 0; }

/* ---- a total order of floats as integers, NaN above all: maxima over these are vector code,
 * NaN included, where no branch is written. For minima NaN is below all. ---- */
FN int32_t nan_f32(float x) { return -((bits_f32(x) & INT32_MAX) > 0x7f800000); }
FN int64_t nan_f64(double x) { return -(int64_t)((bits_f64(x) & INT64_MAX) > INT64_C(0x7ff0000000000000)); }
FN int32_t key_f32(float x) { int32_t i = bits_f32(x); return (i ^ ((i >> 31) & INT32_MAX)) & ~nan_f32(x); }
FN int64_t key_f64(double x) { int64_t i = bits_f64(x); return (i ^ ((i >> 63) & INT64_MAX)) & ~nan_f64(x); }
FN int32_t max_key_f32(float x) { return key_f32(x) | (nan_f32(x) & INT32_MAX); }
FN int64_t max_key_f64(double x) { return key_f64(x) | (nan_f64(x) & INT64_MAX); }
FN int32_t min_key_f32(float x) { return key_f32(x) | (nan_f32(x) & INT32_MIN); }
FN int64_t min_key_f64(double x) { return key_f64(x) | (nan_f64(x) & INT64_MIN); }
FN float unkey_f32(int32_t k) { return from_bits_f32(k ^ ((k >> 31) & INT32_MAX)); }
FN double unkey_f64(int64_t k) { return from_bits_f64(k ^ ((k >> 63) & INT64_MAX)); }

/* ---- f32 ---- */
FN float neg_f32(float x) { return -x; }
FN float abs_f32(float x) { return __builtin_fabsf(x); }
FN float sign_f32(float x) { return x > 0 ? 1.0f : x < 0 ? -1.0f : x; }
FN float floor_f32(float x) { return __builtin_floorf(x); }
FN float sqrt_f32(float x) { return __builtin_sqrtf(x); }
FN _Bool isfinite_f32(float x) { return __builtin_fabsf(x) <= FLT_MAX; }
FN float max_f32(float a, float b) { return a != a ? a : a > b ? a : b; }
FN float min_f32(float a, float b) { return a != a ? a : a < b ? a : b; }
FN float pow_f32(float a, float b) { return powf(a, b); }
FN float atan2_f32(float a, float b) { return atan2f(a, b); }
FN float rem_f32(float a, float b) { float r = fmodf(a, b); return r < 0 ? r + __builtin_fabsf(b) : r; }

FN float exp_f32(float x) {
  x = x > 89.5f ? 89.5f : x < -104.5f ? -104.5f : x;
  float k = __builtin_rintf(x * 0x1.715476p+0f);
  float r = FMA(k, -0x1.62e4p-1f, x);
  r = FMA(k, -0x1.7f7d1cp-20f, r);
  float p = FMA(1.9875691500e-4f, r, 1.3981999507e-3f);
  p = FMA(p, r, 8.3334519073e-3f);
  p = FMA(p, r, 4.1665795894e-2f);
  p = FMA(p, r, 1.6666665459e-1f);
  p = FMA(p, r, 5.0000001201e-1f);
  p = FMA(p, r * r, r) + 1.0f;
  /* 2^k in two steps, each of them representable; the first on the exponent bits, so that the steps stay apart. */
  int32_t n = (int32_t)k, half = n >> 1;
  float high = from_bits_f32((int32_t)((uint32_t)bits_f32(p) + ((uint32_t)half << 23)));
  float scaled = high * from_bits_f32((int32_t)((uint32_t)(n - half + 127) << 23));
  return x != x ? x : scaled;
}

/* ln(1 + f) + e ln 2 for f in [sqrt(1/2) - 1, sqrt(2) - 1]. */
FN float log_core_f32(float f, float e) {
  float z = f * f;
  float p = FMA(7.0376836292e-2f, f, -1.1514610310e-1f);
  p = FMA(p, f, 1.1676998740e-1f);
  p = FMA(p, f, -1.2420140846e-1f);
  p = FMA(p, f, 1.4249322787e-1f);
  p = FMA(p, f, -1.6668057665e-1f);
  p = FMA(p, f, 2.0000714765e-1f);
  p = FMA(p, f, -2.4999993993e-1f);
  p = FMA(p, f, 3.3333331174e-1f);
  float y = FMA(e, -2.12194440e-4f, p * f * z);
  y = FMA(-0.5f, z, y);
  return FMA(e, 0.693359375f, f + y);
}

FN float log_f32(float x) {
  float tiny = x < FLT_MIN ? 1.0f : 0.0f;
  float scaled = x < FLT_MIN ? x * 0x1p23f : x;
  /* Subtracting the bits of sqrt(1/2) puts the mantissa into [sqrt(1/2), sqrt(2)). */
  int32_t shifted = (int32_t)((uint32_t)bits_f32(scaled) - 0x3f3504f3u);
  float e = FMA(tiny, -23.0f, (float)(shifted >> 23));
  float m = from_bits_f32((shifted & 0x007fffff) + 0x3f3504f3);
  float y = log_core_f32(m - 1.0f, e);
  y = x == INFINITY ? INFINITY : y;
  y = x == 0.0f ? -INFINITY : y;
  y = x < 0.0f ? NAN : y;
  return x != x ? x : y;
}

FN float log1p_f32(float x) {
  /* Near 0 the polynomial takes x itself; elsewhere rounding 1 + x costs no more than the logarithm does. */
  float far = log_f32(1.0f + x);
  float near = log_core_f32(x, 0.0f);
  return x > -0.29f && x < 0.41f ? near : far;
}

FN float sigmoid_f32(float x) { return 1.0f / (1.0f + exp_f32(-x)); }
FN float softplus_f32(float x) {
  float y = log1p_f32(exp_f32(-__builtin_fabsf(x)));
  return x > 0 ? x + y : y;
}

FN float tanh_f32(float x) {
  float a = __builtin_fabsf(x), z = x * x;
  float p = FMA(-5.70498872745e-3f, z, 2.06390887954e-2f);
  p = FMA(p, z, -5.37397155531e-2f);
  p = FMA(p, z, 1.33314422036e-1f);
  p = FMA(p, z, -3.33332819422e-1f);
  float near = FMA(p * z, x, x);
  float far = __builtin_copysignf(1.0f - 2.0f / (exp_f32(2.0f * a) + 1.0f), x);
  return a < 0.625f ? near : far;
}

/* After N. Juffa's erff. */
FN float erf_f32(float x) {
  float t = __builtin_fabsf(x), s = x * x;
  float r = FMA(-1.72853470e-5f, t, 3.83197126e-4f);
  float u = FMA(-3.88396438e-3f, t, 2.42546219e-2f);
  r = FMA(r, s, u);
  r = FMA(r, t, -1.06777877e-1f);
  r = FMA(r, t, -6.34846687e-1f);
  r = FMA(r, t, -1.28717512e-1f);
  r = FMA(r, t, -t);
  float far = __builtin_copysignf(1.0f - exp_f32(r), x);
  float p = FMA(-5.96761703e-4f, s, 4.99119423e-3f);
  p = FMA(p, s, -2.67681349e-2f);
  p = FMA(p, s, 1.12819925e-1f);
  p = FMA(p, s, -3.76125336e-1f);
  p = FMA(p, s, 1.28379166e-1f);
  float near = FMA(p, x, x);
  return t > 0.927734375f ? far : near;
}

/* sin(x + quarter pi/2): the reduction is in f64, exact enough for f32 results up to |x| = 2^40. */
FN float sine_f32(float x, double quarter) {
  double k = __builtin_rint((double)x * 0x1.45f306dc9c883p-1);
  double d = __builtin_fma(k, -0x1.921fb54442d18p+0, (double)x);
  d = __builtin_fma(k, -0x1.1a62633145c07p-54, d);
  d = d > 0.7854 ? 0.7854 : d < -0.7854 ? -0.7854 : d;
  k += quarter;
  float q = (float)(k - 4.0 * __builtin_floor(k * 0.25));
  float r = (float)d, z = r * r;
  float s = FMA(-1.9515295891e-4f, z, 8.3321608736e-3f);
  s = FMA(s, z, -1.6666654611e-1f);
  s = FMA(s * z, r, r);
  float c = FMA(2.443315711809948e-5f, z, -1.388731625493765e-3f);
  c = FMA(c, z, 4.166664568298827e-2f);
  c = FMA(c, z, -0.5f);
  c = FMA(c, z, 1.0f);
  float y = q == 1.0f || q == 3.0f ? c : s;
  y = q >= 2.0f ? -y : y;
  return isfinite_f32(x) ? y : NAN;
}
FN float sin_f32(float x) { return sine_f32(x, 0.0); }
FN float cos_f32(float x) { return sine_f32(x, 1.0); }

/* ---- f64 ---- */
FN double neg_f64(double x) { return -x; }
FN double abs_f64(double x) { return __builtin_fabs(x); }
FN double sign_f64(double x) { return x > 0 ? 1.0 : x < 0 ? -1.0 : x; }
FN double floor_f64(double x) { return __builtin_floor(x); }
FN double sqrt_f64(double x) { return __builtin_sqrt(x); }
FN _Bool isfinite_f64(double x) { return __builtin_fabs(x) <= DBL_MAX; }
FN double max_f64(double a, double b) { return a != a ? a : a > b ? a : b; }
FN double min_f64(double a, double b) { return a != a ? a : a < b ? a : b; }
FN double pow_f64(double a, double b) { return pow(a, b); }
FN double atan2_f64(double a, double b) { return atan2(a, b); }
FN double rem_f64(double a, double b) { double r = fmod(a, b); return r < 0 ? r + __builtin_fabs(b) : r; }
FN double exp_f64(double x) { return exp(x); }
FN double log_f64(double x) { return log(x); }
FN double log1p_f64(double x) { return log1p(x); }
FN double sin_f64(double x) { return sin(x); }
FN double cos_f64(double x) { return cos(x); }
FN double tanh_f64(double x) { return tanh(x); }
FN double erf_f64(double x) { return erf(x); }
FN double sigmoid_f64(double x) { return 1.0 / (1.0 + exp(-x)); }
FN double softplus_f64(double x) {
  double y = log1p(exp(-__builtin_fabs(x)));
  return x > 0 ? x + y : y;
}

/* Wichura's AS 241 (PPND16): relative error about 1e-16. */
SLOW double normal_quantile_f64(double p) {
  double q = p - 0.5;
  if (!(p > 0.0 && p < 1.0)) return p == 0.0 ? -INFINITY : p == 1.0 ? INFINITY : NAN;
  if (__builtin_fabs(q) <= 0.425) {
    double r = 0.180625 - q * q;
    return q *
           (((((((2.5090809287301226727e+3 * r + 3.3430575583588128105e+4) * r + 6.7265770927008700853e+4) * r +
                4.5921953931549871457e+4) * r + 1.3731693765509461125e+4) * r + 1.9715909503065514427e+3) * r +
             1.3314166789178437745e+2) * r + 3.3871328727963666080e+0) /
           (((((((5.2264952788528545610e+3 * r + 2.8729085735721942674e+4) * r + 3.9307895800092710610e+4) * r +
                2.1213794301586595867e+4) * r + 5.3941960214247511077e+3) * r + 6.8718700749205790830e+2) * r +
             4.2313330701600911252e+1) * r + 1.0);
  }
  double r = sqrt(-(q < 0 ? log(p) : log1p(-p))), x;
  if (r <= 5.0) {
    r -= 1.6;
    x = (((((((7.74545014278341407640e-4 * r + 2.27238449892691845833e-2) * r + 2.41780725177450611770e-1) * r +
             1.27045825245236838258e+0) * r + 3.64784832476320460504e+0) * r + 5.76949722146069140550e+0) * r +
          4.63033784615654529590e+0) * r + 1.42343711074968357734e+0) /
        (((((((1.05075007164441684324e-9 * r + 5.47593808499534494600e-4) * r + 1.51986665636164571966e-2) * r +
             1.48103976427480074590e-1) * r + 6.89767334985100004550e-1) * r + 1.67638483018380384940e+0) * r +
          2.05319162663775882187e+0) * r + 1.0);
  } else {
    r -= 5.0;
    x = (((((((2.01033439929228813265e-7 * r + 2.71155556874348757815e-5) * r + 1.24266094738807843860e-3) * r +
             2.65321895265761230930e-2) * r + 2.96560571828504891230e-1) * r + 1.78482653991729133580e+0) * r +
          5.46378491116411436990e+0) * r + 6.65790464350110377720e+0) /
        (((((((2.04426310338993978564e-15 * r + 1.42151175831644588870e-7) * r + 1.84631831751005468180e-5) * r +
             7.86869131145613259100e-4) * r + 1.48753612908506148525e-2) * r + 1.36929880922735805310e-1) * r +
          5.99832206555887937690e-1) * r + 1.0);
  }
  return q < 0 ? -x : x;
}

/* The continued fraction of the incomplete beta function (DLMF 8.17.22), by Lentz's method. */
SLOW double beta_fraction(double a, double b, double x) {
  const double tiny = 1e-300;
  double c = 1.0, d = 1.0 - (a + b) * x / (a + 1.0);
  d = 1.0 / (__builtin_fabs(d) < tiny ? tiny : d);
  double f = d;
  for (int i = 1; i < 20000; ++i) {
    for (int odd = 0; odd < 2; ++odd) {
      double e = odd ? -(a + i) * (a + b + i) * x / ((a + 2 * i) * (a + 2 * i + 1))
                     : i * (b - i) * x / ((a + 2 * i - 1) * (a + 2 * i));
      d = 1.0 + e * d;
      d = 1.0 / (__builtin_fabs(d) < tiny ? tiny : d);
      c = 1.0 + e / c;
      c = __builtin_fabs(c) < tiny ? tiny : c;
      f *= c * d;
    }
    if (__builtin_fabs(c * d - 1.0) < 1e-16) break;
  }
  return f;
}

/* P(T <= -|t|) with v degrees of freedom: half the incomplete beta function I_x(v/2, 1/2), x = v/(v + t^2). */
SLOW double student_tail(double t, double v) {
  if (v > 1e8) return 0.5 * erfc(__builtin_fabs(t) * 0.70710678118654752440);
  double a = 0.5 * v, b = 0.5, square = t * t;
  double x = v / (v + square), y = square / (v + square);
  if (square == INFINITY || x == 0.0) return 0.0;
  if (y == 0.0) return 0.5;
  double log_x = x < 0.5 ? log(x) : log1p(-y), log_y = y < 0.5 ? log(y) : log1p(-x);
  double front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log_x + b * log_y);
  if (x < (a + 1.0) / (a + b + 2.0)) return 0.5 * front * beta_fraction(a, b, x) / a;
  return 0.5 * (1.0 - front * beta_fraction(b, a, y) / b);
}

SLOW double student_cdf_f64(double t, double v) {
  if (t != t || !(v > 0)) return NAN;
  return t > 0 ? 1.0 - student_tail(t, v) : student_tail(t, v);
}

SLOW double student_quantile_f64(double p, double v) {
  if (!(p > 0.0 && p < 1.0 && v > 0)) return v > 0 && p == 0.0 ? -INFINITY : v > 0 && p == 1.0 ? INFINITY : NAN;
  double q = p < 0.5 ? p : 1.0 - p, low = 0.0, high = 1.0;
  while (student_tail(high, v) > q && high < 1e300) low = high, high *= 2.0;
  double scale = exp(lgamma(0.5 * v + 0.5) - lgamma(0.5 * v)) / sqrt(v * 3.14159265358979323846);
  double t = 0.5 * (low + high);
  /* Newton's method, kept within the bracket. */
  for (int i = 0; i < 200; ++i) {
    double excess = student_tail(t, v) - q;
    if (excess > 0) low = t; else high = t;
    double density = scale * exp(-0.5 * (v + 1.0) * log1p(t * t / v));
    double next = t + excess / density;
    if (!(next > low && next < high)) next = 0.5 * (low + high);
    double change = __builtin_fabs(next - t);
    t = next;
    if (change <= 2e-16 * t) break;
  }
  return p < 0.5 ? -t : t;
}

FN float normal_quantile_f32(float p) { return (float)normal_quantile_f64(p); }
FN float student_cdf_f32(float t, float v) { return (float)student_cdf_f64(t, v); }
FN float student_quantile_f32(float p, float v) { return (float)student_quantile_f64(p, v); }
