//! Why a call fails: a small closed set of codes, mapped once to gRPC and once to HTTP.
//!
//! The body over HTTP is a `google.rpc.Status` as JSON, with the same details as over gRPC.

use axum::response::{IntoResponse, Response};
use endcap_proto::FieldError;
use endcap_recommend::{ChangeError, RecommendError};
use http::{StatusCode, header};
use serde_json::json;
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use crate::WriteError;

/// The codes that this service answers with: those of gRPC, and no others of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// Done.
    Ok = 0,
    /// A field breaks a rule; the same request will always fail.
    InvalidArgument = 3,
    /// The deadline passed before the answer was there.
    DeadlineExceeded = 4,
    /// There is no such thing.
    NotFound = 5,
    /// A limit of the service: too much at once, or too large.
    ResourceExhausted = 8,
    /// The state of the service does not allow it.
    FailedPrecondition = 9,
    /// Not in this version.
    Unimplemented = 12,
    /// A defect of the service.
    Internal = 13,
    /// Something that the service needs is away; try again.
    Unavailable = 14,
}

/// How the message of a defect begins.
const DEFECT: &str = "defect: ";

/// Why a call fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", code.name())]
pub struct ApiError {
    /// What kind of failure.
    pub code: Code,
    /// What happened and what to do.
    pub message: String,
    /// The fields that broke rules.
    pub violations: Vec<FieldError>,
}

// === impl Code ===

impl Code {
    /// The name that gRPC gives it: `INVALID_ARGUMENT`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::NotFound => "NOT_FOUND",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::FailedPrecondition => "FAILED_PRECONDITION",
            Self::Unimplemented => "UNIMPLEMENTED",
            Self::Internal => "INTERNAL",
            Self::Unavailable => "UNAVAILABLE",
        }
    }

    /// The status over HTTP, as google.rpc.Code maps it.
    pub fn http(self) -> StatusCode {
        match self {
            Self::Ok => StatusCode::OK,
            Self::InvalidArgument | Self::FailedPrecondition => StatusCode::BAD_REQUEST,
            Self::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Self::Unimplemented => StatusCode::NOT_IMPLEMENTED,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// What a status comes to that tonic made in its own words: OUT_OF_RANGE of a message too large, INTERNAL of one
    /// that it cannot read, CANCELLED of a client that went away.
    pub fn of_grpc(status: &tonic::Status) -> Self {
        match status.code() {
            tonic::Code::Ok => Self::Ok,
            tonic::Code::InvalidArgument => Self::InvalidArgument,
            tonic::Code::DeadlineExceeded | tonic::Code::Cancelled => Self::DeadlineExceeded,
            tonic::Code::NotFound => Self::NotFound,
            tonic::Code::ResourceExhausted | tonic::Code::OutOfRange => Self::ResourceExhausted,
            tonic::Code::FailedPrecondition => Self::FailedPrecondition,
            tonic::Code::Unimplemented => Self::Unimplemented,
            tonic::Code::Unavailable => Self::Unavailable,
            tonic::Code::Internal if !status.message().starts_with(DEFECT) => Self::InvalidArgument,
            _ => Self::Internal,
        }
    }
}

// === impl ApiError ===

impl ApiError {
    /// A failure without details.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), violations: Vec::new() }
    }

    /// A failure that is a defect of the service.
    pub fn defect(message: impl std::fmt::Display) -> Self {
        Self::new(Code::Internal, format!("{DEFECT}{message}"))
    }

    /// A failure about one field.
    pub fn about(
        code: Code,
        message: impl Into<String>,
        field: impl Into<String>,
        rule: impl Into<String>,
    ) -> Self {
        Self { code, message: message.into(), violations: vec![FieldError::new(field, rule)] }
    }

    /// The `google.rpc.Status` as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        let mut details = Vec::new();
        if !self.violations.is_empty() {
            let violations = self.violations.iter();
            let violations: Vec<_> = violations
                .map(|violation| json!({"field": violation.field, "description": violation.rule}))
                .collect();
            details.push(json!({
                "@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": violations,
            }));
        }
        json!({ "code": self.code as i32, "message": self.message, "details": details })
    }
}

impl From<ApiError> for tonic::Status {
    fn from(error: ApiError) -> Self {
        let code = tonic::Code::from_i32(error.code as i32);
        if error.violations.is_empty() {
            return Self::new(code, error.message);
        }
        let violations = error.violations.into_iter();
        let violations: Vec<_> =
            violations.map(|violation| FieldViolation::new(violation.field, violation.rule)).collect();
        Self::with_error_details(code, error.message, ErrorDetails::with_bad_request(violations))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = self.to_json().to_string();
        let mut response =
            (self.code.http(), [(header::CONTENT_TYPE, "application/json")], body).into_response();
        response.extensions_mut().insert(self.code);
        response
    }
}

impl From<FieldError> for ApiError {
    fn from(error: FieldError) -> Self {
        Self { code: Code::InvalidArgument, message: error.to_string(), violations: vec![error] }
    }
}

impl From<RecommendError> for ApiError {
    fn from(error: RecommendError) -> Self {
        let message = error.to_string();
        match error {
            RecommendError::InvalidArgument(error) => error.into(),
            RecommendError::Unimplemented { field } => {
                Self::about(Code::Unimplemented, message, field, "does not act in this version")
            }
            RecommendError::TooLarge { field, limit, .. } => Self::about(
                Code::ResourceExhausted,
                message,
                field,
                format!("must hold at most {limit} entries"),
            ),
            RecommendError::DeadlineExceeded { .. } => Self::new(Code::DeadlineExceeded, message),
            other => Self::defect(other),
        }
    }
}

impl From<ChangeError> for ApiError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Item(error) => error.into(),
            other => Self::defect(other),
        }
    }
}

impl From<WriteError> for ApiError {
    fn from(error: WriteError) -> Self {
        let code = match error {
            WriteError::Unavailable { .. } => Code::Unavailable,
            WriteError::Full | WriteError::TooLarge { .. } => Code::ResourceExhausted,
        };
        Self::new(code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Code; 9] = [
        Code::Ok,
        Code::InvalidArgument,
        Code::DeadlineExceeded,
        Code::NotFound,
        Code::ResourceExhausted,
        Code::FailedPrecondition,
        Code::Unimplemented,
        Code::Internal,
        Code::Unavailable,
    ];

    #[test]
    fn numbers_are_those_of_grpc() {
        for code in ALL {
            let grpc = tonic::Code::from_i32(code as i32);
            assert_eq!(Code::of_grpc(&tonic::Status::new(grpc, DEFECT)), code);
            // tonic prints `InvalidArgument`, the specification INVALID_ARGUMENT.
            assert_eq!(format!("{grpc:?}").to_uppercase(), code.name().replace('_', ""));
        }
    }

    #[test]
    fn one_error_says_the_same_over_grpc_and_http() {
        let error = ApiError::from(FieldError::new("page_size", "must not be negative, is -1"));
        let json = error.to_json();
        assert_eq!(json["code"], 3);
        assert_eq!(json["message"], "page_size: must not be negative, is -1");
        assert_eq!(json["details"][0]["fieldViolations"][0]["field"], "page_size");
        let status = tonic::Status::from(error);
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        assert_eq!(status.message(), "page_size: must not be negative, is -1");
        let violations = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(
            (&*violations[0].field, &*violations[0].description),
            ("page_size", "must not be negative, is -1")
        );
    }
}
