//! The calls of the service.

use std::pin::Pin;
use std::sync::Arc;

use forebay_contract::{ErrorCode, Problem};
use futures_util::{Stream, StreamExt as _};
use tonic::{Extensions, Request, Response, Status, Streaming};

use super::arrival::Arrival;
use super::description::{config, statistics};
use super::proto::grpc_inference_service_server::GrpcInferenceService;
use super::proto::model_metadata_response::TensorMetadata;
use super::proto::repository_index_response::ModelIndex;
use super::proto::*;
use super::{infer, status};
use crate::auth::Caller;
use crate::http::{HttpState, ModelListing, ServedModel, extensions};
use crate::open_inference::{Datatype, TensorDescription, describe_tensors};

/// Requests of one stream that are answered at a time.
const STREAM_REQUESTS: usize = 16;

type Answer<T> = Result<Response<T>, Status>;

/// The service. Clones share its state.
#[derive(Clone)]
pub(super) struct Inference {
    pub state: Arc<HttpState>,
    pub models: ModelListing,
}

impl Inference {
    /// Whether this replica takes requests, and the default model answers them.
    pub(super) fn ready(&self) -> Result<(), Problem> {
        self.state.check_available()?;
        let model = self.models.served(self.models.default_model(), None)?;
        if model.ready {
            return Ok(());
        }
        Err(Problem::new(ErrorCode::Unavailable, format!("no replica has loaded model '{}'", model.name())))
    }

    /// A model for a caller that may use it.
    fn find(&self, extensions: &Extensions, name: &str, version: &str) -> Result<ServedModel, Status> {
        let caller = caller_of(extensions)?;
        let version = Some(version).filter(|version| !version.is_empty());
        self.models.served_to(caller, name, version).map_err(|rejection| status::rejected(&rejection))
    }

    /// The versions of the models that a caller may use.
    fn versions(&self, extensions: &Extensions) -> Result<Vec<ServedModel>, Status> {
        let caller = caller_of(extensions)?;
        let mut found = Vec::new();
        for name in self.models.names() {
            if caller.is_none_or(|caller| caller.may_use(&name)) {
                found.extend(self.models.served_versions(&name).unwrap_or_default());
            }
        }
        Ok(found)
    }
}

#[tonic::async_trait]
impl GrpcInferenceService for Inference {
    type ModelStreamInferStream = Pin<Box<dyn Stream<Item = Result<ModelStreamInferResponse, Status>> + Send>>;

    async fn server_live(&self, _: Request<ServerLiveRequest>) -> Answer<ServerLiveResponse> {
        Ok(Response::new(ServerLiveResponse { live: true }))
    }

    async fn server_ready(&self, _: Request<ServerReadyRequest>) -> Answer<ServerReadyResponse> {
        Ok(Response::new(ServerReadyResponse { ready: self.ready().is_ok() }))
    }

    async fn model_ready(&self, request: Request<ModelReadyRequest>) -> Answer<ModelReadyResponse> {
        let ModelReadyRequest { name, version } = request.get_ref();
        let ready = match self.find(request.extensions(), name, version) {
            Ok(model) => model.ready,
            Err(status) if status.code() == tonic::Code::NotFound => false,
            Err(status) => return Err(status),
        };
        Ok(Response::new(ModelReadyResponse { ready }))
    }

