//! The contract as JSON over HTTP, on the same port as gRPC.
//!
//! `POST /v1/recommend` takes a `RecommendRequest` in proto3 JSON and answers a `RecommendResponse`; the other methods
//! likewise. A failure answers a `google.rpc.Status` with the status code that google.rpc.Code maps to.

use axum::{
    Router,
    body::Body,
    extract::{Path, Query, Request, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use endcap_proto::v1;
use http::{StatusCode, header};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    ApiError, Code,
    api::Api,
    json,
    limits::{self, Deadline},
    service::Readiness,
};

/// The methods of the contract.
pub(crate) fn methods() -> Router<Api> {
    Router::new()
        .route("/v1/recommend", post(recommend))
        .route(
            "/v1/events:write",
            post(async |State(api): State<Api>, request: Request| {
                let traceparent = limits::traceparent(request.headers());
                answer(api.write_events(body(&api, request).await?, traceparent).await)
            }),
        )
        .route(
            "/v1/events:purge",
            post(async |State(api): State<Api>, request: Request| {
                let deadline = request.extensions().get::<Deadline>().map(|deadline| deadline.0);
                answer(api.purge_events(body(&api, request).await?, deadline).await)
            }),
        )
        .route(
            "/v1/items:upsert",
            post(async |State(api): State<Api>, request: Request| {
                answer(api.upsert_items(body(&api, request).await?).await)
            }),
        )
        .route(
            "/v1/items:delete",
            post(async |State(api): State<Api>, request: Request| {
                answer(api.delete_items(body(&api, request).await?).await)
            }),
        )
        .route(
            "/v1/items/{id}",
            get(async |State(api): State<Api>, Path(item_id): Path<String>| {
                answer(api.get_item(v1::GetItemRequest { item_id }))
            }),
        )
        .route("/v1/items", get(list_items))
        .route("/v1/bundles", get(async |State(api): State<Api>| answer(api.list_bundles().await)))
        .route("/v1/bundles/{version}", post(activate_bundle))
        .route(
            "/v1/bundles:rollback",
            post(async |State(api): State<Api>| answer(api.rollback_bundle().await)),
        )
        .route("/v1/status", get(async |State(api): State<Api>| answer(Ok(api.status()))))
}

/// What operators and load balancers ask. Not limited: they must answer when the service is full.
pub(crate) fn probes(readiness: Readiness) -> Router<Api> {
    let ready = move || {
        let ready = readiness.is_ready();
        async move {
            match ready {
                true => (StatusCode::OK, "ready\n"),
                false => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
            }
        }
    };
    Router::new().route("/healthz", get(async || "alive\n")).route("/readyz", get(ready)).route(
        "/metrics",
        get(async |State(api): State<Api>| match api.metrics.expose() {
            Ok(page) => {
                let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                ([(header::CONTENT_TYPE, content_type)], page).into_response()
            }
            Err(error) => ApiError::defect(error).into_response(),
        }),
    )
}

/// What no route takes.
pub(crate) async fn unknown(request: Request) -> Response {
    let path = request.uri().path();
    if limits::is_grpc(request.headers()) {
        let message = format!("there is no method {path}");
        return limits::fail(ApiError::new(Code::Unimplemented, message), true);
    }
    ApiError::new(Code::NotFound, format!("there is nothing at {path}; see docs/api.md")).into_response()
}

/// A path that exists, by a method that it does not take.
pub(crate) async fn wrong_method(request: Request) -> Response {
    let message = format!("{} does not take {}; see docs/api.md", request.uri().path(), request.method());
    let mut response = ApiError::new(Code::Unimplemented, message).into_response();
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}

async fn recommend(State(api): State<Api>, request: Request) -> Response {
    let deadline = request.extensions().get::<Deadline>().map(|deadline| deadline.0);
    let traceparent = limits::traceparent(request.headers());
    let answered = async {
        let request = body(&api, request).await?;
        api.recommend(request, deadline, traceparent).await
    };
    match answered.await {
        Ok(response) => ok(&response),
        Err(error) => error.into_response(),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[derive(Default)]
struct ListParameters {
    page_size: i32,
    page_token: String,
    filter: String,
}

async fn list_items(
    State(api): State<Api>,
    parameters: Result<Query<ListParameters>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(ListParameters { page_size, page_token, filter }) = parameters.map_err(|error| {
        ApiError::about(Code::InvalidArgument, error.body_text(), "query", error.body_text())
    })?;
    answer(api.list_items(v1::ListItemsRequest { page_size, page_token, filter }))
}

/// `POST /v1/bundles/{version}:activate`: a route's parameter reaches to the next slash.
async fn activate_bundle(State(api): State<Api>, Path(path): Path<String>) -> Result<Response, ApiError> {
    match path.strip_suffix(":activate") {
        Some(version) => {
            answer(api.activate_bundle(v1::ActivateBundleRequest { version: version.to_owned() }).await)
        }
        None => {
            Err(ApiError::new(Code::NotFound, format!("/v1/bundles/{path}: only {path}:activate is there")))
        }
    }
}

async fn body<T: DeserializeOwned>(api: &Api, request: Request) -> Result<T, ApiError> {
    let bytes = limits::read_body(request.into_body(), api.message_bytes).await?;
    json::read(if bytes.is_empty() { b"{}" } else { &bytes })
}

fn answer<T: Serialize>(answer: Result<T, ApiError>) -> Result<Response, ApiError> {
    answer.map(|message| ok(&message))
}

fn ok<T: Serialize>(message: &T) -> Response {
    match serde_json::to_vec(message) {
        Ok(body) => {
            let mut response =
                ([(header::CONTENT_TYPE, "application/json")], Body::from(body)).into_response();
            response.extensions_mut().insert(Code::Ok);
            response
        }
        Err(error) => ApiError::defect(error).into_response(),
    }
}
