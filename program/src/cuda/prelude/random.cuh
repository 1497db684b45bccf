/* ---- random numbers: runtime/src/random, bit by bit ----
 * Every operation is rounded by itself (`__dmul_rn` and its kin are never joined into multiply-adds). */
struct Words { uint32_t x[4]; };
FN Words philox(uint64_t number, uint64_t key, uint64_t step) {
  uint32_t a = (uint32_t)number, b = (uint32_t)(number >> 32), c = (uint32_t)step, d = (uint32_t)(step >> 32);
  uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const uint64_t x = (uint64_t)a * 0xd2511f53u, y = (uint64_t)c * 0xcd9e8d57u;
    a = (uint32_t)(y >> 32) ^ b ^ k0;
    c = (uint32_t)(x >> 32) ^ d ^ k1;
    b = (uint32_t)y;
    d = (uint32_t)x;
    k0 += 0x9e3779b9u;
    k1 += 0xbb67ae85u;
  }
  return Words{{a, b, c, d}};
}
FN uint64_t random_bits(int64_t element, uint64_t key, uint64_t step) {
  const Words w = philox((uint64_t)element / 2, key, step);
  return element % 2 ? w.x[2] | (uint64_t)w.x[3] << 32 : w.x[0] | (uint64_t)w.x[1] << 32;
}
#define ADD(a, b) __dadd_rn((a), (b))
#define SUB(a, b) __dsub_rn((a), (b))
#define MUL(a, b) __dmul_rn((a), (b))
FN double random_ln(double u) {
  const uint64_t low = 0x3fe6a09e667f3bcdull;
  const uint64_t bits = (uint64_t)bits_f64(u) + ((1023ull << 52) - low);
  const double f = SUB(from_bits_f64((int64_t)((bits & 0xfffffffffffffull) + low)), 1.0);
  const double s = __ddiv_rn(f, ADD(2.0, f)), z = MUL(s, s);
  double r = 0.14798198605116586;
  r = ADD(MUL(r, z), 0.15313837699209373);
  r = ADD(MUL(r, z), 0.1818357216161805);
  r = ADD(MUL(r, z), 0.22222198432149784);
  r = ADD(MUL(r, z), 0.2857142874366239);
  r = ADD(MUL(r, z), 0.3999999999940942);
  r = ADD(MUL(r, z), 0.6666666666666735);
  const double k = (double)((int64_t)(bits >> 52) - 1023), half = MUL(MUL(0.5, f), f);
  const double small = ADD(MUL(s, ADD(half, MUL(z, r))), MUL(k, 1.9082149292705877e-10));
  return SUB(MUL(k, 0.6931471803691238), SUB(SUB(half, small), f));
}
/* Two standard normals by Box and Muller's method: elements 2·pair and 2·pair + 1. */
FN void normal_pair(int64_t pair, uint64_t key, uint64_t step, double &first, double &second) {
  const Words w = philox((uint64_t)pair, key, step);
  const double u = MUL((double)(((w.x[0] | (uint64_t)w.x[1] << 32) >> 11) + 1), 0x1p-53);
  const double v = MUL((double)((w.x[2] | (uint64_t)w.x[3] << 32) >> 11), 0x1p-53);
  const double radius = __dsqrt_rn(MUL(-2.0, random_ln(u)));
  /* Adding 1.5·2^52 rounds to a whole number of quarters, which is then the last bits. */
  const double whole = 6755399441055744.0, shifted = ADD(MUL(4.0, v), whole);
  const double x = MUL(SUB(v, MUL(0.25, SUB(shifted, whole))), 6.28318530717958647692), z = MUL(x, x);
  double p = 1.58969099521155e-10;
  p = ADD(MUL(p, z), -2.5050760253406863e-08);
  p = ADD(MUL(p, z), 2.7557313707070068e-06);
  p = ADD(MUL(p, z), -0.0001984126982985795);
  p = ADD(MUL(p, z), 0.00833333333332249);
  p = ADD(MUL(p, z), -0.16666666666666632);
  double q = -1.1359647557788195e-11;
  q = ADD(MUL(q, z), 2.087572321298175e-09);
  q = ADD(MUL(q, z), -2.7557314351390663e-07);
  q = ADD(MUL(q, z), 2.480158728947673e-05);
  q = ADD(MUL(q, z), -0.001388888888887411);
  q = ADD(MUL(q, z), 0.0416666666666666);
  const double sine = ADD(x, MUL(x, MUL(z, p)));
  const double cosine = ADD(SUB(1.0, MUL(0.5, z)), MUL(MUL(z, z), q));
  const uint64_t quarter = (uint64_t)bits_f64(shifted);
  const double a = quarter & 1 ? sine : cosine, b = quarter & 1 ? cosine : sine;
  first = MUL(radius, (quarter + 1) & 2 ? -a : a);
  second = MUL(radius, quarter & 2 ? -b : b);
}
#undef ADD
#undef SUB
#undef MUL
#define EACH(i, n) for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < (n); i += (int64_t)gridDim.x * blockDim.x)
template <class T> FN void draw_normal(T *out, int64_t n, uint64_t key, uint64_t step) {
  EACH(pair, (n + 1) / 2) {
    double first, second;
    normal_pair(pair, key, step, first, second);
    out[2 * pair] = (T)first;
    if (2 * pair + 1 < n) out[2 * pair + 1] = (T)second;
  }
}
FN void draw_uniform(double *out, int64_t n, uint64_t key, uint64_t step) {
  EACH(i, n) out[i] = (double)(random_bits(i, key, step) >> 11) * 0x1p-53;
}
FN void draw_uniform(float *out, int64_t n, uint64_t key, uint64_t step) {
  EACH(i, n) out[i] = (float)(philox((uint64_t)i / 4, key, step).x[i % 4] >> 8) * 0x1p-24f;
}
FN void draw_index(int64_t *out, int64_t n, int64_t below, uint64_t key, uint64_t step) {
  EACH(i, n) out[i] = (int64_t)__umul64hi(random_bits(i, key, step), (uint64_t)below);
}
#undef EACH
