//! Image files, JPEG or PNG, in a folder for each class: `train/CLASS/*.png` and `test/CLASS/*.png`. Classes are numbered by the
//! names of their folders in alphabetical order, as torchvision's `ImageFolder` numbers them.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use image::ImageReader;

use super::{DataError, LabelledImages, Pixels, Source};

/// A folder, and the network's input: channels, height and width.
pub(crate) struct ImageFolder<'a> {
    pub(crate) path: &'a Path,
    pub(crate) shape: [usize; 3],
}

const TRAINING: &str = "train";
const TEST: &str = "test";
const LAYOUT: &str =
    "with format ImageFolder the data set's path is that of a folder with train/CLASS/ and test/CLASS/";
const ENDINGS: [&str; 3] = ["png", "jpg", "jpeg"];

impl Source for ImageFolder<'_> {
    fn training(&self) -> Result<LabelledImages, DataError> {
        self.read(TRAINING)
    }

    fn test(&self) -> Result<LabelledImages, DataError> {
        let (training, test) = (self.path.join(TRAINING), self.path.join(TEST));
        let (found, others) = (classes(&training)?, classes(&test)?);
        if found.iter().map(|path| path.file_name()).ne(others.iter().map(|path| path.file_name())) {
            return Err(DataError::Folders { found: found.len(), training, test });
        }
        self.read(TEST)
    }
}

impl ImageFolder<'_> {
    fn read(&self, part: &str) -> Result<LabelledImages, DataError> {
        let [channels, _, _] = self.shape;
        if !matches!(channels, 1 | 3) {
            return Err(DataError::Channels { channels });
        }
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        for (label, class) in (0_u16..).zip(classes(&self.path.join(part))?) {
            let mut files = entries(&class)?;
            files.retain(|path| has_ending(path));
            if files.is_empty() {
                return Err(DataError::Empty { path: class });
            }
            for file in files {
                pixels.extend(self.pixels(&file)?);
                labels.push(label);
            }
        }
        Ok(LabelledImages { shape: self.shape, pixels: Pixels::Bytes(pixels), labels })
    }

    /// The pixels of one file, channel by channel.
    fn pixels(&self, path: &Path) -> Result<Vec<u8>, DataError> {
        let unread = |source| DataError::Read { path: path.to_owned(), source };
        let reader = ImageReader::open(path).and_then(ImageReader::with_guessed_format).map_err(unread)?;
        let refused = |source| DataError::Image { path: path.to_owned(), source };
        let image = reader.decode().map_err(refused)?;
        let [channels, height, width] = self.shape;
        let found = [image.height() as usize, image.width() as usize];
        if found != [height, width] {
            return Err(DataError::ImageSize { path: path.to_owned(), found, network: [height, width] });
        }
        if channels == 1 {
            return Ok(image.into_luma8().into_raw());
        }
        let interleaved = image.into_rgb8().into_raw();
        let channel = |channel| interleaved.iter().skip(channel).step_by(channels).copied();
        Ok((0..channels).flat_map(channel).collect())
    }
}

/// The folders of the classes in alphabetical order.
fn classes(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut classes = entries(folder)?;
    classes.retain(|path| path.is_dir());
    if classes.is_empty() {
        Err(DataError::Missing { path: folder.join("*"), content: LAYOUT })
    } else {
        Ok(classes)
    }
}

/// What lies in a folder, in alphabetical order, so that no file system decides what a seed means.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => DataError::Missing { path: folder.to_owned(), content: LAYOUT },
        _ => DataError::Read { path: folder.to_owned(), source },
    };
    let found = fs::read_dir(folder).map_err(failed)?;
    let mut paths =
        found.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    // What hides is not data: .git, .DS_Store, the ..data of a mounted volume.
    paths.retain(|path| path.file_name().is_some_and(|name| !name.as_encoded_bytes().starts_with(b".")));
    paths.sort();
    Ok(paths)
}

fn has_ending(path: &Path) -> bool {
    let ending = path.extension().map(OsStr::to_ascii_lowercase);
    ending.is_some_and(|ending| ENDINGS.iter().any(|known| ending == *known))
}

#[cfg(test)]
mod tests {
    use image::{ImageFormat, RgbImage};
    use tempfile::TempDir;

    use super::*;

    fn write(folder: &TempDir, name: &str, format: ImageFormat, size: u32, colour: [u8; 3]) {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        RgbImage::from_pixel(size, 1, image::Rgb(colour)).save_with_format(path, format).unwrap();
    }

    fn folder() -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        write(&folder, "train/cat/b.png", ImageFormat::Png, 2, [1, 2, 3]);
        write(&folder, "train/cat/a.PNG", ImageFormat::Png, 2, [4, 5, 6]);
        write(&folder, "train/ant/x.jpg", ImageFormat::Jpeg, 2, [200, 200, 200]);
        write(&folder, "test/ant/x.png", ImageFormat::Png, 2, [7, 7, 7]);
        fs::write(folder.path().join("train/cat/notes.txt"), "no image").unwrap();
        folder
    }

    fn source(folder: &TempDir, shape: [usize; 3]) -> ImageFolder<'_> {
        ImageFolder { path: folder.path(), shape }
    }

    #[test]
    fn files_are_read_in_alphabetical_order_channel_by_channel() {
        let folder = folder();
        let images = source(&folder, [3, 1, 2]).training().unwrap();
        assert_eq!((images.shape, images.labels), ([3, 1, 2], vec![0, 1, 1]));
        let Pixels::Bytes(pixels) = images.pixels else { panic!("files hold bytes") };
        assert!(pixels[..6].iter().all(|&pixel| pixel.abs_diff(200) <= 2), "JPEG is not exact: {pixels:?}");
        assert_eq!(pixels[6..], [4, 4, 5, 5, 6, 6, 1, 1, 2, 2, 3, 3]);
        let Pixels::Bytes(grey) = source(&folder, [1, 1, 2]).training().unwrap().pixels else {
            panic!("bytes")
        };
        assert_eq!(grey.len(), 6);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let folder = folder();
        let refusal = |shape| source(&folder, shape).training().unwrap_err().to_string();
        assert!(refusal([3, 4, 4]).contains("x.jpg\" is [1, 2] pixels"));
        assert!(refusal([4, 1, 2]).contains("input channels"));
        let refused = source(&folder, [3, 1, 2]).test().unwrap_err();
        assert!(matches!(refused, DataError::Folders { found: 2, .. }), "{refused}");
        fs::write(folder.path().join("train/ant/x.jpg"), "no image").unwrap();
        assert!(refusal([3, 1, 2]).contains("is no image that can be read"));
        fs::create_dir(folder.path().join("train/bee")).unwrap();
        fs::remove_dir_all(folder.path().join("train/ant")).unwrap();
        assert!(refusal([3, 1, 2]).contains("bee\" holds nothing: put images there"));
        fs::remove_dir_all(folder.path().join("train")).unwrap();
        assert!(refusal([3, 1, 2]).contains("train/CLASS/"));
    }
}
