//! Code that only starting needed: given back once all variants are measured.
//!
//! Opening a network runs through most of the engine, an inference through little of it; what was mapped for the former would stay in the
//! process for good. The pages are marked as not used lately, so that under pressure the kernel takes them first (those that other
//! processes map as well it leaves as they are), and unmapped. What still runs is mapped again when it is reached: from the page
//! cache, or from the disk where the kernel has taken it.
#![expect(
    unsafe_code,
    reason = "loaded objects are told by pointers, and advice is given by address; argued at each use"
)]

use std::{
    ffi::{c_int, c_void},
    fs, io,
    ops::Range,
    ptr, slice,
};

use libc::{PF_W, PT_LOAD, dl_iterate_phdr, dl_phdr_info, size_t};
use rustix::mm::{Advice, madvise};

use super::memory::bytes;

/// Gives back the pages of code and constants in this process: so many bytes were resident. What the kernel does not take stays.
pub(super) fn give_back() -> io::Result<u64> {
    let fixed = fixed_segments();
    let mut bytes = 0;
    for region in unchanged(&fs::read_to_string("/proc/self/smaps")?) {
        let Range { start, end } = &region.addresses;
        if fixed.iter().any(|segment| segment.start <= *start && *end <= segment.end) {
            match region.give_back() {
                Ok(()) => bytes += region.resident_bytes,
                Err(error) => tracing::warn!(%error, ?region, "failed to give back pages of code"),
            }
        }
    }
    Ok(bytes)
}

/// Where the program and its libraries are mapped and cannot be written to, in whole pages. What is written while they are loaded, and
/// closed then, is part of a segment that can be.
fn fixed_segments() -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    // SAFETY: the function is called with the pointer that stands beside it, while this waits.
    unsafe { dl_iterate_phdr(Some(add_fixed_segments), (&raw mut found).cast()) };
    found
}

/// For `dl_iterate_phdr(3)`.
unsafe extern "C" fn add_fixed_segments(object: *mut dl_phdr_info, _: size_t, found: *mut c_void) -> c_int {
    // SAFETY: the loader gives an object that lives, with its headers, as long as this call; `found` is what `fixed_segments` gave it.
    let (object, found) = unsafe { (&*object, &mut *found.cast::<Vec<Range<usize>>>()) };
    if object.dlpi_phdr.is_null() {
        return 0;
    }
    // SAFETY: as above; so many headers lie there.
    let headers = unsafe { slice::from_raw_parts(object.dlpi_phdr, usize::from(object.dlpi_phnum)) };
    let page = rustix::param::page_size();
    for header in headers.iter().filter(|header| header.p_type == PT_LOAD && header.p_flags & PF_W == 0) {
        let start = (object.dlpi_addr as usize).wrapping_add(header.p_vaddr as usize);
        let end = start.wrapping_add(header.p_memsz as usize);
        found.push(start / page * page..end.next_multiple_of(page));
    }
    0
}

/// Addresses that a file is mapped to, as it is.
#[derive(Debug, PartialEq, Eq)]
struct Region {
    addresses: Range<usize>,
    resident_bytes: u64,
}

impl Region {
    /// Of a region within a fixed segment only.
    fn give_back(&self) -> io::Result<()> {
        let start = ptr::with_exposed_provenance_mut::<c_void>(self.addresses.start);
        let advise = |advice| {
            // SAFETY: the addresses are those of a file that is mapped to be read or executed, with no page that differs from the
            // file's ([`unchanged`]), and nothing can write to them; so whoever looks at one later finds what was there before. They
            // are still mapped to that file: they are a loaded object's ([`fixed_segments`]), and this process unloads none. Weights,
            // which come and go, are no part of one.
            unsafe { madvise(start, self.addresses.len(), advice) }
        };
        // Kernels before 5.4 know no cold pages; they do without.
        advise(Advice::LinuxCold).ok();
        Ok(advise(Advice::LinuxDontNeed)?)
    }
}

