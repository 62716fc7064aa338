//! Packs the OpenAPI document, which would be a fiftieth of the binary otherwise.

#![allow(clippy::print_stdout, reason = "cargo reads it")]

use std::error::Error;
use std::path::Path;

const DOCUMENT: &str = "../../docs/openapi.json";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={DOCUMENT}");
    let document = std::fs::read(DOCUMENT)?;
    let packed = miniz_oxide::deflate::compress_to_vec(&document, 9);
    let to = std::env::var_os("OUT_DIR").ok_or("expected cargo to set OUT_DIR, got nothing")?;
    Ok(std::fs::write(Path::new(&to).join("openapi.deflate"), packed)?)
}
