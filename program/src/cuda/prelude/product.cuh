
/* ---- products: c[m, n] = sum over k of a[m, k] b[k, n], for each z ----
 *
 * A Shape says where elements lie: `a(z, m, k)`, `b(z, k, n)`, `c(z, m, n)`, for a and b -1 where there is a zero. It has
 * M, N, K, Z (batch), SPLITS (parts that k is cut into, each with a result of its own); A_ALONG_K (B_ALONG_K): neighbours
 * in memory are those along k rather than m (n); A_WIDE (B_WIDE): they can be loaded four at once.
 *
 * A block computes a tile of c. Tiles of a and b go through shared memory in words, [k][m] and [k][n]: one number, or two
 * neighbours along k as bf16. While one tile is multiplied the next is loaded into registers. */

/* The storage of an operand as what is multiplied. */
FN float element(float x) { return x; }
FN double element(double x) { return x; }
FN float element(bf16 x) { return widen(x); }
FN bf16 halved(float x) { return narrow(x); }
FN bf16 halved(bf16 x) { return x; }
FN void put(float *c, float x) { *c = x; }
FN void put(double *c, double x) { *c = x; }
FN void put(bf16 *c, float x) { *c = narrow(x); }

/* Multiplies in plain arithmetic: each thread a rectangle of c. */
template <class T> struct Plain {
  typedef T Word;
  typedef T Sum;
  enum { PER_WORD = 1, WORDS = 16 };
  template <class E> FN T word(E low, E) { return (T)element(low); }
};
/* Multiplies on tensor cores, rounding to tf32. */
struct Tf32 {
  typedef uint32_t Word;
  typedef float Sum;
  enum { PER_WORD = 1, WORDS = 16 };
  template <class E> FN uint32_t word(E low, E) { return round_tf32(element(low)); }
  FN void multiply(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) { mma_tf32(c, a, b); }
};
/* Multiplies on tensor cores, in bf16. */
struct Bf16 {
  typedef uint32_t Word;
  typedef float Sum;
  enum { PER_WORD = 2, WORDS = 16 };
  template <class E> FN uint32_t word(E low, E high) {
    return (uint32_t)halved(low).bits | (uint32_t)halved(high).bits << 16;
  }
  FN void multiply(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) { mma_bf16(c, a, b); }
};

/* Operand a or b of a Shape: x is m or n. */
template <class Shape> struct LeftOf {
  enum { X = Shape::M, ALONG_K = Shape::A_ALONG_K, WIDE = Shape::A_WIDE };
  FN int64_t at(int z, int x, int k) { return Shape::a(z, x, k); }
};
template <class Shape> struct RightOf {
  enum { X = Shape::N, ALONG_K = Shape::B_ALONG_K, WIDE = Shape::B_WIDE };
  FN int64_t at(int z, int x, int k) { return Shape::b(z, k, x); }
};

/* A thread's share of the tiles of one operand, on its way to shared memory. */
template <class Shape, class Side, class Math, class E, int TILE, int THREADS> struct Loader {
  typedef typename Math::Word Word;
  enum {
    DEPTH = Math::PER_WORD * Math::WORDS,
    PITCH = TILE + 8,
    /* A chunk: four neighbours; across k as many rows as a word holds. */
    CHUNKS = Side::ALONG_K ? TILE * DEPTH / 4 : Math::WORDS * TILE / 4,
    EACH = (CHUNKS + THREADS - 1) / THREADS,
    PARTS = Side::ALONG_K ? 1 : Math::PER_WORD,
  };
  Pack<E> held[EACH][PARTS];

  FN void place(int i, int &x, int &k) {
    const int n = (int)threadIdx.x + i * THREADS;
    if (Side::ALONG_K) {
      k = n % (DEPTH / 4) * 4;
      x = n / (DEPTH / 4);
    } else {
      x = n % (TILE / 4) * 4;
      k = n / (TILE / 4) * Math::PER_WORD;
    }
  }
  __device__ __forceinline__ void load(const E *from, int z, int x0, int k0, int k_end) {
#pragma unroll
    for (int i = 0; i < EACH; ++i) {
      int dx, dk;
      place(i, dx, dk);
#pragma unroll
      for (int part = 0; part < PARTS; ++part) {
        const int x = x0 + dx, k = k0 + dk + part;
        Pack<E> four;
#pragma unroll
        for (int j = 0; j < 4; ++j) four.x[j] = E();
        if (CHUNKS % THREADS != 0 && (int)threadIdx.x + i * THREADS >= CHUNKS) {
        } else if (Side::WIDE) {
          if (x < Side::X && k < k_end) {
            const int64_t at = Side::at(z, x, k);
            if (at >= 0) four = *(const Pack<E> *)(from + at);
          }
        } else {
#pragma unroll
          for (int j = 0; j < 4; ++j) {
            const int xj = Side::ALONG_K ? x : x + j, kj = Side::ALONG_K ? k + j : k;
            if (xj < Side::X && kj < k_end) {
              const int64_t at = Side::at(z, xj, kj);
              if (at >= 0) four.x[j] = from[at];
            }
          }
        }
        held[i][part] = four;
      }
    }
  }
  __device__ __forceinline__ void store(Word (*tile)[PITCH]) const {
#pragma unroll
    for (int i = 0; i < EACH; ++i) {
      if (CHUNKS % THREADS != 0 && (int)threadIdx.x + i * THREADS >= CHUNKS) continue;
      int x, k;
      place(i, x, k);
      if (Side::ALONG_K) {
#pragma unroll
        for (int j = 0; j < 4; j += Math::PER_WORD)
          tile[(k + j) / Math::PER_WORD][x] = Math::word(held[i][0].x[j], held[i][0].x[j + Math::PER_WORD - 1]);
      } else {
#pragma unroll
        for (int j = 0; j < 4; ++j)
          tile[k / Math::PER_WORD][x + j] = Math::word(held[i][0].x[j], held[i][PARTS - 1].x[j]);
      }
    }
  }
};

