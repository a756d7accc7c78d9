//! Fused operations with hand-written backward passes as nodes of Burn's graphs: one back-end extension for all of them, around
//! `ueo-kernels`.
//!
//! The kernels see slices; Burn sees an operation with two tensors as inputs. Frozen, packed weights are no tensors as far as Burn is
//! concerned: they are part of the operation.

use std::fmt;
use std::sync::Arc;

use burn::backend::autodiff::{
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{Tensor, TensorData};

/// A tensor in the memory of this computer.
pub(crate) type FlexTensor = FloatTensor<Flex>;

/// An operation on two tensors whose values are contiguous.
pub(crate) trait Operation: Send + Sync {
    /// Its output alone.
    fn forward(&self, inputs: [FlexTensor; 2]) -> FlexTensor;

    /// Its output and what leads back from the output's gradient to those of the inputs.
    fn forward_training(&self, inputs: [FlexTensor; 2]) -> (FlexTensor, Arc<dyn BackwardPass>);
}

/// What a forward pass has left for its backward pass.
pub(crate) trait BackwardPass: Send + Sync {
    /// The inputs' gradients, at least of those that are wanted.
    ///
    /// # Shapes
    /// `gradient` as the output, row-major; the results as the inputs.
    fn gradients(&self, gradient: &[f32], wanted: [bool; 2]) -> [Option<FlexTensor>; 2];
}

/// An operation as an argument of [`FusedOps::fused`].
#[derive(Clone)]
pub struct Fused(Arc<dyn Operation>);

impl fmt::Debug for Fused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fused").finish_non_exhaustive()
    }
}

impl Fused {
    /// Runs the operation as a node of the graph of its inputs.
    pub(crate) fn apply<const A: usize, const B: usize, const C: usize>(
        operation: impl Operation + 'static,
        first: Tensor<A>,
        second: Tensor<B>,
    ) -> Tensor<C> {
        Tensor::from_dispatch(Dispatch::fused(
            first.into_dispatch(),
            second.into_dispatch(),
            Self(Arc::new(operation)),
        ))
    }
}

/// The fused operations as Burn sees them.
#[backend_extension(Flex, Autodiff)]
pub trait FusedOps: Backend {
    /// The operation's output for its two inputs.
    fn fused(
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        operation: Fused,
    ) -> FloatTensor<Self>;
}

/// `values` as a tensor of a shape.
pub(crate) fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// The first `D` axes of a tensor.
pub(crate) fn axes<const D: usize>(tensor: &FlexTensor) -> [usize; D] {
    let shape = tensor.layout().shape();
    std::array::from_fn(|axis| shape[axis])
}

impl FusedOps for Flex {
    fn fused(first: FlexTensor, second: FlexTensor, operation: Fused) -> FlexTensor {
        let inputs = [first, second].map(|input| input.to_contiguous());
        operation.0.forward(inputs)
    }
}

/// The backward pass as a node of Burn's graph.
#[derive(Debug)]
struct FusedBackward;

#[derive(Clone)]
struct State(Arc<dyn BackwardPass>);

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").finish_non_exhaustive()
    }
}

impl Backward<Flex, 2> for FusedBackward {
    type State = State;

    fn backward(
        self,
        ops: Ops<State, 2>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let found = ops.state.0.gradients(gradient.storage(), wanted);
        for (parent, found) in ops.parents.into_iter().zip(found) {
            if let Some(parent) = parent {
                let found = found.expect("an operation gives the gradients that are wanted");
                gradients.register::<Flex>(parent.id, found);
            }
        }
    }
}

impl<C: CheckpointStrategy> FusedOps for Autodiff<Flex, C> {
    fn fused(
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        operation: Fused,
    ) -> FloatTensor<Self> {
        let nodes = [first.node(), second.node()];
        let prepared = FusedBackward.prepare::<C>(nodes).compute_bound().stateful();
        let inputs = [first, second].map(|input| input.into_primitive().to_contiguous());
        match prepared {
            OpsKind::Tracked(prepared) => {
                let (output, backward) = operation.0.forward_training(inputs);
                prepared.finish(State(backward), output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(operation.0.forward(inputs)),
        }
    }
}
