//! The IDX files of MNIST and its successors, plain or gzipped. Format: yann.lecun.com/exdb/mnist, "FILE FORMATS FOR THE
//! MNIST DATABASE": two zero bytes, a type code, the number of dimensions, each size as a big-endian u32, then the values.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

use flate2::read::MultiGzDecoder;

use super::{DataError, LabelledImages, MOST_BYTES, Pixels, Source};

/// Type code of unsigned bytes.
const UNSIGNED_BYTE: u8 = 0x08;

/// The folder of the four files.
pub(crate) struct Idx<'a>(pub(crate) &'a Path);

impl Source for Idx<'_> {
    fn training(&self) -> Result<LabelledImages, DataError> {
        read_pair(self.0, "train-images-idx3-ubyte", "train-labels-idx1-ubyte")
    }

    fn test(&self) -> Result<LabelledImages, DataError> {
        read_pair(self.0, "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
    }
}

fn read_pair(folder: &Path, images: &'static str, labels: &'static str) -> Result<LabelledImages, DataError> {
    let (images_path, labels_path) = (find(folder, images)?, find(folder, labels)?);
    let ([count, height, width], pixels) = read::<3>(&images_path, "images")?;
    let ([_], labels) = read::<1>(&labels_path, "labels")?;
    if count != labels.len() {
        return Err(DataError::Counts { images_path, images: count, labels_path, labels: labels.len() });
    }
    let labels = labels.into_iter().map(u16::from).collect();
    Ok(LabelledImages { shape: [1, height, width], pixels: Pixels::Bytes(pixels), labels })
}

fn find(folder: &Path, name: &'static str) -> Result<PathBuf, DataError> {
    let candidates = [folder.join(name), folder.join(format!("{name}.gz"))];
    let found = candidates.into_iter().find(|path| path.is_file());
    found.ok_or_else(|| DataError::MissingFile { folder: folder.to_owned(), name })
}

fn read<const N: usize>(path: &Path, wanted: &'static str) -> Result<([usize; N], Vec<u8>), DataError> {
    let failed = |source| DataError::Read { path: path.to_owned(), source };
    let file = BufReader::new(File::open(path).map_err(failed)?);
    let zipped = path.extension().is_some_and(|extension| extension == "gz");
    let mut source: Box<dyn Read> = if zipped { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };

    let found = word(&mut source).map_err(failed)?;
    let dimensions = N as u8;
    if found != [0, 0, UNSIGNED_BYTE, dimensions] {
        return Err(DataError::Magic { path: path.to_owned(), wanted, found, dimensions });
    }
    let mut sizes = [0_usize; N];
    for size in &mut sizes {
        *size = u32::from_be_bytes(word(&mut source).map_err(failed)?) as usize;
    }
    let stated = sizes.iter().fold(1_u64, |product, &size| product.saturating_mul(size as u64));
    if stated > MOST_BYTES {
        return Err(DataError::TooLarge { path: path.to_owned(), stated });
    }
    let mut values = Vec::new();
    source.take(stated + 1).read_to_end(&mut values).map_err(failed)?;
    match values.len() as u64 {
        0 if stated == 0 => Err(DataError::Empty { path: path.to_owned() }),
        found if found == stated => Ok((sizes, values)),
        found => {
            let found =
                if found > stated { "there are more".to_owned() } else { format!("there are {found}") };
            Err(DataError::Length { path: path.to_owned(), stated, found })
        }
    }
}

fn word(source: &mut dyn Read) -> io::Result<[u8; 4]> {
    let mut bytes = [0; 4];
    source.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use flate2::{Compression, write::GzEncoder};
    use tempfile::TempDir;

    use super::*;

    fn idx(sizes: &[u32], values: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, sizes.len() as u8];
        bytes.extend(sizes.iter().flat_map(|size| size.to_be_bytes()));
        bytes.extend(values);
        bytes
    }

    fn folder(images: &[u8], labels: &[u8]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("train-images-idx3-ubyte"), images).unwrap();
        let mut zip = GzEncoder::new(Vec::new(), Compression::fast());
        zip.write_all(labels).unwrap();
        fs::write(folder.path().join("train-labels-idx1-ubyte.gz"), zip.finish().unwrap()).unwrap();
        folder
    }

    fn refusal(images: &[u8], labels: &[u8]) -> String {
        Idx(folder(images, labels).path()).training().unwrap_err().to_string()
    }

    #[test]
    fn plain_and_zipped_files_are_read() {
        let folder = folder(&idx(&[2, 1, 2], &[1, 2, 3, 4]), &idx(&[2], &[7, 9]));
        let read = Idx(folder.path()).training().unwrap();
        let pixels = Pixels::Bytes(vec![1, 2, 3, 4]);
        assert_eq!(read, LabelledImages { shape: [1, 1, 2], pixels, labels: vec![7, 9] });
    }

    #[test]
    fn a_missing_file_is_named() {
        let folder = folder(&[], &[]);
        assert!(Idx(folder.path()).test().unwrap_err().to_string().contains("t10k-images-idx3-ubyte.gz"));
    }

    #[test]
    fn files_that_do_not_hold_what_they_should_are_refused() {
        let (images, labels) = (idx(&[2, 1, 2], &[1, 2, 3, 4]), idx(&[2], &[7, 9]));
        assert!(refusal(&labels, &labels).contains("is no IDX file of images"));
        assert!(refusal(&images, &images).contains("is no IDX file of labels"));
        assert!(
            refusal(&images[..18], &labels).contains("says that it holds 4 bytes of values, but there are 2")
        );
        assert!(refusal(&[&images[..], &[0]].concat(), &labels).contains("but there are more"));
        assert!(refusal(&images, &idx(&[3], &[1, 2, 3])).contains("holds 3 labels: give two files"));
        assert!(refusal(&idx(&[0, 28, 28], &[]), &idx(&[0], &[])).contains("holds nothing"));
        assert!(refusal(&idx(&[u32::MAX; 3], &[]), &labels).contains("are not read"));
        assert!(refusal(&images[..6], &labels).contains("failed to read"));
    }
}
