//! The release of ONNX Runtime, by the library's own word (`OrtApiBase::GetVersionString`), which `ort` reads but does not give.
//!
//! It takes a foreign call. Why that is sound: the library is the one that `ort` has loaded and called the same function of, so
//! that loading it again runs no code of it; its symbol has had this type since the first release (`onnxruntime_c_api.h`); and
//! the text that it gives is a constant of the library, which is copied while it is loaded.
#![expect(unsafe_code, reason = "a foreign function is called; argued above")]

use std::ffi::CStr;

use libloading::Library;
use ort::sys::OrtApiBase;

/// The one function that the library exports.
type GetApiBase = unsafe extern "C" fn() -> *const OrtApiBase;

/// The release that `library`, which is loaded already, says it is: as `1.31.1`.
pub(super) fn release_of(library: &str) -> Option<String> {
    // SAFETY: it is loaded already, so none of its code runs.
    let library = unsafe { Library::new(library) }.ok()?;
    // SAFETY: the symbol has this type.
    let base = unsafe { library.get::<GetApiBase>(b"OrtGetApiBase") }.ok()?;
    // SAFETY: it gives a constant of the library, or null.
    let base = unsafe { base().as_ref() }?;
    // SAFETY: it gives a constant text that ends with zero.
    let release = unsafe { CStr::from_ptr((base.GetVersionString)()) };
    release.to_str().ok().map(ToOwned::to_owned)
}
