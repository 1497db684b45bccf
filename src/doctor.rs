//! `fgc doctor`

use crate::problem::Problem;
use fgc_runtime::cpu::compile::cache_dir;
use fgc_runtime::cuda::libraries::{CUBLASLT, CUDNN, DRIVER, Found, NVRTC, Wanted, find};
use fgc_runtime::cuda::{gpu, nvrtc};
use std::collections::HashMap;
use std::process::Command;

/// Show what fgc can use here: the C compiler, GPUs, and the libraries they need.
///
/// What is missing is named with how to get it. Exit status 0, whatever is found.
#[derive(clap::Args)]
pub struct Args {}

pub fn main(_: Args) -> Result<(), Problem> {
    let cc = std::env::var("CC").ok().filter(|cc| !cc.trim().is_empty()).unwrap_or_else(|| "cc".into());
    let words: Vec<&str> = cc.split_whitespace().collect();
    let version = Command::new(words[0]).args(&words[1..]).arg("--version").output().ok();
    let version = version.filter(|output| output.status.success());
    match version.map(|output| String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_string()) {
        Some(line) => row("C compiler", &format!("`{cc}`: {line}")),
        None => row("C compiler", &format!("`{cc}` is not there; `apt install gcc`, or name one in CC")),
    }
    match cache_dir() {
        Some(dir) => row("cache", &dir.display().to_string()),
        None => row("cache", "there is no cache directory; set FGC_CACHE_DIR"),
    }
    match gpu::list() {
        Ok(gpus) => {
            gpus.iter().enumerate().for_each(|(i, (name, arch))| row(&format!("GPU {i}"), &format!("{name}, {arch}")))
        }
        Err(e) => row("GPU", &e.to_string()),
    }
    library("driver", &DRIVER, None);
    let version = nvrtc::version().ok().map(|(major, minor)| format!("{major}.{minor}"));
    library("NVRTC", &NVRTC, version);
    // Where there is a GPU, whether they start.
    let opened = gpu::list().and_then(|_| gpu::Gpu::open(0));
    if let (Ok(_), Err(error)) = (gpu::list(), &opened) {
        row("GPU 0", &error.to_string());
    }
    let started: HashMap<_, _> = opened.map(|gpu| gpu.libraries()).into_iter().flatten().collect();
    for (name, wanted) in [("cuBLASLt", &CUBLASLT), ("cuDNN", &CUDNN)] {
        match started.get(name) {
            Some(Err(why)) => row(name, why),
            Some(Ok(version)) => library(name, wanted, Some(version.trim_start_matches(name).trim().into())),
            None => library(name, wanted, None),
        }
    }
    Ok(())
}

fn row(name: &str, text: &str) {
    println!("{name:<11} {text}");
}

fn library(name: &str, wanted: &Wanted, version: Option<String>) {
    let version = version.map_or(String::new(), |version| format!("{version}, "));
    let text = match find(wanted) {
        Some(Found::At(path)) => format!("{version}{} ({})", path.display(), wanted.purpose),
        Some(Found::System) => format!("{version}found by the system's loader ({})", wanted.purpose),
        None => wanted.missing(),
    };
    row(name, &text);
}