/* A thread's part of a tile of c in plain arithmetic. */
template <class T, int TM, int TN, int THREADS> struct PlainPart {
  enum { ACROSS = 16, RM = TM / (THREADS / ACROSS), RN = TN / ACROSS };
  T c[RM][RN];
  __device__ __forceinline__ PlainPart() {
#pragma unroll
    for (int i = 0; i < RM; ++i)
#pragma unroll
      for (int j = 0; j < RN; ++j) c[i][j] = 0;
  }
  template <class Math, class A, class B> __device__ __forceinline__ void multiply(const A &a, const B &b) {
    const int row = threadIdx.x / ACROSS, column = threadIdx.x % ACROSS;
#pragma unroll
    for (int k = 0; k < Math::WORDS; ++k) {
      T x[RM], y[RN];
#pragma unroll
      for (int i = 0; i < RM; ++i) x[i] = a[k][row * RM + i];
#pragma unroll
      for (int j = 0; j < RN; ++j) y[j] = b[k][j * ACROSS + column];
#pragma unroll
      for (int i = 0; i < RM; ++i)
#pragma unroll
        for (int j = 0; j < RN; ++j) c[i][j] += x[i] * y[j];
    }
  }
  template <class Put> __device__ __forceinline__ void each(const Put &put) const {
    const int row = threadIdx.x / ACROSS, column = threadIdx.x % ACROSS;
#pragma unroll
    for (int i = 0; i < RM; ++i)
#pragma unroll
      for (int j = 0; j < RN; ++j) put(row * RM + i, j * ACROSS + column, c[i][j]);
  }
};

/* A warp's part of a tile of c on tensor cores: 16 by 8 at a time. */
template <int TM, int TN, int THREADS> struct TensorPart {
  enum {
    DOWN = TM < 32 ? 1 : 2, /* warps one below the other */
    ACROSS = THREADS / 32 / DOWN,
    RM = TM / DOWN / 16,
    RN = TN / ACROSS / 8,
  };
  float c[RM][RN][4];
  __device__ __forceinline__ TensorPart() {
#pragma unroll
    for (int i = 0; i < RM; ++i)
#pragma unroll
      for (int j = 0; j < RN; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e) c[i][j][e] = 0.0f;
  }
  template <class Math, class A, class B> __device__ __forceinline__ void multiply(const A &a, const B &b) {
    const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    const int m = warp / ACROSS * (TM / DOWN), n = warp % ACROSS * (TN / ACROSS);
#pragma unroll
    for (int k = 0; k < Math::WORDS; k += 8) {
      uint32_t x[RM][4], y[RN][2];
#pragma unroll
      for (int i = 0; i < RM; ++i) {
        x[i][0] = a[k + t][m + 16 * i + g];
        x[i][1] = a[k + t][m + 16 * i + g + 8];
        x[i][2] = a[k + t + 4][m + 16 * i + g];
        x[i][3] = a[k + t + 4][m + 16 * i + g + 8];
      }
#pragma unroll
      for (int j = 0; j < RN; ++j) {
        y[j][0] = b[k + t][n + 8 * j + g];
        y[j][1] = b[k + t + 4][n + 8 * j + g];
      }
#pragma unroll
      for (int i = 0; i < RM; ++i)
#pragma unroll
        for (int j = 0; j < RN; ++j) Math::multiply(c[i][j], x[i], y[j]);
    }
  }
  template <class Put> __device__ __forceinline__ void each(const Put &put) const {
    const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    const int m = warp / ACROSS * (TM / DOWN), n = warp % ACROSS * (TN / ACROSS);
#pragma unroll
    for (int i = 0; i < RM; ++i)
#pragma unroll
      for (int j = 0; j < RN; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e) put(m + 16 * i + g + e / 2 * 8, n + 8 * j + 2 * t + e % 2, c[i][j][e]);
  }
};

