//! A finished picture, and its file.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::colour::decode;

/// A picture in sRGB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Pixels from left to right.
    pub width: u32,
    /// Pixels from top to bottom.
    pub height: u32,
    /// Red, green and blue of each pixel, row by row from the top left: `width * height * 3` bytes.
    pub rgb: Vec<u8>,
}

/// Why a picture could not be put on disk.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The pixels do not make a picture: none at all, or not `width * height * 3` bytes.
    #[error("could not encode {path} as PNG; check that width, height and the pixels agree", path = path.display())]
    Encode {
        /// The file that was to be written.
        path: PathBuf,
        /// What the encoder found.
        #[source]
        source: png::EncodingError,
    },
    /// The file or its folder could not be written.
    #[error("could not write {path}; check that its folder exists, is writable and has room", path = path.display())]
    Write {
        /// The file that was to be written.
        path: PathBuf,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
}

/// What the name of a picture ends with while it is being written.
const HALF: &str = ".tmp";

/// Whether a file of this name holds a picture that is still being written, or whose writer was killed over it.
pub fn is_half_written(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(HALF) && name.contains(".png.")
}

impl Image {
    /// Writes the picture to `path` as PNG, replacing what is there.
    ///
    /// The bytes go to a hidden file in the same folder, which takes the place of `path` once it is whole and on disk:
    /// a reader sees the old picture or the new one, also if two workers write it at once or one is killed.
    ///
    /// # Errors
    /// [`ImageError`] when the pixels do not make a picture, or the system refuses a write; nothing is left behind. Only
    /// a process that is killed leaves its hidden file, which [`is_half_written`] recognises.
    pub fn write_png(&self, path: &Path) -> Result<(), ImageError> {
        // Another process may write the same picture: the process's id and a count keep the names apart.
        static WRITES: AtomicU64 = AtomicU64::new(0);
        let count = WRITES.fetch_add(1, Ordering::Relaxed);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let half = path.with_file_name(format!(".{name}.{}.{count}{HALF}", std::process::id()));

        let written =
            self.encode(&half).and_then(|()| Ok(fs::rename(&half, path)?)).map_err(|error| match error {
                png::EncodingError::IoError(source) => ImageError::Write { path: path.into(), source },
                source => ImageError::Encode { path: path.into(), source },
            });
        if written.is_err() {
            // The first error is the one to tell; the half file may never have come to be.
            let _ = fs::remove_file(&half);
        }
        written
    }

    fn encode(&self, path: &Path) -> Result<(), png::EncodingError> {
        let mut out = BufWriter::new(File::create(path)?);
        let mut encoder = png::Encoder::new(&mut out, self.width, self.height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_source_srgb(png::SrgbRenderingIntent::Perceptual);
        encoder.set_compression(png::Compression::Fast);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.rgb)?;
        writer.finish()?;
        out.flush()?;
        out.get_ref().sync_all()?;
        Ok(())
    }

    /// How light the picture is: the mean over its pixels of relative luminance, 0 for black to 1 for white
    /// (ITU-R BT.709: 0.2126 R + 0.7152 G + 0.0722 B of linear light). A picture without pixels has 0.
    pub fn mean_luminance(&self) -> f64 {
        let light: Vec<f64> = (0..=255).map(decode).collect();
        let pixels = self.rgb.chunks_exact(3);
        let count = pixels.len();
        let sum: f64 = pixels
            .map(|p| {
                0.2126 * light[usize::from(p[0])]
                    + 0.7152 * light[usize::from(p[1])]
                    + 0.0722 * light[usize::from(p[2])]
            })
            .sum();
        if count == 0 { 0.0 } else { sum / count as f64 }
    }
}
