
/* ---- bands: a block takes TILE rows of a matrix through all of a band's launches ----
 *
 * Shapes as of products, for matrix `z`. What lives within the band is in shared memory, of the rows at hand only. `space`
 * is shared memory for tiles of both operands. All threads must meet before and after. */

/* One tile of c, given to `result`. `now`: which of the two halves of `space` the next tiles go into. */
template <class Shape, class Math, int TM, int TN, int THREADS, class A, class B, class Put>
FN void band_tile(const A *a, const B *b, int z, int m0, int n0, int k0, int k_end, char *space, int &now, const Put &result) {
  typedef typename Math::Word Word;
  typedef Word Left[Math::WORDS][TM + 8];
  typedef Word Right[Math::WORDS][TN + 8];
  enum { DEPTH = Math::PER_WORD * Math::WORDS };
  Left *const left = (Left *)space;
  Right *const right = (Right *)(space + 2 * sizeof(Left));
  Loader<Shape, LeftOf<Shape>, Math, A, TM, THREADS> left_loader;
  Loader<Shape, RightOf<Shape>, Math, B, TN, THREADS> right_loader;
  typename PartOf<Math, TM, TN, THREADS>::Type sums;
  left_loader.load(a, z, m0, k0, k_end);
  right_loader.load(b, z, n0, k0, k_end);
#pragma unroll 1
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
  sums.each(result);
}

/* Columns n_start.. of rows m0.. of c. */
template <class Shape, class Math, int TILE, int TN, int THREADS, class A, class B, class C>
FN void band_rows(const A *a, const B *b, C *c, int z, int m0, int n_start, int n_end, char *space) {
  const Into<Shape, C> out = {c};
  int now = 0;
#pragma unroll 1
  for (int n0 = n_start; n0 < n_end; n0 += TN) {
    const Result<Shape, Into<Shape, C>> result = {out, z, 0, m0, n0};
    band_tile<Shape, Math, TILE, TN, THREADS>(a, b, z, m0, n0, 0, Shape::K, space, now, result);
  }
}

/* Sums so far, [row][n] in shared memory. A thread meets the same elements every time. */
template <class Shape, int TILE> struct Kept {
  float *sums;
  int n0;
  bool first;
  __device__ __forceinline__ void operator()(int row, int dn, float sum) const {
    const int n = n0 + dn;
    if (row >= TILE || n >= Shape::N) return;
    float *const at = sums + row * Shape::N + n;
    *at = first ? sum : *at + sum;
  }
};

/* Adds what k from k_start to k_end contributes to rows m0.. of c. */
template <class Shape, class Math, int TILE, int TN, int THREADS, class A, class B>
FN void band_adds(const A *a, const B *b, float *sums, int z, int m0, int k_start, int k_end, char *space) {
  int now = 0;
#pragma unroll 1
  for (int n0 = 0; n0 < Shape::N; n0 += TN) {
    const Kept<Shape, TILE> result = {sums, n0, k_start == 0};
    band_tile<Shape, Math, TILE, TN, THREADS>(a, b, z, m0, n0, k_start, k_end, space, now, result);
  }
}

/* Rows m0.. of c are what was added up. */
template <class Shape, int TILE, int THREADS, class C> FN void band_stored(const float *sums, C *c, int z, int m0) {
#pragma unroll 1
  for (int i = threadIdx.x; i < TILE * Shape::N; i += THREADS) {
    const int m = m0 + i / Shape::N, n = i % Shape::N;
    if (m < Shape::M) put(c + Shape::c(z, m, n), sums[i]);
  }
}

/* Sums so far: in c, or with PARTS one segment's after another's, [segment][z][m][n]. A thread meets the same elements
 * every time. */
template <class Shape, bool PARTS> struct Adding {
  float *c;
  int z, segment, m0, n0;
  bool first;
  __device__ __forceinline__ void operator()(int dm, int dn, float sum) const {
    const int m = m0 + dm, n = n0 + dn;
    if (m >= Shape::M || n >= Shape::N) return;
    float *const at =
        c + (PARTS ? ((int64_t)(segment * Shape::Z + z) * Shape::M + m) * Shape::N + n : Shape::c(z, m, n));
    *at = first ? sum : *at + sum;
  }
};

/* Adds what rows k0.. contribute to rows m_start.. and columns n_start.. of c. */
template <class Shape, class Math, bool PARTS, int TILE, int TM, int TN, int THREADS, class A, class B>
FN void band_sums(const A *a, const B *b, float *c, int z, int segment, int k0, bool first, int m_start, int m_end,
                  int n_start, int n_end, char *space) {
  const int limit = k0 + TILE, k_end = limit < Shape::K ? limit : Shape::K;
  int now = 0;
#pragma unroll 1
  for (int m0 = m_start; m0 < m_end; m0 += TM)
#pragma unroll 1
    for (int n0 = n_start; n0 < n_end; n0 += TN) {
      const Adding<Shape, PARTS> result = {c, z, segment, m0, n0, first};
      band_tile<Shape, Math, TM, TN, THREADS>(a, b, z, m0, n0, k0, k_end, space, now, result);
    }
}
