//! What an adaptation does not train is computed once, and to the same bits.

mod fixtures;

use ueo::Settings;
use ueo::adapt::{ActivationCache, Augmentation};
use ueo::guard::{Criterion, Keep};
use ueo::method::TrainedPart;
use ueo::session::Model;

use fixtures::noise::{Sessions, bits};

const IMAGES: usize = 12;
/// Epochs of each adaptation.
const EPOCHS: usize = 4;

/// The parameters that an adaptation in sessions of so many steps ends with, and the images that its sessions asked for.
fn adapted(model: &Model, settings: &Settings, steps: usize) -> (Vec<u32>, usize) {
    adapted_with(model, settings, steps, false)
}

/// As [`adapted`] in one session that has the features of a pass.
fn adapted_knowing(model: &Model, settings: &Settings) -> (Vec<u32>, usize) {
    adapted_with(model, settings, usize::MAX, true)
}

fn adapted_with(
    model: &Model,
    settings: &Settings,
    steps: usize,
    is_knowing: bool,
) -> (Vec<u32>, usize) {
    let sessions = Sessions {
        model,
        settings,
        cache: &ActivationCache::default(),
        images: IMAGES,
        steps,
        is_knowing,
    };
    let (tensors, delivered) = sessions.run();
    (bits(&tensors), delivered)
}

fn settings(part: TrainedPart) -> Settings {
    let mut settings = Settings::default();
    settings.train = Some(part);
    settings.augmentation = Augmentation::None;
    settings.epochs = EPOCHS.into();
    settings.batch_size = 4;
    settings.context_learning_rate = 0.05;
    settings.affine_learning_rate = 0.02;
    settings
}

/// A vision transformer and a ResNet.
fn models() -> [Model; 2] {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/iconclip-resnet");
    [
        fixtures::path("checkpoints").join("hf-vit/model"),
        shipped.into(),
    ]
    .map(|path| Model::open(path).unwrap())
}

#[test]
fn images_are_encoded_once_where_their_tower_is_not_trained() {
    for model in models() {
        let mut micro = settings(TrainedPart::Context);
        micro.micro_batch = Some(2);
        for settings in [settings(TrainedPart::Context), micro] {
            let (whole, delivered) = adapted(&model, &settings, usize::MAX);
            assert_eq!(delivered, IMAGES);
            // A session of one step remembers nothing: it encodes all that it sees.
            let (pieces, encoded) = adapted(&model, &settings, 1);
            assert_eq!(encoded, EPOCHS * IMAGES);
            assert!(whole == pieces);
        }
    }
}

/// Whether some part of a batch has so few images that the ResNet's pooling rounds otherwise than in larger ones.
fn has_small_parts(batch_size: usize, micro_batch: Option<usize>) -> bool {
    const LARGE_ENOUGH: usize = 5;
    [batch_size, IMAGES % batch_size]
        .into_iter()
        .flat_map(|batch| {
            let part = micro_batch.unwrap_or(batch).min(batch).max(1);
            [part.min(batch), batch % part]
        })
        .any(|size| (1..LARGE_ENOUGH).contains(&size))
}

#[test]
fn features_of_a_pass_are_not_computed_again() {
    let mut settings = settings(TrainedPart::Context);
    for model in models() {
        let (expected, _) = adapted(&model, &settings, usize::MAX);
        for (batch_size, micro_batch) in [(6, None), (7, None), (4, Some(3))] {
            (settings.batch_size, settings.micro_batch) = (batch_size, micro_batch);
            let (plain, _) = adapted(&model, &settings, usize::MAX);
            let (knowing, delivered) = adapted_knowing(&model, &settings);
            assert!(plain == knowing, "{batch_size}, {micro_batch:?}");
            // The first part of a batch, to compare.
            if !has_small_parts(batch_size, micro_batch) {
                assert_eq!(delivered, batch_size);
            }
        }
        (settings.batch_size, settings.micro_batch) = (4, None);
        assert!(adapted(&model, &settings, usize::MAX).0 == expected);
    }
}

#[test]
fn a_shorter_batch_is_encoded_by_itself() {
    for model in models() {
        // Batches of 7 and 5 images, of 5, 5 and 2; parts of 3 and 1.
        for (batch_size, micro_batch) in [(7, None), (5, None), (4, Some(3)), (11, None)] {
            let mut settings = settings(TrainedPart::Context);
            (settings.batch_size, settings.micro_batch) = (batch_size, micro_batch);
            let (whole, delivered) = adapted(&model, &settings, usize::MAX);
            // What is rounded otherwise is encoded again.
            match has_small_parts(batch_size, micro_batch) {
                true => assert!(delivered < EPOCHS * IMAGES, "{delivered} images"),
                false => assert_eq!(delivered, IMAGES),
            }
            assert!(
                whole == adapted(&model, &settings, 1).0,
                "{batch_size}, {micro_batch:?}"
            );
        }
    }
}

#[test]
fn passes_between_epochs_use_what_is_known() {
    let mut settings = settings(TrainedPart::Context);
    settings.keep = Keep::BestBy(Criterion::SoftNeighborhoodDensity);
    for model in models() {
        let (whole, delivered) = adapted(&model, &settings, usize::MAX);
        assert_eq!(delivered, IMAGES);
        assert!(whole == adapted(&model, &settings, 1).0);
        // Steps see random views; the passes see the test view each time.
        let mut random = settings.clone();
        random.augmentation = Augmentation::CropFlip;
        let (_, delivered) = adapted(&model, &random, usize::MAX);
        assert_eq!(delivered, EPOCHS * IMAGES + IMAGES);
    }
}

#[test]
fn what_is_trained_is_encoded_in_every_step() {
    for model in models() {
        for part in [TrainedPart::Affine, TrainedPart::Both] {
            let settings = settings(part);
            let (whole, delivered) = adapted(&model, &settings, usize::MAX);
            assert_eq!(delivered, EPOCHS * IMAGES);
            assert!(whole == adapted(&model, &settings, 1).0, "{part:?}");
        }
    }
}
