//! Builds a graph: operations one after the other, constants, inputs and outputs.

use half::f16;
use half::slice::HalfFloatSliceExt;
use ueo::tensor::HostTensor;

use super::WeightFormat;
use super::int8::{self, Quantized};
use super::proto::{
    AttributeProto, AttributeType, Dimension, DimensionProto, ElementType, NodeProto,
    TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};

/// Tensors of fewer elements stay in f32 whatever the weights are in: they are no size to speak of.
const SMALL_TENSOR: usize = 1024;

/// The name of something that is computed or constant.
#[derive(Clone, Debug)]
pub struct Value(String);

/// Constant numbers of a graph.
#[derive(Debug)]
pub struct Constant {
    pub name: String,
    pub shape: Vec<usize>,
    pub data: ConstantData,
}

/// The numbers, in their format.
#[derive(Debug)]
pub enum ConstantData {
    F32(Vec<f32>),
    F16(Vec<f16>),
    I8(Vec<i8>),
    I64(Vec<i64>),
}

impl ConstantData {
    pub fn element_type(&self) -> ElementType {
        match self {
            Self::F32(_) => ElementType::Float,
            Self::F16(_) => ElementType::Float16,
            Self::I8(_) => ElementType::Int8,
            Self::I64(_) => ElementType::Int64,
        }
    }

    /// Length in the file.
    pub fn bytes(&self) -> usize {
        match self {
            Self::F32(values) => size_of_val(&values[..]),
            Self::F16(values) => size_of_val(&values[..]),
            Self::I8(values) => size_of_val(&values[..]),
            Self::I64(values) => size_of_val(&values[..]),
        }
    }

    /// Little-endian, as ONNX has them.
    pub fn to_le_bytes(&self) -> Vec<u8> {
        match self {
            Self::F32(values) => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::F16(values) => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::I8(values) => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::I64(values) => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        }
    }
}

/// The length of an axis of an input or output.
#[derive(Clone, Copy, Debug)]
pub enum Axis {
    Fixed(usize),
    /// Free; axes of the same name have the same length.
    Free(&'static str),
}

/// A setting of an operation.
#[derive(Clone, Copy, Debug)]
pub enum Attribute<'a> {
    Int(&'static str, i64),
    Float(&'static str, f32),
    Ints(&'static str, &'a [i64]),
}

impl From<Attribute<'_>> for AttributeProto {
    fn from(attribute: Attribute<'_>) -> Self {
        match attribute {
            Attribute::Int(name, value) => Self {
                name: name.to_owned(),
                i: Some(value),
                r#type: AttributeType::Int.into(),
                ..Self::default()
            },
            Attribute::Float(name, value) => Self {
                name: name.to_owned(),
                f: Some(value),
                r#type: AttributeType::Float.into(),
                ..Self::default()
            },
            Attribute::Ints(name, values) => Self {
                name: name.to_owned(),
                ints: values.to_vec(),
                r#type: AttributeType::Ints.into(),
                ..Self::default()
            },
        }
    }
}

/// A graph under construction. Operations are added in the order in which they run.
#[derive(Debug)]
pub struct Graph {
    pub nodes: Vec<NodeProto>,
    pub constants: Vec<Constant>,
    pub inputs: Vec<ValueInfoProto>,
    pub outputs: Vec<ValueInfoProto>,
    weights: WeightFormat,
    /// Where in the model the next operations belong.
    scope: String,
}

impl Graph {
    pub fn new(weights: WeightFormat) -> Self {
        Self {
            nodes: Vec::new(),
            constants: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            weights,
            scope: String::new(),
        }
    }

    /// Says where in the model the next operations belong, for people who look at the graph.
    pub fn enter(&mut self, scope: &str) {
        self.scope = scope.to_owned();
    }

    pub fn input(
        &mut self,
        name: &str,
        element: ElementType,
        shape: &[Axis],
        about: &str,
    ) -> Value {
        self.inputs.push(value_info(name, element, shape, about));
        Value(name.to_owned())
    }

    /// Makes a value an output of the graph under a name.
    pub fn output(
        &mut self,
        name: &str,
        value: &Value,
        element: ElementType,
        shape: &[Axis],
        about: &str,
    ) {
        self.nodes.push(NodeProto {
            input: vec![value.0.clone()],
            output: vec![name.to_owned()],
            name: format!("output/{name}"),
            op_type: "Identity".to_owned(),
            attribute: Vec::new(),
        });
        self.outputs.push(value_info(name, element, shape, about));
    }

