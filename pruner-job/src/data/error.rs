//! Why data cannot be used: each names the file, what is wrong with it, and how to mend it.

use std::{io, path::PathBuf};

use super::MOST_BYTES;

/// Why data cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DataError {
    #[error("the data set lacks the file \"{name}\" (or \"{name}.gz\") in \"{}\": put it there, or mend the path", folder.display())]
    MissingFile { folder: PathBuf, name: &'static str },
    #[error("the data set lacks \"{}\": {content}", path.display())]
    Missing { path: PathBuf, content: &'static str },
    #[error("failed to read \"{}\": mend or replace it", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("\"{}\" is no IDX file of {wanted}: it starts with {found:02x?}, not [00, 00, 08, {dimensions:02x}]: give the original, as it is or gzipped", path.display())]
    Magic { path: PathBuf, wanted: &'static str, found: [u8; 4], dimensions: u8 },
    #[error("\"{}\" says that it holds {stated} bytes of values, but more than {MOST_BYTES} are not read: give fewer or smaller images", path.display())]
    TooLarge { path: PathBuf, stated: u64 },
    #[error("\"{}\" says that it holds {stated} bytes of values, but {found}: copy or write it again", path.display())]
    Length { path: PathBuf, stated: u64, found: String },
    #[error("\"{}\" holds nothing: put images there", path.display())]
    Empty { path: PathBuf },
    #[error("\"{}\" holds {images} images, but \"{}\" holds {labels} labels: give two files that belong together", images_path.display(), labels_path.display())]
    Counts { images_path: PathBuf, images: usize, labels_path: PathBuf, labels: usize },
    #[error("the array \"{array}\" of \"{}\" cannot be used: {reason}", path.display())]
    Array { path: PathBuf, array: &'static str, reason: String },
    #[error("\"{}\" is no image that can be read, JPEG or PNG: mend or remove it", path.display())]
    Image { path: PathBuf, source: image::ImageError },
    #[error(
        "\"{}\" is {found:?} pixels (height, width), but the network's input has {network:?}: scale all images to that before, as the network's clients must", path.display()
    )]
    ImageSize { path: PathBuf, found: [usize; 2], network: [usize; 2] },
    #[error(
        "\"{}\" has {found} folders of classes, but \"{}\" has others: both need the same ones", training.display(), test.display()
    )]
    Folders { training: PathBuf, test: PathBuf, found: usize },
    #[error(
        "a network of {channels} input channels cannot read images from files: it must have 1 (grey) or 3 (red, green, blue)"
    )]
    Channels { channels: usize },
    #[error(
        "the {part} images have shape {images:?} (channels, height, width), but the network's input has {network:?}: bring all images into that form, or export the network for theirs"
    )]
    Shape { part: &'static str, images: Vec<usize>, network: Vec<usize> },
    #[error(
        "the network's input has shape {network:?}, but a network of images has channels, height and width: take one that has"
    )]
    NoImages { network: Vec<usize> },
    #[error("{part} image {position} (counted from 0) has label {label}, but the network has {classes} outputs: labels go from 0 to {}; mend it, or take a network of more outputs", classes - 1)]
    Label { part: &'static str, position: usize, label: u16, classes: usize },
    #[error(
        "no training image has label {label}, but the network has {classes} outputs: add images of that class, or take a network of fewer outputs"
    )]
    EmptyClass { label: usize, classes: usize },
    #[error(
        "{part} image {position} (counted from 0) has a value that is no finite number (NaN or infinite): mend or remove it"
    )]
    NotFinite { part: &'static str, position: usize },
    #[error(
        "the training files hold {found} images, but validationImages ({validation}) and trainingImages (at least {training}) need more, and validationImages may not be 0"
    )]
    TooFew { found: usize, validation: usize, training: usize },
}
