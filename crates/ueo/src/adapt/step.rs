//! One training step: encode, compare, descend.

use std::collections::BTreeMap;

use burn::tensor::{Tensor, TensorData};

use crate::checkpoint::Adapted;
use crate::device::is_processor;
use crate::exchange::{Alone, Exchange};
use crate::method::{BatchFeatures, Centring, TrainedPart};
use crate::model::{
    AffineGradients, AffineParameters, Clip, Context, ModelError, Prompts, normalize_rows,
    square_sum, square_sum_on_device, to_host, to_host_together,
};
use crate::objective::LossTerms;
use crate::tensor::TensorMap;

use super::TrainedBlocks;
use super::step_size::GroupNorms;

/// The parameters that adaptation trains.
#[derive(Clone, Debug)]
pub struct TrainedParameters {
    /// Context vectors of the prompt, `[context tokens, width]`.
    pub context: Context,
    /// Affine parameters of the visual normalization layers.
    pub affine: AffineParameters,
    /// Means to subtract before cosines are taken, where the method ends with that.
    pub centring: Option<Centring>,
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
    /// Further terms of the loss by name.
    pub others: BTreeMap<String, f64>,
    /// Gradient of the context vectors, `[context tokens, width]`; zero where they are not trained.
    pub context: Tensor<2>,
    /// Gradient of the affine parameters; empty where they are not trained.
    pub affine: AffineGradients,
    /// Unscaled cosines of the batch before the update, `[batch, classes]`.
    pub cosine_logits: Tensor<2>,
}

/// What the record of a step and the length of the next one need of a gradient, in host memory.
pub(super) struct GradientReading {
    /// Of the context vectors.
    pub context: GroupNorms,
    /// Of the affine parameters.
    pub affine: GroupNorms,
    /// Unscaled cosines, `[batch, classes]`, row-major.
    pub cosines: Vec<f32>,
}

impl BatchGradient {
    /// Copies it from the device at once; norms are summed there. On the processor, where nothing has to be copied, they are summed in
    /// f64. `relative_to` are the parameters of the gradient where steps are relative to their norms, the affine ones from the layer
    /// `first_norm` on.
    pub(super) fn read(
        &self,
        relative_to: Option<&TrainedParameters>,
        first_norm: usize,
    ) -> GradientReading {
        let device = self.context.device();
        if is_processor(&device) {
            return GradientReading {
                context: GroupNorms {
                    parameters: relative_to.map(|parameters| length(&parameters.context)),
                    gradient: length(&self.context),
                },
                affine: GroupNorms {
                    parameters: relative_to.map(|parameters| parameters.affine.length(first_norm)),
                    gradient: self.affine.norm(),
                },
                cosines: to_host(&self.cosine_logits).data,
            };
        }
        let mut tensors = vec![
            square_sum_on_device([&self.context], &device),
            square_sum_on_device(self.affine.tensors(), &device),
        ];
        tensors.extend(relative_to.into_iter().flat_map(|parameters| {
            [
                square_sum_on_device([&parameters.context], &device),
                square_sum_on_device(parameters.affine.trained(first_norm), &device),
            ]
        }));
        let sums = tensors.len();
        let [images, classes] = self.cosine_logits.dims();
        tensors.push(self.cosine_logits.clone().reshape([images * classes]));
        let mut read = to_host_together(tensors);
        let cosines = read.split_off(sums);
        let norm = |square_sum: f32| f64::from(square_sum).sqrt();
        let parameters = |position: usize| read.get(position).copied().map(norm);
        GradientReading {
            context: GroupNorms {
                parameters: parameters(2),
                gradient: norm(read[0]),
            },
            affine: GroupNorms {
                parameters: parameters(3),
                gradient: norm(read[1]),
            },
            cosines,
        }
    }
}

/// L2 norm in f64, of a tensor on the processor.
fn length(tensor: &Tensor<2>) -> f64 {
    square_sum(&to_host(tensor).data).sqrt()
}

/// What a gradient is taken of, and in which parts.
#[derive(Clone, Copy, Debug)]
pub struct GradientChoices<'a> {
    /// Which of the adaptation's images the batch consists of, for objectives that remember images.
    pub indices: &'a [usize],
    /// Which parameters are trained; a tower without any is not differentiated.
    pub train: TrainedPart,
    /// Blocks of the image tower whose affine parameters are trained; those before them are not differentiated.
    pub blocks: TrainedBlocks,
    /// Images that are held in memory for the backward pass at once; `None` for the whole batch.
    pub micro_batch: Option<usize>,
}

/// Name of the context vectors among the trained parameters' tensors.
const CONTEXT: &str = "context";

