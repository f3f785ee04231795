//! `NumPy` archives (numpy.org/doc/stable/reference/generated/numpy.lib.format.html) with the arrays that the `mnist.npz` of Keras has:
//! `x_train`, `y_train`, `x_test`, `y_test`. Pickled arrays are never read: a pickle is a program.

use std::{
    fs::File,
    io::{self, BufReader},
    path::Path,
};

use npyz::{DType, Deserialize, NpyFile, Order, TypeChar, npz::NpzArchive, zip::read::ZipFile};

use super::{DataError, LabelledImages, MOST_BYTES, Pixels, Source};

/// A file, and the network's input: channels, height and width, by which the order of the axes is known.
pub(crate) struct Npz<'a> {
    pub(crate) path: &'a Path,
    pub(crate) shape: [usize; 3],
}

impl Source for Npz<'_> {
    fn training(&self) -> Result<LabelledImages, DataError> {
        self.read("x_train", "y_train")
    }

    fn test(&self) -> Result<LabelledImages, DataError> {
        self.read("x_test", "y_test")
    }
}

impl Npz<'_> {
    fn read(&self, images: &'static str, labels: &'static str) -> Result<LabelledImages, DataError> {
        let (sizes, pixels) = self.images(images)?;
        let labels_found = self.labels(labels)?;
        let (count, shape, channels_last) = self.arrangement(images, &sizes)?;
        if count != labels_found.len() {
            let reason = format!("it has {} labels, but \"{images}\" has {count} images", labels_found.len());
            return Err(self.refused(labels, reason));
        }
        if count == 0 {
            return Err(self.refused(images, "it holds no image".to_owned()));
        }
        let pixels = match pixels {
            Pixels::Bytes(values) if channels_last => Pixels::Bytes(channels_first(&values, shape)),
            Pixels::Floats(values) if channels_last => Pixels::Floats(channels_first(&values, shape)),
            pixels => pixels,
        };
        Ok(LabelledImages { shape, pixels, labels: labels_found })
    }

    /// Number of images, their shape with channels first, and whether the file has channels last.
    fn arrangement(
        &self,
        array: &'static str,
        sizes: &[usize],
    ) -> Result<(usize, [usize; 3], bool), DataError> {
        match *sizes {
            [count, height, width] => Ok((count, [1, height, width], false)),
            [count, a, b, c] if [a, b, c] == self.shape => Ok((count, [a, b, c], false)),
            [count, a, b, c] if [c, a, b] == self.shape => Ok((count, [c, a, b], true)),
            _ => {
                let [channels, height, width] = self.shape;
                Err(self.refused(
                    array,
                    format!(
                        "it has shape {sizes:?}, but the network's input of {channels} channels, height {height} and width \
                         {width} needs [images, {channels}, {height}, {width}] or [images, {height}, {width}, {channels}]"
                    ),
                ))
            }
        }
    }

    fn images(&self, array: &'static str) -> Result<(Vec<usize>, Pixels), DataError> {
        let mut archive = self.open()?;
        let file = self.array(&mut archive, array)?;
        let sizes = self.sizes(array, &file)?;
        let pixels = match kind(&file) {
            Some((TypeChar::Uint, 1)) => Pixels::Bytes(self.values(file)?),
            Some((TypeChar::Float, 4)) => Pixels::Floats(self.values(file)?),
            Some((TypeChar::Float, 8)) => {
                let values: Vec<f64> = self.values(file)?;
                Pixels::Floats(values.into_iter().map(|value| value as f32).collect())
            }
            _ => return Err(self.refused(array, wrong_type(&file, "uint8, float32 or float64"))),
        };
        Ok((sizes, pixels))
    }

    fn labels(&self, array: &'static str) -> Result<Vec<u16>, DataError> {
        let mut archive = self.open()?;
        let file = self.array(&mut archive, array)?;
        let sizes = self.sizes(array, &file)?;
        if !matches!(sizes.as_slice(), [_] | [_, 1]) {
            let reason = format!("it has shape {sizes:?}: write one number for each image, not one-hot rows");
            return Err(self.refused(array, reason));
        }
        let values: Vec<i64> = match kind(&file) {
            Some((TypeChar::Uint, 1)) => widened(self.values::<u8>(file)?),
            Some((TypeChar::Uint, 2)) => widened(self.values::<u16>(file)?),
            Some((TypeChar::Int, 1)) => widened(self.values::<i8>(file)?),
            Some((TypeChar::Int, 2)) => widened(self.values::<i16>(file)?),
            Some((TypeChar::Int, 4)) => widened(self.values::<i32>(file)?),
            Some((TypeChar::Int, 8)) => self.values(file)?,
            _ => return Err(self.refused(array, wrong_type(&file, "an integer type, such as int64"))),
        };
        let label = |(position, &value): (usize, &i64)| {
            let refused =
                |_| self.refused(array, format!("label {position} is {value}: labels count from 0"));
            u16::try_from(value).map_err(refused)
        };
        values.iter().enumerate().map(label).collect()
    }

    fn open(&self) -> Result<Archive, DataError> {
        NpzArchive::open(self.path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => DataError::Missing {
                path: self.path.to_owned(),
                content: "with format Npz the data set's path is that of a file with the arrays x_train, y_train, x_test and y_test",
            },
            _ => self.unread(source),
        })
    }

    fn array<'a>(&self, archive: &'a mut Archive, array: &'static str) -> Result<Array<'a>, DataError> {
        let found = archive.by_name(array).map_err(|source| self.unread(source))?;
        let file = found.ok_or_else(|| {
            self.refused(
                array,
                "it is missing; the file needs x_train, y_train, x_test and y_test".to_owned(),
            )
        })?;
        if file.header().uses_pickled_array() {
            let reason = "it is pickled, and a pickle is a program: save plain numbers, without allow_pickle";
            return Err(self.refused(array, reason.to_owned()));
        }
        if is_in_another_order(&file) {
            let reason = "its order is Fortran's: save numpy.ascontiguousarray of it";
            return Err(self.refused(array, reason.to_owned()));
        }
        Ok(file)
    }

    /// The sizes of an array, which is not too large to read.
    fn sizes(&self, array: &'static str, file: &Array<'_>) -> Result<Vec<usize>, DataError> {
        let bytes = file.dtype().num_bytes().unwrap_or(1) as u64;
        let stated = file.shape().iter().fold(bytes, |product, &size| product.saturating_mul(size));
        if stated > MOST_BYTES {
            let reason =
                format!("it says that it holds {stated} bytes, but more than {MOST_BYTES} are not read");
            return Err(self.refused(array, reason));
        }
        Ok(file.shape().iter().map(|&size| size as usize).collect())
    }

    fn values<T: Deserialize>(&self, file: Array<'_>) -> Result<Vec<T>, DataError> {
        file.into_vec().map_err(|source| self.unread(source))
    }

    fn unread(&self, source: io::Error) -> DataError {
        DataError::Read { path: self.path.to_owned(), source }
    }

    fn refused(&self, array: &'static str, reason: String) -> DataError {
        DataError::Array { path: self.path.to_owned(), array, reason }
    }
}

