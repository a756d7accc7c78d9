//! The tensors of a checkpoint on their way into a graph.

use ueo::tensor::{HostTensor, TensorMap};

use super::graph::{Graph, Value};

/// The weights of one tower; what is taken is moved, so that no second copy of the model is needed.
pub struct Weights<'a>(pub &'a mut TensorMap);

impl Weights<'_> {
    /// The tensor of this OpenAI name.
    ///
    /// # Panics
    ///
    /// When it is not there: the checkpoint reader has checked that all tensors of the configuration are.
    pub fn take(&mut self, name: &str) -> HostTensor {
        self.0
            .remove(name)
            .unwrap_or_else(|| panic!("a checkpoint that was read has `{name}`"))
    }

    /// Puts a tensor into the graph as it is.
    pub fn put(&mut self, graph: &mut Graph, name: &str) -> Value {
        let tensor = self.take(name);
        graph.weight(name, tensor)
    }

    /// Puts a matrix or a kernel into the graph as it is; its outputs are along `axis`.
    pub fn put_matrix(&mut self, graph: &mut Graph, name: &str, axis: usize) -> Value {
        let tensor = self.take(name);
        graph.matrix(name, tensor, axis)
    }

    /// Puts a matrix `[outputs, inputs]` into the graph as `[inputs, outputs]`.
    pub fn put_transposed(&mut self, graph: &mut Graph, name: &str) -> Value {
        let tensor = transposed(&self.take(name));
        graph.matrix(name, tensor, 1)
    }

    /// `x W^T + b` with the weight and bias of a linear layer, by their names.
    pub fn linear(&mut self, graph: &mut Graph, x: &Value, weight: &str, bias: &str) -> Value {
        let weight = self.put_transposed(graph, weight);
        let bias = self.put(graph, bias);
        graph.linear(x, &weight, &bias)
    }

    /// LayerNorm over the last axis.
    pub fn layer_norm(&mut self, graph: &mut Graph, x: &Value, name: &str, epsilon: f64) -> Value {
        let weight = self.put(graph, &format!("{name}.weight"));
        let bias = self.put(graph, &format!("{name}.bias"));
        let attributes = [
            super::graph::Attribute::Int("axis", -1),
            super::graph::Attribute::Float("epsilon", epsilon as f32),
        ];
        graph.node("LayerNormalization", &[x, &weight, &bias], &attributes)
    }
}

/// Rows become columns.
pub fn transposed(matrix: &HostTensor) -> HostTensor {
    let (rows, columns) = (matrix.shape[0], matrix.shape[1]);
    let element = |index: usize| matrix.data[index % rows * columns + index / rows];
    HostTensor {
        shape: vec![columns, rows],
        data: (0..rows * columns).map(element).collect(),
    }
}
