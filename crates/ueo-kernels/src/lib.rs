//! CPU kernels of `ueo`, without a tensor framework.
