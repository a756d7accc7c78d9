//! Numbers as people read them.

use ueo::evaluate::Interval;

/// A rate in percent with one decimal; a dash where it is undefined.
pub fn percent(rate: impl Into<Option<f64>>) -> String {
    match rate.into() {
        Some(rate) if rate.is_finite() => format!("{:.1}\u{202f}%", 100.0 * rate),
        _ => "–".to_owned(),
    }
}

/// The difference of two rates in percentage points, with its sign; a dash where it is undefined.
pub fn points(before: Option<f64>, after: Option<f64>) -> String {
    match (before, after) {
        (Some(before), Some(after)) => signed(100.0 * (after - before)),
        _ => "–".to_owned(),
    }
}

/// A difference of two rates with its interval, in percentage points.
pub fn points_in(change: Interval) -> String {
    let [estimate, lower, upper] =
        [change.estimate, change.lower, change.upper].map(|value| signed(100.0 * value));
    format!("{estimate} [{lower}, {upper}]")
}

/// A number with one decimal and its sign, by a minus that is as wide as a plus.
pub fn signed(value: f64) -> String {
    let text = format!("{:.1}", value.abs());
    match text.as_str() {
        "0.0" => "±0.0".to_owned(),
        _ if value < 0.0 => format!("−{text}"),
        _ => format!("+{text}"),
    }
}

/// A whole number in groups of three digits.
pub fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number and the thing that is counted, such as `1 image` and `2 images`.
pub fn counted(number: usize, one: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ if one.ends_with("ss") => format!("{} {one}es", count(number)),
        _ => format!("{} {one}s", count(number)),
    }
}

/// A number with four significant digits.
pub fn significant(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let decimals = (3.0 - value.abs().log10().floor()).clamp(0.0, 12.0);
    format!("{value:.*}", decimals as usize)
}

/// A span of time.
pub fn duration(secs: f64) -> String {
    match secs {
        secs if secs < 100.0 => format!("{secs:.1} s"),
        secs if secs < 6000.0 => format!("{:.1} min", secs / 60.0),
        secs => format!("{:.1} h", secs / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(percent(0.6213), "62.1\u{202f}%");
        assert_eq!(percent(None), "–");
        assert_eq!(points(Some(0.5), Some(0.625)), "+12.5");
        assert_eq!(points(Some(0.5), Some(0.25)), "−25.0");
        assert_eq!(points(Some(0.5), Some(0.50001)), "±0.0");
        assert_eq!(points(None, Some(0.5)), "–");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(123), "123");
        assert_eq!(counted(1, "image"), "1 image");
        assert_eq!(counted(2000, "image"), "2,000 images");
        assert_eq!(counted(2, "class"), "2 classes");
        assert_eq!(significant(0.020_412_3), "0.02041");
        assert_eq!(significant(12.3456), "12.35");
        assert_eq!(duration(75.0), "75.0 s");
        assert_eq!(duration(7200.0), "2.0 h");
        let change = Interval {
            estimate: 0.002,
            lower: -0.03,
            upper: 0.04,
        };
        assert_eq!(points_in(change), "+0.2 [−3.0, +4.0]");
    }
}
