//! Templates through the library: in the settings of an adaptation, and in a model that is opened.

mod fixtures;

use ueo::adapt::Settings;
use ueo::image::RgbImage;
use ueo::method::Method;
use ueo::session::Model;
use ueo::text::Template;

fn classes() -> Vec<String> {
    ["cat", "dog"].map(str::to_owned).to_vec()
}

fn path() -> std::path::PathBuf {
    fixtures::path("checkpoints/hf-vit/model")
}

fn features(model: &Model) -> Vec<f32> {
    let classifier = model.classifier(&classes()).unwrap();
    let features = classifier.text_features().clone().into_data();
    features.try_to_vec().unwrap()
}

fn template(text: &str) -> Template {
    text.parse().unwrap()
}

#[test]
fn a_model_asks_in_its_templates_and_a_mean_lies_between_them() {
    let plain = Model::open(path()).unwrap();
    let sentences = [template("an icon of {}"), template("art of {}.")];
    let open = |templates: &[Template]| {
        let builder = Model::builder().templates(templates.to_vec());
        builder.open(path()).unwrap()
    };
    let [first, second] = [0, 1].map(|at| features(&open(&sentences[at..=at])));
    let mean = features(&open(&sentences));
    assert_ne!(first, features(&plain));
    let width = mean.len() / 2;
    for row in 0..2 {
        let rows = |values: &[f32]| values[row * width..(row + 1) * width].to_vec();
        let sum: Vec<f32> = rows(&first)
            .iter()
            .zip(rows(&second))
            .map(|(a, b)| a + b)
            .collect();
        let norm = sum.iter().map(|x| x * x).sum::<f32>().sqrt();
        for (found, expected) in rows(&mean).iter().zip(sum) {
            assert!((found - expected / norm).abs() < 1e-5);
        }
    }
    // The default said aloud is the default.
    let default = plain.with_templates(&[Template::default()]).unwrap();
    assert_eq!(features(&default), features(&plain));
}

#[test]
fn an_adaptation_starts_from_the_template_of_its_settings() {
    let plain = Model::open(path()).unwrap();
    let pictures = (0..6u8).map(|shade| {
        let pixel = [40 * shade, 10, 255 - 40 * shade];
        RgbImage::new(20, 20, pixel.repeat(20 * 20)).unwrap()
    });
    let images = plain.pixels(pictures);
    let settings = Settings::new(Method::InfoMax)
        .epochs(1)
        .templates(vec![template("an icon of {}")]);
    let adapted = plain.adapt(&images, &classes(), &settings).unwrap();
    assert_eq!(adapted.templates(), settings.templates);
    // The same as a model that was opened so, whatever the settings leave to it.
    let opened = plain.with_templates(&settings.templates).unwrap();
    let left = settings.clone().templates(Vec::new());
    let same = opened.adapt(&images, &classes(), &left).unwrap();
    assert_eq!(features(&same), features(&adapted));
    assert_ne!(features(&adapted), features(&opened));
}
