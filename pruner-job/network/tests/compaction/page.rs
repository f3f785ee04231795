//! The page of the benchmark, made of its figures alone.

use serde_json::Value;

pub(crate) fn page(result: &Value) -> String {
    let head = format!(
        "# What exact compaction gains\n\n\
         Written by `make bench-compaction` from [compaction.json](compaction.json) beside it; not edited by hand.\n\
         Machine: {}, one thread, {} interleaved runs, each in a process of its own: median (least to most).\n\n\
         Weights are drawn from a seed as trained ones are spread, most filters weak and a few strong; the weakest of all are zero.\n\
         What compaction does, and how its results are proved equal, is on [the page about compaction](../compaction.md).\n\n\
         ## From file to file\n\n\
         Nothing is synced to the disk. `rewriting` is the analysis and the new graph, whose weights are views of the mapped input until they are written; `memory` the peak of the process over the size of the file.\n\
         Every weight is looked at once before that: whether it is a number, and which of its cells are zero. That brings its page into memory, and is no part of `rewriting`, but of `file to file`.\n\
         `published` is what the paper's method leaves of the parameters, where it can be followed: filters without weights go, and what they emit is dropped, so that the network computes something else.\n\
         Its rule is applied to every layer, where its code names some, and one channel stays of a layer that is all zero, where its code keeps all or fails.\n\n\
         | network | zero | parameters | left | published | rewriting ms | file to file ms | memory | prediction, masked ms | compact ms | faster |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
        text(&result["machine"]),
        result["runs"],
    );
    let files: String = list(&result["files"]).iter().map(file_row).collect();
    let middle = "\n## Every architecture of the tests\n\n\
         Parameters that are left of small networks whose weakest 50, 90 and 99 % of weights are zero, with batch norms kept and folded; ours are all equal in ONNX Runtime.\n\
         In brackets what the published method leaves, and what compaction leaves of the network that this method computes, in which dead filters emit nothing: the rest is what exactness costs.\n\n\
         | network | kept, 50 % | 90 % | 99 % | folded, 50 % | 90 % | 99 % |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n";
    let architectures: String = list(&result["architectures"]).iter().map(architecture_row).collect();
    [head, files, middle.to_owned(), architectures].concat()
}

fn architecture_row(entry: &Value) -> String {
    let shares = list(&entry["kept"]).iter().chain(list(&entry["folded"]));
    let both = |share: &Value| {
        let [left, published, of_it] =
            ["left", "published", "leftOfPublished"].map(|side| percent(number(&share[side])));
        format!("{left} ({published}, {of_it})")
    };
    let shares: Vec<String> = shares.map(both).collect();
    format!("| {} | {} |\n", text(&entry["network"]), shares.join(" | "))
}

fn file_row(file: &Value) -> String {
    let (before, after) = (number(&file["parametersBefore"]), number(&file["parametersAfter"]));
    let median = |name: &str| number(&file[name]["median"]);
    let spread = |name: &str| {
        let of = |part: &str| number(&file[name][part]);
        format!("{:.1} ({:.1} to {:.1})", of("median"), of("least"), of("most"))
    };
    let published = number(&file["parametersPublished"]);
    format!(
        "| {} | {} | {before} | {} | {} | {} | {} | {:.2} | {} | {} | {:.2}x |\n",
        text(&file["network"]),
        percent(number(&file["masked"])),
        percent(after / before),
        percent(published / before),
        spread("rewriteMs"),
        spread("wholeMs"),
        median("peakOverFile"),
        spread("maskedMs"),
        spread("compactMs"),
        median("maskedMs") / median("compactMs"),
    )
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}
