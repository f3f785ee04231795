//! What the protocol costs: the CPU time of a request beside its inference, measured on this machine.
//!
//! A second server, with a network that computes nothing, is asked over a real connection on the loopback interface. The CPU
//! time of the whole process, less that of the asking thread, is the cost. Its meters are its own: nobody sees these requests.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use dnnshifter_portfolio::VariantDescription;
use tokio::{net::TcpListener, runtime::Handle};
use tokio_util::sync::CancellationToken;

use super::{Chooser, Front, Intake, Service, router, serve};
use crate::{
    clock,
    engine::{Engine, EngineError, Interface, Network},
    keeper::memory::Footprint,
    lane::Lane,
    metrics::{Identity, Metrics},
    switch::Switch,
    values::{Element, Part, Values, of_any_type},
    variant::{Resident, VariantFolder},
};

/// So many requests are measured; the median counts, since others may use the processor meanwhile.
const REQUESTS: usize = 41;

/// The pause before each: in a row they would find everything awake and in the caches, and cost half as much as in service.
const PAUSE: Duration = Duration::from_millis(3);

/// A request that is not answered within this time ends the measurement.
const PATIENCE: Duration = Duration::from_secs(2);

const MODEL: &str = "measured";

/// Measures; `None` where it does not work, which is logged.
pub(crate) fn measure(tokio: &Handle, like: &Resident) -> Option<Duration> {
    match attempt(tokio, like) {
        Ok(cost) => Some(cost),
        Err(error) => {
            tracing::warn!(%error, "failed to measure what the protocol costs");
            None
        }
    }
}

fn attempt(tokio: &Handle, like: &Resident) -> io::Result<Duration> {
    let service = service(&Nothing, &like.description)?;
    let listener = tokio.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    let address = listener.local_addr()?;
    let stop = CancellationToken::new();
    let serving = tokio.spawn(serve(listener, Front::plain(router(service)), stop.clone()));
    let request = request(&like.interface);
    let mut client = Client::connect(address)?;
    let costs = (0..REQUESTS).map(|_| cost(&mut client, &request)).collect::<io::Result<Vec<_>>>();
    drop(client);
    stop.cancel();
    tokio.block_on(serving).map_err(io::Error::other)??;
    let mut costs = costs?;
    costs.sort_unstable();
    Ok(costs.get(costs.len() / 2).copied().unwrap_or_default())
}

/// The CPU time of one request.
fn cost(client: &mut Client, request: &[u8]) -> io::Result<Duration> {
    std::thread::sleep(PAUSE);
    let (process, asking) = (clock::process_cpu(), clock::thread_cpu());
    client.ask(request)?;
    let asking = clock::thread_cpu().saturating_sub(asking);
    Ok(clock::process_cpu().saturating_sub(process).saturating_sub(asking))
}

/// A whole service on a network that computes nothing.
fn service(engine: &dyn Engine, description: &VariantDescription) -> io::Result<Arc<Service>> {
    let metrics = Metrics::new(&Identity::default()).map_err(io::Error::other)?;
    let switch = Arc::new(Switch::new(Arc::clone(&metrics)));
    let mut description = description.clone();
    let (datatype, count) = (description.output.datatype, description.check.output.len());
    description.check.output = Values::zeros(datatype, count).to_check();
    let name = description.name.clone();
    let folder = VariantFolder::without_file(description);
    let resident = Resident::load(engine, folder).map_err(io::Error::other)?;
    switch.direct(&[name], None, Instant::now());
    switch.loaded(resident, Footprint::default());
    // What is computed at once costs less; but under a load, for which the cost is asked, everything is handed over.
    let lane = Arc::new(Lane::start(Arc::clone(&switch), Duration::ZERO)?);
    Ok(Service::new(MODEL.to_owned(), Chooser::Placement, (switch, lane, Intake::default()), metrics))
}

/// A request of one item in JSON, which is what costs the most.
fn request(interface: &Interface) -> Vec<u8> {
    let datatype = interface.input.datatype;
    let numbers: Vec<f32> = (0..interface.input_length()).map(|index| (index % 255) as f32 / 255.0).collect();
    let values = Values::of_numbers(datatype, &numbers);
    let shape: Vec<u64> = std::iter::once(1).chain(interface.input.shape.iter().copied()).collect();
    let input = serde_json::json!({"name": interface.input.name, "shape": shape, "datatype": datatype, "data": values});
    let body = serde_json::json!({"inputs": [input]}).to_string();
    let head = format!(
        "POST /v2/models/{MODEL}/infer HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body.into_bytes()].concat()
}

/// The smallest client of HTTP/1.1 that can ask our own server.
struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    fn connect(address: std::net::SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    fn ask(&mut self, request: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(request)?;
        let mut length = 0;
        let mut status = String::new();
        self.stream.read_line(&mut status)?;
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line)?;
            match line.trim_end().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.parse().map_err(io::Error::other)?;
                }
                Some(_) => (),
                None => break,
            }
        }
        io::copy(&mut self.stream.by_ref().take(length), &mut io::sink())?;
        if status.contains(" 200 ") {
            Ok(())
        } else {
            Err(io::Error::other(format!("answered {}", status.trim_end())))
        }
    }
}

/// Computes nothing.
struct Nothing;

impl Engine for Nothing {
    fn prepare(&self, _path: &Path, interface: &Interface) -> Result<Box<dyn Network>, EngineError> {
        Ok(Box::new(Zeros(interface.output_length())))
    }
}

/// Gives so many zeros for each item.
struct Zeros(usize);

impl Network for Zeros {
    fn run(&mut self, items: usize, _input: Part<'_>, output: &mut Values) -> Result<(), EngineError> {
        let count = items.saturating_mul(self.0);
        of_any_type!(output, values => grow(values, count));
        Ok(())
    }
}

/// Appends so many zeros, or empty texts.
fn grow<T: Element>(values: &mut Vec<T>, count: usize) {
    values.resize(values.len().saturating_add(count), T::default());
}

#[cfg(test)]
mod tests {
    use std::thread;

    use parking_lot::Mutex;

    use super::*;
    use crate::{lane::Batch, testing};

    /// Notes the names of the threads that compute.
    #[derive(Clone, Default)]
    struct Noting(Arc<Mutex<Vec<String>>>);

    impl Engine for Noting {
        fn prepare(&self, _path: &Path, _interface: &Interface) -> Result<Box<dyn Network>, EngineError> {
            Ok(Box::new(self.clone()))
        }
    }

    impl Network for Noting {
        fn run(&mut self, items: usize, input: Part<'_>, output: &mut Values) -> Result<(), EngineError> {
            self.0.lock().push(thread::current().name().unwrap_or_default().to_owned());
            Zeros(3).run(items, input, output)
        }
    }

    #[tokio::test]
    async fn what_is_measured_is_handed_over_to_the_thread_of_the_lane() {
        let engine = Noting::default();
        let service = service(&engine, &testing::description("a", 1.0)).unwrap();
        engine.0.lock().clear();
        let batch = Batch {
            items: 1,
            input: Values::Fp32(vec![0.0; 4]),
            read: Instant::now(),
            client: None,
            variant: None,
            deadline: None,
            held: None,
        };
        service.lane.compute(batch).await.unwrap();
        assert_eq!(*engine.0.lock(), ["inference"]);
    }
}
