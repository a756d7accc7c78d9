//! Tensors in host memory: what files hold and devices are filled from.

use std::collections::BTreeMap;

/// A tensor in host memory, row-major, in f32 whatever the file's precision was.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    /// Lengths of the axes.
    pub shape: Vec<usize>,
    /// Elements in row-major order.
    pub data: Vec<f32>,
}

/// Named tensors in OpenAI's naming.
pub type TensorMap = BTreeMap<String, HostTensor>;
