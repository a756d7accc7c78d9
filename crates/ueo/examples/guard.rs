//! The evidence of docs/guard.md: adaptations on an IconNet suite with label-free signs and labels side by side, epoch by
//! epoch, and what the collapse guard and `--keep` would have made of them.
//!
//!     cargo run --release -p ueo --example guard -- trace SUITE MODEL TRACE.jsonl DOMAINS SHIFTS METHODS RATES SEEDS
//!     cargo run --release -p ueo --example guard -- table TRACE.jsonl
//!
//! Lists are separated by commas. `trace` appends one line per epoch and skips adaptations that are there already.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::ops::ControlFlow;
use std::path::Path;

use serde::{Deserialize, Serialize};
use ueo::adapt::{AdaptState, CallerError, Observer, Settings, StepRecord, TrainedParameters};
use ueo::evaluate::{ScoreRule, Scores, evaluate, predictions};
use ueo::guard::{
    Criterion, EpochRecord, Probabilities, Rule, Scoring, Signs, WatchedView, signs_of, warnings,
};
use ueo::method::{Method, ZeroShotPass};
use ueo::model::Prompts;
use ueo::session::{Classifier, Images, Model, Stage, Subset, adapt_in_memory, encode_images};

/// Passes over the images, as in the suite's settings for small models.
const EPOCHS: usize = 15;
/// Accuracy lost against the zero-shot model from which on an adaptation did harm.
const HARM: f64 = 0.02;
/// Shares of the effective classes that the table compares as limits of the collapse rule.
const SHARES: [f64; 6] = [0.4, 0.5, 0.6, 0.7, 0.8, 0.9];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [
            "trace",
            suite,
            model,
            output,
            domains,
            shifts,
            methods,
            rates,
            seeds,
        ] => {
            let suite = Suite::open(Path::new(suite))?;
            let model = Model::open(model)?;
            let mut trace = Trace::open(Path::new(output))?;
            for domain in domains.split(',') {
                let domain = Domain::open(&suite, &model, domain)?;
                for shift in shifts.split(',') {
                    for method in methods.split(',') {
                        for rate in rates.split(',') {
                            for seed in seeds.split(',') {
                                let cell = Cell {
                                    suite: suite.facts.name.clone(),
                                    domain: domain.name.clone(),
                                    shift: shift.to_owned(),
                                    method: method.parse()?,
                                    learning_rate: rate.to_owned(),
                                    seed: seed.parse()?,
                                };
                                domain.adapt(&cell, &mut trace)?;
                            }
                        }
                    }
                }
            }
            Ok(())
        }
        ["table", trace] => {
            let runs = read_runs(Path::new(trace))?;
            guard_table(&runs);
            keep_table(&runs);
            Ok(())
        }
        _ => Err("expected `trace ...` or `table TRACE.jsonl`, see the head of the file".into()),
    }
}

/// One adaptation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Cell {
    suite: String,
    domain: String,
    shift: String,
    method: Method,
    learning_rate: String,
    seed: u64,
}

/// One epoch of an adaptation.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Line {
    cell: Cell,
    epoch: usize,
    /// From the views of the training steps; `None` for the zero-shot model.
    training: Option<Signs>,
    /// From the test views of the adapted images.
    test: Signs,
    /// By name, on the test views of the adapted images.
    criteria: BTreeMap<String, f64>,
    /// Per-class accuracy on all images of the domain.
    accuracy: f64,
    /// Area under the ROC curve of known against unknown, on all images of the domain.
    auroc: Option<f64>,
}

/// The content of `suite.json`.
#[derive(Debug, Deserialize)]
struct SuiteFacts {
    name: String,
    classes: Vec<String>,
    known: usize,
    ranges: BTreeMap<String, Vec<(usize, usize)>>,
}

struct Suite<'a> {
    directory: &'a Path,
    facts: SuiteFacts,
}

impl<'a> Suite<'a> {
    fn open(directory: &'a Path) -> Result<Self, Box<dyn Error>> {
        let text = fs::read_to_string(directory.join("suite.json"))?;
        let facts = serde_json::from_str(&text)?;
        Ok(Self { directory, facts })
    }
}

/// A domain with its zero-shot pass.
struct Domain<'a> {
    name: String,
    suite: &'a SuiteFacts,
    model: &'a Model,
    known_classes: Vec<String>,
    prompts: Prompts,
    images: Images,
    /// Class of each image, among all classes of the suite.
    labels: Vec<usize>,
    pass: ZeroShotPass,
}

impl<'a> Domain<'a> {
    fn open(suite: &'a Suite<'_>, model: &'a Model, name: &str) -> Result<Self, Box<dyn Error>> {
        let list = suite.directory.join(format!("{name}.txt"));
        let images = Images::open(&list, None, &model.preprocessing, 1 << 30)?;
        let known_classes = suite.facts.classes[..suite.facts.known].to_vec();
        let prompts = model.prompts(&known_classes)?;
        let encoded = encode_images(
            &model.clip,
            &model.parameters.affine,
            &images,
            Stage::ZeroShot,
            &mut (),
        )?;
        let classifier = Classifier::new(&model.clip, &prompts, &model.parameters);
        let labels = images
            .labels(&suite.facts.classes, &mut ())?
            .labels
            .ok_or("the domain has no labels")?
            .of(&encoded.indices);
        Ok(Self {
            name: name.to_owned(),
            suite: &suite.facts,
            model,
            known_classes,
            prompts,
            labels: (0..images.len())
                .filter_map(|image| labels.class(image))
                .collect(),
            pass: encoded.zero_shot(&model.clip, &classifier),
            images,
        })
    }

