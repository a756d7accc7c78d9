//! The readers of this module on bytes in memory, for fuzz targets and seeded tests: whatever the bytes are, they return.

use std::io::Cursor;
use std::path::Path;

use super::json::parse_object;
use super::pickle::{Machine, Source};
use super::saved_object::SavedObject;
use super::{CheckpointError, hugging_face, open_clip, state_dict, weights_file};

/// Lists the tensors of a weights file of any format, finds the model among them and infers its architecture.
///
/// # Errors
///
/// Whatever is wrong with the bytes.
pub fn weights(bytes: &[u8]) -> Result<(), CheckpointError> {
    let path = Path::new("weights");
    let mut file = weights_file::read(Cursor::new(bytes), path)?;
    state_dict::unwrap_names(&mut file.store, &mut file.decisions)?;
    let origin = state_dict::Origin {
        script: file.script,
        training_checkpoint: file.training_checkpoint,
        custom_text: false,
        open_clip_name: false,
    };
    state_dict::architecture(&file.store.shapes(), origin, path).map(drop)
}

/// Reads a pickle as it stands in an archive of `torch.save`, or of `torch.jit.save` with `script`, and finds the model in
/// it.
///
/// # Errors
///
/// Whatever is wrong with the bytes.
pub fn pickle(bytes: &[u8], script: bool) -> Result<(), CheckpointError> {
    let path = Path::new("data.pkl");
    let pickle = Machine::new(script)
        .run(&mut Source::new(bytes))
        .map_err(|error| error.at(path))?;
    SavedObject::read(&pickle, path).map(drop)
}

/// Reads `config.json` of Hugging Face's layout, and the same bytes as `preprocessor_config.json`.
///
/// # Errors
///
/// Whatever is wrong with the bytes as a configuration of the model.
pub fn hugging_face_configuration(bytes: &[u8]) -> Result<(), CheckpointError> {
    let path = Path::new("config.json");
    let object = parse_object(bytes, path)?;
    // Of one file at most one of the two is what it should be.
    drop(hugging_face::preprocessing(&object, path));
    hugging_face::read_config(&object, path).map(drop)
}

/// Reads `open_clip_config.json`.
///
/// # Errors
///
/// Whatever is wrong with the bytes.
pub fn open_clip_configuration(bytes: &[u8]) -> Result<(), CheckpointError> {
    let path = Path::new("open_clip_config.json");
    open_clip::config(&parse_object(bytes, path)?, path).map(drop)
}