    /// An operation with several results.
    pub fn nodes_of(
        &mut self,
        operator: &str,
        inputs: &[&Value],
        attributes: &[Attribute<'_>],
        outputs: usize,
    ) -> Vec<Value> {
        let number = self.nodes.len();
        let name = match self.scope.is_empty() {
            true => format!("{operator}_{number}"),
            false => format!("{}/{operator}_{number}", self.scope),
        };
        let output: Vec<String> = match outputs {
            1 => vec![name.clone()],
            _ => (0..outputs).map(|part| format!("{name}_{part}")).collect(),
        };
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|value| value.0.clone()).collect(),
            output: output.clone(),
            name,
            op_type: operator.to_owned(),
            attribute: attributes.iter().copied().map(Into::into).collect(),
        });
        output.into_iter().map(Value).collect()
    }

    /// An operation.
    pub fn node(
        &mut self,
        operator: &str,
        inputs: &[&Value],
        attributes: &[Attribute<'_>],
    ) -> Value {
        self.nodes_of(operator, inputs, attributes, 1).remove(0)
    }

    fn constant(&mut self, name: String, shape: Vec<usize>, data: ConstantData) -> Value {
        self.constants.push(Constant {
            name: name.clone(),
            shape,
            data,
        });
        Value(name)
    }

    fn constant_name(&self) -> String {
        format!("constant_{}", self.constants.len())
    }

    /// Numbers in f32.
    pub fn floats(&mut self, shape: &[usize], values: Vec<f32>) -> Value {
        let name = self.constant_name();
        self.constant(name, shape.to_vec(), ConstantData::F32(values))
    }

    /// One number, of no axis.
    pub fn float(&mut self, value: f32) -> Value {
        self.floats(&[], vec![value])
    }

    /// A list of whole numbers.
    pub fn integers(&mut self, values: &[i64]) -> Value {
        let name = self.constant_name();
        let shape = vec![values.len()];
        self.constant(name, shape, ConstantData::I64(values.to_vec()))
    }

    /// One whole number, of no axis.
    pub fn integer(&mut self, value: i64) -> Value {
        let name = self.constant_name();
        self.constant(name, Vec::new(), ConstantData::I64(vec![value]))
    }

    /// A weight of the model, in the format of the weights; computing is in f32 always.
    pub fn weight(&mut self, name: &str, tensor: HostTensor) -> Value {
        let HostTensor { shape, data } = tensor;
        if self.weights == WeightFormat::F32 || data.len() < SMALL_TENSOR {
            return self.constant(name.to_owned(), shape, ConstantData::F32(data));
        }
        let mut halves = vec![f16::ZERO; data.len()];
        halves.convert_from_f32_slice(&data);
        let stored = self.constant(name.to_owned(), shape, ConstantData::F16(halves));
        self.cast(&stored, ElementType::Float)
    }

    /// A weight of the model that is multiplied with, whose outputs are along `axis`. Of 8 bits, every output has a factor of its own.
    pub fn matrix(&mut self, name: &str, tensor: HostTensor, axis: usize) -> Value {
        if self.weights != WeightFormat::Int8 || tensor.data.len() < SMALL_TENSOR {
            return self.weight(name, tensor);
        }
        let Quantized { values, factors } = int8::quantized(&tensor, axis);
        let outputs = tensor.shape[axis];
        let stored = self.constant(name.to_owned(), tensor.shape, ConstantData::I8(values));
        let factors = self.constant(
            format!("{name}.factors"),
            vec![outputs],
            ConstantData::F32(factors),
        );
        let attributes = [Attribute::Int("axis", axis as i64)];
        self.node("DequantizeLinear", &[&stored, &factors], &attributes)
    }

    pub fn cast(&mut self, value: &Value, to: ElementType) -> Value {
        self.node("Cast", &[value], &[Attribute::Int("to", to as i64)])
    }

    pub fn add(&mut self, a: &Value, b: &Value) -> Value {
        self.node("Add", &[a, b], &[])
    }

    pub fn sub(&mut self, a: &Value, b: &Value) -> Value {
        self.node("Sub", &[a, b], &[])
    }

    pub fn mul(&mut self, a: &Value, b: &Value) -> Value {
        self.node("Mul", &[a, b], &[])
    }

    pub fn div(&mut self, a: &Value, b: &Value) -> Value {
        self.node("Div", &[a, b], &[])
    }

    pub fn matmul(&mut self, a: &Value, b: &Value) -> Value {
        self.node("MatMul", &[a, b], &[])
    }

    /// `x W + b`, with `weight` as `[inputs, outputs]`.
    pub fn linear(&mut self, x: &Value, weight: &Value, bias: &Value) -> Value {
        let product = self.matmul(x, weight);
        self.add(&product, bias)
    }

    /// Zero keeps an axis, -1 takes what is left.
    pub fn reshape(&mut self, x: &Value, shape: &[i64]) -> Value {
        let shape = self.integers(shape);
        self.node("Reshape", &[x, &shape], &[])
    }

    pub fn transpose(&mut self, x: &Value, permutation: &[i64]) -> Value {
        self.node("Transpose", &[x], &[Attribute::Ints("perm", permutation)])
    }

    pub fn softmax(&mut self, x: &Value) -> Value {
        self.node("Softmax", &[x], &[Attribute::Int("axis", -1)])
    }

    pub fn concat(&mut self, parts: &[&Value], axis: i64) -> Value {
        self.node("Concat", parts, &[Attribute::Int("axis", axis)])
    }

    /// Sum over the last axis, which is kept with length one.
    pub fn sum_last(&mut self, x: &Value) -> Value {
        let axes = self.integers(&[-1]);
        self.node("ReduceSum", &[x, &axes], &[Attribute::Int("keepdims", 1)])
    }

    /// Largest value of the last axis, which is kept with length one.
    pub fn max_last(&mut self, x: &Value) -> Value {
        let attributes = [
            Attribute::Ints("axes", &[-1]),
            Attribute::Int("keepdims", 1),
        ];
        self.node("ReduceMax", &[x], &attributes)
    }

    /// The element `index` of axis 1, which goes away.
    pub fn pick(&mut self, x: &Value, index: i64) -> Value {
        let index = self.integer(index);
        self.node("Gather", &[x, &index], &[Attribute::Int("axis", 1)])
    }

    /// The lengths of all axes.
    pub fn shape_of(&mut self, x: &Value) -> Value {
        self.node("Shape", &[x], &[])
    }
}

fn value_info(name: &str, element: ElementType, shape: &[Axis], about: &str) -> ValueInfoProto {
    let dim = shape.iter().map(|axis| DimensionProto {
        value: Some(match *axis {
            Axis::Fixed(length) => Dimension::Length(length as i64),
            Axis::Free(name) => Dimension::Name(name.to_owned()),
        }),
    });
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto {
            tensor_type: Some(TensorTypeProto {
                elem_type: element.into(),
                shape: Some(TensorShapeProto { dim: dim.collect() }),
            }),
        }),
        doc_string: about.to_owned(),
    }
}
