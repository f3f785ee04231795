//! Lets the program and its tests find libtorch where it was linked, without a variable in the environment. In an image
//! `LD_LIBRARY_PATH` overrides it (the entry is a RUNPATH).

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if let Ok(library) = std::env::var("DEP_TCH_LIBTORCH_LIB") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{library}");
    }
}
