//! Admission and deadlines: one layer around every method of the API, over both protocols.
//!
//! A request takes a permit of the one semaphore of the process, or is refused at once; it never waits for one.
//! What does not answer before its deadline is dropped where it stands and answers DEADLINE_EXCEEDED. (tonic's own
//! timeout answers CANCELLED, and its limits are per connection.) The permit is given back when the last byte of
//! the answer has gone out.
//!
//! A stream of events is open for hours and mostly idle: it takes a permit for each batch, and waits for it, which
//! holds its client back.

use std::{
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::FutureExt;
use http::{HeaderMap, HeaderName};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

use crate::{
    ApiError, Code, LimitsConfig,
    metrics::{Method, Metrics},
};

/// When an answer is of no use any more; found in a request's extensions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(pub(crate) Instant);

/// The limits that all connections share.
#[derive(Clone)]
pub(crate) struct Limits {
    permits: Arc<Semaphore>,
    in_flight: usize,
    deadline: Duration,
    metrics: Arc<Metrics>,
    closing: CancellationToken,
}

/// The method that is a stream of requests.
const WRITE_STREAM: Method = Method("EventService.WriteStream");

/// A body that holds its request's permit until it is sent or dropped.
struct Admitted {
    body: Body,
    _permit: Option<OwnedSemaphorePermit>,
}

/// `grpc-timeout`, which a request over plain HTTP may send too.
static TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// No deadline is further away than this.
const FOREVER: Duration = Duration::from_secs(24 * 3600);

// === impl Limits ===

impl Limits {
    pub(crate) fn new(config: &LimitsConfig, metrics: Arc<Metrics>) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(config.in_flight)),
            in_flight: config.in_flight,
            deadline: Duration::from_millis(config.deadline_ms),
            metrics,
            closing: CancellationToken::new(),
        }
    }

    /// A permit for one batch of a stream.
    pub(crate) async fn batch(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        Arc::clone(&self.permits).acquire_owned().await.map_err(ApiError::defect)
    }

    /// Asks streams to end.
    pub(crate) fn close(&self) {
        self.closing.cancel();
    }

    /// When streams have to end.
    pub(crate) fn closing(&self) -> WaitForCancellationFuture<'_> {
        self.closing.cancelled()
    }

    /// Requests being answered now.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight - self.permits.available_permits()
    }

    /// The layer.
    pub(crate) async fn admit(State(limits): State<Self>, mut request: Request, next: Next) -> Response {
        let begun = Instant::now();
        let method = method(request.uri().path());
        let is_grpc = is_grpc(request.headers());
        let is_stream = method == WRITE_STREAM;
        let permit = match is_stream {
            true => None,
            false => match Arc::clone(&limits.permits).try_acquire_owned() {
                Ok(permit) => Some(permit),
                Err(_) => {
                    limits.metrics.shed(method);
                    let most = limits.in_flight;
                    let message =
                        format!("{most} requests are in flight, which is the most; try again later");
                    return fail(ApiError::new(Code::ResourceExhausted, message), is_grpc);
                }
            },
        };
        let asked = match timeout(request.headers()) {
            Ok(asked) => asked,
            Err(error) => return fail(error, is_grpc),
        };
        // A stream lasts as long as its client wants, unless the client says how long.
        let default = if is_stream { FOREVER } else { limits.deadline };
        let timeout = asked.unwrap_or(default).min(FOREVER);
        let deadline = begun + timeout;
        request.extensions_mut().insert(Deadline(deadline));
        limits.metrics.begin();
        let answering = AssertUnwindSafe(next.run(request)).catch_unwind();
        let response = match tokio::time::timeout_at(deadline.into(), answering).await {
            Ok(Ok(response)) => response,
            Ok(Err(_)) => fail(ApiError::defect(format!("{} panicked", method.0)), is_grpc),
            Err(_) => {
                fail(ApiError::new(Code::DeadlineExceeded, format!("no answer within {timeout:?}")), is_grpc)
            }
        };
        let (response, code) = with_our_code(response);
        limits.metrics.end(method, code, begun.elapsed());
        response.map(|body| Body::new(Admitted { body, _permit: permit }))
    }
}

/// A failure in the words of the protocol that asked.
pub(crate) fn fail(error: ApiError, is_grpc: bool) -> Response {
    match is_grpc {
        true => tonic::Status::from(error).into_http(),
        false => error.into_response(),
    }
}

pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(http::header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// The code of an answer. Where tonic answered in its own words (OUT_OF_RANGE for a message too large), ours are
/// put in their place.
fn with_our_code(response: Response) -> (Response, Code) {
    if let Some(&code) = response.extensions().get::<Code>() {
        return (response, code);
    }
    match response.extensions().get::<tonic::Status>() {
        None => {
            let code = if response.status().is_success() { Code::Ok } else { Code::InvalidArgument };
            (response, code)
        }
        Some(status) => {
            let code = Code::of_grpc(status);
            if code as i32 == status.code() as i32 {
                return (response, code);
            }
            let status = tonic::Status::new(tonic::Code::from_i32(code as i32), status.message());
            (status.into_http(), code)
        }
    }
}

/// The method's name in metrics: of those that exist, so that no client can make up labels.
fn method(path: &str) -> Method {
    const GRPC: &[(&str, &str)] = &[
        ("/endcap.v1.RecommendationService/Recommend", "RecommendationService.Recommend"),
        ("/endcap.v1.EventService/WriteStream", "EventService.WriteStream"),
        ("/endcap.v1.EventService/Write", "EventService.Write"),
        ("/endcap.v1.EventService/Purge", "EventService.Purge"),
        ("/endcap.v1.CatalogService/Upsert", "CatalogService.Upsert"),
        ("/endcap.v1.CatalogService/Delete", "CatalogService.Delete"),
        ("/endcap.v1.CatalogService/Get", "CatalogService.Get"),
        ("/endcap.v1.CatalogService/List", "CatalogService.List"),
        ("/endcap.v1.AdminService/ListBundles", "AdminService.ListBundles"),
        ("/endcap.v1.AdminService/ActivateBundle", "AdminService.ActivateBundle"),
        ("/endcap.v1.AdminService/RollbackBundle", "AdminService.RollbackBundle"),
        ("/endcap.v1.AdminService/GetStatus", "AdminService.GetStatus"),
        ("/v1/recommend", "RecommendationService.Recommend"),
        ("/v1/events:write", "EventService.Write"),
        ("/v1/events:purge", "EventService.Purge"),
        ("/v1/items:upsert", "CatalogService.Upsert"),
        ("/v1/items:delete", "CatalogService.Delete"),
        ("/v1/items", "CatalogService.List"),
        ("/v1/bundles", "AdminService.ListBundles"),
        ("/v1/bundles:rollback", "AdminService.RollbackBundle"),
        ("/v1/status", "AdminService.GetStatus"),
    ];
    let name = GRPC.iter().find(|(known, _)| *known == path).map(|&(_, name)| name);
    Method(name.unwrap_or_else(|| match path {
        _ if path.starts_with("/v1/items/") => "CatalogService.Get",
        _ if path.starts_with("/v1/bundles/") => "AdminService.ActivateBundle",
        _ => "other",
    }))
}

/// The W3C trace context of a request, as it came: whoever passes it on looks whether it is sound.
pub(crate) fn traceparent(headers: &HeaderMap) -> Option<String> {
    headers.get("traceparent")?.to_str().ok().map(str::to_owned)
}

/// `grpc-timeout`: at most eight digits and a unit.
fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, ApiError> {
    let Some(value) = headers.get(&TIMEOUT) else { return Ok(None) };
    let parse = |text: &str| {
        let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let count: u64 = digits.parse().ok()?;
        match unit {
            "H" => Some(Duration::from_secs(count * 3600)),
            "M" => Some(Duration::from_secs(count * 60)),
            "S" => Some(Duration::from_secs(count)),
            "m" => Some(Duration::from_millis(count)),
            "u" => Some(Duration::from_micros(count)),
            "n" => Some(Duration::from_nanos(count)),
            _ => None,
        }
    };
    value.to_str().ok().and_then(parse).map(Some).ok_or_else(|| {
        let rule = format!("must be up to eight digits and one of H M S m u n, is {value:?}");
        ApiError::about(Code::InvalidArgument, format!("grpc-timeout: {rule}"), "grpc-timeout", rule)
    })
}

// === impl Admitted ===

impl HttpBody for Admitted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Reads a body of at most `limit` bytes.
///
/// # Errors
/// RESOURCE_EXHAUSTED when it is larger; nothing past the limit is kept.
pub(crate) async fn read_body(body: Body, limit: usize) -> Result<Bytes, ApiError> {
    match http_body_util::Limited::new(body, limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(ApiError::new(
            Code::ResourceExhausted,
            format!("the message is larger than {limit} bytes, the most"),
        )),
        Err(error) => Err(ApiError::new(Code::InvalidArgument, format!("the body broke off: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(&TIMEOUT, text.parse().unwrap());
            timeout(&headers).ok().flatten()
        };
        assert_eq!(read("5m"), Some(Duration::from_millis(5)));
        assert_eq!(read("99999999n"), Some(Duration::from_nanos(99_999_999)));
        assert_eq!(read("2H"), Some(Duration::from_secs(7200)));
        for wrong in ["", "5", "m", "-5m", "123456789m", "5 m", "5x", "1.5S", "5µ"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn labels_are_of_a_closed_set() {
        assert_eq!(method("/v1/items/shoe-1").0, "CatalogService.Get");
        assert_eq!(method("/v1/recommend").0, "RecommendationService.Recommend");
        assert_eq!(method("/etc/passwd").0, "other");
    }
}
