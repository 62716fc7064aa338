//! As much of gRPC over HTTP/2 as unary requests and streams of answers need: frames, statuses, trailers
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Limited};
use prost::Message;
use tokio::sync::mpsc;

/// The most bytes of a request: KEDA sends the `metadata` of a trigger, and its environment is not in it.
const MOST: usize = 64 * 1024;
/// How long a request's body may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// What stands before a message: whether it is compressed, and its length.
const HEAD: usize = 5;

/// Why a request is not answered, by gRPC's codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) code: Code,
    pub(crate) message: String,
}

/// Those of gRPC's codes that are told here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    Unimplemented = 12,
    Unavailable = 14,
}

impl Status {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status", HeaderValue::from(self.code as u16));
        if let Ok(message) = HeaderValue::from_str(&escaped(&self.message)) {
            headers.insert("grpc-message", message);
        }
        headers
    }
}

/// The text of a status as a header may hold it.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut escaped, byte| {
        match byte {
            b' '..=b'~' if byte != b'%' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
        escaped
    })
}

/// Reads the one message of a request.
pub(crate) async fn read<T: Message + Default>(body: hyper::body::Incoming) -> Result<T, Status> {
    let whole = tokio::time::timeout(PATIENCE, Limited::new(body, MOST).collect()).await;
    let whole =
        whole.map_err(|_| Status::new(Code::DeadlineExceeded, "the request took longer than 10 s"))?;
    let whole = whole.map_err(|_| {
        Status::new(Code::InvalidArgument, format!("expected a request of at most {MOST} bytes, got more"))
    })?;
    decoded(&whole.to_bytes())
}

fn decoded<T: Message + Default>(body: &[u8]) -> Result<T, Status> {
    let wrong = |what: &str| Status::new(Code::InvalidArgument, format!("expected one message, got {what}"));
    let (head, message) = body.split_at_checked(HEAD).ok_or_else(|| wrong("less than its head"))?;
    if head[0] != 0 {
        return Err(Status::new(
            Code::Unimplemented,
            "expected a message that is not compressed, got another",
        ));
    }
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if length != message.len() {
        return Err(wrong(&format!("{} bytes where its head names {length}", message.len())));
    }
    T::decode(message).map_err(|error| wrong(&format!("what cannot be read: {error}")))
}

/// A message as it goes over the wire.
pub(crate) fn encoded(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(HEAD + length);
    bytes.put_u8(0);
    // Nothing that is answered comes near four gigabytes.
    bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    bytes.put_slice(&message.encode_to_vec());
    bytes.freeze()
}

/// The messages of an answer, and then how it went: well, once there are no more.
pub(crate) enum Answer {
    /// One, or none.
    One(Option<Bytes>, bool),
    /// As they come.
    Stream(mpsc::Receiver<Bytes>, bool),
}

impl Answer {
    fn ended(&mut self) -> &mut bool {
        match self {
            Self::One(_, ended) | Self::Stream(_, ended) => ended,
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let message = match &mut *self {
            Self::One(message, _) => message.take(),
            Self::Stream(messages, _) => match messages.poll_recv(context) {
                Poll::Ready(message) => message,
                Poll::Pending => return Poll::Pending,
            },
        };
        if let Some(message) = message {
            return Poll::Ready(Some(Ok(Frame::data(message))));
        }
        if std::mem::replace(self.ended(), true) {
            return Poll::Ready(None);
        }
        let trailers = HeaderMap::from_iter([(
            http::HeaderName::from_static("grpc-status"),
            HeaderValue::from_static("0"),
        )]);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    /// A refusal has no more than its head, which is then to end the stream: gRPC takes a status for one only there.
    fn is_end_stream(&self) -> bool {
        matches!(self, Self::One(None, true) | Self::Stream(_, true))
    }
}

/// The answer to a request.
pub(crate) fn respond(answer: Result<Answer, Status>) -> Response<Answer> {
    let (body, headers) = match answer {
        Ok(body) => (body, HeaderMap::new()),
        // Without a message, the status may stand in the head.
        Err(status) => (Answer::One(None, true), status.headers()),
    };
    let mut response = Response::new(body);
    response.headers_mut().extend(headers);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// The answer to what speaks no gRPC.
pub(crate) fn no_grpc() -> Response<Answer> {
    let mut response = Response::new(Answer::One(None, true));
    *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::{IsActiveResponse, ScaledObjectRef};

    #[test]
    fn what_is_no_message_is_refused_by_what_it_is() {
        let told = |body: &[u8]| decoded::<ScaledObjectRef>(body).unwrap_err();
        assert_eq!(told(b"").message, "expected one message, got less than its head");
        assert_eq!(told(b"\x01\0\0\0\0").code, Code::Unimplemented);
        assert_eq!(
            told(b"\0\0\0\0\x02a").message,
            "expected one message, got 1 bytes where its head names 2"
        );
        assert!(told(b"\0\0\0\0\x02\x0a\x09").message.contains("what cannot be read"));
        for length in 0..64_u8 {
            // Whatever comes, nothing panics.
            let bytes: Vec<u8> = (0..length).map(|at| at.wrapping_mul(37) ^ length).collect();
            let _ = decoded::<ScaledObjectRef>(&bytes);
        }
    }

    #[test]
    fn a_message_goes_with_its_length() {
        let active = IsActiveResponse { result: true };
        assert_eq!(encoded(&active).as_ref(), b"\0\0\0\0\x02\x08\x01");
        assert_eq!(decoded::<IsActiveResponse>(&encoded(&active)).unwrap(), active);
    }

    #[tokio::test]
    async fn an_answer_ends_with_its_trailers_and_a_refusal_with_its_head() {
        let (tell, messages) = mpsc::channel(1);
        tell.send(Bytes::from_static(b"a")).await.unwrap();
        drop(tell);
        let one = Answer::One(Some(Bytes::from_static(b"a")), false);
        for mut answer in [one, Answer::Stream(messages, false)] {
            for is_trailer in [false, true] {
                assert!(!answer.is_end_stream(), "what follows would be cut off");
                assert_eq!(answer.frame().await.unwrap().unwrap().is_trailers(), is_trailer);
            }
            assert!(answer.is_end_stream() && answer.frame().await.is_none());
        }
        let refused = respond(Err(Status::new(Code::NotFound, "no such pool")));
        assert!(refused.headers().contains_key("grpc-status") && refused.body().is_end_stream());
    }

    #[test]
    fn the_text_of_a_status_is_one_header() {
        assert_eq!(escaped("got \"ä\n%\""), "got \"%C3%A4%0A%25\"");
    }
}
