//! The text encoder. CLIP's runs the tokens shared by all prompts once.
//!
//! CLIP's attention is causal, so nothing after `[EOS]` matters and `[SOS]` with the context does not depend on the class.
//! The shared prefix leaves its keys and values behind, and each class runs only its own tokens: the same result as
//! encoding whole prompts of 77 tokens, for a fraction of the work.
//!
//! The attention of SigLIP and others goes both ways over a text that is padded to the context length, and the feature is read at the
//! last token, whatever it is, or at `[EOS]`. There is nothing to share and nothing to leave out: every prompt is a whole sequence.

use std::ops::Range;

use burn::tensor::{Tensor, TensorData};

use crate::checkpoint::{TextArchitecture, TextConfig, TextProjection, TextRead};
use crate::exchange::Exchange;

use super::affine::AffineParameters;
use super::residual_stack::{ResidualStack, StackKind};
use super::weights::Weights;
use super::{ModelError, NormAffine, layer_norm, row_indices, to_host};

/// Prompts that a rank encodes before it is the next one's turn, where several ranks encode prompts that do not train anything.
const PROMPTS_PER_TURN: usize = 256;

/// The learnable context vectors, `[context tokens, width]`, shared by all classes.
pub type Context = Tensor<2>;

/// Prompts that share their first tokens: `[SOS]` where the model has one, then the context, then each class's own tokens up to `[EOS]`.
#[derive(Clone, Debug)]
pub struct Prompts {
    start_token: Option<u32>,
    context_len: usize,
    own_tokens: Vec<Vec<u32>>,
    /// Prompt at each position of the order by length, in which prompts are encoded.
    order: Vec<usize>,
    /// Position in that order of each prompt.
    position: Vec<usize>,
}

impl Prompts {
    /// Groups prompts for encoding.
    ///
    /// `start_token` is `[SOS]`, `None` for a model that has none. `own_tokens` holds what follows the context for each class, `[EOS]` last. With `context_len` zero these are
    /// ordinary prompts without a learnable part.
    pub fn new(
        start_token: impl Into<Option<u32>>,
        context_len: usize,
        own_tokens: Vec<Vec<u32>>,
    ) -> Self {
        let mut order: Vec<usize> = (0..own_tokens.len()).collect();
        order.sort_by_key(|&prompt| own_tokens[prompt].len());
        let mut position = vec![0; order.len()];
        for (at, &prompt) in order.iter().enumerate() {
            position[prompt] = at;
        }
        Self {
            start_token: start_token.into(),
            context_len,
            own_tokens,
            order,
            position,
        }
    }

    /// Number of prompts.
    pub fn len(&self) -> usize {
        self.own_tokens.len()
    }

    /// Number of learnable context vectors in each prompt.
    pub fn context_len(&self) -> usize {
        self.context_len
    }

    /// Whether there are no prompts.
    pub fn is_empty(&self) -> bool {
        self.own_tokens.is_empty()
    }

    /// Puts the features of all passes, one after the other, back into the order of the prompts.
    ///
    /// # Shapes
    ///
    /// Each of `passes`: `[prompts of the pass, embed_dim]`; result `[prompts, embed_dim]`.
    pub fn collect(&self, passes: Vec<Tensor<2>>) -> Tensor<2> {
        let device = passes[0].device().inner();
        Tensor::cat(passes, 0).select(0, row_indices(&self.position, &device))
    }

    /// The rows of `per_prompt` that belong to a pass: the inverse of [`Self::collect`].
    pub fn rows_of_pass(&self, per_prompt: &Tensor<2>, pass: &Range<usize>) -> Tensor<2> {
        let device = per_prompt.device().inner();
        per_prompt
            .clone()
            .select(0, row_indices(&self.order[pass.clone()], &device))
    }

    /// Tokens that all prompts share: `[SOS]` and the context.
    fn shared_len(&self) -> usize {
        usize::from(self.start_token.is_some()) + self.context_len
    }

    /// Own tokens of the prompt at a position of the order by length.
    fn own_at(&self, position: usize) -> &[u32] {
        &self.own_tokens[self.order[position]]
    }
}

