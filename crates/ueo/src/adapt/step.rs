//! One training step: encode, compare, descend.

use burn::tensor::Tensor;

use crate::model::{AffineGradients, AffineParameters, Clip, Context, Prompts, to_host};
use crate::objective::{class_probabilities, universal_entropy};

/// The parameters that adaptation trains.
#[derive(Clone, Debug)]
pub struct TrainedParameters {
    /// Context vectors of the prompt, `[context tokens, width]`.
    pub context: Context,
    /// Affine parameters of the visual normalization layers.
    pub affine: AffineParameters,
}

/// The loss of a batch and its gradient.
#[derive(Clone, Debug)]
pub struct BatchGradient {
    /// What gradient descent minimizes, in nats.
    pub loss: f64,
    /// Weighted mean of the samples' entropies, in nats.
    pub conditional_entropy: f64,
    /// Entropy of the inversely weighted mean prediction, in nats.
    pub marginal_entropy: f64,
    /// Gradient of the context vectors, `[context tokens, width]`.
    pub context: Tensor<2>,
    /// Gradient of the trained affine parameters.
    pub affine: AffineGradients,
}

impl TrainedParameters {
    /// One step of gradient descent.
    pub fn descend(
        &self,
        gradient: &BatchGradient,
        context_learning_rate: f64,
        affine_learning_rate: f64,
    ) -> Self {
        Self {
            context: self.context.clone()
                - gradient.context.clone().mul_scalar(context_learning_rate),
            affine: self.affine.descend(&gradient.affine, affine_learning_rate),
        }
    }
}

/// The universal entropy loss of a batch and its gradient with respect to the trained parameters.
///
/// The towers meet only in their features, so the gradient is taken in two stages: first the loss's gradient with
/// respect to all features, then each tower's backward pass, micro-batch by micro-batch. Splitting the batch bounds
/// the memory of the second stage and does not change the gradient.
///
/// # Shapes
///
/// - `pixels`: `[batch, 3, image_size, image_size]`
/// - `weights`: one confidence weight per image
pub fn batch_gradient(
    clip: &Clip,
    prompts: &Prompts,
    parameters: &TrainedParameters,
    pixels: &Tensor<4>,
    weights: &[f32],
    trade_off: f64,
    micro_batch: Option<usize>,
) -> BatchGradient {
    let affine = parameters.affine.tracked();
    let context = parameters.context.clone().autodiff().require_grad();

    let [batch, ..] = pixels.dims();
    let micro_batches = pixels
        .clone()
        .split(micro_batch.unwrap_or(batch).min(batch), 0);
    let images = Tower {
        parts: micro_batches.len(),
        tracked: |part: usize| clip.image_features(micro_batches[part].clone(), &affine),
        plain: |part: usize| clip.image_features(micro_batches[part].clone(), &parameters.affine),
    };
    let passes = clip.text().passes(prompts);
    let encode_texts = |part: usize, context: &Context| {
        clip.text()
            .pass_features(prompts, &passes[part], Some(context))
    };
    let texts = Tower {
        parts: passes.len(),
        tracked: |part: usize| encode_texts(part, &context),
        plain: |part: usize| encode_texts(part, &parameters.context),
    };
    let image_parts = images.encode();
    let text_parts = texts.encode();

    let image_features = leaf(Tensor::cat(detached(&image_parts), 0));
    let text_features = leaf(prompts.collect(detached(&text_parts)));
    let probabilities = class_probabilities(
        image_features.clone(),
        text_features.clone(),
        clip.logit_scale(),
    );
    let terms = universal_entropy(probabilities, weights, trade_off);
    let gradients = terms.loss.backward();
    let feature_gradient = |features: &Tensor<2>| {
        features
            .grad(&gradients)
            .unwrap_or_else(|| features.clone().inner().zeros_like())
    };
    let image_gradient = feature_gradient(&image_features);
    let text_gradient = feature_gradient(&text_features);

    let mut affine_gradient = AffineGradients::default();
    let mut start = 0;
    for (part, features) in image_parts.into_iter().enumerate() {
        let [rows, _] = features.dims();
        let upstream = image_gradient.clone().narrow(0, start, rows);
        start += rows;
        let mut gradients = images.backward(part, features, upstream);
        affine_gradient = affine_gradient.accumulate(affine.take_gradients(&mut gradients));
    }
    let mut context_gradient = parameters.context.zeros_like();
    for (part, features) in text_parts.into_iter().enumerate() {
        let upstream = prompts.rows_of_pass(&text_gradient, &passes[part]);
        let gradients = texts.backward(part, features, upstream);
        if let Some(gradient) = context.grad(&gradients) {
            context_gradient = context_gradient + gradient;
        }
    }
    let scalar = |tensor: Tensor<1>| f64::from(to_host(&tensor).data[0]);
    BatchGradient {
        loss: scalar(terms.loss),
        conditional_entropy: scalar(terms.conditional_entropy),
        marginal_entropy: scalar(terms.marginal_entropy),
        context: context_gradient,
        affine: affine_gradient,
    }
}

/// A tower that encodes its inputs in parts, with or without a graph for the backward pass.
struct Tower<T, P> {
    parts: usize,
    tracked: T,
    plain: P,
}

impl<T, P> Tower<T, P>
where
    T: Fn(usize) -> Tensor<2>,
    P: Fn(usize) -> Tensor<2>,
{
    /// A single part keeps its graph; of several, each is encoded again when its backward pass comes.
    fn keeps_graph(&self) -> bool {
        self.parts == 1
    }

    fn encode(&self) -> Vec<Tensor<2>> {
        (0..self.parts)
            .map(|part| {
                if self.keeps_graph() {
                    (self.tracked)(part)
                } else {
                    (self.plain)(part)
                }
            })
            .collect()
    }

    fn backward(
        &self,
        part: usize,
        features: Tensor<2>,
        upstream: Tensor<2>,
    ) -> burn::tensor::Gradients {
        let features = if self.keeps_graph() {
            features
        } else {
            (self.tracked)(part)
        };
        (features * upstream).sum().backward()
    }
}

fn detached(parts: &[Tensor<2>]) -> Vec<Tensor<2>> {
    parts.iter().map(|part| part.clone().inner()).collect()
}

fn leaf(features: Tensor<2>) -> Tensor<2> {
    features.autodiff().require_grad()
}