    fn adapt(&self, cell: &Cell, trace: &mut Trace) -> Result<(), Box<dyn Error>> {
        if trace.done.contains(cell) {
            return Ok(());
        }
        let ranges = self.suite.ranges.get(&cell.shift).ok_or("unknown shift")?;
        let present = |label: usize| ranges.iter().any(|&(a, b)| (a..b).contains(&label));
        let adapted: Vec<usize> = (0..self.labels.len())
            .filter(|&image| present(self.labels[image]))
            .collect();
        let mut pass = self.pass.subset(&adapted);
        pass.known = Some(
            adapted
                .iter()
                .map(|&image| self.labels[image] < self.suite.known)
                .collect(),
        );
        let rate: f64 = cell.learning_rate.parse()?;
        let settings = Settings::new(cell.method)
            .epochs(EPOCHS)
            .context_learning_rate(rate)
            .affine_learning_rate(rate)
            .seed(cell.seed);
        let mut watcher = Watcher {
            domain: self,
            cell,
            adapted: &adapted,
            zero_shot_classes: self.classes_of(&pass.cosine_logits),
            lines: Vec::new(),
        };
        watcher
            .look(0, None, &self.model.parameters)
            .map_err(|error| -> Box<dyn Error> { error })?;
        adapt_in_memory(
            self.model,
            &self.prompts,
            &Subset::new(&self.images, &adapted),
            &pass,
            &settings,
            &mut watcher,
        )?;
        let (first, last) = (&watcher.lines[0], &watcher.lines[watcher.lines.len() - 1]);
        eprintln!("{cell:?}: {:.3} -> {:.3}", first.accuracy, last.accuracy);
        trace.append(&watcher.lines)
    }

    fn classes_of(&self, cosine_logits: &[f32]) -> Vec<usize> {
        let scores = Scores {
            cosine_logits,
            classes: self.known_classes.len(),
            logit_scale: self.model.clip.logit_scale(),
            logit_bias: None,
            negative_cosines: &[],
        };
        predictions(scores, ScoreRule::default()).map_or_else(|_| Vec::new(), |found| found.classes)
    }
}

/// Looks at every epoch with and without labels.
struct Watcher<'a> {
    domain: &'a Domain<'a>,
    cell: &'a Cell,
    adapted: &'a [usize],
    zero_shot_classes: Vec<usize>,
    lines: Vec<Line>,
}

impl Watcher<'_> {
    fn look(
        &mut self,
        epoch: usize,
        training: Option<Signs>,
        parameters: &TrainedParameters,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let Domain {
            model,
            images,
            known_classes,
            prompts,
            labels,
            ..
        } = self.domain;
        let classes = known_classes.len();
        let encoded = encode_images(
            &model.clip,
            &parameters.affine,
            images,
            Stage::Inference,
            &mut (),
        )?;
        let classifier = Classifier::new(&model.clip, prompts, parameters);
        let cosines = encoded.class_scores(&model.clip, &classifier);
        let scores = Scores {
            cosine_logits: &cosines,
            classes,
            logit_scale: model.clip.logit_scale(),
            logit_bias: None,
            negative_cosines: &[],
        };
        let labels: Vec<Option<usize>> = labels
            .iter()
            .map(|&label| (label < classes).then_some(label))
            .collect();
        let measured = evaluate(
            &predictions(scores, ScoreRule::default())?,
            &labels,
            known_classes,
            None,
        )?;
        let adapted: Vec<f32> = self
            .adapted
            .iter()
            .flat_map(|&image| &cosines[image * classes..(image + 1) * classes])
            .copied()
            .collect();
        let scale = model.clip.logit_scale();
        let probabilities = Probabilities::of_cosines(&adapted, classes, scale);
        let scoring = Scoring::new(scale);
        self.lines.push(Line {
            cell: self.cell.clone(),
            epoch,
            training,
            test: signs_of(&adapted, classes, &self.zero_shot_classes, &scoring)?,
            criteria: Criterion::ALL
                .iter()
                .map(|criterion| (criterion.name().to_owned(), criterion.value(&probabilities)))
                .collect(),
            accuracy: measured.per_class_accuracy.unwrap_or_default(),
            auroc: measured.auroc,
        });
        Ok(())
    }
}

impl Observer for Watcher<'_> {
    fn on_step(&mut self, _: &StepRecord, _: &AdaptState) -> Result<ControlFlow<()>, CallerError> {
        Ok(ControlFlow::Continue(()))
    }

    fn on_epoch(&mut self, record: &EpochRecord, state: &AdaptState) -> Result<(), CallerError> {
        self.look(record.epoch, Some(record.signs), &state.parameters)
    }
}