/// The frozen text encoder.
#[derive(Debug)]
pub struct TextEncoder {
    config: TextConfig,
    /// `[vocab_size, width]`
    token_embedding: Tensor<2>,
    /// `[context_length, width]`
    positional_embedding: Tensor<2>,
    stack: ResidualStack,
    /// LayerNorms of the stack and, last, `ln_final`.
    norms: AffineParameters,
    /// `[width, embed_dim]`
    projection: Option<Tensor<2>>,
    /// `[1, embed_dim]`
    projection_bias: Option<Tensor<2>>,
}

impl TextEncoder {
    pub(crate) fn new(
        config: &TextConfig,
        embed_dim: usize,
        weights: &mut Weights,
    ) -> Result<Self, ModelError> {
        let width = config.transformer.width;
        let kind = match config.architecture {
            TextArchitecture::Causal => StackKind::Causal,
            TextArchitecture::Padded { read, .. } => match read {
                TextRead::Last => StackKind::LastToken,
                TextRead::EndOfText => StackKind::AllTokens,
            },
        };
        let projection = config.architecture.projection();
        let projection_bias = match projection {
            TextProjection::Affine => {
                let bias: Tensor<1> = weights.take("text_projection_bias", [embed_dim])?;
                Some(bias.unsqueeze())
            }
            TextProjection::Linear | TextProjection::None => None,
        };
        let mut names = ResidualStack::norm_names(&config.transformer, "transformer");
        names.push("ln_final".to_owned());
        Ok(Self {
            norms: AffineParameters::from_tensors(
                weights.remaining(),
                names.into_iter().map(|name| (name, false)),
                weights.device(),
            )?,
            token_embedding: weights.take("token_embedding.weight", [config.vocab_size, width])?,
            positional_embedding: weights
                .take("positional_embedding", [config.context_length, width])?,
            stack: ResidualStack::new(&config.transformer, "transformer", kind, weights)?,
            projection: match projection {
                TextProjection::None => None,
                _ => Some(weights.take("text_projection", [width, embed_dim])?),
            },
            projection_bias,
            config: config.clone(),
        })
    }

    /// The token embeddings of `tokens`, from which the context starts.
    ///
    /// # Errors
    ///
    /// [`ModelError::TokenOutOfRange`] when a token is not in the vocabulary.
    pub fn context_from_tokens(&self, tokens: &[u32]) -> Result<Context, ModelError> {
        self.check_tokens(tokens)?;
        Ok(self.embed(tokens))
    }

    /// Checks that every prompt fits the encoder.
    ///
    /// # Errors
    ///
    /// [`ModelError::PromptTooLong`] or [`ModelError::TokenOutOfRange`].
    pub fn check(&self, prompts: &Prompts) -> Result<(), ModelError> {
        for (index, own) in prompts.own_tokens.iter().enumerate() {
            let found = prompts.shared_len() + own.len();
            let limit = self.config.context_length;
            if found > limit {
                return Err(ModelError::PromptTooLong {
                    index,
                    found,
                    limit,
                });
            }
            self.check_tokens(own)?;
        }
        self.check_tokens(prompts.start_token.as_slice())
    }

    /// The passes in which all prompts are encoded, as ranges of the order by length.
    ///
    /// Each pass holds as many tokens as the engine can afford in memory at once.
    pub fn passes(&self, prompts: &Prompts) -> Vec<Range<usize>> {
        self.passes_in(prompts, 0..prompts.len())
    }

    /// The passes of the prompts at some positions of the order by length.
    fn passes_in(&self, prompts: &Prompts, positions: Range<usize>) -> Vec<Range<usize>> {
        let (limit, whole) = match self.config.architecture {
            TextArchitecture::Causal => (self.stack.tokens_per_pass(), None),
            TextArchitecture::Padded { .. } => (
                self.stack.whole_tokens_per_pass(),
                Some(self.config.context_length),
            ),
        };
        let tokens = |end: usize| whole.unwrap_or_else(|| prompts.own_at(end).len());
        let mut passes = Vec::new();
        let mut start = positions.start;
        for end in positions.start + 1..=positions.end {
            let is_last = end == positions.end;
            // The longest prompt of a pass stands last and sets the length of all.
            if is_last || tokens(end) * (end + 1 - start) > limit {
                passes.push(start..end);
                start = end;
            }
        }
        passes
    }

    /// Encodes all prompts, which [`Self::check`] has passed.
    ///
    /// # Shapes
    ///
    /// - `context`: `[context tokens, width]`, `None` for prompts without context
    /// - result: `[prompts, embed_dim]`, not normalized
    pub fn features(&self, prompts: &Prompts, context: Option<&Context>) -> Tensor<2> {
        let passes = self.passes(prompts);
        let features = passes
            .iter()
            .map(|pass| self.pass_features(prompts, pass, context))
            .collect();
        prompts.collect(features)
    }

