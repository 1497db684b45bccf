//! cuBLASLt, which does large products.

use super::driver::{Address, CudaError, Operands, Ways};
use super::libraries::{self, CUBLASLT};
use super::vendor::{Owned, WORKSPACE};
use cudarc::cublaslt::{result, sys};
use fgc_program::cuda::{ALIGNED, Factor, Finish, Gemm, Matrix, Precision};
use std::ffi::c_void;

/// Ways to do a product that are looked at, those that the library holds to be fastest.
const WAYS: usize = 4;
/// The oldest version whose interface this is.
const OLDEST: usize = 120_000;

/// The library and the products it is prepared for.
pub(super) struct Lt {
    handle: sys::cublasLtHandle_t,
    /// None: what the library cannot describe.
    products: Vec<Option<Product>>,
}

type Description = Owned<sys::cublasLtMatmulDesc_t>;
type Layout = Owned<sys::cublasLtMatrixLayout_t>;
type Preference = Owned<sys::cublasLtMatmulPreference_t>;

/// One product: what it multiplies, and ways to do so.
struct Product {
    description: Description,
    /// Of the left and right operand and of the result, as the library sees them: column by column.
    layouts: [Layout; 3],
    ways: Vec<sys::cublasLtMatmulHeuristicResult_t>,
    /// Whether its left operand is our b: a result that lies row by row is the transpose of one column by column.
    swapped: bool,
    finish: Finish,
}

fn failed(action: &'static str) -> impl Fn(result::CublasError) -> CudaError {
    move |error| CudaError::Failed { action, what: told(error) }
}

/// In the library's words.
fn told(error: result::CublasError) -> String {
    format!("{:?}", error.0)
}

impl Lt {
    /// The library, if it is here, or why it is of no use; the GPU's context is current.
    pub fn open() -> Result<Lt, String> {
        // SAFETY: loads the library or does not.
        if libraries::preload(&CUBLASLT).is_none() || !unsafe { sys::is_culib_present() } {
            return Err(CUBLASLT.missing());
        }
        // SAFETY: the library is loaded; the function takes nothing.
        let version = unsafe { sys::cublasLtGetVersion() };
        if version < OLDEST {
            return Err(format!("cuBLASLt {version} is older than {OLDEST}"));
        }
        let handle = result::create_handle().map_err(|e| format!("cuBLASLt {version} does not start: {}", told(e)))?;
        Ok(Lt { handle, products: Vec::new() })
    }

    pub fn name(&self) -> String {
        // SAFETY: the library is loaded; the function takes nothing.
        format!("cuBLASLt {}", unsafe { sys::cublasLtGetVersion() })
    }

    /// Prepares a product; its number, and the ways to do it.
    pub fn prepare(&mut self, gemm: &Gemm) -> (usize, Ways) {
        let described = Product::new(gemm);
        let ways = match described.and_then(|mut product| product.find_ways(self.handle).map(|()| product)) {
            Ok(product) => {
                let ways = product.ways.iter().map(fingerprint).collect();
                self.products.push(Some(product));
                Ok(ways)
            }
            Err(error) => {
                self.products.push(None);
                Err(told(error))
            }
        };
        (self.products.len() - 1, ways)
    }