/// The file of lines, which grows by whole adaptations.
struct Trace {
    file: File,
    done: BTreeSet<Cell>,
}

impl Trace {
    fn open(path: &Path) -> Result<Self, Box<dyn Error>> {
        let done = match path.exists() {
            true => read_runs(path)?.into_keys().collect(),
            false => BTreeSet::new(),
        };
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self { file, done })
    }

    fn append(&mut self, lines: &[Line]) -> Result<(), Box<dyn Error>> {
        let mut text = String::new();
        for line in lines {
            text += &(serde_json::to_string(line)? + "\n");
        }
        Ok(self.file.write_all(text.as_bytes())?)
    }
}

type Runs = BTreeMap<Cell, Vec<Line>>;

fn read_runs(path: &Path) -> Result<Runs, Box<dyn Error>> {
    let mut runs = Runs::new();
    for line in BufReader::new(File::open(path)?).lines() {
        let line: Line = serde_json::from_str(&line?)?;
        runs.entry(line.cell.clone()).or_default().push(line);
    }
    Ok(runs)
}

/// Records of a run as the product writes them without `--keep`.
fn records(lines: &[Line]) -> Vec<EpochRecord> {
    lines
        .iter()
        .map(|line| EpochRecord {
            epoch: line.epoch,
            step: line.epoch,
            view: line
                .training
                .map_or(WatchedView::Test, |_| WatchedView::Training),
            signs: line.training.unwrap_or(line.test),
            criterion: None,
        })
        .collect()
}

/// What became of an adaptation: accuracy lost, and whether a guard spoke.
fn harmed(lines: &[Line]) -> bool {
    lines[lines.len() - 1].accuracy < lines[0].accuracy - HARM
}

fn guard_table(runs: &Runs) {
    let mut methods: BTreeMap<Method, [usize; 6]> = BTreeMap::new();
    for (cell, lines) in runs {
        let result = &lines[lines.len() - 1].test;
        let warned = warnings(&records(lines), Some(result));
        let during = warned.iter().any(|warning| warning.epochs > 0);
        let about_result = warned
            .iter()
            .any(|warning| warning.concerns_result == Some(true));
        let counts = methods.entry(cell.method).or_default();
        let harmed = harmed(lines);
        for (count, yes) in counts.iter_mut().zip([
            true,
            harmed,
            during && harmed,
            during && !harmed,
            about_result && harmed,
            about_result && !harmed,
        ]) {
            *count += usize::from(yes);
        }
    }
    println!(
        "| method | adaptations | harmed | warned in time, harmed | warned in time, not harmed | warned of the result, harmed | warned of the result, not harmed |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (method, counts) in methods {
        let counts = counts.map(|count| count.to_string()).join(" | ");
        println!("| {} | {counts} |", method.title());
    }
    println!(
        "\n| collapse below | harmed and warned | harmed, silent | not harmed, warned | not harmed, silent |"
    );
    println!("|---|---|---|---|---|");
    for share in SHARES {
        let mut counts = [0; 4];
        for lines in runs.values() {
            let before = lines[0].test.effective_classes;
            let fired = records(lines)
                .iter()
                .any(|record| record.signs.effective_classes < share * before);
            counts[2 * usize::from(!harmed(lines)) + usize::from(!fired)] += 1;
        }
        println!(
            "| {share} | {} |",
            counts.map(|count| count.to_string()).join(" | ")
        );
    }
    println!("\nrules: {:?}; harm: {HARM} accuracy lost\n", Rule::ALL);
}

fn keep_table(runs: &Runs) {
    println!(
        "| kept | adaptations | worse than last | better than last | accuracy against last | AUROC against last | accuracy against best by labels | accuracy lost to the worst case |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let choices = Criterion::ALL.into_iter().map(Some).chain([None]);
    for choice in choices {
        let mut gains = Vec::new();
        let (mut auroc, mut regret) = (Vec::new(), Vec::new());
        for lines in runs.values() {
            let last = &lines[lines.len() - 1];
            let kept = match choice {
                Some(criterion) => {
                    let value = |line: &Line| line.criteria[criterion.name()];
                    lines.iter().fold(&lines[0], |best, line| {
                        if value(line) > value(best) {
                            line
                        } else {
                            best
                        }
                    })
                }
                None => last,
            };
            let best = lines.iter().map(|line| line.accuracy).fold(0.0, f64::max);
            gains.push(100.0 * (kept.accuracy - last.accuracy));
            regret.push(100.0 * (kept.accuracy - best));
            if let (Some(kept), Some(last)) = (kept.auroc, last.auroc) {
                auroc.push(100.0 * (kept - last));
            }
        }
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        println!(
            "| {} | {} | {} | {} | {:+.2} | {:+.2} | {:+.2} | {:+.2} |",
            choice.map_or("last", Criterion::name),
            runs.len(),
            gains.iter().filter(|&&gain| gain < -1e-9).count(),
            gains.iter().filter(|&&gain| gain > 1e-9).count(),
            mean(&gains),
            mean(&auroc),
            mean(&regret),
            gains.iter().copied().fold(0.0, f64::min),
        );
    }
}
