//! Files of run directories: the first byte says which one.

#![no_main]

use std::sync::OnceLock;

use ueo::Model;
use ueo_run::fuzzing;

fn model() -> &'static Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../crates/ueo/tests/fixtures/checkpoints/hf-vit/model"
    );
    MODEL.get_or_init(|| Model::open(path).expect("the fixture is a model"))
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((which, bytes)) = bytes.split_first() else {
        return;
    };
    let classes = ["cat", "dog", "=1+1"].map(str::to_owned);
    match which {
        b'r' => fuzzing::record(bytes),
        b'l' => fuzzing::records(bytes),
        b'p' => fuzzing::predictions(bytes, &classes),
        b's' => fuzzing::state(bytes, &model().clip),
        _ => fuzzing::frames(bytes),
    };
});