    /// Puts a prepared product on a stream.
    ///
    /// # Safety
    /// The addresses are of memory of the context that is current, as long as the product's matrices, its bias as a row
    /// of its result; `workspace` is [`WORKSPACE`] bytes that nothing else uses.
    pub unsafe fn run(
        &self,
        gemm: usize,
        way: usize,
        operands: Operands,
        workspace: Address,
        stream: *mut c_void,
    ) -> Result<(), CudaError> {
        let missing = || CudaError::Failed { action: "multiply", what: "the product is not prepared".into() };
        let product = self.products.get(gemm).and_then(Option::as_ref).ok_or_else(missing)?;
        let way = product.ways.get(way).ok_or_else(missing)?;
        let Operands { left: a, right: b, result: c, matrix, bias } = operands;
        let finish = product.finish;
        if [matrix.is_some(), bias.is_some()] != [finish.matrix.is_some(), finish.bias] {
            return Err(missing());
        }
        let (left, right) = if product.swapped { (b, a) } else { (a, b) };
        let (scale, share, before) = (finish.scale.get(), finish.matrix.map_or(0.0, Factor::get), matrix.unwrap_or(c));
        if let Some(bias) = bias {
            let attribute = sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_BIAS_POINTER;
            let note = |at, size| {
                // SAFETY: made by this value; `at` is of the attribute's size.
                unsafe { result::set_matmul_desc_attribute(product.description.get(), attribute, at, size) }
            };
            // SAFETY: a pointer, of 64 bits; calls take it over when they are made.
            unsafe { set(&bias.0, note) }.map_err(failed("multiply"))?;
        }
        let [left_layout, right_layout, layout] = product.layouts.each_ref().map(Layout::get);
        let pointer = |at: Address| at.0 as *mut c_void;
        // SAFETY: descriptions made for each other; numbers that live until the call returns; the caller's promise.
        unsafe {
            result::matmul(
                self.handle,
                product.description.get(),
                (&raw const scale).cast(),
                (&raw const share).cast(),
                pointer(left),
                left_layout,
                pointer(right),
                right_layout,
                pointer(before),
                layout,
                pointer(c),
                layout,
                &way.algo,
                pointer(workspace),
                WORKSPACE,
                stream.cast(),
            )
        }
        .map_err(failed("multiply"))
    }
}

impl Drop for Lt {
    fn drop(&mut self) {
        self.products.clear();
        // SAFETY: made by this value, and given back once; the streams it was used on have been waited for.
        _ = unsafe { result::destroy_handle(self.handle) };
    }
}

impl Product {
    fn new(gemm: &Gemm) -> Result<Product, result::CublasError> {
        use sys::cublasLtMatmulDescAttributes_t::{CUBLASLT_MATMUL_DESC_TRANSA, CUBLASLT_MATMUL_DESC_TRANSB};
        let compute = match gemm.precision {
            Precision::Tf32 => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
            Precision::F32 | Precision::Bf16 => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
        };
        let Turned { swapped, left, right, result } = Turned::new(gemm);
        let made = result::create_matmul_desc(compute, sys::cudaDataType::CUDA_R_32F)?;
        // SAFETY: made above; the owner calls it once.
        let owned = Owned::new(made, |description| _ = unsafe { result::destroy_matmul_desc(description) });
        let description = owned.get();
        for (attribute, side) in [(CUBLASLT_MATMUL_DESC_TRANSA, &left), (CUBLASLT_MATMUL_DESC_TRANSB, &right)] {
            // CUBLAS_OP_T and CUBLAS_OP_N.
            let operation = i32::from(side.transposed);
            // SAFETY: made above; the attribute is an enumeration of 32 bits.
            unsafe { set(&operation, |at, size| result::set_matmul_desc_attribute(description, attribute, at, size)) }?;
        }
        let layouts = [layout(&left, gemm.batch)?, layout(&right, gemm.batch)?, layout(&result, gemm.batch)?];
        use sys::cublasLtMatmulDescAttributes_t as Attribute;
        // Of a matrix that lies by rows columns are the library's rows, which its vectors are as long as. Ways are asked for
        // before it is known where; anywhere that is aligned.
        let anywhere = ALIGNED as u64;
        // SAFETY: made above; an enumeration of 32 bits, a type of 32 bits, a pointer that nothing follows.
        unsafe {
            let note = |attribute, at, size| result::set_matmul_desc_attribute(description, attribute, at, size);
            if let Some(epilogue) = epilogue(gemm.finish) {
                set(&epilogue, |at, size| note(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, at, size))?;
            }
            if gemm.finish.bias {
                set(&of(&gemm.c), |at, size| note(Attribute::CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, at, size))?;
                set(&anywhere, |at, size| note(Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, at, size))?;
            }
        }
        Ok(Product { description: owned, layouts, ways: Vec::new(), swapped, finish: gemm.finish })
    }

