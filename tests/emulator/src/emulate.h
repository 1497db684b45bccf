/* CUDA C++ on the CPU: what generated sources need of CUDA, by definition rather than fast.
 *
 * Blocks run in turn. The threads of a block are fibres: each runs until it waits for others, or ends. In which order
 * they do is a parameter, so that what depends on it (a race) shows as another result. Barriers that not all threads
 * reach end the program with a message. */
#pragma once
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <utility>
#include <vector>

#define __device__
#define __global__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __shared__ static

namespace emulated {

struct Index { unsigned x; };

enum State { READY, AT_BLOCK, AT_WARP, DONE };

struct Fibre {
  void *stack_pointer;
  char *stack;
  State state;
  unsigned parity;
};

enum { STACK = 128 << 10, MOST = 1024 };

struct Machine {
  Fibre fibres[MOST];
  void *home;
  unsigned now, threads;
  void (*function)(void **);
  void **arguments;
  /* What lanes show each other; two, used in turn. */
  uint64_t slots[2][MOST][4];
};

static Machine machine;
static std::mutex one_at_a_time;

}  // namespace emulated

static emulated::Index threadIdx, blockIdx, blockDim, gridDim;

namespace emulated {

/* Saves what a call keeps, and goes on with another stack. */
extern "C" void fgc_switch(void **from, void *to);
#if defined(__x86_64__)
asm(R"(
.text
.local fgc_switch
.type fgc_switch,@function
fgc_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");
#else
#error "fibres are written for x86-64"
#endif

static void fibre_main() {
  Machine &m = machine;
  m.function(m.arguments);
  m.fibres[m.now].state = DONE;
  fgc_switch(&m.fibres[m.now].stack_pointer, m.home);
  abort();
}

static void resume(unsigned thread) {
  Machine &m = machine;
  m.now = thread;
  threadIdx.x = thread;
  fgc_switch(&m.home, m.fibres[thread].stack_pointer);
}

static void wait(State state) {
  Machine &m = machine;
  const unsigned own = m.now;
  m.fibres[own].state = state;
  fgc_switch(&m.fibres[own].stack_pointer, m.home);
}

static void start(unsigned thread) {
  Fibre &fibre = machine.fibres[thread];
  if (!fibre.stack) fibre.stack = (char *)malloc(STACK);
  /* As if fgc_switch had been called from fibre_main's caller: six registers, then where to return. */
  void **top = (void **)((uintptr_t)(fibre.stack + STACK) & ~(uintptr_t)15);
  *--top = nullptr;
  *--top = (void *)fibre_main;
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  fibre.stack_pointer = top;
  fibre.state = READY;
  fibre.parity = 0;
}

static void run_block(const std::vector<unsigned> &order) {
  Machine &m = machine;
  for (unsigned t = 0; t < m.threads; ++t) start(t);
  for (;;) {
    bool ran = false;
    for (unsigned t : order)
      if (m.fibres[t].state == READY) {
        resume(t);
        ran = true;
      }
    unsigned done = 0, at_block = 0;
    for (unsigned t = 0; t < m.threads; ++t) {
      done += m.fibres[t].state == DONE;
      at_block += m.fibres[t].state == AT_BLOCK;
    }
    if (done == m.threads) return;
    bool released = false;
    for (unsigned warp = 0; warp < m.threads; warp += 32) {
      unsigned met = 0, ended = 0;
      for (unsigned t = warp; t < warp + 32 && t < m.threads; ++t) {
        met += m.fibres[t].state == AT_WARP;
        ended += m.fibres[t].state == DONE;
      }
      if (met == 0 || met + ended < 32) continue;
      released = true;
      for (unsigned t = warp; t < warp + 32; ++t)
        if (m.fibres[t].state == AT_WARP) m.fibres[t].state = READY;
    }
    if (!released && at_block + done == m.threads) {
      released = true;
      for (unsigned t = 0; t < m.threads; ++t)
        if (m.fibres[t].state == AT_BLOCK) m.fibres[t].state = READY;
    }
    if (!released && !ran) {
      fprintf(stderr, "emulated kernel: threads wait at different barriers\n");
      abort();
    }
  }
}

/* Shows `x` to the other lanes; what lane `of` shows. */
template <class T> static T exchange(T x, unsigned of) {
  Machine &m = machine;
  const unsigned own = m.now, parity = m.fibres[own].parity++ & 1u, warp = own & ~31u;
  memcpy(m.slots[parity][own], &x, sizeof x);
  wait(AT_WARP);
  T y;
  memcpy(&y, m.slots[parity][warp + of], sizeof y);
  return y;
}

}  // namespace emulated

static inline void __syncthreads() { emulated::wait(emulated::AT_BLOCK); }
static inline void __syncwarp(unsigned = 0xffffffffu) { emulated::wait(emulated::AT_WARP); }
template <class T> static inline T __shfl_xor_sync(unsigned, T x, int lanes) {
  return emulated::exchange(x, (emulated::machine.now ^ (unsigned)lanes) & 31u);
}

template <class T> static inline T __shfl_sync(unsigned, T x, int lane) {
  return emulated::exchange(x, (unsigned)lane & 31u);
}
template <class T> static inline T __shfl_down_sync(unsigned, T x, unsigned lanes) {
  const unsigned lane = emulated::machine.now & 31u;
  return emulated::exchange(x, lane + lanes < 32u ? lane + lanes : lane);
}
/* Never a part of a multiply-add. */
static inline double rounded(double x) {
  asm("" : "+x"(x));
  return x;
}
static inline double __dadd_rn(double x, double y) { return rounded(x + y); }
static inline double __dsub_rn(double x, double y) { return rounded(x - y); }
static inline double __dmul_rn(double x, double y) { return rounded(x * y); }
static inline double __ddiv_rn(double x, double y) { return x / y; }
static inline double __dsqrt_rn(double x) { return sqrt(x); }
static inline uint64_t __umul64hi(uint64_t x, uint64_t y) { return (uint64_t)((unsigned __int128)x * y >> 64); }
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
/* glibc has another function of this name. */
#define __expf(x) expf(x)
static inline float __fdividef(float x, float y) { return x / y; }

/* ---- tensor cores, by the PTX manual's definition of which lane holds which element ---- */
static inline uint32_t round_tf32(float x) {
  uint32_t u;
  memcpy(&u, &x, 4);
  if ((u & 0x7f800000u) != 0x7f800000u) u += 0x1000u;
  return u & 0xffffe000u;
}
namespace emulated {
struct Fragments { uint32_t a[4], b[2]; };
static Fragments fragments[2][MOST];
static inline float value(uint32_t word, int half, bool bf16) {
  uint32_t u = bf16 ? (half ? word & 0xffff0000u : word << 16) : word;
  float x;
  memcpy(&x, &u, 4);
  return x;
}
/* c[16, 8] += a[16, 8 words] b[8 words, 8]. */
static inline void mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], bool bf16) {
  Machine &m = machine;
  const unsigned own = m.now, warp = own & ~31u, lane = own & 31u, parity = m.fibres[own].parity++ & 1u;
  memcpy(fragments[parity][own].a, a, sizeof a);
  memcpy(fragments[parity][own].b, b, sizeof b);
  wait(AT_WARP);
  for (int e = 0; e < 4; ++e) {
    const unsigned row = lane / 4 + (e >= 2 ? 8 : 0), column = lane % 4 * 2 + e % 2;
    float sum = c[e];
    for (unsigned k = 0; k < 8; ++k) {
      const uint32_t x = fragments[parity][warp + row % 8 * 4 + k % 4].a[row / 8 + k / 4 * 2];
      const uint32_t y = fragments[parity][warp + column * 4 + k % 4].b[k / 4];
      for (int half = 0; half < (bf16 ? 2 : 1); ++half) sum += value(x, half, bf16) * value(y, half, bf16);
    }
    c[e] = sum;
  }
}
}  // namespace emulated
static inline void mma_tf32(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  emulated::mma(c, a, b, false);
}
static inline void mma_bf16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  emulated::mma(c, a, b, true);
}

