/* y = x · scale + shift, a thread for each element: rows are B, columns are C. */
extern "C" __global__ void scale_shift(const float *x, const float *scale, const float *shift, float *y, long long rows,
                                       long long columns) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < rows * columns) y[i] = x[i] * scale[i % columns] + shift[i % columns];
}

/* Backwards, a thread for each column: what x receives, and the sums that scale and shift receive. */
extern "C" __global__ void scale_shift_vjp(const float *x, const float *scale, const float *shift, const float *dy,
                                           float *dx, float *dscale, float *dshift, long long rows, long long columns) {
  const long long c = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (c >= columns) return;
  float sum = 0, product = 0;
  for (long long r = 0; r < rows; ++r) {
    const long long i = r * columns + c;
    dx[i] = dy[i] * scale[c];
    sum += dy[i];
    product += dy[i] * x[i];
  }
  dscale[c] = product;
  dshift[c] = sum;
}

/* ex / (1 + ex), of any shape. */
extern "C" __global__ void gate(const float *x, float *y, long long count) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) y[i] = 1.0f / (1.0f + expf(-x[i]));
}