    async fn server_metadata(&self, _: Request<ServerMetadataRequest>) -> Answer<ServerMetadataResponse> {
        let extensions = extensions().iter().map(|name| (*name).to_owned()).collect();
        let (name, version) = ("forebay".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
        Ok(Response::new(ServerMetadataResponse { name, version, extensions }))
    }

    async fn model_metadata(&self, request: Request<ModelMetadataRequest>) -> Answer<ModelMetadataResponse> {
        let ModelMetadataRequest { name, version } = request.get_ref();
        let model = self.find(request.extensions(), name, version)?;
        let (inputs, outputs) = describe_tensors(model.format());
        let tensor = |TensorDescription { name, datatype, shape }| TensorMetadata {
            name,
            datatype: Datatype::name(datatype).to_owned(),
            shape,
        };
        Ok(Response::new(ModelMetadataResponse {
            name: model.name().to_owned(),
            versions: model.versions().map(|version| version.to_string()).collect(),
            platform: model.flavor().to_owned(),
            inputs: inputs.into_iter().map(tensor).collect(),
            outputs: outputs.into_iter().map(tensor).collect(),
        }))
    }

    async fn model_infer(&self, request: Request<ModelInferRequest>) -> Answer<ModelInferResponse> {
        let (metadata, extensions, message) = request.into_parts();
        infer::infer(self, &metadata, arrival(&extensions)?, message).await.map(Response::new)
    }

    async fn model_stream_infer(
        &self,
        request: Request<Streaming<ModelInferRequest>>,
    ) -> Answer<Self::ModelStreamInferStream> {
        let (metadata, extensions, messages) = request.into_parts();
        let (service, call) = (self.clone(), Arc::new((metadata, arrival(&extensions)?.clone())));
        // answers leave in the order of the requests; a client that does not read them is read no further
        let answers = messages.map(move |message| {
            let (service, call) = (service.clone(), Arc::clone(&call));
            async move {
                let message = message?;
                let id = message.id.clone();
                Ok(match infer::infer(&service, &call.0, &call.1, message).await {
                    Ok(answer) => {
                        ModelStreamInferResponse { error_message: String::new(), infer_response: Some(answer) }
                    }
                    Err(status) => ModelStreamInferResponse {
                        error_message: status.message().to_owned(),
                        infer_response: Some(ModelInferResponse { id, ..ModelInferResponse::default() }),
                    },
                })
            }
        });
        Ok(Response::new(Box::pin(answers.buffered(STREAM_REQUESTS))))
    }

    async fn model_config(&self, request: Request<ModelConfigRequest>) -> Answer<ModelConfigResponse> {
        let ModelConfigRequest { name, version } = request.get_ref();
        let model = self.find(request.extensions(), name, version)?;
        Ok(Response::new(ModelConfigResponse { config: Some(config(&model, self.state.http.max_rows)) }))
    }

    async fn model_statistics(&self, request: Request<ModelStatisticsRequest>) -> Answer<ModelStatisticsResponse> {
        let ModelStatisticsRequest { name, version } = request.get_ref();
        let mut found = match name.is_empty() {
            true => self.versions(request.extensions())?,
            false => {
                let model = self.find(request.extensions(), name, version)?;
                match version.is_empty() {
                    true => self.models.served_versions(name).unwrap_or_default(),
                    false => vec![model],
                }
            }
        };
        found.retain(|model| model.ready);
        let entry = |model: &ServedModel| statistics(model, self.state.statistics.of(model.name(), model.version));
        Ok(Response::new(ModelStatisticsResponse { model_stats: found.iter().map(entry).collect() }))
    }

    async fn repository_index(&self, request: Request<RepositoryIndexRequest>) -> Answer<RepositoryIndexResponse> {
        let only_ready = request.get_ref().ready;
        let found = self.versions(request.extensions())?;
        let entry = |model: ServedModel| {
            let (state, reason) = model.repository_state();
            let version = model.version.to_string();
            ModelIndex { name: model.name().to_owned(), version, state: state.to_owned(), reason: reason.to_owned() }
        };
        let models = found.into_iter().filter(|model| model.ready || !only_ready).map(entry).collect();
        Ok(Response::new(RepositoryIndexResponse { models }))
    }

    async fn repository_model_load(
        &self,
        request: Request<RepositoryModelLoadRequest>,
    ) -> Answer<RepositoryModelLoadResponse> {
        let caller = caller_of(request.extensions())?;
        let RepositoryModelLoadRequest { model_name, parameters, .. } = request.get_ref();
        let loaded = self.models.load(caller, model_name, parameters.keys().next()).await;
        loaded.map(|()| Response::new(RepositoryModelLoadResponse {})).map_err(|rejection| status::rejected(&rejection))
    }

    async fn repository_model_unload(
        &self,
        request: Request<RepositoryModelUnloadRequest>,
    ) -> Answer<RepositoryModelUnloadResponse> {
        let caller = caller_of(request.extensions())?;
        let unloaded = self.models.unload(caller, &request.get_ref().model_name).await;
        let answer = unloaded.map(|()| Response::new(RepositoryModelUnloadResponse {}));
        answer.map_err(|rejection| status::rejected(&rejection))
    }

    async fn system_shared_memory_status(
        &self,
        _: Request<SystemSharedMemoryStatusRequest>,
    ) -> Answer<SystemSharedMemoryStatusResponse> {
        unsupported("SystemSharedMemoryStatus")
    }

    async fn system_shared_memory_register(
        &self,
        _: Request<SystemSharedMemoryRegisterRequest>,
    ) -> Answer<SystemSharedMemoryRegisterResponse> {
        unsupported("SystemSharedMemoryRegister")
    }

    async fn system_shared_memory_unregister(
        &self,
        _: Request<SystemSharedMemoryUnregisterRequest>,
    ) -> Answer<SystemSharedMemoryUnregisterResponse> {
        unsupported("SystemSharedMemoryUnregister")
    }

    async fn cuda_shared_memory_status(
        &self,
        _: Request<CudaSharedMemoryStatusRequest>,
    ) -> Answer<CudaSharedMemoryStatusResponse> {
        unsupported("CudaSharedMemoryStatus")
    }

    async fn cuda_shared_memory_register(
        &self,
        _: Request<CudaSharedMemoryRegisterRequest>,
    ) -> Answer<CudaSharedMemoryRegisterResponse> {
        unsupported("CudaSharedMemoryRegister")
    }

    async fn cuda_shared_memory_unregister(
        &self,
        _: Request<CudaSharedMemoryUnregisterRequest>,
    ) -> Answer<CudaSharedMemoryUnregisterResponse> {
        unsupported("CudaSharedMemoryUnregister")
    }

    async fn trace_setting(&self, _: Request<TraceSettingRequest>) -> Answer<TraceSettingResponse> {
        unsupported("TraceSetting")
    }

    async fn log_settings(&self, _: Request<LogSettingsRequest>) -> Answer<LogSettingsResponse> {
        unsupported("LogSettings")
    }
}

/// What is known of the call of a request, which every call has.
fn arrival(extensions: &Extensions) -> Result<&Arrival, Status> {
    extensions.get().ok_or_else(|| Status::internal("the call came by another way than the listener"))
}

/// Who makes a call; `None` if no credentials are needed.
fn caller_of(extensions: &Extensions) -> Result<Option<&Caller>, Status> {
    let caller = arrival(extensions)?.caller().ok_or_else(|| Status::unauthenticated("the caller is unknown"))?;
    Ok(caller.as_deref())
}

fn unsupported<T>(call: &str) -> Answer<T> {
    Err(Status::unimplemented(format!("{call} is not supported")))
}
