//! Decoded images to normalized pixels: resizing, centre crop and normalization as operations of a graph.
//!
//! Pillow's antialiased resizing is a product with a matrix per axis, whose rows are the filter around the place of each pixel
//! of the result, and its rounding after each. ONNX's `Resize` is antialiased since operator set 18, in few runtimes; the matrices
//! are made of operations that every runtime has, and only of the rows inside the crop.

use ueo::image::{CropRule, Interpolation, Preprocessing, ResizeRule};

use super::graph::{Attribute, Axis, Graph, Value};
use super::proto::ElementType;

/// Largest value of a channel of 8 bits.
const WHITE: f32 = 255.0;

/// The graph's input, and the pixels of the image tower, `[batch, 3, crop, crop]`: normalized.
///
/// With `decoded` the input is `image`, `[batch, height, width, 3]` of 8 bits in RGB, as decoders give it; else `pixels`,
/// `[batch, 3, crop, crop]` in 0..1.
pub fn input(graph: &mut Graph, preprocessing: &Preprocessing, decoded: bool) -> Value {
    let pixels = match decoded {
        true => test_view(graph, preprocessing),
        false => {
            let side = Axis::Fixed(preprocessing.crop);
            graph.input(
                "pixels",
                ElementType::Float,
                &[Axis::Free("batch"), Axis::Fixed(3), side, side],
                "RGB in 0..1, resized and cropped as `preprocessing` of the metadata says; not normalized",
            )
        }
    };
    graph.enter("normalization");
    let mean = graph.floats(&[1, 3, 1, 1], preprocessing.mean.to_vec());
    let std = graph.floats(&[1, 3, 1, 1], preprocessing.std.to_vec());
    let centred = graph.sub(&pixels, &mean);
    graph.div(&centred, &std)
}

/// Resized to the input size, by the shorter side or as a whole, and centre crop, in 0..1.
fn test_view(graph: &mut Graph, preprocessing: &Preprocessing) -> Value {
    let image = graph.input(
        "image",
        ElementType::Uint8,
        &[
            Axis::Free("batch"),
            Axis::Free("height"),
            Axis::Free("width"),
            Axis::Fixed(3),
        ],
        "Decoded images of one size in RGB, 0 to 255",
    );
    graph.enter("preprocessing");
    let shape = graph.shape_of(&image);
    let length = |graph: &mut Graph, axis: i64| {
        let axis = graph.integers(&[axis]);
        graph.node("Gather", &[&shape, &axis], &[Attribute::Int("axis", 0)])
    };
    let (height, width) = (length(graph, 1), length(graph, 2));
    let shorter = graph.node("Min", &[&height, &width], &[]);
    let resize = graph.integers(&[preprocessing.resize as i64]);
    let filters = |graph: &mut Graph, source: &Value| {
        let target = match preprocessing.resize_rule {
            ResizeRule::Shortest => {
                let scaled = graph.mul(&resize, source);
                graph.div(&scaled, &shorter)
            }
            ResizeRule::Squash => resize.clone(),
        };
        let axis = ResizedAxis {
            source: source.clone(),
            target,
        };
        axis.filters(graph, preprocessing)
    };
    let rows = filters(graph, &height);
    let columns = filters(graph, &width);

    let x = graph.cast(&image, ElementType::Float);
    let x = graph.transpose(&x, &[0, 3, 1, 2]);
    let columns = graph.transpose(&columns, &[1, 0]);
    let x = graph.matmul(&x, &columns);
    let x = to_8_bits(graph, &x);
    let x = graph.matmul(&rows, &x);
    let x = to_8_bits(graph, &x);
    let white = graph.float(WHITE);
    graph.div(&x, &white)
}

/// Rounded and clipped, as Pillow stores the result of each pass.
fn to_8_bits(graph: &mut Graph, x: &Value) -> Value {
    let half = graph.float(0.5);
    let x = graph.add(x, &half);
    let x = graph.node("Floor", &[&x], &[]);
    let (black, white) = (graph.float(0.0), graph.float(WHITE));
    graph.node("Clip", &[&x, &black, &white], &[])
}

/// One axis: its length before and after resizing, whole numbers of shape `[1]`.
struct ResizedAxis {
    source: Value,
    target: Value,
}

