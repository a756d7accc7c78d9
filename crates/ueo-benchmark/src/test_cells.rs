//! Cells with made-up content, for the tests of what is computed from cells.

use std::path::Path;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::cell::{CELL_FORMAT_VERSION, Cell, CellImages, CellRequest, ImagesId, Timing};
use super::measurements::Measurements;
use super::protocol::Protocol;
use super::results::Results;
use super::shift::Shift;
use ueo::adapt::Settings;
use ueo::method::Method;
use ueo::model::Precision;

/// A request with `classes` classes of which some are known.
pub fn request(classes: usize, known: &[usize]) -> CellRequest {
    let images = ImagesId {
        count: 0,
        fingerprint: "0".to_owned(),
    };
    CellRequest {
        suite: "made-up".to_owned(),
        protocol: Protocol::Published,
        variant: "suite".to_owned(),
        domain: "drawings".to_owned(),
        group: "domains".to_owned(),
        shift: Shift::Closed,
        method: Method::Ueo,
        seed: Some(1),
        settings: Settings::default(),
        model_sha256: "0".to_owned(),
        precision: Precision::F32,
        classes: (0..classes).map(|class| format!("class {class}")).collect(),
        known: known.to_vec(),
        present: known.to_vec(),
        train_images: images.clone(),
        test_images: images,
    }
}

/// Random predictions and coarse confidences (so that some are equal) of `count` images. The labels do not depend on the
/// seed, and no image is of class `missing`.
pub fn random_images(
    count: usize,
    classes: usize,
    known: &[usize],
    missing: usize,
    seed: u64,
) -> CellImages {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut below = |end: usize| (rng.next_u64() % end as u64) as usize;
    let mut images = CellImages::default();
    for image in 0..count {
        let label = (image * image + image / 3) % classes;
        let label = if label == missing {
            (label + 1) % classes
        } else {
            label
        };
        images.labels.push(label);
        images.predictions.push(known[below(known.len())]);
        images.confidences.push(below(10) as f64 / 10.0);
        images.scaled_confidences.push(below(10) as f64 / 10.0);
        images.maximum_cosines.push(below(10) as f64 / 10.0);
    }
    images
}

/// Four images of the known class 0 and one of the unknown class 1; the known class 2 has none. `correct` of the known
/// images are predicted as class 0, the others as class 2, and the unknown image is more confident than `lost` of them.
pub fn images(correct: usize, lost: usize) -> CellImages {
    let confidence = |image: usize| if image < lost { 0.4 } else { 0.6 };
    let mut images = CellImages {
        labels: vec![0, 0, 0, 0, 1],
        predictions: (0..4)
            .map(|image| if image < correct { 0 } else { 2 })
            .collect(),
        confidences: (0..4).map(confidence).collect(),
        ..CellImages::default()
    };
    images.predictions.push(0);
    images.confidences.push(0.5);
    images.scaled_confidences = images.confidences.clone();
    images.maximum_cosines = images.confidences.clone();
    images
}

/// The cell of a request with what it says about its images.
pub fn cell(request: CellRequest, images: CellImages) -> Cell {
    Cell {
        format_version: CELL_FORMAT_VERSION,
        ueo_version: "0".to_owned(),
        results: Some(Measurements::of(&images, &request.known).unwrap()),
        model: None,
        request,
        failure: None,
        images,
        timing: Timing::default(),
    }
}

/// The results of cells of one suite, model and protocol.
pub fn one(cells: Vec<Cell>) -> Results {
    let mut all = Results::of_cells(cells, &[], Path::new("out")).unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0)
}
