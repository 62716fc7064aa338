//! `baton file`: files put, fetched and listed.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use baton_api::file::FileView;
use baton_model::ProjectId;
use bytes::Bytes;
use clap::{Args, Subcommand};
use http_body_util::StreamBody;
use hyper::body::Frame;

use crate::context::Context;
use crate::exit::Failure;
use crate::out::{Column, Rows};
use crate::pages;
use crate::progress::Teller;
use crate::when::{Paged, Times};

/// How many bytes are read from a file at once.
const PIECE: usize = 256 << 10;

#[derive(Subcommand)]
pub(crate) enum File {
    /// Send a file to the server.
    Put(Put),
    /// Fetch a file from the server.
    Get(Get),
    /// The files of a project, by name.
    List(List),
}

#[derive(Args)]
#[command(after_help = "Examples:
  baton file put film/tasks/01980a6e-5b7c-7cc3-98c4-dc0c0c07398f/out.png out.png")]
pub(crate) struct Put {
    /// Its project and path, such as film/tasks/ID/out.png.
    name: String,
    /// The file to send.
    file: PathBuf,
    /// What kind of text it is, such as application/json; all other kinds are seen.
    #[arg(long, value_name = "KIND")]
    content_type: Option<String>,
}

#[derive(Args)]
#[command(after_help = "Examples:
  baton file get film/a.png            writes a.png
  baton file get film/a.png - | wc -c")]
pub(crate) struct Get {
    /// Its project and path.
    name: String,
    /// Where to write it, instead of its own name in this folder; - for stdout.
    file: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct List {
    /// Of this project, instead of the token's or the default one.
    #[arg(long, value_name = "PROJECT")]
    project: Option<ProjectId>,
    /// Whose paths begin so.
    #[arg(long, value_name = "TEXT", default_value = "")]
    prefix: String,
    /// How many at most.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    #[command(flatten)]
    shown: Paged,
}

impl File {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Put(put) => put.run(context).await,
            Self::Get(get) => get.run(context).await,
            Self::List(list) => list.run(context).await,
        }
    }
}

impl Put {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let cannot =
            |error: std::io::Error| Failure::failed(format!("cannot read {}: {error}", self.file.display()));
        let file = std::fs::File::open(&self.file).map_err(cannot)?;
        let size = file.metadata().map_err(cannot)?.len();
        let pieces = futures::stream::try_unfold(file, |mut file| async move {
            let mut piece = vec![0; PIECE];
            let read = file.read(&mut piece)?;
            piece.truncate(read);
            Ok::<_, std::io::Error>((read > 0).then(|| (Frame::data(Bytes::from(piece)), file)))
        });
        let client = context.client()?;
        let stored =
            client.put_file(&self.name, self.content_type.as_deref(), size, StreamBody::new(pieces)).await?;
        if context.out.is_json() {
            return context.out.json(&stored);
        }
        context.out.line(&format!("{}/{}", stored.project, stored.path))?;
        context
            .out
            .note(&format!("{} bytes of {}, SHA-256 {}", stored.size, stored.content_type, stored.sha256));
        Ok(())
    }
}

impl Get {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let last = self.name.rsplit('/').next().unwrap_or(&self.name);
        let to = self.file.unwrap_or_else(|| PathBuf::from(last));
        let mut download = context.client()?.get_file(&self.name).await?;
        if to == Path::new("-") {
            let mut out = std::io::stdout().lock();
            while let Some(some) = download.next().await? {
                out.write_all(&some).map_err(|_| Failure::Unread)?;
            }
            return out.flush().map_err(|_| Failure::Unread);
        }
        // Not seen under its name before it is whole.
        let mut half = to.clone().into_os_string();
        half.push(".part");
        let cannot =
            |error: std::io::Error| Failure::failed(format!("cannot write {}: {error}", to.display()));
        let mut file = std::fs::File::create(&half).map_err(cannot)?;
        let (mut written, size, mut teller) = (0_u64, download.size(), Teller::new());
        while let Some(some) = download.next().await? {
            file.write_all(&some).map_err(cannot)?;
            written += some.len() as u64;
            teller.tell(|| format!("{written} of {} bytes", size.unwrap_or(written)));
        }
        teller.end();
        std::fs::rename(&half, &to).map_err(cannot)?;
        if context.out.is_json() {
            return context.out.json(&serde_json::json!({ "file": to, "size": written }));
        }
        context.out.note(&format!("{written} bytes in {}", to.display()));
        Ok(())
    }
}

impl List {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        let (files, more) = pages::first(self.limit as usize, async |cursor, most| {
            let page =
                client.files(self.project.as_ref(), &self.prefix, cursor.as_deref(), Some(most)).await?;
            Ok::<_, baton_client::ClientError>(baton_api::task::Page {
                items: page.items,
                next_cursor: page.next_cursor,
            })
        })
        .await?;
        if context.out.is_json() {
            return context.out.json(&serde_json::json!({ "items": files, "more": more }));
        }
        table(context, &files, &self.shown.begin(context))
    }
}

fn table(context: &Context, files: &[FileView], times: &Times) -> Result<(), Failure> {
    let mut rows = Rows::of(&[
        Column::new("FILE").cut(),
        Column::new("BYTES"),
        Column::new("KIND").cut(),
        Column::new("CAME"),
    ]);
    for file in files {
        rows.add(vec![
            format!("{}/{}", file.project, file.path),
            file.size.to_string(),
            file.content_type.clone(),
            times.ago(file.created_at),
        ]);
    }
    context.out.table(rows, "no files")
}