impl ResizedAxis {
    /// The filter of each pixel of the crop, `[crop, source]`.
    fn filters(&self, graph: &mut Graph, preprocessing: &Preprocessing) -> Value {
        let crop = preprocessing.crop as i64;
        let places: Vec<i64> = (0..crop).collect();
        let places = graph.integers(&places);
        let start = self.crop_start(graph, preprocessing);
        let places = graph.add(&places, &start);

        let source = graph.cast(&self.source, ElementType::Float);
        let target = graph.cast(&self.target, ElementType::Float);
        let scale = graph.div(&source, &target);
        let half = graph.float(0.5);
        let centres = graph.cast(&places, ElementType::Float);
        let centres = graph.add(&centres, &half);
        let centres = graph.mul(&centres, &scale);
        let centres = graph.reshape(&centres, &[crop, 1]);
        let pixels = self.pixel_centres(graph, &half);
        let one = graph.float(1.0);
        // Shrinking widens the filter, so that no pixel is passed over.
        let width = graph.node("Max", &[&scale, &one], &[]);
        let distances = graph.sub(&pixels, &centres);
        let distances = graph.div(&distances, &width);
        let distances = graph.node("Abs", &[&distances], &[]);
        let weights = match preprocessing.interpolation {
            Interpolation::Bicubic => cubic(graph, &distances),
            Interpolation::Bilinear => triangle(graph, &distances),
        };
        let sum = graph.sum_last(&weights);
        let weights = graph.div(&weights, &sum);
        match preprocessing.resize < preprocessing.crop {
            true => self.without_outside(graph, &places, &weights, crop),
            false => weights,
        }
    }

    /// Middles of the source's pixels, `[source]`.
    fn pixel_centres(&self, graph: &mut Graph, half: &Value) -> Value {
        let no_axis = graph.integers(&[0]);
        let end = graph.node("Squeeze", &[&self.source, &no_axis], &[]);
        let (start, step) = (graph.integer(0), graph.integer(1));
        let pixels = graph.node("Range", &[&start, &end, &step], &[]);
        let pixels = graph.cast(&pixels, ElementType::Float);
        graph.add(&pixels, half)
    }

    /// Where the crop begins in the resized image, `[1]`; before its first pixel where the image is smaller.
    fn crop_start(&self, graph: &mut Graph, preprocessing: &Preprocessing) -> Value {
        let crop = graph.integers(&[preprocessing.crop as i64]);
        let two = graph.integers(&[2]);
        let left = graph.sub(&self.target, &crop);
        let half = graph.div(&left, &two);
        let start = match preprocessing.crop_rule {
            CropRule::Transformers => half.clone(),
            // Half of an odd number goes to the even neighbour: up where the lower one is odd.
            CropRule::Torchvision => {
                let is_odd = |graph: &mut Graph, number: &Value, half: &Value| {
                    let even = graph.mul(half, &two);
                    graph.sub(number, &even)
                };
                let left_is_odd = is_odd(graph, &left, &half);
                let quarter = graph.div(&half, &two);
                let half_is_odd = is_odd(graph, &half, &quarter);
                let up = graph.mul(&left_is_odd, &half_is_odd);
                graph.add(&half, &up)
            }
        };
        if preprocessing.resize >= preprocessing.crop {
            return start;
        }
        let zero = graph.integers(&[0]);
        let missing = graph.sub(&crop, &self.target);
        let before = graph.div(&missing, &two);
        let before = graph.sub(&zero, &before);
        let fits = graph.node("GreaterOrEqual", &[&left, &zero], &[]);
        graph.node("Where", &[&fits, &start, &before], &[])
    }

    /// What the crop has beyond the image is black.
    fn without_outside(
        &self,
        graph: &mut Graph,
        places: &Value,
        weights: &Value,
        crop: i64,
    ) -> Value {
        let zero = graph.integers(&[0]);
        let begun = graph.node("GreaterOrEqual", &[places, &zero], &[]);
        let ends = graph.node("Less", &[places, &self.target], &[]);
        let inside = graph.node("And", &[&begun, &ends], &[]);
        let inside = graph.reshape(&inside, &[crop, 1]);
        let nothing = graph.float(0.0);
        graph.node("Where", &[&inside, weights, &nothing], &[])
    }
}

/// Cubic convolution with a = -0.5, zero from 2 on.
fn cubic(graph: &mut Graph, x: &Value) -> Value {
    let end = graph.float(2.0);
    let x = graph.node("Min", &[x, &end], &[]);
    // 1 - 2.5 x^2 + 1.5 x^3, and 2 - 4 x + 2.5 x^2 - 0.5 x^3, which is zero at 2.
    let near = polynomial(graph, &x, &[1.5, -2.5, 0.0, 1.0]);
    let far = polynomial(graph, &x, &[-0.5, 2.5, -4.0, 2.0]);
    let one = graph.float(1.0);
    let is_near = graph.node("Less", &[&x, &one], &[]);
    graph.node("Where", &[&is_near, &near, &far], &[])
}

/// `1 - x`, zero from 1 on.
fn triangle(graph: &mut Graph, x: &Value) -> Value {
    let one = graph.float(1.0);
    let height = graph.sub(&one, x);
    let nothing = graph.float(0.0);
    graph.node("Max", &[&height, &nothing], &[])
}

/// Horner's rule, from the highest power down.
fn polynomial(graph: &mut Graph, x: &Value, coefficients: &[f32]) -> Value {
    let mut sum = graph.float(coefficients[0]);
    for &coefficient in &coefficients[1..] {
        let product = graph.mul(&sum, x);
        let coefficient = graph.float(coefficient);
        sum = graph.add(&product, &coefficient);
    }
    sum
}
