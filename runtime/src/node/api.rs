//! The way to the API server: every call on it has a deadline.
//!
//! `kube` waits for ever for a server that accepts a connection and says nothing: only a watch that runs already is given up by
//! itself. The first list, and the start of a watch, would end the following of the placement until the process does.

use std::time::Duration;

use dnnshifter_crds::VariantPlacement;
use http::{Request, Response};
use kube::{
    Api, Client, Config,
    client::{Body, ClientBuilder},
};
use tower::{BoxError, Service, ServiceExt, layer::layer_fn};

use super::watch::WATCH_SECONDS;
use crate::Error;

/// An answer must have begun after so long. It takes milliseconds; half a minute is patience with a poor link.
pub(super) const LONGEST_SILENCE: Duration = Duration::from_secs(30);

/// So much longer than a watch lasts nothing may come on a connection: an answer that began, and does not go on, is given up.
const MARGIN: Duration = Duration::from_secs(20);

/// The placements of a namespace, by the service account or the kubeconfig.
pub(super) async fn placements(namespace: &str) -> Result<Api<VariantPlacement>, Error> {
    let config = Config::infer().await.map_err(|source| Error::KubernetesConfiguration(Box::new(source)))?;
    let client = connect(config, LONGEST_SILENCE).map_err(|source| Error::Kubernetes(Box::new(source)))?;
    Ok(Api::namespaced(client, namespace))
}

/// A client that gives up what does not begin to be answered within `longest_silence`.
fn connect(mut config: Config, longest_silence: Duration) -> kube::Result<Client> {
    config.read_timeout = Some(Duration::from_secs(u64::from(WATCH_SECONDS)) + MARGIN);
    // Or a request on a connection that lay idle would inherit what was left of the time.
    config.reset_reader_on_write = true;
    let deadline = layer_fn(move |service| answering_within(longest_silence, service));
    Ok(ClientBuilder::try_from(config)?.with_layer(&deadline).build())
}

/// The same service, but an answer that has not begun after `longest` is an error, attempts that were repeated included.
pub(super) fn answering_within<S, B>(
    longest: Duration,
    service: S,
) -> impl Service<Request<Body>, Response = Response<B>, Error = BoxError, Future: Send + 'static> + Send + 'static
where
    S: Service<Request<Body>, Response = Response<B>, Error: Into<BoxError>, Future: Send + 'static>
        + Send
        + 'static,
    B: 'static,
{
    service.map_err(Into::into).map_future(move |answer| async move {
        match tokio::time::timeout(longest, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {longest:?}").into()),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use kube::api::{ListParams, WatchParams};

    use super::*;
    use crate::chain::chain;

    #[tokio::test]
    async fn a_server_that_accepts_and_stays_silent_is_given_up() {
        // The kernel accepts; nobody reads.
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let uri = format!("http://{}", silent.local_addr().unwrap()).parse().unwrap();
        let client = connect(Config::new(uri), Duration::from_millis(10)).unwrap();
        let api: Api<VariantPlacement> = Api::namespaced(client, "ns");
        let listed = api.list(&ListParams::default()).await.unwrap_err();
        assert!(chain(&listed).contains("no answer within 10ms"), "{}", chain(&listed));
        let watched = api.watch(&WatchParams::default(), "1").await.err().unwrap();
        assert!(chain(&watched).contains("no answer within 10ms"), "{}", chain(&watched));
    }
}