impl TrainedParameters {
    /// The parameters by name: `context`, OpenAI's names of the affine parameters, and `centring.*` where there is one.
    pub fn to_host(&self) -> TensorMap {
        let mut tensors: TensorMap = self.affine.to_host().into_iter().collect();
        tensors.insert(CONTEXT.to_owned(), to_host(&self.context));
        tensors.extend(self.centring.iter().flat_map(Centring::to_tensors));
        tensors
    }

    /// The inverse of [`Self::to_host`] for a model.
    ///
    /// # Errors
    ///
    /// [`ModelError::MissingTensor`] or [`ModelError::Shape`] when the tensors are not those of this model.
    pub fn from_host(tensors: &TensorMap, clip: &Clip) -> Result<Self, ModelError> {
        let name = CONTEXT.to_owned();
        let Some(context) = tensors.get(CONTEXT) else {
            return Err(ModelError::MissingTensor { name });
        };
        let width = clip.config().text.transformer.width;
        match context.shape[..] {
            [_, found] if found == width => {}
            _ => {
                return Err(ModelError::Shape {
                    name,
                    expected: vec![context.shape.first().copied().unwrap_or(1), width],
                    found: context.shape.clone(),
                });
            }
        }
        let data = TensorData::new(context.data.clone(), context.shape.clone());
        Ok(Self {
            context: Tensor::from_data(data, clip.device()),
            affine: clip.zero_shot_affine().with_values(tensors)?,
            centring: Centring::from_tensors(tensors, clip.config().embed_dim)?,
        })
    }

    /// The parameters as a file holds them.
    pub fn to_adapted(&self) -> Adapted {
        Adapted {
            context: to_host(&self.context),
            affine: self.affine.to_host().into_iter().collect(),
            centring: self
                .centring
                .iter()
                .flat_map(Centring::to_tensors)
                .collect(),
            metadata: BTreeMap::new(),
        }
    }

    /// The inverse of [`Self::to_adapted`] for a model.
    ///
    /// # Errors
    ///
    /// As [`Self::from_host`].
    pub fn from_adapted(adapted: Adapted, clip: &Clip) -> Result<Self, ModelError> {
        let mut tensors = adapted.affine;
        tensors.insert(CONTEXT.to_owned(), adapted.context);
        tensors.extend(adapted.centring);
        Self::from_host(&tensors, clip)
    }

    /// These parameters, if they have as many context vectors as those that the adaptation began with.
    ///
    /// # Errors
    ///
    /// [`ModelError::Shape`].
    pub fn in_place_of(self, first: &Self) -> Result<Self, ModelError> {
        let (expected, found) = (first.context.dims(), self.context.dims());
        if expected != found {
            return Err(ModelError::Shape {
                name: CONTEXT.to_owned(),
                expected: expected.to_vec(),
                found: found.to_vec(),
            });
        }
        Ok(self)
    }

    /// How many numbers are trained, of the affine parameters those from the norm `first_norm` on.
    pub(super) fn trained_len(&self, part: TrainedPart, first_norm: usize) -> usize {
        let context = self.context.dims().iter().product::<usize>();
        let affine = self.affine.trained_len(first_norm);
        [(part.context(), context), (part.affine(), affine)]
            .into_iter()
            .map(|(trained, count)| if trained { count } else { 0 })
            .sum()
    }

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
            centring: self.centring.clone(),
        }
    }
}

