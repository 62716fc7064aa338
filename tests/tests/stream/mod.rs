//! An engine of this process, and the stream of its table.

use std::sync::atomic::{AtomicU64, Ordering};

use dynoxide::Database;
use dynoxide::actions::describe_stream::DescribeStreamRequest;
use dynoxide::actions::get_records::GetRecordsRequest;
use dynoxide::actions::get_shard_iterator::GetShardIteratorRequest;
use dynoxide::actions::list_streams::ListStreamsRequest;
use serde_json::Value;

/// An engine in memory that finds the number of a stream's next record by an index. By itself it looks through all records at each write,
/// which is most of what it does after some ten thousand.
pub(crate) fn engine() -> Database {
    static ENGINES: AtomicU64 = AtomicU64::new(0);
    let name = format!("file:engine-{}?mode=memory&cache=shared", ENGINES.fetch_add(1, Ordering::Relaxed));
    let db = Database::new(&name).unwrap();
    let index = "CREATE INDEX numbers ON _stream_records (table_name, CAST(sequence_number AS INTEGER))";
    rusqlite::Connection::open(&name).unwrap().execute_batch(index).unwrap();
    db
}

/// The stream of the only table that has one, from its beginning.
pub(crate) struct TableStream {
    db: Database,
    iterator: String,
}

impl TableStream {
    pub(crate) fn of(db: &Database) -> Self {
        let streams = db.list_streams(ListStreamsRequest::default()).unwrap().streams;
        let stream_arn = streams.into_iter().next().unwrap().stream_arn;
        let described = DescribeStreamRequest { stream_arn: stream_arn.clone(), ..Default::default() };
        let shard_id = db.describe_stream(described).unwrap().stream_description.shards.remove(0).shard_id;
        let shard_iterator_type = "TRIM_HORIZON".to_owned();
        let begin =
            GetShardIteratorRequest { stream_arn, shard_id, shard_iterator_type, sequence_number: None };
        let iterator = db.get_shard_iterator(begin).unwrap().shard_iterator.unwrap();
        Self { db: db.clone(), iterator }
    }

    /// The next records; none if there are no more by now.
    pub(crate) fn read(&mut self) -> Vec<Value> {
        let asked = GetRecordsRequest { shard_iterator: self.iterator.clone(), limit: None };
        let answer = self.db.get_records(asked).unwrap();
        self.iterator = answer.next_shard_iterator.unwrap();
        answer.records.iter().map(|record| serde_json::to_value(record).unwrap()).collect()
    }
}