    /// The passes of this rank, where the prompts are divided so that all ranks have about as many tokens.
    pub(crate) fn own_passes(
        &self,
        prompts: &Prompts,
        exchange: &dyn Exchange,
    ) -> Vec<Range<usize>> {
        let tokens = |position: usize| match self.config.architecture {
            TextArchitecture::Causal => prompts.own_at(position).len(),
            TextArchitecture::Padded { .. } => 1,
        };
        let total: usize = (0..prompts.len()).map(tokens).sum();
        let mut before = 0;
        let mut own = prompts.len()..0;
        for position in 0..prompts.len() {
            // The rank in whose part of all tokens the prompt begins.
            if before * exchange.ranks() / total.max(1) == exchange.rank() {
                own = own.start.min(position)..position + 1;
            }
            before += tokens(position);
        }
        self.passes_in(prompts, own.start.min(own.end)..own.end)
    }

    /// [`Self::features`] by several ranks, which take groups of prompts in turn.
    pub(crate) fn features_together(
        &self,
        prompts: &Prompts,
        context: Option<&Context>,
        exchange: &dyn Exchange,
    ) -> Tensor<2> {
        if exchange.is_alone() || prompts.len() <= PROMPTS_PER_TURN {
            return self.features(prompts, context);
        }
        let starts = (0..prompts.len()).step_by(PROMPTS_PER_TURN);
        let groups = starts.map(|start| start..prompts.len().min(start + PROMPTS_PER_TURN));
        let groups: Vec<Range<usize>> = groups.collect();
        let mut features = Vec::new();
        for round in groups.chunks(exchange.ranks()) {
            let mut own = Vec::new();
            if let Some(group) = round.get(exchange.rank()) {
                for pass in self.passes_in(prompts, group.clone()) {
                    own.extend(to_host(&self.pass_features(prompts, &pass, context)).data);
                }
            }
            features.extend(exchange.gather_numbers(&own));
        }
        let shape = [prompts.len(), features.len() / prompts.len()];
        let features = TensorData::new(features, shape);
        let device = self.token_embedding.device();
        prompts.collect(vec![Tensor::from_data(features, &device)])
    }

    /// Encodes the prompts of one pass, `[prompts of the pass, embed_dim]`.
    pub fn pass_features(
        &self,
        prompts: &Prompts,
        pass: &Range<usize>,
        context: Option<&Context>,
    ) -> Tensor<2> {
        let ends = match self.config.architecture {
            TextArchitecture::Causal => self.ends_after_prefix(prompts, pass, context),
            TextArchitecture::Padded {
                padding_token,
                read,
                ..
            } => self.ends_of_padded(prompts, pass, context, padding_token, read),
        };
        let (_, ln_final) = self.stack_norms();
        let epsilon = self.config.transformer.layer_norm_epsilon;
        let ends = layer_norm(ends.unsqueeze_dim(1), ln_final, epsilon).squeeze_dim::<2>(1);
        let features = match &self.projection {
            Some(projection) => ends.matmul(projection.clone()),
            None => ends,
        };
        match &self.projection_bias {
            Some(bias) => features + bias.clone(),
            None => features,
        }
    }

    /// The embeddings of the tokens that all prompts share, `[shared tokens, width]`; `None` where there are none.
    fn shared(&self, prompts: &Prompts, context: Option<&Context>) -> Option<Tensor<2>> {
        let start = prompts.start_token.map(|token| self.embed(&[token]));
        let parts: Vec<_> = start.into_iter().chain(context.cloned()).collect();
        (!parts.is_empty()).then(|| Tensor::cat(parts, 0))
    }

