//! What the node computes with, as Linux tells it. Only read here: what is measured holds for this alone.

use std::fs;

use dnnshifter_portfolio::profile::Machine;

/// The extensions that the engine's kernels for networks choose by, on x86-64 and on Arm.
const FLAGS: [&str; 26] = [
    "sse4_1",
    "avx",
    "f16c",
    "fma",
    "avx2",
    "avx512f",
    "avx512dq",
    "avx512bw",
    "avx512vl",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "avx_vnni",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
    "asimd",
    "asimdhp",
    "asimddp",
    "fphp",
    "i8mm",
    "bf16",
    "sve",
    "sve2",
    "svei8mm",
    "sme",
];

/// A longer list of CPUs is cut: 64 ranges of the largest machines fit.
const LONGEST_LIST: usize = 256;

/// This machine, for an engine of this `release` that computes with so many `threads`.
pub(crate) fn machine(threads: usize, release: &str) -> Machine {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    Machine {
        cpus: cpus(&read("/proc/self/status")),
        cpu_flags: flags(&read("/proc/cpuinfo")),
        threads: u32::try_from(threads).unwrap_or(u32::MAX),
        engine: format!("onnxruntime {release}"),
    }
}

/// The CPUs of this process, by affinity and control group, from the text of `proc_pid_status(5)`.
fn cpus(status: &str) -> String {
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.unwrap_or_default().trim().chars().take(LONGEST_LIST).collect()
}

/// The flags of the first processor that count, in the order of our list, from the text of `proc_cpuinfo(5)`.
fn flags(processors: &str) -> Vec<String> {
    let found = processors.lines().find_map(|line| {
        let (field, flags) = line.split_once(':')?;
        ["flags", "Features"].contains(&field.trim()).then_some(flags)
    });
    let found: Vec<_> = found.unwrap_or_default().split_whitespace().collect();
    FLAGS.iter().filter(|flag| found.contains(flag)).map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_flags_those_are_told_that_count() {
        assert_eq!(flags("processor\t: 0\nflags\t\t: fpu avx2 sse4_1 avx\n"), ["sse4_1", "avx", "avx2"]);
        assert_eq!(flags("Features\t: fp asimd evtstrm asimddp\n"), ["asimd", "asimddp"]);
        assert!(flags("").is_empty());
    }

    #[test]
    fn the_list_of_cpus_is_that_of_the_process() {
        assert_eq!(cpus("Name:\tx\nCpus_allowed:\tf\nCpus_allowed_list:\t0-3,8\n"), "0-3,8");
        assert_eq!(cpus(""), "");
    }

    #[test]
    fn what_is_told_fits_what_kubernetes_stores() {
        assert!(FLAGS.len() <= 32 && FLAGS.iter().all(|flag| flag.len() <= 32));
    }
}
