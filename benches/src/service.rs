//! Recommend over gRPC as a client sees it, and the floor: the same call, answered with nothing done.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use endcap_proto::v1::recommendation_service_client::RecommendationServiceClient;
use endcap_proto::v1::recommendation_service_server::{RecommendationService, RecommendationServiceServer};
use endcap_proto::v1::{RecommendRequest, RecommendResponse};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

/// A few connections to one service.
#[derive(Debug, Clone)]
pub struct Clients(Arc<[RecommendationServiceClient<Channel>]>);

impl Clients {
    /// Opens `connections` connections to `http://HOST:PORT`.
    ///
    /// # Errors
    /// Where the address is none or nobody listens.
    pub async fn connect(target: &str, connections: usize) -> anyhow::Result<Self> {
        let endpoint =
            Endpoint::from_shared(target.to_owned())?.tcp_nodelay(true).timeout(Duration::from_secs(30));
        let mut clients = Vec::with_capacity(connections);
        for _ in 0..connections.max(1) {
            clients.push(RecommendationServiceClient::new(endpoint.connect().await?));
        }
        Ok(Self(clients.into()))
    }

    /// Sends a request over the `i`-th connection, round and round.
    ///
    /// # Errors
    /// What the service answers.
    pub async fn recommend(&self, i: u64, request: RecommendRequest) -> Result<RecommendResponse, Status> {
        let mut client = self.0[i as usize % self.0.len()].clone();
        Ok(client.recommend(Request::new(request)).await?.into_inner())
    }
}

/// A server that gives every request the same answer: what gRPC costs by itself.
#[derive(Debug)]
pub struct Floor {
    /// Where it listens.
    pub address: SocketAddr,
    server: JoinHandle<()>,
}

struct SameAnswer(RecommendResponse);

#[tonic::async_trait]
impl RecommendationService for SameAnswer {
    async fn recommend(&self, _: Request<RecommendRequest>) -> Result<Response<RecommendResponse>, Status> {
        Ok(Response::new(self.0.clone()))
    }
}

impl Floor {
    /// Listens on a free port of loopback.
    ///
    /// # Errors
    /// Where there is none.
    pub async fn start(answer: RecommendResponse) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let service = TowerToHyperService::new(RecommendationServiceServer::new(SameAnswer(answer)));
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = service.clone();
                stream.set_nodelay(true).ok();
                // A connection that breaks is its client's to report.
                tokio::spawn(async move {
                    let http = auto::Builder::new(TokioExecutor::new()).http2_only();
                    http.serve_connection(TokioIo::new(stream), service).await.ok();
                });
            }
        });
        Ok(Self { address, server })
    }

    /// As a client names it.
    pub fn target(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// An answer of twenty items as a service would give it, where none is there to be copied.
pub fn plain_answer() -> RecommendResponse {
    use endcap_proto::v1::{RecommendResponse, Result as Slot, ServedBy};
    let slot = |position: u32| Slot {
        item_id: format!("item-{:06}", position * 7919),
        position,
        score: 1.0 / f64::from(position + 1),
        objective_scores: ["click", "cart", "purchase"].map(|name| (name.to_owned(), 0.01)).into(),
        sources: vec!["towers".into()],
        propensity: 1.0,
        ..Slot::default()
    };
    RecommendResponse {
        results: (0..20).map(slot).collect(),
        attribution_token: "t".repeat(120),
        served_by: Some(ServedBy {
            bundle_version: "20260101T000000Z-0123abcd".into(),
            ..ServedBy::default()
        }),
        request_id: "00000000-0000-7000-8000-000000000000".into(),
        ..RecommendResponse::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_floor_gives_the_answer_it_was_given() {
        let floor = Floor::start(plain_answer()).await.unwrap();
        let clients = Clients::connect(&floor.target(), 2).await.unwrap();
        for i in 0..4 {
            assert_eq!(clients.recommend(i, RecommendRequest::default()).await.unwrap(), plain_answer());
        }
    }
}
