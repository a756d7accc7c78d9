//! The loop asks for the next epoch's images before it computes the last step of this one, so that loading never waits for
//! an epoch to end.

mod fixtures;

use std::cell::RefCell;
use std::ops::ControlFlow;

use ueo::adapt::{
    AdaptState, CallerError, Observer, Outcome, PixelBatch, PixelSource, Settings, StepRecord,
};
use ueo::image::ViewKind;
use ueo::method::ZeroShotPass;
use ueo::session::{Model, adapt_in_memory};

const IMAGES: usize = 4;
const BATCH: usize = 2;

/// Grey images; writes down when an epoch was asked for.
struct Source<'a> {
    size: usize,
    log: &'a RefCell<Vec<String>>,
}

impl PixelSource for Source<'_> {
    fn len(&self) -> usize {
        IMAGES
    }

    fn image_size(&self) -> usize {
        self.size
    }

    fn batches<'a>(
        &'a self,
        order: Vec<usize>,
        batch_size: usize,
        view: ViewKind,
    ) -> Box<dyn Iterator<Item = PixelBatch> + 'a> {
        let ViewKind::Training { epoch, .. } = view else {
            panic!("the loop trains on training views");
        };
        self.log.borrow_mut().push(format!("epoch {epoch}"));
        let batches: Vec<Vec<usize>> = order.chunks(batch_size).map(<[usize]>::to_vec).collect();
        let values = 3 * self.size * self.size;
        Box::new(batches.into_iter().map(move |indices| PixelBatch {
            pixels: vec![0.1; indices.len() * values],
            indices,
            failures: Vec::new(),
        }))
    }
}

struct Steps<'a>(&'a RefCell<Vec<String>>);

impl Observer for Steps<'_> {
    fn on_step(
        &mut self,
        record: &StepRecord,
        _: &AdaptState,
    ) -> Result<ControlFlow<()>, CallerError> {
        self.0.borrow_mut().push(format!("step {}", record.step));
        Ok(ControlFlow::Continue(()))
    }
}

#[test]
fn an_epoch_is_asked_for_before_the_one_before_it_ends() {
    let path = fixtures::path("checkpoints").join("hf-vit/model");
    let model = Model::open(&path).unwrap();
    let prompts = model
        .prompts(&["cat".to_owned(), "dog".to_owned()])
        .unwrap();
    let embed_dim = model.clip.config().embed_dim;
    let pass = ZeroShotPass {
        image_features: vec![0.0; IMAGES * embed_dim],
        text_features: vec![0.0; 2 * embed_dim],
        cosine_logits: vec![0.0; IMAGES * 2],
        classes: 2,
        embed_dim,
        logit_scale: 100.0,
        known: None,
    };
    let settings = Settings::default().epochs(3).batch_size(BATCH);
    let log = RefCell::new(Vec::new());
    let source = Source {
        size: model.preprocessing.crop,
        log: &log,
    };
    let outcome = adapt_in_memory(
        &model,
        &prompts,
        &source,
        &pass,
        &settings,
        &mut Steps(&log),
    )
    .unwrap();
    assert!(matches!(outcome, Outcome::Finished(_)));
    let expected = [
        "epoch 0", "step 1", "epoch 1", "step 2", "step 3", "epoch 2", "step 4", "step 5", "step 6",
    ];
    assert_eq!(log.into_inner(), expected);
}