    /// Asks the library for ways to do it, whose sums are in the same order each time.
    fn find_ways(&mut self, handle: sys::cublasLtHandle_t) -> Result<(), result::CublasError> {
        let preference = preference()?;
        let [left, right, result_layout] = self.layouts.each_ref().map(Layout::get);
        let mut found = [const { std::mem::MaybeUninit::<sys::cublasLtMatmulHeuristicResult_t>::zeroed() }; WAYS];
        let mut count = 0;
        // SAFETY: made above; there is room for so many results.
        let asked = unsafe {
            sys::cublasLtMatmulAlgoGetHeuristic(
                handle,
                self.description.get(),
                left,
                right,
                result_layout,
                result_layout,
                preference.get(),
                WAYS as i32,
                found.as_mut_ptr().cast(),
                &mut count,
            )
        };
        // That there is no way is told as an error, too.
        asked.result()?;
        let filled = found.iter().take(usize::try_from(count).unwrap_or(0));
        // SAFETY: the library has filled so many.
        let filled = filled.map(|one| unsafe { one.assume_init_read() });
        self.ways = filled.filter(|way| way.state.result().is_ok()).collect();
        Ok(())
    }
}

/// What the library is to do with elements, and what it adds; scales and matrices are no part of it.
fn epilogue(finish: Finish) -> Option<sys::cublasLtEpilogue_t> {
    match (finish.gelu, finish.bias) {
        (false, false) => None,
        (false, true) => Some(sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS),
        (true, false) => Some(sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_GELU),
        (true, true) => Some(sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_GELU_BIAS),
    }
}

/// What ways must be like: within the memory, for matrices that are aligned, with sums in a fixed order.
fn preference() -> Result<Preference, result::CublasError> {
    use sys::cublasLtMatmulPreferenceAttributes_t as Attribute;
    let made = result::create_matmul_pref()?;
    // SAFETY: made above; the owner calls it once.
    let preference = Owned::new(made, |preference| _ = unsafe { result::destroy_matmul_pref(preference) });
    let workspace = WORKSPACE as u64;
    let reduction = sys::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE as u32;
    let aligned = ALIGNED as u32;
    let sides = [
        Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
        Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
        Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
    ];
    // SAFETY: made above; memory is a number of 64 bits, the others are of 32.
    unsafe {
        let note = |attribute: Attribute, at: *const c_void, size: usize| {
            result::set_matmul_pref_attribute(preference.get(), attribute, at, size)
        };
        set(&workspace, |at, size| note(Attribute::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, at, size))?;
        set(&reduction, |at, size| note(Attribute::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, at, size))?;
        sides.into_iter().try_for_each(|side| set(&aligned, |at, size| note(side, at, size)))?;
    }
    Ok(preference)
}

/// All that says how a way multiplies: numbers that are the same for each process, as long as the version of the library is.
fn fingerprint(way: &sys::cublasLtMatmulHeuristicResult_t) -> String {
    way.algo.data.iter().map(|word| format!("{word:x}")).collect::<Vec<_>>().join("-")
}

/// A product of matrices that lie column by column, as the library multiplies: result = op(left)·op(right).
struct Turned<'a> {
    swapped: bool,
    left: Side<'a>,
    right: Side<'a>,
    result: Side<'a>,
}

/// A matrix as it lies, column by column, `stride` elements from one to the next.
struct Side<'a> {
    matrix: &'a Matrix,
    rows: usize,
    columns: usize,
    transposed: bool,
}

impl<'a> Turned<'a> {
    fn new(gemm: &'a Gemm) -> Turned<'a> {
        let swapped = !gemm.c.by_columns;
        let (left, right, rows, columns) =
            if swapped { (&gemm.b, &gemm.a, gemm.n, gemm.m) } else { (&gemm.a, &gemm.b, gemm.m, gemm.n) };
        let side = |matrix: &'a Matrix, rows: usize, columns: usize| {
            // What lies as the result does is taken as it is.
            let transposed = matrix.by_columns != gemm.c.by_columns;
            let (rows, columns) = if transposed { (columns, rows) } else { (rows, columns) };
            Side { matrix, rows, columns, transposed }
        };
        Turned {
            swapped,
            left: side(left, rows, gemm.k),
            right: side(right, gemm.k, columns),
            result: side(&gemm.c, rows, columns),
        }
    }
}

fn of(matrix: &Matrix) -> sys::cudaDataType {
    if matrix.bf16 { sys::cudaDataType::CUDA_R_16BF } else { sys::cudaDataType::CUDA_R_32F }
}