/// The regions of `/proc/PID/smaps` (`proc_pid_smaps(5)`) that are mapped from a file, cannot be written to, and never were: relocated
/// ones and those with a debugger's breakpoints have private copies of pages, in memory or on the swap, which no file would give back.
fn unchanged(smaps: &str) -> Vec<Region> {
    let mut found = Vec::new();
    let mut current = None;
    for line in smaps.lines() {
        if let Some(addresses) = addresses(line) {
            current = is_fixed_file(line).then_some(Region { addresses, resident_bytes: 0 });
        } else if let Some(resident_bytes) = bytes(line, "Rss:") {
            current = current.map(|region| Region { resident_bytes, ..region });
        } else if bytes(line, "Anonymous:").is_some_and(|bytes| bytes > 0) {
            current = None;
        } else if bytes(line, "Swap:") == Some(0) {
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

#[cfg(test)]
mod tests {
    use std::{fs::File, os::unix::fs::FileExt};

    use super::*;
    use crate::testing::GIVING_BACK;

    #[test]
    fn only_what_is_as_in_its_file_and_stays_so_is_given_back() {
        let region = |rights: &str, rest: &str, [anonymous, swap]: [u32; 2]| {
            format!(
                "7f00-8f00 {rights} 00000000 fe:00 12 {rest}\nSize: 4 kB\nRss: 8 kB\nAnonymous: {anonymous} kB\nSwap: {swap} kB\nVmFlags: rd\n"
            )
        };
        let code = || Region { addresses: 0x7f00..0x8f00, resident_bytes: 8 << 10 };
        let library = region("r-xp", "/lib/a b.so", [0, 0]);
        assert_eq!(unchanged(&library), [code()]);
        for other in [
            region("r-xp", "/lib/a.so", [4, 0]),
            region("r--p", "/lib/a.so", [0, 4]),
            region("rw-p", "/lib/a.so", [0, 0]),
            region("r--s", "/lib/a.so", [0, 0]),
            region("r-xp", "[vdso]", [0, 0]),
            region("r-xp", "", [0, 0]),
        ] {
            assert_eq!(unchanged(&other), [], "{other}");
            assert_eq!(unchanged(&[other, library.clone()].concat()), [code()]);
        }
    }

    /// In any process: somewhere in this test's code, in what it can write to, and on its stack.
    #[test]
    fn code_is_fixed_and_what_is_written_to_is_not() {
        static WRITTEN: std::sync::Mutex<u8> = std::sync::Mutex::new(0);
        let on_stack = 0_u8;
        let is_fixed = |address: usize| fixed_segments().iter().any(|segment| segment.contains(&address));
        assert!(is_fixed(code_is_fixed_and_what_is_written_to_is_not as *const () as usize));
        assert!(!is_fixed((&raw const WRITTEN).addr()) && !is_fixed((&raw const on_stack).addr()));
    }

    #[test]
    fn code_that_is_given_back_is_not_resident_until_it_runs_again() {
        let _alone = GIVING_BACK.lock();
        let here = code_that_is_given_back_is_not_resident_until_it_runs_again as *const () as usize;
        let smaps = || fs::read_to_string("/proc/self/smaps").unwrap();
        let own = || unchanged(&smaps()).into_iter().find(|region| region.addresses.contains(&here)).unwrap();
        // Reading it by the kernel brings all of it in.
        let memory = File::open("/proc/self/mem").unwrap();
        let mut code = vec![0; own().addresses.len()];
        memory.read_exact_at(&mut code, own().addresses.start as u64).unwrap();
        let before = own().resident_bytes;
        assert!(give_back().unwrap() >= before);
        // Other tests run meanwhile, and bring back what they need.
        assert!(own().resident_bytes < before, "{} of {before}", own().resident_bytes);
        let mut again = vec![0; code.len()];
        memory.read_exact_at(&mut again, own().addresses.start as u64).unwrap();
        assert!(code == again, "the code is what it was");
    }
}
