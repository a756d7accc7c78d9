//! Pieces of sentences: counts, paths, rates and changes.

use std::path::Path;

use ueo::evaluate::Interval;

/// A number and the thing that is counted, such as `1 image` and `2 images`.
pub fn counted(number: usize, one: &str) -> String {
    let ending = match (number, one.ends_with("ss")) {
        (1, _) => "",
        (_, true) => "es",
        (_, false) => "s",
    };
    format!("{number} {one}{ending}")
}

/// A text in lines of at most this many characters, broken between words.
pub fn wrapped(text: &str, columns: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

/// A time as people plan with it: two digits or three are all that an estimate has.
pub fn duration(secs: f64) -> String {
    const MINUTE: f64 = 60.0;
    const HOUR: f64 = 60.0 * MINUTE;
    const DAY: f64 = 24.0 * HOUR;
    if secs < 1.5 * MINUTE {
        format!("{secs:.0} s")
    } else if secs < 1.5 * HOUR {
        format!("{:.0} min", secs / MINUTE)
    } else if secs < 2.0 * DAY {
        format!("{:.1} h", secs / HOUR)
    } else {
        format!("{:.1} days", secs / DAY)
    }
}

/// A path as it can be pasted into a shell.
pub fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%=:,".contains(c);
    if !text.is_empty() && text.chars().all(plain) && !text.starts_with('-') {
        text
    } else if text.starts_with('-') {
        // Else it would be read as an option.
        quoted(&Path::new(".").join(path))
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// A rate in percent; a dash where it is undefined.
pub fn percent(rate: Option<f64>) -> String {
    rate.map_or_else(|| "-".to_owned(), |rate| format!("{:.1} %", 100.0 * rate))
}

/// A difference of rates in percentage points, with its interval where there is one.
pub fn points(change: f64, interval: Option<Interval>) -> String {
    let interval = interval.map(|interval| {
        format!(
            " [{:+.1}, {:+.1}]",
            100.0 * interval.lower,
            100.0 * interval.upper
        )
    });
    format!("{:+.1}{}", 100.0 * change, interval.unwrap_or_default())
}

/// Whether the choice of classes explains a change, in words.
pub fn against_noise(change: Interval) -> &'static str {
    if change.rises() {
        "better, more than noise"
    } else if change.falls() {
        "worse, more than noise"
    } else {
        "within noise"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_between_words() {
        assert_eq!(wrapped("one two three", 7), "one two\nthree");
        assert_eq!(
            wrapped("internationalization is long", 7),
            "internationalization\nis long"
        );
        assert_eq!(wrapped("", 7), "");
    }

    #[test]
    fn durations_have_the_unit_that_people_plan_with() {
        for (secs, words) in [
            (0.2, "0 s"),
            (89.0, "89 s"),
            (90.0, "2 min"),
            (5_399.0, "90 min"),
            (5_400.0, "1.5 h"),
            (100_000.0, "27.8 h"),
            (200_000.0, "2.3 days"),
        ] {
            assert_eq!(duration(secs), words);
        }
    }

    #[test]
    fn paths_survive_a_shell() {
        assert_eq!(quoted(Path::new("runs/a-1")), "runs/a-1");
        assert_eq!(quoted(Path::new("my run")), "'my run'");
        assert_eq!(quoted(Path::new("it's")), r"'it'\''s'");
        assert_eq!(quoted(Path::new("-x")), "./-x");
    }

    #[test]
    fn one_is_singular() {
        assert_eq!(counted(1, "image"), "1 image");
        assert_eq!(counted(0, "image"), "0 images");
        assert_eq!(counted(2, "class"), "2 classes");
    }

    #[test]
    fn a_change_is_noise_where_its_interval_holds_zero() {
        let interval = |lower, upper| Interval {
            estimate: (lower + upper) / 2.0,
            lower,
            upper,
        };
        assert_eq!(against_noise(interval(-0.03, 0.04)), "within noise");
        assert_eq!(
            against_noise(interval(0.01, 0.04)),
            "better, more than noise"
        );
        assert_eq!(
            against_noise(interval(-0.04, -0.01)),
            "worse, more than noise"
        );
        assert_eq!(
            points(0.002, Some(interval(-0.03, 0.034))),
            "+0.2 [-3.0, +3.4]"
        );
        assert_eq!(points(-0.002, None), "-0.2");
    }
}
