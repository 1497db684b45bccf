//! NVIDIA's libraries as one: products by cuBLASLt, convolutions by cuDNN, whichever is here.

use super::dnn::Dnn;
use super::driver::{Address, CudaError, Operands, Ways};
use super::lt::Lt;
use fgc_program::cuda::Task;
use std::ffi::c_void;

/// Bytes of memory that a product or a convolution may use while it runs.
pub(super) const WORKSPACE: usize = 128 << 20;

/// What a library has made, given back once.
pub(super) struct Owned<T: Copy>(T, fn(T));

impl<T: Copy> Owned<T> {
    /// `end` gives it back; that this fails is not told.
    pub fn new(made: T, end: fn(T)) -> Owned<T> {
        Owned(made, end)
    }

    /// As long as this value lives.
    pub fn get(&self) -> T {
        self.0
    }
}

impl<T: Copy> Drop for Owned<T> {
    fn drop(&mut self) {
        (self.1)(self.0);
    }
}

/// The libraries, and who does which task; or why one is not here.
pub(super) struct Libraries {
    lt: Result<Lt, String>,
    dnn: Result<Dnn, String>,
    stream: *mut c_void,
    /// For each task its number at its library.
    tasks: Vec<Option<Place>>,
}

#[derive(Clone, Copy)]
enum Place {
    Product(usize),
    Convolution(usize),
}

impl Libraries {
    /// Those that are here, to run on a stream of the context that is current. `FGC_LIBRARIES=0` does without.
    pub fn open(stream: *mut c_void) -> Option<Libraries> {
        if std::env::var_os("FGC_LIBRARIES").is_some_and(|value| value == "0") {
            return None;
        }
        Some(Libraries { lt: Lt::open(), dnn: Dnn::open(stream), stream, tasks: Vec::new() })
    }

    /// Whether there is any.
    pub fn is_any(&self) -> bool {
        self.lt.is_ok() || self.dnn.is_ok()
    }

    /// With their versions.
    pub fn name(&self) -> String {
        let names = [self.lt.as_ref().map(Lt::name), self.dnn.as_ref().map(Dnn::name)];
        names.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// Each library's version, or why it is not used.
    pub fn found(&self) -> [(&'static str, Result<String, String>); 2] {
        [("cuBLASLt", found(&self.lt, Lt::name)), ("cuDNN", found(&self.dnn, Dnn::name))]
    }

    /// Prepares tasks, which are numbered in this order; for each the ways to do it.
    pub fn prepare(&mut self, tasks: &[Task]) -> Vec<Ways> {
        let prepared = tasks.iter().map(|task| {
            let prepared = match task {
                Task::Gemm(gemm) => {
                    self.lt.as_mut().map(|lt| lt.prepare(gemm)).map(|(number, ways)| (Place::Product(number), ways))
                }
                Task::Filtering(filtering) => {
                    let prepared = self.dnn.as_mut().map(|dnn| dnn.prepare(filtering));
                    prepared.map(|(number, ways)| (Place::Convolution(number), ways))
                }
            };
            let (place, ways) = match prepared {
                Ok((place, ways)) => (Some(place), ways),
                Err(why) => (None, Err(why.clone())),
            };
            self.tasks.push(place);
            ways
        });
        prepared.collect()
    }

    /// Puts a prepared task on the stream.
    ///
    /// # Safety
    /// The addresses are of memory of the context that is current, as long as the task's operands and what it adds;
    /// `workspace` is [`WORKSPACE`] bytes that nothing else uses meanwhile.
    pub unsafe fn run(&self, task: usize, way: usize, operands: Operands, workspace: Address) -> Result<(), CudaError> {
        match (self.tasks.get(task).copied().flatten(), &self.lt, &self.dnn) {
            // SAFETY: the caller's promise.
            (Some(Place::Product(number)), Ok(lt), _) => unsafe {
                lt.run(number, way, operands, workspace, self.stream)
            },
            // SAFETY: the caller's promise.
            (Some(Place::Convolution(number)), _, Ok(dnn)) => unsafe { dnn.run(number, way, operands, workspace) },
            _ => Err(CudaError::Failed { action: "multiply", what: "no library is prepared for it".into() }),
        }
    }
}

fn found<T>(library: &Result<T, String>, name: fn(&T) -> String) -> Result<String, String> {
    library.as_ref().map(name).map_err(String::clone)
}