type Archive = NpzArchive<BufReader<File>>;
pub(crate) type Array<'a> = NpyFile<ZipFile<'a>>;

/// What the values are, and how many bytes each has.
pub(crate) fn kind(file: &Array<'_>) -> Option<(TypeChar, u64)> {
    match file.dtype() {
        DType::Plain(plain) => Some((plain.type_char(), plain.size_field())),
        DType::Array(..) | DType::Record(_) => None,
    }
}

/// Whether values do not follow one another as they are read here, which matters from two axes on.
pub(crate) fn is_in_another_order(file: &Array<'_>) -> bool {
    file.shape().len() > 1 && file.order() != Order::C
}

fn wrong_type(file: &Array<'_>, wanted: &str) -> String {
    format!("its values are of type {}, but must be of {wanted}", file.dtype().descr())
}

fn widened<T: Into<i64>>(values: Vec<T>) -> Vec<i64> {
    values.into_iter().map(Into::into).collect()
}

/// Images whose channels lie innermost, with channels outermost as in ONNX.
fn channels_first<T: Copy>(values: &[T], [channels, height, width]: [usize; 3]) -> Vec<T> {
    let places = height * width;
    let image = |image: &[T]| -> Vec<T> {
        let place = |channel| (0..places).map(move |place| place * channels + channel);
        (0..channels).flat_map(place).filter_map(|position| image.get(position).copied()).collect()
    };
    values.chunks_exact((channels * places).max(1)).flat_map(image).collect()
}

