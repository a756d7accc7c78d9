//! The methods in one group of domains, with the averages that several sections show.

use maud::{Markup, html};

use crate::page::swatch;
use crate::plot::Ink;
use ueo::method::Method;
use ueo_benchmark::{Comparison, Metric, Results, Scope, Series, Summary};

/// The metrics that figures show.
pub const HEADLINES: [Metric; 2] = [Metric::Accuracy, Metric::Auroc];

/// A group of domains with the main settings.
#[derive(Clone, Debug)]
pub struct Group<'a> {
    /// Name of the group.
    pub name: &'a str,
    /// Whether it is the only one, so that its name says nothing.
    pub alone: bool,
    /// Its domains and the shifts that are averaged.
    pub scope: Scope,
    /// Every method that has results, in the order of the tables.
    pub methods: Vec<Averages>,
}

/// A method, averaged over the domains of a group and all shifts.
#[derive(Clone, Debug)]
pub struct Averages {
    /// The method's number on the page, from 1.
    pub number: usize,
    /// The method with its settings.
    pub series: Series,
    /// Means, and what they were taken over.
    pub summary: Summary,
    /// The difference to zero-shot, for every other method where there is one.
    pub over_zero_shot: Option<Comparison>,
    /// Whether training saw labels: then the method is an upper bound and not ranked.
    pub sees_labels: bool,
}

impl<'a> Group<'a> {
    /// The methods of a variant in a group.
    pub fn of(results: &Results, variant: &str, name: &'a str) -> Self {
        let scope = results.group(name);
        let zero_shot = Series::new(variant, Method::ZeroShot);
        let pairs: Vec<_> = scope.pairs().collect();
        let methods = ueo_benchmark::series(results, variant)
            .into_iter()
            .zip(1..)
            .filter_map(|(series, number)| {
                Some(Averages {
                    number,
                    summary: results.summary(&series, &pairs)?,
                    over_zero_shot: match series == zero_shot {
                        true => None,
                        false => results.compare(&series, &zero_shot, &pairs),
                    },
                    sees_labels: results.sees_labels(&series),
                    series,
                })
            })
            .collect();
        Self {
            name,
            alone: results.groups().len() == 1,
            scope,
            methods,
        }
    }

    /// The name as a title, where there are several groups.
    pub fn heading(&self) -> Markup {
        html! { @if !self.alone { h3 { (self.name) } } }
    }

    /// What `method` achieves.
    pub fn method(&self, method: Method) -> Option<&Averages> {
        self.methods.iter().find(|m| m.series.method == method)
    }

    /// The method with the best mean among those that are comparable.
    pub fn best(&self, results: &Results, metric: Metric) -> Option<&Averages> {
        let methods = self.methods.iter().enumerate();
        let rows: Vec<_> = methods
            .map(|(row, m)| (row, &m.series, &m.summary))
            .collect();
        let best = ueo_benchmark::best(results, &rows, metric)?;
        Some(&self.methods[best])
    }

    /// Whether a method has results wherever another one has them.
    pub fn has_all(&self, method: &Averages) -> bool {
        let most = self.methods.iter().map(|m| m.summary.pairs).max();
        most == Some(method.summary.pairs)
    }
}

impl Averages {
    /// The color of the method: few are told apart by it, so that these stand out; the number tells all.
    pub fn ink(&self) -> Ink {
        match self.series.method {
            Method::ZeroShot => Ink::ZeroShot,
            Method::Ueo => Ink::Adapted,
            _ if self.sees_labels => Ink::Unknown,
            _ => Ink::Known,
        }
    }

    /// Color, number and name.
    pub fn label(&self) -> Markup {
        html! { (swatch(self.ink())) span.quiet { (self.number) } " " (self.series.method.title()) }
    }
}
