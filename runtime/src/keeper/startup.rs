//! Code that only starting needed: given back once all variants are measured.
//!
//! Opening a network runs through most of the engine, an inference through little of it; what was mapped for the former would stay in the
//! process for good. Measured with the smallest variant of `make bench-serving`: 14 of the 22 MB of ONNX Runtime's code were resident after
//! the start, and 4 MB after the next inference. The pages are marked as not used lately, so that under pressure the kernel takes them
//! first, and unmapped. They stay in the page cache, from where what still runs comes back within a millisecond, all together.
#![expect(unsafe_code, reason = "advice on memory is given by address; argued at its only use")]

use std::{ffi::c_void, fs, ops::Range, ptr};

use rustix::mm::{Advice, madvise};

/// Gives back the pages of code and constants in this process: so many bytes were resident.
pub(super) fn give_back() -> u64 {
    let regions = fs::read_to_string("/proc/self/smaps").map(|smaps| unchanged(&smaps)).unwrap_or_default();
    regions.iter().filter(|region| region.give_back()).map(|region| region.resident_bytes).sum()
}

/// Addresses that a file is mapped to, as it is.
#[derive(Debug, PartialEq, Eq)]
struct Region {
    addresses: Range<usize>,
    resident_bytes: u64,
}

impl Region {
    fn give_back(&self) -> bool {
        let start = ptr::with_exposed_provenance_mut::<c_void>(self.addresses.start);
        let advise = |advice| {
            // SAFETY: the addresses are those of a file mapped to be read or executed, with no page that differs from the file's
            // ([`unchanged`]), and nothing can write to them; so whoever looks at one later finds what was there before. They are
            // still mapped to that file: programs and libraries are mapped when they are loaded, and this process unloads none.
            unsafe { madvise(start, self.addresses.len(), advice) }
        };
        // Kernels before 5.4 know no cold pages; they do without.
        advise(Advice::LinuxCold).ok();
        advise(Advice::LinuxDontNeed).is_ok()
    }
}

/// The regions of `/proc/PID/smaps` (`proc_pid_smaps(5)`) that are mapped from a file, cannot be written to, and never were: relocated
/// ones and those with a debugger's breakpoints have private copies of pages, which no file would give back.
fn unchanged(smaps: &str) -> Vec<Region> {
    let mut found = Vec::new();
    let mut current = None;
    for line in smaps.lines() {
        if let Some(addresses) = addresses(line) {
            current = is_fixed_file(line).then_some(Region { addresses, resident_bytes: 0 });
        } else if let Some(resident_bytes) = bytes(line, "Rss:") {
            current = current.map(|region| Region { resident_bytes, ..region });
        } else if bytes(line, "Anonymous:") == Some(0) {
            found.extend(current.take());
        }
    }
    found
}

/// The addresses of the region that `line` begins; `None` for other lines.
fn addresses(line: &str) -> Option<Range<usize>> {
    let (start, end) = line.split(' ').next()?.split_once('-')?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    Some(address(start)?..address(end)?)
}

/// Whether the region that `line` begins is a file's, private, and can only be read or executed.
fn is_fixed_file(line: &str) -> bool {
    let mut words = line.split_ascii_whitespace().skip(1);
    let is_fixed = words.next().is_some_and(|rights| matches!(rights, "r--p" | "r-xp"));
    // After the rights: offset, device, inode, and the path where there is one.
    is_fixed && words.nth(3).is_some_and(|path| path.starts_with('/'))
}

fn bytes(line: &str, name: &str) -> Option<u64> {
    line.strip_prefix(name)?.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::unix::fs::FileExt};

    use super::*;

    #[test]
    fn only_what_is_as_in_its_file_and_stays_so_is_given_back() {
        let region = |rights: &str, rest: &str, anonymous: u32| {
            format!(
                "7f00-8f00 {rights} 00000000 fe:00 12 {rest}\nSize: 4 kB\nRss: 8 kB\nAnonymous: {anonymous} kB\nVmFlags: rd\n"
            )
        };
        let code = Region { addresses: 0x7f00..0x8f00, resident_bytes: 8 << 10 };
        assert_eq!(unchanged(&region("r-xp", "/lib/a b.so", 0)), [code]);
        for other in [
            region("r-xp", "/lib/a.so", 4),
            region("rw-p", "/lib/a.so", 0),
            region("r--s", "/lib/a.so", 0),
            region("r-xp", "[vdso]", 0),
            region("r-xp", "", 0),
        ] {
            assert_eq!(unchanged(&other), [], "{other}");
        }
    }

    #[test]
    fn code_that_is_given_back_is_not_resident_until_it_runs_again() {
        let here = code_that_is_given_back_is_not_resident_until_it_runs_again as *const () as usize;
        let smaps = || fs::read_to_string("/proc/self/smaps").unwrap();
        let own = || unchanged(&smaps()).into_iter().find(|region| region.addresses.contains(&here)).unwrap();
        // Reading it by the kernel brings all of it in.
        let memory = File::open("/proc/self/mem").unwrap();
        let mut code = vec![0; own().addresses.len()];
        memory.read_exact_at(&mut code, own().addresses.start as u64).unwrap();
        let before = own().resident_bytes;
        assert!(give_back() >= before);
        // Other tests run meanwhile, and bring back what they need.
        assert!(own().resident_bytes < before, "{} of {before}", own().resident_bytes);
        let mut again = vec![0; code.len()];
        memory.read_exact_at(&mut again, own().addresses.start as u64).unwrap();
        assert!(code == again, "the code is what it was");
    }
}
