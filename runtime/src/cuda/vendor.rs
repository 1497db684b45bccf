//! NVIDIA's libraries as one: products by cuBLASLt, convolutions by cuDNN, whichever is here.

use super::dnn::Dnn;
use super::driver::{Address, CudaError, Operands};
use super::lt::Lt;
use fgc_program::cuda::Task;
use std::ffi::c_void;

/// Bytes of memory that a product or a convolution may use while it runs.
pub(super) const WORKSPACE: usize = 128 << 20;

/// The libraries, and who does which task.
pub(super) struct Libraries {
    lt: Option<Lt>,
    dnn: Option<Dnn>,
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
        let (lt, dnn) = (Lt::open(), Dnn::open(stream));
        (lt.is_some() || dnn.is_some()).then_some(Libraries { lt, dnn, stream, tasks: Vec::new() })
    }

    /// With their versions.
    pub fn name(&self) -> String {
        let names = [self.lt.as_ref().map(Lt::name), self.dnn.as_ref().map(Dnn::name)];
        names.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// Prepares tasks, which are numbered in this order; for each the number of ways to do it.
    pub fn prepare(&mut self, tasks: &[Task]) -> Vec<usize> {
        let prepared = tasks.iter().map(|task| {
            let (place, ways) = match task {
                Task::Gemm(gemm) => match self.lt.as_mut().map(|lt| lt.prepare(gemm)) {
                    Some((number, ways)) => (Some(Place::Product(number)), ways),
                    None => (None, 0),
                },
                Task::Filtering(filtering) => match self.dnn.as_mut().map(|dnn| dnn.prepare(filtering)) {
                    Some((number, ways)) => (Some(Place::Convolution(number)), ways),
                    None => (None, 0),
                },
            };
            self.tasks.push(place);
            ways
        });
        prepared.collect()
    }

    /// Puts a prepared task on the stream.
    ///
    /// # Safety
    /// The addresses are of memory of the context that is current, as long as the task's operands; `workspace` is
    /// [`WORKSPACE`] bytes that nothing else uses meanwhile.
    pub unsafe fn run(&self, task: usize, way: usize, operands: Operands, workspace: Address) -> Result<(), CudaError> {
        match (self.tasks.get(task).copied().flatten(), &self.lt, &self.dnn) {
            // SAFETY: the caller's promise.
            (Some(Place::Product(number)), Some(lt), _) => unsafe {
                lt.run(number, way, operands, workspace, self.stream)
            },
            // SAFETY: the caller's promise.
            (Some(Place::Convolution(number)), _, Some(dnn)) => unsafe { dnn.run(number, way, operands, workspace) },
            _ => Err(CudaError::Failed { action: "multiply", what: "no library is prepared for it".into() }),
        }
    }
}