template <class Math, int TM, int TN, int THREADS> struct PartOf { typedef TensorPart<TM, TN, THREADS> Type; };
template <class T, int TM, int TN, int THREADS> struct PartOf<Plain<T>, TM, TN, THREADS> {
  typedef PlainPart<T, TM, TN, THREADS> Type;
};

/* Where results go: into c; with SPLITS one after the other, [split][z][m][n]; or to a kernel that reads each. */
template <class Shape, class C> struct Into {
  C *c;
  template <class S> __device__ __forceinline__ void operator()(int, int z, int m, int n, S sum) const {
    put(c + Shape::c(z, m, n), sum);
  }
};
template <class Shape, class S> struct Apart {
  S *parts;
  __device__ __forceinline__ void operator()(int split, int z, int m, int n, S sum) const {
    parts[((int64_t)(split * Shape::Z + z) * Shape::M + m) * Shape::N + n] = sum;
  }
};
template <class Shape, class Epilogue> struct Through {
  Epilogue epilogue;
  template <class S> __device__ __forceinline__ void operator()(int, int z, int m, int n, S sum) const {
    epilogue(Shape::c(z, m, n), sum);
  }
};

/* Elements of a tile on their way there. */
template <class Shape, class Out> struct Result {
  const Out &out;
  int z, split, m0, n0;
  template <class S> __device__ __forceinline__ void operator()(int dm, int dn, S sum) const {
    const int m = m0 + dm, n = n0 + dn;
    if (m < Shape::M && n < Shape::N) out(split, z, m, n, sum);
  }
};

template <class Shape, class Math, int TM, int TN, int THREADS, class A, class B, class Out>
FN void product(const A *a, const B *b, const Out &out) {
  typedef typename Math::Word Word;
  enum { DEPTH = Math::PER_WORD * Math::WORDS };
  /* Tiles are aligned to 16 bytes: their rows are read several words at once. */
  alignas(16) __shared__ Word left[2][Math::WORDS][TM + 8];
  alignas(16) __shared__ Word right[2][Math::WORDS][TN + 8];
  const int down = (Shape::M + TM - 1) / TM, across = (Shape::N + TN - 1) / TN;
  const int tile = blockIdx.x % (down * across), rest = blockIdx.x / (down * across);
  const int m0 = tile / across * TM, n0 = tile % across * TN;
  const int z = rest % Shape::Z, split = rest / Shape::Z;
  const int tiles = (Shape::K + DEPTH - 1) / DEPTH, part = (tiles + Shape::SPLITS - 1) / Shape::SPLITS;
  const int k0 = split * part * DEPTH;
  const int limit = k0 + part * DEPTH, k_end = limit < Shape::K ? limit : Shape::K;
  Loader<Shape, LeftOf<Shape>, Math, A, TM, THREADS> left_loader;
  Loader<Shape, RightOf<Shape>, Math, B, TN, THREADS> right_loader;
  typename PartOf<Math, TM, TN, THREADS>::Type sums;
  left_loader.load(a, z, m0, k0, k_end);
  right_loader.load(b, z, n0, k0, k_end);
  int now = 0;
  for (int k = k0; k < k_end; k += DEPTH) {
    left_loader.store(left[now]);
    right_loader.store(right[now]);
    __syncthreads();
    if (k + DEPTH < k_end) {
      left_loader.load(a, z, m0, k + DEPTH, k_end);
      right_loader.load(b, z, n0, k + DEPTH, k_end);
    }
    sums.template multiply<Math>(left[now], right[now]);
    now ^= 1;
  }
  const Result<Shape, Out> result = {out, z, split, m0, n0};
  sums.each(result);
}

/* Adds up what the splits of a product left, in their order. */
template <class Shape, class S, class Out> FN void product_sum(const S *parts, const Out &out) {
  const int64_t count = (int64_t)Shape::Z * Shape::M * Shape::N;
  for (int64_t i = (int64_t)blockIdx.x * 256 + threadIdx.x; i < count; i += (int64_t)gridDim.x * 256) {
    S sum = 0;
    for (int split = 0; split < Shape::SPLITS; ++split) sum += parts[split * count + i];
    const int n = (int)(i % Shape::N), m = (int)(i / Shape::N % Shape::M), z = (int)(i / Shape::N / Shape::M);
    out(0, z, m, n, sum);
  }
}