    /// What the blocks leave at the token of each prompt that is read; prompts are padded to the context length.
    ///
    /// # Shapes
    ///
    /// result: `[prompts of the pass, width]`
    fn ends_of_padded(
        &self,
        prompts: &Prompts,
        pass: &Range<usize>,
        context: Option<&Context>,
        padding_token: u32,
        read: TextRead,
    ) -> Tensor<2> {
        let (stack_norms, _) = self.stack_norms();
        let width = self.config.transformer.width;
        let count = pass.len();
        let shared = self.shared(prompts, context);
        let shared_len = shared.as_ref().map_or(0, |shared| shared.dims()[0]);
        let own_len = self.config.context_length - shared_len;
        let own: Vec<u32> = pass
            .clone()
            .flat_map(|position| {
                let own = prompts.own_at(position).iter().copied();
                own.chain(std::iter::repeat(padding_token)).take(own_len)
            })
            .collect();
        let own = self.embed(&own).reshape([count, own_len, width]);
        let whole = match shared {
            Some(shared) => {
                let shared: Tensor<3> = shared.unsqueeze();
                let shared = shared.expand([count, shared_len, width]);
                Tensor::cat(vec![shared, own], 1)
            }
            None => own,
        };
        let positions: Tensor<3> = self.positional_embedding.clone().unsqueeze();
        let whole = whole + positions;
        if read == TextRead::Last {
            return self.stack.last_tokens(whole, stack_norms);
        }
        let length = self.config.context_length;
        let ends: Vec<usize> = (0..count)
            .zip(pass.clone())
            .map(|(row, position)| row * length + shared_len + prompts.own_at(position).len() - 1)
            .collect();
        let device = self.token_embedding.device();
        self.stack
            .all_tokens(whole, stack_norms)
            .reshape([count * length, width])
            .select(0, row_indices(&ends, &device))
    }

    /// What the blocks leave at the last token of each prompt, whose first tokens all share, `[prompts of the pass, width]`.
    fn ends_after_prefix(
        &self,
        prompts: &Prompts,
        pass: &Range<usize>,
        context: Option<&Context>,
    ) -> Tensor<2> {
        let (stack_norms, _) = self.stack_norms();
        let Some(prefix) = self.shared(prompts, context) else {
            return self.ends_without_prefix(prompts, pass);
        };
        let [prefix_len, _] = prefix.dims();
        let prefix = prefix + self.positional_embedding.clone().narrow(0, 0, prefix_len);

        let own: Vec<&[u32]> = pass
            .clone()
            .map(|position| prompts.own_at(position))
            .collect();
        let lengths: Vec<usize> = own.iter().map(|tokens| tokens.len()).collect();
        let positions: Vec<usize> = lengths
            .iter()
            .flat_map(|&length| prefix_len..prefix_len + length)
            .collect();
        let device = self.token_embedding.device();
        let own = self.embed(&own.concat())
            + self
                .positional_embedding
                .clone()
                .select(0, row_indices(&positions, &device));
        self.stack
            .last_after_prefix(prefix, own, &lengths, stack_norms)
    }

    /// What the blocks leave at the last token of each prompt, which share nothing, `[prompts of the pass, width]`: those of one length
    /// together, as they lie in the order by length.
    fn ends_without_prefix(&self, prompts: &Prompts, pass: &Range<usize>) -> Tensor<2> {
        let (stack_norms, _) = self.stack_norms();
        let own: Vec<&[u32]> = pass
            .clone()
            .map(|position| prompts.own_at(position))
            .collect();
        let ends = own.chunk_by(|a, b| a.len() == b.len()).map(|alike| {
            let (count, length) = (alike.len(), alike[0].len());
            let positions = self.positional_embedding.clone().narrow(0, 0, length);
            let tokens = self.embed(&alike.concat());
            let [_, width] = tokens.dims();
            let tokens = tokens.reshape([count, length, width]) + positions.unsqueeze();
            self.stack.last_of_causal(tokens, stack_norms)
        });
        Tensor::cat(ends.collect(), 0)
    }

    fn stack_norms(&self) -> (&[NormAffine], &NormAffine) {
        let norms = self.norms.norms();
        (&norms[..norms.len() - 1], &norms[norms.len() - 1])
    }

    fn embed(&self, tokens: &[u32]) -> Tensor<2> {
        let tokens: Vec<usize> = tokens.iter().map(|&token| token as usize).collect();
        let device = self.token_embedding.device();
        self.token_embedding
            .clone()
            .select(0, row_indices(&tokens, &device))
    }

    fn check_tokens(&self, tokens: &[u32]) -> Result<(), ModelError> {
        let vocab_size = self.config.vocab_size;
        match tokens.iter().find(|&&token| token as usize >= vocab_size) {
            Some(&token) => Err(ModelError::TokenOutOfRange { token, vocab_size }),
            None => Ok(()),
        }
    }
}