#[cfg(test)]
mod tests {
    use npyz::{AutoSerialize, WriterBuilder, npz::NpzWriter, zip::write::FileOptions};
    use tempfile::TempDir;

    use super::*;

    struct Draft {
        folder: TempDir,
        archive: NpzWriter<io::BufWriter<std::fs::File>>,
    }

    impl Draft {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let archive = NpzWriter::create(folder.path().join("images.npz")).unwrap();
            Self { folder, archive }
        }

        fn with<T: AutoSerialize + Copy>(mut self, array: &str, shape: &[u64], values: &[T]) -> Self {
            let writer = self.archive.array::<T>(array, FileOptions::default()).unwrap();
            let mut writer = writer.default_dtype().shape(shape).begin_nd().unwrap();
            writer.extend(values.iter().copied()).unwrap();
            writer.finish().unwrap();
            self
        }

        fn read(self, shape: [usize; 3]) -> Result<LabelledImages, DataError> {
            drop(self.archive);
            Npz { path: &self.folder.path().join("images.npz"), shape }.training()
        }

        fn refusal(self) -> String {
            self.read([2, 1, 2]).unwrap_err().to_string()
        }
    }

    #[test]
    fn bytes_and_floats_are_read_in_either_order_of_axes() {
        let (first, last) = ([1_u8, 2, 3, 4, 5, 6, 7, 8], [1_u8, 3, 2, 4, 5, 7, 6, 8]);
        let expected =
            LabelledImages { shape: [2, 1, 2], pixels: Pixels::Bytes(first.to_vec()), labels: vec![1, 0] };
        let labels = |file: Draft| file.with("y_train", &[2], &[1_i64, 0]);
        let file = labels(Draft::new().with("x_train", &[2, 2, 1, 2], &first));
        assert_eq!(file.read([2, 1, 2]).unwrap(), expected);
        let file = labels(Draft::new().with("x_train", &[2, 1, 2, 2], &last));
        assert_eq!(file.read([2, 1, 2]).unwrap(), expected, "channels last");
        let grey = labels(Draft::new().with("x_train", &[2, 1, 2], &[0.5_f32, 1.0, 0.0, 2.0]));
        let grey = grey.read([1, 1, 2]).unwrap();
        assert_eq!((grey.shape, grey.pixels), ([1, 1, 2], Pixels::Floats(vec![0.5, 1.0, 0.0, 2.0])));
    }

    #[test]
    fn arrays_that_cannot_be_used_are_named_with_the_reason() {
        let images = || Draft::new().with("x_train", &[1, 2, 1, 2], &[0_u8; 4]);
        assert!(images().refusal().contains("\"y_train\" of"));
        assert!(images().with("y_train", &[1], &[-1_i32]).refusal().contains("label 0 is -1"));
        assert!(images().with("y_train", &[2], &[0_u8; 2]).refusal().contains("2 labels"));
        assert!(images().with("y_train", &[1, 10], &[0_u8; 10]).refusal().contains("one-hot"));
        assert!(images().with("y_train", &[1], &[0.0_f32]).refusal().contains("integer type"));
        let wrong = Draft::new().with("x_train", &[1, 9, 9, 2], &[0_u8; 162]).with("y_train", &[1], &[0_u8]);
        assert!(wrong.refusal().contains("[images, 2, 1, 2] or [images, 1, 2, 2]"));
        let wrong = Draft::new().with("x_train", &[1, 2, 1, 2], &[0_i32; 4]).with("y_train", &[1], &[0_u8]);
        assert!(wrong.refusal().contains("must be of uint8, float32 or float64"));
        let nothing = Draft::new().with::<u8>("x_train", &[0, 2, 1, 2], &[]).with::<u8>("y_train", &[0], &[]);
        assert!(nothing.refusal().contains("no image"));
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npz");
        let npz = Npz { path: &path, shape: [1, 1, 1] };
        assert!(matches!(npz.training(), Err(DataError::Missing { .. })));
        std::fs::write(&path, "no archive").unwrap();
        assert!(matches!(npz.training(), Err(DataError::Read { .. })));
    }
}