fn layout(side: &Side, batch: usize) -> Result<Layout, result::CublasError> {
    use sys::cublasLtMatrixLayoutAttribute_t as Attribute;
    let matrix = side.matrix;
    let made = result::create_matrix_layout(of(matrix), side.rows as u64, side.columns as u64, matrix.stride as i64)?;
    // SAFETY: made above; the owner calls it once.
    let layout = Owned::new(made, |layout| _ = unsafe { result::destroy_matrix_layout(layout) });
    if batch > 1 {
        let (count, stride) = (batch as i32, matrix.batch as i64);
        // SAFETY: made above; the attributes are of 32 and of 64 bits.
        unsafe {
            let note = |attribute: Attribute, at: *const c_void, size: usize| {
                result::set_matrix_layout_attribute(layout.get(), attribute, at, size)
            };
            set(&count, |at, size| note(Attribute::CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, at, size))?;
            set(&stride, |at, size| note(Attribute::CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, at, size))?;
        }
    }
    Ok(layout)
}

/// Gives an attribute's bytes to `note`.
///
/// # Safety
/// `T` is the attribute's type.
unsafe fn set<T, R>(value: &T, note: impl FnOnce(*const c_void, usize) -> R) -> R {
    note((value as *const T).cast(), size_of::<T>())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A product of each order of its three matrices, with gaps between rows.
    fn gemms() -> Vec<Gemm> {
        let (m, n, k) = (3, 4, 5);
        let all = [Precision::F32, Precision::Tf32, Precision::Bf16].into_iter().flat_map(|precision| {
            (0..8).map(move |orders| {
                let matrix = |bit: usize, rows: usize, columns: usize| {
                    let by_columns = orders & bit != 0;
                    let stride = if by_columns { rows } else { columns } + bit;
                    Matrix { by_columns, stride, batch: 64, bf16: precision == Precision::Bf16 && bit != 4 }
                };
                let (a, b, c) = (matrix(1, m, k), matrix(2, k, n), matrix(4, m, n));
                let finish = Finish {
                    scale: 0.5.into(),
                    matrix: (orders % 2 == 0).then_some(2.0.into()),
                    bias: !c.by_columns,
                    gelu: orders / 2 % 2 == 0,
                };
                Gemm { m, n, k, batch: 1 + orders % 3, precision, a, b, c, finish }
            })
        });
        all.collect()
    }

    /// What the library does with what it is told is the product.
    #[test]
    fn matrices_turned_give_the_same_product() {
        let numbers: Vec<f64> = (0..64).map(|i| f64::from(i * i % 17) - 8.0).collect();
        let ours = |matrix: &Matrix, row: usize, column: usize| {
            if matrix.by_columns { column * matrix.stride + row } else { row * matrix.stride + column }
        };
        for gemm in gemms() {
            let turned = Turned::new(&gemm);
            let op = |side: &Side, row: usize, column: usize| {
                let (row, column) = if side.transposed { (column, row) } else { (row, column) };
                assert!(row < side.rows && column < side.columns);
                numbers[column * side.matrix.stride + row]
            };
            let mut theirs = [0.0; 64];
            for row in 0..turned.result.rows {
                for column in 0..turned.result.columns {
                    theirs[column * turned.result.matrix.stride + row] =
                        (0..gemm.k).map(|k| op(&turned.left, row, k) * op(&turned.right, k, column)).sum();
                }
            }
            for m in 0..gemm.m {
                for n in 0..gemm.n {
                    let term = |k| numbers[ours(&gemm.a, m, k)] * numbers[ours(&gemm.b, k, n)];
                    assert_eq!(theirs[ours(&gemm.c, m, n)], (0..gemm.k).map(term).sum::<f64>(), "{gemm:?}");
                }
            }
        }
    }

    /// Needs the library (`pip install nvidia-cublas-cu12`), no GPU; nothing is checked where it is not.
    #[test]
    fn the_library_accepts_descriptions() {
        // SAFETY: loads the library or does not.
        if libraries::preload(&CUBLASLT).is_none() || !unsafe { sys::is_culib_present() } {
            eprintln!("not checked: there is no cuBLASLt");
            return;
        }
        for gemm in gemms() {
            Product::new(&gemm).unwrap_or_else(|e| panic!("{gemm:?}: {e:?}"));
            preference().unwrap();
        }
    }
}
