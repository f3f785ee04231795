//! `dnnshifter-load`: drives one Open Inference Protocol server with an open-loop schedule. It runs where the clients are: in a
//! node's network namespace.
//!
//! Every second it prints a line of JSON, the sum of that second, for whoever watches; at the end it writes all records to a file.

use std::{
    collections::BTreeMap,
    io::Write,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::Parser;
use dnnshifter_tests::{
    images::LabelledImages,
    load::{Record, Schedule, Tally, Target, run, wait_ready},
};
use tokio::sync::mpsc;

/// Drives one Open Inference Protocol server with an open-loop schedule.
#[derive(Parser)]
struct Arguments {
    /// `http://host:port` of the server.
    #[arg(long)]
    url: String,
    /// The model's name.
    #[arg(long)]
    model: String,
    /// The load: `30s@60,45s@300,20s@60-200`.
    #[arg(long)]
    schedule: String,
    /// Seed of the arrival times, which are those of a Poisson process.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Requests leave as evenly as the rate allows, and not by chance.
    #[arg(long, conflicts_with = "seed")]
    even: bool,
    /// The latency objective in milliseconds.
    #[arg(long, default_value_t = 20)]
    objective_milliseconds: u64,
    /// Folder with the test files of an IDX data set; blank images are sent without it.
    #[arg(long)]
    images: Option<PathBuf>,
    /// Mean of the pixels.
    #[arg(long, default_value_t = 0.5)]
    mean: f32,
    /// Standard deviation of the pixels.
    #[arg(long, default_value_t = 0.5)]
    deviation: f32,
    /// Where the records go, as JSON lines.
    #[arg(long)]
    records: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    dnnshifter_tests::install_crypto_provider();
    dnnshifter_tests::exit_code(drive(Arguments::parse()).await)
}

async fn drive(arguments: Arguments) -> Result<()> {
    let schedule = Schedule::parse(&arguments.schedule)?;
    let objective = Duration::from_millis(arguments.objective_milliseconds);
    wait_ready(&arguments.url, Duration::from_secs(30)).await?;
    let target = describe(&arguments).await?;
    let arrivals = if arguments.even { schedule.even_arrivals() } else { schedule.arrivals(arguments.seed) };

    let (sender, receiver) = mpsc::unbounded_channel();
    let watching = tokio::spawn(watch(receiver, objective));
    run(target, &arrivals, sender).await?;
    let records = watching.await.context("the watching task ended early")??;

    if let Some(path) = &arguments.records {
        let mut file = std::io::BufWriter::new(
            std::fs::File::create(path).with_context(|| format!("failed to create {}", path.display()))?,
        );
        for record in &records {
            serde_json::to_writer(&mut file, record)?;
            file.write_all(b"\n")?;
        }
        file.flush()?;
    }
    print_line(&serde_json::json!({"total": Tally::of(&records, objective)}))
}

/// Asks the server for its model's input.
async fn describe(arguments: &Arguments) -> Result<Target> {
    #[derive(serde::Deserialize)]
    struct Metadata {
        inputs: Vec<Tensor>,
    }
    #[derive(serde::Deserialize)]
    struct Tensor {
        name: String,
        shape: Vec<i64>,
    }
    let url = format!("{}/v2/models/{}", arguments.url, arguments.model);
    let text = reqwest::get(&url).await?.error_for_status()?.text().await?;
    let metadata: Metadata =
        serde_json::from_str(&text).with_context(|| format!("{url} answered no model's metadata: {text}"))?;
    let input = metadata.inputs.into_iter().next().context("the model has no input")?;
    let shape: Vec<u64> =
        input.shape.iter().skip(1).map(|size| u64::try_from(*size)).collect::<Result<_, _>>()?;
    let images = match &arguments.images {
        Some(folder) => LabelledImages::read(folder, arguments.mean, arguments.deviation)?,
        None => LabelledImages::blank(shape.iter().product::<u64>() as usize),
    };
    Ok(Target {
        url: arguments.url.clone(),
        model: arguments.model.clone(),
        input: (input.name, shape),
        images,
    })
}

/// Collects the records, and prints each second's sum.
async fn watch(mut receiver: mpsc::UnboundedReceiver<Record>, objective: Duration) -> Result<Vec<Record>> {
    let start = Instant::now();
    let mut all = Vec::new();
    let mut printed = 0;
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let mut errors: BTreeMap<String, u64> = BTreeMap::new();
    loop {
        tokio::select! {
            record = receiver.recv() => match record {
                Some(record) => {
                    if let Some(error) = &record.error {
                        *errors.entry(error.clone()).or_default() += 1;
                    }
                    all.push(record);
                }
                None => return Ok(all),
            },
            _ = tick.tick() => {
                let since = all.get(printed..).unwrap_or_default();
                let last = since.iter().rev().find_map(|record| record.variant.clone());
                print_line(&serde_json::json!({
                    "second": start.elapsed().as_secs(), "variant": last, "tally": Tally::of(since, objective), "errors": errors,
                }))?;
                printed = all.len();
            }
        }
    }
}

fn print_line(value: &serde_json::Value) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{value}")?;
    Ok(out.flush()?)
}
