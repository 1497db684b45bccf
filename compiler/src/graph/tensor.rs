//! Dense row-major arrays for the reference evaluator.

use fgc_program::{DType, Scalar};

#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub shape: Vec<usize>,
    pub data: Data,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    Bool(Vec<bool>),
    I64(Vec<i64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
}

/// Runs `$body` with `$v` bound to the elements of whichever type.
macro_rules! each_type {
    ($data:expr, $v:ident => $body:expr) => {
        match $data {
            Data::Bool($v) => Data::Bool($body),
            Data::I64($v) => Data::I64($body),
            Data::F32($v) => Data::F32($body),
            Data::F64($v) => Data::F64($body),
        }
    };
}

impl Tensor {
    pub fn f64(shape: &[usize], values: Vec<f64>) -> Tensor {
        Tensor::new(shape, Data::F64(values))
    }

    pub fn f32(shape: &[usize], values: Vec<f32>) -> Tensor {
        Tensor::new(shape, Data::F32(values))
    }

    pub fn new(shape: &[usize], data: Data) -> Tensor {
        assert_eq!(data.len(), shape.iter().product::<usize>(), "elements of a tensor of shape {shape:?}");
        Tensor { shape: shape.into(), data }
    }

    pub fn dtype(&self) -> DType {
        self.data.dtype()
    }

    /// Every element as f64.
    pub fn to_f64(&self) -> Vec<f64> {
        (0..self.data.len()).map(|i| self.data.at(i).as_f64()).collect()
    }
}

impl Data {
    pub fn len(&self) -> usize {
        match self {
            Data::Bool(v) => v.len(),
            Data::I64(v) => v.len(),
            Data::F32(v) => v.len(),
            Data::F64(v) => v.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn dtype(&self) -> DType {
        match self {
            Data::Bool(_) => DType::Bool,
            Data::I64(_) => DType::I64,
            Data::F32(_) => DType::F32,
            Data::F64(_) => DType::F64,
        }
    }

    pub fn at(&self, i: usize) -> Scalar {
        match self {
            Data::Bool(v) => Scalar::Bool(v[i]),
            Data::I64(v) => Scalar::I64(v[i]),
            Data::F32(v) => Scalar::F32(v[i]),
            Data::F64(v) => Scalar::F64(v[i]),
        }
    }

    pub fn filled(value: Scalar, len: usize) -> Data {
        match value {
            Scalar::Bool(x) => Data::Bool(vec![x; len]),
            Scalar::I64(x) => Data::I64(vec![x; len]),
            Scalar::F32(x) => Data::F32(vec![x; len]),
            Scalar::F64(x) => Data::F64(vec![x; len]),
        }
    }

    /// Scalars of `dtype`, in order.
    pub fn collect(dtype: DType, scalars: impl Iterator<Item = Scalar>) -> Data {
        let mut data = Data::filled(Scalar::new(dtype, 0.0), 0);
        for scalar in scalars {
            match (&mut data, scalar) {
                (Data::Bool(v), Scalar::Bool(x)) => v.push(x),
                (Data::I64(v), Scalar::I64(x)) => v.push(x),
                (Data::F32(v), Scalar::F32(x)) => v.push(x),
                (Data::F64(v), Scalar::F64(x)) => v.push(x),
                (data, x) => panic!("a {} among {}", x.dtype(), data.dtype()),
            }
        }
        data
    }

    /// Element `at[i]` for every i.
    pub fn pick(&self, at: &[usize]) -> Data {
        each_type!(self, v => at.iter().map(|&i| v[i]).collect())
    }

    /// Writes element i of `part`, which has the same dtype, to position `at[i]`.
    pub fn place(&mut self, part: &Data, at: &[usize]) {
        match (self, part) {
            (Data::Bool(to), Data::Bool(from)) => at.iter().zip(from).for_each(|(&i, &x)| to[i] = x),
            (Data::I64(to), Data::I64(from)) => at.iter().zip(from).for_each(|(&i, &x)| to[i] = x),
            (Data::F32(to), Data::F32(from)) => at.iter().zip(from).for_each(|(&i, &x)| to[i] = x),
            (Data::F64(to), Data::F64(from)) => at.iter().zip(from).for_each(|(&i, &x)| to[i] = x),
            (to, from) => panic!("{} into {}", from.dtype(), to.dtype()),
        }
    }
}

/// Row-major strides.
pub fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i] * shape[i];
    }
    strides
}

/// `offset + Σ index·stride` for every index of `shape` in row-major order.
pub fn positions(shape: &[usize], strides: &[usize], offset: usize) -> Vec<usize> {
    let mut all = vec![offset];
    for (&extent, &stride) in shape.iter().zip(strides) {
        all = all.iter().flat_map(|&base| (0..extent).map(move |i| base + i * stride)).collect();
    }
    all
}