/* Shared memory of the size a launch says; as much as any GPU has. */
#define DYNAMIC
alignas(16) static char dynamic[227 << 10];

/* Runs `function(arguments)` as a kernel with so much of `dynamic`, which holds no numbers at first. Seed 0: threads in order; 1: the other way round; else shuffled. */
extern "C" void fgc_emulate(void (*function)(void **), void **arguments, unsigned blocks, unsigned threads, unsigned shared, uint64_t seed) {
  using namespace emulated;
  std::lock_guard<std::mutex> lock(one_at_a_time);
  if (threads > MOST || shared > sizeof dynamic) abort();
  machine.function = function;
  machine.arguments = arguments;
  machine.threads = threads;
  gridDim.x = blocks;
  blockDim.x = threads;
  std::vector<unsigned> order(threads);
  uint64_t random = seed;
  for (unsigned b = 0; b < blocks; ++b) {
    /* The order of blocks is free, too. */
    blockIdx.x = seed == 1 ? blocks - 1 - b : b;
    for (unsigned t = 0; t < threads; ++t) order[t] = seed == 1 ? threads - 1 - t : t;
    for (unsigned t = threads - 1; seed > 1 && t > 0; --t) {
      random = random * 6364136223846793005u + 1442695040888963407u;
      const unsigned other = (unsigned)((random >> 33) % (t + 1)), held = order[t];
      order[t] = order[other];
      order[other] = held;
    }
    memset(dynamic, 0xff, shared);
    run_block(order);
  }
}

/* Calls a function of pointers with an array of them. */
namespace emulated {
template <class... A, std::size_t... I>
static inline void call(void (*function)(A...), void **arguments, std::index_sequence<I...>) {
  function((A)arguments[I]...);
}
template <class... A> static inline void call(void (*function)(A...), void **arguments) {
  call(function, arguments, std::index_sequence_for<A...>());
}
}  // namespace emulated
