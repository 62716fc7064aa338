//! The way to an engine in this process without a socket: what is asked of it is a call. Over a socket, a third of the tests' processor
//! time goes into HTTP and its connections, which are no part of the store; functions and programs are tested over sockets.

use std::fmt;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{Config, HttpClient, Region, RuntimeComponents, SharedHttpClient};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use baton_store_dynamodb::client::suited;
use dynoxide::{Database, DynoxideError};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A client whose requests go no further than this process: nobody looks at a signature there, and none is made.
pub(super) fn client(http_client: SharedHttpClient) -> Client {
    let config = Config::builder()
        .region(Region::new("us-east-1"))
        .allow_no_auth()
        .endpoint_url("http://engine.invalid")
        .http_client(http_client);
    Client::from_conf(suited(config).build())
}

/// What carries them to an engine.
pub(super) fn http_client(db: Database) -> SharedHttpClient {
    SharedHttpClient::new(Within(db))
}

#[derive(Clone)]
struct Within(Database);

impl fmt::Debug for Within {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Within")
    }
}

impl HttpClient for Within {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Within {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Self(db) = self.clone();
        HttpConnectorFuture::new(async move {
            // As over a socket, others have their turn before a request is carried out and before its answer is read.
            tokio::task::yield_now().await;
            let target = request.headers().get("x-amz-target").unwrap();
            let (_, operation) = target.rsplit_once('.').unwrap();
            let (status, body) = match carried_out(&db, operation, request.body().bytes().unwrap()) {
                Some(Ok(answer)) => (200, answer),
                Some(Err(refused)) => (refused.status_code(), refused.to_json()),
                // As its server says it of what it has not: a table is made without that.
                None => {
                    (400, r#"{"__type":"com.amazon.coral.service#UnknownOperationException"}"#.to_owned())
                }
            };
            tokio::task::yield_now().await;
            Ok(HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body)))
        })
    }
}

/// What the engine answers, if the operation is one of those that stores ask for.
fn carried_out(db: &Database, operation: &str, asked: &[u8]) -> Option<dynoxide::Result<String>> {
    Some(match operation {
        "BatchGetItem" => answered(asked, |asked| db.batch_get_item(asked)),
        "BatchWriteItem" => answered(asked, |asked| db.batch_write_item(asked)),
        "CreateTable" => answered(asked, |asked| db.create_table(asked)),
        "DeleteItem" => answered(asked, |asked| db.delete_item(asked)),
        "DescribeTable" => answered(asked, |asked| db.describe_table(asked)),
        "DescribeTimeToLive" => answered(asked, |asked| db.describe_time_to_live(asked)),
        "GetItem" => answered(asked, |asked| db.get_item(asked)),
        "PutItem" => answered(asked, |asked| db.put_item(asked)),
        "Query" => answered(asked, |asked| db.query(asked)),
        "Scan" => answered(asked, |asked| db.scan(asked)),
        "TransactGetItems" => answered(asked, |asked| db.transact_get_items(asked)),
        "TransactWriteItems" => answered(asked, |asked| db.transact_write_items(asked)),
        "UpdateItem" => answered(asked, |asked| db.update_item(asked)),
        "UpdateTable" => answered(asked, |asked| db.update_table(asked)),
        "UpdateTimeToLive" => answered(asked, |asked| db.update_time_to_live(asked)),
        _ => return None,
    })
}

/// What an operation answers, from its JSON and to its JSON.
fn answered<Asked: DeserializeOwned, Answer: Serialize>(
    asked: &[u8],
    operation: impl FnOnce(Asked) -> dynoxide::Result<Answer>,
) -> dynoxide::Result<String> {
    let asked = serde_json::from_slice(asked);
    let asked = asked.map_err(|error| DynoxideError::SerializationException(error.to_string()))?;
    Ok(serde_json::to_string(&operation(asked)?).unwrap())
}
