//! A server on a free port, and requests to it by hand.

#![allow(unreachable_pub)]

use std::sync::Arc;

use endcap_recommend::Clock;
use endcap_server::{Error, Handle, Options, ServerConfig};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::shop::Shop;

/// A server that runs.
pub struct Serving {
    pub handle: Handle,
    pub drain: CancellationToken,
    running: JoinHandle<Result<(), Error>>,
}

/// An answer over HTTP.
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Vec<u8>,
}

impl Serving {
    pub async fn start(
        shop: &Shop,
        edit: impl FnOnce(&mut ServerConfig),
        fill: impl FnOnce(&mut Options),
    ) -> Self {
        let mut config = ServerConfig {
            address: "127.0.0.1:0".parse().unwrap(),
            drain_notice_ms: 0,
            ..Default::default()
        };
        edit(&mut config);
        let mut options = options(shop, config);
        fill(&mut options);
        let (service, handle) = options.bind().await.unwrap();
        let drain = CancellationToken::new();
        let running = tokio::spawn(service.run(drain.clone()));
        Self { handle, drain, running }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.handle.address())
    }

    /// A gRPC connection of its own.
    pub async fn channel(&self) -> tonic::transport::Channel {
        tonic::transport::Channel::from_shared(self.url()).unwrap().connect().await.unwrap()
    }

    /// Drains; what the service ended with.
    pub async fn stop(self) -> Result<(), Error> {
        self.drain.cancel();
        self.running.await.unwrap()
    }
}

pub fn options(shop: &Shop, config: ServerConfig) -> Options {
    Options {
        config,
        recommender: Arc::clone(&shop.recommender),
        events: None,
        items: None,
        eraser: None,
        bundles: None,
        stream: None,
        clock: Arc::clone(&shop.clock) as Arc<dyn Clock>,
    }
}

impl Answer {
    pub fn json(&self) -> (u16, Value) {
        let text = String::from_utf8_lossy(&self.body);
        (self.status, serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {text}")))
    }
}

pub async fn get(serving: &Serving, path: &str) -> (u16, Value) {
    let answer = send(serving, "GET", path, &[], b"").await;
    match serde_json::from_slice(&answer.body) {
        Ok(json) => (answer.status, json),
        Err(_) => (answer.status, Value::String(String::from_utf8_lossy(&answer.body).into_owned())),
    }
}

pub async fn post(serving: &Serving, path: &str, body: &Value) -> (u16, Value) {
    send(serving, "POST", path, &[("content-type", "application/json")], body.to_string().as_bytes())
        .await
        .json()
}

/// One request over a connection of its own, HTTP/1.
pub async fn send(
    serving: &Serving,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let socket = tokio::net::TcpStream::connect(serving.handle.address()).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = request(method, path.to_owned(), headers).header("host", "localhost");
    let response =
        sender.send_request(request.body(Full::new(bytes::Bytes::copy_from_slice(body))).unwrap()).await;
    let answer = collect(response.unwrap()).await;
    connection.abort();
    answer
}

/// One request over a connection of its own, HTTP/2.
pub async fn send_http2(serving: &Serving, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
    let socket = tokio::net::TcpStream::connect(serving.handle.address()).await.unwrap();
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket));
    let (mut sender, connection) = handshake.await.unwrap();
    let connection = tokio::spawn(connection);
    let request = request("POST", format!("{}{path}", serving.url()), headers);
    let response = sender.send_request(request.body(Full::new(bytes::Bytes::from(body))).unwrap()).await;
    let answer = collect(response.unwrap()).await;
    connection.abort();
    answer
}

fn request(method: &str, uri: String, headers: &[(&str, &str)]) -> http::request::Builder {
    let builder = http::Request::builder().method(method).uri(uri);
    headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value))
}

async fn collect(response: http::Response<hyper::body::Incoming>) -> Answer {
    let (head, body) = response.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
    Answer { status: head.status.as_u16(), headers: head.headers, body }
}
