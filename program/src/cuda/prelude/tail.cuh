
/* ---- bf16: the upper half of an f32, rounded to even ---- */
struct bf16 { uint16_t bits; };
FN float widen(bf16 x) { return from_bits_f32((int32_t)((uint32_t)x.bits << 16)); }
FN bf16 narrow(float x) {
  uint32_t u = (uint32_t)bits_f32(x);
  uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  bf16 y;
  y.bits = (uint16_t)(x != x ? (u >> 16) | 0x40u : rounded);
  return y;
}
FN float load_f32(const bf16 *b, int64_t n, int64_t at) { return (uint64_t)at < (uint64_t)n ? widen(b[at]) : NAN; }

/* Neighbours that are loaded and stored at once. */
template <class T> struct alignas(4 * sizeof(T) < 16 ? 4 * sizeof(T) : 16) Pack { T x[4]; };

/* ---- what teams of threads combine values by ---- */
struct Add {
  FN float of(float a, float b) { return a + b; }
  FN double of(double a, double b) { return a + b; }
  FN int64_t of(int64_t a, int64_t b) { return add_i64(a, b); }
};
struct Mul {
  FN float of(float a, float b) { return a * b; }
  FN double of(double a, double b) { return a * b; }
  FN int64_t of(int64_t a, int64_t b) { return mul_i64(a, b); }
};
struct Max {
  FN float of(float a, float b) { return max_f32(a, b); }
  FN double of(double a, double b) { return max_f64(a, b); }
  FN int64_t of(int64_t a, int64_t b) { return max_i64(a, b); }
};
struct Min {
  FN float of(float a, float b) { return min_f32(a, b); }
  FN double of(double a, double b) { return min_f64(a, b); }
  FN int64_t of(int64_t a, int64_t b) { return min_i64(a, b); }
};

/* Every thread gets the team's result; the order of operations is fixed. `slots` is shared memory, 8 bytes for each
 * warp (a block) or thread (columns). */
template <class Op, class T> FN T warp_all(T x) {
#pragma unroll
  for (int d = 16; d > 0; d >>= 1) x = Op::of(x, __shfl_xor_sync(0xffffffffu, x, d));
  return x;
}
template <class Op, int THREADS, class T> FN T block_all(T x, double *slots) {
  T *each = (T *)slots;
  x = warp_all<Op>(x);
  if (threadIdx.x % 32 == 0) each[threadIdx.x / 32] = x;
  __syncthreads();
  T all = each[0];
  for (int warp = 1; warp < THREADS / 32; ++warp) all = Op::of(all, each[warp]);
  __syncthreads();
  return all;
}
template <class Op, int ROWS, class T> FN T column_all(T x, double *slots) {
  T *each = (T *)slots;
  each[threadIdx.x] = x;
  __syncthreads();
  T all = each[threadIdx.x % 32];
  for (int row = 1; row < ROWS; ++row) all = Op::of(all, each[row * 32 + threadIdx.x % 32]);
  __syncthreads();
  return all;
}
