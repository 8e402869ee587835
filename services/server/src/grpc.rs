//! The contract over gRPC: each method hands its message to [`Api`] and its failure to the one mapping.

use endcap_proto::v1::{
    self, admin_service_server::AdminService, catalog_service_server::CatalogService,
    event_service_server::EventService, recommendation_service_server::RecommendationService,
};
use tonic::{Request, Response, Status, Streaming};

use crate::{
    ApiError,
    api::Api,
    limits::{self, Deadline},
};

fn answer<T>(answer: Result<T, ApiError>) -> Result<Response<T>, Status> {
    answer.map(Response::new).map_err(Status::from)
}

#[tonic::async_trait]
impl RecommendationService for Api {
    async fn recommend(
        &self,
        request: Request<v1::RecommendRequest>,
    ) -> Result<Response<v1::RecommendResponse>, Status> {
        let deadline = request.extensions().get::<Deadline>().map(|deadline| deadline.0);
        let traceparent = limits::traceparent(request.metadata().as_ref());
        answer(Api::recommend(self, request.into_inner(), deadline, traceparent).await)
    }
}

#[tonic::async_trait]
impl EventService for Api {
    async fn write(
        &self,
        request: Request<v1::WriteEventsRequest>,
    ) -> Result<Response<v1::WriteEventsResponse>, Status> {
        let traceparent = limits::traceparent(request.metadata().as_ref());
        answer(self.write_events(request.into_inner(), traceparent).await)
    }

    async fn write_stream(
        &self,
        request: Request<Streaming<v1::WriteEventsRequest>>,
    ) -> Result<Response<v1::WriteEventsResponse>, Status> {
        let traceparent = limits::traceparent(request.metadata().as_ref());
        let mut stream = request.into_inner();
        let mut written = 0;
        loop {
            let batch = tokio::select! {
                batch = stream.message() => batch?,
                // What was written so far is answered; the client goes on elsewhere.
                () = self.limits.closing() => None,
            };
            let Some(batch) = batch else { break };
            let _permit = self.limits.batch().await?;
            written += self.write_events(batch, traceparent.clone()).await?.written;
        }
        Ok(Response::new(v1::WriteEventsResponse { written }))
    }

    async fn purge(
        &self,
        request: Request<v1::PurgeEventsRequest>,
    ) -> Result<Response<v1::PurgeEventsResponse>, Status> {
        let deadline = request.extensions().get::<Deadline>().map(|deadline| deadline.0);
        answer(self.purge_events(request.into_inner(), deadline).await)
    }
}

#[tonic::async_trait]
impl CatalogService for Api {
    async fn upsert(
        &self,
        request: Request<v1::UpsertItemsRequest>,
    ) -> Result<Response<v1::UpsertItemsResponse>, Status> {
        answer(self.upsert_items(request.into_inner()).await)
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteItemsRequest>,
    ) -> Result<Response<v1::DeleteItemsResponse>, Status> {
        answer(self.delete_items(request.into_inner()).await)
    }

    async fn get(&self, request: Request<v1::GetItemRequest>) -> Result<Response<v1::Item>, Status> {
        answer(self.get_item(request.into_inner()))
    }

    async fn list(
        &self,
        request: Request<v1::ListItemsRequest>,
    ) -> Result<Response<v1::ListItemsResponse>, Status> {
        answer(self.list_items(request.into_inner()))
    }
}

#[tonic::async_trait]
impl AdminService for Api {
    async fn list_bundles(
        &self,
        _: Request<v1::ListBundlesRequest>,
    ) -> Result<Response<v1::ListBundlesResponse>, Status> {
        answer(Api::list_bundles(self).await)
    }

    async fn activate_bundle(
        &self,
        request: Request<v1::ActivateBundleRequest>,
    ) -> Result<Response<v1::ActivateBundleResponse>, Status> {
        answer(Api::activate_bundle(self, request.into_inner()).await)
    }

    async fn rollback_bundle(
        &self,
        _: Request<v1::RollbackBundleRequest>,
    ) -> Result<Response<v1::RollbackBundleResponse>, Status> {
        answer(Api::rollback_bundle(self).await)
    }

    async fn get_status(&self, _: Request<v1::GetStatusRequest>) -> Result<Response<v1::Status>, Status> {
        Ok(Response::new(self.status()))
    }
}
