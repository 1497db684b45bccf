//! Kernels as C.
