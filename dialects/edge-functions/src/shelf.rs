//! Where the files lie that clients upload: behind one small interface, so that another place can be put in.

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::str::FromStr;

use async_trait::async_trait;
use baton_model::Expected;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt as _, stream};
use tokio::sync::OnceCell;

/// A file's bytes as they come or go.
pub type Bits = BoxStream<'static, io::Result<Bytes>>;

/// The most bytes that a file's path may have.
const PATH_BYTES: usize = 1_024;

/// A file's path within the bucket, such as `user/tasks/id/out.mp4`: parts with slashes between them, none of which leads elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(Box<str>);

impl Path {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its parts.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }
}

impl FromStr for Path {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let fits = |part: &str| {
            let leads_elsewhere = part.chars().all(|c| c == '.');
            !leads_elsewhere
                && part.len() <= 255
                && !part.chars().any(|c| c.is_control() || "\\:*?\"<>|".contains(c))
        };
        let text = text.trim_start_matches('/');
        if text.is_empty() || text.len() > PATH_BYTES || !text.split('/').all(fits) {
            let expected = format!(
                "the path of a file, of at most {PATH_BYTES} bytes, without . and .. and empty parts"
            );
            return Err(Expected::text(expected, text));
        }
        Ok(Self(text.into()))
    }
}

/// A file as it is read.
pub struct Content {
    /// How many bytes it has.
    pub size: u64,
    /// These.
    pub bytes: Bits,
}

/// Why something could not be done with a file.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// It is larger than a file may be.
    #[error("the file is larger than {most} bytes, which is the most that a file may have")]
    TooLarge {
        /// The most bytes.
        most: u64,
    },
    /// One of this path is there already, and is not to be replaced.
    #[error("The resource already exists")]
    Exists,
    /// There is no place for files.
    #[error(
        "no files are kept here, as functions on AWS Lambda have no folder; hand over an output_location, or send files to a server \
         (baton serve --dialect edge-functions), which keeps them in the folder dialects.edge-functions.files"
    )]
    NoPlace,
    /// Its sender has not sent it to its end; nothing was kept.
    #[error("the upload ended before it was whole")]
    CutOff(#[source] io::Error),
    /// The place where files lie failed; nothing was changed.
    #[error("files cannot be read or written")]
    Unavailable(#[source] io::Error),
}

/// How a file is put.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The most bytes that it may have.
    pub most: u64,
    /// Whether it takes the place of one of the same path.
    pub replace: bool,
}

/// Where files lie.
#[async_trait]
pub trait Shelf: Send + Sync {
    /// Takes a file in as it comes. When this returns, it is there, whole; it is not seen before.
    ///
    /// # Errors
    /// All of [`ShelfError`].
    async fn put(&self, path: &Path, bytes: Bits, terms: Terms) -> Result<u64, ShelfError>;

    /// How many bytes a file has; none if it is not there.
    ///
    /// # Errors
    /// [`ShelfError::Unavailable`].
    async fn size(&self, path: &Path) -> Result<Option<u64>, ShelfError>;

    /// A file; none if it is not there.
    ///
    /// # Errors
    /// [`ShelfError::Unavailable`].
    async fn get(&self, path: &Path) -> Result<Option<Content>, ShelfError>;

    /// The secret that upload addresses are signed with: made once, and the same for all who share the shelf.
    ///
    /// # Errors
    /// [`ShelfError::Unavailable`].
    async fn secret(&self) -> Result<[u8; 32], ShelfError>;
}

/// No place at all: every file is refused.
#[derive(Clone, Copy, Debug)]
pub struct NoPlace;

#[async_trait]
impl Shelf for NoPlace {
    async fn put(&self, _: &Path, _: Bits, _: Terms) -> Result<u64, ShelfError> {
        Err(ShelfError::NoPlace)
    }

    async fn size(&self, _: &Path) -> Result<Option<u64>, ShelfError> {
        Err(ShelfError::NoPlace)
    }

    async fn get(&self, _: &Path) -> Result<Option<Content>, ShelfError> {
        Err(ShelfError::NoPlace)
    }

    async fn secret(&self) -> Result<[u8; 32], ShelfError> {
        Err(ShelfError::NoPlace)
    }
}

/// A folder of this machine.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    secret: OnceCell<[u8; 32]>,
}

/// Where files are that are not whole yet. No file's path begins so: see [`Folder::place`].
const PARTS: &str = ".parts";
/// Where the secret is.
const SECRET: &str = ".secret";
/// How much of a file is read at a time.
const READ_BYTES: usize = 256 * 1024;

impl Folder {
    /// A folder, which is made with its first file.
    pub fn new(root: PathBuf) -> Self {
        Self { root, secret: OnceCell::new() }
    }

    fn place(&self, path: &Path) -> PathBuf {
        // A folder of their own, so that no file can have the name of one of the folder's own.
        let mut place = self.root.join("files");
        place.extend(path.parts());
        place
    }
}

/// Runs what waits for a disk where that holds up nobody.
async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ShelfError> + Send + 'static,
) -> Result<T, ShelfError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(ShelfError::Unavailable(io::Error::other(error))),
    }
}