/// The loss of a batch and its gradient with respect to the trained parameters.
///
/// The towers meet only in their features, so the gradient is taken in two stages: first the loss's gradient with
/// respect to all features, then each tower's backward pass, micro-batch by micro-batch. Splitting the batch bounds
/// the memory of the second stage and does not change the gradient.
///
/// # Shapes
///
/// - `pixels`: `[batch, 3, image_size, image_size]`
/// - `loss`: called once, with the features of the whole batch
pub fn batch_gradient(
    clip: &Clip,
    prompts: &Prompts,
    parameters: &TrainedParameters,
    pixels: &Tensor<4>,
    choices: GradientChoices<'_>,
    loss: impl FnOnce(&BatchFeatures<'_>) -> LossTerms,
) -> BatchGradient {
    let inputs = BatchInputs {
        images: ImageInput::Pixels(pixels.clone()),
        texts: None,
    };
    batch_gradient_of(clip, prompts, parameters, inputs, choices, &Alone, loss)
}

/// What this rank's share of a batch is computed from.
pub(super) struct BatchInputs {
    pub images: ImageInput,
    /// Features of the classes, `[classes, embed_dim]`, where they are known and the context is not trained.
    pub texts: Option<Tensor<2>>,
}

/// The parts of a batch that go through the image tower one after the other.
enum ImageParts {
    Pixels(Vec<Tensor<4>>),
    /// What enters a block.
    Inputs(usize, Vec<Tensor<3>>),
    /// Nothing is left to do.
    None,
}

impl ImageParts {
    fn len(&self) -> usize {
        match self {
            Self::Pixels(parts) => parts.len(),
            Self::Inputs(_, parts) => parts.len(),
            Self::None => 0,
        }
    }

    /// Features of a part, `[images, embed_dim]`.
    fn encode(&self, clip: &Clip, part: usize, affine: &AffineParameters) -> Tensor<2> {
        match self {
            Self::Pixels(parts) => clip.image_features(parts[part].clone(), affine),
            Self::Inputs(block, parts) => {
                clip.features_from_block(*block, parts[part].clone(), affine)
            }
            Self::None => unreachable!("features that are known have no parts"),
        }
    }
}

/// The images of this rank's share of a batch.
pub(super) enum ImageInput {
    /// The batch has fewer images than there are ranks.
    None,
    /// `[batch, 3, image_size, image_size]`
    Pixels(Tensor<4>),
    /// What enters the first block that is trained, `[batch, tokens or positions, width]`.
    BlockInputs(Tensor<3>),
    /// `[batch, embed_dim]`, not normalized, where the image tower is not trained.
    Features(Tensor<2>),
}

impl ImageInput {
    /// The parts to encode, and the features where there is nothing to encode.
    fn parts(
        self,
        clip: &Clip,
        affine: &AffineParameters,
        choices: GradientChoices<'_>,
    ) -> (ImageParts, Option<Tensor<2>>) {
        let part = |batch: usize| choices.micro_batch.unwrap_or(batch).min(batch);
        let first = choices.blocks.first(clip);
        let parts = match (self, first) {
            (Self::None, _) => ImageParts::None,
            (Self::Features(features), _) => return (ImageParts::None, Some(features)),
            (Self::BlockInputs(inputs), Some(block)) => {
                let [batch, ..] = inputs.dims();
                ImageParts::Inputs(block, inputs.split(part(batch), 0))
            }
            (Self::BlockInputs(_), None) => {
                unreachable!("what enters a block is computed where blocks are named")
            }
            (Self::Pixels(pixels), _) => {
                let [batch, ..] = pixels.dims();
                let parts = pixels.split(part(batch), 0);
                match first.filter(|_| choices.train.affine()) {
                    None => ImageParts::Pixels(parts),
                    Some(block) => {
                        let parts = parts.into_iter();
                        let inputs = parts.map(|part| clip.block_inputs(block, part, affine));
                        ImageParts::Inputs(block, inputs.collect())
                    }
                }
            }
        };
        (parts, None)
    }
}

/// [`batch_gradient`] by several ranks, each of which has its share of the images, with what layers that are not trained make of the
/// inputs instead of these.
///
/// Every rank encodes its images and its part of the classes, takes the loss's gradient with respect to the features of all, and goes
/// back through the towers with its own. The gradients of the parameters are summed in the order of the ranks.
pub(super) fn batch_gradient_of(
    clip: &Clip,
    prompts: &Prompts,
    parameters: &TrainedParameters,
    inputs: BatchInputs,
    choices: GradientChoices<'_>,
    exchange: &dyn Exchange,
    loss: impl FnOnce(&BatchFeatures<'_>) -> LossTerms,
) -> BatchGradient {
    let first_norm = choices.blocks.first_norm(clip);
    let affine = parameters.affine.tracked(first_norm);
    let context = parameters.context.clone().autodiff().require_grad();

    let (image_parts, known_images) = inputs.images.parts(clip, &parameters.affine, choices);
    let images = Tower {
        parts: image_parts.len(),
        trained: choices.train.affine(),
        tracked: |part: usize| image_parts.encode(clip, part, &affine),
        plain: |part: usize| image_parts.encode(clip, part, &parameters.affine),
    };
    let passes = clip.text().own_passes(prompts, exchange);
    let encode_texts = |part: usize, context: &Context| {
        clip.text()
            .pass_features(prompts, &passes[part], Some(context))
    };
    let texts = Tower {
        parts: passes.len(),
        trained: choices.train.context(),
        tracked: |part: usize| encode_texts(part, &context),
        plain: |part: usize| encode_texts(part, &parameters.context),
    };
    let image_features = match known_images {
        Some(features) => vec![features],
        None => images.encode(),
    };
    let (text_parts, text_features) = match inputs.texts {
        Some(features) => (Vec::new(), features.inner()),
        None => {
            let parts = texts.encode();
            let features = gathered(detached(&parts), clip, exchange);
            (parts, prompts.collect(features))
        }
    };

    let all_images = gathered(detached(&image_features), clip, exchange);
    let features = BatchFeatures {
        image_features: leaf(Tensor::cat(all_images, 0)),
        text_features: leaf(text_features),
        logit_scale: clip.logit_scale(),
        indices: choices.indices,
    };
    let terms = loss(&features);
    let gradients = terms.loss.backward();
    let feature_gradient = |features: &Tensor<2>| {
        features
            .grad(&gradients)
            .unwrap_or_else(|| features.clone().inner().zeros_like())
    };
    let image_gradient = feature_gradient(&features.image_features);
    let text_gradient = feature_gradient(&features.text_features);

    let mut affine_gradient = AffineGradients::default();
    let [batch, _] = image_gradient.dims();
    let mut start = exchange.share(batch).start;
    for (part, features) in images.differentiable(image_features) {
        let [rows, _] = features.dims();
        let upstream = image_gradient.clone().narrow(0, start, rows);
        start += rows;
        let mut gradients = images.backward(part, features, upstream);
        affine_gradient =
            affine_gradient.accumulate(affine.take_gradients(first_norm, &mut gradients));
    }
    let mut context_gradient = parameters.context.zeros_like();
    for (part, features) in texts.differentiable(text_parts) {
        let upstream = prompts.rows_of_pass(&text_gradient, &passes[part]);
        let gradients = texts.backward(part, features, upstream);
        if let Some(gradient) = context.grad(&gradients) {
            context_gradient = context_gradient + gradient;
        }
    }
    let (context_gradient, affine_gradient) = summed(
        (context_gradient, affine_gradient),
        (parameters, choices.train, first_norm),
        exchange,
    );
    let (names, others): (Vec<_>, Vec<_>) = terms.others.into_iter().unzip();
    let scalars = [
        terms.loss,
        terms.conditional_entropy,
        terms.marginal_entropy,
    ];
    let scalars = scalars.into_iter().chain(others).map(Tensor::inner);
    let scalars = to_host_together(scalars.collect());
    let mut scalars = scalars.into_iter().map(f64::from);
    let mut next = || scalars.next().expect("one number for each term");
    BatchGradient {
        loss: next(),
        conditional_entropy: next(),
        marginal_entropy: next(),
        others: names
            .into_iter()
            .map(|name| (name.to_owned(), next()))
            .collect(),
        context: context_gradient,
        affine: affine_gradient,
        cosine_logits: normalize_rows(features.image_features.inner())
            .matmul(normalize_rows(features.text_features.inner()).transpose()),
    }
}

/// The features of all ranks, one rank after the other, `[items, embed_dim]` in one or several parts, from the parts of this one.
fn gathered(own: Vec<Tensor<2>>, clip: &Clip, exchange: &dyn Exchange) -> Vec<Tensor<2>> {
    if exchange.is_alone() {
        return own;
    }
    let own: Vec<f32> = own.iter().flat_map(|part| to_host(part).data).collect();
    let features = exchange.gather_numbers(&own);
    let embed_dim = clip.config().embed_dim;
    let shape = [features.len() / embed_dim, embed_dim];
    vec![Tensor::from_data(
        TensorData::new(features, shape),
        clip.device(),
    )]
}

/// The sums over all ranks of the gradients of what is trained; a rank that had nothing to do adds zeros.
fn summed(
    (context, affine): (Tensor<2>, AffineGradients),
    (parameters, train, first_norm): (&TrainedParameters, TrainedPart, usize),
    exchange: &dyn Exchange,
) -> (Tensor<2>, AffineGradients) {
    if exchange.is_alone() {
        return (context, affine);
    }
    let of_context = match train.context() {
        true => to_host(&context).data,
        false => Vec::new(),
    };
    let (context_len, affine_len) = (
        of_context.len(),
        match train.affine() {
            true => parameters.affine.trained_len(first_norm),
            false => 0,
        },
    );
    let mut numbers = of_context;
    numbers.extend(affine.to_numbers());
    numbers.resize(context_len + affine_len, 0.0);
    exchange.sum(&mut numbers);
    let of_affine = numbers.split_off(context_len);
    let context = match train.context() {
        true => {
            let data = TensorData::new(numbers, context.dims());
            Tensor::from_data(data, &context.device())
        }
        false => context,
    };
    let affine = match train.affine() {
        true => parameters.affine.gradients_of(first_norm, &of_affine),
        false => affine,
    };
    (context, affine)
}

/// A tower that encodes its inputs in parts, with or without a graph for the backward pass.
struct Tower<T, P> {
    parts: usize,
    trained: bool,
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
        self.trained && self.parts == 1
    }

    /// The parts that need a backward pass: all, or none where nothing in the tower is trained.
    fn differentiable(
        &self,
        parts: Vec<Tensor<2>>,
    ) -> impl Iterator<Item = (usize, Tensor<2>)> + use<T, P> {
        let count = if self.trained { parts.len() } else { 0 };
        parts.into_iter().enumerate().take(count)
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
