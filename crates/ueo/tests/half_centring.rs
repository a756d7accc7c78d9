//! Methods that end with half-centring: the means are those of the images that were adapted to, they are kept with the model,
//! and so what is said about an image does not depend on the others.

use std::path::{Path, PathBuf};

use burn::tensor::Tensor;
use ueo::evaluate::{Score, ScoreRule};
use ueo::method::{Centring, Method};
use ueo::session::{Cut, Images, Model, Question, embed_images, predict};
use ueo::{Error, Settings};

const CLASSES: [&str; 4] = ["airplane", "anchor", "apple", "backpack"];

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models")
}

fn numbers(tensor: &Tensor<2>) -> Vec<f32> {
    tensor.to_data().try_to_vec().unwrap()
}

/// The largest cosine of each image.
fn cosines(model: &Model, images: &Images) -> Result<Vec<f64>, Error> {
    let classes = CLASSES.map(str::to_owned);
    let question = Question {
        rule: ScoreRule::new(Score::MaximumLogit, None),
        cut: Cut::At(0.5),
        ..Question::new(&classes)
    };
    let predicted = predict(model, images, question, &mut ())?;
    Ok(predicted
        .images
        .iter()
        .map(|image| image.confidence)
        .collect())
}

fn folder(model: &Model, directory: &Path, wanted: &str) -> Result<Images, Error> {
    let mut archive =
        tar::Archive::new(std::fs::File::open(models().join("demo/images.tar")).unwrap());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        if path.starts_with(wanted) && path.extension().is_some_and(|extension| extension == "png")
        {
            let path = directory.join(path.file_name().unwrap());
            std::fs::create_dir_all(directory).unwrap();
            entry.unpack(path).unwrap();
        }
    }
    model.images(directory)
}

#[test]
fn the_means_are_kept_and_an_image_stands_for_itself() -> Result<(), Error> {
    let model = Model::open(models().join("iconclip-resnet"))?;
    let images = model.images(models().join("demo/images.tar"))?;
    let settings = Settings::new(Method::HalfCentring);
    let adapted = model.adapt(&images, &CLASSES, &settings)?;
    let all = cosines(&adapted, &images)?;

    // From the features themselves.
    let features = embed_images(&model, &images, true, &mut ())?;
    let classifier = model.classifier(&CLASSES.map(str::to_owned))?;
    let texts = numbers(classifier.text_features());
    let centring = Centring::half(&features.features, &texts, features.embed_dim);
    let expected = centring.cosines(&features.features, &texts);
    for (row, (found, expected)) in all.iter().zip(expected.chunks_exact(4)).enumerate() {
        let expected = expected.iter().copied().fold(f32::MIN, f32::max);
        assert!((found - f64::from(expected)).abs() < 1e-5, "image {row}");
    }
    assert_ne!(all, cosines(&model, &images)?);

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("adapted.safetensors");
    adapted.save(&file)?;
    let again = model.with_saved(&file, Method::HalfCentring)?;
    assert_eq!(cosines(&again, &images)?, all, "as saved");

    let few = folder(&again, &directory.path().join("few"), "airplane")?;
    let alone = cosines(&again, &few)?;
    assert!(!alone.is_empty());
    for (found, expected) in alone.iter().zip(&all) {
        assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    }
    Ok(())
}

#[test]
fn a_training_method_takes_the_means_of_its_own_features() -> Result<(), Error> {
    let model = Model::open(models().join("iconclip-resnet"))?;
    let directory = tempfile::tempdir().unwrap();
    let images = folder(&model, directory.path(), "apple")?;
    let settings = |method| {
        Settings::new(method)
            .epochs(1)
            .context_learning_rate(5e-2)
            .affine_learning_rate(5e-2)
    };
    let plain = model.adapt(&images, &CLASSES, &settings(Method::Pouf))?;
    let centred = model.adapt(&images, &CLASSES, &settings(Method::PoufHalfCentring))?;
    let context = |model: &Model| numbers(&model.parameters.context);
    assert_eq!(context(&plain), context(&centred), "training is the same");
    assert!(plain.parameters.centring.is_none());
    let found = centred.parameters.centring.as_ref().unwrap();
    let features = embed_images(&plain, &images, true, &mut ())?;
    let classifier = plain.classifier(&CLASSES.map(str::to_owned))?;
    let texts = numbers(classifier.text_features());
    let expected = Centring::half(&features.features, &texts, features.embed_dim);
    for (found, expected) in found.image_mean.iter().zip(&expected.image_mean) {
        assert!((found - expected).abs() < 1e-6);
    }
    assert_eq!(found.text_mean, expected.text_mean);
    Ok(())
}
