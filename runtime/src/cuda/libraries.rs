//! Where NVIDIA's libraries are: a path variable, a toolkit, Python wheels, or the system's loader.

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use std::path::{Path, PathBuf};

/// A library that CUDA programs load when they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// As in `lib<name>.so`.
    pub name: &'static str,
    pub purpose: &'static str,
    /// How to get it.
    pub remedy: &'static str,
}

impl Wanted {
    /// What to say where it is not there.
    pub fn missing(&self) -> String {
        format!("lib{}.so is not there ({}); {}", self.name, self.purpose, self.remedy)
    }
}

pub const DRIVER: Wanted = Wanted {
    name: "cuda",
    purpose: "the GPU's driver",
    remedy: "install NVIDIA's driver (Debian: `apt install nvidia-driver`); a container needs `--gpus all`",
};
pub const NVRTC: Wanted = Wanted {
    name: "nvrtc",
    purpose: "compiles kernels; not needed once they are in the cache",
    remedy: "`pip install nvidia-cuda-nvrtc-cu12`, or install the CUDA toolkit and set CUDA_HOME, or name its directory \
             in FGC_CUDA_LIBS",
};
pub const CUBLASLT: Wanted = Wanted {
    name: "cublasLt",
    purpose: "large products, where it is faster",
    remedy: "`pip install nvidia-cublas-cu12`; fgc does without",
};
pub const CUDNN: Wanted = Wanted {
    name: "cudnn",
    purpose: "large convolutions, where it is faster",
    remedy: "`pip install nvidia-cudnn-cu12`; fgc does without",
};

/// Where a library is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    At(PathBuf),
    /// The system's loader finds it.
    System,
}

/// Looks for a library, without keeping it loaded.
pub fn find(wanted: &Wanted) -> Option<Found> {
    let found = directories().into_iter().find_map(|dir| in_directory(&dir, wanted.name));
    found.map(Found::At).or_else(|| {
        let names = [format!("lib{}.so", wanted.name), format!("lib{}.so.1", wanted.name)];
        let versions = (9..=13).rev().map(|major| format!("lib{}.so.{major}", wanted.name));
        // SAFETY: NVIDIA's libraries may be loaded and unloaded; nothing of them is called.
        names.into_iter().chain(versions).find(|name| unsafe { Library::new(name) }.is_ok()).map(|_| Found::System)
    })
}

/// Loads a library so that later loads by its bare name find it.
pub(super) fn preload(wanted: &Wanted) -> Option<Found> {
    let found = find(wanted)?;
    if let Found::At(path) = &found {
        // SAFETY: a library of NVIDIA's that the user put there for this.
        let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) }.ok()?;
        // It stays: cudarc keeps functions of it.
        std::mem::forget(library);
    }
    Some(found)
}

/// The library's file in a directory: `lib<name>.so`, else with a version.
fn in_directory(dir: &Path, name: &str) -> Option<PathBuf> {
    let plain = format!("lib{name}.so");
    let mut found: Vec<PathBuf> = std::fs::read_dir(dir)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let file = path.file_name().map(|f| f.to_string_lossy().into_owned()).unwrap_or_default();
            file.strip_prefix(&plain).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
        .collect();
    found.sort_by_key(|path| path.as_os_str().len());
    found.into_iter().next()
}

/// Directories that may hold NVIDIA's libraries, preferred ones first.
fn directories() -> Vec<PathBuf> {
    let mut dirs: Vec<PathBuf> = Vec::new();
    if let Some(list) = std::env::var_os("FGC_CUDA_LIBS") {
        for dir in std::env::split_paths(&list) {
            dirs.extend(wheels(&dir));
            dirs.push(dir);
        }
    }
    if let Some(cache) = crate::cpu::compile::cache_dir() {
        dirs.extend(wheels(&cache.join("cuda")));
    }
    for variable in ["CUDA_HOME", "CUDA_PATH"] {
        if let Some(home) = std::env::var_os(variable).map(PathBuf::from) {
            dirs.extend([home.join("lib64"), home.join("lib")]);
        }
    }
    let home = dirs::home_dir().map(|home| home.join(".local"));
    let prefixes = ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(std::env::var_os).map(PathBuf::from);
    for prefix in prefixes.chain(home).chain(["/usr/local".into(), "/usr".into()]) {
        for python in children(&prefix.join("lib"), "python3") {
            for packages in ["site-packages", "dist-packages"] {
                dirs.extend(wheels(&python.join(packages)));
            }
        }
    }
    dirs.push("/usr/local/cuda/lib64".into());
    dirs
}

/// The library directories of NVIDIA's wheels, unpacked in `packages`.
fn wheels(packages: &Path) -> Vec<PathBuf> {
    children(&packages.join("nvidia"), "").into_iter().map(|dir| dir.join("lib")).collect()
}

/// Entries whose names start so, the last first: newer versions.
fn children(dir: &Path, start: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    let named = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(start));
    let mut found: Vec<PathBuf> = named.map(|entry| entry.path()).collect();
    found.sort();
    found.reverse();
    found
}
