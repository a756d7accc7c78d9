//! Images, lists, labels and class files that cannot be used.

use ueo::data::DataError;

use super::Hint;

impl Hint for DataError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Open { .. } | Self::OpenText { .. } => {
                "check the spelling of the path and that you may read it"
            }
            Self::NoImages { .. } => {
                "images are found by extension, such as jpg, png, webp, gif, bmp, tif, jp2, jxl; paths of a list are relative to --image-root or to the list's folder"
            }
            Self::UnreadFormat { .. } => "convert it to JPEG or PNG, for instance with ImageMagick",
            Self::ListLine { .. } => {
                "write the image's path first, then at most one label; `#` begins a comment line; a table with commas needs the extension .csv"
            }
            Self::DuplicateImage { .. }
            | Self::DuplicateClass { .. }
            | Self::DuplicateId { .. } => "remove one of the two",
            Self::Format { fix, .. } => fix,
            Self::Encoding { .. } => "save the file as UTF-8, for instance with `iconv -t UTF-8`",
            Self::Limit { .. } => "check that this is the file you meant; split it if it is",
            Self::Shard { .. } => "unpack it first, and give the folder or the .tar file",
            Self::Columns { .. } => "name the columns: --image-column NAME, --label-column NAME",
            Self::Unpack { .. } => {
                "make room there, or set TMPDIR to a folder with room, or unpack the shard to a plain .tar yourself"
            }
            Self::NoListLabels => {
                "the labels of a folder of images are its folders: --labels folders"
            }
            Self::BlankClass { .. } => {
                "remove it; the position is the class's number, so blank names are not skipped silently"
            }
            Self::ClassName { .. } => {
                "write one short name per line; a table needs the extension .csv and a first line such as `id,name`"
            }
            Self::SameWords { .. } => {
                "rename one of the two so that the words differ, for instance `crane bird` and `crane machine`"
            }
            Self::NoClassName { .. } => "add a line `id,name` for it",
            Self::NoClasses { .. } => {
                "write one name per line, in the order the classes should have"
            }
        };
        Some(hint.to_owned())
    }
}
