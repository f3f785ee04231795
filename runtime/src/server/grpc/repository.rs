//! The model repository extension over gRPC: what the messages of Triton name, as REST names it
//! ([`repository`](super::super::repository)).

use std::{collections::HashMap, time::Instant};

use super::{
    super::{
        error::ApiError,
        repository::{Entry, Parameters},
    },
    Call,
};
use crate::protocol::inference::{
    ModelRepositoryParameter, RepositoryIndexRequest, RepositoryIndexResponse, RepositoryModelLoadRequest,
    RepositoryModelUnloadRequest, model_repository_parameter::ParameterChoice,
    repository_index_response::ModelIndex,
};

impl Call {
    /// The variants.
    pub(super) fn index(&self, request: &RepositoryIndexRequest) -> RepositoryIndexResponse {
        let models = self.service.repository(request.ready).into_iter().map(entry).collect();
        RepositoryIndexResponse { models }
    }

    /// Lets a variant serve; returns once it does.
    pub(super) async fn load(&self, request: RepositoryModelLoadRequest) -> Result<(), ApiError> {
        let received = Instant::now();
        self.service.expect_choice(&request.model_name)?;
        self.service.load(parameters(request.parameters), received).await
    }

    /// Gives the memory of a variant back.
    pub(super) fn unload(&self, request: RepositoryModelUnloadRequest) -> Result<(), ApiError> {
        self.service.expect_choice(&request.model_name)?;
        self.service.unload(parameters(request.parameters))
    }
}

fn entry(entry: Entry) -> ModelIndex {
    let Entry { name, version, state, reason } = entry;
    ModelIndex { name, version, state: state.to_owned(), reason }
}

fn parameters(mut given: HashMap<String, ModelRepositoryParameter>) -> Parameters {
    let mut text = |name: &str| match given.remove(name)?.parameter_choice? {
        ParameterChoice::StringParam(text) => Some(text),
        ParameterChoice::BoolParam(_) | ParameterChoice::Int64Param(_) | ParameterChoice::BytesParam(_) => {
            None
        }
    };
    Parameters { version: text("version"), config: text("config") }
}