/// A file that is being written; it is removed unless it comes to stand in its place.
struct Unfinished(Option<PathBuf>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            // It lies where nobody looks; what cannot be removed is found there.
            let _ = fs::remove_file(path);
        }
    }
}

fn random() -> Result<[u8; 32], ShelfError> {
    use io::Read as _;
    let mut bytes = [0; 32];
    let mut source = fs::File::open("/dev/urandom").map_err(ShelfError::Unavailable)?;
    source.read_exact(&mut bytes).map_err(ShelfError::Unavailable)?;
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[async_trait]
impl Shelf for Folder {
    async fn put(&self, path: &Path, mut bytes: Bits, terms: Terms) -> Result<u64, ShelfError> {
        let (root, place) = (self.root.clone(), self.place(path));
        let (mut file, mut part) = apart(move || {
            let parts = root.join(PARTS);
            fs::create_dir_all(&parts).map_err(ShelfError::Unavailable)?;
            let part = parts.join(hex(&random()?));
            let file = fs::File::create_new(&part).map_err(ShelfError::Unavailable)?;
            Ok((file, Unfinished(Some(part))))
        })
        .await?;
        let mut size = 0;
        while let Some(piece) = bytes.next().await {
            let piece = piece.map_err(ShelfError::CutOff)?;
            size += piece.len() as u64;
            if size > terms.most {
                return Err(ShelfError::TooLarge { most: terms.most });
            }
            file = apart(move || {
                file.write_all(&piece).map_err(ShelfError::Unavailable)?;
                Ok(file)
            })
            .await?;
        }
        apart(move || {
            file.sync_all().map_err(ShelfError::Unavailable)?;
            let folder = place.parent().map(std::path::Path::to_owned).unwrap_or_default();
            fs::create_dir_all(folder).map_err(ShelfError::Unavailable)?;
            let Some(from) = &part.0 else { return Ok(size) };
            if terms.replace {
                fs::rename(from, &place).map_err(ShelfError::Unavailable)?;
                drop(part.0.take());
            } else {
                // A second name, which is refused where there is one: unlike a look before a rename.
                fs::hard_link(from, &place).map_err(|error| match error.kind() {
                    io::ErrorKind::AlreadyExists => ShelfError::Exists,
                    _ => ShelfError::Unavailable(error),
                })?;
            }
            Ok(size)
        })
        .await
    }

    async fn size(&self, path: &Path) -> Result<Option<u64>, ShelfError> {
        let place = self.place(path);
        apart(move || match fs::metadata(place) {
            Ok(found) => Ok(found.is_file().then_some(found.len())),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(ShelfError::Unavailable(error)),
        })
        .await
    }

    async fn get(&self, path: &Path) -> Result<Option<Content>, ShelfError> {
        let Some(size) = self.size(path).await? else { return Ok(None) };
        let place = self.place(path);
        let file = apart(move || fs::File::open(place).map_err(ShelfError::Unavailable)).await?;
        let bytes = stream::try_unfold(file, |mut file| async move {
            let read = tokio::task::spawn_blocking(move || {
                use io::Read as _;
                let mut piece = vec![0; READ_BYTES];
                let length = file.read(&mut piece)?;
                piece.truncate(length);
                Ok::<_, io::Error>((piece, file))
            });
            let (piece, file) = read.await.map_err(io::Error::other)??;
            Ok((!piece.is_empty()).then(|| (Bytes::from(piece), file)))
        });
        Ok(Some(Content { size, bytes: bytes.boxed() }))
    }

    async fn secret(&self) -> Result<[u8; 32], ShelfError> {
        let made = self.secret.get_or_try_init(|| {
            let root = self.root.clone();
            apart(move || {
                fs::create_dir_all(&root).map_err(ShelfError::Unavailable)?;
                keep_secret(&root.join(SECRET))
            })
        });
        made.await.copied()
    }
}

/// The secret in a file, which is made if it is not there.
fn keep_secret(place: &std::path::Path) -> Result<[u8; 32], ShelfError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let read = |place: &std::path::Path| -> io::Result<[u8; 32]> {
        fs::read(place)?.try_into().map_err(|_| io::Error::other("the secret of upload addresses is damaged"))
    };
    match read(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other.map_err(ShelfError::Unavailable),
    }
    let secret = random()?;
    let part = place.with_extension(hex(&secret[..4]));
    let mut options = fs::OpenOptions::new();
    let mut file =
        options.write(true).create_new(true).mode(0o600).open(&part).map_err(ShelfError::Unavailable)?;
    let part = Unfinished(Some(part));
    file.write_all(&secret).and_then(|()| file.sync_all()).map_err(ShelfError::Unavailable)?;
    if let Some(from) = &part.0 {
        // Whoever was first has made the one that counts.
        let _ = fs::hard_link(from, place);
    }
    read(place).map_err(ShelfError::Unavailable)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_within_its_folder() {
        for good in ["a", "user/tasks/8b6e/out.mp4", "task_outputs/x y.png", "/a/b"] {
            assert!(good.parse::<Path>().is_ok(), "{good}");
        }
        for bad in ["", "/", "..", "a/../b", "a//b", "a/.", "a/", "a\\b", "a\u{0}b", &"x".repeat(2_000)] {
            assert!(bad.parse::<Path>().is_err(), "{bad}");
        }
    }
}
