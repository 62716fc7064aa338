//! Places for objects, and files in them.
//!
//! What a file is called and where its bytes lie are two objects: the bytes lie under a number of their own and never change, and the
//! name is a small document that says what is kept of the file and where its bytes are. So a file is put in the place of another by one
//! write, and is never seen half.

mod addresses;
mod files;
#[cfg(feature = "s3")]
mod s3;
mod turns;
mod usage;

use std::sync::Arc;

use baton_model::Place;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;

pub use addresses::{Addresses, Shown};
pub use files::ObjectFiles;
#[cfg(feature = "s3")]
pub use s3::{THROUGH_LAMBDA, in_bucket};

/// Why a place cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be made or read.
    #[error("expected a folder that can be written, got {place}: {cause}; make it, or name another")]
    Folder {
        /// The place.
        place: Place,
        /// Why not.
        cause: std::io::Error,
    },
    /// The folder cannot be worked with.
    #[error("{place} cannot be used")]
    Store {
        /// The place.
        place: Place,
        /// Why not.
        #[source]
        cause: object_store::Error,
    },
    /// This program has no S3.
    #[error(
        "{0}: this program was built without S3 (feature s3); name a folder such as file:///var/lib/baton/files"
    )]
    NotBuilt(Place),
}

/// A place that was opened.
#[derive(Clone, Debug)]
pub struct Objects {
    /// What lies there.
    pub store: Arc<dyn ObjectStore>,
    /// Where it is.
    pub place: Place,
}

impl Objects {
    /// Opens a place. A folder is made if it is not there; what is written to it has reached the disk when that is answered.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(place: &Place) -> Result<Self, OpenError> {
        let place = place.clone();
        match &place {
            Place::Folder(path) => {
                let made = std::fs::create_dir_all(path);
                made.map_err(|cause| OpenError::Folder { place: place.clone(), cause })?;
                let store = LocalFileSystem::new_with_prefix(path);
                let store = store.map_err(|cause| OpenError::Store { place: place.clone(), cause })?;
                let store = store.with_fsync(true).with_automatic_cleanup(true);
                Ok(Self { store: Arc::new(store), place })
            }
            #[cfg(feature = "s3")]
            Place::Bucket { bucket, prefix } => match s3::open(bucket, prefix) {
                Ok(store) => Ok(Self { store, place }),
                Err(cause) => Err(OpenError::Store { place, cause }),
            },
            #[cfg(not(feature = "s3"))]
            Place::Bucket { .. } => Err(OpenError::NotBuilt(place)),
        }
    }
}
